//! The HTTP contract over a fake engine: statuses, problems, roles, streams, limits, and the golden description.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use failoverd::{
    domain::{
        assessment::{Assessment, Exposure, Health, Verdict},
        id::{Digest, OverrideId, StepId, Subject},
        journal::Event,
        overrides::WAIVER_MAX,
        plan::Purpose,
        report::OutOfOrder,
        rules::Rule,
        run::RunResult,
        signal::SignalState,
    },
    engine::{
        automatic::Choice,
        control::{Act, Refusal, Started},
    },
    http::{
        auth::{Role, Tokens},
        openapi, router, server,
    },
};
use jiff::Timestamp;
use serde_json::{Value, json};
use tower::ServiceExt;

mod fake;
mod observers;
pub(crate) use fake::{Fake, RUN, api, application, at, entry, finished, name, plan, run_id, started};

fn open(fake: &Arc<Fake>) -> Router {
    router(api(fake, Tokens::open()))
}

struct Got {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    /// Checks the form that every problem has.
    fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert!(failoverd::domain::code::ALL.contains(&code), "`{code}` is not in domain/code.rs");
        assert_eq!(problem["type"], format!("/errors/{code}"));
        assert_eq!(problem["status"], status);
        assert!(problem["instance"].as_str().is_some_and(|i| i.starts_with('/')));
        assert_eq!(problem["request_id"], self.headers["x-request-id"].to_str().expect("ascii"));
        for member in ["title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|t| !t.is_empty()), "{problem}");
        }
        problem
    }
}

async fn send(router: &Router, request: Request<Body>) -> Got {
    let response = router.clone().oneshot(request).await.expect("infallible");
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.expect("body");
    Got { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes.to_vec()).expect("text") }
}

async fn get(router: &Router, path: &str) -> Got {
    let request = Request::get(path).body(Body::empty()).expect("request");
    send(router, request).await
}

async fn post(router: &Router, path: &str, body: impl ToString) -> Got {
    let request = Request::post(path).header("content-type", "application/json").body(Body::from(body.to_string()));
    send(router, request.expect("request")).await
}

fn failover_body() -> Value {
    json!({ "application": "payments", "mode": "failover", "reason": "us-east-1 is gone" })
}

fn with(mut body: Value, key: &str, value: impl Into<Value>) -> Value {
    body[key] = value.into();
    body
}

#[tokio::test]
async fn a_failover_is_accepted_with_the_place_of_its_run() {
    let fake = Fake::new();
    *fake.answer.lock().expect("lock") = Ok(Started::Run { id: run_id(1), supersedes: Some(run_id(9)) });
    let body = with(failover_body(), "accept_data_loss_seconds", 30);
    let request = Request::post("/failover")
        .header("content-type", "application/json; charset=utf-8")
        .header("idempotency-key", "k-1")
        .body(Body::from(with(body, "target_region", "us-west-2").to_string()));
    let got = send(&open(&fake), request.expect("request")).await;
    assert_eq!(got.status, StatusCode::ACCEPTED);
    assert_eq!(got.headers[header::LOCATION], format!("/runs/{RUN}"));
    assert_eq!(got.json(), json!({ "run": RUN, "supersedes": run_id(9).to_string() }));
    let asked = fake.asked.lock().expect("lock")[0].clone();
    assert_eq!(asked.subject.as_str(), "local");
    assert_eq!(asked.idempotency_key.as_deref(), Some("k-1"));
    assert_eq!(asked.accept_data_loss, Some(Duration::from_secs(30)));
    assert_eq!(asked.target, Some(plan().target));
}

#[tokio::test]
async fn the_body_digest_is_of_what_was_meant_and_where() {
    let fake = Fake::new();
    let router = open(&fake);
    post(&router, "/failover", failover_body()).await;
    // Written otherwise, meant the same.
    post(
        &router,
        "/failover",
        r#"{"reason":"us-east-1 is gone", "mode":"failover",  "application":"payments", "dry_run":false}"#,
    )
    .await;
    post(&router, "/failover", with(failover_body(), "mode", "auto")).await;
    post(&router, "/failback", json!({"application": "payments", "reason": "us-east-1 is gone"})).await;
    let asked = fake.asked.lock().expect("lock");
    let digests: Vec<_> = asked.iter().map(|a| a.body_digest.clone()).collect();
    assert_eq!(digests[0], digests[1]);
    assert_eq!(digests.iter().collect::<BTreeSet<_>>().len(), 3);
}

#[tokio::test]
async fn the_same_key_again_gives_the_same_run() {
    let fake = Fake::new();
    *fake.answer.lock().expect("lock") = Ok(Started::Again { id: run_id(1) });
    let got = post(&open(&fake), "/failover", failover_body()).await;
    assert_eq!(got.status, StatusCode::ACCEPTED);
    assert_eq!(got.headers[header::LOCATION], format!("/runs/{RUN}"));
    assert_eq!(got.json(), json!({ "run": RUN }));
}

#[tokio::test]
async fn a_dry_run_shows_a_plan_whose_digest_can_be_checked() {
    let fake = Fake::new();
    *fake.answer.lock().expect("lock") =
        Ok(Started::Planned { plan: Box::new(plan()), digest: plan().digest(), chosen: None });
    let got = post(&open(&fake), "/failover", with(failover_body(), "dry_run", true)).await;
    assert_eq!(got.status, StatusCode::OK);
    let shown = got.json();
    assert_eq!(shown["digest"], plan().digest().as_str());
    assert_eq!(Digest::of(shown["plan"].to_string().as_bytes()), plan().digest());
    assert_eq!(shown.get("chosen"), None, "nothing was left to choose");
    let chosen = Some(Choice { purpose: Purpose::Failover, why: "the application's health is down".to_owned() });
    *fake.answer.lock().expect("lock") =
        Ok(Started::Planned { plan: Box::new(plan()), digest: plan().digest(), chosen });
    let auto = with(with(failover_body(), "mode", "auto"), "dry_run", true);
    let shown = post(&open(&fake), "/failover", auto).await.json();
    assert_eq!(shown["chosen"], json!({ "mode": "failover", "why": "the application's health is down" }));
    let text = failoverd::cli::plan::plan(&serde_json::from_value(shown).expect("a plan"));
    assert!(text.contains("\nauto: a failover, since the application's health is down\n"), "{text}");
}

