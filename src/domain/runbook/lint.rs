//! What must hold between the steps of a runbook: needs resolve, no cycles, every step can be reached, a planned run
//! loses nothing, and no traffic moves before a proven writer (FAULTS.md S5).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Act, Runbook, Spread, Step, ahead::Ahead, budget, holes, read::Keys};
use crate::domain::{
    action::EffectClass,
    catalogue::{self, OutputKind, Undo},
    document::{Findings, did_you_mean},
    drill, expression,
    id::StepId,
    plan::{OnFailure, Purpose},
    salvage,
};

/// Whether a step stands before the one that is looked at.
pub(super) type Before<'a> = &'a dyn Fn(&StepId) -> bool;

pub(super) fn check(runbook: &Runbook, keys: &Keys, found: &mut Findings) {
    let at = |id: &StepId| keys.get(id).map_or("", String::as_str);
    for (id, code, problem) in drill::faults_of(runbook) {
        found.coded(code, &format!("{}.action", at(&id)), problem, "");
    }
    budget::check(runbook, found);
    if runbook.read_only {
        for id in drill::changes(runbook) {
            let problem = format!("`{id}` changes something, and the runbook says `read_only`");
            found.coded("runbook-not-read-only", &format!("{}.action", at(id)), problem, "");
        }
    }
    for (id, code, problem) in salvage::faults_of(runbook) {
        found.coded(code, &format!("{}.action", at(&id)), problem, "");
    }
    let ahead = Ahead::of(&runbook.steps);
    let whole = is_whole(runbook, keys, found);
    let cyclic = needs(runbook, keys, &ahead, found);
    // Found once: every step that says `on_failure: undo` asks for them.
    let last: Vec<&Step> = runbook.steps.iter().filter(|s| s.when.is_none() && is_no_return(s)).collect();
    for step in &runbook.steps {
        let key = keys.get(&step.id).map_or("", String::as_str);
        let before = |other: &StepId| ahead.stands_before(other, &step.id);
        purpose(runbook, step, key, found);
        conditions(runbook, step, key, &before, found);
        holes::check(runbook, keys, step, &before, found);
        if !cyclic && whole {
            writer_before_traffic(runbook, step, key, &before, found);
            before_promotion(runbook, step, key, &before, found);
        }
        if !cyclic {
            undo_in_time(&last, step, key, &before, found);
        }
        undo_of_its_own(step, key, found);
    }
}

/// Whether every step could be read and every need is one of them: what has a fault of its own may be the very gate or
/// proof that is missed otherwise, and lines that are right are not blamed for it.
fn is_whole(runbook: &Runbook, keys: &Keys, found: &Findings) -> bool {
    let known: BTreeSet<&StepId> = runbook.steps.iter().map(|s| &s.id).collect();
    // A call that was put in is a key without a step too, and has no fault.
    let unread = keys.iter().any(|(id, key)| !known.contains(id) && found.has_errors_at(key));
    !unread && runbook.steps.iter().all(|s| s.needs.iter().all(|need| known.contains(need)))
}

/// Returns whether there is a cycle.
fn needs(runbook: &Runbook, keys: &Keys, ahead: &Ahead<'_>, found: &mut Findings) -> bool {
    let steps: BTreeMap<&StepId, &Step> = runbook.steps.iter().map(|s| (&s.id, s)).collect();
    let known = |id: &StepId| steps.get(id).copied();
    for step in &runbook.steps {
        let key = format!("{}.needs", keys.get(&step.id).map_or("", String::as_str));
        for need in &step.needs {
            match known(need) {
                // A faulty step is not in the runbook but has its own fault; ids from the file are in `keys`.
                None if keys.contains_key(need) => {}
                None => {
                    let ids: Vec<&str> = runbook.steps.iter().map(|s| s.id.as_str()).collect();
                    let meant = did_you_mean(need.as_str(), ids.iter().copied());
                    let problem = format!("there is no step `{need}`; steps: {}{meant}", ids.join(", "));
                    found.error(&key, problem, "");
                }
                Some(Step { act: Act::Notify { .. }, .. }) => {
                    let problem = format!("`{need}` is a notification, and nothing may wait for one");
                    found.error(&key, problem, "");
                }
                Some(_) => {}
            }
        }
    }
    rings(runbook, keys, ahead, found)
}

/// So many steps of a ring are named.
const RING_SHOWN: usize = 12;

