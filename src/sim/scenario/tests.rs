use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value as Json;

use super::{
    form::{Form, Key, Reading, Shape, Word},
    *,
};
use crate::{
    domain::document::{Node, Value},
    sim::{
        faults::{CallFault, ProcessFault, StoreFault, Trouble},
        world::{
            Plane, Reach,
            aurora::{LagMetric, LagSetting, PromotionFate},
            cloudwatch::MetricFault,
        },
    },
};

fn region(name: &str) -> Region {
    name.parse().unwrap()
}

fn regions() -> Vec<Region> {
    vec![region("us-east-1"), region("us-west-2")]
}

fn lines(faults: &[Fault]) -> String {
    let line = |f: &Fault| {
        let example = f.example.as_ref().map(|e| format!("\n    such as: {e}")).unwrap_or_default();
        format!("{}:{} {} {}: {}{example}\n", f.line, f.column, f.code, f.key, f.problem)
    };
    faults.iter().map(line).collect()
}

/// The faults of `text`, one a line: `line:column code key: problem`.
fn faults(text: &str) -> String {
    Scenario::parse("s.yaml", text).map_or_else(|faults| lines(&faults), |_| String::new())
}

/// The faults of `text` for an application of two Regions.
fn unresolved(text: &str) -> String {
    let written = Scenario::parse("s.yaml", text).map_err(|f| lines(&f)).expect("reads");
    written.resolve(&regions()).map_or_else(|faults| lines(&faults), |_| String::new())
}

fn read(text: &str) -> Scenario {
    let written = Scenario::parse("s.yaml", text).unwrap_or_else(|f| panic!("{}{text}", lines(&f)));
    written.resolve(&regions()).unwrap_or_else(|f| panic!("{}{text}", lines(&f)))
}

fn with(rest: &str) -> String {
    format!("scenario: s\ndescription: d\nwarm_up: 4m\nlasts: 45m\n{rest}")
}

/// `happenings` with one fault of calls in it.
fn call(fault: &str) -> String {
    with(&format!("happenings: [{{ at: 1m, calls: {fault} }}]\n"))
}

