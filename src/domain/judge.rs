//! From signals to an assessment: the rules, with their reasons.
//!
//! Invariants: silence alone never argues for moving; a stale or missing signal has no vote; every verdict has at
//! least one reason. It starts nothing: that is the engine's, on the verdict `start`.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::{
    application::Application,
    assessment::{Assessment, Health, Verdict},
    budget::{Exposed, RpoBudget, RpoWindow, RtoBudget},
    drill,
    forecast::Forecast,
    history::History,
    id::{Region, SignalName, StoreName, VantageName},
    overrides::OverrideKind,
    plan::Plan,
    policy::Mode,
    rules::{Finding, Rule},
    sabotage::{Guard, is_off},
    seconds::to_seconds,
    signal::{Reading, SignalState, SignalWindow},
    vantage::Observer,
};

mod alone;
mod exposure;
mod poll;

use alone::Found;
pub use alone::stands;
use poll::Poll;

/// Whether this daemon is the one that is cut off: asked before anything is believed of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// It reaches its own control points.
    Sure {
        says: String,
    },
    CutOff {
        why: String,
    },
    Unknown {
        why: String,
    },
}

/// What is known when an application is judged.
#[derive(Debug)]
pub struct Known<'a> {
    pub application: &'a Application,
    pub windows: &'a BTreeMap<SignalName, SignalWindow>,
    /// Where each store's writer is, from the latest read that succeeded; absent where it is not known.
    pub writers: &'a BTreeMap<StoreName, Region>,
    pub history: &'a History,
    /// From where this daemon looks.
    pub vantage: &'a VantageName,
    pub elsewhere: &'a BTreeMap<VantageName, Observer>,
    pub reach: Reach,
    /// What a failover from the active Region would do now, where it can be told.
    pub plan: Option<&'a Plan>,
    /// The stores whose writers have stopped taking beats.
    pub silent: &'a BTreeMap<StoreName, Silence>,
    /// What AWS says of the secondaries that are not in step: why a lag may be unknown.
    pub behind: &'a BTreeMap<StoreName, String>,
}

/// A writer that takes no beats any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    /// When the first beat that it did not take was answered or given up: what it acknowledged before is open.
    pub since: Timestamp,
    /// The server said itself that it takes no writes.
    pub refused: bool,
}

/// What is remembered from one judgement to the next. A restart forgets it, which is never less safe.
#[derive(Debug, Default)]
pub struct Memory {
    /// Since when, in boot time, the evidence for acting alone stands without a break.
    acting_since: Option<Duration>,
    lag_unknown_since: Option<Duration>,
    rpo: BTreeMap<StoreName, RpoWindow>,
    /// The forecast, as of so many records and for this direction.
    forecast: Option<(u64, Region, Region, Forecast)>,
}

/// Judges the application at `now`, which is `boot` on this machine.
pub fn assess(known: &Known<'_>, memory: &mut Memory, now: Timestamp, boot: Duration) -> Assessment {
    let app = known.application;
    let mut states: BTreeMap<SignalName, SignalState> = app
        .signals
        .iter()
        .map(|s| (s.name.clone(), known.windows.get(&s.name).map_or_else(missing, |w| w.state(now, s.freshness))))
        .collect();
    exposure::contradict(known, &mut states);
    let active = active_region(app, known);
    let witnesses = poll::witnesses(known, active.as_ref(), now);
    let is_seen_by_many = alone::quorum(known, &witnesses).is_met();
    let exposure = exposure::all(known, &states, is_seen_by_many, now);
    let replicas = exposure::replicas(known, &states, now);

    let poll = poll::poll(known, active.as_ref(), &states, now);
    let lag_trouble = exposure::troubles(known, &exposure, &replicas);
    let Poll { mut reasons, mut would_change, evidence_since, .. } = poll;
    let (health, verdict, why) =
        verdict(active.is_some(), poll.healthy, poll.ill, poll.suspected, !lag_trouble.is_empty());
    reasons.extend(why);
    reasons.extend(lag_trouble);
    reasons.extend(poll.silent.iter().map(|s| format!("no vote from {s}")));

    let armed_to = known.history.overrides.armed(now).and_then(|o| match &o.kind {
        OverrideKind::Arm { to, .. } => Some(to.clone()),
        OverrideKind::KillSwitch | OverrideKind::Acknowledge { .. } | OverrideKind::Waive { .. } => None,
    });
    let preferred = target(app, active.as_ref(), &states);
    let aim = armed_to.clone().or_else(|| preferred.clone());
    let worst = exposure::worst_trusted(known, now);
    let (ill, target) = (poll.ill, aim.as_ref());
    let found = Found { active: active.as_ref(), target, health, ill, witnesses: &witnesses, worst };
    let rules = alone::rules(known, &found, memory, now, boot);
    let lag_is_known = exposure.values().all(|e| e.fresh);
    let disarm = alone::disarm(known, &found, memory, lag_is_known, now, boot);
    let all_hold = rules.iter().all(Finding::is_met);
    let starts = all_hold && app.policy.mode == Mode::Automatic;
    let verdict = if starts { Verdict::Start } else { verdict };
    if would_change.is_empty() {
        would_change = changes(verdict, app.policy.mode, &rules);
    }
    let forecast = forecast(known, memory);
    let rto = evidence_since.map(|since| RtoBudget::of(app.objectives.rto, since, now, forecast.as_ref()));
    let recommended_target = match verdict {
        Verdict::Start => aim,
        Verdict::Recommend => preferred,
        Verdict::Nothing | Verdict::Notify => None,
    };
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
        rpo: rpo(app, exposure.iter().chain(&replicas), memory, boot),
        exposure,
        replicas,
        evidence_since,
        witnesses,
        rules,
        would_start: all_hold && app.policy.mode == Mode::Shadow,
        forecast,
        rto,
        disarm,
    }
}

