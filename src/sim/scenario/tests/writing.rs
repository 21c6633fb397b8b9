//! One of everything that a scenario can hold, written and read back, so that the forms, their words and the writer
//! cannot part.

use super::*;
use crate::sim::{
    faults::{Around, CallFault, Deed, ProcessFault, Replica, ReplicaFault, Sight, StoreFault, Trouble, Vantage},
    world::{
        Plane, Reach,
        aurora::{LagMetric, LagSetting, PromotionFate},
        cloudwatch::MetricFault,
    },
};

/// One of every trouble that there is.
#[expect(clippy::too_many_lines, reason = "a table")]
fn troubles() -> Vec<Trouble> {
    let (east, west) = (region("us-east-1"), region("us-west-2"));
    let restart_after = Duration::from_secs(30);
    let mut all = vec![
        Trouble::LoseRegion { region: east.clone() },
        Trouble::PartitionRegion { region: west.clone() },
        Trouble::Promotion { fate: PromotionFate::Fails },
        Trouble::Promotion { fate: PromotionFate::Sticks },
        Trouble::Promotion { fate: PromotionFate::Cancelled },
        Trouble::FencingTimesOut,
        Trouble::Headless { region: west.clone() },
        Trouble::Mismatched { region: west.clone() },
        Trouble::Undersized { region: west.clone() },
        Trouble::HiddenDependency { region: west.clone() },
        Trouble::QuotaExhausted { region: west.clone() },
        Trouble::ReplicasLag { region: east.clone() },
        Trouble::ResolversIgnoreTtl { seconds: 600 },
        Trouble::CredentialsExpire,
        Trouble::ClockJumps { seconds: -3_600 },
        Trouble::ClockJumps { seconds: 90 },
        Trouble::Process(ProcessFault::Kill { restart_after }),
        Trouble::Process(ProcessFault::KillAtAppend { append: 7, durable: true, restart_after }),
        Trouble::Process(ProcessFault::KillAtCall { call: 3, effect: false, restart_after }),
        Trouble::Process(ProcessFault::Stop { restart_after }),
        Trouble::Process(ProcessFault::Pause { lasts: Duration::from_millis(90_500) }),
        Trouble::Store(StoreFault::Full),
        Trouble::Store(StoreFault::FailsAfterCommit),
        Trouble::Store(StoreFault::Rots { record: 3 }),
    ];
    let planes = [
        Plane::Rds,
        Plane::Route53Control,
        Plane::CloudWatch,
        Plane::Sns,
        Plane::S3,
        Plane::Lambda,
        Plane::Ec2,
        Plane::Ecs,
        Plane::Ssm,
        Plane::EventBridge,
        Plane::SecretsManager,
        Plane::Kms,
        Plane::Backup,
        Plane::Sts,
        Plane::HealthCheckers,
        Plane::ArcCluster,
        Plane::Application,
        Plane::Database,
        Plane::Network,
    ];
    let reaches = [Reach::Up, Reach::Hangs, Reach::Unavailable, Reach::Throttles, Reach::DeniesAccess];
    for plane in planes {
        all.extend(reaches.map(|reach| Trouble::Plane { plane, region: east.clone(), reach }));
    }
    let mut calls = vec![
        CallFault::LoseBefore,
        CallFault::LoseAfter,
        CallFault::Late { by: Duration::from_secs(45) },
        CallFault::Duplicate,
        CallFault::Hang,
        CallFault::Refuse,
        CallFault::ServerError,
        CallFault::ServerErrorAfter,
        CallFault::Throttle,
        CallFault::Stale,
        CallFault::UnknownStatus,
        CallFault::Garbage,
    ];
    calls.extend(words::AWS_CODES.iter().map(|w| CallFault::Reject { code: w.word }));
    for (i, fault) in calls.into_iter().enumerate() {
        let operation = words::OPERATIONS[i % words::OPERATIONS.len()].to_owned();
        let region = (i % 2 == 0).then(|| west.clone());
        all.push(Trouble::Calls { operation, region, fault, chance: if i % 3 == 0 { 1.0 } else { 0.25 } });
    }
    let any = Trouble::Calls { operation: "*".to_owned(), region: None, fault: CallFault::Hang, chance: 1.0 };
    all.push(any);
    for setting in [LagSetting::Wanders, LagSetting::Fixed(1_500), LagSetting::StandsStill] {
        all.push(Trouble::Lag { region: west.clone(), setting });
    }
    let metrics = [
        LagMetric::Honest,
        LagMetric::GrowsWhenCut,
        LagMetric::ShowsZero,
        LagMetric::Missing,
        LagMetric::NotANumber,
        LagMetric::Negative,
    ];
    for metric in metrics {
        all.push(Trouble::LagMetric { region: west.clone(), metric });
    }
    for fault in [MetricFault::Withhold, MetricFault::Delay(180_000), MetricFault::Freeze, MetricFault::NotANumber] {
        all.push(Trouble::Metrics { region: west.clone(), namespace: "AWS/RDS".to_owned(), fault });
    }
    all
}

