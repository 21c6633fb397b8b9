//! A year of scheduled drills in virtual time: the production engine, the shipped configuration of payments-audited, and
//! its simulated Regions, over both changes of the clocks, a freeze, deaths of the daemon, a long outage of it, and one
//! real disaster in the middle of a drill.
//!
//! A virtual year with a second of the world for each of its seconds would take hours, so idle time is left out: once
//! nothing is due for some minutes and no run is at work, the process ends, and the next one finds a world in which all has been
//! well, minutes before something is due. The journal goes on through all of it; each process is a new leader.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use failoverd::{
    domain::{
        action::Action,
        application::Application,
        calendar::{Blackout, Window},
        history::History,
        id::{RunId, ScheduleName},
        journal::Event,
        proof::{Kind, Readiness, State},
        run::{Phase, RunResult, RunState, StepState},
        schedule::{self, Due, Note, Schedule},
    },
    engine::{
        control::{Act, Control as _, Refusal, Started, Wish},
        recover,
    },
    ports::Clock as _,
};
use jiff::{SignedDuration, Timestamp};

use crate::support::{Live, Scene, incarnation, payments, region};

const WEEKLY: &str = "weekly-readiness";
const MONTHLY: &str = "monthly-api";
const QUARTERLY: &str = "quarterly-aurora";
const YEARLY: &str = "yearly-complete";

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

fn name(text: &str) -> ScheduleName {
    text.parse().expect("a name")
}

/// How a process ended.
enum End {
    /// Nothing is due before this instant.
    Idle(Timestamp),
    /// Killed in the middle of a drill.
    Killed,
}

/// What happens once in the year.
#[derive(Debug, Default)]
struct Told {
    killed: bool,
    disaster: Option<(RunId, RunId)>,
}

struct Year {
    scene: Scene,
    told: Told,
    until: Timestamp,
}

impl Year {
    /// From 22 November 2026 on. The weekly and the monthly drill are moved into the hours that a change of the clocks
    /// leaves out and brings twice; windows, and what is asked of the time before, are shorter than shipped, as each
    /// hour of them costs the test seconds.
    fn new(seed: u64) -> Self {
        let mut scene = Scene::staged("config/examples/payments-audited.toml", seed, at("2026-11-22T00:00:00Z"));
        for schedule in &mut scene.application.schedules {
            match schedule.name.as_str() {
                WEEKLY => schedule.cron = "30 2 * * sun".parse().expect("a cron"),
                MONTHLY => schedule.cron = "30 1 * 2,3,5,6,8,9,11,12 sun#1".parse().expect("a cron"),
                _ => {}
            }
            if let Some(calm) = &mut schedule.calm {
                calm.over = Duration::from_mins(3);
                calm.impact = 0.1;
            }
            schedule.start_within = schedule.start_within.min(Duration::from_mins(5));
        }
        let when = Window::Once { from: at("2027-04-12T00:00:00Z"), to: at("2027-04-15T00:00:00Z") };
        scene.application.policy.blackouts.push(Blackout { reason: "a freeze".to_owned(), when });
        Self { scene, told: Told::default(), until: at("2027-11-22T00:00:00Z") }
    }

    /// The daemon is down from the first to the second.
    const OUTAGE: (&str, &str) = ("2027-06-05T12:00:00Z", "2027-06-10T12:00:00Z");

    /// How long before `next` a process must be there: in time for what is asked of the minutes before.
    fn lead(&self, history: &History, next: Timestamp) -> SignedDuration {
        let is_due = |schedule: &&Schedule| {
            let settled = history.schedules.get(&schedule.name).map(|followed| followed.settled);
            let occurrence = settled.and_then(|settled| schedule.after(settled));
            occurrence.is_some_and(|of| schedule.openings(of).any(|opening| opening.from == next))
        };
        let calm = self.scene.application.schedules.iter().filter(is_due).filter_map(|schedule| schedule.calm);
        let longest = calm.map(|calm| calm.over).max().unwrap_or_default();
        SignedDuration::from_secs(75) + SignedDuration::try_from(longest).expect("minutes")
    }

