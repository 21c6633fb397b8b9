//! AWS answers late, wrongly or not at all; the store fails.

use failoverd::{
    domain::{
        assessment::Verdict,
        id::{Region, RunId},
        run::{Phase, RunResult},
    },
    engine::control::{Act, Control, Refusal, Wish},
    sim::{
        faults::CallFault,
        port::{Fault, Faults},
        world::{Plane, Reach, aurora::PromotionFate},
    },
};

use crate::support::{Fall, Live, Played, Scene, disaster, payments, region};

const FAILOVER: &str = "FailoverGlobalCluster";
const SUCCEEDED: Played = Played::Finished(RunResult::Succeeded);

async fn fail_over(live: &Live) -> Played {
    let run = live.begin(Wish::Failover).await;
    live.approve(&run).await;
    live.outcome(&run, 7_200).await
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_read_for_a_moment_is_read_again_and_the_run_goes_on() {
    let scene = Scene::payments(61, 240);
    let live = disaster(&scene).await;
    let run = live.begin(Wish::Failover).await;
    live.until_running(&run, "approve").await;
    drop(live);
    scene.journal.fail_reads(3);
    let live = scene.start(10).await;
    let held = live.engine.readiness().reasons.join("; ");
    assert!(held.contains("I/O error") && held.contains("tried again"), "{held}");
    let refused = live.act(&run, Act::Pause).await.expect_err("held");
    assert!(matches!(&refused, Refusal::Held(_)), "{refused}");
    // One second, two, and at the fourth it is read.
    live.pass(10).await;
    assert!(live.engine.readiness().ready, "{:?}", live.engine.readiness());
    live.approve(&run).await;
    assert_eq!(live.outcome(&run, 7_200).await, SUCCEEDED);
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

/// FAULTS.md 45: the second call is refused as the first is at work, and that is no reason to fail.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_refused_because_our_own_first_one_is_at_work_is_settled_by_looking() {
    let scene = Scene::payments(60, 240);
    let live = disaster(&scene).await;
    let run = live.begin(Wish::Failover).await;
    live.until_running(&run, "approve").await;
    live.faults.arm("rds:FailoverGlobalCluster", Fault::LoseAfter);
    // The roles are shown as they were, until the call has been repeated in good faith.
    let past = live.faults.open("rds:DescribeGlobalClusters", None, CallFault::Stale, 1.0);
    live.answer(&run, "second", true).await.expect("approved");
    let sent = |live: &Live| live.world.now(|w| w.aurora.effects.iter().filter(|e| e.operation == FAILOVER).count());
    live.until("the second call", 120, |live| sent(live) == 2).await;
    live.faults.close(past);
    assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
    assert_eq!((sent(&live), live.accepted(FAILOVER)), (2, 1), "AWS refused the second");
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
async fn a_call_that_never_left_is_not_said_to_be_rejected() {
    let scene = Scene::payments(59, 240);
    let live = disaster(&scene).await;
    for _ in 0..5 {
        live.faults.arm("rds:FailoverGlobalCluster", Fault::Refuse);
    }
    let run = live.begin(Wish::Failover).await;
    live.approve(&run).await;
    assert_eq!(live.outcome(&run, 600).await, Played::Held("call-not-sent".to_owned()));
    assert_eq!(live.accepted(FAILOVER), 0);
    live.act(&run, Act::Resume).await.expect("resumed");
    assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
    assert_eq!(live.accepted(FAILOVER), 1);
}

fn held_because(live: &Live, run: &RunId) -> String {
    match &live.run(run).phase {
        Phase::Held { reason, .. } => reason.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_reading_that_aws_denies_holds_the_run_at_once_and_it_goes_on_when_allowed() {
    let scene = Scene::payments(54, 240);
    let live = disaster(&scene).await;
    let west = region("us-west-2");
    live.world.now(|w| w.set_plane(Plane::Rds, &west, Reach::DeniesAccess));
    let run = live.begin(Wish::Failover).await;
    assert_eq!(live.outcome(&run, 30).await, Played::Held("access-denied".to_owned()));
    let why = held_because(&live, &run);
    assert!(why.contains("rds:DescribeGlobalClusters in us-west-2"), "{why}");
    assert!(why.contains("lacks the permission rds:DescribeGlobalClusters"), "{why}");
    live.world.now(|w| w.set_plane(Plane::Rds, &west, Reach::Up));
    live.act(&run, Act::Resume).await.expect("resumed");
    live.approve(&run).await;
    assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
}

#[tokio::test(start_paused = true)]
async fn a_denial_while_the_promotion_is_observed_holds_and_sends_nothing_again() {
    // Resumed while the promotion is at work, or long after it.
    for wait in [0, 1_800] {
        let scene = Scene::payments(55, 240);
        let live = disaster(&scene).await;
        let west = region("us-west-2");
        let run = live.begin(Wish::Failover).await;
        live.approve(&run).await;
        live.until("the call", 60, |live| live.accepted(FAILOVER) == 1).await;
        live.world.now(|w| w.set_plane(Plane::Rds, &west, Reach::DeniesAccess));
        assert_eq!(live.outcome(&run, 30).await, Played::Held("access-denied".to_owned()));
        live.pass(wait).await;
        live.world.now(|w| w.set_plane(Plane::Rds, &west, Reach::Up));
        live.act(&run, Act::Resume).await.expect("resumed");
        assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED, "after {wait} s");
        let sent = live.world.now(|w| w.aurora.effects.iter().filter(|e| e.operation == FAILOVER).count());
        assert_eq!((sent, live.flips()), (1, 1), "after {wait} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lag_that_may_not_be_read_holds_the_run_at_once() {
    let scene = Scene::payments(56, 240);
    let live = disaster(&scene).await;
    let run = live.begin(Wish::Failover).await;
    live.until_running(&run, "approve").await;
    live.world.now(|w| w.set_plane(Plane::CloudWatch, &region("us-west-2"), Reach::DeniesAccess));
    live.approve(&run).await;
    assert_eq!(live.outcome(&run, 30).await, Played::Held("access-denied".to_owned()));
    let why = held_because(&live, &run);
    assert!(why.contains("cloudwatch:GetMetricData in us-west-2"), "{why}");
    assert_eq!(live.accepted(FAILOVER), 0);
}

#[tokio::test(start_paused = true)]
async fn credentials_that_expire_hold_the_run_with_a_sentence_of_their_own() {
    let scene = Scene::payments(57, 240);
    let live = disaster(&scene).await;
    for _ in 0..4 {
        let west = region("us-west-2");
        live.faults.arm_in("rds:DescribeGlobalClusters", Some(&west), Fault::Reject("ExpiredToken"));
    }
    let run = live.begin(Wish::Failover).await;
    assert_eq!(live.outcome(&run, 30).await, Played::Held("credentials-refused".to_owned()));
    let why = held_because(&live, &run);
    assert!(why.contains("have expired") && why.contains("ExpiredToken"), "{why}");
    live.pass(60).await;
    live.act(&run, Act::Resume).await.expect("resumed");
    live.approve(&run).await;
    assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_throttles_or_is_away_is_waited_for_whatever_the_lost_region_refuses() {
    for reach in [Reach::Throttles, Reach::Unavailable, Reach::Hangs] {
        let scene = Scene::payments(58, 240);
        let live = disaster(&scene).await;
        live.world.now(|w| {
            w.set_plane(Plane::Network, &region("us-east-1"), Reach::Up);
            w.set_plane(Plane::Rds, &region("us-east-1"), Reach::DeniesAccess);
            w.set_plane(Plane::Rds, &region("us-west-2"), reach);
        });
        let run = live.begin(Wish::Failover).await;
        live.pass(60).await;
        assert_eq!(live.run(&run).phase, Phase::Running, "{reach:?}");
        live.world.now(|w| w.set_plane(Plane::Rds, &region("us-west-2"), Reach::Up));
        live.approve(&run).await;
        assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED, "{reach:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_ends_the_engine_before_anything_else_is_sent() {
    let scene = Scene::payments(49, 240);
    let journal = scene.reopened();
    let live = scene.start_with(0, journal.clone(), Faults::default()).await;
    live.ready().await;
    live.lose("us-east-1");
    let run = live.begin(Wish::Failover).await;
    live.until_running(&run, "approve").await;
    live.pass(60).await;
    live.answer(&run, "second", true).await.expect("approved");
    // What the approval lets go on does not fit any more; and then there is room again.
    journal.set_full(true);
    let reason = live.engine.failed().await;
    assert!(reason.contains("disk is full"), "{reason}");
    journal.set_full(false);
    live.pass(300).await;
    assert_eq!(live.accepted(FAILOVER), 0);
    assert!(!live.engine.readiness().ready);
}

/// FAULTS.md 9: half-alive is worse than dead.
#[tokio::test(start_paused = true)]
async fn a_task_of_the_engine_that_panics_ends_the_process_before_anything_else_is_sent() {
    for (fall, who) in [(Fall::Watcher, "the watcher panicked"), (Fall::Driver, "a step's driver panicked")] {
        let scene = Scene::payments(61, 240);
        let live = disaster(&scene).await;
        let run = live.begin(Wish::Failover).await;
        live.until_running(&run, "approve").await;
        live.pass(60).await;
        live.panic_in(fall);
        if fall == Fall::Watcher {
            live.pass(5).await;
            let refused = live.answer(&run, "second", true).await;
            assert_eq!(refused, Err(Refusal::Stopping), "nothing is accepted any more");
        } else {
            live.answer(&run, "second", true).await.expect("approved");
        }
        let reason = live.engine.failed().await;
        assert!(reason.contains(who), "{reason}");
        live.pass(300).await;
        assert_eq!((live.accepted(FAILOVER), live.engine.readiness().ready), (0, false), "{fall:?}");
    }
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
    assert!(scene.journal.rot(&payments(), 1));
    let live = scene.start(5).await;
    live.pass(30).await;
    assert!(!live.engine.readiness().ready);
    assert!(live.ask(Live::request(Wish::Switchover)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_restart_in_the_middle_of_a_disaster_does_not_take_the_recommendation_back() {
    let scene = Scene::payments(52, 240);
    let live = disaster(&scene).await;
    live.until("a recommendation", 60, |live| live.verdict() == Some(Verdict::Recommend)).await;
    let since = live.engine.history(&payments()).unwrap().recommended_at;
    assert!(since.is_some());
    live.engine.stop(std::time::Duration::from_secs(10)).await;
    let live = scene.start(3).await;
    for _ in 0..60 {
        live.pass(1).await;
        assert_eq!(live.engine.history(&payments()).unwrap().recommended_at, since);
    }
    assert_eq!(live.verdict(), Some(Verdict::Recommend));
    live.world.now(|w| w.restore_region(&region("us-east-1")));
    live.until("the all-clear", 120, |live| live.engine.history(&payments()).unwrap().recommended_at.is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_stopped_politely_in_mid_run_goes_on_after_its_restart() {
    for stop_at in ["approve", "promote.main", "probe-target", "verify-dns.api", "probe-public"] {
        let scene = Scene::payments(53, 240);
        let live = disaster(&scene).await;
        let run = live.begin(Wish::Failover).await;
        if stop_at != "approve" {
            live.approve(&run).await;
        }
        live.until_running(&run, stop_at).await;
        live.engine.stop(std::time::Duration::from_secs(20)).await;
        let live = scene.start(10).await;
        live.pass(1).await;
        if stop_at == "approve" {
            live.approve(&run).await;
        }
        assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED, "stopped at {stop_at}");
        assert_eq!((live.accepted(FAILOVER), live.flips()), (1, 1), "stopped at {stop_at}");
    }
}
