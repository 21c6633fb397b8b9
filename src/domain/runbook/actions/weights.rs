//! The `with` of `dns.weights`.

use std::time::Duration;

use super::{Act, MINUTE, SECOND, via};
use crate::domain::{
    document::{At, Fields, Findings},
    id::SignalName,
};

/// Steps of one ramp; each has a call of its own and one back.
const RAMP_STEPS_MAX: usize = 20;
/// Signals that one step looks at.
const GUARD_SIGNALS_MAX: usize = 50;
/// The longest that a step is kept.
const HOLD_MAX: Duration = Duration::from_hours(4);
/// So long may a signal of the guard be unknown, where the runbook does not say.
pub(in crate::domain::runbook) const UNKNOWN_FOR: Duration = Duration::from_mins(2);

const RAMP: &str = "ramp: [5, 25, 50, 100]";

pub(super) fn read(with: &mut Fields<'_>, found: &mut Findings) -> Option<Act> {
    let via = via(with, found);
    let ramp = with.need(found, "ramp", RAMP);
    let hold_for = with.need(found, "hold_for", "hold_for: 5m");
    let guard = with.get(found, "guard", "guard: { signals: [use1-health], unknown_for: 2m, step_back: true }");
    let ramp = ramp.and_then(|at| shares(&at, found));
    let hold_for = hold_for.and_then(|at| at.duration(found, 10 * SECOND, HOLD_MAX));
    let (signals, unknown_for, step_back) = match guard {
        Some(at) => self::guard(&at, found)?,
        None => (None, UNKNOWN_FOR, true),
    };
    Some(Act::DnsWeights { via: via?, ramp: ramp?, hold_for: hold_for?, signals, unknown_for, step_back })
}

fn shares(at: &At<'_>, found: &mut Findings) -> Option<Vec<u8>> {
    let items = at.list(found)?;
    let shares: Vec<u8> =
        items.iter().map(|item| item.count(found, 1, 100).and_then(|n| u8::try_from(n).ok())).collect::<Option<_>>()?;
    let rises = shares.windows(2).all(|pair| pair[0] < pair[1]);
    if !rises || shares.last() != Some(&100) || RAMP_STEPS_MAX < shares.len() {
        let problem = format!("must rise, and end with 100, in at most {RAMP_STEPS_MAX} steps: percent to the target");
        found.error(&at.key, problem, RAMP);
        return None;
    }
    Some(shares)
}

fn guard(at: &At<'_>, found: &mut Findings) -> Option<(Option<Vec<SignalName>>, Duration, bool)> {
    let mut f = at.fields(found)?;
    let signals = f.get(found, "signals", "signals: [use1-health, use1-lambda-errors]");
    let unknown_for = f.get(found, "unknown_for", "unknown_for: 2m");
    let step_back = f.get(found, "step_back", "step_back: true");
    f.finish(found);
    let signals = match signals {
        Some(at) => Some(names(&at, found)?),
        None => None,
    };
    let unknown_for = unknown_for.map_or(Some(UNKNOWN_FOR), |at| at.duration(found, 10 * SECOND, 60 * MINUTE));
    let step_back = step_back.map_or(Some(true), |at| at.boolean(found));
    Some((signals, unknown_for?, step_back?))
}

pub(in crate::domain::runbook) fn names(at: &At<'_>, found: &mut Findings) -> Option<Vec<SignalName>> {
    let items = at.list(found)?;
    let mut names: Vec<SignalName> = items.iter().map(|item| item.parse(found)).collect::<Option<_>>()?;
    names.sort();
    names.dedup();
    if names.is_empty() || names.len() != items.len() || GUARD_SIGNALS_MAX < names.len() {
        let problem = format!("needs between 1 and {GUARD_SIGNALS_MAX} signals, each once");
        found.error(&at.key, problem, at.example);
        return None;
    }
    Some(names)
}
