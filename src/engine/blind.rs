//! A last look that saw nothing, at one of several replicas: nothing is sent, and whoever sees more has the work
//! (FAULTS.md 22).
//!
//! Invariants: nothing has left, and the journal says so, before anything is given up. A lease is given up once for an
//! attempt, by the replica that wrote it: whoever takes over and is as blind waits for the step's own deadline, and holds
//! the run then. So replicas that are all cut off do not hand the work round.
//!
//! It deliberately does not look for the reason: a replica that is cut off, an endpoint that is down and two readings that
//! do not agree are the same from here. One that passes within the backoff moves nothing.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use crate::{
    domain::{
        cloud::Outcome,
        id::{RunId, StepId},
    },
    engine::{
        effect,
        step::{Driver, Stop},
    },
};

/// The attempts whose last look, here, saw nothing. Bounded by the attempts of the runs of one leader.
#[derive(Debug, Default)]
pub(super) struct Blind(Mutex<BTreeSet<(RunId, StepId, u32)>>);

/// Records that call number `call` of an attempt was not sent, since whether it may be cannot be told now.
pub(super) async fn unsent(driver: &Driver, attempt: u32, call: u32, why: &str) -> Result<(), Stop> {
    let reason = format!("whether it may be sent could not be told at the last moment: {why}");
    driver.record(vec![effect::answered(driver, attempt, call, Outcome::NotSent { reason })]).await?;
    let blind = &driver.context.blind.0;
    let what = (driver.run.clone(), driver.step.id.clone(), attempt);
    blind.lock().unwrap_or_else(PoisonError::into_inner).insert(what);
    Ok(())
}

/// Gives the lease up where an attempt that was not sent for its last look cannot be tried again either.
pub(super) fn yields(driver: &Driver, attempt: u32, why: &str) -> Result<(), Stop> {
    let what = (driver.run.clone(), driver.step.id.clone(), attempt);
    if !driver.context.blind.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&what) {
        return Ok(());
    }
    driver.context.tenancy.give_up(format!("{} of {} cannot go on from here: {why}", driver.step.id, driver.run));
    Err(Stop::Yield)
}
