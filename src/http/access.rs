//! One line of log per request, and a request id that is the same in the log, the response and a problem. And what no
//! request may have, whoever sends it: a body of which two parsers could think differently (FAULTS.md 96).
//!
//! Header values and query strings are never logged: they may hold secrets.

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::time::Instant;
use tower_http::request_id::{MakeRequestId, MakeRequestUuid};
use tracing::{Instrument, field::Empty};

use super::problem::Problem;

/// Taken from the caller if it is harmless, else made here; always answered.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Each observer calls it each second: what is taken is not worth a line.
const REPORTS: &str = "/observations";

/// The longest request id taken from a caller.
const REQUEST_ID_CHARS_MAX: usize = 64;

/// Refuses what a proxy in front might frame otherwise than this service. The parser below has refused what is malformed
/// (two lengths, a folded line); where a length and a transfer coding stand together it drops the one, and cannot say so:
/// hence no coding is taken at all. Every client that sends JSON knows its length.
fn framed(request: &Request) -> Result<(), Problem> {
    let refused = |status, why: &str| {
        let problem = Problem::new(status, "invalid-request", "The request is not what is expected", why);
        Err(problem.header(header::CONNECTION, "close"))
    };
    let headers = request.headers();
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return refused(StatusCode::LENGTH_REQUIRED, "a body comes with Content-Length, and without Transfer-Encoding");
    }
    for name in [header::HOST, header::CONTENT_LENGTH, header::CONTENT_TYPE] {
        if 1 < headers.get_all(&name).iter().count() {
            return refused(StatusCode::BAD_REQUEST, &format!("`{name}` stands there twice"));
        }
    }
    Ok(())
}

fn given(request: &Request) -> Option<String> {
    let id = request.headers().get(REQUEST_ID)?.to_str().ok()?;
    let is_harmless = (1..=REQUEST_ID_CHARS_MAX).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    is_harmless.then(|| id.to_owned())
}

fn made(request: &Request) -> String {
    MakeRequestUuid
        .make_request_id(request)
        .and_then(|id| id.header_value().to_str().map(str::to_owned).ok())
        .unwrap_or_else(|| "none".to_owned())
}

/// Wraps every request: its id, its span (`run`, `application` and `subject` are filled in on the way), its log line,
/// and the last members of a problem.
pub async fn log(mut request: Request, next: Next) -> Response {
    let id = given(&request).unwrap_or_else(|| made(&request));
    // Whoever the request is handed on to calls it the same.
    if let Ok(value) = HeaderValue::from_str(&id) {
        request.headers_mut().insert(REQUEST_ID, value);
    }
    let path: String = request.uri().path().chars().take(200).collect();
    let method = request.method().clone();
    let span = tracing::info_span!(
        "http", request_id = %id, %method, path = %path, from = Empty, subject = Empty, run = Empty,
        application = Empty
    );
    #[expect(clippy::disallowed_methods, reason = "how long a caller really waited, whatever the clock of the engine")]
    let began = Instant::now();
    let is_report = path == REPORTS;
    let answered = async {
        match framed(&request) {
            Ok(()) => next.run(request).await,
            Err(problem) => problem.into_response(),
        }
    };
    let mut response = answered.instrument(span.clone()).await;
    if let Some(mut problem) = response.extensions_mut().remove::<Problem>() {
        problem.instance = Some(path);
        problem.request_id = Some(id.clone());
        let mut complete = problem.into_response();
        // What routing added stays: `Allow` of a 405.
        if let Some(allow) = response.headers().get(header::ALLOW) {
            complete.headers_mut().insert(header::ALLOW, allow.clone());
        }
        response = complete;
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let status = response.status().as_u16();
    let duration_seconds = began.elapsed().as_secs_f64();
    if is_report && response.status().is_success() {
        span.in_scope(|| tracing::debug!(status, duration_seconds, "answered"));
    } else {
        span.in_scope(|| tracing::info!(status, duration_seconds, "answered"));
    }
    response
}
