//! What a step of a plan does, resolved to the last argument, and what it declares about itself:
//! its effect class and the plane and Region that it needs.
//!
//! An action decides nothing: the executor sends [`Action::mutation`] and waits until the postcondition is observed.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    api_call::AwsCall,
    application::{ClusterArn, Topic},
    capacity::Capacity,
    cloud::{MetricQuery, Mutation},
    database::{Door, Expect},
    fault::Fault,
    fence::Fence,
    id::{Region, StoreName, TrafficName},
    ramp::Ramp,
    replica::Measure,
    sabotage::{Guard, is_off},
    salvage::Salvage,
    seconds,
    signal_probe::SignalProbe,
};

/// A resolved action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action")]
pub enum Action {
    /// Lossless change of roles. Done when the target is the settled writer.
    #[serde(rename = "aurora.switchover")]
    AuroraSwitchover {
        store: StoreName,
        global_cluster: String,
        from: ClusterArn,
        target: ClusterArn,
        observe_in: Vec<Region>,
    },
    /// Forced promotion that may lose writes. Done when the target is the settled writer.
    #[serde(rename = "aurora.failover")]
    AuroraFailover {
        store: StoreName,
        global_cluster: String,
        from: ClusterArn,
        target: ClusterArn,
        observe_in: Vec<Region>,
    },
    /// Takes the target out of the global cluster: it becomes a writer that stands alone, and nothing fences the old one.
    /// For when no failover is possible. Done when it is a member no more, and available.
    #[serde(rename = "aurora.detach")]
    AuroraDetach {
        store: StoreName,
        global_cluster: String,
        from: ClusterArn,
        target: ClusterArn,
        observe_in: Vec<Region>,
    },
    /// Leaves open that the snapshot which Aurora takes of the old writer is copied, so that it stays. Done at once; the
    /// work goes on without the run (docs/adr/0014-deferred-work.md).
    #[serde(rename = "aurora.preserve_snapshot")]
    AuroraPreserveSnapshot {
        store: StoreName,
        /// The old writer.
        cluster: ClusterArn,
        #[serde(with = "seconds", rename = "within_seconds")]
        within: Duration,
    },
    /// Adds DB instances to the target's cluster, by name. Done when each is available.
    #[serde(rename = "aurora.add_instance")]
    AuroraAddInstance {
        store: StoreName,
        target: ClusterArn,
        /// In the order of creation; none stands twice.
        identifiers: Vec<String>,
        class: String,
        engine: String,
    },
    /// Waits until the global cluster is settled, all members connected.
    #[serde(rename = "aurora.wait")]
    AuroraWait { store: StoreName, global_cluster: String, observe_in: Vec<Region>, synchronized: bool },
    /// Two agreeing fresh reads: `target` is the only writer, nothing is in progress (FAULTS.md S5).
    #[serde(rename = "aurora.verify_writer")]
    AuroraVerifyWriter { store: StoreName, global_cluster: String, target: ClusterArn, observe_in: Vec<Region> },
    /// The gates before a promotion: target not the writer, not headless, compatible, nothing in progress
    /// (and for a switchover: every cluster available).
    #[serde(rename = "gate.target")]
    GateTarget {
        store: StoreName,
        global_cluster: String,
        from: ClusterArn,
        target: ClusterArn,
        observe_in: Vec<Region>,
        lossless: bool,
        /// Its engine version may be another one: only a managed operation needs the same.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        any_engine: bool,
    },
    /// The loss bound is at most `limit`, or at most what the caller accepted, if that is more.
    #[serde(rename = "gate.rpo")]
    GateRpo {
        store: StoreName,
        lag: MetricQuery,
        lag_region: Region,
        #[serde(with = "seconds", rename = "limit_seconds")]
        limit: Duration,
    },
    /// The target can carry what the source carries: as declared, else as the source is or was when it was well.
    #[serde(rename = "gate.capacity")]
    GateCapacity {
        store: StoreName,
        source: ClusterArn,
        target: ClusterArn,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        declared: Option<Capacity>,
        at_least_percent: u32,
        unknown: OnUnknown,
    },
    /// So much of each quota of the account in `region` is left.
    #[serde(rename = "gate.quota")]
    GateQuota { region: Region, headroom: BTreeMap<String, u32>, unknown: OnUnknown },
    /// Every measure of the store's replication is within its limit.
    #[serde(rename = "gate.replication")]
    GateReplication { store: StoreName, measures: Vec<Measure>, unknown: OnUnknown },
    /// Moves traffic by the mechanism of the application's `traffic` entry. Done when the mechanism says so.
    #[serde(rename = "dns.flip")]
    DnsFlip {
        traffic: TrafficName,
        to: Region,
        calls: Vec<Mutation>,
        standing: bool,
        requires_writer: Vec<WriterProof>,
    },
    /// Moves traffic in steps of weight, each observed and kept for a time; back by one where the guard is breached.
    /// Done when all of it goes to the target.
    #[serde(rename = "dns.weights")]
    DnsWeights(Box<Ramp>),
    /// Every authoritative server answers `expected`.
    #[serde(rename = "dns.verify")]
    DnsVerify { traffic: TrafficName, record_name: String, record_type: String, servers: Vec<String>, expected: String },
    /// An HTTP probe that must succeed `consecutive` times in a row. `resolve_with` are authoritative servers for the
    /// URL's host (the public name), else the system's resolver. `not_before` waits so long first (a cache's TTL).
    #[serde(rename = "probe.http")]
    ProbeHttp {
        url: String,
        expect_status: u16,
        consecutive: u32,
        #[serde(with = "seconds", rename = "interval_seconds")]
        interval: Duration,
        #[serde(with = "seconds", rename = "probe_timeout_seconds")]
        probe_timeout: Duration,
        resolve_with: Vec<String>,
        #[serde(with = "seconds", rename = "not_before_seconds")]
        not_before: Duration,
    },
    /// A TCP connection that must be made `consecutive` times in a row; nothing is sent.
    #[serde(rename = "probe.tcp")]
    ProbeTcp {
        address: String,
        consecutive: u32,
        #[serde(with = "seconds", rename = "interval_seconds")]
        interval: Duration,
        #[serde(with = "seconds", rename = "probe_timeout_seconds")]
        probe_timeout: Duration,
    },
    /// The store's database in `region`, asked `consecutive` times in a row over the heartbeat's connection settings.
    #[serde(rename = "probe.postgres")]
    ProbePostgres {
        store: StoreName,
        region: Region,
        door: Door,
        expect: Expect,
        consecutive: u32,
        #[serde(with = "seconds", rename = "interval_seconds")]
        interval: Duration,
        #[serde(with = "seconds", rename = "probe_timeout_seconds")]
        probe_timeout: Duration,
    },
    /// Waits until signals of the application, and what is made of them, say what is expected.
    #[serde(rename = "probe.signal")]
    ProbeSignal(Box<SignalProbe>),
    /// One rung of the ladder that keeps the old writer from writing (`fence.*`).
    #[serde(rename = "fence")]
    Fence { fence: Box<Fence> },
    /// A fault of the source on purpose, put in or taken out. Done when the function's variable reads so. For drills.
    #[serde(rename = "fault.lambda_variable")]
    LambdaFault(Box<Fault>),
    /// Looks at what a forced failover has left in the old Region (`salvage.*`).
    #[serde(rename = "salvage")]
    Salvage { look: Box<Salvage> },
    /// Tells people. Never in a run's way: a failure is recorded and the run goes on.
    #[serde(rename = "notify")]
    Notify { topics: Vec<Topic>, subject: String, message: String },
    /// Waits for `count` distinct people, none of them the requester, each bound to the plan's digest.
    #[serde(rename = "approve")]
    Approve {
        count: u32,
        #[serde(with = "seconds", rename = "expires_after_seconds")]
        expires_after: Duration,
        reason: String,
    },
    /// A timer that survives restarts.
    #[serde(rename = "wait")]
    Wait {
        #[serde(with = "seconds", rename = "duration_seconds")]
        duration: Duration,
    },
    /// A CEL expression over the run's facts that must be true now.
    #[serde(rename = "assert")]
    Assert { that: String, message: String },
    /// Any other operation of AWS. Done when its declared postcondition is observed; without one, when AWS took it.
    #[serde(rename = "aws.call")]
    AwsCall { call: Box<AwsCall> },
}

