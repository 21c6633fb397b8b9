//! What goes wrong with calls below the port: faults that a test arms one by one, faults that last for a while, and
//! moments at which a call stands still so that its process can be killed exactly there. And the account of it: what was
//! sent, what was read, which faults were really met.
//!
//! Invariant: what is drawn comes from the generator that this was seeded with, in the order of the calls. An armed fault
//! comes before one that lasts, and is used up; of several that last, the one opened first. It belongs to no process:
//! clones share it, over deaths and restarts.

use std::{
    any::Any,
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rand::RngExt as _;
use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};
use tokio_util::sync::CancellationToken;

use super::{
    log::{Sent, told},
    way::Route,
};
use crate::{
    domain::{
        cloud::{Mutation, Outcome},
        id::Region,
    },
    sim::{
        faults::{CallFault, Trouble},
        world::SimTime,
    },
};

/// What goes wrong with one call, as tests arm it.
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

/// What becomes of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    Meets(CallFault),
    StandsStill(Moment),
}

impl From<Fault> for Fate {
    fn from(fault: Fault) -> Self {
        Self::Meets(match fault {
            Fault::Freeze(moment) => return Self::StandsStill(moment),
            Fault::LoseBefore => CallFault::LoseBefore,
            Fault::LoseAfter => CallFault::LoseAfter,
            Fault::Hang => CallFault::Hang,
            Fault::Refuse => CallFault::Refuse,
            Fault::Reject(code) => CallFault::Reject { code },
            Fault::StaleRead => CallFault::Stale,
        })
    }
}

/// What kind of call it is, which decides what can befall it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Mutation,
    /// Whether it shows a status, and whether there is something older to show.
    Read {
        has_status: bool,
        has_older: bool,
    },
}

impl Fate {
    fn can_befall(&self, kind: Kind) -> bool {
        let (has_status, has_older) = match kind {
            Kind::Mutation => (false, false),
            Kind::Read { has_status, has_older } => (has_status, has_older),
        };
        match self {
            Self::Meets(CallFault::Late { .. } | CallFault::Duplicate) => kind == Kind::Mutation,
            Self::Meets(CallFault::Stale) => has_older,
            Self::Meets(CallFault::UnknownStatus) => has_status,
            _ => true,
        }
    }
}

/// Which calls a fault is for.
#[derive(Debug)]
struct Aim {
    pattern: String,
    region: Option<Region>,
}

impl Aim {
    fn covers(&self, route: &Route) -> bool {
        self.names(route.operation) && self.region.as_ref().is_none_or(|region| *region == route.region)
    }

    fn names(&self, operation: &str) -> bool {
        match self.pattern.strip_suffix('*') {
            Some(start) => operation.starts_with(start),
            None if self.pattern.ends_with(':') => operation.starts_with(&self.pattern),
            None => operation == self.pattern,
        }
    }
}

/// One fault that lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WindowId(u64);

#[derive(Debug)]
struct Window {
    aim: Aim,
    fault: CallFault,
    chance: f64,
}

/// Answers by operation, Region and what was asked for.
type Answers = BTreeMap<(&'static str, Region, String), Arc<dyn Any + Send + Sync>>;

#[derive(Debug)]
struct State {
    rng: ChaCha12Rng,
    armed: VecDeque<(Aim, Fate)>,
    windows: BTreeMap<WindowId, Window>,
    windows_opened: u64,
    /// Moments at which the mutation of a number, counted from 0 over all operations, stands still.
    freezes: BTreeMap<u64, Moment>,
    frozen: CancellationToken,
    mutations: u64,
    /// What reads last answered, and what they answered before the last mutation of their service.
    latest: Answers,
    older: Answers,
    sent: Vec<Sent>,
    reads: BTreeMap<&'static str, u64>,
    met: BTreeMap<u8, u64>,
}

/// Who is told of a mutation at the moment at which it leaves.
pub type Departure = Arc<dyn Fn(&Sent) + Send + Sync>;

/// See the module.
#[derive(Clone)]
pub struct Faults {
    state: Arc<Mutex<State>>,
    departure: Option<Departure>,
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Faults").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::seeded(0)
    }
}

/// The generator's stream: the world draws from stream 0 of the same seed.
const STREAM: u64 = 1;

