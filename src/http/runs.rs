//! Runs: asked for, listed, shown, approved, stopped and resumed.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{
    Api,
    auth::{Permission, Principal},
    deadline::DeadlineView,
    deferred::DeferredView,
    drills,
    dto::{
        ApprovalRequest, Decision, FailbackRequest, FailoverRequest, PAGE_RUNS_DEFAULT, PAGE_RUNS_MAX, ResumeRequest,
        RunsQuery, StopRequest,
    },
    extract::{Body, IdempotencyKey, Params, RunPath, invalid_query, reason},
    plan::{ChosenView, Known, PlanView},
    problem::Problem,
    salvage::ReconciliationView,
    view::{RunStateName, RunSummary, RunView, RunsView, StartedView},
};
use crate::{
    domain::{
        id::{Digest, RunId},
        run::RunState,
    },
    engine::control::{Act, Refusal, StartRun, Started},
};

/// Moves an application, planned or not.
///
/// Answers at once: what needs a fresh look at AWS is accepted and done, or held, in the run.
#[utoipa::path(
    post, path = "/failover", operation_id = "failover", tag = "runs",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters: the same key and body give the same run")),
    request_body = FailoverRequest,
    responses(
        (status = 202, description = "The run was started, or had been with the same key and body", body = StartedView, headers(("Location" = String, description = "/runs/{id}"))),
        (status = 200, description = "dry_run: what would be done", body = PlanView),
        (status = 404, description = "`unknown-application`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`already-running` (with Location and `run`), `gate-refused` (with `gate`, `satisfied_by`), `unreconciled`, `application-held`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid-request`, `bad-target`, `idempotency-key-reused`, `runbook-uncompilable`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`stopping`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn failover(
    State(api): State<Api>,
    principal: Principal,
    IdempotencyKey(key): IdempotencyKey,
    Body(body): Body<FailoverRequest>,
) -> Result<Response, Problem> {
    start(&api, body.into_start(principal.subject, key)?).await
}

/// Moves an application back to its preferred Region, planned and lossless.
#[utoipa::path(
    post, path = "/failback", operation_id = "failback", tag = "runs",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters: the same key and body give the same run")),
    request_body = FailbackRequest,
    responses(
        (status = 202, description = "The run was started, or had been with the same key and body", body = StartedView, headers(("Location" = String, description = "/runs/{id}"))),
        (status = 200, description = "dry_run: what would be done", body = PlanView),
        (status = 404, description = "`unknown-application`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`already-running`, `gate-refused`, `unreconciled`, `application-held`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid-request`, `bad-target`, `idempotency-key-reused`, `runbook-uncompilable`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`stopping`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn failback(
    State(api): State<Api>,
    principal: Principal,
    IdempotencyKey(key): IdempotencyKey,
    Body(body): Body<FailbackRequest>,
) -> Result<Response, Problem> {
    start(&api, body.into_start(principal.subject, key)?).await
}

/// What a request for a run came to.
pub(super) enum Begun {
    Planned(Box<PlanView>),
    Run { id: RunId, supersedes: Option<RunId> },
}

/// Asks the engine for a run, or for what one would do.
pub(super) async fn begin(api: &Api, request: StartRun) -> Result<Begun, Problem> {
    let span = tracing::Span::current();
    span.record("application", request.application.as_str());
    let subject = request.subject.clone();
    let (run, supersedes) = match api.control.start_run(request).await? {
        Started::Planned { plan, digest, chosen } => {
            let outlook = api.control.look_ahead(&plan, &subject).await;
            let known = Known { api, subject: &subject, outlook: outlook.as_ref() };
            let mut view = PlanView::new(&plan, &digest, &known);
            view.chosen = chosen.map(|choice| ChosenView { mode: choice.purpose, why: choice.why });
            if let Some(real) = drills::rehearsed(api, &plan) {
                let outlook = api.control.look_ahead(&real, &subject).await;
                let known = Known { api, subject: &subject, outlook: outlook.as_ref() };
                view.rehearses = Some(Box::new(PlanView::new(&real, &real.digest(), &known)));
            }
            return Ok(Begun::Planned(Box::new(view)));
        }
        Started::Run { id, supersedes } => (id, supersedes),
        Started::Again { id } => (id, None),
    };
    span.record("run", run.as_str());
    Ok(Begun::Run { id: run, supersedes })
}

pub(super) async fn start(api: &Api, request: StartRun) -> Result<Response, Problem> {
    let (run, supersedes) = match begin(api, request).await? {
        Begun::Planned(view) => return Ok(Json(view).into_response()),
        Begun::Run { id, supersedes } => (id, supersedes),
    };
    let location =
        HeaderValue::from_str(&format!("/runs/{run}")).unwrap_or_else(|e| unreachable!("run ids are plain ASCII: {e}"));
    let view = StartedView { run: run.to_string(), supersedes: supersedes.map(|id| id.to_string()) };
    let headers = [(header::LOCATION, location)];
    Ok((StatusCode::ACCEPTED, headers, Json(view)).into_response())
}

/// The runs of all applications, newest first.
#[utoipa::path(
    get, path = "/runs", operation_id = "list_runs", tag = "runs",
    params(RunsQuery),
    responses(
        (status = 200, description = "One page", body = RunsView),
        (status = 400, description = "`invalid-request`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`unknown-application`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    State(api): State<Api>,
    principal: Principal,
    Params(query): Params<RunsQuery>,
) -> Result<Json<RunsView>, Problem> {
    page_of(&api, &principal, query).map(Json)
}

/// One page of the runs that `principal` may look at.
pub(super) fn page_of(api: &Api, principal: &Principal, query: RunsQuery) -> Result<RunsView, Problem> {
    let limit = query.limit.unwrap_or(PAGE_RUNS_DEFAULT);
    if !(1..=PAGE_RUNS_MAX).contains(&limit) {
        return Err(invalid_query(format!("limit: expected 1 to {PAGE_RUNS_MAX}")));
    }
    let names = match query.application {
        Some(name) if !principal.may(Permission::Read, &name) => return Err(Refusal::UnknownApplication(name).into()),
        Some(name) => vec![name],
        None => api.shown_to(principal).iter().map(|a| a.name.clone()).collect(),
    };
    let histories = names
        .into_iter()
        .map(|name| {
            let history = api.control.history(&name);
            history.ok_or_else(|| Refusal::UnknownApplication(name).into())
        })
        .collect::<Result<Vec<_>, Problem>>()?;
    let mut runs: Vec<&RunState> = histories.iter().flat_map(|h| h.runs.values().map(AsRef::as_ref)).collect();
    runs.sort_by(|a, b| (b.started_at, &b.id).cmp(&(a.started_at, &a.id)));
    // Runs never vanish, so the last run of a page is a cursor that stays true while new runs come in front of it.
    let after = match &query.cursor {
        None => 0,
        Some(cursor) => {
            let at = runs.iter().position(|r| r.id.as_str() == cursor);
            1 + at.ok_or_else(|| invalid_query("cursor: not one that this list has given"))?
        }
    };
    let is_wanted = |r: &&&RunState| query.state.is_none_or(|state| RunStateName::of(&r.phase) == state);
    let mut page: Vec<&&RunState> = runs[after..].iter().filter(is_wanted).take(limit + 1).collect();
    let has_more = page.len() > limit;
    page.truncate(limit);
    Ok(RunsView {
        next_cursor: page.last().filter(|_| has_more).map(|r| r.id.to_string()),
        runs: page.into_iter().map(|r| RunSummary::new(r)).collect(),
    })
}

/// One run: its steps, timings and what it waits for.
#[utoipa::path(
    get, path = "/runs/{id}", operation_id = "get_run", tag = "runs",
    params(("id" = String, Path, description = "The run")),
    responses(
        (status = 200, description = "The run", body = RunView),
        (status = 404, description = "`unknown-run`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn one(State(api): State<Api>, RunPath(id): RunPath) -> Result<Json<RunView>, Problem> {
    view(&api, &id).map(Json)
}

/// Says yes or no to one step of one plan.
#[utoipa::path(
    post, path = "/runs/{id}/approvals", operation_id = "approve", tag = "runs",
    params(("id" = String, Path, description = "The run")),
    request_body = ApprovalRequest,
    responses(
        (status = 200, description = "Recorded; the run as it is now", body = RunView),
        (status = 403, description = "`self-approval`, `forbidden`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`unknown-run`, `unknown-step`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`stale-digest` (with `current_digest`), `wrong-phase`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid-request`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn approvals(
    State(api): State<Api>,
    principal: Principal,
    RunPath(id): RunPath,
    Body(body): Body<ApprovalRequest>,
) -> Result<Json<RunView>, Problem> {
    let act = Act::Approve { step: body.step, approved: body.decision == Decision::Approve, digest: body.digest };
    perform(&api, id, act, &principal, &body.reason).await
}

/// Ends the run: what is in flight is settled, and what it has done is taken back. Refused past its point of no return;
/// where the way back is held, a second abort ends the run where it stands.
#[utoipa::path(
    post, path = "/runs/{id}/abort", operation_id = "abort", tag = "runs",
    params(("id" = String, Path, description = "The run")),
    request_body = StopRequest,
    responses(
        (status = 200, description = "Recorded; the run as it is now", body = RunView),
        (status = 404, description = "`unknown-run`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`wrong-phase`, `stale-digest`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid-request`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn abort(
    State(api): State<Api>,
    principal: Principal,
    RunPath(id): RunPath,
    Body(body): Body<StopRequest>,
) -> Result<Json<RunView>, Problem> {
    was_shown(&api, &id, body.digest.as_ref())?;
    perform(&api, id, Act::Abort, &principal, &body.reason).await
}

/// Begins nothing new until it is resumed; what is in flight is settled.
#[utoipa::path(
    post, path = "/runs/{id}/pause", operation_id = "pause", tag = "runs",
    params(("id" = String, Path, description = "The run")),
    request_body = StopRequest,
    responses(
        (status = 200, description = "Recorded; the run as it is now", body = RunView),
        (status = 404, description = "`unknown-run`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`wrong-phase`, `stale-digest`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid-request`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn pause(
    State(api): State<Api>,
    principal: Principal,
    RunPath(id): RunPath,
    Body(body): Body<StopRequest>,
) -> Result<Json<RunView>, Problem> {
    was_shown(&api, &id, body.digest.as_ref())?;
    perform(&api, id, Act::Pause, &principal, &body.reason).await
}

/// Goes on after a hold or a pause; a failed step that held the run is tried again.
#[utoipa::path(
    post, path = "/runs/{id}/resume", operation_id = "resume", tag = "runs",
    params(("id" = String, Path, description = "The run")),
    request_body = ResumeRequest,
    responses(
        (status = 200, description = "Recorded; the run as it is now", body = RunView),
        (status = 404, description = "`unknown-run`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`wrong-phase`, `stale-digest`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid-request`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn resume(
    State(api): State<Api>,
    principal: Principal,
    RunPath(id): RunPath,
    Body(body): Body<ResumeRequest>,
) -> Result<Json<RunView>, Problem> {
    was_shown(&api, &id, Some(&body.digest))?;
    perform(&api, id, Act::Resume, &principal, &body.reason).await
}

pub(super) async fn perform(
    api: &Api,
    id: RunId,
    act: Act,
    principal: &Principal,
    why: &str,
) -> Result<Json<RunView>, Problem> {
    let why = reason(why)?;
    api.control.act(&id, act, &principal.subject, &why).await?;
    view(api, &id).map(Json)
}

/// A run's plan never changes, so its digest can be compared before the engine is asked.
pub(super) fn was_shown(api: &Api, id: &RunId, digest: Option<&Digest>) -> Result<(), Problem> {
    let current = with_run(api, id, |run| run.plan_digest.clone())?;
    match digest {
        Some(shown) if *shown != current => Err(Refusal::StaleDigest { current }.into()),
        _ => Ok(()),
    }
}

/// The run as it is now.
pub(super) fn view(api: &Api, id: &RunId) -> Result<RunView, Problem> {
    let mut view = with_run(api, id, RunView::new)?;
    view.deadline = deadline(api, id);
    view.deferred = DeferredView::all(api.control.history(&id.application()).as_deref(), Some(id));
    view.reconciliation = reconciliation(api, id);
    // A finished run waits for nothing, even where its last looks are not forgotten yet.
    let waits = if view.state.is_final() { BTreeMap::new() } else { api.control.waits(id) };
    for (step, why) in waits {
        if let Some(step) = view.steps.iter_mut().find(|s| s.id == step.as_str() && s.detail.is_none()) {
            step.detail = Some(why);
        }
    }
    Ok(view)
}

/// What the run has left in the Region that it left, or what a salvage has found of that.
fn reconciliation(api: &Api, id: &RunId) -> Option<ReconciliationView> {
    let name = id.application();
    let history = api.control.history(&name)?;
    let applications = api.control.applications();
    let application = applications.iter().find(|a| a.name == name)?;
    ReconciliationView::of(application, &history, history.runs.get(id)?)
}

/// How the run stands to the RTO as of the newest assessment.
fn deadline(api: &Api, id: &RunId) -> Option<DeadlineView> {
    let name = id.application();
    let (history, assessment) = (api.control.history(&name)?, api.control.assessment(&name)?);
    let applications = api.control.applications();
    let application = applications.iter().find(|a| a.name == name)?;
    Some(DeadlineView::new(application, &history, history.runs.get(id)?, assessment.at))
}

/// Looks at one run, if there is such a run.
pub(super) fn with_run<T>(api: &Api, id: &RunId, look: impl FnOnce(&RunState) -> T) -> Result<T, Problem> {
    let history = api.control.history(&id.application());
    let run = history.as_ref().and_then(|h| h.runs.get(id));
    run.map(|run| look(run)).ok_or_else(|| api.control.unknown_run(id).into())
}
