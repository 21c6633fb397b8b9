//! A failover while the table of the journals is lost: refused while it answers, carried out over a branch, imported, and
//! reconciled; and what replicas do that meet what it left.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use failoverd::{
    adapters::{aws, clock::SystemClock, observers::prometheus::Metrics},
    app::offline::{
        BRANCH_REFUSED, Means, REFUSED, Refused, TABLE_ANSWERS, Waits, Wanted,
        import::{self, Word},
        keys, ready, run,
    },
    config::Settings,
    domain::{
        branch::{Began, Imported, Parent, Reconciled},
        id::{BranchId, Digest, RunId},
        journal::Event,
        run::{Phase, RunResult},
    },
    engine::{
        control::{Act, Control, Wish},
        recover,
        scribe::{Desk, Fatal, Scribe},
        settle::Offline,
    },
    sim::{port::Faults, rehearse::leases::MemoryLeases},
};
use serde_json::{Value, json};

use crate::support::{
    Live, Scene, dynamodb, incarnation,
    line::Cut,
    payments, region,
    replica::{self, Gate, LEASE},
    trio::{self, Trio},
};

// What replicas do, in virtual time.

struct Replica {
    live: Live,
    gate: Gate,
}

impl Replica {
    fn leads(&self) -> bool {
        self.live.engine.leader(&payments()).is_some_and(|leader| leader.here)
    }

    fn reasons(&self) -> String {
        self.live.engine.readiness().reasons.join("; ")
    }

    fn phase(&self, run: &RunId) -> Option<Phase> {
        self.live.engine.history(&payments()).and_then(|h| h.runs.get(run).map(|r| r.phase.clone()))
    }
}

struct Stage {
    scene: Scene,
    leases: MemoryLeases,
    /// This machine has a branch that was not imported.
    branch: Arc<AtomicBool>,
}

impl Stage {
    fn new(seed: u64) -> Self {
        Self { scene: Scene::payments(seed, 240), leases: MemoryLeases::default(), branch: Arc::default() }
    }

    async fn replica(&self, holder: &str) -> Replica {
        let gate = Gate::default();
        let (behind, leases, branch) = (gate.clone(), self.leases.clone(), Arc::clone(&self.branch));
        let arrange = |parts| {
            let mut parts = behind.around(parts, &leases, holder);
            let open = move |_: &_| branch.load(Ordering::SeqCst).then(|| "there is a branch".to_owned());
            if let Some(sharing) = &mut parts.sharing {
                sharing.offline = Some(Offline { open_branch: Arc::new(open) });
            }
            parts
        };
        let live = self.scene.start_as(0, self.scene.reopened(), Faults::default(), arrange).await;
        Replica { live, gate }
    }

    /// Appends to the journal, as a verb of the command line does.
    async fn say(&self, like: &Replica, event: Event) {
        let store = Arc::new(self.scene.reopened());
        let history = recover::recover(&*store, &payments()).await.expect("it verifies");
        let desk = Desk {
            store,
            clock: Arc::clone(&like.live.clock),
            observer: Arc::new(Metrics::new(&[]).expect("metrics")),
            fatal: Arc::new(Fatal::default()),
            live: tokio::sync::broadcast::Sender::new(1),
        };
        let scribe = Scribe::take_over(desk, history, "cli").await.expect("an epoch");
        let said = scribe.commit::<(), std::convert::Infallible>(|_, _| Ok((vec![event], ())));
        said.await.expect("recorded");
        import::dismiss(&self.leases, &payments()).await;
    }
}

