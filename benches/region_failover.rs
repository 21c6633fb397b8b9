//! What the engine adds to a Region failover: the shipped runbook against a world that answers at once, beside the
//! same calls as a boto3 script against the same endpoint.
//!
//! `cargo bench --bench region_failover [-- REPEATS]`. The simulated AWS is in this process and is called over HTTP and
//! DNS; its clock jumps as soon as it has taken a promotion or a routing control change, so that neither is waited
//! for. The runbook is `region-failover` as shipped, its deliberate waits (repeated probes, the TTL) taken out; the
//! approval is given at once. What AWS took is the time during which at least one call was open, as its caller saw
//! it: SDK, HTTP and world together. The rest is the engine: journal, decisions, hand-over between tasks.
//! The script keeps no journal, needs no approval and proves less. Its Python has boto3 (tests/wire/setup.sh).
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

#[path = "common/stage.rs"]
mod stage;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use failoverd::{
    adapters::{
        aws::{self, AwsCloud},
        clock::SystemClock,
        probes::{NetProbes, postgres::PostgresHeartbeats},
        store::SqliteStore,
    },
    config::{self, Settings},
    domain::egress::Egress,
    domain::{
        api_call::ApiCall,
        application::{ClusterArn, ClusterEndpoint},
        assessment::{Assessment, Health},
        capacity::{DbInstance, Quotas},
        cloud::{
            Alarm, Answer, CloudEvent, DbCluster, EventSource, GlobalCluster, MetricQuery, Mutation, ObserveError,
            Outcome, RecordSet, Series,
        },
        id::{ApplicationName, Digest, Region, RunId},
        journal::{Event, Record},
        run::StepState,
    },
    engine::{
        Engine, Parts,
        control::{Act, Control as _, StartRun, Started, Wish},
        vantages::Vantages,
    },
    ports::{
        Clock as _, Cloud, Observer, Probes,
        probes::{DnsError, HttpAnswer, HttpQuestion, TcpAnswer},
    },
    sim::{
        wire::{RequestLog, Running},
        world::SimTime,
    },
};

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    let repeats: usize = arguments.next().map_or(5, |a| a.parse().expect("a number"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let python = python();
    println!("region-failover, deliberate waits taken out, against a world that answers at once");
    println!("durability: SQLite WAL, synchronous=FULL (the script keeps no journal)");
    println!(
        "{:<12}{:>7}{:>8}{:>11}{:>13}{:>13}{:>14}",
        "", "steps", "calls", "total ms", "in calls ms", "the rest ms", "rest/step ms"
    );
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    for _ in 0..repeats {
        let measured = runtime.block_on(daemon());
        print("failoverd", &measured);
        ours.push(measured);
        if let Some(python) = &python {
            let measured = runtime.block_on(script(python));
            print("boto3", &measured);
            theirs.push(measured);
        }
    }
    let best = |all: &[Measured]| all.iter().copied().min_by(|a, b| a.total.total_cmp(&b.total));
    if let (Some(a), Some(b)) = (best(&ours), best(&theirs)) {
        println!("best totals: failoverd {:.1} ms, boto3 {:.1} ms", a.total, b.total);
        println!("failoverd over boto3: {:+.1} ms a step", (a.total - b.total) / a.steps as f64);
    }
}

#[derive(Debug, Clone, Copy)]
struct Measured {
    steps: usize,
    calls: usize,
    total: f64,
    in_calls: f64,
}

fn print(name: &str, m: &Measured) {
    let rest = m.total - m.in_calls;
    println!(
        "{name:<12}{:>7}{:>8}{:>11.1}{:>13.1}{rest:>13.1}{:>14.2}",
        m.steps,
        m.calls,
        m.total,
        m.in_calls,
        rest / m.steps as f64
    );
}

/// A world whose clock jumps by this much once it has taken a change that takes time.
const JUMP_MS: u64 = 1_200_000;

/// The simulated AWS, ahead of wall time once something was changed in it.
async fn eager_aws() -> Running {
    let requests: Arc<OnceLock<Arc<RequestLog>>> = Arc::default();
    let (jumped, seen) = (AtomicU64::new(0), Arc::clone(&requests));
    let clock = move || {
        let changes = seen.get().map_or(0, |log| {
            let slow =
                |operation: &str| operation == "FailoverGlobalCluster" || operation.starts_with("UpdateRoutingControl");
            log.effects().keys().filter(|(_, operation, _)| slow(operation)).count()
        });
        let jumps = jumped.fetch_max(changes as u64, Ordering::SeqCst).max(changes as u64);
        SimTime(stage::now().0 + jumps * JUMP_MS)
    };
    let aws = stage::aws(Arc::new(clock)).await;
    requests.set(Arc::clone(&aws.requests)).expect("set once");
    aws
}

/// The engine with the real adapters and journal, the runbook from its file.
async fn daemon() -> Measured {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let aws = eager_aws().await;
    let settings = settings(&aws, directory.path());
    let spans = Arc::new(Spans::default());
    let engine = Engine::start(parts(settings, &aws, &spans, directory.path())).await;
    let name: ApplicationName = "payments".parse().expect("a name");
    let healthy = |a: &Assessment| a.health == Health::Healthy && a.exposure.values().all(|e| e.fresh);
    while !engine.assessment(&name).is_some_and(|a| healthy(&a)) {
        SystemClock.sleep(Duration::from_millis(10)).await;
    }
    let mut live = engine.subscribe(&name).expect("worked on");
    let began = SystemClock.boot();
    let started = engine.start_run(failover(&name)).await.expect("a run starts");
    let Started::Run { id, .. } = started else { panic!("no new run: {started:?}") };
    loop {
        let record = live.recv().await.expect("the engine lives");
        for event in &record.events {
            match event {
                Event::StepStarted { step, .. } if step.as_str() == "approve" => approve(&engine, &name, &id).await,
                Event::RunHeld { reason, .. } => panic!("the run is held: {reason}"),
                _ => {}
            }
        }
        if record.events.iter().any(|e| matches!(e, Event::RunFinished { .. })) {
            break;
        }
    }
    let ended = SystemClock.boot();
    let run = Arc::clone(&engine.history(&name).expect("worked on").runs[&id]);
    let failed: Vec<_> = run.steps.iter().filter(|(_, s)| !matches!(s, StepState::Done { .. })).collect();
    assert!(failed.is_empty(), "{failed:?}");
    engine.stop(Duration::from_secs(5)).await;
    aws.stop().await;
    if std::env::args().any(|a| a == "--steps") {
        for step in &run.plan.steps {
            if let StepState::Done { since, at, .. } = &run.steps[&step.id] {
                println!("  {:<24}{:>10.1} ms", step.id.as_str(), at.duration_since(*since).as_secs_f64() * 1e3);
            }
        }
    }
    let (calls, in_calls) = spans.covered(began, ended);
    Measured { steps: run.plan.steps.len(), calls, total: (ended - began).as_secs_f64() * 1e3, in_calls }
}

fn settings(aws: &Running, directory: &Path) -> Settings {
    let text = stage::config(aws, directory, "127.0.0.1:0")
        .replace("last_write_pointer", "# last_write_pointer")
        .replace("period = \"30s\"", "period = \"5s\"");
    let config = directory.join("failoverd.toml");
    std::fs::write(&config, text).expect("the config is written");
    let runbook = directory.join("runbooks/region-failover.yaml");
    let text = std::fs::read_to_string(&runbook).expect("a runbook");
    let text = text
        .replace("consecutive: 3", "consecutive: 1")
        .replace("consecutive: 5", "consecutive: 1")
        .replace(", after_ttl: true", "");
    std::fs::write(&runbook, text).expect("the runbook is written");
    Settings::load(&config, &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults}"))
}

fn parts(settings: Settings, aws: &Running, spans: &Arc<Spans>, directory: &Path) -> Parts {
    assert!(matches!(settings.store, config::Store::Sqlite { .. }), "the stage has a file of its own");
    let clock: Arc<dyn failoverd::ports::Clock> = Arc::new(SystemClock);
    let options = aws::Options::default();
    let sdk = aws::simulated_sdk_config(&aws.aws_url, Arc::clone(&clock), &options);
    let cloud = AwsCloud::new(sdk, Arc::clone(&clock), Arc::new(Nobody), options);
    let probes = NetProbes::new(Arc::clone(&clock), Egress { loopback: true, allow: Vec::new() }).expect("probes");
    Parts {
        applications: settings.applications,
        runbooks: settings.runbooks,
        config_digest: settings.digest,
        store: Arc::new(SqliteStore::open(&directory.join("journal.sqlite")).expect("opened")),
        cloud: Arc::new(Timed { inner: cloud, spans: Arc::clone(spans) }),
        probes: Arc::new(Timed { inner: probes, spans: Arc::clone(spans) }),
        // No store has one: nobody asks.
        heartbeats: Arc::new(PostgresHeartbeats::new(Arc::new(SystemClock), [], &BTreeMap::new())),
        databases: Arc::new(PostgresHeartbeats::new(Arc::new(SystemClock), [], &BTreeMap::new())),
        clock,
        observer: Arc::new(Nobody),
        vantages: Arc::new(Vantages::here()),
        holder: "bench".to_owned(),
        draw_id: Arc::new(|| 1),
        sharing: None,
        post: None,
        preflight: None,
    }
}

fn failover(application: &ApplicationName) -> StartRun {
    StartRun {
        application: application.clone(),
        wish: Wish::Failover,
        target: None,
        reason: "bench".to_owned(),
        accept_data_loss: Some(Duration::from_secs(600)),
        runbook: None,
        subject: "alice".parse().expect("a subject"),
        idempotency_key: None,
        body_digest: Digest::of(b""),
        dry_run: false,
    }
}

async fn approve(engine: &Engine, application: &ApplicationName, run: &RunId) {
    let digest = engine.history(application).expect("worked on").runs[run].plan_digest.clone();
    let act = Act::Approve { step: "approve".parse().expect("a step id"), approved: true, digest };
    engine.act(run, act, &"bob".parse().expect("a subject"), "bench").await.expect("approved");
}

/// The same runbook as a script of the kind that people write.
async fn script(python: &Path) -> Measured {
    let aws = eager_aws().await;
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/region_failover.py")).args([
        &aws.aws_url,
        &aws.dns_addr.to_string(),
        &aws.endpoints_port.to_string(),
    ]);
    let output = tokio::task::spawn_blocking(move || command.output().expect("python starts")).await.expect("ended");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let number = |key: &str| said[key].as_f64().unwrap_or_else(|| panic!("no {key}"));
    aws.stop().await;
    let count =
        |key: &str| said[key].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or_else(|| panic!("no {key}"));
    Measured {
        steps: count("steps"),
        calls: count("calls"),
        total: number("total_ms"),
        in_calls: number("in_calls_ms"),
    }
}

