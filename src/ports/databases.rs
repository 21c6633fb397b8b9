//! The databases themselves, beside the heartbeat: whether one takes writes, who is connected, and ending that.

use std::fmt::Debug;

use async_trait::async_trait;

use super::heartbeat::LookError;
use crate::domain::{
    cloud::Outcome,
    database::{ServerState, Sessions, WriteAnswer},
    heartbeat::DatabaseEndpoint,
};

/// Crash semantics: looks and tried writes leave nothing behind, since a write that is tried is rolled back by its own
/// transaction, or by the server when the connection ends. [`Databases::end_sessions`] sends once; when the process or
/// the answer is lost, some sessions may have ended, and only looking tells.
///
/// Each call is made over a connection of its own, so that what is learnt is of this moment, and ends within the
/// endpoint's timeout, whatever the server does.
#[async_trait]
pub trait Databases: Send + Sync + Debug {
    /// Whether the server at `at` takes writes.
    async fn state(&self, at: &DatabaseEndpoint) -> Result<ServerState, LookError>;

    /// Tries a write at `at`, in a transaction that insists on writing and is rolled back: whether the server takes it.
    async fn try_write(&self, at: &DatabaseEndpoint) -> WriteAnswer;

    /// The sessions of other roles than the heartbeat's; those of superusers are not counted, since nobody else can end
    /// them (on RDS they are AWS's own).
    async fn sessions(&self, at: &DatabaseEndpoint) -> Result<Sessions, LookError>;

    /// Ends those sessions.
    async fn end_sessions(&self, at: &DatabaseEndpoint) -> Outcome;
}
