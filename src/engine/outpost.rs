//! An observer elsewhere: probes what daemons ask for, and reports to each of them.
//!
//! Invariants: a daemon that is out of reach delays no other; each reading is sent to a daemon at most once, since one
//! that may have arrived must not count twice; what could not be probed is not reported. It decides nothing, keeps
//! nothing, and has no vote where it does not reach its own control points.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        judge::Reach,
        report::{Assignment, DETAIL_CHARS_MAX, Observed, Report, SAMPLES_MAX},
        signal::Reading,
        vantage::ProbeTarget,
    },
    engine::{reach, sample, vantages::Vantages},
    ports::{Clock, Daemon, Probes, daemons::DaemonError},
};

/// How often it reports, whether or not there is news: that it abstains is told by it too.
const REPORT_PERIOD: Duration = Duration::from_secs(1);
/// What the samples of one report may take; the daemon takes 64 KiB in all.
const REPORT_BYTES_MAX: usize = 48 * 1024;
/// The longest wait before a daemon that failed is asked again; short, since it may need this vantage soon.
const BACKOFF_MAX: Duration = Duration::from_secs(15);

/// What an observer is made of.
#[derive(Clone)]
pub struct Outpost {
    /// Its own name, control points and reach.
    pub vantages: Arc<Vantages>,
    pub clock: Arc<dyn Clock>,
    pub probes: Arc<dyn Probes>,
    pub daemons: Vec<Arc<dyn Daemon>>,
    /// Another one at every start.
    pub process: String,
    /// From 0 to 1, for waits that should not fall together.
    pub jitter: Arc<dyn Fn() -> f64 + Send + Sync>,
    pub stopping: CancellationToken,
}

/// What a probe found last.
#[derive(Debug, Clone)]
struct Seen {
    /// How many readings there were, this one included.
    number: u64,
    asked_at: Duration,
    healthy: bool,
    detail: String,
}

/// What the tasks share.
#[derive(Debug, Default)]
struct Board {
    inner: Mutex<Inner>,
    /// Something is not as it was: worth a report at once.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// What each daemon has probed, by its place in the list.
    orders: BTreeMap<usize, Vec<Assignment>>,
    seen: BTreeMap<Assignment, Seen>,
}

impl Board {
    fn with<R>(&self, act: impl FnOnce(&mut Inner) -> R) -> R {
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is to be probed; what nobody asks for any more is forgotten.
    fn wanted(&self) -> BTreeSet<Assignment> {
        self.with(|inner| {
            let wanted: BTreeSet<Assignment> = inner.orders.values().flatten().cloned().collect();
            inner.seen.retain(|assignment, _| wanted.contains(assignment));
            wanted
        })
    }

    fn note(&self, assignment: &Assignment, asked_at: Duration, reading: Result<Reading, String>) {
        let (healthy, detail) = match reading {
            Ok(Reading::Healthy { detail }) => (true, detail),
            Ok(Reading::Unhealthy { detail }) => (false, detail),
            Ok(Reading::Lag { .. } | Reading::Missing { .. }) => return,
            Err(why) => {
                tracing::debug!(signal = %assignment.signal, why, "not probed");
                return;
            }
        };
        let (application, signal) = (&assignment.application, &assignment.signal);
        let is_news = self.with(|inner| {
            let before = inner.seen.get(assignment);
            let (number, was) = (before.map_or(0, |s| s.number) + 1, before.map(|s| s.healthy));
            if was != Some(healthy) {
                tracing::info!(%application, %signal, healthy, detail, "seen");
            }
            inner.seen.insert(assignment.clone(), Seen { number, asked_at, healthy, detail });
            was != Some(healthy)
        });
        if is_news {
            self.changed.notify_waiters();
        }
    }
}

impl Outpost {
    /// Observes until it is told to stop.
    pub async fn observe(self) {
        let (vantages, clock, probes) = (Arc::clone(&self.vantages), Arc::clone(&self.clock), Arc::clone(&self.probes));
        let mut tasks = JoinSet::new();
        tasks.spawn(reach::keep(vantages, clock, probes, self.stopping.clone()));
        self.work(tasks).await;
    }

