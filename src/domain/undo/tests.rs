use std::{sync::Arc, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::domain::{
    application::{ClusterEndpoint, Mechanism, Traffic},
    history::{
        History,
        tests::{at, plan, run_id, step},
    },
    id::{Digest, Region, RunbookName},
    journal::{Event, Request},
    plan::{OnFailure, Plan, Purpose, Retry},
};

/// Which routing controls are On.
type World = BTreeMap<String, bool>;

fn person() -> Subject {
    "ann".parse().expect("a subject")
}

fn controls(states: &[(&str, bool)]) -> World {
    states.iter().map(|(arn, on)| ((*arn).to_owned(), *on)).collect()
}

fn set(states: World) -> Mutation {
    let endpoint = ClusterEndpoint { region: "us-west-2".parse().expect("a Region"), url: "https://arc".to_owned() };
    Mutation::RoutingControls { endpoints: vec![endpoint], states }
}

/// What a generated step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Look,
    Flip,
    /// A look that is declared as the point of no return.
    Final,
}

/// A step of a generated runbook: what it does, on which earlier ones it waits, what follows its failure, and how
/// often its work and its undo go wrong before they succeed.
#[derive(Debug, Clone)]
struct Drawn {
    kind: Kind,
    needs: Vec<usize>,
    on_failure: OnFailure,
    fails: u8,
    undo_fails: u8,
}

fn drawn() -> impl Strategy<Value = Vec<Drawn>> {
    let kind = prop_oneof![4 => Just(Kind::Look), 6 => Just(Kind::Flip), 1 => Just(Kind::Final)];
    let on_failure = prop_oneof![Just(OnFailure::Hold), Just(OnFailure::Continue), Just(OnFailure::Undo)];
    let one = (kind, prop::collection::vec(0_usize..8, 0..3), on_failure, 0_u8..3, 0_u8..2);
    prop::collection::vec(one, 1..8).prop_map(|all| {
        let step = |(index, (kind, needs, on_failure, fails, undo_fails)): (usize, (_, Vec<usize>, _, _, _))| {
            let needs = needs.into_iter().filter(|need| *need < index).collect();
            Drawn { kind, needs, on_failure, fails, undo_fails }
        };
        all.into_iter().enumerate().map(step).collect()
    })
}

fn id(index: usize) -> StepId {
    step(&format!("s{index}"))
}

fn planned(drawn: &[Drawn]) -> Plan {
    let steps = drawn.iter().enumerate().map(|(index, d)| PlannedStep {
        id: id(index),
        title: String::new(),
        needs: d.needs.iter().map(|need| id(*need)).collect(),
        when: None,
        action: match d.kind {
            Kind::Look | Kind::Final => Action::Wait { duration: Duration::from_secs(1) },
            Kind::Flip => Action::DnsFlip {
                traffic: "api".parse().expect("a name"),
                to: "us-west-2".parse().expect("a Region"),
                calls: vec![set(controls(&[(&format!("a{index}"), false), (&format!("b{index}"), true)]))],
                standing: false,
                requires_writer: Vec::new(),
            },
        },
        timeout: Duration::from_secs(1),
        retry: Retry { attempts: 1, backoff: Duration::ZERO },
        on_failure: d.on_failure,
        no_return: d.kind == Kind::Final,
        towards: Default::default(),
    });
    Plan {
        purpose: Purpose::Switchover,
        runbook: "generated".parse::<RunbookName>().expect("a name"),
        steps: steps.collect(),
        ..plan(Purpose::Switchover)
    }
}

/// A run of a generated runbook in a world of routing controls, driven by its own `next` alone.
struct Play {
    history: History,
    world: World,
    before: World,
    drawn: Vec<Drawn>,
    second: i64,
    choices: Vec<u8>,
    events: usize,
}

