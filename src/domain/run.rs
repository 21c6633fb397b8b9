//! One run: where each of its steps stands, and what comes next ([`RunState::next`], a pure function of the state
//! alone). How events change it is in [`super::history`].

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    action::EffectClass,
    cloud::{Mutation, Outcome},
    drill::Homeward,
    id::{Digest, RunId, StepId, Subject},
    journal::Request,
    plan::{OnFailure, Plan, PlannedStep},
    sabotage::{Guard, is_off},
    seconds,
    undo::Unwind,
};

/// How a run ended. Terminal: nothing follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunResult {
    Succeeded,
    Failed,
    Aborted,
    Superseded,
}

/// What a run lost, measured after it: an interval, because the old writer's last acknowledgement is only bracketed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LossReport {
    /// The last write that the new writer holds.
    pub last_surviving_write: Option<Timestamp>,
    /// The last write that the old writer was seen to hold.
    pub last_seen_write: Option<Timestamp>,
    /// The first instant from which the old writer was not seen to answer.
    pub first_unanswered: Option<Timestamp>,
    #[serde(with = "seconds::option", rename = "at_least_seconds")]
    pub at_least: Option<Duration>,
    #[serde(with = "seconds::option", rename = "at_most_seconds")]
    pub at_most: Option<Duration>,
    pub basis: String,
}

/// Where one step stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum StepState {
    Pending,
    /// Looking or waiting.
    Running {
        attempt: u32,
        since: Timestamp,
    },
    /// An intent is durable; whether it was sent is not known until it is answered or observed.
    Sending {
        attempt: u32,
        since: Timestamp,
        call: u32,
        intended_at: Timestamp,
        mutation: Mutation,
        /// What was found right before the intent; of a step back, why.
        guards: Vec<String>,
    },
    /// The call was answered (perhaps with "unknown"); the postcondition is not observed yet.
    Answered {
        attempt: u32,
        since: Timestamp,
        call: u32,
        intended_at: Timestamp,
        outcome: Outcome,
        guards: Vec<String>,
    },
    /// One of several calls is in effect, and is kept for a time before the next.
    Holding {
        attempt: u32,
        since: Timestamp,
        call: u32,
        held_since: Timestamp,
        evidence: Vec<String>,
    },
    Done {
        since: Timestamp,
        at: Timestamp,
        evidence: Vec<String>,
        outputs: BTreeMap<String, serde_json::Value>,
    },
    Skipped {
        at: Timestamp,
        reason: String,
    },
    Failed {
        attempt: u32,
        since: Timestamp,
        at: Timestamp,
        code: String,
        reason: String,
    },
}

impl StepState {
    /// Whether something was begun that must still be settled.
    pub fn is_in_flight(&self) -> bool {
        matches!(self, Self::Running { .. } | Self::Sending { .. } | Self::Answered { .. } | Self::Holding { .. })
    }

    /// Whether the step has neither ended nor been passed over.
    pub fn is_unsettled(&self) -> bool {
        matches!(self, Self::Pending) || self.is_in_flight()
    }

    /// Whether a call may be on its way.
    pub(super) fn has_open_intent(&self) -> bool {
        matches!(
            self,
            Self::Sending { .. } | Self::Answered { outcome: Outcome::Accepted { .. } | Outcome::Unknown { .. }, .. }
        )
    }

    /// When a step that is under way began.
    pub fn under_way_since(&self) -> Option<Timestamp> {
        self.since().filter(|_| self.is_in_flight())
    }

    /// Since when a call has been in effect that is kept for a time, and its number.
    pub fn held(&self) -> Option<(Timestamp, u32)> {
        match self {
            Self::Holding { held_since, call, .. } => Some((*held_since, *call)),
            _ => None,
        }
    }

    pub(super) fn attempt(&self) -> u32 {
        match self {
            Self::Running { attempt, .. }
            | Self::Sending { attempt, .. }
            | Self::Answered { attempt, .. }
            | Self::Holding { attempt, .. }
            | Self::Failed { attempt, .. } => *attempt,
            Self::Pending | Self::Done { .. } | Self::Skipped { .. } => 0,
        }
    }

    pub(super) fn since(&self) -> Option<Timestamp> {
        match self {
            Self::Running { since, .. }
            | Self::Sending { since, .. }
            | Self::Answered { since, .. }
            | Self::Holding { since, .. }
            | Self::Done { since, .. }
            | Self::Failed { since, .. } => Some(*since),
            Self::Pending | Self::Skipped { .. } => None,
        }
    }
}

