//! Drives the work that runs leave open, until it is done, its time is over, or the next failover supersedes it.
//!
//! Invariants: the protocol of a step (intent, call, answer, look) with events of its own; a call is sent at most once per
//! intent, and done is what was observed. It never delays a run, and none waits for it. What cannot be read (a Region that is
//! lost) is looked at again; silence ends nothing but by the limit. It decides nothing.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    domain::{
        action::Action,
        application::ClusterArn,
        cloud::{DbSnapshot, Mutation, Outcome},
        deferred::{
            ATTEMPTS_MAX, COPY_PREFIX, Deferred, Ending, RESCUE_PREFIX, State, WARNING, Work, copy_name, warns_before,
        },
        fault::Fault,
        history::History,
        id::{RunId, StepId},
        journal::Event,
        run::RunState,
        seconds::to_seconds,
        trace::{Behalf, Way},
    },
    engine::{
        context::Context,
        faults::{self, Standing},
        scribe::CommitError,
    },
    ports::behalf::on_behalf,
};

/// How often it is looked at: the snapshot appears minutes after its Region, and is kept for a day at least [AUG].
const PERIOD: Duration = Duration::from_mins(1);

/// Clocks of AWS and of this machine may differ by so much, and the snapshot may have been begun before the run was known.
const EARLIER: Duration = Duration::from_mins(5);

/// What a look at the work found.
enum Found {
    Done {
        evidence: Vec<String>,
    },
    /// This call is to be made.
    Call(Box<Mutation>),
    /// Nothing can be done now.
    Waits {
        why: String,
    },
}

/// Drives what is open until the daemon stops.
pub(super) async fn drive(context: Context) {
    let mut changes = context.scribe.changes();
    // When this process first saw each: what was spent before is told by the wall clock, once.
    let mut seen: Vec<((RunId, StepId), Duration, Duration)> = Vec::new();
    loop {
        let history = changes.take();
        let open: Vec<_> = history.deferred.iter().filter(|(_, d)| d.is_open()).map(|(key, _)| key.clone()).collect();
        seen.retain(|(key, ..)| open.contains(key));
        for key in &open {
            if context.stopping.is_cancelled() {
                return;
            }
            let Some(deferred) = history.deferred.get(key) else { continue };
            if !seen.iter().any(|(of, ..)| of == key) {
                let spent = context.clock.wall().duration_since(deferred.since);
                seen.push((key.clone(), context.clock.boot(), Duration::try_from(spent).unwrap_or_default()));
            }
            let age = seen.iter().find(|(of, ..)| of == key);
            let age =
                age.map_or(Duration::ZERO, |(_, first, spent)| *spent + context.clock.boot().saturating_sub(*first));
            if let Err(error) = turn(&context, key, age).await {
                tracing::error!(application = %context.application.name, run = %key.0, step = %key.1, %error, "deferred work is not recorded");
            }
        }
        let is_waiting = !open.is_empty();
        tokio::select! {
            biased;
            () = context.stopping.cancelled() => return,
            () = changes.changed(), if !is_waiting => {}
            () = context.clock.sleep(PERIOD), if is_waiting => {}
        }
    }
}

/// One turn of one piece of work.
async fn turn(context: &Context, key: &(RunId, StepId), age: Duration) -> Result<(), CommitError<()>> {
    let Some(deferred) = newest(context, key) else { return Ok(()) };
    if deferred.open_call.is_some() {
        // A process died between the intent and the answer, or has only just begun.
        let reason = "the process ended between the intent and its answer".to_owned();
        answer(context, key, deferred.attempts, Outcome::Unknown { reason }).await?;
    }
    let (found, rescue) = look(context, &deferred, age).await;
    if let Some(rescue) = rescue.filter(|_| !matches!(found, Found::Done { .. })) {
        warn(context, key, &deferred, &rescue).await?;
    }
    match found {
        Found::Done { evidence } => return end(context, key, Ending::Done { evidence }).await,
        Found::Waits { why } if deferred.work.within() <= age => return expire(context, key, &why).await,
        Found::Waits { why } => context.waits.note(&key.0, &key.1, &why),
        Found::Call(_) if deferred.work.within() <= age => {
            return expire(context, key, "it was asked for, and never came about").await;
        }
        Found::Call(mutation) => {
            let Some(outcome) = call(context, key, &mutation).await? else { return Ok(()) };
            let why = match outcome {
                Outcome::Accepted { .. } => "it is being done".to_owned(),
                Outcome::Rejected { code, message, .. } => format!("AWS refused it: {code}: {message}"),
                Outcome::NotSent { reason } | Outcome::Unknown { reason } => format!("it was not answered: {reason}"),
            };
            context.waits.note(&key.0, &key.1, &why);
        }
    }
    Ok(())
}

