//! A plan as callers get it before anything is started: the exact calls, what they would meet now, how long they would
//! take, who must approve, and from where there is no way back.
//!
//! Invariant: what was not looked at, or did not answer, is `unknown`; nothing here is journalled.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{Api, auth::Permission};
use crate::{
    domain::{
        action::{Action, EffectClass},
        application::Application,
        catalogue::{Plane, Undo},
        cloud::Mutation,
        forecast::{Estimate, StepForecast},
        id::{Digest, StepId, Subject},
        plan::{Plan, PlannedStep, Purpose},
        seconds::to_seconds,
        stability::{self, Finding, Requirement},
    },
    engine::outlook::{Condition, Outlook, StepOutlook},
};

/// What a dry run shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanView {
    /// The SHA-256 of `plan` as compact JSON in this field order: what an approver approves.
    pub digest: String,
    /// The plan to the last argument.
    #[schema(value_type = Object)]
    pub plan: Value,
    /// Where the mode `auto` was asked for: what it came to, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<ChosenView>,
    /// When it was looked at; `null`: it was not.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<Timestamp>,
    /// In the order of the plan.
    pub steps: Vec<PlanStepView>,
    /// How long all of it would take until the application is served, people's time not counted; of a drill, the way
    /// there.
    pub forecast: Option<PlanForecastView>,
    /// Of a drill, how long the way back alone would take; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub way_back: Option<PlanForecastView>,
    pub rto_objective_seconds: Option<f64>,
    /// What is left of the RTO; `null`: nothing, or not known.
    pub rto_left_seconds: Option<f64>,
    /// The first step from which no step leads back, by its action or because the runbook declares it; `null`: an abort
    /// takes back whatever was done.
    pub point_of_no_return: Option<String>,
    /// What is so from there on: what alone leads back, or that nothing is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_no_return: Option<String>,
    pub approvals: Vec<NeededApprovalView>,
    /// What would fail, or wait for nothing, on the worst day.
    pub findings: Vec<FindingView>,
    /// Of a drill that changes nothing: what a real failover would do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(no_recursion)]
    pub rehearses: Option<Box<PlanView>>,
}

/// What the mode `auto` came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChosenView {
    /// `switchover` or `failover`: name it as `mode` to be asked for no other.
    #[schema(value_type = String, example = "switchover")]
    pub mode: Purpose,
    pub why: String,
}

/// One step of a plan, before it is begun.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanStepView {
    pub id: String,
    pub title: String,
    /// The action's name in runbooks.
    pub action: String,
    /// The Region that it leads back to, where it stands on a drill's way back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_to: Option<String>,
    #[schema(value_type = String, example = "irreversible")]
    pub effect: EffectClass,
    /// The steps that must be resolved before.
    pub needs: Vec<String>,
    /// The exact calls, in order; empty: it only looks or waits.
    pub calls: Vec<CallView>,
    /// What it cannot do without.
    pub requires: Vec<RequirementView>,
    pub precondition: PreconditionView,
    /// A CEL expression; where it is false the step is passed over.
    pub when: Option<String>,
    /// Whether `when` holds now; `null`: there is none, or only the run can tell.
    pub when_holds: Option<bool>,
    /// How it is taken back.
    pub undo: String,
    /// Whether it is taken back at all, and by what.
    #[schema(value_type = String, example = "another_run")]
    pub leads_back: LeadsBack,
    pub timeout_seconds: f64,
    pub forecast: Option<PlanForecastView>,
}

/// What leads back from a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeadsBack {
    /// It changes nothing.
    Nothing,
    /// A call that is known beforehand.
    Undo,
    /// Nothing, and nothing needs to: what it has made stays, in nobody's way.
    Stays,
    /// No step, only another run or a person.
    AnotherRun,
    /// The runbook declares no `undo`: the way back is held there for a person.
    Undeclared,
}

impl LeadsBack {
    fn of(step: &PlannedStep) -> Self {
        match step.undo() {
            Undo::Nothing => Self::Nothing,
            Undo::Stays(_) => Self::Stays,
            Undo::AnotherRun(_) => Self::AnotherRun,
            Undo::Inverse(_) if step.lacks_undo() => Self::Undeclared,
            Undo::Inverse(_) => Self::Undo,
        }
    }
}

/// One call to the last argument.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CallView {
    /// `rds:FailoverGlobalCluster`.
    pub operation: String,
    /// Where it is sent; of several, the first that takes it.
    pub regions: Vec<String>,
    #[schema(value_type = String, example = "control")]
    pub plane: Plane,
    #[schema(value_type = Object)]
    pub arguments: Value,
}

