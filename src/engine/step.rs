//! Driving one step from where the journal says that it is to its end.
//!
//! Invariant: a driver holds no state that matters; killed at any point and started again, it goes on from the
//! journal. It decides nothing that the plan has left open.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    domain::{
        action::{Action, Facts},
        expression,
        history::History,
        id::{RunId, StepId},
        journal::Event,
        plan::{OnFailure, PlannedStep},
        recovery,
        run::{Next, Phase, RunState, StepState},
        sabotage::{Guard, is_off},
        seconds::to_seconds,
        trace::{self, Behalf},
    },
    engine::{
        context::Context,
        deferred, effect, fences,
        guards::{self, Answer},
        look,
        look::{Look, Memory},
        scribe::CommitError,
        undo,
    },
    ports::behalf::on_behalf,
};

/// Why a driver stopped before its step was over. The journal tells where it stands.
#[derive(Debug)]
pub enum Stop {
    /// The daemon is stopping, the run is held or paused, or the state moved under the driver: look at the journal.
    Yield,
    /// Nothing was recorded and nothing more may be done; the reason was raised where it happened.
    Broken(String),
}

impl<E> From<CommitError<E>> for Stop {
    fn from(error: CommitError<E>) -> Self {
        match error {
            // The state moved between the look and the commit (a pause, an abort): go by the journal.
            CommitError::Refused(_) | CommitError::Illegal(_) => Self::Yield,
            CommitError::TooLarge(e) => Self::Broken(e.to_string()),
            CommitError::Append(e) => Self::Broken(e.to_string()),
        }
    }
}

/// Which way a step is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Forth,
    /// It is taken back: the same protocol with the inverse calls, and events of their own.
    Back,
}

/// One step of one run, being driven.
#[derive(Debug)]
pub struct Driver {
    pub context: Context,
    pub run: RunId,
    /// On the way back: with the inverse action.
    pub step: PlannedStep,
    pub way: Way,
}

impl Driver {
    /// Drives the step until it is done, skipped or failed, or until something stops it.
    pub async fn drive(&self) -> Result<(), Stop> {
        let driving = async {
            match self.way {
                Way::Forth => self.drive_from_journal().await,
                Way::Back => undo::drive(self).await,
            }
        };
        let driven = on_behalf(self.behalf(None), driving).await;
        self.context.waits.forget(&self.run, &self.step.id);
        if !self.run_state().is_ok_and(|run| self.state(&run).is_in_flight()) {
            self.context.ages.forget(&self.run, &self.step.id);
            self.context.holds.forget(&self.run, &self.step.id);
        }
        driven
    }

    /// For what a call is made here; `call`: which one, of a mutation.
    pub fn behalf(&self, call: Option<(u32, u32)>) -> Behalf {
        let way = match self.way {
            Way::Forth => trace::Way::Forth,
            Way::Back => trace::Way::Back,
        };
        Behalf { run: self.run.clone(), step: self.step.id.clone(), way, call }
    }

