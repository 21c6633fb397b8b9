//! From where something is seen, and whether those who see agree.
//!
//! Invariants: silence is never a vote. A vantage whose last word was that all is well stands against acting alone,
//! also after it has fallen silent, as does one that was never heard: so fewer samples and fewer vantages never argue
//! for acting. A Region is no witness of its own loss: what is read inside it neither counts nor stands against.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    id::{SignalName, VantageName},
    signal::SignalWindow,
};

/// What was heard from an observer elsewhere.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Observer {
    pub windows: BTreeMap<SignalName, SignalWindow>,
    /// Why it does not vote: it cannot reach its own control points.
    pub abstains: Option<String>,
}

/// Where one vantage stands on the active Region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stand {
    /// Some trigger is freshly and believably ill, and the last word of every other is not that all is well.
    Ill,
    /// Some trigger's last word is that all is well, or it was never heard.
    Against,
    /// It has nothing fresh and believed to say.
    Silent,
    /// It cannot reach its own control points: perhaps it is the one that is cut off.
    Abstains,
}

/// What one vantage says, for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Witness {
    pub vantage: VantageName,
    pub stand: Stand,
    pub says: String,
}
