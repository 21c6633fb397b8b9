//! The payments application in us-east-1 and us-west-2, and the production engine that watches over it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use failoverd::{
    config,
    domain::{
        application::{Application, AuroraStore, ClusterEndpoint, Endpoint, Mechanism, Objectives, Topic, Traffic},
        assessment::{Assessment, Verdict},
        id::{ApplicationName, Digest, Region, RunId, StepId},
        journal::{Event, Record},
        overrides::OverrideKind,
        plan::Purpose,
        run::{Phase, RunResult, RunState, StepState},
        runbook::Runbook,
        signal::{Signal, SignalRole, SignalSource},
    },
    engine::{
        Engine, Parts,
        control::{Act, AskOverride, Control, Refusal, StartRun, Started, Wish},
        vantages::Vantages,
    },
    ports::{Clock, Observer},
    sim::{
        port::{Beats, Faults, LiveWorld, SimClock, SimCloud, SimHeartbeats, SimProbes},
        rehearse::{stage, store::MemoryStore},
        world::{
            SimTime, World,
            clients::Ledger,
            route53::fixture::{
                CHECK_HTTP_USE1, CONTROL_USE1_ARN, CONTROL_USW2_ARN, PaymentsTraffic, RECORD_NAME, ZONE_ID,
                cluster_regions,
            },
            scenario,
        },
    },
};

use super::{Overseen, Oversight};

/// When every world begins.
const START: SimTime = SimTime(1_795_000_000_000);

/// A Region by its name.
pub(crate) fn region(name: &str) -> Region {
    name.parse().expect("a Region")
}

pub(crate) fn payments() -> ApplicationName {
    "payments".parse().expect("a name")
}

fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// A world, a journal and an application; engines come and go.
pub(crate) struct Scene {
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) journal: MemoryStore,
    pub(crate) application: Application,
    pub(crate) config_digest: Digest,
    pub(crate) runbooks: config::runbooks::Catalogue,
    oversight: Oversight,
    drawn: Arc<AtomicU64>,
    beats: Beats,
}

impl Scene {
    /// All is well, and has been for `warm_up` seconds.
    pub(crate) fn payments(seed: u64, warm_up: u64) -> Self {
        let mut world = scenario::payments(seed, START, &PaymentsTraffic::default());
        world.advance_to(START.plus_ms(warm_up * 1_000));
        Self {
            world: Arc::new(Mutex::new(world)),
            journal: MemoryStore::default(),
            oversight: Oversight::new(&application()),
            application: application(),
            config_digest: Digest::of(b"config"),
            runbooks: config::shipped(),
            drawn: Arc::default(),
            beats: Beats::default(),
        }
    }

    /// The application of a shipped configuration, named payments as all here are, in the world that a rehearsal gives
    /// it, from `start` on.
    pub(crate) fn staged(config: &str, seed: u64, start: jiff::Timestamp) -> Self {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(config);
        let settings = config::Settings::load(&path, &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults}"));
        let application = Application { name: payments(), ..settings.applications[0].clone() };
        let mut scene = Self {
            oversight: Oversight::new(&application),
            application,
            config_digest: settings.digest,
            runbooks: settings.runbooks,
            ..Self::payments(seed, 0)
        };
        scene.restage(seed, start);
        scene
    }

    /// Another world of the same application, in which all has been well for three minutes at `start`. What was between
    /// the last world and this one is not played: nothing happened in it.
    pub(crate) fn restage(&mut self, seed: u64, start: jiff::Timestamp) {
        let ms = |at: jiff::Timestamp| SimTime(u64::try_from(at.as_millisecond()).expect("after 1970"));
        let before = ms(start - jiff::SignedDuration::from_mins(3));
        let staged = stage::world(&self.application, seed, before);
        let (mut world, known) = staged.unwrap_or_else(|faults| panic!("{faults:?}"));
        world.advance_to(ms(start));
        self.oversight = Oversight::knowing(known, &payments()).going_on(&world, &self.journal);
        self.world = Arc::new(Mutex::new(world));
    }

    /// The same without databases, and every move by `runbook`: only traffic moves.
    pub(crate) fn stateless(seed: u64, warm_up: u64, runbook: &str) -> Self {
        let mut scene = Self::payments(seed, warm_up);
        let (runbook, _) = Runbook::parse("test.yaml", runbook).unwrap_or_else(|faults| panic!("{faults:?}"));
        let app = &mut scene.application;
        app.stores.clear();
        app.signals.retain(|signal| !matches!(signal.source, SignalSource::AuroraLag { .. }));
        app.endpoints.values_mut().for_each(|endpoint| endpoint.last_write_pointer = None);
        app.runbooks.values_mut().for_each(|name| name.clone_from(&runbook.name));
        scene.oversight = Oversight::new(app);
        scene.runbooks.insert(runbook.name.clone(), (runbook, Digest::of(b"runbook")));
        scene
    }

