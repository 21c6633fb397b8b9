//! Signals (what can be observed), samples (one reading of one), and the window that says what a signal means now.
//!
//! Invariant: a missing, stale or contradictory reading is never healthy, never zero and never a vote (DESIGN.md 1).

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    id::SignalName,
    sabotage::{Guard, is_off},
    seconds,
};

mod source;
pub mod threshold;

pub use source::{SignalSource, WitnessOf, health_check_query};

/// Something that can be observed about an application.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    pub name: SignalName,
    pub role: SignalRole,
    pub source: SignalSource,
    /// How often it is read.
    #[serde(with = "seconds", rename = "period_seconds")]
    pub period: Duration,
    /// A reading whose own time is older than this is stale.
    #[serde(with = "seconds", rename = "freshness_seconds")]
    pub freshness: Duration,
    /// So many readings in a row before the signal is believed to be unhealthy (or healthy again).
    pub consecutive: u32,
}

/// What a signal may do to a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalRole {
    /// May argue for moving.
    Trigger,
    /// May stop a move.
    Gate,
    /// Shown only.
    Informational,
}

/// One reading of one signal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When the reading was true: a datapoint's own time, or when a probe was sent.
    pub measured_at: Timestamp,
    /// When we had it.
    pub taken_at: Timestamp,
    pub reading: Reading,
}

/// What a sample says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reading", rename_all = "snake_case")]
pub enum Reading {
    Healthy {
        detail: String,
    },
    /// Positive evidence of ill health (an answer that says so, an alarm, a refused or unanswered probe).
    Unhealthy {
        detail: String,
    },
    Lag {
        #[serde(with = "seconds", rename = "lag_seconds")]
        lag: Duration,
    },
    /// No reading: the source was silent or out of reach. Not evidence of anything.
    Missing {
        why: String,
    },
}

/// What a signal's recent samples amount to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum SignalState {
    Fresh {
        sample: Sample,
    },
    /// There was a reading, but it is too old.
    Stale {
        sample: Sample,
        #[serde(with = "seconds", rename = "age_seconds")]
        age: Duration,
    },
    Missing {
        why: String,
    },
    /// There is a fresh reading, and another source proves it wrong. Unknown, not the lesser of two evils.
    Contradicted {
        sample: Sample,
        by: SignalName,
        why: String,
    },
}

/// How far ahead of the clock a reading may be dated and still be believed: beyond it one of the two clocks is wrong,
/// and such a reading is none (FAULTS.md 11).
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(30);

/// How old something dated `at` is; `None` where it is dated further ahead than clocks may differ.
pub fn age(now: Timestamp, at: Timestamp) -> Option<Duration> {
    match Duration::try_from(now.duration_since(at)) {
        Ok(age) => Some(age),
        Err(_) => {
            let ahead = Duration::try_from(at.duration_since(now)).unwrap_or(Duration::MAX);
            (ahead <= CLOCK_SKEW_MAX || is_off(Guard::FutureReading)).then_some(Duration::ZERO)
        }
    }
}

/// A lag in milliseconds, as CloudWatch has it; `None` where it is no lag (negative, absurd, not a number).
pub fn lag_from_ms(ms: f64) -> Option<Duration> {
    /// Ten years.
    const LAG_MS_MAX: f64 = 3.2e11;
    let ms = if is_off(Guard::AbsurdLag) { ms.clamp(0.0, LAG_MS_MAX) } else { ms };
    (0.0..=LAG_MS_MAX).contains(&ms).then(|| Duration::from_secs_f64(ms / 1000.0))
}

/// How many samples a window keeps.
pub const WINDOW_SAMPLES_MAX: usize = 64;

/// What is believed of a signal, whatever its last reading says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belief {
    /// It has never said anything that could be believed.
    None,
    Healthy,
    Unhealthy,
}

/// The recent samples of one signal.
#[derive(Debug, Clone, PartialEq)]
pub struct SignalWindow {
    samples: std::collections::VecDeque<Sample>,
    /// The last attempt found nothing, and why.
    last_missing: Option<String>,
    consecutive: u32,
    progress: Progress,
    /// As it was before the last sample, which a later reading of the same moment may correct.
    before: Progress,
}

