//! Observers elsewhere: what they are to probe, and what they report.
//!
//! Invariant: the vantage of a report is the name of the token that it came with, never a word of the report. What is
//! not taken is answered by name, and takes nothing else down. Ages only: no clock but ours matters.

use std::time::Duration;

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api,
    auth::Principal,
    extract::{Body, Concerns, invalid_field},
    problem::Problem,
};
use crate::{
    domain::{
        id::{ApplicationName, SignalName, VantageName},
        report::{Assignment, DETAIL_CHARS_MAX, Observed, PROCESS_CHARS_MAX, Report, SAMPLES_MAX},
        seconds::to_seconds,
    },
    engine::observations::{Posted, Receipt},
};

/// The longest time that a report may speak of, in seconds: a day. What is older is of no use.
const SECONDS_MAX: f64 = 86_400.0;

/// What an observer is to probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AssignmentsView {
    /// The vantage that the token is named after.
    pub vantage: String,
    /// To be sent with the next report.
    pub stamp: String,
    pub assignments: Vec<AssignmentView>,
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AssignmentView {
    pub application: String,
    pub signal: String,
    /// `https://`, `http://` or `tcp://host:port`. A status from 200 to 299, or a connection, is healthy.
    pub url: String,
    pub timeout_seconds: f64,
    pub period_seconds: f64,
}

impl AssignmentView {
    fn new(assignment: &Assignment) -> Self {
        Self {
            application: assignment.application.to_string(),
            signal: assignment.signal.to_string(),
            url: assignment.target.to_string(),
            timeout_seconds: to_seconds(assignment.timeout),
            period_seconds: to_seconds(assignment.period),
        }
    }
}

/// The body of `POST /observations`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ObservationsRequest {
    /// The process that reports: another one at every start.
    #[schema(min_length = 1, max_length = 64)]
    pub observer: String,
    /// Grows with every report of the process.
    pub sequence: u64,
    /// The newest stamp that this daemon gave.
    pub stamp: String,
    /// For how long the observer has had that stamp.
    #[schema(minimum = 0)]
    pub stamp_age_seconds: f64,
    /// Why it does not vote: it cannot reach its own control points.
    #[serde(default)]
    #[schema(max_length = 200)]
    pub abstains: Option<String>,
    /// Each sample once.
    #[schema(max_items = 500)]
    pub samples: Vec<SampleRequest>,
}

impl Concerns for ObservationsRequest {
    fn application(&self) -> Option<&ApplicationName> {
        None
    }
}

/// One sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SampleRequest {
    pub application: String,
    pub signal: String,
    /// How long before the report was sent the probe was sent.
    #[schema(minimum = 0)]
    pub age_seconds: f64,
    pub reading: ReadingRequest,
    /// In words; cut after 200 characters.
    #[serde(default)]
    pub detail: String,
}

/// What a probe found. One that could not be sent has no reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReadingRequest {
    Healthy,
    Unhealthy,
}

/// What became of a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ObservationsView {
    /// How many samples were taken.
    pub taken: usize,
    /// To be sent with the next report.
    pub stamp: String,
    /// The others.
    pub refused: Vec<RefusedView>,
}

/// A sample that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusedView {
    /// Its place in `samples`, from 0.
    pub index: usize,
    pub application: String,
    pub signal: String,
    pub why: String,
}

/// The vantage that the caller's token is named after.
fn vantage(principal: &Principal) -> Result<VantageName, Problem> {
    principal.subject.as_str().parse().map_err(|error| {
        let detail = format!("an observer's token has the name of its vantage: {error}");
        Problem::new(StatusCode::FORBIDDEN, "forbidden", "That is not allowed", detail)
    })
}

/// What the observer that asks is to probe.
#[utoipa::path(
    get, path = "/observations/assignments", operation_id = "get_assignments", tag = "observers",
    responses((status = 200, description = "Its probes; none where no policy names it", body = AssignmentsView))
)]
pub async fn assignments(State(api): State<Api>, principal: Principal) -> Result<Json<AssignmentsView>, Problem> {
    let vantage = vantage(&principal)?;
    let assigned = api.control.assigned(&vantage);
    Ok(Json(AssignmentsView {
        vantage: vantage.to_string(),
        stamp: assigned.stamp.to_string(),
        assignments: assigned.assignments.iter().map(AssignmentView::new).collect(),
    }))
}

