//! What follows a forced failover: nothing planned leads back before what it left is looked at and signed.

use std::collections::BTreeMap;

use failoverd::{
    config,
    domain::{
        id::{Digest, RunId},
        overrides::OverrideKind,
        plan::Purpose,
        replica::{ReplicatedStore, ReplicationRule},
        run::RunResult,
    },
    engine::control::{Act, AskOverride, Control as _, Refusal, StartRun, Started, Wish},
    http::salvage::{ReconciliationState, ReconciliationView},
    sim::{
        rehearse::{Setup, run::rehearse},
        scenario::Scenario,
    },
};

use crate::support::{Live, Played, Scene, payments, region, scene};

const SUCCEEDED: Played = Played::Finished(RunResult::Succeeded);

/// A forced failover from us-east-1 has succeeded, and that Region is back.
async fn came_back(scene: &Scene) -> (Live, RunId) {
    let live = scene.start(0).await;
    live.ready().await;
    live.lose("us-east-1");
    let run = live.begin(Wish::Failover).await;
    live.approve(&run).await;
    assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
    live.world.now(|w| w.restore_region(&region("us-east-1")));
    live.pass(120).await;
    (live, run)
}

async fn refused(live: &Live, request: StartRun) -> Option<Refusal> {
    live.ask(request).await.err()
}

/// Approves the salvage as somebody else, once it asks for that.
async fn sign(live: &Live, salvage: &RunId) {
    live.until("it waits for a signature", 4 * 3_600, |live| live.step(salvage, "sign").is_in_flight()).await;
    let digest = live.run(salvage).plan_digest.clone();
    let act = |digest: Digest| Act::Approve { step: "sign".parse().expect("valid"), approved: true, digest };
    let own = live.engine_act(salvage, act(digest.clone()), "oncall").await;
    assert!(matches!(own, Err(Refusal::SelfApproval(_))), "{own:?}");
    live.engine_act(salvage, act(digest), "second").await.expect("signed");
    assert_eq!(live.outcome(salvage, 600).await, SUCCEEDED);
}

fn view(live: &Live, run: &RunId) -> ReconciliationView {
    let history = live.engine.history(&payments()).expect("a history");
    ReconciliationView::of(&scene::application(), &history, &history.runs[run]).expect("it left writes")
}

#[tokio::test(start_paused = true)]
async fn nothing_planned_leads_back_until_somebody_else_has_signed() {
    let scene = Scene::payments(700, 240);
    let (live, failover) = came_back(&scene).await;
    for wish in [Wish::Failback, Wish::Switchover] {
        match refused(&live, Live::request(wish)).await {
            Some(Refusal::Unreconciled { run, region: of }) => {
                assert_eq!((run, of), (failover.clone(), region("us-east-1")))
            }
            other => panic!("{other:?}"),
        }
    }
    // A person may ask for a failover: only what is accepted to be lost stands against it.
    let forced = StartRun { dry_run: true, ..Live::request(Wish::Failover) };
    assert!(matches!(live.ask(forced).await, Ok(Started::Planned { .. })));
    assert_eq!(view(&live, &failover).state, ReconciliationState::Open);
    let salvage = live.begin(Wish::Salvage { run: None }).await;
    assert_eq!(live.run(&salvage).plan.reconciles.as_ref(), Some(&failover));
    sign(&live, &salvage).await;
    crate::histories::keep(&scene, "salvage").await;
    let signed = view(&live, &failover);
    assert_eq!((signed.state, signed.signed_by), (ReconciliationState::Signed, vec!["second".to_owned()]));
    assert_eq!(signed.snapshots[0].state, "copied", "{:?}", signed.snapshots);
    assert_eq!(live.accepted("CopyDBClusterSnapshot"), 1, "the failover's own work, not a second one");
    match refused(&live, Live::request(Wish::Salvage { run: None })).await {
        Some(Refusal::NothingToSalvage { .. }) => {}
        other => panic!("{other:?}"),
    }
    let home = live.begin(Wish::Failback).await;
    assert_eq!(live.outcome(&home, 4 * 3_600).await, SUCCEEDED);
}

