//! The world as AWS endpoints over HTTP, so that the real SDKs, boto3 and the aws command line talk to it.
//!
//! Deliberately shares nothing with `adapters`: what both could get wrong together would never be found.

pub mod arc;
pub mod dns;
pub mod route53;

use std::sync::{Arc, Mutex, PoisonError};

use super::world::World;

/// The world, shared by every server. (Stands in for the one with a clock until that is merged.)
#[derive(Clone)]
pub struct SharedWorld(Arc<Mutex<World>>);

impl SharedWorld {
    /// Shares `world`.
    pub fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    /// Runs `f` alone with the world.
    pub fn with<R>(&self, f: impl FnOnce(&mut World) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
