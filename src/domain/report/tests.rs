use std::collections::BTreeMap;

use super::*;
use crate::domain::{
    application::Objectives,
    policy::Policy,
    signal::{SignalRole, SignalState},
};

fn at(second: u64) -> Timestamp {
    let second = i64::try_from(second).expect("small");
    Timestamp::from_second(1_795_000_000 + second).expect("in range")
}

/// One HTTP probe, one TCP probe and one lag of `payments`, which `eu-west-1` observes.
fn application() -> Application {
    let east = "us-east-1".parse().expect("a Region");
    let signal = |name: &str, source| Signal {
        name: name.parse().expect("a name"),
        role: SignalRole::Trigger,
        source,
        period: Duration::from_secs(10),
        freshness: Duration::from_secs(30),
        consecutive: 2,
    };
    let (url, timeout) = ("https://pay.example/".to_owned(), Duration::from_secs(2));
    let probe = signal("probe", SignalSource::HttpProbe { url, of: "us-east-1".parse().expect("a Region"), timeout });
    let tcp = SignalSource::TcpProbe { address: "pay.example:5432".to_owned(), of: east, timeout };
    let lag = SignalSource::AuroraLag { store: "main".parse().expect("a name") };
    let observers = ["eu-west-1".parse().expect("a name")].into();
    Application {
        name: "payments".parse().expect("a name"),
        regions: Vec::new(),
        objectives: Objectives { rto: Duration::from_secs(300), rpo: Duration::from_secs(5) },
        stores: BTreeMap::new(),
        replicas: BTreeMap::new(),
        traffic: BTreeMap::new(),
        signals: vec![probe, signal("tcp", tcp), signal("lag", lag)],
        endpoints: BTreeMap::new(),
        public_url: None,
        runbooks: BTreeMap::new(),
        drills: Vec::new(),
        schedules: Vec::new(),
        prove_within: None,
        topics: Vec::new(),
        policy: Policy { observers, ..Policy::default() },
        iac: Default::default(),
    }
}

fn seen(signal: &str, healthy: bool, age: u64) -> Observed {
    Observed {
        application: "payments".parse().expect("a name"),
        signal: signal.parse().expect("a name"),
        age: Duration::from_secs(age),
        healthy,
        detail: "as seen".to_owned(),
    }
}

fn report(process: &str, sequence: u64, samples: Vec<Observed>) -> Report {
    Report { process: process.to_owned(), sequence, abstains: None, samples }
}

/// Whether the probe is believed to be ill; `None` where it was not heard.
fn believed(hearing: &Hearing) -> Option<bool> {
    let window = hearing.observer().windows.get(&"probe".parse::<SignalName>().expect("a name"))?;
    Some(window.unhealthy().is_some_and(|(_, believed)| believed))
}

#[test]
fn what_an_observer_is_to_probe_are_the_probes_of_the_applications_that_name_it() {
    let app = application();
    let named = assignments(&app, &"eu-west-1".parse().expect("a name"));
    let targets: Vec<String> = named.iter().map(|a| a.target.to_string()).collect();
    assert_eq!(targets, ["https://pay.example/", "tcp://pay.example:5432"]);
    assert_eq!(named[0].period, Duration::from_secs(10));
    assert_eq!(assignments(&app, &"eu-west-2".parse().expect("a name")), []);
}

#[test]
fn a_sample_is_dated_by_its_age_on_our_clock() {
    let (app, mut hearing) = (application(), Hearing::default());
    assert_eq!(hearing.hear(&app, &report("a", 1, vec![seen("probe", true, 7)]), at(100)), Ok(vec![]));
    let window = &hearing.observer().windows[&"probe".parse().expect("a name")];
    assert_eq!(window.last().expect("heard").measured_at, at(93));
    let state = window.state(at(130), Duration::from_secs(30));
    assert!(matches!(state, SignalState::Stale { age, .. } if age == Duration::from_secs(37)), "{state:?}");
}

#[test]
fn a_report_is_taken_once_and_a_superseded_process_not_at_all() {
    let (app, mut hearing) = (application(), Hearing::default());
    let ill = |process: &str, sequence| report(process, sequence, vec![seen("probe", false, 0)]);
    assert_eq!(hearing.hear(&app, &ill("a", 5), at(100)), Ok(vec![]));
    for sequence in [5, 4, 0] {
        let replayed = OutOfOrder::Replayed { given: sequence, newest: 5 };
        assert_eq!(hearing.hear(&app, &ill("a", sequence), at(110)), Err(replayed));
    }
    assert_eq!(believed(&hearing), Some(false), "it takes two readings, and there was one");
    assert_eq!(hearing.hear(&app, &ill("b", 1), at(120)), Ok(vec![]));
    assert_eq!(believed(&hearing), Some(true));
    assert_eq!(hearing.hear(&app, &ill("a", 6), at(130)), Err(OutOfOrder::Superseded("a".to_owned())));
    for process in 0..100 {
        assert_eq!(hearing.hear(&app, &ill(&format!("p{process}"), 1), at(131)), Ok(vec![]));
    }
    assert_eq!(hearing.superseded.len(), SUPERSEDED_MAX, "what is remembered is bounded");
}

#[test]
fn what_was_not_asked_for_is_refused_by_name_and_takes_nothing_else_down() {
    let (app, mut hearing) = (application(), Hearing::default());
    let samples = vec![seen("nonesuch", true, 0), seen("lag", true, 0), seen("probe", true, 31), seen("tcp", true, 0)];
    let refused = hearing.hear(&app, &report("a", 1, samples), at(100)).expect("in order");
    let why: Vec<(usize, &str)> = refused.iter().map(|r| (r.index, r.why.as_str())).collect();
    let wanted = [
        (0, "`payments` has no signal `nonesuch`"),
        (1, "`lag` is no probe: observers report probes only"),
        (2, "the sample is up to 31.0 s old, and `probe` is fresh for 30 s"),
    ];
    assert_eq!(why, wanted);
    let heard: Vec<&str> = hearing.observer().windows.keys().map(SignalName::as_str).collect();
    assert_eq!(heard, ["tcp"]);
}

#[test]
fn what_an_abstaining_vantage_sees_ill_has_no_vote_then_nor_later() {
    let (app, mut hearing) = (application(), Hearing::default());
    let mut sequence = 0;
    let mut tell = |hearing: &mut Hearing, abstains: bool, healthy: bool, second| {
        sequence += 1;
        let report = Report {
            abstains: abstains.then(|| "0 of 3 control points answer".to_owned()),
            ..report("a", sequence, vec![seen("probe", healthy, 0)])
        };
        assert_eq!(hearing.hear(&app, &report, at(second)), Ok(vec![]));
    };
    tell(&mut hearing, false, true, 100);
    // The cut shows in its probes before it shows in its control points.
    tell(&mut hearing, false, false, 110);
    tell(&mut hearing, true, false, 120);
    assert!(hearing.observer().abstains.is_some());
    assert_eq!(believed(&hearing), Some(false), "what it sees while it abstains does not count");
    tell(&mut hearing, false, false, 130);
    assert_eq!(believed(&hearing), Some(false), "nor do the readings of before: this one is the first");
    tell(&mut hearing, false, false, 140);
    assert_eq!(believed(&hearing), Some(true));
    // That all is well is heard from whoever says it.
    tell(&mut hearing, true, true, 150);
    tell(&mut hearing, true, true, 160);
    assert_eq!(believed(&hearing), Some(false));
}
