//! Where signals come from.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::threshold::{MissingMeans, Threshold};
use crate::domain::{
    cloud::MetricQuery,
    id::{Region, StoreName},
    replica::Backlog,
    seconds,
};

/// Where a signal comes from. `of` is the Region whose health it tells, wherever it is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SignalSource {
    /// The store's lag, read in each secondary's Region, following the roles as they are now.
    AuroraLag { store: StoreName },
    /// The store's lag by the heartbeat in the database itself: a row written to the writer and read from each
    /// secondary.
    Heartbeat { store: StoreName },
    /// How far the other Regions are behind the active one, of a DynamoDB global table or of S3 replication.
    ReplicaLag { store: StoreName },
    /// How much waits to be replicated out of the active Region.
    ReplicaBacklog { store: StoreName, backlog: Backlog, threshold: Threshold },
    /// A CloudWatch metric in `region`, held against thresholds.
    Metric { region: Region, query: MetricQuery, threshold: Threshold, missing: MissingMeans, of: Region },
    /// A Route 53 health check through CloudWatch `HealthCheckStatus`, which lives in us-east-1 only [R53DG].
    HealthCheck { health_check_id: String, of: Region },
    /// A CloudWatch alarm in `region`.
    Alarm { region: Region, alarm_name: String, of: Region },
    /// An HTTP probe from here.
    HttpProbe {
        url: String,
        of: Region,
        #[serde(with = "seconds", rename = "timeout_seconds")]
        timeout: Duration,
    },
    /// A TCP connection from here, made and closed.
    TcpProbe {
        /// `host:port`.
        address: String,
        of: Region,
        #[serde(with = "seconds", rename = "timeout_seconds")]
        timeout: Duration,
    },
    /// What RDS says has happened to the store's cluster in `of`, read there. Events of `categories` tell of ill
    /// health; that there are none tells nothing.
    RdsEvents {
        store: StoreName,
        of: Region,
        categories: BTreeSet<String>,
        /// How long an event counts.
        #[serde(with = "seconds", rename = "window_seconds")]
        window: Duration,
    },
}

impl SignalSource {
    /// The Region whose health this signal tells; a lag belongs to no one Region.
    pub fn of(&self) -> Option<&Region> {
        match self {
            Self::AuroraLag { .. } | Self::Heartbeat { .. } | Self::ReplicaLag { .. } | Self::ReplicaBacklog { .. } => {
                None
            }
            Self::Metric { of, .. }
            | Self::HealthCheck { of, .. }
            | Self::Alarm { of, .. }
            | Self::HttpProbe { of, .. }
            | Self::TcpProbe { of, .. }
            | Self::RdsEvents { of, .. } => Some(of),
        }
    }

    /// The store whose lag this signal tells.
    pub fn store(&self) -> Option<&StoreName> {
        match self {
            Self::AuroraLag { store } | Self::Heartbeat { store } | Self::ReplicaLag { store } => Some(store),
            Self::ReplicaBacklog { .. }
            | Self::Metric { .. }
            | Self::HealthCheck { .. }
            | Self::Alarm { .. }
            | Self::HttpProbe { .. }
            | Self::TcpProbe { .. }
            | Self::RdsEvents { .. } => None,
        }
    }

    /// Who tells it, as far as acting alone is concerned: a Region is no witness of its own loss.
    pub fn witness(&self) -> Option<WitnessOf> {
        /// Where CloudWatch has what Route 53's checkers see [R53DG].
        const HOME_OF_HEALTH_CHECKS: &str = "us-east-1";
        match self {
            Self::AuroraLag { .. }
            | Self::Heartbeat { .. }
            | Self::ReplicaLag { .. }
            | Self::ReplicaBacklog { .. }
            // Read in the Region that they tell of.
            | Self::RdsEvents { .. } => None,
            Self::HttpProbe { .. } | Self::TcpProbe { .. } => Some(WitnessOf::EveryVantage),
            Self::HealthCheck { of, .. } => (of.as_str() != HOME_OF_HEALTH_CHECKS).then_some(WitnessOf::Route53),
            Self::Alarm { region, of, .. } | Self::Metric { region, of, .. } => {
                (region != of).then(|| WitnessOf::CloudWatch(region.clone()))
            }
        }
    }

    /// Whether it is read from CloudWatch, and so in one call with others that are due at the same time.
    pub fn is_from_cloudwatch(&self) -> bool {
        match self {
            Self::AuroraLag { .. }
            | Self::ReplicaLag { .. }
            | Self::ReplicaBacklog { .. }
            | Self::Metric { .. }
            | Self::HealthCheck { .. }
            | Self::Alarm { .. } => true,
            Self::Heartbeat { .. } | Self::HttpProbe { .. } | Self::TcpProbe { .. } | Self::RdsEvents { .. } => false,
        }
    }
}

/// Who sees what a signal tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WitnessOf {
    /// Whoever probes: this daemon and each observer.
    EveryVantage,
    /// Route 53's own checkers, which stand in several Regions.
    Route53,
    /// CloudWatch of a Region that is not the one it tells of.
    CloudWatch(Region),
}

/// The metric of a Route 53 health check.
pub fn health_check_query(health_check_id: &str) -> MetricQuery {
    MetricQuery {
        namespace: "AWS/Route53".to_owned(),
        metric: "HealthCheckStatus".to_owned(),
        dimensions: BTreeMap::from([("HealthCheckId".to_owned(), health_check_id.to_owned())]),
        statistic: "Minimum".to_owned(),
        period: Duration::from_mins(1),
    }
}
