//! Watching one application: sampling its signals, keeping the write trail, judging, and renewing standing effects.
//!
//! Invariant: a source that is silent or slow never delays another (each is read in its own task, one reading of it
//! at a time), and what was not read is missing, never healthy.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::task::{JoinError, JoinSet};

use crate::{
    domain::{
        assessment::{Assessment, Verdict},
        history::{History, Standing},
        id::{Region, SignalName, StoreName},
        journal::Event,
        judge::{self, Known, Memory, Silence},
        plan::{Plan, Purpose},
        sabotage::{Guard, is_off},
        signal::{Belief, Signal, SignalRole, SignalWindow},
    },
    engine::{
        context::Context,
        deadlines::Deadlines,
        desk::Parts,
        detached,
        flaps::Flaps,
        newest::{Changes, Newest},
        requests,
        sample::{Senses, Sight, sample},
    },
    ports::Observer,
};

/// How often the signals are judged.
const TICK: Duration = Duration::from_secs(1);
/// How often a signal is asked for until it has been read once.
const FIRST_READING_PERIOD: Duration = Duration::from_secs(5);
/// How often the roles are read.
const ROLES_PERIOD: Duration = Duration::from_secs(10);
/// How often each Region's last write is asked for; bounds how exactly a loss is measured.
const TRAIL_PERIOD: Duration = Duration::from_secs(1);
/// How often a standing effect is put again: a CloudWatch-metric health check needs a datapoint a minute [R53DG].
const STANDING_PERIOD: Duration = Duration::from_secs(60);

/// What the watcher has seen so far.
#[derive(Debug, Default)]
struct Seen {
    windows: BTreeMap<SignalName, SignalWindow>,
    writers: BTreeMap<StoreName, Region>,
    /// What AWS says of the secondaries that are not in step, where it was read last.
    behind: BTreeMap<StoreName, String>,
    /// Where the application is active, by the newest assessment.
    active: Option<Region>,
}

impl Seen {
    fn sight(&self, signal: &Signal) -> Sight {
        let window = self.windows.get(&signal.name);
        Sight {
            writers: self.writers.clone(),
            active: self.active.clone(),
            belief: window.map_or(Belief::None, SignalWindow::belief),
            last: window.and_then(SignalWindow::last).map(|sample| sample.measured_at),
        }
    }
}

/// The watcher of one application.
pub struct Watcher {
    context: Context,
    observer: Arc<dyn Observer>,
    parts: Arc<Parts>,
    memory: Memory,
    deadlines: Deadlines,
    /// What a failover would do from one Region to another, as compiled last.
    plan: Option<Plan>,
    seen: Arc<Mutex<Seen>>,
    newest: Newest<Option<Arc<Assessment>>>,
    flaps: Flaps,
    /// In boot time; until then a restart has seen too little to take back what was decided before it.
    warm_at: Duration,
}

/// What is read, each at its own period.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    Signal(usize),
    Roles,
    Trail(Region),
    Standing,
}

impl Watcher {
    pub fn new(
        context: Context,
        observer: Arc<dyn Observer>,
        parts: Arc<Parts>,
        newest: Newest<Option<Arc<Assessment>>>,
    ) -> Self {
        let windows =
            context.application.signals.iter().map(|s| (s.name.clone(), SignalWindow::new(s.consecutive))).collect();
        let seen = Arc::new(Mutex::new(Seen { windows, ..Seen::default() }));
        let warm_at = context.clock.boot() + warm_up(&context);
        Self {
            context,
            observer,
            parts,
            memory: Memory::default(),
            deadlines: Deadlines::default(),
            plan: None,
            seen,
            newest,
            flaps: Flaps::default(),
            warm_at,
        }
    }

