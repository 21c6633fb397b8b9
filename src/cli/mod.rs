//! The command line: parse, call, print.
//!
//! The client verbs speak HTTP only, as any other client would; what runs in this process (`serve`, `observe`, `demo`,
//! `check`, `simulate`, `token new`, `sim serve`) is parsed here and done by the composition root. Exit codes: 0 done, 1 failed, 2 usage,
//! 3 refused by a gate, 4 held for a person.

pub mod api;
pub mod backtest;
pub mod check;
pub mod demo;
pub mod drill;
pub mod evidence;
pub mod man;
mod named;
pub mod notifications;
pub mod observe;
pub mod offline;
pub mod overrides;
pub mod patch;
pub mod permissions;
pub mod plan;
pub mod preflight;
pub mod render;
pub mod report;
pub mod salvage;
mod signatures;
pub mod sim;
pub mod simulate;
pub mod store;
pub mod token;
pub mod watch;
pub mod why;

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory, Parser, Subcommand};
use serde_json::{Value, json};

use self::api::{Api, Failure};
use crate::http::{
    condition::{ApplicationView, ApplicationsView},
    decision::DecisionView,
    openapi,
    plan::PlanView,
    view::{RunView, RunsView, StartedView},
};

/// Done.
pub const EXIT_DONE: u8 = 0;
/// Tried, and failed.
pub const EXIT_FAILED: u8 = 1;
/// Asked for wrongly; nothing was done.
pub const EXIT_USAGE: u8 = 2;
/// A gate refuses.
pub const EXIT_REFUSED: u8 = 3;
/// A person must act.
pub const EXIT_HELD: u8 = 4;

/// Moves an application from a failing AWS Region to a healthy one.
#[derive(Debug, Parser)]
#[command(name = "failoverd", version, max_term_width = 80)]
pub struct Cli {
    #[command(flatten)]
    pub options: Options,
    #[command(subcommand)]
    pub command: Command,
}

/// What every verb takes.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Where the daemon answers
    #[arg(long, global = true, env = "FAILOVERD_URL", default_value = "http://127.0.0.1:8080")]
    pub url: String,
    #[command(flatten)]
    pub credentials: token::Credentials,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Without a daemon and its table, with this machine's credentials: `failover` alone (docs/offline.md)
    #[arg(long, global = true)]
    pub offline: bool,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon
    Serve {
        /// The configuration
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Show a disaster and its failover on a simulated AWS, from start to end
    Demo(demo::DemoArgs),
    /// Check the configuration and its runbooks
    Check(check::CheckArgs),
    /// The IAM policies that the configuration takes: to look, to switch over, and to lose data
    Permissions(permissions::PermissionsArgs),
    /// Rehearse disasters: your configuration and runbooks against seeded faults, in simulated Regions
    Simulate(simulate::SimulateArgs),
    /// Look from elsewhere, for daemons that ask more than one vantage
    Observe(observe::ObserveArgs),
    /// Replay metrics of the past: when the policy would have recommended, and acted
    Backtest(backtest::BacktestArgs),
    /// The table that several replicas share
    Store {
        #[command(subcommand)]
        command: store::StoreCommand,
    },
    /// Keys, branches, reconciliation: around a failover that was run with --offline
    Offline {
        #[command(subcommand)]
        command: offline::OfflineCommand,
    },
    /// Bearer tokens of the daemon's callers
    Token {
        #[command(subcommand)]
        command: token::TokenCommand,
    },
    /// What auditors are given of a run, and whether it is what it says
    Evidence {
        #[command(subcommand)]
        command: evidence::EvidenceCommand,
    },
    /// The simulated AWS
    Sim {
        #[command(subcommand)]
        command: sim::SimCommand,
    },
    /// Print the manual page, or write those of all verbs
    Man {
        /// Where to write them: failoverd.1, failoverd-status.1 and so on
        #[arg(long, value_name = "DIRECTORY")]
        dir: Option<PathBuf>,
    },
    #[command(flatten)]
    Client(ClientCommand),
}

