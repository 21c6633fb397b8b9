//! What every `JournalStore`, `Leases` and `Outboxes` must do, as three suites: [`conforms`], [`leases_conform`] and
//! [`outboxes_conform`] run against any store that starts empty.
//!
//! What only one kind of store can show (its file, its locks) is tested beside that store.

use std::sync::Arc;

use failoverd::{
    adapters::store::{SqliteOutboxes, SqliteStore},
    domain::{
        id::{ApplicationName, Digest},
        journal::{Event, RECORD_BYTES_MAX, Sealed, Tail, seal, verify},
        lease::Lease,
    },
    ports::{
        JournalStore, Leases, Outboxes,
        journal::AppendError,
        lease::PutError,
        outboxes::{self, Page},
    },
    sim::rehearse::{leases::MemoryLeases, outboxes::MemoryOutboxes, store::MemoryStore},
};
use jiff::Timestamp;

use crate::support::dynamodb::{self, Dynalite, PATIENT};

pub(crate) fn name(name: &str) -> ApplicationName {
    name.parse().expect("valid")
}

pub(crate) fn record(journal: &ApplicationName, tail: &Tail, holder: &str) -> Sealed {
    let events = vec![Event::EpochStarted { holder: holder.to_owned() }];
    seal(journal, tail, tail.epoch, Timestamp::UNIX_EPOCH, events).expect("a small record")
}

pub(crate) fn after(sealed: &Sealed) -> Tail {
    Tail { next_seq: sealed.record.seq + 1, hash: sealed.hash.clone(), epoch: sealed.record.epoch }
}

/// Appends `count` records and returns them.
pub(crate) async fn grow(store: &dyn JournalStore, journal: &ApplicationName, count: u64) -> Vec<Sealed> {
    let (mut tail, mut grown) = (Tail::empty(), Vec::new());
    for n in 0..count {
        let sealed = record(journal, &tail, &format!("holder-{n}"));
        store.append(&sealed).await.expect("appended");
        tail = after(&sealed);
        grown.push(sealed);
    }
    grown
}

/// Everything in the journal, each record verified against the one before it.
pub(crate) async fn verified(store: &dyn JournalStore, journal: &ApplicationName) -> Vec<(Vec<u8>, Digest)> {
    let all = store.read(journal, 0, usize::MAX).await.expect("read");
    let mut tail = Tail::empty();
    for (bytes, hash) in &all {
        let (found, next) = verify(&tail, bytes, hash).expect("the chain holds");
        assert_eq!(found.journal, *journal);
        tail = next;
    }
    all
}

pub(crate) fn stored(sealed: &[Sealed]) -> Vec<(Vec<u8>, Digest)> {
    sealed.iter().map(|sealed| (sealed.bytes.clone(), sealed.hash.clone())).collect()
}

/// The whole suite. Every case has journals of its own, so one store serves them all.
async fn conforms(store: Arc<dyn JournalStore>) {
    an_empty_store_has_no_journals(&*store).await;
    records_are_read_in_order_and_as_written(&*store).await;
    a_wrong_seq_is_a_conflict_and_writes_nothing(&*store).await;
    a_wrong_prev_hash_is_a_conflict_and_writes_nothing(&*store).await;
    a_record_that_no_reader_could_verify_is_not_written(&*store).await;
    reads_start_and_stop_where_asked(&*store).await;
    many_journals_grow_at_once(&store).await;
    of_many_rivals_for_one_seq_one_wins(&store).await;
    records_as_large_as_they_may_be_are_read_page_by_page(&*store).await;
    journals_are_listed_once_each(&*store).await;
}

async fn an_empty_store_has_no_journals(store: &dyn JournalStore) {
    assert_eq!(store.journals().await, Ok(vec![]));
    assert_eq!(store.read(&name("nobody"), 0, 10).await, Ok(vec![]));
}

async fn records_are_read_in_order_and_as_written(store: &dyn JournalStore) {
    let journal = name("order");
    let grown = grow(store, &journal, 12).await;
    assert_eq!(verified(store, &journal).await, stored(&grown));
}

