//! How long a failover would take: each step by this application's own runs where there are some, else by a declared
//! estimate, and which of the two it is.
//!
//! Invariant: a forecast never claims more than it knows: one declared step makes the whole say so. The total is the
//! longest way through the steps' needs; its p95 adds the steps' own p95, which overstates it a little, on purpose. The
//! time that people take to consent is no part of it.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    action::Action,
    fence::Rung,
    id::StepId,
    plan::{Plan, PlannedStep, Towards},
    run::{RunResult, RunState, StepState},
    salvage::Salvage,
    seconds,
};

/// How many runs, the newest first, a forecast is made from.
pub const RUNS_MAX: usize = 32;

/// A duration that is not known for sure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    /// As often shorter as longer.
    #[serde(with = "seconds", rename = "p50_seconds")]
    pub p50: Duration,
    /// Longer one time in twenty.
    #[serde(with = "seconds", rename = "p95_seconds")]
    pub p95: Duration,
}

/// What one step is expected to take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepForecast {
    pub step: StepId,
    pub estimate: Estimate,
    /// From so many runs of this application; 0: declared.
    pub runs: usize,
}

/// What a run is expected to take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    pub total: Estimate,
    /// In the plan's order.
    pub steps: Vec<StepForecast>,
    /// The least number of runs that any step is known from; 0: some of it is declared.
    pub runs: usize,
    /// Of a drill, whose `total` is that of the way there: what the way back alone is expected to take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub way_back: Option<Estimate>,
}

impl Forecast {
    /// Of `plan`, by the runs that have ended, in any order.
    pub fn of<'a>(plan: &Plan, runs: impl Iterator<Item = &'a RunState>) -> Self {
        let measured = measured(plan, runs);
        let mut steps = Vec::new();
        for step in &plan.steps {
            let seen = measured.get(&step.id).map_or(&[][..], Vec::as_slice);
            let estimate = if seen.is_empty() { declared(step) } else { quantiles(seen) };
            steps.push(StepForecast { step: step.id.clone(), estimate, runs: seen.len() });
        }
        let total = served(plan, &steps, Towards::Target);
        let way_back = plan.has_way_back().then(|| served(plan, &steps, Towards::Source));
        let counted = plan.steps.iter().zip(&steps).filter(|(s, _)| !is_people(&s.action));
        let runs = counted.map(|(_, s)| s.runs).min().unwrap_or(0);
        Self { total, steps, runs, way_back }
    }
}

/// How long one way takes from its beginning: the longest chain of its steps to the end of those that show that the
/// application is served. A report that follows delays nobody.
fn served(plan: &Plan, of: &[StepForecast], leg: Towards) -> Estimate {
    let zero = Estimate { p50: Duration::ZERO, p95: Duration::ZERO };
    let mut ends: BTreeMap<&StepId, Estimate> = BTreeMap::new();
    for (step, StepForecast { estimate, .. }) in plan.steps.iter().zip(of).filter(|(step, _)| step.towards == leg) {
        let begin = step.needs.iter().filter_map(|need| ends.get(need)).fold(zero, |a, b| a.later(*b));
        ends.insert(&step.id, Estimate { p50: begin.p50 + estimate.p50, p95: begin.p95 + estimate.p95 });
    }
    let shows = |s: &&PlannedStep| matches!(s.action, Action::ProbeHttp { .. } | Action::DnsVerify { .. });
    let last: Vec<Estimate> = plan.steps.iter().filter(shows).filter_map(|s| ends.get(&s.id)).copied().collect();
    let last = if last.is_empty() { ends.values().copied().collect() } else { last };
    last.into_iter().fold(zero, Estimate::later)
}

impl Estimate {
    pub(super) fn later(self, other: Self) -> Self {
        Self { p50: self.p50.max(other.p50), p95: self.p95.max(other.p95) }
    }
}

/// How long each step of the same name and action took in the newest runs of the same purpose that succeeded.
fn measured<'a>(plan: &Plan, runs: impl Iterator<Item = &'a RunState>) -> BTreeMap<StepId, Vec<Duration>> {
    let alike = |r: &&RunState| {
        r.plan.purpose == plan.purpose && r.plan.target == plan.target && r.result() == Some(RunResult::Succeeded)
    };
    let mut alike: Vec<&RunState> = runs.filter(alike).collect();
    alike.sort_by_key(|r| std::cmp::Reverse(r.started_at));
    let mut all: BTreeMap<StepId, Vec<Duration>> = BTreeMap::new();
    for run in alike.into_iter().take(RUNS_MAX) {
        for step in plan.steps.iter().filter(|s| !is_people(&s.action)) {
            let same = run.plan.step(&step.id).is_some_and(|s| s.action.kind() == step.action.kind());
            if let (true, Some(StepState::Done { since, at, .. })) = (same, run.steps.get(&step.id)) {
                let took = Duration::try_from(at.duration_since(*since)).unwrap_or_default();
                all.entry(step.id.clone()).or_default().push(took);
            }
        }
    }
    all
}

