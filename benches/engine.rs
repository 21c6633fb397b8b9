//! Durable steps per second of the whole engine, beside raw SQLite commits in the same run.
//!
//! Every step is an SNS notice to a cloud that answers at once: intent, call, answer, done, with the end of one step
//! and the intent of the next in one commit. Durability: WAL, `synchronous=FULL`, a commit is an fsync; the number of
//! commits is printed. `cargo bench --bench engine` (seconds of wall time; nothing is asserted).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use failoverd::{
    adapters::{clock::SystemClock, store::SqliteStore},
    domain::{
        action::Action,
        application::{Application, ClusterArn, ClusterEndpoint, Objectives, Topic},
        assessment::Assessment,
        cloud::{
            AlarmState, Datapoint, DbCluster, GlobalCluster, MetricQuery, Mutation, ObserveError, Outcome, RecordSet,
        },
        id::{Digest, Region, RunId},
        journal::{Event, Record, Request},
        plan::{OnFailure, Plan, PlannedStep, Purpose, Retry},
    },
    engine::{Engine, Parts, control::Control as _},
    ports::{
        Clock, Cloud, JournalStore, Observer, Probes,
        probes::{DnsError, HttpAnswer, HttpQuestion},
    },
};

const STEPS: usize = 10;

/// Answers every mutation at once; nothing can be read.
#[derive(Debug)]
struct Instant;

fn unreachable() -> ObserveError {
    ObserveError::Unreachable { reason: "a benchmark has nothing to read".to_owned() }
}

#[async_trait]
impl Cloud for Instant {
    async fn global_cluster(&self, _: &Region, _: &str) -> Result<GlobalCluster, ObserveError> {
        Err(unreachable())
    }
    async fn db_cluster(&self, _: &ClusterArn) -> Result<DbCluster, ObserveError> {
        Err(unreachable())
    }
    async fn metrics(
        &self,
        _: &Region,
        _: &[MetricQuery],
        _: Duration,
    ) -> Result<Vec<Option<Datapoint>>, ObserveError> {
        Err(unreachable())
    }
    async fn alarms(&self, _: &Region, _: &[String]) -> Result<Vec<AlarmState>, ObserveError> {
        Err(unreachable())
    }
    async fn record_sets(&self, _: &str, _: &str, _: &str) -> Result<Vec<RecordSet>, ObserveError> {
        Err(unreachable())
    }
    async fn routing_controls(&self, _: &[ClusterEndpoint], _: &[String]) -> Result<Vec<bool>, ObserveError> {
        Err(unreachable())
    }
    async fn change_is_insync(&self, _: &str) -> Result<bool, ObserveError> {
        Err(unreachable())
    }
    async fn apply(&self, _: &Mutation) -> Outcome {
        Outcome::Accepted { request_id: None, handle: Some("m".to_owned()) }
    }
}

