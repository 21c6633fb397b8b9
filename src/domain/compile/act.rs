//! One act of a runbook resolved into the action that is done: names become ARNs, Regions, URLs and text.
//!
//! Invariant: an action that cannot be resolved is a fault that names what is missing; nothing is defaulted.

use std::time::Duration;

use super::{
    super::{
        action::{Action, WriterProof},
        application::{AuroraStore, ClusterArn, Topic},
        capacity::{SERVERLESS, Size},
        id::{Region, StoreName},
        plan::Purpose,
        replica::Allowed,
        runbook::{Act, ProbeAt, Step},
    },
    Compiler, Scope, cluster, lag_query, listed,
};

/// SNS takes a subject of fewer than 100 ASCII characters [SNS Publish].
const SUBJECT_CHARS_MAX: usize = 99;

impl Compiler<'_> {
    pub(super) fn action(&self, step: &Step, scope: &Scope) -> Result<Action, String> {
        match &step.act {
            Act::AuroraSwitchover { store }
            | Act::AuroraFailover { store }
            | Act::AuroraDetach { store }
            | Act::AuroraAddInstance { store, .. }
            | Act::AuroraPreserveSnapshot { store, .. }
            | Act::AuroraWait { store, .. }
            | Act::AuroraVerifyWriter { store }
            | Act::GateTarget { store, .. }
            | Act::GateRpo { store, .. }
            | Act::GateCapacity { store, .. } => self.store_action(&step.act, store.as_ref(), scope),
            Act::GateQuota { headroom, unknown } => {
                Ok(Action::GateQuota { region: self.target.clone(), headroom: headroom.clone(), unknown: *unknown })
            }
            Act::GateReplication { store, .. } => self.replication(&step.act, store.as_ref(), scope),
            Act::DnsFlip { via, .. } | Act::DnsVerify { via } => self.traffic_action(&step.act, via.as_ref(), scope),
            Act::DnsWeights { via, .. } => self.ramp(&step.act, via.as_ref(), scope),
            Act::ProbeHttp { .. } => self.probe(&step.act),
            Act::ProbeTcp { .. } => self.probe_tcp(&step.act),
            Act::ProbePostgres { .. } => self.probe_postgres(&step.act, scope),
            Act::ProbeSignal { .. } => self.probe_signal(&step.act),
            Act::Fence { .. } => self.fence(&step.act, scope),
            Act::LambdaFault { .. } => self.lambda_fault(&step.act),
            Act::Salvage { .. } => self.salvage(&step.act, scope),
            Act::Notify { subject, message } => Ok(Action::Notify {
                topics: if let Scope::Topic(topic) = scope { vec![topic.clone()] } else { self.topics() },
                subject: self.subject(subject.as_deref()),
                message: self.fill(message),
            }),
            Act::Approve { count, expires_after, reason } => {
                Ok(Action::Approve { count: *count, expires_after: *expires_after, reason: self.fill(reason) })
            }
            Act::Wait { duration } => Ok(Action::Wait { duration: *duration }),
            Act::Assert { that, message } => Ok(Action::Assert { that: that.clone(), message: self.fill(message) }),
            Act::AwsCall { template } => self.aws_call(template),
            Act::Call { runbook, .. } => Err(format!("calls `{runbook}`, whose steps are not here")),
        }
    }

    fn store_action(&self, act: &Act, named: Option<&StoreName>, scope: &Scope) -> Result<Action, String> {
        let name = match scope {
            Scope::Store(s) => Some(s),
            Scope::Whole | Scope::Traffic(_) | Scope::Topic(_) => named,
        };
        let name = name.ok_or("names no store")?;
        let db = self.application.stores.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.application.stores.keys().map(StoreName::as_str).collect();
            format!("`{}` has no store `{name}`; stores: {}", self.application.name, listed(&known))
        })?;
        let (store, global_cluster) = (name.clone(), db.global_cluster.clone());
        let (from, target) = (cluster(db, name, self.source)?, cluster(db, name, self.target)?);
        let observe_in = self.observe_in(db);
        match act {
            Act::AuroraSwitchover { .. } => {
                Ok(Action::AuroraSwitchover { store, global_cluster, from, target, observe_in })
            }
            Act::AuroraFailover { .. } => {
                Ok(Action::AuroraFailover { store, global_cluster, from, target, observe_in })
            }
            Act::AuroraDetach { .. } => Ok(Action::AuroraDetach { store, global_cluster, from, target, observe_in }),
            Act::AuroraPreserveSnapshot { within, .. } => {
                Ok(Action::AuroraPreserveSnapshot { store, cluster: from, within: *within })
            }
            Act::AuroraAddInstance { .. } => add_instance(act, store, target, db),
            Act::AuroraWait { synchronized, .. } => {
                Ok(Action::AuroraWait { store, global_cluster, observe_in, synchronized: *synchronized })
            }
            Act::AuroraVerifyWriter { .. } => {
                Ok(Action::AuroraVerifyWriter { store, global_cluster, target, observe_in })
            }
            Act::GateTarget { lossless, any_engine, .. } => {
                let (lossless, any_engine) = (lossless.unwrap_or(self.purpose != Purpose::Failover), *any_engine);
                Ok(Action::GateTarget { store, global_cluster, from, target, observe_in, lossless, any_engine })
            }
            Act::GateRpo { limit, .. } => Ok(Action::GateRpo {
                store,
                lag: lag_query(db, &target),
                lag_region: target.region().clone(),
                limit: limit.unwrap_or(self.application.objectives.rpo),
            }),
            Act::GateCapacity { at_least_percent, unknown, .. } => Ok(Action::GateCapacity {
                store,
                source: from,
                target,
                declared: db.capacity.clone(),
                at_least_percent: *at_least_percent,
                unknown: *unknown,
            }),
            Act::GateQuota { .. }
            | Act::GateReplication { .. }
            | Act::DnsFlip { .. }
            | Act::DnsWeights { .. }
            | Act::DnsVerify { .. }
            | Act::ProbeHttp { .. }
            | Act::ProbeTcp { .. }
            | Act::ProbePostgres { .. }
            | Act::ProbeSignal { .. }
            | Act::LambdaFault { .. }
            | Act::Fence { .. }
            | Act::Salvage { .. }
            | Act::Notify { .. }
            | Act::Approve { .. }
            | Act::Wait { .. }
            | Act::Assert { .. }
            | Act::AwsCall { .. }
            | Act::Call { .. } => Err("is not about a store".to_owned()),
        }
    }

    fn replication(&self, act: &Act, named: Option<&StoreName>, scope: &Scope) -> Result<Action, String> {
        let Act::GateReplication { lag, pending_bytes, pending_operations, unknown, .. } = act else {
            return Err("is not about replication".to_owned());
        };
        let (name, replicas) = (if let Scope::Store(s) = scope { Some(s) } else { named }, &self.application.replicas);
        let name = name.ok_or("names no store")?;
        let replica = replicas.get(name).ok_or_else(|| {
            let known: Vec<&str> = replicas.keys().map(StoreName::as_str).collect();
            let known = listed(&known);
            format!("`{}` has no store `{name}` with many writers; such stores: {known}", self.application.name)
        })?;
        let allowed = Allowed {
            lag: lag.unwrap_or(self.application.objectives.rpo),
            pending_bytes: *pending_bytes,
            pending_operations: *pending_operations,
        };
        let measures = replica.measures(self.source, self.target, &allowed);
        if measures.is_empty() {
            return Err(format!("nothing of `{name}` is replicated from {} to {}", self.source, self.target));
        }
        Ok(Action::GateReplication { store: name.clone(), measures, unknown: *unknown })
    }

    /// The target's Region first: on the worst day the source's does not answer.
    pub(super) fn observe_in(&self, db: &AuroraStore) -> Vec<Region> {
        let mut regions = vec![self.target.clone()];
        let others = self.application.regions.iter().filter(|r| *r != self.target && *r != self.source);
        regions.extend(others.filter(|r| db.clusters.contains_key(r)).cloned());
        regions.push(self.source.clone());
        regions
    }

    /// The writers that must be proven before traffic moves. A drill of the traffic alone asks for none of a store that
    /// is written from all Regions: its writer stays where it is, and is reached from either.
    pub(super) fn writer_proofs(&self) -> Result<Vec<WriterProof>, String> {
        let changes_roles = || self.runbook.steps.iter().any(|step| step.act.changes_roles());
        let is_of_traffic = self.purpose == Purpose::Drill && !changes_roles();
        let stores = self.application.stores.iter().filter(|(_, db)| !(is_of_traffic && db.written_from_all_regions));
        stores
            .map(|(name, db)| {
                Ok(WriterProof {
                    store: name.clone(),
                    global_cluster: db.global_cluster.clone(),
                    writer: cluster(db, name, self.target)?,
                    observe_in: self.observe_in(db),
                })
            })
            .collect()
    }

    fn probe(&self, act: &Act) -> Result<Action, String> {
        let Act::ProbeHttp { at, expect_status, consecutive, interval, probe_timeout, after_ttl } = act else {
            return Err("is not a probe".to_owned());
        };
        let app = self.application;
        let url = match at {
            ProbeAt::Url(url) => url.clone(),
            ProbeAt::Target => self.health_url(self.target)?,
            ProbeAt::Source => self.health_url(self.source)?,
            ProbeAt::Public => app.public_url.clone().ok_or_else(|| format!("`{}` has no public_url", app.name))?,
        };
        let host = host_of(&url).trim_end_matches('.');
        let entry = app.traffic.values().find(|t| t.record_name.trim_end_matches('.').eq_ignore_ascii_case(host));
        let longest = || app.traffic.values().map(|t| t.ttl).max();
        let not_before = if *after_ttl {
            entry.map(|t| t.ttl).or_else(longest).ok_or("`after_ttl` needs a dns entry, whose TTL it waits for")?
        } else {
            Duration::ZERO
        };
        Ok(Action::ProbeHttp {
            url,
            expect_status: *expect_status,
            consecutive: *consecutive,
            interval: *interval,
            probe_timeout: *probe_timeout,
            resolve_with: entry.map(|t| t.servers.clone()).unwrap_or_default(),
            not_before,
        })
    }

    pub(super) fn health_url(&self, region: &Region) -> Result<String, String> {
        let endpoint = self.application.endpoints.get(region);
        endpoint
            .map(|e| e.health_url.clone())
            .ok_or_else(|| format!("`{}` has no endpoint in {region}", self.application.name))
    }

    /// The target's Region first, the source's last.
    pub(super) fn topics(&self) -> Vec<Topic> {
        let mut topics = self.application.topics.clone();
        topics.sort_by_key(|t| (t.region == *self.source, t.region != *self.target));
        topics
    }

    pub(super) fn fill(&self, text: &str) -> String {
        self.fill_in(text).trim().to_owned()
    }

    /// The same to the letter: white space of an argument is the argument's.
    pub(super) fn fill_in(&self, text: &str) -> String {
        text.replace("{application}", self.application.name.as_str())
            .replace("{purpose}", self.purpose.as_str())
            .replace("{source}", self.source.as_str())
            .replace("{target}", self.target.as_str())
    }

    /// ASCII on one line, short enough for SNS.
    fn subject(&self, given: Option<&str>) -> String {
        let text = self.fill(given.unwrap_or("{application}: {purpose} {source} -> {target}"));
        let ascii = text.replace('→', "->");
        ascii.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).take(SUBJECT_CHARS_MAX).collect()
    }
}

