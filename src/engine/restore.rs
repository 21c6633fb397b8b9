//! `undo: restore` of an `aws.call`: what is there is read just before its first effect, and put back by the call back.
//!
//! Invariants: nothing is put back over what somebody else has written since (FAULTS.md 77); what cannot be read is
//! unknown, and neither what was there before nor what the step has made.

use crate::{
    domain::{
        api_call::AwsCall,
        cloud::{ObserveError, Outcome},
        restore::Restores,
        run::RunState,
        undo,
    },
    engine::{context::Context, denial::Denial, observe::Seen, prior::Prior, step::Driver, undo::Stands},
};
use serde_json::Value;

/// What reading came to.
enum Read {
    /// What AWS says is not there is `null`.
    Answer(Value),
    Denied(Denial),
    Unknown {
        why: String,
    },
}

async fn read(context: &Context, restores: &Restores) -> Read {
    let request = &restores.read;
    match context.cloud.ask(request).await {
        Ok(answer) => Read::Answer(answer),
        Err(ObserveError::NotFound { .. }) => Read::Answer(Value::Null),
        Err(error) => match Denial::of(&request.operation, Some(&request.region), &error) {
            Some(denial) => Read::Denied(denial),
            None => Read::Unknown { why: format!("{} in {}: {error}", request.operation, request.region) },
        },
    }
}

/// What the call of a step is about to replace.
pub(super) async fn before(context: &Context, call: &AwsCall) -> Prior {
    let Some(restores) = call.undo.as_ref().and_then(|back| back.restores.as_ref()) else { return Prior::NotNeeded };
    match read(context, restores).await {
        Read::Answer(answer) => match restores.taken(&answer) {
            Ok(values) => Prior::Seen(undo::Prior::Answer { values }),
            Err(why) => Prior::Unseen { why },
        },
        Read::Denied(denial) => Prior::Unseen { why: denial.why },
        Read::Unknown { why } => Prior::Unseen { why },
    }
}

/// What stands before `back` is sent: what was there before, what the step has written, or what somebody else has.
pub(super) async fn stands(driver: &Driver, run: &RunState, back: &AwsCall, restores: &Restores) -> Stands {
    let answer = match read(&driver.context, restores).await {
        Read::Answer(answer) => answer,
        Read::Denied(denial) => return Stands::Denied(denial),
        Read::Unknown { why } => return Stands::Unknown { why },
    };
    let written = match run.sent_by(&driver.step.id) {
        Ok(written) => written,
        Err(why) => return Stands::Unknown { why },
    };
    let shows = |arguments: &Value| restores.shows(&answer, arguments);
    match (shows(&back.request.arguments), shows(&written.request.arguments)) {
        (Ok(true), _) => Stands::Restored { evidence: vec![is_back(restores)] },
        (Ok(false), Ok(true)) => Stands::Ours,
        (Ok(false), Ok(false)) => {
            let told = restores.told();
            Stands::Drift { what: format!("{told} is neither what was there before the step nor what it has written") }
        }
        (Err(why), _) | (_, Err(why)) => Stands::Unknown { why },
    }
}

/// Whether what was there before is back, given how the sending of `back` ended; `None`: before it is sent.
pub(super) async fn observe(driver: &Driver, back: &AwsCall, restores: &Restores, outcome: Option<&Outcome>) -> Seen {
    let answer = match read(&driver.context, restores).await {
        Read::Answer(answer) => answer,
        Read::Denied(denial) => return Seen::Denied(denial),
        Read::Unknown { why } => return Seen::Unknown { why },
    };
    match (restores.shows(&answer, &back.request.arguments), outcome) {
        (Ok(true), _) => Seen::Done { evidence: vec![is_back(restores)], outputs: Default::default() },
        (Ok(false), None) => Seen::Before { what: is_not_back(restores) },
        (Ok(false), Some(Outcome::Unknown { .. })) if back.idempotent => Seen::Before { what: is_not_back(restores) },
        (Ok(false), Some(_)) => Seen::Moving { what: is_not_back(restores) },
        (Err(why), _) => Seen::Unknown { why },
    }
}

fn is_back(restores: &Restores) -> String {
    let (asked, told) = (&restores.read, restores.told());
    format!("{} in {}: {told} is what was read before the step", asked.operation, asked.region)
}

fn is_not_back(restores: &Restores) -> String {
    let (asked, told) = (&restores.read, restores.told());
    format!("{} in {}: {told} is not what was read before the step", asked.operation, asked.region)
}
