//! What a runbook may not call, what may not stand in its arguments, and which refusals pass.
//!
//! Invariant: a call that would go around a guard of this program (a promotion, a routing control) is refused by name,
//! and so is a secret: arguments are journalled and shown to approvers.

use serde_json::Value;

use super::texts;

/// The longest arguments of one call, in bytes of JSON: they stand in the plan, the intent and every approval.
pub const ARGUMENTS_BYTES_MAX: usize = 16 * 1024;
/// The deepest nesting of arguments.
pub const ARGUMENTS_DEPTH_MAX: usize = 8;

/// (Service, operation or `*`, what to do instead.)
const REFUSED: &[(&str, &str, &str)] = &[
    ("rds", "FailoverGlobalCluster", "use `aurora.failover`, which is guarded"),
    ("rds", "SwitchoverGlobalCluster", "use `aurora.switchover`, which is guarded"),
    ("rds", "RemoveFromGlobalCluster", "it makes a second writer: no call of a runbook may"),
    ("rds", "DeleteDBCluster", "it destroys data: no call of a runbook may"),
    ("rds", "DeleteDBInstance", "it destroys data: no call of a runbook may"),
    ("rds", "DeleteGlobalCluster", "it destroys data: no call of a runbook may"),
    ("dynamodb", "DeleteTable", "it destroys data: no call of a runbook may"),
    ("kms", "ScheduleKeyDeletion", "it destroys data: no call of a runbook may"),
    ("route53", "*", "use `dns.flip`: Route 53 moves traffic, which waits for a proven writer"),
    ("route53-recovery-cluster", "*", "use `dns.routing_controls`"),
    ("arc-region-switch", "*", "one orchestrator at a time"),
    ("sns", "*", "use `notify`"),
    ("monitoring", "*", "use `dns.health_signal`: a metric may turn a health check"),
    ("iam", "*", "permissions are not changed in a disaster"),
    ("organizations", "*", "permissions are not changed in a disaster"),
    ("sts", "AssumeRole", "give the call a `role_arn`"),
    ("sts", "GetSessionToken", "its answer is a secret"),
    ("sts", "GetFederationToken", "its answer is a secret"),
    ("secretsmanager", "GetSecretValue", "its answer is a secret"),
    ("secretsmanager", "BatchGetSecretValue", "its answer is a secret"),
    ("secretsmanager", "GetRandomPassword", "its answer is a secret"),
    ("kms", "Decrypt", "its answer is a secret"),
    ("kms", "GenerateDataKey", "its answer is a secret"),
];

/// Keys, without their case, whose value is a secret.
const SECRET_KEYS: &[&str] =
    &["secretstring", "secretbinary", "masteruserpassword", "password", "authtoken", "secretaccesskey", "clientsecret"];

/// Codes of refusals that pass, whatever the service: nothing happened, and the same call may be sent again. [bc]
const PASSING: &[&str] = &[
    "BandwidthLimitExceeded",
    "ConcurrentModificationException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];

/// The same, of one service. [bc]
const PASSING_OF: &[(&str, &str)] = &[
    // Another change of the same function is under way.
    ("lambda", "ResourceConflictException"),
    ("ssm", "TooManyUpdates"),
    ("ecs", "UpdateInProgressException"),
    ("application-autoscaling", "ConcurrentUpdateException"),
    ("autoscaling", "ScalingActivityInProgress"),
    ("autoscaling", "ResourceContention"),
];

/// Whether a refusal with `code` passes.
pub fn is_passing(service: &str, code: &str) -> bool {
    PASSING.contains(&code) || PASSING_OF.contains(&(service, code))
}

/// Why `operation` of `service` may not be called; the form of both is checked here too.
pub fn fault_of_operation(service: &str, operation: &str) -> Option<String> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if service.is_empty() || 40 < service.len() || !service.bytes().all(plain) || service.starts_with('-') {
        return Some(format!("`{service}` is no service's name: 1 to 40 of a-z, 0-9 and -, as in IAM's actions"));
    }
    let named = operation.starts_with(|c: char| c.is_ascii_uppercase())
        && operation.len() <= 80
        && operation.bytes().all(|b| b.is_ascii_alphanumeric());
    if !named {
        return Some(format!("`{operation}` is no operation's name, such as PutParameter"));
    }
    let refused = REFUSED.iter().find(|(s, o, _)| *s == service && (*o == "*" || *o == operation));
    refused.map(|(_, _, instead)| format!("`aws.call` does not call {service}:{operation}: {instead}"))
}

/// What is wrong with the arguments of a call: too large, too deep, or a secret.
pub fn fault_of_arguments(service: &str, arguments: &Value) -> Option<String> {
    let bytes = arguments.to_string().len();
    if ARGUMENTS_BYTES_MAX < bytes {
        return Some(format!("the arguments are {bytes} bytes of JSON; the limit is {ARGUMENTS_BYTES_MAX}"));
    }
    if ARGUMENTS_DEPTH_MAX < depth(arguments) {
        return Some(format!("the arguments are nested deeper than {ARGUMENTS_DEPTH_MAX}"));
    }
    if let Some(key) = secret_in(arguments) {
        return Some(format!("`{key}` is a secret, and arguments are journalled: let the service hold it"));
    }
    let is = |key: &str, value: &Value| arguments.get(key) == Some(value);
    if service == "ssm" && is("Type", &Value::from("SecureString")) {
        return Some("a SecureString is a secret, and arguments are journalled: let the service hold it".to_owned());
    }
    if service == "ssm" && is("WithDecryption", &Value::Bool(true)) {
        return Some("with `WithDecryption` the answer is a secret".to_owned());
    }
    let access_key = |text: &&str| {
        (text.starts_with("AKIA") || text.starts_with("ASIA"))
            && text.len() == 20
            && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
    };
    texts(arguments).into_iter().find(access_key).map(|_| "an argument looks like an AWS access key".to_owned())
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn secret_in(value: &Value) -> Option<&str> {
    match value {
        Value::Object(map) => map.iter().find_map(|(key, item)| {
            let is_secret = SECRET_KEYS.contains(&key.to_ascii_lowercase().as_str());
            if is_secret { Some(key.as_str()) } else { secret_in(item) }
        }),
        Value::Array(items) => items.iter().find_map(secret_in),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}