    /// The us-east-1 health check of Route 53 is a trigger too.
    pub(crate) fn with_health_check(mut self) -> Self {
        self.application.signals.push(Signal {
            name: "health-check-use1".parse().expect("valid"),
            role: SignalRole::Trigger,
            source: SignalSource::HealthCheck { health_check_id: CHECK_HTTP_USE1.to_owned(), of: region("us-east-1") },
            period: seconds(30),
            freshness: seconds(300),
            consecutive: 1,
        });
        self
    }

    /// The runbook of `text` stands for `purpose`.
    pub(crate) fn with_runbook(mut self, purpose: Purpose, text: &str) -> Self {
        let (runbook, _) = Runbook::parse("own.yaml", text).unwrap_or_else(|faults| panic!("{faults:#?}"));
        self.application.runbooks.insert(purpose, runbook.name.clone());
        self.runbooks.insert(runbook.name.clone(), (runbook, Digest::of(text.as_bytes())));
        self
    }

    /// The journal as the next process opens it; a death that was armed and has not come is still to come.
    pub(crate) fn reopened(&self) -> MemoryStore {
        // The oracle of these tests dates records itself, when it sees them.
        self.journal.reopened(Arc::new(SimTime::default))
    }

    /// Starts an engine in the present runtime, `outage` seconds after the world's present.
    pub(crate) async fn start(&self, outage: u64) -> Live {
        self.start_with(outage, self.reopened(), Faults::default()).await
    }

    pub(crate) async fn start_with(&self, outage: u64, journal: MemoryStore, faults: Faults) -> Live {
        self.start_as(outage, journal, faults, |parts| parts).await
    }

    /// The same, its parts arranged by `arrange`.
    pub(crate) async fn start_as(
        &self,
        outage: u64,
        journal: MemoryStore,
        faults: Faults,
        arrange: impl FnOnce(Parts) -> Parts,
    ) -> Live {
        let at = self.world.lock().expect("nobody panics while holding it").now.plus_ms(outage * 1_000);
        let at = jiff::Timestamp::from_millisecond(i64::try_from(at.0).expect("fits")).expect("in range");
        let clock: Arc<dyn Clock> = Arc::new(SimClock::starting_at(at));
        let world = LiveWorld::new(Arc::clone(&self.world), Arc::clone(&clock));
        let drawn = Arc::clone(&self.drawn);
        let cloud = SimCloud::new(world.clone(), faults.clone());
        let overseen = Overseen { oversight: self.oversight.clone(), world: world.clone(), store: journal, cloud };
        let vantages = Arc::new(Vantages::here());
        let wall = Wall { steady: Arc::clone(&clock), ahead: Arc::default() };
        let falls = Arc::default();
        let parts = Parts {
            applications: vec![self.application.clone()],
            runbooks: self.runbooks.clone(),
            config_digest: self.config_digest.clone(),
            store: Arc::new(overseen.clone()),
            cloud: Arc::new(overseen.clone()),
            probes: Arc::new(SimProbes::new(world.clone())),
            heartbeats: Arc::new(SimHeartbeats::new(world.clone(), Arc::clone(&self.beats))),
            databases: Arc::new(SimHeartbeats::new(world.clone(), Arc::clone(&self.beats))),
            clock: Arc::new(wall.clone()),
            observer: Arc::new(Onlooker(Arc::clone(&falls))),
            vantages: Arc::clone(&vantages),
            holder: "test".to_owned(),
            draw_id: Arc::new(move || u128::from(drawn.fetch_add(1, Ordering::Relaxed))),
            sharing: None,
            post: None,
            preflight: None,
        };
        Live { engine: Engine::start(arrange(parts)).await, clock, wall, world, faults, vantages, overseen, falls }
    }
}

/// The engine's clock: the world's, but for a wall time that jumps when it is told to.
#[derive(Debug, Clone)]
pub(crate) struct Wall {
    steady: Arc<dyn Clock>,
    ahead: Arc<AtomicI64>,
}

impl Wall {
    /// Sets wall time so many seconds ahead of the world's, or behind it.
    pub(crate) fn set_ahead(&self, seconds: i64) {
        self.ahead.store(seconds, Ordering::Relaxed);
    }
}

