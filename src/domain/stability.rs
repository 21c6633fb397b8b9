//! Static stability (DESIGN.md 1): what each step of a plan cannot do without, resolved to Regions, and what is to be
//! said about it before the worst day.
//!
//! Invariant: made from what the catalogue declares and from the plan's own arguments; nothing here asks AWS. A step
//! that it calls safe passes with the Region gone (tests/it/static_stability.rs runs it against the black hole).
//! It deliberately refuses nothing: a runbook may be meant so, and `check` shows it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    action::{Action, EffectClass, OnUnknown},
    application::Application,
    catalogue::{self, Entry, Place, Plane},
    cloud::Mutation,
    compile::address_of,
    fence::Rung,
    id::{Region, StepId, Subject, TrafficName},
    plan::{Plan, PlannedStep, Purpose},
    ramp::RampCall,
    runbook::closure,
    seconds::to_seconds,
};

/// Where the control planes of global services live [WP].
pub const GLOBAL_REGION: &str = "us-east-1";

/// A plane of a service that a step cannot do without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirement {
    /// As in IAM's actions: `rds`, `cloudwatch`; `application` for the application's own servers.
    pub service: String,
    pub plane: Plane,
    /// Any one of them is enough; empty: it lives in no one Region.
    pub any_of: Vec<Region>,
}

impl Requirement {
    fn new(service: &str, plane: Plane, any_of: Vec<Region>) -> Self {
        Self { service: service.to_owned(), plane, any_of }
    }

    /// Whether it cannot be had while `region` is gone.
    pub fn falls_with(&self, region: &Region) -> bool {
        !self.any_of.is_empty() && self.any_of.iter().all(|r| r == region)
    }
}

/// Something to be known about a step before the worst day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Has a page in docs/errors.
    pub code: String,
    pub step: StepId,
    pub problem: String,
    /// What to use in its place.
    pub instead: String,
}

/// How many of `approvers` are left besides whoever asks, where the one among `askers` asks who leaves the most.
pub fn people_besides(approvers: &BTreeSet<Subject>, askers: &BTreeSet<Subject>) -> usize {
    let left = |asker: &Subject| approvers.iter().filter(|p| *p != asker).count();
    askers.iter().map(left).max().unwrap_or(approvers.len())
}

/// The catalogue's entry of a resolved action; a flip's is that of its mechanism.
pub fn entry_of(action: &Action) -> Option<&'static Entry> {
    let name = match action {
        Action::DnsFlip { calls, .. } => match calls.first() {
            Some(Mutation::RoutingControls { .. }) => "dns.routing_controls",
            Some(Mutation::PutMetric { .. }) => "dns.health_signal",
            Some(Mutation::PutObject { .. } | Mutation::DeleteObject { .. }) => "dns.standby_object",
            Some(Mutation::UpsertRecords { .. }) => "dns.records",
            _ => "dns.flip",
        },
        other => other.kind(),
    };
    catalogue::entry(name)
}

/// What `step` cannot do without. On the way back of a drill its source is the plan's target.
pub fn requirements(step: &PlannedStep, plan: &Plan, app: &Application) -> Vec<Requirement> {
    let action = &step.action;
    let (from, to) = plan.ends_towards(step.towards);
    // What passes where it cannot be told needs nobody.
    if let Action::GateCapacity { unknown: OnUnknown::Pass, .. }
    | Action::GateQuota { unknown: OnUnknown::Pass, .. }
    | Action::GateReplication { unknown: OnUnknown::Pass, .. } = action
    {
        return Vec::new();
    }
    if matches!(action, Action::Fence { fence } if fence.on_unknown == OnUnknown::Pass) {
        return Vec::new();
    }
    let mut all: Vec<Requirement> = Vec::new();
    for need in entry_of(action).map_or(&[][..], |e| e.needs) {
        let any_of = match need.place {
            Place::Source => vec![from.clone()],
            Place::Target => vec![to.clone()],
            Place::UsEast1 => global_region().into_iter().collect(),
            Place::AnyOfSeveral | Place::Named => named(action),
        };
        let service = if let Action::AwsCall { call } = action { call.request.service() } else { need.service };
        all.push(Requirement::new(service, need.plane, any_of));
    }
    all.extend(by_argument(action, plan, app));
    all
}

