//! Faults on purpose: what is read of a function's variable before one is put in or taken out, and after.
//!
//! Invariants: what is told of a variable is that it holds the one text or the other of the runbook, or neither; the others
//! are counted. What could not be read is unknown. Taking a fault out is never refused for what stands elsewhere.

use std::collections::BTreeMap;

use crate::{
    domain::{
        fault::{Fault, describe, seen},
        sabotage::{Guard, is_off},
    },
    engine::{context::Context, denial::Denial, guards::Answer, observe::Seen},
};

/// What is there forbids putting the fault in.
pub(super) const REFUSED: &str = "fault-refused";
/// What is there cannot be told, or does not come about.
pub(super) const UNKNOWN: &str = "fault-unknown";

/// What the variable holds, compared with what the call wants and expects.
pub(super) enum Standing {
    /// What is wanted.
    As {
        evidence: String,
    },
    /// What is expected before it.
    From,
    /// An update is in progress.
    Changing {
        what: String,
    },
    /// Something of somebody else's.
    Neither {
        what: String,
    },
    Unknown {
        why: String,
    },
    Denied(Denial),
}

pub(super) async fn standing(context: &Context, fault: &Fault) -> Standing {
    let request = describe(&fault.at);
    let answer = match context.cloud.ask(&request).await {
        Ok(answer) => answer,
        Err(error) => {
            return match Denial::of(&request.operation, Some(&request.region), &error) {
                Some(denial) => Standing::Denied(denial),
                None => Standing::Unknown { why: format!("{} in {}: {error}", request.operation, request.region) },
            };
        }
    };
    let seen = match seen(&answer, &fault.at.variable) {
        Ok(seen) => seen,
        Err(why) => return Standing::Unknown { why: format!("function {}: {why}", fault.at.function) },
    };
    let says = fault.says(&seen);
    match seen.value.as_deref() {
        value if value == fault.wanted() && seen.is_updating => {
            Standing::Changing { what: format!("{says}; an update is in progress") }
        }
        value if value == fault.wanted() => Standing::As { evidence: says },
        value if value == fault.expected() => Standing::From,
        _ => Standing::Neither { what: says },
    }
}

/// Whether the call may be sent: from what the plan expects only.
pub(super) async fn may(context: &Context, fault: &Fault) -> Answer {
    match standing(context, fault).await {
        Standing::From => Answer::Holds { evidence: vec![expected(fault)] },
        Standing::As { evidence } if fault.mends => Answer::Holds { evidence: vec![evidence] },
        Standing::As { evidence } | Standing::Changing { what: evidence } if !fault.mends => {
            Answer::fails(format!("{evidence}: somebody else has put it in, and it is not this run's to take out"))
        }
        Standing::As { evidence: why } | Standing::Changing { what: why } | Standing::Unknown { why } => {
            Answer::Unknown { why }
        }
        Standing::Neither { what } => Answer::Fails { why: what },
        Standing::Denied(denial) => Answer::Denied(denial),
    }
}

/// What was there before, for the record: by it, and by the plan, the way back is known.
fn expected(fault: &Fault) -> String {
    let (function, variable) = (&fault.at.function, &fault.at.variable);
    match fault.expected() {
        Some(value) => format!("function {function} in {} holds {variable}={value}", fault.at.region),
        None => format!("function {function} in {} has no variable {variable}", fault.at.region),
    }
}

/// Whether the effect shows.
pub(super) async fn observe(context: &Context, fault: &Fault) -> Seen {
    match standing(context, fault).await {
        Standing::As { evidence } => Seen::Done { evidence: vec![evidence], outputs: BTreeMap::new() },
        Standing::Changing { what } => Seen::Moving { what },
        Standing::From if fault.mends && is_off(Guard::FaultLeft) => {
            Seen::Done { evidence: Vec::new(), outputs: BTreeMap::new() }
        }
        Standing::From => Seen::Before { what: expected(fault) },
        Standing::Neither { what: why } | Standing::Unknown { why } => Seen::Unknown { why },
        Standing::Denied(denial) => Seen::Denied(denial),
    }
}
