//! Salvages: for which failover one is, what one needs before it may begin, and what waits until one is signed.
//!
//! Invariants: a salvage stands in nobody's way: whatever moves the application takes its place at once (S1). Nothing planned
//! leads to a Region that a failover has left with writes which nobody has reconciled (FAULTS.md 62); a failover does, since
//! the emergency wins.

use std::time::Duration;

use crate::{
    domain::{
        application::Application,
        cloud::ObserveError,
        history::History,
        id::{Region, RunId},
        plan::Purpose,
        run::RunState,
        sabotage::{Guard, is_off},
        salvage::{self, Salvage},
    },
    engine::{context::Context, control::Refusal, denial::Denial, look::Look},
};

mod conflicts;
mod objects;
mod snapshot;

/// Between two looks: what is waited for takes minutes.
const PAUSE: Duration = Duration::from_secs(30);

/// The failover that is to be reconciled: the one that is `named`, or the newest that left writes which nobody has
/// reconciled.
pub(super) fn failover(app: &Application, history: &History, named: Option<&RunId>) -> Result<RunId, Refusal> {
    let Some(id) = named else {
        let newest = salvage::newest_open(app, history).map(|run| run.id.clone());
        return newest.ok_or_else(|| Refusal::NothingToSalvage {
            why: format!("no failover of {} has left writes that nobody has reconciled", app.name),
        });
    };
    let run = history.runs.get(id).ok_or_else(|| Refusal::UnknownRun(id.clone()))?;
    if !salvage::left_writes(app, run) {
        let why = format!("{id} is a {} that left no writes behind: it forced nothing", run.plan.purpose);
        return Err(Refusal::NothingToSalvage { why });
    }
    Ok(id.clone())
}

/// From where to where the failover led: what it left is looked at in the one, and the other has taken over.
pub(super) fn ends(app: &Application, history: &History, failover: &RunId) -> Result<(Region, Region), Refusal> {
    let run = history.runs.get(failover).ok_or_else(|| Refusal::UnknownRun(failover.clone()))?;
    let (source, target) = (&run.plan.source, &run.plan.target);
    match [source, target].into_iter().find(|region| !app.regions.contains(region)) {
        None => Ok((source.clone(), target.clone())),
        Some(gone) => Err(Refusal::NothingToSalvage {
            why: format!("{failover} led from {source} to {target}, and {gone} is no Region of {} any more", app.name),
        }),
    }
}

/// Whether a run of `purpose` may lead to `target` now.
pub(super) fn admitted(app: &Application, history: &History, purpose: Purpose, target: &Region) -> Result<(), Refusal> {
    match purpose {
        Purpose::Failover | Purpose::Salvage => Ok(()),
        Purpose::Switchover | Purpose::Failback | Purpose::Drill => match salvage::unreconciled(app, history, target) {
            Some(run) if !is_off(Guard::Unreconciled) => {
                Err(Refusal::Unreconciled { run: run.id.clone(), region: target.clone() })
            }
            Some(_) | None => Ok(()),
        },
    }
}

/// A salvage that is under way, where a run of `purpose` takes its place.
pub(super) fn yields(active: &RunState, purpose: Purpose) -> Result<RunId, Refusal> {
    match purpose {
        Purpose::Failover | Purpose::Switchover | Purpose::Failback => Ok(active.id.clone()),
        Purpose::Drill | Purpose::Salvage => Err(Refusal::AlreadyRunning {
            run: active.id.clone(),
            purpose: active.request.purpose,
            escalate: "watch it, sign it, or abort it".to_owned(),
        }),
    }
}

/// What a read that failed comes to: a fact, or something to wait for.
fn unread(operation: &str, region: &Region, error: &ObserveError) -> Look {
    match Denial::of(operation, Some(region), error) {
        Some(denial) => Look::Refused { code: denial.code, why: denial.why },
        None => not_yet(format!("{region} cannot be asked ({operation}): {error}")),
    }
}

fn not_yet(why: String) -> Look {
    Look::NotYet { why, pause: PAUSE }
}

/// Looks once at what `run`, a salvage, is to tell.
pub(super) async fn look(context: &Context, run: &RunState, what: &Salvage) -> Look {
    let history = context.scribe.history();
    let Some(failover) = run.plan.reconciles.as_ref().and_then(|id| history.runs.get(id)) else {
        let why = "the failover that it is to reconcile is not in the journal".to_owned();
        return Look::Refused { code: "salvage-refused", why };
    };
    match what {
        Salvage::Snapshot { store, cluster } => snapshot::look(context, failover, store, cluster).await,
        Salvage::Conflicts { table, region, latency, .. } => {
            conflicts::look(context, failover, table, region, latency).await
        }
        Salvage::Objects { bucket, region, before, .. } => {
            objects::look(context, failover, (region, bucket), *before).await
        }
    }
}
