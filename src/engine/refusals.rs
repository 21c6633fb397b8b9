//! What a refusal means: of a guard, by the action that it guards; of AWS, by its code.
//!
//! Invariant: only what AWS means to pass is tried again, and only what may be the work of our own earlier call is looked
//! at; every other refusal is final.

use crate::{
    domain::{
        action::Action,
        api_call,
        cloud::Mutation,
        sabotage::{Guard, is_off},
    },
    engine::fences,
};

pub(super) fn is_fence(action: &Action) -> bool {
    matches!(action, Action::Fence { .. })
}

/// The code of a guard that says no.
pub(super) fn refusal_code(action: &Action) -> &'static str {
    if is_fence(action) { fences::REFUSED } else { guard_code(action) }
}

/// The code of one that cannot tell.
pub(super) fn guard_code(action: &Action) -> &'static str {
    match action {
        Action::Fence { .. } => fences::UNKNOWN,
        action if action.requires_writer().is_some() => "writer-not-proven",
        _ => "gate-target",
    }
}

/// The code of a call that AWS took and that had no effect.
pub(super) fn ineffective_code(action: &Action) -> &'static str {
    if is_fence(action) { fences::NOT_HELD } else { "promotion-failed" }
}

/// Perhaps refused because our own earlier call is at work: looking tells (FAULTS.md 45). The rules of a fence are not
/// there any more, or there already.
pub(super) fn is_perhaps_our_own(action: &Action, code: &str) -> bool {
    let is_rule = is_fence(action) && code.starts_with("InvalidPermission.");
    is_rule || (code.starts_with("InvalidGlobalClusterState") && !is_off(Guard::NotOurSuccess))
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
                | "EndpointTemporarilyUnavailableException"
                // ARC's safety rules let no control be changed again within their wait period, 5 s by default: an abort
                // right after a flip meets it.
                | "ConflictException"
        )
}

/// The same for a call that is written out: each service has codes of its own.
pub(super) fn passes(action: &Action, code: &str) -> bool {
    let is_passing = |call: &Mutation| match call {
        Mutation::AwsCall { request, .. } => api_call::is_passing(request.service(), code),
        _ => false,
    };
    action.mutations().iter().any(is_passing) && !is_off(Guard::ThrottledIsFinal)
}
