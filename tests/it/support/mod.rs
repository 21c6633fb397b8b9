//! What the engine's tests share: the payments application over a simulated world, the production engine in virtual
//! time, a journal in memory that can crash, and the people who use the engine.

mod journal;
mod scene;

pub use journal::{CrashPoint, MemoryJournal};
pub use scene::{Live, Played, Scene, incarnation, payments, region};
