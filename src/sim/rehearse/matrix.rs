//! Exhaustive matrices: the undisturbed move of each runbook, disturbed once at every place that it has.
//!
//! Invariant: the cells are made from the undisturbed rehearsal of the same seed (how many appends, how many calls,
//! when each step began), each cell is an ordinary scenario, and the same seed has the same cells under the same
//! numbers. Nothing is sampled here.
//!
//! Pairs of other disturbances than deaths are not here (the swarm mixes them). A step whose reads nothing can cut off (the zone's name servers always answer) has no such cell.

mod crash;
mod moves;
mod step;
mod twice;
mod undo;

use std::{collections::BTreeMap, time::Duration};

use super::{
    Ending, Rehearsed, Setup,
    measure::{Measured, measure},
};
use crate::{
    domain::{
        id::{Region, RunbookName},
        plan::{Plan, Purpose},
    },
    sim::{
        faults::{Happening, Trouble},
        scenario::{Expectation, PersonAct, RunEnd, Scenario, Wish},
        world::{Plane, Planes, Reach, route53},
    },
};

use moves::Move;
pub use moves::without_stores;

/// What is varied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Matrix {
    Crash,
    /// A night's work; not in [`Matrix::ALL`].
    Pairs,
    Step,
    Region,
    UsEast1,
    Twice,
    Undo,
}

impl Matrix {
    pub const ALL: [Self; 6] = [Self::Crash, Self::Step, Self::Region, Self::UsEast1, Self::Twice, Self::Undo];

    pub fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Pairs => "pairs",
            Self::Step => "step",
            Self::Region => "region",
            Self::UsEast1 => "us-east-1",
            Self::Twice => "twice",
            Self::Undo => "undo",
        }
    }

    /// What its cells are, in one sentence.
    pub fn description(self) -> &'static str {
        match self {
            Self::Crash => {
                "SIGKILL before and after every append and every call, and a start 5 s or 10 min later: it ends as the \
                 undisturbed move does."
            }
            Self::Pairs => {
                "SIGKILL at every two of the places of `crash`, and a start 5 s later each: it ends as the undisturbed \
                 move does."
            }
            Self::Step => {
                "Each step fails in turn (calls rejected, unanswered, without a view) for 5 min, and is then resumed: \
                 the move ends, or says for whom it waits."
            }
            Self::Region => {
                "A Region is lost for good as each step begins, the one that is left or the one that is moved to: a \
                 failover out of the lost one succeeds; all else ends, or says for whom it waits."
            }
            Self::UsEast1 => {
                "us-east-1 is a black hole for good as each step begins, whole and each plane alone: a failover out of \
                 it succeeds; all else ends, or says for whom it waits."
            }
            Self::Twice => "Every call arrives twice: the effect is that of once.",
            Self::Undo => {
                "Aborted as each step before the point of no return begins, and then SIGKILL at every place of the way \
                 back, its calls refused, unanswered or arriving twice: what was is again."
            }
        }
    }

    fn base(self, purpose: Purpose) -> Base {
        match (self, purpose) {
            // With the Region gone there is nothing left of it to lose, and nothing arrives there, let alone twice.
            (Self::Region | Self::UsEast1 | Self::Twice, Purpose::Failover) => Base::ServersDown,
            (_, Purpose::Failover) => Base::RegionLost,
            (_, Purpose::Switchover | Purpose::Failback | Purpose::Drill | Purpose::Salvage) => Base::Calm,
        }
    }
}

/// Why the undisturbed move is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Base {
    /// The primary Region is lost whole.
    RegionLost,
    /// The primary's servers stand still; its database, network and APIs work.
    ServersDown,
    Calm,
}

/// The cells of one matrix for one runbook.
#[derive(Debug, Clone)]
pub struct Table {
    pub matrix: Matrix,
    pub purpose: Purpose,
    pub runbook: RunbookName,
    pub cells: Vec<Cell>,
}

/// One disturbance.
#[derive(Debug, Clone)]
pub struct Cell {
    /// Which, in one sentence.
    pub what: String,
    pub scenario: Scenario,
    promise: Promise,
    met: Met,
}