async fn refused(store: &dyn JournalStore, sealed: &Sealed) {
    let journal = &sealed.record.journal;
    let before = store.read(journal, 0, usize::MAX).await.expect("read");
    let conflict = AppendError::Conflict { journal: journal.clone(), seq: sealed.record.seq };
    assert_eq!(store.append(sealed).await, Err(conflict));
    let later = store.read(journal, 0, usize::MAX).await.expect("read");
    assert_eq!(later, before, "a conflict must write nothing");
}

async fn a_wrong_seq_is_a_conflict_and_writes_nothing(store: &dyn JournalStore) {
    let journal = name("seq");
    let grown = grow(store, &journal, 3).await;
    let tail = after(&grown[2]);
    for next_seq in [0, 1, 2, 4, 5, u64::MAX] {
        let wrong = Tail { next_seq, ..tail.clone() };
        refused(store, &record(&journal, &wrong, "wrong")).await;
    }
    // The very same record again is a conflict too: the caller must read to learn that it is there.
    refused(store, &grown[2]).await;
    let gap = Tail { next_seq: 1, ..Tail::empty() };
    refused(store, &record(&name("seq-empty"), &gap, "wrong")).await;
    store
        .append(&record(&journal, &tail, "right"))
        .await
        .expect("a conflict leaves the journal open to the right record");
}

async fn a_wrong_prev_hash_is_a_conflict_and_writes_nothing(store: &dyn JournalStore) {
    let journal = name("hash");
    let grown = grow(store, &journal, 2).await;
    for hash in [Digest::of(b"another"), Digest::zero(), grown[0].hash.clone()] {
        let wrong = Tail { hash, ..after(&grown[1]) };
        refused(store, &record(&journal, &wrong, "wrong")).await;
    }
    let rootless = Tail { hash: Digest::of(b"before the beginning"), ..Tail::empty() };
    refused(store, &record(&name("hash-empty"), &rootless, "wrong")).await;
}

async fn a_record_that_no_reader_could_verify_is_not_written(store: &dyn JournalStore) {
    let journal = name("unfit");
    let mut large = record(&journal, &Tail::empty(), "large");
    large.bytes.resize(RECORD_BYTES_MAX + 1, b' ');
    large.hash = Digest::of(&large.bytes);
    let mut other_hash = record(&journal, &Tail::empty(), "other");
    other_hash.hash = Digest::of(b"not these bytes");
    for unfit in [large, other_hash] {
        let answer = store.append(&unfit).await;
        assert!(matches!(answer, Err(AppendError::Failed { .. })), "{answer:?}");
        assert_eq!(store.read(&journal, 0, 10).await, Ok(vec![]));
    }
    grow(store, &journal, 1).await; // And the store goes on.
}

async fn reads_start_and_stop_where_asked(store: &dyn JournalStore) {
    let journal = name("limits");
    let all = stored(&grow(store, &journal, 7).await);
    for (from, limit, expected) in [
        (0, 3, &all[..3]),
        (3, 3, &all[3..6]),
        (6, 100, &all[6..]),
        (5, usize::MAX, &all[5..]),
        (7, 10, &all[..0]),
        (u64::MAX, 10, &all[..0]),
        (0, 0, &all[..0]),
    ] {
        let read = store.read(&journal, from, limit).await.expect("read");
        assert_eq!(read, expected, "from {from}, at most {limit}");
    }
}

async fn many_journals_grow_at_once(store: &Arc<dyn JournalStore>) {
    let tasks: Vec<_> = (0..40)
        .map(|n| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let journal = name(&format!("many-{n}"));
                let grown = grow(&*store, &journal, 15).await;
                // A stale writer in the same groups fails alone.
                let stale = store.append(&grown[3]).await;
                assert!(matches!(stale, Err(AppendError::Conflict { .. })), "{stale:?}");
                assert_eq!(verified(&*store, &journal).await, stored(&grown));
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("every journal grew by itself");
    }
}

