//! The parameters of a runbook that others call: typed, each with a default, so that every runbook can be read, checked
//! and used alone.
//!
//! A value of a step's `with`, or its `timeout`, may be `{ parameter: NAME }` in place of the value itself. Nothing is
//! ever pasted into text: a parameter is a whole value or it is not there.

use std::{collections::BTreeMap, time::Duration};

use super::STEP_TIMEOUT_MAX;
use crate::domain::document::{At, Entry, Findings, Node, Value, clip, did_you_mean};

/// The most parameters of a runbook: more is another runbook.
const PARAMETERS_MAX: usize = 32;

/// What a parameter may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// Whole or not.
    Number,
    Duration,
    Boolean,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Text, Self::Number, Self::Duration, Self::Boolean];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "number",
            Self::Duration => "duration",
            Self::Boolean => "boolean",
        }
    }

    /// Whether `node` is one; else what it should be.
    pub(super) fn check(self, node: &Node) -> Result<(), &'static str> {
        match (self, &node.value) {
            (Self::Text, Value::Text(text)) if !text.trim().is_empty() => Ok(()),
            (Self::Number, Value::Integer(_) | Value::Float(_)) | (Self::Boolean, Value::Bool(_)) => Ok(()),
            (Self::Duration, Value::Text(_)) => {
                let mut found = Findings::new("", "");
                let at = At { node, key: String::new(), example: "" };
                let fits = at.duration(&mut found, Duration::ZERO, STEP_TIMEOUT_MAX).is_some();
                if fits { Ok(()) } else { Err("expected a duration such as \"90s\", of at most 24h") }
            }
            (Self::Text, _) => Err("expected text"),
            (Self::Number, _) => Err("expected a number"),
            (Self::Boolean, _) => Err("expected true or false"),
            (Self::Duration, _) => Err("expected a duration such as \"90s\""),
        }
    }
}

/// One parameter.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Parameter {
    pub(super) kind: Kind,
    pub(super) default: Node,
}

pub(super) type Parameters = BTreeMap<String, Parameter>;

/// The parameters that `root` declares.
pub(super) fn declared(root: &Node, found: &mut Findings) -> Parameters {
    let mut all = Parameters::new();
    let Value::Table(entries) = &root.value else { return all };
    let Some(entry) = entries.iter().find(|e| e.key == "parameters") else { return all };
    let Value::Table(entries) = &entry.value.value else {
        let example = "parameters: { consecutive: { type: number, default: 3 } }";
        found.error_at(entry.value.place, "parameters", "expected a table of names", example);
        return all;
    };
    if PARAMETERS_MAX < entries.len() {
        let problem = format!("{} parameters; at most {PARAMETERS_MAX} are possible", entries.len());
        found.error_at(entry.value.place, "parameters", problem, "");
    }
    for entry in entries.iter().take(PARAMETERS_MAX) {
        if let Some(parameter) = one(entry, found) {
            all.insert(entry.key.clone(), parameter);
        }
    }
    all
}

fn one(entry: &Entry, found: &mut Findings) -> Option<Parameter> {
    let key = format!("parameters.{}", clip(&entry.key));
    let is_name = !entry.key.is_empty()
        && entry.key.len() <= 64
        && entry.key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-');
    if !is_name {
        let problem = "expected a name of lower-case letters, digits, `-` and `_`";
        found.error_at(entry.key_place, &key, problem, "consecutive: { type: number, default: 3 }");
        return None;
    }
    let at = At { node: &entry.value, key, example: "{ type: number, default: 3 }" };
    let mut fields = at.fields(found)?;
    let kind = fields.need(found, "type", "type: number");
    let default = fields.need(found, "default", "default: 3");
    fields.finish(found);
    let (kind, default) = (kind?, default?);
    let Some(known) = Kind::ALL.into_iter().find(|k| matches!(&kind.node.value, Value::Text(t) if t == k.as_str()))
    else {
        found.error(&kind.key, "expected text, number, duration or boolean", kind.example);
        return None;
    };
    if let Err(expected) = known.check(default.node) {
        found.error(&default.key, expected, "");
        return None;
    }
    Some(Parameter { kind: known, default: default.node.clone() })
}

/// The values of a runbook that is used alone.
pub(super) fn defaults(declared: &Parameters) -> BTreeMap<String, Node> {
    declared.iter().map(|(name, p)| (name.clone(), p.default.clone())).collect()
}

/// Puts `values` in the place of every `{ parameter: NAME }` of the steps. The place in the file stays that of the
/// reference.
pub(super) fn fill(root: &mut Node, values: &BTreeMap<String, Node>, found: &mut Findings) {
    let Value::Table(entries) = &mut root.value else { return };
    let Some(steps) = entries.iter_mut().find(|e| e.key == "steps") else { return };
    let Value::List(steps) = &mut steps.value.value else { return };
    for (n, step) in steps.iter_mut().enumerate() {
        let Value::Table(keys) = &mut step.value else { continue };
        for entry in keys.iter_mut().filter(|e| e.key == "with" || e.key == "timeout") {
            let key = format!("steps[{n}].{}", entry.key);
            put(&mut entry.value, &key, values, found);
        }
    }
}

fn put(node: &mut Node, key: &str, values: &BTreeMap<String, Node>, found: &mut Findings) {
    if let Some(name) = named(node) {
        match values.get(name) {
            Some(value) => node.value = value.value.clone(),
            None => {
                let known = values.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                let known = if known.is_empty() { "none".to_owned() } else { known };
                let meant = did_you_mean(name, values.keys().map(String::as_str));
                let problem = format!("there is no parameter `{}`; parameters: {known}{meant}", clip(name));
                found.error_at(node.place, key, problem, "parameters: { consecutive: { type: number, default: 3 } }");
            }
        }
        return;
    }
    match &mut node.value {
        Value::Table(entries) => {
            for entry in entries {
                put(&mut entry.value, &format!("{key}.{}", entry.key), values, found);
            }
        }
        Value::List(items) => {
            for (n, item) in items.iter_mut().enumerate() {
                put(item, &format!("{key}[{n}]"), values, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::Text(_) => {}
    }
}

fn named(node: &Node) -> Option<&str> {
    let Value::Table(entries) = &node.value else { return None };
    match entries.as_slice() {
        [Entry { key, value: Node { value: Value::Text(name), .. }, .. }] if key == "parameter" => Some(name),
        _ => None,
    }
}