/// Whether a run moves, and what stops it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    Running,
    /// Stopped at a safe point; a person must act.
    Held {
        step: Option<StepId>,
        code: String,
        reason: String,
        waits_for: String,
        at: Timestamp,
    },
    Paused {
        subject: Subject,
        reason: String,
        at: Timestamp,
    },
    /// An abort was asked for; what is in flight is settled first.
    Aborting {
        subject: Subject,
        reason: String,
        at: Timestamp,
    },
    /// A step with `on_failure: undo` failed; what is in flight is settled, and what was done is taken back.
    Undoing {
        step: StepId,
        reason: String,
        at: Timestamp,
    },
    Finished {
        result: RunResult,
        reason: String,
        at: Timestamp,
    },
}

impl Phase {
    /// Whether the run is on its way back: nothing new is begun but what takes back.
    pub fn is_unwinding(&self) -> bool {
        matches!(self, Self::Aborting { .. } | Self::Undoing { .. })
    }
}

/// One person's word on one approval step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Approval {
    pub subject: Subject,
    pub approved: bool,
    pub reason: String,
    pub at: Timestamp,
}

/// One run, folded from its events.
#[derive(Debug, Clone, PartialEq)]
pub struct RunState {
    pub id: RunId,
    pub request: Request,
    pub plan: Arc<Plan>,
    pub plan_digest: Digest,
    pub started_at: Timestamp,
    pub evidence_since: Option<Timestamp>,
    /// When the failover was first recommended, if it was.
    pub recommended_at: Option<Timestamp>,
    pub steps: BTreeMap<StepId, StepState>,
    /// How many attempts a step has had, over resumes too.
    pub attempts: BTreeMap<StepId, u32>,
    pub approvals: BTreeMap<StepId, Vec<Approval>>,
    pub phase: Phase,
    pub loss: Option<LossReport>,
    /// What it has made, and how far that is taken back.
    pub unwind: Unwind,
    /// Set from when a drill exceeded its budget: it leads home.
    pub homeward: Option<Homeward>,
}

/// What a run needs now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Drive these steps: the ones in flight and the ones whose needs are met, in the plan's order. In a run that is on
    /// its way back: their undo, once what is in flight of themselves is settled ([`RunState::goes_back`]).
    Drive(Vec<StepId>),
    /// A person must be told, before anything else, that it cannot go on.
    Hold { step: StepId, code: &'static str, reason: String, waits_for: String },
    /// Nothing is left to do.
    Finish { result: RunResult, reason: String },
    /// Nothing moves until a person acts (held, paused) or ever again (finished).
    Wait,
}

impl RunState {
    /// What comes next. A function of the state alone: the same after a crash as before it.
    pub fn next(&self) -> Next {
        let in_flight = || {
            let steps = self.plan.steps.iter().map(|s| &s.id);
            let in_flight = steps.filter(|id| self.steps[*id].is_in_flight());
            in_flight.chain(self.undos_in_flight()).cloned().collect::<Vec<_>>()
        };
        match &self.phase {
            Phase::Finished { .. } => Next::Wait,
            Phase::Held { .. } | Phase::Paused { .. } if !self.goes_on_though_paused() => match in_flight() {
                none if none.is_empty() => Next::Wait,
                some => Next::Drive(some),
            },
            Phase::Aborting { .. } | Phase::Undoing { .. } => self.next_unwinding(),
            Phase::Running | Phase::Held { .. } | Phase::Paused { .. } => {
                let drive: Vec<StepId> = self
                    .plan
                    .steps
                    .iter()
                    .filter(|s| self.steps[&s.id].is_in_flight() || self.is_ready(s))
                    .map(|s| s.id.clone())
                    .collect();
                if drive.is_empty() { self.finish() } else { Next::Drive(drive) }
            }
        }
    }

    /// Never, while every guard is on.
    fn goes_on_though_paused(&self) -> bool {
        matches!(self.phase, Phase::Paused { .. }) && is_off(Guard::PauseIgnored)
    }

    fn finish(&self) -> Next {
        let failed: Vec<&str> = self
            .steps
            .iter()
            .filter(|(_, s)| matches!(s, StepState::Failed { .. }))
            .map(|(id, _)| id.as_str())
            .collect();
        let reason = if failed.is_empty() {
            "every step is done".to_owned()
        } else {
            format!("done, but these steps failed and were passed over: {}", failed.join(", "))
        };
        if let Some(home) = &self.homeward {
            let reason = format!("over its budget at `{}`: {}; home again: {reason}", home.step, home.reason);
            return Next::Finish { result: RunResult::Failed, reason };
        }
        Next::Finish { result: RunResult::Succeeded, reason }
    }

    /// Whether a step may begin: it is pending and everything that it needs is resolved.
    pub fn is_ready(&self, step: &PlannedStep) -> bool {
        let flips_first = is_off(Guard::FlipFirst) && step.action.kind() == "dns.flip";
        matches!(self.steps[&step.id], StepState::Pending)
            && step.needs.iter().all(|id| self.is_resolved(id) || flips_first)
            && !self.waits_to_go_home(&step.id)
    }

