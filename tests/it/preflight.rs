//! Preflight, whole: the production engine over the simulated AWS, in virtual time. Every thing that lowers the score is
//! named; nothing is changed, nothing is delayed, and no run is looked at half-way.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use failoverd::{
    domain::{
        application::{Application, Mechanism},
        channel::Channels,
        id::Digest,
        journal::Event,
        preflight::{Check, Class, Direction, End, Kind, Lifetime, Preflight, State},
        run::{Phase, RunResult},
    },
    engine::{
        control::{Act, Control as _, Wish},
        preflight::round::{Now, Setup},
    },
    sim::{
        faults::{self, CallFault, Trouble},
        port::Faults,
        world::{
            Plane, Reach, World,
            route53::{
                fixture::{PRIMARY_ADDRESS, RECORD_NAME, SECONDARY_ADDRESS, ZONE_ID, ZONE_NAME},
                record::{FailoverRole, RecordSet, Routing, RrType},
                zone::Zone,
            },
            services::iam::Denial,
        },
    },
};
use futures_util::FutureExt as _;

use serde_json::Value;

use crate::support::{
    Live, Played, Scene,
    daemon::Daemon,
    payments, region,
    stage::{Setting, Stage},
};

const STANDBY: &str = "arn:aws:rds:us-west-2:123456789012:cluster:payments-usw2";

fn setup() -> Setup {
    Setup::without_lifetimes(Channels::default())
}

/// An engine that has looked, or is about to, at `scene`.
async fn started(scene: &Scene, setup: Setup) -> Live {
    let journal = scene.reopened();
    let arrange = |parts| failoverd::engine::Parts { preflight: Some(setup), ..parts };
    let live = scene.start_as(0, journal, Faults::default(), arrange).await;
    live.ready().await;
    live
}

fn now(live: &Live) -> Now {
    live.engine.preflight(&payments()).expect("it is looked at")
}

fn found_now(live: &Live) -> Arc<Preflight> {
    now(live).found.expect("a round")
}

async fn found(live: &Live) -> Arc<Preflight> {
    live.until("a round of preflight", 300, |live| now(live).found.is_some()).await;
    now(live).found.expect("a round")
}

/// The only way out.
fn way(found: &Preflight) -> &Direction {
    assert_eq!(found.directions.len(), 1, "{found:#?}");
    &found.directions[0]
}

fn points(found: &Preflight) -> u8 {
    way(found).score().expect("somebody has looked").points
}

/// What lowers the score.
fn lowering(found: &Preflight) -> Vec<(Check, u8)> {
    let way = way(found);
    let score = way.score().expect("somebody has looked");
    score.lowered.iter().map(|l| (way.checks[l.check].clone(), l.points)).collect()
}

/// What is found of the application and the world that `change` leaves.
async fn after(seed: u64, app: impl FnOnce(&mut Application), world: impl FnOnce(&mut World)) -> Preflight {
    let mut scene = Scene::payments(seed, 240);
    app(&mut scene.application);
    let live = started(&scene, setup()).await;
    live.world.now(world);
    (*found(&live).await).clone()
}

/// One thing is wrong: a check of `kind` is so, its words hold `words`, and nothing else takes a point.
#[track_caller]
fn only(found: &Preflight, kind: Kind, state: State, words: &str, expected: u8) {
    let lowering = lowering(found);
    let [(check, taken)] = &lowering[..] else { panic!("{lowering:#?}") };
    assert_eq!((check.kind, check.state), (kind, state), "{check:#?}");
    assert!(check.seen.contains(words), "{check:#?}");
    assert_eq!((points(found), points(found) + taken), (expected, 100), "{check:#?}");
    assert!(!check.remedy.is_empty() && !check.expected.is_empty(), "{check:#?}");
}

