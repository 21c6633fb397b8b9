//! Acting alone: one that acts, and each thing that stops it.

use super::*;
use crate::domain::{overrides::Ending, policy::Policy, rules::Holds};

const FRANKFURT: &str = "frankfurt";
const DUBLIN: &str = "dublin";
const DWELL: u64 = 60;

/// Two triggers of the east, one of the west, a lag, two observers; armed from east to west for 30 s of lost writes.
fn armed_app() -> Application {
    let mut app = app(true);
    app.policy = Policy {
        mode: Mode::Automatic,
        dwell: Duration::from_secs(DWELL),
        quorum: 2,
        observers: [FRANKFURT, DUBLIN].map(|v| v.parse().expect("a name")).into(),
        ..Policy::default()
    };
    app
}

fn id(bits: u128) -> OverrideId {
    OverrideId::new(&"payments".parse().expect("a name"), bits)
}

fn asked(bits: u128, kind: OverrideKind, minutes: u64) -> Event {
    let expires_at = at(NOW - 30) + Duration::from_mins(minutes);
    Event::OverrideAsked {
        asked: Box::new(Override {
            id: id(bits),
            kind,
            by: "alice".parse().expect("a subject"),
            reason: "the quarter's end".to_owned(),
            asked_at: at(NOW - 30),
            expires_at,
            bound_to: None,
            consent: None,
            ended: None,
        }),
    }
}

fn arm() -> OverrideKind {
    OverrideKind::Arm { from: region(EAST), to: region(WEST), largest_loss: Duration::from_secs(30) }
}

fn apply(history: &mut History, events: &[Event]) {
    for event in events {
        history.apply_event(at(NOW - 30), event).expect("legal");
    }
}

fn consented(bits: u128) -> Event {
    Event::OverrideConsented { id: id(bits), subject: "bob".parse().expect("a subject"), reason: "agreed".to_owned() }
}

/// The disaster that it is armed for: everybody sees it.
fn disaster(app: &Application) -> Scene<'_> {
    let mut scene = Scene::of(app);
    let ill = || BTreeMap::from([(name("east-1"), window(ILL)), (name("east-2"), window(ILL))]);
    scene.windows = ill();
    scene.windows.insert(name("west"), window(WELL));
    scene.windows.insert(name("lag"), window(&[("1", 10)]));
    for vantage in [FRANKFURT, DUBLIN] {
        scene.elsewhere.insert(vantage.parse().expect("a name"), Observer { windows: ill(), abstains: None });
    }
    apply(&mut scene.history, &[asked(1, arm(), 60), consented(1)]);
    scene
}

fn hear(scene: &mut Scene<'_>, vantage: &str, signal: &str, readings: &[(&str, i64)]) {
    let observer = scene.elsewhere.entry(vantage.parse().expect("a name")).or_default();
    observer.windows.insert(name(signal), window(readings));
}

#[track_caller]
fn stopped_by(scene: &Scene<'_>, dwelt: u64, rule: Rule) {
    let assessment = scene.assess(dwelt);
    assert_ne!(assessment.verdict, Verdict::Start);
    let unmet: Vec<_> = unmet(&assessment.rules).collect();
    assert!(unmet.iter().any(|(r, _)| *r == rule), "{unmet:?}");
    let told = assessment.rules.iter().filter(|f| !f.is_met());
    assert!(told.into_iter().all(|f| f.satisfied_by.is_some()), "each says what would satisfy it: {unmet:?}");
}

#[test]
fn an_armed_disaster_that_everybody_sees_is_acted_on_after_the_dwell() {
    let app = armed_app();
    let scene = disaster(&app);
    let assessment = scene.assess(DWELL);
    assert_eq!(assessment.verdict, Verdict::Start, "{:?}", unmet(&assessment.rules).collect::<Vec<_>>());
    assert_eq!(assessment.recommended_target, Some(region(WEST)));
    assert_eq!(assessment.rules.len(), Rule::ALL.len());
    assert!(assessment.rules.iter().map(|f| f.rule).eq(Rule::ALL.iter().copied()), "in the order of the table");
    stopped_by(&scene, DWELL - 1, Rule::Dwell);
}

#[test]
fn in_shadow_it_says_what_it_would_start_and_starts_nothing() {
    let mut app = armed_app();
    app.policy.mode = Mode::Shadow;
    let assessment = disaster(&app).assess(DWELL);
    assert_eq!((assessment.verdict, assessment.would_start), (Verdict::Recommend, true));
    app.policy.mode = Mode::Recommend;
    stopped_by(&disaster(&app), DWELL, Rule::Mode);
}

