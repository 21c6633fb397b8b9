//! Carrying an application's run forward: fold, next, act, until there is nothing left to do.
//!
//! Start-up, steady state and recovery are this one loop. It contains no policy: the plan left none to choose.

use std::collections::{BTreeMap, BTreeSet};

use tokio::task::JoinSet;

use crate::{
    domain::{
        id::{RunId, StepId},
        journal::Event,
        recovery,
        run::{Next, RunResult},
    },
    engine::{
        aurora, budget,
        context::Context,
        scribe::{CommitError, Fatal},
        step::{Driver, Stop, Way},
    },
};

/// Runs until the daemon stops and every step that was being driven has come to a safe point.
pub async fn execute(context: Context, fatal: std::sync::Arc<Fatal>) {
    let mut driven: JoinSet<((RunId, StepId), Result<(), Stop>)> = JoinSet::new();
    let mut under_way: BTreeSet<(RunId, StepId)> = BTreeSet::new();
    // Where the journal ended when a step was last driven: one that yielded is not driven again before it has moved.
    let mut driven_at: BTreeMap<(RunId, StepId), u64> = BTreeMap::new();
    let mut changes = context.scribe.changes();
    loop {
        let history = changes.take();
        if let Some(run) = history.active_run()
            && !context.stopping.is_cancelled()
        {
            if let Some(exceeded) = budget::exceeded(&context, run) {
                budget::go_home(&context, exceeded, &fatal).await;
                continue;
            }
            match run.next() {
                Next::Drive(steps) => {
                    for id in steps {
                        let key = (run.id.clone(), id);
                        let tail = history.tail.next_seq;
                        if driven_at.get(&key) == Some(&tail) || under_way.contains(&key) {
                            continue;
                        }
                        let Some(step) = run.plan.step(&key.1).cloned() else {
                            continue;
                        };
                        let way = if run.goes_back(&key.1) { Way::Back } else { Way::Forth };
                        under_way.insert(key.clone());
                        driven_at.insert(key.clone(), tail);
                        let driver = Driver { context: context.clone(), run: run.id.clone(), step, way };
                        driven.spawn(async move { (key, driver.drive().await) });
                    }
                }
                Next::Finish { result, reason } if under_way.iter().all(|(id, _)| *id != run.id) => {
                    driven_at.clear();
                    finish(&context, &run.id.clone(), result, reason, &fatal).await;
                    continue;
                }
                Next::Hold { step, code, reason, waits_for } => {
                    let (run, step, code) = (run.id.clone(), Some(step), code.to_owned());
                    hold(&context, Event::RunHeld { run, step, code, reason, waits_for }, &fatal).await;
                    continue;
                }
                Next::Finish { .. } | Next::Wait => {}
            }
        }
        if driven.is_empty() && context.stopping.is_cancelled() {
            return;
        }
        let spends = !context.stopping.is_cancelled() && history.active_run().is_some_and(budget::is_spent);
        tokio::select! {
            biased;
            () = context.stopping.cancelled(), if !context.stopping.is_cancelled() => {}
            // Before the changes, which the loop reads in any case: a step that ended may be driven again by them.
            Some(ended) = driven.join_next(), if !driven.is_empty() => match ended {
                Ok((key, Ok(()))) => {
                    under_way.remove(&key);
                }
                // The journal moved under the driver, or the run is held, or everything stops.
                Ok((key, Err(Stop::Yield))) => {
                    under_way.remove(&key);
                }
                Ok((_, Err(Stop::Broken(reason)))) => fatal.raise(reason),
                // A panic in the engine: half-alive is worse than dead (FAULTS.md 9).
                Err(panicked) => std::panic::resume_unwind(Box::new(format!("a step's driver panicked: {panicked}"))),
            },
            () = changes.changed() => {}
            () = context.clock.sleep(aurora::POLL), if spends => {}
        }
    }
}

/// Holds a run that cannot go on, where that is still so.
async fn hold(context: &Context, held: Event, fatal: &Fatal) {
    let committed = context.scribe.commit(|history, _| {
        let run = held.run().and_then(|id| history.runs.get(id));
        run.filter(|r| matches!(r.next(), Next::Hold { .. })).ok_or(())?;
        Ok::<_, ()>((vec![held.clone()], ()))
    });
    match committed.await {
        Ok(()) | Err(CommitError::Refused(())) => {}
        Err(error) => fatal.raise(error.to_string()),
    }
}

async fn finish(context: &Context, run: &RunId, result: RunResult, reason: String, fatal: &Fatal) {
    let finished = context
        .scribe
        .commit(|history, _| {
            let state = history.runs.get(run).filter(|r| matches!(r.next(), Next::Finish { .. })).ok_or(())?;
            let loss = recovery::loss(state, context.trail.of(&state.plan.source));
            Ok::<_, ()>((vec![Event::RunFinished { run: run.clone(), result, reason, loss }], ()))
        })
        .await;
    match finished {
        Ok(()) => {
            tracing::info!(%run, application = %context.application.name, ?result, "run finished")
        }
        // It is not finished any more (resumed in between): the loop looks again.
        Err(CommitError::Refused(())) => {}
        Err(error) => fatal.raise(error.to_string()),
    }
}
