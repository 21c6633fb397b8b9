//! A world that answers at once, in process, and runs in it: what is left is the engine and its journal.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use failoverd::{
    adapters::{clock::SystemClock, probes::postgres::PostgresHeartbeats},
    domain::{
        api_call::ApiCall,
        application::{Application, ClusterArn, ClusterEndpoint},
        assessment::Assessment,
        capacity::{DbInstance, Quotas},
        cloud::{
            Alarm, Answer, CloudEvent, DbCluster, EventSource, GlobalCluster, MetricQuery, Mutation, ObserveError,
            Outcome, RecordSet, Series,
        },
        id::{ApplicationName, Digest, Region, RunId, RunbookName},
        journal::{Event, Record},
        runbook::Runbook,
    },
    engine::{
        Engine, Parts,
        control::{Control as _, StartRun, Started, Wish},
        vantages::Vantages,
    },
    ports::{
        Clock as _, Cloud, JournalStore, Observer, Probes,
        probes::{DnsError, HttpAnswer, HttpQuestion, TcpAnswer},
    },
};
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// Takes every mutation, answers every probe with 200; has nothing else to read.
#[derive(Debug)]
pub(crate) struct Instant;

fn nothing<T>() -> Result<T, ObserveError> {
    Err(ObserveError::Unreachable { reason: "a benchmark has nothing to read".to_owned() })
}

#[async_trait]
impl Cloud for Instant {
    async fn aged(
        &self,
        _: &failoverd::domain::signature::Aged,
    ) -> Result<failoverd::domain::signature::AgeAnswer, ObserveError> {
        nothing()
    }
    async fn global_cluster(&self, _: &Region, _: &str) -> Result<GlobalCluster, ObserveError> {
        nothing()
    }
    async fn db_cluster(&self, _: &ClusterArn) -> Result<DbCluster, ObserveError> {
        nothing()
    }
    async fn cluster_parameter(&self, _: &Region, _: &str, _: &str) -> Result<Option<String>, ObserveError> {
        nothing()
    }
    async fn caller(&self, _: &Region) -> Result<String, ObserveError> {
        nothing()
    }
    async fn role_arn(&self, _: &Region, _: &str) -> Result<String, ObserveError> {
        nothing()
    }
    async fn simulate(
        &self,
        _: &Region,
        _: &failoverd::domain::permissions::changes::Simulation,
    ) -> Result<Vec<failoverd::domain::permissions::changes::Evaluation>, ObserveError> {
        nothing()
    }
    async fn topic_is_there(&self, _: &Region, _: &str) -> Result<bool, ObserveError> {
        nothing()
    }
    async fn db_instances(&self, _: &ClusterArn) -> Result<Vec<DbInstance>, ObserveError> {
        nothing()
    }
    async fn cluster_snapshots(
        &self,
        _: &ClusterArn,
    ) -> Result<Vec<failoverd::domain::cloud::DbSnapshot>, ObserveError> {
        nothing()
    }
    async fn account_quotas(&self, _: &Region) -> Result<Quotas, ObserveError> {
        nothing()
    }
    async fn metrics(&self, _: &Region, _: &[MetricQuery], _: Duration) -> Result<Vec<Answer<Series>>, ObserveError> {
        nothing()
    }
    async fn metrics_until(
        &self,
        _: &Region,
        _: &[MetricQuery],
        _: jiff::Timestamp,
        _: Duration,
    ) -> Result<Vec<Answer<Series>>, ObserveError> {
        nothing()
    }
    async fn objects(
        &self,
        _: &Region,
        _: &str,
        _: Option<&str>,
    ) -> Result<failoverd::domain::salvage::Page, ObserveError> {
        nothing()
    }
    async fn replication_of(
        &self,
        _: &Region,
        _: &str,
        _: &str,
    ) -> Result<failoverd::domain::salvage::Replication, ObserveError> {
        nothing()
    }
    async fn alarms(&self, _: &Region, _: &[String]) -> Result<Vec<Answer<Alarm>>, ObserveError> {
        nothing()
    }
    async fn events(&self, _: &Region, _: &EventSource, _: Duration) -> Result<Vec<CloudEvent>, ObserveError> {
        nothing()
    }
    async fn record_sets(&self, _: &str, _: &str, _: &str) -> Result<Vec<RecordSet>, ObserveError> {
        nothing()
    }
    async fn routing_controls(&self, _: &[ClusterEndpoint], _: &[String]) -> Result<Vec<bool>, ObserveError> {
        nothing()
    }
    async fn change_is_insync(&self, _: &str) -> Result<bool, ObserveError> {
        nothing()
    }
    async fn object_is_there(&self, _: &failoverd::domain::standby_object::ObjectAt) -> Result<bool, ObserveError> {
        nothing()
    }
    async fn ask(&self, _: &ApiCall) -> Result<serde_json::Value, ObserveError> {
        nothing()
    }
    async fn apply(&self, _: &Mutation, _: jiff::Timestamp) -> Outcome {
        Outcome::Accepted { request_id: None, handle: Some("taken".to_owned()) }
    }
}

