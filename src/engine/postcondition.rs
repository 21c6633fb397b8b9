//! Whether the declared postcondition of an `aws.call` shows: a read that the runbook wrote out, and an expression over
//! its answer.
//!
//! Invariant: it holds only by an answer of AWS in which the expression is true. What could not be read, or about which
//! the expression says nothing, is unclear: never "not yet", never done. Answers are kept nowhere; outputs are what the
//! runbook named of them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    context::Context,
    denial::Denial,
    look::Look,
    observe::Seen,
    outlook::Condition,
    restore,
    step::{self, Driver},
};
use crate::{
    domain::{
        api_call::{self, ApiCall, AwsCall, OnUnknown},
        cloud::{ObserveError, Outcome},
        id::StepId,
        run::RunState,
    },
    engine::aurora,
};

/// What one reading showed.
enum Shown {
    Holds { evidence: String, outputs: BTreeMap<String, Value> },
    No { what: String, absent: bool },
    Unclear { why: String },
    Denied(Denial),
}

/// Asks `request` and judges its answer. What AWS says is not there is `null`.
async fn shown(context: &Context, run: &RunState, id: &StepId, call: &AwsCall, request: &ApiCall) -> Shown {
    let asked = format!("{} in {}", request.operation, request.region);
    let answer = match context.cloud.ask(request).await {
        Ok(answer) => answer,
        Err(ObserveError::NotFound { .. }) => Value::Null,
        Err(error) => {
            return match Denial::of(&request.operation, Some(&request.region), &error) {
                Some(denial) => Shown::Denied(denial),
                None => Shown::Unclear { why: format!("{asked}: {error}") },
            };
        }
    };
    let is_absent = answer.is_null();
    let absent = if is_absent { " (it is not there)" } else { "" };
    let Some(done_when) = &call.done_when else {
        if answer.is_null() {
            return Shown::No { what: format!("{asked}{absent}"), absent: true };
        }
        return Shown::Holds { evidence: format!("{asked} answered"), outputs: call.outputs_of(&answer) };
    };
    let that = &done_when.that;
    match done_when.judge(&answer, &step::facts(run, id)) {
        api_call::Seen::Holds => {
            Shown::Holds { evidence: format!("{asked}{absent}: `{that}` is true"), outputs: call.outputs_of(&answer) }
        }
        api_call::Seen::No => Shown::No { what: format!("{asked}{absent}: `{that}` is false"), absent: is_absent },
        api_call::Seen::Unclear { why } => Shown::Unclear { why: format!("{asked}: {why}") },
    }
}

/// A call that only reads, looked at once.
pub(super) async fn look(context: &Context, run: &RunState, id: &StepId, call: &AwsCall) -> Look {
    let not_yet = |why: String| Look::NotYet { why, pause: aurora::POLL };
    match shown(context, run, id, call, &call.request).await {
        Shown::Holds { evidence, outputs } => Look::Satisfied { evidence: vec![evidence], outputs },
        Shown::No { what, .. } => not_yet(what),
        Shown::Unclear { why } => not_yet(why),
        Shown::Denied(denial) => Look::Refused { code: denial.code, why: denial.why },
    }
}

/// What a look ahead, for a plan, shows of a call that changes something: whether its probe answers.
pub(super) async fn ahead(context: &Context, run: &RunState, id: &StepId, call: &AwsCall) -> Condition {
    let read = call.done_when.as_ref().and_then(|done| done.read.as_ref()).filter(|read| !read.needs_handle());
    let Some(read) = read else { return Condition::Free };
    match shown(context, run, id, call, read).await {
        Shown::Holds { evidence, .. } => {
            Condition::Met { evidence: vec![format!("{evidence}: nothing would be sent")] }
        }
        // What the call works on, or what it makes: which of the two cannot be told.
        Shown::No { what, absent: true } => Condition::Unknown { why: what },
        Shown::No { what, absent: false } => Condition::Open { what },
        Shown::Unclear { why } => Condition::Unknown { why },
        Shown::Denied(denial) => Condition::Unknown { why: denial.why },
    }
}

/// Whether the effect of `call` shows, given how its sending ended; `None`: before it is sent.
pub(super) async fn observe(driver: &Driver, call: &AwsCall, outcome: Option<&Outcome>) -> Seen {
    if let Some(restores) = &call.restores {
        return restore::observe(driver, call, restores, outcome).await;
    }
    let handle = match outcome {
        Some(Outcome::Accepted { handle, .. }) => handle.as_deref(),
        Some(Outcome::Rejected { .. } | Outcome::NotSent { .. } | Outcome::Unknown { .. }) | None => None,
    };
    let told = || handle.map(|handle| ("handle".to_owned(), json!(handle)));
    let Some(read) = call.done_when.as_ref().and_then(|done| done.read.as_ref()) else {
        return match outcome {
            // The runbook declares nothing to look at: that AWS took it is what there is.
            Some(Outcome::Accepted { .. }) => Seen::Done {
                evidence: vec![format!("{} was accepted; nothing is declared to be seen", call.request.operation)],
                outputs: told().into_iter().collect(),
            },
            Some(_) | None => Seen::Unknown { why: "the runbook declares nothing to look at".to_owned() },
        };
    };
    let read = match (read.needs_handle(), handle) {
        (false, _) => read.clone(),
        (true, Some(handle)) => read.with_handle(handle),
        (true, None) => {
            return Seen::Unknown { why: "what to ask about stands in an answer that is not here".to_owned() };
        }
    };
    let Ok(run) = driver.run_state() else { return Seen::Unknown { why: "the run is over".to_owned() } };
    match shown(&driver.context, &run, &driver.step.id, call, &read).await {
        Shown::Holds { evidence, mut outputs } => {
            outputs.extend(told());
            Seen::Done { evidence: vec![evidence], outputs }
        }
        // What AWS took may take its time; what is sent at most once may still arrive. Only what may be sent again, or
        // was not sent, is as it was before.
        Shown::No { what, .. } => match outcome {
            None => Seen::Before { what },
            Some(Outcome::Unknown { .. }) if call.idempotent => Seen::Before { what },
            Some(_) => Seen::Moving { what },
        },
        Shown::Unclear { why } => Seen::Unknown { why },
        Shown::Denied(denial) => Seen::Denied(denial),
    }
}

/// Why looking cannot settle a call without an answer, where that is so: a person has to.
pub(super) fn unsettled(call: &AwsCall) -> Option<&'static str> {
    if call.restores.is_some() {
        return None;
    }
    match (&call.done_when, call.on_unknown) {
        (_, OnUnknown::Hold) => Some("the runbook lets a person look (`on_unknown: hold`)"),
        (Some(done), OnUnknown::Observe) if done.read.as_ref().is_some_and(ApiCall::needs_handle) => {
            Some("what to ask about stood in the answer")
        }
        (Some(_), OnUnknown::Observe) => None,
        (None, OnUnknown::Observe) => Some("the runbook declares nothing to look at"),
    }
}