/// Tells of each ring of needs once, with the way round it; whether there is one.
fn rings(runbook: &Runbook, keys: &Keys, ahead: &Ahead<'_>, found: &mut Findings) -> bool {
    let mut told: BTreeSet<&StepId> = BTreeSet::new();
    for step in runbook.steps.iter().filter(|s| ahead.needs_itself(&s.id)) {
        if told.contains(&step.id) {
            continue;
        }
        let on_it: BTreeSet<&StepId> = ahead.before(&step.id).filter(|o| ahead.stands_before(&step.id, o)).collect();
        let mut way: Vec<String> = way_round(runbook, &step.id, &on_it).iter().map(|id| format!("`{id}`")).collect();
        if RING_SHOWN < way.len() {
            let left_out = way.len() - RING_SHOWN;
            way.splice(RING_SHOWN / 2..RING_SHOWN / 2 + left_out, [format!("({left_out} more)")]);
        }
        let waits = |s: &&Step| !on_it.contains(&s.id) && on_it.iter().any(|on| ahead.stands_before(on, &s.id));
        let waiting: Vec<&str> = runbook.steps.iter().filter(waits).map(|s| s.id.as_str()).collect();
        let waiting = match waiting.as_slice() {
            [] => String::new(),
            [one] => format!("; `{one}` can never be reached"),
            [first, rest @ ..] => format!("; `{first}` and {} more can never be reached", rest.len()),
        };
        let key = format!("{}.needs", keys.get(&step.id).map_or("", String::as_str));
        let problem =
            format!("`{}` needs itself: {}: one of these needs must go{waiting}", step.id, way.join(" needs "));
        found.error(&key, problem, "");
        told.extend(on_it);
    }
    !told.is_empty()
}