/// Of three replicas each meets something.
fn replicated(base: &Scenario) -> Scenario {
    let mut faults: Vec<ReplicaFault> = Around::ALL.map(|(_, a)| ReplicaFault::Paused { around: Some(a) }).to_vec();
    faults.extend([
        ReplicaFault::Killed { around: None },
        ReplicaFault::Killed { around: Some(Around { what: Deed::Renewal, after: false }) },
        ReplicaFault::Stopped,
        ReplicaFault::Paused { around: None },
        ReplicaFault::LosesRequests,
        ReplicaFault::LosesAnswers,
        ReplicaFault::CutFromAws,
        ReplicaFault::Stalls,
        ReplicaFault::ClockJumps { seconds: -45 },
    ]);
    let of = |i: usize| if i.is_multiple_of(2) { Replica::Leader } else { Replica::Number(3) };
    let what = faults.into_iter().enumerate().map(|(i, does)| Trouble::Replica { of: of(i), does });
    let happening = |what| Happening { at: Duration::from_mins(1), lasts: Some(Duration::from_mins(2)), what };
    Scenario { replicas: 3, happenings: what.map(happening).collect(), ..base.clone() }
}

/// Something is armed, and each vantage is wrong in some way.
fn armed(base: &Scenario) -> Scenario {
    let sights = [
        (Vantage::Daemon, Sight::CutOff),
        (Vantage::Daemon, Sight::SeesIll),
        (Vantage::Observer(1), Sight::Silent),
        (Vantage::Observer(2), Sight::SeesIll),
    ];
    let happening =
        |(of, does)| Happening { at: Duration::from_mins(1), lasts: None, what: Trouble::Vantage { of, does } };
    Scenario {
        blackout: false,
        observers: 2,
        happenings: sights.map(happening).to_vec(),
        people: People { arm: Some(Duration::from_secs(15)), ..People::nobody() },
        expect: vec![Expectation::Run(RunEnd::Succeeded), Expectation::Armed(false), Expectation::Armed(true)],
        ..base.clone()
    }
}

/// Every act, the last of which asks for `wish`.
fn acts(wish: Wish, even: bool) -> Vec<(Duration, PersonAct)> {
    let minute = Duration::from_mins(1);
    vec![
        (minute, PersonAct::Pause),
        (minute, PersonAct::Resume),
        (minute, PersonAct::Abort),
        (
            minute,
            PersonAct::AskAgain {
                wish,
                target: even.then(|| region("us-west-2")),
                accept_data_loss: even.then_some(minute),
                repeats: even,
            },
        ),
    ]
}

/// One expectation of each kind, with what it may leave out where `whole`.
fn every_expectation(whole: bool) -> Vec<Expectation> {
    let held = RunEnd::Held { code: whole.then(|| "gate-rpo".to_owned()) };
    let ends = [RunEnd::Succeeded, RunEnd::Aborted, RunEnd::Failed, held];
    let mut expect: Vec<Expectation> = ends.into_iter().map(Expectation::Run).collect();
    expect.extend([
        Expectation::Served { within: whole.then_some(Duration::from_mins(1)) },
        Expectation::WriterIn(region("us-west-2")),
        Expectation::TrafficIn(region("us-east-1")),
        Expectation::LossAtMost(Duration::from_secs(15)),
        Expectation::Recommended(whole),
        Expectation::AsBefore,
        Expectation::RescueKept,
    ]);
    expect
}

