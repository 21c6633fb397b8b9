//! An application that goes home in steps of weight, rehearsed by its own configuration: config/examples/payments-audited.

use std::path::Path;

use failoverd::{
    config::Settings,
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

/// `name`, whose text `change` may alter first.
fn rehearsed(name: &str, change: impl FnOnce(String) -> String) -> Rehearsed {
    let setup = audited();
    let (file, text) = Scenario::embedded()
        .into_iter()
        .find(|(file, _)| file.ends_with(&format!("/{name}.yaml")))
        .unwrap_or_else(|| panic!("{name} ships"));
    let text = change(text.to_owned());
    let written = Scenario::parse(file, &text).unwrap_or_else(|faults| panic!("{file}: {faults:?}"));
    let scenario = written.resolve(&setup.application.regions).unwrap_or_else(|faults| panic!("{file}: {faults:?}"));
    let rehearsed = rehearse(&setup, &scenario, 7, true);
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
        Ending::Held { code, waits_for } => {
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
