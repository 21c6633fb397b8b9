//! The heartbeat in the database itself: a numbered row, written to the writer each period and looked for in the other
//! Regions. Here is what it is made of: where to beat, the beat, its answer, and what a database shows.
//!
//! Invariant: a beat is identified by who sent it (one life of one daemon) and its number, never by its number alone:
//! a number that was lost with the old writer is not used again for another beat. A beat whose answer was lost is
//! neither written nor refused. What follows from many beats is in [`trail`] and [`loss`].

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    id::{BeaterId, Region},
    seconds,
    secret::SecretRef,
};

pub mod loss;
pub mod trail;

pub use loss::{Basis, Held, Loss, Until};
pub use trail::{HeartbeatTrail, Lag, MeasuredLag, Moment, Replication, WritesFailing};

/// How many rows of one beater the table keeps: an hour at the default period. The statement that writes a beat
/// removes what is older. Three times what a trail remembers, so that a loss can be counted for a while after.
pub const ROWS_KEPT: u64 = 3600;

/// A store's heartbeat, as its configuration describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The same least-privileged user in every Region (docs/heartbeat.md has its grants).
    pub user: String,
    pub password: SecretRef,
    pub database: String,
    /// Each Region's own database, by the name under which it takes writes when it is the writer: never a name that
    /// follows the writer from Region to Region.
    pub endpoints: BTreeMap<Region, Address>,
    /// Where a Region is looked at while it is a secondary, if not at its endpoint: the cluster endpoint of an Aurora
    /// secondary is inactive, its reader endpoint is not.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reader_endpoints: BTreeMap<Region, Address>,
    pub tls: Tls,
    /// How often the writer is beaten; the resolution of the loss.
    #[serde(with = "seconds", rename = "period_seconds")]
    pub period: Duration,
    /// The longest that a beat or a look may take, connecting included.
    #[serde(with = "seconds", rename = "timeout_seconds")]
    pub timeout: Duration,
}

impl Heartbeat {
    /// How to reach the database of `region` as a writer; `None` where none is configured.
    pub fn endpoint(&self, region: &Region) -> Option<DatabaseEndpoint> {
        Some(self.at(region, self.endpoints.get(region)?))
    }

    /// How to reach the database of `region` as a secondary; `None` where none is configured.
    pub fn reader_endpoint(&self, region: &Region) -> Option<DatabaseEndpoint> {
        Some(self.at(region, self.reader_endpoints.get(region).or_else(|| self.endpoints.get(region))?))
    }

    fn at(&self, region: &Region, address: &Address) -> DatabaseEndpoint {
        DatabaseEndpoint {
            region: region.clone(),
            address: address.clone(),
            database: self.database.clone(),
            user: self.user.clone(),
            password: self.password.clone(),
            tls: self.tls.clone(),
            timeout: self.timeout,
        }
    }
}

/// How a connection is protected. There is no way between: encryption that does not check who answers would hand the
/// password to whoever does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum Tls {
    /// The certificate must be valid for the host, and be signed by one in `ca_file` (PEM), or, without one, by one
    /// that the system trusts. Amazon's own certificate authority for RDS is not among the system's.
    VerifyFull { ca_file: Option<String> },
    /// No TLS: for loopback addresses only.
    Disable,
}

/// `host:port`, `[v6]:port`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl Address {
    /// Whether the host is this machine's loopback, by address or by the name `localhost`.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not an address such as db.example.com:5432")]
pub struct InvalidAddress {
    given: String,
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        /// The longest name that DNS has.
        const HOST_CHARS_MAX: usize = 253;
        let invalid = || InvalidAddress { given: super::document::clip(text) };
        let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
        let port: u16 = port.parse().map_err(|_| invalid())?;
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let is_name = |h: &str| h.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        let is_v6 = |h: &str| h.parse::<std::net::Ipv6Addr>().is_ok();
        let host = match bare {
            Some(v6) if is_v6(v6) => v6,
            None if !host.is_empty() && host.len() <= HOST_CHARS_MAX && is_name(host) => host,
            _ => return Err(invalid()),
        };
        if port == 0 {
            return Err(invalid());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl TryFrom<String> for Address {
    type Error = InvalidAddress;

    fn try_from(text: String) -> Result<Self, InvalidAddress> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> String {
        address.to_string()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// One Region's database, and how to get in. Holds a reference to the password, not the password.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DatabaseEndpoint {
    pub region: Region,
    pub address: Address,
    pub database: String,
    pub user: String,
    pub password: SecretRef,
    pub tls: Tls,
    pub timeout: Duration,
}

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    pub beater: BeaterId,
    /// From 1, by one more for each beat of this beater, wherever it is sent.
    pub number: u64,
    /// The beater's wall time when it was sent.
    pub sent_at: Timestamp,
}

/// How a beat ended. The four are kept apart, as with every effect: only the first two are the writer's own word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BeatAnswer {
    /// The server committed it and said so.
    Acknowledged,
    /// The server says that it takes no writes (in recovery, or read-only): it was not written.
    Refused { reason: String },
    /// It was certainly not written, for a reason that says nothing about whether the server takes writes from others:
    /// no connection, no login, no table, no permission, no room.
    NotWritten { reason: String },
    /// It was sent, and the answer was lost or late: it may have been written.
    Unknown { reason: String },
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub beater: BeaterId,
    pub number: u64,
    /// By the beater's clock.
    pub written_at: Timestamp,
}

/// What a Region's database shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The newest row of the beater that asks; `None`: the database answered, and holds none.
    pub newest: Option<Row>,
    /// The newest row of anybody, by its stamp: another daemon's, or one of an earlier life.
    pub newest_of_any: Option<Row>,
    /// The server replays somebody else's log, so it is no writer.
    pub in_recovery: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_as_it_is_written() {
        for text in ["db.example.com:5432", "127.0.0.1:1", "[::1]:5432", "my_host:65535"] {
            assert_eq!(text.parse::<Address>().expect("valid").to_string(), text);
        }
        for text in ["", "db", "db:", "db:0", ":5432", "db:65536", "::1:5432", "[db]:5432", "a b:1", "user@db:5432"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn loopback_is_told_from_everything_else() {
        let is = |text: &str| text.parse::<Address>().expect("valid").is_loopback();
        assert!(is("127.0.0.1:1") && is("127.9.9.9:1") && is("[::1]:1") && is("localhost:1"));
        assert!(!is("10.0.0.1:1") && !is("localhost.example.com:1") && !is("db:1"));
    }
}
