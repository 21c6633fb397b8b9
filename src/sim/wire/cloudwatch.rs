//! CloudWatch as its clients really speak: RPC v2 CBOR (the Rust SDK), awsJson 1.0 (boto3) and Query.
//!
//! Requests of all three become the same input types; what is not simulated (metric math, composite alarms,
//! anomaly detection) is refused by name.

mod alarms;
mod input;

use winterbaume_cloudwatch::wire as generated;
use winterbaume_core::MockResponse;

use self::{
    alarms::{delete_alarms, describe_alarms, put_metric_alarm, set_alarm_state},
    input::parsed,
};
use super::encode::{Protocol, Tree, answer, error};
use crate::{
    domain::id::Region,
    sim::world::{
        ApiFault, SimTime, World,
        cloudwatch::{Bucket, Datum, DatumValue, MetricKey, MetricQuery, QueryResult, Statistic},
    },
};

const SERVICE: &str = "monitoring";
/// Datapoints per page of `GetMetricData`. [bc:cloudwatch.GetMetricData]
const DATAPOINTS_MAX: usize = 100_800;
/// Metrics per page of `ListMetrics`. [bc:cloudwatch.ListMetrics]
const METRICS_PER_PAGE: usize = 500;

/// Answers one call in `region`; `body` is as the client sent it.
pub(super) fn handle(
    world: &mut World,
    region: &Region,
    operation: &str,
    (protocol, body): (Protocol, &[u8]),
) -> MockResponse {
    match dispatch(world, region, operation, (protocol, body)) {
        Ok(tree) => answer(protocol, SERVICE, operation, tree.as_ref()),
        Err(fault) => error(protocol, SERVICE, &fault),
    }
}

fn dispatch(
    world: &mut World,
    region: &Region,
    operation: &str,
    wire: (Protocol, &[u8]),
) -> Result<Option<Tree>, ApiFault> {
    match operation {
        "GetMetricData" => get_metric_data(world, region, parsed(wire)?).map(Some),
        "GetMetricStatistics" => get_metric_statistics(world, region, parsed(wire)?).map(Some),
        "ListMetrics" => list_metrics(world, region, parsed(wire)?).map(Some),
        "DescribeAlarms" => describe_alarms(world, region, parsed(wire)?).map(Some),
        "PutMetricData" => put_metric_data(world, region, parsed(wire)?).map(|()| None),
        "PutMetricAlarm" => put_metric_alarm(world, region, parsed(wire)?).map(|()| None),
        "DeleteAlarms" => delete_alarms(world, region, parsed(wire)?).map(|()| None),
        "SetAlarmState" => set_alarm_state(world, region, parsed(wire)?).map(|()| None),
        _ => Err(super::not_simulated("cloudwatch", operation)),
    }
}

fn invalid(message: impl Into<String>) -> ApiFault {
    ApiFault { status: 400, code: "InvalidParameterValue", message: message.into() }
}

/// A part of the API that the world does not have is refused, never half answered.
fn unsupported(what: &str) -> ApiFault {
    ApiFault { status: 400, code: "ValidationError", message: format!("{what} is not simulated") }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked: up to the year 5138"
)]
fn time(seconds: f64) -> Result<SimTime, ApiFault> {
    if (0.0..1e11).contains(&seconds) {
        Ok(SimTime((seconds * 1_000.0).round() as u64))
    } else {
        Err(invalid("The value for a timestamp is invalid."))
    }
}

fn key(namespace: &str, name: &str, dimensions: Option<Vec<generated::Dimension>>) -> MetricKey {
    let dimensions = dimensions.unwrap_or_default().into_iter();
    MetricKey::new(namespace, name, dimensions.map(|d| (d.name, d.value)))
}

fn statistic(text: &str) -> Result<Statistic, ApiFault> {
    Statistic::parse(text).ok_or_else(|| invalid(format!("The statistic {text} is not valid, or not simulated.")))
}

fn period(seconds: i32) -> Result<u64, ApiFault> {
    u64::try_from(seconds).map_err(|_| invalid("The parameter Period must be positive."))
}

/// The position in a list that a token of ours names.
fn offset(token: Option<&str>) -> Result<usize, ApiFault> {
    token.map_or(Ok(0), |token| {
        token.parse().map_err(|_| ApiFault {
            status: 400,
            code: "InvalidNextToken",
            message: "The next token specified is invalid.".to_owned(),
        })
    })
}

