//! What people ask for, judged on the newest state and recorded in the same commit, or refused with the reason and
//! with what would satisfy it.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::{
    domain::{
        application::Application,
        assessment::Assessment,
        compile,
        deferred::Work,
        history::History,
        id::{Digest, Region, RunId, RunbookName, SignalName, StepId, Subject},
        journal::{Event, Request},
        plan::{Plan, PlannedStep, Purpose},
        run::{Phase, RunResult, RunState},
        sabotage::{Guard, is_off},
        seconds::to_seconds,
        signal::{Reading, Signal, SignalRole, SignalState},
    },
    engine::{
        automatic, consents,
        context::Context,
        control::{Act, Refusal, StartRun, Started, Wish},
        desk::Parts,
        drills, escalation, salvage,
        scribe::CommitError,
        step::openings,
    },
};

/// What a request is judged with.
pub struct Asked {
    pub assessment: Option<Arc<Assessment>>,
    pub parts: Arc<Parts>,
    /// The id of the run, if it comes to one.
    pub id: RunId,
}

impl From<CommitError<Refusal>> for Refusal {
    fn from(error: CommitError<Refusal>) -> Self {
        match error {
            CommitError::Refused(refusal) => refusal,
            CommitError::Illegal(illegal) => Self::WrongPhase(illegal.to_string()),
            CommitError::TooLarge(too_large) => Self::Uncompilable(vec![too_large.to_string()]),
            CommitError::Append(_) => Self::Stopping,
        }
    }
}

/// Starts a run, or says why not.
pub async fn start(context: &Context, asked: Asked, request: StartRun) -> Result<Started, Refusal> {
    if let Some(again) = repeated(&context.scribe.history(), &request)? {
        return Ok(Started::Again { id: again });
    }
    let app = &context.application;
    let assessment = asked.assessment.as_deref();
    let (purpose, plan) = asked_for(app, &context.scribe.history(), &asked, &request)?;
    let target = plan.target.clone();
    if request.dry_run {
        let digest = plan.digest();
        let chosen = (request.wish == Wish::Auto).then(|| automatic::choose(assessment));
        return Ok(Started::Planned { plan: Box::new(plan), digest, chosen });
    }
    // What is at work already is told before what this request would need.
    supersede(&context.scribe.history(), purpose, &target)?;
    consent(app, assessment, purpose, request.accept_data_loss)?;
    alive(app, assessment, purpose, &target)?;
    let admitted = |history: &History, at| match purpose {
        Purpose::Drill => {
            drills::admitted(app, history, assessment, at, &request.subject)?;
            salvage::admitted(app, history, purpose, &target)
        }
        Purpose::Failover | Purpose::Switchover | Purpose::Failback | Purpose::Salvage => {
            salvage::admitted(app, history, purpose, &target)
        }
    };
    admitted(&context.scribe.history(), context.clock.wall())?;
    let evidence_since = assessment.and_then(|a| a.evidence_since);
    let id = asked.id;
    let committed = context.scribe.commit(|history, at| {
        // Judged again under the lock: two requests at once end in one run.
        if let Some(again) = repeated(history, &request)? {
            return Ok((Vec::new(), Started::Again { id: again }));
        }
        let superseded = supersede(history, purpose, &target)?;
        admitted(history, at)?;
        let mut events = Vec::new();
        if let Some(old) = &superseded {
            // A fault that is in is taken out all the same, beside the run that begins.
            let left = history.runs.get(old).map(|run| Work::of_superseded(run)).unwrap_or_default();
            events.extend(left.into_iter().map(|(step, work)| Event::WorkDeferred { run: old.clone(), step, work }));
            events.push(Event::RunFinished {
                run: old.clone(),
                result: RunResult::Superseded,
                reason: format!("superseded by {id}"),
                loss: None,
            });
        }
        let recorded = Request {
            purpose,
            subject: request.subject.clone(),
            reason: request.reason.clone(),
            idempotency_key: request.idempotency_key.clone(),
            body_digest: request.body_digest.clone(),
            supersedes: superseded.clone(),
            armed: None,
        };
        events.push(Event::RunStarted { run: id.clone(), request: recorded, plan: Box::new(plan), evidence_since });
        events.extend(first_looks(context, history, at, &events));
        Ok((events, Started::Run { id, supersedes: superseded }))
    });
    Ok(committed.await?)
}

