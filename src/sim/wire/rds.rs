//! The RDS API of a Region, Query protocol: parameters in, XML out.
//!
//! It translates and decides nothing: what a call does, and which faults it gets, is the world's. Whether the
//! Region's endpoint answers at all is the server's matter, before this. An operation that is not modelled is
//! refused by name.

mod events;
mod instances;
mod parameters;
mod snapshots;

use std::collections::HashMap;

use winterbaume_core::MockResponse;
use winterbaume_rds::{model, wire};

use crate::{
    domain::id::Region,
    sim::world::{
        ApiFault, SimTime, World,
        aurora::{Aurora, Cluster, FailoverRequest, GlobalCluster, Membership},
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
        "DescribeDBClusterParameters" => parameters::describe_parameters(world, region, params),
        "DescribeDBInstances" => instances::describe_instances(world, region, params),
        "DescribeAccountAttributes" => Ok(events::describe_account(world, region)),
        "DescribeEvents" => events::describe_events(world, region, params),
        "DescribeDBClusterSnapshots" => snapshots::describe_snapshots(world, region, params),
        "CopyDBClusterSnapshot" => snapshots::copy_snapshot(world, region, params),
        "CreateDBInstance" => instances::create_instance(world, region, params),
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
    let items = found.into_iter().map(|c| cluster_shape(&world.aurora, c)).collect();
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

fn cluster_shape(aurora: &Aurora, cluster: &Cluster) -> model::DBCluster {
    let all = cluster.instances.iter().chain(aurora.instances_being_created(&cluster.arn));
    let members = all.enumerate().map(|(index, instance)| model::DBClusterMember {
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
        deletion_protection: Some(cluster.deletion_protection),
        d_b_cluster_parameter_group: Some(cluster.parameter_group()),
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
mod tests;
