//! What the answer to a call allows: to send it again, to wait for it to pass, or to leave it to a person.
//!
//! Invariant: each is told from the answer and the action alone; nothing here looks at the world or sends anything.

use crate::{
    domain::{
        action::Action,
        api_call,
        cloud::{Mutation, Outcome},
        sabotage::{Guard, is_off},
    },
    engine::{faults, fences, postcondition},
};

/// Whether a call that was not answered, and did not happen, may be sent again at once.
pub(super) fn is_repeatable(outcome: &Outcome, call: Option<&Mutation>) -> bool {
    matches!(outcome, Outcome::Unknown { .. }) && call.is_some_and(Mutation::is_idempotent) || is_off(Guard::Hasty)
}

/// Perhaps refused because our own earlier call is at work: looking tells (FAULTS.md 45). The rules of a fence are not
/// there any more, or there already.
pub(super) fn is_perhaps_our_own(action: &Action, code: &str) -> bool {
    let is_rule = is_fence(action) && code.starts_with("InvalidPermission.");
    let is_busy = code.starts_with("InvalidGlobalClusterState") || code == "DBInstanceAlreadyExists";
    is_rule || (is_busy && !is_off(Guard::NotOurSuccess))
}

/// Errors that AWS means to pass: nothing happened, and the same call may be sent again.
pub(super) fn is_passing(code: &str) -> bool {
    !is_off(Guard::ThrottledIsFinal)
        && matches!(
            code,
            "Throttling"
                | "ThrottlingException"
                | "Throttled"
                | "RequestLimitExceeded"
                | "PriorRequestNotComplete"
                // S3 has not read the request in time: nothing of it was taken.
                | "RequestTimeout"
                | "EndpointTemporarilyUnavailableException"
                // ARC's safety rules let no control be changed again within their wait period, 5 s by default: an abort
                // right after a flip meets it.
                | "ConflictException"
        )
}

/// The same for a call that a runbook wrote out: each service has codes of its own.
pub(super) fn passes(action: &Action, code: &str) -> bool {
    let is_passing = |call: &Mutation| match call {
        Mutation::AwsCall { request, .. } => api_call::is_passing(request.service(), code),
        // Somebody has changed the function between our reading and our call: it is read again.
        Mutation::LambdaVariable { .. } => {
            api_call::is_passing("lambda", code) || code == "PreconditionFailedException"
        }
        _ => false,
    };
    action.mutations().iter().any(is_passing) && !is_off(Guard::ThrottledIsFinal)
}

pub(super) fn is_fence(action: &Action) -> bool {
    matches!(action, Action::Fence { .. })
}

/// The code of a guard that says no.
pub(super) fn refusal_code(action: &Action) -> &'static str {
    match action {
        Action::Fence { .. } => fences::REFUSED,
        Action::LambdaFault(_) => faults::REFUSED,
        action => guard_code(action),
    }
}

/// The code of one that cannot tell.
pub(super) fn guard_code(action: &Action) -> &'static str {
    match action {
        Action::Fence { .. } => fences::UNKNOWN,
        Action::LambdaFault(_) => faults::UNKNOWN,
        action if action.requires_writer().is_some() => "writer-not-proven",
        _ => "gate-target",
    }
}

/// The code of a call that AWS took and that had no effect.
pub(super) fn ineffective_code(action: &Action) -> &'static str {
    match action {
        Action::Fence { .. } => fences::NOT_HELD,
        Action::LambdaFault(_) => faults::UNKNOWN,
        _ => "promotion-failed",
    }
}

/// Why a call without an answer is for a person to settle, where that is so.
pub(super) fn left_to_people(action: &Action) -> Option<String> {
    match action {
        // Nobody can ask SNS what it delivered, and a message twice is worse than the doubt.
        Action::Notify { .. } => Some("not repeated".to_owned()),
        Action::AwsCall { call } => Some(format!("not repeated, {}", postcondition::unsettled(call)?)),
        _ => None,
    }
}