    /// Whether what needs it may go on.
    pub fn is_resolved(&self, id: &StepId) -> bool {
        match &self.steps[id] {
            StepState::Done { .. } | StepState::Skipped { .. } => true,
            StepState::Failed { .. } if self.is_left_behind(id) => true,
            StepState::Failed { .. } => {
                self.plan.step(id).is_some_and(|s| s.on_failure == OnFailure::Continue || is_off(Guard::HoldIgnored))
            }
            StepState::Pending
            | StepState::Running { .. }
            | StepState::Sending { .. }
            | StepState::Answered { .. }
            | StepState::Holding { .. } => false,
        }
    }

    /// The steps that would become ready if `done` were done: what may be intended in the same commit.
    pub fn ready_after(&self, done: &StepId) -> Vec<&PlannedStep> {
        // Which way leads home is told by the end of what is under way, not before it.
        if self.phase != Phase::Running || self.leaves_behind(done) {
            return Vec::new();
        }
        self.plan
            .steps
            .iter()
            .filter(|s| {
                matches!(self.steps[&s.id], StepState::Pending)
                    && s.needs.contains(done)
                    && s.needs.iter().all(|id| id == done || self.is_resolved(id))
            })
            .collect()
    }

    /// The steps that are ready now, in the plan's order.
    pub fn ready(&self) -> Vec<&PlannedStep> {
        self.plan.steps.iter().filter(|s| self.is_ready(s)).collect()
    }

    /// Whether an irreversible effect has been intended, or a step has begun that is declared as the point of no return:
    /// from there on the run is completed or held, never aborted.
    pub fn is_past_no_return(&self) -> bool {
        self.plan.steps.iter().filter(|_| !is_off(Guard::NoWayBack)).any(|s| self.is_beyond(s))
    }

    /// Whether what is driven of `step` is its undo.
    pub fn goes_back(&self, step: &StepId) -> bool {
        self.unwind.steps.get(step).is_some_and(StepState::is_in_flight)
            || (self.phase.is_unwinding() && !self.steps.get(step).is_some_and(StepState::has_open_intent))
    }

    pub fn is_finished(&self) -> bool {
        matches!(self.phase, Phase::Finished { .. })
    }

    /// How it ended, where it has.
    pub fn result(&self) -> Option<RunResult> {
        match &self.phase {
            Phase::Finished { result, .. } => Some(*result),
            Phase::Running
            | Phase::Held { .. }
            | Phase::Paused { .. }
            | Phase::Aborting { .. }
            | Phase::Undoing { .. } => None,
        }
    }

    /// Whether an effect of this run on its application may still be on its way. A notice is none: nobody waits for it.
    pub fn has_open_intents(&self) -> bool {
        !self.open_effects().is_empty() || self.has_open_undo()
    }

    pub(super) fn open_effects(&self) -> Vec<StepId> {
        let effects = self.plan.steps.iter().filter(|s| s.action.effect() != EffectClass::Read);
        effects.map(|s| &s.id).filter(|id| self.steps[*id].has_open_intent()).cloned().collect()
    }

    /// The distinct people who approved `step`.
    pub fn approvers(&self, step: &StepId) -> Vec<&Subject> {
        let mut subjects: Vec<&Subject> = self
            .approvals
            .get(step)
            .into_iter()
            .flatten()
            .filter(|a| a.approved || is_off(Guard::Declined))
            .map(|a| &a.subject)
            .collect();
        subjects.sort();
        subjects.dedup();
        subjects
    }

    /// The number that the next attempt of `step` gets, from 1.
    pub fn next_attempt(&self, step: &StepId) -> u32 {
        self.attempts.get(step).copied().unwrap_or(0) + 1
    }
}

impl RunState {
    /// A person's word to go on: a failed step that held the run is tried again.
    pub(super) fn resume(&mut self, at: Timestamp) {
        self.phase = Phase::Running;
        let plan = Arc::clone(&self.plan);
        for planned in plan.steps.iter().filter(|s| s.on_failure != OnFailure::Continue) {
            if self.leaves_behind(&planned.id) && matches!(self.steps[&planned.id], StepState::Failed { .. }) {
                let reason = "it leads home from what there is, by a person's word".to_owned();
                self.steps.insert(planned.id.clone(), StepState::Skipped { at, reason });
            }
            if let Some(slot @ StepState::Failed { .. }) = self.steps.get_mut(&planned.id) {
                *slot = StepState::Pending;
                // Everybody is asked again: a "no" that was overruled would otherwise stand for ever.
                self.approvals.remove(&planned.id);
            }
        }
        self.turn(at);
    }
}
