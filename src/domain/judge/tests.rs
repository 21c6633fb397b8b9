use proptest::prelude::*;

use super::*;
use crate::domain::{
    application::{AuroraStore, Objectives},
    id::OverrideId,
    journal::Event,
    overrides::Override,
    signal::{Sample, Signal, SignalRole, SignalSource},
    vantage::Stand,
};

const EAST: &str = "us-east-1";
const WEST: &str = "us-west-2";
const NOW: i64 = 1_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + second).expect("in range")
}

fn region(name: &str) -> Region {
    name.parse().expect("a Region")
}

fn name(name: &str) -> SignalName {
    name.parse().expect("a name")
}

/// Two probes of the east, believed after two readings, and one of the west.
fn app(with_store: bool) -> Application {
    let signal = |id: &str, source| Signal {
        name: name(id),
        role: SignalRole::Trigger,
        source,
        period: Duration::from_secs(10),
        freshness: Duration::from_secs(60),
        consecutive: 2,
    };
    let probe = |id, of| {
        let (url, of) = ("https://pay.example".to_owned(), region(of));
        signal(id, SignalSource::HttpProbe { url, of, timeout: Duration::from_secs(1) })
    };
    let mut signals = vec![probe("east-1", EAST), probe("east-2", EAST), probe("west", WEST)];
    let mut stores = BTreeMap::new();
    if with_store {
        let store: StoreName = "main".parse().expect("a name");
        signals.push(signal("lag", SignalSource::AuroraLag { store: store.clone() }));
        let (global_cluster, lag_metric) = ("pay".to_owned(), "AuroraGlobalDBRPOLag".to_owned());
        stores.insert(
            store,
            AuroraStore {
                global_cluster,
                clusters: BTreeMap::new(),
                lag_metric,
                written_from_all_regions: false,
                heartbeat: None,
                capacity: None,
            },
        );
    }
    Application {
        name: "payments".parse().expect("a name"),
        regions: vec![region(EAST), region(WEST)],
        objectives: Objectives { rto: Duration::from_secs(300), rpo: Duration::from_secs(5) },
        stores,
        replicas: BTreeMap::new(),
        traffic: BTreeMap::new(),
        signals,
        endpoints: BTreeMap::new(),
        public_url: None,
        runbooks: BTreeMap::new(),
        drills: Vec::new(),
        schedules: Vec::new(),
        prove_within: None,
        topics: Vec::new(),
        policy: Default::default(),
        iac: Default::default(),
    }
}

/// Readings of one signal, each with its age in seconds: `+` healthy, `-` unhealthy, `?` missing, a number of lag.
fn window(readings: &[(&str, i64)]) -> SignalWindow {
    let mut window = SignalWindow::new(2);
    for (sign, age) in readings {
        let reading = match *sign {
            "+" => Reading::Healthy { detail: "200".to_owned() },
            "-" => Reading::Unhealthy { detail: "503".to_owned() },
            "?" => Reading::Missing { why: "no route".to_owned() },
            lag => Reading::Lag { lag: Duration::from_secs(lag.parse().expect("seconds")) },
        };
        window.push(Sample { measured_at: at(NOW - age), taken_at: at(NOW - age), reading });
    }
    window
}

/// Everything that an application is judged by.
struct Scene<'a> {
    app: &'a Application,
    windows: BTreeMap<SignalName, SignalWindow>,
    writers: BTreeMap<StoreName, Region>,
    history: History,
    elsewhere: BTreeMap<VantageName, Observer>,
    reach: Reach,
    silent: BTreeMap<StoreName, Silence>,
    behind: BTreeMap<StoreName, String>,
}

impl<'a> Scene<'a> {
    fn of(app: &'a Application) -> Self {
        Self {
            app,
            windows: BTreeMap::new(),
            writers: app.stores.keys().map(|s| (s.clone(), region(EAST))).collect(),
            history: History::new(app.name.clone()),
            elsewhere: BTreeMap::new(),
            reach: Reach::Sure { says: "2 of 2 control points answer".to_owned() },
            silent: BTreeMap::new(),
            behind: BTreeMap::new(),
        }
    }

