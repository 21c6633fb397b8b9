//! A call that nobody answered, and the way back: what leads elsewhere waits until it cannot arrive any more (S11).

use std::time::Duration;

use failoverd::{
    domain::{
        action::Action,
        cloud::Outcome,
        id::RunId,
        run::{Phase, RunResult, StepState},
    },
    engine::control::Wish,
    sim::faults::CallFault,
};
use jiff::Timestamp;

use crate::support::{Live, Played, Scene, region};

const SUCCEEDED: Played = Played::Finished(RunResult::Succeeded);
const SWITCHOVER: &str = "SwitchoverGlobalCluster";

/// When the calls of `run` that change the roles were intended last.
fn intended_at(live: &Live, run: &RunId) -> Timestamp {
    let run = live.run(run);
    let switches = run.plan.steps.iter().filter(|step| matches!(step.action, Action::AuroraSwitchover { .. }));
    let made = switches.filter_map(|step| run.unwind.made.get(&step.id)).flat_map(|calls| calls.values());
    made.map(|made| made.intended_at()).max().expect("it was intended")
}

#[tokio::test(start_paused = true)]
async fn a_failback_waits_until_an_unanswered_call_of_the_run_before_cannot_arrive_any_more() {
    let scene = Scene::payments(71, 240);
    let live = scene.start(0).await;
    live.ready().await;
    let late = CallFault::Late { by: Duration::from_secs(280) };
    let window = live.faults.open("rds:SwitchoverGlobalCluster", None, late, 1.0);
    let away = live.begin(Wish::Switchover).await;
    let is_unknown = |s: &StepState| matches!(s, StepState::Answered { outcome: Outcome::Unknown { .. }, .. });
    live.until("nobody has answered the call", 900, |live| live.run(&away).steps.values().any(is_unknown)).await;
    live.faults.close(window);
    let unanswered_at = intended_at(&live, &away);
    // The same call again, which has its effect; the first is under way still.
    assert_eq!(live.outcome(&away, 3_600).await, SUCCEEDED);
    let Phase::Finished { at: begun_at, .. } = live.run(&away).phase else { panic!("it is over") };
    let window = Duration::from_secs(330);
    assert!(begun_at < unanswered_at + window, "or nothing need wait: {unanswered_at}, {begun_at}");
    let home = live.begin(Wish::Failback).await;
    assert_eq!(live.outcome(&home, 14 * 3_600).await, SUCCEEDED);
    let back_at = intended_at(&live, &home);
    assert!(unanswered_at + window <= back_at, "{unanswered_at}, and back already at {back_at}");
    live.pass(600).await;
    assert_eq!(live.assessment().active_region, Some(region("us-east-1")), "nothing has moved it away again");
    assert_eq!(live.accepted(SWITCHOVER), 2, "there and back: AWS has refused the late one");
}
