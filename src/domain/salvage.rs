//! Salvage: what a forced failover has left in the Region that it left, and whether a person has signed that it was dealt
//! with (docs/salvage.md, ADR 18).
//!
//! Invariants: a salvage moves nothing, which the checker, the compiler and the fold of a journal each refuse; a failover is
//! reconciled by a named person's word alone, never by the passing of time or by what was found. Until then nothing planned
//! and nothing automatic leads to the Region that it left (FAULTS.md 62, S8).
//!
//! It looks at nothing itself, and what it cannot list it does not guess.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    action::{Action, EffectClass},
    application::{Application, ClusterArn},
    cloud::MetricQuery,
    drill,
    history::History,
    id::{Region, RunId, StepId, StoreName, Subject},
    plan::{OnFailure, Plan, PlannedStep, Purpose},
    recovery,
    run::{Phase, RunState, StepState},
    runbook::{Act, Ahead, Runbook, Salvaged, Step},
    seconds,
};

/// One look of a salvage, resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "snake_case")]
pub enum Salvage {
    /// Whether the rescue snapshot of the old writer is copied. `cluster` is the old writer.
    Snapshot { store: StoreName, cluster: ClusterArn },
    /// The time in which both Regions may have taken writes of the same items. `latency` is read in `region`, the old one.
    Conflicts { store: StoreName, table: String, region: Region, latency: MetricQuery },
    /// The objects of the old Region's bucket that are not replicated to `to`, of those changed since `before` ahead of the
    /// first evidence of the failover.
    Objects {
        store: StoreName,
        bucket: String,
        region: Region,
        to: Region,
        #[serde(with = "seconds", rename = "before_seconds")]
        before: Duration,
    },
}

impl Salvage {
    /// The action's name in runbooks.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Snapshot { .. } => Salvaged::Snapshot.name(),
            Self::Conflicts { .. } => Salvaged::Conflicts.name(),
            Self::Objects { .. } => "salvage.objects",
        }
    }

    pub fn store(&self) -> &StoreName {
        match self {
            Self::Snapshot { store, .. } | Self::Conflicts { store, .. } | Self::Objects { store, .. } => store,
        }
    }
}

/// The most objects of which S3 is asked how far their replication is: one request each.
pub const HEADS_MAX: usize = 1_000;

/// Keys of a page: S3 gives up to 1,000 [S3 API], and with keys of 1,024 bytes so many stay below the longest answer that is
/// read.
pub const PAGE_KEYS_MAX: usize = 250;

/// The most pages of a listing: 100,000 keys.
pub const LISTED_PAGES_MAX: usize = 400;

/// How many keys of objects that are not replicated are told by name.
pub const KEYS_TOLD_MAX: usize = 20;

/// How long before the first evidence an object may have been put, to be looked at, where a runbook does not say.
pub const OBJECTS_BEFORE: Duration = Duration::from_hours(24);

/// What S3 says of an object's replication in the bucket where it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Replication {
    Pending,
    Failed,
    Completed,
    /// It is a copy itself.
    Replica,
    /// No rule is for it, or it was there before the rule.
    NotCovered,
}

/// An object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub key: String,
    pub bytes: u64,
    pub changed_at: Timestamp,
}

/// A page of a listing, in the order of the keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    pub objects: Vec<Listed>,
    /// What the next page is asked for with; `None`: this was the last.
    pub next: Option<String>,
}

/// Whether `run` may have left writes in its source that its target never had: a failover that may have promoted by force,
/// or that moved an application whose replicated stores AWS does not drain.
pub fn left_writes(app: &Application, run: &RunState) -> bool {
    let forces = |s: &&PlannedStep| match &s.action {
        Action::AuroraFailover { .. } | Action::AuroraDetach { .. } => {
            !matches!(run.steps.get(&s.id), None | Some(StepState::Pending | StepState::Skipped { .. }))
        }
        _ => false,
    };
    let has_replicas = || app.replicas.values().any(|r| r.is_replicated(&run.plan.source, &run.plan.target));
    run.plan.purpose == Purpose::Failover
        && (run.plan.steps.iter().any(|s| forces(&s)) || (recovery::succeeded(run) && has_replicas()))
}

/// That a failover's leavings were dealt with, on whose word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconciled {
    /// The salvage that was signed; `None`: somebody acknowledged it without one.
    pub salvage: Option<RunId>,
    pub by: Vec<Subject>,
    pub at: Timestamp,
}

/// Whether, and by whom, the failover `run` was reconciled.
pub fn reconciled(history: &History, run: &RunId) -> Option<Reconciled> {
    let signed = salvages(history, run).find_map(|salvage| {
        let (by, at) = signature(salvage)?;
        Some(Reconciled { salvage: Some(salvage.id.clone()), by, at })
    });
    signed.or_else(|| {
        let (by, at) = history.overrides.reconciled_by(run)?;
        Some(Reconciled { salvage: None, by: vec![by.clone()], at })
    })
}

/// The salvages of the failover `run`, newest first.
pub fn salvages<'a>(history: &'a History, run: &'a RunId) -> impl Iterator<Item = &'a RunState> {
    let mut of: Vec<&RunState> = history.runs.values().map(AsRef::as_ref).collect();
    of.retain(|s| s.plan.reconciles.as_ref() == Some(run));
    of.sort_by_key(|s| std::cmp::Reverse(s.started_at));
    of.into_iter()
}

