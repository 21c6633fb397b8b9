//! What every action of the language declares about itself before any plan exists: what it does to the world, whom it
//! needs for it, how one knows that it was done, how it is taken back. The static-stability lint, `plan` and
//! docs/actions.md are made from this and from nothing else.
//!
//! Invariant: every action that a runbook may name has exactly one entry, and no other has one (a test holds it).
//! It decides nothing: what an action does is in [`super::action`].

use serde::{Deserialize, Serialize};

use super::action::EffectClass;

mod entries;

pub use entries::ENTRIES;

/// One action, as it is declared.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// As runbooks name it: `aurora.failover`.
    pub name: &'static str,
    /// One sentence: what it does, and when it is done.
    pub what: &'static str,
    pub effect: EffectClass,
    /// What it cannot do without. Something that it only prefers is not here.
    pub needs: &'static [Need],
    pub repeat: Repeat,
    /// What is looked at to know whether it was done; `None`: nothing can tell, so a runbook that uses it must say
    /// `on_unknown: hold`.
    pub probe: Option<&'static str>,
    pub undo: Undo,
    /// A valid `with`, as YAML in one line; empty where it takes nothing.
    pub example: &'static str,
    /// What a step of it leaves behind once it is done, for the expressions of later steps.
    pub outputs: &'static [Output],
}

/// One value that a step leaves behind; it may be missing where the world did not tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    pub name: &'static str,
    pub kind: OutputKind,
    pub what: &'static str,
}

/// What an output holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputKind {
    Text,
    Number,
    Boolean,
}

impl OutputKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

const fn output(name: &'static str, kind: OutputKind, what: &'static str) -> Output {
    Output { name, kind, what }
}

/// A plane of a service, in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// `rds`, `route53`: as in IAM's actions.
    pub service: &'static str,
    pub plane: Plane,
    pub place: Place,
}

/// Data planes stay up when control planes do not [WP].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plane {
    Control,
    Data,
}

impl Plane {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Data => "data",
        }
    }
}

/// Where a plane must be up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The Region that traffic leaves.
    Source,
    /// The Region that traffic goes to.
    Target,
    /// The one home of a global service's control plane.
    UsEast1,
    /// Any one of several Regions is enough.
    AnyOfSeveral,
    /// Wherever the runbook's own arguments say.
    Named,
}

/// Whether the same call may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// It only looks or waits.
    Looks,
    /// Twice is as good as once.
    Idempotent,
    /// At most once per intent: only looking settles a lost answer.
    AtMostOnce,
}

/// How it is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undo {
    /// There is nothing to take back.
    Nothing,
    /// By this action's own inverse, with what was there before.
    Inverse(&'static str),
    /// It is left as it is, for this reason; what came before it can still be taken back.
    Stays(&'static str),
    /// Not by a step: only by another whole run, which this names.
    AnotherRun(&'static str),
}

const fn need(service: &'static str, plane: Plane, place: Place) -> Need {
    Need { service, plane, place }
}

/// The entry of an action, by its name in runbooks.
pub fn entry(name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|e| e.name == name)
}
