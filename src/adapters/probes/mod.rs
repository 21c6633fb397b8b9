//! Looking at an application from here: HTTP by reqwest, names by real DNS messages, TCP by connecting; and (in [`postgres`], a port of
//! its own) its databases.
//!
//! Invariant: every question ends within its timeout *on the given clock*, and every answer is from this moment:
//! no connection, address or record is kept from an earlier question. Not here: what an answer means for the
//! application's health, retries, or a second vantage point.

mod dns;
pub mod files;
mod http;
pub mod postgres;
mod tcp;

use std::{io, sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{
    domain::{causes::chain, egress::Egress},
    ports::{
        Clock, Probes,
        probes::{DnsError, HttpAnswer, HttpQuestion, TcpAnswer},
    },
};

/// Probes over the network of this machine.
#[derive(Debug)]
pub struct NetProbes {
    clock: Arc<dyn Clock>,
    client: reqwest::Client,
    egress: Egress,
}

/// The HTTP client could not be made: TLS has no roots, for example.
#[derive(Debug, thiserror::Error)]
#[error("make the HTTP client of the probes")]
pub struct ClientError(#[source] reqwest::Error);

impl NetProbes {
    /// Probes whose timeouts run on `clock`, to addresses that `egress` allows (FAULTS.md 92). Name servers are not among them:
    /// the resolver of a VPC has a link-local address, and answers with records only.
    ///
    /// # Errors
    /// When TLS cannot be set up on this machine.
    pub fn new(clock: Arc<dyn Clock>, egress: Egress) -> Result<Self, ClientError> {
        Ok(Self { clock, client: http::client().map_err(ClientError)?, egress })
    }
}

#[async_trait]
impl Probes for NetProbes {
    async fn http(&self, question: &HttpQuestion) -> HttpAnswer {
        http::ask(&self.client, &*self.clock, &self.egress, question).await
    }

    async fn tcp(&self, address: &str, timeout: Duration) -> TcpAnswer {
        tcp::connect(&*self.clock, &self.egress, address, timeout).await
    }

    async fn dns(
        &self,
        server: &str,
        name: &str,
        record_type: &str,
        timeout: Duration,
    ) -> Result<Vec<String>, DnsError> {
        dns::ask(&*self.clock, server, name, record_type, timeout).await
    }
}

/// `work`, or `None` once `timeout` has passed on the clock.
async fn within<T>(clock: &dyn Clock, timeout: Duration, work: impl Future<Output = T> + Send) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = clock.sleep(timeout) => None,
    }
}

/// Whether the fault is this machine's: no way out of it, or no socket left. Then the endpoint was not asked.
fn is_local(e: &io::Error) -> bool {
    // Linux: EMFILE, ENFILE, ENOBUFS, ENOMEM have no stable kind.
    const OURS: &[i32] = &[24, 23, 105, 12];
    matches!(e.kind(), io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable)
        || e.raw_os_error().is_some_and(|code| OURS.contains(&code))
}

#[cfg(test)]
mod tests;
