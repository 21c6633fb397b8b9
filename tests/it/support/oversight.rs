//! The oracle over an engine under test: it looks after every append and around every call.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use failoverd::{
    domain::{
        api_call::ApiCall,
        application::{Application, ClusterArn, ClusterEndpoint, Mechanism},
        capacity::{DbInstance, Quotas},
        cloud::{
            Alarm, Answer, CloudEvent, DbCluster, DbSnapshot, EventSource, GlobalCluster, MetricQuery, Mutation,
            ObserveError, Outcome, RecordSet, Series,
        },
        id::{ApplicationName, Digest, Region},
        journal::Sealed,
        permissions::changes::{Evaluation, Simulation},
        salvage::{Page, Replication},
        signature::{AgeAnswer, Aged},
        standby_object::ObjectAt,
    },
    ports::{
        Cloud, JournalStore,
        journal::{AppendError, ReadError},
    },
    sim::{
        oracle::{Call, Known, Oracle, Seen, Stored, Violation},
        port::LiveWorld,
        rehearse::store::MemoryStore,
        world::World,
    },
};

#[derive(Debug)]
struct State {
    oracle: Oracle,
    journal: Vec<Stored>,
    calls: Vec<Call>,
    /// How many violations are none of this world's: they were found in what the journal had already.
    given: usize,
}

/// What one scene's oracle has seen over all its engines; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Oversight {
    state: Arc<Mutex<State>>,
    application: ApplicationName,
}

impl Oversight {
    pub(crate) fn new(application: &Application) -> Self {
        let mut known = Known {
            application: application.name.to_string(),
            regions: application.regions.clone(),
            rpo_ms: 0,
            rto_ms: 0,
            global_clusters: application.stores.values().map(|s| s.global_cluster.clone()).collect(),
            record_name: None,
            addresses: Default::default(),
            controls: Default::default(),
            is_written_from_all_regions: application.stores.values().next().is_some_and(|s| s.written_from_all_regions),
        };
        for traffic in application.traffic.values() {
            let address = |(region, answer): (&Region, &String)| Some((region.clone(), answer.parse().ok()?));
            known.addresses = traffic.answers.iter().filter_map(address).collect();
            if let Mechanism::RoutingControls { controls, .. } = &traffic.mechanism {
                known.controls.clone_from(controls);
            }
        }
        Self::knowing(known, &application.name)
    }

    pub(crate) fn knowing(known: Known, application: &ApplicationName) -> Self {
        let state = State { oracle: Oracle::new(known), journal: Vec::new(), calls: Vec::new(), given: 0 };
        Self { state: Arc::new(Mutex::new(state)), application: application.clone() }
    }

    /// Of another world than that in which the journal began: what stands in it is taken as it is.
    pub(crate) fn going_on(self, world: &World, store: &MemoryStore) -> Self {
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let state = &mut *state;
            let stored = store.stored(&self.application, 0);
            state.journal.extend(stored.into_iter().map(|stored| Stored { at: world.now, ..stored }));
            state.oracle.look(&Seen { world, journal: &state.journal, calls: &[], damaged: &[] });
            state.given = state.oracle.violations().len();
        }
        self
    }

    fn look(&self, world: &LiveWorld, store: &MemoryStore, call: Option<&Mutation>, finish: bool) -> Vec<Violation> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        world.now(|world| {
            let news = store.stored(&self.application, state.journal.len());
            state.journal.extend(news.into_iter().map(|stored| Stored { at: world.now, ..stored }));
            state.calls.extend(call.map(|mutation| Call {
                at: world.now,
                operation: mutation.operation().into_owned(),
                arguments: serde_json::to_value(mutation).expect("JSON"),
                durable: state.journal.len(),
                arrived: None,
            }));
            let seen = Seen { world, journal: &state.journal, calls: &state.calls, damaged: &[] };
            if finish { state.oracle.finish(&seen, false) } else { state.oracle.look(&seen) }
        });
        state.oracle.violations()[state.given..].to_vec()
    }
}

/// A store and a cloud whose every word is overseen.
#[derive(Debug, Clone)]
pub(crate) struct Overseen<C> {
    pub(crate) oversight: Oversight,
    pub(crate) world: LiveWorld,
    pub(crate) store: MemoryStore,
    pub(crate) cloud: C,
}

impl<C> Overseen<C> {
    fn look(&self) {
        self.oversight.look(&self.world, &self.store, None, false);
    }

    /// Panics where the oracle has found anything.
    pub(crate) fn finish(&self) {
        let found = self.oversight.look(&self.world, &self.store, None, true);
        assert!(found.is_empty(), "{found:#?}");
    }
}

#[async_trait]
impl<C: std::fmt::Debug + Send + Sync> JournalStore for Overseen<C> {
    async fn append(&self, sealed: &Sealed) -> Result<(), AppendError> {
        let appended = self.store.append(sealed).await;
        self.look();
        appended
    }

