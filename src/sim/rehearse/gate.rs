//! A gate between one replica and everything outside of it: what it sends and takes in stands still, is lost, or strikes
//! it down, as it is told.
//!
//! Invariants: a process that stands still does nothing: its sleeps do not end, and what it would send waits here; what
//! has left goes on without it. A call has left when it is through the gate, whatever becomes of it then. It draws
//! nothing: what happens is armed from outside.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use crate::{
    domain::cloud::Mutation,
    sim::faults::{Around, Deed},
};

/// What of a replica's ways is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// What it asks of the store does not arrive.
    Requests,
    /// What it asks of the store is done, and no answer comes back.
    Answers,
    /// All but the store.
    Aws,
    /// Calls that change something stand still right before they leave.
    Effects,
}

/// What is cut of one replica's ways, by who cut it: it outlives the replica's processes.
#[derive(Debug, Clone, Default)]
pub struct Ways(Arc<(Mutex<BTreeMap<usize, Cut>>, Notify)>);

impl Ways {
    pub fn cut(&self, by: usize, cut: Cut) {
        lock(&self.0.0).insert(by, cut);
        self.0.1.notify_waiters();
    }

    pub fn mend(&self, by: usize) {
        lock(&self.0.0).remove(&by);
        self.0.1.notify_waiters();
    }

    pub(super) fn is_cut(&self, cut: Cut) -> bool {
        lock(&self.0.0).values().any(|other| *other == cut)
    }
}

/// What waits for a replica to do something.
#[derive(Debug, Clone, Copy)]
pub struct Snare {
    /// `None`: whichever replica comes first.
    pub of: Option<u32>,
    pub around: Around,
    /// The deed of this number, counted over all replicas; `None`: the first.
    pub number: Option<u64>,
}

#[derive(Debug, Default)]
struct Set {
    snares: BTreeMap<usize, Snare>,
    done: BTreeMap<Deed, u64>,
    struck: Vec<(usize, u32)>,
}

/// Every snare of a rehearsal.
#[derive(Debug, Clone, Default)]
pub struct Snares(Arc<Mutex<Set>>);

impl Snares {
    pub fn set(&self, by: usize, snare: Snare) {
        lock(&self.0).snares.insert(by, snare);
    }

    /// Nothing where it has sprung already.
    pub fn take_back(&self, by: usize) {
        lock(&self.0).snares.remove(&by);
    }

    /// How often that was begun.
    pub(super) fn done(&self, deed: Deed) -> u64 {
        lock(&self.0).done.get(&deed).copied().unwrap_or_default()
    }

    /// Those that have sprung since the last time, each with the replica that now stands still in it.
    pub(super) fn struck(&self) -> Vec<(usize, u32)> {
        std::mem::take(&mut lock(&self.0).struck)
    }

    /// Begins a deed; its number.
    fn count(&self, deed: Deed) -> u64 {
        let mut set = lock(&self.0);
        let count = set.done.entry(deed).or_default();
        *count += 1;
        *count - 1
    }

    /// Whether a snare springs here.
    fn springs(&self, replica: u32, around: Around, number: u64) -> bool {
        let mut set = lock(&self.0);
        let fits = |snare: &Snare| {
            snare.around == around
                && snare.of.is_none_or(|of| of == replica)
                && snare.number.is_none_or(|n| n == number)
        };
        let Some(by) = set.snares.iter().find(|(_, snare)| fits(snare)).map(|(by, _)| *by) else { return false };
        set.snares.remove(&by);
        set.struck.push((by, replica));
        true
    }
}

/// Who is told what goes through a gate.
pub trait Keeper: Send + Sync {
    /// A call that changes something leaves.
    fn leaves(&self, mutation: &Mutation);

    /// Whether another replica has taken the application over.
    fn is_deposed(&self, holder: &str) -> bool;

    /// Faults of FAULTS.md that were met here.
    fn met(&self, numbers: &[u8]);
}

#[derive(Default)]
struct State {
    is_frozen: Mutex<bool>,
    changed: Notify,
}

