//! The rules that must hold before anything is started alone, and what each finds: the trace of a decision as data.
//! The words for people are made from it (`http`, `cli`).
//!
//! Invariant: what is not known does not hold. A rule never argues for acting: all of them must hold at once.

use serde::{Deserialize, Serialize};

/// One rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The mode is `automatic`.
    Mode,
    /// A person has armed this direction, a second one has consented, and it is not over.
    Armed,
    /// Nobody has switched the automation off.
    KillSwitch,
    /// No run of this application is under way.
    Idle,
    /// There is fresh and believed evidence that the active Region does not serve.
    Down,
    /// Enough vantages see it freshly, and the last word of every other vantage is not that it is well.
    Quorum,
    /// This daemon reaches its own control points: it is not the one that is cut off.
    Reach,
    /// The evidence has stood without a break for long enough.
    Dwell,
    /// The loss bound is known and within what was armed.
    Loss,
    /// The target is freshly seen healthy.
    Target,
    /// The target is not the Region that the last failover left with writes that nobody has reconciled (FAULTS.md S8).
    NotDemoted,
    /// The last run that was started alone is long enough ago.
    CoolDown,
    /// Somebody has acknowledged the last run that was started alone (FAULTS.md S17).
    Acknowledged,
    /// The calendar does not forbid it.
    Blackout,
}

impl Rule {
    /// Every rule, in the order in which they are told.
    pub const ALL: &[Self] = &[
        Self::Mode,
        Self::Armed,
        Self::KillSwitch,
        Self::Idle,
        Self::Down,
        Self::Quorum,
        Self::Reach,
        Self::Dwell,
        Self::Loss,
        Self::Target,
        Self::NotDemoted,
        Self::CoolDown,
        Self::Acknowledged,
        Self::Blackout,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mode => "mode",
            Self::Armed => "armed",
            Self::KillSwitch => "kill_switch",
            Self::Idle => "idle",
            Self::Down => "down",
            Self::Quorum => "quorum",
            Self::Reach => "reach",
            Self::Dwell => "dwell",
            Self::Loss => "loss",
            Self::Target => "target",
            Self::NotDemoted => "not_demoted",
            Self::CoolDown => "cool_down",
            Self::Acknowledged => "acknowledged",
            Self::Blackout => "blackout",
        }
    }

    /// Whether a person may waive it: only what guards against haste, never what guards data.
    pub fn is_waivable(self) -> bool {
        matches!(self, Self::Dwell | Self::CoolDown | Self::Acknowledged | Self::Blackout)
    }
}

/// Whether a rule holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holds {
    Yes,
    No,
    /// Too little is known. Counts as no.
    Unknown,
    /// It does not, and a person has waived it.
    Waived,
}

/// What one rule finds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub rule: Rule,
    pub holds: Holds,
    /// With the numbers.
    pub says: String,
    /// What would satisfy it; `None` where it holds.
    pub satisfied_by: Option<String>,
}

impl Finding {
    pub fn yes(rule: Rule, says: impl Into<String>) -> Self {
        Self { rule, holds: Holds::Yes, says: says.into(), satisfied_by: None }
    }

    pub fn no(rule: Rule, says: impl Into<String>, satisfied_by: impl Into<String>) -> Self {
        Self { rule, holds: Holds::No, says: says.into(), satisfied_by: Some(satisfied_by.into()) }
    }

    pub fn unknown(rule: Rule, says: impl Into<String>, satisfied_by: impl Into<String>) -> Self {
        Self { rule, holds: Holds::Unknown, says: says.into(), satisfied_by: Some(satisfied_by.into()) }
    }

    /// Whether it stands in the way.
    pub fn is_met(&self) -> bool {
        matches!(self.holds, Holds::Yes | Holds::Waived)
    }
}
