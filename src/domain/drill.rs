//! A drill: a planned, lossless run on the real thing that ends where it began.
//!
//! Invariants: a drill cannot express data loss (FAULTS.md 82, S13): what forces a promotion, what cannot be taken back
//! and what a person accepts to lose are refused when the runbook is read, when it is compiled and when the journal is
//! folded. Whatever it moves, a later step of the same plan moves back.
//!
//! It decides nothing about when a drill is held: schedules and evidence are not here.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use super::{
    action::{Action, EffectClass},
    history::History,
    id::{Region, StepId, StoreName, TrafficName},
    plan::{OnFailure, Plan, PlannedStep, Purpose, Towards},
    recovery,
    run::{Phase, RunState, StepState},
    runbook::{Act, Ahead, Runbook, Step},
};

mod breaking;

/// Why no drill may do what `action` does; `None`: it may.
pub fn forbids(action: &Action) -> Option<String> {
    match action {
        Action::AuroraFailover { .. } => {
            Some("aurora.failover may lose writes, and a drill must not: use aurora.switchover".to_owned())
        }
        Action::AwsCall { call } if !call.is_read() && call.undo.is_none() => {
            Some(format!("a drill takes back what it does, and {} has no `undo`", call.request.operation))
        }
        Action::AwsCall { .. } => None,
        other if other.effect() == EffectClass::Irreversible => {
            Some(format!("{} cannot be taken back, and a drill must be", other.kind()))
        }
        _ => None,
    }
}

/// Why `plan` could lose writes though it is a drill's; `None`: it cannot. What the fold of a journal refuses: the rest
/// of [`faults`] may grow with the language, and an old journal must fold.
pub fn loses(plan: &Plan) -> Option<&'static str> {
    if plan.purpose != Purpose::Drill {
        return None;
    }
    if plan.accepted_loss.is_some() {
        return Some("a drill loses nothing: no loss is accepted for one");
    }
    let forces =
        |step: &PlannedStep| matches!(step.action, Action::AuroraFailover { .. } | Action::AuroraDetach { .. });
    plan.steps.iter().any(forces).then_some("a drill forces no promotion")
}

/// The newest run that has broken its source on purpose and ended less than `within` before `now`.
pub fn aftermath(history: &History, now: Timestamp, within: Duration) -> Option<&RunState> {
    let breaks = |run: &RunState| {
        let faults = run.plan.steps.iter().filter(|s| matches!(&s.action, Action::LambdaFault(fault) if !fault.mends));
        faults.into_iter().any(|step| run.may_have_effect(&step.id))
    };
    let is_recent = |run: &RunState| match &run.phase {
        // A clock that was set back makes it no older.
        Phase::Finished { at, .. } => Duration::try_from(now.duration_since(*at)).map_or(true, |age| age < within),
        _ => false,
    };
    let ended = history.runs.values().map(AsRef::as_ref).filter(|run| is_recent(run) && breaks(run));
    ended.max_by_key(|run| run.started_at)
}

/// What is moved, by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Moved<T, S> {
    Store(S),
    Traffic(T),
}

fn moved(action: &Action) -> Option<(Moved<&TrafficName, &StoreName>, &Region)> {
    match action {
        Action::AuroraSwitchover { store, target, .. }
        | Action::AuroraFailover { store, target, .. }
        | Action::AuroraDetach { store, target, .. } => Some((Moved::Store(store), target.region())),
        Action::DnsFlip { traffic, to, .. } => Some((Moved::Traffic(traffic), to)),
        Action::DnsWeights(ramp) => Some((Moved::Traffic(&ramp.traffic), &ramp.to)),
        _ => None,
    }
}

/// Whether `action` moves a role or traffic.
pub(super) fn moves(action: &Action) -> bool {
    moved(action).is_some()
}

/// What keeps `plan` from being a drill, each as a sentence; of another purpose nothing.
pub fn faults(plan: &Plan) -> Vec<String> {
    if plan.purpose != Purpose::Drill {
        return Vec::new();
    }
    let mut faults = Vec::new();
    if let Some(why) = loses(plan) {
        faults.push(why.to_owned());
    }
    for step in &plan.steps {
        faults.extend(forbids(&step.action).map(|why| format!("step `{}`: {why}", step.id)));
        if let Some((what, to)) = moved(&step.action)
            && *to != plan.source
            && !plan.steps.iter().any(|other| leads_back(plan, step, other, &what))
        {
            faults.push(format!(
                "step `{}` moves to {to}, and nothing after it that is sure to come moves back to {}: a drill ends where \
                 it began",
                step.id, plan.source
            ));
        }
    }
    faults
}

