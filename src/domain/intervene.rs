//! What a person may do to one failed step: have it tried again, or pass over it.
//!
//! Invariant: what a safety property of FAULTS.md section 2 rests on is never passed over (S5: a proven writer and
//! servers that answer; S6: consent and the bound of the loss; S9: a fit target). Where several steps have failed, the
//! run goes on only when none is left that holds it.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    action::{Action, EffectClass},
    drill,
    id::StepId,
    plan::{OnFailure, Plan, PlannedStep},
    run::{Phase, RunState, StepState},
};

/// What the next person is told of a run that is held by another failed step.
const WAITS_FOR: &str = "an operator: resume (tries the step again) or abort";

/// Why nobody passes over `step`, where that is so; as a sentence.
pub fn protects(plan: &Plan, step: &PlannedStep) -> Option<String> {
    let kind = step.action.kind();
    let is_any = |families: &[&str]| families.iter().any(|family| kind.starts_with(family));
    if kind == "approve" {
        return Some("consent is given by people, not passed over (S6)".to_owned());
    }
    if is_any(&["gate.", "fence."]) {
        return Some("it keeps data from being lost (S6, S9)".to_owned());
    }
    if is_any(&["aurora."]) && kind != "aurora.wait" {
        return Some("no traffic moves before a proven writer (S5)".to_owned());
    }
    // What takes a fault out rests on nothing.
    let is_fault = |s: &&PlannedStep| matches!(s.action, Action::LambdaFault(_));
    let rests =
        |s: &&PlannedStep| !is_fault(s) && s.action.effect() != EffectClass::Read && plan.needs(&s.id, &step.id);
    match plan.steps.iter().find(rests) {
        Some(effect) if is_any(&["probe."]) => {
            Some(format!("`{}` rests on it: it would send clients where nobody answers (S5)", effect.id))
        }
        _ => None,
    }
}

/// What a person may do to one step now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Takes {
    pub retry: bool,
    pub skip: bool,
}

impl RunState {
    /// Whether `step` may be tried again by itself.
    ///
    /// # Errors
    /// Why not, as a sentence.
    pub fn may_retry(&self, step: &StepId) -> Result<(), String> {
        if self.leaves_behind(step) && !self.is_undo_failed(step) {
            return Err(format!("the drill is over its budget and leads home: `{step}` is of the way there"));
        }
        self.is_failed_alone(step)
    }

    /// Whether `step` may be passed over, but for what it protects ([`protects`]).
    ///
    /// # Errors
    /// Why not, as a sentence.
    pub fn may_pass(&self, step: &StepId) -> Result<(), String> {
        self.is_failed_alone(step)
    }

    /// What the engine takes of a person for `step` now.
    pub fn takes(&self, step: &PlannedStep) -> Takes {
        let skip = self.may_pass(&step.id).is_ok() && self.forbids_pass(step).is_none();
        Takes { retry: self.may_retry(&step.id).is_ok(), skip }
    }

    /// Why nobody passes over `step` of this run now, where that is so; as a sentence. A failed undo may always be left.
    /// More than [`protects`], by which a journal is folded too: what was recorded before must still fold.
    pub fn forbids_pass(&self, step: &PlannedStep) -> Option<String> {
        if self.is_undo_failed(&step.id) {
            return None;
        }
        match &step.action {
            Action::LambdaFault(fault) if fault.mends && drill::left_in(self).any(|(_, left)| left.is_same(fault)) => {
                Some("the fault that the drill has put in would stay in (S13)".to_owned())
            }
            _ => protects(&self.plan, step),
        }
    }

    /// Whether the undo of `step` has failed: then it is that which a person retries, or leaves.
    pub fn is_undo_failed(&self, step: &StepId) -> bool {
        matches!(self.undo_state(step), StepState::Failed { .. })
    }

    fn is_failed_alone(&self, step: &StepId) -> Result<(), String> {
        if self.is_finished() {
            return Err("the run is finished".to_owned());
        }
        if self.is_undo_failed(step) {
            return Ok(());
        }
        if self.is_unwinding() {
            return Err(
                "the run is being taken back: only a step whose undo has failed is retried or skipped".to_owned()
            );
        }
        let Some(StepState::Failed { .. }) = self.steps.get(step) else {
            return Err(format!("`{step}` has not failed"));
        };
        let began = |s: &&PlannedStep| s.needs.contains(step) && self.steps[&s.id] != StepState::Pending;
        match self.plan.steps.iter().find(began) {
            Some(next) => Err(format!("`{}`, which comes after it, has begun already", next.id)),
            None => Ok(()),
        }
    }

    pub(super) fn retry(&mut self, at: Timestamp, step: &StepId) {
        if self.is_undo_failed(step) {
            self.unwind.steps.remove(step);
        } else {
            self.steps.insert(step.clone(), StepState::Pending);
            // Everybody is asked again, as after a resume.
            self.approvals.remove(step);
        }
        self.release(at);
    }

    pub(super) fn pass(&mut self, at: Timestamp, step: &StepId, reason: String) {
        let skipped = StepState::Skipped { at, reason };
        if self.is_undo_failed(step) {
            self.unwind.steps.insert(step.clone(), skipped);
        } else {
            self.steps.insert(step.clone(), skipped);
        }
        self.release(at);
    }

    /// A held run goes on, unless another failed step holds it.
    fn release(&mut self, at: Timestamp) {
        if !matches!(self.phase, Phase::Held { .. }) {
            return;
        }
        let plan = Arc::clone(&self.plan);
        let failed = plan.steps.iter().find_map(|planned| {
            let state = if self.is_unwinding() {
                self.undo_state(&planned.id)
            } else if planned.on_failure == OnFailure::Continue || self.is_left_behind(&planned.id) {
                return None;
            } else {
                &self.steps[&planned.id]
            };
            match state {
                StepState::Failed { code, reason, .. } => Some((planned.id.clone(), code.clone(), reason.clone())),
                _ => None,
            }
        });
        match failed {
            Some((step, code, reason)) => {
                self.phase = Phase::Held { step: Some(step), code, reason, waits_for: WAITS_FOR.to_owned(), at };
            }
            None => self.go_on(at),
        }
    }
}
