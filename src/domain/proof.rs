//! What was proved of an application, by which run and when, and whether that is recent enough to be relied upon.
//!
//! Invariants: only a run that succeeded proves anything, and only what it did: a step that was passed over, taken back or
//! left out proves nothing. Without a proof an application is not ready, however well it is; a proof wears off by itself
//! (FAULTS.md R18). Never proven is a state of its own, and no number of days.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::{
    action::{Action, EffectClass},
    application::Application,
    drill,
    id::{RunId, RunbookName},
    plan::{PlannedStep, Purpose},
    recovery,
    run::{Phase, RunResult, RunState, StepState},
};

/// Within how many days a proof must have come where the application says nothing: a drill each quarter, and ten days.
pub const PROVE_WITHIN: Duration = Duration::from_hours(100 * 24);

/// After this part of the time a proof is told to be wearing off.
const AMBER_FROM: f64 = 0.8;

/// What a run can prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Everything was looked at and nothing changed.
    Readiness,
    /// The traffic was moved.
    Traffic,
    /// The role of a database was moved without a loss.
    Switchover,
    /// A database was promoted by force.
    Failover,
    /// A fault on purpose was seen.
    Detection,
    /// The target served while the Region that it had taken over from was broken on purpose.
    Isolation,
}

impl Kind {
    pub const ALL: [Self; 6] =
        [Self::Readiness, Self::Traffic, Self::Switchover, Self::Failover, Self::Detection, Self::Isolation];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Readiness => "readiness",
            Self::Traffic => "traffic",
            Self::Switchover => "switchover",
            Self::Failover => "failover",
            Self::Detection => "detection",
            Self::Isolation => "isolation",
        }
    }
}

/// The newest run that proved something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    pub run: RunId,
    /// When the run ended.
    pub at: Timestamp,
}

/// What the runs of one application have proved: the newest of each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proofs {
    kinds: BTreeMap<Kind, Proof>,
    /// The newest success of each drill, by its runbook. As many as there ever were drills of other names.
    drills: BTreeMap<RunbookName, Proof>,
    /// The newest drill that ended, where it did not succeed, and what it was.
    failed: Option<(RunbookName, Proof)>,
}

impl Proofs {
    pub fn of(&self, kind: Kind) -> Option<&Proof> {
        self.kinds.get(&kind)
    }

    pub fn of_drill(&self, drill: &RunbookName) -> Option<&Proof> {
        self.drills.get(drill)
    }

    /// Takes a run in that is over.
    pub(super) fn ended(&mut self, run: &RunState) {
        let Phase::Finished { result, at, .. } = &run.phase else { return };
        let proof = Proof { run: run.id.clone(), at: *at };
        let is_drill = run.plan.purpose == Purpose::Drill;
        if !recovery::succeeded(run) {
            // Whom a real disaster has interrupted has not failed.
            if is_drill && *result != RunResult::Superseded {
                self.failed = Some((run.plan.runbook.clone(), proof));
            }
            return;
        }
        for kind in proved(run) {
            self.kinds.insert(kind, proof.clone());
        }
        if is_drill {
            self.drills.insert(run.plan.runbook.clone(), proof);
            self.failed = None;
        }
    }
}

/// What `run`, which has succeeded, has proved.
pub fn proved(run: &RunState) -> Vec<Kind> {
    let undone = run.undone();
    let is_done = |step: &&PlannedStep| {
        matches!(run.steps.get(&step.id), Some(StepState::Done { .. })) && !undone.contains(&&step.id)
    };
    let mut kinds: Vec<Kind> = run.plan.steps.iter().filter(is_done).filter_map(|step| kind_of(run, step)).collect();
    let looks_only = run.plan.steps.iter().all(|step| step.action.effect() == EffectClass::Read);
    if run.plan.purpose == Purpose::Drill && looks_only {
        kinds.push(Kind::Readiness);
    }
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

fn kind_of(run: &RunState, step: &PlannedStep) -> Option<Kind> {
    match &step.action {
        Action::DnsFlip { .. } | Action::DnsWeights(_) => Some(Kind::Traffic),
        Action::AuroraSwitchover { .. } => Some(Kind::Switchover),
        Action::AuroraFailover { .. } | Action::AuroraDetach { .. } => Some(Kind::Failover),
        // What is broken once it was left needs nobody to see it.
        Action::LambdaFault(fault) if !fault.mends => {
            let was_left = run.plan.steps.iter().any(|s| drill::moves(&s.action) && run.plan.needs(&step.id, &s.id));
            Some(if was_left { Kind::Isolation } else { Kind::Detection })
        }
        _ => None,
    }
}

/// Whether an application can be relied upon to be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Everything that it needs was proved, lately.
    Green,
    /// It was, and it wears off; or the newest drill or a scheduled one did not come about.
    Amber,
    /// A proof is older than it may be.
    Red,
    /// Something that it needs was never proved.
    NeverProven,
}