async fn of_many_rivals_for_one_seq_one_wins(store: &Arc<dyn JournalStore>) {
    let journal = name("rivals");
    let tail = after(&grow(&**store, &journal, 1).await[0]);
    let tasks: Vec<_> = (0..32)
        .map(|n| {
            let store = Arc::clone(store);
            let rival = record(&journal, &tail, &format!("rival-{n}"));
            tokio::spawn(async move { (store.append(&rival).await, rival) })
        })
        .collect();
    let mut won = Vec::new();
    for task in tasks {
        match task.await.expect("answered") {
            (Ok(()), rival) => won.push(rival),
            (Err(AppendError::Conflict { .. }), _) => {}
            (Err(e), _) => panic!("a rival is refused, not failed: {e}"),
        }
    }
    assert_eq!(won.len(), 1);
    assert_eq!(verified(&**store, &journal).await[1..], stored(&won));
}

async fn records_as_large_as_they_may_be_are_read_page_by_page(store: &dyn JournalStore) {
    let journal = name("large");
    let (mut tail, mut grown) = (Tail::empty(), Vec::new());
    for _ in 0..7 {
        // Its bytes are what a record of this many bytes has at most, and still below the item limit.
        let sealed = record(&journal, &tail, &"x".repeat(RECORD_BYTES_MAX - 400));
        assert!(RECORD_BYTES_MAX - 400 < sealed.bytes.len());
        store.append(&sealed).await.expect("appended");
        tail = after(&sealed);
        grown.push(sealed);
    }
    assert_eq!(verified(store, &journal).await, stored(&grown));
    assert_eq!(store.read(&journal, 2, 4).await, Ok(stored(&grown[2..6])));
}

async fn journals_are_listed_once_each(store: &dyn JournalStore) {
    let listed = store.journals().await.expect("listed");
    let mut expected: Vec<_> = (0..40).map(|n| name(&format!("many-{n}"))).collect();
    expected.extend(["order", "seq", "hash", "unfit", "limits", "rivals", "large"].map(name));
    expected.sort();
    let mut sorted = listed.clone();
    sorted.sort();
    assert_eq!(sorted, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_conforms() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = SqliteStore::open(&dir.path().join("journals.db")).expect("opened");
    conforms(Arc::new(store)).await;
}

#[tokio::test]
async fn sqlite_conforms_on_one_thread() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = SqliteStore::open(&dir.path().join("journals.db")).expect("opened");
    conforms(Arc::new(store)).await;
}

fn held(holder: &str, version: u64) -> Lease {
    Lease {
        version,
        holder: holder.to_owned(),
        url: Some("https://failoverd.us-west-2.example.com".to_owned()),
        region: Some("us-west-2".to_owned()),
        epoch: None,
        records: 0,
        since: Timestamp::UNIX_EPOCH,
        duration_ms: 15_000,
        released: false,
    }
}

#[track_caller]
fn lost(answer: Result<(), PutError>, found: Option<&Lease>) {
    match answer {
        Err(PutError::Lost { found: there, .. }) => assert_eq!(there.as_deref(), found),
        other => panic!("lost, and not {other:?}"),
    }
}

/// The suite of leases. Every case has an application of its own.
async fn leases_conform(store: Arc<dyn Leases>) {
    a_lease_is_taken_where_none_is(&*store).await;
    a_lease_is_taken_over_the_version_that_was_seen(&*store).await;
    the_same_write_again_is_ones_own_and_never_anothers(&*store).await;
    what_is_given_back_is_there_to_be_taken(&*store).await;
    of_many_who_take_a_lease_one_has_it(&store).await;
}

async fn a_lease_is_taken_where_none_is(store: &dyn Leases) {
    let app = name("absent");
    assert_eq!(store.lease(&app).await, Ok(None));
    lost(store.put(&app, &held("a", 5), Some(4)).await, None);
    assert_eq!(store.lease(&app).await, Ok(None), "a write that is lost writes nothing");
    assert_eq!(store.put(&app, &held("a", 1), None).await, Ok(()));
    assert_eq!(store.lease(&app).await, Ok(Some(held("a", 1))));
    lost(store.put(&app, &held("b", 1), None).await, Some(&held("a", 1)));
    assert_eq!(store.lease(&name("absent-too")).await, Ok(None), "each application has its own");
}

