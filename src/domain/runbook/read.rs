//! From a document to a [`Runbook`]: shapes, names, bounds and defaults. What concerns several steps is in `lint`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Act, FenceRung, Runbook, STEP_TIMEOUT_MAX, STEPS_MAX, Salvaged, Step, actions, budget};
use crate::domain::{
    document::{At, Fields, Findings, Place, Value, clip},
    id::{NAME_CHARS_MAX, StepId},
    plan::{OnFailure, Purpose, Retry, Towards},
};

/// Where each step stands in the document: the key that faults are noted at.
pub(super) type Keys = BTreeMap<StepId, String>;

pub(super) fn runbook(root: &At<'_>, found: &mut Findings) -> Option<(Runbook, Keys)> {
    let mut fields = root.fields(found)?;
    let name = fields.need(found, "runbook", "runbook: region-failover").and_then(|at| at.parse(found));
    let purposes = fields.need(found, "purpose", "purpose: failover").and_then(|at| purposes(&at, found));
    let description = fields
        .need(found, "description", "description: Moves the application out of a Region that is lost.")
        .and_then(|at| at.text(found));
    // Read before: their values stand in the steps already.
    let _parameters = fields.get(found, "parameters", "parameters: { consecutive: { type: number, default: 3 } }");
    let read_only = fields.get(found, "read_only", "read_only: true").map_or(Some(false), |at| at.boolean(found));
    let budget = budget::read(&mut fields, found);
    let steps = fields.need(found, "steps", "steps: [{ id: promote, action: aurora.failover }]");
    fields.finish(found);
    let items = steps?.list(found)?;
    if items.is_empty() || items.len() > STEPS_MAX {
        found.error("steps", format!("{} steps; between 1 and {STEPS_MAX} are possible", items.len()), "");
    }
    let (mut steps, mut keys) = (Vec::new(), Keys::new());
    for at in items.iter().take(STEPS_MAX) {
        let (id, step) = step(at, found);
        let Some(id) = id else { continue };
        found.is_step(&at.key, id.as_str());
        if keys.contains_key(&id) {
            found.error(&format!("{}.id", at.key), format!("the id `{id}` is used twice"), "");
            continue;
        }
        keys.insert(id, at.key.clone());
        steps.extend(step);
    }
    let runbook = Runbook {
        name: name?,
        purposes: purposes?,
        description: description?.trim().to_owned(),
        steps,
        calls: BTreeSet::new(),
        read_only: read_only?,
        budget: budget?,
    };
    Some((runbook, keys))
}

fn purposes(at: &At<'_>, found: &mut Findings) -> Option<BTreeSet<Purpose>> {
    let items = match at.node.value {
        Value::List(_) => at.list(found)?,
        _ => vec![at.clone()],
    };
    let mut purposes = BTreeSet::new();
    for item in &items {
        match item.text(found)? {
            "failover" => purposes.insert(Purpose::Failover),
            "switchover" => purposes.insert(Purpose::Switchover),
            "failback" => purposes.insert(Purpose::Failback),
            "drill" => purposes.insert(Purpose::Drill),
            "salvage" => purposes.insert(Purpose::Salvage),
            _ => {
                found.error(&item.key, "expected failover, switchover, failback, drill or salvage", at.example);
                return None;
            }
        };
    }
    if purposes.is_empty() {
        found.error(&at.key, "is empty", at.example);
        return None;
    }
    Some(purposes)
}

/// The id is told even of a step with faults, so that others may need it without a second fault.
fn step(at: &At<'_>, found: &mut Findings) -> (Option<StepId>, Option<Step>) {
    let Some(mut f) = at.fields(found) else {
        return (None, None);
    };
    let id = f.need(found, "id", "id: promote").and_then(|at| id(&at, found));
    (id.clone(), rest_of_step(id, at.node.place, f, found))
}

