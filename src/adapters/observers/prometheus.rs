//! Metrics: what was recorded and assessed, for Prometheus.
//!
//! Invariants: labels are bounded (applications, stores and signals of the configuration, states, operations); what is
//! not known has no series, rather than a zero or an old value. Gauges about signals are true as of
//! `failoverd_assessed_timestamp_seconds`: if that stands still, so do they.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use prometheus::{
    Encoder, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use crate::{
    domain::{
        application::Application,
        assessment::{Assessment, Health, Verdict},
        deadline::Deadline,
        history::History,
        id::{ApplicationName, ChannelName, RunId, StepId},
        journal::{Event, Record},
        plan::Purpose,
        preflight::Preflight,
        run::{Phase, RunResult, RunState},
        signal::SignalState,
        signature::{Check, Family},
    },
    ports::observer::Observer,
};

mod active_run;
mod counted;
mod decisions;
mod drills;
mod gathered;
mod preflights;
mod promises;
mod told;

use active_run::ActiveRun;
use counted::{append, evidence, log_lines_dropped, requests, step_duration, traces_dropped};
use decisions::{Decisions, Shown};
use drills::Drills;
use gathered::shown;
use preflights::Preflights;
use promises::promises;
use told::ToldSeries;

const HELD: &str = "1 while nothing is done for it, since its journal is refused or cannot be read.";

const HEALTH: [(Health, &str); 5] = [
    (Health::Healthy, "healthy"),
    (Health::Degraded, "degraded"),
    (Health::Impaired, "impaired"),
    (Health::Down, "down"),
    (Health::Unknown, "unknown"),
];

const VERDICTS: [Verdict; 4] = [Verdict::Nothing, Verdict::Notify, Verdict::Recommend, Verdict::Start];

const RUN_STATES: [&str; 9] =
    ["running", "held", "paused", "aborting", "undoing", "succeeded", "failed", "aborted", "superseded"];

/// The metrics of one daemon, in a registry of their own.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    lag: GaugeVec,
    signal_age: GaugeVec,
    exposure: GaugeVec,
    health: GaugeVec,
    decision: GaugeVec,
    assessed_at: GaugeVec,
    run_state: GaugeVec,
    step_duration: HistogramVec,
    append: Histogram,
    requests: IntCounterVec,
    leader: GaugeVec,
    held: GaugeVec,
    log_lines_dropped: IntCounter,
    traces_dropped: IntCounter,
    told: ToldSeries,
    decisions: Decisions,
    drills: Drills,
    preflights: Preflights,
    regions: BTreeMap<ApplicationName, Vec<String>>,
    memory: Mutex<Memory>,
}

/// What must be remembered from one call to the next.
#[derive(Debug, Default)]
struct Memory {
    runs: BTreeMap<RunId, ActiveRun>,
    /// The label values that an application's last assessment set, per metric.
    lag: BTreeMap<ApplicationName, BTreeSet<[String; 4]>>,
    signal_age: BTreeMap<ApplicationName, BTreeSet<[String; 2]>>,
    exposure: BTreeMap<ApplicationName, BTreeSet<[String; 2]>>,
    decisions: BTreeMap<ApplicationName, Shown>,
    /// Applications that this replica has led, and does no more.
    left: BTreeSet<String>,
}

impl Memory {
    /// Whether `run`, a drill over its budget, is found by its first undo to be taken back.
    fn turns_back(&mut self, run: &RunId) -> bool {
        self.runs.get_mut(run).is_some_and(ActiveRun::turns_back)
    }
}

