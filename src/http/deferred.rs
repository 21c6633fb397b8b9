//! Work that runs have left open, for people.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{history::History, id::RunId, seconds::to_seconds};

/// A piece of work that outlives its run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeferredView {
    pub run: String,
    pub step: String,
    /// What is to be done.
    pub what: String,
    /// `open`, `done`, `expired` or `superseded`.
    pub state: String,
    /// What was seen at its end, or why it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub says: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// After so long it is given up, and people are told.
    pub within_seconds: f64,
    /// Calls so far.
    pub attempts: u32,
}

impl DeferredView {
    /// What stands in `history`: of one run, or what is open of all.
    pub fn all(history: Option<&History>, run: Option<&RunId>) -> Vec<Self> {
        let of = history.into_iter().flat_map(|h| &h.deferred);
        let shown = of.filter(|((id, _), d)| run.map_or(d.is_open(), |wanted| wanted == id));
        let view = |((run, step), d): (&(RunId, crate::domain::id::StepId), &crate::domain::deferred::Deferred)| Self {
            run: run.to_string(),
            step: step.to_string(),
            what: d.work.describe(),
            state: d.word().to_owned(),
            says: d.said(),
            since: d.since,
            within_seconds: to_seconds(d.work.within()),
            attempts: d.attempts,
        };
        shown.map(view).collect()
    }
}
