//! The search for a seed that catches each guard's absence, a test per guard: nextest gives each two minutes.

use std::collections::BTreeSet;

use failoverd::{
    config,
    domain::{
        id::Digest,
        sabotage::{self, Guard},
        signal::{Signal, SignalRole, SignalSource},
    },
    sim::rehearse::{Rehearsed, Setup, matrix, run::rehearse},
};

use super::cases::{Case, Kind, s};
use crate::{fences, support::scene};

/// Seeds that are tried for one guard.
const SEEDS: u64 = 12;

fn setup(kind: Kind) -> Setup {
    let mut application = match kind {
        Kind::Records => scene::moved_by(scene::records()),
        Kind::HealthSignal => scene::moved_by(scene::health_signal()),
        Kind::Stateless => matrix::without_stores(&scene::application(), &"dns-flip".parse().expect("a name")),
        Kind::Fenced => return fences::setup(),
        Kind::Broken => {
            let mut application = scene::application();
            application.drills.push("drill-fault".parse().expect("a name"));
            application
        }
        Kind::Controls | Kind::NoLag | Kind::TwoTriggers | Kind::HealthCheckOnly => scene::application(),
    };
    if kind == Kind::NoLag {
        application.stores.values_mut().for_each(|store| store.lag_metric = "AuroraGlobalDBRPOLagg".to_owned());
    }
    if kind == Kind::HealthCheckOnly {
        application.signals.retain(|signal| signal.role != SignalRole::Trigger);
    }
    if matches!(kind, Kind::TwoTriggers | Kind::HealthCheckOnly) {
        application.signals.push(Signal {
            name: "health-check-use1".parse().expect("valid"),
            role: SignalRole::Trigger,
            source: SignalSource::HealthCheck {
                health_check_id: "11111111-2222-3333-4444-555555555555".to_owned(),
                of: scene::region("us-east-1"),
            },
            period: s(30),
            freshness: s(300),
            consecutive: 1,
        });
    }
    Setup { application, runbooks: config::shipped(), config_digest: Digest::of(b"config") }
}

/// The properties that did not hold; `expect` where an expectation was not met.
fn told(rehearsed: &Rehearsed) -> BTreeSet<&'static str> {
    let unmet = (!rehearsed.unmet.is_empty()).then_some("expect");
    rehearsed.violations.iter().map(|v| v.property).chain(unmet).collect()
}

fn complaints(rehearsed: &Rehearsed) -> String {
    let violations = rehearsed.violations.iter().map(|v| format!("{} {}", v.property, v.text));
    let all: Vec<String> = violations.chain(rehearsed.unmet.iter().cloned()).take(4).collect();
    format!("{:?}: {}", rehearsed.ending, all.join(" | "))
}

/// Searches the seeds for a rehearsal that is sound with every guard on and not with `guard` off.
#[track_caller]
fn is_caught(guard: Guard) {
    let case = Case::of(guard);
    let setup = setup(case.kind);
    let mut searched = Vec::new();
    for seed in 0..SEEDS {
        let scenario = (case.scenario)(seed);
        sabotage::set(None);
        let whole = rehearse(&setup, &scenario, seed, false);
        if !told(&whole).is_empty() {
            searched.push(format!("seed {seed}: not sound with every guard on: {}", complaints(&whole)));
            continue;
        }
        sabotage::set(Some(guard));
        let without = rehearse(&setup, &scenario, seed, false);
        if told(&without).contains(case.told_by) {
            return;
        }
        let met = sabotage::met();
        searched.push(format!("seed {seed}: asked {met} times; {}", complaints(&without)));
    }
    panic!("`{guard}` is missed by nobody: it {}.\n{}", guard.without(), searched.join("\n"));
}

macro_rules! each_is_caught {
    ($($test:ident $guard:ident;)*) => {
        $(#[test]
        fn $test() {
            is_caught(Guard::$guard);
        })*

        #[test]
        fn every_guard_has_its_test() {
            let tested = BTreeSet::from([$(Guard::$guard),*]);
            let untested: Vec<&Guard> = Guard::ALL.iter().filter(|g| !tested.contains(g)).collect();
            assert!(untested.is_empty(), "{untested:?}");
        }
    };
}

each_is_caught! {
    rotten_journal RottenJournal;
    old_epoch OldEpoch;
    failed_append FailedAppend;
    call_before_intent CallBeforeIntent;
    open_intent OpenIntent;
    blind_retry BlindRetry;
    hasty Hasty;
    rejected_is_done RejectedIsDone;
    answer_is_done AnswerIsDone;
    not_sent_is_sent NotSentIsSent;
    not_our_success NotOurSuccess;
    throttled_is_final ThrottledIsFinal;
    notice_twice NoticeTwice;
    home_of_the_dead HomeOfTheDead;
    lease_wait LeaseWait;
    after_the_lease AfterTheLease;
    signed_when_sent SignedWhenSent;
    opposite_at_once OppositeAtOnce;
    one_reading OneReading;
    one_endpoint OneEndpoint;
    contradiction Contradiction;
    unknown_status UnknownStatus;
    controls_unread ControlsUnread;
    pending_is_in_sync PendingIsInSync;
    any_dns_answer AnyDnsAnswer;
    denial_waits DenialWaits;
    stale_lag StaleLag;
    absurd_lag AbsurdLag;
    missing_lag MissingLag;
    future_reading FutureReading;
    loss_bound LossBound;
    unaccepted_loss UnacceptedLoss;
    one_person OnePerson;
    own_approval OwnApproval;
    expired_approval ExpiredApproval;
    declined Declined;
    other_digest OtherDigest;
    rosy_loss RosyLoss;
    flip_first FlipFirst;
    target_is_writer TargetIsWriter;
    headless_target HeadlessTarget;
    other_version OtherVersion;
    two_runs TwoRuns;
    unreconciled Unreconciled;
    over_budget OverBudget;
    fault_left FaultLeft;
    no_way_back NoWayBack;
    undo_unseen UndoUnseen;
    undo_past_no_return UndoPastNoReturn;
    fence_target FenceTarget;
    write_taken WriteTaken;
    undo_forgotten UndoForgotten;
    after_the_end AfterTheEnd;
    no_deadline NoDeadline;
    wall_time WallTime;
    hold_ignored HoldIgnored;
    pause_ignored PauseIgnored;
    silence_votes SilenceVotes;
    first_reading FirstReading;
    one_vote OneVote;
    standing_unrenewed StandingUnrenewed;
    any_answer AnyAnswer;
}
