//! The one integration binary: its modules and nothing else.

mod architecture;
mod cli_client;
mod http_api;
mod independent_emulator;
mod wire_face;
