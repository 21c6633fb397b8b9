//! The faults of drills that are in, or may be: since when, by which run, and what takes each out again.
//!
//! Invariants: what was sent, or may have been, is in until it was seen to be out: by the step that mends it, by the undo
//! of the step that put it in, by work that outlives the run, by a later drill that has found the variable as it should be
//! before it broke it again; or until a person has said so, who passes over its undo or acknowledges the run.
//! It decides nothing: what is done about a fault is the run's plan and its undo.

use jiff::Timestamp;

use crate::domain::{
    action::Action,
    deferred,
    fault::Fault,
    history::History,
    id::{RunId, StepId},
    plan::PlannedStep,
    run::{Phase, RunState, StepState},
};

/// A fault that is in, or may be.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultIn<'a> {
    pub run: &'a RunId,
    /// The step that has put it in.
    pub step: &'a StepId,
    pub fault: &'a Fault,
    /// When the call was intended that put it in.
    pub since: Timestamp,
    /// Whether it was seen in.
    pub is_seen: bool,
    pub way_out: WayOut<'a>,
}

/// What takes a fault out.
#[derive(Debug, Clone, PartialEq)]
pub enum WayOut<'a> {
    /// This step of its run.
    Step(&'a StepId),
    /// Its run is being taken back.
    Undo,
    /// Nothing, while its run waits for a person.
    Waits(&'a str),
    /// Work that outlives its run, which another run took the place of.
    Work,
    /// Nothing that is left of its run, unless it is aborted.
    Abort,
    /// A person.
    ByHand,
}

/// The steps of `run` that have put a fault in which neither a step nor their undo has taken out.
pub fn left_in(run: &RunState) -> impl Iterator<Item = (&PlannedStep, &Fault)> {
    run.plan.steps.iter().filter_map(|step| match &step.action {
        Action::LambdaFault(fault)
            if !fault.mends
                && run.may_have_effect(&step.id)
                && !run.undone().contains(&&step.id)
                && !mends(run, fault).any(|s| matches!(run.steps.get(&s.id), Some(StepState::Done { .. }))) =>
        {
            Some((step, fault.as_ref()))
        }
        _ => None,
    })
}

/// The steps of `run` that take `fault` out.
fn mends<'a>(run: &'a RunState, fault: &'a Fault) -> impl Iterator<Item = &'a PlannedStep> {
    let same =
        |step: &&PlannedStep| matches!(&step.action, Action::LambdaFault(other) if other.mends && other.is_same(fault));
    run.plan.steps.iter().filter(same)
}

/// Every fault that is in, or may be, the one that was put in last first.
pub fn faults_in(history: &History) -> Vec<FaultIn<'_>> {
    let runs = history.runs.values().map(AsRef::as_ref);
    let mut all: Vec<_> = runs.flat_map(|run| of_run(history, run)).collect();
    all.sort_by_key(|fault| std::cmp::Reverse(fault.since));
    all
}

fn of_run<'a>(history: &'a History, run: &'a RunState) -> impl Iterator<Item = FaultIn<'a>> {
    left_in(run).filter_map(move |(step, fault)| {
        let way_out = way_out(history, run, &step.id, fault)?;
        let made = run.unwind.made.get(&step.id)?;
        Some(FaultIn {
            run: &run.id,
            step: &step.id,
            fault,
            since: made.values().map(crate::domain::undo::Made::intended_at).min()?,
            is_seen: matches!(run.steps.get(&step.id), Some(StepState::Done { .. })),
            way_out,
        })
    })
}

/// `None`: it is out.
fn way_out<'a>(history: &'a History, run: &'a RunState, step: &StepId, fault: &'a Fault) -> Option<WayOut<'a>> {
    // A person has passed over its undo: it was put back by hand, or is left to whoever has changed it since.
    if matches!(run.undo_state(step), StepState::Skipped { .. }) {
        return None;
    }
    if run.is_finished() {
        let key = (run.id.clone(), step.clone());
        return match history.deferred.get(&key).map(|deferred| &deferred.state) {
            Some(deferred::State::Open) => Some(WayOut::Work),
            Some(deferred::State::Done { .. }) => None,
            Some(deferred::State::Expired { .. } | deferred::State::Superseded { .. }) | None => {
                let is_told = history.overrides.acknowledged(&run.id).is_some() || is_found_out(history, run, fault);
                (!is_told).then_some(WayOut::ByHand)
            }
        };
    }
    let is_left =
        |s: &PlannedStep| matches!(run.steps.get(&s.id), Some(StepState::Skipped { .. } | StepState::Failed { .. }));
    Some(match &run.phase {
        Phase::Held { waits_for, .. } => WayOut::Waits(waits_for),
        Phase::Paused { .. } => WayOut::Waits("somebody to resume it"),
        Phase::Aborting { .. } | Phase::Undoing { .. } => WayOut::Undo,
        Phase::Running | Phase::Finished { .. } => match mends(run, fault).find(|s| !is_left(s)) {
            Some(mends) => WayOut::Step(&mends.id),
            None => WayOut::Abort,
        },
    })
}

/// Whether a run that began after `run` has broken the same variable: nothing is sent before it was seen as it should be.
fn is_found_out(history: &History, run: &RunState, fault: &Fault) -> bool {
    let breaks = |later: &RunState| {
        let same =
            |s: &&PlannedStep| matches!(&s.action, Action::LambdaFault(other) if !other.mends && other.at == fault.at);
        later.plan.steps.iter().filter(same).any(|s| later.may_have_effect(&s.id))
    };
    history.runs.values().any(|later| run.started_at < later.started_at && breaks(later))
}

impl FaultIn<'_> {
    /// What is broken, in one line.
    pub fn describe(&self) -> String {
        let at = &self.fault.at;
        let is = if self.is_seen { "is" } else { "may be" };
        format!(
            "function {} in {} {is} broken on purpose ({}={})",
            at.function, at.region, at.variable, self.fault.broken
        )
    }

    /// How it comes out, in one line.
    pub fn says_way_out(&self) -> String {
        match &self.way_out {
            WayOut::Step(step) => format!("step `{step}` takes it out, and so does an abort"),
            WayOut::Undo => "the run is being taken back, which takes it out".to_owned(),
            WayOut::Waits(what) => format!("nothing takes it out while the run waits for {what}"),
            WayOut::Work => "open work takes it out beside the run that took this one's place".to_owned(),
            WayOut::Abort => "no step that is left takes it out: abort the run, which does".to_owned(),
            WayOut::ByHand => {
                let by_hand = match &self.fault.normal {
                    Some(normal) => format!("set {} to {normal}", self.fault.at.variable),
                    None => format!("take {} away", self.fault.at.variable),
                };
                format!("nothing takes it out: {by_hand} by hand, then failoverd acknowledge {}", self.run)
            }
        }
    }
}
