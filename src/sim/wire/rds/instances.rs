//! DB instances over the Query protocol: described, and added to a cluster.

use winterbaume_core::MockResponse;
use winterbaume_rds::{model, wire};

use super::{Params, filtered, malformed, page, require};
use crate::{
    domain::id::Region,
    sim::world::{
        ApiFault, World,
        aurora::{Aurora, Cluster, Instance, NewInstance},
        rfc3339,
    },
};

/// The instances of `cluster` with the status of each.
fn all_of<'a>(aurora: &'a Aurora, cluster: &'a Cluster) -> impl Iterator<Item = (&'a Instance, &'static str)> {
    // Also while the database hangs: a gray failure is not on the status page.
    let there = cluster.instances.iter().map(|i| (i, "available"));
    there.chain(aurora.instances_being_created(&cluster.arn).map(|i| (i, "creating")))
}

pub(super) fn describe_instances(world: &World, region: &Region, params: &Params) -> Result<MockResponse, ApiFault> {
    let request = wire::deserialize_describe_d_b_instances_request(params).map_err(malformed)?;
    let wanted = request.d_b_instance_identifier.as_deref();
    let found: Vec<(&Cluster, &Instance, &str)> = world
        .aurora
        .clusters(region)
        .flat_map(|cluster| all_of(&world.aurora, cluster).map(move |(i, status)| (cluster, i, status)))
        .filter(|(c, i, _)| wanted.is_none_or(|id| i.id == id || c.instance_arn(i) == id))
        .collect();
    if let Some(id) = wanted.filter(|_| found.is_empty()) {
        return Err(ApiFault {
            status: 404,
            code: "DBInstanceNotFound",
            message: format!("DBInstance {id} not found."),
        });
    }
    let value = |(c, i, _): &(&Cluster, &Instance, &str), name: &str| match name {
        "db-cluster-id" => Some(vec![c.id.clone(), c.arn.clone()]),
        "db-instance-id" => Some(vec![i.id.clone(), c.instance_arn(i)]),
        "engine" => Some(vec![c.engine.clone()]),
        _ => None,
    };
    let known = ["db-cluster-id", "db-instance-id", "engine"];
    let found = filtered(found, request.filters.as_ref(), value, &known)?;
    let (found, marker) = page(found, request.marker.as_deref(), request.max_records)?;
    let items = found.into_iter().map(|(c, i, status)| instance_shape(c, i, status));
    Ok(wire::serialize_describe_d_b_instances_response(&model::DBInstanceMessage {
        d_b_instances: Some(model::DBInstanceList { items: items.collect() }),
        marker,
    }))
}

fn instance_shape(cluster: &Cluster, instance: &Instance, status: &str) -> model::DBInstance {
    let host = cluster.endpoint(false);
    let address = host.split_once(".cluster-").map(|(_, domain)| format!("{}.{domain}", instance.id));
    model::DBInstance {
        d_b_instance_identifier: Some(instance.id.clone()),
        d_b_instance_arn: Some(cluster.instance_arn(instance)),
        d_b_cluster_identifier: Some(cluster.id.clone()),
        d_b_instance_class: Some(instance.class.clone()),
        d_b_instance_status: Some(status.to_owned()),
        engine: Some(cluster.engine.clone()),
        engine_version: Some(cluster.engine_version.clone()),
        instance_create_time: Some(rfc3339(cluster.created_at)),
        promotion_tier: Some(1),
        storage_encrypted: Some(true),
        endpoint: Some(model::Endpoint { address, port: Some(5432), hosted_zone_id: None }),
        ..Default::default()
    }
}

pub(super) fn create_instance(world: &mut World, region: &Region, params: &Params) -> Result<MockResponse, ApiFault> {
    require(params, &["DBInstanceIdentifier", "DBInstanceClass", "Engine"])?;
    let request = wire::deserialize_create_d_b_instance_request(params).map_err(malformed)?;
    let cluster = request.d_b_cluster_identifier.ok_or_else(|| {
        malformed("Only instances of Aurora clusters are simulated: give DBClusterIdentifier.".to_owned())
    })?;
    let wanted = NewInstance {
        cluster,
        id: request.d_b_instance_identifier.to_lowercase(),
        class: request.d_b_instance_class,
        engine: request.engine,
    };
    let (arn, instance) = world.with_aurora(|aurora, ctx| aurora.create_instance(region, wanted, ctx))?;
    let shape = world.aurora.cluster(&arn).map(|cluster| instance_shape(cluster, &instance, "creating"));
    Ok(wire::serialize_create_d_b_instance_response(&model::CreateDBInstanceResult { d_b_instance: shape }))
}
