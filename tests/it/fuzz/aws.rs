//! Answers of AWS in every protocol that the adapters read (Query/XML, REST-XML, CBOR, JSON), through the real SDKs:
//! recorded ones, mutated, cut, with other statuses, or no HTTP at all.
//!
//! Reads end with a value or an error; a mutation ends with an outcome that is never "not sent", for it was, and it
//! is sent once.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use failoverd::{
    adapters::aws::{AwsCloud, Options, simulated_sdk_config},
    domain::{
        application::{ClusterArn, ClusterEndpoint},
        assessment::Assessment,
        cloud::{EventSource, MetricQuery, Mutation, Outcome, RecordSet},
        id::Region,
        journal::Record,
    },
    ports::{Clock, Cloud as _, Observer},
    sim::world::route53::fixture,
};
use jiff::Timestamp;
use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{
    INPUT_LIMIT, Shared, files,
    mutate::{ANSWERS, Fuzz, below, mutated},
};

/// Calls that are under way at once.
const LANES: usize = 4;
/// How much faster than the machine's the adapter's clock runs, so that its time limits are over soon.
const RATE: u32 = 8;

/// Recorded answers that refuse; the others are named for their call.
const REFUSALS: usize = 4;

#[derive(Debug)]
struct FastClock(Instant);

#[async_trait]
impl Clock for FastClock {
    fn boot(&self) -> Duration {
        self.0.elapsed() * RATE
    }

    /// When the recorded answers say that they were given: with another clock no age would be told.
    fn wall(&self) -> Timestamp {
        let recorded = Timestamp::constant(1_795_249_520, 0);
        recorded + self.boot()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration / RATE).await;
    }
}

#[derive(Debug)]
struct Nobody;

impl Observer for Nobody {
    fn recorded(&self, _: &Record, _: f64) {}

    fn assessed(&self, _: &Assessment) {}

    fn called(&self, _: &str, _: &str, _: &str, _: &str, _: Timestamp) {}
}

/// Everything that the adapter asks of AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    GlobalCluster,
    DbCluster,
    Metrics,
    Alarms,
    Events,
    RecordSets,
    RoutingControls,
    Change,
    Failover,
    Switchover,
    UpdateRoutingControls,
    PutMetric,
    UpsertRecords,
    Publish,
}

impl Ask {
    /// In the order in which they are recorded: the world is asked before it is changed.
    pub(super) const ALL: [Self; 14] = [
        Self::GlobalCluster,
        Self::DbCluster,
        Self::Metrics,
        Self::Alarms,
        Self::Events,
        Self::RecordSets,
        Self::RoutingControls,
        Self::Change,
        Self::Switchover,
        Self::Failover,
        Self::UpdateRoutingControls,
        Self::PutMetric,
        Self::UpsertRecords,
        Self::Publish,
    ];

    /// Of its recorded answer.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::GlobalCluster => "describe-global-clusters",
            Self::DbCluster => "describe-db-clusters",
            Self::Metrics => "get-metric-data",
            Self::Alarms => "describe-alarms",
            Self::Events => "describe-events",
            Self::RecordSets => "list-resource-record-sets",
            Self::RoutingControls => "get-routing-control-state",
            Self::Change => "get-change",
            Self::Failover => "failover-global-cluster",
            Self::Switchover => "switchover-global-cluster",
            Self::UpdateRoutingControls => "update-routing-control-states",
            Self::PutMetric => "put-metric-data",
            Self::UpsertRecords => "change-resource-record-sets",
            Self::Publish => "publish",
        }
    }

    fn mutates(self) -> bool {
        Self::ALL.iter().position(|c| *c == self) >= Self::ALL.iter().position(|c| *c == Self::Switchover)
    }
}

/// What came of a call.
#[derive(Debug)]
pub(super) enum Told {
    Read(Result<String, String>),
    Ended(Outcome),
}

