//! What the samples say about an application now, and what follows. Pure: the samples and the time are arguments.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    budget::{RpoBudget, RtoBudget},
    forecast::Forecast,
    id::{ApplicationName, OverrideId, Region, SignalName, StoreName},
    overrides::Ending,
    rules::Finding,
    sabotage::{Guard, is_off},
    seconds,
    signal::{SignalState, age},
    vantage::Witness,
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

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Nothing,
    Notify,
    /// Recommends a failover; the reasons say why.
    Recommend,
    /// Every rule for acting alone holds: the failover is started.
    Start,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Notify => "notify",
            Self::Recommend => "recommend",
            Self::Start => "start",
        }
    }
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
    /// Where each vantage stands on the active Region.
    pub witnesses: Vec<Witness>,
    /// What each rule for acting alone finds.
    pub rules: Vec<Finding>,
    /// In shadow mode: every rule holds, and nothing is started.
    pub would_start: bool,
    /// How long a failover to the recommended, armed or only other Region would take.
    pub forecast: Option<Forecast>,
    /// What is left of the RTO, while there is evidence of trouble.
    pub rto: Option<RtoBudget>,
    /// Each store's lag over the window.
    pub rpo: BTreeMap<StoreName, RpoBudget>,
    /// An arming that must end now, and why.
    pub disarm: Option<(OverrideId, Ending, String)>,
}

impl Assessment {
    /// Nothing is known of `application` yet.
    pub fn unknown(application: ApplicationName, at: Timestamp) -> Self {
        Self {
            application,
            at,
            active_region: None,
            health: Health::Unknown,
            verdict: Verdict::Notify,
            recommended_target: None,
            reasons: vec!["nothing was looked at yet".to_owned()],
            would_change: vec!["a first look".to_owned()],
            signals: BTreeMap::new(),
            exposure: BTreeMap::new(),
            evidence_since: None,
            witnesses: Vec::new(),
            rules: Vec::new(),
            would_start: false,
            forecast: None,
            rto: None,
            rpo: BTreeMap::new(),
            disarm: None,
        }
    }

    /// The store whose loss bound is the worst, with it (`None`: unbounded); nothing where no store is replicated one way.
    pub fn worst_exposure(&self) -> Option<(&StoreName, Option<Duration>)> {
        let bound = |e: &Exposure| e.loss_bound.unwrap_or(Duration::MAX);
        self.exposure.iter().max_by_key(|(_, e)| bound(e)).map(|(store, e)| (store, e.loss_bound))
    }
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
