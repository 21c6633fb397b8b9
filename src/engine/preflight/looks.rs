//! What preflight looks at in one direction: the plan, the runbook, and the plan's own gates.
//!
//! Invariant: the looks are those that a run would take (the gates' functions), never second ones beside them; it only
//! reads. What a run looks at in the moment alone (the loss, the lag, whether people approve) is not looked at here.

use std::collections::BTreeSet;

use futures_util::FutureExt as _;

use crate::{
    domain::{
        action::{Action, OnUnknown},
        history::History,
        id::Region,
        plan::{OnFailure, Plan, PlannedStep, Purpose},
        preflight::{Check, Class, Direction, Kind},
        recovery,
        run::Phase,
        stability,
    },
    engine::{
        context::Context,
        desk::Parts,
        gates,
        guards::{self, Answer, Wanted},
        requests, standby_object,
    },
};

use super::{
    clusters, permitted,
    question::{Question, answered, open, settle},
    traffic,
};

/// What is found of the way from `source` to `target`, beside what is `shared` by all ways.
pub(super) async fn direction(
    context: &Context,
    parts: &Parts,
    (source, target): (&Region, &Region),
    shared: &[Check],
) -> Direction {
    let app = &context.application;
    let planned = |purpose| requests::plan(app, parts, purpose, source, target, None);
    let failover = planned(Purpose::Failover).map_err(|refusal| refusal.to_string());
    let (mut checks, mut questions) = (Vec::new(), Vec::new());
    match &failover {
        Ok(plan) => {
            checks.push(compiles(target, Answer::Holds { evidence: vec![format!("{} compiles", plan.runbook)] }));
            checks.extend(findings(context, plan));
            checks.push(proven(&context.scribe.history(), plan));
            questions.extend(gated(context, plan));
        }
        Err(why) => checks.push(compiles(target, Answer::Fails { why: why.clone() })),
    }
    if app.runbooks.contains_key(&Purpose::Switchover) {
        let check = open(
            Class::Degrading,
            Kind::Plan,
            format!("switchover to {target}"),
            "the runbook compiles",
            "mend what is named, and look with `failoverd plan`",
        );
        checks.push(match planned(Purpose::Switchover) {
            Ok(plan) => settle(check, Answer::Holds { evidence: vec![format!("{} compiles", plan.runbook)] }),
            Err(refusal) => settle(check, Answer::Fails { why: refusal.to_string() }),
        });
    }
    questions.extend(clusters::questions(context, source, target));
    questions.extend(traffic::questions(context, source));
    checks.extend(answered(&*context.clock, questions).await);
    checks.extend(permitted::checks(context, failover.as_ref().ok(), target).await);
    checks.extend_from_slice(shared);
    Direction { source: source.clone(), target: target.clone(), checks }
}

fn compiles(target: &Region, answer: Answer) -> Check {
    let check = open(
        Class::Blocking,
        Kind::Plan,
        format!("failover to {target}"),
        "the runbook compiles",
        "mend what is named, and look with `failoverd plan`",
    );
    settle(check, answer)
}

/// What the static-stability lint says of the plan: what falls with the Region that is left stops it on the worst day.
fn findings(context: &Context, plan: &Plan) -> Vec<Check> {
    let found = stability::lint(plan, &context.application, None);
    let check = |finding: stability::Finding| {
        let holds = plan.step(&finding.step).is_some_and(|step| step.on_failure == OnFailure::Hold);
        let falls = match finding.code.as_str() {
            "runbook-needs-source" => true,
            "runbook-needs-us-east-1" => plan.source.as_str() == stability::GLOBAL_REGION,
            _ => false,
        };
        let class = if falls && holds { Class::Blocking } else { Class::Degrading };
        let check = open(
            class,
            Kind::Plan,
            format!("step {}", finding.step),
            "it needs nothing that may be gone",
            &finding.instead,
        );
        settle(check, Answer::fails(format!("{} ({})", finding.problem, finding.code)))
    };
    found.into_iter().map(check).collect()
}

/// Whether the runbook is the one that a run has last succeeded by.
fn proven(history: &History, plan: &Plan) -> Check {
    let of_it = |run: &&std::sync::Arc<crate::domain::run::RunState>| {
        run.plan.runbook == plan.runbook && recovery::succeeded(run)
    };
    let last = history.runs.values().filter(of_it).max_by_key(|run| run.started_at);
    let check = |class| {
        open(
            class,
            Kind::Runbook,
            plan.runbook.to_string(),
            "it is what a run has last succeeded by",
            "drill it, or put the proven one back",
        )
    };
    let Some(run) = last else {
        let seen = "no run that is kept has succeeded by it".to_owned();
        return Check { seen, ..check(Class::Advisory) };
    };
    let at = if let Phase::Finished { at, .. } = run.phase { at } else { run.started_at };
    let answer = if run.plan.runbook_digest == plan.runbook_digest {
        Answer::Holds { evidence: vec![format!("proven by {} on {at:.0}", run.id)] }
    } else {
        Answer::fails(format!("changed since it was proven on {at:.0} by {}", run.id))
    };
    settle(check(Class::Degrading), answer)
}