/// What `failover` and `failback` share.
#[derive(Debug, Args)]
pub struct StartArgs {
    #[command(flatten)]
    pub application: named::Named,
    /// The Region to move to
    #[arg(long, alias = "to", value_name = "REGION")]
    pub target: Option<String>,
    #[command(flatten)]
    pub how: Asking,
}

/// What every verb that begins a run shares.
#[derive(Debug, Args)]
pub struct Asking {
    /// Why, for those who read it later
    #[arg(long)]
    pub reason: String,
    /// Show the plan; start nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Stay and watch the run
    #[arg(long)]
    pub watch: bool,
    /// The same key and request give the same run
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}

/// The verbs that ask a daemon, and two that need none.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// How the applications are
    Status {
        /// Only this one
        application: Option<String>,
    },
    /// Move an application to another Region
    Failover {
        #[command(flatten)]
        start: StartArgs,
        /// How; `auto` switches over where that is proved to be safe
        #[arg(long, value_enum, default_value = "auto")]
        mode: plan::ModeArg,
        /// How many seconds of acknowledged writes may be lost
        #[arg(long, value_name = "N")]
        accept_data_loss_seconds: Option<u32>,
        /// Another runbook than the application's own, such as detach-and-promote
        #[arg(long, value_name = "NAME")]
        runbook: Option<String>,
        #[command(flatten)]
        offline: offline::OfflineArgs,
    },
    /// Move an application back to its preferred Region
    Failback {
        #[command(flatten)]
        start: StartArgs,
    },
    /// Look at what a forced failover has left, for a second person to sign. Moves nothing
    Salvage(salvage::SalvageArgs),
    /// Drill an application: there and back, planned and lossless
    Drill(drill::DrillArgs),
    /// List the drills of the applications, when they are due, and how each went last
    Drills(drill::ListArgs),
    /// Show what a move would do: every call, what it would meet now, how long, who must approve. Starts nothing
    Plan(plan::PlanArgs),
    /// Whether applications could be moved now: a score, and what lowers it, the worst first
    Preflight(preflight::PreflightArgs),
    /// Show what infrastructure code must learn of a move: the next apply would undo it
    Patch(patch::PatchArgs),
    /// List runs, newest first
    Runs {
        #[arg(long, alias = "app")]
        application: Option<String>,
        /// running, held, paused, aborting, undoing, succeeded, failed, aborted, superseded
        #[arg(long)]
        state: Option<String>,
        #[arg(long, default_value_t = 20)]
        limit: usize,
        /// Go on after this
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Watch a run until it ends, is held or is paused; shows how to approve where it waits for that
    Watch {
        run: String,
        /// Keep watching while it is held
        #[arg(long)]
        follow: bool,
    },
    /// What a run has left to reconcile: what was lost, what there is to take it from, and what nobody knows
    Report { run: String },
    /// Approve or decline a step of a run's plan
    Approve {
        run: String,
        step: String,
        /// The plan's digest as it was shown to you
        #[arg(long)]
        digest: String,
        #[arg(long)]
        reason: String,
        /// Say no
        #[arg(long)]
        decline: bool,
    },
    /// End a run: what it has done is taken back, up to its point of no return
    Abort(StopArgs),
    /// Begin nothing new until resumed
    Pause(StopArgs),
    /// Go on after a hold or a pause
    Resume {
        run: String,
        #[arg(long)]
        reason: String,
        /// The plan's digest as it was shown to you
        #[arg(long)]
        digest: String,
    },
    /// Try one failed step again (or its failed undo)
    Retry(StepArgs),
    /// Pass over one failed step, or leave what could not be undone
    Skip(StepArgs),
    /// Why an application is judged as it is, and what would change that
    Why { application: String },
    #[command(flatten)]
    Override(overrides::OverrideCommand),
    #[command(flatten)]
    Notify(notifications::NotifyCommand),
    /// Print the description of the HTTP interface
    Openapi,
    /// Print completions for a shell
    Completions { shell: clap_complete::Shell },
}

/// What `abort` and `pause` share.
#[derive(Debug, Args)]
pub struct StopArgs {
    pub run: String,
    #[arg(long)]
    pub reason: String,
    /// The plan's digest as it was shown to you; checked if given
    #[arg(long)]
    pub digest: Option<String>,
}