/// See the module; clones are one.
#[derive(Clone)]
pub struct Gate {
    pub(super) replica: u32,
    pub(super) holder: String,
    pub(super) ways: Ways,
    snares: Snares,
    pub(super) keeper: Arc<dyn Keeper>,
    state: Arc<State>,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("holder", &self.holder).finish_non_exhaustive()
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gate {
    /// Of one life of the replica of this number.
    pub fn new(replica: u32, holder: String, ways: Ways, snares: Snares, keeper: Arc<dyn Keeper>) -> Self {
        Self { replica, holder, ways, snares, keeper, state: Arc::default() }
    }

    /// SIGSTOP; SIGKILL where nobody thaws it.
    pub fn freeze(&self) {
        *lock(&self.state.is_frozen) = true;
    }

    pub fn thaw(&self) {
        *lock(&self.state.is_frozen) = false;
        self.state.changed.notify_waiters();
    }

    pub fn is_frozen(&self) -> bool {
        *lock(&self.state.is_frozen)
    }

    /// Waits while the process stands still.
    pub(super) async fn pass(&self) {
        loop {
            let changed = self.state.changed.notified();
            if !self.is_frozen() {
                return;
            }
            changed.await;
        }
    }

    /// The same, and while calls that change something stall.
    pub(super) async fn pass_with_effect(&self) {
        loop {
            self.pass().await;
            let changed = self.ways.0.1.notified();
            if !self.ways.is_cut(Cut::Effects) {
                return;
            }
            self.keeper.met(&[16]);
            changed.await;
        }
    }

    /// Begins a deed, unless a snare is there; its number.
    pub(super) async fn begin(&self, deed: Deed) -> u64 {
        let number = self.snares.count(deed);
        self.strike(deed, false, number).await;
        number
    }

    /// Ends the deed of this number, unless a snare is there.
    pub(super) async fn end(&self, deed: Deed, number: u64) {
        self.strike(deed, true, number).await;
    }

    async fn strike(&self, what: Deed, after: bool, number: u64) {
        if self.snares.springs(self.replica, Around { what, after }, number) {
            self.freeze();
        }
        self.pass().await;
    }
}

/// How long the store takes to answer, and how long it is waited for.
pub(super) const STORE_TAKES: Duration = Duration::from_millis(3);
pub(super) const STORE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long anything else is waited for that does not answer.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    struct Nobody;

    impl Keeper for Nobody {
        fn leaves(&self, _: &Mutation) {}
        fn is_deposed(&self, _: &str) -> bool {
            false
        }
        fn met(&self, _: &[u8]) {}
    }

    fn gate(replica: u32, snares: &Snares) -> Gate {
        Gate::new(replica, format!("replica-{replica}"), Ways::default(), snares.clone(), Arc::new(Nobody))
    }

    const AFTER_APPEND: Around = Around { what: Deed::Append, after: true };

    #[test]
    fn a_snare_strikes_whom_it_is_for_once_and_at_its_number() {
        let snares = Snares::default();
        snares.set(7, Snare { of: Some(2), around: AFTER_APPEND, number: None });
        snares.set(8, Snare { of: None, around: AFTER_APPEND, number: Some(3) });
        assert!(!snares.springs(1, AFTER_APPEND, 0));
        assert!(!snares.springs(2, Around { after: false, ..AFTER_APPEND }, 0));
        assert!(snares.springs(2, AFTER_APPEND, 0) && !snares.springs(2, AFTER_APPEND, 0));
        assert!(snares.springs(1, AFTER_APPEND, 3) && !snares.springs(1, AFTER_APPEND, 3));
        assert_eq!((snares.struck(), snares.struck()), (vec![(7, 2), (8, 1)], vec![]));
        snares.set(9, Snare { of: None, around: AFTER_APPEND, number: None });
        snares.take_back(9);
        assert!(!snares.springs(1, AFTER_APPEND, 4));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_struck_stands_still_until_it_is_thawed_and_the_deed_is_done() {
        let snares = Snares::default();
        let gate = gate(1, &snares);
        snares.set(0, Snare { of: Some(1), around: AFTER_APPEND, number: None });
        let number = gate.begin(Deed::Append).await;
        assert!(!gate.is_frozen());
        let mut ends = std::pin::pin!(gate.end(Deed::Append, number));
        assert!(ends.as_mut().now_or_never().is_none() && gate.is_frozen());
        gate.thaw();
        assert!(ends.as_mut().now_or_never().is_some());
        assert_eq!(snares.done(Deed::Append), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_way_is_cut_for_as_long_as_anybody_cuts_it() {
        let gate = gate(1, &Snares::default());
        gate.ways.cut(1, Cut::Effects);
        gate.ways.cut(2, Cut::Effects);
        let mut passes = std::pin::pin!(gate.pass_with_effect());
        assert!(passes.as_mut().now_or_never().is_none());
        gate.ways.mend(1);
        assert!(passes.as_mut().now_or_never().is_none());
        gate.ways.mend(2);
        assert!(passes.as_mut().now_or_never().is_some() && !gate.ways.is_cut(Cut::Effects));
    }
}
