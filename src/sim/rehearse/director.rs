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
    run::{Death, Live, Scene, ms},
    store::Around,
};
use crate::{
    domain::{
        action::Action,
        assessment::Verdict,
        id::{Digest, RunId, StepId, Subject},
        run::{Phase, RunState, StepState},
    },
    engine::control::{Act, Control as _, StartRun, Started, Wish},
    ports::Clock as _,
    sim::{
        faults::{self, ProcessFault, StoreFault, Trouble},
        port::{Moment, WindowId},
        scenario::{self, Approver, PersonAct, When},
        world::SimTime,
    },
};

/// How often people look, and the faults' clock ticks.
const LOOK: Duration = Duration::from_secs(1);
/// How long a rehearsal goes on after everything is over, to see whether it stays so.
const AFTERMATH: Duration = Duration::from_secs(150);
/// Liveness (FAULTS.md 2): how long after the faults have healed a run must be at an end or wait for a person. More
/// than the longest step timeout of the shipped runbooks but for those that wait for people.
const LIVENESS: Duration = Duration::from_secs(3_600);
/// How long the daemon is given to know the application before the rehearsal begins.
const PATIENCE: Duration = Duration::from_secs(600);
/// Between two attempts of a person who was refused, and between two resumes.
const AGAIN: Duration = Duration::from_secs(15);
/// How often a person resumes a held run before they give it up.
const RESUMES_MAX: u32 = 12;
/// How long a SIGTERM waits for the process (ECS's default stop timeout is 30 s).
const GRACE: Duration = Duration::from_secs(25);

/// How the rehearsal was when it ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Over {
    /// Whether the faults had healed for long enough to ask for an end.
    pub(super) healed: bool,
    pub(super) recommended: bool,
}

#[derive(Debug, Default)]
struct State {
    begun: BTreeSet<usize>,
    ended: BTreeSet<usize>,
    windows: BTreeMap<usize, WindowId>,
    /// Numbers of appends and of mutations around which the process is to die, by happening, with how long it then
    /// stays dead.
    appends: BTreeMap<usize, (u64, Duration)>,
    freezes: BTreeMap<usize, (u64, Duration)>,
    acted: BTreeSet<usize>,
    recommended_since: Option<SimTime>,
    run: Option<RunId>,
    asked_at: Option<SimTime>,
    given_up: bool,
    waiting: Option<(StepId, SimTime)>,
    tried_own: bool,
    answered: BTreeSet<(RunId, StepId)>,
    resumed_at: Option<SimTime>,
    resumes: u32,
    settled_since: Option<SimTime>,
}

/// See the module.
pub(super) struct Director<'a> {
    scene: &'a Scene<'a>,
    state: RefCell<State>,
    begun: Cell<bool>,
}