/// What `retry` and `skip` share.
#[derive(Debug, Args)]
pub struct StepArgs {
    pub run: String,
    pub step: String,
    /// The plan's digest as it was shown to you
    #[arg(long)]
    pub digest: String,
    #[arg(long)]
    pub reason: String,
}

/// Does what a client verb says, and prints what came of it.
pub async fn client(options: &Options, command: ClientCommand) -> ExitCode {
    match perform(options, command).await {
        Ok(code) => ExitCode::from(code),
        Err(failure) => failed(options, &failure),
    }
}

/// Says what failed, to people or to a program.
fn failed(options: &Options, failure: &Failure) -> ExitCode {
    if options.json {
        print_line(&failure.to_json().to_string());
    } else {
        // Nothing can be done about a standard error that is gone.
        let _ = write!(std::io::stderr(), "{}", render::failure(failure));
    }
    ExitCode::from(failure.exit_code())
}

/// Prints to standard output; a reader that is gone (`| head`) is no failure.
pub fn print(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// The same with the line's end.
pub(crate) fn print_line(line: &str) {
    print(&format!("{line}\n"));
}

/// Prints a view: as JSON, or as `text` says it.
fn show<T: serde::Serialize>(options: &Options, view: &T, text: impl FnOnce(&T) -> String) {
    if options.json {
        let json = serde_json::to_string_pretty(view).unwrap_or_else(|e| unreachable!("views serialise: {e}"));
        print_line(&json);
    } else {
        print(&text(view));
    }
}

/// What needs no daemon; whether it was that.
fn is_printed(command: &ClientCommand) -> bool {
    match command {
        ClientCommand::Openapi => print(openapi::json()),
        ClientCommand::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "failoverd", &mut script);
            print(&String::from_utf8_lossy(&script));
        }
        _ => return false,
    }
    true
}

async fn perform(options: &Options, command: ClientCommand) -> Result<u8, Failure> {
    if is_printed(&command) {
        return Ok(EXIT_DONE);
    }
    let api = Api::new(options)?;
    match command {
        ClientCommand::Status { application: None } => {
            let view: ApplicationsView = api.get("/applications").await?;
            show(options, &view, signatures::status);
        }
        ClientCommand::Status { application: Some(name) } => {
            let view: ApplicationView = api.get(&format!("/applications/{}", enc(&name))).await?;
            show(options, &view, |v| render::status(std::slice::from_ref(v)));
        }
        ClientCommand::Why { application } => {
            let path = format!("/applications/{}/decision", enc(&application));
            let view: DecisionView = api.get(&path).await?;
            show(options, &view, why::why);
        }
        ClientCommand::Runs { application, state, limit, cursor } => {
            let path = runs_path(limit, [("application", application), ("state", state), ("cursor", cursor)]);
            let view: RunsView = api.get(&path).await?;
            show(options, &view, render::runs);
        }
        ClientCommand::Failover { start: args, mode, accept_data_loss_seconds, runbook, offline } => {
            if offline.is_given() {
                let why = "--config, --operator and the declarations are for `failoverd --offline failover`";
                return Err(Failure::Usage(why.to_owned()));
            }
            let body = plan::failover(mode, accept_data_loss_seconds, runbook);
            return start(options, &api, "/failover", body, args).await;
        }
        ClientCommand::Failback { start: args } => {
            return start(options, &api, "/failback", json!({}), args).await;
        }
        ClientCommand::Salvage(args) => return salvage::perform(options, &api, args).await,
        ClientCommand::Drill(args) => return drill::perform(options, &api, args).await,
        ClientCommand::Drills(args) => drill::list(options, &api, args).await?,
        ClientCommand::Plan(args) => plan::perform(options, &api, &args).await?,
        ClientCommand::Preflight(args) => return preflight::perform(options, &api, &args).await,
        ClientCommand::Patch(args) => patch::perform(options, &api, &args).await?,
        ClientCommand::Watch { run, follow } => {
            return watch::watch(options, &api, &run, follow).await;
        }
        ClientCommand::Report { run } => report::ask(options, &api, &run).await?,
        ClientCommand::Approve { run, step, digest, reason, decline } => {
            let decision = if decline { "decline" } else { "approve" };
            let body = json!({ "step": step, "decision": decision, "digest": digest, "reason": reason });
            act(options, &api, &run, "approvals", &body).await?;
        }
        ClientCommand::Abort(args) => stop(options, &api, "abort", args).await?,
        ClientCommand::Pause(args) => stop(options, &api, "pause", args).await?,
        ClientCommand::Resume { run, reason, digest } => {
            let body = json!({ "reason": reason, "digest": digest });
            act(options, &api, &run, "resume", &body).await?;
        }
        ClientCommand::Retry(args) => step(options, &api, "retry", args).await?,
        ClientCommand::Skip(args) => step(options, &api, "skip", args).await?,
        ClientCommand::Notify(command) => return notifications::perform(options, &api, command).await,
        ClientCommand::Override(command) => return overrides::perform(options, &api, command).await,
        ClientCommand::Openapi | ClientCommand::Completions { .. } => {}
    }
    Ok(EXIT_DONE)
}

