//! Somebody acts in the console while a run is at work, and what is seen does not fit what was done: the run holds, says
//! what it sees, and goes on when a person has put it right (FAULTS.md 66, 67, 77).
//!
//! Each disturbance is played without the step or the guard that is to see it, too: then nothing holds.

use std::{collections::BTreeMap, time::Duration};

use failoverd::{
    domain::{
        heartbeat::{Heartbeat, Tls},
        id::RunId,
        plan::Purpose,
        run::{Phase, RunResult, StepState},
    },
    engine::control::{Act, Wish},
    sim::world::{
        Plane, Reach,
        arc::ControlState,
        route53::fixture::{CONTROL_USE1_ARN, CONTROL_USW2_ARN},
    },
};

use crate::support::{Live, Played, Scene, region};

const SUCCEEDED: Played = Played::Finished(RunResult::Succeeded);
const EAST: &str = "arn:aws:rds:us-east-1:123456789012:cluster:payments-use1";
const WEST: &str = "arn:aws:rds:us-west-2:123456789012:cluster:payments-usw2";

const PROMOTE: &str = "promote: action: aurora.switchover, timeout: 15m";
const VERIFY: &str = "verify: action: aurora.verify_writer, timeout: 5m";
const WRITES: &str =
    "writes: action: probe.postgres, timeout: 1m, with: { endpoint: target, expect: writable, consecutive: 3 }";
const LINGER: &str = "linger: action: wait, with: { duration: 2m }";
const FLIP: &str = "flip: action: dns.flip, timeout: 2m";
const NAMES: &str = "names: action: dns.verify, timeout: 2m";

/// A planned move by `steps`, each after the one before it.
fn scene(seed: u64, steps: &[&str]) -> Scene {
    let mut text = "runbook: test\npurpose: switchover\ndescription: A test.\nsteps:\n".to_owned();
    let mut before = String::new();
    for step in steps {
        let (id, rest) = step.split_once(": ").expect("id: the rest");
        let needs = if before.is_empty() { String::new() } else { format!("needs: [{before}], ") };
        text.push_str(&format!("  - {{ id: {id}, {needs}{rest} }}\n"));
        before = id.to_owned();
    }
    let mut scene = Scene::payments(seed, 240).with_runbook(Purpose::Switchover, &text);
    scene.application.stores.values_mut().for_each(|store| store.heartbeat = Some(heartbeat()));
    scene
}

fn heartbeat() -> Heartbeat {
    let endpoint = |name: &str| format!("{name}.example.com:5432").parse().expect("an address");
    Heartbeat {
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
    }
}

async fn begun(scene: &Scene) -> (Live, RunId) {
    let live = scene.start(0).await;
    live.ready().await;
    live.pass(30).await;
    let run = live.begin(Wish::Switchover).await;
    (live, run)
}

async fn done(live: &Live, run: &RunId, step: &str) {
    live.until(step, 1_800, |live| matches!(live.step(run, step), StepState::Done { .. })).await;
}

fn held_with(live: &Live, run: &RunId) -> String {
    match &live.run(run).phase {
        Phase::Held { code, reason, .. } => format!("{code}: {reason}"),
        other => format!("{other:?}"),
    }
}

/// Somebody moves the writer back in the console.
fn writer_back(live: &Live) {
    live.world.now(|w| {
        w.with_aurora(|aurora, ctx| aurora.switchover_global_cluster(&region("us-west-2"), "payments", EAST, ctx))
            .expect("AWS takes it")
    });
}

/// Somebody sets the routing controls in the console.
fn traffic_to(live: &Live, east: ControlState, west: ControlState) {
    live.world.now(|w| {
        for (arn, state) in [(CONTROL_USE1_ARN, east), (CONTROL_USW2_ARN, west)] {
            let mut control = w.arc.get_state(&w.planes, &region("us-west-2"), arn).expect("it is there").clone();
            control.state = state;
            w.arc.put_control(control);
        }
    });
}

/// The oracle knows of nobody else who moves writers and traffic, so a rehearsal with such a person is not judged.
fn unjudged(live: Live) {
    std::mem::forget(live);
}