/// A writer that must be proven immediately before traffic moves (FAULTS.md S5).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WriterProof {
    pub store: StoreName,
    pub global_cluster: String,
    pub writer: ClusterArn,
    pub observe_in: Vec<Region>,
}

/// What a gate makes of what it cannot tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnknown {
    /// It looks again until its timeout, and then fails.
    #[default]
    Hold,
    /// After a few looks it goes on, and its evidence says that nothing was known.
    Pass,
}

/// What an action does to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectClass {
    /// Looks only.
    Read,
    /// The same action with other arguments takes it back.
    Reversible,
    /// Another call makes up for it, but what was meanwhile stays so.
    Compensable,
    /// There is no way back but another whole run.
    Irreversible,
}

impl Action {
    /// The action's name in runbooks.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::AuroraSwitchover { .. } => "aurora.switchover",
            Self::AuroraFailover { .. } => "aurora.failover",
            Self::AuroraDetach { .. } => "aurora.detach",
            Self::AuroraAddInstance { .. } => "aurora.add_instance",
            Self::AuroraPreserveSnapshot { .. } => "aurora.preserve_snapshot",
            Self::AuroraWait { .. } => "aurora.wait",
            Self::AuroraVerifyWriter { .. } => "aurora.verify_writer",
            Self::GateTarget { .. } => "gate.target",
            Self::GateRpo { .. } => "gate.rpo",
            Self::GateCapacity { .. } => "gate.capacity",
            Self::GateQuota { .. } => "gate.quota",
            Self::GateReplication { .. } => "gate.replication",
            Self::DnsFlip { .. } => "dns.flip",
            Self::DnsWeights(_) => "dns.weights",
            Self::DnsVerify { .. } => "dns.verify",
            Self::ProbeHttp { .. } => "probe.http",
            Self::ProbeTcp { .. } => "probe.tcp",
            Self::ProbePostgres { .. } => "probe.postgres",
            Self::ProbeSignal(_) => "probe.signal",
            Self::Fence { fence } => fence.rung.name(),
            Self::LambdaFault(_) => "fault.lambda_variable",
            Self::Salvage { look } => look.name(),
            Self::Notify { .. } => "notify",
            Self::Approve { .. } => "approve",
            Self::Wait { .. } => "wait",
            Self::Assert { .. } => "assert",
            Self::AwsCall { .. } => "aws.call",
        }
    }

    /// What this does to the world.
    pub fn effect(&self) -> EffectClass {
        match self {
            Self::AuroraFailover { .. } | Self::AuroraDetach { .. } => EffectClass::Irreversible,
            Self::AuroraAddInstance { .. } => EffectClass::Compensable,
            Self::AuroraSwitchover { .. } | Self::DnsFlip { .. } | Self::DnsWeights(_) => EffectClass::Reversible,
            Self::LambdaFault(_) => EffectClass::Reversible,
            // The copy that its work makes destroys nothing and changes nothing that is there.
            Self::AuroraPreserveSnapshot { .. }
            | Self::AuroraWait { .. }
            | Self::AuroraVerifyWriter { .. }
            | Self::GateTarget { .. }
            | Self::GateRpo { .. }
            | Self::GateCapacity { .. }
            | Self::GateQuota { .. }
            | Self::GateReplication { .. }
            | Self::DnsVerify { .. }
            | Self::ProbeHttp { .. }
            | Self::ProbeTcp { .. }
            | Self::ProbePostgres { .. }
            | Self::ProbeSignal(_)
            | Self::Salvage { .. }
            | Self::Notify { .. }
            | Self::Approve { .. }
            | Self::Wait { .. }
            | Self::Assert { .. } => EffectClass::Read,
            Self::Fence { fence } => fence.rung.effect(),
            Self::AwsCall { call } => call.effect,
        }
    }

    /// Whether it makes another cluster the writer.
    pub fn changes_roles(&self) -> bool {
        matches!(self, Self::AuroraSwitchover { .. } | Self::AuroraFailover { .. })
    }

    /// What must be proven before this moves traffic (FAULTS.md S5); `None` for what moves none.
    pub fn requires_writer(&self) -> Option<&[WriterProof]> {
        match self {
            Self::DnsFlip { requires_writer, .. } => Some(requires_writer),
            Self::DnsWeights(ramp) => Some(&ramp.requires_writer),
            _ => None,
        }
    }

    /// The calls that this action makes, in order; empty for an action that only looks or waits. Of a ramp they are
    /// all that it may make, the ways back last.
    pub fn mutations(&self) -> Vec<Mutation> {
        match self {
            Self::AuroraSwitchover { global_cluster, from, target, .. } => vec![Mutation::AuroraSwitchover {
                region: from.region().clone(),
                global_cluster: global_cluster.clone(),
                target: target.clone(),
            }],
            Self::AuroraFailover { global_cluster, from, target, .. } => vec![Mutation::AuroraFailover {
                region: if is_off(Guard::HomeOfTheDead) { from } else { target }.region().clone(),
                global_cluster: global_cluster.clone(),
                target: target.clone(),
            }],
            Self::AuroraDetach { global_cluster, target, .. } => vec![Mutation::AuroraDetach {
                region: target.region().clone(),
                global_cluster: global_cluster.clone(),
                target: target.clone(),
            }],
            Self::AuroraAddInstance { target, identifiers, class, engine, .. } => {
                let create = |identifier: &String| Mutation::CreateInstance {
                    region: target.region().clone(),
                    cluster: target.clone(),
                    identifier: identifier.clone(),
                    class: class.clone(),
                    engine: engine.clone(),
                };
                identifiers.iter().map(create).collect()
            }
            Self::DnsFlip { calls, .. } => calls.clone(),
            Self::Fence { fence } => fence.rung.mutations(&fence.old),
            Self::LambdaFault(fault) => vec![fault.mutation()],
            Self::DnsWeights(ramp) => ramp.calls.iter().map(|call| call.mutation.clone()).collect(),
            Self::Notify { topics, subject, message } => topics
                .iter()
                .map(|t| Mutation::Publish {
                    region: t.region.clone(),
                    topic_arn: t.arn.clone(),
                    subject: subject.clone(),
                    message: message.clone(),
                })
                .collect(),
            Self::AwsCall { call } if !call.is_read() => {
                vec![Mutation::AwsCall { request: Box::new(call.request.clone()), idempotent: call.idempotent }]
            }
            _ => Vec::new(),
        }
    }
}

/// Facts of a run that expressions (`when`, `assert`) see, as nested JSON values.
pub type Facts = BTreeMap<String, serde_json::Value>;