    /// Where what is driven stands.
    pub fn state<'a>(&self, run: &'a RunState) -> &'a StepState {
        match self.way {
            Way::Forth => &run.steps[&self.step.id],
            Way::Back => run.undo_state(&self.step.id),
        }
    }

    /// Whether `run` moves this way, and may send: not held, not paused.
    pub fn may_act(&self, run: &RunState) -> bool {
        match self.way {
            Way::Forth => may_act(run),
            Way::Back => run.phase.is_unwinding() && !run.unwind.stands,
        }
    }

    /// Whether the run gives up what has had no effect, instead of trying it again.
    pub fn gives_up(&self, run: &RunState) -> bool {
        self.way == Way::Forth && (run.phase.is_unwinding() || run.leaves_behind(&self.step.id))
    }

    /// Whether its call may be sent now.
    pub async fn guards(&self, run: &RunState, call: u32) -> Answer {
        match self.way {
            Way::Forth => guards::check_call(&self.context, run, &self.step.action, call).await,
            Way::Back => undo::may_go_back(&self.context, &self.step.action).await,
        }
    }

    async fn drive_from_journal(&self) -> Result<(), Stop> {
        let run = self.run_state()?;
        if matches!(run.steps[&self.step.id], StepState::Pending) && !self.wanted(&run).await? {
            return Ok(());
        }
        match self.run_state()?.filled(&self.step.action) {
            Ok(None) => self.drive_action().await,
            Ok(Some(action)) => {
                let step = PlannedStep { action, ..self.step.clone() };
                Self { context: self.context.clone(), run: self.run.clone(), step, way: self.way }.drive_action().await
            }
            Err(why) => self.fail("output-unusable", why).await,
        }
    }

    /// Drives what the step does, with every argument that it has.
    async fn drive_action(&self) -> Result<(), Stop> {
        if self.step.action.mutations().is_empty() { self.drive_look().await } else { effect::drive(self).await }
    }

    /// Evaluates `when`; false (or an error, which fails the step) ends it.
    async fn wanted(&self, run: &RunState) -> Result<bool, Stop> {
        let Some(when) = &self.step.when else {
            return Ok(true);
        };
        match expression::evaluate(when, &facts(run, &self.step.id)) {
            Ok(true) => Ok(true),
            Ok(false) => {
                let skipped = Event::StepSkipped {
                    run: self.run.clone(),
                    step: self.step.id.clone(),
                    reason: format!("`{when}` is false"),
                };
                self.record(vec![skipped]).await?;
                Ok(false)
            }
            Err(error) => {
                self.fail("assert-failed", format!("`when`: {error}")).await?;
                Ok(false)
            }
        }
    }

    async fn drive_look(&self) -> Result<(), Stop> {
        let mut run = self.run_state()?;
        if matches!(run.steps[&self.step.id], StepState::Pending) {
            let attempt = run.next_attempt(&self.step.id);
            self.record(vec![Event::StepStarted { run: self.run.clone(), step: self.step.id.clone(), attempt }])
                .await?;
            run = self.run_state()?;
        }
        let deadline = self.deadline(&run);
        let mut memory = Memory::default();
        let mut changes = self.context.scribe.changes();
        loop {
            let _newest = changes.take();
            let run = self.run_state()?;
            let listens = look::listens(&run.steps[&self.step.id], &self.step.action);
            let looked = look::look(&self.context, &run, &self.step.id, &self.step.action, &mut memory).await;
            let (why, pause) = match looked {
                Look::Satisfied { evidence, outputs } => {
                    return self.finish_after(self.leaves_open(&run), evidence, outputs).await;
                }
                Look::Refused { code, why } => return self.fail(code, why).await,
                Look::NotYet { why, pause } => (why, pause),
            };
            self.context.waits.note(&self.run, &self.step.id, &why);
            let left = deadline.saturating_sub(self.context.clock.boot());
            if left.is_zero() {
                return self
                    .fail("step-timeout", format!("not within {} s: {why}", to_seconds(self.step.timeout)))
                    .await;
            }
            let mut ending = self.context.scribe.changes();
            tokio::select! {
                biased;
                () = self.context.stopping.cancelled() => return Err(Stop::Yield),
                // Whoever only looks or waits leaves nothing to settle: an abort does not wait for it.
                () = ending.wait_for(|history| self.is_over(history)) => return Err(Stop::Yield),
                () = changes.changed(), if listens => {}
                () = self.context.clock.sleep(pause.min(left)) => {}
            }
        }
    }

    /// The instant (in boot time) at which the step is out of time. What a restart took counts.
    pub fn deadline(&self, run: &RunState) -> Duration {
        let waits_on = is_off(Guard::ExpiredApproval) && matches!(self.step.action, Action::Approve { .. });
        let timeout = self.step.timeout * if waits_on || is_off(Guard::NoDeadline) { 1_000 } else { 1 };
        let left = timeout.saturating_sub(under_way(&self.context, run, &self.step.id, self.state(run)));
        self.context.clock.boot() + left
    }

    /// The run as the journal has it now.
    ///
    /// # Errors
    /// [`Stop::Yield`] when the run is finished: there is nothing left to drive.
    pub fn run_state(&self) -> Result<Arc<RunState>, Stop> {
        let history = self.context.scribe.history();
        match history.runs.get(&self.run) {
            Some(run) if !run.is_finished() => Ok(Arc::clone(run)),
            _ => Err(Stop::Yield),
        }
    }

    /// Whether the run ends without this step, if the step has no effect under way.
    fn is_over(&self, history: &History) -> bool {
        history.runs.get(&self.run).is_none_or(|run| {
            // Passed over on the way home: the journal has it as over.
            let is_over = !run.steps.get(&self.step.id).is_some_and(StepState::is_unsettled);
            run.is_finished() || run.phase.is_unwinding() || is_over
        })
    }

    pub async fn record(&self, events: Vec<Event>) -> Result<(), Stop> {
        self.context.scribe.commit(|_, _| Ok::<_, ()>((events, ()))).await.map_err(Stop::from)
    }

    /// Done, and in the same commit the beginning of what follows, where no gate lies between.
    pub async fn finish(&self, evidence: Vec<String>, outputs: BTreeMap<String, Value>) -> Result<(), Stop> {
        self.finish_after(Vec::new(), evidence, outputs).await
    }

    /// The work that the step leaves open when it is done.
    fn leaves_open(&self, run: &RunState) -> Vec<Event> {
        let history = self.context.scribe.history();
        let Some(work) = deferred::opened(&history, run, &self.step.action) else { return Vec::new() };
        vec![Event::WorkDeferred { run: self.run.clone(), step: self.step.id.clone(), work }]
    }

    /// The same, after `before` (the answer that is at once the postcondition).
    pub async fn finish_after(
        &self,
        before: Vec<Event>,
        evidence: Vec<String>,
        outputs: BTreeMap<String, Value>,
    ) -> Result<(), Stop> {
        let (run, step) = (self.run.clone(), self.step.id.clone());
        let done = match self.way {
            Way::Forth => Event::StepDone { run, step, evidence, outputs },
            Way::Back => Event::StepUndone { run, step, evidence },
        };
        self.context
            .scribe
            .commit(|history, at| {
                let mut events = before;
                events.push(done);
                if let Some(finished) = self.ending(history, at, &events) {
                    tracing::info!(run = %self.run, application = %self.context.application.name, "the last step is done");
                    events.push(finished);
                } else if !self.context.stopping.is_cancelled() {
                    events.extend(self.openings(history));
                }
                Ok::<_, ()>((events, ()))
            })
            .await
            .map_err(Stop::from)
    }

    /// The end of the run, where `events` leave nothing to do.
    fn ending(&self, history: &History, at: Timestamp, events: &[Event]) -> Option<Event> {
        let run = history.runs.get(&self.run)?;
        // Seen without a copy of the state, since every step asks.
        let is_last = run.steps.iter().all(|(id, state)| *id == self.step.id || !state.is_unsettled());
        if !is_last && !run.phase.is_unwinding() {
            return None;
        }
        // An event that is illegal now is found by the commit, which names it.
        let after = history.check(at, events).ok()?;
        let run = after.runs.get(&self.run)?;
        let Next::Finish { result, reason } = run.next() else { return None };
        Some(Event::RunFinished {
            run: self.run.clone(),
            result,
            reason,
            loss: recovery::loss(run, self.context.trail.of(&run.plan.source)),
        })
    }

    /// The first events of the steps that become ready with this one, where nothing must be looked at in between:
    /// never across an approval, a timer or a gate, and never an effect that has guards.
    fn openings(&self, history: &History) -> Vec<Event> {
        let is_gate = matches!(
            self.step.action,
            Action::Approve { .. }
                | Action::Wait { .. }
                | Action::GateRpo { .. }
                | Action::GateTarget { .. }
                | Action::GateCapacity { .. }
                | Action::GateQuota { .. }
                | Action::GateReplication { .. }
                | Action::Assert { .. }
        );
        let Some(run) = history.runs.get(&self.run).filter(|_| !is_gate) else {
            return Vec::new();
        };
        openings(&self.context, run, run.ready_after(&self.step.id))
    }

    /// Failed for good; the run is held with it where the plan says so.
    pub async fn fail(&self, code: &str, reason: String) -> Result<(), Stop> {
        self.fail_after(Vec::new(), code, reason).await
    }

    /// The same, after `before` (the answer that failed it).
    pub async fn fail_after(&self, before: Vec<Event>, code: &str, reason: String) -> Result<(), Stop> {
        self.fail_as(before, code, reason, false).await
    }

    /// Failed for good, and it was observed that none of its calls has had an effect.
    pub async fn fail_without_effect(&self, code: &str, reason: String) -> Result<(), Stop> {
        self.fail_as(Vec::new(), code, reason, true).await
    }

    async fn fail_as(
        &self,
        before: Vec<Event>,
        code: &str,
        reason: String,
        nothing_happened: bool,
    ) -> Result<(), Stop> {
        let run = self.run_state()?;
        let is_forth = self.way == Way::Forth && !run.is_unwinding();
        if let Some((evidence, outputs)) = fences::passed(&self.step.action, code, &reason).filter(|_| is_forth) {
            return self.finish_after(before, evidence, outputs).await;
        }
        let (id, step, code) = (self.run.clone(), self.step.id.clone(), code.to_owned());
        let attempts = if self.way == Way::Forth { &run.attempts } else { &run.unwind.attempts };
        let attempt = attempts.get(&step).copied().unwrap_or(1);
        tracing::warn!(run = %id, %step, way = ?self.way, application = %self.context.application.name, code, reason, "step failed");
        let mut events = before;
        let (told, why) = (code.clone(), reason.clone());
        events.push(match self.way {
            Way::Forth => Event::StepFailed { run: id, step, attempt, code: told, reason: why, nothing_happened },
            Way::Back => Event::UndoFailed { run: id, step, attempt, code: told, reason: why },
        });
        let committed = self.context.scribe.commit(|history, at| {
            events.extend(self.hold(history, at, &events, code, reason));
            Ok::<_, ()>((events, ()))
        });
        committed.await.map_err(Stop::from)
    }

    /// What holds the run with a step that has failed, where it is to be held. A run on its way back waits for nobody,
    /// unless it is the way back that has failed; and one that cannot be taken back is held instead.
    fn hold(
        &self,
        history: &History,
        at: Timestamp,
        events: &[Event],
        code: String,
        mut reason: String,
    ) -> Option<Event> {
        // An event that is illegal now is found by the commit, which names it.
        let after = history.check(at, events).ok()?;
        let run = after.runs.get(&self.run)?;
        let waits_for = match (self.way, self.step.on_failure) {
            (Way::Back, _) => {
                "an operator: resume or retry (takes it back again), skip (leaves it as it is) or abort (ends the run \
                 where it stands)"
            }
            (Way::Forth, _) if run.is_unwinding() => return None,
            (Way::Forth, _) if run.leaves_behind(&self.step.id) => {
                if run.is_resolved(&self.step.id) {
                    return None;
                }
                reason.push_str("; the drill is over its budget, and does not go home before that is known");
                "an operator: resume (goes home from what is seen then) or abort"
            }
            (Way::Forth, OnFailure::Continue) => return None,
            (Way::Forth, OnFailure::Hold) if is_off(Guard::HoldIgnored) => return None,
            (Way::Forth, OnFailure::Hold) => "an operator: resume (tries the step again) or abort",
            (Way::Forth, OnFailure::Undo) => {
                if let Some((_, why)) = run.crossed() {
                    reason.push_str(&format!("; it is not undone: {why}"));
                }
                "an operator: resume (tries the step again); past its point of no return the run is completed"
            }
        };
        let (run, step, waits_for) = (self.run.clone(), Some(self.step.id.clone()), waits_for.to_owned());
        Some(Event::RunHeld { run, step, code, reason, waits_for })
    }
}