pub(super) fn cloud(url: &str) -> AwsCloud {
    let clock: Arc<dyn Clock> = Arc::new(FastClock(Instant::now()));
    let options = Options::default();
    let config = simulated_sdk_config(url, Arc::clone(&clock), &options);
    AwsCloud::new(config, clock, Arc::new(Nobody), options)
}

fn region(name: &str) -> Region {
    name.parse().expect("a Region")
}

fn cluster(region: &str, name: &str) -> ClusterArn {
    format!("arn:aws:rds:{region}:123456789012:cluster:{name}").parse().expect("an ARN")
}

/// Asks it of `cloud`, whose every endpoint is `url`.
pub(super) async fn ask(cloud: &AwsCloud, call: Ask, url: &str) -> Told {
    let said =
        |value: Result<String, _>| Told::Read(value.map_err(|e: failoverd::domain::cloud::ObserveError| e.to_string()));
    let (east, west) = (region("us-east-1"), region("us-west-2"));
    let controls = [fixture::CONTROL_USE1_ARN.to_owned(), fixture::CONTROL_USW2_ARN.to_owned()];
    match call {
        Ask::GlobalCluster => said(cloud.global_cluster(&west, "payments").await.map(|c| format!("{c:?}"))),
        Ask::DbCluster => {
            said(cloud.db_cluster(&cluster("us-west-2", "payments-usw2")).await.map(|c| format!("{c:?}")))
        }
        Ask::Metrics => {
            let query = MetricQuery {
                namespace: "AWS/RDS".to_owned(),
                metric: "AuroraGlobalDBRPOLag".to_owned(),
                dimensions: BTreeMap::from([("DBClusterIdentifier".to_owned(), "payments-usw2".to_owned())]),
                statistic: "Maximum".to_owned(),
                period: Duration::from_secs(60),
            };
            let read = cloud.metrics(&west, &[query], Duration::from_hours(5)).await;
            if let Ok(points) = &read {
                assert_eq!(points.len(), 1, "one answer for each query");
                assert!(points.iter().flatten().flatten().all(|p| p.value.is_finite()), "not a number: {points:?}");
            }
            said(read.map(|p| format!("{p:?}")))
        }
        Ask::Alarms => said(cloud.alarms(&east, &["errors".to_owned()]).await.map(|a| format!("{a:?}"))),
        Ask::Events => {
            let source = EventSource::DbCluster { identifier: "payments-usw2".to_owned() };
            said(cloud.events(&west, &source, Duration::from_hours(1)).await.map(|e| format!("{e:?}")))
        }
        Ask::RecordSets => {
            said(cloud.record_sets(fixture::ZONE_ID, fixture::RECORD_NAME, "A").await.map(|r| format!("{r:?}")))
        }
        Ask::RoutingControls => {
            let read = cloud.routing_controls(&endpoints(url), &controls).await;
            if let Ok(states) = &read {
                assert_eq!(states.len(), 2, "one state for each control");
            }
            said(read.map(|s| format!("{s:?}")))
        }
        Ask::Change => said(cloud.change_is_insync("C0000000001").await.map(|c| format!("{c:?}"))),
        _ => Told::Ended(cloud.apply(&mutation(call, url), jiff::Timestamp::now()).await),
    }
}

fn endpoints(url: &str) -> Vec<ClusterEndpoint> {
    vec![ClusterEndpoint { region: region("us-east-1"), url: url.to_owned() }]
}

