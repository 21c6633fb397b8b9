//! A ramp of weights: S5 of each of its calls (traffic goes where the writer is, and stays elsewhere only where the
//! servers reach it; never are all weights zero), and S10 of its pace (a step was really in effect, for as long as the
//! plan says, before the next; nothing goes on after a step back until a person says so).

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    Bench, Call,
    calls::sight,
    intent::Intent,
    journal::Record,
    runs::{Run, Runs},
    text, traffic,
};
use crate::{
    domain::id::Region,
    sim::world::{World, route53::record::Routing},
};

/// What two clocks may differ by in a span that both measure, in milliseconds.
const CLOCKS_MS: u64 = 1_000;

fn role(action: &Value, call: u64) -> &str {
    usize::try_from(call).map_or("", |call| text(&action["calls"][call], "role"))
}

fn percent(action: &Value, call: u64) -> u64 {
    usize::try_from(call).ok().and_then(|call| action["calls"][call]["percent"].as_u64()).unwrap_or_default()
}

fn mutation(action: &Value, call: u64) -> &Value {
    usize::try_from(call).map_or(&Value::Null, |call| &action["calls"][call]["mutation"])
}

/// S5 and S10 of a call that leaves.
pub(super) fn check(bench: &mut Bench<'_>, runs: &Runs, call: &Call, intent: &Intent, action: &Value) {
    check_weights(bench, call);
    let region = |key: &str| text(action, key).parse::<Region>().ok();
    let (Some(from), Some(to)) = (region("from"), region("to")) else { return };
    let sent: BTreeSet<Region> = traffic::sent_to(bench, &call.arguments).into_iter().collect();
    let clock = bench.findings.clock(call.at);
    if let Some(other) = sent.iter().find(|region| **region != from && **region != to) {
        let text = format!("at {clock} traffic was sent to {other} by a ramp from {from} to {to}");
        bench.findings.violated("S5", call.at, text);
    }
    let shares_writes = bench.known.global_clusters.is_empty() || bench.known.is_written_from_all_regions;
    if sent.contains(&from) && !shares_writes {
        let text = format!(
            "at {clock} a ramp left traffic in {from}, whose servers do not reach a writer in {to}: what clients write \
             there fails"
        );
        bench.findings.violated("S5", call.at, text);
    }
    let role = role(action, intent.call);
    if role == "back" {
        return;
    }
    let moves = percent(action, intent.call) > 0;
    if moves && !bench.known.global_clusters.is_empty() {
        traffic::check_region(bench, call, &to);
    }
    if moves && bench.truth.answered(&to, sight(call.at)) == Some(false) {
        let text =
            format!("at {clock} more traffic was sent to {to}, where no server answers: errors have risen already");
        bench.findings.violated("S5", call.at, text);
    }
    if let Some(run) = runs.run(&intent.run) {
        check_pace(bench, runs, run, intent, action);
    }
}

/// R10: never all weights zero, nor a batch that leaves no answer.
fn check_weights(bench: &mut Bench<'_>, call: &Call) {
    let records = call.arguments["records"].as_array().map_or(&[][..], Vec::as_slice);
    let is_change = text(&call.arguments, "call") == "upsert_records";
    let is_used = |record: &&Value| record["weight"].as_u64() != Some(0);
    let states = call.arguments["states"].as_object();
    let is_all_off = states.is_some_and(|states| states.values().all(|on| *on == Value::Bool(false)));
    if is_all_off || is_change && records.iter().find(is_used).is_none() {
        let text = format!("at {} every Region was taken out of DNS at once", bench.findings.clock(call.at));
        bench.findings.violated("S5", call.at, text);
    }
}

