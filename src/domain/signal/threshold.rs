//! A metric held against two thresholds: beyond the one it is unhealthy, beyond the other healthy, and between them the
//! earlier belief stands (hysteresis).
//!
//! Invariant: only whole periods are judged, dated at their end, and a period without data is healthy only where the
//! operator has said so of a count. A number that is none never gets here.

use std::{fmt, str::FromStr, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Belief, Reading};
use crate::domain::cloud::Datapoint;

/// How long after a period has ended its data may still come: AWS gives no bound; plan for three minutes [INF, AWS.md
/// 2.2]. Until then "no data" says nothing, not even of a count.
pub const LATE_MAX: Duration = Duration::from_mins(3);

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    #[serde(rename = ">")]
    Above,
    #[serde(rename = ">=")]
    AtLeast,
    #[serde(rename = "<")]
    Below,
    #[serde(rename = "<=")]
    AtMost,
}

impl Comparison {
    fn sign(self) -> &'static str {
        match self {
            Self::Above => ">",
            Self::AtLeast => ">=",
            Self::Below => "<",
            Self::AtMost => "<=",
        }
    }

    /// What holds exactly where this does not.
    fn opposite(self) -> Self {
        match self {
            Self::Above => Self::AtMost,
            Self::AtLeast => Self::Below,
            Self::Below => Self::AtLeast,
            Self::AtMost => Self::Above,
        }
    }

    fn points_up(self) -> bool {
        matches!(self, Self::Above | Self::AtLeast)
    }
}

/// `> 5` and the like.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    pub is: Comparison,
    pub value: f64,
}

impl Limit {
    pub fn holds(&self, value: f64) -> bool {
        match self.is {
            Comparison::Above => self.value < value,
            Comparison::AtLeast => self.value <= value,
            Comparison::Below => value < self.value,
            Comparison::AtMost => value <= self.value,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.is.sign(), self.value)
    }
}

/// Why a text is no limit, or two are no threshold.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidThreshold {
    #[error("expected a comparison and a number, such as \"> 5\" or \"<= 0.5\"")]
    Limit,
    #[error("`{healthy}` and `{unhealthy}` must look in opposite directions")]
    SameDirection { healthy: Limit, unhealthy: Limit },
    #[error("`{healthy}` and `{unhealthy}` both hold of some values")]
    Overlap { healthy: Limit, unhealthy: Limit },
}

impl FromStr for Limit {
    type Err = InvalidThreshold;

    fn from_str(s: &str) -> Result<Self, InvalidThreshold> {
        let s = s.trim();
        let signs = [
            (">=", Comparison::AtLeast),
            ("<=", Comparison::AtMost),
            (">", Comparison::Above),
            ("<", Comparison::Below),
        ];
        let (is, rest) = signs
            .into_iter()
            .find_map(|(sign, is)| Some((is, s.strip_prefix(sign)?)))
            .ok_or(InvalidThreshold::Limit)?;
        let value: f64 = rest.trim().parse().map_err(|_| InvalidThreshold::Limit)?;
        if value.is_finite() { Ok(Self { is, value }) } else { Err(InvalidThreshold::Limit) }
    }
}

/// What a value says, held against a [`Threshold`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    Healthy,
    /// Neither: the earlier belief stands.
    Between,
    Unhealthy,
}

/// When a value is unhealthy, and when it is healthy (again).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    unhealthy: Limit,
    healthy: Limit,
}

impl Threshold {
    /// Without `healthy`, whatever is not unhealthy is healthy.
    ///
    /// # Errors
    /// Where both look the same way, or hold of the same value.
    pub fn new(unhealthy: Limit, healthy: Option<Limit>) -> Result<Self, InvalidThreshold> {
        let healthy = healthy.unwrap_or(Limit { is: unhealthy.is.opposite(), value: unhealthy.value });
        if healthy.is.points_up() == unhealthy.is.points_up() {
            return Err(InvalidThreshold::SameDirection { healthy, unhealthy });
        }
        let (up, down) = if unhealthy.is.points_up() { (unhealthy, healthy) } else { (healthy, unhealthy) };
        let touch =
            up.value.total_cmp(&down.value).is_eq() && up.is == Comparison::AtLeast && down.is == Comparison::AtMost;
        if up.value < down.value || touch {
            return Err(InvalidThreshold::Overlap { healthy, unhealthy });
        }
        Ok(Self { unhealthy, healthy })
    }

    pub fn unhealthy(&self) -> Limit {
        self.unhealthy
    }

    pub fn healthy(&self) -> Limit {
        self.healthy
    }

    pub fn says(&self, value: f64) -> Says {
        if self.unhealthy.holds(value) {
            Says::Unhealthy
        } else if self.healthy.holds(value) {
            Says::Healthy
        } else {
            Says::Between
        }
    }

    /// What `value` means to somebody who believed `belief`; `what` names the metric.
    pub fn reading(&self, value: f64, what: &str, belief: Belief) -> Reading {
        let between = || format!("{what} is {value}, between {} and {}", self.healthy, self.unhealthy);
        match (self.says(value), belief) {
            (Says::Unhealthy, _) => Reading::Unhealthy { detail: format!("{what} is {value} ({})", self.unhealthy) },
            (Says::Healthy, _) => Reading::Healthy { detail: format!("{what} is {value}, not {}", self.unhealthy) },
            (Says::Between, Belief::Unhealthy) => {
                Reading::Unhealthy { detail: format!("{}: unhealthy until it is {}", between(), self.healthy) }
            }
            (Says::Between, Belief::Healthy) => {
                Reading::Healthy { detail: format!("{}: healthy until it is {}", between(), self.unhealthy) }
            }
            (Says::Between, Belief::None) => {
                Reading::Missing { why: format!("{}, and nothing was known before", between()) }
            }
        }
    }
}

/// What it means that a metric has no data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissingMeans {
    #[default]
    Unknown,
    /// Said by the operator of a count that is published only where something is counted.
    Healthy,
}

/// What the series of a metric (newest first) says at `now`, and when that was so.
///
/// A period that is not over is left out: its sum still grows. One that is over may still be corrected by data that
/// come late; a window takes such a correction in.
pub fn judge(
    series: &[Datapoint],
    (period, now): (Duration, Timestamp),
    (threshold, missing): (&Threshold, MissingMeans),
    what: &str,
    belief: Belief,
) -> (Timestamp, Reading) {
    let end = |p: &Datapoint| later(p.at, period);
    let whole = series.iter().map(|p| (end(p), p.value)).find(|(end, _)| *end <= now);
    let settled = earlier(now, LATE_MAX);
    // What was counted up to here would have been published by now.
    let settled = Timestamp::from_second(settled.as_second() - settled.as_second().rem_euclid(seconds(period)))
        .unwrap_or(settled);
    match (whole, missing) {
        (Some((at, value)), MissingMeans::Unknown) => (at, threshold.reading(value, what, belief)),
        (Some((at, value)), MissingMeans::Healthy) if settled <= at => (at, threshold.reading(value, what, belief)),
        (_, MissingMeans::Healthy) => {
            let detail = format!("{what} has no data up to {settled}, which is said to mean that nothing was counted");
            (settled, Reading::Healthy { detail })
        }
        (None, MissingMeans::Unknown) => {
            (now, Reading::Missing { why: format!("CloudWatch has no whole period of {what}") })
        }
    }
}

fn seconds(period: Duration) -> i64 {
    i64::try_from(period.as_secs()).unwrap_or(i64::MAX).max(1)
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| at.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| at.checked_sub(by).ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}
