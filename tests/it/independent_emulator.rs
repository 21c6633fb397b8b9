//! `AwsCloud` against MiniStack, an emulator that nobody here wrote: what we believe about AWS's wire formats is
//! checked by somebody else's reading of them. What it models and what not: STACK.md 1.
//!
//! Needs `tests/emulator/setup.sh` to have been run; without it these tests fail and say so.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use failoverd::{
    adapters::aws::{AwsCloud, Options},
    domain::{
        application::ClusterArn,
        assessment::Assessment,
        cloud::{AlarmState, Datapoint, MetricQuery, Mutation, ObserveError, Outcome, RecordSet},
        id::Region,
        journal::Record,
    },
    ports::{Clock, Cloud as _, Observer},
};
use jiff::Timestamp;

use crate::support::ministack::{EAST, Emulator, READY_WITHIN, WEST};

#[derive(Debug)]
struct MachineClock(Instant);

#[async_trait]
impl Clock for MachineClock {
    fn boot(&self) -> Duration {
        self.0.elapsed()
    }

    fn wall(&self) -> Timestamp {
        jiff::Timestamp::now()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

#[derive(Debug, Default)]
struct Calls(Mutex<Vec<String>>);

impl Observer for Calls {
    fn recorded(&self, _: &Record, _: f64) {}

    fn assessed(&self, _: &Assessment) {}

    fn called(&self, service: &str, operation: &str, region: &str, outcome: &str, _: Timestamp) {
        let line = format!("{service}:{operation} {region} {outcome}");
        self.0.lock().expect("not poisoned").push(line);
    }
}

/// The adapter under test, and what it says it called.
fn cloud_of(emulator: &Emulator) -> (AwsCloud, Arc<Calls>) {
    let calls = Arc::new(Calls::default());
    let clock = Arc::new(MachineClock(Instant::now()));
    let observer = Arc::clone(&calls) as Arc<dyn Observer>;
    let cloud = AwsCloud::new(emulator.config(EAST), clock, observer, Options::default());
    (cloud, calls)
}

fn region(name: &str) -> Region {
    name.parse().expect("a Region")
}

fn accepted(outcome: Outcome) -> Option<String> {
    match outcome {
        Outcome::Accepted { handle, .. } => handle,
        other => panic!("not accepted: {other:?}"),
    }
}

#[tokio::test]
async fn the_writer_moves_by_switchover_and_by_failover() {
    let emulator = Emulator::start().await;
    let (east, west) = emulator.global_cluster().await;
    let (cloud, calls) = cloud_of(&emulator);
    for observer in [EAST, WEST] {
        let seen = cloud.global_cluster(&region(observer), "payments").await;
        let seen = seen.expect("described");
        assert!(seen.is_settled_on(&east), "from {observer}: {seen:?}");
        assert_eq!(seen.members.len(), 2, "{seen:?}");
        assert_eq!(seen.engine, "aurora-postgresql");
    }
    let cluster = cloud.db_cluster(&west).await.expect("described");
    assert_eq!((cluster.status.as_str(), cluster.instances), ("available", 0));
    accepted(
        cloud
            .apply(
                &Mutation::AuroraSwitchover {
                    region: region(EAST),
                    global_cluster: "payments".to_owned(),
                    target: west.clone(),
                },
                jiff::Timestamp::now(),
            )
            .await,
    );
    let seen = cloud.global_cluster(&region(WEST), "payments").await;
    assert!(seen.expect("described").is_settled_on(&west));
    accepted(
        cloud
            .apply(
                &Mutation::AuroraFailover {
                    region: region(EAST),
                    global_cluster: "payments".to_owned(),
                    target: east.clone(),
                },
                jiff::Timestamp::now(),
            )
            .await,
    );
    let seen = cloud.global_cluster(&region(EAST), "payments").await;
    assert!(seen.expect("described").is_settled_on(&east));
    let lines = calls.0.lock().expect("not poisoned").clone();
    assert!(lines.contains(&"rds:SwitchoverGlobalCluster us-east-1 ok".to_owned()), "{lines:?}");
    assert!(lines.contains(&"rds:FailoverGlobalCluster us-east-1 ok".to_owned()), "{lines:?}");
}

#[tokio::test]
async fn what_does_not_exist_is_not_found_and_mutations_of_it_are_rejected() {
    let emulator = Emulator::start().await;
    let (cloud, _) = cloud_of(&emulator);
    let nowhere: ClusterArn = "arn:aws:rds:us-west-2:123456789012:cluster:nowhere".parse().expect("an ARN");
    let not_found = |e: &ObserveError| matches!(e, ObserveError::NotFound { .. });
    let error = cloud.global_cluster(&region(EAST), "nothing").await;
    assert!(error.as_ref().is_err_and(not_found), "{error:?}");
    let error = cloud.db_cluster(&nowhere).await;
    assert!(error.as_ref().is_err_and(not_found), "{error:?}");
    let error = cloud.alarms(&region(EAST), &["nothing".to_owned()]).await.expect("read").remove(0);
    assert!(error.as_ref().is_err_and(not_found), "{error:?}");
    let error = cloud.record_sets("ZNOTHING", "app.example.com", "A").await;
    assert!(error.as_ref().is_err_and(not_found), "{error:?}");
    let error = cloud.change_is_insync("CNOTHING").await;
    assert!(error.as_ref().is_err_and(not_found), "{error:?}");
    let outcome = cloud
        .apply(
            &Mutation::AuroraFailover { region: region(WEST), global_cluster: "nothing".to_owned(), target: nowhere },
            jiff::Timestamp::now(),
        )
        .await;
    let Outcome::Rejected { code, .. } = outcome else { panic!("not rejected: {outcome:?}") };
    assert_eq!(code, "GlobalClusterNotFoundFault");
}

#[tokio::test]
async fn records_are_changed_and_the_change_is_followed() {
    let emulator = Emulator::start().await;
    let route53 = aws_sdk_route53::Client::new(&emulator.config(EAST));
    let zone =
        route53.create_hosted_zone().name("example.com").caller_reference("one").send().await.expect("hosted zone");
    let zone = zone.hosted_zone().expect("described").id().to_owned();
    let (cloud, _) = cloud_of(&emulator);
    let record = |name: &str, id: &str, weight, value: &str| RecordSet {
        name: name.to_owned(),
        record_type: "A".to_owned(),
        ttl_seconds: Some(30),
        values: vec![value.to_owned()],
        set_identifier: Some(id.to_owned()),
        failover: None,
        weight: Some(weight),
        health_check_id: None,
    };
    let east = record("app.example.com", "east", 100, "192.0.2.1");
    let west = record("app.example.com", "west", 0, "198.51.100.1");
    let other = record("zzz.example.com", "east", 1, "192.0.2.9");
    for records in [
        vec![east, west, other],
        vec![record("app.example.com", "east", 0, "192.0.2.1"), record("app.example.com", "west", 255, "198.51.100.1")],
    ] {
        let wanted: Vec<RecordSet> = records.iter().take(2).cloned().collect();
        let change = accepted(
            cloud
                .apply(
                    &Mutation::UpsertRecords { hosted_zone_id: zone.clone(), records, comment: "test".to_owned() },
                    jiff::Timestamp::now(),
                )
                .await,
        )
        .expect("a change id");
        assert!(!change.contains('/'), "{change}");
        let deadline = Instant::now() + READY_WITHIN;
        while !cloud.change_is_insync(&change).await.expect("followed") {
            assert!(Instant::now() < deadline, "never INSYNC");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let listed = cloud.record_sets(&zone, "app.example.com", "A").await;
        assert_eq!(listed.expect("listed"), wanted);
    }
    let none = cloud.record_sets(&zone, "app.example.com", "AAAA").await;
    assert_eq!(none, Ok(vec![]));
}

#[tokio::test]
async fn metrics_are_put_and_read_and_no_data_is_none() {
    let emulator = Emulator::start().await;
    let (cloud, _) = cloud_of(&emulator);
    let dimensions = BTreeMap::from([("Application".to_owned(), "payments".to_owned())]);
    let query = |metric: &str| MetricQuery {
        namespace: "Failoverd".to_owned(),
        metric: metric.to_owned(),
        dimensions: dimensions.clone(),
        statistic: "Maximum".to_owned(),
        period: Duration::from_secs(60),
    };
    accepted(
        cloud
            .apply(
                &Mutation::PutMetric {
                    region: region(WEST),
                    namespace: "Failoverd".to_owned(),
                    metric: "Divert".to_owned(),
                    dimensions: dimensions.clone(),
                    value: 1.5,
                },
                jiff::Timestamp::now(),
            )
            .await,
    );
    // More than one call takes (500), with the one that has data in the second.
    let mut queries: Vec<MetricQuery> = (0..501).map(|n| query(&format!("Absent{n}"))).collect();
    queries.push(query("Divert"));
    let window = Duration::from_secs(600);
    let read = cloud.metrics(&region(WEST), &queries, window).await.expect("read");
    assert_eq!(read.len(), queries.len());
    assert!(read[..501].iter().all(|answer| answer == &Ok(Vec::new())), "no data is an empty series");
    let values = |series: &Vec<Datapoint>| series.iter().map(|d| d.value).collect::<Vec<_>>();
    assert_eq!(read[501].as_ref().map(values), Ok(vec![1.5]));
    let elsewhere = cloud.metrics(&region(EAST), &[query("Divert")], window).await;
    assert_eq!(elsewhere, Ok(vec![Ok(Vec::new())]), "metrics are strictly regional");
}

#[tokio::test]
async fn alarms_are_read_by_name_composite_ones_too() {
    let emulator = Emulator::start().await;
    let client = aws_sdk_cloudwatch::Client::new(&emulator.config(EAST));
    client
        .put_metric_alarm()
        .alarm_name("errors")
        .namespace("App")
        .metric_name("Errors")
        .statistic("Sum".into())
        .period(60)
        .evaluation_periods(1)
        .threshold(1.0)
        .comparison_operator("GreaterThanThreshold".into())
        .send()
        .await
        .expect("metric alarm");
    client
        .put_composite_alarm()
        .alarm_name("all")
        .alarm_rule("ALARM(\"errors\")")
        .send()
        .await
        .expect("composite alarm");
    client
        .set_alarm_state()
        .alarm_name("errors")
        .state_value("ALARM".into())
        .state_reason("test")
        .send()
        .await
        .expect("state");
    let (cloud, _) = cloud_of(&emulator);
    let names = ["all".to_owned(), "errors".to_owned()];
    let states = cloud.alarms(&region(EAST), &names).await.expect("read");
    assert_eq!(states[1].as_ref().map(|alarm| alarm.state), Ok(AlarmState::Alarm));
    assert_eq!(states.len(), 2, "the composite alarm is found, whatever it says");
}

#[tokio::test]
async fn topics_are_published_to_in_their_own_region() {
    let emulator = Emulator::start().await;
    let sns = aws_sdk_sns::Client::new(&emulator.config(WEST));
    let topic = sns.create_topic().name("alerts").send().await.expect("topic");
    let topic = topic.topic_arn().expect("an ARN").to_owned();
    let (cloud, _) = cloud_of(&emulator);
    let publish = |region: Region| Mutation::Publish {
        region,
        topic_arn: topic.clone(),
        subject: "failover".to_owned(),
        message: "{}".to_owned(),
    };
    let message = accepted(cloud.apply(&publish(region(WEST)), jiff::Timestamp::now()).await);
    assert!(message.is_some_and(|id| !id.is_empty()));
    let elsewhere = cloud.apply(&publish(region(EAST)), jiff::Timestamp::now()).await;
    assert!(matches!(elsewhere, Outcome::NotSent { .. }), "{elsewhere:?}");
}
