//! What an audience costs a switchover: 200 event-stream watchers, a flood of requests and a scrape every second, beside
//! the same switchover with nobody looking.
//!
//! `cargo bench --bench load [-- ROUNDS [--binary=PATH]]`. Each round is two switchovers of the shipped runbook, one quiet
//! and one watched, each with a daemon, a journal and a simulated AWS of its own, in real time: nothing is sped up, so a
//! switchover takes some two minutes. The simulated AWS and the audience share the machine with the daemon. Another
//! seed's switchover would take another time; this one's is the same for both.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

#[path = "common/daemon.rs"]
mod daemon;
#[path = "common/stage.rs"]
mod stage;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use daemon::Daemon;
use failoverd::{adapters::clock::SystemClock, ports::Clock as _};
use serde_json::Value;
use tokio::{runtime::Runtime, task::JoinSet};

/// Issue 7: event streams that are open all along.
const WATCHERS: usize = 200;
/// Clients that ask again as soon as they are answered.
const ASKING: usize = 32;
const PATIENCE: Duration = Duration::from_secs(600);

/// What the audience got.
#[derive(Debug, Default)]
struct Counts {
    streamed_bytes: AtomicU64,
    answered: AtomicU64,
    turned_away: AtomicU64,
    failed: AtomicU64,
    scrapes: AtomicU64,
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    let rounds: usize = arguments.next().map_or(2, |a| a.parse().expect("rounds, as a number"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    for round in 1..=rounds {
        let quiet = switchover(&runtime, None);
        let counts = Arc::new(Counts::default());
        let watched = switchover(&runtime, Some(&counts));
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        println!(
            "round {round}: quiet {quiet:.2} s, watched {watched:.2} s: {:+.2} %; {} kB streamed to {WATCHERS}, {} requests \
             answered, {} turned away (429), {} failed, {} scrapes",
            (watched / quiet - 1.0) * 100.0,
            count(&counts.streamed_bytes) / 1000,
            count(&counts.answered),
            count(&counts.turned_away),
            count(&counts.failed),
            count(&counts.scrapes),
        );
    }
    println!("durability: SQLite WAL, synchronous=FULL");
}

/// How long a switchover took by its own clock, in seconds; before `audience`, where there is one.
fn switchover(runtime: &Runtime, audience: Option<&Arc<Counts>>) -> f64 {
    let aws = runtime.block_on(stage::aws(Arc::new(stage::now)));
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let address = daemon::free_address();
    stage::config(&aws, directory.path(), &address.to_string());
    let daemon = Daemon::exec(&directory.path().join("failoverd.toml"), address, &aws.aws_url);
    daemon.until("/applications/payments", |_, body| {
        body.contains("\"active_region\":\"us-east-1\"") && body.contains("\"health\":\"healthy\"")
    });
    let asked = r#"{"application":"payments","mode":"switchover","target_region":"us-west-2","reason":"a benchmark"}"#;
    let began = SystemClock.boot();
    let run = loop {
        let (status, body) = daemon.ask("POST", "/failover", asked).expect("it listens");
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        if let Some(run) = answer["run"].as_str().filter(|_| status == 202) {
            break run.to_owned();
        }
        assert!(SystemClock.boot() - began < PATIENCE, "not started: {answer:#}");
        pause(Duration::from_millis(200));
    };
    let _enter = runtime.enter();
    let crowd = audience.map(|counts| crowd(&format!("http://{address}"), &run, counts));
    let took = loop {
        let answer = daemon.ask("GET", &format!("/runs/{run}"), "").expect("it listens").1;
        let view: Value = serde_json::from_str(&answer).unwrap_or_default();
        if view["state"] == "succeeded" {
            let at = |key: &str| view[key].as_str().expect(key).parse::<jiff::Timestamp>().expect("a time");
            break at("finished_at").duration_since(at("started_at")).as_secs_f64();
        }
        // A crowd may have used up what one address may ask: no state is no end.
        assert!(!["held", "failed", "aborted"].iter().any(|end| view["state"] == *end), "{view:#}");
        assert!(SystemClock.boot() - began < PATIENCE, "not ended: {view:#}");
        pause(Duration::from_millis(250));
    };
    drop(crowd);
    daemon.kill();
    runtime.block_on(aws.stop());
    took
}

/// Those who watch, those who ask and the one who scrapes, until it is dropped.
fn crowd(url: &str, run: &str, counts: &Arc<Counts>) -> JoinSet<()> {
    let mut crowd = JoinSet::new();
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    for _ in 0..WATCHERS {
        let (http, url, counts) = (http.clone(), format!("{url}/runs/{run}/events"), Arc::clone(counts));
        crowd.spawn(async move {
            loop {
                let Ok(mut stream) = http.get(&url).send().await else { continue };
                while let Ok(Some(chunk)) = stream.chunk().await {
                    counts.streamed_bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                }
            }
        });
    }
    for _ in 0..ASKING {
        let (http, url, counts) = (http.clone(), format!("{url}/runs/{run}"), Arc::clone(counts));
        crowd.spawn(async move {
            loop {
                let answer = http.get(&url).send().await;
                let count = match answer.map(|answer| answer.status().as_u16()) {
                    Ok(200) => &counts.answered,
                    Ok(429) => &counts.turned_away,
                    _ => &counts.failed,
                };
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let (url, counts) = (format!("{url}/metrics"), Arc::clone(counts));
    crowd.spawn(async move {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        loop {
            second.tick().await;
            if http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                counts.scrapes.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    crowd
}

#[expect(clippy::disallowed_methods, reason = "a benchmark waits in real time")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}
