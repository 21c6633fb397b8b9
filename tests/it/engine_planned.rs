//! Planned moves: nothing may be lost.

use failoverd::{
    domain::run::{RunResult, StepState},
    engine::control::{Act, Refusal, Started, Wish},
    sim::world::{Plane, Reach},
};

use crate::support::{Live, Played, Scene, region};

const SUCCEEDED: Played = Played::Finished(RunResult::Succeeded);

#[tokio::test(start_paused = true)]
async fn a_planned_switchover_loses_nothing() {
    let scene = Scene::payments(10, 240);
    let live = scene.start(0).await;
    live.ready().await;
    let run = live.begin(Wish::Switchover).await;
    assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
    live.pass(90).await;
    let ledger = live.ledger();
    assert_eq!(ledger.writes_lost, 0, "{ledger:?}");
    assert!(ledger.served_again_at.is_some(), "{ledger:?}");
    assert_eq!(live.accepted("SwitchoverGlobalCluster"), 1);
    assert_eq!(live.flips(), 1);
    assert_eq!(live.assessment().active_region, Some(region("us-west-2")));
    assert!(live.run(&run).loss.as_ref().is_some_and(|l| l.at_most.is_some_and(|d| d.is_zero())));
}

#[tokio::test(start_paused = true)]
async fn auto_is_a_switchover_where_all_is_well() {
    let scene = Scene::payments(11, 240);
    let live = scene.start(0).await;
    live.ready().await;
    live.pass(30).await;
    let run = live.begin(Wish::Auto).await;
    assert_eq!(live.run(&run).request.purpose, failoverd::domain::plan::Purpose::Switchover);
}

