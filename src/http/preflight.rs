//! Preflight as callers get it: the score of every way out, what takes its points, and everything that was looked at.
//!
//! Invariant: as in [`super::view`]: where nobody has looked, or not lately enough, the score is `null`, neither 0 nor 100.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api,
    extract::{ApplicationPath, Body, Concerns},
    problem::Problem,
};
use crate::{
    domain::{
        id::ApplicationName,
        preflight::{Check, Class, Direction, Kind, PERIOD, State as Seen},
        seconds::to_seconds,
    },
    engine::{control::Refusal, preflight::round::Now},
};

/// So many of what takes points are told in one line each beside an application.
const TOLD_MAX: usize = 3;

/// The body of `POST /applications/{name}/preflight`: nothing is to be said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LookRequest {}

impl Concerns for LookRequest {
    /// The path says which.
    fn application(&self) -> Option<&ApplicationName> {
        None
    }
}

/// Whether an application could be moved now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PreflightView {
    pub application: String,
    /// From 0 to 100, of the best way out; `null`: nobody has looked since the start, or not lately enough.
    pub score: Option<u8>,
    /// When the newest round ended; `null`: there was none.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub looked_at: Option<Timestamp>,
    pub age_seconds: Option<f64>,
    /// It is too old to be believed: what is below is what was found then.
    pub stale: bool,
    /// How often it is looked at.
    pub period_seconds: f64,
    /// So many rounds have ended since this replica began to work on the application.
    pub rounds: u64,
    /// A round is under way, or asked for.
    pub under_way: bool,
    /// Why nothing is looked at now; `null`: nothing stands in the way.
    pub waits: Option<String>,
    pub directions: Vec<DirectionView>,
}

/// One way out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DirectionView {
    pub source: String,
    pub target: String,
    /// As of `looked_at`.
    pub score: Option<u8>,
    /// Something is known that a failover there would not survive, or would be held by.
    pub blocked: bool,
    /// What takes points first, the worst of it first; then the rest.
    pub checks: Vec<CheckView>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CheckView {
    #[schema(value_type = String, example = "ttl")]
    pub kind: Kind,
    pub subject: String,
    pub region: Option<String>,
    /// `blocking`, `degrading` or `advisory`.
    #[schema(value_type = String, example = "degrading")]
    pub class: Class,
    /// `met`, `not_met` or `unknown`.
    #[schema(value_type = String, example = "not_met")]
    pub state: Seen,
    /// What it takes from the score.
    pub points: u8,
    pub seen: String,
    pub expected: String,
    /// What to do where it is not met.
    pub remedy: String,
}

/// The score in short, beside an application.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PreflightSummaryView {
    /// `null`: nobody has looked, or not lately enough.
    pub score: Option<u8>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub looked_at: Option<Timestamp>,
    pub stale: bool,
    /// What takes the most points, the worst first: three at most.
    pub lowered: Vec<String>,
}

impl DirectionView {
    fn new(direction: &Direction) -> Self {
        let score = direction.score();
        let lowered = score.as_ref().map_or(&[][..], |score| &score.lowered);
        let taken = |place: usize| lowered.iter().find(|l| l.check == place).map_or(0, |l| l.points);
        let first = lowered.iter().map(|l| l.check);
        let rest = (0..direction.checks.len()).filter(|place| !lowered.iter().any(|l| l.check == *place));
        let checks = first.chain(rest).map(|place| CheckView::new(&direction.checks[place], taken(place)));
        Self {
            source: direction.source.to_string(),
            target: direction.target.to_string(),
            blocked: direction.is_blocked(),
            checks: checks.collect(),
            score: score.map(|score| score.points),
        }
    }
}

impl CheckView {
    fn new(check: &Check, points: u8) -> Self {
        Self {
            kind: check.kind,
            subject: check.subject.clone(),
            region: check.region.as_ref().map(ToString::to_string),
            class: check.class,
            state: check.state,
            points,
            seen: check.seen.clone(),
            expected: check.expected.clone(),
            remedy: check.remedy.clone(),
        }
    }

    /// `ttl api (us-west-2): a record has 300 s`.
    pub fn line(&self) -> String {
        let at = self.region.as_ref().map_or_else(String::new, |region| format!(" ({region})"));
        format!("{} {}{at}: {}", self.kind.as_str(), self.subject, self.seen)
    }
}

