//! Loss of power under the SQLite store: what the disk may be left with at any moment, and what a start makes of it.
//!
//! Whatever is left is a prefix of the journal, verified record by record; every record whose commit is wholly in
//! what is left of the log is in it. That an append is answered only when the disk has it is shown by watching the
//! system calls of a store at work ([`calls`]).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use failoverd::{
    adapters::store::SqliteStore,
    domain::{
        id::{ApplicationName, Digest},
        journal::{Event, Sealed, Tail, seal, verify},
    },
    ports::JournalStore,
};
use jiff::Timestamp;
use rand_chacha::{
    ChaCha12Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use rusqlite::{Connection, config::DbConfig};
use tempfile::TempDir;

mod calls;

/// The header of a log, and that of each frame in it, before its page [sqlite.org/fileformat.html 4.1].
const LOG_HEADER: usize = 32;
const FRAME: usize = 24 + PAGE;
const PAGE: usize = 4_096;
/// The unit that a disk writes whole or not at all.
const SECTOR: usize = 512;
/// Two cores: two stores are opened at a time.
const LANES: usize = 2;

type Stored = Vec<(Vec<u8>, Digest)>;

/// A directory that is cheap to write to: what is tested here is what stands in files, not how it came there.
fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory")
}

fn journal() -> ApplicationName {
    "payments".parse().expect("valid")
}

/// A record that follows `tail`, with about `bytes` bytes of text.
fn record(tail: &Tail, bytes: usize) -> (Sealed, Tail) {
    let holder = format!("holder-{}-{}", tail.next_seq, "x".repeat(bytes));
    let sealed = seal(&journal(), tail, 0, Timestamp::UNIX_EPOCH, vec![Event::EpochStarted { holder }]);
    let sealed = sealed.expect("small");
    let after = Tail { next_seq: tail.next_seq + 1, hash: sealed.hash.clone(), epoch: 0 };
    (sealed, after)
}

/// A store at work, and what it has acknowledged.
struct Grown {
    store: SqliteStore,
    path: PathBuf,
    tail: Tail,
    all: Stored,
    /// How much of the log there was when each record was acknowledged.
    ends: Vec<usize>,
    _directory: TempDir,
}

impl Grown {
    fn new() -> Self {
        let directory = directory();
        let path = directory.path().join("journal.sqlite");
        let store = SqliteStore::open(&path).expect("made");
        Self { store, path, tail: Tail::empty(), all: vec![], ends: vec![], _directory: directory }
    }

    async fn append(&mut self, bytes: usize) {
        let (sealed, after) = record(&self.tail, bytes);
        self.store.append(&sealed).await.expect("appended");
        self.all.push((sealed.bytes, sealed.hash));
        self.tail = after;
        self.ends.push(written(&self.log()));
    }

    fn file(&self) -> Vec<u8> {
        fs::read(&self.path).expect("the file")
    }

    fn log(&self) -> Vec<u8> {
        fs::read(self.path.with_file_name("journal.sqlite-wal")).expect("the log is in use")
    }

    /// How many records have their commit wholly in the first `bytes` bytes of the log.
    fn within(&self, bytes: usize) -> usize {
        self.ends.iter().filter(|end| **end <= bytes).count()
    }
}

/// How many bytes of a log are of its newest generation: after a checkpoint it is written anew from its start.
fn written(log: &[u8]) -> usize {
    let salt = &log[16..24];
    let frames = log[LOG_HEADER..].chunks_exact(FRAME).take_while(|frame| &frame[8..16] == salt).count();
    LOG_HEADER + frames * FRAME
}

/// Where copies are opened.
struct Wreck {
    directory: TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Wreck {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { directory: directory(), runtime }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("journal.sqlite")
    }

    fn lay(&self, file: &[u8], log: &[u8]) {
        let path = self.path();
        fs::write(&path, file).expect("written");
        fs::write(path.with_file_name("journal.sqlite-wal"), log).expect("written");
        let _ = fs::remove_file(path.with_file_name("journal.sqlite-shm"));
    }