/// What `request` comes to.
fn asked_for(
    app: &Application,
    history: &History,
    asked: &Asked,
    request: &StartRun,
) -> Result<(Purpose, Plan), Refusal> {
    let assessment = asked.assessment.as_deref();
    if let Wish::Salvage { run } = &request.wish {
        let failover = salvage::failover(app, history, run.as_ref())?;
        let (source, target) = salvage::ends(app, history, &failover)?;
        let (purpose, runbook) = (Purpose::Salvage, app.salvage_runbook());
        let plan = planned(app, &asked.parts, &runbook, purpose, (&source, &target), None)?;
        return Ok((purpose, Plan { reconciles: Some(failover), ..plan }));
    }
    let (source, target) = direction(app, assessment, request)?;
    let purpose = purpose(app, assessment, request)?;
    let plan = match (&request.wish, &request.runbook) {
        (Wish::Drill { runbook }, _) => {
            drills::named(app, runbook)?;
            planned(app, &asked.parts, runbook, purpose, (&source, &target), None)?
        }
        (_, Some(named)) => planned(app, &asked.parts, named, purpose, (&source, &target), request.accept_data_loss)?,
        _ => plan(app, &asked.parts, purpose, &source, &target, request.accept_data_loss)?,
    };
    Ok((purpose, plan))
}

/// The first looks of a run begin in the commit that starts it. Effects do not: an intent is journalled when it is about
/// to be sent, since after a crash it counts as perhaps sent. An event that is illegal here is named by the commit.
pub(super) fn first_looks(context: &Context, history: &History, at: Timestamp, events: &[Event]) -> Vec<Event> {
    let after = history.check(at, events).ok();
    let Some(run) = after.as_ref().and_then(History::active_run) else { return Vec::new() };
    let looks = run.ready().into_iter().filter(|step| step.action.mutations().is_empty()).collect();
    openings(context, run, looks)
}

/// The run that the same subject started before with the same key on the same route.
fn repeated(history: &History, request: &StartRun) -> Result<Option<RunId>, Refusal> {
    let Some(key) = &request.idempotency_key else {
        return Ok(None);
    };
    let route = |purpose: Purpose| match purpose {
        Purpose::Failover | Purpose::Switchover => "/failover",
        Purpose::Failback => "/failback",
        Purpose::Drill => "/drills",
        Purpose::Salvage => "/salvage",
    };
    let asked = match request.wish {
        Wish::Auto | Wish::Switchover | Wish::Failover => "/failover",
        Wish::Failback => "/failback",
        Wish::Drill { .. } => "/drills",
        Wish::Salvage { .. } => "/salvage",
    };
    let same_route = |r: &RunState| route(r.request.purpose) == asked;
    let before = history.runs.values().find(|r| {
        r.request.idempotency_key.as_ref() == Some(key) && r.request.subject == request.subject && same_route(r)
    });
    match before {
        None => Ok(None),
        Some(run) if run.request.body_digest == request.body_digest => Ok(Some(run.id.clone())),
        Some(_) => Err(Refusal::KeyReused),
    }
}

