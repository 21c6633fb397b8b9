//! When an application is drilled: a cron, windows in which a drill may begin, and what is due now.
//!
//! Invariants: each occurrence begins at most once, whoever asks and however often (FAULTS.md 84): it is over as soon as
//! the journal says that it began or was missed, and what is over is never due again, wherever the clock goes. A schedule
//! names a drill and nothing else, so it can express no loss (82).
//!
//! It begins nothing and does not look at the application: see [`calm`] and the engine's `schedules`.

use std::time::Duration;

use jiff::{Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};

use super::{
    calendar::{Blackout, Zone},
    id::{Region, RunbookName, ScheduleName, Subject},
    journal::Request,
    plan::Purpose,
    seconds,
};

pub mod calm;
mod cron;
mod followed;

pub use calm::Calm;
pub use cron::Cron;
pub use followed::{Followed, Missed, NotBegun, Note, Schedules};

/// One schedule of one application.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    pub name: ScheduleName,
    /// One of the application's drills.
    pub drill: RunbookName,
    pub cron: Cron,
    pub zone: Zone,
    /// `None`: the only other Region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Region>,
    /// How long after its time a drill may still begin.
    #[serde(with = "seconds", rename = "start_within_seconds")]
    pub start_within: Duration,
    /// On how many days after a missed one the same hours are tried again; 0: a missed one is reported.
    pub catch_up_days: u32,
    /// How long before its time it is announced; zero: it is not.
    #[serde(with = "seconds", rename = "announce_before_seconds")]
    pub announce_before: Duration,
    /// Beside those of the application.
    pub blackouts: Vec<Blackout>,
    /// Who looks after it, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_call: Option<String>,
    /// `None`: how it is now is all that is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calm: Option<Calm>,
    /// How old the newest success of this drill may be; `None`: the application's objective is all that is asked.
    #[serde(
        default,
        with = "seconds::option",
        rename = "prove_within_seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub prove_within: Option<Duration>,
}

/// A time in which an occurrence may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    pub from: Timestamp,
    /// Outside it.
    pub to: Timestamp,
}

/// What is to be done about a schedule now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing before this instant; `None`: it never occurs again.
    Nothing {
        until: Option<Timestamp>,
    },
    /// People are to be told that it comes.
    Announce {
        occurrence: Timestamp,
    },
    Begin {
        occurrence: Timestamp,
        opening: Opening,
    },
    /// Its last window has closed.
    Missed {
        occurrence: Timestamp,
    },
}

impl Schedule {
    /// What its occurrences depend on: where these change, those of the past are not its own.
    pub fn terms(&self) -> String {
        format!("{} {}", self.cron, self.zone.as_str())
    }

    /// In whose name its drills run.
    pub fn subject(&self) -> Subject {
        Subject::of_schedule(&self.name)
    }

    /// The first occurrence after `after`.
    pub fn after(&self, after: Timestamp) -> Option<Timestamp> {
        self.cron.after(&self.zone, after)
    }

    /// The occurrences after `after`, in order.
    pub fn occurrences(&self, after: Timestamp) -> impl Iterator<Item = Timestamp> {
        std::iter::successors(self.after(after), |last| self.after(*last))
    }

    /// The windows in which `occurrence` may begin: at its time, and where it is caught up at the same hour of the days
    /// after it, as long as they begin before the next one is told of.
    pub fn openings(&self, occurrence: Timestamp) -> impl Iterator<Item = Opening> {
        let next = self.after(occurrence).map(|next| minus(next, self.announce_before));
        let local = self.zone.local(occurrence);
        let days = (1..=i64::from(self.catch_up_days)).filter_map(move |n| {
            let local = local.checked_add(n.days()).ok()?;
            self.zone.instant(local)
        });
        let again = days.take_while(move |from| next.is_none_or(|next| *from < next));
        std::iter::once(occurrence).chain(again).map(|from| Opening { from, to: plus(from, self.start_within) })
    }

