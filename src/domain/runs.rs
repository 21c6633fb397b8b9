//! The runs of one application: those that are over, and the one that is not.
//!
//! Invariant: at most one run is active (FAULTS.md S1), and what is over never changes (S15). A copy shares all of
//! them, so that a snapshot for every commit costs the same after a thousand runs as after one.

use std::{collections::BTreeMap, ops::Index, sync::Arc};

use super::{id::RunId, run::RunState};

/// How many finished runs are held apart before they join the others: what a finish copies at most, but for one in
/// so many.
const RECENT_MAX: usize = 64;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Runs {
    older: Arc<BTreeMap<RunId, Arc<RunState>>>,
    recent: Arc<BTreeMap<RunId, Arc<RunState>>>,
    active: Option<Arc<RunState>>,
}

impl Runs {
    /// The run that is not finished.
    pub fn active(&self) -> Option<&Arc<RunState>> {
        self.active.as_ref()
    }

    pub fn get(&self, id: &RunId) -> Option<&Arc<RunState>> {
        let active = self.active.as_ref().filter(|run| run.id == *id);
        active.or_else(|| self.recent.get(id)).or_else(|| self.older.get(id))
    }

    pub fn contains_key(&self, id: &RunId) -> bool {
        self.get(id).is_some()
    }

    /// Every run: the finished ones by id (which is by age, within two groups), the active one last.
    pub fn values(&self) -> impl Iterator<Item = &Arc<RunState>> {
        self.older.values().chain(self.recent.values()).chain(&self.active)
    }

    pub fn len(&self) -> usize {
        self.older.len() + self.recent.len() + usize::from(self.active.is_some())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn active_mut(&mut self, id: &RunId) -> Option<&mut RunState> {
        self.active.as_mut().filter(|run| run.id == *id).map(Arc::make_mut)
    }

    /// Makes `run` the active one. The caller has seen that there is none; one that is there all the same is kept.
    pub(super) fn begin(&mut self, run: RunState) {
        self.retire();
        self.active = Some(Arc::new(run));
    }

    /// The active run is over.
    pub(super) fn retire(&mut self) {
        let Some(run) = self.active.take() else { return };
        if RECENT_MAX <= self.recent.len() {
            let recent = std::mem::take(&mut self.recent);
            Arc::make_mut(&mut self.older).extend(recent.iter().map(|(id, run)| (id.clone(), Arc::clone(run))));
        }
        Arc::make_mut(&mut self.recent).insert(run.id.clone(), run);
    }
}

impl Index<&RunId> for Runs {
    type Output = Arc<RunState>;

    /// # Panics
    /// Where there is no such run.
    fn index(&self, id: &RunId) -> &Arc<RunState> {
        self.get(id).unwrap_or_else(|| panic!("there is no run {id}"))
    }
}
