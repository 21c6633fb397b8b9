use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::{
    cloud::Outcome,
    id::{Digest, Region, RunbookName, StoreName},
    journal::{seal, verify},
    plan::{OnFailure, Purpose, Retry},
    run::{Next, RunResult},
};

pub(in crate::domain) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + second).expect("in range")
}

fn app() -> ApplicationName {
    "payments".parse().expect("a name")
}

pub(in crate::domain) fn run_id(bits: u128) -> RunId {
    RunId::new(&app(), bits)
}

pub(in crate::domain) fn step(id: &str) -> StepId {
    id.parse().expect("a step")
}

fn region(name: &str) -> Region {
    name.parse().expect("a Region")
}

fn somebody() -> Subject {
    "oncall".parse().expect("a subject")
}

fn metric() -> Mutation {
    Mutation::PutMetric {
        region: region("us-west-2"),
        namespace: "n".to_owned(),
        metric: "m".to_owned(),
        dimensions: BTreeMap::new(),
        value: 1.0,
    }
}

/// gate → approve → promote → verify → flip → probe, of a failover from us-east-1 to us-west-2.
pub(in crate::domain) fn plan(purpose: Purpose) -> Plan {
    let arn = |r: &str| format!("arn:aws:rds:{r}:123456789012:cluster:pay").parse().expect("an ARN");
    let store: StoreName = "main".parse().expect("a name");
    let (from, target, global_cluster) = (arn("us-east-1"), arn("us-west-2"), "pay".to_owned());
    let observe_in = vec![region("us-west-2")];
    let promotion = |switch| {
        let (store, global_cluster) = (store.clone(), global_cluster.clone());
        let (from, target, observe_in) = (arn("us-east-1"), arn("us-west-2"), observe_in.clone());
        match switch {
            true => Action::AuroraSwitchover { store, global_cluster, from, target, observe_in },
            false => Action::AuroraFailover { store, global_cluster, from, target, observe_in },
        }
    };
    let second = Duration::from_secs(1);
    let actions = [
        ("gate", {
            let (store, global_cluster, observe_in) = (store.clone(), global_cluster.clone(), observe_in.clone());
            Action::GateTarget { store, global_cluster, from, target, observe_in, lossless: false, any_engine: false }
        }),
        ("approve", Action::Approve { count: 1, expires_after: second, reason: "loss".to_owned() }),
        ("promote", promotion(purpose != Purpose::Failover)),
        ("verify", Action::AuroraVerifyWriter { store, global_cluster, target: arn("us-west-2"), observe_in }),
        (
            "flip",
            Action::DnsFlip {
                traffic: "api".parse().expect("a name"),
                to: region("us-west-2"),
                calls: vec![metric()],
                standing: true,
                requires_writer: Vec::new(),
            },
        ),
        (
            "probe",
            Action::ProbeHttp {
                url: "https://pay.example".to_owned(),
                expect_status: 200,
                consecutive: 1,
                interval: second,
                probe_timeout: second,
                resolve_with: vec!["ns".to_owned()],
                not_before: Duration::ZERO,
            },
        ),
    ];
    let mut before = None;
    let steps = actions.into_iter().map(|(id, action)| PlannedStep {
        id: step(id),
        title: id.to_owned(),
        needs: before.replace(step(id)).into_iter().collect(),
        when: None,
        action,
        timeout: second,
        retry: Retry { attempts: 1, backoff: second },
        on_failure: OnFailure::Hold,
        no_return: false,
        towards: Default::default(),
    });
    Plan {
        application: app(),
        purpose,
        source: region("us-east-1"),
        target: region("us-west-2"),
        runbook: "region-failover".parse::<RunbookName>().expect("a name"),
        runbook_digest: Digest::zero(),
        config_digest: Digest::zero(),
        accepted_loss: None,
        budget: None,
        reconciles: None,
        steps: steps.collect(),
    }
}

pub(in crate::domain) fn started(purpose: Purpose, bits: u128) -> Event {
    let request = Request {
        purpose,
        subject: somebody(),
        reason: "why".to_owned(),
        idempotency_key: None,
        body_digest: Digest::zero(),
        supersedes: None,
        armed: None,
    };
    Event::RunStarted { run: run_id(bits), request, plan: Box::new(plan(purpose)), evidence_since: Some(at(0)) }
}

pub(in crate::domain) fn intent(purpose: Purpose, id: &str) -> Event {
    let mutation = plan(purpose).step(&step(id)).expect("known").action.mutations().remove(0);
    Event::Intent { run: run_id(1), step: step(id), attempt: 1, call: 0, mutation, guards: Vec::new(), prior: None }
}

pub(in crate::domain) fn done(id: &str, outputs: &[(&str, &str)]) -> Event {
    let outputs = outputs.iter().map(|(k, v)| ((*k).to_owned(), serde_json::json!(v))).collect();
    Event::StepDone { run: run_id(1), step: step(id), evidence: Vec::new(), outputs }
}