impl Play {
    fn new(drawn: Vec<Drawn>, choices: Vec<u8>) -> Self {
        let plan = planned(&drawn);
        let request = Request {
            purpose: Purpose::Switchover,
            subject: person(),
            reason: "why".to_owned(),
            idempotency_key: None,
            body_digest: Digest::zero(),
            supersedes: None,
            armed: None,
        };
        let world: World = (0..drawn.len()).flat_map(|i| [(format!("a{i}"), true), (format!("b{i}"), false)]).collect();
        let mut play = Self {
            history: History::new(plan.application.clone()),
            before: world.clone(),
            world,
            drawn,
            second: 0,
            choices,
            events: 0,
        };
        play.say(Event::RunStarted { run: run_id(1), request, plan: Box::new(plan), evidence_since: None });
        play
    }

    fn run(&self) -> Arc<RunState> {
        Arc::clone(&self.history.runs[&run_id(1)])
    }

    #[track_caller]
    fn say(&mut self, event: Event) {
        self.try_say(event).expect("legal");
    }

    fn try_say(&mut self, event: Event) -> Result<(), String> {
        self.second += 1;
        self.events += 1;
        self.history = self.history.check(at(self.second), &[event]).map_err(|illegal| illegal.to_string())?;
        Ok(())
    }

    fn choose(&mut self, of: usize) -> usize {
        let drawn = self.choices.get(self.events % self.choices.len().max(1)).copied().unwrap_or(0);
        (usize::from(drawn) + self.events) % of
    }

    /// One event of one step; false where the run is over.
    fn step(&mut self) -> bool {
        let run = self.run();
        match run.next() {
            Next::Drive(ids) => {
                let id = ids[self.choose(ids.len())].clone();
                if run.goes_back(&id) { self.back(&run, &id) } else { self.forth(&run, &id) }
            }
            Next::Hold { step, code, reason, waits_for } => {
                self.say(Event::RunHeld { run: run_id(1), step: Some(step), code: code.to_owned(), reason, waits_for });
            }
            Next::Finish { result, reason } => {
                self.say(Event::RunFinished { run: run_id(1), result, reason, loss: None });
                return false;
            }
            Next::Wait if matches!(run.phase, Phase::Held { .. } | Phase::Paused { .. }) => {
                self.say(Event::RunResumed { run: run_id(1), subject: person(), reason: "go on".to_owned() });
            }
            Next::Wait => return false,
        }
        true
    }

    fn apply(&mut self, mutation: &Mutation) {
        if let Mutation::RoutingControls { states, .. } = mutation {
            self.world.extend(states.clone());
        }
    }

    fn forth(&mut self, run: &RunState, id: &StepId) {
        let (index, planned) = (self.index(id), run.plan.step(id).expect("of the plan").clone());
        let (run_id, step) = (run_id(1), id.clone());
        match &run.steps[id] {
            StepState::Pending if planned.action.mutations().is_empty() => {
                self.say(Event::StepStarted { run: run_id, step, attempt: run.next_attempt(id) });
            }
            StepState::Pending => {
                let mutation = planned.action.mutations().remove(0);
                let prior = run.wants_prior(id, 0).then(|| Prior::RoutingControls {
                    states: match &mutation {
                        Mutation::RoutingControls { states, .. } => {
                            states.keys().map(|arn| (arn.clone(), self.world[arn])).collect()
                        }
                        _ => World::new(),
                    },
                });
                let (attempt, guards) = (run.next_attempt(id), Vec::new());
                self.say(Event::Intent { run: run_id, step, attempt, call: 0, mutation, guards, prior });
            }
            StepState::Sending { attempt, mutation, .. } => {
                // It has its effect, or fails before it, or is never answered; with its effect or without.
                let outcome = match (self.drawn[index].fails, self.choose(3)) {
                    (0, _) => Outcome::Accepted { request_id: None, handle: None },
                    (_, 0) => Outcome::NotSent { reason: String::new() },
                    (_, _) => Outcome::Unknown { reason: String::new() },
                };
                if matches!(outcome, Outcome::Accepted { .. }) || (self.choose(2) == 0 && is_unknown(&outcome)) {
                    self.apply(mutation);
                }
                self.say(Event::Answered { run: run_id, step, attempt: *attempt, call: 0, outcome });
            }
            StepState::Running { .. } | StepState::Answered { .. } if 0 < self.drawn[index].fails => {
                self.drawn[index].fails -= 1;
                let (attempt, code, reason) = (1, "step-timeout".to_owned(), "so".to_owned());
                let (id, nothing_happened) = (step.clone(), false);
                self.say(Event::StepFailed { run: run_id.clone(), step: id, attempt, code, reason, nothing_happened });
                let run = self.run();
                let holds = match planned.on_failure {
                    OnFailure::Hold => !run.is_unwinding(),
                    OnFailure::Undo => run.unwind.cause.is_none(),
                    OnFailure::Continue => false,
                };
                if holds {
                    let (code, reason, waits_for) = ("step-timeout".to_owned(), String::new(), "ann".to_owned());
                    self.say(Event::RunHeld { run: run_id, step: Some(step), code, reason, waits_for });
                }
            }
            StepState::Running { .. } | StepState::Answered { .. } => {
                let (evidence, outputs) = (Vec::new(), BTreeMap::new());
                self.say(Event::StepDone { run: run_id, step, evidence, outputs });
            }
            other => panic!("{id} is driven, and is {other:?}"),
        }
    }

