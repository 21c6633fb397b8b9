//! Actions with an effect: precheck → intent → guards again → call → answer → observe → done (DESIGN.md 5).
//!
//! Invariant: a call is sent at most once per intent, and an intent is durable before its call leaves. What was
//! perhaps sent is settled by looking. A call that is not idempotent is repeated only after two agreeing readings
//! say, for long enough, that nothing of it has happened; then to the same target only.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use crate::{
    domain::{
        action::Action,
        cloud::{Mutation, Outcome},
        journal::Event,
        plan::{PlannedStep, Purpose},
        run::{RunState, StepState},
        sabotage::{Guard, is_off},
    },
    engine::{
        answers::{
            guard_code, ineffective_code, is_fence, is_passing, is_perhaps_our_own, is_repeatable, left_to_people,
            passes, refusal_code,
        },
        aurora, blind, budget,
        denial::Denial,
        escalation, fences,
        guards::Answer,
        observe::{Seen, observe},
        opposite,
        prior::{self, Prior},
        ramp,
        step::{Driver, Stop, Way},
        undo,
    },
    ports::behalf::on_behalf,
};

/// How long the old state must stand, after an unknown answer, before the same call is repeated; and after an
/// accepted one, before the operation counts as failed. Covers stale reads of the control plane (FAULTS.md 35).
const SETTLE: Duration = Duration::from_secs(30);

/// So many attempts at least may end without any effect (lost on the way, throttled, cut off by a restart) before a
/// step fails: a runbook's `retry` can only add to them. The same call to the same target, each after looking.
const WITHOUT_EFFECT_MAX: u32 = 5;
/// The longest pause between two of them.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// The first intent of a step that has no guards.
pub fn first_intent(run: &RunState, step: &PlannedStep) -> Option<Event> {
    let mutation = step.action.mutations().into_iter().next()?;
    let (run_id, step_id, attempt) = (run.id.clone(), step.id.clone(), run.next_attempt(&step.id));
    Some(Event::Intent { run: run_id, step: step_id, attempt, call: 0, mutation, guards: Vec::new(), prior: None })
}

/// Call number `call` of the step, intended; `None` where there is none, or where what it changes must be seen before
/// and cannot be in time (then the step has failed).
pub(super) async fn intent(
    driver: &Driver,
    run: &RunState,
    attempt: u32,
    call: u32,
    mut guards: Vec<String>,
) -> Result<Option<Event>, Stop> {
    let Some(mutation) = driver.step.action.mutations().into_iter().nth(call as usize) else { return Ok(None) };
    let (run_id, step) = (driver.run.clone(), driver.step.id.clone());
    if driver.way == Way::Back {
        return Ok(Some(Event::UndoIntended { run: run_id, step, attempt, call, mutation, guards }));
    }
    // Fixed now: nothing is journalled yet that the step's time could be counted from.
    let deadline = driver.deadline(run);
    let prior = loop {
        match prior::seen_before(driver, run, call, &mutation).await {
            Prior::Seen(prior) => break Some(prior),
            Prior::NotNeeded => break None,
            // The emergency does not wait for its own way back.
            // A fence that nobody could open again is not closed unseen: the old Region may come back.
            Prior::Unseen { why } if run.plan.purpose == Purpose::Failover && !is_fence(&driver.step.action) => {
                guards.push(format!("cannot be undone: what was there before could not be seen: {why}"));
                break None;
            }
            Prior::Unseen { why } if deadline <= driver.context.clock.boot() => {
                driver.fail("prior-unseen", format!("what is there before it cannot be seen: {why}")).await?;
                return Ok(None);
            }
            Prior::Unseen { why } => pause_unsent(driver, &why).await?,
        }
    };
    Ok(Some(Event::Intent { run: run_id, step, attempt, call, mutation, guards, prior }))
}

