//! `failoverd --offline failover`, and `failoverd offline …`: what is done while the table of the journals is lost, and what
//! brings it back into the journal (docs/offline.md). They ask AWS and the table, and no daemon.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{BufRead as _, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{ClientCommand, EXIT_DONE, EXIT_REFUSED, EXIT_USAGE, Options, StartArgs, plan::ModeArg, print_line};
use crate::{
    adapters::clock::SystemClock,
    app::{
        offline::{
            Means, Refused, Waits, Wanted,
            import::{self, Word},
            keys, run,
        },
        store::sdk,
    },
    config::Settings,
    domain::{
        branch::{Imported, Reconciled},
        id::{ApplicationName, BranchId, Digest, Region, Subject},
    },
    ports::Clock,
};

/// What a failover offline takes beside the rest; each of it is a person's word.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "With --offline")]
pub struct OfflineArgs {
    /// The configuration of this machine
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Who does this
    #[arg(long, value_name = "NAME")]
    pub operator: Option<Subject>,
    /// That the table is lost, and how that is known
    #[arg(long, value_name = "WHY")]
    pub table_lost: Option<String>,
    /// That every other replica is stopped and stays so: who stopped them, how
    #[arg(long, value_name = "WHO, HOW")]
    pub replicas_stopped: Option<String>,
    /// Why to go on with an old copy of the journal, or with none
    #[arg(long, value_name = "WHY")]
    pub accept_stale_copy: Option<String>,
    /// The application's name once more; asked for at a terminal
    #[arg(long, value_name = "APPLICATION")]
    pub consent: Option<String>,
    /// A signature of `failoverd offline sign`; once for each person
    #[arg(long = "approval", value_name = "NAME:SIGNATURE")]
    pub approvals: Vec<String>,
}

impl OfflineArgs {
    /// Whether something was given that only `--offline` takes.
    pub fn is_given(&self) -> bool {
        self.config.is_some()
            || self.operator.is_some()
            || self.table_lost.is_some()
            || self.replicas_stopped.is_some()
            || self.accept_stale_copy.is_some()
            || self.consent.is_some()
            || !self.approvals.is_empty()
    }
}

/// Verbs of the offline mode.
#[derive(Debug, Clone, Subcommand)]
pub enum OfflineCommand {
    /// Make a key by which somebody approves where the identity provider is gone; print its public half
    Key {
        /// Where the private half goes; keep it to yourself
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Sign a plan of a branch: print NAME:SIGNATURE, for --approval
    Sign {
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// As the configuration names you
        #[arg(long)]
        name: Subject,
        #[arg(long)]
        application: ApplicationName,
        #[arg(long)]
        branch: BranchId,
        /// The plan's digest as it was shown to you
        #[arg(long)]
        digest: Digest,
    },
    /// Tell the journal of a branch, once; the application is held from then on
    Import {
        /// The branch
        file: PathBuf,
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Who does this
        #[arg(long, value_name = "NAME")]
        by: Subject,
    },
    /// Say where the application lives now, after a branch or a move by hand; two readings of the world must agree
    Reconcile {
        application: String,
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The branch; without, it was moved by hand
        #[arg(long)]
        branch: Option<BranchId>,
        /// The Region that is the truth now
        #[arg(long, value_name = "REGION")]
        primary: Region,
        #[arg(long)]
        reason: String,
        /// What became of the writes that the branch left in the Region that it left
        #[arg(long, value_name = "WHAT")]
        writes: Option<String>,
        /// Who says so
        #[arg(long, value_name = "NAME")]
        by: Subject,
    },
}

/// `--offline` before a verb: of them all, only `failover` can be done so.
pub async fn failover(
    options: &Options,
    command: ClientCommand,
    env: &BTreeMap<String, String>,
) -> anyhow::Result<ExitCode> {
    let ClientCommand::Failover { start, mode, accept_data_loss_seconds, runbook, offline } = command else {
        return Ok(usage("--offline is for `failover` alone: nothing else is done without the journal's table"));
    };
    let Some(config) = &offline.config else {
        return Ok(usage("--offline needs the configuration of this machine: --config FILE"));
    };
    if mode == ModeArg::Switchover {
        return Ok(usage("--offline is for a forced failover: a planned move waits for the table (--mode failover)"));
    }
    if start.how.idempotency_key.is_some() {
        return Ok(usage("--offline takes no --idempotency-key: the branch is the one request"));
    }
    let settings = match Settings::load(config, env) {
        Ok(settings) => settings,
        Err(faults) => return Ok(usage(&faults.to_string())),
    };
    let wanted = match wanted(start, accept_data_loss_seconds, runbook, offline) {
        Ok(wanted) => wanted,
        Err(why) => return Ok(usage(&why)),
    };
    let means = means(settings, &wanted.application, options.json).await?;
    ended(run::failover(&means, &wanted).await.map(ExitCode::from), options.json)
}

fn wanted(
    start: StartArgs,
    accept_data_loss_seconds: Option<u32>,
    runbook: Option<String>,
    offline: OfflineArgs,
) -> Result<Wanted, String> {
    let read = |e: crate::domain::id::InvalidName| e.to_string();
    let consent = match offline.consent {
        None if !start.how.dry_run => typed(start.application.name()),
        given => given,
    };
    Ok(Wanted {
        target: start.target.map(|region| region.parse()).transpose().map_err(read)?,
        runbook: runbook.map(|name| name.parse()).transpose().map_err(read)?,
        application: start.application.name().to_owned(),
        reason: start.how.reason,
        accept_data_loss: accept_data_loss_seconds.map(|seconds| Duration::from_secs(seconds.into())),
        dry_run: start.how.dry_run,
        operator: offline.operator,
        table_lost: offline.table_lost,
        replicas_stopped: offline.replicas_stopped,
        stale_copy: offline.accept_stale_copy,
        consent,
        approvals: offline.approvals,
    })
}

/// The consent, typed at a terminal; `None` where there is none.
fn typed(application: &str) -> Option<String> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return None;
    }
    let ask = format!(
        "This moves {application} without the journal's table: whatever another replica does meanwhile is not seen.\nType \
         the application's name to consent: "
    );
    // Nothing can be done about a standard error that is gone.
    let _ = std::io::stderr().write_all(ask.as_bytes());
    let mut line = String::new();
    stdin.lock().read_line(&mut line).ok()?;
    Some(line.trim().to_owned())
}

