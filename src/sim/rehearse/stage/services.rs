//! The services that a configuration's runbooks call (`aws.call`): there under the names that they are called by, and as
//! the last move to the Region where the application lives has left them.
//!
//! What no call says is chosen, and here: a parameter that nothing has written holds `unset`, a function has reserved
//! concurrency [`RESERVED`], a service of ECS runs [`TASKS`] tasks, a rule is enabled, a secret has replicas in all Regions, a key is enabled, a vault has a recovery
//! point of the start. Whatever else a call names is not there, and is refused as AWS would.

use serde_json::Value;

use crate::{
    domain::{
        action::{Action, EffectClass},
        api_call::{ApiCall, AwsCall},
        id::Region,
        plan::Plan,
    },
    sim::world::{World, services::lambda::Switch},
};

/// What a function has reserved of which no call says more.
const RESERVED: u64 = 100;
/// How many tasks a service has of which no call says more.
const TASKS: u64 = 4;

/// Furnishes `world` with what `away` and `home` call: the plans that lead away from the Region where the application
/// lives, and those that have led to it.
pub fn furnish(world: &mut World, regions: &[Region], away: &[Plan], home: &[Plan]) {
    for plan in away.iter().chain(home) {
        calls(plan).into_iter().flat_map(requests).for_each(|request| put(world, regions, request));
    }
    for call in away.iter().chain(home).flat_map(calls).filter(|call| call.effect != EffectClass::Read) {
        let request = &call.request;
        // What is refused now is refused in the rehearsal too, where it is seen.
        let _refused = world.call_service(&request.operation, &request.region, &request.arguments);
    }
    world.log.clear();
}

/// Furnishes `world` with the functions that `drills` break on purpose: each with variables of its own that must still be
/// there afterwards, and answering with errors, as the servers of its Region do, while the fault is in.
pub fn furnish_faults(world: &mut World, drills: &[Plan]) {
    for step in drills.iter().flat_map(|plan| &plan.steps) {
        let Action::LambdaFault(fault) = &step.action else { continue };
        let (lambda, at) = (&mut world.services.lambda, &fault.at);
        let own = [("LOG_LEVEL", "info"), ("DATABASE_SECRET", "not-to-be-told")];
        let normal = fault.normal.as_deref().map(|value| (at.variable.as_str(), value));
        lambda.put_variables(&at.region, &at.function, own.into_iter().chain(normal));
        lambda.add_switch(Switch {
            region: at.region.clone(),
            function: at.function.clone(),
            variable: at.variable.clone(),
            breaks: fault.broken.clone(),
        });
    }
}

fn calls(plan: &Plan) -> Vec<&AwsCall> {
    plan.steps
        .iter()
        .filter_map(|step| match &step.action {
            Action::AwsCall { call } => Some(&**call),
            _ => None,
        })
        .collect()
}

/// The call itself, what is looked at for it, and what takes it back.
fn requests(call: &AwsCall) -> Vec<&ApiCall> {
    let read = call.done_when.as_ref().and_then(|done| done.read.as_ref());
    let undo = call.undo.as_deref().map(requests).unwrap_or_default();
    [&call.request].into_iter().chain(read).chain(undo).collect()
}

/// What `request` names, where it is not there yet.
fn put(world: &mut World, regions: &[Region], request: &ApiCall) {
    let text = |name: &str| request.arguments.get(name).and_then(Value::as_str);
    let (region, now) = (&request.region, world.now);
    let services = &mut world.services;
    match (request.service(), request.name()) {
        ("ssm", _) => {
            let absent = text("Name").filter(|name| services.ssm.parameter(region, name).is_none());
            absent.into_iter().for_each(|name| services.ssm.add(region, name, "unset"));
        }
        ("lambda", _) => {
            let absent = text("FunctionName").filter(|name| services.lambda.function(region, name).is_none());
            absent.into_iter().for_each(|name| services.lambda.add_reserved(region, name, RESERVED));
        }
        ("events", "DescribeRule" | "EnableRule" | "DisableRule") => {
            let absent = text("Name").filter(|name| services.events.rule(region, name).is_none());
            absent.into_iter().for_each(|name| services.events.add(region, name, "rate(5 minutes)", true));
        }
        ("ecs", _) => {
            let listed = request.arguments.get("services").and_then(Value::as_array).into_iter().flatten();
            let named: Vec<&str> = listed.filter_map(Value::as_str).chain(text("service")).collect();
            let cluster = text("cluster").unwrap_or("default");
            for name in named {
                if services.ecs.service(region, cluster, name).is_none() {
                    services.ecs.add(region, cluster, name, TASKS);
                }
            }
        }
        ("secretsmanager", _) => {
            let absent = text("SecretId").filter(|name| services.secrets.secret(region, name).is_none());
            if let (Some(name), [primary, replicas @ ..]) = (absent, regions) {
                services.secrets.add(primary, name, replicas);
            }
        }
        ("kms", _) => text("KeyId").into_iter().for_each(|id| services.kms.add(region, id, true)),
        ("backup", _) => {
            text("BackupVaultName").into_iter().for_each(|vault| services.backup.add(region, vault, now));
        }
        _ => {}
    }
}
