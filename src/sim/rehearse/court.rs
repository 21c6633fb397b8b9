//! The oracle with everything that it looks at: the world, the journal, the calls that left the process.
//!
//! Invariant: it is called after every event with the world as it then is, and changes nothing.

use std::collections::BTreeMap;

use super::store::MemoryStore;
use crate::{
    domain::id::ApplicationName,
    sim::{
        oracle::{Known, Oracle, Seen, Violation},
        world::World,
    },
};

/// See the module.
#[derive(Debug)]
pub(super) struct Court {
    oracle: Oracle,
    store: MemoryStore,
    application: ApplicationName,
    events: u64,
    /// Refusals that people met, by code.
    refusals: BTreeMap<&'static str, u64>,
}

impl Court {
    pub(super) fn new(known: Known, store: MemoryStore, application: ApplicationName) -> Self {
        Self { oracle: Oracle::new(known), store, application, events: 0, refusals: BTreeMap::new() }
    }

    /// After an event.
    pub(super) fn look(&mut self, world: &World) {
        self.events += 1;
        let oracle = &mut self.oracle;
        self.store.with(&self.application, |journal| oracle.look(&Seen { world, journal, calls: &world.calls }));
    }

    /// At the end.
    pub(super) fn finish(&mut self, world: &World, healed: bool) {
        self.look(world);
        let oracle = &mut self.oracle;
        self.store.with(&self.application, |journal| {
            oracle.finish(&Seen { world, journal, calls: &world.calls }, healed);
        });
    }

    /// A record of the past was changed from outside: the oracle must not take that for the engine's doing.
    pub(super) fn rotted(&mut self) {
        self.oracle.expect_rot();
    }

    /// A person was refused with this code.
    pub(super) fn saw(&mut self, code: &'static str) {
        *self.refusals.entry(code).or_default() += 1;
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
