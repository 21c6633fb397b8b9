//! The async shell around the pure domain: watch, decide, execute, recover.
//!
//! Invariant: every effect passes through the journal, and all time through [`crate::ports::Clock`].

pub mod control;
