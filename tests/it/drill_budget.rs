//! A drill over its budget, over the production engine and the simulated AWS: it goes home by itself, by its own way back,
//! and never before what is under way is settled.

use failoverd::{
    domain::{
        id::{Digest, RunId, RunbookName},
        run::{Phase, RunResult, StepState},
        runbook::{Library, Runbook},
    },
    engine::control::{Act, Refusal, Wish},
    sim::{
        port::Fault,
        world::{
            Plane, Reach,
            route53::fixture::{CONTROL_USE1_ARN, CONTROL_USW2_ARN},
        },
    },
};

use crate::support::{Live, Played, Scene, incarnation, region};

const FAILED: Played = Played::Finished(RunResult::Failed);
const SWITCH: &str = "SwitchoverGlobalCluster";

/// The application with a drill of its own: there by `runbook`, an hour's stay, and home.
fn drilled(mut scene: Scene, budget: &str, runbook: &str) -> Scene {
    let mut library = Library::default();
    library.add("region-switchover.yaml", include_str!("../../runbooks/region-switchover.yaml"));
    library.add("dns-flip.yaml", include_str!("../../runbooks/dns-flip.yaml"));
    let text = format!(
        "runbook: own-drill\npurpose: drill\ndescription: d\nbudget: {budget}\nsteps:\n\
         \x20 - {{ id: there, action: call, with: {{ runbook: {runbook} }} }}\n\
         \x20 - {{ id: stay, action: wait, needs: [there], with: {{ duration: 1h }} }}\n\
         \x20 - {{ id: home, action: call, needs: [stay], with: {{ runbook: {runbook}, towards: source }} }}\n\
         \x20 - {{ id: end, action: notify, needs: [home], with: {{ message: over }} }}\n"
    );
    let read = Runbook::parse_with("own-drill.yaml", &text, &library);
    let (runbook, _) = read.unwrap_or_else(|faults| panic!("{faults:#?}"));
    scene.application.drills = vec![runbook.name.clone()];
    scene.runbooks.insert(runbook.name.clone(), (runbook, Digest::of(text.as_bytes())));
    scene
}

fn moving(seed: u64, budget: &str) -> Scene {
    drilled(Scene::payments(seed, 240), budget, "region-switchover")
}

fn own() -> Wish {
    Wish::Drill { runbook: "own-drill".parse::<RunbookName>().expect("a name") }
}

async fn begun(scene: &Scene) -> (Live, RunId) {
    let live = scene.start(0).await;
    live.ready().await;
    live.pass(30).await;
    let run = live.begin(own()).await;
    (live, run)
}

async fn stays(live: &Live, run: &RunId) {
    live.until("the drill is there", 1_800, |live| !matches!(live.step(run, "stay"), StepState::Pending)).await;
}

async fn goes_home(live: &Live, run: &RunId, within: u64) {
    live.until("it goes home", within, |live| live.run(run).homeward.is_some()).await;
}

fn reason(live: &Live, run: &RunId) -> String {
    match &live.run(run).phase {
        Phase::Finished { reason, .. } | Phase::Held { reason, .. } => reason.clone(),
        other => format!("{other:?}"),
    }
}

/// It is home, by nothing but switchovers, and nothing was lost.
async fn is_home(live: &Live, switches: usize) {
    live.pass(30).await;
    assert_eq!(live.assessment().active_region, Some(region("us-east-1")));
    assert_eq!((live.accepted(SWITCH), live.accepted("FailoverGlobalCluster")), (switches, 0));
    assert_eq!(live.ledger().writes_lost, 0);
}

