//! The composition root: the one file that names concrete adapters and puts a daemon together from them.

use std::{collections::BTreeMap, net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use aws_config::SdkConfig;
use rustix::process::{Resource, Rlimit};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

#[cfg(debug_assertions)]
use crate::adapters::store::failpoint;
use crate::{
    adapters::{
        aws::{self, AwsCloud},
        clock::SystemClock,
        observers::{otlp::Traces, prometheus::Metrics},
        probes::{NetProbes, postgres::PostgresHeartbeats},
    },
    config::{self, Aws, Settings},
    domain::evidence::Signature,
    engine::{Engine, Parts, Sharing, outpost::Outpost, vantages::Vantages},
    http::{self, Api, Kept, Signer, replica::Forwarder},
    ports::{Clock, Cloud, Databases, JournalStore, Outboxes, Probes},
};

pub mod access;
pub mod keep;
pub mod keys;
mod lifetimes;
pub mod logs;
pub mod observe;
pub mod offline;
pub mod post;
pub mod store;
pub mod traces;

use keep::{Keeper, KeptRuns};
use keys::Key;

/// How long a stop waits for bounded calls: ECS kills after 30 s by default (FAULTS.md 6), and the journal needs a rest.
const STOP_PATIENCE: Duration = Duration::from_secs(18);

/// The most of the descriptors that this process may open that the API may take, as a part of them: the engine's own
/// calls, its journal and its probes have the rest (FAULTS.md 17).
const API_DESCRIPTORS: usize = 2;

/// Fewer connections than this are few for the people, pages and scrapes of one incident.
const CONNECTIONS_FEW: usize = 32;

/// A whole daemon: engine, API, and the store behind them.
pub struct Daemon {
    /// Where the API listens.
    pub address: SocketAddr,
    pub engine: Engine,
    stopping: CancellationToken,
    server: JoinHandle<Result<(), http::server::ServeError>>,
    traces: Option<Arc<Traces>>,
}

impl Daemon {
    /// Opens the journal, takes over what was under way, and listens.
    pub async fn start(settings: Settings, clock: Arc<dyn Clock>, sdk: SdkConfig) -> anyhow::Result<Self> {
        let (store, outboxes, sharing) = store::open(&settings, &sdk, &clock).await?;
        Self::start_over(settings, clock, sdk, store, sharing, Some(outboxes)).await
    }

    /// The same over a `store` that is open.
    async fn start_over(
        settings: Settings,
        clock: Arc<dyn Clock>,
        sdk: SdkConfig,
        store: Arc<dyn JournalStore>,
        sharing: Option<Sharing>,
        outboxes: Option<Arc<dyn Outboxes>>,
    ) -> anyhow::Result<Self> {
        let applications: Vec<_> = settings.applications.iter().cloned().map(Arc::new).collect();
        let prometheus = Arc::new(Metrics::new(&applications).context("register the metrics")?);
        let holder = holder();
        let traces = traces::begin(&settings, &applications, &holder, &clock, prometheus.traces_dropped())?;
        let observer = traces::beside(prometheus.clone(), traces.as_ref());
        let copier = offline::copy::Copier::beside(&settings, &store, &clock);
        #[cfg(debug_assertions)]
        let store = failpoint::from_environment(store)?;
        let options = options(&settings.aws);
        let signer = signer(&settings.evidence).context("read the key of [evidence]")?;
        let listener = TcpListener::bind(settings.server.listen)
            .await
            .with_context(|| format!("listen on {}", settings.server.listen))?;
        let address = listener.local_addr()?;
        let access = access::access(&settings, &clock)?;
        access.permits(address)?;
        let tls = access::tls(&settings)?;
        let heartbeats = heartbeats(&settings, &clock);
        let preflight = Some(lifetimes::preflight(&settings, &sdk, &clock));
        let cloud: Arc<dyn Cloud> = Arc::new(AwsCloud::new(sdk, Arc::clone(&clock), Arc::clone(&observer), options));
        let post = post::open(&settings, outboxes, &cloud, &clock, &observer)?;
        let vantages = Arc::new(Vantages::asking(settings.vantage.name, settings.vantage.control_points));
        let probes: Arc<dyn Probes> =
            Arc::new(NetProbes::new(Arc::clone(&clock), settings.egress.clone()).context("set up the probes")?);
        let outpost = settings.vantage.report_to.as_ref().map(|to| {
            let (vantages, probes) = (Arc::clone(&vantages), Arc::clone(&probes));
            observe::beside(to, vantages, probes, Arc::clone(&clock), &environment())
        });
        let outpost = outpost.transpose()?;
        let is_shared = sharing.is_some();
        let parts = Parts {
            cloud,
            probes,
            databases: Arc::clone(&heartbeats) as Arc<dyn Databases>,
            heartbeats,
            store,
            applications: settings.applications,
            runbooks: settings.runbooks,
            config_digest: settings.digest,
            clock: Arc::clone(&clock),
            observer,
            vantages,
            holder: holder.clone(),
            draw_id: Arc::new(|| uuid::Uuid::now_v7().as_u128()),
            sharing,
            post,
            preflight,
        };
        let engine = Engine::start(parts).await;
        if let Some(outpost) = outpost {
            engine.beside("observer", |stopping| Outpost { stopping, ..outpost }.observe_beside());
        }
        if let Some(copier) = copier {
            engine.beside("copy", |stopping| copier.keep(stopping));
        }
        let kept = keep(settings.evidence, &engine, signer.as_ref(), &clock, &prometheus)?;
        let stopping = CancellationToken::new();
        let render = Arc::new(move || prometheus.render(logs::lines_dropped()));
        let mut api = Api::new(Arc::new(engine.clone()), access, render, stopping.clone());
        api.tls = tls;
        api.take_connections(connections_max());
        api.signer = signer;
        api.kept = kept;
        if is_shared {
            api.forwarder = Some(Forwarder::new(&holder).context("set up handing requests on")?);
        }
        let server = tokio::spawn(http::server::serve(listener, api));
        Ok(Self { address, engine, stopping, server, traces })
    }

    /// Starts no new effect, lets bounded calls end, closes the API. What is under way goes on after the next start.
    pub async fn stop(self) {
        self.engine.stop(STOP_PATIENCE).await;
        self.stopping.cancel();
        if let Ok(Err(error)) = self.server.await {
            tracing::error!(%error, "the API ended with an error");
        }
        if let Some(traces) = self.traces {
            traces.flush().await;
        }
    }
}

/// Those of every store that has one.
fn heartbeats(settings: &Settings, clock: &Arc<dyn Clock>) -> Arc<PostgresHeartbeats> {
    let stores = settings.applications.iter().flat_map(|a| a.stores.values());
    let configured = stores.filter_map(|s| s.heartbeat.as_ref());
    Arc::new(PostgresHeartbeats::new(Arc::clone(clock), configured, &environment()))
}

/// How many connections the API may have at once. Raises what this process may open as far as it is allowed to.
fn connections_max() -> usize {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
        if let Err(error) = raised {
            tracing::warn!(%error, "the limit of open files could not be raised");
        }
    }
    // No limit is as good as a high one.
    let descriptors = rustix::process::getrlimit(Resource::Nofile)
        .current
        .map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    let most = http::server::CONNECTIONS_MAX.min(descriptors / API_DESCRIPTORS);
    if most < CONNECTIONS_FEW {
        tracing::warn!(descriptors, connections = most, "few files may be open: the API takes few connections");
    }
    most
}