fn global_region() -> Option<Region> {
    GLOBAL_REGION.parse().ok()
}

/// The Regions that the action's own arguments name.
fn named(action: &Action) -> Vec<Region> {
    match action {
        Action::AuroraSwitchover { observe_in, .. }
        | Action::AuroraFailover { observe_in, .. }
        | Action::AuroraDetach { observe_in, .. }
        | Action::AuroraWait { observe_in, .. }
        | Action::AuroraVerifyWriter { observe_in, .. }
        | Action::GateTarget { observe_in, .. } => observe_in.clone(),
        Action::DnsFlip { calls, .. } => calls.iter().flat_map(call_regions).collect(),
        // Its probe is asked there too.
        Action::AwsCall { call } => vec![call.request.region.clone()],
        Action::GateReplication { measures, .. } => measures.iter().map(|m| m.region.clone()).collect(),
        Action::Fence { fence } => fence.writer().map(|old| old.observe_in.clone()).unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// Where a call can be sent: any one is enough.
pub fn call_regions(call: &Mutation) -> Vec<Region> {
    match call {
        Mutation::RoutingControls { endpoints, .. } => endpoints.iter().map(|e| e.region.clone()).collect(),
        // Route 53's control plane [WP].
        Mutation::UpsertRecords { .. } => global_region().into_iter().collect(),
        Mutation::AuroraSwitchover { region, .. }
        | Mutation::CreateInstance { region, .. }
        | Mutation::CopySnapshot { region, .. }
        | Mutation::AuroraFailover { region, .. }
        | Mutation::AuroraDetach { region, .. }
        | Mutation::PutMetric { region, .. }
        | Mutation::Publish { region, .. } => vec![region.clone()],
        Mutation::EndSessions { region, .. } => vec![region.clone()],
        Mutation::PutObject { object, .. } | Mutation::DeleteObject { object } => vec![object.region.clone()],
        Mutation::LambdaVariable { at, .. } => vec![at.region.clone()],
        Mutation::AwsCall { request, .. } => vec![request.region.clone()],
    }
}

/// What only this step's arguments make necessary.
fn by_argument(action: &Action, plan: &Plan, app: &Application) -> Vec<Requirement> {
    match action {
        // Every member must be available and connected, the source's too.
        Action::GateTarget { lossless: true, from, .. } => {
            vec![Requirement::new("rds", Plane::Control, vec![from.region().clone()])]
        }
        Action::AuroraWait { synchronized: true, store, .. } => {
            let clusters = app.stores.get(store).map(|s| s.clusters.keys()).into_iter().flatten();
            let ends = clusters.filter(|r| **r == plan.source || **r == plan.target);
            ends.map(|r| Requirement::new("rds", Plane::Data, vec![r.clone()])).collect()
        }
        Action::DnsFlip { requires_writer, .. } => {
            let proofs = requires_writer.iter();
            proofs.map(|p| Requirement::new("rds", Plane::Control, p.observe_in.clone())).collect()
        }
        // Each of them, not any.
        Action::GateReplication { measures, .. } => {
            let each = measures.iter();
            each.map(|m| Requirement::new("cloudwatch", Plane::Data, vec![m.region.clone()])).collect()
        }
        Action::DnsWeights(ramp) => {
            let proofs = ramp.requires_writer.iter();
            let proofs = proofs.map(|p| Requirement::new("rds", Plane::Control, p.observe_in.clone()));
            let is_cluster = |call: &&RampCall| matches!(call.mutation, Mutation::RoutingControls { .. });
            let cluster =
                ramp.calls.iter().find(is_cluster).map(|call| {
                    Requirement::new("route53-recovery-cluster", Plane::Data, call_regions(&call.mutation))
                });
            proofs.chain(cluster).collect()
        }
        Action::ProbeHttp { url, .. } => {
            let at = app.endpoints.iter().filter(|(_, e)| e.health_url == *url);
            at.map(|(region, _)| Requirement::new("application", Plane::Data, vec![region.clone()])).collect()
        }
        Action::ProbeTcp { address, .. } => {
            let at = app.endpoints.iter().filter(|(_, e)| address_of(&e.health_url) == *address);
            at.map(|(region, _)| Requirement::new("application", Plane::Data, vec![region.clone()])).collect()
        }
        Action::ProbePostgres { region, .. } => vec![Requirement::new("rds", Plane::Data, vec![region.clone()])],
        _ => Vec::new(),
    }
}

/// The steps of `plan` that cannot be carried out while `region` is gone. Notifications never stop a run.
pub fn fall_with<'a>(plan: &'a Plan, app: &Application, region: &Region) -> Vec<&'a PlannedStep> {
    let stops = plan.steps.iter().filter(|s| !matches!(s.action, Action::Notify { .. }));
    stops.filter(|s| requirements(s, plan, app).iter().any(|r| r.falls_with(region))).collect()
}

