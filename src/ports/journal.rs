//! Where journals are kept.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::domain::{
    id::{ApplicationName, Digest},
    journal::Sealed,
};

/// Why a record was not appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The journal does not end where the record begins: somebody else appended. Nothing was written.
    #[error("journal `{journal}` does not end before record {seq}: another writer is at work")]
    Conflict { journal: ApplicationName, seq: u64 },
    /// The store failed. Whether the record is there is unknown: the process must end and read it again.
    #[error("the journal store failed: {reason}")]
    Failed { reason: String },
}

/// Why a journal could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("the journal store is corrupted: {reason}")]
    Corrupted { reason: String },
    #[error("the journal store failed: {reason}")]
    Failed { reason: String },
}

/// Crash semantics: when `append` returns `Ok` the record survives the loss of power; when the process dies during
/// it, the record is wholly there or wholly not. Records are never changed or removed.
#[async_trait]
pub trait JournalStore: Send + Sync + Debug {
    /// Appends `sealed` if the journal has exactly `sealed.record.seq` records and the last one's hash is its
    /// `prev_hash`. One commit, durable before it returns.
    async fn append(&self, sealed: &Sealed) -> Result<(), AppendError>;

    /// The bytes and hash of every record from `from_seq` on, in order, at most `limit`.
    async fn read(
        &self,
        journal: &ApplicationName,
        from_seq: u64,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Digest)>, ReadError>;

    /// Every journal that has a record.
    async fn journals(&self) -> Result<Vec<ApplicationName>, ReadError>;
}