    /// Watches until the daemon stops.
    pub async fn watch(mut self) {
        let tasks = self.tasks();
        let mut due: BTreeMap<Task, Duration> = tasks.iter().map(|(task, _)| (task.clone(), Duration::ZERO)).collect();
        let periods: BTreeMap<Task, Duration> = tasks.into_iter().collect();
        let mut busy: BTreeSet<Task> = BTreeSet::new();
        let mut reading: JoinSet<Task> = JoinSet::new();
        let mut changes = self.context.scribe.changes();
        let mut judged = changes.take();
        loop {
            let now = self.context.clock.boot();
            for (task, at) in &mut due {
                if *at <= now && busy.insert(task.clone()) {
                    *at = self.next(task, now, periods[task]);
                    let (context, seen, task) = (self.context.clone(), Arc::clone(&self.seen), task.clone());
                    reading.spawn(async move {
                        perform(&context, &seen, &task).await;
                        task
                    });
                }
            }
            while let Some(read) = reading.try_join_next() {
                let done = ended(read);
                self.hasten(&done, now, &mut due);
                busy.remove(&done);
            }
            self.judge().await;
            let next = due.values().min().copied().unwrap_or(now + TICK).saturating_sub(now);
            tokio::select! {
                biased;
                () = self.context.stopping.cancelled() => return,
                // Before the tick: what was read is judged by it. However much is read, the loop begins what is due.
                Some(read) = reading.join_next(), if !reading.is_empty() => {
                    let done = ended(read);
                    self.hasten(&done, now, &mut due);
                    busy.remove(&done);
                }
                // What people say of how it is decided is judged at once, not at the next tick.
                () = overridden(&mut changes, &mut judged) => {}
                () = self.context.clock.sleep(next.clamp(Duration::from_millis(100), TICK)) => {}
            }
        }
    }

    /// A signal that has never been read is asked for again soon, not a whole period later: at the start the lag is
    /// looked for before it is known which cluster is the secondary.
    fn hasten(&self, done: &Task, now: Duration, due: &mut BTreeMap<Task, Duration>) {
        let Task::Signal(index) = done else { return };
        let signal = &self.context.application.signals[*index];
        let name = &signal.name;
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.windows.get(name).is_some_and(|w| w.last().is_none())
            && let Some(at) = due.get_mut(done)
        {
            *at = (*at).min(next_due(signal, now, FIRST_READING_PERIOD));
        }
    }

    fn next(&self, task: &Task, now: Duration, period: Duration) -> Duration {
        match task {
            Task::Signal(index) => next_due(&self.context.application.signals[*index], now, period),
            Task::Roles | Task::Trail(_) | Task::Standing => now + period,
        }
    }

    fn tasks(&self) -> Vec<(Task, Duration)> {
        let app = &self.context.application;
        let mut tasks: Vec<(Task, Duration)> =
            app.signals.iter().enumerate().map(|(i, s)| (Task::Signal(i), s.period)).collect();
        tasks.push((Task::Roles, ROLES_PERIOD));
        tasks.push((Task::Standing, STANDING_PERIOD));
        let marked = app.endpoints.iter().filter(|(_, e)| e.last_write_pointer.is_some());
        tasks.extend(marked.map(|(region, _)| (Task::Trail(region.clone()), TRAIL_PERIOD)));
        tasks
    }

