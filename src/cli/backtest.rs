//! `failoverd backtest`: when the policy of a configuration would have recommended, and when it would have acted, over
//! metrics of the past. It asks AWS nothing and no daemon.

mod read;
mod words;

use std::{
    collections::BTreeMap,
    io::BufReader,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::{EXIT_DONE, EXIT_USAGE, print};
use crate::{
    adapters::probes::files,
    config::{Settings, cross},
    domain::{
        application::Application,
        backtest::{Backtest, Replay},
        id::ApplicationName,
        plan::{Plan, Purpose},
    },
};

/// Read so many bytes at once.
const BUFFER_BYTES: usize = 1 << 20;

/// Options of `failoverd backtest`.
#[derive(Debug, Clone, Args)]
pub struct BacktestArgs {
    /// The configuration whose policy is tried
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// What was measured: CSV (at,application,signal,vantage,value) or JSON lines, sorted by time
    #[arg(long, value_name = "FILE")]
    pub metrics: PathBuf,
    /// Only this application
    #[arg(long, value_name = "NAME")]
    pub app: Option<String>,
    /// As if a failover from the preferred Region were armed for at most so much loss of writes; `none` arms nothing
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = armed_loss)]
    pub assume_armed_loss: ArmedLoss,
}

/// The largest loss that is assumed to be armed; `None`: nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArmedLoss(pub Option<Duration>);

/// More is no objective any more.
const ARMED_LOSS_MAX: Duration = Duration::from_hours(24);

fn armed_loss(text: &str) -> Result<ArmedLoss, String> {
    if text == "none" {
        return Ok(ArmedLoss(None));
    }
    let parsed = text.parse::<jiff::SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok());
    let loss = parsed.ok_or("expected a duration such as 60s, or none")?;
    if ARMED_LOSS_MAX < loss { Err("expected at most 24h".to_owned()) } else { Ok(ArmedLoss(Some(loss))) }
}

/// Replays, and prints what came of it; the exit code is 2 where the configuration or the metrics cannot be read.
pub fn run(args: &BacktestArgs, json: bool, env: &BTreeMap<String, String>) -> anyhow::Result<ExitCode> {
    let settings = match Settings::load(&args.config, env) {
        Ok(settings) => settings,
        Err(faults) => return Ok(refused(json, &faults.to_string(), faults.to_json())),
    };
    let only = match &args.app {
        None => None,
        Some(name) => match settings.applications.iter().find(|a| a.name.as_str() == name) {
            Some(application) => Some(&application.name),
            None => {
                let known: Vec<&str> = settings.applications.iter().map(|a| a.name.as_str()).collect();
                let problem = format!("--app: there is no application `{name}`: {}\n", known.join(", "));
                return Ok(refused(json, &problem, json!({ "problem": problem.trim() })));
            }
        },
    };
    let file = files::open(&args.metrics).map_err(|why| anyhow::anyhow!("open {}: {why}", args.metrics.display()))?;
    let from = BufReader::with_capacity(BUFFER_BYTES, file);
    match replay(from, &settings, only, args.assume_armed_loss)
        .with_context(|| format!("read {}", args.metrics.display()))?
    {
        Err(faults) => Ok(refused(json, &words::faults(&args.metrics, &faults), words::faults_json(&faults))),
        Ok(tests) => {
            let text =
                if json { json!({ "applications": tests }).to_string() + "\n" } else { text(&args.metrics, &tests) };
            print(&text);
            Ok(ExitCode::from(EXIT_DONE))
        }
    }
}

fn refused(json: bool, text: &str, data: serde_json::Value) -> ExitCode {
    if json {
        print(&format!("{data}\n"));
    } else {
        use std::io::Write as _;
        // Nothing can be done about a standard error that is gone.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
    ExitCode::from(EXIT_USAGE)
}

fn text(file: &Path, tests: &[Backtest]) -> String {
    if tests.is_empty() {
        return format!("{}: no row is of an application that was asked for\n", file.display());
    }
    tests.iter().map(words::backtest).collect::<Vec<_>>().join("\n")
}

/// Replays every row of `from`, per application.
fn replay(
    from: impl std::io::BufRead,
    settings: &Settings,
    only: Option<&ApplicationName>,
    armed: ArmedLoss,
) -> std::io::Result<Result<Vec<Backtest>, read::Faults>> {
    let names = read::Names::new(&settings.applications, only);
    let mut replays: BTreeMap<ApplicationName, Replay> = BTreeMap::new();
    let faults = read::read(from, &names, |name, row| {
        if !replays.contains_key(name) {
            let Some(application) = settings.applications.iter().find(|a| a.name == *name) else { return };
            let plan = failover(application, settings);
            let replay = Replay::new(application.clone(), plan, armed.0, row.at);
            let replay = replay.unwrap_or_else(|e| unreachable!("an arming of the configuration is legal: {e}"));
            replays.insert(name.clone(), replay);
        }
        if let Some(replay) = replays.get_mut(name) {
            replay.take(row);
        }
    })?;
    if faults.count > 0 {
        return Ok(Err(faults));
    }
    Ok(Ok(replays.into_values().map(Replay::end).collect()))
}

/// What a failover from the preferred Region would do, for the forecast.
fn failover(application: &Application, settings: &Settings) -> Option<Plan> {
    let preferred = application.regions.first()?;
    let plans = cross::plans(application, &settings.runbooks, &settings.digest);
    let mut plans = plans.into_iter().filter_map(|(.., plan)| plan.ok());
    plans.find(|p| p.purpose == Purpose::Failover && p.source == *preferred)
}

#[cfg(test)]
mod tests;
