//! The disasters of several replicas in which a guard of theirs is missed.

use failoverd::sim::{
    faults::{Around, Deed, Replica, ReplicaFault, Trouble},
    scenario::{Expectation, PersonAct, RunEnd, Scenario, Wish},
};

use super::cases::{east, planned, s, with};

/// The planned move, with three replicas.
pub(super) fn three(_: u64) -> Scenario {
    Scenario { replicas: 3, ..planned() }
}

/// The leader stands still around something that it does a while after the move was asked for.
fn standing_still(seed: u64, around: Around, lasts: u64) -> Scenario {
    let does = ReplicaFault::Paused { around: Some(around) };
    with(three(seed), begins(seed), Some(lasts), Trouble::Replica { of: Replica::Leader, does })
}

fn begins(seed: u64) -> u64 {
    61 + seed * 3
}

/// It stands still past its lease between an append and what it was for.
pub(super) fn after_an_append(seed: u64) -> Scenario {
    standing_still(seed, Around { what: Deed::Append, after: true }, 70)
}

/// It stands still before a call; its successor moves the application, and people move it back while the call of the
/// first would still be taken.
pub(super) fn and_back(seed: u64) -> Scenario {
    let mut scenario = standing_still(seed, Around { what: Deed::Call, after: false }, 225);
    let back =
        PersonAct::AskAgain { wish: Wish::Switchover, target: Some(east()), accept_data_loss: None, repeats: true };
    scenario.people.acts = vec![(s(begins(seed) + 90), back)];
    scenario.expect =
        vec![Expectation::Run(RunEnd::Succeeded), Expectation::WriterIn(east()), Expectation::TrafficIn(east())];
    scenario
}

/// It stands still before a call until no signature of then is taken, and the run is aborted meanwhile.
pub(super) fn before_a_call(seed: u64) -> Scenario {
    let mut scenario = standing_still(seed, Around { what: Deed::Call, after: false }, 700);
    scenario.people.acts = vec![(s(begins(seed) + 60), PersonAct::Abort)];
    scenario.expect = vec![Expectation::Run(RunEnd::Aborted), Expectation::AsBefore];
    scenario
}
