//! [`Cloud`] over the world. A call takes a moment of the clock's time to arrive and a moment to be answered; a plane
//! that does not answer makes it wait for its timeout.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use super::{
    LiveWorld,
    fault::{Fault, Faults, Moment},
    view,
};
use crate::{
    domain::{
        application::{ClusterArn, ClusterEndpoint},
        cloud::{
            AlarmState, Datapoint, DbCluster, GlobalCluster, MetricQuery, Mutation, ObserveError, Outcome, RecordSet,
        },
        id::Region,
    },
    ports::Cloud,
    sim::world::{
        ApiFault, Context, Plane, Reach, SimTime, World,
        arc::ControlState,
        aurora::FailoverRequest,
        cloudwatch::{self, Datum, DatumValue, MetricKey, Statistic},
        route53::{
            Route53,
            change::{Action, ChangeBatch, ChangeStatus, RecordChange},
            listing::StartRecord,
            record::{DnsName, RrType},
        },
        sns::Publication,
    },
};

/// How long a call is on its way, each way. [INF] a cross-Region round trip.
const ONE_WAY: Duration = Duration::from_millis(40);
/// How long a caller waits for an answer. The adapter's default.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one endpoint of an ARC cluster is waited for before the next is asked.
const ENDPOINT_TIMEOUT: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Clone)]
pub struct SimCloud {
    world: LiveWorld,
    faults: Faults,
    /// What each Region's endpoint last said of a global cluster before the last mutation: what a stale read gives.
    before: Arc<Mutex<Shown>>,
}

#[derive(Debug, Default)]
struct Shown {
    stale: BTreeMap<(Region, String), GlobalCluster>,
    latest: BTreeMap<(Region, String), GlobalCluster>,
}

/// What a call needs of AWS in order to be answered.
#[derive(Debug, Clone, Copy)]
struct Route<'a> {
    operation: &'static str,
    /// `None` is Route 53's control plane, which is one for all Regions.
    at: Option<(Plane, &'a Region)>,
}

impl Route<'_> {
    fn reach(&self, world: &World) -> Reach {
        match self.at {
            Some((plane, region)) => world.planes.reach(plane, region),
            None => Route53::reach(&world.planes),
        }
    }

    fn region(&self) -> Option<&Region> {
        self.at.map(|(_, region)| region)
    }
}

fn no_answer() -> String {
    format!("no answer within {} s", CALL_TIMEOUT.as_secs())
}

impl SimCloud {
    pub fn new(world: LiveWorld, faults: Faults) -> Self {
        Self { world, faults, before: Arc::default() }
    }

    async fn sleep(&self, duration: Duration) {
        self.world.clock().sleep(duration).await;
    }

    /// Reads something, if its plane answers.
    async fn read<T>(
        &self,
        route: Route<'_>,
        read: impl FnOnce(&mut World) -> Result<T, ObserveError> + Send,
    ) -> Result<T, ObserveError>
    where
        T: Send,
    {
        let unreachable = |reason: &str| Err(ObserveError::Unreachable { reason: reason.to_owned() });
        match self.faults.take(route.operation, route.region()) {
            Some(Fault::Hang) => {
                self.sleep(CALL_TIMEOUT).await;
                return unreachable(&no_answer());
            }
            Some(Fault::LoseBefore | Fault::LoseAfter) => {
                self.sleep(ONE_WAY * 2).await;
                return unreachable("the connection was cut");
            }
            Some(Fault::Refuse) => return unreachable("connection refused"),
            Some(Fault::Reject(code)) => {
                self.sleep(ONE_WAY * 2).await;
                return Err(view::read_error("it", fault(code)));
            }
            Some(Fault::Freeze(_)) => self.faults.freeze().await,
            // A stale read is the business of the reads that know what they said before.
            Some(Fault::StaleRead) | None => {}
        }
        self.sleep(ONE_WAY).await;
        let answer = self.world.now(|world| match route.reach(world) {
            Reach::Up => Ok(read(world)),
            other => Err(other),
        });
        match answer {
            Err(Reach::Hangs) => {
                self.sleep(CALL_TIMEOUT - ONE_WAY).await;
                return unreachable(&no_answer());
            }
            Ok(_) | Err(_) => self.sleep(ONE_WAY).await,
        }
        match answer {
            Ok(answer) => answer,
            Err(Reach::Throttles) => Err(ObserveError::Throttled),
            Err(Reach::DeniesAccess) => {
                let message = "not authorized to perform this action".to_owned();
                Err(ObserveError::Rejected { code: "AccessDenied".to_owned(), message })
            }
            Err(Reach::Up | Reach::Hangs | Reach::Unavailable) => unreachable("503 ServiceUnavailable"),
        }
    }

