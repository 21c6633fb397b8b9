//! Fences: how the old writer is kept from writing, rung by rung, and what each rung was seen to prove.
//!
//! Invariant: only what was *observed* is verified. A rung that could not be seen is unknown, and one that AWS gave up
//! is timed out: neither is ever verified. What a rung closes is named by the runbook to the last rule, so that the plan
//! shows the exact calls; what opens it again is what was read before.
//! Deliberately not here: any rung on the target. [`OldWriter`] holds both ends, so that a guard can tell them apart.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    action::{EffectClass, OnUnknown},
    api_call::{ApiCall, JsonVersion, Lists, Method, Wire},
    application::ClusterArn,
    cloud::Mutation,
    id::{Region, StoreName},
    seconds,
};

/// What is known of a fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fenced {
    /// It was observed to hold.
    Verified,
    /// AWS said that it gave up.
    TimedOut,
    /// Nobody could see it.
    Unknown,
}

impl Fenced {
    /// As the output `fenced` says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::TimedOut => "timed_out",
            Self::Unknown => "unknown",
        }
    }
}

/// One rung, for the stores that it keeps from being written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fence {
    pub rung: Rung,
    /// The writers that are left; of a rung that is about one store, one.
    pub old: Vec<OldWriter>,
    pub on_unknown: OnUnknown,
}

/// The cluster that is to stop writing, and the one that takes over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldWriter {
    pub store: StoreName,
    pub global_cluster: String,
    pub cluster: ClusterArn,
    pub target: ClusterArn,
    pub observe_in: Vec<Region>,
}

/// What a rung does or looks at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rung", rename_all = "snake_case")]
pub enum Rung {
    /// Aurora's own event about the fencing of the old primary, which only a forced failover brings about.
    Event {
        #[serde(with = "seconds", rename = "within_seconds")]
        within: Duration,
    },
    /// A write tried at the old writer, which must be refused.
    WriteMustFail {
        #[serde(with = "seconds", rename = "within_seconds")]
        within: Duration,
    },
    /// The sessions of everybody else on the old writer are ended.
    Connections,
    /// The rules are revoked that let `from` reach `port` through `group`; nobody but `keep` is left.
    SecurityGroup { region: Region, group: String, port: u16, from: Vec<Peer>, keep: Vec<Peer> },
    /// The application's services in the source run no more.
    Application { region: Region, parts: Vec<Part> },
    /// The way back of one of these: its calls, inverted.
    Restore { of: String, calls: Vec<Mutation> },
}

/// Whom a rule of a security group lets in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Peer {
    /// Whoever is in this security group.
    Group(String),
    /// An IPv4 block.
    V4(String),
    /// An IPv6 block.
    V6(String),
    /// Whoever is in this managed prefix list.
    PrefixList(String),
}

/// A text that names nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is neither a security group (sg-…), a prefix list (pl-…) nor a block such as 10.0.0.0/16")]
pub struct InvalidPeer {
    given: String,
}

/// Whether `text` is the id of a security group.
pub fn is_group(text: &str) -> bool {
    is_id(text, "sg-")
}

