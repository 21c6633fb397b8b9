//! Drills: asked for, and the list of those that an application has with how each went last.
//!
//! A drill's request names no loss that is accepted: there is no field for one (FAULTS.md 82). What a schedule is shown
//! as is in [`super::schedules`].

use axum::{Json, extract::State, response::Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    auth::Principal,
    dto::plain,
    extract::{Body, Concerns, IdempotencyKey, Params, invalid_query},
    plan::PlanView,
    problem::Problem,
    runs::start,
    schedules::{OCCURRENCES_MAX, ReadinessView, ScheduleView},
    view::{RunStateName, StartedView},
};
use crate::{
    domain::{
        action::EffectClass,
        application::Application,
        compile::compile,
        history::History,
        id::{ApplicationName, Digest, Region, RunbookName, Subject},
        plan::{Plan, Purpose},
        run::{Phase, RunState},
    },
    engine::control::{Refusal, StartRun, Wish},
};

/// The body of `POST /drills`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrillRequest {
    #[schema(value_type = String, pattern = "^[a-z0-9-]{1,64}$")]
    pub application: ApplicationName,
    /// One of the application's drills.
    #[schema(value_type = String, pattern = "^[a-z0-9-]{1,64}$")]
    pub runbook: RunbookName,
    /// The Region to go to and to come back from; the only other Region if absent.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub target_region: Option<Region>,
    /// Why, for those who read it later. No control characters.
    #[schema(min_length = 1, max_length = 1024)]
    pub reason: String,
    /// Compile and show the plan; start nothing.
    #[serde(default)]
    pub dry_run: bool,
}

impl Concerns for DrillRequest {
    fn application(&self) -> Option<&ApplicationName> {
        Some(&self.application)
    }
}

impl DrillRequest {
    /// The request to the engine.
    pub fn into_start(self, subject: Subject, key: Option<String>) -> Result<StartRun, Problem> {
        let body_digest = Digest::of_json(&("drill", &self));
        let request = plain(
            (self.application, Wish::Drill { runbook: self.runbook }),
            (&self.reason, self.dry_run),
            (subject, key),
            body_digest,
        )?;
        Ok(StartRun { target: self.target_region, ..request })
    }
}

/// Drills an application: there and back, planned and lossless.
///
/// Refused in a blackout, where the application is not well, and while anything else is at work.
#[utoipa::path(
    post, path = "/drills", operation_id = "drill", tag = "drills",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters: the same key and body give the same run")),
    request_body = DrillRequest,
    responses(
        (status = 202, description = "The run was started, or had been with the same key and body", body = StartedView, headers(("Location" = String, description = "/runs/{id}"))),
        (status = 200, description = "dry_run: what would be done", body = PlanView),
        (status = 404, description = "`unknown-application`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`already-running` (with Location and `run`), `gate-refused` (with `gate`, `satisfied_by`), `unreconciled`, `application-held`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid-request`, `bad-target`, `idempotency-key-reused`, `runbook-uncompilable`, `unknown-drill`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`stopping`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn drill(
    State(api): State<Api>,
    principal: Principal,
    IdempotencyKey(key): IdempotencyKey,
    Body(body): Body<DrillRequest>,
) -> Result<Response, Problem> {
    start(&api, body.into_start(principal.subject, key)?).await
}

/// The failover that a drill on paper is about: one that changes nothing shows what would be done. `None`: it changes
/// something itself, or there is no such runbook.
pub(super) fn rehearsed(api: &Api, drill: &Plan) -> Option<Plan> {
    let changes = drill.steps.iter().any(|step| step.action.effect() != EffectClass::Read);
    if drill.purpose != Purpose::Drill || changes {
        return None;
    }
    let applications = api.control.applications();
    let app = applications.iter().find(|app| app.name == drill.application)?;
    let name = app.runbooks.get(&Purpose::Failover)?;
    let runbooks = api.control.runbooks();
    let (runbook, digest) = runbooks.iter().find(|(runbook, _)| runbook.name == *name)?;
    let (source, target) = (&drill.source, &drill.target);
    compile(app, runbook, Purpose::Failover, source, target, None, &drill.config_digest, digest).ok()
}

/// The query of `GET /drills`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DrillsQuery {
    /// Only drills of this application.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    pub application: Option<ApplicationName>,
    /// How many of the next occurrences of each schedule are listed; 1 where nothing is said.
    #[serde(default)]
    #[param(minimum = 1, maximum = 100)]
    pub occurrences: Option<usize>,
}

