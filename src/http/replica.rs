//! Where several replicas share an application: who leads, and requests handed on to them.
//!
//! Invariant: only what was refused here with `not-leader` is handed on, so it has had no effect here; and once, with a
//! header that says so, so that two replicas that each believe in the other do not play ball. An answer that does not
//! come is said to be none: whether the leader did it is unknown, and the same idempotency key tells.
//!
//! It hands the caller's own token on, and nobody else's: the leader checks it again.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{access::REQUEST_ID, auth::Client, extract, page::FORM, peer::FORWARDED_FOR, problem::Problem};
use crate::{domain::causes::deepest, engine::control::Leader};

/// Says that a request was handed on already, and by whom.
const FORWARDED: HeaderName = HeaderName::from_static("failoverd-forwarded");

/// How long to wait for a connection to the leader, and for its answer to begin.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// What of a request is handed on beside its body.
const HANDED_ON: [HeaderName; 6] = [
    // What the page's forms hold: the leader renders them, and this replica takes them back.
    FORM,
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::ACCEPT,
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("last-event-id"),
];

/// What of the leader's answer is given back.
const GIVEN_BACK: [HeaderName; 5] =
    [header::CONTENT_TYPE, header::LOCATION, header::RETRY_AFTER, header::CACHE_CONTROL, header::ALLOW];

/// Who works on an application.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LeaderView {
    /// The replica's name for itself: one life of one process.
    pub holder: String,
    /// Where its API is reached.
    pub url: Option<String>,
    pub region: Option<String>,
    /// The journal's epoch under it; `null` until it has begun one.
    pub epoch: Option<u64>,
    /// Since when, by its own clock.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// It is the replica that answers.
    pub here: bool,
}

impl LeaderView {
    pub fn new(leader: &Leader) -> Self {
        let Leader { holder, url, region, epoch, since, here } = leader.clone();
        Self { holder, url, region, epoch, since, here }
    }
}

/// Hands requests on to the leader.
#[derive(Debug, Clone)]
pub struct Forwarder {
    client: reqwest::Client,
    /// This replica's name.
    holder: HeaderValue,
}

impl Forwarder {
    /// # Errors
    /// When the TLS of this machine cannot be set up.
    pub fn new(holder: &str) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_WITHIN)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        let holder = HeaderValue::from_str(holder).unwrap_or_else(|_| HeaderValue::from_static("replica"));
        Ok(Self { client, holder })
    }

    async fn hand_on(&self, to: &str, parts: &axum::http::request::Parts, body: bytes::Bytes) -> Handed {
        let path = parts.uri.path_and_query().map_or("/", |p| p.as_str());
        let mut request = self.client.request(parts.method.clone(), format!("{}{path}", to.trim_end_matches('/')));
        for name in HANDED_ON.into_iter().chain([REQUEST_ID]) {
            if let Some(value) = parts.headers.get(&name) {
                request = request.header(name, value);
            }
        }
        // Believed by a leader that names this replica among its proxies.
        if let Some(Client(address)) = parts.extensions.get::<Client>() {
            request = request.header(FORWARDED_FOR, address.to_string());
        }
        request = request.header(FORWARDED, self.holder.clone()).body(body);
        match tokio::time::timeout(ANSWER_WITHIN, request.send()).await {
            Ok(Ok(answer)) => Handed::Answered(answer),
            Ok(Err(error)) if error.is_connect() => Handed::NotSent(deepest(&error)),
            Ok(Err(error)) => Handed::Unanswered(deepest(&error)),
            Err(_) => Handed::Unanswered(format!("no answer within {} s", ANSWER_WITHIN.as_secs())),
        }
    }
}

/// What became of a request that was handed on.
enum Handed {
    Answered(reqwest::Response),
    NotSent(String),
    Unanswered(String),
}

/// Answers here, and where another replica leads, by it.
pub async fn forward(State(forwarder): State<Option<Forwarder>>, request: Request, next: Next) -> Response {
    let Some(forwarder) = forwarder.filter(|_| !request.headers().contains_key(FORWARDED)) else {
        return next.run(request).await;
    };
    let (parts, body) = request.into_parts();
    let body = match extract::read(body).await {
        Ok(body) => body,
        Err(problem) => return problem.into_response(),
    };
    let here = Request::from_parts(parts.clone(), Body::from(body.clone()));
    let response = next.run(here).await;
    let Some(leader) = response.extensions().get::<Problem>().and_then(elsewhere) else { return response };
    match forwarder.hand_on(&leader, &parts, body).await {
        Handed::Answered(answer) => given_back(answer),
        Handed::NotSent(why) => {
            tracing::warn!(leader, why, "a request could not be handed on");
            response
        }
        Handed::Unanswered(why) => {
            let detail = format!("{leader} leads, and did not answer: {why}; whether it was done is unknown");
            Problem::new(StatusCode::BAD_GATEWAY, "leader-unanswered", "The leader did not answer", detail)
                .with("leader_url", json!(leader))
                .into_response()
        }
    }
}

/// Where the leader is reached, of a problem that says that another replica leads.
fn elsewhere(problem: &Problem) -> Option<String> {
    let leader = problem.more.get("leader").filter(|_| problem.code == "not-leader")?;
    let is_here = leader.get("here").and_then(serde_json::Value::as_bool)?;
    leader.get("url").and_then(serde_json::Value::as_str).filter(|_| !is_here).map(str::to_owned)
}

fn given_back(answer: reqwest::Response) -> Response {
    let (status, headers) = (answer.status(), answer.headers().clone());
    let mut response = (status, Body::from_stream(answer.bytes_stream())).into_response();
    for name in GIVEN_BACK {
        if let Some(value) = headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}
