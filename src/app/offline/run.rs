//! The failover itself: the waits, the branch, and the ordinary engine over it.
//!
//! The engine is a daemon's, for one application, with its API on a loopback port: what a person does to a run that is held
//! they do by the ordinary verbs, with the token that is printed.
//!
//! Invariants: nothing is begun before the waits are over and the table is silent still; the branch's first record of its own
//! has the declarations; a run that was under way is over with it. While it works the table is asked again and again: if
//! somebody takes the lease, the run is paused.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::{
    Means, Refused, TABLE_ANSWERS, Wanted, copy,
    keys::{self, Signed},
    place::Place,
    ready::{Ready, ready},
};
use crate::{
    adapters::{
        observers::prometheus::Metrics,
        store::{SqliteStore, dynamodb::Answers},
    },
    app::Daemon,
    cli::{EXIT_DONE, EXIT_HELD, EXIT_REFUSED, Options, api::Api, token::Credentials, watch},
    config::{Auth, Offline, Settings, Store, Token},
    domain::{
        access::{Grant, Role},
        action::Action,
        branch::{Began, Parent},
        deferred::Work,
        history::History,
        id::{ApplicationName, BranchId, Digest, RunId, Subject},
        journal::Event,
        policy::Mode,
        run::{RunResult, StepState},
    },
    engine::{
        Engine,
        control::{Act, Control, Refusal, StartRun, Started, Wish},
        recover,
        scribe::{Desk, Fatal, Scribe},
    },
    ports::{JournalStore, Observer},
};

/// How often people are told how long is still waited.
const TOLD_EVERY: Duration = Duration::from_secs(30);

/// For how long the engine may look until a failover can be asked for: a lag sample, the writer.
const LOOKS_WITHIN: Duration = Duration::from_secs(180);

/// How often signatures are looked for.
const LOOK: Duration = Duration::from_millis(500);

/// How often the table is asked while a branch is written.
const ASK_TABLE: Duration = Duration::from_secs(5);

/// Does all of it; how it ended, as an exit code.
///
/// # Errors
/// [`Refused`] where it is not begun; anything else is a failure of this machine.
pub async fn failover(means: &Means, wanted: &Wanted) -> anyhow::Result<u8> {
    let ready = ready(means, wanted).await?;
    tell_what_is_known(means, wanted, &ready);
    if wanted.dry_run {
        means.tell("nothing was started");
        return Ok(EXIT_DONE);
    }
    let path = ready.place.branch(&ready.app.name, &ready.branch);
    if ready.history.branches.own().is_none() {
        wait(means).await;
        still_lost(means, &ready.app.name).await?;
    }
    let Ready { app, operator, place, offline, branch, signed, .. } = &ready;
    let store: Arc<dyn JournalStore> = Arc::new(begun(means, &ready).await?);
    let token = format!("{:032x}{:032x}", keys::draw()?, keys::draw()?);
    let settings = settings(&means.settings, app.name.clone(), operator, &token, &path);
    let daemon = Daemon::start_over(settings, Arc::clone(&means.clock), means.sdk.clone(), store, None, None).await?;
    let url = format!("http://{}", daemon.address);
    means.tell(format!(
        "what is held, people resume from another shell:\n  export FAILOVERD_URL={url} FAILOVERD_TOKEN={token}"
    ));
    let over = CancellationToken::new();
    let signatures = Signatures {
        engine: daemon.engine.clone(),
        place: place.clone(),
        offline: offline.clone(),
        application: app.name.clone(),
        branch: branch.clone(),
        given: signed.clone(),
    };
    let giving = tokio::spawn(signatures.give(means.clone(), over.clone()));
    let guarding =
        tokio::spawn(guard(means.clone(), daemon.engine.clone(), app.name.clone(), operator.clone(), over.clone()));
    let ended = tokio::select! {
        ended = carry_out(means, wanted, &ready, &daemon.engine, &url, &token) => ended,
        reason = daemon.engine.failed() => Err(anyhow::anyhow!("the branch cannot be written: {reason}")),
        () = told_to_stop() => {
            let is_over = daemon.engine.history(&app.name).is_some_and(|history| history.active_run().is_none());
            means.tell("stopping: the same command goes on with this branch");
            Ok(if is_over { EXIT_DONE } else { EXIT_HELD })
        }
    };
    over.cancel();
    let history = daemon.engine.history(&app.name);
    daemon.stop().await;
    let _ = tokio::join!(giving, guarding);
    let digest = history.map_or_else(|| "unknown".to_owned(), |history| history.tail.hash.to_string());
    means.tell(format!(
        "the branch {branch} is in {}, its digest {digest}\nwhen the table is back, before a daemon is started:\n  failoverd \
         offline import {} --config F --by NAME",
        path.display(),
        path.display()
    ));
    ended
}