impl Metrics {
    /// The metrics of `applications`, in a new registry.
    ///
    /// # Errors
    /// Only for a metric that is described wrongly or twice: a fault of this file.
    pub fn new(applications: &[Arc<Application>]) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let gauges = |name: &str, help: &str, labels: &[&str]| gauges(&registry, name, help, labels);
        let lag = gauges(
            "failoverd_replication_lag_seconds",
            "Last measured replication lag; absent unless fresh.",
            &["application", "store", "source_region", "target_region"],
        )?;
        let signal_age = gauges(
            "failoverd_signal_age_seconds",
            "Age of the newest reading when last assessed; absent when there is none.",
            &["application", "signal"],
        )?;
        let exposure = gauges(
            "failoverd_rpo_exposure_seconds",
            "What failing over now would lose at most; +Inf when not bounded.",
            &["application", "store"],
        )?;
        let health = gauges(
            "failoverd_application_health",
            "1 for the state that the application is in.",
            &["application", "state"],
        )?;
        let decision = gauges("failoverd_decision", "1 for the present verdict.", &["application", "verdict"])?;
        let assessed_at = gauges(
            "failoverd_assessed_timestamp_seconds",
            "When the application was last assessed.",
            &["application"],
        )?;
        let run_state = gauges(
            "failoverd_run_state",
            "1 for the state of the application's newest run of that purpose.",
            &["application", "purpose", "state"],
        )?;
        let leader = gauges("failoverd_leader", "1 while this replica works on the application.", &["application"])?;
        let held = gauges("failoverd_application_held", HELD, &["application"])?;
        promises(&registry, applications)?;
        for application in applications {
            held.with_label_values(&[application.name.as_str()]).set(1.0);
            leader.with_label_values(&[application.name.as_str()]).set(0.0);
            one_hot(&health, &[application.name.as_str()], HEALTH.map(|(_, s)| s), "unknown");
        }
        let shown = applications.iter().map(|a| (a.name.clone(), Shown::of(a.policy.mode))).collect();
        let memory = Memory { decisions: shown, ..Memory::default() };
        let names = |a: &Application| a.regions.iter().map(ToString::to_string).collect();
        let metrics = Self {
            decisions: Decisions::new(&registry)?,
            drills: Drills::new(&registry)?,
            preflights: Preflights::new(&registry)?,
            told: ToldSeries::new(&registry)?,
            step_duration: step_duration(&registry)?,
            append: append(&registry)?,
            requests: requests(&registry)?,
            leader,
            held,
            log_lines_dropped: log_lines_dropped(&registry)?,
            traces_dropped: traces_dropped(&registry)?,
            regions: applications.iter().map(|a| (a.name.clone(), names(a))).collect(),
            registry,
            lag,
            signal_age,
            exposure,
            health,
            decision,
            assessed_at,
            run_state,
            memory: Mutex::new(memory),
        };
        #[cfg(target_os = "linux")]
        metrics.registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(metrics)
    }

    /// Takes in what was recorded before this process began: the states of runs, and the steps in flight.
    pub fn restore(&self, history: &History) {
        let mut memory = self.memory();
        let mut runs: Vec<&RunState> = history.runs.values().map(AsRef::as_ref).collect();
        runs.sort_by(|a, b| (a.started_at, &a.id).cmp(&(b.started_at, &b.id)));
        for run in runs {
            self.set_run(&history.application, run.plan.purpose, phase_name(&run.phase));
            if !run.is_finished() {
                memory.runs.insert(run.id.clone(), ActiveRun::restored(run));
            }
        }
    }

    /// Whether this replica works on `application`. What it said of the application as its leader is not shown any more
    /// when it is not: a value that nobody renews is no reading.
    fn set_leader(&self, application: &ApplicationName, leads: bool) {
        self.leader.with_label_values(&[application.as_str()]).set(if leads { 1.0 } else { 0.0 });
        let mut memory = self.memory();
        match leads {
            true => memory.left.remove(application.as_str()),
            false => memory.left.insert(application.to_string()),
        };
    }

    /// Prometheus text format 0.0.4. `log_lines_dropped` since the process began.
    pub fn render(&self, log_lines_dropped: u64) -> String {
        let counted = self.log_lines_dropped.get();
        self.log_lines_dropped.inc_by(log_lines_dropped.saturating_sub(counted));
        let mut text = Vec::new();
        let left = self.memory().left.clone();
        let shown = shown(self.registry.gather(), &left);
        if let Err(error) = TextEncoder::new().encode(&shown, &mut text) {
            tracing::error!(%error, "metrics could not be rendered");
        }
        // The encoder writes infinity as Rust does; the text format says `+Inf`.
        String::from_utf8_lossy(&text).replace(" inf\n", " +Inf\n")
    }

    /// The series of evidence that is kept; they are there from the first call on, and a second is an error.
    ///
    /// # Errors
    /// Where they are there already.
    pub fn evidence(&self) -> Result<(IntCounter, IntGauge), prometheus::Error> {
        evidence(&self.registry)
    }

    /// Counts the spans that no collector was given.
    pub fn traces_dropped(&self) -> IntCounter {
        self.traces_dropped.clone()
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // A panic elsewhere leaves at worst a stale series; metrics must not spread it.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_run(&self, application: &ApplicationName, purpose: Purpose, state: &str) {
        let labels = [application.as_str(), purpose.as_str()];
        one_hot(&self.run_state, &labels, RUN_STATES, state);
    }

    fn event(&self, memory: &mut Memory, record: &Record, event: &Event) {
        let (run, state) = match event {
            Event::EpochStarted { .. }
            | Event::PrimarySeen { .. }
            | Event::BranchBegan { .. }
            | Event::BranchImported { .. }
            | Event::BranchReconciled { .. }
            | Event::ScheduleNoted { .. }
            | Event::OverrideAsked { .. }
            | Event::OverrideConsented { .. }
            | Event::OverrideEnded { .. }
            | Event::NoticeIntended { .. }
            | Event::NoticeAnswered { .. }
            | Event::CalledFrom { .. } => return,
            Event::RunStarted { run, plan, .. } => {
                memory.runs.insert(run.clone(), ActiveRun::new(plan));
                (run, "running")
            }
            Event::StepStarted { run, step, .. } | Event::Intent { run, step, .. } => {
                if let Some(active) = memory.runs.get_mut(run) {
                    active.since.entry(step.clone()).or_insert(record.at);
                }
                return;
            }
            Event::StepDone { run, step, .. } => return self.step_done(memory, run, step, record.at),
            Event::StepSkipped { run, step, .. } => {
                let _since = memory.runs.get_mut(run).and_then(|active| active.since.remove(step));
                return;
            }
            Event::StepFailed { run, step, .. } => match memory.runs.get_mut(run).map(|active| active.failed(step)) {
                Some(true) => (run, "undoing"),
                Some(false) | None => return,
            },
            Event::UndoIntended { run, .. } if memory.turns_back(run) => (run, "undoing"),
            Event::UndoIntended { .. }
            | Event::UndoAnswered { .. }
            | Event::StepUndone { .. }
            | Event::UndoFailed { .. }
            | Event::WorkDeferred { .. }
            | Event::DeferredIntended { .. }
            | Event::DeferredAnswered { .. }
            | Event::DeferredEnded { .. } => return,
            Event::BudgetExceeded { run, .. } => (run, "running"),
            Event::RunHeld { run, code, .. } => {
                if let Some(active) = memory.runs.get_mut(run).filter(|_| code == "undo-past-no-return") {
                    active.way = "running";
                }
                (run, "held")
            }
            Event::RunPaused { run, .. } => (run, "paused"),
            Event::RunResumed { run, .. } | Event::StepRetried { run, .. } | Event::StepPassed { run, .. } => {
                (run, memory.runs.get(run).map_or("running", |active| active.way))
            }
            Event::AbortRequested { run, .. } => {
                memory.runs.get_mut(run).into_iter().for_each(|active| active.way = "aborting");
                (run, "aborting")
            }
            Event::RunFinished { run, result, .. } => (run, result_name(*result)),
            Event::DecisionChanged { .. }
            | Event::Answered { .. }
            | Event::CallObserved { .. }
            | Event::ApprovalRecorded { .. } => return,
        };
        self.turned(memory, record, event, (run, state));
    }

    /// The run of `event` is in this state from now on.
    fn turned(&self, memory: &mut Memory, record: &Record, event: &Event, (run, state): (&RunId, &str)) {
        if let Some(active) = memory.runs.get(run) {
            self.set_run(&record.journal, active.purpose, state);
        }
        if matches!(event, Event::RunFinished { .. }) {
            memory.runs.remove(run);
        }
    }

    fn step_done(&self, memory: &mut Memory, run: &RunId, step: &StepId, at: Timestamp) {
        let Some(active) = memory.runs.get_mut(run) else { return };
        let since = active.since.remove(step);
        if let (Some(since), Some(kind)) = (since, active.kinds.get(step)) {
            let took = Duration::try_from(at.duration_since(since)).unwrap_or_default();
            self.step_duration.with_label_values(&[kind]).observe(took.as_secs_f64());
        }
    }

    /// Where a store's lag is measured from and to; empty where more than one Region could be meant.
    fn direction(&self, assessment: &Assessment) -> (String, String) {
        let Some(source) = assessment.active_region.as_ref().map(ToString::to_string) else {
            return (String::new(), String::new());
        };
        let regions = self.regions.get(&assessment.application);
        let others: Vec<&String> = regions.into_iter().flatten().filter(|r| **r != source).collect();
        let target = match others[..] {
            [one] => one.clone(),
            _ => String::new(),
        };
        (source, target)
    }
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec, prometheus::Error> {
    let gauge = GaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

fn one_hot<const N: usize>(gauge: &GaugeVec, labels: &[&str], states: [&str; N], now: &str) {
    for state in states {
        let mut values = labels.to_vec();
        values.push(state);
        gauge.with_label_values(&values).set(if state == now { 1.0 } else { 0.0 });
    }
}

fn phase_name(phase: &Phase) -> &'static str {
    match phase {
        Phase::Running => "running",
        Phase::Held { .. } => "held",
        Phase::Paused { .. } => "paused",
        Phase::Aborting { .. } => "aborting",
        Phase::Undoing { .. } => "undoing",
        Phase::Finished { result, .. } => result_name(*result),
    }
}

