//! A journal store in memory whose disk can fail, and around whose appends the process can die.
//!
//! Invariant: records outlive every process; what fails (a crash around one append, a full disk, an answer lost after
//! the commit) is armed from outside and leaves behind exactly what its name says. Without a fault it is held to the same
//! suite as the stores of production (`tests/it/store_conformance.rs`).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        id::{ApplicationName, Digest},
        journal::{RECORD_BYTES_MAX, Sealed},
    },
    ports::{
        JournalStore,
        journal::{AppendError, ReadError},
    },
    sim::{oracle::Stored, world::SimTime},
};

/// What happens around one append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Around {
    /// The process stands still before the record is durable, to be killed there.
    DieBefore,
    /// The record is durable, and the process stands still before anybody is told.
    DieAfter,
    /// The store fails, and the record is there.
    FailAfterCommit,
}

#[derive(Debug, Default)]
struct State {
    journals: BTreeMap<ApplicationName, Vec<Stored>>,
    appends: u64,
    /// By number of the append, counted over every process.
    around: BTreeMap<u64, Around>,
    fail_next: bool,
    /// So many reads fail yet.
    failing_reads: u32,
    full: bool,
    met: BTreeMap<u8, u64>,
}

/// See the module. Clones share the records; [`MemoryStore::reopened`] is what the next process opens.
#[derive(Clone)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    died: CancellationToken,
    /// The world's time.
    time: Arc<dyn Fn() -> SimTime + Send + Sync>,
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryStore").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self { state: Arc::default(), died: CancellationToken::new(), time: Arc::new(SimTime::default) }
    }
}

impl MemoryStore {
    /// The same records, as a new process opens them; `time` is the world's.
    pub fn reopened(&self, time: Arc<dyn Fn() -> SimTime + Send + Sync>) -> Self {
        Self { state: Arc::clone(&self.state), died: CancellationToken::new(), time }
    }

    /// Takes a [`MemoryStore::arm`] back; nothing where it has come already.
    pub fn disarm(&self, append: u64) {
        self.lock().around.remove(&append);
    }

    /// What happens around the append of this number, counted from 0 over all journals and processes.
    pub fn arm(&self, append: u64, around: Around) {
        self.lock().around.insert(append, around);
    }

    /// The next append fails although its record is there.
    pub fn fail_after_next_commit(&self) {
        self.lock().fail_next = true;
    }

    /// The next `reads` reads fail, and what is stored stays as it is.
    pub fn fail_reads(&self, reads: u32) {
        self.lock().failing_reads = reads;
    }

    /// Whether every append fails, its record not there.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// Flips one bit in the middle of a record; false where there is no such record.
    pub fn rot(&self, journal: &ApplicationName, record: usize) -> bool {
        let mut state = self.lock();
        let Some(stored) = state.journals.get_mut(journal).and_then(|records| records.get_mut(record)) else {
            return false;
        };
        let middle = stored.bytes.len() / 2;
        stored.bytes[middle] ^= 1;
        *state.met.entry(14).or_default() += 1;
        true
    }

    /// Forgets the newest `records` records of a journal, as a restore from a backup does.
    pub fn cut_off(&self, journal: &ApplicationName, records: usize) {
        if let Some(stored) = self.lock().journals.get_mut(journal) {
            stored.truncate(stored.len().saturating_sub(records));
        }
    }

    /// Completes when the process stands still around an append: it is dead.
    pub async fn died(&self) {
        self.died.cancelled().await;
    }

    /// How often each fault of FAULTS.md was met.
    pub fn met(&self) -> BTreeMap<u8, u64> {
        self.lock().met.clone()
    }

    /// How many appends there were.
    pub fn appends(&self) -> u64 {
        self.lock().appends
    }

    /// What is stored for `journal`, from `from` on.
    pub fn stored(&self, journal: &ApplicationName, from: usize) -> Vec<Stored> {
        self.lock().journals.get(journal).into_iter().flatten().skip(from).cloned().collect()
    }

