//! A runbook compiled for one application and one direction: every name resolved to the ARN, Region, record set and
//! text that will be used, nothing left to choose.
//!
//! Invariant: the steps of the plan stand in a topological order, and no step moves the traffic of an application
//! with stores unless the target is proven to be the writer of each (FAULTS.md S5).
//!
//! How records are changed (mechanism `records`): without set identifiers, one simple record is UPSERTed with the
//! target's answer. With them, each Region's record is UPSERTed as a *weighted* record, 100 for the target and 0 for
//! the others, in one batch. Such records must be weighted already: Route 53 refuses to mix routing policies under
//! one name, and roles of failover records cannot be swapped in one batch. They carry no health check, which
//! would take the target out of service by itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    action::{Action, WriterProof},
    application::{Application, AuroraStore, ClusterArn, Mechanism, Topic, Traffic},
    cloud::{MetricQuery, Mutation, RecordSet},
    expression,
    id::{Digest, Region, StepId, StoreName, TrafficName},
    plan::{OnFailure, Plan, PlannedStep, Purpose},
    runbook::{Act, MechanismKind, ProbeAt, Runbook, Spread, Step, closure},
};

/// SNS takes a subject of fewer than 100 ASCII characters [SNS Publish].
const SUBJECT_CHARS_MAX: usize = 99;
/// CloudWatch publishes Aurora's global lag every minute [AUG].
const LAG_PERIOD: Duration = Duration::from_mins(1);

/// Compiles `runbook` for `application`, from `source` to `target`. `accepted_loss` counts for a failover only.
///
/// # Errors
/// Every reason why this runbook cannot be used for this application and direction.
#[expect(clippy::too_many_arguments, reason = "each is a part of what the plan pins")]
pub fn compile(
    application: &Application,
    runbook: &Runbook,
    purpose: Purpose,
    source: &Region,
    target: &Region,
    accepted_loss: Option<Duration>,
    config_digest: &Digest,
    runbook_digest: &Digest,
) -> Result<Plan, Vec<String>> {
    let mut compiler = Compiler { application, runbook, purpose, source, target, faults: Vec::new() };
    compiler.check_direction();
    if !compiler.faults.is_empty() {
        return Err(compiler.faults);
    }
    let ids = compiler.expanded_ids();
    let steps = compiler.steps(&ids);
    let plan = Plan {
        application: application.name.clone(),
        purpose,
        source: source.clone(),
        target: target.clone(),
        runbook: runbook.name.clone(),
        runbook_digest: runbook_digest.clone(),
        config_digest: config_digest.clone(),
        accepted_loss: accepted_loss.filter(|_| purpose == Purpose::Failover),
        steps: in_order(steps),
    };
    compiler.check_plan(&plan);
    if compiler.faults.is_empty() { Ok(plan) } else { Err(compiler.faults) }
}

struct Compiler<'a> {
    application: &'a Application,
    runbook: &'a Runbook,
    purpose: Purpose,
    source: &'a Region,
    target: &'a Region,
    faults: Vec<String>,
}

/// What one step of a runbook became.
type Expanded = BTreeMap<StepId, Vec<(StepId, Scope)>>;

/// The one thing that an expanded step is about.
#[derive(Debug, Clone)]
enum Scope {
    Whole,
    Store(StoreName),
    Traffic(TrafficName),
    Topic(Topic),
}

impl<'a> Compiler<'a> {
    fn fault(&mut self, text: String) {
        self.faults.push(text);
    }

    fn check_direction(&mut self) {
        let (app, runbook, purpose) = (&self.application.name, &self.runbook.name, self.purpose);
        if !self.runbook.purposes.contains(&purpose) {
            self.fault(format!("runbook `{runbook}` is not for a {purpose}"));
        }
        if self.source == self.target {
            self.fault(format!("source and target are both {}", self.target));
        }
        for region in [self.source, self.target] {
            if !self.application.regions.contains(region) {
                self.fault(format!("{region} is not a Region of `{app}`"));
            }
        }
    }

    /// The steps that each step of the runbook becomes. Notifications are left out where there is nobody to tell.
    fn expanded_ids(&mut self) -> Expanded {
        let app = self.application;
        let mut all = Expanded::new();
        for step in &self.runbook.steps {
            let scopes: Vec<(String, Scope)> = match step.act.spread() {
                // A step for each topic: one that is lost with its Region delays and fails nobody else's.
                Spread::No if matches!(step.act, Act::Notify { .. }) => self.topic_scopes(step),
                Spread::No => vec![(step.id.to_string(), Scope::Whole)],
                Spread::Stores => {
                    let named = |s: &StoreName| (format!("{}.{s}", step.id), Scope::Store(s.clone()));
                    app.stores.keys().map(named).collect()
                }
                Spread::Traffic => {
                    let named = |t: &TrafficName| (format!("{}.{t}", step.id), Scope::Traffic(t.clone()));
                    app.traffic.keys().map(named).collect()
                }
            };
            if scopes.is_empty() && step.act.spread() != Spread::No {
                let what = if step.act.concerns_store() { "stores" } else { "dns" };
                self.fault(format!("step `{}`: `{}` has no {what}", step.id, app.name));
            }
            let mut ids = Vec::new();
            for (id, scope) in scopes {
                match id.parse() {
                    Ok(id) => ids.push((id, scope)),
                    Err(e) => self.fault(format!("step `{}`: {e}", step.id)),
                }
            }
            all.insert(step.id.clone(), ids);
        }
        all
    }