/// The plan's own gates of target, capacity and quota, and the objects that its flips put.
fn gated<'a>(context: &'a Context, plan: &'a Plan) -> Vec<Question<'a>> {
    let mut questions = Vec::new();
    let (mut targets, mut capacities, mut quotas) = (BTreeSet::new(), BTreeSet::new(), false);
    for step in &plan.steps {
        match &step.action {
            Action::GateTarget { store, .. } => {
                targets.insert(store);
            }
            Action::GateCapacity { store, .. } => {
                capacities.insert(store);
            }
            Action::GateQuota { .. } => quotas = true,
            _ => {}
        }
        questions.extend(of_step(context, plan, step));
    }
    for step in &plan.steps {
        if let Action::AuroraFailover { store, global_cluster, from, target, observe_in } = &step.action
            && !targets.contains(store)
        {
            let look = guards::target(context, global_cluster, from, target, observe_in, Wanted::default());
            questions.push(one(target_check(store.as_str(), target.region()), look));
        }
    }
    questions.extend(ungated(context, plan, &capacities, quotas));
    questions
}

fn one<'a>(check: Check, look: impl Future<Output = Answer> + Send + 'a) -> Question<'a> {
    Question { checks: vec![check], look: look.map(|answer| vec![answer]).boxed() }
}

fn target_check(store: &str, region: &Region) -> Check {
    let check = open(
        Class::Blocking,
        Kind::Target,
        store,
        "its cluster can be promoted",
        "mend the cluster as it is said (docs/errors/gate-target.md)",
    );
    Check { region: Some(region.clone()), ..check }
}

/// What a gate that fails does to the run.
fn class_of(step: &PlannedStep, unknown: OnUnknown) -> Class {
    let holds = step.on_failure == OnFailure::Hold && step.when.is_none() && unknown == OnUnknown::Hold;
    if holds { Class::Blocking } else { Class::Degrading }
}

fn of_step<'a>(context: &'a Context, plan: &'a Plan, step: &'a PlannedStep) -> Option<Question<'a>> {
    Some(match &step.action {
        Action::GateTarget { store, global_cluster, from, target, observe_in, lossless, any_engine } => {
            let wanted = Wanted { lossless: *lossless, any_engine: *any_engine };
            let look = guards::target(context, global_cluster, from, target, observe_in, wanted);
            one(target_check(store.as_str(), target.region()), look)
        }
        Action::GateCapacity { store, source, target, declared, at_least_percent, unknown } => {
            let check = open(
                class_of(step, *unknown),
                Kind::Capacity,
                store.as_str(),
                "it carries what the application needs",
                "add instances or change their class (docs/errors/gate-capacity.md)",
            );
            // A planned look: the source answers, or what it had is remembered.
            let look = gates::capacity(
                context,
                Purpose::Switchover,
                (store, source, target),
                declared.as_ref(),
                *at_least_percent,
            );
            one(Check { region: Some(target.region().clone()), ..check }, look)
        }
        Action::GateQuota { region, headroom, unknown } => {
            let names: Vec<&str> = headroom.keys().map(String::as_str).collect();
            let check = open(
                class_of(step, *unknown),
                Kind::Quota,
                names.join(", "),
                "so much is left as the runbook asks for",
                "ask AWS for a higher quota (docs/errors/gate-quota.md)",
            );
            one(Check { region: Some(region.clone()), ..check }, gates::quota(context, region, headroom))
        }
        action @ Action::DnsFlip { traffic, to, .. } => {
            let check = open(
                Class::Blocking,
                Kind::Traffic,
                traffic.as_str(),
                "what turns it can be seen, and stands as it should",
                "mend it as it is said (docs/standby-object.md)",
            );
            let look = async move { stands(standby_object::ahead(context, plan, action).await) };
            let is_object = standby_object::has_object(action);
            return is_object.then(|| one(Check { region: Some(to.clone()), ..check }, look));
        }
        _ => return None,
    })
}

/// An object that stands for another Region than the active one is told as a warning, since a run goes on all the same.
fn stands(answer: Answer) -> Answer {
    match answer {
        Answer::Holds { evidence } if evidence.iter().any(|e| e.starts_with(standby_object::WARNING)) => {
            Answer::fails(evidence.join("; "))
        }
        other => other,
    }
}

/// What the runbook itself does not look at.
fn ungated<'a>(
    context: &'a Context,
    plan: &'a Plan,
    capacities: &BTreeSet<&crate::domain::id::StoreName>,
    quotas: bool,
) -> Vec<Question<'a>> {
    let mut questions = Vec::new();
    let stores = &context.application.stores;
    for (store, db) in stores.iter().filter(|(store, _)| !capacities.contains(store)) {
        let (Some(source), Some(target)) = (db.clusters.get(&plan.source), db.clusters.get(&plan.target)) else {
            continue;
        };
        let check = open(
            if db.capacity.is_some() { Class::Degrading } else { Class::Advisory },
            Kind::Capacity,
            store.as_str(),
            "it carries what the application needs",
            "declare the store's `capacity`, or give the runbook a gate.capacity",
        );
        let check = Check { region: Some(target.region().clone()), ..check };
        questions.push(match &db.capacity {
            Some(declared) => {
                let of = (store, source, target);
                one(check, gates::capacity(context, Purpose::Switchover, of, Some(declared), 100))
            }
            None => one(check, async { unasked(plan, "gate.capacity") }),
        });
    }
    if !quotas && !stores.is_empty() {
        let check = open(
            Class::Advisory,
            Kind::Quota,
            "quotas",
            "so much is left as a failover may add",
            "give the runbook a gate.quota (docs/gates.md)",
        );
        let check = Check { region: Some(plan.target.clone()), ..check };
        questions.push(one(check, async { unasked(plan, "gate.quota") }));
    }
    questions
}

fn unasked(plan: &Plan, gate: &str) -> Answer {
    Answer::Unknown { why: format!("nobody asks for it: {} has no {gate}", plan.runbook) }
}
