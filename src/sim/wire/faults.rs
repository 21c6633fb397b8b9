//! Faults of the wire that no plane has: answers that are lost, calls that hang, one refusal at the right moment;
//! and barriers, at which the server waits so that a test can kill the daemon exactly there.
//!
//! Faults are consumed in the order in which they were armed.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// What goes wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// The connection is cut before the call has any effect.
    ReplyLostBefore,
    /// The call has its effect; the connection is cut instead of the answer.
    ReplyLostAfter,
    /// The call is accepted, has no effect, and is never answered.
    Hang,
    /// The call is refused with this status, without effect.
    Status { status: u16 },
    /// The call is refused with the service's throttling error.
    Throttle,
    /// The call waits this long, in milliseconds of wall time, and goes on.
    DelayMs { ms: u64 },
}

/// Which calls are meant; what is absent matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The signing name: rds, route53, monitoring, sns, route53-recovery-cluster.
    #[serde(default)]
    pub service: Option<String>,
    #[serde(default)]
    pub operation: Option<String>,
    #[serde(default)]
    pub region: Option<String>,
}

impl Target {
    fn matches(&self, service: &str, operation: &str, region: &str) -> bool {
        let same = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|w| w == is);
        same(&self.service, service) && same(&self.operation, operation) && same(&self.region, region)
    }
}

#[derive(Debug)]
struct Armed {
    target: Target,
    fault: Fault,
    left: u32,
}

/// The faults that are armed; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<VecDeque<Armed>>>);

impl Faults {
    /// Arms `fault` for the next `times` calls that match.
    pub fn arm(&self, target: Target, fault: Fault, times: u32) {
        self.armed().push_back(Armed { target, fault, left: times });
    }

    /// Disarms everything.
    pub fn clear(&self) {
        self.armed().clear();
    }

    /// How many calls are still to be hit.
    pub fn left(&self) -> u32 {
        self.armed().iter().map(|a| a.left).sum()
    }

    /// Takes the first fault armed for such a call.
    pub(super) fn take(&self, service: &str, operation: &str, region: &str) -> Option<Fault> {
        let mut armed = self.armed();
        let hit = armed.iter_mut().find(|a| a.left != 0 && a.target.matches(service, operation, region))?;
        hit.left -= 1;
        let fault = hit.fault;
        armed.retain(|a| a.left != 0);
        Some(fault)
    }

    fn armed(&self) -> MutexGuard<'_, VecDeque<Armed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where in a mutating call the server waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    /// The request has arrived whole; nothing has happened yet.
    BeforeEffect,
    /// The effect has happened; the client does not know.
    AfterEffectBeforeAnswer,
    /// The answer has been handed to the network; every later call waits until the release.
    AfterAnswer,
}

/// A place at which the next matching mutation stops, and whether one has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Barrier {
    pub id: u64,
    pub target: Target,
    pub point: Point,
    /// A call stands here.
    pub reached: bool,
    /// A call has claimed it; at `AfterAnswer` its answer may still be on its way out.
    #[serde(skip)]
    claimed: bool,
}

/// How a call that stood at a barrier goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// As if nothing had been, also where its client is gone by now: AWS does not notice that.
    GoOn,
    /// The call is lost at this point, as if the network had swallowed it or its answer.
    Drop,
}

#[derive(Debug, Default)]
struct BarrierState {
    set: Vec<Barrier>,
    dropped: BTreeSet<u64>,
}

/// The barriers that are set; clones share them.
#[derive(Debug, Clone)]
pub struct Barriers {
    state: Arc<watch::Sender<BarrierState>>,
    next: Arc<AtomicU64>,
}

impl Default for Barriers {
    fn default() -> Self {
        Self { state: Arc::new(watch::Sender::new(BarrierState::default())), next: Arc::default() }
    }
}

impl Barriers {
    /// Sets a barrier for the next mutation that matches.
    pub fn set(&self, target: Target, point: Point) -> u64 {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.state.send_modify(|state| {
            state.set.push(Barrier { id, target, point, reached: false, claimed: false });
        });
        id
    }

    /// The barriers that are set and not released.
    pub fn list(&self) -> Vec<Barrier> {
        self.state.borrow().set.clone()
    }

