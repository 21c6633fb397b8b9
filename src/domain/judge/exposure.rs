//! What failing over now would lose, store by store, from every source of lag that is not proven wrong.
//!
//! Invariant: a position that was seen in the secondary is a bound for ever: whatever was written before it is there.
//! So of several truthful sources the one with the newest position bounds the loss. A metric that claims a position
//! which the heartbeat, read later, has not reached is contradicted, and bounds nothing (FAULTS.md 44).

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::{Known, Silence};
use crate::domain::{
    assessment::Exposure,
    id::{SignalName, StoreName},
    seconds::to_seconds,
    signal::{Reading, Sample, Signal, SignalRole, SignalSource, SignalState, SignalWindow},
};

/// By how much a metric's position may lie ahead of the heartbeat's before one of them is wrong: a beat each second,
/// a metric rounded to its period's average, and clocks that differ a little.
const POSITION_TOLERANCE: Duration = Duration::from_secs(5);

/// The instant up to which the secondary had everything, by one sample of lag.
fn position(sample: &Sample) -> Option<Timestamp> {
    match sample.reading {
        Reading::Lag { lag } => sample.measured_at.checked_sub(SignedDuration::try_from(lag).ok()?).ok(),
        Reading::Healthy { .. } | Reading::Unhealthy { .. } | Reading::Missing { .. } => None,
    }
}

/// The states of an application's signals, where those that the heartbeat proves wrong are contradicted.
pub(super) fn contradict(known: &Known<'_>, states: &mut BTreeMap<SignalName, SignalState>) {
    let signals = &known.application.signals;
    for beat in signals {
        let SignalSource::Heartbeat { store } = &beat.source else { continue };
        let Some(seen) = known.windows.get(&beat.name).and_then(SignalWindow::last) else { continue };
        let Some(reached) = position(seen) else { continue };
        let others = signals.iter().filter(|s| s.name != beat.name && s.source.store() == Some(store));
        for other in others {
            let Some(state) = states.get_mut(&other.name) else { continue };
            let SignalState::Fresh { sample } = state else { continue };
            let claimed = position(sample).filter(|_| sample.measured_at <= seen.taken_at);
            let ahead = claimed.map(|p| p.duration_since(reached));
            if ahead.is_some_and(|ahead| POSITION_TOLERANCE < ahead.unsigned_abs() && ahead.is_positive()) {
                let why = format!(
                    "it claims that the secondary had everything up to {}, and the heartbeat, read after that, had \
                     reached {} only",
                    claimed.map_or_else(String::new, |p| format!("{p:.0}")),
                    format_args!("{reached:.0}")
                );
                *state = SignalState::Contradicted { sample: sample.clone(), by: beat.name.clone(), why };
            }
        }
    }
}

/// Every store's exposure.
pub(super) fn all(
    known: &Known<'_>,
    states: &BTreeMap<SignalName, SignalState>,
    is_seen_by_many: bool,
    now: Timestamp,
) -> BTreeMap<StoreName, Exposure> {
    let exposure = |store: &StoreName| {
        let mut exposure = one(known, states, store, now);
        if let Some(silence) = known.silent.get(store).filter(|s| s.refused || is_seen_by_many) {
            end(&mut exposure, *silence, now);
        }
        (store.clone(), exposure)
    };
    known.application.stores.keys().map(exposure).collect()
}

/// The stores with many writers: nothing of them is promoted, and what has not arrived is not lost but late.
pub(super) fn replicas(
    known: &Known<'_>,
    states: &BTreeMap<SignalName, SignalState>,
    now: Timestamp,
) -> BTreeMap<StoreName, Exposure> {
    known.application.replicas.keys().map(|store| (store.clone(), one(known, states, store, now))).collect()
}

/// The old writer takes no writes since then, by its own word or by what a quorum of vantages sees too: the bound ends
/// there (DESIGN.md 6).
fn end(exposure: &mut Exposure, silence: Silence, now: Timestamp) {
    let Some(bound) = exposure.loss_bound else { return };
    let after = Duration::try_from(now.duration_since(silence.since)).unwrap_or_default();
    exposure.loss_bound = Some(bound.saturating_sub(after));
    let word = if silence.refused {
        "the old writer itself has refused writes"
    } else {
        "the old writer's heartbeat has failed, and a quorum of vantages sees it ill,"
    };
    exposure.basis = format!("last lag + time until {:.0}: {word} since", silence.since);
}

