//! `salvage.snapshot`: how far the copy of the old writer's rescue snapshot is.
//!
//! Invariant: `copied` is what RDS lists as available; that there will be none any more is said only where the journal shows
//! that there was one, or that nobody looked for it in time.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::not_yet;
use crate::{
    domain::{
        action::Action,
        application::ClusterArn,
        deferred::{Deferred, State},
        id::{RunId, StepId, StoreName},
        run::{RunState, StepState},
    },
    engine::{
        context::Context,
        deferred::{rescue_and_copy, work_on},
        look::Look,
    },
};

fn told(state: &str, copy: Option<&str>, evidence: String) -> Look {
    let mut outputs: BTreeMap<String, Value> = BTreeMap::from([("state".to_owned(), json!(state))]);
    outputs.extend(copy.map(|copy| ("copy".to_owned(), json!(copy))));
    Look::Satisfied { evidence: vec![evidence], outputs }
}

pub(super) async fn look(context: &Context, failover: &RunState, store: &StoreName, cluster: &ClusterArn) -> Look {
    if let Some(why) = none_is_taken(failover, store, cluster) {
        return told("none", None, why);
    }
    let snapshots = match context.cloud.cluster_snapshots(cluster).await {
        Ok(snapshots) => snapshots,
        Err(error) => return super::unread("rds:DescribeDBClusterSnapshots", cluster.region(), &error),
    };
    let history = context.scribe.history();
    let works: Vec<(&(RunId, StepId), &Deferred)> =
        work_on(&history, cluster).filter(|(_, work)| failover.started_at <= work.since).collect();
    let was_asked = works.iter().any(|(_, work)| 0 < work.attempts);
    let (rescue, copy) = rescue_and_copy(&snapshots, failover.started_at, was_asked);
    if let Some(copy) = copy {
        let name = copy.identifier.as_str();
        return match copy.status.as_str() {
            "available" => told("copied", Some(name), format!("{name} in {} is available", cluster.region())),
            status => not_yet(format!("the copy {name} is {status}")),
        };
    }
    if let Some((key, _)) = works.iter().find(|(_, work)| work.is_open()) {
        let waits = context.waits.of(&key.0).remove(&key.1);
        let waits = waits.unwrap_or_else(|| "it is looked at each minute".to_owned());
        return not_yet(format!("the copy is under way, by `{}` of {}: {waits}", key.1, key.0));
    }
    if let Some(rescue) = rescue {
        let why = "and nobody copies it: copy it by hand (rds:CopyDBClusterSnapshot) to a name that begins with \
                   failoverd-rescue-, before the old cluster's retention deletes it";
        return not_yet(format!("{} in {} is {}, {why}", rescue.identifier, cluster.region(), rescue.status));
    }
    match works.iter().map(|(_, work)| &work.state).next_back() {
        Some(State::Done { at, .. }) => told(
            "gone",
            None,
            format!("a copy was available at {at}, and is not listed any more in {}", cluster.region()),
        ),
        Some(State::Expired { at, .. }) => {
            told("gone", None, format!("nobody could copy it until {at}, and {} lists none any more", cluster.region()))
        }
        _ => not_yet(format!("{} lists no rescue snapshot of {} (yet)", cluster.region(), cluster.identifier())),
    }
}

/// Why Aurora took no snapshot of this writer at all; `None`: it may have.
fn none_is_taken(failover: &RunState, store: &StoreName, cluster: &ClusterArn) -> Option<String> {
    let begun =
        |id: &StepId| !matches!(failover.steps.get(id), None | Some(StepState::Pending | StepState::Skipped { .. }));
    let mut promotions = failover.plan.steps.iter().filter(|s| begun(&s.id));
    let forced =
        promotions.clone().any(|s| matches!(&s.action, Action::AuroraFailover { store: of, .. } if of == store));
    let detached = promotions.any(|s| matches!(&s.action, Action::AuroraDetach { store: of, .. } if of == store));
    match (forced, detached) {
        (true, _) => None,
        (false, true) => Some(format!(
            "the target was detached, so Aurora took no rescue snapshot: {} in {} holds what it has taken",
            cluster.identifier(),
            cluster.region()
        )),
        (false, false) => {
            Some(format!("{} did not promote {store} by force: there is no rescue snapshot", failover.id))
        }
    }
}
