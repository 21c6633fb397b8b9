//! The RDS API of a Region, Query protocol: parameters in, XML out.
//!
//! It translates and decides nothing: what a call does, and which faults it gets, is the world's. Whether the
//! Region's endpoint answers at all is the server's matter, before this. An operation that is not modelled is
//! refused by name.

use std::collections::HashMap;

use winterbaume_core::MockResponse;
use winterbaume_rds::{model, wire};

use crate::{
    domain::id::Region,
    sim::world::{
        ApiFault, SimTime, World,
        aurora::{
            AccountQuota, Cluster, Event, FailoverRequest, GlobalCluster, Instance, Membership, Snapshot,
            SnapshotStatus,
        },
        rfc3339,
    },
};

type Params = HashMap<String, String>;

/// Answers one call of the RDS API in `region`.
pub fn handle(world: &mut World, region: &Region, params: &HashMap<String, String>) -> MockResponse {
    let action = params.get("Action").map_or("", String::as_str);
    let answer = match action {
        "DescribeGlobalClusters" => describe_global_clusters(world, region, params),
        "DescribeDBClusters" => describe_clusters(world, region, params),
        "DescribeDBInstances" => describe_instances(world, region, params),
        "DescribeAccountAttributes" => Ok(describe_account(world, region)),
        "DescribeEvents" => describe_events(world, region, params),
        "DescribeDBClusterSnapshots" => describe_snapshots(world, region, params),
        "CopyDBClusterSnapshot" => copy_snapshot(world, region, params),
        "SwitchoverGlobalCluster" => switchover(world, region, params),
        "FailoverGlobalCluster" => failover(world, region, params),
        "RemoveFromGlobalCluster" => remove(world, region, params),
        _ => Err(fault(
            "InvalidAction",
            format!("Could not find operation {action}: the simulated RDS does not model it"),
        )),
    };
    answer.unwrap_or_else(|fault| error_response(&fault, world.now))
}

fn fault(code: &'static str, message: String) -> ApiFault {
    ApiFault { status: 400, code, message }
}

fn malformed(message: String) -> ApiFault {
    fault("InvalidParameterValue", message)
}

/// A required parameter must be there: the deserialisers take an absent one for an empty one.
fn require(params: &Params, names: &[&str]) -> Result<(), ApiFault> {
    match names.iter().find(|name| !params.contains_key(**name)) {
        Some(name) => Err(fault("MissingParameter", format!("The request must contain the parameter {name}."))),
        None => Ok(()),
    }
}

/// The error document of the Query protocol.
pub fn error_response(fault: &ApiFault, now: SimTime) -> MockResponse {
    let kind = if fault.status >= 500 { "Receiver" } else { "Sender" };
    let body = format!(
        "<ErrorResponse xmlns=\"http://rds.amazonaws.com/doc/2014-10-31/\"><Error><Type>{kind}</Type>\
         <Code>{}</Code><Message>{}</Message></Error>\
         <RequestId>00000000-0000-4000-8000-{:012x}</RequestId></ErrorResponse>",
        fault.code,
        winterbaume_core::xml_escape(&fault.message),
        now.0
    );
    MockResponse::xml(fault.status, body)
}

/// One page of `items` and the marker of the next one.
fn page<T>(
    items: Vec<T>,
    marker: Option<&str>,
    max_records: Option<i32>,
) -> Result<(Vec<T>, Option<String>), ApiFault> {
    let size = match max_records.unwrap_or(100) {
        size @ 20..=100 => usize::try_from(size).unwrap_or(100),
        other => {
            return Err(malformed(format!("Invalid value {other} for MaxRecords. Must be between 20 and 100.")));
        }
    };
    let start = match marker.filter(|marker| !marker.is_empty()) {
        Some(marker) => {
            marker.parse::<usize>().map_err(|_| malformed(format!("Invalid value {marker} for Marker.")))?
        }
        None => 0,
    };
    let next = (start + size < items.len()).then(|| (start + size).to_string());
    Ok((items.into_iter().skip(start).take(size).collect(), next))
}

