//! A runbook compiled for one application and one direction: every name resolved to the ARN, Region, record set and
//! text that will be used, nothing left to choose.
//!
//! Invariant: the steps of the plan stand in a topological order, and no step moves the traffic of an application
//! with stores unless the target is proven to be the writer of each (FAULTS.md S5).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    action::{Action, WriterProof},
    application::{Application, AuroraStore, ClusterArn, Topic},
    cloud::MetricQuery,
    drill, expression,
    hole::holes_of,
    id::{Digest, Region, StepId, StoreName, TrafficName},
    plan::{OnFailure, Plan, PlannedStep, Purpose, Towards},
    replica::ReplicatedStore,
    runbook::{Act, Runbook, Spread, Step, closure},
    sabotage::{Guard, is_off},
};

mod act;
mod api_call;
mod budget;
mod faults;
mod fence;
mod flip;
mod salvage;
mod signals;
mod weights;

pub use fence::address_of;

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
    let mut plan = Plan {
        application: application.name.clone(),
        purpose,
        source: source.clone(),
        target: target.clone(),
        runbook: runbook.name.clone(),
        runbook_digest: runbook_digest.clone(),
        config_digest: config_digest.clone(),
        accepted_loss: accepted_loss.filter(|_| purpose == Purpose::Failover),
        budget: None,
        reconciles: None,
        steps: in_order(steps),
    };
    if let Some(terms) = runbook.budget.as_ref().filter(|_| purpose == Purpose::Drill) {
        match compiler.budget(terms, &plan) {
            Ok(budget) => plan.budget = Some(budget),
            Err(why) => compiler.fault(why),
        }
    }
    compiler.check_plan(&plan);
    if compiler.faults.is_empty() { Ok(plan) } else { Err(compiler.faults) }
}

