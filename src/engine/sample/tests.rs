//! Samples taken of the simulated world, in virtual time: what each source says, and when it says nothing.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use super::*;
use crate::{
    config::Settings,
    sim::{
        port::{Faults, LiveWorld, SimClock, SimCloud, SimProbes},
        world::{
            Plane, Reach, SimTime, World,
            cloudwatch::{self, AlarmSpec, Comparison, DelayMs, MetricKey, Statistic, TreatMissing},
            route53::fixture::PaymentsTraffic,
            scenario,
        },
    },
};

const START: SimTime = SimTime(1_795_000_200_000);

struct Scene {
    application: Application,
    world: LiveWorld,
    clock: Arc<SimClock>,
    cloud: Arc<SimCloud>,
    probes: SimProbes,
    readings: MetricReader,
}

/// The example of config/default.toml over the world `payments`, with these signals and stores.
fn application(signals: &str, stores: &str) -> Application {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/default.toml"));
    let text = text.expect("ships").replace("example-us", "payments-us").replace("= \"example\"", "= \"payments\"");
    let (before, rest) = text.split_once("[applications.signals.orders-lag]").expect("has signals");
    let (_, after) = rest.split_once("# Where each Region's servers").expect("has endpoints");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("failoverd.toml");
    std::fs::write(&path, format!("{before}{stores}\n{signals}\n#{after}")).expect("written");
    let settings = Settings::load(&path, &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults}"));
    settings.applications[0].clone()
}

/// One signal, `it`.
fn scene(signal: &str) -> Scene {
    scene_with(signal, "")
}

fn scene_with(signal: &str, stores: &str) -> Scene {
    let signals = format!("[applications.signals.it]\nrole = \"trigger\"\n{signal}");
    let application = application(&signals, stores);
    let mut world = scenario::payments(1, START, &PaymentsTraffic::default());
    world.cloudwatch.publication.aws = Some(DelayMs { min: 0, max: 0 });
    let at = i64::try_from(START.0).expect("fits");
    let clock = Arc::new(SimClock::starting_at(Timestamp::from_millisecond(at).expect("in range")));
    let world = LiveWorld::new(Arc::new(Mutex::new(world)), clock.clone());
    let cloud = Arc::new(SimCloud::new(world.clone(), Faults::seeded(1)));
    let readings = MetricReader::new(cloud.clone(), clock.clone());
    Scene { application, clock, cloud, probes: SimProbes::new(world.clone()), readings, world }
}

impl Scene {
    async fn pass(&self, seconds: u64) {
        self.clock.sleep(Duration::from_secs(seconds)).await;
        self.world.now(|_| ());
    }

    async fn take(&self, sight: &Sight) -> Sample {
        let senses = Senses {
            application: &self.application,
            readings: &self.readings,
            cloud: &*self.cloud,
            probes: &self.probes,
            clock: &*self.clock,
            pulses: &BTreeMap::new(),
        };
        sample(senses, sight, &self.application.signals[0]).await
    }

    /// What the signal says while the application is active in us-east-1; `+` healthy, `-` ill, a lag, or `? why`.
    async fn says(&self) -> String {
        let sample = self.take(&active_in_the_east()).await;
        match sample.reading {
            Reading::Healthy { .. } => "+".to_owned(),
            Reading::Unhealthy { .. } => "-".to_owned(),
            Reading::Lag { lag } => format!("{} s", lag.as_secs_f64()),
            Reading::Missing { why } => format!("? {why}"),
        }
    }

    /// A datapoint of AWS's own, published at once.
    fn put(&self, region: &str, (namespace, metric): (&str, &str), dimensions: &[(&str, &str)], value: f64) {
        let region: Region = region.parse().expect("a Region");
        self.world.now(|world| {
            let at = world.now;
            world.with_cloudwatch(|cw, ctx| cw.record(&region, namespace, metric, dimensions, at, value, ctx));
        });
    }

    fn alarm(&self, namespace: &str, missing: TreatMissing, state: cloudwatch::AlarmState) {
        let east: Region = "us-east-1".parse().expect("a Region");
        let spec = AlarmSpec {
            name: "errors".to_owned(),
            description: None,
            key: MetricKey::new(namespace, "Errors", std::iter::empty::<(&str, &str)>()),
            statistic: Statistic::Sum,
            period_seconds: 60,
            evaluation_periods: 1,
            datapoints_to_alarm: 1,
            comparison: Comparison::Greater,
            threshold: 5.0,
            treat_missing: missing,
            unit: None,
            actions: Vec::new(),
            actions_enabled: false,
        };
        self.world.now(|world| {
            let now = world.now;
            world.cloudwatch.put_alarm(&east, spec, now).expect("a spec");
            world.cloudwatch.set_alarm_state(&east, "errors", (state, "test"), now).expect("there");
        });
    }
}