async fn means(settings: Settings, application: &str, json: bool) -> anyhow::Result<Means> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let sdk = sdk(&settings, &clock).await?;
    let app = settings.applications.iter().find(|app| app.name.as_str() == application);
    let waits = Waits::of(&settings, app);
    // Standard output is the run's.
    let tell = |line: &str| _ = writeln!(std::io::stderr(), "{line}");
    Ok(Means { waits, settings, table_sdk: sdk.clone(), sdk, clock, tell: Arc::new(tell), json })
}

fn usage(text: &str) -> ExitCode {
    // Nothing can be done about a standard error that is gone.
    let _ = writeln!(std::io::stderr(), "{text}");
    ExitCode::from(EXIT_USAGE)
}

/// What became of it, refusals printed.
fn ended(done: anyhow::Result<ExitCode>, json: bool) -> anyhow::Result<ExitCode> {
    let error = match done {
        Ok(code) => return Ok(code),
        Err(error) => error,
    };
    match error.downcast_ref::<Refused>() {
        Some(refused) if json => {
            print_line(&json!({ "code": refused.code, "reasons": refused.reasons }).to_string());
            Ok(ExitCode::from(EXIT_REFUSED))
        }
        Some(refused) => {
            let _ = write!(std::io::stderr(), "{refused}");
            Ok(ExitCode::from(EXIT_REFUSED))
        }
        None => Err(error),
    }
}

/// Does what a verb says.
pub async fn run(command: OfflineCommand, json: bool, env: &BTreeMap<String, String>) -> anyhow::Result<ExitCode> {
    match command {
        OfflineCommand::Key { out } => {
            let public = keys::make(&out)?;
            print_line(public.as_str());
            Ok(ExitCode::from(EXIT_DONE))
        }
        OfflineCommand::Sign { key, name, application, branch, digest } => {
            print_line(&keys::sign(&key, &name, &application, &branch, &digest)?.to_string());
            Ok(ExitCode::from(EXIT_DONE))
        }
        OfflineCommand::Import { file, config, by } => {
            let Some(means) = loaded(&config, "", json, env).await? else { return Ok(ExitCode::from(EXIT_USAGE)) };
            ended(import::import(&means, &file, &by).await.map(|imported| show(&imported, json, told)), json)
        }
        OfflineCommand::Reconcile { application, config, branch, primary, reason, writes, by } => {
            let Some(means) = loaded(&config, &application, json, env).await? else {
                return Ok(ExitCode::from(EXIT_USAGE));
            };
            let word = Word { application, branch, primary, by, reason, writes };
            ended(import::reconcile(&means, &word).await.map(|said| show(&said, json, said_text)), json)
        }
    }
}

async fn loaded(
    config: &Path,
    application: &str,
    json: bool,
    env: &BTreeMap<String, String>,
) -> anyhow::Result<Option<Means>> {
    match Settings::load(config, env) {
        Ok(settings) => Ok(Some(means(settings, application, json).await?)),
        Err(faults) => {
            let _code = usage(&faults.to_string());
            Ok(None)
        }
    }
}

fn show<T: serde::Serialize>(done: &T, json: bool, text: impl FnOnce(&T) -> String) -> ExitCode {
    match json {
        true => print_line(&json!(done).to_string()),
        false => super::print(&text(done)),
    }
    ExitCode::from(EXIT_DONE)
}

fn told(imported: &Imported) -> String {
    let began = &imported.began;
    let mut out = format!("branch {} of {}, begun by {}\n", began.id, imported.file, began.by);
    let _ = writeln!(out, "  the table: {}\n  the replicas: {}", began.table_lost, began.replicas_stopped);
    let _ = writeln!(
        out,
        "  {} records after record {} of the journal, digest {}",
        imported.records, began.parent.records, imported.digest
    );
    if 0 < imported.came_after {
        let _ = writeln!(
            out,
            "  the journal has {} records after that, of which the branch knew nothing",
            imported.came_after
        );
    }
    for run in &imported.runs {
        let result =
            run.result.map_or_else(|| "not over".to_owned(), |r| json!(r).as_str().unwrap_or_default().to_owned());
        let _ =
            writeln!(out, "  {} {}: {} -> {}, {result}: {}", run.purpose, run.run, run.source, run.target, run.reason);
        if run.left_writes {
            let _ = writeln!(out, "    it may have left writes in {}", run.source);
        }
    }
    let lives = imported.primary.as_ref().map_or("unknown", |region| region.as_str());
    let _ = writeln!(out, "  the branch says that the application lives in: {lives}");
    let _ = writeln!(
        out,
        "The application is held until somebody says where it lives:\n  failoverd offline reconcile APP --branch {} --primary \
         REGION --reason WHY --config F --by NAME",
        began.id
    );
    out
}

fn said_text(said: &Reconciled) -> String {
    let mut out = format!("it lives in {}, says {}\n", said.primary, said.by);
    for line in &said.evidence {
        let _ = writeln!(out, "  {line}");
    }
    out.push_str("The replicas lead it again.\n");
    out
}
