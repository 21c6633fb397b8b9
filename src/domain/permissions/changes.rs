//! What a plan takes to change something, as questions to IAM, and what its answers say.
//!
//! Invariant: a question holds the very actions and resources that `failoverd permissions` prints, so that a role that has
//! what is printed is never told that it lacks something. Only "allowed" counts as permitted; what may only be true of the
//! question (a pattern in place of a resource, a condition whose value is not known here) is unclear, which is neither.
//! It deliberately asks nothing of a role that a call assumes: only whether it may be assumed.

use std::collections::{BTreeMap, BTreeSet};

use super::{Permission, Power, needs::Needs};
use crate::domain::{
    application::Application,
    cloud::Mutation,
    id::{Region, StepId},
    plan::{OnFailure, Plan, PlannedStep},
};

/// Actions that IAM ties to no resource, among those that a plan takes: only of these `*` is the resource itself, and not
/// the lack of one [Service Authorization Reference].
const WITHOUT_RESOURCE: &[&str] = &["cloudwatch:PutMetricData"];

/// Where the global services are called, as IAM's `aws:RequestedRegion` has it [IAM: global condition keys].
const GLOBAL: &str = "us-east-1";

/// So many pairs of an action and a resource are in one question: the answer is one page of what IAM gives at most, 100.
const PAIRS_MAX: usize = 100;

/// One thing that is changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// As in a policy: `rds:FailoverGlobalCluster`.
    pub action: String,
    /// An ARN, which may have wildcards, or `*`.
    pub resource: String,
    /// Where it is called; `None`: that is not known before.
    pub region: Option<Region>,
}

/// Who takes a change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    pub by: BTreeSet<StepId>,
    /// The call of a step without which the run does not go on. Else an undo, what is done later, or a step that may fail.
    pub is_needed: bool,
    /// The highest power of those under which it is printed.
    pub power: Option<Power>,
}

/// What `plan` changes by failoverd's own role, its undoes included.
pub fn changes(app: &Application, plan: &Plan) -> BTreeMap<Change, Taken> {
    let mut all: BTreeMap<Change, Taken> = BTreeMap::new();
    for step in &plan.steps {
        let direct = direct(app, step);
        let known: BTreeSet<(&str, &str)> =
            direct.iter().map(|(p, _)| (p.action.as_str(), p.resource.as_str())).collect();
        let mut whole = Needs::of(app);
        whole.step(app, &step.action);
        let rest = whole.into_set().into_iter().filter(changes_something);
        let rest = rest.filter(|p| !known.contains(&(p.action.as_str(), p.resource.as_str())));
        let needed = step.on_failure != OnFailure::Continue;
        let later = rest.map(|p| (p, None, false));
        let now = direct.iter().map(|(p, region)| (p.clone(), region.clone(), needed));
        for (permission, region, is_needed) in now.chain(later) {
            let region = permission.region.clone().or(region).or_else(|| region_of(&permission.resource));
            let change = Change { action: permission.action, resource: permission.resource, region };
            let taken = all.entry(change).or_default();
            taken.by.insert(step.id.clone());
            taken.is_needed |= is_needed;
            taken.power = taken.power.max(Some(permission.power));
        }
    }
    all
}

fn changes_something(permission: &Permission) -> bool {
    permission.power != Power::Observer && permission.role.is_none()
}

/// What the step's own calls take, each with the Region in which it is sent.
fn direct(app: &Application, step: &PlannedStep) -> Vec<(Permission, Option<Region>)> {
    let power = Needs::power_of(&step.action);
    let of = |mutation: Mutation| {
        let mut needs = Needs::of(app);
        needs.mutation(power, &mutation);
        let region = sent_to(&mutation);
        needs.into_set().into_iter().filter(changes_something).map(move |p| (p, region.clone())).collect::<Vec<_>>()
    };
    step.action.mutations().into_iter().flat_map(of).collect()
}

