//! An effect that the journal says is about to be sent, and what became of it.

use serde_json::Value;

use super::journal::Record;
use crate::sim::world::SimTime;

/// An effect that is about to be sent.
#[derive(Debug)]
pub(super) struct Intent {
    pub run: String,
    pub step: String,
    pub attempt: u64,
    /// It takes back what its step has done.
    pub is_undo: bool,
    /// Which of the step's calls, from 0.
    pub call: u64,
    /// How often a person had said to go on.
    pub resumes: u64,
    pub mutation: Value,
    /// What the journal says was there before; null where it does not.
    pub prior: Value,
    pub epoch: u64,
    /// The record that holds it.
    pub record: usize,
    pub at: SimTime,
    pub clock_ahead_ms: i64,
    /// The record that closed it: an answer, or the end of its step or run.
    pub closed: Option<usize>,
    /// Whether it may still have an effect: not refused, and its step has not come to an end since.
    pub is_pending: bool,
    /// How its call was answered: `accepted`, `rejected`, `not_sent`, `unknown`; empty where it was not.
    pub outcome: String,
    /// When a call left for it.
    pub sent: Option<SimTime>,
}

impl Intent {
    pub(super) fn new(run: String, step: String, mutation: &Value, record: &Record) -> Self {
        Self {
            run,
            step,
            attempt: 0,
            call: 0,
            resumes: 0,
            is_undo: false,
            mutation: mutation.clone(),
            prior: Value::Null,
            epoch: record.epoch,
            record: record.index,
            at: record.at,
            clock_ahead_ms: record.clock_ahead_ms,
            closed: None,
            is_pending: true,
            outcome: String::new(),
            sent: None,
        }
    }
}