/// What is to be said about `plan`. `people` is how many may approve besides whoever asks; `None`: not known here.
pub fn lint(plan: &Plan, app: &Application, people: Option<usize>) -> Vec<Finding> {
    let needs: BTreeMap<&StepId, &BTreeSet<StepId>> = plan.steps.iter().map(|s| (&s.id, &s.needs)).collect();
    let before: BTreeMap<&StepId, BTreeSet<StepId>> =
        plan.steps.iter().map(|s| (&s.id, closure(&s.id, |id| needs.get(id).copied()))).collect();
    let mut found = Vec::new();
    for step in &plan.steps {
        // Whether a step that does `wanted` waits for this one.
        let leads_to = |wanted: fn(&Action) -> bool| {
            plan.steps.iter().any(|s| wanted(&s.action) && before[&s.id].contains(&step.id))
        };
        found.extend(endless(step, plan, people));
        found.extend(gone(step, plan, app));
        found.extend(needless(step, plan, app, &leads_to));
    }
    found.extend(traffic_left(plan, app));
    found
}

/// A move of a database after which clients are still led to the Region that it has left.
fn traffic_left(plan: &Plan, app: &Application) -> Option<Finding> {
    let is_move = matches!(plan.purpose, Purpose::Failover | Purpose::Switchover | Purpose::Failback);
    let promotes = |s: &&PlannedStep| {
        use Action::{AuroraDetach, AuroraFailover, AuroraSwitchover};
        matches!(s.action, AuroraSwitchover { .. } | AuroraFailover { .. } | AuroraDetach { .. })
    };
    let last = plan.steps.iter().rfind(promotes).filter(|_| is_move)?;
    let led: BTreeSet<&TrafficName> = plan
        .steps
        .iter()
        .filter_map(|s| match &s.action {
            Action::DnsFlip { traffic, .. } => Some(traffic),
            Action::DnsWeights(ramp) => Some(&ramp.traffic),
            _ => None,
        })
        .collect();
    let left: Vec<&str> = app.traffic.keys().filter(|name| !led.contains(name)).map(TrafficName::as_str).collect();
    (!left.is_empty()).then(|| {
        let problem = format!(
            "moves the writer to {}, and no step moves the traffic of {}: its clients are led to {} as before",
            plan.target,
            left.join(", "),
            plan.source
        );
        finding(last, "runbook-leaves-traffic", problem, "dns.flip, after aurora.verify_writer")
    })
}

fn finding(step: &PlannedStep, code: &str, problem: String, instead: &str) -> Finding {
    Finding { code: code.to_owned(), step: step.id.clone(), problem, instead: instead.to_owned() }
}

/// What could wait for ever: for people who do not exist, for a Region that is lost.
fn endless(step: &PlannedStep, plan: &Plan, people: Option<usize>) -> Option<Finding> {
    match &step.action {
        Action::Approve { count, .. } => {
            let (asked, people) = (usize::try_from(*count).unwrap_or(usize::MAX), people?);
            (people < asked).then(|| {
                finding(
                    step,
                    "runbook-endless-wait",
                    format!("asks for {asked}, and {people} may approve besides whoever asks for the run"),
                    "a token with the role approver for each of them, under auth.tokens",
                )
            })
        }
        Action::AuroraWait { synchronized: true, .. } if plan.purpose == Purpose::Failover => Some(finding(
            step,
            "runbook-endless-wait",
            format!("waits until {} is connected again, which a lost Region never is", plan.source),
            "with: { synchronized: false }, or aurora.verify_writer; the failback waits for the rest",
        )),
        _ => None,
    }
}