/// The instances that are added to `target`, by name: the cluster's own identifier makes the names of each store differ.
fn add_instance(act: &Act, store: StoreName, target: ClusterArn, db: &AuroraStore) -> Result<Action, String> {
    /// The longest identifier of an instance [bc:rds.CreateDBInstance].
    const CHARS_MAX: usize = 63;
    let Act::AuroraAddInstance { class, engine, name, count, .. } = act else {
        return Err("adds no instance".to_owned());
    };
    let declared = || match &db.capacity.as_ref()?.size {
        Size::Provisioned { class } => Some(class.clone()),
        Size::Serverless { .. } => Some(SERVERLESS.to_owned()),
    };
    let class = class.clone().or_else(declared).ok_or_else(|| {
        format!("which class of instances `{store}` gets is not said: `class: db.r6g.large`, or declare its capacity")
    })?;
    let base = name.clone().unwrap_or_else(|| format!("{}-added", target.identifier()));
    let identifiers: Vec<String> = match count {
        1 => vec![base],
        n => (1..=*n).map(|i| format!("{base}-{i}")).collect(),
    };
    if let Some(long) = identifiers.iter().find(|id| CHARS_MAX < id.len()) {
        return Err(format!(
            "an instance's identifier has {CHARS_MAX} characters at most, and `{long}` more: say `name`"
        ));
    }
    Ok(Action::AuroraAddInstance { store, target, identifiers, class, engine: engine.clone() })
}

/// The host of a URL that was checked before; IPv6 literals keep their brackets.
pub(super) fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}
