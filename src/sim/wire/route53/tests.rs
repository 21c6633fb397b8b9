//! The real SDK for Rust against [`handle`], over HTTP on loopback.

use aws_sdk_route53::{
    Client,
    config::{BehaviorVersion, Credentials, Region as SdkRegion, retry::RetryConfig},
    error::ProvideErrorMetadata as _,
    types::{
        Change, ChangeAction, ChangeBatch, ChangeStatus, HealthCheckConfig, HealthCheckType, ResourceRecord,
        ResourceRecordSet, ResourceRecordSetFailover, RrType as SdkType,
    },
};
use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    response::Response,
};

use super::*;
use crate::sim::world::{
    SimTime,
    route53::fixture::{self, PaymentsTraffic},
};

type Shared = std::sync::Arc<std::sync::Mutex<World>>;

async fn answer(State(world): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.expect("a small body");
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let mut world = world.lock().expect("unpoisoned");
    // A second between requests, so that the account's rate is never the subject.
    world.now = world.now.plus_ms(1_000);
    let out = handle(&mut world, parts.method.as_str(), parts.uri.path(), &query, &body);
    let mut response = Response::new(Body::from(out.body));
    *response.status_mut() = axum::http::StatusCode::from_u16(out.status).expect("a status");
    *response.headers_mut() = out.headers;
    response
}

/// The server's base URL and the world behind it.
async fn serve_payments() -> (String, Shared) {
    let mut world = World::new(1, SimTime(1_700_000_000_000));
    fixture::payments_traffic(&mut world, &PaymentsTraffic::default());
    let world: Shared = std::sync::Arc::new(std::sync::Mutex::new(world));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let app = axum::Router::new().fallback(answer).with_state(world.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, world)
}

fn client(url: &str) -> Client {
    let config = aws_sdk_route53::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(SdkRegion::new("us-east-1"))
        .credentials_provider(Credentials::for_tests())
        .retry_config(RetryConfig::disabled())
        .endpoint_url(url)
        .build();
    Client::from_conf(config)
}

fn change(action: ChangeAction, set: ResourceRecordSet) -> ChangeBatch {
    let change = Change::builder().action(action).resource_record_set(set);
    let change = change.build().expect("complete");
    ChangeBatch::builder().changes(change).comment("a & b").build().expect("complete")
}

fn set(name: &str, value: &str) -> ResourceRecordSet {
    let value = ResourceRecord::builder().value(value).build().expect("complete");
    ResourceRecordSet::builder()
        .name(name)
        .r#type(SdkType::A)
        .ttl(60)
        .resource_records(value)
        .build()
        .expect("complete")
}

#[tokio::test]
async fn the_sdk_changes_lists_and_follows_records() {
    let (url, world) = serve_payments().await;
    let client = client(&url);
    let new = set("new.payments.example.com", "127.0.0.9");
    let made = client
        .change_resource_record_sets()
        .hosted_zone_id("/hostedzone/Z0PAYMENTS")
        .change_batch(change(ChangeAction::Create, new.clone()))
        .send()
        .await
        .expect("accepted");
    let info = made.change_info().expect("always there").clone();
    assert!(info.id().starts_with("/change/C"), "{}", info.id());
    assert_eq!(info.comment(), Some("a & b"));
    assert_eq!(info.status(), &ChangeStatus::Pending);
    assert_eq!(info.submitted_at().secs(), 1_700_000_001);
    let got = client.get_change().id(info.id()).send().await.expect("known");
    assert_eq!(got.change_info().map(|i| i.id()), Some(info.id()));

    let listed = client
        .list_resource_record_sets()
        .hosted_zone_id("Z0PAYMENTS")
        .start_record_name(fixture::RECORD_NAME)
        .start_record_type(SdkType::A)
        .max_items(2)
        .send()
        .await
        .expect("listed");
    assert!(listed.is_truncated());
    assert_eq!(listed.next_record_name(), Some("new.payments.example.com."));
    let roles: Vec<_> = listed.resource_record_sets().iter().map(|s| s.failover().cloned()).collect();
    assert_eq!(roles, [Some(ResourceRecordSetFailover::Primary), Some(ResourceRecordSetFailover::Secondary)]);

    let error = client
        .change_resource_record_sets()
        .hosted_zone_id("Z0PAYMENTS")
        .change_batch(change(ChangeAction::Create, new))
        .send()
        .await
        .expect_err("it is there");
    let error = error.into_service_error();
    assert!(error.is_invalid_change_batch(), "{error:?}");
    assert!(error.message().is_some_and(|m| m.contains("already exists")), "{error:?}");
    let effects = world.lock().expect("unpoisoned").route53.effects.clone();
    assert_eq!(effects.iter().map(|e| e.accepted).collect::<Vec<_>>(), [true, false]);
}

