//! Every call arrives twice, as from a retry that nobody asked for.

use std::{collections::BTreeSet, time::Duration};

use super::{Cell, Expectation, Happening, Promise, Trouble, just_before, moves::Move};
use crate::sim::faults::CallFault;

/// Until well after the call has left; two of the same operation in the same Region within it are one cell.
const WINDOW: Duration = Duration::from_millis(2_200);

pub(super) fn cells(undisturbed: &Move) -> Vec<Cell> {
    let mut seen = BTreeSet::new();
    let mut cells = Vec::new();
    for noted in &undisturbed.measured.mutations {
        let at = just_before(noted.at);
        if !seen.insert((at, &noted.what, &noted.region)) {
            continue;
        }
        let place = noted.region.as_ref().map_or_else(String::new, |region| format!(" in {region}"));
        let what = format!("{}{place}, {} s after the start, arrives twice", noted.what, noted.at.as_secs());
        let trouble = Trouble::Calls {
            operation: noted.what.clone(),
            region: noted.region.clone(),
            fault: CallFault::Duplicate,
            chance: 1.0,
        };
        let happening = Happening { at, lasts: Some(WINDOW), what: trouble };
        let mut scenario = undisturbed.disturbed(&what, vec![happening], at + WINDOW);
        scenario.expect = undisturbed.same_end();
        let lost = Duration::from_secs_f64(undisturbed.measured.rehearsed.loss_seconds);
        scenario.expect.push(Expectation::LossAtMost(lost));
        cells.push(Cell { what, scenario, promise: Promise::AsExpected });
    }
    cells
}
