//! Whether what is armed could run: the looks of `gate.target` for every store of the armed direction, of the plan's
//! gates of capacity and quota, and of the object that a flip would put, when it is armed and every few minutes after.
//!
//! Invariants: only facts disarm at once; what cannot be told is shown, and disarms when it could not be told three
//! times in a row. Nothing is disarmed while the primary is ill: that is what it was armed for. It starts nothing.
//!
//! Below it, [`round`] looks at every application, armed or not, and makes the score that people see.

mod clusters;
mod looks;
mod permitted;
mod question;
pub mod round;
mod signals;
mod traffic;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    domain::{
        action::{Action, OnUnknown},
        assessment::{Assessment, Health},
        id::{OverrideId, Region},
        overrides::{Ending, Override, OverrideKind},
        plan::{OnFailure, Plan, Purpose},
    },
    engine::{
        context::Context,
        denial::Denial,
        desk::Parts,
        gates,
        guards::{self, Answer},
        newest::Newest,
        overrides, requests, standby_object,
    },
};

/// How often what is armed is looked at.
const PERIOD: Duration = Duration::from_mins(5);
/// How soon it is looked at again where this was no time for it: a run was under way, or the primary was not well.
const LATER: Duration = Duration::from_secs(30);
/// So many looks in a row that could not tell disarm.
const UNKNOWN_MAX: u32 = 3;
/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// For how long a person who asks or consents waits for the look; it goes on without them (FAULTS.md L6: within 1 s).
pub(super) const ANSWER_WITHIN: Duration = Duration::from_millis(800);
/// For how long what was found after that counts, for whoever consents again.
const FOUND_FOR: Duration = Duration::from_secs(30);

/// The two people of an arming: who asks, and who consents.
const PEOPLE: u32 = 2;

/// What the newest look at what is armed has found, for people. Lost on a restart, which only makes it look again.
#[derive(Debug, Default)]
pub struct Preflights {
    notes: Mutex<BTreeMap<OverrideId, (Timestamp, String)>>,
    consent: Mutex<Option<(OverrideId, Look)>>,
}

/// A look that somebody who consents did not wait for; one at a time.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Look {
    UnderWay,
    /// In boot time, and what was found.
    Ended(Duration, Answer),
}

/// What is armed and what waits for consent are two; the oldest of more are over.
const NOTES_MAX: usize = 4;

impl Preflights {
    pub fn note(&self, id: &OverrideId, at: Timestamp, says: String) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.insert(id.clone(), (at, says));
        while NOTES_MAX < notes.len() {
            notes.pop_first();
        }
    }

    /// When `id` was looked at last, and what was found.
    pub fn of(&self, id: &OverrideId) -> Option<(Timestamp, String)> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// What has become of the look that the consent to `id` asked for before; what ended counts once, and not for long.
    pub(super) fn take_look(&self, id: &OverrideId, boot: Duration) -> Option<Look> {
        let mut slot = self.consent.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, look) = slot.as_ref().filter(|(of, _)| of == id)?;
        let look = look.clone();
        if let Look::Ended(at, _) = &look {
            let counts = boot.saturating_sub(*at) <= FOUND_FOR;
            *slot = None;
            return counts.then_some(look);
        }
        Some(look)
    }

    pub(super) fn put_look(&self, id: &OverrideId, look: Look) {
        *self.consent.lock().unwrap_or_else(PoisonError::into_inner) = Some((id.clone(), look));
    }
}

/// Whether a failover from `from` to `to` could run now.
pub async fn look(context: &Context, parts: &Parts, from: &Region, to: &Region, loss: Duration) -> Answer {
    let plan = match requests::plan(&context.application, parts, Purpose::Failover, from, to, Some(loss)) {
        Ok(plan) => plan,
        Err(refusal) => return Answer::Fails { why: refusal.to_string() },
    };
    if let Some(why) = too_many_people(&plan).or_else(|| needs_people(&plan)) {
        return Answer::Fails { why };
    }
    tokio::select! {
        biased;
        answer = targets(context, &plan) => answer,
        () = context.clock.sleep(PATIENCE) => {
            Answer::Unknown { why: format!("{to} could not be looked at within {} s", PATIENCE.as_secs()) }
        }
    }
}

