//! What a database server says of itself, and what it answers to a write: as values.
//!
//! Invariant: silence is no answer. A server that was not reached is in none of these states.

use serde::{Deserialize, Serialize};

/// How a server stands to writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerState {
    /// It replays somebody else's log, so it is no writer.
    pub in_recovery: bool,
    /// A transaction begun without a word about it may not write.
    pub read_only: bool,
}

impl ServerState {
    pub fn is_writable(self) -> bool {
        !self.in_recovery && !self.read_only
    }
}

/// What a probe expects of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    Writable,
    /// It answers, and takes no writes.
    ReadOnly,
    /// It answers.
    Answers,
}

impl Expect {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Writable => "writable",
            Self::ReadOnly => "read_only",
            Self::Answers => "answers",
        }
    }

    pub fn is_met_by(self, state: ServerState) -> bool {
        match self {
            Self::Writable => state.is_writable(),
            Self::ReadOnly => !state.is_writable(),
            Self::Answers => true,
        }
    }
}

/// Which of a Region's addresses is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Door {
    /// The address under which it takes writes when it is the writer.
    Writer,
    /// The one for reading, where it has one; else the same.
    Reader,
}

impl Door {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Writer => "writer",
            Self::Reader => "reader",
        }
    }
}

/// How a write that was tried ended. It was taken back by the same transaction, whatever happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteAnswer {
    /// The server took it: it writes.
    Taken,
    /// The server's own word that it takes none: in recovery, or read-only.
    Refused { reason: String },
    /// No answer, or one that says nothing about writes (no login, no table, no permission, no room).
    Unknown { reason: String },
}

/// The sessions of others on a server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sessions {
    pub count: u64,
    /// By role, for people.
    pub roles: Vec<String>,
}