#[async_trait]
impl Probes for Instant {
    async fn http(&self, _: &HttpQuestion) -> HttpAnswer {
        HttpAnswer::Status { status: 200, body: String::new(), address: None }
    }
    async fn tcp(&self, _: &str, _: Duration) -> TcpAnswer {
        TcpAnswer::Connected
    }
    async fn dns(&self, server: &str, _: &str, _: &str, _: Duration) -> Result<Vec<String>, DnsError> {
        Err(DnsError::Unreachable { server: server.to_owned(), reason: "a benchmark has no network".to_owned() })
    }
}

impl Observer for Instant {
    fn recorded(&self, _: &Record, _: f64) {}
    fn assessed(&self, _: &Assessment) {}
    fn called(&self, _: &str, _: &str, _: &str, _: &str, _: jiff::Timestamp) {}
}

/// An engine in the world that answers at once, every application assessed.
pub(crate) async fn engine(
    store: Arc<dyn JournalStore>,
    applications: Vec<Application>,
    runbooks: BTreeMap<RunbookName, (Runbook, Digest)>,
) -> Engine {
    let drawn = AtomicU64::new(1);
    let names: Vec<ApplicationName> = applications.iter().map(|a| a.name.clone()).collect();
    let engine = Engine::start(Parts {
        applications,
        runbooks,
        config_digest: Digest::of(b"bench"),
        store,
        cloud: Arc::new(Instant),
        probes: Arc::new(Instant),
        // No store has one: nobody asks.
        heartbeats: Arc::new(PostgresHeartbeats::new(Arc::new(SystemClock), [], &BTreeMap::new())),
        databases: Arc::new(PostgresHeartbeats::new(Arc::new(SystemClock), [], &BTreeMap::new())),
        clock: Arc::new(SystemClock),
        observer: Arc::new(Instant),
        vantages: Arc::new(Vantages::here()),
        holder: "bench".to_owned(),
        draw_id: Arc::new(move || u128::from(drawn.fetch_add(1, Ordering::Relaxed))),
        sharing: None,
        post: None,
        preflight: None,
    })
    .await;
    while names.iter().any(|name| engine.assessment(name).is_none()) {
        SystemClock.sleep(Duration::from_millis(1)).await;
    }
    engine
}

/// Starts a switchover of `application` and waits until it is over; the number of its steps.
pub(crate) async fn run(engine: &Engine, application: &ApplicationName, live: &mut Receiver<Arc<Record>>) -> usize {
    let started = engine.start_run(switchover(application)).await.expect("a run starts");
    let Started::Run { id, .. } = started else { panic!("no new run: {started:?}") };
    finished(&id, live).await;
    let history = engine.history(application).expect("worked on");
    history.runs[&id].plan.steps.len()
}

async fn finished(id: &RunId, live: &mut Receiver<Arc<Record>>) {
    loop {
        match live.recv().await {
            Ok(record) => {
                if record.events.iter().any(|e| matches!(e, Event::RunFinished { run, .. } if run == id)) {
                    return;
                }
            }
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => panic!("the engine is gone"),
        }
    }
}

fn switchover(application: &ApplicationName) -> StartRun {
    StartRun {
        application: application.clone(),
        wish: Wish::Switchover,
        target: None,
        reason: "bench".to_owned(),
        accept_data_loss: None,
        runbook: None,
        subject: "bench".parse().expect("a subject"),
        idempotency_key: None,
        body_digest: Digest::of(b""),
        dry_run: false,
    }
}
