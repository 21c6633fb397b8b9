//! Drills that are due, over the production engine and the simulated AWS: each begins once or is told why not, and a real
//! disaster takes its place (FAULTS.md 79 and 84).

use std::time::Duration;

use failoverd::{
    domain::{
        calendar::{Blackout, Window},
        history::History,
        id::{RunId, StepId},
        overrides::OverrideKind,
        plan::Purpose,
        proof::Kind,
        run::{Phase, RunResult, RunState},
        schedule::{Calm, Followed, Schedule},
    },
    engine::control::{Act, AskOverride, Control as _, Started, Wish},
};

use crate::support::{Live, Scene, incarnation, payments, region};

/// A schedule of each day, in UTC, which may begin for an hour.
pub(crate) fn daily(name: &str, drill: &str, cron: &str) -> Schedule {
    Schedule {
        name: name.parse().expect("a name"),
        drill: drill.parse().expect("a name"),
        cron: cron.parse().expect("a cron"),
        zone: "UTC".parse().expect("a zone"),
        target: None,
        start_within: Duration::from_hours(1),
        catch_up_days: 0,
        announce_before: Duration::ZERO,
        blackouts: Vec::new(),
        on_call: None,
        calm: None,
        prove_within: None,
    }
}

/// The payments application at 11:10:40 UTC, with `schedules`.
fn scene(seed: u64, schedules: Vec<Schedule>) -> Scene {
    let mut scene = Scene::payments(seed, 240);
    scene.application.drills.push("drill-readiness".parse().expect("a name"));
    scene.application.schedules = schedules;
    scene
}

async fn started(scene: &Scene, outage: u64) -> Live {
    let live = scene.start(outage).await;
    live.ready().await;
    live
}

fn history(live: &Live) -> std::sync::Arc<History> {
    live.engine.history(&payments()).expect("a history")
}

fn followed(live: &Live, name: &str) -> Followed {
    history(live).schedules.get(&name.parse().expect("a name")).expect("it is followed").clone()
}

fn why_not(live: &Live, name: &str) -> Option<String> {
    followed(live, name).not_begun.map(|not| not.code)
}

/// The drills that the schedule began.
fn of(live: &Live, name: &str) -> Vec<std::sync::Arc<RunState>> {
    let name = name.parse().ok();
    history(live).runs.values().filter(|run| run.request.subject.schedule() == name).cloned().collect()
}

async fn ended(live: &Live, name: &str) -> RunState {
    live.until("the drill is over", 1_200, |live| of(live, name).first().is_some_and(|run| run.is_finished())).await;
    (*of(live, name)[0]).clone()
}

async fn switched_off(live: &Live, seconds: u64) {
    let asked = AskOverride {
        application: payments(),
        kind: OverrideKind::KillSwitch,
        reason: "a freeze".to_owned(),
        expires_in: Duration::from_secs(seconds),
        subject: "ann".parse().expect("a name"),
        idempotency_key: None,
    };
    live.engine.override_ask(asked).await.expect("anybody may switch it off");
}

#[test]
fn an_occurrence_begins_once_over_deaths_and_clocks_that_go_back() {
    let scene = scene(841, vec![daily("nightly", "drill-readiness", "15 11 * * *")]);
    let began = incarnation(async {
        let live = started(&scene, 0).await;
        live.pass(120).await;
        assert_eq!(of(&live, "nightly").len(), 0, "before its time");
        live.until("it begins", 300, |live| !of(live, "nightly").is_empty()).await;
        // Killed with the drill under way.
        let run = of(&live, "nightly")[0].clone();
        assert_eq!(run.request.subject.as_str(), "schedule:nightly");
        assert_eq!((run.request.purpose, run.plan.accepted_loss), (Purpose::Drill, None));
        run.id.clone()
    });
    incarnation(async {
        let live = started(&scene, 30).await;
        assert_eq!(ended(&live, "nightly").await.id, began, "it is carried on, and not begun again");
        // Somebody sets the clock back to before its time, and over it again.
        for ahead in [-900, 0, -3_000, 600] {
            live.wall.set_ahead(ahead);
            live.pass(300).await;
        }
        live.wall.set_ahead(0);
        assert_eq!(of(&live, "nightly").len(), 1);
        let followed = followed(&live, "nightly");
        assert_eq!((followed.began_count, followed.missed_count), (1, 0));
        assert!(history(&live).proofs.of(Kind::Readiness).is_some_and(|proof| proof.run == began));
    });
}

#[tokio::test(start_paused = true)]
async fn of_two_that_are_due_at_once_the_second_waits_for_the_first() {
    let scene = scene(
        842,
        vec![daily("first", "drill-readiness", "15 11 * * *"), daily("second", "drill-readiness", "15 11 * * *")],
    );
    let live = started(&scene, 0).await;
    let first = ended(&live, "first").await;
    let second = ended(&live, "second").await;
    let Phase::Finished { at, .. } = first.phase else { panic!("{:?}", first.phase) };
    assert!(at <= second.started_at, "one drill at a time");
    assert_eq!(why_not(&live, "second").as_deref(), Some("already-running"));
    assert_eq!(why_not(&live, "first"), None);
}

