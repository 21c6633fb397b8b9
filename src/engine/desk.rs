//! The engine of one replica: its applications, what runs for each, and how it starts and stops.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use tokio::sync::broadcast;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    domain::{
        application::Application,
        assessment::Assessment,
        capacity::Seen,
        evidence::Evidence,
        history::History,
        id::{
            ApplicationName, ChannelName, Digest, OverrideId, Region, RunId, RunbookName, StepId, StoreName, Subject,
            VantageName,
        },
        journal::Record,
        outbox::Sent,
        overrides::Override,
        plan::Plan,
        policy::Mode,
        runbook::Runbook,
        vantage,
    },
    engine::{
        alone::Alone,
        capacities,
        control::{Act, AskOverride, Control, Leader, OverrideNow, Readiness, Refusal, StartRun, Started},
        deferred, evidence, executor,
        lease::Keeper,
        metrics::MetricReader,
        notices,
        observations::{Assigned, Observations, Posted, Receipt},
        origin::joined,
        outbox::{self, Post, Told},
        outlook::{self, Outlook},
        overrides::Bench,
        preflight, pulse, reach, recover,
        requests::{self, Asked},
        scribe::Fatal,
        seat::{Following, House, Seat, Standing, Trouble, Working},
        sharing::Sharing,
        signatures::{self, Signatures},
        trend::Point,
        vantages::Vantages,
        watch::Watcher,
    },
    ports::{Clock, Cloud, Databases, Heartbeats, JournalStore, Observer, Probes},
};

/// What an engine is made of.
#[derive(Clone)]
pub struct Parts {
    pub applications: Vec<Application>,
    pub runbooks: BTreeMap<RunbookName, (Runbook, Digest)>,
    pub config_digest: Digest,
    pub store: Arc<dyn JournalStore>,
    pub cloud: Arc<dyn Cloud>,
    pub probes: Arc<dyn Probes>,
    pub heartbeats: Arc<dyn Heartbeats>,
    pub databases: Arc<dyn Databases>,
    pub clock: Arc<dyn Clock>,
    pub observer: Arc<dyn Observer>,
    pub vantages: Arc<Vantages>,
    /// Who this process is, for the journal.
    pub holder: String,
    /// 128 bits that no other run has had.
    pub draw_id: Arc<dyn Fn() -> u128 + Send + Sync>,
    /// Where several replicas share the store; `None`: this one is alone, and the store keeps others out.
    pub sharing: Option<Sharing>,
    /// How people are told; `None`: they are not, as in a rehearsal.
    pub post: Option<Post>,
    /// What preflight looks at beside an application; `None`: there is none, as in a rehearsal.
    pub preflight: Option<preflight::round::Setup>,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    seats: Arc<BTreeMap<ApplicationName, Arc<Seat>>>,
    parts: Arc<Parts>,
    observations: Arc<Observations>,
    signatures: Arc<Signatures>,
    stopping: CancellationToken,
    tasks: TaskTracker,
    fatal: Arc<Fatal>,
}

