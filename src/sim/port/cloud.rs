//! [`Cloud`] over the world. A call takes a moment of the clock's time to arrive and a moment to be answered; a plane
//! that does not answer makes it wait for its timeout.
//!
//! What each call asks for is here; what becomes of it on the way is in `way`, what it does in `effect`.

use std::{borrow::Cow, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;

use super::{
    LiveWorld,
    effect::Effect,
    fault::Faults,
    metrics::{metric_queries, newest},
    view,
    way::{CALL_TIMEOUT, Route, Way, skewed},
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
        sabotage::{Guard, is_off},
        salvage::{PAGE_KEYS_MAX, Page, Replication},
        signature::{AgeAnswer, Aged},
        standby_object::ObjectAt,
    },
    ports::Cloud,
    sim::{
        faults,
        world::{
            Plane, Reach, SimTime,
            arc::ControlState,
            aurora::{Snapshot, SourceType, Stage},
            route53::{
                self,
                change::ChangeStatus,
                listing::StartRecord,
                record::{DnsName, RrType},
            },
            services,
        },
    },
};

/// How long one endpoint of an ARC cluster is waited for before the next is asked.
const ENDPOINT_TIMEOUT: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Clone)]
pub struct SimCloud {
    pub(super) way: Way,
}

pub(super) fn at(operation: &'static str, plane: Plane, region: &Region) -> Route {
    Route { operation, plane, region: region.clone() }
}

/// Route 53's API is one for all Regions.
fn route53(operation: &'static str) -> Route {
    Route { operation, plane: Plane::Route53Control, region: route53::home() }
}

/// The way of a call that a runbook wrote out; `None` where its operation is not simulated.
fn written_out(request: &ApiCall) -> Option<Route> {
    let operation = services::OPERATIONS.iter().find(|operation| **operation == request.operation)?;
    Some(at(operation, services::plane(request.service())?, &request.region))
}

/// A mutation that leaves, and the time that its signature tells.
#[derive(Clone, Copy)]
struct Signed<'a> {
    mutation: &'a Mutation,
    stamped: SimTime,
    place: usize,
}

impl SimCloud {
    pub fn new(world: LiveWorld, faults: Faults) -> Self {
        Self { way: Way { world, faults } }
    }

    fn is_gone(&self, route: &Route) -> bool {
        self.way.world.now(|world| {
            let reach = world.planes.reach(route.plane, &route.region);
            self.way.faults.meet(&route.met_plane(world, reach));
            reach != Reach::Up
        })
    }

    async fn controls_at(&self, route: Route, arns: &[String]) -> Result<Vec<bool>, ObserveError> {
        let endpoint = &route.region.clone();
        let key = arns.join(" ");
        self.way
            .read(route, Some(&key), |world| {
                let state = |arn: &String| {
                    let control = world.arc.get_state(&world.planes, endpoint, arn);
                    control.map(|c| c.state == ControlState::On).map_err(|e| view::read_error(arn, e.fault))
                };
                arns.iter().map(state).collect()
            })
            .await
    }

    /// An endpoint that is known to be gone is passed over by its timeout, and the next is asked: the states are the
    /// same.
    async fn set_controls(&self, signed: Signed<'_>, endpoints: &[ClusterEndpoint]) -> Outcome {
        let mut last = Outcome::NotSent { reason: "the cluster has no endpoint".to_owned() };
        for endpoint in endpoints {
            let region = &endpoint.region;
            let route = at("route53-recovery-cluster:UpdateRoutingControlStates", Plane::ArcCluster, region);
            if self.is_gone(&route) {
                self.way.sleep(ENDPOINT_TIMEOUT).await;
                last = Outcome::Unknown { reason: format!("the endpoint in {region} did not answer") };
                continue;
            }
            return self.send(route, ENDPOINT_TIMEOUT, signed).await;
        }
        self.way.faults.arrived(signed.place, false);
        last
    }

