use super::*;
use crate::domain::{heartbeat::Row, id::BeaterId};

fn east() -> Region {
    "us-east-1".parse().expect("valid")
}

fn west() -> Region {
    "us-west-2".parse().expect("valid")
}

/// The instant `ms` after the start, on both clocks.
fn at(ms: u64) -> Moment {
    let start: Timestamp = "2026-11-21T12:00:00Z".parse().expect("valid");
    let boot = Duration::from_millis(ms);
    Moment { boot, wall: start.checked_add(SignedDuration::try_from(boot).expect("short")).expect("in range") }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn me() -> BeaterId {
    "me".parse().expect("valid")
}

fn shown(number: Option<u64>) -> Shown {
    let newest = number.map(|number| Row { beater: me(), number, written_at: at(0).wall });
    Shown { newest_of_any: newest.clone(), newest, in_recovery: true }
}

fn refused() -> BeatAnswer {
    BeatAnswer::Refused { reason: "read-only".to_owned() }
}

/// A beat on `to`, sent then and answered 4 ms later.
fn beat(trail: &mut HeartbeatTrail, to: &Region, sent: u64, answer: &BeatAnswer) -> u64 {
    let number = trail.begin(to, at(sent));
    trail.answered(number, answer, at(sent + 4));
    number
}

/// A look at the west, asked then and answered 2 ms later.
fn look(trail: &mut HeartbeatTrail, asked: u64, number: Option<u64>) {
    trail.saw(&west(), &shown(number), at(asked), at(asked + 2));
}

/// One beat a second from 0 on, each acknowledged.
fn beating(seconds: u64) -> HeartbeatTrail {
    let mut trail = HeartbeatTrail::new();
    for second in 0..seconds {
        beat(&mut trail, &east(), second * 1000, &BeatAnswer::Acknowledged);
    }
    trail
}

#[track_caller]
fn measured(trail: &HeartbeatTrail, now: u64) -> MeasuredLag {
    match trail.lag(&west(), at(now)) {
        Lag::Measured(measured) => measured,
        Lag::Unknown { why } => panic!("unknown: {why}"),
    }
}

#[track_caller]
fn unknown(lag: Lag, part: &str) {
    match lag {
        Lag::Unknown { why } => assert!(why.contains(part), "{why}"),
        Lag::Measured(measured) => panic!("{measured:?}"),
    }
}

#[test]
fn what_was_not_seen_is_unknown_and_never_zero() {
    let mut trail = HeartbeatTrail::new();
    unknown(trail.lag(&west(), at(0)), "has not been looked for");
    beat(&mut trail, &east(), 0, &BeatAnswer::Acknowledged);
    unknown(trail.lag(&east(), at(5)), "is the writer");
    trail.missed(&west(), "connection refused");
    unknown(trail.lag(&west(), at(5)), "connection refused");
    look(&mut trail, 6, None);
    unknown(trail.lag(&west(), at(9)), "shows no beat of this daemon");
    let sample = trail.sample([&west()], at(9));
    assert!(matches!(sample.reading, Reading::Missing { .. }), "{sample:?}");
    assert!(matches!(trail.sample([], at(9)).reading, Reading::Missing { .. }));
}

#[test]
fn a_beat_that_arrives_tells_how_long_it_took_whatever_the_period() {
    let mut trail = beating(3);
    look(&mut trail, 2300, Some(3));
    // Acknowledged at 2004, seen at 2302.
    for now in [2302, 2900] {
        let m = measured(&trail, now);
        assert_eq!((m.lag, m.at_least, m.at_most, m.missing, m.newest), (ms(298), ms(0), ms(302), 0, 3));
        assert_eq!(m.measured_at, at(2298).wall);
    }
    // The next beat, acknowledged and not there yet, is no second of lag.
    beat(&mut trail, &east(), 3000, &BeatAnswer::Acknowledged);
    look(&mut trail, 3010, Some(3));
    let m = measured(&trail, 3012);
    assert_eq!((m.lag, m.at_least, m.at_most, m.missing), (ms(298), ms(6), ms(1012), 1));
}

#[test]
fn a_beat_that_stays_away_makes_the_lag_grow() {
    let mut trail = beating(1);
    look(&mut trail, 20, Some(1));
    for second in 1..10 {
        beat(&mut trail, &east(), second * 1000, &BeatAnswer::Acknowledged);
        look(&mut trail, second * 1000 + 500, Some(1));
        let m = measured(&trail, second * 1000 + 502);
        // Beat 2 was acknowledged at 1004; beat 1 was sent at 0.
        assert_eq!(m.lag, ms(second * 1000 + 500 - 1004));
        assert_eq!(m.at_least, m.lag);
        assert_eq!(m.at_most, ms(second * 1000 + 502));
        assert_eq!(m.missing, second);
        // Lag and age add up to the age of what is certainly there, at any time.
        let age = Duration::try_from(at(20_000).wall.duration_since(m.measured_at)).expect("past");
        assert_eq!(m.lag + age, ms(20_000));
    }
}

#[test]
fn lag_and_age_bound_the_loss_in_every_state() {
    let mut trail = beating(5);
    for (asked, number) in [(4100, 2), (4200, 3), (4800, 5)] {
        look(&mut trail, asked, Some(number));
        let m = measured(&trail, 4900);
        let sent = at((number - 1) * 1000).wall;
        let age = at(4900).wall.duration_since(m.measured_at);
        let bound = age + SignedDuration::try_from(m.lag).expect("short");
        assert_eq!(bound, at(4900).wall.duration_since(sent), "everything before beat {number} was sent is there");
    }
}

#[test]
fn a_writer_that_takes_no_beats_leaves_the_lag_as_it_was_to_grow_old() {
    let mut trail = beating(2);
    look(&mut trail, 1100, Some(2));
    let before = measured(&trail, 1200);
    for second in 2..9 {
        beat(&mut trail, &east(), second * 1000, &BeatAnswer::Unknown { reason: "lost".to_owned() });
        look(&mut trail, second * 1000 + 100, Some(2));
    }
    let after = measured(&trail, 9000);
    assert_eq!((after.lag, after.measured_at), (before.lag, before.measured_at));
    assert_eq!(after.missing, 0, "a beat of unknown outcome is not missed");
    assert!(matches!(trail.replication(&west(), at(9000)), Replication::Unknown { .. }));
}

#[test]
fn a_wall_clock_that_is_set_changes_no_lag() {
    let mut trail = beating(2);
    look(&mut trail, 1100, Some(2));
    let before = measured(&trail, 1200);
    let hour = SignedDuration::from_hours(1);
    let set_back = Moment { wall: at(1200).wall - hour, ..at(1200) };
    let Lag::Measured(after) = trail.lag(&west(), set_back) else { panic!("measured") };
    assert_eq!(after.lag, before.lag);
    assert_eq!(after.measured_at, before.measured_at - hour, "as old as before, by the clock as it is now");
}

#[test]
fn a_replication_that_stands_is_told_from_one_that_is_slow() {
    let standing =
        |trail: &HeartbeatTrail| matches!(trail.replication(&west(), at(20_000)), Replication::Standing { .. });
    let mut slow = beating(10);
    let mut stands = beating(10);
    for second in 0..10 {
        look(&mut slow, 9500 + second, Some(second / 2 + 1));
        look(&mut stands, 9500 + second, Some(5));
    }
    // Both have acknowledged beats ahead of them; since the last new one, none was acknowledged.
    assert!(!standing(&slow) && !standing(&stands));
    for second in 10..13 {
        beat(&mut slow, &east(), second * 1000, &BeatAnswer::Acknowledged);
        beat(&mut stands, &east(), second * 1000, &BeatAnswer::Acknowledged);
        assert!(!standing(&stands), "after {second} s");
        look(&mut slow, second * 1000 + 500, Some(second - 3));
        look(&mut stands, second * 1000 + 500, Some(5));
    }
    assert_eq!(slow.replication(&west(), at(20_000)), Replication::Moving);
    let Replication::Standing { since, missing } = stands.replication(&west(), at(20_000)) else {
        panic!("{:?}", stands.replication(&west(), at(20_000)))
    };
    assert_eq!((since, missing), (at(5004).wall, 8));
    stands.missed(&west(), "no answer");
    assert!(matches!(stands.replication(&west(), at(20_000)), Replication::Unknown { .. }), "nobody has looked");
    look(&mut stands, 12_900, Some(13));
    assert_eq!(stands.replication(&west(), at(20_000)), Replication::Moving);
}

#[test]
fn a_database_that_never_shows_a_beat_stands_too() {
    let mut trail = beating(3);
    look(&mut trail, 2100, None);
    assert!(matches!(trail.replication(&west(), at(2200)), Replication::Standing { missing: 3, .. }));
}

#[test]
fn failing_writes_are_told_by_kind_and_only_an_acknowledgement_ends_them() {
    let mut trail = beating(1);
    assert_eq!(trail.failing(&east()), None);
    beat(&mut trail, &east(), 1000, &BeatAnswer::NotWritten { reason: "refused".to_owned() });
    beat(&mut trail, &east(), 2000, &BeatAnswer::Unknown { reason: "lost".to_owned() });
    let failing = trail.failing(&east()).expect("failing").clone();
    assert_eq!((failing.since, failing.refused_since, failing.beats), (at(1004), None, 2));
    beat(&mut trail, &east(), 3000, &refused());
    beat(&mut trail, &east(), 4000, &refused());
    let failing = trail.failing(&east()).expect("failing").clone();
    assert_eq!((failing.since, failing.refused_since, failing.beats), (at(1004), Some(at(3004)), 4));
    beat(&mut trail, &west(), 5000, &BeatAnswer::Acknowledged);
    assert!(trail.failing(&east()).is_some(), "another Region's word says nothing of this one");
    beat(&mut trail, &east(), 6000, &BeatAnswer::Acknowledged);
    assert_eq!(trail.failing(&east()), None);
}

#[test]
fn a_table_that_shows_less_than_before_has_proved_nothing() {
    let mut trail = beating(5);
    look(&mut trail, 4100, Some(5));
    look(&mut trail, 4200, Some(2));
    let m = measured(&trail, 4300);
    assert_eq!((m.newest, m.missing, m.at_most), (2, 3, ms(3202)));
    look(&mut trail, 4400, None);
    unknown(trail.lag(&west(), at(4500)), "shows no beat");
}

#[test]
fn a_row_that_was_seen_before_its_acknowledgement_came_is_no_negative_lag() {
    let mut trail = HeartbeatTrail::new();
    let number = trail.begin(&east(), at(0));
    look(&mut trail, 10, Some(number));
    assert_eq!(measured(&trail, 12).lag, ms(12), "until it is acknowledged, from when it was sent");
    trail.answered(number, &BeatAnswer::Acknowledged, at(50));
    assert_eq!(measured(&trail, 60).lag, ms(0));
}

#[test]
fn a_trail_forgets_its_oldest_beats_and_keeps_their_numbers() {
    let mut trail = beating(BEATS_MAX as u64 + 10);
    assert_eq!(trail.first_number(), 11);
    assert_eq!(trail.numbered().len(), BEATS_MAX);
    look(&mut trail, 1_209_100, Some(5));
    unknown(trail.lag(&west(), at(1_209_200)), "shows no beat");
    look(&mut trail, 1_209_300, Some(1210));
    assert_eq!(measured(&trail, 1_209_400).missing, 0);
    assert!(size_of::<Sent>() <= 64, "{}", size_of::<Sent>());
}
