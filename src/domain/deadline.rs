//! Whether a run that is under way will keep its RTO: how much of what was left each step has used, and whether what
//! remains still fits.
//!
//! Invariant: it only tells. Nothing waits for a warning, nothing is stopped by one, and what is not known (when the
//! clock started, how long a step takes) gives no warning rather than a wrong one.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    action::Action,
    forecast::{Estimate, Forecast},
    id::StepId,
    plan::PlannedStep,
    recovery,
    run::{RunState, StepState},
    seconds,
};

/// How far something has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Three fifths are used: time to look.
    #[serde(rename = "60_percent")]
    Sixty,
    /// Nine tenths are used.
    #[serde(rename = "90_percent")]
    Ninety,
    /// Nothing is left.
    Spent,
}

impl Level {
    pub const ALL: [Self; 3] = [Self::Sixty, Self::Ninety, Self::Spent];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sixty => "60_percent",
            Self::Ninety => "90_percent",
            Self::Spent => "spent",
        }
    }

    /// What `used` of `whole` amounts to; `None` below three fifths.
    fn of(used: Duration, whole: Duration) -> Option<Self> {
        match used {
            _ if whole <= used => Some(Self::Spent),
            _ if whole.mul_f64(0.9) <= used => Some(Self::Ninety),
            _ if whole.mul_f64(0.6) <= used => Some(Self::Sixty),
            _ => None,
        }
    }
}

/// What a warning is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// One step has used so much of what was left of the RTO when it began.
    Step(StepId),
    /// The RTO itself is spent.
    Rto,
    /// What remains is expected to take more than is left.
    Forecast,
}

/// Something that the people who watch a run should know now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Warning {
    pub about: About,
    pub level: Level,
    #[serde(with = "seconds", rename = "used_seconds")]
    pub used: Duration,
    /// Of how much.
    #[serde(with = "seconds", rename = "whole_seconds")]
    pub whole: Duration,
}

/// How a run under way stands to its RTO.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deadline {
    /// Since the clock started; `None` where it has not, as before the first effect of a planned run.
    #[serde(with = "seconds::option", rename = "used_seconds")]
    pub used: Option<Duration>,
    /// `None`: it is spent, or the clock has not started.
    #[serde(with = "seconds::option", rename = "left_seconds")]
    pub left: Option<Duration>,
    /// What is expected to remain of the run, people's time not counted.
    pub remaining: Estimate,
    /// From so many runs of this application; 0: some of it is declared.
    pub runs: usize,
    /// The gravest first.
    pub warnings: Vec<Warning>,
}

/// How `run` stands at `now` to an RTO of `rto`; `None` when it is over.
pub fn deadline(run: &RunState, rto: Duration, forecast: &Forecast, now: Timestamp) -> Option<Deadline> {
    if run.is_finished() {
        return None;
    }
    let since = |at: Timestamp| Duration::try_from(now.duration_since(at)).unwrap_or_default();
    let clock = recovery::rto_clock(run);
    let remaining = remaining(run, forecast, now);
    let mut warnings = Vec::new();
    // A run that serves again has kept its RTO or missed it: what it still does delays nobody.
    let used = clock.started_at.map(since).filter(|_| clock.total.is_none());
    let left = used.and_then(|used| rto.checked_sub(used)).filter(|left| !left.is_zero());
    if let (Some(started), Some(used)) = (clock.started_at, used) {
        for (step, state) in under_way(run) {
            let Some(began) = state.under_way_since() else { continue };
            let before = Duration::try_from(began.duration_since(started)).unwrap_or_default();
            let whole = rto.saturating_sub(before);
            if let Some(level) = Level::of(since(began), whole).filter(|_| !whole.is_zero()) {
                warnings.push(Warning { about: About::Step(step.id.clone()), level, used: since(began), whole });
            }
        }
        match left {
            None => warnings.push(Warning { about: About::Rto, level: Level::Spent, used, whole: rto }),
            Some(left) if left < remaining.p50 => {
                let level = Level::Ninety;
                warnings.push(Warning { about: About::Forecast, level, used: remaining.p50, whole: left });
            }
            Some(_) => {}
        }
    }
    warnings.sort_by(|a, b| (b.level, &a.about).cmp(&(a.level, &b.about)));
    Some(Deadline { used, left, remaining, runs: forecast.runs, warnings })
}

fn under_way(run: &RunState) -> impl Iterator<Item = (&PlannedStep, &StepState)> {
    run.plan.steps.iter().map(|step| (step, &run.steps[&step.id])).filter(|(_, state)| state.is_in_flight())
}