#[test]
fn arming_needs_two_people_a_direction_and_is_over_in_time() {
    let app = armed_app();
    let mut scene = disaster(&app);
    scene.history = History::new(app.name.clone());
    stopped_by(&scene, DWELL, Rule::Armed);
    apply(&mut scene.history, &[asked(1, arm(), 60)]);
    stopped_by(&scene, DWELL, Rule::Armed);
    let other = OverrideKind::Arm { from: region(WEST), to: region(EAST), largest_loss: Duration::from_secs(30) };
    scene.history = History::new(app.name.clone());
    apply(&mut scene.history, &[asked(1, other, 60), consented(1)]);
    stopped_by(&scene, DWELL, Rule::Armed);
    scene.history = History::new(app.name.clone());
    let short = Event::OverrideAsked {
        asked: match asked(1, arm(), 60) {
            Event::OverrideAsked { asked } => Box::new(Override { expires_at: at(NOW), ..*asked }),
            other => unreachable!("{other:?}"),
        },
    };
    apply(&mut scene.history, &[short, consented(1)]);
    stopped_by(&scene, DWELL, Rule::Armed);
}

#[test]
fn one_vantage_that_says_otherwise_stops_it_also_after_it_has_fallen_silent() {
    let app = armed_app();
    for readings in [WELL, &[("+", 500), ("+", 400)][..], &[("-", 30), ("+", 20)]] {
        let mut scene = disaster(&app);
        hear(&mut scene, DUBLIN, "east-2", readings);
        stopped_by(&scene, DWELL, Rule::Quorum);
    }
    let mut scene = disaster(&app);
    scene.elsewhere.remove(&DUBLIN.parse().expect("a name"));
    stopped_by(&scene, DWELL, Rule::Quorum);
}

#[test]
fn a_quorum_is_more_than_half_of_all_and_never_one() {
    let mut app = armed_app();
    app.policy.quorum = 1;
    let mut scene = disaster(&app);
    let stale_ill: &[(&str, i64)] = &[("-", 500), ("-", 400)];
    for signal in ["east-1", "east-2"] {
        hear(&mut scene, DUBLIN, signal, stale_ill);
    }
    assert_eq!(scene.assess(DWELL).verdict, Verdict::Start, "two of three, and nobody is against");
    for signal in ["east-1", "east-2"] {
        hear(&mut scene, FRANKFURT, signal, stale_ill);
    }
    stopped_by(&scene, DWELL, Rule::Quorum);
    app.policy.observers.clear();
    let scene = disaster(&app);
    stopped_by(&scene, DWELL, Rule::Quorum);
}

#[test]
fn who_is_cut_off_abstains_and_does_not_act() {
    let app = armed_app();
    let mut scene = disaster(&app);
    scene.reach = Reach::CutOff { why: "no control point answers".to_owned() };
    let assessment = scene.assess(DWELL);
    let own = assessment.witnesses.iter().find(|w| w.vantage.as_str() == "here").expect("told");
    assert_eq!(own.stand, Stand::Abstains);
    stopped_by(&scene, DWELL, Rule::Reach);
    scene.reach = Reach::Unknown { why: "not asked yet".to_owned() };
    stopped_by(&scene, DWELL, Rule::Reach);
}

#[test]
fn what_was_seen_while_cut_off_has_not_stood_when_the_cut_is_over() {
    let app = armed_app();
    let mut scene = disaster(&app);
    let (vantage, mut memory) = ("here".parse().expect("a name"), Memory::default());
    scene.reach = Reach::CutOff { why: "no control point answers".to_owned() };
    let _cut_off = assess(&scene.known(&vantage), &mut memory, at(NOW), Duration::ZERO);
    scene.reach = Reach::Sure { says: "they answer again".to_owned() };
    let mut verdict = |boot| assess(&scene.known(&vantage), &mut memory, at(NOW), Duration::from_secs(boot)).verdict;
    assert_eq!(verdict(DWELL), Verdict::Recommend);
    assert_eq!((verdict(2 * DWELL - 1), verdict(2 * DWELL)), (Verdict::Recommend, Verdict::Start));
}

#[test]
fn the_loss_is_within_what_was_armed_and_the_target_is_seen_healthy() {
    let app = armed_app();
    let mut scene = disaster(&app);
    scene.windows.insert(name("lag"), window(&[("21", 10)]));
    stopped_by(&scene, DWELL, Rule::Loss);
    scene.windows.remove(&name("lag"));
    stopped_by(&scene, DWELL, Rule::Loss);
    let mut scene = disaster(&app);
    for readings in [ILL, &[("+", 500)], &[], &[("-", 20), ("+", 10)]] {
        scene.windows.insert(name("west"), window(readings));
        stopped_by(&scene, DWELL, Rule::Target);
    }
}

