//! Several replicas in one rehearsal: each the production engine behind a gate of its own, over one world, one journal
//! store and one table of leases, in one runtime in virtual time.
//!
//! Invariants: a replica's every life has a holder and a clock of its own; who was killed stands still behind its gate
//! for ever, and what it had sent goes on. What befalls whom and when is the scenario's; what is drawn is drawn by the
//! world and the port. People ask whoever leads; now and then one asks a follower, and is told who does.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt as _;

use super::{
    court::Court,
    director::{Director, GRACE, LOOK, PATIENCE},
    gate::{Cut, Gate, Keeper, Snare, Snares, Ways},
    gated::{self, LEASE},
    leases::MemoryLeases,
    run::{Live, PROCESSES_MAX, RESTART, Scene, ms},
};
use crate::{
    domain::{cloud::Mutation, id::ApplicationName},
    engine::control::Control as _,
    ports::Clock as _,
    sim::{
        faults::{Around, Deed, Happening, ProcessFault, Replica, ReplicaFault, Trouble},
        port::{Faults, LiveWorld, Sent},
        world::SimTime,
    },
};

/// How long people wait for an answer before they ask again.
const ANSWER: Duration = Duration::from_secs(30);

/// How often somebody asks a follower.
const ASTRAY: u64 = 41;

/// See the module.
pub(super) struct Fleet<'a> {
    scene: &'a Scene<'a>,
    leases: MemoryLeases,
    snares: Snares,
    members: RefCell<BTreeMap<u32, Member>>,
    starts: Cell<u32>,
    /// By happening, whose clock it has set.
    set_back: RefCell<BTreeMap<usize, u32>>,
    looks: Cell<u64>,
}

/// One replica, whatever becomes of its processes.
#[derive(Default)]
struct Member {
    ways: Ways,
    /// By how much the machine's wall clock is ahead.
    skew_seconds: i64,
    lives: u32,
    life: Option<Life>,
    /// When it is started again; `None` with no life: never.
    back_at: Option<SimTime>,
}

/// One process of a replica.
#[derive(Clone)]
struct Life {
    live: Live,
    gate: Gate,
    /// When it goes on that stands still; `None` with a frozen gate: when it is killed, or never.
    thaw_at: Option<SimTime>,
    /// It was told to stop, and has when this is set.
    stopping: Option<Arc<AtomicBool>>,
}

impl Life {
    fn leads(&self, application: &ApplicationName) -> bool {
        self.live.engine.leader(application).is_some_and(|leader| leader.here)
    }

    fn is_at_hand(&self) -> bool {
        !self.gate.is_frozen() && self.stopping.is_none()
    }
}

/// What a gate tells.
struct Porter {
    court: Arc<Mutex<Court>>,
    world: LiveWorld,
    faults: Faults,
    leases: MemoryLeases,
    application: ApplicationName,
}

impl Keeper for Porter {
    fn leaves(&self, mutation: &Mutation) {
        let sent = Sent::new(self.world.time(), mutation);
        self.court.lock().unwrap_or_else(PoisonError::into_inner).leaves(&sent);
    }

    fn is_deposed(&self, holder: &str) -> bool {
        self.leases.newest(&self.application).is_some_and(|lease| lease.holder != holder)
    }

    fn met(&self, numbers: &[u8]) {
        self.faults.meet(numbers);
    }
}

impl<'a> Fleet<'a> {
    pub(super) fn new(scene: &'a Scene<'a>) -> Self {
        Self {
            scene,
            leases: MemoryLeases::default(),
            snares: Snares::default(),
            members: RefCell::default(),
            starts: Cell::new(0),
            set_back: RefCell::default(),
            looks: Cell::new(0),
        }
    }