#[tokio::test(start_paused = true)]
async fn where_all_is_well_the_score_is_100_and_every_kind_was_looked_at() {
    let soon = Lifetime {
        subject: "token of alice".to_owned(),
        end: End::Never,
        at_least: Duration::from_hours(1),
        remedy: "a new one",
    };
    let lifetimes = Arc::new(move |_| {
        let soon = soon.clone();
        async move { vec![soon] }.boxed()
    });
    let scene = Scene::payments(1, 240);
    let live = started(&scene, Setup::new(Channels::default(), lifetimes)).await;
    assert!(now(&live).found.is_none(), "before the first round there is no score, rather than 0 or 100");
    let found = found(&live).await;
    assert_eq!((points(&found), lowering(&found)), (100, Vec::new()));
    let kinds: BTreeSet<Kind> = way(&found).checks.iter().map(|c| c.kind).collect();
    assert_eq!(kinds, Kind::ALL.into_iter().collect());
    // What nobody looks at is said, and counts as unknown.
    let unknown: Vec<&Check> = way(&found).checks.iter().filter(|c| c.state != State::Met).collect();
    assert!(unknown.iter().all(|c| c.class == Class::Advisory && c.state == State::Unknown), "{unknown:#?}");
    let permitted = way(&found).checks.iter().find(|c| c.subject == "changes").expect("AWS is asked what it permits");
    assert_eq!((permitted.kind, permitted.state), (Kind::Permission, State::Met), "{permitted:#?}");
    assert!(permitted.seen.starts_with("IAM allows "), "{permitted:#?}");
}

const PROMOTE: &str = "rds:FailoverGlobalCluster";

/// What denies `action`.
fn denying(action: &'static str, denial: Denial) -> impl FnOnce(&mut World) {
    move |world: &mut World| world.services.iam.deny(action, denial)
}

#[tokio::test(start_paused = true)]
async fn a_change_that_aws_would_deny_blocks_and_names_the_action_its_resource_and_the_step() {
    for (denial, word) in [(Denial::Implicit, "implicitDeny"), (Denial::Explicit, "explicitDeny")] {
        let found = after(16, |_| (), denying(PROMOTE, denial)).await;
        only(&found, Kind::Permission, State::NotMet, word, 40);
        let (check, _) = lowering(&found).remove(0);
        assert_eq!((check.subject.as_str(), check.class), (PROMOTE, Class::Blocking), "{check:#?}");
        for part in [STANDBY, "arn:aws:rds::123456789012:global-cluster:", "step promote"] {
            assert!(check.seen.contains(part), "{part}: {check:#?}");
        }
        assert!(check.remedy.contains("failoverd permissions --power data-loss"), "{check:#?}");
        assert_eq!(check.region, Some(region("us-west-2")));
        assert!(way(&found).is_blocked());
    }
}

/// A condition that the calls may meet and that the question cannot tell: neither allowed nor denied.
#[tokio::test(start_paused = true)]
async fn a_denial_that_hangs_on_a_condition_nobody_tells_is_unknown() {
    let found = after(17, |_| (), denying(PROMOTE, Denial::Unless("aws:SourceVpc"))).await;
    only(&found, Kind::Permission, State::Unknown, "without aws:SourceVpc", 70);
    assert!(!way(&found).is_blocked());
}

/// What becomes of the world.
type Change = Box<dyn FnOnce(&mut World)>;