// ---- What is read

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
        repeats: false,
    };
    let people = People {
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

// ---- Every variant, there and back

/// One of every trouble that there is.
#[expect(clippy::too_many_lines, reason = "a table")]
fn troubles() -> Vec<Trouble> {
    let (east, west) = (region("us-east-1"), region("us-west-2"));
    let restart_after = Duration::from_secs(30);
    let mut all = vec![
        Trouble::LoseRegion { region: east.clone() },
        Trouble::PartitionRegion { region: west.clone() },
        Trouble::Promotion { fate: PromotionFate::Fails },
        Trouble::Promotion { fate: PromotionFate::Sticks },
        Trouble::FencingTimesOut,
        Trouble::Headless { region: west.clone() },
        Trouble::Mismatched { region: west.clone() },
        Trouble::ResolversIgnoreTtl { seconds: 600 },
        Trouble::CredentialsExpire,
        Trouble::ClockJumps { seconds: -3_600 },
        Trouble::ClockJumps { seconds: 90 },
        Trouble::Process(ProcessFault::Kill { restart_after }),
        Trouble::Process(ProcessFault::KillAtAppend { append: 7, durable: true, restart_after }),
        Trouble::Process(ProcessFault::KillAtCall { call: 3, effect: false, restart_after }),
        Trouble::Process(ProcessFault::Stop { restart_after }),
        Trouble::Process(ProcessFault::Pause { lasts: Duration::from_millis(90_500) }),
        Trouble::Store(StoreFault::Full),
        Trouble::Store(StoreFault::FailsAfterCommit),
        Trouble::Store(StoreFault::Rots { record: 3 }),
    ];
    let planes = [
        Plane::Rds,
        Plane::Route53Control,
        Plane::CloudWatch,
        Plane::Sns,
        Plane::HealthCheckers,
        Plane::ArcCluster,
        Plane::Application,
        Plane::Database,
        Plane::Network,
    ];
    let reaches = [Reach::Up, Reach::Hangs, Reach::Unavailable, Reach::Throttles, Reach::DeniesAccess];
    for plane in planes {
        all.extend(reaches.map(|reach| Trouble::Plane { plane, region: east.clone(), reach }));
    }
    let mut calls = vec![
        CallFault::LoseBefore,
        CallFault::LoseAfter,
        CallFault::Late { by: Duration::from_secs(45) },
        CallFault::Duplicate,
        CallFault::Hang,
        CallFault::Refuse,
        CallFault::ServerError,
        CallFault::ServerErrorAfter,
        CallFault::Throttle,
        CallFault::Stale,
        CallFault::UnknownStatus,
        CallFault::Garbage,
    ];
    calls.extend(words::AWS_CODES.iter().map(|w| CallFault::Reject { code: w.word }));
    for (i, fault) in calls.into_iter().enumerate() {
        let operation = words::OPERATIONS[i % words::OPERATIONS.len()].to_owned();
        let region = (i % 2 == 0).then(|| west.clone());
        all.push(Trouble::Calls { operation, region, fault, chance: if i % 3 == 0 { 1.0 } else { 0.25 } });
    }
    let any = Trouble::Calls { operation: "*".to_owned(), region: None, fault: CallFault::Hang, chance: 1.0 };
    all.push(any);
    for setting in [LagSetting::Wanders, LagSetting::Fixed(1_500), LagSetting::StandsStill] {
        all.push(Trouble::Lag { region: west.clone(), setting });
    }
    let metrics = [
        LagMetric::Honest,
        LagMetric::GrowsWhenCut,
        LagMetric::ShowsZero,
        LagMetric::Missing,
        LagMetric::NotANumber,
        LagMetric::Negative,
    ];
    for metric in metrics {
        all.push(Trouble::LagMetric { region: west.clone(), metric });
    }
    for fault in [MetricFault::Withhold, MetricFault::Delay(180_000), MetricFault::Freeze, MetricFault::NotANumber] {
        all.push(Trouble::Metrics { region: west.clone(), namespace: "AWS/RDS".to_owned(), fault });
    }
    all
}

/// One scenario for every trouble, approver, wish, act and end, so that each is there and back once.
fn every_variant() -> Vec<Scenario> {
    let minute = Duration::from_mins(1);
    let base = read(&with(""));
    let scenario = |happenings: Vec<Happening>, people: People, expect: Vec<Expectation>| Scenario {
        description: "what: \"it\" is,\nin two lines".to_owned(),
        reproduces: Some("R18".to_owned()),
        active: Some(region("us-west-2")),
        happenings,
        people,
        expect,
        ..base.clone()
    };
    let mut all: Vec<Scenario> = troubles()
        .into_iter()
        .map(|what| scenario(vec![Happening { at: minute, lasts: None, what }], People::nobody(), Vec::new()))
        .collect();
    let lost = Trouble::LoseRegion { region: region("us-east-1") };
    all.push(scenario(
        vec![Happening { at: minute, lasts: Some(10 * minute), what: lost }],
        People::nobody(),
        Vec::new(),
    ));
    let after = Duration::from_secs(15);
    let whens = [When::At(minute), When::Recommended { after }];
    let approvers = [
        Approver::Approves { after },
        Approver::Declines { after },
        Approver::Silent,
        Approver::TriesOwnFirst { after },
    ];
    for (i, wish) in [Wish::Auto, Wish::Failover, Wish::Switchover, Wish::Failback].into_iter().enumerate() {
        let even = i % 2 == 0;
        let ask = Ask {
            wish,
            when: whens[i % 2],
            target: even.then(|| region("us-west-2")),
            accept_data_loss: even.then_some(10 * minute),
            repeats: even,
        };
        let acts = vec![
            (minute, PersonAct::Pause),
            (minute, PersonAct::Resume),
            (minute, PersonAct::Abort),
            (minute, PersonAct::AskAgain(wish)),
        ];
        let people = People { ask: Some(ask), approver: approvers[i], resumes_after: even.then_some(minute), acts };
        let ends = [
            RunEnd::Succeeded,
            RunEnd::Aborted,
            RunEnd::Failed,
            RunEnd::Held { code: even.then(|| "gate-rpo".to_owned()) },
        ];
        let mut expect: Vec<Expectation> = ends.into_iter().map(Expectation::Run).collect();
        expect.extend([
            Expectation::Served { within: even.then_some(minute) },
            Expectation::WriterIn(region("us-west-2")),
            Expectation::TrafficIn(region("us-east-1")),
            Expectation::LossAtMost(after),
            Expectation::Recommended(even),
        ]);
        all.push(scenario(Vec::new(), people, expect));
    }
    all.push(scenario(Vec::new(), People::nobody(), vec![Expectation::NoRun]));
    all.push(Scenario { heals_at: Some(20 * minute), ..base });
    all
}

#[test]
fn every_variant_reads_back_as_it_was_written() {
    for scenario in every_variant() {
        let text = scenario.to_yaml();
        assert_eq!(read(&text), scenario, "{text}");
    }
}

/// Every key of `form` and of what hangs on it, once.
fn all_keys(form: &'static Form, out: &mut Vec<&'static Key>) {
    for key in form.keys.iter().chain(form.one_of) {
        keys_of(key, out);
    }
}

fn keys_of(key: &'static Key, out: &mut Vec<&'static Key>) {
    if out.iter().any(|k| std::ptr::eq(*k, key)) {
        return;
    }
    out.push(key);
    match &key.shape {
        Shape::Table(form) | Shape::List { of: Shape::Table(form), .. } => all_keys(form, out),
        Shape::Words(words) => words.iter().flat_map(|w| w.more).for_each(|k| keys_of(k, out)),
        _ => {}
    }
}

fn grammar() -> Vec<&'static Key> {
    let mut out = Vec::new();
    all_keys(&keys::SCENARIO, &mut out);
    out
}

