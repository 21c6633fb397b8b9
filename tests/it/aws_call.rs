//! `aws.call`, from its documentation to the wire: botocore checks the signatures and what is believed of services, the
//! simulated AWS checks the adapter, and the documented runbook is played whole, undisturbed and disturbed.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_types::SdkConfig;
use failoverd::{
    adapters::aws::{AwsCloud, Options},
    domain::{
        api_call::{self, ApiCall, JsonVersion, Lists, Method, Protocol, Wire},
        assessment::Assessment,
        cloud::{Mutation, ObserveError, Outcome},
        compile::compile,
        id::{Digest, Region},
        journal::Record,
        plan::Purpose,
        run::RunResult,
        runbook::Runbook,
        stability::{fall_with, requirements},
    },
    engine::control::{Act, Wish},
    ports::{Clock, Cloud as _, Observer},
    sim::{
        faults::CallFault,
        port::{Fault, Faults, Moment},
        wire::{self, ManualClock},
        world::{Plane, Reach, SimTime, route53::fixture::PaymentsTraffic, scenario},
    },
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::{
    support::{Live, Played, Scene, incarnation, region},
    wire_face::{scripts, venv},
};

const DOCS: &str = include_str!("../../docs/aws-call.md");
/// 2026-11-21T00:00:00Z.
const START: SimTime = SimTime(1_795_219_200_000);
const SUCCEEDED: Played = Played::Finished(RunResult::Succeeded);

#[derive(Debug)]
struct TestClock(Instant);

#[async_trait::async_trait]
impl Clock for TestClock {
    fn boot(&self) -> Duration {
        self.0.elapsed()
    }

    fn wall(&self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(i64::try_from(START.0).expect("fits")).expect("in range")
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

#[derive(Debug)]
struct Nobody;

impl Observer for Nobody {
    fn recorded(&self, _: &Record, _: f64) {}
    fn assessed(&self, _: &Assessment) {}
    fn called(&self, _: &str, _: &str, _: &str, _: &str, _: jiff::Timestamp) {}
}

pub(crate) fn cloud(url: &str, session: Option<&str>) -> AwsCloud {
    let credentials = Credentials::new("AKIDEXAMPLE", "secret/of+test", session.map(str::to_owned), None, "test");
    let config = SdkConfig::builder()
        .endpoint_url(url)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .time_source(aws_smithy_async::time::SystemTimeSource::new())
        .build();
    let options =
        Options { call_timeout: Duration::from_secs(5), attempt_timeout: Duration::from_secs(2), ..Options::default() };
    AwsCloud::new(config, Arc::new(TestClock(Instant::now())), Arc::new(Nobody), options)
}

fn call(operation: &str, wire: Wire, arguments: Value) -> ApiCall {
    ApiCall {
        operation: operation.to_owned(),
        region: region("us-west-2"),
        wire,
        arguments,
        role_arn: None,
        handle: None,
    }
}

fn ssm(operation: &str, arguments: Value) -> ApiCall {
    let wire = Wire::Json { target: "AmazonSSM".to_owned(), version: JsonVersion::V1_1 };
    call(&format!("ssm:{operation}"), wire, arguments)
}

fn lambda(operation: &str, arguments: Value) -> ApiCall {
    let known = api_call::rest_operation("lambda", operation).expect("known");
    let wire = Wire::RestJson { method: known.method, path: known.path.to_owned() };
    call(&format!("lambda:{operation}"), wire, arguments)
}

/// Runs tests/wire/aws_call.py with `input`.
async fn botocore(what: &'static str, input: Value) {
    let venv = venv().await;
    let done = tokio::task::spawn_blocking(move || {
        let mut python = Command::new(venv.join("bin/python"))
            .arg(scripts().join("aws_call.py"))
            .arg(what)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("python starts");
        python.stdin.take().expect("piped").write_all(input.to_string().as_bytes()).expect("it reads");
        python.wait_with_output().expect("it ends")
    });
    let output = done.await.expect("no panic");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("ok "), "{said}");
}

/// Answers one request with an empty JSON object, and gives it back: method, path, headers, body.
async fn one_request(listener: &TcpListener) -> (String, String, Vec<(String, String)>, String) {
    let (mut stream, _) = listener.accept().await.expect("a connection");
    let mut bytes = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let n = stream.read(&mut buffer).await.expect("readable");
        bytes.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let mut lines = head.lines();
        let mut first = lines.next().expect("a request line").split(' ');
        let (method, path) = (first.next().expect("a method").to_owned(), first.next().expect("a path").to_owned());
        let headers: Vec<(String, String)> =
            lines.filter_map(|l| l.split_once(": ")).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        let length = headers.iter().find(|(n, _)| n.eq_ignore_ascii_case("content-length"));
        let length: usize = length.map_or(0, |(_, v)| v.parse().expect("a number"));
        if body.len() < length {
            continue;
        }
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
        stream.write_all(answer.as_bytes()).await.expect("writable");
        return (method, path, headers, body.to_owned());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn botocore_comes_to_the_same_signatures() {
    let query = Wire::Query { version: "2016-11-15".to_owned(), lists: Lists::Flat };
    let get = Wire::RestJson { method: Method::Get, path: "/2019-09-30/functions/{Name}/x?Qualifier={Q}".to_owned() };
    let arn = "arn:aws:lambda:us-west-2:123456789012:function:api é/..";
    let calls = [
        (ssm("PutParameter", json!({ "Name": "/w", "Value": "é \"x\" +&=" })), None),
        (call("lambda:GetX", get, json!({ "Name": arn, "Q": "a b/c", "More": "z+y" })), None),
        (lambda("PutFunctionConcurrency", json!({ "FunctionName": arn, "ReservedConcurrentExecutions": 0 })), None),
        (
            call(
                "ec2:RevokeSecurityGroupIngress",
                query,
                json!({ "GroupId": "sg-1", "IpPermissions": [{ "FromPort": 1 }] }),
            ),
            Some("token/with+signs=="),
        ),
    ];
    let mut requests = Vec::new();
    for (request, session) in calls {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let cloud = cloud(&url, session);
        let (arrived, _) = tokio::join!(one_request(&listener), cloud.ask(&request));
        let (method, path, headers, body) = arrived;
        requests.push(json!({
            "method": method, "path": path, "headers": headers, "body": body,
            "service": request.service(), "region": "us-west-2",
            "access_key": "AKIDEXAMPLE", "secret_key": "secret/of+test", "session_token": session,
        }));
    }
    assert!(requests[1]["path"].as_str().is_some_and(|p| p.contains("arn%3Aaws%3Alambda") && p.contains("More=z%2By")));
    botocore("signatures", Value::Array(requests)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn botocore_s_models_say_of_services_what_is_believed_of_them() {
    let folder = |name: &str| match name {
        "states" => "stepfunctions".to_owned(),
        other => other.to_owned(),
    };
    let service = |s: &api_call::Service| {
        let (protocol, target, json_version, version) = match s.protocol {
            Protocol::Json { target, version } => ("json", target, version.as_str(), ""),
            Protocol::RestJson => ("rest-json", "", "", ""),
            Protocol::Query { version, .. } if s.name == "ec2" => ("ec2", "", "", version),
            Protocol::Query { version, .. } => ("query", "", "", version),
        };
        json!({
            "name": s.name, "sdk_id": s.sdk_id, "folder": folder(s.name), "protocol": protocol, "target": target,
            "json_version": json_version, "version": version,
        })
    };
    let services: Vec<Value> = api_call::SERVICES.iter().map(service).collect();
    let folders: Vec<String> = api_call::SERVICES.iter().map(|s| folder(s.name)).collect();
    let operations: Vec<Value> = api_call::REST_OPERATIONS
        .iter()
        .map(|o| json!({ "service": o.service, "operation": o.operation, "method": o.method.as_str(), "path": o.path }))
        .collect();
    botocore("services", json!({ "services": services, "folders": folders, "operations": operations })).await;
}

pub(crate) async fn simulated() -> wire::Running {
    let clock = ManualClock::new(START);
    let shown = clock.clone();
    let world = scenario::payments(7, START, &PaymentsTraffic::default());
    let options = wire::Options::loopback(world, Arc::new(move || shown.now()));
    wire::start(options).await.expect("the simulated AWS starts")
}

fn changes(request: ApiCall) -> Mutation {
    Mutation::AwsCall { request: Box::new(request), idempotent: true }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_adapter_and_the_simulated_aws_understand_each_other() {
    let aws = simulated().await;
    let cloud = cloud(&aws.aws_url, None);
    let put = ssm("PutParameter", json!({ "Name": "/payments/writer", "Value": "us-west-2", "Overwrite": true }));
    let put = ApiCall { handle: Some("/Version".to_owned()), ..put };
    match cloud.apply(&changes(put.clone()), jiff::Timestamp::now()).await {
        Outcome::Accepted { request_id: Some(_), handle: Some(version) } => assert_eq!(version, "2"),
        other => panic!("{other:?}"),
    }
    let get = ssm("GetParameter", json!({ "Name": "/payments/writer" }));
    assert_eq!(cloud.ask(&get).await.expect("there")["Parameter"]["Value"], "us-west-2");
    let absent = cloud.ask(&ssm("GetParameter", json!({ "Name": "/nobody" }))).await;
    assert!(matches!(absent, Err(ObserveError::NotFound { .. })), "{absent:?}");
    let name = json!({ "FunctionName": "payments-api" });
    let stop = json!({ "FunctionName": "payments-api", "ReservedConcurrentExecutions": 0 });
    let accepted = |outcome: Outcome| matches!(outcome, Outcome::Accepted { .. });
    assert!(accepted(cloud.apply(&changes(lambda("PutFunctionConcurrency", stop)), jiff::Timestamp::now()).await));
    let seen = cloud.ask(&lambda("GetFunctionConcurrency", name.clone())).await;
    assert_eq!(seen, Ok(json!({ "ReservedConcurrentExecutions": 0 })));
    assert!(accepted(
        cloud.apply(&changes(lambda("DeleteFunctionConcurrency", name.clone())), jiff::Timestamp::now()).await
    ));
    assert_eq!(cloud.ask(&lambda("GetFunctionConcurrency", name.clone())).await, Ok(json!({})));

    let reach = |plane, reach| aws.world.with(|w| w.set_plane(plane, &region("us-west-2"), reach));
    reach(Plane::Lambda, Reach::Throttles);
    let throttled =
        cloud.apply(&changes(lambda("DeleteFunctionConcurrency", name.clone())), jiff::Timestamp::now()).await;
    assert!(
        matches!(&throttled, Outcome::Rejected { code, .. } if code == "TooManyRequestsException"),
        "{throttled:?}"
    );
    reach(Plane::Lambda, Reach::Unavailable);
    let unavailable = cloud.apply(&changes(lambda("DeleteFunctionConcurrency", name)), jiff::Timestamp::now()).await;
    assert!(matches!(unavailable, Outcome::Unknown { .. }), "{unavailable:?}");
    reach(Plane::Ssm, Reach::Hangs);
    assert!(matches!(cloud.apply(&changes(put), jiff::Timestamp::now()).await, Outcome::Unknown { .. }));
    aws.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_is_assumed_in_the_region_that_is_called_and_a_refusal_sends_nothing() {
    let aws = simulated().await;
    let cloud = cloud(&aws.aws_url, None);
    let role = |name: &str| Some(format!("arn:aws:iam::210987654321:role/{name}"));
    let get = ssm("GetParameter", json!({ "Name": "/payments/writer" }));
    let elsewhere = ApiCall { role_arn: role("operator"), ..get.clone() };
    for _ in 0..2 {
        cloud.ask(&elsewhere).await.expect("there");
    }
    let log = aws.requests.all();
    let assumed: Vec<_> = log.iter().filter(|r| r.operation == "AssumeRole").collect();
    assert_eq!(assumed.len(), 1, "the credentials are kept for as long as they are good: {log:?}");
    assert_eq!(assumed[0].region, "us-west-2");
    let put = ssm("PutParameter", json!({ "Name": "/payments/writer", "Value": "x", "Overwrite": true }));
    let denied =
        cloud.apply(&changes(ApiCall { role_arn: role("operator-denied"), ..put }), jiff::Timestamp::now()).await;
    assert!(matches!(&denied, Outcome::NotSent { .. }), "{denied:?}");
    assert!(!aws.requests.all().iter().any(|r| r.operation == "PutParameter"));
    aws.stop().await;
}

/// The YAML blocks of the documentation: whole runbooks, and lists of steps made into one.
fn documented() -> Vec<String> {
    let blocks = DOCS.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().expect("closed"));
    blocks
        .map(|block| {
            if block.starts_with("runbook:") {
                return block.to_owned();
            }
            let steps: String = block.lines().map(|line| format!("  {line}\n")).collect();
            format!("runbook: documented\npurpose: switchover\ndescription: As documented.\nsteps:\n{steps}")
        })
        .collect()
}

#[test]
fn every_documented_example_is_valid() {
    let examples = documented();
    assert!(5 <= examples.len(), "{}", examples.len());
    for text in examples {
        if let Err(faults) = Runbook::parse("docs/aws-call.md", &text) {
            panic!("{text}\n{faults:#?}");
        }
    }
}

/// Every key of the documentation's table is one that is read, and the other way round.
#[test]
fn the_documented_protocols_are_those_that_are_known() {
    let known: Vec<&str> = api_call::SERVICES.iter().map(|s| s.name).collect();
    assert!(DOCS.contains(&format!("the protocol is known: {}.", known.join(", "))), "{}", known.join(", "));
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/adr/0011-calls-written-out.md").exists());
}

fn whole_runbook() -> String {
    documented().into_iter().find(|text| text.starts_with("runbook: switchover-with")).expect("a whole one")
}

/// What the static-stability lint is made from: a call falls with the Region that it names, and with no other.
#[test]
fn a_call_falls_with_the_region_that_it_names() {
    let (runbook, _) = Runbook::parse("r.yaml", &whole_runbook()).expect("valid");
    let (app, none) = (Scene::payments(1, 0).application, Digest::zero());
    let (east, west) = (region("us-east-1"), region("us-west-2"));
    let plan = compile(&app, &runbook, Purpose::Switchover, &east, &west, None, &none, &none).expect("it fits");
    let calls = |gone: &Region| -> Vec<String> {
        let fall = fall_with(&plan, &app, gone).into_iter().filter(|s| s.action.kind() == "aws.call");
        fall.map(|s| s.id.to_string()).collect()
    };
    assert_eq!(calls(&east), ["stop-source", "scale-in"]);
    assert_eq!(calls(&west), ["tasks-run", "point-at-target", "nightly"]);
    let stop = plan.steps.iter().find(|s| s.id.as_str() == "stop-source").expect("there");
    let needs = requirements(stop, &plan, &app);
    assert_eq!((needs.len(), needs[0].service.as_str()), (1, "lambda"));
}

fn with_services(seed: u64) -> Scene {
    let text = whole_runbook();
    Scene::payments(seed, 240).with_runbook(Purpose::Switchover, &text)
}

/// What the calls came to in the world.
fn came_to(live: &Live) -> BTreeMap<&'static str, String> {
    let (east, west) = (region("us-east-1"), region("us-west-2"));
    live.world.now(|w| {
        let s = &w.services;
        let parameter = s.ssm.parameter(&west, "/payments/writer").expect("there");
        let reserved = s.lambda.function(&east, "payments-api").expect("there").reserved;
        BTreeMap::from([
            ("parameter", format!("{} v{}", parameter.value, parameter.version)),
            ("function", format!("{reserved:?}")),
            ("rule", s.events.rule(&west, "payments-nightly").expect("there").enabled.to_string()),
            ("tasks", s.ecs.service(&east, "payments", "worker").expect("there").desired.to_string()),
        ])
    })
}

fn done() -> BTreeMap<&'static str, String> {
    [("parameter", "us-west-2 v2"), ("function", "Some(0)"), ("rule", "true"), ("tasks", "0")]
        .map(|(what, is)| (what, is.to_owned()))
        .into()
}

fn sent(live: &Live, operation: &str) -> usize {
    live.faults.sent().iter().filter(|sent| sent.operation == operation).count()
}

#[tokio::test(start_paused = true)]
async fn the_documented_switchover_stops_moves_and_starts_what_it_says() {
    let scene = with_services(70);
    let live = scene.start(0).await;
    live.ready().await;
    let run = live.begin(Wish::Switchover).await;
    assert_eq!(live.outcome(&run, 7_200).await, SUCCEEDED);
    assert_eq!(came_to(&live), done());
    let outputs = |step: &str| match live.step(&run, step) {
        failoverd::domain::run::StepState::Done { outputs, .. } => outputs,
        other => panic!("{other:?}"),
    };
    assert_eq!(outputs("point-at-target")["version"], 2);
    assert_eq!(outputs("tasks-run")["running"], 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_so_already_is_not_sent() {
    let scene = with_services(71);
    scene.world.lock().expect("nobody panics").services.events.add(
        &region("us-west-2"),
        "payments-nightly",
        "rate(1 day)",
        true,
    );
    let live = scene.start(0).await;
    live.ready().await;
    let run = live.begin(Wish::Switchover).await;
    assert_eq!(live.outcome(&run, 7_200).await, SUCCEEDED);
    assert_eq!(sent(&live, "events:EnableRule"), 0);
}

/// One fault of one call → how the run ends, and how often the call left.
async fn disturbed(
    seed: u64,
    operation: &str,
    arm: impl FnOnce(&Faults),
) -> (Played, usize, Live, Scene, failoverd::domain::id::RunId) {
    let scene = with_services(seed);
    let live = scene.start(0).await;
    live.ready().await;
    arm(&live.faults);
    let run = live.begin(Wish::Switchover).await;
    let played = live.outcome(&run, 7_200).await;
    (played, sent(&live, operation), live, scene, run)
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_be_repeated_gets_there_whatever_is_lost() {
    const PUT: &str = "ssm:PutParameter";
    let cases: [(&str, Fault, usize); 6] = [
        ("lost before", Fault::LoseBefore, 2),
        ("lost after", Fault::LoseAfter, 1),
        ("hangs", Fault::Hang, 2),
        ("not sent", Fault::Refuse, 2),
        ("throttled", Fault::Reject("ThrottlingException"), 2),
        ("another update is under way", Fault::Reject("TooManyUpdates"), 2),
    ];
    for (seed, (what, fault, times)) in (80..).zip(cases) {
        let (played, sent, live, ..) = disturbed(seed, PUT, |faults| faults.arm(PUT, fault)).await;
        assert_eq!((played, sent), (SUCCEEDED, times), "{what}");
        assert_eq!(came_to(&live), done(), "{what}: one effect");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_not_be_repeated_waits_for_a_person() {
    const ENABLE: &str = "events:EnableRule";
    let held = || Played::Held("outcome-unknown".to_owned());
    let cases: [(&str, Fault, Played, usize); 6] = [
        ("lost before", Fault::LoseBefore, held(), 1),
        ("lost after", Fault::LoseAfter, SUCCEEDED, 1),
        ("hangs", Fault::Hang, held(), 1),
        ("not sent", Fault::Refuse, SUCCEEDED, 2),
        ("throttled", Fault::Reject("ThrottlingException"), SUCCEEDED, 2),
        ("refused", Fault::Reject("ValidationException"), Played::Held("call-rejected".to_owned()), 1),
    ];
    for (seed, (what, fault, ends, times)) in (90..).zip(cases) {
        let (played, sent_before, live, _scene, run) =
            disturbed(seed, ENABLE, |faults| faults.arm(ENABLE, fault)).await;
        assert_eq!((&played, sent_before), (&ends, times), "{what}");
        if played != SUCCEEDED {
            // A person looks, and lets it be tried again.
            live.act(&run, Act::Resume).await.expect("resumed");
            assert_eq!(live.outcome(&run, 7_200).await, SUCCEEDED, "{what}");
            assert_eq!(sent(&live, ENABLE), 2, "{what}");
        }
        assert_eq!(came_to(&live), done(), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn late_doubled_broken_and_unreadable_answers_have_one_effect() {
    const ENABLE: &str = "events:EnableRule";
    let cases = [
        ("late", CallFault::Late { by: Duration::from_secs(30) }),
        ("twice", CallFault::Duplicate),
        ("500 after the effect", CallFault::ServerErrorAfter),
        ("garbage", CallFault::Garbage),
    ];
    for (seed, (what, fault)) in (100..).zip(cases) {
        let (played, sent, live, ..) = disturbed(seed, ENABLE, |faults| {
            faults.open(ENABLE, None, fault, 1.0);
        })
        .await;
        assert_eq!((played, sent), (SUCCEEDED, 1), "{what}");
        assert_eq!(came_to(&live), done(), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_refused_or_unreadable_is_told_before_anything_is_sent() {
    let denied = Fault::Reject("AccessDeniedException");
    let (played, sent, ..) = disturbed(110, "ssm:PutParameter", |faults| faults.arm("ssm:GetParameter", denied)).await;
    assert_eq!((played, sent), (Played::Held("access-denied".to_owned()), 0));
}

/// The engine dies with its call; the next one settles it from the journal and by looking.
fn killed(seed: u64, operation: &'static str, moment: Moment) -> (Played, usize, BTreeMap<&'static str, String>) {
    let scene = with_services(seed);
    let faults = Faults::default();
    let run = Mutex::new(None);
    incarnation(async {
        let live = scene.start_with(0, scene.reopened(), faults.clone()).await;
        live.ready().await;
        faults.arm(operation, Fault::Freeze(moment));
        let id = live.begin(Wish::Switchover).await;
        *run.lock().expect("nobody panics") = Some(id);
        faults.frozen().await;
        // As by kill -9: nothing of this runtime runs on.
        std::mem::forget(live);
    });
    let id = run.lock().expect("nobody panics").clone().expect("a run");
    faults.thaw();
    incarnation(async {
        let live = scene.start_with(3, scene.reopened(), faults.clone()).await;
        let played = live.outcome(&id, 7_200).await;
        (played, sent(&live, operation), came_to(&live))
    })
}

#[test]
fn a_kill_around_a_call_leaves_one_effect() {
    let (put, enable) = ("ssm:PutParameter", "events:EnableRule");
    assert_eq!(killed(120, put, Moment::After), (SUCCEEDED, 1, done()), "it was done, and that is seen");
    assert_eq!(killed(121, put, Moment::Before), (SUCCEEDED, 2, done()), "it is idempotent, and sent again");
    assert_eq!(killed(122, enable, Moment::After), (SUCCEEDED, 1, done()));
    let (played, sent, came_to) = killed(123, enable, Moment::Before);
    assert_eq!((played, sent), (Played::Held("outcome-unknown".to_owned()), 1), "at most once");
    assert_eq!(came_to["rule"], "false");
}

/// One parameter is changed, and then something is waited for.
const ONE_CALL: &str = "\
runbook: one-call
purpose: switchover
description: A test.
steps:
  - id: point
    action: aws.call
    with:
      service: ssm
      region: us-west-2
      operation: PutParameter
      arguments: { Name: /payments/writer, Value: moved, Overwrite: true }
      effect: reversible
      repeat: idempotent
      done_when:
        operation: GetParameter
        arguments: { Name: /payments/writer }
        that: answer.Parameter.Value == 'moved'
      undo:
        operation: PutParameter
        arguments: { Name: /payments/writer, Value: back, Overwrite: true }
        repeat: idempotent
        done_when:
          operation: GetParameter
          arguments: { Name: /payments/writer }
          that: answer.Parameter.Value == 'back'
  - { id: linger, action: wait, needs: [point], with: { duration: 10m }, timeout: 20m }
";

fn parameter(live: &Live) -> String {
    came_to(live)["parameter"].clone()
}

async fn aborted_at_linger(live: &Live, lose_the_answer: bool) -> (failoverd::domain::id::RunId, Played) {
    live.ready().await;
    let run = live.begin(Wish::Switchover).await;
    live.until_running(&run, "linger").await;
    assert_eq!(parameter(live), "moved v2");
    if lose_the_answer {
        live.faults.arm("ssm:PutParameter", Fault::LoseAfter);
    }
    live.act(&run, Act::Abort).await.expect("aborted");
    let played = live.outcome(&run, 900).await;
    (run, played)
}

#[tokio::test(start_paused = true)]
async fn what_declares_its_way_back_is_taken_back_by_it_once() {
    for lose_the_answer in [false, true] {
        let scene = Scene::payments(90, 240).with_runbook(Purpose::Switchover, ONE_CALL);
        let live = scene.start(0).await;
        let (_, played) = aborted_at_linger(&live, lose_the_answer).await;
        assert_eq!(played, Played::Finished(RunResult::Aborted));
        assert_eq!((parameter(&live).as_str(), sent(&live, "ssm:PutParameter")), ("back v3", 2), "{lose_the_answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_somebody_has_put_back_already_is_not_sent() {
    let scene = Scene::payments(92, 240).with_runbook(Purpose::Switchover, ONE_CALL);
    let live = scene.start(0).await;
    live.ready().await;
    let run = live.begin(Wish::Switchover).await;
    live.until_running(&run, "linger").await;
    scene.world.lock().expect("nobody panics").services.ssm.add(&region("us-west-2"), "/payments/writer", "back");
    live.act(&run, Act::Abort).await.expect("aborted");
    assert_eq!(live.outcome(&run, 900).await, Played::Finished(RunResult::Aborted));
    assert_eq!(sent(&live, "ssm:PutParameter"), 1);
}

#[tokio::test(start_paused = true)]
async fn what_declares_no_way_back_is_held_for_a_person() {
    let (before, after) = ONE_CALL.split_once("      undo:\n").expect("has one");
    let (_, after) = after.split_once("  - { id: linger").expect("has one");
    let text = format!("{before}  - {{ id: linger{after}");
    let scene = Scene::payments(91, 240).with_runbook(Purpose::Switchover, &text);
    let live = scene.start(0).await;
    let (_, played) = aborted_at_linger(&live, false).await;
    assert_eq!(played, Played::Held("undo-impossible".to_owned()));
    assert_eq!((parameter(&live).as_str(), sent(&live, "ssm:PutParameter")), ("moved v2", 1));
}
