use std::{collections::BTreeMap, path::Path, time::Duration};

use super::*;
use crate::{
    config::Settings,
    domain::{
        application::ClusterEndpoint,
        cloud::MetricQuery,
        replica::ReplicatedStore,
        signal::{
            Signal, SignalRole, SignalSource,
            threshold::{MissingMeans, Threshold},
        },
        standby_object::ObjectAt,
    },
    sim::world::{
        Context, Plane, Reach,
        arc::ControlState,
        aurora::FailoverRequest,
        clients::Ledger,
        cloudwatch::{AlarmState, Datum, DatumValue, MetricKey, Statistic},
        route53::{
            change::{Action, ChangeBatch, RecordChange},
            record::{RecordSet, Routing, RrType},
        },
    },
};

const START: SimTime = SimTime(1_795_000_000_000);
const CONTROL: &str =
    "arn:aws:route53-recovery-control::123456789012:controlpanel/0123456789abcdef0123456789abcdef/routingcontrol/c";

fn region(name: &str) -> Region {
    name.parse().expect("a Region")
}

fn east() -> Region {
    region("us-east-1")
}

fn west() -> Region {
    region("us-west-2")
}

/// The applications of a configuration of this repository; `@…@` in it are filled in.
fn applications(file: &str) -> Vec<Application> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join(file);
    let mut text = std::fs::read_to_string(&path).expect("there");
    let control = |n: u8| format!("{CONTROL}{n}");
    let endpoint = r#"{ region = "us-west-2", url = "http://127.0.0.1:1" }"#;
    for (hole, value) in [
        ("directory", root.display().to_string()),
        ("alice", "a".repeat(64)),
        ("bob", "b".repeat(64)),
        ("port", "8080".to_owned()),
        ("zone", "Z0PAYMENTS".to_owned()),
        ("dns", "127.0.0.1:53".to_owned()),
        ("use1", "127.0.11.1".to_owned()),
        ("usw2", "127.0.12.1".to_owned()),
        ("endpoints", endpoint.to_owned()),
        ("control_use1", control(1)),
        ("control_usw2", control(2)),
        ("call_timeout", "10s".to_owned()),
        ("attempt_timeout", "5s".to_owned()),
    ] {
        text = text.replace(&format!("@{hole}@"), &value);
    }
    let directory = path.parent().expect("a folder");
    let settings =
        Settings::parse(file, &text, directory, &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults}"));
    settings.applications
}

fn payments() -> Application {
    applications("config/examples/payments-fast.toml").remove(0)
}

fn with(mechanism: Mechanism) -> Application {
    let mut application = payments();
    traffic_of(&mut application).mechanism = mechanism;
    application
}

fn traffic_of(application: &mut Application) -> &mut Traffic {
    application.traffic.values_mut().next().expect("an entry")
}

fn health_signal() -> Mechanism {
    Mechanism::HealthSignal {
        region: west(),
        namespace: "Failoverd".to_owned(),
        metric: "PrimaryInService".to_owned(),
        dimensions: BTreeMap::from([("Application".to_owned(), "payments".to_owned())]),
        active_value: 1.0,
        diverted_value: 0.0,
    }
}

fn standby_object(url: Option<&str>) -> Mechanism {
    let object = ObjectAt { region: west(), bucket: "payments-standby".to_owned(), key: "payments/there".to_owned() };
    Mechanism::StandbyObject { object, url: url.map(str::to_owned) }
}

fn records(identifiers: &[(Region, &str)]) -> Mechanism {
    let set_identifiers = identifiers.iter().map(|(r, id)| (r.clone(), (*id).to_owned())).collect();
    Mechanism::Records { set_identifiers }
}

fn weighted() -> Mechanism {
    records(&[(east(), "use1"), (west(), "usw2")])
}

fn controls(regions: &[Region]) -> Mechanism {
    let endpoints = vec![ClusterEndpoint { region: west(), url: "http://127.0.0.1:1".to_owned() }];
    let controls = regions.iter().map(|region| (region.clone(), format!("{CONTROL}{region}"))).collect();
    Mechanism::RoutingControls { endpoints, controls, weighted: BTreeMap::new() }
}

