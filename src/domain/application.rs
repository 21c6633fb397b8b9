//! What is protected: an application, its Regions, stores, traffic, signals and objectives.
//!
//! Values here are already checked (by `config`): every name resolves, every Region is one of `regions`.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    capacity::Capacity,
    heartbeat::Heartbeat,
    id::{ApplicationName, InvalidName, Region, RunbookName, StoreName, TrafficName},
    patch::Addresses,
    plan::Purpose,
    policy::Policy,
    replica::ReplicatedStore,
    schedule::Schedule,
    seconds,
    signal::Signal,
    standby_object::ObjectAt,
};

/// An application as its configuration describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Application {
    pub name: ApplicationName,
    /// In order of preference: the first is where the application lives when all is well.
    pub regions: Vec<Region>,
    pub objectives: Objectives,
    pub stores: BTreeMap<StoreName, AuroraStore>,
    /// Stores with many writers: watched, never promoted. No name is in `stores` too.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub replicas: BTreeMap<StoreName, ReplicatedStore>,
    pub traffic: BTreeMap<TrafficName, Traffic>,
    pub signals: Vec<Signal>,
    /// Per Region, where this Region's servers are asked directly (not through the public name).
    pub endpoints: BTreeMap<Region, Endpoint>,
    /// The public name's health URL, resolved through the authoritative servers of `traffic`, where there is one.
    pub public_url: Option<String>,
    pub runbooks: BTreeMap<Purpose, RunbookName>,
    /// The runbooks by which it is drilled, as they are named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drills: Vec<RunbookName>,
    /// When it is drilled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<Schedule>,
    /// Within what time a run must have proved that it can be moved; `None`: [`super::proof::PROVE_WITHIN`].
    #[serde(
        default,
        with = "seconds::option",
        rename = "prove_within_seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub prove_within: Option<Duration>,
    pub topics: Vec<Topic>,
    #[serde(default)]
    pub policy: Policy,
    /// Where its resources stand in infrastructure code.
    #[serde(default, skip_serializing_if = "Addresses::is_empty")]
    pub iac: Addresses,
}

impl Application {
    /// Every runbook that it uses, with the purpose.
    pub fn uses(&self) -> impl Iterator<Item = (Purpose, &RunbookName)> {
        let moves = self.runbooks.iter().map(|(purpose, name)| (*purpose, name));
        moves.chain(self.drills.iter().map(|name| (Purpose::Drill, name)))
    }

    /// The runbook by which it is salvaged: the one that ships where it names none.
    pub fn salvage_runbook(&self) -> RunbookName {
        /// The one that ships.
        const SHIPPED: &str = "salvage";
        let shipped = || SHIPPED.parse().unwrap_or_else(|e| unreachable!("a literal: {e}"));
        self.runbooks.get(&Purpose::Salvage).cloned().unwrap_or_else(shipped)
    }
}

/// What the business promised.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Objectives {
    #[serde(with = "seconds", rename = "rto_seconds")]
    pub rto: Duration,
    #[serde(with = "seconds", rename = "rpo_seconds")]
    pub rpo: Duration,
}

/// An Aurora global database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuroraStore {
    pub global_cluster: String,
    /// The member cluster of each Region.
    pub clusters: BTreeMap<Region, ClusterArn>,
    /// `AuroraGlobalDBRPOLag`, or `AuroraGlobalDBReplicationLag` on older Aurora MySQL [AUG].
    pub lag_metric: String,
    /// The servers of every Region write to the present writer, wherever it is (Aurora's global writer endpoint, or
    /// write forwarding). Only then may traffic be shared between Regions.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub written_from_all_regions: bool,
    /// A row written to the writer each period and looked for in the other Regions; `None`: not configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<Heartbeat>,
    /// What a Region's cluster must have in order to carry the application; `None`: whatever the active one has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Capacity>,
}

/// Where one Region's servers answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Answers 2xx when the Region can serve.
    pub health_url: String,
    /// A JSON pointer, in the body of `health_url`, to the instant (RFC 3339) of the last write that this
    /// Region's database holds. It is what measures loss after a failover.
    pub last_write_pointer: Option<String>,
}