async fn until(replica: &Replica, what: &str, within: Duration, seen: impl Fn() -> bool) {
    let began = replica.live.clock.boot();
    while !seen() {
        assert!(replica.live.clock.boot() - began < within, "not within {within:?}: {what}: {}", replica.reasons());
        replica.live.clock.sleep(Duration::from_millis(50)).await;
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_run_that_stood_still_so_long_that_somebody_may_have_taken_over_goes_on_by_a_word_only() {
    incarnation(async {
        let stage = Stage::new(401);
        let (a, b) = (stage.replica("a").await, stage.replica("b").await);
        until(&a, "one leads", LEASE, || a.leads() || b.leads()).await;
        let leader = if a.leads() { &a } else { &b };
        leader.live.ready().await;
        let history = leader.live.engine.history(&payments()).expect("led");
        assert_eq!(history.branches.primary(), Some(&region("us-east-1")), "it says where it lives");
        let run = leader.live.begin(Wish::Switchover).await;
        leader.live.pass(2).await;
        let cut = |how| [&a, &b].iter().for_each(|r| r.gate.cut_store(how));
        cut(Some(replica::Cut::There));
        a.live.pass(400).await;
        let sent = a.live.flips() + a.live.accepted("SwitchoverGlobalCluster");
        cut(None);
        until(&a, "one leads", LEASE + MINUTE, || a.leads() || b.leads()).await;
        let leader = if a.leads() { &a } else { &b };
        let held = || matches!(leader.phase(&run), Some(Phase::Held { code, .. }) if code == "branch-suspected");
        until(leader, "the run is held", MINUTE, held).await;
        leader.live.pass(120).await;
        assert_eq!(a.live.flips() + a.live.accepted("SwitchoverGlobalCluster"), sent, "nothing is begun");
        leader.live.act(&run, Act::Resume).await.expect("resumed");
        let over = || matches!(leader.phase(&run), Some(Phase::Finished { result: RunResult::Succeeded, .. }));
        until(leader, "it goes on", MINUTE * 30, over).await;
        let history = leader.live.engine.history(&payments()).expect("led");
        assert_eq!(history.branches.primary(), Some(&region("us-west-2")));
    });
}

#[test]
fn a_replica_beside_a_branch_that_was_not_imported_does_not_lead() {
    incarnation(async {
        let stage = Stage::new(402);
        stage.branch.store(true, Ordering::SeqCst);
        let a = stage.replica("a").await;
        a.live.pass(60).await;
        assert!(!a.leads() && a.reasons().contains("there is a branch"), "{}", a.reasons());
        stage.branch.store(false, Ordering::SeqCst);
        until(&a, "it leads", MINUTE, || a.leads()).await;
    });
}

fn imported() -> Imported {
    let began = Began {
        id: BranchId::new(7),
        parent: Parent { records: 1, hash: Digest::of(b"parent"), epoch: 1, read_at: None },
        by: "alice".parse().expect("valid"),
        table_lost: "gone".to_owned(),
        replicas_stopped: "all".to_owned(),
        stale_copy: None,
        waited: Duration::from_secs(354),
        config_digest: Digest::of(b"config"),
    };
    Imported {
        began,
        records: 2,
        digest: Digest::of(b"tail"),
        by: "alice".parse().expect("valid"),
        file: "f".to_owned(),
        came_after: 0,
        runs: Vec::new(),
        primary: None,
        standing: BTreeMap::new(),
        detached: BTreeMap::new(),
    }
}

#[test]
fn an_import_takes_the_lead_away_and_a_word_gives_it_back() {
    incarnation(async {
        let stage = Stage::new(403);
        let (a, b) = (stage.replica("a").await, stage.replica("b").await);
        until(&a, "one leads", LEASE, || a.leads() || b.leads()).await;
        stage.say(&a, Event::BranchImported { branch: Box::new(imported()) }).await;
        until(&a, "nobody leads", LEASE * 2 + MINUTE, || !a.leads() && !b.leads()).await;
        let held = |r: &Replica| r.reasons().contains("branch-unreconciled");
        until(&a, "both say so", LEASE * 2 + MINUTE, || held(&a) && held(&b)).await;
        a.live.pass(300).await;
        assert!(!a.leads() && !b.leads());
        let refused = a.live.ask(Live::request(Wish::Switchover)).await.expect_err("held");
        assert_eq!(refused.code(), "application-held");
        let word = Reconciled {
            branch: Some(BranchId::new(7)),
            primary: region("us-east-1"),
            by: "alice".parse().expect("valid"),
            reason: "it never left".to_owned(),
            writes: None,
            evidence: Vec::new(),
        };
        stage.say(&a, Event::BranchReconciled { word: Box::new(word) }).await;
        until(&a, "one leads again", MINUTE, || a.leads() || b.leads()).await;
    });
}

// The whole of it: real daemons, a table that nobody here wrote, and the simulated AWS.

fn place(stage: &Path, n: usize) -> PathBuf {
    stage.join(format!("offline-{n}"))
}

fn means(trio: &Trio, n: usize) -> (Means, Arc<Mutex<Vec<String>>>) {
    let settings =
        Settings::load(&trio.members[n].config, &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults}"));
    let clock: Arc<SystemClock> = Arc::new(SystemClock);
    let said: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = Arc::clone(&said);
    let means = Means {
        settings,
        sdk: aws::simulated_sdk_config(&trio.stage.world.aws_url, clock.clone(), &aws::Options::default()),
        table_sdk: dynamodb::sdk(&trio.members[n].table.url(), None),
        clock,
        waits: Waits { lease: Duration::from_millis(300), signatures: Duration::from_millis(300) },
        tell: Arc::new(move |line| heard.lock().expect("lock").push(line.to_owned())),
        json: false,
    };
    (means, said)
}

fn wanted() -> Wanted {
    Wanted {
        application: "payments".to_owned(),
        target: Some(region("us-west-2")),
        reason: "the table is gone".to_owned(),
        accept_data_loss: Some(Duration::from_secs(86_400)),
        runbook: None,
        dry_run: false,
        operator: Some("alice".parse().expect("valid")),
        table_lost: Some("AWS says so".to_owned()),
        replicas_stopped: Some("bob, SIGKILL".to_owned()),
        stale_copy: None,
        consent: Some("payments".to_owned()),
        approvals: Vec::new(),
    }
}

fn refusal(error: &anyhow::Error) -> &Refused {
    error.downcast_ref().unwrap_or_else(|| panic!("no refusal: {error:#}"))
}

/// Whether `seen` comes about.
async fn comes(limit: Duration, mut seen: impl AsyncFnMut() -> bool) -> bool {
    let begun = Instant::now();
    while !seen().await {
        if limit < begun.elapsed() {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    true
}

const BUSY: Duration = Duration::from_secs(60);

async fn readiness_says(trio: &Trio, n: usize, word: &str) -> bool {
    comes(BUSY, async || {
        trio.ask(n, "/readyz").await.is_some_and(|(code, body)| code == 503 && body.to_string().contains(word))
    })
    .await
}

/// Home again, by whoever leads.
async fn fails_back(trio: &Trio, leader: usize) -> Result<Value, String> {
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().expect("a client");
    let url = trio.members[leader].api.url();
    let body = json!({ "application": "payments", "reason": "home" });
    let begun = Instant::now();
    let run = loop {
        let asked = http.post(format!("{url}/failback")).bearer_auth("alice-kill-token").json(&body).send().await;
        let answer: Value = asked.map_err(|e| e.to_string())?.json().await.map_err(|e| e.to_string())?;
        match answer["run"].as_str() {
            Some(run) => break run.to_owned(),
            // Not assessed yet.
            None if begun.elapsed() < BUSY => tokio::time::sleep(Duration::from_millis(500)).await,
            None => return Err(format!("refused: {answer}")),
        }
    };
    let mut last = Value::Null;
    let over = comes(Duration::from_secs(240), async || {
        if let Some((200, view)) = trio.ask(leader, &format!("/runs/{run}")).await {
            last = view;
        }
        !matches!(last["state"].as_str(), Some("running") | None)
    });
    if over.await && last["state"] == "succeeded" { Ok(last) } else { Err(format!("{last:#}")) }
}

/// The branch in `file`, with one byte of a record changed.
fn changed(file: &Path, seq: i64) -> PathBuf {
    let copy = file.with_extension("changed");
    std::fs::copy(file, &copy).expect("copied");
    let db = rusqlite::Connection::open(&copy).expect("opened");
    let bytes: Vec<u8> =
        db.query_row("SELECT bytes FROM records WHERE seq = ?1", [seq], |row| row.get(0)).expect("it is there");
    let text = String::from_utf8(bytes).expect("JSON").replacen("AWS says so", "AWS says no", 1);
    let rows = db.execute("UPDATE records SET bytes = ?1 WHERE seq = ?2", rusqlite::params![text.as_bytes(), seq]);
    assert_eq!(rows.expect("changed"), 1);
    copy
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_table_lost_a_person_moves_the_application_and_the_journal_learns_of_it() {
    let emulator = dynamodb::ministack().await;
    let keys_dir = tempfile::tempdir().expect("a directory");
    let bob = keys::make(&keys_dir.path().join("bob.key")).expect("a key");
    let more = |n: usize, stage: &Path| {
        format!("\n[offline]\ndir = \"{}\"\napprovers = {{ bob = \"{bob}\" }}\n", place(stage, n).display())
    };
    let trio = Trio::build_with(42_000, &emulator.url, more).await;
    let done = play(&trio, &keys_dir.path().join("bob.key")).await;
    if let Err(why) = done {
        panic!("{why}\n{}", trio.stage.logs().lines().rev().take(60).collect::<Vec<_>>().join("\n"));
    }
}

/// While the daemons run and the table answers it is refused, whatever is declared.
async fn refused_while_the_table_answers(trio: &Trio) {
    let (means, _) = means(trio, 0);
    let error = run::failover(&means, &wanted()).await.expect_err("refused");
    let refused = refusal(&error);
    assert_eq!(refused.code, TABLE_ANSWERS, "{refused}");
    let all = refused.to_string();
    assert!(all.contains("table-answers") && all.contains("replica-runs"), "{all}");
    assert_eq!(trio.stage.effects().count(), 0);
}

/// What is missing is told all at once.
async fn refused_until_everything_is_said(trio: &Trio) {
    let (means, _) = means(trio, 0);
    let nothing = Wanted { application: "payments".to_owned(), ..Wanted::default() };
    let error = run::failover(&means, &nothing).await.expect_err("refused");
    let refused = refusal(&error);
    assert_eq!(refused.code, REFUSED, "{refused}");
    for word in ["table-lost", "replicas-stopped", "operator", "data-loss", "consent"] {
        assert!(refused.reasons.iter().any(|r| r.starts_with(&format!("{word}:"))), "{word}: {refused}");
    }
    // The operator's own signature is nobody's.
    let own = Wanted { operator: Some("bob".parse().expect("valid")), ..wanted() };
    let error = run::failover(&means, &own).await.expect_err("refused");
    assert!(refusal(&error).to_string().contains("no-approvers"), "{error:#}");
}

async fn play(trio: &Trio, key: &Path) -> Result<(), String> {
    let directory = trio.stage.directory().to_owned();
    trio.start_all().await?;
    let copied = || std::fs::read_to_string(place(&directory, 0).join("copies.json")).unwrap_or_default();
    if !comes(BUSY, async || copied().contains("payments") && !copied().contains("\"records\":0")).await {
        return Err(format!("no copy is kept: {}", copied()));
    }
    refused_while_the_table_answers(trio).await;
    for n in 0..3 {
        trio.members[n].table.cut(Cut::Refused);
    }
    tokio::time::sleep(trio::LEASE).await;
    for n in 0..3 {
        trio.kill(n).await;
    }
    refused_until_everything_is_said(trio).await;
    let (means, said) = means(trio, 0);
    let (branch, plan) = {
        let dry = Wanted { dry_run: true, consent: None, ..wanted() };
        let ready = ready::ready(&means, &dry).await.map_err(|e| format!("{e:#}"))?;
        (ready.branch.clone(), ready.plan.clone()?.digest())
    };
    the_binary_says_the_same(trio, &branch, &plan).await;
    assert_eq!(trio.stage.effects().count(), 0, "nothing was begun");
    let bob = keys::sign(key, &"bob".parse().expect("valid"), &payments(), &branch, &plan).expect("signed");
    let signed = Wanted { approvals: vec![bob.to_string()], ..wanted() };
    let code = run::failover(&means, &signed)
        .await
        .map_err(|e| format!("{e:#}\n{}", said.lock().expect("lock").join("\n")))?;
    assert_eq!(code, 0, "{}", said.lock().expect("lock").join("\n"));
    trio.stage.has_moved()?;
    let promotions = trio.stage.effects().promotions;
    assert_eq!(promotions, ["FailoverGlobalCluster"]);

    // The table is back. The replica of that machine sees the branch; nobody mends anything.
    for n in 0..3 {
        trio.members[n].table.mend();
    }
    trio.start(0).await?;
    if !readiness_says(trio, 0, "branch-suspected").await {
        return Err(format!("it is not held: {:?}", trio.ask(0, "/readyz").await));
    }
    imported_once(&means, &place(&directory, 0), &branch).await?;
    for n in [1, 2] {
        trio.start(n).await?;
    }
    for n in 0..3 {
        if !readiness_says(trio, n, "branch-unreconciled").await {
            return Err(format!("{n} is not held: {:?}", trio.ask(n, "/readyz").await));
        }
    }
    assert_eq!(trio.leading().await, [] as [usize; 0]);
    reconciled(trio, &means, &branch).await?;
    let leader = trio.leader_within(BUSY).await?;
    trio.all_ready_within(BUSY).await?;
    assert_eq!(trio.stage.effects().promotions, promotions, "nothing was turned back");
    fails_back(trio, leader).await.map_err(|e| format!("the failback: {e}"))?;
    let records = trio.records().await?;
    let all = || records.iter().flat_map(|r| &r.events);
    assert_eq!(all().filter(|e| matches!(e, Event::BranchImported { .. })).count(), 1);
    assert!(all().all(|e| !matches!(e, Event::BranchBegan { .. })), "nothing of the branch was merged");
    Ok(())
}

/// A branch with a changed byte is not imported, and the branch itself once.
async fn imported_once(means: &Means, place: &Path, branch: &BranchId) -> Result<(), String> {
    let file = place.join("branches").join(format!("payments-{branch}.sqlite"));
    let alice = "alice".parse().expect("valid");
    let broken = (0..1_000).find_map(|seq| changed_if_declared(&file, seq)).expect("a record has the declarations");
    let error = import::import(means, &broken, &alice).await.expect_err("refused");
    assert_eq!(refusal(&error).code, BRANCH_REFUSED, "{error:#}");
    assert!(error.to_string().contains("hash"), "{error:#}");
    std::fs::remove_file(&broken).map_err(|e| e.to_string())?;
    let imported = import::import(means, &file, &alice).await.map_err(|e| format!("{e:#}"))?;
    assert_eq!(imported.primary, Some(region("us-west-2")));
    assert_eq!(imported.runs.len(), 1);
    assert!(imported.runs[0].left_writes && imported.runs[0].result == Some(RunResult::Succeeded));
    let sealed = place.join("sealed").join(format!("payments-{branch}.sqlite"));
    let error = import::import(means, &sealed, &alice).await.expect_err("once");
    assert!(error.to_string().contains("imported before"), "{error:#}");
    Ok(())
}

/// The real binary, over the same directory: what is missing, and what would be done.
async fn the_binary_says_the_same(trio: &Trio, branch: &BranchId, plan: &Digest) {
    let member = &trio.members[0];
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_failoverd"));
        command.args(["--offline", "failover", "payments", "--to", "us-west-2", "--reason", "the table is gone"]);
        command.args(["--dry-run", "--config"]).arg(&member.config).args(more);
        command.env_clear().env("AWS_ENDPOINT_URL", &trio.stage.world.aws_url);
        command.env("AWS_ENDPOINT_URL_DYNAMODB", member.table.url()).env("AWS_REGION", "us-west-2");
        command.env("AWS_ACCESS_KEY_ID", "SIMULATED").env("AWS_SECRET_ACCESS_KEY", "simulated");
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        async move { tokio::task::spawn_blocking(move || command.output()).await.expect("runs").expect("the binary") }
    };
    let refused = run(&[]).await;
    let says = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(3), "{says}");
    assert!(["table-lost:", "replicas-stopped:", "operator:", "data-loss:"].iter().all(|w| says.contains(w)), "{says}");
    let all = ["--operator", "alice", "--table-lost", "AWS says so", "--replicas-stopped", "bob, SIGKILL"];
    let shown = run(&[&all[..], &["--accept-data-loss-seconds", "86400"]].concat()).await;
    let says = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert_eq!(shown.status.code(), Some(0), "{says}");
    assert!(
        says.contains(branch.as_str()) && says.contains(plan.as_str()) && says.contains("nothing was started"),
        "{says}"
    );
    assert!(says.contains("6 s until nobody can hold the lease, and 330 s until AWS refuses"), "{says}");
}

/// [`changed`], where record `seq` has the declarations.
fn changed_if_declared(file: &Path, seq: i64) -> Option<PathBuf> {
    let db = rusqlite::Connection::open_with_flags(file, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
    let bytes: Vec<u8> = db.query_row("SELECT bytes FROM records WHERE seq = ?1", [seq], |row| row.get(0)).ok()?;
    drop(db);
    String::from_utf8(bytes).ok()?.contains("AWS says so").then(|| changed(file, seq))
}

/// By a word that the world agrees with, and that passes nothing over.
async fn reconciled(trio: &Trio, means: &Means, branch: &BranchId) -> Result<(), String> {
    let word = Word {
        application: "payments".to_owned(),
        branch: Some(branch.clone()),
        primary: region("us-east-1"),
        by: "alice".parse().expect("valid"),
        reason: "it is served there".to_owned(),
        writes: None,
    };
    let error = import::reconcile(means, &word).await.expect_err("the world says otherwise");
    let all = error.to_string();
    assert!(all.contains("the world says us-west-2") && all.contains("--writes"), "{all}");
    assert_eq!(trio.leading().await, [] as [usize; 0]);
    let word = Word { primary: region("us-west-2"), writes: Some("replayed".to_owned()), ..word };
    let said = import::reconcile(means, &word).await.map_err(|e| format!("{e:#}"))?;
    assert_eq!(said.evidence.len(), 2, "two readings: {:?}", said.evidence);
    let again = import::reconcile(means, &word).await.expect_err("once");
    assert!(again.to_string().contains("already"), "{again:#}");
    Ok(())
}

// The command line.

fn failoverd(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_failoverd")).args(args).env_clear().output().expect("the binary runs")
}

#[test]
fn the_command_line_makes_keys_signs_and_refuses_what_is_not_for_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = dir.path().join("bob.key").display().to_string();
    let made = failoverd(&["offline", "key", "--out", &key]);
    let public = String::from_utf8(made.stdout).expect("text");
    assert!(made.status.success() && public.starts_with("ed25519:"), "{public}");
    let (branch, digest) = (BranchId::new(3), Digest::of(b"plan"));
    let args = [
        "offline",
        "sign",
        "--key",
        &key,
        "--name",
        "bob",
        "--application",
        "payments",
        "--branch",
        branch.as_str(),
        "--digest",
        digest.as_str(),
    ];
    let signed = String::from_utf8(failoverd(&args).stdout).expect("text");
    let signed: keys::Signed = signed.parse().expect("a signature");
    assert!(signed.is_of(&public.trim().parse().expect("a key"), &payments(), &branch, &digest));
    let usage = |args: &[&str], says: &str| {
        let output = failoverd(args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
        assert!(text.contains(says), "{args:?}: {text}");
    };
    usage(&["--offline", "status"], "`failover` alone");
    usage(&["--offline", "serve", "--config", "x"], "`failover` alone");
    usage(&["--offline", "failover", "payments", "--to", "us-west-2", "--reason", "x"], "--config");
    usage(&["failover", "payments", "--reason", "x", "--operator", "alice"], "--offline");
}
