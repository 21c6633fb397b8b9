//! The world as a cloud port: in process, in virtual time, so that whole disasters run in milliseconds.
//!
//! Invariant: every call first lets the world's time pass up to the clock's wall time, so that what a call sees and
//! does belongs to the moment at which it arrives. Answers and refusals are the world's own; what goes wrong on the
//! way (a plane that hangs, an answer that is lost) is decided here. It deliberately shares nothing with the adapters
//! or the wire: what both could get wrong together, no test would find.

pub mod clock;
pub mod cloud;
pub mod fault;
pub mod probes;
mod view;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use clock::SimClock;
pub use cloud::SimCloud;
pub use fault::{Fault, Faults, Moment};
pub use probes::SimProbes;

use crate::{
    ports::Clock,
    sim::world::{SimTime, World},
};

/// A world that passes time with a clock; clones share both.
#[derive(Clone)]
pub struct LiveWorld {
    world: Arc<Mutex<World>>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for LiveWorld {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveWorld").finish_non_exhaustive()
    }
}

impl LiveWorld {
    pub fn new(world: Arc<Mutex<World>>, clock: Arc<dyn Clock>) -> Self {
        Self { world, clock }
    }

    /// Does something to the world as it is now. A wall clock that was set back does not turn back the world's time.
    pub fn now<R>(&self, act: impl FnOnce(&mut World) -> R) -> R {
        let mut world = self.lock();
        let wall = u64::try_from(self.clock.wall().as_millisecond()).unwrap_or(0);
        world.advance_to(SimTime(wall));
        act(&mut world)
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