/// The Region whose endpoint takes `mutation`.
fn sent_to(mutation: &Mutation) -> Option<Region> {
    match mutation {
        Mutation::AuroraSwitchover { region, .. }
        | Mutation::AuroraFailover { region, .. }
        | Mutation::AuroraDetach { region, .. }
        | Mutation::CreateInstance { region, .. }
        | Mutation::CopySnapshot { region, .. }
        | Mutation::PutMetric { region, .. }
        | Mutation::Publish { region, .. } => Some(region.clone()),
        Mutation::PutObject { object, .. } | Mutation::DeleteObject { object } => Some(object.region.clone()),
        Mutation::LambdaVariable { at, .. } => Some(at.region.clone()),
        Mutation::AwsCall { request, .. } => Some(request.region.clone()),
        Mutation::UpsertRecords { .. } => GLOBAL.parse().ok(),
        // Any endpoint of the cluster takes it; a database is not AWS's.
        Mutation::RoutingControls { .. } | Mutation::EndSessions { .. } => None,
    }
}

/// The Region that an ARN names.
fn region_of(resource: &str) -> Option<Region> {
    resource.split(':').nth(3).filter(|_| resource.starts_with("arn:")).and_then(|region| region.parse().ok())
}

/// As whom AWS knows the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A user or a role, by the ARN that policies hang on.
    Principal(String),
    /// The session of a role, whose ARN has lost the role's path.
    Session { role: String },
    /// One that IAM simulates nothing for: what it is.
    Other(&'static str),
}

impl Caller {
    /// From the ARN that `sts:GetCallerIdentity` tells.
    pub fn of(arn: &str) -> Self {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let ["arn", _, service, "", account, rest] = parts[..] else {
            return Self::Other("no principal that is known");
        };
        if account.len() != 12 {
            return Self::Other("no principal that is known");
        }
        match (service, rest.split('/').collect::<Vec<_>>().as_slice()) {
            ("sts", ["assumed-role", role, _]) => Self::Session { role: (*role).to_owned() },
            ("iam", ["user" | "role", _, ..]) => Self::Principal(arn.to_owned()),
            ("iam", ["root"]) => Self::Other("the account's root user, whose permissions no policy tells"),
            ("sts", ["federated-user", _]) => Self::Other("a federated user, whose session has a policy of its own"),
            _ => Self::Other("no principal that is known"),
        }
    }
}

/// The account of `principal`, an ARN.
fn account_of(principal: &str) -> &str {
    principal.split(':').nth(4).unwrap_or_default()
}

/// One question to IAM: each of the actions on each of the resources.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Simulation {
    /// Whose policies: the ARN of a role or a user.
    pub principal: String,
    pub actions: Vec<String>,
    pub resources: Vec<String>,
    /// The value of `aws:RequestedRegion`; `None`: not told.
    pub region: Option<Region>,
}

/// What IAM says of one action on one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation {
    pub action: String,
    /// `None`: of every resource that was asked about.
    pub resource: Option<String>,
    pub decision: Decision,
    /// Condition keys that a policy asks for and the question did not tell.
    pub missing: Vec<String>,
    /// A policy beside the principal's own that does not allow it.
    pub limit: Option<Limit>,
}

/// What limits a principal beside its own policies [IAM: EvaluationResult].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// A service control policy. Of those with conditions (a Region that is closed, say) the simulation is not to be relied
    /// on [aws/aws-sdk issue 102]: its denial is no fact.
    Organization,
    /// The permissions boundary of the role or the user.
    Boundary,
}

/// IAM's word [IAM: EvaluationResult].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Allowed,
    /// A statement denies it.
    ExplicitDeny,
    /// No statement allows it.
    ImplicitDeny,
    /// A word that is not known.
    Other(String),
}

/// `resource` with the account filled in that the configuration does not tell.
fn in_account(resource: &str, principal: &str) -> String {
    let mut parts: Vec<&str> = resource.splitn(6, ':').collect();
    if parts.len() == 6 && parts[4] == "*" {
        parts[4] = account_of(principal);
    }
    parts.join(":")
}

