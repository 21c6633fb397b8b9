//! A sample of the rehearsals, small enough for the development build: seeds of the swarm, scenarios that ship, cells
//! of the matrix of crashes. The numbers that prove something come from the optimised build (docs/rehearsals.md).

use std::{collections::BTreeSet, ops::RangeInclusive, time::Duration};

use failoverd::{
    config,
    domain::{application::Application, id::Digest, plan::Purpose},
    sim::{
        rehearse::{
            Ending, Rehearsed, Setup, false_alarms,
            matrix::{self, Matrix, Undisturbed},
            run::rehearse,
            swarm,
        },
        scenario::Scenario,
    },
};

use crate::support::scene;

/// The only seed of what is not about seeds.
const SEED: u64 = 1;

fn setup(application: Application) -> Setup {
    Setup { application, runbooks: config::shipped(), config_digest: Digest::of(b"config") }
}

fn payments() -> Setup {
    setup(scene::application())
}

fn shipped(name: &str) -> Scenario {
    let (file, text) = Scenario::embedded()
        .into_iter()
        .find(|(file, _)| file.ends_with(&format!("/{name}.yaml")))
        .unwrap_or_else(|| panic!("{name} ships"));
    let written = Scenario::parse(file, text).unwrap_or_else(|faults| panic!("{file}: {faults:?}"));
    written.resolve(&scene::application().regions).unwrap_or_else(|faults| panic!("{file}: {faults:?}"))
}

/// Nothing was wrong with it.
fn sound(rehearsed: &Rehearsed, what: &str) {
    assert!(
        rehearsed.violations.is_empty() && rehearsed.unmet.is_empty(),
        "{what}, seed {}: {:?} {:?}",
        rehearsed.seed,
        rehearsed.violations,
        rehearsed.unmet
    );
}

fn the_swarm_breaks_nothing(seeds: RangeInclusive<u64>) {
    let setup = payments();
    for seed in seeds {
        let scenario = swarm::scenario(seed, &setup.application.regions);
        sound(&rehearse(&setup, &scenario, seed, false), "swarm");
    }
}

#[test]
fn seeds_1_to_3_of_the_swarm_break_nothing() {
    the_swarm_breaks_nothing(1..=3);
}

#[test]
fn seeds_4_to_6_of_the_swarm_break_nothing() {
    the_swarm_breaks_nothing(4..=6);
}

/// In both the store fails around the first append of a new process: that is a moment, and no rotten journal.
#[test]
fn a_store_that_fails_as_a_process_starts_is_tried_again() {
    let setup = payments();
    for seed in [24, 32] {
        let scenario = swarm::scenario(seed, &setup.application.regions);
        let rehearsed = rehearse(&setup, &scenario, seed, false);
        sound(&rehearsed, "swarm");
        assert_ne!(rehearsed.ending, Ending::Unfinished, "seed {seed}");
    }
}

#[test]
fn one_seed_is_one_history() {
    let setup = payments();
    let history = |scenario: &Scenario, seed| rehearse(&setup, scenario, seed, false).history;
    let mixture = swarm::scenario(7, &setup.application.regions);
    assert_eq!(history(&mixture, 7), history(&mixture, 7));
    let lost = shipped("region-lost");
    assert_ne!(history(&lost, 7), history(&lost, 8), "the fingerprint does not see the seed");
}

#[test]
fn a_trace_changes_nothing() {
    let setup = payments();
    let scenario = shipped("killed-mid-promotion");
    let (silent, told) = (rehearse(&setup, &scenario, SEED, false), rehearse(&setup, &scenario, SEED, true));
    assert_eq!(silent.history, told.history);
    assert!(silent.trace.is_empty() && !told.trace.is_empty());
}

/// One scenario that ships, as it says that it ends.
fn three_replicas_break_nothing(seeds: RangeInclusive<u64>) {
    let setup = payments();
    for seed in seeds {
        let scenario = swarm::replicated(seed, &setup.application.regions, 3);
        sound(&rehearse(&setup, &scenario, seed, false), "swarm of three replicas");
    }
}

