//! `undo: restore`: the same call takes the step back, with what was there before.
//!
//! Invariant: what is put back is an argument that the call writes out, of the type that it writes there, read by a call
//! that changes nothing; what could be a secret is refused by its name.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::{
    DONE_WHEN, Probe, Template, arguments::strange_placeholder, operation, optional, pointer, protocol::Service, reads,
};
use crate::domain::{
    action::EffectClass,
    api_call::{self, HANDLE, OnUnknown, Wire},
    document::{At, Fields, Findings, Value},
    hole::{CHARS_MAX, Hole, Kind},
    restore::{Before, VALUES_MAX, fault_of_place, known},
};

const EXAMPLE: &str = "undo: { restore: { Value: /Parameter/Value } }";
const READ: &str = "read: { operation: GetParameter, arguments: { Name: /payments/writer } }";

/// What a runbook says of it.
pub(super) struct Restore {
    key: String,
    /// A call of its own that reads what is there; the one of `done_when` otherwise.
    read: Option<Probe>,
    /// By argument, where it stands in the answer; `None`: as is known of the operation.
    values: Option<BTreeMap<String, String>>,
}

/// Whether `at` is one: `restore`, or a table with that key.
pub(super) fn is_meant(at: &At<'_>) -> bool {
    match &at.node.value {
        Value::Text(text) => text == "restore",
        Value::Table(entries) => entries.iter().any(|e| e.key == "restore"),
        _ => false,
    }
}

pub(super) fn read(service: &Service<'_>, at: &At<'_>, found: &mut Findings) -> Option<Restore> {
    if matches!(&at.node.value, Value::Text(_)) {
        return Some(Restore { key: at.key.clone(), read: None, values: None });
    }
    let mut fields = at.fields(found)?;
    let values =
        fields.need(found, "restore", "restore: { Value: /Parameter/Value }").and_then(|at| values(&at, found));
    let read = optional(&mut fields, "read", READ, found, |at, found| own_read(service, at, found));
    fields.finish(found);
    Some(Restore { key: at.key.clone(), values: Some(values?), read: read? })
}

fn own_read(service: &Service<'_>, at: &At<'_>, found: &mut Findings) -> Option<Probe> {
    let mut fields: Fields<'_> = at.fields(found)?;
    let probe = operation(service, &mut fields, false, found);
    fields.finish(found);
    probe.filter(|probe| reads(probe, &at.key, found))
}

fn values(at: &At<'_>, found: &mut Findings) -> Option<BTreeMap<String, String>> {
    let entries = at.named(found)?;
    if entries.is_empty() || VALUES_MAX < entries.len() {
        found.error(&at.key, format!("{} values; 1 to {VALUES_MAX} are put back", entries.len()), at.example);
        return None;
    }
    let mut values = BTreeMap::new();
    for (argument, at) in entries {
        let place = pointer(&at, found)?;
        if let Some(fault) = strange_placeholder(&place, false) {
            found.error(&at.key, fault, at.example);
            return None;
        }
        values.insert(argument.to_owned(), place);
    }
    Some(values)
}

/// The call that takes `made` back.
pub(super) fn back(made: &Template, restore: Restore, found: &mut Findings) -> Option<Template> {
    let Restore { key, read, values } = restore;
    let looked_at = made.done_when.as_ref().and_then(|(read, _)| read.clone());
    let Some(read) = read.or(looked_at) else {
        let problem = "nothing reads what is there before: give `done_when`, or a `read` under `undo`";
        found.error(&key, problem, DONE_WHEN);
        return None;
    };
    if api_call::texts(&read.arguments).into_iter().any(|text| text.contains(HANDLE)) {
        let problem = "what is there before is read before there is a `{handle}`: give a `read` under `undo`";
        found.error(&key, problem, READ);
        return None;
    }
    let Some(values) = values.or_else(|| known(&made.call.operation, &read.operation)) else {
        let (write, read) = (&made.call.operation, &read.operation);
        let problem =
            format!("where {read} tells what {write} replaces is not known here: say which argument is read where");
        found.error(&key, problem, EXAMPLE);
        return None;
    };
    let mut call = made.call.clone();
    let mut places = BTreeMap::new();
    for (argument, at) in values {
        match place(&made.call, &argument, at) {
            Ok(before) => {
                call.arguments[&argument] = before.to_json();
                places.insert(argument, before);
            }
            Err(problem) => {
                found.error(&key, problem, EXAMPLE);
                return None;
            }
        }
    }
    Some(Template {
        service: made.service.clone(),
        region: made.region.clone(),
        role_arn: made.role_arn.clone(),
        call,
        handle: None,
        effect: EffectClass::Reversible,
        idempotent: made.idempotent,
        done_when: None,
        on_unknown: OnUnknown::Observe,
        outputs: BTreeMap::new(),
        undo: None,
        restores: Some((read, places)),
    })
}

/// What is put back as `argument` of `call`, read at `at`.
fn place(call: &Probe, argument: &str, at: String) -> Result<Before, String> {
    if let Some(fault) = fault_of_place(argument, &at) {
        return Err(fault);
    }
    if let Wire::RestJson { path, .. } = &call.wire
        && api_call::names_in(path).contains(argument)
    {
        return Err(format!("`{argument}` says what is changed, and is not put back"));
    }
    let written = call.arguments.get(argument);
    let kind = match written {
        None => {
            return Err(format!(
                "the call writes no argument `{argument}`: what it does not write it does not put back"
            ));
        }
        Some(written) if let Some(hole) = Hole::of(written) => hole.kind,
        Some(Json::String(_)) => Kind::Text,
        Some(Json::Number(_)) => Kind::Number,
        Some(Json::Bool(_)) => Kind::Boolean,
        Some(_) => {
            return Err(format!(
                "`{argument}` is a list or a table, and only a text, a number or a boolean is put back"
            ));
        }
    };
    Ok(Before { at, kind, chars_max: (kind == Kind::Text).then_some(CHARS_MAX) })
}
