use super::*;
use crate::domain::{
    history::tests::{at, done, fold, intent, run_id, started},
    journal::Event,
};

const SEEN: (&str, &str) = ("last_seen_write", "2026-11-18T08:00:10Z");
const UNANSWERED: (&str, &str) = ("first_unanswered", "2026-11-18T08:00:15Z");
const SURVIVING: (&str, &str) = ("last_surviving_write", "2026-11-18T08:00:08Z");

/// Nothing was heard of the old writer since its proof.
fn still_silent() -> Watermark {
    let at = |(_, text): (&str, &str)| Some(text.parse().expect("an instant"));
    Watermark { last_seen_write: at(SEEN), first_unanswered: at(UNANSWERED) }
}

fn run(events: &[(i64, Event)]) -> RunState {
    let history = fold(events).expect("legal");
    RunState::clone(&history.runs[&run_id(1)])
}

fn failover(gate: &[(&str, &str)], verify: &[(&str, &str)]) -> RunState {
    let purpose = Purpose::Failover;
    let recommend = Event::decision("recommend", "down", Vec::new());
    run(&[
        (30, recommend),
        (50, started(purpose, 1)),
        (51, done("gate", gate)),
        (90, done("approve", &[])),
        (91, intent(purpose, "promote")),
        (150, done("promote", &[])),
        (160, done("verify", verify)),
        (161, intent(purpose, "flip")),
        (170, done("flip", &[])),
        (230, done("probe", &[])),
    ])
}

#[test]
fn the_four_shares_of_a_failover_make_up_its_rto() {
    let clock = rto_clock(&failover(&[], &[]));
    let seconds = |d: Option<Duration>| d.map(|d| d.as_secs());
    assert_eq!((clock.started_at, clock.stopped_at), (Some(at(0)), Some(at(230))));
    let shares = [clock.detection, clock.decision, clock.execution, clock.propagation];
    assert_eq!(shares.map(seconds), [Some(30), Some(60), Some(80), Some(60)]);
    assert_eq!(clock.total, shares.into_iter().sum());
}

#[test]
fn a_share_that_has_not_ended_is_not_known() {
    let clock = rto_clock(&run(&[(50, started(Purpose::Failover, 1)), (51, done("gate", &[]))]));
    assert_eq!((clock.execution, clock.propagation, clock.total, clock.stopped_at), (None, None, None, None));
    assert_eq!(clock.detection, None, "nobody recommended it");
}

#[test]
fn the_part_that_runs_is_held_against_its_share_already() {
    let all = failover(&[], &[]);
    let (rto, of) = (Duration::from_secs(300), RtoShares::default());
    let told =
        |run: &RunState, now: i64| shares(run, rto, &of, at(now)).map(|s| (s.took.map(|t| t.as_secs()), s.is_over()));
    let ended = |s: u64, over: bool| (Some(s), Some(over));
    let shares_of_all = [ended(30, false), ended(60, false), ended(80, false), ended(60, false)];
    assert_eq!(told(&all, 999), shares_of_all);
    let recommend = Event::decision("recommend", "down", Vec::new());
    let asked = [(30, recommend), (50, started(Purpose::Failover, 1)), (51, done("gate", &[]))];
    let waits = run(&asked);
    assert_eq!(rto_clock(&waits).decision, None, "the consent is still waited for");
    assert_eq!(told(&waits, 130), [ended(30, false), ended(100, true), (None, None), (None, None)]);
    let planned = [(50, started(Purpose::Switchover, 1)), (70, intent(Purpose::Switchover, "promote"))];
    let switches = told(&run(&planned), 80);
    assert_eq!(switches, [(None, None), (None, None), ended(10, false), (None, None)]);
}

#[test]
fn the_clock_of_a_planned_run_starts_at_its_first_effect() {
    let purpose = Purpose::Switchover;
    let events = [(50, started(purpose, 1)), (60, done("gate", &[])), (70, intent(purpose, "promote"))];
    let clock = rto_clock(&run(&events));
    assert_eq!(clock.started_at, Some(at(70)));
    assert_eq!((clock.detection, clock.decision), (None, None));
    let clock = rto_clock(&run(&events[..2]));
    assert_eq!(clock.started_at, None, "nothing was touched yet");
}

