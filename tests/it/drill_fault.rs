//! The primary broken on purpose: seen, mended whatever happens, and in nobody's way.

use std::{collections::BTreeMap, time::Duration};

use failoverd::{
    cli::{render, why},
    domain::{
        id::{RunId, RunbookName},
        plan::Purpose,
        policy::{Mode, Policy},
        rules::Rule,
        run::{Phase, RunResult, StepState},
        runbook::{Library, Runbook},
    },
    engine::control::{Act, AskOverride, Control as _, StartRun, Started, Wish},
    http::{
        condition::ApplicationView,
        decision::{DecisionView, Shown},
        drill_fault::DrillFaultView,
    },
    sim::{
        port::Fault,
        world::{Plane, Reach},
    },
};

use crate::support::{
    Live, Played, Scene,
    observers::{Sees, observe},
    payments, region,
};

const SUCCEEDED: Played = Played::Finished(RunResult::Succeeded);
/// A variable of the function that is nobody's business.
const SECRET: &str = "only-lambda-knows-this";

/// The application of the scene, drilled by drill-fault, and by a drill of its own that calls it with `arguments`.
fn scene(seed: u64, arguments: &str) -> Scene {
    let mut scene = Scene::payments(seed, 240);
    let shipped = |name: &str| name.parse::<RunbookName>().expect("a name");
    scene.application.drills.push(shipped("drill-fault"));
    scene.application.drills.push(shipped("drill-isolation"));
    let text = format!(
        "runbook: own\npurpose: drill\ndescription: d\nsteps:\n  - {{ id: it, action: call, with: {{ runbook: \
         drill-fault, arguments: {{ {arguments} }} }} }}\n"
    );
    let own = own(&text);
    scene.application.drills.push(own.name.clone());
    scene.runbooks.insert(own.name.clone(), (own, failoverd::domain::id::Digest::of(text.as_bytes())));
    let mut world = scene.world.lock().expect("nobody panics while holding it");
    world.services.lambda.put_variables(&region("us-east-1"), "payments-api", [("DB_PASSWORD", SECRET)].into_iter());
    drop(world);
    scene
}

fn own(text: &str) -> Runbook {
    let file = format!("{}/runbooks/drill-fault.yaml", env!("CARGO_MANIFEST_DIR"));
    let mut library = Library::default();
    library.add("drill-fault.yaml", &std::fs::read_to_string(file).expect("it ships"));
    Runbook::parse_with("own.yaml", text, &library).unwrap_or_else(|faults| panic!("{faults:#?}")).0
}

async fn well(scene: &Scene) -> Live {
    let live = scene.start(0).await;
    live.ready().await;
    live.pass(30).await;
    live
}

async fn begin(live: &Live, name: &str) -> RunId {
    let run = live.begin(Wish::Drill { runbook: name.parse().expect("a name") }).await;
    let consent = if name == "own" { "it.consent" } else { "consent" };
    live.until_running(&run, consent).await;
    let digest = live.run(&run).plan_digest.clone();
    let step = consent.parse().expect("an id");
    live.engine_act(&run, Act::Approve { step, approved: true, digest }, "second").await.expect("approved");
    run
}

fn variables(live: &Live) -> BTreeMap<String, String> {
    let east = region("us-east-1");
    live.world.now(|w| w.services.lambda.function(&east, "payments-api").expect("there").variables.clone())
}

fn is_broken(live: &Live) -> bool {
    variables(live).contains_key("FAILOVERD_FAULT")
}

/// The faults that are told of.
fn told(live: &Live) -> Vec<DrillFaultView> {
    DrillFaultView::all(live.engine.history(&payments()).as_deref())
}

/// What `status` and `why` say, each on one line.
fn said(scene: &Scene, live: &Live) -> [String; 2] {
    let (history, assessment) = (live.engine.history(&payments()), live.assessment());
    let (application, history) = (&scene.application, history.as_deref());
    let view = ApplicationView::new(application, Some(&assessment), history);
    let capacities = Default::default();
    let shown = Shown { application, assessment: &assessment, history, seen_from: None, capacities: &capacities };
    let texts = [render::status(&[view]), why::why(&DecisionView::new(&shown))];
    texts.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "))
}

async fn broken(live: &Live) {
    live.until("the fault is in", 120, is_broken).await;
}

