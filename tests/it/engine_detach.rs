//! A database that is taken out of its global cluster, because no failover is possible: what it needs, what it leaves, and
//! what is refused afterwards.

use failoverd::{
    domain::{
        plan::Purpose,
        run::{Phase, RunResult, StepState},
    },
    engine::control::{Control as _, Refusal, StartRun, Started, Wish},
};

use crate::support::{Live, Played, Scene, region};

const SUCCEEDED: Played = Played::Finished(RunResult::Succeeded);

fn by_name(wish: Wish, runbook: &str) -> StartRun {
    StartRun { runbook: Some(runbook.parse().expect("valid")), ..Live::request(wish) }
}

/// The standby runs another engine version, and the primary Region is lost.
async fn mismatched(scene: &Scene) -> Live {
    let live = scene.start(0).await;
    live.ready().await;
    live.world.now(|w| w.aurora.set_mismatched(&region("us-west-2"), true));
    live.lose("us-east-1");
    live.pass(5).await;
    live
}

async fn detach(live: &Live) -> failoverd::domain::id::RunId {
    let Ok(Started::Run { id, .. }) = live.ask(by_name(Wish::Failover, "detach-and-promote")).await else {
        panic!("it is started")
    };
    live.approve(&id).await;
    live.answer(&id, "third", true).await.expect("approved");
    id
}

fn held_reason(live: &Live, run: &failoverd::domain::id::RunId) -> String {
    let Phase::Held { reason, .. } = live.run(run).phase.clone() else { panic!("{:?}", live.run(run).phase) };
    reason
}

#[tokio::test(start_paused = true)]
async fn what_no_failover_serves_is_detached_and_serves_alone() {
    let scene = Scene::payments(500, 240);
    let live = mismatched(&scene).await;
    let run = live.begin(Wish::Failover).await;
    assert_eq!(live.outcome(&run, 600).await, Played::Held("gate-target".to_owned()));
    assert!(held_reason(&live, &run).contains("detach-and-promote"), "{}", held_reason(&live, &run));

    let run = detach(&live).await;
    assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
    assert_eq!(live.accepted("RemoveFromGlobalCluster"), 1);
    assert_eq!(live.accepted("FailoverGlobalCluster"), 0);
    assert!(live.ledger().served_again_at.is_some());
    let StepState::Done { evidence, outputs, .. } = live.step(&run, "detach.main") else { panic!("done") };
    assert_eq!(outputs["standalone"], true);
    assert!(evidence.iter().any(|e| e.contains("nothing fences the old writer")), "{evidence:?}");
    assert!(live.run(&run).loss.is_some(), "what was lost is told");
}

#[tokio::test(start_paused = true)]
async fn one_approval_is_not_enough_to_detach() {
    let scene = Scene::payments(501, 240);
    let live = mismatched(&scene).await;
    let Ok(Started::Run { id, .. }) = live.ask(by_name(Wish::Failover, "detach-and-promote")).await else {
        panic!("it is started")
    };
    live.approve(&id).await;
    assert_eq!(live.outcome(&id, 3_600).await, Played::Held("approval-expired".to_owned()));
    assert_eq!(live.accepted("RemoveFromGlobalCluster"), 0);
}

#[tokio::test(start_paused = true)]
async fn when_the_old_region_comes_back_its_writer_is_not_the_stores_and_a_failback_is_refused() {
    let scene = Scene::payments(502, 240).with_runbook(
        Purpose::Switchover,
        "runbook: only-flip\npurpose: switchover\ndescription: d\nsteps:\n  - { id: verify, action: aurora.verify_writer, timeout: 2m }\n  - { id: flip, action: dns.flip, needs: [verify] }\n",
    );
    let live = mismatched(&scene).await;
    let run = detach(&live).await;
    assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
    live.world.now(|w| w.restore_region(&region("us-east-1")));
    live.pass(600).await;
    // What is left of the global cluster has a writer, and AWS shows it.
    let left = live.world.now(|w| w.aurora.writer_of("payments").map(|w| w.region.clone()));
    assert_eq!(left, Some(region("us-east-1")));
    assert_eq!(live.assessment().active_region, Some(region("us-west-2")));

    // Before all else, what was left there is to be reconciled.
    let refused = live.ask(Live::request(Wish::Failback)).await;
    assert!(matches!(refused, Err(Refusal::Unreconciled { .. })), "{refused:?}");
    live.reconcile(&run).await;
    let home = live.begin(Wish::Failback).await;
    assert_eq!(live.outcome(&home, 3_600).await, Played::Held("gate-target".to_owned()));
    let why = held_reason(&live, &home);
    assert!(why.contains("stands alone") && why.contains("rds:CreateGlobalCluster"), "{why}");
    live.act(&home, failoverd::engine::control::Act::Abort).await.expect("aborted");
    live.outcome(&home, 600).await;

    // Not even traffic alone goes to the writer of what was left behind.
    let flips = live.flips();
    let only = live.ask(by_name(Wish::Switchover, "only-flip")).await;
    let Ok(Started::Run { id, .. }) = only else { panic!("{only:?}") };
    assert_eq!(live.outcome(&id, 3_600).await, Played::Held("step-timeout".to_owned()));
    assert!(held_reason(&live, &id).contains("stands alone"), "{}", held_reason(&live, &id));
    assert_eq!(live.flips(), flips);
}

#[tokio::test(start_paused = true)]
async fn a_restart_knows_what_was_detached() {
    let scene = Scene::payments(503, 240);
    {
        let live = mismatched(&scene).await;
        let run = detach(&live).await;
        assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
    }
    scene.world.lock().expect("nobody panics").restore_region(&region("us-east-1"));
    let live = scene.start(30).await;
    live.until("the active Region is known", 60, |live| {
        live.engine.assessment(&crate::support::payments()).is_some_and(|a| a.active_region.is_some())
    })
    .await;
    live.pass(60).await;
    assert_eq!(live.assessment().active_region, Some(region("us-west-2")));
    let history = live.engine.history(&crate::support::payments()).expect("a history");
    assert_eq!(history.detached.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_target_without_an_instance_is_not_detached() {
    let scene = Scene::payments(504, 240);
    let live = mismatched(&scene).await;
    live.world.now(|w| w.aurora.set_headless(&region("us-west-2"), true));
    let Ok(Started::Run { id, .. }) = live.ask(by_name(Wish::Failover, "detach-and-promote")).await else {
        panic!("it is started")
    };
    assert_eq!(live.outcome(&id, 600).await, Played::Held("gate-target".to_owned()));
    assert_eq!(live.accepted("RemoveFromGlobalCluster"), 0);
}
