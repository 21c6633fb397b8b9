//! The heartbeat's rows in the databases themselves.

use std::{collections::BTreeSet, fmt::Debug};

use async_trait::async_trait;

use crate::domain::{
    heartbeat::{Beat, BeatAnswer, DatabaseEndpoint, Shown},
    id::BeaterId,
};

/// Why a database did not show its rows. Says nothing about whether it takes writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookError {
    /// No connection, no login, or no answer in time.
    #[error("{at} did not answer: {reason}")]
    NoAnswer { at: String, reason: String },
    /// The server answered that it will not or cannot: no table, no permission.
    #[error("{at} does not show its heartbeat: {reason}")]
    Rejected { at: String, reason: String },
}

/// Crash semantics: a beat is one row, committed or not, sent at most once and never repeated here; when the process
/// or the answer is lost it may have been written, which [`BeatAnswer::Unknown`] says. Looks leave nothing behind.
///
/// A beat is written by the very server at `at`, or by none: a secondary that would forward it to the writer must
/// refuse it. Every method ends within the endpoint's timeout, whatever the server does, and keeps at most two
/// connections to a database.
#[async_trait]
pub trait Heartbeats: Send + Sync + Debug {
    /// Writes one row, and removes those that are too old to be kept.
    async fn beat(&self, at: &DatabaseEndpoint, beat: &Beat) -> BeatAnswer;

    /// The newest row of `beater`, and of anybody.
    async fn last_beat(&self, at: &DatabaseEndpoint, beater: &BeaterId) -> Result<Shown, LookError>;

    /// The numbers of the beats of `beater` that are there, from `from` on; bounded by the rows that are kept.
    async fn beats_held(&self, at: &DatabaseEndpoint, beater: &BeaterId, from: u64)
    -> Result<BTreeSet<u64>, LookError>;
}
