//! What failoverd knows and decides: values and pure functions.
//!
//! Invariant: nothing here does I/O, reads a clock, draws randomness, or names tokio, an AWS SDK,
//! or any other folder of this crate. Time is an argument.

pub mod access;
pub mod action;
pub mod api_call;
pub mod application;
pub mod assessment;
pub mod backtest;
pub mod branch;
pub mod budget;
pub mod calendar;
pub mod capacity;
pub mod catalogue;
pub mod cloud;
pub mod code;
pub mod compile;
pub mod database;
pub mod deadline;
pub mod deferred;
pub mod detached;
pub mod document;
#[cfg(test)]
pub(crate) mod draft7;
pub mod drill;
pub mod evidence;
pub mod expression;
pub mod fault;
pub mod fence;
pub mod forecast;
pub mod heartbeat;
pub mod history;
pub mod hole;
pub mod id;
pub mod intervene;
pub mod issuer;
pub mod journal;
pub mod judge;
pub mod lease;
pub mod network;
pub mod overrides;
pub mod patch;
pub mod permissions;
pub mod plan;
pub mod policy;
pub mod ramp;
pub mod recovery;
pub mod replica;
pub mod report;
pub mod restore;
pub mod rules;
pub mod run;
pub mod runbook;
pub mod runs;
pub mod sabotage;
pub mod salvage;
pub mod seconds;
pub mod secret;
pub mod signal;
pub mod signal_probe;
pub mod signature;
pub mod stability;
pub mod standby_object;
pub mod undo;
pub mod vantage;
pub mod yaml;
