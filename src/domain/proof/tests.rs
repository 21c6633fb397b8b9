use super::*;
use crate::domain::{
    history::{
        History,
        tests::{at, done, finished, run_id, started},
    },
    journal::Event,
    run::RunResult,
};

const DAY: i64 = 86_400;

/// A run of `purpose` whose steps `did` are done, which ends so at the second `end`.
fn ran(purpose: Purpose, did: &[&str], result: RunResult, end: i64) -> History {
    let mut history = History::new("payments".parse().expect("a name"));
    history.apply_event(at(0), &started(purpose, 1)).expect("legal");
    for step in did {
        history.apply_event(at(1), &done(step, &[])).expect("legal");
    }
    history.apply_event(at(end), &finished(result)).expect("legal");
    history
}

/// With one name and one database, and nothing else that matters here.
fn application() -> Application {
    let two = |a: &str, b: &str| serde_json::json!({ "us-east-1": a, "us-west-2": b });
    let arn = |region: &str| format!("arn:aws:rds:{region}:123456789012:cluster:orders");
    let mechanism = serde_json::json!({ "kind": "records", "set_identifiers": {} });
    let application = serde_json::json!({
        "name": "payments", "regions": ["us-east-1", "us-west-2"], "replicas": {}, "signals": [], "endpoints": {},
        "objectives": { "rto_seconds": 900.0, "rpo_seconds": 1.0 }, "public_url": null, "runbooks": {}, "topics": [],
        "stores": { "orders": {
            "global_cluster": "orders", "clusters": two(&arn("us-east-1"), &arn("us-west-2")), "lag_metric": "Lag",
        } },
        "traffic": { "api": {
            "record_name": "api.example.com", "record_type": "A", "hosted_zone_id": "Z1", "servers": ["ns"],
            "answers": two("192.0.2.1", "198.51.100.1"), "ttl_seconds": 60.0, "mechanism": mechanism,
        } },
    });
    serde_json::from_value(application).expect("an application")
}

fn proved_at(history: &History, kind: Kind) -> Option<Timestamp> {
    history.proofs.of(kind).map(|proof| proof.at)
}

#[test]
fn a_run_proves_what_it_did_and_nothing_that_it_left_out() {
    let whole = ran(Purpose::Switchover, &["gate", "promote", "verify", "flip", "probe"], RunResult::Succeeded, 60);
    assert_eq!(proved_at(&whole, Kind::Switchover), Some(at(60)));
    assert_eq!(proved_at(&whole, Kind::Traffic), Some(at(60)));
    assert_eq!(proved_at(&whole, Kind::Failover), None);
    assert_eq!(proved_at(&whole, Kind::Readiness), None, "it is no drill on paper");
    let half = ran(Purpose::Switchover, &["gate", "flip"], RunResult::Succeeded, 60);
    assert_eq!((proved_at(&half, Kind::Switchover), proved_at(&half, Kind::Traffic)), (None, Some(at(60))));
    let forced = ran(Purpose::Failover, &["promote", "flip"], RunResult::Succeeded, 60);
    assert_eq!((proved_at(&forced, Kind::Failover), proved_at(&forced, Kind::Switchover)), (Some(at(60)), None));
}

#[test]
fn a_run_that_did_not_succeed_proves_nothing() {
    for result in [RunResult::Failed, RunResult::Aborted, RunResult::Superseded] {
        let history = ran(Purpose::Switchover, &["promote", "flip"], result, 60);
        assert!(Kind::ALL.iter().all(|kind| proved_at(&history, *kind).is_none()), "{result:?}");
    }
}

#[test]
fn a_proof_wears_off_and_never_proven_is_no_number() {
    let proof = |days: i64| Proof { run: run_id(1), at: at(-days * DAY) };
    let within = Duration::from_hours(100 * 24);
    for (days, wanted) in
        [(0, State::Green), (80, State::Green), (81, State::Amber), (100, State::Amber), (101, State::Red)]
    {
        assert_eq!(state(Some(&proof(days)), within, at(0)), wanted, "{days} days");
    }
    assert_eq!(state(None, within, at(0)), State::NeverProven);
    // A clock that was set back by a year makes nothing younger than new, nor older.
    assert_eq!(state(Some(&proof(-365)), within, at(0)), State::Green);
}

#[test]
fn an_application_is_as_ready_as_the_least_proven_of_what_it_needs() {
    let app = application();
    let ready = |history: &History, days: i64| Readiness::of(&app, history, at(60 + days * DAY));
    let never = ready(&History::new(app.name.clone()), 0);
    assert_eq!(never.state, State::NeverProven);
    assert_eq!(never.reasons, ["traffic: never proved", "database: never proved"]);
    let traffic = ran(Purpose::Switchover, &["flip"], RunResult::Succeeded, 60);
    assert_eq!(ready(&traffic, 1).state, State::NeverProven, "its database was never moved");
    let whole = ran(Purpose::Failover, &["promote", "flip"], RunResult::Succeeded, 60);
    let states = [1, 81, 101].map(|days| ready(&whole, days).state);
    assert_eq!(states, [State::Green, State::Amber, State::Red], "a real failover proves as much as a drill");
    assert!(ready(&whole, 101).reasons[0].contains("proved 101 days ago, 100 days are allowed"));
}

#[test]
fn a_drill_that_failed_makes_it_amber_until_one_succeeds() {
    let mut history = ran(Purpose::Switchover, &["promote", "flip"], RunResult::Succeeded, 60);
    let drill = |history: &mut History, bits: u128, result: RunResult| {
        let Event::RunStarted { mut request, mut plan, .. } = started(Purpose::Switchover, bits) else {
            unreachable!("it starts")
        };
        (request.purpose, plan.purpose) = (Purpose::Drill, Purpose::Drill);
        let begun = Event::RunStarted { run: run_id(bits), request, plan, evidence_since: None };
        history.apply_event(at(100), &begun).expect("legal");
        let end = Event::RunFinished { run: run_id(bits), result, reason: String::new(), loss: None };
        history.apply_event(at(160), &end).expect("legal");
    };
    let failed = |history: &History| history.proofs.failed.is_some();
    drill(&mut history, 2, RunResult::Superseded);
    assert!(!failed(&history), "a disaster took its place");
    drill(&mut history, 3, RunResult::Failed);
    assert!(failed(&history));
    drill(&mut history, 4, RunResult::Succeeded);
    assert!(!failed(&history));
}
