//! An application that goes home in steps of weight, rehearsed by its own configuration: config/examples/payments-audited.

use std::path::Path;

use failoverd::{
    config::Settings,
    domain::{plan::Purpose, runbook::Runbook},
    sim::{
        rehearse::{Ending, Rehearsed, Setup, run::rehearse},
        scenario::Scenario,
    },
};

fn audited() -> Setup {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples/payments-audited.toml");
    let mut settings = Settings::load(&path, &Default::default()).unwrap_or_else(|faults| panic!("{faults:?}"));
    let application = settings.applications.remove(0);
    Setup { application, runbooks: settings.runbooks, config_digest: settings.digest }
}

/// The same application without its databases: only its traffic moves, in steps.
fn traffic_alone() -> Setup {
    let mut setup = audited();
    setup.application.stores.clear();
    setup.application.signals.retain(|signal| signal.source.of().is_some());
    let text = "runbook: failback-gradual\npurpose: [switchover, failback]\ndescription: Traffic alone.\nsteps:\n  - { id: return, \
                action: dns.weights, timeout: 45m, with: { ramp: [5, 25, 50, 100], hold_for: 3m } }\n";
    let (runbook, _) = Runbook::parse("failback-gradual.yaml", text).unwrap_or_else(|faults| panic!("{faults:?}"));
    let digest = setup.config_digest.clone();
    setup.application.runbooks.insert(Purpose::Switchover, runbook.name.clone());
    setup.runbooks.insert(runbook.name.clone(), (runbook, digest));
    setup
}

/// `name`, whose text `change` may alter first.
fn rehearsed(name: &str, change: impl FnOnce(String) -> String) -> Rehearsed {
    played(&audited(), name, change)
}

fn played(setup: &Setup, name: &str, change: impl FnOnce(String) -> String) -> Rehearsed {
    let (file, text) = Scenario::embedded()
        .into_iter()
        .find(|(file, _)| file.ends_with(&format!("/{name}.yaml")))
        .unwrap_or_else(|| panic!("{name} ships"));
    let text = change(text.to_owned());
    let written = Scenario::parse(file, &text).unwrap_or_else(|faults| panic!("{file}: {faults:?}"));
    let scenario = written.resolve(&setup.application.regions).unwrap_or_else(|faults| panic!("{file}: {faults:?}"));
    let rehearsed = rehearse(setup, &scenario, 7, true);
    let wrong = (&rehearsed.violations, &rehearsed.unmet);
    assert!(rehearsed.violations.is_empty() && rehearsed.unmet.is_empty(), "{name}: {wrong:?}");
    rehearsed
}

#[test]
fn traffic_returns_in_steps_and_nothing_is_lost() {
    let well = rehearsed("failback-gradual-well", |text| text);
    assert_eq!(well.ending, Ending::Succeeded);
}

#[test]
fn errors_take_one_step_back_and_hold_the_run_for_a_person_who_is_named() {
    let risen = rehearsed("failback-gradual-errors-rise", |text| text);
    match risen.ending {
        Ending::Held { step, code, waits_for, .. } => {
            assert!(step.is_some_and(|step| step.starts_with("return")), "it names where");
            assert_eq!(code, "ramp-stepped-back");
            assert!(waits_for.contains("an operator"), "{waits_for}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_daemon_that_is_killed_in_the_middle_goes_on_with_the_ramp() {
    let killed = rehearsed("failback-gradual-killed", |text| text);
    assert_eq!(killed.ending, Ending::Succeeded);
}

#[test]
fn a_resumed_ramp_begins_again_and_ends_once_all_is_well() {
    let resumed = rehearsed("failback-gradual-errors-rise", |text| {
        text.replace("  ask: { wish: failback, at: 1m }\n", "  ask: { wish: failback, at: 1m }\n  resumes_after: 1m\n")
            .replace("lasts: 40m\n", "heals_at: 28m\nlasts: 90m\n")
            .replace("ends: held, code: ramp-stepped-back", "ends: succeeded")
    });
    assert_eq!(resumed.ending, Ending::Succeeded);
}

#[test]
fn an_abort_in_the_middle_of_a_ramp_puts_all_traffic_back_where_it_was() {
    let aborted = played(&traffic_alone(), "failback-gradual-well", |text| {
        let at = text.find("lasts: 45m").expect("it says how long");
        let asked = "ask: { wish: switchover, at: 1m }\n  acts: [{ at: 6m, does: abort }]";
        let head = text[..at].replace("active: standby\n", "").replace("ask: { wish: failback, at: 1m }", asked);
        let expected = "run: { ends: aborted }\n  - traffic_in: primary\n  - served: { within: 1s }\n";
        format!("{head}lasts: 45m\nexpect:\n  - {expected}")
    });
    assert_eq!(aborted.ending, Ending::Aborted);
    let said = |text: &str| aborted.trace.iter().any(|line| line.text.contains(text));
    assert!(said("call observed `return.api`") && said("undone: return.api"), "{:?}", aborted.trace);
}