/// Keeps what every filter allows; `value_of` knows the filters, and one that it does not know is refused.
fn filtered<T>(
    items: Vec<T>,
    filters: Option<&model::FilterList>,
    value_of: impl Fn(&T, &str) -> Option<Vec<String>>,
    known: &[&str],
) -> Result<Vec<T>, ApiFault> {
    let filters = filters.map_or(&[][..], |list| &list.items);
    if let Some(unknown) = filters.iter().find(|f| !known.contains(&f.name.as_str())) {
        return Err(malformed(format!("Unrecognized filter name: {}", unknown.name)));
    }
    let allowed = |item: &T| {
        filters.iter().all(|filter| {
            value_of(item, &filter.name).is_some_and(|values| values.iter().any(|v| filter.values.items.contains(v)))
        })
    };
    Ok(items.into_iter().filter(allowed).collect())
}

fn describe_global_clusters(world: &World, region: &Region, params: &Params) -> Result<MockResponse, ApiFault> {
    let request = wire::deserialize_describe_global_clusters_request(params).map_err(malformed)?;
    let aurora = &world.aurora;
    let wanted = request.global_cluster_identifier.as_deref();
    let found: Vec<&GlobalCluster> =
        aurora.global_clusters(region).filter(|g| wanted.is_none_or(|id| g.id == id || g.arn == id)).collect();
    if let Some(id) = wanted.filter(|_| found.is_empty()) {
        return Err(ApiFault {
            status: 404,
            code: "GlobalClusterNotFoundFault",
            message: format!("Global cluster {id} not found."),
        });
    }
    let regions = |g: &&GlobalCluster, _: &str| {
        let members = g.members.iter().filter_map(|arn| aurora.cluster(arn));
        Some(members.map(|c| c.region.to_string()).collect())
    };
    let found = filtered(found, request.filters.as_ref(), regions, &["region"])?;
    let (found, marker) = page(found, request.marker.as_deref(), request.max_records)?;
    let items = found.into_iter().map(|g| global_shape(world, g)).collect();
    Ok(wire::serialize_describe_global_clusters_response(&model::GlobalClustersMessage {
        global_clusters: Some(model::GlobalClusterList { items }),
        marker,
    }))
}

fn global_shape(world: &World, global: &GlobalCluster) -> model::GlobalCluster {
    let members: Vec<&Cluster> = global
        .members
        .iter()
        .filter_map(|arn| world.aurora.cluster(arn))
        .filter(|cluster| cluster.is_listed())
        .collect();
    let secondaries: Vec<String> =
        members.iter().filter(|c| c.membership != Membership::Writer).map(|c| c.arn.clone()).collect();
    let member_shape = |cluster: &&Cluster| {
        let is_writer = cluster.membership == Membership::Writer;
        let readers = if is_writer { secondaries.clone() } else { Vec::new() };
        let in_step = cluster.membership != Membership::PendingResync;
        let sync = if in_step { "connected" } else { "pending-resync" };
        model::GlobalClusterMember {
            d_b_cluster_arn: Some(cluster.arn.clone()),
            global_write_forwarding_status: (!is_writer).then(|| "disabled".to_owned()),
            is_writer: Some(is_writer),
            readers: Some(model::ReadersArnList { items: readers }),
            synchronization_status: Some(sync.to_owned()),
        }
    };
    let failover_state = global.operation.as_ref().map(|operation| model::FailoverState {
        from_db_cluster_arn: Some(operation.from.clone()),
        to_db_cluster_arn: Some(operation.to.clone()),
        is_data_loss_allowed: Some(operation.allows_data_loss()),
        status: Some(operation.state().to_owned()),
    });
    model::GlobalCluster {
        global_cluster_identifier: Some(global.id.clone()),
        global_cluster_resource_id: Some(global.resource_id.clone()),
        global_cluster_arn: Some(global.arn.clone()),
        status: Some(global.status.as_str().to_owned()),
        engine: Some(global.engine.clone()),
        engine_version: Some(global.engine_version.clone()),
        endpoint: Some(global.endpoint()),
        storage_encrypted: Some(true),
        deletion_protection: Some(true),
        global_cluster_members: Some(model::GlobalClusterMemberList {
            items: members.iter().map(member_shape).collect(),
        }),
        failover_state,
        ..Default::default()
    }
}