#[test]
fn seeds_1_to_4_of_the_swarm_break_nothing_with_three_replicas() {
    three_replicas_break_nothing(1..=4);
}

#[test]
fn seeds_5_to_8_of_the_swarm_break_nothing_with_three_replicas() {
    three_replicas_break_nothing(5..=8);
}

#[test]
fn one_seed_of_three_replicas_is_one_history() {
    let (setup, scenario) = (payments(), shipped("replicas-leader-killed"));
    let first = rehearse(&setup, &scenario, 7, false);
    assert_eq!(first, rehearse(&setup, &scenario, 7, false));
    assert!(3 <= first.processes && 0 < first.checked["L1"], "{} {:?}", first.processes, first.checked);
}

/// One of three goes on, having met the faults of these numbers in one of a few seeds: whether a moment of the run falls into
/// a disturbance is drawn.
fn one_goes_on(name: &str, faults: &[u8]) {
    let mut missing: BTreeSet<u8> = faults.iter().copied().collect();
    for seed in SEED..SEED + 6 {
        let rehearsed = rehearse(&payments(), &shipped(name), seed, false);
        sound(&rehearsed, name);
        assert!(rehearsed.sometimes.contains_key("not-leader"), "{name}: nobody asked a follower");
        missing.retain(|n| !rehearsed.faults_met.contains_key(n));
        if missing.is_empty() {
            return;
        }
    }
    panic!("{name}: never met {missing:?}");
}

#[test]
fn of_three_replicas_one_goes_on_when_the_leader_is_killed_or_replaced() {
    one_goes_on("replicas-leader-killed", &[7]);
    one_goes_on("replicas-killed-in-a-renewal", &[5]);
    one_goes_on("replicas-deployed", &[6, 76]);
}

#[test]
fn of_three_replicas_one_goes_on_when_the_leader_stands_still() {
    one_goes_on("replicas-leader-paused", &[10, 19, 20]);
    // No call was seen to stall (16) with this setup in six seeds, and why was not found; `simulate --complete` asks for it
    // with its own setup, where each of six met it.
    one_goes_on("replicas-leader-stalls", &[]);
    one_goes_on("replicas-clocks-apart", &[11]);
}

#[test]
fn of_three_replicas_one_goes_on_when_the_leader_is_cut_off() {
    one_goes_on("replicas-leader-cut-from-the-store", &[21, 23]);
    one_goes_on("replicas-leader-cut-from-aws", &[22]);
    one_goes_on("replicas-store-out-of-reach", &[21]);
}

fn ends_as_it_says(name: &str) {
    sound(&rehearse(&payments(), &shipped(name), SEED, false), name);
}

#[test]
fn a_lost_region_is_left() {
    ends_as_it_says("region-lost");
}

#[test]
fn a_planned_switchover_loses_nothing() {
    ends_as_it_says("planned-switchover");
}

#[test]
fn a_disaster_that_is_to_be_survived_is_held_to_the_operators_own_objectives() {
    let unmet = |change: fn(&mut Application)| {
        let mut application = scene::application();
        change(&mut application);
        rehearse(&setup(application), &shipped("region-lost"), SEED, false)
            .unmet
            .into_iter()
            .collect::<Vec<_>>()
            .join("; ")
    };
    assert_eq!(unmet(|_| {}), "");
    assert!(unmet(|a| a.objectives.rto = Duration::from_secs(60)).contains("served again within 60 s"));
    assert!(unmet(|a| a.objectives.rpo = Duration::ZERO).contains("the RPO is 0 s"));
}

#[test]
fn a_failback_goes_home() {
    ends_as_it_says("failback");
}

/// FAULTS.md 47. It is not met, as nothing asks Route 53's control plane for anything: but for records, which nothing
/// else can change.
#[test]
fn without_the_control_plane_of_route_53_traffic_moves_by_data_planes() {
    let scenario = shipped("route53-control-plane-down");
    let rehearsed = rehearse(&payments(), &scenario, SEED, false);
    sound(&rehearsed, "route53-control-plane-down");
    assert_eq!((&rehearsed.ending, rehearsed.faults_met.get(&47)), (&Ending::Succeeded, None));
    let by_records = rehearse(&setup(scene::moved_by(scene::records())), &scenario, SEED, false);
    assert!(by_records.violations.is_empty() && by_records.faults_met.contains_key(&47), "{by_records:?}");
    assert_ne!(by_records.ending, Ending::Succeeded);
}

