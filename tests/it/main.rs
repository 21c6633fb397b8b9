//! The one integration binary: its modules and nothing else.

mod architecture;
mod cli_client;
mod http_api;
mod independent_emulator;
mod kill;
mod store_conformance;
mod support;
mod wire_face;