/// Who has signed a salvage that has succeeded, and when.
fn signature(salvage: &RunState) -> Option<(Vec<Subject>, Timestamp)> {
    let Phase::Finished { at, .. } = &salvage.phase else { return None };
    let asked = salvage.plan.steps.iter().filter(|s| matches!(s.action, Action::Approve { .. }));
    let mut by = Vec::new();
    for step in asked {
        let StepState::Done { .. } = salvage.steps.get(&step.id)? else { return None };
        by.extend(salvage.approvers(&step.id).into_iter().cloned());
    }
    (recovery::succeeded(salvage) && !by.is_empty()).then_some((by, *at))
}

/// The newest failover that left writes in `region` which nobody has reconciled, and after which nothing lossless has led
/// there.
pub fn unreconciled<'a>(app: &Application, history: &'a History, region: &Region) -> Option<&'a RunState> {
    let left = history.runs.values().filter(|run| run.plan.source == *region && left_writes(app, run));
    let last = left.max_by_key(|run| run.started_at)?;
    let led_back = |run: &RunState| {
        let is_planned = matches!(run.plan.purpose, Purpose::Switchover | Purpose::Failback);
        is_planned && last.started_at < run.started_at && run.plan.target == *region && recovery::succeeded(run)
    };
    let is_open = reconciled(history, &last.id).is_none() && !history.runs.values().any(|run| led_back(run));
    is_open.then_some(last.as_ref())
}

/// The failover that a salvage is for where none is named: the newest that left writes and is not reconciled.
pub fn newest_open<'a>(app: &Application, history: &'a History) -> Option<&'a RunState> {
    let open = app.regions.iter().filter_map(|region| unreconciled(app, history, region));
    open.max_by_key(|run| run.started_at)
}

/// Why `plan` moves something though it is a salvage's; `None`: it does not. What the fold of a journal refuses too.
pub fn moves(plan: &Plan) -> Option<String> {
    if plan.purpose != Purpose::Salvage {
        return None;
    }
    let step = plan.steps.iter().find(|s| s.action.effect() != EffectClass::Read)?;
    Some(format!("step `{}`: a salvage changes nothing, and {} does", step.id, step.action.kind()))
}

/// What keeps `runbook` from being a salvage: the step, the code, and what is wrong with it.
pub fn faults_of(runbook: &Runbook) -> Vec<(StepId, &'static str, String)> {
    if !runbook.purposes.contains(&Purpose::Salvage) {
        return Vec::new();
    }
    let mut faults: Vec<(StepId, &'static str, String)> = Vec::new();
    for id in drill::changes(runbook) {
        let why = "changes something, and a salvage moves nothing: call it from a failback, once the salvage is signed";
        faults.push((id.clone(), "runbook-salvage-moves", why.to_owned()));
    }
    // What serves other purposes too is a part of a salvage, not one.
    let is_whole = runbook.purposes.len() == 1;
    if let Some(last) = runbook.steps.last().filter(|_| is_whole && !is_signed(runbook)) {
        let why = "the report is not signed: a salvage needs an `approve` without `when` and with `on_failure: hold` that \
                   needs every `salvage` step";
        faults.push((last.id.clone(), "runbook-salvage-unsigned", why.to_owned()));
    }
    faults
}

fn is_signed(runbook: &Runbook) -> bool {
    let ahead = Ahead::of(&runbook.steps);
    let looks = || runbook.steps.iter().filter(|s| matches!(s.act, Act::Salvage { .. }));
    let signs = |s: &&Step| {
        matches!(s.act, Act::Approve { .. }) && s.when.is_none() && s.on_failure == OnFailure::Hold && {
            looks().all(|look| ahead.stands_before(&look.id, &s.id))
        }
    };
    runbook.steps.iter().any(|s| signs(&s))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(steps: &str) -> Vec<String> {
        let text = format!("runbook: r\npurpose: salvage\nread_only: true\ndescription: d\nsteps:\n{steps}");
        match Runbook::parse("r.yaml", &text) {
            Ok(_) => Vec::new(),
            Err(faults) => faults.into_iter().map(|f| f.code.to_owned()).collect(),
        }
    }

    const LOOK: &str = "  - { id: objects, action: salvage.objects }\n";

    #[test]
    fn a_salvage_is_signed_by_an_approval_that_needs_every_look() {
        let sign = |more: &str| format!("{LOOK}  - {{ id: sign, action: approve{more} }}\n");
        assert_eq!(codes(&sign(", needs: [objects]")), Vec::<String>::new());
        for steps in [
            LOOK.to_owned(),
            sign(""),
            sign(", needs: [objects], on_failure: continue"),
            sign(", needs: [objects], when: \"source == 'x'\""),
        ] {
            assert_eq!(codes(&steps), ["runbook-salvage-unsigned"], "{steps}");
        }
    }

    #[test]
    fn what_moves_or_changes_anything_is_no_salvage() {
        for step in ["dns.flip", "aurora.switchover", "fence.connections"] {
            let steps = format!(
                "{LOOK}  - {{ id: s, action: {step} }}\n  - {{ id: sign, action: approve, needs: [objects] }}\n"
            );
            assert!(codes(&steps).contains(&"runbook-salvage-moves".to_owned()), "{step}: {:?}", codes(&steps));
        }
    }

    #[test]
    fn its_looks_are_for_nothing_else() {
        let text = format!("runbook: r\npurpose: switchover\ndescription: d\nsteps:\n{LOOK}");
        let faults = Runbook::parse("r.yaml", &text).expect_err("it is no salvage");
        assert!(faults.iter().any(|f| f.problem.contains("it is for a salvage")), "{faults:?}");
    }
}
