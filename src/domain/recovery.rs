//! What a run achieved against its objectives: the RTO clock in its four shares, and the loss.
//!
//! The clock starts at the first evidence of trouble (a planned run's at its first effect) and stops at a sustained
//! successful transaction through the public name (DESIGN.md 6). Pure: everything comes from the journal.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    action::Action,
    budget::{self, Part, RtoShares, Share},
    id::StepId,
    plan::{PlannedStep, Purpose, Towards},
    run::{LossReport, Phase, RunResult, RunState, StepState},
    sabotage::{Guard, is_off},
    seconds,
};

/// The RTO clock of one run. A share that has not ended yet, or whose start is not known, is `None`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RtoClock {
    pub started_at: Option<Timestamp>,
    pub stopped_at: Option<Timestamp>,
    /// First evidence to recommendation.
    #[serde(with = "seconds::option", rename = "detection_seconds")]
    pub detection: Option<Duration>,
    /// Recommendation to the last consent that the run needed.
    #[serde(with = "seconds::option", rename = "decision_seconds")]
    pub decision: Option<Duration>,
    /// To the last change of traffic.
    #[serde(with = "seconds::option", rename = "execution_seconds")]
    pub execution: Option<Duration>,
    /// To a sustained success through the public name.
    #[serde(with = "seconds::option", rename = "propagation_seconds")]
    pub propagation: Option<Duration>,
    #[serde(with = "seconds::option", rename = "total_seconds")]
    pub total: Option<Duration>,
}