    fn back(&mut self, run: &RunState, id: &StepId) {
        let (index, planned) = (self.index(id), run.plan.step(id).expect("of the plan").clone());
        let (run_id, step) = (run_id(1), id.clone());
        match run.undo_state(id) {
            StepState::Pending => {
                let mutation = run.inverse_of(&planned).expect("it was seen").mutations().remove(0);
                let (attempt, guards) = (run.next_undo_attempt(id), Vec::new());
                self.say(Event::UndoIntended { run: run_id, step, attempt, call: 0, mutation, guards });
            }
            StepState::Sending { attempt, mutation, .. } => {
                let outcome = match self.drawn[index].undo_fails {
                    0 => Outcome::Accepted { request_id: None, handle: None },
                    _ => Outcome::Unknown { reason: String::new() },
                };
                if !is_unknown(&outcome) || self.choose(2) == 0 {
                    self.apply(mutation);
                }
                self.say(Event::UndoAnswered { run: run_id, step, attempt: *attempt, call: 0, outcome });
            }
            StepState::Answered { .. } if 0 < self.drawn[index].undo_fails => {
                self.drawn[index].undo_fails -= 1;
                let (attempt, code, reason) = (1, "outcome-unknown".to_owned(), "so".to_owned());
                self.say(Event::UndoFailed { run: run_id.clone(), step: step.clone(), attempt, code, reason });
                let (code, reason, waits_for) = ("outcome-unknown".to_owned(), String::new(), "ann".to_owned());
                self.say(Event::RunHeld { run: run_id, step: Some(step), code, reason, waits_for });
            }
            StepState::Answered { .. } => {
                self.say(Event::StepUndone { run: run_id, step, evidence: Vec::new() });
            }
            other => panic!("the undo of {id} is driven, and is {other:?}"),
        }
    }

    fn index(&self, id: &StepId) -> usize {
        id.as_str()[1..].parse().expect("a number")
    }

    /// Whether any effect could be intended now, one way or the other.
    fn may_intend(&self) -> bool {
        let run = self.run();
        run.plan.steps.iter().any(|planned| {
            let (id, step, guards) = (run_id(1), planned.id.clone(), Vec::new());
            let forth = planned.action.mutations().into_iter().next().map(|mutation| Event::Intent {
                run: id.clone(),
                step: step.clone(),
                attempt: 1,
                call: 0,
                mutation,
                guards: guards.clone(),
                prior: None,
            });
            let back = run.inverse_of(planned).ok().and_then(|action| action.mutations().into_iter().next());
            let back =
                back.map(|mutation| Event::UndoIntended { run: id, step, attempt: 1, call: 0, mutation, guards });
            forth.into_iter().chain(back).any(|event| self.history.check(at(self.second + 1), &[event]).is_ok())
        })
    }

    fn result(&self) -> Option<RunResult> {
        self.run().result()
    }
}

fn is_unknown(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Unknown { .. })
}

/// More than any generated run needs: 8 steps, each with its failures, holds and undo.
const EVENTS_MAX: usize = 400;

