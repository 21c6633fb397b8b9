//! The one integration binary: linking it once is what keeps the tests quick.

mod independent_emulator;