/// The shortest way from `from` over needs, all of them in `on_it`, back to itself; both ends are named.
fn way_round<'a>(runbook: &'a Runbook, from: &'a StepId, on_it: &BTreeSet<&StepId>) -> Vec<&'a StepId> {
    let steps: BTreeMap<&StepId, &'a Step> = runbook.steps.iter().map(|s| (&s.id, s)).collect();
    let mut ways = VecDeque::from([vec![from]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        let needs = way.last().and_then(|last| steps.get(last)).map(|step| step.needs.iter());
        for need in needs.into_iter().flatten().filter(|need| on_it.contains(need)) {
            let longer: Vec<&StepId> = way.iter().copied().chain([need]).collect();
            if need == from {
                return longer;
            }
            if seen.insert(need) {
                ways.push_back(longer);
            }
        }
    }
    vec![from]
}

fn purpose(runbook: &Runbook, step: &Step, key: &str, found: &mut Findings) {
    let planned = runbook.purposes.iter().find(|p| **p != Purpose::Failover);
    let is_told = runbook.purposes.contains(&Purpose::Drill);
    let may_lose = matches!(step.act, Act::AuroraFailover { .. } | Act::AuroraDetach { .. });
    if let (true, Some(planned)) = (may_lose, planned.filter(|_| !is_told)) {
        let action = step.act.name();
        let problem = format!("{action} may lose writes, and a {planned} must not: use aurora.switchover");
        found.error(&format!("{key}.action"), problem, "action: aurora.switchover");
    }
    let moves = runbook.purposes.iter().find(|p| !matches!(p, Purpose::Failover | Purpose::Salvage));
    if let (Act::AuroraPreserveSnapshot { .. }, Some(planned)) = (&step.act, moves) {
        let problem = format!("a {planned} leaves no rescue snapshot: only a failover does");
        found.error(&format!("{key}.action"), problem, "");
    }
    if let (Act::Salvage { what, .. }, Some(other)) =
        (&step.act, runbook.purposes.iter().find(|p| **p != Purpose::Salvage))
    {
        let problem =
            format!("{} looks at what a failover has left: it is for a salvage, not for a {other}", what.name());
        found.error(&format!("{key}.action"), problem, "");
    }
    if let (Act::GateTarget { lossless: Some(false), .. }, Some(planned)) = (&step.act, planned) {
        let problem = format!("a {planned} is lossless: leave `lossless` out");
        found.error(&format!("{key}.with.lossless"), problem, "");
    }
}

fn conditions(runbook: &Runbook, step: &Step, key: &str, before: Before<'_>, found: &mut Findings) {
    let mut look = |text: &str, key: String| {
        let Ok((refs, fits)) = expression::inspect(text, &Declared(runbook)) else { return };
        let mut problems = Vec::new();
        if runbook.purposes.iter().eq([&Purpose::Drill]) && refs.variables.contains("accepted_loss_seconds") {
            let problem = "looks at accepted_loss_seconds, and nobody accepts a loss for a drill".to_owned();
            found.coded("runbook-drill-unsafe", &key, problem, "");
        }
        for id in &refs.steps {
            let Some((other, rest)) = meant(runbook, id) else {
                problems.push(absent(runbook, id));
                continue;
            };
            if !before(&other.id) {
                problems.push(format!("looks at `{id}`, which this step does not need: add it to `needs`"));
            }
            let spread = other.act.spread() != Spread::No;
            if spread && rest.is_empty() {
                let problem =
                    format!("`{id}` becomes one step per store or dns name: say which, as in steps[\"{id}.orders\"]");
                problems.push(problem);
            }
            if !spread && !rest.is_empty() {
                problems.push(format!("`{}` is one step: say steps[\"{}\"]", other.id, other.id));
            }
        }
        if problems.is_empty()
            && let Err(error) = fits
        {
            problems.push(error.to_string());
        }
        for problem in problems {
            found.coded("expression-invalid", &key, problem, "");
        }
        if refs.variables.is_empty() && expression::evaluate(text, &Default::default()) == Ok(false) {
            found.error(&key, "can never be reached: `when` is always false", "when: \"purpose == 'failover'\"");
        }
    };
    if let Some(when) = &step.when {
        look(when, format!("{key}.when"));
    }
    if let Act::Assert { that, .. } = &step.act {
        look(that, format!("{key}.with.that"));
    }
}

pub(super) fn absent(runbook: &Runbook, id: &str) -> String {
    let inside = runbook.steps.iter().find(|s| s.id.as_str().strip_prefix(id).is_some_and(|r| r.starts_with('.')));
    if let Some(child) = inside {
        return format!("`{id}` is a call: say one of its steps, as in steps[\"{}\"]", child.id);
    }
    // `steps.scale-target` is read as `steps.scale` less `target`.
    let cut = runbook.steps.iter().find(|s| s.id.as_str().strip_prefix(id).is_some_and(|r| r.starts_with('-')));
    match cut {
        Some(whole) => {
            format!("there is no step `{id}`; an id with `-` stands in brackets: steps[\"{}\"]", whole.id)
        }
        None => {
            let meant = did_you_mean(id, runbook.steps.iter().map(|s| s.id.as_str()));
            format!("there is no step `{id}`{meant}")
        }
    }
}

/// The step that `id` speaks of, and what follows its own id: `promote` and `orders` of `promote.orders`.
pub(super) fn meant<'a, 'b>(runbook: &'a Runbook, id: &'b str) -> Option<(&'a Step, &'b str)> {
    let rest_after = |s: &Step| {
        let rest = id.strip_prefix(s.id.as_str())?;
        if rest.is_empty() { Some(rest) } else { rest.strip_prefix('.') }
    };
    let meant = runbook.steps.iter().filter_map(|s| Some((s, rest_after(s)?)));
    meant.max_by_key(|(s, _)| s.id.as_str().len())
}

/// The outputs that the actions declare.
pub(super) struct Declared<'a>(pub(super) &'a Runbook);

impl expression::Outputs for Declared<'_> {
    fn output(&self, step: &str, name: &str) -> Result<expression::Type, String> {
        let meant_step = meant(self.0, step).map(|(s, _)| s);
        if let Some(Step { act: Act::AwsCall { template }, .. }) = meant_step {
            let handle = template.handle.as_ref().map(|_| "handle");
            let known: Vec<&str> = template.outputs.keys().map(String::as_str).chain(handle).collect();
            let listed = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            // What AWS answers has the type that it has.
            return if known.contains(&name) {
                Ok(expression::Type::Any)
            } else {
                Err(format!("`{step}` (aws.call) declares no output `{name}`; outputs: {listed}"))
            };
        }
        let entry = meant_step.and_then(|s| catalogue::entry(s.act.name()));
        let Some(entry) = entry else { return Ok(expression::Type::Any) };
        let Some(output) = entry.outputs.iter().find(|o| o.name == name) else {
            let known: Vec<&str> = entry.outputs.iter().map(|o| o.name).collect();
            let listed = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let meant = did_you_mean(name, known.iter().copied());
            return Err(format!("`{step}` ({}) has no output `{name}`; outputs: {listed}{meant}", entry.name));
        };
        Ok(match output.kind {
            OutputKind::Text => expression::Type::Text,
            OutputKind::Number => expression::Type::Number,
            OutputKind::Boolean => expression::Type::Boolean,
        })
    }
}

