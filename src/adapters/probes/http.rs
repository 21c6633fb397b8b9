//! One HTTP GET: to an address found a moment ago, over a connection of its own.
//!
//! Invariant: the three ways to end are kept apart. Whatever the endpoint did (or failed to do in time) is an
//! observation; whatever kept us from asking it (its name, our own sockets, the URL) says nothing of it.
//! Redirects are not followed, proxies of the environment are not used, certificates are checked.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use reqwest::{
    Client, Response, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::Policy,
};

use super::{chain, dns, is_local, within};
use crate::{
    domain::egress::{Egress, Unfit},
    ports::{
        Clock,
        probes::{HttpAnswer, HttpQuestion},
    },
};

/// What is read of a body; the rest is left unread. Enough for every health page that says what it means.
const BODY_BYTES_MAX: usize = 64 << 10;

tokio::task_local! {
    /// The addresses of the request that the current task makes.
    static ADDRESSES: Vec<SocketAddr>;
}

/// Hands reqwest the addresses that [`ask`] has found for this very request. So one client, whose TLS roots are
/// read once, serves every way of resolving; a lookup outside a request fails instead of using another's address.
#[derive(Debug)]
struct Found;

/// A lookup outside a request: a fault of this program, never of the endpoint.
#[derive(Debug, thiserror::Error)]
#[error("a name was looked up outside of its request")]
struct OutsideOfRequest;

impl Resolve for Found {
    fn resolve(&self, _name: Name) -> Resolving {
        let found = ADDRESSES.try_with(Clone::clone);
        Box::pin(async move {
            let addresses: Addrs = Box::new(found.map_err(|_| OutsideOfRequest)?.into_iter());
            Ok(addresses)
        })
    }
}

/// The client of all probes. It keeps no idle connection: a kept one would go on reaching the old address after a
/// name has moved, and would prove nothing about new callers.
pub(super) fn client() -> Result<Client, reqwest::Error> {
    Client::builder()
        .user_agent(concat!("failoverd-probe/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .no_proxy()
        .pool_max_idle_per_host(0)
        .dns_resolver(Arc::new(Found))
        .build()
}

/// Asks once.
pub(super) async fn ask(client: &Client, clock: &dyn Clock, egress: &Egress, question: &HttpQuestion) -> HttpAnswer {
    let url = match Url::parse(&question.url) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => url,
        Ok(url) => return not_asked(format!("`{url}` is neither http nor https")),
        Err(e) => return not_asked(format!("`{}`: {e}", question.url)),
    };
    let begun = clock.boot();
    let addresses = match within(clock, question.timeout, addresses(clock, question, &url)).await {
        Some(Ok(addresses)) => addresses,
        Some(Err(reason)) => return not_asked(reason),
        None => return not_asked("its name was not resolved in time".to_owned()),
    };
    if let Some(reason) = refusal(egress, &url, &addresses) {
        return not_asked(format!("`{}`: {reason}", question.url));
    }
    let left = question.timeout.saturating_sub(clock.boot().saturating_sub(begun));
    if left.is_zero() {
        return not_asked("resolving its name took all the time".to_owned());
    }
    let request = ADDRESSES.scope(addresses, get(client, url));
    within(clock, left, request)
        .await
        .unwrap_or_else(|| HttpAnswer::NoAnswer { reason: format!("no answer within {:?}", question.timeout) })
}

/// Why `url` is not asked at `addresses`. What is connected to are these addresses, and no name.
fn refusal(egress: &Egress, url: &Url, addresses: &[SocketAddr]) -> Option<String> {
    if !url.username().is_empty() || url.password().is_some() {
        return Some(Unfit::User.to_string());
    }
    egress.check_all(addresses.iter().map(SocketAddr::ip)).err().map(|refused| refused.to_string())
}

fn not_asked(reason: String) -> HttpAnswer {
    HttpAnswer::NotAsked { reason }
}

/// Where to connect. The port is 0, which stands for the URL's.
async fn addresses(clock: &dyn Clock, question: &HttpQuestion, url: &Url) -> Result<Vec<SocketAddr>, String> {
    let host = url.host_str().ok_or("the URL has no host")?;
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = literal.parse::<IpAddr>() {
        return Ok(vec![(address, 0).into()]);
    }
    if question.resolve_with.is_empty() {
        let found = tokio::net::lookup_host((host, 0)).await.map_err(|e| format!("`{host}` does not resolve: {e}"))?;
        return Ok(found.collect());
    }
    let servers = u32::try_from(question.resolve_with.len()).unwrap_or(u32::MAX);
    let mut faults = Vec::new();
    for server in &question.resolve_with {
        // Each server gets its part of the time, so that a silent first one does not use it up.
        let part = question.timeout / servers.saturating_add(1);
        match dns::ask(clock, server, host, &question.record_type, part).await {
            Ok(values) => {
                let found: Vec<SocketAddr> = values
                    .iter()
                    .filter_map(|value| value.parse::<IpAddr>().ok())
                    .map(|address| (address, 0).into())
                    .collect();
                if !found.is_empty() {
                    return Ok(found);
                }
                faults.push(format!("{server} knows no {} of {host}", question.record_type));
            }
            Err(e) => faults.push(e.to_string()),
        }
    }
    Err(faults.join("; "))
}

async fn get(client: &Client, url: Url) -> HttpAnswer {
    let response = match client.get(url).send().await {
        Ok(response) => response,
        Err(e) if e.is_builder() || is_ours(&e) => return not_asked(chain(&e)),
        Err(e) => return HttpAnswer::NoAnswer { reason: chain(&e) },
    };
    let status = response.status().as_u16();
    let address = response.remote_addr().map(|address| address.to_string());
    match body(response).await {
        Ok(body) => HttpAnswer::Status { status, body, address },
        Err(e) => HttpAnswer::NoAnswer { reason: format!("status {status}, but the body broke off: {}", chain(&e)) },
    }
}

async fn body(mut response: Response) -> Result<String, reqwest::Error> {
    let mut bytes = Vec::new();
    while bytes.len() < BODY_BYTES_MAX {
        let Some(chunk) = response.chunk().await? else {
            break;
        };
        let room = BODY_BYTES_MAX - bytes.len();
        bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether the fault is this machine's, or this program's.
fn is_ours(e: &reqwest::Error) -> bool {
    let mut next = std::error::Error::source(e);
    while let Some(e) = next {
        if e.is::<OutsideOfRequest>() {
            return true;
        }
        if e.downcast_ref::<io::Error>().is_some_and(is_local) {
            return true;
        }
        next = e.source();
    }
    false
}
