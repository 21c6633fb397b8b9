//! Spans as values, and where their ids come from.
//!
//! Invariant: an id is made of what the span is about and of nothing else, so that whoever goes on with a run makes the same
//! ids. Attributes hold names of the configuration, ids, codes and numbers: no text that a person or AWS has written.

use jiff::Timestamp;

use crate::domain::id::{Digest, RunId};

/// The most events that a span carries.
pub const EVENTS_MAX: usize = 128;

/// Which trace: 16 bytes, never all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TraceId(u128);

impl TraceId {
    /// The trace of `run`: the 32 hexadecimal digits at the end of its id.
    pub fn of(run: &RunId) -> Self {
        let text = run.as_str();
        let digits = text.len().checked_sub(32).and_then(|at| text.get(at..));
        let number = digits.and_then(|digits| u128::from_str_radix(digits, 16).ok()).unwrap_or_default();
        Self(number.max(1))
    }

    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl std::fmt::Display for TraceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Which span of a trace: 8 bytes, never all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpanId(u64);

impl SpanId {
    /// The id of what `parts` name together.
    pub(super) fn of(parts: &[&str]) -> Self {
        let digest = Digest::of(parts.join("\n").as_bytes());
        let number = digest.as_str().get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok());
        Self(number.unwrap_or_default().max(1))
    }

    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

/// Whether a span is of this program alone, or a call that it makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Internal,
    Client,
}

/// How what a span is about ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Neither well nor ill: skipped, or waited for.
    Unset,
    Ok,
    Error,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Number(i64),
    Flag(bool),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

/// Names with their values, in the order in which they are shown; no name twice.
pub type Attributes = Vec<(&'static str, Value)>;

/// Something that happened within a span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    pub at: Timestamp,
    pub name: &'static str,
    pub attributes: Attributes,
}

/// A span that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    pub trace: TraceId,
    pub id: SpanId,
    /// `None`: the root of its trace.
    pub parent: Option<SpanId>,
    pub name: String,
    pub kind: Kind,
    pub began: Timestamp,
    /// Not before `began`, unless the wall clock was set back in between.
    pub ended: Timestamp,
    pub status: Status,
    pub attributes: Attributes,
    /// At most [`EVENTS_MAX`].
    pub moments: Vec<Moment>,
    pub moments_dropped: u32,
}