    /// What is to be done at `now`, as the journal has followed it.
    pub fn due(&self, followed: &Followed, now: Timestamp) -> Due {
        let Some(occurrence) = self.after(followed.settled) else { return Due::Nothing { until: None } };
        if now < occurrence {
            let announced = self.announce_before.is_zero() || followed.announced >= Some(occurrence);
            let tell_at = minus(occurrence, self.announce_before);
            return match announced {
                true => Due::Nothing { until: Some(occurrence) },
                false if now < tell_at => Due::Nothing { until: Some(tell_at) },
                false => Due::Announce { occurrence },
            };
        }
        match self.openings(occurrence).find(|opening| now < opening.to) {
            Some(opening) if opening.from <= now => Due::Begin { occurrence, opening },
            Some(opening) => Due::Nothing { until: Some(opening.from) },
            None => Due::Missed { occurrence },
        }
    }
}

/// The occurrence that a scheduled request is for; `None`: a person or the automation asked.
pub fn occurrence_of(request: &Request) -> Option<(ScheduleName, Timestamp)> {
    let schedule = request.subject.schedule().filter(|_| request.purpose == Purpose::Drill)?;
    let occurrence = request.idempotency_key.as_ref()?.parse().ok()?;
    Some((schedule, occurrence))
}

fn plus(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

fn minus(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_sub(by).unwrap_or(Timestamp::MIN)
}

/// What is wrong with a schedule that reads well, each as a sentence with the key that it is about. One whole cycle of it
/// is looked at, from an instant that is always the same: no clock is asked.
pub fn faults(schedule: &Schedule, blackouts: &[Blackout]) -> Vec<(&'static str, String)> {
    /// 1 January 2026. A Gregorian calendar comes back to the same weekdays after 28 years; four have a leap year.
    const FROM: i64 = 1_767_225_600;
    /// Every day of four years, or all of forty years.
    const LOOKED_AT: usize = 1_500;
    const YEARS: Duration = Duration::from_hours(40 * 366 * 24);
    /// Shorter than this nobody looks after a drill; it also bounds what a long outage leaves to be reported.
    const PERIOD_LEAST: Duration = Duration::from_hours(20);
    let from = Timestamp::from_second(FROM).unwrap_or(Timestamp::MIN);
    let all: Vec<Timestamp> =
        schedule.occurrences(from).take(LOOKED_AT).take_while(|at| *at < plus(from, YEARS)).collect();
    let mut faults = Vec::new();
    if all.is_empty() {
        faults.push(("cron", format!("`{}` never occurs", schedule.cron)));
        return faults;
    }
    let gaps = all.windows(2).map(|pair| (pair[1].duration_since(pair[0]).unsigned_abs(), pair[0]));
    if let Some((shortest, at)) = gaps.min() {
        let local = schedule.zone.local(at);
        if shortest < PERIOD_LEAST {
            let problem = format!(
                "occurs again {} after {local}: a drill comes once a day at most",
                super::document::friendly(shortest)
            );
            faults.push(("cron", problem));
        } else if shortest < schedule.start_within {
            let problem = format!(
                "overlaps with itself: it may begin for {}, and occurs again {} after {local}",
                super::document::friendly(schedule.start_within),
                super::document::friendly(shortest)
            );
            faults.push(("start_within", problem));
        }
    }
    let is_free = |at: &Timestamp| !blackouts.iter().chain(&schedule.blackouts).any(|b| b.is_on(*at));
    let every = Duration::from_mins(5);
    let may_begin = |opening: Opening| {
        let moments = std::iter::successors(Some(opening.from), move |at| Some(plus(*at, every)));
        moments.take_while(|at| *at < opening.to).any(|at| is_free(&at))
    };
    if !all.iter().take(120).any(|occurrence| schedule.openings(*occurrence).any(may_begin)) {
        let problem = "a blackout is on whenever it might begin: it would never run".to_owned();
        faults.push(("cron", problem));
    }
    faults
}

#[cfg(test)]
mod tests;