/// Begins to keep evidence, where a directory is configured; says which runs are kept.
fn keep(
    evidence: config::Evidence,
    engine: &Engine,
    signer: Option<&Signer>,
    clock: &Arc<dyn Clock>,
    metrics: &Metrics,
) -> anyhow::Result<Option<Kept>> {
    let Some(dir) = evidence.keep else { return Ok(None) };
    let (failures, unkept) = metrics.evidence().context("register the metrics of evidence")?;
    let kept = KeptRuns::default();
    let (control, signer, clock) = (Arc::new(engine.clone()), signer.cloned(), Arc::clone(clock));
    let keeper = Keeper { control, dir, signer, clock, kept: kept.clone(), failures, unkept };
    engine.beside("evidence", |stopping| keeper.keep_apart(stopping));
    Ok(Some(Arc::new(move |run| kept.has(run))))
}

/// What signs evidence, where a key is configured.
fn signer(evidence: &config::Evidence) -> anyhow::Result<Option<Signer>> {
    let Some(reference) = &evidence.key else { return Ok(None) };
    let key = Key::open(reference, &environment())?;
    let public = key.public();
    tracing::info!(key = public, "evidence is signed");
    let sign = move |statement: &str| Signature { key: public.clone(), signature: key.sign(statement) };
    Ok(Some(Arc::new(sign)))
}

/// Where passwords may be: [`PostgresHeartbeats`] keeps what the configuration refers to, and nothing else.
#[expect(clippy::disallowed_methods, reason = "an edge where the environment is read, once")]
fn environment() -> BTreeMap<String, String> {
    std::env::vars().collect()
}

fn options(aws: &Aws) -> aws::Options {
    aws::Options { call_timeout: aws.call_timeout, attempt_timeout: aws.attempt_timeout, ..aws::Options::default() }
}

/// No two lives of a process have one name.
fn holder() -> String {
    format!("{}:{}:{:08x}", hostname(), std::process::id(), uuid::Uuid::now_v7().as_u128() & 0xffff_ffff)
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Whether the environment sets endpoints, and only those that the configuration names. None set is no permission: a
/// profile may still redirect calls, and nothing in the configuration can name that.
fn all_named(set: &[String], named: &[String]) -> bool {
    !set.is_empty() && set.iter().all(|name| named.contains(name))
}

/// `failoverd serve`: until SIGTERM or Ctrl-C (0), or until the journal store fails (1: start again and it goes on).
pub async fn serve(settings: Settings) -> anyhow::Result<ExitCode> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let sdk = store::sdk(&settings, &clock).await?;
    let daemon = Daemon::start(settings, clock, sdk).await?;
    tracing::info!(address = %daemon.address, "listening");
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let engine = daemon.engine.clone();
    let code = tokio::select! {
        _ = terminate.recv() => ExitCode::SUCCESS,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            ExitCode::SUCCESS
        }
        reason = engine.failed() => {
            tracing::error!(reason, "the process must end: start it again, and it goes on from the journal");
            ExitCode::FAILURE
        }
    };
    tracing::info!("stopping: no new effect is started");
    daemon.stop().await;
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_without_endpoints_permits_none_from_elsewhere() {
        let names = |of: &[&str]| of.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        assert!(!all_named(&[], &names(&["AWS_ENDPOINT_URL"])));
        assert!(all_named(&names(&["AWS_ENDPOINT_URL"]), &names(&["AWS_ENDPOINT_URL"])));
        let two = names(&["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SNS"]);
        assert!(!all_named(&two, &names(&["AWS_ENDPOINT_URL"])));
    }
}
