//! A drill that is over its budget goes home by itself (FAULTS.md 83): when that is so, and that it is journalled.
//!
//! Invariants: the decision is durable before anything follows from it, and what follows is the fold's alone. Time is boot
//! time, over restarts, from the first change on. It sends nothing: the steps do.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    domain::{
        cloud::Outcome,
        drill::Budget,
        history::History,
        id::StepId,
        journal::Event,
        run::RunState,
        sabotage::{Guard, is_off},
    },
    engine::{
        ages::Ages,
        context::Context,
        ramp,
        scribe::{CommitError, Fatal},
        step::{Driver, Stop, Way},
    },
};

/// What a drill has spent of its budget, which is being spent.
struct Spent<'a> {
    budget: &'a Budget,
    /// What it is at.
    step: &'a StepId,
    first_change: (&'a StepId, Timestamp),
}

fn spent(run: &RunState) -> Option<Spent<'_>> {
    let (budget, step) = (run.plan.budget.as_ref()?, run.spends()?);
    Some(Spent { budget, step, first_change: run.first_change()? })
}

/// Whether `run` is a drill whose budget is being spent, so that it is to be looked at again soon.
pub(super) fn is_spent(run: &RunState) -> bool {
    spent(run).is_some()
}

/// How long the drill under way has been away, and how long its target has served, both over restarts.
#[derive(Debug, Default)]
pub struct Spendings {
    away: Ages,
    served: Ages,
}

impl Spendings {
    /// Takes over what `history` shows at `wall`, which is `boot` on this machine.
    pub fn taken_over(history: &History, wall: Timestamp, boot: Duration) -> Self {
        let run = history.active_run().filter(|run| run.plan.budget.is_some());
        let of = |instant: for<'a> fn(&'a RunState) -> Option<(&'a StepId, Timestamp)>| {
            Ages::counted(run.and_then(|run| Some((&run.id, instant(run)?))), wall, boot)
        };
        Self { away: of(RunState::first_change), served: of(RunState::serves_there_since) }
    }
}

/// The event by which `run` goes home, where its budget is exceeded now.
pub(super) fn exceeded(context: &Context, run: &RunState) -> Option<Event> {
    let Spent { budget, step, first_change } = spent(run)?;
    let boot = context.clock.boot();
    // Kept apart from the ages of steps: those are forgotten with each step.
    let since = |ages: &Ages, (step, at): (&StepId, Timestamp)| ages.of(&run.id, step, at, boot);
    let used = since(&context.spendings.away, first_change);
    let (region, serves) = match run.serves_there_since() {
        Some(since_then) => (&run.plan.target, since(&context.spendings.served, since_then)),
        None => (&run.plan.source, Duration::MAX),
    };
    let signs = context.signs.of(&budget.signals_of(region), boot);
    let reason = budget.exceeded(used, region, serves, signs).filter(|_| !is_off(Guard::OverBudget))?;
    Some(Event::BudgetExceeded { run: run.id.clone(), step: step.clone(), reason })
}

/// Journals that the drill goes home, where that may still be.
pub(super) async fn go_home(context: &Context, exceeded: Event, fatal: &Fatal) {
    let Event::BudgetExceeded { run, step, reason } = &exceeded else { return };
    tracing::warn!(%run, %step, application = %context.application.name, reason, "the drill is over its budget: it goes home");
    let committed = context.scribe.commit(|history, _| {
        history.runs.get(run).and_then(|run| run.spends()).ok_or(())?;
        Ok::<_, ()>((vec![exceeded.clone()], ()))
    });
    match committed.await {
        // It has moved on in between: the loop looks again.
        Ok(()) | Err(CommitError::Refused(())) => {}
        Err(error) => fatal.raise(error.to_string()),
    }
}

/// Of a call of the way there of a drill that goes home, that was never answered and of which nothing has shown for
/// `stood`: whether it can arrive no more. What leads home must not be overtaken by what leads there. `None`: of any other.
pub(super) fn is_settled(driver: &Driver, run: &RunState, outcome: &Outcome, stood: Duration) -> Option<bool> {
    let is_unknown = matches!(outcome, Outcome::Unknown { .. });
    let goes_home = is_unknown && driver.way == Way::Forth && run.leaves_behind(&driver.step.id);
    goes_home.then(|| driver.context.signatures.lands_within(&driver.step.action) <= stood)
}

/// A step whose call has had no effect is not tried again, since the run is on its way back: it has failed.
pub(super) async fn give_up(driver: &Driver, run: &RunState, code: &str, reason: &str) -> Result<(), Stop> {
    let by = if run.phase.is_unwinding() { "by the abort" } else { "on the way home" };
    let reason = format!("given up {by}: {reason}");
    // The steps of a ramp are not told from each other by a look: what of it stands is for a person.
    let is_in_doubt = code == "outcome-unknown" && ramp::of(&driver.step.action).is_some();
    if run.leaves_behind(&driver.step.id) && is_in_doubt {
        driver.fail(code, reason).await
    } else {
        // Nothing of it has happened and nothing will: the way back need not wait for it.
        driver.fail_without_effect(code, reason).await
    }
}
