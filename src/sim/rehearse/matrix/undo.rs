//! The way back: the move is aborted as each step begins, and then disturbed at every place of its undo.
//!
//! Invariant: every place is one that the undisturbed abort of the same seed has; whatever is done to it, the run ends
//! as aborted, and controls, records and writers are what they were.

use std::{collections::BTreeSet, time::Duration};

use super::{
    Cell, Ending, Expectation, Happening, Measured, Met, PersonAct, Promise, Scenario, Setup, Trouble,
    crash::{self, OUTAGES, SETTLES, later},
    just_before, measure,
    moves::Move,
};
use crate::sim::faults::CallFault;

/// How long the calls of the way back fail; longer than their step's retries.
const LASTS: Duration = Duration::from_mins(5);
/// How the calls of the way back go wrong.
const FAILURES: [(&str, CallFault); 4] = [
    ("are rejected", CallFault::Reject { code: "AccessDenied" }),
    ("do not arrive and are not answered", CallFault::Hang),
    ("have their effect and are not answered", CallFault::LoseAfter),
    ("arrive twice", CallFault::Duplicate),
];

/// An abort that nothing disturbs.
struct Abort {
    /// The step that begins.
    step: String,
    at: Duration,
    measured: Measured,
}

/// # Errors
/// Where an undisturbed abort does not end as one that restores what was.
pub(super) fn cells(undisturbed: &Move, setup: &Setup, seed: u64) -> Result<Vec<Cell>, String> {
    let mut cells = Vec::new();
    for began in before_no_return(undisturbed) {
        let abort = (began.0.as_str(), began.1);
        let scenario = aborted(undisturbed, abort, Vec::new(), began.1 + SETTLES);
        let measured = measure(setup, &scenario, seed);
        match (&measured.rehearsed.ending, measured.rehearsed.unmet.is_empty()) {
            (Ending::Aborted, true) if measured.rehearsed.violations.is_empty() => {
                let abort = Abort { step: began.0, at: began.1, measured };
                cells.extend(of(undisturbed, &abort));
            }
            // Over before anybody could look.
            (Ending::Succeeded, _) => {}
            (ending, _) => {
                return Err(format!(
                    "the {} of {} aborted as `{}` begins, under seed {seed}, ends as {ending:?}: {:?} {:?}",
                    undisturbed.plan.purpose,
                    setup.application.name,
                    began.0,
                    measured.rehearsed.unmet,
                    measured.rehearsed.violations
                ));
            }
        }
    }
    Ok(cells)
}

/// The steps up to the one that nothing but another run takes back, with when each began.
fn before_no_return(undisturbed: &Move) -> Vec<(String, Duration)> {
    let is_no_return = |id| undisturbed.plan.step(id).is_some_and(crate::domain::plan::PlannedStep::is_no_return);
    let steps = undisturbed.measured.steps.iter();
    steps.take_while(|began| !is_no_return(&began.step)).map(|b| (b.step.to_string(), b.at)).collect()
}

fn of(undisturbed: &Move, abort: &Abort) -> Vec<Cell> {
    let (step, at) = (abort.step.as_str(), abort.at);
    let what = format!("aborted as `{step}` begins");
    let mut cells = vec![cell(what, aborted(undisturbed, (step, at), Vec::new(), at + SETTLES), Met::Always)];
    let measured = &abort.measured;
    let asked = measured.appends.iter().position(|noted| noted.what.contains("abort_requested"));
    let asked_at = asked.and_then(|index| measured.appends.get(index)).map_or(at, |noted| noted.at);
    let from = asked.and_then(|index| u64::try_from(index).ok());
    // A call of the same instant is one of the way there: who dies of it is not there to be asked.
    let heard = asked_at + Duration::from_millis(1);
    for point in crash::points(measured, from, heard) {
        for outage in OUTAGES {
            let what = format!("aborted as `{step}` begins, killed {}, started {}", point.what, later(outage));
            let happening = Happening { at: Duration::ZERO, lasts: None, what: Trouble::Process(point.fault(outage)) };
            let scenario = aborted(undisturbed, (step, at), vec![happening], point.at + outage + SETTLES);
            cells.push(cell(what, scenario, Met::Death));
        }
    }
    let calls = measured.mutations.iter().filter(|noted| heard <= noted.at);
    let operations: BTreeSet<&str> = calls.map(|noted| noted.what.as_str()).collect();
    for operation in operations {
        for (how, fault) in FAILURES {
            let what = format!("aborted as `{step}` begins, and its calls back ({operation}) {how} for 5 min");
            let (numbers, operation) = (fault.numbers(), operation.to_owned());
            let trouble = Trouble::Calls { operation, region: None, fault, chance: 1.0 };
            let happening = Happening { at: just_before(asked_at), lasts: Some(LASTS), what: trouble };
            let scenario = aborted(undisturbed, (step, at), vec![happening], asked_at + LASTS);
            cells.push(cell(what, scenario, Met::Fault(numbers)));
        }
    }
    cells
}

fn cell(what: String, mut scenario: Scenario, met: Met) -> Cell {
    scenario.description.clone_from(&what);
    Cell { what, scenario, promise: Promise::TakenBack, met }
}

fn aborted(
    undisturbed: &Move,
    (step, at): (&str, Duration),
    happenings: Vec<Happening>,
    heals_at: Duration,
) -> Scenario {
    let mut scenario = undisturbed.disturbed(&format!("aborted as `{step}` begins"), happenings, heals_at);
    scenario.people.acts.push((at, PersonAct::Abort));
    scenario.expect = vec![Expectation::AsBefore];
    scenario
}
