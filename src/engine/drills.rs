//! What a drill needs before it may begin, and what of it yields to whom.
//!
//! Invariants: a drill begins only where all is well, outside a blackout, and where nothing else is at work; once begun it
//! stands in the way of other drills only (FAULTS.md 80): a failover takes its place at any of its steps (79), a planned
//! move as soon as it is held or paused. Whatever it was in the middle of is settled first.

use jiff::Timestamp;

use crate::{
    domain::{
        application::Application,
        assessment::{Assessment, Health},
        history::History,
        id::{Region, RunId, RunbookName, Subject},
        plan::Purpose,
        rules::Rule,
        run::{Phase, RunState},
    },
    engine::{control::Refusal, escalation},
};

/// Whether `app` is drilled by `runbook`.
pub(super) fn named(app: &Application, runbook: &RunbookName) -> Result<(), Refusal> {
    if app.drills.contains(runbook) {
        return Ok(());
    }
    let known: Vec<&str> = app.drills.iter().map(RunbookName::as_str).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Err(Refusal::UnknownDrill { application: app.name.clone(), runbook: runbook.clone(), known })
}

/// Whether this is a time for a drill: the application is well, and no blackout is on that nobody has waived. One that
/// nobody asked for, but a schedule, is begun only while the automation is not switched off.
pub(super) fn admitted(
    app: &Application,
    history: &History,
    assessment: Option<&Assessment>,
    now: Timestamp,
    subject: &Subject,
) -> Result<(), Refusal> {
    if let Some(stop) = history.overrides.kill_switch(now).filter(|_| subject.schedule().is_some()) {
        return Err(Refusal::Gate {
            gate: "kill-switch",
            why: format!("{} has switched the automation off: {}", stop.by, stop.reason),
            satisfied_by: "its end".to_owned(),
        });
    }
    let waived = history.overrides.waiver(Rule::Blackout, now).is_some();
    if let Some(blackout) = app.policy.blackouts.iter().find(|b| b.is_on(now)).filter(|_| !waived) {
        return Err(Refusal::Gate {
            gate: "blackout",
            why: format!("a blackout is on: {}", blackout.reason),
            satisfied_by: "its end, or a waiver of it".to_owned(),
        });
    }
    match assessment.map(|a| a.health) {
        Some(Health::Healthy | Health::Degraded) => Ok(()),
        other @ (Some(Health::Impaired | Health::Down | Health::Unknown) | None) => Err(Refusal::Gate {
            gate: "healthy",
            why: format!(
                "a drill is for an application that is well, and {} is {}",
                app.name,
                match other {
                    Some(Health::Healthy | Health::Degraded) => "well",
                    Some(Health::Impaired) => "impaired",
                    Some(Health::Down) => "down",
                    Some(Health::Unknown) => "not known to be",
                    None => "not assessed yet",
                }
            ),
            satisfied_by: "fresh healthy readings: see /applications/{name}/decision".to_owned(),
        }),
    }
}

/// The drill `active`, where a run of `purpose` to `target` may take its place.
pub(super) fn yields(active: &RunState, purpose: Purpose, target: &Region) -> Result<RunId, Refusal> {
    let refuse = |escalate: &str| {
        let (run, purpose) = (active.id.clone(), active.request.purpose);
        Err(Refusal::AlreadyRunning { run, purpose, escalate: escalate.to_owned() })
    };
    match (purpose, &active.phase) {
        (Purpose::Salvage, _) => refuse("a drill is under way: watch it to its end, or abort it"),
        (Purpose::Drill, _) => refuse("one drill at a time: watch it to its end, or abort it"),
        (Purpose::Failover, _) if escalation::may_escalate(active, target) => Ok(active.id.clone()),
        (Purpose::Switchover | Purpose::Failback, phase)
            if !matches!(phase, Phase::Held { .. } | Phase::Paused { .. }) =>
        {
            refuse(
                "it leads home by itself: watch it; or pause it, and a planned move takes its place once it is settled",
            )
        }
        (Purpose::Failover | Purpose::Switchover | Purpose::Failback, _) if active.has_open_intents() => {
            refuse("an effect of it is still being settled: ask again when it is, and this takes its place")
        }
        (Purpose::Failover | Purpose::Switchover | Purpose::Failback, _) => Ok(active.id.clone()),
    }
}
