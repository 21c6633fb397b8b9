use proptest::prelude::*;

use super::*;
use crate::domain::{
    calendar::{Day, Window},
    history::{
        History,
        tests::{fold, plan, run_id},
    },
    id::Digest,
    journal::Event,
};

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

fn schedule(cron: &str, zone: &str) -> Schedule {
    Schedule {
        name: "quarterly".parse().expect("a name"),
        drill: "drill-switchover".parse().expect("a name"),
        cron: cron.parse().expect("a cron"),
        zone: zone.parse().expect("a zone"),
        target: None,
        start_within: Duration::from_hours(2),
        catch_up_days: 0,
        announce_before: Duration::ZERO,
        blackouts: Vec::new(),
        on_call: None,
        calm: None,
        prove_within: None,
    }
}

fn noted(at: Timestamp, note: Note) -> (i64, Event) {
    (at.as_second(), Event::ScheduleNoted { schedule: "quarterly".parse().expect("a name"), note })
}

fn followed_since(since: &str) -> Followed {
    let history = noted_history(&[noted(at(since), Note::Followed { terms: "as it is".to_owned() })]);
    history.expect("legal").schedules.get(&"quarterly".parse().expect("a name")).expect("followed").clone()
}

fn noted_history(events: &[(i64, Event)]) -> Result<History, IllegalEvent> {
    let mut history = History::new("payments".parse().expect("a name"));
    for (second, event) in events {
        history.apply_event(Timestamp::from_second(*second).expect("an instant"), event)?;
    }
    Ok(history)
}

use crate::domain::history::IllegalEvent;

fn started(bits: u128, occurrence: &str) -> Event {
    let request = Request {
        purpose: Purpose::Drill,
        subject: schedule("0 3 * * *", "UTC").subject(),
        reason: "why".to_owned(),
        idempotency_key: Some(at(occurrence).to_string()),
        body_digest: Digest::zero(),
        supersedes: None,
        armed: None,
    };
    let plan = crate::domain::plan::Plan { purpose: Purpose::Drill, ..plan(Purpose::Switchover) };
    Event::RunStarted { run: run_id(bits), request, plan: Box::new(plan), evidence_since: None }
}

#[test]
fn it_is_announced_once_begun_in_its_window_and_missed_after_it() {
    let weekly = Schedule { announce_before: Duration::from_hours(24), ..schedule("0 10 * * mon", "Europe/Berlin") };
    let mut followed = followed_since("2026-11-20T12:00:00Z");
    let occurrence = at("2026-11-23T09:00:00Z");
    let opening = Opening { from: occurrence, to: at("2026-11-23T11:00:00Z") };
    let tell_at = at("2026-11-22T09:00:00Z");
    let due = |followed: &Followed, text: &str| weekly.due(followed, at(text));
    assert_eq!(due(&followed, "2026-11-22T08:59:59Z"), Due::Nothing { until: Some(tell_at) });
    assert_eq!(due(&followed, "2026-11-22T09:00:00Z"), Due::Announce { occurrence });
    followed.announced = Some(occurrence);
    assert_eq!(due(&followed, "2026-11-23T08:59:59Z"), Due::Nothing { until: Some(occurrence) });
    assert_eq!(due(&followed, "2026-11-23T09:00:00Z"), Due::Begin { occurrence, opening });
    assert_eq!(due(&followed, "2026-11-23T10:59:59Z"), Due::Begin { occurrence, opening });
    assert_eq!(due(&followed, "2026-11-23T11:00:00Z"), Due::Missed { occurrence });
    followed.settled = occurrence;
    // The clock is set back: it is over all the same.
    assert_eq!(due(&followed, "2026-11-23T09:30:00Z"), Due::Nothing { until: Some(at("2026-11-29T09:00:00Z")) });
}

#[test]
fn what_came_before_the_schedule_is_not_its_own() {
    let weekly = Schedule { catch_up_days: 6, ..schedule("0 10 * * mon", "UTC") };
    let followed = followed_since("2026-11-23T10:30:00Z");
    let next = at("2026-11-30T10:00:00Z");
    assert_eq!(weekly.due(&followed, at("2026-11-24T10:15:00Z")), Due::Nothing { until: Some(next) });
}

