//! The trail of a heartbeat: which beats were acknowledged and when, and what each Region's database showed of them.
//! From it follow the lag, whether the replication stands still, and since when the writer takes no beats.
//!
//! Invariant: every duration is between two instants of one clock, the beater's, which never jumps: neither the skew
//! between machines nor a wall clock that is set can be mistaken for lag. What was not seen is unknown, never zero.
//!
//! How a lag is told from beats that are a period apart: a beat that arrived tells how long it took; a beat that is
//! acknowledged and missing tells how long it has been missing. The lag is the greater of the two, which is how
//! PostgreSQL itself defines `pg_stat_replication.replay_lag`. Just after a beat was acknowledged it is missing
//! everywhere: so the age of the newest row is not the lag, but its upper end.
//!
//! Bounded by [`BEATS_MAX`]; kept in memory, lost with the process: a new life is a new beater, which knows nothing yet.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use super::{BeatAnswer, Shown};
use crate::domain::{
    id::Region,
    signal::{Reading, Sample},
};

/// How many beats are remembered: twenty minutes at the default period, more than the longest RPO that is reasonable
/// for a store which has a heartbeat. At some 64 bytes each, a store's trail stays below 100 KiB.
pub const BEATS_MAX: usize = 1200;

/// So many beats acknowledged since a database last showed a new one, and none of them there: it stands still. Two
/// could be a hiccup between two looks.
pub const STANDING_BEATS: u64 = 3;

/// One instant, on both of the beater's clocks: `boot` measures, `wall` is for people, files and other machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    pub boot: Duration,
    pub wall: Timestamp,
}

impl Moment {
    /// The wall time of the instant `boot`, on the wall clock as it is set at this moment.
    pub fn wall_at(&self, boot: Duration) -> Timestamp {
        let ahead = SignedDuration::try_from(boot).unwrap_or(SignedDuration::MAX)
            - SignedDuration::try_from(self.boot).unwrap_or(SignedDuration::MAX);
        self.wall.checked_add(ahead).unwrap_or(self.wall)
    }
}

/// How a remembered beat stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    InFlight,
    Acknowledged,
    Refused,
    NotWritten,
    Unknown,
}

/// A beat that was sent, in boot time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) to: Region,
    pub(super) at: Duration,
    pub(super) answered: Option<Duration>,
    pub(super) fate: Fate,
}

impl Sent {
    /// When it was acknowledged.
    pub(super) fn acknowledged(&self) -> Option<Duration> {
        self.answered.filter(|_| self.fate == Fate::Acknowledged)
    }
}

/// The newest beat of ours that a database has shown, in boot time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Arrival {
    number: u64,
    sent: Duration,
    acknowledged: Option<Duration>,
    /// When a look first showed it.
    seen: Duration,
}

/// What one Region's database showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct View {
    newest: Option<Arrival>,
    /// The last look that was answered: asked and answered, in boot time.
    looked: Option<(Duration, Duration)>,
    /// Why the last look failed, where it did.
    missed: Option<String>,
    /// By its stamp, the newest row of anybody that was there while the database replayed another's log: it came from
    /// the old writer, and a promotion keeps it.
    replayed: Option<Timestamp>,
}

/// Since when a database has taken no beat, without one that it acknowledged in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WritesFailing {
    /// When the first of them was answered, or given up: what the writer acknowledged to anybody before is open.
    pub since: Moment,
    /// When the server first said itself that it takes no writes; `None` where it has not.
    pub refused_since: Option<Moment>,
    pub beats: u64,
    /// What the last one ended with.
    pub reason: String,
}

/// What is known of the lag of one secondary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lag {
    Measured(MeasuredLag),
    Unknown { why: String },
}

/// A lag, and what it bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeasuredLag {
    /// The best single figure: see the module.
    pub lag: Duration,
    /// An instant at which the lag was certainly not more than `lag`: so `lag` and the age of this instant add up to
    /// what would be lost at most (DESIGN.md 6).
    pub measured_at: Timestamp,
    /// When the last look was asked that `at_least`, `at_most` and `missing` are from.
    pub looked_at: Timestamp,
    /// At the last look, the oldest acknowledged beat that was missing had been missing for so long; zero: none was.
    pub at_least: Duration,
    /// At the last look, the newest row was so old: everything acknowledged before it is there.
    pub at_most: Duration,
    /// Acknowledged beats that the last look did not show.
    pub missing: u64,
    /// The number of the newest beat that is there.
    pub newest: u64,
}

/// Whether what is written reaches a Region at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replication {
    /// It has shown a new beat not long ago.
    Moving,
    /// Beats are acknowledged, and it shows none of them: whatever else says that the lag is zero (FAULTS.md 44).
    Standing { since: Timestamp, missing: u64 },
    /// No look was answered, or no beat was acknowledged, that would tell.
    Unknown { why: String },
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct HeartbeatTrail {
    /// In the order of their numbers, without a gap.
    beats: VecDeque<Sent>,
    /// The number of the first of `beats`.
    first: u64,
    views: BTreeMap<Region, View>,
    failing: BTreeMap<Region, WritesFailing>,
}