/// The questions about `changes`, each pair of an action and a resource in one of them.
pub fn questions<'a>(principal: &str, changes: impl IntoIterator<Item = &'a Change>) -> Vec<Simulation> {
    let mut resources: BTreeMap<(&Option<Region>, &str), BTreeSet<String>> = BTreeMap::new();
    for change in changes {
        let of = resources.entry((&change.region, &change.action)).or_default();
        of.insert(in_account(&change.resource, principal));
    }
    // Actions on the same resources are one question, so that there are few.
    let mut actions: BTreeMap<(&Option<Region>, BTreeSet<String>), BTreeSet<&str>> = BTreeMap::new();
    for ((region, action), resources) in resources {
        actions.entry((region, resources)).or_default().insert(action);
    }
    let mut all = Vec::new();
    for ((region, resources), actions) in actions {
        let (resources, actions): (Vec<_>, Vec<_>) = (resources.into_iter().collect(), actions.into_iter().collect());
        for resources in resources.chunks(PAIRS_MAX) {
            for actions in actions.chunks((PAIRS_MAX / resources.len()).max(1)) {
                all.push(Simulation {
                    principal: principal.to_owned(),
                    actions: actions.iter().map(|action| (*action).to_owned()).collect(),
                    resources: resources.to_vec(),
                    region: region.clone(),
                });
            }
        }
    }
    all
}

/// What is known of one change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    Denied {
        how: String,
    },
    /// AWS was asked, and its answer settles nothing.
    Unclear {
        why: String,
    },
}

impl Simulation {
    /// Whether `change` is asked about here.
    pub fn asks(&self, change: &Change) -> bool {
        self.region == change.region
            && self.actions.contains(&change.action)
            && self.resources.contains(&in_account(&change.resource, &self.principal))
    }

    /// What `answers` to it say of `change`. Of several about the same the one that allows the least counts.
    #[must_use]
    pub fn verdict(&self, change: &Change, answers: &[Evaluation]) -> Verdict {
        let resource = in_account(&change.resource, &self.principal);
        // IAM's actions have no case.
        let of_it = |e: &&Evaluation| {
            e.action.eq_ignore_ascii_case(&change.action) && e.resource.as_ref().is_none_or(|r| *r == resource)
        };
        let found: Vec<Verdict> = answers.iter().filter(of_it).map(|e| judged(e, &change.action, &resource)).collect();
        let worst = |wanted: fn(&Verdict) -> bool| found.iter().find(|v| wanted(v)).cloned();
        worst(|v| matches!(v, Verdict::Denied { .. }))
            .or_else(|| worst(|v| matches!(v, Verdict::Unclear { .. })))
            .or_else(|| found.first().cloned())
            .unwrap_or_else(|| Verdict::Unclear { why: "IAM has not answered for it".to_owned() })
    }
}

fn judged(answer: &Evaluation, action: &str, resource: &str) -> Verdict {
    let word = match &answer.decision {
        Decision::Allowed => return Verdict::Allowed,
        Decision::ExplicitDeny => "a policy denies it (explicitDeny)",
        Decision::ImplicitDeny => "no policy allows it (implicitDeny)",
        Decision::Other(word) => return Verdict::Unclear { why: format!("IAM says `{word}`, which is not known") },
    };
    if !answer.missing.is_empty() {
        let keys = answer.missing.join(", ");
        return Verdict::Unclear { why: format!("{word}, as far as can be told without {keys}") };
    }
    if answer.limit == Some(Limit::Organization) {
        let why = "a policy of the organization does not allow it, as far as IAM simulates one that has conditions";
        return Verdict::Unclear { why: why.to_owned() };
    }
    let is_pattern = resource.contains(['*', '?']) && !WITHOUT_RESOURCE.contains(&action);
    if is_pattern && answer.decision == Decision::ImplicitDeny {
        // A policy may allow less than the pattern, and all that is needed of it.
        return Verdict::Unclear { why: format!("{word} for all of it; the resource itself is not known before") };
    }
    let by = if answer.limit == Some(Limit::Boundary) { ", by the permissions boundary" } else { "" };
    Verdict::Denied { how: format!("{word}{by}") }
}

#[cfg(test)]
mod tests;
