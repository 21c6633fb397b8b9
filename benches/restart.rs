//! From the start of the process after a SIGKILL to its next effect in AWS, with a journal of a few thousand records.
//!
//! `cargo bench --bench restart [-- REPEATS [RECORDS]]`. The journal is filled in this process by the real engine; then the
//! release binary serves it, is killed in the middle of a run of notices, and is started again. The clock runs from
//! just before `exec` until the simulated AWS has seen the first mutation of the new process. Journal: SQLite WAL,
//! `synchronous=FULL`, verified record by record at the start. AWS: in this process, over HTTP, world time = real time.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

#[path = "common/daemon.rs"]
mod daemon;
#[path = "common/instant.rs"]
mod instant;
#[path = "common/stage.rs"]
mod stage;

use std::{collections::BTreeMap, fmt::Write as _, path::Path, sync::Arc, time::Duration};

use daemon::Daemon;
use failoverd::{
    adapters::{clock::SystemClock, store::SqliteStore},
    config::Settings,
    engine::control::Control as _,
    ports::{Clock as _, JournalStore},
    sim::wire::Running,
};

/// What the journal holds at least before the daemon meets it, where nothing else is asked for: some 200 moves of the
/// shipped runbooks. One run of this benchmark is some 365 records.
const RECORDS: u64 = 3_000;
/// Notices of a run; each goes to two topics.
const NOTICES: usize = 90;
/// The kill comes after this many calls of the run.
const CALLS_BEFORE_KILL: u64 = 20;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    let repeats: usize = arguments.next().map_or(7, |a| a.parse().expect("a number"));
    let records: u64 = arguments.next().map_or(RECORDS, |a| a.parse().expect("a number"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let aws = runtime.block_on(stage::aws(Arc::new(stage::now)));
    println!("durability: SQLite WAL, synchronous=FULL; every record verified at start");
    println!("{:<8}{:>10}{:>12}{:>14}{:>18}", "repeat", "records", "journal MB", "ready ms", "next effect ms");
    let mut all: Vec<f64> = (1..=repeats).map(|n| once(n, records, &runtime, &aws)).collect();
    all.sort_by(f64::total_cmp);
    println!("exec to next effect: best {:.1} ms, median {:.1} ms", all[0], all[all.len() / 2]);
    runtime.block_on(aws.stop());
}

fn once(n: usize, wanted: u64, runtime: &tokio::runtime::Runtime, aws: &Running) -> f64 {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let address = daemon::free_address();
    let config = directory.path().join("failoverd.toml");
    write_config(aws, directory.path(), &address.to_string());
    let records = runtime.block_on(fill(&config, directory.path(), wanted));
    let bytes = std::fs::metadata(directory.path().join("journal.sqlite")).expect("a journal").len();

    let daemon = Daemon::exec(&config, address, &aws.aws_url);
    daemon.until("/readyz", |status, _| status == 200);
    let before = mutations(aws);
    let body = "{\"application\":\"payments\",\"mode\":\"switchover\",\"reason\":\"bench\"}";
    let answer = daemon.ask("POST", "/failover", body);
    assert!(answer.as_ref().is_some_and(|(status, _)| *status < 300), "{answer:?}");
    daemon::wait_until("the first calls", || before + CALLS_BEFORE_KILL <= mutations(aws));
    daemon.kill();
    let killed_at = mutations(aws);
    assert!(killed_at < before + 2 * NOTICES as u64, "the run was over before the kill");

    let began = SystemClock.boot();
    let daemon = Daemon::exec(&config, address, &aws.aws_url);
    daemon::wait_until("the next effect", || killed_at < mutations(aws));
    let effect = SystemClock.boot() - began;
    daemon.until("/readyz", |status, _| status == 200);
    let ready = SystemClock.boot() - began;
    daemon.kill();
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    println!("{n:<8}{records:>10}{:>12.1}{:>14.1}{:>18.1}", bytes as f64 / 1e6, ms(ready), ms(effect));
    ms(effect)
}

/// Mutations that the simulated AWS took.
fn mutations(aws: &Running) -> u64 {
    aws.requests.effects().values().sum()
}

/// The application without its stores and signals: what is measured is the restart, not a database's roles.
fn write_config(aws: &Running, directory: &Path, listen: &str) {
    let text = stage::config(aws, directory, listen);
    let mut kept = String::new();
    let mut skipping = false;
    for line in text.lines() {
        if line.starts_with('[') {
            skipping = line.starts_with("[applications.stores") || line.starts_with("[applications.signals");
        }
        if !skipping {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    let kept = kept
        .lines()
        .map(|l| {
            if l.starts_with("runbooks = ") {
                "runbooks = { failover = \"notices\", switchover = \"notices\" }"
            } else {
                l
            }
        })
        .fold(String::new(), |text, line| text + line + "\n");
    std::fs::write(directory.join("failoverd.toml"), kept).expect("the config is written");
    let mut runbook =
        "runbook: notices\npurpose: [failover, switchover]\ndescription: notices only\nsteps:\n".to_owned();
    for i in 0..NOTICES {
        writeln!(runbook, "  - id: notice-{i}\n    action: notify\n    with: {{ message: \"notice {i}\" }}")
            .expect("text");
    }
    std::fs::remove_dir_all(directory.join("runbooks")).expect("emptied");
    std::fs::create_dir(directory.join("runbooks")).expect("made");
    std::fs::write(directory.join("runbooks/notices.yaml"), runbook).expect("the runbook is written");
}

/// Fills the journal with whole runs, in this process; the number of its records.
async fn fill(config: &Path, directory: &Path, wanted: u64) -> u64 {
    let settings = Settings::load(config, &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults}"));
    let name = settings.applications[0].name.clone();
    let store = Arc::new(SqliteStore::open(&directory.join("journal.sqlite")).expect("opened"));
    let engine = instant::engine(store as Arc<dyn JournalStore>, settings.applications, settings.runbooks).await;
    let mut live = engine.subscribe(&name).expect("worked on");
    let length = || engine.history(&name).expect("worked on").tail.next_seq;
    while length() < wanted {
        instant::run(&engine, &name, &mut live).await;
    }
    engine.stop(Duration::from_secs(5)).await;
    length()
}