/// Whether `other` moves `what` home after `step` has moved it away, whenever that has come about.
fn leads_back(plan: &Plan, step: &PlannedStep, other: &PlannedStep, what: &Moved<&TrafficName, &StoreName>) -> bool {
    let same = moved(&other.action).is_some_and(|(moved, to)| moved == *what && *to == plan.source);
    let firm = other.on_failure != OnFailure::Continue && (other.when.is_none() || other.when == step.when);
    same && firm && plan.needs(&other.id, &step.id)
}

/// The same of a runbook, before it is compiled for an application: the step, and what is wrong with it.
pub fn faults_of(runbook: &Runbook) -> Vec<(StepId, &'static str, String)> {
    let mut faults = breaking::faults_of(runbook);
    if !runbook.purposes.contains(&Purpose::Drill) {
        return faults;
    }
    let ahead = Ahead::of(&runbook.steps);
    for step in &runbook.steps {
        let loses = match &step.act {
            Act::AuroraFailover { .. } => {
                Some("aurora.failover may lose writes, and a drill must not: use aurora.switchover".to_owned())
            }
            Act::AuroraDetach { .. } => {
                Some("aurora.detach breaks up a global cluster, and a drill must not: use aurora.switchover".to_owned())
            }
            Act::AwsCall { template } if template.effect == EffectClass::Irreversible => {
                Some(format!("{} cannot be taken back, and a drill must be", template.call.operation))
            }
            Act::AwsCall { template } if template.effect != EffectClass::Read && template.undo.is_none() => {
                Some(format!("a drill takes back what it does, and {} has no `undo`", template.call.operation))
            }
            _ => None,
        };
        faults.extend(loses.map(|why| (step.id.clone(), "runbook-drill-unsafe", why)));
        // What moves traffic for other purposes too is a part of a drill, not one: its caller leads back.
        let is_whole = runbook.purposes.len() == 1;
        let stays = is_whole
            && is_move(&step.act)
            && step.towards == Towards::Target
            && !runbook.steps.iter().any(|other| brings_back(&ahead, step, other));
        if stays {
            let why = "moves away, and nothing after it that is sure to come moves back: call the same runbook with \
                       `towards: source`";
            faults.push((step.id.clone(), "runbook-drill-stays-away", why.to_owned()));
        }
    }
    faults
}

fn is_move(act: &Act) -> bool {
    matches!(act, Act::AuroraSwitchover { .. }) || via(act).is_some()
}

/// The traffic entry that `act` moves, where it moves traffic; `None` in it: each.
fn via(act: &Act) -> Option<Option<&TrafficName>> {
    match act {
        Act::DnsFlip { via, .. } | Act::DnsWeights { via, .. } => Some(via.as_ref()),
        _ => None,
    }
}

fn brings_back(ahead: &Ahead<'_>, step: &Step, other: &Step) -> bool {
    let same = match (&step.act, &other.act) {
        (Act::AuroraSwitchover { store: a }, Act::AuroraSwitchover { store: b }) => b.is_none() || a == b,
        (a, b) => via(a).zip(via(b)).is_some_and(|(a, b)| b.is_none() || a == b),
    };
    let firm = other.on_failure != OnFailure::Continue && (other.when.is_none() || other.when == step.when);
    same && firm && other.towards == Towards::Source && ahead.stands_before(&step.id, &other.id)
}

/// The steps of `runbook` that change something: a runbook that says `read_only` has none.
pub fn changes(runbook: &Runbook) -> BTreeSet<&StepId> {
    let reads = |act: &Act| match act {
        Act::AwsCall { template } => template.effect == EffectClass::Read,
        other => super::catalogue::entry(other.name()).is_some_and(|entry| entry.effect == EffectClass::Read),
    };
    runbook.steps.iter().filter(|step| !reads(&step.act)).map(|step| &step.id).collect()
}

/// Where `run` has moved the application: a drill to wherever it has sent its traffic last, any other run to its target
/// once it has succeeded; `None`: it has moved nothing, as a salvage never does.
pub fn moved_to(run: &RunState) -> Option<&Region> {
    if run.plan.purpose == Purpose::Salvage {
        return None;
    }
    if run.plan.purpose != Purpose::Drill {
        return recovery::succeeded(run).then_some(&run.plan.target);
    }
    let flips = run.plan.steps.iter().filter_map(|step| match (&step.action, run.steps.get(&step.id)) {
        (action, Some(StepState::Done { at, .. })) if !run.undone().contains(&&step.id) => match moved(action) {
            Some((Moved::Traffic(_), to)) => Some((*at, to)),
            Some((Moved::Store(_), _)) | None => None,
        },
        _ => None,
    });
    flips.max_by_key(|(at, _)| *at).map(|(_, to)| to)
}

