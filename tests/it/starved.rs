//! The real binary without what a process needs: its log's pipe blocked, its files few, its API flooded. It moves the
//! application all the same (FAULTS.md 8, 17, 18).

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use crate::support::{
    daemon::{Daemon, Limits},
    people::{Move, People, Played},
    stage::{Setting, Stage, comes_true},
};

/// How long anything here may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

async fn metrics(daemon: &Daemon) -> Option<String> {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(5)).no_proxy().build().expect("a client");
    http.get(format!("{}/metrics", daemon.url)).send().await.ok()?.text().await.ok()
}

/// The value of a metric without labels.
fn value(metrics: &str, name: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

async fn succeeds(people: &mut People, daemon: &mut Daemon, stage: &Stage) {
    match people.play(daemon).await.expect("it ends") {
        Played::Rested(view) if view["state"] == "succeeded" => {}
        other => panic!("{other:#?}\n{}", stage.logs()),
    }
    stage.has_moved().expect("moved");
}

/// FAULTS.md 18. Whoever waited for the pipe would wait for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_is_in_nobodys_way() {
    let stage = Stage::build(Setting::seeded(31_018)).await;
    let limits = Limits { log_is_blocked: true, ..Limits::default() };
    let mut daemon = stage.start_within(limits).await.listening().expect("it starts");
    let deadline = Instant::now() + LIMIT;
    let dropped = loop {
        // Whoever asks makes it say more.
        let mut seen = futures_util::future::join_all((0..8).map(|_| metrics(&daemon))).await;
        let seen = seen.pop().flatten().and_then(|text| value(&text, "failoverd_log_lines_dropped_total"));
        if let Some(dropped) = seen.filter(|dropped| 0.0 < *dropped) {
            break dropped;
        }
        assert!(Instant::now() < deadline, "no line was dropped, or it does not answer: {seen:?}");
    };
    succeeds(&mut People::who_want(Move::Failover), &mut daemon, &stage).await;
    let now = metrics(&daemon).await.and_then(|text| value(&text, "failoverd_log_lines_dropped_total"));
    assert!(now.is_some_and(|now| dropped < now), "the pipe was blocked to the end: {dropped}, then {now:?}");
    daemon.kill().await;
}

/// Connections that say nothing, each made anew when it is closed; how many were.
fn flood(address: SocketAddr, connections: usize) -> (JoinSet<()>, Arc<AtomicU64>) {
    let made = Arc::new(AtomicU64::new(0));
    let mut flood = JoinSet::new();
    for _ in 0..connections {
        let made = Arc::clone(&made);
        flood.spawn(async move {
            loop {
                if let Ok(mut stream) = TcpStream::connect(address).await {
                    made.fetch_add(1, Ordering::Relaxed);
                    // Until the other side has had enough.
                    let _ = stream.read_u8().await;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
    }
    (flood, made)
}

fn address(daemon: &Daemon) -> SocketAddr {
    daemon.url.trim_start_matches("http://").parse().expect("an address")
}

fn open_files(daemon: &Daemon) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).map_or(0, Iterator::count)
}

/// FAULTS.md 17: the API is cut before the engine is.
#[tokio::test(flavor = "multi_thread")]
async fn with_few_files_the_api_waits_and_the_engine_does_not() {
    const FILES_MAX: u64 = 96;
    let stage = Stage::build(Setting::seeded(31_017)).await;
    let limits = Limits { files_max: Some(FILES_MAX), ..Limits::default() };
    let mut daemon = stage.start_within(limits).await.listening().expect("it starts");
    let mut people = People::who_want(Move::Failover);
    let promoted = || !stage.effects().promotions.is_empty();
    let deadline = Instant::now() + LIMIT;
    while !promoted() {
        let _ = tokio::time::timeout(Duration::from_millis(300), people.play(&mut daemon)).await;
        assert!(Instant::now() < deadline, "not promoted: {}", stage.logs());
    }
    let (flood, made) = flood(address(&daemon), 400);
    let flooded = comes_true(LIMIT, || FILES_MAX / 2 < made.load(Ordering::Relaxed)).await;
    assert!(flooded && stage.effects().flips.is_empty(), "flooded before traffic moves: {}", stage.logs());
    let mut most_files = 0;
    let flipped = comes_true(LIMIT, || {
        most_files = most_files.max(open_files(&daemon));
        !stage.effects().flips.is_empty()
    })
    .await;
    assert!(flipped, "the engine goes on: {}", stage.logs());
    assert!(most_files < usize::try_from(FILES_MAX).expect("few"), "{most_files} files were open");
    drop(flood);
    succeeds(&mut people, &mut daemon, &stage).await;
    daemon.kill().await;
}

/// The most memory that it ever had, in KiB.
fn peak_kib(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says so");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// FAULTS.md 8: what is taken in has its limit. On more connections than there may be, the largest body that there may be
/// is sent but for its last byte.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_bodies_takes_no_more_memory_than_its_share() {
    const BODY_BYTES: usize = 64 * 1024;
    /// 512 connections with the largest head, the largest body, and as much again for what is made of it: 80 MiB.
    const GROWTH_KIB_MAX: u64 = 512 * (16 + 64) * 2;
    let stage = Stage::build(Setting::seeded(31_008)).await;
    let mut daemon = stage.start(None).await.listening().expect("it starts");
    let before = peak_kib(&daemon);
    let to = address(&daemon);
    let sent = Arc::new(AtomicU64::new(0));
    let mut flood = JoinSet::new();
    for _ in 0..600 {
        let sent = Arc::clone(&sent);
        flood.spawn(async move {
            let head = format!(
                "POST /failover HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer bob-kill-token\r\n\
                 Content-Type: application/json\r\nContent-Length: {BODY_BYTES}\r\n\r\n"
            );
            let body = vec![b' '; BODY_BYTES - 1];
            loop {
                if let Ok(mut stream) = TcpStream::connect(to).await
                    && stream.write_all(head.as_bytes()).await.is_ok()
                    && stream.write_all(&body).await.is_ok()
                {
                    sent.fetch_add(1, Ordering::Relaxed);
                    // Until the other side has had enough.
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
    }
    let enough = comes_true(LIMIT, || 1_200 < sent.load(Ordering::Relaxed)).await;
    let (grown, sent) = (peak_kib(&daemon) - before, sent.load(Ordering::Relaxed));
    assert!(enough, "{sent} bodies were sent");
    assert!(grown < GROWTH_KIB_MAX, "{grown} KiB for {sent} bodies");
    drop(flood);
    succeeds(&mut People::who_want(Move::Failover), &mut daemon, &stage).await;
    daemon.kill().await;
}