#[async_trait]
impl Probes for Instant {
    async fn http(&self, _: &HttpQuestion) -> HttpAnswer {
        HttpAnswer::NotAsked { reason: "a benchmark has no network".to_owned() }
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

fn application(n: usize) -> Application {
    let region = |r: &str| r.parse::<Region>().expect("a Region");
    Application {
        name: format!("app-{n}").parse().expect("a name"),
        regions: vec![region("us-east-1"), region("us-west-2")],
        objectives: Objectives { rto: Duration::from_secs(300), rpo: Duration::from_secs(5) },
        stores: BTreeMap::new(),
        traffic: BTreeMap::new(),
        signals: Vec::new(),
        endpoints: BTreeMap::new(),
        public_url: None,
        runbooks: BTreeMap::new(),
        topics: Vec::new(),
    }
}

fn plan(app: &Application) -> Plan {
    let id = |i: usize| format!("notice-{i}").parse().expect("an id");
    let step = |i: usize| PlannedStep {
        id: id(i),
        title: "a notice".to_owned(),
        needs: (0 < i).then(|| id(i - 1)).into_iter().collect(),
        when: None,
        action: Action::Notify {
            topics: vec![Topic {
                region: app.regions[1].clone(),
                arn: "arn:aws:sns:us-west-2:123456789012:t".to_owned(),
            }],
            subject: "s".to_owned(),
            message: "m".to_owned(),
        },
        timeout: Duration::from_secs(60),
        retry: Retry { attempts: 1, backoff: Duration::ZERO },
        on_failure: OnFailure::Hold,
    };
    Plan {
        application: app.name.clone(),
        purpose: Purpose::Switchover,
        source: app.regions[0].clone(),
        target: app.regions[1].clone(),
        runbook: "bench".parse().expect("a name"),
        runbook_digest: Digest::of(b"bench"),
        config_digest: Digest::of(b"bench"),
        accepted_loss: None,
        steps: (0..STEPS).map(step).collect(),
    }
}

/// Starts one run of ten steps and waits until it is finished.
async fn one_run(engine: &Engine, app: &Application, bits: u128) {
    let request = Request {
        purpose: Purpose::Switchover,
        subject: "bench".parse().expect("a subject"),
        reason: "bench".to_owned(),
        idempotency_key: None,
        body_digest: Digest::of(b""),
        supersedes: None,
    };
    let id = RunId::new(&app.name, bits);
    let mut live = engine.subscribe(&app.name).expect("worked on");
    engine
        .record_for_bench(
            &app.name,
            vec![Event::RunStarted { run: id.clone(), request, plan: Box::new(plan(app)), evidence_since: None }],
        )
        .await;
    while let Ok(record) = live.recv().await {
        if record.events.iter().any(|e| matches!(e, Event::RunFinished { run, .. } if *run == id)) {
            return;
        }
    }
}

/// Raw commits of 200 bytes, one at a time: what the disk gives.
fn raw(directory: &std::path::Path, commits: u32) -> f64 {
    let db = rusqlite::Connection::open(directory.join("raw.sqlite")).expect("opens");
    db.pragma_update(None, "journal_mode", "WAL").expect("WAL");
    db.pragma_update(None, "synchronous", "FULL").expect("FULL");
    db.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, v BLOB)", []).expect("creates");
    let clock = SystemClock;
    let began = clock.boot();
    for n in 0..commits {
        db.execute("INSERT INTO t VALUES (?1, ?2)", rusqlite::params![n, [7u8; 200]]).expect("commits");
    }
    f64::from(commits) / (clock.boot() - began).as_secs_f64()
}

async fn engine_rate(directory: &std::path::Path, applications: usize, runs_each: u128) -> (f64, u64, usize) {
    let store = Arc::new(SqliteStore::open(&directory.join(format!("engine-{applications}.sqlite"))).expect("opens"));
    let apps: Vec<Application> = (0..applications).map(application).collect();
    let parts = Parts {
        applications: apps.clone(),
        runbooks: BTreeMap::new(),
        config_digest: Digest::of(b"bench"),
        store: Arc::clone(&store) as Arc<dyn JournalStore>,
        cloud: Arc::new(Instant),
        probes: Arc::new(Instant),
        clock: Arc::new(SystemClock),
        observer: Arc::new(Instant),
        holder: "bench".to_owned(),
        draw_id: Arc::new(|| 0),
    };
    let engine = Engine::start(parts).await;
    let before = store.commits();
    let began = SystemClock.boot();
    let mut all = tokio::task::JoinSet::new();
    for app in apps {
        let engine = engine.clone();
        all.spawn(async move {
            for run in 0..runs_each {
                one_run(&engine, &app, run).await;
            }
        });
    }
    all.join_all().await;
    let took = (SystemClock.boot() - began).as_secs_f64();
    let commits = store.commits() - before;
    let steps = applications * STEPS * usize::try_from(runs_each).expect("small");
    engine.stop(Duration::from_secs(5)).await;
    (steps as f64 / took, commits, steps)
}

fn main() {
    let directory = tempfile::tempdir_in(std::env::current_dir().expect("a directory"))
        .expect("a directory on the disk of the build");
    let raw_rate = raw(directory.path(), 5_000);
    println!("durability: SQLite WAL, synchronous=FULL, every commit an fsync, on {}", directory.path().display());
    println!("raw SQLite, 200-byte rows, one at a time     {raw_rate:>9.0} commits/s   1.00 x");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    for (applications, runs, name) in [(1, 300, "engine, one run at a time"), (100, 20, "engine, 100 runs at once")] {
        let (rate, commits, steps) = runtime.block_on(engine_rate(directory.path(), applications, runs));
        let per_step = commits as f64 / steps as f64;
        println!(
            "{name:<44} {rate:>9.0} steps/s   {:>5.2} x   {commits} fsyncs, {per_step:.2} a step",
            rate / raw_rate
        );
    }
}
