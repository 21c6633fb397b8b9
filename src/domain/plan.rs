//! A plan: a runbook compiled for one application, one direction and one moment. It leaves no choices, and its
//! digest is what an approver approves.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    action::{Action, EffectClass},
    catalogue::{self, Undo},
    drill::Budget,
    id::{ApplicationName, Digest, Region, RunId, RunbookName, StepId},
    runbook::closure,
    seconds,
};

/// Why a run exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// The source Region is lost or failing; may lose writes.
    Failover,
    /// Planned and lossless, from a healthy source.
    Switchover,
    /// Planned and lossless, back to the preferred Region.
    Failback,
    /// A rehearsal on the real thing: planned and lossless, and it ends where it began.
    Drill,
    /// What a forced failover has left in the old Region, looked at and signed off: it moves nothing.
    Salvage,
}

impl Purpose {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failover => "failover",
            Self::Switchover => "switchover",
            Self::Failback => "failback",
            Self::Drill => "drill",
            Self::Salvage => "salvage",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// To which of the plan's two Regions a step leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Towards {
    /// The way there, which is all of a plan but a drill's.
    #[default]
    Target,
    /// The way back: source and target are exchanged.
    Source,
}

impl Towards {
    pub fn is_target(&self) -> bool {
        *self == Self::Target
    }

    /// The direction of what leads `inner` within what leads this way: back within back is there again.
    #[must_use]
    pub fn then(self, inner: Self) -> Self {
        if self == inner { Self::Target } else { Self::Source }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Source => "source",
        }
    }
}

/// What to do, step by step, with nothing left to choose.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub application: ApplicationName,
    pub purpose: Purpose,
    pub source: Region,
    pub target: Region,
    pub runbook: RunbookName,
    pub runbook_digest: Digest,
    pub config_digest: Digest,
    /// What the requester accepted to lose; `None` allows no loss.
    #[serde(with = "seconds::option", rename = "accepted_loss_seconds")]
    pub accepted_loss: Option<Duration>,
    /// What a drill may cost before it goes home by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Of a salvage: the failover that it reconciles, whose source and target are the plan's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconciles: Option<RunId>,
    /// In the order of the runbook's file, which is a topological order of `needs`.
    pub steps: Vec<PlannedStep>,
}

impl Plan {
    /// What an approver approves.
    pub fn digest(&self) -> Digest {
        Digest::of_json(self)
    }

    pub fn step(&self, id: &StepId) -> Option<&PlannedStep> {
        self.steps.iter().find(|s| s.id == *id)
    }

    /// Where the point of no return lies: the first step, in the plan's order, that nothing but another whole run takes
    /// back once it has had its effect. Up to there an abort restores what was. `None`: there is none.
    pub fn no_return(&self) -> Option<&PlannedStep> {
        self.steps.iter().find(|s| s.is_no_return())
    }

    /// From where to where the step `id` leads: on the way back the plan's ends are exchanged.
    pub fn ends(&self, id: &StepId) -> (&Region, &Region) {
        self.ends_towards(self.step(id).map_or(Towards::Target, |step| step.towards))
    }

    /// From where to where a step leads that is `towards` the one or the other.
    pub fn ends_towards(&self, towards: Towards) -> (&Region, &Region) {
        match towards {
            Towards::Target => (&self.source, &self.target),
            Towards::Source => (&self.target, &self.source),
        }
    }

    /// Whether it leads there and back.
    pub fn has_way_back(&self) -> bool {
        self.steps.iter().any(|step| step.towards == Towards::Source)
    }

    /// Where the application lives once every step is done: a drill ends where it began.
    pub fn home(&self) -> &Region {
        if self.purpose == Purpose::Drill { &self.source } else { &self.target }
    }

