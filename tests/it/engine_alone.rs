//! Acting alone: what is armed is acted on in the disaster that it was armed for, once, and in nothing else.

use std::time::Duration;

use failoverd::{
    domain::{
        assessment::Verdict,
        id::{OverrideId, RunId},
        overrides::{Ending, Override, OverrideKind, STANDING_COUNT_MAX, Standing},
        plan::Purpose,
        policy::{Mode, Policy},
        rules::Rule,
        run::{RunResult, StepState},
    },
    engine::control::{AskOverride, Control, Refusal, Wish},
    ports::Clock as _,
    sim::world::{Plane, Reach},
};

use crate::support::{
    Live, Played, Scene,
    observers::{Sees, observe},
    payments, region,
};

const DWELL: u64 = 60;
/// Two periods of the fastest trigger of the scene: what is between the loss and the evidence that is believed.
const TWO_PERIODS: u64 = 10;
const SUCCEEDED: Played = Played::Finished(RunResult::Succeeded);

fn scene(seed: u64, mode: Mode) -> Scene {
    let mut scene = Scene::payments(seed, 240);
    scene.application.policy = Policy {
        mode,
        dwell: Duration::from_secs(DWELL),
        observers: ["frankfurt".parse().expect("a name")].into(),
        ..Policy::default()
    };
    for signal in &mut scene.application.signals {
        if signal.name.as_str().starts_with("probe") {
            signal.consecutive = 1;
        }
    }
    scene
}

/// An engine that is well and heard by an observer.
async fn well(scene: &Scene, sees: Sees) -> Live {
    let live = scene.start(0).await;
    observe(&live, "frankfurt", sees);
    live.ready().await;
    live.pass(20).await;
    live
}

fn arm(to: &str, largest_loss: u64) -> OverrideKind {
    let from = region(if to == "us-west-2" { "us-east-1" } else { "us-west-2" });
    OverrideKind::Arm { from, to: region(to), largest_loss: Duration::from_secs(largest_loss) }
}

fn ask(kind: OverrideKind, hours: u64) -> AskOverride {
    AskOverride {
        application: payments(),
        kind,
        reason: "the quarter's end".to_owned(),
        expires_in: Duration::from_hours(hours),
        subject: "alice".parse().expect("a subject"),
        idempotency_key: None,
    }
}

async fn consent(live: &Live, id: &OverrideId, who: &str) -> Result<(), Refusal> {
    live.engine.override_consent(id, true, &who.parse().expect("a subject"), "agreed").await
}

async fn armed(live: &Live) -> OverrideId {
    armed_for(live, 24).await
}

async fn armed_for(live: &Live, hours: u64) -> OverrideId {
    let id = live.engine.override_ask(ask(arm("us-west-2", 900), hours)).await.expect("asked");
    consent(live, &id, "bob").await.expect("consented");
    id
}

fn get(live: &Live, id: &OverrideId) -> Override {
    live.engine.history(&payments()).expect("a history").overrides.get(id).expect("kept").clone()
}

fn ended(live: &Live, id: &OverrideId) -> Option<Ending> {
    get(live, id).ended.map(|(ending, ..)| ending)
}

fn alone(live: &Live) -> Vec<RunId> {
    let history = live.engine.history(&payments()).expect("a history");
    history.runs.values().filter(|r| r.request.armed.is_some()).map(|r| r.id.clone()).collect()
}

async fn starts_alone(live: &Live, within: u64) -> RunId {
    live.until("a run is started alone", within, |live| !alone(live).is_empty()).await;
    alone(live).pop().expect("one")
}

