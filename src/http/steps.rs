//! What a person does to one failed step: tries it again, or passes over it.
//!
//! Invariant: each is a journalled act of the named caller, bound to the digest of the plan that was shown to them.
//! Which steps may be skipped is the engine's to say.

use axum::{Json, extract::State};

use super::{
    Api,
    auth::Principal,
    dto::StepRequest,
    extract::{Body, StepPath},
    problem::Problem,
    runs::{perform, was_shown},
    view::RunView,
};
use crate::engine::control::Act;

/// Tries a failed step again, or the undo of a step where that has failed.
#[utoipa::path(
    post, path = "/runs/{id}/steps/{step}/retry", operation_id = "retry_step", tag = "runs",
    params(("id" = String, Path, description = "The run"), ("step" = String, Path, description = "The step")),
    request_body = StepRequest,
    responses(
        (status = 200, description = "Recorded; the run as it is now", body = RunView),
        (status = 404, description = "`unknown-run`, `unknown-step`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`wrong-phase`, `stale-digest` (with `current_digest`)", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid-request`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn retry(
    State(api): State<Api>,
    principal: Principal,
    StepPath(run, step): StepPath,
    Body(body): Body<StepRequest>,
) -> Result<Json<RunView>, Problem> {
    was_shown(&api, &run, Some(&body.digest))?;
    perform(&api, run, Act::Retry { step, digest: body.digest }, &principal, &body.reason).await
}

/// Passes over a failed step, or leaves the effect of one whose undo has failed. What safety rests on is not skipped.
#[utoipa::path(
    post, path = "/runs/{id}/steps/{step}/skip", operation_id = "skip_step", tag = "runs",
    params(("id" = String, Path, description = "The run"), ("step" = String, Path, description = "The step")),
    request_body = StepRequest,
    responses(
        (status = 200, description = "Recorded; the run as it is now", body = RunView),
        (status = 404, description = "`unknown-run`, `unknown-step`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`step-not-skippable`, `wrong-phase`, `stale-digest` (with `current_digest`)", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid-request`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn skip(
    State(api): State<Api>,
    principal: Principal,
    StepPath(run, step): StepPath,
    Body(body): Body<StepRequest>,
) -> Result<Json<RunView>, Problem> {
    was_shown(&api, &run, Some(&body.digest))?;
    perform(&api, run, Act::Skip { step, digest: body.digest }, &principal, &body.reason).await
}
