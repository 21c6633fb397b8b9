//! The real binary against a collector of another make: OpenTelemetry's own decoder reads what it sends.

use std::{
    collections::BTreeMap,
    io::Write as _,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{body::Bytes, extract::State, http::HeaderMap, routing::post};
use serde_json::Value;

use crate::{
    support::{
        daemon::verb,
        people::{Move, People},
        stage::{Setting, Stage},
    },
    wire_face::venv,
};

const CANARY: &str = "canary5ec7e7canary";

type Requests = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

async fn collector() -> (u16, Requests) {
    let kept = Requests::default();
    let take = |State(kept): State<Requests>, headers: HeaderMap, body: Bytes| async move {
        kept.lock().expect("kept").push((headers, body));
    };
    let app = axum::Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&kept));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (port, kept)
}

/// The spans of `requests`, as OpenTelemetry's Python package decodes them.
async fn decoded(requests: &Requests) -> Vec<Value> {
    let python = venv().await.join("bin/python");
    let bodies: Vec<_> = requests.lock().expect("kept").iter().map(|(_, body)| hex::encode(body)).collect();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire/otlp.py");
    let mut child =
        Command::new(python).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python starts");
    child.stdin.take().expect("piped").write_all(bodies.join("\n").as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    String::from_utf8(output.stdout)
        .expect("UTF-8")
        .lines()
        .map(|line| serde_json::from_str(line).expect("json"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_ours_gets_a_failover_of_the_real_binary() {
    let stage = Stage::build(Setting::seeded(23)).await;
    let (port, requests) = collector().await;
    let (directory, config) = (stage.directory().to_owned(), stage.config());
    std::fs::write(directory.join("otlp"), format!("Bearer {CANARY}\n")).expect("written");
    let text = std::fs::read_to_string(&config).expect("the config");
    let traces = format!(
        "[traces]\nendpoint = \"http://127.0.0.1:{port}\"\nheaders = {{ Authorization = \"file:{}/otlp\" }}\n",
        directory.display()
    );
    std::fs::write(&config, format!("{traces}\n{text}")).expect("written");

    let mut daemon = stage.start(None).await.listening().unwrap_or_else(|e| panic!("{e}\n{}", stage.logs()));
    let url = daemon.url.clone();
    let mut people = People::who_want(Move::Failover);
    people.play(&mut daemon).await.unwrap_or_else(|e| panic!("{e}\n{}", stage.logs()));
    let run = people.run.clone().expect("a run");
    let evidence = verb(&url, &["evidence", "get", &run]).await.1;
    let evidence: Vec<Value> = evidence.lines().map(|line| serde_json::from_str(line).expect("json")).collect();
    let evidence = Value::Array(evidence);
    let metrics = reqwest::Client::builder().no_proxy().build().expect("a client");
    let metrics = metrics.get(format!("{url}/metrics")).send().await.expect("an answer").text().await.expect("a text");
    assert!(metrics.contains("failoverd_traces_dropped_total 0"), "{metrics}");
    // What is queued is sent before the end.
    daemon.ask_to_stop();
    assert!(daemon.wait(Duration::from_secs(40)).await.is_some_and(|status| status.success()), "{}", stage.logs());

    let header = |name: &str| requests.lock().expect("kept")[0].0[name].to_str().expect("text").to_owned();
    assert_eq!(header("authorization"), format!("Bearer {CANARY}"));
    assert_eq!(header("content-type"), "application/x-protobuf");
    for (_, body) in requests.lock().expect("kept").iter() {
        assert!(!String::from_utf8_lossy(body).contains(CANARY));
    }
    assert!(!daemon.logged().contains(CANARY));

    let spans = decoded(&requests).await;
    let trace = &run[run.len() - 32..];
    assert!(spans.iter().all(|span| span["trace"] == trace), "{spans:#?}");
    let attribute = |span: &Value, name: &str| span["attributes"][name].clone();
    let roots: Vec<_> = spans.iter().filter(|span| span["parent"] == "").collect();
    assert_eq!(roots.len(), 1, "{roots:#?}");
    assert_eq!(attribute(roots[0], "failoverd.run.result"), "succeeded");
    let parents: BTreeMap<&str, &Value> = spans.iter().map(|s| (s["id"].as_str().expect("text"), s)).collect();
    for span in spans.iter().filter(|span| span["parent"] != "") {
        let parent = parents.get(span["parent"].as_str().expect("text")).unwrap_or_else(|| panic!("no parent: {span}"));
        assert_eq!(parent["kind"], "SPAN_KIND_INTERNAL", "{span}");
    }
    // Each call that the journal holds, once; with what only the SDK knew of it.
    let events = intents(&evidence);
    assert!(!events.is_empty(), "{evidence}");
    let mut calls: Vec<_> = spans.iter().filter(|s| !attribute(s, "failoverd.call.attempt").is_null()).collect();
    for (step, operation) in &events {
        let at = calls.iter().position(|s| attribute(s, "failoverd.step.id") == *step && s["name"] == *operation);
        let call = calls.remove(at.unwrap_or_else(|| panic!("{step}: {operation} is no span: {spans:#?}")));
        assert_eq!(attribute(call, "http.response.status_code"), 200, "{call}");
        assert_eq!(parents[call["parent"].as_str().expect("text")]["attributes"]["failoverd.step.id"], *step, "{call}");
    }
    assert!(calls.is_empty(), "spans of no call: {calls:#?}");
    let reads =
        spans.iter().filter(|s| s["kind"] == "SPAN_KIND_CLIENT" && attribute(s, "failoverd.call.attempt").is_null());
    assert!(
        1 < reads.filter(|s| attribute(s, "rpc.method") == "DescribeGlobalClusters").count(),
        "its readings are there"
    );
}

/// The step and the operation of every intent in the records of `evidence`.
fn intents(evidence: &Value) -> Vec<(String, String)> {
    fn within(value: &Value, out: &mut Vec<(String, String)>) {
        match value {
            Value::Object(map) if map.get("event").is_some_and(|e| e == "intent") => {
                out.push((map["step"].as_str().expect("text").to_owned(), operation(&map["mutation"])));
            }
            Value::Object(map) => map.values().for_each(|value| within(value, out)),
            Value::Array(all) => all.iter().for_each(|value| within(value, out)),
            // Records stand there as the text that was hashed.
            Value::String(text) => {
                if let Ok(inner @ Value::Object(_)) = serde_json::from_str(text) {
                    within(&inner, out);
                }
            }
            _ => {}
        }
    }
    let mut out = Vec::new();
    within(evidence, &mut out);
    out
}

fn operation(mutation: &Value) -> String {
    let mutation: failoverd::domain::cloud::Mutation = serde_json::from_value(mutation.clone()).expect("a mutation");
    mutation.operation().replace(':', ".")
}
