//! The ports of one replica behind its gate: what it asks of the store, of AWS, of the application and of its clock.
//!
//! Invariant: nothing is decided here that the gate does not say; what passes is the port's own behind it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;

use super::{
    gate::{Cut, Gate, STORE_TAKES, STORE_TIMEOUT, TIMEOUT},
    leases::MemoryLeases,
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
        database::{ServerState, Sessions, WriteAnswer},
        heartbeat::{Beat, BeatAnswer, DatabaseEndpoint, Shown},
        id::{ApplicationName, BeaterId, Digest, Region},
        journal::Sealed,
        lease::Lease,
        permissions::changes::{Evaluation, Simulation},
        salvage::{Page, Replication},
        signature::{AgeAnswer, Aged},
        standby_object::ObjectAt,
    },
    engine::{Parts, Sharing},
    ports::{
        Clock, Cloud, Databases, Heartbeats, JournalStore, Leases, Probes,
        heartbeat::LookError,
        journal::{AppendError, ReadError},
        lease::{PutError, ReadFailed},
        probes::{DnsError, HttpAnswer, HttpQuestion, TcpAnswer},
    },
    sim::{faults::Deed, port::SimClock},
};

/// How long a lease of a rehearsal is.
pub const LEASE: Duration = Duration::from_secs(24);

/// How long a call takes at most: the endpoints of routing controls are asked one after another.
const CALL: Duration = Duration::from_secs(10);

/// `parts` behind `gate`, as one of several replicas.
pub fn around(gate: &Gate, parts: Parts, clock: &Arc<SimClock>, leases: &MemoryLeases) -> Parts {
    let clock: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
    let gated = Gated {
        gate: gate.clone(),
        store: parts.store,
        cloud: parts.cloud,
        probes: parts.probes,
        heartbeats: parts.heartbeats,
        databases: parts.databases,
        clock,
        leases: leases.clone(),
    };
    let gated = Arc::new(gated);
    Parts {
        store: Arc::clone(&gated) as Arc<dyn JournalStore>,
        cloud: Arc::clone(&gated) as Arc<dyn Cloud>,
        probes: Arc::clone(&gated) as Arc<dyn Probes>,
        heartbeats: Arc::clone(&gated) as Arc<dyn Heartbeats>,
        databases: Arc::clone(&gated) as Arc<dyn Databases>,
        clock: Arc::clone(&gated) as Arc<dyn Clock>,
        holder: gate.holder.clone(),
        sharing: Some(Sharing {
            leases: gated,
            duration: LEASE,
            call_within: CALL,
            url: Some(format!("http://replica-{}.example.com:8080", gate.replica)),
            region: None,
            offline: None,
        }),
        ..parts
    }
}

/// See the module.
#[derive(Debug)]
struct Gated {
    gate: Gate,
    store: Arc<dyn JournalStore>,
    cloud: Arc<dyn Cloud>,
    probes: Arc<dyn Probes>,
    heartbeats: Arc<dyn Heartbeats>,
    databases: Arc<dyn Databases>,
    /// The machine's: it goes on while the process stands still.
    clock: Arc<dyn Clock>,
    leases: MemoryLeases,
}

impl Gated {
    /// Something that the store is asked.
    async fn ask<T, E>(&self, asked: impl Future<Output = Result<T, E>>, failed: impl Fn(String) -> E) -> Result<T, E> {
        self.gate.pass().await;
        self.clock.sleep(STORE_TAKES).await;
        self.gate.pass().await;
        let lost = || failed(format!("no answer within {} s", STORE_TIMEOUT.as_secs()));
        if self.gate.ways.is_cut(Cut::Requests) {
            self.gate.keeper.met(&[21]);
            self.clock.sleep(STORE_TIMEOUT).await;
            return Err(lost());
        }
        let answer = asked.await;
        if self.gate.ways.is_cut(Cut::Answers) {
            self.gate.keeper.met(&[21, 23]);
            self.clock.sleep(STORE_TIMEOUT).await;
            return Err(lost());
        }
        self.gate.pass().await;
        answer
    }

