//! Emergency first: a failover takes the place of a planned move at whatever step it is, and never of another failover.

use failoverd::{
    domain::{
        id::{RunId, StepId},
        run::{Phase, RunResult, StepState},
    },
    engine::control::{Act, Refusal, Started, Wish},
    sim::port::Fault,
};

use crate::support::{Live, Played, Scene, region};

const SUCCEEDED: Played = Played::Finished(RunResult::Succeeded);
const SUPERSEDED: Played = Played::Finished(RunResult::Superseded);

async fn well(scene: &Scene) -> Live {
    let live = scene.start(0).await;
    live.ready().await;
    live.pass(30).await;
    live
}

/// Waits until a step of `run` has begun.
async fn begun(live: &Live, run: &RunId, step: &StepId) {
    let what = format!("`{step}` has begun");
    live.until(&what, 900, |live| !matches!(live.run(run).steps[step], StepState::Pending)).await;
}

/// Plays `run` to its end: approved where it asks for it, resumed where it is held.
async fn to_the_end(live: &Live, run: &RunId) {
    for _ in 0..8 {
        live.until("the run asks for somebody, or is over", 7_200, |live| {
            let state = live.run(run);
            let asks = state.approvals.is_empty() && matches!(live.step(run, "approve"), StepState::Running { .. });
            let stands = !state.steps.values().any(StepState::is_in_flight);
            asks || state.is_finished() || (matches!(state.phase, Phase::Held { .. }) && stands)
        })
        .await;
        match &live.run(run).phase {
            Phase::Held { code, .. } => {
                live.act(run, Act::Resume).await.unwrap_or_else(|e| panic!("{code}: {e}"));
                live.pass(5).await;
            }
            Phase::Finished { result, reason, .. } => return assert_eq!(*result, RunResult::Succeeded, "{reason}"),
            _ => live.answer(run, "second", true).await.expect("approved"),
        }
    }
    panic!("held again and again: {:?}", live.run(run).phase);
}

#[tokio::test(start_paused = true)]
async fn a_failover_takes_the_place_of_a_switchover_at_each_of_its_first_steps() {
    assert_eq!(at_each_step(301, |at, of| at < of / 2).await, 7, "all of them are before the roles change");
}

#[tokio::test(start_paused = true)]
async fn a_failover_takes_the_place_of_a_switchover_at_each_of_its_last_steps_or_it_ends() {
    assert!(at_each_step(311, |at, of| of / 2 <= at).await >= 1);
}

/// Loses the Region as each of the steps begins, and asks for a failover; how many escalated.
async fn at_each_step(seed: u64, chosen: impl Fn(usize, usize) -> bool) -> usize {
    let plan = {
        let scene = Scene::payments(300, 240);
        let live = well(&scene).await;
        let run = live.begin(Wish::Switchover).await;
        live.run(&run).plan.steps.iter().map(|s| s.id.clone()).collect::<Vec<_>>()
    };
    let count = plan.len();
    let steps = plan.into_iter().enumerate().filter(|(at, _)| chosen(*at, count)).map(|(_, step)| step);
    let mut escalated = 0;
    for (seed, step) in (seed..).zip(steps) {
        let scene = Scene::payments(seed, 240);
        let live = well(&scene).await;
        let planned = live.begin(Wish::Switchover).await;
        begun(&live, &planned, &step).await;
        live.lose("us-east-1");
        live.pass(3).await;
        if live.run(&planned).is_finished() {
            assert_eq!(live.outcome(&planned, 1).await, SUCCEEDED, "{step}");
            continue;
        }
        match live.ask(Live::request(Wish::Failover)).await {
            Ok(Started::Run { id, supersedes }) => {
                assert_eq!(supersedes, Some(planned.clone()), "{step}");
                assert_eq!(live.outcome(&planned, 5).await, SUPERSEDED, "{step}");
                to_the_end(&live, &id).await;
                escalated += 1;
            }
            // The roles had changed already: the planned move goes on to its end, and nothing crosses it.
            Err(Refusal::BadTarget { .. } | Refusal::AlreadyRunning { .. }) => {
                assert_eq!(live.outcome(&planned, 3_600).await, SUCCEEDED, "{step}")
            }
            other => panic!("{step}: {other:?}"),
        }
        live.pass(30).await;
        assert_eq!(live.assessment().active_region, Some(region("us-west-2")), "{step}");
        // The new run sets what the old one may have set before: the same states once more.
        assert!(live.flips() <= 2, "{step}");
    }
    escalated
}