fn describe_clusters(world: &World, region: &Region, params: &Params) -> Result<MockResponse, ApiFault> {
    let request = wire::deserialize_describe_d_b_clusters_request(params).map_err(malformed)?;
    let wanted = request.d_b_cluster_identifier.as_deref();
    let found: Vec<&Cluster> =
        world.aurora.clusters(region).filter(|c| wanted.is_none_or(|id| c.id == id || c.arn == id)).collect();
    if let Some(id) = wanted.filter(|_| found.is_empty()) {
        return Err(cluster_not_found(id));
    }
    let value = |c: &&Cluster, name: &str| match name {
        "db-cluster-id" => Some(vec![c.id.clone(), c.arn.clone()]),
        "engine" => Some(vec![c.engine.clone()]),
        _ => None,
    };
    let known = ["db-cluster-id", "engine"];
    let found = filtered(found, request.filters.as_ref(), value, &known)?;
    let (found, marker) = page(found, request.marker.as_deref(), request.max_records)?;
    let items = found.into_iter().map(cluster_shape).collect();
    Ok(wire::serialize_describe_d_b_clusters_response(&model::DBClusterMessage {
        d_b_clusters: Some(model::DBClusterList { items }),
        marker,
    }))
}

fn cluster_not_found(id: &str) -> ApiFault {
    ApiFault { status: 404, code: "DBClusterNotFoundFault", message: format!("DBCluster {id} not found.") }
}

/// A secondary's instances are all readers.
fn has_writer_instance(cluster: &Cluster) -> bool {
    !matches!(cluster.membership, Membership::Connected | Membership::PendingResync)
}

fn cluster_shape(cluster: &Cluster) -> model::DBCluster {
    let members = cluster.instances.iter().enumerate().map(|(index, instance)| model::DBClusterMember {
        d_b_instance_identifier: Some(instance.id.clone()),
        is_cluster_writer: Some(index == 0 && has_writer_instance(cluster)),
        d_b_cluster_parameter_group_status: Some("in-sync".to_owned()),
        promotion_tier: Some(1),
    });
    model::DBCluster {
        d_b_cluster_arn: Some(cluster.arn.clone()),
        d_b_cluster_identifier: Some(cluster.id.clone()),
        db_cluster_resource_id: Some(cluster.resource_id.clone()),
        status: Some(cluster.status.to_owned()),
        engine: Some(cluster.engine.clone()),
        engine_version: Some(cluster.engine_version.clone()),
        engine_mode: Some("provisioned".to_owned()),
        endpoint: Some(cluster.endpoint(false)),
        reader_endpoint: Some(cluster.endpoint(true)),
        port: Some(5432),
        multi_a_z: Some(cluster.instances.len() > 1),
        storage_encrypted: Some(true),
        deletion_protection: Some(true),
        backup_retention_period: i32::try_from(cluster.backup_retention_days).ok(),
        cluster_create_time: Some(rfc3339(cluster.created_at)),
        global_cluster_identifier: cluster.global.clone().filter(|_| cluster.is_listed()),
        serverless_v2_scaling_configuration: cluster.scaling.map(|(min, max)| {
            model::ServerlessV2ScalingConfigurationInfo {
                min_capacity: Some(min),
                max_capacity: Some(max),
                seconds_until_auto_pause: None,
            }
        }),
        d_b_cluster_members: Some(model::DBClusterMemberList { items: members.collect() }),
        ..Default::default()
    }
}

