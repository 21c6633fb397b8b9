//! A rehearsal as a file: what fails when, what people do, and what must be true at the end.
//!
//! Invariant: a scenario holds no randomness; the seed of a run is beside it. What a file says wrong is told with
//! file, line and column, every fault at once.

use std::time::Duration;

use super::faults::Happening;
use crate::domain::id::Region;

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    pub name: String,
    pub description: String,
    /// The incident of FAULTS.md section 3 that it reproduces, such as `R8`.
    pub reproduces: Option<String>,
    /// How long all has been well when the rehearsal starts.
    pub warm_up: Duration,
    /// The Region that is active at the start; `None` is the preferred one.
    pub active: Option<Region>,
    pub happenings: Vec<Happening>,
    pub people: People,
    /// From here on every fault has healed (but lost Regions, where they say so): the liveness phase begins.
    pub heals_at: Option<Duration>,
    /// The rehearsal's end at the latest.
    pub lasts: Duration,
    pub expect: Vec<Expectation>,
}

/// What people do.
#[derive(Debug, Clone, PartialEq)]
pub struct People {
    pub ask: Option<Ask>,
    pub approver: Approver,
    /// Whether the operator resumes a held run when the faults have healed, and how long after.
    pub resumes_after: Option<Duration>,
    /// Pause, abort and the like at given moments.
    pub acts: Vec<(Duration, PersonAct)>,
}

/// The request for a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    pub wish: Wish,
    pub when: When,
    pub target: Option<Region>,
    /// What the operator accepts to lose.
    pub accept_data_loss: Option<Duration>,
    /// The whole request again every so often until a run is there (with the same idempotency key).
    pub repeats: bool,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    Auto,
    Failover,
    Switchover,
    Failback,
}

/// When it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    At(Duration),
    /// As soon as the daemon recommends it, and so long after.
    Recommended {
        after: Duration,
    },
}

/// Who is asked to approve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approver {
    Approves {
        after: Duration,
    },
    Declines {
        after: Duration,
    },
    Silent,
    /// The requester tries to approve their own, which must be refused, and then somebody else does.
    TriesOwnFirst {
        after: Duration,
    },
}

/// One act of a person on the active run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PersonAct {
    Pause,
    Resume,
    Abort,
    /// A second request for the same application.
    AskAgain(Wish),
}

/// What must be true at the end.
#[derive(Debug, Clone, PartialEq)]
pub enum Expectation {
    /// Clients outside are served again within the RTO of the application (or of `within`, since the first failure).
    Served {
        within: Option<Duration>,
    },
    WriterIn(Region),
    TrafficIn(Region),
    LossAtMost(Duration),
    NoRun,
    Run(RunEnd),
    /// The daemon recommended a failover at some time, or never.
    Recommended(bool),
}

/// How the run stands at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEnd {
    Succeeded,
    Aborted,
    Failed,
    /// Held with this code (a page of docs/errors), where one is given.
    Held {
        code: Option<String>,
    },
}
