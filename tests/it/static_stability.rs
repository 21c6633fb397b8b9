//! The static-stability lint: a good and a bad runbook for each rule, and the black hole that proves it right.

use std::collections::{BTreeMap, BTreeSet};

use failoverd::{
    config::Settings,
    domain::{
        application::{Application, Mechanism},
        compile::compile,
        id::{Digest, Region, Subject},
        plan::{Plan, Purpose},
        runbook::Runbook,
        stability::{fall_with, lint, people_besides},
        standby_object::ObjectAt,
    },
};

fn region(name: &str) -> Region {
    name.parse().expect("a Region")
}

/// The application of the reference example, its traffic moved by `mechanism`.
fn application(mechanism: Option<Mechanism>) -> Application {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples/payments-fast.toml");
    let settings = Settings::load(&path, &BTreeMap::new()).unwrap_or_else(|f| panic!("{f}"));
    let mut app = settings.applications.into_iter().next().expect("one");
    for traffic in app.traffic.values_mut() {
        if let Some(mechanism) = &mechanism {
            traffic.mechanism = mechanism.clone();
        }
    }
    app
}

fn records() -> Mechanism {
    Mechanism::Records { set_identifiers: BTreeMap::new() }
}

fn signal_in(name: &str) -> Mechanism {
    Mechanism::HealthSignal {
        region: region(name),
        namespace: "N".to_owned(),
        metric: "M".to_owned(),
        dimensions: BTreeMap::new(),
        active_value: 1.0,
        diverted_value: 0.0,
    }
}

fn object_in(name: &str) -> Mechanism {
    let object = ObjectAt { region: region(name), bucket: "standby".to_owned(), key: "k".to_owned() };
    Mechanism::StandbyObject { object, url: None }
}

fn plan(app: &Application, purpose: Purpose, text: &str) -> Plan {
    let (runbook, _) = Runbook::parse("r.yaml", text).unwrap_or_else(|f| panic!("{f:#?}"));
    let none = Digest::zero();
    let (from, to) = if purpose == Purpose::Failback { ("us-west-2", "us-east-1") } else { ("us-east-1", "us-west-2") };
    compile(app, &runbook, purpose, &region(from), &region(to), None, &none, &none).unwrap_or_else(|f| panic!("{f:?}"))
}

fn runbook(purpose: &str, steps: &[&str]) -> String {
    let steps: String = steps.iter().map(|s| format!("  - {{ {s} }}\n")).collect();
    format!("runbook: r\npurpose: {purpose}\ndescription: d\nsteps:\n{steps}")
}

/// `code step` of each finding.
fn found(app: &Application, text: &str, people: usize) -> Vec<String> {
    let lint = lint(&plan(app, Purpose::Failover, text), app, Some(people));
    // Most of these runbooks have a step or two, and none that moves traffic.
    let lint = lint.iter().filter(|f| f.code != "runbook-leaves-traffic");
    lint.map(|f| format!("{} {}", f.code, f.step)).collect()
}

const VERIFY: &str = "id: v, action: aurora.verify_writer";
const FLIP: &str = "id: f, action: dns.flip, needs: [v]";

/// What is wrong, the application and the steps where it is so, those where it is not, and what is said.
type Case = (&'static str, Application, Vec<&'static str>, Application, Vec<&'static str>, &'static str);

/// One for every rule.
fn cases() -> Vec<Case> {
    let arc = || application(None);
    let mut cases = on_the_worst_day();
    cases.extend(of_the_old_writer());
    cases.extend([
        (
            "a clock before the traffic",
            arc(),
            vec![
                "id: w, action: wait, with: { duration: 1m }",
                "id: v, action: aurora.verify_writer, needs: [w]",
                FLIP,
            ],
            arc(),
            vec![VERIFY, FLIP, "id: w, action: wait, needs: [f], with: { duration: 1m }"],
            "runbook-needless-wait w",
        ),
        (
            "people are asked about what can be taken back",
            arc(),
            vec!["id: a, action: approve", "id: v, action: aurora.verify_writer, needs: [a]", FLIP],
            arc(),
            vec!["id: a, action: approve", "id: p, action: aurora.failover, needs: [a]"],
            "runbook-needless-wait a",
        ),
        (
            "a lost Region is never connected again",
            arc(),
            vec!["id: w, action: aurora.wait"],
            arc(),
            vec!["id: w, action: aurora.wait, with: { synchronized: false }"],
            "runbook-endless-wait w.orders",
        ),
        (
            "more people than there are",
            arc(),
            vec!["id: a, action: approve, with: { count: 3 }", "id: p, action: aurora.failover, needs: [a]"],
            arc(),
            vec!["id: a, action: approve, with: { count: 2 }", "id: p, action: aurora.failover, needs: [a]"],
            "runbook-endless-wait a",
        ),
    ]);
    cases
}