fn result_name(result: RunResult) -> &'static str {
    match result {
        RunResult::Succeeded => "succeeded",
        RunResult::Failed => "failed",
        RunResult::Aborted => "aborted",
        RunResult::Superseded => "superseded",
    }
}

/// Sets the series of one application and removes those that it had before and has no more.
fn replace<const N: usize>(gauge: &GaugeVec, before: &mut BTreeSet<[String; N]>, now: BTreeMap<[String; N], f64>) {
    for gone in before.iter().filter(|labels| !now.contains_key(*labels)) {
        // Removing what is not there is no fault.
        let _ = gauge.remove_label_values(gone);
    }
    for (labels, value) in &now {
        gauge.with_label_values(labels).set(*value);
    }
    *before = now.into_keys().collect();
}

impl Observer for Metrics {
    fn taken_over(&self, history: &History) {
        self.restore(history);
    }

    fn led(&self, application: &ApplicationName, leads: bool) {
        self.set_leader(application, leads);
    }

    fn held(&self, application: &ApplicationName, is_held: bool) {
        self.held.with_label_values(&[application.as_str()]).set(if is_held { 1.0 } else { 0.0 });
    }

    fn signatures_checked(&self, family: Family, check: &Check) {
        self.decisions.signatures_checked(family, check);
    }

