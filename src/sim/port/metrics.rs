//! CloudWatch's questions and answers, from the port's values to the world's and back. Nothing is asked here.

use super::view::timestamp;
use crate::{
    domain::cloud::{Answer, DATAPOINTS_MAX, Datapoint, MetricQuery, ObserveError, Series},
    sim::world::cloudwatch::{self, MetricKey, Statistic},
};

/// The questions as the world takes them.
pub(super) fn metric_queries(queries: &[MetricQuery]) -> Result<Vec<cloudwatch::MetricQuery>, ObserveError> {
    let query = |(index, q): (usize, &MetricQuery)| {
        let statistic = Statistic::parse(&q.statistic).ok_or_else(|| ObserveError::Rejected {
            code: "ValidationError".to_owned(),
            message: format!("the statistic {} is not simulated", q.statistic),
        })?;
        Ok(cloudwatch::MetricQuery {
            id: format!("q{index}"),
            key: MetricKey::new(&q.namespace, &q.metric, &q.dimensions),
            period_seconds: q.period.as_secs(),
            statistic,
            unit: None,
            label: None,
        })
    };
    queries.iter().enumerate().map(query).collect()
}

/// The newest finite values of each result; what is no number is no data.
pub(super) fn newest(results: Vec<cloudwatch::QueryResult>) -> Vec<Answer<Series>> {
    let point = |(at, value)| Ok(Datapoint { at: timestamp(at)?, value });
    let newest = |result: cloudwatch::QueryResult| {
        let finite = result.points.into_iter().filter(|(_, value)| value.is_finite());
        finite.take(DATAPOINTS_MAX).map(point).collect()
    };
    results.into_iter().map(newest).collect()
}