/// What is asked of the old writer and its servers.
fn of_the_old_writer() -> Vec<Case> {
    let arc = || application(None);
    vec![
        (
            "a fence needs the Region that is left",
            arc(),
            vec!["id: a, action: fence.application, with: { ecs: [payments/api] }"],
            arc(),
            vec!["id: a, action: fence.application, with: { ecs: [payments/api], on_unknown: pass }"],
            "runbook-needs-source a",
        ),
        (
            "so does its security group",
            arc(),
            vec!["id: g, action: fence.security_group, with: { group: sg-0a1b2c3d4e5f60718, from: [10.0.0.0/16] }"],
            arc(),
            vec![
                "id: g, action: fence.security_group, with: { group: sg-0a1b2c3d4e5f60718, from: [10.0.0.0/16], \
                 on_unknown: pass }",
            ],
            "runbook-needs-source g.orders",
        ),
        (
            "nobody tells of a fence before a promotion",
            arc(),
            vec!["id: e, action: fence.event, with: { on_unknown: pass }"],
            arc(),
            vec![
                "id: p, action: aurora.failover",
                "id: e, action: fence.event, needs: [p], with: { on_unknown: pass }",
            ],
            "runbook-needless-wait e.orders",
        ),
        (
            "the port of the old servers",
            arc(),
            vec!["id: t, action: probe.tcp, with: { endpoint: source }"],
            arc(),
            vec!["id: t, action: probe.tcp, with: { endpoint: target }"],
            "runbook-needs-source t",
        ),
    ]
}

/// What falls with a Region.
fn on_the_worst_day() -> Vec<Case> {
    let arc = || application(None);
    vec![
        (
            "a switchover is called in the Region that is left",
            arc(),
            vec!["id: s, action: aurora.switchover"],
            arc(),
            vec!["id: s, action: aurora.failover"],
            "runbook-needs-source s.orders",
        ),
        (
            "a lossless gate asks every member",
            arc(),
            vec!["id: g, action: gate.target, with: { lossless: true }"],
            arc(),
            vec!["id: g, action: gate.target"],
            "runbook-needs-source g.orders",
        ),
        (
            "the old servers do not answer",
            arc(),
            vec!["id: p, action: probe.http, with: { endpoint: source }"],
            arc(),
            vec!["id: p, action: probe.http, with: { endpoint: target }"],
            "runbook-needs-source p",
        ),
        (
            "a signal put in the Region that is left",
            application(Some(signal_in("us-east-1"))),
            vec![VERIFY, FLIP],
            application(Some(signal_in("us-west-2"))),
            vec![VERIFY, FLIP],
            "runbook-needs-source f.api",
        ),
        (
            "an object in the Region that is left",
            application(Some(object_in("us-east-1"))),
            vec![VERIFY, "id: f, action: dns.standby_object, needs: [v]"],
            application(Some(object_in("us-west-2"))),
            vec![VERIFY, "id: f, action: dns.standby_object, needs: [v]"],
            "runbook-needs-source f.api",
        ),
        (
            "records are changed in us-east-1",
            application(Some(records())),
            vec![VERIFY, FLIP],
            arc(),
            vec![VERIFY, FLIP],
            "runbook-needs-us-east-1 f.api",
        ),
    ]
}

#[test]
fn each_rule_has_a_runbook_that_it_finds_and_one_that_it_lets_pass() {
    for (what, bad_app, bad, good_app, good, code) in cases() {
        assert_eq!(found(&bad_app, &runbook("failover", &bad), 2), [code], "{what}");
        assert_eq!(found(&good_app, &runbook("failover", &good), 2), Vec::<String>::new(), "{what}");
    }
}