    fn steps(&mut self, ids: &Expanded) -> Vec<PlannedStep> {
        let mut planned = Vec::new();
        for step in &self.runbook.steps {
            let needs: BTreeSet<StepId> =
                step.needs.iter().filter_map(|n| ids.get(n)).flatten().map(|(id, _)| id.clone()).collect();
            for (id, scope) in &ids[&step.id] {
                match self.action(step, scope) {
                    Ok(action) => planned.push(PlannedStep {
                        id: id.clone(),
                        title: step.title.clone(),
                        needs: needs.clone(),
                        when: step.when.clone(),
                        action,
                        timeout: step.timeout,
                        retry: step.retry,
                        on_failure: step.on_failure,
                    }),
                    Err(why) => self.fault(format!("step `{id}`: {why}")),
                }
            }
        }
        planned
    }

    fn action(&self, step: &Step, scope: &Scope) -> Result<Action, String> {
        match &step.act {
            Act::AuroraSwitchover { store }
            | Act::AuroraFailover { store }
            | Act::AuroraWait { store, .. }
            | Act::AuroraVerifyWriter { store }
            | Act::GateTarget { store, .. }
            | Act::GateRpo { store, .. } => self.store_action(&step.act, store.as_ref(), scope),
            Act::DnsFlip { via, .. } | Act::DnsVerify { via } => self.traffic_action(&step.act, via.as_ref(), scope),
            Act::ProbeHttp { .. } => self.probe(&step.act),
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
            Act::AuroraWait { synchronized, .. } => {
                Ok(Action::AuroraWait { store, global_cluster, observe_in, synchronized: *synchronized })
            }
            Act::AuroraVerifyWriter { .. } => {
                Ok(Action::AuroraVerifyWriter { store, global_cluster, target, observe_in })
            }
            Act::GateTarget { lossless, .. } => {
                let lossless = lossless.unwrap_or(self.purpose != Purpose::Failover);
                Ok(Action::GateTarget { store, global_cluster, from, target, observe_in, lossless })
            }
            Act::GateRpo { limit, .. } => Ok(Action::GateRpo {
                store,
                lag: lag_query(db, &target),
                lag_region: target.region().clone(),
                limit: limit.unwrap_or(self.application.objectives.rpo),
            }),
            Act::DnsFlip { .. }
            | Act::DnsVerify { .. }
            | Act::ProbeHttp { .. }
            | Act::Notify { .. }
            | Act::Approve { .. }
            | Act::Wait { .. }
            | Act::Assert { .. } => Err("is not about a store".to_owned()),
        }
    }

    /// The target's Region first: on the worst day the source's does not answer.
    fn observe_in(&self, db: &AuroraStore) -> Vec<Region> {
        let mut regions = vec![self.target.clone()];
        let others = self.application.regions.iter().filter(|r| *r != self.target && *r != self.source);
        regions.extend(others.filter(|r| db.clusters.contains_key(r)).cloned());
        regions.push(self.source.clone());
        regions
    }

