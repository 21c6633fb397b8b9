//! Whether users have had a calm time lately: for how much of it the application was not served well, as it was looked at.
//!
//! Invariant: unknown is not calm. What was not looked at, since the process is young or stood still, counts as time that
//! is not known, and a drill waits until there is little enough of it.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};

use crate::domain::{assessment::Health, seconds};

/// What is asked of the time before a drill.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Calm {
    /// How far back is looked.
    #[serde(with = "seconds", rename = "over_seconds")]
    pub over: Duration,
    /// The part of that time that may have been bad or unknown.
    pub impact: f64,
}

/// How one piece of time was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    from: Duration,
    to: Duration,
    was_bad: bool,
}

/// How the application was lately; times are boot time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Lately {
    pieces: VecDeque<Piece>,
    looked_at: Option<Duration>,
}

/// The most pieces that are kept: pieces of the same kind that follow each other are one, so that many changes fit.
const PIECES_MAX: usize = 4_096;

/// A piece longer than this was not looked at in between.
const LOOK_MAX: Duration = Duration::from_secs(120);

impl Lately {
    /// The application is `health` at `now`, and was so since the look before, where that is not long ago.
    pub fn look(&mut self, health: Health, now: Duration) {
        let before = self.looked_at.replace(now);
        let Some(from) = before.filter(|before| *before < now && now - *before <= LOOK_MAX) else { return };
        let was_bad = match health {
            Health::Healthy | Health::Degraded => false,
            Health::Impaired | Health::Down | Health::Unknown => true,
        };
        match self.pieces.back_mut() {
            Some(last) if last.was_bad == was_bad && last.to == from => last.to = now,
            _ => self.pieces.push_back(Piece { from, to: now, was_bad }),
        }
        if PIECES_MAX < self.pieces.len() {
            self.pieces.pop_front();
        }
    }

    /// Why the time before `now` was not as calm as it is asked to be; `None`: it was.
    pub fn stands_against(&self, calm: &Calm, now: Duration) -> Option<String> {
        let start = now.saturating_sub(calm.over);
        let of = |bad: bool| -> Duration {
            let pieces = self.pieces.iter().filter(|piece| piece.was_bad == bad);
            pieces.map(|piece| piece.to.min(now).saturating_sub(piece.from.max(start))).sum()
        };
        let (well, bad) = (of(false), of(true));
        let unknown = calm.over.saturating_sub(well + bad);
        let part = (bad + unknown).as_secs_f64() / calm.over.as_secs_f64().max(f64::MIN_POSITIVE);
        (calm.impact < part).then(|| {
            format!(
                "of the last {:.0} s it was not served well for {:.0} s and not looked at for {:.0} s: {:.1} % of the time, \
                 {:.1} % is allowed",
                calm.over.as_secs_f64(),
                bad.as_secs_f64(),
                unknown.as_secs_f64(),
                part * 100.0,
                calm.impact * 100.0
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Calm = Calm { over: Duration::from_hours(1), impact: 0.01 };

    fn looked(pieces: &[(u64, u64, Health)]) -> Lately {
        let mut lately = Lately::default();
        for (from, to, health) in pieces {
            for second in (*from..=*to).step_by(15) {
                lately.look(*health, Duration::from_secs(second));
            }
        }
        lately
    }

    fn against(lately: &Lately, now: u64) -> Option<String> {
        lately.stands_against(&HOUR, Duration::from_secs(now))
    }

    #[test]
    fn a_young_process_knows_of_no_calm() {
        let lately = looked(&[(0, 1_800, Health::Healthy)]);
        assert!(against(&lately, 1_800).expect("too young").contains("not looked at for 1800 s"));
        assert_eq!(against(&looked(&[(0, 3_600, Health::Healthy)]), 3_600), None);
    }

    #[test]
    fn a_bad_minute_in_an_hour_is_too_much_and_is_over_an_hour_later() {
        let lately =
            looked(&[(0, 3_600, Health::Healthy), (3_615, 3_675, Health::Impaired), (3_690, 7_200, Health::Healthy)]);
        assert!(against(&lately, 4_000).expect("a bad minute").contains("not served well for 75 s"));
        assert!(against(&lately, 7_000).is_some());
        let lately = looked(&[(0, 600, Health::Down), (615, 4_500, Health::Degraded)]);
        assert_eq!(against(&lately, 4_500), None, "degraded is no harm to users");
    }

    #[test]
    fn what_is_unknown_and_what_a_pause_hid_is_not_calm() {
        assert!(against(&looked(&[(0, 3_600, Health::Unknown)]), 3_600).is_some());
        let paused = looked(&[(0, 3_600, Health::Healthy), (4_200, 4_800, Health::Healthy)]);
        assert!(against(&paused, 4_800).expect("ten minutes are unknown").contains("not looked at for 600 s"));
    }
}
