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
