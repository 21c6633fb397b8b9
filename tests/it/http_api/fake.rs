//! An engine that answers as it was told, for tests of what stands in front of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use failoverd::{
    adapters::clock::SystemClock,
    domain::{
        action::Action,
        application::{Application, Objectives},
        assessment::Assessment,
        evidence::Evidence,
        history::History,
        id::{ApplicationName, ChannelName, Digest, OverrideId, RunId, Subject, VantageName},
        journal::{Event, Record, Request as RunRequest, SCHEMA_VERSION, Tail, seal},
        outbox::Sent,
        overrides::{Ending, Override},
        plan::{OnFailure, Plan, PlannedStep, Purpose, Retry},
        policy::Policy,
        run::RunResult,
        signal::{Signal, SignalRole, SignalSource},
    },
    engine::{
        control::{Act, AskOverride, Control, Leader, OverrideNow, Readiness, Refusal, StartRun, Started},
        observations::{Assigned, Observations, Posted, Receipt},
        preflight::round::Now,
        vantages::Vantages,
    },
    http::{
        Api,
        auth::{Access, Grant, Role, TokenEntry},
    },
};
use jiff::Timestamp;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

pub(crate) const RUN: &str = "payments-00000000000000000000000000000001";

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).expect("in range")
}

pub(crate) fn name() -> ApplicationName {
    "payments".parse().expect("valid")
}

pub(crate) fn run_id(bits: u128) -> RunId {
    RunId::new(&name(), bits)
}

fn step(id: &str, action: Action) -> PlannedStep {
    PlannedStep {
        id: id.parse().expect("valid"),
        title: format!("Step {id}"),
        needs: BTreeSet::new(),
        when: None,
        action,
        timeout: Duration::from_secs(60),
        retry: Retry { attempts: 1, backoff: Duration::ZERO },
        on_failure: OnFailure::Hold,
        no_return: false,
        towards: Default::default(),
    }
}

pub(crate) fn plan() -> Plan {
    Plan {
        application: name(),
        purpose: Purpose::Failover,
        source: "us-east-1".parse().expect("valid"),
        target: "us-west-2".parse().expect("valid"),
        runbook: "region-failover".parse().expect("valid"),
        runbook_digest: Digest::zero(),
        config_digest: Digest::zero(),
        accepted_loss: Some(Duration::from_secs(30)),
        budget: None,
        reconciles: None,
        steps: vec![
            step(
                "consent",
                Action::Approve {
                    count: 1,
                    expires_after: Duration::from_secs(900),
                    reason: "may lose writes".to_owned(),
                },
            ),
            step("settle", Action::Wait { duration: Duration::from_secs(1) }),
        ],
    }
}

pub(crate) fn started(run: RunId) -> Event {
    Event::RunStarted {
        run,
        request: RunRequest {
            purpose: Purpose::Failover,
            subject: "ann".parse().expect("valid"),
            reason: "us-east-1 is gone".to_owned(),
            idempotency_key: None,
            body_digest: Digest::zero(),
            supersedes: None,
            armed: None,
        },
        plan: Box::new(plan()),
        evidence_since: Some(at(-60)),
    }
}

pub(crate) fn finished(run: RunId) -> Event {
    Event::RunFinished { run, result: RunResult::Succeeded, reason: "every step is done".to_owned(), loss: None }
}

/// `payments`, whose probe `eu-west-1` observes.
pub(crate) fn application() -> Application {
    let signal = |name: &str, source| Signal {
        name: name.parse().expect("valid"),
        role: SignalRole::Informational,
        source,
        period: Duration::from_secs(10),
        freshness: Duration::from_secs(30),
        consecutive: 1,
    };
    let probe = SignalSource::HttpProbe {
        url: "https://use1.example.com/healthz".to_owned(),
        of: plan().source,
        timeout: Duration::from_secs(3),
    };
    Application {
        name: name(),
        regions: vec![plan().source, plan().target],
        objectives: Objectives { rto: Duration::from_secs(600), rpo: Duration::from_secs(30) },
        stores: BTreeMap::new(),
        replicas: BTreeMap::new(),
        traffic: BTreeMap::new(),
        signals: vec![
            signal("probe", probe),
            signal("lag", SignalSource::AuroraLag { store: "main".parse().expect("valid") }),
        ],
        endpoints: BTreeMap::new(),
        public_url: None,
        runbooks: BTreeMap::new(),
        drills: vec!["drill-tabletop".parse().expect("valid")],
        schedules: vec![failoverd::domain::schedule::Schedule {
            prove_within: Some(Duration::from_hours(21 * 24)),
            ..crate::drill_schedules::daily("nightly", "drill-tabletop", "30 2 * * *")
        }],
        prove_within: None,
        topics: vec![],
        policy: Policy { observers: ["eu-west-1".parse().expect("valid")].into(), ..Policy::default() },
        iac: Default::default(),
    }
}

