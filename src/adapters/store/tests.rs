//! What only a store in a file can show: reopening, ownership, damage, torn logs, a full disk, group commit.
//! What every store must do is in `tests/it/store_conformance.rs`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::{
    domain::{
        id::{ApplicationName, Digest},
        journal::{Event, Sealed, Tail, seal, verify},
    },
    ports::{
        JournalStore,
        journal::{AppendError, ReadError},
    },
};

type Stored = Vec<(ApplicationName, Vec<(Vec<u8>, Digest)>)>;

fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("journals.db");
    (dir, path)
}

fn name(name: &str) -> ApplicationName {
    name.parse().expect("valid")
}

fn record(journal: &ApplicationName, tail: &Tail, text: &str) -> (Sealed, Tail) {
    let events = vec![Event::EpochStarted { holder: text.to_owned() }];
    let sealed = seal(journal, tail, 0, Timestamp::UNIX_EPOCH, events).expect("small");
    let tail = Tail { next_seq: sealed.record.seq + 1, hash: sealed.hash.clone(), epoch: 0 };
    (sealed, tail)
}

async fn grow(store: &SqliteStore, journal: &str, count: usize) -> Vec<Sealed> {
    let journal = name(journal);
    let (mut tail, mut grown) = (Tail::empty(), Vec::new());
    for n in 0..count {
        let (sealed, next) = record(&journal, &tail, &format!("holder-{n}-{}", "x".repeat(n)));
        store.append(&sealed).await.expect("appended");
        tail = next;
        grown.push(sealed);
    }
    grown
}

/// Everything in the store, verified; the error is whatever refused it.
async fn contents(store: &SqliteStore) -> Result<Stored, String> {
    let mut all = Vec::new();
    for journal in store.journals().await.map_err(|e| e.to_string())? {
        let records = store.read(&journal, 0, usize::MAX).await.map_err(|e| e.to_string())?;
        let mut tail = Tail::empty();
        for (bytes, hash) in &records {
            tail = verify(&tail, bytes, hash).map_err(|e| e.to_string())?.1;
        }
        all.push((journal, records));
    }
    Ok(all)
}

