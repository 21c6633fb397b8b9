use serde_json::json;

use super::*;
use crate::domain::cloud::Mutation;

fn facts() -> Facts {
    Facts::from([("target".to_owned(), json!("us-west-2"))])
}

fn put() -> ApiCall {
    ApiCall {
        operation: "ssm:PutParameter".to_owned(),
        region: "us-west-2".parse().expect("a Region"),
        wire: Wire::Json { target: "AmazonSSM".to_owned(), version: JsonVersion::V1_1 },
        arguments: json!({ "Name": "/writer", "Value": "us-west-2", "Overwrite": true }),
        role_arn: None,
        handle: None,
    }
}

#[test]
fn a_postcondition_holds_only_by_an_answer_in_which_it_is_true() {
    let done = DoneWhen { read: None, that: "answer.Parameter.Value == target".to_owned() };
    let judged = |answer: Value| done.judge(&answer, &facts());
    assert_eq!(judged(json!({ "Parameter": { "Value": "us-west-2" } })), Seen::Holds);
    assert_eq!(judged(json!({ "Parameter": { "Value": "us-east-1" } })), Seen::No);
    assert_eq!(judged(Value::Null), Seen::No, "it is not there");
    assert!(matches!(judged(json!({})), Seen::Unclear { .. }), "an answer without the field says nothing");
    let gone = DoneWhen { read: None, that: "answer == null".to_owned() };
    assert_eq!(gone.judge(&Value::Null, &facts()), Seen::Holds);
    assert_eq!(gone.judge(&json!({}), &facts()), Seen::No);
}

#[test]
fn an_expression_over_an_answer_may_name_it_and_no_other_may() {
    assert!(expression::check_answer("answer.a[0].b == 1 && target == 'x'").is_ok());
    assert!(expression::check("answer.a == 1").is_err());
    let zero = DoneWhen { read: None, that: "has(answer.N) && answer.N == 0".to_owned() };
    assert_eq!(zero.judge(&json!({ "N": 0 }), &facts()), Seen::Holds);
    assert_eq!(zero.judge(&json!({}), &facts()), Seen::No, "nothing reserved is not zero reserved");
}

#[test]
fn the_handle_of_an_answer_goes_into_the_probe_and_nothing_else_does() {
    let start = ApiCall { handle: Some("/executionArn".to_owned()), ..put() };
    assert_eq!(start.handle_in(&json!({ "executionArn": "arn:x" })), Some("arn:x".to_owned()));
    assert_eq!(start.handle_in(&json!({ "executionArn": { "a": 1 } })), None);
    assert_eq!(start.handle_in(&json!({ "executionArn": "x".repeat(HANDLE_CHARS_MAX + 1) })), None);
    let probe = ApiCall { arguments: json!({ "executionArn": "{handle}", "n": 1 }), ..put() };
    assert!(probe.needs_handle() && !put().needs_handle());
    assert_eq!(probe.with_handle("arn:x").arguments, json!({ "executionArn": "arn:x", "n": 1 }));
}

#[test]
fn calls_around_a_guard_and_secrets_are_refused_by_name() {
    for (service, operation, says) in [
        ("rds", "FailoverGlobalCluster", "aurora.failover"),
        ("route53", "ChangeResourceRecordSets", "dns.flip"),
        ("route53-recovery-cluster", "UpdateRoutingControlState", "dns.routing_controls"),
        ("secretsmanager", "GetSecretValue", "secret"),
        ("sts", "AssumeRole", "role_arn"),
        ("ssm.evil", "GetParameter", "no service's name"),
        ("ssm", "get-parameter", "no operation's name"),
        ("ssm", "Get\r\nHost: x", "no operation's name"),
    ] {
        let fault = fault_of_operation(service, operation).unwrap_or_default();
        assert!(fault.contains(says), "{service}:{operation}: {fault}");
    }
    assert_eq!(fault_of_operation("rds", "DescribeDBClusters"), None);
    let nested = json!({ "a": [{ "MasterUserPassword": "x" }] });
    let mut deep = json!(1);
    for _ in 0..=ARGUMENTS_DEPTH_MAX {
        deep = json!([deep]);
    }
    for (service, arguments) in [
        ("rds", nested),
        ("ssm", json!({ "Type": "SecureString", "Value": "x" })),
        ("ssm", json!({ "WithDecryption": true })),
        ("lambda", json!({ "Environment": { "Variables": { "K": "AKIAABCDEFGHIJKLMNOP" } } })),
        ("lambda", deep),
        ("lambda", json!({ "a": "x".repeat(ARGUMENTS_BYTES_MAX) })),
    ] {
        assert!(fault_of_arguments(service, &arguments).is_some(), "{service} {arguments:.80}");
    }
    assert_eq!(fault_of_arguments("ssm", &put().arguments), None);
}

#[test]
fn what_passes_is_told_by_service() {
    assert!(is_passing("lambda", "ResourceConflictException") && !is_passing("ecs", "ResourceConflictException"));
    assert!(is_passing("ecs", "ThrottlingException") && is_passing("ssm", "TooManyUpdates"));
    assert!(!is_passing("ssm", "ParameterAlreadyExists"));
}

#[test]
fn a_call_is_journalled_whole_and_reads_back() {
    let mutation = Mutation::AwsCall { request: Box::new(put()), idempotent: true };
    let text = serde_json::to_string(&mutation).expect("plain data");
    assert_eq!(
        text,
        r#"{"call":"aws_call","request":{"operation":"ssm:PutParameter","region":"us-west-2","wire":{"protocol":"json","target":"AmazonSSM","version":"1.1"},"arguments":{"Name":"/writer","Value":"us-west-2","Overwrite":true}},"idempotent":true}"#
    );
    assert_eq!(serde_json::from_str::<Mutation>(&text).expect("its own"), mutation);
    assert_eq!(mutation.operation(), "ssm:PutParameter");
}

#[test]
fn names_in_a_path_are_found() {
    let path = "/functions/{FunctionName}/x?Qualifier={Qualifier}";
    assert_eq!(names_in(path).into_iter().collect::<Vec<_>>(), ["FunctionName", "Qualifier"]);
}
