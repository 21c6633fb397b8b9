//! The shared store over an emulator that nobody here wrote, with a wire between them that does ill on demand.

use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
    process::Stdio,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use aws_config::SdkConfig;
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::{
    client::{
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
            SharedHttpConnector,
        },
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use failoverd::{
    adapters::{
        aws,
        clock::SystemClock,
        store::{
            DynamoStore, OpenError,
            dynamodb::{Draw, Options},
        },
    },
    domain::id::Region,
    ports::Clock,
};
use tokio::{process::Child, process::Command, sync::oneshot};

use super::ministack::{Emulator, READY_WITHIN};

/// What becomes of a request.
pub(crate) enum Fault {
    /// It does not arrive.
    RequestLost,
    /// It is done, and the connection breaks.
    AnswerLost,
    /// It is done, and answered with this error.
    ErrorAfter(u16, &'static str),
    /// It is not done, and answered with this error.
    ErrorBefore(u16, &'static str),
    /// It is done, and never answered.
    DoneAndHangs,
    /// It is not done, and never answered.
    Hangs,
    /// It waits for a word, and does not arrive then.
    LostAfter(oneshot::Receiver<()>),
    /// It is done, and its answer is lost after a word.
    AnswerLostAfter(oneshot::Receiver<()>),
    /// It is answered by this, and not done.
    Answered(String),
}

#[derive(Default)]
struct Plan {
    /// Of each operation, what becomes of the next requests.
    faults: BTreeMap<&'static str, VecDeque<Fault>>,
    /// Of each operation, what all requests are answered with.
    canned: BTreeMap<&'static str, (u16, String)>,
    /// Every operation asked for, in order.
    asked: Vec<String>,
    /// Of each operation, the newest request.
    sent: BTreeMap<String, serde_json::Value>,
}

/// The wire. Clones are one.
#[derive(Clone)]
pub(crate) struct Wire {
    plan: Arc<Mutex<Plan>>,
    real: SharedHttpClient,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wire")
    }
}

impl Wire {
    pub(crate) fn new() -> Self {
        let real = Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build_https();
        Self { plan: Arc::default(), real }
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().expect("nobody panics with it")
    }

    /// The next requests for `operation` meet these, one after the other.
    pub(crate) fn meet(&self, operation: &'static str, faults: impl IntoIterator<Item = Fault>) {
        self.plan().faults.entry(operation).or_default().extend(faults);
    }

    /// Whatever was still to be met is not.
    pub(crate) fn forget(&self) {
        self.plan().faults.clear();
    }

    /// Every request for `operation` that meets no fault is answered with this.
    pub(crate) fn can(&self, operation: &'static str, status: u16, body: &serde_json::Value) {
        self.plan().canned.insert(operation, (status, body.to_string()));
    }

    /// How often `operation` was asked for.
    pub(crate) fn asked(&self, operation: &str) -> usize {
        self.plan().asked.iter().filter(|asked| *asked == operation).count()
    }

    /// The newest request for `operation`.
    pub(crate) fn sent(&self, operation: &str) -> Option<serde_json::Value> {
        self.plan().sent.get(operation).cloned()
    }

    /// Until `operation` was asked for so often.
    pub(crate) async fn has_asked(&self, operation: &str, times: usize) {
        let begun = Instant::now();
        while self.asked(operation) < times {
            assert!(begun.elapsed() < READY_WITHIN, "{operation} was not asked for {times} times");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl HttpClient for Wire {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Line { wire: self.clone(), real: self.real.http_connector(settings, components) })
    }
}

#[derive(Debug)]
struct Line {
    wire: Wire,
    real: SharedHttpConnector,
}

fn error(status: u16, code: &str) -> HttpResponse {
    let body = format!("{{\"__type\":\"com.amazonaws.dynamodb.v20120810#{code}\",\"message\":\"injected\"}}");
    HttpResponse::new(StatusCode::try_from(status).expect("a status"), SdkBody::from(body))
}

fn broken() -> ConnectorError {
    ConnectorError::io("the connection broke".into())
}

impl HttpConnector for Line {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let (fault, canned) = {
            let mut plan = self.wire.plan();
            plan.asked.push(operation.clone());
            let body = request.body().bytes().and_then(|bytes| serde_json::from_slice(bytes).ok());
            plan.sent.extend(body.map(|body| (operation.clone(), body)));
            let fault = plan.faults.get_mut(operation.as_str()).and_then(VecDeque::pop_front);
            (fault, plan.canned.get(operation.as_str()).cloned())
        };
        let real = self.real.clone();
        HttpConnectorFuture::new(async move {
            let Some(fault) = fault else {
                return match canned {
                    Some((status, body)) => {
                        Ok(HttpResponse::new(StatusCode::try_from(status).expect("a status"), SdkBody::from(body)))
                    }
                    None => real.call(request).await,
                };
            };
            match fault {
                Fault::RequestLost => Err(broken()),
                Fault::ErrorBefore(status, code) => Ok(error(status, code)),
                Fault::Hangs => std::future::pending().await,
                Fault::Answered(body) => Ok(HttpResponse::new(200.try_into().expect("a status"), SdkBody::from(body))),
                Fault::LostAfter(word) => {
                    let _ = word.await;
                    Err(broken())
                }
                after => {
                    // Done or refused: the answer is lost either way.
                    real.call(request).await?;
                    match after {
                        Fault::ErrorAfter(status, code) => Ok(error(status, code)),
                        Fault::DoneAndHangs => std::future::pending().await,
                        Fault::AnswerLostAfter(word) => {
                            let _ = word.await;
                            Err(broken())
                        }
                        _ => Err(broken()),
                    }
                }
            }
        })
    }
}

/// Bits that are never drawn twice by one process of tests.
pub(crate) fn draw() -> Draw {
    static DRAWN: AtomicU64 = AtomicU64::new(1);
    Arc::new(|| u128::from(DRAWN.fetch_add(1, Ordering::SeqCst)) * 0x9e37_79b9_7f4a_7c15)
}

pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

pub(crate) fn region(name: &str) -> Region {
    name.parse().expect("a Region")
}

/// A table of replicas in two Regions, in neither of which an application prefers to be.
pub(crate) fn options(table: &str, lease: Duration) -> Options {
    Options {
        table: table.to_owned(),
        region: region("us-west-2"),
        replica_regions: [region("us-west-2"), region("us-east-2")].into(),
        primary_regions: [region("us-east-1")].into(),
        lease,
        production: false,
        allow_unverified: [].into(),
    }
}

/// How the SDK reaches `url`, over `wire` if there is one.
pub(crate) fn sdk(url: &str, wire: Option<&Wire>) -> SdkConfig {
    let mut config = aws::simulated_sdk_config(url, clock(), &aws::Options::default()).into_builder();
    config.set_region(aws_config::Region::new("us-west-2"));
    if let Some(wire) = wire {
        config.set_http_client(Some(SharedHttpClient::new(wire.clone())));
    }
    config.build()
}

/// The whole time of a test: no request fails since the machine is busy.
pub(crate) const PATIENT: Duration = Duration::from_secs(120);

/// A new table of this name at `url`.
pub(crate) async fn created(url: &str, table: &str, lease: Duration) -> Options {
    let options = options(table, lease);
    let made = DynamoStore::create(&sdk(url, None), clock(), draw(), &options).await.expect("the table is made");
    assert!(made.made);
    options
}

pub(crate) async fn open(sdk: &SdkConfig, options: &Options) -> Result<DynamoStore, OpenError> {
    DynamoStore::open(sdk, clock(), draw(), options).await
}

/// The emulators that are here: MiniStack always, dynalite where `tests/emulator/setup.sh` found npm.
pub(crate) async fn ministack() -> Emulator {
    Emulator::start().await
}

/// dynalite on a free port; it dies with the test.
pub(crate) struct Dynalite {
    pub(crate) url: String,
    _process: Child,
}

impl Dynalite {
    /// `None` where it is not installed, which `FAILOVERD_TEST_DYNALITE=required` makes a failure.
    #[expect(clippy::print_stderr, reason = "a skip must be seen")]
    pub(crate) async fn start() -> Option<Self> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/dynalite/node_modules/.bin/dynalite");
        if !program.exists() {
            let required = std::env::var("FAILOVERD_TEST_DYNALITE").is_ok_and(|v| v == "required");
            assert!(!required, "{} is missing: run tests/emulator/setup.sh where npm is", program.display());
            eprintln!("skipped: dynalite is not installed (tests/emulator/setup.sh, where npm is)");
            return None;
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        let process = Command::new(program)
            .args(["--host", "127.0.0.1", "--createTableMs", "0", "--port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("dynalite starts");
        let begun = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(begun.elapsed() < READY_WITHIN, "dynalite is not ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Some(Self { url: format!("http://127.0.0.1:{port}"), _process: process })
    }
}
