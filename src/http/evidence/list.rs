//! Which runs have evidence, and what each proved: for whoever looks for the one to read.
//!
//! Invariant: the digest is that of the file as it would be given out now. It is made of the journal for each run that is
//! shown, with one reading of each journal: so pages are short.

use axum::{Json, extract::State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    domain::{
        evidence::Evidence,
        id::{ApplicationName, RunId},
        plan::Purpose,
        run::{Phase, RunState},
        seconds::to_seconds,
    },
    engine::control::Refusal,
    http::{
        Api,
        auth::{Permission, Principal},
        extract::{Params, invalid_query},
        problem::Problem,
        view::RunStateName,
    },
};

/// The most that one page holds: each is made anew.
const PAGE_MAX: usize = 50;
/// What one holds where nothing is asked for.
const PAGE: usize = 20;

/// The query of `GET /evidence`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EvidenceQuery {
    /// Only of runs of this application.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    pub application: Option<ApplicationName>,
    /// Only of runs for this purpose: `failover`, `switchover`, `failback`, `drill`, `salvage`.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    pub purpose: Option<Purpose>,
    /// Only of runs that ended then or later.
    #[serde(default)]
    #[param(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// At most so many, 1 to 50; 20 if absent.
    #[serde(default)]
    #[param(minimum = 1, maximum = 50)]
    pub limit: Option<usize>,
    /// Go on after this: the `next_cursor` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// Evidence of runs that are over, the newest end first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvidenceListView {
    pub evidence: Vec<EvidenceView>,
    /// `null`: that was all.
    pub next_cursor: Option<String>,
}

/// What one run proved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvidenceView {
    pub run: String,
    pub application: String,
    #[schema(value_type = String, example = "drill")]
    pub purpose: Purpose,
    pub runbook: String,
    pub source: String,
    pub target: String,
    /// `succeeded`, `failed`, `aborted` or `superseded`.
    pub result: RunStateName,
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub ended_at: Timestamp,
    pub rto_objective_seconds: f64,
    /// The measured RTO; `null`: not measured.
    pub rto_seconds: Option<f64>,
    /// `null`: not measured.
    pub rto_met: Option<bool>,
    pub rpo_objective_seconds: f64,
    /// What was lost at least and at most, in time; `null`: not measured, or not bounded.
    pub loss_at_least_seconds: Option<f64>,
    pub loss_at_most_seconds: Option<f64>,
    /// `null`: not known.
    pub rpo_met: Option<bool>,
    /// What `failoverd evidence verify` shows as the digest, and what is signed.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub sha256: String,
    /// The key by which it is signed; `null`: nobody signs.
    pub signed_by: Option<String>,
    /// Whether this replica has written both files where `[evidence] keep` says; `null`: it says nothing.
    pub kept: Option<bool>,
}

impl EvidenceView {
    fn new(api: &Api, run: &RunState, evidence: &Evidence) -> Option<Self> {
        let (summary, promised) = (&evidence.summary, &evidence.header.objectives);
        let lost = summary.loss.as_ref();
        Some(Self {
            run: run.id.to_string(),
            application: run.plan.application.to_string(),
            purpose: run.plan.purpose,
            runbook: run.plan.runbook.to_string(),
            source: run.plan.source.to_string(),
            target: run.plan.target.to_string(),
            result: RunStateName::of(&run.phase),
            started_at: run.started_at,
            ended_at: ended_at(run)?,
            rto_objective_seconds: to_seconds(promised.rto),
            rto_seconds: summary.rto.map(to_seconds),
            rto_met: summary.rto_met,
            rpo_objective_seconds: to_seconds(promised.rpo),
            loss_at_least_seconds: lost.and_then(|loss| loss.at_least).map(to_seconds),
            loss_at_most_seconds: lost.and_then(|loss| loss.at_most).map(to_seconds),
            rpo_met: summary.rpo_met,
            sha256: evidence.sha256().to_string(),
            signed_by: api.signer.as_ref().map(|sign| sign(&evidence.statement()).key),
            kept: api.kept.as_ref().map(|is_kept| is_kept(&run.id)),
        })
    }
}

fn ended_at(run: &RunState) -> Option<Timestamp> {
    match &run.phase {
        Phase::Finished { at, .. } => Some(*at),
        _ => None,
    }
}

/// The evidence of every run that is over, of the applications that the caller may see.
#[utoipa::path(
    get, path = "/evidence", operation_id = "list_evidence", tag = "runs",
    params(EvidenceQuery),
    responses(
        (status = 200, description = "One page", body = EvidenceListView),
        (status = 400, description = "`invalid-request`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`unknown-application`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`application-held`: a journal cannot be read", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    State(api): State<Api>,
    principal: Principal,
    Params(query): Params<EvidenceQuery>,
) -> Result<Json<EvidenceListView>, Problem> {
    page_of(&api, &principal, query).await.map(Json)
}

/// One page of the evidence that `principal` may look at.
pub(in crate::http) async fn page_of(
    api: &Api,
    principal: &Principal,
    query: EvidenceQuery,
) -> Result<EvidenceListView, Problem> {
    let limit = query.limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(invalid_query(format!("limit: expected 1 to {PAGE_MAX}")));
    }
    let names = match &query.application {
        Some(name) if !principal.may(Permission::Read, name) => {
            return Err(Refusal::UnknownApplication(name.clone()).into());
        }
        Some(name) => vec![name.clone()],
        None => api.shown_to(principal).iter().map(|a| a.name.clone()).collect(),
    };
    let mut histories = Vec::with_capacity(names.len());
    for name in names {
        let history = api.control.history(&name).ok_or(Refusal::UnknownApplication(name))?;
        histories.push(history);
    }
    let over = histories.iter().flat_map(|history| history.runs.values()).filter(|run| run.is_finished());
    let mut runs: Vec<&RunState> = over.map(AsRef::as_ref).collect();
    runs.sort_by(|a, b| (ended_at(b), &b.id).cmp(&(ended_at(a), &a.id)));
    // Runs never vanish, so the last one of a page is a cursor that stays true.
    let after = match &query.cursor {
        None => 0,
        Some(cursor) => {
            let at = runs.iter().position(|run| run.id.as_str() == cursor);
            1 + at.ok_or_else(|| invalid_query("cursor: not one that this list has given"))?
        }
    };
    let is_wanted = |run: &&&RunState| {
        query.purpose.is_none_or(|purpose| run.plan.purpose == purpose)
            && query.since.is_none_or(|since| ended_at(run).is_some_and(|at| since <= at))
    };
    let mut page: Vec<&RunState> = runs[after..].iter().filter(is_wanted).take(limit + 1).copied().collect();
    let has_more = limit < page.len();
    page.truncate(limit);
    Ok(EvidenceListView {
        next_cursor: page.last().filter(|_| has_more).map(|run| run.id.to_string()),
        evidence: made(api, &page).await?,
    })
}

/// What there is of each of `runs`, in their order; each application's journal is read once.
async fn made(api: &Api, runs: &[&RunState]) -> Result<Vec<EvidenceView>, Problem> {
    let mut by_application: std::collections::BTreeMap<&ApplicationName, Vec<RunId>> = Default::default();
    for run in runs {
        by_application.entry(&run.plan.application).or_default().push(run.id.clone());
    }
    let mut all = std::collections::BTreeMap::new();
    for (application, ids) in by_application {
        let evidence = api.control.evidences(application, &ids).await?;
        all.extend(ids.into_iter().zip(evidence));
    }
    Ok(runs.iter().filter_map(|run| EvidenceView::new(api, run, all.get(&run.id)?)).collect())
}
