//! Whether this replica may act for one application at this moment: what its lease leaves room for.
//!
//! Invariant: it answers from the boot clock and the last renewal that was answered, and from nothing that would have to
//! be asked. Without a shared store there is no lease, and always room: the store's own lock keeps others out.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{domain::lease::Tenure, engine::newest::Newest, ports::Clock};

/// See the module. Cheap to clone; every clone is the same one.
#[derive(Debug, Clone)]
pub struct Tenancy(Option<Shared>);

#[derive(Debug, Clone)]
struct Shared {
    tenure: Newest<Tenure>,
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
        Self(Some(Shared { tenure: Newest::new(tenure), call_within }))
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

    /// Whether a call that is begun at the boot time `now` ends before the lease does.
    pub fn has_room(&self, now: Duration) -> bool {
        self.0.as_ref().is_none_or(|shared| shared.tenure.get().covers(now, shared.call_within))
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
