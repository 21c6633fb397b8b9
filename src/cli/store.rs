//! `failoverd store create|check|adopt --config F`: the table that several replicas share, made, looked at, and taken over
//! after it was restored from a backup (docs/store.md). It asks DynamoDB, and no daemon.

use std::{collections::BTreeMap, fmt::Write as _, io::Write as _, path::PathBuf, process::ExitCode, sync::Arc};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{EXIT_DONE, EXIT_FAILED, EXIT_USAGE, print, print_line};
use crate::{
    adapters::{
        clock::SystemClock,
        store::dynamodb::{Copies, Options, Verified},
    },
    app::store::{Deed, Done, act, sdk, shared},
    config::Settings,
    domain::id::Region,
    ports::Clock,
};

/// Verbs of the store.
#[derive(Debug, Clone, Subcommand)]
pub enum StoreCommand {
    /// Make the table, where it is not there, and wait until it can be used
    Create(CreateArgs),
    /// Look at the table as the daemon would at its start; writes nothing
    Check(StoreArgs),
    /// Take a table over that was restored from a backup; stop every replica first
    Adopt(StoreArgs),
}

/// What `create` takes.
#[derive(Debug, Clone, Args)]
pub struct CreateArgs {
    #[command(flatten)]
    pub of: StoreArgs,
    /// Another Region that gets a strongly consistent copy: two of them, or one and a witness; waits until they are there
    #[arg(long, value_name = "REGION")]
    pub replica: Vec<Region>,
    /// A Region that decides with the two others and stores nothing
    #[arg(long, value_name = "REGION")]
    pub witness: Option<Region>,
}

/// What each of them takes.
#[derive(Debug, Clone, Args)]
pub struct StoreArgs {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// Does it, and prints what came of it.
pub async fn run(command: StoreCommand, json: bool, env: &BTreeMap<String, String>) -> anyhow::Result<ExitCode> {
    let (args, named) = match &command {
        StoreCommand::Create(args) => (&args.of, (args.replica.clone(), args.witness.clone())),
        StoreCommand::Check(args) | StoreCommand::Adopt(args) => (args, (Vec::new(), None)),
    };
    let usage = |text: &str| {
        // Nothing can be done about a standard error that is gone.
        let _ = writeln!(std::io::stderr(), "{text}");
        Ok(ExitCode::from(EXIT_USAGE))
    };
    let settings = match Settings::load(&args.config, env) {
        Ok(settings) => settings,
        Err(faults) => return usage(&faults.to_string()),
    };
    let Some(options) = shared(&settings) else {
        return usage("store.kind is sqlite: the daemon makes and checks that file itself when it starts");
    };
    let deed = match (&command, Copies::new(&options.region, named.0, named.1)) {
        (_, Err(fault)) => return usage(&fault),
        (StoreCommand::Create(_), Ok(copies)) => Deed::Create(copies),
        (StoreCommand::Check(_), _) => Deed::Check,
        (StoreCommand::Adopt(_), _) => Deed::Adopt,
    };
    // Beside what is printed in the end, so that JSON stays one value.
    let tell = |how_far: &str| {
        let _ = writeln!(std::io::stderr(), "table {}: {how_far}", options.table);
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let sdk = sdk(&settings, &clock).await?;
    match act(&sdk, clock, &options, deed, &tell).await {
        Ok(done) => {
            if json {
                print_line(&json!(done).to_string());
            } else {
                print(&text(&done, &options));
            }
            Ok(ExitCode::from(EXIT_DONE))
        }
        Err(error) if json => {
            let code = error.code();
            print_line(&json!({ "code": code, "problem": error.to_string() }).to_string());
            Ok(ExitCode::from(EXIT_FAILED))
        }
        Err(error) => Err(error.into()),
    }
}

fn text(done: &Done, options: &Options) -> String {
    let place = format!("table {} in {}", options.table, options.region);
    match done {
        Done::Created(created) => {
            let made = if created.made { "made" } else { "was there already, and was left as it is" };
            let mut out = format!("{place}: {made}\n");
            out.push_str(&seen(&created.verified));
            if created.made && created.verified.table_regions.len() == 1 {
                let _ = writeln!(
                    out,
                    "It is in one Region. For strong consistency over three, do this before the first start, while it is \
                     empty (docs/store.md):\n  failoverd store create --config F --replica REGION --replica REGION"
                );
            }
            out
        }
        Done::Checked(verified) => format!("{place}: a daemon would start over it\n{}", seen(verified)),
        Done::Adopted(adopted) => {
            let was = adopted.was.as_deref().unwrap_or("not marked");
            format!("{place}: taken over (its mark was {was})\n{}", seen(&adopted.verified))
        }
    }
}

fn seen(verified: &Verified) -> String {
    let told = |on: Option<bool>| match on {
        Some(true) => "on",
        Some(false) => "off",
        None => "unknown",
    };
    let regions: Vec<&str> = verified.table_regions.iter().map(String::as_str).collect();
    let mut out = format!(
        "  copies: {}\n  deletion protection: {}\n  point-in-time recovery: {}\n",
        regions.join(", "),
        told(verified.deletion_protection),
        told(verified.point_in_time_recovery)
    );
    for warning in &verified.warnings {
        let _ = writeln!(out, "  warning: {warning}");
    }
    out
}
