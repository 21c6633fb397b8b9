//! `failoverd evidence`: fetch a run's evidence from a daemon, prove a file that is at hand, make the key that signs.

use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    EXIT_DONE, EXIT_FAILED, EXIT_USAGE, Options,
    api::{Api, Failure},
    enc, print, print_line, render, show,
};
use crate::{
    app::keys::{self, Key},
    domain::{
        evidence::{FILE_BYTES_MAX, Fault, Proven, Summary, verify},
        id::Digest,
        run::RunResult,
    },
    http::evidence::list::EvidenceListView,
};

/// Verbs of evidence.
#[derive(Debug, Clone, Subcommand)]
pub enum EvidenceCommand {
    /// List the evidence of runs that are over, the newest end first
    List(ListArgs),
    /// Fetch a run's evidence from the daemon
    Get(GetArgs),
    /// Prove a file: whole, unchanged, and its summary what its records amount to. Needs no daemon
    Verify(VerifyArgs),
    /// Make the key that signs evidence; prints the public one, by which it is verified
    Key {
        /// Where to write the private key; must not be there
        file: PathBuf,
    },
}

/// What is listed.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Only of runs of this application
    #[arg(long = "app", value_name = "APP")]
    pub application: Option<String>,
    /// failover, switchover, failback, drill, salvage
    #[arg(long)]
    pub purpose: Option<String>,
    /// Only of runs that ended then or later: 2026-10-01T00:00:00Z
    #[arg(long)]
    pub since: Option<String>,
    /// At most so many, 1 to 50
    #[arg(long, default_value_t = 20)]
    pub limit: usize,
    /// Go on after this
    #[arg(long)]
    pub cursor: Option<String>,
}

/// What is fetched.
#[derive(Debug, Clone, Args)]
pub struct GetArgs {
    /// The run
    pub run: String,
    /// A page for people, which opens without a network
    #[arg(long)]
    pub html: bool,
    /// Where to write it; standard output without
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// What is proven.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// The file of JSON lines
    pub file: PathBuf,
    /// It must be signed by this key: `ed25519:…`
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
}

/// Does it.
pub async fn run(command: EvidenceCommand, options: &Options) -> anyhow::Result<ExitCode> {
    match command {
        EvidenceCommand::List(args) => Ok(match list(options, args).await {
            Ok(()) => ExitCode::from(EXIT_DONE),
            Err(failure) => super::failed(options, &failure),
        }),
        EvidenceCommand::Get(args) => Ok(match get(options, &args).await {
            Ok(()) => ExitCode::from(EXIT_DONE),
            Err(failure) => super::failed(options, &failure),
        }),
        EvidenceCommand::Verify(args) => prove(&args, options.json),
        EvidenceCommand::Key { file } => {
            let key = Key::make(&file)?.public();
            if options.json {
                print_line(&json!({ "key": key }).to_string());
            } else {
                print(&format!("{key}\n"));
            }
            Ok(ExitCode::from(EXIT_DONE))
        }
    }
}

async fn list(options: &Options, args: ListArgs) -> Result<(), Failure> {
    let mut query = format!("limit={}", args.limit);
    let filters =
        [("application", args.application), ("purpose", args.purpose), ("since", args.since), ("cursor", args.cursor)];
    for (key, value) in filters.into_iter().filter_map(|(key, value)| Some((key, value?))) {
        query.push_str(&format!("&{key}={}", enc(&value)));
    }
    let view: EvidenceListView = Api::new(options)?.get(&format!("/evidence?{query}")).await?;
    show(options, &view, listed);
    Ok(())
}

fn listed(view: &EvidenceListView) -> String {
    let mut out = String::new();
    let met = |met: Option<bool>| match met {
        Some(true) => "met",
        Some(false) => "MISSED",
        None => "not known",
    };
    let took = |seconds: Option<f64>| seconds.map_or_else(|| "not measured".to_owned(), |s| format!("{s:.1} s"));
    for one in &view.evidence {
        out.push_str(&format!(
            "{:.0} {}: {} {} to {}, {}\n",
            one.ended_at,
            one.application,
            one.purpose,
            one.source,
            one.target,
            one.result.as_str()
        ));
        let lost = match (one.loss_at_least_seconds, one.loss_at_most_seconds) {
            (None, None) => "not measured".to_owned(),
            (least, most) => {
                let shown = |s: Option<f64>, none: &str| s.map_or_else(|| none.to_owned(), |s| format!("{s:.1}"));
                format!("{} to {} s", shown(least, "?"), shown(most, "not bounded"))
            }
        };
        let kept = match one.kept {
            Some(true) => ", kept",
            Some(false) => ", not kept yet",
            None => "",
        };
        let by = one.signed_by.as_deref().unwrap_or("nobody");
        for (name, value) in [
            ("  run", one.run.clone()),
            ("  RTO", format!("{} of {:.1} s: {}", took(one.rto_seconds), one.rto_objective_seconds, met(one.rto_met))),
            ("  RPO", format!("{lost} of {:.1} s: {}", one.rpo_objective_seconds, met(one.rpo_met))),
            ("  digest", one.sha256.clone()),
            ("  signed by", format!("{by}{kept}")),
        ] {
            out.push_str(&render::wrapped(&format!("{name:<12}"), &value));
        }
    }
    if view.evidence.is_empty() {
        out.push_str("no run is over\n");
    }
    if let Some(cursor) = &view.next_cursor {
        out.push_str(&format!("more: --cursor '{cursor}'\n"));
    }
    out
}