/// In a failover: what falls with the Region that is left, or with the home of the control planes.
fn gone(step: &PlannedStep, plan: &Plan, app: &Application) -> Option<Finding> {
    let waits_for_it = matches!(step.action, Action::AuroraWait { .. } | Action::Notify { .. });
    if plan.purpose != Purpose::Failover || waits_for_it {
        return None;
    }
    let all = requirements(step, plan, app);
    let what = |r: &Requirement| format!("the {} plane of {}", r.plane.as_str(), r.service);
    let global = global_region().filter(|global| *global != plan.target);
    // Which of the two is the cause is told by the catalogue: a control plane that lives there whatever the source is.
    let is_global = entry_of(&step.action).is_some_and(|e| e.needs.iter().any(|n| n.place == Place::UsEast1));
    if let Some(global) = global.filter(|_| is_global)
        && let Some(lost) = all.iter().find(|r| r.falls_with(&global))
    {
        let problem = format!("fails while us-east-1 is gone: {} lives there", what(lost));
        let instead =
            "dns.routing_controls, or dns.standby_object or dns.health_signal in the standby: data planes only";
        return Some(finding(step, "runbook-needs-us-east-1", problem, instead));
    }
    let lost = all.iter().find(|r| r.falls_with(&plan.source))?;
    let problem = format!("fails while {} is gone: it needs {} there", plan.source, what(lost));
    let instead = match &step.action {
        Action::AuroraSwitchover { .. } => "aurora.failover, which is called in the target's Region",
        Action::GateTarget { .. } => "leave `lossless` out: a failover asks the target only",
        Action::ProbeHttp { .. } | Action::ProbeTcp { .. } | Action::ProbePostgres { .. } => {
            "with: { endpoint: target }"
        }
        Action::Fence { .. } => {
            "with: { on_unknown: pass }: the step then ends as unknown, within its timeout, and says so in its output"
        }
        Action::DnsFlip { .. } => "a health signal or an object whose `region` is the standby, or routing controls",
        _ => "the same in the target's Region",
    };
    Some(finding(step, "runbook-needs-source", problem, instead))
}

fn is_after_promotion(step: &PlannedStep, plan: &Plan) -> bool {
    let before = closure(&step.id, |id| plan.step(id).map(|s| &s.needs));
    plan.steps.iter().any(|s| matches!(s.action, Action::AuroraFailover { .. }) && before.contains(&s.id))
}

/// What waits for something that is not needed.
fn needless(
    step: &PlannedStep,
    plan: &Plan,
    app: &Application,
    leads_to: &dyn Fn(fn(&Action) -> bool) -> bool,
) -> Option<Finding> {
    let is_flip: fn(&Action) -> bool = |a| a.requires_writer().is_some();
    match &step.action {
        // What is planned needs nobody's hurry, and perhaps somebody's leave; of a salvage the approval is the signature.
        Action::Approve { .. }
            if plan.purpose == Purpose::Failover && !leads_to(|a| a.effect() == EffectClass::Irreversible) =>
        {
            Some(finding(
                step,
                "runbook-needless-wait",
                "waits for people, and nothing that needs it is irreversible".to_owned(),
                "leave it out, or put it before the promotion",
            ))
        }
        Action::Fence { fence } if matches!(fence.rung, Rung::Event { .. }) && !is_after_promotion(step, plan) => {
            Some(finding(
                step,
                "runbook-needless-wait",
                "waits for an event that only a promotion brings about, and needs none".to_owned(),
                "needs: the step that promotes with aurora.failover",
            ))
        }
        Action::Wait { duration } if plan.purpose == Purpose::Failover && leads_to(is_flip) => Some(finding(
            step,
            "runbook-needless-wait",
            format!(
                "spends {} s of an RTO of {} s on the clock before traffic moves",
                to_seconds(*duration),
                to_seconds(app.objectives.rto)
            ),
            "a step that looks for what is waited for: probe.http, aurora.verify_writer, gate.rpo",
        )),
        _ => None,
    }
}
