//! What AWS must permit: for one application, the IAM actions and resources that watching it, moving it without loss, and
//! moving it with loss take. Three powers, so that who deploys failoverd decides which of them it has.
//!
//! Invariant: made from the application and its compiled plans, and from nothing else: what no plan does is not permitted.
//! What changes something is permitted on the resource that it changes, as far as IAM can name that.
//! It deliberately asks AWS nothing, and knows neither the roles that exist nor the keys of KMS: encrypted objects and
//! snapshots need permissions of their own, on the key.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

use super::{application::Application, channel::Channels, id::Region, plan::Plan};

pub mod changes;
mod needs;

/// What a role lets its holder do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Power {
    /// Looks, tells people, and keeps the journal.
    Observer,
    /// Moves what can be moved back.
    Switch,
    /// Does what cannot be taken back and may lose writes.
    DataLoss,
}

impl Power {
    pub const ALL: [Self; 3] = [Self::Observer, Self::Switch, Self::DataLoss];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observer => "observer",
            Self::Switch => "switch",
            Self::DataLoss => "data-loss",
        }
    }
}

/// One operation on one resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Permission {
    pub power: Power,
    /// The role that is assumed for it, by its ARN; `None`: failoverd's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// As in a policy: `rds:FailoverGlobalCluster`.
    pub action: String,
    /// An ARN, which may have wildcards, or `*`.
    pub resource: String,
    /// Where it is called, for what can be tied to no resource; `None`: wherever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
}

impl Permission {
    pub fn new(power: Power, action: &str, resource: &str) -> Self {
        Self { power, role: None, action: action.to_owned(), resource: resource.to_owned(), region: None }
    }
}

/// Whose resources they are, for ARNs that the configuration does not spell out.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner {
    /// `aws`, `aws-cn`, `aws-us-gov`.
    partition: String,
    /// Twelve digits, or `*` where no ARN of the configuration tells it.
    account: String,
}

impl Owner {
    fn of(app: &Application) -> Self {
        let clusters = app.stores.values().flat_map(|s| s.clusters.values()).map(|arn| arn.as_str());
        let told = clusters.chain(app.topics.iter().map(|t| t.arn.as_str()));
        let parts = told.map(|arn| arn.split(':').collect::<Vec<_>>()).find(|parts| parts.len() > 5);
        match parts.as_deref() {
            Some(["arn", partition, _, _, account, ..]) if !account.is_empty() => {
                Self { partition: (*partition).to_owned(), account: (*account).to_owned() }
            }
            _ => Self { partition: partition_of(app.regions.first()).to_owned(), account: "*".to_owned() },
        }
    }

    fn arn(&self, service: &str, region: &str, rest: &str) -> String {
        format!("arn:{}:{service}:{region}:{}:{rest}", self.partition, self.account)
    }

    /// The ARN of what belongs to no account by its name: buckets, hosted zones.
    fn global(&self, service: &str, rest: &str) -> String {
        format!("arn:{}:{service}:::{rest}", self.partition)
    }
}

/// The partition of a Region, by its name.
pub fn partition_of(region: Option<&Region>) -> &'static str {
    match region.map_or("", Region::as_str) {
        r if r.starts_with("cn-") => "aws-cn",
        r if r.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

/// All that `app` takes, moved by `plans` and told of over `channels`, each permission once.
pub fn permissions(app: &Application, plans: &[Plan], channels: &Channels) -> BTreeSet<Permission> {
    let mut all = needs::Needs::of(app);
    all.watch(app);
    channels.of(app).values().for_each(|channel| all.tell(&channel.via));
    for action in plans.iter().flat_map(|plan| &plan.steps).map(|step| &step.action) {
        all.step(app, action);
    }
    all.into_set()
}

/// What preflight takes to ask whether AWS permits the changes of `app`: the two questions, of nobody but `principal`, the
/// ARN of the daemon's role or user. `None`: it is not known yet, and the roles of the account are the narrowest that is
/// true.
pub fn asked_by_preflight(app: &Application, principal: Option<&str>) -> BTreeSet<Permission> {
    let resource = principal.map_or_else(|| Owner::of(app).arn("iam", "", "role/*"), str::to_owned);
    // A user has no session, whose role would have to be looked for.
    let is_user = principal.is_some_and(|arn| arn.contains(":user/"));
    let actions: &[&str] = if is_user { &[SIMULATE] } else { &[GET_ROLE, SIMULATE] };
    actions.iter().map(|action| Permission::new(Power::Observer, action, &resource)).collect()
}

/// Tells the ARN of a role, with the path that a session's ARN has lost.
pub const GET_ROLE: &str = "iam:GetRole";
/// Tells what the policies of a principal allow.
pub const SIMULATE: &str = "iam:SimulatePrincipalPolicy";

/// A policy document with what `permissions` says; its statements are as few as may be. Whose role it is, the caller says
/// by what is in `permissions`.
pub fn policy<'a>(permissions: impl IntoIterator<Item = &'a Permission>) -> Value {
    // First the resources of each action, then the actions that have the same: what is left is one statement each.
    let mut resources: BTreeMap<(&str, Option<&Region>), BTreeSet<&str>> = BTreeMap::new();
    for p in permissions {
        resources.entry((&p.action, p.region.as_ref())).or_default().insert(&p.resource);
    }
    let mut regions: BTreeMap<(&str, BTreeSet<&str>), BTreeSet<&str>> = BTreeMap::new();
    for ((action, region), resources) in resources {
        regions.entry((action, resources)).or_default().extend(region.map(Region::as_str));
    }
    let mut actions: BTreeMap<(BTreeSet<&str>, BTreeSet<&str>), BTreeSet<&str>> = BTreeMap::new();
    for ((action, resources), regions) in regions {
        actions.entry((resources, regions)).or_default().insert(action);
    }
    let statements = actions.into_iter().map(|((resources, regions), actions)| {
        let mut statement = json!({ "Effect": "Allow", "Action": actions, "Resource": resources });
        if !regions.is_empty() {
            statement["Condition"] = json!({ "StringEquals": { "aws:RequestedRegion": regions } });
        }
        statement
    });
    json!({ "Version": "2012-10-17", "Statement": statements.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests;
