//! The wait before a call that leads elsewhere than an earlier one which may still arrive (FAULTS.md S11).
//!
//! A call that nobody answered may be in the network, or in the hand of a process that stands still: AWS takes it for as
//! long as its signature is valid, which is counted from its intent. The same call to the same target harms nothing
//! then; but one that leads to another Region, of an earlier run or of a drill's way forth, would turn round what was
//! done since (S4). docs/lease-model.md has the schedule that does.
//!
//! Invariants: what was seen since is no answer. The time is that of this machine's boot clock; only what was spent
//! before this process took the journal over is told by the wall clock, as in [`super::ages`]. A message to people leads
//! nowhere, and neither waits nor is waited for.

use jiff::Timestamp;

use crate::{
    domain::{
        action::Action,
        id::{Region, StepId},
        run::RunState,
        sabotage::{Guard, is_off},
    },
    engine::{
        context::Context,
        effect,
        step::{Driver, Stop, Way},
    },
};

/// Counts from now what `driver`'s step has not been answered.
pub(super) fn note(driver: &Driver, run: &RunState) {
    if driver.way == Way::Forth
        && let Some((step, at)) = run.unanswered().find(|(step, _)| **step == driver.step.id)
    {
        let context = &driver.context;
        context.unanswered.of(&run.id, step, at, context.clock.boot());
    }
}

/// Waits until no call that leads elsewhere than `driver`'s step can still arrive.
pub(super) async fn has_expired(driver: &Driver, run: &RunState) -> Result<(), Stop> {
    if is_message(&driver.step.action) || is_off(Guard::OppositeAtOnce) {
        return Ok(());
    }
    let (_, to) = run.plan.ends(&driver.step.id);
    while let Some(why) = arriving(&driver.context, to) {
        effect::pause_unsent(driver, &why).await?;
    }
    Ok(())
}

/// What may still arrive, and leads to another Region than `to`.
fn arriving(context: &Context, to: &Region) -> Option<String> {
    let (history, now) = (context.scribe.history(), context.clock.boot());
    let may_arrive = |run: &RunState, step: &StepId, at: Timestamp| {
        let action = &run.plan.step(step)?.action;
        let (_, leads_to) = run.plan.ends(step);
        let is_waited_for = leads_to != to && !is_message(action);
        let is_alive =
            is_waited_for && context.unanswered.of(&run.id, step, at, now) < context.signatures.lands_within(action);
        is_alive.then(|| {
            format!(
                "a call of {} (`{step}`), which leads to {leads_to}, was never answered, and may still arrive",
                run.id
            )
        })
    };
    history.runs.values().find_map(|run| run.unanswered().find_map(|(step, at)| may_arrive(run, step, at)))
}

fn is_message(action: &Action) -> bool {
    matches!(action, Action::Notify { .. })
}