impl HeartbeatTrail {
    /// A trail of which nothing is known yet.
    pub fn new() -> Self {
        Self { first: 1, ..Self::default() }
    }

    /// A beat is about to be sent to `to`: its number.
    pub fn begin(&mut self, to: &Region, now: Moment) -> u64 {
        if self.beats.len() == BEATS_MAX {
            self.beats.pop_front();
            self.first += 1;
        }
        self.beats.push_back(Sent { to: to.clone(), at: now.boot, answered: None, fate: Fate::InFlight });
        self.last_number()
    }

    /// How beat `number` ended.
    pub fn answered(&mut self, number: u64, answer: &BeatAnswer, now: Moment) {
        let index = number.checked_sub(self.first).and_then(|i| usize::try_from(i).ok());
        let Some(beat) = index.and_then(|i| self.beats.get_mut(i)) else { return };
        beat.answered = Some(now.boot);
        beat.fate = match answer {
            BeatAnswer::Acknowledged => Fate::Acknowledged,
            BeatAnswer::Refused { .. } => Fate::Refused,
            BeatAnswer::NotWritten { .. } => Fate::NotWritten,
            BeatAnswer::Unknown { .. } => Fate::Unknown,
        };
        let to = beat.to.clone();
        if beat.fate == Fate::Acknowledged {
            for arrival in self.views.values_mut().filter_map(|v| v.newest.as_mut()).filter(|a| a.number == number) {
                arrival.acknowledged = Some(now.boot);
            }
        }
        let (reason, refused) = match answer {
            BeatAnswer::Acknowledged => {
                self.failing.remove(&to);
                return;
            }
            BeatAnswer::Refused { reason } => (reason, true),
            BeatAnswer::NotWritten { reason } | BeatAnswer::Unknown { reason } => (reason, false),
        };
        let failing = self.failing.entry(to).or_insert_with(|| WritesFailing {
            since: now,
            refused_since: None,
            beats: 0,
            reason: String::new(),
        });
        failing.beats += 1;
        reason.clone_into(&mut failing.reason);
        failing.refused_since = failing.refused_since.or(refused.then_some(now));
    }

    /// What the database of `region` showed to a look that was asked and answered then.
    pub fn saw(&mut self, region: &Region, shown: &Shown, asked: Moment, answered: Moment) {
        let newest = shown.newest.as_ref().map(|row| row.number);
        let beat = newest.and_then(|n| self.beat(n).map(|b| (n, b.at, b.acknowledged())));
        let view = self.views.entry(region.clone()).or_default();
        view.looked = Some((asked.boot, answered.boot));
        view.missed = None;
        if shown.in_recovery {
            view.replayed = shown.newest_of_any.as_ref().map(|row| row.written_at);
        }
        // A table that was emptied, or a database restored to an earlier time, shows less than before: what it held
        // once proves nothing any more.
        if view.newest.map(|a| a.number) > newest {
            view.newest = None;
        }
        if let Some((number, sent, acknowledged)) = beat
            && view.newest.is_none_or(|before| before.number < number)
        {
            view.newest = Some(Arrival { number, sent, acknowledged, seen: answered.boot });
        }
    }

    /// A look at `region` was not answered.
    pub fn missed(&mut self, region: &Region, why: &str) {
        self.views.entry(region.clone()).or_default().missed = Some(why.to_owned());
    }

    /// The Region that the newest beat was sent to.
    pub fn writer(&self) -> Option<&Region> {
        self.beats.back().map(|b| &b.to)
    }

    /// Whether `region` has shown everything that was acknowledged so far: nothing new can be seen there yet.
    pub fn is_caught_up(&self, region: &Region) -> bool {
        let newest = self.views.get(region).and_then(|v| v.newest).map_or(0, |a| a.number);
        self.newer_than(newest, region).all(|(_, b)| b.acknowledged().is_none())
    }

    /// The stamp of the newest row of anybody that `region` showed while it replayed another's log.
    pub(super) fn replayed(&self, region: &Region) -> Option<Timestamp> {
        self.views.get(region).and_then(|v| v.replayed)
    }

    /// Since when the database of `region` has taken no beat; `None`: it took the last one, or none was sent.
    pub fn failing(&self, region: &Region) -> Option<&WritesFailing> {
        self.failing.get(region)
    }