    /// Does something with what is stored for `journal`, without a copy.
    pub fn with<R>(&self, journal: &ApplicationName, look: impl FnOnce(&[Stored]) -> R) -> R {
        look(self.lock().journals.get(journal).map_or(&[], Vec::as_slice))
    }

    async fn stand_still(&self) -> ! {
        self.died.cancel();
        std::future::pending().await
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What becomes of this append.
    fn next(&self) -> Fate {
        let mut state = self.lock();
        let number = state.appends;
        state.appends += 1;
        if state.full {
            *state.met.entry(13).or_default() += 1;
            return Fate::Full;
        }
        if std::mem::take(&mut state.fail_next) {
            *state.met.entry(13).or_default() += 1;
            return Fate::Met(Around::FailAfterCommit);
        }
        match state.around.remove(&number) {
            Some(around) => {
                let fault = if around == Around::DieBefore { 1 } else { 4 };
                *state.met.entry(fault).or_default() += 1;
                Fate::Met(around)
            }
            None => Fate::Stored,
        }
    }
}

enum Fate {
    Stored,
    Full,
    Met(Around),
}

fn failed(reason: &str) -> AppendError {
    AppendError::Failed { reason: reason.to_owned() }
}

#[async_trait]
impl JournalStore for MemoryStore {
    async fn append(&self, sealed: &Sealed) -> Result<(), AppendError> {
        // What no reader could verify is not stored, as in the stores of production.
        if RECORD_BYTES_MAX < sealed.bytes.len() || Digest::of(&sealed.bytes) != sealed.hash {
            return Err(failed("the record is too large, or its bytes do not have its hash"));
        }
        let fate = self.next();
        match fate {
            Fate::Full => return Err(failed("the disk is full")),
            Fate::Met(Around::DieBefore) => self.stand_still().await,
            Fate::Met(Around::DieAfter | Around::FailAfterCommit) | Fate::Stored => {}
        }
        {
            let at = (self.time)();
            let mut state = self.lock();
            let there = state.journals.get(&sealed.record.journal).map_or(&[][..], Vec::as_slice);
            let tail = there.last().map_or_else(|| Digest::zero().to_string(), |last| last.hash.clone());
            if there.len() as u64 != sealed.record.seq || tail != sealed.record.prev_hash.as_str() {
                return Err(AppendError::Conflict { journal: sealed.record.journal.clone(), seq: sealed.record.seq });
            }
            let records = state.journals.entry(sealed.record.journal.clone()).or_default();
            records.push(Stored { bytes: sealed.bytes.clone(), hash: sealed.hash.to_string(), at });
        }
        match fate {
            Fate::Met(Around::DieAfter) => self.stand_still().await,
            Fate::Met(Around::FailAfterCommit) => Err(failed("an I/O error after the commit")),
            Fate::Met(Around::DieBefore) | Fate::Full | Fate::Stored => Ok(()),
        }
    }

    async fn read(
        &self,
        journal: &ApplicationName,
        from_seq: u64,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Digest)>, ReadError> {
        let from = usize::try_from(from_seq).unwrap_or(usize::MAX);
        let corrupted = |e: crate::domain::id::InvalidName| ReadError::Corrupted { reason: e.to_string() };
        let mut state = self.lock();
        if let Some(left) = state.failing_reads.checked_sub(1) {
            state.failing_reads = left;
            return Err(ReadError::Failed { reason: "the disk reported an I/O error".to_owned() });
        }
        let records = state.journals.get(journal).into_iter().flatten().skip(from).take(limit);
        records.map(|s| Ok((s.bytes.clone(), s.hash.parse().map_err(corrupted)?))).collect()
    }

    async fn journals(&self) -> Result<Vec<ApplicationName>, ReadError> {
        Ok(self.lock().journals.keys().cloned().collect())
    }
}