    fn known<'b>(&'b self, vantage: &'b VantageName) -> Known<'b> {
        Known {
            application: self.app,
            windows: &self.windows,
            writers: &self.writers,
            history: &self.history,
            vantage,
            elsewhere: &self.elsewhere,
            reach: self.reach.clone(),
            plan: None,
            silent: &self.silent,
            behind: &self.behind,
        }
    }

    /// Judged now, `dwelt` seconds after the evidence began to stand as it does.
    fn assess(&self, dwelt: u64) -> Assessment {
        let vantage = "here".parse().expect("a name");
        let (known, mut memory) = (self.known(&vantage), Memory::default());
        let _before = assess(&known, &mut memory, at(NOW), Duration::ZERO);
        assess(&known, &mut memory, at(NOW), Duration::from_secs(dwelt))
    }
}

fn judged(app: &Application, windows: &[(&str, &[(&str, i64)])], writer: Option<&str>) -> Assessment {
    let windows = windows.iter().map(|(signal, readings)| (name(signal), window(readings))).collect();
    let writers = app.stores.keys().filter_map(|s| Some((s.clone(), region(writer?)))).collect();
    let assessment = Scene { app, windows, writers, ..Scene::of(app) }.assess(0);
    assert!(!assessment.reasons.is_empty(), "every verdict has reasons: {assessment:?}");
    assert!(!assessment.would_change.is_empty(), "and says what would change it: {assessment:?}");
    assessment
}

#[track_caller]
fn check(windows: &[(&str, &[(&str, i64)])], health: Health, verdict: Verdict, reason: &str) {
    let assessment = judged(&app(false), windows, None);
    assert_eq!((assessment.health, assessment.verdict), (health, verdict), "{:?}", assessment.reasons);
    assert!(assessment.reasons.iter().any(|r| r.contains(reason)), "{:?}", assessment.reasons);
}

const ILL: &[(&str, i64)] = &[("-", 20), ("-", 10)];
const WELL: &[(&str, i64)] = &[("+", 20), ("+", 10)];

#[test]
fn the_rules_in_their_order() {
    check(&[("east-1", WELL), ("east-2", WELL)], Health::Healthy, Verdict::Nothing, "2 trigger(s) say");
    check(&[("east-1", ILL), ("east-2", ILL)], Health::Down, Verdict::Recommend, "east-1: unhealthy since");
    check(&[("east-1", ILL), ("east-2", WELL)], Health::Impaired, Verdict::Notify, "1 other trigger(s)");
}

#[test]
fn silence_is_not_health_and_no_reason_to_move() {
    check(&[], Health::Unknown, Verdict::Notify, "silence is not health");
    check(&[("east-1", &[("?", 10)]), ("east-2", &[("?", 10)])], Health::Unknown, Verdict::Notify, "no route");
    let west_alone: (&str, &[_]) = ("west", WELL);
    check(&[west_alone], Health::Unknown, Verdict::Notify, "silence is not health");
}

#[test]
fn a_stale_signal_has_no_vote() {
    let stale_ill: &[_] = &[("-", 100), ("-", 90)];
    let stale_well: &[_] = &[("+", 100), ("+", 90)];
    check(&[("east-1", stale_ill)], Health::Unknown, Verdict::Notify, "no vote from east-1: stale for 90 s");
    check(&[("east-1", stale_well), ("east-2", ILL)], Health::Down, Verdict::Recommend, "no vote from east-1");
    check(&[("east-1", stale_ill), ("east-2", WELL)], Health::Healthy, Verdict::Nothing, "no vote from east-1");
}

#[test]
fn a_trigger_is_believed_only_after_so_many_readings_in_a_row() {
    let once: &[_] = &[("+", 20), ("-", 10)];
    check(&[("east-1", once), ("east-2", once)], Health::Degraded, Verdict::Nothing, "not yet often enough");
    check(&[("east-1", once), ("east-2", WELL)], Health::Degraded, Verdict::Nothing, "not yet often enough");
}