/// Whether AWS permits it is not known, which costs nothing and is said, with what would let it look.
#[tokio::test(start_paused = true)]
async fn where_the_question_is_refused_or_not_answered_nothing_is_known_and_nothing_is_taken() {
    let silent = |w: &mut World| w.set_plane(Plane::Sts, &region("us-east-1"), Reach::Hangs);
    let cases: [(Change, &str); 4] = [
        (Box::new(denying("iam:SimulatePrincipalPolicy", Denial::Implicit)), "iam:SimulatePrincipalPolicy"),
        (Box::new(denying("iam:GetRole", Denial::Explicit)), "iam:GetRole"),
        (Box::new(denying("sts:GetCallerIdentity", Denial::Explicit)), "sts:GetCallerIdentity"),
        (Box::new(silent), "no answer"),
    ];
    for (world, named) in cases {
        // What is denied besides is not seen either: nothing is guessed.
        let both = |w: &mut World| {
            world(w);
            w.services.iam.deny(PROMOTE, Denial::Implicit);
        };
        let found = after(18, |_| (), both).await;
        assert_eq!((points(&found), lowering(&found)), (100, Vec::new()), "{named}");
        let check = way(&found).checks.iter().find(|c| c.subject == "changes").expect("it is said");
        assert_eq!((check.class, check.state), (Class::Advisory, State::Unknown), "{check:#?}");
        assert!(check.seen.starts_with("permissions of changes: not looked at: "), "{check:#?}");
        assert!(check.seen.contains(named) && check.remedy.contains("iam:SimulatePrincipalPolicy"), "{check:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_only_later_degrades() {
    let tags = "rds:AddTagsToResource";
    let found = after(19, |_| (), denying(tags, Denial::Explicit)).await;
    only(&found, Kind::Permission, State::NotMet, "step keep-rescue.main, not needed to get there", 90);
    // No policy allows every snapshot, and what is needed of them may be allowed.
    let found = after(19, |_| (), denying(tags, Denial::Implicit)).await;
    only(&found, Kind::Permission, State::Unknown, "the resource itself is not known before", 95);
}

/// One truth: what refuses the calls of a run is what preflight is told of.
#[tokio::test(start_paused = true)]
async fn what_preflight_is_told_is_denied_is_refused_when_it_is_called() {
    let scene = Scene::payments(20, 240);
    let live = started(&scene, setup()).await;
    live.world.now(denying(PROMOTE, Denial::Implicit));
    only(&*found(&live).await, Kind::Permission, State::NotMet, PROMOTE, 40);
    let run = live.begin(Wish::Failover).await;
    live.approve(&run).await;
    assert_eq!(live.outcome(&run, 3_600).await, Played::Held("call-rejected".to_owned()));
    // The other way round: a plane that denies access, and calls that are refused as long as a disaster lasts.
    let plane = after(20, |_| (), |w| w.set_plane(Plane::ArcCluster, &region("us-west-2"), Reach::DeniesAccess)).await;
    let open: Vec<String> = lowering(&plane).into_iter().map(|(check, _)| check.subject).collect();
    assert!(open.iter().any(|s| s == "route53-recovery-cluster:UpdateRoutingControlStates"), "{open:?}");
    let (scene, faults) = (Scene::payments(20, 240), Faults::default());
    faults.open(PROMOTE, None, CallFault::Reject { code: "AccessDenied" }, 1.0);
    let arrange = |parts| failoverd::engine::Parts { preflight: Some(setup()), ..parts };
    let live = scene.start_as(0, scene.reopened(), faults, arrange).await;
    live.ready().await;
    only(&*found(&live).await, Kind::Permission, State::NotMet, PROMOTE, 40);
}

#[tokio::test(start_paused = true)]
async fn a_ttl_that_is_not_the_configured_one_or_too_long_for_the_rto_is_named() {
    let other = |app: &mut Application| app.traffic.values_mut().for_each(|t| t.ttl = Duration::from_secs(30));
    only(&after(2, other, |_| ()).await, Kind::Ttl, State::NotMet, "a record has 60 s, configured are 30 s", 90);
    let short = |app: &mut Application| app.objectives.rto = Duration::from_secs(119);
    let found = after(2, short, |_| ()).await;
    only(&found, Kind::Ttl, State::NotMet, "60 s is more than half of the RTO of 119 s", 90);
}

/// FAULTS.md 65: with two Regions commits stall after a failover.
#[tokio::test(start_paused = true)]
async fn global_db_rpo_set_in_a_two_region_target_is_warned_of() {
    let set = |value: &'static str| {
        move |world: &mut World| {
            let cluster = world.aurora.cluster_mut(STANDBY).expect("the standby");
            cluster.parameters.insert("rds.global_db_rpo".to_owned(), value.to_owned());
        }
    };
    let found = after(3, |_| (), set("20")).await;
    only(&found, Kind::Parameter, State::NotMet, "payments-usw2-parameters has 20 s", 90);
    assert_eq!(points(&after(3, |_| (), set("-1")).await), 100);
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_gone_is_named() {
    let gone = |app: &mut Application| app.topics[1].arn = "arn:aws:sns:us-west-2:123456789012:nobody".to_owned();
    only(&after(4, gone, |_| ()).await, Kind::Topic, State::NotMet, "there is no such topic", 90);
}

#[tokio::test(start_paused = true)]
async fn a_standby_that_cannot_carry_the_application_is_named() {
    let west = || region("us-west-2");
    let small = |w: &mut World| faults::apply(w, &Trouble::Undersized { region: west() });
    // region-failover goes on all the same: it degrades.
    only(&after(5, |_| (), small).await, Kind::Capacity, State::NotMet, "1 of the 2 needed", 90);
    let exhausted = |w: &mut World| faults::apply(w, &Trouble::QuotaExhausted { region: west() });
    only(&after(5, |_| (), exhausted).await, Kind::Quota, State::NotMet, "0 left, 1 needed", 90);
    let headless = |w: &mut World| faults::apply(w, &Trouble::Headless { region: west() });
    let found = after(5, |_| (), headless).await;
    assert!(way(&found).is_blocked() && points(&found) <= 40, "{:#?}", lowering(&found));
    let (first, taken) = lowering(&found).remove(0);
    assert_eq!((first.kind, taken), (Kind::Target, 60), "{first:#?}");
}

#[tokio::test(start_paused = true)]
async fn another_version_and_a_cluster_that_anybody_can_delete_are_named() {
    let other = |w: &mut World| faults::apply(w, &Trouble::Mismatched { region: region("us-west-2") });
    let found = after(6, |_| (), other).await;
    let kinds: Vec<Kind> = lowering(&found).into_iter().map(|(check, _)| check.kind).collect();
    assert_eq!(kinds, [Kind::Target, Kind::Version]);
    let bare = |w: &mut World| w.aurora.cluster_mut(STANDBY).expect("the standby").deletion_protection = false;
    only(&after(6, |_| (), bare).await, Kind::Protection, State::NotMet, "payments-usw2 can be deleted", 98);
}

/// The zone with a record for each Region, as `change` leaves them.
fn zone(world: &mut World, change: impl Fn(&mut RecordSet)) {
    let name = |s: &str| s.parse().expect("a name");
    let mut zone = Zone::new(ZONE_ID, name(ZONE_NAME), false);
    let check = failoverd::sim::world::route53::fixture::CHECK_CONTROL_USE1;
    for (identifier, role, address) in [
        ("us-east-1", FailoverRole::Primary, PRIMARY_ADDRESS),
        ("us-west-2", FailoverRole::Secondary, SECONDARY_ADDRESS),
    ] {
        let mut record = RecordSet {
            routing: Routing::Failover { set_identifier: identifier.to_owned(), role },
            health_check_id: Some(check.to_owned()),
            ..RecordSet::simple(name(RECORD_NAME), RrType::A, 60, vec![address.to_string()])
        };
        change(&mut record);
        zone.seed(record);
    }
    world.route53.put_zone(zone);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_nothing_turns_or_that_answers_otherwise_blocks() {
    let unturned = |w: &mut World| zone(w, |record| record.health_check_id = None);
    let found = after(7, |_| (), unturned).await;
    only(&found, Kind::Record, State::NotMet, "`us-east-1` has no health check: nothing turns traffic away", 40);
    let elsewhere = |app: &mut Application| {
        let answers = app.traffic.values_mut().flat_map(|t| t.answers.iter_mut());
        answers.filter(|(at, _)| **at == region("us-west-2")).for_each(|(_, to)| *to = "192.0.2.7".to_owned());
    };
    let found = after(7, elsewhere, |_| ()).await;
    only(&found, Kind::Record, State::NotMet, "no record answers 192.0.2.7 for us-west-2", 40);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_is_denied_is_not_met_and_names_the_action() {
    let denied = |w: &mut World| w.set_plane(Plane::Sns, &region("us-west-2"), Reach::DeniesAccess);
    let found = after(8, |_| (), denied).await;
    only(&found, Kind::Permission, State::NotMet, "the daemon's role lacks the permission sns:GetTopicAttributes", 90);
}

/// Silence is no answer: nothing that was not seen counts as met.
#[tokio::test(start_paused = true)]
async fn what_aws_does_not_answer_is_unknown_and_lowers() {
    let silent = |w: &mut World| w.set_plane(Plane::Rds, &region("us-west-2"), Reach::Hangs);
    let found = after(9, |_| (), silent).await;
    let of_rds = [Kind::Target, Kind::Version, Kind::Capacity, Kind::Quota, Kind::Parameter];
    let there = way(&found).checks.iter().filter(|c| of_rds.contains(&c.kind));
    let met: Vec<&Check> = there.filter(|c| c.state != State::Unknown).collect();
    assert!(met.is_empty(), "{met:#?}");
    // 30 for the target, 5 each for version, capacity, quota and the parameter; advice costs nothing.
    assert_eq!(points(&found), 50, "{:#?}", lowering(&found));
    assert!(!way(&found).is_blocked(), "nothing is known to stop a failover");
}

#[tokio::test(start_paused = true)]
async fn a_runbook_that_was_changed_since_it_was_proven_is_named() {
    let mut scene = Scene::payments(10, 240);
    let live = started(&scene, setup()).await;
    let run = live.begin(Wish::Failover).await;
    live.approve(&run).await;
    assert_eq!(live.outcome(&run, 3_600).await, Played::Finished(RunResult::Succeeded));
    let name = "region-failover".parse().expect("a name");
    let says = |live: &Live| {
        let found = now(live).found.expect("a round");
        let check = way(&found).checks.iter().find(|c| c.kind == Kind::Runbook).cloned();
        check.expect("the runbook is looked at")
    };
    let since = now(&live).rounds;
    live.until("a round after the run", 600, |live| since < now(live).rounds).await;
    assert_eq!(says(&live).state, State::Met, "{:?}", says(&live));
    drop(live);
    let (runbook, _) = scene.runbooks.remove(&name).expect("it ships");
    scene.runbooks.insert(name, (runbook, Digest::of(b"another file")));
    let arrange = |parts| failoverd::engine::Parts { preflight: Some(setup()), ..parts };
    let live = scene.start_as(0, scene.reopened(), Faults::default(), arrange).await;
    found(&live).await;
    let check = says(&live);
    assert_eq!((check.state, check.class), (State::NotMet, Class::Degrading));
    assert!(
        check.seen.starts_with("changed since it was proven on ") && check.seen.contains(run.as_str()),
        "{check:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_looked_at_beside_a_run_and_whoever_asks_is_told() {
    let scene = Scene::payments(11, 240);
    let live = started(&scene, setup()).await;
    found(&live).await;
    let run = live.begin(Wish::Failover).await;
    live.until_running(&run, "approve").await;
    let before = now(&live).rounds;
    let asked = live.engine.preflight_now(&payments()).await.expect("answered").expect("it is looked at");
    assert_eq!(asked.rounds, before);
    assert!(asked.waits.as_deref().is_some_and(|why| why.contains(run.as_str())), "{asked:?}");
    live.pass(600).await;
    assert_eq!(now(&live).rounds, before, "ten minutes of a run, and no round");
    live.answer(&run, "second", true).await.expect("approved");
    assert_eq!(live.outcome(&run, 3_600).await, Played::Finished(RunResult::Succeeded));
    live.until("it looks again", 600, |live| before < now(live).rounds).await;
    let found = now(&live).found.expect("a round");
    assert_eq!(way(&found).target, region("us-east-1"), "the way out is the other one now");
}

/// The score is of a way out that the run may be taking: it goes when the run begins, and comes with the next look.
#[tokio::test(start_paused = true)]
async fn a_score_is_taken_away_when_a_run_begins() {
    let scene = Scene::payments(14, 240);
    let live = started(&scene, setup()).await;
    let score = |live: &Live| found_now(live).score(live.clock.wall());
    found(&live).await;
    assert_eq!(score(&live), Some(100));
    let run = live.begin(Wish::Failover).await;
    live.until_running(&run, "approve").await;
    assert_eq!((score(&live), found_now(&live).directions.len()), (None, 0), "no number, and nothing to read as one");
    live.act(&run, Act::Abort).await.expect("aborted");
    assert_eq!(live.outcome(&run, 600).await, Played::Finished(RunResult::Aborted));
    live.until("it is looked at again", 600, |live| score(live) == Some(100)).await;
}

#[tokio::test(start_paused = true)]
async fn who_asks_is_answered_within_a_second_and_does_not_begin_a_second_round() {
    let scene = Scene::payments(12, 240);
    let live = started(&scene, setup()).await;
    live.world.now(|w| w.set_plane(Plane::Rds, &region("us-west-2"), Reach::Hangs));
    let began = live.clock.boot();
    for _ in 0..2 {
        let asked = live.engine.preflight_now(&payments()).await.expect("answered").expect("it is looked at");
        assert!(asked.under_way && asked.found.is_none(), "{asked:?}");
    }
    assert!(live.clock.boot() - began < Duration::from_secs(2));
    live.until("the round ends", 120, |live| !now(live).under_way).await;
    assert_eq!(now(&live).rounds, 1);
}

/// The effects that AWS has seen, and how long the journal is.
fn done(live: &Live) -> (usize, usize, usize) {
    live.world.now(|w| (w.aurora.effects.len(), w.arc.effects.len(), w.sns.delivered.len()))
}

#[tokio::test(start_paused = true)]
async fn it_changes_nothing_writes_nothing_and_starts_nothing() {
    let scene = Scene::payments(13, 240);
    let live = started(&scene, setup()).await;
    found(&live).await;
    let (before, tail) = (done(&live), live.engine.history(&payments()).expect("a history").tail.clone());
    live.pass(3_600).await;
    assert!(10 <= now(&live).rounds, "{:?}", now(&live).rounds);
    assert_eq!(done(&live), before);
    let history = live.engine.history(&payments()).expect("a history");
    assert_eq!((&history.tail, history.runs.len()), (&tail, 0));
}

/// How long the failover out of a lost Region took, and what it journalled.
async fn failover(with: Option<Setup>) -> (Duration, Vec<String>) {
    let scene = Scene::payments(14, 240);
    let arrange = |parts| failoverd::engine::Parts { preflight: with, ..parts };
    let live = scene.start_as(0, scene.reopened(), Faults::default(), arrange).await;
    live.ready().await;
    live.pass(400).await;
    live.lose("us-east-1");
    live.pass(5).await;
    let run = live.begin(Wish::Failover).await;
    live.approve(&run).await;
    assert_eq!(live.outcome(&run, 3_600).await, Played::Finished(RunResult::Succeeded));
    let state = live.run(&run);
    let Phase::Finished { at, .. } = state.phase else { panic!("{:?}", state.phase) };
    let records = live.engine.records(&run).await.expect("its records");
    let steps = records.iter().flat_map(|record| {
        let after = record.at.duration_since(state.started_at);
        let done = |event: &Event| match event {
            Event::StepDone { step, .. } => Some(format!("{step} after {after:?}")),
            _ => None,
        };
        record.events.iter().filter_map(done).collect::<Vec<_>>()
    });
    let steps = steps.collect();
    (Duration::try_from(at.duration_since(state.started_at)).expect("time goes on"), steps)
}

#[tokio::test(start_paused = true)]
async fn a_failover_takes_exactly_as_long_as_without_it() {
    let (without, steps) = failover(None).await;
    let (with, same_steps) = failover(Some(setup())).await;
    assert_eq!((with, same_steps), (without, steps));
}

/// What `failoverd preflight` says as JSON, and its exit code.
async fn asked(daemon: &Daemon, args: &[&str]) -> (i32, Value) {
    let mut words = vec!["--json", "preflight", "payments"];
    words.extend_from_slice(args);
    let (code, out) = said(daemon, &words).await;
    let found: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"));
    (code, found["preflights"][0].clone())
}

async fn said(daemon: &Daemon, words: &[&str]) -> (i32, String) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_failoverd"))
        .args(words)
        .env_clear()
        .env("FAILOVERD_URL", &daemon.url)
        .env("FAILOVERD_TOKEN", "alice-kill-token")
        .output()
        .await
        .expect("the binary runs");
    let code = output.status.code().expect("it ended by itself");
    (code, String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The kinds that take points, with what they take.
fn taken(found: &Value) -> Vec<(String, u64)> {
    let checks = found["directions"][0]["checks"].as_array().expect("checks").iter();
    let points = |c: &Value| c["points"].as_u64().expect("a number");
    let name = |c: &Value| c["kind"].as_str().expect("a word").to_owned();
    checks.filter(|c| points(c) != 0).map(|c| (name(c), points(c))).collect()
}

/// The binary, the real SDKs and the simulated AWS over HTTP, asked by the command line.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_the_verb_looks_now_says_what_lowers_and_sends_nothing_that_changes() {
    let stage = Stage::build(Setting::seeded(71)).await;
    let daemon = stage.start(None).await.listening().expect("it starts");
    // Nobody has looked yet: that is no score, and no way out.
    let (code, first) = asked(&daemon, &[]).await;
    assert_eq!((code, &first["score"]), (3, &Value::Null), "{first:#}");
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    let found = loop {
        let (_, found) = asked(&daemon, &["--now"]).await;
        if !found["score"].is_null() {
            break found;
        }
        assert!(std::time::Instant::now() < deadline, "{found:#}; {}", stage.logs());
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    // This stage's configuration says a TTL of 1 s, and its records have 60.
    assert_eq!((taken(&found), found["score"].as_u64()), (vec![("ttl".to_owned(), 10)], Some(90)), "{found:#}");
    stage.world.world.with(|w: &mut World| {
        let cluster = w.aurora.cluster_mut(STANDBY).expect("the standby");
        cluster.parameters.insert("rds.global_db_rpo".to_owned(), "20".to_owned());
        w.set_plane(Plane::Sns, &region("us-west-2"), Reach::DeniesAccess);
    });
    let metrics =
        reqwest::get(format!("{}/metrics", daemon.url)).await.expect("answered").text().await.expect("a text");
    for series in
        ["failoverd_preflight_score{", "failoverd_preflight_blocked{", "failoverd_preflight_timestamp_seconds{"]
    {
        assert!(metrics.contains(series), "the daemon's own composition tells its metrics of it: {series}");
    }
    let (code, found) = asked(&daemon, &["--now"]).await;
    let kinds: BTreeSet<String> = taken(&found).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["parameter", "permission", "ttl"].map(str::to_owned).into(), "{found:#}");
    assert_eq!((code, found["score"].as_u64()), (0, Some(70)), "nothing blocks: {found:#}");
    stage.world.world.with(|w: &mut World| faults::apply(w, &Trouble::Headless { region: region("us-west-2") }));
    let (code, text) = said(&daemon, &["preflight", "payments", "--now"]).await;
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("us-east-1 -> us-west-2: ") && text.contains("BLOCKED"), "{text}");
    let worst = text.lines().find(|line| line.contains("NOT MET")).expect("a line");
    assert!(worst.contains("-60 NOT MET  target orders (us-west-2)"), "the worst first: {text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80 || !line.trim().contains(' ')), "80 columns: {text}");
    let effects = stage.effects();
    assert_eq!(effects.count(), 0, "{effects:?}");
    let changing =
        |operation: &str| !["Describe", "Get", "List", "Head", "Simulate"].iter().any(|v| operation.starts_with(v));
    let asked = stage.world.requests.all();
    assert!(asked.iter().any(|r| r.operation == "DescribeDBClusterParameters"), "{asked:?}");
    let sent: Vec<&String> = asked.iter().map(|r| &r.operation).filter(|o| changing(o)).collect();
    assert!(sent.is_empty(), "{sent:?}");
    daemon.kill().await;
    let records = stage.records().await.expect("the journal verifies");
    assert!(!records.iter().any(|r| r.events.iter().any(|e| matches!(e, Event::RunStarted { .. }))));
}

/// What AWS permits, asked by the binary over the wire: who the daemon is of STS in the Region to go to, the rest of IAM.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_what_aws_permits_is_asked_over_the_wire_and_nothing_is_changed() {
    let stage = Stage::build(Setting::seeded(72)).await;
    let daemon = stage.start(None).await.listening().expect("it starts");
    let permission = |found: &Value| {
        let checks = found["directions"][0]["checks"].as_array().expect("checks").clone();
        checks.into_iter().filter(|c| c["kind"] == "permission").collect::<Vec<_>>()
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    let met = loop {
        let (_, found) = asked(&daemon, &["--now", "--all"]).await;
        if !found["score"].is_null() {
            break found;
        }
        assert!(std::time::Instant::now() < deadline, "{found:#}; {}", stage.logs());
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    // The 10 are of this stage's own TTL.
    assert_eq!((taken(&met), met["score"].as_u64()), (vec![("ttl".to_owned(), 10)], Some(90)), "{met:#}");
    let checks = permission(&met);
    assert!(checks.len() == 1 && checks[0]["state"] == "met", "{checks:#?}");
    let says = |world: &dyn Fn(&mut World)| stage.world.world.with(|w| world(w));
    says(&|w| w.services.iam.deny(PROMOTE, Denial::Implicit));
    let (code, denied) = asked(&daemon, &["--now", "--all"]).await;
    let check = permission(&denied).into_iter().find(|c| c["subject"] == PROMOTE).expect("it is named");
    assert_eq!((code, &check["state"], &check["class"]), (3, &"not_met".into(), &"blocking".into()), "{check:#}");
    assert!(check["seen"].as_str().is_some_and(|s| s.contains(STANDBY) && s.contains("implicitDeny")), "{check:#}");
    assert!(denied["score"].as_u64().is_some_and(|score| score <= 40), "{denied:#}");
    says(&|w| w.services.iam.deny(PROMOTE, Denial::Unless("aws:SourceVpc")));
    let (_, unclear) = asked(&daemon, &["--now", "--all"]).await;
    let check = permission(&unclear).into_iter().find(|c| c["subject"] == PROMOTE).expect("it is named");
    assert!(check["state"] == "unknown" && check["seen"].as_str().is_some_and(|s| s.contains("aws:SourceVpc")));
    says(&|w| w.services.iam.deny("iam:SimulatePrincipalPolicy", Denial::Implicit));
    let (code, refused) = asked(&daemon, &["--now", "--all"]).await;
    let checks = permission(&refused);
    assert_eq!((code, checks.len(), refused["score"].as_u64()), (0, 1, Some(90)), "{refused:#}");
    assert!(checks[0]["state"] == "unknown" && checks[0]["class"] == "advisory", "{checks:#?}");
    assert!(checks[0]["seen"].as_str().is_some_and(|s| s.contains("lacks the permission iam:SimulatePrincipalPolicy")));
    let asked = stage.world.requests.all();
    let regions = |operation: &str| -> BTreeSet<String> {
        asked.iter().filter(|r| r.operation == operation).map(|r| r.region.clone()).collect()
    };
    assert_eq!(regions("GetCallerIdentity"), BTreeSet::from(["us-west-2".to_owned()]), "never a global STS");
    assert_eq!(regions("SimulatePrincipalPolicy"), BTreeSet::from(["us-east-1".to_owned()]));
    assert!(asked.iter().all(|r| !r.effect), "{asked:?}");
    assert_eq!(stage.effects().count(), 0);
    daemon.kill().await;
}

/// A shipped configuration, in the world that a rehearsal gives it.
async fn example(name: &str) -> (Scene, Live) {
    let start = "2026-11-20T10:00:00Z".parse().expect("an instant");
    let scene = Scene::staged(&format!("config/examples/{name}.toml"), 15, start);
    let arrange = |parts| failoverd::engine::Parts { preflight: Some(setup()), ..parts };
    let live = scene.start_as(0, scene.reopened(), Faults::default(), arrange).await;
    (scene, live)
}

/// What each reference system lacks where all is well is named, and blocks nothing.
#[tokio::test(start_paused = true)]
async fn no_reference_system_is_blocked_where_all_is_well() {
    for name in ["payments-fast", "payments-audited", "payments-regulated", "migration-hub", "transactions"] {
        let (_scene, live) = example(name).await;
        let found = found(&live).await;
        let open: Vec<_> = lowering(&found).into_iter().map(|(c, points)| format!("-{points} {c:?}")).collect();
        assert!(!way(&found).is_blocked() && 80 <= points(&found), "{name}: {open:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_that_stands_for_the_standby_while_the_application_is_at_home_blocks() {
    let (scene, live) = example("storefront").await;
    let at_home = found(&live).await;
    assert!(!way(&at_home).is_blocked(), "{:#?}", lowering(&at_home));
    let mechanism = &scene.application.traffic.values().next().expect("an entry").mechanism;
    let Mechanism::StandbyObject { object, .. } = mechanism else { panic!("an object") };
    live.world.now(|w| w.s3.seed(&object.bucket, &object.key, w.now));
    let before = now(&live).rounds;
    live.until("the next round", 400, |live| before < now(live).rounds).await;
    let found = now(&live).found.expect("a round");
    let (worst, taken) = lowering(&found).remove(0);
    assert_eq!((worst.kind, worst.state, taken), (Kind::Traffic, State::NotMet, 60), "{worst:#?}");
    assert!(worst.seen.contains("somebody has put it"), "{worst:#?}");
}