    /// The same beside an engine, which asks the control points of the same vantages.
    pub async fn observe_beside(self) {
        self.work(JoinSet::new()).await;
    }

    async fn work(self, mut tasks: JoinSet<()>) {
        let board = Arc::new(Board::default());
        tasks.spawn(self.clone().probe(Arc::clone(&board)));
        for (index, daemon) in self.daemons.iter().enumerate() {
            let line = Line::new(self.clone(), Arc::clone(&board), index, Arc::clone(daemon));
            tasks.spawn(line.report());
        }
        while let Some(ended) = tasks.join_next().await {
            // Half an observer is worse than none: it would be taken for a silent one.
            if let Err(error) = ended {
                std::panic::resume_unwind(Box::new(error.to_string()));
            }
        }
    }

    /// Probes what is wanted, each at its own period, one question to each target at a time.
    async fn probe(self, board: Arc<Board>) {
        let mut due: BTreeMap<Assignment, Duration> = BTreeMap::new();
        let mut busy: BTreeSet<Assignment> = BTreeSet::new();
        let mut asking = JoinSet::new();
        loop {
            let (now, wanted) = (self.clock.boot(), board.wanted());
            due.retain(|assignment, _| wanted.contains(assignment));
            for assignment in wanted {
                let at = due.entry(assignment.clone()).or_insert(now);
                if *at <= now && busy.insert(assignment.clone()) {
                    *at = now + assignment.period;
                    let probes = Arc::clone(&self.probes);
                    asking.spawn(async move {
                        let reading = look(&*probes, &assignment).await;
                        (assignment, now, reading)
                    });
                }
            }
            // What is busy is due again when it is done.
            let open = due.iter().filter(|(assignment, _)| !busy.contains(*assignment)).map(|(_, at)| *at);
            let next = open.min().unwrap_or(now + REPORT_PERIOD).saturating_sub(now);
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => return,
                Some(asked) = asking.join_next(), if !asking.is_empty() => {
                    let (assignment, at, reading) =
                        asked.unwrap_or_else(|e| std::panic::resume_unwind(Box::new(e.to_string())));
                    busy.remove(&assignment);
                    board.note(&assignment, at, reading);
                }
                () = self.clock.sleep(next.min(REPORT_PERIOD)) => {}
            }
        }
    }

    /// Why it has no vote now.
    fn abstains(&self) -> Option<String> {
        match self.vantages.reach_at(self.clock.boot()) {
            Reach::Sure { .. } => None,
            Reach::CutOff { why } | Reach::Unknown { why } => {
                Some(why.chars().filter(|c| !c.is_control()).take(DETAIL_CHARS_MAX).collect())
            }
        }
    }
}

async fn look(probes: &dyn Probes, assignment: &Assignment) -> Result<Reading, String> {
    match &assignment.target {
        ProbeTarget::Http { url } => sample::http_probe(probes, url, assignment.timeout).await,
        ProbeTarget::Tcp { address } => sample::tcp_probe(probes, address, assignment.timeout).await,
    }
}

/// The way to one daemon.
struct Line {
    outpost: Outpost,
    board: Arc<Board>,
    index: usize,
    daemon: Arc<dyn Daemon>,
    /// The daemon's stamp, and since when it is had.
    stamp: Option<(String, Duration)>,
    sequence: u64,
    /// The number of the last reading that was sent.
    sent: BTreeMap<Assignment, u64>,
    failures: u32,
    /// What was said last, so that it is said once.
    said: Vec<String>,
}

impl Line {
    fn new(outpost: Outpost, board: Arc<Board>, index: usize, daemon: Arc<dyn Daemon>) -> Self {
        let (stamp, sent, said) = (None, BTreeMap::new(), Vec::new());
        Self { outpost, board, index, daemon, stamp, sequence: 0, sent, failures: 0, said }
    }