    /// The lag of `region` behind the writer.
    pub fn lag(&self, region: &Region, now: Moment) -> Lag {
        let unknown = |why: String| Lag::Unknown { why };
        if self.writer() == Some(region) {
            return unknown(format!("{region} is the writer"));
        }
        let Some(view) = self.views.get(region) else {
            return unknown(format!("the heartbeat has not been looked for in {region} yet"));
        };
        let Some((asked, looked)) = view.looked else {
            return unknown(view.missed.clone().unwrap_or_else(|| format!("no look at {region} was answered yet")));
        };
        let Some(arrival) = view.newest else {
            return unknown(format!("{region} shows no beat of this daemon"));
        };
        let arrived = arrival.seen.saturating_sub(arrival.acknowledged.unwrap_or(arrival.sent));
        let (missing, oldest) = self.missing_at(arrival.number, region, asked);
        let overdue = oldest.map_or(Duration::ZERO, |since| asked.saturating_sub(since));
        let lag = arrived.max(overdue);
        Lag::Measured(MeasuredLag {
            lag,
            measured_at: now.wall_at(arrival.sent + lag),
            looked_at: now.wall_at(asked),
            at_least: overdue,
            at_most: looked.saturating_sub(arrival.sent),
            missing,
            newest: arrival.number,
        })
    }

    /// The worst lag over `secondaries` as a signal's sample; missing where any of them is unknown.
    pub fn sample<'a>(&self, secondaries: impl IntoIterator<Item = &'a Region>, now: Moment) -> Sample {
        let missing =
            |why: String| Sample { measured_at: now.wall, taken_at: now.wall, reading: Reading::Missing { why } };
        let mut worst: Option<(Duration, Timestamp)> = None;
        for region in secondaries {
            match self.lag(region, now) {
                Lag::Unknown { why } => return missing(why),
                Lag::Measured(m) => {
                    worst =
                        Some(worst.map_or((m.lag, m.measured_at), |(lag, at)| (lag.max(m.lag), at.min(m.measured_at))));
                }
            }
        }
        match worst {
            Some((lag, measured_at)) => Sample { measured_at, taken_at: now.wall, reading: Reading::Lag { lag } },
            None => missing("there is no secondary with a heartbeat".to_owned()),
        }
    }

    /// Whether what is written reaches `region`.
    pub fn replication(&self, region: &Region, now: Moment) -> Replication {
        let unknown = |why: String| Replication::Unknown { why };
        if self.writer() == Some(region) {
            return unknown(format!("{region} is the writer"));
        }
        let Some(view) = self.views.get(region) else {
            return unknown(format!("the heartbeat has not been looked for in {region} yet"));
        };
        let Some((asked, _)) = view.looked else {
            return unknown(view.missed.clone().unwrap_or_else(|| format!("no look at {region} was answered yet")));
        };
        if let Some(why) = &view.missed {
            return unknown(format!("the last look at {region} failed: {why}"));
        }
        let newest = view.newest.map_or(0, |a| a.number);
        // Only beats that were acknowledged since it last showed a new one, or since the trail began, count: a
        // database that is far behind and comes closer is not standing.
        let moved = view.newest.map_or(Duration::ZERO, |a| a.seen);
        let since_moved = self.newer_than(newest, region).filter_map(|(_, b)| b.acknowledged());
        let waited_for: Vec<Duration> = since_moved.filter(|at| moved <= *at && *at <= asked).collect();
        if let Some(first) = waited_for.first()
            && STANDING_BEATS <= waited_for.len() as u64
        {
            let (missing, oldest) = self.missing_at(newest, region, asked);
            return Replication::Standing { since: now.wall_at(oldest.unwrap_or(*first)), missing };
        }
        match self.beats.back().filter(|b| b.fate != Fate::Acknowledged && b.fate != Fate::InFlight) {
            Some(beat) => unknown(format!("{} takes no beats, so none can arrive", beat.to)),
            None if view.newest.is_none() => unknown(format!("{region} shows no beat of this daemon yet")),
            None => Replication::Moving,
        }
    }

    /// How many acknowledged beats newer than `newest` were acknowledged by the time `asked`, and when the first was.
    fn missing_at(&self, newest: u64, region: &Region, asked: Duration) -> (u64, Option<Duration>) {
        let acknowledged = self.newer_than(newest, region).filter_map(|(_, b)| b.acknowledged());
        acknowledged.filter(|at| *at <= asked).fold((0, None), |(n, first), at| (n + 1, first.or(Some(at))))
    }

    /// The beats after `newest` that were sent elsewhere than to `region`.
    fn newer_than(&self, newest: u64, region: &Region) -> impl Iterator<Item = (u64, &Sent)> {
        self.numbered().filter(move |(n, b)| newest < *n && b.to != *region)
    }

    /// Every beat that is remembered, oldest first.
    pub(super) fn numbered(&self) -> impl DoubleEndedIterator<Item = (u64, &Sent)> + ExactSizeIterator {
        let first = self.first;
        self.beats.iter().enumerate().map(move |(i, b)| (first + i as u64, b))
    }

    /// The number of the first beat that is still remembered.
    pub fn first_number(&self) -> u64 {
        self.first
    }

    fn last_number(&self) -> u64 {
        self.first + self.beats.len() as u64 - 1
    }

    fn beat(&self, number: u64) -> Option<&Sent> {
        self.beats.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }
}

#[cfg(test)]
mod tests;
