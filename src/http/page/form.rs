//! What a form of the page sends, as a type or a problem.
//!
//! Invariant: as for JSON bodies ([`crate::http::extract`]): bounded, every field known by name and there once, and nothing
//! about an application that the caller may not touch.

use axum::{
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::door::FIELD;
use crate::http::{
    auth::{Authority, unauthorized},
    extract::{self, Concerns, invalid_field},
    problem::Problem,
};

/// The most fields of a form; ours have eight.
const FIELDS_MAX: usize = 32;

/// The fields of a form.
#[derive(Debug)]
pub(super) struct Filled<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Concerns> FromRequest<S> for Filled<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        // Absent only if a route were outside every guarded group: refuse, never guess.
        let authority = request.extensions().get::<Authority>().cloned().ok_or_else(unauthorized)?;
        let fields: T = fields(request).await?;
        if let Some(application) = fields.application() {
            authority.over(application)?;
        }
        Ok(Self(fields))
    }
}

/// The fields of a form about nothing in particular.
pub(super) async fn fields<T: DeserializeOwned>(request: Request) -> Result<T, Problem> {
    content_type(request.headers())?;
    let bytes = extract::read(request.into_body()).await?;
    let mut fields = Map::new();
    for (name, value) in form_urlencoded::parse(&bytes).filter(|(name, _)| name != FIELD) {
        if FIELDS_MAX <= fields.len() {
            return Err(invalid_field("the form", format!("may have {FIELDS_MAX} fields")));
        }
        let shown: String = name.chars().take(80).collect();
        if fields.insert(name.into_owned(), Value::String(value.into_owned())).is_some() {
            return Err(invalid_field(&shown, "stands there twice"));
        }
    }
    serde_path_to_error::deserialize(Value::Object(fields)).map_err(|e| {
        let path = e.path().to_string();
        invalid_field(&path, e.inner())
    })
}

fn content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "invalid-request",
        "The request is not what is expected",
        "a form comes with `Content-Type: application/x-www-form-urlencoded`",
    ))
}