fn describe_instances(world: &World, region: &Region, params: &Params) -> Result<MockResponse, ApiFault> {
    let request = wire::deserialize_describe_d_b_instances_request(params).map_err(malformed)?;
    let wanted = request.d_b_instance_identifier.as_deref();
    let found: Vec<(&Cluster, &Instance)> = world
        .aurora
        .clusters(region)
        .flat_map(|cluster| cluster.instances.iter().map(move |i| (cluster, i)))
        .filter(|(c, i)| wanted.is_none_or(|id| i.id == id || c.instance_arn(i) == id))
        .collect();
    if let Some(id) = wanted.filter(|_| found.is_empty()) {
        return Err(ApiFault {
            status: 404,
            code: "DBInstanceNotFound",
            message: format!("DBInstance {id} not found."),
        });
    }
    let value = |(c, i): &(&Cluster, &Instance), name: &str| match name {
        "db-cluster-id" => Some(vec![c.id.clone(), c.arn.clone()]),
        "db-instance-id" => Some(vec![i.id.clone(), c.instance_arn(i)]),
        "engine" => Some(vec![c.engine.clone()]),
        _ => None,
    };
    let known = ["db-cluster-id", "db-instance-id", "engine"];
    let found = filtered(found, request.filters.as_ref(), value, &known)?;
    let (found, marker) = page(found, request.marker.as_deref(), request.max_records)?;
    let items = found.into_iter().map(|(c, i)| instance_shape(c, i));
    Ok(wire::serialize_describe_d_b_instances_response(&model::DBInstanceMessage {
        d_b_instances: Some(model::DBInstanceList { items: items.collect() }),
        marker,
    }))
}

fn instance_shape(cluster: &Cluster, instance: &Instance) -> model::DBInstance {
    let host = cluster.endpoint(false);
    let address = host.split_once(".cluster-").map(|(_, domain)| format!("{}.{domain}", instance.id));
    model::DBInstance {
        d_b_instance_identifier: Some(instance.id.clone()),
        d_b_instance_arn: Some(cluster.instance_arn(instance)),
        d_b_cluster_identifier: Some(cluster.id.clone()),
        d_b_instance_class: Some(instance.class.clone()),
        // Also while the database hangs: a gray failure is not on the status page.
        d_b_instance_status: Some("available".to_owned()),
        engine: Some(cluster.engine.clone()),
        engine_version: Some(cluster.engine_version.clone()),
        instance_create_time: Some(rfc3339(cluster.created_at)),
        promotion_tier: Some(1),
        storage_encrypted: Some(true),
        endpoint: Some(model::Endpoint { address, port: Some(5432), hosted_zone_id: None }),
        ..Default::default()
    }
}

/// The account's quotas, those of them that the world counts.
fn describe_account(world: &World, region: &Region) -> MockResponse {
    let quota = |q: AccountQuota| model::AccountQuota {
        account_quota_name: Some(q.name.to_owned()),
        used: Some(q.used),
        max: Some(q.max),
    };
    let items = world.aurora.account_quotas(region, world.now).into_iter().map(quota).collect();
    wire::serialize_describe_account_attributes_response(&model::AccountAttributesMessage {
        account_quotas: Some(model::AccountQuotaList { items }),
    })
}

/// How long events are kept: 14 days [AUG].
const EVENTS_KEPT_MS: u64 = 14 * 24 * 60 * 60 * 1_000;