async fn told_to_stop() {
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => _ = signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = terminated => {}
        Ok(()) = tokio::signal::ctrl_c() => {}
    }
}

fn tell_what_is_known(means: &Means, wanted: &Wanted, ready: &Ready) {
    let records = ready.history.tail.next_seq;
    means.tell(format!("{}, branch {}", ready.app.name, ready.branch));
    means.tell(format!("  this machine has {}", ready.known.told(records)));
    if let Some(run) = ready.history.active_run() {
        means.tell(format!("  {} was under way ({}): it is over with this branch", run.id, run.plan.purpose));
    }
    if let Some(held) = ready.history.branches.held() {
        means.tell(format!("  {held}"));
    }
    match &ready.plan {
        Ok(plan) => {
            let digest = plan.digest();
            means.tell(format!("  {} -> {} by {}, {} steps", plan.source, plan.target, plan.runbook, plan.steps.len()));
            means.tell(format!("  plan {digest}"));
            for step in plan.steps.iter().filter(|s| matches!(s.action, Action::Approve { .. })) {
                means.tell(format!(
                    "  `{}` waits for a signature:\n    failoverd offline sign --key FILE --name NAME --application {} \
                     --branch {} --digest {digest}\n  given as --approval, or as a line of {}",
                    step.id,
                    ready.app.name,
                    ready.branch,
                    ready.place.approvals(&ready.app.name, &ready.branch).display()
                ));
            }
        }
        Err(why) => means.tell(format!("  the plan: {why}")),
    }
    let waits = means.waits;
    means.tell(format!(
        "  before anything is begun: {} s until nobody can hold the lease, and {} s until AWS refuses what was signed under it",
        waits.lease.as_secs(),
        waits.signatures.as_secs()
    ));
    if !wanted.dry_run {
        means.tell(format!(
            "  {} accepts a loss of {} s",
            ready.operator,
            wanted.accept_data_loss.unwrap_or_default().as_secs()
        ));
    }
}

/// Waits on the boot clock, the lease and then the signatures, and says how long is left.
pub async fn wait(means: &Means) {
    let clock = &means.clock;
    for (what, span) in [("the lease", means.waits.lease), ("the signatures", means.waits.signatures)] {
        let until = clock.boot() + span;
        loop {
            let left = until.saturating_sub(clock.boot());
            if left.is_zero() {
                break;
            }
            means.tell(format!("waiting for {what}: {} s left", left.as_secs()));
            clock.sleep(left.min(TOLD_EVERY)).await;
        }
    }
}

/// The table, asked once more.
async fn still_lost(means: &Means, application: &ApplicationName) -> Result<(), Refused> {
    match means.table(application).await {
        Answers::Silent(_) => Ok(()),
        Answers::Lease { .. } => Err(Refused::one(TABLE_ANSWERS, "the table answers again: use the daemons")),
        Answers::Refuses(why) => Err(Refused::one(TABLE_ANSWERS, format!("the table answers again: {why}"))),
    }
}