#[test]
fn the_target_is_a_region_of_which_nothing_speaks_ill() {
    let down: [(&str, &[(&str, i64)]); 2] = [("east-1", ILL), ("east-2", ILL)];
    assert_eq!(judged(&app(false), &down, None).recommended_target, Some(region(WEST)));
    let both = [down[0], down[1], ("west", ILL)];
    assert_eq!(judged(&app(false), &both, None).recommended_target, None);
    let well: [(&str, &[(&str, i64)]); 2] = [("east-1", WELL), ("west", WELL)];
    assert_eq!(judged(&app(false), &well, None).recommended_target, None, "nothing to recommend");
}

#[test]
fn a_lag_that_is_unknown_stale_or_too_large_is_not_healthy() {
    let app = app(true);
    let well: [(&str, &[(&str, i64)]); 2] = [("east-1", WELL), ("east-2", WELL)];
    let with_lag = |lag: &[(&str, i64)]| judged(&app, &[well[0], well[1], ("lag", lag)], Some(EAST));
    assert_eq!(with_lag(&[("1", 10)]).health, Health::Healthy);
    for (lag, reason) in [
        (&[][..], "its lag is unknown (never measured)"),
        (&[("1", 100)], "its lag is unknown (last measured 100 s ago)"),
        (&[("9", 10)], "lag 9.0 s is over the RPO of 5.0 s"),
    ] {
        let assessment = with_lag(lag);
        assert_eq!((assessment.health, assessment.verdict), (Health::Degraded, Verdict::Notify));
        let said = assessment.reasons.join("; ").replace("9 s is", "9.0 s is").replace("5 s", "5.0 s");
        assert!(said.contains(reason), "{said}");
    }
    let mut scene = Scene::of(&app);
    let windows = [well[0], well[1], ("lag", &[("1", 100)])];
    scene.windows = windows.into_iter().map(|(signal, readings)| (name(signal), window(readings))).collect();
    let store: StoreName = "main".parse().expect("a name");
    scene.behind.insert(store, "payments-east is pending-resync".to_owned());
    let said = scene.assess(0).reasons.join("; ");
    assert!(said.contains("its lag is unknown (last measured 100 s ago; payments-east is pending-resync)"), "{said}");
    let exposure = &with_lag(&[]).exposure[&"main".parse::<StoreName>().expect("a name")];
    assert_eq!(exposure.loss_bound, None, "unbounded, not zero");
}

#[test]
fn an_unknown_writer_is_told_and_recommends_nothing() {
    let assessment = judged(&app(true), &[("east-1", ILL), ("east-2", ILL)], None);
    assert_eq!((assessment.health, assessment.verdict), (Health::Unknown, Verdict::Notify));
    assert_eq!((assessment.active_region, assessment.recommended_target), (None, None));
    let west = judged(&app(true), &[("east-1", ILL), ("east-2", ILL), ("west", WELL)], Some(WEST));
    assert_eq!(west.active_region, Some(region(WEST)));
    assert_ne!(west.verdict, Verdict::Recommend, "the ill Region is not the active one");
}

#[test]
fn a_metric_whose_position_is_ahead_of_what_the_heartbeat_has_reached_is_contradicted_and_bounds_nothing() {
    let mut app = app(true);
    let store = app.stores.keys().next().expect("a store").clone();
    let beat = app.signals.iter().find(|s| s.name == name("lag")).expect("a lag").clone();
    app.signals.push(Signal { name: name("beat"), source: SignalSource::Heartbeat { store: store.clone() }, ..beat });
    // The heartbeat has reached 40 s ago; the metric, 20 s old, may be ahead of that by five seconds and no more.
    for (metric_lag, contradicted) in [("20", false), ("15", false), ("14", true), ("0", true)] {
        let mut scene = Scene::of(&app);
        scene.windows.insert(name("beat"), window(&[("40", 0)]));
        scene.windows.insert(name("lag"), window(&[(metric_lag, 20)]));
        let assessment = scene.assess(0);
        let state = &assessment.signals[&name("lag")];
        assert_eq!(matches!(state, SignalState::Contradicted { .. }), contradicted, "{metric_lag}: {state:?}");
        let bound = assessment.exposure[&store].loss_bound.expect("known").as_secs();
        assert_eq!(bound, if contradicted { 40 } else { metric_lag.parse::<u64>().expect("seconds") + 20 });
    }
}

mod alone;