/// Whether `run` leads to `target`: of a drill, every effect that may be on its way and the last change of roles that
/// it has begun.
pub fn leads_to(run: &RunState, target: &Region) -> bool {
    if run.plan.purpose != Purpose::Drill {
        return run.plan.target == *target;
    }
    let switches = run.plan.steps.iter().filter(|s| matches!(s.action, Action::AuroraSwitchover { .. }));
    let mut begun = switches
        .filter(|s| !matches!(run.steps.get(&s.id), None | Some(StepState::Pending | StepState::Skipped { .. })));
    let is_last = begun.next_back().is_none_or(|s| run.plan.ends(&s.id).1 == target);
    is_last && run.open_effects().iter().all(|id| run.plan.ends(id).1 == target)
}

mod budget;
mod home;
mod standing;

pub use budget::{Budget, Terms};
pub use home::{Homeward, way_there};
pub use standing::{FaultIn, WayOut, faults_in, left_in};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::runbook::Library;

    const MOVE: &str = "runbook: move\npurpose: switchover\ndescription: d\nsteps:\n\
                        \x20 - { id: fit, action: gate.target }\n\
                        \x20 - { id: switch, action: aurora.switchover, needs: [fit] }\n\
                        \x20 - { id: flip, action: dns.flip, needs: [switch] }\n\
                        \x20 - { id: report, action: notify, needs: [flip], with: { message: m } }\n";
    const BACK: &str = "runbook: back\npurpose: switchover\ndescription: d\nsteps:\n\
                        \x20 - { id: it, action: call, with: { runbook: move, towards: source } }\n";

    fn drill(steps: &str) -> Result<Runbook, Vec<String>> {
        let mut library = Library::default();
        library.add("move.yaml", MOVE);
        library.add("back.yaml", BACK);
        let text = format!("runbook: r\npurpose: drill\ndescription: d\nsteps:\n{steps}");
        let read = Runbook::parse_with("r.yaml", &text, &library).map(|(runbook, _)| runbook);
        read.map_err(|faults| faults.into_iter().map(|f| f.code.to_owned()).collect())
    }

    #[test]
    fn what_moves_away_is_followed_by_what_is_sure_to_move_it_home() {
        let there = "  - { id: there, action: call, with: { runbook: move } }\n";
        let home = |more: &str| {
            format!("{there}  - {{ id: home, action: call, with: {{ runbook: move, towards: source }}{more} }}\n")
        };
        assert!(drill(&home(", needs: [there]")).is_ok());
        for steps in [
            there.to_owned(),
            home(""),
            home(", needs: [there], when: \"purpose == 'drill'\""),
            format!("{there}  - {{ id: home, action: call, needs: [there], with: {{ runbook: move }} }}\n"),
        ] {
            let codes = drill(&steps).expect_err(&steps);
            assert!(codes.contains(&"runbook-drill-stays-away".to_owned()), "{steps}: {codes:?}");
        }
    }

    #[test]
    fn back_within_back_leads_there_and_a_call_waits_for_its_last_step() {
        let steps = "  - { id: there, action: call, with: { runbook: move } }\n\
                     \x20 - { id: home, action: call, needs: [there], with: { runbook: back } }\n\
                     \x20 - { id: again, action: call, needs: [home], with: { runbook: move } }\n\
                     \x20 - { id: end, action: call, needs: [again], with: { runbook: move, towards: source } }\n";
        let runbook = drill(steps).expect("there and back, twice");
        let towards = |id: &str| runbook.step(&id.parse().expect("an id")).expect(id).towards;
        assert_eq!(towards("there.switch"), Towards::Target);
        assert_eq!(towards("home.it.switch"), Towards::Source);
        let needs = &runbook.step(&"home.it.fit".parse().expect("an id")).expect("a step").needs;
        assert!(needs.contains(&"there.flip".parse().expect("an id")), "a report holds nobody up: {needs:?}");
        assert_eq!(Towards::Source.then(Towards::Source), Towards::Target);
    }

    #[test]
    fn what_says_that_it_changes_nothing_is_held_to_it() {
        let text = |step: &str| {
            format!("runbook: r\npurpose: drill\nread_only: true\ndescription: d\nsteps:\n  - {{ id: s, {step} }}\n")
        };
        assert!(Runbook::parse("r.yaml", &text("action: gate.target")).is_ok());
        let faults = Runbook::parse("r.yaml", &text("action: dns.flip")).expect_err("it moves traffic");
        assert!(faults.iter().any(|f| f.code == "runbook-not-read-only"), "{faults:?}");
    }
}
