//! The one integration binary: its modules and nothing else.

mod architecture;
mod store_conformance;
