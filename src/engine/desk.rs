//! The engine of one replica: its applications, what runs for each, and how it starts and stops.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::broadcast;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    domain::{
        application::Application,
        assessment::Assessment,
        history::History,
        id::{ApplicationName, Digest, OverrideId, RunId, RunbookName, StepId, StoreName, Subject, VantageName},
        journal::Record,
        overrides::Override,
        policy::Mode,
        runbook::Runbook,
        vantage,
    },
    engine::{
        ages::Ages,
        alone::Alone,
        context::{Context, Unsent, Waits},
        control::{Act, AskOverride, Control, OverrideNow, Readiness, Refusal, StartRun, Started},
        executor,
        metrics::MetricReader,
        newest::Newest,
        observations::{Assigned, Observations, Posted, Receipt},
        overrides::Bench,
        preflight::{self, Preflights},
        pulse::{self, Pulse},
        reach, recover,
        requests::{self, Asked},
        scribe::{Desk, Fatal, Scribe},
        signs::Signs,
        trail::WriteTrail,
        vantages::Vantages,
        watch::Watcher,
    },
    ports::{Clock, Cloud, Heartbeats, JournalStore, Observer, Probes},
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
    pub clock: Arc<dyn Clock>,
    pub observer: Arc<dyn Observer>,
    pub vantages: Arc<Vantages>,
    /// Who this process is, for the journal.
    pub holder: String,
    /// 128 bits that no other run has had.
    pub draw_id: Arc<dyn Fn() -> u128 + Send + Sync>,
}

/// The newest assessment, once there is one.
type NewestAssessment = Newest<Option<Arc<Assessment>>>;

/// One application: worked on, or held because its journal cannot be trusted.
enum Seat {
    Working { context: Context, newest: NewestAssessment, preflights: Arc<Preflights> },
    Held { application: Arc<Application>, reason: String },
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    seats: Arc<BTreeMap<ApplicationName, Seat>>,
    parts: Arc<Parts>,
    observations: Arc<Observations>,
    stopping: CancellationToken,
    tasks: TaskTracker,
    fatal: Arc<Fatal>,
}

