//! What goes wrong with single calls below the port, and moments at which a call stands still so that a test can
//! kill the engine exactly there. Faults are used up in the order in which they were armed.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use crate::domain::id::Region;

/// What goes wrong with one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing arrives, and the caller gets no answer: outcome unknown, without effect.
    LoseBefore,
    /// The call has its effect, and the answer is lost: outcome unknown.
    LoseAfter,
    /// The call arrives nowhere and the caller waits until its timeout.
    Hang,
    /// No connection: the call was certainly not sent.
    Refuse,
    /// The service refuses with this code (400), without effect.
    Reject(&'static str),
    /// A read answers what it answered before the last mutation; a mutation is not concerned.
    StaleRead,
    /// The call stands still for ever at this moment, and [`Faults::frozen`] completes.
    Freeze(Moment),
}

/// Before or after a call has its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    Before,
    After,
}

#[derive(Debug)]
struct Armed {
    operation: String,
    region: Option<Region>,
    fault: Fault,
}

#[derive(Debug, Default)]
struct State {
    armed: VecDeque<Armed>,
    /// Freezes the mutation with this number, counted from 0 over all operations.
    freeze: Option<(u64, Moment)>,
    mutations: u64,
}

/// The faults that are armed; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    state: Arc<Mutex<State>>,
    frozen: CancellationToken,
}

impl Faults {
    /// The next call of `operation` (as in [`crate::domain::cloud::Mutation::operation`], or
    /// `rds:DescribeGlobalClusters` and the like) meets `fault`.
    pub fn arm(&self, operation: &str, fault: Fault) {
        self.arm_in(operation, None, fault);
    }

    /// The same, in one Region only.
    pub fn arm_in(&self, operation: &str, region: Option<&Region>, fault: Fault) {
        self.lock().armed.push_back(Armed { operation: operation.to_owned(), region: region.cloned(), fault });
    }

    /// Mutation number `index` (from 0, whatever its operation) stands still at `moment`.
    pub fn freeze_mutation(&self, index: u64, moment: Moment) {
        self.lock().freeze = Some((index, moment));
    }

    /// How many mutations were attempted so far.
    pub fn mutations(&self) -> u64 {
        self.lock().mutations
    }

    /// Completes when a call stands still.
    pub async fn frozen(&self) {
        self.frozen.cancelled().await;
    }

    pub(super) fn take(&self, operation: &str, region: Option<&Region>) -> Option<Fault> {
        self.take_where(operation, region, |fault| *fault != Fault::StaleRead)
    }

    /// Whether this read is to answer what it answered before.
    pub(super) fn take_stale(&self, operation: &str, region: &Region) -> bool {
        self.take_where(operation, Some(region), |fault| *fault == Fault::StaleRead).is_some()
    }

    fn take_where(&self, operation: &str, region: Option<&Region>, wanted: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let mut state = self.lock();
        let meant = |a: &Armed| {
            a.operation == operation && (a.region.is_none() || a.region.as_ref() == region) && wanted(&a.fault)
        };
        let index = state.armed.iter().position(meant)?;
        state.armed.remove(index).map(|a| a.fault)
    }

    /// The fault of the next mutation, which is counted.
    pub(super) fn take_for_mutation(&self, operation: &str, region: Option<&Region>) -> Option<Fault> {
        let frozen = {
            let mut state = self.lock();
            let index = state.mutations;
            state.mutations += 1;
            state.freeze.filter(|(n, _)| *n == index)
        };
        match frozen {
            Some((_, moment)) => Some(Fault::Freeze(moment)),
            None => self.take(operation, region),
        }
    }

    /// Stands still for ever.
    pub(super) async fn freeze(&self) -> ! {
        self.frozen.cancel();
        std::future::pending().await
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