    /// Plays the year; the history at its end, and how many processes there were.
    fn play(&mut self) -> (Arc<History>, u32) {
        let (mut processes, mut dead) = (0, 0);
        loop {
            processes += 1;
            let (end, history) = incarnation(live(&self.scene, &mut self.told, dead));
            let next = match end {
                End::Killed => {
                    dead = 60;
                    continue;
                }
                End::Idle(next) => next,
            };
            if self.until <= next {
                return (history, processes);
            }
            let mut wakes = next - self.lead(&history, next);
            if at(Self::OUTAGE.0) <= wakes && wakes < at(Self::OUTAGE.1) {
                wakes = at(Self::OUTAGE.1);
            }
            dead = 0;
            self.scene.restage(u64::from(processes), wakes);
        }
    }
}

/// One process, from its start until nothing is due or it is killed.
async fn live(scene: &Scene, told: &mut Told, dead: u64) -> (End, Arc<History>) {
    let live = scene.start(dead).await;
    live.ready().await;
    loop {
        live.pass(10).await;
        let (history, now) = (history(&live), live.wall.wall());
        let Some(run) = history.active_run() else {
            match next_due(&scene.application, &history, now) {
                next if now + SignedDuration::from_mins(8) < next => {
                    // What a drill has moved is home again, and writes are taken there.
                    assert_eq!(live.assessment().active_region, Some(region("us-east-1")), "at {now}");
                    return (End::Idle(next), history);
                }
                _ => continue,
            }
        };
        agree(&live, run).await;
        let (schedule, _) = schedule::occurrence_of(&run.request).expect("nobody else begins anything");
        assert!(!matches!(run.phase, Phase::Held { .. }), "{schedule} of {now} is held: {:?}", run.phase);
        let stays = run.steps.iter().any(|(id, state)| id.as_str() == "stay" && state.is_in_flight());
        let is_quarterly = schedule.as_str() == QUARTERLY;
        if stays && is_quarterly && told.disaster.is_none() {
            told.disaster = Some(disaster(&live, &run.id.clone()).await);
        } else if stays && is_quarterly && at("2027-07-01T00:00:00Z") < now && !told.killed {
            told.killed = true;
            return (End::Killed, history);
        }
    }
}

fn history(live: &Live) -> Arc<History> {
    live.engine.history(&payments()).expect("a history")
}

/// When a schedule is next to be looked at.
fn next_due(app: &Application, history: &History, now: Timestamp) -> Timestamp {
    let due = app.schedules.iter().map(|schedule| {
        let Some(followed) = history.schedules.get(&schedule.name) else { return now };
        match schedule.due(followed, now) {
            Due::Nothing { until } => until.unwrap_or(Timestamp::MAX),
            Due::Announce { .. } | Due::Begin { .. } | Due::Missed { .. } => now,
        }
    });
    due.min().expect("there are schedules")
}

/// A second person agrees with whatever asks for one.
async fn agree(live: &Live, run: &RunState) {
    let asks = |step: &&failoverd::domain::plan::PlannedStep| {
        matches!(step.action, Action::Approve { .. })
            && matches!(run.steps[&step.id], StepState::Running { .. })
            && run.approvals.get(&step.id).is_none_or(Vec::is_empty)
    };
    for step in run.plan.steps.iter().filter(asks) {
        let act = Act::Approve { step: step.id.clone(), approved: true, digest: run.plan_digest.clone() };
        live.engine_act(&run.id, act, "second").await.expect("approved");
    }
}

