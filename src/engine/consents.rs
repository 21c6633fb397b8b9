//! Who may approve what, and when: asked for, not expired, and by somebody who has no part in the run yet.
//!
//! Invariant: whoever names another step than one that waits is told which do; nothing is guessed from what they named.

use crate::{
    domain::{
        action::Action,
        id::{StepId, Subject},
        plan::PlannedStep,
        run::{RunState, StepState},
        sabotage::{Guard, is_off},
    },
    engine::{context::Context, control::Refusal, requests::wrong_phase, step},
};

/// Whether `subject` may approve `step` of `run` now.
pub(super) fn approvable(context: &Context, run: &RunState, step: &StepId, subject: &Subject) -> Result<(), Refusal> {
    let unknown = || Refusal::NotForApproval { step: step.clone(), waiting: waiting(context, run) };
    let planned = run.plan.step(step).ok_or_else(unknown)?;
    let Action::Approve { expires_after, .. } = &planned.action else { return Err(unknown()) };
    let StepState::Running { .. } = &run.steps[step] else {
        let waiting = told(&waiting(context, run));
        return Err(Refusal::WrongPhase(format!("`{step}` does not wait for an approval now; {waiting}")));
    };
    if run.is_finished() {
        return Err(wrong_phase(run));
    }
    if *expires_after <= step::elapsed(context, run, step) && !is_off(Guard::ExpiredApproval) {
        return Err(Refusal::WrongPhase(format!("the approval of `{step}` has expired")));
    }
    let asked = *subject == run.request.subject && !is_off(Guard::OwnApproval);
    let has_part = asked || run.approvers(step).contains(&subject);
    if has_part { Err(Refusal::SelfApproval(subject.clone())) } else { Ok(()) }
}

/// The steps of `run` that wait for an approval now.
fn waiting(context: &Context, run: &RunState) -> Vec<StepId> {
    let waits = |planned: &&PlannedStep| match (&planned.action, run.steps.get(&planned.id)) {
        (Action::Approve { expires_after, .. }, Some(StepState::Running { .. })) => {
            !run.is_finished() && step::elapsed(context, run, &planned.id) < *expires_after
        }
        _ => false,
    };
    run.plan.steps.iter().filter(waits).map(|planned| planned.id.clone()).collect()
}

/// What waits for an approval, as a fragment of a sentence.
pub(super) fn told(waiting: &[StepId]) -> String {
    match waiting {
        [] => "no step waits for one now".to_owned(),
        some => {
            let names: Vec<String> = some.iter().map(|step| format!("`{step}`")).collect();
            format!("what waits for one: {}", names.join(", "))
        }
    }
}
