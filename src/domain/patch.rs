//! What a run has changed that infrastructure code (Terraform, CloudFormation) describes otherwise: the next apply would
//! undo it, or destroy what it does not understand.
//!
//! Invariants: every call of a run that may have had an effect and was not taken back is in its patch, an unknown one as
//! `look`; a value before is one that was *seen*, or follows from one that was (and says from which), else it is
//! unknown; no secret is in it. It deliberately changes no code and asks no AWS: it is a fold of the journal.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::{
    action::EffectClass,
    application::Application,
    id::{ApplicationName, RunId, StepId},
    plan::PlannedStep,
    run::{RunState, StepState},
    undo::Made,
};

mod address;
pub mod cloudformation;
mod effects;
mod services;
pub mod terraform;

pub use address::{ADDRESSES_MAX, Addresses, StackAddress, TerraformAddress};

/// Everything that runs of one application have changed and that stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Patch {
    pub application: ApplicationName,
    /// In the order of their starts.
    pub runs: Vec<RunId>,
    /// One of them is not over: it may change more, and applies must wait.
    pub under_way: bool,
    /// In the order in which they were made.
    pub changes: Vec<Change>,
}

/// One attribute of one resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub run: RunId,
    pub step: StepId,
    /// `rds:FailoverGlobalCluster`.
    pub operation: String,
    pub resource: Resource,
    pub before: Said,
    pub after: Said,
    pub certainty: Certainty,
    pub terraform: Side,
    pub cloudformation: Side,
}

/// A resource of AWS.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    /// Its ARN where that is known, else `service:region:name`; of a record set what `terraform import` calls it.
    pub id: String,
    /// What a placeholder in code is named after: letters, digits and `_`.
    pub label: String,
}

impl Resource {
    fn new(id: impl Into<String>, label: &str) -> Self {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        Self { id: id.into(), label: label.chars().map(plain).collect() }
    }
}

/// What is known of a value.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Said {
    /// `null`: the attribute is not set, or the resource is not there.
    Known {
        value: Value,
        basis: String,
    },
    Unknown {
        why: String,
    },
    /// A secret, which is not told.
    Hidden,
}

impl Said {
    fn known(value: impl Into<Value>, basis: impl Into<String>) -> Self {
        Self::Known { value: value.into(), basis: basis.into() }
    }

    fn value(&self) -> Option<&Value> {
        match self {
            Self::Known { value, .. } => Some(value),
            Self::Unknown { .. } | Self::Hidden => None,
        }
    }
}

/// How sure it is that a change has been made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// It was observed.
    Observed,
    /// AWS took the call; its effect was not observed.
    Accepted,
    /// Nobody knows whether the call arrived.
    Unknown,
}

impl Certainty {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observed => "observed",
            Self::Accepted => "accepted",
            Self::Unknown => "unknown",
        }
    }
}

/// What a change means to one tool.
#[derive(Debug, Clone, PartialEq)]
pub struct Side {
    /// `aws_rds_cluster`, `AWS::RDS::DBCluster`; `None`: not known to failoverd.
    pub kind: Option<&'static str>,
    /// `weighted_routing_policy.weight`.
    pub attribute: String,
    pub remedy: Remedy,
    /// What happens where nothing is done about it, as a sentence.
    pub otherwise: String,
}

/// What is to be done in code.
#[derive(Debug, Clone, PartialEq)]
pub enum Remedy {
    /// Write this; `null`: remove it.
    Write(Value),
    /// Have the tool look away from these attributes.
    Ignore(&'static [&'static str]),
    /// The code stays as it is, on purpose: see `otherwise`.
    Leave,
    /// It is in no code.
    Nothing,
    /// Unknown to failoverd: a person must look.
    Look,
}

impl Remedy {
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Write(_) => "write",
            Self::Ignore(_) => "ignore",
            Self::Leave => "leave",
            Self::Nothing => "nothing",
            Self::Look => "look",
        }
    }
}

impl Change {
    /// Whether an apply may undo it or break something by it.
    pub fn is_at_risk(&self) -> bool {
        let at_risk = |side: &Side| matches!(side.remedy, Remedy::Write(_) | Remedy::Ignore(_) | Remedy::Look);
        at_risk(&self.terraform) || at_risk(&self.cloudformation)
    }

    /// Whether code could describe it.
    fn is_in_code(&self) -> bool {
        [&self.terraform, &self.cloudformation].iter().any(|side| side.remedy != Remedy::Nothing)
    }

    fn key(&self) -> (&str, &str, &str) {
        (&self.resource.id, &self.terraform.attribute, &self.cloudformation.attribute)
    }

