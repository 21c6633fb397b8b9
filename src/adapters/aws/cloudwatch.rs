//! Metrics and alarms.
//!
//! Invariant: what CloudWatch did not tell whole is an error of that metric alone, and what it has no datapoint for is
//! an empty series; neither is ever a number.

use std::{collections::BTreeMap, time::Duration};

use aws_config::retry::RetryConfig;
use aws_sdk_cloudwatch::{
    self as sdk,
    types::{
        AlarmType, CompositeAlarm, Dimension, Metric, MetricAlarm, MetricDataQuery, MetricDataResult, MetricDatum,
        MetricStat, ScanBy,
    },
};
use aws_types::request_id::RequestId as _;
use jiff::{SignedDuration, Timestamp};

use super::{
    AwsCloud, Call, PAGES_MAX, lacking,
    time::{from_sdk, to_sdk},
    too_many_pages,
};
use crate::domain::{
    cloud::{
        ALARMS_PER_CALL_MAX, Alarm, AlarmState, Answer, DATAPOINTS_MAX, Datapoint, METRICS_PER_CALL_MAX, MetricQuery,
        MissingData, ObserveError, Outcome, Series,
    },
    id::Region,
};

/// Alarms on this namespace ignore missing data whatever is set [bc:cloudwatch.PutMetricAlarm].
const ALWAYS_IGNORES_MISSING: &str = "AWS/DynamoDB";

/// By which data behind an alarm are looked for, whatever its own period is.
const SAMPLES_PERIOD: Duration = Duration::from_mins(1);

impl AwsCloud {
    pub(super) async fn get_metric_data(
        &self,
        region: &Region,
        queries: &[MetricQuery],
        until: Timestamp,
        window: Duration,
    ) -> Result<Vec<Answer<Series>>, ObserveError> {
        let read = async {
            let mut newest = Vec::with_capacity(queries.len());
            for batch in queries.chunks(METRICS_PER_CALL_MAX) {
                newest.extend(self.metric_batch(region, batch, until, window).await?);
            }
            Ok(newest)
        };
        self.within(cloudwatch("GetMetricData", region), read).await
    }

    async fn metric_batch(
        &self,
        region: &Region,
        batch: &[MetricQuery],
        until: Timestamp,
        window: Duration,
    ) -> Result<Vec<Answer<Series>>, ObserveError> {
        let start = SignedDuration::try_from(window)
            .ok()
            .and_then(|w| until.checked_sub(w).ok())
            .unwrap_or(Timestamp::UNIX_EPOCH);
        // The end is exclusive [bc]: a second later, so that a datapoint of this very instant is among them.
        let end = until.checked_add(SignedDuration::from_secs(1)).unwrap_or(until);
        let mut results = Collected::new(batch.len());
        let mut token = None;
        for _ in 0..PAGES_MAX {
            let departure = self.departure();
            let result = self
                .clients
                .cloudwatch(region)
                .get_metric_data()
                .set_metric_data_queries(Some(batch.iter().enumerate().map(query).collect()))
                .start_time(to_sdk(start))
                .end_time(to_sdk(end))
                .scan_by(ScanBy::TimestampDescending)
                .set_next_token(token)
                .customize()
                .interceptor(departure.clone())
                .send()
                .await;
            let page = self
                .ended(cloudwatch("GetMetricData", region), &departure, result)
                .map_err(|f| f.into_observe_error("metric data"))?;
            if let Some(reason) = self.skew.refusal(region) {
                return Err(ObserveError::ClockSkew { reason });
            }
            for result in page.metric_data_results() {
                results.take(result)?;
            }
            token = page.next_token().filter(|t| !t.is_empty()).map(str::to_owned);
            if token.is_none() {
                return Ok(results.answers(batch));
            }
        }
        Err(too_many_pages("metric data"))
    }