#[test]
fn every_key_and_every_word_of_the_forms_is_used_by_some_variant() {
    let text: String = every_variant().iter().map(Scenario::to_yaml).collect();
    for key in grammar() {
        // Kept on what is written, not in the scenario.
        if key.name != "covers" {
            assert!(
                text.contains(&format!("{}: ", key.name)) || text.contains(&format!("{}:\n", key.name)),
                "{}",
                key.name
            );
        }
        let words: &[Word] = if let Shape::Words(words) = key.shape { words } else { &[] };
        for word in words {
            let given = format!("{}: {}", key.name, word.word);
            let ends = |end: &str| text.contains(&format!("{given}{end}"));
            assert!(ends(" }") || ends(","), "{given}");
        }
    }
}

#[test]
fn every_example_is_one() {
    for key in grammar() {
        let mut found = Findings::new(key.name, "scenario-invalid");
        let node = yaml::parse(key.example, &mut found).expect("YAML");
        let host: &'static Form =
            Box::leak(Box::new(Form { what: "an example", keys: std::slice::from_ref(key), one_of: &[] }));
        let root = At::root(&node, &mut found);
        let got = Reading { found: &mut found, regions: None }.form(host, &root);
        let faults = lines(&found.into_faults());
        // What comes with a word is another key.
        assert!(got.is_some() || faults.contains("is missing"), "{}: {faults}", key.example);
    }
}

// ---- What ships

/// Faults that no trouble is, but the course of things or of people: a loss that outgrows what was accepted, a primary
/// that comes back in the middle, a second request, a wrong target, an abort, an approval of one's own.
const OF_THE_COURSE: [u8; 6] = [59, 61, 69, 70, 71, 73];

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

// ---- The schema, and the documents

fn json(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(b) => (*b).into(),
        Value::Integer(n) => (*n).into(),
        Value::Float(n) => (*n).into(),
        Value::Text(t) => t.as_str().into(),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Table(entries) => entries.iter().map(|e| (e.key.clone(), json(&e.value))).collect(),
    }
}

fn as_json(text: &str) -> Json {
    json(&yaml::parse(text, &mut Findings::new("", "")).expect("YAML"))
}

