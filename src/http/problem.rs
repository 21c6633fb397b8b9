//! Everything that fails, as `application/problem+json` (RFC 9457) with a stable `code`.
//!
//! Invariant: no error leaves the service in another form, but those that the HTTP parser itself answers before
//! there is a request (400 and 431 for a malformed or oversized head, without a body).

use std::fmt;

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::replica::LeaderView;
use crate::{domain::overrides::STANDING_COUNT_MAX, engine::control::Refusal};

/// How long a caller waits before asking again, in seconds, where the cause is expected to pass by itself.
const RETRY_AFTER_SECONDS: &str = "5";

/// What went wrong, why, and what would satisfy it. Members beyond these depend on `code`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Problem {
    /// The page of the code: `/errors/<code>`.
    #[serde(rename = "type")]
    #[schema(example = "/errors/unknown-run")]
    pub type_: String,
    /// The code's meaning in a few words, the same for every occurrence.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// This occurrence in words.
    pub detail: String,
    /// Stable; programs branch on it.
    pub code: String,
    /// The path that was asked for.
    pub instance: Option<String>,
    /// As in the response's `x-request-id` and in the access log.
    pub request_id: Option<String>,
    /// The run that the problem is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The gate that refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<String>,
    /// What would make the gate agree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub satisfied_by: Option<String>,
    /// The digest that the run's plan has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_digest: Option<String>,
    /// Whatever else the code carries (`path`, `line`, `column`, `faults`, `reasons`, `escalate`, `issue` …).
    #[serde(flatten)]
    pub more: Map<String, Value>,
    #[serde(skip)]
    #[schema(ignore)]
    headers: Vec<(HeaderName, String)>,
}

impl Problem {
    /// A problem with no extension member. `title` is the same wherever `code` is.
    pub fn new(status: StatusCode, code: &str, title: &'static str, detail: impl fmt::Display) -> Self {
        Self {
            type_: format!("/errors/{code}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.to_string(),
            code: code.to_owned(),
            instance: None,
            request_id: None,
            run: None,
            gate: None,
            satisfied_by: None,
            current_digest: None,
            more: Map::new(),
            headers: Vec::new(),
        }
    }

    /// Adds an extension member.
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.more.insert(member.to_owned(), value.into());
        self
    }

    /// Adds a response header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Says that asking again later may succeed.
    #[must_use]
    pub fn retry_later(self) -> Self {
        self.header(header::RETRY_AFTER, RETRY_AFTER_SECONDS)
    }

    /// The status, which is always one that exists.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl IntoResponse for Problem {
    /// The problem rides along in the response's extensions, so that the outermost layer can say which request it
    /// answers ([`super::access`]).
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_else(|e| unreachable!("problems serialise: {e}"));
        let mut response = (self.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        for (name, value) in &self.headers {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name.clone(), value);
            }
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (status, title) = shape(&refusal);
        let mut problem = Self::new(status, refusal.code(), title, &refusal);
        match refusal {
            Refusal::AlreadyRunning { run, purpose, escalate } => {
                problem.run = Some(run.to_string());
                problem
                    .header(header::LOCATION, format!("/runs/{run}"))
                    .with("purpose", purpose.as_str())
                    .with("escalate", escalate)
            }
            Refusal::Gate { gate, satisfied_by, .. } => {
                problem.gate = Some(gate.to_owned());
                problem.satisfied_by = Some(satisfied_by);
                problem
            }
            Refusal::StaleDigest { current } => {
                problem.current_digest = Some(current.to_string());
                problem
            }
            Refusal::Unreconciled { run, .. } => {
                problem.run = Some(run.to_string());
                problem.satisfied_by = Some("a salvage of it that somebody has signed: POST /salvage".to_owned());
                problem
            }
            Refusal::UnknownRun(run) => {
                problem.run = Some(run.to_string());
                problem
            }
            Refusal::UnknownDrill { known, .. } => problem.with("drills", json!(known)),
            Refusal::Uncompilable(faults) => problem.with("faults", json!(faults)),
            Refusal::Stopping => problem.retry_later(),
            Refusal::Arming { satisfied_by, .. } => {
                problem.satisfied_by = Some(satisfied_by);
                problem
            }
            Refusal::OverrideTooLong { longest, .. } => problem.with("longest_seconds", longest.as_secs()),
            Refusal::TooManyOverrides { .. } => problem.with("at_most", STANDING_COUNT_MAX),
            Refusal::NotLeader { leader, .. } => match leader {
                Some(leader) => problem.with("leader", json!(LeaderView::new(&leader))).retry_later(),
                None => problem.retry_later(),
            },
            Refusal::UnknownApplication(_)
            | Refusal::UnknownChannel { .. }
            | Refusal::UnknownStep(_)
            | Refusal::NotForApproval { .. }
            | Refusal::BadTarget { .. }
            | Refusal::KeyReused
            | Refusal::SelfApproval(_)
            | Refusal::WrongPhase(_)
            | Refusal::NotSkippable { .. }
            | Refusal::UnknownStamp
            | Refusal::ReportOutOfOrder(_)
            | Refusal::UnknownOverride(_)
            | Refusal::OverrideOver(_)
            | Refusal::NotWaivable { .. }
            | Refusal::SelfConsent(_)
            | Refusal::NothingToSalvage { .. }
            | Refusal::Held(_) => problem,
        }
    }
}

