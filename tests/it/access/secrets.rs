//! What a log may hold: no secret (FAULTS.md 95, S19), and no line that a caller has written (FAULTS.md 94).

use std::{
    io,
    sync::{Arc, Mutex},
};

use axum::{
    body::Body,
    http::{HeaderValue, Request},
};
use failoverd::{
    cli::{Options, token::Credentials},
    http::{auth::Role, openapi, router},
};
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use super::{access, form_request, request, send};
use crate::http_api::{Fake, RUN, api, entry};

const CANARY: &str = "failoverd_canary0123456789";

/// Everything that is logged, of every target, at every level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("lock")).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// As `serve` logs, to `log`, while the guard lives.
fn logging(log: &Log) -> tracing::subscriber::DefaultGuard {
    let json = tracing_subscriber::fmt().json().with_max_level(tracing::Level::TRACE).with_writer(log.clone());
    tracing::subscriber::set_default(json.finish())
}

/// FAULTS.md 95, S19.
#[tokio::test]
async fn no_token_is_in_any_log_answer_or_debug() {
    let log = Log::default();
    let _logging = logging(&log);
    let fake = Fake::new();
    let access = access(vec![entry("ann", CANARY, &[Role::Operator]), entry("vic", "v", &[Role::Viewer])]);
    let api = api(&fake, access);
    let mut outputs = vec![format!("{api:?} {:?}", api.access)];
    let sessions = api.sessions.clone();
    let router = router(api);
    let body = json!({ "application": "payments", "mode": "failover", "reason": "a test" });
    let wrong = format!("{CANARY}x");
    let paths: Vec<String> = openapi::document().paths.paths.keys().cloned().collect();
    for path in paths {
        let path = path.replace("{id}", RUN).replace("{name}", "payments").replace("{step}", "x");
        for token in [CANARY, &wrong] {
            for (method, body) in [("GET", None), ("POST", Some(&body))] {
                // Streams of a run that goes on do not end.
                if method == "GET" && path.ends_with("/events") {
                    continue;
                }
                let got = send(&router, request(method, &path, Some(token), body)).await;
                outputs.push(format!("{:?} {}", got.headers, got.text));
            }
        }
    }
    // The page: signing in with it, the session that stands for it, and the same with a bad one.
    for token in [CANARY, &wrong] {
        let mut sent = form_request("/ui/sign-in", None, &json!({ "token": token }));
        sent.headers_mut().insert("sec-fetch-site", HeaderValue::from_static("same-origin"));
        let got = send(&router, sent).await;
        assert_eq!(got.status.as_u16(), if token == CANARY { 303 } else { 401 });
        outputs.push(format!("{:?} {} {sessions:?}", got.headers, got.text));
        let Some(set) = got.headers.get("set-cookie").cloned() else { continue };
        for path in ["/ui", "/ui/applications/payments", "/ui/runs"] {
            let mut sent = request("GET", path, None, None);
            sent.headers_mut().insert("cookie", set.clone());
            let got = send(&router, sent).await;
            assert_eq!(got.status, 200, "{path}");
            outputs.push(format!("{:?} {}", got.headers, got.text));
        }
    }
    let scheme = Request::get("/runs").header("authorization", format!("Basic {CANARY}")).body(Body::empty());
    outputs.push(send(&router, scheme.expect("a request")).await.text);
    let query = format!("/runs?token={CANARY}");
    outputs.push(format!("{:?}", send(&router, request("GET", &query, Some(CANARY), None)).await.headers));
    // FAULTS.md 86: who was refused what is known afterwards.
    assert_eq!(send(&router, request("POST", "/failover", Some("v"), Some(&body))).await.status, 403);
    assert!(log.text().contains("\"message\":\"refused\",\"subject\":\"vic\",\"permission\":\"Operate\""));
    let credentials = Credentials::bearer(Some(CANARY.to_owned()));
    outputs.push(format!("{:?}", Options { url: String::new(), credentials, json: false, offline: false }));
    let logged = log.text();
    assert!(logged.contains("not let in") && logged.contains("\"subject\":\"ann\""), "something was logged: {logged}");
    for output in outputs.iter().chain([&logged]) {
        if let Some(at) = output.find("canary") {
            panic!("…{}…", &output[at.saturating_sub(200)..(at + 100).min(output.len())]);
        }
    }
}

/// FAULTS.md 94.
#[tokio::test]
async fn nothing_that_a_caller_sends_makes_a_line_of_the_log() {
    let log = Log::default();
    let _logging = logging(&log);
    let fake = Fake::new();
    let router = router(api(&fake, access(vec![entry("ann", "t", &[Role::Operator])])));
    let forged = "{\"level\":\"INFO\",\"fields\":{\"message\":\"forged\"}}";
    let hostile = ["%0a", "%0d%0a", "%1b%5b2J", "%e2%80%a8", "%00"];
    for bytes in hostile {
        let path = format!("/applications/x{bytes}{}", forged.replace(['"', '{', '}'], "_"));
        send(&router, request("GET", &path, Some("t"), None)).await;
        send(&router, request("GET", &format!("/{bytes}"), None, None)).await;
    }
    for value in ["a b", "a\tb", "x\u{80}", &"y".repeat(4_000)] {
        let mut sent = request("GET", "/runs", Some("t"), None);
        for name in ["x-request-id", "user-agent", "x-forwarded-for", "idempotency-key", "authorization"] {
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
            sent.headers_mut().append(name, value);
        }
        send(&router, sent).await;
    }
    for reason in ["a\nb", "a\r\nb", "\u{1b}[2J", "\u{2028}x\u{202e}", "a\u{7}"] {
        let body = json!({ "application": "payments", "mode": "failover", "reason": format!("{reason}{forged}") });
        send(&router, request("POST", "/failover", Some("t"), Some(&body))).await;
        let name = json!({ "application": format!("{reason}{forged}"), "mode": "failover", "reason": "x" });
        send(&router, request("POST", "/failover", Some("t"), Some(&name))).await;
    }
    let logged = log.text();
    assert!(logged.lines().count() > 20, "something was logged: {logged}");
    assert!(!logged.chars().any(|c| c.is_control() && c != '\n'), "no control character: {logged:?}");
    for line in logged.lines() {
        let read: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(read["timestamp"].is_string() && read["fields"]["message"] != "forged", "{line}");
    }
}
