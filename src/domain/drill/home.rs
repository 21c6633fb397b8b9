//! A drill that is over its budget goes home: what is passed over, what is settled first, and which way leads home.
//!
//! Invariants: only the fold of the journal decides, so that the way is the same after a crash. Nothing of the way there is
//! begun any more; what of it is under way is settled before anything leads home, and what cannot be settled holds the
//! run for a person (FAULTS.md 83, S11). Before a point of no return the way home is taking back what was done (ADR 12);
//! past it, it is the plan's own steps home: a switchover, never a failover (S6, S13).

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;

use super::{Moved, moved};
use crate::domain::{
    action::{Action, EffectClass},
    id::{StepId, StoreName, TrafficName},
    plan::{Plan, Towards},
    run::{Phase, RunState, StepState},
    undo::Cause,
};

/// A drill has exceeded its budget, and leads home.
#[derive(Debug, Clone, PartialEq)]
pub struct Homeward {
    /// What it was at.
    pub step: StepId,
    pub reason: String,
    pub at: Timestamp,
    /// Steps of the way there that failed, and of which it was observed that nothing has happened.
    nothing_happened: BTreeSet<StepId>,
}

/// The steps of the way there: all but the way home and what comes after it. A fault of the drill's own is taken out on
/// the way home: whatever is passed over, that is not.
pub fn way_there(plan: &Plan) -> BTreeSet<&StepId> {
    let mut after: BTreeSet<&StepId> = BTreeSet::new();
    let mut there = BTreeSet::new();
    // In the plan's order, which is a topological one.
    for step in &plan.steps {
        let mends = matches!(&step.action, Action::LambdaFault(fault) if fault.mends);
        if mends || step.towards == Towards::Source || step.needs.iter().any(|need| after.contains(need)) {
            after.insert(&step.id);
        } else {
            there.insert(&step.id);
        }
    }
    there
}

/// The one thing that a step is about, where it is about one that a drill moves.
fn subject(action: &Action) -> Option<Moved<&TrafficName, &StoreName>> {
    match action {
        Action::GateTarget { store, .. }
        | Action::GateRpo { store, .. }
        | Action::GateCapacity { store, .. }
        | Action::AuroraWait { store, .. } => Some(Moved::Store(store)),
        other => moved(other).map(|(what, _)| what),
    }
}

impl RunState {
    /// The first change of the way there, and when it was intended: from when on a budget is spent.
    pub fn first_change(&self) -> Option<(&StepId, Timestamp)> {
        let there = way_there(&self.plan);
        let effects =
            self.plan.steps.iter().filter(|s| there.contains(&s.id) && s.action.effect() != EffectClass::Read);
        let made = effects.filter_map(|s| {
            let calls = self.unwind.made.get(&s.id)?.values().filter(|made| made.may_have_effect());
            Some((&s.id, calls.map(|made| made.intended_at()).min()?))
        });
        made.min_by_key(|(_, at)| *at)
    }

    /// Since when the target serves: the newest change of traffic of the way there that is done; `None`: none is.
    pub fn serves_there_since(&self) -> Option<(&StepId, Timestamp)> {
        let there = way_there(&self.plan);
        let done = self.plan.steps.iter().filter_map(|s| match (&self.steps[&s.id], moved(&s.action)) {
            (StepState::Done { at, .. }, Some((Moved::Traffic(_), _))) if there.contains(&s.id) => Some((&s.id, *at)),
            _ => None,
        });
        done.max_by_key(|(_, at)| *at)
    }

    /// Whether its budget is being spent: the step that it is at. `None`: it has none, or nothing of the way there is
    /// left, or the way home has begun, or a person has the word (a pause, an abort, what could not be settled).
    pub fn spends(&self) -> Option<&StepId> {
        self.plan.budget.as_ref()?;
        self.may_go_home().ok()
    }

    /// The step that it would leave, where it may go home.
    fn may_go_home(&self) -> Result<&StepId, String> {
        if self.homeward.is_some() || self.unwind.cause.is_some() {
            return Err("it is on its way back already".to_owned());
        }
        if !matches!(self.phase, Phase::Running | Phase::Held { .. }) {
            return Err("it is paused, or over".to_owned());
        }
        let there = way_there(&self.plan);
        let changes = self.plan.steps.iter().filter(|s| s.action.effect() != EffectClass::Read);
        if let Some(begun) = changes.clone().find(|s| s.towards == Towards::Source && self.may_have_effect(&s.id)) {
            return Err(format!("`{}` leads home already", begun.id));
        }
        let unsettled = |id: &&StepId| matches!(self.steps[*id], StepState::Failed { .. }) && self.is_in_doubt(id);
        if let Some(id) = there.iter().copied().find(unsettled) {
            return Err(format!("what `{id}` has done is not known: a person has the word"));
        }
        let mut left = self.plan.steps.iter().map(|s| &s.id).filter(|id| there.contains(id) && !self.is_resolved(id));
        let first = left.next().ok_or("nothing of the way there is left")?;
        let under_way = left.find(|id| self.steps[*id].is_in_flight()).filter(|_| !self.steps[first].is_in_flight());
        Ok(under_way.unwrap_or(first))
    }