    fn recorded(&self, record: &Record, append_seconds: f64) {
        self.append.observe(append_seconds);
        let mut memory = self.memory();
        for event in &record.events {
            self.event(&mut memory, record, event);
        }
    }

    fn assessed(&self, assessment: &Assessment) {
        let application = &assessment.application;
        let name = application.to_string();
        let labels = [name.as_str()];
        let named = |table: &[(Health, &'static str)]| {
            table.iter().find(|(h, _)| *h == assessment.health).map_or("unknown", |(_, s)| s)
        };
        one_hot(&self.health, &labels, HEALTH.map(|(_, s)| s), named(&HEALTH));
        for verdict in VERDICTS {
            self.decision.with_label_values(&[name.as_str(), verdict.as_str()]).set(if verdict == assessment.verdict {
                1.0
            } else {
                0.0
            });
        }
        self.assessed_at.with_label_values(&labels).set(assessment.at.as_duration().as_secs_f64());
        let (source, target) = self.direction(assessment);
        let mut lags = BTreeMap::new();
        let mut exposures = BTreeMap::new();
        for (store, exposure) in assessment.exposure.iter().chain(&assessment.replicas) {
            if let (Some(lag), true) = (exposure.measured_lag, exposure.fresh) {
                let labels = [name.clone(), store.to_string(), source.clone(), target.clone()];
                lags.insert(labels, lag.as_secs_f64());
            }
            let bound = exposure.loss_bound.map_or(f64::INFINITY, |b| b.as_secs_f64());
            exposures.insert([name.clone(), store.to_string()], bound);
        }
        let mut ages = BTreeMap::new();
        for (signal, state) in &assessment.signals {
            let sample = match state {
                SignalState::Fresh { sample }
                | SignalState::Stale { sample, .. }
                | SignalState::Contradicted { sample, .. } => sample,
                SignalState::Missing { .. } => continue,
            };
            let age = assessment.at.duration_since(sample.measured_at);
            let age = Duration::try_from(age).unwrap_or_default();
            ages.insert([name.clone(), signal.to_string()], age.as_secs_f64());
        }
        let mut memory = self.memory();
        let before = memory.lag.entry(application.clone()).or_default();
        replace(&self.lag, before, lags);
        let before = memory.exposure.entry(application.clone()).or_default();
        replace(&self.exposure, before, exposures);
        let before = memory.signal_age.entry(application.clone()).or_default();
        replace(&self.signal_age, before, ages);
        self.decisions.set(memory.decisions.entry(application.clone()).or_default(), assessment);
    }

    fn due(&self, application: &ApplicationName, deadline: Option<&Deadline>) {
        self.decisions.due(application, deadline);
    }

    fn drilled(&self, application: &Application, history: &History, now: Timestamp) {
        self.drills.set(application, history, now);
    }

    fn preflighted(&self, found: &Preflight, now: Timestamp) {
        self.preflights.set(found, now);
    }

    fn notified(&self, channel: &ChannelName, outcome: &str) {
        self.told.notified(channel, outcome);
    }

    fn untold(&self, app: &ApplicationName, waiting: &BTreeMap<ChannelName, (usize, Timestamp)>, now: Timestamp) {
        self.told.untold(app, waiting, now);
    }

    fn called(&self, service: &str, operation: &str, region: &str, outcome: &str, _: Timestamp) {
        self.requests.with_label_values(&[service, operation, region, outcome]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::plan::Plan;
    use crate::domain::{
        action::Action,
        application::Objectives,
        assessment::Exposure,
        id::Digest,
        journal::{Request, SCHEMA_VERSION},
        plan::{OnFailure, PlannedStep, Retry},
        signal::{Reading, Sample},
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("in range")
    }

    fn name() -> ApplicationName {
        "payments".parse().expect("valid")
    }

    fn run() -> RunId {
        RunId::new(&name(), 1)
    }

    fn application() -> Application {
        Application {
            name: name(),
            regions: vec!["us-east-1".parse().expect("valid"), "us-west-2".parse().expect("valid")],
            objectives: Objectives { rto: Duration::from_secs(600), rpo: Duration::from_secs(30) },
            stores: BTreeMap::new(),
            replicas: BTreeMap::new(),
            traffic: BTreeMap::new(),
            signals: vec![],
            endpoints: BTreeMap::new(),
            public_url: None,
            runbooks: BTreeMap::new(),
            drills: Vec::new(),
            schedules: Vec::new(),
            prove_within: None,
            topics: vec![],
            policy: Default::default(),
            iac: Default::default(),
        }
    }

    fn observer() -> Metrics {
        Metrics::new(&[Arc::new(application())]).expect("described once")
    }

    fn assessment(lag: Option<(Timestamp, Duration)>, signal: SignalState) -> Assessment {
        let exposure = Exposure::from_lag(lag, at(0), Duration::from_secs(60));
        Assessment {
            application: name(),
            at: at(0),
            active_region: Some("us-east-1".parse().expect("valid")),
            health: Health::Degraded,
            verdict: Verdict::Notify,
            recommended_target: None,
            reasons: vec!["a reason".to_owned()],
            would_change: vec![],
            signals: BTreeMap::from([("edge".parse().expect("valid"), signal)]),
            exposure: BTreeMap::from([("orders".parse().expect("valid"), exposure)]),
            evidence_since: None,
            ..Assessment::unknown(name(), at(0))
        }
    }

    fn record(second: i64, events: Vec<Event>) -> Record {
        Record {
            journal: name(),
            seq: 0,
            epoch: 1,
            at: at(second),
            schema_version: SCHEMA_VERSION,
            events,
            prev_hash: Digest::zero(),
        }
    }

    fn started() -> Event {
        let step = PlannedStep {
            id: "settle".parse().expect("valid"),
            title: "Settle".to_owned(),
            needs: BTreeSet::new(),
            when: None,
            action: Action::Wait { duration: Duration::from_secs(1) },
            timeout: Duration::from_secs(60),
            retry: Retry { attempts: 1, backoff: Duration::ZERO },
            on_failure: OnFailure::Hold,
            no_return: false,
            towards: Default::default(),
        };
        let plan = Plan {
            application: name(),
            purpose: Purpose::Failover,
            source: "us-east-1".parse().expect("valid"),
            target: "us-west-2".parse().expect("valid"),
            runbook: "region-failover".parse().expect("valid"),
            runbook_digest: Digest::zero(),
            config_digest: Digest::zero(),
            accepted_loss: None,
            budget: None,
            reconciles: None,
            steps: vec![step],
        };
        let request = Request {
            purpose: Purpose::Failover,
            subject: "ann".parse().expect("valid"),
            reason: "gone".to_owned(),
            idempotency_key: None,
            body_digest: Digest::zero(),
            supersedes: None,
            armed: None,
        };
        Event::RunStarted { run: run(), request, plan: Box::new(plan), evidence_since: None }
    }

    fn has(text: &str, line: &str) {
        assert!(text.lines().any(|l| l == line), "no `{line}` in\n{text}");
    }

    #[test]
    fn before_anything_is_known_health_is_unknown_and_lag_is_absent() {
        let text = observer().render(0);
        has(&text, r#"failoverd_application_health{application="payments",state="unknown"} 1"#);
        has(&text, r#"failoverd_application_health{application="payments",state="healthy"} 0"#);
        has(&text, r#"failoverd_rto_objective_seconds{application="payments"} 600"#);
        has(&text, r#"failoverd_leader{application="payments"} 0"#);
        has(&text, r#"failoverd_application_held{application="payments"} 1"#);
        assert!(!text.contains("failoverd_replication_lag_seconds{"));
        assert!(!text.contains("failoverd_decision{"));
    }

    #[test]
    fn what_a_leader_said_is_not_shown_when_it_leads_no_more() {
        let observer = observer();
        let payments = "payments".parse().expect("valid");
        observer.led(&payments, true);
        observer.held(&payments, false);
        observer.assessed(&assessment(None, SignalState::Missing { why: "silent".to_owned() }));
        has(&observer.render(0), r#"failoverd_leader{application="payments"} 1"#);
        assert!(observer.render(0).contains("failoverd_decision{"));
        observer.led(&payments, false);
        let text = observer.render(0);
        has(&text, r#"failoverd_leader{application="payments"} 0"#);
        has(&text, r#"failoverd_application_held{application="payments"} 0"#);
        has(&text, r#"failoverd_rto_objective_seconds{application="payments"} 600"#);
        for gone in ["failoverd_decision{", "failoverd_application_health{", "failoverd_assessed_timestamp_seconds{"] {
            assert!(!text.contains(gone), "{text}");
        }
        observer.led(&payments, true);
        assert!(observer.render(0).contains("failoverd_decision{"));
    }

    #[test]
    fn a_lag_that_is_not_fresh_any_more_vanishes_and_the_exposure_grows_without_bound() {
        let observer = observer();
        let sample =
            Sample { measured_at: at(-10), taken_at: at(-9), reading: Reading::Lag { lag: Duration::from_secs(2) } };
        let fresh = Some((at(-10), Duration::from_secs(2)));
        observer.assessed(&assessment(fresh, SignalState::Fresh { sample }));
        let text = observer.render(0);
        let lag = r#"failoverd_replication_lag_seconds{application="payments",source_region="us-east-1",store="orders",target_region="us-west-2"} 2"#;
        has(&text, lag);
        has(&text, r#"failoverd_rpo_exposure_seconds{application="payments",store="orders"} 12"#);
        has(&text, r#"failoverd_signal_age_seconds{application="payments",signal="edge"} 10"#);
        has(&text, r#"failoverd_decision{application="payments",verdict="notify"} 1"#);
        has(&text, r#"failoverd_application_health{application="payments",state="unknown"} 0"#);
        observer.assessed(&assessment(None, SignalState::Missing { why: "silent".to_owned() }));
        let text = observer.render(0);
        assert!(!text.contains("failoverd_replication_lag_seconds{"), "{text}");
        assert!(!text.contains("failoverd_signal_age_seconds{"), "{text}");
        has(&text, r#"failoverd_rpo_exposure_seconds{application="payments",store="orders"} +Inf"#);
    }

    #[test]
    fn runs_and_steps_are_told_from_records() {
        let observer = observer();
        let step: StepId = "settle".parse().expect("valid");
        let begun = Event::StepStarted { run: run(), step: step.clone(), attempt: 1 };
        let done = Event::StepDone { run: run(), step, evidence: vec![], outputs: BTreeMap::new() };
        observer.recorded(&record(0, vec![started(), begun]), 0.002);
        has(&observer.render(0), r#"failoverd_run_state{application="payments",purpose="failover",state="running"} 1"#);
        let finished =
            Event::RunFinished { run: run(), result: RunResult::Succeeded, reason: "done".to_owned(), loss: None };
        observer.recorded(&record(4, vec![done, finished]), 0.002);
        let text = observer.render(0);
        has(&text, r#"failoverd_run_state{application="payments",purpose="failover",state="running"} 0"#);
        has(&text, r#"failoverd_run_state{application="payments",purpose="failover",state="succeeded"} 1"#);
        has(&text, r#"failoverd_step_duration_seconds_sum{action="wait"} 4"#);
        has(&text, "failoverd_journal_append_seconds_count 2");
        assert!(observer.memory().runs.is_empty());
    }

    #[test]
    fn a_step_that_a_crash_interrupted_is_measured_from_its_beginning() {
        let before = observer();
        let mut history = History::new(name());
        let step: StepId = "settle".parse().expect("valid");
        let begun = Event::StepStarted { run: run(), step: step.clone(), attempt: 1 };
        for event in [started(), begun] {
            history.apply_event(at(0), &event).expect("legal");
        }
        before.restore(&history);
        let done = Event::StepDone { run: run(), step, evidence: vec![], outputs: BTreeMap::new() };
        before.recorded(&record(90, vec![done]), 0.002);
        has(&before.render(0), r#"failoverd_step_duration_seconds_sum{action="wait"} 90"#);
    }

    #[test]
    fn what_is_decided_is_told_and_what_is_not_known_has_no_series() {
        use crate::domain::{
            budget::{RpoBudget, RtoBudget},
            deadline::{About, Level, Warning},
            forecast::{Estimate, Forecast},
            rules::{Finding, Rule},
            vantage::{Stand, Witness},
        };
        let (observer, s) = (observer(), Duration::from_secs);
        let quiet = assessment(None, SignalState::Missing { why: "silent".to_owned() });
        observer.assessed(&quiet);
        for name in ["rto_forecast", "rto_used", "rpo_burn_rate", "rule_holds", "vantage_stand", "days_since", "armed"]
        {
            assert!(!observer.render(0).contains(&format!("\nfailoverd_{name}")), "{name} of what is not known");
        }
        let total = Estimate { p50: s(90), p95: s(160) };
        let says = |vantage: &str, stand| Witness { vantage: vantage.parse().expect("valid"), stand, says: "x".into() };
        observer.assessed(&Assessment {
            forecast: Some(Forecast { total, steps: vec![], runs: 3, way_back: None }),
            rto: Some(RtoBudget { used: s(40), left: None, start_by: None }),
            rpo: BTreeMap::from([(
                "orders".parse().expect("valid"),
                RpoBudget { burn_rate: Some(2.5), ..RpoBudget::default() },
            )]),
            rules: vec![Finding::no(Rule::KillSwitch, "off", "on"), Finding::unknown(Rule::Armed, "?", "!")],
            witnesses: vec![says("here", Stand::Ill)],
            ..quiet.clone()
        });
        let warning = Warning { about: About::Rto, level: Level::Ninety, used: s(9), whole: s(10) };
        let zero = Estimate { p50: s(0), p95: s(0) };
        let due = Deadline { used: None, left: None, remaining: zero, runs: 0, warnings: vec![warning] };
        observer.due(&name(), Some(&due));
        let text = observer.render(0);
        for line in [
            r#"failoverd_rto_forecast_seconds{application="payments",quantile="0.95"} 160"#,
            r#"failoverd_rto_used_seconds{application="payments"} 40"#,
            r#"failoverd_rto_left_seconds{application="payments"} 0"#,
            r#"failoverd_rpo_burn_rate{application="payments",store="orders"} 2.5"#,
            r#"failoverd_rule_holds{application="payments",rule="kill_switch"} 0"#,
            r#"failoverd_kill_switch{application="payments"} 1"#,
            r#"failoverd_armed{application="payments"} 0"#,
            r#"failoverd_vantage_stand{application="payments",stand="ill",vantage="here"} 1"#,
            r#"failoverd_vantage_stand{application="payments",stand="against",vantage="here"} 0"#,
            r#"failoverd_rto_warning{application="payments",level="90_percent"} 1"#,
            r#"failoverd_rto_warning{application="payments",level="spent"} 0"#,
        ] {
            has(&text, line);
        }
        observer.assessed(&quiet);
        observer.due(&name(), None);
        let text = observer.render(0);
        for gone in ["rto_forecast_seconds{", "rto_used_seconds{", "burn_rate{", "vantage_stand{", "rto_warning{"] {
            assert!(!text.contains(gone), "{gone} outlived what it told");
        }
    }

    #[test]
    fn what_was_never_proved_has_no_number_of_days_and_says_so_by_its_state() {
        let observer = observer();
        let history = History::new(name());
        observer.drilled(&application(), &history, at(0));
        let text = observer.render(0);
        has(&text, r#"failoverd_readiness{application="payments",state="never_proven"} 1"#);
        has(&text, r#"failoverd_readiness{application="payments",state="green"} 0"#);
        assert!(!text.contains("failoverd_days_since_proven{"), "{text}");
    }

    #[test]
    fn calls_are_counted_by_how_they_ended() {
        let observer = observer();
        observer.called("rds", "FailoverGlobalCluster", "us-west-2", "unknown", at(0));
        has(
            &observer.render(0),
            r#"failoverd_aws_requests_total{operation="FailoverGlobalCluster",outcome="unknown",region="us-west-2",service="rds"} 1"#,
        );
    }

    #[test]
    fn every_metric_is_in_the_docs_and_every_one_in_the_docs_is_there() {
        let names = |text: &str, quote: char| -> BTreeSet<String> {
            let pieces = text.split(quote).filter(|p| p.starts_with("failoverd_"));
            let name = |p: &str| p.split('{').next().unwrap_or_default().to_owned();
            pieces.map(name).filter(|n| n.bytes().all(|b| b == b'_' || b.is_ascii_lowercase())).collect()
        };
        let code = include_str!("prometheus.rs").split("#[cfg(test)]").next().unwrap_or_default();
        let mut there = names(code, '"');
        for part in [
            include_str!("prometheus/counted.rs"),
            include_str!("prometheus/decisions.rs"),
            include_str!("prometheus/drills.rs"),
            include_str!("prometheus/preflights.rs"),
            include_str!("prometheus/promises.rs"),
            include_str!("prometheus/told.rs"),
        ] {
            there.extend(names(part, '"'));
        }
        assert!(20 < there.len(), "{there:?}");
        assert_eq!(there, names(include_str!("../../../docs/metrics.md"), '`'));
    }
}
