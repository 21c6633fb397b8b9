//! What a rehearsal amounts to: how it ended, what it cost, which branches it went through, and its fingerprint.
//!
//! Invariant: read from the journal's bytes and the world, after the last process is gone; nothing of the engine's
//! memory is used.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    Ending, Rehearsed, TraceLine,
    court::Court,
    director::Over,
    expected::{Seen, changed, unmet},
    run::Scene,
    spent::Instants,
};
use crate::sim::{
    faults,
    oracle::{Stored, Violation},
    world::{SimTime, World, clients::Ledger},
};

pub(super) fn rehearsed(
    scene: &Scene<'_>,
    world: &World,
    court: &Court,
    over: Over,
    processes: u32,
    keeps_dying: Option<String>,
) -> Rehearsed {
    let records = scene.store.stored(scene.application(), 0);
    let events = events(&records);
    let ledger = world.clients.ledger(&world.aurora);
    let ending = ending(&events, scene, &records);
    let begins = scene.begins.get();
    let mut violations = court.violations().to_vec();
    if let Some(why) = keeps_dying {
        let text = format!("the daemon died {processes} times and never came to rest; the last time: {why}");
        violations.push(Violation { property: "L7", at: world.now, text });
    }
    let out_of_service_seconds = out_of_service(&ledger, world.now);
    let mut result = Rehearsed {
        scenario: scene.scenario.name.clone(),
        seed: scene.seed,
        ending,
        begins,
        out_of_service_seconds,
        spent: instants(&events, begins)
            .and_then(|instants| instants.spent(ledger.first_failure_at?, ledger.served_again_at?)),
        served_at_end: world.clients.failing_since().is_none(),
        writes_lost: ledger.writes_lost,
        loss_seconds: ledger.loss_window_seconds,
        loss_reported_seconds: loss_reported(&events),
        violations,
        checked: court.checked().clone(),
        faults_met: met(scene, world, court, &events),
        sometimes: sometimes(&events, court, processes),
        history: fingerprint(world, court, &records, &ledger),
        world_seconds: world.now.since_ms(begins) as f64 / 1e3,
        events: court.events() + world.log.len() as u64,
        trace: Vec::new(),
        processes,
        changed: changed(scene, world),
        unmet: Default::default(),
    };
    let seen = Seen { scene, world, court, ledger: &ledger, events: &events };
    result.unmet = scene.scenario.expect.iter().filter_map(|expected| unmet(expected, &seen, &result, over)).collect();
    if scene.tracing {
        result.trace = trace(scene, world, court, &events, &result);
    }
    result
}

/// One event of the journal.
pub(super) struct Told {
    pub(super) at: SimTime,
    pub(super) kind: String,
    pub(super) event: Value,
}

fn events(records: &[Stored]) -> Vec<Told> {
    let mut all = Vec::new();
    for stored in records {
        // A record that rotted cannot be read; the oracle has its own word on that.
        let Ok(record) = serde_json::from_slice::<Value>(&stored.bytes) else { continue };
        // Not the record's own time: the daemon's clock may be wrong.
        let at = stored.at;
        for event in record["events"].as_array().into_iter().flatten() {
            let kind = event["event"].as_str().unwrap_or_default().to_owned();
            all.push(Told { at, kind, event: event.clone() });
        }
    }
    all
}

/// How the run that people asked for stands, by the journal.
fn ending(events: &[Told], scene: &Scene<'_>, records: &[Stored]) -> Ending {
    let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let mut ending = Ending::NoRun;
    // The move that put the application where the scenario starts is not the rehearsal's.
    for told in events.iter().filter(|t| scene.begins.get() <= t.at) {
        ending = match told.kind.as_str() {
            "run_started" | "run_resumed" | "abort_requested" | "budget_exceeded" => Ending::Unfinished,
            "run_held" => Ending::Held {
                step: told.event["step"].as_str().map(ToOwned::to_owned),
                code: text(&told.event, "code"),
                reason: text(&told.event, "reason"),
                waits_for: text(&told.event, "waits_for"),
            },
            "run_paused" => Ending::Held {
                step: None,
                code: "paused".to_owned(),
                reason: text(&told.event, "reason"),
                waits_for: format!("{}, who paused it", text(&told.event, "subject")),
            },
            "run_finished" => match told.event["result"].as_str() {
                Some("succeeded") => Ending::Succeeded,
                Some("aborted") => Ending::Aborted,
                Some("superseded") => Ending::Superseded,
                _ => Ending::Failed,
            },
            _ => continue,
        };
    }
    match (&ending, first_unreadable(records)) {
        (_, Some(record)) => Ending::Refused { reason: format!("record {record} does not have its hash") },
        _ => ending,
    }
}

