//! CloudWatch as its clients really speak: RPC v2 CBOR (the Rust SDK), awsJson 1.0 (boto3) and Query.
//!
//! Requests of all three become the same input types; what is not simulated (metric math, composite alarms,
//! anomaly detection) is refused by name.

use serde_json::{Map, Value};
use winterbaume_cloudwatch::wire as generated;
use winterbaume_core::MockResponse;

use super::encode::{Protocol, Tree, answer, error};
use crate::{
    domain::id::Region,
    sim::world::{
        ApiFault, SimTime, World,
        cloudwatch::{
            Alarm, AlarmSpec, AlarmState, Bucket, Comparison, Datum, DatumValue, MetricKey,
            MetricQuery, QueryResult, Statistic, TreatMissing,
        },
    },
};

const SERVICE: &str = "monitoring";
/// Datapoints per page of `GetMetricData`. [bc:cloudwatch.GetMetricData]
const DATAPOINTS_MAX: usize = 100_800;
/// Metrics per page of `ListMetrics`. [bc:cloudwatch.ListMetrics]
const METRICS_PER_PAGE: usize = 500;
/// Alarms per page of `DescribeAlarms`, where the caller does not say. [bc:cloudwatch.DescribeAlarms]
const ALARMS_PER_PAGE: usize = 50;

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
    ApiFault {
        status: 400,
        code: "InvalidParameterValue",
        message: message.into(),
    }
}

/// A part of the API that the world does not have is refused, never half answered.
fn unsupported(what: &str) -> ApiFault {
    ApiFault {
        status: 400,
        code: "ValidationError",
        message: format!("{what} is not simulated"),
    }
}

fn parsed<T: serde::de::DeserializeOwned>((protocol, body): (Protocol, &[u8])) -> Result<T, ApiFault> {
    let value = match protocol {
        Protocol::Json if body.is_empty() => Value::Object(Map::new()),
        Protocol::Json => serde_json::from_slice(body).map_err(|e| malformed(&e.to_string()))?,
        Protocol::Cbor => from_cbor(body)?,
        Protocol::Query | Protocol::RestXml => from_query(body),
    };
    serde_json::from_value(value).map_err(|e| malformed(&e.to_string()))
}

fn malformed(why: &str) -> ApiFault {
    ApiFault {
        status: 400,
        code: "SerializationException",
        message: why.to_owned(),
    }
}

fn from_cbor(body: &[u8]) -> Result<Value, ApiFault> {
    if body.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let value = ciborium::from_reader(body).map_err(|e| malformed(&e.to_string()))?;
    Ok(generated::cbor_to_json(value))
}

/// `A.member.1.B=x` becomes `{"A": [{"B": "x"}]}`, with numbers, booleans and times as the input types want them.
fn from_query(body: &[u8]) -> Value {
    let mut root = Value::Object(Map::new());
    let mut pairs: Vec<_> = form_urlencoded::parse(body).into_owned().collect();
    // Members in numeric order, so that item 10 does not come before item 2.
    pairs.sort_by_key(|(key, _)| {
        key.split('.')
            .map(|part| part.parse::<u32>().map_or((1, 0, part.to_owned()), |n| (0, n, String::new())))
            .collect::<Vec<_>>()
    });
    for (key, text) in pairs {
        if key == "Action" || key == "Version" {
            continue;
        }
        insert(&mut root, &mut key.split('.').peekable(), &text);
    }
    root
}

fn insert<'a>(
    at: &mut Value,
    path: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
    text: &str,
) {
    let Some(name) = path.next() else {
        return;
    };
    let Some(object) = at.as_object_mut() else {
        return;
    };
    if path.peek() == Some(&"member") {
        path.next();
        let index = path.next().and_then(|i| i.parse::<usize>().ok());
        let list = object.entry(name).or_insert_with(|| Value::Array(Vec::new()));
        let (Some(index), Some(list)) = (index, list.as_array_mut()) else {
            return;
        };
        if path.peek().is_none() {
            list.push(scalar(name, text));
        } else {
            if list.len() < index && list.len() < 10_000 {
                list.push(Value::Object(Map::new()));
            }
            if let Some(last) = list.last_mut() {
                insert(last, path, text);
            }
        }
    } else if path.peek().is_none() {
        object.insert(name.to_owned(), scalar(name, text));
    } else {
        let inner = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
        insert(inner, path, text);
    }
}

