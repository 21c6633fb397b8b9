//! Outputs of other steps as arguments of an `aws.call`, over the production engine and the simulated AWS.

use failoverd::{
    domain::{
        cloud::Mutation,
        hole::{Hole, holes_of},
        id::StepId,
        plan::Purpose,
        run::{RunResult, StepState},
        runbook::{Library, Runbook},
    },
    engine::control::{Act, Wish},
    sim::port::Fault,
};
use serde_json::Value;

use crate::support::{Live, Played, Scene, region};

const PUT: &str = "ssm:PutParameter";

/// Two parameters are read; the one is written over the other, and taken back to what that was.
const RUNBOOK: &str = "\
runbook: with-outputs
purpose: switchover
description: A test.
steps:
  - id: release
    action: aws.call
    with:
      service: ssm
      region: us-west-2
      operation: GetParameter
      arguments: { Name: /payments/release }
      effect: read
      outputs: { value: /Parameter/Value, version: /Parameter/Version, nothing: /Parameter/Nothing }
  - id: old
    action: aws.call
    with:
      service: ssm
      region: us-west-2
      operation: GetParameter
      arguments: { Name: /payments/writer }
      effect: read
      outputs: { value: /Parameter/Value }
  - id: point
    action: aws.call
    needs: [release, old]
    with:
      service: ssm
      region: us-west-2
      operation: PutParameter
      arguments: { Name: /payments/writer, Value: { output: release.value, chars_max: 40 }, Overwrite: true }
      effect: reversible
      repeat: idempotent
      done_when:
        operation: GetParameter
        arguments: { Name: /payments/writer }
        that: answer.Parameter.Value != 'before'
      undo:
        operation: PutParameter
        arguments: { Name: /payments/writer, Value: { output: old.value }, Overwrite: true }
        repeat: idempotent
        done_when:
          operation: GetParameter
          arguments: { Name: /payments/writer }
          that: answer.Parameter.Value == 'before'
  - { id: linger, action: wait, needs: [point], with: { duration: 10m }, timeout: 20m }
";

fn id(step: &str) -> StepId {
    step.parse().expect("an id")
}

/// The world with a release of that name, and a writer that is `before`.
fn scene(seed: u64, release: &str, runbook: &str) -> Scene {
    let scene = Scene::payments(seed, 240).with_runbook(Purpose::Switchover, runbook);
    let mut world = scene.world.lock().expect("nobody panics");
    world.services.ssm.add(&region("us-west-2"), "/payments/release", release);
    world.services.ssm.add(&region("us-west-2"), "/payments/writer", "before");
    drop(world);
    scene
}

fn writer(live: &Live) -> String {
    live.world.now(|w| w.services.ssm.parameter(&region("us-west-2"), "/payments/writer").expect("there").value.clone())
}

fn sent(live: &Live) -> usize {
    live.faults.sent().iter().filter(|sent| sent.operation == PUT).count()
}

