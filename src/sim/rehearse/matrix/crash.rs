//! SIGKILL at every place where the journal or AWS could be left half-way.

use std::time::Duration;

use super::{Cell, Happening, Met, Promise, Trouble, moves::Move};
use crate::sim::faults::ProcessFault;

/// Soon, and long after timeouts of steps are over.
const OUTAGES: [Duration; 2] = [Duration::from_secs(5), Duration::from_mins(10)];
/// How long a process that is back is given before the operator resumes what is held.
const SETTLES: Duration = Duration::from_secs(30);

pub(super) fn cells(undisturbed: &Move) -> Vec<Cell> {
    let mut cells = Vec::new();
    let measured = &undisturbed.measured;
    for (append, noted) in (0..).zip(&measured.appends) {
        for (durable, when) in [(false, "before"), (true, "after")] {
            for restart_after in OUTAGES {
                let what = format!("killed {when} append {append} ({}), started {}", noted.what, later(restart_after));
                let fault = ProcessFault::KillAtAppend { append, durable, restart_after };
                cells.push(cell(undisturbed, what, fault, noted.at + restart_after));
            }
        }
    }
    for call in 0..measured.calls {
        let noted = usize::try_from(call).ok().and_then(|call| measured.mutations.get(call));
        let operation = noted.map_or("a further endpoint", |n| &n.what);
        let at = noted.map_or(measured.mutations.last().map(|n| n.at).unwrap_or_default(), |n| n.at);
        for (effect, when) in [(false, "before"), (true, "after the effect of")] {
            for restart_after in OUTAGES {
                let what = format!("killed {when} call {call} ({operation}), started {}", later(restart_after));
                let fault = ProcessFault::KillAtCall { call, effect, restart_after };
                cells.push(cell(undisturbed, what, fault, at + restart_after));
            }
        }
    }
    cells
}

fn later(outage: Duration) -> String {
    format!("{} s later", outage.as_secs())
}

fn cell(undisturbed: &Move, what: String, fault: ProcessFault, back_at: Duration) -> Cell {
    let happening = Happening { at: Duration::ZERO, lasts: None, what: Trouble::Process(fault) };
    let mut scenario = undisturbed.disturbed(&what, vec![happening], back_at + SETTLES);
    scenario.expect = undisturbed.same_end();
    Cell { what, scenario, promise: Promise::AsExpected, met: Met::Death }
}