/// What would change the verdict, where no trigger is on the edge.
fn changes(verdict: Verdict, mode: Mode, rules: &[Finding]) -> Vec<String> {
    match verdict {
        Verdict::Start => vec!["any rule that no longer holds".to_owned()],
        Verdict::Recommend if mode == Mode::Automatic => rules
            .iter()
            .filter(|f| !f.is_met())
            .filter_map(|f| f.satisfied_by.as_ref().map(|by| format!("to start alone: {by}")))
            .chain(["a trigger that reads healthy again".to_owned()])
            .collect(),
        Verdict::Recommend => vec!["a trigger that reads healthy again".to_owned()],
        Verdict::Nothing | Verdict::Notify => {
            vec!["every fresh trigger of the active Region unhealthy, often enough in a row".to_owned()]
        }
    }
}

/// Made anew only when a record was added or the direction is another one: it reads the runs of the past.
fn forecast(known: &Known<'_>, memory: &mut Memory) -> Option<Forecast> {
    let plan = known.plan?;
    let seq = known.history.tail.next_seq;
    let is_current =
        |(at, from, to, _): &&(u64, Region, Region, Forecast)| *at == seq && *from == plan.source && *to == plan.target;
    if let Some((.., forecast)) = memory.forecast.as_ref().filter(is_current) {
        return Some(forecast.clone());
    }
    let forecast = Forecast::of(plan, known.history.runs.values().map(AsRef::as_ref));
    memory.forecast = Some((seq, plan.source.clone(), plan.target.clone(), forecast.clone()));
    Some(forecast)
}

fn rpo<'a>(
    app: &Application,
    exposure: impl Iterator<Item = (&'a StoreName, &'a super::assessment::Exposure)>,
    memory: &mut Memory,
    boot: Duration,
) -> BTreeMap<StoreName, RpoBudget> {
    let policy = &app.policy;
    let budget = |(store, e): (&StoreName, &super::assessment::Exposure)| {
        let found = match e.measured_lag.filter(|_| e.fresh) {
            Some(lag) if lag <= app.objectives.rpo => Exposed::Within,
            Some(_) => Exposed::Over,
            None => Exposed::Unknown,
        };
        let window = memory.rpo.entry(store.clone()).or_insert_with(|| RpoWindow::new(policy.rpo_window));
        window.look(boot, found);
        (store.clone(), window.budget(policy.rpo_allowance))
    };
    exposure.map(budget).collect()
}

/// The rules of health, in order. The counts are of triggers of the active Region with a fresh reading.
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
fn active_region(app: &Application, known: &Known<'_>) -> Option<Region> {
    if app.stores.is_empty() {
        return moved_to(known.history).or(app.regions.first()).cloned();
    }
    let mut regions = app.stores.keys().map(|s| known.writers.get(s));
    let first = regions.next()??;
    regions.all(|r| r == Some(first)).then(|| first.clone())
}

/// Where the newest run that has moved the application has moved it.
fn moved_to(history: &History) -> Option<&Region> {
    let moved = history.runs.values().filter_map(|run| Some((run.started_at, drill::moved_to(run)?)));
    moved.chain(history.branches.said()).max_by_key(|(at, _)| *at).map(|(_, region)| region)
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
        SignalState::Contradicted { by, why, .. } => format!("contradicted by {by} ({why})"),
    }
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

/// The rules that stand in the way of acting alone.
pub fn unmet(rules: &[Finding]) -> impl Iterator<Item = (Rule, &str)> {
    rules.iter().filter(|f| !f.is_met()).map(|f| (f.rule, f.says.as_str()))
}

#[cfg(test)]
mod tests;