/// The drills that applications have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DrillsView {
    /// By application, in the order of its configuration.
    pub drills: Vec<DrillView>,
    /// When they are due, by application and name.
    #[serde(default)]
    pub schedules: Vec<ScheduleView>,
    /// What was proved of each application; one whose journal is not read is left out.
    #[serde(default)]
    pub readiness: Vec<ReadinessView>,
}

/// One drill of one application.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DrillView {
    pub application: String,
    pub runbook: String,
    /// What the runbook says that it does; `null`: this daemon has no such runbook.
    pub description: Option<String>,
    /// The newest run of it; `null`: it was never held.
    pub last: Option<LastDrillView>,
}

/// How a drill went last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LastDrillView {
    pub run: String,
    /// `succeeded`: the application is home again; `reason` names what failed on the way and was passed over.
    pub state: RunStateName,
    /// Why it is held, paused, being aborted or finished; `null` while it runs.
    pub reason: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
}

impl LastDrillView {
    pub(super) fn new(run: &RunState) -> Self {
        let (reason, finished_at) = match &run.phase {
            Phase::Running => (None, None),
            Phase::Finished { reason, at, .. } => (Some(reason.clone()), Some(*at)),
            Phase::Held { reason, .. }
            | Phase::Paused { reason, .. }
            | Phase::Aborting { reason, .. }
            | Phase::Undoing { reason, .. } => (Some(reason.clone()), None),
        };
        let (state, started_at) = (RunStateName::of(&run.phase), run.started_at);
        Self { run: run.id.to_string(), state, reason, started_at, finished_at }
    }
}

/// The drills that each application has, with the last run of each and how it ended; when they are due, and what became
/// of those that were; and how ready each application is by what was proved.
#[utoipa::path(
    get, path = "/drills", operation_id = "list_drills", tag = "drills",
    params(DrillsQuery),
    responses(
        (status = 200, description = "All of them", body = DrillsView),
        (status = 400, description = "`invalid-request`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`unknown-application`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    State(api): State<Api>,
    principal: Principal,
    Params(query): Params<DrillsQuery>,
) -> Result<Json<DrillsView>, Problem> {
    let count = query.occurrences.unwrap_or(1);
    if !(1..=OCCURRENCES_MAX).contains(&count) {
        return Err(invalid_query(format!("occurrences: expected 1 to {OCCURRENCES_MAX}")));
    }
    let applications = api.shown_to(&principal);
    if let Some(name) = query.application.as_ref().filter(|name| !applications.iter().any(|app| app.name == **name)) {
        return Err(Refusal::UnknownApplication(name.clone()).into());
    }
    let runbooks = api.control.runbooks();
    let wanted = applications.iter().filter(|app| query.application.as_ref().is_none_or(|name| app.name == *name));
    let views = wanted.clone().flat_map(|app| {
        let history = api.control.history(&app.name);
        let described = |name: &RunbookName| {
            runbooks.iter().find(|(runbook, _)| runbook.name == *name).map(|(runbook, _)| runbook.description.clone())
        };
        app.drills.iter().map(|name| view(app, name, described(name), history.as_deref())).collect::<Vec<_>>()
    });
    let now = api.control.now();
    let mut view = DrillsView { drills: views.collect(), schedules: Vec::new(), readiness: Vec::new() };
    for app in wanted {
        let history = api.control.history(&app.name);
        let schedules = app.schedules.iter();
        view.schedules.extend(schedules.map(|s| ScheduleView::new(app, s, history.as_deref(), now, count)));
        view.readiness.extend(history.zip(now).map(|(history, now)| ReadinessView::new(app, &history, now)));
    }
    Ok(Json(view))
}

fn view(app: &Application, name: &RunbookName, description: Option<String>, history: Option<&History>) -> DrillView {
    let runs = history.into_iter().flat_map(|h| h.runs.values());
    let of_drill = runs.filter(|run| run.plan.runbook == *name && run.plan.purpose == Purpose::Drill);
    DrillView {
        application: app.name.to_string(),
        runbook: name.to_string(),
        description,
        last: of_drill.max_by_key(|run| run.started_at).map(|run| LastDrillView::new(run)),
    }
}