#[tokio::test(start_paused = true)]
async fn a_fault_is_seen_and_taken_out_and_the_function_keeps_every_variable_it_had() {
    let scene = scene(700, "");
    let live = well(&scene).await;
    let before = variables(&live);
    let run = begin(&live, "drill-fault").await;
    broken(&live).await;
    assert_eq!(variables(&live).len(), before.len() + 1, "every other variable is carried");
    assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
    assert_eq!(variables(&live), before);
    let StepState::Done { outputs, .. } = live.step(&run, "detected") else { panic!("detected") };
    let seconds = outputs["seconds"].as_f64().expect("a number");
    assert!((5.0..120.0).contains(&seconds), "the measured detection time: {outputs:?}");
    assert_eq!((outputs["health"].as_str(), outputs["verdict"].as_str()), (Some("down"), Some("recommend")));
    assert!(outputs["said"].as_str().expect("a text").contains("probe-use1 is ill"), "{outputs:?}");
    assert_eq!((live.flips(), live.ledger().writes_lost), (0, 0), "nothing moves, and nothing is lost");
    let journal: Vec<String> = scene
        .journal
        .with(&payments(), |all| all.iter().map(|s| String::from_utf8_lossy(&s.bytes).into_owned()).collect());
    assert!(journal.iter().any(|record| record.contains("FAILOVERD_FAULT")));
    assert!(!journal.iter().any(|record| record.contains(SECRET)), "the others are in no record");
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_is_in_is_told_with_its_way_out_until_it_is_out() {
    let scene = scene(707, "");
    let live = well(&scene).await;
    let run = begin(&live, "drill-fault").await;
    assert_eq!(told(&live), []);
    broken(&live).await;
    live.until("it was seen in", 60, |live| matches!(live.step(&run, "break"), StepState::Done { .. })).await;
    let [fault] = &told(&live)[..] else { panic!("{:?}", told(&live)) };
    assert_eq!((fault.run.as_str(), fault.step.as_str(), fault.seen), (run.as_str(), "break", true));
    assert_eq!(fault.what, "function payments-api in us-east-1 is broken on purpose (FAILOVERD_FAULT=fail)");
    assert_eq!(fault.way_out, "step `mend` takes it out, and so does an abort");
    let StepState::Done { since, at, .. } = live.step(&run, "break") else { panic!("done") };
    assert!((since..=at).contains(&fault.since), "{since} {at} {fault:?}");
    for text in said(&scene, &live) {
        let head = format!("FAULT IN {} since ", fault.what);
        assert!(
            text.contains(&head) && text.contains(&format!("`break` of {run}: step `mend` takes it out")),
            "{text}"
        );
    }
    live.act(&run, Act::Pause).await.expect("paused");
    assert_eq!(told(&live)[0].way_out, "nothing takes it out while the run waits for somebody to resume it");
    live.act(&run, Act::Resume).await.expect("resumed");
    assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
    assert_eq!(told(&live), []);
    for text in said(&scene, &live) {
        assert!(!text.contains("FAULT IN"), "{text}");
    }
}

/// Nobody passes over the mending. Where nothing takes the fault out and a person ends the drill where it stands, it is
/// told of until somebody has dealt with it.
#[tokio::test(start_paused = true)]
async fn a_fault_that_its_run_has_left_in_is_told_until_a_person_acknowledges_it() {
    let scene = scene(708, "");
    let live = well(&scene).await;
    let run = begin(&live, "drill-fault").await;
    broken(&live).await;
    (0..99).for_each(|_| live.faults.arm("lambda:UpdateFunctionConfiguration", Fault::Reject("AccessDeniedException")));
    assert!(matches!(live.outcome(&run, 3_600).await, Played::Held(_)));
    let waits =
        |live: &Live| told(live)[0].way_out.starts_with("nothing takes it out while the run waits for an operator");
    assert!(waits(&live), "{:?}", told(&live));
    let digest = live.run(&run).plan_digest.clone();
    let skipped = live.act(&run, Act::Skip { step: "mend".parse().expect("an id"), digest }).await;
    let refused = skipped.expect_err("the fault would stay in").to_string();
    assert!(refused.contains("the fault that the drill has put in would stay in"), "{refused}");
    live.act(&run, Act::Abort).await.expect("taken back");
    assert!(matches!(live.outcome(&run, 3_600).await, Played::Held(_)));
    assert!(waits(&live), "{:?}", told(&live));
    live.act(&run, Act::Abort).await.expect("where it stands");
    assert_eq!(live.outcome(&run, 3_600).await, Played::Finished(RunResult::Aborted));
    assert!(is_broken(&live));
    let by_hand = format!("nothing takes it out: take FAILOVERD_FAULT away by hand, then failoverd acknowledge {run}");
    assert_eq!(told(&live)[0].way_out, by_hand);
    live.reconcile(&run).await;
    assert_eq!(told(&live), []);
}

#[tokio::test(start_paused = true)]
async fn an_abort_takes_the_fault_out() {
    let scene = scene(701, "");
    let live = well(&scene).await;
    let before = variables(&live);
    let run = begin(&live, "drill-fault").await;
    broken(&live).await;
    live.act(&run, Act::Abort).await.expect("asked for");
    assert_eq!(live.outcome(&run, 900).await, Played::Finished(RunResult::Aborted));
    assert_eq!(variables(&live), before);
    let Phase::Finished { reason, .. } = &live.run(&run).phase else { panic!("finished") };
    assert!(reason.contains("undone: break"), "{reason}");
}

/// Nothing else leads back once the writer has moved; a fault on purpose moves nothing, and is not to be left behind.
#[tokio::test(start_paused = true)]
async fn an_abort_takes_the_fault_out_of_a_region_that_was_left_although_nothing_else_is_taken_back() {
    let scene = scene(706, "");
    let live = well(&scene).await;
    let before = variables(&live);
    let run = begin(&live, "drill-isolation").await;
    live.until("the Region that was left is broken", 900, is_broken).await;
    let flips = live.flips();
    live.act(&run, Act::Abort).await.expect("asked for");
    let held = live.outcome(&run, 900).await;
    assert!(matches!(&held, Played::Held(code) if code.as_str() == "undo-past-no-return"), "{held:?}");
    assert_eq!(variables(&live), before);
    live.act(&run, Act::Abort).await.expect("where it stands");
    assert_eq!(live.outcome(&run, 900).await, Played::Finished(RunResult::Aborted));
    assert_eq!((variables(&live), live.flips()), (before, flips), "nothing else was taken back");
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_nobody_sees_in_time_is_taken_out_and_the_drill_has_failed() {
    // The function does not read it as a fault: everything stays well.
    let scene = scene(702, "value: nothing, detected_within: 2m");
    let live = well(&scene).await;
    let before = variables(&live);
    let run = begin(&live, "own").await;
    broken(&live).await;
    assert_eq!(live.outcome(&run, 900).await, Played::Finished(RunResult::Failed));
    assert_eq!(variables(&live), before);
    assert!(matches!(live.step(&run, "it.detected"), StepState::Failed { code, .. } if code == "step-timeout"));
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_is_in_already_is_somebody_elses_and_is_left_to_them() {
    let scene = scene(703, "");
    let live = well(&scene).await;
    let theirs = [("FAILOVERD_FAULT", "fail")];
    // Put there, and not served yet: the application is well.
    live.world.now(|w| {
        w.services.lambda.put_variables(&region("us-east-1"), "payments-api", theirs.into_iter());
    });
    let run = begin(&live, "drill-fault").await;
    assert_eq!(live.outcome(&run, 900).await, Played::Finished(RunResult::Failed));
    assert!(matches!(live.step(&run, "break"), StepState::Failed { code, .. } if code == "fault-refused"));
    assert!(is_broken(&live), "it was not this run that put it in");
}

#[tokio::test(start_paused = true)]
async fn a_mending_that_cannot_be_sent_holds_the_drill_and_is_done_when_it_goes_on() {
    let scene = scene(704, "");
    let live = well(&scene).await;
    let before = variables(&live);
    let run = begin(&live, "drill-fault").await;
    broken(&live).await;
    let east = region("us-east-1");
    live.until("the mending has begun", 300, |live| !matches!(live.step(&run, "mend"), StepState::Pending)).await;
    live.world.now(|w| w.set_plane(Plane::Lambda, &east, Reach::Hangs));
    live.pass(60).await;
    if live.run(&run).result().is_none() && is_broken(&live) {
        let held = live.outcome(&run, 3_600).await;
        assert!(matches!(&held, Played::Held(_)), "a person is told: {held:?}");
        live.world.now(|w| w.set_plane(Plane::Lambda, &east, Reach::Up));
        live.act(&run, Act::Resume).await.expect("resumed");
    } else {
        live.world.now(|w| w.set_plane(Plane::Lambda, &east, Reach::Up));
    }
    assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
    assert_eq!(variables(&live), before);
}

#[tokio::test(start_paused = true)]
async fn a_real_disaster_in_the_middle_is_not_held_up_and_the_fault_is_taken_out_when_the_region_is_back() {
    let scene = scene(705, "");
    let live = well(&scene).await;
    let before = variables(&live);
    let drill = begin(&live, "drill-fault").await;
    broken(&live).await;
    live.lose("us-east-1");
    live.pass(5).await;
    let request = StartRun { target: Some(region("us-west-2")), ..Live::request(Wish::Failover) };
    let run = match live.ask(request).await {
        Ok(Started::Run { id, supersedes }) => {
            assert_eq!(supersedes, Some(drill.clone()), "at once: nothing of the drill leads elsewhere");
            id
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(live.outcome(&drill, 5).await, Played::Finished(RunResult::Superseded));
    live.approve(&run).await;
    assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
    live.pass(30).await;
    assert_eq!(live.assessment().active_region, Some(region("us-west-2")));
    let open = || {
        let history = live.engine.history(&payments()).expect("a history");
        let of_drill = history.deferred.iter().filter(|((of, _), _)| *of == drill);
        of_drill.map(|(_, work)| (work.word(), work.work.describe())).collect::<Vec<_>>()
    };
    let left = "take the fault of a drill out of function payments-api in us-east-1 (FAILOVERD_FAULT)".to_owned();
    assert_eq!(open(), [("open", left.clone())]);
    let [fault] = &told(&live)[..] else { panic!("{:?}", told(&live)) };
    assert_eq!((fault.run.as_str(), fault.way_out.starts_with("open work takes it out")), (drill.as_str(), true));
    live.world.now(|w| w.restore_region(&region("us-east-1")));
    live.until("the fault is out", 600, |live| variables(live) == before).await;
    live.until("the work is over", 900, |_| open() == [("done", left.clone())]).await;
    assert_eq!(told(&live), []);
}

fn automatic(mut scene: Scene) -> Scene {
    scene.application.policy = Policy {
        mode: Mode::Automatic,
        dwell: Duration::from_secs(30),
        observers: ["frankfurt".parse().expect("a name")].into(),
        ..Policy::default()
    };
    scene
}

async fn armed(live: &Live) {
    use failoverd::domain::overrides::OverrideKind;
    let (from, to) = (region("us-east-1"), region("us-west-2"));
    let asked = AskOverride {
        application: payments(),
        kind: OverrideKind::Arm { from, to, largest_loss: Duration::from_secs(3_600) },
        reason: "the quarter's end".to_owned(),
        expires_in: Duration::from_hours(24),
        subject: "alice".parse().expect("a subject"),
        idempotency_key: None,
    };
    let id = live.engine.override_ask(asked).await.expect("asked");
    live.engine.override_consent(&id, true, &"bob".parse().expect("a subject"), "agreed").await.expect("consented");
}

fn failovers(live: &Live) -> usize {
    let history = live.engine.history(&payments()).expect("a history");
    history.runs.values().filter(|run| run.plan.purpose == Purpose::Failover).count()
}

#[tokio::test(start_paused = true)]
async fn what_is_armed_starts_nothing_while_the_fault_is_in_nor_right_after_it() {
    let scene = automatic(scene(706, ""));
    let live = scene.start(0).await;
    observe(&live, "frankfurt", Sees::TheWorld);
    live.ready().await;
    live.pass(30).await;
    armed(&live).await;
    live.pass(60).await;
    let run = begin(&live, "drill-fault").await;
    broken(&live).await;
    // For longer than the dwell: a person holds it so.
    live.act(&run, Act::Pause).await.expect("paused");
    live.pass(300).await;
    let unmet = |live: &Live, rule: Rule| live.assessment().rules.iter().any(|f| f.rule == rule && !f.is_met());
    assert!(
        is_broken(&live) && unmet(&live, Rule::Idle) && !unmet(&live, Rule::Down),
        "it would have, but for the drill"
    );
    assert_eq!(failovers(&live), 0);
    live.act(&run, Act::Resume).await.expect("resumed");
    assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
    // The disaster right after it is for a person, for a while; and then it is acted on.
    live.lose("us-east-1");
    live.pass(10 * 60).await;
    assert!(unmet(&live, Rule::Idle), "{:?}", live.assessment().rules);
    assert_eq!(failovers(&live), 0, "what is seen so soon after may still be the fault");
    live.until("a run is started alone", 10 * 60, |live| failovers(live) == 1).await;
}
