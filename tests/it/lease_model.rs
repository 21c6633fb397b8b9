//! The lease-and-journal protocol, model-checked to exhaustion (issue 6; FAULTS.md S1 to S4, S10, S11; ADR 20): what is
//! modelled, what is left out, and the figures: docs/lease-model.md. Which action stands for which function of the
//! engine is said at `protocol::Action`; the lease's arithmetic is the engine's own (`terms`).
//!
//! Invariant: the model has no step that the engine could not take, and where it is coarser it allows more.
//!
//! It deliberately knows of one step that moves one writer. What a runbook does before and behind that, and what the
//! readings of a control plane that is behind do, is the rehearsals' (docs/rehearsals.md).

use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model};

mod changes;
mod protocol;
mod state;
mod terms;

use protocol::{BROKEN, Cut, LEASE, Leases, Protocol, Request, S1, S2, S3, S4, S11};
use state::Region::{A, B, C};
use terms::Terms;

const fn asked(from: state::Region, to: state::Region) -> Request {
    Request { from, to, escalates: false }
}

const ONCE: &[Request] = &[asked(A, B)];
const THERE_AND_BACK: &[Request] = &[asked(A, B), asked(B, A)];
/// The first run fails, or nobody knows, and the next leads to a third Region.
const ELSEWHERE: &[Request] = &[asked(A, B), asked(A, C)];
/// A planned move, and the failover to the same target that takes its place at any moment of it.
const ESCALATED: &[Request] = &[asked(A, B), Request { from: A, to: B, escalates: true }];
const ESCALATED_AND_BACK: &[Request] = &[asked(A, B), Request { from: A, to: B, escalates: true }, asked(B, A)];

/// A signature is taken for one tick beside that of its intent: two ages tell which of two expires first, and one that
/// was made half a lease after the last renewal outlives the lease.
fn protocol(requests: &'static [Request], leases: Leases, cut: Option<Cut>) -> Protocol {
    Protocol { requests, window: 1, leases, cut, terms: Terms::asked(), tells_apart: false }
}

/// Every reachable state, unless one of `until` is found before; the properties that are broken, with the actions that
/// break them.
#[expect(clippy::print_stderr, reason = "figures and traces, for whoever asks for them with --no-capture")]
fn explore(what: &str, protocol: Protocol, until: &[&'static str]) -> Vec<(&'static str, String)> {
    let began = Instant::now();
    let until = HasDiscoveries::AllOf(until.iter().copied().collect());
    let always: Vec<_> = BROKEN.into_iter().chain([LEASE]).collect();
    let possible: Vec<_> = protocol.properties().iter().map(|p| p.name).filter(|n| !always.contains(n)).collect();
    // A machine that is busy beyond measure: a failure with figures, not a hang.
    let checker = protocol.checker().finish_when(until).timeout(Duration::from_secs(600)).spawn_bfs().join();
    let figures = format!(
        "{what}: {} states, {} transitions, {} deep, in {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        began.elapsed().as_secs_f64()
    );
    eprintln!("{figures}");
    assert!(checker.is_done(), "not explored to its end: {figures}");
    let found = checker.discoveries();
    for possible in possible {
        assert!(found.contains_key(possible), "never happens: {possible}: {figures}");
    }
    let broken = found.into_iter().filter(|(name, _)| always.contains(name));
    broken.map(|(name, path)| (name, path.into_actions().iter().map(|a| format!("\n  {a:?}")).collect())).collect()
}

#[track_caller]
fn nothing_breaks(what: &str, protocol: Protocol) {
    // Without end: no property is found before every state is.
    let broken = explore(what, protocol, &["(to exhaustion)"]);
    assert!(
        broken.is_empty(),
        "{what}: {}",
        broken.iter().map(|(name, by)| format!("{name}:{by}\n")).collect::<String>()
    );
}

/// Without the part of the protocol that is cut, each of `expected` is broken.
#[expect(clippy::print_stderr, reason = "figures and traces, for whoever asks for them with --no-capture")]
#[track_caller]
fn breaks(protocol: Protocol, expected: &[&'static str]) {
    let what = format!("without {:?}", protocol.cut);
    let broken = explore(&what, Protocol { tells_apart: true, ..protocol }, expected);
    for name in expected {
        let by = broken.iter().find(|(broken, _)| broken == name).map(|(_, by)| by);
        let by = by.unwrap_or_else(|| panic!("{what}: `{name}` holds, so that nothing rests on what was cut"));
        eprintln!("{name}:{by}");
    }
}

#[test]
fn there_and_back_is_safe_whoever_believes_to_lead() {
    nothing_breaks("there and back", protocol(THERE_AND_BACK, Leases::Ignored, None));
}

#[test]
fn a_second_run_that_leads_elsewhere_is_safe_whoever_believes_to_lead() {
    nothing_breaks("elsewhere", protocol(ELSEWHERE, Leases::Ignored, None));
}

#[test]
fn an_escalation_is_safe_whoever_believes_to_lead() {
    nothing_breaks("escalated", protocol(ESCALATED, Leases::Ignored, None));
}

#[test]
fn with_the_lease_kept_two_replicas_are_safe_and_never_both_believe_in_it() {
    nothing_breaks("lease kept", protocol(ONCE, Leases::Kept, None));
}

#[test]
#[ignore = "for a release build, where it takes some 10 s (docs/lease-model.md)"]
fn the_larger_configuration() {
    nothing_breaks("escalated, and back", protocol(ESCALATED_AND_BACK, Leases::Ignored, None));
}

#[test]
fn without_compare_and_set_two_write_at_one_place_and_two_runs_are_active() {
    breaks(protocol(THERE_AND_BACK, Leases::Ignored, Some(Cut::CompareAndSet)), &[S1, S2]);
    breaks(protocol(ONCE, Leases::Kept, Some(Cut::CompareAndSet)), &[S2]);
}

#[test]
fn without_the_wait_before_the_opposite_target_a_late_call_moves_the_writer_away_again() {
    breaks(protocol(THERE_AND_BACK, Leases::Ignored, Some(Cut::WaitBeforeOpposite)), &[S11, S4]);
    breaks(protocol(ELSEWHERE, Leases::Ignored, Some(Cut::WaitBeforeOpposite)), &[S11, S4]);
}

#[test]
fn without_the_pinned_signature_no_wait_is_long_enough() {
    breaks(protocol(THERE_AND_BACK, Leases::Ignored, Some(Cut::PinnedSignature)), &[S11, S4]);
}

#[test]
fn without_a_durable_intent_an_effect_comes_of_nothing() {
    breaks(protocol(THERE_AND_BACK, Leases::Ignored, Some(Cut::DurableIntent)), &[S3, S4]);
}

/// Every state, not only those up to the first waste.
#[track_caller]
fn only_wastes(cut: Cut) {
    let what = format!("without {cut:?}");
    let broken = explore(&what, protocol(ONCE, Leases::Kept, Some(cut)), &["(to exhaustion)"]);
    let names: Vec<_> = broken.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, [LEASE], "{broken:?}");
}

#[test]
fn a_challenger_that_does_not_wait_wastes_work_and_harms_nothing() {
    only_wastes(Cut::ChallengersWait);
}

#[test]
fn a_holder_that_does_not_end_itself_wastes_work_and_harms_nothing() {
    only_wastes(Cut::HoldersEnd);
}
