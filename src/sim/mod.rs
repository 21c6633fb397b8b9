//! The simulated AWS: a pure model of the Regions ([`world`]), its two faces ([`port`], [`wire`]), and what rehearses
//! disasters in it: what breaks ([`faults`]), the files that say so ([`scenario`]), what must never happen
//! ([`oracle`]), and the production engine in the midst of it ([`rehearse`]).

pub mod faults;
pub mod oracle;
pub mod port;
pub mod rehearse;
pub mod scenario;
pub mod wire;
pub mod world;
