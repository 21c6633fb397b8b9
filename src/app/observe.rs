//! An observer elsewhere, put together from the network's probes, the machine's clock and an HTTP client per daemon: by
//! itself (`failoverd observe`), or beside a daemon that reports to others (`[vantage] report_to`).

use std::{collections::BTreeMap, path::Path, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::{
    adapters::{
        clock::SystemClock,
        probes::{NetProbes, files},
    },
    cli::{
        Options,
        api::{Api, Failure},
        observe::ObserveArgs,
        token::Credentials,
    },
    domain::{
        egress::Egress,
        id::VantageName,
        report::{Assignment, Report},
        seconds::to_seconds,
        secret::SecretRef,
        vantage::{ControlPoints, DaemonUrl, ReportTo},
    },
    engine::{outpost::Outpost, vantages::Vantages},
    http::observations::{
        AssignmentView, AssignmentsView, ObservationsRequest, ObservationsView, ReadingRequest, SampleRequest,
    },
    ports::{
        Clock, Daemon, Probes,
        daemons::{Answered, DaemonError, Orders},
    },
};

/// How long a daemon may take to answer. Short: the next report says more than this one.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// The longest token.
const TOKEN_BYTES_MAX: u64 = 4096;

/// A daemon over HTTP.
#[derive(Debug)]
struct HttpDaemon {
    url: String,
    api: Api,
    vantage: VantageName,
    clock: Arc<dyn Clock>,
}

impl HttpDaemon {
    /// `work`, for as long as a daemon may take.
    async fn within<T>(&self, work: impl Future<Output = Result<T, Failure>> + Send) -> Result<T, DaemonError> {
        let answered = tokio::select! {
            biased;
            answered = work => answered,
            () = self.clock.sleep(ANSWER_TIMEOUT) => {
                let why = format!("no answer within {} s", ANSWER_TIMEOUT.as_secs());
                return Err(DaemonError::Failed(why));
            }
        };
        answered.map_err(|failure| match failure.code() {
            Some("stamp-unknown") => DaemonError::Restarted,
            _ => DaemonError::Failed(failure.to_string()),
        })
    }
}

#[async_trait]
impl Daemon for HttpDaemon {
    fn name(&self) -> &str {
        &self.url
    }

    async fn assignments(&self) -> Result<Orders, DaemonError> {
        let view: AssignmentsView = self.within(self.api.get("/observations/assignments")).await?;
        if view.vantage != self.vantage.as_str() {
            let why = format!("the token is that of the vantage `{}`, not of `{}`", view.vantage, self.vantage);
            return Err(DaemonError::Failed(why));
        }
        let read: Result<Vec<Assignment>, String> = view.assignments.iter().map(assignment).collect();
        Ok(Orders { stamp: view.stamp, assignments: read.map_err(DaemonError::Failed)? })
    }

    async fn report(&self, stamp: &str, stamp_age: Duration, report: &Report) -> Result<Answered, DaemonError> {
        let samples = report.samples.iter().map(|sample| SampleRequest {
            application: sample.application.to_string(),
            signal: sample.signal.to_string(),
            age_seconds: to_seconds(sample.age),
            reading: if sample.healthy { ReadingRequest::Healthy } else { ReadingRequest::Unhealthy },
            detail: sample.detail.clone(),
        });
        let request = ObservationsRequest {
            observer: report.process.clone(),
            sequence: report.sequence,
            stamp: stamp.to_owned(),
            // Rounded down: too little makes the report older, never younger.
            stamp_age_seconds: stamp_age.as_millis() as f64 / 1000.0,
            abstains: report.abstains.clone(),
            samples: samples.collect(),
        };
        let body = serde_json::to_value(&request).map_err(|e| DaemonError::Failed(e.to_string()))?;
        let sent = async { self.api.post("/observations", &body, None).await?.json::<ObservationsView>() };
        let view = self.within(sent).await?;
        let refused = view.refused.into_iter().map(|r| format!("{}/{}: {}", r.application, r.signal, r.why));
        Ok(Answered { stamp: view.stamp, refused: refused.collect() })
    }
}

fn assignment(view: &AssignmentView) -> Result<Assignment, String> {
    let seconds = |seconds: f64| {
        let read = Duration::try_from_secs_f64(seconds).ok().filter(|d| !d.is_zero());
        read.ok_or_else(|| format!("the daemon asks for a probe each {seconds} s"))
    };
    Ok(Assignment {
        application: view.application.parse().map_err(|e| format!("{e}"))?,
        signal: view.signal.parse().map_err(|e| format!("{e}"))?,
        target: view.url.parse().map_err(|e| format!("`{}`: {e}", view.url))?,
        timeout: seconds(view.timeout_seconds)?,
        period: seconds(view.period_seconds)?,
    })
}

/// The daemons at `urls`, as the observer `vantage` with the bearer token `token` speaks to them.
fn daemons(
    urls: &[DaemonUrl],
    vantage: &VantageName,
    token: &str,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Vec<Arc<dyn Daemon>>> {
    let mut daemons: Vec<Arc<dyn Daemon>> = Vec::new();
    for url in urls {
        let url = url.to_string();
        let api = Api::new(&Options {
            url: url.clone(),
            credentials: Credentials::bearer(Some(token.to_owned())),
            json: false,
            offline: false,
        })?;
        daemons.push(Arc::new(HttpDaemon { url, api, vantage: vantage.clone(), clock: Arc::clone(clock) }));
    }
    Ok(daemons)
}

/// A bearer token of `bytes`; `from` is where they were found.
fn token(from: &str, bytes: Vec<u8>) -> anyhow::Result<String> {
    let text = String::from_utf8(bytes).map_err(|_| anyhow::anyhow!("{from} is no text"))?;
    match text.trim() {
        "" => bail!("{from} is empty: expected the bearer token of an observer"),
        token => Ok(token.to_owned()),
    }
}

/// What a daemon's `[vantage] report_to` says: an observer beside it, of the same vantages and probes.
///
/// # Errors
/// That the token is not where the configuration says.
pub fn beside(
    to: &ReportTo,
    vantages: Arc<Vantages>,
    probes: Arc<dyn Probes>,
    clock: Arc<dyn Clock>,
    environment: &BTreeMap<String, String>,
) -> anyhow::Result<Outpost> {
    let bytes = match &to.token {
        SecretRef::Env(name) => match environment.get(name) {
            Some(value) => value.clone().into_bytes(),
            None => bail!("vantage.report_token: the environment variable {name} is not set"),
        },
        SecretRef::File(path) => files::read(Path::new(path), TOKEN_BYTES_MAX)
            .map_err(|why| anyhow::anyhow!("vantage.report_token: {path}: {why}"))?,
    };
    let token = token(&format!("vantage.report_token: {}", to.token), bytes)?;
    let daemons = daemons(&to.daemons, vantages.own(), &token, &clock)?;
    Ok(outpost(vantages, probes, clock, daemons))
}

fn outpost(
    vantages: Arc<Vantages>,
    probes: Arc<dyn Probes>,
    clock: Arc<dyn Clock>,
    daemons: Vec<Arc<dyn Daemon>>,
) -> Outpost {
    Outpost {
        vantages,
        clock,
        probes,
        daemons,
        process: uuid::Uuid::now_v7().to_string(),
        jitter: Arc::new(|| f64::from(uuid::Uuid::now_v7().as_fields().3[7]) / 255.0),
        stopping: CancellationToken::new(),
    }
}

/// Observes until SIGTERM or Ctrl-C.
pub async fn observe(args: ObserveArgs) -> anyhow::Result<ExitCode> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let from = args.token_file.display().to_string();
    let bytes = files::read(&args.token_file, TOKEN_BYTES_MAX)
        .map_err(|why| anyhow::anyhow!("read the token of {from}: {why}"))?;
    let daemons = daemons(&args.report_to, &args.name, &token(&from, bytes)?, &clock)?;
    let points = ControlPoints {
        needed: args.control_points_needed.unwrap_or(ControlPoints::more_than_half(args.control_points.len())),
        period: Duration::from_secs(args.control_period_seconds),
        ..ControlPoints::of(args.control_points)
    };
    if points.needed == 0 || points.points.len() < points.needed {
        bail!("--control-points-needed: expected 1 to {}, got {}", points.points.len(), points.needed);
    }
    let vantages = Arc::new(Vantages::asking(args.name.clone(), points));
    let egress = Egress { loopback: args.allow_loopback, allow: args.allow_private };
    let probes = Arc::new(NetProbes::new(Arc::clone(&clock), egress).context("set up the probes")?);
    let outpost = outpost(vantages, probes, clock, daemons);
    let stopping = outpost.stopping.clone();
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tracing::info!(vantage = %args.name, daemons = args.report_to.len(), "observing");
    let observing = tokio::spawn(outpost.observe());
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        () = stopping.cancelled() => {}
    }
    tracing::info!("stopping");
    stopping.cancel();
    observing.await.context("the observer ended with a fault of its own")?;
    Ok(ExitCode::SUCCESS)
}
