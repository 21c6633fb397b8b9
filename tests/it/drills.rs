//! Drills over the production engine and the simulated AWS: there and back, in whose way they stand, and who takes their
//! place.

use std::path::Path;

use failoverd::{
    config::Settings,
    domain::{
        action::EffectClass,
        calendar::{Blackout, Window},
        history::History,
        id::{RunId, RunbookName, StepId},
        journal::Event,
        plan::{Plan, Purpose, Towards},
        recovery,
        run::{Phase, RunResult, StepState},
        runbook::Runbook,
    },
    engine::control::{Act, Refusal, StartRun, Started, Wish},
    sim::{
        rehearse::{Setup, run::rehearse},
        scenario::Scenario,
    },
};
use jiff::Timestamp;

use crate::support::{Live, Played, Scene, payments, region};

const SUCCEEDED: Played = Played::Finished(RunResult::Succeeded);
const SUPERSEDED: Played = Played::Finished(RunResult::Superseded);

fn drill(name: &str) -> Wish {
    Wish::Drill { runbook: name.parse().expect("a name") }
}

fn id(step: &str) -> StepId {
    step.parse().expect("an id")
}

async fn well(scene: &Scene) -> Live {
    let live = scene.start(0).await;
    live.ready().await;
    live.pass(30).await;
    live
}

async fn approve(live: &Live, run: &RunId, step: &str) {
    live.until_running(run, step).await;
    let digest = live.run(run).plan_digest.clone();
    live.engine_act(run, Act::Approve { step: id(step), approved: true, digest }, "second").await.expect("approved");
}

/// Begins the drill that moves, and agrees to it.
async fn begun(live: &Live) -> RunId {
    let run = live.begin(drill("drill-switchover")).await;
    approve(live, &run, "consent").await;
    run
}

async fn at(live: &Live, run: &RunId, step: &str) {
    let what = format!("`{step}` has begun");
    live.until(&what, 2_400, |live| !matches!(live.step(run, step), StepState::Pending)).await;
}

/// Plays a failover to its end: approved where it asks for it, resumed where it is held.
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
async fn a_drill_goes_there_and_comes_back_and_loses_nothing() {
    let scene = Scene::payments(401, 240);
    let live = well(&scene).await;
    let run = begun(&live).await;
    at(&live, &run, "stay").await;
    live.pass(30).await;
    assert_eq!(live.assessment().active_region, Some(region("us-west-2")), "it really is there");
    assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
    live.pass(30).await;
    assert_eq!(live.assessment().active_region, Some(region("us-east-1")), "it ends where it began");
    assert_eq!((live.accepted("SwitchoverGlobalCluster"), live.accepted("FailoverGlobalCluster")), (2, 0));
    assert_eq!(live.ledger().writes_lost, 0);
    let state = live.run(&run);
    let (there, back) = (recovery::rto_clock(&state), recovery::way_back_clock(&state).expect("a way back"));
    let (gone, home) = (there.stopped_at.expect("served there"), back.started_at.expect("went home"));
    assert!(gone < home, "each way has a clock of its own: {there:?} {back:?}");
    assert!(there.total.is_some() && back.total.is_some() && there.total < Some(back.total.expect("known") * 10));
    let leads = |step: &str| state.plan.ends(&id(step)).1.as_str().to_owned();
    assert_eq!((leads("there.switch.main"), leads("home.switch.main")), ("us-west-2".into(), "us-east-1".into()));
}

#[tokio::test(start_paused = true)]
async fn a_drill_on_paper_changes_nothing() {
    let scene = Scene::payments(402, 240);
    let live = well(&scene).await;
    let before = live.world.now(|w| (w.aurora.effects.len(), w.arc.effects.len()));
    let run = live.begin(drill("drill-tabletop")).await;
    approve(&live, &run, "plan-read").await;
    approve(&live, &run, "contacts-known").await;
    assert_eq!(live.outcome(&run, 600).await, SUCCEEDED);
    assert_eq!(live.world.now(|w| (w.aurora.effects.len(), w.arc.effects.len())), before);
    assert!(live.run(&run).plan.steps.iter().all(|s| s.action.effect() == EffectClass::Read));
}

