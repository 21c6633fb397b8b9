//! What happens from outside during a rehearsal: faults at their times, and people, who look once a second.
//!
//! Invariant: the director outlives every process and holds no state of any. People see what the API would show them
//! and do nothing that the API would not let them.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    people::RESUMES_MAX,
    run::{Death, Live, Scene, ms},
    store::Around,
};
use crate::{
    domain::{
        deferred::Deferred,
        id::{RunId, StepId},
        run::{Phase, RunState, StepState},
    },
    engine::control::Control as _,
    ports::Clock as _,
    sim::{
        faults::{self, ProcessFault, StoreFault, Trouble},
        port::{Moment, WindowId},
        scenario::{Expectation, When},
        world::SimTime,
    },
};

/// How often people look, and the faults' clock ticks.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// How long a rehearsal goes on after everything is over, to see whether it stays so.
const AFTERMATH: Duration = Duration::from_secs(150);
/// Liveness (FAULTS.md 2): how long after the faults have healed a run must be at an end or wait for a person. More
/// than the longest step timeout of the shipped runbooks but for those that wait for people.
pub(super) const LIVENESS: Duration = Duration::from_secs(3_600);
/// How long after the healing something may still come of itself: longer than any signal's memory.
const QUIET: Duration = Duration::from_secs(600);
/// How long the daemon is given to know the application before the rehearsal begins.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);
/// How long a SIGTERM waits for the process (ECS's default stop timeout is 30 s).
pub(super) const GRACE: Duration = Duration::from_secs(25);

/// How the rehearsal was when it ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Over {
    /// Whether the faults had healed for long enough to ask for an end.
    pub(super) healed: bool,
    pub(super) recommended: bool,
}

#[derive(Debug, Default)]
pub(super) struct State {
    begun: BTreeSet<usize>,
    ended: BTreeSet<usize>,
    windows: BTreeMap<usize, WindowId>,
    /// Numbers of appends and of mutations around which the process is to die, by happening, with how long it then
    /// stays dead.
    appends: BTreeMap<usize, (u64, Duration)>,
    freezes: BTreeMap<usize, (u64, Duration)>,
    pub(super) acted: BTreeSet<usize>,
    pub(super) recommended_since: Option<SimTime>,
    pub(super) run: Option<RunId>,
    pub(super) asked_at: Option<SimTime>,
    pub(super) given_up: bool,
    pub(super) waiting: Option<(StepId, SimTime)>,
    pub(super) tried_own: bool,
    pub(super) answered: BTreeSet<(RunId, StepId)>,
    pub(super) resumed_at: Option<SimTime>,
    pub(super) resumes: u32,
    settled_since: Option<SimTime>,
}

/// See the module.
pub(super) struct Director<'a> {
    pub(super) scene: &'a Scene<'a>,
    pub(super) state: RefCell<State>,
    begun: Cell<bool>,
}

impl<'a> Director<'a> {
    pub(super) fn new(scene: &'a Scene<'a>) -> Self {
        Self { scene, state: RefCell::default(), begun: Cell::new(false) }
    }

    /// How long a process stays dead that died around its newest append.
    pub(super) fn restart_after_append(&self) -> Duration {
        let last = self.scene.store.appends().saturating_sub(1);
        dead_for(&self.state.borrow().appends, last)
    }

    /// How long a process stays dead that died around its newest mutation.
    pub(super) fn restart_after_call(&self) -> Duration {
        let last = self.scene.faults.mutations().saturating_sub(1);
        dead_for(&self.state.borrow().freezes, last)
    }

    pub(super) fn over(&self) -> Over {
        let state = self.state.borrow();
        let terminal = state.settled_since.is_some();
        let healed = self.scene.scenario.heals_at.is_some_and(|heals| terminal || heals + LIVENESS <= self.elapsed());
        Over { healed, recommended: state.recommended_since.is_some() }
    }

    pub(super) fn now(&self) -> SimTime {
        self.scene.world(|world| world.now)
    }

    /// Since the rehearsal's start.
    pub(super) fn elapsed(&self) -> Duration {
        Duration::from_millis(self.now().since_ms(self.scene.begins.get()))
    }

