//! How a run stands to its RTO, as callers get it.
//!
//! Invariant: as in [`super::view`]: what is not known is `null`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{
    application::Application,
    budget::{Part, Share},
    deadline::{self, About, Level, Warning},
    forecast::Forecast,
    history::History,
    recovery,
    run::RunState,
    seconds::to_seconds,
};

/// How a run stands, or stood, to the RTO.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeadlineView {
    /// As of when.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    pub rto_objective_seconds: f64,
    /// Each part of the RTO against its share.
    pub shares: Vec<ShareView>,
    /// Since the clock started; `null` where it has not, or where the run is over.
    pub used_seconds: Option<f64>,
    /// `null`: nothing, where some is used.
    pub left_seconds: Option<f64>,
    /// What is expected to remain, people's time not counted; `null` when the run is over.
    pub remaining_p50_seconds: Option<f64>,
    pub remaining_p95_seconds: Option<f64>,
    /// From so many runs of this application; 0: some of it is declared.
    pub forecast_runs: Option<usize>,
    /// The gravest first.
    pub warnings: Vec<WarningView>,
}

/// One part of the RTO against its share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ShareView {
    #[schema(value_type = String, example = "decision")]
    pub part: Part,
    pub objective_seconds: f64,
    /// What it took, or has taken so far; `null` where it has not begun, or its beginning is not known.
    pub took_seconds: Option<f64>,
    pub ended: bool,
}

/// Something that the people who watch a run should know now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WarningView {
    /// `step`, `rto` or `forecast`.
    pub about: String,
    pub step: Option<String>,
    /// `60_percent`, `90_percent` or `spent`.
    #[schema(value_type = String, example = "60_percent")]
    pub level: Level,
    pub used_seconds: f64,
    /// Of how much.
    pub whole_seconds: f64,
}

impl From<&Share> for ShareView {
    fn from(share: &Share) -> Self {
        Self {
            part: share.part,
            objective_seconds: to_seconds(share.objective),
            took_seconds: share.took.map(to_seconds),
            ended: share.ended,
        }
    }
}

impl From<&Warning> for WarningView {
    fn from(warning: &Warning) -> Self {
        let (about, step) = match &warning.about {
            About::Step(step) => ("step", Some(step.to_string())),
            About::Rto => ("rto", None),
            About::Forecast => ("forecast", None),
        };
        Self {
            about: about.to_owned(),
            step,
            level: warning.level,
            used_seconds: to_seconds(warning.used),
            whole_seconds: to_seconds(warning.whole),
        }
    }
}

impl DeadlineView {
    /// How `run` stands at `at`.
    pub fn new(application: &Application, history: &History, run: &RunState, at: Timestamp) -> Self {
        let rto = application.objectives.rto;
        // Only of a run that is under way: it reads the runs of the past.
        let due = (!run.is_finished()).then(|| {
            let forecast = Forecast::of(&run.plan, history.runs.values().map(AsRef::as_ref));
            deadline::deadline(run, rto, &forecast, at)
        });
        let due = due.flatten();
        let of_due =
            |f: fn(&deadline::Deadline) -> Option<std::time::Duration>| due.as_ref().and_then(f).map(to_seconds);
        Self {
            at,
            rto_objective_seconds: to_seconds(rto),
            shares: recovery::shares(run, rto, &application.policy.rto_shares, at).iter().map(Into::into).collect(),
            used_seconds: of_due(|d| d.used),
            left_seconds: of_due(|d| d.left),
            remaining_p50_seconds: of_due(|d| Some(d.remaining.p50)),
            remaining_p95_seconds: of_due(|d| Some(d.remaining.p95)),
            forecast_runs: due.as_ref().map(|d| d.runs),
            warnings: due.iter().flat_map(|d| &d.warnings).map(Into::into).collect(),
        }
    }
}
