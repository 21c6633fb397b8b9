//! The engine of one replica: its applications, what runs for each, and how it starts and stops.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::broadcast;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    domain::{
        application::Application,
        assessment::Assessment,
        capacity::Seen,
        history::History,
        id::{
            ApplicationName, Digest, OverrideId, Region, RunId, RunbookName, StepId, StoreName, Subject, VantageName,
        },
        journal::Record,
        overrides::Override,
        plan::Plan,
        policy::Mode,
        runbook::Runbook,
        vantage,
    },
    engine::{
        alone::Alone,
        capacities,
        context::Context,
        control::{Act, AskOverride, Control, OverrideNow, Readiness, Refusal, StartRun, Started},
        deferred, executor,
        metrics::MetricReader,
        notices,
        observations::{Assigned, Observations, Posted, Receipt},
        outlook::{self, Outlook},
        overrides::Bench,
        preflight, pulse, reach, recover,
        requests::{self, Asked},
        scribe::Fatal,
        seat::{House, NewestAssessment, Seat, Trouble, Working},
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
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    seats: Arc<BTreeMap<ApplicationName, Arc<Seat>>>,
    parts: Arc<Parts>,
    observations: Arc<Observations>,
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
        let parts = Arc::new(parts);
        let house =
            House { parts: Arc::clone(&parts), readings, stopping: stopping.clone(), fatal: Arc::clone(&fatal) };
        let seats: BTreeMap<_, _> =
            parts.applications.iter().map(|a| (a.name.clone(), Arc::new(Seat::empty(a.clone())))).collect();
        for seat in seats.values() {
            // What stands in its way is kept in the seat.
            let _held = seat.take(&house).await;
        }
        let watched = parts.applications.iter().cloned().map(Arc::new).collect();
        let observations = Observations::new(watched, Arc::clone(&parts.vantages), Arc::clone(&parts.clock));
        let engine = Self {
            seats: Arc::new(seats),
            parts,
            observations: Arc::new(observations),
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
        for seat in engine.seats.values() {
            match seat.working() {
                Ok(working) => engine.work(working),
                Err(Trouble::ForNow(_)) => engine.take_later(Arc::clone(seat), house.clone()),
                Err(Trouble::ForGood(_)) => {}
            }
        }
        engine
    }

    /// Begins to watch one application, and to carry on what is under way.
    fn work(&self, working: &Working) {
        let Working { context, newest, preflights } = working;
        if !context.pulses.is_empty() {
            self.spawn("pulse", pulse::beat(context.clone()));
        }
        if !context.application.stores.is_empty() {
            self.spawn("capacities", capacities::watch(context.clone()));
        }
        self.spawn("executor", executor::execute(context.clone(), Arc::clone(&self.fatal)));
        let observer = Arc::clone(&self.parts.observer);
        self.spawn("watcher", Watcher::new(context.clone(), observer, Arc::clone(&self.parts), newest.clone()).watch());
        if context.application.policy.mode != Mode::Recommend {
            let (parts, newest) = (Arc::clone(&self.parts), newest.clone());
            let looking = preflight::watch(context.clone(), parts, newest, Arc::clone(preflights));
            self.spawn("preflight", looking);
        }
        self.spawn("deferred", deferred::drive(context.clone()));
        self.spawn("notices", notices::tell(context.clone()));
        let (context, parts, newest) = (context.clone(), Arc::clone(&self.parts), newest.clone());
        self.spawn("automation", Alone { context, parts, newest }.act());
    }

    /// Takes a journal over as soon as its store can be read.
    fn take_later(&self, seat: Arc<Seat>, house: House) {
        let engine = self.clone();
        self.spawn("taking over", async move {
            if let Some(working) = seat.take_again(&house).await {
                engine.work(working);
            }
        });
    }

    /// A task of the engine; its panic ends the process: half-alive is worse than dead (FAULTS.md 9).
    fn spawn(&self, what: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let fatal = Arc::clone(&self.fatal);
        self.tasks.spawn(async move {
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

    fn working(&self, application: &ApplicationName) -> Result<&Working, Refusal> {
        let seat = self.seats.get(application).ok_or_else(|| Refusal::UnknownApplication(application.clone()))?;
        seat.working().map_err(|trouble| Refusal::Held(trouble.words()))
    }

    fn seat(&self, application: &ApplicationName) -> Result<(&Context, &NewestAssessment), Refusal> {
        self.working(application).map(|working| (&working.context, &working.newest))
    }

    fn bench(&self, application: &ApplicationName) -> Result<Bench, Refusal> {
        self.refuse_while_stopping()?;
        let Working { context, newest, preflights } = self.working(application)?;
        let (context, parts, assessment) = (context.clone(), Arc::clone(&self.parts), newest.get());
        Ok(Bench { context, parts, assessment, preflights: Arc::clone(preflights) })
    }

    fn refuse_while_stopping(&self) -> Result<(), Refusal> {
        if self.stopping.is_cancelled() || self.fatal.is_raised() { Err(Refusal::Stopping) } else { Ok(()) }
    }
}

#[async_trait]
impl Control for Engine {
    async fn start_run(&self, request: StartRun) -> Result<Started, Refusal> {
        self.refuse_while_stopping()?;
        let (context, newest) = self.seat(&request.application)?;
        let asked = Asked {
            assessment: newest.get(),
            parts: Arc::clone(&self.parts),
            id: RunId::new(&request.application, (self.parts.draw_id)()),
        };
        let context = context.clone();
        // A caller that goes away does not cut a commit in half.
        joined(tokio::spawn(async move { requests::start(&context, asked, request).await })).await
    }

    async fn look_ahead(&self, plan: &Plan, by: &Subject) -> Option<Outlook> {
        let (context, newest) = self.seat(&plan.application).ok()?;
        let assessment = newest.get();
        Some(outlook::look_ahead(context, assessment.as_deref(), plan, by).await)
    }

    fn runbooks(&self) -> Vec<(Arc<Runbook>, Digest)> {
        self.parts.runbooks.values().map(|(runbook, digest)| (Arc::new(runbook.clone()), digest.clone())).collect()
    }

    async fn act(&self, run: &RunId, act: Act, subject: &Subject, reason: &str) -> Result<(), Refusal> {
        self.refuse_while_stopping()?;
        let (context, _) = self.seat(&run.application()).map_err(|refusal| match refusal {
            Refusal::UnknownApplication(_) => Refusal::UnknownRun(run.clone()),
            other => other,
        })?;
        let (context, run, subject, reason) = (context.clone(), run.clone(), subject.clone(), reason.to_owned());
        joined(tokio::spawn(async move { requests::act(&context, &run, act, &subject, &reason).await })).await
    }

    fn applications(&self) -> Vec<Arc<Application>> {
        self.seats.values().map(|seat| Arc::clone(&seat.application)).collect()
    }

    fn history(&self, application: &ApplicationName) -> Option<Arc<History>> {
        self.seat(application).ok().map(|(context, _)| context.scribe.history())
    }

    fn assessment(&self, application: &ApplicationName) -> Option<Arc<Assessment>> {
        self.seat(application).ok().and_then(|(_, newest)| newest.get())
    }

    fn seen_from(
        &self,
        application: &ApplicationName,
    ) -> Option<(VantageName, BTreeMap<VantageName, vantage::Observer>)> {
        let (context, _) = self.seat(application).ok()?;
        Some((context.vantages.own().clone(), context.vantages.elsewhere(application)))
    }

    fn capacities(&self, application: &ApplicationName) -> BTreeMap<(StoreName, Region), Seen> {
        self.seat(application).map(|(context, _)| context.capacities.all()).unwrap_or_default()
    }

    fn subscribe(&self, application: &ApplicationName) -> Option<broadcast::Receiver<Arc<Record>>> {
        self.seat(application).ok().map(|(context, _)| context.scribe.live())
    }

    async fn records(&self, run: &RunId) -> Result<Vec<Record>, Refusal> {
        let application = run.application();
        let (context, _) = self.seat(&application)?;
        if !context.scribe.history().runs.contains_key(run) {
            return Err(Refusal::UnknownRun(run.clone()));
        }
        let records =
            recover::records(&*self.parts.store, &application).await.map_err(|e| Refusal::Held(e.to_string()))?;
        let concerns = |record: &Record| record.events.iter().any(|e| e.run() == Some(run));
        Ok(records.into_iter().filter(concerns).collect())
    }

    fn waits(&self, run: &RunId) -> BTreeMap<StepId, String> {
        self.seat(&run.application()).map(|(context, _)| context.waits.of(run)).unwrap_or_default()
    }

    fn readiness(&self) -> Readiness {
        let mut reasons = Vec::new();
        if self.stopping.is_cancelled() {
            reasons.push("stopping".to_owned());
        }
        if self.fatal.is_raised() {
            reasons.push("the journal store failed".to_owned());
        }
        for (name, seat) in self.seats.iter() {
            match seat.working() {
                Err(trouble) => reasons.push(format!("{name} is held: {}", trouble.words())),
                Ok(working) if working.newest.get().is_none() => reasons.push(format!("{name} is not assessed yet")),
                Ok(_) => {}
            }
        }
        Readiness { ready: reasons.is_empty(), reasons }
    }

    fn assigned(&self, vantage: &VantageName) -> Assigned {
        self.observations.assigned(vantage)
    }

    fn hear(&self, vantage: &VantageName, posted: Posted) -> Result<Receipt, Refusal> {
        self.refuse_while_stopping()?;
        self.observations.hear(vantage, posted)
    }

    async fn override_ask(&self, asked: AskOverride) -> Result<OverrideId, Refusal> {
        let bench = self.bench(&asked.application)?;
        joined(tokio::spawn(async move { bench.ask(asked).await })).await
    }

    async fn override_consent(
        &self,
        id: &OverrideId,
        agrees: bool,
        subject: &Subject,
        reason: &str,
    ) -> Result<(), Refusal> {
        let bench = self.bench(&id.application()).map_err(|refusal| unknown_override(refusal, id))?;
        let (id, subject, reason) = (id.clone(), subject.clone(), reason.to_owned());
        joined(tokio::spawn(async move { bench.consent(&id, agrees, &subject, &reason).await })).await
    }

    async fn override_end(&self, id: &OverrideId, subject: &Subject, reason: &str) -> Result<(), Refusal> {
        let bench = self.bench(&id.application()).map_err(|refusal| unknown_override(refusal, id))?;
        let (id, subject, reason) = (id.clone(), subject.clone(), reason.to_owned());
        joined(tokio::spawn(async move { bench.end(&id, &subject, &reason).await })).await
    }

    fn overrides(&self, application: &ApplicationName) -> Result<Vec<OverrideNow>, Refusal> {
        let Working { context, preflights, .. } = self.working(application)?;
        let (history, now) = (context.scribe.history(), context.clock.wall());
        let shown = |o: &Override| OverrideNow {
            what: o.clone(),
            standing: o.standing(now),
            preflight: if o.is_open(now) { preflights.of(&o.id) } else { None },
        };
        Ok(history.overrides.all().map(shown).collect())
    }
}

fn unknown_override(refusal: Refusal, id: &OverrideId) -> Refusal {
    match refusal {
        Refusal::UnknownApplication(_) => Refusal::UnknownOverride(id.clone()),
        other => other,
    }
}

async fn joined<T>(task: tokio::task::JoinHandle<Result<T, Refusal>>) -> Result<T, Refusal> {
    task.await.unwrap_or(Err(Refusal::Stopping))
}
