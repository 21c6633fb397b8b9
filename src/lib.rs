//! failoverd moves an application from a failing AWS Region to a healthy one, and proves beforehand that it can.
//!
//! Data moves one way: samples become an [`domain::assessment`], a runbook becomes an immutable
//! [`domain::plan`], and a run is a fold of an append-only [`domain::journal`]. The folders are the
//! architecture; `tests/it/architecture.rs` holds who may name whom.

pub mod adapters;
pub mod app;
pub mod cli;
pub mod config;
pub mod domain;
pub mod engine;
pub mod http;
pub mod ports;
pub mod sim;