/// Drives a step with effects to its end.
pub async fn drive(driver: &Driver) -> Result<(), Stop> {
    // An intent that this very process wrote for a call it has not sent yet. Any other open intent may have been sent.
    let mut fresh = false;
    let mut before_since: Option<Duration> = None;
    loop {
        let run = driver.run_state()?;
        opposite::note(driver, &run);
        match driver.state(&run) {
            StepState::Pending | StepState::Running { .. } => fresh = open(driver, &run).await?,
            StepState::Sending { attempt, call, mutation, intended_at, .. } => {
                let unsent = fresh || driver.context.unsent.take(&driver.run, &driver.step.id);
                if unsent || is_off(Guard::OpenIntent) {
                    fresh = false;
                    let intent = Intended { attempt: *attempt, call: *call, mutation, at: *intended_at };
                    send(driver, &run, &intent).await?;
                } else {
                    let outcome =
                        Outcome::Unknown { reason: "the process ended between the intent and its answer".to_owned() };
                    driver.record(vec![answered(driver, *attempt, *call, outcome)]).await?;
                }
            }
            StepState::Answered { attempt, call, outcome, .. } if let Some(ramp) = ramp::of(&driver.step.action) => {
                fresh = ramp::settle(driver, &run, ramp, (*attempt, *call), outcome, &mut before_since).await?;
            }
            StepState::Holding { .. } => {
                let Some(ramp) = ramp::of(&driver.step.action) else { return Err(Stop::Yield) };
                fresh = ramp::hold(driver, ramp).await?;
            }
            StepState::Answered { outcome, .. } if is_done_unseen(outcome) => {
                driver.finish(vec!["it was answered".to_owned()], BTreeMap::new()).await?;
            }
            StepState::Answered { attempt, call, outcome: Outcome::Unknown { reason }, .. }
                if is_repeated_blindly(driver) =>
            {
                fresh = retry(driver, &run, *attempt, *call, "outcome-unknown", reason).await?;
            }
            StepState::Answered { attempt, call, outcome, .. } => {
                fresh = settle(driver, &run, *attempt, *call, outcome, &mut before_since).await?;
            }
            StepState::Done { .. } | StepState::Skipped { .. } | StepState::Failed { .. } => {
                return Ok(());
            }
        }
    }
}

/// Whether the answer alone ends a step: never, while every guard is on.
fn is_done_unseen(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Accepted { .. } => is_off(Guard::AnswerIsDone),
        Outcome::Rejected { .. } => is_off(Guard::RejectedIsDone),
        Outcome::NotSent { .. } | Outcome::Unknown { .. } => false,
    }
}

/// Whether a call without an answer is sent again without a look: never, while every guard is on.
fn is_repeated_blindly(driver: &Driver) -> bool {
    is_off(Guard::BlindRetry) && !matches!(driver.step.action, Action::Notify { .. })
}

pub(super) fn answered(driver: &Driver, attempt: u32, call: u32, outcome: Outcome) -> Event {
    let (run, step) = (driver.run.clone(), driver.step.id.clone());
    match driver.way {
        Way::Forth => Event::Answered { run, step, attempt, call, outcome },
        Way::Back => Event::UndoAnswered { run, step, attempt, call, outcome },
    }
}

/// Precheck and first intent. True when an intent of ours is durable and unsent.
async fn open(driver: &Driver, run: &RunState) -> Result<bool, Stop> {
    if driver.context.stopping.is_cancelled() || !driver.may_act(run) {
        return Err(Stop::Yield);
    }
    match driver.way {
        Way::Forth => opposite::has_expired(driver, run).await?,
        Way::Back if undo::is_settled(driver, run).await? => return Ok(false),
        Way::Back => {}
    }
    let deadline = driver.deadline(run);
    let is_promotion = matches!(driver.step.action, Action::AuroraFailover { .. } | Action::AuroraDetach { .. });
    let escalates = is_promotion && escalation::escalates(&driver.context.scribe.history(), run);
    // What a runbook declares to be done may be so already: then nothing is sent.
    let is_declared =
        matches!(driver.step.action, Action::AwsCall { .. } | Action::Fence { .. } | Action::AuroraAddInstance { .. });
    // A fault that is out already is mended. One that is in already was put in by somebody else.
    let is_declared = is_declared || matches!(&driver.step.action, Action::LambdaFault(fault) if fault.mends);
    let is_ramp = ramp::of(&driver.step.action).is_some();
    // A ramp begins anew: what stands now of an earlier attempt is one of its steps, and no end.
    let is_again = run.attempts.contains_key(&driver.step.id) && !is_ramp;
    let looks_first = driver.way == Way::Forth && (escalates || is_declared || is_again);
    if looks_first && earlier(driver, deadline).await? {
        return Ok(false);
    }
    if is_ramp && !ramp::may_begin(driver, deadline).await? {
        return Ok(false);
    }
    let evidence = loop {
        match driver.guards(run, 0).await {
            Answer::Holds { evidence } => break evidence,
            Answer::Fails { why } => {
                driver.fail(refusal_code(&driver.step.action), why).await?;
                return Ok(false);
            }
            Answer::Unknown { why } if deadline <= driver.context.clock.boot() => {
                driver.fail(guard_code(&driver.step.action), format!("cannot be told in time: {why}")).await?;
                return Ok(false);
            }
            Answer::Unknown { why } => pause_unsent(driver, &why).await?,
            Answer::Denied(denial) => return denied(driver, denial).await,
        }
    };
    let Some(mutation) = driver.step.action.mutations().into_iter().next() else {
        driver.finish(vec!["nothing to send".to_owned()], BTreeMap::new()).await?;
        return Ok(false);
    };
    if driver.context.stopping.is_cancelled() {
        return Err(Stop::Yield);
    }
    if is_off(Guard::CallBeforeIntent) {
        driver.context.apply(&mutation, driver.context.clock.wall()).await;
    }
    let attempt = match driver.way {
        Way::Forth => run.next_attempt(&driver.step.id),
        Way::Back => run.next_undo_attempt(&driver.step.id),
    };
    let Some(intent) = intent(driver, run, attempt, 0, evidence).await? else { return Ok(false) };
    driver.record(vec![intent]).await?;
    Ok(true)
}