proptest! {
    #[test]
    fn any_acyclic_runbook_ends_whatever_fails(drawn in drawn(), choices in prop::collection::vec(any::<u8>(), 1..30)) {
        let mut play = Play::new(drawn, choices);
        while play.step() {
            prop_assert!(play.events < EVENTS_MAX, "it goes on for ever: {:?}", play.run().phase);
        }
        prop_assert!(play.result().is_some());
        if play.result() == Some(RunResult::Failed) {
            prop_assert_eq!(&play.world, &play.before, "a run that failed is undone");
        }
    }

    #[test]
    fn an_abort_before_the_point_of_no_return_restores_what_was(
        drawn in drawn(),
        choices in prop::collection::vec(any::<u8>(), 1..30),
        after in 0_usize..40,
    ) {
        let mut play = Play::new(drawn, choices);
        while play.events < after && play.step() {}
        let abort = Event::AbortRequested { run: run_id(1), subject: person(), reason: "no".to_owned() };
        let was_held_back = play.run().is_unwinding();
        let is_past = play.run().is_past_no_return();
        let aborted = play.try_say(abort);
        prop_assert_eq!(aborted.is_err(), is_past || play.result().is_some());
        while play.step() {
            prop_assert!(play.events < EVENTS_MAX, "it goes on for ever: {:?}", play.run().phase);
        }
        if aborted.is_ok() && !was_held_back {
            prop_assert_eq!(play.result(), Some(RunResult::Aborted));
            prop_assert_eq!(&play.world, &play.before);
            let made: Vec<StepId> = play.run().plan.steps.iter().map(|s| s.id.clone()).collect();
            prop_assert!(made.iter().all(|id| !play.run().may_have_effect(id) || play.run().undone().contains(&id)));
        }
    }

    #[test]
    fn once_a_pause_is_acknowledged_nothing_is_intended_before_somebody_resumes(
        drawn in drawn(),
        choices in prop::collection::vec(any::<u8>(), 1..30),
        after in 0_usize..40,
    ) {
        let mut play = Play::new(drawn, choices);
        while play.events < after && play.step() {}
        let pause = Event::RunPaused { run: run_id(1), subject: person(), reason: "wait".to_owned() };
        if !matches!(play.run().phase, Phase::Running) || play.try_say(pause).is_err() {
            return Ok(());
        }
        // What is in flight is settled, which may fail steps, and intends nothing.
        loop {
            prop_assert!(!play.may_intend());
            if play.run().next() == Next::Wait || !matches!(play.run().phase, Phase::Paused { .. }) {
                break;
            }
            play.step();
        }
    }

    #[test]
    fn what_comes_back_comes_back_in_reverse(drawn in drawn(), choices in prop::collection::vec(any::<u8>(), 1..30)) {
        let mut play = Play::new(drawn, choices);
        while play.step() {
            let run = play.run();
            for (id, state) in &run.unwind.steps {
                let begun = !matches!(state, StepState::Pending);
                let after = |other: &&StepId| run.plan.needs(other, id);
                prop_assert!(!begun || run.left_to_undo().into_iter().find(after).is_none(), "{} came too early", id);
            }
        }
    }
}

#[test]
fn an_inverse_is_what_was_seen_and_nothing_else() {
    let seen = |states| Prior::RoutingControls { states };
    let call = set(controls(&[("e", false), ("w", true)]));
    let back = inverse(&call, &seen(controls(&[("e", true), ("w", true)]))).expect("both were On");
    assert_eq!(back, set(controls(&[("e", true), ("w", true)])));
    let all_off = inverse(&call, &seen(controls(&[("e", false), ("w", false)]))).expect_err("never all off");
    assert!(all_off.contains("Off"), "{all_off}");
    assert!(inverse(&call, &seen(controls(&[("e", true)]))).is_err(), "not all of it was seen");
    let metric = Prior::Metric { value: 1.0, basis: "it stands".to_owned() };
    assert!(inverse(&call, &metric).is_err(), "another thing was seen");
}