    pub(super) async fn describe_alarms(
        &self,
        region: &Region,
        names: &[String],
    ) -> Result<Vec<Answer<Alarm>>, ObserveError> {
        let read = async {
            let mut found = BTreeMap::new();
            for batch in names.chunks(ALARMS_PER_CALL_MAX) {
                self.alarm_batch(region, batch, &mut found).await?;
            }
            let absent = |name: &String| ObserveError::NotFound {
                what: format!("alarm `{name}` in {region}"),
                code: "not listed".to_owned(),
            };
            Ok(names.iter().map(|name| found.get(name).cloned().unwrap_or_else(|| Err(absent(name)))).collect())
        };
        self.within(cloudwatch("DescribeAlarms", region), read).await
    }

    async fn alarm_batch(
        &self,
        region: &Region,
        names: &[String],
        found: &mut BTreeMap<String, Answer<Alarm>>,
    ) -> Result<(), ObserveError> {
        let mut token = None;
        for _ in 0..PAGES_MAX {
            let departure = self.departure();
            let result = self
                .clients
                .cloudwatch(region)
                .describe_alarms()
                .set_alarm_names(Some(names.to_vec()))
                // Without these, metric alarms only are listed [bc].
                .alarm_types(AlarmType::MetricAlarm)
                .alarm_types(AlarmType::CompositeAlarm)
                .set_next_token(token)
                .customize()
                .interceptor(departure.clone())
                .send()
                .await;
            let page = self
                .ended(cloudwatch("DescribeAlarms", region), &departure, result)
                .map_err(|f| f.into_observe_error("alarms"))?;
            let metric = page.metric_alarms().iter().map(|a| (a.alarm_name(), metric_alarm(a)));
            let composite = page.composite_alarms().iter().map(|a| (a.alarm_name(), composite_alarm(a)));
            for (name, alarm) in metric.chain(composite) {
                found.insert(name.ok_or_else(|| lacking("an alarm", "name"))?.to_owned(), alarm);
            }
            token = page.next_token().filter(|t| !t.is_empty()).map(str::to_owned);
            if token.is_none() {
                return Ok(());
            }
        }
        Err(too_many_pages("alarms"))
    }

    pub(super) async fn put_metric(
        &self,
        region: &Region,
        namespace: &str,
        metric: &str,
        dims: &BTreeMap<String, String>,
        value: f64,
    ) -> Outcome {
        let departure = self.departure();
        let datum = MetricDatum::builder()
            .metric_name(metric)
            .set_dimensions(Some(dimensions(dims)))
            .timestamp(to_sdk(self.clock.wall()))
            .value(value)
            .build();
        let result = self
            .clients
            .cloudwatch(region)
            .put_metric_data()
            .namespace(namespace)
            .metric_data(datum)
            .customize()
            .interceptor(departure.clone())
            .config_override(sdk::Config::builder().retry_config(RetryConfig::disabled()))
            .send()
            .await;
        match self.ended(cloudwatch("PutMetricData", region), &departure, result) {
            Ok(output) => Outcome::Accepted { request_id: output.request_id().map(str::to_owned), handle: None },
            Err(failure) => failure.into_outcome(),
        }
    }
}

fn cloudwatch<'a>(operation: &'static str, region: &'a Region) -> Call<'a> {
    Call { service: "cloudwatch", operation, region }
}

fn dimensions(dims: &BTreeMap<String, String>) -> Vec<Dimension> {
    dims.iter().map(|(name, value)| Dimension::builder().name(name).value(value).build()).collect()
}

/// Query ids begin with a lower-case letter [bc].
fn query((index, query): (usize, &MetricQuery)) -> MetricDataQuery {
    let metric = Metric::builder()
        .namespace(&query.namespace)
        .metric_name(&query.metric)
        .set_dimensions(Some(dimensions(&query.dimensions)))
        .build();
    let stat = MetricStat::builder()
        .metric(metric)
        .period(i32::try_from(query.period.as_secs()).unwrap_or(i32::MAX))
        .stat(&query.statistic)
        .build();
    MetricDataQuery::builder().id(format!("q{index}")).metric_stat(stat).return_data(true).build()
}