/// A plane of a service that a step cannot do without.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RequirementView {
    pub service: String,
    #[schema(value_type = String, example = "control")]
    pub plane: Plane,
    /// Any one is enough; empty: it lives in no one Region.
    pub any_of: Vec<String>,
}

/// Whether what a step needs to see is so now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PreconditionState {
    Met,
    NotMet,
    /// What the step is to bring about is not so yet: it would be sent.
    Open,
    Unknown,
    /// The step asks for nothing.
    Free,
}

/// What a step needs to see, as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PreconditionView {
    pub state: PreconditionState,
    /// What was seen, or why not.
    pub detail: Vec<String>,
    /// Steps before it that change the world: what is not met now may be met by them.
    pub after: Vec<String>,
    /// That one of them which is to bring it about; absent: none of them does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaited: Option<String>,
}

/// How long something would take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanForecastView {
    pub p50_seconds: f64,
    pub p95_seconds: f64,
    /// From so many runs of this application; 0: declared, not measured.
    pub runs: usize,
}

/// An approval that the plan asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NeededApprovalView {
    pub step: String,
    /// So many people.
    pub count: u32,
    /// Who could, besides the one who asks.
    pub by: Vec<String>,
    pub expires_after_seconds: f64,
    pub reason: String,
}

/// What the static-stability lint says of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FindingView {
    /// Has a page in docs/errors.
    pub code: String,
    pub step: String,
    pub problem: String,
    pub instead: String,
}

/// What is known beside the plan itself.
#[derive(Debug)]
pub struct Known<'a> {
    pub api: &'a Api,
    pub subject: &'a Subject,
    pub outlook: Option<&'a Outlook>,
}

impl PlanView {
    pub fn new(plan: &Plan, digest: &Digest, known: &Known<'_>) -> Self {
        let app = known.api.control.applications().into_iter().find(|a| a.name == plan.application);
        let people = known.api.access.people(Permission::Approve, Some(&plan.application));
        let besides = people.as_ref().map(|all| all.iter().filter(|p| *p != known.subject).count());
        let people =
            people.unwrap_or_else(|| known.api.access.tokens.people(Permission::Approve, Some(&plan.application)));
        let others: Vec<String> = people.iter().filter(|p| *p != known.subject).map(ToString::to_string).collect();
        let outlook = known.outlook;
        let lint = app.as_ref().map(|app| stability::lint(plan, app, besides)).unwrap_or_default();
        let steps = (0..).zip(&plan.steps).map(|(n, step)| {
            let seen = outlook.and_then(|o| o.steps.get(n));
            let forecast = outlook.and_then(|o| o.forecast.steps.get(n));
            PlanStepView::new(plan, step, app.as_deref(), seen, forecast)
        });
        Self {
            digest: digest.to_string(),
            chosen: None,
            plan: serde_json::to_value(plan).unwrap_or_else(|e| unreachable!("plans serialise: {e}")),
            at: outlook.map(|o| o.at),
            steps: steps.collect(),
            forecast: outlook.map(|o| forecast_view(o.forecast.total, o.forecast.runs)),
            way_back: outlook.and_then(|o| Some(forecast_view(o.forecast.way_back?, o.forecast.runs))),
            rto_objective_seconds: app.as_ref().map(|a| to_seconds(a.objectives.rto)),
            rto_left_seconds: outlook.and_then(|o| o.rto_left).map(to_seconds),
            point_of_no_return: plan.no_return().map(|s| s.id.to_string()),
            why_no_return: plan.no_return().and_then(PlannedStep::why_no_return),
            approvals: plan.steps.iter().filter_map(|s| needed_approval(s, &others)).collect(),
            findings: lint.into_iter().map(FindingView::from).collect(),
            rehearses: None,
        }
    }
}

fn needed_approval(step: &PlannedStep, by: &[String]) -> Option<NeededApprovalView> {
    let Action::Approve { count, expires_after, reason } = &step.action else { return None };
    Some(NeededApprovalView {
        step: step.id.to_string(),
        count: *count,
        by: by.to_vec(),
        expires_after_seconds: to_seconds(*expires_after),
        reason: reason.clone(),
    })
}

fn forecast_view(of: Estimate, runs: usize) -> PlanForecastView {
    PlanForecastView { p50_seconds: to_seconds(of.p50), p95_seconds: to_seconds(of.p95), runs }
}