/// From where to where.
fn direction(
    app: &Application,
    assessment: Option<&Assessment>,
    request: &StartRun,
) -> Result<(Region, Region), Refusal> {
    if let Some(target) = request.target.as_ref().filter(|t| !app.regions.contains(t)) {
        let regions = app.regions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        return Err(Refusal::BadTarget { target: target.to_string(), why: format!("{} lives in {regions}", app.name) });
    }
    let source = assessment.and_then(|a| a.active_region.clone()).ok_or_else(|| Refusal::Gate {
        gate: "active-region",
        why: "it is not known which Region is active".to_owned(),
        satisfied_by: "a reading of every store's writer: see /applications/{name}".to_owned(),
    })?;
    let target = match (&request.target, &request.wish) {
        (Some(target), _) => target.clone(),
        (None, Wish::Failback) => app.regions[0].clone(),
        (None, Wish::Auto | Wish::Switchover | Wish::Failover | Wish::Drill { .. } | Wish::Salvage { .. }) => {
            let mut others = app.regions.iter().filter(|r| **r != source);
            match (others.next(), others.next()) {
                (Some(only), None) => only.clone(),
                _ => {
                    return Err(Refusal::BadTarget {
                        target: "(none)".to_owned(),
                        why: "several Regions could take over: name one in target_region".to_owned(),
                    });
                }
            }
        }
    };
    if target == source && !is_off(Guard::TargetIsWriter) {
        return Err(Refusal::BadTarget {
            target: target.to_string(),
            why: "it is the active Region (the writer) already".to_owned(),
        });
    }
    if request.wish == Wish::Failback && target != app.regions[0] {
        return Err(Refusal::BadTarget {
            target: target.to_string(),
            why: format!("a failback goes to the preferred Region, {}", app.regions[0]),
        });
    }
    Ok((source, target))
}

/// `auto` is a switchover where the source is healthy now; else a failover, which is proposed and never started
/// without an accepted loss.
fn purpose(app: &Application, assessment: Option<&Assessment>, request: &StartRun) -> Result<Purpose, Refusal> {
    match request.wish {
        Wish::Switchover => Ok(Purpose::Switchover),
        Wish::Failover => Ok(Purpose::Failover),
        Wish::Failback => Ok(Purpose::Failback),
        Wish::Drill { .. } => Ok(Purpose::Drill),
        Wish::Salvage { .. } => Ok(Purpose::Salvage),
        Wish::Auto => {
            let choice = automatic::choose(assessment);
            if choice.purpose == Purpose::Switchover {
                Ok(Purpose::Switchover)
            } else if request.accept_data_loss.is_some() || app.stores.is_empty() || request.dry_run {
                Ok(Purpose::Failover)
            } else {
                Err(Refusal::Gate {
                    gate: "data-loss",
                    why: format!(
                        "a lossless switchover is not provably possible now; a failover would lose {}",
                        loss_now(assessment)
                    ),
                    satisfied_by: "mode failover (or auto) with accept_data_loss_seconds".to_owned(),
                })
            }
        }
    }
}

fn loss_now(assessment: Option<&Assessment>) -> String {
    match assessment.and_then(worst_bound) {
        Some(bound) => format!("at most {} s of writes, as of now and growing", to_seconds(bound)),
        None => "an unbounded amount: there is no lag sample".to_owned(),
    }
}