fn mutation(call: Ask, url: &str) -> Mutation {
    let (east, west) = (region("us-east-1"), region("us-west-2"));
    let global_cluster = "payments".to_owned();
    let target = cluster("us-west-2", "payments-usw2");
    match call {
        Ask::Failover => Mutation::AuroraFailover { region: west, global_cluster, target },
        Ask::Switchover => Mutation::AuroraSwitchover { region: east, global_cluster, target },
        Ask::UpdateRoutingControls => Mutation::RoutingControls {
            endpoints: endpoints(url),
            states: BTreeMap::from([
                (fixture::CONTROL_USE1_ARN.to_owned(), false),
                (fixture::CONTROL_USW2_ARN.to_owned(), true),
            ]),
        },
        Ask::PutMetric => Mutation::PutMetric {
            region: west,
            namespace: "Failoverd".to_owned(),
            metric: "Divert".to_owned(),
            dimensions: BTreeMap::new(),
            value: 1.0,
        },
        Ask::UpsertRecords => Mutation::UpsertRecords {
            hosted_zone_id: fixture::ZONE_ID.to_owned(),
            records: vec![RecordSet {
                name: "fuzz.payments.example.com".to_owned(),
                record_type: "A".to_owned(),
                ttl_seconds: Some(60),
                values: vec!["192.0.2.1".to_owned()],
                set_identifier: None,
                failover: None,
                weight: None,
                health_check_id: None,
            }],
            comment: "fuzz".to_owned(),
        },
        _ => Mutation::Publish {
            region: west,
            topic_arn: "arn:aws:sns:us-west-2:123456789012:payments-alerts".to_owned(),
            subject: "s".to_owned(),
            message: "m".to_owned(),
        },
    }
}

/// One whole request, head and body, as it came.
pub(super) async fn read_request(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|l| l.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
            if bytes.len() >= end + 4 + length.unwrap_or(0) {
                return Ok(bytes);
            }
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// A server that gives every request the same answer, whatever that is.
struct Server {
    url: String,
    answer: Shared<Vec<u8>>,
    requests: Shared<usize>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let (answer, requests): (Shared<Vec<u8>>, Shared<usize>) = (Arc::default(), Arc::default());
        let (given, counted) = (Arc::clone(&answer), Arc::clone(&requests));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (given, counted) = (Arc::clone(&given), Arc::clone(&counted));
                tokio::spawn(async move {
                    if read_request(&mut stream).await.is_ok() {
                        *counted.lock().expect("lock") += 1;
                        let answer = given.lock().expect("lock").clone();
                        // The client may have had enough before the end of it.
                        let _ = stream.write_all(&answer).await;
                        let _ = stream.shutdown().await;
                    }
                });
            }
        });
        Self { url, answer, requests }
    }
}

/// A recorded answer, changed: mostly its body under an honest length, at times its status, its head, or its end.
fn garbled(rng: &mut ChaCha12Rng, recorded: &[u8], others: &[Vec<u8>]) -> Vec<u8> {
    let end = recorded.windows(4).position(|w| w == b"\r\n\r\n").expect("a head") + 4;
    let (head, body) = recorded.split_at(end);
    match below(rng, 10) {
        0 => mutated(rng, recorded, others, ANSWERS),
        1 => recorded[..below(rng, recorded.len())].to_vec(),
        2 => Vec::new(),
        kind => {
            let body = mutated(rng, body, others, ANSWERS);
            let head = String::from_utf8_lossy(head);
            let mut lines = head.trim_end().lines();
            let first = lines.next().unwrap_or_default().to_owned();
            let status = ["301", "400", "403", "404", "413", "429", "500", "503", "999"][below(rng, 9)];
            let first = if kind < 6 { format!("HTTP/1.1 {status} X") } else { first };
            let other = |l: &&str| {
                let l = l.to_ascii_lowercase();
                !l.starts_with("content-length") && !l.starts_with("transfer-encoding") && !l.starts_with("connection")
            };
            let kept: String = lines.filter(other).map(|l| format!("{l}\r\n")).collect();
            let head = format!("{first}\r\n{kept}content-length: {}\r\nconnection: close\r\n\r\n", body.len());
            [head.into_bytes(), body].concat()
        }
    }
}

