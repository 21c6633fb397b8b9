//! Reading metrics: periods, statistics, and the limits of the two read operations.

use super::{CloudWatch, MetricKey, Point, invalid, validation};
use crate::{
    domain::id::Region,
    sim::world::{ApiFault, SimTime},
};

/// Queries per `GetMetricData`. [bc:cloudwatch.GetMetricData]
const QUERIES_MAX: usize = 500;
/// Datapoints per `GetMetricStatistics`. [bc:cloudwatch.GetMetricStatistics]
const STATISTICS_POINTS_MAX: u64 = 1_440;

/// A statistic over the samples of a period.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Statistic {
    Average,
    Sum,
    Minimum,
    Maximum,
    SampleCount,
    /// A percentile such as p99; over stored datapoints, each counted once.
    Percentile(f64),
}

impl Statistic {
    /// Parses `Average`, `p99` and the like; `None` where it is not simulated.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "Average" => Self::Average,
            "Sum" => Self::Sum,
            "Minimum" => Self::Minimum,
            "Maximum" => Self::Maximum,
            "SampleCount" => Self::SampleCount,
            _ => {
                let p: f64 = text.strip_prefix('p')?.parse().ok()?;
                (0.0..=100.0).contains(&p).then_some(Self::Percentile(p))?
            }
        })
    }
}

/// The samples of one period of a metric; never empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Bucket {
    /// Start of the period.
    pub at: SimTime,
    points: Vec<Point>,
}

impl Bucket {
    /// The value of `statistic` over the period.
    pub fn value(&self, statistic: Statistic) -> f64 {
        let sum: f64 = self.points.iter().map(|p| p.sum).sum();
        let samples: f64 = self.points.iter().map(|p| p.samples).sum();
        // `f64::min` would hide a NaN, and a NaN that is read as a number is what must never happen.
        let fold = |pick: fn(&Point) -> f64, better: fn(f64, f64) -> bool| {
            self.points.iter().map(pick).fold(
                f64::NAN,
                |best, v| {
                    if best.is_nan() || better(v, best) { v } else { best }
                },
            )
        };
        if sum.is_nan() && statistic != Statistic::SampleCount {
            return f64::NAN;
        }
        match statistic {
            Statistic::Sum => sum,
            Statistic::SampleCount => samples,
            Statistic::Average => sum / samples,
            Statistic::Minimum => fold(|p| p.minimum, |a, b| a < b),
            Statistic::Maximum => fold(|p| p.maximum, |a, b| b < a),
            Statistic::Percentile(p) => percentile(&self.points, p),
        }
    }
}

/// Nearest rank, over the means of what was stored.
fn percentile(points: &[Point], p: f64) -> f64 {
    let mut values: Vec<f64> = points.iter().map(|p| p.sum / p.samples).collect();
    values.sort_by(f64::total_cmp);
    let count = values.len() as f64;
    let mut ranked = (1..).map(f64::from).zip(values);
    ranked.find(|(rank, _)| p / 100.0 * count <= *rank).map_or(f64::NAN, |(_, value)| value)
}

/// One query of `GetMetricData`.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricQuery {
    pub id: String,
    pub key: MetricKey,
    /// Period in seconds.
    pub period_seconds: u64,
    pub statistic: Statistic,
    /// Only datapoints of this unit; a wrong unit silently finds nothing.
    pub unit: Option<String>,
    pub label: Option<String>,
}

/// The answer to one query: newest first unless asked otherwise; empty where there is no data.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryResult {
    pub id: String,
    pub label: String,
    pub points: Vec<(SimTime, f64)>,
}