#[tokio::test(start_paused = true)]
async fn a_switchover_without_an_answer_is_escalated_whether_or_not_it_had_its_effect() {
    for (seed, fault) in [(330, Fault::LoseBefore), (331, Fault::LoseAfter), (332, Fault::Hang)] {
        let scene = Scene::payments(seed, 240);
        let live = well(&scene).await;
        live.faults.arm("SwitchoverGlobalCluster", fault.clone());
        let planned = live.begin(Wish::Switchover).await;
        begun(&live, &planned, &"switch.main".parse().unwrap()).await;
        live.pass(2).await;
        let Ok(Started::Run { id, supersedes }) = live.ask(Live::request(Wish::Failover)).await else {
            panic!("{fault:?}: refused")
        };
        assert_eq!(supersedes, Some(planned));
        to_the_end(&live, &id).await;
        live.pass(120).await;
        assert_eq!(live.assessment().active_region, Some(region("us-west-2")), "{fault:?}");
        let moved = live.accepted("SwitchoverGlobalCluster") + live.accepted("FailoverGlobalCluster");
        assert_eq!(moved, 1, "{fault:?}: nothing is promoted where the switchover came to its end");
    }
}

#[tokio::test(start_paused = true)]
async fn an_escalation_needs_fresh_consent_and_waits_while_an_operation_is_in_progress() {
    let scene = Scene::payments(340, 240);
    let live = well(&scene).await;
    let planned = live.begin(Wish::Switchover).await;
    begun(&live, &planned, &"switch.main".parse().unwrap()).await;
    live.pass(5).await;
    let mut without = Live::request(Wish::Failover);
    without.accept_data_loss = None;
    assert!(matches!(live.ask(without).await, Err(Refusal::Gate { gate: "data-loss", .. })));
    assert!(!live.run(&planned).is_finished(), "a refused request supersedes nothing");
    let run = live.begin(Wish::Failover).await;
    live.pass(10).await;
    assert!(matches!(live.step(&run, "check-target.main"), StepState::Running { .. }), "{:?}", live.run(&run).steps);
    live.approve(&run).await;
    assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
    assert_eq!(live.accepted("FailoverGlobalCluster"), 0, "the switchover came to its end");
    live.pass(90).await;
    assert_eq!(live.ledger().writes_lost, 0);
}

#[tokio::test(start_paused = true)]
async fn a_failover_never_takes_the_place_of_another_nor_a_planned_move_of_anything() {
    let scene = Scene::payments(341, 240);
    let live = well(&scene).await;
    let planned = live.begin(Wish::Switchover).await;
    let refused = live.ask(Live::request(Wish::Switchover)).await;
    match refused {
        Err(Refusal::AlreadyRunning { run, escalate, .. }) => {
            assert_eq!(run, planned);
            assert!(escalate.contains("mode failover to the same target"), "{escalate}");
        }
        other => panic!("{other:?}"),
    }
    live.lose("us-east-1");
    live.pass(3).await;
    let run = live.begin(Wish::Failover).await;
    for wish in [Wish::Failover, Wish::Switchover] {
        let refused = live.ask(Live::request(wish)).await;
        assert!(matches!(&refused, Err(Refusal::AlreadyRunning { run: at, .. }) if *at == run), "{refused:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failover_takes_the_place_of_a_failback_at_each_of_its_steps() {
    let steps = ["announce.us-east-1", "caught-up.main", "check-target.main", "switch.main"];
    for (seed, step) in (350..).zip(steps) {
        let scene = Scene::payments(seed, 240);
        let live = well(&scene).await;
        let away = live.begin(Wish::Switchover).await;
        assert_eq!(live.outcome(&away, 3_600).await, SUCCEEDED);
        live.pass(360).await;
        let home = live.begin(Wish::Failback).await;
        begun(&live, &home, &step.parse().unwrap()).await;
        live.lose("us-west-2");
        live.pass(3).await;
        let Ok(Started::Run { id, supersedes }) = live.ask(Live::request(Wish::Failover)).await else {
            panic!("{step}: refused")
        };
        assert_eq!(supersedes, Some(home), "{step}");
        to_the_end(&live, &id).await;
        live.pass(120).await;
        assert_eq!(live.assessment().active_region, Some(region("us-east-1")), "{step}");
    }
}
