//! What several test modules stand on: MiniStack; and for the engine's tests, the payments application over a simulated
//! world, the production engine in virtual time, a journal in memory that can crash, and the people who use the engine.

mod journal;
pub(crate) mod ministack;
mod scene;

pub(crate) use journal::{CrashPoint, MemoryJournal};
pub(crate) use scene::{Live, Played, Scene, incarnation, payments, region};