    async fn judge(&mut self) {
        let assessment = Arc::new(self.assess());
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).active.clone_from(&assessment.active_region);
        self.observer.assessed(&assessment);
        let history = self.context.scribe.history();
        self.deadlines.look(&self.context.application, &history, &*self.observer, assessment.at);
        drop(history);
        let is_news = self.is_decided_anew(&assessment);
        if self.flaps.is_told(&assessment, is_news, self.context.clock.boot()) && !self.context.stopping.is_cancelled()
        {
            let suppressed = self.flaps.told(self.context.clock.boot());
            let verdict = assessment.verdict.as_str();
            tracing::info!(application = %assessment.application, verdict, reasons = ?assessment.reasons, "decision changed");
            let event = Event::DecisionChanged {
                verdict: verdict.to_owned(),
                health: format!("{:?}", assessment.health).to_lowercase(),
                reasons: assessment.reasons.clone(),
                rules: assessment.rules.clone(),
                signals: assessment.signals.clone(),
                would_start: assessment.would_start,
                suppressed,
            };
            // A store that failed was raised where it happened; the assessment is shown all the same.
            if let Err(error) = self.context.scribe.commit(|_, _| Ok::<_, ()>((vec![event], ()))).await {
                tracing::error!(application = %assessment.application, %error, "decision not recorded");
            }
        }
        self.context.trend.note(&assessment);
        self.newest.set(Some(assessment));
    }

    fn assess(&mut self) -> Assessment {
        let (now, boot) = (self.context.clock.wall(), self.context.clock.boot());
        let history = self.context.scribe.history();
        let application = &self.context.application;
        let vantages = &self.context.vantages;
        let seen = Arc::clone(&self.seen);
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = self.context.pulses.iter().filter_map(|(store, pulse)| {
            let failing = pulse.failing(seen.writers.get(store)?)?;
            Some((store.clone(), Silence { since: failing.since.wall, refused: failing.refused_since.is_some() }))
        });
        let silent: BTreeMap<StoreName, Silence> = silent.collect();
        let known = Known {
            application,
            windows: &seen.windows,
            writers: &seen.writers,
            history: &history,
            vantage: vantages.own(),
            elsewhere: &vantages.elsewhere(&application.name),
            reach: vantages.reach_at(boot),
            plan: self.plan.as_ref(),
            silent: &silent,
            behind: &seen.behind,
        };
        let assessment = judge::assess(&known, &mut self.memory, now, boot);
        for (name, state) in &assessment.signals {
            let belief = seen.windows.get(name).map_or(Belief::None, SignalWindow::belief);
            self.context.signs.note(name, state, belief, boot);
        }
        self.context.signs.judged(assessment.health, assessment.verdict, boot);
        self.foresee(&assessment);
        assessment
    }

    /// Compiles what a failover would do, for the next forecast, where the direction is another one.
    fn foresee(&mut self, assessment: &Assessment) {
        let regions = &self.context.application.regions;
        let source = assessment.active_region.as_ref();
        let other = regions.iter().find(|r| Some(*r) != source);
        let (Some(source), Some(target)) = (source, assessment.recommended_target.as_ref().or(other)) else {
            return;
        };
        if self.plan.as_ref().is_none_or(|p| p.source != *source || p.target != *target) {
            let planned =
                requests::plan(&self.context.application, &self.parts, Purpose::Failover, source, target, None);
            // Where there is no runbook for it there is no forecast: said so when somebody asks for a run.
            self.plan = planned.ok();
        }
    }

    /// Whether the journal has another decision than this one.
    fn is_decided_anew(&self, assessment: &Assessment) -> bool {
        let history = self.context.scribe.history();
        // A restart in mid-disaster must not journal that all is well or unknown before it has looked.
        let moves = matches!(assessment.verdict, Verdict::Recommend | Verdict::Start);
        let is_warm = moves || history.verdict.is_none() || self.warm_at <= self.context.clock.boot();
        is_warm && !history.has_decided(assessment.verdict.as_str(), assessment.would_start)
    }
}

/// Completes when people have armed, switched off, waived or acknowledged something since `judged`.
async fn overridden(changes: &mut Changes<Arc<History>>, judged: &mut Arc<History>) {
    loop {
        changes.changed().await;
        let before = std::mem::replace(judged, changes.take());
        if before.overrides != judged.overrides {
            return;
        }
    }
}

/// When a signal that is read now is read again. What is read from CloudWatch is due at the same moments in all
/// applications, so that one call reads it for all (see `metrics`).
fn next_due(signal: &Signal, now: Duration, period: Duration) -> Duration {
    if !signal.source.is_from_cloudwatch() {
        return now + period;
    }
    let period_ms = period.as_millis().max(1);
    let ms = (now.as_millis() / period_ms + 1) * period_ms;
    Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX))
}

