//! What a run has done is taken back: by an abort, by a step that fails with `on_failure: undo`; and what people do to
//! one step.

use failoverd::{
    cli::render,
    domain::{
        id::{Digest, RunId},
        run::{Phase, RunResult, StepState},
    },
    engine::control::{Act, Refusal, Started, Wish},
    http::view::RunView,
    sim::{
        port::Fault,
        world::{
            arc::ControlState,
            route53::fixture::{CONTROL_USE1_ARN, CONTROL_USW2_ARN},
        },
    },
};

use crate::support::{Live, Played, Scene, region};

const ABORTED: Played = Played::Finished(RunResult::Aborted);
const SUCCEEDED: Played = Played::Finished(RunResult::Succeeded);
const FLIP: &str = "route53-recovery-cluster:UpdateRoutingControlStates";

/// Traffic moves, and then something is looked at.
fn runbook(last: &str) -> String {
    format!(
        "runbook: test\npurpose: [failover, switchover, failback]\ndescription: A test.\nsteps:\n  - {{ id: flip, action: \
         dns.flip }}\n  - {{ id: settle, action: wait, needs: [flip], with: {{ duration: 1m }} }}\n{last}"
    )
}

async fn well(scene: &Scene) -> Live {
    let live = scene.start(0).await;
    live.ready().await;
    live.pass(30).await;
    live
}

/// Which of the two controls are On.
fn on(live: &Live) -> (Option<bool>, Option<bool>) {
    live.world.now(|w| (w.arc.is_set_on(CONTROL_USE1_ARN), w.arc.is_set_on(CONTROL_USW2_ARN)))
}

const HOME: (Option<bool>, Option<bool>) = (Some(true), Some(false));
const AWAY: (Option<bool>, Option<bool>) = (Some(false), Some(true));

fn reason(live: &Live, run: &RunId) -> String {
    match &live.run(run).phase {
        Phase::Finished { reason, .. } | Phase::Held { reason, .. } => reason.clone(),
        other => format!("{other:?}"),
    }
}

/// What `watch` offers to do to single steps of a held run, in its order.
fn offered(live: &Live, run: &RunId) -> Vec<String> {
    let text = render::tail(&RunView::new(&live.run(run)));
    let verbs = text.lines().filter_map(|line| line.trim().strip_prefix("failoverd ")?.strip_suffix(" \\"));
    let words = verbs.map(|line| line.split(' ').collect::<Vec<_>>());
    words.filter(|words| matches!(words[0], "retry" | "skip")).map(|words| [words[0], words[2]].join(" ")).collect()
}

/// Somebody sets the control of us-east-1 On beside the other.
fn by_hand(live: &Live) {
    live.world.now(|w| {
        let endpoint = region("us-west-2");
        let mut control = w.arc.get_state(&w.planes, &endpoint, CONTROL_USE1_ARN).expect("it is there").clone();
        control.state = ControlState::On;
        w.arc.put_control(control);
    });
}

#[tokio::test(start_paused = true)]
async fn an_abort_takes_back_the_traffic_that_has_moved() {
    let scene = Scene::stateless(401, 240, &runbook(""));
    let live = well(&scene).await;
    let run = live.begin(Wish::Switchover).await;
    live.until_running(&run, "settle").await;
    assert_eq!(on(&live), AWAY);
    live.act(&run, Act::Abort).await.expect("aborted");
    assert_eq!(live.outcome(&run, 120).await, ABORTED);
    assert_eq!((on(&live), live.flips()), (HOME, 2));
    assert_eq!(reason(&live, &run), "because; undone: flip.api");
    live.pass(900).await;
    assert_eq!((on(&live), live.flips()), (HOME, 2), "and nothing follows");
}

