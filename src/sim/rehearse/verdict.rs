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

use std::time::Duration;

use super::{
    Ending, Rehearsed, TraceLine,
    court::Court,
    director::Over,
    run::{self, Scene},
    spent::Instants,
};
use crate::{
    domain::application::AuroraStore,
    sim::{
        faults,
        oracle::{Stored, Violation},
        scenario::{Expectation, RunEnd},
        world::{SimTime, World, aurora::Snapshot, clients::Ledger, route53::record::RrType},
    },
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
struct Told {
    at: SimTime,
    kind: String,
    event: Value,
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

/// What an expectation is held against.
struct Seen<'a> {
    scene: &'a Scene<'a>,
    world: &'a World,
    court: &'a Court,
    ledger: &'a Ledger,
    events: &'a [Told],
}

/// Why the clients were not served as they should be. A scenario may ask for more than was promised, and never excuses
/// less: a disaster that is to be survived is held to the operator's own objectives.
fn unserved(within: Option<Duration>, seen: &Seen<'_>, result: &Rehearsed) -> Option<String> {
    let promised = seen.scene.setup.application.objectives;
    let within = within.map_or(promised.rto, |within| within.min(promised.rto)).as_secs_f64();
    let rpo = promised.rpo.as_secs_f64();
    match result.out_of_service_seconds {
        _ if rpo < result.loss_seconds => {
            Some(format!("{:.1} s of writes were lost; the RPO is {rpo} s", result.loss_seconds))
        }
        None => None,
        Some(_) if seen.ledger.served_again_at.is_none() => {
            Some("clients should be served again, and are not".to_owned())
        }
        Some(seconds) if within < seconds => {
            Some(format!("clients should be served again within {within} s; it took {seconds:.0} s"))
        }
        Some(_) => None,
    }
}

/// What was expected and is not so, as a sentence.
fn unmet(expected: &Expectation, seen: &Seen<'_>, result: &Rehearsed, over: Over) -> Option<String> {
    let Seen { scene, world, court, ledger, events } = seen;
    match expected {
        Expectation::Served { within } => unserved(*within, seen, result),
        Expectation::WriterIn(region) => {
            let wrong = |store: &AuroraStore| {
                let (id, clusters) = (&store.global_cluster, store.clusters.values());
                // Where one was detached, it is the store's.
                let mut alone =
                    clusters.filter_map(|arn| world.aurora.cluster(arn.as_str())).filter(|c| c.global.is_none());
                let writer = alone.next().or_else(|| world.aurora.writer_of(id)).map(|w| w.region.to_string());
                (writer.as_deref() != Some(region.as_str())).then(|| {
                    format!(
                        "the writer of {id} should be in {region}, and is in {}",
                        writer.unwrap_or("none".to_owned())
                    )
                })
            };
            scene.setup.application.stores.values().find_map(wrong)
        }
        Expectation::TrafficIn(region) => scene.setup.application.traffic.values().find_map(|traffic| {
            let answer = world.route53.answer(world.now, &traffic.record_name, RrType::A);
            let found: Vec<String> = answer.map(|a| a.values).unwrap_or_default();
            let wanted = traffic.answers.get(region).map(String::as_str);
            let right = found.iter().any(|value| Some(value.as_str()) == wanted)
                || court.address(region).is_some_and(|address| found.contains(&address.to_string()));
            (!right).then(|| format!("{} should answer with {region}, and answers {found:?}", traffic.record_name))
        }),
        Expectation::LossAtMost(most) => (most.as_secs_f64() < ledger.loss_window_seconds).then(|| {
            format!(
                "at most {} s of writes should be lost; {} writes over {:.1} s were",
                most.as_secs_f64(),
                ledger.writes_lost,
                ledger.loss_window_seconds
            )
        }),
        Expectation::NoRun => {
            let begins = scene.begins.get();
            let started = events.iter().filter(|t| begins <= t.at && t.kind == "run_started").count();
            (0 < started).then(|| format!("no run should be started; there were {started}"))
        }
        Expectation::AsBefore => result.changed.clone(),
        Expectation::RescueKept => {
            let regions = scene.setup.application.regions.iter();
            let mut all = regions.flat_map(|region| world.aurora.snapshots(region, world.now));
            let is_kept = |s: &Snapshot| {
                !s.automatic && s.source_arn.as_ref().is_some_and(|of| of.contains(":rds:unplanned-global-failover-"))
            };
            (!all.any(is_kept)).then(|| "the old writer's rescue snapshot should be copied, and is not".to_owned())
        }
        Expectation::Run(end) => unmet_end(end, &result.ending).map(|unmet| match &result.ending {
            Ending::Unfinished => format!("{unmet}{}", at_work(events)),
            _ => unmet,
        }),
        Expectation::Armed(wanted) => {
            let armed = is_armed(events);
            (armed != *wanted).then(|| {
                let (is, should) = if armed { ("is", "should not be") } else { ("is not", "should be") };
                format!("a failover {should} armed at the end, and {is}")
            })
        }
        Expectation::Recommended(wanted) => (over.recommended != *wanted).then(|| {
            let not = if *wanted { "should have been recommended, and never was" } else { "was recommended" };
            format!("a failover {not}")
        }),
    }
}

/// What is not as it was when the rehearsal began.
fn changed(scene: &Scene<'_>, world: &World) -> Option<String> {
    let now = run::stands(world, &scene.setup.application);
    let before = scene.before.borrow();
    let (name, was) = before.iter().find(|(name, was)| now.get(*name) != Some(*was))?;
    let is = now.get(name).map_or("gone", String::as_str);
    Some(format!("{name} should be as before, {was}, and is {is}"))
}

/// Whether something has a second person's consent and has not ended, by the journal.
fn is_armed(events: &[Told]) -> bool {
    let mut armed: BTreeSet<&str> = BTreeSet::new();
    for told in events {
        match told.kind.as_str() {
            "override_consented" => {
                armed.insert(told.event["id"].as_str().unwrap_or_default());
            }
            "override_ended" => {
                armed.remove(told.event["id"].as_str().unwrap_or_default());
            }
            "run_started" => {
                armed.remove(told.event["request"]["armed"].as_str().unwrap_or_default());
            }
            _ => {}
        }
    }
    !armed.is_empty()
}

/// The steps that have begun and not ended, as the end of a sentence.
fn at_work(events: &[Told]) -> String {
    let mut open: BTreeSet<&str> = BTreeSet::new();
    for told in events {
        let step = told.event["step"].as_str().unwrap_or_default();
        match told.kind.as_str() {
            "run_started" => open.clear(),
            "step_started" | "intent" => drop(open.insert(step)),
            "step_done" | "step_failed" | "step_skipped" => drop(open.remove(step)),
            _ => {}
        }
    }
    let open: Vec<&str> = open.into_iter().collect();
    match open.as_slice() {
        [] => String::new(),
        steps => format!(": it is at {}", steps.join(", ")),
    }
}

fn unmet_end(expected: &RunEnd, ending: &Ending) -> Option<String> {
    let met = match (expected, ending) {
        (RunEnd::Succeeded, Ending::Succeeded)
        | (RunEnd::Aborted, Ending::Aborted)
        | (RunEnd::Failed, Ending::Failed) => true,
        (RunEnd::Held { code }, Ending::Held { code: found, .. }) => code.as_ref().is_none_or(|code| code == found),
        _ => false,
    };
    let wanted = match expected {
        RunEnd::Succeeded => "succeed".to_owned(),
        RunEnd::Aborted => "be aborted".to_owned(),
        RunEnd::Failed => "fail".to_owned(),
        RunEnd::Held { code: None } => "be held".to_owned(),
        RunEnd::Held { code: Some(code) } => format!("be held on {code}"),
    };
    (!met).then(|| format!("the run should {wanted}, and {ending}"))
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