/// How far the readings have come towards a belief.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Progress {
    belief: Belief,
    /// Since when ill health was seen; `None` when it is not.
    unhealthy_since: Option<Timestamp>,
    /// The readings in a row that say the same, and what they say.
    run: u32,
    run_unhealthy: bool,
}

impl Progress {
    const NONE: Self = Self { belief: Belief::None, unhealthy_since: None, run: 0, run_unhealthy: false };

    /// After one more reading.
    fn after(self, sample: &Sample, consecutive: u32) -> Self {
        let unhealthy = matches!(sample.reading, Reading::Unhealthy { .. });
        let goes_on = 0 < self.run && self.run_unhealthy == unhealthy;
        let run = if goes_on { self.run.saturating_add(1) } else { 1 };
        let mut next = Self { run, run_unhealthy: unhealthy, ..self };
        if unhealthy {
            // The RTO clock starts at the first evidence, not when it is believed.
            next.unhealthy_since = self.unhealthy_since.or(Some(sample.measured_at));
        } else if next.belief == Belief::None {
            next.belief = Belief::Healthy;
        }
        if consecutive <= run || is_off(Guard::FirstReading) {
            next.belief = if unhealthy { Belief::Unhealthy } else { Belief::Healthy };
            if !unhealthy {
                next.unhealthy_since = None;
            }
        }
        next
    }
}

impl SignalWindow {
    /// An empty window: the signal is missing until a sample comes.
    pub fn new(consecutive: u32) -> Self {
        Self {
            samples: std::collections::VecDeque::new(),
            last_missing: None,
            consecutive: consecutive.max(1),
            progress: Progress::NONE,
            before: Progress::NONE,
        }
    }

    /// Takes a sample in. A missing reading is remembered as such and changes no belief, but what comes after it is not
    /// "in a row" with what came before: who has seen less never believes more. A datapoint that is not newer than the
    /// last one is the same datapoint read again: it counts once, and as what it said last.
    pub fn push(&mut self, sample: Sample) {
        if let Reading::Missing { why } = &sample.reading {
            self.missed(why.clone());
            return;
        }
        if age(sample.taken_at, sample.measured_at).is_none() {
            self.missed(format!("the reading is dated {}, ahead of the clock", sample.measured_at));
            return;
        }
        self.last_missing = None;
        // A clock that was set back leaves readings from the future behind: they would seem fresh for ever.
        while self.samples.back().is_some_and(|last| age(sample.taken_at, last.measured_at).is_none()) {
            self.samples.pop_back();
            self.progress.run = 0;
            self.before = self.progress;
        }
        match self.samples.back_mut() {
            Some(last) if sample.measured_at < last.measured_at => return,
            Some(last) if sample.measured_at == last.measured_at => {
                if last.reading == sample.reading {
                    return;
                }
                // Data that came late have changed what was read of that moment.
                self.progress = self.before.after(&sample, self.consecutive);
                *last = sample;
                return;
            }
            _ => {}
        }
        if self.samples.len() == WINDOW_SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.before = self.progress;
        self.progress = self.progress.after(&sample, self.consecutive);
        self.samples.push_back(sample);
    }

    fn missed(&mut self, why: String) {
        self.last_missing = Some(why);
        self.progress.run = 0;
    }

    /// What is believed.
    pub fn belief(&self) -> Belief {
        self.progress.belief
    }

    /// Fresh, stale or missing at `now`.
    pub fn state(&self, now: Timestamp, freshness: Duration) -> SignalState {
        let Some(sample) = self.samples.back() else {
            let why = self.last_missing.clone().unwrap_or_else(|| "no reading yet".to_owned());
            return SignalState::Missing { why };
        };
        let Some(age) = age(now, sample.measured_at) else {
            return SignalState::Missing { why: "the last reading is dated ahead of the clock".to_owned() };
        };
        if age <= freshness {
            SignalState::Fresh { sample: sample.clone() }
        } else {
            SignalState::Stale { sample: sample.clone(), age }
        }
    }

    /// Since when the signal has shown ill health without recovering, and whether often enough to be believed.
    pub fn unhealthy(&self) -> Option<(Timestamp, bool)> {
        self.progress.unhealthy_since.map(|since| (since, self.progress.belief == Belief::Unhealthy))
    }

    /// The newest reading of any age.
    pub fn last(&self) -> Option<&Sample> {
        self.samples.back()
    }
}

#[cfg(test)]
mod tests;
