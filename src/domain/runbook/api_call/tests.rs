use super::*;
use crate::domain::{
    api_call::{JsonVersion, Method},
    runbook::{Act, Runbook},
};

/// The template of the step whose `with` is given, or every fault.
fn read(with: &str) -> Result<Template, String> {
    let text = format!(
        "runbook: r\npurpose: switchover\ndescription: d\nsteps:\n  - {{ id: it, action: aws.call, with: {{ {with} }} }}\n"
    );
    match Runbook::parse("r.yaml", &text) {
        Ok((runbook, _)) => match &runbook.steps[0].act {
            Act::AwsCall { template } => Ok(Template::clone(template)),
            other => panic!("{other:?}"),
        },
        Err(faults) => Err(faults.iter().map(|f| format!("{}: {}\n", f.key, f.problem)).collect()),
    }
}

const PUT: &str =
    "service: ssm, region: \"{target}\", operation: PutParameter, arguments: { Name: /w, Value: \"{target}\" }";
const DONE: &str =
    "done_when: { operation: GetParameter, arguments: { Name: /w }, that: answer.Parameter.Value == target }";

#[test]
fn a_known_service_needs_no_protocol_and_a_known_path_no_method() {
    let put = read(&format!("{PUT}, effect: reversible, repeat: idempotent, {DONE}")).expect("valid");
    assert_eq!(put.call.operation, "ssm:PutParameter");
    assert_eq!(put.call.wire, Wire::Json { target: "AmazonSSM".to_owned(), version: JsonVersion::V1_1 });
    assert_eq!((put.on_unknown, put.idempotent), (OnUnknown::Observe, true));
    let lambda = read(
        "service: lambda, region: us-east-1, operation: PutFunctionConcurrency, effect: reversible, repeat: idempotent, \
         on_unknown: hold, arguments: { FunctionName: api, ReservedConcurrentExecutions: 0 }",
    );
    let path = "/2017-10-31/functions/{FunctionName}/concurrency".to_owned();
    assert_eq!(lambda.expect("valid").call.wire, Wire::RestJson { method: Method::Put, path });
    let written_out = read(
        "service: newthing, protocol: json, target: NewThing_2027, json_version: \"1.0\", region: us-east-1, operation: \
         ListThings, effect: read",
    );
    assert_eq!(written_out.expect("valid").call.operation, "newthing:ListThings");
}

#[test]
fn what_cannot_be_settled_or_does_not_fit_is_refused() {
    let declared = "effect: reversible, repeat: idempotent";
    let lambda = "service: lambda, region: us-east-1";
    for (with, says) in [
        (format!("{PUT}, {declared}"), "nothing tells whether this was done"),
        (format!("{PUT}, effect: reversible, {DONE}"), "`repeat` is missing"),
        (format!("{PUT}, {declared}, on_unknown: observe"), "needs a `done_when`"),
        (format!("{PUT}, repeat: idempotent, {DONE}"), "`effect` is missing"),
        (format!("{PUT}, effect: read, repeat: at_most_once"), "a read may always be repeated"),
        (format!("{PUT}, effect: read, on_unknown: hold"), "a read begins nothing"),
        (format!("{PUT}, {declared}, done_when: {{ that: \"true\" }}"), "looked at by another call"),
        (
            format!("{PUT}, {declared}, done_when: {{ operation: PutParameter, that: \"true\" }}"),
            "does not look like a read",
        ),
        (
            format!("{PUT}, {declared}, done_when: {{ operation: GetParameter, that: nobody == 1 }}"),
            "unknown name `nobody`",
        ),
        (
            format!("{PUT}, {declared}, on_unknown: hold, outputs: {{ a: /b }}"),
            "outputs are taken from what was observed",
        ),
        (
            format!(
                "{PUT}, {declared}, done_when: {{ operation: GetParameter, arguments: {{ Name: \"{{handle}}\" }}, that: \"true\" }}"
            ),
            "needs `handle`",
        ),
        (
            format!("{PUT}, effect: irreversible, repeat: idempotent, {DONE}, undo: {{ operation: DeleteParameter }}"),
            "`undo` is for",
        ),
        (
            format!("{PUT}, {declared}, {DONE}, undo: {{ operation: AssumeRole, arguments: {{ a: \"{{writer}}\" }} }}"),
            "`{writer}` is none of",
        ),
        (format!("{PUT}, {declared}, {DONE}, protocol: query"), "speaks `json`, not `query`"),
        (format!("{PUT}, {declared}, {DONE}, role_arn: arn:aws:iam::1:role/x"), "the ARN of an IAM role"),
        (format!("{PUT}, {declared}, {DONE}, retries: 3"), "unknown key `retries`"),
        ("service: ssn, region: us-east-1, operation: GetParameter, effect: read".to_owned(), "did you mean `ssm`?"),
        ("service: ssm, region: nowhere, operation: GetParameter, effect: read".to_owned(), "is no Region"),
        (format!("{lambda}, operation: InvokeFunction, effect: read"), "needs `method` and `path`"),
        (format!("{lambda}, operation: GetFunctionConcurrency, effect: read"), "needs the argument `FunctionName`"),
        (format!("{lambda}, operation: GetX, method: GET, path: \"/a/../b\", effect: read"), "expected a path"),
        (format!("{lambda}, operation: GetX, method: FETCH, path: /a, effect: read"), "expected GET"),
    ] {
        let faults = read(&with).expect_err(&with);
        assert!(faults.contains(says), "{with}\n{faults}");
    }
}

