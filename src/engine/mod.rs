//! The async shell around the pure domain: watch, decide, execute, recover.
//!
//! Invariant: every effect passes through the journal, and all time through [`crate::ports::Clock`].
//!
//! ```text
//! Engine ── per application ──┬─ Scribe    the one writer of the journal
//!                             ├─ executor  fold → next → a Driver per step
//!                             ├─ Watcher   signals → assessment → decision
//!                             ├─ Alone     a decision to start, where it is armed → run
//!                             ├─ capacities what each Region has, remembered for the worst day
//!                             ├─ preflight whether what is armed could run; rounds: whether every application could
//!                             ├─ schedules drills that are due → run
//!                             ├─ notices   that something armed is over
//!                             └─ outbox    what people are told, over every channel
//! ```
//!
//! It deliberately knows no HTTP, no AWS SDK and no file: see `ports`.

pub mod ages;
pub mod alone;
mod answers;
pub mod aurora;
pub mod automatic;
mod blind;
mod budget;
pub mod capacities;
pub mod coalesce;
mod consents;
pub mod context;
pub mod control;
pub mod deadlines;
mod deferred;
pub mod denial;
pub mod desk;
mod detached;
mod drills;
pub mod effect;
pub mod escalation;
mod evidence;
pub mod executor;
mod faults;
pub mod fences;
mod flaps;
pub mod gates;
pub mod guards;
mod lease;
pub mod look;
pub mod metrics;
pub mod newest;
pub mod notices;
pub mod observations;
pub mod observe;
pub mod opposite;
pub mod origin;
pub mod outbox;
pub mod outlook;
pub mod outpost;
pub mod overrides;
mod postcondition;
pub mod preflight;
pub mod prior;
pub mod probing;
pub mod pulse;
pub mod ramp;
pub mod reach;
pub mod recover;
pub mod requests;
mod restore;
mod salvage;
pub mod sample;
mod schedules;
pub mod scribe;
mod seat;
pub mod settle;
mod sharing;
mod signal_probing;
pub mod signatures;
pub mod signs;
mod standby_object;
pub mod step;
pub mod tenancy;
pub mod trail;
pub mod trend;
pub mod undo;
pub mod vantages;
pub mod watch;
pub mod whereabouts;

pub use desk::{Engine, Parts};
pub use sharing::Sharing;
