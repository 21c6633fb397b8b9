//! What stands before each step of a runbook, directly or not: found once for all, since every rule asks.
//!
//! Invariant: complete, on cycles too (a step on one stands before itself). A need that no step is, is left out.

use std::collections::{BTreeMap, BTreeSet};

use super::Step;
use crate::domain::id::StepId;

/// Each set is a row of bits: five hundred steps are eight words.
const WORD: usize = 64;

pub(in crate::domain) struct Ahead<'a> {
    /// In the order of their names, so that whatever is listed has an order.
    ids: Vec<&'a StepId>,
    at: BTreeMap<&'a StepId, usize>,
    rows: Vec<Vec<u64>>,
}

impl<'a> Ahead<'a> {
    pub(in crate::domain) fn of(steps: &'a [Step]) -> Self {
        let needs: BTreeMap<&StepId, &BTreeSet<StepId>> = steps.iter().map(|s| (&s.id, &s.needs)).collect();
        let ids: Vec<&StepId> = needs.keys().copied().collect();
        let at: BTreeMap<&StepId, usize> = ids.iter().enumerate().map(|(n, id)| (*id, n)).collect();
        let direct: Vec<Vec<usize>> =
            needs.values().map(|needs| needs.iter().filter_map(|id| at.get(id).copied()).collect()).collect();
        let words = ids.len().div_ceil(WORD);
        let mut ahead = Self { ids, at, rows: vec![vec![0; words]; direct.len()] };
        // In the file's order one pass does nearly all of it; another that changes nothing ends it.
        let order: Vec<usize> = steps.iter().filter_map(|s| ahead.at.get(&s.id).copied()).collect();
        loop {
            let mut changed = false;
            for step in &order {
                changed |= ahead.take_over(*step, &direct[*step]);
            }
            if !changed {
                return ahead;
            }
        }
    }

    /// Adds to `step` what it needs and what stands before that; whether anything was new.
    fn take_over(&mut self, step: usize, needs: &[usize]) -> bool {
        let mut row = std::mem::take(&mut self.rows[step]);
        let mut changed = false;
        for need in needs {
            let bit = 1 << (need % WORD);
            changed |= row[need / WORD] & bit == 0;
            row[need / WORD] |= bit;
            // A step that needs itself has nothing more to give: its row is in hand.
            for (word, other) in row.iter_mut().zip(&self.rows[*need]) {
                changed |= other & !*word != 0;
                *word |= other;
            }
        }
        self.rows[step] = row;
        changed
    }

    /// Whether `other` stands before `id`.
    pub(in crate::domain) fn stands_before(&self, other: &StepId, id: &StepId) -> bool {
        let (Some(other), Some(id)) = (self.at.get(other), self.at.get(id)) else { return false };
        self.rows[*id][other / WORD] & (1 << (other % WORD)) != 0
    }

    /// Everything that stands before `id`, by name.
    pub(in crate::domain) fn before(&self, id: &StepId) -> impl Iterator<Item = &'a StepId> {
        self.ids.iter().copied().filter(|other| self.stands_before(other, id))
    }

    pub(in crate::domain) fn needs_itself(&self, id: &StepId) -> bool {
        self.stands_before(id, id)
    }
}