#[test]
fn a_writer_that_moves_without_its_traffic_is_found() {
    let app = application(None);
    let moved = "id: p, action: aurora.failover";
    let leaves = |steps: &[&str]| {
        let plan = plan(&app, Purpose::Failover, &runbook("failover", steps));
        let found = lint(&plan, &app, Some(2));
        found.iter().filter(|f| f.code == "runbook-leaves-traffic").map(|f| f.step.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(leaves(&[moved]), ["p.orders"]);
    assert_eq!(leaves(&[moved, "id: v, action: aurora.verify_writer, needs: [p]", FLIP]), [] as [&str; 0]);
    assert_eq!(leaves(&[VERIFY, FLIP]), [] as [&str; 0], "nothing but traffic moves");
}

#[test]
fn no_shipped_failover_runbook_depends_on_the_source_or_on_us_east_1() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["region-failover", "dns-flip"] {
        let mut app = application(None);
        if name == "dns-flip" {
            app.stores.clear();
        }
        let text = std::fs::read_to_string(root.join(format!("runbooks/{name}.yaml"))).expect(name);
        let plan = plan(&app, Purpose::Failover, &text);
        assert_eq!(lint(&plan, &app, Some(1)), [], "{name}");
        for gone in ["us-east-1", plan.source.as_str()] {
            let lost: Vec<&str> = fall_with(&plan, &app, &region(gone)).iter().map(|s| s.id.as_str()).collect();
            assert_eq!(lost, Vec::<&str>::new(), "{name} with {gone} gone");
        }
    }
}

#[test]
fn a_planned_move_may_need_both_ends_and_says_so_without_a_finding() {
    const MOVE: &str = "id: s, action: aurora.switchover";
    const PROVE: &str = "id: v, action: aurora.verify_writer, needs: [s]";
    let app = application(None);
    let plan = plan(&app, Purpose::Switchover, &runbook("switchover", &[MOVE, PROVE, FLIP]));
    assert_eq!(lint(&plan, &app, Some(1)), []);
    assert_eq!(fall_with(&plan, &app, &plan.source).len(), 1);
}

#[test]
fn the_luckiest_asker_leaves_the_most_people() {
    let people = |names: &[&str]| names.iter().map(|n| n.parse().expect("a name")).collect::<BTreeSet<Subject>>();
    assert_eq!(people_besides(&people(&["bob"]), &people(&["bob"])), 0);
    assert_eq!(people_besides(&people(&["bob", "ann"]), &people(&["ann"])), 1);
    assert_eq!(people_besides(&people(&["bob"]), &people(&["ann", "bob"])), 1);
}

/// The black hole: every step of every cell is judged by whether the run stopped at it.
mod black_hole {
    use failoverd::{
        config,
        domain::{id::Digest, runbook::Runbook},
        sim::rehearse::{
            Ending, Setup,
            matrix::{self, Matrix, Undisturbed},
            run::rehearse,
        },
    };

    use super::*;
    use crate::support::scene;

    /// The application that the rehearsals play, its traffic moved by `mechanism`.
    fn setup(mechanism: Option<Mechanism>) -> Setup {
        let mut application = scene::application();
        application.runbooks.retain(|purpose, _| *purpose == Purpose::Failover);
        if let Some(mechanism) = mechanism {
            for traffic in application.traffic.values_mut() {
                traffic.mechanism = mechanism.clone();
            }
        }
        Setup { application, runbooks: config::shipped(), config_digest: Digest::of(b"config") }
    }

    fn failover_of(setup: &Setup) -> (Plan, &Runbook) {
        let app = &setup.application;
        let (runbook, digest) = &setup.runbooks[&app.runbooks[&Purpose::Failover]];
        let (from, to) = (region("us-east-1"), region("us-west-2"));
        let plan = compile(app, runbook, Purpose::Failover, &from, &to, None, &setup.config_digest, digest);
        (plan.unwrap_or_else(|f| panic!("{f:?}")), runbook)
    }

    /// The cells of `matrix` in which the source is lost whole as one of `wanted` begins, and how each run ended.
    fn endings(setup: &Setup, matrix: Matrix, wanted: &[&str]) -> Vec<(String, Ending)> {
        let tables = matrix::tables(setup, matrix, 1, &mut Undisturbed::default()).expect("undisturbed, it succeeds");
        let is_whole = |what: &str| what.starts_with("us-east-1") && what.contains("is lost");
        let cells = tables.iter().flat_map(|t| &t.cells).filter(|c| is_whole(&c.what));
        let begins = cells.filter(|c| wanted.iter().any(|step| c.what.contains(&format!("`{step}`"))));
        begins.map(|c| (c.what.clone(), rehearse(setup, &c.scenario, 1, false).ending)).collect()
    }

    #[test]
    fn what_the_lint_calls_safe_passes_with_us_east_1_and_the_source_gone() {
        let setup = setup(None);
        let (plan, _) = failover_of(&setup);
        assert_eq!(lint(&plan, &setup.application, None), []);
        assert_eq!(fall_with(&plan, &setup.application, &region("us-east-1")), Vec::<&_>::new());
        for matrix in [Matrix::UsEast1, Matrix::Region] {
            let endings = endings(&setup, matrix, &["promote.main", "flip.api"]);
            assert_eq!(endings.len(), 2, "{endings:?}");
            for (what, ending) in endings {
                assert_eq!(ending, Ending::Succeeded, "{what}");
            }
        }
    }

    #[test]
    fn what_the_lint_flags_fails_with_us_east_1_gone() {
        let setup = setup(Some(records()));
        let (plan, _) = failover_of(&setup);
        let found: Vec<String> =
            lint(&plan, &setup.application, None).into_iter().map(|f| format!("{} {}", f.code, f.step)).collect();
        assert_eq!(found, ["runbook-needs-us-east-1 flip.api"]);
        let endings = endings(&setup, Matrix::UsEast1, &["flip.api"]);
        assert_eq!(endings.len(), 1, "{endings:?}");
        for (what, ending) in endings {
            assert_ne!(ending, Ending::Succeeded, "{what}");
        }
    }
}
