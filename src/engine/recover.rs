//! Reading a journal back: every byte verified, every event folded. There is no other way to start.

use crate::{
    domain::{
        history::{History, IllegalEvent},
        id::ApplicationName,
        journal::{self, Corruption, Record},
    },
    ports::{JournalStore, journal::ReadError},
};

/// How many records are read at a time.
const READ_RECORDS_MAX: usize = 1_000;

/// Why an application's journal cannot be used. It is held: nothing is written to it, nothing is started for it.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the journal does not verify: {0}")]
    Corrupt(#[from] Corruption),
    #[error("the journal makes no sense: {0}")]
    Illegal(#[from] IllegalEvent),
}

/// Folds the whole journal of `application`.
pub async fn recover(store: &dyn JournalStore, application: &ApplicationName) -> Result<History, RecoverError> {
    let mut history = History::new(application.clone());
    loop {
        let batch = store.read(application, history.tail.next_seq, READ_RECORDS_MAX).await?;
        let last = batch.len() < READ_RECORDS_MAX;
        for (bytes, hash) in batch {
            let (record, tail) = journal::verify(&history.tail, &bytes, &hash)?;
            history.apply(&record, tail)?;
        }
        if last {
            return Ok(history);
        }
    }
}

/// The verified records of `application`, in order.
pub async fn records(store: &dyn JournalStore, application: &ApplicationName) -> Result<Vec<Record>, RecoverError> {
    let mut tail = journal::Tail::empty();
    let mut records = Vec::new();
    loop {
        let batch = store.read(application, tail.next_seq, READ_RECORDS_MAX).await?;
        let last = batch.len() < READ_RECORDS_MAX;
        for (bytes, hash) in batch {
            let (record, after) = journal::verify(&tail, &bytes, &hash)?;
            records.push(record);
            tail = after;
        }
        if last {
            return Ok(records);
        }
    }
}
