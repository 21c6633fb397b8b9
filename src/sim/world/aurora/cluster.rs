//! A global cluster, its member clusters, their instances and their logs: plain data.

use super::{
    super::{Plane, Planes, Reach, SimTime},
    operation::Operation,
    rejoin::RejoinStage,
    replication::Lag,
};
use crate::domain::id::Region;

/// One committed write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// Unique over all clusters, ascending in time.
    pub id: u64,
    pub acknowledged_at: SimTime,
    /// A heartbeat's row, not a write of the application's.
    pub is_beat: bool,
}

/// Why a cluster did not take a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteRefused {
    /// No instance answers.
    Unreachable,
    /// `cannot execute INSERT in a read-only transaction`.
    ReadOnly,
}

/// What a cluster is to its global cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    Writer,
    /// A secondary, `connected`.
    Connected,
    /// A secondary being rebuilt, `pending-resync`.
    PendingResync,
    /// The old primary after a failover, until its Region is back: no member that AWS shows [INF].
    Out,
    /// No part of a global cluster any more.
    Standalone,
}

/// A database instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    pub id: String,
    pub class: String,
}

/// A DB cluster in one Region.
#[derive(Debug)]
pub struct Cluster {
    pub arn: String,
    pub id: String,
    pub resource_id: String,
    pub account: String,
    pub region: Region,
    pub engine: String,
    pub engine_version: String,
    /// As `DescribeDBClusters` shows it.
    pub status: &'static str,
    /// The first is the writer inside the cluster. None: the cluster is headless.
    pub instances: Vec<Instance>,
    /// Least and most ACU of its instances, where they are Serverless v2.
    pub scaling: Option<(f64, f64)>,
    pub global: Option<String>,
    pub membership: Membership,
    pub backup_retention_days: u32,
    pub deletion_protection: bool,
    /// What its parameter group sets, by name; everything else has the default of its engine.
    pub parameters: std::collections::BTreeMap<String, String>,
    pub created_at: SimTime,
    /// Whether its engine takes writes, whatever AWS shows: a deposed writer that was not fenced does.
    pub(super) accepts_writes: bool,
    /// Everything that is in its storage, oldest first.
    pub(super) volume: Vec<Commit>,
    pub(super) lag: Lag,
    pub(super) rejoin: Option<(u64, RejoinStage)>,
}

impl Cluster {
    pub(super) fn new(
        global: &GlobalClusterSpec,
        spec: &ClusterSpec,
        is_writer: bool,
        lag_ms: u64,
        now: SimTime,
    ) -> Self {
        let instances = (1..=spec.instances)
            .map(|n| Instance { id: format!("{}-{n}", spec.id), class: spec.instance_class.clone() })
            .collect();
        Self {
            arn: global.arn_of(spec),
            id: spec.id.clone(),
            resource_id: format!("cluster-{}", resource_suffix(&spec.id)),
            account: global.account.clone(),
            region: spec.region.clone(),
            engine: global.engine.clone(),
            engine_version: global.engine_version.clone(),
            status: "available",
            instances,
            scaling: spec.scaling,
            global: Some(global.id.clone()),
            membership: if is_writer { Membership::Writer } else { Membership::Connected },
            backup_retention_days: 7,
            deletion_protection: true,
            parameters: std::collections::BTreeMap::new(),
            created_at: now,
            accepts_writes: is_writer,
            volume: Vec::new(),
            lag: Lag::new(lag_ms, now),
            rejoin: None,
        }
    }

    /// The name of its parameter group: each cluster has one of its own.
    pub fn parameter_group(&self) -> String {
        format!("{}-parameters", self.id)
    }

    /// Whether AWS lists it as a member.
    pub fn is_listed(&self) -> bool {
        !matches!(self.membership, Membership::Out | Membership::Standalone)
    }

    /// Whether it takes writes from inside its Region, as its engine is now.
    pub fn takes_writes(&self, planes: &Planes) -> bool {
        self.accepts_writes && self.is_up(planes)
    }