impl Engine {
    /// Reads every journal back, takes each over in a new epoch, and begins to watch and to carry on what was under
    /// way. An application whose journal does not verify is held, one whose store fails for a moment is taken over as
    /// soon as it can be read, and the others go on.
    pub async fn start(parts: Parts) -> Self {
        let (fatal, stopping) = (Arc::new(Fatal::default()), CancellationToken::new());
        let readings = Arc::new(MetricReader::new(Arc::clone(&parts.cloud), Arc::clone(&parts.clock)));
        let signatures = Arc::new(Signatures::of(&parts.applications));
        let parts = Arc::new(parts);
        let house = House {
            parts: Arc::clone(&parts),
            readings,
            signatures: Arc::clone(&signatures),
            stopping: stopping.clone(),
            fatal: Arc::clone(&fatal),
        };
        let seats: BTreeMap<_, _> = parts
            .applications
            .iter()
            .map(|a| (a.name.clone(), Arc::new(Seat::empty(a.clone(), Arc::clone(&parts.observer)))))
            .collect();
        if parts.sharing.is_none() {
            for seat in seats.values() {
                // What stands in its way is kept in the seat.
                let _held = seat.take(&house).await;
            }
        }
        let watched = parts.applications.iter().cloned().map(Arc::new).collect();
        let observations = Observations::new(watched, Arc::clone(&parts.vantages), Arc::clone(&parts.clock));
        let engine = Self {
            seats: Arc::new(seats),
            parts,
            observations: Arc::new(observations),
            signatures,
            stopping,
            tasks: TaskTracker::new(),
            fatal,
        };
        let parts = &engine.parts;
        let (vantages, clock, probes) =
            (Arc::clone(&parts.vantages), Arc::clone(&parts.clock), Arc::clone(&parts.probes));
        if !vantages.control_points().points.is_empty() {
            engine.spawn("control points", reach::keep(vantages, clock, probes, engine.stopping.clone()));
        }
        let (cloud, clock, observer) =
            (Arc::clone(&parts.cloud), Arc::clone(&parts.clock), Arc::clone(&parts.observer));
        let checking = (Arc::clone(&engine.signatures), engine.stopping.clone());
        engine.spawn("signatures", signatures::check(checking.0, cloud, clock, observer, checking.1));
        for seat in engine.seats.values() {
            if let Some(sharing) = engine.parts.sharing.clone() {
                let keeper = Keeper { engine: engine.clone(), seat: Arc::clone(seat), house: house.clone(), sharing };
                engine.spawn("lease", keeper.keep());
                continue;
            }
            match seat.standing() {
                Standing::Leading(working) => engine.work(&working, &engine.tasks),
                Standing::Held(Trouble::ForNow(_)) => engine.take_later(Arc::clone(seat), house.clone()),
                Standing::Held(Trouble::ForGood(_)) | Standing::Following(_) => {}
            }
        }
        engine
    }

    /// Begins to watch one application, and to carry on what is under way, until its context is told to stop; `crew` has
    /// ended when all of it has.
    pub(super) fn work(&self, working: &Working, crew: &TaskTracker) {
        let Working { context, newest, preflights, board, fatal, since: _ } = working;
        let spawn = |what, task: BoxFuture<'static, ()>| self.spawn_on(crew, what, task);
        if !context.pulses.is_empty() {
            spawn("pulse", pulse::beat(context.clone()).boxed());
        }
        if !context.application.stores.is_empty() {
            spawn("capacities", capacities::watch(context.clone()).boxed());
        }
        spawn("executor", executor::execute(context.clone(), Arc::clone(fatal)).boxed());
        let (observer, parts) = (Arc::clone(&self.parts.observer), Arc::clone(&self.parts));
        spawn("watcher", Watcher::new(context.clone(), observer, parts, newest.clone()).watch().boxed());
        if context.application.policy.mode != Mode::Recommend {
            let (parts, newest) = (Arc::clone(&self.parts), newest.clone());
            spawn("preflight", preflight::watch(context.clone(), parts, newest, Arc::clone(preflights)).boxed());
        }
        if let Some(setup) = self.parts.preflight.clone() {
            let (parts, newest) = (Arc::clone(&self.parts), newest.clone());
            let rounds = preflight::round::keep(context.clone(), parts, newest, Arc::clone(board), setup);
            spawn("rounds of preflight", rounds.boxed());
        }
        spawn("deferred", deferred::drive(context.clone()).boxed());
        spawn("notices", notices::tell(context.clone()).boxed());
        if let Some(post) = self.parts.post.clone() {
            crew.spawn(outbox::tell_apart(context.clone(), post, Arc::clone(&self.parts.store)));
        }
        let (context, parts, newest) = (context.clone(), Arc::clone(&self.parts), newest.clone());
        spawn("schedules", super::schedules::keep(context.clone(), Arc::clone(&parts), newest.clone()).boxed());
        spawn("automation", Alone { context, parts, newest }.act().boxed());
    }

    /// Takes a journal over as soon as its store can be read.
    fn take_later(&self, seat: Arc<Seat>, house: House) {
        let engine = self.clone();
        self.spawn("taking over", async move {
            if let Some(working) = seat.take_again(&house).await {
                engine.work(&working, &engine.tasks);
            }
        });
    }

    /// A task of the engine; its panic ends the process: half-alive is worse than dead (FAULTS.md 9).
    fn spawn(&self, what: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_on(&self.tasks, what, task);
    }