fn rest_of_step(id: Option<StepId>, place: Place, mut f: Fields<'_>, found: &mut Findings) -> Option<Step> {
    let title = f.get(found, "title", "title: Promote the standby").map(|at| at.text(found));
    let action = f.need(found, "action", "action: probe.http");
    let needs = f.get(found, "needs", "needs: [approve]").map_or(Some(BTreeSet::new()), |at| needs(&at, found));
    let with = f.get(found, "with", "with: { store: orders }");
    let timeout = f.get(found, "timeout", "timeout: 15m");
    if action.as_ref().is_some_and(|a| matches!(&a.node.value, Value::Text(name) if name == "call")) {
        for key in ["timeout", "retry", "on_failure"] {
            if let Some(at) = f.get(found, key, "") {
                found.error(&at.key, "a call has none of its own: its steps have theirs", "");
            }
        }
    }
    let retry = retry(&mut f, found);
    let on_failure = f.get(found, "on_failure", "on_failure: hold");
    let no_return = f.get(found, "no_return", "no_return: true").map_or(Some(false), |at| at.boolean(found));
    let when = f.get(found, "when", "when: \"purpose == 'failover'\"");
    let when = match when {
        Some(at) => actions::condition(&at, found).map(Some),
        None => Some(None),
    };
    f.finish(found);
    let act = action.as_ref().and_then(|at| actions::act(at, with.as_ref(), found));
    let on_failure = match on_failure {
        Some(at) => outcome(&at, act.as_ref(), found),
        None => Some(default_on_failure(act.as_ref())),
    };
    let (act, id) = (act?, id?);
    let default = default_timeout(&act);
    let timeout = timeout.map_or(Some(default), |at| at.duration(found, shortest_timeout(&act), STEP_TIMEOUT_MAX));
    let title = match title {
        Some(title) => title?.to_owned(),
        None => action.as_ref().and_then(|a| a.text(found)).unwrap_or_default().to_owned(),
    };
    Some(Step {
        id,
        place,
        title,
        needs: needs?,
        when: when?,
        retry: retry?.unwrap_or_else(|| default_retry(&act)),
        act,
        timeout: timeout?,
        on_failure: on_failure?,
        no_return: no_return?,
        towards: Towards::Target,
    })
}

fn id(at: &At<'_>, found: &mut Findings) -> Option<StepId> {
    if at.text(found)?.contains('.') {
        found.error(&at.key, "holds a `.`, which is kept for steps that are expanded over stores", at.example);
        return None;
    }
    step_id(at, found)
}

/// The id of a step as it is written: without the `.` of those that are made of one.
fn step_id(at: &At<'_>, found: &mut Findings) -> Option<StepId> {
    let text = at.text(found)?;
    let id = text.parse();
    if id.is_err() {
        let problem =
            format!("`{}` is not a valid step id: expected 1 to {NAME_CHARS_MAX} of a-z, 0-9 and -", clip(text));
        found.error(&at.key, problem, at.example);
    }
    id.ok()
}

fn needs(at: &At<'_>, found: &mut Findings) -> Option<BTreeSet<StepId>> {
    let items = at.list(found)?;
    let ids: Vec<Option<StepId>> = items.iter().map(|i| step_id(i, found)).collect();
    ids.into_iter().collect()
}

fn retry(f: &mut Fields<'_>, found: &mut Findings) -> Option<Option<Retry>> {
    let Some(at) = f.get(found, "retry", "retry: { attempts: 3, backoff: 10s }") else {
        return Some(None);
    };
    let mut f = at.fields(found)?;
    let attempts = f.need(found, "attempts", "attempts: 3").and_then(|at| at.count(found, 1, 10));
    let backoff = f
        .get(found, "backoff", "backoff: 10s")
        .map_or(Some(BACKOFF), |at| at.duration(found, Duration::ZERO, Duration::from_hours(1)));
    f.finish(found);
    Some(Some(Retry { attempts: attempts?, backoff: backoff? }))
}

fn outcome(at: &At<'_>, act: Option<&Act>, found: &mut Findings) -> Option<OnFailure> {
    match (at.text(found)?, act) {
        ("hold", Some(Act::Notify { .. })) => {
            found.error(&at.key, "a notification never stops a run: leave `on_failure` out", "on_failure: continue");
            None
        }
        ("hold", _) => Some(OnFailure::Hold),
        ("continue", _) => Some(OnFailure::Continue),
        ("undo", Some(Act::Notify { .. })) => {
            found.error(&at.key, "a notification never stops a run: leave `on_failure` out", "on_failure: continue");
            None
        }
        ("undo", _) => Some(OnFailure::Undo),
        _ => {
            found.error(&at.key, "expected `hold`, `undo` or `continue`", at.example);
            None
        }
    }
}

fn default_on_failure(act: Option<&Act>) -> OnFailure {
    match act {
        Some(Act::Notify { .. }) => OnFailure::Continue,
        _ => OnFailure::Hold,
    }
}