impl PlanStepView {
    fn new(
        plan: &Plan,
        step: &PlannedStep,
        app: Option<&Application>,
        seen: Option<&StepOutlook>,
        forecast: Option<&StepForecast>,
    ) -> Self {
        let requires = app.map(|app| stability::requirements(step, plan, app)).unwrap_or_default();
        Self {
            id: step.id.to_string(),
            title: step.title.clone(),
            action: step.action.kind().to_owned(),
            back_to: (!step.towards.is_target()).then(|| plan.ends_towards(step.towards).1.to_string()),
            effect: step.action.effect(),
            needs: step.needs.iter().map(ToString::to_string).collect(),
            calls: step.action.mutations().iter().map(|call| CallView::new(&step.action, call)).collect(),
            requires: requires.into_iter().map(RequirementView::from).collect(),
            precondition: PreconditionView::new(seen),
            when: step.when.clone(),
            when_holds: seen.and_then(|s| s.is_wanted),
            undo: undo(step),
            leads_back: LeadsBack::of(step),
            timeout_seconds: to_seconds(step.timeout),
            forecast: forecast.map(|f| forecast_view(f.estimate, f.runs)),
        }
    }
}

fn undo(step: &PlannedStep) -> String {
    match (&step.action, step.undo()) {
        (_, Undo::Nothing) => "nothing to take back".to_owned(),
        (_, Undo::Stays(why)) => format!("left as it is: {why}"),
        (_, Undo::AnotherRun(other)) => format!("only by {other}"),
        (Action::AwsCall { call }, Undo::Inverse(how)) => {
            call.undo.as_ref().map_or(how.to_owned(), |undo| match &undo.restores {
                Some(of) => format!("by {}, with {} as read before the step", undo.request.operation, of.told()),
                None => format!("by {}", undo.request.operation),
            })
        }
        (_, Undo::Inverse(how)) => how.to_owned(),
    }
}

impl CallView {
    fn new(action: &Action, call: &Mutation) -> Self {
        let mut arguments = serde_json::to_value(call).unwrap_or_else(|e| unreachable!("calls serialise: {e}"));
        if let Some(arguments) = arguments.as_object_mut() {
            arguments.remove("call");
        }
        let needs = stability::entry_of(action).map_or(&[][..], |e| e.needs);
        let operation = call.operation().into_owned();
        let service = operation.split(':').next().unwrap_or_default();
        let plane = match call {
            // The catalogue names no service: the step does.
            Mutation::AwsCall { .. } => Plane::Control,
            _ => needs.iter().find(|n| n.service == service).map_or(Plane::Data, |n| n.plane),
        };
        Self {
            operation,
            regions: stability::call_regions(call).iter().map(ToString::to_string).collect(),
            plane,
            arguments,
        }
    }
}

impl PreconditionView {
    fn new(seen: Option<&StepOutlook>) -> Self {
        let Some(seen) = seen else {
            let detail = vec!["it was not looked at".to_owned()];
            return Self { state: PreconditionState::Unknown, detail, after: Vec::new(), awaited: None };
        };
        let (state, detail) = match &seen.condition {
            Condition::Met { evidence } => (PreconditionState::Met, evidence.clone()),
            Condition::NotMet { why } => (PreconditionState::NotMet, vec![why.clone()]),
            Condition::Open { what } => (PreconditionState::Open, vec![what.clone()]),
            Condition::Unknown { why } => (PreconditionState::Unknown, vec![why.clone()]),
            Condition::Free => (PreconditionState::Free, Vec::new()),
        };
        let after = seen.after.iter().map(StepId::to_string).collect();
        Self { state, detail, after, awaited: seen.awaited.as_ref().map(StepId::to_string) }
    }
}

impl From<Requirement> for RequirementView {
    fn from(of: Requirement) -> Self {
        Self { service: of.service, plane: of.plane, any_of: of.any_of.iter().map(ToString::to_string).collect() }
    }
}

impl From<Finding> for FindingView {
    fn from(of: Finding) -> Self {
        Self { code: of.code, step: of.step.to_string(), problem: of.problem, instead: of.instead }
    }
}

/// Every runbook that a plan can be made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunbooksView {
    pub runbooks: Vec<RunbookView>,
}

/// A runbook, as a list shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunbookView {
    pub name: String,
    /// `failover`, `switchover`, `failback`, `drill`.
    pub purposes: Vec<String>,
    pub description: String,
    pub steps: Vec<RunbookStepView>,
    /// Of its file, and of those that it calls: what a plan pins.
    pub digest: String,
    /// The applications that use it, each with the purposes.
    pub used_by: BTreeMap<String, Vec<String>>,
    /// What the static-stability lint says of it, for each application that uses it.
    pub warnings: Vec<String>,
}

/// A step of a runbook, as a list shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunbookStepView {
    pub id: String,
    pub title: String,
    pub needs: Vec<String>,
}