/// What there is to do, and the snapshot that is to be copied, where it is listed.
async fn look(context: &Context, deferred: &Deferred, age: Duration) -> (Found, Option<DbSnapshot>) {
    match &deferred.work {
        Work::PreserveSnapshot { cluster, since, .. } => rescue(context, deferred, cluster, since).await,
        Work::MendFault { fault, .. } => (mend(context, fault, age).await, None),
    }
}

/// Whether the fault is out. A call that put it in and was never answered may still arrive.
async fn mend(context: &Context, fault: &Fault, age: Duration) -> Found {
    let within = context.signatures.call_lands_within(&fault.mutation());
    let may_arrive = within.is_some_and(|within| age < within);
    match faults::standing(context, fault).await {
        Standing::As { evidence } if !may_arrive => Found::Done { evidence: vec![evidence] },
        Standing::As { evidence } => Found::Waits { why: format!("{evidence}; an older call may still arrive") },
        Standing::From => Found::Call(Box::new(fault.mutation())),
        Standing::Changing { what: why } | Standing::Neither { what: why } | Standing::Unknown { why } => {
            Found::Waits { why }
        }
        Standing::Denied(denial) => Found::Waits { why: denial.why },
    }
}

async fn rescue(
    context: &Context,
    deferred: &Deferred,
    cluster: &ClusterArn,
    since: &Timestamp,
) -> (Found, Option<DbSnapshot>) {
    let was_asked = 0 < deferred.attempts;
    let snapshots = match context.cloud.cluster_snapshots(cluster).await {
        Ok(snapshots) => snapshots,
        Err(error) => {
            return (Found::Waits { why: format!("{} cannot be asked: {error}", cluster.region()) }, None);
        }
    };
    let (rescue, copy) = rescue_and_copy(&snapshots, *since, was_asked);
    if let Some(copy) = copy {
        return (copied(cluster, copy), rescue.cloned());
    }
    let found = match rescue {
        None => Found::Waits { why: "Aurora has not taken a rescue snapshot of the old writer (yet)".to_owned() },
        Some(rescue) if rescue.status != "available" => {
            Found::Waits { why: format!("{} is {}", rescue.identifier, rescue.status) }
        }
        Some(rescue) if ATTEMPTS_MAX <= deferred.attempts => {
            let why = format!("{} was to be copied {ATTEMPTS_MAX} times, in vain", rescue.identifier);
            Found::Waits { why }
        }
        Some(rescue) => Found::Call(Box::new(Mutation::CopySnapshot {
            region: cluster.region().clone(),
            source: rescue.identifier.clone(),
            target: copy_name(&rescue.identifier),
        })),
    };
    (found, rescue.cloned())
}

