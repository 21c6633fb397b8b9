//! One TCP connection, made and closed: whether somebody listens.
//!
//! Invariant: as of HTTP, what the other end did is kept apart from what kept us from asking it.

use std::{net::SocketAddr, time::Duration};

use tokio::net::{TcpStream, lookup_host};

use super::{chain, is_local, within};
use crate::{
    domain::egress::Egress,
    ports::{Clock, probes::TcpAnswer},
};

pub(super) async fn connect(clock: &dyn Clock, egress: &Egress, address: &str, timeout: Duration) -> TcpAnswer {
    let not_asked = |reason: String| TcpAnswer::NotAsked { reason };
    let begun = clock.boot();
    let found: Vec<SocketAddr> = match within(clock, timeout, lookup_host(address)).await {
        Some(Ok(found)) => found.collect(),
        Some(Err(e)) => return not_asked(format!("`{address}` does not resolve: {e}")),
        None => return not_asked("its name was not resolved in time".to_owned()),
    };
    if found.is_empty() {
        return not_asked(format!("`{address}` has no address"));
    }
    // What is connected to below are these addresses, and no name.
    if let Err(refused) = egress.check_all(found.iter().map(SocketAddr::ip)) {
        return not_asked(format!("`{address}`: {refused}"));
    }
    let left = timeout.saturating_sub(clock.boot().saturating_sub(begun));
    if left.is_zero() {
        return not_asked("resolving its name took all the time".to_owned());
    }
    match within(clock, left, TcpStream::connect(&found[..])).await {
        Some(Ok(_closed_when_dropped)) => TcpAnswer::Connected,
        Some(Err(e)) if is_local(&e) => not_asked(chain(&e)),
        Some(Err(e)) => TcpAnswer::NoAnswer { reason: chain(&e) },
        None => TcpAnswer::NoAnswer { reason: format!("no connection within {timeout:?}") },
    }
}
