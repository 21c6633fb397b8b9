//! What the API may ask of the engine: requests that people make, and the reasons for which they are refused.
//!
//! Every request is answered at once (FAULTS.md L6): what needs a fresh look at AWS is accepted and done in the run.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::broadcast;

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
        lease::Lease,
        outbox::Sent,
        overrides::{Override, OverrideKind, STANDING_COUNT_MAX, Standing},
        plan::{Plan, Purpose},
        report::OutOfOrder,
        rules::Rule,
        runbook::Runbook,
        signature::{Check, Family},
        vantage::Observer,
    },
    engine::{
        automatic::Choice,
        consents,
        observations::{Assigned, Posted, Receipt},
        outbox::Told,
        outlook::Outlook,
        overrides::lasting,
        preflight::round,
        trend::Point,
    },
};

/// What a caller of `POST /failover`, `/failback`, `/drills` or `/salvage` wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// A switchover where its preconditions are proved; else a failover is proposed, never started silently.
    Auto,
    Switchover,
    Failover,
    Failback,
    /// One of the application's drills, by its runbook.
    Drill {
        runbook: RunbookName,
    },
    /// What a failover has left, looked at and signed: of this one, or of the newest that nobody has reconciled.
    Salvage {
        run: Option<RunId>,
    },
}

/// A request for a run.
#[derive(Debug, Clone, PartialEq)]
pub struct StartRun {
    pub application: ApplicationName,
    pub wish: Wish,
    /// `None`: the only other Region, or the preferred one for a failback.
    pub target: Option<Region>,
    pub reason: String,
    pub accept_data_loss: Option<Duration>,
    /// `None`: the application's own for the purpose.
    pub runbook: Option<RunbookName>,
    pub subject: Subject,
    pub idempotency_key: Option<String>,
    /// The digest of the whole body.
    pub body_digest: Digest,
    /// Compile and show; start nothing.
    pub dry_run: bool,
}

/// A request for an override.
#[derive(Debug, Clone, PartialEq)]
pub struct AskOverride {
    pub application: ApplicationName,
    pub kind: OverrideKind,
    pub reason: String,
    /// How long it is to stand.
    pub expires_in: Duration,
    pub subject: Subject,
    pub idempotency_key: Option<String>,
}

/// An override as it stands now.
#[derive(Debug, Clone, PartialEq)]
pub struct OverrideNow {
    pub what: Override,
    pub standing: Standing,
    /// Of what is armed: when it was looked at last whether it could run, and what was found.
    pub preflight: Option<(Timestamp, String)>,
}

/// What became of a request for a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Started {
    /// A new run.
    Run { id: RunId, supersedes: Option<RunId> },
    /// The run that the same key and body started before.
    Again { id: RunId },
    /// What would be done; nothing was started.
    Planned {
        plan: Box<Plan>,
        digest: Digest,
        /// Where `auto` was asked for: what it came to, and why.
        chosen: Option<Choice>,
    },
}

/// Who works on an application, where several replicas share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    pub holder: String,
    /// Where its API is reached, if it said so.
    pub url: Option<String>,
    pub region: Option<String>,
    /// `None` until it has begun one.
    pub epoch: Option<u64>,
    /// Since when, by its own clock.
    pub since: Timestamp,
    /// It is the replica that was asked.
    pub here: bool,
}

impl Leader {
    /// As its lease says. `epoch` is the newest that the journal has, as far as it was read.
    pub fn new(lease: &Lease, epoch: u64, here: bool) -> Self {
        let (holder, url, region) = (lease.holder.clone(), lease.url.clone(), lease.region.clone());
        Self { holder, url, region, epoch: lease.epoch.map(|of| of.max(epoch)), since: lease.since, here }
    }
}

impl std::fmt::Display for Leader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.holder)?;
        if let Some(region) = &self.region {
            write!(f, " in {region}")?;
        }
        self.url.as_ref().map_or(Ok(()), |url| write!(f, " at {url}"))
    }
}

