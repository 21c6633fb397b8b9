//! One disaster from start to end: processes that live and die, people who ask and approve, and the oracle that looks
//! after every event.
//!
//! Invariant: whatever the seed does not fix has one order. Each process is a tokio runtime of its own in virtual
//! time, whose every task dies with it; world, journal and oracle outlive them all.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    Rehearsed, Setup, TraceLine,
    court::Court,
    director::{Director, Over},
    fleet::Fleet,
    stage,
    store::MemoryStore,
    vantages::{Sights, as_rehearsed},
    verdict,
};
use crate::{
    config::runbooks,
    domain::{
        application::{Application, Mechanism},
        assessment::Assessment,
        compile::compile,
        id::{ApplicationName, Digest, Region},
        journal::Record,
        plan::{Plan, Purpose},
        runbook::Runbook,
    },
    engine::{Engine, Parts, control::Control as _},
    ports::{Clock, Observer},
    sim::{
        port::{Beats, Faults, LiveWorld, SimClock, SimCloud, SimHeartbeats, SimProbes},
        scenario::Scenario,
        world::{SimTime, World},
    },
};

/// When every world begins, in Unix milliseconds: an instant in November 2026, the same for every seed.
const START: SimTime = SimTime(1_795_000_000_000);

/// How long the world has lived when the daemon starts, so that metrics have a past.
const PAST: Duration = Duration::from_secs(180);

/// How often a process may die before the rehearsal is given up: L7, finite actions per finite faults.
pub(super) const PROCESSES_MAX: u32 = 100;

/// Everything that outlives a process.
pub(super) struct Scene<'a> {
    pub(super) setup: &'a Setup,
    pub(super) scenario: &'a Scenario,
    pub(super) seed: u64,
    pub(super) world: Arc<Mutex<World>>,
    pub(super) court: Arc<Mutex<Court>>,
    pub(super) store: MemoryStore,
    pub(super) faults: Faults,
    /// The instant that the scenario's times count from.
    pub(super) begins: Cell<SimTime>,
    /// How many appends and mutations there were by then: what is armed by number counts from here.
    pub(super) begun_with: Cell<(u64, u64)>,
    /// What an undo is to restore, as it was by then.
    pub(super) before: RefCell<BTreeMap<String, String>>,
    /// By how much the machine's wall clock is ahead of the world's.
    skew_seconds: Cell<i64>,
    pub(super) tracing: bool,
    pub(super) trace: RefCell<Vec<TraceLine>>,
    drawn: Arc<AtomicU64>,
    beats: Beats,
    pub(super) sights: Sights,
}

/// One process at work.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) engine: Engine,
    pub(super) clock: Arc<SimClock>,
    pub(super) world: LiveWorld,
}

/// Why a process is no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Death {
    /// The rehearsal is over.
    Over,
    /// Started again after so long.
    Dies { why: String, restart_after: Duration },
}

/// How long the platform takes to start a process again that ended by itself. [INF] an ECS service on Fargate.
pub(super) const RESTART: Duration = Duration::from_secs(20);

/// Rehearses `scenario` with the generator seeded by `seed`.
///
/// # Panics
/// Where the setup cannot be staged; [`stage::world`] tells beforehand, with every reason.
pub fn rehearse(setup: &Setup, scenario: &Scenario, seed: u64, trace: bool) -> Rehearsed {
    scene(&as_rehearsed(setup, scenario), scenario, seed, trace).play()
}