#[tokio::test(start_paused = true)]
async fn a_region_that_is_lost_is_left_within_dwell_and_two_periods_of_the_fastest_trigger() {
    let scene = scene(200, Mode::Automatic);
    let live = well(&scene, Sees::TheWorld).await;
    let id = armed(&live).await;
    live.pass(60).await;
    live.lose("us-east-1");
    let run = starts_alone(&live, DWELL + TWO_PERIODS).await;
    assert_eq!(ended(&live, &id), Some(Ending::Used));
    assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
    let state = live.run(&run);
    assert_eq!((state.request.subject.as_str(), &state.request.armed), ("automation", &Some(id.clone())));
    assert_eq!(state.plan.accepted_loss, Some(Duration::from_secs(900)));
    assert!(state.request.reason.contains("armed us-east-1 -> us-west-2 by alice"), "{}", state.request.reason);
    match live.step(&run, "approve") {
        StepState::Done { evidence, .. } => {
            assert!(evidence[0].starts_with(&format!("armed by alice, consented by bob ({id})")), "{evidence:?}");
        }
        other => panic!("{other:?}"),
    }
    assert!(state.approvals.is_empty(), "nobody approved anything");
    assert_eq!(live.accepted("FailoverGlobalCluster"), 1);
    live.pass(90).await;
    assert_eq!(live.assessment().active_region, Some(region("us-west-2")));
}