    /// Time passes, and things happen, while no process lives.
    pub(super) fn pass_without_process(&self, outage: Duration) {
        let until = self.now().plus_ms(ms(outage));
        loop {
            let next = self.now().plus_ms(ms(LOOK)).min(until);
            self.scene.world(|world| world.advance_to(next));
            if self.begun.get() {
                for index in self.due() {
                    self.happen(index, None);
                }
            }
            if until <= next {
                return;
            }
        }
    }

    /// Directs one process until it dies or the rehearsal is over.
    pub(super) async fn direct(&self, live: &Live) -> Death {
        if !self.begun.get() {
            self.open(live).await;
        }
        loop {
            for index in self.due() {
                match self.happen(index, Some(live)) {
                    Some(ProcessFault::Pause { lasts }) => self.pause(live, lasts).await,
                    Some(death) => return self.die(live, death).await,
                    None => {}
                }
            }
            self.people(live).await;
            live.world.now(|_| ());
            if self.is_over(live) {
                return Death::Over;
            }
            live.clock.sleep(LOOK).await;
        }
    }

    /// Lets the daemon learn the application, and begins the rehearsal.
    pub(super) async fn open(&self, live: &Live) {
        self.prelude(live).await;
        self.scene.begins.set(self.now());
        self.scene.begun_with.set((self.scene.store.appends(), self.scene.faults.mutations()));
        self.scene.before.replace(self.scene.stands());
        self.begun.set(true);
        self.scene.tell("people", format!("the rehearsal begins: {}", self.scene.scenario.description));
    }

    async fn die(&self, live: &Live, fault: ProcessFault) -> Death {
        match fault {
            ProcessFault::Stop { restart_after } => {
                live.engine.stop(GRACE).await;
                Death::Dies { why: "SIGTERM".to_owned(), restart_after }
            }
            ProcessFault::Kill { restart_after }
            | ProcessFault::KillAtAppend { restart_after, .. }
            | ProcessFault::KillAtCall { restart_after, .. } => {
                Death::Dies { why: "SIGKILL".to_owned(), restart_after }
            }
            ProcessFault::Pause { .. } => unreachable!("whoever is paused lives"),
        }
    }

    /// SIGSTOP and, after `lasts`, SIGCONT: no task is polled while the clock goes on.
    async fn pause(&self, live: &Live, lasts: Duration) {
        self.scene.meet(&[10]);
        tokio::time::advance(lasts).await;
        live.world.now(|_| ());
        self.scene.tell("process", "SIGCONT".to_owned());
    }

    /// All is well: the daemon learns the application.
    async fn prelude(&self, live: &Live) {
        let name = self.scene.application();
        let deadline = live.clock.boot() + PATIENCE;
        let known = || {
            live.engine
                .assessment(name)
                .is_some_and(|a| a.active_region.is_some() && a.exposure.values().all(|e| e.loss_bound.is_some()))
        };
        while !known() && live.clock.boot() < deadline {
            live.clock.sleep(LOOK).await;
        }
        self.moved_there(live, deadline).await;
        let warm = live.clock.boot() + self.scene.scenario.warm_up;
        self.arm(live, warm).await;
        live.clock.sleep(warm.saturating_sub(live.clock.boot())).await;
        live.world.now(|_| ());
    }

    /// Where the scenario starts elsewhere than the daemon believes, people have it moved there first: an application
    /// without stores is where its last run moved it.
    async fn moved_there(&self, live: &Live, deadline: Duration) {
        let name = self.scene.application();
        let Some(wanted) = &self.scene.scenario.active else { return };
        if live.engine.assessment(name).is_none_or(|a| a.active_region.as_ref() == Some(wanted)) {
            return;
        }
        let id = self.move_first(live, wanted).await;
        let moves = || id.as_ref().and_then(|id| self.run(live, id)).is_some_and(|run| !run.is_finished());
        while moves() && live.clock.boot() < deadline {
            live.clock.sleep(LOOK).await;
        }
    }

    pub(super) fn run(&self, live: &Live, id: &RunId) -> Option<std::sync::Arc<RunState>> {
        live.engine.history(self.scene.application())?.runs.get(id).cloned()
    }