    async fn send(&self, route: Route, timeout: Duration, signed: Signed<'_>) -> Outcome {
        let Signed { mutation, stamped, place } = signed;
        let endpoint = route.region.clone();
        let revision = match mutation {
            Mutation::LambdaVariable { at, .. } => {
                self.way.world.now(|world| world.services.lambda.revision(&at.region, &at.function))
            }
            _ => None,
        };
        self.way.send(route, timeout, Effect { mutation: mutation.clone(), endpoint, stamped, place, revision }).await
    }

    fn meet(&self, number: u8, met: bool) {
        if met {
            self.way.faults.meet(&[number]);
        }
    }
}

#[async_trait]
impl Cloud for SimCloud {
    async fn global_cluster(&self, region: &Region, identifier: &str) -> Result<GlobalCluster, ObserveError> {
        let route = at("rds:DescribeGlobalClusters", Plane::Rds, region);
        self.way
            .read(route, Some(identifier), |world| {
                let found = world.aurora.global_clusters(region).find(|g| g.id == identifier);
                let found = found.ok_or_else(|| ObserveError::NotFound {
                    what: format!("global cluster {identifier}"),
                    code: "GlobalClusterNotFoundFault".to_owned(),
                })?;
                self.meet(36, found.operation.as_ref().is_some_and(|o| o.stage == Stage::Stuck));
                view::global_cluster(&world.aurora, found)
            })
            .await
    }

    async fn db_cluster(&self, arn: &ClusterArn) -> Result<DbCluster, ObserveError> {
        let route = at("rds:DescribeDBClusters", Plane::Rds, arn.region());
        self.way
            .read(route, Some(arn.as_str()), |world| {
                let Some(cluster) = world.aurora.cluster(arn.as_str()) else {
                    let code = "DBClusterNotFoundFault".to_owned();
                    return Err(ObserveError::NotFound { what: arn.to_string(), code });
                };
                let global = cluster.global.as_deref().and_then(|id| world.aurora.global_cluster(id));
                self.meet(40, cluster.instances.is_empty());
                self.meet(41, global.is_some_and(|g| g.engine_version != cluster.engine_version));
                view::db_cluster(cluster)
            })
            .await
    }

    async fn db_instances(&self, cluster: &ClusterArn) -> Result<Vec<DbInstance>, ObserveError> {
        let region = cluster.region();
        self.way
            .read(at("rds:DescribeDBInstances", Plane::Rds, region), Some(cluster.as_str()), |world| {
                self.meet(56, world.aurora.is_undersized(region));
                // Of a cluster that is not there RDS lists no instances.
                let created = world.aurora.instances_being_created(cluster.as_str());
                let found = world.aurora.cluster(cluster.as_str());
                Ok(found.map(|c| view::db_instances(c, created)).unwrap_or_default())
            })
            .await
    }

    async fn cluster_snapshots(&self, cluster: &ClusterArn) -> Result<Vec<DbSnapshot>, ObserveError> {
        let region = cluster.region();
        self.way
            .read(at("rds:DescribeDBClusterSnapshots", Plane::Rds, region), Some(cluster.as_str()), |world| {
                let of_cluster = |s: &&Snapshot| s.cluster_id == cluster.identifier();
                world.aurora.snapshots(region, world.now).filter(of_cluster).map(view::db_snapshot).collect()
            })
            .await
    }

    async fn cluster_parameter(
        &self,
        region: &Region,
        group: &str,
        name: &str,
    ) -> Result<Option<String>, ObserveError> {
        self.way
            .read(at("rds:DescribeDBClusterParameters", Plane::Rds, region), None, |world| {
                let found = world.aurora.cluster_parameters(region, group);
                let found = found.map_err(|fault| view::read_error(group, fault))?;
                Ok(found.into_iter().find(|p| p.name == name).and_then(|p| p.value))
            })
            .await
    }

