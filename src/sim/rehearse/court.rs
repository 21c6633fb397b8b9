//! The oracle with everything that it looks at: the world, the journal, the calls that left the process.
//!
//! Invariant: it is called after every event with the world as it then is, and changes nothing.

use std::{collections::BTreeMap, net::Ipv4Addr};

use super::store::MemoryStore;
use crate::{
    domain::id::{ApplicationName, Region},
    sim::{
        oracle::{Call, Known, Oracle, Seen, Violation},
        port::Sent,
        world::{SimTime, World},
    },
};

/// See the module.
#[derive(Debug)]
pub(super) struct Court {
    oracle: Oracle,
    store: MemoryStore,
    application: ApplicationName,
    addresses: BTreeMap<Region, Ipv4Addr>,
    calls: Vec<Call>,
    /// Sequence numbers of records that a fault has damaged.
    damaged: Vec<u64>,
    events: u64,
    /// Refusals that people met, by code.
    refusals: BTreeMap<&'static str, u64>,
}

impl Court {
    pub(super) fn new(known: Known, store: MemoryStore, application: ApplicationName) -> Self {
        Self {
            addresses: known.addresses.clone(),
            oracle: Oracle::new(known),
            store,
            application,
            calls: Vec::new(),
            damaged: Vec::new(),
            events: 0,
            refusals: BTreeMap::new(),
        }
    }

    /// After an event.
    pub(super) fn look(&mut self, world: &World) {
        self.events += 1;
        let (oracle, calls, damaged) = (&mut self.oracle, &self.calls, &self.damaged);
        self.store.with(&self.application, |journal| oracle.look(&Seen { world, journal, calls, damaged }));
    }

    /// A mutation leaves the process.
    pub(super) fn leaves(&mut self, sent: &Sent) {
        self.events += 1;
        self.calls.push(Call {
            at: sent.at,
            operation: sent.operation.clone(),
            arguments: sent.arguments.clone(),
            durable: self.store.with(&self.application, <[_]>::len),
            arrived: None,
        });
    }

    /// Once a second while nothing is wrong any more: whether somebody leads, who should within so long.
    pub(super) fn leads(&mut self, at: SimTime, somebody: bool, within_ms: u64) {
        self.oracle.leads(at, somebody, within_ms);
    }

    pub(super) fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// At the end.
    pub(super) fn finish(&mut self, world: &World, healed: bool) {
        self.look(world);
        let (oracle, calls, damaged) = (&mut self.oracle, &self.calls, &self.damaged);
        self.store.with(&self.application, |journal| {
            oracle.finish(&Seen { world, journal, calls, damaged }, healed);
        });
    }

    /// A record of the past was changed from outside: the oracle must not take that for the engine's doing.
    pub(super) fn rotted(&mut self, record: u64) {
        self.damaged.push(record);
    }

    /// A person was refused with this code.
    pub(super) fn saw(&mut self, code: &'static str) {
        *self.refusals.entry(code).or_default() += 1;
    }

    /// Where a Region answers.
    pub(super) fn address(&self, region: &Region) -> Option<Ipv4Addr> {
        self.addresses.get(region).copied()
    }

    pub(super) fn events(&self) -> u64 {
        self.events
    }

    pub(super) fn refusals(&self) -> &BTreeMap<&'static str, u64> {
        &self.refusals
    }

    pub(super) fn violations(&self) -> &[Violation] {
        self.oracle.violations()
    }

    pub(super) fn checked(&self) -> &BTreeMap<&'static str, u64> {
        self.oracle.checked()
    }
}
