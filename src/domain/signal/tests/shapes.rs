//! Shapes that metrics take in real trouble, and what must be believed of each. The signs are those of `reference`.

use proptest::prelude::*;

use super::{
    reference::{a_minute_late, believed, signal, story},
    threshold::{InvalidThreshold, Limit, MissingMeans, Says, Threshold, judge},
    *,
};
use crate::domain::cloud::Datapoint;

const LATENCY: &str = r#"
kind = "api_gateway_latency"
region = "us-east-1"
api_name = "payments"
unhealthy = "> 500"
healthy = "< 200"
"#;

#[track_caller]
fn check(minutes: &str, expected: &str) {
    assert_eq!(believed(&signal(LATENCY), &story(minutes), &a_minute_late), expected, "{minutes}");
}

#[test]
fn a_slow_burn_is_believed_once_it_is_over_the_threshold_often_enough() {
    check("100 150 250 350 450 550 600 650 700 700 700", "??.....~~!!");
}

#[test]
fn a_spike_is_seen_and_not_believed() {
    check("100 100 900 100 100 100 100 100 100", "??..~~~..");
}

#[test]
fn what_flaps_across_one_threshold_is_not_believed_and_what_flaps_between_both_keeps_its_belief() {
    check("100 600 100 600 100 600 100 600 100 600", "??.~~~~~~~");
    check("100 600 600 600 300 400 300 400 300 150 150 150 150 150", "??.~~!!!!!!!!.");
}

#[test]
fn a_metric_that_stops_is_unknown_after_its_freshness_whatever_it_said_last() {
    check("100 100 100 - - - - - - - -", "??.......??");
    check("600 600 600 600 - - - - - - - -", "??~~!!!!!!??");
}

#[test]
fn a_metric_that_is_frozen_with_its_timestamps_grows_stale_and_one_with_fresh_ones_keeps_its_belief() {
    // The same datapoint again and again: nothing new comes.
    let frozen = |minute: usize| if minute < 2 { a_minute_late(minute) } else { i64::MAX };
    assert_eq!(believed(&signal(LATENCY), &story("100 100 100 100 100 100 100 100 100 100"), &frozen), "??......??");
    // Fresh timestamps with an old value cannot be told from a steady metric here: that takes a heartbeat.
    check("100 100 100 100 100 100", "??....");
}

#[test]
fn nan_is_no_reading() {
    check("100 100 NaN NaN NaN NaN NaN NaN NaN NaN", "??......??");
}

#[test]
fn data_that_come_late_are_believed_when_they_come_and_dated_when_they_were_true() {
    let signal = signal(LATENCY);
    let minutes = story("100 100 600 600 600 600 600 100 100 100 100 100 100");
    // From minute 2 on everything is published five minutes late.
    let late = |minute: usize| a_minute_late(minute) + if 2 <= minute { 240 } else { 0 };
    assert_eq!(believed(&signal, &minutes, &late), "??......~~!!!");
}

#[test]
fn a_clock_that_is_off_by_more_than_clocks_may_differ_makes_readings_none() {
    let threshold = Threshold::new("> 5".parse().expect("a limit"), None).expect("a threshold");
    let now = at(600);
    let ahead = [Datapoint { at: at(900), value: 9.0 }];
    let minute = Duration::from_mins(1);
    let (_, reading) = judge(&ahead, (minute, now), (&threshold, MissingMeans::Unknown), "it", Belief::None);
    assert!(matches!(reading, Reading::Missing { .. }), "its period is not over by our clock: {reading:?}");
    let mut window = SignalWindow::new(1);
    window.push(Sample { measured_at: at(700), taken_at: now, reading: Reading::Unhealthy { detail: String::new() } });
    assert_eq!(window.unhealthy(), None);
}

#[test]
fn a_period_that_is_not_over_is_not_judged() {
    let threshold = Threshold::new(">= 5".parse().expect("a limit"), None).expect("a threshold");
    let five = Duration::from_mins(5);
    let series = [Datapoint { at: at(300), value: 1.0 }, Datapoint { at: at(0), value: 7.0 }];
    let judged = |now| judge(&series, (five, at(now)), (&threshold, MissingMeans::Unknown), "it", Belief::None);
    let (when, reading) = judged(599);
    assert!(matches!(reading, Reading::Unhealthy { .. }) && when == at(300), "{when} {reading:?}");
    let (when, reading) = judged(600);
    assert!(matches!(reading, Reading::Healthy { .. }) && when == at(600), "{when} {reading:?}");
}

