//! S14: what is intended is what was planned, to the last argument.
//!
//! The calls that an action stands for are worked out here anew, from the plan's JSON; no code of the engine is used.

use serde_json::{Value, json};

use super::{Findings, journal::Record, region_of, runs::Run, text};

/// S14: the plan was fixed at the start; what is intended is one of its calls, to the last argument.
pub(super) fn check_planned(run: &Run, step: &str, event: &Value, record: &Record, findings: &mut Findings) {
    findings.checked("S14");
    let number = event["call"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
    let action = run.action(step);
    if action.is_some_and(|a| text(a, "action") == "fence") {
        findings.checked("S9");
        let mutation = &event["mutation"];
        let region = mutation["region"].as_str().or_else(|| mutation["request"]["region"].as_str());
        let old = action.into_iter().flat_map(|a| a["fence"]["old"].as_array().into_iter().flatten());
        let taking_over: Vec<&str> = old.map(|old| region_of(text(old, "target"))).collect();
        if region.is_some_and(|region| taking_over.contains(&region)) {
            let text = format!("step {step} of {} fences {}, which takes over", run.id, region.unwrap_or_default());
            findings.violated("S9", record.at, text);
        }
    }
    let planned = action.map(planned_calls).unwrap_or_default();
    if !planned.get(number).is_some_and(|planned| is_planned(run, planned, &event["mutation"])) {
        let text = format!(
            "step {step} of {} intends {}, which is not call {number} of the plan that was fixed when it started",
            run.id, event["mutation"]
        );
        findings.violated("S14", record.at, text);
    }
}

/// Whether `intended` is what the plan has, with what other steps have put out where the plan names an output.
pub(super) fn is_planned(run: &Run, planned: &Value, intended: &Value) -> bool {
    match (planned, intended) {
        (Value::Object(map), _) if map.len() == 1 && map.contains_key("$output") => {
            let hole = &map["$output"];
            let is_kind = match text(hole, "type") {
                "text" => intended.is_string(),
                "number" => intended.is_number(),
                "boolean" => intended.is_boolean(),
                _ => false,
            };
            is_kind && run.outputs.get(text(hole, "step")).is_some_and(|of| of[text(hole, "name")] == *intended)
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| other.get(key).is_some_and(|o| is_planned(run, value, o)))
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| is_planned(run, a, b))
        }
        (one, other) => one == other,
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
        "fault.lambda_variable" => {
            let (broken, normal) = (&action["broken"], &action["normal"]);
            let (from, to) = if action["mends"] == true { (broken, normal) } else { (normal, broken) };
            vec![json!({ "call": "lambda_variable", "at": action["at"], "from": from, "to": to })]
        }
        "fence" => fence_calls(&action["fence"]),
        _ => Vec::new(),
    }
}

/// Those of a rung (docs/fences.md): in the Region of the old writer, in the order in which the plan names its parts.
fn fence_calls(fence: &Value) -> Vec<Value> {
    let rung = &fence["rung"];
    let call = |operation: &str, wire: Value, arguments: Value| {
        let request = json!({
            "operation": operation, "region": rung["region"], "wire": wire, "arguments": arguments,
        });
        json!({ "call": "aws_call", "request": request, "idempotent": true })
    };
    match text(rung, "rung") {
        "connections" => {
            let old = fence["old"].as_array().into_iter().flatten();
            let ends = |old: &Value| json!({ "call": "end_sessions", "region": region_of(text(old, "cluster")), "store": old["store"] });
            old.map(ends).collect()
        }
        "security_group" => {
            let permission = |peer: &Value| {
                let peer = peer.as_str().unwrap_or_default();
                let (list, name) = match peer {
                    group if group.starts_with("sg-") => ("Groups", "GroupId"),
                    list if list.starts_with("pl-") => ("PrefixListIds", "PrefixListId"),
                    block if block.contains(':') => ("Ipv6Ranges", "CidrIpv6"),
                    _ => ("IpRanges", "CidrIp"),
                };
                let port = &rung["port"];
                json!({ "IpProtocol": "tcp", "FromPort": port, "ToPort": port, list: [{ name: peer }] })
            };
            let from: Vec<Value> = rung["from"].as_array().into_iter().flatten().map(permission).collect();
            let wire = json!({ "protocol": "query", "version": "2016-11-15", "lists": "flat" });
            let arguments = json!({ "GroupId": rung["group"], "IpPermissions": from });
            vec![call("ec2:RevokeSecurityGroupIngress", wire, arguments)]
        }
        "application" => {
            let off = |part: &Value| match text(part, "part") {
                "ecs" => {
                    let target = "AmazonEC2ContainerServiceV20141113";
                    let wire = json!({ "protocol": "json", "target": target, "version": "1.1" });
                    let (cluster, service) = (&part["cluster"], &part["service"]);
                    let arguments = json!({ "cluster": cluster, "service": service, "desiredCount": 0 });
                    call("ecs:UpdateService", wire, arguments)
                }
                _ => {
                    let path = "/2017-10-31/functions/{FunctionName}/concurrency";
                    let wire = json!({ "protocol": "rest_json", "method": "PUT", "path": path });
                    let arguments = json!({ "FunctionName": part["function"], "ReservedConcurrentExecutions": 0 });
                    call("lambda:PutFunctionConcurrency", wire, arguments)
                }
            };
            rung["parts"].as_array().into_iter().flatten().map(off).collect()
        }
        _ => Vec::new(),
    }
}
