//! How the `with` of an `aws.call` is read: a call, what it declares about itself, how one knows that it was done.
//!
//! Invariant: a [`Template`] names a service and operations that may be called, its protocol is settled, its arguments
//! are bounded and hold no secret, and what AWS may leave unanswered has a way to be settled: a probe, or a person.
//! Names in braces are filled in by `compile`, which knows the direction.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use self::{
    arguments::arguments,
    protocol::{Service, method, path, service, wire},
    regions::PUBLISHED,
    restore::Restore,
};
use crate::domain::{
    action::EffectClass,
    api_call::{self, HANDLE, OnUnknown, Wire, fault_of_operation},
    document::{At, Fields, Findings, Value, clip, did_you_mean},
    expression,
    hole::{self, Hole},
    id::{Region, StepId},
    restore::Before,
};

mod arguments;
mod protocol;
mod regions;
mod restore;

/// An `aws.call` as it is written, with `{source}` and `{target}` still in its texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    pub service: String,
    /// A Region, `{source}` or `{target}`.
    pub region: String,
    pub role_arn: Option<String>,
    pub call: Probe,
    pub handle: Option<String>,
    pub effect: EffectClass,
    pub idempotent: bool,
    pub done_when: Option<(Option<Probe>, String)>,
    pub on_unknown: OnUnknown,
    pub outputs: BTreeMap<String, String>,
    pub undo: Option<Box<Template>>,
    /// Of what takes a call back: what is read before that, and which arguments it fills.
    pub restores: Option<(Probe, BTreeMap<String, Before>)>,
}

impl Template {
    /// The same in a runbook that calls the one it stands in, as the step `call`: the outputs that it takes are those of
    /// the steps beside it.
    ///
    /// # Errors
    /// That of an id which is too long.
    pub(super) fn within(&self, call: &StepId) -> Result<Self, String> {
        let mut template = self.clone();
        template.call = self.call.within(call)?;
        if let Some((Some(read), _)) = &mut template.done_when {
            *read = read.within(call)?;
        }
        if let Some((read, _)) = &mut template.restores {
            *read = read.within(call)?;
        }
        if let Some(undo) = &mut template.undo {
            **undo = undo.within(call)?;
        }
        Ok(template)
    }
}

impl Probe {
    fn within(&self, call: &StepId) -> Result<Self, String> {
        let renamed = |hole: &Hole| {
            let step = format!("{call}.{}", hole.step).parse().map_err(|e| format!("{e}"))?;
            Ok::<_, String>(Hole { step, ..hole.clone() }.to_json())
        };
        Ok(Self { arguments: hole::replaced(&self.arguments, &renamed)?, ..self.clone() })
    }
}

/// One operation with its arguments.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    pub operation: String,
    pub wire: Wire,
    pub arguments: Json,
}

/// The most outputs of one step.
const OUTPUTS_MAX: usize = 16;
/// The longest JSON pointer.
const POINTER_CHARS_MAX: usize = 200;

const ARGUMENTS: &str = "arguments: { Name: /payments/writer, Value: \"{target}\" }";
const DONE_WHEN: &str = "done_when: { operation: GetParameter, arguments: { Name: /payments/writer }, that: answer.Parameter.Value == target }";

pub(super) fn read(with: &mut Fields<'_>, found: &mut Findings) -> Option<Template> {
    let service = service(with, found);
    let region = with.need(found, "region", "region: \"{target}\"").and_then(|at| region(&at, found));
    let role_arn = optional(with, "role_arn", "role_arn: arn:aws:iam::123456789012:role/failover", found, role);
    let effect = with.need(found, "effect", "effect: reversible").and_then(|at| effect(&at, found));
    let service = service?;
    let call = operation(&service, with, true, found);
    let declared = declarations(&service, with, effect, found);
    let undo =
        optional(with, "undo", "undo: { operation: DeleteParameter, arguments: { Name: x } }", found, |at, found| {
            undo(&service, at, found)
        });
    let (region, role_arn, effect) = (region?, role_arn?, effect?);
    let (handle, idempotent, done_when, on_unknown, outputs) = declared?;
    let undo = undo?;
    if undo.is_some() && !matches!(effect, EffectClass::Reversible | EffectClass::Compensable) {
        found.error(&with.key, "`undo` is for an effect that is `reversible` or `compensable`", "effect: reversible");
        return None;
    }
    let mut template = Template {
        service: service.name.to_owned(),
        region,
        role_arn,
        call: call?,
        handle,
        effect,
        idempotent,
        done_when,
        on_unknown,
        outputs,
        undo: None,
        restores: None,
    };
    template.undo = match undo {
        None => None,
        Some(Undo::Written(call)) => Some(Box::new(written(&template, call))),
        Some(Undo::Restored(restore)) => Some(Box::new(restore::back(&template, restore, found)?)),
    };
    consistent(&template, &with.key, found).then_some(template)
}

