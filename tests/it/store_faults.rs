//! The shared store while its wire does ill: before a write, after it, and after the commit (FAULTS.md 15, 19 to 26, 29).
//!
//! The emulator is MiniStack; what stands between is [`Wire`]. What a put came to is always held against what another
//! process reads afterwards.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use failoverd::{
    adapters::store::{DynamoStore, dynamodb::Options},
    domain::journal::{Sealed, Tail},
    ports::{
        JournalStore, Leases,
        journal::{AppendError, ReadError},
        lease::PutError,
    },
};
use jiff::Timestamp;
use tokio::sync::oneshot;

use crate::{
    store_conformance::{after, grow, name, record, stored, verified},
    support::{
        dynamodb::{self, Fault, PATIENT, Wire},
        ministack::Emulator,
    },
};

struct Bench {
    _emulator: Emulator,
    url: String,
    options: Options,
    wire: Wire,
    /// Behind the wire.
    store: Arc<DynamoStore>,
    /// Another replica, whose own wire is well.
    other: Arc<DynamoStore>,
}

impl Bench {
    async fn new(lease: Duration) -> Self {
        let emulator = dynamodb::ministack().await;
        let url = emulator.url.clone();
        let options = dynamodb::created(&url, "journals", lease).await;
        let wire = Wire::new();
        let store = dynamodb::open(&dynamodb::sdk(&url, Some(&wire)), &options).await.expect("opened");
        let patient = Options { lease: PATIENT, ..options.clone() };
        let other = dynamodb::open(&dynamodb::sdk(&url, None), &patient).await.expect("opened");
        Self { _emulator: emulator, url, options, wire, store: Arc::new(store), other: Arc::new(other) }
    }

