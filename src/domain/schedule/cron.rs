//! Five fields of cron: which minutes of which days, told in local time.
//!
//! Invariants: what is read is what is meant: a day of the month and a day of the week at once are refused, since half
//! of all crons take them for *or* and half for *and*. Each occurrence is one instant: a local time that comes twice
//! counts once, its first time; one that does not come counts at the first instant after the gap.
//!
//! It knows no seconds, no years, no `@weekly`, and no `?`: none is needed for a drill.

use std::{fmt, str::FromStr};

use jiff::{
    Timestamp, ToSpan as _,
    civil::{Date, Time},
};
use serde::{Deserialize, Serialize};

use crate::domain::calendar::Zone;

/// How far ahead an occurrence is looked for: the 29th of February can be eight years away.
const LOOK_AHEAD_DAYS: u32 = 9 * 366;
/// How far a gap of the clocks can move an instant: Samoa left out a whole day in 2011.
const GAP_DAYS: i64 = 2;

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cron {
    text: String,
    /// Bit n: minute n.
    minutes: u64,
    hours: u64,
    /// Bit n: the n-th month, from 1.
    months: u64,
    days: Days,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Days {
    Every,
    /// Bit n: the n-th of the month; and its last day.
    OfMonth {
        days: u64,
        last: bool,
    },
    /// Any of these.
    OfWeek(Vec<OfWeek>),
}

/// A day of the week, from 0 for Sunday.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OfWeek {
    Each(i8),
    /// The n-th of the month, from 1.
    Nth(i8, i8),
    Last(i8),
}

impl Cron {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first occurrence after `after`, in the local time of `zone`; `None`: there is none.
    pub fn after(&self, zone: &Zone, after: Timestamp) -> Option<Timestamp> {
        let mut date = zone.local(after).date().checked_sub(GAP_DAYS.days()).ok()?;
        for _ in 0..LOOK_AHEAD_DAYS {
            if self.is_on(date) {
                let instants = self.times().filter_map(|time| zone.instant(date.to_datetime(time)));
                if let Some(found) = instants.filter(|at| after < *at).min() {
                    return Some(found);
                }
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    fn is_on(&self, date: Date) -> bool {
        let in_month = self.months & (1 << date.month()) != 0;
        in_month
            && match &self.days {
                Days::Every => true,
                Days::OfMonth { days, last } => days & (1 << date.day()) != 0 || (*last && is_last(date, 1)),
                Days::OfWeek(days) => days.iter().any(|day| day.is_on(date)),
            }
    }

    /// The times of a day, in order.
    fn times(&self) -> impl Iterator<Item = Time> {
        let hours = (0..24_i8).filter(|hour| self.hours & (1 << hour) != 0);
        let minutes = move |hour| (0..60_i8).filter(|m| self.minutes & (1 << m) != 0).map(move |m| (hour, m));
        hours.flat_map(minutes).filter_map(|(hour, minute)| Time::new(hour, minute, 0, 0).ok())
    }
}

/// Whether less than `days` days of the month come after `date`.
fn is_last(date: Date, days: i8) -> bool {
    date.days_in_month() < date.day() + days
}

impl OfWeek {
    fn is_on(self, date: Date) -> bool {
        let weekday = date.weekday().to_sunday_zero_offset();
        match self {
            Self::Each(day) => day == weekday,
            Self::Nth(day, nth) => day == weekday && (date.day() - 1) / 7 + 1 == nth,
            Self::Last(day) => day == weekday && is_last(date, 7),
        }
    }
}

impl FromStr for Cron {
    type Err = String;
    /// Every fault of it at once, joined.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim().to_ascii_lowercase();
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(format!(
                "{} fields; five are needed: minute, hour, day of the month, month, day of the week",
                fields.len()
            ));
        };
        let mut faults = Vec::new();
        let mut set = |what: &Field, text: &str| what.set(text).map_err(|e| faults.push(e)).unwrap_or_default();
        let minutes = set(&MINUTE, minute);
        let hours = set(&HOUR, hour);
        let months = set(&MONTH, month);
        let days = match (day, weekday) {
            ("*", "*") => Ok(Days::Every),
            (day, "*") => of_month(day),
            ("*", weekday) => of_week(weekday),
            _ => Err("a day of the month and a day of the week together are not told: leave one of them `*`; the \
                      second Monday is `mon#2`"
                .to_owned()),
        };
        let days = days.map_err(|e| faults.push(e)).unwrap_or(Days::Every);
        if faults.is_empty() { Ok(Self { text, minutes, hours, months, days }) } else { Err(faults.join("; ")) }
    }
}

impl TryFrom<String> for Cron {
    type Error = String;
    fn try_from(s: String) -> Result<Self, String> {
        s.parse()
    }
}

impl From<Cron> for String {
    fn from(cron: Cron) -> String {
        cron.text
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What one field may hold.
struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    /// Names of the values, from `least` on.
    names: &'static [&'static str],
}

const MINUTE: Field = Field { name: "minute", least: 0, most: 59, names: &[] };
const HOUR: Field = Field { name: "hour", least: 0, most: 23, names: &[] };
const DAY: Field = Field { name: "day of the month", least: 1, most: 31, names: &[] };
const MONTH: Field = Field { name: "month", least: 1, most: 12, names: &MONTHS };
/// 7 is Sunday too.
const WEEKDAY: Field = Field { name: "day of the week", least: 0, most: 7, names: &DAYS };

impl Field {
    /// `*`, `5`, `1-5`, `*/15`, `10-40/10` and lists of those, as bits.
    fn set(&self, text: &str) -> Result<u64, String> {
        let parts: Result<Vec<u64>, String> = text.split(',').map(|part| self.part(part)).collect();
        Ok(parts?.into_iter().fold(0, |all, part| all | part))
    }