    /// Sends one mutation to one place, if its plane answers.
    async fn send(
        &self,
        route: Route<'_>,
        timeout: Duration,
        act: impl FnOnce(&mut World) -> Result<Option<String>, ApiFault> + Send,
    ) -> Outcome {
        let unknown = |reason: &str| Outcome::Unknown { reason: reason.to_owned() };
        let met = self.faults.take_for_mutation(route.operation, route.region());
        match &met {
            Some(Fault::Freeze(Moment::Before)) => self.faults.freeze().await,
            Some(Fault::Hang) => {
                self.sleep(timeout).await;
                return unknown(&no_answer());
            }
            Some(Fault::LoseBefore) => {
                self.sleep(ONE_WAY * 2).await;
                return unknown("the connection was cut");
            }
            Some(Fault::Refuse) => return Outcome::NotSent { reason: "connection refused".to_owned() },
            Some(Fault::Reject(code)) => {
                self.sleep(ONE_WAY * 2).await;
                return outcome(Err(fault(code)));
            }
            Some(Fault::LoseAfter | Fault::StaleRead | Fault::Freeze(Moment::After)) | None => {}
        }
        self.sleep(ONE_WAY).await;
        let answer = self.world.now(|world| match route.reach(world) {
            Reach::Up => Ok(act(world)),
            other => Err(other),
        });
        if answer.is_ok() {
            self.remember();
        }
        match (&answer, &met) {
            (_, Some(Fault::Freeze(_))) => self.faults.freeze().await,
            (Err(Reach::Hangs), _) => {
                self.sleep(timeout.saturating_sub(ONE_WAY)).await;
                return unknown(&no_answer());
            }
            (_, Some(Fault::LoseAfter)) => {
                self.sleep(ONE_WAY).await;
                return unknown("the connection was cut");
            }
            _ => self.sleep(ONE_WAY).await,
        }
        match answer {
            Ok(result) => outcome(result),
            Err(Reach::Throttles) => outcome(Err(fault("Throttling"))),
            Err(Reach::DeniesAccess) => outcome(Err(fault("AccessDenied"))),
            Err(Reach::Up | Reach::Hangs | Reach::Unavailable) => unknown("503 ServiceUnavailable"),
        }
    }

    /// A mutation arrived: what was shown until now is from now on what a stale read shows.
    fn remember(&self) {
        let mut shown = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        shown.stale = shown.latest.clone();
    }

    async fn controls_at(&self, endpoint: &Region, arns: &[String]) -> Result<Vec<bool>, ObserveError> {
        let route = Route {
            operation: "route53-recovery-cluster:GetRoutingControlState",
            at: Some((Plane::ArcCluster, endpoint)),
        };
        self.read(route, |world| {
            let state = |arn: &String| {
                let control = world.arc.get_state(&world.planes, endpoint, arn);
                control.map(|c| c.state == ControlState::On).map_err(|e| view::read_error(arn, e.fault))
            };
            arns.iter().map(state).collect()
        })
        .await
    }

    async fn set_controls(&self, endpoints: &[ClusterEndpoint], states: &BTreeMap<String, bool>) -> Outcome {
        let on = |on: &bool| if *on { ControlState::On } else { ControlState::Off };
        let entries: Vec<_> = states.iter().map(|(arn, state)| (arn.clone(), on(state))).collect();
        let mut last = Outcome::NotSent { reason: "the cluster has no endpoint".to_owned() };
        for endpoint in endpoints {
            let operation = "route53-recovery-cluster:UpdateRoutingControlStates";
            let region = &endpoint.region;
            // An endpoint that is known to be gone is passed over by its timeout, and the next is asked: the states
            // are the same.
            let gone = self.world.now(|world| world.planes.reach(Plane::ArcCluster, region) != Reach::Up);
            if gone {
                self.sleep(ENDPOINT_TIMEOUT).await;
                last = Outcome::Unknown { reason: format!("the endpoint in {region} did not answer") };
                continue;
            }
            let route = Route { operation, at: Some((Plane::ArcCluster, region)) };
            let update = |world: &mut World| {
                let mut ctx =
                    Context { now: world.now, rng: &mut world.rng, planes: &world.planes, log: &mut world.log };
                let updated = world.arc.update_states(&mut ctx, region, "UpdateRoutingControlStates", &entries, &[]);
                updated.map(|()| None).map_err(|e| e.fault)
            };
            return self.send(route, ENDPOINT_TIMEOUT, update).await;
        }
        last
    }
}

