//! The one integration binary: its modules and nothing else.

mod architecture;
mod engine_crash;
mod engine_failover;
mod engine_people;
mod engine_planned;
mod engine_trouble;
mod support;