/// The worst loss bound over all stores; `None` where one is unbounded or there is no store.
fn worst_bound(assessment: &Assessment) -> Option<Duration> {
    assessment.exposure.values().map(|e| e.loss_bound).collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// A failover of stores needs an accepted loss, and one that the facts at hand do not already exceed.
fn consent(
    app: &Application,
    assessment: Option<&Assessment>,
    purpose: Purpose,
    accepted: Option<Duration>,
) -> Result<(), Refusal> {
    if purpose != Purpose::Failover || app.stores.is_empty() || is_off(Guard::UnacceptedLoss) {
        return Ok(());
    }
    let bound = assessment.and_then(worst_bound);
    let refuse = |why: String, satisfied_by: String| Err(Refusal::Gate { gate: "data-loss", why, satisfied_by });
    match (accepted, bound) {
        (None, _) => refuse(
            format!("a failover would lose {}, and nobody has accepted that", loss_now(assessment)),
            "accept_data_loss_seconds, with room for the time until the promotion".to_owned(),
        ),
        (Some(_), None) => {
            refuse("the loss is unbounded: there is no lag sample".to_owned(), "a lag sample".to_owned())
        }
        (Some(accepted), Some(bound)) if accepted < bound && !is_off(Guard::LossBound) => refuse(
            format!("the loss bound is {} s already, {} s were accepted", to_seconds(bound), to_seconds(accepted)),
            format!(
                "accept_data_loss_seconds of more than {}, with room for the time until the promotion",
                to_seconds(bound)
            ),
        ),
        (Some(_), Some(_)) => Ok(()),
    }
}

/// A failback to a Region that is still lost would wait for hours: it is refused where the signals at hand say so.
fn alive(app: &Application, assessment: Option<&Assessment>, purpose: Purpose, target: &Region) -> Result<(), Refusal> {
    let of_target = |s: &&Signal| s.source.of() == Some(target) && s.role != SignalRole::Informational;
    let names: Vec<&SignalName> = app.signals.iter().filter(of_target).map(|s| &s.name).collect();
    if purpose != Purpose::Failback || names.is_empty() {
        return Ok(());
    }
    let said = |name: &SignalName| match assessment.and_then(|a| a.signals.get(name)) {
        Some(SignalState::Fresh { sample }) => match &sample.reading {
            Reading::Healthy { .. } => None,
            Reading::Unhealthy { detail } => Some(format!("{name}: {detail}")),
            Reading::Lag { .. } => Some(format!("{name}: a lag, which says nothing of it")),
            Reading::Missing { why } => Some(format!("{name}: missing ({why})")),
        },
        Some(SignalState::Stale { age, .. }) => Some(format!("{name}: stale for {:.0} s", age.as_secs_f64())),
        Some(SignalState::Missing { why }) => Some(format!("{name}: missing ({why})")),
        Some(SignalState::Contradicted { why, .. }) => Some(format!("{name}: contradicted ({why})")),
        None => Some(format!("{name}: not read yet")),
    };
    let Some(said) = names.iter().map(|name| said(name)).collect::<Option<Vec<_>>>() else {
        return Ok(());
    };
    let names = names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Err(Refusal::Gate {
        gate: "target-alive",
        why: format!("nothing says that {target} is back: {}", said.join("; ")),
        satisfied_by: format!("a fresh healthy reading of one of: {names}"),
    })
}

/// What `purpose` would do from `source` to `target` by the application's runbook.
pub(super) fn plan(
    app: &Application,
    parts: &Parts,
    purpose: Purpose,
    source: &Region,
    target: &Region,
    accepted: Option<Duration>,
) -> Result<Plan, Refusal> {
    let name = app
        .runbooks
        .get(&purpose)
        .ok_or_else(|| Refusal::Uncompilable(vec![format!("{} has no runbook for a {purpose}", app.name)]))?;
    planned(app, parts, name, purpose, (source, target), accepted)
}

/// The same by the runbook of this name.
fn planned(
    app: &Application,
    parts: &Parts,
    name: &RunbookName,
    purpose: Purpose,
    (source, target): (&Region, &Region),
    accepted: Option<Duration>,
) -> Result<Plan, Refusal> {
    let (runbook, digest) =
        parts.runbooks.get(name).ok_or_else(|| Refusal::Uncompilable(vec![format!("there is no runbook `{name}`")]))?;
    let accepted = accepted.filter(|_| purpose == Purpose::Failover);
    compile::compile(app, runbook, purpose, source, target, accepted, &parts.config_digest, digest)
        .map_err(Refusal::Uncompilable)
}

/// The emergency wins (DESIGN.md 6): a failover supersedes a drill, a failback or a held run as soon as its effects are settled;
/// and at once, as an escalation, any planned move to the same target.
fn supersede(history: &History, purpose: Purpose, target: &Region) -> Result<Option<RunId>, Refusal> {
    let Some(active) = history.active_run().filter(|_| !is_off(Guard::TwoRuns)) else {
        return Ok(None);
    };
    if active.request.purpose == Purpose::Salvage {
        return salvage::yields(active, purpose).map(Some);
    }
    if active.request.purpose == Purpose::Drill {
        return drills::yields(active, purpose, target).map(Some);
    }
    let yields = active.request.purpose == Purpose::Failback || matches!(active.phase, Phase::Held { .. });
    let refuse = |escalate: &str| {
        Err(Refusal::AlreadyRunning {
            run: active.id.clone(),
            purpose: active.request.purpose,
            escalate: escalate.to_owned(),
        })
    };
    if purpose == Purpose::Failover && escalation::may_escalate(active, target) {
        return Ok(Some(active.id.clone()));
    }
    if purpose != Purpose::Failover && active.request.purpose != Purpose::Failover {
        return refuse(
            "watch it; abort it; or escalate it: mode failover to the same target, with accept_data_loss_seconds, takes \
             its place at once",
        );
    }
    if purpose == Purpose::Failover && active.request.purpose != Purpose::Failover && !yields {
        return refuse(&format!(
            "it leads to {}, and this to {target}, which must not cross: watch it, or abort it; a failover takes its place \
             once it is held",
            active.plan.target
        ));
    }
    if purpose != Purpose::Failover || !yields {
        return refuse("watch it; abort it before its point of no return, or ask again for a failover once it is held");
    }
    if active.has_open_intents() {
        return refuse("an effect of it is still being settled: ask again when it is, and this failover supersedes it");
    }
    Ok(Some(active.id.clone()))
}

/// What a person does to a run.
pub async fn act(context: &Context, id: &RunId, act: Act, subject: &Subject, reason: &str) -> Result<(), Refusal> {
    let committed = context.scribe.commit(|history, _| {
        let run = history.runs.get(id).ok_or_else(|| Refusal::UnknownRun(id.clone()))?;
        let (run_id, subject, reason) = (id.clone(), subject.clone(), reason.to_owned());
        let event = match act {
            Act::Approve { step, approved, digest } => {
                consents::approvable(context, run, &step, &subject)?;
                if digest != run.plan_digest && !is_off(Guard::OtherDigest) {
                    return Err(Refusal::StaleDigest { current: run.plan_digest.clone() });
                }
                Event::ApprovalRecorded { run: run_id, step, subject, approved, digest, reason }
            }
            Act::Abort if run.is_past_no_return() => {
                return Err(Refusal::WrongPhase(
                    "it is past its point of no return: it is completed or held, not aborted".to_owned(),
                ));
            }
            Act::Abort => match run.phase {
                Phase::Aborting { .. } | Phase::Undoing { .. } | Phase::Finished { .. } => {
                    return Err(wrong_phase(run));
                }
                Phase::Running | Phase::Held { .. } | Phase::Paused { .. } => {
                    Event::AbortRequested { run: run_id, subject, reason }
                }
            },
            Act::Pause if matches!(run.phase, Phase::Running) => Event::RunPaused { run: run_id, subject, reason },
            Act::Resume
                if matches!(run.phase, Phase::Held { .. } | Phase::Paused { .. }) || is_off(Guard::AfterTheEnd) =>
            {
                Event::RunResumed { run: run_id, subject, reason }
            }
            Act::Retry { step, digest } => {
                failed_step(run, &step, &digest)?;
                run.may_retry(&step).map_err(Refusal::WrongPhase)?;
                Event::StepRetried { run: run_id, step, subject, digest, reason }
            }
            Act::Skip { step, digest } => {
                let planned = failed_step(run, &step, &digest)?;
                if let Some(why) = run.forbids_pass(planned) {
                    return Err(Refusal::NotSkippable { step, why });
                }
                run.may_pass(&step).map_err(Refusal::WrongPhase)?;
                Event::StepPassed { run: run_id, step, subject, digest, reason }
            }
            Act::Pause | Act::Resume => return Err(wrong_phase(run)),
        };
        Ok((vec![event], ()))
    });
    Ok(committed.await?)
}

/// The step that a person speaks of, where they were shown this very plan.
fn failed_step<'a>(run: &'a RunState, step: &StepId, digest: &Digest) -> Result<&'a PlannedStep, Refusal> {
    let planned = run.plan.step(step).ok_or_else(|| Refusal::UnknownStep(step.clone()))?;
    if *digest != run.plan_digest && !is_off(Guard::OtherDigest) {
        return Err(Refusal::StaleDigest { current: run.plan_digest.clone() });
    }
    Ok(planned)
}

pub(super) fn wrong_phase(run: &RunState) -> Refusal {
    Refusal::WrongPhase(match &run.phase {
        Phase::Running => "it is running".to_owned(),
        Phase::Held { reason, .. } => format!("it is held: {reason}"),
        Phase::Paused { .. } => "it is paused".to_owned(),
        Phase::Aborting { .. } => "it is being aborted".to_owned(),
        Phase::Undoing { step, .. } => format!("it is being undone, since `{step}` failed"),
        Phase::Finished { reason, .. } => format!("it is finished: {reason}"),
    })
}
