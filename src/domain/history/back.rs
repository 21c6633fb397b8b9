//! The events of a run's way back, and of people at a single step.
//!
//! Invariant: a call that takes back is the inverse of what was journalled, is intended only while the run is on its
//! way back, and only when nothing is left in place of what needed its step.

use jiff::Timestamp;

use super::{History, IllegalEvent, Standing, answered, failed, illegal};
use crate::domain::{
    action::Action,
    cloud::Mutation,
    id::{Digest, RunId, StepId},
    intervene::protects,
    journal::Event,
    run::{RunState, StepState},
    sabotage::{Guard, is_off},
};

impl History {
    pub(super) fn apply_to_undo(&mut self, at: Timestamp, event: &Event) -> Result<(), IllegalEvent> {
        match event {
            Event::UndoIntended { run, step, attempt, call, mutation, guards } => {
                self.intend_undo(at, run, step, (*attempt, *call), (mutation, guards))
            }
            Event::UndoAnswered { run, step, attempt, call, outcome } => {
                self.undo(run, step, "undo_answered", |s| answered("undo_answered", s, *attempt, *call, outcome))
            }
            Event::StepUndone { run, step, evidence } => self.finish_undo(at, run, step, evidence),
            Event::UndoFailed { run, step, attempt, code, reason } => {
                self.undo(run, step, "undo_failed", |s| failed("undo_failed", at, s, *attempt, code, reason))
            }
            other => Err(IllegalEvent { event: "undo event", why: format!("{other:?} is none") }),
        }
    }

    fn intend_undo(
        &mut self,
        at: Timestamp,
        run: &RunId,
        step: &StepId,
        (attempt, call): (u32, u32),
        (mutation, guards): (&Mutation, &[String]),
    ) -> Result<(), IllegalEvent> {
        let event = "undo_intended";
        let refuse = |why: String| Err(IllegalEvent { event, why });
        let state = self.run(run, event)?;
        if !state.phase.is_unwinding() || state.unwind.stands {
            return refuse("the run is not on its way back, or is to end where it stands".to_owned());
        }
        if let Some((_, why)) = state.crossed().filter(|_| !state.is_fault(step)) {
            return refuse(why);
        }
        if let Some(other) = state.left_to_undo().into_iter().find(|other| state.plan.needs(other, step)) {
            return refuse(format!("`{other}`, which comes after it, is not undone yet"));
        }
        let Some(planned) = state.plan.step(step) else {
            return refuse(format!("the plan has no step `{step}`"));
        };
        if state.steps[step].has_open_intent() {
            return refuse(format!("a call of `{step}` itself is on its way"));
        }
        let inverse = state.inverse_of(planned).or_else(refuse_as(event))?;
        if inverse.mutations().get(call as usize) != Some(mutation) {
            return refuse("the call is not the inverse of what was done".to_owned());
        }
        self.undo(run, step, event, |s| match s {
            StepState::Pending | StepState::Answered { .. } => Ok(StepState::Sending {
                attempt,
                since: s.since().unwrap_or(at),
                call,
                intended_at: at,
                mutation: mutation.clone(),
                guards: guards.to_vec(),
            }),
            from => Err(illegal(event, from)),
        })
    }

    fn finish_undo(
        &mut self,
        at: Timestamp,
        run: &RunId,
        step: &StepId,
        evidence: &[String],
    ) -> Result<(), IllegalEvent> {
        let state = self.run(run, "step_undone")?;
        let planned = state.plan.step(step);
        let inverse = planned.and_then(|planned| state.inverse_of(planned).ok());
        self.undo(run, step, "step_undone", |s| match s {
            StepState::Done { .. } | StepState::Skipped { .. } | StepState::Failed { .. } => {
                Err(illegal("step_undone", s))
            }
            from => {
                let (since, evidence) = (from.since().unwrap_or(at), evidence.to_vec());
                Ok(StepState::Done { since, at, evidence, outputs: Default::default() })
            }
        })?;
        if let Some(Action::DnsFlip { traffic, calls, standing: true, .. }) = inverse
            && !calls.is_empty()
        {
            self.standing.insert(traffic, Standing { mutations: calls, since: at });
        }
        Ok(())
    }

    fn undo(
        &mut self,
        run: &RunId,
        step: &StepId,
        event: &'static str,
        transition: impl FnOnce(&StepState) -> Result<StepState, IllegalEvent>,
    ) -> Result<(), IllegalEvent> {
        let state = self.run(run, event)?;
        if !state.is_unwinding() || !state.may_have_effect(step) {
            return Err(IllegalEvent { event, why: format!("nothing of `{step}` is being taken back") });
        }
        let after = transition(state.undo_state(step))?;
        let attempt = after.attempt();
        state.unwind.steps.insert(step.clone(), after);
        if attempt > 0 {
            state.unwind.attempts.insert(step.clone(), attempt);
        }
        Ok(())
    }

    pub(super) fn intervene(&mut self, at: Timestamp, event: &Event) -> Result<(), IllegalEvent> {
        match event {
            Event::StepRetried { run, step, digest, .. } => {
                let state = self.asked_of(run, step, digest, "step_retried")?;
                state.may_retry(step).or_else(refuse_as("step_retried"))?;
                state.retry(at, step);
            }
            Event::StepPassed { run, step, digest, subject, reason } => {
                let state = self.asked_of(run, step, digest, "step_passed")?;
                state.may_pass(step).or_else(refuse_as("step_passed"))?;
                let guarded = state.plan.step(step).and_then(|planned| protects(&state.plan, planned));
                if let Some(why) = guarded.filter(|_| !state.is_undo_failed(step)) {
                    return Err(IllegalEvent { event: "step_passed", why });
                }
                state.pass(at, step, format!("passed over by {subject}: {reason}"));
            }
            other => return Err(IllegalEvent { event: "step event", why: format!("{other:?} is none") }),
        }
        Ok(())
    }

    fn asked_of(
        &mut self,
        run: &RunId,
        step: &StepId,
        digest: &Digest,
        event: &'static str,
    ) -> Result<&mut RunState, IllegalEvent> {
        let state = self.run(run, event)?;
        if state.plan.step(step).is_none() {
            return Err(IllegalEvent { event, why: format!("the plan has no step `{step}`") });
        }
        if *digest != state.plan_digest && !is_off(Guard::OtherDigest) {
            return Err(IllegalEvent { event, why: "it was said of another plan".to_owned() });
        }
        Ok(state)
    }
}

fn refuse_as<T>(event: &'static str) -> impl FnOnce(String) -> Result<T, IllegalEvent> {
    move |why| Err(IllegalEvent { event, why })
}
