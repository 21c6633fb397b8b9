//! Those who are told what was recorded.

pub mod prometheus;
pub mod webhook;
