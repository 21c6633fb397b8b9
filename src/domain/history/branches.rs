//! What an event of a branch, or of where the application lives, does to its history.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;

use super::{History, IllegalEvent};
use crate::domain::journal::Event;

impl History {
    /// Takes such an event in. Where a person says where the application lives, what is renewed is what belongs there, and
    /// not what another place needed.
    pub(super) fn apply_to_branches(&mut self, at: Timestamp, event: &Event) -> Result<(), IllegalEvent> {
        let was = self.branches.primary().cloned();
        match event {
            Event::BranchBegan { .. } => {
                let before: BTreeSet<_> = self.runs.values().map(|run| run.id.clone()).collect();
                self.branches.apply(at, event)?;
                self.branches.grew_from(before);
            }
            Event::BranchReconciled { word } => {
                if let Some(active) = self.active_run() {
                    let why = format!("{} is not finished", active.id);
                    return Err(IllegalEvent { event: "branch_reconciled", why });
                }
                self.branches.apply(at, event)?;
                let branch = word.branch.as_ref().and_then(|id| self.branches.get(id)).map(|(imported, _)| imported);
                match branch.filter(|imported| imported.primary.as_ref() == Some(&word.primary)) {
                    Some(imported) => {
                        (self.standing, self.detached) = (imported.standing.clone(), imported.detached.clone());
                    }
                    None if was.as_ref() != Some(&word.primary) => self.standing.clear(),
                    None => {}
                }
            }
            _ => self.branches.apply(at, event)?,
        }
        Ok(())
    }

    /// The runs that a branch has begun, in the order of their ids; none in a journal that is no branch.
    pub fn runs_of_branch(&self) -> impl Iterator<Item = &Arc<super::RunState>> {
        let is_branch = self.branches.own().is_some();
        self.runs.values().filter(move |run| is_branch && !self.branches.is_from_parent(&run.id))
    }
}
