use super::*;
use crate::domain::document::Severity;

/// The faults of `text`, one a line: `line:column code key: problem`.
fn faults(text: &str) -> String {
    let found = match Runbook::parse("r.yaml", text) {
        Ok((_, warnings)) => warnings,
        Err(faults) => faults,
    };
    let line = |f: &Fault| {
        let mark = if f.severity == Severity::Warning { "warning " } else { "" };
        format!("{}:{} {mark}{} {}: {}\n", f.line, f.column, f.code, f.key, f.problem)
    };
    found.iter().map(line).collect()
}

fn with_steps(purpose: &str, steps: &str) -> String {
    format!("runbook: r\npurpose: {purpose}\ndescription: d\nsteps:\n{steps}")
}

#[test]
fn every_fault_is_reported_at_once_with_its_place() {
    let text = "\
runbook: R
purpose: [failover, sideways]
colour: red
steps:
  - id: a
    action: dns.standby_object
    timeout: 90
  - id: b
    action: aurora.fallover
    needs: [a, zz]
  - id: c
    action: wait
    with: { duration: 2d, longer: true }
    on_failure: redo
    when: \"mode == 'x' &&\"
  - id: c
    action: dns.standby_object
  - action: probe.http
    with: { endpoint: target, public: true, expect_status: 99 }
";
    insta::assert_snapshot!(faults(text));
}

#[test]
fn a_cycle_is_named_and_what_needs_it_is_unreachable() {
    let text = with_steps(
        "failover",
        "  - { id: a, action: wait, needs: [b], with: { duration: 1m } }\n  - { id: b, action: wait, needs: [a], with: { duration: 1m } }\n  - { id: c, action: wait, needs: [b], with: { duration: 1m } }\n",
    );
    insta::assert_snapshot!(faults(&text));
}

#[test]
fn a_planned_run_cannot_lose_data() {
    let text = with_steps("[failover, failback]", "  - { id: p, action: aurora.failover }\n");
    insta::assert_snapshot!(faults(&text));
}

#[test]
fn traffic_waits_for_a_proven_writer() {
    let flip = |verify: &str| {
        with_steps(
            "switchover",
            &format!(
                "  - {{ id: v, action: aurora.verify_writer{verify} }}\n  - {{ id: w, action: wait, needs: [v], with: {{ duration: 1m }} }}\n  - {{ id: f, action: dns.flip, needs: [w] }}\n"
            ),
        )
    };
    assert_eq!(faults(&flip("")), "");
    for weak in [", on_failure: continue", ", when: \"purpose == 'failover'\""] {
        assert!(faults(&flip(weak)).contains("runbook-unproven-writer"), "{weak}");
    }
    assert!(faults(&flip("").replace("needs: [w]", "needs: []")).contains("runbook-unproven-writer"));
}

#[test]
fn expressions_see_only_steps_that_are_over() {
    let text = with_steps(
        "failover",
        "  - { id: w, action: wait, with: { duration: 1m } }\n  - { id: g, action: gate.rpo }\n  - { id: a, action: assert, needs: [g], when: \"steps.w.state == 'done'\", with: { that: \"steps.g.state == 'done' && steps.nope.state == 'done'\", message: m } }\n  - { id: n, action: wait, when: \"1 > 2\", with: { duration: 1m } }\n",
    );
    insta::assert_snapshot!(faults(&text));
}

#[test]
fn nothing_waits_for_a_notification_and_no_notification_holds() {
    let text = with_steps(
        "failover",
        "  - { id: n, action: notify, on_failure: hold, with: { message: m } }\n  - { id: m, action: notify, with: { message: \"{nobody}\" } }\n  - { id: o, action: notify, with: { message: x } }\n  - { id: w, action: wait, needs: [o], with: { duration: 1m } }\n",
    );
    insta::assert_snapshot!(faults(&text));
}

