//! The daemons that an observer elsewhere reports to, each by itself.

use std::{fmt::Debug, time::Duration};

use async_trait::async_trait;

use crate::domain::report::{Assignment, Report};

/// What a daemon has an observer probe.
#[derive(Debug, Clone, PartialEq)]
pub struct Orders {
    /// The daemon's own instant, to be given back with the next report.
    pub stamp: String,
    pub assignments: Vec<Assignment>,
}

/// What a daemon did with a report.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// To be given back with the next report.
    pub stamp: String,
    /// What it did not take, each in words.
    pub refused: Vec<String>,
}

/// Why a daemon did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DaemonError {
    /// It does not know the stamp: it was started again.
    #[error("the daemon was started again")]
    Restarted,
    /// No answer, or one that says no.
    #[error("{0}")]
    Failed(String),
}

/// One daemon. A report that is lost is lost: it is not sent again, since the next one says more.
#[async_trait]
pub trait Daemon: Send + Sync + Debug {
    /// What it is called, for people.
    fn name(&self) -> &str;

    async fn assignments(&self) -> Result<Orders, DaemonError>;

    /// Ends on its own after a bounded time. `stamp_age` is for how long `stamp` was had at this moment.
    async fn report(&self, stamp: &str, stamp_age: Duration, report: &Report) -> Result<Answered, DaemonError>;
}
