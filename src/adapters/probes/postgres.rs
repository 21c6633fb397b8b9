//! The heartbeat over real PostgreSQL connections: to Aurora, RDS, or any server that speaks its protocol.
//!
//! Invariant: what a beat's answer means is decided here and nowhere else. The server's word after the commit is an
//! acknowledgement; its word before is a refusal or a reason, and the transaction is rolled back; silence, and a
//! connection that ends, is unknown once the statement has been sent, and not written before.
//!
//! At most two connections to a database, one for beats and one for looks, kept alive, and made anew when in doubt.
//! Not here: when to beat, which Region writes, what follows.

mod databases;
mod secret;
mod session;
mod statement;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use tokio_postgres::{
    SimpleQueryMessage,
    error::{Severity, SqlState},
};

use self::{
    secret::Secrets,
    session::{Session, explain},
};
use super::within;
use crate::{
    domain::{
        heartbeat::{Beat, BeatAnswer, DatabaseEndpoint, Heartbeat, Shown},
        id::BeaterId,
    },
    ports::{Clock, Heartbeats, heartbeat::LookError},
};

pub use session::APPLICATION_NAME;

/// What makes the table, its user and the grants (docs/heartbeat.md).
pub const SCHEMA: &str = include_str!("postgres/heartbeat.sql");

/// What grants the heartbeat's user what fence.connections needs (docs/fences.md).
pub const FENCE_GRANTS: &str = include_str!("postgres/fence.sql");

/// The connections of every configured heartbeat.
#[derive(Debug)]
pub struct PostgresHeartbeats {
    clock: Arc<dyn Clock>,
    secrets: Secrets,
    databases: Mutex<BTreeMap<DatabaseEndpoint, Arc<Database>>>,
}

/// The two connections to one database. Whoever uses one takes it out, and puts it back if it is as good as before:
/// what was given up half-way is dropped.
#[derive(Default)]
struct Database {
    beats: Slot,
    looks: Slot,
}

type Slot = tokio::sync::Mutex<Option<Session>>;

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").finish_non_exhaustive()
    }
}

impl PostgresHeartbeats {
    /// For `heartbeats`, whose passwords are in `environment` or in files. Of the environment, only what they refer
    /// to is kept. Nothing is opened yet.
    pub fn new<'a>(
        clock: Arc<dyn Clock>,
        heartbeats: impl IntoIterator<Item = &'a Heartbeat>,
        environment: &BTreeMap<String, String>,
    ) -> Self {
        Self { clock, secrets: Secrets::of(heartbeats, environment), databases: Mutex::default() }
    }

    fn database(&self, at: &DatabaseEndpoint) -> Arc<Database> {
        let mut databases = self.databases.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(databases.entry(at.clone()).or_default())
    }

    /// The session in `slot`, or a new one.
    async fn session(&self, slot: &mut Option<Session>, at: &DatabaseEndpoint) -> Result<Session, String> {
        match slot.take().filter(|s| !s.is_closed()) {
            Some(session) => Ok(session),
            None => Session::open(at, &self.secrets, &*self.clock).await,
        }
    }

    async fn look(&self, at: &DatabaseEndpoint, text: &str) -> Result<Vec<SimpleQueryMessage>, LookError> {
        let shown = || format!("{} ({})", at.address, at.region);
        let no_answer = |reason: String| LookError::NoAnswer { at: shown(), reason };
        let database = self.database(at);
        let work = async {
            let mut slot = database.looks.lock().await;
            let session = self.session(&mut slot, at).await.map_err(no_answer)?;
            match session.ask(text).await {
                Ok(answer) => {
                    *slot = Some(session);
                    Ok(answer)
                }
                Err(e) if is_rolled_back(&e) => {
                    *slot = Some(session);
                    Err(LookError::Rejected { at: shown(), reason: explain(&e) })
                }
                Err(e) => Err(no_answer(explain(&e))),
            }
        };
        let answer = within(&*self.clock, at.timeout, work).await;
        answer.unwrap_or_else(|| Err(no_answer(format!("no answer within {:?}", at.timeout))))
    }
}

#[async_trait]
impl Heartbeats for PostgresHeartbeats {
    async fn beat(&self, at: &DatabaseEndpoint, beat: &Beat) -> BeatAnswer {
        let database = self.database(at);
        let is_sent = AtomicBool::new(false);
        let work = async {
            let mut slot = database.beats.lock().await;
            let session = match self.session(&mut slot, at).await {
                Ok(session) => session,
                Err(reason) => return BeatAnswer::NotWritten { reason },
            };
            is_sent.store(true, Ordering::Relaxed);
            match session.ask(&statement::beat(beat)).await {
                Ok(_committed) => {
                    *slot = Some(session);
                    BeatAnswer::Acknowledged
                }
                Err(e) if is_rolled_back(&e) => {
                    *slot = Some(session);
                    let reason = explain(&e);
                    if e.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION) {
                        BeatAnswer::Refused { reason }
                    } else {
                        BeatAnswer::NotWritten { reason }
                    }
                }
                Err(e) => BeatAnswer::Unknown { reason: explain(&e) },
            }
        };
        within(&*self.clock, at.timeout, work).await.unwrap_or_else(|| {
            let within = format!("within {:?}", at.timeout);
            if is_sent.load(Ordering::Relaxed) {
                BeatAnswer::Unknown { reason: format!("no answer {within}") }
            } else {
                BeatAnswer::NotWritten { reason: format!("no connection {within}") }
            }
        })
    }

    async fn last_beat(&self, at: &DatabaseEndpoint, beater: &BeaterId) -> Result<Shown, LookError> {
        let rows = rows(self.look(at, &statement::last_beat(beater)).await?);
        let shown = rows.first().and_then(|row| statement::shown(&|i| row.try_get(i).ok()?.map(str::to_owned), beater));
        shown.ok_or_else(|| LookError::Rejected {
            at: format!("{} ({})", at.address, at.region),
            reason: "the table failoverd.heartbeat holds what no daemon has written".to_owned(),
        })
    }

    async fn beats_held(
        &self,
        at: &DatabaseEndpoint,
        beater: &BeaterId,
        from: u64,
    ) -> Result<BTreeSet<u64>, LookError> {
        let rows = rows(self.look(at, &statement::beats_held(beater, from)).await?);
        Ok(rows.iter().filter_map(|row| row.try_get(0).ok()??.parse().ok()).collect())
    }
}

fn rows(messages: Vec<SimpleQueryMessage>) -> Vec<tokio_postgres::SimpleQueryRow> {
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    };
    messages.into_iter().filter_map(row).collect()
}

/// Whether the server itself said that it failed, and goes on: then its transaction was rolled back. A server that
/// ends the connection with its words (FATAL, PANIC) may have come to its end after the commit.
fn is_rolled_back(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|said| said.parsed_severity() == Some(Severity::Error))
}
