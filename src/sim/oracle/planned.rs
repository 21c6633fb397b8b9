//! S14: what is intended is what was planned, to the last argument.
//!
//! The calls that an action stands for are worked out here anew, from the plan's JSON; no code of the engine is used.

use serde_json::{Value, json};

use super::{Findings, journal::Record, region_of, runs::Run, text};

/// S14: the plan was fixed at the start; what is intended is one of its calls, to the last argument.
pub(super) fn check_planned(run: &Run, step: &str, event: &Value, record: &Record, findings: &mut Findings) {
    findings.checked("S14");
    let number = event["call"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
    let planned = run.action(step).map(planned_calls).unwrap_or_default();
    if planned.get(number) != Some(&event["mutation"]) {
        let text = format!(
            "step {step} of {} intends {}, which is not call {number} of the plan that was fixed when it started",
            run.id, event["mutation"]
        );
        findings.violated("S14", record.at, text);
    }
}

/// The calls that an action of a plan stands for (DESIGN.md 7, AWS.md 1): a switchover is called in the Region of the
/// present writer, a failover and a detachment in the target's.
fn planned_calls(action: &Value) -> Vec<Value> {
    let aurora = |call: &str, region: &str| {
        json!({
            "call": call,
            "region": region,
            "global_cluster": action["global_cluster"],
            "target": action["target"],
        })
    };
    match text(action, "action") {
        "aurora.switchover" => vec![aurora("aurora_switchover", region_of(text(action, "from")))],
        "aurora.failover" => vec![aurora("aurora_failover", region_of(text(action, "target")))],
        "aurora.detach" => vec![aurora("aurora_detach", region_of(text(action, "target")))],
        "aurora.add_instance" => {
            let target = text(action, "target");
            let create = |identifier: &Value| {
                json!({
                    "call": "create_instance",
                    "region": region_of(target),
                    "cluster": target,
                    "identifier": identifier,
                    "class": action["class"],
                    "engine": action["engine"],
                })
            };
            action["identifiers"].as_array().into_iter().flatten().map(create).collect()
        }
        "dns.flip" => action["calls"].as_array().cloned().unwrap_or_default(),
        "dns.weights" => {
            let calls = action["calls"].as_array().into_iter().flatten();
            calls.map(|call| call["mutation"].clone()).collect()
        }
        "notify" => {
            let topics = action["topics"].as_array().into_iter().flatten();
            let publish = |topic: &Value| {
                json!({
                    "call": "publish",
                    "region": topic["region"],
                    "topic_arn": topic["arn"],
                    "subject": action["subject"],
                    "message": action["message"],
                })
            };
            topics.map(publish).collect()
        }
        "aws.call" if text(&action["call"], "effect") != "read" => {
            let call = &action["call"];
            vec![json!({ "call": "aws_call", "request": call["request"], "idempotent": call["idempotent"] })]
        }
        _ => Vec::new(),
    }
}