fn is_id(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|id| {
        (8..=17).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

impl FromStr for Peer {
    type Err = InvalidPeer;

    fn from_str(text: &str) -> Result<Self, InvalidPeer> {
        let invalid = || InvalidPeer { given: super::document::clip(text) };
        if is_group(text) {
            return Ok(Self::Group(text.to_owned()));
        }
        if is_id(text, "pl-") {
            return Ok(Self::PrefixList(text.to_owned()));
        }
        let (address, bits) = text.split_once('/').ok_or_else(invalid)?;
        let bits: u8 = bits.parse().map_err(|_| invalid())?;
        match address.parse::<std::net::IpAddr>().map_err(|_| invalid())? {
            std::net::IpAddr::V4(_) if bits <= 32 => Ok(Self::V4(text.to_owned())),
            std::net::IpAddr::V6(_) if bits <= 128 => Ok(Self::V6(text.to_owned())),
            std::net::IpAddr::V4(_) | std::net::IpAddr::V6(_) => Err(invalid()),
        }
    }
}

impl TryFrom<String> for Peer {
    type Error = InvalidPeer;

    fn try_from(text: String) -> Result<Self, InvalidPeer> {
        text.parse()
    }
}

impl From<Peer> for String {
    fn from(peer: Peer) -> String {
        peer.to_string()
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Group(text) | Self::V4(text) | Self::V6(text) | Self::PrefixList(text)) = self;
        f.write_str(text)
    }
}

/// A rule that lets somebody in, as EC2 described it: enough to make it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngressRule {
    pub peer: Peer,
    /// `tcp`, or `-1` for every protocol; then the ports say nothing.
    pub protocol: String,
    pub ports: (i64, i64),
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl IngressRule {
    /// Whether it lets its peer reach `port` by TCP.
    pub fn reaches(&self, port: u16) -> bool {
        let within = (self.ports.0..=self.ports.1).contains(&i64::from(port));
        self.protocol == "-1" || (matches!(self.protocol.as_str(), "tcp" | "6") && within)
    }

    /// Whether it is for TCP on `port` and nothing else: what a fence revokes, and makes again.
    pub fn is_only(&self, port: u16) -> bool {
        matches!(self.protocol.as_str(), "tcp" | "6") && self.ports == (i64::from(port), i64::from(port))
    }

    /// As one of the call's `IpPermissions`.
    fn permission(&self) -> Value {
        let mut entry = match &self.peer {
            Peer::Group(id) => json!({ "GroupId": id }),
            Peer::V4(block) => json!({ "CidrIp": block }),
            Peer::V6(block) => json!({ "CidrIpv6": block }),
            Peer::PrefixList(id) => json!({ "PrefixListId": id }),
        };
        if let Some(text) = self.description.as_deref().filter(|d| !d.is_empty()) {
            entry["Description"] = json!(text);
        }
        let list = match &self.peer {
            Peer::Group(_) => "Groups",
            Peer::V4(_) => "IpRanges",
            Peer::V6(_) => "Ipv6Ranges",
            Peer::PrefixList(_) => "PrefixListIds",
        };
        let mut permission = json!({ "IpProtocol": self.protocol, "FromPort": self.ports.0, "ToPort": self.ports.1 });
        permission[list] = json!([entry]);
        permission
    }
}

/// A part of the application that is switched off.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "snake_case")]
pub enum Part {
    /// No task of the service is wanted, and none runs.
    Ecs { cluster: String, service: String },
    /// The function's reserved concurrency is 0: nothing new of it runs.
    Lambda { function: String },
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ecs { cluster, service } => write!(f, "ECS service {cluster}/{service}"),
            Self::Lambda { function } => write!(f, "function {function}"),
        }
    }
}

impl Fence {
    /// The store's writer, where it is about one.
    pub fn writer(&self) -> Option<&OldWriter> {
        self.old.first()
    }
}

impl Rung {
    /// The action's name in runbooks.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Event { .. } => "fence.event",
            Self::WriteMustFail { .. } => "fence.write_must_fail",
            Self::Connections => "fence.connections",
            Self::SecurityGroup { .. } => "fence.security_group",
            Self::Application { .. } => "fence.application",
            Self::Restore { of, .. } => match of.as_str() {
                "fence.security_group" => "fence.security_group",
                _ => "fence.application",
            },
        }
    }

    pub fn effect(&self) -> EffectClass {
        match self {
            Self::Event { .. } | Self::WriteMustFail { .. } => EffectClass::Read,
            Self::Connections => EffectClass::Compensable,
            Self::SecurityGroup { .. } | Self::Application { .. } | Self::Restore { .. } => EffectClass::Reversible,
        }
    }

    /// The calls, in order.
    pub fn mutations(&self, old: &[OldWriter]) -> Vec<Mutation> {
        match self {
            Self::Event { .. } | Self::WriteMustFail { .. } => Vec::new(),
            Self::Connections => old
                .iter()
                .map(|o| Mutation::EndSessions { region: o.cluster.region().clone(), store: o.store.clone() })
                .collect(),
            Self::SecurityGroup { region, group, port, from, .. } => {
                let bare = |peer: &Peer| IngressRule {
                    peer: peer.clone(),
                    protocol: "tcp".to_owned(),
                    ports: (i64::from(*port), i64::from(*port)),
                    description: None,
                };
                vec![revoke(region, group, &from.iter().map(bare).collect::<Vec<_>>())]
            }
            Self::Application { region, parts } => parts.iter().map(|part| resize(region, part, 0)).collect(),
            Self::Restore { calls, .. } => calls.clone(),
        }
    }
}

