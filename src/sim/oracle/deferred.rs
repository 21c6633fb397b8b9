//! S14 of work that outlives its run: its calls are intents like others, of what the run's plan left open. S3 is asked of
//! each call as of any.

use serde_json::Value;

use super::{Findings, intent::Intent, journal::Record, region_of, runs::Runs, text};

pub(super) fn take(runs: &mut Runs, record: &Record, event: &Value, findings: &mut Findings) {
    let (id, step) = (text(event, "run").to_owned(), text(event, "step").to_owned());
    if text(event, "event") != "deferred_intended" {
        let outcome = text(&event["outcome"], "outcome");
        if let Some(last) = runs.intents.iter_mut().rev().find(|i| i.run == id && i.step == step) {
            outcome.clone_into(&mut last.outcome);
        }
        return runs.close(record, true, |i| i.run == id && i.step == step);
    }
    let action = runs.run(&id).and_then(|run| run.action(&step)).cloned().unwrap_or_default();
    let cluster = runs.run(&id).and_then(|run| run.action(&step)).map_or("", |action| text(action, "cluster"));
    let call = &event["mutation"];
    findings.checked("S14");
    let is_copy = text(call, "call") == "copy_snapshot"
        && text(call, "region") == region_of(cluster)
        && text(call, "source").starts_with("rds:unplanned-global-failover-");
    // A fault that the run had put in is taken out.
    let is_mending = text(call, "call") == "lambda_variable"
        && text(&action, "action") == "fault.lambda_variable"
        && call["at"] == action["at"]
        && (&call["from"], &call["to"]) == (&action["broken"], &action["normal"]);
    if !is_copy && !is_mending && text(call, "call") != "publish" {
        let text = format!("{step} of {id} left work open, and {call} is none of it");
        findings.violated("S14", record.at, text);
    }
    let intent = Intent::new(id, step, call, record);
    let attempt = event["attempt"].as_u64().unwrap_or_default();
    runs.intents.push(Intent { attempt, ..intent });
}