#[track_caller]
fn built(application: &Application, choices: &Choices) -> (World, Known) {
    let told = |faults: Vec<Unbuildable>| -> String { faults.iter().map(|f| format!("{f}\n")).collect() };
    world_with(application, 7, START, choices).unwrap_or_else(|faults| panic!("{}", told(faults)))
}

fn run(world: &mut World, seconds: u64) {
    let to = world.now.plus_ms(seconds * 1_000);
    world.advance_to(to);
}

fn ledger(world: &World) -> Ledger {
    world.clients.ledger(&world.aurora)
}

#[track_caller]
fn serves_five_minutes_without_a_failure(application: &Application, choices: &Choices) -> World {
    let (mut world, _) = built(application, choices);
    assert_eq!(world.now, START);
    run(&mut world, 300);
    let ledger = ledger(&world);
    assert_eq!((ledger.failed_seconds, ledger.writes_lost), (0.0, 0), "{ledger:?}");
    assert!(2_300 < ledger.writes_acknowledged, "{ledger:?}");
    world
}

/// What the mechanism's own call does.
fn flip(world: &mut World, application: &Application, to: &Region) {
    let traffic = application.traffic.values().next().expect("an entry");
    let mut ctx = Context { now: world.now, rng: &mut world.rng, planes: &world.planes, log: &mut world.log };
    match &traffic.mechanism {
        Mechanism::RoutingControls { controls, .. } => {
            let state = |r: &Region| if r == to { ControlState::On } else { ControlState::Off };
            let entries: Vec<_> = controls.iter().map(|(r, arn)| (arn.clone(), state(r))).collect();
            let operation = "UpdateRoutingControlStates";
            world.arc.update_states(&mut ctx, &west(), operation, &entries, &[]).expect("accepted");
        }
        Mechanism::HealthSignal { region, namespace, metric, dimensions, diverted_value, .. } => {
            let datum = Datum {
                name: metric.clone(),
                dimensions: dimensions.clone().into_iter().collect(),
                at: None,
                value: DatumValue::One(*diverted_value),
                unit: None,
            };
            world.cloudwatch.put_metric_data(region, namespace, &[datum], &mut ctx).expect("accepted");
        }
        Mechanism::StandbyObject { object, .. } => {
            world.s3.put(&object.region, &object.bucket, &object.key, b"x", &mut ctx).expect("accepted");
        }
        Mechanism::Records { set_identifiers } => {
            let set = |region: &Region, routing| {
                let name = traffic.record_name.parse().expect("a name");
                let values = vec![traffic.answers[region].clone()];
                let rtype: RrType = traffic.record_type.parse().expect("a type");
                let record_set = RecordSet { routing, ..RecordSet::simple(name, rtype, 60, values) };
                RecordChange { action: Action::Upsert, record_set }
            };
            let weighted = |(region, id): (&Region, &String)| {
                let weight = if region == to { 100 } else { 0 };
                set(region, Routing::Weighted { set_identifier: id.clone(), weight })
            };
            let mut changes: Vec<_> = set_identifiers.iter().map(weighted).collect();
            if changes.is_empty() {
                changes.push(set(to, Routing::Simple));
            }
            let batch = ChangeBatch { comment: None, changes };
            world.route53.change_record_sets(&mut ctx, &traffic.hosted_zone_id, &batch).expect("accepted");
        }
    }
}

/// Without a failure at first; then the primary's servers and database are gone, and promotion and flip bring the
/// application back.
#[track_caller]
fn serves_and_is_moved(application: &Application) {
    let mut world = serves_five_minutes_without_a_failure(application, &Choices::default());
    world.set_plane(Plane::Application, &east(), Reach::Hangs);
    world.set_plane(Plane::Database, &east(), Reach::Hangs);
    run(&mut world, 30);
    assert!(world.clients.failing_since().is_some(), "nobody noticed");
    for store in application.stores.values() {
        let request = FailoverRequest {
            global: store.global_cluster.clone(),
            target: store.clusters[&west()].to_string(),
            allow_data_loss: true,
            switchover: false,
        };
        let call = world.with_aurora(|aurora, ctx| aurora.failover_global_cluster(&west(), &request, ctx));
        call.expect("accepted");
    }
    run(&mut world, 240);
    assert!(world.clients.failing_since().is_some(), "nothing has moved traffic yet: {:?}", ledger(&world));
    flip(&mut world, application, &west());
    run(&mut world, 300);
    assert!(ledger(&world).served_again_at.is_some(), "{:?}", ledger(&world));
}

