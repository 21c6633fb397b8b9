//! The integration tests, one binary.

mod http_api;