fn first_unreadable(records: &[Stored]) -> Option<usize> {
    records.iter().position(|stored| hex::encode(Sha256::digest(&stored.bytes)) != stored.hash)
}

fn out_of_service(ledger: &Ledger, now: SimTime) -> Option<f64> {
    let first = ledger.first_failure_at?;
    let end = ledger.served_again_at.unwrap_or(now);
    Some(end.since_ms(first) as f64 / 1e3)
}

/// When the first run since the start was recommended, started, consented to and done with traffic.
fn instants(events: &[Told], begins: SimTime) -> Option<Instants> {
    let events = || events.iter().filter(|t| begins <= t.at);
    let started = events().find(|t| t.kind == "run_started")?;
    let steps = started.event["plan"]["steps"].as_array()?;
    let flips = steps.iter().filter(|step| step["action"]["action"] == "dns.flip").map(|step| &step["id"]);
    let flips: Vec<&Value> = flips.collect();
    let of_the_run = || events().filter(|t| t.event["run"] == started.event["run"]);
    // A recommendation that was taken back is none.
    let judged = events().take_while(|t| t.kind != "run_started").filter(|t| t.kind == "decision_changed");
    let recommended = judged.fold(None, |since, t| {
        let argues = matches!(t.event["verdict"].as_str(), Some("recommend" | "start"));
        argues.then(|| since.unwrap_or(t.at))
    });
    Some(Instants {
        recommended,
        started: Some(started.at),
        consented: of_the_run().filter(|t| t.kind == "approval_recorded").map(|t| t.at).next_back(),
        moved: of_the_run()
            .filter(|t| t.kind == "step_done" && flips.contains(&&t.event["step"]))
            .map(|t| t.at)
            .next_back(),
    })
}

fn loss_reported(events: &[Told]) -> Option<(Option<f64>, Option<f64>)> {
    let finished = events.iter().rev().find(|t| t.kind == "run_finished")?;
    let loss = finished.event["loss"].as_object()?;
    Some((loss["at_least_seconds"].as_f64(), loss["at_most_seconds"].as_f64()))
}

fn met(scene: &Scene<'_>, world: &World, court: &Court, events: &[Told]) -> BTreeMap<u8, u64> {
    let mut met = scene.faults.met();
    let refused = court.refusals().iter().filter_map(|(code, times)| Some((of_refusal(code)?, *times)));
    for (number, times) in scene.store.met().into_iter().chain(faults::met_in_world(world)).chain(refused) {
        *met.entry(number).or_default() += times;
    }
    let drills: BTreeSet<&str> = events
        .iter()
        .filter(|t| t.kind == "run_started" && t.event["request"]["purpose"] == "drill")
        .filter_map(|t| t.event["run"].as_str())
        .collect();
    let superseded = |t: &&Told| t.kind == "run_finished" && t.event["result"] == "superseded";
    let disasters = events
        .iter()
        .filter(superseded)
        .filter(|t| t.event["run"].as_str().is_some_and(|run| drills.contains(run)))
        .count();
    let over_budget = events.iter().filter(|t| t.kind == "budget_exceeded").count();
    for (number, times) in [(79, disasters), (83, over_budget)] {
        if 0 < times {
            met.insert(number, times as u64);
        }
    }
    met
}

/// The fault of FAULTS.md that a person committed who was refused with this code.
fn of_refusal(code: &str) -> Option<u8> {
    Some(match code {
        "gate-refused" => 59,
        "unreconciled" => 62,
        "a drill stood in the way" => 80,
        "a drill in a blackout was refused" => 81,
        "idempotency-key-reused" => 68,
        "already-running" => 69,
        "bad-target" => 70,
        "wrong-phase" => 71,
        "stale-digest" => 72,
        "self-approval" => 73,
        _ => return None,
    })
}