    /// The happenings that begin or end now.
    pub(super) fn due(&self) -> Vec<usize> {
        let elapsed = self.elapsed();
        let state = self.state.borrow();
        let due = |(index, h): (usize, &faults::Happening)| {
            let begins = h.at <= elapsed && !state.begun.contains(&index);
            let ends = h.lasts.is_some_and(|lasts| h.at + lasts <= elapsed) && !state.ended.contains(&index);
            (begins || ends).then_some(index)
        };
        self.scene.scenario.happenings.iter().enumerate().filter_map(due).collect()
    }

    /// Begins or ends one happening; a fault of the process that is at once its death is given back.
    fn happen(&self, index: usize, live: Option<&Live>) -> Option<ProcessFault> {
        let happening = &self.scene.scenario.happenings[index];
        let begins = self.state.borrow_mut().begun.insert(index);
        if begins {
            self.scene.tell("fault", happening.what.describe());
            let death = self.begin(index, &happening.what, live);
            if death.is_some() {
                self.state.borrow_mut().ended.insert(index);
                return death;
            }
        }
        if happening.lasts.is_some_and(|lasts| happening.at + lasts <= self.elapsed()) {
            self.state.borrow_mut().ended.insert(index);
            self.scene.tell("fault", format!("over: {}", happening.what.describe()));
            self.end(index, &happening.what, live);
        }
        None
    }

    /// Notes that a happening begins; false where it has already.
    pub(super) fn begins(&self, index: usize) -> bool {
        self.state.borrow_mut().begun.insert(index)
    }

    /// Notes that a happening is over, where it is.
    pub(super) fn ends(&self, index: usize) -> bool {
        let happening = &self.scene.scenario.happenings[index];
        let is_over = happening.lasts.is_some_and(|lasts| happening.at + lasts <= self.elapsed());
        is_over && self.state.borrow_mut().ended.insert(index)
    }

    pub(super) fn begin(&self, index: usize, what: &Trouble, live: Option<&Live>) -> Option<ProcessFault> {
        let scene = self.scene;
        match what {
            Trouble::Calls { .. } | Trouble::CredentialsExpire => {
                if let Some(window) = scene.faults.begin(what) {
                    self.state.borrow_mut().windows.insert(index, window);
                }
            }
            Trouble::Store(StoreFault::Full) => scene.store.set_full(true),
            Trouble::Store(StoreFault::FailsAfterCommit) => scene.store.fail_after_next_commit(),
            Trouble::Store(StoreFault::Rots { record }) => {
                let index = usize::try_from(*record).unwrap_or(usize::MAX);
                if scene.store.rot(scene.application(), index) {
                    scene.court(|court| court.rotted(*record));
                }
            }
            Trouble::ClockJumps { seconds } => {
                scene.meet(&[11]);
                scene.jump(live, *seconds);
            }
            Trouble::Vantage { of, does } => scene.sights.begin(index, *of, *does),
            // Of a fleet, which does it itself.
            Trouble::Replica { .. } => {}
            Trouble::Process(fault) => return self.begin_process(index, fault, live.is_some()),
            world => scene.world(|w| faults::apply(w, world)),
        }
        None
    }

    fn begin_process(&self, index: usize, fault: &ProcessFault, lives: bool) -> Option<ProcessFault> {
        let scene = self.scene;
        match fault {
            ProcessFault::KillAtAppend { append, durable, restart_after } => {
                let around = if *durable { Around::DieAfter } else { Around::DieBefore };
                let number = scene.store.appends() + append;
                scene.store.arm(number, around);
                self.state.borrow_mut().appends.insert(index, (number, *restart_after));
                None
            }
            ProcessFault::KillAtCall { call, effect, restart_after } => {
                let moment = if *effect { Moment::After } else { Moment::Before };
                let number = scene.faults.mutations() + call;
                scene.faults.freeze_mutation(number, moment);
                self.state.borrow_mut().freezes.insert(index, (number, *restart_after));
                None
            }
            // A process that is dead already does not die again.
            now => {
                let numbers: &[u8] = if matches!(now, ProcessFault::Stop { .. }) { &[6] } else { &[4, 7] };
                if lives && !matches!(now, ProcessFault::Pause { .. }) {
                    scene.meet(numbers);
                }
                lives.then(|| now.clone())
            }
        }
    }

