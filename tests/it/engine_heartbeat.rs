//! The heartbeat in the engine: what it measures, whom it contradicts, and what it counts after a promotion.

use std::{collections::BTreeMap, time::Duration};

use failoverd::{
    domain::{
        heartbeat::{Heartbeat, Tls},
        overrides::OverrideKind,
        policy::{Mode, Policy},
        run::{Phase, RunResult},
        signal::{Signal, SignalRole, SignalSource, SignalState},
    },
    engine::control::{Act, AskOverride, Control as _, Refusal, Wish},
    sim::world::aurora::{LagMetric, LagSetting},
};

use crate::support::{
    Live, Played, Scene,
    observers::{Sees, observe},
    payments, region,
};

/// The application with a heartbeat in its store, and a signal that reads it.
fn beating(seed: u64) -> Scene {
    let mut scene = Scene::payments(seed, 240);
    let endpoint = |name: &str| format!("{name}.example.com:5432").parse().expect("an address");
    let heartbeat = Heartbeat {
        user: "failoverd_heartbeat".to_owned(),
        password: "env:HEARTBEAT_PASSWORD".parse().expect("a reference"),
        database: "payments".to_owned(),
        endpoints: BTreeMap::from([
            (region("us-east-1"), endpoint("payments-use1")),
            (region("us-west-2"), endpoint("payments-usw2")),
        ]),
        reader_endpoints: BTreeMap::new(),
        tls: Tls::VerifyFull { ca_file: None },
        period: Duration::from_secs(1),
        timeout: Duration::from_secs(2),
    };
    let store = "main".parse().expect("a name");
    scene.application.stores.get_mut(&store).expect("the store").heartbeat = Some(heartbeat);
    scene.application.signals.push(Signal {
        name: "heartbeat".parse().expect("a name"),
        role: SignalRole::Gate,
        source: SignalSource::Heartbeat { store },
        period: Duration::from_secs(1),
        freshness: Duration::from_secs(5),
        consecutive: 1,
    });
    scene
}

async fn well(scene: &Scene) -> Live {
    let live = scene.start(0).await;
    live.ready().await;
    let measured = |live: &Live| live.assessment().exposure.values().all(|e| e.basis.contains("heartbeat"));
    live.until("the heartbeat measures", 120, measured).await;
    live
}

fn bound_seconds(live: &Live) -> f64 {
    let assessment = live.assessment();
    assessment.exposure.values().next().expect("one store").loss_bound.expect("known").as_secs_f64()
}

fn state(live: &Live, signal: &str) -> SignalState {
    live.assessment().signals[&signal.parse().expect("a name")].clone()
}

