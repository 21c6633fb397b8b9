//! SIGKILL at every place where the journal or AWS could be left half-way.

use std::time::Duration;

use super::{Cell, Expectation, Happening, Measured, Met, Promise, Trouble, moves::Move};
use crate::sim::faults::ProcessFault;

/// Soon, and long after timeouts of steps are over.
pub(super) const OUTAGES: [Duration; 2] = [Duration::from_secs(5), Duration::from_mins(10)];
/// How long a process that is back is given before the operator resumes what is held.
pub(super) const SETTLES: Duration = Duration::from_secs(30);

/// A place where the process can be killed.
pub(super) struct Point {
    /// `before append 3 (…)`.
    pub(super) what: String,
    pub(super) at: Duration,
    fault: fn(u64, bool, Duration) -> ProcessFault,
    number: u64,
    after: bool,
}

impl Point {
    pub(super) fn fault(&self, restart_after: Duration) -> ProcessFault {
        (self.fault)(self.number, self.after, restart_after)
    }
}

/// The places from append number `from` on, but for the moment before it, and of the calls from `since` on.
pub(super) fn points(measured: &Measured, from: Option<u64>, since: Duration) -> Vec<Point> {
    let mut points = Vec::new();
    for (number, noted) in (0..).zip(&measured.appends) {
        for (after, when) in [(false, "before"), (true, "after")] {
            if from.is_some_and(|from| number < from || (number == from && !after)) {
                continue;
            }
            let what = format!("{when} append {number} ({})", noted.what);
            let fault = |append, durable, restart_after| ProcessFault::KillAtAppend { append, durable, restart_after };
            points.push(Point { what, at: noted.at, fault, number, after });
        }
    }
    for number in 0..measured.calls {
        let noted = usize::try_from(number).ok().and_then(|call| measured.mutations.get(call));
        let operation = noted.map_or("a further endpoint", |n| &n.what);
        let at = noted.map_or(measured.mutations.last().map(|n| n.at).unwrap_or_default(), |n| n.at);
        if at < since {
            continue;
        }
        for (after, when) in [(false, "before"), (true, "after the effect of")] {
            let what = format!("{when} call {number} ({operation})");
            let fault = |call, effect, restart_after| ProcessFault::KillAtCall { call, effect, restart_after };
            points.push(Point { what, at, fault, number, after });
        }
    }
    points
}

pub(super) fn cells(undisturbed: &Move) -> Vec<Cell> {
    let mut cells = Vec::new();
    for point in points(&undisturbed.measured, None, Duration::ZERO) {
        for restart_after in OUTAGES {
            let what = format!("killed {}, started {}", point.what, later(restart_after));
            cells.push(cell(undisturbed, what, vec![point.fault(restart_after)], point.at + restart_after));
        }
    }
    cells
}

/// Every two of the places: the process that comes back is killed again. Numbers count over both lives, so the second
/// death is as far on as the undisturbed move has it, or never comes.
pub(super) fn pairs(undisturbed: &Move) -> Vec<Cell> {
    let points = points(&undisturbed.measured, None, Duration::ZERO);
    let mut cells = Vec::new();
    for (index, first) in points.iter().enumerate() {
        for second in &points[index + 1..] {
            let what = format!("killed {}, and {}, started {} each", first.what, second.what, later(OUTAGES[0]));
            let faults = vec![first.fault(OUTAGES[0]), second.fault(OUTAGES[0])];
            let back_at = first.at.max(second.at) + OUTAGES[0] * 2;
            cells.push(cell(undisturbed, what, faults, back_at));
        }
    }
    cells
}

pub(super) fn later(outage: Duration) -> String {
    format!("{} s later", outage.as_secs())
}

fn cell(undisturbed: &Move, what: String, faults: Vec<ProcessFault>, back_at: Duration) -> Cell {
    let happening = |fault| Happening { at: Duration::ZERO, lasts: None, what: Trouble::Process(fault) };
    let happenings = faults.into_iter().map(happening).collect();
    let mut scenario = undisturbed.disturbed(&what, happenings, back_at + SETTLES);
    scenario.expect = undisturbed.same_end();
    let mut promise = Promise::AsExpected;
    if undisturbed.breaks_on_purpose() {
        scenario.expect.retain(|expected| !matches!(expected, Expectation::Run(_)));
        promise = Promise::SucceedsOrBrokeNothing;
    }
    Cell { what, scenario, promise, met: Met::Death }
}