    fn traffic_action(&self, act: &Act, named: Option<&TrafficName>, scope: &Scope) -> Result<Action, String> {
        let name = match scope {
            Scope::Traffic(t) => Some(t),
            Scope::Whole | Scope::Store(_) | Scope::Topic(_) => named,
        };
        let name = name.ok_or("names no dns entry")?;
        let traffic = self.application.traffic.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.application.traffic.keys().map(TrafficName::as_str).collect();
            format!("`{}` has no dns `{name}`; dns: {}", self.application.name, listed(&known))
        })?;
        let expected = answer(traffic, name, self.target)?;
        let Act::DnsFlip { demands, .. } = act else {
            return Ok(Action::DnsVerify {
                traffic: name.clone(),
                record_name: traffic.record_name.clone(),
                record_type: traffic.record_type.clone(),
                servers: traffic.servers.clone(),
                expected,
            });
        };
        if let Some(wanted) = demands
            && *wanted != kind_of(&traffic.mechanism)
        {
            return Err(format!(
                "wants the mechanism {}, and dns `{name}` uses {}",
                kind_name(*wanted),
                kind_name(kind_of(&traffic.mechanism))
            ));
        }
        Ok(Action::DnsFlip {
            traffic: name.clone(),
            to: self.target.clone(),
            calls: self.flip_calls(traffic, name)?,
            standing: matches!(traffic.mechanism, Mechanism::HealthSignal { .. }),
            requires_writer: self.writer_proofs()?,
        })
    }

    fn flip_calls(&self, traffic: &Traffic, name: &TrafficName) -> Result<Vec<Mutation>, String> {
        let call = match &traffic.mechanism {
            Mechanism::RoutingControls { endpoints, controls } => {
                if !controls.contains_key(self.target) {
                    return Err(format!("dns `{name}` has no routing control for {}", self.target));
                }
                let state = |(region, arn): (&Region, &String)| (arn.clone(), region == self.target);
                // The endpoint in the Region that is left comes last: it may hang.
                let mut endpoints = endpoints.clone();
                endpoints.sort_by_key(|e| e.region == *self.source);
                Mutation::RoutingControls { endpoints, states: controls.iter().map(state).collect() }
            }
            Mechanism::HealthSignal { region, namespace, metric, dimensions, active_value, diverted_value } => {
                let preferred = self.application.regions.first() == Some(self.target);
                Mutation::PutMetric {
                    region: region.clone(),
                    namespace: namespace.clone(),
                    metric: metric.clone(),
                    dimensions: dimensions.clone(),
                    value: if preferred { *active_value } else { *diverted_value },
                }
            }
            Mechanism::Records { set_identifiers } => Mutation::UpsertRecords {
                hosted_zone_id: traffic.hosted_zone_id.clone(),
                records: self.records(traffic, name, set_identifiers)?,
                // No arrow: Route 53's comments are plain text that other programs read.
                comment: format!("failoverd: {} {} to {}", self.application.name, self.purpose, self.target),
            },
        };
        Ok(vec![call])
    }

    fn records(
        &self,
        traffic: &Traffic,
        name: &TrafficName,
        set_identifiers: &BTreeMap<Region, String>,
    ) -> Result<Vec<RecordSet>, String> {
        let ttl = u32::try_from(traffic.ttl.as_secs()).map_err(|_| format!("dns `{name}`: the TTL is too long"))?;
        let record = |value: String, set_identifier: Option<String>, weight: Option<u8>| RecordSet {
            name: traffic.record_name.clone(),
            record_type: traffic.record_type.clone(),
            ttl_seconds: Some(ttl),
            values: vec![value],
            set_identifier,
            failover: None,
            weight,
            health_check_id: None,
        };
        if set_identifiers.is_empty() {
            return Ok(vec![record(answer(traffic, name, self.target)?, None, None)]);
        }
        if !set_identifiers.contains_key(self.target) {
            return Err(format!("dns `{name}` has no set identifier for {}", self.target));
        }
        set_identifiers
            .iter()
            .map(|(region, id)| {
                let weight = if region == self.target { 100 } else { 0 };
                Ok(record(answer(traffic, name, region)?, Some(id.clone()), Some(weight)))
            })
            .collect()
    }

    fn writer_proofs(&self) -> Result<Vec<WriterProof>, String> {
        let stores = self.application.stores.iter();
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

    fn health_url(&self, region: &Region) -> Result<String, String> {
        let endpoint = self.application.endpoints.get(region);
        endpoint
            .map(|e| e.health_url.clone())
            .ok_or_else(|| format!("`{}` has no endpoint in {region}", self.application.name))
    }

    fn topic_scopes(&self, step: &Step) -> Vec<(String, Scope)> {
        let topics = self.topics();
        let several = 1 < topics.len();
        let named = |(i, topic): (usize, Topic)| {
            let twin = topics[..i].iter().filter(|t| t.region == topic.region).count();
            let id = match (several, twin) {
                (false, _) => step.id.to_string(),
                (true, 0) => format!("{}.{}", step.id, topic.region),
                (true, n) => format!("{}.{}-{}", step.id, topic.region, n + 1),
            };
            (id, Scope::Topic(topic))
        };
        topics.iter().cloned().enumerate().map(named).collect()
    }

    /// The target's Region first, the source's last.
    fn topics(&self) -> Vec<Topic> {
        let mut topics = self.application.topics.clone();
        topics.sort_by_key(|t| (t.region == *self.source, t.region != *self.target));
        topics
    }

    fn fill(&self, text: &str) -> String {
        text.replace("{application}", self.application.name.as_str())
            .replace("{purpose}", self.purpose.as_str())
            .replace("{source}", self.source.as_str())
            .replace("{target}", self.target.as_str())
            .trim()
            .to_owned()
    }

    /// ASCII on one line, short enough for SNS.
    fn subject(&self, given: Option<&str>) -> String {
        let text = self.fill(given.unwrap_or("{application}: {purpose} {source} -> {target}"));
        let ascii = text.replace('→', "->");
        ascii.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).take(SUBJECT_CHARS_MAX).collect()
    }

    fn check_plan(&mut self, plan: &Plan) {
        let mut faults = Vec::new();
        let needs: BTreeMap<&StepId, &BTreeSet<StepId>> = plan.steps.iter().map(|s| (&s.id, &s.needs)).collect();
        for step in &plan.steps {
            if let Action::DnsFlip { requires_writer, .. } = &step.action {
                let before = closure(&step.id, |id| needs.get(id).copied());
                for proof in requires_writer {
                    let proven = plan.steps.iter().any(|s| before.contains(&s.id) && proves(s, proof));
                    if !proven {
                        faults.push(format!(
                            "step `{}`: traffic would move before the writer of `{}` is proven: it must need an \
                             aurora.verify_writer or a promotion of that store",
                            step.id, proof.store
                        ));
                    }
                }
            }
            let expressions = step.when.iter().chain(match &step.action {
                Action::Assert { that, .. } => Some(that),
                _ => None,
            });
            for text in expressions {
                let refs = expression::check(text).unwrap_or_default();
                for id in refs.steps.iter().filter(|id| !plan.steps.iter().any(|s| s.id.as_str() == **id)) {
                    faults.push(format!(
                        "step `{}`: its expression names the step `{id}`, which is not in the plan",
                        step.id
                    ));
                }
            }
        }
        self.faults.extend(faults);
    }
}

