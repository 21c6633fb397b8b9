//! Death at a chosen append, for the tests that kill the real binary. Debug builds only: a release has none of it.
//!
//! `FAILOVERD_FAILPOINT=append:before:N` sends SIGKILL to the own process when its N-th append (from 1) arrives,
//! before anything of it is written; `append:after:N` when it is durable, before anybody learns of it. It does
//! deliberately no more than die: what a disk does wrong is tested where the disk is ([`super::SqliteStore`]).

use std::{
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;

use crate::{
    domain::{
        id::{ApplicationName, Digest},
        journal::Sealed,
    },
    ports::{
        JournalStore,
        journal::{AppendError, ReadError},
    },
};

/// The variable that names the append.
pub const VARIABLE: &str = "FAILOVERD_FAILPOINT";

/// On which side of the commit the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

/// Which append is the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failpoint {
    side: Side,
    /// Counted from 1, over all journals.
    append: u64,
}

/// The text names no append.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a failpoint: expected append:before:N or append:after:N with N from 1")]
pub struct InvalidFailpoint(String);

impl FromStr for Failpoint {
    type Err = InvalidFailpoint;

    fn from_str(text: &str) -> Result<Self, InvalidFailpoint> {
        let invalid = || InvalidFailpoint(text.to_owned());
        let (side, append) = match text.split(':').collect::<Vec<_>>()[..] {
            ["append", "before", n] => (Side::Before, n),
            ["append", "after", n] => (Side::After, n),
            _ => return Err(invalid()),
        };
        let append = append.parse().ok().filter(|n| *n > 0).ok_or_else(invalid)?;
        Ok(Self { side, append })
    }
}

/// `store`, with death at the failpoint that the environment names, if it names one.
///
/// # Errors
/// When the variable is set and names none: a test that kills nothing would pass for nothing.
#[expect(clippy::disallowed_methods, reason = "a switch of tests, not of the configuration")]
pub fn from_environment(store: Arc<dyn JournalStore>) -> Result<Arc<dyn JournalStore>, InvalidFailpoint> {
    match std::env::var(VARIABLE) {
        Ok(text) => {
            let failpoint = text.parse()?;
            tracing::warn!(failpoint = text, "this process will kill itself");
            Ok(Arc::new(Mortal { store, failpoint, appends: AtomicU64::new(0) }))
        }
        Err(_) => Ok(store),
    }
}

/// A store whose process dies at one append.
#[derive(Debug)]
struct Mortal {
    store: Arc<dyn JournalStore>,
    failpoint: Failpoint,
    appends: AtomicU64,
}

#[async_trait]
impl JournalStore for Mortal {
    async fn append(&self, sealed: &Sealed) -> Result<(), AppendError> {
        let append = self.appends.fetch_add(1, Ordering::SeqCst) + 1;
        let dies = |side| self.failpoint == Failpoint { side, append };
        if dies(Side::Before) {
            die().await;
        }
        let answer = self.store.append(sealed).await;
        if dies(Side::After) {
            die().await;
        }
        answer
    }

    async fn read(
        &self,
        journal: &ApplicationName,
        from_seq: u64,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Digest)>, ReadError> {
        self.store.read(journal, from_seq, limit).await
    }

    async fn journals(&self) -> Result<Vec<ApplicationName>, ReadError> {
        self.store.journals().await
    }
}

async fn die() {
    let sent = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    sent.expect("a process may signal itself");
    // Dead already, or in a moment.
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failpoint_names_one_append_and_a_side_of_it() {
        assert_eq!("append:before:3".parse(), Ok(Failpoint { side: Side::Before, append: 3 }));
        assert_eq!("append:after:1".parse(), Ok(Failpoint { side: Side::After, append: 1 }));
        for wrong in ["", "append:before:0", "append:during:1", "read:before:1", "append:after:x"] {
            assert!(wrong.parse::<Failpoint>().is_err(), "{wrong}");
        }
    }
}
