//! Before a replica takes the lead: whether somebody may have moved the application offline since the journal's newest record.
//!
//! The table can be lost for longer than the application can wait. Then a person runs a failover from one machine
//! (docs/offline.md), of which the journal in the table knows nothing when it is back. Whoever leads then must not mend what
//! it finds: turn the traffic back by a standing effect, go on with a run that was taken over, start another.
//!
//! Invariants: the journal's newest record says until when nothing can have been done offline, since that waits for the lease
//! and for the signatures of whoever led ([`NOTHING_BEFORE`]). Later, the world is asked where the application lives, and
//! what cannot be told is no permission. A run that stood still for so long goes on by a person's word only. Without
//! `[offline]` in the configuration nobody can have done that, and nothing is asked.

use std::{fmt, sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::{
    domain::{
        application::Application,
        branch::{NOTHING_BEFORE, SUSPECTED},
        history::History,
        id::{ApplicationName, Region},
        journal::Event,
        plan::Purpose,
        run::Phase,
    },
    engine::whereabouts::{self, Whereabouts},
    ports::{Clock, Cloud},
};

/// Says whether this machine has a branch of an application that was not imported yet, in words.
pub type OpenBranch = Arc<dyn Fn(&ApplicationName) -> Option<String> + Send + Sync>;

/// That a failover may be run offline: what this machine knows of it.
#[derive(Clone)]
pub struct Offline {
    pub open_branch: OpenBranch,
}

impl fmt::Debug for Offline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Offline")
    }
}

/// What a look before leading has found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Settled {
    /// Where the application was seen to live, where the journal does not say so.
    pub(super) seen: Option<Region>,
    /// How long a run stood still that was under way.
    pub(super) stood_still: Option<Duration>,
}

/// Looks; `Err` says why nobody may lead now.
pub(super) async fn settle(
    cloud: &dyn Cloud,
    clock: &dyn Clock,
    app: &Application,
    history: &History,
    offline: Option<&Offline>,
) -> Result<Settled, String> {
    if let Some(why) = history.branches.held() {
        return Err(why);
    }
    let Some(offline) = offline else { return Ok(Settled::default()) };
    if let Some(branch) = (offline.open_branch)(&app.name) {
        return Err(format!("{branch} ({SUSPECTED}): end it, and import it: failoverd offline import"));
    }
    let quiet = history.last_at.map(|at| silence(at, clock.wall()));
    if quiet.is_some_and(|quiet| quiet < NOTHING_BEFORE) {
        return Ok(Settled::default());
    }
    let run = history.active_run().filter(|run| run.plan.purpose != Purpose::Salvage);
    let expected: Vec<&Region> = match run {
        Some(run) => vec![&run.plan.source, &run.plan.target],
        None => history.branches.primary().into_iter().collect(),
    };
    let is_running = run.is_some_and(|run| matches!(run.phase, Phase::Running));
    let stood_still = quiet.filter(|_| is_running);
    match whereabouts::look(cloud, clock, app, history).await {
        Whereabouts::Nothing => Ok(Settled { seen: None, stood_still }),
        Whereabouts::Unknown { why } => {
            Err(format!("where it lives cannot be told, and somebody may have moved it offline: {why}"))
        }
        Whereabouts::In { region, evidence } if !expected.is_empty() && !expected.contains(&&region) => {
            let known = expected.iter().map(|r| r.as_str()).collect::<Vec<_>>().join(" or ");
            Err(format!(
                "it lives in {region} ({}), and its journal says {known} ({SUSPECTED}): import the branch by which it was \
                 moved (failoverd offline import), or say that it was moved by hand (failoverd offline reconcile)",
                evidence.join("; ")
            ))
        }
        Whereabouts::In { region, .. } => {
            let is_news = run.is_none() && history.branches.primary() != Some(&region);
            Ok(Settled { seen: is_news.then_some(region), stood_still })
        }
    }
}

/// How long ago `at` was. A record from the future tells nothing: then it is not young.
fn silence(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(at)).unwrap_or(Duration::MAX)
}

/// What is recorded at the beginning of the epoch.
pub(super) fn events(history: &History, settled: &Settled) -> Vec<Event> {
    let seen = settled.seen.iter().map(|region| Event::PrimarySeen { region: region.clone() });
    let held = settled.stood_still.zip(history.active_run()).map(|(quiet, run)| Event::RunHeld {
        run: run.id.clone(),
        step: None,
        code: SUSPECTED.to_owned(),
        reason: format!(
            "nothing was recorded for {} min: somebody may have moved the application offline meanwhile",
            quiet.as_secs() / 60
        ),
        waits_for: "somebody who knows that nobody has, and resumes it; or the import of a branch".to_owned(),
    });
    seen.chain(held).collect()
}

#[cfg(test)]
mod tests;
