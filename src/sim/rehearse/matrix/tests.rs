use std::collections::BTreeSet;

use super::*;
use crate::sim::{
    rehearse::swarm,
    scenario::{Ask, When},
    world::SimTime,
};

#[test]
fn a_happening_begins_before_the_step_that_it_is_to_meet() {
    for (at, expected) in [(126_300, 124_200), (500, 0), (0, 0)] {
        assert_eq!(just_before(Duration::from_millis(at)), Duration::from_millis(expected));
    }
}

#[test]
fn every_matrix_has_a_name_of_its_own() {
    let names: BTreeSet<_> = Matrix::ALL.iter().map(|m| m.name()).collect();
    assert_eq!(names.len(), Matrix::ALL.len());
}

fn ended(ending: Ending, asked_l3: bool) -> Rehearsed {
    Rehearsed {
        scenario: "matrix".to_owned(),
        seed: 1,
        ending,
        begins: SimTime(0),
        out_of_service_seconds: None,
        spent: None,
        served_at_end: true,
        writes_lost: 0,
        loss_seconds: 0.0,
        loss_reported_seconds: None,
        violations: Vec::new(),
        checked: if asked_l3 { [("L3", 1)].into() } else { BTreeMap::new() },
        faults_met: BTreeMap::new(),
        sometimes: BTreeMap::new(),
        history: String::new(),
        world_seconds: 0.0,
        events: 0,
        trace: Vec::new(),
        processes: 1,
        changed: None,
        unmet: BTreeSet::new(),
    }
}

#[test]
fn an_ending_says_where_and_why_in_words() {
    let held = Ending::Held {
        step: Some("flip.api".to_owned()),
        code: "step-timeout".to_owned(),
        reason: "not done within 300 s".to_owned(),
        waits_for: "an operator".to_owned(),
    };
    assert_eq!(held.to_string(), "is held at flip.api: step-timeout: not done within 300 s");
    let all =
        [Ending::NoRun, Ending::Succeeded, Ending::Aborted, Ending::Failed, Ending::Superseded, Ending::Unfinished];
    assert!(all.iter().all(|ending| ending.to_string() != format!("{ending:?}")), "no names of the program");
}

#[test]
fn whoever_waits_says_for_whom() {
    let held = |waits_for: &str| Ending::Held {
        step: Some("flip".to_owned()),
        code: "step-failed".to_owned(),
        reason: "it failed".to_owned(),
        waits_for: waits_for.to_owned(),
    };
    let region: Region = "us-east-1".parse().expect("a Region");
    let cell = Cell {
        what: String::new(),
        scenario: swarm::scenario(1, &[region]),
        promise: Promise::SucceedsOrWaits,
        met: Met::Always,
    };
    for (ending, asked_l3, kept) in [
        (Ending::Succeeded, true, true),
        (held("an operator"), true, true),
        (held(" "), true, false),
        (Ending::Unfinished, true, true),
        (Ending::Unfinished, false, false),
        (Ending::Failed, true, false),
        (Ending::NoRun, true, false),
    ] {
        let mut rehearsed = ended(ending.clone(), asked_l3);
        cell.judge(&mut rehearsed);
        assert_eq!(rehearsed.unmet.is_empty(), kept, "{ending:?}, L3 asked: {asked_l3}");
    }
    let mut home_again = ended(Ending::Failed, true);
    cell.judge(&mut home_again);
    assert!(!home_again.unmet.is_empty(), "a failover may not fail");
}

fn a_drill() -> Scenario {
    let region: Region = "us-east-1".parse().expect("a Region");
    let mut scenario = swarm::scenario(1, &[region]);
    scenario.people.ask = Some(Ask {
        wish: Wish::Drill { runbook: None },
        when: When::At(Duration::ZERO),
        target: None,
        accept_data_loss: None,
        runbook: None,
        repeats: false,
    });
    scenario
}

#[test]
fn a_drill_may_fail_where_it_has_left_nothing_behind() {
    let scenario = a_drill();
    let all = [
        Promise::SucceedsOrWaits,
        Promise::SucceedsWaitsOrIsTakenBack,
        Promise::TakenBack,
        Promise::SucceedsOrBrokeNothing,
    ];
    for promise in all {
        let cell = Cell { what: String::new(), scenario: scenario.clone(), promise, met: Met::Always };
        let mut harmless = ended(Ending::Failed, true);
        cell.judge(&mut harmless);
        assert!(harmless.unmet.is_empty(), "{promise:?}");
        let mut broken = Rehearsed { changed: Some("a function is broken".to_owned()), ..ended(Ending::Failed, true) };
        cell.judge(&mut broken);
        assert!(broken.unmet.iter().any(|unmet| unmet.ends_with("; a function is broken")), "{promise:?}");
        let mut unfinished = ended(Ending::Unfinished, true);
        cell.judge(&mut unfinished);
        let waits = matches!(promise, Promise::SucceedsOrWaits | Promise::SucceedsWaitsOrIsTakenBack);
        assert_eq!(unfinished.unmet.is_empty(), waits, "{promise:?}");
    }
}

#[test]
fn a_drill_that_could_not_break_what_it_should_may_wait_at_its_own_assert() {
    let cell =
        Cell { what: String::new(), scenario: a_drill(), promise: Promise::SucceedsOrBrokeNothing, met: Met::Always };
    let unmet = |code: &str, waits_for: &str, changed: Option<&str>| {
        let held = Ending::Held {
            step: Some("stood-alone".to_owned()),
            code: code.to_owned(),
            reason: "the target was not seen to serve".to_owned(),
            waits_for: waits_for.to_owned(),
        };
        let mut rehearsed = Rehearsed { changed: changed.map(str::to_owned), ..ended(held, true) };
        cell.judge(&mut rehearsed);
        !rehearsed.unmet.is_empty()
    };
    assert!(!unmet("assert-failed", "an operator", None));
    assert!(unmet("assert-failed", " ", None), "for nobody");
    assert!(unmet("assert-failed", "an operator", Some("a function is broken")));
    assert!(unmet("outcome-unknown", "an operator", None), "where no assert of its own says so");
}

#[test]
fn a_disturbance_that_misses_is_told() {
    let region: Region = "us-east-1".parse().expect("a Region");
    let scenario = swarm::scenario(1, &[region]);
    for (met, wrong) in [(Met::Always, false), (Met::Death, true), (Met::Fault(&[34, 35]), true)] {
        let cell = Cell { what: String::new(), scenario: scenario.clone(), promise: Promise::AsExpected, met };
        let mut rehearsed = ended(Ending::Succeeded, true);
        cell.judge(&mut rehearsed);
        assert_eq!(!rehearsed.unmet.is_empty(), wrong, "{met:?}");
        let mut met_indeed = Rehearsed { processes: 2, faults_met: [(35, 1)].into(), ..ended(Ending::Succeeded, true) };
        cell.judge(&mut met_indeed);
        assert!(met_indeed.unmet.is_empty(), "{met:?}");
    }
}