/// Everything as it is before the first process.
pub(super) fn scene<'a>(setup: &'a Setup, scenario: &'a Scenario, seed: u64, trace: bool) -> Scene<'a> {
    let choices = stage::Choices { active: scenario.active.clone(), ..stage::Choices::default() };
    let (mut world, known) = stage::world_with(&setup.application, seed, START, &choices)
        .unwrap_or_else(|reasons| panic!("the setup cannot be staged: {reasons:?}"));
    stage::fenced::furnish(&mut world, &setup.application, &setup.runbooks);
    world.advance_to(START.plus_ms(ms(PAST)));
    let (home, away) =
        plans(setup).into_iter().partition::<Vec<_>, _>(|plan| Some(&plan.target) == active(setup, scenario));
    stage::furnish(&mut world, &setup.application.regions, &away, &home);
    stage::furnish_faults(&mut world, &drill_plans(setup));
    let store = MemoryStore::default();
    let court = Arc::new(Mutex::new(Court::new(known, store.clone(), setup.application.name.clone())));
    let told = Arc::clone(&court);
    Scene {
        setup,
        scenario,
        seed,
        world: Arc::new(Mutex::new(world)),
        court,
        store,
        faults: Faults::seeded(seed).telling(Arc::new(move |sent| lock(&told).leaves(sent))),
        begins: Cell::new(START),
        begun_with: Cell::new((0, 0)),
        before: RefCell::default(),
        skew_seconds: Cell::new(0),
        tracing: trace,
        trace: RefCell::default(),
        drawn: Arc::default(),
        beats: Beats::default(),
        sights: Sights::of(scenario),
    }
}

/// Where the application lives at the start.
fn active<'a>(setup: &'a Setup, scenario: &'a Scenario) -> Option<&'a Region> {
    scenario.active.as_ref().or(setup.application.regions.first())
}

/// Every plan of the application, of each runbook and in each direction in which it has one.
fn plans(setup: &Setup) -> Vec<Plan> {
    let app = &setup.application;
    let ways = app.regions.iter().flat_map(|source| app.regions.iter().map(move |target| (source, target)));
    let named = app.runbooks.iter().filter_map(|(purpose, name)| Some((*purpose, setup.runbooks.get(name)?)));
    let all = named.flat_map(|(purpose, runbook)| ways.clone().map(move |way| (purpose, runbook, way)));
    let plan = |(purpose, (runbook, digest), (source, target)): (Purpose, &(Runbook, Digest), (&Region, &Region))| {
        compile(app, runbook, purpose, source, target, None, &setup.config_digest, digest).ok()
    };
    all.filter_map(plan).collect()
}

/// The plans of the application's drills, from each Region in which it may live.
fn drill_plans(setup: &Setup) -> Vec<Plan> {
    let app = &setup.application;
    let ways = app.regions.iter().flat_map(|source| app.regions.iter().map(move |target| (source, target)));
    let named = app.drills.iter().filter_map(|name| setup.runbooks.get(name));
    let all = named.flat_map(|runbook| ways.clone().map(move |way| (runbook, way)));
    let plan = |((runbook, digest), (source, target)): (&(Runbook, Digest), (&Region, &Region))| {
        compile(app, runbook, Purpose::Drill, source, target, None, &setup.config_digest, digest).ok()
    };
    all.filter_map(plan).collect()
}

pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Scene<'_> {
    pub(super) fn play(&self) -> Rehearsed {
        let director = Director::new(self);
        if 1 < self.scenario.replicas {
            let (processes, keeps_dying) = incarnation(Fleet::new(self).play(&director));
            return self.judge(director.over(), processes, keeps_dying);
        }
        let mut processes = 0;
        let mut outage = Duration::ZERO;
        let refused = loop {
            processes += 1;
            director.pass_without_process(outage);
            match incarnation(self.live(&director)) {
                Death::Over => break None,
                Death::Dies { why, .. } if PROCESSES_MAX <= processes => break Some(why),
                Death::Dies { why, restart_after } => {
                    self.tell("process", format!("dies ({why}); started again after {} s", restart_after.as_secs()));
                    outage = restart_after;
                }
            }
        };
        let over = director.over();
        self.judge(over, processes, refused)
    }

    fn judge(&self, over: Over, processes: u32, keeps_dying: Option<String>) -> Rehearsed {
        let mut court = lock(&self.court);
        let world = lock(&self.world);
        court.finish(&world, over.healed);
        verdict::rehearsed(self, &world, &court, over, processes, keeps_dying)
    }

    /// One process, from its start to its death or to the end.
    async fn live(&self, director: &Director<'_>) -> Death {
        let (clock, world) = self.clock();
        let time = world.clone();
        let store = self.store.reopened(Arc::new(move || time.time()));
        self.faults.thaw();
        let life = async {
            let live = Live { engine: self.start(&clock, &world, store.clone()).await, clock, world };
            self.tell("process", "started".to_owned());
            if let Some(death) = self.refused_at_start(&live).await {
                return death;
            }
            tokio::select! {
                biased;
                reason = live.engine.failed() => Death::Dies { why: reason, restart_after: RESTART },
                death = director.direct(&live) => death,
            }
        };
        tokio::select! {
            biased;
            () = store.died() => Death::Dies { why: "SIGKILL around an append".to_owned(), restart_after: director.restart_after_append() },
            () = self.faults.frozen() => Death::Dies { why: "SIGKILL around a call".to_owned(), restart_after: director.restart_after_call() },
            death = life => death,
        }
    }

    /// Whether the journal was refused at the start: for good where it does not verify; where only the store failed,
    /// the process ends and is started again, as at any other append.
    async fn refused_at_start(&self, live: &Live) -> Option<Death> {
        if live.engine.history(self.application()).is_some() {
            return None;
        }
        let failed = tokio::select! {
            biased;
            why = live.engine.failed() => Some(why),
            () = std::future::ready(()) => None,
        };
        if let Some(why) = failed {
            return Some(Death::Dies { why, restart_after: RESTART });
        }
        let why = live.engine.readiness().reasons.join("; ");
        self.tell("process", format!("refuses the journal: {why}"));
        Some(Death::Over)
    }

    /// The clock of a new process, set right, and the world as it sees it.
    pub(super) fn clock(&self) -> (Arc<SimClock>, LiveWorld) {
        let now = lock(&self.world).now;
        let at = jiff::Timestamp::from_millisecond(i64::try_from(now.0).unwrap_or(i64::MAX));
        let clock = Arc::new(SimClock::starting_at(at.unwrap_or(jiff::Timestamp::MAX)));
        clock.jump(self.skew_seconds.get());
        let court = Arc::clone(&self.court);
        let world = LiveWorld::starting_at(Arc::clone(&self.world), Arc::clone(&clock) as Arc<dyn Clock>, now)
            .watched_by(Arc::new(move |world: &World| lock(&court).look(world)));
        (clock, world)
    }

    async fn start(&self, clock: &Arc<SimClock>, world: &LiveWorld, store: MemoryStore) -> Engine {
        self.engine(self.parts(clock, world, store, self.faults.clone()), clock, world).await
    }

    /// A process of `parts`, and what the observers elsewhere report to it.
    pub(super) async fn engine(&self, parts: Parts, clock: &Arc<SimClock>, world: &LiveWorld) -> Engine {
        let vantages = Arc::clone(&parts.vantages);
        let engine = Engine::start(parts).await;
        let clock = Arc::clone(clock) as Arc<dyn Clock>;
        self.sights.report_to(&vantages, &self.setup.application, &clock, world, &self.faults);
        engine
    }

    /// What a process is made of, where it is alone; its calls go the way of `faults`.
    pub(super) fn parts(&self, clock: &Arc<SimClock>, world: &LiveWorld, store: MemoryStore, faults: Faults) -> Parts {
        let (drawn, outside) = (Arc::clone(&self.drawn), self.sights.outside());
        let heartbeats = SimHeartbeats::new(world.clone(), Arc::clone(&self.beats)).beside(outside.clone());
        Parts {
            applications: vec![self.setup.application.clone()],
            runbooks: self.runbooks(),
            config_digest: self.setup.config_digest.clone(),
            store: Arc::new(store),
            cloud: Arc::new(SimCloud::new(world.clone(), faults)),
            probes: Arc::new(SimProbes::beside(world.clone(), outside.clone())),
            heartbeats: Arc::new(heartbeats.clone()),
            databases: Arc::new(heartbeats),
            clock: Arc::clone(clock) as Arc<dyn Clock>,
            observer: Arc::new(Nobody),
            vantages: self.sights.heard(),
            holder: "rehearsal".to_owned(),
            draw_id: Arc::new(move || u128::from(drawn.fetch_add(1, Ordering::Relaxed))),
            sharing: None,
            post: None,
            preflight: None,
        }
    }

    /// The operator's, and the shipped one that people ask for by name, where the operator has none of that name.
    fn runbooks(&self) -> runbooks::Catalogue {
        let mut all = self.setup.runbooks.clone();
        let asked = self.scenario.people.ask.as_ref().and_then(|ask| ask.runbook.clone());
        if let Some(name) = asked.filter(|name| !all.contains_key(name))
            && let Some(shipped) = runbooks::shipped().remove(&name)
        {
            all.insert(name, shipped);
        }
        all
    }

    pub(super) fn world<R>(&self, act: impl FnOnce(&mut World) -> R) -> R {
        act(&mut lock(&self.world))
    }

    /// What stands of traffic and writers, by name: routing controls, records, the writer of each store.
    pub(super) fn stands(&self) -> BTreeMap<String, String> {
        self.world(|world| stands(world, &self.setup.application))
    }

    pub(super) fn court<R>(&self, act: impl FnOnce(&mut Court) -> R) -> R {
        act(&mut lock(&self.court))
    }

    /// A line of the timeline, where one is kept.
    pub(super) fn tell(&self, who: &'static str, text: String) {
        if self.tracing {
            let at = lock(&self.world).now;
            self.trace.borrow_mut().push(TraceLine { at, who, text });
        }
    }

    /// Somebody sets the machine's wall clock ahead, or back where `seconds` is negative.
    pub(super) fn jump(&self, live: Option<&Live>, seconds: i64) {
        self.skew_seconds.set(self.skew_seconds.get() + seconds);
        if let Some(live) = live {
            live.clock.jump(seconds);
        }
    }

    /// Faults, by number, that were met where the port does not see it.
    pub(super) fn meet(&self, numbers: &[u8]) {
        self.faults.meet(numbers);
    }

    pub(super) fn application(&self) -> &ApplicationName {
        &self.setup.application.name
    }
}

