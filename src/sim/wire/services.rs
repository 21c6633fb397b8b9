//! Lambda, ECS, SSM, EventBridge, Secrets Manager, KMS, Backup and STS as their clients speak to them: awsJson 1.1, REST-JSON and the
//! Query protocol.
//!
//! What a call means is the world's. Here a request that its service would not understand (another target, another
//! content type, a path that is none) is refused as one.

use hyper::Method;
use serde_json::{Map, Value};
use winterbaume_core::MockResponse;

use super::{
    call::Call,
    encode::{self, Protocol, Tree},
};
use crate::sim::world::{ApiFault, SimTime, World, sns::ACCOUNT};

/// Service → the prefix of its `X-Amz-Target`. [bc]
const TARGETS: [(&str, &str); 5] = [
    ("ecs", "AmazonEC2ContainerServiceV20141113"),
    ("events", "AWSEvents"),
    ("kms", "TrentService"),
    ("secretsmanager", "secretsmanager"),
    ("ssm", "AmazonSSM"),
];

/// How long the credentials of an assumed role are good for. [bc:sts.AssumeRole]
const SESSION_MS: u64 = 3_600_000;

/// Answers one call.
pub(super) fn handle(world: &mut World, call: &Call) -> MockResponse {
    if call.service == "sts" {
        return sts(world, call);
    }
    let answer = arguments(call).and_then(|arguments| {
        let operation = format!("{}:{}", call.service, call.operation);
        world.call_service(&operation, &call.region, &arguments)
    });
    match answer {
        // Lambda answers a deletion without a body; its clients insist on the status. [bc:lambda]
        Ok(_) if call.operation == "DeleteFunctionConcurrency" => MockResponse::rest_json(204, String::new()),
        Ok(_) if matches!(call.operation.as_str(), "EnableRule" | "DisableRule") => {
            MockResponse::json(200, String::new())
        }
        Ok(answer) => MockResponse::json(200, answer.to_string()),
        Err(fault) => call.fault(&fault),
    }
}

fn invalid(code: &'static str, message: impl Into<String>) -> ApiFault {
    ApiFault { status: 400, code, message: message.into() }
}

/// Whether a service has nothing but the path to tell an operation by.
pub(super) fn is_rest_json(service: &str) -> bool {
    matches!(service, "lambda" | "backup")
}

/// The operation that a path means, and what stands in it: the argument's name and its value. [bc:lambda, bc:backup]
pub(super) fn rest_operation<'a>(method: &Method, path: &'a str) -> Option<(&'static str, &'static str, &'a str)> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let function = |operation, name| Some((operation, "FunctionName", name));
    match (method.as_str(), &parts[..]) {
        ("PUT", ["2017-10-31", "functions", name, "concurrency"]) => function("PutFunctionConcurrency", *name),
        ("DELETE", ["2017-10-31", "functions", name, "concurrency"]) => function("DeleteFunctionConcurrency", *name),
        ("GET", ["2019-09-30", "functions", name, "concurrency"]) => function("GetFunctionConcurrency", *name),
        ("GET", ["2015-03-31", "functions", name, "configuration"]) => function("GetFunctionConfiguration", *name),
        ("PUT", ["2015-03-31", "functions", name, "configuration"]) => function("UpdateFunctionConfiguration", *name),
        ("GET", ["backup-vaults", name, "recovery-points"]) => {
            Some(("ListRecoveryPointsByBackupVault", "BackupVaultName", *name))
        }
        _ => None,
    }
}

/// The arguments of a call, wherever its protocol has them.
fn arguments(call: &Call) -> Result<Value, ApiFault> {
    let mut body = if call.body.is_empty() {
        Map::new()
    } else {
        serde_json::from_slice(&call.body)
            .map_err(|e| invalid("SerializationException", format!("the body is no JSON object: {e}")))?
    };
    if is_rest_json(&call.service) {
        let (_, argument, name) = rest_operation(&call.method, &call.path).unwrap_or_default();
        body.insert(argument.to_owned(), Value::from(percent_decoded(name)));
        return Ok(Value::Object(body));
    }
    let header = |name: &str| call.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let prefix = TARGETS.iter().find(|(service, _)| *service == call.service).map_or("", |(_, prefix)| prefix);
    if header("x-amz-target") != format!("{prefix}.{}", call.operation) {
        return Err(invalid("UnknownOperationException", format!("no target is called {}", header("x-amz-target"))));
    }
    if header("content-type") != "application/x-amz-json-1.1" {
        return Err(invalid("SerializationException", format!("not awsJson 1.1: {}", header("content-type"))));
    }
    Ok(Value::Object(body))
}

fn percent_decoded(text: &str) -> String {
    let pair = form_urlencoded::parse(text.as_bytes()).next();
    // A plus sign stands for itself in a path; function names hold none.
    pair.map(|(name, _)| name.into_owned()).unwrap_or_default()
}

/// STS: a role's credentials for an hour, worth nothing elsewhere; a role whose name ends in `-denied` is refused.
fn sts(world: &mut World, call: &Call) -> MockResponse {
    let given: Vec<(String, String)> = form_urlencoded::parse(&call.body).into_owned().collect();
    let of = |name: &str| given.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()).unwrap_or_default();
    let text = |text: &str| Tree::text(text);
    let result = match call.operation.as_str() {
        "GetCallerIdentity" => Ok(Tree::Map(vec![
            ("UserId", text("AROASIMULATED:simulated")),
            ("Account", text(ACCOUNT)),
            ("Arn", text(&world.services.iam.caller())),
        ])),
        "AssumeRole" => assumed(of("RoleArn"), of("RoleSessionName"), world.now),
        other => Err(super::not_simulated("sts", other)),
    };
    match result {
        Ok(tree) => encode::answer(Protocol::Query, "sts", &call.operation, Some(&tree)),
        Err(fault) => call.fault(&fault),
    }
}

fn assumed(role: &str, session: &str, now: SimTime) -> Result<Tree, ApiFault> {
    let name = role.rsplit('/').next().unwrap_or_default();
    let account = role.split(':').nth(4).unwrap_or_default();
    if !role.contains(":role/") || account.len() != 12 || session.is_empty() {
        return Err(invalid("ValidationError", "RoleArn or RoleSessionName is not valid"));
    }
    if name.ends_with("-denied") {
        let message = format!("User is not authorized to perform: sts:AssumeRole on resource: {role}");
        return Err(ApiFault { status: 403, code: "AccessDenied", message });
    }
    let text = Tree::text;
    Ok(Tree::Map(vec![
        (
            "Credentials",
            Tree::Map(vec![
                ("AccessKeyId", text(format!("ASIA{account}ROLE"))),
                ("SecretAccessKey", text("simulated".to_owned())),
                ("SessionToken", text(format!("session-of-{name}"))),
                ("Expiration", Tree::Time(now.plus_ms(SESSION_MS))),
            ]),
        ),
        (
            "AssumedRoleUser",
            Tree::Map(vec![
                ("AssumedRoleId", text(format!("AROASIMULATED:{session}"))),
                ("Arn", text(format!("arn:aws:sts::{account}:assumed-role/{name}/{session}"))),
            ]),
        ),
    ]))
}
