//! How one datapoint is judged; the gates whole are in tests/it/gates.rs.

use std::collections::BTreeMap;

use super::*;
use crate::domain::{cloud::MetricQuery, replica::Backlog};

const S: Duration = Duration::from_secs(1);
const FRESHNESS: Duration = Duration::from_secs(300);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn measure(quantity: Quantity) -> Measure {
    let query = MetricQuery {
        namespace: "AWS/S3".to_owned(),
        metric: "ReplicationLatency".to_owned(),
        dimensions: BTreeMap::new(),
        statistic: "Maximum".to_owned(),
        period: 60 * S,
    };
    let region = "us-west-2".parse().expect("a Region");
    Measure { region, query, quantity, silence: "silence says nothing".to_owned() }
}

fn lag(limit: Duration) -> Quantity {
    Quantity::Lag { unit: LagUnit::Seconds, limit }
}

/// What is made of `value`, measured at 0 and judged at `now`.
fn word(purpose: Purpose, accepted: Option<Duration>, quantity: Quantity, value: f64, now: i64) -> &'static str {
    let judge = Judge { now: at(now), freshness: FRESHNESS, purpose, accepted };
    match judge.verdict(&measure(quantity), Some(Datapoint { at: at(0), value })) {
        Verdict::Within(_) => "within",
        Verdict::Beyond(_) => "beyond",
        Verdict::Unknown(_) => "unknown",
    }
}

#[test]
fn a_planned_move_judges_a_fresh_lag_and_knows_nothing_from_an_old_one() {
    let planned = |value, now| word(Purpose::Switchover, None, lag(10 * S), value, now);
    assert_eq!(planned(9.0, 60), "within");
    assert_eq!(planned(11.0, 60), "beyond");
    assert_eq!(planned(0.0, 301), "unknown");
    assert_eq!(planned(-1.0, 60), "unknown");
    assert_eq!(planned(1.0, -120), "unknown", "it is dated ahead of the clock");
}

#[test]
fn in_a_failover_the_lag_has_grown_since_it_was_measured_and_is_held_to_what_was_accepted() {
    let failover = |accepted, value, now| word(Purpose::Failover, accepted, lag(10 * S), value, now);
    assert_eq!(failover(None, 4.0, 6), "within");
    assert_eq!(failover(None, 4.0, 7), "beyond");
    assert_eq!(failover(Some(60 * S), 4.0, 56), "within");
    assert_eq!(failover(Some(S), 4.0, 6), "within", "the objective stands where less was accepted");
    assert_eq!(failover(Some(3_600 * S), 4.0, 900), "within", "an old sample bounds it still");
}

#[test]
fn what_is_pending_must_be_fresh_and_a_number_of_things() {
    let pending = |value, now| {
        let quantity = Quantity::Pending { what: Backlog::Operations, limit: 100 };
        word(Purpose::Failover, None, quantity, value, now)
    };
    assert_eq!(pending(100.0, 60), "within");
    assert_eq!(pending(101.0, 60), "beyond");
    assert_eq!(pending(0.0, 301), "unknown");
    assert_eq!(pending(-1.0, 60), "unknown");
}

#[test]
fn no_data_is_unknown_and_never_nothing_pending() {
    let judge = Judge { now: at(0), freshness: FRESHNESS, purpose: Purpose::Failover, accepted: None };
    for quantity in [lag(S), Quantity::Pending { what: Backlog::Bytes, limit: u64::MAX }] {
        assert!(matches!(judge.verdict(&measure(quantity), None), Verdict::Unknown(why) if why.contains("silence")));
    }
}
