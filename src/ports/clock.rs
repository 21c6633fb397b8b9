//! The one clock of a replica: the engine calls no other, and neither do the SDK clients that it uses.
//!
//! In `serve` it is the machine's. In the demo the world, the engine and the SDK's time source and sleep share one
//! scaled clock; in tests it is virtual.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

/// Boot time, wall time and sleep. Nothing here survives a restart.
#[async_trait]
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Time since an arbitrary origin; never jumps, and counts suspended time (FAULTS.md 12). Deadlines are in it.
    fn boot(&self) -> Duration;

    /// Wall time, for journals and people. May jump; no deadline is in it.
    fn wall(&self) -> Timestamp;

    /// Completes when `boot` has advanced by `duration`.
    async fn sleep(&self, duration: Duration);
}
