//! The one integration binary: its modules and nothing else.

mod architecture;
mod cli_client;
mod emulator_failover;
mod http_api;
mod independent_emulator;
mod store_conformance;
mod support;
mod wire_face;