    async fn read(
        &self,
        journal: &ApplicationName,
        from_seq: u64,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Digest)>, ReadError> {
        self.store.read(journal, from_seq, limit).await
    }

    async fn journals(&self) -> Result<Vec<ApplicationName>, ReadError> {
        self.store.journals().await
    }
}

#[async_trait]
impl<C: Cloud> Cloud for Overseen<C> {
    async fn global_cluster(&self, region: &Region, identifier: &str) -> Result<GlobalCluster, ObserveError> {
        self.cloud.global_cluster(region, identifier).await
    }

    async fn db_cluster(&self, arn: &ClusterArn) -> Result<DbCluster, ObserveError> {
        self.cloud.db_cluster(arn).await
    }

    async fn db_instances(&self, cluster: &ClusterArn) -> Result<Vec<DbInstance>, ObserveError> {
        self.cloud.db_instances(cluster).await
    }

    async fn cluster_snapshots(&self, cluster: &ClusterArn) -> Result<Vec<DbSnapshot>, ObserveError> {
        self.cloud.cluster_snapshots(cluster).await
    }

    async fn cluster_parameter(
        &self,
        region: &Region,
        group: &str,
        name: &str,
    ) -> Result<Option<String>, ObserveError> {
        self.cloud.cluster_parameter(region, group, name).await
    }

    async fn topic_is_there(&self, region: &Region, arn: &str) -> Result<bool, ObserveError> {
        self.cloud.topic_is_there(region, arn).await
    }

    async fn account_quotas(&self, region: &Region) -> Result<Quotas, ObserveError> {
        self.cloud.account_quotas(region).await
    }

    async fn metrics(
        &self,
        region: &Region,
        queries: &[MetricQuery],
        window: Duration,
    ) -> Result<Vec<Answer<Series>>, ObserveError> {
        self.cloud.metrics(region, queries, window).await
    }

    async fn metrics_until(
        &self,
        region: &Region,
        queries: &[MetricQuery],
        until: jiff::Timestamp,
        window: Duration,
    ) -> Result<Vec<Answer<Series>>, ObserveError> {
        self.cloud.metrics_until(region, queries, until, window).await
    }

    async fn alarms(&self, region: &Region, names: &[String]) -> Result<Vec<Answer<Alarm>>, ObserveError> {
        self.cloud.alarms(region, names).await
    }

    async fn events(
        &self,
        region: &Region,
        source: &EventSource,
        window: Duration,
    ) -> Result<Vec<CloudEvent>, ObserveError> {
        self.cloud.events(region, source, window).await
    }

    async fn record_sets(&self, zone: &str, name: &str, record_type: &str) -> Result<Vec<RecordSet>, ObserveError> {
        self.cloud.record_sets(zone, name, record_type).await
    }

    async fn routing_controls(
        &self,
        endpoints: &[ClusterEndpoint],
        arns: &[String],
    ) -> Result<Vec<bool>, ObserveError> {
        self.cloud.routing_controls(endpoints, arns).await
    }

    async fn object_is_there(&self, object: &ObjectAt) -> Result<bool, ObserveError> {
        self.cloud.object_is_there(object).await
    }

    async fn objects(&self, region: &Region, bucket: &str, after: Option<&str>) -> Result<Page, ObserveError> {
        self.cloud.objects(region, bucket, after).await
    }

    async fn replication_of(&self, region: &Region, bucket: &str, key: &str) -> Result<Replication, ObserveError> {
        self.cloud.replication_of(region, bucket, key).await
    }

    async fn caller(&self, region: &Region) -> Result<String, ObserveError> {
        self.cloud.caller(region).await
    }

    async fn role_arn(&self, region: &Region, role: &str) -> Result<String, ObserveError> {
        self.cloud.role_arn(region, role).await
    }

    async fn simulate(&self, region: &Region, question: &Simulation) -> Result<Vec<Evaluation>, ObserveError> {
        self.cloud.simulate(region, question).await
    }

    async fn change_is_insync(&self, change_id: &str) -> Result<bool, ObserveError> {
        self.cloud.change_is_insync(change_id).await
    }

    async fn ask(&self, request: &ApiCall) -> Result<serde_json::Value, ObserveError> {
        self.cloud.ask(request).await
    }

    async fn aged(&self, question: &Aged) -> Result<AgeAnswer, ObserveError> {
        self.cloud.aged(question).await
    }

    async fn apply(&self, mutation: &Mutation, intended_at: jiff::Timestamp) -> Outcome {
        self.oversight.look(&self.world, &self.store, Some(mutation), false);
        let outcome = self.cloud.apply(mutation, intended_at).await;
        self.look();
        outcome
    }
}