/// A refusal that was armed.
fn fault(code: &'static str) -> ApiFault {
    let status = if code == "AccessDenied" { 403 } else { 400 };
    ApiFault { status, code, message: "as the simulation was told".to_owned() }
}

fn outcome(result: Result<Option<String>, ApiFault>) -> Outcome {
    match result {
        Ok(handle) => Outcome::Accepted { request_id: None, handle },
        Err(ApiFault { status, code, message }) if 500 <= status => {
            Outcome::Unknown { reason: format!("{status} {code}: {message}") }
        }
        Err(ApiFault { code, message, .. }) => Outcome::Rejected { code: code.to_owned(), message, request_id: None },
    }
}

fn upsert(world: &mut World, zone: &str, records: &[RecordSet], comment: &str) -> Result<Option<String>, ApiFault> {
    let invalid = |message: String| ApiFault { status: 400, code: "InvalidInput", message };
    let change = |record: &RecordSet| {
        let record_set = view::world_record(record).map_err(invalid)?;
        Ok(RecordChange { action: Action::Upsert, record_set })
    };
    let changes = records.iter().map(change).collect::<Result<_, ApiFault>>()?;
    let batch = ChangeBatch { comment: Some(comment.to_owned()), changes };
    let mut ctx = Context { now: world.now, rng: &mut world.rng, planes: &world.planes, log: &mut world.log };
    world.route53.change_record_sets(&mut ctx, zone, &batch).map(|info| Some(info.id))
}

fn metric_queries(queries: &[MetricQuery]) -> Result<Vec<cloudwatch::MetricQuery>, ObserveError> {
    let query = |(index, q): (usize, &MetricQuery)| {
        let statistic = Statistic::parse(&q.statistic).ok_or_else(|| ObserveError::Rejected {
            code: "ValidationError".to_owned(),
            message: format!("the statistic {} is not simulated", q.statistic),
        })?;
        Ok(cloudwatch::MetricQuery {
            id: format!("q{index}"),
            key: MetricKey::new(&q.namespace, &q.metric, &q.dimensions),
            period_seconds: q.period.as_secs(),
            statistic,
            unit: None,
            label: None,
        })
    };
    queries.iter().enumerate().map(query).collect()
}

/// The newest finite value of each result; what is no number is no data.
fn newest(results: Vec<cloudwatch::QueryResult>) -> Result<Vec<Option<Datapoint>>, ObserveError> {
    let newest = |result: cloudwatch::QueryResult| match result.points.into_iter().find(|(_, value)| value.is_finite())
    {
        Some((at, value)) => Ok(Some(Datapoint { at: view::timestamp(at)?, value })),
        None => Ok(None),
    };
    results.into_iter().map(newest).collect()
}

#[async_trait]
impl Cloud for SimCloud {
    async fn global_cluster(&self, region: &Region, identifier: &str) -> Result<GlobalCluster, ObserveError> {
        let route = Route { operation: "rds:DescribeGlobalClusters", at: Some((Plane::Rds, region)) };
        let key = (region.clone(), identifier.to_owned());
        if self.faults.take_stale(route.operation, region) {
            let old = self.before.lock().unwrap_or_else(PoisonError::into_inner).stale.get(&key).cloned();
            if let Some(old) = old {
                self.sleep(ONE_WAY * 2).await;
                return Ok(old);
            }
        }
        let read = self.read(route, |world| {
            let found = world.aurora.global_clusters(region).find(|g| g.id == identifier);
            let found = found.ok_or_else(|| ObserveError::NotFound {
                what: format!("global cluster {identifier}"),
                code: "GlobalClusterNotFoundFault".to_owned(),
            })?;
            view::global_cluster(&world.aurora, found)
        });
        let view = read.await?;
        self.before.lock().unwrap_or_else(PoisonError::into_inner).latest.insert(key, view.clone());
        Ok(view)
    }

    async fn db_cluster(&self, arn: &ClusterArn) -> Result<DbCluster, ObserveError> {
        let route = Route { operation: "rds:DescribeDBClusters", at: Some((Plane::Rds, arn.region())) };
        self.read(route, |world| match world.aurora.cluster(arn.as_str()) {
            Some(cluster) => view::db_cluster(cluster),
            None => Err(ObserveError::NotFound { what: arn.to_string(), code: "DBClusterNotFoundFault".to_owned() }),
        })
        .await
    }