fn scalar(name: &str, text: &str) -> Value {
    const INTEGERS: [&str; 6] = [
        "Period",
        "EvaluationPeriods",
        "DatapointsToAlarm",
        "StorageResolution",
        "MaxDatapoints",
        "MaxRecords",
    ];
    const FLOATS: [&str; 8] = [
        "Threshold",
        "Values",
        "Counts",
        "SampleCount",
        "Sum",
        "Minimum",
        "Maximum",
        "Value",
    ];
    let given = || Value::from(text);
    match name {
        "StartTime" | "EndTime" | "Timestamp" => text
            .parse::<jiff::Timestamp>()
            .map_or_else(|_| given(), |at| Value::from(at.as_millisecond() as f64 / 1_000.0)),
        "ReturnData" | "ActionsEnabled" => text.parse::<bool>().map_or_else(|_| given(), Value::from),
        name if INTEGERS.contains(&name) => text.parse::<i64>().map_or_else(|_| given(), Value::from),
        // `Value` is a number in a datum and a text in a dimension; only the former parses, or the latter by luck.
        name if FLOATS.contains(&name) => text.parse::<f64>().map_or_else(|_| given(), Value::from),
        _ => given(),
    }
}

fn time(seconds: f64) -> Result<SimTime, ApiFault> {
    if seconds.is_finite() && 0.0 <= seconds && seconds < 1e11 {
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

fn get_metric_data(
    world: &World,
    region: &Region,
    input: generated::GetMetricDataInput,
) -> Result<Tree, ApiFault> {
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
            message: format!("The value {:?} for parameter Id is not matching the expected pattern ^[a-z][a-zA-Z0-9_]*$.", query.id),
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
    let mut members = vec![
        ("MetricDataResults", Tree::List(trees)),
        ("Messages", Tree::List(Vec::new())),
    ];
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
        let mut members = vec![
            ("Timestamp", Tree::Time(bucket.at)),
            ("Unit", Tree::text(unit.clone())),
        ];
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

fn list_metrics(
    world: &World,
    region: &Region,
    input: generated::ListMetricsInput,
) -> Result<Tree, ApiFault> {
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
    let dimensions = key.dimensions.iter().map(|(name, value)| {
        Tree::Map(vec![
            ("Name", Tree::text(name.clone())),
            ("Value", Tree::text(value.clone())),
        ])
    });
    Tree::List(dimensions.collect())
}

fn put_metric_data(
    world: &mut World,
    region: &Region,
    input: generated::PutMetricDataInput,
) -> Result<(), ApiFault> {
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
            (None, None, Some(set)) => DatumValue::Set {
                sum: set.sum,
                minimum: set.minimum,
                maximum: set.maximum,
                samples: set.sample_count,
            },
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

fn put_metric_alarm(
    world: &mut World,
    region: &Region,
    input: generated::PutMetricAlarmInput,
) -> Result<(), ApiFault> {
    if input.metrics.is_some_and(|m| !m.is_empty()) || input.threshold_metric_id.is_some() {
        return Err(unsupported("an alarm on metric math"));
    }
    let (Some(namespace), Some(name), Some(seconds), Some(threshold)) =
        (input.namespace, input.metric_name, input.period, input.threshold)
    else {
        return Err(ApiFault {
            status: 400,
            code: "MissingParameter",
            message: "Namespace, MetricName, Period and Threshold are required.".to_owned(),
        });
    };
    let named = input.statistic.or(input.extended_statistic);
    let periods = period(input.evaluation_periods)?;
    let spec = AlarmSpec {
        name: input.alarm_name,
        description: input.alarm_description,
        key: key(&namespace, &name, input.dimensions),
        statistic: statistic(&named.ok_or_else(|| invalid("Statistic is required."))?)?,
        period_seconds: period(seconds)?,
        evaluation_periods: periods,
        datapoints_to_alarm: input.datapoints_to_alarm.map_or(Ok(periods), period)?,
        comparison: Comparison::parse(&input.comparison_operator).ok_or_else(|| {
            invalid(format!("The operator {:?} is not valid, or not simulated.", input.comparison_operator))
        })?,
        threshold,
        treat_missing: input.treat_missing_data.map_or(Ok(TreatMissing::Missing), |t| {
            TreatMissing::parse(&t).ok_or_else(|| invalid(format!("TreatMissingData {t:?} is not valid.")))
        })?,
        unit: input.unit,
        actions: input.alarm_actions.unwrap_or_default(),
        actions_enabled: input.actions_enabled.unwrap_or(true),
    };
    world.cloudwatch.put_alarm(region, spec, world.now)
}

fn delete_alarms(
    world: &mut World,
    region: &Region,
    input: generated::DeleteAlarmsInput,
) -> Result<(), ApiFault> {
    for name in &input.alarm_names {
        world.cloudwatch.delete_alarm(region, name);
    }
    Ok(())
}

fn set_alarm_state(
    world: &mut World,
    region: &Region,
    input: generated::SetAlarmStateInput,
) -> Result<(), ApiFault> {
    let state = AlarmState::parse(&input.state_value)
        .ok_or_else(|| invalid(format!("StateValue {:?} is not valid.", input.state_value)))?;
    let reason = (state, input.state_reason.as_str());
    world.cloudwatch.set_alarm_state(region, &input.alarm_name, reason, world.now)
}

fn describe_alarms(
    world: &World,
    region: &Region,
    input: generated::DescribeAlarmsInput,
) -> Result<Tree, ApiFault> {
    let names = input.alarm_names.filter(|n| !n.is_empty());
    let prefix = input.alarm_name_prefix.unwrap_or_default();
    let metric_alarms = input.alarm_types.is_none_or(|t| t.is_empty() || t.iter().any(|t| t == "MetricAlarm"));
    let mut found: Vec<&Alarm> = world.cloudwatch.alarms(region).filter(|_| metric_alarms).collect();
    found.retain(|a| {
        names.as_ref().is_none_or(|names| names.contains(&a.spec.name))
            && a.spec.name.starts_with(&prefix)
            && input.state_value.as_deref().is_none_or(|s| s == a.state.as_str())
    });
    let from = offset(input.next_token.as_deref())?;
    let size = input.max_records.and_then(|n| usize::try_from(n).ok());
    let size = size.unwrap_or(ALARMS_PER_PAGE).clamp(1, 100);
    let page = found.iter().skip(from).take(size).map(|a| alarm(region, a));
    let mut members = vec![
        ("CompositeAlarms", Tree::List(Vec::new())),
        ("MetricAlarms", Tree::List(page.collect())),
    ];
    if from + size < found.len() {
        members.push(("NextToken", Tree::Text((from + size).to_string())));
    }
    Ok(Tree::Map(members))
}

fn alarm(region: &Region, alarm: &Alarm) -> Tree {
    let spec = &alarm.spec;
    let account = crate::sim::world::sns::ACCOUNT;
    let int = |n: u64| Tree::Int(i64::try_from(n).unwrap_or(i64::MAX));
    let actions = spec.actions.iter().map(|a| Tree::text(a.clone()));
    let mut members = vec![
        ("AlarmName", Tree::text(spec.name.clone())),
        ("AlarmArn", Tree::Text(format!("arn:aws:cloudwatch:{region}:{account}:alarm:{}", spec.name))),
        ("AlarmConfigurationUpdatedTimestamp", Tree::Time(alarm.updated_at)),
        ("ActionsEnabled", Tree::Bool(spec.actions_enabled)),
        ("OKActions", Tree::List(Vec::new())),
        ("AlarmActions", Tree::List(actions.collect())),
        ("InsufficientDataActions", Tree::List(Vec::new())),
        ("StateValue", Tree::text(alarm.state.as_str())),
        ("StateReason", Tree::text(alarm.reason.clone())),
        ("StateUpdatedTimestamp", Tree::Time(alarm.state_updated_at)),
        ("StateTransitionedTimestamp", Tree::Time(alarm.state_updated_at)),
        ("MetricName", Tree::text(spec.key.name.clone())),
        ("Namespace", Tree::text(spec.key.namespace.clone())),
        ("Dimensions", dimensions(&spec.key)),
        ("Period", int(spec.period_seconds)),
        ("EvaluationPeriods", int(spec.evaluation_periods)),
        ("DatapointsToAlarm", int(spec.datapoints_to_alarm)),
        ("Threshold", Tree::Float(spec.threshold)),
        ("ComparisonOperator", Tree::text(spec.comparison.as_str())),
        ("TreatMissingData", Tree::text(spec.treat_missing.as_str())),
    ];
    match spec.statistic {
        Statistic::Percentile(p) => members.push(("ExtendedStatistic", Tree::Text(format!("p{p}")))),
        plain => members.push(("Statistic", Tree::Text(format!("{plain:?}")))),
    }
    members.extend(spec.description.clone().map(|d| ("AlarmDescription", Tree::Text(d))));
    members.extend(spec.unit.clone().map(|u| ("Unit", Tree::Text(u))));
    Tree::Map(members)
}