#[tokio::test(start_paused = true)]
async fn a_failover_takes_the_place_of_a_salvage_at_once_and_leaves_it_unsigned() {
    let scene = Scene::payments(701, 240);
    let (live, failover) = came_back(&scene).await;
    live.until("the old Region can be promoted", 4 * 3_600, |live| {
        live.world.now(|w| {
            let cluster = w.aurora.cluster("arn:aws:rds:us-east-1:123456789012:cluster:payments-use1");
            cluster.is_some_and(|c| c.membership == failoverd::sim::world::aurora::Membership::Connected)
        })
    })
    .await;
    let salvage = live.begin(Wish::Salvage { run: Some(failover.clone()) }).await;
    live.until_running(&salvage, "sign").await;
    let accepted = Some(std::time::Duration::from_hours(24));
    match live.ask(StartRun { accept_data_loss: accepted, ..Live::request(Wish::Failover) }).await {
        Ok(Started::Run { supersedes, .. }) => assert_eq!(supersedes, Some(salvage.clone())),
        other => panic!("{other:?}"),
    }
    assert_eq!(live.outcome(&salvage, 1).await, Played::Finished(RunResult::Superseded));
    assert_eq!(view(&live, &failover).state, ReconciliationState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_person_may_say_that_it_was_dealt_with_elsewhere() {
    let scene = Scene::payments(702, 240);
    let (live, failover) = came_back(&scene).await;
    let asked = |reconciled: bool| AskOverride {
        application: payments(),
        kind: OverrideKind::Acknowledge { run: failover.clone(), reconciled },
        reason: "restored by hand".to_owned(),
        expires_in: std::time::Duration::from_hours(1),
        subject: "oncall".parse().expect("valid"),
        idempotency_key: None,
    };
    live.engine.override_ask(asked(false)).await.expect("taken");
    assert!(matches!(refused(&live, Live::request(Wish::Failback)).await, Some(Refusal::Unreconciled { .. })));
    live.engine.override_ask(asked(true)).await.expect("taken");
    assert_eq!(refused(&live, Live::request(Wish::Failback)).await, None);
    let seen = view(&live, &failover);
    assert_eq!((seen.state, seen.signed_by), (ReconciliationState::Acknowledged, vec!["oncall".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_planned_move_leaves_nothing_to_salvage() {
    let scene = Scene::payments(703, 240);
    let live = scene.start(0).await;
    live.ready().await;
    let run = live.begin(Wish::Switchover).await;
    assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
    for wish in [Wish::Salvage { run: None }, Wish::Salvage { run: Some(run.clone()) }] {
        let refused = refused(&live, Live::request(wish)).await;
        assert!(matches!(refused, Some(Refusal::NothingToSalvage { .. })), "{refused:?}");
    }
    let home = live.begin(Wish::Failback).await;
    assert_eq!(live.outcome(&home, 4 * 3_600).await, SUCCEEDED);
}

#[test]
fn tables_and_buckets_are_looked_at_and_what_is_not_known_is_told_as_unknown() {
    let (east, west) = (region("us-east-1"), region("us-west-2"));
    let mut application = scene::application();
    let table = ReplicatedStore::Dynamodb { table: "sessions".to_owned(), regions: vec![east.clone(), west.clone()] };
    let bucket = ReplicatedStore::S3 {
        buckets: BTreeMap::from([(east.clone(), "audit-use1".to_owned()), (west.clone(), "audit-usw2".to_owned())]),
        rules: vec![ReplicationRule { from: east, to: west, rule_id: "all".to_owned(), metrics_region: None }],
    };
    application.replicas.insert("sessions".parse().expect("valid"), table);
    application.replicas.insert("audit".parse().expect("valid"), bucket);
    let mut all = Scenario::embedded().into_iter();
    let (file, text) = all.find(|(file, _)| file.ends_with("/salvage-and-failback.yaml")).expect("it ships");
    let written = Scenario::parse(file, text).unwrap_or_else(|faults| panic!("{faults:?}"));
    let scenario = written.resolve(&application.regions).unwrap_or_else(|faults| panic!("{faults:?}"));
    let setup = Setup { application, runbooks: config::shipped(), config_digest: Digest::of(b"config") };
    let rehearsed = rehearse(&setup, &scenario, 1, true);
    assert!(rehearsed.violations.is_empty() && rehearsed.unmet.is_empty(), "{rehearsed:#?}");
    assert_eq!(rehearsed.faults_met.get(&62), Some(&1), "the failback that was refused");
    let told: Vec<&str> = rehearsed.trace.iter().map(|line| line.text.as_str()).collect();
    let told = told.join("\n");
    for part in [
        "audit-use1 at ",
        "3 pending and 1 failed, 400 bytes, of 24 objects",
        "sessions: both Regions may have taken writes from 2026",
        "until unknown",
        "no fence.application was verified",
    ] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
}

#[test]
fn the_runbook_that_ships_is_a_salvage_that_moves_nothing_and_fits_every_application() {
    let (runbook, digest) = &config::shipped()[&"salvage".parse().expect("valid")];
    assert!(runbook.read_only && runbook.purposes.iter().eq([&Purpose::Salvage]));
    let mut bare = scene::application();
    bare.stores.clear();
    for application in [scene::application(), bare] {
        let (source, target) = (region("us-east-1"), region("us-west-2"));
        let config = Digest::of(b"config");
        let plan = failoverd::domain::compile::compile(
            &application,
            runbook,
            Purpose::Salvage,
            &source,
            &target,
            None,
            &config,
            digest,
        );
        let plan = plan.unwrap_or_else(|faults| panic!("{faults:?}"));
        assert_eq!(failoverd::domain::salvage::moves(&plan), None);
    }
}
