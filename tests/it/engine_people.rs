//! What people ask for, approve, refuse and stop.

use std::{future::Future, time::Duration};

use failoverd::{
    domain::{
        assessment::Verdict,
        id::Digest,
        run::{Phase, RunResult, StepState},
    },
    engine::control::{Act, Refusal, Started, Wish},
    sim::{
        port::Fault,
        world::{Plane, Reach},
    },
};

use crate::support::{Live, Played, Scene, disaster, region};

const FAILOVER: &str = "FailoverGlobalCluster";

/// An engine that knows its application, whose primary Region has just been lost.
#[tokio::test(start_paused = true)]
async fn a_run_that_nobody_approves_is_held_when_the_approval_expires() {
    let scene = Scene::payments(20, 240);
    let live = disaster(&scene).await;
    let run = live.begin(Wish::Failover).await;
    assert_eq!(live.outcome(&run, 1_200).await, Played::Held("approval-expired".to_owned()));
    assert_eq!(live.accepted(FAILOVER), 0);
    assert!(live.answer(&run, "second", true).await.is_err(), "too late");
}

#[tokio::test(start_paused = true)]
async fn a_declined_run_is_held_and_changes_nothing() {
    let scene = Scene::payments(21, 240);
    let live = disaster(&scene).await;
    let run = live.begin(Wish::Failover).await;
    live.until_running(&run, "approve").await;
    live.answer(&run, "second", false).await.expect("declined");
    assert_eq!(live.outcome(&run, 60).await, Played::Held("approval-declined".to_owned()));
    assert_eq!(live.accepted(FAILOVER), 0);
}