#[test]
fn what_cannot_be_restored_is_refused() {
    let declared = "effect: reversible, repeat: idempotent";
    for (with, says) in [
        (format!("{PUT}, {declared}, on_unknown: hold, undo: restore"), "nothing reads what is there before"),
        (
            format!("{PUT}, {declared}, {DONE}, undo: {{ restore: {{ Name: /Parameter/Name, X: /x }} }}"),
            "no argument `X`",
        ),
        (format!("{PUT}, {declared}, {DONE}, undo: {{ restore: {{ Value: Parameter }} }}"), "a JSON pointer"),
        (format!("{PUT}, {declared}, {DONE}, undo: {{ restore: {{}} }}"), "0 values"),
        (
            format!("{PUT}, {declared}, {DONE}, undo: {{ restore: {{ Value: /Environment/Variables/A }} }}"),
            "could hold a secret",
        ),
        (
            format!(
                "{PUT}, {declared}, {DONE}, undo: {{ restore: {{ Value: /a }}, read: {{ operation: PutParameter }} }}"
            ),
            "does not look like a read",
        ),
        (
            format!("{PUT}, {declared}, done_when: {{ operation: DescribeParameters, that: \"true\" }}, undo: restore"),
            "is not known here",
        ),
        (format!("{PUT}, effect: irreversible, repeat: idempotent, {DONE}, undo: restore"), "`undo` is for"),
    ] {
        let faults = read(&with).expect_err(&with);
        assert!(faults.contains(says), "{with}\n{faults}");
    }
}

#[test]
fn what_is_restored_is_the_same_call_with_the_place_that_was_read() {
    let declared = "effect: reversible, repeat: idempotent";
    let short = read(&format!("{PUT}, {declared}, {DONE}, undo: restore")).expect("valid");
    let long = format!("{PUT}, {declared}, {DONE}, undo: {{ restore: {{ Value: /Parameter/Value }} }}");
    assert_eq!(read(&long).expect("valid"), short);
    let back = short.undo.expect("one");
    let (read, places) = back.restores.expect("it restores");
    assert_eq!((read.operation.as_str(), places.len()), ("ssm:GetParameter", 1));
    assert_eq!((back.call.operation, back.idempotent), (short.call.operation, true));
    assert_eq!(back.call.arguments["Value"], places["Value"].to_json());
    assert_eq!(back.call.arguments["Name"], short.call.arguments["Name"]);
}

#[test]
fn braces_of_an_argument_s_own_are_left_alone() {
    let input = "service: states, region: us-east-1, operation: StartExecution, effect: compensable, repeat: at_most_once, \
                 handle: /executionArn, arguments: { input: '{\"to\":\"{target}\",\"n\":{}}' }, done_when: { operation: \
                 DescribeExecution, arguments: { executionArn: \"{handle}\" }, that: answer.status == 'SUCCEEDED' }";
    let start = read(input).expect("valid");
    assert_eq!(start.handle.as_deref(), Some("/executionArn"));
    assert!(!start.idempotent);
}
