//! The world as a cloud port: in process, in virtual time, so that whole disasters run in milliseconds.
//!
//! Invariant: every call first lets the world's time pass up to now, so that what a call sees and does belongs to the
//! moment at which it arrives. Answers and refusals are the world's own; what goes wrong on the way (a plane that
//! hangs, an answer that is lost) is decided here. It deliberately shares nothing with the adapters or the wire: what
//! both could get wrong together, no test would find.

pub mod clock;
pub mod cloud;
mod databases;
mod effect;
pub mod fault;
pub mod heartbeats;
pub mod log;
mod metrics;
pub mod outside;
mod permissions;
pub mod probes;
mod view;
mod way;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

pub use clock::SimClock;
pub use cloud::SimCloud;
pub use fault::{Departure, Fault, Faults, Moment, WindowId};
pub use heartbeats::{Beats, SimHeartbeats};
pub use log::Sent;
pub use outside::Outside;
pub use probes::SimProbes;

use crate::{
    ports::Clock,
    sim::world::{SimTime, World},
};

/// A world that passes time with a clock; clones share both.
///
/// Its time is its own: it goes on as the clock's boot time does, from where it stood when this was made. A wall clock
/// that jumps, which is one machine's error, moves it neither ahead nor back.
#[derive(Clone)]
pub struct LiveWorld {
    world: Arc<Mutex<World>>,
    clock: Arc<dyn Clock>,
    /// The world's time when the clock's boot time was `since`.
    base: SimTime,
    since: Duration,
    witness: Option<Witness>,
}

/// Who looks at the world after everything that is done to it.
pub type Witness = Arc<dyn Fn(&World) + Send + Sync>;

impl std::fmt::Debug for LiveWorld {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveWorld").finish_non_exhaustive()
    }
}

/// Milliseconds since the epoch that a clock shows.
fn wall(clock: &dyn Clock) -> SimTime {
    SimTime(u64::try_from(clock.wall().as_millisecond()).unwrap_or(0))
}

impl LiveWorld {
    /// The world's time is now what the clock's wall time is now: the clock is right at this moment.
    pub fn new(world: Arc<Mutex<World>>, clock: Arc<dyn Clock>) -> Self {
        let at = wall(&*clock);
        Self::starting_at(world, clock, at)
    }

    /// The world's time is `at` now, whatever the clock's wall time is.
    pub fn starting_at(world: Arc<Mutex<World>>, clock: Arc<dyn Clock>, at: SimTime) -> Self {
        let since = clock.boot();
        Self { world, clock, base: at, since, witness: None }
    }

    /// The same, looked at by `witness` after every event. It may not come back to this world: it is held meanwhile.
    pub fn watched_by(self, witness: Witness) -> Self {
        Self { witness: Some(witness), ..self }
    }

    /// Does something to the world as it is now. The world's time never turns back, also where it is ahead already.
    pub fn now<R>(&self, act: impl FnOnce(&mut World) -> R) -> R {
        let mut world = self.lock();
        world.advance_to(self.time());
        let done = act(&mut world);
        if let Some(witness) = &self.witness {
            witness(&world);
        }
        done
    }

    /// The world's time now.
    pub fn time(&self) -> SimTime {
        let passed = self.clock.boot().saturating_sub(self.since).as_millis();
        self.base.plus_ms(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    /// How far the caller's wall clock is off, in either direction.
    pub(crate) fn skew_ms(&self) -> u64 {
        wall(&*self.clock).0.abs_diff(self.time().0)
    }

    /// What the caller's wall clock shows.
    pub(crate) fn wall(&self) -> SimTime {
        wall(&*self.clock)
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
