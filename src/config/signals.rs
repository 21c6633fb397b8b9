//! Signals: what is watched, of which kind, how often, and what its values mean.
//!
//! The named kinds (`lambda_errors` and the like) are metrics whose namespace, dimensions and statistic are known here,
//! from AWS.md 2.1; they become the same source as `metric`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{application::url, stores::member};
use crate::domain::{
    application::AuroraStore,
    cloud::MetricQuery,
    document::{At, Fields, Findings},
    id::{Region, StoreName},
    replica::{Backlog, ReplicatedStore},
    signal::{
        Signal, SignalRole, SignalSource,
        threshold::{Limit, MissingMeans, Threshold},
    },
};

mod metric;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

/// What a signal may refer to.
pub(super) struct Around<'a> {
    pub regions: &'a [Region],
    pub stores: &'a BTreeMap<StoreName, AuroraStore>,
    pub replicas: &'a BTreeMap<StoreName, ReplicatedStore>,
}

/// How often a signal of a kind is read, how old a reading may be and how many count, where nothing is said.
struct Usual {
    period: Duration,
    freshness: Duration,
    consecutive: u32,
}

impl Usual {
    /// CloudWatch has a new value every minute, minutes late; a probe costs nothing; events are rare, and each counts.
    fn of(source: &SignalSource) -> Self {
        match source {
            SignalSource::HttpProbe { .. } | SignalSource::TcpProbe { .. } => {
                Self { period: 10 * SECOND, freshness: 30 * SECOND, consecutive: 3 }
            }
            SignalSource::RdsEvents { window, .. } => Self { period: MINUTE, freshness: *window, consecutive: 1 },
            // The last whole period ended up to a period ago, and came up to three minutes late.
            SignalSource::Metric { query, .. } => {
                let consecutive = if 5 * MINUTE <= query.period { 1 } else { 3 };
                Self { period: 30 * SECOND, freshness: query.period + 4 * MINUTE, consecutive }
            }
            // A beat each second.
            SignalSource::Heartbeat { .. } => Self { period: SECOND, freshness: 5 * SECOND, consecutive: 3 },
            SignalSource::AuroraLag { .. }
            | SignalSource::ReplicaLag { .. }
            | SignalSource::ReplicaBacklog { .. }
            | SignalSource::HealthCheck { .. }
            | SignalSource::Alarm { .. } => Self { period: 30 * SECOND, freshness: 3 * MINUTE, consecutive: 3 },
        }
    }
}

/// The name is the key of the table, known to the caller.
pub(super) fn read(at: &At<'_>, around: &Around<'_>, found: &mut Findings) -> Option<Signal> {
    let mut f = at.fields(found)?;
    let kind = f.need(found, "kind", "kind = \"aurora_lag\"").and_then(|at| at.text(found).map(|t| (at, t)));
    let role = f.need(found, "role", "role = \"trigger\"").and_then(|at| role(&at, found));
    let period = f.get(found, "period", "period = \"30s\"");
    let freshness = f.get(found, "freshness", "freshness = \"90s\"");
    let consecutive = f.get(found, "consecutive", "consecutive = 3");
    let source = kind.and_then(|(at, kind)| source(kind, &at, &mut f, around, found));
    let usual = source.as_ref().map(Usual::of);
    if source.is_some() {
        f.finish(found);
    }
    let usual = usual.unwrap_or(Usual { period: 30 * SECOND, freshness: 3 * MINUTE, consecutive: 3 });
    let period = period.map_or(Some(usual.period), |at| at.duration(found, SECOND, 60 * MINUTE));
    let fresh = freshness.map_or_else(
        || period.map(|p| (3 * p).max(usual.freshness)),
        |at| at.duration(found, period.unwrap_or(SECOND), 24 * 60 * MINUTE),
    );
    let consecutive = consecutive.map_or(Some(usual.consecutive), |at| at.count(found, 1, 60));
    Some(Signal {
        name: "unnamed".parse().unwrap_or_else(|e| unreachable!("{e}")),
        role: role?,
        source: source?,
        period: period?,
        freshness: fresh?,
        consecutive: consecutive?,
    })
}

