//! What must hold between the steps of a runbook: needs resolve, no cycles, every step can be reached, a planned run
//! loses nothing, and no traffic moves before a proven writer (FAULTS.md S5).

use std::collections::BTreeSet;

use super::{Act, Runbook, Spread, Step, read::Keys};
use crate::domain::{
    document::Findings,
    expression,
    id::StepId,
    plan::{OnFailure, Purpose},
};

pub(super) fn check(runbook: &Runbook, keys: &Keys, found: &mut Findings) {
    let cyclic = needs(runbook, keys, found);
    for step in &runbook.steps {
        let key = keys.get(&step.id).map_or("", String::as_str);
        purpose(runbook, step, key, found);
        conditions(runbook, step, key, found);
        if !cyclic {
            writer_before_traffic(runbook, step, key, found);
            before_promotion(runbook, step, key, found);
        }
    }
}

/// Returns whether there is a cycle.
fn needs(runbook: &Runbook, keys: &Keys, found: &mut Findings) -> bool {
    let mut cyclic = false;
    let known = |id: &StepId| runbook.step(id);
    for step in &runbook.steps {
        let key = format!("{}.needs", keys.get(&step.id).map_or("", String::as_str));
        for need in &step.needs {
            match known(need) {
                // A faulty step is not in the runbook but has its own fault; ids from the file are in `keys`.
                None if keys.contains_key(need) => {}
                None => {
                    let ids: Vec<&str> = runbook.steps.iter().map(|s| s.id.as_str()).collect();
                    let problem = format!("there is no step `{need}`; steps: {}", ids.join(", "));
                    found.error(&key, problem, "");
                }
                Some(Step { act: Act::Notify { .. }, .. }) => {
                    let problem = format!("`{need}` is a notification, and nothing may wait for one");
                    found.error(&key, problem, "");
                }
                Some(_) => {}
            }
        }
        if runbook.all_needs(&step.id).contains(&step.id) {
            cyclic = true;
            let problem = format!("`{}` needs itself, through {}", step.id, ring(runbook, &step.id));
            found.error(&key, problem, "");
        }
    }
    if !cyclic {
        return false;
    }
    for step in &runbook.steps {
        let all = runbook.all_needs(&step.id);
        if !all.contains(&step.id)
            && let Some(need) = all.iter().find(|n| runbook.all_needs(n).contains(n))
        {
            let key = format!("{}.needs", keys.get(&step.id).map_or("", String::as_str));
            found.error(&key, format!("can never be reached: it needs `{need}`, which needs itself"), "");
        }
    }
    true
}

fn ring(runbook: &Runbook, id: &StepId) -> String {
    let all = runbook.all_needs(id);
    let ring: Vec<&str> =
        all.iter().filter(|other| runbook.all_needs(other).contains(id)).map(StepId::as_str).collect();
    ring.join(", ")
}

fn purpose(runbook: &Runbook, step: &Step, key: &str, found: &mut Findings) {
    let planned = runbook.purposes.iter().find(|p| **p != Purpose::Failover);
    if let (Act::AuroraFailover { .. }, Some(planned)) = (&step.act, planned) {
        let problem = format!("aurora.failover may lose writes, and a {planned} must not: use aurora.switchover");
        found.error(&format!("{key}.action"), problem, "action: aurora.switchover");
    }
    if let (Act::GateTarget { lossless: Some(false), .. }, Some(planned)) = (&step.act, planned) {
        let problem = format!("a {planned} is lossless: leave `lossless` out");
        found.error(&format!("{key}.with.lossless"), problem, "");
    }
}

fn conditions(runbook: &Runbook, step: &Step, key: &str, found: &mut Findings) {
    let before = runbook.all_needs(&step.id);
    let mut look = |text: &str, key: String| {
        let Ok(refs) = expression::check(text) else { return };
        for id in &refs.steps {
            let base: Option<StepId> = id.split('.').next().and_then(|s| s.parse().ok());
            let Some(other) = base.as_ref().and_then(|b| runbook.step(b)) else {
                found.coded("expression-invalid", &key, format!("there is no step `{id}`"), "");
                continue;
            };
            if !before.contains(&other.id) {
                let problem = format!("looks at `{id}`, which this step does not need: add it to `needs`");
                found.coded("expression-invalid", &key, problem, "");
            }
            let spread = other.act.spread() != Spread::No;
            if spread != id.contains('.') {
                let problem = if spread {
                    format!("`{id}` becomes one step per store or dns name: say which, as in steps[\"{id}.orders\"]")
                } else {
                    format!("`{}` is one step: say steps[\"{}\"]", other.id, other.id)
                };
                found.coded("expression-invalid", &key, problem, "");
            }
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

/// Whether nothing but success lets a run go past this step.
fn is_firm(step: &Step) -> bool {
    step.when.is_none() && step.on_failure == OnFailure::Hold
}

/// In a runbook that moves stores, traffic waits for their writers. Whether that is every store of an application is
/// checked again when it is compiled for one.
fn writer_before_traffic(runbook: &Runbook, step: &Step, key: &str, found: &mut Findings) {
    if !step.act.moves_traffic() || !runbook.steps.iter().any(|s| s.act.concerns_store()) {
        return;
    }
    let before = runbook.all_needs(&step.id);
    let proven = runbook.steps.iter().any(|s| before.contains(&s.id) && s.act.proves_writer() && is_firm(s));
    if !proven {
        let problem = "traffic would move before the writer is proven: it must need (also through other steps) an \
                       aurora.verify_writer or a promotion that has no `when` and does not continue after a failure";
        found.coded("runbook-unproven-writer", &format!("{key}.needs"), problem, "needs: [verify-writer]");
    }
}

fn before_promotion(runbook: &Runbook, step: &Step, key: &str, found: &mut Findings) {
    let (Act::AuroraFailover { .. } | Act::AuroraSwitchover { .. }) = step.act else {
        return;
    };
    let before: BTreeSet<StepId> = runbook.all_needs(&step.id);
    let has =
        |wanted: fn(&Act) -> bool| runbook.steps.iter().any(|s| before.contains(&s.id) && wanted(&s.act) && is_firm(s));
    let action = format!("{key}.action");
    if !has(|a| matches!(a, Act::GateTarget { .. })) {
        found.warning("runbook-ungated", &action, "no gate.target comes before it", "action: gate.target");
    }
    if matches!(step.act, Act::AuroraFailover { .. }) {
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
