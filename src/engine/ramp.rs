//! A ramp of weights: each of its calls observed and kept for a time, the guard looked at all the while, and one step
//! back where it is breached.
//!
//! Invariant: the calls are the plan's, sent one at a time under the step protocol. A step is begun only while the guard
//! is known to be well and the step before has been in effect for as long as the plan says, by boot time, restarts
//! included. The way back is taken only when nothing earlier can still land: never from an answer that was lost.
//! It decides nothing else; a person does, at the hold that a step back ends with.

use std::time::Duration;

use crate::{
    domain::{
        action::Action,
        cloud::{Mutation, Outcome},
        journal::Event,
        ramp::{Ramp, Watch},
        run::{RunState, StepState},
        seconds::to_seconds,
    },
    engine::{
        answers::is_passing,
        aurora,
        effect::{intent, pause_unsent, retry},
        observe::{self, Seen},
        step::{Driver, Stop, may_act},
    },
};

/// How long the old state must stand before a call counts as not having happened (as for every other effect).
const SETTLE: Duration = Duration::from_secs(30);

/// The ramp of a step that is one.
pub(super) fn of(action: &Action) -> Option<&Ramp> {
    match action {
        Action::DnsWeights(ramp) => Some(ramp),
        _ => None,
    }
}

/// What the guard says now.
pub(super) fn watch(driver: &Driver, ramp: &Ramp) -> Watch {
    let now = driver.context.clock.boot();
    ramp.guard.judge(&driver.context.signs.of(&ramp.guard.signals, now))
}

/// Whether the ramp may begin, or begin anew: as soon as the guard is well. False where the step is over instead.
pub(super) async fn may_begin(driver: &Driver, deadline: Duration) -> Result<bool, Stop> {
    let Some(ramp) = of(&driver.step.action) else { return Ok(true) };
    loop {
        match watch(driver, ramp) {
            Watch::Well => return Ok(true),
            Watch::Waits { why } if driver.context.clock.boot() < deadline => {
                pause_unsent(driver, &format!("nothing is moved yet: {why}")).await?;
            }
            Watch::Waits { why } | Watch::Breached { why } => {
                driver.fail("ramp-not-begun", format!("nothing was moved: {why}")).await?;
                return Ok(false);
            }
        }
    }
}

/// From an answer to the next state. True when an intent of ours is durable and unsent.
pub(super) async fn settle(
    driver: &Driver,
    run: &RunState,
    ramp: &Ramp,
    (attempt, call): (u32, u32),
    outcome: &Outcome,
    before_since: &mut Option<Duration>,
) -> Result<bool, Stop> {
    match outcome {
        Outcome::NotSent { reason } => return retry(driver, run, attempt, call, "call-not-sent", reason).await,
        Outcome::Rejected { code, message, .. } => {
            let reason = format!("{code}: {message}");
            if is_passing(code) {
                return retry(driver, run, attempt, call, "call-rejected", &reason).await;
            }
            driver.fail("call-rejected", at_share(ramp, call, &reason)).await?;
            return Ok(false);
        }
        // The control plane lists what is only pending too, so a lost answer leaves no proof: the same call again, whose
        // change can be asked for, is as good as the first.
        Outcome::Unknown { reason } if is_change_of_records(ramp, call) => {
            pause(driver, &format!("{} % is asked for again: {reason}", ramp.percent(call)), aurora::POLL).await?;
            return retry(driver, run, attempt, call, "outcome-unknown", reason).await;
        }
        Outcome::Accepted { .. } | Outcome::Unknown { .. } => {}
    }
    let seen = in_effect(driver, ramp, call, outcome).await;
    let is_before = matches!(seen, Seen::Before { .. });
    let why = match seen {
        Seen::Done { evidence, .. } => return observed(driver, run, ramp, (attempt, call), evidence).await,
        Seen::Denied(denial) => {
            driver.fail(denial.code, at_share(ramp, call, &denial.why)).await?;
            return Ok(false);
        }
        Seen::Moving { what } | Seen::Before { what } => what,
        Seen::Unknown { why } => why,
    };
    if matches!(outcome, Outcome::Accepted { .. })
        && let Watch::Breached { why } = watch(driver, ramp)
        && may_act(run)
        && ramp.is_step(call)
    {
        return breached(driver, run, ramp, (attempt, call), why).await;
    }
    let now = driver.context.clock.boot();
    if is_before {
        let since = *before_since.get_or_insert(now);
        if matches!(outcome, Outcome::Unknown { .. }) || SETTLE <= now.saturating_sub(since) {
            *before_since = None;
            return retry(driver, run, attempt, call, "outcome-unknown", &format!("not in effect: {why}")).await;
        }
    } else {
        *before_since = None;
    }
    if driver.deadline(run) <= now {
        let code = if matches!(outcome, Outcome::Unknown { .. }) { "outcome-unknown" } else { "step-timeout" };
        driver.fail(code, at_share(ramp, call, &format!("not done in time: {why}"))).await?;
        return Ok(false);
    }
    pause(driver, &format!("{} % is being put into effect: {why}", ramp.percent(call)), aurora::POLL).await?;
    Ok(false)
}