    fn spawn_on(&self, crew: &TaskTracker, what: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let fatal = Arc::clone(&self.fatal);
        crew.spawn(async move {
            if let Err(panicked) = tokio::spawn(task).await {
                fatal.raise(format!("the {what} panicked: {panicked}"));
            }
        });
    }

    /// Something that works beside the applications: told to stop with them, and whose panic ends the process too.
    pub fn beside<F: Future<Output = ()> + Send + 'static>(
        &self,
        what: &'static str,
        task: impl FnOnce(CancellationToken) -> F,
    ) {
        self.spawn(what, task(self.stopping.clone()));
    }

    /// Starts no new effect, finishes the bounded calls under way, and returns when all is at a safe point, or after
    /// `patience`. What is not finished goes on after the next start.
    pub async fn stop(&self, patience: Duration) {
        self.stopping.cancel();
        self.tasks.close();
        tokio::select! {
            biased;
            () = self.tasks.wait() => {}
            () = self.parts.clock.sleep(patience) => tracing::warn!("stopped before every call had ended; the journal has their intents"),
        }
    }

    /// Completes when the process must end, with the reason.
    pub async fn failed(&self) -> String {
        self.fatal.wait().await
    }

    fn seat(&self, application: &ApplicationName) -> Result<&Arc<Seat>, Refusal> {
        self.seats.get(application).ok_or_else(|| Refusal::UnknownApplication(application.clone()))
    }

    fn standing(&self, application: &ApplicationName) -> Result<Standing, Refusal> {
        Ok(self.seat(application)?.standing())
    }

    /// What the application is worked on with here.
    fn working(&self, application: &ApplicationName) -> Result<Arc<Working>, Refusal> {
        match self.standing(application)? {
            Standing::Leading(working) => Ok(working),
            Standing::Held(trouble) => Err(Refusal::Held(trouble.words())),
            Standing::Following(following) => {
                let leader = self.leader_of(&following);
                Err(Refusal::NotLeader { application: application.clone(), leader: leader.map(Box::new) })
            }
        }
    }

    /// Who leads, as far as a follower knows.
    fn leader_of(&self, following: &Following) -> Option<Leader> {
        let lease = following.lease.as_ref().filter(|lease| !lease.released)?;
        Some(Leader::new(lease, following.history.tail.epoch, lease.holder == self.parts.holder))
    }

    fn bench(&self, application: &ApplicationName) -> Result<Bench, Refusal> {
        self.refuse_while_stopping()?;
        let working = self.working(application)?;
        let (context, assessment) = (working.context.clone(), working.newest.get());
        let (parts, preflights) = (Arc::clone(&self.parts), Arc::clone(&working.preflights));
        Ok(Bench { context, parts, assessment, preflights })
    }

    fn refuse_while_stopping(&self) -> Result<(), Refusal> {
        if self.stopping.is_cancelled() || self.fatal.is_raised() { Err(Refusal::Stopping) } else { Ok(()) }
    }
}

#[async_trait]
impl Control for Engine {
    async fn start_run(&self, request: StartRun) -> Result<Started, Refusal> {
        self.refuse_while_stopping()?;
        let working = self.working(&request.application)?;
        let asked = Asked {
            assessment: working.newest.get(),
            parts: Arc::clone(&self.parts),
            id: RunId::new(&request.application, (self.parts.draw_id)()),
        };
        let context = working.context.clone();
        // A caller that goes away does not cut a commit in half.
        joined(async move { requests::start(&context, asked, request).await }).await
    }

    async fn look_ahead(&self, plan: &Plan, by: &Subject) -> Option<Outlook> {
        let working = self.working(&plan.application).ok()?;
        let assessment = working.newest.get();
        Some(outlook::look_ahead(&working.context, assessment.as_deref(), plan, by).await)
    }

    fn preflight(&self, application: &ApplicationName) -> Option<preflight::round::Now> {
        self.parts.preflight.as_ref().and_then(|_| Some(self.working(application).ok()?.board.now()))
    }

    async fn preflight_now(&self, application: &ApplicationName) -> Result<Option<preflight::round::Now>, Refusal> {
        self.refuse_while_stopping()?;
        let working = self.working(application)?;
        Ok(if self.parts.preflight.is_some() { Some(working.board.answer(&*self.parts.clock).await) } else { None })
    }