#[async_trait::async_trait]
impl Clock for Wall {
    fn boot(&self) -> Duration {
        self.steady.boot()
    }

    fn wall(&self) -> jiff::Timestamp {
        let ahead = jiff::SignedDuration::from_secs(self.ahead.load(Ordering::Relaxed));
        self.steady.wall().checked_add(ahead).expect("in range")
    }

    async fn sleep(&self, duration: Duration) {
        self.steady.sleep(duration).await;
    }
}

/// Sees nothing; panics at what it is told to panic at.
#[derive(Debug)]
struct Onlooker(Arc<Mutex<Option<Fall>>>);

/// Which task of the engine panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fall {
    /// The watcher, as it assesses.
    Watcher,
    /// The driver of a step, as it records an intent.
    Driver,
}

impl Onlooker {
    fn panics(&self, fall: Fall) {
        let told = *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        assert!(told != Some(fall), "told to panic");
    }
}

impl Observer for Onlooker {
    fn recorded(&self, record: &Record, _: f64) {
        if record.events.iter().any(|e| matches!(e, Event::Intent { .. })) {
            self.panics(Fall::Driver);
        }
    }

    fn assessed(&self, _: &Assessment) {
        self.panics(Fall::Watcher);
    }

    fn called(&self, _: &str, _: &str, _: &str, _: &str, _: jiff::Timestamp) {}
}

fn probe(name: &str, address: &str, of: &str) -> Signal {
    Signal {
        name: name.parse().expect("valid"),
        role: SignalRole::Trigger,
        source: SignalSource::HttpProbe {
            url: format!("http://{address}:8080/healthz"),
            of: region(of),
            timeout: seconds(2),
        },
        period: seconds(5),
        freshness: seconds(30),
        consecutive: 3,
    }
}

pub(crate) fn application() -> Application {
    let (east, west) = (region("us-east-1"), region("us-west-2"));
    let store = "main".parse().expect("valid");
    let arn = |text: &str| text.parse().expect("valid");
    let clusters = BTreeMap::from([
        (east.clone(), arn("arn:aws:rds:us-east-1:123456789012:cluster:payments-use1")),
        (west.clone(), arn("arn:aws:rds:us-west-2:123456789012:cluster:payments-usw2")),
    ]);
    let endpoint = |address: &str| Endpoint {
        health_url: format!("http://{address}:8080/healthz"),
        last_write_pointer: Some("/last_write_at".to_owned()),
    };
    let topic = |region: &Region| Topic {
        region: region.clone(),
        arn: format!("arn:aws:sns:{region}:123456789012:payments-alerts"),
    };
    let lag = Signal {
        name: "lag".parse().expect("valid"),
        role: SignalRole::Gate,
        source: SignalSource::AuroraLag { store: "main".parse().expect("valid") },
        period: seconds(30),
        freshness: seconds(300),
        consecutive: 1,
    };
    let runbook = |name: &str| name.parse().expect("valid");
    Application {
        name: payments(),
        regions: vec![east.clone(), west.clone()],
        objectives: Objectives { rto: seconds(600), rpo: seconds(300) },
        stores: BTreeMap::from([(
            store,
            AuroraStore {
                global_cluster: "payments".to_owned(),
                clusters,
                lag_metric: "AuroraGlobalDBRPOLag".to_owned(),
                written_from_all_regions: false,
                heartbeat: None,
                capacity: None,
            },
        )]),
        replicas: BTreeMap::new(),
        traffic: BTreeMap::from([("api".parse().expect("valid"), traffic(&east, &west))]),
        signals: vec![
            lag,
            probe("probe-use1", "127.0.11.1", "us-east-1"),
            probe("probe-usw2", "127.0.12.1", "us-west-2"),
        ],
        endpoints: BTreeMap::from([(east.clone(), endpoint("127.0.11.1")), (west.clone(), endpoint("127.0.12.1"))]),
        public_url: Some("http://api.payments.example.com:8080/healthz".to_owned()),
        runbooks: BTreeMap::from([
            (Purpose::Failover, runbook("region-failover")),
            (Purpose::Switchover, runbook("region-switchover")),
            (Purpose::Failback, runbook("failback")),
        ]),
        drills: vec![runbook("drill-switchover"), runbook("drill-tabletop")],
        schedules: Vec::new(),
        prove_within: None,
        topics: vec![topic(&east), topic(&west)],
        policy: Default::default(),
        iac: Default::default(),
    }
}

