//! What is read from and done to the cloud, as values: views of what exists, mutations, and how a mutation ended.
//!
//! A [`Mutation`] is the exact call: it is journalled as the intent, digested, approved, sent and compared, so
//! nothing about it is chosen at the moment of sending. Nothing here is an SDK type.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    api_call::ApiCall,
    application::{ClusterArn, ClusterEndpoint},
    capacity::AcuRange,
    fault::FunctionVariable,
    id::{Region, StoreName},
    sabotage::{Guard, is_off},
    standby_object::ObjectAt,
};

/// An Aurora global cluster as one Region's RDS endpoint described it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GlobalCluster {
    pub identifier: String,
    /// `available` or anything else; whatever is not `available` counts as busy, never as healthy [AUG].
    pub status: String,
    pub engine: String,
    pub engine_version: String,
    pub members: Vec<Member>,
    /// Present while an operation is pending or in progress.
    pub failover: Option<FailoverState>,
}

/// One cluster of a global cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub arn: ClusterArn,
    pub is_writer: bool,
    /// `connected`, `pending-resync`, another text, or not reported.
    pub synchronization: Option<String>,
}

/// The operation that a global cluster is busy with; the status text is kept verbatim (the SDK's enum is incomplete).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailoverState {
    pub status: String,
    pub from: Option<ClusterArn>,
    pub to: Option<ClusterArn>,
    pub data_loss_allowed: bool,
}

impl GlobalCluster {
    /// The one writer, where exactly one member says that it is.
    pub fn writer(&self) -> Option<&Member> {
        let mut writers = self.members.iter().filter(|m| m.is_writer);
        match (writers.next(), writers.next()) {
            (Some(one), None) => Some(one),
            _ => None,
        }
    }

    /// The secondaries that AWS says are not in step, each with its word (`pending-resync`); `None`: it says so of none.
    pub fn behind(&self) -> Option<String> {
        let secondaries = self.members.iter().filter(|m| !m.is_writer);
        let says = secondaries.filter_map(|m| {
            let word = m.synchronization.as_deref().filter(|word| *word != "connected")?;
            Some(format!("{} is {word}", m.arn.identifier()))
        });
        let says: Vec<String> = says.collect();
        (!says.is_empty()).then(|| says.join(", "))
    }

    /// Whether no operation is pending or in progress.
    pub fn is_settled(&self) -> bool {
        self.failover.is_none() && (self.status == "available" || is_off(Guard::UnknownStatus))
    }

    /// Whether `target` is the proven writer: settled, and the only one that says so (AWS.md 1.1).
    pub fn is_settled_on(&self, target: &ClusterArn) -> bool {
        self.is_settled() && self.writer().is_some_and(|w| w.arn == *target)
    }
}

/// A regional DB cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DbCluster {
    pub arn: ClusterArn,
    pub status: String,
    pub engine_version: String,
    /// Zero is headless: it cannot be promoted into service [AUG].
    pub instances: usize,
    /// The global cluster that it says it belongs to. `None`: it names none, which after a detachment is how it must be,
    /// and by itself proves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub global: Option<String>,
    /// Of Aurora Serverless v2; `None` where it is not reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<AcuRange>,
    /// For how long its automated snapshots are kept, in days; `None` where it is not reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_retention_days: Option<u32>,
    /// Whether it is protected from being deleted; `None` where it is not reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_protection: Option<bool>,
    /// The name of its parameter group; `None` where it is not reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter_group: Option<String>,
}

/// A snapshot of a DB cluster, as RDS describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DbSnapshot {
    pub identifier: String,
    /// `available`, or anything else: then it cannot be copied or restored.
    pub status: String,
    /// `None` while RDS does not tell.
    pub created_at: Option<Timestamp>,
}

/// One metric to read: the newest datapoints of one statistic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MetricQuery {
    pub namespace: String,
    pub metric: String,
    pub dimensions: BTreeMap<String, String>,
    pub statistic: String,
    pub period: Duration,
}

/// A datapoint; NaN and infinite values never get here (the adapter drops them as missing).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Datapoint {
    pub at: Timestamp,
    pub value: f64,
}

/// What was answered about one of several things that were asked in one call.
pub type Answer<T> = Result<T, ObserveError>;

/// The datapoints of one query, newest first, at most [`DATAPOINTS_MAX`]; empty is no data, which is neither zero nor
/// an error [CWUG].
pub type Series = Vec<Datapoint>;

/// How many datapoints of one query are kept: enough to find the last whole period behind one in progress and some
/// that came late.
pub const DATAPOINTS_MAX: usize = 16;

