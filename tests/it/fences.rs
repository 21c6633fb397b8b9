//! The fences and the probes of ports and databases, whole: a runbook, the engine, the simulated world.

use std::{collections::BTreeMap, time::Duration};

use failoverd::{
    config,
    domain::{
        cloud::{EventSource, Mutation, ObserveError, Outcome},
        compile::compile,
        fence::{Rung, Shown, Wanted, authorise, describe_rules, rules_in},
        heartbeat::{Heartbeat, Tls},
        id::{Digest, RunId},
        plan::Purpose,
        run::{Phase, RunResult, StepState},
        runbook::Runbook,
        stability::lint,
    },
    engine::control::{Act, Wish},
    ports::Cloud as _,
    sim::{
        faults::{self, Trouble},
        port::Fault,
        rehearse::{Rehearsed, Setup, run::rehearse},
        scenario::Scenario,
        world::{Plane, Reach},
    },
};

use crate::{
    aws_call,
    support::{Live, Played, Scene, region, scene},
};

const SUCCEEDED: Played = Played::Finished(RunResult::Succeeded);
const EAST: &str = "arn:aws:rds:us-east-1:123456789012:cluster:payments-use1";
const WEST: &str = "arn:aws:rds:us-west-2:123456789012:cluster:payments-usw2";
const GROUP: &str = "sg-0a1b2c3d4e5f60718";
const APP: &str = "sg-08f7e6d5c4b3a2910";
const KEPT: &str = "10.9.0.0/24";
const REVOKE: &str = "ec2:RevokeSecurityGroupIngress";

/// A runbook whose steps are `steps`, each need what stands before it.
fn runbook(purpose: &str, steps: &[&str]) -> String {
    let mut text = format!("runbook: test\npurpose: {purpose}\ndescription: A test.\nsteps:\n");
    let mut before = String::new();
    for step in steps {
        let (id, rest) = step.split_once(": ").expect("id: the rest");
        let needs = if before.is_empty() { String::new() } else { format!("needs: [{before}], ") };
        text.push_str(&format!("  - {{ id: {id}, {needs}{rest} }}\n"));
        before = id.to_owned();
    }
    text
}

const DOCS: &str = include_str!("../../docs/fences.md");

/// The whole runbooks of docs/fences.md, by name.
fn documented() -> Vec<(String, String)> {
    let blocks = DOCS.split("```yaml\n").skip(1).filter_map(|rest| rest.split_once("```").map(|(block, _)| block));
    let named = |block: &str| {
        let name = block.strip_prefix("runbook: ")?.lines().next()?.to_owned();
        Some((name, block.to_owned()))
    };
    blocks.filter_map(named).collect()
}

/// The application with a heartbeat, moved by the runbooks of docs/fences.md.
pub(crate) fn setup() -> Setup {
    let (mut application, mut runbooks) = (scene::application(), config::shipped());
    application.stores.values_mut().for_each(|store| store.heartbeat = Some(heartbeat()));
    for (name, text) in documented() {
        let (runbook, warnings) =
            Runbook::parse(&format!("{name}.yaml"), &text).unwrap_or_else(|faults| panic!("{name}: {faults:#?}"));
        assert!(warnings.is_empty(), "{name}: {warnings:#?}");
        for purpose in &runbook.purposes {
            application.runbooks.insert(*purpose, runbook.name.clone());
        }
        runbooks.insert(runbook.name.clone(), (runbook, Digest::of(text.as_bytes())));
    }
    Setup { application, runbooks, config_digest: Digest::of(b"config") }
}

fn rehearsed(name: &str, seed: u64) -> Rehearsed {
    let shipped = Scenario::embedded().into_iter().find(|(file, _)| file.ends_with(&format!("/{name}.yaml")));
    let (file, text) = shipped.expect("it ships");
    let written = Scenario::parse(file, text).unwrap_or_else(|faults| panic!("{file}: {faults:?}"));
    let scenario = written.resolve(&scene::application().regions).expect("two Regions");
    rehearse(&setup(), &scenario, seed, false)
}