/// A call is in effect: what follows.
async fn observed(
    driver: &Driver,
    run: &RunState,
    ramp: &Ramp,
    (attempt, call): (u32, u32),
    evidence: Vec<String>,
) -> Result<bool, Stop> {
    if ramp.is_back(call) {
        let why = match &run.steps[&driver.step.id] {
            StepState::Answered { guards, .. } => guards.join("; "),
            _ => String::new(),
        };
        let reason = format!(
            "traffic was put back, {} % of it goes to {} now: {why}. A resume begins the ramp again",
            ramp.percent(call),
            ramp.to
        );
        driver.fail("ramp-stepped-back", reason).await?;
        return Ok(false);
    }
    if ramp.is_step(call) {
        let (run, step) = (driver.run.clone(), driver.step.id.clone());
        driver.record(vec![Event::CallObserved { run, step, attempt, call, evidence }]).await?;
        return Ok(false);
    }
    match ramp.next(call) {
        // Whether the guard is well is asked before each step; these calls move nothing.
        Some(next) if !ramp.is_step(next) => forward(driver, run, (attempt, next), evidence).await,
        Some(next) => first_step(driver, run, ramp, (attempt, next), evidence).await,
        None => {
            driver.finish(evidence, Default::default()).await?;
            Ok(false)
        }
    }
}

/// The first step of a ramp whose preparation is in effect: as soon as the guard is well.
async fn first_step(
    driver: &Driver,
    run: &RunState,
    ramp: &Ramp,
    (attempt, next): (u32, u32),
    evidence: Vec<String>,
) -> Result<bool, Stop> {
    match watch(driver, ramp) {
        Watch::Well => forward(driver, run, (attempt, next), evidence).await,
        Watch::Breached { why } => {
            driver.fail("ramp-not-begun", format!("nothing was moved: {why}")).await?;
            Ok(false)
        }
        Watch::Waits { why } if driver.deadline(run) <= driver.context.clock.boot() => {
            driver.fail("step-timeout", format!("nothing was moved: {why}")).await?;
            Ok(false)
        }
        Watch::Waits { why } => {
            pause(driver, &format!("nothing is moved yet: {why}"), aurora::POLL).await?;
            Ok(false)
        }
    }
}

/// Keeps a step for its time. True when an intent of ours is durable and unsent.
pub(super) async fn hold(driver: &Driver, ramp: &Ramp) -> Result<bool, Stop> {
    let mut changes = driver.context.scribe.changes();
    loop {
        let _newest = changes.take();
        let run = driver.run_state()?;
        let StepState::Holding { attempt, call, held_since, evidence, .. } = &run.steps[&driver.step.id] else {
            return Ok(false);
        };
        let (attempt, call) = (*attempt, *call);
        if driver.context.stopping.is_cancelled() || run.phase.is_unwinding() {
            return Err(Stop::Yield);
        }
        let boot = driver.context.clock.boot();
        let held = driver.context.holds.of(&run.id, &driver.step.id, *held_since, boot);
        let left = ramp.hold_for.saturating_sub(held);
        let watched = watch(driver, ramp);
        let note = match (may_act(&run), &watched) {
            (false, _) => "the run stands still".to_owned(),
            (true, Watch::Breached { why }) => return breached(driver, &run, ramp, (attempt, call), why.clone()).await,
            (true, Watch::Well) if left.is_zero() => {
                let kept = format!("{} % was kept for {} s, all well", ramp.percent(call), to_seconds(ramp.hold_for));
                let evidence = evidence.iter().cloned().chain([kept]).collect();
                return match ramp.next(call) {
                    Some(next) => forward(driver, &run, (attempt, next), evidence).await,
                    None => {
                        driver.finish(evidence, Default::default()).await?;
                        Ok(false)
                    }
                };
            }
            (true, Watch::Well) => ramp.progress(call, *held_since),
            (true, Watch::Waits { why }) => format!("{}; waits: {why}", ramp.progress(call, *held_since)),
        };
        if driver.deadline(&run) <= boot {
            driver.fail("step-timeout", at_share(ramp, call, &format!("not done in time: {note}"))).await?;
            return Ok(false);
        }
        driver.context.waits.note(&driver.run, &driver.step.id, &note);
        let pause = if left.is_zero() { aurora::POLL } else { left.min(aurora::POLL) };
        tokio::select! {
            biased;
            () = driver.context.stopping.cancelled() => return Err(Stop::Yield),
            () = changes.changed() => {}
            () = driver.context.clock.sleep(pause) => {}
        }
    }
}

