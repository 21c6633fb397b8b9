use std::time::Duration;

use super::*;
use crate::domain::{
    history::tests::{run_id, started},
    id::Digest,
    journal::SCHEMA_VERSION,
};

fn app() -> ApplicationName {
    "payments".parse().expect("a name")
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).expect("a time")
}

fn run() -> RunId {
    "payments-0123456789abcdef0123456789abcdef".parse().expect("an id")
}

fn record(seq: u64, events: Vec<Event>) -> Record {
    let (at, schema_version) = (at(i64::try_from(seq).expect("small")), SCHEMA_VERSION);
    Record { journal: app(), seq, epoch: 1, at, schema_version, events, prev_hash: Digest::zero() }
}

fn decided(verdict: &str, health: &str) -> Event {
    let (verdict, health, reasons) = (verdict.to_owned(), health.to_owned(), vec!["use1 answers 503".to_owned()]);
    let (rules, signals) = (Vec::new(), BTreeMap::new());
    Event::DecisionChanged { verdict, health, reasons, rules, signals, would_start: false, suppressed: 0 }
}

fn held(run: &RunId) -> Event {
    Event::RunHeld {
        run: run.clone(),
        step: Some("check".parse().expect("a step")),
        code: "gate-rpo".to_owned(),
        reason: "lag 40 s is over the bound of 30 s".to_owned(),
        waits_for: "an operator".to_owned(),
    }
}

/// Every message of a story, one line each: what a person would read, one after the other.
fn story(events: Vec<Event>) -> Vec<String> {
    let mut telling = Telling::default();
    let records = events.into_iter().enumerate().map(|(seq, event)| record(seq as u64, vec![event]));
    let told: Vec<_> = records.flat_map(|record| telling.tell(&record)).collect();
    told.iter()
        .map(|n| format!("{} {} {}: {}", n.severity, n.incident.act.as_str(), n.incident.key, n.headline))
        .collect()
}

#[test]
fn health_is_told_when_it_changes_and_when_it_is_back() {
    let told = story(vec![
        decided("nothing", "healthy"),
        decided("nothing", "degraded"),
        decided("notify", "impaired"),
        decided("recommend", "down"),
        decided("recommend", "impaired"),
        decided("nothing", "unknown"),
        decided("nothing", "healthy"),
        decided("nothing", "healthy"),
    ]);
    assert_eq!(
        told,
        [
            "ticket trigger payments/health: payments is degraded",
            "page trigger payments/health: payments is impaired",
            "page trigger payments/health: payments is down: a failover is recommended",
            "page trigger payments/health: payments is impaired",
            "ticket trigger payments/health: payments: too little is known to say how it is",
            "info resolve payments/health: payments is healthy again",
        ]
    );
}

#[test]
fn a_start_is_no_trouble_and_its_end_no_relief() {
    assert_eq!(story(vec![decided("notify", "unknown"), decided("nothing", "healthy")]), [] as [String; 0]);
    let mut telling = Telling::default();
    telling.pass(&record(0, vec![decided("recommend", "down")]));
    assert_eq!(telling.tell(&record(1, vec![decided("nothing", "healthy")])), [], "nobody was told of the trouble");
}

#[test]
fn the_story_of_a_failover_is_one_incident_with_an_end() {
    let (run, began) = (run_id(1), started(Purpose::Failover, 1));
    let (subject, reason) = ("alice".parse::<crate::domain::id::Subject>().expect("a subject"), "seen".to_owned());
    let resumed = Event::RunResumed { run: run.clone(), subject, reason };
    let ended = Event::RunFinished {
        run: run.clone(),
        result: RunResult::Succeeded,
        reason: "the application is served".to_owned(),
        loss: None,
    };
    let told = story(vec![began, held(&run), resumed, ended]);
    let key = format!("payments/{run}");
    assert_eq!(told.len(), 4, "{told:#?}");
    assert!(told[0].starts_with("page acknowledge payments/health: payments: a failover"), "{}", told[0]);
    assert_eq!(told[1], format!("page trigger {key}: payments: the failover is held and waits for an operator"));
    assert_eq!(told[2], format!("info acknowledge {key}: payments: alice let the run go on"));
    assert_eq!(told[3], format!("info resolve {key}: payments: the failover succeeded"));
}

