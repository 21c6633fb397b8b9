//! `call`: the steps of another runbook in the place of one step, before anything is compiled. Composition, not
//! cleverness: no recursion, at most [`DEPTH_MAX`] deep, and nothing of the called runbook changes but its ids, its
//! expressions' ids and the values of its parameters.
//!
//! Invariant: what comes out holds no call. A step `prove` that calls a runbook with a step `probe` becomes
//! `prove.probe`; what needed `prove` needs every last step of it.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Act, Runbook, STEPS_MAX, Step,
    parameters::{self, Parameters},
    read::{self, Keys},
};
use crate::domain::{
    document::{Fault, Findings, Node, Severity, Value, clip, did_you_mean},
    expression,
    id::{RunbookName, StepId},
    plan::Purpose,
    yaml,
};

/// How deep calls may be nested: a runbook that is read aloud is not deeper.
pub const DEPTH_MAX: usize = 3;

/// The runbooks that may be called, as they are written.
#[derive(Debug, Clone, Default)]
pub struct Library {
    sources: BTreeMap<String, Source>,
}

#[derive(Debug, Clone)]
struct Source {
    file: String,
    root: Node,
}

impl Library {
    /// Takes in what `file` says. What is no YAML is left out: its own faults are reported where it is read.
    pub fn add(&mut self, file: &str, text: &str) {
        let Some(root) = yaml::parse(text, &mut Findings::new(file, "runbook-invalid")) else { return };
        let Value::Table(entries) = &root.value else { return };
        let name = entries.iter().find(|e| e.key == "runbook").map(|e| &e.value.value);
        if let Some(Value::Text(name)) = name {
            self.sources.insert(name.clone(), Source { file: file.to_owned(), root });
        }
    }
}

/// Where in the calls one stands.
struct Inside<'a> {
    library: &'a Library,
    purposes: &'a BTreeSet<Purpose>,
    /// The runbooks that are being read, the outermost first.
    stack: Vec<String>,
    called: BTreeSet<RunbookName>,
}

/// `runbook` with the steps of those that it calls.
pub(super) fn inline(mut runbook: Runbook, keys: &mut Keys, library: &Library, found: &mut Findings) -> Runbook {
    if !runbook.steps.iter().any(|s| matches!(s.act, Act::Call { .. })) {
        return runbook;
    }
    let purposes = runbook.purposes.clone();
    let mut inside =
        Inside { library, purposes: &purposes, stack: vec![runbook.name.to_string()], called: BTreeSet::new() };
    runbook.steps = inside.steps(runbook.steps, keys, found);
    runbook.calls = inside.called;
    if STEPS_MAX < runbook.steps.len() {
        let problem =
            format!("{} steps with those that are called; at most {STEPS_MAX} are possible", runbook.steps.len());
        found.error("steps", problem, "");
    }
    runbook
}

impl Inside<'_> {
    /// `steps` without calls; what is faulty is noted at the key of its step and left out.
    fn steps(&mut self, steps: Vec<Step>, keys: &mut Keys, found: &mut Findings) -> Vec<Step> {
        let (mut whole, mut exits) = (Vec::new(), BTreeMap::new());
        for step in steps {
            if !matches!(step.act, Act::Call { .. }) {
                whole.push(step);
                continue;
            }
            let key = keys.get(&step.id).cloned().unwrap_or_default();
            let children = self.children(&step, &key, found).unwrap_or_default();
            exits.insert(step.id.clone(), last_of(&children, &step.needs));
            for child in &children {
                keys.insert(child.id.clone(), key.clone());
            }
            whole.extend(children);
            // Bounded also while it is read: a runbook that calls one of 500 steps 500 times is not.
            if 2 * STEPS_MAX < whole.len() {
                break;
            }
        }
        for step in &mut whole {
            step.needs = spliced(&step.needs, &exits);
        }
        whole
    }

    /// The steps that stand in the place of `step`.
    fn children(&mut self, step: &Step, key: &str, found: &mut Findings) -> Option<Vec<Step>> {
        let Act::Call { runbook, arguments, .. } = &step.act else { return None };
        let at = format!("{key}.with.runbook");
        let name = runbook.to_string();
        let library = self.library;
        let Some(source) = library.sources.get(&name) else {
            let known: Vec<&str> = library.sources.keys().map(String::as_str).collect();
            let listed = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let meant = did_you_mean(&name, known.iter().copied());
            found.error(&at, format!("there is no runbook `{name}` to call; runbooks: {listed}{meant}"), "");
            return None;
        };
        if self.stack.contains(&name) {
            let ring = format!("{} -> {name}", self.stack.join(" -> "));
            found.error(&at, format!("calls itself: {ring}"), "");
            return None;
        }
        if DEPTH_MAX < self.stack.len() {
            let problem = format!("calls are nested deeper than {DEPTH_MAX}: {} -> {name}", self.stack.join(" -> "));
            found.error(&at, problem, "");
            return None;
        }
        let mut own = Findings::new(&source.file, "runbook-invalid");
        let declared = parameters::declared(&source.root, &mut own);
        let values = given(arguments, &declared, &name, &format!("{key}.with.arguments"), found)?;
        let mut root = source.root.clone();
        parameters::fill(&mut root, &values, &mut own);
        self.stack.push(name.clone());
        let read = self.read(&root, &mut own);
        self.stack.pop();
        let faults = own.into_faults();
        if faults.iter().any(|f| f.severity == Severity::Error) {
            retell(&faults, &name, key, found);
            return None;
        }
        let called = read?;
        if let Some(missing) = self.purposes.iter().find(|p| !serves(&called, **p)) {
            let problem = format!("`{name}` is not for a {missing} ({})", source.file);
            found.error(&at, problem, "");
            return None;
        }
        self.called.insert(runbook.clone());
        Some(called.steps.into_iter().filter_map(|child| adopted(child, step, key, found)).collect())
    }

    fn read(&mut self, root: &Node, own: &mut Findings) -> Option<Runbook> {
        let at = crate::domain::document::At::root(root, own);
        let (mut called, mut keys) = read::runbook(&at, own)?;
        called.steps = self.steps(called.steps, &mut keys, own);
        Some(called)
    }
}