/// A key that may be left out: `None` where it is faulty, `Some(None)` where it is not given.
fn optional<'a, T>(
    with: &mut Fields<'a>,
    key: &'static str,
    example: &'static str,
    found: &mut Findings,
    read: impl FnOnce(&At<'a>, &mut Findings) -> Option<T>,
) -> Option<Option<T>> {
    match with.get(found, key, example) {
        Some(at) => read(&at, found).map(Some),
        None => Some(None),
    }
}

fn region(at: &At<'_>, found: &mut Findings) -> Option<String> {
    let text = at.text(found)?;
    if matches!(text, "{source}" | "{target}") {
        return Some(text.to_owned());
    }
    if text.parse::<Region>().is_ok() {
        if !PUBLISHED.contains(&text) {
            let meant = did_you_mean(text, PUBLISHED);
            let problem = format!("`{}` is no Region that AWS had published when this was built{meant}", clip(text));
            found.warning("runbook-unknown-region", &at.key, problem, at.example);
        }
        return Some(text.to_owned());
    }
    found.error(&at.key, format!("`{}` is no Region, nor `{{source}}` or `{{target}}`", clip(text)), at.example);
    None
}

fn role(at: &At<'_>, found: &mut Findings) -> Option<String> {
    let text = at.text(found)?;
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let valid = matches!(parts[..], ["arn", partition, "iam", "", account, role]
        if partition.starts_with("aws") && account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit())
            && role.starts_with("role/") && text.len() <= 2_048
            && role.bytes().all(|b| b.is_ascii_alphanumeric() || b"+=,.@-_/".contains(&b)));
    if !valid {
        found.error(&at.key, "expected the ARN of an IAM role", at.example);
    }
    valid.then(|| text.to_owned())
}

fn effect(at: &At<'_>, found: &mut Findings) -> Option<EffectClass> {
    match at.text(found)? {
        "read" => Some(EffectClass::Read),
        "reversible" => Some(EffectClass::Reversible),
        "compensable" => Some(EffectClass::Compensable),
        "irreversible" => Some(EffectClass::Irreversible),
        _ => {
            found.error(&at.key, "expected `read`, `reversible`, `compensable` or `irreversible`", at.example);
            None
        }
    }
}

/// `operation`, `arguments` and for REST-JSON `method` and `path`.
fn operation(service: &Service<'_>, with: &mut Fields<'_>, is_call: bool, found: &mut Findings) -> Option<Probe> {
    let at = with.need(found, "operation", "operation: PutParameter");
    let method = optional(with, "method", "method: PUT", found, method);
    let path = optional(with, "path", "path: \"/2017-10-31/functions/{FunctionName}/concurrency\"", found, path);
    let arguments = match with.get(found, "arguments", ARGUMENTS) {
        Some(at) => arguments(service.name, &at, is_call, found),
        None => Some(Json::Object(serde_json::Map::new())),
    };
    let at = at?;
    let name = at.text(found)?;
    if let Some(fault) = fault_of_operation(service.name, name) {
        found.error(&at.key, fault, at.example);
        return None;
    }
    let (method, path, arguments) = (method?, path?, arguments?);
    let wire = match wire(service, name, method, path) {
        Ok(wire) => wire,
        Err(fault) => {
            found.error(&at.key, fault, "service: ssm");
            return None;
        }
    };
    if let Wire::RestJson { path, .. } = &wire {
        let is_scalar = |name: &&str| matches!(arguments.get(*name), Some(Json::String(_) | Json::Number(_)));
        if let Some(missing) = api_call::names_in(path).into_iter().find(|name| !is_scalar(name)) {
            found.error(
                &at.key,
                format!("the path needs the argument `{missing}`, a text or a number that is written out"),
                ARGUMENTS,
            );
            return None;
        }
    }
    Some(Probe { operation: format!("{}:{name}", service.name), wire, arguments })
}