fn subject(name: &str) -> Subject {
    name.parse().unwrap_or_else(|e| unreachable!("a literal: {e}"))
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

    fn now(&self) -> SimTime {
        self.scene.world(|world| world.now)
    }

    /// Since the rehearsal's start.
    fn elapsed(&self) -> Duration {
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
            self.prelude(live).await;
            self.scene.begins.set(self.now());
            self.begun.set(true);
            self.scene.tell("people", format!("the rehearsal begins: {}", self.scene.scenario.description));
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
        live.clock.sleep(self.scene.scenario.warm_up).await;
        live.world.now(|_| ());
    }

    fn run(&self, live: &Live, id: &RunId) -> Option<std::sync::Arc<RunState>> {
        live.engine.history(self.scene.application())?.runs.get(id).cloned()
    }

    /// The happenings that begin or end now.
    fn due(&self) -> Vec<usize> {
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

    fn begin(&self, index: usize, what: &Trouble, live: Option<&Live>) -> Option<ProcessFault> {
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
                let numbers: &[u8] = if matches!(now, ProcessFault::Stop { .. }) { &[6] } else { &[7] };
                if lives && !matches!(now, ProcessFault::Pause { .. }) {
                    scene.meet(numbers);
                }
                lives.then(|| now.clone())
            }
        }
    }

    fn end(&self, index: usize, what: &Trouble, live: Option<&Live>) {
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
            Trouble::Calls { .. } | Trouble::CredentialsExpire | Trouble::Store(_) | Trouble::Process(_) => {}
            world => scene.world(|w| faults::heal(w, world)),
        }
    }

    /// What the people do at this look.
    async fn people(&self, live: &Live) {
        if self.state.borrow().recommended_since.is_none()
            && live.engine.assessment(self.scene.application()).is_some_and(|a| a.verdict == Verdict::Recommend)
        {
            self.state.borrow_mut().recommended_since = Some(self.now());
            self.scene.tell("people", "see that a failover is recommended".to_owned());
        }
        self.ask(live).await;
        let id = self.state.borrow().run.clone();
        if let Some(run) = id.and_then(|id| self.run(live, &id)) {
            self.approve(live, &run).await;
            self.resume(live, &run).await;
        }
        self.act(live).await;
    }

    async fn ask(&self, live: &Live) {
        let Some(ask) = &self.scene.scenario.people.ask else { return };
        let now = self.now();
        {
            let state = self.state.borrow();
            let due = match ask.when {
                When::At(at) => at <= self.elapsed(),
                When::Recommended { after } => {
                    state.recommended_since.is_some_and(|since| ms(after) <= now.since_ms(since))
                }
            };
            let lately = state.asked_at.is_some_and(|at| now.since_ms(at) < ms(AGAIN));
            if !due || state.run.is_some() || state.given_up || lately {
                return;
            }
        }
        self.state.borrow_mut().asked_at = Some(now);
        let mut request = self.request(wish(ask.wish), "the-one");
        request.target.clone_from(&ask.target);
        request.accept_data_loss = ask.accept_data_loss;
        match live.engine.start_run(request).await {
            Ok(Started::Run { id, .. } | Started::Again { id }) => {
                self.scene.tell("people", format!("asked for a {:?}: run {id}", ask.wish).to_lowercase());
                self.state.borrow_mut().run = Some(id);
            }
            Ok(Started::Planned { .. }) => {}
            Err(refusal) => {
                self.scene.tell("people", format!("were refused: {refusal}"));
                self.scene.court(|court| court.saw(refusal.code()));
                self.state.borrow_mut().given_up = !ask.repeats;
            }
        }
    }

    fn request(&self, wish: Wish, key: &str) -> StartRun {
        StartRun {
            application: self.scene.application().clone(),
            wish,
            target: None,
            reason: "a rehearsal".to_owned(),
            accept_data_loss: None,
            subject: subject("oncall"),
            idempotency_key: Some(key.to_owned()),
            body_digest: Digest::of(key.as_bytes()),
            dry_run: false,
        }
    }

    async fn approve(&self, live: &Live, run: &RunState) {
        let Some(step) = waiting_approval(run) else {
            self.state.borrow_mut().waiting = None;
            return;
        };
        let now = self.now();
        let since = {
            let mut state = self.state.borrow_mut();
            match &state.waiting {
                Some((waiting, since)) if waiting == step => *since,
                _ => {
                    state.waiting = Some((step.clone(), now));
                    now
                }
            }
        };
        let waited = Duration::from_millis(now.since_ms(since));
        let key = (run.id.clone(), step.clone());
        let answered =
            self.state.borrow().answered.contains(&key) && !run.approvals.get(step).is_none_or(Vec::is_empty);
        if answered {
            return;
        }
        let approved = match self.scene.scenario.people.approver {
            Approver::Approves { after } if after <= waited => self.answer(live, run, step, "second", true).await,
            Approver::Declines { after } if after <= waited => self.answer(live, run, step, "second", false).await,
            Approver::TriesOwnFirst { after } if after <= waited => {
                if !self.state.borrow().tried_own {
                    self.state.borrow_mut().tried_own = true;
                    self.answer(live, run, step, "oncall", true).await;
                    self.approve_another_plan(live, run, step).await;
                }
                self.answer(live, run, step, "second", true).await
            }
            Approver::Approves { .. }
            | Approver::Declines { .. }
            | Approver::TriesOwnFirst { .. }
            | Approver::Silent => false,
        };
        if approved {
            self.state.borrow_mut().answered.insert(key);
        }
    }

    /// Somebody approves what an old page showed them, which must be refused (FAULTS.md 72).
    async fn approve_another_plan(&self, live: &Live, run: &RunState, step: &StepId) {
        let act = Act::Approve { step: step.clone(), approved: true, digest: Digest::of(b"another plan") };
        if let Err(refusal) = live.engine.act(&run.id, act, &subject("third"), "looked at it").await {
            self.scene.tell("people", format!("third may not answer `{step}`: {refusal}"));
            self.scene.court(|court| court.saw(refusal.code()));
        }
    }

    /// One person's word; whether it was taken.
    async fn answer(&self, live: &Live, run: &RunState, step: &StepId, who: &str, approved: bool) -> bool {
        let act = Act::Approve { step: step.clone(), approved, digest: run.plan_digest.clone() };
        let taken = live.engine.act(&run.id, act, &subject(who), "looked at it").await;
        let word = if approved { "approves" } else { "declines" };
        match &taken {
            Ok(()) => self.scene.tell("people", format!("{who} {word} `{step}`")),
            Err(refusal) => {
                self.scene.tell("people", format!("{who} may not answer `{step}`: {refusal}"));
                self.scene.court(|court| court.saw(refusal.code()));
            }
        }
        taken.is_ok()
    }

    async fn resume(&self, live: &Live, run: &RunState) {
        let Some(after) = self.scene.scenario.people.resumes_after else { return };
        let now = self.now();
        let heals = self.scene.scenario.heals_at.unwrap_or_default();
        let lately = self.state.borrow().resumed_at.is_some_and(|at| now.since_ms(at) < ms(AGAIN));
        let held = match &run.phase {
            Phase::Held { .. } => true,
            Phase::Running | Phase::Paused { .. } | Phase::Aborting { .. } | Phase::Finished { .. } => false,
        };
        if !held || lately || self.elapsed() < heals + after || RESUMES_MAX <= self.state.borrow().resumes {
            return;
        }
        {
            let mut state = self.state.borrow_mut();
            state.resumed_at = Some(now);
            state.resumes += 1;
        }
        self.person(live, &run.id, Act::Resume).await;
    }

    async fn act(&self, live: &Live) {
        let elapsed = self.elapsed();
        for (index, (at, what)) in self.scene.scenario.people.acts.iter().enumerate() {
            if elapsed < *at || !self.state.borrow_mut().acted.insert(index) {
                continue;
            }
            let id = self.state.borrow().run.clone();
            match (what, id) {
                (PersonAct::AskAgain(again), _) => {
                    let request = self.request(wish(*again), "another");
                    if let Err(refusal) = live.engine.start_run(request).await {
                        self.scene.tell("people", format!("were refused: {refusal}"));
                        self.scene.court(|court| court.saw(refusal.code()));
                    }
                }
                (PersonAct::Pause, Some(id)) => self.person(live, &id, Act::Pause).await,
                (PersonAct::Resume, Some(id)) => self.person(live, &id, Act::Resume).await,
                (PersonAct::Abort, Some(id)) => self.person(live, &id, Act::Abort).await,
                (PersonAct::Pause | PersonAct::Resume | PersonAct::Abort, None) => {}
            }
        }
    }

    async fn person(&self, live: &Live, run: &RunId, act: Act) {
        let what = format!("{act:?}").to_lowercase();
        match live.engine.act(run, act, &subject("oncall"), "as rehearsed").await {
            Ok(()) => self.scene.tell("people", format!("oncall: {what}")),
            Err(refusal) => {
                self.scene.tell("people", format!("oncall: {what} was refused: {refusal}"));
                self.scene.court(|court| court.saw(refusal.code()));
            }
        }
    }

    fn is_over(&self, live: &Live) -> bool {
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
        let terminal = state
            .run
            .as_ref()
            .and_then(|id| live.engine.history(self.scene.application())?.runs.get(id).map(|r| r.is_finished()))
            .unwrap_or(false);
        if !(happened && acted && terminal) {
            state.settled_since = None;
            return false;
        }
        let now = self.scene.world(|world| world.now);
        let since = *state.settled_since.get_or_insert(now);
        ms(AFTERMATH) <= now.since_ms(since)
    }
}

/// How long a process stays dead whose death was armed for this number.
fn dead_for(armed: &BTreeMap<usize, (u64, Duration)>, number: u64) -> Duration {
    armed.values().find(|(n, _)| *n == number).map_or(super::run::RESTART, |(_, dead)| *dead)
}

fn wish(wish: scenario::Wish) -> Wish {
    match wish {
        scenario::Wish::Auto => Wish::Auto,
        scenario::Wish::Failover => Wish::Failover,
        scenario::Wish::Switchover => Wish::Switchover,
        scenario::Wish::Failback => Wish::Failback,
    }
}

/// The approval step that a person is asked for now.
fn waiting_approval(run: &RunState) -> Option<&StepId> {
    let waits = |id: &StepId| matches!(run.steps.get(id), Some(StepState::Running { .. }));
    run.plan.steps.iter().find(|s| matches!(s.action, Action::Approve { .. }) && waits(&s.id)).map(|s| &s.id)
}