#[test]
fn the_documented_runbooks_survive_their_disasters() {
    assert_eq!(documented().len(), 2);
    for name in ["fence-verified", "fence-unreachable", "fence-not-held", "fenced-switchover"] {
        let played = rehearsed(name, 1);
        assert!(played.violations.is_empty() && played.unmet.is_empty(), "{name}: {played:#?}");
    }
}

#[test]
fn a_documented_failover_depends_on_nothing_in_the_source() {
    let Setup { application, runbooks, .. } = setup();
    let (runbook, digest) = &runbooks[&"fenced-failover".parse().expect("a name")];
    let (east, west) = (region("us-east-1"), region("us-west-2"));
    let plan = compile(&application, runbook, Purpose::Failover, &east, &west, None, digest, digest).expect("a plan");
    let found: Vec<_> = lint(&plan, &application, None).into_iter().map(|f| (f.code, f.step)).collect();
    assert_eq!(found, [], "on the worst day");
}

fn heartbeat() -> Heartbeat {
    let endpoint = |name: &str| format!("{name}.example.com:5432").parse().expect("an address");
    Heartbeat {
        user: "failoverd_heartbeat".to_owned(),
        password: "env:HEARTBEAT_PASSWORD".parse().expect("a reference"),
        database: "payments".to_owned(),
        endpoints: BTreeMap::from([
            (region("us-east-1"), endpoint("payments-use1")),
            (region("us-west-2"), endpoint("payments-usw2")),
        ]),
        reader_endpoints: BTreeMap::new(),
        tls: Tls::VerifyFull { ca_file: None },
        period: Duration::from_secs(1),
        timeout: Duration::from_secs(2),
    }
}

/// The application with a heartbeat, a group before its databases, and services.
fn fenced_scene(seed: u64, purpose: Purpose, steps: &[&str]) -> Scene {
    let mut scene = Scene::payments(seed, 240).with_runbook(purpose, &runbook(purpose.as_str(), steps));
    scene.application.stores.values_mut().for_each(|store| store.heartbeat = Some(heartbeat()));
    let mut world = scene.world.lock().expect("nobody panics");
    for (name, arn) in [("us-east-1", EAST), ("us-west-2", WEST)] {
        world.services.ec2.add(&region(name), GROUP, 5432, &[APP.to_owned(), KEPT.to_owned()]);
        world.services.ec2.guard(&region(name), GROUP, arn, 5432, &[APP.to_owned()]);
        world.services.ecs.add(&region(name), "shop", "api", 3);
        world.services.lambda.add(&region(name), "shop-worker", &[]);
    }
    drop(world);
    scene
}

async fn well(scene: &Scene) -> Live {
    let live = scene.start(0).await;
    live.ready().await;
    live.pass(30).await;
    live
}

/// What a step left: `fenced`, and its evidence or its failure.
fn told(live: &Live, run: &RunId, step: &str) -> (String, String) {
    match live.step(run, step) {
        StepState::Done { evidence, outputs, .. } => {
            let fenced = outputs.get("fenced").and_then(serde_json::Value::as_str).unwrap_or("no output");
            (fenced.to_owned(), evidence.join("; "))
        }
        StepState::Failed { code, reason, .. } => ("failed".to_owned(), format!("{code}: {reason}")),
        other => panic!("{step} is {other:?}"),
    }
}

fn fenced(live: &Live, run: &RunId, step: &str) -> String {
    told(live, run, step).0
}

fn held_with(live: &Live, run: &RunId) -> String {
    match &live.run(run).phase {
        Phase::Held { code, reason, .. } => format!("{code}: {reason}"),
        other => format!("{other:?}"),
    }
}