    /// The rehearsal, until it is over: how many processes there were, and why they kept dying where they did.
    pub(super) async fn play(self, director: &Director<'_>) -> (u32, Option<String>) {
        let (clock, world) = self.scene.clock();
        for number in 1..=self.scene.scenario.replicas {
            self.start(number, &world).await;
        }
        while self.leader().is_none() && clock.boot() < PATIENCE {
            clock.sleep(LOOK).await;
        }
        let Some((_, first)) = self.leader().or_else(|| self.any()) else { return (self.starts.get(), None) };
        director.open(&first.live).await;
        loop {
            if let Some(why) = self.tend(&world).await {
                return (self.starts.get(), Some(why));
            }
            for index in director.due() {
                self.happen(director, index);
            }
            if let Some((_, leader)) = self.leader() {
                // Who was asked may stand still before it has answered.
                tokio::select! {
                    biased;
                    () = director.people(&leader.live) => {}
                    () = clock.sleep(ANSWER) => self.scene.tell("people", "got no answer".to_owned()),
                }
            }
            self.ask_a_follower(director).await;
            world.now(|_| ());
            self.look(director);
            let seen = self.leader().or_else(|| self.any());
            let is_over = seen.is_some_and(|(_, life)| director.is_over(&life.live));
            if is_over || self.scene.scenario.lasts <= director.elapsed() {
                return (self.starts.get(), None);
            }
            clock.sleep(LOOK).await;
        }
    }

    /// A new process of this replica. `world` lets time pass until now first: a clock that began with what the world
    /// saw last would run behind those of the others (swarm, seed 58: a promotion was done before it was).
    async fn start(&self, number: u32, world: &LiveWorld) {
        world.now(|_| ());
        let (ways, skew, lives) = {
            let mut members = self.members.borrow_mut();
            let member = members.entry(number).or_default();
            member.lives += 1;
            member.back_at = None;
            (member.ways.clone(), member.skew_seconds, member.lives)
        };
        self.starts.set(self.starts.get() + 1);
        let (clock, world) = self.scene.clock();
        clock.jump(skew);
        let time = world.clone();
        let store = self.scene.store.reopened(Arc::new(move || time.time()));
        let faults = self.scene.faults.clone().untold();
        let porter = Porter {
            court: Arc::clone(&self.scene.court),
            world: world.clone(),
            faults: faults.clone(),
            leases: self.leases.clone(),
            application: self.scene.application().clone(),
        };
        let holder = format!("replica-{number}.{lives}");
        let gate = Gate::new(number, holder, ways, self.snares.clone(), Arc::new(porter));
        let parts = self.scene.parts(&clock, &world, store, faults);
        let parts = gated::around(&gate, parts, &clock, &self.leases);
        let engine = self.scene.engine(parts, &clock, &world).await;
        let life = Life { live: Live { engine, clock, world }, gate, thaw_at: None, stopping: None };
        if let Some(member) = self.members.borrow_mut().get_mut(&number) {
            member.life = Some(life);
        }
        self.scene.tell("process", format!("replica {number} is started"));
    }

    /// Who leads and answers, with its number.
    fn leader(&self) -> Option<(u32, Life)> {
        self.all().into_iter().find(|(_, life)| life.is_at_hand() && life.leads(self.scene.application()))
    }

    /// Somebody who answers.
    fn any(&self) -> Option<(u32, Life)> {
        self.all().into_iter().find(|(_, life)| life.is_at_hand())
    }

    fn all(&self) -> Vec<(u32, Life)> {
        let members = self.members.borrow();
        members.iter().filter_map(|(number, member)| Some((*number, member.life.clone()?))).collect()
    }

    /// Does something with one member; nothing where there is none of that number.
    fn with(&self, number: u32, act: impl FnOnce(&mut Member)) {
        if let Some(member) = self.members.borrow_mut().get_mut(&number) {
            act(member);
        }
    }

    /// Lets go on, starts again and buries whoever is due; why it is given up, where processes die again and again.
    async fn tend(&self, world: &LiveWorld) -> Option<String> {
        let now = self.scene.world(|world| world.now);
        for (index, number) in self.snares.struck() {
            self.spring(index, number, now);
        }
        for (number, life) in self.all() {
            if life.thaw_at.is_some_and(|at| at <= now) {
                self.scene.tell("process", format!("replica {number} goes on"));
                life.gate.thaw();
                self.with(number, |member| member.life.iter_mut().for_each(|life| life.thaw_at = None));
            }
            let failed = if life.is_at_hand() { life.live.engine.failed().now_or_never() } else { None };
            let stopped = life.stopping.as_ref().is_some_and(|stopped| stopped.load(Ordering::Relaxed));
            if let Some(why) = &failed {
                self.scene.tell("process", format!("replica {number} ends itself: {why}"));
                if PROCESSES_MAX <= self.starts.get() {
                    return failed;
                }
                self.bury(number, Some(now.plus_ms(ms(RESTART))));
            } else if stopped {
                let back_at = self.members.borrow().get(&number).and_then(|member| member.back_at);
                self.bury(number, back_at);
            }
        }
        let is_due = |member: &Member| member.life.is_none() && member.back_at.is_some_and(|at| at <= now);
        let due: Vec<u32> =
            self.members.borrow().iter().filter(|(_, member)| is_due(member)).map(|(number, _)| *number).collect();
        for number in due {
            self.start(number, world).await;
        }
        None
    }

