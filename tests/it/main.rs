//! The one integration binary: its modules and nothing else.
#![expect(
    clippy::disallowed_methods,
    reason = "tests poll with a deadline in real time, and read where the build put things"
)]

mod architecture;
mod cli_client;
mod engine_crash;
mod engine_failover;
mod engine_people;
mod engine_planned;
mod engine_trouble;
mod http_api;
mod independent_emulator;
mod store_conformance;
mod support;
mod wire_face;