fn runs_path(limit: usize, wanted: [(&str, Option<String>); 3]) -> String {
    let mut path = format!("/runs?limit={limit}");
    for (key, value) in wanted {
        if let Some(value) = value {
            path.push_str(&format!("&{key}={}", enc(&value)));
        }
    }
    path
}

async fn stop(options: &Options, api: &Api, verb: &str, args: StopArgs) -> Result<(), Failure> {
    let mut body = json!({ "reason": args.reason });
    if let Some(digest) = args.digest {
        body["digest"] = digest.into();
    }
    act(options, api, &args.run, verb, &body).await
}

async fn step(options: &Options, api: &Api, verb: &str, args: StepArgs) -> Result<(), Failure> {
    let body = json!({ "reason": args.reason, "digest": args.digest });
    act(options, api, &args.run, &format!("steps/{}/{verb}", enc(&args.step)), &body).await
}

async fn act(options: &Options, api: &Api, run: &str, verb: &str, body: &Value) -> Result<(), Failure> {
    let path = format!("/runs/{}/{verb}", enc(run));
    let view: RunView = api.post(&path, body, None).await?.json()?;
    show(options, &view, render::run);
    Ok(())
}

async fn start(options: &Options, api: &Api, path: &str, mut body: Value, args: StartArgs) -> Result<u8, Failure> {
    body["application"] = args.application.name().into();
    body["reason"] = args.how.reason.into();
    if let Some(target) = args.target {
        body["target_region"] = target.into();
    }
    if args.how.dry_run {
        body["dry_run"] = true.into();
    }
    let key = args.how.idempotency_key.as_deref();
    let answer = api.post(path, &body, key).await?;
    if args.how.dry_run {
        let view: PlanView = answer.json()?;
        show(options, &view, plan::plan);
        return Ok(EXIT_DONE);
    }
    let view: StartedView = answer.json()?;
    if args.how.watch && options.json {
        // One JSON value per line from here on.
        let line = serde_json::to_string(&view).unwrap_or_else(|e| unreachable!("views serialise: {e}"));
        print_line(&line);
    } else {
        show(options, &view, |v| render::started(v, args.how.watch));
        if !options.json {
            summary(api, &view.run).await;
        }
    }
    if args.how.watch {
        return watch::watch(options, api, &view.run, false).await;
    }
    Ok(EXIT_DONE)
}

/// What the run is about to do, in short. It runs already: where it cannot be read, nothing is said.
async fn summary(api: &Api, run: &str) {
    if let Ok(run) = api.get::<RunView>(&format!("/runs/{}", enc(run))).await {
        print(&plan::summary(&run));
    }
}

/// Percent-encodes one path segment or query value.
pub(crate) fn enc(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_segment_cannot_leave_its_place() {
        assert_eq!(enc("../a b?x=1"), "..%2Fa%20b%3Fx%3D1");
    }
}
