use super::*;
use crate::domain::{
    history::tests::{at, plan, run_id},
    id::ApplicationName,
    plan::Purpose,
};

fn app() -> ApplicationName {
    "payments".parse().expect("a name")
}

fn id(bits: u128) -> OverrideId {
    OverrideId::new(&app(), bits)
}

fn subject(name: &str) -> Subject {
    name.parse().expect("a subject")
}

fn asked(bits: u128, kind: OverrideKind, from: i64, to: i64) -> Event {
    let (by, reason) = (subject("alice"), "why".to_owned());
    let (asked_at, expires_at) = (at(from), at(to));
    let asked =
        Override { id: id(bits), kind, by, reason, asked_at, expires_at, bound_to: None, consent: None, ended: None };
    Event::OverrideAsked { asked: Box::new(asked) }
}

fn consented(bits: u128, by: &str) -> Event {
    Event::OverrideConsented { id: id(bits), subject: subject(by), reason: "agreed".to_owned() }
}

fn ended(bits: u128) -> Event {
    Event::OverrideEnded {
        id: id(bits),
        ending: Ending::Withdrawn,
        subject: Some(subject("alice")),
        why: "done".to_owned(),
    }
}

fn arm(largest_loss: u64) -> OverrideKind {
    OverrideKind::Arm {
        from: "us-east-1".parse().expect("a Region"),
        to: "us-west-2".parse().expect("a Region"),
        largest_loss: Duration::from_secs(largest_loss),
    }
}

#[test]
fn arming_is_in_force_from_the_second_persons_consent_to_its_end() {
    let mut all = Overrides::default();
    all.apply(at(0), &asked(1, arm(5), 0, 100)).expect("legal");
    assert_eq!(all.get(&id(1)).expect("kept").standing(at(1)), Standing::AwaitsConsent);
    assert!(all.apply(at(1), &consented(1, "alice")).is_err(), "who asked cannot consent");
    all.apply(at(2), &consented(1, "bob")).expect("legal");
    assert!(all.apply(at(3), &consented(1, "carol")).is_err(), "once is enough");
    assert!(all.armed(at(3)).is_some() && all.armed(at(99)).is_some());
    assert!(all.armed(at(100)).is_none(), "the end is outside");
    assert!(all.apply(at(100), &ended(1)).is_err(), "what is over cannot end");
    assert!(all.apply(at(4), &consented(9, "bob")).is_err(), "there is no such override");
}

fn told(bits: u128) -> Event {
    Event::NoticeIntended { about: id(bits), calls: vec![] }
}

#[test]
fn what_ends_by_itself_is_to_be_told_once_and_what_a_person_ended_is_not() {
    let mut all = Overrides::default();
    let untold = |all: &Overrides, now| all.untold(at(now)).map(|o| (o.what.id.clone(), o.word)).collect::<Vec<_>>();
    for n in 1..=3 {
        all.apply(at(0), &asked(n, arm(5), 0, 100)).expect("legal");
    }
    all.apply(at(1), &consented(1, "bob")).expect("legal");
    all.apply(at(1), &consented(2, "bob")).expect("legal");
    assert!(all.apply(at(2), &told(1)).is_err(), "it is in force");
    all.apply(at(2), &ended(2)).expect("legal");
    assert_eq!(untold(&all, 99), []);
    assert_eq!(untold(&all, 100), [(id(1), "expired")], "nobody had consented to the third");
    let day = i64::try_from(TOLD_FOR.as_secs()).expect("fits");
    assert_eq!(untold(&all, 101 + day), [], "an old story");
    all.apply(at(101), &told(1)).expect("legal");
    assert_eq!(untold(&all, 102), []);
    assert!(all.apply(at(102), &told(1)).is_err(), "once");
    assert!(all.apply(at(102), &told(9)).is_err(), "there is no such override");
}