/// The branches of the step protocol that this rehearsal went through.
fn sometimes(events: &[Told], court: &Court, processes: u32) -> BTreeMap<&'static str, u64> {
    let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut count = |what| *seen.entry(what).or_default() += 1;
    let mut open: BTreeMap<String, bool> = BTreeMap::new();
    for told in events {
        let step = || format!("{}/{}", told.event["run"], told.event["step"]);
        match told.kind.as_str() {
            "epoch_started" if open.values().any(|open| *open) => count("a process found an open intent"),
            "intent" => {
                if told.event["attempt"].as_u64().is_some_and(|n| 1 < n) {
                    count("an intent was repeated");
                }
                open.insert(step(), true);
                count("an intent was journalled");
            }
            "answered" => {
                open.insert(step(), false);
                match told.event["outcome"]["outcome"].as_str() {
                    Some("accepted") => count("a call was accepted"),
                    Some("rejected") => count("a call was rejected"),
                    Some("not_sent") => count("a call was not sent"),
                    Some("unknown") => count("the outcome of a call was unknown"),
                    _ => count("an answer of another kind"),
                }
            }
            "call_observed" => count("a call was seen to be in effect"),
            "step_done" => {
                open.remove(&step());
                count("a step was done");
            }
            "step_failed" => {
                open.remove(&step());
                count("a step failed");
            }
            "step_skipped" => count("a step was skipped"),
            "undo_intended" => count("an undo was journalled"),
            "step_undone" => count("a step was undone"),
            "undo_failed" => count("an undo failed"),
            "step_retried" => count("a person retried a step"),
            "step_passed" => count("a person skipped a step"),
            "override_consented" => count("a failover was armed"),
            "run_started" if told.event["request"]["armed"].is_string() => count("a run was started alone"),
            "run_held" => count("a run was held"),
            "run_paused" => count("a run was paused"),
            "run_resumed" => count("a run was resumed"),
            "abort_requested" => count("an abort was asked for"),
            "budget_exceeded" => count("a drill was over its budget"),
            "approval_recorded" if told.event["approved"] == Value::Bool(false) => count("an approval was declined"),
            "approval_recorded" => count("an approval was given"),
            "run_finished" => match told.event["result"].as_str() {
                Some("succeeded") => count("a run succeeded"),
                Some("aborted") => count("a run was aborted"),
                Some("superseded") => count("a run was superseded"),
                _ => count("a run failed"),
            },
            _ => {}
        }
    }
    if 1 < processes {
        *seen.entry("a process was started again").or_default() += u64::from(processes - 1);
    }
    for (code, times) in court.refusals() {
        *seen.entry(code).or_default() += times;
    }
    seen
}

/// SHA-256 over everything that happened.
fn fingerprint(world: &World, court: &Court, records: &[Stored], ledger: &Ledger) -> String {
    let mut text = String::new();
    for stored in records {
        text.push_str(&stored.hash);
    }
    for event in &world.log {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{} {} {}", event.at.0, event.kind, event.text);
    }
    for call in court.calls() {
        let _ = writeln!(text, "{} {} {}", call.at.0, call.operation, call.arguments);
    }
    let _ = writeln!(text, "{ledger:?} {:?}", world.now);
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// The timeline of everybody, in order of time.
fn trace(scene: &Scene<'_>, world: &World, court: &Court, events: &[Told], result: &Rehearsed) -> Vec<TraceLine> {
    let mut lines = scene.trace.borrow().clone();
    let begins = scene.begins.get();
    lines.extend(events.iter().filter(|t| begins <= t.at).map(|told| TraceLine {
        at: told.at,
        who: "journal",
        text: sentence(&told.kind, &told.event),
    }));
    let said = world.log.iter().filter(|e| begins <= e.at);
    lines.extend(said.map(|e| TraceLine { at: e.at, who: "world", text: e.text.clone() }));
    let calls = court.calls().iter().filter(|c| begins <= c.at);
    lines.extend(calls.map(|c| TraceLine { at: c.at, who: "call", text: c.operation.clone() }));
    let broken = result.violations.iter().map(|v| (v.at, format!("{}: {}", v.property, v.text)));
    lines.extend(broken.map(|(at, text)| TraceLine { at, who: "oracle", text }));
    lines.sort_by_key(|line| line.at);
    lines
}

/// An event of the journal for people.
fn sentence(kind: &str, event: &Value) -> String {
    let text = |key: &str| event[key].as_str().unwrap_or_default();
    let words = kind.replace('_', " ");
    let mut said = match event["step"].as_str() {
        Some(step) => format!("{words} `{step}`"),
        None => words,
    };
    for key in ["verdict", "result", "code", "reason", "waits_for"] {
        if !text(key).is_empty() {
            let _ = write!(said, "; {}", text(key));
        }
    }
    if let Some(outcome) = event["outcome"]["outcome"].as_str() {
        let _ = write!(said, ": {outcome}");
    }
    let evidence: Vec<&str> = event["evidence"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !evidence.is_empty() {
        let _ = write!(said, ": {}", evidence.join("; "));
    }
    said
}
