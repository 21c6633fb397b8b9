//! Taking back what a run has done: which of its calls may have changed something, what was there before, the calls
//! that restore it, and in which order ([`RunState::next_unwinding`]).
//!
//! Invariants: nothing is taken back across a point of no return; what is restored is what was *seen* before the first
//! call of a step and journalled with its intent, never a default; a step is taken back after everything that needed
//! it. Where any of this cannot be, the run holds and names the person (FAULTS.md 71, R9).
//!
//! It sends and observes nothing: the same protocol that drives a step drives its undo, with the inverse calls.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    action::{Action, EffectClass},
    catalogue::Undo,
    cloud::{Mutation, Outcome, RecordSet},
    fence::{Fence, IngressRule, Rung},
    id::{StepId, Subject},
    plan::{PlannedStep, Towards},
    run::{Next, Phase, RunResult, RunState, StepState},
    sabotage::{Guard, is_off},
};

mod inverse;

pub use inverse::{destinations, inverse, same_set};

/// What a call is about to change, as it was observed just before its intent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "prior", rename_all = "snake_case")]
pub enum Prior {
    /// Routing controls by ARN; `true` is On.
    RoutingControls { states: BTreeMap<String, bool> },
    /// Those record sets of the call's names and types that it replaces.
    Records { records: Vec<RecordSet> },
    /// What a health signal said last, and how that is known.
    Metric { value: f64, basis: String },
    /// The rules of a security group that a fence takes away.
    Ingress { rules: Vec<IngressRule> },
    /// How much of a service there was; `None`: a function without a reservation.
    Size { count: Option<u64> },
    /// Whether the object of a standby was there.
    Object { is_there: bool },
    /// What an `aws.call` replaces, by argument of the call that puts it back (`undo: restore`).
    Answer { values: BTreeMap<String, serde_json::Value> },
}

/// A call of a run that may have changed something.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    /// What was there before; `None` where it was not seen.
    pub prior: Option<Prior>,
    /// Some attempt was accepted, or nobody knows.
    has_effect: bool,
    /// The newest attempt is not answered yet.
    is_open: bool,
    intended_at: Timestamp,
    /// When the newest attempt was intended that was never answered: it may still land while its signature is valid.
    pub doubt_at: Option<Timestamp>,
    /// The same, whatever was seen since: that nothing of it has happened says nothing of what has not arrived yet.
    unanswered_at: Option<Timestamp>,
    /// What the guards had found right before it.
    pub proof: Vec<String>,
}

impl Made {
    pub(super) fn may_have_effect(&self) -> bool {
        self.has_effect || self.is_open
    }

    /// When its newest attempt was intended.
    pub fn intended_at(&self) -> Timestamp {
        self.intended_at
    }

    /// Whether it may have been lost on the way: an attempt is not answered, or was answered by nobody.
    pub fn is_in_doubt(&self) -> bool {
        self.is_open || self.doubt_at.is_some()
    }
}

/// Why a run is taken back.
#[derive(Debug, Clone, PartialEq)]
pub enum Cause {
    Abort {
        subject: Subject,
        reason: String,
    },
    /// A step with `on_failure: undo` failed.
    Failure {
        step: StepId,
        reason: String,
    },
    /// A drill has exceeded its budget at `step`.
    Budget {
        step: StepId,
        reason: String,
    },
}

impl Cause {
    pub(super) fn phase(&self, at: Timestamp) -> Phase {
        match self.clone() {
            Self::Abort { subject, reason } => Phase::Aborting { subject, reason, at },
            Self::Failure { step, reason } | Self::Budget { step, reason } => Phase::Undoing { step, reason, at },
        }
    }
}

/// What a run has made, and how far it is taken back.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Unwind {
    /// By step and by number of call.
    pub made: BTreeMap<StepId, BTreeMap<u32, Made>>,
    /// Where the undo of each step stands: `Done` is undone, `Skipped` was left as it is by a person.
    pub steps: BTreeMap<StepId, StepState>,
    /// How many attempts an undo has had.
    pub attempts: BTreeMap<StepId, u32>,
    /// Set from when it was decided to take the run back, through holds, until it ends or a person completes it.
    pub cause: Option<Cause>,
    /// A person has aborted a run whose undo was held: it ends where it stands.
    pub stands: bool,
}

