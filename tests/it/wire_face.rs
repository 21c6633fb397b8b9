//! The wire face against clients that nobody here wrote: boto3, the aws command line, and the Rust SDKs.
//!
//! boto3's part checks every raw answer against AWS's own service models (tests/wire/). The virtual environment is
//! made on first use by tests/wire/setup.sh.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use aws_credential_types::Credentials;
use aws_sdk_rds::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_async::time::StaticTimeSource;
use aws_smithy_types::{DateTime, retry::RetryConfig, timeout::TimeoutConfig};
use aws_types::{SdkConfig, region::Region};
use failoverd::sim::{
    wire::{Fault, ManualClock, Options, Point, Release, Running, Target, start},
    world::{
        Plane, Reach, SimTime,
        route53::fixture::{self, PaymentsTraffic},
        scenario,
    },
};

/// 2026-11-21T00:00:00Z.
const START: SimTime = SimTime(1_795_219_200_000);
const WEST_ARN: &str = "arn:aws:rds:us-west-2:123456789012:cluster:payments-usw2";

struct Aws {
    running: Running,
    clock: ManualClock,
}

impl Aws {
    async fn start(name: &str) -> Self {
        Self::start_with(name, |_| ()).await
    }

    async fn start_with(name: &str, change: impl FnOnce(&mut Options)) -> Self {
        let clock = ManualClock::new(START);
        let world = scenario::payments(7, START, &PaymentsTraffic::default());
        let shown = clock.clone();
        let mut options = Options::loopback(world, std::sync::Arc::new(move || shown.now()));
        options.manual = Some(clock.clone());
        change(&mut options);
        let running = start(options).await.unwrap_or_else(|e| panic!("{name}: the simulated AWS does not start: {e}"));
        Self { running, clock }
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance_ms(seconds * 1_000);
        self.running.world.with(|_| ());
    }

    fn config(&self, region: &'static str) -> SdkConfig {
        SdkConfig::builder()
            .behavior_version(aws_config::BehaviorVersion::v2026_01_12())
            .region(Region::from_static(region))
            .endpoint_url(self.running.aws_url.clone())
            .credentials_provider(aws_credential_types::provider::SharedCredentialsProvider::new(
                Credentials::for_tests(),
            ))
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().operation_timeout(Duration::from_secs(5)).build())
            .build()
    }
}

/// Waits for a real server on a real socket.
#[expect(clippy::disallowed_methods, reason = "a test polls the outside in wall time")]
async fn wall_sleep(how_long: Duration) {
    tokio::time::sleep(how_long).await;
}

/// Runs a script away from the async threads; a failure is this test's own.
async fn script(mut command: Command) -> Output {
    let done = tokio::task::spawn_blocking(move || run(&mut command)).await;
    done.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()))
}

/// Runs a command, and fails with everything that it said.
fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?} does not start: {e}"));
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} failed:\n{said}");
    output
}

pub(crate) fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire")
}