#[tokio::test(start_paused = true)]
async fn the_intent_has_the_value_the_plan_the_hole_and_the_undo_the_same_value() {
    // What looks like a placeholder, or like a hole, in a value is that value.
    let release = "{target} {\"$output\":1}";
    let scene = scene(851, release, RUNBOOK);
    let live = scene.start(0).await;
    live.ready().await;
    live.faults.arm(PUT, Fault::LoseAfter);
    let run = live.begin(Wish::Switchover).await;
    live.until_running(&run, "linger").await;
    assert_eq!((writer(&live).as_str(), sent(&live)), (release, 1), "a lost answer is settled by looking");
    let state = live.run(&run);
    let planned = &state.plan.step(&id("point")).expect("planned").action;
    let told: Vec<String> = holes_of(planned).iter().map(Hole::told).collect();
    assert_eq!(told, ["release.value, text of at most 40 characters", "old.value, text of at most 256 characters"]);
    let digest = state.plan.digest();
    assert_eq!(state.plan_digest, digest, "what was approved has the hole, whatever fills it");
    let Some(Mutation::AwsCall { request, .. }) =
        state.filled(planned).expect("filled").map(|a| a.mutations().remove(0))
    else {
        panic!("a call")
    };
    assert_eq!(request.arguments["Value"], Value::from(release));
    live.act(&run, Act::Abort).await.expect("aborted");
    assert_eq!(live.outcome(&run, 900).await, Played::Finished(RunResult::Aborted));
    assert_eq!((writer(&live).as_str(), sent(&live)), ("before", 2));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_or_does_not_fit_is_not_sent() {
    let long = "x".repeat(41);
    for (seed, release, from, to, told) in [
        (852, long.as_str(), "release.value, chars_max: 40", "release.value, chars_max: 40", "has 41 characters"),
        (853, "r-7", "release.value, chars_max: 40", "release.nothing", "had none"),
        (854, "r-7", "release.value, chars_max: 40", "release.version", "is a number"),
    ] {
        let scene = scene(seed, release, &RUNBOOK.replace(from, to));
        let live = scene.start(0).await;
        live.ready().await;
        let run = live.begin(Wish::Switchover).await;
        assert_eq!(live.outcome(&run, 900).await, Played::Held("output-unusable".to_owned()), "{told}");
        let StepState::Failed { reason, .. } = live.step(&run, "point") else { panic!("failed") };
        assert!(reason.contains(told), "{reason}");
        assert_eq!((writer(&live).as_str(), sent(&live)), ("before", 0));
    }
}

#[test]
fn an_output_that_is_not_declared_needed_or_of_the_type_is_refused_with_its_line() {
    let hole = "{ output: release.value, chars_max: 40 }";
    for (instead, told) in [
        ("{ output: relaese.value }", "there is no step `relaese`"),
        ("{ output: release.valu }", "declares no output `valu`"),
        ("{ output: linger.value }", "which this step does not need"),
        ("{ output: value }", "is not STEP.NAME"),
        ("{ output: release.value, type: list }", "none of text, number, boolean"),
        ("{ output: release.value, chars_max: 0 }", "between 1 and 2048"),
        ("{ output: release.value, type: number, chars_max: 4 }", "`chars_max` is for a text"),
        ("{ $output: release.value }", "a name of failoverd's own"),
    ] {
        let faults = Runbook::parse("r.yaml", &RUNBOOK.replace(hole, instead)).expect_err(instead);
        let fault = faults.iter().find(|f| f.problem.contains(told)).unwrap_or_else(|| panic!("{told}: {faults:#?}"));
        assert_eq!(fault.line, 30, "{instead}: {fault:?}");
    }
    let typed = RUNBOOK.replace(
        "  - id: old\n",
        "  - id: proven\n    action: aurora.verify_writer\n    with: { store: main }\n  - id: old\n",
    );
    let typed = typed.replace("needs: [release, old]", "needs: [release, old, proven]");
    let of = |hole: &str| Runbook::parse("r.yaml", &typed.replace("{ output: release.value, chars_max: 40 }", hole));
    assert!(of("{ output: proven.last_surviving_write }").is_ok());
    let faults = of("{ output: proven.last_surviving_write, type: number }").expect_err("a text");
    assert!(faults.iter().any(|f| f.problem.contains("is a text, and a number is asked for")), "{faults:#?}");
}

#[test]
fn in_a_called_runbook_an_output_is_that_of_the_step_beside_it() {
    let mut library = Library::default();
    library.add("with-outputs.yaml", RUNBOOK);
    let text = "runbook: r\npurpose: switchover\ndescription: d\nsteps:\n\
                \x20 - { id: first, action: call, with: { runbook: with-outputs } }\n";
    let (runbook, _) = Runbook::parse_with("r.yaml", text, &library).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let point = runbook.step(&id("first.point")).expect("a step");
    assert!(format!("{:?}", point.act).contains("first.release"), "{:?}", point.act);
}
