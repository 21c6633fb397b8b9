//! The primary Region is lost, or only looks lost.

use std::time::Duration;

use failoverd::{
    domain::{
        assessment::{Health, Verdict},
        recovery,
        run::RunResult,
    },
    engine::control::{Control, Wish},
    sim::{
        port::Fault,
        world::{Plane, Reach},
    },
};

use crate::support::{Played, Scene, incarnation, payments, region};

const SUCCEEDED: Played = Played::Finished(RunResult::Succeeded);

#[tokio::test(start_paused = true)]
async fn a_lost_primary_is_recommended_approved_promoted_and_only_then_dns_moves() {
    let scene = Scene::payments(1, 240);
    let live = scene.start(0).await;
    live.ready().await;
    live.lose("us-east-1");
    live.until("a recommendation", 60, |live| live.verdict() == Some(Verdict::Recommend)).await;
    assert_eq!(live.assessment().recommended_target, Some(region("us-west-2")));
    assert_eq!(live.assessment().health, Health::Down);

    let run = live.begin(Wish::Failover).await;
    live.until_running(&run, "approve").await;
    live.pass(30).await;
    assert_eq!(live.accepted("FailoverGlobalCluster"), 0, "nothing happens without a second person");
    live.approve(&run).await;
    live.until("the promotion", 600, |live| live.world.now(|w| w.log.iter().any(|e| e.kind == "aurora.promoted")))
        .await;
    assert_eq!(live.flips(), 0, "DNS waits for the proven writer");
    assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);

    assert_eq!(live.accepted("FailoverGlobalCluster"), 1);
    assert_eq!(live.flips(), 1);
    let (promoted, flipped) = live.world.now(|w| {
        let at = |kind| w.log.iter().find(|e| e.kind == kind).map(|e| e.at).expect(kind);
        (at("aurora.promoted"), at("arc.control"))
    });
    assert!(promoted < flipped);
    live.pass(90).await;
    let (ledger, state) = (live.ledger(), live.run(&run));
    assert!(ledger.served_again_at.is_some(), "{ledger:?}");
    let loss = state.loss.clone().expect("a loss report");
    let (at_least, at_most) = (loss.at_least.unwrap(), loss.at_most.unwrap());
    let lost = Duration::from_secs_f64(ledger.loss_window_seconds);
    assert!(at_least <= lost && lost <= at_most, "{lost:?} in {loss:?}");
    assert!(at_most < Duration::from_secs(30), "{loss:?}");
    let clock = recovery::rto_clock(&state);
    assert!(clock.detection.is_some() && clock.total.is_some(), "{clock:?}");
    assert_eq!(live.assessment().active_region, Some(region("us-west-2")));
}

#[tokio::test(start_paused = true)]
async fn probes_lost_for_a_few_seconds_recommend_nothing() {
    let scene = Scene::payments(2, 240);
    let live = scene.start(0).await;
    live.ready().await;
    for _ in 0..5 {
        live.world.now(|w| w.set_plane(Plane::Application, &region("us-east-1"), Reach::Hangs));
        for _ in 0..8 {
            live.pass(1).await;
            assert_ne!(live.verdict(), Some(Verdict::Recommend), "{:?}", live.assessment().reasons);
        }
        live.world.now(|w| w.set_plane(Plane::Application, &region("us-east-1"), Reach::Up));
        live.pass(30).await;
    }
    let history = live.engine.history(&payments()).unwrap();
    assert_eq!(history.recommended_at, None);
}

#[tokio::test(start_paused = true)]
async fn blind_health_checkers_recommend_nothing() {
    let scene = Scene::payments(3, 400).with_health_check();
    let live = scene.start(0).await;
    live.ready().await;
    for name in [
        "us-east-1",
        "us-west-2",
        "eu-west-1",
        "ap-southeast-2",
        "ap-northeast-1",
        "ap-southeast-1",
        "sa-east-1",
        "us-west-1",
    ] {
        live.world.now(|w| w.set_plane(Plane::HealthCheckers, &region(name), Reach::Hangs));
    }
    for _ in 0..900 {
        live.pass(1).await;
        assert_ne!(live.verdict(), Some(Verdict::Recommend), "{:?}", live.assessment().reasons);
    }
}

#[tokio::test(start_paused = true)]
async fn cloudwatch_gone_everywhere_recommends_nothing_and_is_not_healthy() {
    let scene = Scene::payments(4, 400).with_health_check();
    let live = scene.start(0).await;
    live.ready().await;
    for name in ["us-east-1", "us-west-2"] {
        live.world.now(|w| w.set_plane(Plane::CloudWatch, &region(name), Reach::Hangs));
    }
    live.pass(600).await;
    assert_eq!(live.verdict(), Some(Verdict::Notify), "{:?}", live.assessment());
    assert_ne!(live.assessment().health, Health::Healthy);
}

#[tokio::test(start_paused = true)]
async fn with_a_silent_health_check_a_dead_primary_is_still_recommended_for_failover() {
    let scene = Scene::payments(5, 400).with_health_check();
    let live = scene.start(0).await;
    live.ready().await;
    live.lose("us-east-1");
    live.until("a recommendation", 420, |live| live.verdict() == Some(Verdict::Recommend)).await;
}

/// A whole disaster in a runtime of its own: its journal, as text.
fn history_of(seed: u64) -> Vec<String> {
    incarnation(async {
        let scene = Scene::payments(seed, 240);
        let live = scene.start(0).await;
        live.ready().await;
        live.lose("us-east-1");
        live.faults.arm("rds:FailoverGlobalCluster", Fault::LoseAfter);
        live.faults.arm("route53-recovery-cluster:UpdateRoutingControlStates", Fault::LoseBefore);
        let run = live.begin(Wish::Failover).await;
        live.approve(&run).await;
        assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
        let records = live.engine.records(&run).await.expect("readable");
        records.iter().map(|r| serde_json::to_string(r).expect("records serialise")).collect()
    })
}

#[test]
fn one_seed_is_one_history_to_the_byte() {
    let first = history_of(90);
    assert!(first.len() > 20, "{} records", first.len());
    for _ in 0..4 {
        assert_eq!(history_of(90), first);
    }
}