/// The virtual environment with the pinned clients; made once, by one test at a time.
pub(crate) async fn venv() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wire-venv");
    let path = directory.clone();
    let made = tokio::task::spawn_blocking(move || {
        let lock = std::fs::File::create(directory.with_extension("lock")).expect("a lock file");
        lock.lock().expect("locks");
        run(Command::new("sh").arg(scripts().join("setup.sh")).arg(&directory));
    });
    made.await.expect("tests/wire/setup.sh makes the environment (see its output above)");
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_gets_from_every_operation_what_the_service_models_promise() {
    let venv = venv().await;
    let aws = Aws::start("boto3").await;
    let mut command = Command::new(venv.join("bin/python"));
    command.arg(scripts().join("conformance.py")).arg(&aws.running.aws_url);
    command.env("PYTHONPATH", scripts()).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = script(command).await;
    print!("{}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_aws_command_line_switches_over_fails_over_and_flips_records() {
    let venv = venv().await;
    let aws = Aws::start("aws command line").await;
    let mut command = Command::new("sh");
    command.arg(scripts().join("aws_cli.sh")).arg(&aws.running.aws_url).arg(venv);
    script(command).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rust_sdks_speak_to_every_service() {
    let aws = Aws::start("rust sdk").await;
    let (east, west) = (aws.config("us-east-1"), aws.config("us-west-2"));
    let rds = aws_sdk_rds::Client::new(&east);
    let started = rds
        .switchover_global_cluster()
        .global_cluster_identifier("payments")
        .target_db_cluster_identifier(WEST_ARN)
        .send()
        .await
        .expect("switchover");
    let cluster = started.global_cluster().expect("a cluster");
    assert_eq!(cluster.status(), Some("switching-over"));
    aws.advance(600);
    let found = aws_sdk_rds::Client::new(&west).describe_global_clusters().send().await;
    let found = found.expect("describe");
    let writer = found.global_clusters()[0].global_cluster_members().iter();
    let writer: Vec<_> = writer.filter(|m| m.is_writer() == Some(true)).collect();
    assert_eq!(writer[0].db_cluster_arn(), Some(WEST_ARN));

    route53_and_arc(&aws).await;
    cloudwatch_over_cbor(&aws).await;

    let sns = aws_sdk_sns::Client::new(&west);
    let topic = "arn:aws:sns:us-west-2:123456789012:payments-alerts";
    let sent = sns.publish().topic_arn(topic).subject("s").message("<m>").send().await;
    assert!(sent.expect("publish").message_id().is_some());
    let elsewhere = aws_sdk_sns::Client::new(&east).publish().topic_arn(topic).message("m");
    let refused = elsewhere.send().await.expect_err("another Region's topic");
    assert_eq!(refused.code(), Some("InvalidParameter"));
    aws.running.stop().await;
}

async fn route53_and_arc(aws: &Aws) {
    use aws_sdk_route53::types;
    let route53 = aws_sdk_route53::Client::new(&aws.config("us-west-2"));
    let value = types::ResourceRecord::builder().value("192.0.2.9").build();
    let record = types::ResourceRecordSet::builder()
        .name("sdk.payments.example.com")
        .r#type(types::RrType::A)
        .ttl(5)
        .resource_records(value.expect("valid"));
    let change = types::Change::builder()
        .action(types::ChangeAction::Upsert)
        .resource_record_set(record.build().expect("valid"));
    let batch = types::ChangeBatch::builder().changes(change.build().expect("valid"));
    let changed = route53
        .change_resource_record_sets()
        .hosted_zone_id(fixture::ZONE_ID)
        .change_batch(batch.build().expect("valid"))
        .send()
        .await
        .expect("change");
    let info = changed.change_info().expect("its state");
    assert_eq!(info.status(), &types::ChangeStatus::Pending);
    aws.advance(300);
    let change = route53.get_change().id(info.id()).send().await.expect("its state");
    let info = change.change_info().expect("its state");
    assert_eq!(info.status(), &types::ChangeStatus::Insync);

    use aws_sdk_route53recoverycluster::types::RoutingControlState;
    let arc = aws_sdk_route53recoverycluster::Client::new(&aws.config("us-west-2"));
    let update = arc
        .update_routing_control_state()
        .routing_control_arn(fixture::CONTROL_USW2_ARN)
        .routing_control_state(RoutingControlState::On);
    update.send().await.expect("update");
    let state = arc.get_routing_control_state().routing_control_arn(fixture::CONTROL_USW2_ARN);
    let state = state.send().await.expect("read");
    assert_eq!(state.routing_control_state(), &RoutingControlState::On);
}

async fn cloudwatch_over_cbor(aws: &Aws) {
    use aws_sdk_cloudwatch::types;
    let client = aws_sdk_cloudwatch::Client::new(&aws.config("us-west-2"));
    let datum = types::MetricDatum::builder().metric_name("Flip").value(1.0).build();
    client.put_metric_data().namespace("Failoverd").metric_data(datum).send().await.expect("put");
    aws.advance(120);
    let metric = |name: &str| {
        let metric = types::Metric::builder().namespace("Failoverd").metric_name(name).build();
        let stat = types::MetricStat::builder().metric(metric).period(60).stat("Sum").build();
        types::MetricDataQuery::builder().id(name.to_lowercase()).metric_stat(stat).build()
    };
    let now = i64::try_from(aws.clock.now().0 / 1_000).expect("this century");
    let read = client
        .get_metric_data()
        .metric_data_queries(metric("Flip"))
        .metric_data_queries(metric("Absent"))
        .start_time(DateTime::from_secs(now - 900))
        .end_time(DateTime::from_secs(now))
        .send()
        .await
        .expect("get");
    let results = read.metric_data_results();
    assert_eq!(results[0].values(), [1.0]);
    assert_eq!(results[1].values(), [] as [f64; 0]);
    assert_eq!(results[1].status_code(), Some(&types::StatusCode::Complete));
    let refused = client
        .get_metric_data()
        .set_metric_data_queries(Some(vec![metric("Flip"); 501]))
        .start_time(DateTime::from_secs(now - 900))
        .end_time(DateTime::from_secs(now))
        .send()
        .await
        .expect_err("too many");
    assert_eq!(refused.code(), Some("ValidationError"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_region_hangs_and_a_lost_answer_hides_an_effect() {
    let aws = Aws::start("faults").await;
    let west = aws_sdk_rds::Client::new(&aws.config("us-west-2"));
    let east = "us-east-1".parse().expect("valid");
    aws.running.world.with(|world| world.lose_region(&east));
    let lost = aws_sdk_rds::Client::new(&aws.config("us-east-1"));
    let hung = lost.describe_global_clusters().send().await.expect_err("it is lost");
    assert!(matches!(hung, SdkError::TimeoutError(_)), "{hung:?}");

    let target = Target { operation: Some("FailoverGlobalCluster".to_owned()), ..Target::default() };
    aws.running.faults.arm(target, Fault::ReplyLostAfter, 1);
    let failover = || {
        west.failover_global_cluster()
            .global_cluster_identifier("payments")
            .target_db_cluster_identifier(WEST_ARN)
            .allow_data_loss(true)
            .send()
    };
    let unknown = failover().await.expect_err("the answer is lost");
    assert!(matches!(unknown, SdkError::DispatchFailure(_)), "{unknown:?}");
    let again = failover().await.expect_err("it is at work");
    assert_eq!(again.code(), Some("InvalidGlobalClusterStateFault"));
    let effects = aws.running.requests.effects();
    assert_eq!(effects.values().sum::<u64>(), 1, "{effects:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_stops_at_a_barrier_before_and_after_its_effect() {
    let aws = Aws::start("barriers").await;
    let topic = "arn:aws:sns:us-west-2:123456789012:payments-alerts";
    for (point, effects) in [(Point::BeforeEffect, 0), (Point::AfterEffectBeforeAnswer, 1), (Point::AfterAnswer, 1)] {
        let sns = aws_sdk_sns::Client::new(&aws.config("us-west-2"));
        let before = aws.running.world.with(|w| w.sns.delivered.len());
        let id = aws.running.barriers.set(Target::default(), point);
        let publishing = tokio::spawn(sns.publish().topic_arn(topic).message("m").send());
        let seen = aws.running.barriers.wait_reached(Duration::from_secs(5)).await;
        assert!(seen[0].reached, "{point:?} is never reached");
        let after = aws.running.world.with(|w| w.sns.delivered.len());
        assert_eq!(after - before, effects, "{point:?}");
        if point == Point::AfterAnswer {
            tokio::time::timeout(Duration::from_secs(5), publishing)
                .await
                .expect("answered")
                .expect("no panic")
                .expect("published");
            let next = tokio::spawn(sns.list_topics().send());
            wall_sleep(Duration::from_millis(100)).await;
            assert!(!next.is_finished(), "later calls wait");
            assert!(aws.running.barriers.release(id, Release::GoOn));
            next.await.expect("no panic").expect("released");
        } else {
            assert!(!publishing.is_finished());
            assert!(aws.running.barriers.release(id, Release::GoOn));
            publishing.await.expect("no panic").expect("published");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_client_is_gone_still_lands_unless_it_is_dropped() {
    let aws = Aws::start("late").await;
    let topic = "arn:aws:sns:us-west-2:123456789012:payments-alerts";
    for (how, effects) in [(Release::Drop, 0), (Release::GoOn, 1)] {
        let sns = aws_sdk_sns::Client::new(&aws.config("us-west-2"));
        let id = aws.running.barriers.set(Target::default(), Point::BeforeEffect);
        let publishing = tokio::spawn(sns.publish().topic_arn(topic).message("m").send());
        let seen = aws.running.barriers.wait_reached(Duration::from_secs(5)).await;
        assert!(seen[0].reached);
        publishing.abort();
        assert!(publishing.await.expect_err("aborted").is_cancelled());
        let recorded = || aws.running.requests.all().len();
        let before = recorded();
        assert!(aws.running.barriers.release(id, how));
        let settled = async {
            while recorded() == before {
                wall_sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), settled).await.expect("it settles");
        let delivered = aws.running.world.with(|w| w.sns.delivered.len());
        assert_eq!(delivered, effects, "{how:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_was_signed_long_ago_is_refused() {
    let aws = Aws::start_with("signing", |options| options.enforce_signing_time = true).await;
    // The SDK signs with this machine's time, which is not the world's.
    let rds = aws_sdk_rds::Client::new(&aws.config("us-west-2"));
    let refused = rds.describe_global_clusters().send().await.expect_err("another time");
    assert_eq!(refused.code(), Some("SignatureDoesNotMatch"));
    // One whose time source shows world time is let in: that is how the daemon shares the demo's clock.
    let signed_at = |ms: u64| {
        let at = std::time::UNIX_EPOCH + Duration::from_millis(ms);
        let config = aws.config("us-west-2").into_builder();
        let config = config.time_source(StaticTimeSource::new(at)).build();
        aws_sdk_rds::Client::new(&config).describe_global_clusters().send()
    };
    signed_at(START.0 + 60_000).await.expect("in time");
    let late = signed_at(START.0 - 301_000).await.expect_err("too old");
    assert_eq!(late.code(), Some("SignatureDoesNotMatch"));
}

/// The addresses that the simulated authoritative name server gives for the application's name, over UDP.
async fn resolve(aws: &Aws) -> Vec<String> {
    use hickory_proto::{
        op::{Message, Query},
        rr::{Name, RecordType},
    };
    let socket = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let socket = socket.expect("a socket");
    let name: Name = fixture::RECORD_NAME.parse().expect("a name");
    let mut query = Message::query();
    query.add_query(Query::query(name, RecordType::A));
    let query = query.to_vec().expect("encodes");
    socket.send_to(&query, aws.running.dns_addr).await.expect("sent");
    let mut reply = vec![0; 1_500];
    let received = tokio::time::timeout(Duration::from_secs(5), socket.recv(&mut reply)).await;
    let length = received.expect("an answer").expect("received");
    let reply = Message::from_vec(&reply[..length]).expect("decodes");
    reply.answers.iter().map(|r| r.data.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_region_is_survived_over_the_wire_and_the_ledger_tells_the_price() {
    use aws_sdk_route53recoverycluster::types::{RoutingControlState, UpdateRoutingControlStateEntry};
    let aws = Aws::start("story").await;
    aws.advance(120);
    assert_eq!(resolve(&aws).await, ["127.0.11.1"]);
    let east = "us-east-1".parse().expect("valid");
    aws.running.world.with(|world| world.lose_region(&east));
    aws.advance(30);

    let config = aws.config("us-west-2");
    let rds = aws_sdk_rds::Client::new(&config);
    rds.failover_global_cluster()
        .global_cluster_identifier("payments")
        .target_db_cluster_identifier(WEST_ARN)
        .allow_data_loss(true)
        .send()
        .await
        .expect("failover");
    let mut promoted = false;
    for _ in 0..200 {
        aws.advance(5);
        let found = rds.describe_global_clusters().send().await.expect("read");
        let global = &found.global_clusters()[0];
        let west = |m: &aws_sdk_rds::types::GlobalClusterMember| {
            m.db_cluster_arn() == Some(WEST_ARN) && m.is_writer() == Some(true)
        };
        let writes = global.global_cluster_members().iter().any(west);
        promoted = global.status() == Some("available")
            && global.failover_state().is_none_or(|s| s.status().is_none())
            && writes;
        if promoted {
            break;
        }
    }
    assert!(promoted, "the standby is never promoted");
    let entry = |arn, state| {
        let entry = UpdateRoutingControlStateEntry::builder();
        let entry = entry.routing_control_arn(arn).routing_control_state(state);
        entry.build().expect("valid")
    };
    aws_sdk_route53recoverycluster::Client::new(&config)
        .update_routing_control_states()
        .update_routing_control_state_entries(entry(fixture::CONTROL_USE1_ARN, RoutingControlState::Off))
        .update_routing_control_state_entries(entry(fixture::CONTROL_USW2_ARN, RoutingControlState::On))
        .send()
        .await
        .expect("flip");
    aws.advance(180);
    assert_eq!(resolve(&aws).await, ["127.0.12.1"]);
    let state: serde_json::Value = reqwest::get(format!("{}/_sim/state", aws.running.aws_url))
        .await
        .expect("it answers")
        .json()
        .await
        .expect("JSON");
    let ledger = &state["ledger"];
    assert!(ledger["served_again_at_ms"].is_u64(), "{ledger}");
    assert!(ledger["failed_seconds"].as_f64().expect("a number") > 30.0, "{ledger}");
    assert!(ledger["writes_acknowledged"].as_u64() > ledger["writes_lost"].as_u64(), "{ledger}");
    assert_eq!(state["global_clusters"][0]["writer_region"], "us-west-2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_application_answers_at_its_addresses_and_its_name_leads_there() {
    let aws = Aws::start("endpoints").await;
    let http = reqwest::Client::builder().timeout(Duration::from_secs(2)).build().expect("a client");
    let health =
        |address: Ipv4Addr| http.get(format!("http://{address}:{}/healthz", aws.running.endpoints_port)).send();
    let (east, west) = (fixture::PRIMARY_ADDRESS, fixture::SECONDARY_ADDRESS);
    let answer = health(east).await.expect("it is up");
    assert_eq!(answer.status(), 200);
    let body: serde_json::Value = answer.json().await.expect("JSON");
    assert_eq!((&body["region"], &body["writer"]), (&"us-east-1".into(), &true.into()));
    let region = "us-east-1".parse().expect("valid");
    aws.running.world.with(|w| w.set_plane(Plane::Application, &region, Reach::Unavailable));
    assert_eq!(health(east).await.expect("it answers").status(), 503);
    aws.running.world.with(|w| w.lose_region(&region));
    assert!(health(east).await.expect_err("it is lost").is_timeout());
    assert_eq!(health(west).await.expect("it is up").status(), 200);
}