#[test]
fn what_has_ended_never_comes_back_and_is_not_asked_for_twice() {
    let mut all = Overrides::default();
    all.apply(at(0), &asked(1, OverrideKind::KillSwitch, 0, 100)).expect("legal");
    assert!(all.kill_switch(at(1)).is_some(), "it only makes things stricter: no consent");
    all.apply(at(2), &ended(1)).expect("legal");
    assert!(all.kill_switch(at(3)).is_none());
    assert!(all.apply(at(3), &ended(1)).is_err());
    assert!(all.apply(at(3), &asked(1, OverrideKind::KillSwitch, 3, 100)).is_err());
    assert!(all.apply(at(50), &asked(2, OverrideKind::KillSwitch, 50, 50)).is_err(), "over before it begins");
}

#[test]
fn a_run_uses_the_arming_up_and_only_in_its_direction_and_within_its_loss() {
    let mut plan = plan(Purpose::Failover);
    let armed = |loss| {
        let mut all = Overrides::default();
        all.apply(at(0), &asked(1, arm(loss), 0, 100)).expect("legal");
        all.apply(at(1), &consented(1, "bob")).expect("legal");
        all
    };
    plan.accepted_loss = Some(Duration::from_secs(5));
    assert!(armed(4).spend(at(2), &id(1), &run_id(1), &plan).is_err(), "more than was armed");
    let mut all = armed(5);
    all.spend(at(2), &id(1), &run_id(1), &plan).expect("within it");
    assert!(all.armed(at(3)).is_none());
    assert!(all.spend(at(3), &id(1), &run_id(2), &plan).is_err(), "once");
    assert!(armed(5).spend(at(100), &id(1), &run_id(1), &plan).is_err(), "it is over");
    std::mem::swap(&mut plan.source, &mut plan.target);
    assert!(armed(5).spend(at(2), &id(1), &run_id(1), &plan).is_err(), "the other direction");
    let mut unconsented = Overrides::default();
    unconsented.apply(at(0), &asked(1, arm(5), 0, 100)).expect("legal");
    assert!(unconsented.spend(at(2), &id(1), &run_id(1), &plan).is_err());
}

#[test]
fn an_acknowledgement_stands_although_its_time_is_over_and_memory_is_bounded() {
    let mut all = Overrides::default();
    let run = run_id(7);
    assert_eq!(all.acknowledged(&run), None);
    let kind = OverrideKind::Acknowledge { run: run.clone(), reconciled: false };
    all.apply(at(0), &asked(1, kind, 0, 10)).expect("legal");
    assert_eq!(all.acknowledged(&run), Some(false));
    let kind = OverrideKind::Acknowledge { run: run.clone(), reconciled: true };
    all.apply(at(20), &asked(2, kind, 20, 30)).expect("legal");
    assert_eq!(all.acknowledged(&run), Some(true));
    for n in 3..200 {
        let (from, to) = (20 + i64::try_from(n).expect("few"), 21 + i64::try_from(n).expect("few"));
        all.apply(at(from), &asked(n, OverrideKind::KillSwitch, from, to)).expect("legal");
    }
    assert!(all.all().count() <= ENDED_KEPT_MAX + STANDING_COUNT_MAX);
    assert_eq!(all.acknowledged(&run), Some(true), "an acknowledgement is not forgotten");
    for n in 200..600 {
        let from = 300 + i64::try_from(n).expect("few");
        let kind = OverrideKind::Acknowledge { run: run.clone(), reconciled: true };
        all.apply(at(from), &asked(n, kind, from, from + 1)).expect("legal");
    }
    assert!(all.all().count() <= ENDED_KEPT_MAX + STANDING_COUNT_MAX, "nor kept once for each time it was given");
    assert_eq!(all.acknowledged(&run), Some(true));
}

#[test]
fn only_what_guards_against_haste_can_be_waived() {
    let waivable: Vec<Rule> = Rule::ALL.iter().copied().filter(|r| r.is_waivable()).collect();
    assert_eq!(waivable, [Rule::Dwell, Rule::CoolDown, Rule::Acknowledged, Rule::Blackout]);
}