/// The state of an undo that has not begun.
static PENDING: StepState = StepState::Pending;

/// What a step has made of one thing, and the call that takes it back.
#[derive(Debug, Clone, PartialEq)]
pub struct Restoration {
    /// The calls that may have changed it, any of which may be in effect now.
    pub made: Vec<Mutation>,
    pub back: Mutation,
}

/// Whether two calls of one action change the same thing: the steps of a ramp write the same records, and turn the same
/// controls.
fn is_same_thing(action: &Action, one: &Mutation, other: &Mutation) -> bool {
    let same_kind = std::mem::discriminant(one) == std::mem::discriminant(other);
    if matches!(action, Action::DnsWeights(_)) { same_kind } else { one == other }
}

impl RunState {
    /// The action that takes `planned` back: its calls that may have had an effect, each inverted, the last first.
    ///
    /// # Errors
    /// Why there is none, as a sentence.
    pub fn inverse_of(&self, planned: &PlannedStep) -> Result<Action, String> {
        if let Action::AwsCall { call } = &planned.action {
            let back = call.undo.clone();
            let back = back.ok_or("the runbook declares no call that takes it back, under `undo`")?;
            let back = Action::AwsCall { call: Box::new(self.put_back(&planned.id, &back)?) };
            return Ok(self.filled(&back)?.unwrap_or(back));
        }
        if let Action::LambdaFault(fault) = &planned.action {
            return Ok(Action::LambdaFault(Box::new(fault.mended())));
        }
        if let Action::Fence { fence } = &planned.action {
            let calls = self.restorations(planned)?.into_iter().map(|restoration| restoration.back).collect();
            let rung = Rung::Restore { of: fence.rung.name().to_owned(), calls };
            return Ok(Action::Fence { fence: Box::new(Fence { rung, ..(**fence).clone() }) });
        }
        let (traffic, to, standing, requires_writer) = match &planned.action {
            Action::DnsFlip { traffic, to, standing, requires_writer, .. } => (traffic, to, *standing, requires_writer),
            // At once: what it had before served it before.
            Action::DnsWeights(ramp) => (&ramp.traffic, &ramp.to, false, &ramp.requires_writer),
            other => return Err(format!("{} is not taken back by a step", other.kind())),
        };
        let calls = self.restorations(planned)?.into_iter().map(|restoration| restoration.back).collect();
        let (traffic, to, requires_writer) = (traffic.clone(), to.clone(), requires_writer.clone());
        Ok(Action::DnsFlip { traffic, to, calls, standing, requires_writer })
    }

    /// Each thing that `planned` may have changed, the one changed last first, with the call that takes it back.
    ///
    /// # Errors
    /// Why one has none, as a sentence.
    pub fn restorations(&self, planned: &PlannedStep) -> Result<Vec<Restoration>, String> {
        let made = self.unwind.made.get(&planned.id);
        let mut things: Vec<(Vec<Mutation>, Option<Prior>)> = Vec::new();
        for (number, call) in (0..).zip(planned.action.mutations()) {
            let Some(made) = made.and_then(|m| m.get(&number)).filter(|m| m.may_have_effect()) else { continue };
            match things.iter_mut().find(|(calls, _)| is_same_thing(&planned.action, &calls[0], &call)) {
                Some((calls, prior)) => {
                    calls.push(call);
                    *prior = prior.take().or_else(|| made.prior.clone());
                }
                None => things.push((vec![call], made.prior.clone())),
            }
        }
        let restored = things.into_iter().rev().filter_map(|(made, prior)| match prior {
            Some(prior) => Some(inverse(&made[0], &prior).map(|back| Restoration { made, back })),
            None if is_off(Guard::UndoUnseen) => None,
            None => Some(Err("what was there before was not seen when the step began, and is not guessed".to_owned())),
        });
        restored.collect()
    }