type Declared = (Option<String>, bool, Option<(Option<Probe>, String)>, OnUnknown, BTreeMap<String, String>);

/// What a call says about itself.
fn declarations(
    service: &Service<'_>,
    with: &mut Fields<'_>,
    effect: Option<EffectClass>,
    found: &mut Findings,
) -> Option<Declared> {
    let is_read = effect == Some(EffectClass::Read);
    let handle = optional(with, "handle", "handle: /executionArn", found, pointer);
    let idempotent = repeat(with, is_read, effect.is_some(), found);
    let done_when = optional(with, "done_when", DONE_WHEN, found, |at, found| done_when(service, at, found));
    let on_unknown = optional(with, "on_unknown", "on_unknown: hold", found, on_unknown);
    let outputs = optional(with, "outputs", "outputs: { version: /Parameter/Version }", found, outputs);
    let (done_when, on_unknown) = (done_when?, on_unknown?);
    let settled = match (on_unknown, &done_when) {
        (Some(said), _) => said,
        (None, Some(_)) => OnUnknown::Observe,
        (None, None) if is_read => OnUnknown::Observe,
        (None, None) => {
            let problem = "nothing tells whether this was done: give `done_when`, or say `on_unknown: hold`";
            found.error(&with.key, problem, DONE_WHEN);
            return None;
        }
    };
    Some((handle?, idempotent?, done_when, settled, outputs?.unwrap_or_default()))
}

fn repeat(with: &mut Fields<'_>, is_read: bool, told: bool, found: &mut Findings) -> Option<bool> {
    let Some(at) = with.get(found, "repeat", "repeat: idempotent") else {
        if is_read || !told {
            return Some(true);
        }
        let problem = "`repeat` is missing: whether sending it twice is as good as once";
        found.error(&with.key, problem, "repeat: at_most_once");
        return None;
    };
    match at.text(found)? {
        "idempotent" => Some(true),
        "at_most_once" if !is_read => Some(false),
        "at_most_once" => {
            found.error(&at.key, "a read may always be repeated: leave `repeat` out", "effect: read");
            None
        }
        _ => {
            found.error(&at.key, "expected `idempotent` or `at_most_once`", at.example);
            None
        }
    }
}

fn on_unknown(at: &At<'_>, found: &mut Findings) -> Option<OnUnknown> {
    match at.text(found)? {
        "observe" => Some(OnUnknown::Observe),
        "hold" => Some(OnUnknown::Hold),
        _ => {
            found.error(&at.key, "expected `observe` or `hold`", at.example);
            None
        }
    }
}

fn done_when(service: &Service<'_>, at: &At<'_>, found: &mut Findings) -> Option<(Option<Probe>, String)> {
    let mut fields = at.fields(found)?;
    let that = fields
        .need(found, "that", "that: answer.Parameter.Value == target")
        .and_then(|at| expression_over_answer(&at, found));
    let of_a_call = ["operation", "arguments", "method", "path"];
    let given =
        matches!(&at.node.value, Value::Table(entries) if entries.iter().any(|e| of_a_call.contains(&e.key.as_str())));
    let read = if given { operation(service, &mut fields, false, found).map(Some) } else { Some(None) };
    fields.finish(found);
    let read = read?;
    if read.as_ref().is_some_and(|probe| !reads(probe, &at.key, found)) {
        return None;
    }
    Some((read, that?))
}

/// Whether `probe`, at `key`, looks like a call that changes nothing.
fn reads(probe: &Probe, key: &str, found: &mut Findings) -> bool {
    let name = probe.operation.split_once(':').map_or("", |(_, name)| name);
    let is_read =
        ["Describe", "Get", "List", "Test", "Lookup", "Query", "Scan"].iter().any(|verb| name.starts_with(verb));
    if !is_read {
        let problem = format!("`{name}` does not look like a read: a probe changes nothing");
        found.error(&format!("{key}.operation"), problem, "operation: GetParameter");
    }
    is_read
}

