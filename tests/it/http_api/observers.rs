//! Observers over HTTP: what they are told to probe, and what of their reports is taken.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    http::{Method, Request},
};
use failoverd::http::{
    auth::{Role, Tokens},
    router,
};
use serde_json::{Value, json};

use super::{Fake, Got, api, as_token, entry, send, with};

const TOKEN: &str = "seen-from-afar";

fn service(fake: &Arc<Fake>) -> Router {
    let entries = vec![
        entry("eu-west-1", TOKEN, &[Role::Observer]),
        entry("stranger", "stranger", &[Role::Observer]),
        entry("not.a@vantage", "odd", &[Role::Observer]),
    ];
    router(api(fake, Tokens::new(entries).expect("valid")))
}

async fn report(router: &Router, token: &str, body: impl ToString) -> Got {
    let request = Request::post("/observations")
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {token}"))
        .body(Body::from(body.to_string()));
    send(router, request.expect("request")).await
}

async fn stamp(router: &Router) -> Value {
    as_token(router, &Method::GET, "/observations/assignments", Some(TOKEN)).await.json()["stamp"].clone()
}

fn sample(application: &str, signal: &str) -> Value {
    json!({ "application": application, "signal": signal, "age_seconds": 0.5, "reading": "unhealthy", "detail": "503" })
}

fn body(sequence: u64, stamp: &Value, samples: &[Value]) -> Value {
    json!({
        "observer": "0190-a", "sequence": sequence, "stamp": stamp, "stamp_age_seconds": 0.0, "abstains": null,
        "samples": samples,
    })
}

#[tokio::test]
async fn an_observer_is_told_what_to_probe_and_nothing_else() {
    let router = service(&Fake::new());
    let got = as_token(&router, &Method::GET, "/observations/assignments", Some(TOKEN)).await.json();
    assert_eq!(got["vantage"], "eu-west-1");
    let probe = json!({
        "application": "payments", "signal": "probe", "url": "https://use1.example.com/healthz",
        "timeout_seconds": 3.0, "period_seconds": 10.0,
    });
    assert_eq!(got["assignments"], json!([probe]));
    let got = as_token(&router, &Method::GET, "/observations/assignments", Some("stranger")).await.json();
    assert_eq!(got["assignments"], json!([]), "no policy names it");
    let got = as_token(&router, &Method::GET, "/observations/assignments", Some("odd")).await;
    assert!(got.problem(403, "forbidden")["detail"].as_str().expect("text").contains("name of its vantage"));
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_by_name_and_takes_nothing_else_down() {
    let router = service(&Fake::new());
    let stamp = stamp(&router).await;
    let samples = [
        sample("payments", "nonesuch"),
        sample("../etc", "probe"),
        with(sample("payments", "probe"), "age_seconds", -1),
        sample("billing", "probe"),
        sample("payments", "probe"),
        sample("payments", "lag"),
        with(sample("payments", "probe"), "age_seconds", 31),
    ];
    let got = report(&router, TOKEN, body(1, &stamp, &samples)).await;
    assert_eq!(got.status, 200, "{}", got.text);
    let got = got.json();
    assert_eq!(got["taken"], 1);
    let refused = got["refused"].as_array().expect("a list");
    let why: Vec<(u64, &str)> =
        refused.iter().map(|r| (r["index"].as_u64().expect("n"), r["why"].as_str().expect("text"))).collect();
    let wanted = [
        (0, "has no signal `nonesuch`"),
        (1, "not a valid application name"),
        (2, "age_seconds: expected 0 to"),
        (3, "there is no application `billing`"),
        (5, "is no probe"),
        (6, "fresh for 30 s"),
    ];
    assert_eq!(why.len(), wanted.len(), "{why:?}");
    for ((index, why), (place, part)) in why.iter().zip(wanted) {
        assert!(*index == place && why.contains(part), "{index} {why}: {part}");
    }
    assert_eq!(refused[3]["application"], "billing");
    let got = report(&router, "stranger", body(1, &stamp, &[sample("payments", "probe")])).await.json();
    assert_eq!(got["taken"], 0);
    assert!(got["refused"][0]["why"].as_str().expect("text").contains("does not name the observer `stranger`"));
}

#[tokio::test]
async fn a_report_is_taken_once_and_by_the_daemon_that_it_was_meant_for() {
    let fake = Fake::new();
    let router = service(&fake);
    let stamp = stamp(&router).await;
    let sent = body(7, &stamp, &[sample("payments", "probe")]);
    let first = report(&router, TOKEN, &sent).await.json();
    assert_eq!(first["taken"], 1);
    report(&router, TOKEN, &sent).await.problem(409, "report-out-of-order");
    report(&router, TOKEN, body(6, &stamp, &[])).await.problem(409, "report-out-of-order");
    for strange in ["1.1", "", "x", "99999999999999999999.1"] {
        report(&router, TOKEN, body(8, &json!(strange), &[])).await.problem(409, "stamp-unknown");
    }
    let next = body(8, &first["stamp"], &[]);
    assert_eq!(report(&router, TOKEN, next).await.status, 200);
}

#[tokio::test]
async fn reports_that_cannot_be_meant_are_refused_whole() {
    let router = service(&Fake::new());
    let stamp = stamp(&router).await;
    let good = || body(1, &stamp, &[]);
    let many: Vec<Value> =
        (0..501).map(|_| json!({"application": "a", "signal": "b", "age_seconds": 0, "reading": "healthy"})).collect();
    let large = "x".repeat(70_000);
    let cases = [
        (with(good(), "observer", ""), 422, "invalid-request"),
        (with(good(), "observer", "a b"), 422, "invalid-request"),
        (with(good(), "observer", "a".repeat(65)), 422, "invalid-request"),
        (with(good(), "sequence", -1), 422, "invalid-request"),
        (with(good(), "stamp_age_seconds", -0.1), 422, "invalid-request"),
        (with(good(), "stamp_age_seconds", 86_401), 422, "invalid-request"),
        (with(good(), "abstains", ""), 422, "invalid-request"),
        (with(good(), "abstains", "a\u{1b}[31m"), 422, "invalid-request"),
        (with(good(), "vantage", "us-west-2"), 422, "invalid-request"),
        (with(good(), "samples", many), 422, "invalid-request"),
        (with(good(), "abstains", large), 413, "body-too-large"),
        (body(1, &stamp, &[with(sample("payments", "probe"), "reading", "fine")]), 422, "invalid-request"),
        (body(1, &stamp, &[with(sample("payments", "probe"), "measured_at", "now")]), 422, "invalid-request"),
    ];
    for (body, status, code) in cases {
        report(&router, TOKEN, body).await.problem(status, code);
    }
    let got = report(&router, TOKEN, with(good(), "abstains", "0 of 3 control points answer")).await;
    assert_eq!(got.status, 200, "none of them has counted: {}", got.text);
}
