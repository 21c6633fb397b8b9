//! [`crate::ports::Cloud`] over the official AWS SDKs.
//!
//! Invariant: a mutation is sent at most once, in the Region that it names, and how it ended is never guessed
//! ([`error`] alone decides). Every method ends within [`Options::call_timeout`] by the clock given.
//!
//! Deliberately not here: policy (what to do, when, whether to repeat), polling until something is done, and any
//! text that an operator did not configure: identifiers and endpoints come from outside.

mod aged;
mod arc;
mod call;
mod capacity;
mod clients;
mod cloudwatch;
mod error;
mod events;
mod iam;
mod intercept;
mod lambda;
mod parameters;
mod rds;
mod route53;
mod s3;
mod settings;
mod skew;
mod snapshots;
mod sns;
#[cfg(test)]
mod tests;
mod time;

use std::{
    future::Future,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use jiff::Timestamp;

use self::{call::Caller, clients::Clients, error::Failure, intercept::Departure, skew::Skew};
pub use self::{
    settings::{EndpointsRefused, Options, custom_endpoints_in_environment, load_sdk_config, simulated_sdk_config},
    time::SdkClock,
};
use crate::{
    domain::{
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
        trace::CloudCall,
    },
    ports::{Clock, Cloud, Observer, behalf::behalf},
};

/// The most pages of one listing that are followed; more is an answer that makes no sense.
const PAGES_MAX: usize = 20;

/// AWS, as reached with one set of credentials.
#[derive(Debug)]
pub struct AwsCloud {
    clients: Clients,
    caller: Caller,
    skew: Skew,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
    options: Options,
    /// Which ARC endpoint is asked first; advances with every use.
    rotation: AtomicUsize,
}

/// Which call it is, for those who count calls.
#[derive(Debug, Clone, Copy)]
struct Call<'a> {
    service: &'a str,
    operation: &'a str,
    region: &'a Region,
}

impl AwsCloud {
    /// `sdk_config` brings credentials, the HTTP client and endpoints; its timeouts, retries and time are replaced.
    pub fn new(sdk_config: SdkConfig, clock: Arc<dyn Clock>, observer: Arc<dyn Observer>, options: Options) -> Self {
        let skew = Skew::new(Arc::clone(&clock));
        let clients = Clients::new(&sdk_config, Arc::clone(&clock), skew.clone(), &options);
        Self {
            caller: Caller::new(clients.base()),
            clients,
            skew,
            rotation: AtomicUsize::new(options.rotation_seed),
            clock,
            observer,
            options,
        }
    }

    /// Tells the observer how `call` ended, and says what its error means.
    fn ended<T, E>(
        &self,
        call: Call<'_>,
        departure: &Departure,
        result: Result<T, SdkError<E, HttpResponse>>,
    ) -> Result<T, Failure>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let result = result.map_err(|e| error::classify(&e, departure));
        let word = result.as_ref().map_or_else(Failure::word, |_| "ok");
        self.tell(call, word);
        if let Some(behalf) = behalf() {
            let (went, ended) = (departure.went(), self.clock.wall());
            let (service, operation) = (call.service.to_owned(), call.operation.to_owned());
            let call = CloudCall {
                service,
                operation,
                region: call.region.clone(),
                outcome: word,
                began: departure.began(),
                ended,
                attempts: went.attempts,
                http_status: went.http_status,
                request_id: went.request_id,
            };
            self.observer.traced(&behalf, &call);
        }
        result
    }

    /// What looks at a call that is made now.
    fn departure(&self) -> Departure {
        Departure::at(self.clock.wall())
    }

    fn tell(&self, call: Call<'_>, word: &str) {
        self.observer.called(call.service, call.operation, call.region.as_str(), word, self.clock.wall());
    }

    /// Bounds a read of several pages or endpoints, each of which is bounded by the SDK already.
    async fn within<T>(
        &self,
        call: Call<'_>,
        read: impl Future<Output = Result<T, ObserveError>> + Send,
    ) -> Result<T, ObserveError> {
        tokio::select! {
            biased;
            result = read => result,
            () = self.clock.sleep(self.options.call_timeout) => {
                self.tell(call, "unknown");
                Err(ObserveError::Unreachable {
                    reason: format!(
                        "{}:{} in {} did not end within {:?}",
                        call.service, call.operation, call.region, self.options.call_timeout
                    ),
                })
            }
        }
    }
}

/// A listing that goes on for too long.
fn too_many_pages(what: &str) -> ObserveError {
    ObserveError::Malformed { reason: format!("the listing of {what} did not end within {PAGES_MAX} pages") }
}

/// Something that an answer must hold and does not.
fn lacking(what: &str, field: &str) -> ObserveError {
    ObserveError::Malformed { reason: format!("the description of {what} has no {field}") }
}

#[async_trait]
impl Cloud for AwsCloud {
    async fn global_cluster(&self, region: &Region, identifier: &str) -> Result<GlobalCluster, ObserveError> {
        self.describe_global_cluster(region, identifier).await
    }

    async fn db_cluster(&self, arn: &ClusterArn) -> Result<DbCluster, ObserveError> {
        self.describe_db_cluster(arn).await
    }

    async fn db_instances(&self, cluster: &ClusterArn) -> Result<Vec<DbInstance>, ObserveError> {
        self.describe_db_instances(cluster).await
    }

    async fn cluster_snapshots(&self, cluster: &ClusterArn) -> Result<Vec<DbSnapshot>, ObserveError> {
        self.describe_cluster_snapshots(cluster).await
    }