#[test]
fn every_configuration_of_this_repository_can_be_rehearsed() {
    for file in [
        "config/examples/payments-fast.toml",
        "config/default.toml",
        "tests/it/support/payments.toml",
        "src/cli/demo/demo.toml",
    ] {
        for application in applications(file) {
            serves_five_minutes_without_a_failure(&application, &Choices::default());
            assert_eq!(remarks(&application), Vec::<String>::new(), "{file}");
        }
    }
}

#[test]
fn the_reference_systems_can_be_rehearsed() {
    for name in ["payments-audited", "payments-regulated", "migration-hub", "transactions", "storefront"] {
        let application = applications(&format!("config/examples/{name}.toml")).remove(0);
        serves_five_minutes_without_a_failure(&application, &Choices::default());
    }
}

#[test]
fn what_the_databases_publish_themselves_is_not_said_over() {
    let application = applications("config/examples/migration-hub.toml").remove(0);
    let (mut world, _) = super::world(&application, 7, START).expect("builds");
    world.lose_region(&east());
    world.advance_to(START.plus_ms(600_000));
    let lag = MetricKey::new("AWS/RDS", "AuroraGlobalDBRPOLag", [("DBClusterIdentifier", "migration-hub-usw2")]);
    let since = |seconds: u64| {
        world.cloudwatch.buckets(&west(), &lag, (SimTime(START.0 - 60_000 + 1_000 * seconds), world.now), 60_000, None)
    };
    assert!(!since(0).is_empty(), "the databases publish it while all is well");
    // A canary would go on publishing how the servers do: a lag that is well, long after the writer fell silent.
    assert!(since(240).is_empty(), "{:?}", since(240));
}

#[test]
fn routing_controls_move_traffic() {
    serves_and_is_moved(&payments());
}

#[test]
fn a_health_signal_moves_traffic() {
    serves_and_is_moved(&with(health_signal()));
}

#[test]
fn an_object_in_the_standby_moves_traffic() {
    serves_and_is_moved(&with(standby_object(None)));
    serves_and_is_moved(&with(standby_object(Some("http://traffic.example.com:8080/standby"))));
}

#[test]
fn while_s3_of_the_standby_is_gone_traffic_stays_with_the_primary() {
    let (mut world, _) = built(&with(standby_object(None)), &Choices::default());
    for reach in [Reach::Hangs, Reach::Unavailable, Reach::DeniesAccess] {
        world.set_plane(Plane::S3, &west(), reach);
        run(&mut world, 300);
        assert_eq!(ledger(&world).failed_seconds, 0.0, "{reach:?}");
        let answer = world.route53.answer(world.now, "api.payments.example.com", RrType::A).expect("an answer");
        assert_eq!(answer.values, ["127.0.11.1"], "{reach:?}");
    }
}

#[test]
fn a_simple_record_moves_traffic() {
    serves_and_is_moved(&with(records(&[])));
}

#[test]
fn weighted_records_move_traffic() {
    serves_and_is_moved(&with(weighted()));
}

#[test]
fn records_that_lead_to_names_move_traffic() {
    let mut application = with(controls(&[east(), west()]));
    let traffic = traffic_of(&mut application);
    traffic.record_type = "CNAME".to_owned();
    let name = |region: &str| format!("payments-1234.{region}.elb.amazonaws.com");
    traffic.answers = BTreeMap::from([(east(), name("us-east-1")), (west(), name("us-west-2"))]);
    serves_and_is_moved(&application);
}

#[test]
fn an_application_without_stores_moves_by_its_traffic_alone() {
    let mut application = payments();
    application.stores.clear();
    application.signals.retain(|s| !matches!(s.source, SignalSource::AuroraLag { .. }));
    serves_and_is_moved(&application);
    assert_eq!(remarks(&application).len(), 1);
}

#[test]
fn the_application_may_live_in_the_standby_at_the_start() {
    for mechanism in [controls(&[east(), west()]), health_signal(), standby_object(None), records(&[]), weighted()] {
        let application = with(mechanism);
        let choices = Choices { active: Some(west()), clients: 2 };
        let world = serves_five_minutes_without_a_failure(&application, &choices);
        let writer = world.aurora.writer_of("payments").expect("a writer");
        assert_eq!(writer.region, west());
        assert!(!writer.commits().is_empty());
    }
}