/// The Python of the wire tests; `None`, said aloud, where it cannot be made.
fn python() -> Option<PathBuf> {
    let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/setup.sh");
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wire-venv");
    let made = Command::new("sh").arg(setup).arg(&venv).output();
    if made.is_ok_and(|output| output.status.success()) {
        return Some(venv.join("bin/python"));
    }
    println!("no Python with boto3 here (tests/wire/setup.sh failed): the script is left out");
    None
}

/// When calls were open, in boot time.
#[derive(Debug, Default)]
struct Spans(Mutex<Vec<(Duration, Duration)>>);

impl Spans {
    async fn of<T>(&self, call: impl Future<Output = T> + Send) -> T {
        let began = SystemClock.boot();
        let answer = call.await;
        self.0.lock().expect("not poisoned").push((began, SystemClock.boot()));
        answer
    }

    /// How many calls began between `from` and `to`, and for how many milliseconds at least one was open.
    fn covered(&self, from: Duration, to: Duration) -> (usize, f64) {
        let mut spans: Vec<_> =
            self.0.lock().expect("not poisoned").iter().copied().filter(|(a, b)| from <= *a && *b <= to).collect();
        spans.sort();
        let mut covered = Duration::ZERO;
        let mut reached = from;
        for (began, ended) in &spans {
            covered += ended.saturating_sub(reached.max(*began));
            reached = reached.max(*ended);
        }
        (spans.len(), covered.as_secs_f64() * 1e3)
    }
}

