//! What the daemon costs while it only watches: memory, processor, binary size, and its cold start.
//!
//! `cargo bench --bench idle [-- SECONDS]`. The release binary watches one application (two Regions, one Aurora
//! global database, three signals, two write marks) in the simulated AWS of this process, in real time.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

#[path = "common/daemon.rs"]
mod daemon;
#[path = "common/stage.rs"]
mod stage;

use std::{fs, sync::Arc, thread, time::Duration};

use daemon::Daemon;
use failoverd::{adapters::clock::SystemClock, ports::Clock as _};

/// Starts that are timed.
const STARTS: usize = 5;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    let seconds: u64 = arguments.next().map_or(30, |a| a.parse().expect("seconds, as a number"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let aws = runtime.block_on(stage::aws(Arc::new(stage::now)));
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let address = daemon::free_address();
    let config = directory.path().join("failoverd.toml");
    stage::config(&aws, directory.path(), &address.to_string());

    let mut starts: Vec<(f64, f64)> = (0..STARTS)
        .map(|_| {
            for name in ["journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"] {
                // Not there at the first start, and the last two not after a clean end.
                let _ = fs::remove_file(directory.path().join(name));
            }
            let began = SystemClock.boot();
            let daemon = Daemon::exec(&config, address, &aws.aws_url);
            daemon.until("/readyz", |status, _| status == 200);
            let assessed = SystemClock.boot() - began;
            daemon.until("/applications/payments", |_, body| body.contains("\"active_region\":\"us-east-1\""));
            let known = SystemClock.boot() - began;
            daemon.kill();
            (assessed.as_secs_f64() * 1e3, known.as_secs_f64() * 1e3)
        })
        .collect();
    starts.sort_by(|a, b| a.0.total_cmp(&b.0));

    let daemon = Daemon::exec(&config, address, &aws.aws_url);
    daemon.until("/applications/payments", |_, body| body.contains("\"active_region\":\"us-east-1\""));
    pause(Duration::from_secs(5));
    let pid = daemon.child.id();
    let (before, began) = (cpu_ticks(pid), SystemClock.boot());
    pause(Duration::from_secs(seconds));
    let took = (SystemClock.boot() - began).as_secs_f64();
    // USER_HZ is 100 on every Linux that Rust runs on.
    let cpu = (cpu_ticks(pid) - before) as f64 / 100.0 / took * 100.0;
    let (rss, peak, threads) = (status(pid, "VmRSS"), status(pid, "VmHWM"), status(pid, "Threads"));
    let size = fs::metadata(daemon::binary()).expect("the binary").len();
    daemon.kill();

    println!("binary size                {:>8.1} MB (with line tables)", size as f64 / 1e6);
    println!("exec to first assessment   {:>8.0} ms (best of {STARTS}, empty journal)", starts[0].0);
    println!("exec to the writer known   {:>8.0} ms (the same start)", starts[0].1);
    println!(
        "resident, watching         {:>8.1} MB (peak {:.1} MB, {threads} threads)",
        rss as f64 / 1e3,
        peak as f64 / 1e3
    );
    println!("processor, watching        {cpu:>8.2} % of one core over {took:.0} s");
    println!("durability: SQLite WAL, synchronous=FULL (nothing is written while nothing changes)");
    runtime.block_on(aws.stop());
}

#[expect(clippy::disallowed_methods, reason = "a benchmark waits in real time")]
fn pause(time: Duration) {
    thread::sleep(time);
}

/// User and system time of the process, in ticks.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
    let after_name = stat.rsplit_once(')').expect("a name in parentheses").1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    // Fields 14 and 15 of proc(5), counted from the state, which is the third.
    fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime")
}

/// A number from /proc/PID/status; memory in kB.
fn status(pid: u32, key: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = text.lines().find(|l| l.starts_with(key)).expect("the key");
    line.split_whitespace().nth(1).expect("a value").parse().expect("a number")
}
