//! What it costs to watch a fleet: processor and memory per application, calls to CloudWatch and their list price.
//!
//! `cargo bench --bench assess [-- APPLICATIONS [MINUTES]]`. The whole engine watches so many applications with ten
//! signals each, in virtual time on one thread, over a CloudWatch that answers at once and counts. Beside it what the DR
//! guides' scripts do: one GetMetricData per metric and one DescribeAlarms per alarm, at the same periods.
//!
//! Prices: $0.01 per 1,000 metrics requested by GetMetricData, $0.01 per 1,000 other requests. List prices of us-east-1 as
//! others quote them (AWS.md 2.2 [3P]; support.site24x7.com "CloudWatch metrics cost calculation"), not verified at
//! AWS; no free tier is counted. GetMetricData is priced per METRIC: batching saves calls and their throttling, not
//! money. Money is saved where the same metric is asked once for many, and where alarms are read a hundred at a time.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use failoverd::{
    adapters::{clock::SystemClock, probes::postgres::PostgresHeartbeats},
    domain::{
        api_call::ApiCall,
        application::{Application, AuroraStore, ClusterArn, ClusterEndpoint, Objectives},
        assessment::Assessment,
        capacity::{DbInstance, Quotas},
        cloud::{
            Alarm, AlarmState, Answer, CloudEvent, Datapoint, DbCluster, EventSource, GlobalCluster, Member,
            MetricQuery, MissingData, Mutation, ObserveError, Outcome, RecordSet, Series,
        },
        id::{ApplicationName, Digest, Region},
        journal::{Record, Sealed},
        policy::Policy,
        replica::{ReplicatedStore, ReplicationRule},
        signal::{
            Signal, SignalRole, SignalSource,
            threshold::{MissingMeans, Threshold},
        },
    },
    engine::{Engine, Parts, vantages::Vantages},
    ports::{
        Clock, Cloud, JournalStore, Observer, Probes,
        journal::{AppendError, ReadError},
        probes::{DnsError, HttpAnswer, HttpQuestion, TcpAnswer},
    },
    sim::port::SimClock,
};

