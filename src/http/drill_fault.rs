//! Faults of drills that are in, for people.
//!
//! Invariant: what may be in is shown; that it was not seen is said ([`crate::domain::drill::FaultIn`]).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{
    drill::{FaultIn, faults_in},
    history::History,
};

/// A fault that a drill has put in on purpose.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DrillFaultView {
    pub run: String,
    /// The step that has put it in.
    pub step: String,
    /// What is broken.
    pub what: String,
    /// `false`: nobody has seen it in; the call may have taken effect.
    pub seen: bool,
    /// When the call was intended that put it in.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// What takes it out, or who has to.
    pub way_out: String,
}

impl DrillFaultView {
    /// Every one that is in, or may be, the newest first.
    pub fn all(history: Option<&History>) -> Vec<Self> {
        let view = |fault: FaultIn<'_>| Self {
            run: fault.run.to_string(),
            step: fault.step.to_string(),
            what: fault.describe(),
            seen: fault.is_seen,
            since: fault.since,
            way_out: fault.says_way_out(),
        };
        history.into_iter().flat_map(faults_in).map(view).collect()
    }
}