    /// Whether an instance answers inside the Region.
    pub fn is_up(&self, planes: &Planes) -> bool {
        !self.instances.is_empty()
            && self.membership != Membership::PendingResync
            && planes.works_inside(Plane::Database, &self.region)
    }

    /// Whether the other Regions reach its database.
    pub fn is_reachable(&self, planes: &Planes) -> bool {
        planes.reach(Plane::Database, &self.region) == Reach::Up
    }

    /// The last write of the application's in its storage.
    pub fn last_commit(&self) -> Option<Commit> {
        self.volume.iter().rev().find(|commit| !commit.is_beat).copied()
    }

    /// Everything in its storage, oldest first.
    pub fn commits(&self) -> &[Commit] {
        &self.volume
    }

    /// The cluster endpoint; `-ro` for readers.
    pub fn endpoint(&self, readers: bool) -> String {
        let ro = if readers { "-ro" } else { "" };
        format!("{}.cluster{ro}-{}.{}.rds.amazonaws.com", self.id, resource_suffix(&self.account), self.region)
    }

    /// The ARN of one of its instances.
    pub fn instance_arn(&self, instance: &Instance) -> String {
        format!("arn:aws:rds:{}:{}:db:{}", self.region, self.account, instance.id)
    }
}

/// What `DescribeGlobalClusters` shows as `Status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GlobalStatus {
    Available,
    SwitchingOver,
    FailingOver,
}

impl GlobalStatus {
    /// The text on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::SwitchingOver => "switching-over",
            Self::FailingOver => "failing-over",
        }
    }
}

/// A global cluster.
#[derive(Debug)]
pub struct GlobalCluster {
    pub id: String,
    pub arn: String,
    pub resource_id: String,
    pub engine: String,
    pub engine_version: String,
    pub status: GlobalStatus,
    /// ARNs of all its clusters, also of one that is [`Membership::Out`].
    pub members: Vec<String>,
    /// What is at work.
    pub operation: Option<Operation>,
    /// The cluster that the global writer endpoint resolves to; lags behind the promotion (event 0397).
    pub endpoint_resolves_to: Option<String>,
}

impl GlobalCluster {
    pub(super) fn new(spec: &GlobalClusterSpec, members: Vec<String>) -> Self {
        Self {
            id: spec.id.clone(),
            arn: format!("arn:aws:rds::{}:global-cluster:{}", spec.account, spec.id),
            resource_id: format!("cluster-{}", resource_suffix(&spec.id)),
            engine: spec.engine.clone(),
            engine_version: spec.engine_version.clone(),
            status: GlobalStatus::Available,
            endpoint_resolves_to: members.first().cloned(),
            members,
            operation: None,
        }
    }

    /// The global writer endpoint.
    pub fn endpoint(&self) -> String {
        format!("{}.global-{}.global.rds.amazonaws.com", self.id, resource_suffix(&self.arn))
    }
}

/// A global cluster to add.
#[derive(Debug, Clone)]
pub struct GlobalClusterSpec {
    pub id: String,
    pub account: String,
    pub engine: String,
    pub engine_version: String,
    /// The first is the writer.
    pub members: Vec<ClusterSpec>,
}

impl GlobalClusterSpec {
    /// The ARN that `member` will have.
    pub fn arn_of(&self, member: &ClusterSpec) -> String {
        format!("arn:aws:rds:{}:{}:cluster:{}", member.region, self.account, member.id)
    }
}

/// A member cluster to add.
#[derive(Debug, Clone)]
pub struct ClusterSpec {
    pub id: String,
    pub region: Region,
    /// 0 makes a headless secondary.
    pub instances: usize,
    pub instance_class: String,
    /// Least and most ACU, where the class is `db.serverless`.
    pub scaling: Option<(f64, f64)>,
}

/// The part of an AWS name that AWS draws; here from the name itself, so that it is the same in every run.
fn resource_suffix(of: &str) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(of.as_bytes()))[..12].to_owned()
}