fn expression_over_answer(at: &At<'_>, found: &mut Findings) -> Option<String> {
    let text = at.text(found)?;
    match expression::check_answer(text) {
        Ok(refs) if refs.steps.is_empty() => Some(text.to_owned()),
        Ok(_) => {
            let problem =
                "what is seen of the world does not hang on other steps: leave `steps` to `when` and `assert`";
            found.coded("expression-invalid", &at.key, problem, at.example);
            None
        }
        Err(e) => {
            found.coded("expression-invalid", &at.key, e.to_string(), "that: answer.Parameter.Value == target");
            None
        }
    }
}

fn pointer(at: &At<'_>, found: &mut Findings) -> Option<String> {
    let text = at.text(found)?;
    if text.starts_with('/') && text.chars().count() <= POINTER_CHARS_MAX {
        return Some(text.to_owned());
    }
    found.error(&at.key, "expected a JSON pointer, which begins with `/`", at.example);
    None
}

fn outputs(at: &At<'_>, found: &mut Findings) -> Option<BTreeMap<String, String>> {
    let entries = at.named(found)?;
    if OUTPUTS_MAX < entries.len() {
        found.error(&at.key, format!("{} outputs; {OUTPUTS_MAX} is the most", entries.len()), at.example);
        return None;
    }
    let plain = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.len() <= 40
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let mut outputs = BTreeMap::new();
    for (name, at) in entries {
        if !plain(name) {
            found.error(&at.key, "the name of an output has 1 to 40 of a-z, 0-9 and _", at.example);
            return None;
        }
        outputs.insert(name.to_owned(), pointer(&at, found)?);
    }
    Some(outputs)
}

type Written = (Probe, bool, Option<(Option<Probe>, String)>);

/// What takes a call back.
enum Undo {
    /// Another call, that it may be repeated, and what is looked at after it.
    Written(Written),
    /// The same call, with what was there before.
    Restored(Restore),
}

fn undo(service: &Service<'_>, at: &At<'_>, found: &mut Findings) -> Option<Undo> {
    if restore::is_meant(at) {
        return restore::read(service, at, found).map(Undo::Restored);
    }
    let mut fields = at.fields(found)?;
    let call = operation(service, &mut fields, true, found);
    let idempotent = repeat(&mut fields, false, false, found);
    let done_when = optional(&mut fields, "done_when", DONE_WHEN, found, |at, found| done_when(service, at, found));
    fields.finish(found);
    let (call, done_when) = (call?, done_when?);
    if matches!(&done_when, Some((None, _))) {
        found.error(&at.key, "the `done_when` of an undo needs an `operation` that reads", DONE_WHEN);
        return None;
    }
    Some(Undo::Written((call, idempotent?, done_when)))
}

/// The call that takes `made` back, as it is written out.
fn written(made: &Template, (call, idempotent, done_when): Written) -> Template {
    Template {
        service: made.service.clone(),
        region: made.region.clone(),
        role_arn: made.role_arn.clone(),
        call,
        handle: None,
        effect: EffectClass::Reversible,
        idempotent,
        on_unknown: if done_when.is_some() { OnUnknown::Observe } else { OnUnknown::Hold },
        done_when,
        outputs: BTreeMap::new(),
        undo: None,
        restores: None,
    }
}

/// What does not go together.
fn consistent(template: &Template, key: &str, found: &mut Findings) -> bool {
    let is_read = template.effect == EffectClass::Read;
    let probe = template.done_when.as_ref().and_then(|(probe, _)| probe.as_ref());
    let problem = if is_read && probe.is_some() {
        "a read is its own probe: give `done_when` only `that`"
    } else if is_read && (template.handle.is_some() || template.on_unknown == OnUnknown::Hold) {
        "a read begins nothing: leave `handle` and `on_unknown` out"
    } else if !is_read && template.done_when.is_some() && probe.is_none() {
        "what changes something is looked at by another call: give `done_when` an `operation` that reads"
    } else if !is_read && template.done_when.is_none() && template.on_unknown == OnUnknown::Observe {
        "`on_unknown: observe` needs a `done_when` to look at"
    } else if !is_read && template.done_when.is_none() && !template.outputs.is_empty() {
        "outputs are taken from what was observed: give `done_when`"
    } else if probe.is_some_and(|p| api_call::texts(&p.arguments).into_iter().any(|t| t.contains(HANDLE)))
        && template.handle.is_none()
    {
        "`{handle}` needs `handle`: where in the call's answer it stands"
    } else {
        return true;
    };
    found.error(key, problem, DONE_WHEN);
    false
}

#[cfg(test)]
mod tests;
