//! From which address a request comes.
//!
//! Invariant: what a caller writes of itself is not believed. `X-Forwarded-For` is read from the right, for as long as
//! the address that has added the entry is a proxy of the configuration.

use std::net::IpAddr;

use axum::http::{Extensions, HeaderMap, HeaderName};

use crate::domain::{id::Digest, network::Network};

/// Whom a proxy has got a request from.
pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// More entries than any honest chain of proxies has.
const ENTRIES_MAX: usize = 16;

/// The other end of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// What the other end has shown in its TLS handshake: the SHA-256 of its certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate(pub Digest);

/// Who asks, as far as can be known: the peer, or whom the nearest proxies say that they ask for.
pub fn client(extensions: &Extensions, headers: &HeaderMap, proxies: &[Network]) -> Option<IpAddr> {
    let Peer(peer) = *extensions.get::<Peer>()?;
    let is_proxy = |address: IpAddr| proxies.iter().any(|network| network.contains(address));
    let values: Vec<&str> = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).collect();
    let entries = values.iter().rev().flat_map(|value| value.rsplit(',')).map(str::trim);
    let mut client = peer.to_canonical();
    for entry in entries.take(ENTRIES_MAX) {
        if !is_proxy(client) {
            break;
        }
        match entry.parse::<IpAddr>() {
            Ok(before) => client = before.to_canonical(),
            Err(_) => break,
        }
    }
    Some(client)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(peer: &str, forwarded: &[&str], proxies: &[&str]) -> String {
        let mut extensions = Extensions::new();
        extensions.insert(Peer(peer.parse().expect("an address")));
        let header = |value: &&str| (FORWARDED_FOR, value.parse().expect("a value"));
        let headers = HeaderMap::from_iter(forwarded.iter().map(header));
        let proxies: Vec<Network> = proxies.iter().map(|p| p.parse().expect("a network")).collect();
        client(&extensions, &headers, &proxies).expect("a peer").to_string()
    }

    #[test]
    fn only_proxies_of_the_configuration_are_believed() {
        assert_eq!(from("192.0.2.1", &["198.51.100.9"], &[]), "192.0.2.1");
        assert_eq!(from("192.0.2.1", &["198.51.100.9"], &["10.0.0.0/8"]), "192.0.2.1");
        assert_eq!(from("10.0.0.1", &["198.51.100.9"], &["10.0.0.0/8"]), "198.51.100.9");
        assert_eq!(from("::ffff:10.0.0.1", &["198.51.100.9"], &["10.0.0.0/8"]), "198.51.100.9");
        // What the caller has written itself stands left of what the proxy has added.
        assert_eq!(from("10.0.0.1", &["127.0.0.1, 198.51.100.9"], &["10.0.0.0/8"]), "198.51.100.9");
        assert_eq!(from("10.0.0.1", &["127.0.0.1", "198.51.100.9, 10.0.0.2"], &["10.0.0.0/8"]), "198.51.100.9");
        assert_eq!(from("10.0.0.1", &["127.0.0.1, nonsense"], &["10.0.0.0/8"]), "10.0.0.1");
        assert_eq!(from("10.0.0.1", &[], &["10.0.0.0/8"]), "10.0.0.1");
    }
}
