//! Durable steps per second of the whole engine with steps that do nothing, beside raw SQLite commits in the same run.
//!
//! `cargo bench --bench engine [-- SECONDS [ROUNDS [DIRECTORY]]]`. Both sides run WAL with `synchronous=FULL`: a commit is an
//! `fsync`. Two kinds of run of ten steps, through `Control::start_run`, compiled from YAML like any other:
//!
//! - looks: ten probes in a row, each waiting for the one before; a step's end and the next one's start are one
//!   commit, so a run of ten steps is 13 records;
//! - effects: ten notices; an intent is durable before its call leaves, so a step is at least two records.
//!
//! The world answers at once. Raw commits are measured before and after each case, since a disk has moods.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

#[path = "common/instant.rs"]
mod instant;

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use failoverd::{
    adapters::{clock::SystemClock, store::SqliteStore},
    domain::{
        application::{Application, Objectives, Topic},
        id::{Digest, Region, RunbookName},
        plan::Purpose,
        policy::Policy,
        runbook::Runbook,
    },
    engine::control::Control as _,
    ports::{Clock as _, JournalStore},
};

const STEPS: usize = 10;
const ROW_BYTES: usize = 200;

fn main() {
    // `cargo bench` passes `--bench`.
    let mut arguments = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    let seconds: f64 = arguments.next().map_or(4.0, |a| a.parse().expect("seconds, as a number"));
    let rounds: u32 = arguments.next().map_or(3, |a| a.parse().expect("rounds, as a number"));
    let time = Duration::from_secs_f64(seconds);
    // The build's own disk: /tmp may be memory, where an fsync costs nothing.
    let parent = arguments.next().unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").to_owned());
    let directory = tempfile::tempdir_in(&parent).expect("a directory");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");

    let cases = [
        ("looks, one run at a time", looks(), 1),
        ("looks, 100 runs at once", looks(), 100),
        ("effects, one run at a time", effects(), 1),
        ("effects, 100 runs at once", effects(), 100),
    ];
    println!("durability: SQLite WAL, synchronous=FULL: every commit is an fsync, counted");
    println!("in {parent}, {seconds} s each, raw commits of {ROW_BYTES} bytes before and after each");
    println!("{:<28}{:>9}{:>9}{:>8}{:>9}{:>14}", "", "steps/s", "raw/s", "of raw", "fsyncs", "fsyncs a step");
    let mut file = 0;
    for _ in 0..rounds {
        let mut before = raw(directory.path(), &mut file, time / 2);
        for (name, text, applications) in &cases {
            let path = directory.path().join(format!("engine-{file}.sqlite"));
            let m = runtime.block_on(steps(&path, text, *applications, time));
            let after = raw(directory.path(), &mut file, time / 2);
            let base = f64::midpoint(before, after);
            let rate = m.steps as f64 / m.seconds;
            println!(
                "{name:<28}{rate:>9.0}{base:>9.0}{:>8.2}{:>9}{:>14.2}",
                rate / base,
                m.commits,
                m.commits as f64 / m.steps as f64
            );
            before = after;
        }
    }
}

struct Measured {
    steps: usize,
    commits: u64,
    seconds: f64,
}

fn looks() -> String {
    let step = |i: usize| {
        let needs = if i == 0 { String::new() } else { format!("    needs: [look-{}]\n", i - 1) };
        format!(
            "  - id: look-{i}\n    action: probe.http\n{needs}    with: {{ url: \"http://127.0.0.1/\", consecutive: 1 }}\n"
        )
    };
    let steps: String = (0..STEPS).map(step).collect();
    format!("runbook: bench\npurpose: switchover\ndescription: ten looks in a row\nsteps:\n{steps}")
}

fn effects() -> String {
    let step = |i: usize| format!("  - id: notice-{i}\n    action: notify\n    with: {{ message: \"notice {i}\" }}\n");
    let steps: String = (0..STEPS).map(step).collect();
    format!("runbook: bench\npurpose: switchover\ndescription: ten notices\nsteps:\n{steps}")
}

/// A runbook for switchovers from its text.
fn runbook(text: &str) -> BTreeMap<RunbookName, (Runbook, Digest)> {
    let (runbook, _) = Runbook::parse("bench.yaml", text).unwrap_or_else(|faults| panic!("{faults:?}"));
    BTreeMap::from([(runbook.name.clone(), (runbook, Digest::of(text.as_bytes())))])
}

fn application(n: usize) -> Application {
    let region = |r: &str| r.parse::<Region>().expect("a Region");
    Application {
        name: format!("app-{n}").parse().expect("a name"),
        regions: vec![region("us-east-1"), region("us-west-2")],
        objectives: Objectives { rto: Duration::from_secs(300), rpo: Duration::from_secs(5) },
        stores: BTreeMap::new(),
        replicas: BTreeMap::new(),
        traffic: BTreeMap::new(),
        signals: Vec::new(),
        endpoints: BTreeMap::new(),
        public_url: None,
        runbooks: BTreeMap::from([(Purpose::Switchover, "bench".parse().expect("a name"))]),
        drills: Vec::new(),
        schedules: Vec::new(),
        prove_within: None,
        topics: vec![Topic { region: region("us-west-2"), arn: "arn:aws:sns:us-west-2:123456789012:t".to_owned() }],
        policy: Policy::default(),
        iac: Default::default(),
    }
}

/// One transaction per row, as plain as SQLite gets: what the disk gives to one writer.
fn raw(directory: &Path, file: &mut u32, time: Duration) -> f64 {
    *file += 1;
    let db = rusqlite::Connection::open(directory.join(format!("raw-{file}.sqlite"))).expect("opened");
    db.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE t (n INTEGER PRIMARY KEY, v BLOB)",
    )
    .expect("prepared");
    let mut insert = db.prepare("INSERT INTO t (v) VALUES (?1)").expect("prepared");
    let began = SystemClock.boot();
    let mut rows = 0_u32;
    while SystemClock.boot() - began < time {
        insert.execute([&[7_u8; ROW_BYTES][..]]).expect("committed");
        rows += 1;
    }
    f64::from(rows) / (SystemClock.boot() - began).as_secs_f64()
}

/// Runs of `text`, one after the other, for each of `applications` at once.
async fn steps(path: &Path, text: &str, applications: usize, time: Duration) -> Measured {
    let store = Arc::new(SqliteStore::open(path).expect("opened"));
    let apps: Vec<Application> = (0..applications).map(application).collect();
    let names: Vec<_> = apps.iter().map(|a| a.name.clone()).collect();
    let engine = instant::engine(Arc::clone(&store) as Arc<dyn JournalStore>, apps, runbook(text)).await;
    let before = store.commits();
    let began = SystemClock.boot();
    let mut all = tokio::task::JoinSet::new();
    for name in names {
        let engine = engine.clone();
        all.spawn(async move {
            let mut live = engine.subscribe(&name).expect("worked on");
            let mut steps = 0;
            while SystemClock.boot() - began < time {
                steps += instant::run(&engine, &name, &mut live).await;
            }
            steps
        });
    }
    let steps = all.join_all().await.into_iter().sum();
    let seconds = (SystemClock.boot() - began).as_secs_f64();
    let commits = store.commits() - before;
    engine.stop(Duration::from_secs(5)).await;
    Measured { steps, commits, seconds }
}