    /// What a start finds: verified records, or why it refuses.
    fn start(&self, file: &[u8], log: &[u8]) -> Result<Stored, String> {
        self.lay(file, log);
        let store = SqliteStore::open(&self.path()).map_err(|e| e.to_string())?;
        self.runtime.block_on(verified(&store))
    }

    /// What a start must find: `all`, as far as its first `count` records, and it goes on from there.
    fn finds(&self, file: &[u8], log: &[u8], all: &Stored, count: usize, what: &dyn Fn() -> String) {
        self.lay(file, log);
        let store = SqliteStore::open(&self.path()).unwrap_or_else(|e| panic!("{}: {e}", what()));
        let found = self.runtime.block_on(verified(&store)).unwrap_or_else(|e| panic!("{}: {e}", what()));
        assert!(found.len() == count, "{}: {} records, expected {count}", what(), found.len());
        assert!(found == all[..count], "{}: a record is not as it was written", what());
    }
}

async fn verified(store: &SqliteStore) -> Result<Stored, String> {
    let all = store.read(&journal(), 0, usize::MAX).await.map_err(|e| e.to_string())?;
    let mut tail = Tail::empty();
    for (bytes, hash) in &all {
        tail = verify(&tail, bytes, hash).map_err(|e| e.to_string())?.1;
    }
    Ok(all)
}

/// Runs `check` for every number below `count`, several at a time.
fn every(count: usize, check: impl Fn(&Wreck, usize) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let lane = || {
            let wreck = Wreck::new();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= count {
                    return;
                }
                check(&wreck, n);
            }
        };
        let lanes: Vec<_> = (0..LANES).map(|_| scope.spawn(lane)).collect();
        for lane in lanes {
            // The panic has said what it is about.
            lane.join().expect("every check holds");
        }
    });
}

/// A log of a few commits: of one page, of several, and one that makes the file longer.
async fn a_few() -> Grown {
    let mut grown = Grown::new();
    for bytes in [10, 40, 2_600, 10] {
        grown.append(bytes).await;
    }
    grown
}

/// The log ends at any byte: the records of the commits before it are there, and no other.
#[tokio::test]
async fn a_log_cut_at_every_byte_leaves_exactly_the_commits_before_the_cut() {
    let grown = a_few().await;
    let (file, log) = (grown.file(), grown.log());
    assert_eq!(grown.ends.last(), Some(&log.len()), "nothing comes after the last commit");
    assert!(
        grown.ends.windows(2).all(|pair| pair[0] < pair[1]),
        "each commit is longer than the last: {:?}",
        grown.ends
    );
    every(log.len() + 1, |wreck, cut| {
        wreck.finds(&file, &log[..cut], &grown.all, grown.within(cut), &|| format!("cut after {cut} bytes"));
    });
    println!("{} cuts of a log with {} commits, at {:?}", log.len() + 1, grown.all.len(), grown.ends);
}

/// What stood on the disk before is left behind the cut: rubbish, zeros, or the frames of an older log.
#[tokio::test]
async fn rubbish_behind_the_cut_is_never_taken_for_records() {
    let grown = a_few().await;
    let older = a_few().await.log();
    let (file, log) = (grown.file(), grown.log());
    // A stride without a common factor with a frame meets headers, edges and insides.
    let cuts: Vec<_> = (0..=log.len()).step_by(331).chain(grown.ends.iter().copied()).collect();
    every(cuts.len() * 3, |wreck, n| {
        let (cut, kind) = (cuts[n / 3], n % 3);
        let mut left = log[..cut].to_vec();
        match kind {
            0 => left.resize(log.len() + PAGE, 0),
            1 => {
                let mut rng = ChaCha12Rng::seed_from_u64(n as u64);
                left.resize(log.len() + SECTOR, 0);
                rng.fill_bytes(&mut left[cut..]);
            }
            _ => left.extend_from_slice(&older[cut..]),
        }
        let what = || format!("cut after {cut} bytes, then rubbish of kind {kind}");
        if cut < LOG_HEADER && kind == 2 {
            // Another log's header may make it wholly that log, of a store with the same records.
            let found = wreck.start(&file, &left).unwrap_or_else(|e| panic!("{}: {e}", what()));
            assert!(grown.all.starts_with(&found), "{}", what());
        } else {
            wreck.finds(&file, &left, &grown.all, grown.within(agree(&log, &left)), &what);
        }
    });
}