/// The directions in which a purpose can be carried out: a failback goes home only.
pub fn directions(app: &Application, purpose: Purpose) -> Vec<(&Region, &Region)> {
    let pairs = app.regions.iter().flat_map(|s| app.regions.iter().map(move |t| (s, t)));
    pairs.filter(|(s, t)| s != t && (purpose != Purpose::Failback || app.regions.first() == Some(t))).collect()
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
        if self.source == self.target && !is_off(Guard::TargetIsWriter) {
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
                Spread::Replicas => {
                    let named = |s: &StoreName| (format!("{}.{s}", step.id), Scope::Store(s.clone()));
                    // What is replicated the other way only has nothing to be looked at this way.
                    let looked_at =
                        |r: &ReplicatedStore| !self.runbook.read_only || r.is_replicated(self.source, self.target);
                    app.replicas.iter().filter(|(_, r)| looked_at(r)).map(|(s, _)| named(s)).collect()
                }
                kind @ (Spread::Tables | Spread::Buckets) => {
                    let is_of_kind = |r: &ReplicatedStore| match r {
                        ReplicatedStore::Dynamodb { .. } => kind == Spread::Tables,
                        ReplicatedStore::S3 { .. } => kind == Spread::Buckets,
                    };
                    let is_left = |r: &ReplicatedStore| is_of_kind(r) && r.is_replicated(self.source, self.target);
                    let named = |s: &StoreName| (format!("{}.{s}", step.id), Scope::Store(s.clone()));
                    app.replicas.iter().filter(|(_, r)| is_left(r)).map(|(s, _)| named(s)).collect()
                }
                Spread::Traffic => {
                    let named = |t: &TrafficName| (format!("{}.{t}", step.id), Scope::Traffic(t.clone()));
                    app.traffic.keys().map(named).collect()
                }
            };
            // What only looks has nothing to look at where there is no such thing.
            if scopes.is_empty() && step.act.spread() != Spread::No && !self.runbook.read_only {
                let what = match step.act.spread() {
                    Spread::Stores => "stores",
                    Spread::Replicas => "stores with many writers (dynamodb, s3)",
                    Spread::Tables => "dynamodb store that is replicated this way",
                    Spread::Buckets => "s3 store that is replicated this way",
                    Spread::No | Spread::Traffic => "dns",
                };
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
                match self.facing(step.towards).action(step, scope) {
                    Ok(action) => planned.push(PlannedStep {
                        id: id.clone(),
                        title: step.title.clone(),
                        needs: needs.clone(),
                        when: step.when.clone(),
                        action,
                        timeout: step.timeout,
                        retry: step.retry,
                        on_failure: step.on_failure,
                        no_return: step.no_return,
                        towards: step.towards,
                    }),
                    Err(why) => self.fault(format!("step `{id}`: {why}")),
                }
            }
        }
        planned
    }

    /// The same, as a step sees it that leads this way.
    fn facing(&self, towards: Towards) -> Compiler<'a> {
        let (source, target) = match towards {
            Towards::Target => (self.source, self.target),
            Towards::Source => (self.target, self.source),
        };
        let Self { application, runbook, purpose, .. } = *self;
        Compiler { application, runbook, purpose, source, target, faults: Vec::new() }
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

    fn check_plan(&mut self, plan: &Plan) {
        let mut faults = Vec::new();
        let needs: BTreeMap<&StepId, &BTreeSet<StepId>> = plan.steps.iter().map(|s| (&s.id, &s.needs)).collect();
        for step in &plan.steps {
            if let Some(requires_writer) = step.action.requires_writer() {
                let before = closure(&step.id, |id| needs.get(id).copied());
                for proof in requires_writer {
                    let proven = plan
                        .steps
                        .iter()
                        .any(|s| before.contains(&s.id) && proves(s, proof) && stands(plan, s, step, proof));
                    if !proven {
                        let otherwise = if plan.purpose == Purpose::Drill {
                            "; where its servers write to it from every Region, say `written_from_all_regions = true` \
                             of that store"
                        } else {
                            ""
                        };
                        faults.push(format!(
                            "step `{}`: traffic would move before the writer of `{}` is proven: it must need an \
                             aurora.verify_writer or a promotion of that store{otherwise}",
                            step.id, proof.store
                        ));
                    }
                }
            }
            for hole in holes_of(&step.action) {
                if !plan.steps.iter().any(|s| s.id == hole.step) {
                    let (id, told) = (&step.id, hole.told());
                    faults.push(format!("step `{id}`: takes the output {told}, of a step that is not in the plan"));
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
        faults.extend(drill::faults(plan));
        faults.extend(super::salvage::moves(plan));
        self.faults.extend(faults);
    }
}

fn proves(step: &PlannedStep, proof: &WriterProof) -> bool {
    let firm = step.when.is_none() && step.on_failure != OnFailure::Continue;
    firm && match &step.action {
        Action::AuroraSwitchover { store, target, .. }
        | Action::AuroraFailover { store, target, .. }
        | Action::AuroraDetach { store, target, .. }
        | Action::AuroraVerifyWriter { store, target, .. } => *store == proof.store && *target == proof.writer,
        Action::AuroraWait { .. }
        | Action::AuroraPreserveSnapshot { .. }
        | Action::AuroraAddInstance { .. }
        | Action::GateTarget { .. }
        | Action::GateRpo { .. }
        | Action::GateCapacity { .. }
        | Action::GateQuota { .. }
        | Action::GateReplication { .. }
        | Action::DnsFlip { .. }
        | Action::DnsWeights(_)
        | Action::DnsVerify { .. }
        | Action::ProbeHttp { .. }
        | Action::ProbeTcp { .. }
        | Action::ProbePostgres { .. }
        | Action::ProbeSignal(_)
        | Action::LambdaFault(_)
        | Action::Fence { .. }
        | Action::Salvage { .. }
        | Action::Notify { .. }
        | Action::Approve { .. }
        | Action::Wait { .. }
        | Action::Assert { .. }
        | Action::AwsCall { .. } => false,
    }
}

/// Whether what `proof_step` has proven is still so when `flip` begins: whatever takes the writer of the store elsewhere
/// is over before the one, or begins after the other.
fn stands(plan: &Plan, proof_step: &PlannedStep, flip: &PlannedStep, proof: &WriterProof) -> bool {
    let away = plan.steps.iter().filter(|s| match &s.action {
        Action::AuroraSwitchover { store, target, .. }
        | Action::AuroraFailover { store, target, .. }
        | Action::AuroraDetach { store, target, .. } => *store == proof.store && *target != proof.writer,
        _ => false,
    });
    let mut away = away;
    away.all(|s| plan.needs(&proof_step.id, &s.id) || plan.needs(&s.id, &flip.id))
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

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests;
