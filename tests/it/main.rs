//! The one integration binary: its modules and nothing else.

mod architecture;
mod independent_emulator;
mod wire_face;
