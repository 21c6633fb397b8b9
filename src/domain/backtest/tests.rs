use super::*;
use crate::domain::{
    application::{AuroraStore, Objectives},
    policy::Policy,
    signal::{Signal, SignalRole, SignalSource},
};

const EAST: &str = "us-east-1";
const WEST: &str = "us-west-2";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + second).expect("in range")
}

fn named<T: std::str::FromStr<Err: std::fmt::Debug>>(name: &str) -> T {
    name.parse().expect("valid")
}

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A probe of each Region every 10 s, an alarm of the west about the east, a lag every minute; two observers.
fn application() -> Application {
    let signal = |name: &str, role, source, period: u64| Signal {
        name: named(name),
        role,
        source,
        period: s(period),
        freshness: s(3 * period),
        consecutive: 3,
    };
    let probe = |of: &str| SignalSource::HttpProbe { url: "https://x".into(), of: named(of), timeout: s(3) };
    let alarm = SignalSource::Alarm { region: named(WEST), alarm_name: "edge".into(), of: named(EAST) };
    let store = AuroraStore {
        global_cluster: "pay".into(),
        clusters: BTreeMap::new(),
        lag_metric: "lag".into(),
        written_from_all_regions: false,
        heartbeat: None,
        capacity: None,
    };
    let (policy, observers) = (Policy::default(), ["frankfurt", "dublin"].map(named));
    Application {
        name: named("payments"),
        regions: vec![named(EAST), named(WEST)],
        objectives: Objectives { rto: s(300), rpo: s(5) },
        stores: BTreeMap::from([(named("orders"), store)]),
        replicas: BTreeMap::new(),
        traffic: BTreeMap::new(),
        signals: vec![
            signal("edge", SignalRole::Trigger, alarm, 60),
            signal("lag", SignalRole::Gate, SignalSource::AuroraLag { store: named("orders") }, 60),
            signal("use1", SignalRole::Trigger, probe(EAST), 10),
            signal("usw2", SignalRole::Gate, probe(WEST), 10),
        ],
        endpoints: BTreeMap::new(),
        public_url: None,
        runbooks: BTreeMap::new(),
        drills: Vec::new(),
        schedules: Vec::new(),
        prove_within: None,
        topics: vec![],
        policy: Policy { dwell: s(60), observers: observers.into(), ..policy },
        iac: Default::default(),
    }
}

/// What was recorded: at each second, what each source says, where it says anything.
type Source<'a> = &'a dyn Fn(i64, &str, Option<&str>) -> Option<Reading>;

fn healthy() -> Reading {
    Reading::Healthy { detail: "200".to_owned() }
}

fn ill() -> Reading {
    Reading::Unhealthy { detail: "503".to_owned() }
}

fn lag(seconds: u64) -> Reading {
    Reading::Lag { lag: s(seconds) }
}

/// Everything well, but for what `source` says otherwise.
fn well(signal: &str) -> Reading {
    if signal == "lag" { lag(1) } else { healthy() }
}

fn replay(seconds: i64, source: Source<'_>) -> Backtest {
    replayed(seconds, Some(s(90)), source)
}

fn replayed(seconds: i64, largest_loss: Option<Duration>, source: Source<'_>) -> Backtest {
    let mut replay = Replay::new(application(), None, largest_loss, at(0)).expect("legal");
    for second in 0..=seconds {
        let seen = [
            ("edge", None, 60),
            ("lag", None, 60),
            ("use1", None, 10),
            ("use1", Some("frankfurt"), 10),
            ("use1", Some("dublin"), 10),
            ("usw2", None, 10),
        ];
        for (signal, vantage, period) in seen {
            let Some(reading) = (second % period == 0).then(|| source(second, signal, vantage)).flatten() else {
                continue;
            };
            let (signal, vantage) = (named(signal), vantage.map(named));
            let what = What::Reading { signal, vantage, measured_at: at(second), reading };
            replay.take(Row { at: at(second), what });
        }
    }
    replay.end()
}

/// When each recommendation began and ended, and when each act did, as seconds of the replay.
fn told(test: &Backtest) -> Vec<(i64, Option<i64>, Vec<i64>)> {
    let second = |t: Timestamp| t.as_second() - at(0).as_second();
    let acts = |e: &Episode| e.acts.iter().map(|a| second(a.from)).collect();
    test.episodes.iter().map(|e| (second(e.from), e.to.map(second), acts(e))).collect()
}

fn longest(test: &Backtest) -> Option<Rule> {
    test.unmet.first().map(|u| u.rule)
}

/// The east is ill from `from` to `to` wherever it is asked.
fn outage(from: i64, to: i64) -> impl Fn(i64, &str, Option<&str>) -> Option<Reading> {
    move |second, signal, _| {
        let is_ill = (from..to).contains(&second) && matches!(signal, "edge" | "use1");
        Some(if is_ill { ill() } else { well(signal) })
    }
}

#[test]
fn an_outage_is_recommended_when_believed_and_acted_on_after_the_dwell() {
    let test = replay(900, &outage(120, 600));
    // Three readings of the probe; the alarm is read each minute, and its third reading ends "well" as a witness.
    let [(recommended, ended, acts)] = &told(&test)[..] else { panic!("{test:#?}") };
    assert!((140..=240).contains(recommended), "{recommended}");
    assert_eq!(acts.len(), 1, "{test:#?}");
    assert!(60 <= acts[0] - recommended, "the dwell");
    assert!(ended.is_some_and(|end| (600..=640).contains(&end)), "{ended:?}");
    assert_eq!((test.recommendations, test.acts, test.gap_count), (1, 1, 0));
    let armed = replayed(900, None, &outage(120, 600));
    assert_eq!((armed.recommendations, armed.acts, longest(&armed)), (1, 0, Some(Rule::Mode)));
}