#[tokio::test]
async fn the_sdk_reads_zones_and_answers() {
    let (url, _) = serve_payments().await;
    let client = client(&url);
    let zones = client.list_hosted_zones().send().await.expect("listed");
    assert_eq!(zones.hosted_zones()[0].id(), "/hostedzone/Z0PAYMENTS");
    let by_name = client.list_hosted_zones_by_name().dns_name("payments.example.com").send().await;
    let by_name = by_name.expect("listed");
    assert_eq!(by_name.hosted_zones()[0].name(), fixture::ZONE_NAME);
    let zone = client.get_hosted_zone().id("Z0PAYMENTS").send().await.expect("there");
    let config = zone.hosted_zone().and_then(|z| z.config()).expect("there");
    assert!(!config.private_zone());
    assert_eq!(zone.delegation_set().map(|d| d.name_servers().len()), Some(4));
    let answer = client
        .test_dns_answer()
        .hosted_zone_id("Z0PAYMENTS")
        .record_name(fixture::RECORD_NAME)
        .record_type(SdkType::A)
        .send()
        .await
        .expect("answered");
    assert_eq!(answer.record_data(), ["127.0.11.1"]);
    assert_eq!(answer.response_code(), "NOERROR");
    let error = client.get_hosted_zone().id("ZNONE").send().await.expect_err("unknown");
    assert!(error.into_service_error().is_no_such_hosted_zone());
}

#[tokio::test]
async fn the_sdk_makes_and_updates_health_checks() {
    let (url, _) = serve_payments().await;
    let client = client(&url);
    let config = HealthCheckConfig::builder()
        .r#type(HealthCheckType::Http)
        .ip_address("127.0.11.1")
        .port(8080)
        .request_interval(10)
        .failure_threshold(1)
        .build()
        .expect("complete");
    let made = client
        .create_health_check()
        .caller_reference("made-by-a-test")
        .health_check_config(config)
        .send()
        .await
        .expect("created");
    let check = made.health_check().expect("always there").clone();
    assert!(made.location().ends_with(check.id()), "{}", made.location());
    let updated = client
        .update_health_check()
        .health_check_id(check.id())
        .health_check_version(1)
        .inverted(true)
        .send()
        .await
        .expect("updated");
    let updated = updated.health_check().expect("always there");
    assert_eq!(updated.health_check_version(), 2);
    assert_eq!(updated.health_check_config().and_then(|c| c.inverted()), Some(true));
    let late = client
        .update_health_check()
        .health_check_id(check.id())
        .health_check_version(1)
        .disabled(true)
        .send()
        .await
        .expect_err("stale");
    assert!(late.into_service_error().is_health_check_version_mismatch());
    let status = client.get_health_check_status().health_check_id(check.id()).send().await;
    assert_eq!(status.expect("read").health_check_observations().len(), 0, "nobody looked yet");
    let listed = client.list_health_checks().send().await.expect("listed");
    assert_eq!(listed.health_checks().len(), 5);
    let got = client.get_health_check().health_check_id(fixture::CHECK_CONTROL_USE1).send().await;
    let got = got.expect("there");
    let arn = got.health_check().and_then(|c| c.health_check_config()).and_then(|c| c.routing_control_arn());
    assert_eq!(arn, Some(fixture::CONTROL_USE1_ARN));
}

#[tokio::test]
async fn what_is_not_simulated_is_refused_by_name() {
    let (url, _) = serve_payments().await;
    let client = client(&url);
    let error = client.get_hosted_zone_count().send().await.expect_err("not simulated");
    assert_eq!(error.into_service_error().code(), Some("NotImplemented"));
}
