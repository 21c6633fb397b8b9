//! The world as AWS endpoints over HTTP, so that the real SDKs, boto3 and the aws command line talk to it.
//!
//! Deliberately shares nothing with `adapters`: what both could get wrong together would never be found.

pub mod rds;