fn proves(step: &PlannedStep, proof: &WriterProof) -> bool {
    let firm = step.when.is_none() && step.on_failure == OnFailure::Hold;
    firm && match &step.action {
        Action::AuroraSwitchover { store, target, .. }
        | Action::AuroraFailover { store, target, .. }
        | Action::AuroraVerifyWriter { store, target, .. } => *store == proof.store && *target == proof.writer,
        Action::AuroraWait { .. }
        | Action::GateTarget { .. }
        | Action::GateRpo { .. }
        | Action::DnsFlip { .. }
        | Action::DnsVerify { .. }
        | Action::ProbeHttp { .. }
        | Action::Notify { .. }
        | Action::Approve { .. }
        | Action::Wait { .. }
        | Action::Assert { .. } => false,
    }
}

/// The order of the file where it is a topological order; else the nearest one: each step as soon as its needs stand.
fn in_order(steps: Vec<PlannedStep>) -> Vec<PlannedStep> {
    let (mut waiting, mut done, mut ordered) = (steps, BTreeSet::new(), Vec::new());
    while let Some(i) = waiting.iter().position(|s| s.needs.iter().all(|n| done.contains(n))) {
        let step = waiting.remove(i);
        done.insert(step.id.clone());
        ordered.push(step);
    }
    // A cycle cannot be: the runbook has none. A step whose need could not be compiled is kept; that is a fault.
    ordered.extend(waiting);
    ordered
}

fn cluster(db: &AuroraStore, store: &StoreName, region: &Region) -> Result<ClusterArn, String> {
    let arn = db.clusters.get(region).cloned();
    arn.ok_or_else(|| format!("store `{store}` has no cluster in {region}"))
}

fn answer(traffic: &Traffic, name: &TrafficName, region: &Region) -> Result<String, String> {
    let answer = traffic.answers.get(region).cloned();
    answer.ok_or_else(|| format!("dns `{name}` has no answer for {region}"))
}

/// The lag as the secondary's Region publishes it, under the secondary's identifier [AUG].
pub fn lag_query(db: &AuroraStore, secondary: &ClusterArn) -> MetricQuery {
    MetricQuery {
        namespace: "AWS/RDS".to_owned(),
        metric: db.lag_metric.clone(),
        dimensions: BTreeMap::from([("DBClusterIdentifier".to_owned(), secondary.identifier().to_owned())]),
        statistic: "Maximum".to_owned(),
        period: LAG_PERIOD,
    }
}

/// The host of a URL that was checked before; IPv6 literals keep their brackets.
fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

fn kind_of(mechanism: &Mechanism) -> MechanismKind {
    match mechanism {
        Mechanism::RoutingControls { .. } => MechanismKind::RoutingControls,
        Mechanism::HealthSignal { .. } => MechanismKind::HealthSignal,
        Mechanism::Records { .. } => MechanismKind::Records,
    }
}

fn kind_name(kind: MechanismKind) -> &'static str {
    match kind {
        MechanismKind::RoutingControls => "routing_controls",
        MechanismKind::HealthSignal => "health_signal",
        MechanismKind::Records => "records",
    }
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests;