fn describe_events(world: &World, region: &Region, params: &Params) -> Result<MockResponse, ApiFault> {
    let request = wire::deserialize_describe_events_request(params).map_err(malformed)?;
    if request.source_identifier.is_some() && request.source_type.is_none() {
        let message = "Cannot specify source identifier without source type.".to_owned();
        return Err(fault("InvalidParameterCombination", message));
    }
    let (from, to) = event_window(&request, world.now)?;
    let categories = request.event_categories.as_ref().map(|list| &list.items);
    let matches = |event: &&Event| {
        (from..=to).contains(&event.at)
            && request.source_type.as_deref().is_none_or(|kind| kind == event.source_type.as_str())
            && request.source_identifier.as_deref().is_none_or(|id| id == event.source_id)
            && categories.is_none_or(|list| list.iter().any(|c| c == event.category))
    };
    let found: Vec<&Event> = world.aurora.events(region).filter(matches).collect();
    let (found, marker) = page(found, request.marker.as_deref(), request.max_records)?;
    let items = found.into_iter().map(|event| model::Event {
        date: Some(rfc3339(event.at)),
        event_categories: Some(model::EventCategoriesList { items: vec![event.category.to_owned()] }),
        message: Some(event.message.clone()),
        source_arn: Some(event.source_arn.clone()),
        source_identifier: Some(event.source_id.clone()),
        source_type: Some(event.source_type.as_str().to_owned()),
    });
    Ok(wire::serialize_describe_events_response(&model::EventsMessage {
        events: Some(model::EventList { items: items.collect() }),
        marker,
    }))
}

/// The interval asked for: StartTime and EndTime, or the last Duration minutes (60 where nothing is said).
fn event_window(request: &model::DescribeEventsMessage, now: SimTime) -> Result<(SimTime, SimTime), ApiFault> {
    let instant = |text: &str| {
        text.parse::<jiff::Timestamp>()
            .ok()
            .and_then(|at| u64::try_from(at.as_millisecond()).ok())
            .map(SimTime)
            .ok_or_else(|| malformed(format!("Invalid time {text}.")))
    };
    let start = request.start_time.as_deref().map(instant).transpose()?;
    let end = request.end_time.as_deref().map(instant).transpose()?;
    let end = end.unwrap_or(now);
    let minutes = match request.duration.unwrap_or(60) {
        minutes @ 0.. => u64::from(minutes.unsigned_abs()),
        other => return Err(malformed(format!("Invalid value {other} for Duration."))),
    };
    let start = start.unwrap_or(SimTime(end.0.saturating_sub(minutes * 60_000)));
    let oldest = SimTime(now.0.saturating_sub(EVENTS_KEPT_MS));
    Ok((start.max(oldest), end))
}

fn describe_snapshots(world: &World, region: &Region, params: &Params) -> Result<MockResponse, ApiFault> {
    let request = wire::deserialize_describe_d_b_cluster_snapshots_request(params).map_err(malformed)?;
    let wanted = request.d_b_cluster_snapshot_identifier.as_deref();
    let cluster = request.d_b_cluster_identifier.as_deref();
    let kind = request.snapshot_type.as_deref();
    let found: Vec<&Snapshot> = world
        .aurora
        .snapshots(region, world.now)
        .filter(|s| wanted.is_none_or(|id| s.id == id || s.arn == id))
        .filter(|s| cluster.is_none_or(|id| s.cluster_id == id))
        .filter(|s| kind.is_none_or(|kind| kind == snapshot_type(s)))
        .collect();
    if let Some(id) = wanted.filter(|_| found.is_empty()) {
        return Err(ApiFault {
            status: 404,
            code: "DBClusterSnapshotNotFoundFault",
            message: format!("DBClusterSnapshot {id} not found."),
        });
    }
    let value = |s: &&Snapshot, name: &str| match name {
        "db-cluster-id" => Some(vec![s.cluster_id.clone()]),
        "db-cluster-snapshot-id" => Some(vec![s.id.clone()]),
        "snapshot-type" => Some(vec![snapshot_type(s).to_owned()]),
        _ => None,
    };
    let known = ["db-cluster-id", "db-cluster-snapshot-id", "snapshot-type"];
    let found = filtered(found, request.filters.as_ref(), value, &known)?;
    let (found, marker) = page(found, request.marker.as_deref(), request.max_records)?;
    let items = found.into_iter().map(snapshot_shape).collect();
    Ok(wire::serialize_describe_d_b_cluster_snapshots_response(&model::DBClusterSnapshotMessage {
        d_b_cluster_snapshots: Some(model::DBClusterSnapshotList { items }),
        marker,
    }))
}