/// Why a request is refused. `code` (see [`Refusal::code`]) has a page in docs/errors.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    #[error("there is no application `{0}`")]
    UnknownApplication(ApplicationName),
    #[error("there is no run `{0}`")]
    UnknownRun(RunId),
    #[error("the run has no step `{0}` of which that can be said")]
    UnknownStep(StepId),
    #[error("the run asks for no approval of `{step}`; {}", consents::told(waiting))]
    NotForApproval { step: StepId, waiting: Vec<StepId> },
    #[error("`{target}` cannot be the target: {why}")]
    BadTarget { target: String, why: String },
    #[error("the idempotency key was used before with another request")]
    KeyReused,
    #[error("a {purpose} is already at work: {run}; {escalate}")]
    AlreadyRunning { run: RunId, purpose: Purpose, escalate: String },
    #[error("refused by {gate}: {why}; {satisfied_by}")]
    Gate { gate: &'static str, why: String, satisfied_by: String },
    #[error("the digest shown is not that of the run's plan: look at it again")]
    StaleDigest { current: Digest },
    #[error("an approval must come from somebody other than {0}, who asked for the run or has approved already")]
    SelfApproval(Subject),
    #[error("the run cannot do that now: {0}")]
    WrongPhase(String),
    #[error("`{step}` is not skipped: {why}; retry it, or abort the run")]
    NotSkippable { step: StepId, why: String },
    #[error("the runbook cannot be compiled: {}", .0.join("; "))]
    Uncompilable(Vec<String>),
    #[error("`{application}` names no drill `{runbook}`; drills: {known}")]
    UnknownDrill { application: ApplicationName, runbook: RunbookName, known: String },
    #[error("`{application}` has no channel `{channel}`")]
    UnknownChannel { application: ApplicationName, channel: ChannelName },
    #[error("there is nothing to salvage: {why}")]
    NothingToSalvage { why: String },
    #[error(
        "{run} left writes in {region} that nobody has reconciled: salvage them and sign (failoverd salvage), or say that \
         it was done (failoverd acknowledge {run} --reconciled)"
    )]
    Unreconciled { run: RunId, region: Region },
    #[error("the daemon is stopping: ask again after its restart")]
    Stopping,
    #[error("the application is held: {0}")]
    Held(String),
    #[error("this replica does not lead `{application}`: {}", led_by(leader.as_deref()))]
    NotLeader { application: ApplicationName, leader: Option<Box<Leader>> },
    #[error("the stamp is none of this daemon's life: ask for the assignments again")]
    UnknownStamp,
    #[error("{0}")]
    ReportOutOfOrder(OutOfOrder),
    #[error("there is no override `{0}`")]
    UnknownOverride(OverrideId),
    #[error("the override cannot do that now: {0}")]
    OverrideOver(String),
    #[error("a {kind} lasts from 1 s to {} ({} s), {} s were asked for", lasting(*longest), longest.as_secs(), asked.as_secs())]
    OverrideTooLong { kind: &'static str, asked: Duration, longest: Duration },
    #[error("`{}` cannot be waived: it guards data, not against haste; {} can", rule.as_str(), waivable())]
    NotWaivable { rule: Rule },
    #[error(
        "{standing} overrides of the kind {kind} stand already, and at most {STANDING_COUNT_MAX} may: end one first"
    )]
    TooManyOverrides { kind: &'static str, standing: usize },
    #[error("it cannot be armed: {why}; {satisfied_by}")]
    Arming { why: String, satisfied_by: String },
    #[error("the consent must come from somebody other than {0}, who asked for it")]
    SelfConsent(Subject),
}

fn led_by(leader: Option<&Leader>) -> String {
    match leader {
        Some(leader) => format!("{leader} does; ask there"),
        None => "nobody does for the moment; ask again in some seconds".to_owned(),
    }
}

fn waivable() -> String {
    Rule::ALL.iter().filter(|r| r.is_waivable()).map(|r| r.as_str()).collect::<Vec<_>>().join(", ")
}

