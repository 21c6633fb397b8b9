//! Metrics and alarms.
//!
//! Invariant: what CloudWatch did not tell whole is an error, and what it has no datapoint for is `None`; neither is
//! ever a number.

use std::{collections::BTreeMap, time::Duration};

use aws_config::retry::RetryConfig;
use aws_sdk_cloudwatch::{
    self as sdk,
    types::{AlarmType, Dimension, Metric, MetricDataQuery, MetricDataResult, MetricDatum, MetricStat, ScanBy},
};
use aws_types::request_id::RequestId as _;
use jiff::{SignedDuration, Timestamp};

use super::{
    AwsCloud, Call, PAGES_MAX,
    intercept::Departure,
    lacking,
    time::{from_sdk, to_sdk},
    too_many_pages,
};
use crate::domain::{
    cloud::{AlarmState, Datapoint, MetricQuery, ObserveError, Outcome},
    id::Region,
};

/// Queries of one GetMetricData call [bc].
const QUERIES_MAX: usize = 500;

/// Names of one DescribeAlarms call [bc].
const ALARMS_MAX: usize = 100;

impl AwsCloud {
    pub(super) async fn get_metric_data(
        &self,
        region: &Region,
        queries: &[MetricQuery],
        window: Duration,
    ) -> Result<Vec<Option<Datapoint>>, ObserveError> {
        let read = async {
            let mut newest = Vec::with_capacity(queries.len());
            for batch in queries.chunks(QUERIES_MAX) {
                newest.extend(self.metric_batch(region, batch, window).await?);
            }
            Ok(newest)
        };
        self.within(cloudwatch("GetMetricData", region), read).await
    }

    async fn metric_batch(
        &self,
        region: &Region,
        batch: &[MetricQuery],
        window: Duration,
    ) -> Result<Vec<Option<Datapoint>>, ObserveError> {
        let now = self.clock.wall();
        let start = SignedDuration::try_from(window)
            .ok()
            .and_then(|w| now.checked_sub(w).ok())
            .unwrap_or(Timestamp::UNIX_EPOCH);
        // The end is exclusive [bc]: a second later, so that a datapoint of this very instant is among them.
        let end = now.checked_add(SignedDuration::from_secs(1)).unwrap_or(now);
        let mut results = Collected::new(batch.len());
        let mut token = None;
        for _ in 0..PAGES_MAX {
            let departure = Departure::default();
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
                return results.newest(batch);
            }
        }
        Err(too_many_pages("metric data"))
    }

    pub(super) async fn describe_alarms(
        &self,
        region: &Region,
        names: &[String],
    ) -> Result<Vec<AlarmState>, ObserveError> {
        let read = async {
            let mut states = BTreeMap::new();
            for batch in names.chunks(ALARMS_MAX) {
                self.alarm_batch(region, batch, &mut states).await?;
            }
            names
                .iter()
                .map(|name| {
                    states.get(name).copied().ok_or_else(|| ObserveError::NotFound {
                        what: format!("alarm `{name}` in {region}"),
                        code: "not listed".to_owned(),
                    })
                })
                .collect()
        };
        self.within(cloudwatch("DescribeAlarms", region), read).await
    }

    async fn alarm_batch(
        &self,
        region: &Region,
        names: &[String],
        states: &mut BTreeMap<String, AlarmState>,
    ) -> Result<(), ObserveError> {
        let mut token = None;
        for _ in 0..PAGES_MAX {
            let departure = Departure::default();
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
            let metric = page.metric_alarms().iter();
            let composite = page.composite_alarms().iter();
            let listed = metric
                .map(|a| (a.alarm_name(), a.state_value()))
                .chain(composite.map(|a| (a.alarm_name(), a.state_value())));
            for (name, state) in listed {
                let name = name.ok_or_else(|| lacking("an alarm", "name"))?;
                let state = state.ok_or_else(|| lacking(name, "state"))?;
                states.insert(name.to_owned(), alarm_state(name, state.as_str())?);
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
        let departure = Departure::default();
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

fn alarm_state(name: &str, state: &str) -> Result<AlarmState, ObserveError> {
    match state {
        "OK" => Ok(AlarmState::Ok),
        "ALARM" => Ok(AlarmState::Alarm),
        "INSUFFICIENT_DATA" => Ok(AlarmState::InsufficientData),
        other => Err(ObserveError::Malformed { reason: format!("alarm `{name}` is in an unknown state `{other}`") }),
    }
}

/// The results of one batch, gathered over its pages.
struct Collected(Vec<Answered>);

/// What one query was answered so far.
#[derive(Clone, Default)]
struct Answered {
    /// `PartialData` on a page with more to come is replaced by the next page's [bc].
    status: Option<String>,
    newest: Option<Datapoint>,
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
        if result.timestamps().len() != result.values().len() {
            return Err(ObserveError::Malformed {
                reason: "metric data has more timestamps than values, or fewer".to_owned(),
            });
        }
        slot.status = result.status_code().map(|s| s.as_str().to_owned());
        for (at, value) in result.timestamps().iter().zip(result.values()) {
            // NaN and infinity are no reading at all (FAULTS.md 43).
            let (true, Some(at)) = (value.is_finite(), from_sdk(at)) else {
                continue;
            };
            if slot.newest.is_none_or(|newest| at > newest.at) {
                slot.newest = Some(Datapoint { at, value: *value });
            }
        }
        Ok(())
    }

    /// One result for each query, or why there is none.
    fn newest(self, batch: &[MetricQuery]) -> Result<Vec<Option<Datapoint>>, ObserveError> {
        self.0
            .into_iter()
            .zip(batch)
            .map(|(answered, query)| match answered.status.as_deref() {
                Some("Complete") => Ok(answered.newest),
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
        Ok(collected.newest(&batch())?[0])
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
}