/// Tells people, each topic once, where the snapshot is about to be deleted and is not copied (FAULTS.md 63).
async fn warn(
    context: &Context,
    key: &(RunId, StepId),
    deferred: &Deferred,
    rescue: &DbSnapshot,
) -> Result<(), CommitError<()>> {
    const DAY: Duration = Duration::from_hours(24);
    let untold: Vec<_> = context.application.topics.iter().filter(|t| !deferred.warned.contains(&t.arn)).collect();
    let Some(created_at) = rescue.created_at.filter(|_| !untold.is_empty()) else { return Ok(()) };
    let Work::PreserveSnapshot { cluster, .. } = &deferred.work else { return Ok(()) };
    let age = Duration::try_from(context.clock.wall().duration_since(created_at)).unwrap_or_default();
    // The shortest that is possible, until it is near: it is asked for then only.
    if age < DAY - warns_before(DAY) {
        return Ok(());
    }
    // Where RDS does not say for how long, the shortest counts.
    let days = context.cloud.db_cluster(cluster).await.ok().and_then(|c| c.backup_retention_days);
    let retention = DAY * days.unwrap_or(1);
    if age + warns_before(retention) < retention {
        return Ok(());
    }
    let name = &context.application.name;
    let known = days.map_or_else(|| "a day or more: RDS does not say".to_owned(), |days| format!("{days} day(s)"));
    let message = format!(
        "{name}: {} in {} is not copied yet. It was taken at {created_at}, and is kept for {known} after that; with it goes \
         what the old writer held and nobody else does. See /runs/{} for what the copy waits for, or copy it by hand \
         (rds:CopyDBClusterSnapshot).",
        rescue.identifier,
        cluster.region(),
        key.0
    );
    let subject: String = format!("{WARNING}: {name}").chars().take(99).collect();
    for topic in untold {
        let (region, topic_arn) = (topic.region.clone(), topic.arn.clone());
        let (subject, message) = (subject.clone(), message.clone());
        // One that is lost is not sent again: at most once each.
        call(context, key, &Mutation::Publish { region, topic_arn, subject, message }).await?;
    }
    Ok(())
}

/// The snapshot that Aurora took of what the old writer held in a failover that began at `since`, and the copy of it, where
/// they are listed. With `was_asked` a copy stands for itself: its snapshot may be gone meanwhile.
pub(super) fn rescue_and_copy(
    snapshots: &[DbSnapshot],
    since: Timestamp,
    was_asked: bool,
) -> (Option<&DbSnapshot>, Option<&DbSnapshot>) {
    let earliest = since.checked_sub(EARLIER).unwrap_or(since);
    let ours = |s: &&DbSnapshot| {
        s.identifier.starts_with(RESCUE_PREFIX) && s.created_at.is_none_or(|created| earliest <= created)
    };
    // The first after the failover is what the old writer held.
    let rescue = snapshots.iter().filter(ours).min_by(|a, b| a.identifier.cmp(&b.identifier));
    let mut copies = snapshots.iter().filter(|s| s.identifier.starts_with(COPY_PREFIX));
    let of_rescue = |s: &&DbSnapshot| rescue.is_some_and(|r| s.identifier == copy_name(&r.identifier));
    let alone = |s: &&DbSnapshot| was_asked && s.created_at.is_some_and(|created| since <= created);
    let copy = copies.clone().find(of_rescue).or_else(|| copies.find(alone));
    (rescue, copy)
}

/// The work on the rescue snapshot of `cluster`, oldest first.
pub(super) fn work_on<'a>(
    history: &'a History,
    cluster: &'a ClusterArn,
) -> impl Iterator<Item = (&'a (RunId, StepId), &'a Deferred)> {
    let is_of = |d: &Deferred| match &d.work {
        Work::PreserveSnapshot { cluster: of, .. } => of == cluster,
        Work::MendFault { .. } => false,
    };
    let mut of: Vec<_> = history.deferred.iter().filter(|(_, d)| is_of(d)).collect();
    of.sort_by_key(|(_, d)| d.since);
    of.into_iter()
}

/// The work that a step leaves open when it is done; `None`: none, or another step has left it already. Of a salvage it is
/// the work of the failover that it reconciles.
pub(super) fn opened(history: &History, run: &RunState, action: &Action) -> Option<Work> {
    let Action::AuroraPreserveSnapshot { store, cluster, within } = action else { return None };
    let failover = run.plan.reconciles.as_ref().and_then(|id| history.runs.get(id));
    let since = failover.map_or(run.started_at, |failover| failover.started_at);
    let stands = |d: &Deferred| since <= d.since && matches!(d.state, State::Open | State::Done { .. });
    if failover.is_some() && work_on(history, cluster).any(|(_, d)| stands(d)) {
        return None;
    }
    Some(Work::PreserveSnapshot { store: store.clone(), cluster: cluster.clone(), since, within: *within })
}

