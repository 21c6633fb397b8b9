//! Whether an effect shows: what is read after a call, and before it is sent again.
//!
//! Invariant: `Done` and `Before` come from a reading; what could not be read is unknown, and what AWS refuses to show
//! is said to be so. Nothing is decided here, and nothing sent.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    domain::{
        action::Action,
        application::ClusterArn,
        cloud::{Mutation, ObserveError, Outcome},
        id::Region,
        sabotage::{Guard, is_off},
    },
    engine::{
        aurora::{self, Proof},
        denial::Denial,
        detached, faults, fences, postcondition, standby_object,
        step::Driver,
    },
};

/// Whether an observation shows the effect.
#[derive(Debug)]
pub(super) enum Seen {
    /// The postcondition holds.
    Done { evidence: Vec<String>, outputs: BTreeMap<String, Value> },
    /// It is under way.
    Moving { what: String },
    /// The state from before stands, proven.
    Before { what: String },
    /// It cannot be told.
    Unknown { why: String },
    /// It cannot be told, because AWS refuses the reading.
    Denied(Denial),
}

/// Whether the effect of call number `call` shows.
pub(super) async fn observe(driver: &Driver, call: u32, outcome: Option<&Outcome>) -> Seen {
    match &driver.step.action {
        Action::AuroraSwitchover { global_cluster, target, observe_in, .. }
        | Action::AuroraFailover { global_cluster, target, observe_in, .. } => {
            promotion(driver, global_cluster, target, observe_in).await
        }
        Action::AuroraDetach { global_cluster, target, observe_in, .. } => {
            detached::observe(&driver.context, global_cluster, target, observe_in).await
        }
        Action::AuroraAddInstance { target, identifiers, .. } => {
            let wanted = identifiers.get(..=call as usize).unwrap_or(identifiers);
            instances(driver, target, wanted).await
        }
        Action::DnsFlip { calls, .. } => match calls.get(call as usize) {
            Some(mutation) => traffic(driver, mutation, outcome).await,
            None => Seen::Unknown { why: "no such call".to_owned() },
        },
        Action::Fence { fence } => fences::observe(&driver.context, fence, call, outcome).await,
        Action::LambdaFault(fault) => faults::observe(&driver.context, fault).await,
        Action::AwsCall { call } => postcondition::observe(driver, call, outcome).await,
        _ => Seen::Unknown { why: "nothing can be observed of this action".to_owned() },
    }
}

async fn promotion(driver: &Driver, global_cluster: &str, target: &ClusterArn, observe_in: &[Region]) -> Seen {
    let context = &driver.context;
    match aurora::prove(&*context.cloud, &*context.clock, global_cluster, observe_in).await {
        Proof::Agreed { view, evidence } if view.is_settled_on(target) => {
            let outputs = BTreeMap::from([("writer".to_owned(), json!(target.as_str()))]);
            Seen::Done { evidence: vec![evidence], outputs }
        }
        Proof::Agreed { view, .. } if !view.is_settled() || aurora::moving_to(&view, target) => {
            Seen::Moving { what: aurora::describe(&view) }
        }
        Proof::Agreed { view, .. } => Seen::Before { what: aurora::describe(&view) },
        Proof::Contradicted { why } => Seen::Moving { what: why },
        Proof::Unknown { why } => Seen::Unknown { why },
        Proof::Denied(denial) => Seen::Denied(denial),
    }
}

/// Whether each of `wanted` is an available instance of `cluster`; `Before` where the last of them is not there at all.
async fn instances(driver: &Driver, cluster: &ClusterArn, wanted: &[String]) -> Seen {
    let seen = match driver.context.cloud.db_instances(cluster).await {
        Ok(seen) => seen,
        Err(error) => return unread("rds:DescribeDBInstances", &error),
    };
    let status = |id: &String| seen.iter().find(|i| i.identifier == *id).map(|i| i.status.as_str());
    let of = cluster.identifier();
    if let Some(absent) = wanted.last().filter(|id| status(id).is_none()) {
        return Seen::Before { what: format!("{of} has no instance {absent}") };
    }
    let unfit: Vec<String> = wanted
        .iter()
        .filter(|id| status(id) != Some("available"))
        .map(|id| format!("{id} is {}", status(id).unwrap_or("not there")))
        .collect();
    if unfit.is_empty() {
        return Seen::Done {
            evidence: vec![format!("{of} has {}, available", wanted.join(", "))],
            outputs: BTreeMap::new(),
        };
    }
    Seen::Moving { what: unfit.join(", ") }
}