/// The longest way through what is not settled yet; a step under way has used up what it has already taken.
fn remaining(run: &RunState, forecast: &Forecast, now: Timestamp) -> Estimate {
    let zero = Estimate { p50: Duration::ZERO, p95: Duration::ZERO };
    let mut ends: BTreeMap<&StepId, Estimate> = BTreeMap::new();
    let mut last = zero;
    for step in &run.plan.steps {
        let state = &run.steps[&step.id];
        let Some(foreseen) = forecast.steps.iter().find(|f| f.step == step.id).filter(|_| state.is_unsettled()) else {
            continue;
        };
        let taken = state
            .under_way_since()
            .map_or(Duration::ZERO, |since| Duration::try_from(now.duration_since(since)).unwrap_or_default());
        let begin = step.needs.iter().filter_map(|need| ends.get(need)).fold(zero, |a, b| a.later(*b));
        let end = Estimate {
            p50: begin.p50 + foreseen.estimate.p50.saturating_sub(taken),
            p95: begin.p95 + foreseen.estimate.p95.saturating_sub(taken),
        };
        ends.insert(&step.id, end);
        // What comes after the public name is served, such as a report, delays nobody.
        if !matches!(step.action, Action::Notify { .. }) {
            last = last.later(end);
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        history::tests::{at, done, fold, intent, plan, run_id, started},
        journal::Event,
        plan::Purpose,
    };

    const RTO: Duration = Duration::from_secs(300);

    fn run(events: &[(i64, Event)]) -> RunState {
        RunState::clone(&fold(events).expect("legal").runs[&run_id(1)])
    }

    /// Evidence at 0, asked for at 50, consent at 90, promoting since 100.
    fn promoting() -> RunState {
        let purpose = Purpose::Failover;
        run(&[
            (50, started(purpose, 1)),
            (51, done("gate", &[])),
            (90, done("approve", &[])),
            (100, intent(purpose, "promote")),
        ])
    }

    fn told(run: &RunState, now: i64) -> Vec<(About, Level, u64, u64)> {
        let forecast = Forecast::of(&plan(Purpose::Failover), std::iter::empty());
        let deadline = deadline(run, RTO, &forecast, at(now)).expect("under way");
        let told = |w: &Warning| (w.about.clone(), w.level, w.used.as_secs(), w.whole.as_secs());
        deadline.warnings.iter().map(told).collect()
    }

    #[test]
    fn a_step_is_told_of_at_each_threshold_of_what_was_left_when_it_began() {
        let (run, promote) = (promoting(), About::Step("promote".parse().expect("a step")));
        assert_eq!(told(&run, 219), [], "119 s of 200 s, and a promotion is expected to end now");
        assert_eq!(told(&run, 220), [(promote.clone(), Level::Sixty, 120, 200)]);
        assert_eq!(told(&run, 280).first(), Some(&(promote.clone(), Level::Ninety, 180, 200)));
        let spent = told(&run, 310);
        assert!(spent.contains(&(About::Rto, Level::Spent, 310, 300)), "{spent:?}");
        assert!(spent.contains(&(promote, Level::Spent, 210, 200)), "{spent:?}");
    }

    #[test]
    fn what_remains_is_held_against_what_is_left() {
        let run = promoting();
        let forecast = Forecast::of(&plan(Purpose::Failover), std::iter::empty());
        let at_first = deadline(&run, RTO, &forecast, at(100)).expect("under way");
        assert_eq!((at_first.used, at_first.left), (Some(Duration::from_secs(100)), Some(Duration::from_secs(200))));
        assert!(at_first.warnings.is_empty() && Duration::from_secs(75) < at_first.remaining.p50, "{at_first:?}");
        let late = deadline(&run, Duration::from_secs(150), &forecast, at(110)).expect("under way");
        assert!(late.warnings.iter().any(|w| w.about == About::Forecast), "{late:?}");
    }

    #[test]
    fn a_clock_that_has_not_started_warns_of_nothing_and_a_run_that_is_over_has_none() {
        let waits = run(&[(50, started(Purpose::Switchover, 1)), (51, done("gate", &[]))]);
        let forecast = Forecast::of(&plan(Purpose::Switchover), std::iter::empty());
        let told = deadline(&waits, RTO, &forecast, at(9_000)).expect("under way");
        assert_eq!((told.used, told.left, told.warnings.len()), (None, None, 0));
        let over = crate::domain::history::tests::finished(crate::domain::run::RunResult::Failed);
        let over = run(&[(50, started(Purpose::Failover, 1)), (60, over)]);
        assert_eq!(deadline(&over, RTO, &forecast, at(9_000)), None);
    }
}
