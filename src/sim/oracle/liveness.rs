//! At the end: L3 (once the faults have healed, a run is over or waits for somebody who is named), L7 (no flapping:
//! what is done is finite), and that what stands is put again.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    Bench,
    intent::Intent,
    runs::{Phase, Run, Runs, Standing, Step},
    text,
};
use crate::sim::world::SimTime;

/// What a step may take over its own timeout, in milliseconds: the engine looks every 2 s, and an effect whose time is
/// over is settled first (30 s, and a call's timeout).
const STEP_SLACK_MS: u64 = 60_000;

/// How old the last put of a standing effect may be, in milliseconds: it is put once a minute (DESIGN.md 5), after a
/// call that may take its 40 s, and the process that was to put it may have been started just now.
const STANDING_MS: u64 = 150_000;

pub(super) fn finish(bench: &mut Bench<'_>, runs: &Runs, healed: bool) {
    // A journal that is damaged holds the application: nothing is owed until a person has looked (FAULTS.md 14).
    if healed && bench.seen.damaged.is_empty() {
        for run in runs.all() {
            check_ends(bench, run);
        }
        for standing in runs.standing() {
            check_renewed(bench, standing);
        }
    }
    for run in runs.all() {
        check_finite(bench, runs, run);
    }
}

fn check_ends(bench: &mut Bench<'_>, run: &Run) {
    bench.findings.checked("L3");
    let now = bench.seen.world.now;
    let why = match &run.phase {
        Phase::Finished { .. } => return,
        Phase::Held { waits_for, .. } if !waits_for.trim().is_empty() => return,
        Phase::Held { code, .. } => format!("is held ({code}) and names nobody whom it waits for"),
        Phase::Paused { subject } if !subject.trim().is_empty() => return,
        Phase::Paused { .. } => "is paused and does not say by whom".to_owned(),
        Phase::Aborting { since } => {
            if now.since_ms(*since) <= STEP_SLACK_MS || moves(run, now) {
                return;
            }
            format!("was to be aborted at {} and is not", bench.findings.clock(*since))
        }
        Phase::Moving if moves(run, now) => return,
        Phase::Moving => "neither ends nor moves nor waits for a person".to_owned(),
    };
    bench.findings.violated("L3", now, format!("{} {why}, although every fault has healed", run.id));
}

/// A standing effect is put again (DESIGN.md 5), whatever becomes of the call: nobody else would keep it up.
fn check_renewed(bench: &mut Bench<'_>, standing: &Standing) {
    bench.findings.checked("standing");
    let now = bench.seen.world.now;
    let put = bench.seen.calls.iter().rev().find(|call| call.arguments == standing.mutation);
    let last = put.map_or(standing.at, |call| call.at.max(standing.at));
    if STANDING_MS < now.since_ms(last) {
        let text = format!(
            "{} of {} stands since {}, and was last put at {}: what reads it takes silence for the end of it",
            text(&standing.mutation, "metric"),
            text(&standing.mutation, "namespace"),
            bench.findings.clock(standing.at),
            bench.findings.clock(last)
        );
        bench.findings.violated("standing", now, text);
    }
}

/// Whether a step is still within its time. A person who is asked is one who is named, within the time to answer. A
/// step that may begin has its own time to find its guards fulfilled, before the journal speaks of it.
fn moves(run: &Run, now: SimTime) -> bool {
    let is_over = |id: &str| matches!(run.steps.get(id), Some(Step::Done | Step::Skipped | Step::Failed));
    run.planned_steps().iter().any(|planned| {
        let needs = planned["needs"].as_array().map_or(&[][..], Vec::as_slice);
        let since = match run.steps.get(text(planned, "id")) {
            Some(Step::Open { since }) => *since,
            None if needs.iter().all(|need| need.as_str().is_some_and(is_over)) => run.moved_at,
            None | Some(Step::Done | Step::Skipped | Step::Failed) => return false,
        };
        let seconds = |value: &Value| value.as_f64().unwrap_or_default();
        let limit = seconds(&planned["timeout_seconds"]).max(seconds(&planned["action"]["expires_after_seconds"]));
        now.since_ms(since) as f64 <= limit * 1_000.0 + STEP_SLACK_MS as f64
    })
}

/// L7: one run turns the writer and traffic one way only, and none moves the writer without being asked to.
fn check_finite(bench: &mut Bench<'_>, runs: &Runs, run: &Run) {
    bench.findings.checked("L7");
    // The way back is another way, once.
    let of_run = || runs.intents.iter().filter(|i| i.run == run.id && i.sent.is_some() && !i.is_undo);
    for what in ["aurora", "traffic"] {
        // A ramp goes on and back by its plan; its own checks say when it may.
        let is_ramp = |i: &&Intent| run.action(&i.step).is_some_and(|action| text(action, "action") == "dns.weights");
        let (steps, ways): (BTreeSet<&str>, BTreeSet<String>) = of_run()
            .filter(|i| !is_ramp(i))
            .filter_map(|i| {
                let way = match (what, text(&i.mutation, "call")) {
                    ("aurora", "aurora_failover" | "aurora_switchover" | "aurora_detach") => {
                        format!("{} of {}", text(&i.mutation, "target"), text(&i.mutation, "global_cluster"))
                    }
                    ("traffic", "routing_controls") => i.mutation["states"].to_string(),
                    ("traffic", "upsert_records") => i.mutation["records"].to_string(),
                    _ => return None,
                };
                Some((i.step.as_str(), way))
            })
            .unzip();
        if steps.len() < ways.len() {
            let text = format!("{} turned {what} {} ways: it went to and fro", run.id, ways.len());
            bench.findings.violated("L7", bench.seen.world.now, text);
        }
    }
    let promotions = bench.truth.promotions.len();
    let asked =
        runs.all().iter().flat_map(Run::planned_steps).filter(|s| {
            matches!(text(&s["action"], "action"), "aurora.failover" | "aurora.switchover" | "aurora.detach")
        });
    if asked.count() < promotions && run.id == runs.all()[0].id {
        let text = format!("the writer moved {promotions} times, more often than all runs together were to move it");
        bench.findings.violated("L7", bench.seen.world.now, text);
    }
}
