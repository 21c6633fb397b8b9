//! What several test modules stand on: MiniStack; for the tests of the real binary a simulated AWS with a directory of
//! its own ([`stage`]), the process that is killed ([`daemon`]) and the people who ask for runs ([`people`]); and for
//! the engine's tests the payments application over a simulated world, and the production engine in virtual time on
//! the rehearsals' store.

pub(crate) mod daemon;
pub(crate) mod dynamodb;
pub(crate) mod line;
pub(crate) mod ministack;
pub(crate) mod observers;
mod oversight;
pub(crate) mod people;
pub(crate) mod postgres;
pub(crate) mod replica;
pub(crate) mod scene;
pub(crate) mod stage;
pub(crate) mod trio;

pub(crate) use oversight::{Overseen, Oversight};
pub(crate) use scene::{Fall, Live, Played, Scene, disaster, incarnation, payments, region};