/// AWS refuses a reading that the step needs: the step has failed.
async fn denied(driver: &Driver, denial: Denial) -> Result<bool, Stop> {
    driver.fail(denial.code, denial.why).await?;
    Ok(false)
}

/// What became of an earlier attempt, whose step failed and was resumed: done after all (nothing is sent), or under
/// way still (nothing is sent before it is over). Whether the step is over by it.
async fn earlier(driver: &Driver, deadline: Duration) -> Result<bool, Stop> {
    loop {
        match observe(driver, 0, None).await {
            Seen::Done { mut evidence, outputs } => {
                evidence.push("was so before this attempt: nothing was sent".to_owned());
                driver.finish(evidence, outputs).await?;
                return Ok(true);
            }
            Seen::Moving { what } if deadline <= driver.context.clock.boot() => {
                driver.fail("step-timeout", format!("not done in time: {what}")).await?;
                return Ok(true);
            }
            Seen::Moving { what } => pause_unsent(driver, &what).await?,
            Seen::Denied(denial) => {
                driver.fail(denial.code, denial.why).await?;
                return Ok(true);
            }
            // The guards tell more, or wait.
            Seen::Before { .. } | Seen::Unknown { .. } => return Ok(false),
        }
    }
}

/// An intent that is durable and unsent.
struct Intended<'a> {
    attempt: u32,
    call: u32,
    mutation: &'a Mutation,
    at: Timestamp,
}

/// Guards again, then the call, once.
async fn send(driver: &Driver, run: &RunState, intent: &Intended<'_>) -> Result<(), Stop> {
    let Intended { attempt, call, mutation, .. } = *intent;
    if driver.context.stopping.is_cancelled() {
        let outcome = Outcome::NotSent { reason: "the daemon was stopping".to_owned() };
        driver.record(vec![answered(driver, attempt, call, outcome)]).await?;
        return Err(Stop::Yield);
    }
    // The guards are the last look before the call: whatever must be waited for comes before them.
    driver.context.tenancy.room(&*driver.context.clock, &driver.context.stopping).await;
    let refusal = match driver.guards(run, call).await {
        Answer::Holds { .. } => None,
        Answer::Fails { why } => Some((refusal_code(&driver.step.action), why)),
        Answer::Unknown { why } if driver.context.tenancy.is_shared() => {
            return blind::unsent(driver, attempt, call, &why).await;
        }
        Answer::Unknown { why } => Some((guard_code(&driver.step.action), why)),
        Answer::Denied(denial) => Some((denial.code, denial.why)),
    };
    if let Some((code, why)) = refusal {
        let refused = answered(
            driver,
            attempt,
            call,
            Outcome::NotSent { reason: format!("a guard refused at the last moment: {why}") },
        );
        return driver.fail_after(vec![refused], code, why).await;
    }
    let sent = match mutation {
        Mutation::EndSessions { .. } => fences::end_sessions(&driver.context, mutation).await,
        _ => on_behalf(driver.behalf(Some((attempt, call))), driver.context.apply(mutation, intent.at)).await,
    };
    let outcome = match sent {
        Outcome::NotSent { .. } if is_off(Guard::NotSentIsSent) => Outcome::Accepted { request_id: None, handle: None },
        outcome => outcome,
    };
    tracing::info!(run = %driver.run, step = %driver.step.id, application = %driver.context.application.name, operation = %mutation.operation(), ?outcome, "call ended");
    let last_call = call as usize + 1 == driver.step.action.mutations().len();
    match (&outcome, &driver.step.action) {
        // A message that SNS took is all there is to observe.
        (Outcome::Accepted { handle, .. }, Action::Notify { .. }) if last_call => {
            let evidence = vec![format!("accepted as {}", handle.as_deref().unwrap_or("(no id)"))];
            driver.finish_after(vec![answered(driver, attempt, call, outcome)], evidence, BTreeMap::new()).await
        }
        _ => driver.record(vec![answered(driver, attempt, call, outcome)]).await,
    }
}

