//! IAM: one role, which may do everything but what a test or a plane denies, and the simulation of its policies.
//!
//! Invariant: one truth. What a call of an action would be denied by is what a simulation of it tells: a denial of the
//! action, or a plane that denies access.
//! Deliberately not modelled: policies as documents, other principals, and conditions beside the Region that is called.

use std::collections::BTreeMap;

use crate::{
    domain::id::Region,
    sim::world::{ApiFault, Plane, Reach, World, route53, sns::ACCOUNT},
};

/// The name of the role whose session calls.
pub const ROLE: &str = "failoverd";
/// Its path, which the session's ARN has lost.
const PATH: &str = "/operations/";
/// The key of the Region that is called.
const REQUESTED_REGION: &str = "aws:RequestedRegion";

/// Why an action is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// No statement allows it.
    Implicit,
    /// A statement denies it.
    Explicit,
    /// It is allowed under a condition on this key, which calls meet and a simulation is not told.
    Unless(&'static str),
}

/// See the module. What is not denied is allowed.
#[derive(Debug, Default)]
pub struct Iam {
    /// By action, as in a policy: `rds:FailoverGlobalCluster`.
    denials: BTreeMap<String, Denial>,
}

/// What a simulation says of one action on one resource. [bc:iam.EvaluationResult]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simulated {
    pub decision: &'static str,
    pub missing: Vec<&'static str>,
}

impl Simulated {
    fn of(decision: &'static str) -> Self {
        Self { decision, missing: Vec::new() }
    }

    fn without(key: &'static str) -> Self {
        Self { decision: "implicitDeny", missing: vec![key] }
    }
}

impl Iam {
    /// From now on `action` is denied, in calls and in simulations.
    pub fn deny(&mut self, action: &str, denial: Denial) {
        self.denials.insert(action.to_owned(), denial);
    }

    /// Takes a [`Self::deny`] back.
    pub fn permit(&mut self, action: &str) {
        self.denials.remove(action);
    }

    /// Whether a call of `operation` of `service` (as an endpoint names it) is refused.
    pub fn refuses(&self, service: &str, operation: &str) -> bool {
        if self.denials.is_empty() {
            return false;
        }
        let denial = self.denials.get(&action(service, operation));
        matches!(denial, Some(Denial::Implicit | Denial::Explicit))
    }

    /// The ARN that `sts:GetCallerIdentity` tells.
    pub fn caller(&self) -> String {
        format!("arn:aws:sts::{ACCOUNT}:assumed-role/{ROLE}/simulated")
    }

    /// The ARN of the role.
    pub fn role_arn(&self) -> String {
        format!("arn:aws:iam::{ACCOUNT}:role{PATH}{ROLE}")
    }

    /// The path of the role `name`.
    ///
    /// # Errors
    /// `NoSuchEntity`: there is only one. [bc:iam.GetRole]
    pub fn role_path(&self, name: &str) -> Result<&'static str, ApiFault> {
        if name == ROLE {
            return Ok(PATH);
        }
        let message = format!("The role with name {name} cannot be found.");
        Err(ApiFault { status: 404, code: "NoSuchEntity", message })
    }
}

/// The action that an operation takes, where IAM has another name for the service or the operation. [Service Authorization
/// Reference]
fn action(service: &str, operation: &str) -> String {
    match (service, operation) {
        ("monitoring", operation) => format!("cloudwatch:{operation}"),
        ("s3", "HeadObject") => "s3:GetObject".to_owned(),
        ("s3", "HeadBucket" | "ListObjectsV2") => "s3:ListBucket".to_owned(),
        (service, operation) => format!("{service}:{operation}"),
    }
}

/// The plane that calls of an action go to; `None`: it is called nowhere here.
fn plane(service: &str) -> Option<Plane> {
    Some(match service {
        "rds" => Plane::Rds,
        "cloudwatch" => Plane::CloudWatch,
        "route53" => Plane::Route53Control,
        "route53-recovery-cluster" => Plane::ArcCluster,
        "sns" => Plane::Sns,
        "s3" => Plane::S3,
        other => return super::plane(other),
    })
}

impl World {
    /// What the policies of the role `principal` say of `action` in `region`; `None`: the question does not tell where.
    ///
    /// # Errors
    /// As IAM refuses: a principal that has no policies (400), or is not there (404). [bc:iam.SimulatePrincipalPolicy]
    pub fn simulate_policy(
        &self,
        principal: &str,
        action: &str,
        region: Option<&Region>,
    ) -> Result<Simulated, ApiFault> {
        let iam = &self.services.iam;
        if !principal.starts_with("arn:aws:iam::") {
            let message = format!("Invalid Entity Arn: {principal} does not clearly define entity type and name.");
            return Err(ApiFault { status: 400, code: "InvalidInput", message });
        }
        if principal != iam.role_arn() {
            let message = format!("{principal} cannot be found.");
            return Err(ApiFault { status: 404, code: "NoSuchEntity", message });
        }
        match iam.denials.get(action) {
            Some(Denial::Explicit) => return Ok(Simulated::of("explicitDeny")),
            Some(Denial::Implicit) => return Ok(Simulated::of("implicitDeny")),
            Some(Denial::Unless(key)) => return Ok(Simulated::without(key)),
            None => {}
        }
        let service = action.split(':').next().unwrap_or_default();
        let denies =
            |at: &Region| plane(service).is_some_and(|plane| self.planes.reach(plane, at) == Reach::DeniesAccess);
        Ok(match region {
            _ if service == "route53" && denies(&route53::home()) => Simulated::of("implicitDeny"),
            Some(region) if denies(region) => Simulated::of("implicitDeny"),
            // It is permitted in some Regions, and which one is meant was not told.
            None if self.planes.regions().any(denies) => Simulated::without(REQUESTED_REGION),
            _ => Simulated::of("allowed"),
        })
    }
}
