//! Where an application lives, as the world says it: by two readings of each database that agree.
//!
//! Who leads a journal asks this before it begins, where somebody may have moved the application offline since the journal's
//! newest record (docs/offline.md); and so does a person's word that reconciles a branch.
//!
//! Invariant: what two readings do not agree on, or what is under way, is unknown. Of an application without databases the
//! world says nothing here: its traffic may turn by itself.

use crate::{
    domain::{application::Application, history::History, id::Region},
    engine::aurora::{self, Proof},
    ports::{Clock, Cloud},
};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whereabouts {
    /// Every writer is there; what was read, and from where.
    In { region: Region, evidence: Vec<String> },
    /// It cannot be told now.
    Unknown { why: String },
    /// It has no databases.
    Nothing,
}

/// Looks at every database of `app`. What `history` says was detached stands where that put it.
pub async fn look(cloud: &dyn Cloud, clock: &dyn Clock, app: &Application, history: &History) -> Whereabouts {
    let mut seen: Option<Region> = None;
    let mut evidence = Vec::new();
    // The standby's answer first: the preferred Region may be the one that is lost.
    let observe_in: Vec<Region> = app.regions.iter().rev().cloned().collect();
    for (name, store) in &app.stores {
        let region = match history.detached.get(name) {
            Some(detached) => {
                evidence.push(format!("{name}: {} was detached", detached.cluster.identifier()));
                detached.cluster.region().clone()
            }
            None => match aurora::prove(cloud, clock, &store.global_cluster, &observe_in).await {
                Proof::Agreed { view, .. } if !view.is_settled() => {
                    return Whereabouts::Unknown { why: format!("{name}: {}", aurora::describe(&view)) };
                }
                Proof::Agreed { view, evidence: said } => match view.writer() {
                    Some(writer) => {
                        evidence.push(format!("{name}: {said}"));
                        writer.arn.region().clone()
                    }
                    None => return Whereabouts::Unknown { why: format!("{name}: {}", aurora::describe(&view)) },
                },
                Proof::Contradicted { why } | Proof::Unknown { why } => {
                    return Whereabouts::Unknown { why: format!("{name}: {why}") };
                }
                Proof::Denied(denial) => return Whereabouts::Unknown { why: format!("{name}: {}", denial.why) },
            },
        };
        match &seen {
            Some(other) if *other != region => {
                let why = format!("{name} is in {region}, another database in {other}");
                return Whereabouts::Unknown { why };
            }
            Some(_) => {}
            None => seen = Some(region),
        }
    }
    seen.map_or(Whereabouts::Nothing, |region| Whereabouts::In { region, evidence })
}
