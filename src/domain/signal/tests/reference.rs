//! The alarms of the five published designs (DESIGN.md 9), as an operator writes them here, each over the minutes of a
//! story: quiet, then trouble, then quiet again.
//!
//! A story has a value for each minute (`-` is none), published a minute after it is over, and is read every 30 s. What
//! is believed is shown once a minute: `.` healthy, `~` ill but not yet believed, `!` ill, `?` unknown.

use std::{collections::BTreeMap, path::Path};

use super::{threshold::judge, *};
use crate::{config::Settings, domain::cloud::Datapoint};

/// The one signal that `text` describes, read as configuration.
pub(super) fn signal(text: &str) -> Signal {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/default.toml");
    let example = std::fs::read_to_string(example).expect("ships");
    let (before, rest) = example.split_once("[applications.signals.orders-lag]").expect("has signals");
    let (_, after) = rest.split_once("# Where each Region's servers").expect("has endpoints");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("failoverd.toml");
    let text = format!("{before}[applications.signals.it]\nrole = \"informational\"\n{text}\n\n#{after}");
    std::fs::write(&path, text).expect("written");
    let settings = Settings::load(&path, &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults}"));
    settings.applications[0].signals[0].clone()
}

/// A value for each minute; `-` is none.
pub(super) fn story(minutes: &str) -> Vec<Option<f64>> {
    minutes.split_whitespace().map(|m| (m != "-").then(|| m.parse().expect("a number"))).collect()
}

/// When the value of minute `m` is published, in seconds.
type Published<'a> = &'a dyn Fn(usize) -> i64;

pub(super) fn a_minute_late(minute: usize) -> i64 {
    (i64::try_from(minute).expect("few") + 2) * 60
}

/// What CloudWatch has at `now`, newest first: minutes gathered into the periods of the query.
fn published(story: &[Option<f64>], now: i64, (period, statistic): (i64, &str), when: Published<'_>) -> Vec<Datapoint> {
    let mut periods: BTreeMap<i64, f64> = BTreeMap::new();
    for (minute, value) in story.iter().enumerate() {
        let (Some(value), true) = (value, when(minute) <= now) else { continue };
        if !value.is_finite() {
            continue; // As the adapters do.
        }
        let second = i64::try_from(minute).expect("few") * 60;
        let slot = periods.entry(second - second % period);
        let add = |had: f64| match statistic {
            "Sum" => had + value,
            "Minimum" => had.min(*value),
            _ => had.max(*value),
        };
        slot.and_modify(|had| *had = add(*had)).or_insert(*value);
    }
    periods.into_iter().rev().map(|(second, value)| Datapoint { at: at(second), value }).collect()
}

/// What is believed of `signal`, minute by minute.
pub(super) fn believed(signal: &Signal, story: &[Option<f64>], when: Published<'_>) -> String {
    let mut window = SignalWindow::new(signal.consecutive);
    let mut shown = String::new();
    let minutes = i64::try_from(story.len()).expect("few");
    for second in (0..minutes * 60).step_by(30) {
        let now = at(second);
        let missing = |why: &str| (now, Reading::Missing { why: why.to_owned() });
        let (measured_at, reading) = match &signal.source {
            SignalSource::Metric { query, threshold, missing, .. } => {
                let period = i64::try_from(query.period.as_secs()).expect("short");
                let series = published(story, second, (period, &query.statistic), when);
                judge(&series, (query.period, now), (threshold, *missing), "it", window.belief())
            }
            SignalSource::HealthCheck { .. } => match published(story, second, (60, "Minimum"), when).first() {
                Some(p) if p.value >= 1.0 => (p.at, Reading::Healthy { detail: "1".to_owned() }),
                Some(p) => (p.at, Reading::Unhealthy { detail: "0".to_owned() }),
                None => missing("no datapoint"),
            },
            other => panic!("{other:?} is not read from minutes"),
        };
        window.push(Sample { measured_at, taken_at: now, reading });
        if second % 60 == 0 {
            shown.push(match (window.state(now, signal.freshness), window.unhealthy()) {
                (SignalState::Missing { .. } | SignalState::Stale { .. }, _) => '?',
                (_, Some((_, true))) => '!',
                (_, Some((_, false))) => '~',
                (_, None) => '.',
            });
        }
    }
    shown
}

/// One alarm of one design: how it is written, a story, and what is believed.
#[track_caller]
fn check(text: &str, minutes: &str, expected: &str) {
    let signal = signal(text);
    assert_eq!(believed(&signal, &story(minutes), &a_minute_late), expected, "{text}\n{minutes}");
}