/// The application, its traffic moved by another mechanism.
pub(crate) fn moved_by(mechanism: Mechanism) -> Application {
    let mut application = application();
    for traffic in application.traffic.values_mut() {
        traffic.mechanism = mechanism.clone();
    }
    application
}

/// By changing the one record itself.
pub(crate) fn records() -> Mechanism {
    Mechanism::Records { set_identifiers: BTreeMap::new() }
}

/// By a metric in the standby's Region, which a health check reads.
pub(crate) fn health_signal() -> Mechanism {
    Mechanism::HealthSignal {
        region: region("us-west-2"),
        namespace: "Failoverd".to_owned(),
        metric: "PrimaryInService".to_owned(),
        dimensions: BTreeMap::from([("Application".to_owned(), "payments".to_owned())]),
        active_value: 1.0,
        diverted_value: 0.0,
    }
}

fn traffic(east: &Region, west: &Region) -> Traffic {
    let endpoints = cluster_regions()
        .into_iter()
        .map(|region| ClusterEndpoint { url: format!("https://cluster.{region}.example.com/v1"), region });
    Traffic {
        record_name: RECORD_NAME.to_owned(),
        record_type: "A".to_owned(),
        hosted_zone_id: ZONE_ID.to_owned(),
        servers: vec!["ns-1.example.com:53".to_owned(), "ns-2.example.com:53".to_owned()],
        answers: BTreeMap::from([(east.clone(), "127.0.11.1".to_owned()), (west.clone(), "127.0.12.1".to_owned())]),
        ttl: seconds(60),
        mechanism: Mechanism::RoutingControls {
            endpoints: endpoints.collect(),
            controls: BTreeMap::from([
                (east.clone(), CONTROL_USE1_ARN.to_owned()),
                (west.clone(), CONTROL_USW2_ARN.to_owned()),
            ]),
            weighted: BTreeMap::new(),
        },
    }
}

/// An engine at work.
pub(crate) struct Live {
    pub(crate) engine: Engine,
    /// The world's clock, which never jumps.
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) wall: Wall,
    pub(crate) world: LiveWorld,
    pub(crate) faults: Faults,
    pub(crate) vantages: Arc<Vantages>,
    overseen: Overseen<SimCloud>,
    falls: Arc<Mutex<Option<Fall>>>,
}

impl Drop for Live {
    /// Whatever a test asserts, no property may have been violated.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.overseen.finish();
        }
    }
}

/// How a run stands, for assertions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Played {
    Finished(RunResult),
    Held(String),
}

/// A Region that was lost five seconds ago, under the eyes of an engine that knew it well.
pub(crate) async fn disaster(scene: &Scene) -> Live {
    let live = scene.start(0).await;
    live.ready().await;
    live.lose("us-east-1");
    live.pass(5).await;
    live
}

impl Live {
    /// The next thing that `fall` does is to panic.
    pub(crate) fn panic_in(&self, fall: Fall) {
        *self.falls.lock().expect("nobody panics while holding it") = Some(fall);
    }

    /// Lets `s` seconds pass.
    pub(crate) async fn pass(&self, s: u64) {
        self.clock.sleep(seconds(s)).await;
        self.world.now(|_| ());
    }

    /// Waits until `seen`, looking every half second.
    pub(crate) async fn until(&self, what: &str, within: u64, seen: impl Fn(&Self) -> bool) {
        let deadline = self.clock.boot() + seconds(within);
        while !seen(self) {
            assert!(self.clock.boot() < deadline, "not within {within} s: {what}; {}", self.describe());
            self.clock.sleep(Duration::from_millis(500)).await;
        }
    }

    fn describe(&self) -> String {
        let history = self.engine.history(&payments());
        let runs = history.iter().flat_map(|h| h.runs.values()).map(|r| {
            let open: Vec<_> = r.steps.iter().filter(|(_, s)| !matches!(s, StepState::Done { .. })).collect();
            format!("{} {:?} {open:?}", r.id, r.phase)
        });
        let assessment = self.engine.assessment(&payments());
        format!("{:?}; {assessment:?}", runs.collect::<Vec<_>>())
    }

    pub(crate) fn assessment(&self) -> Arc<Assessment> {
        self.engine.assessment(&payments()).expect("an assessment")
    }

    pub(crate) fn verdict(&self) -> Option<Verdict> {
        self.engine.assessment(&payments()).map(|a| a.verdict)
    }

    /// Waits until the engine knows who writes and how far behind the standby is.
    pub(crate) async fn ready(&self) {
        self.until("the engine knows the application", 60, |live| {
            live.engine
                .assessment(&payments())
                .is_some_and(|a| a.active_region.is_some() && a.exposure.values().all(|e| e.loss_bound.is_some()))
        })
        .await;
    }

