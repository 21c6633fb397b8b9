//! `DescribeDBClusterParameters` over the Query protocol.

use winterbaume_core::MockResponse;
use winterbaume_rds::{model, wire};

use super::{Params, malformed, page, require};
use crate::{
    domain::id::Region,
    sim::world::{ApiFault, World},
};

pub(super) fn describe_parameters(world: &World, region: &Region, params: &Params) -> Result<MockResponse, ApiFault> {
    require(params, &["DBClusterParameterGroupName"])?;
    let request = wire::deserialize_describe_d_b_cluster_parameters_request(params).map_err(malformed)?;
    let found = world.aurora.cluster_parameters(region, &request.d_b_cluster_parameter_group_name)?;
    let (found, marker) = page(found, request.marker.as_deref(), request.max_records)?;
    let items = found.into_iter().map(|parameter| model::Parameter {
        source: Some(if parameter.value.is_some() { "user" } else { "engine-default" }.to_owned()),
        parameter_name: Some(parameter.name),
        parameter_value: parameter.value,
        is_modifiable: Some(true),
        ..Default::default()
    });
    Ok(wire::serialize_describe_d_b_cluster_parameters_response(&model::DBClusterParameterGroupDetails {
        marker,
        parameters: Some(model::ParametersList { items: items.collect() }),
    }))
}
