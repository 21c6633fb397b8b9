//! What a failover has lost, counted in beats: those that the old writer acknowledged and the new one does not hold.
//!
//! The rows are written like the application's, into the same log: what became of them became of every write between
//! them. So the count is exact, and the seconds are an interval as wide as the beats are apart.
//!
//! Invariant: a beat that was not acknowledged is never counted as lost, and one whose answer was lost is told apart.
//! Not here: whether the old writer has really stopped. Whoever asks says so, and on what it rests ([`Until`]).

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::trail::{Fate, HeartbeatTrail, Moment, Sent};
use crate::domain::{id::Region, seconds, signal::CLOCK_SKEW_MAX};

/// What the new writer holds, read after the promotion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The numbers of this beater's beats that are there, from `from` on.
    pub numbers: BTreeSet<u64>,
    /// Numbers below were not asked for, or may have been removed as too old.
    pub from: u64,
}

/// The last instant at which the old writer could have acknowledged a write, and why it is believed to be the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Until {
    pub at: Moment,
    pub basis: Basis,
}

/// What the upper end of a loss rests on, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The old writer is fenced, verified.
    Fenced,
    /// The old writer itself said that it takes no writes.
    Refused,
    /// Its beats fail, and a quorum of vantages agrees that it cannot be written to.
    Corroborated,
    /// Nothing tells that it has stopped: it may have acknowledged writes until now.
    Now,
}

/// What was lost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// Writes acknowledged over at least this long are gone.
    #[serde(with = "seconds", rename = "at_least_seconds")]
    pub at_least: Duration,
    /// And at most this long; `None`: nothing tells where the new writer's data end.
    #[serde(with = "seconds::option", rename = "at_most_seconds")]
    pub at_most: Option<Duration>,
    /// Acknowledged by the old writer, not held by the new one.
    pub beats_missing: u64,
    /// Sent to the old writer without an answer, and not held: they may have been acknowledged into a broken
    /// connection. Not among the missing.
    pub beats_unknown: u64,
    /// Acknowledged by the old writer, as far as is remembered.
    pub beats_acknowledged: u64,
    /// Whether the count is whole: if not, older beats, which are not remembered, are missing as well or may be.
    pub is_whole: bool,
    /// Everything acknowledged before is held.
    pub held_until: Option<Timestamp>,
    /// Nothing was acknowledged after.
    pub until: Timestamp,
    pub basis: Basis,
}

impl HeartbeatTrail {
    /// What was lost when `old` was replaced by `new`, which holds `held`; `until` is when `old` stopped, `None` where
    /// nothing tells.
    pub fn loss(&self, old: &Region, new: &Region, held: &Held, until: Option<Until>, now: Moment) -> Loss {
        let until = until.unwrap_or(Until { at: now, basis: Basis::Now });
        // The last unbroken series that went to the old writer: what was lost in an earlier failover is told there.
        let mut series: Vec<(u64, &Sent)> = self.numbered().rev().skip_while(|(_, b)| b.to != *old).collect();
        let end = series.iter().position(|(_, b)| b.to != *old).unwrap_or(series.len());
        let is_begun_here = end < series.len() || self.first_number() == 1;
        series.truncate(end);
        series.reverse();
        let holds = |n: u64| held.numbers.contains(&n);
        let newest_held = series.iter().rev().find(|(n, _)| holds(*n));
        let held_until = newest_held.map(|(_, b)| b.at).or_else(|| self.replayed_until(new, now));
        let lost = |fate: Fate| series.iter().filter(move |(n, b)| b.fate == fate && held.from <= *n && !holds(*n));
        let missing: Vec<&Sent> = lost(Fate::Acknowledged).map(|(_, b)| *b).collect();
        // The writes between the first and the last of them are gone with them.
        let certainly = match (missing.first().and_then(|b| b.acknowledged()), missing.last()) {
            (Some(first), Some(last)) => last.at.saturating_sub(first),
            _ => Duration::ZERO,
        };
        let asked_all = series.first().is_none_or(|(n, _)| held.from <= *n);
        Loss {
            at_least: certainly,
            at_most: held_until.map(|from| until.at.boot.saturating_sub(from).max(certainly)),
            beats_missing: missing.len() as u64,
            beats_unknown: (lost(Fate::Unknown).count() + lost(Fate::InFlight).count()) as u64,
            beats_acknowledged: series.iter().filter(|(_, b)| b.fate == Fate::Acknowledged).count() as u64,
            // What came before the first that is held, is held: it stands before it in the log.
            is_whole: newest_held.is_some() || is_begun_here && asked_all,
            held_until: held_until.map(|boot| now.wall_at(boot)),
            until: until.at.wall,
            basis: until.basis,
        }
    }

    /// In boot time, until when everything is held according to a row that no remembered beat explains: one that `new`
    /// showed before its promotion. Its beater's clock may differ from ours by as much as is believed of any clock.
    fn replayed_until(&self, new: &Region, now: Moment) -> Option<Duration> {
        let age = Duration::try_from(now.wall.duration_since(self.replayed(new)?)).unwrap_or_default();
        Some(now.boot.saturating_sub(age + CLOCK_SKEW_MAX))
    }
}

#[cfg(test)]
mod tests;