fn idempotent(request: ApiCall) -> Mutation {
    Mutation::AwsCall { request: Box::new(request), idempotent: true }
}

fn ec2(region: &Region, operation: &str, arguments: Value) -> ApiCall {
    ApiCall {
        operation: format!("ec2:{operation}"),
        region: region.clone(),
        wire: Wire::Query { version: "2016-11-15".to_owned(), lists: Lists::Flat },
        arguments,
        role_arn: None,
        handle: None,
    }
}

fn revoke(region: &Region, group: &str, rules: &[IngressRule]) -> Mutation {
    let permissions: Vec<Value> = rules.iter().map(IngressRule::permission).collect();
    let arguments = json!({ "GroupId": group, "IpPermissions": permissions });
    idempotent(ec2(region, "RevokeSecurityGroupIngress", arguments))
}

/// Lets in again whom `rules` let in.
pub fn authorise(region: &Region, group: &str, rules: &[IngressRule]) -> Mutation {
    let permissions: Vec<Value> = rules.iter().map(IngressRule::permission).collect();
    let arguments = json!({ "GroupId": group, "IpPermissions": permissions });
    idempotent(ec2(region, "AuthorizeSecurityGroupIngress", arguments))
}

/// Asks for the rules of `group`. A group has at most 1,000 of them by any quota [ec2 quotas]: one page.
pub fn describe_rules(region: &Region, group: &str) -> ApiCall {
    let filter = json!([{ "Name": "group-id", "Value": [group] }]);
    ec2(region, "DescribeSecurityGroupRules", json!({ "Filter": filter, "MaxResults": 1_000 }))
}

/// Makes `part` so large: so many tasks, or so many executions at once.
pub fn resize(region: &Region, part: &Part, count: u64) -> Mutation {
    idempotent(match part {
        Part::Ecs { cluster, service } => {
            ecs(region, "UpdateService", json!({ "cluster": cluster, "service": service, "desiredCount": count }))
        }
        Part::Lambda { function } => {
            let arguments = json!({ "FunctionName": function, "ReservedConcurrentExecutions": count });
            lambda(region, "PutFunctionConcurrency", Method::Put, "2017-10-31", arguments)
        }
    })
}

/// Makes `part` what it was before: `None` is a function that shared what is unreserved.
pub fn restore(region: &Region, part: &Part, before: Option<u64>) -> Result<Mutation, String> {
    match (part, before) {
        (_, Some(count)) => Ok(resize(region, part, count)),
        (Part::Lambda { function }, None) => {
            let arguments = json!({ "FunctionName": function });
            Ok(idempotent(lambda(region, "DeleteFunctionConcurrency", Method::Delete, "2017-10-31", arguments)))
        }
        (Part::Ecs { .. }, None) => Err(format!("how many tasks {part} had is not known")),
    }
}

/// Asks how much of `part` there is.
pub fn describe_part(region: &Region, part: &Part) -> ApiCall {
    match part {
        Part::Ecs { cluster, service } => {
            ecs(region, "DescribeServices", json!({ "cluster": cluster, "services": [service] }))
        }
        Part::Lambda { function } => {
            let arguments = json!({ "FunctionName": function });
            lambda(region, "GetFunctionConcurrency", Method::Get, "2019-09-30", arguments)
        }
    }
}

fn ecs(region: &Region, operation: &str, arguments: Value) -> ApiCall {
    ApiCall {
        operation: format!("ecs:{operation}"),
        region: region.clone(),
        wire: Wire::Json { target: "AmazonEC2ContainerServiceV20141113".to_owned(), version: JsonVersion::V1_1 },
        arguments,
        role_arn: None,
        handle: None,
    }
}

fn lambda(region: &Region, operation: &str, method: Method, api: &str, arguments: Value) -> ApiCall {
    ApiCall {
        operation: format!("lambda:{operation}"),
        region: region.clone(),
        wire: Wire::RestJson { method, path: format!("/{api}/functions/{{FunctionName}}/concurrency") },
        arguments,
        role_arn: None,
        handle: None,
    }
}

mod answers;

pub use answers::{Shown, Wanted, fencing_event, reaching, rules_in, size_in};

#[cfg(test)]
mod tests;