#[test]
fn a_spike_and_a_flap_are_never_acted_on() {
    let spike = replay(600, &outage(120, 140));
    assert_eq!((spike.recommendations, spike.acts), (0, 0), "two readings: {spike:#?}");
    let flap = |second: i64, signal: &str, _: Option<&str>| {
        let is_ill = (120..1_200).contains(&second) && second % 60 < 50 && matches!(signal, "edge" | "use1");
        Some(if is_ill { ill() } else { well(signal) })
    };
    let flap = replay(1_500, &flap);
    assert_eq!(flap.acts, 0, "{flap:#?}");
}

#[test]
fn a_slow_burn_is_told_and_its_lag_holds_the_act() {
    // The lag grows by a second each second from the beginning; the outage comes late.
    let burn = |second: i64, signal: &str, _: Option<&str>| {
        let is_ill = 1_200 <= second && matches!(signal, "edge" | "use1");
        let grown = lag(u64::try_from(second).expect("small"));
        Some(if signal == "lag" {
            grown
        } else if is_ill {
            ill()
        } else {
            healthy()
        })
    };
    let test = replay(1_800, &burn);
    assert_eq!((test.recommendations, test.acts), (1, 0), "{test:#?}");
    assert_eq!(longest(&test), Some(Rule::Loss), "{:?}", test.unmet);
    assert_eq!(test.episodes[0].to, None, "it still stood at the last row");
}

#[test]
fn a_metric_that_freezes_or_comes_late_is_a_gap_not_peace() {
    // Nothing at all is recorded of the east for ten minutes.
    let frozen = |second: i64, signal: &str, _: Option<&str>| {
        let is_silent = (300..900).contains(&second) && matches!(signal, "edge" | "use1");
        (!is_silent).then(|| well(signal))
    };
    let test = replay(1_200, &frozen);
    assert_eq!((test.recommendations, test.acts, test.gap_count), (0, 0, 1), "{test:#?}");
    assert!(s(300) < test.unknown && test.unknown < s(600), "{:?}", test.unknown);
    assert!(test.gaps[0].to.is_some());
    // A datapoint that comes ten minutes late is stale when it comes: it says nothing about now.
    let mut late = Replay::new(application(), None, Some(s(90)), at(0)).expect("legal");
    for second in (0..1_200).step_by(10) {
        let reading = if second < 300 { ill() } else { healthy() };
        let (signal, measured_at) = (named("use1"), at(second));
        let what = What::Reading { signal, vantage: None, measured_at, reading };
        late.take(Row { at: at(second + 600), what });
    }
    let late = late.end();
    assert_eq!((late.recommendations, late.gap_count), (0, 1), "{late:#?}");
}

#[test]
fn half_the_vantages_cut_off_is_no_quorum() {
    let half = |second: i64, signal: &str, vantage: Option<&str>| {
        let is_ill = 120 <= second && (matches!(vantage, Some("dublin")) || vantage.is_none());
        // What CloudWatch sees from outside is well.
        Some(if is_ill && signal == "use1" { ill() } else { well(signal) })
    };
    let test = replay(900, &half);
    assert_eq!(test.acts, 0, "{test:#?}");
    let silent = |second: i64, signal: &str, vantage: Option<&str>| {
        let is_cut_off = 120 <= second && vantage.is_some();
        let is_ill = 120 <= second && matches!(signal, "edge" | "use1");
        (!is_cut_off).then(|| if is_ill { ill() } else { well(signal) })
    };
    let test = replay(900, &silent);
    assert_eq!((test.recommendations, test.acts, longest(&test)), (1, 0, Some(Rule::Quorum)), "{test:#?}");
}

#[test]
fn a_lag_that_nobody_measured_disarms_what_was_armed() {
    let test = replay(900, &|_, signal, _| (signal != "lag").then(healthy));
    assert_eq!((test.disarms, test.acts), (1, 0), "{test:#?}");
}

#[test]
fn calm_days_cost_few_judgements_and_a_move_of_the_writers_is_followed() {
    let hours = replay(4 * 3_600, &|_, signal, _| Some(well(signal)));
    assert!(hours.judgements <= 4 * 360 + 5, "at most one a period: {}", hours.judgements);
    assert_eq!((hours.rows, hours.gap_count), (4 * 3_600 / 10 * 4 + 4 + 2 * 241, 0));
    let mut moved = Replay::new(application(), None, Some(s(90)), at(0)).expect("legal");
    moved.take(Row { at: at(0), what: What::Writer(named(WEST)) });
    for second in (0..600).step_by(10) {
        for (signal, reading) in [("use1", ill()), ("usw2", healthy())] {
            let what = What::Reading { signal: named(signal), vantage: None, measured_at: at(second), reading };
            moved.take(Row { at: at(second), what });
        }
    }
    let moved = moved.end();
    assert_eq!(moved.recommendations, 0, "the ill Region is not the active one: {moved:#?}");
}
