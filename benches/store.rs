//! What the journal store costs over bare SQLite, on this disk, in one run: commits per second of rows of 200 bytes.
//!
//! `cargo bench --bench store [-- SECONDS [DIRECTORY]]`. Both sides run WAL with `synchronous=FULL`, one `fsync` per
//! commit. Each measurement runs for a fixed time; the order is bare, store, bare again, so that a disk that slows
//! down shows.
#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark reads the real clock and prints")]

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use failoverd::{
    adapters::store::SqliteStore,
    domain::{
        id::{ApplicationName, Digest},
        journal::{Event, Sealed, Tail, seal},
    },
    ports::JournalStore,
};
use jiff::Timestamp;

const ROW_BYTES: usize = 200;
const WRITERS: usize = 100;

fn main() {
    // `cargo bench` passes `--bench`.
    let mut arguments = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    let seconds: f64 = arguments.next().map_or(3.0, |a| a.parse().expect("seconds, as a number"));
    let time = Duration::from_secs_f64(seconds);
    let dir = match arguments.next() {
        Some(directory) => tempfile::tempdir_in(directory),
        None => tempfile::tempdir(),
    }
    .expect("a directory");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");

    println!("rows of {ROW_BYTES} bytes, {seconds} s each, in {}", dir.path().display());
    let bare = raw(&dir.path().join("bare-1.db"), time);
    let one = runtime.block_on(appends(&dir.path().join("one.db"), 1, time));
    let many = runtime.block_on(appends(&dir.path().join("many.db"), WRITERS, time));
    let again = raw(&dir.path().join("bare-2.db"), time);
    let base = f64::midpoint(bare, again);
    println!("SQLite, bare, first:       {bare:>9.0} rows/s   1 fsync per row");
    println!("SQLite, bare, last:        {again:>9.0} rows/s   1 fsync per row");
    print(&one, "store, one at a time:", base);
    print(&many, "store, 100 writers:", base);
}

struct Measured {
    rate: f64,
    appends: u64,
    commits: u64,
}

fn print(measured: &Measured, name: &str, base: f64) {
    println!(
        "{name:<26} {:>9.0} rows/s   {:.2} of bare; {} appends in {} commits (fsyncs), {:.3} per append",
        measured.rate,
        measured.rate / base,
        measured.appends,
        measured.commits,
        measured.commits as f64 / measured.appends as f64,
    );
}

/// One transaction per row, as plain as SQLite gets.
fn raw(path: &Path, time: Duration) -> f64 {
    let connection = rusqlite::Connection::open(path).expect("opened");
    connection
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE rows (id INTEGER PRIMARY KEY, bytes BLOB)")
        .expect("prepared");
    let setting = |pragma: &str| -> String {
        connection
            .pragma_query_value(None, pragma, |row| row.get::<_, rusqlite::types::Value>(0))
            .map(|value| format!("{value:?}"))
            .expect("read back")
    };
    println!(
        "SQLite {}, journal_mode {}, synchronous {} (2 is FULL)",
        rusqlite::version(),
        setting("journal_mode"),
        setting("synchronous")
    );
    let row = [7_u8; ROW_BYTES];
    let begun = Instant::now();
    let mut rows = 0_u32;
    while begun.elapsed() < time {
        connection.execute_batch("BEGIN IMMEDIATE").expect("begun");
        connection
            .prepare_cached("INSERT INTO rows (bytes) VALUES (?1)")
            .and_then(|mut statement| statement.execute([&row[..]]))
            .expect("inserted");
        connection.execute_batch("COMMIT").expect("committed");
        rows += 1;
    }
    f64::from(rows) / begun.elapsed().as_secs_f64()
}

/// `writers` journals, each appending one record after the other.
async fn appends(path: &Path, writers: usize, time: Duration) -> Measured {
    let store = Arc::new(SqliteStore::open(path).expect("opened"));
    let appended = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let (store, appended) = (Arc::clone(&store), Arc::clone(&appended));
            tokio::spawn(async move {
                let journal: ApplicationName = format!("app-{writer}").parse().expect("valid");
                let mut tail = Tail::empty();
                while begun.elapsed() < time {
                    let sealed = row(&journal, &tail);
                    store.append(&sealed).await.expect("appended");
                    tail = Tail { next_seq: tail.next_seq + 1, hash: sealed.hash, epoch: 0 };
                    appended.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("ended");
    }
    let took = begun.elapsed().as_secs_f64();
    let appends = appended.load(Ordering::Relaxed);
    Measured { rate: appends as f64 / took, appends, commits: store.commits() }
}

/// A sealed record; its bytes are cut or padded to the row's size, which the store does not look into.
fn row(journal: &ApplicationName, tail: &Tail) -> Sealed {
    let events = vec![Event::EpochStarted { holder: "bench".to_owned() }];
    let mut sealed = seal(journal, tail, 0, Timestamp::UNIX_EPOCH, events).expect("a small record");
    sealed.bytes.resize(ROW_BYTES, b' ');
    sealed.hash = Digest::of(&sealed.bytes);
    sealed
}