    /// Whether what is there before call number `call` of `step` is to be seen now: nobody needs it past a point of no
    /// return, and once an attempt may have had an effect it is too late.
    pub fn wants_prior(&self, step: &StepId, call: u32) -> bool {
        let is_taken_back = |s: &&PlannedStep| matches!(s.undo(), Undo::Inverse(_)) && s.towards == Towards::Target;
        let Some(planned) = self.plan.step(step).filter(is_taken_back) else { return false };
        let calls = planned.action.mutations();
        let is_touched = |(number, made): (&u32, &Made)| {
            let same =
                |other: &Mutation| calls.get(call as usize).is_some_and(|c| is_same_thing(&planned.action, other, c));
            made.may_have_effect() && (*number == call || calls.get(*number as usize).is_some_and(same))
        };
        let is_changed = self.unwind.made.get(step).is_some_and(|made| made.iter().any(is_touched));
        !is_changed && self.crossed().is_none()
    }

    /// When the newest call of `step` was intended that was never answered and may still arrive.
    pub fn doubt_of(&self, step: &StepId) -> Option<Timestamp> {
        self.unwind.made.get(step)?.values().filter_map(|made| made.doubt_at).max()
    }

    /// The steps with a call that was never answered, or is not yet, and when the newest of them was intended: while
    /// its signature is valid it may arrive, whatever became of the step.
    pub fn unanswered(&self) -> impl Iterator<Item = (&StepId, Timestamp)> {
        let of = |made: &Made| made.unanswered_at.max(made.is_open.then_some(made.intended_at));
        self.unwind.made.iter().filter_map(move |(step, calls)| Some((step, calls.values().filter_map(of).max()?)))
    }

    /// Where the undo of `step` stands.
    pub fn undo_state(&self, step: &StepId) -> &StepState {
        self.unwind.steps.get(step).unwrap_or(&PENDING)
    }

    /// Whether it is being taken back, or was to be when it was held.
    pub fn is_unwinding(&self) -> bool {
        self.unwind.cause.is_some() && !self.is_finished()
    }

    /// Whether a call of `step` may have changed something.
    pub fn may_have_effect(&self, step: &StepId) -> bool {
        self.unwind.made.get(step).is_some_and(|calls| calls.values().any(Made::may_have_effect))
    }

    /// The first step passed from which only another run, or a person, leads back; with why, as a sentence.
    pub fn crossed(&self) -> Option<(&PlannedStep, String)> {
        let crossed = |step: &&PlannedStep| match (self.is_beyond(step), step.undo()) {
            (true, _) => true,
            (false, Undo::AnotherRun(_)) => self.may_have_effect(&step.id),
            (false, Undo::Nothing | Undo::Inverse(_) | Undo::Stays(_)) => false,
        };
        let step = self.plan.steps.iter().filter(|_| !is_off(Guard::UndoPastNoReturn)).find(crossed)?;
        let why = match step.undo() {
            Undo::AnotherRun(other) => format!("`{}` has changed what only {other} takes back", step.id),
            Undo::Nothing | Undo::Inverse(_) | Undo::Stays(_) => {
                format!("`{}` is declared as a point of no return", step.id)
            }
        };
        Some((step, why))
    }

    /// Whether `step` puts in a fault on purpose.
    pub(super) fn is_fault(&self, step: &StepId) -> bool {
        self.plan.step(step).is_some_and(|s| matches!(&s.action, Action::LambdaFault(fault) if !fault.mends))
    }

    /// Whether `step` is a point of no return from its very beginning, and has begun.
    pub(super) fn is_beyond(&self, step: &PlannedStep) -> bool {
        let begun = match &self.steps[&step.id] {
            StepState::Sending { .. }
            | StepState::Answered { .. }
            | StepState::Holding { .. }
            | StepState::Done { .. }
            | StepState::Failed { .. } => true,
            // Once begun, always: a person who has it tried again does not make it undone.
            StepState::Running { .. } | StepState::Pending | StepState::Skipped { .. } => {
                self.unwind.made.contains_key(&step.id) || (step.no_return && self.attempts.contains_key(&step.id))
            }
        };
        begun && (step.no_return || step.action.effect() == EffectClass::Irreversible)
    }