#[tokio::test(start_paused = true)]
async fn over_its_time_a_drill_goes_home_by_its_own_switchover() {
    let scene = moving(831, "{ within: 10m }");
    let (live, run) = begun(&scene).await;
    stays(&live, &run).await;
    goes_home(&live, &run, 700).await;
    assert!(matches!(live.step(&run, "stay"), StepState::Skipped { .. }), "what remains of the way there is skipped");
    assert_eq!(live.outcome(&run, 3_600).await, FAILED);
    assert!(reason(&live, &run).contains("over its budget at `stay`: 60"), "{}", reason(&live, &run));
    assert!(matches!(live.step(&run, "end.us-east-1"), StepState::Done { .. }), "people are told when it is home");
    is_home(&live, 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_serves_badly_sends_the_drill_home() {
    let scene = moving(832, "{ within: 2h }");
    let (live, run) = begun(&scene).await;
    stays(&live, &run).await;
    live.pass(60).await;
    assert!(live.run(&run).homeward.is_none(), "all is well");
    live.world.now(|w| w.set_plane(Plane::Application, &region("us-west-2"), Reach::Unavailable));
    goes_home(&live, &run, 120).await;
    assert!(
        live.run(&run).homeward.as_ref().is_some_and(|home| home.reason.contains("us-west-2 serves, and probe-usw2"))
    );
    live.world.now(|w| w.set_plane(Plane::Application, &region("us-west-2"), Reach::Up));
    assert_eq!(live.outcome(&run, 3_600).await, FAILED);
    is_home(&live, 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_switchover_under_way_is_settled_before_the_drill_goes_home() {
    let scene = moving(833, "{ within: 2h, guard: { signals: [probe-use1] } }");
    let live = scene.start(0).await;
    live.ready().await;
    live.pass(30).await;
    live.faults.arm("rds:SwitchoverGlobalCluster", Fault::LoseAfter);
    let run = live.begin(own()).await;
    live.until("it is asked for", 900, |live| live.step(&run, "there.switch.main").is_in_flight()).await;
    let of_source = |reach| live.world.now(|w| w.set_plane(Plane::Application, &region("us-east-1"), reach));
    of_source(Reach::Unavailable);
    goes_home(&live, &run, 900).await;
    assert!(
        live.step(&run, "there.switch.main").is_in_flight(),
        "nobody knows yet: {:?}",
        live.step(&run, "there.switch.main")
    );
    assert_eq!(
        live.step(&run, "home.check-target.main"),
        StepState::Pending,
        "nothing leads home before that is known"
    );
    of_source(Reach::Up);
    assert_eq!(live.outcome(&run, 3_600).await, FAILED);
    assert!(matches!(live.step(&run, "there.switch.main"), StepState::Done { .. }));
    assert!(matches!(live.step(&run, "there.flip.api"), StepState::Skipped { .. }));
    assert!(matches!(live.step(&run, "home.flip.api"), StepState::Skipped { .. }), "no traffic was moved away");
    is_home(&live, 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_switchover_that_never_arrived_is_waited_for_until_it_cannot_arrive_any_more() {
    let scene = moving(834, "{ within: 1m }");
    let live = scene.start(0).await;
    live.ready().await;
    live.pass(30).await;
    for _ in 0..8 {
        live.faults.arm("rds:SwitchoverGlobalCluster", Fault::LoseBefore);
    }
    let run = live.begin(own()).await;
    goes_home(&live, &run, 900).await;
    let asked = live.faults.sent().iter().filter(|sent| sent.operation.contains(SWITCH)).count();
    live.pass(240).await;
    assert!(live.step(&run, "there.switch.main").is_in_flight(), "it may still arrive");
    assert_eq!(live.outcome(&run, 900).await, FAILED);
    let again = live.faults.sent().iter().filter(|sent| sent.operation.contains(SWITCH)).count();
    assert_eq!((again, live.accepted(SWITCH)), (asked, 0), "neither repeated nor led home from");
    assert!(reason(&live, &run).contains("taken back"), "{}", reason(&live, &run));
    is_home(&live, 0).await;
}

#[tokio::test(start_paused = true)]
async fn before_roles_have_changed_what_was_done_is_taken_back() {
    let flip = "runbook: test\npurpose: [failover, switchover, failback]\ndescription: d\nsteps:\n\
                \x20 - { id: flip, action: dns.flip }\n";
    let scene = drilled(Scene::stateless(835, 240, flip), "{ within: 5m }", "dns-flip");
    let (live, run) = begun(&scene).await;
    stays(&live, &run).await;
    let on = || live.world.now(|w| (w.arc.is_set_on(CONTROL_USE1_ARN), w.arc.is_set_on(CONTROL_USW2_ARN)));
    assert_eq!(on(), (Some(false), Some(true)));
    assert_eq!(live.outcome(&run, 1_200).await, FAILED);
    assert_eq!((on(), live.flips()), ((Some(true), Some(false)), 2));
    let reason = reason(&live, &run);
    assert!(reason.contains("over its budget at `stay`") && reason.contains("undone: there.flip.api"), "{reason}");
    assert!(matches!(live.step(&run, "home.flip.api"), StepState::Pending), "the steps home were not needed");
}

#[test]
fn the_time_that_a_process_was_dead_counts_and_the_decision_outlives_one() {
    let scene = moving(836, "{ within: 10m }");
    let run = incarnation(async {
        let (live, run) = begun(&scene).await;
        stays(&live, &run).await;
        assert!(live.run(&run).homeward.is_none());
        run
    });
    // Dead for longer than is left.
    incarnation(async {
        let live = scene.start(600).await;
        goes_home(&live, &run, 10).await;
    });
    incarnation(async {
        let live = scene.start(30).await;
        assert!(live.run(&run).homeward.is_some(), "the journal has it");
        assert_eq!(live.outcome(&run, 3_600).await, FAILED);
        is_home(&live, 2).await;
    });
}

#[tokio::test(start_paused = true)]
async fn a_way_home_that_is_not_possible_holds_and_nothing_leads_there_again() {
    let scene = moving(837, "{ within: 10m }");
    let (live, run) = begun(&scene).await;
    stays(&live, &run).await;
    live.world.now(|w| w.aurora.set_headless(&region("us-east-1"), true));
    assert_eq!(live.outcome(&run, 3_600).await, Played::Held("gate-target".to_owned()));
    let Phase::Held { waits_for, .. } = &live.run(&run).phase else { panic!("held") };
    assert!(waits_for.contains("an operator"), "{waits_for}");
    assert_eq!((live.accepted(SWITCH), live.accepted("FailoverGlobalCluster")), (1, 0));
    live.world.now(|w| w.aurora.set_headless(&region("us-east-1"), false));
    live.pass(600).await;
    live.act(&run, Act::Resume).await.expect("resumed");
    assert_eq!(live.outcome(&run, 3_600).await, FAILED);
    is_home(&live, 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_step_that_fails_on_the_way_there_holds_until_the_budget_leads_home() {
    let scene = moving(838, "{ within: 25m, guard: { signals: [probe-use1] } }");
    let (live, run) = begun(&scene).await;
    live.until("the roles are exchanged", 900, |live| {
        matches!(live.step(&run, "there.switch.main"), StepState::Done { .. })
    })
    .await;
    // The servers of the target do not answer: no traffic moves there, and the drill is held.
    live.world.now(|w| w.set_plane(Plane::Application, &region("us-west-2"), Reach::Unavailable));
    assert!(matches!(live.outcome(&run, 1_400).await, Played::Held(_)));
    goes_home(&live, &run, 1_500).await;
    let digest = live.run(&run).plan_digest.clone();
    let retried = live.act(&run, Act::Retry { step: "there.probe-target".parse().expect("an id"), digest }).await;
    assert!(matches!(&retried, Err(Refusal::WrongPhase(why)) if why.contains("leads home")), "{retried:?}");
    assert_eq!(live.outcome(&run, 3_600).await, FAILED);
    is_home(&live, 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_person_who_has_paused_a_drill_has_the_word() {
    let scene = moving(839, "{ within: 10m }");
    let (live, run) = begun(&scene).await;
    stays(&live, &run).await;
    live.act(&run, Act::Pause).await.expect("paused");
    live.pass(1_200).await;
    assert!(live.run(&run).homeward.is_none(), "nothing moves while it is paused");
    live.act(&run, Act::Resume).await.expect("resumed");
    goes_home(&live, &run, 10).await;
    assert_eq!(live.outcome(&run, 3_600).await, FAILED);
    is_home(&live, 2).await;
}
