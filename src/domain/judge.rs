//! From signals to an assessment: the rules, with their reasons.
//!
//! Invariants: silence alone never argues for moving; a stale or missing signal has no vote; every verdict has at
//! least one reason. It does not start anything: a person decides (arming is not in this version).

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::{
    application::Application,
    assessment::{Assessment, Exposure, Health, Verdict},
    id::{Region, SignalName, StoreName},
    sabotage::{Guard, is_off},
    seconds::to_seconds,
    signal::{Reading, SignalRole, SignalSource, SignalState, SignalWindow},
};

/// What is known when an application is judged.
#[derive(Debug)]
pub struct Known<'a> {
    pub application: &'a Application,
    pub windows: &'a BTreeMap<SignalName, SignalWindow>,
    /// Where each store's writer is, from the latest read that succeeded; absent where it is not known.
    pub writers: &'a BTreeMap<StoreName, Region>,
    /// Where the last run that succeeded has moved the application; absent where none has.
    pub moved_to: Option<&'a Region>,
}

/// One trigger's vote on the active Region.
enum Vote {
    Healthy,
    /// Ill, believed (often enough in a row) or only suspected.
    Ill {
        since: Timestamp,
        believed: bool,
    },
    None,
}

/// Judges the application at `now`.
pub fn assess(known: &Known<'_>, now: Timestamp) -> Assessment {
    let app = known.application;
    let states: BTreeMap<SignalName, SignalState> = app
        .signals
        .iter()
        .map(|s| (s.name.clone(), known.windows.get(&s.name).map_or_else(missing, |w| w.state(now, s.freshness))))
        .collect();
    let active = active_region(app, known.writers, known.moved_to);
    let exposure = exposures(known, now);

    let poll = poll(known, active.as_ref(), &states);
    let lag_trouble = lag_reasons(app, &exposure);
    let Poll { mut reasons, mut would_change, evidence_since, .. } = poll;
    let (health, verdict, why) =
        verdict(active.is_some(), poll.healthy, poll.ill, poll.suspected, !lag_trouble.is_empty());
    reasons.extend(why);
    reasons.extend(lag_trouble);
    reasons.extend(poll.silent.iter().map(|s| format!("no vote from {s}")));
    if would_change.is_empty() {
        would_change.push(match verdict {
            Verdict::Recommend => "a trigger that reads healthy again".to_owned(),
            Verdict::Nothing | Verdict::Notify => {
                "every fresh trigger of the active Region unhealthy, often enough in a row".to_owned()
            }
        });
    }
    let recommended_target = (verdict == Verdict::Recommend).then(|| target(app, active.as_ref(), &states)).flatten();
    Assessment {
        application: app.name.clone(),
        at: now,
        active_region: active,
        health,
        verdict,
        recommended_target,
        reasons,
        would_change,
        signals: states,
        exposure,
        evidence_since,
    }
}

/// What the triggers of the active Region say.
#[derive(Default)]
struct Poll {
    healthy: usize,
    ill: usize,
    suspected: usize,
    silent: Vec<String>,
    reasons: Vec<String>,
    would_change: Vec<String>,
    evidence_since: Option<Timestamp>,
}

fn poll(known: &Known<'_>, active: Option<&Region>, states: &BTreeMap<SignalName, SignalState>) -> Poll {
    let mut poll = Poll::default();
    let triggers = known.application.signals.iter().filter(|s| s.role == SignalRole::Trigger);
    for signal in triggers.filter(|s| active.is_some() && s.source.of() == active) {
        let state = &states[&signal.name];
        match vote(known.windows.get(&signal.name), state) {
            Vote::Healthy => poll.healthy += 1,
            Vote::Ill { since, believed } => {
                poll.evidence_since = Some(poll.evidence_since.map_or(since, |e| e.min(since)));
                if believed {
                    poll.ill += 1;
                    poll.reasons.push(format!("{}: unhealthy since {since:.0} ({})", signal.name, describe(state)));
                } else {
                    poll.suspected += 1;
                    let wanted = format!(
                        "{}: {} unhealthy readings in a row (seen unhealthy once or more)",
                        signal.name, signal.consecutive
                    );
                    poll.would_change.push(wanted);
                }
            }
            Vote::None if is_off(Guard::SilenceVotes) => poll.ill += 1,
            Vote::None => poll.silent.push(format!("{}: {}", signal.name, describe(state))),
        }
    }
    poll
}