    fn part(&self, part: &str) -> Result<u64, String> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => {
                let step = step.parse::<u32>().ok().filter(|step| (1..=self.most).contains(step));
                (range, Some(step.ok_or_else(|| self.fault(part))?))
            }
            None => (part, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (self.least, self.most.min(if self.name == WEEKDAY.name { 6 } else { self.most })),
            Some((from, to)) => (self.value(from, part)?, self.value(to, part)?),
            // A single value with a step is taken for a range by some crons, and for a value by others.
            None if step.is_some() => return Err(self.fault(part)),
            None => (self.value(range, part)?, self.value(range, part)?),
        };
        if to < from {
            return Err(format!("{}: `{part}` runs backwards: write it as two, such as 22-23,0-4", self.name));
        }
        let step = usize::try_from(step.unwrap_or(1)).unwrap_or(1);
        Ok((from..=to).step_by(step).fold(0, |bits, n| bits | 1 << n))
    }

    fn value(&self, text: &str, part: &str) -> Result<u32, String> {
        let named = (self.least..).zip(self.names).find(|(_, name)| **name == text).map(|(n, _)| n);
        let number = || text.parse::<u32>().ok().filter(|n| (self.least..=self.most).contains(n));
        named.or_else(number).ok_or_else(|| self.fault(part))
    }

    fn fault(&self, part: &str) -> String {
        let names = match self.names {
            [first, .., last] => format!(" or {first} to {last}"),
            _ => String::new(),
        };
        let part = crate::domain::document::clip(part);
        format!("{}: `{part}` is none of {} to {}{names}, *, a range a-b or */n", self.name, self.least, self.most)
    }
}

fn of_month(text: &str) -> Result<Days, String> {
    let (mut days, mut last) = (0, false);
    for part in text.split(',') {
        match part {
            "l" => last = true,
            part => days |= DAY.set(part)?,
        }
    }
    Ok(Days::OfMonth { days, last })
}

fn of_week(text: &str) -> Result<Days, String> {
    let mut days = Vec::new();
    for part in text.split(',') {
        let one = |name: &str| WEEKDAY.value(name, part).map(weekday);
        match (part.split_once('#'), part.strip_suffix('l').filter(|name| !name.is_empty())) {
            (Some((day, nth)), _) => {
                let nth = nth.parse::<i8>().ok().filter(|nth| (1..=5).contains(nth));
                let nth = nth.ok_or_else(|| format!("day of the week: `{part}` is not such as mon#2, from 1 to 5"))?;
                days.push(OfWeek::Nth(one(day)?, nth));
            }
            (None, Some(day)) => days.push(OfWeek::Last(one(day)?)),
            (None, None) => {
                let set = WEEKDAY.set(part)?;
                days.extend((0..=7).filter(|n| set & (1 << n) != 0).map(|n| OfWeek::Each(weekday(n))));
            }
        }
    }
    Ok(Days::OfWeek(days))
}

/// 0 to 6; 7 is Sunday too.
fn weekday(n: u32) -> i8 {
    i8::try_from(n % 7).unwrap_or_default()
}

#[cfg(test)]
mod tests;