    /// The steps whose effect is still to be taken back, in the plan's order.
    pub fn left_to_undo(&self) -> Vec<&StepId> {
        let over = |id: &StepId| matches!(self.undo_state(id), StepState::Done { .. } | StepState::Skipped { .. });
        let inverts = |s: &&PlannedStep| matches!(s.undo(), Undo::Inverse(_)) || !is_off(Guard::UndoPastNoReturn);
        // The way home is not taken back: it leads where taking back what came before it leads.
        let there = self.plan.steps.iter().filter(|s| s.towards == Towards::Target);
        // Of a session that was ended there is nothing to give back: whoever wants one connects. What stays is told at the
        // end, and holds nobody.
        let effects = there.filter(|s| !matches!(s.undo(), Undo::Nothing | Undo::Stays(_))).filter(inverts);
        effects.map(|s| &s.id).filter(|id| self.may_have_effect(id) && !over(id)).collect()
    }

    /// The steps that were taken back, in the plan's order.
    pub fn undone(&self) -> Vec<&StepId> {
        let steps = self.plan.steps.iter().map(|s| &s.id);
        steps.filter(|id| matches!(self.undo_state(id), StepState::Done { .. })).collect()
    }

    /// What comes next of a run that is being taken back: what is in flight is settled first; then each effect goes
    /// after all that needed its step.
    pub(super) fn next_unwinding(&self) -> Next {
        let mut drive = self.open_effects();
        if self.unwind.stands {
            drive.extend(self.open_undos().cloned());
        }
        let left = self.left_to_undo();
        if drive.is_empty() && !self.unwind.stands && !is_off(Guard::UndoForgotten) {
            let crossed = self.crossed();
            if crossed.is_some() {
                // A fault of the drill's own moves nothing: it is taken out wherever the roles stand.
                let faults: Vec<StepId> = left.iter().copied().filter(|id| self.is_fault(id)).cloned().collect();
                if !faults.is_empty() {
                    return Next::Drive(faults);
                }
            }
            if let Some((step, why)) = crossed {
                return Next::Hold {
                    step: step.id.clone(),
                    code: "undo-past-no-return",
                    reason: format!("nothing is taken back: {why}"),
                    waits_for: "an operator: resume (completes the run), or abort again (ends it where it stands; the \
                                way back is another run)"
                        .to_owned(),
                };
            }
            let is_last = |id: &&StepId| !left.iter().any(|other| other != id && self.plan.needs(other, id));
            drive.extend(left.iter().copied().filter(is_last).cloned());
        }
        if drive.is_empty() { self.finish_unwinding(&left) } else { Next::Drive(drive) }
    }

    fn finish_unwinding(&self, left: &[&StepId]) -> Next {
        let (result, mut reason) = match &self.unwind.cause {
            Some(Cause::Failure { step, reason }) => (RunResult::Failed, format!("`{step}` failed: {reason}")),
            Some(Cause::Budget { step, reason }) => {
                (RunResult::Failed, format!("over its budget at `{step}`: {reason}; taken back"))
            }
            Some(Cause::Abort { reason, .. }) => (RunResult::Aborted, reason.clone()),
            None => (RunResult::Aborted, String::new()),
        };
        let names = |ids: &[&StepId]| ids.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(", ");
        let undone = self.undone();
        if !undone.is_empty() {
            reason.push_str(&format!("; undone: {}", names(&undone)));
        }
        let is_left = |id: &&StepId| self.plan.step(id).is_some_and(|s| matches!(s.undo(), Undo::Stays(_)));
        let stays = |id: &&StepId| {
            matches!(self.undo_state(id), StepState::Skipped { .. })
                || left.contains(id)
                || (is_left(id) && self.may_have_effect(id))
        };
        let stay: Vec<&StepId> = self.plan.steps.iter().map(|s| &s.id).filter(stays).collect();
        if !stay.is_empty() {
            reason.push_str(&format!("; not undone: {}", names(&stay)));
        }
        Next::Finish { result, reason }
    }

    /// Undos with a call on its way.
    pub(super) fn open_undos(&self) -> impl Iterator<Item = &StepId> {
        self.unwind.steps.iter().filter(|(_, state)| state.has_open_intent()).map(|(id, _)| id)
    }

