//! The engine's view of everything outside it. Each trait says what a crash can leave behind.

pub mod behalf;
pub mod clock;
pub mod cloud;
pub mod daemons;
pub mod databases;
pub mod heartbeat;
pub mod identities;
pub mod journal;
pub mod lease;
pub mod messenger;
pub mod observer;
pub mod outboxes;
pub mod probes;

pub use clock::Clock;
pub use cloud::Cloud;
pub use daemons::Daemon;
pub use databases::Databases;
pub use heartbeat::Heartbeats;
pub use identities::Identities;
pub use journal::JournalStore;
pub use lease::Leases;
pub use messenger::Messenger;
pub use observer::Observer;
pub use outboxes::Outboxes;
pub use probes::Probes;
