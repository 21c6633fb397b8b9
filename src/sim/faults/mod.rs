//! What goes wrong in a rehearsal, as data: the same for a file that somebody wrote and for a seed's mixture.
//!
//! Invariant: a [`Happening`] names everything that it does; who carries it out (the world, the port, the process)
//! draws at most from the generator that it was seeded with. The numbers are those of FAULTS.md section 1.
//!
//! What concerns the world is done here ([`apply`], [`heal`]); what concerns calls, the process, its store and its clock
//! is deliberately left to those who have them in hand: the port and the rehearsal.

mod act;
mod ledger;
mod replicas;
pub mod swarm;
mod words;

pub use act::{apply, heal};
pub use ledger::{met_in_world, of_metric, of_plane};
pub use replicas::{Around, Deed, Replica, ReplicaFault};

use std::time::Duration;

use crate::{
    domain::id::Region,
    sim::world::{
        Plane, Reach,
        aurora::{LagMetric, LagSetting, PromotionFate},
        cloudwatch::MetricFault,
    },
};

/// One thing that goes wrong at one moment, and for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct Happening {
    /// Since the rehearsal's start.
    pub at: Duration,
    /// `None` is until the end (or until [`Trouble`] heals by itself).
    pub lasts: Option<Duration>,
    pub what: Trouble,
}

impl Happening {
    /// From when on nothing of it is left, since the rehearsal's start; `None` where it never heals. A process is
    /// healed when it runs again, a late call when it has arrived.
    pub fn heals_at(&self) -> Option<Duration> {
        let after = match &self.what {
            Trouble::Process(ProcessFault::Kill { restart_after } | ProcessFault::Stop { restart_after }) => {
                return Some(self.at + *restart_after);
            }
            Trouble::Process(ProcessFault::Pause { lasts }) => return Some(self.at + *lasts),
            Trouble::Store(StoreFault::FailsAfterCommit) => return Some(self.at + self.lasts.unwrap_or_default()),
            Trouble::Store(StoreFault::Rots { .. }) => return None,
            Trouble::Process(
                ProcessFault::KillAtAppend { restart_after, .. } | ProcessFault::KillAtCall { restart_after, .. },
            ) => *restart_after,
            Trouble::Calls { fault: CallFault::Late { by }, .. } => *by + CALL_TIMEOUT_MAX,
            _ => Duration::ZERO,
        };
        self.lasts.map(|lasts| self.at + lasts + after)
    }
}

/// How long a caller waits for an answer at the most.
const CALL_TIMEOUT_MAX: Duration = Duration::from_secs(10);

/// What goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum Trouble {
    /// Everything in the Region, its network included (FAULTS.md 58 where it is us-east-1).
    LoseRegion {
        region: Region,
    },
    /// Nothing crosses the Region's border; inside, everything goes on.
    PartitionRegion {
        region: Region,
    },
    Plane {
        plane: Plane,
        region: Region,
        reach: Reach,
    },
    /// Calls that match meet `fault`, each with `chance` (0 to 1).
    Calls {
        /// Exact (`rds:FailoverGlobalCluster`), a service (`rds:`), or all (`*`).
        operation: String,
        region: Option<Region>,
        fault: CallFault,
        chance: f64,
    },
    /// The next promotion; one that sticks comes loose when this ends.
    Promotion {
        fate: PromotionFate,
    },
    FencingTimesOut,
    /// The Region's members have no instances (40).
    Headless {
        region: Region,
    },
    /// The Region's members run another minor version of their engine (41).
    Mismatched {
        region: Region,
    },
    /// Of the instances that the Region's members should have, one is there (56).
    Undersized {
        region: Region,
    },
    /// The account may add nothing to the Region's databases (55).
    QuotaExhausted {
        region: Region,
    },
    /// The Region's servers need those of the other Region, and nobody knows.
    HiddenDependency {
        region: Region,
    },
    /// What is written in the Region to stores with many writers replicates late.
    ReplicasLag {
        region: Region,
    },
    Lag {
        region: Region,
        setting: LagSetting,
    },
    LagMetric {
        region: Region,
        metric: LagMetric,
    },
    /// Every metric of the namespace in the Region.
    Metrics {
        region: Region,
        namespace: String,
        fault: MetricFault,
    },
    /// Clients keep an answer this long, whatever its TTL (49).
    ResolversIgnoreTtl {
        seconds: u32,
    },
    CredentialsExpire,
    /// One vantage sees worse than what is there; the world is as it is.
    Vantage {
        of: Vantage,
        does: Sight,
    },
    /// The only process; of several replicas the one that leads.
    Process(ProcessFault),
    /// One of several replicas, for as long as it lasts.
    Replica {
        of: Replica,
        does: ReplicaFault,
    },
    Store(StoreFault),
    /// The daemon's wall clock jumps by so many seconds, and back when this ends; boot time does not (11).
    ClockJumps {
        seconds: i64,
    },
}

/// From where the application is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vantage {
    Daemon,
    /// By number, from 1.
    Observer(u32),
}

/// What is wrong with a vantage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// It reports nothing. An observer only.
    Silent,
    /// Its control points and the application are out of its reach.
    CutOff,
    /// The application looks ill from there, and its control points answer (46).
    SeesIll,
}

/// What befalls one call below the HTTP API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallFault {
    /// Nothing arrives; the caller gets no answer (23).
    LoseBefore,
    /// The effect happens, the answer is lost (3, 33).
    LoseAfter,
    /// The effect of a mutation happens this long after the caller gave up (33), unless its signature has expired by
    /// then (10). A read is not concerned.
    Late { by: Duration },
    /// A mutation arrives twice, as from a retry that nobody asked for (34). A read is not concerned.
    Duplicate,
    /// The caller waits for its timeout; nothing arrives (23).
    Hang,
    /// Certainly not sent.
    Refuse,
    /// 500 without effect (32).
    ServerError,
    /// 500, with the effect (32).
    ServerErrorAfter,
    /// (31)
    Throttle,
    /// 4xx with this code, without effect.
    Reject { code: &'static str },
    /// A read answers what it answered before the last mutation (35).
    Stale,
    /// A read answers with a status that no list knows (37).
    UnknownStatus,
    /// The answer cannot be understood (57); what was asked for has happened.
    Garbage,
}

/// What befalls the daemon's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessFault {
    /// SIGKILL now; started again after `restart_after`.
    Kill { restart_after: Duration },
    /// SIGKILL around the append of this number, counted from 0 and from the rehearsal's start: before the record is
    /// there, or after. One that has not come when the happening ends does not come.
    KillAtAppend { append: u64, durable: bool, restart_after: Duration },
    /// SIGKILL around the mutation of this number (from 0): before it arrives, or after its effect. Ends as above.
    KillAtCall { call: u64, effect: bool, restart_after: Duration },
    /// SIGTERM, and a new start after `restart_after`.
    Stop { restart_after: Duration },
    /// SIGSTOP, SIGCONT after `lasts`.
    Pause { lasts: Duration },
}

/// What befalls the journal store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreFault {
    /// Every append fails while it lasts; the record is not there (13).
    Full,
    /// The next append fails although its record is there.
    FailsAfterCommit,
    /// One bit of a record of the past (14), found at the next start.
    Rots { record: u64 },
}
