//! The production engine, the operator's config and runbooks, and one disaster in virtual time.
//!
//! Invariant: a seed, a scenario and a setup give one history, byte for byte; every task of a process dies with it.

mod court;
mod director;
mod expected;
pub mod false_alarms;
mod fleet;
pub mod gate;
pub mod gated;
pub mod leases;
pub mod matrix;
mod measure;
pub mod outboxes;
mod people;
pub mod run;
mod spent;
pub mod stage;
pub mod store;
pub mod swarm;
mod vantages;
mod verdict;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

pub use spent::Spent;

use crate::{
    domain::{
        application::Application,
        id::{Digest, RunbookName},
        runbook::Runbook,
    },
    sim::{oracle::Violation, world::SimTime},
};

/// What is rehearsed.
#[derive(Debug, Clone)]
pub struct Setup {
    pub application: Application,
    pub runbooks: BTreeMap<RunbookName, (Runbook, Digest)>,
    pub config_digest: Digest,
}

/// How one rehearsal ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Rehearsed {
    pub scenario: String,
    pub seed: u64,
    pub ending: Ending,
    /// The instant that the scenario's times count from.
    pub begins: SimTime,
    /// From the clients' first failure to the end of their last, or of the rehearsal where it lasts; `None` where
    /// none ever failed.
    pub out_of_service_seconds: Option<f64>,
    /// What that was spent on, where a run ended it.
    pub spent: Option<Spent>,
    /// Whether no client is failing at the end.
    pub served_at_end: bool,
    /// Acknowledged writes that the present writer does not have, and over what time.
    pub writes_lost: u64,
    pub loss_seconds: f64,
    /// The loss that the run reported, as [at least, at most], where it did.
    pub loss_reported_seconds: Option<(Option<f64>, Option<f64>)>,
    pub violations: Vec<Violation>,
    /// How often each property was checked in earnest.
    pub checked: BTreeMap<&'static str, u64>,
    /// How often each fault (by number of FAULTS.md) was met by a call, an append, a metric: not merely planned.
    pub faults_met: BTreeMap<u8, u64>,
    /// Branches of the step protocol and outcomes that were seen, with how often (`sometimes`).
    pub sometimes: BTreeMap<&'static str, u64>,
    /// SHA-256 over everything that happened: two runs of one seed have the same.
    pub history: String,
    pub world_seconds: f64,
    pub events: u64,
    /// The timeline, where it was asked for.
    pub trace: Vec<TraceLine>,
    pub processes: u32,
    /// The first of the writers, records, controls and variables that is not as it was when the rehearsal began.
    pub changed: Option<String>,
    pub unmet: BTreeSet<String>,
}

/// How it stands at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// No run was started.
    NoRun,
    Succeeded,
    Aborted,
    Failed,
    Superseded,
    /// Waits for a person: where, why and for whom.
    Held {
        step: Option<String>,
        code: String,
        reason: String,
        waits_for: String,
    },
    /// Still moving at the end: itself a violation of L3 where the faults had healed.
    Unfinished,
    /// The journal was refused at a start (FAULTS.md 14).
    Refused {
        reason: String,
    },
}

impl fmt::Display for Ending {
    /// The rest of a sentence that begins with "the run".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRun => f.write_str("was never begun"),
            Self::Succeeded => f.write_str("has succeeded"),
            Self::Aborted => f.write_str("was aborted"),
            Self::Failed => f.write_str("has failed"),
            Self::Superseded => f.write_str("was superseded"),
            Self::Held { step, code, reason, .. } => {
                let at = step.as_ref().map_or(String::new(), |step| format!(" at {step}"));
                let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
                write!(f, "is held{at}: {code}{why}")
            }
            Self::Unfinished => f.write_str("is not over"),
            Self::Refused { reason } => write!(f, "cannot be read: {reason}"),
        }
    }
}

/// One line of a readable timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceLine {
    pub at: SimTime,
    /// `world`, `fault`, `journal`, `call`, `people`, `process`, `oracle`.
    pub who: &'static str,
    pub text: String,
}
