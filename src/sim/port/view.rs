//! What the world holds, as the values of the cloud port. Written from AWS.md, not from the adapters.

use std::time::Duration;

use crate::{
    domain::{
        capacity::{AcuRange, DbInstance, Quota, Quotas},
        cloud::{
            Alarm, AlarmState, Answer, CloudEvent, DbCluster, DbSnapshot, FailoverState, GlobalCluster, Member,
            MetricQuery, MissingData, ObserveError, RecordSet, Series,
        },
        id::{InvalidName, Region},
        permissions::changes::Evaluation,
        salvage::{Listed, Page, Replication},
    },
    sim::world::{
        self, ApiFault, SimTime,
        aurora::{AccountQuota, Aurora, Membership, SnapshotStatus},
        cloudwatch,
        route53::record::{self, Routing},
    },
};

/// A status that no list of AWS knows.
const UNKNOWN_STATUS: &str = "reticulating-splines";

/// What a read shows.
pub(super) trait Shown: Clone + Send + Sync + 'static {
    const HAS_STATUS: bool = false;

    /// The same with a status that no list knows, where it has one.
    fn with_unknown_status(self) -> Self {
        self
    }
}

impl Shown for GlobalCluster {
    const HAS_STATUS: bool = true;

    fn with_unknown_status(self) -> Self {
        let unknown = || UNKNOWN_STATUS.to_owned();
        let failover = self.failover.map(|failover| FailoverState { status: unknown(), ..failover });
        Self { status: unknown(), failover, ..self }
    }
}

impl Shown for DbCluster {
    const HAS_STATUS: bool = true;

    fn with_unknown_status(self) -> Self {
        Self { status: UNKNOWN_STATUS.to_owned(), ..self }
    }
}

impl Shown for Vec<DbInstance> {
    const HAS_STATUS: bool = true;

    fn with_unknown_status(self) -> Self {
        self.into_iter().map(|i| DbInstance { status: UNKNOWN_STATUS.to_owned(), ..i }).collect()
    }
}

impl Shown for Vec<DbSnapshot> {}
impl Shown for Quotas {}
impl Shown for Vec<Answer<Series>> {}
impl Shown for Vec<Answer<Alarm>> {}
impl Shown for Vec<CloudEvent> {}
impl Shown for Vec<RecordSet> {}
impl Shown for Vec<bool> {}
impl Shown for bool {}
impl Shown for String {}
impl Shown for Vec<Evaluation> {}
impl Shown for Option<String> {}
impl Shown for serde_json::Value {}
impl Shown for Page {}
impl Shown for Replication {}

fn malformed(error: InvalidName) -> ObserveError {
    ObserveError::Malformed { reason: error.to_string() }
}

/// How `DescribeGlobalClusters` shows it.
pub(super) fn global_cluster(
    aurora: &Aurora,
    global: &world::aurora::GlobalCluster,
) -> Result<GlobalCluster, ObserveError> {
    let listed = global.members.iter().filter_map(|arn| aurora.cluster(arn)).filter(|c| c.is_listed());
    let member = |c: &world::aurora::Cluster| {
        Ok(Member {
            arn: c.arn.parse().map_err(malformed)?,
            is_writer: c.membership == Membership::Writer,
            synchronization: Some(
                if c.membership == Membership::PendingResync { "pending-resync" } else { "connected" }.to_owned(),
            ),
        })
    };
    let members = listed.map(member).collect::<Result<Vec<_>, ObserveError>>()?;
    let failover = match &global.operation {
        None => None,
        Some(operation) => Some(FailoverState {
            status: operation.state().to_owned(),
            from: Some(operation.from.parse().map_err(malformed)?),
            to: Some(operation.to.parse().map_err(malformed)?),
            data_loss_allowed: operation.allows_data_loss(),
        }),
    };
    Ok(GlobalCluster {
        identifier: global.id.clone(),
        status: global.status.as_str().to_owned(),
        engine: global.engine.clone(),
        engine_version: global.engine_version.clone(),
        members,
        failover,
    })
}