/// An engine that answers as it was told, and remembers what it was asked.
pub(crate) struct Fake {
    pub(crate) answer: Mutex<Result<Started, Refusal>>,
    pub(crate) asked: Mutex<Vec<StartRun>>,
    pub(crate) acted: Mutex<Vec<(RunId, Act, Subject, String)>>,
    pub(crate) act_answer: Mutex<Result<(), Refusal>>,
    pub(crate) override_answer: Mutex<Result<(), Refusal>>,
    pub(crate) records: Mutex<Vec<Record>>,
    pub(crate) history: Mutex<History>,
    pub(crate) assessment: Mutex<Option<Arc<Assessment>>>,
    pub(crate) ready: Mutex<bool>,
    /// Applications beside `payments`.
    pub(crate) others: Mutex<Vec<Arc<Application>>>,
    /// Who leads, where it is another replica.
    pub(crate) leader: Mutex<Option<Leader>>,
    /// What preflight of `payments` has found.
    pub(crate) preflight: Mutex<Option<Now>>,
    pub(crate) live: broadcast::Sender<Arc<Record>>,
    /// The real ones: there is nothing to fake in them.
    pub(crate) observations: Observations,
}

impl Fake {
    pub(crate) fn new() -> Arc<Self> {
        let fake = Arc::new(Self {
            answer: Mutex::new(Ok(Started::Run { id: run_id(1), supersedes: None })),
            asked: Mutex::default(),
            acted: Mutex::default(),
            act_answer: Mutex::new(Ok(())),
            override_answer: Mutex::new(Ok(())),
            records: Mutex::default(),
            history: Mutex::new(History::new(name())),
            assessment: Mutex::default(),
            ready: Mutex::new(true),
            others: Mutex::default(),
            leader: Mutex::default(),
            preflight: Mutex::default(),
            live: broadcast::channel(2).0,
            observations: Observations::new(
                vec![Arc::new(application())],
                Arc::new(Vantages::here()),
                Arc::new(SystemClock),
            ),
        });
        fake.append(0, vec![started(run_id(1))]);
        fake
    }

    /// As the engine does: durable first, then told.
    pub(crate) fn append(&self, second: i64, events: Vec<Event>) {
        let mut records = self.records.lock().expect("lock");
        let mut history = self.history.lock().expect("lock");
        for event in &events {
            history.apply_event(at(second), event).expect("legal");
        }
        let record = Record {
            journal: name(),
            seq: records.len() as u64,
            epoch: 1,
            at: at(second),
            schema_version: SCHEMA_VERSION,
            events,
            prev_hash: Digest::zero(),
        };
        records.push(record.clone());
        let _ = self.live.send(Arc::new(record));
    }

    pub(crate) fn refuse(&self, refusal: Refusal) {
        *self.answer.lock().expect("lock") = Err(refusal);
    }
}

#[async_trait::async_trait]
impl Control for Fake {
    async fn start_run(&self, request: StartRun) -> Result<Started, Refusal> {
        self.asked.lock().expect("lock").push(request);
        self.answer.lock().expect("lock").clone()
    }

    async fn act(&self, run: &RunId, act: Act, who: &Subject, why: &str) -> Result<(), Refusal> {
        let asked = (run.clone(), act, who.clone(), why.to_owned());
        self.acted.lock().expect("lock").push(asked);
        self.act_answer.lock().expect("lock").clone()
    }

    async fn notify_test(&self, _: &ApplicationName, _: &ChannelName, _: &Subject) -> Result<Sent, Refusal> {
        Ok(Sent::Delivered)
    }

    fn preflight(&self, application: &ApplicationName) -> Option<Now> {
        self.preflight.lock().expect("lock").clone().filter(|_| *application == name())
    }

    async fn preflight_now(&self, application: &ApplicationName) -> Result<Option<Now>, Refusal> {
        Ok(self.preflight(application))
    }

    fn leader(&self, _: &ApplicationName) -> Option<Leader> {
        self.leader.lock().expect("lock").clone()
    }

    fn unknown_run(&self, run: &RunId) -> Refusal {
        match self.leader.lock().expect("lock").clone() {
            Some(leader) => Refusal::NotLeader { application: name(), leader: Some(Box::new(leader)) },
            None => Refusal::UnknownRun(run.clone()),
        }
    }

    fn now(&self) -> Option<jiff::Timestamp> {
        Some("2026-11-22T02:30:00Z".parse().expect("an instant"))
    }

    fn applications(&self) -> Vec<Arc<Application>> {
        [Arc::new(application())].into_iter().chain(self.others.lock().expect("lock").iter().cloned()).collect()
    }

