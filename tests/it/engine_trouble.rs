//! AWS answers late, wrongly or not at all; the store fails.

use failoverd::{
    domain::{id::Region, run::RunResult},
    engine::control::{Act, Control, Wish},
    sim::{
        port::{Fault, Faults},
        world::{Plane, Reach, aurora::PromotionFate},
    },
};

use crate::support::{CrashPoint, Live, Played, Scene, payments, region};

const FAILOVER: &str = "FailoverGlobalCluster";
const SUCCEEDED: Played = Played::Finished(RunResult::Succeeded);

async fn disaster(scene: &Scene) -> Live {
    let live = scene.start(0).await;
    live.ready().await;
    live.lose("us-east-1");
    live.pass(5).await;
    live
}

async fn fail_over(live: &Live) -> Played {
    let run = live.begin(Wish::Failover).await;
    live.approve(&run).await;
    live.outcome(&run, 7_200).await
}

#[tokio::test(start_paused = true)]
async fn a_promotion_that_fails_holds_the_run_and_leaves_dns_alone() {
    let scene = Scene::payments(40, 240);
    let live = disaster(&scene).await;
    live.world.now(|w| w.aurora.knobs.next_promotion = Some(PromotionFate::Fails));
    let run = live.begin(Wish::Failover).await;
    live.approve(&run).await;
    assert_eq!(live.outcome(&run, 3_600).await, Played::Held("promotion-failed".to_owned()));
    assert_eq!(live.flips(), 0);
    live.act(&run, Act::Resume).await.expect("resumed");
    assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
    assert_eq!(live.accepted(FAILOVER), 2, "a person asked for the second");
}

