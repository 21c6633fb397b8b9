//! Whether this replica may act for one application at this moment: what its lease leaves room for.
//!
//! Invariant: it answers from the boot clock and the last renewal that was answered, and from nothing that would have to
//! be asked. Without a shared store there is no lease, and always room: the store's own lock keeps others out.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        lease::Tenure,
        sabotage::{Guard, is_off},
    },
    engine::newest::Newest,
    ports::Clock,
};

/// See the module. Cheap to clone; every clone is the same one.
#[derive(Debug, Clone)]
pub struct Tenancy(Option<Shared>);

#[derive(Debug, Clone)]
struct Shared {
    tenure: Newest<Tenure>,
    /// Why this replica should leave the work to another one.
    given_up: Newest<Option<String>>,
    /// How long a call may take.
    call_within: Duration,
}

impl Tenancy {
    /// Of the only replica.
    pub fn alone() -> Self {
        Self(None)
    }

    /// Of a replica among others, whose calls end within `call_within`.
    pub fn shared(tenure: Tenure, call_within: Duration) -> Self {
        Self(Some(Shared { tenure: Newest::new(tenure), given_up: Newest::new(None), call_within }))
    }

    pub fn is_shared(&self) -> bool {
        self.0.is_some()
    }

    /// The lease was renewed.
    pub fn renewed(&self, tenure: Tenure) {
        if let Some(shared) = &self.0 {
            shared.tenure.set(tenure);
        }
    }

    /// This replica cannot go on, and another one perhaps can. Without a shared store there is none.
    pub fn give_up(&self, why: String) {
        if let Some(shared) = &self.0 {
            shared.given_up.set(Some(why));
        }
    }

    /// Completes when the work was given up, with the reason.
    pub async fn given_up(&self) -> String {
        let Some(shared) = &self.0 else { return std::future::pending().await };
        let mut changes = shared.given_up.changes();
        loop {
            if let Some(why) = changes.take() {
                return why;
            }
            changes.changed().await;
        }
    }

    /// Whether a call that is begun at the boot time `now` ends before the lease does.
    pub fn has_room(&self, now: Duration) -> bool {
        let covered = |shared: &Shared| shared.tenure.get().covers(now, shared.call_within);
        self.0.as_ref().is_none_or(covered) || is_off(Guard::AfterTheLease)
    }

    /// Completes when there is room for a call and for looking before it, or when there will be none any more.
    pub async fn room(&self, clock: &dyn Clock, stopping: &CancellationToken) {
        let Some(shared) = &self.0 else { return };
        let mut changes = shared.tenure.changes();
        loop {
            let (tenure, now) = (changes.take(), clock.boot());
            if tenure.is_over(now) || tenure.covers(now, shared.call_within) || stopping.is_cancelled() {
                return;
            }
            tokio::select! {
                biased;
                () = stopping.cancelled() => return,
                () = changes.changed() => {}
                () = clock.sleep(tenure.ends_at().saturating_sub(now)) => {}
            }
        }
    }
}