#[tokio::test(start_paused = true)]
async fn auto_never_starts_a_lossy_failover_by_itself() {
    let scene = Scene::payments(12, 240);
    let live = scene.start(0).await;
    live.ready().await;
    live.lose("us-east-1");
    live.pass(60).await;
    let refused = live.ask(Live::request(Wish::Auto)).await;
    assert!(matches!(refused, Err(Refusal::Gate { gate: "data-loss", .. })), "{refused:?}");
    let mut dry = Live::request(Wish::Auto);
    dry.dry_run = true;
    let Ok(Started::Planned { chosen: Some(choice), .. }) = live.ask(dry).await else { panic!("a plan, and why") };
    assert_eq!(choice.purpose, failoverd::domain::plan::Purpose::Failover);
    assert!(
        choice.why.starts_with("a switchover is not proved to lose nothing: the application's health is "),
        "{choice:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn after_a_switchover_a_failback_brings_everything_home() {
    let scene = Scene::payments(13, 240);
    let live = scene.start(0).await;
    live.ready().await;
    let away = live.begin(Wish::Switchover).await;
    assert_eq!(live.outcome(&away, 3_600).await, SUCCEEDED);
    live.pass(360).await;
    let home = live.begin(Wish::Failback).await;
    assert_eq!(live.outcome(&home, 14 * 3_600).await, SUCCEEDED);
    live.pass(90).await;
    assert_eq!(live.ledger().writes_lost, 0);
    assert_eq!(live.assessment().active_region, Some(region("us-east-1")));
    assert_eq!(live.accepted("SwitchoverGlobalCluster"), 2);
}

#[tokio::test(start_paused = true)]
async fn after_a_failover_a_failback_waits_until_the_old_region_has_caught_up_and_loses_nothing_more() {
    let scene = Scene::payments(14, 240);
    let live = scene.start(0).await;
    live.ready().await;
    live.lose("us-east-1");
    let away = live.begin(Wish::Failover).await;
    live.approve(&away).await;
    assert_eq!(live.outcome(&away, 3_600).await, SUCCEEDED);
    let lost = live.ledger().writes_lost;
    live.world.now(|w| w.restore_region(&region("us-east-1")));
    live.pass(120).await;
    live.reconcile(&away).await;
    let home = live.begin(Wish::Failback).await;
    assert_eq!(live.outcome(&home, 14 * 3_600).await, SUCCEEDED);
    live.pass(90).await;
    assert_eq!(live.ledger().writes_lost, lost, "the failback lost something");
    assert_eq!(live.assessment().active_region, Some(region("us-east-1")));
}

/// FAULTS.md 64: while its storage is replaced, the old Region has nothing to fail over to.
#[tokio::test(start_paused = true)]
async fn there_is_no_second_failover_to_a_standby_that_is_still_rebuilding() {
    let scene = Scene::payments(19, 240);
    let live = away_from_home(&scene).await;
    let rebuilding = |live: &Live| {
        let east = region("us-east-1");
        live.world.now(|w| w.aurora.clusters(&east).all(|c| c.status == "modifying"))
    };
    live.until("the old Region is being rebuilt", 4 * 3_600, rebuilding).await;
    live.lose("us-west-2");
    live.pass(30).await;
    let mut request = Live::request(Wish::Failover);
    request.accept_data_loss = Some(std::time::Duration::from_secs(86_400));
    let before = live.accepted("FailoverGlobalCluster");
    match live.ask(request).await {
        Ok(Started::Run { id, .. }) => {
            assert_eq!(live.outcome(&id, 3_600).await, Played::Held("gate-target".to_owned()))
        }
        Ok(other) => panic!("{other:?}"),
        Err(refused) => panic!("the gate should have said why: {refused}"),
    }
    assert_eq!(live.accepted("FailoverGlobalCluster"), before);
}

/// An engine that has failed over to us-west-2; us-east-1 is back, and what it left there is reconciled.
async fn away_from_home(scene: &Scene) -> Live {
    let live = scene.start(0).await;
    live.ready().await;
    live.lose("us-east-1");
    let away = live.begin(Wish::Failover).await;
    live.approve(&away).await;
    assert_eq!(live.outcome(&away, 3_600).await, SUCCEEDED);
    live.world.now(|w| w.restore_region(&region("us-east-1")));
    live.pass(60).await;
    live.reconcile(&away).await;
    live
}

#[tokio::test(start_paused = true)]
async fn a_failback_to_a_region_that_is_still_lost_is_refused_until_something_says_that_it_is_back() {
    let scene = Scene::payments(18, 240);
    let live = away_from_home(&scene).await;
    live.lose("us-east-1");
    live.pass(60).await;
    match live.ask(Live::request(Wish::Failback)).await {
        Err(Refusal::Gate { gate: "target-alive", why, satisfied_by }) => {
            assert!(why.contains("us-east-1") && why.contains("probe-use1"), "{why}");
            assert!(satisfied_by.contains("probe-use1"), "{satisfied_by}");
        }
        other => panic!("{other:?}"),
    }
    live.world.now(|w| w.restore_region(&region("us-east-1")));
    live.pass(60).await;
    live.begin(Wish::Failback).await;
}

#[tokio::test(start_paused = true)]
async fn a_failback_to_a_lost_region_of_which_no_signal_speaks_is_held_in_minutes_and_goes_on_when_it_is_back() {
    let mut scene = Scene::payments(19, 240);
    scene.application.signals.retain(|s| s.name.as_str() != "probe-use1");
    let live = away_from_home(&scene).await;
    live.lose("us-east-1");
    let home = live.begin(Wish::Failback).await;
    assert_eq!(live.outcome(&home, 900).await, Played::Held("gate-target".to_owned()));
    live.world.now(|w| w.restore_region(&region("us-east-1")));
    live.pass(60).await;
    live.act(&home, Act::Resume).await.expect("resumed");
    assert_eq!(live.outcome(&home, 14 * 3_600).await, SUCCEEDED);
}

/// Nobody takes messages any more.
fn hush(live: &Live) {
    live.world.now(|w| {
        for name in ["us-east-1", "us-west-2"] {
            w.set_plane(Plane::Sns, &region(name), Reach::Hangs);
        }
    });
}

#[tokio::test(start_paused = true)]
async fn a_failover_does_not_wait_for_a_notice_of_the_failback_that_it_supersedes() {
    let scene = Scene::payments(16, 240);
    let live = away_from_home(&scene).await;
    hush(&live);
    let home = live.begin(Wish::Failback).await;
    live.pass(1).await;
    let sending = matches!(live.step(&home, "announce.us-east-1"), StepState::Sending { .. });
    assert!(sending, "{:?}", live.run(&home).steps);
    match live.ask(Live::request(Wish::Failover)).await {
        Ok(Started::Run { supersedes, .. }) => assert_eq!(supersedes, Some(home)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_failover_supersedes_a_failback_that_waits() {
    let scene = Scene::payments(15, 240);
    let live = away_from_home(&scene).await;
    let home = live.begin(Wish::Failback).await;
    live.until_running(&home, "caught-up.main").await;
    live.pass(10).await;
    match live.ask(Live::request(Wish::Failover)).await {
        Ok(Started::Run { id, supersedes }) => {
            assert_eq!(supersedes, Some(home.clone()));
            let result = live.outcome(&home, 5).await;
            assert_eq!(result, Played::Finished(RunResult::Superseded));
            assert_eq!(live.run(&id).request.supersedes, Some(home));
        }
        other => panic!("{other:?}"),
    }
}