/// As they were recorded, the answers are understood; so what the other test mutates reaches the readers.
#[tokio::test]
async fn recorded_answers_are_understood() {
    let recorded: BTreeMap<_, _> = files(&["tests/fuzz/aws"]).into_iter().collect();
    for call in Ask::ALL {
        let server = Server::start().await;
        server.answer.lock().expect("lock").clone_from(&recorded[&format!("{}.http", call.name())]);
        match ask(&cloud(&server.url), call, &server.url).await {
            Told::Read(Ok(_)) | Told::Ended(Outcome::Accepted { .. }) => {}
            other => panic!("{call:?}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_aws() {
    let recorded: BTreeMap<_, _> = files(&["tests/fuzz/aws"]).into_iter().collect();
    let bodies: Vec<_> = recorded.values().cloned().collect();
    let fuzz = Fuzz::of("aws", bodies.clone(), ANSWERS, 1_000);
    let numbers = Arc::new(Mutex::new(fuzz.numbers()));
    let (recorded, bodies) = (Arc::new(recorded), Arc::new(bodies));
    let tally: Shared<BTreeMap<&'static str, u64>> = Arc::default();
    let lanes: Vec<_> = (0..LANES)
        .map(|_| {
            let (numbers, recorded, bodies, tally) =
                (Arc::clone(&numbers), Arc::clone(&recorded), Arc::clone(&bodies), Arc::clone(&tally));
            tokio::spawn(async move {
                let server = Server::start().await;
                let cloud = cloud(&server.url);
                loop {
                    let Some(n) = numbers.lock().expect("lock").next() else { return };
                    let mut rng = ChaCha12Rng::seed_from_u64(n);
                    let call = Ask::ALL[below(&mut rng, Ask::ALL.len())];
                    // AWS's own refusals too, in the words of any service.
                    let refusals = recorded.iter().filter(|(name, _)| name.starts_with("refused")).map(|(_, r)| r);
                    let chosen = match below(&mut rng, 4) {
                        0 => refusals.collect::<Vec<_>>()[below(&mut rng, REFUSALS)],
                        _ => &recorded[&format!("{}.http", call.name())],
                    };
                    let answer = garbled(&mut rng, chosen, &bodies);
                    let word = one(&server, &cloud, call, n, answer).await;
                    *tally.lock().expect("lock").entry(word).or_default() += 1;
                }
            })
        })
        .collect();
    for lane in lanes {
        lane.await.expect("every answer is taken well");
    }
    let tally = tally.lock().expect("lock").clone();
    println!("aws: {tally:?}");
    for word in ["read", "not read", "accepted", "rejected", "unknown"] {
        assert!(tally.contains_key(word), "never {word}: {tally:?}");
    }
}

async fn one(server: &Server, cloud: &AwsCloud, call: Ask, n: u64, answer: Vec<u8>) -> &'static str {
    let shown = String::from_utf8_lossy(&answer[..answer.len().min(2_000)]).into_owned();
    server.answer.lock().expect("lock").clone_from(&answer);
    *server.requests.lock().expect("lock") = 0;
    let told = tokio::time::timeout(INPUT_LIMIT, ask(cloud, call, &server.url)).await;
    let told = told.unwrap_or_else(|_| panic!("iteration {n}: {call:?} does not end: {shown:?}"));
    let requests = *server.requests.lock().expect("lock");
    // A date of AWS's that is garbled is a clock that cannot be trusted: then nothing leaves, and that is what is told.
    let was_kept = requests == 0 && matches!(told, Told::Ended(Outcome::NotSent { .. }));
    assert!(
        requests == 1 || was_kept || !call.mutates(),
        "iteration {n}: {call:?} was sent {requests} times: {told:?} {shown:?}"
    );
    match told {
        Told::Read(Ok(_)) => "read",
        Told::Read(Err(why)) => {
            assert!(!why.is_empty());
            "not read"
        }
        Told::Ended(Outcome::Accepted { .. }) => "accepted",
        Told::Ended(Outcome::Rejected { .. }) => "rejected",
        Told::Ended(Outcome::Unknown { .. }) => "unknown",
        Told::Ended(Outcome::NotSent { .. }) if requests == 0 => "not sent",
        Told::Ended(Outcome::NotSent { reason }) => panic!("iteration {n}: {call:?} was sent ({reason}): {shown:?}"),
    }
}