/// The Region that serves in the middle of the drill is lost; people fail over home, and it comes back. The drill and
/// the failover.
async fn disaster(live: &Live, drill: &RunId) -> (RunId, RunId) {
    let lost = region("us-east-2");
    assert_eq!(live.assessment().active_region.as_ref(), Some(&lost), "the drill has moved it there");
    live.lose("us-east-2");
    live.pass(90).await;
    let mut asked = Live::request(Wish::Failover);
    asked.target = Some(region("us-east-1"));
    let patience = live.wall.wall() + SignedDuration::from_mins(30);
    let run = loop {
        assert!(live.wall.wall() < patience, "the failover is not taken");
        match live.ask(asked.clone()).await {
            Ok(Started::Run { id, supersedes }) => {
                assert_eq!(supersedes.as_ref(), Some(drill), "the emergency wins");
                break id;
            }
            Err(Refusal::AlreadyRunning { .. } | Refusal::Gate { .. }) => live.pass(10).await,
            other => panic!("{other:?}"),
        }
    };
    let deadline = live.wall.wall() + SignedDuration::from_hours(2);
    while !live.run(&run).is_finished() {
        assert!(live.wall.wall() < deadline, "{:?}", live.run(&run).phase);
        agree(live, &live.run(&run)).await;
        if matches!(live.run(&run).phase, Phase::Held { .. }) {
            live.act(&run, Act::Resume).await.expect("resumed");
        }
        live.pass(10).await;
    }
    let phase = live.run(&run).phase.clone();
    assert!(matches!(phase, Phase::Finished { result: RunResult::Succeeded, .. }), "{phase:?}");
    live.pass(60).await;
    assert_eq!(live.assessment().active_region, Some(region("us-east-1")), "served from home again");
    live.world.now(|world| world.restore_region(&lost));
    live.reconcile(&run).await;
    live.pass(300).await;
    (drill.clone(), run)
}

/// The runs of each schedule by occurrence.
fn begun(history: &History) -> BTreeMap<ScheduleName, BTreeMap<Timestamp, Arc<RunState>>> {
    let mut all: BTreeMap<ScheduleName, BTreeMap<Timestamp, Arc<RunState>>> = BTreeMap::new();
    for run in history.runs.values() {
        let Some((schedule, occurrence)) = schedule::occurrence_of(&run.request) else { continue };
        let twice = all.entry(schedule.clone()).or_default().insert(occurrence, Arc::clone(run));
        assert!(twice.is_none(), "{schedule} of {occurrence} began twice");
    }
    all
}

