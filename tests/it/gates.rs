//! The gates of capacity, quota and replication, whole: a runbook, the engine, the simulated world.

use std::{collections::BTreeMap, time::Duration};

use failoverd::{
    config,
    domain::{
        application::Application,
        capacity::{Capacity, Size},
        id::{Digest, RunbookName},
        plan::Purpose,
        replica::{ReplicatedStore, ReplicationRule},
        run::{RunResult, StepState},
        runbook::Runbook,
        signal::{Signal, SignalRole, SignalSource},
    },
    engine::control::{Control as _, Wish},
    sim::{
        faults::{self, Trouble},
        rehearse::{Rehearsed, Setup, run::rehearse},
        scenario::Scenario,
    },
};

use crate::support::{Live, Played, Scene, payments, region, scene};

const SUCCEEDED: Played = Played::Finished(RunResult::Succeeded);

fn shipped(name: &str) -> Scenario {
    let mut all = Scenario::embedded().into_iter();
    let (file, text) = all.find(|(file, _)| file.ends_with(&format!("/{name}.yaml"))).expect("it ships");
    scenario(file, text)
}

fn scenario(file: &str, text: &str) -> Scenario {
    let written = Scenario::parse(file, text).unwrap_or_else(|faults| panic!("{file}: {faults:?}"));
    written.resolve(&scene::application().regions).unwrap_or_else(|faults| panic!("{file}: {faults:?}"))
}

fn rehearsed(application: Application, scenario: &Scenario) -> Rehearsed {
    let setup = Setup { application, runbooks: config::shipped(), config_digest: Digest::of(b"config") };
    rehearse(&setup, scenario, 1, false)
}

fn sound(rehearsed: &Rehearsed) {
    assert!(rehearsed.violations.is_empty() && rehearsed.unmet.is_empty(), "{rehearsed:#?}");
}

#[test]
fn a_planned_move_to_a_region_that_is_too_small_holds() {
    let rehearsed = rehearsed(scene::application(), &shipped("target-too-small"));
    sound(&rehearsed);
    assert!(rehearsed.faults_met.contains_key(&56), "{:?}", rehearsed.faults_met);
}

#[test]
fn a_planned_move_to_a_region_where_nothing_can_be_added_holds() {
    let rehearsed = rehearsed(scene::application(), &shipped("target-quota-exhausted"));
    sound(&rehearsed);
    assert!(rehearsed.faults_met.contains_key(&55), "{:?}", rehearsed.faults_met);
}

#[test]
fn in_a_disaster_a_target_that_is_too_small_holds_nobody_up() {
    sound(&rehearsed(scene::application(), &shipped("target-too-small-in-disaster")));
}

/// The evidence or the failure of a step, and its output `known`.
fn told(live: &Live, run: &failoverd::domain::id::RunId, step: &str) -> (String, Option<bool>) {
    match &live.run(run).steps[&step.parse().expect("a step")] {
        StepState::Done { evidence, outputs, .. } => {
            (evidence.join("; "), outputs.get("known").and_then(serde_json::Value::as_bool))
        }
        StepState::Failed { reason, .. } => (format!("FAILED {reason}"), None),
        other => panic!("{step} is {other:?}"),
    }
}

fn trouble(live: &Live, trouble: &Trouble) {
    live.world.now(|world| faults::apply(world, trouble));
}

/// A failover out of the lost us-east-1, and what its gate of capacity told.
async fn failed_over(seed: u64, seen_well: bool, change: impl FnOnce(&mut Application)) -> (String, Option<bool>) {
    let mut scene = Scene::payments(seed, 240);
    change(&mut scene.application);
    if !seen_well {
        scene.world.lock().expect("nobody panics while holding it").lose_region(&region("us-east-1"));
    }
    let live = scene.start(0).await;
    if seen_well {
        live.ready().await;
        live.pass(30).await;
        trouble(&live, &Trouble::Undersized { region: region("us-west-2") });
        live.lose("us-east-1");
    }
    live.pass(60).await;
    let run = live.begin(Wish::Failover).await;
    live.approve(&run).await;
    assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
    told(&live, &run, "check-capacity.main")
}