fn between(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<Duration> {
    Some(Duration::try_from(to?.duration_since(from?)).unwrap_or_default())
}

/// The RTO clock of `run`; of a drill that of the way there.
pub fn rto_clock(run: &RunState) -> RtoClock {
    leg_clock(run, Towards::Target)
}

/// The clock of a drill's way back, a planned move of its own; `None` where the run has none.
pub fn way_back_clock(run: &RunState) -> Option<RtoClock> {
    run.plan.has_way_back().then(|| leg_clock(run, Towards::Source))
}

fn leg_clock(run: &RunState, leg: Towards) -> RtoClock {
    let ends = |wanted: fn(&PlannedStep) -> bool| -> Option<Timestamp> {
        let steps: Vec<_> = run.plan.steps.iter().filter(|s| s.towards == leg && wanted(s)).collect();
        // What a drill passed over on its way home has not ended.
        let is_done = |s: &&&PlannedStep| {
            let is_skipped = matches!(run.steps[&s.id], StepState::Skipped { .. });
            leg == Towards::Source || !is_skipped || !run.leaves_behind(&s.id)
        };
        let done = steps.iter().filter(is_done).filter_map(|s| done_at(&run.steps[&s.id]));
        let done: Vec<Timestamp> = done.collect();
        (!steps.is_empty() && done.len() == steps.len()).then(|| done.into_iter().max()).flatten()
    };
    let asks = run.plan.steps.iter().any(|s| matches!(s.action, Action::Approve { .. }));
    // A consent that is still waited for has not ended the decision.
    let consent = if asks { ends(|s| matches!(s.action, Action::Approve { .. })) } else { Some(run.started_at) };
    let flipped = ends(|s| s.action.requires_writer().is_some());
    let is_public =
        |s: &PlannedStep| matches!(&s.action, Action::ProbeHttp { resolve_with, .. } if !resolve_with.is_empty());
    let served = first_served(run, leg)
        .unwrap_or_else(|| ends(is_public))
        .or_else(|| ends(|s| matches!(s.action, Action::ProbeHttp { .. })));
    let started_at = match run.request.purpose {
        Purpose::Failover => run.evidence_since.or(Some(run.started_at)),
        Purpose::Switchover | Purpose::Failback | Purpose::Drill | Purpose::Salvage => first_effect(run, leg),
    };
    let planned = run.request.purpose != Purpose::Failover;
    let recommended = run.recommended_at.filter(|_| !planned);
    RtoClock {
        started_at,
        stopped_at: served,
        detection: between(started_at, recommended),
        decision: between(recommended.or(started_at), consent).filter(|_| !planned),
        execution: between(if planned { started_at } else { consent }, flipped),
        propagation: between(flipped, served),
        total: between(started_at, served),
    }
}

/// When each public name that is probed after its traffic was moved had its first sustained success: a drill probes for
/// longer, which is no part of the move. `None`: the runbook has no such probe. `Some(None)`: one has not succeeded yet.
fn first_served(run: &RunState, leg: Towards) -> Option<Option<Timestamp>> {
    let of_leg = || run.plan.steps.iter().filter(|s| s.towards == leg);
    let flips: Vec<&StepId> = of_leg().filter(|s| s.action.requires_writer().is_some()).map(|s| &s.id).collect();
    let mut names: BTreeMap<&str, Option<Timestamp>> = BTreeMap::new();
    let is_passed_over = |s: &&PlannedStep| matches!(run.steps[&s.id], StepState::Skipped { .. });
    let probes = of_leg().filter(|s| flips.iter().any(|flip| run.plan.needs(&s.id, flip)));
    for step in probes.filter(|s| !is_passed_over(s)) {
        if let Action::ProbeHttp { url, resolve_with, .. } = &step.action
            && !resolve_with.is_empty()
        {
            let (first, done) = (names.entry(url).or_default(), done_at(&run.steps[&step.id]));
            *first = [*first, done].into_iter().flatten().min();
        }
    }
    let all: Option<Vec<Timestamp>> = names.values().copied().collect();
    (!names.is_empty()).then(|| all.and_then(|all| all.into_iter().max()))
}

/// Each part of the RTO against its share, as of `now`, while `run` is under way and after it. Of a run that is over,
/// what has not ended is not known.
pub fn shares(run: &RunState, rto: Duration, of: &RtoShares, now: Timestamp) -> [Share; 4] {
    let clock = rto_clock(run);
    let ended = [clock.detection, clock.decision, clock.execution, clock.propagation];
    let is_planned = run.request.purpose != Purpose::Failover;
    let part = match (clock.execution, clock.decision) {
        (Some(_), _) => Part::Propagation,
        (None, Some(_)) => Part::Execution,
        (None, None) if is_planned => Part::Execution,
        (None, None) => Part::Decision,
    };
    let begun = clock.started_at.filter(|_| clock.total.is_none() && !run.is_finished());
    // The parts follow each other: what runs now began where the last one that is over ended.
    let lasts = between(begun, Some(now)).map(|all| all.saturating_sub(ended.iter().flatten().sum()));
    budget::shares(rto, of, ended, lasts.map(|lasts| (part, lasts)))
}

fn done_at(state: &StepState) -> Option<Timestamp> {
    match state {
        StepState::Done { at, .. } | StepState::Skipped { at, .. } => Some(*at),
        StepState::Pending
        | StepState::Running { .. }
        | StepState::Sending { .. }
        | StepState::Answered { .. }
        | StepState::Holding { .. }
        | StepState::Failed { .. } => None,
    }
}

/// When the first effect of that way on the application began (a notification is none).
fn first_effect(run: &RunState, leg: Towards) -> Option<Timestamp> {
    let of_leg = run.plan.steps.iter().filter(|s| s.towards == leg);
    let effects = of_leg.filter(|s| s.action.effect() != super::action::EffectClass::Read);
    effects
        .filter_map(|s| match &run.steps[&s.id] {
            StepState::Done { since, .. } | StepState::Failed { since, .. } => Some(*since),
            StepState::Sending { intended_at, .. } | StepState::Answered { intended_at, .. } => Some(*intended_at),
            StepState::Holding { since, .. } => Some(*since),
            StepState::Pending | StepState::Running { .. } | StepState::Skipped { .. } => None,
        })
        .min()
}

/// What one Region showed of its database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Watermark {
    pub last_seen_write: Option<Timestamp>,
    /// When the first probe since the last answer had failed.
    pub first_unanswered: Option<Timestamp>,
}

