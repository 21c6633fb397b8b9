//! For each guard the disaster in which it is missed.
//!
//! Each is a rehearsal that ends well with every guard on: its expectations are those of a sound program. Where the
//! right moment depends on what a world draws, the seed chooses it, and a seed whose rehearsal does not end well with
//! every guard on proves nothing and is passed over.

use std::time::Duration;

use failoverd::{
    domain::{id::Region, sabotage::Guard},
    sim::{
        faults::{CallFault, Happening, ProcessFault, StoreFault, Trouble},
        scenario::{Approver, Ask, Expectation, People, PersonAct, RunEnd, Scenario, When, Wish},
        world::{
            Plane, Reach,
            aurora::{LagMetric, LagSetting, PromotionFate},
            cloudwatch::MetricFault,
        },
    },
};

use super::replicas;

/// What an application is like in a rehearsal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Traffic by routing controls; probes are its triggers.
    Controls,
    /// The health check of Route 53 is a trigger beside the probe.
    TwoTriggers,
    /// The health check of Route 53 is the only trigger.
    HealthCheckOnly,
    /// CloudWatch has nothing under the name that the lag is asked for by.
    NoLag,
    /// Traffic by changing its record.
    Records,
    /// Traffic by a health signal that stands.
    HealthSignal,
    /// Without databases: only traffic moves.
    Stateless,
    /// Planned moves and failovers by the runbooks of docs/fences.md.
    Fenced,
    /// drill-fault is among its drills.
    Broken,
}

/// The disaster in which a guard is missed.
pub(super) struct Case {
    pub(super) title: &'static str,
    /// The property that tells, or `expect`.
    pub(super) told_by: &'static str,
    pub(super) kind: Kind,
    /// By seed.
    pub(super) scenario: fn(u64) -> Scenario,
}

pub(super) fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn east() -> Region {
    "us-east-1".parse().expect("a Region")
}

fn west() -> Region {
    "us-west-2".parse().expect("a Region")
}

/// All is well, and nobody asks for anything.
fn calm() -> Scenario {
    Scenario {
        name: "sabotage".to_owned(),
        description: String::new(),
        reproduces: None,
        warm_up: s(300),
        active: None,
        happenings: Vec::new(),
        blackout: false,
        replicas: 1,
        observers: 0,
        people: People {
            arm: None,
            ask: None,
            approver: Approver::Approves { after: s(20) },
            resumes_after: None,
            acts: Vec::new(),
        },
        heals_at: None,
        lasts: s(1_500),
        expect: Vec::new(),
    }
}

/// us-east-1 is lost after a minute. Somebody asks for the failover that is recommended, somebody else approves it,
/// and it succeeds.
fn lost() -> Scenario {
    let mut lost = with(calm(), 60, None, Trouble::LoseRegion { region: east() });
    lost.people.ask = Some(Ask {
        wish: Wish::Failover,
        when: When::Recommended { after: s(5) },
        target: None,
        accept_data_loss: Some(s(900)),
        runbook: None,
        repeats: true,
    });
    lost.expect = vec![
        Expectation::Run(RunEnd::Succeeded),
        Expectation::WriterIn(west()),
        Expectation::TrafficIn(west()),
        Expectation::Served { within: Some(s(1_500)) },
    ];
    lost
}

/// All is well; a switchover is asked for after a minute, and succeeds.
pub(super) fn planned() -> Scenario {
    let mut planned = calm();
    planned.people.ask = Some(Ask {
        wish: Wish::Switchover,
        when: When::At(s(60)),
        target: None,
        accept_data_loss: None,
        runbook: None,
        repeats: true,
    });
    planned.expect =
        vec![Expectation::Run(RunEnd::Succeeded), Expectation::WriterIn(west()), Expectation::TrafficIn(west())];
    planned
}

pub(super) fn with(mut scenario: Scenario, at: u64, lasts: Option<u64>, what: Trouble) -> Scenario {
    scenario.happenings.push(Happening { at: s(at), lasts: lasts.map(s), what });
    scenario
}

fn calls(scenario: Scenario, (from, to): (u64, u64), operation: &str, fault: CallFault) -> Scenario {
    calls_in(scenario, (from, to), operation, None, fault)
}