pub(in crate::domain) fn finished(result: RunResult) -> Event {
    Event::RunFinished { run: run_id(1), result, reason: "end".to_owned(), loss: None }
}

fn answered(id: &str) -> Event {
    let outcome = Outcome::Accepted { request_id: None, handle: None };
    Event::Answered { run: run_id(1), step: step(id), attempt: 1, call: 0, outcome }
}

fn aborted() -> Event {
    Event::AbortRequested { run: run_id(1), subject: somebody(), reason: "no".to_owned() }
}

fn held() -> Event {
    let (code, reason, waits_for) = ("step-timeout".to_owned(), "why".to_owned(), "a person".to_owned());
    Event::RunHeld { run: run_id(1), step: None, code, reason, waits_for }
}

pub(in crate::domain) fn fold(events: &[(i64, Event)]) -> Result<History, IllegalEvent> {
    let mut history = History::new(app());
    for (second, event) in events {
        history.apply_event(at(*second), event)?;
    }
    Ok(history)
}

/// `last` after `before`: what it is called and why it is refused.
#[track_caller]
fn check(before: &[Event], last: Event, name: &str, why: &str) {
    let mut events: Vec<_> = before.iter().cloned().map(|e| (1, e)).collect();
    fold(&events).expect("what comes before is legal");
    events.push((2, last));
    let illegal = fold(&events).expect_err("illegal");
    assert_eq!(illegal.event, name);
    assert!(illegal.why.contains(why), "{illegal}");
}

#[test]
fn illegal_events_are_named() {
    let fo = Purpose::Failover;
    let start = started(fo, 1);
    let promoting = [start.clone(), intent(fo, "promote")];
    check(&[], done("gate", &[]), "step_done", "was never started");
    check(std::slice::from_ref(&start), started(fo, 2), "run_started", "is not finished");
    check(&[start.clone(), finished(RunResult::Aborted)], start.clone(), "run_started", "exists");
    check(&[start.clone(), finished(RunResult::Aborted)], held(), "run_held", "is finished");
    check(std::slice::from_ref(&start), done("nonsense", &[]), "step_done", "no step `nonsense`");
    check(&[start.clone(), done("gate", &[])], done("gate", &[]), "step_done", "Done");
    check(std::slice::from_ref(&start), answered("promote"), "answered", "Pending");
    check(&promoting, intent(fo, "promote"), "intent", "Sending");
    check(&promoting, aborted(), "abort_requested", "point of no return");
    check(&[start.clone(), held()], intent(fo, "promote"), "intent", "held");
    check(&[start.clone(), aborted()], intent(fo, "promote"), "intent", "aborted");
    let other = Event::ApprovalRecorded {
        run: run_id(1),
        step: step("approve"),
        subject: somebody(),
        approved: true,
        digest: Digest::zero(),
        reason: String::new(),
    };
    check(std::slice::from_ref(&start), other, "approval_recorded", "another plan");
    let mut strange = intent(fo, "promote");
    if let Event::Intent { mutation, .. } = &mut strange {
        *mutation = plan(fo).step(&step("flip")).expect("known").action.mutations().remove(0);
    }
    check(&[start], strange, "intent", "not the plan's");
}

#[test]
fn a_standing_effect_stands_once_its_flip_is_done() {
    let flip = [(0, started(Purpose::Failover, 1)), (1, intent(Purpose::Failover, "flip"))];
    assert!(fold(&flip).expect("legal").standing.is_empty(), "not by its intent");
    let [a, b] = flip;
    let after = fold(&[a, b, (2, done("flip", &[]))]).expect("legal");
    assert_eq!(after.standing.values().map(|s| s.since).collect::<Vec<_>>(), [at(2)]);
}

#[test]
fn a_recommendation_counts_from_its_first_until_the_verdict_changes() {
    let verdict = |v: &str| Event::decision(v, "down", Vec::new());
    let twice = [(1, verdict("recommend")), (5, verdict("recommend"))];
    assert_eq!(fold(&twice).expect("legal").recommended_at, Some(at(1)));
    let [a, b] = twice;
    assert_eq!(fold(&[a, b, (6, verdict("notify"))]).expect("legal").recommended_at, None);
}