/// Queries of one GetMetricData call [bc].
pub const METRICS_PER_CALL_MAX: usize = 500;

/// Names of one DescribeAlarms call [bc].
pub const ALARMS_PER_CALL_MAX: usize = 100;

/// The newest datapoint, where one query was asked.
///
/// # Errors
/// That of the call, or of the one query.
pub fn newest_of_one(answers: Result<Vec<Answer<Series>>, ObserveError>) -> Result<Option<Datapoint>, ObserveError> {
    let series = answers?.into_iter().next().transpose()?;
    Ok(series.and_then(|points| points.first().copied()))
}

/// What a CloudWatch alarm says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmState {
    Ok,
    Alarm,
    InsufficientData,
}

impl AlarmState {
    /// The name that AWS gives it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Alarm => "ALARM",
            Self::InsufficientData => "INSUFFICIENT_DATA",
        }
    }
}

/// What a period without data means to an alarm (`TreatMissingData`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissingData {
    /// The default: without data the state becomes INSUFFICIENT_DATA.
    Missing,
    /// The state stays what it was.
    Ignore,
    Breaching,
    NotBreaching,
}

/// A CloudWatch alarm: its state, and what is needed to tell whether data stand behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    pub state: AlarmState,
    /// `None` for a composite alarm, which does not say. Alarms on AWS/DynamoDB ignore missing data whatever is set
    /// [bc:cloudwatch.PutMetricAlarm], and so are given here.
    pub missing_data: Option<MissingData>,
    /// How many samples the metric had, minute by minute; `None` where the alarm does not watch one metric alone.
    pub samples: Option<MetricQuery>,
    /// When the state was last set.
    pub state_since: Option<Timestamp>,
    /// CloudWatch's own words.
    pub state_reason: String,
}

impl Alarm {
    /// Whether the state may be what it is for want of data: then it is evidence only with data behind it.
    pub fn may_rest_on_silence(&self) -> bool {
        match (self.state, self.missing_data) {
            (AlarmState::InsufficientData, _) => false,
            (_, None | Some(MissingData::Ignore))
            | (AlarmState::Ok, Some(MissingData::NotBreaching))
            | (AlarmState::Alarm, Some(MissingData::Breaching)) => true,
            (AlarmState::Ok, Some(MissingData::Missing | MissingData::Breaching))
            | (AlarmState::Alarm, Some(MissingData::Missing | MissingData::NotBreaching)) => false,
        }
    }
}

/// What RDS events are asked about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "source", rename_all = "snake_case")]
pub enum EventSource {
    DbCluster {
        identifier: String,
    },
    /// Aurora tells of the fencing of an old primary as an event of an instance [AUG].
    DbInstance {
        identifier: String,
    },
}

/// Something that RDS says has happened. The API gives no id, so what it is stands in the categories and the text
/// [bc:rds.DescribeEvents].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudEvent {
    pub at: Timestamp,
    pub categories: Vec<String>,
    pub message: String,
}

/// A resource record set, as far as we change it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordSet {
    pub name: String,
    pub record_type: String,
    pub ttl_seconds: Option<u32>,
    pub values: Vec<String>,
    pub set_identifier: Option<String>,
    /// `PRIMARY` or `SECONDARY`.
    pub failover: Option<String>,
    pub weight: Option<u8>,
    pub health_check_id: Option<String>,
}

/// An effect on the outside, complete to the last argument.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum Mutation {
    /// `rds:SwitchoverGlobalCluster`, called in the current primary's Region: lossless.
    AuroraSwitchover { region: Region, global_cluster: String, target: ClusterArn },
    /// `rds:FailoverGlobalCluster` with `AllowDataLoss`, called in the target's Region.
    AuroraFailover { region: Region, global_cluster: String, target: ClusterArn },
    /// `rds:RemoveFromGlobalCluster`, called in the Region of the cluster that is detached.
    AuroraDetach { region: Region, global_cluster: String, target: ClusterArn },
    /// `rds:CreateDBInstance` in a cluster that exists.
    CreateInstance { region: Region, cluster: ClusterArn, identifier: String, class: String, engine: String },
    /// `route53-recovery-cluster:UpdateRoutingControlStates`: atomic; `true` is On. Any endpoint will do.
    RoutingControls { endpoints: Vec<ClusterEndpoint>, states: BTreeMap<String, bool> },
    /// `cloudwatch:PutMetricData` of one value, stamped with the time of sending.
    PutMetric { region: Region, namespace: String, metric: String, dimensions: BTreeMap<String, String>, value: f64 },
    /// `s3:PutObject` of a short text, in the object's own Region.
    PutObject { object: ObjectAt, body: String },
    /// `s3:DeleteObject`; where there is none, S3 says the same.
    DeleteObject { object: ObjectAt },
    /// `route53:ChangeResourceRecordSets`, all UPSERT, one transactional batch.
    UpsertRecords { hosted_zone_id: String, records: Vec<RecordSet>, comment: String },
    /// `sns:Publish`.
    Publish { region: Region, topic_arn: String, subject: String, message: String },
    /// PostgreSQL's `pg_terminate_backend` of everybody else's sessions on the store's database in `region`: no call to
    /// AWS, and sent over the databases' port.
    EndSessions { region: Region, store: StoreName },
    /// `rds:CopyDBClusterSnapshot` within one Region, by identifiers.
    CopySnapshot { region: Region, source: String, target: String },
    /// `lambda:UpdateFunctionConfiguration` of one variable, from what is expected there (`None`: no such variable) to
    /// what is wanted; every other variable is read and carried when it is sent, and stands in no record.
    LambdaVariable { at: FunctionVariable, from: Option<String>, to: Option<String> },
    /// Any other operation, as a runbook wrote it out (`aws.call`).
    AwsCall { request: Box<ApiCall>, idempotent: bool },
}

