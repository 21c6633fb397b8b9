//! How long each step has been under way, in boot time.
//!
//! Invariant: while one process lives, a wall clock that jumps neither ends a step's time nor gives it more (FAULTS.md
//! 11, 12). Only what was spent before this process took the journal over is told by the wall clock, once, and never
//! less than nothing. Nothing here is journalled: the journal has when the step began.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use crate::domain::{
    history::History,
    id::{RunId, StepId},
    run::StepState,
};

/// When a step was first seen by this process.
#[derive(Debug, Clone, Copy)]
struct FirstSeen {
    /// When it began, as journalled: tells one attempt of a step from the next.
    began: Timestamp,
    boot: Duration,
    /// What was spent before.
    spent: Duration,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Ages(Mutex<BTreeMap<(RunId, StepId), FirstSeen>>);

impl Ages {
    /// Takes over what `history` shows under way at `wall`, which is `boot` on this machine.
    pub fn taken_over(history: &History, wall: Timestamp, boot: Duration) -> Self {
        Self::since(history, wall, boot, StepState::under_way_since)
    }

    /// The same of the calls that are kept for a time, each from when it was seen to be in effect.
    pub fn of_holds(history: &History, wall: Timestamp, boot: Duration) -> Self {
        Self::since(history, wall, boot, |state| state.held().map(|(since, _)| since))
    }

    /// Takes over what is counted of one step since an instant of its own.
    pub fn counted(since: Option<(&RunId, (&StepId, Timestamp))>, wall: Timestamp, boot: Duration) -> Self {
        let seen = since.map(|(run, (step, began))| {
            let spent = Duration::try_from(wall.duration_since(began)).unwrap_or_default();
            ((run.clone(), step.clone()), FirstSeen { began, boot, spent })
        });
        Self(Mutex::new(seen.into_iter().collect()))
    }

    /// The same of the calls of every run that were never answered, each from its intent.
    pub fn of_unanswered(history: &History, wall: Timestamp, boot: Duration) -> Self {
        let calls = history.runs.values().flat_map(|run| run.unanswered().map(|(step, at)| (run.id.clone(), step, at)));
        let seen = calls.map(|(run, step, began)| {
            let spent = Duration::try_from(wall.duration_since(began)).unwrap_or_default();
            ((run, step.clone()), FirstSeen { began, boot, spent })
        });
        Self(Mutex::new(seen.collect()))
    }

    fn since(
        history: &History,
        wall: Timestamp,
        boot: Duration,
        began: impl Fn(&StepState) -> Option<Timestamp>,
    ) -> Self {
        let run = history.active_run();
        let steps = run.iter().flat_map(|run| {
            // A step and its undo are never under way at once.
            let both = run.steps.iter().chain(&run.unwind.steps);
            both.map(|(id, state)| (&run.id, id, state))
        });
        let seen = steps.filter_map(|(run, id, state)| {
            let began = began(state)?;
            let spent = Duration::try_from(wall.duration_since(began)).unwrap_or_default();
            Some(((run.clone(), id.clone()), FirstSeen { began, boot, spent }))
        });
        Self(Mutex::new(seen.collect()))
    }

    /// How long ago `step`, which began at `began`, did so, when it is `boot` now. What was not there at the take-over
    /// began in this process's life, and this is where it is first seen.
    pub fn of(&self, run: &RunId, step: &StepId, began: Timestamp, boot: Duration) -> Duration {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = FirstSeen { began, boot, spent: Duration::ZERO };
        let first = seen.entry((run.clone(), step.clone())).or_insert(fresh);
        if first.began != began {
            *first = fresh;
        }
        first.spent + boot.saturating_sub(first.boot)
    }

    /// The step is over.
    pub fn forget(&self, run: &RunId, step: &StepId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&(run.clone(), step.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_follows_boot_time_and_a_new_attempt_starts_anew() {
        let (run, step) = (RunId::new(&"app".parse().expect("valid"), 1), "wait".parse().expect("valid"));
        let at = |s: i64| Timestamp::from_second(s).expect("in range");
        let s = Duration::from_secs;
        let ages = Ages::default();
        assert_eq!(ages.of(&run, &step, at(100), s(50)), s(0));
        assert_eq!(ages.of(&run, &step, at(100), s(80)), s(30));
        assert_eq!(ages.of(&run, &step, at(200), s(90)), s(0), "another attempt");
        ages.forget(&run, &step);
        assert_eq!(ages.of(&run, &step, at(200), s(95)), s(0));
    }
}
