//! Looking at the application itself: over HTTP, and at names as their authoritative servers answer them.

use std::{fmt::Debug, time::Duration};

use async_trait::async_trait;

/// An HTTP GET to make. Redirects are not followed; the body is read up to a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpQuestion {
    pub url: String,
    pub timeout: Duration,
    /// Authoritative servers (`host:port`) to resolve the URL's host with, afresh; empty for the system's resolver.
    pub resolve_with: Vec<String>,
    /// The record type to ask for when `resolve_with` is given (`A` or `AAAA`).
    pub record_type: String,
}

/// How an HTTP probe ended. All of these are positive observations of the endpoint but `NotAsked`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpAnswer {
    Status {
        status: u16,
        body: String,
        address: Option<String>,
    },
    /// Refused, reset, or no answer within the timeout.
    NoAnswer {
        reason: String,
    },
    /// The question itself could not be put (a name that does not resolve, a bad URL): says nothing of the endpoint.
    NotAsked {
        reason: String,
    },
}

/// How a TCP connection attempt ended; made and closed, nothing is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TcpAnswer {
    Connected,
    /// Refused, reset, or not connected within the timeout.
    NoAnswer {
        reason: String,
    },
    /// The attempt could not be made (a name that does not resolve): says nothing of the endpoint.
    NotAsked {
        reason: String,
    },
}

/// Why a name server did not tell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    #[error("{server} did not answer: {reason}")]
    Unreachable { server: String, reason: String },
    #[error("{server} answered {code} for {name}")]
    Refused { server: String, name: String, code: String },
}

/// Probes leave nothing behind and may be repeated freely.
#[async_trait]
pub trait Probes: Send + Sync + Debug {
    async fn http(&self, question: &HttpQuestion) -> HttpAnswer;

    /// Connects to `address` (`host:port`), resolved afresh by the system's resolver, and closes.
    async fn tcp(&self, address: &str, timeout: Duration) -> TcpAnswer;

    /// What `server` (`host:port`) answers for `name`, asked over real DNS, no cache between.
    async fn dns(
        &self,
        server: &str,
        name: &str,
        record_type: &str,
        timeout: Duration,
    ) -> Result<Vec<String>, DnsError>;
}