fn role(at: &At<'_>, found: &mut Findings) -> Option<SignalRole> {
    match at.text(found)? {
        "trigger" => Some(SignalRole::Trigger),
        "gate" => Some(SignalRole::Gate),
        "informational" => Some(SignalRole::Informational),
        _ => {
            found.error(&at.key, "expected trigger, gate or informational", at.example);
            None
        }
    }
}

const KINDS: &str = "expected aurora_lag, heartbeat, dynamodb_lag, s3_lag, s3_pending_bytes, s3_pending_operations, metric, \
                     lambda_errors, lambda_throttles, api_gateway_5xx, api_gateway_latency, health_check, alarm, \
                     rds_events, http_probe or tcp_probe";

fn source(
    kind: &str,
    at: &At<'_>,
    f: &mut Fields<'_>,
    around: &Around<'_>,
    found: &mut Findings,
) -> Option<SignalSource> {
    match kind {
        "aurora_lag" => {
            let store = store(f, found, |name| around.stores.contains_key(name), "an Aurora store")?;
            Some(SignalSource::AuroraLag { store })
        }
        "heartbeat" => {
            let has_one = |name: &StoreName| around.stores.get(name).is_some_and(|s| s.heartbeat.is_some());
            Some(SignalSource::Heartbeat { store: store(f, found, has_one, "an Aurora store with a heartbeat")? })
        }
        "dynamodb_lag" => {
            let is = |name: &StoreName| matches!(around.replicas.get(name), Some(ReplicatedStore::Dynamodb { .. }));
            Some(SignalSource::ReplicaLag { store: store(f, found, is, "a DynamoDB store")? })
        }
        "s3_lag" => Some(SignalSource::ReplicaLag { store: s3_store(f, around, found)? }),
        "s3_pending_bytes" => backlog(f, around, Backlog::Bytes, found),
        "s3_pending_operations" => backlog(f, around, Backlog::Operations, found),
        "health_check" => {
            let id = f.need(found, "health_check_id", "health_check_id = \"10000000-0000-4000-8000-000000000001\"");
            let of = of(f, around, found);
            let health_check_id = id?.text(found)?.to_owned();
            Some(SignalSource::HealthCheck { health_check_id, of: of? })
        }
        "alarm" => {
            let region = f.need(found, "region", "region = \"us-west-2\"").and_then(|at| at.parse(found));
            let name = f.need(found, "alarm_name", "alarm_name = \"payments-lambda-errors\"");
            let of = of(f, around, found);
            let alarm_name = name?.text(found)?.to_owned();
            Some(SignalSource::Alarm { region: region?, alarm_name, of: of? })
        }
        "http_probe" => {
            let address = f.need(found, "url", "url = \"https://use1.example.com/health\"");
            let timeout = timeout(f, found);
            let of = of(f, around, found);
            Some(SignalSource::HttpProbe { url: url(&address?, found)?, of: of?, timeout: timeout? })
        }
        "tcp_probe" => {
            let address = f.need(found, "address", "address = \"db.use1.example.com:5432\"");
            let timeout = timeout(f, found);
            let of = of(f, around, found);
            Some(SignalSource::TcpProbe { address: host_and_port(&address?, found)?, of: of?, timeout: timeout? })
        }
        "rds_events" => rds_events(f, around, found),
        _ => match metric::Kind::parse(kind) {
            Some(kind) => metric::read(kind, f, around, found),
            None => {
                found.error(&at.key, KINDS, at.example);
                None
            }
        },
    }
}

fn of(f: &mut Fields<'_>, around: &Around<'_>, found: &mut Findings) -> Option<Region> {
    member(&f.need(found, "of", "of = \"us-east-1\"")?, around.regions, found)
}

fn timeout(f: &mut Fields<'_>, found: &mut Findings) -> Option<Duration> {
    let timeout = f.get(found, "timeout", "timeout = \"3s\"");
    timeout.map_or(Some(3 * SECOND), |at| at.duration(found, SECOND / 10, MINUTE))
}