fn snapshot_type(snapshot: &Snapshot) -> &'static str {
    if snapshot.automatic { "automated" } else { "manual" }
}

fn snapshot_shape(snapshot: &Snapshot) -> model::DBClusterSnapshot {
    let (status, percent) = match snapshot.status {
        SnapshotStatus::Creating => ("creating", 0),
        SnapshotStatus::Available => ("available", 100),
    };
    model::DBClusterSnapshot {
        d_b_cluster_snapshot_identifier: Some(snapshot.id.clone()),
        d_b_cluster_snapshot_arn: Some(snapshot.arn.clone()),
        d_b_cluster_identifier: Some(snapshot.cluster_id.clone()),
        engine: Some(snapshot.engine.clone()),
        engine_version: Some(snapshot.engine_version.clone()),
        status: Some(status.to_owned()),
        percent_progress: Some(percent),
        snapshot_type: Some(snapshot_type(snapshot).to_owned()),
        snapshot_create_time: Some(rfc3339(snapshot.created_at)),
        source_d_b_cluster_snapshot_arn: snapshot.source_arn.clone(),
        storage_encrypted: Some(true),
        ..Default::default()
    }
}

fn copy_snapshot(world: &mut World, region: &Region, params: &Params) -> Result<MockResponse, ApiFault> {
    require(params, &["SourceDBClusterSnapshotIdentifier", "TargetDBClusterSnapshotIdentifier"])?;
    let request = wire::deserialize_copy_d_b_cluster_snapshot_request(params).map_err(malformed)?;
    let source = &request.source_d_b_cluster_snapshot_identifier;
    let target = &request.target_d_b_cluster_snapshot_identifier;
    let shape =
        world.with_aurora(|aurora, ctx| aurora.copy_snapshot(region, source, target, ctx).map(snapshot_shape))?;
    Ok(wire::serialize_copy_d_b_cluster_snapshot_response(&model::CopyDBClusterSnapshotResult {
        d_b_cluster_snapshot: Some(shape),
    }))
}

fn switchover(world: &mut World, region: &Region, params: &Params) -> Result<MockResponse, ApiFault> {
    require(params, &["GlobalClusterIdentifier", "TargetDbClusterIdentifier"])?;
    let request = wire::deserialize_switchover_global_cluster_request(params).map_err(malformed)?;
    let (global, target) = (&request.global_cluster_identifier, &request.target_db_cluster_identifier);
    world.with_aurora(|aurora, ctx| aurora.switchover_global_cluster(region, global, target, ctx))?;
    Ok(wire::serialize_switchover_global_cluster_response(&model::SwitchoverGlobalClusterResult {
        global_cluster: shape_of(world, global),
    }))
}

fn failover(world: &mut World, region: &Region, params: &Params) -> Result<MockResponse, ApiFault> {
    require(params, &["GlobalClusterIdentifier", "TargetDbClusterIdentifier"])?;
    let request = wire::deserialize_failover_global_cluster_request(params).map_err(malformed)?;
    let call = FailoverRequest {
        global: request.global_cluster_identifier,
        target: request.target_db_cluster_identifier,
        allow_data_loss: request.allow_data_loss.unwrap_or(false),
        switchover: request.switchover.unwrap_or(false),
    };
    world.with_aurora(|aurora, ctx| aurora.failover_global_cluster(region, &call, ctx))?;
    Ok(wire::serialize_failover_global_cluster_response(&model::FailoverGlobalClusterResult {
        global_cluster: shape_of(world, &call.global),
    }))
}