/// What `run` lost, from the watermarks that its steps journalled: `last_surviving_write` of the new writer (in the
/// outputs of `aurora.verify_writer`, before any traffic), and what the old one showed then, and shows by `now`: a
/// Region that was silent may have come back, and acknowledged more to those who had not heard of the move.
pub fn loss(run: &RunState, now: Watermark) -> Option<LossReport> {
    let output = |wanted: fn(&Action) -> bool, key: &str| -> Option<Timestamp> {
        run.plan.steps.iter().filter(|s| wanted(&s.action)).find_map(|s| match &run.steps[&s.id] {
            StepState::Done { outputs, .. } => outputs.get(key)?.as_str()?.parse().ok(),
            StepState::Pending
            | StepState::Running { .. }
            | StepState::Sending { .. }
            | StepState::Answered { .. }
            | StepState::Holding { .. }
            | StepState::Skipped { .. }
            | StepState::Failed { .. } => None,
        })
    };
    let promoted = run
        .plan
        .steps
        .iter()
        .filter(|s| matches!(s.action, Action::AuroraFailover { .. } | Action::AuroraDetach { .. }))
        .find_map(|s| done_at(&run.steps[&s.id]));
    if run.request.purpose != Purpose::Failover {
        let switched = run
            .plan
            .steps
            .iter()
            .any(|s| matches!(s.action, Action::AuroraSwitchover { .. }) && done_at(&run.steps[&s.id]).is_some());
        return switched.then(|| LossReport {
            last_surviving_write: None,
            last_seen_write: None,
            first_unanswered: None,
            at_least: Some(Duration::ZERO),
            at_most: Some(Duration::ZERO),
            basis: "a switchover waits until the target holds every write".to_owned(),
        });
    }
    promoted?;
    let gate: fn(&Action) -> bool = |a| matches!(a, Action::GateTarget { .. });
    let verified: fn(&Action) -> bool = |a| matches!(a, Action::AuroraVerifyWriter { .. });
    let last_seen_write = output(verified, "last_seen_write").max(output(gate, "last_seen_write"));
    let last_surviving_write = output(verified, "last_surviving_write");
    // Until when the old writer may have acknowledged; `None` where nothing tells that it has stopped.
    let first_unanswered = match (output(verified, "first_unanswered"), now) {
        // Silent all the time since.
        (Some(silent), Watermark { first_unanswered: Some(since), .. }) if since == silent => Some(silent),
        // This process was started since, and has never had an answer.
        (Some(_), Watermark { last_seen_write: None, first_unanswered: Some(since) }) => Some(since),
        // It has answered since, or has not been looked at. Newer writes that it shows may be its own, or the new
        // writer's that have come to it; without a proven fence nothing tells that it takes none.
        (Some(_), _) => None,
        (None, Watermark { first_unanswered, .. }) => first_unanswered,
    };
    let basis = match (last_surviving_write, first_unanswered) {
        (None, _) => "the new writer's last write is not known: the loss is not measured",
        (Some(_), Some(_)) => {
            "the new writer's last write, against the old writer's last seen write and its first unanswered probe"
        }
        (Some(_), None) => {
            "the new writer's last write; the old writer's Region answered after the promotion, and no fence is proven: \
             what it acknowledged is not known"
        }
    };
    let seen_lost = between(last_surviving_write, last_seen_write);
    let beats_lost = beats(run);
    Some(LossReport {
        last_surviving_write,
        last_seen_write,
        first_unanswered,
        at_least: seen_lost.max(beats_lost.map(|(lost, _)| lost)).filter(|_| !is_off(Guard::RosyLoss)),
        at_most: between(last_surviving_write, first_unanswered).map(|lost| {
            if is_off(Guard::RosyLoss) { Duration::ZERO } else { lost.max(beats_lost.map_or(lost, |b| b.0)) }
        }),
        basis: match beats_lost {
            Some((_, missing)) => format!("{basis}; {missing} beats that the old writer acknowledged are missing"),
            None => basis.to_owned(),
        },
    })
}

/// What the heartbeat counted when the writer was verified: the least time over which writes are gone, and the beats
/// that are missing.
fn beats(run: &RunState) -> Option<(Duration, u64)> {
    run.plan.steps.iter().filter(|s| matches!(s.action, Action::AuroraVerifyWriter { .. })).find_map(|s| {
        let StepState::Done { outputs, .. } = run.steps.get(&s.id)? else { return None };
        let at_least = outputs.get("beats_at_least_seconds")?.as_f64()?;
        Some((Duration::try_from_secs_f64(at_least).ok()?, outputs.get("beats_missing")?.as_u64()?))
    })
}

/// Whether the run did what it was for.
pub fn succeeded(run: &RunState) -> bool {
    matches!(run.phase, Phase::Finished { result: RunResult::Succeeded, .. })
}

#[cfg(test)]
mod tests;