#[tokio::test(start_paused = true)]
async fn a_failover_takes_the_place_of_a_drill_on_its_way_there() {
    for (seed, step) in (410..).zip(["consent", "there.check-target.main", "there.switch.main"]) {
        disaster(seed, step, "us-east-1", "us-west-2").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failover_leads_home_where_the_drill_has_moved_the_application_to_a_region_that_is_lost() {
    for (seed, step) in (420..).zip(["stay", "home.target-answers", "home.switch.main"]) {
        disaster(seed, step, "us-west-2", "us-east-1").await;
    }
}

/// Loses a Region as `step` of a drill begins, and asks for a failover to the other until it is granted.
async fn disaster(seed: u64, step: &str, lost: &str, other: &str) {
    let scene = Scene::payments(seed, 240);
    let live = well(&scene).await;
    let planned = live.begin(drill("drill-switchover")).await;
    if step != "consent" {
        approve(&live, &planned, "consent").await;
    }
    at(&live, &planned, step).await;
    if step == "stay" {
        // A database that has just become the secondary has no lag that is known, and without one nobody forces.
        live.pass(180).await;
    }
    live.lose(lost);
    live.pass(3).await;
    let request = || StartRun { target: Some(region(other)), ..Live::request(Wish::Failover) };
    let mut asked = 0;
    let run = loop {
        match live.ask(request()).await {
            Ok(Started::Run { id, supersedes }) => {
                assert_eq!(supersedes, Some(planned.clone()), "{step}");
                break id;
            }
            // What it was in the middle of is settled first.
            Err(Refusal::AlreadyRunning { purpose: Purpose::Drill, .. }) if asked < 30 => live.pass(10).await,
            other => panic!("{step}: {other:?}"),
        }
        asked += 1;
    };
    assert_eq!(live.outcome(&planned, 5).await, SUPERSEDED, "{step}");
    to_the_end(&live, &run).await;
    live.pass(30).await;
    assert_eq!(live.assessment().active_region, Some(region(other)), "{step}");
}

#[tokio::test(start_paused = true)]
async fn a_half_done_drill_blocks_new_drills_only_and_a_planned_move_takes_its_place() {
    let scene = Scene::payments(430, 240);
    let live = well(&scene).await;
    let run = begun(&live).await;
    at(&live, &run, "stay").await;
    let refused = live.ask(Live::request(drill("drill-tabletop"))).await;
    let is_drill =
        |r: &Refusal| matches!(r, Refusal::AlreadyRunning { run: at, purpose: Purpose::Drill, .. } if *at == run);
    assert!(refused.as_ref().is_err_and(is_drill), "one at a time: {refused:?}");
    let refused = live.ask(Live::request(Wish::Failback)).await;
    assert!(refused.as_ref().is_err_and(is_drill), "it leads home by itself: {refused:?}");
    live.act(&run, Act::Pause).await.expect("paused");
    let refused = live.ask(Live::request(drill("drill-tabletop"))).await;
    assert!(refused.as_ref().is_err_and(is_drill), "paused as well: {refused:?}");
    let Ok(Started::Run { id: home, supersedes }) = live.ask(Live::request(Wish::Failback)).await else {
        panic!("a failback is not refused")
    };
    assert_eq!(supersedes, Some(run.clone()));
    assert_eq!(live.outcome(&run, 5).await, SUPERSEDED);
    assert_eq!(live.outcome(&home, 3_600).await, SUCCEEDED);
    live.pass(30).await;
    assert_eq!(live.assessment().active_region, Some(region("us-east-1")));
}

#[tokio::test(start_paused = true)]
async fn a_drill_begins_only_outside_a_blackout_and_where_all_is_well() {
    let mut scene = Scene::payments(440, 240);
    let when = Window::Once { from: Timestamp::MIN, to: Timestamp::MAX };
    scene.application.policy.blackouts.push(Blackout { reason: "the sale".to_owned(), when });
    let live = well(&scene).await;
    let refused = live.ask(Live::request(drill("drill-tabletop"))).await;
    assert!(
        matches!(&refused, Err(Refusal::Gate { gate: "blackout", why, .. }) if why.contains("the sale")),
        "{refused:?}"
    );
    assert!(matches!(live.ask(Live::request(Wish::Switchover)).await, Ok(Started::Run { .. })), "people may move");

    let scene = Scene::payments(441, 240);
    let live = well(&scene).await;
    live.lose("us-east-1");
    live.pass(60).await;
    let refused = live.ask(Live::request(drill("drill-tabletop"))).await;
    assert!(matches!(&refused, Err(Refusal::Gate { gate: "healthy", .. })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn only_a_drill_that_the_application_names_is_begun() {
    let scene = Scene::payments(442, 240);
    let live = well(&scene).await;
    let refused = live.ask(Live::request(drill("region-switchover"))).await;
    let known = "drill-switchover, drill-tabletop";
    assert!(matches!(&refused, Err(Refusal::UnknownDrill { known: k, .. }) if k == known), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_drill_cannot_express_data_loss() {
    // In the type of the request there is no field for it.
    let body = r#"{"application":"payments","runbook":"drill-switchover","reason":"r","accept_data_loss_seconds":60}"#;
    let refused = serde_json::from_str::<failoverd::http::drills::DrillRequest>(body).expect_err("no such field");
    assert!(refused.to_string().contains("accept_data_loss_seconds"), "{refused}");
    // In the language no step that could.
    for (step, code) in [
        ("action: aurora.failover", "runbook-drill-unsafe"),
        ("action: wait, with: { duration: 1m }, when: \"accepted_loss_seconds != null\"", "runbook-drill-unsafe"),
        ("action: aurora.switchover", "runbook-drill-stays-away"),
        ("action: dns.flip", "runbook-drill-stays-away"),
    ] {
        let text = format!("runbook: r\npurpose: drill\ndescription: d\nsteps:\n  - {{ id: s, {step} }}\n");
        let faults = Runbook::parse("r.yaml", &text).expect_err(step);
        assert!(faults.iter().any(|f| f.code == code), "{step}: {faults:?}");
    }
    // In the journal no run that has accepted one.
    let scene = Scene::payments(443, 240);
    let live = well(&scene).await;
    let run = live.begin(drill("drill-tabletop")).await;
    let state = live.run(&run);
    let plan = Plan { accepted_loss: Some(std::time::Duration::from_secs(1)), ..(*state.plan).clone() };
    let started = |plan: &Plan| Event::RunStarted {
        run: run.clone(),
        request: state.request.clone(),
        plan: Box::new(plan.clone()),
        evidence_since: None,
    };
    let history = History::new(payments());
    assert!(history.check(state.started_at, &[started(&state.plan)]).is_ok());
    let illegal = history.check(state.started_at, &[started(&plan)]).expect_err("a loss");
    assert!(illegal.why.contains("loses nothing"), "{illegal}");
}

#[tokio::test(start_paused = true)]
async fn a_way_back_that_is_refused_holds_the_drill_and_names_whom_it_waits_for() {
    let scene = Scene::payments(450, 240);
    let live = well(&scene).await;
    let run = begun(&live).await;
    at(&live, &run, "stay").await;
    live.world.now(|w| w.aurora.set_headless(&region("us-east-1"), true));
    assert_eq!(live.outcome(&run, 3_600).await, Played::Held("gate-target".to_owned()));
    let Phase::Held { step, waits_for, .. } = &live.run(&run).phase else { panic!("held") };
    assert_eq!(step.as_ref(), Some(&id("home.check-target.main")));
    assert!(waits_for.contains("an operator"), "{waits_for}");
    assert_eq!(live.accepted("FailoverGlobalCluster"), 0, "nothing is forced");
    // What was done on the way there is not taken back by an abort: it is held once more, and a failback leads home.
    live.act(&run, Act::Abort).await.expect("asked for");
    live.pass(10).await;
    assert_eq!(live.outcome(&run, 60).await, Played::Held("undo-past-no-return".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn the_same_key_twice_is_one_drill_and_another_route_has_keys_of_its_own() {
    let scene = Scene::payments(460, 240);
    let live = well(&scene).await;
    let keyed = |wish: Wish| StartRun { idempotency_key: Some("k".to_owned()), ..Live::request(wish) };
    let Ok(Started::Run { id, .. }) = live.ask(keyed(drill("drill-tabletop"))).await else { panic!("begun") };
    assert_eq!(live.ask(keyed(drill("drill-tabletop"))).await, Ok(Started::Again { id: id.clone() }));
    let other = live.ask(keyed(Wish::Switchover)).await;
    assert!(matches!(other, Err(Refusal::AlreadyRunning { .. })), "not the drill again: {other:?}");
}

#[test]
fn every_step_of_the_way_back_leads_home() {
    let runbooks = failoverd::config::shipped();
    let name: RunbookName = "drill-switchover".parse().expect("a name");
    let (runbook, _) = &runbooks[&name];
    for step in &runbook.steps {
        let back = step.id.as_str().starts_with("home.");
        assert_eq!(step.towards == Towards::Source, back, "{}", step.id);
    }
}

/// The reference system of that name, drilled as each of `scenarios` says, five seeds each.
fn drilled(system: &str, scenarios: &[&str]) {
    drilled_by(&format!("config/examples/{system}.toml"), scenarios);
}

/// The same of the first application of `config`.
fn drilled_by(config: &str, scenarios: &[&str]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(config);
    let mut settings = Settings::load(&path, &Default::default()).unwrap_or_else(|faults| panic!("{faults:?}"));
    let application = settings.applications.remove(0);
    let setup = Setup { application, runbooks: settings.runbooks, config_digest: settings.digest };
    for name in scenarios {
        let (file, text) = Scenario::embedded()
            .into_iter()
            .find(|(file, _)| file.ends_with(&format!("/{name}.yaml")))
            .unwrap_or_else(|| panic!("{name} ships"));
        let written = Scenario::parse(file, text).unwrap_or_else(|faults| panic!("{file}: {faults:?}"));
        let scenario = written.resolve(&setup.application.regions).unwrap_or_else(|faults| panic!("{faults:?}"));
        for seed in 1..=5 {
            let rehearsed = rehearse(&setup, &scenario, seed, false);
            let wrong = (&rehearsed.violations, &rehearsed.unmet);
            assert!(wrong.0.is_empty() && wrong.1.is_empty(), "{config}, {name}, seed {seed}: {wrong:?}");
            assert!(0 < rehearsed.checked["S13"], "{config}, {name}: what a drill may do was never asked");
        }
    }
}

#[test]
fn payments_fast_is_drilled() {
    drilled("payments-fast", &["drill-own", "drill-tabletop"]);
}

#[test]
fn payments_fast_is_broken_on_purpose() {
    drilled("payments-fast", &["drill-fault", "drill-fault-unseen", "drill-fault-killed", "drill-fault-unmended"]);
}

#[test]
fn the_target_is_seen_to_serve_alone_and_what_secretly_needs_the_other_region_is_found() {
    drilled_by("src/cli/simulate/payments.toml", &["drill-isolation", "drill-isolation-hidden"]);
}

#[test]
fn payments_audited_is_drilled() {
    drilled("payments-audited", &["drill-own", "drill-dns", "drill-tabletop"]);
}

#[test]
fn payments_regulated_is_drilled() {
    drilled("payments-regulated", &["drill-own", "drill-tabletop"]);
}

#[test]
fn migration_hub_is_drilled() {
    drilled("migration-hub", &["drill-own", "drill-tabletop"]);
}

#[test]
fn transactions_is_drilled() {
    drilled("transactions", &["drill-own", "drill-tabletop"]);
}