    fn now(&self) -> Option<Timestamp> {
        Some(self.parts.clock.wall())
    }

    fn runbooks(&self) -> Vec<(Arc<Runbook>, Digest)> {
        self.parts.runbooks.values().map(|(runbook, digest)| (Arc::new(runbook.clone()), digest.clone())).collect()
    }

    async fn act(&self, run: &RunId, act: Act, subject: &Subject, reason: &str) -> Result<(), Refusal> {
        self.refuse_while_stopping()?;
        let working = self.working(&run.application()).map_err(|refusal| match refusal {
            Refusal::UnknownApplication(_) => Refusal::UnknownRun(run.clone()),
            other => other,
        })?;
        let (run, subject, reason) = (run.clone(), subject.clone(), reason.to_owned());
        let context = working.context.clone();
        joined(async move { requests::act(&context, &run, act, &subject, &reason).await }).await
    }

    fn leader(&self, application: &ApplicationName) -> Option<Leader> {
        let sharing = self.parts.sharing.as_ref()?;
        match self.standing(application).ok()? {
            Standing::Following(following) => self.leader_of(&following),
            Standing::Leading(working) => Some(Leader {
                holder: self.parts.holder.clone(),
                url: sharing.url.clone(),
                region: sharing.region.clone(),
                epoch: Some(working.context.scribe.history().tail.epoch),
                since: working.since,
                here: true,
            }),
            Standing::Held(_) => None,
        }
    }

    fn held(&self, application: &ApplicationName) -> Option<String> {
        let standing = self.standing(application).ok()?;
        if let Standing::Held(trouble) = standing { Some(trouble.words()) } else { None }
    }

    fn unknown_run(&self, run: &RunId) -> Refusal {
        match self.working(&run.application()) {
            // A follower is some seconds behind: what it does not know may have begun.
            Err(refusal @ Refusal::NotLeader { .. }) => refusal,
            Ok(_) | Err(_) => Refusal::UnknownRun(run.clone()),
        }
    }

    fn applications(&self) -> Vec<Arc<Application>> {
        self.seats.values().map(|seat| Arc::clone(&seat.application)).collect()
    }

    fn history(&self, application: &ApplicationName) -> Option<Arc<History>> {
        match self.standing(application).ok()? {
            Standing::Leading(working) => Some(working.context.scribe.history()),
            Standing::Following(following) => Some(Arc::clone(&following.history)),
            Standing::Held(_) => None,
        }
    }

    fn assessment(&self, application: &ApplicationName) -> Option<Arc<Assessment>> {
        self.working(application).ok().and_then(|working| working.newest.get())
    }

    fn seen_from(
        &self,
        application: &ApplicationName,
    ) -> Option<(VantageName, BTreeMap<VantageName, vantage::Observer>)> {
        let working = self.working(application).ok()?;
        let vantages = &working.context.vantages;
        Some((vantages.own().clone(), vantages.elsewhere(application)))
    }

    fn capacities(&self, application: &ApplicationName) -> BTreeMap<(StoreName, Region), Seen> {
        self.working(application).map(|working| working.context.capacities.all()).unwrap_or_default()
    }

    fn trend(&self, application: &ApplicationName) -> Vec<Point> {
        self.working(application).map(|working| working.context.trend.points()).unwrap_or_default()
    }

    fn subscribe(&self, application: &ApplicationName) -> Option<broadcast::Receiver<Arc<Record>>> {
        // One stream, whoever leads: a follower that takes over goes on telling those who watch.
        let seat = self.seats.get(application)?;
        (!matches!(seat.standing(), Standing::Held(_))).then(|| seat.live())
    }

    async fn records(&self, run: &RunId) -> Result<Vec<Record>, Refusal> {
        let application = run.application();
        let history = match self.standing(&application)? {
            Standing::Leading(working) => working.context.scribe.history(),
            Standing::Following(following) => Arc::clone(&following.history),
            Standing::Held(trouble) => return Err(Refusal::Held(trouble.words())),
        };
        if !history.runs.contains_key(run) {
            return Err(Refusal::UnknownRun(run.clone()));
        }
        let records =
            recover::records(&*self.parts.store, &application).await.map_err(|e| Refusal::Held(e.to_string()))?;
        let concerns = |record: &Record| record.events.iter().any(|e| e.run() == Some(run));
        Ok(records.into_iter().filter(concerns).collect())
    }