    async fn account_quotas(&self, region: &Region) -> Result<Quotas, ObserveError> {
        self.way
            .read(at("rds:DescribeAccountAttributes", Plane::Rds, region), None, |world| {
                self.meet(55, world.aurora.is_quota_exhausted(region));
                Ok(view::quotas(&world.aurora, region, world.now))
            })
            .await
    }

    async fn metrics(
        &self,
        region: &Region,
        queries: &[MetricQuery],
        window: Duration,
    ) -> Result<Vec<Answer<Series>>, ObserveError> {
        let route = at("cloudwatch:GetMetricData", Plane::CloudWatch, region);
        let asked = metric_queries(queries)?;
        // The caller names the time by its own clock.
        let now = self.way.world.wall();
        let from = SimTime(now.0.saturating_sub(u64::try_from(window.as_millis()).unwrap_or(u64::MAX)));
        self.way
            .read(route, None, |world| {
                if let Some(reason) = skewed(now, world.now) {
                    return Err(ObserveError::ClockSkew { reason });
                }
                for query in queries {
                    let cluster = query.dimensions.get("DBClusterIdentifier").map(String::as_str);
                    let met = faults::of_metric(world, region, &query.namespace, &query.metric, cluster);
                    self.way.faults.meet(met);
                }
                let results = world.cloudwatch.get_metric_data(region, &asked, (from, now), true);
                Ok(newest(results.map_err(|fault| view::read_error("metric", fault))?))
            })
            .await
    }

    async fn metrics_until(
        &self,
        region: &Region,
        queries: &[MetricQuery],
        until: Timestamp,
        window: Duration,
    ) -> Result<Vec<Answer<Series>>, ObserveError> {
        let route = at("cloudwatch:GetMetricData", Plane::CloudWatch, region);
        let asked = metric_queries(queries)?;
        let to = SimTime(u64::try_from(until.as_millisecond()).unwrap_or_default());
        let from = SimTime(to.0.saturating_sub(u64::try_from(window.as_millis()).unwrap_or(u64::MAX)));
        self.way
            .read(route, None, |world| {
                let results = world.cloudwatch.get_metric_data(region, &asked, (from, to), true);
                Ok(newest(results.map_err(|fault| view::read_error("metric", fault))?))
            })
            .await
    }

    async fn alarms(&self, region: &Region, names: &[String]) -> Result<Vec<Answer<Alarm>>, ObserveError> {
        let route = at("cloudwatch:DescribeAlarms", Plane::CloudWatch, region);
        self.way
            .read(route, None, |world| {
                let alarm = |name: &String| match world.cloudwatch.alarm(region, name) {
                    Some(alarm) => view::alarm(alarm),
                    None => Err(ObserveError::NotFound { what: format!("alarm {name}"), code: "absent".to_owned() }),
                };
                Ok(names.iter().map(alarm).collect())
            })
            .await
    }

    async fn events(
        &self,
        region: &Region,
        source: &EventSource,
        window: Duration,
    ) -> Result<Vec<CloudEvent>, ObserveError> {
        let route = at("rds:DescribeEvents", Plane::Rds, region);
        let (kind, identifier) = match source {
            EventSource::DbCluster { identifier } => (SourceType::DbCluster, identifier),
            EventSource::DbInstance { identifier } => (SourceType::DbInstance, identifier),
        };
        let now = self.way.world.wall();
        let from = SimTime(now.0.saturating_sub(u64::try_from(window.as_millis()).unwrap_or(u64::MAX)));
        self.way
            .read(route, None, |world| {
                let events = world
                    .aurora
                    .events(region)
                    .filter(|e| e.source_type == kind && e.source_id == *identifier && (from..=now).contains(&e.at));
                events.map(view::event).collect()
            })
            .await
    }

