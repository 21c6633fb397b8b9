use super::*;
use crate::domain::{
    channel::Via,
    id::Digest,
    journal::{Event, SCHEMA_VERSION as JOURNAL},
};

fn app() -> ApplicationName {
    "payments".parse().expect("a name")
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).expect("a time")
}

fn channels(all: &[(&str, &[Severity])]) -> BTreeMap<ChannelName, Channel> {
    let one = |(name, takes): &(&str, &[Severity])| {
        let name: ChannelName = name.parse().expect("a name");
        let via = Via::Slack { url: "env:SLACK".parse().expect("a reference") };
        (name.clone(), Channel { name, via, takes: takes.iter().copied().collect(), applications: None })
    };
    all.iter().map(one).collect()
}

fn record(seq: u64, events: Vec<Event>) -> Record {
    let at = at(i64::try_from(seq).expect("small"));
    Record { journal: app(), seq, epoch: 1, at, schema_version: JOURNAL, events, prev_hash: Digest::zero() }
}

fn health(word: &str) -> Event {
    let (verdict, health) = ("notify".to_owned(), word.to_owned());
    let (rules, signals) = (Vec::new(), BTreeMap::new());
    Event::DecisionChanged { verdict, health, reasons: vec![], rules, signals, would_start: false, suppressed: 0 }
}

fn failed() -> Sent {
    Sent::Failed { reason: "answered 500".to_owned(), retry_after_seconds: None }
}

const BOTH: &[Severity] = &[Severity::Page, Severity::Ticket];

#[test]
fn the_same_records_make_the_same_notices_whoever_makes_them() {
    let to = channels(&[("a", BOTH), ("b", BOTH)]);
    let records =
        [record(0, vec![health("down")]), record(1, vec![health("unknown")]), record(2, vec![health("healthy")])];
    let made = |from: usize, mut outbox: Outbox| {
        records[from..].iter().for_each(|r| outbox.absorb(r, &to, at(9)));
        outbox
    };
    let whole = made(0, Outbox::default());
    // A leader dies after the first record, with its page written; the next goes on from the page.
    let mut first = Outbox::default();
    first.absorb(&records[0], &to, at(9));
    let page = serde_json::to_string(&first).expect("json");
    assert_eq!(made(1, serde_json::from_str(&page).expect("a page")), whole);
    let ids: Vec<_> = whole.open.iter().map(|open| open.notice.id.as_str()).collect();
    assert_eq!(ids, ["payments/0/0", "payments/1/0", "payments/2/0"]);
    assert_eq!(whole.waiting(), 6);
}

#[test]
fn nothing_is_resolved_before_it_is_triggered() {
    let to = channels(&[("a", BOTH), ("b", BOTH)]);
    let mut outbox = Outbox::default();
    outbox.absorb(&record(0, vec![health("down")]), &to, at(0));
    outbox.absorb(&record(1, vec![health("healthy")]), &to, at(1));
    let (a, b) = ("a".parse().expect("a name"), "b".parse().expect("a name"));
    let due = |o: &Outbox| o.due().iter().map(|(n, c, _)| format!("{c} {}", n.id)).collect::<Vec<_>>();
    assert_eq!(due(&outbox), ["a payments/0/0", "b payments/0/0"]);
    let down = outbox.open[0].notice.id.clone();
    outbox.sent(&down, &a, &Sent::Delivered, at(2));
    outbox.sent(&down, &b, &failed(), at(2));
    assert_eq!(due(&outbox), ["b payments/0/0", "a payments/1/0"], "one channel does not wait for the other");
    outbox.sent(&down, &b, &Sent::Refused { reason: "answered 400".to_owned() }, at(3));
    assert_eq!(due(&outbox), ["a payments/1/0", "b payments/1/0"]);
    assert_eq!(outbox.ended.len(), 2);
    assert_eq!((outbox.ended[1].ending, outbox.ended[1].attempts), (Ending::Refused, 2));
}

#[test]
fn who_was_told_that_something_is_wrong_is_told_that_it_is_over() {
    let to = channels(&[("pager", &[Severity::Page]), ("tickets", &[Severity::Ticket])]);
    let mut outbox = Outbox::default();
    outbox.absorb(&record(0, vec![health("down")]), &to, at(0));
    outbox.absorb(&record(1, vec![health("degraded")]), &to, at(0));
    outbox.absorb(&record(2, vec![health("healthy")]), &to, at(0));
    let told: Vec<_> = outbox
        .open
        .iter()
        .map(|o| (o.notice.headline.as_str(), o.to.keys().map(|c| c.as_str()).collect::<Vec<_>>()))
        .collect();
    assert_eq!(
        told,
        [
            ("payments is down", vec!["pager"]),
            ("payments is degraded", vec!["tickets"]),
            ("payments is healthy again", vec!["pager"]),
        ]
    );
}

#[test]
fn after_a_day_it_is_given_up_and_said_so() {
    let to = channels(&[("a", BOTH)]);
    let mut outbox = Outbox::default();
    outbox.absorb(&record(0, vec![health("down")]), &to, at(0));
    let id = outbox.open[0].notice.id.clone();
    outbox.sent(&id, &"a".parse().expect("a name"), &failed(), at(5));
    assert_eq!(outbox.expire(&to, at(24 * 3600)), 0);
    assert_eq!(outbox.expire(&to, at(24 * 3600 + 1)), 1);
    let ended = outbox.ended.last().expect("one");
    assert_eq!(ended.ending, Ending::GivenUp);
    assert_eq!(ended.reason.as_deref(), Some("nobody took it within a day; at last: answered 500"));
    assert!(outbox.open.is_empty());
}

#[test]
fn a_channel_that_is_gone_keeps_nothing_open() {
    let mut outbox = Outbox::default();
    outbox.absorb(&record(0, vec![health("down")]), &channels(&[("a", BOTH), ("b", BOTH)]), at(0));
    assert_eq!(outbox.expire(&channels(&[("b", BOTH)]), at(1)), 1);
    assert_eq!(outbox.waiting(), 1);
}

#[test]
fn a_flood_takes_no_pages_place_and_a_page_of_it_fits_in_an_item() {
    let to = channels(&[("a", &Severity::ALL)]);
    let mut outbox = Outbox::default();
    outbox.absorb(&record(0, vec![health("down")]), &to, at(0));
    let long = "x".repeat(5_000);
    for seq in 1..=400 {
        let holder = format!("{seq}{long}");
        outbox.absorb(&record(seq, vec![Event::EpochStarted { holder }]), &to, at(0));
    }
    assert_eq!(outbox.open.len(), OPEN_MAX);
    assert_eq!(outbox.open[0].notice.headline, "payments is down");
    assert!(outbox.ended.len() <= ENDED_KEPT_MAX);
    let page = serde_json::to_string(&outbox).expect("json");
    assert!(page.len() < 350_000, "{}", page.len());
}

#[test]
fn pauses_double_to_a_quarter_of_an_hour_and_are_spread() {
    assert_eq!(pause_seconds(1, 0), 2);
    assert_eq!(pause_seconds(1, 3), 5);
    assert_eq!(pause_seconds(2, 0), 5);
    for attempts in 0..100 {
        for bits in [0, 1, u128::MAX, 7_919] {
            let pause = pause_seconds(attempts, bits);
            assert!((2..=900).contains(&pause), "{attempts} {bits}: {pause}");
        }
    }
    assert_eq!(pause_seconds(50, 0), 450);
}
