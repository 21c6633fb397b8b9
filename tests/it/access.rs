//! Who is let in, to what, and what strangers meet (FAULTS.md 85 to 100), over the real router and real connections.

mod flood;
mod hostile;
mod journal;
mod matrix;
mod secrets;
mod tls;

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode},
};
use failoverd::{
    adapters::clock::SystemClock,
    domain::access::Scope,
    http::auth::{Access, Grant, Role, TokenEntry, Tokens},
};
use jiff::Timestamp;
use serde_json::Value;
use tower::ServiceExt;

use crate::http_api::entry;

/// What was answered.
struct Got {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Got {
    fn code(&self) -> String {
        // A page tells it in words.
        if let Some((_, rest)) = self.text.split_once("Code <code>") {
            return rest.split('<').next().unwrap_or_default().to_owned();
        }
        let problem: Value = serde_json::from_str(&self.text).unwrap_or_default();
        problem["code"].as_str().unwrap_or_default().to_owned()
    }
}

async fn send(router: &Router, request: Request<Body>) -> Got {
    let response = router.clone().oneshot(request).await.expect("infallible");
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.expect("body");
    Got { status: parts.status, headers: parts.headers, text: String::from_utf8_lossy(&bytes).into_owned() }
}

/// A request; `body` makes it one with JSON.
fn request(method: &str, path: &str, token: Option<&str>, body: Option<&Value>) -> Request<Body> {
    let method: Method = method.parse().expect("a method");
    let mut request = Request::builder().method(method).uri(path).header("x-request-id", "the-same");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    match body {
        Some(body) => request.header("content-type", "application/json").body(Body::from(body.to_string())),
        None => request.body(Body::empty()),
    }
    .expect("a request")
}

/// The same with a form: the members of `body` as its fields.
fn form_request(path: &str, token: Option<&str>, body: &Value) -> Request<Body> {
    let members = body.as_object().expect("an object").iter();
    let fields = members.map(|(name, value)| (name, value.as_str().expect("a text")));
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let request = request("POST", path, token, None);
    let (mut parts, _) = request.into_parts();
    let kind = "application/x-www-form-urlencoded".parse().expect("a value");
    parts.headers.insert("content-type", kind);
    Request::from_parts(parts, Body::from(body))
}

/// A role for these applications; for every one where none is named.
fn grant(role: Role, applications: &[&str]) -> Grant {
    let names: BTreeSet<_> = applications.iter().map(|name| name.parse().expect("valid")).collect();
    Grant { role, applications: if names.is_empty() { Scope::Every } else { Scope::Only(names) } }
}

fn granted(name: &str, token: &str, grants: &[Grant]) -> TokenEntry {
    TokenEntry { grants: grants.iter().cloned().collect(), ..entry(name, token, &[]) }
}

fn past() -> Timestamp {
    "2020-01-01T00:00:00Z".parse().expect("a time")
}

/// These tokens, by this machine's clock.
fn access(entries: Vec<TokenEntry>) -> Access {
    let mut access = Access::from(Tokens::new(entries).expect("valid"));
    access.clock = Some(Arc::new(SystemClock));
    access
}
