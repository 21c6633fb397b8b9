use std::collections::BTreeSet;

use super::{
    super::tally::{Promised, Tally, Told},
    *,
};
use crate::sim::{
    oracle::Violation,
    rehearse::{Ending, Rehearsed},
    world::SimTime,
};

const RTO: f64 = 300.0;
const RPO: f64 = 5.0;

/// A rehearsal in which everything went well.
pub(crate) fn rehearsed(seed: u64) -> Rehearsed {
    Rehearsed {
        scenario: "region-lost".to_owned(),
        seed,
        ending: Ending::Succeeded,
        begins: SimTime(1_795_000_000_000),
        out_of_service_seconds: Some(200.0),
        spent: None,
        served_at_end: true,
        writes_lost: 0,
        loss_seconds: 0.0,
        loss_reported_seconds: None,
        violations: Vec::new(),
        checked: [("S5", 3)].into(),
        faults_met: [(58, 2)].into(),
        sometimes: [("a run was started", 1)].into(),
        history: "0".repeat(64),
        world_seconds: 1_800.0,
        events: 1_000,
        trace: Vec::new(),
        processes: 1,
        changed: None,
        unmet: BTreeSet::new(),
    }
}

pub(crate) fn violating(seed: u64) -> Rehearsed {
    let text = "traffic was sent to us-west-2 while us-east-1 was the writer: writes would have been refused <there>";
    let violation = Violation { property: "S5", at: SimTime(1_795_000_100_250), text: text.to_owned() };
    Rehearsed { violations: vec![violation], ending: Ending::Failed, ..rehearsed(seed) }
}

/// Seeds 1 to 6 of one scenario: well, slow with a loss, held, violating, not as expected, and a panic.
pub(crate) fn tally() -> Tally {
    let slow = Rehearsed { out_of_service_seconds: Some(432.0), writes_lost: 14, loss_seconds: 7.3, ..rehearsed(2) };
    let held = Ending::Held {
        step: Some("approve".to_owned()),
        code: "approval-expired".to_owned(),
        reason: "nobody approved within 900 s".to_owned(),
        waits_for: "an approver".to_owned(),
    };
    let held = Rehearsed { ending: held, served_at_end: false, ..rehearsed(3) };
    let late = "served within 300 s".to_owned();
    let unmet = Rehearsed { unmet: [late].into(), out_of_service_seconds: Some(301.0), ..rehearsed(5) };
    let mut tally = Tally::default();
    let promised = Promised { rto_seconds: RTO, rpo_seconds: RPO, in_scenario: false };
    for run in [rehearsed(1), slow, held, violating(4), unmet] {
        tally.add(run.seed, &Told::Rehearsed(Box::new(run)), promised);
    }
    tally.add(6, &Told::Panicked { why: "index out of bounds".to_owned() }, promised);
    tally
}

pub(crate) fn a_report() -> Report {
    let replay = |seed| format!("failoverd simulate --scenario region-lost --seed {seed} --trace");
    let scenario = tally().report("region-lost", "us-east-1 is lost", &[58, 60].into(), (1, 6), replay);
    let mut coverage = Coverage::default();
    tally().covered(&mut coverage);
    let application = ApplicationReport {
        application: "payments".to_owned(),
        rto_seconds: RTO,
        rpo_seconds: RPO,
        remarks: vec![
            "store `b` moves and lags, and the clients write to `a` only: its losses are not seen".to_owned(),
        ],
        scenarios: vec![scenario],
    };
    Report {
        schema_version: SCHEMA_VERSION,
        passed: false,
        config: None,
        applications: vec![application],
        coverage,
        totals: Totals {
            rehearsals: 6,
            violations: 2,
            failing_seeds: 3,
            events: 5_000,
            simulated_seconds: 9_000.0,
            elapsed_seconds: 1.5,
            simulated_seconds_per_second: 6_000.0,
            disasters_per_minute: 240.0,
            jobs: 2,
        },
    }
}

#[test]
fn the_text_fits_80_columns_but_for_commands() {
    let text = text(&a_report());
    let wide = |line: &&str| crate::cli::render::WIDTH < line.chars().count() && !line.starts_with("    failoverd ");
    assert_eq!(text.lines().find(wide), None);
    insta::assert_snapshot!(text);
}

#[test]
fn the_json_is_what_the_types_say() {
    insta::assert_json_snapshot!(a_report());
}

#[test]
fn the_order_of_rehearsals_makes_no_difference() {
    let promised = Promised { rto_seconds: RTO, rpo_seconds: RPO, in_scenario: false };
    let report = |seeds: &[u64]| {
        let mut tally = Tally::default();
        for seed in seeds {
            let run = if seed % 2 == 0 { violating(*seed) } else { rehearsed(*seed) };
            tally.add(*seed, &Told::Rehearsed(Box::new(run)), promised);
        }
        tally.report("x", "", &BTreeSet::new(), (1, 200), |seed| seed.to_string())
    };
    let up: Vec<u64> = (1..=200).collect();
    let down: Vec<u64> = (1..=200).rev().collect();
    assert_eq!(report(&up), report(&down));
    let report = report(&up);
    assert_eq!((report.failing_seeds, report.failing.len(), report.failing[0].seed), (100, 50, 2));
}

#[test]
fn the_rpo_is_held_against_scenarios_that_promise_the_objectives() {
    let failing = |in_scenario| {
        let promised = Promised { rto_seconds: RTO, rpo_seconds: RPO, in_scenario };
        let mut tally = Tally::default();
        let run = Rehearsed { writes_lost: 14, loss_seconds: RPO + 0.1, ..rehearsed(1) };
        tally.add(1, &Told::Rehearsed(Box::new(run)), promised);
        let report = tally.report("x", "", &BTreeSet::new(), (1, 1), |seed| seed.to_string());
        (report.failing_seeds, report.violations, report.unmet.into_iter().map(|u| u.expectation).collect::<Vec<_>>())
    };
    assert_eq!(failing(false), (0, 0, Vec::new()));
    let told = "at most 5 s of writes, the RPO, should be lost; 14 writes over 5.1 s were".to_owned();
    assert_eq!(failing(true), (1, 0, vec![told]));
}

#[test]
fn long_times_are_told_in_days_and_years() {
    assert_eq!(long(90.0), "1 min 30 s");
    assert_eq!(long(3.0 * 86_400.0), "3.0 days");
    assert_eq!(long(3.0 * 365.25 * 86_400.0), "3.0 years");
    assert_eq!(grouped_digits(1_234_567), "1,234,567");
    assert_eq!(grouped_digits(999), "999");
}