/// How many bytes two logs have in common: rubbish may happen to be what stood there.
fn agree(log: &[u8], left: &[u8]) -> usize {
    log.iter().zip(left).take_while(|(a, b)| a == b).count()
}

/// Sectors reach the disk in any order: one that never did, or one bit that rotted, ends the log there.
#[tokio::test]
async fn a_hole_or_a_flipped_bit_in_the_log_ends_it_there() {
    let grown = a_few().await;
    let (file, log) = (grown.file(), grown.log());
    let flips: Vec<_> = (0..log.len()).step_by(97).chain(0..LOG_HEADER + 24).collect();
    every(flips.len(), |wreck, n| {
        let (at, mut left) = (flips[n], log.clone());
        left[at] ^= 1 << (n % 8);
        wreck.finds(&file, &left, &grown.all, grown.within(at), &|| format!("bit {} of byte {at} flipped", n % 8));
    });
    every(log.len() / SECTOR, |wreck, n| {
        let (at, mut left) = (n * SECTOR, log.clone());
        left[at..at + SECTOR].fill(0);
        let expected = grown.within(agree(&log, &left));
        wreck.finds(&file, &left, &grown.all, expected, &|| format!("sector {n} was never written"));
    });
}

/// While a log is folded into the file, any of the file's sectors may be new and any old: with the log, all is there.
#[tokio::test]
async fn a_checkpoint_that_was_cut_short_loses_nothing() {
    let mut grown = Grown::new();
    for n in 0..40 {
        grown.append(30 * n).await;
    }
    let (before, log) = (grown.file(), grown.log());
    let after = {
        let path = grown.path.with_file_name("copy.sqlite");
        fs::write(&path, &before).expect("written");
        fs::write(path.with_file_name("copy.sqlite-wal"), &log).expect("written");
        fold(&path);
        fs::read(path).expect("the folded file")
    };
    assert!(after.len() > before.len() + 4 * PAGE, "the checkpoint wrote something");
    every(96, |wreck, n| {
        let mut rng = ChaCha12Rng::seed_from_u64(n as u64);
        let mut mixed = after.clone();
        // The file may not even have grown.
        let grew = (after.len() - before.len()) / PAGE;
        mixed.truncate(before.len() + below(&mut rng, grew + 1) * PAGE);
        for (at, sector) in before.chunks(SECTOR).enumerate() {
            if rng.next_u64().is_multiple_of(2) {
                mixed[at * SECTOR..][..sector.len()].copy_from_slice(sector);
            }
        }
        for sector in mixed[before.len()..].chunks_mut(SECTOR) {
            if rng.next_u64().is_multiple_of(2) {
                sector.fill(0);
            }
        }
        // SQLite's header tells whose file it is: it is looked at before the log, and sector 0 is written whole.
        wreck.finds(&mixed, &log, &grown.all, grown.all.len(), &|| format!("mix {n}"));
    });
}

/// After a checkpoint the log is written anew over its old frames: none of those is ever read again.
#[tokio::test]
async fn a_log_that_was_begun_anew_hides_its_old_frames() {
    let mut grown = Grown::new();
    for _ in 0..12 {
        grown.append(600).await;
    }
    let old = grown.log().len();
    fold_shared(&grown.path);
    let folded = grown.all.len();
    grown.ends.iter_mut().for_each(|end| *end = 0);
    for _ in 0..4 {
        grown.append(20).await;
    }
    let (file, log) = (grown.file(), grown.log());
    assert_eq!(log.len(), old, "the log was written over, not made longer");
    let end = *grown.ends.last().expect("records");
    assert!(end < old / 2, "old frames follow the new ones: {end} of {old}");
    let cuts: Vec<_> = (LOG_HEADER..=end).step_by(61).chain(grown.ends[folded..].iter().copied()).collect();
    // The new frames up to the cut, then the old ones as they were: with rubbish where the torn one ends.
    every(cuts.len(), |wreck, n| {
        let (cut, mut left) = (cuts[n], log.clone());
        let torn = (end - cut).min(SECTOR);
        left[cut..cut + torn].iter_mut().for_each(|byte| *byte ^= 0x5a);
        wreck.finds(&file, &left, &grown.all, grown.within(cut), &|| format!("torn at byte {cut} of a new log"));
    });
}