/// What of `value` the schema refuses: the part of draft 7 that the generator uses; any other word is a panic.
/// Patterns are looked at by eye and by the editors (the golden copy was checked with python's jsonschema too).
fn refused(schema: &Json, value: &Json, at: &str) -> Vec<String> {
    let Json::Object(words) = schema else {
        return if schema == &Json::Bool(false) { vec![format!("{at}: must not be")] } else { Vec::new() };
    };
    let ok = |s: &Json| refused(s, value, at).is_empty();
    let mut out = Vec::new();
    let list = |v: &Json| v.as_array().cloned().unwrap_or_default();
    for (word, rule) in words {
        let holds = match word.as_str() {
            "$schema" | "title" | "description" | "pattern" | "then" | "else" => true,
            "type" => match rule.as_str().expect("a type") {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "integer" => value.is_i64(),
                "number" => value.is_number(),
                "boolean" => value.is_boolean(),
                other => panic!("type {other}"),
            },
            "const" => value == rule,
            "enum" => list(rule).contains(value),
            "anyOf" => list(rule).iter().any(ok),
            "oneOf" => list(rule).iter().filter(|s| ok(s)).count() == 1,
            "allOf" => list(rule).iter().all(ok),
            "if" => ok(words.get(if ok(rule) { "then" } else { "else" }).unwrap_or(&Json::Bool(true))),
            "required" => list(rule).iter().all(|k| value.get(k.as_str().unwrap()).is_some()),
            "additionalProperties" => {
                let known = words["properties"].as_object().unwrap();
                rule == &Json::Bool(true) || value.as_object().is_none_or(|v| v.keys().all(|k| known.contains_key(k)))
            }
            "properties" => {
                for (key, rule) in rule.as_object().unwrap() {
                    out.extend(value.get(key).into_iter().flat_map(|v| refused(rule, v, &format!("{at}.{key}"))));
                }
                true
            }
            "items" => {
                let items = list(value);
                out.extend(items.iter().enumerate().flat_map(|(i, v)| refused(rule, v, &format!("{at}[{i}]"))));
                true
            }
            "maxItems" => list(value).len() as u64 <= rule.as_u64().unwrap(),
            "minLength" => value.as_str().is_none_or(|s| rule.as_u64().unwrap() <= s.len() as u64),
            "minimum" => value.as_f64().is_none_or(|v| rule.as_f64().unwrap() <= v),
            "maximum" => value.as_f64().is_none_or(|v| v <= rule.as_f64().unwrap()),
            "exclusiveMinimum" => value.as_f64().is_none_or(|v| rule.as_f64().unwrap() < v),
            other => panic!("the schema says `{other}`, which this test does not know"),
        };
        if !holds {
            out.push(format!("{at}: {word}"));
        }
    }
    out
}

#[test]
fn the_schema_accepts_what_the_reader_accepts() {
    let schema = schema();
    for (file, text) in Scenario::embedded() {
        assert_eq!(refused(&schema, &as_json(text), file), [] as [&str; 0]);
    }
    for scenario in every_variant() {
        let text = scenario.to_yaml();
        assert_eq!(refused(&schema, &as_json(&text), &text), [] as [&str; 0]);
    }
}

#[test]
fn the_schema_refuses_what_the_reader_refuses() {
    let schema = schema();
    for text in [
        with("colour: red\n"),
        "scenario: s\ndescription: d\nwarm_up: 4m\n".to_owned(),
        with("happenings: [{ at: 1m }]\n"),
        with("happenings: [{ at: 1m, promotion: fails, disk_full: true }]\n"),
        with("happenings: [{ at: 1m, promotion: stops }]\n"),
        with("happenings: [{ at: 1m, disk_full: false }]\n"),
        call("{ operation: any, fault: late }"),
        call("{ operation: any, fault: hang, by: 3s }"),
        call("{ operation: any, fault: hang, chance: 0 }"),
        call("{ operation: nothing, fault: hang }"),
        with("people: { ask: { wish: auto, when: recommended } }\n"),
        with("people: { ask: { wish: auto, at: 1m, after: 1m } }\n"),
        with("expect: [{ run: { ends: succeeded, code: gate-rpo } }]\n"),
        with("expect: [{ served: { within: 3 } }]\n"),
    ] {
        assert!(!refused(&schema, &as_json(&text), "").is_empty(), "{text}");
        assert_ne!(faults(&text), "", "{text}");
    }
}

/// Holds `docs/{file}` against what is generated; between the marks where there are some.
#[track_caller]
fn golden(file: &str, generated: &str, marks: Option<(&str, &str)>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(file);
    let whole = fs::read_to_string(&path).unwrap_or_default();
    let (before, old, after) = match marks {
        None => ("", whole.as_str(), ""),
        Some((begin, end)) => {
            let from = whole.find(begin).expect("the first mark") + begin.len();
            let to = whole.find(end).expect("the last mark");
            (&whole[..from], &whole[from..to], &whole[to..])
        }
    };
    #[expect(clippy::disallowed_methods, reason = "the switch of every golden test")]
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    if update {
        fs::write(&path, format!("{before}{generated}{after}")).expect("docs can be written");
        return;
    }
    assert!(old == generated, "docs/{file} differs: UPDATE_GOLDEN=1 rewrites it; review the diff");
}

#[test]
fn the_schema_is_the_golden_one() {
    let text = serde_json::to_string_pretty(&schema()).expect("JSON");
    golden("schema/scenario.schema.json", &format!("{text}\n"), None);
}

