//! What tests of the real binary share: a simulated AWS with a directory of its own ([`stage`]), the process that is
//! killed ([`daemon`]), and the people who ask for runs ([`people`]).

pub(crate) mod daemon;
pub(crate) mod people;
pub(crate) mod stage;