fn below(rng: &mut ChaCha12Rng, limit: usize) -> usize {
    usize::try_from(rng.next_u64() % limit as u64).expect("below a usize")
}

/// Folds the log into the file and leaves the log.
fn fold(path: &Path) {
    let connection = Connection::open(path).expect("opened");
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).expect("set");
    checkpoint(&connection);
}

/// The same while the store has it open, whose next commit then begins the log anew.
fn fold_shared(path: &Path) {
    checkpoint(&Connection::open(path).expect("opened"));
}

fn checkpoint(connection: &Connection) {
    let (busy, log, folded) = connection
        .query_row("PRAGMA wal_checkpoint(FULL)", [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .expect("a checkpoint");
    let (busy, log, folded): (i64, i64, i64) = (busy, log, folded);
    assert!(busy == 0 && log == folded, "the whole log was folded: {busy} {log} {folded}");
}

/// Where a process that is watched finds its store; only set by the test that watches it.
const WATCHED: &str = "FAILOVERD_TEST_WATCHED_STORE";
/// How many appends are watched.
const APPENDS: usize = 25;

/// Appends, and says so after each: what the next test watches. By itself it shows nothing and does nothing.
#[tokio::test]
async fn watched_appends() {
    let Ok(directory) = std::env::var(WATCHED) else { return };
    let directory = Path::new(&directory);
    let store = SqliteStore::open(&directory.join("journal.sqlite")).expect("made");
    let mut said = fs::File::create(directory.join("acknowledged")).expect("a file");
    let mut tail = Tail::empty();
    for n in 0..APPENDS {
        let (sealed, after) = record(&tail, n * 150);
        store.append(&sealed).await.expect("appended");
        tail = after;
        std::io::Write::write_all(&mut said, b"acknowledged\n").expect("said");
    }
}

/// Between an append's last write and its answer stands an `fdatasync` (or `fsync`) of the log that succeeded.
#[test]
fn no_append_is_acknowledged_before_the_disk_has_it() {
    let traced = |command: &mut Command| command.args(["-f", "-o", "/dev/null", "true"]).output();
    match traced(&mut Command::new("strace")) {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            eprintln!("not run: strace may trace nothing here: {}", String::from_utf8_lossy(&output.stderr));
            return;
        }
        Err(e) => {
            eprintln!("not run: strace does not start ({e}); Debian: apt install strace");
            return;
        }
    }
    let directory = tempfile::tempdir().expect("a directory");
    let trace = directory.path().join("trace");
    let output = Command::new("strace")
        .args(["-f", "-y", "-s", "16", "-e", "trace=pwrite64,write,fdatasync,fsync", "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", "power_loss::watched_appends", "--nocapture"])
        .env(WATCHED, directory.path())
        .output()
        .expect("strace starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let trace = fs::read_to_string(trace).expect("a trace");
    let calls = calls::read(&trace);
    let (appends, syncs) = calls::judge(&calls).unwrap_or_else(|e| panic!("{e}\n{trace}"));
    assert_eq!(appends, APPENDS, "every acknowledgement was seen");
    println!("{appends} acknowledged appends, each after its own of {syncs} syncs of the log");
    // The judge sees it when the one sync that an answer stood on is missing.
    let stood_on =
        |at: &usize| calls[*at] == calls::Call::Synced && calls.get(at + 1) == Some(&calls::Call::Acknowledged);
    let stood_on: Vec<_> = (0..calls.len()).filter(stood_on).collect();
    assert_eq!(stood_on.len(), APPENDS);
    for at in stood_on {
        let mut fewer = calls.clone();
        fewer.remove(at);
        assert!(calls::judge(&fewer).is_err(), "a missing sync goes unseen");
    }
}
