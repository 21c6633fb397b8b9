//! Reading a journal back: every byte verified, every event folded. There is no other way to start.

use crate::{
    domain::{
        history::{History, IllegalEvent},
        id::{ApplicationName, Digest},
        journal::{self, Corruption, Record, Sealed},
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
    /// What this process has read is not there any more.
    #[error(
        "record {seq} of the journal is not what this replica has read before: the store was restored from a backup, or \
         is another one"
    )]
    Replaced { seq: u64 },
}

/// Folds the whole journal of `application`.
pub async fn recover(store: &dyn JournalStore, application: &ApplicationName) -> Result<History, RecoverError> {
    let mut history = History::new(application.clone());
    read_on(store, &mut history, |_| {}).await?;
    Ok(history)
}

/// Folds what was appended since `history` was read, and tells each record.
///
/// # Errors
/// Also where the newest record of `history` is not in the store any more: a table that was restored from a backup, or
/// another one, and nothing may follow from it (FAULTS.md 26).
pub async fn read_on(
    store: &dyn JournalStore,
    history: &mut History,
    mut tell: impl FnMut(Record) + Send,
) -> Result<(), RecoverError> {
    let application = history.application.clone();
    // The newest record that is known is read again with what follows: it must be what it was.
    let mut known = history.tail.next_seq.checked_sub(1).map(|seq| (seq, history.tail.hash.clone()));
    loop {
        let from = known.as_ref().map_or(history.tail.next_seq, |(seq, _)| *seq);
        let batch = store.read(&application, from, READ_RECORDS_MAX).await?;
        let last = batch.len() < READ_RECORDS_MAX;
        let mut records = batch.into_iter();
        if let Some((seq, hash)) = known.take() {
            let found = records.next().map(|(bytes, _)| Digest::of(&bytes));
            if found.as_ref() != Some(&hash) {
                return Err(RecoverError::Replaced { seq });
            }
        }
        for (bytes, hash) in records {
            let (record, tail) = journal::verify(&history.tail, &bytes, &hash)?;
            history.apply(&record, tail)?;
            tell(record);
        }
        if last {
            return Ok(());
        }
    }
}

/// The verified records of `application`, in order.
pub async fn records(store: &dyn JournalStore, application: &ApplicationName) -> Result<Vec<Record>, RecoverError> {
    let sealed = sealed(store, application).await?;
    Ok(sealed.into_iter().map(|sealed| sealed.record).collect())
}

/// The same, each with its bytes and hash as they are stored.
pub async fn sealed(store: &dyn JournalStore, application: &ApplicationName) -> Result<Vec<Sealed>, RecoverError> {
    let mut tail = journal::Tail::empty();
    let mut records = Vec::new();
    loop {
        let batch = store.read(application, tail.next_seq, READ_RECORDS_MAX).await?;
        let last = batch.len() < READ_RECORDS_MAX;
        for (bytes, hash) in batch {
            let (record, after) = journal::verify(&tail, &bytes, &hash)?;
            records.push(Sealed { record, bytes, hash });
            tail = after;
        }
        if last {
            return Ok(records);
        }
    }
}
