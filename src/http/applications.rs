//! Applications: how they are, and what to do about it.

use axum::{Json, extract::State, http::StatusCode};

use super::{
    Api,
    auth::Principal,
    condition::{ApplicationView, ApplicationsView, SignatureView},
    decision::{DecisionView, Shown},
    extract::ApplicationPath,
    preflight::PreflightSummaryView,
    problem::Problem,
    replica::LeaderView,
    schedules::ReadinessView,
};
use crate::{
    domain::{application::Application, id::ApplicationName},
    engine::control::Refusal,
};

/// The application as it is now.
pub(super) fn view(api: &Api, application: &Application) -> ApplicationView {
    let assessment = api.control.assessment(&application.name);
    let history = api.control.history(&application.name);
    let leader = api.control.leader(&application.name).as_ref().map(LeaderView::new);
    let held = api.control.held(&application.name);
    let told = history.as_deref().zip(api.control.now());
    let readiness = told.map(|(history, now)| ReadinessView::new(application, history, now));
    let now = api.control.now();
    let preflight = api.control.preflight(&application.name);
    let preflight = preflight.map(|found| PreflightSummaryView::new(&application.name, &found, now));
    let view = ApplicationView::new(application, assessment.as_deref(), history.as_deref());
    ApplicationView { leader, held, readiness, preflight, ..view }
}

fn unknown(name: ApplicationName) -> Problem {
    Refusal::UnknownApplication(name).into()
}

/// All applications that the caller may look at, as they are now.
#[utoipa::path(
    get, path = "/applications", operation_id = "list_applications", tag = "applications",
    responses((status = 200, description = "All applications", body = ApplicationsView))
)]
pub async fn list(State(api): State<Api>, principal: Principal) -> Json<ApplicationsView> {
    let applications = api.shown_to(&principal);
    let signatures = SignatureView::unverified(&api.control.readiness().signatures);
    Json(ApplicationsView { applications: applications.iter().map(|a| view(&api, a)).collect(), signatures })
}

/// One application as it is now.
#[utoipa::path(
    get, path = "/applications/{name}", operation_id = "get_application", tag = "applications",
    params(("name" = String, Path, description = "The application")),
    responses(
        (status = 200, description = "The application", body = ApplicationView),
        (status = 404, description = "`unknown-application`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn one(
    State(api): State<Api>,
    ApplicationPath(name): ApplicationPath,
) -> Result<Json<ApplicationView>, Problem> {
    let applications = api.control.applications();
    let application = applications.iter().find(|a| a.name == name);
    application.map(|a| Json(view(&api, a))).ok_or_else(|| unknown(name))
}

/// What to do about an application now, why, and what would change that.
#[utoipa::path(
    get, path = "/applications/{name}/decision", operation_id = "get_decision", tag = "applications",
    params(("name" = String, Path, description = "The application")),
    responses(
        (status = 200, description = "The newest decision", body = DecisionView),
        (status = 404, description = "`unknown-application`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`not-assessed`: no assessment was made yet; `not-leader`: another replica assesses it, and could not be asked", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn decision(
    State(api): State<Api>,
    ApplicationPath(name): ApplicationPath,
) -> Result<Json<DecisionView>, Problem> {
    newest_decision(&api, name).map(Json)
}

/// The newest decision about the application, or why there is none here.
pub(super) fn newest_decision(api: &Api, name: ApplicationName) -> Result<DecisionView, Problem> {
    let applications = api.control.applications();
    let Some(application) = applications.iter().find(|a| a.name == name) else {
        return Err(unknown(name));
    };
    let history = api.control.history(&name);
    let seen_from = api.control.seen_from(&name);
    let capacities = api.control.capacities(&name);
    match api.control.assessment(&name) {
        Some(assessment) => Ok(DecisionView::new(&Shown {
            application,
            assessment: &assessment,
            history: history.as_deref(),
            seen_from: seen_from.as_ref(),
            capacities: &capacities,
        })),
        None if let Some(leader) = api.control.leader(&name).filter(|leader| !leader.here) => {
            Err(Refusal::NotLeader { application: name, leader: Some(Box::new(leader)) }.into())
        }
        None => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not-assessed",
            "Nothing is known yet",
            "no assessment was made since the daemon started",
        )
        .retry_later()),
    }
}
