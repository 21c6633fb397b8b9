//! `undo: restore` of an `aws.call`, over the production engine and the simulated AWS: what is there is read before the
//! first effect and put back as it was, or nothing is changed.

use std::sync::Mutex;

use failoverd::{
    domain::{
        id::RunId,
        plan::Purpose,
        run::{RunResult, StepState},
        undo::Prior,
    },
    engine::control::{Act, Wish},
    sim::{
        faults::CallFault,
        port::{Fault, Faults, Moment},
    },
};
use serde_json::json;

use crate::support::{Live, Played, Scene, incarnation, region};

const PUT: &str = "ssm:PutParameter";
const ABORTED: Played = Played::Finished(RunResult::Aborted);
/// What no runbook says, so that nobody could have guessed it.
const BEFORE: &str = "what {target} $before 7 \"was\" there";

/// One parameter is changed, and then something is waited for.
const RUNBOOK: &str = "\
runbook: with-restore
purpose: switchover
description: A test.
steps:
  - id: point
    action: aws.call
    timeout: 3m
    with:
      service: ssm
      region: us-west-2
      operation: PutParameter
      arguments: { Name: /payments/writer, Value: moved, Overwrite: true }
      effect: reversible
      repeat: idempotent
      done_when:
        operation: GetParameter
        arguments: { Name: /payments/writer }
        that: answer.Parameter.Value == 'moved'
      undo: restore
  - { id: linger, action: wait, needs: [point], with: { duration: 10m }, timeout: 20m }
";

fn scene(seed: u64, before: &str, runbook: &str) -> Scene {
    let scene = Scene::payments(seed, 240).with_runbook(Purpose::Switchover, runbook);
    write(&scene, before);
    scene
}

fn write(scene: &Scene, value: &str) {
    let mut world = scene.world.lock().expect("nobody panics");
    world.services.ssm.add(&region("us-west-2"), "/payments/writer", value);
}

fn writer(live: &Live) -> String {
    live.world.now(|w| w.services.ssm.parameter(&region("us-west-2"), "/payments/writer").expect("there").value.clone())
}

fn sent(live: &Live) -> usize {
    live.faults.sent().iter().filter(|sent| sent.operation == PUT).count()
}

async fn at_linger(live: &Live) -> RunId {
    live.ready().await;
    let run = live.begin(Wish::Switchover).await;
    live.until_running(&run, "linger").await;
    assert_eq!(writer(live), "moved");
    run
}

fn why(live: &Live, run: &RunId) -> String {
    match live.step(run, "point") {
        StepState::Failed { reason, .. } => reason.clone(),
        other => panic!("failed: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_abort_puts_back_what_was_there_to_the_letter_whatever_answer_is_lost() {
    for (seed, lost) in [(861, None), (862, Some(Fault::LoseAfter)), (863, Some(Fault::LoseBefore))] {
        let scene = scene(seed, BEFORE, RUNBOOK);
        let live = scene.start(0).await;
        let run = at_linger(&live).await;
        if let Some(fault) = lost {
            live.faults.arm(PUT, fault);
        }
        live.act(&run, Act::Abort).await.expect("aborted");
        assert_eq!(live.outcome(&run, 1_200).await, ABORTED, "{seed}");
        assert_eq!(writer(&live), BEFORE, "{seed}");
        assert!(sent(&live) <= 3, "{seed}");
        let made = &live.run(&run).unwind.made[&"point".parse().expect("an id")];
        let prior = made[&0].prior.clone().expect("journalled with the intent");
        assert_eq!(prior, Prior::Answer { values: [("Value".to_owned(), json!(BEFORE))].into() });
    }
}

#[test]
fn a_kill_between_the_reading_and_the_call_forgets_nothing() {
    for (seed, moment) in [(864, Moment::Before), (865, Moment::After)] {
        let scene = scene(seed, BEFORE, RUNBOOK);
        let faults = Faults::default();
        let run = Mutex::new(None);
        incarnation(async {
            let live = scene.start_with(0, scene.reopened(), faults.clone()).await;
            live.ready().await;
            faults.arm(PUT, Fault::Freeze(moment));
            *run.lock().expect("nobody panics") = Some(live.begin(Wish::Switchover).await);
            faults.frozen().await;
            // As by kill -9: nothing of this runtime runs on.
            std::mem::forget(live);
        });
        let id = run.lock().expect("nobody panics").clone().expect("a run");
        faults.thaw();
        incarnation(async {
            let live = scene.start_with(3, scene.reopened(), faults.clone()).await;
            live.until_running(&id, "linger").await;
            assert_eq!(writer(&live), "moved");
            live.act(&id, Act::Abort).await.expect("aborted");
            assert_eq!(live.outcome(&id, 1_200).await, ABORTED, "{moment:?}");
            assert_eq!(writer(&live), BEFORE, "{moment:?}");
        });
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_or_kept_is_not_replaced() {
    let elsewhere = "undo: { restore: { Value: /Parameter/Value }, read: { operation: GetParameter, arguments: { Name: \
                     /payments/none } } }";
    let long = "x".repeat(2_049);
    for (seed, before, undo, told) in [
        (866, BEFORE, elsewhere, "it is not there"),
        (867, BEFORE, "undo: { restore: { Value: /Parameter/Nothing } }", "is not at /Parameter/Nothing"),
        (868, BEFORE, "undo: { restore: { Value: /Parameter/Version } }", "is a number"),
        (869, long.as_str(), "undo: restore", "has 2049 characters"),
        (870, "AKIAIOSFODNN7EXAMPLE", "undo: restore", "access key"),
    ] {
        let scene = scene(seed, before, &RUNBOOK.replace("undo: restore", undo));
        let live = scene.start(0).await;
        live.ready().await;
        let run = live.begin(Wish::Switchover).await;
        assert_eq!(live.outcome(&run, 900).await, Played::Held("prior-unseen".to_owned()), "{told}");
        assert!(why(&live, &run).contains(told), "{}", why(&live, &run));
        assert_eq!((writer(&live).as_str(), sent(&live)), (before, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn what_somebody_has_written_since_is_left_to_them() {
    let scene = scene(871, BEFORE, RUNBOOK);
    let live = scene.start(0).await;
    let run = at_linger(&live).await;
    write(&scene, "a third thing");
    live.act(&run, Act::Abort).await.expect("aborted");
    assert_eq!(live.outcome(&run, 900).await, Played::Held("undo-drift".to_owned()));
    assert_eq!((writer(&live).as_str(), sent(&live)), ("a third thing", 1));
    // They have put it back themselves, and the run goes on.
    write(&scene, BEFORE);
    live.act(&run, Act::Resume).await.expect("resumed");
    assert_eq!(live.outcome(&run, 900).await, ABORTED);
    assert_eq!((writer(&live).as_str(), sent(&live)), (BEFORE, 1));
}

#[tokio::test(start_paused = true)]
async fn while_it_cannot_be_read_what_was_there_nothing_is_put_back() {
    let scene = scene(872, BEFORE, RUNBOOK);
    let live = scene.start(0).await;
    let run = at_linger(&live).await;
    let unread = live.faults.open("ssm:GetParameter", None, CallFault::LoseBefore, 1.0);
    live.act(&run, Act::Abort).await.expect("aborted");
    live.pass(50).await;
    assert_eq!((writer(&live).as_str(), sent(&live)), ("moved", 1));
    live.faults.close(unread);
    assert_eq!(live.outcome(&run, 1_200).await, ABORTED);
    assert_eq!((writer(&live).as_str(), sent(&live)), (BEFORE, 2));
}
