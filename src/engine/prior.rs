//! What is there before an effect, seen just before its intent: what an undo restores.
//!
//! Invariant: it is read, never assumed; only what nobody has ever said (a health signal without a datapoint) is what
//! the configuration says of the Region that is left, and its basis tells so.

use std::time::Duration;

use crate::{
    domain::{
        action::Action,
        application::Mechanism,
        cloud::{MetricQuery, Mutation, newest_of_one},
        run::RunState,
        sabotage::{Guard, is_off},
        undo::{self, same_set},
    },
    engine::{fences, restore, step::Driver},
};

/// How far back a health signal is looked for.
const WINDOW: Duration = Duration::from_secs(3 * 3600);
/// It is put once a minute.
const PERIOD: Duration = Duration::from_mins(1);

/// What looking came to.
pub(super) enum Prior {
    Seen(undo::Prior),
    /// Nothing will be taken back by it.
    NotNeeded,
    Unseen {
        why: String,
    },
}

/// What `mutation`, call number `call` of the step, is about to change.
pub(super) async fn seen_before(driver: &Driver, run: &RunState, call: u32, mutation: &Mutation) -> Prior {
    if !run.wants_prior(&driver.step.id, call) || is_off(Guard::UndoUnseen) {
        return Prior::NotNeeded;
    }
    let cloud = &driver.context.cloud;
    match mutation {
        Mutation::RoutingControls { endpoints, states } => {
            let arns: Vec<String> = states.keys().cloned().collect();
            match cloud.routing_controls(endpoints, &arns).await {
                Ok(seen) if seen.len() == arns.len() => {
                    Prior::Seen(undo::Prior::RoutingControls { states: arns.into_iter().zip(seen).collect() })
                }
                Ok(seen) => {
                    Prior::Unseen { why: format!("{} of {} routing controls were told", seen.len(), arns.len()) }
                }
                Err(error) => Prior::Unseen { why: error.to_string() },
            }
        }
        Mutation::UpsertRecords { hosted_zone_id, records, .. } => {
            let mut before = Vec::new();
            for record in records {
                match cloud.record_sets(hosted_zone_id, &record.name, &record.record_type).await {
                    Ok(sets) => before.extend(sets.into_iter().filter(|old| same_set(old, record))),
                    Err(error) => return Prior::Unseen { why: error.to_string() },
                }
            }
            Prior::Seen(undo::Prior::Records { records: before })
        }
        Mutation::PutMetric { .. } => signal(driver, run, mutation).await,
        Mutation::AwsCall { .. } if let Action::Fence { fence } = &driver.step.action => {
            match fences::before(&driver.context, fence, mutation).await {
                Ok(Some(prior)) => Prior::Seen(prior),
                Ok(None) => Prior::NotNeeded,
                Err(why) => Prior::Unseen { why },
            }
        }
        Mutation::PutObject { object, .. } | Mutation::DeleteObject { object } => {
            match cloud.object_is_there(object).await {
                Ok(is_there) => Prior::Seen(undo::Prior::Object { is_there }),
                Err(error) => Prior::Unseen { why: error.to_string() },
            }
        }
        Mutation::AwsCall { .. } if let Action::AwsCall { call } = &driver.step.action => {
            restore::before(&driver.context, call).await
        }
        // A step with a call of its own says itself what takes it back.
        Mutation::AuroraSwitchover { .. }
        | Mutation::AuroraFailover { .. }
        | Mutation::AuroraDetach { .. }
        | Mutation::CreateInstance { .. }
        | Mutation::CopySnapshot { .. }
        | Mutation::Publish { .. }
        | Mutation::EndSessions { .. }
        // What must be there before is the plan's word, and is compared when it is sent.
        | Mutation::LambdaVariable { .. }
        | Mutation::AwsCall { .. } => Prior::NotNeeded,
    }
}

/// What a health signal said last: what stands, else what CloudWatch has, else what the configuration says of the
/// Region that is left.
async fn signal(driver: &Driver, run: &RunState, put: &Mutation) -> Prior {
    let Mutation::PutMetric { region, namespace, metric, dimensions, .. } = put else { return Prior::NotNeeded };
    let Action::DnsFlip { traffic, .. } = &driver.step.action else { return Prior::NotNeeded };
    let context = &driver.context;
    let history = context.scribe.history();
    let standing = history.standing.get(traffic).into_iter().flat_map(|s| &s.mutations).find_map(|m| match m {
        Mutation::PutMetric { region: r, namespace: n, metric: m, dimensions: d, value }
            if (r, n, m, d) == (region, namespace, metric, dimensions) =>
        {
            Some(*value)
        }
        _ => None,
    });
    if let Some(value) = standing {
        return Prior::Seen(undo::Prior::Metric { value, basis: "it stands".to_owned() });
    }
    let query = MetricQuery {
        namespace: namespace.clone(),
        metric: metric.clone(),
        dimensions: dimensions.clone(),
        statistic: "Maximum".to_owned(),
        period: PERIOD,
    };
    match newest_of_one(context.cloud.metrics(region, std::slice::from_ref(&query), WINDOW).await) {
        Ok(Some(point)) => {
            let basis = format!("the newest datapoint, of {}", point.at);
            Prior::Seen(undo::Prior::Metric { value: point.value, basis })
        }
        Ok(None) => match context.application.traffic.get(traffic).map(|entry| &entry.mechanism) {
            Some(Mechanism::HealthSignal { active_value, diverted_value, .. }) => {
                let left = run.plan.ends(&driver.step.id).0;
                let is_home = context.application.regions.first() == Some(left);
                let value = if is_home { *active_value } else { *diverted_value };
                let basis = format!("nobody has put it before: as configured for {left}");
                Prior::Seen(undo::Prior::Metric { value, basis })
            }
            _ => Prior::Unseen { why: format!("nobody has put {metric}, and its mechanism is not configured") },
        },
        Err(error) => Prior::Unseen { why: error.to_string() },
    }
}
