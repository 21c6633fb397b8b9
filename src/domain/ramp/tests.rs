use super::*;

fn region(name: &str) -> Region {
    name.parse().expect("a Region")
}

fn signal(name: &str) -> SignalName {
    name.parse().expect("a signal")
}

fn call(percent: u8, role: CallRole) -> RampCall {
    let mutation = Mutation::UpsertRecords {
        hosted_zone_id: "Z1".to_owned(),
        records: Vec::new(),
        comment: format!("{percent} {role:?}"),
    };
    RampCall { percent, role, mutation }
}

fn ramp(calls: Vec<RampCall>) -> Ramp {
    Ramp {
        traffic: "api".parse().expect("a name"),
        from: region("us-west-2"),
        to: region("us-east-1"),
        record_name: "api.example.com".to_owned(),
        record_type: "A".to_owned(),
        servers: Vec::new(),
        source_answer: "198.51.100.1".to_owned(),
        target_answer: "192.0.2.1".to_owned(),
        calls,
        hold_for: Duration::from_mins(5),
        guard: guard(),
        requires_writer: Vec::new(),
    }
}

fn guard() -> RampGuard {
    RampGuard { signals: vec![signal("a"), signal("b")], unknown_for: Duration::from_mins(2), step_back: true }
}

#[test]
fn no_split_is_all_zero_and_every_one_adds_up_to_a_hundred() {
    let (east, west, third) = (region("us-east-1"), region("us-west-2"), region("eu-west-1"));
    for percent in 0..=u8::MAX {
        let split = Split::between(&east, &west, percent, [&third].into_iter());
        let sum: u32 = [&east, &west, &third].map(|r| u32::from(split.weight(r))).iter().sum();
        assert_eq!(sum, 100, "{percent}: {split:?}");
        assert_eq!(split.weight(&third), 0);
    }
    assert_eq!(Split::between(&east, &east, 5, std::iter::empty()).weight(&east), 100);
}

#[test]
fn calls_follow_in_order_and_each_step_has_its_own_way_back() {
    use CallRole::{Back, Finish, Prepare, Step};
    let calls = vec![
        call(0, Prepare),
        call(5, Step),
        call(50, Step),
        call(100, Step),
        call(100, Finish),
        call(0, Back),
        call(5, Back),
        call(50, Back),
    ];
    let ramp = ramp(calls);
    let forward: Vec<_> = std::iter::successors(Some(0), |n| ramp.next(*n)).collect();
    assert_eq!(forward, [0, 1, 2, 3, 4]);
    assert_eq!([0, 1, 2, 3, 4, 5].map(|n| ramp.back_from(n)), [None, Some(5), Some(6), Some(7), None, None]);
    assert_eq!([5, 6, 7].map(|n| ramp.next(n)), [None; 3], "a way back leads no further");
    assert_eq!(ramp.percent(6), 5);
    assert_eq!(ramp.answers(0), ["198.51.100.1"]);
    assert_eq!(ramp.answers(1).len(), 2);
    assert_eq!(ramp.answers(3), ["192.0.2.1"]);
}

#[test]
fn a_guard_is_well_only_where_every_signal_is_known_to_be() {
    let well = |a: Sign| guard().judge(&BTreeMap::from([(signal("a"), a), (signal("b"), Sign::Healthy)]));
    let why = || "503".to_owned();
    assert_eq!(well(Sign::Healthy), Watch::Well);
    assert!(matches!(well(Sign::Wavering { why: why() }), Watch::Waits { .. }));
    assert!(matches!(well(Sign::Unhealthy { why: why() }), Watch::Breached { .. }));
    let unknown = |s| Sign::Unknown { why: why(), lasts: Duration::from_secs(s) };
    assert!(matches!(well(unknown(119)), Watch::Waits { .. }));
    assert!(matches!(well(unknown(120)), Watch::Breached { .. }), "silence is a breach in the end");
    assert!(matches!(guard().judge(&BTreeMap::new()), Watch::Waits { .. }), "what was not looked at is not well");
    let both = BTreeMap::from([(signal("a"), unknown(1)), (signal("b"), Sign::Unhealthy { why: why() })]);
    assert!(matches!(guard().judge(&both), Watch::Breached { .. }), "the worst counts, wherever it stands");
}
