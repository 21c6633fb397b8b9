//! How the `with` of `probe.tcp` and `probe.postgres` is read.

use std::time::Duration;

use super::{Act, TcpAt};
use crate::domain::{
    database::{Door, Expect},
    document::{Fields, Findings},
    heartbeat::Address,
    id::StoreName,
};

const SECOND: Duration = Duration::from_secs(1);

/// How often, how far apart, and how long each may take.
pub(super) struct Rhythm {
    pub(super) consecutive: Option<u32>,
    pub(super) interval: Option<Duration>,
    pub(super) timeout: Option<Duration>,
}

pub(super) fn rhythm(with: &mut Fields<'_>, found: &mut Findings) -> Rhythm {
    let consecutive = with.get(found, "consecutive", "consecutive: 3");
    let interval = with.get(found, "interval", "interval: 5s");
    let timeout = with.get(found, "timeout", "timeout: 3s");
    Rhythm {
        consecutive: consecutive.map_or(Some(3), |c| c.count(found, 1, 100)),
        interval: interval.map_or(Some(5 * SECOND), |i| i.duration(found, SECOND, 600 * SECOND)),
        timeout: timeout.map_or(Some(3 * SECOND), |t| t.duration(found, Duration::from_millis(100), 60 * SECOND)),
    }
}

pub(super) fn tcp(with: &mut Fields<'_>, found: &mut Findings) -> Option<Act> {
    let endpoint = with.get(found, "endpoint", "endpoint: target");
    let address = with.get(found, "address", "address: \"queue.example.com:5671\"");
    let rhythm = rhythm(with, found);
    let at = match (&endpoint, &address) {
        (Some(endpoint), None) => match endpoint.text(found)? {
            "target" => Some(TcpAt::Target),
            "source" => Some(TcpAt::Source),
            _ => {
                found.error(&endpoint.key, "expected `target` or `source`", endpoint.example);
                None
            }
        },
        (None, Some(address)) => address.parse::<Address>(found).map(|a| TcpAt::Address(a.to_string())),
        _ => {
            found.error(&with.key, "give exactly one of `endpoint` and `address`", "with: { endpoint: target }");
            None
        }
    };
    Some(Act::ProbeTcp {
        at: at?,
        consecutive: rhythm.consecutive?,
        interval: rhythm.interval?,
        probe_timeout: rhythm.timeout?,
    })
}

pub(super) fn postgres(store: Option<StoreName>, with: &mut Fields<'_>, found: &mut Findings) -> Option<Act> {
    let endpoint = with.get(found, "endpoint", "endpoint: target");
    let door = with.get(found, "connect_to", "connect_to: writer");
    let expect = with.get(found, "expect", "expect: writable");
    let rhythm = rhythm(with, found);
    let of_source = match endpoint {
        None => Some(false),
        Some(at) => match at.text(found)? {
            "target" => Some(false),
            "source" => Some(true),
            _ => {
                found.error(&at.key, "expected `target` or `source`", at.example);
                None
            }
        },
    };
    let door = match door {
        None => Some(Door::Writer),
        Some(at) => match at.text(found)? {
            "writer" => Some(Door::Writer),
            "reader" => Some(Door::Reader),
            _ => {
                found.error(&at.key, "expected `writer` or `reader`", at.example);
                None
            }
        },
    };
    let expect = match expect {
        None => Some(Expect::Writable),
        Some(at) => match at.text(found)? {
            "writable" => Some(Expect::Writable),
            "read_only" => Some(Expect::ReadOnly),
            "answers" => Some(Expect::Answers),
            _ => {
                found.error(&at.key, "expected `writable`, `read_only` or `answers`", at.example);
                None
            }
        },
    };
    Some(Act::ProbePostgres {
        store,
        of_source: of_source?,
        door: door?,
        expect: expect?,
        consecutive: rhythm.consecutive?,
        interval: rhythm.interval?,
        probe_timeout: rhythm.timeout?,
    })
}
