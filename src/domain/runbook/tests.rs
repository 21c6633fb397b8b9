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
    action: aurora.detach
    timeout: 90
  - id: b
    action: aurora.fallover
    needs: [a, zz]
  - id: c
    action: wait
    with: { duration: 2d, longer: true }
    on_failure: undo
    when: \"mode == 'x' &&\"
  - id: c
    action: fence.sql
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
    for entry in ENTRIES {
        let with = if entry.example.is_empty() { "{}" } else { entry.example };
        let text = format!(
            "runbook: one\npurpose: failover\ndescription: One step.\nsteps:\n  - {{ id: it, title: It, action: {}, \
             timeout: 1h, with: {with} }}\n",
            entry.name
        );
        let faults = match Runbook::parse("one.yaml", &text) {
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
