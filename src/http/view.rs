//! Runs and plans as callers get them.
//!
//! Invariant: what is not known is `null` or the word `unknown`; a view never fills a gap with a zero.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{deadline::DeadlineView, deferred::DeferredView, salvage::ReconciliationView, step::StepView};
use crate::domain::{
    action::Action,
    id::RunId,
    journal::Record,
    patch::Patch,
    plan::Purpose,
    recovery,
    run::{LossReport, Phase, RunResult, RunState, StepState},
    seconds::to_seconds,
};

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStateName {
    Running,
    /// Stopped at a safe point; a person must act.
    Held,
    Paused,
    Aborting,
    /// A step failed, and what the run has done is being taken back.
    Undoing,
    Succeeded,
    Failed,
    Aborted,
    Superseded,
}

impl RunStateName {
    /// The state that a phase amounts to.
    pub fn of(phase: &Phase) -> Self {
        match phase {
            Phase::Running => Self::Running,
            Phase::Held { .. } => Self::Held,
            Phase::Paused { .. } => Self::Paused,
            Phase::Aborting { .. } => Self::Aborting,
            Phase::Undoing { .. } => Self::Undoing,
            Phase::Finished { result, .. } => match result {
                RunResult::Succeeded => Self::Succeeded,
                RunResult::Failed => Self::Failed,
                RunResult::Aborted => Self::Aborted,
                RunResult::Superseded => Self::Superseded,
            },
        }
    }

    /// Whether nothing follows any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Aborted | Self::Superseded)
    }

    /// The state as it is on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Held => "held",
            Self::Paused => "paused",
            Self::Aborting => "aborting",
            Self::Undoing => "undoing",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
            Self::Superseded => "superseded",
        }
    }
}

/// A run that was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StartedView {
    pub run: String,
    /// The run that this one ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<String>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunView {
    pub id: String,
    pub application: String,
    #[schema(value_type = String, example = "failover")]
    pub purpose: Purpose,
    pub state: RunStateName,
    /// Why it is held, paused, being aborted or finished, or of a drill why it goes home before its time; else `null`.
    pub state_reason: Option<String>,
    /// The code of what holds it, which has a page.
    pub held_code: Option<String>,
    /// Since when that is so; `null` while it runs as planned.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub state_since: Option<Timestamp>,
    pub source: String,
    pub target: String,
    pub runbook: String,
    pub requested_by: String,
    pub reason: String,
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// What an approver approves.
    pub plan_digest: String,
    /// The run that this one ended.
    pub supersedes: Option<String>,
    pub accepted_loss_seconds: Option<f64>,
    /// What it waits for now, in words; `null` when finished.
    pub waits_for: Option<String>,
    /// In the plan's order.
    pub steps: Vec<StepView>,
    /// The steps whose effect was taken back, in the plan's order.
    #[serde(default)]
    pub undone: Vec<String>,
    /// The step from which on nothing is taken back; `null`: there is none.
    #[serde(default)]
    pub no_return: Option<String>,
    pub approvals: Vec<ApprovalView>,
    /// What was lost, measured after the run; `null` until then.
    pub loss: Option<LossView>,
    pub clock: ClockView,
    /// How it stands to the RTO; `null` where nothing was assessed since the daemon started.
    pub deadline: Option<DeadlineView>,
    /// One line for whoever applies infrastructure code: what an apply would undo, or that it must wait; `null`: nothing.
    #[serde(default)]
    pub infrastructure_code: Option<String>,
    /// Of a salvage: the failover that it is to reconcile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconciles: Option<String>,
    /// What a failover has left in the Region that it left, and whether somebody has signed; absent where it left nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconciliation: Option<ReconciliationView>,
    /// Work that it has left open, which outlives its success.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deferred: Vec<DeferredView>,
}

/// The instants that the objectives are measured between.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClockView {
    /// The first evidence of the trouble: where the RTO clock starts.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub evidence_since: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub recommended_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// First evidence to recommendation; `null` until it has ended, or where its start is not known.
    pub detection_seconds: Option<f64>,
    /// Recommendation to the last consent.
    pub decision_seconds: Option<f64>,
    /// To the last change of traffic.
    pub execution_seconds: Option<f64>,
    /// To a sustained success through the public name.
    pub propagation_seconds: Option<f64>,
    /// The measured RTO, once the application is served again; of a drill, of the way there.
    pub total_seconds: Option<f64>,
    /// Of a drill, the way back; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub way_back: Option<WayBackView>,
}