#[tokio::test(start_paused = true)]
async fn what_only_this_daemon_sees_starts_nothing() {
    for (seed, sees) in [(201, Sees::AllWell), (202, Sees::Nothing)] {
        let scene = scene(seed, Mode::Automatic);
        let live = well(&scene, sees).await;
        let id = armed(&live).await;
        live.lose("us-east-1");
        live.pass(600).await;
        assert!(alone(&live).is_empty(), "{sees:?}");
        assert_eq!(get(&live, &id).standing(live.wall.wall()), Standing::InForce, "it stays armed in the disaster");
        let unmet = live.assessment().rules.iter().find(|f| f.rule == Rule::Quorum).expect("judged").clone();
        assert!(!unmet.is_met(), "{unmet:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_passes_before_the_dwell_is_over_starts_nothing() {
    let scene = scene(203, Mode::Automatic);
    let live = well(&scene, Sees::TheWorld).await;
    armed(&live).await;
    for _ in 0..5 {
        live.lose("us-east-1");
        live.pass(DWELL - 10).await;
        live.world.now(|w| w.restore_region(&region("us-east-1")));
        live.pass(60).await;
    }
    assert!(alone(&live).is_empty());
}

#[tokio::test(start_paused = true)]
async fn in_shadow_what_would_have_been_started_is_recorded_and_nothing_is_started() {
    let scene = scene(204, Mode::Shadow);
    let live = well(&scene, Sees::TheWorld).await;
    let id = armed(&live).await;
    live.lose("us-east-1");
    live.until("it would start", DWELL + 30, |live| live.assessment().would_start).await;
    live.pass(60).await;
    assert_eq!(live.verdict(), Some(Verdict::Recommend));
    assert!(alone(&live).is_empty() && live.engine.history(&payments()).is_some_and(|h| h.active_run().is_none()));
    assert_eq!(ended(&live, &id), None);
}

#[tokio::test(start_paused = true)]
async fn what_was_armed_is_used_once() {
    let scene = scene(205, Mode::Automatic);
    let live = well(&scene, Sees::TheWorld).await;
    armed(&live).await;
    live.lose("us-east-1");
    let run = starts_alone(&live, 120).await;
    assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
    live.world.now(|w| w.restore_region(&region("us-east-1")));
    live.pass(3_600).await;
    assert_eq!(alone(&live).len(), 1);
    // The other direction can be armed, and still goes nowhere: nobody has acknowledged the first (S17), and what the
    // first left behind is not reconciled (S8).
    let back = live.engine.override_ask(ask(arm("us-east-1", 900), 24)).await.expect("asked");
    consent(&live, &back, "bob").await.expect("consented");
    live.lose("us-west-2");
    live.pass(300).await;
    assert_eq!(alone(&live).len(), 1);
    let unmet: Vec<Rule> = live.assessment().rules.iter().filter(|f| !f.is_met()).map(|f| f.rule).collect();
    assert!(unmet.contains(&Rule::NotDemoted) && unmet.contains(&Rule::Acknowledged), "{unmet:?}");
}

#[tokio::test(start_paused = true)]
async fn a_kill_switch_or_a_withdrawal_in_the_last_moment_stops_it() {
    for (seed, withdrawn) in [(206, false), (207, true)] {
        let scene = scene(seed, Mode::Automatic);
        let live = well(&scene, Sees::TheWorld).await;
        let id = armed(&live).await;
        live.lose("us-east-1");
        let left = |live: &Live| {
            let dwell = live.assessment().rules.iter().find(|f| f.rule == Rule::Dwell).expect("judged").says.clone();
            dwell.contains(&format!("stood for {} s", DWELL - 1))
        };
        live.until("one second is left", DWELL + TWO_PERIODS, left).await;
        if withdrawn {
            live.engine.override_end(&id, &"carol".parse().unwrap(), "not today").await.expect("ended");
        } else {
            live.engine.override_ask(ask(OverrideKind::KillSwitch, 1)).await.expect("switched off");
        }
        live.pass(300).await;
        assert!(alone(&live).is_empty(), "withdrawn: {withdrawn}");
        assert_eq!(live.verdict(), Some(Verdict::Recommend));
    }
}

#[tokio::test(start_paused = true)]
async fn a_kill_switch_that_ends_lets_what_is_armed_act() {
    let scene = scene(208, Mode::Automatic);
    let live = well(&scene, Sees::TheWorld).await;
    armed(&live).await;
    let off = live.engine.override_ask(ask(OverrideKind::KillSwitch, 1)).await.expect("switched off");
    live.lose("us-east-1");
    live.pass(180).await;
    assert!(alone(&live).is_empty());
    live.engine.override_end(&off, &"alice".parse().unwrap(), "on again").await.expect("ended");
    starts_alone(&live, 10).await;
}

#[tokio::test(start_paused = true)]
async fn a_person_s_run_comes_first_and_the_automation_stands_back() {
    let scene = scene(209, Mode::Automatic);
    let live = well(&scene, Sees::TheWorld).await;
    let id = armed(&live).await;
    live.lose("us-east-1");
    live.pass(20).await;
    let run = live.begin(Wish::Failover).await;
    live.pass(120).await;
    assert!(alone(&live).is_empty());
    live.approve(&run).await;
    assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
    live.pass(60).await;
    assert_eq!(ended(&live, &id), Some(Ending::DirectionChanged));
}

#[tokio::test(start_paused = true)]
async fn more_than_was_armed_at_the_moment_of_the_promotion_holds_the_run() {
    let scene = scene(210, Mode::Automatic);
    let live = well(&scene, Sees::TheWorld).await;
    // Enough when it is judged, and not enough when the promotion is about to be sent: the lag sample ages.
    let id = live.engine.override_ask(ask(arm("us-west-2", 900), 24)).await.expect("asked");
    consent(&live, &id, "bob").await.expect("consented");
    live.lose("us-east-1");
    let run = starts_alone(&live, 120).await;
    let bound = live.assessment().worst_exposure().and_then(|(_, bound)| bound).expect("known");
    assert!(bound < Duration::from_secs(900));
    live.engine_act(&run, failoverd::engine::control::Act::Pause, "oncall").await.expect("paused");
    live.pass(1_200).await;
    live.engine_act(&run, failoverd::engine::control::Act::Resume, "oncall").await.expect("resumed");
    assert_eq!(live.outcome(&run, 600).await, Played::Held("gate-rpo".to_owned()));
    assert_eq!(live.accepted("FailoverGlobalCluster"), 0);
}

#[tokio::test(start_paused = true)]
async fn arming_needs_a_second_person_and_is_replaced_by_the_next() {
    let scene = scene(211, Mode::Automatic);
    let live = well(&scene, Sees::TheWorld).await;
    let first = live.engine.override_ask(ask(arm("us-west-2", 900), 24)).await.expect("asked");
    assert_eq!(consent(&live, &first, "alice").await, Err(Refusal::SelfConsent("alice".parse().unwrap())));
    live.engine.override_consent(&first, false, &"bob".parse().unwrap(), "not now").await.expect("declined");
    assert_eq!(ended(&live, &first), Some(Ending::Declined));
    assert!(matches!(consent(&live, &first, "bob").await, Err(Refusal::OverrideOver(_))));
    let second = armed(&live).await;
    assert!(matches!(consent(&live, &second, "carol").await, Err(Refusal::OverrideOver(_))), "once is enough");
    let third = live.engine.override_ask(ask(arm("us-west-2", 60), 24)).await.expect("asked");
    assert_eq!(ended(&live, &second), None, "what is armed stays armed until the next has its consent");
    let fourth = live.engine.override_ask(ask(arm("us-west-2", 30), 24)).await.expect("asked");
    assert_eq!(ended(&live, &third), Some(Ending::Replaced), "nobody had consented");
    consent(&live, &fourth, "bob").await.expect("consented");
    assert_eq!(ended(&live, &second), Some(Ending::Replaced));
    let preflight = live.engine.overrides(&payments()).expect("listed").into_iter().find(|o| o.what.id == fourth);
    assert!(preflight.and_then(|o| o.preflight).is_some_and(|(_, says)| says.starts_with("it could run")));
}

#[tokio::test(start_paused = true)]
async fn arming_is_refused_where_anything_that_it_needs_is_missing_or_unknown() {
    let refused = async |live: &Live, kind: OverrideKind| match live.engine.override_ask(ask(kind, 24)).await {
        Err(Refusal::Arming { why, satisfied_by }) => {
            assert!(!satisfied_by.is_empty());
            why
        }
        other => panic!("{other:?}"),
    };
    let recommending = scene(212, Mode::Recommend);
    let live = well(&recommending, Sees::TheWorld).await;
    assert!(refused(&live, arm("us-west-2", 900)).await.contains("recommend"));
    drop(live);
    let scene = scene(213, Mode::Automatic);
    let live = well(&scene, Sees::TheWorld).await;
    assert!(refused(&live, arm("us-east-1", 900)).await.contains("the active Region is us-east-1, not us-west-2"));
    let elsewhere =
        OverrideKind::Arm { from: region("us-east-1"), to: region("eu-west-1"), largest_loss: Duration::from_secs(1) };
    assert!(matches!(live.engine.override_ask(ask(elsewhere, 24)).await, Err(Refusal::BadTarget { .. })));
    let asked = live.engine.override_ask(ask(arm("us-west-2", 900), 24)).await.expect("asked");
    make_headless(&live);
    assert!(refused(&live, arm("us-west-2", 900)).await.contains("headless"));
    // What has become of the world since it was asked for counts at the consent.
    assert!(matches!(consent(&live, &asked, "bob").await, Err(Refusal::Arming { .. })));
}

#[tokio::test(start_paused = true)]
async fn arming_is_refused_and_ends_where_the_lag_is_unknown_though_all_else_is_well() {
    let scene = scene(214, Mode::Automatic);
    let live = well(&scene, Sees::TheWorld).await;
    let id = armed(&live).await;
    blind_to_lag(&live);
    live.until("it disarms", 900, |live| ended(live, &id).is_some()).await;
    assert_eq!(ended(&live, &id), Some(Ending::LagUnknown));
    let again = live.engine.override_ask(ask(arm("us-west-2", 900), 24)).await;
    assert!(
        matches!(&again, Err(Refusal::Arming { why, .. }) if why.contains("lag of store main is unknown")),
        "{again:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn lag_that_is_unknown_in_the_disaster_disarms_nothing() {
    let scene = scene(215, Mode::Automatic);
    let live = well(&scene, Sees::Nothing).await;
    let id = armed(&live).await;
    live.lose("us-east-1");
    live.pass(30).await;
    blind_to_lag(&live);
    make_headless(&live);
    live.pass(1_200).await;
    assert_eq!(ended(&live, &id), None, "{:?}", get(&live, &id));
}

#[tokio::test(start_paused = true)]
async fn a_preflight_that_fails_disarms() {
    let scene = scene(216, Mode::Automatic);
    let live = well(&scene, Sees::TheWorld).await;
    let id = armed(&live).await;
    live.pass(200).await;
    make_headless(&live);
    live.until("it disarms", 200, |live| ended(live, &id).is_some()).await;
    let (ending, _, why) = get(&live, &id).ended.expect("ended");
    assert_eq!(ending, Ending::PreflightFailed);
    assert!(why.contains("headless"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_preflight_that_cannot_tell_is_shown_and_disarms_the_third_time() {
    let scene = scene(217, Mode::Automatic);
    let live = well(&scene, Sees::TheWorld).await;
    let id = armed(&live).await;
    blind_to_roles(&live);
    let says = |live: &Live| {
        let all = live.engine.overrides(&payments()).expect("listed");
        all.into_iter().find(|o| o.what.id == id).and_then(|o| o.preflight).map(|(_, says)| says)
    };
    live.until("it is shown", 400, |live| says(live).is_some_and(|s| s.starts_with("it cannot be told"))).await;
    assert_eq!(ended(&live, &id), None);
    live.pass(280).await;
    assert_eq!(ended(&live, &id), None);
    live.until("it disarms", 400, |live| ended(live, &id).is_some()).await;
    assert_eq!(ended(&live, &id), Some(Ending::PreflightFailed));
}

#[tokio::test(start_paused = true)]
async fn what_is_armed_survives_a_restart_and_not_another_configuration() {
    let mut scene = scene(218, Mode::Automatic);
    let live = well(&scene, Sees::TheWorld).await;
    let id = armed(&live).await;
    live.engine.stop(Duration::from_secs(5)).await;
    drop(live);
    let live = well(&scene, Sees::TheWorld).await;
    assert_eq!(ended(&live, &id), None);
    live.engine.stop(Duration::from_secs(5)).await;
    drop(live);
    scene.config_digest = failoverd::domain::id::Digest::of(b"another");
    let live = well(&scene, Sees::TheWorld).await;
    assert_eq!(ended(&live, &id), Some(Ending::ConfigChanged));
    live.lose("us-east-1");
    live.pass(300).await;
    assert!(alone(&live).is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_armed_is_over_in_time() {
    let scene = scene(219, Mode::Automatic);
    let live = well(&scene, Sees::TheWorld).await;
    let id = armed_for(&live, 1).await;
    live.pass(3_600).await;
    assert_eq!(get(&live, &id).standing(live.wall.wall()), Standing::Expired);
    live.lose("us-east-1");
    live.pass(300).await;
    assert!(alone(&live).is_empty());
}

#[tokio::test(start_paused = true)]
async fn overrides_have_limits_and_the_refusal_names_them() {
    let scene = scene(220, Mode::Automatic);
    let live = well(&scene, Sees::TheWorld).await;
    let ask_for = async |kind: OverrideKind, expires_in: Duration| {
        live.engine.override_ask(AskOverride { expires_in, ..ask(kind, 1) }).await
    };
    let waive = |rule| OverrideKind::Waive { rule };
    let long = ask_for(waive(Rule::Dwell), Duration::from_mins(31)).await.expect_err("too long");
    assert!(long.to_string().contains("30 min"), "{long}");
    let long = ask_for(OverrideKind::KillSwitch, Duration::from_hours(90 * 24 + 1)).await.expect_err("too long");
    assert!(long.to_string().contains("90 days"), "{long}");
    assert!(ask_for(OverrideKind::KillSwitch, Duration::ZERO).await.is_err());
    let data = ask_for(waive(Rule::Loss), Duration::from_mins(1)).await.expect_err("guards data");
    assert_eq!(data, Refusal::NotWaivable { rule: Rule::Loss });
    let nothing = OverrideKind::Acknowledge { run: RunId::new(&payments(), 999), reconciled: false };
    assert!(matches!(ask_for(nothing, Duration::from_hours(1)).await, Err(Refusal::UnknownRun(_))));
    for _ in 0..STANDING_COUNT_MAX {
        ask_for(waive(Rule::Blackout), Duration::from_mins(30)).await.expect("one more");
    }
    let many = ask_for(waive(Rule::Dwell), Duration::from_mins(1)).await;
    assert_eq!(many, Err(Refusal::TooManyOverrides { kind: "waive", standing: STANDING_COUNT_MAX }));
    ask_for(OverrideKind::KillSwitch, Duration::from_hours(1)).await.expect("a kill switch always finds room");
    ask_for(arm("us-west-2", 900), Duration::from_hours(1)).await.expect("so does an arming");
}

#[tokio::test(start_paused = true)]
async fn the_same_key_is_the_same_override_also_after_a_restart() {
    let scene = scene(221, Mode::Automatic);
    let live = well(&scene, Sees::TheWorld).await;
    let with = |key: &str, reason: &str| AskOverride {
        idempotency_key: Some(key.to_owned()),
        reason: reason.to_owned(),
        ..ask(OverrideKind::KillSwitch, 1)
    };
    let first = live.engine.override_ask(with("k", "a storm")).await.expect("asked");
    live.pass(5).await;
    assert_eq!(live.engine.override_ask(with("k", "a storm")).await, Ok(first.clone()));
    assert_eq!(live.engine.override_ask(with("k", "a flood")).await, Err(Refusal::KeyReused));
    assert_ne!(live.engine.override_ask(with("l", "a storm")).await, Ok(first.clone()));
    live.engine.stop(Duration::from_secs(5)).await;
    drop(live);
    let live = well(&scene, Sees::TheWorld).await;
    assert_eq!(live.engine.override_ask(with("k", "a storm")).await, Ok(first));
}

#[tokio::test(start_paused = true)]
async fn what_was_started_alone_is_acknowledged_by_a_person() {
    let scene = scene(222, Mode::Automatic);
    let live = well(&scene, Sees::TheWorld).await;
    armed(&live).await;
    live.lose("us-east-1");
    let run = starts_alone(&live, 120).await;
    let seen = |reconciled| ask(OverrideKind::Acknowledge { run: run.clone(), reconciled }, 1);
    assert!(matches!(live.engine.override_ask(seen(true)).await, Err(Refusal::WrongPhase(_))), "it is not over");
    assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
    live.engine.override_ask(seen(true)).await.expect("acknowledged");
    live.pass(5).await;
    let met = |rule| live.assessment().rules.iter().find(|f| f.rule == rule).is_some_and(|f| f.is_met());
    assert!(met(Rule::Acknowledged) && met(Rule::NotDemoted) && !met(Rule::CoolDown));
    assert_eq!(live.run(&run).request.purpose, Purpose::Failover);
}

/// Region and subject of each message that says that something is armed no more.
fn notices(live: &Live) -> Vec<String> {
    let subject = |m: &failoverd::sim::world::sns::Message| {
        let subject = m.subject.clone().unwrap_or_default();
        subject.contains("no longer armed").then(|| format!("{}: {subject}", m.region))
    };
    let mut all: Vec<String> = live.world.now(|w| w.sns.delivered.iter().filter_map(subject).collect());
    all.sort();
    all
}

/// One for each topic.
fn told(word: &str) -> [String; 2] {
    ["us-east-1", "us-west-2"].map(|region| format!("{region}: payments: no longer armed ({word})"))
}

#[tokio::test(start_paused = true)]
async fn people_are_told_once_that_an_arming_is_over_and_not_again_after_a_restart() {
    let scene = scene(230, Mode::Automatic);
    let live = well(&scene, Sees::TheWorld).await;
    let expires = armed_for(&live, 1).await;
    live.pass(3_600).await;
    live.until("it is told", 30, |live| notices(live) == told("expired")).await;
    assert_eq!(get(&live, &expires).standing(live.wall.wall()), Standing::Expired);
    armed(&live).await;
    make_headless(&live);
    live.until("it is told", 900, |live| notices(live).len() == 4).await;
    live.engine.stop(Duration::from_secs(5)).await;
    drop(live);
    let live = well(&scene, Sees::TheWorld).await;
    live.pass(600).await;
    let mut both: Vec<String> = told("expired").into_iter().chain(told("preflight failed")).collect();
    both.sort();
    assert_eq!(notices(&live), both);
}

#[tokio::test(start_paused = true)]
async fn that_an_arming_was_used_is_told_and_a_topic_that_hangs_delays_nothing() {
    let scene = scene(231, Mode::Automatic);
    let live = well(&scene, Sees::TheWorld).await;
    armed(&live).await;
    live.world.now(|w| w.set_plane(Plane::Sns, &region("us-west-2"), Reach::Hangs));
    live.pass(60).await;
    live.lose("us-east-1");
    let run = starts_alone(&live, DWELL + TWO_PERIODS).await;
    assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
    live.world.now(|w| w.restore_region(&region("us-east-1")));
    let journalled = |live: &Live| {
        live.engine.history(&payments()).is_some_and(|h| h.overrides.untold(live.wall.wall()).next().is_none())
    };
    assert!(journalled(&live), "what could not be delivered is not sent again");
}

#[tokio::test(start_paused = true)]
async fn what_a_person_ends_is_not_told() {
    let scene = scene(232, Mode::Automatic);
    let live = well(&scene, Sees::TheWorld).await;
    let id = armed(&live).await;
    live.engine.override_end(&id, &"carol".parse().unwrap(), "not today").await.expect("ended");
    live.pass(60).await;
    assert_eq!(notices(&live), [] as [String; 0]);
}

/// FAULTS.md L6.
#[tokio::test(start_paused = true)]
async fn a_preflight_that_hangs_keeps_nobody_waiting_and_arms_nothing() {
    let scene = scene(233, Mode::Automatic);
    let live = well(&scene, Sees::TheWorld).await;
    let says = |live: &Live, id: &OverrideId| {
        let all = live.engine.overrides(&payments()).expect("listed");
        all.into_iter().find(|o| o.what.id == *id).and_then(|o| o.preflight).map(|(_, says)| says).unwrap_or_default()
    };
    blind_to_roles(&live);
    let began = live.clock.boot();
    let id = live.engine.override_ask(ask(arm("us-west-2", 900), 24)).await.expect("asked");
    assert!(says(&live, &id).starts_with("checking"), "{}", says(&live, &id));
    let refused = consent(&live, &id, "bob").await.expect_err("nothing is known yet");
    assert!(matches!(&refused, Refusal::Arming { why, .. } if why.starts_with("checking")), "{refused}");
    assert!(live.clock.boot().saturating_sub(began) < Duration::from_secs(2), "a second for each");
    assert!(matches!(consent(&live, &id, "bob").await, Err(Refusal::Arming { .. })), "it goes on");
    live.pass(16).await;
    assert!(says(&live, &id).starts_with("it cannot be told"), "{}", says(&live, &id));
    let refused = consent(&live, &id, "bob").await.expect_err("what is unknown arms nothing");
    assert!(matches!(&refused, Refusal::Arming { why, .. } if why.contains("cannot tell")), "{refused}");
    assert_eq!(get(&live, &id).standing(live.wall.wall()), Standing::AwaitsConsent);
    live.world.now(|w| {
        for name in ["us-east-1", "us-west-2"] {
            w.set_plane(Plane::Rds, &region(name), Reach::Up);
        }
    });
    live.pass(30).await;
    consent(&live, &id, "bob").await.expect("consented");
}

#[tokio::test(start_paused = true)]
async fn what_people_say_is_judged_at_once() {
    let scene = scene(234, Mode::Automatic);
    let live = well(&scene, Sees::TheWorld).await;
    live.engine.override_ask(ask(OverrideKind::KillSwitch, 1)).await.expect("switched off");
    let met = |live: &Live| live.assessment().rules.iter().any(|f| f.rule == Rule::KillSwitch && f.is_met());
    // A thousandth of a second, not a tick.
    live.clock.sleep(Duration::from_millis(1)).await;
    assert!(!met(&live), "the kill switch is seen");
}

#[tokio::test(start_paused = true)]
async fn the_key_of_an_override_that_is_over_does_not_say_that_it_stands() {
    let scene = scene(235, Mode::Automatic);
    let live = well(&scene, Sees::TheWorld).await;
    let keyed = || AskOverride { idempotency_key: Some("k".to_owned()), ..ask(OverrideKind::KillSwitch, 1) };
    let id = live.engine.override_ask(keyed()).await.expect("asked");
    live.engine.override_end(&id, &"carol".parse().unwrap(), "over").await.expect("ended");
    let again = live.engine.override_ask(keyed()).await.expect_err("it is over");
    assert!(matches!(&again, Refusal::OverrideOver(why) if why.contains("take another key")), "{again}");
}

/// The standby has no instance any more.
fn make_headless(live: &Live) {
    live.world.now(|w| w.aurora.set_headless(&region("us-west-2"), true));
}

/// CloudWatch of the standby's Region answers nothing.
fn blind_to_lag(live: &Live) {
    live.world.now(|w| w.set_plane(Plane::CloudWatch, &region("us-west-2"), Reach::Hangs));
}

/// Nobody says who writes.
fn blind_to_roles(live: &Live) {
    live.world.now(|w| {
        for name in ["us-east-1", "us-west-2"] {
            w.set_plane(Plane::Rds, &region(name), Reach::Hangs);
        }
    });
}