fn calls_in(
    scenario: Scenario,
    (from, to): (u64, u64),
    operation: &str,
    region: Option<Region>,
    fault: CallFault,
) -> Scenario {
    let what = Trouble::Calls { operation: operation.to_owned(), region, fault, chance: 1.0 };
    with(scenario, from, Some(to - from), what)
}

fn expecting(mut scenario: Scenario, expect: Vec<Expectation>) -> Scenario {
    scenario.expect = expect;
    scenario
}

fn held(scenario: Scenario, code: &str) -> Scenario {
    expecting(scenario, vec![Expectation::Run(RunEnd::Held { code: Some(code.to_owned()) })])
}

fn no_run(scenario: Scenario) -> Scenario {
    expecting(scenario, vec![Expectation::NoRun])
}

fn approver(mut scenario: Scenario, approver: Approver) -> Scenario {
    scenario.people.approver = approver;
    scenario
}

fn act(mut scenario: Scenario, at: u64, act: PersonAct) -> Scenario {
    scenario.people.acts.push((s(at), act));
    scenario
}

fn ask(mut scenario: Scenario, change: impl FnOnce(&mut Ask)) -> Scenario {
    change(scenario.people.ask.as_mut().expect("somebody asks"));
    scenario
}

/// A scenario that ships.
fn shipped(name: &str) -> Scenario {
    let is_it = |file: &str| file.ends_with(&format!("/{name}.yaml"));
    let (file, text) = Scenario::embedded().into_iter().find(|(file, _)| is_it(file)).expect("it ships");
    let written = Scenario::parse(file, text).expect("valid");
    written.resolve(&[east(), west()]).expect("two Regions")
}

const PROMOTE: &str = "rds:FailoverGlobalCluster";
const ROLES: &str = "rds:DescribeGlobalClusters";

/// One region's view of the roles is old while and after they change; which one, the seed says.
fn one_sees_the_past(seed: u64) -> Scenario {
    let region = if seed.is_multiple_of(2) { east() } else { west() };
    calls_in(planned(), (60, 360), ROLES, Some(region), CallFault::Stale)
}

/// The loss is accepted up to 330 s, and consent comes later than that.
fn late_consent() -> Scenario {
    let late = ask(lost(), |ask| ask.accept_data_loss = Some(s(330)));
    held(approver(late, Approver::Approves { after: s(420) }), "gate-rpo")
}

/// No reading of the lag, a small loss accepted, and consent that takes a minute.
fn no_lag() -> Scenario {
    let small = ask(lost(), |ask| ask.accept_data_loss = Some(s(5)));
    no_run(approver(small, Approver::Approves { after: s(60) }))
}

/// By less than AWS would refuse (5 min). For as long, readings from before are dated ahead of the clock.
fn set_back() -> Scenario {
    let back = with(calm(), 30, None, Trouble::ClockJumps { seconds: -280 });
    let mut lost = with(back, 60, None, Trouble::LoseRegion { region: east() });
    lost.lasts = s(240);
    expecting(lost, vec![Expectation::Recommended(true)])
}

/// Only traffic moves, and while the caches are waited for somebody thinks better of it.
fn moved_and_aborted() -> Scenario {
    let aborted = act(planned(), 100, PersonAct::Abort);
    expecting(aborted, vec![Expectation::Run(RunEnd::Aborted), Expectation::TrafficIn(east()), Expectation::AsBefore])
}

fn headless() -> Scenario {
    held(with(lost(), 30, None, Trouble::Headless { region: west() }), "gate-target")
}

fn stuck() -> Scenario {
    held(with(lost(), 30, None, Trouble::Promotion { fate: PromotionFate::Sticks }), "step-timeout")
}

/// The process dies around its call of some number.
fn killed_at_a_call(seed: u64) -> Scenario {
    let kill = ProcessFault::KillAtCall { call: seed % 4, effect: true, restart_after: s(5) };
    with(lost(), 0, None, Trouble::Process(kill))
}

fn rotten(seed: u64) -> Scenario {
    let rotten = with(planned(), 90, None, Trouble::Store(StoreFault::Rots { record: seed % 12 }));
    let kill = ProcessFault::Kill { restart_after: s(5) };
    expecting(with(rotten, 95, None, Trouble::Process(kill)), Vec::new())
}