    pub(super) fn end(&self, index: usize, what: &Trouble, live: Option<&Live>) {
        let scene = self.scene;
        if let Some(window) = self.state.borrow_mut().windows.remove(&index) {
            scene.faults.close(window);
        }
        match what {
            Trouble::Store(StoreFault::Full) => scene.store.set_full(false),
            Trouble::Process(ProcessFault::KillAtAppend { .. }) => {
                if let Some((number, _)) = self.state.borrow_mut().appends.remove(&index) {
                    scene.store.disarm(number);
                }
            }
            Trouble::Process(ProcessFault::KillAtCall { .. }) => {
                if let Some((number, _)) = self.state.borrow_mut().freezes.remove(&index) {
                    scene.faults.unfreeze_mutation(number);
                }
            }
            Trouble::ClockJumps { seconds } => scene.jump(live, -*seconds),
            Trouble::Vantage { .. } => scene.sights.end(index),
            Trouble::Calls { .. }
            | Trouble::CredentialsExpire
            | Trouble::Store(_)
            | Trouble::Process(_)
            | Trouble::Replica { .. } => {}
            world => scene.world(|w| faults::heal(w, world)),
        }
    }

    pub(super) fn is_over(&self, live: &Live) -> bool {
        let elapsed = self.elapsed();
        let scenario = self.scene.scenario;
        if scenario.lasts <= elapsed {
            return true;
        }
        let mut state = self.state.borrow_mut();
        let happened = scenario
            .happenings
            .iter()
            .enumerate()
            .all(|(index, h)| state.begun.contains(&index) && (h.lasts.is_none() || state.ended.contains(&index)));
        let acted = state.acted.len() == scenario.people.acts.len();
        let run = state.run.as_ref().and_then(|id| self.run(live, id));
        let rests = match &run {
            Some(run) => run.is_finished() || self.is_left_to_itself(&state, run),
            None => self.is_asked_for_no_more(&state),
        };
        let works = scenario.expect.contains(&Expectation::RescueKept)
            && live
                .engine
                .history(self.scene.application())
                .is_some_and(|h| h.deferred.values().any(Deferred::is_open));
        if !(happened && acted && rests) || works {
            state.settled_since = None;
            return false;
        }
        let now = self.scene.world(|world| world.now);
        let since = *state.settled_since.get_or_insert(now);
        ms(AFTERMATH) <= now.since_ms(since)
    }
}

impl Director<'_> {
    /// Whether the faults have healed, and nobody will move the run that a person has stopped or that waits for one.
    fn is_left_to_itself(&self, state: &State, run: &RunState) -> bool {
        let people = &self.scene.scenario.people;
        let resumes = people.resumes_after.is_some() && state.resumes < RESUMES_MAX;
        let stopped = match &run.phase {
            Phase::Held { .. } => !resumes,
            Phase::Paused { .. } => true,
            Phase::Running | Phase::Aborting { .. } | Phase::Undoing { .. } | Phase::Finished { .. } => false,
        };
        stopped && !run.steps.values().any(StepState::is_in_flight) && self.has_healed_for(QUIET)
    }

    /// Whether the faults have healed, and nobody will ask for a run any more.
    fn is_asked_for_no_more(&self, state: &State) -> bool {
        let waits = match self.scene.scenario.people.ask.as_ref().map(|ask| ask.when) {
            None => false,
            Some(When::At(_)) => !state.given_up,
            Some(When::Recommended { .. }) => !state.given_up && state.recommended_since.is_some(),
        };
        !waits && self.has_healed_for(QUIET)
    }

    fn has_healed_for(&self, quiet: Duration) -> bool {
        self.scene.scenario.heals_at.is_some_and(|heals| heals + quiet <= self.elapsed())
    }
}

/// How long a process stays dead whose death was armed for this number.
fn dead_for(armed: &BTreeMap<usize, (u64, Duration)>, number: u64) -> Duration {
    armed.values().find(|(n, _)| *n == number).map_or(super::run::RESTART, |(_, dead)| *dead)
}