impl Faults {
    /// Nothing goes wrong yet; chances will be drawn from `seed`.
    pub fn seeded(seed: u64) -> Self {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        rng.set_stream(STREAM);
        let state = State {
            rng,
            armed: VecDeque::new(),
            windows: BTreeMap::new(),
            windows_opened: 0,
            freezes: BTreeMap::new(),
            frozen: CancellationToken::new(),
            mutations: 0,
            latest: BTreeMap::new(),
            older: BTreeMap::new(),
            sent: Vec::new(),
            reads: BTreeMap::new(),
            met: BTreeMap::new(),
        };
        Self { state: Arc::new(Mutex::new(state)), departure: None }
    }

    /// The same, telling `departure` of every mutation that leaves, before anything of it can arrive.
    pub fn telling(self, departure: Departure) -> Self {
        Self { departure: Some(departure), ..self }
    }

    /// The same, telling nobody: who sees a mutation leave before it comes here.
    pub fn untold(self) -> Self {
        Self { departure: None, ..self }
    }

    /// The next call of `operation` (as in [`crate::domain::cloud::Mutation::operation`], or
    /// `rds:DescribeGlobalClusters` and the like) that `fault` can befall meets it.
    pub fn arm(&self, operation: &str, fault: Fault) {
        self.arm_in(operation, None, fault);
    }

    /// The same, in one Region only.
    pub fn arm_in(&self, operation: &str, region: Option<&Region>, fault: Fault) {
        let aim = Aim { pattern: operation.to_owned(), region: region.cloned() };
        self.lock().armed.push_back((aim, fault.into()));
    }

    /// From now on calls of `operation` (exact, a service such as `rds:`, or `*`) in `region` meet `fault`, each with
    /// `chance` from 0 to 1. Route 53's one control plane is in us-east-1.
    pub fn open(&self, operation: &str, region: Option<&Region>, fault: CallFault, chance: f64) -> WindowId {
        let mut state = self.lock();
        state.windows_opened += 1;
        let id = WindowId(state.windows_opened);
        let aim = Aim { pattern: operation.to_owned(), region: region.cloned() };
        state.windows.insert(id, Window { aim, fault, chance });
        id
    }

    /// Whether every call of `operation` in `region` is refused for want of a permission, as long as what was opened lasts.
    pub(super) fn denies(&self, operation: &str, region: Option<&Region>) -> bool {
        let here = |aim: &Aim| aim.region.as_ref().is_none_or(|of| Some(of) == region);
        let is_denial = |w: &&Window| w.fault == (CallFault::Reject { code: "AccessDenied" }) && 1.0 <= w.chance;
        self.lock().windows.values().filter(is_denial).any(|w| w.aim.names(operation) && here(&w.aim))
    }

    /// Ends an [`Self::open`].
    pub fn close(&self, id: WindowId) {
        self.lock().windows.remove(&id);
    }

    /// Opens what `trouble` means for calls; `None` where it does not concern them.
    pub fn begin(&self, trouble: &Trouble) -> Option<WindowId> {
        match trouble {
            Trouble::Calls { operation, region, fault, chance } => {
                Some(self.open(operation, region.as_ref(), fault.clone(), *chance))
            }
            Trouble::CredentialsExpire => Some(self.open("*", None, CallFault::Reject { code: "ExpiredToken" }, 1.0)),
            _ => None,
        }
    }

    /// Mutation number `index` (from 0, whatever its operation) stands still at `moment`.
    pub fn freeze_mutation(&self, index: u64, moment: Moment) {
        self.lock().freezes.insert(index, moment);
    }

    /// Takes a [`Self::freeze_mutation`] back; nothing where it has come already.
    pub fn unfreeze_mutation(&self, index: u64) {
        self.lock().freezes.remove(&index);
    }

    /// How many mutations were attempted so far.
    pub fn mutations(&self) -> u64 {
        self.lock().mutations
    }

    /// Completes when a call stands still, or has since the last [`Self::thaw`].
    pub async fn frozen(&self) {
        let frozen = self.lock().frozen.clone();
        frozen.cancelled().await;
    }

    /// The process whose call stood still is dead: [`Self::frozen`] waits for the next.
    pub fn thaw(&self) {
        self.lock().frozen = CancellationToken::new();
    }

    /// Every mutation that has left, oldest first.
    pub fn sent(&self) -> Vec<Sent> {
        self.lock().sent.clone()
    }

    /// Looks at every mutation that has left, oldest first, without copying them.
    pub fn with_sent<R>(&self, look: impl FnOnce(&[Sent]) -> R) -> R {
        look(&self.lock().sent)
    }