/// The first events of those steps of `ready` that may begin in the commit that makes them ready: no `when` to evaluate,
/// no guard to look at in between.
pub fn openings(context: &Context, run: &RunState, ready: Vec<&PlannedStep>) -> Vec<Event> {
    let openings: Vec<Event> = ready
        .into_iter()
        .filter(|next| next.when.is_none())
        .filter_map(|next| match &next.action {
            Action::Notify { .. } => effect::first_intent(run, next),
            action if action.mutations().is_empty() => Some(Event::StepStarted {
                run: run.id.clone(),
                step: next.id.clone(),
                attempt: run.next_attempt(&next.id),
            }),
            _ => None,
        })
        .collect();
    // Noted before the record is durable and read only after it: a mark without its intent is never taken.
    for opening in &openings {
        if let Event::Intent { run, step, .. } = opening {
            context.unsent.note(run, step);
        }
    }
    openings
}

/// How long ago the step began; nothing where it is not under way.
pub fn elapsed(context: &Context, run: &RunState, step: &StepId) -> Duration {
    under_way(context, run, step, &run.steps[step])
}

fn under_way(context: &Context, run: &RunState, step: &StepId, state: &StepState) -> Duration {
    let began = state.under_way_since();
    let by_wall = began.filter(|_| is_off(Guard::WallTime)).map(|began| context.clock.wall().duration_since(began));
    if let Some(by_wall) = by_wall {
        return Duration::try_from(by_wall).unwrap_or_default();
    }
    began.map_or(Duration::ZERO, |began| context.ages.of(&run.id, step, began, context.clock.boot()))
}