const AURORA_LAG: &str = r#"
kind = "metric"
region = "us-west-2"
of = "us-east-1"
namespace = "AWS/RDS"
metric = "AuroraGlobalDBRPOLag"
dimensions = { DBClusterIdentifier = "payments-usw2" }
statistic = "Maximum"
"#;

#[test]
fn payments_fast_lag_over_a_second() {
    let alarm = format!("{AURORA_LAG}unhealthy = \"> 1000\"\nconsecutive = 1");
    check(&alarm, "90 95 99 1000 1001 1400 400 90 90 90 90", "??....!!...");
}

#[test]
fn payments_fast_five_lambda_errors_in_five_minutes() {
    let alarm = "kind = \"lambda_errors\"\nregion = \"us-east-1\"\nfunction = \"payments\"";
    // Four in one period are not five.
    check(alarm, "0 0 0 0 0  1 1 2 0 0  2 1 2 0 0  0 0 0 0 0  0 0 0", "?????..........!!!!!...");
}

#[test]
fn payments_audited_lag_over_a_second_for_three_minutes() {
    let alarm = format!("{AURORA_LAG}unhealthy = \"> 1000\"\nconsecutive = 3");
    check(&alarm, "90 95 99 2000 2000 2000 400 90 90 90 90 90", "??...~~!!!..");
}

#[test]
fn payments_audited_ten_lambda_errors_in_five_minutes() {
    let alarm = "kind = \"lambda_errors\"\nregion = \"us-east-1\"\nfunction = \"audit\"\nunhealthy = \">= 10\"";
    check(alarm, "0 0 0 0 0  3 3 3 1 0  0 0 0 0 0  0 0 0", "?????.....!!!!!...");
}

#[test]
fn payments_regulated_objects_not_replicated_within_fifteen_minutes() {
    check(S3_LAG, "5 5 880 900 901 960 30 5 5 5 5", "??....!!...");
}

#[test]
fn migration_hub_lag_over_a_minute() {
    let alarm = format!("{AURORA_LAG}unhealthy = \"> 60000\"\nhealthy = \"< 30000\"\nconsecutive = 2");
    check(&alarm, "90 90 61000 62000 45000 45000 29000 90 90 90 90", "??..~!!!!..");
}

#[test]
fn transactions_ten_dynamodb_throttles_in_five_minutes() {
    // DynamoDB publishes throttles only where there are some: that silence is health must be said.
    let alarm = r#"
kind = "metric"
region = "us-east-1"
namespace = "AWS/DynamoDB"
metric = "WriteThrottleEvents"
dimensions = { TableName = "transactions" }
statistic = "Sum"
stat_period = "5m"
unhealthy = ">= 10"
"#;
    check(alarm, "- - - - -  - - - - -  4 6 - - -  - - - - -  - - - - -", "???????????????!!!!!!!!!!");
    let said = format!("{alarm}missing = \"healthy\"");
    check(&said, "- - - - -  - - - - -  4 6 - - -  - - - - -  - - - - -", "...............!!!!!!!!..");
}

const S3_LAG: &str = r#"
kind = "metric"
region = "us-west-2"
of = "us-east-1"
namespace = "AWS/S3"
metric = "ReplicationLatency"
dimensions = { SourceBucket = "a", DestinationBucket = "b", RuleId = "r" }
statistic = "Maximum"
unhealthy = "> 900"
consecutive = 1
"#;

#[test]
fn transactions_s3_replication_over_fifteen_minutes() {
    check(S3_LAG, "5 5 5 901 950 990 990 30 5 5 5", "??...!!!!..");
}

#[test]
fn transactions_five_lambda_errors_in_five_minutes() {
    let alarm = "kind = \"lambda_errors\"\nregion = \"us-east-1\"\nfunction = \"transactions\"";
    check(alarm, "0 0 0 0 0  1 1 2 1 0  0 0 0 0 0  0 0 0", "?????.....!!!!!...");
}

#[test]
fn transactions_one_lambda_throttle() {
    let alarm = "kind = \"lambda_throttles\"\nregion = \"us-east-1\"\nfunction = \"transactions\"";
    check(alarm, "0 0 0 0 0  0 0 1 0 0  0 0 0 0 0  0 0 0", "?????.....!!!!!...");
}

#[test]
fn transactions_health_check_that_failed_three_times_at_thirty_seconds() {
    // Route 53 counts the three failures; its metric is 0 from then on.
    let alarm = "kind = \"health_check\"\nhealth_check_id = \"h\"\nof = \"us-east-1\"\nconsecutive = 1";
    check(alarm, "1 1 1 0 0 0 1 1 1 1", "??...!!!..");
}