/// A step begins when the one before has been in effect for its time, and never after a step back that nobody has seen.
fn check_pace(bench: &mut Bench<'_>, runs: &Runs, run: &Run, intent: &Intent, action: &Value) {
    bench.findings.checked("S10");
    let clock = bench.findings.clock(intent.at);
    let of_step = |i: &&Intent| i.run == run.id && i.step == intent.step && !i.is_undo && i.record < intent.record;
    let earlier: Vec<&Intent> = runs.intents.iter().filter(of_step).collect();
    let went_back = earlier.iter().any(|i| role(action, i.call) == "back" && i.resumes == intent.resumes);
    if went_back {
        let text = format!(
            "at {clock} step {} of {} went on to {} % although it had stepped back and nobody had said to go on",
            intent.step,
            run.id,
            percent(action, intent.call)
        );
        bench.findings.violated("S10", intent.at, text);
    }
    let before = intent.call.checked_sub(1).filter(|before| role(action, *before) == "step");
    let Some(before) = before else { return };
    let hold_ms = action["hold_for_seconds"].as_f64().unwrap_or_default() * 1_000.0;
    let slack = CLOCKS_MS + 2 * run.clock_error_ms;
    let held = run.observed.get(&intent.step).filter(|(call, _)| *call == before);
    if held.is_none_or(|(_, since)| ((intent.at.since_ms(*since) + slack) as f64) < hold_ms) {
        let text = format!(
            "at {clock} step {} of {} went on to {} %, and {} % had not been kept for {} s: errors had no time to show",
            intent.step,
            run.id,
            percent(action, intent.call),
            percent(action, before),
            hold_ms / 1_000.0
        );
        bench.findings.violated("S10", intent.at, text);
    }
}

/// S10: a call that is said to be in effect is what the name servers answer from.
pub(super) fn observed(bench: &mut Bench<'_>, runs: &Runs, (run, step, call): (&str, &str, u64), record: &Record) {
    let Some(action) = runs.run(run).and_then(|run| run.action(step)) else { return };
    bench.findings.checked("S10");
    if !is_served(bench.seen.world, mutation(action, call)) {
        let text = format!(
            "step {step} of {run} says at {} that {} % are in effect, and the name servers do not answer so",
            bench.findings.clock(record.at),
            percent(action, call)
        );
        bench.findings.violated("S10", record.at, text);
    }
}

/// S10: a ramp that is done has all traffic where it was to go.
pub(super) fn done(bench: &mut Bench<'_>, runs: &Runs, action: &Value, (run, step): (&str, &str), record: &Record) {
    let calls = action["calls"].as_array().map_or(&[][..], Vec::as_slice);
    let last = calls.iter().rev().find(|call| text(call, "role") == "step");
    let intended = runs.intents.iter().filter(|i| i.run == run && i.step == step && !i.is_undo);
    let steps: BTreeSet<u64> = intended.filter(|i| role(action, i.call) == "step").map(|i| i.call).collect();
    let planned = calls.iter().filter(|call| text(call, "role") == "step").count();
    let is_so = last.is_some_and(|last| is_served(bench.seen.world, &last["mutation"]));
    if steps.len() != planned || !is_so {
        let text = format!(
            "step {step} of {run} is done at {}, with {} of its {planned} steps, and the name servers {} answer as after \
             the last",
            bench.findings.clock(record.at),
            steps.len(),
            if is_so { "do" } else { "do not" }
        );
        bench.findings.violated("S10", record.at, text);
    }
}

/// Whether the name servers answer from these records, to the weight.
fn is_served(world: &World, call: &Value) -> bool {
    let zone = text(call, "hosted_zone_id");
    let Some(zone) = world.route53.zones().get(zone.trim_start_matches("/hostedzone/")) else { return false };
    call["records"].as_array().is_some_and(|records| {
        records.iter().all(|record| {
            zone.served.values().any(|set| match &set.routing {
                Routing::Weighted { set_identifier, weight } => {
                    record["set_identifier"].as_str() == Some(set_identifier)
                        && record["weight"].as_u64() == Some(u64::from(*weight))
                        && record["health_check_id"].as_str() == set.health_check_id.as_deref()
                        && record["values"] == serde_json::json!(set.values)
                }
                Routing::Simple | Routing::Failover { .. } => false,
            })
        })
    })
}
