//! Where journals are kept: the embedded store, one SQLite file.
//!
//! Invariant: what [`SqliteStore`] acknowledges has been through `fsync`, and what it reads is what was
//! acknowledged, or an error. Not here: a store that several replicas share, backups, repair. A damaged file is
//! refused, never mended and never replaced by an empty one (FAULTS.md 14).

mod file;
mod sqlite;
mod writer;

use std::{io, path::PathBuf};

pub use file::SCHEMA_VERSION;
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
            Self::Io { .. } | Self::Sqlite { .. } => "store-unavailable",
        }
    }
}

#[cfg(test)]
mod tests;