impl Mutation {
    /// The AWS operation, as `service:Operation`.
    pub fn operation(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::AuroraSwitchover { .. } => "rds:SwitchoverGlobalCluster",
            Self::AuroraFailover { .. } => "rds:FailoverGlobalCluster",
            Self::AuroraDetach { .. } => "rds:RemoveFromGlobalCluster",
            Self::CreateInstance { .. } => "rds:CreateDBInstance",
            Self::RoutingControls { .. } => "route53-recovery-cluster:UpdateRoutingControlStates",
            Self::PutMetric { .. } => "cloudwatch:PutMetricData",
            Self::PutObject { .. } => "s3:PutObject",
            Self::DeleteObject { .. } => "s3:DeleteObject",
            Self::UpsertRecords { .. } => "route53:ChangeResourceRecordSets",
            Self::Publish { .. } => "sns:Publish",
            Self::EndSessions { .. } => "postgres:pg_terminate_backend",
            Self::CopySnapshot { .. } => "rds:CopyDBClusterSnapshot",
            Self::LambdaVariable { .. } => "lambda:UpdateFunctionConfiguration",
            Self::AwsCall { request, .. } => return Cow::Owned(request.operation.clone()),
        })
    }

    /// Whether sending the same call twice has the effect of sending it once (so an unknown outcome may be
    /// repeated after looking). Aurora's calls are not: they are sent at most once per intent.
    pub fn is_idempotent(&self) -> bool {
        match self {
            Self::AuroraSwitchover { .. }
            | Self::AuroraFailover { .. }
            | Self::AuroraDetach { .. }
            | Self::Publish { .. } => false,
            // A name exists once: the second call is refused.
            Self::CreateInstance { .. } | Self::CopySnapshot { .. } => true,
            Self::RoutingControls { .. }
            | Self::PutMetric { .. }
            | Self::PutObject { .. }
            | Self::DeleteObject { .. }
            | Self::UpsertRecords { .. }
            | Self::EndSessions { .. } => true,
            // It is compared with what is there.
            Self::LambdaVariable { .. } => true,
            Self::AwsCall { idempotent, .. } => *idempotent,
        }
    }
}

/// How sending a [`Mutation`] ended. Only `Accepted` and `Rejected` are AWS's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// AWS took it. Not done: done is when its postcondition has been observed.
    Accepted {
        request_id: Option<String>,
        /// What to ask about later (a Route 53 change id, an SNS message id).
        handle: Option<String>,
    },
    /// AWS refused it and nothing happened (a 4xx with a service error code).
    Rejected { code: String, message: String, request_id: Option<String> },
    /// It certainly never left (no connection, no credentials).
    NotSent { reason: String },
    /// It may or may not have happened: a timeout, a broken connection, a 5xx. To be settled by looking.
    Unknown { reason: String },
}

/// Why something could not be read. Nothing here means "healthy" or "zero".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObserveError {
    #[error("{what} does not exist ({code})")]
    NotFound { what: String, code: String },
    #[error("AWS refused: {code}: {message}")]
    Rejected { code: String, message: String },
    #[error("AWS throttled the call")]
    Throttled,
    #[error("no answer: {reason}")]
    Unreachable { reason: String },
    #[error("the answer makes no sense: {reason}")]
    Malformed { reason: String },
    /// Our clock and AWS's differ by more than [`super::signal::CLOCK_SKEW_MAX`]: no age can be told.
    #[error("no age can be told: {reason}")]
    ClockSkew { reason: String },
}
