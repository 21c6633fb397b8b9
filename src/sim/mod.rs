//! The simulated AWS: a pure model of the Regions ([`world`]) and its two faces.

pub mod port;
pub mod wire;
pub mod world;