fn remove(world: &mut World, region: &Region, params: &Params) -> Result<MockResponse, ApiFault> {
    require(params, &["GlobalClusterIdentifier", "DbClusterIdentifier"])?;
    let request = wire::deserialize_remove_from_global_cluster_request(params).map_err(malformed)?;
    let (global, cluster) = (&request.global_cluster_identifier, &request.db_cluster_identifier);
    world.with_aurora(|aurora, ctx| aurora.remove_from_global_cluster(region, global, cluster, ctx))?;
    Ok(wire::serialize_remove_from_global_cluster_response(&model::RemoveFromGlobalClusterResult {
        global_cluster: shape_of(world, global),
    }))
}

fn shape_of(world: &World, global: &str) -> Option<model::GlobalCluster> {
    let global = world.aurora.global_cluster(global)?;
    Some(global_shape(world, global))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::world::scenario::{Topology, two_regions};

    const USW2: &str = "arn:aws:rds:us-west-2:123456789012:cluster:payments-usw2";

    fn call(world: &mut World, region: &str, params: &[(&str, &str)]) -> (u16, String) {
        let params = params.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let answer = handle(world, &region.parse().expect("a Region"), &params);
        let body = String::from_utf8(answer.body.to_vec()).expect("UTF-8");
        (answer.status, body)
    }

    fn payments() -> World {
        two_regions(1, SimTime(1_795_000_000_000), &Topology::payments())
    }

    #[test]
    fn a_failover_is_shown_pending_with_the_old_writer_and_the_fault_of_a_second_call() {
        let mut world = payments();
        let failover = [
            ("Action", "FailoverGlobalCluster"),
            ("GlobalClusterIdentifier", "payments"),
            ("TargetDbClusterIdentifier", USW2),
            ("AllowDataLoss", "true"),
        ];
        let (status, body) = call(&mut world, "us-west-2", &failover);
        assert_eq!(status, 200, "{body}");
        for part in [
            "<FailoverGlobalClusterResult><GlobalCluster>",
            "<Status>failing-over</Status>",
            "<FailoverState><FromDbClusterArn>arn:aws:rds:us-east-1",
            "<IsDataLossAllowed>true</IsDataLossAllowed><Status>pending</Status>",
            "<IsWriter>true</IsWriter><Readers><member>arn:aws:rds:us-west-2",
            "<SynchronizationStatus>connected</SynchronizationStatus>",
        ] {
            assert!(body.contains(part), "{part} is not in {body}");
        }
        let (status, body) = call(&mut world, "us-west-2", &failover);
        assert_eq!(status, 400);
        assert!(body.contains("<Code>InvalidGlobalClusterStateFault</Code>"));
    }

    #[test]
    fn what_is_described_has_the_shape_of_the_sdk() {
        let mut world = payments();
        let describe = |world: &mut World, action| call(world, "us-west-2", &[("Action", action)]);
        let (_, body) = describe(&mut world, "DescribeGlobalClusters");
        assert!(body.contains("<GlobalClusters><GlobalClusterMember><"));
        assert!(body.contains("<GlobalClusterMembers><GlobalClusterMember><"));
        assert!(!body.contains("FailoverState"), "absent when idle: {body}");
        let (_, body) = describe(&mut world, "DescribeDBClusters");
        assert!(body.contains("<DBClusters><DBCluster><"), "{body}");
        assert!(body.contains("<ClusterCreateTime>2026-"), "{body}");
        assert!(body.contains("<IsClusterWriter>false</IsClusterWriter>"));
        let (_, body) = describe(&mut world, "DescribeDBInstances");
        assert_eq!(body.matches("<DBInstance>").count(), 2, "{body}");
        let (status, _) = describe(&mut world, "DescribeEvents");
        assert_eq!(status, 200);
    }

    #[test]
    fn an_operation_that_is_not_modelled_is_refused_by_name() {
        let (status, body) = call(&mut payments(), "us-east-1", &[("Action", "RebootDBCluster")]);
        assert_eq!(status, 400);
        assert!(body.contains("<Code>InvalidAction</Code>") && body.contains("RebootDBCluster"));
    }

    #[test]
    fn what_is_missing_or_unknown_gets_its_fault() {
        let mut world = payments();
        let switchover = [("Action", "SwitchoverGlobalCluster"), ("GlobalClusterIdentifier", "payments")];
        let (status, body) = call(&mut world, "us-east-1", &switchover);
        assert_eq!(status, 400);
        assert!(body.contains("TargetDbClusterIdentifier"));
        let describe = [("Action", "DescribeGlobalClusters"), ("GlobalClusterIdentifier", "a<b")];
        let (status, body) = call(&mut world, "us-east-1", &describe);
        assert_eq!(status, 404);
        assert!(body.contains("GlobalClusterNotFoundFault") && body.contains("a&lt;b"));
    }

    /// Serves `world` as the RDS endpoint of us-west-2 on a free port.
    async fn serve(world: World) -> String {
        use std::sync::{Arc, Mutex};
        let world = Arc::new(Mutex::new(world));
        let app = axum::Router::new().fallback(move |body: bytes::Bytes| async move {
            let params = winterbaume_core::parse_query_string(&String::from_utf8_lossy(&body));
            let region: Region = "us-west-2".parse().expect("a Region");
            let answer = handle(&mut world.lock().expect("no panic"), &region, &params);
            let status = axum::http::StatusCode::from_u16(answer.status).expect("a status");
            (status, answer.headers, answer.body)
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move { axum::serve(listener, app).await });
        format!("http://{address}")
    }

    #[tokio::test]
    async fn the_official_sdk_reads_what_is_sent() {
        use aws_sdk_rds::config::{BehaviorVersion, Credentials, Region as SdkRegion};
        let config = aws_sdk_rds::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(SdkRegion::new("us-west-2"))
            .credentials_provider(Credentials::for_tests())
            .endpoint_url(serve(payments()).await)
            .build();
        let rds = aws_sdk_rds::Client::from_conf(config);
        let call = rds
            .failover_global_cluster()
            .global_cluster_identifier("payments")
            .target_db_cluster_identifier(USW2)
            .allow_data_loss(true);
        let global = call.send().await.expect("accepted");
        let global = global.global_cluster().expect("described");
        let state = global.failover_state().expect("at work");
        assert_eq!(state.status().expect("set").as_str(), "pending");
        assert_eq!(state.is_data_loss_allowed(), Some(true));
        let again = second_call_fault(&rds).await;
        assert_eq!(again.as_deref(), Some("InvalidGlobalClusterStateFault"));

        let described = rds.describe_global_clusters().send().await.expect("ok");
        let members = described.global_clusters()[0].global_cluster_members();
        let writers: Vec<bool> = members.iter().filter_map(|m| m.is_writer()).collect();
        assert_eq!(writers, [true, false]);
        assert_eq!(members[0].readers(), [USW2]);
        let clusters = rds.describe_db_clusters().send().await.expect("ok");
        let cluster = &clusters.db_clusters()[0];
        assert!(cluster.cluster_create_time().is_some());
        assert_eq!(cluster.db_cluster_members().len(), 2);
        let instances = rds.describe_db_instances().send().await.expect("ok");
        assert_eq!(instances.db_instances().len(), 2);
        let events = rds.describe_events().duration(5).send().await.expect("ok");
        assert!(events.events().is_empty(), "a failover has no event of its start");
        let snapshots = rds.describe_db_cluster_snapshots().send().await;
        assert!(snapshots.expect("ok").db_cluster_snapshots().is_empty());
    }

    async fn second_call_fault(rds: &aws_sdk_rds::Client) -> Option<String> {
        use aws_sdk_rds::error::ProvideErrorMetadata as _;
        let call = rds
            .failover_global_cluster()
            .global_cluster_identifier("payments")
            .target_db_cluster_identifier(USW2)
            .allow_data_loss(true);
        let error = call.send().await.expect_err("busy").into_service_error();
        error.code().map(str::to_owned)
    }
}