/// How long the triggers need to be believed, and the roles to be read.
fn warm_up(context: &Context) -> Duration {
    /// A slow signal does not delay a decision for longer.
    const WARM_UP_MAX: Duration = Duration::from_secs(120);
    let triggers = context.application.signals.iter().filter(|s| s.role == SignalRole::Trigger);
    let believed = triggers.map(|s| s.period * s.consecutive).max().unwrap_or_default();
    (believed + ROLES_PERIOD).min(WARM_UP_MAX)
}

/// A reading that panicked takes the watcher with it, and so the process: a signal that is silently never read again
/// would be worse (FAULTS.md 9).
fn ended(read: Result<Task, JoinError>) -> Task {
    match read {
        Ok(task) => task,
        Err(error) => std::panic::resume_unwind(Box::new(error.to_string())),
    }
}

async fn perform(context: &Context, seen: &Mutex<Seen>, task: &Task) {
    match task {
        Task::Signal(index) => {
            let signal = &context.application.signals[*index];
            let sight = seen.lock().unwrap_or_else(PoisonError::into_inner).sight(signal);
            let sample = sample(Senses::of(context), &sight, signal).await;
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            // A lag of the direction that was, read while the writer moved, says nothing of the one that is.
            let store = signal.source.store();
            if store.is_some_and(|store| {
                let was = sight.writers.get(store);
                was.is_some() && was != seen.writers.get(store)
            }) {
                return;
            }
            if let Some(window) = seen.windows.get_mut(&signal.name) {
                window.push(sample);
            }
        }
        Task::Roles => roles(context, seen).await,
        Task::Trail(region) => {
            if let Some(endpoint) = context.application.endpoints.get(region) {
                let _noted_in_the_trail = context.trail.look(&*context.probes, &*context.clock, region, endpoint).await;
            }
        }
        Task::Standing => renew(context).await,
    }
}

/// Reads who writes. A Region's answer counts where no operation is in progress; the standby's is asked first.
async fn roles(context: &Context, seen: &Mutex<Seen>) {
    for (name, store) in &context.application.stores {
        if let Some(region) = detached::writer_region(context, name).await {
            if let Some(pulse) = context.pulses.get(name) {
                pulse.writer_is(&region);
            }
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.behind.remove(name);
            seen.writers.insert(name.clone(), region);
            continue;
        }
        let mut behind = None;
        for region in context.application.regions.iter().rev() {
            if let Ok(view) = context.cloud.global_cluster(region, &store.global_cluster).await {
                let writer = view.writer().map(|w| w.arn.region().clone());
                behind = view.behind();
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                // In mid-change the last settled roles stand: they say where the loss is counted from. A process that
                // was started in mid-change takes the writer that AWS shows, or a stuck change could not be escalated.
                if let Some(region) = writer.filter(|_| view.is_settled() || !seen.writers.contains_key(name)) {
                    if let Some(pulse) = context.pulses.get(name) {
                        pulse.writer_is(&region);
                    }
                    seen.writers.insert(name.clone(), region);
                }
                break;
            }
        }
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        match behind {
            Some(says) => seen.behind.insert(name.clone(), says),
            None => seen.behind.remove(name),
        };
    }
}

/// Puts every standing effect again.
async fn renew(context: &Context) {
    let standing: Vec<Standing> = context.scribe.history().standing.values().cloned().collect();
    for mutation in standing.iter().flat_map(|s| &s.mutations) {
        if context.stopping.is_cancelled() || is_off(Guard::StandingUnrenewed) {
            return;
        }
        let outcome = context.apply(mutation, context.clock.wall()).await;
        if !matches!(outcome, crate::domain::cloud::Outcome::Accepted { .. }) {
            tracing::warn!(application = %context.application.name, operation = %mutation.operation(), ?outcome, "a standing effect was not renewed");
        }
    }
}