/// Takes in what the observer has seen since its last report.
#[utoipa::path(
    post, path = "/observations", operation_id = "report_observations", tag = "observers",
    request_body = ObservationsRequest,
    responses(
        (status = 200, description = "What was taken and what was not", body = ObservationsView),
        (status = 409, description = "`stamp-unknown`, `report-out-of-order`: nothing was taken", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid-request`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`stopping`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn report(
    State(api): State<Api>,
    principal: Principal,
    Body(request): Body<ObservationsRequest>,
) -> Result<Json<ObservationsView>, Problem> {
    let vantage = vantage(&principal)?;
    let sent = request.samples.clone();
    let (posted, mut refused) = posted(request)?;
    // The engine counts what it is given; a caller counts what it sent.
    let places: Vec<usize> = (0..sent.len()).filter(|i| !refused.iter().any(|r| r.index == *i)).collect();
    let Receipt { stamp, refused: more } = api.control.hear(&vantage, posted)?;
    refused.extend(more.into_iter().filter_map(|r| {
        let index = *places.get(r.index)?;
        Some(refusal(index, &sent[index], r.why))
    }));
    refused.sort_by_key(|r| r.index);
    Ok(Json(ObservationsView { taken: sent.len() - refused.len(), stamp: stamp.to_string(), refused }))
}

/// The report, without the samples that cannot be meant.
fn posted(request: ObservationsRequest) -> Result<(Posted, Vec<RefusedView>), Problem> {
    let process = request.observer;
    let is_plain = process.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if process.is_empty() || PROCESS_CHARS_MAX < process.len() || !is_plain {
        return Err(invalid_field("observer", format!("expected 1 to {PROCESS_CHARS_MAX} of a-z, A-Z, 0-9 and -")));
    }
    if SAMPLES_MAX < request.samples.len() {
        return Err(invalid_field("samples", format!("expected at most {SAMPLES_MAX}")));
    }
    let stamp_age = duration(request.stamp_age_seconds).map_err(|why| invalid_field("stamp_age_seconds", why))?;
    let abstains = request.abstains.map(|why| abstention(&why)).transpose()?;
    let mut samples = Vec::with_capacity(request.samples.len());
    let mut refused = Vec::new();
    for (index, sample) in request.samples.into_iter().enumerate() {
        match observed(&sample) {
            Ok(observed) => samples.push(observed),
            Err(why) => refused.push(refusal(index, &sample, why)),
        }
    }
    let report = Report { process, sequence: request.sequence, abstains, samples };
    Ok((Posted { stamp: request.stamp, stamp_age, report }, refused))
}

fn abstention(why: &str) -> Result<String, Problem> {
    let is_short = (1..=DETAIL_CHARS_MAX).contains(&why.chars().count());
    if is_short && !why.chars().any(char::is_control) {
        return Ok(why.to_owned());
    }
    Err(invalid_field("abstains", format!("expected null, or 1 to {DETAIL_CHARS_MAX} characters, none a control one")))
}

fn observed(sample: &SampleRequest) -> Result<Observed, String> {
    let application: ApplicationName = sample.application.parse().map_err(|e| format!("{e}"))?;
    let signal: SignalName = sample.signal.parse().map_err(|e| format!("{e}"))?;
    let age = duration(sample.age_seconds).map_err(|why| format!("age_seconds: {why}"))?;
    let healthy = sample.reading == ReadingRequest::Healthy;
    Ok(Observed { application, signal, age, healthy, detail: sample.detail.clone() })
}

fn duration(seconds: f64) -> Result<Duration, String> {
    let why = || format!("expected 0 to {SECONDS_MAX} seconds");
    if !(0.0..=SECONDS_MAX).contains(&seconds) {
        return Err(why());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| why())
}

fn refusal(index: usize, sample: &SampleRequest, why: String) -> RefusedView {
    let shown = |text: &str| text.chars().take(80).collect::<String>();
    RefusedView { index, application: shown(&sample.application), signal: shown(&sample.signal), why }
}