#[test]
fn only_plain_yaml_is_read() {
    let deep = format!("runbook: {}x{}", "[".repeat(20), "]".repeat(20));
    for (text, says) in [
        ("runbook: &a r\npurpose: *a", "anchors"),
        ("runbook: !x r", "tags"),
        ("runbook: r\n---\nrunbook: s", "second document"),
        ("runbook: r\nrunbook: s", "given twice"),
        ("runbook: [r", "not YAML"),
        ("", "is empty"),
        ("- 1", "expected a table"),
        (&deep, "deeper"),
        ("? [a]\n: b", "key must be text"),
        ("<<: {a: b}", "unknown key `<<`"),
    ] {
        assert!(faults(text).contains(says), "{text}: {}", faults(text));
    }
    let long = format!("# {}", "x".repeat(yaml::BYTES_MAX));
    assert!(faults(&long).contains("the limit is 65536"));
}

#[test]
fn every_step_has_a_timeout_that_fits_its_wait() {
    let short = with_steps("failover", "  - { id: w, action: wait, timeout: 1m, with: { duration: 5m } }\n");
    assert!(faults(&short).contains("is not between 5m 1s and 24h"), "{}", faults(&short));
    let text = with_steps("failover", "  - { id: a, action: approve, with: { expires_after: 24h } }\n");
    assert!(faults(&text).contains("is not between 1m and"), "{}", faults(&text));
    let text = with_steps("failover", "  - { id: a, action: approve, with: { expires_after: 20m } }\n");
    let (runbook, _) = Runbook::parse("r", &text).expect("valid");
    assert!(runbook.steps[0].timeout > Duration::from_mins(20));
}

#[test]
fn every_action_has_one_entry_in_the_catalogue_and_its_example_is_valid() {
    use super::{super::catalogue::ENTRIES, actions::ACTIONS};
    let named: Vec<&str> = ENTRIES.iter().map(|e| e.name).collect();
    assert_eq!(named, ACTIONS);
    let mut library = Library::default();
    library.add("prove-target.yaml", PROVE);
    for entry in ENTRIES {
        let with = if entry.example.is_empty() { "{}" } else { entry.example };
        let text = format!(
            "runbook: one\npurpose: failover\ndescription: One step.\nsteps:\n  - {{ id: it, title: It, action: {}, \
             timeout: 1h, with: {with} }}\n",
            entry.name
        );
        let faults = match Runbook::parse_with("one.yaml", &text, &library) {
            Ok(_) => Vec::new(),
            // What must come before it is another rule's affair.
            Err(faults) => faults.into_iter().filter(|f| f.key.contains(".with")).collect(),
        };
        assert!(faults.is_empty(), "{}: {faults:?}", entry.name);
    }
}

#[test]
fn a_ramp_rises_to_a_hundred_and_its_guard_names_each_signal_once() {
    let step = |with: &str| {
        let text = with_steps("failback", &format!("  - {{ id: w, title: w, action: dns.weights, with: {with} }}\n"));
        faults(&text)
    };
    assert_eq!(
        step("{ ramp: [5, 100], hold_for: 5m, guard: { signals: [a], unknown_for: 1m, step_back: false } }"),
        ""
    );
    for ramp in ["[]", "[5, 25]", "[25, 5, 100]", "[5, 5, 100]"] {
        let found = step(&format!("{{ ramp: {ramp}, hold_for: 5m }}"));
        assert!(found.contains("must rise, and end with 100"), "{ramp}: {found}");
    }
    assert!(step("{ ramp: [0, 100], hold_for: 5m }").contains("steps[0].with.ramp[0]"));
    assert!(step("{ ramp: [100] }").contains("hold_for"));
    assert!(step("{ ramp: [100], hold_for: 1s }").contains("hold_for"));
    assert!(step("{ ramp: [100], hold_for: 1m, guard: { signals: [a, a] } }").contains("each once"));
    assert!(step("{ ramp: [100], hold_for: 1m, guard: { signal: [a] } }").contains("unknown key `signal`"));
}

/// A runbook to be called: the target answers, and says so.
const PROVE: &str = "\
runbook: prove-target
purpose: [failover, switchover, failback]
description: The target answers.
parameters:
  consecutive: { type: number, default: 3 }
  patience: { type: duration, default: 5m }
