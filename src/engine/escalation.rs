//! A failover in place of a planned move to the same target that does not come to its end: DESIGN.md 5, "escalation".
//!
//! Invariants: the target is the same, so that a call of the old run that lands late does no harm (S4); nothing is
//! promoted while an operation is in progress as observed; where the planned move has ended after all, nothing is
//! promoted and nothing is lost, and the run goes on from there.

use std::collections::BTreeMap;

use crate::{
    domain::{
        action::Action,
        drill,
        history::History,
        id::{Region, StoreName},
        plan::Purpose,
        run::{RunState, StepState},
    },
    engine::{
        aurora::{self, Proof},
        context::Context,
        look::Look,
    },
};

/// Whether a failover to `target` may take the place of `active` although its effects are not settled: a planned move,
/// and every one of its effects leads to the same target. A call that takes something back does not: it is settled
/// first. What the planned move has done is not undone by its being superseded.
pub fn may_escalate(active: &RunState, target: &Region) -> bool {
    active.request.purpose != Purpose::Failover && drill::leads_to(active, target) && !active.has_open_undo()
}

/// Whether `run` took the place of a planned move to the same target that may have changed the roles.
pub fn escalates(history: &History, run: &RunState) -> bool {
    if run.plan.purpose != Purpose::Failover {
        return false;
    }
    let mut old = run.request.supersedes.as_ref().and_then(|id| history.runs.get(id));
    while let Some(before) = old.filter(|before| drill::leads_to(before, &run.plan.target)) {
        let is_begun =
            |id| !matches!(before.steps.get(id), None | Some(StepState::Pending | StepState::Skipped { .. }));
        let switches = before.plan.steps.iter().filter(|s| matches!(s.action, Action::AuroraSwitchover { .. }));
        if switches.map(|s| &s.id).any(is_begun) {
            return true;
        }
        old = before.request.supersedes.as_ref().and_then(|id| history.runs.get(id));
    }
    false
}

/// What a gate of `store` finds where `run` is an escalation and the planned move is at work still, or has ended after
/// all; `None` where the gate is to look as in any failover.
pub async fn gate(context: &Context, run: &RunState, store: &StoreName) -> Option<Look> {
    if !escalates(&context.scribe.history(), run) {
        return None;
    }
    let promotion = run.plan.steps.iter().find_map(|step| match &step.action {
        Action::AuroraFailover { store: of, global_cluster, target, observe_in, .. }
        | Action::AuroraDetach { store: of, global_cluster, target, observe_in, .. }
            if of == store =>
        {
            Some((global_cluster, target, observe_in))
        }
        _ => None,
    });
    let (global_cluster, target, observe_in) = promotion?;
    match aurora::prove(&*context.cloud, &*context.clock, global_cluster, observe_in).await {
        Proof::Agreed { view, evidence } if view.is_settled_on(target) => {
            let ended =
                "the planned move has ended after all: the target is the writer, and nothing is lost".to_owned();
            Some(Look::Satisfied { evidence: vec![evidence, ended], outputs: BTreeMap::new() })
        }
        Proof::Agreed { view, .. } if !view.is_settled() => {
            let why = format!("the planned move is in progress still: {}", aurora::describe(&view));
            Some(Look::NotYet { why, pause: aurora::POLL })
        }
        // Where it cannot be told, the planned move may be at work.
        Proof::Contradicted { why } | Proof::Unknown { why } => Some(Look::NotYet { why, pause: aurora::POLL }),
        Proof::Agreed { .. } | Proof::Denied(_) => None,
    }
}
