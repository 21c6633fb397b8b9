//! What must never happen (FAULTS.md section 2), judged from the world's side only.
//!
//! Invariant: nothing here is shared with the engine: journals are read as JSON text, hashes are taken with the hash
//! crate itself, and what is true is what the world says. A property that was never checked has count 0 and shows it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    domain::id::Region,
    sim::world::{SimTime, World},
};

/// What the oracle knows of the application, put together by the stage and not by the engine.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    pub application: String,
    pub regions: Vec<Region>,
    pub rpo_ms: u64,
    pub rto_ms: u64,
    /// Identifiers of global clusters.
    pub global_clusters: Vec<String>,
    /// The name that clients resolve, and the address that each Region answers at.
    pub record_name: Option<String>,
    pub addresses: BTreeMap<Region, std::net::Ipv4Addr>,
    /// Routing controls by Region.
    pub controls: BTreeMap<Region, String>,
}

/// One mutation as it left the process, whether or not it arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub at: SimTime,
    /// As the engine names it, such as `rds:FailoverGlobalCluster`.
    pub operation: String,
    /// The whole call as JSON.
    pub arguments: Value,
    /// How many records of the journal were durable when it left: what is before a call is not read off clocks.
    pub durable: usize,
    /// Whether the world was changed by it, where that is known yet.
    pub arrived: Option<bool>,
}

/// A record of the journal as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub bytes: Vec<u8>,
    pub hash: String,
    /// When it became durable, in the world's time (the record's own `at` is the daemon's clock, which may be wrong).
    pub at: SimTime,
}

/// Everything that is looked at.
pub struct Seen<'a> {
    pub world: &'a World,
    pub journal: &'a [Stored],
    pub calls: &'a [Call],
    /// Sequence numbers of the records that a fault has damaged on the disk (FAULTS.md 14).
    pub damaged: &'a [u64],
}

/// A property that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// `S5`, `L3`, `history`, or `expect`.
    pub property: &'static str,
    pub at: SimTime,
    /// A sentence for people: what happened, and why that must not be.
    pub text: String,
}

/// See the module.
#[derive(Debug)]
pub struct Oracle {
    known: Known,
    violations: Vec<Violation>,
    checked: BTreeMap<&'static str, u64>,
}

impl Oracle {
    pub fn new(known: Known) -> Self {
        Self { known, violations: Vec::new(), checked: BTreeMap::new() }
    }

    /// After every event.
    pub fn look(&mut self, seen: &Seen<'_>) {
        let _ = (&self.known, seen);
    }

    /// At the end of the rehearsal; `healed` where the liveness phase was long enough to ask for an end.
    pub fn finish(&mut self, seen: &Seen<'_>, healed: bool) {
        let _ = (seen, healed);
    }

    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// How often each property was checked in earnest (its premise held).
    pub fn checked(&self) -> &BTreeMap<&'static str, u64> {
        &self.checked
    }
}