/// How `DescribeDBClusters` shows it.
pub(super) fn db_cluster(cluster: &world::aurora::Cluster) -> Result<DbCluster, ObserveError> {
    Ok(DbCluster {
        arn: cluster.arn.parse().map_err(malformed)?,
        status: cluster.status.to_owned(),
        engine_version: cluster.engine_version.clone(),
        instances: cluster.instances.len(),
        global: cluster.global.clone().filter(|_| cluster.is_listed()),
        scaling: cluster.scaling.map(|(min, max)| AcuRange { min, max }),
        backup_retention_days: Some(cluster.backup_retention_days),
        deletion_protection: Some(cluster.deletion_protection),
        parameter_group: Some(cluster.parameter_group()),
    })
}

/// How `DescribeDBInstances` shows the instances of `cluster`.
pub(super) fn db_instances<'a>(
    cluster: &world::aurora::Cluster,
    being_created: impl Iterator<Item = &'a world::aurora::Instance>,
) -> Vec<DbInstance> {
    let instance = |status: &str, i: &world::aurora::Instance| DbInstance {
        identifier: i.id.clone(),
        class: i.class.clone(),
        status: status.to_owned(),
    };
    let there = cluster.instances.iter().map(|i| instance("available", i));
    there.chain(being_created.map(|i| instance("creating", i))).collect()
}

/// How `DescribeDBClusterSnapshots` shows it.
pub(super) fn db_snapshot(snapshot: &world::aurora::Snapshot) -> Result<DbSnapshot, ObserveError> {
    let status = match snapshot.status {
        SnapshotStatus::Creating => "creating",
        SnapshotStatus::Available => "available",
    };
    Ok(DbSnapshot {
        identifier: snapshot.id.clone(),
        status: status.to_owned(),
        created_at: Some(timestamp(snapshot.created_at)?),
    })
}

/// How `ListObjectsV2` shows it.
pub(super) fn listed((key, object): (&str, &world::s3::Object)) -> Result<Listed, ObserveError> {
    let bytes = u64::try_from(object.body.len()).unwrap_or(u64::MAX);
    Ok(Listed { key: key.to_owned(), bytes, changed_at: timestamp(object.put_at)? })
}

/// How `HeadObject` shows it.
pub(super) fn replication(object: &world::s3::Object) -> Result<Replication, ObserveError> {
    match object.replication {
        None => Ok(Replication::NotCovered),
        Some("PENDING") => Ok(Replication::Pending),
        Some("FAILED") => Ok(Replication::Failed),
        Some("COMPLETED") => Ok(Replication::Completed),
        Some("REPLICA") => Ok(Replication::Replica),
        Some(other) => Err(ObserveError::Malformed { reason: format!("`{other}` is no replication status") }),
    }
}

/// How `DescribeAccountAttributes` shows it.
pub(super) fn quotas(aurora: &Aurora, region: &Region, now: SimTime) -> Quotas {
    let quota = |q: AccountQuota| (q.name.to_owned(), Quota { used: q.used, max: q.max });
    aurora.account_quotas(region, now).into_iter().map(quota).collect()
}

/// `name` is given back as it was asked for: with or without the final dot.
pub(super) fn record_set(name: &str, set: &record::RecordSet) -> RecordSet {
    let (failover, weight) = match &set.routing {
        Routing::Simple => (None, None),
        Routing::Failover { role, .. } => (Some(role.as_str().to_owned()), None),
        Routing::Weighted { weight, .. } => (None, Some(*weight)),
    };
    RecordSet {
        name: name.to_owned(),
        record_type: set.rtype.as_str().to_owned(),
        ttl_seconds: Some(set.ttl_seconds),
        values: set.values.clone(),
        set_identifier: set.routing.set_identifier().map(str::to_owned),
        failover,
        weight,
        health_check_id: set.health_check_id.clone(),
    }
}