    /// SIGKILL: whatever it still does ends at its gate.
    fn bury(&self, number: u32, back_at: Option<SimTime>) {
        self.with(number, |member| {
            if let Some(life) = member.life.take() {
                life.gate.freeze();
            }
            member.back_at = back_at;
        });
    }

    fn freeze(&self, number: u32, until: Option<SimTime>) {
        self.with(number, |member| {
            if let Some(life) = &mut member.life {
                life.gate.freeze();
                // Several may hold it: the last of them lets it go.
                life.thaw_at = life.thaw_at.max(until);
            }
        });
    }

    fn stop(&self, number: u32, back_at: Option<SimTime>) {
        let application = self.scene.application();
        self.with(number, |member| {
            member.back_at = back_at;
            let Some(life) = member.life.as_mut().filter(|life| life.stopping.is_none()) else { return };
            let works =
                life.live.engine.history(application).is_some_and(|h| h.runs.values().any(|r| !r.is_finished()));
            self.scene.meet(if works { &[6, 76] } else { &[6] });
            let stopped = Arc::new(AtomicBool::new(false));
            life.stopping = Some(Arc::clone(&stopped));
            let engine = life.live.engine.clone();
            tokio::spawn(async move {
                engine.stop(GRACE).await;
                stopped.store(true, Ordering::Relaxed);
            });
        });
    }

    /// Whom it befalls that is said to befall the leader; the first that lives, where nobody leads.
    fn number(&self, of: Replica) -> Option<u32> {
        match of {
            Replica::Number(number) => Some(number),
            Replica::Leader => self.leader().or_else(|| self.any()).map(|(number, _)| number),
        }
    }

    fn ends_at(&self, happening: &Happening) -> Option<SimTime> {
        happening.lasts.map(|lasts| self.scene.begins.get().plus_ms(ms(happening.at + lasts)))
    }

    /// Begins or ends one happening.
    fn happen(&self, director: &Director<'_>, index: usize) {
        let happening = &self.scene.scenario.happenings[index];
        if director.begins(index) {
            self.scene.tell("fault", happening.what.describe());
            match &happening.what {
                Trouble::Process(fault) => self.begin_process(index, fault),
                Trouble::ClockJumps { seconds } => {
                    let does = ReplicaFault::ClockJumps { seconds: *seconds };
                    self.begin_replica(index, Replica::Leader, does, None);
                }
                Trouble::Replica { of, does } => self.begin_replica(index, *of, *does, self.ends_at(happening)),
                what => {
                    director.begin(index, what, None);
                }
            }
        }
        if director.ends(index) {
            self.scene.tell("fault", format!("over: {}", happening.what.describe()));
            match &happening.what {
                Trouble::Process(_) => self.snares.take_back(index),
                Trouble::ClockJumps { seconds }
                | Trouble::Replica { does: ReplicaFault::ClockJumps { seconds }, .. } => self.set_back(index, *seconds),
                Trouble::Replica { .. } => {
                    self.snares.take_back(index);
                    self.members.borrow().values().for_each(|member| member.ways.mend(index));
                }
                what => director.end(index, what, None),
            }
        }
    }

    /// What befalls the one process of a daemon that is alone befalls whoever leads.
    fn begin_process(&self, index: usize, fault: &ProcessFault) {
        let now = self.scene.world(|world| world.now);
        let snare = |what, after, number: &u64| {
            let number = Some(self.snares.done(what) + number);
            self.snares.set(index, Snare { of: None, around: Around { what, after }, number });
        };
        let Some(number) = self.number(Replica::Leader) else { return };
        match fault {
            ProcessFault::KillAtAppend { append, durable, .. } => snare(Deed::Append, *durable, append),
            ProcessFault::KillAtCall { call, effect, .. } => snare(Deed::Call, *effect, call),
            ProcessFault::Kill { restart_after } => {
                self.scene.meet(&[4, 7]);
                self.bury(number, Some(now.plus_ms(ms(*restart_after))));
            }
            ProcessFault::Stop { restart_after } => self.stop(number, Some(now.plus_ms(ms(*restart_after)))),
            ProcessFault::Pause { lasts } => {
                self.scene.meet(&[10]);
                self.freeze(number, Some(now.plus_ms(ms(*lasts))));
            }
        }
    }