fn alarm_state(state: Option<&str>, name: &str) -> Answer<AlarmState> {
    match state.ok_or_else(|| lacking(name, "state"))? {
        "OK" => Ok(AlarmState::Ok),
        "ALARM" => Ok(AlarmState::Alarm),
        "INSUFFICIENT_DATA" => Ok(AlarmState::InsufficientData),
        other => Err(ObserveError::Malformed { reason: format!("alarm `{name}` is in an unknown state `{other}`") }),
    }
}

fn metric_alarm(alarm: &MetricAlarm) -> Answer<Alarm> {
    let name = alarm.alarm_name().unwrap_or_default();
    let of_several = alarm.metrics().iter().filter_map(|m| m.metric_stat()?.metric()?.namespace());
    let ignores = alarm.namespace().into_iter().chain(of_several).any(|n| n == ALWAYS_IGNORES_MISSING);
    let missing_data = match alarm.treat_missing_data() {
        _ if ignores => MissingData::Ignore,
        None | Some("missing") => MissingData::Missing,
        Some("ignore") => MissingData::Ignore,
        Some("breaching") => MissingData::Breaching,
        Some("notBreaching") => MissingData::NotBreaching,
        Some(other) => {
            let reason = format!("alarm `{name}` treats missing data in an unknown way `{other}`");
            return Err(ObserveError::Malformed { reason });
        }
    };
    let samples = alarm.namespace().zip(alarm.metric_name()).map(|(namespace, metric)| MetricQuery {
        namespace: namespace.to_owned(),
        metric: metric.to_owned(),
        dimensions: alarm
            .dimensions()
            .iter()
            .filter_map(|d| Some((d.name()?.to_owned(), d.value()?.to_owned())))
            .collect(),
        statistic: "SampleCount".to_owned(),
        period: SAMPLES_PERIOD,
    });
    Ok(Alarm {
        state: alarm_state(alarm.state_value().map(|s| s.as_str()), name)?,
        missing_data: Some(missing_data),
        samples,
        state_since: alarm.state_updated_timestamp().and_then(from_sdk),
        state_reason: alarm.state_reason().unwrap_or_default().to_owned(),
    })
}

fn composite_alarm(alarm: &CompositeAlarm) -> Answer<Alarm> {
    Ok(Alarm {
        state: alarm_state(alarm.state_value().map(|s| s.as_str()), alarm.alarm_name().unwrap_or_default())?,
        missing_data: None,
        samples: None,
        state_since: alarm.state_updated_timestamp().and_then(from_sdk),
        state_reason: alarm.state_reason().unwrap_or_default().to_owned(),
    })
}

/// The results of one batch, gathered over its pages.
struct Collected(Vec<Answered>);

/// What one query was answered so far.
#[derive(Clone, Default)]
struct Answered {
    /// `PartialData` on a page with more to come is replaced by the next page's [bc].
    status: Option<String>,
    /// By time: [`DATAPOINTS_MAX`] and one more at most.
    newest: BTreeMap<Timestamp, f64>,
}

impl Collected {
    fn new(queries: usize) -> Self {
        Self(vec![Answered::default(); queries])
    }

    fn take(&mut self, result: &MetricDataResult) -> Result<(), ObserveError> {
        let id = result.id().unwrap_or_default();
        let slot =
            id.strip_prefix('q').and_then(|n| n.parse::<usize>().ok()).and_then(|n| self.0.get_mut(n)).ok_or_else(
                || ObserveError::Malformed { reason: format!("a metric result for a query `{id}` that was not asked") },
            )?;
        slot.status = result.status_code().map(|s| s.as_str().to_owned());
        if result.timestamps().len() != result.values().len() {
            slot.status = Some("with more timestamps than values, or fewer".to_owned());
            return Ok(());
        }
        for (at, value) in result.timestamps().iter().zip(result.values()) {
            // NaN and infinity are no reading at all (FAULTS.md 43).
            let (true, Some(at)) = (value.is_finite(), from_sdk(at)) else {
                continue;
            };
            slot.newest.insert(at, *value);
            if DATAPOINTS_MAX < slot.newest.len() {
                slot.newest.pop_first();
            }
        }
        Ok(())
    }