/// From an answer to the end of the step, or to the next intent (true).
async fn settle(
    driver: &Driver,
    run: &RunState,
    attempt: u32,
    call: u32,
    outcome: &Outcome,
    before_since: &mut Option<Duration>,
) -> Result<bool, Stop> {
    let calls = driver.step.action.mutations();
    let next_call = calls.get(call as usize + 1);
    let is_notice = matches!(driver.step.action, Action::Notify { .. });
    match outcome {
        Outcome::Accepted { .. } if next_call.is_some() => {
            return proceed(driver, run, attempt, call + 1).await;
        }
        // People in the other Regions are told whatever became of this topic.
        Outcome::Rejected { .. } | Outcome::NotSent { .. } | Outcome::Unknown { .. }
            if is_notice && next_call.is_some() =>
        {
            return proceed(driver, run, attempt, call + 1).await;
        }
        Outcome::NotSent { reason } => {
            return retry(driver, run, attempt, call, "call-not-sent", reason).await;
        }
        Outcome::Rejected { code, .. } if is_perhaps_our_own(&driver.step.action, code) => {}
        Outcome::Rejected { code, message, .. } => {
            let reason = format!("{code}: {message}");
            if is_passing(code) || passes(&driver.step.action, code) {
                return retry(driver, run, attempt, call, "call-rejected", &reason).await;
            }
            driver.fail("call-rejected", reason).await?;
            return Ok(false);
        }
        Outcome::Unknown { reason } if is_notice && is_off(Guard::NoticeTwice) => {
            return retry(driver, run, attempt, call, "outcome-unknown", reason).await;
        }
        Outcome::Unknown { reason } if let Some(why) = left_to_people(&driver.step.action) => {
            driver.fail("outcome-unknown", format!("{why}: {reason}")).await?;
            return Ok(false);
        }
        Outcome::Accepted { .. } | Outcome::Unknown { .. } => {}
    }
    let now = driver.context.clock.boot();
    let why = match observe(driver, call, Some(outcome)).await {
        Seen::Done { evidence, outputs } => {
            if next_call.is_some() {
                return proceed(driver, run, attempt, call + 1).await;
            }
            driver.finish(evidence, outputs).await?;
            return Ok(false);
        }
        Seen::Moving { what } => {
            *before_since = None;
            what
        }
        Seen::Before { what } => {
            let stood = now.saturating_sub(*before_since.get_or_insert(now));
            let is_settled = is_repeatable(outcome, calls.get(call as usize)) || SETTLE <= stood;
            if budget::is_settled(driver, run, outcome, stood).unwrap_or(is_settled) {
                *before_since = None;
                return nothing_happened(driver, run, attempt, call, outcome, &what).await;
            }
            what
        }
        Seen::Unknown { why } => {
            *before_since = None;
            why
        }
        Seen::Denied(denial) => return denied(driver, denial).await,
    };
    if driver.deadline(run) <= driver.context.clock.boot() {
        let code = if matches!(outcome, Outcome::Unknown { .. }) { "outcome-unknown" } else { "step-timeout" };
        driver.fail(code, format!("not done in time: {why}")).await?;
        return Ok(false);
    }
    pause(driver, &why).await?;
    Ok(false)
}

