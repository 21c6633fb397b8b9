//! What an undisturbed rehearsal consists of: its appends, its calls, and when each step began.
//!
//! Invariant: numbers and times are those that a disturbed rehearsal of the same seed has until its disturbance: the
//! n-th append of the one is the n-th of the other.

use std::time::Duration;

use super::{
    Rehearsed, Setup,
    run::{self, Scene},
};
use crate::{
    domain::{
        id::{Region, StepId},
        journal::{Event, Record},
        plan::Plan,
    },
    sim::{port::Sent, scenario::Scenario, world::SimTime},
};

/// See the module. Times count from the rehearsal's start.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    pub rehearsed: Rehearsed,
    /// Every append since the start, in order: the number that a death around it is armed with is its place.
    pub appends: Vec<Noted>,
    /// Every call since the start that may change something, in order.
    pub mutations: Vec<Noted>,
    /// How many calls that is where deaths are counted: one more for each endpoint more that a call was sent to.
    pub calls: u64,
    /// The steps of the run, in the order in which they began.
    pub steps: Vec<Began>,
    /// The plan of the run; `None` where there was no run.
    pub plan: Option<Plan>,
}

/// One append, or one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Noted {
    pub at: Duration,
    /// What was appended or called, for people; of a call, its operation.
    pub what: String,
    /// Where a call went to, where it says.
    pub region: Option<Region>,
}

/// The beginning of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Began {
    pub at: Duration,
    pub step: StepId,
}

/// Rehearses `scenario` as [`run::rehearse`] does, and says what it consisted of.
///
/// # Panics
/// As [`run::rehearse`].
pub(super) fn measure(setup: &Setup, scenario: &Scenario, seed: u64) -> Measured {
    let scene = run::scene(setup, scenario, seed, false);
    let rehearsed = scene.play();
    let records = records(&scene);
    let (appended, called) = scene.begun_with.get();
    let appends = records.iter().skip(usize::try_from(appended).unwrap_or(usize::MAX));
    let appends = appends.map(|r| Noted { at: elapsed(&scene, r), what: told(&r.events), region: None }).collect();
    let events =
        || records.iter().filter(|r| scene.begins.get() <= time(r)).flat_map(|r| r.events.iter().map(move |e| (r, e)));
    let plan = events().find_map(|(_, event)| match event {
        Event::RunStarted { plan, .. } => Some((**plan).clone()),
        _ => None,
    });
    let mut steps: Vec<Began> = Vec::new();
    for (record, event) in events() {
        if let Event::StepStarted { step, .. } | Event::Intent { step, .. } = event
            && !steps.iter().any(|began| began.step == *step)
        {
            steps.push(Began { at: elapsed(&scene, record), step: step.clone() });
        }
    }
    let calls = scene.faults.mutations() - called;
    Measured { appends, mutations: mutations(&scene), calls, steps, plan, rehearsed }
}

/// What left the process since the start.
fn mutations(scene: &Scene<'_>) -> Vec<Noted> {
    let begins = scene.begins.get();
    let noted = |sent: &Sent| Noted {
        at: Duration::from_millis(sent.at.since_ms(begins)),
        what: sent.operation.clone(),
        region: sent.arguments["region"].as_str().and_then(|region| region.parse().ok()),
    };
    scene.faults.with_sent(|sent| sent.iter().filter(|s| begins <= s.at).map(noted).collect())
}

/// # Panics
/// Where a record is none: nothing damages an undisturbed journal.
fn records(scene: &Scene<'_>) -> Vec<Record> {
    let stored = scene.store.stored(scene.application(), 0);
    let record = |bytes: &[u8]| serde_json::from_slice(bytes).unwrap_or_else(|e| panic!("a record that is none: {e}"));
    stored.iter().map(|s| record(&s.bytes)).collect()
}

fn time(record: &Record) -> SimTime {
    SimTime(u64::try_from(record.at.as_millisecond()).unwrap_or_default())
}

fn elapsed(scene: &Scene<'_>, record: &Record) -> Duration {
    Duration::from_millis(time(record).since_ms(scene.begins.get()))
}

/// `intent promote`, `step_done verify-writer + step_started probe-target`.
fn told(events: &[Event]) -> String {
    let one = |event: &Event| {
        let json = serde_json::to_value(event).unwrap_or_default();
        let text = |key: &str| json[key].as_str().unwrap_or_default();
        format!("{} {}", text("event"), text("step")).trim_end().to_owned()
    };
    events.iter().map(one).collect::<Vec<_>>().join(" + ")
}
