//! Scenarios as files: read, written, and described.

use std::{collections::BTreeSet, fs, path::Path};

use super::{
    form::{Form, Key, Reading, Shape, Word},
    *,
};

mod reading;
mod schema;
mod writing;

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
