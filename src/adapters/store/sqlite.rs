//! [`SqliteStore`]: many journals in one SQLite file on a local disk, for one process.
//!
//! Writes go through one thread ([`super::writer`]); reads have a connection of their own, which sees every
//! commit that was acknowledged before it looks and waits for none. One process owns the file ([`super::file`]).
//!
//! What damage is seen where: torn or flipped pages by `quick_check` at the start, changed records by their hash,
//! missing ones in the middle by [`JournalStore::read`], everything else by `domain::journal::verify`, which the
//! reader must run. What no single file can show: that acknowledged records at the very *end* were cut off (a lost
//! write-ahead log). What is left is then an earlier state, whole and valid.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode, params};

use super::{
    OpenError,
    file::{self, Found},
    writer::{self, Writer},
};
use crate::{
    domain::{
        id::{ApplicationName, Digest},
        journal::Sealed,
    },
    ports::{
        JournalStore,
        journal::{AppendError, ReadError},
    },
};

/// The embedded journal store.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    // Before the writer: fields are dropped in order, and whoever closes last folds the write-ahead log in.
    reader: Arc<Reader>,
    writer: Writer,
}

#[derive(Debug)]
struct Reader {
    connection: Mutex<Connection>,
    _lock: Arc<File>,
}

impl SqliteStore {
    /// Opens the store at `path`, or makes one where there is no file. Blocks: it reads the whole file once.
    ///
    /// # Errors
    /// Everything that would make "acknowledged" mean less than durable; see [`OpenError`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_with(path, |_| Ok(()))
    }

    /// A store whose file may have `pages` pages, as if the disk were full after them.
    #[cfg(test)]
    pub(super) fn open_with_pages_max(path: &Path, pages: u32) -> Result<Self, OpenError> {
        Self::open_with(path, |connection| {
            connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
        })
    }

    fn open_with(path: &Path, set: impl FnOnce(&Connection) -> rusqlite::Result<()>) -> Result<Self, OpenError> {
        let path = file::resolve(path)?;
        file::refuse_unless_local(&path)?;
        let lock = Arc::new(file::lock(&path)?);
        if file::inspect(&path)? == Found::Nothing {
            file::create(&path)?;
        }
        let connection = file::connect_writer(&path)?;
        file::check_kept(&connection, &path)?;
        set(&connection).map_err(|e| file::sqlite_fault(&path, e))?;
        let reader = Reader { connection: Mutex::new(file::connect_reader(&path)?), _lock: Arc::clone(&lock) };
        let writer = Writer::start(connection, lock).map_err(|source| OpenError::Io { path: path.clone(), source })?;
        Ok(Self { path, reader: Arc::new(reader), writer })
    }

    /// Where the store is, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Commits since the start: each is one `fsync` of the write-ahead log (checkpoints, about one in 1,000 pages,
    /// come on top). Lower than the number of appends by what group commit saved.
    pub fn commits(&self) -> u64 {
        self.writer.commits()
    }

    async fn with_reader<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Connection) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let reader = Arc::clone(&self.reader);
        tokio::task::spawn_blocking(move || {
            // A read that panicked left nothing half done.
            let connection = reader.connection.lock().unwrap_or_else(PoisonError::into_inner);
            look(&connection)
        })
        .await
        .map_err(|e| ReadError::Failed { reason: format!("the reading task ended: {e}") })?
    }
}

#[async_trait]
impl JournalStore for SqliteStore {
    async fn append(&self, sealed: &Sealed) -> Result<(), AppendError> {
        self.writer.append(sealed).await
    }

    async fn read(
        &self,
        journal: &ApplicationName,
        from_seq: u64,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Digest)>, ReadError> {
        let journal = journal.clone();
        self.with_reader(move |connection| read(connection, &journal, from_seq, limit)).await
    }

    async fn journals(&self) -> Result<Vec<ApplicationName>, ReadError> {
        self.with_reader(journals).await
    }
}

fn read(
    connection: &Connection,
    journal: &ApplicationName,
    from_seq: u64,
    limit: usize,
) -> Result<Vec<(Vec<u8>, Digest)>, ReadError> {
    // No journal is longer than what SQLite can count.
    let from = i64::try_from(from_seq).unwrap_or(i64::MAX);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection
        .prepare_cached("SELECT seq, bytes, hash FROM records WHERE journal = ?1 AND seq >= ?2 ORDER BY seq LIMIT ?3")
        .map_err(|e| fault(&e))?;
    let mut rows = statement.query(params![journal.as_str(), from, limit]).map_err(|e| fault(&e))?;
    let mut records = Vec::new();
    let mut expected = from;
    while let Some(row) = rows.next().map_err(|e| fault(&e))? {
        let get = || -> rusqlite::Result<(i64, Vec<u8>, String)> { Ok((row.get(0)?, row.get(1)?, row.get(2)?)) };
        let (seq, bytes, hash) = get().map_err(|e| fault(&e))?;
        if seq != expected {
            return Err(ReadError::Corrupted {
                reason: format!("journal `{journal}`: record {seq} stands where {expected} should"),
            });
        }
        let hash = hash
            .parse::<Digest>()
            .map_err(|e| ReadError::Corrupted { reason: format!("journal `{journal}`: record {seq}: {e}") })?;
        records.push((bytes, hash));
        expected += 1;
    }
    Ok(records)
}

/// Jumps from name to name in the primary key instead of walking over every record.
const NAMES: &str = "WITH RECURSIVE names (name) AS (
    SELECT min(journal) FROM records
    UNION ALL
    SELECT (SELECT min(journal) FROM records WHERE journal > name) FROM names WHERE name IS NOT NULL
) SELECT name FROM names WHERE name IS NOT NULL";

fn journals(connection: &Connection) -> Result<Vec<ApplicationName>, ReadError> {
    let names = connection
        .prepare_cached(NAMES)
        .and_then(|mut statement| {
            statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()
        })
        .map_err(|e| fault(&e))?;
    names
        .into_iter()
        .map(|name| name.parse().map_err(|e| ReadError::Corrupted { reason: format!("a journal's name: {e}") }))
        .collect()
}

fn fault(e: &rusqlite::Error) -> ReadError {
    let damaged = matches!(e.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
        || matches!(
            e,
            rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::Utf8Error(..)
        );
    let reason = writer::reason(e);
    if damaged { ReadError::Corrupted { reason } } else { ReadError::Failed { reason } }
}
