use serde_json::json;

use super::*;

fn east() -> Region {
    "us-east-1".parse().expect("a Region")
}

fn west() -> Region {
    "us-west-2".parse().expect("a Region")
}

fn world() -> World {
    let mut world = World::new(1, SimTime(1_000_000));
    world.services.lambda.add(&east(), "api", &[("WRITER", "us-east-1")]);
    world.services.ecs.add(&east(), "shop", "worker", 3);
    world.services.events.add(&east(), "nightly", "rate(1 day)", true);
    world.services.secrets.add(&east(), "db", &[west()]);
    world
}

fn code(result: Result<Value, ApiFault>) -> &'static str {
    result.expect_err("refused").code
}

#[test]
fn a_function_with_no_concurrency_reserved_is_not_one_with_zero() {
    let mut w = world();
    let name = json!({ "FunctionName": "api" });
    assert_eq!(w.call_service("lambda:GetFunctionConcurrency", &east(), &name), Ok(json!({})));
    let arn = json!({ "FunctionName": "arn:aws:lambda:us-east-1:1:function:api", "ReservedConcurrentExecutions": 0 });
    w.call_service("lambda:PutFunctionConcurrency", &east(), &arn).expect("set");
    let zero = json!({ "ReservedConcurrentExecutions": 0 });
    assert_eq!(w.call_service("lambda:GetFunctionConcurrency", &east(), &name), Ok(zero));
    let too_much = json!({ "FunctionName": "api", "ReservedConcurrentExecutions": 901 });
    let refused = w.call_service("lambda:PutFunctionConcurrency", &east(), &too_much);
    assert_eq!(code(refused), "InvalidParameterValueException");
    assert_eq!(code(w.call_service("lambda:GetFunctionConcurrency", &west(), &name)), "ResourceNotFoundException");
}

#[test]
fn a_function_that_is_being_updated_refuses_another_update() {
    let mut w = world();
    let update = json!({ "FunctionName": "api", "Environment": { "Variables": { "WRITER": "us-west-2" } } });
    let first = w.call_service("lambda:UpdateFunctionConfiguration", &east(), &update).expect("taken");
    assert_eq!(first["LastUpdateStatus"], "InProgress");
    let second = w.call_service("lambda:UpdateFunctionConfiguration", &east(), &update);
    assert_eq!(code(second), "ResourceConflictException");
    w.advance_to(SimTime(1_002_000));
    let name = json!({ "FunctionName": "api" });
    let seen = w.call_service("lambda:GetFunctionConfiguration", &east(), &name).expect("there");
    assert_eq!(
        (&seen["LastUpdateStatus"], &seen["Environment"]["Variables"]["WRITER"]),
        (&json!("Successful"), &json!("us-west-2"))
    );
}

#[test]
fn tasks_stop_some_time_after_they_are_no_more_wanted() {
    let mut w = world();
    let update = json!({ "cluster": "shop", "service": "worker", "desiredCount": 0 });
    w.call_service("ecs:UpdateService", &east(), &update).expect("taken");
    let counts = |w: &mut World| {
        let asked = json!({ "cluster": "shop", "services": ["worker", "nobody"] });
        let seen = w.call_service("ecs:DescribeServices", &east(), &asked).expect("there");
        assert_eq!(seen["failures"][0]["reason"], "MISSING");
        (seen["services"][0]["desiredCount"].as_u64(), seen["services"][0]["runningCount"].as_u64())
    };
    assert_eq!(counts(&mut w), (Some(0), Some(3)));
    w.advance_to(SimTime(1_040_000));
    assert_eq!(counts(&mut w), (Some(0), Some(0)));
    let elsewhere = json!({ "cluster": "none", "service": "worker", "desiredCount": 0 });
    assert_eq!(code(w.call_service("ecs:UpdateService", &east(), &elsewhere)), "ClusterNotFoundException");
}

#[test]
fn a_parameter_is_overwritten_only_where_that_is_asked_for() {
    let mut w = world();
    let put = |value: &str, overwrite: bool| json!({ "Name": "/writer", "Value": value, "Type": "String", "Overwrite": overwrite });
    let get = json!({ "Name": "/writer" });
    assert_eq!(code(w.call_service("ssm:GetParameter", &west(), &get)), "ParameterNotFound");
    w.call_service("ssm:PutParameter", &west(), &put("a", false)).expect("new");
    assert_eq!(code(w.call_service("ssm:PutParameter", &west(), &put("b", false))), "ParameterAlreadyExists");
    let put = w.call_service("ssm:PutParameter", &west(), &put("b", true)).expect("overwritten");
    assert_eq!(put["Version"], 2);
    let seen = w.call_service("ssm:GetParameter", &west(), &get).expect("there");
    assert_eq!(seen["Parameter"]["Value"], "b");
}

#[test]
fn a_replica_of_a_secret_becomes_one_of_its_own() {
    let mut w = world();
    let id = json!({ "SecretId": "db" });
    let refused = w.call_service("secretsmanager:StopReplicationToReplica", &east(), &id);
    assert_eq!(code(refused), "InvalidParameterException");
    w.call_service("secretsmanager:StopReplicationToReplica", &west(), &id).expect("promoted");
    let there = w.call_service("secretsmanager:DescribeSecret", &west(), &id).expect("there");
    let here = w.call_service("secretsmanager:DescribeSecret", &east(), &id).expect("there");
    assert_eq!((&there["PrimaryRegion"], &here["ReplicationStatus"]), (&json!("us-west-2"), &json!([])));
}

#[test]
fn a_rule_is_enabled_and_disabled_and_what_is_not_simulated_is_refused_by_name() {
    let mut w = world();
    let name = json!({ "Name": "nightly" });
    w.call_service("events:DisableRule", &east(), &name).expect("taken");
    let seen = w.call_service("events:DescribeRule", &east(), &name).expect("there");
    assert_eq!(seen["State"], "DISABLED");
    assert_eq!(code(w.call_service("events:PutTargets", &east(), &name)), "NotImplemented");
    assert_eq!(code(w.call_service("batch:SubmitJob", &east(), &name)), "NotImplemented");
}

#[test]
fn every_operation_listed_is_served() {
    for operation in OPERATIONS {
        let arguments = json!({ "cluster": "shop", "FunctionName": "api", "Name": "nightly", "SecretId": "db" });
        let answer = world().call_service(operation, &east(), &arguments);
        assert!(!matches!(answer, Err(ApiFault { code: "NotImplemented", .. })), "{operation}");
        assert!(operation.split_once(':').is_some_and(|(service, _)| plane(service).is_some()), "{operation}");
    }
}
