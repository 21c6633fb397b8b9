//! Where journals are kept: the embedded store, one SQLite file, and a DynamoDB table that several replicas share.
//!
//! Invariant: what [`SqliteStore`] acknowledges has been through `fsync`, what [`DynamoStore`] acknowledges is durable
//! wherever the table is, and what they read is what was acknowledged, or an error. Not here: backups, repair. What is
//! damaged is refused, never mended and never replaced by something empty (FAULTS.md 14).

pub mod dynamodb;
#[cfg(debug_assertions)]
pub mod failpoint;
mod file;
mod outboxes;
mod sqlite;
mod writer;

use std::{io, path::PathBuf};

use crate::domain::id::Region;

pub use dynamodb::DynamoStore;
pub use file::SCHEMA_VERSION;
pub use outboxes::SqliteOutboxes;
pub use sqlite::SqliteStore;

/// Why a store was not opened. A file that is refused for what it holds is left as it was found.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Locks and `fsync` of network and user-space file systems do not hold what SQLite needs.
    #[error("the store `{path}` is on {file_system}: it must be on a local disk, where locks and fsync hold")]
    NotLocal { path: PathBuf, file_system: String },
    #[error("the store `{path}` is in use by {holder}")]
    Locked { path: PathBuf, holder: String },
    /// Something that this program did not make.
    #[error("`{path}` is not a store of failoverd: {reason}; it was left untouched")]
    Foreign { path: PathBuf, reason: String },
    #[error("the store `{path}` is corrupted: {reason}; restore it from a copy, it is not repaired here")]
    Corrupted { path: PathBuf, reason: String },
    #[error("the store `{path}` has schema {found}, newer than {SCHEMA_VERSION}, the newest that this program knows")]
    NewerSchema { path: PathBuf, found: u32 },
    #[error("SQLite was asked for {pragma} = {asked} and answered {got}")]
    PragmaRefused { pragma: &'static str, asked: &'static str, got: String },
    #[error("the store `{path}` cannot be written: the disk is full")]
    DiskFull { path: PathBuf },
    #[error("the store `{path}` cannot be written: {reason}")]
    ReadOnly { path: PathBuf, reason: String },
    #[error("open the store `{path}`")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("open the store `{path}`")]
    Sqlite {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error("there is no table `{table}` in {region}: make it with `failoverd store create --config F`")]
    TableMissing { table: String, region: Region },
    #[error("the table `{table}` in {region} cannot be used: {reason}")]
    TableUnavailable { table: String, region: Region, reason: String },
    #[error("the table `{table}` in {region} is not a store of failoverd: {reason}; it was left untouched")]
    TableForeign { table: String, region: Region, reason: String },
    #[error("the table `{table}` in {region} is corrupted: {reason}")]
    TableCorrupted { table: String, region: Region, reason: String },
    #[error("the table `{table}` in {region} has layout {found}, newer than this program knows")]
    TableNewer { table: String, region: Region, found: u32 },
    /// Conditions would be judged by one Region's copy, and two replicas could both append.
    #[error(
        "the global table `{table}` is in {} without strong consistency (MultiRegionConsistency is {found}, not STRONG): \
         two replicas could append the same record",
        regions.join(", ")
    )]
    TableNotStrong { table: String, regions: Vec<String>, found: String },
    #[error(
        "the table `{table}` is in {region} alone, the Region that an application prefers: it would be lost with it, and \
         nothing could be recorded"
    )]
    TableInPrimary { table: String, region: Region },
    #[error(
        "the table `{table}` in {region} deletes items by itself (time to live is {status}): records must never go"
    )]
    TableExpires { table: String, region: Region, status: String },
    /// FAULTS.md 26: what was done since the backup is not in it.
    #[error(
        "the table `{table}` in {region} is not the one in which these journals were written: {reason}; it was restored from \
         a backup or copied, and what was done after that is not in it"
    )]
    TableRestored { table: String, region: Region, reason: String },
    #[error(
        "of the table `{table}` in {region} it cannot be verified: {}; name it in store.allow_unverified to start all the \
         same",
        what.join("; ")
    )]
    TableUnverified { table: String, region: Region, what: Vec<String> },
}

impl OpenError {
    /// The stable code of the fault, which names its page.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotLocal { .. } => "store-not-local",
            Self::Locked { .. } => "store-locked",
            Self::Foreign { .. } => "store-foreign",
            Self::Corrupted { .. } => "store-corrupted",
            Self::NewerSchema { .. } => "store-newer-schema",
            Self::PragmaRefused { .. } => "store-pragma-refused",
            Self::DiskFull { .. } => "store-disk-full",
            Self::ReadOnly { .. } => "store-read-only",
            Self::Io { .. } | Self::Sqlite { .. } | Self::TableUnavailable { .. } => "store-unavailable",
            Self::TableMissing { .. } => "store-table-missing",
            Self::TableForeign { .. } => "store-foreign",
            Self::TableCorrupted { .. } => "store-corrupted",
            Self::TableNewer { .. } => "store-newer-schema",
            Self::TableNotStrong { .. } => "store-not-strong",
            Self::TableInPrimary { .. } => "store-in-primary",
            Self::TableExpires { .. } => "store-expires",
            Self::TableRestored { .. } => "store-restored",
            Self::TableUnverified { .. } => "store-unverified",
        }
    }
}

#[cfg(test)]
mod tests;
