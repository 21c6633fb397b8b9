//! The series about preflight: how ready each way out was found, and when.
//!
//! Invariants: as in [`super`]: labels are the Regions of the configuration and the states; a score that is too old is no
//! series at all, and when the newest look was is told by its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;
use prometheus::{GaugeVec, Registry};

use super::{gauges, replace};
use crate::domain::{
    id::ApplicationName,
    preflight::{Direction, Preflight, State},
};

/// See the module.
#[derive(Debug)]
pub(super) struct Preflights {
    score: GaugeVec,
    checks: GaugeVec,
    blocked: GaugeVec,
    looked_at: GaugeVec,
    /// The ways out that have a score, by application.
    scored: Mutex<BTreeMap<ApplicationName, BTreeSet<[String; 2]>>>,
}

impl Preflights {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            score: gauges(
                registry,
                "failoverd_preflight_score",
                "How ready the way to the target was found, 0 to 100; absent where nobody has looked lately.",
                &["application", "target"],
            )?,
            checks: gauges(
                registry,
                "failoverd_preflight_checks",
                "How many checks of the newest round are so, over all ways out.",
                &["application", "state"],
            )?,
            blocked: gauges(
                registry,
                "failoverd_preflight_blocked",
                "1 where something is known that a failover would not survive on any way out.",
                &["application"],
            )?,
            looked_at: gauges(
                registry,
                "failoverd_preflight_timestamp_seconds",
                "When the newest round of preflight ended.",
                &["application"],
            )?,
            scored: Mutex::default(),
        })
    }

    pub(super) fn set(&self, found: &Preflight, now: Timestamp) {
        let name = found.application.as_str();
        let stale = found.is_stale(now);
        let score = |d: &Direction| {
            let score = d.score().filter(|_| !stale)?;
            Some(([name.to_owned(), d.target.to_string()], f64::from(score.points)))
        };
        let scores = found.directions.iter().filter_map(score).collect();
        let mut scored = self.scored.lock().unwrap_or_else(PoisonError::into_inner);
        replace(&self.score, scored.entry(found.application.clone()).or_default(), scores);
        for state in State::ALL {
            let count: usize = found.directions.iter().map(|d| d.count(state)).sum();
            #[expect(clippy::cast_precision_loss, reason = "some dozen checks")]
            self.checks.with_label_values(&[name, state.as_str()]).set(count as f64);
        }
        let blocked = !found.directions.is_empty() && found.directions.iter().all(Direction::is_blocked);
        self.blocked.with_label_values(&[name]).set(if blocked { 1.0 } else { 0.0 });
        self.looked_at.with_label_values(&[name]).set(found.at.as_duration().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Encoder as _, TextEncoder};

    use super::*;
    use crate::domain::preflight::{Check, Class, Kind};

    fn rendered(registry: &Registry) -> String {
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text).expect("rendered");
        String::from_utf8(text).expect("text")
    }

    #[test]
    fn a_score_is_shown_while_it_can_be_believed_and_its_time_always() {
        let registry = Registry::new();
        let series = Preflights::new(&registry).expect("registered");
        let check = Check {
            kind: Kind::Record,
            subject: "api".to_owned(),
            region: None,
            class: Class::Blocking,
            state: State::NotMet,
            seen: String::new(),
            expected: String::new(),
            remedy: String::new(),
        };
        let at = |s: i64| Timestamp::from_second(s).expect("in range");
        let found = Preflight {
            application: "payments".parse().expect("a name"),
            at: at(1_000),
            directions: vec![Direction {
                source: "us-east-1".parse().expect("a Region"),
                target: "us-west-2".parse().expect("a Region"),
                checks: vec![check],
            }],
        };
        series.set(&found, at(1_000));
        let text = rendered(&registry);
        for line in [
            r#"failoverd_preflight_score{application="payments",target="us-west-2"} 40"#,
            r#"failoverd_preflight_checks{application="payments",state="not_met"} 1"#,
            r#"failoverd_preflight_checks{application="payments",state="unknown"} 0"#,
            r#"failoverd_preflight_blocked{application="payments"} 1"#,
            r#"failoverd_preflight_timestamp_seconds{application="payments"} 1000"#,
        ] {
            assert!(text.contains(line), "{line} is missing:\n{text}");
        }
        series.set(&found, at(1_901));
        let text = rendered(&registry);
        assert!(!text.contains("failoverd_preflight_score{"), "{text}");
        assert!(text.contains(r#"failoverd_preflight_timestamp_seconds{application="payments"} 1000"#), "{text}");
    }
}