async fn a_lease_is_taken_over_the_version_that_was_seen(store: &dyn Leases) {
    let app = name("over");
    assert_eq!(store.put(&app, &held("a", 1), None).await, Ok(()));
    let renewed = Lease { epoch: Some(3), records: 9, ..held("a", 2) };
    assert_eq!(store.put(&app, &renewed, Some(1)).await, Ok(()));
    lost(store.put(&app, &held("b", 2), Some(1)).await, Some(&renewed));
    assert_eq!(store.put(&app, &held("b", 3), Some(2)).await, Ok(()));
    // The one who was paused meanwhile.
    lost(store.put(&app, &held("a", 3), Some(2)).await, Some(&held("b", 3)));
    assert_eq!(store.lease(&app).await, Ok(Some(held("b", 3))));
}

async fn the_same_write_again_is_ones_own_and_never_anothers(store: &dyn Leases) {
    let app = name("again");
    assert_eq!(store.put(&app, &held("a", 1), None).await, Ok(()));
    assert_eq!(store.put(&app, &held("a", 1), None).await, Ok(()), "as if its answer had been lost");
    assert_eq!(store.put(&app, &held("a", 2), Some(1)).await, Ok(()));
    assert_eq!(store.put(&app, &held("a", 2), Some(1)).await, Ok(()));
    // The same version, wanted by another: it is not that one's.
    lost(store.put(&app, &held("b", 2), Some(1)).await, Some(&held("a", 2)));
    // And the holder's own, of another version: too late.
    lost(store.put(&app, &held("a", 1), None).await, Some(&held("a", 2)));
}

async fn what_is_given_back_is_there_to_be_taken(store: &dyn Leases) {
    let app = name("released");
    assert_eq!(store.put(&app, &held("a", 1), None).await, Ok(()));
    let released = Lease { released: true, ..held("a", 2) };
    assert_eq!(store.put(&app, &released, Some(1)).await, Ok(()));
    assert_eq!(store.lease(&app).await, Ok(Some(released.clone())));
    lost(store.put(&app, &held("b", 1), None).await, Some(&released));
    assert_eq!(store.put(&app, &held("b", 3), Some(2)).await, Ok(()));
}