#[tokio::test(start_paused = true)]
async fn what_stands_in_the_way_is_told_and_the_drill_begins_once_it_is_gone() {
    let mut calm = daily("calm", "drill-readiness", "12 11 * * *");
    calm.calm = Some(Calm { over: Duration::from_mins(10), impact: 0.05 });
    let scene = scene(843, vec![calm]);
    let live = started(&scene, 0).await;
    live.until("the process is too young", 300, |live| why_not(live, "calm").as_deref() == Some("error-budget")).await;
    switched_off(&live, 900).await;
    live.until("it is switched off", 900, |live| why_not(live, "calm").as_deref() == Some("kill-switch")).await;
    assert_eq!(of(&live, "calm").len(), 0);
    let run = ended(&live, "calm").await;
    assert!(matches!(run.phase, Phase::Finished { result: RunResult::Succeeded, .. }), "{:?}", run.phase);
}

#[tokio::test(start_paused = true)]
async fn an_application_that_is_not_well_is_not_drilled_and_the_occurrence_is_missed_with_the_reason() {
    let mut short = daily("short", "drill-readiness", "15 11 * * *");
    short.start_within = Duration::from_mins(5);
    let scene = scene(844, vec![short]);
    let live = started(&scene, 0).await;
    live.pass(120).await;
    live.lose("us-east-1");
    live.until("it is missed", 900, |live| followed(live, "short").missed.is_some()).await;
    let followed = followed(&live, "short");
    assert_eq!((followed.began_count, followed.missed_count), (0, 1));
    assert_eq!(followed.not_begun.expect("told").code, "healthy");
    assert!(followed.missed.expect("told").reason.contains("not healthy"));
    assert_eq!(of(&live, "short").len(), 0);
}

#[test]
fn one_that_a_blackout_prevents_is_caught_up_at_the_same_hour_of_the_next_day() {
    let mut nightly = daily("nightly", "drill-readiness", "15 11 * * wed");
    nightly.start_within = Duration::from_mins(5);
    nightly.catch_up_days = 2;
    nightly.announce_before = Duration::from_mins(2);
    let mut scene = scene(845, vec![nightly]);
    let at = |text: &str| text.parse().expect("an instant");
    let when = Window::Once { from: at("2026-11-18T00:00:00Z"), to: at("2026-11-19T00:00:00Z") };
    scene.application.policy.blackouts.push(Blackout { reason: "a sale".to_owned(), when });
    incarnation(async {
        let live = started(&scene, 0).await;
        live.until("it is announced", 300, |live| followed(live, "nightly").announced.is_some()).await;
        live.until("a blackout is on", 300, |live| why_not(live, "nightly").as_deref() == Some("blackout")).await;
        live.pass(600).await;
        assert_eq!((of(&live, "nightly").len(), followed(&live, "nightly").missed_count), (0, 0), "it is caught up");
    });
    // Nobody looks after the time between.
    scene.world.lock().expect("nobody panics while holding it").clients = Default::default();
    incarnation(async {
        let live = started(&scene, 23 * 3_600 + 2_400).await;
        let run = ended(&live, "nightly").await;
        assert!(at("2026-11-19T11:15:00Z") <= run.started_at && run.started_at < at("2026-11-19T11:20:00Z"));
        assert!(run.request.reason.contains("2026-11-18T11:15:00"), "{}", run.request.reason);
    });
}

async fn consent(live: &Live, run: &RunId) {
    live.until_running(run, "consent").await;
    let digest = live.run(run).plan_digest.clone();
    let step: StepId = "consent".parse().expect("an id");
    live.engine_act(run, Act::Approve { step, approved: true, digest }, "second").await.expect("approved");
}

/// A disaster in the middle of a scheduled drill, before the roles change: the failover takes its place, and the
/// application is served from the standby.
#[tokio::test(start_paused = true)]
async fn a_disaster_takes_the_place_of_a_scheduled_drill_and_the_application_is_served() {
    let scene = scene(846, vec![daily("quarterly", "drill-switchover", "13 11 * * *")]);
    let live = started(&scene, 0).await;
    live.until("it begins", 600, |live| !of(live, "quarterly").is_empty()).await;
    let drill = of(&live, "quarterly")[0].id.clone();
    consent(&live, &drill).await;
    live.lose("us-east-1");
    live.pass(60).await;
    let mut asked = Live::request(Wish::Failover);
    asked.target = Some(region("us-west-2"));
    let mut run = None;
    for _ in 0..120 {
        if let Ok(Started::Run { id, supersedes }) = live.ask(asked.clone()).await {
            assert_eq!(supersedes.as_ref(), Some(&drill));
            run = Some(id);
            break;
        }
        live.pass(5).await;
    }
    let run = run.expect("the emergency wins");
    live.approve(&run).await;
    live.until("the failover is over", 3_600, |live| live.run(&run).is_finished()).await;
    assert!(matches!(live.run(&run).phase, Phase::Finished { result: RunResult::Succeeded, .. }));
    live.pass(60).await;
    assert_eq!(live.assessment().active_region, Some(region("us-west-2")));
    let state = live.run(&drill);
    assert!(matches!(state.phase, Phase::Finished { result: RunResult::Superseded, .. }), "{:?}", state.phase);
    let followed = followed(&live, "quarterly");
    assert_eq!((followed.began_count, followed.missed_count), (1, 0), "its occurrence is over");
    let proofs = &history(&live).proofs;
    assert!(proofs.of(Kind::Failover).is_some_and(|proof| proof.run == run), "what was real is proved");
    assert!(proofs.of(Kind::Switchover).is_none(), "the drill proved nothing");
}