    /// Something outside that is not the store; `None` where the way there is cut, after its timeout.
    async fn reach<T>(&self, asked: impl Future<Output = T>) -> Option<T> {
        self.gate.pass().await;
        if self.gate.ways.is_cut(Cut::Aws) {
            self.gate.keeper.met(&[22]);
            self.clock.sleep(TIMEOUT).await;
            self.gate.pass().await;
            return None;
        }
        let answer = asked.await;
        self.gate.pass().await;
        Some(answer)
    }
}

fn silent() -> String {
    format!("no answer within {} s", TIMEOUT.as_secs())
}

fn no_answer(at: &DatabaseEndpoint) -> LookError {
    LookError::NoAnswer { at: at.address.to_string(), reason: silent() }
}

#[async_trait]
impl Clock for Gated {
    fn boot(&self) -> Duration {
        self.clock.boot()
    }

    fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    async fn sleep(&self, duration: Duration) {
        self.clock.sleep(duration).await;
        self.gate.pass().await;
    }
}

#[async_trait]
impl JournalStore for Gated {
    async fn append(&self, sealed: &Sealed) -> Result<(), AppendError> {
        let number = self.gate.begin(Deed::Append).await;
        let answer = self.ask(self.store.append(sealed), |reason| AppendError::Failed { reason }).await;
        self.gate.end(Deed::Append, number).await;
        answer
    }

    async fn read(
        &self,
        journal: &ApplicationName,
        from_seq: u64,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Digest)>, ReadError> {
        self.ask(self.store.read(journal, from_seq, limit), |reason| ReadError::Failed { reason }).await
    }

    async fn journals(&self) -> Result<Vec<ApplicationName>, ReadError> {
        self.ask(self.store.journals(), |reason| ReadError::Failed { reason }).await
    }
}

#[async_trait]
impl Leases for Gated {
    async fn lease(&self, application: &ApplicationName) -> Result<Option<Lease>, ReadFailed> {
        self.ask(self.leases.lease(application), |reason| ReadFailed { reason }).await
    }

    async fn put(&self, application: &ApplicationName, lease: &Lease, over: Option<u64>) -> Result<(), PutError> {
        let number = self.gate.begin(Deed::Renewal).await;
        let answer = self.ask(self.leases.put(application, lease, over), |reason| PutError::Failed { reason }).await;
        self.gate.end(Deed::Renewal, number).await;
        // Who takes a lease has no epoch yet; who renews one and finds another's was deposed.
        let takes = over.is_some() && lease.epoch.is_none();
        if takes && matches!(answer, Err(PutError::Lost { .. })) {
            // Several tried as it ended, and another was first.
            self.gate.keeper.met(&[29]);
        }
        answer
    }
}

macro_rules! reads {
    ($($name:ident ( $($arg:ident : $type:ty),* ) -> $answer:ty;)*) => {
        #[async_trait]
        impl Cloud for Gated {
            $(async fn $name(&self, $($arg: $type),*) -> Result<$answer, ObserveError> {
                let answer = self.reach(self.cloud.$name($($arg),*)).await;
                answer.unwrap_or_else(|| Err(ObserveError::Unreachable { reason: silent() }))
            })*

            async fn apply(&self, mutation: &Mutation, intended_at: Timestamp) -> Outcome {
                self.gate.keeper.leaves(mutation);
                let number = self.gate.begin(Deed::Call).await;
                self.gate.pass_with_effect().await;
                let outcome = self.reach(self.cloud.apply(mutation, intended_at)).await;
                self.gate.end(Deed::Call, number).await;
                if self.gate.keeper.is_deposed(&self.gate.holder) {
                    self.gate.keeper.met(&[19]);
                }
                outcome.unwrap_or_else(|| Outcome::Unknown { reason: silent() })
            }
        }
    };
}