#[test]
fn people_can_switch_it_off_and_waive_haste_but_nothing_that_guards_data() {
    let app = armed_app();
    let mut scene = disaster(&app);
    apply(&mut scene.history, &[asked(2, OverrideKind::KillSwitch, 60)]);
    stopped_by(&scene, DWELL, Rule::KillSwitch);
    let waive = |rule| asked(3, OverrideKind::Waive { rule }, 30);
    let mut scene = disaster(&app);
    apply(&mut scene.history, &[waive(Rule::Dwell)]);
    let assessment = scene.assess(0);
    assert_eq!(assessment.verdict, Verdict::Start);
    assert!(assessment.rules.iter().any(|f| f.rule == Rule::Dwell && f.holds == Holds::Waived));
    let mut scene = disaster(&app);
    scene.windows.remove(&name("lag"));
    apply(&mut scene.history, &[waive(Rule::Loss)]);
    stopped_by(&scene, DWELL, Rule::Loss);
}

#[test]
fn what_is_armed_is_disarmed_by_unknown_lag_while_all_is_well_and_not_in_the_disaster() {
    let app = armed_app();
    let vantage = "here".parse().expect("a name");
    let after = |scene: &Scene<'_>| {
        let (known, mut memory) = (scene.known(&vantage), Memory::default());
        let _first = assess(&known, &mut memory, at(NOW), Duration::ZERO);
        assess(&known, &mut memory, at(NOW), Duration::from_secs(180)).disarm.map(|(_, ending, _)| ending)
    };
    let mut scene = disaster(&app);
    scene.windows.remove(&name("lag"));
    assert_eq!(after(&scene), None, "it is what it was armed for");
    for signal in ["east-1", "east-2"] {
        scene.windows.insert(name(signal), window(WELL));
    }
    scene.elsewhere.clear();
    assert_eq!(after(&scene), Some(Ending::LagUnknown));
    scene.windows.insert(name("lag"), window(&[("1", 10)]));
    assert_eq!(after(&scene), None);
    scene.writers = scene.app.stores.keys().map(|s| (s.clone(), region(WEST))).collect();
    assert_eq!(after(&scene), Some(Ending::DirectionChanged));
}

/// A reading of one signal: healthy, unhealthy or missing; newest last, ten seconds apart.
fn readings() -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(prop_oneof![Just("+"), Just("-"), Just("?")], 0..5)
}

