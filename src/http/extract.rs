//! What a request carries, as domain types or a problem: JSON bodies, path segments, query strings, the idempotency
//! key.
//!
//! Invariant: a handler never sees input that was not bounded (size, time, depth) and parsed here, nor a body about an
//! application that the caller may not touch.

use std::{fmt, str::FromStr, time::Duration};

use axum::{
    body::to_bytes,
    extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::{
    auth::{Authority, unauthorized},
    problem::Problem,
};
use crate::domain::id::{ApplicationName, OverrideId, RunId, StepId};

/// The largest request body. Requests here are a few hundred bytes.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// How long a body may take to arrive.
pub const BODY_READ_TIMEOUT: Duration = Duration::from_secs(10);

/// How deep JSON may be nested; ours is two deep.
pub const JSON_DEPTH_MAX: usize = 16;

/// The longest `Idempotency-Key`.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 128;

/// The longest `reason`.
pub const REASON_CHARS_MAX: usize = 1024;

/// What a body is about. Each says so, or does not compile: whoever may not touch that application is refused before a
/// handler runs.
pub trait Concerns {
    /// The application that the body names; `None`: the path does, or none is meant.
    fn application(&self) -> Option<&ApplicationName>;
}

/// A JSON body.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Concerns> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        // Absent only if a route were outside every guarded group: refuse, never guess.
        let authority = request.extensions().get::<Authority>().cloned().ok_or_else(unauthorized)?;
        content_type(request.headers())?;
        let bytes = read(request.into_body()).await?;
        let body: T = parse(&bytes)?;
        if let Some(application) = body.application() {
            authority.over(application)?;
        }
        Ok(Self(body))
    }
}

/// The whole of a body, within [`BODY_BYTES_MAX`] and [`BODY_READ_TIMEOUT`].
pub(super) async fn read(body: axum::body::Body) -> Result<Bytes, Problem> {
    match tokio::time::timeout(BODY_READ_TIMEOUT, to_bytes(body, BODY_BYTES_MAX)).await {
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "invalid-request",
            "The request is not what is expected",
            format!("the body must arrive within {} s", BODY_READ_TIMEOUT.as_secs()),
        )
        .header(header::CONNECTION, "close")),
        Ok(Err(e)) => Err(unread(&e)),
        Ok(Ok(bytes)) => Ok(bytes),
    }
}

fn content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "invalid-request",
            "The request is not what is expected",
            "the body must be JSON with `Content-Type: application/json`",
        ))
    }
}

fn unread(error: &axum::Error) -> Problem {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(e) = cause {
        if e.is::<http_body_util::LengthLimitError>() {
            return Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body-too-large",
                "The body is too large",
                format!("a body may have {BODY_BYTES_MAX} bytes"),
            )
            .header(header::CONNECTION, "close");
        }
        cause = e.source();
    }
    Problem::new(
        StatusCode::BAD_REQUEST,
        "invalid-request",
        "The request is not what is expected",
        "the body ended before it was complete",
    )
}

/// Parses JSON, with the place of what is wrong.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if depth(bytes) > JSON_DEPTH_MAX {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "bad-json",
            "The body is not JSON that is read",
            format!("JSON may be {JSON_DEPTH_MAX} levels deep"),
        ));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|e| {
        let path = e.path().to_string();
        invalid(e.inner(), Some(path))
    })?;
    json.end().map_err(|e| invalid(&e, None))?;
    Ok(value)
}

fn invalid(error: &serde_json::Error, path: Option<String>) -> Problem {
    let problem = if error.is_data() {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-request", "The request is not what is expected", error)
    } else {
        Problem::new(StatusCode::BAD_REQUEST, "bad-json", "The body is not JSON that is read", error)
    };
    let problem = problem.with("line", error.line()).with("column", error.column());
    match path {
        Some(path) => problem.with("path", path),
        None => problem,
    }
}

/// How deep arrays and objects are nested. Counts brackets outside of strings: right for JSON, harmless for the rest.
fn depth(bytes: &[u8]) -> usize {
    let (mut now, mut deepest) = (0usize, 0usize);
    let (mut in_string, mut escaped) = (false, false);
    for &b in bytes {
        match (in_string, b) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'[' | b'{') => {
                now += 1;
                deepest = deepest.max(now);
            }
            (false, b']' | b'}') => now = now.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// One field of a body that parsed but says something that cannot be.
pub fn invalid_field(path: &str, why: impl fmt::Display) -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "invalid-request",
        "The request is not what is expected",
        format!("{path}: {why}"),
    )
    .with("path", path)
}

/// A reason: 1 to [`REASON_CHARS_MAX`] characters, none a control character, not only spaces.
pub fn reason(text: &str) -> Result<String, Problem> {
    let chars = text.chars().count();
    if text.trim().is_empty() || chars > REASON_CHARS_MAX {
        Err(invalid_field("reason", format!("expected 1 to {REASON_CHARS_MAX} characters")))
    } else if text.chars().any(char::is_control) {
        Err(invalid_field("reason", "control characters are refused"))
    } else {
        Ok(text.to_owned())
    }
}