#[test]
fn a_missed_one_is_caught_up_at_the_same_local_hour_until_the_next_is_announced() {
    let weekly = Schedule {
        catch_up_days: 10,
        announce_before: Duration::from_hours(24),
        ..schedule("30 2 * * fri", "America/New_York")
    };
    // The night from Saturday to Sunday, 14 March 2027, has no 02:30.
    let occurrence = at("2027-03-12T07:30:00Z");
    let from: Vec<Timestamp> = weekly.openings(occurrence).map(|opening| opening.from).collect();
    let wanted = [
        "2027-03-12T07:30:00Z",
        "2027-03-13T07:30:00Z",
        "2027-03-14T07:00:00Z",
        "2027-03-15T06:30:00Z",
        "2027-03-16T06:30:00Z",
        "2027-03-17T06:30:00Z",
    ];
    assert_eq!(from, wanted.map(at), "the next is announced on Thursday at 06:30Z");
    let followed = followed_since("2027-03-12T00:00:00Z");
    let due = |text: &str| weekly.due(&followed, at(text));
    assert_eq!(due("2027-03-12T12:00:00Z"), Due::Nothing { until: Some(at("2027-03-13T07:30:00Z")) });
    assert!(matches!(due("2027-03-14T07:00:00Z"), Due::Begin { occurrence: of, .. } if of == occurrence));
    assert_eq!(due("2027-03-17T08:30:00Z"), Due::Missed { occurrence });
}

#[test]
fn one_run_for_each_occurrence_and_none_for_one_that_is_over() {
    let since = noted(at("2026-11-01T00:00:00Z"), Note::Followed { terms: "x".to_owned() });
    let first = (at("2026-11-23T09:00:00Z").as_second(), started(1, "2026-11-23T09:00:00Z"));
    let end = Event::RunFinished {
        run: run_id(1),
        result: crate::domain::run::RunResult::Succeeded,
        reason: String::new(),
        loss: None,
    };
    let ended = (first.0 + 60, end);
    let again = (first.0 + 120, started(2, "2026-11-23T09:00:00Z"));
    let history = noted_history(&[since.clone(), first.clone(), ended.clone()]).expect("legal");
    let followed = history.schedules.get(&"quarterly".parse().expect("a name")).expect("followed");
    assert_eq!((followed.settled, followed.began_count), (at("2026-11-23T09:00:00Z"), 1));
    let refused = noted_history(&[since.clone(), first, ended, again]).expect_err("twice");
    assert!(refused.why.contains("began already"), "{refused}");
    let missed = Note::Missed { occurrence: at("2026-11-23T09:00:00Z"), reason: "why".to_owned() };
    let late = (at("2026-11-23T12:00:00Z").as_second(), started(3, "2026-11-23T09:00:00Z"));
    let refused = noted_history(&[since, noted(at("2026-11-23T11:00:00Z"), missed), late]).expect_err("missed");
    assert!(refused.why.contains("was missed"), "{refused}");
    let unknown = noted_history(&[(0, started(4, "2026-11-23T09:00:00Z"))]).expect_err("nobody follows it");
    assert!(unknown.why.contains("not followed"), "{unknown}");
    assert!(fold(&[]).is_ok());
}

#[test]
fn a_changed_schedule_counts_from_its_change_and_a_clock_set_back_opens_nothing() {
    let follow = |text: &str, terms: &str| noted(at(text), Note::Followed { terms: terms.to_owned() });
    let missed = Note::Missed { occurrence: at("2026-11-23T09:00:00Z"), reason: "why".to_owned() };
    let events = [
        follow("2026-11-01T00:00:00Z", "a"),
        noted(at("2026-11-23T11:00:00Z"), missed),
        follow("2026-11-25T00:00:00Z", "b"),
        follow("2026-11-02T00:00:00Z", "c"),
    ];
    let history = noted_history(&events).expect("legal");
    let (_, followed) = history.schedules.followed().next().expect("followed");
    assert_eq!((followed.settled, followed.missed_count), (at("2026-11-25T00:00:00Z"), 1));
    let dropped = noted_history(&[events[0].clone(), noted(at("2026-11-02T00:00:00Z"), Note::Dropped)]).expect("legal");
    assert_eq!(dropped.schedules.followed().count(), 0);
}