#[tokio::test(start_paused = true)]
async fn a_promotion_that_sticks_holds_the_run_without_a_second_call() {
    let scene = Scene::payments(41, 240);
    let live = disaster(&scene).await;
    live.world.now(|w| w.aurora.knobs.next_promotion = Some(PromotionFate::Sticks));
    let run = live.begin(Wish::Failover).await;
    live.approve(&run).await;
    assert_eq!(live.outcome(&run, 3_600).await, Played::Held("step-timeout".to_owned()));
    assert_eq!((live.accepted(FAILOVER), live.flips()), (1, 0));
    // It comes loose, and a person lets the run go on: nothing is sent again.
    live.world.now(|w| w.with_aurora(|aurora, ctx| aurora.release_stuck("payments", ctx)));
    live.pass(300).await;
    live.act(&run, Act::Resume).await.expect("resumed");
    assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
    assert_eq!(live.accepted(FAILOVER), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_is_lost_after_the_effect_is_settled_by_looking() {
    let scene = Scene::payments(42, 240);
    let live = disaster(&scene).await;
    live.faults.arm("rds:FailoverGlobalCluster", Fault::LoseAfter);
    assert_eq!(fail_over(&live).await, SUCCEEDED);
    let sent = live.world.now(|w| w.aurora.effects.iter().filter(|e| e.operation == FAILOVER).count());
    assert_eq!((sent, live.accepted(FAILOVER)), (1, 1), "sent once and done once");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_lost_before_its_effect_is_repeated_to_the_same_target_after_looking() {
    for fault in [Fault::LoseBefore, Fault::Hang, Fault::Refuse, Fault::Reject("Throttling")] {
        let scene = Scene::payments(43, 240);
        let live = disaster(&scene).await;
        live.faults.arm("rds:FailoverGlobalCluster", fault.clone());
        assert_eq!(fail_over(&live).await, SUCCEEDED, "{fault:?}");
        assert_eq!(live.accepted(FAILOVER), 1, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn stale_reads_after_the_call_do_not_send_it_again() {
    let scene = Scene::payments(44, 240);
    let live = disaster(&scene).await;
    live.faults.arm("rds:FailoverGlobalCluster", Fault::LoseAfter);
    let run = live.begin(Wish::Failover).await;
    live.until_running(&run, "approve").await;
    live.answer(&run, "second", true).await.expect("approved");
    live.until("the call", 60, |live| live.accepted(FAILOVER) == 1).await;
    for _ in 0..10 {
        live.faults.arm_in("rds:DescribeGlobalClusters", Some(&region("us-west-2")), Fault::StaleRead);
    }
    assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
    let sent = live.world.now(|w| w.aurora.effects.iter().filter(|e| e.operation == FAILOVER).count());
    assert_eq!(sent, 1);
}

#[tokio::test(start_paused = true)]
async fn routing_controls_whose_reply_is_lost_are_read_back() {
    for fault in [Fault::LoseBefore, Fault::LoseAfter, Fault::Hang] {
        let scene = Scene::payments(45, 240);
        let live = disaster(&scene).await;
        live.faults.arm("route53-recovery-cluster:UpdateRoutingControlStates", fault.clone());
        assert_eq!(fail_over(&live).await, SUCCEEDED, "{fault:?}");
        assert_eq!(live.flips(), 1, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn notifications_that_nobody_takes_delay_nothing() {
    let scene = Scene::payments(46, 240);
    let live = disaster(&scene).await;
    live.world.now(|w| w.set_plane(Plane::Sns, &region("us-west-2"), Reach::Hangs));
    assert_eq!(fail_over(&live).await, SUCCEEDED);
}

#[tokio::test(start_paused = true)]
async fn everything_in_the_lost_region_may_hang_throttle_or_refuse() {
    for reach in [Reach::Hangs, Reach::Unavailable, Reach::Throttles, Reach::DeniesAccess] {
        let scene = Scene::payments(47, 240);
        let live = disaster(&scene).await;
        live.world.now(|w| {
            for plane in [Plane::Rds, Plane::CloudWatch, Plane::Sns, Plane::Route53Control, Plane::ArcCluster] {
                w.set_plane(plane, &region("us-east-1"), reach);
            }
            w.set_plane(Plane::Network, &region("us-east-1"), reach);
        });
        assert_eq!(fail_over(&live).await, SUCCEEDED, "{reach:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_rds_endpoint_that_is_away_for_two_minutes_after_the_call_is_waited_for() {
    let scene = Scene::payments(48, 240);
    let live = disaster(&scene).await;
    live.faults.arm("rds:FailoverGlobalCluster", Fault::LoseAfter);
    let run = live.begin(Wish::Failover).await;
    live.approve(&run).await;
    live.until("the call", 60, |live| live.accepted(FAILOVER) == 1).await;
    let west: Region = region("us-west-2");
    live.world.now(|w| w.set_plane(Plane::Rds, &west, Reach::Unavailable));
    live.pass(120).await;
    live.world.now(|w| w.set_plane(Plane::Rds, &west, Reach::Up));
    assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
    assert_eq!(live.accepted(FAILOVER), 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_ends_the_engine_before_anything_else_is_sent() {
    let scene = Scene::payments(49, 240);
    let journal = scene.journal.reopened();
    let live = scene.start_with(0, journal.clone(), Faults::default()).await;
    live.ready().await;
    live.lose("us-east-1");
    let run = live.begin(Wish::Failover).await;
    live.until_running(&run, "approve").await;
    live.pass(60).await;
    journal.crash_after(1, CrashPoint::Fails);
    live.answer(&run, "second", true).await.expect("approved");
    let reason = live.engine.failed().await;
    assert!(reason.contains("disk full"), "{reason}");
    live.pass(300).await;
    assert_eq!(live.accepted(FAILOVER), 0);
    assert!(!live.engine.readiness().ready);
}

#[tokio::test(start_paused = true)]
async fn an_engine_whose_journal_another_has_taken_over_sends_nothing_more() {
    let scene = Scene::payments(50, 240);
    let old = disaster(&scene).await;
    let run = old.begin(Wish::Failover).await;
    old.until_running(&run, "approve").await;
    old.pass(10).await;
    let new = scene.start(0).await;
    new.ready().await;
    new.approve(&run).await;
    assert_eq!(new.outcome(&run, 3_600).await, SUCCEEDED);
    assert_eq!(new.accepted(FAILOVER), 1);
    let refused = old.answer(&run, "third", true).await;
    assert!(refused.is_err());
    assert!(old.engine.failed().await.contains("another writer"));
}

#[tokio::test(start_paused = true)]
async fn a_journal_with_one_wrong_bit_holds_its_application() {
    let scene = Scene::payments(51, 240);
    let live = scene.start(0).await;
    live.ready().await;
    live.engine.stop(std::time::Duration::from_secs(10)).await;
    scene.journal.flip_a_bit(&payments(), 1);
    let live = scene.start(5).await;
    live.pass(30).await;
    assert!(!live.engine.readiness().ready);
    assert!(live.ask(Live::request(Wish::Switchover)).await.is_err());
}