    async fn record_sets(
        &self,
        hosted_zone_id: &str,
        name: &str,
        record_type: &str,
    ) -> Result<Vec<RecordSet>, ObserveError> {
        let malformed = |reason: String| ObserveError::Malformed { reason };
        let wanted: DnsName = name.parse().map_err(|e| malformed(format!("{e}")))?;
        let rtype: RrType = record_type.parse().map_err(|e| malformed(format!("{e}")))?;
        let key = format!("{hosted_zone_id} {name} {record_type}");
        self.way
            .read(route53("route53:ListResourceRecordSets"), Some(&key), |world| {
                let start = StartRecord { name: Some(wanted.clone()), rtype: Some(rtype), set_identifier: None };
                let page = world.route53.list_record_sets(world.now, hosted_zone_id, &start, None);
                let page = page.map_err(|fault| view::read_error(hosted_zone_id, fault))?;
                let of_name = page.items.iter().filter(|s| s.name == wanted && s.rtype == rtype);
                Ok(of_name.map(|s| view::record_set(name, s)).collect())
            })
            .await
    }

    async fn routing_controls(
        &self,
        endpoints: &[ClusterEndpoint],
        arns: &[String],
    ) -> Result<Vec<bool>, ObserveError> {
        let mut last = ObserveError::Unreachable { reason: "the cluster has no endpoint".to_owned() };
        for endpoint in endpoints {
            let region = &endpoint.region;
            let route = at("route53-recovery-cluster:GetRoutingControlState", Plane::ArcCluster, region);
            if self.is_gone(&route) {
                self.way.sleep(ENDPOINT_TIMEOUT).await;
                last = ObserveError::Unreachable { reason: format!("the endpoint in {region} did not answer") };
                continue;
            }
            return self.controls_at(route, arns).await;
        }
        Err(last)
    }

    async fn object_is_there(&self, object: &ObjectAt) -> Result<bool, ObserveError> {
        let ObjectAt { region, bucket, key } = object;
        // Never stale: S3 is strongly consistent.
        self.way
            .read(at("s3:HeadObject", Plane::S3, region), None, |world| match world.s3.get(region, bucket, key) {
                Ok(_) => Ok(true),
                Err(fault) if fault.code == "NoSuchKey" => Ok(false),
                Err(fault) if fault.code == "NoSuchBucket" => {
                    Err(ObserveError::NotFound { what: format!("bucket {bucket}"), code: fault.code.to_owned() })
                }
                Err(fault) => Err(view::read_error(bucket, fault)),
            })
            .await
    }

    async fn objects(&self, region: &Region, bucket: &str, after: Option<&str>) -> Result<Page, ObserveError> {
        let after = after.map(str::to_owned);
        self.way
            .read(at("s3:ListObjectsV2", Plane::S3, region), None, |world| {
                let listed = world.s3.list(region, bucket, after.as_deref(), PAGE_KEYS_MAX);
                let (page, has_more) = listed.map_err(|fault| view::read_error(bucket, fault))?;
                let next = page.last().filter(|_| has_more).map(|(key, _)| (*key).to_owned());
                Ok(Page { objects: page.into_iter().map(view::listed).collect::<Result<_, _>>()?, next })
            })
            .await
    }

    async fn replication_of(&self, region: &Region, bucket: &str, key: &str) -> Result<Replication, ObserveError> {
        self.way
            .read(at("s3:HeadObject", Plane::S3, region), None, |world| {
                let found = world.s3.get(region, bucket, key).map_err(|fault| view::read_error(key, fault))?;
                view::replication(found)
            })
            .await
    }

    async fn topic_is_there(&self, region: &Region, arn: &str) -> Result<bool, ObserveError> {
        self.way
            .read(at("sns:GetTopicAttributes", Plane::Sns, region), None, |world| match world.sns.topic(region, arn) {
                Ok(_) => Ok(true),
                Err(fault) if fault.code == "NotFound" => Ok(false),
                Err(fault) => Err(view::read_error(arn, fault)),
            })
            .await
    }

    async fn caller(&self, region: &Region) -> Result<String, ObserveError> {
        self.who_calls(region).await
    }

    async fn role_arn(&self, _: &Region, role: &str) -> Result<String, ObserveError> {
        self.role(role).await
    }

