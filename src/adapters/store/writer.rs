//! The one thread that writes, and group commit: whatever waits when a commit begins goes into it together.
//!
//! Invariant: an append is answered only after the commit (`fsync`) that holds it, or after it was found not to
//! follow its journal. Each append of a group is judged alone: a conflict of one leaves the others be. After the
//! first fault of the disk nothing is written again: what the file holds is then known only to the next start.

use std::{
    fs::File,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior, params};
use tokio::sync::{mpsc, oneshot};

use crate::{
    domain::{
        id::{ApplicationName, Digest},
        journal::{RECORD_BYTES_MAX, Sealed},
    },
    ports::journal::AppendError,
};

/// Appends that may wait for the thread; beyond it, callers wait for room.
const WAITING_MAX: usize = 1_024;
/// Appends of one commit, so that the first of them does not wait for ever on the later.
const GROUP_MAX: usize = 512;
/// Bytes of one commit: about what a disk takes in a few tens of milliseconds.
const GROUP_BYTES_MAX: usize = 8 << 20;

type Answer = Result<(), AppendError>;

/// What of a sealed record is stored and compared.
struct Pending {
    journal: ApplicationName,
    seq: u64,
    prev_hash: Digest,
    bytes: Vec<u8>,
    hash: Digest,
    answer: oneshot::Sender<Answer>,
}

/// The handle of the writing thread. Dropping it finishes what waits, closes the file and joins the thread.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Pending>>,
    thread: Option<JoinHandle<()>>,
    commits: Arc<AtomicU64>,
}

impl Writer {
    /// Starts the thread. `lock` is held until the connection is closed.
    pub(super) fn start(connection: Connection, lock: Arc<File>) -> io::Result<Self> {
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        let commits = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&commits);
        let thread = thread::Builder::new().name("journal-writer".to_owned()).spawn(move || {
            write(connection, waiting, &counted);
            drop(lock);
        })?;
        Ok(Self { queue: Some(queue), thread: Some(thread), commits })
    }

    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Queues an append and waits for its commit. If the caller goes away, the append may still happen.
    pub(super) async fn append(&self, sealed: &Sealed) -> Answer {
        let failed = |reason: &str| AppendError::Failed { reason: reason.to_owned() };
        // Refused before anything is written (FAULTS.md 15): no reader could verify or carry such a record.
        if sealed.bytes.len() > RECORD_BYTES_MAX || Digest::of(&sealed.bytes) != sealed.hash {
            return Err(failed("the record is too large or does not have its hash"));
        }
        let (answer, answered) = oneshot::channel();
        let record = &sealed.record;
        let pending = Pending {
            journal: record.journal.clone(),
            seq: record.seq,
            prev_hash: record.prev_hash.clone(),
            bytes: sealed.bytes.clone(),
            hash: sealed.hash.clone(),
            answer,
        };
        let queue = self.queue.as_ref().ok_or_else(|| failed("the store is closed"))?;
        queue.send(pending).await.map_err(|_| failed("the writing thread has ended"))?;
        answered.await.map_err(|_| failed("the writing thread ended before it answered"))?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed, and answered its callers with `Failed`.
            let _ = thread.join();
        }
    }
}

fn write(mut connection: Connection, mut waiting: mpsc::Receiver<Pending>, commits: &AtomicU64) {
    let mut poison: Option<String> = None;
    while let Some(first) = waiting.blocking_recv() {
        let mut bytes = first.bytes.len();
        let mut group = vec![first];
        while group.len() < GROUP_MAX && bytes < GROUP_BYTES_MAX {
            let Ok(next) = waiting.try_recv() else { break };
            bytes += next.bytes.len();
            group.push(next);
        }
        let answers = match &poison {
            Some(reason) => failed(&group, reason),
            None => match commit(&mut connection, &group) {
                Ok(answers) => {
                    if answers.iter().any(Result::is_ok) {
                        commits.fetch_add(1, Ordering::Relaxed);
                    }
                    answers
                }
                Err(e) => {
                    let reason = reason(&e);
                    tracing::error!(%reason, "the journal store failed and accepts nothing more");
                    let answers = failed(&group, &reason);
                    poison = Some(format!("it failed before ({reason})"));
                    answers
                }
            },
        };
        for (pending, answer) in group.into_iter().zip(answers) {
            // Whoever does not wait any more reads the journal again.
            let _ = pending.answer.send(answer);
        }
    }
    if let Err((_, e)) = connection.close() {
        tracing::warn!(reason = %e, "the journal store did not close cleanly; nothing is lost by it");
    }
}

fn failed(group: &[Pending], reason: &str) -> Vec<Answer> {
    let failed = AppendError::Failed { reason: reason.to_owned() };
    group.iter().map(|_| Err(failed.clone())).collect()
}

/// One transaction for the whole group; an error is the disk's or SQLite's, and leaves the outcome unknown.
fn commit(connection: &mut Connection, group: &[Pending]) -> Result<Vec<Answer>, rusqlite::Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut answers = Vec::with_capacity(group.len());
    for pending in group {
        answers.push(append(&transaction, pending)?);
    }
    if answers.iter().any(Result::is_ok) {
        transaction.commit()?;
    } else {
        transaction.rollback()?;
    }
    Ok(answers)
}

/// Compare, then insert; both in the transaction that nobody else can be in.
fn append(connection: &Connection, pending: &Pending) -> Result<Answer, rusqlite::Error> {
    let journal = pending.journal.as_str();
    let tail: Option<(i64, String)> = connection
        .prepare_cached("SELECT seq, hash FROM records WHERE journal = ?1 ORDER BY seq DESC LIMIT 1")?
        .query_row([journal], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (next, prev_hash) = match tail {
        Some((seq, hash)) => (seq + 1, hash),
        None => (0, Digest::zero().into()),
    };
    if i64::try_from(pending.seq) != Ok(next) || pending.prev_hash.as_str() != prev_hash {
        return Ok(Err(AppendError::Conflict { journal: pending.journal.clone(), seq: pending.seq }));
    }
    connection
        .prepare_cached("INSERT INTO records (journal, seq, bytes, hash) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![journal, next, pending.bytes, pending.hash.as_str()])?;
    Ok(Ok(()))
}

/// What happened, in the words of whoever must act on it.
pub(super) fn reason(e: &rusqlite::Error) -> String {
    match e.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => format!("the disk is full ({e})"),
        Some(ErrorCode::SystemIoFailure) => format!("the disk reported an I/O error ({e})"),
        Some(ErrorCode::ReadOnly) => format!("the file cannot be written any more ({e})"),
        Some(ErrorCode::DatabaseBusy) => format!("another program holds the file locked ({e})"),
        _ => e.to_string(),
    }
}