/// What stands of the traffic and the writers of `application`, by name.
pub(super) fn stands(world: &World, application: &Application) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for store in application.stores.values() {
        let writer = world.aurora.writer_of(&store.global_cluster).map(|w| w.region.to_string());
        all.insert(format!("the writer of {}", store.global_cluster), writer.unwrap_or_default());
    }
    for (region, function, variables) in world.services.lambda.variables() {
        all.insert(format!("the variables of function {function} in {region}"), format!("{variables:?}"));
    }
    for traffic in application.traffic.values() {
        if let Mechanism::RoutingControls { controls, .. } = &traffic.mechanism {
            for arn in controls.values() {
                all.insert(arn.clone(), format!("{:?}", world.arc.is_set_on(arn)));
            }
        }
        if let Mechanism::StandbyObject { object, .. } = &traffic.mechanism {
            let is_there = world.s3.object(&object.bucket, &object.key).is_some();
            all.insert(object.to_string(), if is_there { "there" } else { "absent" }.to_owned());
        }
        let wanted = traffic.record_name.trim_end_matches('.');
        let zone = world.route53.zones().get(traffic.hosted_zone_id.trim_start_matches("/hostedzone/"));
        let sets = zone.into_iter().flat_map(|zone| zone.live.values());
        for set in sets.filter(|set| set.name.as_str().trim_end_matches('.').eq_ignore_ascii_case(wanted)) {
            let name = format!("{wanted} {} {:?}", set.rtype.as_str(), set.routing.set_identifier());
            all.insert(name, format!("{set:?}"));
        }
    }
    all
}

#[derive(Debug)]
struct Nobody;

impl Observer for Nobody {
    fn recorded(&self, _: &Record, _: f64) {}
    fn assessed(&self, _: &Assessment) {}
    fn called(&self, _: &str, _: &str, _: &str, _: &str, _: jiff::Timestamp) {}
}

/// Runs `play` as one process: in a runtime of its own, in virtual time, whose every task dies with it.
fn incarnation<R>(play: impl Future<Output = R>) -> R {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap_or_else(|e| panic!("a runtime of one thread needs nothing: {e}")).block_on(play)
}