#[tokio::test(start_paused = true)]
async fn the_bound_follows_the_heartbeat_and_not_the_minutes_of_cloudwatch() {
    let scene = beating(1);
    let live = well(&scene).await;
    for _ in 0..120 {
        live.pass(1).await;
        assert!(bound_seconds(&live) < 5.0, "{:?}", live.assessment().exposure);
    }
    assert!(matches!(state(&live, "heartbeat"), SignalState::Fresh { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_metric_that_shows_no_lag_while_replication_stands_is_contradicted_and_bounds_nothing() {
    let scene = beating(2);
    let live = well(&scene).await;
    live.world.now(|world| {
        world.aurora.set_lag_in(&region("us-west-2"), LagSetting::StandsStill);
        world.aurora.set_lag_metric_in(&region("us-west-2"), LagMetric::ShowsZero);
    });
    live.pass(300).await;
    assert!(matches!(state(&live, "lag"), SignalState::Contradicted { .. }), "{:?}", state(&live, "lag"));
    assert!(290.0 < bound_seconds(&live) && bound_seconds(&live) < 320.0, "{}", bound_seconds(&live));
    // The gate at the effect asks the heartbeat too: 60 s are not enough, whatever CloudWatch shows.
    live.lose("us-east-1");
    live.pass(30).await;
    let mut request = Live::request(Wish::Failover);
    request.accept_data_loss = Some(Duration::from_secs(60));
    match live.ask(request).await {
        Err(Refusal::Gate { gate: "data-loss", .. }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(live.accepted("FailoverGlobalCluster"), 0);
}

#[tokio::test(start_paused = true)]
async fn after_a_promotion_the_beats_that_are_missing_are_counted_and_agree_with_the_clients_account() {
    let scene = beating(3);
    let live = well(&scene).await;
    live.world.now(|world| world.aurora.set_lag_in(&region("us-west-2"), LagSetting::Fixed(12_000)));
    live.pass(60).await;
    live.lose("us-east-1");
    live.pass(40).await;
    let run = live.begin(Wish::Failover).await;
    live.until_running(&run, "approve").await;
    live.approve(&run).await;
    assert_eq!(live.outcome(&run, 3_600).await, Played::Finished(RunResult::Succeeded));
    let (loss, ledger) = (live.run(&run).loss.clone().expect("a loss report"), live.ledger());
    let lost = Duration::from_secs_f64(ledger.loss_window_seconds);
    assert!(Duration::from_secs(8) < lost, "twelve seconds were behind: {ledger:?}");
    assert!(loss.basis.contains("beats that the old writer acknowledged are missing"), "{}", loss.basis);
    assert!(loss.at_least.expect("known") <= lost, "{loss:?} against {lost:?}");
    assert!(Duration::from_secs(8) < loss.at_least.expect("known"), "{loss:?}");
    assert!(lost <= loss.at_most.expect("known"), "{loss:?} against {lost:?}");
}

/// A person may look at CloudWatch and decide; what was armed beforehand rests on the heartbeat alone (docs/adr/0010).
#[tokio::test(start_paused = true)]
async fn a_run_that_was_started_alone_stops_where_the_heartbeat_can_tell_nothing() {
    let mut scene = beating(4);
    let observers = ["frankfurt".parse().expect("a name")].into();
    let dwell = Duration::from_secs(60);
    scene.application.policy = Policy { mode: Mode::Automatic, dwell, observers, ..Policy::default() };
    let live = well(&scene).await;
    observe(&live, "frankfurt", Sees::TheWorld);
    live.pass(20).await;
    let kind = OverrideKind::Arm {
        from: region("us-east-1"),
        to: region("us-west-2"),
        largest_loss: Duration::from_secs(900),
    };
    let asked = AskOverride {
        application: payments(),
        kind,
        reason: "the quarter's end".to_owned(),
        expires_in: Duration::from_hours(1),
        subject: "alice".parse().expect("a subject"),
        idempotency_key: None,
    };
    let id = live.engine.override_ask(asked).await.expect("asked");
    live.engine.override_consent(&id, true, &"bob".parse().expect("a subject"), "agreed").await.expect("consented");
    live.lose("us-east-1");
    let active = |live: &Live| live.engine.history(&payments()).and_then(|h| h.active_run().map(|run| run.id.clone()));
    live.until("a run is started alone", 120, |live| active(live).is_some()).await;
    let run = active(&live).expect("one");
    live.engine_act(&run, Act::Pause, "oncall").await.expect("paused");
    live.engine.stop(Duration::from_secs(5)).await;
    drop(live);
    // The new process has seen no beat: the writer is gone. CloudWatch would still tell of a lag that is small enough.
    let live = scene.start(10).await;
    live.pass(60).await;
    live.engine_act(&run, Act::Resume, "oncall").await.expect("resumed");
    assert_eq!(live.outcome(&run, 600).await, Played::Held("gate-rpo".to_owned()));
    match &live.run(&run).phase {
        Phase::Held { reason, .. } => assert!(reason.contains("the heartbeat does not bound the loss"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(live.accepted("FailoverGlobalCluster"), 0);
}