    /// Reports until it is told to stop, whatever happens.
    async fn report(mut self) {
        let (board, stopping) = (Arc::clone(&self.board), self.outpost.stopping.clone());
        loop {
            let done = tokio::select! {
                biased;
                () = stopping.cancelled() => return,
                done = self.turn() => done,
            };
            let wait = self.after(done);
            let clock = Arc::clone(&self.outpost.clock);
            tokio::select! {
                biased;
                () = stopping.cancelled() => return,
                () = board.changed.notified(), if self.failures == 0 => {}
                () = clock.sleep(wait) => {}
            }
        }
    }

    /// Asks what to probe, or reports what was seen.
    async fn turn(&mut self) -> Result<(), DaemonError> {
        let Some((stamp, since)) = self.stamp.clone() else {
            let mut orders = self.daemon.assignments().await?;
            orders.assignments.truncate(SAMPLES_MAX);
            let daemon = self.daemon.name();
            tracing::info!(daemon, probes = orders.assignments.len(), "the daemon says what to probe");
            let kept: BTreeSet<&Assignment> = orders.assignments.iter().collect();
            self.sent.retain(|assignment, _| kept.contains(assignment));
            self.board.with(|inner| inner.orders.insert(self.index, orders.assignments));
            self.stamp = Some((orders.stamp, self.outpost.clock.boot()));
            return Ok(());
        };
        let report = self.next();
        let stamp_age = self.outpost.clock.boot().saturating_sub(since);
        let answered = self.daemon.report(&stamp, stamp_age, &report).await?;
        self.stamp = Some((answered.stamp, self.outpost.clock.boot()));
        if self.said != answered.refused {
            let daemon = self.daemon.name();
            match answered.refused.first() {
                Some(first) => tracing::warn!(daemon, samples = answered.refused.len(), first, "not taken"),
                None => tracing::info!(daemon, "everything is taken again"),
            }
            self.said = answered.refused;
        }
        Ok(())
    }

    /// What was not sent yet, the oldest first, as much as one report holds. It counts as sent from here on, whatever
    /// becomes of it.
    fn next(&mut self) -> Report {
        self.sequence += 1;
        let now = self.outpost.clock.boot();
        let mut news: Vec<(Assignment, Seen)> = self.board.with(|inner| {
            let own = inner.orders.get(&self.index).into_iter().flatten();
            let seen = own.filter_map(|a| Some((a.clone(), inner.seen.get(a)?.clone())));
            seen.filter(|(assignment, seen)| self.sent.get(assignment) != Some(&seen.number)).collect()
        });
        news.sort_by_key(|(_, seen)| seen.asked_at);
        let (mut samples, mut bytes) = (Vec::new(), 0);
        for (assignment, seen) in news {
            let detail: String = seen.detail.chars().filter(|c| !c.is_control()).take(DETAIL_CHARS_MAX).collect();
            // The keys and numbers of a sample, and every other character of its detail escaped.
            bytes += 150 + assignment.application.as_str().len() + assignment.signal.as_str().len() + 2 * detail.len();
            if REPORT_BYTES_MAX < bytes {
                break;
            }
            self.sent.insert(assignment.clone(), seen.number);
            let Assignment { application, signal, .. } = assignment;
            let age = now.saturating_sub(seen.asked_at);
            samples.push(Observed { application, signal, age, healthy: seen.healthy, detail });
        }
        let (process, abstains) = (self.outpost.process.clone(), self.outpost.abstains());
        Report { process, sequence: self.sequence, abstains, samples }
    }

    /// Notes how a turn ended; how long to wait before the next.
    fn after(&mut self, done: Result<(), DaemonError>) -> Duration {
        let daemon = self.daemon.name().to_owned();
        match done {
            Ok(()) => {
                if self.failures > 0 {
                    tracing::info!(daemon, "the daemon answers again");
                }
                self.failures = 0;
                return REPORT_PERIOD;
            }
            Err(error) => {
                if error == DaemonError::Restarted {
                    self.stamp = None;
                }
                if self.failures == 0 {
                    tracing::warn!(daemon, %error, "the daemon takes no report: asking again until it does");
                }
                self.failures = self.failures.saturating_add(1);
            }
        }
        let doubled = REPORT_PERIOD.saturating_mul(1 << (self.failures - 1).min(4)).min(BACKOFF_MAX);
        doubled.mul_f64(0.5 + (self.outpost.jitter)().clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests;
