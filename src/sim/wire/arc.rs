//! The data plane API of ARC routing controls (awsJson1.0, target `ToggleCustomerAPI`) over the world.
//!
//! Each cluster has five regional endpoints; the server says at which one a request arrived. Pagination is not
//! simulated: every listing is one page.

use axum::http::{HeaderName, HeaderValue};
use serde::de::DeserializeOwned;
use winterbaume_core::MockResponse;
use winterbaume_route53recoverycluster::wire as api;

use crate::{
    domain::id::Region,
    sim::world::{
        ApiFault, Context, World,
        arc::{ArcFault, ControlState, RoutingControl},
    },
};

/// Answers one request that arrived at the endpoint in `endpoint_region`; `target` is `X-Amz-Target`.
pub fn handle(world: &mut World, endpoint_region: &Region, target: &str, body: &[u8]) -> MockResponse {
    let result = match target.strip_prefix("ToggleCustomerAPI.") {
        Some("GetRoutingControlState") => get_state(world, endpoint_region, body),
        Some("ListRoutingControls") => list(world, endpoint_region, body),
        Some("UpdateRoutingControlState") => update_one(world, endpoint_region, body),
        Some("UpdateRoutingControlStates") => update_several(world, endpoint_region, body),
        _ => Err(fault(501, "NotImplemented", format!("{target} is not simulated"))),
    };
    result.unwrap_or_else(|fault| error(&fault))
}

type Outcome = Result<MockResponse, ArcFault>;

fn get_state(world: &World, endpoint: &Region, body: &[u8]) -> Outcome {
    let input: api::GetRoutingControlStateRequest = parse(body)?;
    let arn = &input.routing_control_arn;
    let control = world.arc.get_state(&world.planes, endpoint, arn)?;
    let output = api::GetRoutingControlStateResponse {
        routing_control_arn: Some(control.arn.clone()),
        routing_control_name: Some(control.name.clone()),
        routing_control_state: Some(control.state.as_str().to_owned()),
    };
    Ok(api::serialize_get_routing_control_state_response(&output))
}

fn list(world: &World, endpoint: &Region, body: &[u8]) -> Outcome {
    let input: api::ListRoutingControlsRequest = parse(body)?;
    if input.next_token.is_some() {
        return Err(fault(400, "ValidationException", "unknown NextToken"));
    }
    let panel = input.control_panel_arn.as_deref();
    let controls = world.arc.list(&world.planes, endpoint, panel)?;
    let output = api::ListRoutingControlsResponse {
        next_token: None,
        routing_controls: Some(controls.into_iter().map(control).collect()),
    };
    Ok(api::serialize_list_routing_controls_response(&output))
}

fn update_one(world: &mut World, endpoint: &Region, body: &[u8]) -> Outcome {
    let input: api::UpdateRoutingControlStateRequest = parse(body)?;
    let entry = (input.routing_control_arn, state(&input.routing_control_state)?);
    let overrides = input.safety_rules_to_override.unwrap_or_default();
    update(world, endpoint, "UpdateRoutingControlState", &[entry], &overrides)?;
    let output = api::UpdateRoutingControlStateResponse {};
    Ok(api::serialize_update_routing_control_state_response(&output))
}

fn update_several(world: &mut World, endpoint: &Region, body: &[u8]) -> Outcome {
    let input: api::UpdateRoutingControlStatesRequest = parse(body)?;
    let entries = input
        .update_routing_control_state_entries
        .into_iter()
        .map(|e| Ok((e.routing_control_arn, state(&e.routing_control_state)?)))
        .collect::<Result<Vec<_>, ArcFault>>()?;
    let overrides = input.safety_rules_to_override.unwrap_or_default();
    update(world, endpoint, "UpdateRoutingControlStates", &entries, &overrides)?;
    let output = api::UpdateRoutingControlStatesResponse {};
    Ok(api::serialize_update_routing_control_states_response(&output))
}

fn update(
    world: &mut World,
    endpoint: &Region,
    operation: &'static str,
    entries: &[(String, ControlState)],
    overrides: &[String],
) -> Result<(), ArcFault> {
    let mut ctx = Context { now: world.now, rng: &mut world.rng, planes: &world.planes, log: &mut world.log };
    world.arc.update_states(&mut ctx, endpoint, operation, entries, overrides)
}

fn control(c: &RoutingControl) -> api::RoutingControl {
    api::RoutingControl {
        control_panel_arn: Some(c.panel_arn.clone()),
        control_panel_name: Some(c.panel_name.clone()),
        // The account of the ARN: `arn:aws:route53-recovery-control::<account>:…`.
        owner: c.arn.split(':').nth(4).map(str::to_owned),
        routing_control_arn: Some(c.arn.clone()),
        routing_control_name: Some(c.name.clone()),
        routing_control_state: Some(c.state.as_str().to_owned()),
    }
}

fn state(text: &str) -> Result<ControlState, ArcFault> {
    match text {
        "On" => Ok(ControlState::On),
        "Off" => Ok(ControlState::Off),
        other => {
            Err(fault(400, "ValidationException", format!("RoutingControlState must be On or Off, not `{other}`")))
        }
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ArcFault> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|e| fault(400, "SerializationException", e.to_string()))
}

fn fault(status: u16, code: &'static str, message: impl Into<String>) -> ArcFault {
    ApiFault { status, code, message: message.into() }.into()
}

