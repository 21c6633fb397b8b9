//! What failoverd knows and decides: values and pure functions.
//!
//! Invariant: nothing here does I/O, reads a clock, draws randomness, or names tokio, an AWS SDK,
//! or any other folder of this crate. Time is an argument.

pub mod action;
pub mod application;
pub mod assessment;
pub mod cloud;
pub mod id;
pub mod journal;
pub mod plan;
pub mod run;
pub mod seconds;
pub mod signal;
