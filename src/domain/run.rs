//! What a journal amounts to: the runs of an application and where each stands ([`History`], a fold), and what
//! comes next ([`RunState::next`], a pure function of the state alone).
//!
//! Start-up, steady state and crash recovery are this one path: fold, next, act. A transition that is not
//! listed here has a name ([`IllegalEvent`]) and stops the application; nothing is guessed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    action::{Action, EffectClass},
    cloud::{Mutation, Outcome},
    id::{ApplicationName, Digest, RunId, StepId, Subject, TrafficName},
    journal::{Event, Record, Request, Tail},
    plan::{OnFailure, Plan, PlannedStep},
    seconds,
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
    },
    /// The call was answered (perhaps with "unknown"); the postcondition is not observed yet.
    Answered {
        attempt: u32,
        since: Timestamp,
        call: u32,
        intended_at: Timestamp,
        outcome: Outcome,
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
        matches!(
            self,
            Self::Running { .. } | Self::Sending { .. } | Self::Answered { .. }
        )
    }

    /// Whether an effect may be on its way.
    pub fn has_open_intent(&self) -> bool {
        matches!(
            self,
            Self::Sending { .. }
                | Self::Answered {
                    outcome: Outcome::Accepted { .. } | Outcome::Unknown { .. },
                    ..
                }
        )
    }

    fn attempt(&self) -> u32 {
        match self {
            Self::Running { attempt, .. }
            | Self::Sending { attempt, .. }
            | Self::Answered { attempt, .. }
            | Self::Failed { attempt, .. } => *attempt,
            Self::Pending | Self::Done { .. } | Self::Skipped { .. } => 0,
        }
    }

    fn since(&self) -> Option<Timestamp> {
        match self {
            Self::Running { since, .. }
            | Self::Sending { since, .. }
            | Self::Answered { since, .. }
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
    Finished {
        result: RunResult,
        reason: String,
        at: Timestamp,
    },
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
}

/// What a run needs now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Drive these steps: the ones in flight and the ones whose needs are met, in the plan's order.
    Drive(Vec<StepId>),
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
            steps
                .filter(|id| self.steps[*id].is_in_flight())
                .cloned()
                .collect::<Vec<_>>()
        };
        match &self.phase {
            Phase::Finished { .. } => Next::Wait,
            Phase::Held { .. } | Phase::Paused { .. } => match in_flight() {
                none if none.is_empty() => Next::Wait,
                some => Next::Drive(some),
            },
            Phase::Aborting { reason, .. } => {
                let open: Vec<_> = in_flight()
                    .into_iter()
                    .filter(|id| self.steps[id].has_open_intent())
                    .collect();
                match open {
                    none if none.is_empty() => Next::Finish {
                        result: RunResult::Aborted,
                        reason: reason.clone(),
                    },
                    open => Next::Drive(open),
                }
            }
            Phase::Running => {
                let drive: Vec<StepId> = self
                    .plan
                    .steps
                    .iter()
                    .filter(|s| self.steps[&s.id].is_in_flight() || self.is_ready(s))
                    .map(|s| s.id.clone())
                    .collect();
                if drive.is_empty() {
                    self.finish()
                } else {
                    Next::Drive(drive)
                }
            }
        }
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
            format!(
                "done, but these steps failed and were passed over: {}",
                failed.join(", ")
            )
        };
        Next::Finish {
            result: RunResult::Succeeded,
            reason,
        }
    }

    /// Whether a step may begin: it is pending and everything that it needs is resolved.
    pub fn is_ready(&self, step: &PlannedStep) -> bool {
        matches!(self.steps[&step.id], StepState::Pending)
            && step.needs.iter().all(|id| self.is_resolved(id))
    }

    fn is_resolved(&self, id: &StepId) -> bool {
        match &self.steps[id] {
            StepState::Done { .. } | StepState::Skipped { .. } => true,
            StepState::Failed { .. } => self
                .plan
                .step(id)
                .is_some_and(|s| s.on_failure == OnFailure::Continue),
            StepState::Pending
            | StepState::Running { .. }
            | StepState::Sending { .. }
            | StepState::Answered { .. } => false,
        }
    }

    /// The steps that would become ready if `done` were done: what may be intended in the same commit.
    pub fn ready_after(&self, done: &StepId) -> Vec<&PlannedStep> {
        if self.phase != Phase::Running {
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

    /// Whether an irreversible effect has been intended: from there on the run is completed or held, never aborted.
    pub fn is_past_no_return(&self) -> bool {
        self.plan.steps.iter().any(|s| {
            s.action.effect() == EffectClass::Irreversible
                && match &self.steps[&s.id] {
                    StepState::Sending { .. }
                    | StepState::Answered { .. }
                    | StepState::Done { .. }
                    | StepState::Failed { .. } => true,
                    StepState::Pending | StepState::Running { .. } | StepState::Skipped { .. } => {
                        false
                    }
                }
        })
    }

    pub fn is_finished(&self) -> bool {
        matches!(self.phase, Phase::Finished { .. })
    }

    /// Whether an effect of this run may still be on its way.
    pub fn has_open_intents(&self) -> bool {
        self.steps.values().any(StepState::has_open_intent)
    }

    /// The distinct people who approved `step`.
    pub fn approvers(&self, step: &StepId) -> Vec<&Subject> {
        let mut subjects: Vec<&Subject> = self
            .approvals
            .get(step)
            .into_iter()
            .flatten()
            .filter(|a| a.approved)
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

/// A standing effect: renewed by the leader until another replaces it (DESIGN.md 5).
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    pub mutations: Vec<Mutation>,
    pub since: Timestamp,
}

/// Everything that one application's journal says.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    pub application: ApplicationName,
    pub tail: Tail,
    pub runs: BTreeMap<RunId, RunState>,
    /// The run that is not finished; at most one (FAULTS.md S1).
    pub active: Option<RunId>,
    pub verdict: Option<(Timestamp, String)>,
    /// When a failover was last first recommended, until the verdict changes again.
    pub recommended_at: Option<Timestamp>,
    pub standing: BTreeMap<TrafficName, Standing>,
}

/// An event that cannot follow what came before it. The application is held; nothing is guessed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{event} cannot follow: {why}")]
pub struct IllegalEvent {
    pub event: &'static str,
    pub why: String,
}

impl History {
    /// The history of an application whose journal is empty.
    pub fn new(application: ApplicationName) -> Self {
        Self {
            application,
            tail: Tail::empty(),
            runs: BTreeMap::new(),
            active: None,
            verdict: None,
            recommended_at: None,
            standing: BTreeMap::new(),
        }
    }

    /// Whether `events`, appended now, would be legal. The check and the append are under one lock.
    pub fn check(&self, at: Timestamp, events: &[Event]) -> Result<Self, IllegalEvent> {
        let mut after = self.clone();
        for event in events {
            after.apply_event(at, event)?;
        }
        Ok(after)
    }

    /// Takes a verified record in, with the tail after it.
    pub fn apply(&mut self, record: &Record, tail: Tail) -> Result<(), IllegalEvent> {
        for event in &record.events {
            self.apply_event(record.at, event)?;
        }
        self.tail = tail;
        Ok(())
    }

    pub fn active_run(&self) -> Option<&RunState> {
        self.active.as_ref().and_then(|id| self.runs.get(id))
    }

    /// Takes one event in.
    pub fn apply_event(&mut self, at: Timestamp, event: &Event) -> Result<(), IllegalEvent> {
        match event {
            Event::EpochStarted { .. } => Ok(()),
            Event::DecisionChanged { verdict, .. } => {
                if verdict == "recommend" {
                    self.recommended_at = self.recommended_at.or(Some(at));
                } else {
                    self.recommended_at = None;
                }
                self.verdict = Some((at, verdict.clone()));
                Ok(())
            }
            Event::RunStarted {
                run,
                request,
                plan,
                evidence_since,
            } => self.start_run(at, run, request, plan, *evidence_since),
            Event::StepStarted { run, step, attempt } => {
                self.step(run, step, "step_started", |_, s| match s {
                    StepState::Pending => Ok(StepState::Running {
                        attempt: *attempt,
                        since: at,
                    }),
                    from => Err(illegal("step_started", from)),
                })
            }
            Event::Intent {
                run,
                step,
                attempt,
                call,
                mutation,
                ..
            } => self.intend(at, run, step, *attempt, *call, mutation),
            Event::Answered {
                run,
                step,
                attempt,
                call,
                outcome,
            } => self.step(run, step, "answered", |_, s| match s {
                StepState::Sending {
                    attempt: a,
                    call: c,
                    since,
                    intended_at,
                    ..
                } if a == attempt && c == call => Ok(StepState::Answered {
                    attempt: *a,
                    since: *since,
                    call: *c,
                    intended_at: *intended_at,
                    outcome: outcome.clone(),
                }),
                from => Err(illegal("answered", from)),
            }),
            Event::StepDone {
                run,
                step,
                evidence,
                outputs,
            } => self.finish_step(at, run, step, evidence, outputs),
            Event::StepSkipped { run, step, reason } => {
                self.step(run, step, "step_skipped", |_, s| match s {
                    StepState::Pending => Ok(StepState::Skipped {
                        at,
                        reason: reason.clone(),
                    }),
                    from => Err(illegal("step_skipped", from)),
                })
            }
            Event::StepFailed {
                run,
                step,
                attempt,
                code,
                reason,
            } => self.step(run, step, "step_failed", |_, s| match s {
                StepState::Done { .. } | StepState::Skipped { .. } | StepState::Failed { .. } => {
                    Err(illegal("step_failed", s))
                }
                from => Ok(StepState::Failed {
                    attempt: *attempt,
                    since: from.since().unwrap_or(at),
                    at,
                    code: code.clone(),
                    reason: reason.clone(),
                }),
            }),
            Event::ApprovalRecorded {
                run,
                step,
                subject,
                approved,
                digest,
                reason,
            } => {
                let state = self.run(run, "approval_recorded")?;
                if *digest != state.plan_digest {
                    return Err(IllegalEvent {
                        event: "approval_recorded",
                        why: "it approves another plan".to_owned(),
                    });
                }
                let approval = Approval {
                    subject: subject.clone(),
                    approved: *approved,
                    reason: reason.clone(),
                    at,
                };
                state
                    .approvals
                    .entry(step.clone())
                    .or_default()
                    .push(approval);
                Ok(())
            }
            Event::RunHeld {
                run,
                step,
                code,
                reason,
                waits_for,
            } => {
                self.run(run, "run_held")?.phase = Phase::Held {
                    step: step.clone(),
                    code: code.clone(),
                    reason: reason.clone(),
                    waits_for: waits_for.clone(),
                    at,
                };
                Ok(())
            }
            Event::RunPaused {
                run,
                subject,
                reason,
            } => {
                self.run(run, "run_paused")?.phase = Phase::Paused {
                    subject: subject.clone(),
                    reason: reason.clone(),
                    at,
                };
                Ok(())
            }
            Event::RunResumed { run, .. } => {
                let state = self.run(run, "run_resumed")?;
                state.resume();
                Ok(())
            }
            Event::AbortRequested {
                run,
                subject,
                reason,
            } => self.abort(at, run, subject, reason),
            Event::RunFinished {
                run,
                result,
                reason,
                loss,
            } => {
                let state = self.run(run, "run_finished")?;
                state.phase = Phase::Finished {
                    result: *result,
                    reason: reason.clone(),
                    at,
                };
                state.loss.clone_from(loss);
                self.active = None;
                Ok(())
            }
        }
    }

    fn start_run(
        &mut self,
        at: Timestamp,
        id: &RunId,
        request: &Request,
        plan: &Plan,
        evidence_since: Option<Timestamp>,
    ) -> Result<(), IllegalEvent> {
        if let Some(active) = &self.active {
            return Err(IllegalEvent {
                event: "run_started",
                why: format!("{active} is not finished"),
            });
        }
        if self.runs.contains_key(id) {
            return Err(IllegalEvent {
                event: "run_started",
                why: format!("{id} exists"),
            });
        }
        let state = RunState {
            id: id.clone(),
            request: request.clone(),
            plan_digest: plan.digest(),
            steps: plan
                .steps
                .iter()
                .map(|s| (s.id.clone(), StepState::Pending))
                .collect(),
            plan: Arc::new(plan.clone()),
            started_at: at,
            evidence_since,
            recommended_at: self.recommended_at,
            attempts: BTreeMap::new(),
            approvals: BTreeMap::new(),
            phase: Phase::Running,
            loss: None,
        };
        self.runs.insert(id.clone(), state);
        self.active = Some(id.clone());
        Ok(())
    }

    fn intend(
        &mut self,
        at: Timestamp,
        run: &RunId,
        step: &StepId,
        attempt: u32,
        call: u32,
        mutation: &Mutation,
    ) -> Result<(), IllegalEvent> {
        let state = self.run(run, "intent")?;
        if matches!(
            state.phase,
            Phase::Aborting { .. } | Phase::Held { .. } | Phase::Paused { .. }
        ) {
            return Err(IllegalEvent {
                event: "intent",
                why: "the run is held, paused or being aborted".to_owned(),
            });
        }
        self.step(run, step, "intent", |planned, s| {
            let intended = planned.action.mutations();
            if intended.get(call as usize) != Some(mutation) {
                return Err(IllegalEvent {
                    event: "intent",
                    why: "the call is not the plan's".to_owned(),
                });
            }
            match s {
                StepState::Pending | StepState::Running { .. } | StepState::Answered { .. } => {
                    Ok(StepState::Sending {
                        attempt,
                        since: s.since().unwrap_or(at),
                        call,
                        intended_at: at,
                        mutation: mutation.clone(),
                    })
                }
                from => Err(illegal("intent", from)),
            }
        })
    }

    fn finish_step(
        &mut self,
        at: Timestamp,
        run: &RunId,
        step: &StepId,
        evidence: &[String],
        outputs: &BTreeMap<String, serde_json::Value>,
    ) -> Result<(), IllegalEvent> {
        let mut standing = None;
        self.step(run, step, "step_done", |planned, s| {
            if let Action::DnsFlip {
                traffic,
                calls,
                standing: true,
                ..
            } = &planned.action
            {
                standing = Some((
                    traffic.clone(),
                    Standing {
                        mutations: calls.clone(),
                        since: at,
                    },
                ));
            }
            match s {
                StepState::Done { .. } | StepState::Skipped { .. } | StepState::Failed { .. } => {
                    Err(illegal("step_done", s))
                }
                from => Ok(StepState::Done {
                    since: from.since().unwrap_or(at),
                    at,
                    evidence: evidence.to_vec(),
                    outputs: outputs.clone(),
                }),
            }
        })?;
        if let Some((traffic, effect)) = standing {
            self.standing.insert(traffic, effect);
        }
        Ok(())
    }

    fn abort(
        &mut self,
        at: Timestamp,
        run: &RunId,
        subject: &Subject,
        reason: &str,
    ) -> Result<(), IllegalEvent> {
        let state = self.run(run, "abort_requested")?;
        if state.is_past_no_return() {
            return Err(IllegalEvent {
                event: "abort_requested",
                why: "the run is past its point of no return".to_owned(),
            });
        }
        state.phase = Phase::Aborting {
            subject: subject.clone(),
            reason: reason.to_owned(),
            at,
        };
        Ok(())
    }

    fn run(&mut self, id: &RunId, event: &'static str) -> Result<&mut RunState, IllegalEvent> {
        match self.runs.get_mut(id) {
            None => Err(IllegalEvent {
                event,
                why: format!("{id} was never started"),
            }),
            Some(state) if state.is_finished() => Err(IllegalEvent {
                event,
                why: format!("{id} is finished"),
            }),
            Some(state) => Ok(state),
        }
    }

    fn step(
        &mut self,
        run: &RunId,
        step: &StepId,
        event: &'static str,
        transition: impl FnOnce(&PlannedStep, &StepState) -> Result<StepState, IllegalEvent>,
    ) -> Result<(), IllegalEvent> {
        let state = self.run(run, event)?;
        let unknown = || IllegalEvent {
            event,
            why: format!("the plan has no step `{step}`"),
        };
        let plan = Arc::clone(&state.plan);
        let planned = plan.step(step).ok_or_else(unknown)?;
        let slot = state.steps.get_mut(step).ok_or_else(unknown)?;
        let after = transition(planned, slot)?;
        let attempt = after.attempt();
        *slot = after;
        if attempt > 0 {
            state.attempts.insert(step.clone(), attempt);
        }
        Ok(())
    }
}

impl RunState {
    /// A person's word to go on: a failed step that held the run is tried again.
    fn resume(&mut self) {
        self.phase = Phase::Running;
        let plan = Arc::clone(&self.plan);
        for planned in plan
            .steps
            .iter()
            .filter(|s| s.on_failure == OnFailure::Hold)
        {
            if let Some(slot @ StepState::Failed { .. }) = self.steps.get_mut(&planned.id) {
                *slot = StepState::Pending;
            }
        }
    }
}

fn illegal(event: &'static str, from: &StepState) -> IllegalEvent {
    IllegalEvent {
        event,
        why: format!("the step is {from:?}"),
    }
}
