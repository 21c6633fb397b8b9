//! Work that outlives its run, folded.
//!
//! Invariant: it begins with a step of a run that is under way, and after that asks for no run that is.

use jiff::Timestamp;

use super::{History, IllegalEvent};
use crate::domain::{
    deferred::{self, Deferred},
    journal::Event,
};

impl History {
    pub(super) fn apply_to_deferred(&mut self, at: Timestamp, event: &Event) -> Result<(), IllegalEvent> {
        if let Event::WorkDeferred { run, step, work } = event {
            let state = self.run(run, "work_deferred")?;
            let illegal = |why: String| Err(IllegalEvent { event: "work_deferred", why });
            if state.plan.step(step).is_none() {
                return illegal(format!("the plan has no step `{step}`"));
            }
            let key = (run.clone(), step.clone());
            if self.deferred.contains_key(&key) {
                return illegal(format!("`{step}` has left its work already"));
            }
            self.deferred.insert(key, Deferred::new(work.clone(), at));
            deferred::retire(&mut self.deferred);
            return Ok(());
        }
        let (Event::DeferredIntended { run, step, .. }
        | Event::DeferredAnswered { run, step, .. }
        | Event::DeferredEnded { run, step, .. }) = event
        else {
            return Err(IllegalEvent { event: "deferred work", why: format!("{event:?} is none") });
        };
        let known = self.deferred.get_mut(&(run.clone(), step.clone()));
        let deferred = known.ok_or_else(|| IllegalEvent {
            event: "deferred work",
            why: format!("`{step}` of {run} has left no work"),
        })?;
        let taken = match event {
            Event::DeferredIntended { attempt, mutation, .. } => deferred.intend(*attempt, mutation),
            Event::DeferredAnswered { attempt, outcome, .. } => deferred.answer(*attempt, outcome),
            Event::DeferredEnded { ending, .. } => deferred.end(at, ending),
            _ => Ok(()),
        };
        taken.map_err(|why| IllegalEvent { event: "deferred work", why })?;
        deferred::retire(&mut self.deferred);
        Ok(())
    }
}