/// The record set that an UPSERT of `record` asks for.
pub(super) fn world_record(record: &RecordSet) -> Result<record::RecordSet, String> {
    let identifier =
        || record.set_identifier.clone().ok_or_else(|| "a record with a policy needs an identifier".to_owned());
    let routing = match (record.failover.as_deref(), record.weight) {
        (None, None) => Routing::Simple,
        (Some("PRIMARY"), None) => {
            Routing::Failover { set_identifier: identifier()?, role: record::FailoverRole::Primary }
        }
        (Some("SECONDARY"), None) => {
            Routing::Failover { set_identifier: identifier()?, role: record::FailoverRole::Secondary }
        }
        (None, Some(weight)) => Routing::Weighted { set_identifier: identifier()?, weight },
        (failover, weight) => return Err(format!("failover {failover:?} with weight {weight:?}")),
    };
    let name = record.name.parse().map_err(|e: record::InvalidDnsName| e.to_string())?;
    let rtype = record.record_type.parse().map_err(|e: record::UnknownRrType| e.to_string())?;
    let ttl = record.ttl_seconds.ok_or("a record set without a TTL is an alias, which is not simulated")?;
    let simple = record::RecordSet::simple(name, rtype, ttl, record.values.clone());
    Ok(record::RecordSet { routing, health_check_id: record.health_check_id.clone(), ..simple })
}

/// How `DescribeAlarms` shows it, as far as it matters. Every simulated alarm watches one metric.
pub(super) fn alarm(alarm: &cloudwatch::Alarm) -> Answer<Alarm> {
    let key = &alarm.spec.key;
    let missing_data = match alarm.spec.treat_missing {
        // An alarm on DynamoDB always ignores missing data, whatever it says of itself.
        _ if key.namespace == "AWS/DynamoDB" => MissingData::Ignore,
        cloudwatch::TreatMissing::Missing => MissingData::Missing,
        cloudwatch::TreatMissing::Ignore => MissingData::Ignore,
        cloudwatch::TreatMissing::Breaching => MissingData::Breaching,
        cloudwatch::TreatMissing::NotBreaching => MissingData::NotBreaching,
    };
    Ok(Alarm {
        state: alarm_state(alarm.state),
        missing_data: Some(missing_data),
        samples: Some(MetricQuery {
            namespace: key.namespace.clone(),
            metric: key.name.clone(),
            dimensions: key.dimensions.iter().cloned().collect(),
            statistic: "SampleCount".to_owned(),
            period: Duration::from_mins(1),
        }),
        state_since: Some(timestamp(alarm.state_updated_at)?),
        state_reason: alarm.reason.clone(),
    })
}

/// How `DescribeEvents` shows it: without its number.
pub(super) fn event(event: &world::aurora::Event) -> Result<CloudEvent, ObserveError> {
    Ok(CloudEvent {
        at: timestamp(event.at)?,
        categories: vec![event.category.to_owned()],
        message: event.message.clone(),
    })
}

fn alarm_state(state: cloudwatch::AlarmState) -> AlarmState {
    match state {
        cloudwatch::AlarmState::Ok => AlarmState::Ok,
        cloudwatch::AlarmState::Alarm => AlarmState::Alarm,
        cloudwatch::AlarmState::InsufficientData => AlarmState::InsufficientData,
    }
}

/// An API error that answers a read.
pub(super) fn read_error(what: &str, fault: ApiFault) -> ObserveError {
    let ApiFault { status, code, message } = fault;
    match code {
        "Throttling" | "ThrottlingException" => ObserveError::Throttled,
        "ThrottledException" | "TooManyRequestsException" => ObserveError::Throttled,
        _ if status == 404 || code.ends_with("NotFound") || code.ends_with("NotFoundException") => {
            ObserveError::NotFound { what: what.to_owned(), code: code.to_owned() }
        }
        _ if 500 <= status => ObserveError::Unreachable { reason: format!("{status} {code}: {message}") },
        _ => ObserveError::Rejected { code: code.to_owned(), message },
    }
}

pub(super) fn timestamp(at: SimTime) -> Result<jiff::Timestamp, ObserveError> {
    i64::try_from(at.0)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .ok_or_else(|| ObserveError::Malformed { reason: format!("{at:?} is no time") })
}