fn active_in_the_east() -> Sight {
    let east: Region = "us-east-1".parse().expect("a Region");
    let store: StoreName = "orders".parse().expect("a name");
    Sight { writers: BTreeMap::from([(store, east.clone())]), active: Some(east), belief: Belief::None, last: None }
}

const ALARM: &str = "kind = \"alarm\"\nregion = \"us-east-1\"\nof = \"us-east-1\"\nalarm_name = \"errors\"";

#[tokio::test(start_paused = true)]
async fn an_alarm_that_takes_silence_for_a_state_is_evidence_only_with_data_behind_it() {
    use TreatMissing as T;
    use cloudwatch::AlarmState::{Alarm, InsufficientData, Ok};
    // Namespace, how missing data are treated, the state; without data, and with data.
    let rows = [
        ("App", T::Missing, Ok, "+", "+"),
        ("App", T::Missing, Alarm, "-", "-"),
        ("App", T::NotBreaching, Ok, "?", "+"),
        ("App", T::NotBreaching, Alarm, "-", "-"),
        ("App", T::Breaching, Ok, "+", "+"),
        ("App", T::Breaching, Alarm, "?", "-"),
        ("App", T::Ignore, Ok, "?", "+"),
        ("App", T::Missing, InsufficientData, "?", "?"),
        // Whatever is set: alarms on DynamoDB ignore missing data.
        ("AWS/DynamoDB", T::Missing, Ok, "?", "+"),
    ];
    for (namespace, missing, state, without, with) in rows {
        let scene = scene(ALARM);
        scene.alarm(namespace, missing, state);
        let says = scene.says().await;
        assert!(says.starts_with(without), "{namespace} {missing:?} {state:?} without data: {says}");
        scene.put("us-east-1", (namespace, "Errors"), &[], 1.0);
        scene.alarm(namespace, missing, state);
        let says = scene.says().await;
        assert!(says.starts_with(with), "{namespace} {missing:?} {state:?} with data: {says}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_alarm_that_ignores_missing_data_went_to_alarm_by_data_and_is_as_old_as_they_are() {
    let scene = scene(ALARM);
    scene.alarm("AWS/DynamoDB", TreatMissing::Missing, cloudwatch::AlarmState::Alarm);
    let since = scene.clock.wall();
    scene.pass(1_200).await;
    let sample = scene.take(&active_in_the_east()).await;
    assert!(matches!(sample.reading, Reading::Unhealthy { .. }), "{sample:?}");
    assert_eq!(sample.measured_at, since, "twenty minutes old: stale by any freshness that an alarm has");
}

#[tokio::test(start_paused = true)]
async fn an_alarm_that_does_not_exist_is_missing() {
    let says = scene(ALARM).says().await;
    assert!(says.starts_with('?') && says.contains("errors"), "{says}");
}

const TABLE: &str = "[applications.stores.sessions]\nkind = \"dynamodb\"\ntable = \"sessions\"\n";

#[tokio::test(start_paused = true)]
async fn the_lag_of_a_table_is_read_where_it_is_written_and_its_silence_is_unknown() {
    let scene = scene_with("kind = \"dynamodb_lag\"\nstore = \"sessions\"", TABLE);
    let says = scene.says().await;
    assert!(says.starts_with('?') && says.contains("only when something is written"), "{says}");
    let of = |receiving| [("TableName", "sessions"), ("ReceivingRegion", receiving)];
    scene.put("us-west-2", ("AWS/DynamoDB", "ReplicationLatency"), &of("us-east-1"), 50.0);
    assert!(scene.says().await.starts_with('?'), "the way back says nothing of what is written here");
    scene.put("us-east-1", ("AWS/DynamoDB", "ReplicationLatency"), &of("us-west-2"), 900.0);
    assert_eq!(scene.says().await, "0.9 s");
    let nowhere = Sight { active: None, ..active_in_the_east() };
    assert!(matches!(scene.take(&nowhere).await.reading, Reading::Missing { .. }));
}

const BUCKETS: &str = r#"
[applications.stores.audit]
kind = "s3"
buckets = { us-east-1 = "audit-use1", us-west-2 = "audit-usw2" }
rules = [{ from = "us-east-1", to = "us-west-2", rule_id = "all" }]
"#;
const RULE: [(&str, &str); 3] =
    [("SourceBucket", "audit-use1"), ("DestinationBucket", "audit-usw2"), ("RuleId", "all")];

#[tokio::test(start_paused = true)]
async fn the_lag_of_a_bucket_is_in_seconds_and_read_where_it_arrives() {
    let scene = scene_with("kind = \"s3_lag\"\nstore = \"audit\"", BUCKETS);
    scene.put("us-east-1", ("AWS/S3", "ReplicationLatency"), &RULE, 1.0);
    assert!(scene.says().await.starts_with('?'));
    scene.put("us-west-2", ("AWS/S3", "ReplicationLatency"), &RULE, 950.0);
    assert_eq!(scene.says().await, "950 s");
    let back = Sight { active: Some("us-west-2".parse().expect("a Region")), ..active_in_the_east() };
    let Reading::Missing { why } = scene.take(&back).await.reading else { panic!("no rule leads back") };
    assert!(why.contains("nothing of audit is replicated from us-west-2"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn what_waits_to_be_replicated_is_held_against_a_threshold() {
    let scene = scene_with("kind = \"s3_pending_bytes\"\nstore = \"audit\"\nunhealthy = \"> 1000000\"", BUCKETS);
    assert!(scene.says().await.starts_with('?'));
    scene.put("us-west-2", ("AWS/S3", "BytesPendingReplication"), &RULE, 10.0);
    assert_eq!(scene.says().await, "+");
    scene.pass(60).await;
    scene.put("us-west-2", ("AWS/S3", "BytesPendingReplication"), &RULE, 2e6);
    assert_eq!(scene.says().await, "-");
}

const ERRORS: &str = "kind = \"lambda_errors\"\nregion = \"us-east-1\"\nfunction = \"payments\"";

#[tokio::test(start_paused = true)]
async fn errors_are_counted_over_whole_periods() {
    let scene = scene(ERRORS);
    for _ in 0..5 {
        scene.put("us-east-1", ("AWS/Lambda", "Errors"), &[("FunctionName", "payments")], 1.0);
    }
    let says = scene.says().await;
    assert!(says.starts_with('?'), "the period is not over: {says}");
    scene.pass(300).await;
    assert_eq!(scene.says().await, "-");
    let sample = scene.take(&active_in_the_east()).await;
    assert_eq!(sample.measured_at.as_millisecond(), i64::try_from(START.0).expect("fits") + 300_000);
}

#[tokio::test(start_paused = true)]
async fn silence_that_is_said_to_be_health_is_not_what_cloudwatch_out_of_reach_says() {
    let scene = scene(&format!("{ERRORS}\nmissing = \"healthy\""));
    assert_eq!(scene.says().await, "+");
    scene.world.now(|w| w.set_plane(Plane::CloudWatch, &"us-east-1".parse().expect("a Region"), Reach::Unavailable));
    let says = scene.says().await;
    assert!(says.starts_with('?'), "{says}");
}

#[tokio::test(start_paused = true)]
async fn events_of_the_database_tell_of_ill_health_and_their_absence_of_nothing() {
    let events = "kind = \"rds_events\"\nstore = \"orders\"\nof = \"us-west-2\"\ncategories = [\"global failover\"]";
    let scene = scene(events);
    scene.pass(60).await;
    let says = scene.says().await;
    assert!(says.starts_with("? RDS tells of nothing"), "{says}");
    let target = "arn:aws:rds:us-west-2:123456789012:cluster:payments-usw2".parse().expect("an ARN");
    let region = "us-west-2".parse().expect("a Region");
    let failover =
        crate::domain::cloud::Mutation::AuroraFailover { region, global_cluster: "payments".to_owned(), target };
    scene.cloud.apply(&failover, scene.clock.wall()).await;
    scene.pass(600).await;
    assert_eq!(scene.says().await, "-");
    scene.pass(3_600).await;
    assert!(scene.says().await.starts_with('?'), "an event counts for its window");
}

#[tokio::test(start_paused = true)]
async fn a_port_that_takes_connections_is_healthy_and_a_name_that_does_not_resolve_is_missing() {
    let host = crate::sim::world::route53::fixture::PRIMARY_ADDRESS;
    let scene = scene(&format!("kind = \"tcp_probe\"\naddress = \"{host}:443\"\nof = \"us-east-1\""));
    assert_eq!(scene.says().await, "+");
    scene.world.now(|w: &mut World| w.lose_region(&"us-east-1".parse().expect("a Region")));
    assert_eq!(scene.says().await, "-");
    let nameless = self::scene("kind = \"tcp_probe\"\naddress = \"nowhere.invalid:443\"\nof = \"us-east-1\"");
    assert!(nameless.says().await.starts_with('?'));
}