const APPLICATIONS: usize = 1_000;
/// In which every window of every signal is filled.
const MINUTES: u64 = 35;
/// How many applications share an API, and so two of their metrics.
const SHARE_AN_API: usize = 10;
const PERIOD: Duration = Duration::from_secs(30);
const DOLLARS_PER_METRIC: f64 = 0.01 / 1_000.0;
const DOLLARS_PER_REQUEST: f64 = 0.01 / 1_000.0;
/// 730 hours.
const MINUTES_PER_MONTH: f64 = 43_800.0;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    let applications = arguments.next().map_or(APPLICATIONS, |a| a.parse().expect("applications, as a number"));
    let minutes = arguments.next().map_or(MINUTES, |a| a.parse().expect("minutes, as a number"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(measure(applications, minutes));
}

async fn measure(count: usize, minutes: u64) {
    let clock = SimClock::starting_at("2026-11-21T12:00:00Z".parse().expect("a time"));
    let world = Arc::new(Counting::new(clock.clone()));
    let before = resident_kb();
    let apps: Vec<Application> = (0..count).map(application).collect();
    let asked = Asked::of(&apps);
    let engine = Engine::start(parts(apps, &world, &clock)).await;
    clock.sleep(Duration::from_mins(2)).await;
    world.reset();
    let began = processor();
    clock.sleep(Duration::from_mins(minutes)).await;
    let seconds = processor() - began;
    let virtual_minutes = minutes as f64;
    let per_minute = |n: &AtomicU64| n.load(Ordering::Relaxed) as f64 / virtual_minutes;
    let (calls, metrics) = (per_minute(&world.metric_calls), per_minute(&world.metrics));
    let (alarm_calls, alarms) = (per_minute(&world.alarm_calls), per_minute(&world.alarms));

    println!("{count} applications, 10 signals each, {minutes} virtual minutes on one thread");
    let cycles = virtual_minutes * 60.0;
    println!("processor, all judged once a second {:>10.2} ms a cycle", seconds * 1e3 / cycles);
    println!("  of one core                       {:>10.2} %", seconds / (cycles) * 100.0);
    let memory = resident_kb().saturating_sub(before) as f64;
    println!(
        "memory per application              {:>10.1} kB (windows filled; configuration and journal with it)",
        memory / count as f64
    );
    println!();
    println!("a minute                          batched    one by one      fewer");
    row("GetMetricData calls", calls, asked.metrics);
    row("DescribeAlarms calls", alarm_calls, asked.alarms);
    row("calls to CloudWatch", calls + alarm_calls, asked.metrics + asked.alarms);
    row("metrics requested", metrics, asked.metrics);
    row("alarms asked for", alarms, asked.alarms);
    let month = |metrics: f64, requests: f64| {
        MINUTES_PER_MONTH * (metrics * DOLLARS_PER_METRIC + requests * DOLLARS_PER_REQUEST)
    };
    println!();
    println!("list price a month                batched    one by one");
    println!(
        "  all                          {:>10.0} $ {:>11.0} $",
        month(metrics, alarm_calls),
        month(asked.metrics, asked.alarms)
    );
    println!(
        "  per application              {:>10.2} $ {:>11.2} $",
        month(metrics, alarm_calls) / count as f64,
        month(asked.metrics, asked.alarms) / count as f64
    );
    println!(
        "GetMetricData is priced per metric: batching saves calls; asking shared metrics once, and alarms together, saves money"
    );
    println!(
        "not batched: rds:DescribeGlobalClusters, {:.0} calls a minute (one for each Aurora store every 10 s)",
        per_minute(&world.roles)
    );
    engine.stop(Duration::from_secs(5)).await;
}

fn row(what: &str, batched: f64, alone: f64) {
    println!("{what:<28}{batched:>13.1}{alone:>14.0}{:>9.1} x", alone / batched);
}

/// What a script that polls each signal on its own asks in a minute.
struct Asked {
    metrics: f64,
    alarms: f64,
}

impl Asked {
    fn of(apps: &[Application]) -> Self {
        let mut asked = Self { metrics: 0.0, alarms: 0.0 };
        for signal in apps.iter().flat_map(|a| &a.signals).filter(|s| s.source.is_from_cloudwatch()) {
            let times = 60.0 / signal.period.as_secs_f64();
            match signal.source {
                SignalSource::Alarm { .. } => asked.alarms += times,
                // Each has one other Region.
                _ => asked.metrics += times,
            }
        }
        asked
    }
}

fn region(name: &str) -> Region {
    name.parse().expect("a Region")
}

fn query(namespace: &str, metric: &str, dimension: (&str, String), statistic: &str) -> MetricQuery {
    MetricQuery {
        namespace: namespace.to_owned(),
        metric: metric.to_owned(),
        dimensions: BTreeMap::from([(dimension.0.to_owned(), dimension.1)]),
        statistic: statistic.to_owned(),
        period: Duration::from_mins(1),
    }
}

fn application(n: usize) -> Application {
    let (east, west) = (region("us-east-1"), region("us-west-2"));
    let arn =
        |r: &str| -> ClusterArn { format!("arn:aws:rds:{r}:123456789012:cluster:app-{n}").parse().expect("an ARN") };
    let clusters = [&east, &west].map(|r| (r.clone(), arn(r.as_str())));
    let store = AuroraStore {
        global_cluster: format!("app-{n}"),
        clusters: clusters.into(),
        lag_metric: "AuroraGlobalDBRPOLag".to_owned(),
        written_from_all_regions: false,
        heartbeat: None,
        capacity: None,
    };
    let table = ReplicatedStore::Dynamodb { table: format!("app-{n}"), regions: vec![east.clone(), west.clone()] };
    let bucket = ReplicatedStore::S3 {
        buckets: BTreeMap::from([(east.clone(), format!("a-{n}")), (west.clone(), format!("b-{n}"))]),
        rules: vec![ReplicationRule {
            from: east.clone(),
            to: west.clone(),
            rule_id: "all".to_owned(),
            metrics_region: None,
        }],
    };
    let name = |s: &str| s.parse().expect("a name");
    Application {
        name: format!("app-{n}").parse().expect("a name"),
        regions: vec![east, west],
        objectives: Objectives { rto: Duration::from_mins(5), rpo: Duration::from_secs(5) },
        stores: BTreeMap::from([(name("orders"), store)]),
        replicas: BTreeMap::from([(name("sessions"), table), (name("audit"), bucket)]),
        traffic: BTreeMap::new(),
        signals: signals(n),
        endpoints: BTreeMap::new(),
        public_url: None,
        runbooks: BTreeMap::new(),
        drills: Vec::new(),
        schedules: Vec::new(),
        prove_within: None,
        topics: Vec::new(),
        policy: Policy::default(),
        iac: Default::default(),
    }
}

fn signals(n: usize) -> Vec<Signal> {
    let store = |s: &str| s.parse().expect("a name");
    let metric = |query| SignalSource::Metric {
        region: region("us-east-1"),
        query,
        threshold: Threshold::new("> 5".parse().expect("a limit"), None).expect("a threshold"),
        missing: MissingMeans::Unknown,
        of: region("us-east-1"),
    };
    let of = region("us-east-1");
    let lambda = |m| query("AWS/Lambda", m, ("FunctionName", format!("app-{n}")), "Sum");
    let api = |m, s| query("AWS/ApiGateway", m, ("ApiName", format!("api-{}", n / SHARE_AN_API)), s);
    let alarm_name = format!("app-{n}");
    let url = format!("https://app-{n}.example.com/healthz");
    let sources = vec![
        SignalSource::AuroraLag { store: store("orders") },
        SignalSource::ReplicaLag { store: store("sessions") },
        SignalSource::ReplicaLag { store: store("audit") },
        metric(lambda("Errors")),
        metric(lambda("Throttles")),
        metric(api("5XXError", "Average")),
        metric(api("Latency", "p99")),
        SignalSource::HealthCheck { health_check_id: format!("check-{n}"), of: of.clone() },
        SignalSource::Alarm { region: of.clone(), alarm_name, of: of.clone() },
        SignalSource::HttpProbe { url, of, timeout: Duration::from_secs(2) },
    ];
    let signal = |(n, source): (usize, SignalSource)| Signal {
        name: format!("signal-{n}").parse().expect("a name"),
        role: if matches!(source, SignalSource::HttpProbe { .. }) {
            SignalRole::Trigger
        } else {
            SignalRole::Informational
        },
        period: if source.is_from_cloudwatch() { PERIOD } else { Duration::from_secs(10) },
        source,
        freshness: Duration::from_mins(5),
        consecutive: 3,
    };
    sources.into_iter().enumerate().map(signal).collect()
}

fn parts(applications: Vec<Application>, world: &Arc<Counting>, clock: &SimClock) -> Parts {
    let drawn = AtomicU64::new(1);
    Parts {
        applications,
        runbooks: BTreeMap::new(),
        config_digest: Digest::of(b"bench"),
        store: Arc::new(Memory::default()),
        cloud: world.clone(),
        probes: world.clone(),
        // No store has one: nobody asks.
        heartbeats: Arc::new(PostgresHeartbeats::new(Arc::new(SystemClock), [], &BTreeMap::new())),
        databases: Arc::new(PostgresHeartbeats::new(Arc::new(SystemClock), [], &BTreeMap::new())),
        clock: Arc::new(clock.clone()),
        observer: world.clone(),
        vantages: Arc::new(Vantages::here()),
        holder: "bench".to_owned(),
        draw_id: Arc::new(move || u128::from(drawn.fetch_add(1, Ordering::Relaxed))),
        sharing: None,
        post: None,
        preflight: None,
    }
}

/// A world in which all is well, and which counts what it is asked.
#[derive(Debug)]
struct Counting {
    clock: SimClock,
    metric_calls: AtomicU64,
    metrics: AtomicU64,
    alarm_calls: AtomicU64,
    alarms: AtomicU64,
    roles: AtomicU64,
    assessed: AtomicU64,
}

fn add(counter: &AtomicU64, n: usize) {
    counter.fetch_add(n as u64, Ordering::Relaxed);
}

fn nothing<T>() -> Result<T, ObserveError> {
    Err(ObserveError::Unreachable { reason: "a benchmark has nothing to read".to_owned() })
}

impl Counting {
    fn new(clock: SimClock) -> Self {
        Self {
            clock,
            metric_calls: AtomicU64::default(),
            metrics: AtomicU64::default(),
            alarm_calls: AtomicU64::default(),
            alarms: AtomicU64::default(),
            roles: AtomicU64::default(),
            assessed: AtomicU64::default(),
        }
    }

    fn reset(&self) {
        for counter in [&self.metric_calls, &self.metrics, &self.alarm_calls, &self.alarms, &self.roles, &self.assessed]
        {
            counter.store(0, Ordering::Relaxed);
        }
    }
}

#[async_trait]
impl Cloud for Counting {
    async fn aged(
        &self,
        _: &failoverd::domain::signature::Aged,
    ) -> Result<failoverd::domain::signature::AgeAnswer, ObserveError> {
        Err(ObserveError::Unreachable { reason: "a benchmark has nothing to read".to_owned() })
    }
    async fn global_cluster(&self, _: &Region, identifier: &str) -> Result<GlobalCluster, ObserveError> {
        add(&self.roles, 1);
        let member = |r: &str, is_writer| Member {
            arn: format!("arn:aws:rds:{r}:123456789012:cluster:{identifier}").parse().expect("an ARN"),
            is_writer,
            synchronization: Some("connected".to_owned()),
        };
        Ok(GlobalCluster {
            identifier: identifier.to_owned(),
            status: "available".to_owned(),
            engine: "aurora-postgresql".to_owned(),
            engine_version: "14.9".to_owned(),
            members: vec![member("us-east-1", true), member("us-west-2", false)],
            failover: None,
        })
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
    async fn object_is_there(&self, _: &failoverd::domain::standby_object::ObjectAt) -> Result<bool, ObserveError> {
        nothing()
    }
    async fn account_quotas(&self, _: &Region) -> Result<Quotas, ObserveError> {
        nothing()
    }
    async fn metrics(
        &self,
        _: &Region,
        queries: &[MetricQuery],
        _: Duration,
    ) -> Result<Vec<Answer<Series>>, ObserveError> {
        add(&self.metric_calls, 1);
        add(&self.metrics, queries.len());
        let now = self.clock.wall().as_second();
        let at = |minute: i64| jiff::Timestamp::from_second(now - now % 60 - minute * 60).expect("in range");
        let series: Series = (1..=8).map(|minute| Datapoint { at: at(minute), value: 1.0 }).collect();
        Ok(queries.iter().map(|_| Ok(series.clone())).collect())
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
    async fn alarms(&self, _: &Region, names: &[String]) -> Result<Vec<Answer<Alarm>>, ObserveError> {
        add(&self.alarm_calls, 1);
        add(&self.alarms, names.len());
        let alarm = Alarm {
            state: AlarmState::Ok,
            missing_data: Some(MissingData::Missing),
            samples: None,
            state_since: None,
            state_reason: String::new(),
        };
        Ok(names.iter().map(|_| Ok(alarm.clone())).collect())
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
    async fn ask(&self, _: &ApiCall) -> Result<serde_json::Value, ObserveError> {
        nothing()
    }
    async fn apply(&self, _: &Mutation, _: jiff::Timestamp) -> Outcome {
        Outcome::NotSent { reason: "a benchmark changes nothing".to_owned() }
    }
}

#[async_trait]
impl Probes for Counting {
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

impl Observer for Counting {
    fn recorded(&self, _: &Record, _: f64) {}
    fn assessed(&self, _: &Assessment) {
        add(&self.assessed, 1);
    }
    fn called(&self, _: &str, _: &str, _: &str, _: &str, _: jiff::Timestamp) {}
}

/// The bytes and hash of each record.
type Journal = Vec<(Vec<u8>, Digest)>;

/// Journals in memory: what is measured here is the watching.
#[derive(Debug, Default)]
struct Memory(Mutex<BTreeMap<ApplicationName, Journal>>);

#[async_trait]
impl JournalStore for Memory {
    async fn append(&self, sealed: &Sealed) -> Result<(), AppendError> {
        let mut journals = self.0.lock().expect("sound");
        let journal = journals.entry(sealed.record.journal.clone()).or_default();
        journal.push((sealed.bytes.clone(), sealed.hash.clone()));
        Ok(())
    }
    async fn read(
        &self,
        journal: &ApplicationName,
        from_seq: u64,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Digest)>, ReadError> {
        let journals = self.0.lock().expect("sound");
        let skip = usize::try_from(from_seq).expect("few");
        Ok(journals.get(journal).map(|j| j.iter().skip(skip).take(limit).cloned().collect()).unwrap_or_default())
    }
    async fn journals(&self) -> Result<Vec<ApplicationName>, ReadError> {
        let names: BTreeSet<ApplicationName> = self.0.lock().expect("sound").keys().cloned().collect();
        Ok(names.into_iter().collect())
    }
}

/// Processor time of this process, in seconds.
fn processor() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Resident memory of this process, in kB.
fn resident_kb() -> u64 {
    let text = fs::read_to_string("/proc/self/status").expect("this process lives");
    let line = text.lines().find(|l| l.starts_with("VmRSS")).expect("the key");
    line.split_whitespace().nth(1).expect("a value").parse().expect("a number")
}
