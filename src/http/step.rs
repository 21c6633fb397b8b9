//! One step of a run, as the API shows it.
//!
//! Invariant: what is shown of a finished run is finished too: a step that it left behind is not shown as at work.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::{
    action::Action,
    cloud::Outcome,
    plan::PlannedStep,
    run::{Phase, RunState, StepState},
    seconds::to_seconds,
};

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepStateName {
    Pending,
    /// Looking or waiting.
    Running,
    /// A call is recorded; whether it was sent is not known until it is answered or observed.
    Sending,
    /// The call was answered; that it is done was not observed yet.
    Answered,
    /// One of several calls is in effect, and is kept for a time before the next.
    Holding,
    Done,
    Skipped,
    Failed,
    /// Its effect is being taken back.
    Undoing,
    /// What was there before it is there again.
    Undone,
    /// Taking its effect back failed; a person must look.
    UndoFailed,
    /// The run ended before this step, which had begun, was over.
    Abandoned,
    /// The run ended before this step was begun.
    NotRun,
}

impl StepStateName {
    /// The state as it is on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Sending => "sending",
            Self::Answered => "answered",
            Self::Holding => "holding",
            Self::Done => "done",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::Undoing => "undoing",
            Self::Undone => "undone",
            Self::UndoFailed => "undo_failed",
            Self::Abandoned => "abandoned",
            Self::NotRun => "not_run",
        }
    }
}

/// One step of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StepView {
    pub id: String,
    pub title: String,
    /// The action's name in runbooks.
    pub action: String,
    pub state: StepStateName,
    /// Attempts so far, over resumes too.
    pub attempt: u32,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// The steps that must be resolved before.
    pub needs: Vec<String>,
    pub timeout_seconds: f64,
    /// Whether it has failed and may be tried again by itself now.
    #[serde(default)]
    pub can_retry: bool,
    /// Whether it has failed and may be passed over now.
    #[serde(default)]
    pub can_skip: bool,
    /// What it does or why it ended so, in words.
    pub detail: Option<String>,
    /// What was observed.
    pub evidence: Vec<String>,
    #[schema(value_type = Object)]
    pub outputs: BTreeMap<String, Value>,
}

impl StepView {
    pub fn new(run: &RunState, planned: &PlannedStep) -> Self {
        let mut view = as_journalled(run, planned);
        view.taken_back(run.undo_state(&planned.id));
        if let Phase::Finished { at, .. } = &run.phase {
            view.left_behind(*at);
        }
        view
    }

    /// Its undo says more than what it was before.
    fn taken_back(&mut self, undo: &StepState) {
        let before = self.state.as_str();
        match undo {
            StepState::Pending => {}
            StepState::Running { .. } | StepState::Holding { .. } => self.state = StepStateName::Undoing,
            StepState::Sending { mutation, .. } => {
                self.state = StepStateName::Undoing;
                self.finished_at = None;
                self.detail = Some(format!("sending {} to take it back", mutation.operation()));
            }
            StepState::Answered { outcome, .. } => {
                self.state = StepStateName::Undoing;
                self.finished_at = None;
                self.detail = Some(outcome_in_words(outcome));
            }
            StepState::Done { at, evidence, .. } => {
                self.state = StepStateName::Undone;
                self.finished_at = Some(*at);
                self.detail = Some(format!("it was {before}, and what was there before is there again"));
                self.evidence.extend(evidence.iter().cloned());
            }
            StepState::Skipped { reason, .. } => self.detail = Some(format!("not undone: {reason}")),
            StepState::Failed { at, code, reason, .. } => {
                self.state = StepStateName::UndoFailed;
                self.finished_at = Some(*at);
                self.detail = Some(format!("{code}: {reason}"));
            }
        }
    }

    /// The run is finished since `at`: nothing more is done in this step.
    fn left_behind(&mut self, at: Timestamp) {
        match self.state {
            StepStateName::Pending => self.state = StepStateName::NotRun,
            StepStateName::Running
            | StepStateName::Sending
            | StepStateName::Answered
            | StepStateName::Holding
            | StepStateName::Undoing => {
                let before = self.detail.take().map_or_else(String::new, |detail| format!("; before: {detail}"));
                self.detail = Some(format!("the run ended before this step did{before}"));
                self.state = StepStateName::Abandoned;
                self.finished_at = Some(at);
            }
            StepStateName::Done
            | StepStateName::Skipped
            | StepStateName::Failed
            | StepStateName::Undone
            | StepStateName::UndoFailed
            | StepStateName::Abandoned
            | StepStateName::NotRun => {}
        }
    }
}

fn as_journalled(run: &RunState, planned: &PlannedStep) -> StepView {
    let takes = run.takes(planned);
    let mut view = StepView {
        id: planned.id.to_string(),
        title: planned.title.clone(),
        action: planned.action.kind().to_owned(),
        state: StepStateName::Pending,
        attempt: run.attempts.get(&planned.id).copied().unwrap_or(0),
        started_at: None,
        finished_at: None,
        needs: planned.needs.iter().map(ToString::to_string).collect(),
        timeout_seconds: to_seconds(planned.timeout),
        can_retry: takes.retry,
        can_skip: takes.skip,
        detail: None,
        evidence: Vec::new(),
        outputs: BTreeMap::new(),
    };
    match run.steps.get(&planned.id) {
        None | Some(StepState::Pending) => {}
        Some(StepState::Running { since, .. }) => {
            view.state = StepStateName::Running;
            view.started_at = Some(*since);
        }
        Some(StepState::Sending { since, mutation, .. }) => {
            view.state = StepStateName::Sending;
            view.started_at = Some(*since);
            view.detail = Some(format!("sending {}", mutation.operation()));
        }
        Some(StepState::Answered { since, outcome, .. }) => {
            view.state = StepStateName::Answered;
            view.started_at = Some(*since);
            view.detail = Some(outcome_in_words(outcome));
        }
        Some(StepState::Holding { since, call, held_since, evidence, .. }) => {
            view.state = StepStateName::Holding;
            view.started_at = Some(*since);
            view.evidence.clone_from(evidence);
            if let Action::DnsWeights(ramp) = &planned.action {
                view.detail = Some(ramp.progress(*call, *held_since));
            }
        }
        Some(StepState::Done { since, at, evidence, outputs }) => {
            view.state = StepStateName::Done;
            view.started_at = Some(*since);
            view.finished_at = Some(*at);
            view.evidence.clone_from(evidence);
            view.outputs.clone_from(outputs);
        }
        Some(StepState::Skipped { at, reason }) => {
            view.state = StepStateName::Skipped;
            view.finished_at = Some(*at);
            view.detail = Some(reason.clone());
        }
        Some(StepState::Failed { since, at, code, reason, .. }) => {
            view.state = StepStateName::Failed;
            view.started_at = Some(*since);
            view.finished_at = Some(*at);
            view.detail = Some(format!("{code}: {reason}"));
        }
    }
    view
}

fn outcome_in_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Accepted { .. } => "AWS accepted the call; waiting until it is observed".to_owned(),
        Outcome::Rejected { code, message, .. } => format!("AWS refused: {code}: {message}"),
        Outcome::NotSent { reason } => format!("not sent: {reason}"),
        Outcome::Unknown { reason } => {
            format!("it is not known whether the call took effect ({reason}); looking")
        }
    }
}