fn refusal(path: &Path) -> OpenError {
    match SqliteStore::open(path) {
        Ok(store) => panic!("must be refused: {store:?}"),
        Err(e) => e,
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_reopening() {
    let (_dir, path) = place();
    let store = SqliteStore::open(&path).expect("made");
    grow(&store, "a", 20).await;
    grow(&store, "b", 5).await;
    let before = contents(&store).await.expect("sound");
    drop(store);
    assert!(!path.with_file_name("journals.db-wal").exists(), "a clean end folds the log in");
    let store = SqliteStore::open(&path).expect("reopened");
    assert_eq!(contents(&store).await.expect("sound"), before);
    assert_eq!(store.commits(), 0);
}

#[tokio::test]
async fn a_second_owner_is_refused_at_once_and_told_who_the_first_is() {
    let (dir, path) = place();
    let store = SqliteStore::open(&path).expect("made");
    grow(&store, "a", 1).await;
    let link = dir.path().join("other-name.db");
    std::os::unix::fs::symlink(&path, &link).expect("linked");
    for spelling in [&path, &link] {
        let e = refusal(spelling);
        assert_eq!(e.code(), "store-locked");
        let process = format!("process {}", std::process::id());
        assert!(e.to_string().contains(&process), "{e}");
    }
    // The attempt took nothing from the first.
    grow(&store, "b", 1).await;
    drop(store);
    SqliteStore::open(&path).expect("free again");
}

#[test]
fn what_is_not_ours_is_refused_and_left_untouched() {
    let (dir, path) = place();
    let foreign = dir.path().join("foreign.db");
    Connection::open(&foreign)
        .and_then(|c| c.execute_batch("CREATE TABLE notes (text TEXT); PRAGMA user_version = 7"))
        .expect("made");
    let cases = [
        (b"[store]\npath = 1\n".repeat(40), "it is not a SQLite file"),
        (b"tiny".to_vec(), "it is not a SQLite file"),
        (Vec::new(), "it is empty"),
        (fs::read(&foreign).expect("read"), "its application_id is"),
    ];
    for (bytes, reason) in cases {
        fs::write(&path, &bytes).expect("written");
        let e = refusal(&path);
        assert_eq!(e.code(), "store-foreign", "{e}");
        assert!(e.to_string().contains(reason), "{e}");
        assert_eq!(fs::read(&path).expect("read"), bytes);
        assert!(!path.with_file_name("journals.db-wal").exists());
    }
    fs::remove_file(&path).expect("removed");
    fs::create_dir(&path).expect("made");
    assert_eq!(refusal(&path).code(), "store-foreign");
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_untouched() {
    let (_dir, path) = place();
    drop(SqliteStore::open(&path).expect("made"));
    Connection::open(&path).and_then(|c| c.pragma_update(None, "user_version", SCHEMA_VERSION + 1)).expect("raised");
    let bytes = fs::read(&path).expect("read");
    assert_eq!(refusal(&path).code(), "store-newer-schema");
    assert_eq!(fs::read(&path).expect("read"), bytes);
}

#[test]
fn a_store_without_a_place_says_what_is_missing() {
    let e = refusal(Path::new("/nonexistent-directory/journals.db"));
    assert_eq!(e.code(), "store-unavailable");
    assert_eq!(refusal(Path::new("/")).code(), "store-foreign");
    // `/proc` takes no files.
    let e = refusal(Path::new("/proc/journals.db"));
    assert!(matches!(e, OpenError::Io { .. } | OpenError::ReadOnly { .. }), "{e:?}");
}

#[tokio::test]
async fn a_lost_file_whose_log_is_left_is_not_taken_for_a_fresh_start() {
    let (_dir, path) = place();
    fs::write(path.with_file_name("journals.db-wal"), b"left behind").expect("written");
    let e = refusal(&path);
    assert_eq!(e.code(), "store-corrupted");
    assert!(e.to_string().contains("the file is gone"), "{e}");
}

#[tokio::test]
async fn a_half_made_store_is_made_again() {
    let (dir, path) = place();
    fs::write(dir.path().join("journals.db.new"), b"died here").expect("written");
    fs::write(dir.path().join("journals.db.new-wal"), b"died here").expect("written");
    let store = SqliteStore::open(&path).expect("made");
    grow(&store, "a", 2).await;
}

/// Flips one bit at sampled places: either somebody notices, or nothing of what is read is different.
#[tokio::test]
async fn a_flipped_bit_is_noticed_or_changes_nothing() {
    let (dir, path) = place();
    let store = SqliteStore::open(&path).expect("made");
    for journal in ["a", "bb", "ccc"] {
        grow(&store, journal, 25).await;
    }
    let sound = contents(&store).await.expect("sound");
    drop(store);
    let bytes = fs::read(&path).expect("read");
    let damaged = dir.path().join("damaged.db");
    let (mut noticed, mut harmless) = (0, 0);
    // A stride without a common factor with the page's 4,096 bytes visits headers, cells and free space alike.
    for (n, at) in (0..bytes.len()).step_by(331).enumerate() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (n % 8);
        fs::write(&damaged, &flipped).expect("written");
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(dir.path().join(format!("damaged.db{suffix}")));
        }
        let read = match SqliteStore::open(&damaged) {
            Ok(store) => contents(&store).await,
            Err(e) => Err(e.to_string()),
        };
        match read {
            Err(_) => noticed += 1,
            Ok(read) => {
                assert!(read == sound, "the flip at byte {at} went unnoticed");
                harmless += 1;
            }
        }
    }
    assert!(noticed > harmless, "{noticed} noticed, {harmless} harmless: most of the file is records");
}

#[tokio::test]
async fn damaged_pages_are_refused_at_the_start_and_kept_as_they_are() {
    let (_dir, path) = place();
    let store = SqliteStore::open(&path).expect("made");
    grow(&store, "a", 60).await;
    drop(store);
    let mut bytes = fs::read(&path).expect("read");
    let page = 4_096;
    assert!(bytes.len() > 3 * page);
    bytes[2 * page..2 * page + 64].fill(0xff);
    fs::write(&path, &bytes).expect("written");
    let e = refusal(&path);
    assert_eq!(e.code(), "store-corrupted", "{e}");
    assert_eq!(fs::read(&path).expect("read"), bytes);
    bytes.truncate(70);
    fs::write(&path, &bytes).expect("written");
    assert_eq!(refusal(&path).code(), "store-corrupted");
}

#[tokio::test]
async fn a_refused_file_keeps_its_log() {
    let (dir, path) = place();
    let store = SqliteStore::open(&path).expect("made");
    grow(&store, "a", 10).await;
    let log = fs::read(path.with_file_name("journals.db-wal")).expect("the log is in use");
    let other = dir.path().join("other.db");
    fs::copy(&path, &other).expect("copied");
    fs::write(dir.path().join("other.db-wal"), &log).expect("written");
    // The log is sound, but what it leads to is not a schema of ours.
    Connection::open(&other)
        .and_then(|c| {
            c.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            c.execute_batch("CREATE TABLE stray (text TEXT)")
        })
        .expect("strayed");
    let before = fs::read(&other).expect("read");
    let log = fs::read(dir.path().join("other.db-wal")).expect("the log was kept");
    assert_eq!(refusal(&other).code(), "store-corrupted");
    assert_eq!(fs::read(&other).expect("read"), before);
    let kept = fs::read(dir.path().join("other.db-wal")).expect("the log is there");
    assert!(kept == log);
}

#[tokio::test]
async fn a_record_that_is_missing_in_the_middle_is_corruption() {
    let (_dir, path) = place();
    let store = SqliteStore::open(&path).expect("made");
    grow(&store, "a", 5).await;
    Connection::open(&path)
        .and_then(|c| c.execute("DELETE FROM records WHERE seq = 2", []))
        .expect("deleted behind its back");
    let read = store.read(&name("a"), 0, 10).await;
    let Err(ReadError::Corrupted { reason }) = read else {
        panic!("expected corruption, got {read:?}");
    };
    assert_eq!(reason, "journal `a`: record 3 stands where 2 should");
}

/// A crash may leave any part of the log: what is then read is a prefix of what was appended, never anything else.
#[tokio::test]
async fn a_log_cut_anywhere_leaves_a_prefix() {
    let (dir, path) = place();
    let store = SqliteStore::open(&path).expect("made");
    let grown = grow(&store, "a", 40).await;
    let all: Vec<_> = grown.iter().map(|s| (s.bytes.clone(), s.hash.clone())).collect();
    let main = fs::read(&path).expect("read");
    let log = fs::read(path.with_file_name("journals.db-wal")).expect("the log is in use");
    let torn = dir.path().join("torn.db");
    let mut lengths = Vec::new();
    // 24 + 4,096 bytes is one frame of the log; the stride meets headers, frame edges and insides.
    for cut in (0..=log.len()).step_by(2_053).chain([log.len()]) {
        fs::write(&torn, &main).expect("written");
        fs::write(dir.path().join("torn.db-wal"), &log[..cut]).expect("written");
        let _ = fs::remove_file(dir.path().join("torn.db-shm"));
        let store = SqliteStore::open(&torn).expect("a torn log is a crash, not corruption");
        let read = contents(&store).await.expect("sound");
        let records = read.first().map_or(&[][..], |(_, records)| records);
        assert_eq!(records, &all[..records.len()], "cut after {cut} bytes of {}", log.len());
        lengths.push(records.len());
        // And it can be continued from there.
        let tail = records.iter().fold(Tail::empty(), |tail, (_, hash)| Tail {
            next_seq: tail.next_seq + 1,
            hash: hash.clone(),
            epoch: 0,
        });
        let (next, _) = record(&name("a"), &tail, "after the crash");
        store.append(&next).await.expect("appended");
    }
    assert!(lengths.is_sorted(), "{lengths:?}");
    assert_eq!((lengths.first(), lengths.last()), (Some(&0), Some(&40)));
}

#[tokio::test]
async fn a_full_disk_fails_the_append_and_everything_after_it() {
    let (_dir, path) = place();
    drop(SqliteStore::open(&path).expect("made"));
    let store = SqliteStore::open_with_pages_max(&path, 12).expect("opened");
    let journal = name("a");
    let (mut tail, mut written) = (Tail::empty(), 0);
    let reason = loop {
        let (sealed, next) = record(&journal, &tail, &"x".repeat(3_000));
        match store.append(&sealed).await {
            Ok(()) => (tail, written) = (next, written + 1),
            Err(AppendError::Failed { reason }) => break reason,
            Err(e) => panic!("{e}"),
        }
        assert!(written < 100, "the limit must bite");
    };
    assert!(reason.starts_with("the disk is full"), "{reason}");
    assert!(written > 2);
    let (small, _) = record(&journal, &tail, "small");
    let later = store.append(&small).await;
    let Err(AppendError::Failed { reason }) = later else {
        panic!("a store that failed accepts nothing: {later:?}");
    };
    assert!(reason.contains("the disk is full"), "{reason}");
    let there = contents(&store).await.expect("what was acknowledged is read");
    assert_eq!(there[0].1.len(), written);
    drop(store);
    let store = SqliteStore::open(&path).expect("a new start");
    store.append(&small).await.expect("goes on with the next");
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_that_wait_together_are_committed_together() {
    let (_dir, path) = place();
    let store = SqliteStore::open(&path).expect("made");
    grow(&store, "one", 10).await;
    assert_eq!(store.commits(), 10, "one at a time is one fsync each");
    let store = std::sync::Arc::new(store);
    let tasks: Vec<_> = (0..200)
        .map(|n| {
            let store = std::sync::Arc::clone(&store);
            tokio::spawn(async move { grow(&store, &format!("app-{n}"), 5).await })
        })
        .collect();
    for task in tasks {
        task.await.expect("appended");
    }
    let commits = store.commits() - 10;
    assert!(commits < 500, "1,000 appends in {commits} commits");
}

/// A real full disk: a tmpfs, where mounting is allowed; elsewhere the test above stands for it.
#[tokio::test]
async fn a_disk_that_is_really_full_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let mount = |args: &[&str]| {
        std::process::Command::new(args[0])
            .args(&args[1..])
            .arg(dir.path())
            .stderr(std::process::Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    if !mount(&["mount", "-t", "tmpfs", "-o", "size=256k", "none"]) {
        eprintln!("not run: mounting is not allowed here");
        return;
    }
    let outcome = fill(&dir.path().join("journals.db")).await;
    assert!(mount(&["umount"]), "the mount must go");
    let (reason, reopened) = outcome;
    assert!(reason.starts_with("the disk is full"), "{reason}");
    assert!(reopened, "what was acknowledged is read on the full disk");
}

async fn fill(path: &Path) -> (String, bool) {
    let store = SqliteStore::open(path).expect("made");
    let (mut tail, mut written) = (Tail::empty(), 0);
    let reason = loop {
        let (sealed, next) = record(&name("a"), &tail, &"x".repeat(9_000));
        match store.append(&sealed).await {
            Ok(()) => (tail, written) = (next, written + 1),
            Err(e) => break e,
        }
    };
    let AppendError::Failed { reason } = reason else {
        panic!("{reason}");
    };
    let there = contents(&store).await.map(|all| all[0].1.len());
    (reason, there == Ok(written))
}