impl Refusal {
    /// The same of an override: where there is no such application there is no such override.
    pub(super) fn of_override(self, id: &OverrideId) -> Self {
        match self {
            Self::UnknownApplication(_) => Self::UnknownOverride(id.clone()),
            other => other,
        }
    }

    /// The stable code of the refusal, which names its page.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownApplication(_) => "unknown-application",
            Self::UnknownRun(_) => "unknown-run",
            Self::UnknownStep(_) | Self::NotForApproval { .. } => "unknown-step",
            Self::BadTarget { .. } => "bad-target",
            Self::KeyReused => "idempotency-key-reused",
            Self::AlreadyRunning { .. } => "already-running",
            Self::Gate { .. } => "gate-refused",
            Self::StaleDigest { .. } => "stale-digest",
            Self::SelfApproval(_) => "self-approval",
            Self::WrongPhase(_) => "wrong-phase",
            Self::NotSkippable { .. } => "step-not-skippable",
            Self::Uncompilable(_) => "runbook-uncompilable",
            Self::UnknownDrill { .. } => "unknown-drill",
            Self::UnknownChannel { .. } => "unknown-channel",
            Self::NothingToSalvage { .. } => "nothing-to-salvage",
            Self::Unreconciled { .. } => "unreconciled",
            Self::Stopping => "stopping",
            Self::Held(_) => "application-held",
            Self::NotLeader { .. } => "not-leader",
            Self::UnknownStamp => "stamp-unknown",
            Self::ReportOutOfOrder(_) => "report-out-of-order",
            Self::UnknownOverride(_) => "unknown-override",
            Self::OverrideOver(_) => "override-over",
            Self::OverrideTooLong { .. } => "override-too-long",
            Self::NotWaivable { .. } => "override-not-waivable",
            Self::TooManyOverrides { .. } => "too-many-overrides",
            Self::Arming { .. } => "arming-refused",
            Self::SelfConsent(_) => "self-consent",
        }
    }
}

/// What a person does to a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    Approve {
        step: StepId,
        approved: bool,
        digest: Digest,
    },
    Abort,
    Pause,
    Resume,
    /// Of one failed step, or of its failed undo.
    Retry {
        step: StepId,
        digest: Digest,
    },
    /// The same, passed over.
    Skip {
        step: StepId,
        digest: Digest,
    },
}

/// Whether the daemon is able to act, and if not, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    pub ready: bool,
    pub reasons: Vec<String>,
    /// Whether AWS refuses old signatures, for each family of services that is used.
    pub signatures: BTreeMap<Family, Check>,
}