/// The next call of the same step.
async fn proceed(driver: &Driver, run: &RunState, attempt: u32, call: u32) -> Result<bool, Stop> {
    if driver.way == Way::Forth && run.phase.is_unwinding() {
        driver.fail("call-not-sent", format!("given up by the abort: call {} was not sent", call + 1)).await?;
        return Ok(false);
    }
    if driver.context.stopping.is_cancelled() || !driver.may_act(run) {
        return Err(Stop::Yield);
    }
    let Some(intent) = intent(driver, run, attempt, call, Vec::new()).await? else { return Ok(false) };
    driver.record(vec![intent]).await?;
    Ok(true)
}

/// The old state stood for long enough: an accepted operation failed; an unanswered call never arrived.
async fn nothing_happened(
    driver: &Driver,
    run: &RunState,
    attempt: u32,
    call: u32,
    outcome: &Outcome,
    what: &str,
) -> Result<bool, Stop> {
    match outcome {
        Outcome::Unknown { reason } => {
            retry(driver, run, attempt, call, "outcome-unknown", &format!("{reason}; then seen: {what}")).await
        }
        Outcome::Accepted { .. } => {
            driver
                .fail_without_effect(
                    ineffective_code(&driver.step.action),
                    format!("AWS took the call, and yet: {what}"),
                )
                .await?;
            Ok(false)
        }
        Outcome::Rejected { code, message, .. } => {
            driver.fail_without_effect("call-rejected", format!("{code}: {message}; seen: {what}")).await?;
            Ok(false)
        }
        Outcome::NotSent { reason } => retry(driver, run, attempt, call, "call-not-sent", reason).await,
    }
}

/// A new intent for the same call, where attempts are left; else the step fails.
pub(super) async fn retry(
    driver: &Driver,
    run: &RunState,
    attempt: u32,
    call: u32,
    code: &str,
    reason: &str,
) -> Result<bool, Stop> {
    if driver.gives_up(run) {
        budget::give_up(driver, run, code, reason).await?;
        return Ok(false);
    }
    if driver.context.stopping.is_cancelled() || !driver.may_act(run) {
        return Err(Stop::Yield);
    }
    let attempts = driver.step.retry.attempts.max(WITHOUT_EFFECT_MAX);
    if attempts <= attempt || driver.deadline(run) <= driver.context.clock.boot() {
        driver.fail_without_effect(code, format!("after {attempt} attempt(s): {reason}")).await?;
        return Ok(false);
    }
    let backoff = driver.step.retry.backoff.saturating_mul(1 << attempt.saturating_sub(1).min(6)).min(BACKOFF_MAX);
    tokio::select! {
        biased;
        () = driver.context.stopping.cancelled() => return Err(Stop::Yield),
        () = driver.context.clock.sleep(backoff) => {}
    }
    let run = driver.run_state()?;
    if driver.gives_up(&run) {
        return Err(Stop::Yield);
    }
    match driver.guards(&run, call).await {
        Answer::Holds { evidence } => {
            let evidence = ramp::because(&run, driver, call).unwrap_or(evidence);
            let Some(intent) = intent(driver, &run, attempt + 1, call, evidence).await? else { return Ok(false) };
            driver.record(vec![intent]).await?;
            Ok(true)
        }
        Answer::Fails { why } => {
            driver.fail(refusal_code(&driver.step.action), why).await?;
            Ok(false)
        }
        Answer::Unknown { why } => {
            blind::yields(driver, attempt, &why)?;
            pause(driver, &why).await?;
            Ok(false)
        }
        Answer::Denied(denial) => denied(driver, denial).await,
    }
}

async fn pause(driver: &Driver, why: &str) -> Result<(), Stop> {
    driver.context.waits.note(&driver.run, &driver.step.id, why);
    tokio::select! {
        biased;
        () = driver.context.stopping.cancelled() => Err(Stop::Yield),
        () = driver.context.clock.sleep(aurora::POLL) => Ok(()),
    }
}

/// The same, while nothing of the step is on its way: an abort or a pause ends the wait.
pub(super) async fn pause_unsent(driver: &Driver, why: &str) -> Result<(), Stop> {
    pause(driver, why).await?;
    let run = driver.run_state()?;
    // A step that was passed over meanwhile sends nothing any more.
    if driver.may_act(&run) && driver.state(&run).is_unsettled() { Ok(()) } else { Err(Stop::Yield) }
}
