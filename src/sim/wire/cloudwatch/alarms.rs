//! Alarms over the wire: setting, deleting, describing them.

use winterbaume_cloudwatch::wire as generated;

use super::{super::encode::Tree, dimensions, invalid, key, offset, period, statistic, unsupported};
use crate::{
    domain::id::Region,
    sim::world::{
        ApiFault, World,
        cloudwatch::{Alarm, AlarmSpec, AlarmState, Comparison, Statistic, TreatMissing},
    },
};

/// Alarms per page of `DescribeAlarms`, where the caller does not say. [bc:cloudwatch.DescribeAlarms]
const ALARMS_PER_PAGE: usize = 50;

pub(super) fn put_metric_alarm(
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

pub(super) fn delete_alarms(
    world: &mut World,
    region: &Region,
    input: generated::DeleteAlarmsInput,
) -> Result<(), ApiFault> {
    for name in &input.alarm_names {
        world.cloudwatch.delete_alarm(region, name);
    }
    Ok(())
}

pub(super) fn set_alarm_state(
    world: &mut World,
    region: &Region,
    input: generated::SetAlarmStateInput,
) -> Result<(), ApiFault> {
    let state = AlarmState::parse(&input.state_value)
        .ok_or_else(|| invalid(format!("StateValue {:?} is not valid.", input.state_value)))?;
    let reason = (state, input.state_reason.as_str());
    world.cloudwatch.set_alarm_state(region, &input.alarm_name, reason, world.now)
}

pub(super) fn describe_alarms(
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
    let mut members = vec![("CompositeAlarms", Tree::List(Vec::new())), ("MetricAlarms", Tree::List(page.collect()))];
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