impl PreflightView {
    pub fn new(name: &ApplicationName, now: &Now, at: Option<Timestamp>) -> Self {
        let found = now.found.as_deref();
        let age = found.zip(at).map(|(found, at)| found.age(at));
        Self {
            application: name.to_string(),
            score: found.zip(at).and_then(|(found, at)| found.score(at)),
            looked_at: found.map(|found| found.at),
            age_seconds: age.map(to_seconds),
            stale: found.zip(at).is_some_and(|(found, at)| found.is_stale(at)),
            period_seconds: to_seconds(PERIOD),
            rounds: now.rounds,
            under_way: now.under_way,
            waits: now.waits.clone(),
            directions: found.map_or_else(Vec::new, |found| found.directions.iter().map(DirectionView::new).collect()),
        }
    }

    /// Whether a way out was seen lately of which everything that could block it was seen to be met.
    pub fn has_way_out(&self) -> bool {
        let open = |c: &CheckView| c.class == Class::Blocking && c.state != Seen::Met;
        self.score.is_some() && self.directions.iter().any(|d| !d.checks.is_empty() && !d.checks.iter().any(open))
    }
}

impl PreflightSummaryView {
    pub fn new(name: &ApplicationName, now: &Now, at: Option<Timestamp>) -> Self {
        let whole = PreflightView::new(name, now, at);
        let lowered = whole.directions.iter().flat_map(|d| &d.checks).filter(|c| c.points != 0);
        let mut lowered: Vec<&CheckView> = lowered.collect();
        lowered.sort_by_key(|c| std::cmp::Reverse(c.points));
        let lowered = lowered.into_iter().map(CheckView::line).take(TOLD_MAX).collect();
        Self { score: whole.score, looked_at: whole.looked_at, stale: whole.stale, lowered }
    }
}

fn known(api: &Api, name: &ApplicationName) -> Result<(), Refusal> {
    let is_there = api.control.applications().iter().any(|app| app.name == *name);
    if is_there { Ok(()) } else { Err(Refusal::UnknownApplication(name.clone())) }
}

/// How preflight of the application stands, or that another replica leads.
fn standing(api: &Api, name: &ApplicationName) -> Result<Now, Problem> {
    known(api, name)?;
    match api.control.preflight(name) {
        Some(now) => Ok(now),
        None if let Some(leader) = api.control.leader(name).filter(|leader| !leader.here) => {
            Err(Refusal::NotLeader { application: name.clone(), leader: Some(Box::new(leader)) }.into())
        }
        None => Ok(idle()),
    }
}

/// Where nobody looks.
fn idle() -> Now {
    Now {
        waits: Some("this replica looks at nothing: it does not work on the application".to_owned()),
        ..Now::default()
    }
}

/// What the newest round of preflight has found: whether the application could be moved now, and what lowers that.
#[utoipa::path(
    get, path = "/applications/{name}/preflight", operation_id = "get_preflight", tag = "applications",
    params(("name" = String, Path, description = "The application")),
    responses(
        (status = 200, description = "The newest round, with its age", body = PreflightView),
        (status = 404, description = "`unknown-application`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`not-leader`: another replica looks at it, and could not be asked", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn newest(
    State(api): State<Api>,
    ApplicationPath(name): ApplicationPath,
) -> Result<Json<PreflightView>, Problem> {
    let now = standing(&api, &name)?;
    Ok(Json(PreflightView::new(&name, &now, api.control.now())))
}

/// Asks for a round of preflight now, and answers within a second: with what it has found, or with the one before while it
/// is under way. It reads only; at most one is under way.
#[utoipa::path(
    post, path = "/applications/{name}/preflight", operation_id = "look_now", tag = "applications",
    params(("name" = String, Path, description = "The application")),
    request_body = LookRequest,
    responses(
        (status = 202, description = "How it stands: `under_way`, or `waits` where something stands in the way", body = PreflightView),
        (status = 404, description = "`unknown-application`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid-request`: the body is an empty object", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`stopping`, `not-leader`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn look(
    State(api): State<Api>,
    ApplicationPath(name): ApplicationPath,
    Body(LookRequest {}): Body<LookRequest>,
) -> Result<Response, Problem> {
    known(&api, &name)?;
    let now = api.control.preflight_now(&name).await?.unwrap_or_else(idle);
    let view = PreflightView::new(&name, &now, api.control.now());
    Ok((StatusCode::ACCEPTED, Json(view)).into_response())
}