#[tokio::test]
async fn every_refusal_has_its_status_and_its_members() {
    let digest = plan().digest();
    let refusals: Vec<(Refusal, u16)> = vec![
        (Refusal::UnknownApplication(name()), 404),
        (Refusal::UnknownRun(run_id(3)), 404),
        (Refusal::UnknownStep("x".parse().expect("valid")), 404),
        (Refusal::BadTarget { target: "us-east-1".into(), why: "it is the source".into() }, 422),
        (Refusal::KeyReused, 422),
        (Refusal::AlreadyRunning { run: run_id(1), purpose: Purpose::Failover, escalate: "abort it".into() }, 409),
        (Refusal::Gate { gate: "rpo", why: "lag 40 s".into(), satisfied_by: "accept 40 s".into() }, 409),
        (Refusal::StaleDigest { current: digest.clone() }, 409),
        (Refusal::SelfApproval("ann".parse().expect("valid")), 403),
        (Refusal::WrongPhase("it is finished".into()), 409),
        (Refusal::Uncompilable(vec!["a".into(), "b".into()]), 422),
        (
            Refusal::UnknownDrill {
                application: name(),
                runbook: "sideways".parse().expect("valid"),
                known: "drill-tabletop".to_owned(),
            },
            422,
        ),
        (Refusal::Stopping, 503),
        (Refusal::Held("its journal is corrupt".into()), 409),
        (Refusal::UnknownStamp, 409),
        (Refusal::ReportOutOfOrder(OutOfOrder::Replayed { given: 1, newest: 2 }), 409),
        (Refusal::UnknownOverride(OverrideId::new(&name(), 9)), 404),
        (Refusal::OverrideOver("it expired".into()), 409),
        (Refusal::OverrideTooLong { kind: "waive", asked: WAIVER_MAX * 2, longest: WAIVER_MAX }, 422),
        (Refusal::NotWaivable { rule: Rule::Loss }, 422),
        (Refusal::TooManyOverrides { kind: "waive", standing: 32 }, 409),
        (Refusal::Arming { why: "the lag is unknown".into(), satisfied_by: "a sample".into() }, 409),
        (Refusal::SelfConsent("ann".parse().expect("valid")), 403),
    ];
    for (refusal, status) in refusals {
        let fake = Fake::new();
        let code = refusal.code();
        fake.refuse(refusal.clone());
        let got = post(&open(&fake), "/failover", failover_body()).await;
        let problem = got.problem(status, code);
        assert_eq!(problem["instance"], "/failover");
        match refusal {
            Refusal::AlreadyRunning { .. } => {
                assert_eq!(got.headers[header::LOCATION], format!("/runs/{RUN}"));
                assert_eq!(problem["run"], RUN);
                assert_eq!(problem["escalate"], "abort it");
            }
            Refusal::Gate { .. } => {
                assert_eq!(problem["gate"], "rpo");
                assert_eq!(problem["satisfied_by"], "accept 40 s");
            }
            Refusal::StaleDigest { .. } => assert_eq!(problem["current_digest"], digest.as_str()),
            Refusal::Uncompilable(_) => assert_eq!(problem["faults"], json!(["a", "b"])),
            Refusal::Arming { .. } => assert_eq!(problem["satisfied_by"], "a sample"),
            Refusal::OverrideTooLong { .. } => assert_eq!(problem["longest_seconds"], 1_800),
            Refusal::Stopping => assert!(got.headers.contains_key(header::RETRY_AFTER)),
            _ => {}
        }
    }
}

