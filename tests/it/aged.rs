//! Whether AWS refuses old signatures: asked by the real SDK of the simulated AWS, of an emulator that nobody here wrote,
//! and of nobody.

use std::{collections::BTreeSet, sync::Arc};

use failoverd::{
    adapters::{aws, clock::SystemClock},
    domain::{
        api_call::{ApiCall, Lists, Wire},
        application::ClusterEndpoint,
        assessment::Assessment,
        cloud::{Mutation, Outcome},
        journal::Record,
        signature::{AgeAnswer, Aged, Family},
    },
    ports::{Cloud as _, Observer},
    sim::{
        wire::{Options, Running, start},
        world::{
            SimTime,
            route53::fixture::{self, PaymentsTraffic},
            scenario,
        },
    },
};

use crate::support::{ministack, region, scene};

#[derive(Debug)]
struct Nobody;

impl Observer for Nobody {
    fn recorded(&self, _: &Record, _: f64) {}

    fn assessed(&self, _: &Assessment) {}

    fn called(&self, _: &str, _: &str, _: &str, _: &str, _: jiff::Timestamp) {}
}

fn now() -> SimTime {
    SimTime(u64::try_from(jiff::Timestamp::now().as_millisecond()).expect("after 1970"))
}

async fn simulated(enforce_signing_time: bool) -> Running {
    let world = scenario::payments(7, now(), &PaymentsTraffic::default());
    let options = Options { enforce_signing_time, ..Options::loopback(world, Arc::new(now)) };
    start(options).await.expect("the simulated AWS starts")
}

fn cloud(config: impl FnOnce(Arc<SystemClock>, &aws::Options) -> aws_config::SdkConfig) -> aws::AwsCloud {
    let (clock, options) = (Arc::new(SystemClock), aws::Options::default());
    aws::AwsCloud::new(config(clock.clone(), &options), clock, Arc::new(Nobody), options)
}

/// One of each family; routing controls at `arc`.
fn questions(arc: &str) -> Vec<Aged> {
    let west = region("us-west-2");
    let endpoints = vec![ClusterEndpoint { region: west.clone(), url: arc.to_owned() }];
    let wire = Wire::Query { version: "2011-06-15".to_owned(), lists: Lists::Member };
    let operation = "sts:GetCallerIdentity".to_owned();
    let arguments = serde_json::json!({});
    vec![
        Aged::Rds { region: west.clone(), global_cluster: "payments".to_owned() },
        Aged::Route53 {
            hosted_zone_id: fixture::ZONE_ID.to_owned(),
            name: fixture::RECORD_NAME.to_owned(),
            record_type: "A".to_owned(),
        },
        Aged::RoutingControls { endpoints, arn: fixture::CONTROL_USW2_ARN.to_owned() },
        Aged::CloudWatch { region: west.clone() },
        Aged::Sns { region: west.clone() },
        Aged::S3 { region: west.clone(), bucket: fixture::OBJECT_BUCKET.to_owned() },
        Aged::Written(ApiCall { operation, region: west, wire, arguments, role_arn: None, handle: None }),
    ]
}

#[test]
fn every_family_is_asked_here() {
    let asked: BTreeSet<Family> = questions("http://127.0.0.1:1").iter().map(Aged::family).collect();
    assert_eq!(asked, Family::ALL.into_iter().collect());
    // What the payments application changes something at is asked where it stands, the standby's Region first.
    let of_payments = Aged::questions(&scene::application());
    let families: BTreeSet<Family> = of_payments.iter().map(Aged::family).collect();
    assert!(families.contains(&Family::Rds) && families.contains(&Family::Sns) && families.contains(&Family::Written));
    assert!(matches!(&of_payments[0], Aged::Rds { region: first, .. } if *first == region("us-west-2")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_simulated_aws_refuses_an_old_signature_at_every_service_and_takes_a_new_one() {
    let world = simulated(true).await;
    let cloud = cloud(|clock, options| aws::simulated_sdk_config(&world.aws_url, clock, options));
    for question in questions(&world.aws_url) {
        let answer = cloud.aged(&question).await;
        let Ok(AgeAnswer::Refused { code }) = &answer else { panic!("{question:?}: {answer:?}") };
        let is_s3 = question.family() == Family::S3;
        assert_eq!(code == "RequestTimeTooSkewed", is_s3, "{code}");
    }
    cloud.global_cluster(&region("us-west-2"), "payments").await.expect("signed now");
    world.stop().await;
}

/// The SDK measures the clock by its answers, and would sign the next call as much later as this one was old.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_refused_as_too_old_makes_no_later_call_younger() {
    let world = simulated(true).await;
    let cloud = cloud(|clock, options| aws::simulated_sdk_config(&world.aws_url, clock, options));
    let publish = Mutation::Publish {
        region: region("us-west-2"),
        topic_arn: "arn:aws:sns:us-west-2:123456789012:payments-alerts".to_owned(),
        subject: "late".to_owned(),
        message: "m".to_owned(),
    };
    let is_unsent = |outcome: &Outcome| matches!(outcome, Outcome::NotSent { reason } if reason.contains("too old"));
    for _ in 0..3 {
        let old = cloud.apply(&publish, jiff::Timestamp::now() - jiff::SignedDuration::from_mins(6)).await;
        assert!(is_unsent(&old), "{old:?}");
    }
    let new = cloud.apply(&publish, jiff::Timestamp::now()).await;
    assert!(matches!(new, Outcome::Accepted { .. }), "{new:?}");
    // A call that took its time is as old as it is, and teaches nothing either.
    let slow = cloud.apply(&publish, jiff::Timestamp::now() - jiff::SignedDuration::from_secs(200)).await;
    assert!(matches!(slow, Outcome::Accepted { .. }), "{slow:?}");
    let old = cloud.apply(&publish, jiff::Timestamp::now() - jiff::SignedDuration::from_mins(6)).await;
    assert!(is_unsent(&old), "{old:?}");
    assert_eq!(world.world.with(|w| w.sns.delivered.len()), 2);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_looks_at_ages_the_signature_is_taken() {
    let world = simulated(false).await;
    let cloud = cloud(|clock, options| aws::simulated_sdk_config(&world.aws_url, clock, options));
    for question in questions(&world.aws_url) {
        assert_eq!(cloud.aged(&question).await, Ok(AgeAnswer::Taken), "{question:?}");
    }
    world.stop().await;
}

#[tokio::test]
async fn an_independent_emulator_takes_old_signatures() {
    let emulator = ministack::Emulator::start().await;
    let cloud = cloud(|_, _| emulator.config(ministack::WEST));
    for question in questions(&emulator.url) {
        // It has no routing controls, and says so to nobody that it knows.
        if question.family() != Family::RoutingControls {
            assert_eq!(cloud.aged(&question).await, Ok(AgeAnswer::Taken), "{question:?}");
        }
    }
}

#[tokio::test]
async fn silence_is_no_answer() {
    let nobody = "http://127.0.0.1:1";
    let cloud = cloud(|clock, options| aws::simulated_sdk_config(nobody, clock, options));
    for question in questions(nobody) {
        let answer = cloud.aged(&question).await;
        assert!(answer.is_err(), "{question:?}: {answer:?}");
    }
}