/// The worst store's exposure, by the source that acting alone trusts: the heartbeat where a store has one, whatever a
/// metric claims. (That a metric is contradicted is known from the heartbeat only: were the metric trusted without it,
/// a heartbeat that falls silent would argue for acting.)
pub(super) fn worst_trusted(known: &Known<'_>, now: Timestamp) -> Option<Exposure> {
    let trusted = known.application.stores.keys().map(|store| {
        let sources = sources(known, store);
        let beats: Vec<&Signal> =
            sources.iter().copied().filter(|s| matches!(s.source, SignalSource::Heartbeat { .. })).collect();
        newest(known, if beats.is_empty() { &sources } else { &beats }, now)
    });
    trusted.max_by_key(|e| e.loss_bound.unwrap_or(Duration::MAX))
}

fn sources<'a>(known: &Known<'a>, store: &StoreName) -> Vec<&'a Signal> {
    known.application.signals.iter().filter(|s| s.source.store() == Some(store)).collect()
}

/// The exposure by that source which has seen the newest position.
fn newest(known: &Known<'_>, sources: &[&Signal], now: Timestamp) -> Exposure {
    let exposures = sources.iter().map(|signal| {
        let last = known.windows.get(&signal.name).and_then(SignalWindow::last);
        let sample = last.and_then(|s| match s.reading {
            Reading::Lag { lag } => Some((s.measured_at, lag)),
            Reading::Healthy { .. } | Reading::Unhealthy { .. } | Reading::Missing { .. } => None,
        });
        let mut exposure = Exposure::from_lag(sample, now, signal.freshness);
        if sources.len() > 1 && exposure.measured_lag.is_some() {
            exposure.basis = format!("{} (by {})", exposure.basis, signal.name);
        }
        exposure
    });
    // Of equal bounds the first source in the file stands.
    let best = exposures.min_by_key(|e| (e.loss_bound.unwrap_or(Duration::MAX), !e.fresh));
    best.unwrap_or_else(|| Exposure::from_lag(None, now, Duration::ZERO))
}

fn one(known: &Known<'_>, states: &BTreeMap<SignalName, SignalState>, store: &StoreName, now: Timestamp) -> Exposure {
    let is_contradicted = |s: &&Signal| matches!(states.get(&s.name), Some(SignalState::Contradicted { .. }));
    let (contradicted, truthful): (Vec<&Signal>, Vec<&Signal>) =
        sources(known, store).into_iter().partition(is_contradicted);
    let mut best = newest(known, &truthful, now);
    if !contradicted.is_empty() {
        let names: Vec<&str> = contradicted.iter().map(|s| s.name.as_str()).collect();
        best.basis = format!("{}; {} is contradicted and counts for nothing", best.basis, names.join(", "));
    }
    best
}

/// At rest the objective is judged on the measured lag and its freshness (DESIGN.md 6). A store with many writers of
/// which every signal is informational is shown and not judged: an idle DynamoDB table has no lag to tell.
pub(super) fn troubles(
    known: &Known<'_>,
    exposure: &BTreeMap<StoreName, Exposure>,
    replicas: &BTreeMap<StoreName, Exposure>,
) -> Vec<String> {
    let app = known.application;
    let rpo = app.objectives.rpo;
    let trouble = |(store, e): (&StoreName, &Exposure)| match (e.fresh, e.measured_lag) {
        (true, Some(lag)) if lag > rpo => {
            Some(format!("store {store}: lag {} s is over the RPO of {} s", to_seconds(lag), to_seconds(rpo)))
        }
        (true, Some(_)) => None,
        _ => {
            let measured = e.sample_age.map_or_else(
                || "never measured".to_owned(),
                |age| format!("last measured {:.0} s ago", age.as_secs_f64()),
            );
            let why = known.behind.get(store).map_or_else(String::new, |says| format!("; {says}"));
            Some(format!("store {store}: its lag is unknown ({measured}{why})"))
        }
    };
    let is_judged = |store: &StoreName| {
        app.signals.iter().any(|s| s.role != SignalRole::Informational && s.source.store() == Some(store))
    };
    let judged = replicas.iter().filter(|(store, _)| is_judged(store));
    exposure.iter().chain(judged).filter_map(trouble).collect()
}