/// The rules, in order. The counts are of triggers of the active Region with a fresh reading.
fn verdict(
    active_known: bool,
    healthy: usize,
    ill: usize,
    suspected: usize,
    lag_trouble: bool,
) -> (Health, Verdict, Option<String>) {
    let why = |text: &str| Some(text.to_owned());
    match (healthy, ill, suspected) {
        _ if !active_known => (Health::Unknown, Verdict::Notify, why("it is not known which Region is active")),
        (0, 0, 0) => (Health::Unknown, Verdict::Notify, why("no trigger has a fresh reading: silence is not health")),
        (h, 1.., _) if h == 0 || is_off(Guard::OneVote) => (Health::Down, Verdict::Recommend, None),
        (_, 1.., _) => {
            (Health::Impaired, Verdict::Notify, Some(format!("{healthy} other trigger(s) say that it is served")))
        }
        (_, 0, 1..) => {
            (Health::Degraded, Verdict::Nothing, why("a trigger has turned, not yet often enough to be believed"))
        }
        (_, 0, 0) if lag_trouble => (Health::Degraded, Verdict::Notify, None),
        (_, 0, 0) => (
            Health::Healthy,
            Verdict::Nothing,
            Some(format!("{healthy} trigger(s) say that it is served, none that it is not")),
        ),
    }
}

fn missing() -> SignalState {
    SignalState::Missing { why: "no reading yet".to_owned() }
}

/// The Region of the writers where all stores agree; for an application without stores, where it was
/// moved last, else the preferred one.
fn active_region(
    app: &Application,
    writers: &BTreeMap<StoreName, Region>,
    moved_to: Option<&Region>,
) -> Option<Region> {
    if app.stores.is_empty() {
        return moved_to.or(app.regions.first()).cloned();
    }
    let mut regions = app.stores.keys().map(|s| writers.get(s));
    let first = regions.next()??;
    regions.all(|r| r == Some(first)).then(|| first.clone())
}

fn vote(window: Option<&SignalWindow>, state: &SignalState) -> Vote {
    let SignalState::Fresh { sample } = state else {
        return Vote::None;
    };
    match (&sample.reading, window.and_then(SignalWindow::unhealthy)) {
        (Reading::Missing { .. } | Reading::Lag { .. }, _) => Vote::None,
        (_, Some((since, believed))) => Vote::Ill { since, believed },
        (Reading::Healthy { .. }, None) => Vote::Healthy,
        (Reading::Unhealthy { .. }, None) => Vote::Ill { since: sample.measured_at, believed: false },
    }
}

fn describe(state: &SignalState) -> String {
    let reading = |r: &Reading| match r {
        Reading::Healthy { detail } | Reading::Unhealthy { detail } => detail.clone(),
        Reading::Lag { lag } => format!("lag {} s", to_seconds(*lag)),
        Reading::Missing { why } => why.clone(),
    };
    match state {
        SignalState::Fresh { sample } => reading(&sample.reading),
        SignalState::Stale { sample, age } => {
            format!("stale for {:.0} s, last: {}", age.as_secs_f64(), reading(&sample.reading))
        }
        SignalState::Missing { why } => format!("missing ({why})"),
    }
}

fn exposures(known: &Known<'_>, now: Timestamp) -> BTreeMap<StoreName, Exposure> {
    let lag_signal = |store: &StoreName| {
        known
            .application
            .signals
            .iter()
            .find(|s| matches!(&s.source, SignalSource::AuroraLag { store: of } if of == store))
    };
    known
        .application
        .stores
        .keys()
        .map(|store| {
            let signal = lag_signal(store);
            let sample = signal.and_then(|s| known.windows.get(&s.name)).and_then(SignalWindow::last).and_then(|s| {
                match s.reading {
                    Reading::Lag { lag } => Some((s.measured_at, lag)),
                    Reading::Healthy { .. } | Reading::Unhealthy { .. } | Reading::Missing { .. } => None,
                }
            });
            let freshness = signal.map_or(Duration::ZERO, |s| s.freshness);
            (store.clone(), Exposure::from_lag(sample, now, freshness))
        })
        .collect()
}

/// At rest the objective is judged on the measured lag and its freshness (DESIGN.md 6).
fn lag_reasons(app: &Application, exposure: &BTreeMap<StoreName, Exposure>) -> Vec<String> {
    let rpo = app.objectives.rpo;
    exposure
        .iter()
        .filter_map(|(store, e)| match (e.fresh, e.measured_lag) {
            (true, Some(lag)) if lag > rpo => {
                Some(format!("store {store}: lag {} s is over the RPO of {} s", to_seconds(lag), to_seconds(rpo)))
            }
            (true, Some(_)) => None,
            _ => Some(format!(
                "store {store}: its lag is unknown ({})",
                e.sample_age.map_or_else(
                    || "never measured".to_owned(),
                    |a| format!("last measured {:.0} s ago", a.as_secs_f64())
                )
            )),
        })
        .collect()
}

/// The first other Region of which no fresh signal speaks ill.
fn target(app: &Application, active: Option<&Region>, states: &BTreeMap<SignalName, SignalState>) -> Option<Region> {
    let spoken_ill = |region: &Region| {
        app.signals.iter().any(|s| {
            s.source.of() == Some(region)
                && matches!(&states[&s.name], SignalState::Fresh { sample } if matches!(sample.reading, Reading::Unhealthy { .. }))
        })
    };
    app.regions.iter().find(|r| Some(*r) != active && !spoken_ill(r)).cloned()
}

#[cfg(test)]
mod tests;
