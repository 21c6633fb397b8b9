//! The mechanisms `records`, `health_signal` and `standby_object` move traffic for real: the whole daemon in this process, its real AWS
//! and probe adapters over sockets, against the simulator's wire face; one scaled clock for the world and the daemon.
//!
//! (`routing_controls` is what the demo shows.)

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use failoverd::{
    adapters::{aws, clock::ScaledClock},
    app::Daemon,
    config::Settings,
    domain::egress::Egress,
    domain::id::Region,
    ports::Clock,
    sim::{
        wire::{self, Running},
        world::{
            SimTime, World,
            cloudwatch::{AlarmSpec, Comparison, MetricKey, Statistic, TreatMissing},
            route53::{
                fixture::{self, FailoverBy, PaymentsTraffic},
                health::AlarmIdentifier,
                health_config::InsufficientData,
                record::{RecordSet, Routing, RrType},
                zone::Zone,
            },
            scenario,
        },
    },
};
use serde_json::{Value, json};

/// World seconds in a second.
const RATE: f64 = 20.0;
/// On the machine's clock.
const PATIENCE: Duration = Duration::from_secs(60);
const ALARM: &str = "payments-primary-in-service";

struct Stage {
    clock: Arc<dyn Clock>,
    world: Running,
    daemon: Daemon,
    _folder: tempfile::TempDir,
}

impl Stage {
    async fn build(failover_by: FailoverBy, mechanism: &str, change: impl FnOnce(&mut World)) -> Self {
        let start = jiff::Timestamp::now();
        let began = SimTime(u64::try_from(start.as_millisecond()).expect("after 1970"));
        let traffic = PaymentsTraffic { failover_by, ..PaymentsTraffic::default() };
        let mut world = scenario::payments(7, began, &traffic);
        change(&mut world);
        let clock: Arc<dyn Clock> = Arc::new(ScaledClock::new(RATE, Some(start)).expect("a rate"));
        let shown = Arc::clone(&clock);
        let now: wire::Clock =
            Arc::new(move || SimTime(u64::try_from(shown.wall().as_millisecond()).expect("after 1970")));
        let world = wire::start(wire::Options::loopback(world, now)).await.expect("the simulated AWS starts");
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("failoverd.toml");
        std::fs::write(&config, text(&world, folder.path(), mechanism)).expect("written");
        let settings = Settings::load(&config, &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults}"));
        let sdk = aws::simulated_sdk_config(&world.aws_url, Arc::clone(&clock), &aws::Options::default());
        let daemon = Daemon::start(settings, Arc::clone(&clock), sdk).await.expect("the daemon starts");
        let stage = Self { clock, world, daemon, _folder: folder };
        stage
            .until("served from us-east-1", async || stage.answer().await == fixture::PRIMARY_ADDRESS.to_string())
            .await;
        stage
    }