/// One of everything that can be said of a run, legal now or not.
fn anything(kind: u8, which: u8) -> Event {
    let (fo, run) = (Purpose::Failover, run_id(1));
    let ids = ["gate", "approve", "promote", "verify", "flip", "probe"];
    let id = ids[usize::from(which) % ids.len()];
    let effect = ["promote", "flip"][usize::from(which) % 2];
    match kind % 17 {
        0 => Event::EpochStarted { holder: "me".to_owned() },
        1 => Event::StepStarted { run, step: step(id), attempt: 1 },
        2 | 3 => intent(fo, effect),
        4 | 5 => answered(effect),
        6 => done(id, &[]),
        7 => {
            let (code, reason) = ("step-timeout".to_owned(), "why".to_owned());
            Event::StepFailed { run, step: step(id), attempt: 1, code, reason, nothing_happened: false }
        }
        8 => held(),
        9 => Event::RunResumed { run, subject: somebody(), reason: "go on".to_owned() },
        10 if which < 32 => aborted(),
        11 if which < 32 => finished(RunResult::Aborted),
        12 => {
            let (mutation, guards) = (metric(), Vec::new());
            Event::UndoIntended { run, step: step(effect), attempt: 1, call: 0, mutation, guards }
        }
        13 => Event::StepUndone { run, step: step(effect), evidence: Vec::new() },
        14 => {
            let (code, reason) = ("undo-drift".to_owned(), "why".to_owned());
            Event::UndoFailed { run, step: step(effect), attempt: 1, code, reason }
        }
        15 => {
            let (digest, reason) = (plan(fo).digest(), "again".to_owned());
            Event::StepRetried { run, step: step(id), subject: somebody(), digest, reason }
        }
        16 => {
            let (digest, reason) = (plan(fo).digest(), "on".to_owned());
            Event::StepPassed { run, step: step(id), subject: somebody(), digest, reason }
        }
        _ => Event::StepSkipped { run, step: step(id), reason: "`when` is false".to_owned() },
    }
}

/// What must hold of every history.
fn sound(history: &History) {
    let open: Vec<_> = history.runs.values().filter(|r| !r.is_finished()).map(|r| r.id.clone()).collect();
    assert_eq!(
        open,
        history.active_run().iter().map(|r| r.id.clone()).collect::<Vec<_>>(),
        "the active run is the one not finished"
    );
    for run in history.runs.values() {
        match run.next() {
            Next::Drive(ids) => {
                assert!(!ids.is_empty() && !run.is_finished());
                for id in ids {
                    let planned = run.plan.step(&id).expect("of the plan");
                    let goes = run.steps[&id].is_in_flight() || run.is_ready(planned) || run.goes_back(&id);
                    assert!(goes, "{id} is {:?}", run.steps[&id]);
                }
            }
            Next::Finish { result: RunResult::Aborted, .. } => assert!(!run.has_open_intents()),
            Next::Hold { .. } => assert!(run.crossed().is_some()),
            Next::Finish { .. } | Next::Wait => {}
        }
    }
}

proptest! {
    #[test]
    fn every_prefix_of_a_journal_folds_to_where_it_was_when_it_was_written(
        choices in prop::collection::vec((any::<u8>(), any::<u8>()), 0..60)
    ) {
        let mut live = History::new(app());
        let mut journal = Vec::new();
        let events = std::iter::once(started(Purpose::Failover, 1))
            .chain(choices.into_iter().map(|(kind, which)| anything(kind, which)));
        for (second, event) in (0..).zip(events) {
            let before = live.clone();
            let checked = live.check(at(second), std::slice::from_ref(&event));
            prop_assert_eq!(&live, &before, "a check changes nothing");
            if let Err(illegal) = checked {
                prop_assert!(!illegal.event.is_empty() && !illegal.why.is_empty());
                continue;
            }
            let sealed = seal(&app(), &live.tail, 1, at(second), vec![event]).expect("small");
            let (record, tail) = verify(&live.tail, &sealed.bytes, &sealed.hash).expect("verifies");
            live.apply(&record, tail).expect("was checked");
            sound(&live);
            journal.push((sealed, live.clone()));
        }
        let mut folded = History::new(app());
        for (sealed, then) in journal {
            let (record, tail) = verify(&folded.tail, &sealed.bytes, &sealed.hash).expect("verifies");
            folded.apply(&record, tail).expect("was legal when it was written");
            prop_assert_eq!(&folded, &then);
        }
    }
}

#[test]
fn what_shadow_would_start_is_remembered_with_when_it_began() {
    let decided = |would_start: bool| match Event::decision("recommend", "down", Vec::new()) {
        Event::DecisionChanged { verdict, health, reasons, rules, signals, suppressed, .. } => {
            Event::DecisionChanged { verdict, health, reasons, rules, signals, would_start, suppressed }
        }
        other => other,
    };
    assert!(!History::new(app()).has_decided("recommend", false), "nothing was decided yet");
    let history = fold(&[(1, decided(false))]).expect("legal");
    assert_eq!((history.would_start_since, history.has_decided("recommend", true)), (None, false));
    let history = fold(&[(1, decided(false)), (9, decided(true)), (12, decided(true))]).expect("legal");
    assert_eq!((history.would_start_since, history.recommended_at), (Some(at(9)), Some(at(1))));
    assert!(history.has_decided("recommend", true) && !history.has_decided("recommend", false));
    let history = fold(&[(9, decided(true)), (15, decided(false))]).expect("legal");
    assert_eq!(history.would_start_since, None);
}
