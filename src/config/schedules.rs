//! When an application is drilled: `[applications.schedules.NAME]`.
//!
//! Invariant: a schedule that is read can occur, can begin, and never stands in its own way. There is no key for a loss:
//! a schedule names one of the application's drills, and those can express none (FAULTS.md 82).

use std::{collections::BTreeSet, time::Duration};

use super::{application::named, deciding};
use crate::domain::{
    calendar::{Blackout, Zone},
    document::{At, Findings},
    id::{Region, RunbookName, ScheduleName},
    schedule::{self, Calm, Cron, Schedule},
};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// The longest time between two proofs that can be asked for.
const YEARS: Duration = Duration::from_hours(3 * 366 * 24);
/// Each is a drill that somebody has to look after.
const SCHEDULES_MAX: usize = 20;
/// A drill that is caught up later than that was not held.
const CATCH_UP_DAYS_MAX: u64 = 60;
/// How long a drill may begin after its time, where nothing is said.
const START_WITHIN: Duration = HOUR;

/// What a schedule is held against.
pub(super) struct Around<'a> {
    pub(super) regions: &'a [Region],
    pub(super) drills: &'a [RunbookName],
    pub(super) blackouts: &'a [Blackout],
}

/// Reads all of them, in the order of their names.
pub(super) fn read(at: Option<At<'_>>, around: &Around<'_>, found: &mut Findings) -> Vec<Schedule> {
    let key = at.as_ref().map(|at| at.key.clone()).unwrap_or_default();
    let all = named::<ScheduleName, Schedule>(at, found, |at, found| one(at, around, found));
    if SCHEDULES_MAX < all.len() {
        found.error(&key, format!("{} schedules; at most {SCHEDULES_MAX} are possible", all.len()), "");
    }
    all.into_iter().map(|(name, schedule)| Schedule { name, ..schedule }).collect()
}

fn one(at: &At<'_>, around: &Around<'_>, found: &mut Findings) -> Option<Schedule> {
    let mut f = at.fields(found)?;
    let drill = f.need(found, "drill", "drill = \"drill-switchover\"");
    let cron = f.need(found, "cron", "cron = \"0 10 * * tue#2\"").map(|at| at.parse::<Cron>(found));
    let zone = f.need(found, "zone", "zone = \"Europe/Berlin\"").map(|at| at.parse::<Zone>(found));
    let target = f.get(found, "target_region", "target_region = \"us-west-2\"");
    let start_within = f.get(found, "start_within", "start_within = \"2h\"");
    let catch_up = f.get(found, "catch_up", "catch_up = \"5d\"");
    let announce = f.get(found, "announce_before", "announce_before = \"1d\"");
    let blackouts = f.get(found, "blackouts", deciding::BLACKOUTS);
    let on_call = f.get(found, "on_call", "on_call = \"payments-oncall\"");
    let calm_at = f.get(found, "calm", "calm = { over = \"1h\", impact = 0.01 }");
    let prove = f.get(found, "prove_within", "prove_within = \"40d\"");
    f.finish(found);
    let drill = drill.and_then(|at| one_of(&at, around.drills, "a drill of this application", found));
    let target = match target {
        Some(at) => Some(one_of(&at, around.regions, "a Region of this application", found)?),
        None => None,
    };
    let start_within = start_within.map_or(Some(START_WITHIN), |at| long(&at, found, MINUTE, DAY));
    let catch_up_days = catch_up.map_or(Some(0), |at| days(&at, found));
    let announce_before = announce.map_or(Some(Duration::ZERO), |at| long(&at, found, MINUTE, 30 * DAY));
    let blackouts = blackouts.map_or(Some(Vec::new()), |at| deciding::blackouts(&at, found));
    let on_call = match on_call {
        Some(at) => Some(at.text(found)?.to_owned()),
        None => None,
    };
    let calm = match calm_at {
        Some(at) => Some(calm(&at, found)?),
        None => None,
    };
    let prove_within = match prove {
        Some(at) => Some(long(&at, found, DAY, YEARS)?),
        None => None,
    };
    let schedule = Schedule {
        // Its own name comes from its key.
        name: "unnamed".parse().unwrap_or_else(|e| unreachable!("a literal: {e}")),
        drill: drill?,
        cron: cron??,
        zone: zone??,
        target,
        start_within: start_within?,
        catch_up_days: catch_up_days?,
        announce_before: announce_before?,
        blackouts: blackouts?,
        on_call,
        calm,
        prove_within,
    };
    let impossible = schedule::faults(&schedule, around.blackouts);
    for (name, problem) in &impossible {
        found.coded("config-schedule", &format!("{}.{name}", at.key), problem, "");
    }
    impossible.is_empty().then_some(schedule)
}