    /// What a process finds that has seen nothing yet.
    async fn found(&self, journal: &str) -> Vec<Vec<u8>> {
        let fresh = dynamodb::open(&dynamodb::sdk(&self.url, None), &self.options).await.expect("opened");
        verified(&fresh, &name(journal)).await.into_iter().map(|(bytes, _)| bytes).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_lost_before_or_after_the_commit_a_record_is_there_once_and_known_to_be_ours() {
    let bench = Bench::new(Duration::from_secs(24)).await;
    let cases: Vec<(&str, Vec<Fault>)> = vec![
        ("request-lost", vec![Fault::RequestLost]),
        ("answer-lost", vec![Fault::AnswerLost]),
        ("error-after", vec![Fault::ErrorAfter(500, "InternalServerError")]),
        ("busy-after", vec![Fault::ErrorAfter(503, "ServiceUnavailable")]),
        ("throttled", vec![Fault::ErrorBefore(400, "ThrottlingException")]),
        ("over-capacity", vec![Fault::ErrorBefore(400, "ProvisionedThroughputExceededException")]),
        ("other-region", vec![Fault::ErrorBefore(409, "ReplicatedWriteConflictException")]),
        ("other-region-after", vec![Fault::ErrorAfter(400, "ReplicatedWriteConflictException")]),
        ("rubbish", vec![Fault::Answered("<html>".to_owned())]),
        ("hangs", vec![Fault::Hangs]),
        ("done-and-hangs", vec![Fault::DoneAndHangs]),
        (
            "all-of-it",
            vec![
                Fault::ErrorBefore(400, "ThrottlingException"),
                Fault::RequestLost,
                Fault::ErrorAfter(500, "InternalServerError"),
            ],
        ),
    ];
    for (case, faults) in cases {
        let journal = name(case);
        let first = grow(&*bench.store, &journal, 1).await.remove(0);
        let attempts = faults.len() + 1;
        let before = bench.wire.asked("PutItem");
        bench.wire.meet("PutItem", faults);
        let second = record(&journal, &after(&first), "second");
        assert_eq!(bench.store.append(&second).await, Ok(()), "{case}");
        assert!(attempts <= bench.wire.asked("PutItem") - before, "{case}: it has met them all");
        // And the store goes on behind it.
        let third = record(&journal, &after(&second), "third");
        assert_eq!(bench.store.append(&third).await, Ok(()), "{case}");
        assert_eq!(bench.found(case).await, [first.bytes, second.bytes, third.bytes], "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_bytes_of_a_rival_are_not_taken_for_our_own() {
    let bench = Bench::new(PATIENT).await;
    let journal = name("twins");
    let first = grow(&*bench.other, &journal, 1).await.remove(0);
    let sealed = record(&journal, &after(&first), "twin");
    // Ours is on its way, and is lost when the rival's, of the very same bytes, is there.
    let (word, waits) = oneshot::channel();
    bench.wire.meet("PutItem", [Fault::LostAfter(waits)]);
    let before = bench.wire.asked("PutItem");
    let ours = tokio::spawn({
        let (store, sealed) = (Arc::clone(&bench.store), sealed.clone());
        async move { store.append(&sealed).await }
    });
    bench.wire.has_asked("PutItem", before + 1).await;
    assert_eq!(bench.other.append(&sealed).await, Ok(()));
    word.send(()).expect("it waits");
    assert_eq!(ours.await.expect("ended"), Err(AppendError::Conflict { journal: journal.clone(), seq: 1 }));
    assert_eq!(verified(&*bench.other, &journal).await, stored(&[first, sealed]));
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_record_is_recognised_after_another_has_followed_it() {
    let bench = Bench::new(PATIENT).await;
    let journal = name("followed");
    let first = grow(&*bench.other, &journal, 1).await.remove(0);
    let ours = record(&journal, &after(&first), "ours");
    let (word, waits) = oneshot::channel();
    bench.wire.meet("PutItem", [Fault::AnswerLostAfter(waits)]);
    let appended = tokio::spawn({
        let (store, sealed) = (Arc::clone(&bench.store), ours.clone());
        async move { store.append(&sealed).await }
    });
    let theirs = record(&journal, &after(&ours), "theirs");
    let begun = Instant::now();
    while bench.other.append(&theirs).await.is_err() {
        assert!(begun.elapsed() < PATIENT, "ours never came");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    word.send(()).expect("it waits");
    assert_eq!(appended.await.expect("ended"), Ok(()));
    let late = record(&journal, &after(&ours), "late");
    assert_eq!(bench.store.append(&late).await, Err(AppendError::Conflict { journal: journal.clone(), seq: 2 }));
    assert_eq!(verified(&*bench.other, &journal).await, stored(&[first, ours, theirs]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_stays_unknown_ends_within_its_time_and_says_so() {
    let bench = Bench::new(Duration::from_secs(12)).await;
    for (case, fault) in
        [("never-done", (|| Fault::Hangs) as fn() -> Fault), ("never-connected", || Fault::RequestLost)]
    {
        let journal = name(case);
        let first = grow(&*bench.other, &journal, 1).await.remove(0);
        let second = record(&journal, &after(&first), "second");
        bench.wire.meet("PutItem", (0..200).map(|_| fault()));
        let begun = Instant::now();
        let answer = bench.store.append(&second).await;
        let took = begun.elapsed();
        assert!(matches!(answer, Err(AppendError::Failed { .. })), "{case}: {answer:?}");
        assert!(took < bench.options.append_within() + Duration::from_secs(1), "{case}: {took:?}");
        assert_eq!(bench.found(case).await.len(), 1, "{case}");
        bench.wire.forget();
    }
    // Done at once, and never told: the next start finds it.
    let journal = name("done-untold");
    let first = grow(&*bench.other, &journal, 1).await.remove(0);
    let second = record(&journal, &after(&first), "second");
    bench.wire.meet("PutItem", [Fault::DoneAndHangs].into_iter().chain((0..200).map(|_| Fault::Hangs)));
    let answer = bench.store.append(&second).await;
    assert!(matches!(answer, Err(AppendError::Failed { .. })), "{answer:?}");
    assert_eq!(bench.found("done-untold").await, [first.bytes, second.bytes]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_at_once_and_not_repeated() {
    let bench = Bench::new(PATIENT).await;
    let journal = name("refused");
    let first = grow(&*bench.store, &journal, 1).await.remove(0);
    bench.wire.meet("PutItem", [Fault::ErrorBefore(400, "AccessDeniedException")]);
    let before = bench.wire.asked("PutItem");
    let answer = bench.store.append(&record(&journal, &after(&first), "second")).await;
    let Err(AppendError::Failed { reason }) = answer else { panic!("failed, and not {answer:?}") };
    assert!(reason.contains("AccessDeniedException"), "{reason}");
    assert_eq!(bench.wire.asked("PutItem") - before, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_rivals_in_processes_of_their_own_one_wins_whatever_the_wire_does() {
    let bench = Bench::new(PATIENT).await;
    let journal = name("rivals");
    let mut tail = after(&grow(&*bench.other, &journal, 1).await[0]);
    for round in 0..5_u32 {
        let tasks: Vec<_> = (0..8_u32)
            .map(|n| {
                let (url, options) = (bench.url.clone(), bench.options.clone());
                // The same bytes for all of them: only the nonce tells them apart.
                let sealed = record(&journal, &tail, &format!("round-{round}"));
                tokio::spawn(async move {
                    let wire = Wire::new();
                    let store = dynamodb::open(&dynamodb::sdk(&url, Some(&wire)), &options).await.expect("opened");
                    wire.meet(
                        "PutItem",
                        match (n + round) % 4 {
                            0 => vec![Fault::AnswerLost],
                            1 => vec![Fault::RequestLost, Fault::ErrorBefore(400, "ThrottlingException")],
                            2 => vec![Fault::ErrorBefore(409, "ReplicatedWriteConflictException")],
                            _ => vec![],
                        },
                    );
                    (store.append(&sealed).await, sealed)
                })
            })
            .collect();
        let mut won: Vec<Sealed> = Vec::new();
        for task in tasks {
            match task.await.expect("answered") {
                (Ok(()), sealed) => won.push(sealed),
                (Err(AppendError::Conflict { .. }), _) => {}
                (Err(e), _) => panic!("a rival is refused, not failed: {e}"),
            }
        }
        assert_eq!(won.len(), 1, "round {round}");
        tail = after(&won[0]);
    }
    assert_eq!(verified(&*bench.other, &journal).await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_lost_records_or_has_others_is_refused() {
    let bench = Bench::new(PATIENT).await;
    let journal = name("damaged");
    let grown = grow(&*bench.store, &journal, 4).await;
    let client = aws_sdk_dynamodb::Client::new(&dynamodb::sdk(&bench.url, None));
    let text = |s: &str| aws_sdk_dynamodb::types::AttributeValue::S(s.to_owned());
    let delete = |seq: u64| {
        let delete = client.delete_item().table_name("journals").key("pk", text("J#damaged"));
        delete.key("sk", text(&format!("{seq:020}"))).send()
    };
    // The newest is gone: only who has seen it can know (FAULTS.md 26).
    delete(3).await.expect("deleted");
    let read = bench.store.read(&journal, 0, usize::MAX).await;
    let Err(ReadError::Corrupted { reason }) = read else { panic!("corrupted, and not {read:?}") };
    assert!(reason.contains("record 3 is gone"), "{reason}");
    assert_eq!(verified(&*bench.other, &journal).await, stored(&grown[..3]));
    // Another record in its place.
    let other = record(&journal, &after(&grown[2]), "another");
    bench.other.append(&other).await.expect("appended");
    let read = bench.store.read(&journal, 0, usize::MAX).await;
    assert!(matches!(&read, Err(ReadError::Corrupted { reason }) if reason.contains("another one")), "{read:?}");
    // A gap, for everybody.
    delete(1).await.expect("deleted");
    let read = bench.other.read(&journal, 0, usize::MAX).await;
    assert!(
        matches!(&read, Err(ReadError::Corrupted { reason }) if reason.contains("record 2 stands where 1")),
        "{read:?}"
    );
    // An item of somebody else's.
    let foreign = client.put_item().table_name("journals").item("pk", text("J#foreign")).item("sk", text("hello"));
    foreign.send().await.expect("put");
    let read = bench.other.read(&name("foreign"), 0, usize::MAX).await;
    assert!(matches!(&read, Err(ReadError::Corrupted { reason }) if reason.contains("`hello`")), "{read:?}");
    // A record without a predecessor is a conflict, as if it had never been there.
    let orphan = record(&name("orphan"), &Tail { next_seq: 3, ..after(&grown[2]) }, "orphan");
    assert!(matches!(bench.store.append(&orphan).await, Err(AppendError::Conflict { seq: 3, .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_whose_name_is_noted_and_that_never_began_is_none() {
    let bench = Bench::new(PATIENT).await;
    // The first put is the name, the second the record, which is refused.
    bench.wire.meet("PutItem", [Fault::AnswerLost, Fault::ErrorBefore(400, "ThrottlingException")]);
    assert_eq!(bench.store.append(&record(&name("begun"), &Tail::empty(), "a")).await, Ok(()));
    bench.wire.meet("PutItem", [Fault::RequestLost]);
    let client = aws_sdk_dynamodb::Client::new(&dynamodb::sdk(&bench.url, None));
    let text = |s: &str| aws_sdk_dynamodb::types::AttributeValue::S(s.to_owned());
    let put = client.put_item().table_name("journals").item("pk", text("journals")).item("sk", text("never"));
    put.send().await.expect("put");
    assert_eq!(bench.other.journals().await, Ok(vec![name("begun")]));
}

fn held(holder: &str, version: u64) -> failoverd::domain::lease::Lease {
    failoverd::domain::lease::Lease {
        version,
        holder: holder.to_owned(),
        url: None,
        region: None,
        epoch: Some(1),
        records: 1,
        since: Timestamp::UNIX_EPOCH,
        duration_ms: 24_000,
        released: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_whose_answer_was_lost_is_ones_own_by_the_same_write() {
    let bench = Bench::new(Duration::from_secs(24)).await;
    let app = name("payments");
    for (version, fault) in [
        (1, Fault::AnswerLost),
        (2, Fault::ErrorAfter(500, "InternalServerError")),
        (3, Fault::DoneAndHangs),
        (4, Fault::RequestLost),
        (5, Fault::ErrorBefore(400, "ThrottlingException")),
        (6, Fault::ErrorBefore(409, "ReplicatedWriteConflictException")),
    ] {
        let over = (version != 1).then_some(version - 1);
        bench.wire.meet("PutItem", [fault]);
        let before = bench.wire.asked("PutItem");
        let begun = Instant::now();
        let answer = bench.store.put(&app, &held("a", version), over).await;
        assert!(matches!(answer, Err(PutError::Failed { .. })), "{version}: {answer:?}");
        assert!(begun.elapsed() < bench.options.request_timeout() + Duration::from_secs(1), "{version}");
        assert_eq!(bench.wire.asked("PutItem") - before, 1, "{version}: one attempt");
        assert_eq!(bench.store.put(&app, &held("a", version), over).await, Ok(()), "{version}");
        assert_eq!(bench.other.lease(&app).await, Ok(Some(held("a", version))));
    }
}

/// FAULTS.md 25.
#[tokio::test(flavor = "multi_thread")]
async fn reads_of_journals_that_hang_or_are_throttled_do_not_keep_a_lease_from_being_renewed() {
    let bench = Bench::new(Duration::from_secs(24)).await;
    let app = name("payments");
    bench.wire.meet(
        "Query",
        (0..2_000).map(|n| match n % 2 {
            0 => Fault::Hangs,
            _ => Fault::ErrorBefore(400, "ProvisionedThroughputExceededException"),
        }),
    );
    let reads: Vec<_> = (0..64)
        .map(|n| {
            let store = Arc::clone(&bench.store);
            tokio::spawn(async move { store.read(&name(&format!("j-{n}")), 0, 100).await })
        })
        .collect();
    bench.wire.has_asked("Query", 4).await;
    for version in 1..=20 {
        let over = (version != 1).then_some(version - 1);
        let begun = Instant::now();
        assert_eq!(bench.store.put(&app, &held("a", version), over).await, Ok(()));
        assert!(begun.elapsed() < bench.options.request_timeout(), "{:?}", begun.elapsed());
    }
    for read in reads {
        read.abort();
    }
}