/// What expressions of the step `id` see: on the way back of a drill, source and target are exchanged.
pub fn facts(run: &RunState, id: &StepId) -> Facts {
    let (source, target) = run.plan.ends(id);
    let steps: serde_json::Map<String, Value> = run
        .steps
        .iter()
        .map(|(id, state)| {
            let (state, outputs) = match state {
                StepState::Pending => ("pending", None),
                StepState::Running { .. }
                | StepState::Sending { .. }
                | StepState::Answered { .. }
                | StepState::Holding { .. } => ("running", None),
                StepState::Done { outputs, .. } => ("done", Some(outputs)),
                StepState::Skipped { .. } => ("skipped", None),
                StepState::Failed { .. } => ("failed", None),
            };
            (id.to_string(), json!({ "state": state, "outputs": outputs.cloned().unwrap_or_default() }))
        })
        .collect();
    Facts::from([
        ("application".to_owned(), json!(run.plan.application)),
        ("purpose".to_owned(), json!(run.plan.purpose)),
        ("source".to_owned(), json!(source)),
        ("target".to_owned(), json!(target)),
        ("accepted_loss_seconds".to_owned(), json!(run.plan.accepted_loss.map(to_seconds))),
        ("steps".to_owned(), Value::Object(steps)),
    ])
}

/// Whether a run that moves may send: not held, paused or aborting.
pub fn may_act(run: &RunState) -> bool {
    matches!(run.phase, Phase::Running) || (matches!(run.phase, Phase::Paused { .. }) && is_off(Guard::PauseIgnored))
}
