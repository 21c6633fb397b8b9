//! AWS, as far as the engine knows it: reads that never change anything, and one way to send a mutation.

use std::{fmt::Debug, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;

use crate::domain::{
    api_call::ApiCall,
    application::{ClusterArn, ClusterEndpoint},
    capacity::{DbInstance, Quotas},
    cloud::{
        Alarm, Answer, CloudEvent, DbCluster, DbSnapshot, EventSource, GlobalCluster, MetricQuery, Mutation,
        ObserveError, Outcome, RecordSet, Series,
    },
    id::Region,
    permissions::changes::{Evaluation, Simulation},
    salvage::{Page, Replication},
    signature::{AgeAnswer, Aged},
    standby_object::ObjectAt,
};

/// Crash semantics: reads leave nothing behind. [`Cloud::apply`] sends its call at most once; when the process or
/// the answer is lost, the call may have happened, and only reading tells. Nothing here retries a mutation.
/// Every method ends within `call_timeout` of the adapter, whatever the server does.
#[async_trait]
pub trait Cloud: Send + Sync + Debug {
    /// `rds:DescribeGlobalClusters` as the endpoint of `region` sees it. Endpoints may disagree for a while.
    async fn global_cluster(&self, region: &Region, identifier: &str) -> Result<GlobalCluster, ObserveError>;

    /// `rds:DescribeDBClusters` in the cluster's own Region.
    async fn db_cluster(&self, arn: &ClusterArn) -> Result<DbCluster, ObserveError>;

    /// `rds:DescribeDBClusterParameters`: what parameter `name` is set to in the cluster parameter group `group` of `region`.
    /// `None`: it has no value there, or the engine has no such parameter.
    async fn cluster_parameter(&self, region: &Region, group: &str, name: &str)
    -> Result<Option<String>, ObserveError>;

    /// `rds:DescribeDBInstances` of the cluster's instances, in its own Region.
    async fn db_instances(&self, cluster: &ClusterArn) -> Result<Vec<DbInstance>, ObserveError>;

    /// `rds:DescribeDBClusterSnapshots` of the cluster, in its own Region: its own, automatic ones and copies.
    async fn cluster_snapshots(&self, cluster: &ClusterArn) -> Result<Vec<DbSnapshot>, ObserveError>;

    /// `rds:DescribeAccountAttributes`: the caller's account in `region`. A quota that is not told is not in it.
    async fn account_quotas(&self, region: &Region) -> Result<Quotas, ObserveError>;

    /// The newest datapoints of each query within `window`, in the order of the queries. A query that CloudWatch did
    /// not answer whole has an error of its own; the error of the call is everybody's.
    async fn metrics(
        &self,
        region: &Region,
        queries: &[MetricQuery],
        window: Duration,
    ) -> Result<Vec<Answer<Series>>, ObserveError>;

    /// The same within `window` before `until`.
    async fn metrics_until(
        &self,
        region: &Region,
        queries: &[MetricQuery],
        until: Timestamp,
        window: Duration,
    ) -> Result<Vec<Answer<Series>>, ObserveError>;

    /// Alarms by name, in the order of the names; one that does not exist has an error of its own.
    async fn alarms(&self, region: &Region, names: &[String]) -> Result<Vec<Answer<Alarm>>, ObserveError>;

    /// `rds:DescribeEvents` of `source` in `region` within `window`, oldest first. No event is no news of anything.
    async fn events(
        &self,
        region: &Region,
        source: &EventSource,
        window: Duration,
    ) -> Result<Vec<CloudEvent>, ObserveError>;

    /// The record sets of one name and type, as the control plane lists them (pending changes included).
    async fn record_sets(
        &self,
        hosted_zone_id: &str,
        name: &str,
        record_type: &str,
    ) -> Result<Vec<RecordSet>, ObserveError>;

    /// The states (`true` is On) of routing controls, in the order asked, from any endpoint that answers.
    async fn routing_controls(&self, endpoints: &[ClusterEndpoint], arns: &[String])
    -> Result<Vec<bool>, ObserveError>;

    /// `s3:HeadObject` in the object's own Region: whether it is there. `NotFound` is of the bucket; what S3 refuses to
    /// show (403, which it also says of what is absent to who may not list the bucket) is an error, never absence.
    async fn object_is_there(&self, object: &ObjectAt) -> Result<bool, ObserveError>;

    /// `s3:ListObjectsV2`: one page of the bucket, from the beginning or from where the page before said.
    async fn objects(&self, region: &Region, bucket: &str, after: Option<&str>) -> Result<Page, ObserveError>;

    /// `s3:HeadObject`: how far the replication of an object is. `NotFound` where it is not there (any more).
    async fn replication_of(&self, region: &Region, bucket: &str, key: &str) -> Result<Replication, ObserveError>;

    /// `sns:GetTopicAttributes` in the topic's own Region: whether it is there.
    async fn topic_is_there(&self, region: &Region, arn: &str) -> Result<bool, ObserveError>;

    /// `sts:GetCallerIdentity` of the STS in `region`: the ARN by which AWS knows whoever asks.
    async fn caller(&self, region: &Region) -> Result<String, ObserveError>;

    /// `iam:GetRole` of the caller's own account, in the partition of `region`: the role's ARN, with its path.
    async fn role_arn(&self, region: &Region, role: &str) -> Result<String, ObserveError>;

    /// `iam:SimulatePrincipalPolicy`, in the partition of `region`: what policies say of each action on each resource.
    async fn simulate(&self, region: &Region, question: &Simulation) -> Result<Vec<Evaluation>, ObserveError>;

    /// Whether a Route 53 change is INSYNC. `NotFound` means that it was stranded and must be sent again [R53DG].
    async fn change_is_insync(&self, change_id: &str) -> Result<bool, ObserveError>;

    /// Asks what a runbook wrote out, once: an operation that only reads. Its answer as JSON.
    async fn ask(&self, request: &ApiCall) -> Result<serde_json::Value, ObserveError>;

    /// Asks `question`, signed too long ago: whether it is refused for that. An error is no answer.
    async fn aged(&self, question: &Aged) -> Result<AgeAnswer, ObserveError>;

    /// Sends one mutation, once, signed as of `intended_at` (wall time): when its intent was made durable. A process that
    /// stood still between the two, for longer than AWS takes a signature for, so sends what AWS itself refuses; that is
    /// answered as not sent.
    async fn apply(&self, mutation: &Mutation, intended_at: Timestamp) -> Outcome;
}
