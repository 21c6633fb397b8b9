use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::*;
use crate::{
    domain::{
        application::{Application, AuroraStore, Objectives},
        assessment::{Assessment, Exposure, Health, Verdict},
        budget::{RpoBudget, RtoBudget},
        forecast::{Estimate, Forecast},
        history::History,
        id::OverrideId,
        journal::Event,
        overrides::{Override, OverrideKind},
        policy::Policy,
        rules::Finding,
        signal::{Reading, Sample, Signal, SignalRole, SignalSource, SignalState},
        vantage::Witness,
    },
    http::decision::Shown,
};

fn at(second: i64) -> Timestamp {
    // 2026-11-18T10:28:20Z
    Timestamp::from_second(1_794_997_700 + second).expect("in range")
}

fn s(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn named<T: std::str::FromStr<Err: std::fmt::Debug>>(name: &str) -> T {
    name.parse().expect("valid")
}

fn application(mode: Mode) -> Application {
    let signal = |name: &str, role, source| Signal {
        name: named(name),
        role,
        source,
        period: s(10_000),
        freshness: s(30_000),
        consecutive: 3,
    };
    let store = AuroraStore {
        global_cluster: "pay".into(),
        clusters: BTreeMap::new(),
        lag_metric: "lag".into(),
        written_from_all_regions: false,
        heartbeat: None,
        capacity: None,
    };
    let probe = |of: &str| SignalSource::HttpProbe { url: "https://x".into(), of: named(of), timeout: s(3_000) };
    let alarm = SignalSource::Alarm { region: named("us-west-2"), alarm_name: "edge".into(), of: named("us-east-1") };
    Application {
        name: named("payments"),
        regions: vec![named("us-east-1"), named("us-west-2")],
        objectives: Objectives { rto: s(180_000), rpo: s(1_000) },
        stores: BTreeMap::from([(named("orders"), store)]),
        replicas: BTreeMap::new(),
        traffic: BTreeMap::new(),
        signals: vec![
            signal("edge-alarm", SignalRole::Trigger, alarm),
            signal("lag", SignalRole::Gate, SignalSource::AuroraLag { store: named("orders") }),
            signal("use1-health", SignalRole::Trigger, probe("us-east-1")),
            signal("usw2-health", SignalRole::Gate, probe("us-west-2")),
        ],
        endpoints: BTreeMap::new(),
        public_url: None,
        runbooks: BTreeMap::new(),
        drills: Vec::new(),
        schedules: Vec::new(),
        prove_within: None,
        topics: vec![],
        policy: Policy { mode, ..Policy::default() },
        iac: Default::default(),
    }
}

fn fresh(second: i64, reading: Reading) -> SignalState {
    SignalState::Fresh { sample: Sample { measured_at: at(second), taken_at: at(second), reading } }
}

/// The minute in which somebody has to decide: two minutes and ten seconds into it.
fn trouble() -> Assessment {
    let total = Estimate { p50: s(50_000), p95: s(160_000) };
    let sample = |second, lag| Some((at(second), lag));
    let exposure = Exposure { loss_bound: Some(s(800)), ..Exposure::from_lag(sample(120, s(300)), at(130), s(30_000)) };
    let says = |vantage: &str, stand, says: &str| Witness { vantage: named(vantage), stand, says: says.into() };
    Assessment {
        active_region: Some(named("us-east-1")),
        health: Health::Down,
        verdict: Verdict::Recommend,
        recommended_target: Some(named("us-west-2")),
        reasons: vec!["use1-health: unhealthy since 2026-11-18T10:28:20Z (503)".into()],
        would_change: vec!["a trigger that reads healthy again".into()],
        signals: BTreeMap::from([
            (named("edge-alarm"), SignalState::Missing { why: "alarm edge has insufficient data".into() }),
            (named("lag"), fresh(120, Reading::Lag { lag: s(300) })),
            (named("use1-health"), fresh(127, Reading::Unhealthy { detail: "https://x answered 503".into() })),
            (named("usw2-health"), fresh(125, Reading::Healthy { detail: "https://x answered".into() })),
        ]),
        exposure: BTreeMap::from([(named("orders"), exposure)]),
        evidence_since: Some(at(0)),
        witnesses: vec![
            says("cloudwatch-us-west-2", Stand::Against, "edge-alarm: missing (alarm edge has insufficient data)"),
            says("here", Stand::Ill, "use1-health: https://x answered 503"),
        ],
        rules: vec![
            Finding::no(Rule::Mode, "the mode is recommend: a person decides", "mode = \"automatic\""),
            Finding::yes(Rule::Down, "1 reading(s) say that us-east-1 does not serve"),
            Finding::unknown(Rule::Loss, "no loss was accepted beforehand", "arming with a largest loss"),
        ],
        forecast: Some(Forecast { total, steps: vec![], runs: 6, way_back: None }),
        rto: Some(RtoBudget { used: s(130_000), left: Some(s(50_000)), start_by: Some(at(180)) }),
        rpo: BTreeMap::from([(
            named("orders"),
            RpoBudget { looked: s(3_600_000), over: s(12_000), unknown: s(4_000), burn_rate: Some(0.33) },
        )]),
        ..Assessment::unknown(named("payments"), at(130))
    }
}

fn history() -> History {
    let mut history = History::new(named("payments"));
    let asked = Override {
        id: OverrideId::new(&named("payments"), 1),
        kind: OverrideKind::Arm { from: named("us-east-1"), to: named("us-west-2"), largest_loss: s(30_000) },
        by: named("alice"),
        reason: "the quarter's end".into(),
        asked_at: at(-60),
        expires_at: at(3_600),
        bound_to: None,
        consent: None,
        ended: None,
    };
    let decided = Event::decision("recommend", "down", Vec::new());
    history.apply_event(at(-60), &Event::OverrideAsked { asked: Box::new(asked) }).expect("legal");
    history.apply_event(at(20), &decided).expect("legal");
    history
}

fn shown(application: &Application, assessment: &Assessment) -> DecisionView {
    let history = history();
    let seen_from = (named("here"), BTreeMap::new());
    let shown = Shown {
        application,
        assessment,
        history: Some(&history),
        seen_from: Some(&seen_from),
        capacities: &BTreeMap::new(),
    };
    DecisionView::new(&shown)
}

#[track_caller]
fn fits(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= render::WIDTH, "{line:?} is too wide");
    }
}