#[test]
fn three_regions_have_one_control_each() {
    let third = region("eu-west-1");
    let mut application = with(controls(&[east(), west(), third.clone()]));
    application.regions.push(third.clone());
    traffic_of(&mut application).answers.insert(third.clone(), "127.0.13.1".to_owned());
    let store = application.stores.values_mut().next().expect("a store");
    let arn = "arn:aws:rds:eu-west-1:123456789012:cluster:payments-euw1";
    store.clusters.insert(third.clone(), arn.parse().expect("an ARN"));
    serves_and_is_moved(&application);
    serves_five_minutes_without_a_failure(&application, &Choices { active: Some(third), clients: 3 });
}

#[test]
fn what_cannot_be_simulated_is_told_all_at_once() {
    let mut application = payments();
    let traffic = traffic_of(&mut application);
    traffic.record_type = "AAAA".to_owned();
    traffic.answers = BTreeMap::from([(east(), "2001:db8::1".to_owned()), (west(), "2001:db8::2".to_owned())]);
    let store = application.stores.values_mut().next().expect("a store");
    let arn = "arn:aws-cn:rds:us-west-2:123456789012:cluster:payments-usw2";
    store.clusters.insert(west(), arn.parse().expect("an ARN"));
    application.topics[0].arn.push_str(".fifo");
    application.endpoints.get_mut(&west()).expect("there").health_url = "http://127.0.11.1:18080/healthz".to_owned();
    application.signals.push(Signal {
        name: "v6".parse().expect("a name"),
        role: SignalRole::Informational,
        source: SignalSource::HttpProbe {
            url: "http://[::1]:80/healthz".to_owned(),
            of: east(),
            timeout: Duration::from_secs(2),
        },
        period: Duration::from_secs(10),
        freshness: Duration::from_secs(30),
        consecutive: 3,
    });
    let faults = world(&application, 7, START).map(|_| ()).expect_err("not buildable");
    let told: String = faults.iter().map(|f| format!("{f}\n")).collect();
    insta::assert_snapshot!(told);
}

#[test]
fn servers_answer_as_the_configuration_says() {
    let mut application = payments();
    let endpoint = application.endpoints.get_mut(&west()).expect("there");
    endpoint.health_url = "https://usw2.payments.example.com/status/db?deep=1".to_owned();
    endpoint.last_write_pointer = Some("/db/last".to_owned());
    let (mut world, known) = built(&application, &Choices::default());
    run(&mut world, 10);
    let page = &world.endpoints.health_page;
    assert!(page.has("/status/db?deep=1") && page.has("/healthz") && !page.has("/"));
    let address = world.route53.answer(world.now, "usw2.payments.example.com", RrType::A).expect("a name").values;
    assert_eq!(address, [known.addresses[&west()].to_string()]);
    let body = world.application_answer(known.addresses[&west()]).expect("an answer").body;
    let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert!(body.pointer("/db/last").is_some_and(serde_json::Value::is_string), "{body}");
}

#[test]
fn an_alarm_tells_of_its_region_from_its_own() {
    let mut application = payments();
    application.signals.push(Signal {
        name: "use1-errors".parse().expect("a name"),
        role: SignalRole::Trigger,
        source: SignalSource::Alarm { region: west(), alarm_name: "use1-errors".to_owned(), of: east() },
        period: Duration::from_secs(30),
        freshness: Duration::from_secs(180),
        consecutive: 1,
    });
    let (mut world, _) = built(&application, &Choices::default());
    let state = |world: &World| world.cloudwatch.alarm(&west(), "use1-errors").expect("an alarm").state;
    run(&mut world, 600);
    assert_eq!(state(&world), AlarmState::Ok);
    world.lose_region(&east());
    run(&mut world, 600);
    assert_eq!(state(&world), AlarmState::Alarm);
}