/// How it is known that a disturbance came: one that misses proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Met {
    /// A process died.
    Death,
    /// One of these faults of FAULTS.md was met.
    Fault(&'static [u8]),
    /// What is lost is lost, whether or not anybody asks for it.
    Always,
}

/// What must come of it, beside the scenario's own expectations and the oracle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Promise {
    /// The scenario expects it all.
    AsExpected,
    /// The run succeeded, or waits: for somebody whom it names, or for what a step is still given time to see.
    SucceedsOrWaits,
    /// The same; or a step that says `on_failure: undo` has failed, and everything is as it was.
    SucceedsWaitsOrIsTakenBack,
    /// The run succeeded; or what it was to break on purpose was not broken for certain, and nothing is left of it: it has
    /// failed, or an assert of its own holds it and says that nothing was proved.
    SucceedsOrBrokeNothing,
    /// The run is aborted, and (so the scenario expects) everything is as it was; a drill may have failed before anybody
    /// could abort it.
    TakenBack,
}

impl Cell {
    fn is_drill(&self) -> bool {
        matches!(self.scenario.people.ask.as_ref().map(|ask| &ask.wish), Some(Wish::Drill { .. }))
    }

    /// Adds what was promised and is not so.
    pub fn judge(&self, rehearsed: &mut Rehearsed) {
        // A drill may fail: over its budget, or by what it could not break. It leaves nothing behind.
        let may_fail = self.is_drill() || self.promise == Promise::SucceedsWaitsOrIsTakenBack;
        let failed_harmlessly = || may_fail && rehearsed.changed.is_none();
        let kept = match (self.promise, &rehearsed.ending) {
            (Promise::AsExpected, _)
            | (Promise::TakenBack, Ending::Aborted)
            | (
                Promise::SucceedsOrWaits | Promise::SucceedsWaitsOrIsTakenBack | Promise::SucceedsOrBrokeNothing,
                Ending::Succeeded,
            ) => true,
            (_, Ending::Failed) => failed_harmlessly(),
            (Promise::SucceedsOrBrokeNothing, Ending::Held { code, waits_for, .. }) => {
                code == "assert-failed" && !waits_for.trim().is_empty() && failed_harmlessly()
            }
            (Promise::TakenBack | Promise::SucceedsOrBrokeNothing, _) => false,
            (_, Ending::Held { waits_for, .. }) => !waits_for.trim().is_empty(),
            // L3 was asked whether it moves, and has its own word where it does not.
            (_, Ending::Unfinished) => rehearsed.checked.contains_key("L3"),
            _ => false,
        };
        if !kept {
            let should = match self.promise {
                Promise::TakenBack => "be aborted",
                Promise::SucceedsOrBrokeNothing => "succeed, or have changed nothing and say so",
                Promise::SucceedsWaitsOrIsTakenBack => "succeed, wait for somebody, or fail with everything as it was",
                Promise::SucceedsOrWaits | Promise::AsExpected => "succeed or wait for somebody",
            };
            let left = rehearsed.changed.as_ref().map_or_else(String::new, |changed| format!("; {changed}"));
            rehearsed.unmet.insert(format!("the run should {should}, and {}{left}", rehearsed.ending));
        }
        let met = match self.met {
            Met::Death => 1 < rehearsed.processes,
            Met::Fault(numbers) => numbers.iter().any(|n| rehearsed.faults_met.contains_key(n)),
            Met::Always => true,
        };
        if !met {
            rehearsed.unmet.insert("the disturbance should come, and was met by nobody".to_owned());
        }
    }
}