/// The rows of a form, and below them the tables of the words that have keys or need explaining.
fn rows(key: &Key, from: &str, choice: bool, out: &mut String) {
    let name = if from.is_empty() { key.name.to_owned() } else { format!("{from}.{}", key.name) };
    let must = match (key.needed, choice) {
        (true, _) => "yes",
        (_, true) => "one",
        _ => "",
    };
    let words = if let Shape::Words(words) = key.shape {
        let each: Vec<String> = words.iter().map(|w| format!("`{}` {}", w.word, w.says)).collect();
        format!(": {}", each.join(" · "))
    } else {
        String::new()
    };
    out.push_str(&format!("| `{name}` | {must} | {}{words} | `{}` |\n", key.says, key.example));
    match &key.shape {
        Shape::Table(form) => all_rows(form, &name, out),
        Shape::List { of: Shape::Table(form), .. } => all_rows(form, &format!("{name}[]"), out),
        Shape::Words(words) => {
            let mut told = BTreeSet::new();
            for more in words.iter().flat_map(|w| w.more).filter(|k| told.insert(k.name)) {
                let with: Vec<&str> =
                    words.iter().filter(|w| w.more.iter().any(|k| k.name == more.name)).map(|w| w.word).collect();
                let must = if more.needed { "with" } else { "may, with" };
                let parent = if from.is_empty() { more.name.to_owned() } else { format!("{from}.{}", more.name) };
                out.push_str(&format!(
                    "| `{parent}` | {must} `{}` | {} | `{}` |\n",
                    with.join("`, `"),
                    more.says,
                    more.example
                ));
            }
        }
        _ => {}
    }
}

fn all_rows(form: &Form, from: &str, out: &mut String) {
    form.keys.iter().for_each(|k| rows(k, from, false, out));
    form.one_of.iter().for_each(|k| rows(k, from, true, out));
}

#[test]
fn the_table_of_keys_in_the_guide_is_that_of_the_reader() {
    let mut table = String::from("\n| key | needed | what | for example |\n|---|---|---|---|\n");
    all_rows(&keys::SCENARIO, "", &mut table);
    golden("scenarios.md", &table, Some(("<!-- keys -->\n", "<!-- end of keys -->")));
}

#[test]
fn the_example_of_the_guide_is_a_scenario() {
    let guide = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/scenarios.md")).expect("the guide");
    let examples: Vec<&str> = guide.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!examples.is_empty());
    for example in examples {
        assert_eq!(faults(example), "", "{example}");
    }
}

/// Every scenario that the page on incidents names ships, and every one that reproduces an incident is in its row.
#[test]
fn the_page_on_incidents_names_what_ships() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/incidents.md")).expect("the page");
    let row = |incident: &str| {
        page.lines().find(|l| l.starts_with(&format!("| {incident} "))).unwrap_or_else(|| panic!("no row {incident}"))
    };
    let mut names = BTreeSet::new();
    for (file, text) in Scenario::embedded() {
        let written = Scenario::parse(file, text).expect("ships");
        if let Some(incident) = &written.reproduces {
            let command = format!("--scenario {} ", written.name);
            assert!(row(incident).contains(&command), "{incident} does not show {}", written.name);
        }
        names.insert(written.name);
    }
    (1..=18).for_each(|n| assert!(row(&format!("R{n}")).len() > 20));
    for named in page.split("--scenario ").skip(1) {
        let name = named.split_whitespace().next().unwrap_or_default();
        assert!(name == "NAME" || names.contains(name), "{name} does not ship");
    }
}

/// A call that no file could name would be one that no disaster of a user's own reaches.
#[test]
fn every_call_of_the_program_can_be_named() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = BTreeSet::new();
    for file in ["src/domain/cloud.rs", "src/sim/port/cloud.rs"] {
        let text = fs::read_to_string(root.join(file)).expect("source");
        let literals = text.split('"').skip(1).step_by(2);
        let calls = literals.filter(|l| {
            let Some((service, call)) = l.split_once(':') else { return false };
            !service.is_empty()
                && service.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && call.starts_with(|c: char| c.is_ascii_uppercase())
                && call.bytes().all(|b| b.is_ascii_alphanumeric())
        });
        seen.extend(calls.map(str::to_owned));
    }
    assert_eq!(seen, words::OPERATIONS.iter().map(|o| (*o).to_owned()).collect());
}