#[tokio::test(start_paused = true)]
async fn a_step_that_fails_with_undo_ends_the_run_as_failed_with_everything_as_it_was() {
    let last = "  - { id: refuse, action: assert, needs: [settle], on_failure: undo, with: { that: \"purpose == 'failover'\", message: Not that. } }\n";
    let scene = Scene::stateless(402, 240, &runbook(last));
    let live = well(&scene).await;
    let run = live.begin(Wish::Switchover).await;
    assert_eq!(live.outcome(&run, 300).await, Played::Finished(RunResult::Failed));
    assert_eq!((on(&live), live.flips()), (HOME, 2));
    assert_eq!(reason(&live, &run), "`refuse` failed: assert-failed: Not that.; undone: flip.api");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_on_the_way_back_is_settled_by_looking_and_sent_once() {
    let scene = Scene::stateless(403, 240, &runbook(""));
    let live = well(&scene).await;
    let run = live.begin(Wish::Switchover).await;
    live.until_running(&run, "settle").await;
    live.faults.arm(FLIP, Fault::LoseAfter);
    live.act(&run, Act::Abort).await.expect("aborted");
    assert_eq!(live.outcome(&run, 300).await, ABORTED);
    assert_eq!((on(&live), live.flips()), (HOME, 2));
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_has_changed_since_is_not_overwritten_and_may_be_left() {
    let scene = Scene::stateless(404, 240, &runbook(""));
    let live = well(&scene).await;
    let run = live.begin(Wish::Switchover).await;
    live.until_running(&run, "settle").await;
    by_hand(&live);
    live.act(&run, Act::Abort).await.expect("aborted");
    assert_eq!(live.outcome(&run, 120).await, Played::Held("undo-drift".to_owned()));
    assert_eq!(offered(&live, &run), ["retry flip.api", "skip flip.api"]);
    let digest = live.run(&run).plan_digest.clone();
    let skip = Act::Skip { step: "flip.api".parse().expect("valid"), digest };
    live.act(&run, skip).await.expect("left as it is");
    assert_eq!(live.outcome(&run, 120).await, ABORTED);
    assert_eq!((on(&live), live.flips()), ((Some(true), Some(true)), 1));
    assert_eq!(reason(&live, &run), "because; not undone: flip.api");
}

#[tokio::test(start_paused = true)]
async fn past_a_switchover_an_abort_holds_and_a_resume_completes_the_run() {
    let scene = Scene::payments(405, 240);
    let live = well(&scene).await;
    let run = live.begin(Wish::Switchover).await;
    live.until_running(&run, "verify-writer.main").await;
    live.act(&run, Act::Abort).await.expect("taken");
    assert_eq!(live.outcome(&run, 120).await, Played::Held("undo-past-no-return".to_owned()));
    assert!(reason(&live, &run).contains("a switchover back"), "{}", reason(&live, &run));
    live.act(&run, Act::Resume).await.expect("resumed");
    assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
    assert_eq!(on(&live), AWAY);
}

#[tokio::test(start_paused = true)]
async fn past_a_switchover_a_second_abort_ends_the_run_where_it_stands_and_a_failback_is_the_way_back() {
    let scene = Scene::payments(406, 240);
    let live = well(&scene).await;
    let run = live.begin(Wish::Switchover).await;
    live.until_running(&run, "verify-writer.main").await;
    live.act(&run, Act::Abort).await.expect("taken");
    assert_eq!(live.outcome(&run, 120).await, Played::Held("undo-past-no-return".to_owned()));
    live.act(&run, Act::Abort).await.expect("taken");
    assert_eq!(live.outcome(&run, 120).await, ABORTED);
    assert!(reason(&live, &run).ends_with("; not undone: switch.main"), "{}", reason(&live, &run));
    assert_eq!((on(&live), live.flips()), (HOME, 0));
    // The watcher learns where the writer is now.
    live.pass(120).await;
    let back = live.begin(Wish::Failback).await;
    assert_eq!(live.outcome(&back, 7_200).await, SUCCEEDED);
}

#[tokio::test(start_paused = true)]
async fn a_failover_waits_while_a_call_back_is_on_its_way() {
    let scene = Scene::stateless(407, 240, &runbook(""));
    let live = well(&scene).await;
    let run = live.begin(Wish::Switchover).await;
    live.until_running(&run, "settle").await;
    live.faults.arm(FLIP, Fault::Hang);
    live.act(&run, Act::Abort).await.expect("aborted");
    live.until("the call back", 30, |live| live.run(&run).has_open_undo()).await;
    let refused = live.ask(Live::request(Wish::Failover)).await;
    assert!(matches!(refused, Err(Refusal::AlreadyRunning { .. })), "{refused:?}");
    assert_eq!(live.outcome(&run, 900).await, ABORTED);
    assert_eq!(on(&live), HOME);
}

#[tokio::test(start_paused = true)]
async fn a_superseded_run_is_not_undone() {
    let scene = Scene::stateless(411, 240, &runbook(""));
    let live = well(&scene).await;
    let run = live.begin(Wish::Switchover).await;
    live.until_running(&run, "settle").await;
    by_hand(&live);
    live.act(&run, Act::Abort).await.expect("aborted");
    assert_eq!(live.outcome(&run, 120).await, Played::Held("undo-drift".to_owned()));
    let Ok(Started::Run { id, supersedes }) = live.ask(Live::request(Wish::Failover)).await else { panic!("refused") };
    assert_eq!(supersedes, Some(run.clone()));
    assert_eq!(live.outcome(&id, 600).await, SUCCEEDED);
    assert!(live.run(&run).undone().is_empty());
    assert_eq!(on(&live), AWAY);
}

#[tokio::test(start_paused = true)]
async fn one_failed_step_is_tried_again_by_a_person_who_was_shown_the_plan() {
    let scene = Scene::stateless(408, 240, &runbook(""));
    let live = well(&scene).await;
    live.faults.arm(FLIP, Fault::Reject("AccessDenied"));
    let run = live.begin(Wish::Switchover).await;
    assert_eq!(live.outcome(&run, 120).await, Played::Held("call-rejected".to_owned()));
    assert_eq!(offered(&live, &run), ["retry flip.api", "skip flip.api"]);
    let step = || "flip.api".parse().expect("valid");
    let stale = live.act(&run, Act::Retry { step: step(), digest: Digest::of(b"another") }).await;
    assert!(matches!(stale, Err(Refusal::StaleDigest { .. })), "{stale:?}");
    let digest = live.run(&run).plan_digest.clone();
    let early = live.act(&run, Act::Retry { step: "settle".parse().expect("valid"), digest: digest.clone() }).await;
    assert!(matches!(early, Err(Refusal::WrongPhase(_))), "{early:?}");
    let unknown = live.act(&run, Act::Skip { step: "none".parse().expect("valid"), digest: digest.clone() }).await;
    assert!(matches!(unknown, Err(Refusal::UnknownStep(_))), "{unknown:?}");
    live.act(&run, Act::Retry { step: step(), digest }).await.expect("tried again");
    assert_eq!(live.outcome(&run, 300).await, SUCCEEDED);
    assert_eq!((on(&live), live.flips()), (AWAY, 1));
}

#[tokio::test(start_paused = true)]
async fn a_step_that_nothing_rests_on_is_skipped_and_a_gate_is_not() {
    let last = "  - { id: refuse, action: assert, needs: [settle], with: { that: \"purpose == 'failover'\", message: Not that. } }\n";
    let scene = Scene::stateless(409, 240, &runbook(last));
    let live = well(&scene).await;
    let run = live.begin(Wish::Switchover).await;
    assert_eq!(live.outcome(&run, 300).await, Played::Held("assert-failed".to_owned()));
    let digest = live.run(&run).plan_digest.clone();
    live.act(&run, Act::Skip { step: "refuse".parse().expect("valid"), digest }).await.expect("skipped");
    assert_eq!(live.outcome(&run, 60).await, SUCCEEDED);
    assert!(matches!(live.step(&run, "refuse"), StepState::Skipped { .. }));

    let scene = Scene::payments(410, 240);
    let live = well(&scene).await;
    live.faults.arm("rds:SwitchoverGlobalCluster", Fault::Reject("AccessDenied"));
    let run = live.begin(Wish::Switchover).await;
    assert_eq!(live.outcome(&run, 600).await, Played::Held("call-rejected".to_owned()));
    assert_eq!(offered(&live, &run), ["retry switch.main"]);
    let digest = live.run(&run).plan_digest.clone();
    let refused = live.act(&run, Act::Skip { step: "switch.main".parse().expect("valid"), digest }).await;
    assert!(matches!(refused, Err(Refusal::NotSkippable { .. })), "{refused:?}");
}

/// Past the point of no return an abort waits for a person, who completes the run or leaves it: the step that has failed
/// before is neither tried again nor skipped.
#[tokio::test(start_paused = true)]
async fn what_is_offered_in_a_hold_is_what_is_taken() {
    let scene = Scene::payments(412, 240);
    let live = well(&scene).await;
    live.faults.arm(FLIP, Fault::Reject("AccessDenied"));
    let run = live.begin(Wish::Switchover).await;
    assert_eq!(live.outcome(&run, 3_600).await, Played::Held("call-rejected".to_owned()));
    assert_eq!(offered(&live, &run), ["retry flip.api", "skip flip.api"]);
    live.act(&run, Act::Abort).await.expect("taken");
    assert_eq!(live.outcome(&run, 120).await, Played::Held("undo-past-no-return".to_owned()));
    assert_eq!(offered(&live, &run), [] as [&str; 0]);
    let digest = live.run(&run).plan_digest.clone();
    for planned in &live.run(&run).plan.steps {
        let (step, digest) = (planned.id.clone(), digest.clone());
        let taken = live.act(&run, Act::Retry { step: step.clone(), digest: digest.clone() }).await;
        assert!(taken.is_err(), "{step} was not offered");
        assert!(live.act(&run, Act::Skip { step: step.clone(), digest }).await.is_err(), "{step} was not offered");
    }
}