async fn forward(
    driver: &Driver,
    run: &RunState,
    (attempt, call): (u32, u32),
    guards: Vec<String>,
) -> Result<bool, Stop> {
    if driver.context.stopping.is_cancelled() || !may_act(run) {
        return Err(Stop::Yield);
    }
    let Some(intent) = intent(driver, run, attempt, call, guards).await? else { return Ok(false) };
    driver.record(vec![intent]).await?;
    Ok(true)
}

/// The guard is breached: one step back where the plan says so, and then a person.
async fn breached(
    driver: &Driver,
    run: &RunState,
    ramp: &Ramp,
    (attempt, call): (u32, u32),
    why: String,
) -> Result<bool, Stop> {
    let why = format!("at {} %, {why}", ramp.percent(call));
    match ramp.back_from(call).filter(|_| ramp.guard.step_back) {
        Some(back) => forward(driver, run, (attempt, back), vec![why]).await,
        None => {
            driver.fail("ramp-breached", at_share(ramp, call, &why)).await?;
            Ok(false)
        }
    }
}

fn is_change_of_records(ramp: &Ramp, call: u32) -> bool {
    ramp.call(call).is_some_and(|planned| matches!(planned.mutation, Mutation::UpsertRecords { .. }))
}

fn at_share(ramp: &Ramp, call: u32, why: &str) -> String {
    format!("{why} (asked for last: {} % to {})", ramp.percent(call), ramp.to)
}

/// The mechanism says so, and no server of the zone answers anything else.
async fn in_effect(driver: &Driver, ramp: &Ramp, call: u32, outcome: &Outcome) -> Seen {
    /// How long one server may take.
    const DNS_TIMEOUT: Duration = Duration::from_secs(3);
    let Some(planned) = ramp.call(call) else { return Seen::Unknown { why: "no such call".to_owned() } };
    let (mut evidence, outputs) = match observe::traffic(driver, &planned.mutation, Some(outcome)).await {
        Seen::Done { evidence, outputs } => (evidence, outputs),
        other => return other,
    };
    if !is_change_of_records(ramp, call) {
        return Seen::Done { evidence, outputs };
    }
    let plausible = ramp.answers(call);
    for server in &ramp.servers {
        let asked = driver.context.probes.dns(server, &ramp.record_name, &ramp.record_type, DNS_TIMEOUT).await;
        match asked {
            Ok(answers) if !answers.is_empty() && answers.iter().all(|a| plausible.contains(&a.as_str())) => {}
            Ok(answers) => return Seen::Moving { what: format!("{server} answers {}", answers.join(", ")) },
            Err(error) => return Seen::Unknown { why: error.to_string() },
        }
    }
    evidence.push(format!(
        "{} server(s) answer {} at {} %",
        ramp.servers.len(),
        plausible.join(" or "),
        planned.percent
    ));
    Seen::Done { evidence, outputs }
}

/// Why a ramp was to be taken back: kept with each intent of that, or the reason would be lost with the first.
pub(super) fn because(run: &RunState, driver: &Driver, call: u32) -> Option<Vec<String>> {
    let is_back = of(&driver.step.action).is_some_and(|ramp| ramp.is_back(call));
    match &run.steps[&driver.step.id] {
        StepState::Answered { guards, .. } if is_back => Some(guards.clone()),
        _ => None,
    }
}

async fn pause(driver: &Driver, why: &str, pause: Duration) -> Result<(), Stop> {
    driver.context.waits.note(&driver.run, &driver.step.id, why);
    tokio::select! {
        biased;
        () = driver.context.stopping.cancelled() => Err(Stop::Yield),
        () = driver.context.clock.sleep(pause) => Ok(()),
    }
}