    /// A series for each query, or why there is none.
    fn answers(self, batch: &[MetricQuery]) -> Vec<Answer<Series>> {
        self.0
            .into_iter()
            .zip(batch)
            .map(|(answered, query)| match answered.status.as_deref() {
                Some("Complete") => {
                    Ok(answered.newest.into_iter().rev().map(|(at, value)| Datapoint { at, value }).collect())
                }
                Some("Forbidden") => Err(ObserveError::Rejected {
                    code: "Forbidden".to_owned(),
                    message: format!("metric {}/{}", query.namespace, query.metric),
                }),
                Some(status @ ("InternalError" | "PartialData")) => Err(ObserveError::Unreachable {
                    reason: format!("metric {}/{}: {status}", query.namespace, query.metric),
                }),
                other => Err(ObserveError::Malformed {
                    reason: format!(
                        "metric {}/{} was answered {}",
                        query.namespace,
                        query.metric,
                        other.unwrap_or("with nothing")
                    ),
                }),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_cloudwatch::types::StatusCode;
    use aws_smithy_types::DateTime;

    use super::*;

    fn batch() -> Vec<MetricQuery> {
        vec![MetricQuery {
            namespace: "AWS/RDS".to_owned(),
            metric: "AuroraGlobalDBRPOLag".to_owned(),
            dimensions: BTreeMap::new(),
            statistic: "Maximum".to_owned(),
            period: Duration::from_secs(60),
        }]
    }

    fn page(status: StatusCode, points: &[(i64, f64)]) -> MetricDataResult {
        MetricDataResult::builder()
            .id("q0")
            .status_code(status)
            .set_timestamps(Some(points.iter().map(|p| DateTime::from_secs(p.0)).collect()))
            .set_values(Some(points.iter().map(|p| p.1).collect()))
            .build()
    }

    fn read(pages: &[MetricDataResult]) -> Result<Option<Datapoint>, ObserveError> {
        let mut collected = Collected::new(1);
        for page in pages {
            collected.take(page)?;
        }
        collected.answers(&batch()).remove(0).map(|series| series.first().copied())
    }

    fn at(seconds: i64, value: f64) -> Option<Datapoint> {
        let at = Timestamp::from_second(seconds).expect("valid");
        Some(Datapoint { at, value })
    }

    #[test]
    fn the_newest_datapoint_is_found_by_its_timestamp_whatever_the_order() {
        let page = page(StatusCode::Complete, &[(60, 1.0), (180, 3.0), (120, 2.0)]);
        assert_eq!(read(&[page]), Ok(at(180, 3.0)));
    }

    #[test]
    fn nan_and_infinity_are_no_data() {
        let only = page(StatusCode::Complete, &[(60, f64::NAN), (120, f64::INFINITY)]);
        assert_eq!(read(&[only]), Ok(None));
        let mixed = page(StatusCode::Complete, &[(60, 7.0), (120, f64::NAN)]);
        assert_eq!(read(&[mixed]), Ok(at(60, 7.0)));
    }

    #[test]
    fn no_datapoints_are_none_and_not_zero() {
        assert_eq!(read(&[page(StatusCode::Complete, &[])]), Ok(None));
    }

    #[test]
    fn an_incomplete_answer_is_an_error_and_not_an_absence_of_data() {
        let unreachable = |r| matches!(r, Err(ObserveError::Unreachable { .. }));
        assert!(unreachable(read(&[page(StatusCode::PartialData, &[(60, 1.0)])])));
        assert!(unreachable(read(&[page(StatusCode::InternalError, &[])])));
        assert!(matches!(read(&[page(StatusCode::Forbidden, &[])]), Err(ObserveError::Rejected { .. })));
        assert!(matches!(read(&[page(StatusCode::from("Novelty"), &[])]), Err(ObserveError::Malformed { .. })));
        assert!(matches!(read(&[]), Err(ObserveError::Malformed { .. })));
    }

    #[test]
    fn a_result_may_continue_on_the_next_page() {
        let pages = [page(StatusCode::PartialData, &[(180, 3.0)]), page(StatusCode::Complete, &[(60, 1.0)])];
        assert_eq!(read(&pages), Ok(at(180, 3.0)));
    }

    #[test]
    fn what_is_wrong_with_one_metric_is_wrong_with_that_one_alone() {
        let queries = [batch(), batch(), batch()].concat();
        let mut collected = Collected::new(3);
        let of = |id: &str, page: MetricDataResult| {
            MetricDataResult::builder()
                .id(id)
                .set_status_code(page.status_code().cloned())
                .set_timestamps(Some(page.timestamps().to_vec()))
                .set_values(Some(page.values().to_vec()))
                .build()
        };
        collected.take(&of("q0", page(StatusCode::Complete, &[(60, 1.0)]))).expect("asked");
        collected.take(&of("q1", page(StatusCode::Forbidden, &[]))).expect("asked");
        let uneven = MetricDataResult::builder().id("q2").status_code(StatusCode::Complete).values(1.0).build();
        collected.take(&uneven).expect("asked");
        let answers = collected.answers(&queries);
        assert_eq!(answers[0].as_deref().map(<[Datapoint]>::len), Ok(1));
        assert!(matches!(answers[1], Err(ObserveError::Rejected { .. })), "{answers:?}");
        assert!(matches!(answers[2], Err(ObserveError::Malformed { .. })), "{answers:?}");
    }

    #[test]
    fn the_newest_datapoints_are_kept_newest_first() {
        let many: Vec<(i64, f64)> = (0..40).map(|n| (n * 60, 1.0)).collect();
        let mut collected = Collected::new(1);
        collected.take(&page(StatusCode::Complete, &many)).expect("asked");
        let series = collected.answers(&batch()).remove(0).expect("complete");
        assert_eq!(series.len(), DATAPOINTS_MAX);
        assert_eq!(series[0].at.as_second(), 39 * 60);
        assert!(series.is_sorted_by_key(|p| std::cmp::Reverse(p.at)));
    }

    fn an_alarm(namespace: &str, treats: Option<&str>) -> aws_sdk_cloudwatch::types::builders::MetricAlarmBuilder {
        MetricAlarm::builder()
            .alarm_name("a")
            .namespace(namespace)
            .metric_name("Errors")
            .set_treat_missing_data(treats.map(str::to_owned))
            .state_value(aws_sdk_cloudwatch::types::StateValue::Ok)
    }

    #[test]
    fn an_alarm_says_what_silence_means_to_it() {
        let treats =
            |namespace: &str, treats| metric_alarm(&an_alarm(namespace, treats).build()).map(|a| a.missing_data);
        assert_eq!(treats("AWS/Lambda", None), Ok(Some(MissingData::Missing)));
        assert_eq!(treats("AWS/Lambda", Some("notBreaching")), Ok(Some(MissingData::NotBreaching)));
        assert_eq!(treats("AWS/Lambda", Some("breaching")), Ok(Some(MissingData::Breaching)));
        assert_eq!(treats("AWS/DynamoDB", Some("missing")), Ok(Some(MissingData::Ignore)), "whatever is set");
        assert!(matches!(treats("AWS/Lambda", Some("sometimes")), Err(ObserveError::Malformed { .. })));
    }

    #[test]
    fn an_alarm_on_several_metrics_has_no_samples_of_one_and_ignores_what_dynamodb_ignores() {
        let metric = Metric::builder().namespace("AWS/DynamoDB").metric_name("ReplicationLatency").build();
        let stat = MetricStat::builder().metric(metric).period(60).stat("Maximum").build();
        let math = MetricAlarm::builder()
            .alarm_name("m")
            .treat_missing_data("missing")
            .state_value(aws_sdk_cloudwatch::types::StateValue::Ok)
            .metrics(MetricDataQuery::builder().id("m1").metric_stat(stat).build())
            .build();
        let alarm = metric_alarm(&math).expect("whole");
        assert_eq!((alarm.samples, alarm.missing_data), (None, Some(MissingData::Ignore)));
    }
}