fn get_metric_data(world: &World, region: &Region, input: generated::GetMetricDataInput) -> Result<Tree, ApiFault> {
    let mut queries = Vec::with_capacity(input.metric_data_queries.len());
    for query in input.metric_data_queries {
        queries.push(metric_query(query)?);
    }
    let mut ids = std::collections::BTreeSet::new();
    if !queries.iter().all(|q| ids.insert(q.id.clone())) {
        return Err(ApiFault {
            status: 400,
            code: "ValidationError",
            message: "The ids of MetricDataQueries must be unique.".to_owned(),
        });
    }
    let range = (time(input.start_time)?, time(input.end_time)?);
    let newest_first = input.scan_by.as_deref() != Some("TimestampAscending");
    let results = world.cloudwatch.get_metric_data(region, &queries, range, newest_first)?;
    let most = input.max_datapoints.and_then(|n| usize::try_from(n).ok());
    let most = most.filter(|n| *n != 0).unwrap_or(DATAPOINTS_MAX).min(DATAPOINTS_MAX);
    Ok(page(results, offset(input.next_token.as_deref())?, most))
}

fn metric_query(query: generated::MetricDataQuery) -> Result<MetricQuery, ApiFault> {
    if query.expression.is_some() {
        return Err(unsupported("a metric math Expression"));
    }
    let starts_lower = query.id.starts_with(|c: char| c.is_ascii_lowercase());
    if !starts_lower {
        return Err(ApiFault {
            status: 400,
            code: "ValidationError",
            message: format!(
                "The value {:?} for parameter Id is not matching the expected pattern ^[a-z][a-zA-Z0-9_]*$.",
                query.id
            ),
        });
    }
    let stat = query.metric_stat.ok_or_else(|| invalid("MetricStat or Expression is required."))?;
    let namespace = stat.metric.namespace.unwrap_or_default();
    let name = stat.metric.metric_name.unwrap_or_default();
    Ok(MetricQuery {
        id: query.id,
        key: key(&namespace, &name, stat.metric.dimensions),
        period_seconds: period(stat.period)?,
        statistic: statistic(&stat.stat)?,
        unit: stat.unit,
        label: query.label,
    })
}

/// The datapoints of all results together, `skip` of them left out and at most `most` given.
fn page(results: Vec<QueryResult>, skip: usize, most: usize) -> Tree {
    let total: usize = results.iter().map(|r| r.points.len()).sum();
    let end = skip.saturating_add(most);
    let mut before = 0;
    let mut trees = Vec::with_capacity(results.len());
    for result in results {
        let from = skip.saturating_sub(before).min(result.points.len());
        let to = end.saturating_sub(before).min(result.points.len());
        before += result.points.len();
        let code = if to < result.points.len() { "PartialData" } else { "Complete" };
        let points = &result.points[from..to.max(from)];
        let timestamps = points.iter().map(|(at, _)| Tree::Time(*at)).collect();
        let values = points.iter().map(|(_, v)| Tree::Float(*v)).collect();
        trees.push(Tree::Map(vec![
            ("Id", Tree::Text(result.id)),
            ("Label", Tree::Text(result.label)),
            ("Timestamps", Tree::List(timestamps)),
            ("Values", Tree::List(values)),
            ("StatusCode", Tree::text(code)),
        ]));
    }
    let mut members = vec![("MetricDataResults", Tree::List(trees)), ("Messages", Tree::List(Vec::new()))];
    if end < total {
        members.push(("NextToken", Tree::Text(end.to_string())));
    }
    Tree::Map(members)
}

