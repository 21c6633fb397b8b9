//! What a file says, what is refused and in which words, and that every file that ships is read.

use super::*;
use crate::sim::faults::{CallFault, Sight, Trouble, Vantage};

#[test]
fn the_whole_of_a_scenario_is_read() {
    let text = "\
scenario: region-lost
description: d
reproduces: R8
covers: [43, 44]
warm_up: 4m
active: us-west-2
happenings:
  - at: 1m
    lasts: 10m
    lose_region: us-east-1
  - at: 2m
    calls: { operation: \"rds:\", region: us-west-2, fault: lose-after, chance: 0.5 }
people:
  ask: { wish: failover, when: recommended, after: 20s, accept_data_loss: 30s }
  approver: { approves: 15s }
heals_at: 20m
lasts: 45m
expect:
  - served: { within: 10m }
  - writer_in: us-west-2
";
    let written = Scenario::parse("s.yaml", text).unwrap();
    assert_eq!((written.name.as_str(), written.reproduces.as_deref()), ("region-lost", Some("R8")));
    assert_eq!(written.covers, BTreeSet::from([43, 44]));
    let s = written.resolve(&regions()).unwrap();
    let minute = Duration::from_mins(1);
    let east =
        Happening { at: minute, lasts: Some(10 * minute), what: Trouble::LoseRegion { region: region("us-east-1") } };
    let calls = Trouble::Calls {
        operation: "rds:".to_owned(),
        region: Some(region("us-west-2")),
        fault: CallFault::LoseAfter,
        chance: 0.5,
    };
    let ask = Ask {
        wish: Wish::Failover,
        when: When::Recommended { after: Duration::from_secs(20) },
        target: None,
        accept_data_loss: Some(Duration::from_secs(30)),
        runbook: None,
        repeats: false,
    };
    let people = People {
        arm: None,
        ask: Some(ask),
        approver: Approver::Approves { after: Duration::from_secs(15) },
        resumes_after: None,
        acts: Vec::new(),
    };
    let expected = Scenario {
        name: "region-lost".to_owned(),
        description: "d".to_owned(),
        reproduces: Some("R8".to_owned()),
        warm_up: 4 * minute,
        active: Some(region("us-west-2")),
        happenings: vec![east, Happening { at: 2 * minute, lasts: Some(18 * minute), what: calls }],
        blackout: false,
        replicas: 1,
        observers: 0,
        people,
        heals_at: Some(20 * minute),
        lasts: 45 * minute,
        expect: vec![Expectation::Served { within: Some(10 * minute) }, Expectation::WriterIn(region("us-west-2"))],
    };
    assert_eq!(s, expected);
}

#[test]
fn what_is_not_written_does_not_happen() {
    let s = read(&with(""));
    assert_eq!((s.people, s.active, s.heals_at), (People::nobody(), None, None));
    assert!(s.happenings.is_empty() && s.expect.is_empty());
    let s = read(&call("{ operation: any, fault: hang }"));
    let any = Trouble::Calls { operation: "*".to_owned(), region: None, fault: CallFault::Hang, chance: 1.0 };
    assert_eq!(s.happenings[0].what, any);
}

#[test]
fn what_is_armed_and_who_sees_what_is_read() {
    let s = read(&with(
        "observers: 2\npeople: { arm: { largest_loss: 5m } }\nhappenings:\n  - { at: 1m, lasts: 2m, vantage: { of: daemon, does: cut_off } }\n  - { at: 2m, vantage: { of: 2, does: sees_ill } }\nexpect: [{ armed: true }]\n",
    ));
    assert_eq!((s.observers, s.people.arm), (2, Some(Duration::from_mins(5))));
    let what: Vec<Trouble> = s.happenings.into_iter().map(|h| h.what).collect();
    let daemon = Trouble::Vantage { of: Vantage::Daemon, does: Sight::CutOff };
    assert_eq!(what, [daemon, Trouble::Vantage { of: Vantage::Observer(2), does: Sight::SeesIll }]);
    assert_eq!(s.expect, [Expectation::Armed(true)]);
}

#[test]
fn who_sees_what_is_refused_where_nobody_has_armed_or_no_such_observer_is_there() {
    let idle = with(
        "observers: 17\nhappenings:\n  - { at: 1m, vantage: { of: 0, does: silent } }\n  - { at: 1m, vantage: { of: demon, does: blind } }\n  - { at: 1m, vantage: { of: 1 } }\npeople: { arm: { } }\n",
    );
    let told = faults(&idle);
    for says in [
        "5:12 scenario-invalid observers: 17 is not between 0 and 16",
        "7:30 scenario-invalid happenings[0].vantage.of: 0 is not between 1 and 16",
        "8:30 scenario-invalid happenings[1].vantage.of: expected daemon, or the number of an observer",
        "8:43 scenario-invalid happenings[1].vantage.does: `blind` is none of silent, cut_off, sees_ill",
        "9:24 scenario-invalid happenings[2].vantage: `does` is missing",
        "10:16 scenario-invalid people.arm: `largest_loss` is missing",
    ] {
        assert!(told.contains(says), "{says}\n{told}");
    }
    assert_eq!(told.matches("scenario-invalid").count(), 6, "{told}");
    let unarmed = with(
        "observers: 1\nhappenings:\n  - { at: 1m, vantage: { of: 2, does: silent } }\n  - { at: 1m, vantage: { of: daemon, does: silent } }\nexpect: [{ armed: false }]\n",
    );
    let told = faults(&unarmed);
    for says in [
        "5:12 scenario-invalid observers: nobody listens to them: give `people` an `arm`",
        "7:24 scenario-invalid happenings[0].vantage: nothing is armed: give `people` an `arm`",
        "7:30 scenario-invalid happenings[0].vantage.of: there is no observer 2: `observers` is 1",
        "8:24 scenario-invalid happenings[1].vantage: nothing is armed: give `people` an `arm`",
        "8:44 scenario-invalid happenings[1].vantage.does: a daemon that is silent is one that is killed or paused",
        "9:19 scenario-invalid expect[0].armed: nobody arms anything: give `people` an `arm`",
    ] {
        assert!(told.contains(says), "{says}\n{told}");
    }
    assert_eq!(told.matches("scenario-invalid").count(), 6, "{told}");
}

#[test]
fn primary_and_standby_are_the_first_and_the_second_region() {
    let text = with("happenings: [{ at: 1m, lose_region: primary }]\nexpect: [{ writer_in: standby }]\n");
    let written = Scenario::parse("s.yaml", &text).unwrap();
    for (first, second) in [("us-east-1", "us-west-2"), ("eu-central-1", "eu-west-1")] {
        let s = written.resolve(&[region(first), region(second)]).unwrap();
        assert_eq!(s.happenings[0].what, Trouble::LoseRegion { region: region(first) });
        assert_eq!(s.expect, [Expectation::WriterIn(region(second))]);
    }
    let faults = written.resolve(&[region("eu-west-1")]).unwrap_err();
    insta::assert_snapshot!(lines(&faults), @"
    6:23 scenario-unknown-region expect[0].writer_in: the application has no standby Region: it has eu-west-1
        such as: writer_in: standby
    ");
}

#[test]
fn what_says_nothing_else_ends_when_everything_heals() {
    let text = with(
        "heals_at: 20m\nhappenings:\n  - { at: 1m, lose_region: primary }\n  - { at: 5m, lasts: 2h, lose_region: standby }\n  - { at: 5m, lasts: 2m, disk_full: true }\n  - { at: 5m, kill_process: { restart_after: 5s } }\n",
    );
    let lasts = |text: &str| -> Vec<Option<u64>> {
        read(text).happenings.iter().map(|h| h.lasts.map(|d| d.as_secs() / 60)).collect()
    };
    assert_eq!(lasts(&text), [Some(19), Some(120), Some(2), None]);
    assert_eq!(lasts(&text.replace("heals_at: 20m\n", "")), [None, Some(120), Some(2), None]);
}

// ---- What is refused

#[test]
fn every_fault_is_reported_at_once_with_its_place() {
    let text = "\
scenario: Region Lost
descripton: d
reproduces: R19
covers: [0, 43]
warm_up: 4
active: primry
happenings:
  - at: 1m
    lose_regoin: primary
  - at: soon
    lose_region: nowhere
    promotion: fail
  - lasts: 5m
    plane: { plane: cloud-watch, region: us-east-1, reach: hung }
  - { at: 2m, calls: { operation: \"rds:Failover\", fault: late, chance: 0 } }
  - { at: 2m, calls: { operation: \"rdss:FailoverGlobalCluster\", fault: stael, by: 3s } }
  - { at: 2m, calls: { operation: any, fault: hang, by: 3s } }
  - { at: 2m, fencing_times_out: false }
  - { at: 2m, clock_jumps: 0s }
  - { at: 2m, kill_at_append: { append: -1, durable: yes, restart_after: 10s } }
  - [1m]
people:
  ask: { wish: fail-over, at: 1m, when: recommended }
  approver: { }
  acts: [{ at: 3m, does: ask-again }]
heals_at: 20 minuts
lasts: 30d
expect:
  - served: { within: rot }
  - run: { ends: held, code: gate-roo }
  - run: { ends: succeeded, code: gate-rpo }
  - recommended: never
";
    insta::assert_snapshot!(faults(text));
}

#[test]
fn times_that_contradict_each_other_are_refused() {
    let text = "\
scenario: s
description: d
warm_up: 4m
heals_at: 20m
lasts: 20m
happenings:
  - { at: 30m, promotion: fails }
  - { at: 20m, promotion: fails }
  - { at: 15m, lasts: 10m, disk_full: true }
  - { at: 15m, lasts: 10m, lose_region: primary }
  - { at: 1m, lasts: 1m, kill_process: { restart_after: 5s } }
people:
  ask: { wish: switchover, at: 20m }
  acts: [{ at: 21m, does: pause }]
";
    insta::assert_snapshot!(faults(text));
}

#[test]
fn where_nobody_asks_there_is_no_run() {
    let text =
        with("people: { acts: [{ at: 1m, does: abort }] }\nexpect: [{ run: { ends: aborted } }, { no_run: true }]\n");
    insta::assert_snapshot!(faults(&text));
    let asks =
        with("people: { acts: [{ at: 1m, does: ask-again, wish: auto }] }\nexpect: [{ run: { ends: failed } }]\n");
    assert_eq!(faults(&asks), "");
}

#[test]
fn a_region_that_the_application_does_not_have_is_refused_where_it_must_have_it() {
    let text = with(
        "active: eu-west-1\nhappenings: [{ at: 1m, lose_region: eu-west-1 }, { at: 1m, headless: eu-west-2 }]\npeople: { ask: { wish: auto, at: 1m, target: eu-west-3 } }\n",
    );
    insta::assert_snapshot!(unresolved(&text));
}

#[test]
fn only_plain_yaml_is_read() {
    let deep = format!("scenario: {}x{}", "[".repeat(20), "]".repeat(20));
    for (text, says) in [
        ("scenario: &a r\ndescription: *a", "anchors"),
        ("scenario: !x r", "tags"),
        ("scenario: r\n---\nscenario: s", "second document"),
        ("scenario: r\nscenario: s", "given twice"),
        ("scenario: [r", "not YAML"),
        ("", "is empty"),
        ("- 1", "expected a table"),
        (&deep, "deeper"),
        ("<<: {a: b}", "unknown key `<<`"),
    ] {
        assert!(faults(text).contains(says), "{text}: {}", faults(text));
    }
    let long = format!("# {}", "x".repeat(yaml::BYTES_MAX));
    assert!(faults(&long).contains("the limit is 65536"));
    let many = format!("happenings: [{}]\n", "{ at: 1m, promotion: fails }, ".repeat(101));
    assert!(faults(&with(&many)).contains("101 entries; 100 are possible"));
}

#[test]
fn a_misspelt_word_is_one_fault_and_not_also_its_keys() {
    let told = faults(&call("{ operation: any, fault: laet, by: 3s }"));
    assert_eq!(told.matches("scenario-invalid").count(), 1, "{told}");
    assert!(told.contains("did you mean `late`?"), "{told}");
}

// ---- What ships

/// Faults that no trouble is, but the course of things or of people: a loss that outgrows what was accepted, a primary
/// that comes back in the middle, a way back before anybody has reconciled, a second request, a wrong target, an abort, an
/// approval of one's own, a disaster in a drill, a drill in another's way, in a blackout or over its budget.
const OF_THE_COURSE: [u8; 11] = [59, 61, 62, 69, 70, 71, 73, 79, 80, 81, 83];

#[test]
fn every_shipped_scenario_is_read_and_every_file_ships() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let files: BTreeSet<String> = fs::read_dir(folder)
        .expect("tests/scenarios")
        .map(|f| format!("tests/scenarios/{}", f.expect("an entry").file_name().to_string_lossy()))
        .collect();
    let shipped: BTreeSet<String> = Scenario::embedded().iter().map(|(file, _)| (*file).to_owned()).collect();
    assert_eq!(shipped, files);
    for (file, text) in Scenario::embedded() {
        let written = Scenario::parse(file, text).unwrap_or_else(|f| panic!("{file}\n{}", lines(&f)));
        assert_eq!(file, format!("tests/scenarios/{}.yaml", written.name));
        let scenario = written.resolve(&regions()).unwrap_or_else(|f| panic!("{file}\n{}", lines(&f)));
        assert!(!scenario.expect.is_empty(), "{file} expects nothing");
        let claimed = |n: &u8| scenario.happenings.iter().any(|h| h.what.numbers().contains(n));
        let idle: Vec<u8> =
            written.covers.iter().copied().filter(|n| !claimed(n) && !OF_THE_COURSE.contains(n)).collect();
        assert!(idle.is_empty(), "{file} covers {idle:?}, and nothing in it does that");
        // Elsewhere too: no file may name a Region of ours where the application's must stand.
        let elsewhere = written.resolve(&[region("eu-central-1"), region("eu-west-1")]);
        assert!(elsewhere.is_ok(), "{file}\n{}", lines(&elsewhere.unwrap_err()));
    }
}

#[test]
fn a_replica_that_is_not_there_is_refused_and_so_is_a_disk_that_several_would_share() {
    let alone = with(
        "replicas: 6\nhappenings:\n  - { at: 1m, replica: { of: leader, does: sleeps } }\n  - { at: 1m, replica: { of: chief, does: paused, around: lunch } }\n",
    );
    let told = faults(&alone);
    for says in [
        "replicas: 6 is not between 1 and 5",
        "happenings[0].replica.does: `sleeps` is none of killed, stopped, paused, ",
        "happenings[1].replica.of: expected leader, or the number of a replica",
        "happenings[1].replica.around: `lunch` is none of before-call, after-call, ",
    ] {
        assert!(told.contains(says), "{says}\n{told}");
    }
    assert_eq!(told.matches("scenario-invalid").count(), 4, "{told}");
    let told = faults(&with("happenings:\n  - { at: 1m, replica: { of: leader, does: stopped } }\n"));
    assert!(told.contains("happenings[0].replica: there is one daemon only: give `replicas`"), "{told}");
    let told = faults(&with(
        "replicas: 2\nhappenings:\n  - { at: 1m, replica: { of: 3, does: stopped } }\n  - { at: 1m, journal_rots: { record: 3 } }\n",
    ));
    for says in [
        "happenings[0].replica.of: there is no replica 3: `replicas` is 2",
        "happenings[1].journal_rots: several replicas share a store that has copies of its own",
    ] {
        assert!(told.contains(says), "{says}\n{told}");
    }
}