    /// How many reads were attempted, by operation.
    pub fn reads(&self) -> BTreeMap<&'static str, u64> {
        self.lock().reads.clone()
    }

    /// How often each fault, by its number in FAULTS.md, was met by a call, and not merely planned.
    pub fn met(&self) -> BTreeMap<u8, u64> {
        self.lock().met.clone()
    }

    /// Counts faults that were met elsewhere (by an append, by a process).
    pub fn meet(&self, numbers: &[u8]) {
        let mut state = self.lock();
        for number in numbers {
            *state.met.entry(*number).or_default() += 1;
        }
    }

    /// The fate of a call, with what was armed for it used up.
    fn fate(state: &mut State, route: &Route, kind: Kind) -> Option<Fate> {
        let armed = state.armed.iter().position(|(aim, fate)| aim.covers(route) && fate.can_befall(kind));
        if let Some(index) = armed {
            return state.armed.remove(index).map(|(_, fate)| fate);
        }
        for window in state.windows.values() {
            let fate = Fate::Meets(window.fault.clone());
            // A chance of 1 draws nothing, and what is no number never happens.
            let drawn =
                |rng: &mut ChaCha12Rng| 1.0 <= window.chance || (0.0 < window.chance && rng.random_bool(window.chance));
            if window.aim.covers(route) && fate.can_befall(kind) && drawn(&mut state.rng) {
                return Some(fate);
            }
        }
        None
    }

    /// The fate of a read, which is counted.
    pub(super) fn fate_of_read(&self, route: &Route, key: Option<&str>, has_status: bool) -> Option<Fate> {
        let mut state = self.lock();
        *state.reads.entry(route.operation).or_default() += 1;
        let has_older = key.is_some_and(|key| state.older.contains_key(&route.asked(key)));
        Self::fate(&mut state, route, Kind::Read { has_status, has_older })
    }

    /// The fate of the next mutation, which is counted.
    pub(super) fn fate_of_mutation(&self, route: &Route) -> Option<Fate> {
        let mut state = self.lock();
        let index = state.mutations;
        state.mutations += 1;
        match state.freezes.remove(&index) {
            Some(moment) => {
                let number = if moment == Moment::Before { 2 } else { 3 };
                *state.met.entry(number).or_default() += 1;
                Some(Fate::StandsStill(moment))
            }
            None => Self::fate(&mut state, route, Kind::Mutation),
        }
    }

    /// Stands still for ever.
    pub(super) async fn freeze(&self) -> ! {
        self.lock().frozen.cancel();
        std::future::pending().await
    }

    /// What a read has answered.
    pub(super) fn show<T: Clone + Send + Sync + 'static>(&self, route: &Route, key: &str, answer: &T) {
        self.lock().latest.insert(route.asked(key), Arc::new(answer.clone()));
    }

    /// What a read answered before the last mutation of its service.
    pub(super) fn older<T: Clone + Send + Sync + 'static>(&self, route: &Route, key: &str) -> Option<T> {
        let older = self.lock().older.get(&route.asked(key)).cloned()?;
        older.downcast_ref::<T>().cloned()
    }

    /// A mutation has changed something: what its service showed until now is what stale reads show from now on.
    pub(super) fn outdate(&self, operation: &str) {
        let service = operation.split(':').next().unwrap_or(operation);
        let mut state = self.lock();
        let State { latest, older, .. } = &mut *state;
        let of_service = latest.iter().filter(|((read, ..), _)| read.split(':').next() == Some(service));
        older.extend(of_service.map(|(key, answer)| (key.clone(), Arc::clone(answer))));
    }

    /// A mutation leaves. Its place in the log.
    pub(super) fn log(&self, at: SimTime, mutation: &Mutation) -> usize {
        let sent = Sent::new(at, mutation);
        if let Some(departure) = &self.departure {
            departure(&sent);
        }
        let mut state = self.lock();
        state.sent.push(sent);
        state.sent.len() - 1
    }

    pub(super) fn arrived(&self, place: usize, changed: bool) {
        if let Some(sent) = self.lock().sent.get_mut(place) {
            sent.arrived = Some(changed);
        }
    }

    pub(super) fn answered(&self, place: usize, outcome: &Outcome) {
        if let Some(sent) = self.lock().sent.get_mut(place) {
            sent.answer = Some(told(outcome));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