#[tokio::test]
async fn bodies_that_cannot_be_meant_never_reach_the_engine() {
    let fake = Fake::new();
    let router = open(&fake);
    let body = failover_body;
    let cases: Vec<(String, u16, &str)> = vec![
        ("{".into(), 400, "bad-json"),
        ("".into(), 400, "bad-json"),
        (format!("{} x", body()), 400, "bad-json"),
        ("[]".into(), 422, "invalid-request"),
        ("\u{0}".into(), 400, "bad-json"),
        ("[".repeat(17), 400, "bad-json"),
        (with(body(), "mdoe", 1).to_string(), 422, "invalid-request"),
        (with(body(), "mode", "faster").to_string(), 422, "invalid-request"),
        (with(body(), "application", "../etc").to_string(), 422, "invalid-request"),
        (with(body(), "target_region", "mars").to_string(), 422, "invalid-request"),
        (with(body(), "reason", "").to_string(), 422, "invalid-request"),
        (with(body(), "reason", "a\u{1b}[0m").to_string(), 422, "invalid-request"),
        (with(body(), "reason", "x".repeat(1025)).to_string(), 422, "invalid-request"),
        (with(body(), "accept_data_loss_seconds", -1).to_string(), 422, "invalid-request"),
        (with(body(), "accept_data_loss_seconds", 1.5).to_string(), 422, "invalid-request"),
        (with(body(), "accept_data_loss_seconds", 86_401).to_string(), 422, "invalid-request"),
        (with(with(body(), "mode", "switchover"), "accept_data_loss_seconds", 0).to_string(), 422, "invalid-request"),
        (r#"{"application":"payments","mode":"failover"}"#.into(), 422, "invalid-request"),
        (r#"{"reason":"a","reason":"b","application":"payments","mode":"failover"}"#.into(), 422, "invalid-request"),
        (with(body(), "reason", "x".repeat(65_536)).to_string(), 413, "body-too-large"),
    ];
    for (body, status, code) in cases {
        let got = post(&router, "/failover", &body).await;
        got.problem(status, code);
    }
    let got = post(&router, "/failover", "{\n  \"application\": \"A\"}").await;
    let problem = got.problem(422, "invalid-request");
    assert_eq!((&problem["path"], &problem["line"]), (&json!("application"), &json!(2)));
    assert!(problem["column"].is_number());
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx"] {
        let request = Request::post("/failover")
            .header("content-type", content_type)
            .body(Body::from(failover_body().to_string()));
        let got = send(&router, request.expect("request")).await;
        got.problem(415, "invalid-request");
    }
    for key in ["", "a b", &"k".repeat(129), "é"] {
        let request = Request::post("/failover")
            .header("content-type", "application/json")
            .header("idempotency-key", key.as_bytes())
            .body(Body::from(failover_body().to_string()));
        send(&router, request.expect("request")).await.problem(400, "invalid-request");
    }
    assert!(fake.asked.lock().expect("lock").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up() {
    let stalled = Body::from_stream(tokio_stream::pending::<Result<&'static str, std::io::Error>>());
    let request = Request::post("/failover").header("content-type", "application/json").body(stalled);
    let got = send(&open(&Fake::new()), request.expect("request")).await;
    got.problem(408, "invalid-request");
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_too() {
    let fake = Fake::new();
    let router = open(&fake);
    get(&router, "/nothing").await.problem(404, "not-found");
    let got = get(&router, "/failover").await;
    got.problem(405, "method-not-allowed");
    assert_eq!(got.headers[header::ALLOW], "POST");
    get(&router, "/runs/nonsense").await.problem(404, "unknown-run");
    get(&router, "/runs/%ff").await.problem(404, "unknown-run");
    get(&router, &format!("/runs/{}", run_id(7))).await.problem(404, "unknown-run");
    get(&router, "/runs/other-00000000000000000000000000000001/events").await.problem(404, "unknown-run");
    get(&router, "/applications/other").await.problem(404, "unknown-application");
    get(&router, "/applications/other/decision").await.problem(404, "unknown-application");
    get(&router, "/runs?limit=201").await.problem(400, "invalid-request");
    get(&router, "/runs?limit=0").await.problem(400, "invalid-request");
    get(&router, "/runs?state=lost").await.problem(400, "invalid-request");
    get(&router, "/runs?cursor=x").await.problem(400, "invalid-request");
    get(&router, "/runs?page=2").await.problem(400, "invalid-request");
    get(&router, "/drills?application=other").await.problem(404, "unknown-application");
    get(&router, &format!("/runs/{}/evidence", run_id(7))).await.problem(404, "unknown-run");
    get(&router, &format!("/runs/{}/evidence?form=pdf", run_id(1))).await.problem(400, "invalid-request");
}

#[tokio::test]
async fn a_drill_is_asked_for_by_its_runbook_and_names_no_loss() {
    let fake = Fake::new();
    let router = router(api(&fake, Tokens::open()));
    let body = r#"{"application":"payments","runbook":"drill-tabletop","reason":"each quarter"}"#;
    let got = post(&router, "/drills", body).await;
    assert_eq!(got.status, StatusCode::ACCEPTED);
    let asked = fake.asked.lock().expect("lock").pop().expect("asked");
    let runbook = "drill-tabletop".parse().expect("valid");
    assert_eq!(
        (asked.wish, asked.accept_data_loss, asked.dry_run),
        (failoverd::engine::control::Wish::Drill { runbook }, None, false)
    );
    for (faulty, code) in [
        (body.replace("\"reason\"", "\"accept_data_loss_seconds\":60,\"reason\""), "invalid-request"),
        (body.replace("\"runbook\":\"drill-tabletop\",", ""), "invalid-request"),
        (body.replace("drill-tabletop", "../etc"), "invalid-request"),
    ] {
        let got = post(&router, "/drills", &faulty).await;
        assert!(got.status.is_client_error() && got.text.contains(code), "{faulty}: {}", got.text);
    }
    assert!(fake.asked.lock().expect("lock").is_empty(), "none of them reached the engine");
    let listed = get(&router, "/drills?application=payments").await.json();
    assert_eq!(listed["drills"][0]["runbook"], "drill-tabletop");
    assert_eq!(listed["drills"][0]["last"], Value::Null, "it was never held");
}

#[tokio::test]
async fn schedules_are_listed_with_what_is_next_and_what_was_never_proved_has_no_days() {
    let fake = Fake::new();
    let router = router(api(&fake, Tokens::open()));
    let listed = get(&router, "/drills?occurrences=2").await.json();
    let schedule = &listed["schedules"][0];
    assert_eq!((&schedule["name"], &schedule["runbook"]), (&json!("nightly"), &json!("drill-tabletop")));
    // That of this instant is no more to come.
    assert_eq!(schedule["next"][0]["at"], "2026-11-23T02:30:00Z");
    assert_eq!(schedule["next"][1]["local"], "2026-11-24T02:30:00");
    assert_eq!(schedule["next"][1]["until"], "2026-11-24T03:30:00Z");
    assert_eq!((&schedule["last"], &schedule["days_since_proven"]), (&Value::Null, &Value::Null));
    assert_eq!(listed["readiness"][0]["state"], "never_proven");
    assert_eq!(listed["readiness"][0]["needed"][0]["days_since_proven"], Value::Null);
    let shown = get(&router, "/applications/payments").await.json();
    assert_eq!(shown["readiness"]["state"], "never_proven");
    for count in ["0", "101", "x"] {
        get(&router, &format!("/drills?occurrences={count}")).await.problem(400, "invalid-request");
    }
}

#[tokio::test]
async fn a_run_shows_where_it_stands_and_what_it_waits_for() {
    let fake = Fake::new();
    let consent: StepId = "consent".parse().expect("valid");
    fake.append(1, vec![Event::StepStarted { run: run_id(1), step: consent.clone(), attempt: 1 }]);
    let router = open(&fake);
    let run = get(&router, &format!("/runs/{RUN}")).await.json();
    assert_eq!(run["state"], "running");
    assert_eq!(run["waits_for"], "approval of `consent`: 0 of 1 so far");
    assert_eq!(run["plan_digest"], plan().digest().as_str());
    assert_eq!(run["clock"]["evidence_since"], at(-60).to_string());
    assert_eq!(run["steps"][0]["state"], "running");
    assert_eq!(run["steps"][1]["state"], "pending");
    assert_eq!(run["loss"], Value::Null);
    fake.append(
        2,
        vec![Event::RunHeld {
            run: run_id(1),
            step: Some(consent),
            code: "approval-expired".into(),
            reason: "nobody approved".into(),
            waits_for: "a resume".into(),
        }],
    );
    let run = get(&router, &format!("/runs/{RUN}")).await.json();
    assert_eq!((&run["state"], &run["held_code"]), (&json!("held"), &json!("approval-expired")));
    assert_eq!(run["waits_for"], "a resume");
}

#[tokio::test]
async fn applies_wait_while_a_run_is_under_way_and_need_not_when_it_has_changed_nothing() {
    let fake = Fake::new();
    let router = open(&fake);
    let waits = |view: &Value, key: &str| view[key].as_str().is_some_and(|note| note.contains("must wait"));
    let run = get(&router, &format!("/runs/{RUN}")).await.json();
    assert!(waits(&run, "infrastructure_code"), "{run:#}");
    let application = get(&router, "/applications/payments").await.json();
    assert!(waits(&application, "infrastructure_code"), "{application:#}");
    for path in [format!("/runs/{RUN}/patch"), format!("/applications/payments/patch?since={RUN}")] {
        let patch = get(&router, &path).await.json();
        assert!(waits(&patch, "note") && patch["under_way"] == true, "{patch:#}");
        assert_eq!((&patch["runs"], &patch["changes"]), (&json!([RUN]), &json!([])));
    }
    fake.append(1, vec![finished(run_id(1))]);
    let patch = get(&router, &format!("/runs/{RUN}/patch")).await.json();
    assert_eq!((&patch["under_way"], &patch["note"]), (&json!(false), &Value::Null));
    get(&router, &format!("/runs/{}/patch", run_id(7))).await.problem(404, "unknown-run");
    get(&router, "/applications/other/patch").await.problem(404, "unknown-application");
    let elsewhere = format!("/applications/payments/patch?since={}", run_id(7));
    get(&router, &elsewhere).await.problem(404, "unknown-run");
    get(&router, "/applications/payments/patch?until=x").await.problem(400, "invalid-request");
}

#[tokio::test]
async fn a_run_that_is_over_has_no_step_at_work() {
    let fake = Fake::new();
    let (run, step) = (run_id(1), "consent".parse().expect("valid"));
    fake.append(1, vec![Event::StepStarted { run: run.clone(), step, attempt: 1 }]);
    let reason = "not today".to_owned();
    fake.append(2, vec![Event::AbortRequested { run: run.clone(), subject: "ann".parse().expect("valid"), reason }]);
    let router = open(&fake);
    let steps = get(&router, &format!("/runs/{RUN}")).await.json()["steps"].clone();
    assert_eq!((&steps[0]["state"], &steps[1]["state"]), (&json!("running"), &json!("pending")));
    let (result, reason) = (RunResult::Aborted, "not today".to_owned());
    fake.append(3, vec![Event::RunFinished { run, result, reason, loss: None }]);
    let steps = get(&router, &format!("/runs/{RUN}")).await.json()["steps"].clone();
    assert_eq!((&steps[0]["state"], &steps[1]["state"]), (&json!("abandoned"), &json!("not_run")));
    assert_eq!(steps[0]["detail"], "the run ended before this step did");
    assert_eq!((&steps[0]["finished_at"], &steps[1]["finished_at"]), (&json!(at(3).to_string()), &Value::Null));
}

#[tokio::test]
async fn runs_are_paged_newest_first_and_filtered() {
    let fake = Fake::new();
    for n in 1..=5 {
        fake.append(n, vec![finished(run_id(n as u128)), started(run_id(n as u128 + 1))]);
    }
    let router = open(&fake);
    let mut seen = Vec::new();
    let mut path = "/runs?limit=2".to_owned();
    loop {
        let page = get(&router, &path).await.json();
        let ids = page["runs"].as_array().expect("runs").iter();
        seen.extend(ids.map(|r| r["id"].as_str().expect("id").to_owned()));
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/runs?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    let expected: Vec<String> = (1..=6).rev().map(|n| run_id(n).to_string()).collect();
    assert_eq!(seen, expected);
    let running = get(&router, "/runs?application=payments&state=running").await.json();
    assert_eq!(running["runs"].as_array().expect("runs").len(), 1);
    get(&router, "/runs?application=other").await.problem(404, "unknown-application");
}

#[tokio::test]
async fn people_act_with_the_digest_that_was_shown() {
    let fake = Fake::new();
    let router = open(&fake);
    let digest = plan().digest();
    let body = json!({"step": "consent", "decision": "decline", "digest": digest.as_str(), "reason": "no"});
    assert_eq!(post(&router, &format!("/runs/{RUN}/approvals"), body).await.status, StatusCode::OK);
    let why = json!({"reason": "wait", "digest": digest.as_str()});
    for verb in ["pause", "resume", "abort"] {
        let got = post(&router, &format!("/runs/{RUN}/{verb}"), &why).await;
        assert_eq!(got.json()["id"], RUN);
        let stale = json!({"reason": "wait", "digest": Digest::zero().as_str()});
        let got = post(&router, &format!("/runs/{RUN}/{verb}"), stale).await;
        assert_eq!(got.problem(409, "stale-digest")["current_digest"], digest.as_str());
    }
    let without = json!({"reason": "wait"});
    assert_eq!(post(&router, &format!("/runs/{RUN}/abort"), &without).await.status, StatusCode::OK);
    post(&router, &format!("/runs/{RUN}/resume"), &without).await.problem(422, "invalid-request");
    let acted = fake.acted.lock().expect("lock");
    let acts: Vec<&Act> = acted.iter().map(|(_, act, _, _)| act).collect();
    let approve = Act::Approve { step: "consent".parse().expect("valid"), approved: false, digest };
    assert_eq!(acts, [&approve, &Act::Pause, &Act::Resume, &Act::Abort, &Act::Abort]);
}

#[tokio::test]
async fn people_act_on_one_step_with_the_digest_that_was_shown() {
    let fake = Fake::new();
    let router = open(&fake);
    let digest = plan().digest();
    let why = json!({"reason": "mended", "digest": digest.as_str()});
    for verb in ["retry", "skip"] {
        let path = format!("/runs/{RUN}/steps/consent/{verb}");
        assert_eq!(post(&router, &path, &why).await.json()["id"], RUN);
        let stale = json!({"reason": "mended", "digest": Digest::zero().as_str()});
        let got = post(&router, &path, stale).await;
        assert_eq!(got.problem(409, "stale-digest")["current_digest"], digest.as_str());
        post(&router, &path, json!({"reason": "mended"})).await.problem(422, "invalid-request");
        post(&router, &path, json!({"reason": " ", "digest": digest.as_str()})).await.problem(422, "invalid-request");
        post(&router, &format!("/runs/{RUN}/steps/No_Such!/{verb}"), &why).await.problem(404, "unknown-step");
        let elsewhere = format!("/runs/{}/steps/consent/{verb}", run_id(8));
        post(&router, &elsewhere, &why).await.problem(404, "unknown-run");
    }
    let step = || "consent".parse().expect("valid");
    let acts: Vec<Act> = fake.acted.lock().expect("lock").iter().map(|(_, act, _, _)| act.clone()).collect();
    let digest = || digest.clone();
    assert_eq!(acts, [Act::Retry { step: step(), digest: digest() }, Act::Skip { step: step(), digest: digest() }]);
    let refusal = Refusal::NotSkippable { step: step(), why: "consent is given by people".to_owned() };
    *fake.act_answer.lock().expect("lock") = Err(refusal);
    let problem =
        post(&router, &format!("/runs/{RUN}/steps/consent/skip"), &why).await.problem(409, "step-not-skippable");
    assert!(problem["detail"].as_str().is_some_and(|d| d.contains("consent is given by people")), "{problem}");
}

#[tokio::test]
async fn what_was_not_assessed_is_unknown_not_healthy() {
    let fake = Fake::new();
    let router = open(&fake);
    let view = get(&router, "/applications/payments").await.json();
    assert_eq!(view["health"], "unknown");
    assert_eq!((&view["verdict"], &view["assessed_at"]), (&Value::Null, &Value::Null));
    get(&router, "/applications/payments/decision").await.problem(503, "not-assessed");
    *fake.assessment.lock().expect("lock") = Some(Arc::new(assessment(None)));
    let decision = get(&router, "/applications/payments/decision").await.json();
    assert_eq!(decision["verdict"], "recommend");
    assert_eq!(decision["signals"][0]["state"], "missing");
    assert_eq!(decision["exposure"][0]["loss_bound_seconds"], Value::Null);
    let fail_over = &decision["options"]["fail_over"];
    assert_eq!((&fail_over["lose_at_most_seconds"], &fail_over["forecast"]), (&Value::Null, &Value::Null));
    assert_eq!(decision["options"]["wait"]["start_by"], Value::Null);
    let shares = decision["options"]["wait"]["shares"].as_array().map_or(0, Vec::len);
    assert_eq!((shares, &decision["mode"]), (4, &Value::from("recommend")));
    let deadline = &get(&router, &format!("/runs/{RUN}")).await.json()["deadline"];
    assert_eq!((&deadline["used_seconds"], &deadline["left_seconds"]), (&Value::from(60.0), &Value::from(540.0)));
    let list = get(&router, "/applications").await.json();
    assert_eq!(list["applications"][0]["active_run"], RUN);
}

fn assessment(lag: Option<(Timestamp, Duration)>) -> Assessment {
    let exposure = Exposure::from_lag(lag, at(0), Duration::from_secs(60));
    let missing = SignalState::Missing { why: "no answer".into() };
    Assessment {
        application: name(),
        at: at(0),
        active_region: Some(plan().source),
        health: Health::Down,
        verdict: Verdict::Recommend,
        recommended_target: Some(plan().target),
        reasons: vec!["it is down".into()],
        would_change: vec![],
        signals: BTreeMap::from([("edge".parse().expect("valid"), missing)]),
        exposure: BTreeMap::from([("orders".parse().expect("valid"), exposure)]),
        evidence_since: Some(at(-60)),
        ..Assessment::unknown(name(), at(0))
    }
}

#[tokio::test]
async fn the_service_says_whether_it_can_act() {
    let fake = Fake::new();
    let router = open(&fake);
    assert_eq!(get(&router, "/healthz").await.text, "ok\n");
    assert_eq!(get(&router, "/readyz").await.json()["ready"], true);
    *fake.ready.lock().expect("lock") = false;
    let problem = get(&router, "/readyz").await.problem(503, "not-ready");
    assert_eq!(problem["reasons"], json!(["another replica leads"]));
    assert_eq!(get(&router, "/metrics").await.text, "# metrics\n");
    assert!(get(&router, "/").await.text.contains("/openapi.json"));
}

async fn as_token(router: &Router, method: &Method, path: &str, token: Option<&str>) -> Got {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    send(router, request.body(Body::empty()).expect("request")).await
}

/// Written out, so that neither a new route nor a changed group goes unnoticed: v(iewer), o(perator), a(pprover),
/// d(rill-runner), A(dmin), O(bserver); `*` needs no token.
const ACCESS: [(&str, &str, &str); 42] = [
    ("GET", "/", "*"),
    ("GET", "/healthz", "*"),
    ("GET", "/readyz", "*"),
    ("GET", "/metrics", "*"),
    ("GET", "/openapi.json", "*"),
    ("GET", "/runs", "voadA"),
    ("GET", "/runs/{id}", "voadA"),
    ("GET", "/runs/{id}/events", "voadA"),
    ("GET", "/runs/{id}/evidence", "voadA"),
    ("GET", "/runs/{id}/patch", "voadA"),
    ("GET", "/evidence", "voadA"),
    ("GET", "/applications", "voadA"),
    ("GET", "/applications/{name}", "voadA"),
    ("GET", "/applications/{name}/decision", "voadA"),
    ("GET", "/applications/{name}/patch", "voadA"),
    ("GET", "/applications/{name}/preflight", "voadA"),
    ("POST", "/applications/{name}/preflight", "odA"),
    ("GET", "/runbooks", "voadA"),
    ("GET", "/drills", "voadA"),
    ("GET", "/overrides", "voadA"),
    ("GET", "/notifications", "voadA"),
    ("POST", "/failover", "oA"),
    ("POST", "/failback", "oA"),
    ("POST", "/salvage", "oA"),
    ("POST", "/runs/{id}/abort", "oA"),
    ("POST", "/runs/{id}/pause", "oA"),
    ("POST", "/runs/{id}/resume", "oA"),
    ("POST", "/runs/{id}/steps/{step}/retry", "oA"),
    ("POST", "/runs/{id}/steps/{step}/skip", "oA"),
    ("POST", "/notifications/test", "oA"),
    ("POST", "/runs/{id}/approvals", "a"),
    ("POST", "/drills", "odA"),
    ("POST", "/observations", "O"),
    ("GET", "/observations/assignments", "O"),
    ("POST", "/overrides", "oaA"),
    ("POST", "/overrides/{id}/consent", "a"),
    ("POST", "/overrides/{id}/end", "oaA"),
    // Twins of the first, so that HEAD is held to the same.
    ("HEAD", "/runs", "voadA"),
    ("HEAD", "/runs/{id}", "voadA"),
    ("HEAD", "/applications", "voadA"),
    ("HEAD", "/observations/assignments", "O"),
    ("HEAD", "/healthz", "*"),
];

#[tokio::test]
async fn every_route_is_open_to_the_roles_it_names_and_no_other() {
    let described: BTreeSet<(String, String)> = openapi::document()
        .paths
        .paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = [("GET", item.get.is_some()), ("POST", item.post.is_some())];
            methods.into_iter().filter(|(_, is)| *is).map(|(m, _)| (m.to_owned(), path.clone()))
        })
        .collect();
    let listed: BTreeSet<(String, String)> =
        ACCESS.iter().filter(|(m, ..)| *m != "HEAD").map(|(m, p, _)| ((*m).to_owned(), (*p).to_owned())).collect();
    assert_eq!(described, listed);
    let fake = Fake::new();
    fake.append(1, vec![finished(run_id(1))]);
    let letters = [
        (Role::Viewer, 'v'),
        (Role::Operator, 'o'),
        (Role::Approver, 'a'),
        (Role::DrillRunner, 'd'),
        (Role::Admin, 'A'),
        (Role::Observer, 'O'),
    ];
    let entries = letters.map(|(role, _)| entry(role.as_str(), role.as_str(), &[role]));
    let router = router(api(&fake, Tokens::new(entries.to_vec()).expect("valid")));
    for (method, path, roles) in ACCESS {
        let method: Method = method.parse().expect("method");
        let path = path.replace("{id}", RUN).replace("{name}", "payments").replace("{step}", "x");
        let denied = |got: &Got| [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&got.status);
        for token in [None, Some("wrong"), Some("")] {
            let got = as_token(&router, &method, &path, token).await;
            assert_eq!(got.status == StatusCode::UNAUTHORIZED, roles != "*", "{method} {path} {token:?}");
        }
        for (role, letter) in letters {
            let got = as_token(&router, &method, &path, Some(role.as_str())).await;
            let allowed = roles == "*" || roles.contains(letter);
            assert_eq!(denied(&got), !allowed, "{method} {path} as {}: {}", role.as_str(), got.status);
            if !allowed && method != Method::HEAD {
                got.problem(403, "forbidden");
            }
        }
    }
}

fn arming() -> Value {
    json!({
        "application": "payments", "kind": "arm", "from": "us-east-1", "to": "us-west-2", "largest_loss_seconds": 30,
        "reason": "the quarter's end", "expires_in_seconds": 3600,
    })
}

async fn post_as(router: &Router, token: &str, path: &str, body: &Value) -> Got {
    let request = Request::post(path)
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {token}"))
        .body(Body::from(body.to_string()));
    send(router, request.expect("request")).await
}

#[tokio::test]
async fn an_operator_asks_an_approver_consents_and_either_switches_off_at_once() {
    let fake = Fake::new();
    let entries = [
        entry("ann", "ann", &[Role::Operator]),
        entry("bob", "bob", &[Role::Approver]),
        entry("eve", "eve", &[Role::Viewer]),
    ];
    let router = router(api(&fake, Tokens::new(entries.to_vec()).expect("valid")));
    let asked = post_as(&router, "ann", "/overrides", &arming()).await;
    assert_eq!(asked.status, StatusCode::CREATED, "{}", asked.text);
    let view = asked.json();
    assert_eq!((&view["standing"], &view["requested_by"]), (&json!("awaits_consent"), &json!("ann")));
    assert_eq!((&view["kind"], &view["largest_loss_seconds"]), (&json!("arm"), &json!(30.0)));
    post_as(&router, "bob", "/overrides", &arming()).await.problem(403, "forbidden");
    let path = format!("/overrides/{}/consent", view["id"].as_str().expect("an id"));
    let yes = json!({ "decision": "approve", "reason": "agreed" });
    post_as(&router, "ann", &path, &yes).await.problem(403, "forbidden");
    let got = post_as(&router, "bob", &path, &yes).await.json();
    assert_eq!((&got["standing"], &got["consented_by"]), (&json!("in_force"), &json!("bob")));
    let off = json!({
        "application": "payments", "kind": "kill_switch", "reason": "a storm", "expires_in_seconds": 60,
    });
    for who in ["ann", "bob"] {
        assert_eq!(post_as(&router, who, "/overrides", &off).await.status, StatusCode::CREATED, "{who}");
    }
    post_as(&router, "eve", "/overrides", &off).await.problem(403, "forbidden");
    let path = path.replace("/consent", "/end");
    let got = post_as(&router, "bob", &path, &json!({ "reason": "over" })).await.json();
    assert_eq!((&got["standing"], &got["ended"]), (&json!("ended"), &json!("withdrawn")));
    let all = as_token(&router, &Method::GET, "/overrides", Some("eve")).await.json();
    assert_eq!(all["overrides"].as_array().map(Vec::len), Some(3));
    as_token(&router, &Method::GET, "/overrides?application=other", Some("eve"))
        .await
        .problem(404, "unknown-application");
}

/// Taking it off lets the automation act: that is for those who run the application.
#[tokio::test]
async fn an_approver_switches_off_and_an_operator_on_again() {
    let fake = Fake::new();
    let entries = [entry("ann", "ann", &[Role::Operator]), entry("bob", "bob", &[Role::Approver])];
    let router = router(api(&fake, Tokens::new(entries.to_vec()).expect("valid")));
    let off = json!({
        "application": "payments", "kind": "kill_switch", "reason": "a storm", "expires_in_seconds": 60,
    });
    let switched = post_as(&router, "bob", "/overrides", &off).await.json();
    let path = format!("/overrides/{}/end", switched["id"].as_str().expect("an id"));
    post_as(&router, "bob", &path, &json!({ "reason": "over" })).await.problem(403, "forbidden");
    let ended = post_as(&router, "ann", &path, &json!({ "reason": "over" })).await.json();
    assert_eq!(ended["ended"], "withdrawn");
}

#[tokio::test]
async fn a_key_of_an_override_that_is_over_is_409() {
    let fake = Fake::new();
    let why = "this key asked for it before, which is over; take another key";
    *fake.override_answer.lock().expect("lock") = Err(Refusal::OverrideOver(why.to_owned()));
    let problem = post(&open(&fake), "/overrides", arming()).await.problem(409, "override-over");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(why)), "{problem}");
}

#[tokio::test]
async fn an_override_says_what_it_is_about_and_nothing_else() {
    let fake = Fake::new();
    let router = open(&fake);
    let cases = [
        (with(arming(), "kind", "kill_switch"), "from"),
        (with(arming(), "rule", "dwell"), "rule"),
        (with(arming(), "largest_loss_seconds", 86_401), "largest_loss_seconds"),
        (
            json!({ "application": "payments", "kind": "arm", "reason": "x", "expires_in_seconds": 1 }),
            "largest_loss_seconds",
        ),
        (json!({ "application": "payments", "kind": "waive", "reason": "x", "expires_in_seconds": 1 }), "rule"),
        (json!({ "application": "payments", "kind": "kill_switch", "reason": "x" }), "expires_in_seconds"),
        (json!({ "application": "payments", "kind": "acknowledge", "reason": "x" }), "run"),
        (json!({ "application": "payments", "kind": "acknowledge", "reason": "", "run": RUN }), "reason"),
    ];
    for (body, path) in cases {
        let problem = post(&router, "/overrides", &body).await.problem(422, "invalid-request");
        assert_eq!(problem["path"], path, "{body}");
    }
    post(&router, "/overrides", with(arming(), "expires", 3)).await.problem(422, "invalid-request");
    post(&router, "/overrides/nonsense/end", json!({ "reason": "x" })).await.problem(404, "unknown-override");
    let seen = json!({ "application": "payments", "kind": "acknowledge", "run": RUN, "reason": "looked at it" });
    assert_eq!(post(&router, "/overrides", seen).await.json()["reconciled"], false);
}

#[tokio::test]
async fn who_calls_is_the_token_s_name_and_a_wrong_one_learns_nothing() {
    let fake = Fake::new();
    let tokens = Tokens::new(vec![entry("bob@ops", "s3cret", &[Role::Operator])]).expect("valid");
    assert!(!format!("{tokens:?}").contains("s3cret"));
    let router = router(api(&fake, tokens));
    let request = |authorization: &str| {
        Request::post("/failover")
            .header("content-type", "application/json")
            .header("authorization", authorization)
            .header("x-request-id", "same")
            .body(Body::from(failover_body().to_string()))
            .expect("request")
    };
    assert_eq!(send(&router, request("bearer s3cret")).await.status, StatusCode::ACCEPTED);
    assert_eq!(fake.asked.lock().expect("lock")[0].subject.as_str(), "bob@ops");
    let mut texts = BTreeSet::new();
    for wrong in ["Bearer s3cre", "Bearer", "Basic s3cret", "s3cret", "Bearer s3cret x"] {
        let got = send(&router, request(wrong)).await;
        got.problem(401, "unauthenticated");
        assert_eq!(got.headers[header::WWW_AUTHENTICATE], "Bearer");
        texts.insert(got.text);
    }
    assert_eq!(texts.len(), 1, "one text for every reason: {texts:?}");
}

#[tokio::test]
async fn without_tokens_another_name_than_localhost_is_refused() {
    let request = Request::get("/runs").header("host", "evil.example").body(Body::empty());
    send(&open(&Fake::new()), request.expect("request")).await.problem(403, "forbidden");
}

/// The ids and names of the events in a stream that has ended.
fn events(text: &str) -> Vec<(String, String)> {
    text.split("\n\n")
        .filter(|block| block.contains("event:"))
        .map(|block| {
            let field = |key: &str| {
                let value = block.lines().find_map(|l| l.strip_prefix(key));
                value.unwrap_or_default().trim().to_owned()
            };
            (field("event:"), field("id:"))
        })
        .collect()
}

fn named(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[tokio::test]
async fn a_stream_replays_follows_and_ends_with_the_run() {
    let fake = Fake::new();
    let router = open(&fake);
    fake.append(1, vec![Event::decision("nothing", "healthy", vec![])]);
    let watching = tokio::spawn(async move { get(&router, &format!("/runs/{RUN}/events")).await });
    // More than the channel holds (2), in one go: the reader lags and reads the journal again.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let consent: StepId = "consent".parse().expect("valid");
    fake.append(2, vec![Event::StepStarted { run: run_id(1), step: consent, attempt: 1 }]);
    let who: Subject = "ann".parse().expect("valid");
    for n in 3..7 {
        fake.append(n, vec![Event::RunPaused { run: run_id(1), subject: who.clone(), reason: "x".into() }]);
    }
    fake.append(7, vec![finished(run_id(1)), started(run_id(2))]);
    let got = tokio::time::timeout(Duration::from_secs(5), watching).await.expect("ends").expect("joins");
    assert_eq!(got.headers[header::CONTENT_TYPE], "text/event-stream");
    let expected = [
        ("record", "0"),
        ("record", "2"),
        ("record", "3"),
        ("record", "4"),
        ("record", "5"),
        ("record", "6"),
        ("record", "7"),
        ("end", ""),
    ];
    assert_eq!(events(&got.text), named(&expected));
    assert!(!got.text.contains(run_id(2).as_str()), "another run's events are not shown");
}

#[tokio::test]
async fn a_stream_goes_on_after_the_last_event_seen() {
    let fake = Fake::new();
    let consent: StepId = "consent".parse().expect("valid");
    fake.append(1, vec![Event::StepStarted { run: run_id(1), step: consent, attempt: 1 }]);
    fake.append(2, vec![finished(run_id(1))]);
    let router = open(&fake);
    let after = |id: &str| {
        let request = Request::get(format!("/runs/{RUN}/events")).header("last-event-id", id);
        send(&router, request.body(Body::empty()).expect("request"))
    };
    let (first, all, bad) = (after("0").await, after("2").await, after("x").await);
    assert_eq!(events(&first.text), named(&[("record", "1"), ("record", "2"), ("end", "")]));
    assert_eq!(all.status, StatusCode::NO_CONTENT);
    bad.problem(400, "invalid-request");
}

#[tokio::test]
async fn a_slow_head_is_cut_and_a_stop_ends_open_streams() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let fake = Fake::new();
    let api = api(&fake, Tokens::open());
    let stopping = api.stopping.clone();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    let serving = tokio::spawn(server::serve(listener, api));
    let mut slow = tokio::net::TcpStream::connect(address).await.expect("connect");
    slow.write_all(b"GET /healthz HTTP/1.1\r\nhost: local").await.expect("write");
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connect");
    let head = format!("GET /runs/{RUN}/events HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("write");
    let limit = server::HEADER_READ_TIMEOUT + Duration::from_secs(5);
    let mut rest = Vec::new();
    tokio::time::timeout(limit, slow.read_to_end(&mut rest)).await.expect("cut in time").expect("read");
    stopping.cancel();
    let mut text = Vec::new();
    let ended = stream.read_to_end(&mut text);
    tokio::time::timeout(Duration::from_secs(5), ended).await.expect("ended in time").expect("read");
    assert!(String::from_utf8_lossy(&text).contains("run_started"));
    serving.await.expect("joins").expect("serves");
}

#[test]
fn the_description_is_the_golden_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    #[expect(clippy::disallowed_methods, reason = "the switch of every golden test")]
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    if update {
        std::fs::write(path, openapi::json()).expect("write");
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    assert!(golden == openapi::json(), "docs/openapi.json differs: UPDATE_GOLDEN=1 rewrites it; review the diff");
    let api: Value = serde_json::from_str(&golden).expect("json");
    assert!(api["openapi"].as_str().is_some_and(|v| v.starts_with("3.1")));
}

#[test]
fn every_reference_in_the_description_leads_somewhere() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(to)) = members.get("$ref") {
                    found.push(to.clone());
                }
                members.values().for_each(|v| references(v, found));
            }
            Value::Array(items) => items.iter().for_each(|v| references(v, found)),
            _ => {}
        }
    }
    let api: Value = serde_json::from_str(openapi::json()).expect("json");
    let mut found = Vec::new();
    references(&api, &mut found);
    assert!(!found.is_empty());
    for to in found {
        let pointer = to.strip_prefix('#').expect("local");
        assert!(api.pointer(pointer).is_some(), "{to}");
    }
}