fn host_and_port(at: &At<'_>, found: &mut Findings) -> Option<String> {
    let text = at.text(found)?;
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    if host.is_empty()
        || !host.chars().all(plain)
        || port.parse::<u16>().is_ok_and(|p| p == 0)
        || port.parse::<u16>().is_err()
    {
        found.error(&at.key, "expected a name or an address, and a port", at.example);
        return None;
    }
    Some(text.to_owned())
}

/// The store that the signal is about, of the kind that it can be about.
fn store(f: &mut Fields<'_>, found: &mut Findings, is: impl Fn(&StoreName) -> bool, what: &str) -> Option<StoreName> {
    let at = f.need(found, "store", "store = \"orders\"")?;
    let store: StoreName = at.parse(found)?;
    if is(&store) {
        return Some(store);
    }
    // One with a fault of its own is there.
    let application = at.key.split_once(".signals.").map_or("", |(application, _)| application);
    if !found.has_errors_at(&format!("{application}.stores.{store}")) {
        found.error(&at.key, format!("there is no store `{store}` that is {what}"), at.example);
    }
    None
}

fn s3_store(f: &mut Fields<'_>, around: &Around<'_>, found: &mut Findings) -> Option<StoreName> {
    let is = |name: &StoreName| matches!(around.replicas.get(name), Some(ReplicatedStore::S3 { .. }));
    store(f, found, is, "an S3 store")
}

fn backlog(f: &mut Fields<'_>, around: &Around<'_>, backlog: Backlog, found: &mut Findings) -> Option<SignalSource> {
    let store = s3_store(f, around, found);
    let threshold = threshold(f, found, None);
    Some(SignalSource::ReplicaBacklog { store: store?, backlog, threshold: threshold? })
}

/// `unhealthy` and `healthy`; `usual` where the kind has one.
fn threshold(f: &mut Fields<'_>, found: &mut Findings, usual: Option<&str>) -> Option<Threshold> {
    let example = "unhealthy = \"> 5\"";
    let unhealthy = match usual {
        Some(usual) => f.get(found, "unhealthy", example).map_or_else(|| usual.parse().ok(), |at| at.parse(found)),
        None => f.need(found, "unhealthy", example).and_then(|at| at.parse(found)),
    };
    let healthy = f.get(found, "healthy", "healthy = \"< 2\"");
    let key = f.key.clone();
    let healthy: Option<Limit> = match healthy {
        Some(at) => Some(at.parse(found)?),
        None => None,
    };
    match Threshold::new(unhealthy?, healthy) {
        Ok(threshold) => Some(threshold),
        Err(e) => {
            found.error(&format!("{key}.healthy"), e.to_string(), "healthy = \"< 2\"");
            None
        }
    }
}

/// The categories that tell of ill health where nothing is said. [AUG:Event messages; AWS.md 1.5]
const ILL_CATEGORIES: [&str; 2] = ["failure", "failover"];
/// Every category of a DB cluster's events.
const CATEGORIES: [&str; 10] = [
    "configuration change",
    "creation",
    "deletion",
    "failover",
    "failure",
    "global failover",
    "maintenance",
    "migration",
    "notification",
    "serverless",
];

fn rds_events(f: &mut Fields<'_>, around: &Around<'_>, found: &mut Findings) -> Option<SignalSource> {
    let store = store(f, found, |name| around.stores.contains_key(name), "an Aurora store");
    let of = of(f, around, found);
    let categories = f.get(found, "categories", "categories = [\"failure\", \"failover\"]");
    let window = f.get(found, "window", "window = \"15m\"");
    let window = window.map_or(Some(15 * MINUTE), |at| at.duration(found, MINUTE, 24 * 60 * MINUTE));
    let categories = match categories {
        None => ILL_CATEGORIES.map(str::to_owned).into(),
        Some(at) => {
            let mut named = BTreeSet::new();
            for at in at.list(found)? {
                let text = at.text(found)?;
                if !CATEGORIES.contains(&text) {
                    found.error(&at.key, format!("expected one of {}", CATEGORIES.join(", ")), at.example);
                }
                named.insert(text.to_owned());
            }
            if named.is_empty() {
                found.error(&at.key, "names no category: no event would count", at.example);
                return None;
            }
            named
        }
    };
    Some(SignalSource::RdsEvents { store: store?, of: of?, categories, window: window? })
}
