//! `salvage.conflicts`: from when until when both Regions may have taken writes of the same items of a global table. The
//! later write has won, and the other is gone.
//!
//! Invariant: an end of the window is known only where something was measured or verified. What the metric does not say is
//! said: items that never arrived publish no latency, an idle table publishes none, and neither is a sign of anything.
//! It lists no item: nothing in DynamoDB tells which were written on both sides.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    domain::{
        action::Action,
        cloud::{Datapoint, MetricQuery, newest_of_one},
        fence::Rung,
        id::Region,
        replica::LagUnit,
        run::{RunState, StepState},
        seconds::to_seconds,
    },
    engine::{context::Context, look::Look},
};

/// How far before the first evidence a measurement is looked for: an idle table publishes none.
const BEFORE: Duration = Duration::from_hours(3);

const DAY: Duration = Duration::from_hours(24);

pub(super) async fn look(
    context: &Context,
    failover: &RunState,
    table: &str,
    region: &Region,
    latency: &MetricQuery,
) -> Look {
    let now = context.clock.wall();
    let evidence_at = failover.evidence_since.unwrap_or(failover.started_at);
    let moved_at = moved_at(failover);
    let query = [MetricQuery { period: kept_period(now, evidence_at), ..latency.clone() }];
    let before = context.cloud.metrics_until(region, &query, evidence_at, BEFORE).await;
    let before = match newest_of_one(before) {
        Ok(point) => point,
        Err(error) => return super::unread("cloudwatch:GetMetricData", region, &error),
    };
    let since = moved_at.unwrap_or(evidence_at);
    let passed = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    let late = match newest_of_one(context.cloud.metrics(region, &query, passed).await) {
        Ok(point) => point.filter(|point| since < point.at),
        Err(error) => return super::unread("cloudwatch:GetMetricData", region, &error),
    };
    let seen = Seen { evidence_at, moved_at, stopped_at: stopped_at(failover), before, late };
    seen.told(table, region)
}

/// CloudWatch keeps datapoints of a minute for 15 days, of five minutes for 63, of an hour for 455 [CWUG].
fn kept_period(now: Timestamp, then: Timestamp) -> Duration {
    let age = Duration::try_from(now.duration_since(then)).unwrap_or_default() + BEFORE;
    match age {
        age if age < 15 * DAY => Duration::from_mins(1),
        age if age < 63 * DAY => Duration::from_mins(5),
        _ => Duration::from_hours(1),
    }
}

/// When traffic was first sent to the new Region.
fn moved_at(failover: &RunState) -> Option<Timestamp> {
    let moves = failover.plan.steps.iter().filter(|s| s.action.requires_writer().is_some());
    let begun = moves.filter_map(|s| match failover.steps.get(&s.id)? {
        StepState::Done { since, .. } | StepState::Failed { since, .. } | StepState::Holding { since, .. } => {
            Some(*since)
        }
        StepState::Sending { intended_at, .. } | StepState::Answered { intended_at, .. } => Some(*intended_at),
        StepState::Pending | StepState::Running { .. } | StepState::Skipped { .. } => None,
    });
    begun.min()
}

/// When the old Region's application was verified to run no more. No other fence is of a table: they close a database.
fn stopped_at(failover: &RunState) -> Option<Timestamp> {
    let fences = failover.plan.steps.iter().filter(|s| match &s.action {
        Action::Fence { fence } => matches!(fence.rung, Rung::Application { .. }),
        _ => false,
    });
    let verified = fences.filter_map(|s| match failover.steps.get(&s.id)? {
        StepState::Done { at, outputs, .. } if outputs.get("fenced") == Some(&json!("verified")) => Some(*at),
        _ => None,
    });
    verified.min()
}

struct Seen {
    evidence_at: Timestamp,
    moved_at: Option<Timestamp>,
    stopped_at: Option<Timestamp>,
    before: Option<Datapoint>,
    late: Option<Datapoint>,
}

impl Seen {
    /// The newest write of the old Region that was measured to have arrived. A datapoint is named after the beginning of
    /// its period.
    fn from(&self) -> Option<Timestamp> {
        let point = self.before?;
        point.at.checked_sub(LagUnit::Milliseconds.lag(point.value)?).ok()
    }