#[tokio::test]
async fn evidence_is_listed_of_runs_that_are_over_the_newest_end_first() {
    let fake = Fake::new();
    let router = open(&fake);
    assert_eq!(get(&router, "/evidence").await.json(), json!({ "evidence": [], "next_cursor": null }), "none is over");
    fake.append(10, vec![finished(run_id(1))]);
    for bits in [2, 3, 4] {
        fake.append(100 * bits, vec![started(run_id(bits.try_into().expect("small")))]);
        // The last one is at work still.
        if bits < 4 {
            fake.append(100 * bits + 10, vec![finished(run_id(bits.try_into().expect("small")))]);
        }
    }
    let listed = async |query: String| {
        let page = get(&router, &format!("/evidence{query}")).await.json();
        let runs =
            page["evidence"].as_array().expect("a list").iter().map(|one| one["run"].clone()).collect::<Vec<_>>();
        (runs, page["next_cursor"].clone())
    };
    let id = |bits: u128| Value::from(run_id(bits).as_str());
    assert_eq!(listed(String::new()).await, (vec![id(3), id(2), id(1)], Value::Null));
    let (first, cursor) = listed("?limit=2".to_owned()).await;
    assert_eq!((first, &cursor), (vec![id(3), id(2)], &id(2)));
    let rest = listed(format!("?limit=2&cursor={}", run_id(2))).await;
    assert_eq!(rest, (vec![id(1)], Value::Null));
    assert_eq!(listed(format!("?since={}", at(210))).await.0, [id(3), id(2)]);
    assert_eq!(listed("?application=payments&purpose=failover".to_owned()).await.0.len(), 3);
    assert_eq!(listed("?purpose=drill".to_owned()).await.0, [] as [Value; 0]);
    for wrong in ["limit=0", "limit=51", "cursor=x", "purpose=fun", "since=monday", "page=2", "application=A"] {
        get(&router, &format!("/evidence?{wrong}")).await.problem(400, "invalid-request");
    }
    get(&router, &format!("/evidence?cursor={}", run_id(4))).await.problem(400, "invalid-request");
    get(&router, "/evidence?application=other").await.problem(404, "unknown-application");

    let one = get(&router, "/evidence?limit=1").await.json()["evidence"][0].clone();
    assert_eq!((&one["result"], &one["kept"], &one["signed_by"]), (&"succeeded".into(), &Value::Null, &Value::Null));
    // The digest is that of the file that is given out.
    let file = get(&router, &format!("/runs/{}/evidence", run_id(3))).await.text;
    assert!(file.contains(&format!("\"sha256\":{}", one["sha256"])), "{one} of {file}");
    assert_eq!((&one["rto_seconds"], &one["rto_met"], &one["rpo_met"]), (&Value::Null, &Value::Null, &Value::Null));
    let page = get(&router, "/ui/evidence?limit=2").await;
    assert_eq!(page.status, StatusCode::OK);
    for shown in
        ["not measured", "not known", "signed by nobody", one["sha256"].as_str().expect("text"), "Older evidence"]
    {
        assert!(page.text.contains(shown), "{shown}: {}", page.text);
    }
}