/// The branch's journal: one that goes on, or the copy with a first record of its own.
async fn begun(means: &Means, ready: &Ready) -> anyhow::Result<SqliteStore> {
    let (name, path) = (&ready.app.name, ready.place.branch(&ready.app.name, &ready.branch));
    let store = SqliteStore::open(&path).with_context(|| format!("open {}", path.display()))?;
    if let Some(copy) = &ready.copy {
        copy::whole(copy, &store, name)
            .await
            .map_err(|why| anyhow::anyhow!("copy the journal to {}: {why}", path.display()))?;
    }
    let history = recover::recover(&store, name).await?;
    if history.branches.own().is_some() {
        return Ok(store);
    }
    let read_at = match &ready.known {
        super::ready::Known::Copy { read_at, .. } => Some(*read_at),
        _ => None,
    };
    let began = Began {
        id: ready.branch.clone(),
        parent: Parent::at(&history.tail, read_at),
        by: ready.operator.clone(),
        table_lost: ready.table_lost.clone(),
        replicas_stopped: ready.replicas_stopped.clone(),
        stale_copy: ready.stale_copy.clone(),
        waited: means.waits.total(),
        config_digest: means.settings.digest.clone(),
    };
    let store = Arc::new(store);
    {
        let scribe = take_over(means, Arc::clone(&store) as Arc<dyn JournalStore>, history, &ready.operator).await?;
        let committed = scribe.commit::<(), Refusal>(|history, _| Ok((first_events(history, began), ())));
        committed.await.context("begin the branch")?;
    }
    ready.place.begun(name);
    Arc::into_inner(store).context("nobody else has the branch open")
}

/// A writer of a journal that is no daemon's, in an epoch of its own.
pub(super) async fn take_over(
    means: &Means,
    store: Arc<dyn JournalStore>,
    history: History,
    by: &Subject,
) -> anyhow::Result<Scribe> {
    let applications: Vec<_> = means.settings.applications.iter().cloned().map(Arc::new).collect();
    let observer: Arc<dyn Observer> = Arc::new(Metrics::new(&applications)?);
    let desk = Desk {
        store,
        clock: Arc::clone(&means.clock),
        observer,
        fatal: Arc::new(Fatal::default()),
        live: broadcast::Sender::new(1),
    };
    let holder = format!("offline:{by}:{}", super::super::hostname());
    Scribe::take_over(desk, history, &holder).await.context("begin an epoch")
}

/// What a branch begins with: who declared what, and the end of the run that was under way.
fn first_events(history: &History, began: Began) -> Vec<Event> {
    let reason = format!("superseded by the branch {}", began.id);
    let mut events = vec![Event::BranchBegan { branch: Box::new(began) }];
    events.extend(superseded(history, &reason));
    events
}

/// The end of the run that is under way, with what it leaves.
pub(super) fn superseded(history: &History, reason: &str) -> Vec<Event> {
    let Some(run) = history.active_run() else { return Vec::new() };
    let left = Work::of_superseded(run).into_iter();
    let mut events: Vec<Event> =
        left.map(|(step, work)| Event::WorkDeferred { run: run.id.clone(), step, work }).collect();
    let (run, reason) = (run.id.clone(), reason.to_owned());
    events.push(Event::RunFinished { run, result: RunResult::Superseded, reason, loss: None });
    events
}

/// A daemon for this application alone, on this machine alone, that starts nothing by itself.
fn settings(of: &Settings, name: ApplicationName, operator: &Subject, token: &str, path: &std::path::Path) -> Settings {
    let mut settings = of.clone();
    settings.applications.retain(|app| app.name == name);
    for app in &mut settings.applications {
        app.policy.mode = Mode::Recommend;
    }
    settings.server.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    settings.store = Store::Sqlite { path: path.to_owned() };
    settings.offline = None;
    settings.vantage.report_to = None;
    let token = Token {
        name: operator.clone(),
        sha256: Digest::of(token.as_bytes()),
        grants: [Grant::every(Role::Viewer), Grant::every(Role::Operator)].into(),
        expires_at: None,
        certificate: None,
    };
    settings.auth = Auth { tokens: vec![token], issuer: None };
    (settings.server.tls, settings.server.proxies) = (None, Vec::new());
    settings.evidence.key = None;
    settings
}

