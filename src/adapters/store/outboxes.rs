//! What people were told, in an SQLite file of its own beside the journal's.
//!
//! Invariant: nothing here can delay or refuse a record: another file, another lock, another thread. It is written for the
//! process that holds the journal's lock, so nobody else writes it. A file that is damaged is set aside and begun anew:
//! what it said is told again, or is made of the journal; it is no authority on anything (docs/adr/0025).

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, params};

use crate::{
    domain::id::ApplicationName,
    ports::{
        Outboxes,
        outboxes::{Page, PutError, ReadFailed},
    },
};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS outboxes (
    application TEXT PRIMARY KEY, version INTEGER NOT NULL, text TEXT NOT NULL
) STRICT, WITHOUT ROWID";

/// Nobody else should hold it; somebody who looks at it by hand may, for a moment.
const BUSY_WAIT: Duration = Duration::from_secs(2);

/// See the module. The file is made at the first use.
#[derive(Debug, Clone)]
pub struct SqliteOutboxes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    connection: Mutex<Option<Connection>>,
}

impl SqliteOutboxes {
    /// Beside the journal's file `store`: its name and `.outbox`.
    pub fn beside(store: &Path) -> Self {
        let mut name = store.as_os_str().to_owned();
        name.push(".outbox");
        Self(Arc::new(Inner { path: name.into(), connection: Mutex::new(None) }))
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl Fn(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, String> {
        let inner = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || inner.work(&work)).await;
        done.map_err(|e| format!("the task ended: {e}"))?
    }
}

impl Inner {
    fn work<T>(&self, work: &dyn Fn(&mut Connection) -> rusqlite::Result<T>) -> Result<T, String> {
        let mut slot = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let tried = self.try_work(&mut slot, work);
        let Err(error) = tried else { return tried.map_err(|e| e.to_string()) };
        // Opened anew next time, whatever it was.
        *slot = None;
        if !matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)) {
            return Err(error.to_string());
        }
        let mut aside = self.path.as_os_str().to_owned();
        aside.push(".damaged");
        tracing::warn!(path = %self.path.display(), %error, "the file of what people were told is damaged: it is begun anew");
        std::fs::rename(&self.path, &aside).map_err(|e| e.to_string())?;
        for part in ["-wal", "-shm"] {
            let mut name = self.path.as_os_str().to_owned();
            name.push(part);
            // It need not be there.
            let _gone = std::fs::remove_file(&name);
        }
        self.try_work(&mut slot, work).map_err(|e| e.to_string())
    }

    fn try_work<T>(
        &self,
        slot: &mut Option<Connection>,
        work: &dyn Fn(&mut Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let connection = match slot {
            Some(connection) => connection,
            None => slot.insert(open(&self.path)?),
        };
        work(connection)
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_WAIT)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch(TABLE)?;
    Ok(connection)
}

fn look(connection: &Connection, application: &str) -> rusqlite::Result<Option<(i64, String)>> {
    connection
        .prepare_cached("SELECT version, text FROM outboxes WHERE application = ?1")?
        .query_row([application], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

fn page((version, text): (i64, String)) -> Page {
    Page { version: u64::try_from(version).unwrap_or_default(), text }
}

#[async_trait]
impl Outboxes for SqliteOutboxes {
    async fn page(&self, application: &ApplicationName) -> Result<Option<Page>, ReadFailed> {
        let application = application.clone();
        let found = self.with(move |connection| look(connection, application.as_str())).await;
        found.map(|found| found.map(page)).map_err(|reason| ReadFailed { reason })
    }

    async fn put(&self, application: &ApplicationName, new: &Page) -> Result<(), PutError> {
        let (name, wanted) = (application.clone(), new.clone());
        let put = self.with(move |connection| {
            let transaction = connection.transaction()?;
            let there = look(&transaction, name.as_str())?.map(page);
            if there.as_ref() == Some(&wanted) {
                return Ok(None);
            }
            if there.as_ref().map_or(0, |there| there.version) + 1 != wanted.version {
                return Ok(Some(there));
            }
            let version = i64::try_from(wanted.version).unwrap_or(i64::MAX);
            transaction
                .prepare_cached("INSERT OR REPLACE INTO outboxes (application, version, text) VALUES (?1, ?2, ?3)")?
                .execute(params![name.as_str(), version, wanted.text])?;
            transaction.commit()?;
            Ok(None)
        });
        match put.await {
            Ok(None) => Ok(()),
            Ok(Some(found)) => Err(PutError::Lost { application: application.clone(), found: found.map(Box::new) }),
            Err(reason) => Err(PutError::Failed { reason }),
        }
    }
}