    async fn simulate(&self, _: &Region, question: &Simulation) -> Result<Vec<Evaluation>, ObserveError> {
        self.simulated(question).await
    }

    async fn change_is_insync(&self, change_id: &str) -> Result<bool, ObserveError> {
        self.way
            .read(route53("route53:GetChange"), None, |world| match world.route53.get_change(world.now, change_id) {
                Ok(info) => Ok(info.status == ChangeStatus::InSync),
                Err(fault) => Err(view::read_error(change_id, fault)),
            })
            .await
    }

    async fn ask(&self, request: &ApiCall) -> Result<serde_json::Value, ObserveError> {
        let Some(route) = written_out(request) else {
            return Err(ObserveError::Rejected {
                code: "NotImplemented".to_owned(),
                message: format!("{} is not simulated", request.operation),
            });
        };
        let key = request.arguments.to_string();
        self.way
            .read(route, Some(&key), |world| {
                let answer = world.call_service(&request.operation, &request.region, &request.arguments);
                answer.map_err(|fault| view::read_error(&request.operation, fault))
            })
            .await
    }

    /// The world looks at the age of every call: see [`Signed`].
    async fn aged(&self, _: &Aged) -> Result<AgeAnswer, ObserveError> {
        Ok(AgeAnswer::Refused { code: "SignatureDoesNotMatch".to_owned() })
    }

    async fn apply(&self, mutation: &Mutation, intended_at: Timestamp) -> Outcome {
        let operation = match mutation.operation() {
            Cow::Borrowed(operation) => operation,
            Cow::Owned(_) => "aws.call",
        };
        // The adapter has it from the answers before this call; here it is known.
        let (ours, theirs) = (self.way.world.wall(), self.way.world.now(|world| world.now));
        let refused = skewed(ours, theirs).filter(|_| !matches!(mutation, Mutation::Publish { .. }));
        if let Some(reason) = refused {
            self.meet(11, true);
            return Outcome::NotSent { reason };
        }
        let place = self.way.faults.log(self.way.world.time(), mutation);
        let intended = SimTime(u64::try_from(intended_at.as_millisecond()).unwrap_or(0));
        // Signing is the adapter's, which is not here: so its guard is.
        let stamped = if is_off(Guard::SignedWhenSent) { ours } else { intended };
        let signed = Signed { mutation, stamped, place };
        let route = match mutation {
            Mutation::RoutingControls { endpoints, .. } => {
                let outcome = self.set_controls(signed, endpoints).await;
                self.way.faults.answered(place, &outcome);
                return outcome;
            }
            Mutation::AuroraSwitchover { region, .. }
            | Mutation::AuroraFailover { region, .. }
            | Mutation::AuroraDetach { region, .. }
            | Mutation::CreateInstance { region, .. }
            | Mutation::CopySnapshot { region, .. } => at(operation, Plane::Rds, region),
            Mutation::PutMetric { region, .. } => at(operation, Plane::CloudWatch, region),
            Mutation::PutObject { object, .. } | Mutation::DeleteObject { object } => {
                at(operation, Plane::S3, &object.region)
            }
            Mutation::UpsertRecords { .. } => route53(operation),
            Mutation::Publish { region, .. } => at(operation, Plane::Sns, region),
            Mutation::EndSessions { .. } => {
                self.way.faults.arrived(place, false);
                return Outcome::NotSent { reason: "no call to AWS".to_owned() };
            }
            Mutation::LambdaVariable { at: function, .. } => at(operation, Plane::Lambda, &function.region),
            Mutation::AwsCall { request, .. } => match written_out(request) {
                Some(route) => route,
                None => {
                    self.way.faults.arrived(place, false);
                    let reason = format!("{} is not simulated", request.operation);
                    let outcome = Outcome::NotSent { reason };
                    self.way.faults.answered(place, &outcome);
                    return outcome;
                }
            },
        };
        let outcome = self.send(route, CALL_TIMEOUT, signed).await;
        self.way.faults.answered(place, &outcome);
        outcome
    }
}
