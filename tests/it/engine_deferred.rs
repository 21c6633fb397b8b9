//! Work that outlives its run: the rescue snapshot of the old writer is kept, once its Region is back.

use failoverd::{
    domain::{deferred::Deferred, plan::Purpose, run::RunResult},
    engine::control::{Control as _, Wish},
};

use crate::support::{Live, Played, Scene, payments, region};

const SUCCEEDED: Played = Played::Finished(RunResult::Succeeded);

/// A failover that has succeeded, from a Region that is still lost.
async fn failed_over(scene: &Scene) -> Live {
    let live = scene.start(0).await;
    live.ready().await;
    live.lose("us-east-1");
    let run = live.begin(Wish::Failover).await;
    live.approve(&run).await;
    assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
    live
}

fn work(live: &Live) -> Vec<Deferred> {
    live.engine.history(&payments()).expect("a history").deferred.values().cloned().collect()
}

fn copies(live: &Live) -> Vec<String> {
    let east = region("us-east-1");
    live.world.now(|w| w.aurora.snapshots(&east, w.now).filter(|s| !s.automatic).map(|s| s.id.clone()).collect())
}

#[tokio::test(start_paused = true)]
async fn the_run_succeeds_without_it_and_it_is_done_when_the_region_is_back() {
    let scene = Scene::payments(600, 240);
    let live = failed_over(&scene).await;
    let [open] = &work(&live)[..] else { panic!("{:?}", work(&live)) };
    assert_eq!((open.word(), open.attempts), ("open", 0));
    live.pass(600).await;
    assert!(work(&live)[0].is_open(), "a lost Region ends nothing");
    live.world.now(|w| w.restore_region(&region("us-east-1")));
    live.until("it is over", 7_200, |live| !work(live)[0].is_open()).await;
    assert_eq!(work(&live)[0].word(), "done", "{:?}", work(&live));
    let [copy] = &copies(&live)[..] else { panic!("{:?}", copies(&live)) };
    assert!(copy.starts_with("failoverd-rescue-payments-use1-20"), "{copy}");
    assert_eq!(live.accepted("CopyDBClusterSnapshot"), 1);
}

/// What `plan --purpose failback` says of the old Region, `why` says too.
#[tokio::test(start_paused = true)]
async fn while_the_old_writer_is_rebuilt_the_lag_is_unknown_and_it_is_said_why() {
    let scene = Scene::payments(604, 240);
    let live = failed_over(&scene).await;
    live.world.now(|w| w.restore_region(&region("us-east-1")));
    let says = |live: &Live| {
        let assessment = live.assessment();
        assessment.reasons.iter().find(|reason| reason.contains("is pending-resync")).cloned()
    };
    live.until("it is said why the lag is unknown", 3_600, |live| says(live).is_some()).await;
    let said = says(&live).expect("said");
    assert!(said.contains("its lag is unknown (") && said.contains("; payments-use1 is pending-resync)"), "{said}");
    live.until("it is connected again", 7_200, |live| says(live).is_none()).await;
    let lags = |live: &Live| live.assessment().reasons.iter().any(|reason| reason.contains("its lag is unknown"));
    live.until("and its lag is known", 1_200, |live| !lags(live)).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_process_goes_on_with_it_and_copies_once() {
    let scene = Scene::payments(601, 240);
    {
        let _first = failed_over(&scene).await;
    }
    scene.world.lock().expect("nobody panics").restore_region(&region("us-east-1"));
    let live = scene.start(30).await;
    live.until("it is over", 7_200, |live| !work(live).iter().any(Deferred::is_open)).await;
    assert_eq!(work(&live)[0].word(), "done", "{:?}", work(&live));
    assert_eq!(live.accepted("CopyDBClusterSnapshot"), 1);
}

#[tokio::test(start_paused = true)]
async fn it_expires_with_a_word_to_people_where_the_region_does_not_come_back() {
    let shipped = include_str!("../../runbooks/region-failover.yaml");
    let brief = shipped.replace("within: 168h", "within: 1h");
    assert_ne!(brief, shipped);
    let scene = Scene::payments(602, 240).with_runbook(Purpose::Failover, &brief);
    let live = failed_over(&scene).await;
    let told = |live: &Live| {
        let is_it = |m: &&str| m.contains("nobody could keep the rescue snapshot");
        live.world.now(|w| w.sns.delivered.iter().map(|m| m.body.as_str()).filter(is_it).count())
    };
    live.pass(3_000).await;
    assert_eq!((work(&live)[0].word(), told(&live)), ("open", 0));
    live.pass(900).await;
    assert_eq!(work(&live)[0].word(), "expired", "{:?}", work(&live));
    assert_eq!(told(&live), 1, "the topic of the Region that lives, once");
}

#[tokio::test(start_paused = true)]
async fn people_are_told_once_when_a_snapshot_that_is_not_copied_is_about_to_expire() {
    let scene = Scene::payments(603, 240);
    scene.world.lock().expect("nobody panics").aurora.keep_backups_for("payments-use1", 1);
    let live = failed_over(&scene).await;
    // AWS takes nothing that is signed by such a clock: what counts is who was to be told, which is journalled before.
    let warned = |live: &Live| work(live)[0].warned.len();
    // By a clock that is so far ahead nothing is copied, but people are told, and a snapshot is as old as that.
    live.wall.set_ahead(17 * 3_600);
    live.world.now(|w| w.restore_region(&region("us-east-1")));
    let east = region("us-east-1");
    live.until("the snapshot is there", 3_600, |live| {
        live.world.now(|w| w.aurora.snapshots(&east, w.now).next().is_some())
    })
    .await;
    live.pass(600).await;
    assert_eq!((work(&live)[0].word(), warned(&live)), ("open", 0), "{:?}", work(&live));
    // Kept for a day: told of when a quarter of that is left.
    live.wall.set_ahead(18 * 3_600);
    live.until("people are told", 300, |live| warned(live) == 2).await;
    live.pass(600).await;
    assert_eq!((work(&live)[0].word(), warned(&live)), ("open", 2), "each topic once: {:?}", work(&live));
    assert!(copies(&live).is_empty());
}
