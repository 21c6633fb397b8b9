use super::*;
use crate::domain::{
    application::{Endpoint, Mechanism, Objectives, Topic, Traffic},
    cloud::Mutation,
    id::ApplicationName,
    replica::{Measure, ReplicatedStore, ReplicationRule},
    standby_object::ObjectAt,
};

mod weights;

const EAST: &str = "us-east-1";
const WEST: &str = "us-west-2";

fn region(s: &str) -> Region {
    s.parse().expect("a Region")
}

fn both<T>(east: T, west: T) -> BTreeMap<Region, T> {
    BTreeMap::from([(region(EAST), east), (region(WEST), west)])
}

fn store(name: &str) -> (StoreName, AuroraStore) {
    let arn = |r: &str| format!("arn:aws:rds:{r}:123456789012:cluster:{name}").parse().expect("an ARN");
    let store = AuroraStore {
        global_cluster: format!("global-{name}"),
        clusters: both(arn(EAST), arn(WEST)),
        lag_metric: "AuroraGlobalDBRPOLag".to_owned(),
        written_from_all_regions: false,
        heartbeat: None,
        capacity: None,
    };
    (name.parse().expect("a name"), store)
}

fn an_application(stores: &[&str], mechanism: Mechanism) -> Application {
    let name: ApplicationName = "payments".parse().expect("a name");
    let traffic = Traffic {
        record_name: "api.example.com".to_owned(),
        record_type: "A".to_owned(),
        hosted_zone_id: "Z1".to_owned(),
        servers: vec!["127.0.0.1:53".to_owned()],
        answers: both("192.0.2.1".to_owned(), "198.51.100.1".to_owned()),
        ttl: Duration::from_secs(60),
        mechanism,
    };
    let endpoint =
        |n: &str| Endpoint { health_url: format!("https://{n}.example.com/healthz"), last_write_pointer: None };
    let topic = |r: &str| Topic { region: region(r), arn: format!("arn:aws:sns:{r}:123456789012:oncall") };
    Application {
        name,
        regions: vec![region(EAST), region(WEST)],
        objectives: Objectives { rto: Duration::from_secs(120), rpo: Duration::from_secs(1) },
        stores: stores.iter().map(|s| store(s)).collect(),
        replicas: BTreeMap::new(),
        traffic: BTreeMap::from([("api".parse().expect("a name"), traffic)]),
        signals: Vec::new(),
        endpoints: both(endpoint("east"), endpoint("west")),
        public_url: Some("https://api.example.com:8443/healthz".to_owned()),
        runbooks: BTreeMap::new(),
        drills: Vec::new(),
        schedules: Vec::new(),
        prove_within: None,
        topics: vec![topic(EAST), topic(WEST)],
        policy: Default::default(),
        iac: Default::default(),
    }
}

fn controls() -> Mechanism {
    Mechanism::RoutingControls {
        endpoints: Vec::new(),
        controls: both("control-east".to_owned(), "control-west".to_owned()),
        weighted: BTreeMap::new(),
    }
}

fn health_signal() -> Mechanism {
    Mechanism::HealthSignal {
        region: region(WEST),
        namespace: "N".to_owned(),
        metric: "M".to_owned(),
        dimensions: BTreeMap::new(),
        active_value: 1.0,
        diverted_value: 0.0,
    }
}

fn standby_object() -> Mechanism {
    let object = ObjectAt { region: region(WEST), bucket: "standby".to_owned(), key: "k".to_owned() };
    Mechanism::StandbyObject { object, url: None }
}

fn parsed(name: &str) -> Runbook {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("runbooks/{name}.yaml"));
    let text = std::fs::read_to_string(path).expect("a shipped runbook");
    let (runbook, warnings) = Runbook::parse(name, &text).unwrap_or_else(|f| panic!("{name}: {f:#?}"));
    assert_eq!(warnings, [], "{name} has no warnings");
    runbook
}

fn plan(app: &Application, runbook: &Runbook, purpose: Purpose, from: &str, to: &str) -> Result<Plan, Vec<String>> {
    let digest = Digest::zero();
    compile(app, runbook, purpose, &region(from), &region(to), Some(Duration::from_secs(30)), &digest, &digest)
}

/// A plan in short: a line per step with its needs and its calls.
fn outline(plan: &Plan) -> String {
    let step = |s: &PlannedStep| {
        let needs: Vec<&str> = s.needs.iter().map(StepId::as_str).collect();
        let calls: Vec<_> = s.action.mutations().iter().map(Mutation::operation).collect();
        format!("{} = {} <- [{}] {}\n", s.id, s.action.kind(), needs.join(", "), calls.join(" "))
    };
    plan.steps.iter().map(step).collect()
}