fn shape(refusal: &Refusal) -> (StatusCode, &'static str) {
    match refusal {
        Refusal::UnknownApplication(_) => (StatusCode::NOT_FOUND, "No such application"),
        Refusal::UnknownRun(_) => (StatusCode::NOT_FOUND, "No such run"),
        Refusal::UnknownStep(_) | Refusal::NotForApproval { .. } => (StatusCode::NOT_FOUND, "No such step"),
        Refusal::BadTarget { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "That Region cannot be the target"),
        Refusal::KeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "The idempotency key belongs to another request"),
        Refusal::AlreadyRunning { .. } => (StatusCode::CONFLICT, "A run is already at work"),
        Refusal::Gate { .. } => (StatusCode::CONFLICT, "A gate refuses"),
        Refusal::StaleDigest { .. } => (StatusCode::CONFLICT, "Another plan was shown"),
        Refusal::SelfApproval(_) => (StatusCode::FORBIDDEN, "Somebody else must approve"),
        Refusal::WrongPhase(_) => (StatusCode::CONFLICT, "The run cannot do that now"),
        Refusal::NotSkippable { .. } => (StatusCode::CONFLICT, "That step is not skipped"),
        Refusal::UnknownDrill { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "There is no such drill"),
        Refusal::UnknownChannel { .. } => (StatusCode::NOT_FOUND, "There is no such channel"),
        Refusal::Uncompilable(_) => (StatusCode::UNPROCESSABLE_ENTITY, "The runbook cannot be compiled"),
        Refusal::NothingToSalvage { .. } => (StatusCode::CONFLICT, "There is nothing to salvage"),
        Refusal::Unreconciled { .. } => (StatusCode::CONFLICT, "What was left there is not reconciled"),
        Refusal::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "The daemon is stopping"),
        Refusal::Held(_) => (StatusCode::CONFLICT, "The application is held"),
        Refusal::NotLeader { .. } => (StatusCode::SERVICE_UNAVAILABLE, "Another replica leads"),
        Refusal::UnknownStamp => (StatusCode::CONFLICT, "This daemon does not know that stamp"),
        Refusal::ReportOutOfOrder(_) => (StatusCode::CONFLICT, "The report is out of order"),
        Refusal::UnknownOverride(_) => (StatusCode::NOT_FOUND, "No such override"),
        Refusal::OverrideOver(_) => (StatusCode::CONFLICT, "The override cannot do that now"),
        Refusal::OverrideTooLong { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "An override does not last that long"),
        Refusal::NotWaivable { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "That rule cannot be waived"),
        Refusal::TooManyOverrides { .. } => (StatusCode::CONFLICT, "Too many overrides stand"),
        Refusal::Arming { .. } => (StatusCode::CONFLICT, "It cannot be armed now"),
        Refusal::SelfConsent(_) => (StatusCode::FORBIDDEN, "Somebody else must consent"),
    }
}