#[test]
fn a_schedule_has_no_way_to_say_that_a_loss_is_accepted() {
    let quarterly = schedule("0 10 * * tue#2", "UTC");
    let text = serde_json::to_string(&quarterly).expect("it serialises");
    assert!(!text.contains("loss") && !text.contains("mode"), "{text}");
    // What runs in its name is a drill, and the fold refuses a drill that could lose.
    let mut event = started(1, "2026-11-23T09:00:00Z");
    let Event::RunStarted { plan, .. } = &mut event else { unreachable!("it starts") };
    plan.accepted_loss = Some(Duration::from_secs(1));
    let since = noted(at("2026-11-01T00:00:00Z"), Note::Followed { terms: "x".to_owned() });
    let refused = noted_history(&[since, (0, event)]).expect_err("a loss");
    assert!(refused.why.contains("loses nothing"), "{refused}");
}

#[test]
fn no_person_is_called_like_a_schedule() {
    let name: Subject = "schedule:quarterly".parse().expect("journals have it");
    assert_eq!(name.schedule(), Some("quarterly".parse().expect("a name")));
    for no in ["schedule:", "schedule:Quarterly", "schedule:a b", "people:ann", "ann:schedule"] {
        assert!(no.parse::<Subject>().is_err(), "{no}");
    }
    assert_eq!("schedule".parse::<Subject>().expect("a name").schedule(), None);
}

#[test]
fn a_night_that_is_always_shut_is_a_fault_and_one_that_is_shut_once_is_none() {
    let nightly = schedule("0 3 * * mon", "UTC");
    let time = |hour| jiff::civil::Time::new(hour, 0, 0, 0).expect("an hour");
    let when =
        Window::Weekly { from: (Day::Mon, time(2)), to: (Day::Mon, time(6)), zone: "UTC".parse().expect("a zone") };
    let shut = Blackout { reason: "night".to_owned(), when };
    assert_eq!(faults(&nightly, std::slice::from_ref(&shut)).len(), 1);
    let once = Window::Once { from: at("2026-01-01T00:00:00Z"), to: at("2026-06-01T00:00:00Z") };
    assert_eq!(faults(&nightly, &[Blackout { reason: "half a year".to_owned(), when: once }]), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the clock does and whenever it is looked, every occurrence ends as begun or missed, once, in order.
    #[test]
    fn no_occurrence_begins_twice_and_none_is_forgotten(
        steps in proptest::collection::vec((-30_000_i64..200_000, any::<bool>()), 1..120),
        catch_up_days in 0..4_u32, announced in any::<bool>(),
    ) {
        let daily = Schedule {
            catch_up_days,
            announce_before: if announced { Duration::from_hours(6) } else { Duration::ZERO },
            ..schedule("30 2 * * *", "Europe/Berlin")
        };
        let mut now = at("2027-03-20T00:00:00Z");
        let mut followed = followed_since("2027-03-20T00:00:00Z");
        let (mut over, mut latest) = (Vec::new(), now);
        for (seconds, is_well) in steps {
            now = (now + jiff::SignedDuration::from_secs(seconds)).max(at("2027-03-20T00:00:00Z"));
            latest = latest.max(now);
            for _ in 0..200 {
                match daily.due(&followed, now) {
                    Due::Announce { occurrence } => followed.announced = Some(occurrence),
                    Due::Begin { occurrence, opening } if is_well => {
                        prop_assert!(opening.from <= now && now < opening.to);
                        followed.settled = occurrence;
                        over.push(occurrence);
                    }
                    Due::Missed { occurrence } => {
                        followed.settled = occurrence;
                        over.push(occurrence);
                    }
                    Due::Begin { .. } | Due::Nothing { .. } => break,
                }
            }
        }
        let wanted: Vec<Timestamp> = daily.occurrences(at("2027-03-20T00:00:00Z")).take(over.len()).collect();
        prop_assert_eq!(&over, &wanted);
        prop_assert!(over.last().is_none_or(|last| *last <= latest));
    }
}
