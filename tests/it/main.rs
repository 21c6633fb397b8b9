//! The one integration binary: its modules and nothing else.

mod architecture;
mod cli_client;
mod http_api;
mod independent_emulator;
mod store_conformance;
mod wire_face;