    /// Whether `id` needs `other`, directly or not.
    pub fn needs(&self, id: &StepId, other: &StepId) -> bool {
        let direct: BTreeMap<&StepId, &BTreeSet<StepId>> = self.steps.iter().map(|s| (&s.id, &s.needs)).collect();
        closure(id, |id| direct.get(id).copied()).contains(other)
    }
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedStep {
    pub id: StepId,
    pub title: String,
    pub needs: BTreeSet<StepId>,
    /// A CEL expression over the run's facts; false skips the step.
    pub when: Option<String>,
    pub action: Action,
    #[serde(with = "seconds", rename = "timeout_seconds")]
    pub timeout: Duration,
    pub retry: Retry,
    pub on_failure: OnFailure,
    /// The runbook says that from its beginning nothing is taken back, whatever its action could do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_return: bool,
    /// Which way it leads; what it is resolved to has it already.
    #[serde(default, skip_serializing_if = "Towards::is_target")]
    pub towards: Towards,
}

impl PlannedStep {
    /// Whether and how its effect is taken back, as its action declares it. What declares nothing has no way back.
    pub fn undo(&self) -> Undo {
        if let Action::AwsCall { call } = &self.action {
            return match (call.effect, &call.undo) {
                (EffectClass::Read, _) => Undo::Nothing,
                (EffectClass::Irreversible, _) => Undo::AnotherRun("a person (the runbook says irreversible)"),
                (EffectClass::Reversible | EffectClass::Compensable, Some(back)) if back.restores.is_some() => {
                    Undo::Inverse("the same call, with what was there as read before the step")
                }
                (EffectClass::Reversible | EffectClass::Compensable, Some(_)) => Undo::Inverse("the call under `undo`"),
                (EffectClass::Reversible | EffectClass::Compensable, None) => {
                    Undo::Inverse("nothing that the runbook declares: the way back is held for a person")
                }
            };
        }
        // What takes a fault out is not taken back.
        if matches!(&self.action, Action::LambdaFault(fault) if fault.mends) {
            return Undo::Nothing;
        }
        match (self.action.effect(), catalogue::entry(self.action.kind())) {
            (EffectClass::Read, _) => Undo::Nothing,
            (EffectClass::Reversible | EffectClass::Compensable, Some(entry)) => entry.undo,
            (EffectClass::Irreversible, Some(entry)) if matches!(entry.undo, Undo::AnotherRun(_)) => entry.undo,
            (_, _) => Undo::AnotherRun("a person"),
        }
    }

    /// Whether its effect could be taken back by a call, and the runbook declares none: the way back is held there.
    pub fn lacks_undo(&self) -> bool {
        match &self.action {
            Action::AwsCall { call } => {
                matches!(call.effect, EffectClass::Reversible | EffectClass::Compensable) && call.undo.is_none()
            }
            _ => false,
        }
    }

    /// Whether it is a point of no return: by its action, or because the runbook declares it.
    pub fn is_no_return(&self) -> bool {
        self.why_no_return().is_some()
    }

    /// What is so from this step on, as half a sentence, where it is a point of no return.
    pub fn why_no_return(&self) -> Option<String> {
        match self.undo() {
            Undo::AnotherRun(other) => Some(format!("no step leads back, only {other}")),
            Undo::Nothing | Undo::Stays(_) | Undo::Inverse(_) if self.no_return => {
                Some("no step is taken back: the runbook says so (`no_return`)".to_owned())
            }
            Undo::Nothing | Undo::Stays(_) | Undo::Inverse(_) => None,
        }
    }
}

/// How often a step is tried. Never blindly: an attempt whose outcome is unknown is observed first, and one that may
/// have had an effect is not repeated unless the call is idempotent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Attempts in all, at least one.
    pub attempts: u32,
    #[serde(with = "seconds", rename = "backoff_seconds")]
    pub backoff: Duration,
}

/// What follows when a step has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Stop here and page; a person resumes (which tries the step again) or aborts.
    Hold,
    /// Record it and go on.
    Continue,
    /// Take back what the run has done so far, last first, and end it as failed; past the point of no return: hold.
    Undo,
}
