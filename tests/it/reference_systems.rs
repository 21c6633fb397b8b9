//! The reference systems (config/examples): what stands beside their databases and names moves with them.

use std::path::Path;

use failoverd::{
    config::Settings,
    domain::{
        compile::compile,
        id::Region,
        plan::{Plan, Purpose},
    },
    sim::{
        rehearse::{Ending, Rehearsed, Setup, run::rehearse, stage},
        scenario::Scenario,
        world::SimTime,
    },
};

fn setup(name: &str) -> Setup {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("config/examples/{name}.toml"));
    let mut settings = Settings::load(&path, &Default::default()).unwrap_or_else(|faults| panic!("{faults:?}"));
    let application = settings.applications.remove(0);
    Setup { application, runbooks: settings.runbooks, config_digest: settings.digest }
}

fn played(setup: &Setup, file: &str, text: &str) -> Rehearsed {
    let written = Scenario::parse(file, text).unwrap_or_else(|faults| panic!("{file}: {faults:?}"));
    let scenario = written.resolve(&setup.application.regions).unwrap_or_else(|faults| panic!("{file}: {faults:?}"));
    rehearse(setup, &scenario, 3, true)
}

fn rehearsed(name: &str, scenario: &str) -> Rehearsed {
    let setup = setup(name);
    let (file, text) = Scenario::embedded()
        .into_iter()
        .find(|(file, _)| file.ends_with(&format!("/{scenario}.yaml")))
        .unwrap_or_else(|| panic!("{scenario} ships"));
    let rehearsed = played(&setup, file, text);
    assert!(rehearsed.violations.is_empty(), "{name}: {:?}", rehearsed.violations);
    assert_eq!(rehearsed.ending, Ending::Succeeded, "{name}: {:?}", rehearsed.unmet);
    rehearsed
}

/// How often a line of the timeline says so.
fn said(rehearsed: &Rehearsed, text: &str) -> usize {
    rehearsed.trace.iter().filter(|line| line.text.contains(text)).count()
}

#[test]
fn the_hub_s_parameter_and_schedule_follow_its_database() {
    let lost = rehearsed("migration-hub", "region-lost");
    assert_eq!(said(&lost, "step done `begins.parameter-there`"), 1);
    assert_eq!(said(&lost, "step done `begins.schedule-there`"), 1);
    assert_eq!(said(&lost, "ends."), 0, "nothing is asked of the Region that is lost");
    let home = rehearsed("migration-hub", "failback");
    assert_eq!(said(&home, "step done `ends.schedule-here`"), 1);
    assert_eq!(said(&home, "step done `ends.parameter-here`"), 1);
}

#[test]
fn a_planned_move_asks_first_whether_the_target_has_its_key_and_its_reserved_concurrency() {
    for (name, step) in
        [("payments-regulated", "key"), ("transactions", "concurrency-reserved"), ("migration-hub", "copies")]
    {
        let planned = rehearsed(name, "planned-switchover");
        assert_eq!(said(&planned, &format!("step done `{step}`")), 1, "{name}");
    }
}

/// FAULTS.md 54.
#[test]
fn with_keys_and_secrets_out_of_reach_a_failover_goes_on_and_a_planned_move_waits_before_anything_has_moved() {
    let regulated = setup("payments-regulated");
    let down = ["kms", "secretsmanager"].map(|plane| {
        let down = |of| format!("  - {{ at: 30s, plane: {{ plane: {plane}, region: {of}, reach: hangs }} }}\n");
        down("primary") + &down("standby")
    });
    let happenings = format!("happenings:\n{}", down.concat());
    let lost = "\
scenario: keys-gone
description: Keys and secrets are out of reach everywhere, then the primary is lost.
warm_up: 4m
HAPPENINGS  - { at: 2m, lose_region: primary }
people:
  ask: { wish: failover, when: recommended, after: 20s, accept_data_loss: 1h }
  approver: { approves: 15s }
lasts: 40m
expect: [{ run: { ends: succeeded } }, { writer_in: standby }, { traffic_in: standby }]
";
    let failover = played(&regulated, "keys-gone.yaml", &lost.replace("HAPPENINGS", &happenings));
    assert!(failover.violations.is_empty() && failover.unmet.is_empty(), "{:?}", failover.unmet);
    assert_eq!(failover.ending, Ending::Succeeded);
    let planned = "\
scenario: keys-gone-planned
description: Keys and secrets are out of reach everywhere when somebody wants to move.
warm_up: 4m
HAPPENINGSpeople:
  ask: { wish: switchover, at: 2m }
lasts: 40m
expect: [{ writer_in: primary }, { traffic_in: primary }]
";
    let planned = played(&regulated, "keys-gone-planned.yaml", &planned.replace("HAPPENINGS", &happenings));
    assert!(planned.violations.is_empty() && planned.unmet.is_empty(), "{:?}", planned.unmet);
    let Ending::Held { step, .. } = &planned.ending else { panic!("{:?}", planned.ending) };
    assert_eq!(step.as_ref().map(ToString::to_string).as_deref(), Some("key"));
    assert_eq!(said(&planned, "rds:SwitchoverGlobalCluster"), 0);
}

#[test]
fn what_runbooks_call_is_there_as_the_last_move_to_the_active_region_has_left_it() {
    let hub = setup("migration-hub");
    let regions = hub.application.regions.clone();
    let plan = |purpose: Purpose, source: &Region, target: &Region| -> Plan {
        let (runbook, digest) = &hub.runbooks[&hub.application.runbooks[&purpose]];
        compile(&hub.application, runbook, purpose, source, target, None, &hub.config_digest, digest)
            .unwrap_or_else(|faults| panic!("{faults:?}"))
    };
    let [east, west] = &regions[..] else { panic!("two Regions") };
    let away = plan(Purpose::Switchover, east, west);
    let home = plan(Purpose::Failback, west, east);
    for (active, away, home) in [(east, &away, &home), (west, &home, &away)] {
        let start = SimTime(1_795_000_000_000);
        let (mut world, _) = stage::world(&hub.application, 1, start).unwrap_or_else(|why| panic!("{why:?}"));
        stage::furnish(&mut world, &regions, std::slice::from_ref(away), std::slice::from_ref(home));
        for region in &regions {
            let value = world.services.ssm.parameter(region, "/hub/endpoint-region").map(|p| p.value.clone());
            assert_eq!(value.as_deref(), Some(active.as_str()), "in {region}");
            let fires = world.services.events.rule(region, "hub-inventory").map(|rule| rule.enabled);
            assert_eq!(fires, Some(region == active), "in {region}");
        }
    }
}
