//! Those who are told what was recorded.

pub mod otlp;
pub mod outgoing;
pub mod prometheus;
mod secret;
pub mod several;
pub mod webhook;