/// The `Idempotency-Key`, if there is one.
#[derive(Debug)]
pub struct IdempotencyKey(pub Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all("idempotency-key").iter();
        let invalid = || {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "invalid-request",
                "The request is not what is expected",
                format!("expected one Idempotency-Key of 1 to {IDEMPOTENCY_KEY_CHARS_MAX} visible ASCII characters"),
            )
        };
        match (values.next(), values.next()) {
            (None, _) => Ok(Self(None)),
            (Some(key), None) => {
                let key = key.to_str().map_err(|_| invalid())?;
                let is_valid =
                    (1..=IDEMPOTENCY_KEY_CHARS_MAX).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
                if is_valid { Ok(Self(Some(key.to_owned()))) } else { Err(invalid()) }
            }
            (Some(_), Some(_)) => Err(invalid()),
        }
    }
}

/// A query string.
#[derive(Debug)]
pub struct Params<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(e) => Err(invalid_query(e.body_text())),
        }
    }
}

/// A query string that cannot be.
pub fn invalid_query(why: impl fmt::Display) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid-request", "The request is not what is expected", why)
}

async fn segment<S: Send + Sync>(parts: &mut Parts, state: &S) -> Option<String> {
    // The first parameter: our paths name the run or the application first.
    let raw = RawPathParams::from_request_parts(parts, state).await.ok()?;
    raw.iter().next().map(|(_, v)| v.to_owned())
}

/// What a name looks like, for whoever gave another.
fn form_of(code: &str) -> &'static str {
    match code {
        "unknown-run" => "a run's is APPLICATION-ID, whole: `failoverd runs` lists them",
        "unknown-override" => "an override's is APPLICATION-ID, whole: `failoverd overrides` lists them",
        "unknown-step" => "small letters, digits, hyphens and dots, as the run's plan has it",
        _ => "small letters, digits and hyphens: `failoverd status` lists the applications",
    }
}

/// What cannot be a name names nothing: 404, as for a name that nothing has.
fn parsed<T: FromStr>(text: Option<String>, code: &str, title: &'static str) -> Result<T, Problem> {
    let text = text.unwrap_or_default();
    text.parse().map_err(|_| {
        let shown: String = text.chars().take(80).collect();
        let detail = format!("`{shown}` cannot be its name: {}", form_of(code));
        Problem::new(StatusCode::NOT_FOUND, code, title, detail)
    })
}

/// The run in the path.
#[derive(Debug)]
pub struct RunPath(pub RunId);

impl<S: Send + Sync> FromRequestParts<S> for RunPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = segment(parts, state).await;
        let id: RunId = parsed(text, "unknown-run", "No such run")?;
        let span = tracing::Span::current();
        span.record("run", id.as_str());
        span.record("application", id.application().as_str());
        Ok(Self(id))
    }
}

/// The run and the step in the path.
#[derive(Debug)]
pub struct StepPath(pub RunId, pub StepId);

impl<S: Send + Sync> FromRequestParts<S> for StepPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let RunPath(run) = RunPath::from_request_parts(parts, state).await?;
        let raw = RawPathParams::from_request_parts(parts, state).await.ok();
        let text = raw.as_ref().and_then(|raw| raw.iter().nth(1)).map(|(_, v)| v.to_owned());
        Ok(Self(run, parsed(text, "unknown-step", "No such step")?))
    }
}

/// The override in the path.
#[derive(Debug)]
pub struct OverridePath(pub OverrideId);

impl<S: Send + Sync> FromRequestParts<S> for OverridePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = segment(parts, state).await;
        let id: OverrideId = parsed(text, "unknown-override", "No such override")?;
        tracing::Span::current().record("application", id.application().as_str());
        Ok(Self(id))
    }
}

/// The application in the path.
#[derive(Debug)]
pub struct ApplicationPath(pub ApplicationName);

impl<S: Send + Sync> FromRequestParts<S> for ApplicationPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = segment(parts, state).await;
        let name: ApplicationName = parsed(text, "unknown-application", "No such application")?;
        tracing::Span::current().record("application", name.as_str());
        Ok(Self(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_of_strings_only() {
        assert_eq!(depth(br#"{"a":[1,{"b":"[[[[\"[["}]}"#), 3);
        assert_eq!(depth(&[b'['; 40]), 40);
        assert_eq!(depth(b""), 0);
    }

    #[test]
    fn reasons_are_bounded_and_printable() {
        assert!(reason("a drill").is_ok());
        assert!(reason(&"é".repeat(1024)).is_ok());
        for bad in ["", "   ", "a\nb", "\u{1b}[31m", "x\u{85}", &"x".repeat(1025)] {
            assert!(reason(bad).is_err(), "{bad:?} must be refused");
        }
    }
}
