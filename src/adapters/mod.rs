//! The outside world behind the ports. Adapters never name each other.

pub mod observers;
