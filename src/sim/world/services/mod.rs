//! Services that a failover touches beside its databases and its names: security groups, Lambda, ECS, SSM parameters,
//! EventBridge, Secrets Manager, KMS and AWS Backup, each per Region; and what AWS permits ([`iam`]).
//!
//! Invariant: they do nothing by themselves: what takes time (an update of a function, tasks that start) is told by the
//! time of the change and the time of the look, so no generator is drawn from and no history changes by their being
//! there. Arguments and answers are the services' own, as JSON.
//! Deliberately not modelled: what the functions and tasks do, other accounts, and every operation that is
//! not in [`OPERATIONS`]: it is refused by name.

pub mod backup;
pub mod ec2;
pub mod ecs;
pub mod events;
pub mod iam;
pub mod kms;
pub mod lambda;
pub mod secrets;
pub mod ssm;

use serde_json::{Map, Value};

use super::{ApiFault, Plane, SimTime, World, WorldEvent};
use crate::domain::id::Region;

/// Every operation that is served, as `service:Operation`.
pub const OPERATIONS: &[&str] = &[
    "backup:ListRecoveryPointsByBackupVault",
    "ec2:AuthorizeSecurityGroupIngress",
    "ec2:DescribeSecurityGroupRules",
    "ec2:RevokeSecurityGroupIngress",
    "ecs:DescribeServices",
    "ecs:UpdateService",
    "events:DescribeRule",
    "events:DisableRule",
    "events:EnableRule",
    "events:PutRule",
    "kms:DescribeKey",
    "lambda:DeleteFunctionConcurrency",
    "lambda:GetFunctionConcurrency",
    "lambda:GetFunctionConfiguration",
    "lambda:PutFunctionConcurrency",
    "lambda:UpdateFunctionConfiguration",
    "secretsmanager:DescribeSecret",
    "secretsmanager:ReplicateSecretToRegions",
    "secretsmanager:StopReplicationToReplica",
    "ssm:DeleteParameter",
    "ssm:GetParameter",
    "ssm:PutParameter",
];

/// The plane of a service that is here.
pub fn plane(service: &str) -> Option<Plane> {
    Some(match service {
        "backup" => Plane::Backup,
        "ec2" => Plane::Ec2,
        "ecs" => Plane::Ecs,
        "events" => Plane::EventBridge,
        "kms" => Plane::Kms,
        "lambda" => Plane::Lambda,
        "secretsmanager" => Plane::SecretsManager,
        "ssm" => Plane::Ssm,
        "iam" | "sts" => Plane::Sts,
        _ => return None,
    })
}

/// The services of every Region.
#[derive(Debug, Default)]
pub struct Services {
    pub backup: backup::Backup,
    pub ec2: ec2::Ec2,
    pub ecs: ecs::Ecs,
    pub events: events::Events,
    pub iam: iam::Iam,
    pub kms: kms::Kms,
    pub lambda: lambda::Lambda,
    pub secrets: secrets::Secrets,
    pub ssm: ssm::Ssm,
}

impl World {
    /// Calls `operation` (one of [`OPERATIONS`]) of the endpoint in `region`, as it is now.
    ///
    /// # Errors
    /// The service's own refusal; `NotImplemented` for what is not simulated.
    pub fn call_service(&mut self, operation: &str, region: &Region, arguments: &Value) -> Result<Value, ApiFault> {
        let none = Map::new();
        let call = Request { region, now: self.now, arguments: arguments.as_object().unwrap_or(&none) };
        let (service, name) = operation.split_once(':').unwrap_or((operation, ""));
        let answer = match service {
            "backup" => self.services.backup.call(name, &call),
            "ec2" => self.services.ec2.call(name, &call),
            "ecs" => self.services.ecs.call(name, &call),
            "events" => self.services.events.call(name, &call),
            "kms" => self.services.kms.call(name, &call),
            "lambda" => self.services.lambda.call(name, &call),
            "secretsmanager" => self.services.secrets.call(name, &call),
            "ssm" => self.services.ssm.call(name, &call),
            _ => Err(not_simulated(operation)),
        }?;
        if operation == "lambda:UpdateFunctionConfiguration" {
            // What runs is replaced while the update is in progress.
            self.later(self.now.plus_ms(lambda::UPDATE_MS), |world| {
                world.endpoints.faulty = world.services.lambda.broken();
            });
        }
        let reads = ["Get", "Describe", "List"].iter().any(|verb| name.starts_with(verb));
        if !reads {
            self.log.push(WorldEvent {
                at: self.now,
                kind: "service.called",
                text: format!("{operation} in {region}"),
            });
        }
        Ok(answer)
    }
}

/// A change of one variable of a function, as its sender read the function before.
#[derive(Debug, Clone, Copy)]
pub struct VariableChange<'a> {
    pub region: &'a Region,
    pub function: &'a str,
    pub variable: &'a str,
    /// `None`: there is no such variable.
    pub from: Option<&'a str>,
    pub to: Option<&'a str>,
    /// The revision that was read; `None` where the function was not there.
    pub revision: Option<u64>,
}

impl World {
    /// Writes the function's variables back whole with one of them changed, as a careful client does: for the revision
    /// that it has read.
    ///
    /// # Errors
    /// Lambda's own refusal; `VariableDrift` where the client would not have sent it.
    pub fn change_variable(&mut self, change: VariableChange<'_>) -> Result<(), ApiFault> {
        let VariableChange { region, function, variable, from, to, revision } = change;
        let Some(found) = self.services.lambda.function(region, function) else {
            return Err(fault(404, "ResourceNotFoundException", format!("Function not found: {function}")));
        };
        if self.services.lambda.revision(region, function) != revision {
            return Err(fault(412, "PreconditionFailedException", "another revision is there"));
        }
        let mut variables = found.variables.clone();
        let held = variables.get(variable).map(String::as_str);
        if held == to {
            return Ok(());
        }
        if held != from {
            return Err(fault(400, "VariableDrift", "it holds something else"));
        }
        match to {
            Some(value) => variables.insert(variable.to_owned(), value.to_owned()),
            None => variables.remove(variable),
        };
        let arguments = serde_json::json!({ "FunctionName": function, "Environment": { "Variables": variables } });
        self.call_service("lambda:UpdateFunctionConfiguration", region, &arguments).map(|_| ())
    }
}

/// One call as a service sees it.
struct Request<'a> {
    region: &'a Region,
    now: SimTime,
    arguments: &'a Map<String, Value>,
}

impl Request<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.arguments.get(name).and_then(Value::as_str)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.arguments.get(name).and_then(Value::as_u64)
    }
}

fn fault(status: u16, code: &'static str, message: impl Into<String>) -> ApiFault {
    ApiFault { status, code, message: message.into() }
}

fn not_simulated(operation: &str) -> ApiFault {
    fault(501, "NotImplemented", format!("{operation} is not simulated"))
}

/// Seconds since the epoch, as the JSON protocols write a time.
fn seconds(at: SimTime) -> f64 {
    at.0 as f64 / 1_000.0
}

#[cfg(test)]
mod tests;
