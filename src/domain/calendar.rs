//! When nothing is started alone: windows that come back each week in a time zone of their own, or stand once.
//!
//! Invariant: a weekly window is told in local time: over a change to or from summer time it begins at the same hour
//! on the clock, and lasts as long as the clocks say. The zone's rules are those compiled in.

use jiff::{
    Timestamp,
    civil::{DateTime, Time, Weekday},
    tz::{AmbiguousOffset, TimeZone},
};
use serde::{Deserialize, Serialize};

/// A time zone by its IANA name, such as `Europe/Berlin`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

impl std::str::FromStr for Zone {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        let zone = jiff::tz::TimeZoneDatabase::bundled()
            .get(name)
            .map_err(|_| format!("`{}` is not an IANA time zone such as Europe/Berlin", super::document::clip(name)))?;
        Ok(Self { name: name.to_owned(), zone })
    }
}

impl Zone {
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// What the clocks there show at `instant`.
    pub fn local(&self, instant: Timestamp) -> DateTime {
        self.zone.to_datetime(instant)
    }

    /// When the clocks there show `local`. Of an hour that comes twice the first; of one that does not come the first
    /// instant after the gap. `None`: outside the time that can be told.
    pub fn instant(&self, local: DateTime) -> Option<Timestamp> {
        let at = self.zone.to_ambiguous_timestamp(local);
        let earlier = at.earlier().ok()?;
        match at.offset() {
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => Some(earlier),
            AmbiguousOffset::Gap { .. } => self.zone.following(earlier).next().map(|change| change.timestamp()),
        }
    }
}

impl TryFrom<String> for Zone {
    type Error = String;
    fn try_from(s: String) -> Result<Self, String> {
        s.parse()
    }
}

impl From<Zone> for String {
    fn from(z: Zone) -> String {
        z.name
    }
}

/// One window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Blackout {
    /// What it is for, shown to people.
    pub reason: String,
    pub when: Window,
}

/// When a blackout is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Window {
    Once {
        from: Timestamp,
        to: Timestamp,
    },
    /// From one hour of a day of the week to another; over the week's end where `to` comes before `from`.
    Weekly {
        from: (Day, Time),
        to: (Day, Time),
        zone: Zone,
    },
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl From<Weekday> for Day {
    fn from(day: Weekday) -> Self {
        match day {
            Weekday::Monday => Self::Mon,
            Weekday::Tuesday => Self::Tue,
            Weekday::Wednesday => Self::Wed,
            Weekday::Thursday => Self::Thu,
            Weekday::Friday => Self::Fri,
            Weekday::Saturday => Self::Sat,
            Weekday::Sunday => Self::Sun,
        }
    }
}

impl Blackout {
    /// Whether it is on at `now`. Its end is outside it.
    pub fn is_on(&self, now: Timestamp) -> bool {
        match &self.when {
            Window::Once { from, to } => *from <= now && now < *to,
            Window::Weekly { from, to, zone } => {
                let local = now.to_zoned(zone.zone.clone());
                let moment = (Day::from(local.weekday()), local.time());
                if from <= to { *from <= moment && moment < *to } else { *from <= moment || moment < *to }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("an instant")
    }

    fn weekly(from: (Day, i8), to: (Day, i8), zone: &str) -> Blackout {
        let hour = |h| Time::new(h, 0, 0, 0).expect("an hour");
        let when =
            Window::Weekly { from: (from.0, hour(from.1)), to: (to.0, hour(to.1)), zone: zone.parse().expect("known") };
        Blackout { reason: "billing".to_owned(), when }
    }

    #[test]
    fn a_weekly_window_keeps_its_local_hour_over_a_change_of_the_clocks() {
        let billing = weekly((Day::Sun, 9), (Day::Sun, 17), "America/New_York");
        // Sunday 1 November 2026: New York goes back an hour at 06:00 UTC, to UTC-5.
        assert!(!billing.is_on(at("2026-11-01T13:59:59Z")), "08:59:59 there");
        assert!(billing.is_on(at("2026-11-01T14:00:00Z")), "09:00 there");
        assert!(billing.is_on(at("2026-10-25T13:00:00Z")), "09:00 there, a week before, at UTC-4");
        assert!(!billing.is_on(at("2026-10-25T12:59:59Z")));
        assert!(!billing.is_on(at("2026-11-01T22:00:00Z")), "17:00 there: the end is outside");
        // The night on which an hour comes twice: both of them are in, and the window is an hour longer.
        let night = weekly((Day::Sun, 1), (Day::Sun, 2), "America/New_York");
        assert!(night.is_on(at("2026-11-01T05:30:00Z")) && night.is_on(at("2026-11-01T06:30:00Z")));
        // The night that has no hour from 02:00 to 03:00: 8 March 2026.
        let gone = weekly((Day::Sun, 2), (Day::Sun, 3), "America/New_York");
        assert!(!gone.is_on(at("2026-03-08T06:59:59Z")) && !gone.is_on(at("2026-03-08T07:00:00Z")));
    }

    #[test]
    fn a_window_may_run_over_the_end_of_the_week() {
        let weekend = weekly((Day::Fri, 18), (Day::Mon, 6), "UTC");
        for (instant, on) in [
            ("2026-11-20T17:59:59Z", false),
            ("2026-11-20T18:00:00Z", true),
            ("2026-11-22T12:00:00Z", true),
            ("2026-11-23T05:59:59Z", true),
            ("2026-11-23T06:00:00Z", false),
        ] {
            assert_eq!(weekend.is_on(at(instant)), on, "{instant}");
        }
    }

    #[test]
    fn a_single_window_begins_and_ends_once() {
        let when = Window::Once { from: at("2026-11-27T00:00:00Z"), to: at("2026-11-28T00:00:00Z") };
        let friday = Blackout { reason: "black Friday".to_owned(), when };
        assert!(friday.is_on(at("2026-11-27T00:00:00Z")) && !friday.is_on(at("2026-11-28T00:00:00Z")));
        assert!("Mars/Olympus".parse::<Zone>().is_err());
    }
}