steps:
  - id: probe
    action: probe.http
    timeout: { parameter: patience }
    with: { endpoint: target, consecutive: { parameter: consecutive } }
  - id: told
    action: notify
    needs: [probe]
    with: { message: It answers. }
  - id: sure
    action: assert
    needs: [probe]
    when: \"purpose != 'failback'\"
    with: { that: \"steps.probe.state == 'done'\", message: It does not answer. }
";

fn library(of: &[(&str, &str)]) -> Library {
    let mut library = Library::default();
    for (file, text) in of {
        library.add(file, text);
    }
    library
}

fn called(steps: &str, library: &Library) -> Result<(Runbook, Vec<Fault>), Vec<Fault>> {
    Runbook::parse_with("caller.yaml", &with_steps("failover", steps), library)
}

/// A line per step: `id <- [needs] when`.
fn outline(runbook: &Runbook) -> String {
    let line = |s: &Step| {
        let needs: Vec<&str> = s.needs.iter().map(StepId::as_str).collect();
        let that = if let Act::Assert { that, .. } = &s.act { format!(" that {that}") } else { String::new() };
        format!("{} <- [{}] {}{that}\n", s.id, needs.join(", "), s.when.as_deref().unwrap_or("-"))
    };
    runbook.steps.iter().map(line).collect()
}

#[test]
fn a_call_becomes_the_steps_of_the_called_runbook_with_its_arguments() {
    let steps = "  - { id: first, action: wait, with: { duration: 1m } }
  - { id: p, action: call, needs: [first], when: \"source != 'eu-west-1'\", with: { runbook: prove-target, arguments: { consecutive: 7, patience: 12m } } }
  - { id: last, action: assert, needs: [p], with: { that: \"steps['p.probe'].state == 'done'\", message: m } }
";
    let (runbook, warnings) = called(steps, &library(&[("prove-target.yaml", PROVE)])).expect("valid");
    assert_eq!(warnings, []);
    assert_eq!(
        outline(&runbook),
        "first <- [] -
p.probe <- [first] source != 'eu-west-1'
p.told <- [p.probe] source != 'eu-west-1'
p.sure <- [p.probe] (source != 'eu-west-1') && (purpose != 'failback') that steps[\"p.probe\"].state == 'done'
last <- [p.sure] - that steps['p.probe'].state == 'done'
"
    );
    let probe = runbook.step(&"p.probe".parse().expect("an id")).expect("it is there");
    assert!(matches!(probe.act, Act::ProbeHttp { consecutive: 7, .. }), "{probe:?}");
    assert_eq!(probe.timeout, Duration::from_mins(12));
    assert_eq!(runbook.calls.iter().map(RunbookName::as_str).collect::<Vec<_>>(), ["prove-target"]);
    // Alone, it has its defaults.
    let (alone, _) = Runbook::parse("prove-target.yaml", PROVE).expect("valid");
    assert!(matches!(alone.steps[0].act, Act::ProbeHttp { consecutive: 3, .. }));
}

#[test]
fn faults_of_a_call_are_told_with_their_places_in_both_files() {
    let shared = library(&[("prove-target.yaml", PROVE)]);
    let told = |steps: &str| match called(steps, &shared) {
        Ok((runbook, _)) => panic!("{}", outline(&runbook)),
        Err(faults) => {
            faults.iter().map(|f| format!("{}:{} {}: {}\n", f.line, f.column, f.key, f.problem)).collect::<String>()
        }
    };
    insta::assert_snapshot!(told(
        "  - { id: a, action: call, with: { runbook: prove-traget } }
  - { id: b, action: call, timeout: 5m, with: { runbook: prove-target, arguments: { consecutive: many, patiense: 3m } } }
  - id: c
    action: call
    with:
      runbook: prove-target
      arguments: { consecutive: 900 }
  - { id: d, action: call, with: { runbook: prove-target } }
  - { id: e, action: wait, needs: [d], when: \"steps.d.state == 'done'\", with: { duration: 1m } }
  - { id: f, action: wait, timeout: { parameter: patience }, with: { duration: 1m } }
"
    ));
}

#[test]
fn calls_are_bounded_and_never_come_back() {
    let calls = |name: &str, next: &str| {
        format!(
            "runbook: {name}\npurpose: failover\ndescription: d\nsteps:\n  - {{ id: s, action: call, with: {{ runbook: {next} }} }}\n"
        )
    };
    let end = "runbook: end\npurpose: failover\ndescription: d\nsteps:\n  - { id: w, action: wait, with: { duration: 1m } }\n";
    let texts =
        [("d", calls("d", "end")), ("c", calls("c", "d")), ("b", calls("b", "c")), ("ring", calls("ring", "ring"))];
    let mut all: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (*name, text.as_str())).collect();
    all.push(("end", end));
    let library = library(&all);
    let call = |name: &str| called(&format!("  - {{ id: a, action: call, with: {{ runbook: {name} }} }}\n"), &library);
    let (three, _) = call("c").expect("three deep");
    assert_eq!(outline(&three), "a.s.s.w <- [] -\n");
    assert_eq!(three.calls.len(), 3);
    let deep = call("b").expect_err("four deep");
    assert!(deep[0].problem.contains("nested deeper than 3"), "{deep:?}");
    let ring = call("ring").expect_err("no end");
    assert!(ring[0].problem.contains("calls itself"), "{ring:?}");
    // A planned move may not call what is for a failover only.
    let planned = Runbook::parse_with(
        "r",
        &with_steps("switchover", "  - { id: a, action: call, with: { runbook: end } }\n"),
        &library,
    );
    assert!(planned.expect_err("refused")[0].problem.contains("is not for a switchover"));
}

#[test]
fn outputs_are_those_that_the_action_declares() {
    let text = |that: &str| {
        with_steps(
            "failover",
            &format!(
                "  - {{ id: v, action: aurora.verify_writer }}\n  - {{ id: a, action: assert, needs: [v], with: {{ that: \"{that}\", message: m }} }}\n"
            ),
        )
    };
    assert_eq!(faults(&text("steps['v.orders'].outputs.beats_missing == 0")), "");
    for (that, says) in [
        (
            "steps['v.orders'].outputs.beats_mising == 0",
            "has no output `beats_mising`; outputs: last_seen_write, first_unanswered, last_surviving_write, beats_at_least_seconds, beats_missing; did you mean `beats_missing`?",
        ),
        ("steps['v.orders'].outputs.beats_missing == 'none'", "`==` of a number and text"),
        ("steps['v.orders'].outputs.last_surviving_write > 5", "`>` of text and a number"),
    ] {
        let found = faults(&text(that));
        assert!(found.contains(says), "{that}: {found}");
        assert!(found.starts_with("6:"), "it has its line: {found}");
    }
}

#[test]
fn the_gates_of_capacity_quota_and_replication_refuse_what_they_cannot_mean() {
    let told = |with: &str| faults(&with_steps("failover", &format!("  - {{ id: g, {with} }}\n")));
    for (with, says) in [
        ("action: gate.capacity, with: { at_least_percent: 0 }", "0 is not between 1 and 100"),
        ("action: gate.capacity, with: { unknown: maybe }", "expected `hold` or `pass`"),
        ("action: gate.quota, with: { headroom: { DBInstance: 1 } }", "did you mean `DBInstances`?"),
        ("action: gate.quota, with: { headroom: { DBInstances: 0 } }", "0 is not between 1 and"),
        ("action: gate.quota, with: { headroom: {} }", "names no quota"),
        ("action: gate.replication, with: { pending_bytes: -1 }", "expected a whole number, 0 or more"),
        ("action: gate.replication, with: { pending: 1 }", "unknown key `pending`"),
    ] {
        assert!(told(with).contains(says), "{with}: {}", told(with));
    }
}

#[test]
fn undo_is_promised_before_the_point_of_no_return_only() {
    let runbook = |first: &str, extra: &str| {
        format!(
            "runbook: r\npurpose: switchover\ndescription: d\nsteps:\n  - {{ id: g, action: gate.target }}\n  - {{ id: first, \
             {first}, needs: [g] }}\n  - {{ id: last, action: probe.http, needs: [first], on_failure: undo{extra}, with: \
             {{ endpoint: target }} }}\n"
        )
    };
    assert!(faults(&runbook("action: aurora.switchover", "")).contains("runbook-undo-too-late"));
    assert!(
        faults(&runbook("no_return: true, action: wait, with: { duration: 1m }", "")).contains("runbook-undo-too-late")
    );
    let early = runbook("action: wait, with: { duration: 1m }", "");
    assert!(!faults(&early).contains("runbook-undo-too-late"), "{}", faults(&early));
}

/// A step with a call that changes a parameter, and `more` of its own.
fn call_of(region: &str, more: &str, undo: &str) -> String {
    with_steps(
        "switchover",
        &format!(
            "  - {{ id: name, action: aws.call{more}, with: {{ service: ssm, region: {region}, operation: PutParameter, \
             arguments: {{ Name: x, Value: y }}, effect: reversible, repeat: idempotent, on_unknown: hold{undo} }} }}\n"
        ),
    )
}

#[test]
fn a_call_that_declares_no_way_back_does_not_promise_one() {
    let bare = faults(&call_of("us-east-1", ", on_failure: undo", ""));
    assert!(bare.contains("steps[0].on_failure") && bare.contains("no `undo`"), "{bare}");
    let undo = ", undo: { operation: DeleteParameter, arguments: { Name: x }, repeat: idempotent }";
    assert_eq!(faults(&call_of("us-east-1", ", on_failure: undo", undo)), "");
    assert_eq!(faults(&call_of("us-east-1", "", "")), "");
}

#[test]
fn a_region_that_nobody_has_published_is_a_warning_with_what_was_meant() {
    let told = faults(&call_of("eu-west-11", "", ""));
    assert!(told.contains("warning runbook-unknown-region") && told.contains("did you mean `eu-west-1`?"), "{told}");
    assert_eq!(faults(&call_of("eu-west-1", "", "")), "");
    assert_eq!(faults(&call_of("\"{target}\"", "", "")), "");
}

#[test]
fn faults_of_names_say_what_was_meant() {
    let wait = |id: &str, more: &str| format!("  - {{ id: {id}, action: wait, with: {{ duration: 1m }}{more} }}\n");
    let told = |steps: &[String]| faults(&with_steps("failover", &steps.concat()));
    let need = told(&[wait("scale-target", ""), wait("b", ", needs: [scale-tarket]")]);
    assert!(need.contains("did you mean `scale-target`?"), "{need}");
    let cut =
        told(&[wait("scale-target", ""), wait("b", ", needs: [scale-target], when: \"steps.scale.state == 'done'\"")]);
    assert!(cut.contains("stands in brackets: steps[\"scale-target\"]"), "{cut}");
    let id = told(&[wait("Scale_it", "")]);
    assert!(id.contains("is not a valid step id: expected 1 to 64 of a-z, 0-9 and -\n"), "{id}");
    let brace = faults(&with_steps(
        "failover",
        "  - { id: a, action: notify, with: { message: \"{application} to {tarket}\" } }\n",
    ));
    assert!(brace.contains("holds `{tarket}`, which is none of"), "{brace}");
}

#[test]
fn a_step_that_cannot_be_read_has_no_other_blamed_for_it() {
    let steps = |gate: &str| {
        format!(
            "  - {{ id: fit, action: gate.target{gate} }}\n  - {{ id: bound, action: gate.rpo, needs: [fit] }}\n  - {{ id: \
             ask, action: approve, needs: [bound] }}\n  - {{ id: promote, action: aurora.failover, needs: [ask] }}\n  - {{ \
             id: proven, action: aurora.verify_writer, needs: [promote]{gate} }}\n  - {{ id: flip, action: dns.flip, \
             needs: [proven] }}\n"
        )
    };
    assert_eq!(faults(&with_steps("failover", &steps(""))), "");
    let told = faults(&with_steps("failover", &steps(", with: { store: [] }")));
    assert_eq!(told.lines().count(), 2, "the two steps that cannot be read, and nothing else: {told}");
}