    /// Undos that have begun and are not over.
    pub(super) fn undos_in_flight(&self) -> impl Iterator<Item = &StepId> {
        self.unwind.steps.iter().filter(|(_, state)| state.is_in_flight()).map(|(id, _)| id)
    }

    /// Whether an undo has a call on its way, which leads away from the run's target.
    pub fn has_open_undo(&self) -> bool {
        self.open_undos().next().is_some()
    }

    /// The number that the next attempt of the undo of `step` gets, from 1.
    pub fn next_undo_attempt(&self, step: &StepId) -> u32 {
        self.unwind.attempts.get(step).copied().unwrap_or(0) + 1
    }
}

impl RunState {
    /// A call is intended: what was there before is kept from the first attempt that may have had an effect.
    pub(super) fn note_intent(
        &mut self,
        at: Timestamp,
        (step, call): (&StepId, u32),
        prior: Option<&Prior>,
        guards: &[String],
    ) {
        let calls = self.unwind.made.entry(step.clone()).or_default();
        let fresh = Made {
            prior: prior.cloned(),
            has_effect: false,
            is_open: true,
            intended_at: at,
            doubt_at: None,
            unanswered_at: None,
            proof: guards.to_vec(),
        };
        let made = calls.entry(call).or_insert_with(|| fresh.clone());
        if made.has_effect {
            (made.is_open, made.intended_at) = (true, at);
        } else {
            *made = Made { unanswered_at: made.unanswered_at, ..fresh };
        }
    }

    pub(super) fn note_answer(&mut self, step: &StepId, call: u32, outcome: &Outcome) {
        let Some(made) = self.unwind.made.get_mut(step).and_then(|calls| calls.get_mut(&call)) else { return };
        made.is_open = false;
        match outcome {
            Outcome::Accepted { .. } => made.has_effect = true,
            Outcome::Unknown { .. } => {
                made.has_effect = true;
                (made.doubt_at, made.unanswered_at) = (Some(made.intended_at), Some(made.intended_at));
            }
            // Nothing happened by this attempt; an earlier one may have been another matter.
            Outcome::Rejected { .. } | Outcome::NotSent { .. } => {}
        }
    }

    /// It was observed for long enough that nothing of `step` has happened. Of what is taken back by a call of its own
    /// this is not believed before its undo has looked again, after every signature has expired.
    pub(super) fn note_nothing_happened(&mut self, step: &StepId) {
        let is_final = self.plan.step(step).is_some_and(|s| matches!(s.undo(), Undo::AnotherRun(_)));
        if let Some(calls) = self.unwind.made.get_mut(step).filter(|_| is_final) {
            calls.values_mut().for_each(|made| (made.has_effect, made.is_open) = (false, false));
        }
    }

    /// A step has failed for good.
    pub(super) fn note_failure(&mut self, at: Timestamp, step: &StepId, reason: &str) {
        if self.unwind.cause.is_some() || self.crossed().is_some() {
            return;
        }
        let cause = Cause::Failure { step: step.clone(), reason: reason.to_owned() };
        // A run that is paused or held is taken back once a person lets it go on.
        if self.phase == Phase::Running {
            self.phase = cause.phase(at);
        }
        self.unwind.cause = Some(cause);
    }

    /// A person ends the run: by taking it back, or, where that was held already, where it stands.
    pub(super) fn note_abort(&mut self, at: Timestamp, subject: &Subject, reason: &str) {
        self.unwind.stands |= self.unwind.cause.is_some() && matches!(self.phase, Phase::Held { .. });
        let cause = Cause::Abort { subject: subject.clone(), reason: reason.to_owned() };
        self.phase = cause.phase(at);
        self.unwind.cause = Some(cause);
    }

    /// A person lets the run go on: it is taken back further, or, past the point of no return, completed.
    pub(super) fn go_on(&mut self, at: Timestamp) {
        match self.unwind.cause.clone().filter(|_| self.crossed().is_none()) {
            Some(cause) => {
                self.unwind.steps.retain(|_, state| !matches!(state, StepState::Failed { .. }));
                self.phase = cause.phase(at);
            }
            None => {
                self.unwind.cause = None;
                self.resume(at);
            }
        }
    }
}

#[cfg(test)]
mod tests;
