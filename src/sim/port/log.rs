//! What left the process: every mutation in full, for whoever judges afterwards.
//!
//! Invariant: an entry is made before anything of the call can arrive, and is never removed; what becomes of the call is
//! added when it is known, also after its sender's death.

use serde_json::Value;

use crate::{
    domain::cloud::{Mutation, Outcome},
    sim::world::SimTime,
};

/// One mutation as it left the process, whether or not it arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    /// The world's time at which it left.
    pub at: SimTime,
    /// As the engine names it, such as `rds:FailoverGlobalCluster`.
    pub operation: String,
    /// The whole mutation as JSON.
    pub arguments: Value,
    /// Whether the world was changed by it. `None`: not yet, or never: its sender died before it arrived.
    pub arrived: Option<bool>,
    /// What the caller was told; `None` where it still waits, or died waiting.
    pub answer: Option<String>,
}

impl Sent {
    pub(crate) fn new(at: SimTime, mutation: &Mutation) -> Self {
        Self {
            at,
            operation: mutation.operation().into_owned(),
            arguments: serde_json::to_value(mutation).expect("a mutation is plain data with text for keys"),
            arrived: None,
            answer: None,
        }
    }
}

/// An outcome as the log tells it.
pub(super) fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Accepted { .. } => "accepted".to_owned(),
        Outcome::Rejected { code, .. } => format!("rejected: {code}"),
        Outcome::NotSent { reason } => format!("not sent: {reason}"),
        Outcome::Unknown { reason } => format!("unknown: {reason}"),
    }
}