/// Whom the group of the source lets in.
fn peers(live: &Live) -> Vec<String> {
    live.world.now(|w| {
        let group = w.services.ec2.group(&region("us-east-1"), GROUP).expect("it is there");
        group.rules.iter().map(|rule| rule.peer.clone()).collect()
    })
}

/// How often an operation whose name begins so had its effect.
fn called(live: &Live, operation: &str) -> usize {
    let is_it = |e: &&failoverd::sim::world::WorldEvent| e.kind == "service.called" && e.text.starts_with(operation);
    live.world.now(|w| w.log.iter().filter(is_it).count())
}

fn sessions(live: &Live, arn: &str) -> u64 {
    live.world.now(|w| w.clients.sessions(arn))
}

fn writes(live: &Live) -> u64 {
    live.ledger().writes_acknowledged
}

const GROUP_STEP: &str = "group: action: fence.security_group, with: { group: sg-0a1b2c3d4e5f60718, from: \
                          [sg-08f7e6d5c4b3a2910], keep: [10.9.0.0/24] }";
const CONNECTIONS: &str = "sessions: action: fence.connections";
const APPLICATION: &str = "application: action: fence.application, with: { ecs: [shop/api], lambda: [shop-worker] }";
const SETTLE: &str = "settle: action: wait, with: { duration: 1m }";

#[tokio::test(start_paused = true)]
async fn rules_alone_leave_the_sessions_that_stand_and_with_them_ended_nobody_writes() {
    let scene = fenced_scene(
        901,
        Purpose::Switchover,
        &[GROUP_STEP, SETTLE, CONNECTIONS, "rest: action: wait, with: { duration: 1m }"],
    );
    let live = well(&scene).await;
    assert!(0 < sessions(&live, EAST));
    let run = live.begin(Wish::Switchover).await;
    live.until_running(&run, "settle").await;
    assert_eq!(peers(&live), [KEPT]);
    let before = writes(&live);
    live.pass(30).await;
    assert!(before + 30 < writes(&live), "an edit of rules cuts nobody off");
    live.until_running(&run, "rest").await;
    assert_eq!(sessions(&live, EAST), 0);
    let before = writes(&live);
    live.pass(30).await;
    assert_eq!(writes(&live), before);
    assert_eq!(
        (fenced(&live, &run, "group.main"), fenced(&live, &run, "sessions.main")),
        ("verified".into(), "verified".into())
    );
    assert_eq!(live.outcome(&run, 120).await, SUCCEEDED);
}

#[tokio::test(start_paused = true)]
async fn sessions_that_come_back_are_no_fence() {
    let scene = fenced_scene(902, Purpose::Switchover, &[CONNECTIONS]);
    let live = well(&scene).await;
    let run = live.begin(Wish::Switchover).await;
    assert_eq!(live.outcome(&run, 300).await, Played::Held("fence-not-held".to_owned()));
    assert!(held_with(&live, &run).contains("session(s) are there, of application"), "{}", held_with(&live, &run));
}

