//! Cluster snapshots over the Query protocol: described, and copied.

use winterbaume_core::MockResponse;
use winterbaume_rds::{model, wire};

use super::{Params, filtered, malformed, page, require};
use crate::{
    domain::id::Region,
    sim::world::{
        ApiFault, World,
        aurora::{Snapshot, SnapshotStatus},
        rfc3339,
    },
};

pub(super) fn describe_snapshots(world: &World, region: &Region, params: &Params) -> Result<MockResponse, ApiFault> {
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

pub(super) fn copy_snapshot(world: &mut World, region: &Region, params: &Params) -> Result<MockResponse, ApiFault> {
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