impl Engine {
    /// Reads every journal back, takes each over in a new epoch, and begins to watch and to carry on what was under
    /// way. An application whose journal does not verify is held, and the others go on.
    pub async fn start(parts: Parts) -> Self {
        let fatal = Arc::new(Fatal::default());
        let stopping = CancellationToken::new();
        let mut seats = BTreeMap::new();
        let readings = Arc::new(MetricReader::new(Arc::clone(&parts.cloud), Arc::clone(&parts.clock)));
        for application in &parts.applications {
            let seat = take_seat(&parts, application, &readings, &stopping, &fatal).await;
            if let Seat::Held { reason, .. } = &seat {
                tracing::error!(application = %application.name, reason, "the application is held");
            }
            seats.insert(application.name.clone(), seat);
        }
        let watched = parts.applications.iter().cloned().map(Arc::new).collect();
        let observations = Observations::new(watched, Arc::clone(&parts.vantages), Arc::clone(&parts.clock));
        let engine = Self {
            seats: Arc::new(seats),
            parts: Arc::new(parts),
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
            if let Seat::Working { context, newest, preflights } = seat {
                if !context.pulses.is_empty() {
                    engine.spawn("pulse", pulse::beat(context.clone()));
                }
                engine.spawn("executor", executor::execute(context.clone(), Arc::clone(&engine.fatal)));
                let observer = Arc::clone(&engine.parts.observer);
                engine.spawn(
                    "watcher",
                    Watcher::new(context.clone(), observer, Arc::clone(&engine.parts), newest.clone()).watch(),
                );
                if context.application.policy.mode != Mode::Recommend {
                    let (parts, newest) = (Arc::clone(&engine.parts), newest.clone());
                    let looking = preflight::watch(context.clone(), parts, newest, Arc::clone(preflights));
                    engine.spawn("preflight", looking);
                }
                let (context, parts, newest) = (context.clone(), Arc::clone(&engine.parts), newest.clone());
                engine.spawn("automation", Alone { context, parts, newest }.act());
            }
        }
        engine
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

    fn seat(&self, application: &ApplicationName) -> Result<(&Context, &NewestAssessment), Refusal> {
        match self.seats.get(application) {
            None => Err(Refusal::UnknownApplication(application.clone())),
            Some(Seat::Held { reason, .. }) => Err(Refusal::Held(reason.clone())),
            Some(Seat::Working { context, newest, .. }) => Ok((context, newest)),
        }
    }

    fn bench(&self, application: &ApplicationName) -> Result<Bench, Refusal> {
        self.refuse_while_stopping()?;
        let (context, newest) = self.seat(application)?;
        let (context, parts, assessment) = (context.clone(), Arc::clone(&self.parts), newest.get());
        let preflights = match self.seats.get(application) {
            Some(Seat::Working { preflights, .. }) => Arc::clone(preflights),
            Some(Seat::Held { .. }) | None => Arc::default(),
        };
        Ok(Bench { context, parts, assessment, preflights })
    }

    fn refuse_while_stopping(&self) -> Result<(), Refusal> {
        if self.stopping.is_cancelled() || self.fatal.is_raised() { Err(Refusal::Stopping) } else { Ok(()) }
    }
}

/// The pulse of each store that has a heartbeat; each life of a process is a beater of its own.
fn pulses(parts: &Parts, application: &Application) -> BTreeMap<StoreName, Pulse> {
    let with_heartbeat = application.stores.iter().filter_map(|(name, s)| Some((name, s.heartbeat.clone()?)));
    with_heartbeat
        .map(|(name, heartbeat)| {
            let beater = format!("{:032x}", (parts.draw_id)());
            let beater = beater.parse().unwrap_or_else(|e| unreachable!("hexadecimal digits are a name: {e}"));
            let (databases, clock) = (Arc::clone(&parts.heartbeats), Arc::clone(&parts.clock));
            (name.clone(), Pulse::new(name.clone(), heartbeat, beater, databases, clock))
        })
        .collect()
}

async fn take_seat(
    parts: &Parts,
    application: &Application,
    readings: &Arc<MetricReader>,
    stopping: &CancellationToken,
    fatal: &Arc<Fatal>,
) -> Seat {
    let application = Arc::new(application.clone());
    let history = match recover::recover(&*parts.store, &application.name).await {
        Ok(history) => history,
        Err(error) => {
            return Seat::Held { application, reason: error.to_string() };
        }
    };
    let pulses = pulses(parts, &application);
    let (wall, boot) = (parts.clock.wall(), parts.clock.boot());
    let ages = Ages::taken_over(&history, wall, boot);
    let holds = Ages::of_holds(&history, wall, boot);
    let desk = Desk {
        store: Arc::clone(&parts.store),
        clock: Arc::clone(&parts.clock),
        observer: Arc::clone(&parts.observer),
        fatal: Arc::clone(fatal),
    };
    match Scribe::take_over(desk, history, &parts.holder).await {
        Ok(scribe) => Seat::Working {
            context: Context {
                application,
                scribe: Arc::new(scribe),
                cloud: Arc::clone(&parts.cloud),
                readings: Arc::clone(readings),
                probes: Arc::clone(&parts.probes),
                clock: Arc::clone(&parts.clock),
                trail: Arc::new(WriteTrail::default()),
                unsent: Arc::new(Unsent::default()),
                waits: Arc::new(Waits::default()),
                ages: Arc::new(ages),
                holds: Arc::new(holds),
                signs: Arc::new(Signs::default()),
                vantages: Arc::clone(&parts.vantages),
                pulses: Arc::new(pulses),
                stopping: stopping.clone(),
            },
            newest: Newest::new(None),
            preflights: Arc::default(),
        },
        Err(error) => Seat::Held { application, reason: error.to_string() },
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
        let application = |seat: &Seat| match seat {
            Seat::Working { context, .. } => Arc::clone(&context.application),
            Seat::Held { application, .. } => Arc::clone(application),
        };
        self.seats.values().map(application).collect()
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
            match seat {
                Seat::Held { reason, .. } => reasons.push(format!("{name} is held: {reason}")),
                Seat::Working { newest, .. } if newest.get().is_none() => {
                    reasons.push(format!("{name} is not assessed yet"))
                }
                Seat::Working { .. } => {}
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
        let (context, _) = self.seat(application)?;
        let (history, now) = (context.scribe.history(), context.clock.wall());
        let preflight = |id: &OverrideId| match self.seats.get(application) {
            Some(Seat::Working { preflights, .. }) => preflights.of(id),
            Some(Seat::Held { .. }) | None => None,
        };
        let shown = |o: &Override| OverrideNow {
            what: o.clone(),
            standing: o.standing(now),
            preflight: if o.is_open(now) { preflight(&o.id) } else { None },
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
