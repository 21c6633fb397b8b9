//! The outside world behind the ports. Adapters never name each other.

pub mod aws;
pub mod clock;
pub mod observers;
pub mod oidc;
pub mod probes;
pub mod store;