/// FAULTS.md 48: the oracle (S10) holds a flip that is done against what the name servers had by then.
#[test]
fn a_change_of_records_is_done_when_the_name_servers_have_it_and_not_while_it_is_pending() {
    let rehearsed = rehearse(&setup(scene::moved_by(scene::records())), &shipped("planned-switchover"), SEED, true);
    sound(&rehearsed, "planned-switchover by records");
    let at = |what: &str| {
        let line = rehearsed.trace.iter().position(|line| line.text.contains(what));
        line.unwrap_or_else(|| panic!("never: {what}: {:#?}", rehearsed.trace))
    };
    let told = [at("route53:ChangeResourceRecordSets"), at("is INSYNC"), at("step done `flip.api`")];
    assert!(told.is_sorted(), "{told:?}: {:#?}", rehearsed.trace);
}

/// DESIGN.md 5: a health signal is silent where nobody puts it again.
#[test]
fn a_signal_that_holds_traffic_away_is_put_again_to_the_end() {
    let mut scenario = shipped("planned-switchover");
    scenario.heals_at = Some(Duration::from_secs(900));
    let rehearsed = rehearse(&setup(scene::moved_by(scene::health_signal())), &scenario, SEED, false);
    sound(&rehearsed, "planned-switchover by a health signal");
    assert_eq!((&rehearsed.ending, rehearsed.checked.get("standing")), (&Ending::Succeeded, Some(&1)));
}

#[test]
fn a_brief_partition_moves_nothing() {
    ends_as_it_says("brief-partition");
}

/// One scenario that arms, as it says that it ends, and truly armed.
fn armed(name: &str) -> Rehearsed {
    let rehearsed = rehearse(&payments(), &shipped(name), SEED, false);
    sound(&rehearsed, name);
    assert_eq!(rehearsed.sometimes.get("a failover was armed"), Some(&1), "{name}");
    rehearsed
}

/// S18: the oracle has asked whether the Region had truly stopped answering.
#[test]
fn what_is_armed_is_acted_on_when_the_region_is_lost_and_nobody_is_asked() {
    for name in ["armed-region-lost", "armed-killed-mid-start"] {
        let rehearsed = armed(name);
        assert_eq!(rehearsed.sometimes.get("a run was started alone"), Some(&1), "{name}");
        assert_eq!((rehearsed.checked.get("S18"), rehearsed.sometimes.get("an approval was given")), (Some(&1), None));
    }
    assert_eq!(armed("armed-killed-mid-start").processes, 3);
}

#[test]
fn a_partition_of_43_seconds_moves_nothing_that_is_armed() {
    armed("armed-brief-partition");
}

/// FAULTS.md 46.
#[test]
fn one_vantage_that_is_wrong_moves_nothing_that_is_armed() {
    armed("armed-false-alarm-daemon-cut-off");
    let lies = armed("armed-one-observer-lies");
    assert!(lies.faults_met.contains_key(&46), "{:?}", lies.faults_met);
}

#[test]
fn who_is_blind_starts_nothing_and_a_lag_that_is_unknown_disarms() {
    armed("armed-blind");
    armed("armed-lag-unknown");
}

#[test]
fn one_seed_of_an_armed_application_is_one_history() {
    let setup = payments();
    for scenario in [shipped("armed-region-lost"), false_alarms::scenario(7, &setup.application.regions)] {
        let history = || rehearse(&setup, &scenario, 7, false).history;
        assert_eq!(history(), history(), "{}", scenario.name);
    }
}