const BACKOFF: Duration = Duration::from_secs(5);
const MINUTE: Duration = Duration::from_mins(1);

/// Aurora's calls are tried once unless the runbook says otherwise; what can be repeated is.
fn default_retry(act: &Act) -> Retry {
    let attempts = match act {
        Act::DnsFlip { .. } | Act::DnsWeights { .. } | Act::LambdaFault { .. } | Act::Notify { .. } => 3,
        _ => 1,
    };
    Retry { attempts, backoff: BACKOFF }
}

/// A step that waits for a time may not time out before it.
fn shortest_timeout(act: &Act) -> Duration {
    match act {
        Act::Wait { duration } => *duration + Duration::from_secs(1),
        Act::Approve { expires_after, .. } => *expires_after + Duration::from_secs(1),
        Act::ProbeHttp { consecutive, interval, .. }
        | Act::ProbeTcp { consecutive, interval, .. }
        | Act::ProbePostgres { consecutive, interval, .. } => {
            *interval * consecutive.saturating_sub(1) + Duration::from_secs(1)
        }
        Act::ProbeSignal { hold_for, .. } => *hold_for + Duration::from_secs(1),
        // What is looked for so long is told by the step itself, not by its timeout.
        Act::Fence { rung: FenceRung::Event { within } | FenceRung::WriteMustFail { within }, .. } => {
            *within + Duration::from_secs(1)
        }
        Act::DnsWeights { ramp, hold_for, .. } => {
            *hold_for * u32::try_from(ramp.len()).unwrap_or(u32::MAX) + Duration::from_secs(1)
        }
        _ => Duration::from_secs(1),
    }
}

/// Every step has a timeout. A promotion takes minutes [AUG]; a wait for replicas to be rebuilt, hours.
fn default_timeout(act: &Act) -> Duration {
    match act {
        Act::AuroraSwitchover { .. } | Act::AuroraFailover { .. } | Act::AuroraDetach { .. } => 15 * MINUTE,
        // 5 to 15 minutes an instance [3P], several at once.
        Act::AuroraAddInstance { .. } => 30 * MINUTE,
        Act::AuroraWait { .. } => 4 * 60 * MINUTE,
        Act::AuroraVerifyWriter { .. } | Act::DnsFlip { .. } => 5 * MINUTE,
        Act::GateTarget { .. } | Act::GateRpo { .. } | Act::GateCapacity { .. } | Act::GateQuota { .. } => 2 * MINUTE,
        // CloudWatch is minutes behind [INF], and what is pending drains.
        Act::GateReplication { .. } => 10 * MINUTE,
        Act::DnsVerify { .. } => 10 * MINUTE,
        Act::ProbeHttp { .. } | Act::ProbeTcp { .. } | Act::ProbePostgres { .. } | Act::ProbeSignal { .. } => {
            (10 * MINUTE).max(shortest_timeout(act))
        }
        // Whoever takes it out again is patient: a fault that stays is the worst that a drill can leave.
        Act::LambdaFault { .. } => 10 * MINUTE,
        // In a disaster it ends as unknown by its timeout, and the emergency waits for it.
        Act::Fence { .. } => shortest_timeout(act) + MINUTE,
        // A change of records takes a minute until it is in sync, and now and then several [bc:route53.GetChange].
        Act::DnsWeights { ramp, .. } => {
            let steps = u32::try_from(ramp.len()).unwrap_or(u32::MAX);
            (shortest_timeout(act) + 10 * MINUTE * steps.saturating_add(1)).min(STEP_TIMEOUT_MAX)
        }
        // A control plane's call takes seconds; what it sets going (tasks that start) some minutes.
        Act::AwsCall { .. } => 5 * MINUTE,
        Act::Notify { .. } | Act::Assert { .. } | Act::Call { .. } | Act::AuroraPreserveSnapshot { .. } => MINUTE,
        // Aurora takes the snapshot minutes after its Region is back, and copies it as slowly.
        Act::Salvage { what: Salvaged::Snapshot, .. } => 4 * 60 * MINUTE,
        // A Region that has just come back does not answer at once.
        Act::Salvage { .. } => 30 * MINUTE,
        Act::Wait { .. } | Act::Approve { .. } => (shortest_timeout(act) + MINUTE).min(STEP_TIMEOUT_MAX),
    }
}