impl State {
    pub const ALL: [Self; 4] = [Self::Green, Self::Amber, Self::Red, Self::NeverProven];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Amber => "amber",
            Self::Red => "red",
            Self::NeverProven => "never_proven",
        }
    }
}

/// One thing that must be proved again and again.
#[derive(Debug, Clone, PartialEq)]
pub struct Needed {
    /// In words: `traffic`, `database`, or the name of a schedule.
    pub what: String,
    pub within: Duration,
    pub proof: Option<Proof>,
    pub state: State,
}

/// How ready an application is, with what makes it so.
#[derive(Debug, Clone, PartialEq)]
pub struct Readiness {
    pub state: State,
    pub needed: Vec<Needed>,
    /// What keeps it from being green, as sentences; empty where it is.
    pub reasons: Vec<String>,
}

/// How long ago `proof` was. A clock that was set back makes it no younger than new.
pub fn age(proof: &Proof, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(proof.at)).unwrap_or_default()
}

impl Readiness {
    /// How ready `app` is at `now`.
    pub fn of(app: &Application, history: &super::history::History, now: Timestamp) -> Self {
        let proofs = &history.proofs;
        let within = app.prove_within.unwrap_or(PROVE_WITHIN);
        let mut needed = Vec::new();
        let mut need = |what: String, within: Duration, proof: Option<&Proof>| {
            let state = state(proof, within, now);
            needed.push(Needed { what, within, proof: proof.cloned(), state });
        };
        if !app.traffic.is_empty() {
            need("traffic".to_owned(), within, proofs.of(Kind::Traffic));
        }
        if !app.stores.is_empty() {
            let moves = [Kind::Switchover, Kind::Failover];
            need("database".to_owned(), within, moves.iter().filter_map(|k| proofs.of(*k)).max_by_key(|p| p.at));
        }
        for schedule in &app.schedules {
            if let Some(within) = schedule.prove_within {
                need(format!("schedule {}", schedule.name), within, proofs.of_drill(&schedule.drill));
            }
        }
        let mut reasons: Vec<String> = needed.iter().filter_map(|needed| reason(needed, now)).collect();
        let mut state = needed.iter().map(|n| n.state).max().unwrap_or(State::NeverProven);
        let mut wears = |why: String| {
            state = state.max(State::Amber);
            reasons.push(why);
        };
        if let Some((drill, proof)) = &proofs.failed {
            wears(format!("the newest drill, {drill}, did not succeed: {}", proof.run));
        }
        for schedule in &app.schedules {
            let followed = history.schedules.get(&schedule.name);
            if let Some(missed) = followed.and_then(|f| f.missed.as_ref().filter(|m| m.occurrence == f.settled)) {
                wears(format!("{} of {} was missed: {}", schedule.name, missed.occurrence, missed.reason));
            }
        }
        Self { state, needed, reasons }
    }
}

fn state(proof: Option<&Proof>, within: Duration, now: Timestamp) -> State {
    let Some(age) = proof.map(|proof| age(proof, now)) else { return State::NeverProven };
    match age {
        age if within < age => State::Red,
        age if within.mul_f64(AMBER_FROM) < age => State::Amber,
        _ => State::Green,
    }
}

fn reason(needed: &Needed, now: Timestamp) -> Option<String> {
    /// Whole days, as people count them.
    fn days(d: Duration) -> u64 {
        d.as_secs() / 86_400
    }
    let (what, within) = (&needed.what, days(needed.within));
    match (needed.state, &needed.proof) {
        (State::Green, _) => None,
        (_, None) => Some(format!("{what}: never proved")),
        (_, Some(proof)) => {
            Some(format!("{what}: proved {} days ago, {within} days are allowed", days(age(proof, now))))
        }
    }
}

#[cfg(test)]
mod tests;