reads! {
    global_cluster(region: &Region, identifier: &str) -> GlobalCluster;
    db_cluster(arn: &ClusterArn) -> DbCluster;
    cluster_parameter(region: &Region, group: &str, name: &str) -> Option<String>;
    db_instances(cluster: &ClusterArn) -> Vec<DbInstance>;
    cluster_snapshots(cluster: &ClusterArn) -> Vec<DbSnapshot>;
    account_quotas(region: &Region) -> Quotas;
    metrics(region: &Region, queries: &[MetricQuery], window: Duration) -> Vec<Answer<Series>>;
    metrics_until(region: &Region, queries: &[MetricQuery], until: Timestamp, window: Duration) -> Vec<Answer<Series>>;
    alarms(region: &Region, names: &[String]) -> Vec<Answer<Alarm>>;
    events(region: &Region, source: &EventSource, window: Duration) -> Vec<CloudEvent>;
    record_sets(zone: &str, name: &str, record_type: &str) -> Vec<RecordSet>;
    routing_controls(endpoints: &[ClusterEndpoint], arns: &[String]) -> Vec<bool>;
    object_is_there(object: &ObjectAt) -> bool;
    objects(region: &Region, bucket: &str, after: Option<&str>) -> Page;
    replication_of(region: &Region, bucket: &str, key: &str) -> Replication;
    topic_is_there(region: &Region, arn: &str) -> bool;
    caller(region: &Region) -> String;
    role_arn(region: &Region, role: &str) -> String;
    simulate(region: &Region, question: &Simulation) -> Vec<Evaluation>;
    change_is_insync(change_id: &str) -> bool;
    ask(request: &ApiCall) -> serde_json::Value;
    aged(question: &Aged) -> AgeAnswer;
}

#[async_trait]
impl Probes for Gated {
    async fn http(&self, question: &HttpQuestion) -> HttpAnswer {
        let answer = self.reach(self.probes.http(question)).await;
        answer.unwrap_or_else(|| HttpAnswer::NoAnswer { reason: silent() })
    }

    async fn tcp(&self, address: &str, timeout: Duration) -> TcpAnswer {
        let answer = self.reach(self.probes.tcp(address, timeout)).await;
        answer.unwrap_or_else(|| TcpAnswer::NoAnswer { reason: silent() })
    }

    async fn dns(
        &self,
        server: &str,
        name: &str,
        record_type: &str,
        timeout: Duration,
    ) -> Result<Vec<String>, DnsError> {
        let answer = self.reach(self.probes.dns(server, name, record_type, timeout)).await;
        answer.unwrap_or_else(|| Err(DnsError::Unreachable { server: server.to_owned(), reason: silent() }))
    }
}

#[async_trait]
impl Heartbeats for Gated {
    async fn beat(&self, at: &DatabaseEndpoint, beat: &Beat) -> BeatAnswer {
        let answer = self.reach(self.heartbeats.beat(at, beat)).await;
        answer.unwrap_or_else(|| BeatAnswer::Unknown { reason: silent() })
    }

    async fn last_beat(&self, at: &DatabaseEndpoint, beater: &BeaterId) -> Result<Shown, LookError> {
        self.reach(self.heartbeats.last_beat(at, beater)).await.unwrap_or_else(|| Err(no_answer(at)))
    }

    async fn beats_held(
        &self,
        at: &DatabaseEndpoint,
        beater: &BeaterId,
        from: u64,
    ) -> Result<BTreeSet<u64>, LookError> {
        self.reach(self.heartbeats.beats_held(at, beater, from)).await.unwrap_or_else(|| Err(no_answer(at)))
    }
}

#[async_trait]
impl Databases for Gated {
    async fn state(&self, at: &DatabaseEndpoint) -> Result<ServerState, LookError> {
        self.reach(self.databases.state(at)).await.unwrap_or_else(|| Err(no_answer(at)))
    }

    async fn try_write(&self, at: &DatabaseEndpoint) -> WriteAnswer {
        let answer = self.reach(self.databases.try_write(at)).await;
        answer.unwrap_or_else(|| WriteAnswer::Unknown { reason: silent() })
    }

    async fn sessions(&self, at: &DatabaseEndpoint) -> Result<Sessions, LookError> {
        self.reach(self.databases.sessions(at)).await.unwrap_or_else(|| Err(no_answer(at)))
    }

    async fn end_sessions(&self, at: &DatabaseEndpoint) -> Outcome {
        let outcome = self.reach(self.databases.end_sessions(at)).await;
        outcome.unwrap_or_else(|| Outcome::NotSent { reason: format!("no connection within {} s", TIMEOUT.as_secs()) })
    }
}
