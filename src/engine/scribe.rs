//! The one writer of an application's journal in this process.
//!
//! Invariant: what an event requires is checked under the same lock as the append, and memory changes only after the
//! record is durable. When the store fails or somebody else has appended, nothing more is written and the process
//! must end: what is on disk is then read again.

use std::sync::{Arc, OnceLock};

use tokio::sync::{Mutex, broadcast};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        history::{History, IllegalEvent},
        id::ApplicationName,
        journal::{self, Event, Record, RecordTooLarge, Tail},
        sabotage::{Guard, is_off},
    },
    engine::{
        newest::{Changes, Newest},
        origin,
    },
    ports::{Clock, JournalStore, Observer, journal::AppendError},
};
use jiff::Timestamp;

/// How many records a slow live view may fall behind before it must read the journal again.
pub(super) const LIVE_RECORDS_MAX: usize = 256;

/// Why the process must end. Set once, by whoever finds out first.
#[derive(Debug, Default)]
pub struct Fatal {
    reason: OnceLock<String>,
    raised: CancellationToken,
}

impl Fatal {
    pub fn raise(&self, reason: String) {
        let _first_one_wins = self.reason.set(reason);
        self.raised.cancel();
    }

    /// Completes when the process must end, with the reason.
    pub async fn wait(&self) -> String {
        self.raised.cancelled().await;
        self.reason.get().cloned().unwrap_or_default()
    }

    pub fn is_raised(&self) -> bool {
        self.raised.is_cancelled()
    }
}

/// Why nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub enum CommitError<E> {
    /// The decision, made on the newest state, was not to.
    #[error("refused")]
    Refused(E),
    #[error(transparent)]
    Illegal(#[from] IllegalEvent),
    #[error(transparent)]
    TooLarge(#[from] RecordTooLarge),
    /// The store failed or another writer is at work: the process ends.
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// See the module.
#[derive(Debug)]
pub struct Scribe {
    application: ApplicationName,
    epoch: u64,
    current: Mutex<Arc<History>>,
    snapshot: Newest<Arc<History>>,
    live: broadcast::Sender<Arc<Record>>,
    store: Arc<dyn JournalStore>,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
    fatal: Arc<Fatal>,
}

/// What a scribe works with.
#[derive(Debug, Clone)]
pub struct Desk {
    pub store: Arc<dyn JournalStore>,
    pub clock: Arc<dyn Clock>,
    pub observer: Arc<dyn Observer>,
    pub fatal: Arc<Fatal>,
    /// Where every durable record is told. It outlives the scribe: whoever watches a run sees it whoever leads.
    pub live: broadcast::Sender<Arc<Record>>,
}

impl Scribe {
    /// Takes over a journal whose `history` was folded and verified, in a new epoch.
    pub async fn take_over(
        desk: Desk,
        history: History,
        holder: &str,
    ) -> Result<Self, CommitError<std::convert::Infallible>> {
        let history = Arc::new(history);
        let scribe = Self {
            application: history.application.clone(),
            epoch: if is_off(Guard::OldEpoch) { history.tail.epoch.max(1) } else { history.tail.epoch + 1 },
            snapshot: Newest::new(Arc::clone(&history)),
            current: Mutex::new(history),
            live: desk.live,
            store: desk.store,
            clock: desk.clock,
            observer: desk.observer,
            fatal: desk.fatal,
        };
        scribe.commit(|_, _| Ok((vec![Event::EpochStarted { holder: holder.to_owned() }], ()))).await?;
        Ok(scribe)
    }

    /// The newest durable state.
    pub fn history(&self) -> Arc<History> {
        self.snapshot.get()
    }

    /// Changes whenever a record becomes durable.
    pub fn changes(&self) -> Changes<Arc<History>> {
        self.snapshot.changes()
    }

    /// Decides on the newest state and appends what was decided, in one step. No events: nothing is written.
    pub async fn commit<T, E>(
        &self,
        decide: impl FnOnce(&History, Timestamp) -> Result<(Vec<Event>, T), E> + Send,
    ) -> Result<T, CommitError<E>> {
        let mut current = self.current.lock().await;
        let at = self.clock.wall();
        let (mut events, out) = decide(&current, at).map_err(CommitError::Refused)?;
        if events.is_empty() {
            return Ok(out);
        }
        events.extend(origin::of(&events));
        let mut after = current.check(at, &events)?;
        let sealed = journal::seal(&self.application, &current.tail, self.epoch, at, events)?;
        let began = self.clock.boot();
        if let Err(error) = self.store.append(&sealed).await
            && !is_off(Guard::FailedAppend)
        {
            self.fatal.raise(format!("journal of {}: {error}", self.application));
            return Err(error.into());
        }
        let seconds = self.clock.boot().saturating_sub(began).as_secs_f64();
        after.tail = Tail { next_seq: sealed.record.seq + 1, hash: sealed.hash, epoch: self.epoch };
        *current = Arc::new(after);
        self.snapshot.set(Arc::clone(&current));
        drop(current);
        self.observer.recorded(&sealed.record, seconds);
        // Nobody watching is not an error.
        let _no_receivers = self.live.send(Arc::new(sealed.record));
        Ok(out)
    }
}
