//! Signals (what can be observed), samples (one reading of one), and the window that says what a signal means now.
//!
//! Invariant: a missing, stale or contradictory reading is never healthy, never zero and never a vote (DESIGN.md 1).

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    id::{Region, SignalName, StoreName},
    sabotage::{Guard, is_off},
    seconds,
};

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

/// Where a signal comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SignalSource {
    /// The store's lag, read in each secondary's Region, following the roles as they are now.
    AuroraLag { store: StoreName },
    /// The store's lag by the heartbeat in the database itself: a row written to the writer and read from each
    /// secondary.
    Heartbeat { store: StoreName },
    /// A Route 53 health check through CloudWatch `HealthCheckStatus`, which lives in us-east-1 only [R53DG];
    /// `of` is the Region whose health it tells.
    HealthCheck { health_check_id: String, of: Region },
    /// A CloudWatch alarm in `region`; `of` is the Region whose health it tells.
    Alarm { region: Region, alarm_name: String, of: Region },
    /// An HTTP probe from here; `of` is the Region whose health it tells.
    HttpProbe {
        url: String,
        of: Region,
        #[serde(with = "seconds", rename = "timeout_seconds")]
        timeout: Duration,
    },
}

impl SignalSource {
    /// The Region whose health this signal tells; a lag belongs to no one Region.
    pub fn of(&self) -> Option<&Region> {
        match self {
            Self::AuroraLag { .. } | Self::Heartbeat { .. } => None,
            Self::HealthCheck { of, .. } | Self::Alarm { of, .. } | Self::HttpProbe { of, .. } => Some(of),
        }
    }

    /// The store whose lag this signal tells.
    pub fn store(&self) -> Option<&StoreName> {
        match self {
            Self::AuroraLag { store } | Self::Heartbeat { store } => Some(store),
            Self::HealthCheck { .. } | Self::Alarm { .. } | Self::HttpProbe { .. } => None,
        }
    }

    /// Who tells it, as far as acting alone is concerned: a Region is no witness of its own loss.
    pub fn witness(&self) -> Option<WitnessOf> {
        /// Where CloudWatch has what Route 53's checkers see [R53DG].
        const HOME_OF_HEALTH_CHECKS: &str = "us-east-1";
        match self {
            Self::AuroraLag { .. } | Self::Heartbeat { .. } => None,
            Self::HttpProbe { .. } => Some(WitnessOf::EveryVantage),
            Self::HealthCheck { of, .. } => (of.as_str() != HOME_OF_HEALTH_CHECKS).then_some(WitnessOf::Route53),
            Self::Alarm { region, of, .. } => (region != of).then(|| WitnessOf::CloudWatch(region.clone())),
        }
    }
}

/// Who sees what a signal tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WitnessOf {
    /// Whoever probes: this daemon and each observer.
    EveryVantage,
    /// Route 53's own checkers, which stand in several Regions.
    Route53,
    /// CloudWatch of a Region that is not the one it tells of.
    CloudWatch(Region),
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

/// The recent samples of one signal.
#[derive(Debug, Clone, PartialEq)]
pub struct SignalWindow {
    samples: std::collections::VecDeque<Sample>,
    /// The last attempt found nothing, and why.
    last_missing: Option<String>,
    /// Since when the believed state is unhealthy; `None` when it is not.
    unhealthy_since: Option<Timestamp>,
    believed_unhealthy: bool,
    consecutive: u32,
}

impl SignalWindow {
    /// An empty window: the signal is missing until a sample comes.
    pub fn new(consecutive: u32) -> Self {
        Self {
            samples: std::collections::VecDeque::new(),
            last_missing: None,
            unhealthy_since: None,
            believed_unhealthy: false,
            consecutive: consecutive.max(1),
        }
    }

    /// Takes a sample in. A missing reading is remembered as such and changes no belief. A datapoint that is not
    /// newer than the last one is the same datapoint read again, and counts once.
    pub fn push(&mut self, sample: Sample) {
        if let Reading::Missing { why } = &sample.reading {
            self.last_missing = Some(why.clone());
            return;
        }
        if age(sample.taken_at, sample.measured_at).is_none() {
            self.last_missing = Some(format!("the reading is dated {}, ahead of the clock", sample.measured_at));
            return;
        }
        self.last_missing = None;
        // A clock that was set back leaves readings from the future behind: they would seem fresh for ever.
        while self.samples.back().is_some_and(|last| age(sample.taken_at, last.measured_at).is_none()) {
            self.samples.pop_back();
        }
        if self.samples.back().is_some_and(|last| sample.measured_at <= last.measured_at) {
            return;
        }
        if self.samples.len() == WINDOW_SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        self.believe();
    }

    fn believe(&mut self) {
        let unhealthy = |s: &Sample| matches!(s.reading, Reading::Unhealthy { .. });
        let Some(last) = self.samples.back() else {
            return;
        };
        let now_unhealthy = unhealthy(last);
        let run = self.samples.iter().rev().take_while(|s| unhealthy(s) == now_unhealthy).count();
        if now_unhealthy {
            // The RTO clock starts at the first evidence, not when it is believed.
            if self.unhealthy_since.is_none() {
                self.unhealthy_since = Some(last.measured_at);
            }
        }
        if run >= self.consecutive as usize || is_off(Guard::FirstReading) {
            self.believed_unhealthy = now_unhealthy;
            if !now_unhealthy {
                self.unhealthy_since = None;
            }
        }
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
        self.unhealthy_since.map(|since| (since, self.believed_unhealthy))
    }

    /// The newest reading of any age.
    pub fn last(&self) -> Option<&Sample> {
        self.samples.back()
    }
}

#[cfg(test)]
mod tests;