/// Starts the run, or goes on with the one that is under way, and watches it to its end.
async fn carry_out(
    means: &Means,
    wanted: &Wanted,
    ready: &Ready,
    engine: &Engine,
    url: &str,
    token: &str,
) -> anyhow::Result<u8> {
    let name = &ready.app.name;
    let under_way = engine.history(name).and_then(|history| history.active_run().map(|run| run.id.clone()));
    let run = match under_way {
        Some(run) => run,
        None => match start(means, wanted, ready, engine).await? {
            Ok(run) => run,
            Err(refusal) => {
                means.tell(format!("refused ({}): {refusal}", refusal.code()));
                return Ok(EXIT_REFUSED);
            }
        },
    };
    let credentials = Credentials::bearer(Some(token.to_owned()));
    let options = Options { url: url.to_owned(), credentials, json: means.json, offline: true };
    let api = Api::new(&options)?;
    let code = watch::watch(&options, &api, run.as_str(), true).await?;
    let history = engine.history(name).context("the branch is open")?;
    if code == EXIT_DONE && !history.standing.is_empty() {
        means.tell(
            "it has effects that must be renewed for as long as the application lives there: this goes on renewing them. \
             Leave it running until the branch is imported; then stop it (Ctrl-C), import, and start the daemons.",
        );
        std::future::pending::<()>().await;
    }
    Ok(code)
}

/// Asks for the run until the engine has seen what it needs.
async fn start(
    means: &Means,
    wanted: &Wanted,
    ready: &Ready,
    engine: &Engine,
) -> anyhow::Result<Result<RunId, Refusal>> {
    let body = serde_json::json!({ "branch": ready.branch, "application": ready.app.name, "target": wanted.target });
    let request = StartRun {
        application: ready.app.name.clone(),
        wish: Wish::Failover,
        target: wanted.target.clone(),
        reason: wanted.reason.clone(),
        accept_data_loss: wanted.accept_data_loss,
        runbook: wanted.runbook.clone(),
        subject: ready.operator.clone(),
        idempotency_key: None,
        body_digest: Digest::of_json(&body),
        dry_run: false,
    };
    let until = means.clock.boot() + LOOKS_WITHIN;
    let mut said = String::new();
    loop {
        match engine.start_run(request.clone()).await {
            Ok(Started::Run { id, .. } | Started::Again { id }) => return Ok(Ok(id)),
            Ok(Started::Planned { .. }) => bail!("a plan was made, and no run"),
            Err(refusal @ Refusal::Gate { .. }) if means.clock.boot() < until => {
                let says = refusal.to_string();
                if says != said {
                    means.tell(format!("not yet: {says}"));
                    said = says;
                }
                means.clock.sleep(LOOK).await;
            }
            Err(refusal) => return Ok(Err(refusal)),
        }
    }
}

/// Gives approvals that were signed.
struct Signatures {
    engine: Engine,
    place: Place,
    offline: Offline,
    application: ApplicationName,
    branch: BranchId,
    given: Vec<Signed>,
}

impl Signatures {
    /// As long as the run goes on: what is asked for, by whoever has signed this very plan.
    async fn give(self, means: Means, over: CancellationToken) {
        let mut refused: Vec<String> = Vec::new();
        loop {
            for said in self.look().await {
                if !refused.contains(&said) {
                    means.tell(&said);
                    refused.push(said);
                }
            }
            tokio::select! {
                biased;
                () = over.cancelled() => return,
                () = means.clock.sleep(LOOK) => {}
            }
        }
    }

