//! Stores that every Region may write to and that AWS replicates on its own: DynamoDB global tables, S3 buckets with
//! replication rules.
//!
//! Nothing of them is promoted, so no runbook acts on them: they are watched, because what has not been replicated when
//! a Region is lost is lost to the others. Which metric tells it, in which Region and in which unit, is said here.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{cloud::MetricQuery, id::Region, seconds, signal::lag_from_ms};

/// Both services publish their replication metrics every minute [DDBDG metrics, S3UG:repl-metrics].
const PERIOD: Duration = Duration::from_mins(1);

/// A replicated store with many writers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ReplicatedStore {
    /// A DynamoDB global table with eventual consistency across Regions; one with strong consistency has no lag and no
    /// such metric [DDBDG].
    Dynamodb { table: String, regions: Vec<Region> },
    /// A bucket in each Region, and the rules that replicate between them. They need replication metrics (or RTC).
    S3 { buckets: BTreeMap<Region, String>, rules: Vec<ReplicationRule> },
}

/// A replication rule of the bucket in `from`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicationRule {
    pub from: Region,
    pub to: Region,
    pub rule_id: String,
    /// Where its metrics are read, where it is not `to`: which Region publishes them is not certain [AWS.md 2.1].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics_region: Option<Region>,
}

/// What waits to be replicated, counted in what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backlog {
    Bytes,
    Operations,
}

/// One metric of a store's replication, and what a gate holds it to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// Where it is published.
    pub region: Region,
    pub query: MetricQuery,
    pub quantity: Quantity,
    /// What it means that there is no data.
    pub silence: String,
}

/// What a metric counts, and how much of it is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "snake_case")]
pub enum Quantity {
    Lag {
        unit: LagUnit,
        #[serde(with = "seconds", rename = "limit_seconds")]
        limit: Duration,
    },
    Pending {
        what: Backlog,
        limit: u64,
    },
}

/// In what a service publishes its lag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LagUnit {
    Milliseconds,
    Seconds,
}

impl LagUnit {
    /// `None` where it is no lag.
    pub fn lag(self, value: f64) -> Option<Duration> {
        match self {
            Self::Milliseconds => lag_from_ms(value),
            Self::Seconds => lag_from_ms(value * 1_000.0),
        }
    }
}

/// What a gate allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    pub lag: Duration,
    /// Of S3 only, as the next.
    pub pending_bytes: u64,
    pub pending_operations: u64,
}

impl Backlog {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Operations => "operations",
        }
    }

    fn metric(self) -> &'static str {
        match self {
            Self::Bytes => "BytesPendingReplication",
            Self::Operations => "OperationsPendingReplication",
        }
    }
}

impl ReplicatedStore {
    /// The metrics that tell how far the other Regions are behind `from`, each with the Region in which it is
    /// published; empty where nothing is replicated from there.
    pub fn lag_queries(&self, from: &Region) -> Vec<(Region, MetricQuery)> {
        match self {
            // Where the write was made [INF, AWS.md 2.1].
            Self::Dynamodb { table, regions } if regions.contains(from) => {
                let to = regions.iter().filter(|to| *to != from);
                to.map(|to| {
                    let dimensions = [("TableName", table.as_str()), ("ReceivingRegion", to.as_str())];
                    (from.clone(), query("AWS/DynamoDB", "ReplicationLatency", dimensions))
                })
                .collect()
            }
            Self::Dynamodb { .. } => Vec::new(),
            Self::S3 { .. } => self.s3_queries(from, "ReplicationLatency"),
        }
    }

    /// The metrics that tell how much waits to be replicated from `from`; only S3 publishes any.
    pub fn backlog_queries(&self, from: &Region, backlog: Backlog) -> Vec<(Region, MetricQuery)> {
        self.s3_queries(from, backlog.metric())
    }