    fn history(&self, application: &ApplicationName) -> Option<Arc<History>> {
        (*application == name()).then(|| Arc::new(self.history.lock().expect("lock").clone()))
    }

    fn assessment(&self, _: &ApplicationName) -> Option<Arc<Assessment>> {
        self.assessment.lock().expect("lock").clone()
    }

    fn subscribe(&self, application: &ApplicationName) -> Option<broadcast::Receiver<Arc<Record>>> {
        (*application == name()).then(|| self.live.subscribe())
    }

    async fn records(&self, _: &RunId) -> Result<Vec<Record>, Refusal> {
        Ok(self.records.lock().expect("lock").clone())
    }

    async fn evidence(&self, run: &RunId) -> Result<Evidence, Refusal> {
        let known = self.history.lock().expect("lock").runs.contains_key(run);
        if !known {
            return Err(self.unknown_run(run));
        }
        let sealed = seal(&name(), &Tail::empty(), 1, at(0), vec![started(run.clone())]).expect("small");
        let objectives = application().objectives;
        Ok(Evidence::of(&[sealed], run, objectives, Digest::zero(), "failoverd").expect("a run"))
    }

    fn waits(
        &self,
        _: &failoverd::domain::id::RunId,
    ) -> std::collections::BTreeMap<failoverd::domain::id::StepId, String> {
        std::collections::BTreeMap::new()
    }

    fn assigned(&self, vantage: &VantageName) -> Assigned {
        self.observations.assigned(vantage)
    }

    fn hear(&self, vantage: &VantageName, posted: Posted) -> Result<Receipt, Refusal> {
        self.observations.hear(vantage, posted)
    }

    async fn override_ask(&self, asked: AskOverride) -> Result<OverrideId, Refusal> {
        self.override_answer.lock().expect("lock").clone()?;
        let id = OverrideId::new(&name(), 1 + self.history.lock().expect("lock").overrides.all().count() as u128);
        let expires_at = at(0).checked_add(jiff::SignedDuration::try_from(asked.expires_in).expect("fits"));
        let what = Override {
            id: id.clone(),
            kind: asked.kind,
            by: asked.subject,
            reason: asked.reason,
            asked_at: at(0),
            expires_at: expires_at.expect("in range"),
            bound_to: None,
            consent: None,
            ended: None,
        };
        self.append(0, vec![Event::OverrideAsked { asked: Box::new(what) }]);
        Ok(id)
    }

    async fn override_consent(&self, id: &OverrideId, agrees: bool, who: &Subject, why: &str) -> Result<(), Refusal> {
        self.override_answer.lock().expect("lock").clone()?;
        let (id, subject, reason) = (id.clone(), who.clone(), why.to_owned());
        let declined =
            || Event::OverrideEnded { id: id.clone(), ending: Ending::Declined, subject: None, why: why.to_owned() };
        let event = if agrees { Event::OverrideConsented { id: id.clone(), subject, reason } } else { declined() };
        self.append(1, vec![event]);
        Ok(())
    }

    async fn override_end(&self, id: &OverrideId, who: &Subject, why: &str) -> Result<(), Refusal> {
        self.override_answer.lock().expect("lock").clone()?;
        let (id, subject, why) = (id.clone(), Some(who.clone()), why.to_owned());
        self.append(2, vec![Event::OverrideEnded { id, ending: Ending::Withdrawn, subject, why }]);
        Ok(())
    }

    fn overrides(&self, application: &ApplicationName) -> Result<Vec<OverrideNow>, Refusal> {
        if *application != name() {
            return Err(Refusal::UnknownApplication(application.clone()));
        }
        let history = self.history.lock().expect("lock");
        let shown = |o: &Override| OverrideNow {
            what: o.clone(),
            standing: o.standing(at(3)),
            preflight: Some((at(1), "it could run".to_owned())),
        };
        Ok(history.overrides.all().map(shown).collect())
    }

    fn readiness(&self) -> Readiness {
        let ready = *self.ready.lock().expect("lock");
        Readiness {
            ready,
            reasons: if ready { vec![] } else { vec!["another replica leads".to_owned()] },
            signatures: BTreeMap::new(),
        }
    }
}

pub(crate) fn api(fake: &Arc<Fake>, access: impl Into<Access>) -> Api {
    Api::new(
        Arc::clone(fake) as Arc<dyn Control>,
        access,
        Arc::new(|| "# metrics\n".to_owned()),
        CancellationToken::new(),
    )
}

pub(crate) fn entry(name: &str, token: &str, roles: &[Role]) -> TokenEntry {
    use sha2::Digest as _;
    TokenEntry {
        name: name.parse().expect("valid"),
        sha256: hex::encode(sha2::Sha256::digest(token)),
        grants: roles.iter().copied().map(Grant::every).collect(),
        expires_at: None,
        certificate: None,
    }
}