/// One scenario for every trouble, approver, wish, act and end, so that each is there and back once.
pub(super) fn every_variant() -> Vec<Scenario> {
    let minute = Duration::from_mins(1);
    let base = read(&with(""));
    let scenario = |happenings: Vec<Happening>, people: People, expect: Vec<Expectation>| Scenario {
        description: "what: \"it\" is,\nin two lines".to_owned(),
        reproduces: Some("R18".to_owned()),
        active: Some(region("us-west-2")),
        happenings,
        people,
        expect,
        ..base.clone()
    };
    let mut all: Vec<Scenario> = troubles()
        .into_iter()
        .map(|what| scenario(vec![Happening { at: minute, lasts: None, what }], People::nobody(), Vec::new()))
        .collect();
    let lost = Trouble::LoseRegion { region: region("us-east-1") };
    let lost = Happening { at: minute, lasts: Some(10 * minute), what: lost };
    all.push(scenario(vec![lost], People::nobody(), Vec::new()));
    let after = Duration::from_secs(15);
    let whens = [When::At(minute), When::Recommended { after }];
    let approvers = [
        Approver::Approves { after },
        Approver::Declines { after },
        Approver::Silent,
        Approver::TriesOwnFirst { after },
    ];
    let drill = Wish::Drill { runbook: Some("drill-switchover".parse().expect("a name")) };
    let wishes = [
        Wish::Auto,
        Wish::Failover,
        Wish::Switchover,
        Wish::Failback,
        Wish::Salvage,
        drill,
        Wish::Drill { runbook: None },
    ];
    for (i, wish) in wishes.into_iter().enumerate() {
        let even = i % 2 == 0;
        let ask = Ask {
            wish: wish.clone(),
            when: whens[i % 2],
            target: even.then(|| region("us-west-2")),
            accept_data_loss: even.then_some(10 * minute),
            runbook: even.then(|| "detach-and-promote".parse().expect("valid")),
            repeats: even,
        };
        let acts = acts(wish, even);
        let people = People {
            arm: None,
            ask: Some(ask),
            approver: approvers[i % approvers.len()],
            resumes_after: even.then_some(minute),
            acts,
        };
        let expect = every_expectation(even);
        all.push(scenario(Vec::new(), people, expect));
    }
    all.push(scenario(Vec::new(), People::nobody(), vec![Expectation::NoRun]));
    all.push(armed(&base));
    all.push(replicated(&base));
    all.push(Scenario { blackout: true, ..base.clone() });
    all.push(Scenario { heals_at: Some(20 * minute), ..base });
    all
}

#[test]
fn every_variant_reads_back_as_it_was_written() {
    for scenario in every_variant() {
        let text = scenario.to_yaml();
        assert_eq!(read(&text), scenario, "{text}");
    }
}

/// Every key of `form` and of what hangs on it, once.
fn all_keys(form: &'static Form, out: &mut Vec<&'static Key>) {
    for key in form.keys.iter().chain(form.one_of) {
        keys_of(key, out);
    }
}

fn keys_of(key: &'static Key, out: &mut Vec<&'static Key>) {
    if out.iter().any(|k| std::ptr::eq(*k, key)) {
        return;
    }
    out.push(key);
    match &key.shape {
        Shape::Table(form) | Shape::List { of: Shape::Table(form), .. } => all_keys(form, out),
        Shape::Words(words) => words.iter().flat_map(|w| w.more).for_each(|k| keys_of(k, out)),
        _ => {}
    }
}

fn grammar() -> Vec<&'static Key> {
    let mut out = Vec::new();
    all_keys(&keys::SCENARIO, &mut out);
    out
}

#[test]
fn every_key_and_every_word_of_the_forms_is_used_by_some_variant() {
    let text: String = every_variant().iter().map(Scenario::to_yaml).collect();
    for key in grammar() {
        // Kept on what is written, not in the scenario.
        if !["covers", "needs_promotion", "needs_runbook"].contains(&key.name) {
            assert!(
                text.contains(&format!("{}: ", key.name)) || text.contains(&format!("{}:\n", key.name)),
                "{}",
                key.name
            );
        }
        let words: &[Word] = if let Shape::Words(words) = key.shape { words } else { &[] };
        for word in words {
            let given = format!("{}: {}", key.name, word.word);
            let ends = |end: &str| text.contains(&format!("{given}{end}"));
            assert!(ends(" }") || ends(","), "{given}");
        }
    }
}

#[test]
fn every_example_is_one() {
    for key in grammar() {
        let mut found = Findings::new(key.name, "scenario-invalid");
        let node = yaml::parse(key.example, &mut found).expect("YAML");
        let host: &'static Form =
            Box::leak(Box::new(Form { what: "an example", keys: std::slice::from_ref(key), one_of: &[] }));
        let root = At::root(&node, &mut found);
        let got = Reading { found: &mut found, regions: None }.form(host, &root);
        let faults = lines(&found.into_faults());
        // What comes with a word is another key.
        assert!(got.is_some() || faults.contains("is missing"), "{}: {faults}", key.example);
    }
}