#[test]
fn somebody_who_has_to_decide_reads_both_options_with_their_numbers() {
    let text = why(&shown(&application(Mode::Recommend), &trouble()));
    fits(&text);
    insta::assert_snapshot!(text);
}

#[test]
fn the_data_have_all_that_the_words_have() {
    insta::assert_json_snapshot!(shown(&application(Mode::Recommend), &trouble()));
}

#[track_caller]
fn says(change: impl FnOnce(&mut Application, &mut Assessment), wanted: &str) {
    let (mut application, mut assessment) = (application(Mode::Shadow), trouble());
    change(&mut application, &mut assessment);
    let text = why(&shown(&application, &assessment));
    fits(&text);
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains(wanted), "no `{wanted}` in\n{text}");
}

#[test]
fn what_is_not_known_is_said_to_be_unknown() {
    says(
        |_, a| {
            let nothing = Exposure::from_lag(None, at(130), s(30_000));
            a.exposure.insert(named("orders"), nothing);
        },
        "the loss is UNBOUNDED (no lag was ever measured)",
    );
    says(
        |_, a| {
            let open = Exposure::from_lag(Some((at(120), s(300))), at(130), s(30_000));
            a.exposure.insert(named("orders"), open);
        },
        "lose at most 10 s of writes (last lag 0.3 s, measured 10 s ago; the old writer may still take writes)",
    );
    says(|_, a| a.forecast = None, "how long it would take is not known: no runbook for it compiles");
    says(
        |_, a| a.forecast.as_mut().expect("there").runs = 0,
        "back in about 50 s (p95 2 min 40 s, declared, no run of its own yet)",
    );
    says(
        |_, a| a.rto = Some(RtoBudget { used: s(190_000), left: None, start_by: None }),
        "wait: the RTO of 3 min 00 s is SPENT: 3 min 10 s already",
    );
    says(|_, a| a.rto.as_mut().expect("there").start_by = None, "50 s left: a failover is not expected to keep it");
}

#[test]
fn shadow_says_what_it_would_have_started() {
    says(|_, a| a.would_start = true, "mode shadow: a failover WOULD HAVE BEEN STARTED; nothing was");
    says(|_, _| {}, "mode shadow: what would be started is recorded, and not started");
}

#[test]
fn a_warning_says_how_much_of_what_was_used() {
    use crate::{domain::deadline::Level, http::deadline::WarningView};
    let said = |about: &str, step: Option<&str>, level, used, whole| {
        let step = step.map(str::to_owned);
        render::warning(&WarningView { about: about.into(), step, level, used_seconds: used, whole_seconds: whole })
    };
    assert_eq!(
        said("step", Some("promote"), Level::Sixty, 72.0, 120.0),
        "promote has used 60 % of what is left of the RTO (1 min 12 s of 2 min 00 s)"
    );
    assert_eq!(
        said("step", Some("promote"), Level::Spent, 130.0, 120.0),
        "promote has used all that was left of the RTO when it began (2 min 10 s of 2 min 00 s)"
    );
    assert_eq!(
        said("forecast", None, Level::Ninety, 75.0, 40.0),
        "what remains takes about 1 min 15 s, and 40 s of the RTO are left"
    );
    assert_eq!(said("rto", None, Level::Spent, 310.0, 300.0), "the RTO of 5 min 00 s is spent: 5 min 10 s so far");
}
