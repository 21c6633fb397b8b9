//! What the mode `auto` comes to now, and why: a switchover where it is proved that nothing would be lost by one, else a
//! failover, which is proposed and never started without an accepted loss (DESIGN.md 6).
//!
//! Invariant: what was not seen proves nothing; every choice has its reason.

use crate::domain::{
    assessment::{Assessment, Health},
    plan::Purpose,
};

/// What `auto` has chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    pub purpose: Purpose,
    /// Why, as a sentence without its end.
    pub why: String,
}

/// What `auto` comes to, by the newest assessment.
pub fn choose(assessment: Option<&Assessment>) -> Choice {
    let failover = |why: String| Choice { purpose: Purpose::Failover, why };
    let Some(assessment) = assessment else {
        return failover("a switchover is not proved to lose nothing: nothing was assessed yet".to_owned());
    };
    let mut against = Vec::new();
    if assessment.health != Health::Healthy {
        let health = format!("{:?}", assessment.health).to_lowercase();
        against.push(format!("the application's health is {health}"));
    }
    let stale = assessment.exposure.iter().filter(|(_, exposure)| !exposure.fresh);
    against.extend(stale.map(|(store, _)| format!("the lag of store {store} is unknown")));
    if against.is_empty() {
        let why = "the application is healthy and the lag of every store is fresh: a switchover loses nothing";
        return Choice { purpose: Purpose::Switchover, why: why.to_owned() };
    }
    failover(format!("a switchover is not proved to lose nothing: {}", against.join("; ")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::domain::assessment::Exposure;

    fn assessment(health: Health, lag_age_seconds: i64) -> Assessment {
        let now = Timestamp::from_second(1_000).expect("in range");
        let at = Timestamp::from_second(1_000 - lag_age_seconds).expect("in range");
        let exposure = Exposure::from_lag(Some((at, Duration::from_secs(1))), now, Duration::from_secs(30));
        Assessment {
            health,
            exposure: [("main".parse().expect("valid"), exposure)].into(),
            ..Assessment::unknown("payments".parse().expect("valid"), now)
        }
    }

    #[track_caller]
    fn check(assessment: Option<&Assessment>, purpose: Purpose, why: &str) {
        let choice = choose(assessment);
        assert_eq!(choice.purpose, purpose, "{choice:?}");
        assert!(choice.why.contains(why), "{choice:?}");
    }

    #[test]
    fn auto_switches_over_where_nothing_would_be_lost_and_says_what_is_against_it_elsewhere() {
        check(Some(&assessment(Health::Healthy, 10)), Purpose::Switchover, "loses nothing");
        check(Some(&assessment(Health::Healthy, 40)), Purpose::Failover, "the lag of store main is unknown");
        check(Some(&assessment(Health::Down, 10)), Purpose::Failover, "the application's health is down");
        check(None, Purpose::Failover, "nothing was assessed yet");
    }
}