/// Whether the step's time is people's, not ours.
fn is_people(action: &Action) -> bool {
    matches!(action, Action::Approve { .. })
}

/// The middle and the 95th of a hundred; of fewer than twenty the largest stands for the latter.
fn quantiles(of: &[Duration]) -> Estimate {
    let mut sorted = of.to_vec();
    sorted.sort_unstable();
    let at = |part: usize| sorted[(sorted.len() * part).div_ceil(100).clamp(1, sorted.len()) - 1];
    Estimate { p50: at(50), p95: at(95) }
}

/// What nobody has measured yet, from what AWS documents and users report (the sources are in
/// `sim/world/timings.toml`): a forced promotion about 75 s (fencing times out at 30 s), 2 min 20 s one time in
/// twenty; a switchover 25 s and 50 s; a change of records 60 s until INSYNC. Looking costs two readings.
pub fn declared(step: &PlannedStep) -> Estimate {
    let s = Duration::from_secs;
    let (p50, p95) = match &step.action {
        Action::AuroraFailover { .. } => (s(75), s(140)),
        Action::AuroraSwitchover { .. } => (s(25), s(50)),
        // 5 to 15 minutes [3P].
        Action::AuroraAddInstance { .. } => (s(420), s(780)),
        // A secondary becomes a cluster of its own: "a few minutes at most" [AUG].
        Action::AuroraDetach { .. } => (s(60), s(180)),
        Action::AuroraWait { .. } => (s(60), s(600)),
        Action::AuroraVerifyWriter { .. } | Action::GateTarget { .. } => (s(4), s(10)),
        // Two calls, one after the other; of CloudWatch one in each Region.
        Action::GateCapacity { .. } | Action::GateQuota { .. } | Action::GateReplication { .. } => (s(2), s(6)),
        Action::AuroraPreserveSnapshot { .. } => (s(0), s(1)),
        Action::GateRpo { .. } | Action::Assert { .. } | Action::Notify { .. } => (s(1), s(3)),
        Action::DnsFlip { .. } => (s(5), s(60)),
        Action::DnsWeights(ramp) => {
            let steps = u32::try_from(ramp.shares().len()).unwrap_or(u32::MAX);
            let kept = ramp.hold_for * steps;
            (kept + s(30) * steps, kept + s(60) * (steps + 2))
        }
        Action::DnsVerify { .. } => (s(10), s(60)),
        Action::ProbeHttp { consecutive, interval, not_before, .. } => {
            let looks = *not_before + *interval * *consecutive;
            (looks, looks + s(20))
        }
        Action::ProbeTcp { consecutive, interval, .. } | Action::ProbePostgres { consecutive, interval, .. } => {
            (*interval * *consecutive, *interval * *consecutive + s(20))
        }
        // By how long a trigger takes to be believed; the runbook bounds it by its timeout.
        Action::ProbeSignal(probe) => (s(30) + probe.hold_for, s(90) + probe.hold_for),
        Action::Fence { fence } => match &fence.rung {
            // AWS tries for half a minute or so (`sim/world/timings.toml`).
            Rung::Event { within } => (s(30), *within),
            Rung::WriteMustFail { within } => (s(2), *within),
            Rung::Connections => (s(3), s(10)),
            Rung::SecurityGroup { .. } | Rung::Restore { .. } => (s(3), s(30)),
            // Tasks take so long to stop.
            Rung::Application { .. } => (s(45), s(90)),
        },
        // A call, and the update that it begins.
        Action::LambdaFault(_) => (s(6), s(20)),
        // The copy of a snapshot takes minutes; a listing with a request for each object, a minute at the most.
        Action::Salvage { look } => match **look {
            Salvage::Snapshot { .. } => (s(5), s(1_800)),
            Salvage::Conflicts { .. } => (s(2), s(6)),
            Salvage::Objects { .. } => (s(10), s(90)),
        },
        Action::Approve { .. } => (s(0), s(0)),
        Action::Wait { duration } => (*duration, *duration),
        // A control plane's call and the look after it; what it sets going is the runbook's to know.
        Action::AwsCall { .. } => (s(3), s(30)),
    };
    Estimate { p50, p95 }
}

#[cfg(test)]
mod tests;
