//! A clock on tokio's time: virtual where the runtime's time is paused, as in tests, and scaled by nothing.
//!
//! Invariant: boot time never jumps. Wall time is a given start plus boot time plus whatever somebody set it ahead or
//! back by; the world's time is not this clock's matter (see `LiveWorld`).

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::ports::Clock;

/// See the module. Clones are one clock.
#[derive(Debug, Clone)]
pub struct SimClock {
    origin: Instant,
    start: Timestamp,
    jumped_seconds: Arc<AtomicI64>,
}

impl SimClock {
    /// A clock that shows `start` now. Must be called inside a tokio runtime.
    #[expect(clippy::disallowed_methods, reason = "this is a clock: tokio's time is what it shows")]
    pub fn starting_at(start: Timestamp) -> Self {
        Self { origin: Instant::now(), start, jumped_seconds: Arc::default() }
    }

    /// Sets the wall clock ahead, or back where `seconds` is negative. Boot time and sleeps go on as if nothing were.
    pub fn jump(&self, seconds: i64) {
        self.jumped_seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    /// By how much the wall clock has been set ahead, all in all: a next process finds the clock so.
    pub fn jumped_seconds(&self) -> i64 {
        self.jumped_seconds.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Clock for SimClock {
    #[expect(clippy::disallowed_methods, reason = "this is a clock: tokio's time is what it shows")]
    fn boot(&self) -> Duration {
        Instant::now().duration_since(self.origin)
    }

    fn wall(&self) -> Timestamp {
        let straight = self.start.saturating_add(self.boot()).unwrap_or(Timestamp::MAX);
        let jumped = SignedDuration::from_secs(self.jumped_seconds());
        straight.saturating_add(jumped).unwrap_or(straight)
    }

    #[expect(clippy::disallowed_methods, reason = "this is a clock: tokio's time is what it sleeps on")]
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