#[tokio::test(start_paused = true)]
async fn a_failover_holds_the_target_to_what_the_lost_source_had_when_it_was_well() {
    let (says, _) = failed_over(41, true, |_| ()).await;
    assert!(says.starts_with("FAILED payments-usw2: 1 of the 2 needed of 2 x db.r6g.large fit"), "{says}");
    assert!(says.contains("(as payments-use1 had at "), "{says}");
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_has_never_seen_the_source_says_that_it_does_not_know() {
    let (says, known) = failed_over(42, false, |_| ()).await;
    assert!(says.starts_with("NOT KNOWN, and passed as the runbook says: what payments-use1 carries"), "{says}");
    assert_eq!(known, Some(false));
}

#[tokio::test(start_paused = true)]
async fn a_declared_capacity_needs_nobody_s_memory() {
    let declare = |application: &mut Application| {
        for store in application.stores.values_mut() {
            let size = Size::Provisioned { class: "db.r6g.2xlarge".to_owned() };
            store.capacity = Some(Capacity { instances: 2, size });
        }
    };
    let (says, known) = failed_over(43, false, declare).await;
    assert!(
        says.starts_with("FAILED") && says.contains("2 x db.r6g.2xlarge") && says.contains("as declared"),
        "{says}"
    );
    assert_eq!(known, None);
}

#[tokio::test(start_paused = true)]
async fn the_decision_knows_the_capacity_of_the_target() {
    let scene = Scene::payments(44, 240);
    let live = scene.start(0).await;
    live.ready().await;
    live.pass(30).await;
    let seen = live.engine.capacities(&payments());
    let of = |r: &str| seen.get(&("main".parse().expect("a store"), region(r)));
    assert_eq!(of("us-west-2").map(|s| s.carried.instances.len()), Some(2), "{seen:?}");
    trouble(&live, &Trouble::Undersized { region: region("us-west-2") });
    trouble(&live, &Trouble::Undersized { region: region("us-east-1") });
    live.pass(330).await;
    let seen = live.engine.capacities(&payments());
    let west = &seen[&("main".parse().expect("a store"), region("us-west-2"))];
    assert_eq!(west.carried.instances.len(), 1, "what is there now");
}

/// An application with an S3 store, whose replication is held to 15 min, and the runbook that does so.
fn with_audit(unknown: &str) -> Setup {
    let mut application = scene::application();
    let (east, west) = (region("us-east-1"), region("us-west-2"));
    let audit: failoverd::domain::id::StoreName = "audit".parse().expect("a name");
    application.replicas.insert(
        audit.clone(),
        ReplicatedStore::S3 {
            buckets: BTreeMap::from([(east.clone(), "audit-use1".to_owned()), (west.clone(), "audit-usw2".to_owned())]),
            rules: vec![ReplicationRule { from: east, to: west, rule_id: "to-usw2".to_owned(), metrics_region: None }],
        },
    );
    let signal = |name: &str, source: SignalSource| Signal {
        name: name.parse().expect("a name"),
        role: SignalRole::Informational,
        source,
        period: Duration::from_secs(30),
        freshness: Duration::from_secs(600),
        consecutive: 1,
    };
    use failoverd::domain::{replica::Backlog, signal::threshold::Threshold};
    let threshold = || Threshold::new("> 100000".parse().expect("a limit"), None).expect("a threshold");
    let pending = |backlog| SignalSource::ReplicaBacklog { store: audit.clone(), backlog, threshold: threshold() };
    application.signals.push(signal("audit-lag", SignalSource::ReplicaLag { store: audit.clone() }));
    application.signals.push(signal("audit-bytes", pending(Backlog::Bytes)));
    application.signals.push(signal("audit-operations", pending(Backlog::Operations)));
    let text = RUNBOOK.replace("UNKNOWN", unknown);
    let (runbook, warnings) = Runbook::parse("drained.yaml", &text).expect("a runbook");
    assert!(warnings.is_empty(), "{warnings:?}");
    let name: RunbookName = "drained".parse().expect("a name");
    application.runbooks.insert(Purpose::Switchover, name.clone());
    let mut runbooks = config::shipped();
    runbooks.insert(name, (runbook, Digest::of(text.as_bytes())));
    Setup { application, runbooks, config_digest: Digest::of(b"config") }
}

const RUNBOOK: &str = r"
runbook: drained
purpose: switchover
description: Moves when everything has been replicated.
steps:
  - { id: check-target, title: fit, action: gate.target }
  - { id: replicated, title: drained, action: gate.replication, timeout: 10m, with: { lag: 15m, unknown: UNKNOWN } }
  - { id: switch, title: switch, action: aurora.switchover, needs: [check-target, replicated] }
  - { id: flip, title: flip, action: dns.flip, needs: [switch] }
";

/// A planned move that is asked for after `asked` minutes of trouble.
fn planned(asked: u32, happening: &str, ends: &str) -> Scenario {
    let text = format!(
        "scenario: replication\ndescription: as it says\nwarm_up: 5m\nhappenings: [{{ at: 0s, {happening} }}]\n\
         people: {{ ask: {{ wish: switchover, at: {asked}m }} }}\nlasts: 40m\nexpect: [{{ run: {{ ends: {ends} }} }}]\n"
    );
    scenario("replication.yaml", &text)
}

#[test]
fn a_planned_move_waits_until_s3_has_replicated_everything() {
    let lags = planned(5, "replicas_lag: primary", "held, code: step-timeout");
    sound(&rehearse(&with_audit("hold"), &lags, 1, false));
    sound(&rehearse(&with_audit("pass"), &lags, 1, false));
    let drains = planned(5, "lasts: 8m, replicas_lag: primary", "succeeded");
    sound(&rehearse(&with_audit("hold"), &drains, 1, false));
}

#[test]
fn a_replication_metric_that_is_silent_holds_or_passes_as_the_runbook_says() {
    let silent = |ends| planned(15, "metrics: { region: standby, namespace: AWS/S3, fault: withhold }", ends);
    sound(&rehearse(&with_audit("hold"), &silent("held, code: step-timeout"), 1, false));
    sound(&rehearse(&with_audit("pass"), &silent("succeeded"), 1, false));
}