/// A guard, the disaster in which it is missed, the property that tells (or `expect`), and the disaster by seed.
type Row = (Guard, &'static str, &'static str, fn(u64) -> Scenario);

const CASES: &[Row] = &[
    (Guard::RottenJournal, "a bit of the journal rots, and the process starts again", "S16", rotten),
    (Guard::OldEpoch, "the process is killed", "S2", |_| {
        with(lost(), 40, None, Trouble::Process(ProcessFault::Kill { restart_after: s(5) }))
    }),
    (Guard::FailedAppend, "the disk is full for a while", "S3", |seed| {
        let full = with(lost(), 80 + seed % 8 * 5, Some(20), Trouble::Store(StoreFault::Full));
        expecting(full, Vec::new())
    }),
    (Guard::CallBeforeIntent, "a Region is lost", "S3", |_| lost()),
    (Guard::OpenIntent, "the process is killed after the effect of a call", "S3", killed_at_a_call),
    (Guard::BlindRetry, "the answer to the promotion is lost", "expect", |_| {
        calls(lost(), (60, 600), PROMOTE, CallFault::LoseAfter)
    }),
    (Guard::Hasty, "the roles are read from the past for half a minute", "expect", |seed| {
        let until = 110 + seed % 6 * 5;
        calls(lost(), (until - 30, until), ROLES, CallFault::Stale)
    }),
    (Guard::RejectedIsDone, "the promotion is refused", "S10", |_| {
        held(calls(lost(), (60, 600), PROMOTE, CallFault::Reject { code: "AccessDenied" }), "call-rejected")
    }),
    (Guard::AnswerIsDone, "a Region is lost", "S10", |_| lost()),
    (Guard::NotSentIsSent, "AWS cannot be connected to for a moment", "expect", |seed| {
        let until = 105 + seed % 6 * 5;
        calls(lost(), (60, until), PROMOTE, CallFault::Refuse)
    }),
    (
        Guard::NotOurSuccess,
        "the answer to the promotion is lost, and the roles are read from the past",
        "expect",
        |seed| {
            let lossy = calls(lost(), (60, 118 + seed % 6 * 4), PROMOTE, CallFault::LoseAfter);
            calls(lossy, (90, 165 + seed % 6 * 4), ROLES, CallFault::Stale)
        },
    ),
    (Guard::ThrottledIsFinal, "AWS throttles for a moment", "expect", |seed| {
        let until = 105 + seed % 6 * 5;
        calls(lost(), (60, until), PROMOTE, CallFault::Throttle)
    }),
    (Guard::NoticeTwice, "the answers of SNS are lost", "S10", |_| {
        calls(lost(), (60, 600), "sns:Publish", CallFault::LoseAfter)
    }),
    (Guard::HomeOfTheDead, "a Region is lost", "expect", |_| lost()),
    (Guard::LeaseWait, "three replicas move as planned", "expect", replicas::three),
    (Guard::AfterTheLease, "the leader of three stands still after an append", "S3", replicas::after_an_append),
    (Guard::SignedWhenSent, "the leader of three stands still before a call", "expect", replicas::before_a_call),
    (
        Guard::OppositeAtOnce,
        "the leader of three stands still before a call, and people go back",
        "S4",
        replicas::and_back,
    ),
    (Guard::OneReading, "one Region's view of the roles is old", "expect", one_sees_the_past),
    (Guard::OneEndpoint, "one Region's view of the roles is old", "expect", one_sees_the_past),
    (Guard::Contradiction, "one Region's view of the roles is old", "expect", one_sees_the_past),
    (Guard::UnknownStatus, "the global cluster has a status that no list knows", "expect", |_| {
        held(calls(planned(), (0, 1_400), ROLES, CallFault::UnknownStatus), "gate-target")
    }),
    (Guard::ControlsUnread, "a change of the routing controls is lost", "S10", |seed| {
        let (from, to) = (150 + seed % 10 * 10, 152 + seed % 10 * 10);
        let lossy = "route53-recovery-cluster:UpdateRoutingControlStates";
        calls(lost(), (from, to + 8), lossy, CallFault::LoseBefore)
    }),
    (Guard::PendingIsInSync, "traffic moves by changing its record", "S10", |_| planned()),
    (Guard::AnyDnsAnswer, "traffic moves by a health signal", "S10", |_| planned()),
    (Guard::DenialWaits, "AWS refuses to show the roles", "expect", |_| {
        let mut denied = calls(planned(), (60, 1_000), ROLES, CallFault::Reject { code: "AccessDenied" });
        denied.lasts = s(500);
        held(denied, "access-denied")
    }),
    (Guard::StaleLag, "consent comes after the accepted loss has passed", "S6", |_| late_consent()),
    (Guard::AbsurdLag, "the lag is negative", "expect", |_| {
        let negative = Trouble::LagMetric { region: west(), metric: LagMetric::Negative };
        held(with(lost(), 0, None, negative), "gate-rpo")
    }),
    (Guard::MissingLag, "CloudWatch has no lag, and a Region is lost", "S6", |_| no_lag()),
    (Guard::FutureReading, "the clock is set back, and then a Region is lost", "expect", |_| set_back()),
    (Guard::LossBound, "consent comes after the accepted loss has passed", "S6", |_| late_consent()),
    (Guard::UnacceptedLoss, "a failover is asked for without an accepted loss", "S6", |_| {
        no_run(ask(lost(), |ask| ask.accept_data_loss = None))
    }),
    (Guard::OnePerson, "nobody approves", "S6", |_| held(approver(lost(), Approver::Silent), "approval-expired")),
    (Guard::OwnApproval, "the requester tries to approve", "S6", |_| {
        approver(lost(), Approver::TriesOwnFirst { after: s(20) })
    }),
    (Guard::ExpiredApproval, "consent comes after it has expired", "S6", |_| {
        let mut late = ask(lost(), |ask| ask.accept_data_loss = Some(s(3_600)));
        late.lasts = s(2_100);
        held(approver(late, Approver::Approves { after: s(1_000) }), "approval-expired")
    }),
    (Guard::Declined, "the approver declines", "S6", |_| {
        held(approver(lost(), Approver::Declines { after: s(20) }), "approval-declined")
    }),
    (Guard::OtherDigest, "somebody approves another plan", "S12", |_| {
        approver(lost(), Approver::TriesOwnFirst { after: s(20) })
    }),
    (Guard::RosyLoss, "the standby is 20 s behind", "history", |_| {
        with(lost(), 0, None, Trouble::Lag { region: west(), setting: LagSetting::Fixed(20_000) })
    }),
    (Guard::FlipFirst, "a Region is lost", "S5", |_| lost()),
    (Guard::TargetIsWriter, "the target is the writer", "expect", |_| {
        let to_itself = |ask: &mut Ask| (ask.target, ask.when) = (Some(east()), When::At(s(90)));
        let mut here = ask(lost(), to_itself);
        here.happenings.clear();
        no_run(here)
    }),
    (Guard::HeadlessTarget, "the target has no instances", "S9", |_| headless()),
    (Guard::OtherVersion, "the target runs another version", "S9", |_| {
        held(with(lost(), 30, None, Trouble::Mismatched { region: west() }), "gate-target")
    }),
    (Guard::TwoRuns, "somebody asks again", "S1", |_| {
        let slow = approver(lost(), Approver::Approves { after: s(60) });
        act(
            slow,
            110,
            PersonAct::AskAgain { wish: Wish::Switchover, target: None, accept_data_loss: None, repeats: false },
        )
    }),
    (Guard::NoWayBack, "somebody aborts in the middle", "expect", |seed| {
        act(lost(), 110 + seed % 8 * 10, PersonAct::Abort)
    }),
    (Guard::UndoUnseen, "somebody aborts after the traffic has moved", "expect", |_| moved_and_aborted()),
    (Guard::UndoPastNoReturn, "somebody aborts after the databases have switched", "expect", |seed| {
        held(act(planned(), 110 + seed % 8 * 10, PersonAct::Abort), "undo-past-no-return")
    }),
    (Guard::FenceTarget, "the application is fenced before it moves as planned", "S9", |_| planned()),
    (Guard::WriteTaken, "the old writer cannot be fenced, and takes writes", "expect", |_| shipped("fence-not-held")),
    (Guard::Unreconciled, "the Region is back, and the operator forgets the salvage", "S8", |_| {
        shipped("salvage-forgotten")
    }),
    (Guard::OverBudget, "what a drill has moved to does not serve well", "expect", |_| shipped("drill-over-budget")),
    (Guard::FaultLeft, "the primary is broken on purpose", "S10", |_| shipped("drill-fault")),
    (Guard::UndoForgotten, "somebody aborts after the traffic has moved", "expect", |_| moved_and_aborted()),
    (Guard::AfterTheEnd, "somebody resumes a run that is over", "S15", |_| act(lost(), 900, PersonAct::Resume)),
    (Guard::NoDeadline, "a promotion sticks", "expect", |_| stuck()),
    (Guard::WallTime, "the clock jumps ahead while the run waits for a person", "expect", |_| {
        // It is set right again before anything is to be changed: with a clock that is wrong nothing would be.
        let jump = with(lost(), 200, Some(20), Trouble::ClockJumps { seconds: 1_200 });
        let slow = approver(jump, Approver::Approves { after: s(150) });
        ask(slow, |ask| ask.accept_data_loss = Some(s(3_600)))
    }),
    (Guard::HoldIgnored, "the target has no instances", "expect", |_| headless()),
    (Guard::PauseIgnored, "the run is paused", "expect", |_| {
        let slow = approver(lost(), Approver::Approves { after: s(60) });
        expecting(act(slow, 120, PersonAct::Pause), vec![Expectation::WriterIn(east())])
    }),
    (Guard::SilenceVotes, "CloudWatch in us-east-1 is down, and nothing else", "expect", |_| {
        let down = Trouble::Plane { plane: Plane::CloudWatch, region: east(), reach: Reach::Hangs };
        expecting(with(calm(), 60, None, down), vec![Expectation::Recommended(false)])
    }),
    (Guard::FirstReading, "the application fails for some seconds", "expect", |_| {
        let down = Trouble::Plane { plane: Plane::Application, region: east(), reach: Reach::Unavailable };
        expecting(with(calm(), 60, Some(7), down), vec![Expectation::Recommended(false)])
    }),
    (Guard::OneVote, "the probe fails, and the health check does not", "expect", |_| {
        let namespace = "AWS/Route53".to_owned();
        let frozen = Trouble::Metrics { region: east(), namespace, fault: MetricFault::Freeze };
        let down = Trouble::Plane { plane: Plane::Application, region: east(), reach: Reach::Hangs };
        let split = with(with(calm(), 30, None, frozen), 120, None, down);
        expecting(split, vec![Expectation::Recommended(false)])
    }),
    (Guard::StandingUnrenewed, "traffic has been moved by a health signal, and time passes", "standing", |_| {
        Scenario { heals_at: Some(s(700)), ..planned() }
    }),
    (Guard::AnyAnswer, "the application answers with errors", "expect", |_| {
        let errors = Trouble::Plane { plane: Plane::Application, region: east(), reach: Reach::Unavailable };
        expecting(with(calm(), 60, None, errors), vec![Expectation::Recommended(true)])
    }),
];

impl Case {
    /// The case of `guard`.
    pub(super) fn of(guard: Guard) -> Self {
        let row = CASES.iter().find(|(of, ..)| *of == guard);
        let (_, title, told_by, scenario) = *row.unwrap_or_else(|| panic!("`{guard}` has no case"));
        let kind = match guard {
            Guard::OneVote => Kind::TwoTriggers,
            Guard::SilenceVotes => Kind::HealthCheckOnly,
            Guard::MissingLag => Kind::NoLag,
            Guard::PendingIsInSync => Kind::Records,
            Guard::AnyDnsAnswer | Guard::StandingUnrenewed => Kind::HealthSignal,
            Guard::UndoUnseen | Guard::UndoForgotten => Kind::Stateless,
            Guard::FenceTarget | Guard::WriteTaken => Kind::Fenced,
            Guard::FaultLeft => Kind::Broken,
            _ => Kind::Controls,
        };
        Self { title, told_by, kind, scenario }
    }
}