/// Whether nothing but success lets a run go past this step.
fn is_firm(step: &Step) -> bool {
    step.when.is_none() && step.on_failure != OnFailure::Continue
}

/// In a runbook that moves stores, traffic waits for their writers. Whether that is every store of an application is
/// checked again when it is compiled for one.
fn writer_before_traffic(runbook: &Runbook, step: &Step, key: &str, before: Before<'_>, found: &mut Findings) {
    if !step.act.moves_traffic() || !runbook.steps.iter().any(|s| s.act.concerns_store()) {
        return;
    }
    let proven =
        runbook.steps.iter().any(|s| before(&s.id) && s.towards == step.towards && s.act.proves_writer() && is_firm(s));
    if !proven {
        let problem = "traffic would move before the writer is proven: it must need (also through other steps) an \
                       aurora.verify_writer or a promotion that has no `when` and does not continue after a failure";
        found.coded("runbook-unproven-writer", &format!("{key}.needs"), problem, "needs: [verify-writer]");
    }
}

fn before_promotion(runbook: &Runbook, step: &Step, key: &str, before: Before<'_>, found: &mut Findings) {
    let (Act::AuroraFailover { .. } | Act::AuroraDetach { .. } | Act::AuroraSwitchover { .. }) = step.act else {
        return;
    };
    let same_way = |s: &&Step| s.towards == step.towards && before(&s.id);
    let has = |wanted: fn(&Act) -> bool| runbook.steps.iter().filter(same_way).any(|s| wanted(&s.act) && is_firm(s));
    let action = format!("{key}.action");
    if !has(|a| matches!(a, Act::GateTarget { .. })) {
        found.warning("runbook-ungated", &action, "no gate.target comes before it", "action: gate.target");
    }
    if matches!(step.act, Act::AuroraFailover { .. } | Act::AuroraDetach { .. }) {
        if !has(|a| matches!(a, Act::GateRpo { .. })) {
            found.warning(
                "runbook-ungated",
                &action,
                "no gate.rpo comes before it: its loss has no bound",
                "action: gate.rpo",
            );
        }
        if !has(|a| matches!(a, Act::Approve { .. })) {
            found.warning(
                "runbook-ungated",
                &action,
                "no approve comes before it: one person alone can lose data",
                "action: approve",
            );
        }
    }
}

/// What has passed a point of no return is not taken back: a step after one that says so promises what cannot be.
fn undo_in_time(last: &[&Step], step: &Step, key: &str, before: Before<'_>, found: &mut Findings) {
    if step.on_failure != OnFailure::Undo {
        return;
    }
    let passed = last.iter().find(|s| before(&s.id));
    if let Some(passed) = passed {
        let problem = format!(
            "nothing can be taken back once `{}` ({}) is done, which comes before it: the run would be held all the same",
            passed.id,
            passed.act.name()
        );
        found.coded("runbook-undo-too-late", &format!("{key}.on_failure"), problem, "on_failure: hold");
    }
}

/// A call that declares no way back cannot promise to be taken back: the run would be held on it.
fn undo_of_its_own(step: &Step, key: &str, found: &mut Findings) {
    let Act::AwsCall { template } = &step.act else { return };
    let changes = matches!(template.effect, EffectClass::Reversible | EffectClass::Compensable);
    if step.on_failure == OnFailure::Undo && changes && template.undo.is_none() {
        let problem = "what this very step has done could not be taken back: its `with` has no `undo`, and the run would \
                       be held (undo-impossible)";
        let example = "undo: { operation: DeleteParameter, arguments: { Name: /payments/writer } }";
        found.error(&format!("{key}.on_failure"), problem, example);
    }
}

/// Whether no step leads back over it, by its action or because the runbook declares it.
fn is_no_return(step: &Step) -> bool {
    let is_final = match &step.act {
        Act::AwsCall { template } => template.effect == EffectClass::Irreversible,
        act => catalogue::entry(act.name()).is_some_and(|entry| matches!(entry.undo, Undo::AnotherRun(_))),
    };
    step.no_return || is_final
}
