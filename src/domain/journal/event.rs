//! What an event is about, and how a plain one is made.

use std::collections::BTreeMap;

use super::Event;
use crate::domain::id::RunId;

impl Event {
    /// A verdict and its reasons, without what made it.
    pub fn decision(verdict: &str, health: &str, reasons: Vec<String>) -> Self {
        Self::DecisionChanged {
            verdict: verdict.to_owned(),
            health: health.to_owned(),
            reasons,
            rules: Vec::new(),
            signals: BTreeMap::new(),
            would_start: false,
            suppressed: 0,
        }
    }

    /// Whether it is about work that outlives its run.
    pub fn is_deferred(&self) -> bool {
        matches!(
            self,
            Self::WorkDeferred { .. }
                | Self::DeferredIntended { .. }
                | Self::DeferredAnswered { .. }
                | Self::DeferredEnded { .. }
        )
    }

    /// The run that this event is about, if it is about one.
    pub fn run(&self) -> Option<&RunId> {
        match self {
            Self::EpochStarted { .. }
            | Self::DecisionChanged { .. }
            | Self::PrimarySeen { .. }
            | Self::BranchBegan { .. }
            | Self::BranchImported { .. }
            | Self::BranchReconciled { .. }
            | Self::ScheduleNoted { .. }
            | Self::OverrideAsked { .. }
            | Self::OverrideConsented { .. }
            | Self::OverrideEnded { .. }
            | Self::NoticeIntended { .. }
            | Self::NoticeAnswered { .. } => None,
            Self::RunStarted { run, .. }
            | Self::WorkDeferred { run, .. }
            | Self::DeferredIntended { run, .. }
            | Self::DeferredAnswered { run, .. }
            | Self::DeferredEnded { run, .. }
            | Self::StepStarted { run, .. }
            | Self::Intent { run, .. }
            | Self::Answered { run, .. }
            | Self::CallObserved { run, .. }
            | Self::StepDone { run, .. }
            | Self::StepSkipped { run, .. }
            | Self::StepFailed { run, .. }
            | Self::UndoIntended { run, .. }
            | Self::UndoAnswered { run, .. }
            | Self::StepUndone { run, .. }
            | Self::UndoFailed { run, .. }
            | Self::StepRetried { run, .. }
            | Self::StepPassed { run, .. }
            | Self::ApprovalRecorded { run, .. }
            | Self::RunHeld { run, .. }
            | Self::RunPaused { run, .. }
            | Self::RunResumed { run, .. }
            | Self::AbortRequested { run, .. }
            | Self::BudgetExceeded { run, .. }
            | Self::RunFinished { run, .. } => Some(run),
            Self::CalledFrom { run, .. } => run.as_ref(),
        }
    }
}
