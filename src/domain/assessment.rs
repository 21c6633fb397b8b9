//! What the samples say about an application now, and what follows. Pure: the samples and the time are arguments.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    id::{ApplicationName, Region, SignalName, StoreName},
    sabotage::{Guard, is_off},
    seconds,
    signal::{SignalState, age},
};

/// How an application is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    Healthy,
    /// Served, but an objective is at risk or a signal has just turned.
    Degraded,
    /// Some triggers say that it is not served, others that it is.
    Impaired,
    /// Every fresh trigger says so, long enough.
    Down,
    /// Too little is known to say. Not healthy.
    Unknown,
}

/// What to do about it. Starting alone is not in this version: a person decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Nothing,
    Notify,
    /// Recommends a failover; the reasons say why.
    Recommend,
}

/// Everything known about an application at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assessment {
    pub application: ApplicationName,
    pub at: Timestamp,
    /// Where the writers are, where all stores agree.
    pub active_region: Option<Region>,
    pub health: Health,
    pub verdict: Verdict,
    pub recommended_target: Option<Region>,
    /// Always at least one.
    pub reasons: Vec<String>,
    /// What would change the verdict.
    pub would_change: Vec<String>,
    pub signals: BTreeMap<SignalName, SignalState>,
    pub exposure: BTreeMap<StoreName, Exposure>,
    /// The first evidence of the present trouble: where the RTO clock starts.
    pub evidence_since: Option<Timestamp>,
}

/// What failing over one store now would lose: three numbers, never one (DESIGN.md 6).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exposure {
    /// The last lag that was measured; `None` where there is no sample at all.
    #[serde(with = "seconds::option", rename = "measured_lag_seconds")]
    pub measured_lag: Option<Duration>,
    #[serde(with = "seconds::option", rename = "sample_age_seconds")]
    pub sample_age: Option<Duration>,
    /// `None` is unbounded.
    #[serde(with = "seconds::option", rename = "loss_bound_seconds")]
    pub loss_bound: Option<Duration>,
    pub basis: String,
    pub fresh: bool,
}

impl Exposure {
    /// The bound of DESIGN.md 6: last lag + (the last instant at which the old writer could have acknowledged a
    /// write − the sample's time). Without a verified fence that instant is `now`.
    pub fn from_lag(sample: Option<(Timestamp, Duration)>, now: Timestamp, freshness: Duration) -> Self {
        let sample = sample.or(is_off(Guard::MissingLag).then_some((now, Duration::ZERO)));
        let dated = sample.map(|(at, lag)| (age(now, at), lag));
        match dated {
            None | Some((None, _)) => Self {
                measured_lag: None,
                sample_age: None,
                loss_bound: None,
                basis: match dated {
                    None => "no lag sample at all: the loss is unbounded".to_owned(),
                    Some(_) => {
                        "the lag sample is dated ahead of the clock and counts for nothing: the loss is unbounded"
                            .to_owned()
                    }
                },
                fresh: false,
            },
            Some((Some(age), lag)) => Self {
                measured_lag: Some(lag),
                sample_age: Some(age),
                loss_bound: Some(if is_off(Guard::StaleLag) { lag } else { lag + age }),
                basis: "last lag + time since it was measured (no fence is verified: the old writer may still \
                        acknowledge writes)"
                    .to_owned(),
                fresh: age <= freshness || is_off(Guard::StaleLag),
            },
        }
    }
}
