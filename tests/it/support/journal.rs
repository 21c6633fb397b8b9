//! A journal store in memory. It keeps its records when an engine dies, and can stand still around one append, so that
//! the engine can be killed exactly there.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use failoverd::{
    domain::{
        id::{ApplicationName, Digest},
        journal::Sealed,
    },
    ports::{
        JournalStore,
        journal::{AppendError, ReadError},
    },
};
use tokio_util::sync::CancellationToken;

/// Where an append stands still, or fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CrashPoint {
    /// The record is not there.
    BeforeDurable,
    /// The record is there, and nobody is told.
    AfterDurable,
    /// The store fails, and the record is not there.
    Fails,
}

type Journals = BTreeMap<ApplicationName, Vec<(Vec<u8>, Digest)>>;

/// See the module. Clones share the records, not the crash.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryJournal {
    journals: Arc<Mutex<Journals>>,
    crash: Arc<Mutex<Option<(u64, CrashPoint)>>>,
    crashed: CancellationToken,
}

impl MemoryJournal {
    /// The same records, in a new process: without a crash to come.
    pub(crate) fn reopened(&self) -> Self {
        Self { journals: Arc::clone(&self.journals), ..Self::default() }
    }

    /// The append that follows `after` more is where it happens.
    pub(crate) fn crash_after(&self, after: u64, point: CrashPoint) {
        *self.crash.lock().expect("nobody panics while holding it") = Some((after, point));
    }

    /// Completes when an append stands still.
    pub(crate) async fn crashed(&self) {
        self.crashed.cancelled().await;
    }

    /// How many records all journals have.
    pub(crate) fn len(&self) -> u64 {
        self.journals.lock().expect("nobody panics while holding it").values().map(|j| j.len() as u64).sum()
    }

    /// What somebody else's disk would do to it: one byte of one record is another.
    pub(crate) fn flip_a_bit(&self, journal: &ApplicationName, seq: usize) {
        let mut journals = self.journals.lock().expect("nobody panics while holding it");
        let bytes = &mut journals.get_mut(journal).expect("a journal")[seq].0;
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
    }

    fn take_crash(&self) -> Option<CrashPoint> {
        let mut crash = self.crash.lock().expect("nobody panics while holding it");
        match *crash {
            Some((0, point)) => {
                *crash = None;
                Some(point)
            }
            Some((left, point)) => {
                *crash = Some((left - 1, point));
                None
            }
            None => None,
        }
    }

    async fn stand_still(&self) -> ! {
        self.crashed.cancel();
        std::future::pending().await
    }
}

#[async_trait]
impl JournalStore for MemoryJournal {
    async fn append(&self, sealed: &Sealed) -> Result<(), AppendError> {
        let point = self.take_crash();
        match point {
            Some(CrashPoint::BeforeDurable) => self.stand_still().await,
            Some(CrashPoint::Fails) => return Err(AppendError::Failed { reason: "disk full".to_owned() }),
            Some(CrashPoint::AfterDurable) | None => {}
        }
        {
            let mut journals = self.journals.lock().expect("nobody panics while holding it");
            let records = journals.entry(sealed.record.journal.clone()).or_default();
            let follows = records.len() as u64 == sealed.record.seq
                && records.last().map_or_else(Digest::zero, |(_, hash)| hash.clone()) == sealed.record.prev_hash;
            if !follows {
                return Err(AppendError::Conflict { journal: sealed.record.journal.clone(), seq: sealed.record.seq });
            }
            records.push((sealed.bytes.clone(), sealed.hash.clone()));
        }
        if point == Some(CrashPoint::AfterDurable) {
            self.stand_still().await;
        }
        Ok(())
    }

    async fn read(
        &self,
        journal: &ApplicationName,
        from_seq: u64,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Digest)>, ReadError> {
        let journals = self.journals.lock().expect("nobody panics while holding it");
        let from = usize::try_from(from_seq).expect("fits");
        Ok(journals.get(journal).into_iter().flatten().skip(from).take(limit).cloned().collect())
    }

    async fn journals(&self) -> Result<Vec<ApplicationName>, ReadError> {
        Ok(self.journals.lock().expect("nobody panics while holding it").keys().cloned().collect())
    }
}
