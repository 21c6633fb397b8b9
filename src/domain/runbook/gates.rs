//! How the `with` of the gates of capacity, quota and replication is read.

use std::{collections::BTreeMap, time::Duration};

use super::{Act, STEP_TIMEOUT_MAX};
use crate::domain::{
    action::OnUnknown,
    capacity::QUOTA_NAMES,
    document::{At, Fields, Findings, Value, clip, did_you_mean},
    id::StoreName,
};

/// Above what any account has of anything.
const HEADROOM_MAX: u32 = 1_000_000;

/// What is needed where nothing is said: an instance, which is what is added in an emergency.
const USUAL_HEADROOM: &str = "DBInstances";

/// `hold` where nothing is said: what is not known does not pass.
fn unknown(with: &mut Fields<'_>, found: &mut Findings) -> Option<OnUnknown> {
    let Some(at) = with.get(found, "unknown", "unknown: hold") else { return Some(OnUnknown::Hold) };
    match at.text(found)? {
        "hold" => Some(OnUnknown::Hold),
        "pass" => Some(OnUnknown::Pass),
        _ => {
            found.error(&at.key, "expected `hold` or `pass`", at.example);
            None
        }
    }
}

pub(super) fn capacity(store: Option<StoreName>, with: &mut Fields<'_>, found: &mut Findings) -> Option<Act> {
    let percent = with.get(found, "at_least_percent", "at_least_percent: 100");
    let percent = percent.map_or(Some(100), |at| at.count(found, 1, 100));
    let unknown = unknown(with, found);
    Some(Act::GateCapacity { store, at_least_percent: percent?, unknown: unknown? })
}

pub(super) fn quota(with: &mut Fields<'_>, found: &mut Findings) -> Option<Act> {
    let headroom = match with.get(found, "headroom", "headroom: { DBInstances: 1 }") {
        None => Some(BTreeMap::from([(USUAL_HEADROOM.to_owned(), 1)])),
        Some(at) => {
            let entries = at.named(found);
            let mut whole = entries.is_some();
            let mut all = BTreeMap::new();
            for (name, at) in entries.into_iter().flatten() {
                if !QUOTA_NAMES.contains(&name) {
                    let (meant, known) = (did_you_mean(name, QUOTA_NAMES), QUOTA_NAMES.join(", "));
                    let problem = format!("`{}` is no quota that RDS tells{meant}; valid: {known}", clip(name));
                    found.error(&at.key, problem, at.example);
                    whole = false;
                }
                match at.count(found, 1, HEADROOM_MAX) {
                    Some(n) => _ = all.insert(name.to_owned(), n),
                    None => whole = false,
                }
            }
            if whole && all.is_empty() {
                found.error(&at.key, "names no quota", at.example);
                whole = false;
            }
            whole.then_some(all)
        }
    };
    let unknown = unknown(with, found);
    Some(Act::GateQuota { headroom: headroom?, unknown: unknown? })
}

/// A whole number, as large as bytes may be.
fn amount(at: &At<'_>, found: &mut Findings) -> Option<u64> {
    if let Value::Integer(n) = at.node.value
        && let Ok(n) = u64::try_from(n)
    {
        return Some(n);
    }
    found.error(&at.key, "expected a whole number, 0 or more", at.example);
    None
}

pub(super) fn replication(store: Option<StoreName>, with: &mut Fields<'_>, found: &mut Findings) -> Option<Act> {
    let lag = match with.get(found, "lag", "lag: 15s") {
        Some(at) => at.duration(found, Duration::ZERO, STEP_TIMEOUT_MAX).map(Some),
        None => Some(None),
    };
    let mut pending = |key: &'static str, example: &'static str| match with.get(found, key, example) {
        Some(at) => amount(&at, found),
        None => Some(0),
    };
    let bytes = pending("pending_bytes", "pending_bytes: 0");
    let operations = pending("pending_operations", "pending_operations: 0");
    let unknown = unknown(with, found);
    Some(Act::GateReplication {
        store,
        lag: lag?,
        pending_bytes: bytes?,
        pending_operations: operations?,
        unknown: unknown?,
    })
}