/// The engine as the API sees it.
#[async_trait]
pub trait Control: Send + Sync {
    async fn start_run(&self, request: StartRun) -> Result<Started, Refusal>;
    /// What `plan` would meet if `by` began it now. It only looks; `None`: nobody is there to look.
    async fn look_ahead(&self, _plan: &Plan, _by: &Subject) -> Option<Outlook> {
        None
    }
    /// What preflight has found of the application, where it is worked on here and looked at; `None`: it is not.
    fn preflight(&self, _application: &ApplicationName) -> Option<round::Now> {
        None
    }
    /// Asks for a round of preflight, and waits for a moment; what there is then. `None`: nobody looks.
    async fn preflight_now(&self, _application: &ApplicationName) -> Result<Option<round::Now>, Refusal> {
        Ok(None)
    }
    async fn act(&self, run: &RunId, act: Act, subject: &Subject, reason: &str) -> Result<(), Refusal>;
    /// What the clock of this replica shows; `None`: it has none.
    fn now(&self) -> Option<Timestamp> {
        None
    }
    /// Every runbook, by name, with the digest that a plan pins.
    fn runbooks(&self) -> Vec<(Arc<Runbook>, Digest)> {
        Vec::new()
    }
    /// Who works on the application, where several replicas share it and somebody does.
    fn leader(&self, _application: &ApplicationName) -> Option<Leader> {
        None
    }
    /// Why nothing is done for the application at this replica, where nothing is.
    fn held(&self, _application: &ApplicationName) -> Option<String> {
        None
    }
    /// What is to be said of a run that is not known here: that there is none, or that whoever leads should be asked.
    fn unknown_run(&self, run: &RunId) -> Refusal {
        Refusal::UnknownRun(run.clone())
    }
    /// What people were told of the application, and over which channels.
    async fn notifications(&self, _application: &ApplicationName) -> Result<Told, Refusal> {
        Ok(Told::default())
    }
    /// Sends a test message for `by` over one of the application's channels.
    async fn notify_test(
        &self,
        application: &ApplicationName,
        channel: &ChannelName,
        _by: &Subject,
    ) -> Result<Sent, Refusal> {
        Err(Refusal::UnknownChannel { application: application.clone(), channel: channel.clone() })
    }
    fn applications(&self) -> Vec<Arc<Application>>;
    /// A snapshot of everything that the application's journal says.
    fn history(&self, application: &ApplicationName) -> Option<Arc<History>>;
    /// The newest assessment; `None` until the first is made.
    fn assessment(&self, application: &ApplicationName) -> Option<Arc<Assessment>>;
    /// From where this daemon looks at the application, and what observers elsewhere have reported of it.
    fn seen_from(&self, _application: &ApplicationName) -> Option<(VantageName, BTreeMap<VantageName, Observer>)> {
        None
    }
    /// What each Region's clusters were last seen to have.
    fn capacities(&self, _application: &ApplicationName) -> BTreeMap<(StoreName, Region), Seen> {
        BTreeMap::new()
    }
    /// How the lag and the exposure of its stores went, the oldest point first; empty where this replica has not watched.
    fn trend(&self, _application: &ApplicationName) -> Vec<Point> {
        Vec::new()
    }
    /// Records as they become durable; a receiver that lags behind reads the journal again.
    fn subscribe(&self, application: &ApplicationName) -> Option<broadcast::Receiver<Arc<Record>>>;
    /// The records of the journal that concern `run`, in order.
    async fn records(&self, run: &RunId) -> Result<Vec<Record>, Refusal>;
    /// What an auditor is given of `run`.
    async fn evidence(&self, run: &RunId) -> Result<Evidence, Refusal> {
        Err(self.unknown_run(run))
    }
    /// The same of several runs of one application, in their order; the journal is read once.
    async fn evidences(&self, _application: &ApplicationName, runs: &[RunId]) -> Result<Vec<Evidence>, Refusal> {
        let mut all = Vec::with_capacity(runs.len());
        for run in runs {
            all.push(self.evidence(run).await?);
        }
        Ok(all)
    }
    /// Why each step of `run` that is not done yet waits, as of its last look.
    fn waits(&self, run: &RunId) -> BTreeMap<StepId, String>;
    fn readiness(&self) -> Readiness;
    /// What the observer at `vantage` is to probe.
    fn assigned(&self, vantage: &VantageName) -> Assigned;
    /// Takes in what the observer at `vantage` reports.
    fn hear(&self, vantage: &VantageName, posted: Posted) -> Result<Receipt, Refusal>;
    /// Asks for an override; the id of the one that the same key has asked for before is answered again.
    async fn override_ask(&self, asked: AskOverride) -> Result<OverrideId, Refusal>;
    /// The word of a second person: in force, or declined.
    async fn override_consent(
        &self,
        id: &OverrideId,
        agrees: bool,
        subject: &Subject,
        reason: &str,
    ) -> Result<(), Refusal>;
    /// Takes an override back.
    async fn override_end(&self, id: &OverrideId, subject: &Subject, reason: &str) -> Result<(), Refusal>;
    /// Those of `application` that are kept, in the order of asking.
    fn overrides(&self, application: &ApplicationName) -> Result<Vec<OverrideNow>, Refusal>;
}