/// The clock of a drill's way back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WayBackView {
    /// From its first effect to the last change of traffic; `null` until it has ended.
    pub execution_seconds: Option<f64>,
    /// To a sustained success through the public name.
    pub propagation_seconds: Option<f64>,
    pub total_seconds: Option<f64>,
}

impl ClockView {
    fn of(run: &RunState, finished_at: Option<Timestamp>) -> Self {
        let rto = recovery::rto_clock(run);
        Self {
            evidence_since: run.evidence_since,
            recommended_at: run.recommended_at,
            started_at: run.started_at,
            finished_at,
            detection_seconds: rto.detection.map(to_seconds),
            decision_seconds: rto.decision.map(to_seconds),
            execution_seconds: rto.execution.map(to_seconds),
            propagation_seconds: rto.propagation.map(to_seconds),
            total_seconds: rto.total.map(to_seconds),
            way_back: recovery::way_back_clock(run).map(|clock| WayBackView {
                execution_seconds: clock.execution.map(to_seconds),
                propagation_seconds: clock.propagation.map(to_seconds),
                total_seconds: clock.total.map(to_seconds),
            }),
        }
    }
}

/// One person's word on one step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ApprovalView {
    pub step: String,
    pub subject: String,
    pub approved: bool,
    pub reason: String,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// What a run lost: an interval, because the old writer's last acknowledgement is only bracketed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LossView {
    /// The last write that the new writer holds.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_surviving_write: Option<Timestamp>,
    /// The last write that the old writer was seen to hold.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_seen_write: Option<Timestamp>,
    /// The first instant from which the old writer was not seen to answer.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub first_unanswered: Option<Timestamp>,
    pub at_least_seconds: Option<f64>,
    /// `null`: not bounded.
    pub at_most_seconds: Option<f64>,
    pub basis: String,
}

impl From<&LossReport> for LossView {
    fn from(loss: &LossReport) -> Self {
        Self {
            last_surviving_write: loss.last_surviving_write,
            last_seen_write: loss.last_seen_write,
            first_unanswered: loss.first_unanswered,
            at_least_seconds: loss.at_least.map(to_seconds),
            at_most_seconds: loss.at_most.map(to_seconds),
            basis: loss.basis.clone(),
        }
    }
}

impl RunView {
    pub fn new(run: &RunState) -> Self {
        let (state_reason, held_code, state_since) = match &run.phase {
            // On its way home.
            Phase::Running if let Some(home) = &run.homeward => (Some(&home.reason), None, Some(home.at)),
            Phase::Running => (None, None, None),
            Phase::Held { code, reason, at, .. } => (Some(reason), Some(code), Some(*at)),
            Phase::Paused { reason, at, .. }
            | Phase::Aborting { reason, at, .. }
            | Phase::Undoing { reason, at, .. }
            | Phase::Finished { reason, at, .. } => (Some(reason), None, Some(*at)),
        };
        let finished_at = finished_at(run);
        let approvals = run.approvals.iter().flat_map(|(step, approvals)| {
            approvals.iter().map(|a| ApprovalView {
                step: step.to_string(),
                subject: a.subject.to_string(),
                approved: a.approved,
                reason: a.reason.clone(),
                at: a.at,
            })
        });
        Self {
            id: run.id.to_string(),
            application: run.plan.application.to_string(),
            purpose: run.plan.purpose,
            state: RunStateName::of(&run.phase),
            state_reason: state_reason.cloned(),
            held_code: held_code.cloned(),
            state_since,
            source: run.plan.source.to_string(),
            target: run.plan.target.to_string(),
            runbook: run.plan.runbook.to_string(),
            requested_by: run.request.subject.to_string(),
            reason: run.request.reason.clone(),
            started_at: run.started_at,
            finished_at,
            plan_digest: run.plan_digest.to_string(),
            supersedes: run.request.supersedes.as_ref().map(ToString::to_string),
            accepted_loss_seconds: run.plan.accepted_loss.map(to_seconds),
            waits_for: waits_for(run),
            steps: run.plan.steps.iter().map(|s| StepView::new(run, s)).collect(),
            undone: run.undone().into_iter().map(ToString::to_string).collect(),
            no_return: run.plan.no_return().map(|s| s.id.to_string()),
            approvals: approvals.collect(),
            loss: run.loss.as_ref().map(LossView::from),
            clock: ClockView::of(run, finished_at),
            deadline: None,
            infrastructure_code: Patch::of(run, None).note(),
            reconciles: run.plan.reconciles.as_ref().map(ToString::to_string),
            reconciliation: None,
            deferred: Vec::new(),
        }
    }
}