    /// Waits until a call stands at a barrier, or `limit` has passed; then the barriers as they are.
    pub async fn wait_reached(&self, limit: Duration) -> Vec<Barrier> {
        let mut state = self.state.subscribe();
        let reached = state.wait_for(|state| state.set.iter().any(|b| b.reached));
        // Not to have arrived is an answer too: the caller sees it in `reached`.
        let _ = tokio::time::timeout(limit, reached).await;
        self.list()
    }

    /// Removes a barrier, and lets whoever stands at it go on or be lost; whether there was one.
    pub fn release(&self, id: u64, how: Release) -> bool {
        self.state.send_if_modified(|state| {
            let before = state.set.len();
            state.set.retain(|b| b.id != id);
            let found = state.set.len() < before;
            if found && how == Release::Drop {
                state.dropped.insert(id);
            }
            found
        })
    }

    /// Removes all barriers.
    pub fn release_all(&self) {
        self.state.send_modify(|state| state.set.clear());
    }

    /// Claims a barrier for a call that is at `point`. At `AfterAnswer` it is [`Barriers::arrive`] that
    /// says that the point is reached, and later calls wait from now on.
    pub(super) fn claim(&self, point: Point, (service, operation, region): (&str, &str, &str)) -> Option<u64> {
        let mut claimed = None;
        self.state.send_if_modified(|state| {
            let hit = state
                .set
                .iter_mut()
                .find(|b| !b.claimed && b.point == point && b.target.matches(service, operation, region));
            if let Some(barrier) = hit {
                barrier.claimed = true;
                barrier.reached = point != Point::AfterAnswer;
                claimed = Some(barrier.id);
            }
            claimed.is_some()
        });
        claimed
    }

    /// The call that claimed barrier `id` now stands there.
    pub(super) fn arrive(&self, id: u64) {
        self.state.send_modify(|state| {
            for barrier in state.set.iter_mut().filter(|b| b.id == id) {
                barrier.reached = true;
            }
        });
    }

    /// Waits until barrier `id` is released, and how.
    pub(super) async fn released(&self, id: u64) -> Release {
        let mut state = self.state.subscribe();
        let gone = state.wait_for(|state| state.set.iter().all(|b| b.id != id));
        // The sender lives in `self`, so that this ends only by release.
        match gone.await {
            Ok(state) if state.dropped.contains(&id) => Release::Drop,
            _ => Release::GoOn,
        }
    }

    /// Waits while some call has been answered at an `AfterAnswer` barrier that is not released.
    pub(super) async fn open(&self) {
        let mut state = self.state.subscribe();
        let closed = |b: &Barrier| b.claimed && b.point == Point::AfterAnswer;
        let _ = state.wait_for(|state| !state.set.iter().any(closed)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_hits_as_many_matching_calls_as_it_was_armed_for() {
        let faults = Faults::default();
        let target = Target { operation: Some("FailoverGlobalCluster".to_owned()), ..Target::default() };
        faults.arm(target, Fault::ReplyLostAfter, 2);
        let take = |operation| faults.take("rds", operation, "us-west-2");
        assert_eq!(take("DescribeEvents"), None);
        assert_eq!(take("FailoverGlobalCluster"), Some(Fault::ReplyLostAfter));
        assert_eq!(take("FailoverGlobalCluster"), Some(Fault::ReplyLostAfter));
        assert_eq!(take("FailoverGlobalCluster"), None);
    }

    #[tokio::test]
    async fn a_call_waits_at_its_barrier_until_it_is_released() {
        let barriers = Barriers::default();
        let id = barriers.set(Target::default(), Point::BeforeEffect);
        let call = ("rds", "FailoverGlobalCluster", "us-west-2");
        assert_eq!(barriers.claim(Point::AfterAnswer, call), None);
        assert_eq!(barriers.claim(Point::BeforeEffect, call), Some(id));
        let waiting = tokio::spawn({
            let barriers = barriers.clone();
            async move { barriers.released(id).await }
        });
        assert!(barriers.wait_reached(Duration::from_secs(5)).await[0].reached);
        assert!(barriers.release(id, Release::Drop));
        assert_eq!(waiting.await.expect("released"), Release::Drop);
    }
}
