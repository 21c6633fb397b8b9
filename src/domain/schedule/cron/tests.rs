use jiff::civil::{DateTime, Weekday};
use proptest::prelude::*;

use super::*;

fn zone(name: &str) -> Zone {
    name.parse().expect("a zone")
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

fn cron(text: &str) -> Cron {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// The first `n` occurrences after `after`, as instants.
#[track_caller]
fn check(text: &str, place: &str, after: &str, wanted: &[&str]) {
    let (cron, zone) = (cron(text), zone(place));
    let mut now = at(after);
    for want in wanted {
        let found = cron.after(&zone, now).expect("there is one");
        assert_eq!(found, at(want), "`{text}` in {place} after {now}");
        now = found;
    }
}

#[test]
fn plain_fields_lists_ranges_steps_and_names() {
    check("0 3 * * *", "UTC", "2026-11-22T03:00:00Z", &["2026-11-23T03:00:00Z", "2026-11-24T03:00:00Z"]);
    check("*/20 4,5 * * *", "UTC", "2026-01-01T04:10:00Z", &["2026-01-01T04:20:00Z", "2026-01-01T04:40:00Z"]);
    check("30 9 * * mon-fri", "UTC", "2026-11-20T09:30:00Z", &["2026-11-23T09:30:00Z"]);
    check("0 0 1 jan,JUL *", "UTC", "2026-02-01T00:00:00Z", &["2026-07-01T00:00:00Z", "2027-01-01T00:00:00Z"]);
    check("0 12 * * 7", "UTC", "2026-11-22T11:00:00Z", &["2026-11-22T12:00:00Z", "2026-11-29T12:00:00Z"]);
    check("0 6 10-20/5 * *", "UTC", "2026-03-01T00:00:00Z", &["2026-03-10T06:00:00Z", "2026-03-15T06:00:00Z"]);
}

#[test]
fn last_days_and_nth_days_of_a_month() {
    check("0 3 L * *", "UTC", "2028-01-31T04:00:00Z", &["2028-02-29T03:00:00Z", "2028-03-31T03:00:00Z"]);
    check("0 3 * * tue#2", "UTC", "2026-11-01T00:00:00Z", &["2026-11-10T03:00:00Z", "2026-12-08T03:00:00Z"]);
    check("0 3 * * 5L", "UTC", "2026-11-01T00:00:00Z", &["2026-11-27T03:00:00Z", "2026-12-25T03:00:00Z"]);
    // A fifth Sunday is not in each month.
    check("0 3 * * sun#5", "UTC", "2026-09-01T00:00:00Z", &["2026-11-29T03:00:00Z", "2027-01-31T03:00:00Z"]);
}

#[test]
fn the_29th_of_february_is_found_and_the_30th_is_not() {
    check("0 3 29 2 *", "UTC", "2096-03-01T00:00:00Z", &["2104-02-29T03:00:00Z"]);
    assert_eq!(cron("0 3 30 2 *").after(&zone("UTC"), at("2026-01-01T00:00:00Z")), None);
}

#[test]
fn a_local_time_that_does_not_exist_runs_at_the_first_instant_after_the_gap() {
    for (place, text, after, want) in [
        // 02:00 to 03:00 is left out.
        ("America/New_York", "30 2 * * *", "2027-03-13T12:00:00Z", "2027-03-14T07:00:00Z"),
        ("Europe/Berlin", "30 2 * * *", "2027-03-27T12:00:00Z", "2027-03-28T01:00:00Z"),
        // The day begins at 01:00.
        ("Africa/Cairo", "0 0 * * *", "2027-04-29T12:00:00Z", "2027-04-29T22:00:00Z"),
        // Half an hour.
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03T12:00:00Z", "2026-10-03T15:30:00Z"),
        // A whole day was left out.
        ("Pacific/Apia", "0 12 30 12 *", "2011-12-01T00:00:00Z", "2011-12-30T10:00:00Z"),
    ] {
        check(text, place, after, &[want]);
    }
    // The day after is as ever.
    check("30 2 * * *", "America/New_York", "2027-03-14T07:00:00Z", &["2027-03-15T06:30:00Z"]);
    // Two times of one gap are one occurrence.
    check(
        "0,30 2 * * *",
        "America/New_York",
        "2027-03-13T12:00:00Z",
        &["2027-03-14T07:00:00Z", "2027-03-15T06:00:00Z"],
    );
}

#[test]
fn a_local_time_that_comes_twice_runs_once() {
    for (place, text, after, first, next) in [
        ("America/New_York", "30 1 * * *", "2026-10-31T12:00:00Z", "2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"),
        ("Europe/Berlin", "30 2 * * *", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"),
        ("Australia/Lord_Howe", "45 1 * * *", "2026-04-04T00:00:00Z", "2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"),
    ] {
        check(text, place, after, &[first, next]);
    }
}

#[test]
fn what_is_wrong_is_told_all_at_once() {
    for (text, says) in [
        ("0 3 * *", "4 fields"),
        ("61 24 * * *", "minute: `61`"),
        ("61 24 * * *", "hour: `24`"),
        ("0 3 1 * mon", "a day of the month and a day of the week"),
        ("0 3 * * mon#6", "mon#6"),
        ("0 3 0 * *", "day of the month: `0`"),
        ("0 22-4 * * *", "runs backwards"),
        ("5/10 3 * * *", "`5/10`"),
        ("0 3 * 13 *", "or jan to dec"),
        ("*/0 3 * * *", "`*/0`"),
        ("0 3 ? * mon", "together"),
        ("@weekly", "1 fields"),
        ("0 3 * * l", "`l`"),
    ] {
        let error = text.parse::<Cron>().expect_err(text);
        assert!(error.contains(says), "`{text}`: {error}");
    }
}

const ZONES: [&str; 8] = [
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "Africa/Cairo",
    "America/St_Johns",
    "Asia/Kolkata",
    "Pacific/Chatham",
];

/// The same by another way: each minute of real time is asked whether its local time is meant, a gap is looked for by
/// hand, and the second time of an hour is left out.
fn plain(text: &str, zone: &Zone, after: Timestamp, minutes: i64) -> Option<Timestamp> {
    let cron = cron(text);
    let on = |local: DateTime| {
        cron.is_on(local.date()) && cron.times().any(|t| t == local.time().with().second(0).build().expect("a time"))
    };
    let mut newest = zone.local(after - 3.hours());
    for n in -179..minutes {
        let now = after + n.minutes();
        let local = zone.local(now);
        let mut wanted = false;
        // Every local minute that is new since the minute before: more than one after a gap, none after a fold.
        while newest < local {
            newest = newest.checked_add(1.minute()).expect("a time");
            wanted |= on(newest);
        }
        if wanted && after < now {
            return Some(now);
        }
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_next_occurrence_is_the_one_that_a_walk_over_all_minutes_finds(
        minute in 0..60_u32, hour in 0..24_u32, by_weekday in any::<bool>(), day in 1..7_u32,
        place in 0..ZONES.len(), start in 1_790_000_000_i64..1_830_000_000,
    ) {
        let text = if by_weekday { format!("{minute} {hour} * * {day}") } else { format!("{minute} {hour},3 * * *") };
        let zone = zone(ZONES[place]);
        let after = Timestamp::from_second(start / 60 * 60).expect("an instant");
        let minutes = 9 * 24 * 60;
        prop_assert_eq!(cron(&text).after(&zone, after), plain(&text, &zone, after, minutes), "{} in {} after {}", text, ZONES[place], after);
    }

    #[test]
    fn what_is_written_back_reads_the_same(minute in 0..60_u32, nth in 1..=5_u32) {
        let cron = cron(&format!("{minute} 3 * * sat#{nth}"));
        prop_assert_eq!(&String::from(cron.clone()).parse::<Cron>().expect("valid"), &cron);
        let found = cron.after(&zone("UTC"), at("2026-01-01T00:00:00Z")).expect("one of five years");
        prop_assert_eq!(zone("UTC").local(found).date().weekday(), Weekday::Saturday);
    }
}
