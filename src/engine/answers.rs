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
    engine::postcondition,
};

/// Whether a call that was not answered, and did not happen, may be sent again at once.
pub(super) fn is_repeatable(outcome: &Outcome, call: Option<&Mutation>) -> bool {
    matches!(outcome, Outcome::Unknown { .. }) && call.is_some_and(Mutation::is_idempotent) || is_off(Guard::Hasty)
}

/// Perhaps refused because our own earlier call is at work: looking tells (FAULTS.md 45).
pub(super) fn is_perhaps_our_own(code: &str) -> bool {
    code.starts_with("InvalidGlobalClusterState") && !is_off(Guard::NotOurSuccess)
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
    matches!(action, Action::AwsCall { call } if api_call::is_passing(call.request.service(), code))
        && !is_off(Guard::ThrottledIsFinal)
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