#[tokio::test(start_paused = true)]
async fn an_abort_opens_every_fence_again_as_it_was() {
    let scene = fenced_scene(
        903,
        Purpose::Switchover,
        &[APPLICATION, GROUP_STEP, CONNECTIONS, "rest: action: wait, with: { duration: 5m }"],
    );
    let live = well(&scene).await;
    let run = live.begin(Wish::Switchover).await;
    live.until_running(&run, "rest").await;
    let east = region("us-east-1");
    let off = live.world.now(|w| {
        let service = w.services.ecs.service(&east, "shop", "api").expect("there").clone();
        (
            service.desired,
            service.running(w.now),
            w.services.lambda.function(&east, "shop-worker").and_then(|f| f.reserved),
        )
    });
    assert_eq!((off, peers(&live)), ((0, 0, Some(0)), vec![KEPT.to_owned()]));
    assert_eq!(fenced(&live, &run, "application"), "verified");
    live.act(&run, Act::Abort).await.expect("aborted");
    assert_eq!(live.outcome(&run, 300).await, Played::Finished(RunResult::Aborted), "{}", held_with(&live, &run));
    let mut back = peers(&live);
    back.sort();
    assert_eq!(back, [APP, KEPT].map(str::to_owned).into_iter().rev().collect::<Vec<_>>());
    let (desired, reserved, described) = live.world.now(|w| {
        let rules = &w.services.ec2.group(&east, GROUP).expect("there").rules;
        let described = rules.iter().all(|rule| rule.description.as_deref() == Some("the application"));
        let function = w.services.lambda.function(&east, "shop-worker").expect("there");
        (w.services.ecs.service(&east, "shop", "api").expect("there").desired, function.reserved, described)
    });
    assert_eq!((desired, reserved, described), (3, None, true), "with what they had, descriptions and all");
    live.pass(5).await;
    assert!(0 < sessions(&live, EAST), "the clients are let in again");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_of_a_fence_is_settled_by_looking() {
    for (seed, fault, times) in [(904, Fault::LoseAfter, 1), (905, Fault::LoseBefore, 1)] {
        let scene = fenced_scene(seed, Purpose::Switchover, &[GROUP_STEP]);
        let live = well(&scene).await;
        live.faults.arm(REVOKE, fault);
        let run = live.begin(Wish::Switchover).await;
        assert_eq!(live.outcome(&run, 300).await, SUCCEEDED, "{}", held_with(&live, &run));
        assert_eq!(peers(&live), [KEPT]);
        assert_eq!(called(&live, REVOKE), times);
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_that_lets_in_others_too_is_refused_with_their_names() {
    let scene = fenced_scene(906, Purpose::Switchover, &[GROUP_STEP]);
    scene.world.lock().expect("nobody panics").services.ec2.add(
        &region("us-east-1"),
        GROUP,
        5432,
        &[APP.to_owned(), "0.0.0.0/0".to_owned()],
    );
    let live = well(&scene).await;
    let run = live.begin(Wish::Switchover).await;
    assert_eq!(live.outcome(&run, 300).await, Played::Held("fence-refused".to_owned()));
    assert!(held_with(&live, &run).contains("lets in 0.0.0.0/0 too"), "{}", held_with(&live, &run));
    assert_eq!(called(&live, REVOKE), 0);
}

const CONSENT: &str = "approve: action: approve, with: { count: 1 }";
const BOUND: &str = "bound: action: gate.rpo, with: { limit: 1h }";
const PROMOTE: &str = "promote: action: aurora.failover";
const EVENT: &str = "event: action: fence.event, with: { within: 3m, on_unknown: pass }";
const WRITE: &str = "write: action: fence.write_must_fail, with: { within: 20s, on_unknown: pass }";

async fn fail_over(live: &Live) -> RunId {
    let run = live.begin(Wish::Failover).await;
    live.approve(&run).await;
    run
}

#[tokio::test(start_paused = true)]
async fn where_the_old_primary_is_reached_its_fence_is_verified_by_aws_and_by_a_write() {
    let scene = fenced_scene(911, Purpose::Failover, &[CONSENT, BOUND, PROMOTE, EVENT, WRITE]);
    let live = well(&scene).await;
    // The application's servers are ill, the database is not: AWS can fence it.
    live.world.now(|w| {
        faults::apply(
            w,
            &Trouble::Plane { plane: Plane::Application, region: region("us-east-1"), reach: Reach::Unavailable },
        )
    });
    live.pass(60).await;
    let run = fail_over(&live).await;
    assert_eq!(live.outcome(&run, 900).await, SUCCEEDED, "{}", held_with(&live, &run));
    assert_eq!(
        (fenced(&live, &run, "event.main"), fenced(&live, &run, "write.main")),
        ("verified".into(), "verified".into())
    );
    assert!(told(&live, &run, "write.main").1.contains("refused a write"), "{:?}", told(&live, &run, "write.main"));
}

#[tokio::test(start_paused = true)]
async fn with_the_source_out_of_reach_every_rung_ends_as_unknown_and_the_failover_goes_on() {
    let rungs = [
        "application: action: fence.application, with: { ecs: [shop/api], on_unknown: pass }",
        "group: action: fence.security_group, with: { group: sg-0a1b2c3d4e5f60718, from: [sg-08f7e6d5c4b3a2910], keep: \
         [10.9.0.0/24], on_unknown: pass }",
        "sessions: action: fence.connections, with: { on_unknown: pass }",
        "before: action: fence.write_must_fail, with: { within: 20s, on_unknown: pass }",
        CONSENT,
        BOUND,
        PROMOTE,
        EVENT,
    ];
    let scene = fenced_scene(912, Purpose::Failover, &rungs);
    let live = well(&scene).await;
    live.lose("us-east-1");
    live.pass(60).await;
    let run = live.begin(Wish::Failover).await;
    live.approve(&run).await;
    assert_eq!(live.outcome(&run, 1_200).await, SUCCEEDED, "{}", held_with(&live, &run));
    for step in ["application", "group.main", "sessions.main", "before.main"] {
        let (fenced, evidence) = told(&live, &run, step);
        assert_eq!(fenced, "unknown", "{step}: {evidence}");
        assert!(evidence.contains("NOT KNOWN"), "{step}: {evidence}");
    }
    let (fenced, evidence) = told(&live, &run, "event.main");
    assert_eq!(fenced, "timed_out", "{evidence}");
    assert_eq!(called(&live, ""), 0, "nothing is left to arrive when the Region comes back");
}

#[tokio::test(start_paused = true)]
async fn where_the_runbook_says_hold_an_unknown_fence_waits_for_a_person() {
    let scene = fenced_scene(913, Purpose::Failover, &["write: action: fence.write_must_fail, with: { within: 20s }"]);
    let live = well(&scene).await;
    live.lose("us-east-1");
    live.pass(60).await;
    let run = live.begin(Wish::Failover).await;
    assert_eq!(live.outcome(&run, 300).await, Played::Held("fence-unknown".to_owned()));
    assert!(held_with(&live, &run).contains("no answer within"), "{}", held_with(&live, &run));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_the_old_writer_takes_holds_the_run_whatever_the_runbook_says_of_the_unknown() {
    let scene =
        fenced_scene(914, Purpose::Switchover, &["write: action: fence.write_must_fail, with: { on_unknown: pass }"]);
    let live = well(&scene).await;
    let run = live.begin(Wish::Switchover).await;
    assert_eq!(live.outcome(&run, 300).await, Played::Held("fence-not-held".to_owned()));
    assert!(held_with(&live, &run).contains("TOOK a write"), "{}", held_with(&live, &run));
}

#[tokio::test(start_paused = true)]
async fn after_a_switchover_the_old_writer_refuses() {
    let scene = fenced_scene(
        915,
        Purpose::Switchover,
        &["promote: action: aurora.switchover", "write: action: fence.write_must_fail"],
    );
    let live = well(&scene).await;
    let run = live.begin(Wish::Switchover).await;
    assert_eq!(live.outcome(&run, 900).await, SUCCEEDED, "{}", held_with(&live, &run));
    assert_eq!(fenced(&live, &run, "write.main"), "verified");
}

#[tokio::test(start_paused = true)]
async fn a_secondary_of_aurora_refuses_at_its_reader_endpoint_and_without_one_nothing_is_known() {
    let address = |cluster: &str, region: &str| {
        format!("payments-{region}.cluster-{cluster}.{region}.rds.amazonaws.com:5432").parse().expect("an address")
    };
    for (seed, readers, expected) in [(922, true, "verified"), (923, false, "unknown")] {
        let write = "write: action: fence.write_must_fail, with: { within: 20s, on_unknown: pass }";
        let mut scene = fenced_scene(seed, Purpose::Switchover, &["promote: action: aurora.switchover", write]);
        for store in scene.application.stores.values_mut() {
            let heartbeat = store.heartbeat.as_mut().expect("configured");
            for (region, endpoint) in &mut heartbeat.endpoints {
                *endpoint = address("abc", region.as_str());
                if readers {
                    heartbeat.reader_endpoints.insert(region.clone(), address("ro-abc", region.as_str()));
                }
            }
        }
        let live = well(&scene).await;
        let run = live.begin(Wish::Switchover).await;
        assert_eq!(live.outcome(&run, 900).await, SUCCEEDED, "{}", held_with(&live, &run));
        let (fenced, evidence) = told(&live, &run, "write.main");
        assert_eq!(fenced, expected, "{evidence}");
        assert_eq!(evidence.contains("a connected secondary, refused a write"), readers, "{evidence}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_has_come_back_is_never_fenced() {
    let steps = ["promote: action: aurora.switchover", "wait: action: wait, with: { duration: 10m }", GROUP_STEP];
    let scene = fenced_scene(916, Purpose::Switchover, &steps);
    let live = well(&scene).await;
    let run = live.begin(Wish::Switchover).await;
    live.until_running(&run, "wait").await;
    // Somebody moves the writer back by hand.
    live.world.now(|w| {
        w.with_aurora(|aurora, ctx| aurora.switchover_global_cluster(&region("us-west-2"), "payments", EAST, ctx))
            .expect("AWS takes it")
    });
    assert_eq!(live.outcome(&run, 1_200).await, Played::Held("fence-refused".to_owned()));
    assert!(held_with(&live, &run).contains("is the writer again"), "{}", held_with(&live, &run));
    assert_eq!(peers(&live), [APP, KEPT]);
    // Dropped, it would be judged: the oracle knows of nobody else who moves writers.
    std::mem::forget(live);
}

#[tokio::test(start_paused = true)]
async fn a_runbook_decides_by_what_is_known_of_the_fence() {
    let steps = [
        "write: action: fence.write_must_fail, with: { store: main, within: 20s, on_unknown: pass }",
        "sure: action: assert, with: { that: \"steps.write.outputs.fenced == 'verified'\", message: Not fenced. }",
    ];
    let scene = fenced_scene(917, Purpose::Failover, &steps);
    let live = well(&scene).await;
    live.lose("us-east-1");
    live.pass(60).await;
    let run = live.begin(Wish::Failover).await;
    assert_eq!(live.outcome(&run, 300).await, Played::Held("assert-failed".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_port_and_a_database_are_probed() {
    let probes = [
        "port: action: probe.tcp, with: { endpoint: target, consecutive: 2 }",
        "writer: action: probe.postgres, with: { endpoint: source, consecutive: 2 }",
        "reader: action: probe.postgres, with: { connect_to: reader, expect: read_only }",
        "both: action: probe.postgres, with: { expect: answers }",
    ];
    let scene = fenced_scene(918, Purpose::Switchover, &probes);
    let live = well(&scene).await;
    let run = live.begin(Wish::Switchover).await;
    assert_eq!(live.outcome(&run, 300).await, SUCCEEDED);
    let (_, evidence) = told(&live, &run, "writer.main");
    assert_eq!(evidence, "payments-use1.example.com:5432 (us-east-1, writer) takes writes, 2 times in a row");
    assert_eq!(told(&live, &run, "port").1, "127.0.12.1:8080 was connected to, 2 times in a row");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_not_met_runs_out_of_time() {
    for (seed, probe, why) in [
        (919, "action: probe.tcp, timeout: 30s, with: { endpoint: source }", "127.0.11.1:8080: no connection"),
        (920, "action: probe.postgres, timeout: 30s, with: { endpoint: source, expect: answers }", "no answer within"),
        (921, "action: probe.postgres, timeout: 30s, with: { endpoint: target, expect: writable }", "is in recovery"),
    ] {
        let scene = fenced_scene(seed, Purpose::Failover, &[&format!("it: {probe}")]);
        let live = well(&scene).await;
        live.lose("us-east-1");
        live.pass(60).await;
        let run = live.begin(Wish::Failover).await;
        assert_eq!(live.outcome(&run, 300).await, Played::Held("step-timeout".to_owned()));
        assert!(held_with(&live, &run).contains(why), "{}", held_with(&live, &run));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_adapter_and_the_simulated_ec2_understand_each_other() {
    let aws = aws_call::simulated().await;
    let cloud = aws_call::cloud(&aws.aws_url, None);
    let east = region("us-east-1");
    let rules = async || rules_in(&cloud.ask(&describe_rules(&east, GROUP)).await.expect("told")).expect("whole");
    let before = rules().await;
    assert_eq!(before.iter().map(|r| r.peer.to_string()).collect::<Vec<_>>(), [APP, KEPT]);
    assert!(before.iter().all(|r| r.is_only(5432)), "{before:?}");

    let rung = Rung::SecurityGroup {
        region: east.clone(),
        group: GROUP.to_owned(),
        port: 5432,
        from: vec![APP.parse().expect("a peer")],
        keep: Vec::new(),
    };
    let revoke = rung.mutations(&[]).remove(0);
    let Mutation::AwsCall { request, .. } = &revoke else { panic!("{revoke:?}") };
    let gone = Wanted::of(request).expect("a fence's");
    let shown = async || gone.judge(&cloud.ask(&gone.read()).await.expect("told")).expect("clear");
    assert!(matches!(shown().await, Shown::NotSo { .. }));
    assert!(matches!(cloud.apply(&revoke, jiff::Timestamp::now()).await, Outcome::Accepted { .. }));
    assert!(matches!(shown().await, Shown::So { .. }));
    let again = cloud.apply(&revoke, jiff::Timestamp::now()).await;
    assert!(matches!(&again, Outcome::Rejected { code, .. } if code == "InvalidPermission.NotFound"), "{again:?}");

    let back = authorise(&east, GROUP, &before[..1]);
    assert!(matches!(cloud.apply(&back, jiff::Timestamp::now()).await, Outcome::Accepted { .. }));
    let mut after = rules().await;
    after.reverse();
    assert_eq!(after, before, "to the description");
    let twice = cloud.apply(&back, jiff::Timestamp::now()).await;
    assert!(matches!(&twice, Outcome::Rejected { code, .. } if code == "InvalidPermission.Duplicate"), "{twice:?}");

    let set = |reach| aws.world.with(|w| w.set_plane(Plane::Ec2, &region("us-east-1"), reach));
    set(Reach::DeniesAccess);
    let refused = cloud.ask(&describe_rules(&east, GROUP)).await;
    assert!(
        matches!(&refused, Err(ObserveError::Rejected { code, .. }) if code == "UnauthorizedOperation"),
        "{refused:?}"
    );
    set(Reach::Throttles);
    assert_eq!(cloud.ask(&describe_rules(&east, GROUP)).await, Err(ObserveError::Throttled));

    let events = EventSource::DbInstance { identifier: "payments-use1-1".to_owned() };
    assert_eq!(cloud.events(&east, &events, Duration::from_secs(3_600)).await, Ok(Vec::new()));
    aws.stop().await;
}

#[test]
fn every_documented_step_is_valid() {
    for block in DOCS.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().expect("closed")) {
        let whole = if block.starts_with("runbook:") {
            block.to_owned()
        } else {
            let steps: String = block.lines().map(|line| format!("  {line}\n")).collect();
            format!("runbook: documented\npurpose: failback\ndescription: As documented.\nsteps:\n{steps}")
        };
        if let Err(faults) = Runbook::parse("docs/fences.md", &whole) {
            panic!("{whole}\n{faults:#?}");
        }
    }
}