    async fn metrics(
        &self,
        region: &Region,
        queries: &[MetricQuery],
        window: Duration,
    ) -> Result<Vec<Option<Datapoint>>, ObserveError> {
        let route = Route { operation: "cloudwatch:GetMetricData", at: Some((Plane::CloudWatch, region)) };
        let queries = metric_queries(queries)?;
        self.read(route, |world| {
            let now = world.now;
            let from = SimTime(now.0.saturating_sub(u64::try_from(window.as_millis()).unwrap_or(u64::MAX)));
            let results = world.cloudwatch.get_metric_data(region, &queries, (from, now), true);
            newest(results.map_err(|fault| view::read_error("metric", fault))?)
        })
        .await
    }

    async fn alarms(&self, region: &Region, names: &[String]) -> Result<Vec<AlarmState>, ObserveError> {
        let route = Route { operation: "cloudwatch:DescribeAlarms", at: Some((Plane::CloudWatch, region)) };
        self.read(route, |world| {
            let state = |name: &String| match world.cloudwatch.alarm(region, name) {
                Some(alarm) => Ok(view::alarm_state(alarm.state)),
                None => Err(ObserveError::NotFound { what: format!("alarm {name}"), code: "absent".to_owned() }),
            };
            names.iter().map(state).collect()
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
        let route = Route { operation: "route53:ListResourceRecordSets", at: None };
        self.read(route, |world| {
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
            if self.world.now(|world| world.planes.reach(Plane::ArcCluster, region) != Reach::Up) {
                self.sleep(ENDPOINT_TIMEOUT).await;
                last = ObserveError::Unreachable { reason: format!("the endpoint in {region} did not answer") };
                continue;
            }
            return self.controls_at(region, arns).await;
        }
        Err(last)
    }

    async fn change_is_insync(&self, change_id: &str) -> Result<bool, ObserveError> {
        let route = Route { operation: "route53:GetChange", at: None };
        self.read(route, |world| match world.route53.get_change(world.now, change_id) {
            Ok(info) => Ok(info.status == ChangeStatus::InSync),
            Err(fault) => Err(view::read_error(change_id, fault)),
        })
        .await
    }

    async fn apply(&self, mutation: &Mutation) -> Outcome {
        let operation = mutation.operation();
        match mutation {
            Mutation::AuroraSwitchover { region, global_cluster, target } => {
                let route = Route { operation, at: Some((Plane::Rds, region)) };
                let act = |world: &mut World| {
                    let call = world.with_aurora(|aurora, ctx| {
                        aurora.switchover_global_cluster(region, global_cluster, target.as_str(), ctx)
                    });
                    call.map(|()| None)
                };
                self.send(route, CALL_TIMEOUT, act).await
            }
            Mutation::AuroraFailover { region, global_cluster, target } => {
                let route = Route { operation, at: Some((Plane::Rds, region)) };
                let request = FailoverRequest {
                    global: global_cluster.clone(),
                    target: target.to_string(),
                    allow_data_loss: true,
                    switchover: false,
                };
                let act = |world: &mut World| {
                    let call = world.with_aurora(|aurora, ctx| aurora.failover_global_cluster(region, &request, ctx));
                    call.map(|()| None)
                };
                self.send(route, CALL_TIMEOUT, act).await
            }
            Mutation::RoutingControls { endpoints, states } => self.set_controls(endpoints, states).await,
            Mutation::PutMetric { region, namespace, metric, dimensions, value } => {
                let route = Route { operation, at: Some((Plane::CloudWatch, region)) };
                let datum = Datum {
                    name: metric.clone(),
                    dimensions: dimensions.clone().into_iter().collect(),
                    at: None,
                    value: DatumValue::One(*value),
                    unit: None,
                };
                let act = |world: &mut World| {
                    let put = world.with_cloudwatch(|cw, ctx| cw.put_metric_data(region, namespace, &[datum], ctx));
                    put.map(|()| None)
                };
                self.send(route, CALL_TIMEOUT, act).await
            }
            Mutation::UpsertRecords { hosted_zone_id, records, comment } => {
                let route = Route { operation, at: None };
                self.send(route, CALL_TIMEOUT, |world| upsert(world, hosted_zone_id, records, comment)).await
            }
            Mutation::Publish { region, topic_arn, subject, message } => {
                let route = Route { operation, at: Some((Plane::Sns, region)) };
                let publication =
                    Publication { subject: Some(subject.clone()), body: message.clone(), ..Publication::default() };
                let act = |world: &mut World| {
                    world.with_sns(|sns, ctx| sns.publish(region, topic_arn, publication, ctx)).map(Some)
                };
                self.send(route, CALL_TIMEOUT, act).await
            }
        }
    }
}
