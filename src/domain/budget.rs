//! What is left of an objective: of the RPO over a window of time, and of the RTO in the present trouble.
//!
//! Invariant: what is not known counts as over the objective, not as within it.

use std::{collections::VecDeque, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{forecast::Forecast, seconds};

/// Into how many parts a window is divided; the oldest part leaves at once.
const PARTS: u32 = 60;

/// How a store's exposure has stood to its RPO over the window that ends now, as of the newest look.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct RpoBudget {
    /// For how long it was looked at.
    #[serde(with = "seconds", rename = "looked_seconds")]
    pub looked: Duration,
    /// For how long of it the lag was over the RPO, or unknown.
    #[serde(with = "seconds", rename = "over_seconds")]
    pub over: Duration,
    /// For how long of it the lag was unknown.
    #[serde(with = "seconds", rename = "unknown_seconds")]
    pub unknown: Duration,
    /// How fast the allowance is spent: 1 spends exactly all of it, over the window. `None` before the first look.
    pub burn_rate: Option<f64>,
}

/// How one look found the exposure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposed {
    Within,
    Over,
    Unknown,
}

/// The looks of one window, in boot time.
#[derive(Debug, Clone, PartialEq)]
pub struct RpoWindow {
    part: Duration,
    /// Each with when it began and what it holds: looked, over, unknown.
    parts: VecDeque<(Duration, [Duration; 3])>,
    last: Option<(Duration, Exposed)>,
}

impl RpoWindow {
    pub fn new(window: Duration) -> Self {
        Self { part: (window / PARTS).max(Duration::from_secs(1)), parts: VecDeque::new(), last: None }
    }

    /// Takes a look in. What the look before it found has stood until now; over a pause of more than one part nothing
    /// was seen, which is unknown.
    pub fn look(&mut self, boot: Duration, found: Exposed) {
        if let Some((since, before)) = self.last {
            let stood = boot.saturating_sub(since);
            let before = if stood > self.part { Exposed::Unknown } else { before };
            let held = [
                stood,
                if before == Exposed::Within { Duration::ZERO } else { stood },
                if before == Exposed::Unknown { stood } else { Duration::ZERO },
            ];
            if self.parts.back().is_none_or(|(began, _)| *began + self.part <= since) {
                self.parts.push_back((since, [Duration::ZERO; 3]));
            }
            if let Some((_, slot)) = self.parts.back_mut() {
                for (all, one) in slot.iter_mut().zip(held) {
                    *all += one;
                }
            }
        }
        self.last = Some((boot, found));
        let window = self.part * PARTS;
        while self.parts.front().is_some_and(|(began, _)| *began + window <= boot) {
            self.parts.pop_front();
        }
    }

    /// What the window amounts to; `allowance` is the part of it that may be over.
    pub fn budget(&self, allowance: f64) -> RpoBudget {
        let sum = |i: usize| self.parts.iter().map(|(_, held)| held[i]).sum::<Duration>();
        let (looked, over, unknown) = (sum(0), sum(1), sum(2));
        let share = || over.as_secs_f64() / looked.as_secs_f64();
        let burn_rate = (!looked.is_zero() && allowance > 0.0).then(|| share() / allowance);
        RpoBudget { looked, over, unknown, burn_rate }
    }
}

/// What is left of the RTO in the present trouble.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RtoBudget {
    /// Since the first evidence.
    #[serde(with = "seconds", rename = "used_seconds")]
    pub used: Duration,
    /// `None`: it is spent.
    #[serde(with = "seconds::option", rename = "left_seconds")]
    pub left: Option<Duration>,
    /// When the RTO would be missed by a failover that began later; `None` where it would be missed already.
    pub start_by: Option<Timestamp>,
}

impl RtoBudget {
    /// At `now`, of an objective of `rto`, in a trouble first seen at `since`, where a failover takes `forecast`.
    pub fn of(rto: Duration, since: Timestamp, now: Timestamp, forecast: Option<&Forecast>) -> Self {
        let used = Duration::try_from(now.duration_since(since)).unwrap_or_default();
        let left = rto.checked_sub(used).filter(|left| !left.is_zero());
        let spare = forecast.and_then(|f| left?.checked_sub(f.total.p50));
        let start_by = spare.and_then(|spare| now.checked_add(jiff::SignedDuration::try_from(spare).ok()?).ok());
        Self { used, left, start_by }
    }
}

/// What an RTO is spent on, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// From the first evidence to the recommendation.
    Detection,
    /// To the last consent that the run needs.
    Decision,
    /// To the last change of traffic.
    Execution,
    /// To a sustained success through the public name.
    Propagation,
}

impl Part {
    pub const ALL: [Self; 4] = [Self::Detection, Self::Decision, Self::Execution, Self::Propagation];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Detection => "detection",
            Self::Decision => "decision",
            Self::Execution => "execution",
            Self::Propagation => "propagation",
        }
    }
}

/// The part of the RTO that each part may take; together 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RtoShares {
    pub detection: f64,
    pub decision: f64,
    pub execution: f64,
    pub propagation: f64,
}

impl Default for RtoShares {
    /// Of an RTO of five minutes: 45 s to believe what is seen (three readings of a probe, or one of CloudWatch's),
    /// 75 s for two people, 2 min for a promotion (75 s as often shorter as longer) and its proof, and a minute for
    /// the TTL that clients keep. People take the most where nobody planned for them: Netflix spent five of its ten
    /// minutes on deciding.
    fn default() -> Self {
        Self { detection: 0.15, decision: 0.25, execution: 0.40, propagation: 0.20 }
    }
}

