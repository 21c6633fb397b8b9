//! What a journal amounts to: a fold of its records into the runs of one application and where each stands.
//!
//! Start-up, steady state and crash recovery are this one path: fold, next, act. A transition that is not listed
//! here has a name ([`IllegalEvent`]) and stops the application; nothing is guessed.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    action::Action,
    branch::Branches,
    cloud::{Mutation, Outcome},
    deferred,
    detached::Detached,
    drill,
    id::{ApplicationName, RunId, StepId, StoreName, Subject, TrafficName},
    journal::{Event, Record, Request, Tail},
    overrides::Overrides,
    plan::{OnFailure, Plan, PlannedStep, Purpose},
    proof::Proofs,
    run::{Approval, Phase, RunState, StepState},
    runs::Runs,
    sabotage::{Guard, is_off},
    salvage,
    schedule::Schedules,
    undo::Unwind,
};

mod back;
mod branches;
mod deferred_work;

/// A standing effect: renewed by the leader until another replaces it (DESIGN.md 5).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    pub mutations: Vec<Mutation>,
    pub since: Timestamp,
}

/// Everything that one application's journal says.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    pub application: ApplicationName,
    pub tail: Tail,
    pub runs: Runs,
    pub verdict: Option<(Timestamp, String)>,
    /// When a failover was last first recommended, until the verdict changes again.
    pub recommended_at: Option<Timestamp>,
    /// In shadow mode: since when a failover would have been started, while it still would.
    pub would_start_since: Option<Timestamp>,
    pub standing: BTreeMap<TrafficName, Standing>,
    pub overrides: Overrides,
    /// Clusters that were detached from their global clusters, by the store whose writer each became.
    pub detached: BTreeMap<StoreName, Detached>,
    /// What runs have left open, and the newest of what is over.
    pub deferred: deferred::All,
    pub branches: Branches,
    /// How far each schedule was followed.
    pub schedules: Schedules,
    /// What runs have proved.
    pub proofs: Proofs,
    /// The time of the newest event.
    pub last_at: Option<Timestamp>,
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
            runs: Runs::default(),
            verdict: None,
            recommended_at: None,
            would_start_since: None,
            standing: BTreeMap::new(),
            overrides: Overrides::default(),
            detached: BTreeMap::new(),
            deferred: deferred::All::new(),
            branches: Branches::default(),
            schedules: Schedules::default(),
            proofs: Proofs::default(),
            last_at: None,
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
        self.runs.active().map(Arc::as_ref)
    }

    /// The run that moves the application, or holds who would: a salvage does neither.
    pub fn moving_run(&self) -> Option<&RunState> {
        self.active_run().filter(|run| run.plan.purpose != Purpose::Salvage)
    }

    /// Whether the newest decision is this one: a shadow that would start now and did not before is another one.
    pub fn has_decided(&self, verdict: &str, would_start: bool) -> bool {
        self.verdict.as_ref().is_some_and(|(_, last)| last == verdict)
            && self.would_start_since.is_some() == would_start
    }

    /// Takes one event in.
    pub fn apply_event(&mut self, at: Timestamp, event: &Event) -> Result<(), IllegalEvent> {
        self.last_at = Some(at);
        match event {
            _ if is_off(Guard::AfterTheEnd) && self.is_over(event) && !event.is_deferred() => Ok(()),
            Event::EpochStarted { .. } | Event::CalledFrom { .. } => Ok(()),
            Event::DecisionChanged { verdict, would_start, .. } => {
                self.decide(at, verdict, *would_start);
                Ok(())
            }
            Event::PrimarySeen { .. }
            | Event::BranchBegan { .. }
            | Event::BranchImported { .. }
            | Event::BranchReconciled { .. } => self.apply_to_branches(at, event),
            Event::ScheduleNoted { schedule, note } => self.schedules.note(at, schedule, note),
            Event::OverrideAsked { .. }
            | Event::OverrideConsented { .. }
            | Event::OverrideEnded { .. }
            | Event::NoticeIntended { .. }
            | Event::NoticeAnswered { .. } => self.overrides.apply(at, event),
            Event::RunStarted { run, request, plan, evidence_since } => {
                self.start_run(at, run, request, plan, *evidence_since)
            }
            Event::StepStarted { .. }
            | Event::Intent { .. }
            | Event::Answered { .. }
            | Event::CallObserved { .. }
            | Event::StepDone { .. }
            | Event::StepSkipped { .. }
            | Event::StepFailed { .. } => {
                self.apply_to_step(at, event)?;
                if let Some(state) = event.run().and_then(|run| self.runs.active_mut(run)) {
                    state.turn(at);
                }
                Ok(())
            }
            Event::UndoIntended { .. }
            | Event::UndoAnswered { .. }
            | Event::StepUndone { .. }
            | Event::UndoFailed { .. } => self.apply_to_undo(at, event),
            Event::WorkDeferred { .. }
            | Event::DeferredIntended { .. }
            | Event::DeferredAnswered { .. }
            | Event::DeferredEnded { .. } => self.apply_to_deferred(at, event),
            Event::StepRetried { .. } | Event::StepPassed { .. } => self.intervene(at, event),
            Event::ApprovalRecorded { .. }
            | Event::RunHeld { .. }
            | Event::RunPaused { .. }
            | Event::RunResumed { .. }
            | Event::AbortRequested { .. }
            | Event::BudgetExceeded { .. }
            | Event::RunFinished { .. } => self.apply_to_run(at, event),
        }
    }

    /// Whether `event` is about a run that is finished.
    fn is_over(&self, event: &Event) -> bool {
        event.run().and_then(|id| self.runs.get(id)).is_some_and(|run| run.is_finished())
    }

    fn decide(&mut self, at: Timestamp, verdict: &str, would_start: bool) {
        self.would_start_since = would_start.then(|| self.would_start_since.unwrap_or(at));
        self.recommended_at = matches!(verdict, "recommend" | "start").then(|| self.recommended_at.unwrap_or(at));
        self.verdict = Some((at, verdict.to_owned()));
    }

    fn apply_to_step(&mut self, at: Timestamp, event: &Event) -> Result<(), IllegalEvent> {
        match event {
            Event::StepStarted { run, step, attempt } => self.step(run, step, "step_started", |_, s| match s {
                StepState::Pending => Ok(StepState::Running { attempt: *attempt, since: at }),
                from => Err(illegal("step_started", from)),
            }),
            Event::Intent { run, step, attempt, call, mutation, prior, guards } => {
                self.intend(at, run, step, (*attempt, *call), mutation, guards)?;
                self.run(run, "intent")?.note_intent(at, (step, *call), prior.as_ref(), guards);
                Ok(())
            }
            Event::Answered { run, step, attempt, call, outcome } => {
                self.step(run, step, "answered", |_, s| answered("answered", s, *attempt, *call, outcome))?;
                self.run(run, "answered")?.note_answer(step, *call, outcome);
                Ok(())
            }
            Event::CallObserved { run, step, attempt, call, evidence } => {
                self.step(run, step, "call_observed", |_, s| match s {
                    StepState::Answered { attempt: a, call: c, since, .. } if a == attempt && c == call => {
                        let (attempt, call, since, evidence) = (*a, *c, *since, evidence.clone());
                        Ok(StepState::Holding { attempt, since, call, held_since: at, evidence })
                    }
                    from => Err(illegal("call_observed", from)),
                })
            }
            Event::StepDone { run, step, evidence, outputs } => self.finish_step(at, run, step, evidence, outputs),
            Event::StepSkipped { run, step, reason } => self.step(run, step, "step_skipped", |_, s| match s {
                StepState::Pending => Ok(StepState::Skipped { at, reason: reason.clone() }),
                from => Err(illegal("step_skipped", from)),
            }),
            Event::StepFailed { run, step, attempt, code, reason, nothing_happened } => {
                let mut takes_back = false;
                self.step(run, step, "step_failed", |planned, s| {
                    takes_back = planned.on_failure == OnFailure::Undo;
                    failed("step_failed", at, s, *attempt, code, reason)
                })?;
                if *nothing_happened {
                    self.run(run, "step_failed")?.note_nothing_happened(step);
                    self.run(run, "step_failed")?.note_settled(step);
                }
                if takes_back {
                    self.run(run, "step_failed")?.note_failure(at, step, &format!("{code}: {reason}"));
                }
                Ok(())
            }
            other => Err(IllegalEvent { event: "step event", why: format!("{other:?} is none") }),
        }
    }

    fn apply_to_run(&mut self, at: Timestamp, event: &Event) -> Result<(), IllegalEvent> {
        match event {
            Event::ApprovalRecorded { run, step, subject, approved, digest, reason } => {
                let state = self.run(run, "approval_recorded")?;
                if *digest != state.plan_digest && !is_off(Guard::OtherDigest) {
                    let why = "it approves another plan".to_owned();
                    return Err(IllegalEvent { event: "approval_recorded", why });
                }
                let approval = Approval { subject: subject.clone(), approved: *approved, reason: reason.clone(), at };
                state.approvals.entry(step.clone()).or_default().push(approval);
            }
            Event::RunHeld { run, step, code, reason, waits_for } => {
                let (step, code, reason, waits_for) = (step.clone(), code.clone(), reason.clone(), waits_for.clone());
                self.run(run, "run_held")?.phase = Phase::Held { step, code, reason, waits_for, at };
            }
            Event::RunPaused { run, subject, reason } => {
                let (subject, reason) = (subject.clone(), reason.clone());
                self.run(run, "run_paused")?.phase = Phase::Paused { subject, reason, at };
            }
            Event::RunResumed { run, .. } => self.run(run, "run_resumed")?.go_on(at),
            Event::AbortRequested { run, subject, reason } => self.abort(at, run, subject, reason)?,
            Event::BudgetExceeded { run, step, reason } => {
                let state = self.run(run, "budget_exceeded")?;
                let went = state.go_home(at, step, reason);
                went.map_err(|why| IllegalEvent { event: "budget_exceeded", why })?;
            }
            Event::RunFinished { run, result, reason, loss } => {
                let state = self.run(run, "run_finished")?;
                state.phase = Phase::Finished { result: *result, reason: reason.clone(), at };
                state.loss.clone_from(loss);
                let ended = self.runs.active().cloned();
                ended.iter().for_each(|run| self.branches.ended(run));
                ended.iter().for_each(|run| self.proofs.ended(run));
                self.runs.retire();
            }
            other => {
                return Err(IllegalEvent { event: "run event", why: format!("{other:?} is none") });
            }
        }
        Ok(())
    }

    fn start_run(
        &mut self,
        at: Timestamp,
        id: &RunId,
        request: &Request,
        plan: &Plan,
        evidence_since: Option<Timestamp>,
    ) -> Result<(), IllegalEvent> {
        if let Some(active) = self.runs.active()
            && !is_off(Guard::TwoRuns)
        {
            return Err(IllegalEvent { event: "run_started", why: format!("{} is not finished", active.id) });
        }
        if self.runs.contains_key(id) {
            return Err(IllegalEvent { event: "run_started", why: format!("{id} exists") });
        }
        if let Some(why) = drill::loses(plan) {
            return Err(IllegalEvent { event: "run_started", why: why.to_owned() });
        }
        if let Some(why) = salvage::moves(plan) {
            return Err(IllegalEvent { event: "run_started", why });
        }
        self.schedules.begin(id, request)?;
        if let Some(armed) = &request.armed {
            self.overrides.spend(at, armed, id, plan)?;
        }
        // What another failover will leave is another piece of work.
        if request.purpose == Purpose::Failover {
            deferred::supersede(&mut self.deferred, at, id);
        }
        let state = RunState {
            id: id.clone(),
            request: request.clone(),
            plan_digest: plan.digest(),
            steps: plan.steps.iter().map(|s| (s.id.clone(), StepState::Pending)).collect(),
            plan: Arc::new(plan.clone()),
            started_at: at,
            evidence_since,
            recommended_at: self.recommended_at,
            attempts: BTreeMap::new(),
            approvals: BTreeMap::new(),
            phase: Phase::Running,
            loss: None,
            unwind: Unwind::default(),
            homeward: None,
        };
        self.runs.begin(state);
        Ok(())
    }

    fn intend(
        &mut self,
        at: Timestamp,
        run: &RunId,
        step: &StepId,
        (attempt, call): (u32, u32),
        mutation: &Mutation,
        guards: &[String],
    ) -> Result<(), IllegalEvent> {
        let state = self.run(run, "intent")?;
        let paused = matches!(state.phase, Phase::Paused { .. }) && !is_off(Guard::PauseIgnored);
        if paused || state.phase.is_unwinding() || matches!(state.phase, Phase::Held { .. }) {
            return Err(IllegalEvent { event: "intent", why: "the run is held, paused or being aborted".to_owned() });
        }
        let is_again = |s: &StepState| matches!(s, StepState::Answered { call: last, .. } if *last == call);
        if state.leaves_behind(step) && state.steps.get(step).is_some_and(is_again) {
            let why = "the drill is on its way home: nothing of the way there is repeated".to_owned();
            return Err(IllegalEvent { event: "intent", why });
        }
        // What is intended has the outputs of other steps where the plan names them.
        let planned = state.plan.step(step).map(|planned| state.filled(&planned.action)).transpose();
        let filled = planned.map_err(|why| IllegalEvent { event: "intent", why })?.flatten();
        self.step(run, step, "intent", |planned, s| {
            let intended = filled.as_ref().unwrap_or(&planned.action).mutations();
            if intended.get(call as usize) != Some(mutation) {
                return Err(IllegalEvent { event: "intent", why: "the call is not the plan's".to_owned() });
            }
            match s {
                StepState::Pending
                | StepState::Running { .. }
                | StepState::Answered { .. }
                | StepState::Holding { .. } => Ok(StepState::Sending {
                    attempt,
                    since: s.since().unwrap_or(at),
                    call,
                    intended_at: at,
                    mutation: mutation.clone(),
                    guards: guards.to_vec(),
                }),
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
        let (mut standing, mut detached) = (None, None);
        self.step(run, step, "step_done", |planned, s| {
            if let Action::DnsFlip { traffic, calls, standing: true, .. } = &planned.action {
                standing = Some((traffic.clone(), Standing { mutations: calls.clone(), since: at }));
            }
            detached = Detached::by(&planned.action, outputs, run, at);
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
        self.detached.extend(detached.map(|detached| (detached.store.clone(), detached)));
        Ok(())
    }

    fn abort(&mut self, at: Timestamp, run: &RunId, subject: &Subject, reason: &str) -> Result<(), IllegalEvent> {
        let state = self.run(run, "abort_requested")?;
        if state.is_past_no_return() {
            return Err(IllegalEvent {
                event: "abort_requested",
                why: "the run is past its point of no return".to_owned(),
            });
        }
        state.note_abort(at, subject, reason);
        Ok(())
    }

    fn run(&mut self, id: &RunId, event: &'static str) -> Result<&mut RunState, IllegalEvent> {
        let is_finished = self.runs.contains_key(id);
        match self.runs.active_mut(id) {
            Some(state) => Ok(state),
            None if is_finished => Err(IllegalEvent { event, why: format!("{id} is finished") }),
            None => Err(IllegalEvent { event, why: format!("{id} was never started") }),
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
        let unknown = || IllegalEvent { event, why: format!("the plan has no step `{step}`") };
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

fn answered(
    event: &'static str,
    from: &StepState,
    attempt: u32,
    call: u32,
    outcome: &Outcome,
) -> Result<StepState, IllegalEvent> {
    match from {
        StepState::Sending { attempt: a, call: c, since, intended_at, guards, .. } if *a == attempt && *c == call => {
            let (since, intended_at, outcome, guards) = (*since, *intended_at, outcome.clone(), guards.clone());
            Ok(StepState::Answered { attempt, since, call, intended_at, outcome, guards })
        }
        from => Err(illegal(event, from)),
    }
}

fn failed(
    event: &'static str,
    at: Timestamp,
    from: &StepState,
    attempt: u32,
    code: &str,
    reason: &str,
) -> Result<StepState, IllegalEvent> {
    match from {
        StepState::Done { .. } | StepState::Skipped { .. } | StepState::Failed { .. } => Err(illegal(event, from)),
        from => {
            let (since, code, reason) = (from.since().unwrap_or(at), code.to_owned(), reason.to_owned());
            Ok(StepState::Failed { attempt, since, at, code, reason })
        }
    }
}

fn illegal(event: &'static str, from: &StepState) -> IllegalEvent {
    IllegalEvent { event, why: format!("the step is {from:?}") }
}

#[cfg(test)]
pub(super) mod tests;
