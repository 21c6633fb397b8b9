//! Wall clocks jump; deadlines do not move with them (FAULTS.md 11).

use failoverd::{
    domain::run::{Phase, RunResult},
    engine::control::Wish,
    sim::world::aurora::PromotionFate,
};

use crate::support::{Played, Scene, disaster};

const FAILOVER: &str = "FailoverGlobalCluster";
const HOUR: i64 = 3_600;

#[tokio::test(start_paused = true)]
async fn an_approval_outlives_a_wall_clock_that_jumps_ahead() {
    let scene = Scene::payments(80, 240);
    let live = disaster(&scene).await;
    let run = live.begin(Wish::Failover).await;
    live.until_running(&run, "approve").await;
    live.wall.set_ahead(HOUR);
    live.pass(60).await;
    assert_eq!(live.run(&run).phase, Phase::Running);
    live.answer(&run, "second", true).await.expect("approved, an hour ahead");
    live.wall.set_ahead(0);
    assert_eq!(live.outcome(&run, 3_600).await, Played::Finished(RunResult::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn an_approval_expires_in_time_though_the_wall_clock_was_set_back() {
    let scene = Scene::payments(81, 240);
    let live = disaster(&scene).await;
    let run = live.begin(Wish::Failover).await;
    live.until_running(&run, "approve").await;
    live.wall.set_ahead(-HOUR);
    live.pass(14 * 60).await;
    assert_eq!(live.run(&run).phase, Phase::Running);
    assert_eq!(live.outcome(&run, 70).await, Played::Held("approval-expired".to_owned()));
    assert!(live.answer(&run, "second", true).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_promotion_has_its_time_whatever_the_wall_clock_says() {
    for ahead in [HOUR, -HOUR] {
        let scene = Scene::payments(82, 240);
        let live = disaster(&scene).await;
        live.world.now(|w| w.aurora.knobs.next_promotion = Some(PromotionFate::Sticks));
        let run = live.begin(Wish::Failover).await;
        live.approve(&run).await;
        live.until("the call", 60, |live| live.accepted(FAILOVER) == 1).await;
        live.wall.set_ahead(ahead);
        live.pass(14 * 60).await;
        assert_eq!(live.run(&run).phase, Phase::Running, "{ahead} s ahead: 15 minutes are not over");
        assert_eq!(live.outcome(&run, 120).await, Played::Held("step-timeout".to_owned()), "{ahead} s ahead");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_spent_before_a_restart_counts_and_is_never_less_than_nothing() {
    let scene = Scene::payments(83, 240);
    let live = disaster(&scene).await;
    let run = live.begin(Wish::Failover).await;
    live.until_running(&run, "approve").await;
    live.pass(10 * 60).await;
    live.engine.stop(std::time::Duration::from_secs(10)).await;
    let live = scene.start(60).await;
    live.pass(3 * 60).await;
    assert_eq!(live.run(&run).phase, Phase::Running);
    assert_eq!(live.outcome(&run, 2 * 60).await, Played::Held("approval-expired".to_owned()));

    let scene = Scene::payments(84, 240);
    let live = disaster(&scene).await;
    // The step began in the future of the process that takes over.
    let run = live.begin(Wish::Failover).await;
    live.wall.set_ahead(HOUR);
    live.until_running(&run, "approve").await;
    live.engine.stop(std::time::Duration::from_secs(10)).await;
    let live = scene.start(1).await;
    live.pass(14 * 60).await;
    assert_eq!(live.run(&run).phase, Phase::Running);
    assert_eq!(live.outcome(&run, 70).await, Played::Held("approval-expired".to_owned()));
}