/// What is missing where the plan asks for more people than an arming has: the one who asked stands for the requester,
/// the one who consented for the approval.
pub fn too_many_people(plan: &Plan) -> Option<String> {
    let needed = plan.steps.iter().find_map(|step| match &step.action {
        Action::Approve { count, .. } if PEOPLE <= *count => Some((&step.id, count + 1)),
        _ => None,
    });
    needed
        .map(|(step, people)| format!("step `{step}` of {} asks for {people} people, and arming has two", plan.runbook))
}

/// A detachment breaks up the global cluster and fences nobody: the people who decide on it see the disaster.
pub fn needs_people(plan: &Plan) -> Option<String> {
    let step = plan.steps.iter().find(|step| matches!(step.action, Action::AuroraDetach { .. }))?;
    Some(format!("step `{}` of {} detaches a database, which nothing starts by itself", step.id, plan.runbook))
}

/// The same looks as `gate.target`, for every store that the plan promotes.
async fn targets(context: &Context, plan: &Plan) -> Answer {
    let mut all = Vec::new();
    for step in &plan.steps {
        let Action::AuroraFailover { store, global_cluster, from, target, observe_in } = &step.action else {
            continue;
        };
        match guards::target(context, global_cluster, from, target, observe_in, guards::Wanted::default()).await {
            Answer::Holds { evidence } => all.extend(evidence),
            Answer::Fails { why } => return Answer::Fails { why: format!("store {store}: {why}") },
            Answer::Unknown { why } => return Answer::Unknown { why: format!("store {store}: {why}") },
            denied @ Answer::Denied(_) => return denied,
        }
    }
    match standby_object::preflight(context, plan).await {
        Answer::Holds { evidence } => all.extend(evidence),
        other => return other,
    }
    match capacity(context, plan).await {
        Answer::Holds { evidence } => all.extend(evidence),
        other => return other,
    }
    Answer::Holds { evidence: all }
}

/// Capacity and quotas of the target, as the plan's own gates would find them: what would not hold the run is told, and
/// ends nothing. A store whose capacity is declared is looked at also where the plan has no gate for it.
async fn capacity(context: &Context, plan: &Plan) -> Answer {
    let purpose = plan.purpose;
    let mut told = Vec::new();
    let mut gated = BTreeSet::new();
    for step in &plan.steps {
        let (answer, unknown) = match &step.action {
            Action::GateCapacity { store, source, target, declared, at_least_percent, unknown } => {
                gated.insert(store);
                let of = (store, source, target);
                (gates::capacity(context, purpose, of, declared.as_ref(), *at_least_percent).await, unknown)
            }
            Action::GateQuota { region, headroom, unknown } => (gates::quota(context, region, headroom).await, unknown),
            _ => continue,
        };
        let holds_the_run = step.on_failure == OnFailure::Hold && step.when.is_none();
        match answer {
            Answer::Holds { evidence } => told.extend(evidence),
            Answer::Fails { why } if holds_the_run => return Answer::Fails { why: format!("step {}: {why}", step.id) },
            Answer::Fails { why } => told.push(format!("WARNING, step {}: {why}", step.id)),
            Answer::Unknown { why } if holds_the_run && *unknown == OnUnknown::Hold => {
                return Answer::Unknown { why: format!("step {}: {why}", step.id) };
            }
            Answer::Denied(denial) if holds_the_run && *unknown == OnUnknown::Hold => return Answer::Denied(denial),
            Answer::Unknown { why } | Answer::Denied(Denial { why, .. }) => {
                told.push(format!("step {}: not known: {why}", step.id));
            }
        }
    }
    for (store, db) in context.application.stores.iter().filter(|(store, _)| !gated.contains(store)) {
        let (Some(source), Some(target)) = (db.clusters.get(&plan.source), db.clusters.get(&plan.target)) else {
            continue;
        };
        let Some(declared) = &db.capacity else { continue };
        match gates::capacity(context, purpose, (store, source, target), Some(declared), 100).await {
            Answer::Holds { evidence } => told.extend(evidence),
            Answer::Fails { why } => told.push(format!("WARNING, store {store}: {why}")),
            Answer::Unknown { why } | Answer::Denied(Denial { why, .. }) => {
                told.push(format!("store {store}: not known: {why}"));
            }
        }
    }
    Answer::Holds { evidence: told }
}