#[test]
fn every_shipped_runbook_compiles() {
    let mut text = String::new();
    for (name, purpose, stores, from, to) in [
        ("region-failover", Purpose::Failover, &["ledger", "orders"][..], EAST, WEST),
        ("region-switchover", Purpose::Switchover, &["orders"], EAST, WEST),
        ("failback", Purpose::Failback, &["orders"], WEST, EAST),
        ("dns-flip", Purpose::Failover, &[], EAST, WEST),
    ] {
        let plan = plan(&an_application(stores, controls()), &parsed(name), purpose, from, to).expect(name);
        text += &format!("{name}, accepted loss {:?}\n{}\n", plan.accepted_loss, outline(&plan));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_failover_is_resolved_to_the_last_argument() {
    let plan =
        plan(&an_application(&["orders"], controls()), &parsed("region-failover"), Purpose::Failover, EAST, WEST);
    let plan = plan.expect("compiles");
    insta::assert_json_snapshot!(plan);
    assert_eq!(plan.digest(), plan.clone().digest());
    let back: Plan = serde_json::from_slice(&serde_json::to_vec(&plan).expect("serialises")).expect("deserialises");
    assert_eq!(back, plan);
}

/// FAULTS.md 93: four names are filled in, each by what was checked before; nothing else in a text is looked at.
#[test]
fn texts_are_filled_in_by_names_and_nothing_in_them_is_evaluated() {
    let runbook = |message: &str| {
        format!(
            "runbook: r\npurpose: switchover\ndescription: d\nsteps:\n  - id: n\n    action: notify\n    with:\n      \
             message: {}\n",
            serde_json::Value::from(message)
        )
    };
    let said = |message: &str| {
        let (runbook, _) = Runbook::parse("r.yaml", &runbook(message)).unwrap_or_else(|f| panic!("{f:#?}"));
        let plan = plan(&an_application(&[], controls()), &runbook, Purpose::Switchover, EAST, WEST).expect("compiles");
        let texts = plan.steps.iter().flat_map(|s| s.action.mutations()).map(|call| match call {
            Mutation::Publish { message, .. } => message,
            other => panic!("{other:?}"),
        });
        texts.collect::<BTreeSet<String>>()
    };
    let alone = |text: &str| BTreeSet::from([text.to_owned()]);
    assert_eq!(
        said("{purpose} of {application}: {source} -> {target}"),
        alone(&format!("switchover of payments: {EAST} -> {WEST}"))
    );
    for inert in ["$(id) `id` $HOME %s \\u007b steps.size() <% 1 %> #[x]", "target application 1 + 1 == 2"] {
        assert_eq!(said(inert), alone(inert));
    }
    for refused in ["{{target}}", "${target", "{steps.n.state}", "{1 + 1}", "{target.region}", "{ target }", "{reason}"]
    {
        assert!(Runbook::parse("r.yaml", &runbook(refused)).is_err(), "{refused}");
    }
}

fn flip_of(plan: &Plan) -> (&[Mutation], bool) {
    let flips = plan.steps.iter().find_map(|s| match &s.action {
        Action::DnsFlip { calls, standing, .. } => Some((&calls[..], *standing)),
        _ => None,
    });
    flips.expect("a flip")
}

#[test]
fn a_health_signal_stands_and_follows_the_preferred_region() {
    let app = an_application(&[], health_signal());
    for (from, to, value) in [(EAST, WEST, 0.0), (WEST, EAST, 1.0)] {
        let plan = plan(&app, &parsed("dns-flip"), Purpose::Switchover, from, to).expect("compiles");
        let (calls, standing) = flip_of(&plan);
        assert!(standing);
        assert!(matches!(calls, [Mutation::PutMetric { value: v, .. }] if (v - value).abs() < 1e-9), "{calls:?}");
    }
}

#[test]
fn an_object_is_put_to_move_to_the_standby_and_deleted_to_come_home() {
    let app = an_application(&[], standby_object());
    let to = |to| {
        let from = if to == WEST { EAST } else { WEST };
        let plan = plan(&app, &parsed("dns-flip"), Purpose::Switchover, from, to).expect("compiles");
        let (calls, standing) = flip_of(&plan);
        assert!(!standing, "nothing is to be renewed");
        calls.to_vec()
    };
    let put = to(WEST);
    assert!(matches!(&put[..], [Mutation::PutObject { body, .. }] if body.contains("to us-west-2")), "{put:?}");
    assert_eq!(put, to(WEST), "the same plan puts the same bytes");
    assert!(matches!(to(EAST)[..], [Mutation::DeleteObject { .. }]));
    let mut three = app.clone();
    three.regions.push(region("eu-west-1"));
    let refused = plan(&three, &parsed("dns-flip"), Purpose::Switchover, EAST, WEST).expect_err("an object says two");
    assert!(refused.iter().any(|why| why.contains("one of two Regions")), "{refused:?}");
}

#[test]
fn an_object_is_restored_to_what_was_seen_and_its_destination_is_known() {
    use crate::domain::undo::{Prior, destinations, inverse};
    let app = an_application(&[], standby_object());
    let traffic = app.traffic.values().next().expect("an entry");
    let Mechanism::StandbyObject { object, .. } = &traffic.mechanism else { panic!("an object") };
    let put = Mutation::PutObject { object: object.clone(), body: "b".to_owned() };
    let delete = Mutation::DeleteObject { object: object.clone() };
    let back = |call: &Mutation, is_there| inverse(call, &Prior::Object { is_there }).expect("an inverse");
    assert_eq!(back(&put, false), delete);
    assert_eq!(back(&delete, false), delete);
    for call in [&put, &delete] {
        assert!(matches!(back(call, true), Mutation::PutObject { .. }));
    }
    assert!(inverse(&put, &Prior::Metric { value: 1.0, basis: String::new() }).is_err());
    let goes = |call| destinations(traffic, &app.regions, call).map(|to| to.into_iter().collect::<Vec<_>>());
    assert_eq!((goes(&put), goes(&delete)), (Some(vec![region(WEST)]), Some(vec![region(EAST)])));
    let other = ObjectAt { key: "other".to_owned(), ..object.clone() };
    assert_eq!(goes(&Mutation::DeleteObject { object: other }), None, "another object says nothing of this entry");
}

#[test]
fn records_are_simple_or_weighted_in_one_batch() {
    let simple = an_application(&[], Mechanism::Records { set_identifiers: BTreeMap::new() });
    let weighted = an_application(&[], Mechanism::Records { set_identifiers: both("e".to_owned(), "w".to_owned()) });
    for (app, want) in [
        (&simple, "198.51.100.1 None None"),
        (&weighted, r#"192.0.2.1 Some("e") Some(0); 198.51.100.1 Some("w") Some(100)"#),
    ] {
        let plan = plan(app, &parsed("dns-flip"), Purpose::Failover, EAST, WEST).expect("compiles");
        let ([Mutation::UpsertRecords { records, .. }], false) = flip_of(&plan) else {
            panic!("one batch, not standing")
        };
        let shown: Vec<String> =
            records.iter().map(|r| format!("{} {:?} {:?}", r.values.join(","), r.set_identifier, r.weight)).collect();
        assert_eq!(shown.join("; "), want);
    }
}

#[test]
fn traffic_of_stores_moves_only_behind_a_proof_of_each() {
    let text = "runbook: r\npurpose: switchover\ndescription: d\nsteps:\n  - { id: v, action: aurora.verify_writer, with: { store: orders } }\n  - { id: f, action: dns.flip, needs: [v] }\n";
    let (runbook, _) = Runbook::parse("r", text).expect("valid");
    let one = an_application(&["orders"], controls());
    assert!(plan(&one, &runbook, Purpose::Switchover, EAST, WEST).is_ok());
    let two = an_application(&["ledger", "orders"], controls());
    let why = plan(&two, &runbook, Purpose::Switchover, EAST, WEST).expect_err("ledger is not proven");
    assert!(why[0].contains("the writer of `ledger`"), "{why:?}");
    let why = plan(&one, &parsed("dns-flip"), Purpose::Failover, EAST, WEST).expect_err("nothing is proven");
    assert!(why[0].contains("the writer of `orders`"), "{why:?}");
}

#[test]
fn what_does_not_fit_is_told_all_at_once() {
    let mut app = an_application(&[], health_signal());
    app.public_url = None;
    app.endpoints.clear();
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/runbooks/region-failover.yaml"))
        .expect("shipped")
        .replace("action: dns.flip", "action: dns.routing_controls");
    let (runbook, _) = Runbook::parse("r", &text).expect("valid");
    let why = plan(&app, &runbook, Purpose::Failover, EAST, WEST).expect_err("does not fit");
    insta::assert_snapshot!(why.join("\n"));
    let why = plan(&app, &runbook, Purpose::Switchover, EAST, EAST).expect_err("no direction");
    assert_eq!(why.len(), 2, "{why:?}");
}

#[test]
fn steps_stand_in_an_order_that_their_needs_allow() {
    let text = "runbook: r\npurpose: failover\ndescription: d\nsteps:\n  - { id: c, action: wait, needs: [b], with: { duration: 1m } }\n  - { id: a, action: wait, with: { duration: 1m } }\n  - { id: b, action: wait, needs: [a], with: { duration: 1m } }\n";
    let (runbook, _) = Runbook::parse("r", text).expect("valid");
    let plan = plan(&an_application(&[], controls()), &runbook, Purpose::Failover, EAST, WEST).expect("compiles");
    let order: Vec<&str> = plan.steps.iter().map(|s| s.id.as_str()).collect();
    assert_eq!(order, ["a", "b", "c"]);
}

#[test]
fn without_topics_there_is_no_notification() {
    let mut app = an_application(&["orders"], controls());
    app.topics.clear();
    let plan = plan(&app, &parsed("region-failover"), Purpose::Failover, EAST, WEST).expect("compiles");
    assert!(!plan.steps.iter().any(|s| s.action.kind() == "notify"));
}

#[test]
fn hosts_are_found_in_urls() {
    for (url, host) in [
        ("https://a.example.com:8443/x?y", "a.example.com"),
        ("http://a.example.com", "a.example.com"),
        ("http://[::1]:80/", "[::1]"),
        ("http://a/b:9", "a"),
    ] {
        assert_eq!(act::host_of(url), host, "{url}");
    }
}

/// One step of `with`, compiled for an application with a table and a bucket in each Region.
fn replication(with: &str) -> Result<Vec<Action>, Vec<String>> {
    let text = format!(
        "runbook: r\npurpose: switchover\ndescription: d\nsteps:\n  - {{ id: g, action: gate.replication, with: {with} }}\n"
    );
    let (runbook, _) = Runbook::parse("r.yaml", &text).unwrap_or_else(|f| panic!("{f:#?}"));
    let mut app = an_application(&["orders"], controls());
    let rule =
        ReplicationRule { from: region(EAST), to: region(WEST), rule_id: "to-west".to_owned(), metrics_region: None };
    let s3 = ReplicatedStore::S3 { buckets: both("e".to_owned(), "w".to_owned()), rules: vec![rule] };
    let table = ReplicatedStore::Dynamodb { table: "sessions".to_owned(), regions: app.regions.clone() };
    app.replicas.insert("audit".parse().expect("a name"), s3);
    app.replicas.insert("sessions".parse().expect("a name"), table);
    let plan = plan(&app, &runbook, Purpose::Switchover, EAST, WEST)?;
    Ok(plan.steps.into_iter().map(|s| s.action).collect())
}

#[test]
fn a_gate_of_replication_is_resolved_to_each_metric_where_it_is_published_with_its_limit() {
    let all = replication("{ pending_bytes: 5000000000 }").expect("compiles");
    let line = |action: &Action| {
        let Action::GateReplication { store, measures, .. } = action else { panic!("{action:?}") };
        let measure = |m: &Measure| format!("{} in {}: {:?}", m.query.metric, m.region, m.quantity);
        format!("{store}: {}", measures.iter().map(measure).collect::<Vec<_>>().join("; "))
    };
    assert_eq!(
        all.iter().map(line).collect::<Vec<_>>(),
        [
            "audit: ReplicationLatency in us-west-2: Lag { unit: Seconds, limit: 1s }; BytesPendingReplication in \
             us-west-2: Pending { what: Bytes, limit: 5000000000 }; OperationsPendingReplication in us-west-2: \
             Pending { what: Operations, limit: 0 }",
            "sessions: ReplicationLatency in us-east-1: Lag { unit: Milliseconds, limit: 1s }",
        ]
    );
    let bytes = serde_json::to_vec(&all).expect("serialises");
    assert_eq!(serde_json::from_slice::<Vec<Action>>(&bytes).expect("deserialises"), all);
}

#[test]
fn a_gate_of_replication_needs_a_store_with_many_writers_that_is_replicated_this_way() {
    let refused = replication("{ store: orders }").expect_err("it has one writer");
    assert!(refused[0].contains("no store `orders` with many writers; such stores: audit, sessions"), "{refused:?}");
    let text = "runbook: r\npurpose: failback\ndescription: d\nsteps:\n  - { id: g, action: gate.replication }\n";
    let (runbook, _) = Runbook::parse("r.yaml", text).expect("a runbook");
    let refused = plan(&an_application(&["orders"], controls()), &runbook, Purpose::Failback, WEST, EAST);
    assert!(refused.expect_err("it has none")[0].contains("has no stores with many writers"));
}