/// An error with the modelled members that clients require: `message`, `resourceId` and `resourceType`, `reason`.
pub fn error(e: &ArcFault) -> MockResponse {
    let mut body = serde_json::json!({ "__type": e.fault.code, "message": e.fault.message });
    if let Some((id, kind)) = &e.resource {
        body["resourceId"] = id.as_str().into();
        body["resourceType"] = (*kind).into();
    }
    if e.fault.code == "ServiceLimitExceededException" {
        body["limitCode"] = "RoutingControlsPerUpdate".into();
        body["serviceCode"] = "route53-recovery-cluster".into();
    }
    let mut response = MockResponse::json(e.fault.status, body.to_string());
    response.headers.insert(HeaderName::from_static("x-amzn-errortype"), HeaderValue::from_static(e.fault.code));
    response
}

#[cfg(test)]
mod tests {
    use aws_sdk_route53recoverycluster::{
        Client,
        config::{BehaviorVersion, Credentials, Region as SdkRegion, retry::RetryConfig},
        types::{RoutingControlState, UpdateRoutingControlStateEntry as Entry},
    };
    use axum::{
        body::{Body, to_bytes},
        extract::{Request, State},
        response::Response,
    };

    use super::*;
    use crate::sim::world::{
        Plane, Reach, SimTime,
        route53::fixture::{self, CONTROL_USE1_ARN, CONTROL_USW2_ARN, PaymentsTraffic, SAFETY_RULE_ARN},
    };

    type Shared = std::sync::Arc<std::sync::Mutex<World>>;

    fn home() -> Region {
        "us-west-2".parse().expect("a Region")
    }

    async fn answer(State(world): State<Shared>, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, 1 << 20).await.expect("a small body");
        let target = parts.headers["x-amz-target"].to_str().expect("text").to_owned();
        let mut world = world.lock().expect("unpoisoned");
        let out = handle(&mut world, &home(), &target, &body);
        let mut response = Response::new(Body::from(out.body));
        *response.status_mut() = axum::http::StatusCode::from_u16(out.status).expect("a status");
        *response.headers_mut() = out.headers;
        response
    }

    async fn payments() -> (Client, Shared) {
        let mut world = World::new(1, SimTime(1_700_000_000_000));
        fixture::payments_traffic(&mut world, &PaymentsTraffic::default());
        let world: Shared = std::sync::Arc::new(std::sync::Mutex::new(world));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let app = axum::Router::new().fallback(answer).with_state(world.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        let config = aws_sdk_route53recoverycluster::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(SdkRegion::new("us-west-2"))
            .credentials_provider(Credentials::for_tests())
            .retry_config(RetryConfig::disabled())
            .endpoint_url(url)
            .build();
        (Client::from_conf(config), world)
    }

    fn entry(arn: &str, state: RoutingControlState) -> Entry {
        let entry = Entry::builder().routing_control_arn(arn).routing_control_state(state);
        entry.build().expect("complete")
    }

    #[tokio::test]
    async fn the_sdk_swaps_two_controls_atomically() {
        let (client, world) = payments().await;
        client
            .update_routing_control_states()
            .update_routing_control_state_entries(entry(CONTROL_USE1_ARN, RoutingControlState::Off))
            .update_routing_control_state_entries(entry(CONTROL_USW2_ARN, RoutingControlState::On))
            .send()
            .await
            .expect("accepted");
        let got = client.get_routing_control_state().routing_control_arn(CONTROL_USW2_ARN).send().await;
        let got = got.expect("there");
        assert_eq!(got.routing_control_state(), &RoutingControlState::On);
        assert_eq!(got.routing_control_name(), Some("payments-usw2"));
        let listed = client.list_routing_controls().send().await.expect("listed");
        assert_eq!(listed.routing_controls().len(), 2);
        assert_eq!(listed.routing_controls()[0].owner(), Some("123456789012"));
        assert_eq!(world.lock().expect("unpoisoned").arc.effects.len(), 1);
    }

    #[tokio::test]
    async fn a_safety_rule_refuses_unless_it_is_overridden() {
        let (client, _) = payments().await;
        let off = || {
            client
                .update_routing_control_state()
                .routing_control_arn(CONTROL_USE1_ARN)
                .routing_control_state(RoutingControlState::Off)
        };
        let error = off().send().await.expect_err("refused").into_service_error();
        assert!(error.is_conflict_exception(), "{error:?}");
        off().safety_rules_to_override(SAFETY_RULE_ARN).send().await.expect("overridden");
    }

    #[tokio::test]
    async fn the_fourth_update_of_a_second_is_throttled_and_a_dead_endpoint_says_so() {
        let (client, world) = payments().await;
        let on = || {
            client
                .update_routing_control_state()
                .routing_control_arn(CONTROL_USE1_ARN)
                .routing_control_state(RoutingControlState::On)
                .send()
        };
        for _ in 0..3 {
            on().await.expect("within the rate");
        }
        let error = on().await.expect_err("throttled").into_service_error();
        assert!(error.is_throttling_exception(), "{error:?}");
        world.lock().expect("unpoisoned").planes.set(Plane::ArcCluster, &home(), Reach::Unavailable);
        let error = on().await.expect_err("down").into_service_error();
        assert!(error.is_endpoint_temporarily_unavailable_exception(), "{error:?}");
    }
}
