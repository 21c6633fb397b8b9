//! How long it takes to read and check a runbook of 500 steps, and to compile it: what `check` costs, and every start.
//!
//! `cargo bench --bench parse`. The runbooks are as hard as they can be made: every step needs the one before it, so that
//! each has all others before it, and every tenth has an expression; the drill breaks something at first and mends it at
//! last. The promise is 20 ms for reading and checking.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::fmt::Write as _;

use failoverd::{
    adapters::clock::SystemClock,
    domain::runbook::{Runbook, STEPS_MAX},
    ports::Clock as _,
};

const ROUNDS: usize = 51;

fn runbook(steps: usize) -> String {
    let mut text = String::from("runbook: long\npurpose: failover\ndescription: d\nsteps:\n");
    for n in 0..steps {
        let needs = if n == 0 { String::new() } else { format!(", needs: [s{}]", n - 1) };
        let act = match n % 10 {
            0 if 0 < n => format!("assert{needs}, with: {{ that: \"steps.s{}.state == 'done'\", message: m }}", n - 1),
            1 => format!("aurora.verify_writer{needs}"),
            2 => format!("probe.http{needs}, timeout: 5m, with: {{ endpoint: target, consecutive: 3 }}"),
            _ => format!("wait{needs}, with: {{ duration: 1m }}"),
        };
        let _ = writeln!(text, "  - {{ id: s{n}, title: Step {n}, action: {act} }}");
    }
    text
}

/// A drill that breaks something at once and mends it at last: whatever stands in between is looked at for both.
fn drill(steps: usize) -> String {
    let mut text = String::from("runbook: long\npurpose: drill\ndescription: d\nsteps:\n");
    let fault = "with: { function: f, variable: FAILOVERD_FAULT, value: x";
    for n in 0..steps {
        let needs = if n == 0 { String::new() } else { format!(", needs: [s{}]", n - 1) };
        let act = match n {
            0 => format!("fault.lambda_variable, on_failure: undo, {fault} }}"),
            _ if n + 1 == steps => format!("fault.lambda_variable{needs}, {fault}, mend: true }}"),
            _ => format!("wait{needs}, on_failure: undo, with: {{ duration: 1m }}"),
        };
        let _ = writeln!(text, "  - {{ id: s{n}, title: Step {n}, action: {act} }}");
    }
    text
}

fn main() {
    for (what, steps) in [10, 100, STEPS_MAX].into_iter().flat_map(|steps| [("", steps), ("drill, ", steps)]) {
        let text = if what.is_empty() { runbook(steps) } else { drill(steps) };
        let mut took: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let began = SystemClock.boot();
                let parsed = Runbook::parse("long.yaml", &text);
                let took = (SystemClock.boot() - began).as_secs_f64() * 1_000.0;
                assert!(parsed.is_ok(), "{parsed:?}");
                took
            })
            .collect();
        took.sort_by(f64::total_cmp);
        let (median, worst) = (took[ROUNDS / 2], took[ROUNDS - 1]);
        println!(
            "{what}{steps:>4} steps, {:>6} bytes: median {median:.2} ms, worst of {ROUNDS} {worst:.2} ms",
            text.len()
        );
    }
}