    fn begin_replica(&self, index: usize, of: Replica, does: ReplicaFault, until: Option<SimTime>) {
        let Some(number) = self.number(of) else { return };
        let cut = |cut| self.with(number, |member| member.ways.cut(index, cut));
        match does {
            ReplicaFault::Killed { around: Some(around) } | ReplicaFault::Paused { around: Some(around) } => {
                self.snares.set(index, Snare { of: Some(number), around, number: None });
            }
            ReplicaFault::Killed { around: None } => {
                self.scene.meet(does.numbers());
                self.bury(number, until);
            }
            ReplicaFault::Paused { around: None } => {
                self.scene.meet(does.numbers());
                self.freeze(number, until);
            }
            ReplicaFault::Stopped => self.stop(number, until),
            ReplicaFault::LosesRequests => cut(Cut::Requests),
            ReplicaFault::LosesAnswers => cut(Cut::Answers),
            ReplicaFault::CutFromAws => cut(Cut::Aws),
            ReplicaFault::Stalls => cut(Cut::Effects),
            ReplicaFault::ClockJumps { seconds } => {
                self.scene.meet(does.numbers());
                self.set_back.borrow_mut().insert(index, number);
                self.jump(number, seconds);
            }
        }
    }

    fn set_back(&self, index: usize, seconds: i64) {
        if let Some(number) = self.set_back.borrow_mut().remove(&index) {
            self.jump(number, -seconds);
        }
    }

    fn jump(&self, number: u32, seconds: i64) {
        self.with(number, |member| {
            member.skew_seconds += seconds;
            if let Some(life) = &member.life {
                life.live.clock.jump(seconds);
            }
        });
    }

    /// A snare has sprung, and the replica stands still in it.
    fn spring(&self, index: usize, number: u32, now: SimTime) {
        let happening = &self.scene.scenario.happenings[index];
        self.scene.tell("process", format!("replica {number} is struck: {}", happening.what.describe()));
        match &happening.what {
            Trouble::Process(
                ProcessFault::KillAtAppend { durable: done, restart_after, .. }
                | ProcessFault::KillAtCall { effect: done, restart_after, .. },
            ) => {
                let is_call = matches!(happening.what, Trouble::Process(ProcessFault::KillAtCall { .. }));
                self.scene.meet(match (is_call, done) {
                    (true, false) => &[2],
                    (true, true) => &[3],
                    (false, false) => &[1],
                    (false, true) => &[4],
                });
                self.bury(number, Some(now.plus_ms(ms(*restart_after))));
            }
            Trouble::Replica { does, .. } => {
                self.scene.meet(does.numbers());
                match does {
                    ReplicaFault::Killed { .. } => self.bury(number, self.ends_at(happening)),
                    _ => self.freeze(number, self.ends_at(happening)),
                }
            }
            _ => unreachable!("nothing else sets a snare"),
        }
    }

    /// Somebody asks who does not lead, and is told so.
    async fn ask_a_follower(&self, director: &Director<'_>) {
        self.looks.set(self.looks.get() + 1);
        if !self.looks.get().is_multiple_of(ASTRAY) {
            return;
        }
        let follows = |(_, life): &(u32, Life)| life.is_at_hand() && !life.leads(self.scene.application());
        if let Some((_, follower)) = self.all().into_iter().find(follows) {
            director.ask_astray(&follower.live).await;
        }
    }

    /// What of all is looked at once a second.
    fn look(&self, director: &Director<'_>) {
        let application = self.scene.application();
        let all = self.all();
        if 1 < all.iter().filter(|(_, life)| life.leads(application)).count() {
            self.scene.meet(&[20]);
        }
        let within = LEASE * 2;
        let healed = self.scene.scenario.heals_at.is_some_and(|heals| heals <= director.elapsed());
        if healed {
            let somebody = all.iter().any(|(_, life)| life.is_at_hand() && life.leads(application));
            let now = director.now();
            self.scene.court(|court| court.leads(now, somebody, ms(within)));
        }
    }
}
