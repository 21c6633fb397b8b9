//! The copy of the journals that a daemon keeps on its own disk, for the day when the table is lost.
//!
//! Each journal is read on from where the copy ends, every few seconds, whoever leads: one strongly consistent read of what
//! is new. Nothing waits for it, and a copy that cannot be written stops nothing: its age says so.
//!
//! Invariant: the copy is a prefix of the journal, verified record by record; it is never shortened and never mended.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::place::{Copied, Place};
use crate::{
    adapters::store::SqliteStore,
    config::{Settings, Store},
    domain::{
        id::{ApplicationName, Digest},
        journal::{self, Sealed, Tail},
    },
    ports::{Clock, JournalStore},
};

/// Between two readings of each journal.
const PERIOD: Duration = Duration::from_secs(5);

/// How many records are read at a time.
const BATCH: usize = 500;

/// Keeps the copy.
#[derive(Debug)]
pub struct Copier {
    store: Arc<dyn JournalStore>,
    copy: SqliteStore,
    place: Place,
    clock: Arc<dyn Clock>,
    applications: Vec<ApplicationName>,
    config_digest: Digest,
}

impl Copier {
    /// Beside the daemon of `settings`; `None` where none is to be kept, or where it cannot be, which is logged.
    pub fn beside(settings: &Settings, store: &Arc<dyn JournalStore>, clock: &Arc<dyn Clock>) -> Option<Self> {
        let offline = settings.offline.as_ref()?;
        if matches!(settings.store, Store::Sqlite { .. }) {
            return None;
        }
        let place = Place::of(offline);
        let opened = place.make().and_then(|()| Ok(SqliteStore::open(&place.journals())?));
        let copy = match opened {
            Ok(copy) => copy,
            Err(error) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    "no copy of the journals is kept: a failover offline would not know them"
                );
                return None;
            }
        };
        Some(Self {
            store: Arc::clone(store),
            copy,
            place,
            clock: Arc::clone(clock),
            applications: settings.applications.iter().map(|app| app.name.clone()).collect(),
            config_digest: settings.digest.clone(),
        })
    }

    /// Until the daemon stops.
    pub async fn keep(self, stopping: CancellationToken) {
        let mut copied = self.place.copied();
        let mut tails: BTreeMap<ApplicationName, Tail> = BTreeMap::new();
        loop {
            let before = copied.clone();
            for application in &self.applications {
                match self.read_on(application, &mut tails).await {
                    Ok(tail) => {
                        let read_at = self.clock.wall();
                        let (records, hash) = (tail.next_seq, tail.hash.clone());
                        let now = Copied { records, hash, read_at, config_digest: self.config_digest.clone() };
                        copied.insert(application.clone(), now);
                    }
                    Err(why) => tracing::debug!(%application, why, "the copy of the journal was not read on"),
                }
            }
            if copied != before
                && let Err(error) = self.place.note(&copied)
            {
                tracing::warn!(%error, "how old the copy of the journals is cannot be noted");
            }
            tokio::select! {
                biased;
                () = stopping.cancelled() => return,
                () = self.clock.sleep(PERIOD) => {}
            }
        }
    }

    /// Copies what is new; the end of it.
    async fn read_on(
        &self,
        application: &ApplicationName,
        tails: &mut BTreeMap<ApplicationName, Tail>,
    ) -> Result<Tail, String> {
        let mut tail = match tails.get(application) {
            Some(tail) => tail.clone(),
            None => end_of(&self.copy, application).await?,
        };
        loop {
            // The newest record that is copied is read again: it must be what it was (FAULTS.md 26).
            let from = tail.next_seq.saturating_sub(1);
            let mut batch = self.store.read(application, from, BATCH).await.map_err(|e| e.to_string())?;
            let is_last = batch.len() < BATCH;
            if 0 < tail.next_seq {
                if batch.first().is_none_or(|(_, hash)| *hash != tail.hash) {
                    return Err(format!("record {from} of the journal is not the one that was copied"));
                }
                batch.remove(0);
            }
            tail = append(&self.copy, tail, batch).await?;
            tails.insert(application.clone(), tail.clone());
            if is_last {
                return Ok(tail);
            }
        }
    }
}

/// Where the journal of `application` ends in `store`, every record of it verified.
pub async fn end_of(store: &SqliteStore, application: &ApplicationName) -> Result<Tail, String> {
    let mut tail = Tail::empty();
    loop {
        let batch = store.read(application, tail.next_seq, BATCH).await.map_err(|e| e.to_string())?;
        let is_last = batch.len() < BATCH;
        for (bytes, hash) in batch {
            tail = journal::verify(&tail, &bytes, &hash).map_err(|e| e.to_string())?.1;
        }
        if is_last {
            return Ok(tail);
        }
    }
}

/// Appends what follows `tail`; the end of it then.
async fn append(to: &SqliteStore, mut tail: Tail, batch: Vec<(Vec<u8>, Digest)>) -> Result<Tail, String> {
    for (bytes, hash) in batch {
        let (record, after) = journal::verify(&tail, &bytes, &hash).map_err(|e| e.to_string())?;
        to.append(&Sealed { record, bytes, hash }).await.map_err(|e| e.to_string())?;
        tail = after;
    }
    Ok(tail)
}

/// Copies the whole journal of `application` from one file to another, from where the other ends.
pub async fn whole(from: &SqliteStore, to: &SqliteStore, application: &ApplicationName) -> Result<Tail, String> {
    let mut tail = end_of(to, application).await?;
    loop {
        let batch = from.read(application, tail.next_seq, BATCH).await.map_err(|e| e.to_string())?;
        let is_last = batch.len() < BATCH;
        tail = append(to, tail, batch).await?;
        if is_last {
            return Ok(tail);
        }
    }
}
