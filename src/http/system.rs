//! The service itself: alive, able to act, measured, described. Needs no token.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use serde_json::json;

use super::{
    Api,
    auth::PAGE,
    condition::{ReadyView, SignatureView},
    openapi, page,
    problem::Problem,
};

const ROOT: &str = "\
failoverd moves an application from a failing AWS Region to a healthy one.

  GET  /applications                   how they are
  GET  /applications/{name}/decision   what to do about one, and why
  POST /failover, /failback            start a run
  GET  /runs, /runs/{id}               what runs do
  GET  /runs/{id}/events               a run live (server-sent events)
  GET  /openapi.json                   all of it, described
  GET  /metrics, /healthz, /readyz     for machines

At a terminal: failoverd status. In a browser: this very address leads to the page, /ui.
";

/// Where to go from here: a browser to the page, whoever else gets a few lines.
#[utoipa::path(get, path = "/", operation_id = "root", tag = "system", security(()),
    responses(
        (status = 200, description = "Plain text", body = String, content_type = "text/plain"),
        (status = 303, description = "To the page, for whoever takes HTML"),
    ))]
pub async fn root(headers: HeaderMap) -> Response {
    let mut response = match page::takes_html(&headers) {
        true => Redirect::to(PAGE).into_response(),
        false => ROOT.into_response(),
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// Alive: the process answers. Says nothing of what it can do.
#[utoipa::path(get, path = "/healthz", operation_id = "healthz", tag = "system", security(()),
    responses((status = 200, description = "Alive", body = String, content_type = "text/plain")))]
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// Able to act.
#[utoipa::path(get, path = "/readyz", operation_id = "readyz", tag = "system", security(()),
    responses(
        (status = 200, description = "Able to act", body = ReadyView),
        (status = 503, description = "`not-ready` (with `reasons`)", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn readyz(State(api): State<Api>) -> Result<Json<ReadyView>, Problem> {
    let readiness = api.control.readiness();
    let signatures = SignatureView::all(&readiness.signatures);
    if readiness.ready {
        return Ok(Json(ReadyView { ready: true, reasons: readiness.reasons, signatures }));
    }
    Err(Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "not-ready",
        "The daemon cannot act",
        readiness.reasons.join("; "),
    )
    .with("reasons", json!(readiness.reasons))
    .with("signatures", json!(signatures))
    .retry_later())
}

/// Prometheus text format 0.0.4.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "system", security(()),
    responses((status = 200, description = "Metrics", body = String, content_type = "text/plain")))]
pub async fn metrics(State(api): State<Api>) -> Response {
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (content_type, (api.metrics)()).into_response()
}

/// This description.
#[utoipa::path(get, path = "/openapi.json", operation_id = "openapi", tag = "system", security(()),
    responses((status = 200, description = "OpenAPI 3.1", body = Object, content_type = "application/json")))]
pub async fn openapi_json() -> Response {
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    (content_type, openapi::json()).into_response()
}