#[test]
fn a_hold_says_why_for_whom_and_what_to_do() {
    let mut telling = Telling::default();
    let told = telling.tell(&record(3, vec![Event::EpochStarted { holder: "a".to_owned() }, held(&run())]));
    let [notice] = &told[..] else { panic!("{told:?}") };
    assert_eq!(notice.id.as_str(), "payments/3/1");
    insta::assert_snapshot!(notice.text(Some("https://failoverd.example.com")), @r"
    payments: the run is held and waits for an operator

    why: lag 40 s is over the bound of 30 s
    code: gate-rpo (docs/errors/gate-rpo.md)
    waits for: an operator
    step: check

    Next: failoverd watch payments-0123456789abcdef0123456789abcdef, then resume, retry, skip or abort.

    https://failoverd.example.com/runs/payments-0123456789abcdef0123456789abcdef
    run_held at 2023-11-14T22:13:23Z (page, payments/3/1)
    ");
}

#[test]
fn another_leader_is_told_of_and_the_first_is_not() {
    let epoch = |holder: &str| Event::EpochStarted { holder: holder.to_owned() };
    let told = story(vec![epoch("a"), epoch("b"), epoch("b")]);
    assert_eq!(told, ["info acknowledge payments/health: payments: another process of failoverd leads"]);
}

fn kill_switch(asked: i64, until: i64) -> Override {
    Override {
        id: OverrideId::new(&app(), 7),
        kind: OverrideKind::KillSwitch,
        by: "alice".parse().expect("a subject"),
        reason: "maintenance".to_owned(),
        asked_at: at(asked),
        expires_at: at(until),
        bound_to: None,
        consent: None,
        ended: None,
    }
}

#[test]
fn a_kill_switch_is_remembered_each_day_and_before_it_ends_each_once() {
    const HOUR: i64 = 3600;
    let mut telling = Telling::default();
    let switch = kill_switch(0, 50 * HOUR);
    let mut told = Vec::new();
    for hour in 0..50 {
        for _twice in 0..2 {
            let made = telling.remind(&app(), [&switch].into_iter(), at(hour * HOUR));
            told.extend(made.into_iter().map(|n| (hour, n.headline, n.id.to_string())));
        }
        // What was said survives a takeover.
        telling = serde_json::from_str(&serde_json::to_string(&telling).expect("json")).expect("a fold");
    }
    let id = OverrideId::new(&app(), 7);
    assert_eq!(
        told,
        [
            (24, "payments: the kill switch has been on for 1 day(s)".to_owned(), format!("payments/{id}/day-1")),
            (48, "payments: the kill switch has been on for 2 day(s)".to_owned(), format!("payments/{id}/day-2")),
            (49, "payments: the kill switch ends within an hour".to_owned(), format!("payments/{id}/expiring")),
        ]
    );
    assert_eq!(telling.remind(&app(), [].into_iter(), at(51 * HOUR)), []);
    assert_eq!(telling.reminded.len(), 0, "what is over is forgotten");
}

#[test]
fn a_short_override_is_not_told_of_twice() {
    let mut telling = Telling::default();
    let switch = kill_switch(0, 30 * 60);
    assert_eq!(telling.remind(&app(), [&switch].into_iter(), at(60)), []);
    assert_eq!(at(0).duration_since(at(0)), jiff::SignedDuration::try_from(Duration::ZERO).expect("zero"));
}

#[test]
fn the_loss_that_was_measured_is_told_with_its_unit() {
    let loss = LossReport {
        last_surviving_write: None,
        last_seen_write: None,
        first_unanswered: None,
        at_least: Some(Duration::ZERO),
        at_most: Some(Duration::from_millis(1500)),
        basis: "heartbeat".to_owned(),
    };
    let ended = Event::RunFinished { run: run(), result: RunResult::Failed, reason: "no".to_owned(), loss: Some(loss) };
    let told = Telling::default().tell(&record(1, vec![ended]));
    assert_eq!((told[0].severity, told[0].kind), (Severity::Page, Kind::RunFailed));
    assert!(told[0].facts.iter().any(|f| f.name == "writes lost" && f.value == "between 0 s and 1.5 s"), "{told:?}");
}
