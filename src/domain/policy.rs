//! What an application's owners let the program do about what it sees: only tell, tell what it would do, or act when
//! armed; and what must hold first.
//!
//! Invariant: the default does nothing alone. Whatever is here can only be stricter than the invariants of FAULTS.md
//! section 2, never looser.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};

use super::{budget::RtoShares, calendar::Blackout, id::VantageName, seconds};

/// The subject of a run that is started alone. No person may be called so.
pub const AUTOMATION: &str = "automation";

/// What follows when every rule for acting alone holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A person decides.
    #[default]
    Recommend,
    /// As `recommend`; what would have been started is recorded, and not started.
    Shadow,
    /// Starts, where it is armed.
    Automatic,
}

impl Mode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recommend => "recommend",
            Self::Shadow => "shadow",
            Self::Automatic => "automatic",
        }
    }
}

/// How one application is decided about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    pub mode: Mode,
    /// For how long the evidence must have stood without a break before acting alone. Longer than any partition
    /// that passes by itself: GitHub's of 2018 lasted 43 s (FAULTS.md R1).
    #[serde(with = "seconds", rename = "dwell_seconds")]
    pub dwell: Duration,
    /// After a run that was started alone, nothing else is started alone for so long.
    #[serde(with = "seconds", rename = "cool_down_seconds")]
    pub cool_down: Duration,
    /// So many vantages must see the Region ill, freshly, before acting alone. More than half of all of them, and
    /// never less than two (FAULTS.md 46).
    pub quorum: u32,
    /// The observers that must be heard, beside this daemon.
    pub observers: BTreeSet<VantageName>,
    /// When nothing is started alone.
    pub blackouts: Vec<Blackout>,
    /// Over which time the exposure is held against the RPO.
    #[serde(with = "seconds", rename = "rpo_window_seconds")]
    pub rpo_window: Duration,
    /// The part of that time in which the exposure may be over the RPO, from 0 to 1: what a burn rate of 1 spends.
    pub rpo_allowance: f64,
    /// How the RTO is divided.
    pub rto_shares: RtoShares,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            mode: Mode::Recommend,
            dwell: Duration::from_mins(1),
            cool_down: Duration::from_hours(1),
            quorum: 2,
            observers: BTreeSet::new(),
            blackouts: Vec::new(),
            rpo_window: Duration::from_hours(1),
            rpo_allowance: 0.01,
            rto_shares: RtoShares::default(),
        }
    }
}