/// Whether `called` may be a part of what is for `purpose`. A drill rehearses the very runbook of a planned move; what
/// may lose writes is refused step by step.
fn serves(called: &Runbook, purpose: Purpose) -> bool {
    let planned = [Purpose::Switchover, Purpose::Failback];
    called.purposes.contains(&purpose)
        || (purpose == Purpose::Drill && planned.iter().any(|p| called.purposes.contains(p)))
}

/// What the called runbook's file has against these arguments, told where the call stands.
fn retell(faults: &[Fault], name: &str, key: &str, found: &mut Findings) {
    for fault in faults.iter().filter(|f| f.severity == Severity::Error) {
        let Fault { file, line, column, problem, .. } = fault;
        let inner = fault.told_key();
        let text = format!("calls `{name}`, and there, at {file}:{line}:{column}, {inner}: {problem}");
        found.coded(fault.code, &format!("{key}.with"), text, "");
    }
}

/// The value of every parameter of the called runbook.
fn given(
    arguments: &BTreeMap<String, Node>,
    declared: &Parameters,
    name: &str,
    key: &str,
    found: &mut Findings,
) -> Option<BTreeMap<String, Node>> {
    let mut values = parameters::defaults(declared);
    let mut sound = true;
    for (argument, node) in arguments {
        let at = format!("{key}.{argument}");
        match declared.get(argument) {
            None => {
                let known: Vec<&str> = declared.keys().map(String::as_str).collect();
                let listed = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                let meant = did_you_mean(argument, known.iter().copied());
                let problem = format!("`{name}` has no parameter `{}`; parameters: {listed}{meant}", clip(argument));
                found.error_at(node.place, &at, problem, "");
                sound = false;
            }
            Some(parameter) => match parameter.kind.check(node) {
                Ok(()) => {
                    values.insert(argument.clone(), node.clone());
                }
                Err(expected) => {
                    let problem = format!("{expected}: `{argument}` of `{name}` is a {}", parameter.kind.as_str());
                    found.error_at(node.place, &at, problem, "");
                    sound = false;
                }
            },
        }
    }
    sound.then_some(values)
}

/// `child` as a step of the runbook that calls it.
fn adopted(child: Step, call: &Step, key: &str, found: &mut Findings) -> Option<Step> {
    let id = |id: &StepId| format!("{}.{id}", call.id).parse::<StepId>();
    let own = match id(&child.id) {
        Ok(id) => id,
        Err(e) => {
            found.error(&format!("{key}.id"), format!("`{}.{}`: {e}", call.id, child.id), "");
            return None;
        }
    };
    let needs = if child.needs.is_empty() {
        call.needs.clone()
    } else {
        child.needs.iter().filter_map(|need| id(need).ok()).collect()
    };
    let inside = |text: &str| expression::within(text, call.id.as_str());
    let when = match (&call.when, child.when.as_deref().map(inside)) {
        (None, inner) => inner,
        (Some(outer), None) => Some(outer.clone()),
        (Some(outer), Some(inner)) => Some(format!("({outer}) && ({inner})")),
    };
    let act = match child.act {
        Act::Assert { that, message } => Act::Assert { that: inside(&that), message },
        Act::AwsCall { template } => match template.within(&call.id) {
            Ok(template) => Act::AwsCall { template: Box::new(template) },
            Err(e) => {
                found.error(&format!("{key}.id"), format!("as `{own}`: {e}"), "");
                return None;
            }
        },
        other => other,
    };
    let texts = when.iter().chain(if let Act::Assert { that, .. } = &act { Some(that) } else { None });
    for text in texts {
        if let Err(e) = expression::check(text) {
            found.coded("expression-invalid", &format!("{key}.when"), format!("as `{own}`: {e}"), "");
            return None;
        }
    }
    let Act::Call { towards, .. } = &call.act else { return None };
    let towards = towards.then(child.towards);
    Some(Step { id: own, place: call.place, needs, when, act, towards, ..child })
}

/// The steps of a called runbook that none of its others needs, notifications left out: nothing may wait for one, and
/// what only a report follows is the last step.
fn last_of(children: &[Step], otherwise: &BTreeSet<StepId>) -> BTreeSet<StepId> {
    let stops: Vec<&Step> = children.iter().filter(|c| !matches!(c.act, Act::Notify { .. })).collect();
    let is_needed = |id: &StepId| stops.iter().any(|c| c.needs.contains(id));
    let last: BTreeSet<StepId> = stops.iter().filter(|c| !is_needed(&c.id)).map(|c| c.id.clone()).collect();
    if last.is_empty() { otherwise.clone() } else { last }
}

/// `needs` with the last steps of each call in its place, through calls that came to nothing.
fn spliced(needs: &BTreeSet<StepId>, exits: &BTreeMap<StepId, BTreeSet<StepId>>) -> BTreeSet<StepId> {
    let (mut whole, mut seen) = (BTreeSet::new(), BTreeSet::new());
    let mut open: Vec<&StepId> = needs.iter().collect();
    while let Some(need) = open.pop() {
        match exits.get(need) {
            Some(last) if seen.insert(need) => open.extend(last),
            Some(_) => {}
            None => {
                whole.insert(need.clone());
            }
        }
    }
    whole
}