#[tokio::test(start_paused = true)]
async fn a_declined_run_that_is_resumed_asks_again() {
    let scene = Scene::payments(22, 240);
    let live = disaster(&scene).await;
    let run = live.begin(Wish::Failover).await;
    live.until_running(&run, "approve").await;
    live.answer(&run, "second", false).await.expect("declined");
    assert_eq!(live.outcome(&run, 60).await, Played::Held("approval-declined".to_owned()));
    live.act(&run, Act::Resume).await.expect("resumed");
    live.pass(5).await;
    assert_eq!(live.run(&run).phase, Phase::Running, "it waits for an approval again");
    live.answer(&run, "third", true).await.expect("approved");
    assert_eq!(live.outcome(&run, 3_600).await, Played::Finished(RunResult::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn an_approval_that_expired_can_be_asked_for_again() {
    let scene = Scene::payments(23, 240);
    let live = disaster(&scene).await;
    let mut request = Live::request(Wish::Failover);
    request.accept_data_loss = Some(Duration::from_secs(7_200));
    let Ok(Started::Run { id: run, .. }) = live.ask(request).await else { panic!("not started") };
    assert_eq!(live.outcome(&run, 1_200).await, Played::Held("approval-expired".to_owned()));
    live.act(&run, Act::Resume).await.expect("resumed");
    live.approve(&run).await;
    assert_eq!(live.outcome(&run, 3_600).await, Played::Finished(RunResult::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn nobody_approves_their_own_run_or_another_plan() {
    let scene = Scene::payments(24, 240);
    let live = disaster(&scene).await;
    let run = live.begin(Wish::Failover).await;
    live.until_running(&run, "approve").await;
    let own = live.answer(&run, "oncall", true).await;
    assert!(matches!(own, Err(Refusal::SelfApproval(_))), "{own:?}");
    let act = Act::Approve { step: "approve".parse().unwrap(), approved: true, digest: Digest::of(b"another") };
    let stale = live.engine_act(&run, act, "second").await;
    assert!(matches!(stale, Err(Refusal::StaleDigest { .. })), "{stale:?}");
    for other in ["none", "verify-writer.main"] {
        let digest = live.run(&run).plan_digest.clone();
        let act = Act::Approve { step: other.parse().unwrap(), approved: true, digest };
        let refused = live.engine_act(&run, act, "second").await.expect_err("it is no approval");
        assert_eq!(refused.code(), "unknown-step");
        let said = format!("the run asks for no approval of `{other}`; what waits for one: `approve`");
        assert_eq!(refused.to_string(), said);
    }
    live.pass(30).await;
    assert_eq!(live.accepted(FAILOVER), 0);
}

#[tokio::test(start_paused = true)]
async fn an_abort_before_the_point_of_no_return_leaves_everything_as_it_was() {
    let scene = Scene::payments(25, 240);
    let live = disaster(&scene).await;
    let run = live.begin(Wish::Failover).await;
    live.until_running(&run, "approve").await;
    live.act(&run, Act::Abort).await.expect("aborted");
    assert_eq!(live.outcome(&run, 60).await, Played::Finished(RunResult::Aborted));
    live.pass(600).await;
    assert_eq!((live.accepted(FAILOVER), live.flips()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_abort_while_a_lost_call_is_settled_ends_once_nothing_of_it_is_seen() {
    let scene = Scene::payments(28, 240);
    let live = scene.start(0).await;
    live.ready().await;
    live.faults.arm("rds:SwitchoverGlobalCluster", Fault::LoseBefore);
    let run = live.begin(Wish::Switchover).await;
    let lost = |live: &Live| {
        let steps = live.run(&run).steps.clone();
        steps.iter().any(|(id, s)| id.as_str() == "switch.main" && matches!(s, StepState::Answered { .. }))
    };
    live.until("the lost call", 120, lost).await;
    live.act(&run, Act::Abort).await.expect("aborted");
    assert_eq!(live.outcome(&run, 300).await, Played::Finished(RunResult::Aborted));
    assert_eq!((live.accepted("SwitchoverGlobalCluster"), live.flips()), (0, 0));
    let step = live.run(&run).steps.values().find(|s| matches!(s, StepState::Failed { .. })).cloned();
    let given_up =
        matches!(&step, Some(StepState::Failed { reason, .. }) if reason.starts_with("given up by the abort"));
    assert!(given_up, "{step:?} of {:?}", live.run(&run).steps);
}

#[tokio::test(start_paused = true)]
async fn an_abort_after_the_point_of_no_return_is_refused_and_the_run_goes_on() {
    let scene = Scene::payments(26, 240);
    let live = disaster(&scene).await;
    let run = live.begin(Wish::Failover).await;
    live.approve(&run).await;
    live.until_running(&run, "promote.main").await;
    let refused = live.act(&run, Act::Abort).await;
    assert!(matches!(refused, Err(Refusal::WrongPhase(_))), "{refused:?}");
    assert_eq!(live.outcome(&run, 3_600).await, Played::Finished(RunResult::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn a_paused_run_settles_what_is_on_its_way_and_goes_on_only_when_resumed() {
    let scene = Scene::payments(27, 240);
    let live = disaster(&scene).await;
    let run = live.begin(Wish::Failover).await;
    live.approve(&run).await;
    live.until_running(&run, "promote.main").await;
    live.act(&run, Act::Pause).await.expect("paused");
    live.pass(600).await;
    assert_eq!(live.accepted(FAILOVER), 1, "what was sent is settled");
    assert!(!live.run(&run).steps.values().any(|s| s.is_in_flight()), "{:?}", live.run(&run).steps);
    assert_eq!(live.flips(), 0, "nothing new is begun");
    live.act(&run, Act::Resume).await.expect("resumed");
    assert_eq!(live.outcome(&run, 3_600).await, Played::Finished(RunResult::Succeeded));
    assert_eq!(live.accepted(FAILOVER), 1);
}

#[tokio::test(start_paused = true)]
async fn a_run_paused_while_it_waits_for_approval_promotes_nothing_until_resumed() {
    let scene = Scene::payments(28, 240);
    let live = disaster(&scene).await;
    let run = live.begin(Wish::Failover).await;
    live.until_running(&run, "approve").await;
    live.act(&run, Act::Pause).await.expect("paused");
    live.answer(&run, "second", true).await.expect("approved");
    live.pass(120).await;
    assert_eq!(live.accepted(FAILOVER), 0);
    live.act(&run, Act::Resume).await.expect("resumed");
    assert_eq!(live.outcome(&run, 3_600).await, Played::Finished(RunResult::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn a_loss_that_is_over_the_accepted_one_already_is_refused_at_once() {
    let scene = Scene::payments(29, 240);
    let live = disaster(&scene).await;
    let mut request = Live::request(Wish::Failover);
    request.accept_data_loss = Some(Duration::from_secs(3));
    let refused = live.ask(request.clone()).await;
    assert!(matches!(refused, Err(Refusal::Gate { gate: "data-loss", .. })), "{refused:?}");
    request.accept_data_loss = None;
    let refused = live.ask(request).await;
    assert!(matches!(refused, Err(Refusal::Gate { gate: "data-loss", .. })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_loss_that_outgrows_what_was_accepted_holds_the_run_before_the_promotion() {
    let scene = Scene::payments(30, 240);
    let live = disaster(&scene).await;
    let mut request = Live::request(Wish::Failover);
    request.accept_data_loss = Some(Duration::from_secs(400));
    let Ok(Started::Run { id: run, .. }) = live.ask(request).await else { panic!("not started") };
    live.until_running(&run, "approve").await;
    live.world.now(|w| w.set_plane(Plane::CloudWatch, &region("us-west-2"), Reach::DeniesAccess));
    live.pass(500).await;
    live.world.now(|w| w.set_plane(Plane::CloudWatch, &region("us-west-2"), Reach::Up));
    let bound = live.assessment().exposure.values().next().unwrap().loss_bound;
    live.answer(&run, "second", true).await.expect("approved");
    let outcome = live.outcome(&run, 600).await;
    assert_eq!(outcome, Played::Held("gate-rpo".to_owned()), "{bound:?}");
    assert_eq!(live.accepted(FAILOVER), 0);
}

#[tokio::test(start_paused = true)]
async fn the_same_key_twice_is_one_run_and_another_body_is_refused() {
    let scene = Scene::payments(31, 240);
    let live = disaster(&scene).await;
    let mut request = Live::request(Wish::Failover);
    request.idempotency_key = Some("key-1".to_owned());
    let (one, two) = tokio::join!(live.ask(request.clone()), live.ask(request.clone()));
    let Ok(Started::Run { id, .. }) = one else { panic!("{one:?}") };
    assert_eq!(two, Ok(Started::Again { id: id.clone() }));
    assert_eq!(live.ask(request.clone()).await, Ok(Started::Again { id }));
    request.body_digest = Digest::of(b"another body");
    assert_eq!(live.ask(request).await, Err(Refusal::KeyReused));
}

#[tokio::test(start_paused = true)]
async fn a_second_failover_while_one_is_at_work_is_refused() {
    let scene = Scene::payments(32, 240);
    let live = disaster(&scene).await;
    let run = live.begin(Wish::Failover).await;
    let refused = live.ask(Live::request(Wish::Failover)).await;
    assert!(matches!(&refused, Err(Refusal::AlreadyRunning { run: r, .. }) if *r == run), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_failover_supersedes_a_switchover_that_is_held() {
    let scene = Scene::payments(33, 240);
    let live = scene.start(0).await;
    live.ready().await;
    live.faults.arm("rds:SwitchoverGlobalCluster", failoverd::sim::port::Fault::Reject("InvalidDBClusterStateFault"));
    let planned = live.begin(Wish::Switchover).await;
    assert_eq!(live.outcome(&planned, 600).await, Played::Held("call-rejected".to_owned()));
    live.lose("us-east-1");
    live.pass(5).await;
    let started = live.ask(Live::request(Wish::Failover)).await;
    let Ok(Started::Run { id, supersedes }) = started else { panic!("{started:?}") };
    assert_eq!(supersedes, Some(planned));
    live.approve(&id).await;
    assert_eq!(live.outcome(&id, 3_600).await, Played::Finished(RunResult::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn the_active_region_and_an_unknown_one_are_no_targets() {
    let scene = Scene::payments(34, 240);
    let live = disaster(&scene).await;
    for name in ["us-east-1", "eu-central-1"] {
        let mut request = Live::request(Wish::Failover);
        request.target = Some(region(name));
        let refused = live.ask(request).await;
        assert!(matches!(refused, Err(Refusal::BadTarget { .. })), "{refused:?}");
    }
    let refused = live.ask(Live::request(Wish::Failback)).await;
    assert!(matches!(refused, Err(Refusal::BadTarget { .. })), "home already: {refused:?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_starts_while_it_is_not_known_which_region_is_active() {
    let scene = Scene::payments(35, 240);
    for name in ["us-east-1", "us-west-2"] {
        scene.world.lock().unwrap().set_plane(Plane::Rds, &region(name), Reach::Hangs);
    }
    let live = scene.start(0).await;
    live.pass(30).await;
    let refused = live.ask(Live::request(Wish::Failover)).await;
    assert!(matches!(refused, Err(Refusal::Gate { gate: "active-region", .. })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_headless_target_is_refused_before_anything_is_sent() {
    let scene = Scene::payments(36, 240);
    let live = disaster(&scene).await;
    live.world.now(|w| {
        w.aurora.cluster_mut("arn:aws:rds:us-west-2:123456789012:cluster:payments-usw2").unwrap().instances.clear();
    });
    let run = live.begin(Wish::Failover).await;
    assert_eq!(live.outcome(&run, 600).await, Played::Held("gate-target".to_owned()));
    assert_eq!(live.accepted(FAILOVER), 0);
}

/// L6, in every minute of a failover whose Region hangs: nobody who asks waits for AWS.
#[tokio::test(start_paused = true)]
async fn whoever_asks_is_answered_within_a_second_whatever_hangs() {
    async fn answered<T>(what: &str, asked: impl Future<Output = T>) -> T {
        let limit = tokio::time::timeout(Duration::from_secs(1), asked).await;
        limit.unwrap_or_else(|_| panic!("{what} took longer than a second"))
    }
    let scene = Scene::payments(606, 240);
    let live = scene.start(0).await;
    live.ready().await;
    let hang = |name: &str| {
        for plane in [Plane::Rds, Plane::CloudWatch, Plane::Sns, Plane::Application, Plane::Database, Plane::ArcCluster]
        {
            live.world.now(|w| w.set_plane(plane, &region(name), Reach::Hangs));
        }
    };
    hang("us-east-1");
    live.until("a recommendation", 600, |live| live.verdict() == Some(Verdict::Recommend)).await;
    // Everything that the run would look at hangs, wherever it looks.
    hang("us-west-2");
    let run = answered("a failover", live.begin(Wish::Failover)).await;
    for minute in 0..5 {
        answered("a pause", live.act(&run, Act::Pause)).await.expect("paused");
        answered("a second failover", live.ask(Live::request(Wish::Failover))).await.expect_err("one is at work");
        answered("a switchover", live.ask(Live::request(Wish::Switchover))).await.expect_err("one is at work");
        live.pass(20).await;
        answered("a resume", live.act(&run, Act::Resume)).await.expect("resumed");
        answered("an approval", live.answer(&run, "second", true)).await.expect_err("nothing asks for it");
        live.pass(40 + minute).await;
    }
    answered("an abort", live.act(&run, Act::Abort)).await.expect("aborted");
}