/// The tables of `matrix` for every runbook that the application names for a purpose; what the undisturbed moves
/// consist of is kept in `known` for the next matrix of the same setup and seed.
///
/// # Errors
/// Where an undisturbed move does not succeed: there is nothing to hold its cells against. One sentence.
///
/// # Panics
/// As [`super::run::rehearse`].
pub fn tables(setup: &Setup, matrix: Matrix, seed: u64, known: &mut Undisturbed) -> Result<Vec<Table>, String> {
    let mut tables = Vec::new();
    // A salvage follows a failover, moves nothing, and is rehearsed by scenarios.
    for (purpose, runbook) in setup.application.uses().filter(|(purpose, _)| *purpose != Purpose::Salvage) {
        let base = matrix.base(purpose);
        let undisturbed = known.of(setup, (purpose, runbook), base, seed)?;
        let cells = match matrix {
            Matrix::Crash => crash::cells(&undisturbed),
            Matrix::Pairs => crash::pairs(&undisturbed),
            Matrix::Step => step::cells(&undisturbed, &setup.application),
            Matrix::Region => region(&undisturbed),
            Matrix::UsEast1 => us_east_1(&undisturbed),
            Matrix::Twice => twice::cells(&undisturbed),
            Matrix::Undo => undo::cells(&undisturbed, setup, seed)?,
        };
        tables.push(Table { matrix, purpose, runbook: runbook.clone(), cells });
    }
    Ok(tables)
}

/// The undisturbed moves of one setup under one seed, once measured.
#[derive(Debug, Default)]
pub struct Undisturbed {
    moves: BTreeMap<(Purpose, RunbookName, Base), Result<Move, String>>,
}

impl Undisturbed {
    fn of(
        &mut self,
        setup: &Setup,
        (purpose, runbook): (Purpose, &RunbookName),
        base: Base,
        seed: u64,
    ) -> Result<Move, String> {
        let of = || Move::measured(setup, (purpose, runbook), base, seed);
        self.moves.entry((purpose, runbook.clone(), base)).or_insert_with(of).clone()
    }
}

/// The Region that is left, and the one that is moved to, each lost as each step begins.
fn region(undisturbed: &Move) -> Vec<Cell> {
    let Plan { source, target, .. } = &undisturbed.plan;
    let sides = [("left", source), ("moved to", target)];
    let cell = |step: &str, at: Duration, (side, region): (&str, &Region)| {
        let what = format!("{region}, which is {side}, is lost as `{step}` begins");
        lost(undisturbed, what, at, region, Trouble::LoseRegion { region: region.clone() })
    };
    let steps = undisturbed.measured.steps.iter();
    steps.flat_map(|began| sides.map(|side| cell(began.step.as_str(), began.at, side))).collect()
}

/// Each plane of us-east-1 alone, and the whole Region, as each step begins.
fn us_east_1(undisturbed: &Move) -> Vec<Cell> {
    let home = route53::home();
    let mut cells = Vec::new();
    for began in &undisturbed.measured.steps {
        let step = &began.step;
        let whole = (format!("{home} is lost as `{step}` begins"), Trouble::LoseRegion { region: home.clone() });
        let plane = |plane: Plane| {
            let what = format!("{plane:?} in {home} hangs as `{step}` begins");
            (what, Trouble::Plane { plane, region: home.clone(), reach: Reach::Hangs })
        };
        for (what, trouble) in [whole].into_iter().chain(Planes::ALL.map(plane)) {
            cells.push(lost(undisturbed, what, began.at, &home, trouble));
        }
    }
    cells
}

/// Something of `region` is gone for good from `at` on.
fn lost(undisturbed: &Move, what: String, at: Duration, region: &Region, trouble: Trouble) -> Cell {
    let at = just_before(at);
    // What does not heal is what it is by then.
    let settled = at + Duration::from_mins(5);
    let mut scenario = undisturbed.disturbed(&what, vec![Happening { at, lasts: None, what: trouble }], settled);
    let plan = &undisturbed.plan;
    if plan.purpose == Purpose::Failover && plan.source == *region {
        scenario.expect = undisturbed.same_end();
        return Cell { what, scenario, promise: Promise::AsExpected, met: Met::Always };
    }
    // Tried once more, and then left as it is: resuming for ever would not bring it back.
    scenario.people.resumes_after = None;
    scenario.people.acts.push((settled, PersonAct::Resume));
    Cell { what, scenario, promise: Promise::SucceedsOrWaits, met: Met::Always }
}

/// Early enough that a happening has begun by `at`: the director looks once a second, at a world that may not have
/// been looked at for another.
fn just_before(at: Duration) -> Duration {
    at.saturating_sub(Duration::from_millis(2_100))
}

#[cfg(test)]
mod tests;