fn record(value: &str, set_identifier: Option<&str>, weight: Option<u8>) -> RecordSet {
    RecordSet {
        name: "api.example.com".to_owned(),
        record_type: "A".to_owned(),
        ttl_seconds: Some(60),
        values: if value.is_empty() { Vec::new() } else { vec![value.to_owned()] },
        set_identifier: set_identifier.map(str::to_owned),
        failover: None,
        weight,
        health_check_id: None,
    }
}

#[test]
fn records_come_back_whole_or_not_at_all() {
    let upsert = |records| Mutation::UpsertRecords { hosted_zone_id: "Z".to_owned(), records, comment: "c".to_owned() };
    let call = upsert(vec![record("192.0.2.1", Some("e"), Some(0)), record("198.51.100.1", Some("w"), Some(100))]);
    let mut east = record("192.0.2.1", Some("e"), Some(70));
    (east.health_check_id, east.name) = (Some("hc".to_owned()), "API.example.com.".to_owned());
    let before = vec![record("198.51.100.1", Some("w"), Some(30)), east.clone()];
    let Ok(Mutation::UpsertRecords { records, .. }) = inverse(&call, &Prior::Records { records: before.clone() })
    else {
        panic!("both were there")
    };
    assert_eq!(records, [east, before[0].clone()]);
    let one = Prior::Records { records: vec![before[0].clone()] };
    assert!(inverse(&call, &one).expect_err("one is missing").contains("did not exist"));
    let alias = Prior::Records { records: vec![record("", Some("e"), None), before[0].clone()] };
    assert!(inverse(&call, &alias).expect_err("an alias").contains("by hand"));
}

#[test]
fn where_traffic_goes_back_to_is_told_by_the_configuration_or_not_at_all() {
    let region = |name: &str| name.parse::<Region>().expect("a Region");
    let (east, west) = (region("us-east-1"), region("us-west-2"));
    let regions = [east.clone(), west.clone()];
    let entry = |mechanism| Traffic {
        record_name: "api.example.com".to_owned(),
        record_type: "A".to_owned(),
        hosted_zone_id: "Z".to_owned(),
        servers: Vec::new(),
        answers: [(east.clone(), "192.0.2.1".to_owned()), (west.clone(), "198.51.100.1".to_owned())].into(),
        ttl: Duration::from_secs(60),
        mechanism,
    };
    let arc = entry(Mechanism::RoutingControls {
        endpoints: Vec::new(),
        controls: [(east.clone(), "e".to_owned()), (west.clone(), "w".to_owned())].into(),
        weighted: BTreeMap::new(),
    });
    let to = |states: &[(&str, bool)]| destinations(&arc, &regions, &set(controls(states)));
    assert_eq!(to(&[("e", true), ("w", false)]), Some([east.clone()].into()));
    assert_eq!(to(&[("e", true), ("w", true)]), Some(regions.clone().into()));
    assert_eq!(to(&[("e", false), ("x", true)]), None, "a control that nobody knows");
    let records = entry(Mechanism::Records { set_identifiers: BTreeMap::new() });
    let upsert = |records| Mutation::UpsertRecords { hosted_zone_id: "Z".to_owned(), records, comment: String::new() };
    let call = upsert(vec![record("192.0.2.1", None, None), record("198.51.100.1", None, Some(0))]);
    assert_eq!(destinations(&records, &regions, &call), Some([east].into()));
    assert_eq!(destinations(&records, &regions, &upsert(vec![record("203.0.113.9", None, None)])), None);
}

/// A run in which `failed` have failed and hold it, one after the other.
fn held_by(drawn: &[Drawn], failed: &[usize]) -> Play {
    let mut play = Play::new(drawn.to_vec(), vec![0]);
    for index in failed {
        let (code, reason) = ("step-timeout".to_owned(), "so".to_owned());
        play.say(Event::StepStarted { run: run_id(1), step: id(*index), attempt: 1 });
        let (run, step) = (run_id(1), id(*index));
        play.say(Event::StepFailed { run, step, attempt: 1, code, reason, nothing_happened: false });
        let (code, reason, waits_for) = ("step-timeout".to_owned(), String::new(), "ann".to_owned());
        play.say(Event::RunHeld { run: run_id(1), step: Some(id(*index)), code, reason, waits_for });
    }
    play
}