    /// In the Region of the destination bucket [S3UG:repl-metrics], so they can be read when the source is lost; or where
    /// the configuration says.
    fn s3_queries(&self, from: &Region, metric: &str) -> Vec<(Region, MetricQuery)> {
        let Self::S3 { buckets, rules } = self else { return Vec::new() };
        let of_rule = |rule: &ReplicationRule| {
            let dimensions = [
                ("SourceBucket", buckets.get(&rule.from)?.as_str()),
                ("DestinationBucket", buckets.get(&rule.to)?.as_str()),
                ("RuleId", rule.rule_id.as_str()),
            ];
            let region = rule.metrics_region.as_ref().unwrap_or(&rule.to).clone();
            Some((region, query("AWS/S3", metric, dimensions)))
        };
        rules.iter().filter(|rule| rule.from == *from).filter_map(of_rule).collect()
    }

    /// A lag as the store's metric has it; `None` where it is no lag.
    pub fn lag_from(&self, value: f64) -> Option<Duration> {
        self.lag_unit().lag(value)
    }

    fn lag_unit(&self) -> LagUnit {
        match self {
            Self::Dynamodb { .. } => LagUnit::Milliseconds,
            Self::S3 { .. } => LagUnit::Seconds,
        }
    }

    /// What tells whether everything written in `from` has arrived in `to`; empty where nothing is replicated so.
    pub fn measures(&self, from: &Region, to: &Region, allowed: &Allowed) -> Vec<Measure> {
        let measure = |quantity: Quantity| {
            let silence = self.silence().to_owned();
            move |(region, query): (Region, MetricQuery)| Measure { region, query, quantity, silence: silence.clone() }
        };
        let lag = Quantity::Lag { unit: self.lag_unit(), limit: allowed.lag };
        let pending = |what, limit| {
            let queries = self.backlog_queries(from, what).into_iter();
            queries.map(measure(Quantity::Pending { what, limit }))
        };
        let all = self.lag_queries(from).into_iter().map(measure(lag));
        let all = all
            .chain(pending(Backlog::Bytes, allowed.pending_bytes))
            .chain(pending(Backlog::Operations, allowed.pending_operations));
        all.filter(|m| self.receives(m, to)).collect()
    }

    /// Whether anything written in `from` is replicated to `to`.
    pub fn is_replicated(&self, from: &Region, to: &Region) -> bool {
        let nothing = Allowed { lag: Duration::ZERO, pending_bytes: 0, pending_operations: 0 };
        !self.measures(from, to, &nothing).is_empty()
    }

    /// Whether `measure` tells of what `to` receives.
    fn receives(&self, measure: &Measure, to: &Region) -> bool {
        match self {
            Self::Dynamodb { .. } => {
                measure.query.dimensions.get("ReceivingRegion").is_some_and(|region| region == to.as_str())
            }
            Self::S3 { .. } => measure.region == *to,
        }
    }

    /// What it means that its lag has no data.
    pub fn silence(&self) -> &'static str {
        match self {
            Self::Dynamodb { .. } => {
                "DynamoDB publishes it only when something is written: silence is neither zero nor lag"
            }
            Self::S3 { .. } => "S3 publishes it for rules with replication metrics",
        }
    }
}

fn query<const N: usize>(namespace: &str, metric: &str, dimensions: [(&str, &str); N]) -> MetricQuery {
    MetricQuery {
        namespace: namespace.to_owned(),
        metric: metric.to_owned(),
        dimensions: dimensions.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
        statistic: "Maximum".to_owned(),
        period: PERIOD,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metrics_of_a_rule_are_read_in_the_destination_s_region_or_where_it_is_said() {
        let region = |name: &str| name.parse::<Region>().expect("a Region");
        let (east, west) = (region("us-east-1"), region("us-west-2"));
        let read_in = |metrics_region: Option<Region>| {
            let rule =
                ReplicationRule { from: east.clone(), to: west.clone(), rule_id: "r".to_owned(), metrics_region };
            let buckets = BTreeMap::from([(east.clone(), "a".to_owned()), (west.clone(), "b".to_owned())]);
            let store = ReplicatedStore::S3 { buckets, rules: vec![rule] };
            let mut queries = store.lag_queries(&east);
            assert!(store.lag_queries(&west).is_empty());
            queries.pop().expect("one").0
        };
        assert_eq!(read_in(None), west);
        assert_eq!(read_in(Some(east.clone())), east);
    }
}