/// Looks at what is armed until the daemon stops.
pub async fn watch(
    context: Context,
    parts: Arc<Parts>,
    newest: Newest<Option<Arc<Assessment>>>,
    found: Arc<Preflights>,
) {
    let mut changes = context.scribe.changes();
    let mut next: Option<(OverrideId, Duration, u32)> = None;
    let mut is_started = true;
    loop {
        let (now, boot) = (context.clock.wall(), context.clock.boot());
        let armed = changes.take().overrides.armed(now).cloned();
        let wait = match &armed {
            None => {
                next = None;
                None
            }
            Some(armed) => {
                let same = next.take().filter(|(id, ..)| *id == armed.id);
                // What is armed now was looked at when it was; what a restart finds armed was not.
                let first = if is_started { boot } else { boot + PERIOD };
                let (_, due, unknown) = same.unwrap_or_else(|| (armed.id.clone(), first, 0));
                let (due, unknown) = if due <= boot {
                    again(&context, &parts, &newest, &found, armed, unknown).await
                } else {
                    (due, unknown)
                };
                next = Some((armed.id.clone(), due, unknown));
                Some(due.saturating_sub(context.clock.boot()))
            }
        };
        is_started = false;
        tokio::select! {
            biased;
            () = context.stopping.cancelled() => return,
            () = changes.changed() => {}
            () = context.clock.sleep(wait.unwrap_or_default()), if wait.is_some() => {}
        }
    }
}

/// One look at what is armed; when the next one is due, and how many in a row could not tell.
async fn again(
    context: &Context,
    parts: &Parts,
    newest: &Newest<Option<Arc<Assessment>>>,
    found: &Preflights,
    armed: &Override,
    unknown: u32,
) -> (Duration, u32) {
    let later = |context: &Context| (context.clock.boot() + LATER, unknown);
    let OverrideKind::Arm { from, to, largest_loss } = &armed.kind else { return later(context) };
    if !is_quiet(context, newest) {
        return later(context);
    }
    let answer = look(context, parts, from, to, *largest_loss).await;
    // What was found while the primary fell ill, or a run began, is not held against the arming.
    if !is_quiet(context, newest) || context.stopping.is_cancelled() {
        return later(context);
    }
    let (unknown, says, fails) = match answer {
        Answer::Holds { evidence } => (0, format!("it could run: {}", evidence.join("; ")), false),
        Answer::Fails { why } => (0, why, true),
        Answer::Unknown { why } => (unknown + 1, format!("it cannot be told whether it could run: {why}"), false),
        Answer::Denied(denial) => {
            (unknown + 1, format!("it cannot be told whether it could run: {}", denial.why), false)
        }
    };
    found.note(&armed.id, context.clock.wall(), says.clone());
    if fails || UNKNOWN_MAX <= unknown {
        let why = if fails { says } else { format!("{unknown} times in a row {says}") };
        overrides::end_by_itself(context, &armed.id, Ending::PreflightFailed, why).await;
    }
    (context.clock.boot() + PERIOD, unknown)
}

/// Whether the primary is well, without any evidence of trouble, and no run is under way.
fn is_quiet(context: &Context, newest: &Newest<Option<Arc<Assessment>>>) -> bool {
    let is_well = newest
        .get()
        .is_some_and(|a| matches!(a.health, Health::Healthy | Health::Degraded) && a.evidence_since.is_none());
    is_well && context.scribe.history().moving_run().is_none()
}