async fn of_many_who_take_a_lease_one_has_it(store: &Arc<dyn Leases>) {
    let app = name("herd");
    assert_eq!(store.put(&app, &held("dead", 1), None).await, Ok(()));
    let tasks: Vec<_> = (0..16)
        .map(|n| {
            let (store, app) = (Arc::clone(store), app.clone());
            tokio::spawn(async move { (store.put(&app, &held(&format!("rival-{n}"), 2), Some(1)).await, n) })
        })
        .collect();
    let mut won = Vec::new();
    for task in tasks {
        match task.await.expect("answered") {
            (Ok(()), n) => won.push(format!("rival-{n}")),
            (Err(PutError::Lost { .. }), _) => {}
            (Err(e), _) => panic!("a rival loses, and does not fail: {e}"),
        }
    }
    let there = store.lease(&app).await.expect("read").expect("taken");
    assert_eq!(won, [there.holder]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_of_the_rehearsals_conforms() {
    conforms(Arc::new(MemoryStore::default())).await;
    leases_conform(Arc::new(MemoryLeases::default())).await;
}

fn page(version: u64, text: &str) -> Page {
    Page { version, text: text.to_owned() }
}

/// What people were told, as a store must keep it.
async fn outboxes_conform(store: Arc<dyn Outboxes>) {
    let (app, other) = (name("told"), name("told-too"));
    let lost =
        |found: Option<Page>| Err(outboxes::PutError::Lost { application: app.clone(), found: found.map(Box::new) });
    assert_eq!(store.page(&app).await, Ok(None));
    assert_eq!(store.put(&app, &page(2, "late")).await, lost(None), "nothing is there to be written over");
    assert_eq!(store.page(&app).await, Ok(None), "a write that is lost writes nothing");
    assert_eq!(store.put(&app, &page(1, "one")).await, Ok(()));
    assert_eq!(store.put(&app, &page(1, "one")).await, Ok(()), "as if its answer had been lost");
    assert_eq!(store.put(&app, &page(1, "another's")).await, lost(Some(page(1, "one"))));
    assert_eq!(store.put(&app, &page(2, "two")).await, Ok(()));
    assert_eq!(store.put(&app, &page(2, "two")).await, Ok(()));
    // The leader before this one, late.
    assert_eq!(store.put(&app, &page(2, "another's")).await, lost(Some(page(2, "two"))));
    assert_eq!(store.put(&app, &page(4, "a gap")).await, lost(Some(page(2, "two"))));
    assert_eq!(store.page(&other).await, Ok(None), "each application has its own");
    // As large as one may be, and with whatever people have written.
    let large = format!("{}\"\\\u{e9}\u{1f6a8}", "x".repeat(300_000));
    assert_eq!(store.put(&app, &page(3, &large)).await, Ok(()));
    assert_eq!(store.page(&app).await, Ok(Some(page(3, &large))));
    let rivals = (0..8).map(|n| {
        let (store, app) = (Arc::clone(&store), app.clone());
        tokio::spawn(async move { store.put(&app, &page(4, &format!("rival {n}"))).await.is_ok() })
    });
    let mut won = 0;
    for rival in rivals.collect::<Vec<_>>() {
        won += usize::from(rival.await.expect("no panic"));
    }
    assert_eq!(won, 1, "of many who write one version, one has");
}

#[tokio::test]
async fn what_was_told_in_memory_conforms() {
    outboxes_conform(Arc::new(MemoryOutboxes::default())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_told_in_a_file_conforms_and_is_there_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("failoverd.db");
    outboxes_conform(Arc::new(SqliteOutboxes::beside(&path))).await;
    let again = SqliteOutboxes::beside(&path);
    assert_eq!(again.page(&name("told")).await.expect("read").expect("there").version, 4);
    drop(again);
    // What is damaged is set aside and begun anew: it is no authority on anything.
    let file = directory.path().join("failoverd.db.outbox");
    std::fs::write(&file, b"not a database, and long enough to be read as one".repeat(100)).expect("written");
    let anew = SqliteOutboxes::beside(&path);
    assert_eq!(anew.page(&name("told")).await, Ok(None));
    assert_eq!(anew.put(&name("told"), &page(1, "anew")).await, Ok(()));
    assert!(directory.path().join("failoverd.db.outbox.damaged").exists());
    assert!(!path.exists(), "the journal's own file is not touched");
}

/// All suites over one table at `url`.
async fn dynamodb_conforms(url: &str) {
    let options = dynamodb::created(url, "journals", PATIENT).await;
    let store = Arc::new(dynamodb::open(&dynamodb::sdk(url, None), &options).await.expect("opened"));
    conforms(Arc::clone(&store) as Arc<dyn JournalStore>).await;
    leases_conform(Arc::clone(&store) as Arc<dyn Leases>).await;
    outboxes_conform(Arc::clone(&store) as Arc<dyn Outboxes>).await;
    // What another process finds, which has seen nothing of it.
    let other = dynamodb::open(&dynamodb::sdk(url, None), &options).await.expect("opened");
    assert_eq!(other.journals().await, store.journals().await);
    assert_eq!(verified(&other, &name("order")).await.len(), 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn dynamodb_on_ministack_conforms() {
    let emulator = dynamodb::ministack().await;
    dynamodb_conforms(&emulator.url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dynamodb_on_dynalite_conforms() {
    if let Some(emulator) = Dynalite::start().await {
        dynamodb_conforms(&emulator.url).await;
    }
}