    async fn evidence(&self, run: &RunId) -> Result<Evidence, Refusal> {
        let made = self.evidences(&run.application(), std::slice::from_ref(run)).await;
        evidence::only(made, || self.unknown_run(run))
    }

    async fn evidences(&self, application: &ApplicationName, runs: &[RunId]) -> Result<Vec<Evidence>, Refusal> {
        let seat = self.seats.get(application).ok_or_else(|| Refusal::UnknownApplication(application.clone()))?;
        evidence::of(&*self.parts.store, &seat.application, runs, &self.parts.config_digest).await
    }

    fn waits(&self, run: &RunId) -> BTreeMap<StepId, String> {
        self.working(&run.application()).map(|working| working.context.waits.of(run)).unwrap_or_default()
    }

    fn readiness(&self) -> Readiness {
        let mut reasons = Vec::new();
        if self.stopping.is_cancelled() {
            reasons.push("stopping".to_owned());
        }
        if self.fatal.is_raised() {
            reasons.push("the journal store failed".to_owned());
        }
        let within = self.parts.sharing.as_ref().map(|s| s.duration).unwrap_or_default();
        let now = self.parts.clock.boot();
        reasons.extend(self.seats.iter().filter_map(|(name, seat)| seat.unready(name, now, within)));
        Readiness { ready: reasons.is_empty(), reasons, signatures: self.signatures.checks() }
    }

    fn assigned(&self, vantage: &VantageName) -> Assigned {
        self.observations.assigned(vantage)
    }

    fn hear(&self, vantage: &VantageName, posted: Posted) -> Result<Receipt, Refusal> {
        self.refuse_while_stopping()?;
        self.observations.hear(vantage, posted)
    }

    async fn notifications(&self, application: &ApplicationName) -> Result<Told, Refusal> {
        outbox::told(self.parts.post.as_ref(), &self.seat(application)?.application).await
    }

    async fn notify_test(&self, app: &ApplicationName, channel: &ChannelName, by: &Subject) -> Result<Sent, Refusal> {
        self.refuse_while_stopping()?;
        outbox::test(self.parts.post.as_ref(), &self.seat(app)?.application, channel, by, &*self.parts.clock).await
    }

    async fn override_ask(&self, asked: AskOverride) -> Result<OverrideId, Refusal> {
        let bench = self.bench(&asked.application)?;
        joined(async move { bench.ask(asked).await }).await
    }

    async fn override_consent(
        &self,
        id: &OverrideId,
        agrees: bool,
        subject: &Subject,
        reason: &str,
    ) -> Result<(), Refusal> {
        let bench = self.bench(&id.application()).map_err(|refusal| refusal.of_override(id))?;
        let (id, subject, reason) = (id.clone(), subject.clone(), reason.to_owned());
        joined(async move { bench.consent(&id, agrees, &subject, &reason).await }).await
    }

    async fn override_end(&self, id: &OverrideId, subject: &Subject, reason: &str) -> Result<(), Refusal> {
        let bench = self.bench(&id.application()).map_err(|refusal| refusal.of_override(id))?;
        let (id, subject, reason) = (id.clone(), subject.clone(), reason.to_owned());
        joined(async move { bench.end(&id, &subject, &reason).await }).await
    }

    fn overrides(&self, application: &ApplicationName) -> Result<Vec<OverrideNow>, Refusal> {
        let (history, preflights) = match self.standing(application)? {
            Standing::Leading(working) => (working.context.scribe.history(), Some(Arc::clone(&working.preflights))),
            Standing::Following(following) => (Arc::clone(&following.history), None),
            Standing::Held(trouble) => return Err(Refusal::Held(trouble.words())),
        };
        let now = self.parts.clock.wall();
        let looked = |o: &Override| preflights.as_ref().and_then(|p| p.of(&o.id));
        let shown = |o: &Override| OverrideNow {
            what: o.clone(),
            standing: o.standing(now),
            preflight: if o.is_open(now) { looked(o) } else { None },
        };
        Ok(history.overrides.all().map(shown).collect())
    }
}
