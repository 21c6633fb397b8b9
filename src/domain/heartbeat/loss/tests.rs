use jiff::SignedDuration;

use super::*;
use crate::domain::{
    heartbeat::{BeatAnswer, Row, Shown},
    id::BeaterId,
};

fn east() -> Region {
    "us-east-1".parse().expect("valid")
}

fn west() -> Region {
    "us-west-2".parse().expect("valid")
}

fn at(ms: u64) -> Moment {
    let start: Timestamp = "2026-11-21T12:00:00Z".parse().expect("valid");
    let boot = Duration::from_millis(ms);
    Moment { boot, wall: start.checked_add(SignedDuration::try_from(boot).expect("short")).expect("in range") }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn lost() -> BeatAnswer {
    BeatAnswer::Unknown { reason: "lost".to_owned() }
}

/// Beats on `to`, one a second from `seconds` on, each answered 4 ms later.
fn beats(trail: &mut HeartbeatTrail, to: &Region, seconds: std::ops::Range<u64>, answer: &BeatAnswer) {
    for second in seconds {
        let number = trail.begin(to, at(second * 1000));
        trail.answered(number, answer, at(second * 1000 + 4));
    }
}

fn held(numbers: impl IntoIterator<Item = u64>) -> Held {
    Held { numbers: numbers.into_iter().collect(), from: 1 }
}

fn until(ms: u64, basis: Basis) -> Option<Until> {
    Some(Until { at: at(ms), basis })
}

#[test]
fn acknowledged_beats_that_are_not_there_are_counted_and_bound_the_seconds() {
    let mut trail = HeartbeatTrail::new();
    beats(&mut trail, &east(), 0..10, &BeatAnswer::Acknowledged);
    beats(&mut trail, &east(), 10..12, &lost());
    beats(&mut trail, &west(), 20..25, &BeatAnswer::Acknowledged);
    // Beats 1 to 6 came over, and those to the new writer are its own.
    let loss = trail.loss(&east(), &west(), &held((1..=6).chain(13..=17)), until(10_500, Basis::Fenced), at(25_000));
    assert_eq!((loss.beats_missing, loss.beats_unknown, loss.beats_acknowledged), (4, 2, 10));
    // Beat 7 was acknowledged at 6004 and beat 10 sent at 9000; beat 6 was sent at 5000.
    assert_eq!((loss.at_least, loss.at_most), (ms(2996), Some(ms(5500))));
    assert_eq!((loss.held_until, loss.until, loss.basis), (Some(at(5000).wall), at(10_500).wall, Basis::Fenced));
    assert!(loss.is_whole);
}

#[test]
fn nothing_missing_is_no_loss_of_beats_but_what_came_after_the_last_is_open() {
    let mut trail = HeartbeatTrail::new();
    beats(&mut trail, &east(), 0..3, &BeatAnswer::Acknowledged);
    let loss = trail.loss(&east(), &west(), &held(1..=3), until(2400, Basis::Refused), at(9000));
    assert_eq!((loss.beats_missing, loss.at_least, loss.at_most), (0, ms(0), Some(ms(400))));
    let loss = trail.loss(&east(), &west(), &held(1..=3), None, at(9000));
    assert_eq!((loss.at_most, loss.basis), (Some(ms(7000)), Basis::Now), "it may have acknowledged until now");
}

#[test]
fn a_beat_of_unknown_outcome_that_is_there_says_how_far_the_new_writer_reaches() {
    let mut trail = HeartbeatTrail::new();
    beats(&mut trail, &east(), 0..2, &BeatAnswer::Acknowledged);
    beats(&mut trail, &east(), 2..3, &lost());
    let loss = trail.loss(&east(), &west(), &held(1..=3), until(3000, Basis::Fenced), at(9000));
    assert_eq!((loss.beats_missing, loss.beats_unknown, loss.at_most), (0, 0, Some(ms(1000))));
}

#[test]
fn what_an_earlier_failover_lost_is_not_counted_again() {
    let mut trail = HeartbeatTrail::new();
    beats(&mut trail, &east(), 0..5, &BeatAnswer::Acknowledged);
    beats(&mut trail, &west(), 5..8, &BeatAnswer::Acknowledged);
    beats(&mut trail, &east(), 8..10, &BeatAnswer::Acknowledged);
    // The first failover lost beats 4 and 5; the second lost 10.
    let numbers = [1, 2, 3, 6, 7, 8, 9];
    let loss = trail.loss(&east(), &west(), &held(numbers), until(9500, Basis::Fenced), at(20_000));
    assert_eq!((loss.beats_missing, loss.beats_acknowledged, loss.is_whole), (1, 2, true));
}

#[test]
fn without_a_row_that_is_held_only_what_was_seen_before_the_promotion_bounds_the_loss() {
    let mut trail = HeartbeatTrail::new();
    beats(&mut trail, &east(), 0..4, &BeatAnswer::Acknowledged);
    let question =
        |trail: &HeartbeatTrail| trail.loss(&east(), &west(), &held([]), until(3500, Basis::Fenced), at(60_000));
    let loss = question(&trail);
    assert_eq!((loss.beats_missing, loss.at_least, loss.at_most), (4, ms(2996), None));
    assert!(loss.is_whole, "all that was ever sent is remembered");
    let beater: BeaterId = "another".parse().expect("valid");
    let row = |written_at| Some(Row { beater: beater.clone(), number: 7, written_at });
    let minute_ago = at(0).wall - SignedDuration::from_secs(60);
    let shown = |written_at, in_recovery| Shown { newest: None, newest_of_any: row(written_at), in_recovery };
    // What a writer shows may be its own.
    trail.saw(&west(), &shown(at(55_000).wall, false), at(55_000), at(55_001));
    assert_eq!(question(&trail).at_most, None);
    trail.saw(&west(), &shown(minute_ago, true), at(10), at(12));
    trail.saw(&west(), &shown(at(55_000).wall, false), at(55_000), at(55_001));
    // The other's clock may be wrong by 30 s; boot time cannot go back before its beginning.
    assert_eq!(question(&trail).at_most, Some(ms(3500)));
    assert_eq!(question(&trail).held_until, Some(at(0).wall));
}

#[test]
fn a_count_says_when_it_is_not_whole() {
    let mut trail = HeartbeatTrail::new();
    beats(&mut trail, &east(), 0..1300, &BeatAnswer::Acknowledged);
    let from = trail.first_number();
    let nothing = Held { numbers: BTreeSet::new(), from };
    let loss = trail.loss(&east(), &west(), &nothing, until(1_300_000, Basis::Fenced), at(1_400_000));
    assert_eq!((loss.beats_missing, loss.is_whole), (1200, false));
    let some = Held { numbers: BTreeSet::from([from]), from };
    let loss = trail.loss(&east(), &west(), &some, until(1_300_000, Basis::Fenced), at(1_400_000));
    assert_eq!((loss.beats_missing, loss.is_whole), (1199, true));
    // Rows that were not asked for are not said to be missing.
    let later = Held { numbers: BTreeSet::new(), from: 1291 };
    let loss = trail.loss(&east(), &west(), &later, until(1_300_000, Basis::Fenced), at(1_400_000));
    assert_eq!((loss.beats_missing, loss.is_whole), (10, false));
}

#[test]
fn a_loss_reads_as_it_is_written() {
    let mut trail = HeartbeatTrail::new();
    beats(&mut trail, &east(), 0..3, &BeatAnswer::Acknowledged);
    let loss = trail.loss(&east(), &west(), &held([1]), until(2400, Basis::Corroborated), at(9000));
    let text = serde_json::to_string(&loss).expect("written");
    assert!(text.contains("\"at_most_seconds\":2.4") && text.contains("\"corroborated\""), "{text}");
    assert_eq!(serde_json::from_str::<Loss>(&text).expect("read"), loss);
}