    async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let begun = Instant::now();
        while !holds().await {
            assert!(begun.elapsed() < PATIENCE, "not {what}: {:#}", self.get("/runs").await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn get(&self, path: &str) -> Value {
        let answer = reqwest::get(format!("http://{}{path}", self.daemon.address)).await.expect("answers");
        answer.json().await.expect("JSON")
    }

    /// What the zone's own server says now, over DNS.
    async fn answer(&self) -> String {
        use failoverd::{adapters::probes::NetProbes, ports::Probes as _};
        let probes =
            NetProbes::new(Arc::clone(&self.clock), Egress { loopback: true, allow: Vec::new() }).expect("probes");
        let server = self.world.dns_addr.to_string();
        let name = fixture::RECORD_NAME.trim_end_matches('.');
        let told = probes.dns(&server, name, "A", Duration::from_secs(40)).await;
        told.map_or_else(|e| e.to_string(), |values| values.join(","))
    }

    /// Starts a run and waits until it has succeeded.
    async fn moved(&self, path: &str, body: &Value) -> Value {
        let url = format!("http://{}{path}", self.daemon.address);
        let answer = reqwest::Client::new().post(url).json(body).send().await.expect("answers");
        let started: Value = answer.json().await.expect("JSON");
        let id = started["run"].as_str().unwrap_or_else(|| panic!("refused: {started:#}")).to_owned();
        let path = format!("/runs/{id}");
        let ended = async || self.get(&path).await["state"] != "running";
        self.until("ended", ended).await;
        let run = self.get(&path).await;
        assert_eq!(run["state"], "succeeded", "{run:#}");
        run
    }

    async fn away(&self) -> Value {
        let body = json!({ "application": "payments", "mode": "switchover", "reason": "test" });
        let run = self.moved("/failover", &body).await;
        assert_eq!(self.answer().await, fixture::SECONDARY_ADDRESS.to_string());
        run
    }

    async fn home(&self) {
        self.moved("/failback", &json!({ "application": "payments", "reason": "test" })).await;
        assert_eq!(self.answer().await, fixture::PRIMARY_ADDRESS.to_string());
    }

    fn effects(&self, operation: &str) -> u64 {
        let effects = self.world.requests.effects();
        effects.iter().filter(|((_, o, _), _)| o == operation).map(|(_, n)| n).sum()
    }
}

fn text(world: &Running, folder: &std::path::Path, mechanism: &str) -> String {
    let (port, dns, zone) = (world.endpoints_port, world.dns_addr, fixture::ZONE_ID);
    let (east, west) = (fixture::PRIMARY_ADDRESS, fixture::SECONDARY_ADDRESS);
    let journal = folder.join("journal.sqlite").display().to_string();
    format!(
        r#"
[server]
listen = "127.0.0.1:0"

[store]
kind = "sqlite"
path = "{journal}"

[aws]
production = false
call_timeout = "40s"
attempt_timeout = "30s"

[[applications]]
name = "payments"
regions = ["us-east-1", "us-west-2"]
public_url = "http://api.payments.example.com:{port}/healthz"
objectives = {{ rto = "15m", rpo = "1m" }}
runbooks = {{ failover = "dns-flip", switchover = "dns-flip", failback = "dns-flip" }}
topics = [{{ arn = "arn:aws:sns:us-west-2:123456789012:payments-alerts" }}]

[applications.dns.api]
record_name = "api.payments.example.com"
record_type = "A"
hosted_zone_id = "{zone}"
servers = ["{dns}"]
answers = {{ us-east-1 = "{east}", us-west-2 = "{west}" }}
ttl = "60s"
mechanism = {mechanism}

[applications.endpoints]
us-east-1 = {{ health_url = "http://{east}:{port}/healthz" }}
us-west-2 = {{ health_url = "http://{west}:{port}/healthz" }}
"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn weighted_records_move_traffic_and_bring_it_home() {
    let weighted = |world: &mut World| {
        let name = |s: &str| s.parse().expect("a name");
        let mut zone = Zone::new(fixture::ZONE_ID, name(fixture::ZONE_NAME), false);
        for (identifier, weight, address) in
            [("use1", 100, fixture::PRIMARY_ADDRESS), ("usw2", 0, fixture::SECONDARY_ADDRESS)]
        {
            zone.seed(RecordSet {
                routing: Routing::Weighted { set_identifier: identifier.to_owned(), weight },
                ..RecordSet::simple(name(fixture::RECORD_NAME), RrType::A, 60, vec![address.to_string()])
            });
        }
        world.route53.put_zone(zone);
    };
    let mechanism = r#"{ kind = "records", set_identifiers = { us-east-1 = "use1", us-west-2 = "usw2" } }"#;
    let stage = Stage::build(FailoverBy::Records, mechanism, weighted).await;
    stage.away().await;
    // What was there is what the world was built with.
    let patch = stage.get("/applications/payments/patch").await;
    let changes = patch["changes"].as_array().unwrap_or_else(|| panic!("{patch:#}")).iter();
    let mut told: Vec<String> = changes
        .map(|c| {
            format!(
                "{} {} {} {}",
                c["resource"], c["terraform"]["attribute"], c["before"]["value"], c["after"]["value"]
            )
        })
        .collect();
    told.sort();
    let weight = |set: &str, was: u8, is: u8| {
        let id = format!("{}_api.payments.example.com_A_{set}", fixture::ZONE_ID);
        format!("{:?} \"weighted_routing_policy.weight\" {was} {is}", id)
    };
    assert_eq!(told, [weight("use1", 100, 0), weight("usw2", 0, 100)]);
    stage.home().await;
    let patch = stage.get("/applications/payments/patch").await;
    assert_eq!((&patch["changes"], &patch["note"]), (&json!([]), &Value::Null), "{patch:#}");
    assert_eq!(stage.effects("ChangeResourceRecordSets"), 2, "{:?}", stage.world.requests.effects());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_signal_keeps_traffic_away_for_as_long_as_it_is_renewed() {
    let west: Region = "us-west-2".parse().expect("a Region");
    let alarm = AlarmIdentifier { region: west.clone(), name: ALARM.to_owned() };
    let with_alarm = |world: &mut World| {
        let spec = AlarmSpec {
            name: ALARM.to_owned(),
            description: None,
            key: MetricKey::new("Failoverd", "PrimaryInService", [("Application", "payments")]),
            statistic: Statistic::Minimum,
            period_seconds: 60,
            evaluation_periods: 1,
            datapoints_to_alarm: 1,
            comparison: Comparison::Less,
            threshold: 1.0,
            treat_missing: TreatMissing::Missing,
            unit: None,
            actions: Vec::new(),
            actions_enabled: false,
        };
        let now = world.now;
        world.cloudwatch.put_alarm(&west, spec, now).expect("a sound alarm");
    };
    // Silence counts as health, so that traffic would come back by itself if the signal were not renewed.
    let by = FailoverBy::CloudWatchMetric { alarm, insufficient_data: InsufficientData::Healthy };
    let mechanism = r#"{ kind = "health_signal", region = "us-west-2", namespace = "Failoverd", metric = "PrimaryInService", dimensions = { Application = "payments" }, active_value = 1, diverted_value = 0 }"#;
    let stage = Stage::build(by, mechanism, with_alarm).await;
    stage.away().await;
    let before = stage.effects("PutMetricData");
    let until = stage.clock.boot() + Duration::from_secs(360);
    while stage.clock.boot() < until {
        assert_eq!(stage.answer().await, fixture::SECONDARY_ADDRESS.to_string(), "diverted throughout");
        stage.clock.sleep(Duration::from_secs(10)).await;
    }
    let renewed = stage.effects("PutMetricData") - before;
    assert!((5..=7).contains(&renewed), "once a minute for six minutes, not {renewed}");
    stage.home().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_in_the_standby_moves_traffic_and_brings_it_home_without_being_renewed() {
    let mechanism = format!(
        r#"{{ kind = "standby_object", region = "us-west-2", bucket = "{}", key = "{}" }}"#,
        fixture::OBJECT_BUCKET,
        fixture::OBJECT_KEY
    );
    let stage = Stage::build(FailoverBy::StandbyObject, &mechanism, |_| ()).await;
    let run = stage.away().await.to_string();
    let seen = run.matches("s3://payments-standby/payments/traffic-to-standby in us-west-2 is there").count();
    assert!(2 <= seen, "the flip and dns.verify tell it: {run}");
    let put = stage.world.world.with(|world| world.s3.object(fixture::OBJECT_BUCKET, fixture::OBJECT_KEY).cloned());
    let put = String::from_utf8(put.expect("the object is there").body).expect("text");
    assert!(put.starts_with("failoverd: payments switchover to us-west-2"), "{put}");
    stage.home().await;
    let gone = stage.world.world.with(|world| world.s3.object(fixture::OBJECT_BUCKET, fixture::OBJECT_KEY).is_none());
    assert!(gone);
    assert_eq!((stage.effects("PutObject"), stage.effects("DeleteObject")), (1, 1));
}