    /// From when on the old Region took no write; not where one arrived from there later.
    fn until(&self) -> Option<Timestamp> {
        self.stopped_at.filter(|stopped| self.late.is_none_or(|late| late.at <= *stopped))
    }

    fn basis(&self, region: &Region) -> String {
        let from = match self.from() {
            Some(_) => {
                "the newest ReplicationLatency before the first evidence (items that never arrived publish none)"
                    .to_owned()
            }
            None => format!(
                "{region} published no ReplicationLatency in {} s before {}: an idle table publishes none, and so does one \
                 that has stopped",
                to_seconds(BEFORE),
                self.evidence_at
            ),
        };
        let until = match (self.until(), self.stopped_at) {
            (Some(_), _) => "the application in the old Region was verified to run no more".to_owned(),
            (None, Some(stopped)) => format!(
                "the application in {region} was verified to run no more at {stopped}, and a write of {region} arrived \
                 after that: somebody else writes there"
            ),
            (None, None) => {
                format!("no fence.application was verified, so nothing tells when {region} took its last write")
            }
        };
        format!("from: {from}; until: {until}")
    }

    fn told(&self, table: &str, region: &Region) -> Look {
        let (from, until, basis) = (self.from(), self.until(), self.basis(region));
        let mut outputs: BTreeMap<String, Value> = BTreeMap::new();
        let mut put = |name: &str, value: Option<Value>| outputs.extend(value.map(|value| (name.to_owned(), value)));
        put("known", Some(json!(from.is_some() && until.is_some())));
        put("from", from.map(|at| json!(at.to_string())));
        put("until", until.map(|at| json!(at.to_string())));
        put("moved_at", self.moved_at.map(|at| json!(at.to_string())));
        put("late_replication", self.late.map(|point| json!(point.at.to_string())));
        put("basis", Some(json!(basis)));
        let length = from.zip(until).and_then(|(from, until)| Duration::try_from(until.duration_since(from)).ok());
        put("window_seconds", length.map(|length| json!(to_seconds(length))));
        let end = |at: Option<Timestamp>| at.map_or_else(|| "unknown".to_owned(), |at| at.to_string());
        let evidence =
            format!("{table}: both Regions may have taken writes from {} until {} ({basis})", end(from), end(until));
        Look::Satisfied { evidence: vec![evidence], outputs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_second(s).expect("in range")
    }

    fn seen() -> Seen {
        let before = Some(Datapoint { at: at(60), value: 2_000.0 });
        Seen { evidence_at: at(100), moved_at: Some(at(300)), stopped_at: Some(at(200)), before, late: None }
    }

    fn outputs(seen: &Seen) -> BTreeMap<String, Value> {
        match seen.told("sessions", &"us-east-1".parse().expect("a Region")) {
            Look::Satisfied { outputs, .. } => outputs,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn both_ends_are_known_where_one_is_measured_and_the_other_verified() {
        let told = outputs(&seen());
        assert_eq!(told["from"], json!(at(58).to_string()));
        assert_eq!((&told["known"], &told["window_seconds"]), (&json!(true), &json!(142.0)));
    }

    #[test]
    fn an_end_that_nothing_proves_is_left_out_and_never_now_or_zero() {
        for seen in [
            Seen { before: None, ..seen() },
            Seen { stopped_at: None, ..seen() },
            // What arrived later was written by somebody whom the fence does not hold.
            Seen { late: Some(Datapoint { at: at(400), value: 1.0 }), ..seen() },
            // A latency that is none.
            Seen { before: Some(Datapoint { at: at(60), value: -1.0 }), ..seen() },
        ] {
            let told = outputs(&seen);
            assert_eq!(told["known"], json!(false), "{told:?}");
            assert!(!told.contains_key("window_seconds"), "{told:?}");
            assert!(!(told.contains_key("from") && told.contains_key("until")), "{told:?}");
        }
    }

    #[test]
    fn what_is_old_is_asked_for_in_the_periods_that_cloudwatch_has_kept() {
        let day = 24 * 60 * 60;
        for (days, minutes) in [(1, 1), (20, 5), (100, 60)] {
            assert_eq!(kept_period(at(days * day), at(0)), Duration::from_mins(minutes), "{days}");
        }
    }
}
