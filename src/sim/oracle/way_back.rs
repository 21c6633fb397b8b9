//! What people say of one step, and the calls that take a step back: held against the plan and against what the journal
//! says was there before.
//!
//! It judges what is intended, from the journal's JSON alone; whether the world is as it was is for the calls to say.

use serde_json::{Value, json};

use super::{
    Findings,
    intent::Intent,
    journal::Record,
    planned::is_planned,
    runs::{Run, Step},
    text,
};

/// S12: what a person says of a step, they say of the plan that is executed.
pub(super) fn check_shown(run: &Run, event: &Value, record: &Record, findings: &mut Findings) {
    findings.checked("S12");
    if text(event, "digest") != run.digest {
        let text = format!("{} was shown another plan than the one that {} executes", text(event, "subject"), run.id);
        findings.violated("S12", record.at, text);
    }
}

/// S14 of the way back: what is intended restores what the journal says was there before, and nothing is taken back
/// beyond what only another run takes back.
pub(super) fn check_way_back(
    run: &Run,
    intents: &[Intent],
    step: &str,
    event: &Value,
    record: &Record,
    findings: &mut Findings,
) {
    findings.checked("S14");
    let of_step = |i: &&Intent| i.run == run.id && i.step == step && !i.is_undo && !i.prior.is_null();
    let back = &event["mutation"];
    let restores = |i: &Intent| match text(back, "call") {
        "routing_controls" => i.prior["states"] == back["states"],
        "upsert_records" => {
            let before = i.prior["records"].as_array().map_or(&[][..], Vec::as_slice);
            back["records"].as_array().is_some_and(|all| all.iter().all(|record| before.contains(record)))
        }
        "put_metric" => i.prior["value"] == back["value"],
        what @ ("put_object" | "delete_object") => {
            i.mutation["object"] == back["object"] && i.prior["is_there"] == (what == "put_object")
        }
        _ => false,
    };
    // A call that a runbook writes out is taken back by the call that the plan has for it.
    // `undo: restore`: with what was there before, where the plan has the place that it is read from.
    let priors = || intents.iter().filter(of_step).map(|i| &i.prior["values"]);
    let is_declared = || {
        run.action(step).is_some_and(|action| {
            let declared = &action["call"]["undo"]["request"];
            let is_back = |before: &Value| is_planned(run, &with_before(declared, before), &back["request"]);
            is_back(&Value::Null) || priors().any(is_back)
        })
    };
    let restored = match text(back, "call") {
        "aws_call" if run.action(step).is_some_and(|a| text(a, "action") == "fence") => {
            intents.iter().filter(of_step).any(|i| opens(i, &back["request"]))
        }
        "lambda_variable" => run.action(step).is_some_and(|action| {
            let same = back["at"] == action["at"] && back["from"] == action["broken"] && back["to"] == action["normal"];
            same && action["mends"] != true
        }),
        "aws_call" => is_declared(),
        _ => intents.iter().filter(of_step).any(restores),
    };
    if !restored {
        let text = format!("{} takes {step} back by {back}, which is not what was there before it", run.id);
        findings.violated("S14", record.at, text);
    }
    let is_final = |i: &&Intent| {
        i.run == run.id
            && matches!(text(&i.mutation, "call"), "aurora_failover" | "aurora_switchover" | "aurora_detach")
    };
    let passed = intents.iter().filter(is_final).find(|i| !matches!(i.outcome.as_str(), "rejected" | "not_sent"));
    // A fault on purpose moves nothing: it may be taken out wherever the writer is.
    if let Some(passed) = passed.filter(|_| text(back, "call") != "lambda_variable") {
        let text =
            format!("{} takes {step} back although {} has moved the writer: no way leads back", run.id, passed.step);
        findings.violated("S14", record.at, text);
    }
}

/// `request` of a plan with the values that were read before the step, by argument; what was not read stays a place.
fn with_before(request: &Value, before: &Value) -> Value {
    let mut request = request.clone();
    for (argument, value) in request["arguments"].as_object_mut().into_iter().flatten() {
        if let (true, Some(read)) = (value["$before"].is_object(), before.get(argument)) {
            *value = read.clone();
        }
    }
    request
}

/// Whether `request` gives back what the fence of `closed` took, to the same thing.
fn opens(closed: &Intent, request: &Value) -> bool {
    let (taken, given) = (&closed.mutation["request"]["arguments"], &request["arguments"]);
    let same = |names: &[&str]| names.iter().all(|name| !taken[*name].is_null() && taken[*name] == given[*name]);
    let (prior, same_region) = (&closed.prior, closed.mutation["request"]["region"] == request["region"]);
    let is_restored = match text(request, "operation") {
        "ec2:AuthorizeSecurityGroupIngress" => {
            let rules = prior["rules"].as_array().into_iter().flatten();
            let given = given["IpPermissions"].as_array().map_or(&[][..], Vec::as_slice);
            same(&["GroupId"]) && !given.is_empty() && rules.map(permission).eq(given.iter().cloned())
        }
        "ecs:UpdateService" => same(&["cluster", "service"]) && prior["count"] == given["desiredCount"],
        "lambda:PutFunctionConcurrency" => {
            same(&["FunctionName"]) && prior["count"] == given["ReservedConcurrentExecutions"]
        }
        "lambda:DeleteFunctionConcurrency" => same(&["FunctionName"]) && prior["count"].is_null(),
        _ => false,
    };
    is_restored && same_region
}

/// A rule that was there before, as EC2 is asked for it.
fn permission(rule: &Value) -> Value {
    let peer = text(rule, "peer");
    let (list, name) = match peer {
        group if group.starts_with("sg-") => ("Groups", "GroupId"),
        prefixes if prefixes.starts_with("pl-") => ("PrefixListIds", "PrefixListId"),
        block if block.contains(':') => ("Ipv6Ranges", "CidrIpv6"),
        _ => ("IpRanges", "CidrIp"),
    };
    let mut entry = json!({ name: peer });
    if !rule["description"].is_null() {
        entry["Description"] = rule["description"].clone();
    }
    let (from, to) = (&rule["ports"][0], &rule["ports"][1]);
    json!({ "IpProtocol": rule["protocol"], "FromPort": from, "ToPort": to, list: [entry] })
}

/// S15: what is over intends nothing.
pub(super) fn check_not_done(run: &Run, step: &str, record: &Record, findings: &mut Findings) {
    if matches!(run.steps.get(step), Some(Step::Done | Step::Skipped)) {
        let text = format!("step {step} of {} is over and intends a call again: what is over stays over", run.id);
        findings.violated("S15", record.at, text);
    }
}