#[test]
fn a_year_of_scheduled_drills_over_changes_of_the_clocks_a_freeze_deaths_and_a_disaster() {
    let mut year = Year::new(2_027);
    let (history, processes) = year.play();
    assert!(60 < processes, "{processes}");
    let app = &year.scene.application;
    let (from, until) = (at("2026-11-22T00:00:00Z"), year.until);
    let (drill, failover) = year.told.disaster.clone().expect("it came");
    assert!(year.told.killed);
    let begun = begun(&history);
    let mut missed = Vec::new();
    for schedule in &app.schedules {
        let runs = &begun[&schedule.name];
        let followed = history.schedules.get(&schedule.name).expect("followed");
        let due: BTreeSet<Timestamp> = schedule.occurrences(from).take_while(|due| *due < until).collect();
        missed.extend(due.iter().filter(|due| !runs.contains_key(due)).map(|due| (schedule.name.clone(), *due)));
        assert_eq!(followed.began_count, runs.len() as u64);
        assert_eq!(followed.missed_count, (due.len() - runs.len()) as u64, "each is begun or missed");
        for (occurrence, run) in runs {
            let when = format!("{} of {occurrence}, begun at {}", schedule.name, run.started_at);
            assert!(due.contains(occurrence), "{when}");
            let is_open = |o: &schedule::Opening| o.from <= run.started_at && run.started_at < o.to;
            assert!(schedule.openings(*occurrence).any(|o| is_open(&o)), "{when}: outside its windows");
            let mut blackouts = app.policy.blackouts.iter().chain(&schedule.blackouts);
            assert!(!blackouts.any(|blackout| blackout.is_on(run.started_at)), "{when}: in a blackout");
            let wanted = if run.id == drill { RunResult::Superseded } else { RunResult::Succeeded };
            assert!(
                matches!(&run.phase, Phase::Finished { result, .. } if *result == wanted),
                "{when}: {:?}",
                run.phase
            );
        }
    }
    let counts = [WEEKLY, MONTHLY, QUARTERLY, YEARLY].map(|of| begun[&name(of)].len());
    assert_eq!(counts, [52, 8, 4, 1], "each week but one, each month that has no quarterly, each quarter, and once");
    assert_eq!(missed, [(name(WEEKLY), at("2027-06-06T06:30:00Z"))], "what fell into the outage");
    let began = |of: &str, occurrence: &str| begun[&name(of)][&at(occurrence)].started_at;
    let lateness = |of, occurrence: &str| began(of, occurrence).duration_since(at(occurrence)).as_secs();
    // 02:30 did not come on 14 March; 01:30 came twice on 7 November.
    assert!(lateness(WEEKLY, "2027-03-14T07:00:00Z") < 60);
    assert!(lateness(MONTHLY, "2027-11-07T05:30:00Z") < 60);
    assert!(!begun[&name(MONTHLY)].contains_key(&at("2027-11-07T06:30:00Z")));
    // The freeze, and the outage: caught up at the same local hour.
    let caught_up = began(QUARTERLY, "2027-04-13T14:00:00Z");
    assert!(at("2027-04-15T14:00:00Z") <= caught_up && caught_up < at("2027-04-15T14:01:00Z"), "{caught_up}");
    let caught_up = began(MONTHLY, "2027-06-06T05:30:00Z");
    assert!(at("2027-06-11T05:30:00Z") <= caught_up && caught_up < at("2027-06-11T05:31:00Z"), "{caught_up}");
    noted(&year.scene);
    assert!(history.runs[&failover].request.supersedes.as_ref() == Some(&drill));
    for kind in [Kind::Readiness, Kind::Traffic, Kind::Switchover, Kind::Failover] {
        assert!(history.proofs.of(kind).is_some(), "{kind:?}");
    }
    let readiness = Readiness::of(app, &history, until);
    assert_eq!((readiness.state, readiness.reasons), (State::Green, Vec::new()));
    let writer = year.scene.world.lock().expect("nobody panics while holding it");
    let global = &app.stores.values().next().expect("a store").global_cluster;
    assert_eq!(writer.aurora.writer_of(global).map(|w| w.region.clone()), Some(region("us-east-1")), "at home");
}

/// What was told in the journal: each occurrence that is announced once, and the missed one with its reason.
fn noted(scene: &Scene) {
    let records = incarnation(recover::records(&scene.journal, &payments())).expect("the journal is whole");
    let mut announced: BTreeMap<ScheduleName, u32> = BTreeMap::new();
    let mut missed = Vec::new();
    let mut not_begun = BTreeSet::new();
    for event in records.iter().flat_map(|record| &record.events) {
        let Event::ScheduleNoted { schedule, note } = event else { continue };
        match note {
            Note::Announced { .. } => *announced.entry(schedule.clone()).or_default() += 1,
            Note::Missed { reason, .. } => missed.push((schedule.clone(), reason.clone())),
            Note::NotBegun { code, .. } => _ = not_begun.insert((schedule.as_str().to_owned(), code.clone())),
            Note::Followed { .. } | Note::Dropped => {}
        }
    }
    let wanted = BTreeMap::from([(name(MONTHLY), 8), (name(QUARTERLY), 4), (name(YEARLY), 1)]);
    assert_eq!(announced, wanted);
    assert!(not_begun.contains(&(QUARTERLY.to_owned(), "blackout".to_owned())), "{not_begun:?}");
    let [(schedule, reason)] = &missed[..] else { panic!("{missed:?}") };
    assert_eq!(schedule.as_str(), WEEKLY);
    assert!(reason.contains("nobody was there"), "{reason}");
}