fn look() -> Drawn {
    Drawn { kind: Kind::Look, needs: Vec::new(), on_failure: OnFailure::Hold, fails: 0, undo_fails: 0 }
}

fn retried(play: &Play, index: usize) -> Event {
    let (digest, reason) = (play.run().plan_digest.clone(), "again".to_owned());
    Event::StepRetried { run: run_id(1), step: id(index), subject: person(), digest, reason }
}

fn passed(play: &Play, index: usize) -> Event {
    let (digest, reason) = (play.run().plan_digest.clone(), "by hand".to_owned());
    Event::StepPassed { run: run_id(1), step: id(index), subject: person(), digest, reason }
}

#[test]
fn a_run_that_two_steps_hold_goes_on_when_neither_does() {
    let last = Drawn { needs: vec![0, 1], ..look() };
    let mut play = held_by(&[look(), look(), last], &[0, 1]);
    play.say(retried(&play, 1));
    let run = play.run();
    assert!(matches!(&run.phase, Phase::Held { step: Some(step), .. } if *step == id(0)), "{:?}", run.phase);
    assert!(play.try_say(retried(&play, 1)).is_err(), "it has not failed any more");
    play.say(passed(&play, 0));
    assert_eq!(play.run().phase, Phase::Running);
    assert!(matches!(&play.run().steps[&id(0)], StepState::Skipped { reason, .. } if reason.contains("ann: by hand")));
    while play.step() {}
    assert_eq!(play.result(), Some(RunResult::Succeeded));
}

#[test]
fn a_person_acts_on_a_step_of_the_plan_that_they_were_shown_and_that_has_failed() {
    let mut play = held_by(&[look(), look()], &[0]);
    assert!(play.try_say(retried(&play, 1)).expect_err("it has not failed").contains("has not failed"));
    let mut stale = retried(&play, 0);
    if let Event::StepRetried { digest, .. } = &mut stale {
        *digest = Digest::zero();
    }
    assert!(play.try_say(stale).expect_err("another plan").contains("another plan"));
    assert!(play.try_say(retried(&play, 9)).expect_err("no such step").contains("no step"));
}

#[test]
fn what_safety_rests_on_is_not_passed_over() {
    use crate::domain::intervene::protects;
    let plan = plan(Purpose::Failover);
    let is_protected = |id: &str| protects(&plan, plan.step(&step(id)).expect("of the plan")).is_some();
    let told = ["gate", "approve", "promote", "verify", "flip", "probe"].map(|id| (id, is_protected(id)));
    let wanted = [("gate", true), ("approve", true), ("promote", true), ("verify", true), ("flip", false)];
    assert_eq!(told[..5], wanted);
    assert!(!is_protected("probe"), "nothing rests on the probe after the flip");
    let mut before = plan.clone();
    before.steps.swap(4, 5);
    before.steps[4].needs = [step("verify")].into();
    before.steps[5].needs = [step("probe")].into();
    let probe = before.step(&step("probe")).expect("of the plan");
    assert!(protects(&before, probe).is_some_and(|why| why.contains("`flip` rests on it")), "a flip needs it");
}

#[test]
fn the_point_of_no_return_is_the_promotion_or_what_the_runbook_declares() {
    for (purpose, at) in [(Purpose::Failover, "promote"), (Purpose::Switchover, "promote")] {
        assert_eq!(plan(purpose).no_return().map(|s| s.id.to_string()).as_deref(), Some(at), "{purpose}");
    }
    let flip = |no_return| Drawn {
        kind: if no_return { Kind::Final } else { Kind::Flip },
        needs: Vec::new(),
        on_failure: OnFailure::Hold,
        fails: 0,
        undo_fails: 0,
    };
    assert_eq!(planned(&[flip(false), flip(false)]).no_return(), None);
    assert_eq!(planned(&[flip(false), flip(true)]).no_return().map(|s| s.id.clone()), Some(id(1)));
    let undo = planned(&[flip(false)]).steps[0].undo();
    assert!(matches!(undo, Undo::Inverse(_)), "{undo:?}");
}