    /// Whether it has led back to what was there, for certain.
    fn is_void(&self) -> bool {
        let same = matches!((self.before.value(), self.after.value()), (Some(before), Some(after)) if before == after);
        same && self.certainty == Certainty::Observed
    }
}

impl Patch {
    /// What `run` has changed and not taken back, one change of an attribute after the other made one. Without
    /// `application` only what the plan itself names is in it.
    pub fn of(run: &RunState, application: Option<&Application>) -> Self {
        Self {
            application: run.plan.application.clone(),
            runs: vec![run.id.clone()],
            under_way: !run.is_finished(),
            changes: netted(made(run, application)),
        }
    }

    /// What `runs`, in the order of their starts, have changed together: what one of them has put back is not in it, nor
    /// what is in no code, of which only each run tells.
    pub fn net<'a>(application: &Application, runs: impl Iterator<Item = &'a RunState>) -> Self {
        let mut net =
            Self { application: application.name.clone(), runs: Vec::new(), under_way: false, changes: Vec::new() };
        for run in runs {
            net.runs.push(run.id.clone());
            net.under_way |= !run.is_finished();
            net.changes.extend(made(run, Some(application)));
        }
        let mut changes = netted(net.changes);
        changes.retain(Change::is_in_code);
        Self { changes, ..net }
    }

    /// How many of its changes an apply may undo, or break something by.
    pub fn at_risk(&self) -> usize {
        self.changes.iter().filter(|change| change.is_at_risk()).count()
    }

    /// One line for whoever runs applies; `None`: they need not know anything.
    pub fn note(&self) -> Option<String> {
        let changes = match self.at_risk() {
            1 => "1 change".to_owned(),
            n => format!("{n} changes"),
        };
        match (self.under_way, self.at_risk()) {
            (true, 0) => Some("while it runs, `terraform apply` and stack updates must wait".to_owned()),
            (true, _) => Some(format!(
                "while it runs, `terraform apply` and stack updates must wait: they would undo {changes} made so far"
            )),
            (false, 0) => None,
            (false, _) => Some(format!(
                "unless the code has them by now, the next `terraform apply` or stack update would undo or break {changes}"
            )),
        }
    }
}

/// Every change that a call of `run` may have made and that stands, in the order of the calls.
fn made(run: &RunState, application: Option<&Application>) -> Vec<Change> {
    let stands = |step: &&PlannedStep| {
        step.action.effect() != EffectClass::Read && !matches!(run.undo_state(&step.id), StepState::Done { .. })
    };
    let mut calls = Vec::new();
    for (place, step) in run.plan.steps.iter().enumerate().filter(|(_, step)| stands(step)) {
        // Whose call may have had an effect could be filled when it was sent.
        let filled = run.filled(&step.action).ok().flatten();
        let mutations = filled.as_ref().unwrap_or(&step.action).mutations();
        for (number, made) in run.unwind.made.get(&step.id).into_iter().flatten() {
            let Some(mutation) = mutations.get(*number as usize).filter(|_| made.may_have_effect()) else { continue };
            calls.push((made.intended_at(), place, *number, step, made, mutation.clone()));
        }
    }
    calls.sort_by_key(|(at, place, number, ..)| (*at, *place, *number));
    let changes = calls.into_iter().flat_map(|(_, _, _, step, made, mutation)| {
        let call = effects::Call { run, step, made, mutation: &mutation, certainty: certainty(run, step, made) };
        effects::changes(&call, application)
    });
    changes.collect()
}

fn certainty(run: &RunState, step: &PlannedStep, made: &Made) -> Certainty {
    match run.steps.get(&step.id) {
        Some(StepState::Done { .. } | StepState::Holding { .. }) => Certainty::Observed,
        _ if made.is_in_doubt() => Certainty::Unknown,
        _ => Certainty::Accepted,
    }
}

/// One change of each attribute: from what was there before the first to what is there after the last; without those
/// that have led back to where they began.
fn netted(changes: Vec<Change>) -> Vec<Change> {
    let mut net: Vec<Change> = Vec::new();
    let mut places: BTreeMap<(String, String, String), usize> = BTreeMap::new();
    for change in changes {
        let (id, terraform, cloudformation) = change.key();
        let key = (id.to_owned(), terraform.to_owned(), cloudformation.to_owned());
        match places.get(&key) {
            Some(place) => {
                let before = net[*place].before.clone();
                net[*place] = Change { before, ..change };
            }
            None => {
                places.insert(key, net.len());
                net.push(change);
            }
        }
    }
    net.retain(|change| !change.is_void());
    net
}

#[cfg(test)]
mod tests;
