//! The simplest store that keeps the ports' promises: what the others are held against, and the suite with them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use async_trait::async_trait;
use failoverd::{
    domain::{
        id::{ApplicationName, Digest},
        journal::{RECORD_BYTES_MAX, Sealed},
        lease::Lease,
    },
    ports::{
        JournalStore, Leases,
        journal::{AppendError, ReadError},
        lease::{PutError, ReadFailed},
    },
};

type Journals = BTreeMap<ApplicationName, Vec<(Vec<u8>, Digest)>>;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct MemoryStore {
    journals: Mutex<Journals>,
    leases: Mutex<BTreeMap<ApplicationName, Lease>>,
}

impl MemoryStore {
    fn journals(&self) -> MutexGuard<'_, Journals> {
        self.journals.lock().expect("nobody panics with it")
    }
}

#[async_trait]
impl JournalStore for MemoryStore {
    async fn append(&self, sealed: &Sealed) -> Result<(), AppendError> {
        if RECORD_BYTES_MAX < sealed.bytes.len() || Digest::of(&sealed.bytes) != sealed.hash {
            return Err(AppendError::Failed { reason: "unfit".to_owned() });
        }
        let (mut journals, record) = (self.journals(), &sealed.record);
        let there = journals.get(&record.journal).map_or(&[][..], Vec::as_slice);
        let tail = there.last().map_or_else(Digest::zero, |(_, hash)| hash.clone());
        if there.len() as u64 != record.seq || tail != record.prev_hash {
            return Err(AppendError::Conflict { journal: record.journal.clone(), seq: record.seq });
        }
        journals.entry(record.journal.clone()).or_default().push((sealed.bytes.clone(), sealed.hash.clone()));
        Ok(())
    }

    async fn read(
        &self,
        journal: &ApplicationName,
        from_seq: u64,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Digest)>, ReadError> {
        let from = usize::try_from(from_seq).unwrap_or(usize::MAX);
        let all = self.journals().get(journal).cloned().unwrap_or_default();
        Ok(all.into_iter().skip(from).take(limit).collect())
    }

    async fn journals(&self) -> Result<Vec<ApplicationName>, ReadError> {
        Ok(Self::journals(self).keys().cloned().collect())
    }
}

#[async_trait]
impl Leases for MemoryStore {
    async fn lease(&self, application: &ApplicationName) -> Result<Option<Lease>, ReadFailed> {
        Ok(self.leases.lock().expect("nobody panics with it").get(application).cloned())
    }

    async fn put(&self, application: &ApplicationName, lease: &Lease, over: Option<u64>) -> Result<(), PutError> {
        let mut leases = self.leases.lock().expect("nobody panics with it");
        let there = leases.get(application);
        if there == Some(lease) {
            return Ok(());
        }
        if there.map(|l| l.version) != over {
            let found = there.cloned().map(Box::new);
            return Err(PutError::Lost { application: application.clone(), found });
        }
        leases.insert(application.clone(), lease.clone());
        Ok(())
    }
}