/// One of those that are known.
fn one_of<T>(at: &At<'_>, known: &[T], what: &str, found: &mut Findings) -> Option<T>
where
    T: std::str::FromStr<Err = crate::domain::id::InvalidName> + PartialEq + std::fmt::Display,
{
    let named = at.parse::<T>(found)?;
    if known.contains(&named) {
        return Some(named);
    }
    let all: BTreeSet<String> = known.iter().map(ToString::to_string).collect();
    let all = if all.is_empty() { "none".to_owned() } else { all.into_iter().collect::<Vec<_>>().join(", ") };
    found.error(&at.key, format!("`{named}` is not {what}: {all}"), at.example);
    None
}

fn calm(at: &At<'_>, found: &mut Findings) -> Option<Calm> {
    let mut f = at.fields(found)?;
    let over = f.need(found, "over", "over = \"1h\"").and_then(|at| long(&at, found, 5 * MINUTE, 7 * DAY));
    let impact = f.need(found, "impact", "impact = 0.01").and_then(|at| deciding::allowance(&at, found));
    f.finish(found);
    Some(Calm { over: over?, impact: impact? })
}

/// A duration that may be told in days or weeks: `100d`, `2w`, or as any other.
pub(super) fn long(at: &At<'_>, found: &mut Findings, least: Duration, most: Duration) -> Option<Duration> {
    match whole_days(at).map(|days| DAY.saturating_mul(u32::try_from(days).unwrap_or(u32::MAX))) {
        Some(length) if (least..=most).contains(&length) => Some(length),
        Some(_) => {
            let in_days = |d: Duration| d.as_secs_f64() / DAY.as_secs_f64();
            let problem = format!("is not between {:.2} and {:.0} days", in_days(least), in_days(most));
            found.error(&at.key, problem, at.example);
            None
        }
        None => at.duration(found, least, most),
    }
}

fn days(at: &At<'_>, found: &mut Findings) -> Option<u32> {
    match whole_days(at) {
        Some(days @ 1..=CATCH_UP_DAYS_MAX) => u32::try_from(days).ok(),
        Some(_) | None => {
            let problem = format!("is not a number of days from 1d to {CATCH_UP_DAYS_MAX}d");
            found.error(&at.key, problem, at.example);
            None
        }
    }
}

/// `5d`, `2w`.
fn whole_days(at: &At<'_>) -> Option<u64> {
    let crate::domain::document::Value::Text(text) = &at.node.value else { return None };
    let text = text.trim();
    let (count, of) = text.strip_suffix('d').map(|n| (n, 1)).or_else(|| text.strip_suffix('w').map(|n| (n, 7)))?;
    count.trim().parse::<u64>().ok()?.checked_mul(of)
}

#[cfg(test)]
mod tests {
    use crate::config::Settings;

    /// The shipped configuration with one schedule; what is wrong, as place, code and problem.
    fn faults(schedule: &str) -> Vec<(usize, usize, &'static str, String)> {
        let (text, line) = with(schedule);
        let none = std::collections::BTreeMap::new();
        match Settings::parse("failoverd.toml", &text, std::path::Path::new(""), &none) {
            Ok(_) => Vec::new(),
            Err(faults) => {
                let faults = faults.faults.iter().filter(|f| f.key.contains("schedules"));
                faults.map(|f| (f.line - line, f.column, f.code, format!("{}: {}", f.key, f.problem))).collect()
            }
        }
    }

    /// The file, and the number of the line of the schedule's name.
    fn with(schedule: &str) -> (String, usize) {
        let default = include_str!("../../config/default.toml");
        let text = format!("{default}\n[applications.schedules.quarterly]\n{schedule}\n");
        (text, default.lines().count() + 2)
    }

    #[track_caller]
    fn check(schedule: &str, place: (usize, usize), code: &str, says: &str) {
        let found = faults(schedule);
        let is_it = |(line, column, of, problem): &(usize, usize, &str, String)| {
            (*line, *column) == place && *of == code && problem.contains(says)
        };
        assert!(found.iter().any(is_it), "{schedule}\n{found:#?}");
    }

    const WELL: &str = "drill = \"drill-switchover\"\ncron = \"0 10 * 1,4,7,10 tue#2\"\nzone = \"Europe/Berlin\"\n";

    #[test]
    fn a_whole_schedule_is_read() {
        let (text, _) = with(&format!(
            "{WELL}target_region = \"us-west-2\"\nstart_within = \"3h\"\ncatch_up = \"10d\"\nannounce_before = \"1d\"\n\
             on_call = \"payments\"\ncalm = {{ over = \"2h\", impact = 0.05 }}\nprove_within = \"14w\"\n\
             blackouts = [{{ reason = \"sale\", from = \"2026-11-27T00:00:00Z\", to = \"2026-12-01T00:00:00Z\" }}]\n"
        ));
        let none = std::collections::BTreeMap::new();
        let read = Settings::parse("failoverd.toml", &text, std::path::Path::new(""), &none);
        let settings = read.unwrap_or_else(|faults| panic!("{faults}"));
        let schedule = &settings.applications[0].schedules[0];
        assert_eq!((schedule.name.as_str(), schedule.catch_up_days), ("quarterly", 10));
        assert_eq!(schedule.announce_before.as_secs(), 86_400);
        assert_eq!(schedule.prove_within.map(|d| d.as_secs() / 86_400), Some(98));
        assert_eq!(schedule.blackouts.len(), 1);
    }

    #[test]
    fn impossible_schedules_are_told_with_their_place() {
        let with = |cron: &str, more: &str| {
            format!("drill = \"drill-switchover\"\ncron = \"{cron}\"\nzone = \"Europe/Berlin\"\n{more}")
        };
        check(&with("0 3 30 2 *", ""), (2, 8), "config-schedule", "never occurs");
        check(&with("0 3,4 * * *", ""), (2, 8), "config-schedule", "once a day at most");
        check(&with("0 3 * * *", "start_within = \"24h\""), (4, 16), "config-schedule", "overlaps with itself");
        let night =
            "blackouts = [{ reason = \"night\", from = \"mon 00:00\", to = \"mon 12:00\", zone = \"Europe/Berlin\" }]";
        check(&with("0 3 * * mon", night), (2, 8), "config-schedule", "a blackout is on whenever");
        // A day later the same hour is free.
        assert_eq!(faults(&with("0 3 * * mon", &format!("catch_up = \"1d\"\n{night}"))), []);
        check(&with("0 3 * * xyz", ""), (2, 8), "config-invalid", "`xyz`");
    }

    #[test]
    fn what_a_schedule_may_not_say_is_refused() {
        check(&WELL.replace("Europe/Berlin", "Mars/Olympus"), (3, 8), "config-invalid", "IANA");
        check(&WELL.replace("drill-switchover", "region-failover"), (1, 9), "config-invalid", "not a drill");
        check(&format!("{WELL}accept_data_loss_seconds = 5\n"), (4, 1), "config-invalid", "accept_data_loss_seconds");
        check(&format!("{WELL}mode = \"failover\"\n"), (4, 1), "config-invalid", "mode");
        check(&format!("{WELL}catch_up = \"3h\"\n"), (4, 12), "config-invalid", "number of days");
        check(&format!("{WELL}announce_before = \"40d\"\n"), (4, 19), "config-invalid", "days");
        check(&format!("{WELL}target_region = \"eu-west-1\"\n"), (4, 17), "config-invalid", "not a Region");
        check(
            &format!("{WELL}calm = {{ over = \"1h\", impact = 2 }}\n"),
            (4, 32),
            "config-invalid",
            "part of the time",
        );
    }
}
