//! `budget` of a drill: a time, and the same words for what must stay well as the guard of a ramp has.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value as Json, json};

use super::{
    Act, Ahead, Runbook, Step,
    actions::{UNKNOWN_FOR, signal_names},
};
use crate::domain::{
    document::{At, Fields, Findings},
    drill::Terms,
    id::StepId,
    plan::{Purpose, Towards},
};

/// The shortest budget: a way home takes minutes, and one that is begun at once proves nothing.
const WITHIN_MIN: Duration = Duration::from_mins(1);
/// The longest: as long as the longest step.
const WITHIN_MAX: Duration = super::STEP_TIMEOUT_MAX;

pub(super) const EXAMPLE: &str = "budget: { within: 45m, guard: { signals: [usw2-health], unknown_for: 2m } }";

/// `Some(None)` where there is none; `None` where it has a fault.
pub(super) fn read(root: &mut Fields<'_>, found: &mut Findings) -> Option<Option<Terms>> {
    let Some(at) = root.get(found, "budget", EXAMPLE) else { return Some(None) };
    let mut f = at.fields(found)?;
    let within = f.need(found, "within", "within: 45m");
    let guard = f.get(found, "guard", "guard: { signals: [usw2-health], unknown_for: 2m }");
    f.finish(found);
    let within = within.and_then(|at| at.duration(found, WITHIN_MIN, WITHIN_MAX));
    let (signals, unknown_for) = match guard {
        Some(at) => self::guard(&at, found)?,
        None => (None, UNKNOWN_FOR),
    };
    Some(Some(Terms { within: within?, signals, unknown_for }))
}

fn guard(at: &At<'_>, found: &mut Findings) -> Option<(Option<Vec<crate::domain::id::SignalName>>, Duration)> {
    let mut f = at.fields(found)?;
    let signals = f.get(found, "signals", "signals: [usw2-health]");
    let unknown_for = f.get(found, "unknown_for", "unknown_for: 2m");
    f.finish(found);
    let signals = match signals {
        Some(at) => Some(signal_names(&at, found)?),
        None => None,
    };
    let (least, most) = (Duration::from_secs(10), Duration::from_hours(1));
    let unknown_for = unknown_for.map_or(Some(UNKNOWN_FOR), |at| at.duration(found, least, most))?;
    Some((signals, unknown_for))
}

/// What the schema says of it.
pub(super) fn schema(duration: &str) -> Json {
    let duration = json!({ "type": "string", "pattern": duration });
    json!({
        "type": "object",
        "properties": {
            "within": duration,
            "guard": {
                "type": "object",
                "properties": { "signals": { "type": "array", "items": { "type": "string" } }, "unknown_for": duration },
                "additionalProperties": false,
            },
        },
        "additionalProperties": false,
        "required": ["within"],
        "description": format!("such as `{EXAMPLE}`"),
    })
}

/// What is wrong with the budget of `runbook`, as sentences.
pub(super) fn check(runbook: &Runbook, found: &mut Findings) {
    if runbook.budget.is_none() {
        return;
    }
    if !runbook.purposes.iter().eq([&Purpose::Drill]) {
        found.error("budget", "a budget is for a drill, which has a way home: `purpose: drill`", "purpose: drill");
        return;
    }
    let moves = |s: &&Step| {
        matches!(s.act, Act::AuroraSwitchover { .. } | Act::DnsFlip { .. } | Act::DnsWeights { .. })
            && s.towards == Towards::Target
    };
    let ahead = Ahead::of(&runbook.steps);
    let home: BTreeSet<&StepId> =
        runbook.steps.iter().filter(|s| s.towards == Towards::Source).map(|s| &s.id).collect();
    let is_after = |s: &&Step| ahead.before(&s.id).any(|id| home.contains(id));
    let again = runbook.steps.iter().filter(moves).find(is_after);
    if let Some(again) = again {
        let problem = format!(
            "`{}` moves away again after the way home: a budget is for a drill that goes there and comes home once",
            again.id
        );
        found.error("budget", problem, "");
    }
}