#[test]
fn silence_that_is_said_to_be_health_is_so_only_when_data_would_have_come() {
    let threshold = Threshold::new(">= 1".parse().expect("a limit"), None).expect("a threshold");
    let minute = Duration::from_mins(1);
    let one = [Datapoint { at: at(0), value: 3.0 }];
    let judged = |now| judge(&one, (minute, at(now)), (&threshold, MissingMeans::Healthy), "errors", Belief::None);
    assert!(matches!(judged(90), (when, Reading::Unhealthy { .. }) if when == at(60)));
    let (when, reading) = judged(330);
    assert_eq!(when, at(120), "three minutes behind, on a period's end");
    let Reading::Healthy { detail } = reading else { panic!("{reading:?}") };
    assert!(detail.contains("said to mean"), "{detail}");
}

#[test]
fn thresholds_that_make_no_sense_are_refused() {
    let limit = |text: &str| text.parse::<Limit>();
    for text in ["5", "> x", "> NaN", ">", "= 5", "> inf"] {
        assert_eq!(limit(text), Err(InvalidThreshold::Limit), "{text}");
    }
    let both = |unhealthy: &str, healthy: &str| {
        Threshold::new(limit(unhealthy).expect("a limit"), Some(limit(healthy).expect("a limit")))
    };
    assert!(matches!(both("> 5", "> 2"), Err(InvalidThreshold::SameDirection { .. })));
    assert!(matches!(both("> 5", "< 6"), Err(InvalidThreshold::Overlap { .. })));
    assert!(matches!(both(">= 5", "<= 5"), Err(InvalidThreshold::Overlap { .. })));
    assert!(both("> 5", "<= 5").is_ok());
    let below = both("< 0.9", "> 0.95").expect("a threshold");
    let says: Vec<Says> = [0.89, 0.9, 0.95, 0.96].map(|v| below.says(v)).into();
    assert_eq!(says, [Says::Unhealthy, Says::Between, Says::Between, Says::Healthy]);
}

/// One reading: well, ill, between the thresholds, or missing.
fn reading(kind: u8, belief: Belief) -> Reading {
    let threshold = Threshold::new("> 5".parse().expect("a limit"), Some("< 2".parse().expect("a limit")));
    let threshold = threshold.expect("a threshold");
    match kind {
        0 => threshold.reading(1.0, "it", belief),
        1 => threshold.reading(9.0, "it", belief),
        2 => threshold.reading(3.0, "it", belief),
        _ => Reading::Missing { why: "lost".to_owned() },
    }
}

/// Whether ill health was believed at any time.
fn ever_believed(kinds: &[u8], consecutive: u32) -> Option<usize> {
    let mut window = SignalWindow::new(consecutive);
    for (n, kind) in kinds.iter().enumerate() {
        let belief = window.belief();
        window.push(sample(i64::try_from(n).expect("few") * 10, reading(*kind, belief)));
        if window.belief() == Belief::Unhealthy {
            return Some(n);
        }
    }
    None
}

proptest! {
    #[test]
    fn who_sees_less_never_believes_in_ill_health_earlier_or_where_the_others_do_not(
        kinds in prop::collection::vec((0_u8..4, any::<bool>()), 1..60),
        consecutive in 1_u32..5,
    ) {
        let whole: Vec<u8> = kinds.iter().map(|(kind, _)| *kind).collect();
        let thinned: Vec<u8> = kinds.iter().map(|(kind, lost)| if *lost { 3 } else { *kind }).collect();
        if let Some(when) = ever_believed(&thinned, consecutive) {
            let of_whole = ever_believed(&whole, consecutive);
            prop_assert!(of_whole.is_some_and(|w| w <= when), "{thinned:?} at {when}, {whole:?} at {of_whole:?}");
        }
    }

    #[test]
    fn silence_alone_is_never_believed_to_be_anything(readings in 1_usize..100, consecutive in 1_u32..5) {
        let mut window = SignalWindow::new(consecutive);
        for n in 0..readings {
            window.push(sample(i64::try_from(n).expect("few"), reading(3, Belief::None)));
        }
        prop_assert_eq!((window.belief(), window.unhealthy()), (Belief::None, None));
    }
}