/// One way of moving traffic between Regions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// The name that clients resolve.
    pub record_name: String,
    /// `A`, `AAAA` or `CNAME`.
    pub record_type: String,
    pub hosted_zone_id: String,
    /// `host:port` of the zone's authoritative servers (for a private zone: each VPC's resolver).
    pub servers: Vec<String>,
    /// What `record_name` answers when traffic goes to the Region.
    pub answers: BTreeMap<Region, String>,
    #[serde(rename = "ttl_seconds", with = "seconds")]
    pub ttl: Duration,
    pub mechanism: Mechanism,
}

/// How the answer is changed. Ranked by what survives the loss of us-east-1: the first three need data planes only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Mechanism {
    /// ARC routing controls: one `On`, the others `Off`, in one atomic update [ARCDG].
    RoutingControls {
        endpoints: Vec<ClusterEndpoint>,
        controls: BTreeMap<Region, String>,
        /// Where the name's records are weighted ones below the controls (docs/adr/0013): so traffic can return in
        /// steps, and a flip needs no more than the controls. Empty: failover records.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        weighted: BTreeMap<Region, WeightedRecord>,
    },
    /// A custom metric in the standby's CloudWatch that turns the health check of the PRIMARY record (a standing
    /// effect: put again every minute). `active_value` keeps traffic at the preferred Region, `diverted_value` moves it.
    HealthSignal {
        region: Region,
        namespace: String,
        metric: String,
        dimensions: BTreeMap<String, String>,
        active_value: f64,
        diverted_value: f64,
    },
    /// An object in S3 of the standby, which an inverted health check of the PRIMARY record reads: while it is there,
    /// traffic goes to the standby. Two Regions; nothing needs to be renewed.
    StandbyObject {
        object: ObjectAt,
        /// As the health check is told; `None`: the object's own address ([`ObjectAt::public_url`]).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        url: Option<String>,
    },
    /// Changing the records themselves: Route 53's control plane, which lives in us-east-1 [WP].
    Records { set_identifiers: BTreeMap<Region, String> },
}

/// A Region's weighted record, which has the health check of its routing control. Both are named because a change of
/// the weight replaces the whole record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightedRecord {
    pub set_identifier: String,
    pub health_check_id: String,
}

/// One of the five regional endpoints of an ARC cluster. Hard-coded by the operator, as AWS advises [ARCDG].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterEndpoint {
    pub region: Region,
    pub url: String,
}

/// An SNS topic, published to from its own Region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    pub region: Region,
    pub arn: String,
}

/// `arn:PARTITION:rds:REGION:ACCOUNT:cluster:IDENTIFIER`, which tells the Region and the identifier.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterArn {
    text: String,
    region: Region,
}

impl ClusterArn {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn region(&self) -> &Region {
        &self.region
    }

    /// The cluster's identifier within its Region.
    pub fn identifier(&self) -> &str {
        self.text.rsplit(':').next().unwrap_or_default()
    }
}

impl FromStr for ClusterArn {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<Self, InvalidName> {
        let invalid = || InvalidName {
            kind: "DB cluster ARN",
            given: s.chars().take(120).collect(),
            expected: "arn:aws:rds:REGION:ACCOUNT:cluster:IDENTIFIER",
        };
        match s.split(':').collect::<Vec<_>>()[..] {
            ["arn", partition, "rds", region, account, "cluster", id]
                if partition.starts_with("aws") && !account.is_empty() && !id.is_empty() =>
            {
                let region = region.parse().map_err(|_| invalid())?;
                Ok(Self { text: s.to_owned(), region })
            }
            _ => Err(invalid()),
        }
    }
}

impl TryFrom<String> for ClusterArn {
    type Error = InvalidName;
    fn try_from(s: String) -> Result<Self, InvalidName> {
        s.parse()
    }
}

impl From<ClusterArn> for String {
    fn from(v: ClusterArn) -> String {
        v.text
    }
}

impl fmt::Display for ClusterArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
