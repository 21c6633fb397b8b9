//! Where the leases of applications are kept, where replicas share a store.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::domain::{id::ApplicationName, lease::Lease};

/// Why a lease was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// It does not have the version that was expected: this is what is there instead. Nothing was written.
    #[error("the lease of `{application}` was taken by another replica")]
    Lost { application: ApplicationName, found: Option<Box<Lease>> },
    /// Whether it was written is unknown. The same write may be tried again, and then says so of itself.
    #[error("the lease could not be written: {reason}")]
    Failed { reason: String },
}

/// Why a lease could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the lease could not be read: {reason}")]
pub struct ReadFailed {
    pub reason: String,
}

/// Crash semantics: a write is wholly there or wholly not, and durable before `Ok` is answered. A write whose answer
/// was lost may be there: whoever repeats the *same* write is told `Ok`, since it is recognised as its own (by holder
/// and version), and never taken for another's.
#[async_trait]
pub trait Leases: Send + Sync + Debug {
    /// The lease of `application`, strongly consistent: not older than any write that was answered before.
    async fn lease(&self, application: &ApplicationName) -> Result<Option<Lease>, ReadFailed>;

    /// Writes `lease` where the stored one has the version `over` (`None`: where there is none). One attempt, which
    /// ends within the store's request timeout; who calls it decides whether there is time for another.
    async fn put(&self, application: &ApplicationName, lease: &Lease, over: Option<u64>) -> Result<(), PutError>;
}