    pub(crate) fn request(wish: Wish) -> StartRun {
        StartRun {
            application: payments(),
            accept_data_loss: (wish == Wish::Failover).then(|| seconds(900)),
            wish,
            target: None,
            reason: "a test".to_owned(),
            runbook: None,
            subject: "oncall".parse().expect("valid"),
            idempotency_key: None,
            body_digest: Digest::of(b"body"),
            dry_run: false,
        }
    }

    pub(crate) async fn ask(&self, request: StartRun) -> Result<Started, Refusal> {
        self.engine.start_run(request).await
    }

    /// Starts a run, which must be accepted.
    pub(crate) async fn begin(&self, wish: Wish) -> RunId {
        match self.ask(Self::request(wish)).await {
            Ok(Started::Run { id, .. }) => id,
            other => panic!("expected a run, got {other:?}"),
        }
    }

    pub(crate) fn run(&self, id: &RunId) -> Arc<RunState> {
        Arc::clone(&self.engine.history(&payments()).expect("a history").runs[id])
    }

    pub(crate) fn step(&self, id: &RunId, step: &str) -> StepState {
        self.run(id).steps[&step.parse::<StepId>().expect("valid")].clone()
    }

    pub(crate) async fn until_running(&self, id: &RunId, step: &str) {
        let what = format!("`{step}` runs");
        self.until(&what, 600, |live| live.step(id, step).is_in_flight()).await;
    }

    pub(crate) async fn answer(&self, id: &RunId, subject: &str, approved: bool) -> Result<(), Refusal> {
        let digest = self.run(id).plan_digest.clone();
        let act = Act::Approve { step: "approve".parse().expect("valid"), approved, digest };
        self.engine.act(id, act, &subject.parse().expect("valid"), "looked at it").await
    }

    pub(crate) async fn engine_act(&self, id: &RunId, act: Act, subject: &str) -> Result<(), Refusal> {
        self.engine.act(id, act, &subject.parse().expect("valid"), "because").await
    }

    pub(crate) async fn act(&self, id: &RunId, act: Act) -> Result<(), Refusal> {
        self.engine.act(id, act, &"oncall".parse().expect("valid"), "because").await
    }

    /// A person says that what the failover `run` left behind was dealt with.
    pub(crate) async fn reconcile(&self, run: &RunId) {
        let seen = AskOverride {
            application: payments(),
            kind: OverrideKind::Acknowledge { run: run.clone(), reconciled: true },
            reason: "compared by hand".to_owned(),
            expires_in: seconds(3_600),
            subject: "oncall".parse().expect("valid"),
            idempotency_key: None,
        };
        self.engine.override_ask(seen).await.expect("acknowledged");
    }

    /// Waits for the approval step and approves it as somebody else.
    pub(crate) async fn approve(&self, id: &RunId) {
        self.until_running(id, "approve").await;
        self.answer(id, "second", true).await.expect("approved");
    }

    /// Waits until the run is finished or held with nothing in flight.
    pub(crate) async fn outcome(&self, id: &RunId, within: u64) -> Played {
        self.until("the run is finished or held", within, |live| {
            let run = live.run(id);
            let still = !run.steps.values().any(StepState::is_in_flight);
            matches!(run.phase, Phase::Finished { .. }) || (matches!(run.phase, Phase::Held { .. }) && still)
        })
        .await;
        match &self.run(id).phase {
            Phase::Finished { result, .. } => Played::Finished(*result),
            Phase::Held { code, .. } => Played::Held(code.clone()),
            other => panic!("{other:?}"),
        }
    }

    /// The accepted effects of an Aurora operation.
    pub(crate) fn accepted(&self, operation: &str) -> usize {
        self.world.now(|w| w.aurora.effects.iter().filter(|e| e.accepted && e.operation == operation).count())
    }

    /// The accepted changes of routing controls.
    pub(crate) fn flips(&self) -> usize {
        self.world.now(|w| w.arc.effects.iter().filter(|e| e.accepted).count())
    }

    pub(crate) fn ledger(&self) -> Ledger {
        self.world.now(|w| w.clients.ledger(&w.aurora))
    }

    pub(crate) fn lose(&self, name: &str) {
        self.world.now(|w| w.lose_region(&region(name)));
    }
}

/// Runs `play` as one process: in a runtime of its own, in virtual time, whose every task dies with it.
pub(crate) fn incarnation<R>(play: impl Future<Output = R>) -> R {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(play)
}