    async fn cluster_parameter(
        &self,
        region: &Region,
        group: &str,
        name: &str,
    ) -> Result<Option<String>, ObserveError> {
        self.describe_cluster_parameter(region, group, name).await
    }

    async fn account_quotas(&self, region: &Region) -> Result<Quotas, ObserveError> {
        self.describe_account_attributes(region).await
    }

    async fn metrics(
        &self,
        region: &Region,
        queries: &[MetricQuery],
        window: Duration,
    ) -> Result<Vec<Answer<Series>>, ObserveError> {
        self.get_metric_data(region, queries, self.clock.wall(), window).await
    }

    async fn metrics_until(
        &self,
        region: &Region,
        queries: &[MetricQuery],
        until: Timestamp,
        window: Duration,
    ) -> Result<Vec<Answer<Series>>, ObserveError> {
        self.get_metric_data(region, queries, until, window).await
    }

    async fn alarms(&self, region: &Region, names: &[String]) -> Result<Vec<Answer<Alarm>>, ObserveError> {
        self.describe_alarms(region, names).await
    }

    async fn events(
        &self,
        region: &Region,
        source: &EventSource,
        window: Duration,
    ) -> Result<Vec<CloudEvent>, ObserveError> {
        self.describe_events(region, source, window).await
    }

    async fn record_sets(
        &self,
        hosted_zone_id: &str,
        name: &str,
        record_type: &str,
    ) -> Result<Vec<RecordSet>, ObserveError> {
        self.list_record_sets(hosted_zone_id, name, record_type).await
    }

    async fn routing_controls(
        &self,
        endpoints: &[ClusterEndpoint],
        arns: &[String],
    ) -> Result<Vec<bool>, ObserveError> {
        self.get_routing_controls(endpoints, arns).await
    }

    async fn object_is_there(&self, object: &ObjectAt) -> Result<bool, ObserveError> {
        self.head_object(object).await
    }

    async fn objects(&self, region: &Region, bucket: &str, after: Option<&str>) -> Result<Page, ObserveError> {
        self.list_objects(region, bucket, after).await
    }

    async fn replication_of(&self, region: &Region, bucket: &str, key: &str) -> Result<Replication, ObserveError> {
        self.replication_status(region, bucket, key).await
    }

    async fn topic_is_there(&self, region: &Region, arn: &str) -> Result<bool, ObserveError> {
        self.get_topic(region, arn).await
    }

    async fn caller(&self, region: &Region) -> Result<String, ObserveError> {
        self.caller_identity(region).await
    }

    async fn role_arn(&self, region: &Region, role: &str) -> Result<String, ObserveError> {
        self.get_role(region, role).await
    }

    async fn simulate(&self, region: &Region, question: &Simulation) -> Result<Vec<Evaluation>, ObserveError> {
        self.simulate_policy(region, question).await
    }

    async fn change_is_insync(&self, change_id: &str) -> Result<bool, ObserveError> {
        self.get_change(change_id).await
    }

    async fn ask(&self, request: &ApiCall) -> Result<serde_json::Value, ObserveError> {
        self.ask_api(request).await
    }

    async fn aged(&self, question: &Aged) -> Result<AgeAnswer, ObserveError> {
        self.ask_aged(question).await
    }

    async fn apply(&self, mutation: &Mutation, intended_at: jiff::Timestamp) -> Outcome {
        // A notice is no change, and the one that a clock which is off should not silence.
        let changes = !matches!(mutation, Mutation::Publish { .. });
        if let Some(reason) = self.skew.refusal_everywhere().filter(|_| changes) {
            return Outcome::NotSent { reason };
        }
        time::signed_as_of(intended_at, self.send(mutation)).await
    }
}

impl AwsCloud {
    async fn send(&self, mutation: &Mutation) -> Outcome {
        match mutation {
            Mutation::AuroraSwitchover { region, global_cluster, target } => {
                self.switchover(region, global_cluster, target).await
            }
            Mutation::AuroraFailover { region, global_cluster, target } => {
                self.failover(region, global_cluster, target).await
            }
            Mutation::AuroraDetach { region, global_cluster, target } => {
                self.detach(region, global_cluster, target).await
            }
            Mutation::CreateInstance { region, cluster, identifier, class, engine } => {
                self.create_instance(region, cluster, identifier, (class, engine)).await
            }
            Mutation::RoutingControls { endpoints, states } => self.update_routing_controls(endpoints, states).await,
            Mutation::PutMetric { region, namespace, metric, dimensions, value } => {
                self.put_metric(region, namespace, metric, dimensions, *value).await
            }
            Mutation::PutObject { object, body } => self.put_object(object, body).await,
            Mutation::DeleteObject { object } => self.delete_object(object).await,
            Mutation::UpsertRecords { hosted_zone_id, records, comment } => {
                self.upsert_records(hosted_zone_id, records, comment).await
            }
            Mutation::Publish { region, topic_arn, subject, message } => {
                self.publish(region, topic_arn, subject, message).await
            }
            Mutation::EndSessions { .. } => Outcome::NotSent { reason: "no call to AWS".to_owned() },
            Mutation::CopySnapshot { region, source, target } => self.copy_snapshot(region, source, target).await,
            Mutation::LambdaVariable { at, from, to } => self.set_variable(at, from.as_deref(), to.as_deref()).await,
            Mutation::AwsCall { request, .. } => self.call_api(request).await,
        }
    }
}