fn copied(cluster: &ClusterArn, copy: &DbSnapshot) -> Found {
    if copy.status != "available" {
        return Found::Waits { why: format!("the copy {} is {}", copy.identifier, copy.status) };
    }
    let evidence = format!("{} in {} is available, and no retention deletes it", copy.identifier, cluster.region());
    Found::Done { evidence: vec![evidence] }
}

/// Tells people, each topic once, and ends it.
async fn expire(context: &Context, key: &(RunId, StepId), why: &str) -> Result<(), CommitError<()>> {
    let Some(deferred) = newest(context, key) else { return Ok(()) };
    let name = &context.application.name;
    let within = to_seconds(deferred.work.within());
    let (given_up, to_do) = deferred.work.given_up();
    for topic in context.application.topics.iter().filter(|topic| !deferred.told.contains(&topic.arn)) {
        let message =
            format!("{name}: nobody could {} within {within} s of {}: {why}. {to_do}", deferred.work.describe(), key.0);
        let subject: String = format!("{name}: {given_up}").chars().take(99).collect();
        let (region, topic_arn) = (topic.region.clone(), topic.arn.clone());
        // One that is lost is not sent again: at most once each.
        call(context, key, &Mutation::Publish { region, topic_arn, subject, message }).await?;
    }
    end(context, key, Ending::Expired { why: format!("not within {within} s: {why}") }).await
}

/// Intent, call, answer; `None` where the daemon stops or the work is over meanwhile.
async fn call(
    context: &Context,
    key: &(RunId, StepId),
    mutation: &Mutation,
) -> Result<Option<Outcome>, CommitError<()>> {
    let committed = context.scribe.commit(|history, at| {
        let attempt = history.deferred.get(key).filter(|d| d.is_open()).map(|d| d.attempts + 1).ok_or(())?;
        let (run, step) = (key.0.clone(), key.1.clone());
        Ok((vec![Event::DeferredIntended { run, step, attempt, mutation: mutation.clone() }], (attempt, at)))
    });
    let (attempt, intended_at) = match committed.await {
        Ok(intended) => intended,
        Err(CommitError::Refused(())) => return Ok(None),
        Err(error) => return Err(error),
    };
    let outcome = match context.stopping.is_cancelled() {
        true => Outcome::NotSent { reason: "the daemon was stopping".to_owned() },
        false => {
            let (run, step) = (key.0.clone(), key.1.clone());
            let behalf = Behalf { run, step, way: Way::After, call: Some((attempt, 0)) };
            on_behalf(behalf, context.apply(mutation, intended_at)).await
        }
    };
    tracing::info!(application = %context.application.name, run = %key.0, step = %key.1, operation = %mutation.operation(), ?outcome, "call of deferred work ended");
    answer(context, key, attempt, outcome.clone()).await?;
    Ok(Some(outcome))
}

async fn answer(
    context: &Context,
    key: &(RunId, StepId),
    attempt: u32,
    outcome: Outcome,
) -> Result<(), CommitError<()>> {
    let (run, step) = (key.0.clone(), key.1.clone());
    context.scribe.commit(|_, _| Ok::<_, ()>((vec![Event::DeferredAnswered { run, step, attempt, outcome }], ()))).await
}

async fn end(context: &Context, key: &(RunId, StepId), ending: Ending) -> Result<(), CommitError<()>> {
    tracing::info!(application = %context.application.name, run = %key.0, step = %key.1, ?ending, "deferred work is over");
    context.waits.forget(&key.0, &key.1);
    let (run, step) = (key.0.clone(), key.1.clone());
    let is_open = |history: &History| history.deferred.get(key).is_some_and(Deferred::is_open);
    let ended = context.scribe.commit(|history, _| match is_open(history) {
        true => Ok((vec![Event::DeferredEnded { run, step, ending }], ())),
        false => Err(()),
    });
    match ended.await {
        Err(CommitError::Refused(())) => Ok(()),
        other => other,
    }
}

fn newest(context: &Context, key: &(RunId, StepId)) -> Option<Deferred> {
    context.scribe.history().deferred.get(key).filter(|d| d.is_open()).cloned()
}