async fn get(options: &Options, args: &GetArgs) -> Result<(), Failure> {
    let form = if args.html { "html" } else { "jsonl" };
    let text = Api::new(options)?.text(&format!("/runs/{}/evidence?form={form}", enc(&args.run))).await?;
    match &args.output {
        None => print(&text),
        Some(file) => write(file, &text).map_err(|e| Failure::Usage(format!("{}: {e}", file.display())))?,
    }
    Ok(())
}

/// Never over a file that is there: it may be the evidence that somebody has signed for.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let mut out = std::fs::OpenOptions::new().write(true).create_new(true).open(file)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()
}

fn prove(args: &VerifyArgs, json: bool) -> anyhow::Result<ExitCode> {
    if let Some(key) = args.key.as_ref().filter(|key| !keys::is_public(key)) {
        // As above.
        let _ = writeln!(
            std::io::stderr(),
            "--key: `{}` is no public key, which is `ed25519:` and 64 hexadecimal digits: `failoverd evidence key` printed \
             it when it made the private one",
            render::plain(key)
        );
        return Ok(ExitCode::from(EXIT_USAGE));
    }
    let text = match read(&args.file) {
        Ok(text) => text,
        Err(problem) => {
            // Nothing can be done about a standard error that is gone.
            let _ = writeln!(std::io::stderr(), "{}: {problem}", args.file.display());
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    let proven =
        verify(&text, |signed, statement| keys::holds(&signed.key, &signed.signature, statement)).and_then(|proven| {
            match (&args.key, &proven.signed_by) {
                (Some(wanted), Some(key)) if wanted == key => Ok(proven),
                (None, _) => Ok(proven),
                (Some(wanted), key) => {
                    let by = key.as_deref().unwrap_or("nobody");
                    let line = text.lines().count();
                    Err(vec![Fault { line, problem: format!("it is signed by {by}, and not by {wanted}") }])
                }
            }
        });
    let is_sound = proven.is_ok();
    if json {
        print_line(
            &match &proven {
                Ok(proven) => json!({ "ok": true, "proven": proven }),
                Err(faults) => json!({ "ok": false, "faults": faults }),
            }
            .to_string(),
        );
    } else {
        print(&match &proven {
            Ok(proven) => sound(proven, &Digest::of(text.as_bytes())),
            Err(faults) => broken(faults),
        });
    }
    Ok(ExitCode::from(if is_sound { EXIT_DONE } else { EXIT_FAILED }))
}

fn read(file: &Path) -> Result<String, String> {
    let open = std::fs::File::open(file).map_err(|e| e.to_string())?;
    let mut text = String::new();
    open.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|e| e.to_string())?;
    if FILE_BYTES_MAX < text.len() as u64 {
        return Err(format!("is longer than {FILE_BYTES_MAX} bytes"));
    }
    Ok(text)
}

fn sound(proven: &Proven, file: &Digest) -> String {
    let (header, summary) = (&proven.header, &proven.summary);
    let last = (header.first_record + header.records).saturating_sub(1);
    let measured = |met: Option<bool>| match met {
        Some(true) => "met",
        Some(false) => "MISSED",
        None => "not known",
    };
    let mut out = String::from("whole: every record follows the one before it, and the summary follows from them\n");
    let rows = [
        ("run", header.run.to_string()),
        ("was", format!("{}, {} from {} to {}", header.application, summary.purpose, summary.source, summary.target)),
        ("ended", ended(summary)),
        ("records", format!("{} to {last}; the last has the hash {}", header.first_record, proven.last_hash)),
        ("RTO", measured(summary.rto_met).to_owned()),
        ("RPO", measured(summary.rpo_met).to_owned()),
        ("file", format!("{file} (its SHA-256, which the page names)")),
        ("sealed", format!("{} (all before the seal, which is what is signed)", proven.sha256)),
        (
            "signed by",
            proven.signed_by.clone().unwrap_or_else(|| {
                "nobody: it is whole, but anybody could have written it. Compare the last hash with the journal"
                    .to_owned()
            }),
        ),
    ];
    for (name, value) in rows {
        out.push_str(&render::wrapped(&format!("{name:<10}"), &value));
    }
    out
}

fn ended(summary: &Summary) -> String {
    let how = match summary.result {
        None => return "not yet: the run was under way when this was made".to_owned(),
        Some(RunResult::Succeeded) => "succeeded",
        Some(RunResult::Failed) => "failed",
        Some(RunResult::Aborted) => "aborted",
        Some(RunResult::Superseded) => "superseded by another run",
    };
    summary.result_reason.as_ref().map_or_else(|| how.to_owned(), |why| format!("{how}: {}", render::plain(why)))
}

fn broken(faults: &[Fault]) -> String {
    let mut out = format!("NOT PROVEN: {} faults\n", faults.len());
    for fault in faults {
        out.push_str(&render::wrapped("  ", &fault.to_string()));
    }
    out
}