#[test]
fn the_loss_lies_between_the_last_write_seen_and_the_first_that_was_not_answered() {
    let report =
        loss(&failover(&[SEEN, UNANSWERED], &[SURVIVING, SEEN, UNANSWERED]), still_silent()).expect("promoted");
    assert_eq!(report.at_least, Some(Duration::from_secs(2)));
    assert_eq!(report.at_most, Some(Duration::from_secs(7)));
}

#[test]
fn a_loss_that_was_not_measured_is_not_zero() {
    let report = loss(&failover(&[SEEN, UNANSWERED], &[]), Watermark::default()).expect("promoted");
    assert_eq!((report.at_least, report.at_most), (None, None));
    assert!(report.basis.contains("not measured"));
}

#[test]
fn a_writer_that_was_never_seen_to_stop_leaves_the_loss_without_an_end() {
    let gate = [("last_seen_write", at(20).to_string())];
    let gate = gate.each_ref().map(|(k, v)| (*k, v.as_str()));
    let surviving = at(10).to_string();
    let report =
        loss(&failover(&gate, &[("last_surviving_write", &surviving)]), Watermark::default()).expect("promoted");
    assert_eq!(report.at_least, Some(Duration::from_secs(10)));
    assert_eq!(report.at_most, None, "no fence is proven");
}

/// Swarm seed 35: the old Region came back after the gate, and its fence timed out.
#[test]
fn an_old_writer_that_came_back_and_still_writes_leaves_the_loss_open() {
    let (surviving, still) = (at(140).to_string(), at(159).to_string());
    let verify = [("last_surviving_write", surviving.as_str()), ("last_seen_write", still.as_str())];
    let report = loss(&failover(&[SEEN, UNANSWERED], &verify), Watermark::default()).expect("promoted");
    assert_eq!((report.at_least, report.at_most), (Some(Duration::from_secs(19)), None));
    assert!(report.basis.contains("not known"), "{}", report.basis);
}

/// Swarm seed 145: it came back after the traffic had moved, while some clients still had its address.
#[test]
fn an_old_writer_that_came_back_after_the_proof_counts_until_the_end_of_the_run() {
    let (surviving, seen, unanswered) = (at(8).to_string(), at(10).to_string(), at(15).to_string());
    let verify = [
        ("last_surviving_write", surviving.as_str()),
        ("last_seen_write", seen.as_str()),
        ("first_unanswered", unanswered.as_str()),
    ];
    let run = failover(&[], &verify);
    let silent = Watermark { last_seen_write: Some(at(10)), first_unanswered: Some(at(15)) };
    assert_eq!(loss(&run, silent).and_then(|l| l.at_most), Some(Duration::from_secs(7)));
    // What it shows now may be its own, or the new writer's: it is not counted, and the loss has no known end.
    let answers_again = Watermark { last_seen_write: Some(at(200)), first_unanswered: None };
    let report = loss(&run, answers_again).expect("promoted");
    assert_eq!((report.at_least, report.at_most), (Some(Duration::from_secs(2)), None));
    let silent_since_a_restart = Watermark { last_seen_write: None, first_unanswered: Some(at(210)) };
    assert_eq!(loss(&run, silent_since_a_restart).and_then(|l| l.at_most), Some(Duration::from_secs(202)));
    assert_eq!(loss(&run, Watermark::default()).and_then(|l| l.at_most), None, "not looked at since");
}

#[test]
fn a_switchover_loses_nothing_and_a_run_that_promoted_nothing_has_no_loss() {
    let purpose = Purpose::Switchover;
    let events = [(50, started(purpose, 1)), (70, intent(purpose, "promote")), (80, done("promote", &[]))];
    assert_eq!(loss(&run(&events), Watermark::default()).and_then(|l| l.at_most), Some(Duration::ZERO));
    assert_eq!(loss(&run(&events[..2]), Watermark::default()), None, "not switched yet");
    assert_eq!(loss(&run(&[(50, started(Purpose::Failover, 1))]), Watermark::default()), None);
}