pub(super) fn unread(operation: &str, error: &ObserveError) -> Seen {
    Denial::of(operation, None, error).map_or_else(|| Seen::Unknown { why: error.to_string() }, Seen::Denied)
}

/// Whether a change of traffic shows in the mechanism itself (what clients see is verified by steps of their own).
pub(super) async fn traffic(driver: &Driver, mutation: &Mutation, outcome: Option<&Outcome>) -> Seen {
    let cloud = &driver.context.cloud;
    let (accepted, handle) = match outcome {
        Some(Outcome::Accepted { handle, .. }) => (true, handle.as_deref()),
        Some(Outcome::Rejected { .. } | Outcome::NotSent { .. } | Outcome::Unknown { .. }) | None => (false, None),
    };
    let done = |evidence: String| Seen::Done { evidence: vec![evidence], outputs: BTreeMap::new() };
    match mutation {
        Mutation::RoutingControls { endpoints, states } => {
            let arns: Vec<String> = states.keys().cloned().collect();
            match cloud.routing_controls(endpoints, &arns).await {
                Ok(seen) if seen.iter().zip(states.values()).all(|(a, b)| a == b) || is_off(Guard::ControlsUnread) => {
                    done(format!("{} routing control(s) read back as set", arns.len()))
                }
                Ok(_) => Seen::Before { what: "the routing controls are not as set".to_owned() },
                Err(error) => unread("route53-recovery-cluster:GetRoutingControlState", &error),
            }
        }
        Mutation::UpsertRecords { hosted_zone_id, records, .. } => {
            if let Some(change) = handle {
                match cloud.change_is_insync(change).await {
                    Ok(insync) if insync || is_off(Guard::PendingIsInSync) => {
                        return done(format!("change {change} is INSYNC"));
                    }
                    Ok(_) => {
                        return Seen::Moving { what: format!("change {change} is PENDING") };
                    }
                    // Stranded by Route 53's own recovery: to be sent again [R53DG].
                    Err(ObserveError::NotFound { .. }) => {
                        return Seen::Before { what: format!("change {change} is not known any more") };
                    }
                    Err(error) => return unread("route53:GetChange", &error),
                }
            }
            for record in records {
                match cloud.record_sets(hosted_zone_id, &record.name, &record.record_type).await {
                    Ok(sets) if sets.iter().any(|s| s == record) => {}
                    Ok(_) => {
                        return Seen::Before { what: format!("{} is not as set", record.name) };
                    }
                    Err(error) => return unread("route53:ListResourceRecordSets", &error),
                }
            }
            done("the records are listed as set (no change id: an answer was lost)".to_owned())
        }
        Mutation::PutObject { object, .. } | Mutation::DeleteObject { object } => {
            let wanted = matches!(mutation, Mutation::PutObject { .. });
            standby_object::observe(&**cloud, object, wanted).await
        }
        // A datapoint cannot be taken back or counted; that AWS took it is what there is. The effect on answers is
        // verified at the authoritative servers by a step of its own.
        Mutation::PutMetric { metric, .. } if accepted => done(format!("{metric} was put")),
        Mutation::PutMetric { metric, .. } => Seen::Before { what: format!("{metric} is not known to have been put") },
        // Of a fence; what a runbook writes out says itself what is looked at.
        Mutation::EndSessions { .. } | Mutation::AwsCall { .. } => fences::seen(&driver.context, mutation).await,
        Mutation::AuroraSwitchover { .. }
        | Mutation::AuroraFailover { .. }
        | Mutation::AuroraDetach { .. }
        | Mutation::CreateInstance { .. }
        | Mutation::CopySnapshot { .. }
        | Mutation::LambdaVariable { .. }
        | Mutation::Publish { .. } => Seen::Unknown { why: "not a change of traffic".to_owned() },
    }
}