    /// A call of `step` may have had an effect, and nobody knows whether it has.
    fn is_in_doubt(&self, step: &StepId) -> bool {
        let made = self.unwind.made.get(step).into_iter().flat_map(|calls| calls.values());
        let is_settled = self.homeward.as_ref().is_some_and(|home| home.nothing_happened.contains(step));
        !is_settled && made.filter(|made| made.may_have_effect()).any(|made| made.is_in_doubt())
    }

    /// Whether `step` is of the way there and the run is on its way home: it is not begun, repeated or tried again.
    pub fn leaves_behind(&self, step: &StepId) -> bool {
        self.homeward.is_some() && way_there(&self.plan).contains(step)
    }

    /// Whether `step` failed on the way there and holds nobody who goes home: what it has done is known.
    pub(in crate::domain) fn is_left_behind(&self, step: &StepId) -> bool {
        self.leaves_behind(step) && matches!(self.steps[step], StepState::Failed { .. }) && !self.is_in_doubt(step)
    }

    /// Whether `step` waits for what is under way on the way there of a run that goes home.
    pub(in crate::domain) fn waits_to_go_home(&self, step: &StepId) -> bool {
        if self.homeward.is_none() {
            return false;
        }
        let there = way_there(&self.plan);
        !there.contains(step) && there.iter().any(|id| !self.is_resolved(id))
    }
}

impl RunState {
    /// The budget is exceeded.
    ///
    /// # Errors
    /// Why it does not go home, as a sentence.
    pub(in crate::domain) fn go_home(&mut self, at: Timestamp, step: &StepId, reason: &str) -> Result<(), String> {
        self.spends().ok_or("it has no budget that is being spent")?;
        if self.plan.step(step).is_none() {
            return Err(format!("the plan has no step `{step}`"));
        }
        let nothing_happened = BTreeSet::new();
        self.homeward = Some(Homeward { step: step.clone(), reason: reason.to_owned(), at, nothing_happened });
        self.phase = Phase::Running;
        let plan = Arc::clone(&self.plan);
        for id in way_there(&plan) {
            if matches!(self.steps[id], StepState::Pending | StepState::Running { .. }) {
                let reason = format!("passed over on the way home: {reason}");
                self.steps.insert(id.clone(), StepState::Skipped { at, reason });
            }
        }
        self.turn(at);
        Ok(())
    }

    /// What of the way there of a run that goes home did not happen, by the journal's word.
    pub(in crate::domain) fn note_settled(&mut self, step: &StepId) {
        if let Some(home) = &mut self.homeward {
            home.nothing_happened.insert(step.clone());
        }
    }

    /// After each event of a step: which way leads home, as soon as that can be told.
    pub(in crate::domain) fn turn(&mut self, at: Timestamp) {
        let Some(home) = self.homeward.clone() else { return };
        let plan = Arc::clone(&self.plan);
        let there = way_there(&plan);
        for id in &there {
            // A share of the traffic is kept no longer.
            if let StepState::Holding { since, evidence, .. } = &self.steps[*id] {
                let (since, mut evidence) = (*since, evidence.clone());
                evidence.push(format!("kept no longer: {}", home.reason));
                let outputs = Default::default();
                self.steps.insert((*id).clone(), StepState::Done { since, at, evidence, outputs });
            }
        }
        if self.unwind.cause.is_some() || self.phase != Phase::Running {
            return;
        }
        if self.crossed().is_none() {
            let cause = Cause::Budget { step: home.step, reason: home.reason };
            self.phase = cause.phase(at);
            self.unwind.cause = Some(cause);
            return;
        }
        if there.iter().any(|id| !self.is_resolved(id)) {
            return;
        }
        for step in plan.steps.iter().filter(|s| s.towards == Towards::Source) {
            if matches!(self.steps[&step.id], StepState::Pending) && self.is_needless(&plan, &there, &step.action) {
                let reason = "nothing was moved away that it would lead home".to_owned();
                self.steps.insert(step.id.clone(), StepState::Skipped { at, reason });
            }
        }
    }

