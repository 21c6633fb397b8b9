//! A clock on tokio's time: virtual where the runtime's time is paused, as in tests, and scaled by nothing.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::ports::Clock;

/// Boot time is tokio's, from when the clock was made; wall time is a given start plus boot time.
#[derive(Debug, Clone)]
pub struct SimClock {
    origin: Instant,
    start: Timestamp,
}

impl SimClock {
    /// A clock that shows `start` now. Must be called inside a tokio runtime.
    #[expect(clippy::disallowed_methods, reason = "this is a clock: tokio's time is what it shows")]
    pub fn starting_at(start: Timestamp) -> Self {
        Self { origin: Instant::now(), start }
    }
}

#[async_trait]
impl Clock for SimClock {
    #[expect(clippy::disallowed_methods, reason = "this is a clock: tokio's time is what it shows")]
    fn boot(&self) -> Duration {
        Instant::now().duration_since(self.origin)
    }

    fn wall(&self) -> Timestamp {
        self.start.saturating_add(self.boot()).unwrap_or(Timestamp::MAX)
    }

    #[expect(clippy::disallowed_methods, reason = "this is a clock: tokio's time is what it sleeps on")]
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