    /// One look; what of it was of no use, in words.
    async fn look(&self) -> Vec<String> {
        let Some(history) = self.engine.history(&self.application) else { return Vec::new() };
        let Some(run) = history.active_run() else { return Vec::new() };
        let asks = |step: &&crate::domain::plan::PlannedStep| {
            matches!(step.action, Action::Approve { .. })
                && matches!(run.steps.get(&step.id), Some(StepState::Running { .. }))
        };
        let Some(step) = run.plan.steps.iter().find(asks) else { return Vec::new() };
        let mut useless = Vec::new();
        let mut all = self.given.clone();
        for line in self.place.signatures(&self.application, &self.branch) {
            match line.parse::<Signed>() {
                Ok(signed) => all.push(signed),
                Err(why) => useless.push(format!("a line of the approvals is none: {why}")),
            }
        }
        let approvers = run.approvers(&step.id);
        for signed in all.iter().filter(|signed| !approvers.contains(&&signed.by)) {
            let by = &signed.by;
            let Some(key) = self.offline.approvers.get(by) else {
                useless.push(format!("no key of {by} is registered: the approval counts for nothing"));
                continue;
            };
            if !signed.is_of(key, &self.application, &self.branch, &run.plan_digest) {
                useless.push(format!("the signature of {by} is not of the plan {} in this branch", run.plan_digest));
                continue;
            }
            let act = Act::Approve { step: step.id.clone(), approved: true, digest: run.plan_digest.clone() };
            let given = self.engine.act(&run.id, act, by, "signed by a key that was registered beforehand").await;
            if let Err(refusal) = given {
                useless.push(format!("the approval of {by}: {refusal}"));
            }
        }
        useless
    }
}

/// Asks the table while the branch is written: whoever takes the lease is a replica that runs.
async fn guard(means: Means, engine: Engine, name: ApplicationName, operator: Subject, over: CancellationToken) {
    let mut before: Option<u64> = None;
    let mut told_at: Option<Timestamp> = None;
    loop {
        tokio::select! {
            biased;
            () = over.cancelled() => return,
            () = means.clock.sleep(ASK_TABLE) => {}
        }
        let Answers::Lease { version, .. } = means.table(&name).await else { continue };
        if told_at.is_none() {
            told_at = Some(means.clock.wall());
            means.tell("the table answers again: end this, import the branch, and start the daemons then");
        }
        let is_led = before.is_some() && version != before;
        before = version.or(before);
        if !is_led {
            continue;
        }
        let run = engine.history(&name).and_then(|history| history.active_run().map(|run| run.id.clone()));
        let Some(run) = run else { continue };
        let reason = "a replica has taken the lease: two must not move one application";
        if engine.act(&run, Act::Pause, &operator, reason).await.is_ok() {
            means.tell(format!("{run} is paused: {reason}; stop that replica, then resume the run"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        path::Path,
        sync::{Mutex, PoisonError},
    };

    use super::*;
    use crate::{adapters::aws, app::offline::Waits, ports::Clock, sim::port::SimClock};

    #[tokio::test(start_paused = true)]
    async fn the_lease_and_then_the_signatures_are_waited_for_on_the_boot_clock_and_people_see_how_long() {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/default.toml"));
        let settings = Settings::parse("f.toml", &text.expect("ships"), Path::new(""), &Default::default());
        let settings = settings.unwrap_or_else(|faults| panic!("{faults}"));
        let clock: Arc<dyn Clock> = Arc::new(SimClock::starting_at(Timestamp::UNIX_EPOCH));
        let sdk = aws::simulated_sdk_config("http://127.0.0.1:1", Arc::clone(&clock), &aws::Options::default());
        let (said, began) = (Arc::new(Mutex::new(Vec::new())), clock.boot());
        let heard = Arc::clone(&said);
        let app = settings.applications.first().cloned();
        let mut waits = Waits::of(&settings, app.as_ref());
        assert_eq!(waits.signatures, Duration::from_secs(330), "no traffic turns by an object");
        assert_eq!(Waits::of(&settings, None).signatures, Duration::from_secs(930), "unknown is the longest");
        waits.lease = Duration::from_secs(24);
        let means = Means {
            settings,
            table_sdk: sdk.clone(),
            sdk,
            clock: Arc::clone(&clock),
            waits,
            tell: Arc::new(move |line| heard.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_owned())),
            json: false,
        };
        wait(&means).await;
        assert_eq!(clock.boot() - began, Duration::from_secs(354));
        let said = said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        assert_eq!(said[0], "waiting for the lease: 24 s left");
        assert_eq!(said[1], "waiting for the signatures: 330 s left");
        assert_eq!(said.len(), 12, "{said:?}");
    }
}