    /// Whether `action` leads home what the way there would have moved and has not.
    fn is_needless(&self, plan: &Plan, there: &BTreeSet<&StepId>, action: &Action) -> bool {
        let Some(what) = subject(action) else { return false };
        let moves = |s: &&_| {
            let step: &crate::domain::plan::PlannedStep = s;
            there.contains(&step.id) && moved(&step.action).is_some_and(|(moved, _)| moved == what)
        };
        let mut moves = plan.steps.iter().filter(moves).peekable();
        moves.peek().is_some() && moves.all(|s| !self.may_have_effect(&s.id))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::{
        drill::Budget,
        history::{
            History,
            tests::{at, plan, run_id, started, step},
        },
        journal::Event,
        plan::{PlannedStep, Purpose},
        run::{Next, RunResult},
    };

    /// The way there of the tests' plan, and one step of a way home.
    fn drill() -> Event {
        let Event::RunStarted { run, mut request, evidence_since, .. } = started(Purpose::Switchover, 1) else {
            unreachable!("a run is started")
        };
        let mut plan = plan(Purpose::Switchover);
        (plan.purpose, request.purpose) = (Purpose::Drill, Purpose::Drill);
        plan.budget = Some(Budget {
            within: Duration::from_secs(60),
            signals: Default::default(),
            unknown_for: Duration::from_secs(60),
        });
        let home = Action::Wait { duration: Duration::from_secs(1) };
        let last = PlannedStep {
            id: step("home"),
            needs: [step("probe")].into(),
            action: home,
            towards: Towards::Source,
            ..plan.steps[0].clone()
        };
        plan.steps.push(last);
        Event::RunStarted { run, request, plan: Box::new(plan), evidence_since }
    }

    fn exceeded(id: &str) -> Event {
        Event::BudgetExceeded { run: run_id(1), step: step(id), reason: "too long".to_owned() }
    }

    /// The run after `events`, one a second.
    fn after(events: &[Event]) -> Result<History, String> {
        let mut history = History::new("payments".parse().expect("a name"));
        for (second, event) in (0..).zip([&[drill()], events].concat()) {
            history.apply_event(at(second), &event).map_err(|e| e.to_string())?;
        }
        Ok(history)
    }

    fn done(id: &str) -> Event {
        let (run, step) = (run_id(1), step(id));
        Event::StepDone { run, step, evidence: Vec::new(), outputs: Default::default() }
    }

    fn intent(id: &str, attempt: u32) -> Event {
        let Event::RunStarted { plan, .. } = drill() else { unreachable!("a run is started") };
        let mutation = plan.step(&step(id)).expect("a step").action.mutations().remove(0);
        let (run, step, guards) = (run_id(1), step(id), Vec::new());
        Event::Intent { run, step, attempt, call: 0, mutation, guards, prior: None }
    }

    fn lost() -> Event {
        let outcome = crate::domain::cloud::Outcome::Unknown { reason: "no answer".to_owned() };
        Event::Answered { run: run_id(1), step: step("promote"), attempt: 1, call: 0, outcome }
    }

    #[test]
    fn with_a_switchover_in_doubt_nothing_leads_home_and_nothing_is_repeated() {
        let begun = [done("gate"), done("approve"), intent("promote", 1), lost(), exceeded("promote")];
        let history = after(&begun).expect("legal");
        let run = history.active_run().expect("active");
        assert!(matches!(run.steps[&step("flip")], StepState::Skipped { .. }), "what remains is passed over");
        assert_eq!(run.steps[&step("home")], StepState::Pending);
        assert_eq!(run.next(), Next::Drive(vec![step("promote")]), "settled first");
        let again = [&begun[..], &[intent("promote", 2)]].concat();
        assert!(after(&again).expect_err("not again").contains("way home"));
        let it_was = after(&[&begun[..], &[done("promote")]].concat()).expect("legal");
        assert_eq!(it_was.active_run().expect("active").next(), Next::Drive(vec![step("home")]));
    }

    #[test]
    fn what_never_happened_is_not_led_home_from() {
        let never = Event::StepFailed {
            run: run_id(1),
            step: step("promote"),
            attempt: 1,
            code: "outcome-unknown".to_owned(),
            reason: "no answer".to_owned(),
            nothing_happened: true,
        };
        let begun = [done("gate"), done("approve"), intent("promote", 1), lost(), exceeded("promote"), never];
        let history = after(&begun).expect("legal");
        let run = history.active_run().expect("active");
        assert!(matches!(run.phase, Phase::Undoing { .. }), "{:?}", run.phase);
        let Next::Finish { result, reason } = run.next() else { panic!("{:?}", run.next()) };
        assert_eq!(result, RunResult::Failed);
        assert!(reason.contains("over its budget at `promote`: too long; taken back"), "{reason}");
    }

    #[test]
    fn a_drill_goes_home_once_and_only_from_a_way_there_with_a_budget() {
        let home = [done("gate"), exceeded("approve")];
        assert!(after(&home).is_ok());
        assert!(after(&[&home[..], &[exceeded("approve")]].concat()).is_err(), "once");
        let unknown = [done("gate"), exceeded("nonsense")];
        assert!(after(&unknown).is_err());
        let paused =
            Event::RunPaused { run: run_id(1), subject: "ann".parse().expect("a subject"), reason: "wait".to_owned() };
        assert!(after(&[done("gate"), paused, exceeded("approve")]).is_err(), "a person has the word");
        let mut history = History::new("payments".parse().expect("a name"));
        history.apply_event(at(0), &started(Purpose::Switchover, 1)).expect("legal");
        let refused = history.apply_event(at(1), &exceeded("gate")).expect_err("no drill");
        assert!(refused.why.contains("no budget"), "{refused}");
    }
}
