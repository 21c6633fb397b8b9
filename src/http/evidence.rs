//! What an auditor is given of a run: lines for machines, and a page that opens without a network.
//!
//! Invariant: both are made of the journal when they are asked for; nothing here is kept.

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    extract::{Params, RunPath},
    problem::Problem,
};
use crate::domain::evidence::{Evidence, Signature};

pub mod list;
mod page;

/// The page of `evidence`, which needs nothing else: what `form=html` gives.
pub fn html(evidence: &Evidence, signed: Option<&Signature>) -> String {
    page::page(evidence, signed)
}

/// In which form.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// JSON lines, sealed, for `failoverd evidence verify`.
    #[default]
    Jsonl,
    /// One page, for people.
    Html,
}

/// The query of [`evidence`].
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// `jsonl` (default) or `html`.
    #[serde(default)]
    #[param(inline)]
    form: Form,
}

/// A run's evidence.
#[utoipa::path(
    get, path = "/runs/{id}/evidence", operation_id = "evidence", tag = "runs",
    params(("id" = String, Path, description = "The run"), Wanted),
    responses(
        (status = 200, description = "The run's records of the journal, what they amount to, and a seal: `failoverd evidence verify` checks it. With `form=html` a page that needs nothing else", body = String, content_type = "application/x-ndjson"),
        (status = 400, description = "`invalid-request`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`unknown-run`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`application-held`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn evidence(
    State(api): State<Api>,
    RunPath(run): RunPath,
    Params(wanted): Params<Wanted>,
) -> Result<Response, Problem> {
    let evidence = api.control.evidence(&run).await?;
    let signed = api.signer.as_ref().map(|sign| sign(&evidence.statement()));
    let (kind, ending, text) = match wanted.form {
        Form::Jsonl => ("application/x-ndjson", "jsonl", evidence.sealed(signed)),
        Form::Html => ("text/html; charset=utf-8", "html", html(&evidence, signed.as_ref())),
    };
    let name = format!("attachment; filename=\"{run}.{ending}\"");
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_DISPOSITION, name),
        // It holds a style of its own, and nothing else: no script, nothing from anywhere.
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'".to_owned()),
    ];
    Ok((headers, text).into_response())
}