impl CloudWatch {
    /// The periods of a metric that hold datapoints, oldest first; `end` is exclusive.
    pub fn buckets(
        &self,
        region: &Region,
        key: &MetricKey,
        (start, end): (SimTime, SimTime),
        period_ms: u64,
        unit: Option<&str>,
    ) -> Vec<Bucket> {
        let Some(series) = self.series.get(region).and_then(|m| m.get(key)) else {
            return Vec::new();
        };
        if unit.is_some() && unit != Some(series.unit.as_deref().unwrap_or("None")) {
            return Vec::new();
        }
        let floor = |at: SimTime| SimTime(at.0 - at.0 % period_ms);
        let start = floor(start);
        let mut buckets: Vec<Bucket> = Vec::new();
        for point in series.points.iter().filter(|p| start <= p.at && p.at < end) {
            match buckets.last_mut() {
                Some(last) if last.at == floor(point.at) => last.points.push(*point),
                _ => buckets.push(Bucket { at: floor(point.at), points: vec![*point] }),
            }
        }
        buckets
    }

    /// `GetMetricData` without paging, which is the caller's.
    ///
    /// # Errors
    /// As CloudWatch: more than 500 queries, an empty time range, a period that the namespace does not have.
    pub fn get_metric_data(
        &self,
        region: &Region,
        queries: &[MetricQuery],
        (start, end): (SimTime, SimTime),
        newest_first: bool,
    ) -> Result<Vec<QueryResult>, ApiFault> {
        if queries.is_empty() || QUERIES_MAX < queries.len() {
            return Err(validation(format!(
                "The collection MetricDataQueries must have a size between 1 and {QUERIES_MAX}."
            )));
        }
        if end <= start {
            return Err(validation("The parameter StartTime must be less than the parameter EndTime.".to_owned()));
        }
        let mut results = Vec::with_capacity(queries.len());
        for query in queries {
            check_period(&query.key.namespace, query.period_seconds)?;
            let period_ms = query.period_seconds * 1_000;
            let buckets = self.buckets(region, &query.key, (start, end), period_ms, query.unit.as_deref());
            let mut points: Vec<_> = buckets.iter().map(|b| (b.at, b.value(query.statistic))).collect();
            if newest_first {
                points.reverse();
            }
            let label = query.label.clone();
            results.push(QueryResult {
                id: query.id.clone(),
                label: label.unwrap_or_else(|| query.key.name.clone()),
                points,
            });
        }
        Ok(results)
    }

    /// `GetMetricStatistics`: the periods with data, and the metric's unit.
    ///
    /// # Errors
    /// As CloudWatch: more than 1,440 datapoints asked for, an empty time range, a wrong period.
    pub fn get_metric_statistics(
        &self,
        region: &Region,
        key: &MetricKey,
        (start, end): (SimTime, SimTime),
        period_seconds: u64,
        unit: Option<&str>,
    ) -> Result<(Vec<Bucket>, String), ApiFault> {
        if end <= start {
            return Err(invalid("The parameter StartTime must be less than the parameter EndTime."));
        }
        check_period(&key.namespace, period_seconds)?;
        let asked = end.since_ms(start).div_ceil(period_seconds * 1_000);
        if STATISTICS_POINTS_MAX < asked {
            return Err(ApiFault {
                status: 400,
                code: "InvalidParameterCombination",
                message: format!(
                    "You have requested up to {asked} datapoints, which exceeds the limit of {STATISTICS_POINTS_MAX}."
                ),
            });
        }
        let series = self.series.get(region).and_then(|m| m.get(key));
        let named = series.and_then(|s| s.unit.clone());
        let buckets = self.buckets(region, key, (start, end), period_seconds * 1_000, unit);
        Ok((buckets, named.unwrap_or_else(|| "None".to_owned())))
    }
}

/// Periods are multiples of 60; custom metrics of high resolution may also use 1, 5, 10, 20 and 30.
fn check_period(namespace: &str, seconds: u64) -> Result<(), ApiFault> {
    let coarse = 0 < seconds && seconds.is_multiple_of(60);
    let fine = !namespace.starts_with("AWS/") && matches!(seconds, 1 | 5 | 10 | 20 | 30);
    if coarse || fine {
        Ok(())
    } else {
        Err(validation(format!("The parameter Period with value {seconds} must be a multiple of 60.")))
    }
}