fn false_alarms_start_nothing(seeds: RangeInclusive<u64>) {
    let setup = payments();
    let mut armed = 0;
    for seed in seeds.clone() {
        let scenario = false_alarms::scenario(seed, &setup.application.regions);
        let rehearsed = rehearse(&setup, &scenario, seed, false);
        sound(&rehearsed, false_alarms::NAME);
        armed += rehearsed.sometimes.get("a failover was armed").copied().unwrap_or_default();
    }
    assert_eq!(armed, seeds.count() as u64, "what is not armed proves nothing");
}

#[test]
fn false_alarms_1_to_50_start_nothing() {
    false_alarms_start_nothing(1..=50);
}

#[test]
fn false_alarms_51_to_100_start_nothing() {
    false_alarms_start_nothing(51..=100);
}

#[test]
fn false_alarms_101_to_150_start_nothing() {
    false_alarms_start_nothing(101..=150);
}

#[test]
fn false_alarms_151_to_200_start_nothing() {
    false_alarms_start_nothing(151..=200);
}

#[test]
fn an_answer_that_was_lost_is_settled_by_looking() {
    ends_as_it_says("answer-lost-after-effect");
}

#[test]
fn a_journal_that_rots_is_refused() {
    ends_as_it_says("journal-rots");
}

#[test]
fn every_ninth_crash_of_a_failover_ends_as_none() {
    let setup = payments();
    let tables = matrix::tables(&setup, Matrix::Crash, SEED, &mut Undisturbed::default()).expect("it succeeds");
    let failover = tables.iter().find(|t| t.purpose == Purpose::Failover).expect("there is a runbook for it");
    // Four cells for each append and each call; a failover has dozens of them.
    assert!(100 < failover.cells.len(), "{}", failover.cells.len());
    for (number, cell) in failover.cells.iter().enumerate().step_by(9) {
        let mut rehearsed = rehearse(&setup, &cell.scenario, SEED, false);
        cell.judge(&mut rehearsed);
        sound(&rehearsed, &format!("cell {number}: {}", cell.what));
        assert_eq!(rehearsed.ending, Ending::Succeeded, "cell {number}: {}", cell.what);
        assert!(1 < rehearsed.processes, "cell {number}: {}: nobody died", cell.what);
    }
}

/// Every `nth` cell of the way back of each runbook of `setup`.
fn the_way_back_restores_what_was(setup: &Setup, nth: usize) {
    let tables = matrix::tables(setup, Matrix::Undo, SEED, &mut Undisturbed::default()).expect("it succeeds");
    for table in &tables {
        assert!(10 < table.cells.len(), "{}: {}", table.purpose, table.cells.len());
        for (number, cell) in table.cells.iter().enumerate().step_by(nth) {
            let mut rehearsed = rehearse(setup, &cell.scenario, SEED, false);
            cell.judge(&mut rehearsed);
            sound(&rehearsed, &format!("{}, cell {number}: {}", table.purpose, cell.what));
            assert_eq!(rehearsed.ending, Ending::Aborted, "{}, cell {number}: {}", table.purpose, cell.what);
        }
    }
}

#[test]
fn a_move_of_databases_that_is_aborted_before_its_point_of_no_return_leaves_what_was() {
    the_way_back_restores_what_was(&payments(), 9);
}

#[test]
fn traffic_that_has_moved_comes_back_wherever_the_way_back_is_killed_or_its_calls_are_lost() {
    let name = "dns-flip".parse().expect("a name");
    the_way_back_restores_what_was(&setup(matrix::without_stores(&scene::application(), &name)), 9);
}

#[test]
fn what_has_no_store_is_moved_as_well() {
    let name = "dns-flip".parse().expect("a name");
    let setup = setup(matrix::without_stores(&scene::application(), &name));
    let tables = matrix::tables(&setup, Matrix::Twice, SEED, &mut Undisturbed::default()).expect("it succeeds");
    assert_eq!(tables.len(), 3, "a table for each purpose");
    for cell in tables.iter().filter_map(|table| table.cells.last()) {
        let mut rehearsed = rehearse(&setup, &cell.scenario, SEED, false);
        cell.judge(&mut rehearsed);
        sound(&rehearsed, &cell.what);
        assert!(rehearsed.faults_met.contains_key(&34), "{}: nothing arrived twice", cell.what);
    }
}
