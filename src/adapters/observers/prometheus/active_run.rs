//! What the metrics remember of a run that is not finished.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::domain::{
    id::StepId,
    plan::{OnFailure, Plan, Purpose},
    run::RunState,
    undo::Cause,
};

/// A run that is not finished.
#[derive(Debug)]
pub(super) struct ActiveRun {
    pub(super) purpose: Purpose,
    pub(super) kinds: BTreeMap<StepId, &'static str>,
    pub(super) since: BTreeMap<StepId, Timestamp>,
    /// The steps with `on_failure: undo`.
    pub(super) undoes: BTreeSet<StepId>,
    /// What it goes back to when it is resumed.
    pub(super) way: &'static str,
}

impl ActiveRun {
    /// A call is to take something back: whether it is the first that tells so.
    pub(super) fn turns_back(&mut self) -> bool {
        let is_first = self.way == "running";
        if is_first {
            self.way = "undoing";
        }
        is_first
    }

    pub(super) fn new(plan: &Plan) -> Self {
        let kinds = plan.steps.iter().map(|s| (s.id.clone(), s.action.kind()));
        let undoes = plan.steps.iter().filter(|s| s.on_failure == OnFailure::Undo).map(|s| s.id.clone());
        Self {
            purpose: plan.purpose,
            kinds: kinds.collect(),
            since: BTreeMap::new(),
            undoes: undoes.collect(),
            way: "running",
        }
    }

    /// A step has failed; whether the run is taken back by that. Where it cannot be, it is held by the next event.
    pub(super) fn failed(&mut self, step: &StepId) -> bool {
        self.since.remove(step);
        let is_taken_back = self.undoes.contains(step) && self.way == "running";
        if is_taken_back {
            self.way = "undoing";
        }
        is_taken_back
    }

    /// One that the journal has at the start.
    pub(super) fn restored(run: &RunState) -> Self {
        let mut active = Self::new(&run.plan);
        if let Some(cause) = &run.unwind.cause {
            active.way = if matches!(cause, Cause::Abort { .. }) { "aborting" } else { "undoing" };
        }
        for (id, state) in &run.steps {
            if let Some(since) = state.under_way_since() {
                active.since.insert(id.clone(), since);
            }
        }
        active
    }
}
