//! The daemon's log: JSON lines on standard output, which is what ECS collects.
//!
//! Invariant: nobody waits for it. Lines go through a queue to a thread of its own; where the pipe is blocked and the
//! queue full, lines are dropped and counted (FAULTS.md 18). It is deliberately one for the whole process, as tracing's
//! subscriber is.

use std::sync::OnceLock;

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// How many lines wait for a pipe that is blocked: some megabytes at the most, and an hour of a quiet daemon.
const QUEUE_LINES_MAX: usize = 4_096;

static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Begins the log. What is queued is written out when the guard is dropped, where that takes no longer than a second.
#[must_use = "what is queued is lost without the guard"]
pub fn begin(filter: EnvFilter) -> WorkerGuard {
    let queue = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUE_LINES_MAX);
    let (writer, guard) = queue.thread_name("log").finish(std::io::stdout());
    let _ = DROPPED.set(writer.error_counter());
    tracing_subscriber::fmt().with_env_filter(filter).json().with_writer(writer).init();
    guard
}

/// How many lines were dropped since the process began.
pub fn lines_dropped() -> u64 {
    DROPPED.get().map_or(0, |counter| u64::try_from(counter.dropped_lines()).unwrap_or(u64::MAX))
}