fn finished_at(run: &RunState) -> Option<Timestamp> {
    match &run.phase {
        Phase::Finished { at, .. } => Some(*at),
        Phase::Running | Phase::Held { .. } | Phase::Paused { .. } | Phase::Aborting { .. } | Phase::Undoing { .. } => {
            None
        }
    }
}

/// What a run on its way back is at.
fn way_back(run: &RunState) -> String {
    let left: Vec<&str> = run.left_to_undo().into_iter().map(|id| id.as_str()).collect();
    if run.unwind.stands || left.is_empty() {
        return "the steps that are in flight".to_owned();
    }
    format!("the undo of {}", left.join(", "))
}

fn waits_for(run: &RunState) -> Option<String> {
    match &run.phase {
        Phase::Finished { .. } => None,
        Phase::Held { waits_for, .. } => Some(waits_for.clone()),
        Phase::Paused { subject, .. } => Some(format!("somebody to resume it ({subject} paused it)")),
        Phase::Aborting { .. } | Phase::Undoing { .. } => Some(way_back(run)),
        Phase::Running => {
            let waiting: Vec<String> = run
                .plan
                .steps
                .iter()
                .filter(|s| run.steps.get(&s.id).is_some_and(StepState::is_in_flight))
                .map(|s| match &s.action {
                    Action::Approve { count, .. } => {
                        let given = run.approvers(&s.id).len();
                        if usize::try_from(*count).is_ok_and(|wanted| wanted <= given) {
                            return format!("`{}`: approved, it goes on", s.id);
                        }
                        format!("approval of `{}`: {given} of {count} so far", s.id)
                    }
                    _ => format!("`{}`: {}", s.id, s.title),
                })
                .collect();
            (!waiting.is_empty()).then(|| waiting.join("; "))
        }
    }
}

/// One page of runs, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunsView {
    pub runs: Vec<RunSummary>,
    /// The `cursor` of the next page; `null` on the last.
    pub next_cursor: Option<String>,
}

/// A run in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunSummary {
    pub id: String,
    pub application: String,
    #[schema(value_type = String, example = "failover")]
    pub purpose: Purpose,
    pub state: RunStateName,
    pub source: String,
    pub target: String,
    pub requested_by: String,
    pub reason: String,
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    pub waits_for: Option<String>,
}

impl RunSummary {
    pub fn new(run: &RunState) -> Self {
        Self {
            id: run.id.to_string(),
            application: run.plan.application.to_string(),
            purpose: run.plan.purpose,
            state: RunStateName::of(&run.phase),
            source: run.plan.source.to_string(),
            target: run.plan.target.to_string(),
            requested_by: run.request.subject.to_string(),
            reason: run.request.reason.clone(),
            started_at: run.started_at,
            finished_at: finished_at(run),
            waits_for: waits_for(run),
        }
    }
}

/// One journal record as far as it concerns a run: the data of one server-sent event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RecordView {
    pub seq: u64,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Each has `event` (`run_started`, `intent`, `answered`, `step_done` …) and the members of that event.
    #[schema(value_type = Vec<Object>)]
    pub events: Vec<Value>,
}

impl RecordView {
    /// What `record` says about `run`; `None` if nothing.
    pub fn of(record: &Record, run: &RunId) -> Option<Self> {
        let events: Vec<Value> = record
            .events
            .iter()
            .filter(|e| e.run() == Some(run))
            .map(|e| serde_json::to_value(e).unwrap_or_else(|e| unreachable!("events serialise: {e}")))
            .collect();
        (!events.is_empty()).then_some(Self { seq: record.seq, at: record.at, events })
    }
}