#[tokio::test(start_paused = true)]
async fn a_write_probe_that_fails_after_the_promotion_keeps_the_traffic_where_it_is() {
    let broken = async |seed: u64, steps: &[&str]| {
        let scene = scene(seed, steps);
        let (live, run) = begun(&scene).await;
        done(&live, &run, "promote.main").await;
        live.world.now(|w| w.set_plane(Plane::Database, &region("us-west-2"), Reach::Unavailable));
        (live, run)
    };
    let (live, run) = broken(671, &[PROMOTE, VERIFY, WRITES, FLIP, NAMES]).await;
    assert_eq!(live.outcome(&run, 1_800).await, Played::Held("step-timeout".to_owned()));
    let StepState::Failed { .. } = live.step(&run, "writes.main") else { panic!("{}", held_with(&live, &run)) };
    assert_eq!(live.flips(), 0, "no traffic goes to what takes no writes");
    live.world.now(|w| w.set_plane(Plane::Database, &region("us-west-2"), Reach::Up));
    live.pass(60).await;
    live.act(&run, Act::Resume).await.expect("resumed");
    assert_eq!(live.outcome(&run, 1_800).await, SUCCEEDED);
    assert_eq!(live.flips(), 1);
    let (live, run) = broken(671, &[PROMOTE, VERIFY, FLIP, NAMES]).await;
    live.until("traffic", 600, |live| live.flips() == 1).await;
    let _ = run;
    unjudged(live);
}

#[tokio::test(start_paused = true)]
async fn names_that_lead_elsewhere_than_to_the_writer_hold_the_run() {
    let turned = async |steps: &[&str]| {
        let scene = scene(661, steps);
        let (live, run) = begun(&scene).await;
        done(&live, &run, "flip.api").await;
        traffic_to(&live, ControlState::On, ControlState::Off);
        (live, run)
    };
    let (live, run) = turned(&[PROMOTE, VERIFY, FLIP, NAMES]).await;
    assert_eq!(live.outcome(&run, 1_800).await, Played::Held("step-timeout".to_owned()));
    assert!(held_with(&live, &run).contains("127.0.11.1"), "what the names say is shown: {}", held_with(&live, &run));
    assert_eq!(live.flips(), 1, "it is not turned again without a person");
    traffic_to(&live, ControlState::Off, ControlState::On);
    live.pass(120).await;
    live.act(&run, Act::Resume).await.expect("resumed");
    assert_eq!(live.outcome(&run, 1_800).await, SUCCEEDED);
    unjudged(live);
    let (live, run) = turned(&[PROMOTE, VERIFY, FLIP]).await;
    assert_eq!(live.outcome(&run, 1_800).await, SUCCEEDED);
    unjudged(live);
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_somebody_has_moved_in_the_console_holds_the_run_which_shows_both() {
    let scene = scene(771, &[PROMOTE, VERIFY, LINGER, FLIP, NAMES]);
    let (live, run) = begun(&scene).await;
    live.until_running(&run, "linger").await;
    writer_back(&live);
    let Played::Held(code) = live.outcome(&run, 1_800).await else { panic!("{}", held_with(&live, &run)) };
    let why = held_with(&live, &run);
    assert!(why.contains("payments-use1") && why.contains("payments-usw2"), "{code}: {why}");
    assert_eq!(live.flips(), 0, "no traffic goes to a Region whose writer has gone");
    // They put it right, and the run goes on from what it sees.
    live.world.now(|w| {
        w.with_aurora(|aurora, ctx| aurora.switchover_global_cluster(&region("us-east-1"), "payments", WEST, ctx))
            .expect("AWS takes it")
    });
    live.pass(300).await;
    live.act(&run, Act::Resume).await.expect("resumed");
    assert_eq!(live.outcome(&run, 1_800).await, SUCCEEDED);
    assert_eq!((live.accepted("SwitchoverGlobalCluster"), live.flips()), (3, 1), "ours once, theirs twice");
    unjudged(live);
}