fn get_metric_statistics(
    world: &World,
    region: &Region,
    input: generated::GetMetricStatisticsInput,
) -> Result<Tree, ApiFault> {
    let plain = input.statistics.unwrap_or_default();
    let extended = input.extended_statistics.unwrap_or_default();
    if plain.is_empty() && extended.is_empty() {
        return Err(ApiFault {
            status: 400,
            code: "InvalidParameterCombination",
            message: "At least one of the parameters Statistics, ExtendedStatistics must be specified.".to_owned(),
        });
    }
    let mut statistics = Vec::new();
    for name in &plain {
        statistics.push((member_of(name)?, statistic(name)?));
    }
    let mut percentiles = Vec::new();
    for name in extended {
        let parsed = statistic(&name)?;
        percentiles.push((name, parsed));
    }
    let (buckets, unit) = world.cloudwatch.get_metric_statistics(
        region,
        &key(&input.namespace, &input.metric_name, input.dimensions),
        (time(input.start_time)?, time(input.end_time)?),
        period(input.period)?,
        input.unit.as_deref(),
    )?;
    let datapoint = |bucket: &Bucket| {
        let mut members = vec![("Timestamp", Tree::Time(bucket.at)), ("Unit", Tree::text(unit.clone()))];
        for (member, statistic) in &statistics {
            members.push((member, Tree::Float(bucket.value(*statistic))));
        }
        if !percentiles.is_empty() {
            let values = percentiles.iter();
            let values = values.map(|(name, s)| (name.clone(), Tree::Float(bucket.value(*s))));
            members.push(("ExtendedStatistics", Tree::Entries(values.collect())));
        }
        Tree::Map(members)
    };
    Ok(Tree::Map(vec![
        ("Label", Tree::Text(input.metric_name)),
        ("Datapoints", Tree::List(buckets.iter().map(datapoint).collect())),
    ]))
}

fn member_of(statistic: &str) -> Result<&'static str, ApiFault> {
    ["Average", "Sum", "Minimum", "Maximum", "SampleCount"]
        .into_iter()
        .find(|s| *s == statistic)
        .ok_or_else(|| invalid(format!("The statistic {statistic} is not valid.")))
}

fn list_metrics(world: &World, region: &Region, input: generated::ListMetricsInput) -> Result<Tree, ApiFault> {
    let from = offset(input.next_token.as_deref())?;
    let filters = input.dimensions.unwrap_or_default().into_iter();
    let filters: Vec<_> = filters.map(|d| (d.name, d.value)).collect();
    let found = world.cloudwatch.list_metrics(
        region,
        input.namespace.as_deref(),
        input.metric_name.as_deref(),
        &filters,
        world.now,
    );
    let metrics = found.iter().skip(from).take(METRICS_PER_PAGE).map(|k| metric(k));
    let mut members = vec![("Metrics", Tree::List(metrics.collect()))];
    if from + METRICS_PER_PAGE < found.len() {
        members.push(("NextToken", Tree::Text((from + METRICS_PER_PAGE).to_string())));
    }
    Ok(Tree::Map(members))
}

fn metric(key: &MetricKey) -> Tree {
    Tree::Map(vec![
        ("Namespace", Tree::text(key.namespace.clone())),
        ("MetricName", Tree::text(key.name.clone())),
        ("Dimensions", dimensions(key)),
    ])
}

fn dimensions(key: &MetricKey) -> Tree {
    let dimensions = key
        .dimensions
        .iter()
        .map(|(name, value)| Tree::Map(vec![("Name", Tree::text(name.clone())), ("Value", Tree::text(value.clone()))]));
    Tree::List(dimensions.collect())
}

fn put_metric_data(world: &mut World, region: &Region, input: generated::PutMetricDataInput) -> Result<(), ApiFault> {
    if input.entity_metric_data.is_some_and(|e| !e.is_empty()) {
        return Err(unsupported("EntityMetricData"));
    }
    let mut data = Vec::new();
    for datum in input.metric_data.unwrap_or_default() {
        let values = datum.values.filter(|v| !v.is_empty());
        let value = match (datum.value, values, datum.statistic_values) {
            (Some(value), None, None) => DatumValue::One(value),
            (None, Some(values), None) => {
                let counts = datum.counts.unwrap_or_else(|| vec![1.0; values.len()]);
                if counts.len() != values.len() {
                    return Err(invalid("Counts must have as many members as Values."));
                }
                DatumValue::Many(values.into_iter().zip(counts).collect())
            }
            (None, None, Some(set)) => {
                DatumValue::Set { sum: set.sum, minimum: set.minimum, maximum: set.maximum, samples: set.sample_count }
            }
            _ => {
                return Err(ApiFault {
                    status: 400,
                    code: "InvalidParameterCombination",
                    message: "Exactly one of Value, Values and StatisticValues must be given, as a number.".to_owned(),
                });
            }
        };
        let dimensions = datum.dimensions.unwrap_or_default().into_iter();
        data.push(Datum {
            name: datum.metric_name,
            dimensions: dimensions.map(|d| (d.name, d.value)).collect(),
            at: datum.timestamp.map(time).transpose()?,
            value,
            unit: datum.unit,
        });
    }
    world.with_cloudwatch(|cw, ctx| cw.put_metric_data(region, &input.namespace, &data, ctx))
}