fn dated(readings: &[&'static str], age: i64) -> SignalWindow {
    let last = i64::try_from(readings.len()).expect("few") - 1;
    let dated: Vec<(&str, i64)> = readings.iter().zip(0..).map(|(r, i)| (*r, age + 10 * (last - i))).collect();
    window(&dated)
}

#[derive(Debug, Clone)]
struct Drawn {
    /// Of each vantage, this daemon first: the readings of each trigger of the east, and how old the newest is.
    seen: Vec<[(Vec<&'static str>, i64); 2]>,
    lag_seconds: i64,
    lag_age: i64,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let signal = || (readings(), prop_oneof![Just(0i64), Just(100)]);
    let vantage = (signal(), signal()).prop_map(|(a, b)| [a, b]);
    (prop::collection::vec(vantage, 3), 0..40i64, 0..40i64).prop_map(|(seen, lag_seconds, lag_age)| Drawn {
        seen,
        lag_seconds,
        lag_age,
    })
}

fn starts(app: &Application, drawn: &Drawn) -> bool {
    let mut scene = disaster(app);
    for (i, signals) in drawn.seen.iter().enumerate() {
        for ((readings, age), signal) in signals.iter().zip(["east-1", "east-2"]) {
            let window = dated(readings, *age);
            let of = match i {
                0 => &mut scene.windows,
                1 => &mut scene.elsewhere.entry(FRANKFURT.parse().expect("a name")).or_default().windows,
                _ => &mut scene.elsewhere.entry(DUBLIN.parse().expect("a name")).or_default().windows,
            };
            of.insert(name(signal), window);
        }
    }
    let lag = drawn.lag_seconds.to_string();
    scene.windows.insert(name("lag"), window(&[(&lag, drawn.lag_age)]));
    let assessment = scene.assess(DWELL);
    assert!(!assessment.reasons.is_empty() && !assessment.would_change.is_empty(), "every verdict has reasons");
    assessment.verdict == Verdict::Start
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn less_that_is_known_never_argues_for_acting(
        drawn in drawn(), vantage in 0..3usize, signal in 0..2usize, kind in 0..5u8, more in 1..60i64,
    ) {
        let app = armed_app();
        let mut less = drawn.clone();
        match kind {
            0 => less.lag_seconds += more,
            1 => less.lag_age += more,
            // The reading falls silent: what it said last grows old.
            2 => less.seen[vantage][signal].1 += 100,
            // A whole vantage falls silent.
            3 => less.seen[vantage].iter_mut().for_each(|(_, age)| *age += 100),
            // Its newest readings are missing.
            _ => less.seen[vantage][signal].0.push("?"),
        }
        if starts(&app, &less) {
            prop_assert!(starts(&app, &drawn), "{less:?} starts, and {drawn:?} does not");
        }
    }

    #[test]
    fn silence_alone_never_starts(drawn in drawn()) {
        let app = armed_app();
        let mut silent = drawn;
        for signals in &mut silent.seen {
            for (readings, _) in signals {
                readings.iter_mut().for_each(|r| *r = "?");
            }
        }
        prop_assert!(!starts(&app, &silent));
    }

    #[test]
    fn exposure_never_falls_without_a_fresh_sample(lag in 0..100i64, age in 0..500i64, later in 1..500i64) {
        let app = app(true);
        let mut scene = Scene::of(&app);
        scene.windows.insert(name("lag"), window(&[(&lag.to_string(), age)]));
        let bound = |now: i64| {
            let vantage = "here".parse().expect("a name");
            let assessment = assess(&scene.known(&vantage), &mut Memory::default(), at(now), Duration::ZERO);
            assessment.exposure.values().next().expect("one store").loss_bound
        };
        prop_assert!(bound(NOW).expect("known") < bound(NOW + later).expect("known"));
    }
}

#[test]
fn the_disaster_of_the_properties_can_start_at_all() {
    let ill = || (vec!["-", "-"], 0);
    let drawn = Drawn { seen: vec![[ill(), ill()], [ill(), ill()], [ill(), ill()]], lag_seconds: 1, lag_age: 1 };
    assert!(starts(&armed_app(), &drawn), "else the properties say nothing");
}

/// The history of the disaster with `events` more, and what was judged before them.
fn since(app: &Application, events: &[Event]) -> (Assessment, History) {
    let mut scene = disaster(app);
    let judged = scene.assess(DWELL);
    assert_eq!(judged.verdict, Verdict::Start);
    apply(&mut scene.history, events);
    (judged, scene.history)
}

#[test]
fn what_was_judged_stands_only_while_the_journal_says_nothing_against_it() {
    use crate::domain::{history::tests::started, plan::Purpose};
    let mut app = armed_app();
    let refused = |app: &Application, events: &[Event], later: i64| {
        let (judged, history) = since(app, events);
        let at = judged.at + jiff::SignedDuration::from_secs(later);
        stands(app, &history, &judged, at).err().map(|unmet| unmet[0].rule)
    };
    let withdrawn =
        Event::OverrideEnded { id: id(1), ending: Ending::Withdrawn, subject: None, why: "not today".to_owned() };
    let (judged, history) = since(&app, &[]);
    assert_eq!(stands(&app, &history, &judged, judged.at).map(|armed| armed.id.clone()), Ok(id(1)));
    assert_eq!(refused(&app, &[], 5), None);
    assert_eq!(refused(&app, &[], 6), Some(Rule::Down), "it was judged too long ago");
    assert_eq!(refused(&app, &[asked(2, OverrideKind::KillSwitch, 60)], 0), Some(Rule::KillSwitch));
    assert_eq!(refused(&app, std::slice::from_ref(&withdrawn), 0), Some(Rule::Armed));
    assert_eq!(refused(&app, &[started(Purpose::Switchover, 7)], 0), Some(Rule::Idle));
    let other = OverrideKind::Arm { from: region(EAST), to: region(WEST), largest_loss: Duration::from_secs(1) };
    assert_eq!(refused(&app, &[withdrawn, asked(3, other, 60), consented(3)], 0), Some(Rule::Armed), "another arming");
    assert_eq!(refused(&app, &[], 3_600), Some(Rule::Armed), "it is over");
    app.policy.mode = Mode::Shadow;
    assert_eq!(stands(&app, &history, &judged, judged.at).err().map(|unmet| unmet[0].rule), Some(Rule::Mode));
}