/// A port whose calls are timed from outside.
#[derive(Debug)]
struct Timed<T> {
    inner: T,
    spans: Arc<Spans>,
}

#[async_trait]
impl<T: Cloud> Cloud for Timed<T> {
    async fn aged(
        &self,
        question: &failoverd::domain::signature::Aged,
    ) -> Result<failoverd::domain::signature::AgeAnswer, ObserveError> {
        self.inner.aged(question).await
    }
    async fn global_cluster(&self, region: &Region, identifier: &str) -> Result<GlobalCluster, ObserveError> {
        self.spans.of(self.inner.global_cluster(region, identifier)).await
    }
    async fn db_cluster(&self, arn: &ClusterArn) -> Result<DbCluster, ObserveError> {
        self.spans.of(self.inner.db_cluster(arn)).await
    }
    async fn db_instances(&self, cluster: &ClusterArn) -> Result<Vec<DbInstance>, ObserveError> {
        self.spans.of(self.inner.db_instances(cluster)).await
    }
    async fn cluster_snapshots(
        &self,
        cluster: &ClusterArn,
    ) -> Result<Vec<failoverd::domain::cloud::DbSnapshot>, ObserveError> {
        self.spans.of(self.inner.cluster_snapshots(cluster)).await
    }
    async fn object_is_there(
        &self,
        object: &failoverd::domain::standby_object::ObjectAt,
    ) -> Result<bool, ObserveError> {
        self.spans.of(self.inner.object_is_there(object)).await
    }
    async fn cluster_parameter(
        &self,
        region: &Region,
        group: &str,
        name: &str,
    ) -> Result<Option<String>, ObserveError> {
        self.spans.of(self.inner.cluster_parameter(region, group, name)).await
    }
    async fn topic_is_there(&self, region: &Region, arn: &str) -> Result<bool, ObserveError> {
        self.spans.of(self.inner.topic_is_there(region, arn)).await
    }
    async fn account_quotas(&self, region: &Region) -> Result<Quotas, ObserveError> {
        self.spans.of(self.inner.account_quotas(region)).await
    }
    async fn metrics(
        &self,
        region: &Region,
        queries: &[MetricQuery],
        window: Duration,
    ) -> Result<Vec<Answer<Series>>, ObserveError> {
        self.spans.of(self.inner.metrics(region, queries, window)).await
    }
    async fn metrics_until(
        &self,
        region: &Region,
        queries: &[MetricQuery],
        until: jiff::Timestamp,
        window: Duration,
    ) -> Result<Vec<Answer<Series>>, ObserveError> {
        self.spans.of(self.inner.metrics_until(region, queries, until, window)).await
    }
    async fn objects(
        &self,
        region: &Region,
        bucket: &str,
        after: Option<&str>,
    ) -> Result<failoverd::domain::salvage::Page, ObserveError> {
        self.spans.of(self.inner.objects(region, bucket, after)).await
    }
    async fn replication_of(
        &self,
        region: &Region,
        bucket: &str,
        key: &str,
    ) -> Result<failoverd::domain::salvage::Replication, ObserveError> {
        self.spans.of(self.inner.replication_of(region, bucket, key)).await
    }
    async fn alarms(&self, region: &Region, names: &[String]) -> Result<Vec<Answer<Alarm>>, ObserveError> {
        self.spans.of(self.inner.alarms(region, names)).await
    }
    async fn events(
        &self,
        region: &Region,
        source: &EventSource,
        window: Duration,
    ) -> Result<Vec<CloudEvent>, ObserveError> {
        self.spans.of(self.inner.events(region, source, window)).await
    }
    async fn record_sets(&self, zone: &str, name: &str, record_type: &str) -> Result<Vec<RecordSet>, ObserveError> {
        self.spans.of(self.inner.record_sets(zone, name, record_type)).await
    }
    async fn routing_controls(
        &self,
        endpoints: &[ClusterEndpoint],
        arns: &[String],
    ) -> Result<Vec<bool>, ObserveError> {
        self.spans.of(self.inner.routing_controls(endpoints, arns)).await
    }
    async fn caller(&self, region: &Region) -> Result<String, ObserveError> {
        self.spans.of(self.inner.caller(region)).await
    }
    async fn role_arn(&self, region: &Region, role: &str) -> Result<String, ObserveError> {
        self.spans.of(self.inner.role_arn(region, role)).await
    }
    async fn simulate(
        &self,
        region: &Region,
        question: &failoverd::domain::permissions::changes::Simulation,
    ) -> Result<Vec<failoverd::domain::permissions::changes::Evaluation>, ObserveError> {
        self.spans.of(self.inner.simulate(region, question)).await
    }
    async fn change_is_insync(&self, change: &str) -> Result<bool, ObserveError> {
        self.spans.of(self.inner.change_is_insync(change)).await
    }
    async fn ask(&self, request: &ApiCall) -> Result<serde_json::Value, ObserveError> {
        self.spans.of(self.inner.ask(request)).await
    }
    async fn apply(&self, mutation: &Mutation, intended_at: jiff::Timestamp) -> Outcome {
        self.spans.of(self.inner.apply(mutation, intended_at)).await
    }
}

#[async_trait]
impl<T: Probes> Probes for Timed<T> {
    async fn http(&self, question: &HttpQuestion) -> HttpAnswer {
        self.spans.of(self.inner.http(question)).await
    }
    async fn tcp(&self, address: &str, timeout: Duration) -> TcpAnswer {
        self.spans.of(self.inner.tcp(address, timeout)).await
    }
    async fn dns(
        &self,
        server: &str,
        name: &str,
        record_type: &str,
        timeout: Duration,
    ) -> Result<Vec<String>, DnsError> {
        self.spans.of(self.inner.dns(server, name, record_type, timeout)).await
    }
}

#[derive(Debug)]
struct Nobody;

impl Observer for Nobody {
    fn recorded(&self, _: &Record, _: f64) {}
    fn assessed(&self, _: &Assessment) {}
    fn called(&self, _: &str, _: &str, _: &str, _: &str, _: jiff::Timestamp) {}
}
