//! The environment over the file: `FAILOVERD__SECTION__KEY` sets a scalar key of one of the sections.
//!
//! Lists (tokens, applications) are for files only: an environment shows up in process listings and consoles.

use std::collections::BTreeMap;

use crate::domain::document::{Entry, Findings, Node, Place, Value, clip};

const PREFIX: &str = "FAILOVERD__";

/// What the environment may set.
const KEYS: [(&str, &str); 15] = [
    ("server", "listen"),
    ("store", "kind"),
    ("store", "path"),
    ("store", "table"),
    ("store", "region"),
    ("store", "lease"),
    ("store", "url"),
    ("aws", "call_timeout"),
    ("aws", "attempt_timeout"),
    ("aws", "production"),
    ("vantage", "name"),
    ("offline", "dir"),
    ("runbooks", "directory"),
    ("traces", "endpoint"),
    ("evidence", "keep"),
];

/// Sets what `env` says in `root`, and returns what it said (a part of the configuration's digest).
pub(super) fn apply(root: &mut Node, env: &BTreeMap<String, String>, found: &mut Findings) -> BTreeMap<String, String> {
    let mut changed = BTreeMap::new();
    for (variable, text) in env {
        let Some(rest) = variable.strip_prefix(PREFIX) else { continue };
        let lower = rest.to_ascii_lowercase();
        let known = KEYS.iter().find(|(s, k)| lower.split_once("__") == Some((s, k)));
        let Some((section, key)) = known else {
            let names: Vec<String> =
                KEYS.iter().map(|(s, k)| format!("{PREFIX}{}__{}", s.to_uppercase(), k.to_uppercase())).collect();
            let problem = format!("`{}` in the environment sets nothing; valid: {}", clip(variable), names.join(", "));
            found.coded("config-environment", "", problem, "FAILOVERD__SERVER__LISTEN=127.0.0.1:8080");
            continue;
        };
        let value = match text.as_str() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            other => Value::Text(other.to_owned()),
        };
        // No place in the file: faults show the file as a whole and the key.
        let node = Node { place: Place::default(), value };
        set(root, section, key, node);
        changed.insert(variable.clone(), text.clone());
    }
    changed
}

fn set(root: &mut Node, section: &str, key: &str, node: Node) {
    let Value::Table(sections) = &mut root.value else { return };
    if !sections.iter().any(|e| e.key == section) {
        sections.push(entry(section, Value::Table(Vec::new())));
    }
    for e in sections.iter_mut().filter(|e| e.key == section) {
        if let Value::Table(keys) = &mut e.value.value {
            keys.retain(|k| k.key != key);
            keys.push(Entry { key: key.to_owned(), key_place: node.place, value: node.clone() });
        }
    }
}

fn entry(key: &str, value: Value) -> Entry {
    let place = Place::default();
    Entry { key: key.to_owned(), key_place: place, value: Node { place, value } }
}
