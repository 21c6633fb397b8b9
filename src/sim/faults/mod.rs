//! What goes wrong in a rehearsal, as data: the same for a file that somebody wrote and for a seed's mixture.
//!
//! Invariant: a [`Happening`] names everything that it does; who carries it out (the world, the port, the process)
//! draws at most from the generator that it was seeded with. The numbers are those of FAULTS.md section 1.

pub mod swarm;

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
        operation: String,
        region: Option<Region>,
        fault: CallFault,
        chance: f64,
    },
    /// The next promotion.
    Promotion {
        fate: PromotionFate,
    },
    FencingTimesOut,
    /// The Region's member has no instances (40).
    Headless {
        region: Region,
    },
    /// The Region's member runs another engine version (41).
    Mismatched {
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
    Process(ProcessFault),
    Store(StoreFault),
    /// The wall clock jumps by so many seconds; boot time does not (11).
    ClockJumps {
        seconds: i64,
    },
}

/// What befalls one call below the HTTP API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallFault {
    /// Nothing arrives; the caller gets no answer (2, 32).
    LoseBefore,
    /// The effect happens, the answer is lost (3, 33).
    LoseAfter,
    /// The effect happens this long after the caller gave up.
    Late {
        by: Duration,
    },
    /// It arrives twice.
    Duplicate,
    /// The caller waits for its timeout; nothing arrives.
    Hang,
    /// Certainly not sent.
    Refuse,
    /// 500 without effect.
    ServerError,
    /// 500, with the effect (32).
    ServerErrorAfter,
    Throttle,
    /// 400 with this code, without effect.
    Reject {
        code: &'static str,
    },
    /// A read answers what it answered before the last mutation (35).
    Stale,
    /// A read answers with a status that no list knows (37).
    UnknownStatus,
    /// A read answers with something that cannot be understood (57).
    Garbage,
}

/// What befalls the daemon's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessFault {
    /// SIGKILL now; started again after `restart_after`.
    Kill { restart_after: Duration },
    /// SIGKILL around the append of this number, counted from the rehearsal's start.
    KillAtAppend { append: u64, durable: bool, restart_after: Duration },
    /// SIGKILL around the mutation of this number: before it arrives, or after its effect.
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