#[test]
fn the_metrics_of_services_that_are_not_simulated_do_well_where_the_servers_do() {
    let mut application = payments();
    let query = |namespace: &str, metric: &str, dimensions: &[(&str, &str)], statistic: &str| MetricQuery {
        namespace: namespace.to_owned(),
        metric: metric.to_owned(),
        dimensions: dimensions.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        statistic: statistic.to_owned(),
        period: Duration::from_mins(1),
    };
    let errors = query("AWS/Lambda", "Errors", &[("FunctionName", "payments")], "Sum");
    let threshold = Threshold::new(">= 5".parse().expect("a limit"), None).expect("a threshold");
    let missing = MissingMeans::Unknown;
    let metric = SignalSource::Metric { region: east(), query: errors.clone(), threshold, missing, of: east() };
    let table = ReplicatedStore::Dynamodb { table: "sessions".to_owned(), regions: vec![east(), west()] };
    let [(_, lag)] = table.lag_queries(&east()).try_into().expect("one other Region");
    application.replicas.insert("sessions".parse().expect("a name"), table);
    for source in [metric, SignalSource::ReplicaLag { store: "sessions".parse().expect("a name") }] {
        application.signals.push(Signal {
            name: format!("s{}", application.signals.len()).parse().expect("a name"),
            role: SignalRole::Informational,
            source,
            period: Duration::from_secs(30),
            freshness: Duration::from_mins(5),
            consecutive: 1,
        });
    }
    let (mut world, _) = built(&application, &Choices::default());
    let newest = |world: &World, query: &MetricQuery| {
        let key = MetricKey::new(&query.namespace, &query.metric, &query.dimensions);
        let from = SimTime(world.now.0 - 300_000);
        let buckets = world.cloudwatch.buckets(&east(), &key, (from, world.now), 60_000, None);
        buckets.last().map(|b| b.value(Statistic::Maximum))
    };
    run(&mut world, 600);
    assert_eq!(newest(&world, &errors), Some(0.0));
    assert!(newest(&world, &lag).is_some_and(|ms| ms < 1_000.0));
    world.set_plane(Plane::Application, &east(), Reach::Unavailable);
    run(&mut world, 600);
    assert!(newest(&world, &errors).is_some_and(|n| 5.0 <= n));
    assert_eq!(newest(&world, &lag), None, "nothing is written: DynamoDB is silent");
}

#[test]
fn a_health_check_tells_of_its_region() {
    let (mut world, _) = built(&payments(), &Choices::default());
    let id = "10000000-0000-4000-8000-000000000001";
    run(&mut world, 120);
    assert_eq!(world.route53.is_healthy(id), Some(true));
    world.set_plane(Plane::Application, &east(), Reach::Unavailable);
    run(&mut world, 300);
    assert_eq!(world.route53.is_healthy(id), Some(false));
}

#[test]
fn the_oracle_is_told_what_the_configuration_says() {
    let (_, known) = built(&payments(), &Choices::default());
    let expected = Known {
        application: "payments".to_owned(),
        regions: vec![east(), west()],
        rpo_ms: 1_000,
        rto_ms: 120_000,
        global_clusters: vec!["payments".to_owned()],
        record_name: Some("api.payments.example.com".to_owned()),
        addresses: BTreeMap::from([
            (east(), "127.0.11.1".parse().expect("an address")),
            (west(), "127.0.12.1".parse().expect("an address")),
        ]),
        controls: known.controls.clone(),
        is_written_from_all_regions: false,
    };
    assert_eq!(known, expected);
    assert!(known.controls[&west()].ends_with("/routingcontrol/aaaaaaaaaaaa0002"), "{known:?}");
}

#[test]
fn the_same_seed_is_the_same_world() {
    let history = |seed| {
        let (mut world, _) = world(&payments(), seed, START).expect("buildable");
        run(&mut world, 60);
        world.lose_region(&east());
        run(&mut world, 120);
        (ledger(&world), world.log)
    };
    assert_eq!(history(3), history(3));
    assert_ne!(history(3), history(4));
}

#[test]
fn zones_are_named_after_what_their_records_share() {
    let apex_of = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|n| n.parse().expect("a name")).collect();
        traffic::apex(names.iter()).map(|n| n.to_string())
    };
    assert_eq!(apex_of(&["api.payments.example.com"]).as_deref(), Some("payments.example.com."));
    assert_eq!(apex_of(&["api.payments.example.com", "www.example.com"]).as_deref(), Some("example.com."));
    assert_eq!(apex_of(&["example.com"]).as_deref(), Some("example.com."));
    assert_eq!(apex_of(&["example.com", "example.org"]), None);
}