impl RtoShares {
    pub fn of(&self, part: Part) -> f64 {
        match part {
            Part::Detection => self.detection,
            Part::Decision => self.decision,
            Part::Execution => self.execution,
            Part::Propagation => self.propagation,
        }
    }
}

/// How one part of the RTO stands to its share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Share {
    pub part: Part,
    /// What it may take.
    #[serde(with = "seconds", rename = "objective_seconds")]
    pub objective: Duration,
    /// What it took, or has taken so far; `None` where it has not begun, or its beginning is not known.
    #[serde(with = "seconds::option", rename = "took_seconds")]
    pub took: Option<Duration>,
    /// Whether it is over.
    pub ended: bool,
}

impl Share {
    /// Whether it took, or has taken already, more than its share; `None` where that is not known.
    pub fn is_over(&self) -> Option<bool> {
        self.took.map(|took| self.objective < took)
    }
}

/// Each part of an objective of `rto` against its share: `ended` is what each part that is over took, where that is
/// known; `running`, the part that lasts, and how long already.
pub fn shares(
    rto: Duration,
    shares: &RtoShares,
    ended: [Option<Duration>; 4],
    running: Option<(Part, Duration)>,
) -> [Share; 4] {
    let over = ended.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    std::array::from_fn(|i| {
        let part = Part::ALL[i];
        let lasting = running.filter(|(now, _)| *now == part).map(|(_, lasts)| lasts);
        // What comes before a part that runs or is over is over too, whether or not it was measured.
        let is_over = running.map_or(i < over, |(now, _)| part < now);
        let objective = rto.mul_f64(shares.of(part).clamp(0.0, 1.0));
        Share { part, objective, took: lasting.or(ended[i].filter(|_| is_over)), ended: is_over }
    })
}

/// The shares in a trouble that no run has been started for: first seen at `since`, recommended at `recommended`.
pub fn shares_so_far(
    rto: Duration,
    of: &RtoShares,
    since: Timestamp,
    recommended: Option<Timestamp>,
    now: Timestamp,
) -> [Share; 4] {
    let between = |from: Timestamp, to: Timestamp| Duration::try_from(to.duration_since(from)).unwrap_or_default();
    let (ended, running) = match recommended {
        Some(at) => (Some(between(since, at)), (Part::Decision, between(at, now))),
        None => (None, (Part::Detection, between(since, now))),
    };
    shares(rto, of, [ended, None, None, None], Some(running))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn what_was_unknown_or_not_looked_at_counts_as_over() {
        let mut window = RpoWindow::new(s(600));
        for (boot, found) in [(0, Exposed::Within), (5, Exposed::Unknown), (10, Exposed::Over), (15, Exposed::Within)] {
            window.look(s(boot), found);
        }
        let budget = window.budget(0.5);
        assert_eq!((budget.looked, budget.over, budget.unknown), (s(15), s(10), s(5)));
        assert!((budget.burn_rate.expect("looked") - (10.0 / 15.0) / 0.5).abs() < 1e-9);
        // The process was paused for a minute: nobody knows what the lag was.
        window.look(s(75), Exposed::Within);
        assert_eq!(window.budget(0.5).unknown, s(65));
    }

    #[test]
    fn the_oldest_part_leaves_the_window_and_memory_is_bounded() {
        let mut window = RpoWindow::new(s(60));
        assert_eq!(window.budget(0.01).burn_rate, None, "nothing was looked at");
        for boot in 0..1_000 {
            window.look(s(boot), if boot < 500 { Exposed::Over } else { Exposed::Within });
        }
        let budget = window.budget(0.01);
        assert!(s(58) <= budget.looked && budget.looked <= s(61), "{budget:?}");
        assert_eq!((budget.over, budget.burn_rate), (s(0), Some(0.0)));
        assert!(window.parts.len() <= 61);
    }

    #[test]
    fn each_part_of_the_rto_stands_against_its_share() {
        let (rto, of) = (s(300), RtoShares::default());
        let told = |shares: [Share; 4]| shares.map(|s| (s.took.map(|t| t.as_secs()), s.ended, s.is_over()));
        let running = shares(rto, &of, [Some(s(30)), None, None, None], Some((Part::Decision, s(80))));
        assert_eq!(running.each_ref().map(|s| s.objective.as_secs()), [45, 75, 120, 60]);
        let nothing = (None, false, None);
        assert_eq!(
            told(running),
            [(Some(30), true, Some(false)), (Some(80), false, Some(true)), nothing, nothing],
            "what runs already is held against its share"
        );
        let at = |n: i64| Timestamp::from_second(n).expect("in range");
        let so_far = shares_so_far(rto, &of, at(0), None, at(50));
        assert_eq!(told(so_far)[0], (Some(50), false, Some(true)), "nobody has recommended anything");
        // A run that nobody recommended: how long detection took is not known, not zero.
        let unknown = shares(rto, &of, [None, Some(s(9)), None, None], None);
        assert_eq!(told(unknown), [(None, true, None), (Some(9), true, Some(false)), nothing, nothing]);
        let all = RtoShares::default();
        assert!((Part::ALL.iter().map(|p| all.of(*p)).sum::<f64>() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_spent_rto_has_nothing_left_and_no_time_to_start() {
        let at = |n: i64| Timestamp::from_second(n).expect("in range");
        let budget = RtoBudget::of(s(100), at(0), at(40), None);
        assert_eq!((budget.used, budget.left, budget.start_by), (s(40), Some(s(60)), None));
        assert_eq!(RtoBudget::of(s(100), at(0), at(100), None).left, None);
    }
}
