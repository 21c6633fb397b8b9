//! Journals as older releases have written them, byte for byte (tests/histories/README.md): what is read from them, what
//! goes on from them, and what an older release makes of a newer one's (FAULTS.md 30).

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use failoverd::{
    domain::{
        history::History,
        id::{ApplicationName, Digest},
        journal::{Corruption, Event, Record, SCHEMA_VERSION, Sealed, Tail, verify},
        run::{Phase, RunResult, RunState, StepState},
    },
    engine::{
        control::{Control as _, Wish},
        recover,
    },
    ports::{
        JournalStore,
        journal::{AppendError, ReadError},
    },
    sim::{
        port::Faults,
        rehearse::{leases::MemoryLeases, store::MemoryStore},
    },
};

use crate::support::{
    Live, Played, Scene, incarnation, payments,
    replica::{Gate, LEASE},
};

/// One record as it was stored.
type Stored = (Vec<u8>, Digest);

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/histories")
}

/// Every history that is kept, by its name: `v1-failover`.
fn kept() -> BTreeMap<String, Vec<Stored>> {
    let files = std::fs::read_dir(folder()).expect("the folder").map(|entry| entry.expect("an entry").path());
    let journals = files.filter(|path| path.extension().is_some_and(|e| e == "jsonl"));
    journals
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).expect("readable");
            let record = |line: &str| {
                let (hash, bytes) = line.split_once(' ').expect("a hash and a record");
                (bytes.as_bytes().to_vec(), hash.parse().expect("a digest"))
            };
            (name, text.lines().map(record).collect())
        })
        .collect()
}

fn sealed((bytes, hash): &Stored) -> Sealed {
    let record = serde_json::from_slice(bytes).expect("this release reads it");
    Sealed { record, bytes: bytes.clone(), hash: hash.clone() }
}

async fn store(records: &[Stored]) -> MemoryStore {
    let store = MemoryStore::default();
    for stored in records {
        store.append(&sealed(stored)).await.expect("it follows");
    }
    store
}

fn records(stored: &[Stored]) -> Vec<Record> {
    let mut tail = Tail::empty();
    let read = stored.iter().map(|(bytes, hash)| {
        let (record, after) = verify(&tail, bytes, hash).expect("the chain holds");
        tail = after;
        record
    });
    read.collect()
}

fn step(state: &StepState) -> String {
    match state {
        StepState::Failed { code, .. } => format!("failed: {code}"),
        StepState::Done { .. } => "done".to_owned(),
        StepState::Skipped { .. } => "skipped".to_owned(),
        StepState::Pending => "pending".to_owned(),
        _ => "under way".to_owned(),
    }
}

fn phase(run: &RunState) -> String {
    match &run.phase {
        Phase::Held { code, .. } => format!("held on {code}"),
        Phase::Finished { result, .. } => format!("{result:?}").to_lowercase(),
        Phase::Running => "running".to_owned(),
        Phase::Paused { .. } => "paused".to_owned(),
        Phase::Aborting { .. } => "aborting".to_owned(),
        Phase::Undoing { .. } => "undoing".to_owned(),
    }
}

/// What a history comes to, in words that no release may change.
fn told(history: &History) -> String {
    let Tail { next_seq, hash, epoch } = &history.tail;
    let mut out = format!("{next_seq} records, epoch {epoch}, {hash}\n");
    let _ = writeln!(out, "verdict: {}", history.verdict.as_ref().map_or("none", |(_, verdict)| verdict));
    let _ = writeln!(out, "standing: {:?}", history.standing.keys().map(ToString::to_string).collect::<Vec<_>>());
    let mut runs: Vec<&RunState> = history.runs.values().map(AsRef::as_ref).collect();
    runs.sort_by(|a, b| (a.started_at, &a.id).cmp(&(b.started_at, &b.id)));
    for run in runs {
        let purpose = format!("{:?}", run.plan.purpose).to_lowercase();
        let _ = writeln!(out, "{} {purpose}: {}, plan {}", run.id, phase(run), run.plan.digest());
        for (id, state) in &run.steps {
            let undone = run.undo_state(id);
            let back = if matches!(undone, StepState::Pending) {
                String::new()
            } else {
                format!(", taken back: {}", step(undone))
            };
            let _ = writeln!(out, "  {id}: {}{back}", step(state));
        }
    }
    out
}

#[tokio::test]
async fn the_journal_of_every_older_release_folds_to_what_it_was() {
    let mut all = String::new();
    for (name, stored) in kept() {
        let history = recover::recover(&store(&stored).await, &payments()).await;
        let history = history.unwrap_or_else(|error| panic!("{name}: {error}"));
        let _ = writeln!(all, "== {name}\n{}", told(&history));
    }
    insta::assert_snapshot!("histories", all);
}

#[test]
fn the_digests_in_an_older_journal_are_those_of_its_plans_as_they_are_read_now() {
    for (name, stored) in kept() {
        let (mut plans, mut compared) = (BTreeMap::new(), 0);
        for event in records(&stored).into_iter().flat_map(|record| record.events) {
            match event {
                Event::RunStarted { run, plan, .. } => {
                    plans.insert(run, plan.digest());
                }
                Event::ApprovalRecorded { run, digest, .. } => {
                    assert_eq!(
                        plans.get(&run),
                        Some(&digest),
                        "{name}: what was approved then is what is executed now"
                    );
                    compared += 1;
                }
                _ => {}
            }
        }
        assert!(!plans.is_empty(), "{name} has a run");
        assert!(compared != 0 || !name.contains("failover"), "{name} has an approval");
    }
}

#[test]
fn every_schema_up_to_this_one_has_its_histories() {
    for version in 1..=SCHEMA_VERSION {
        let of_version = |name: &String| name.starts_with(&format!("v{version}-"));
        let kept: BTreeMap<_, _> = kept().into_iter().filter(|(name, _)| of_version(name)).collect();
        for kind in ["failover", "switchover", "aborted", "held"] {
            let name = format!("v{version}-{kind}");
            let stored = kept.get(&name).unwrap_or_else(|| panic!("tests/histories/{name}.jsonl is not there"));
            let schemas = records(stored).into_iter().map(|record| record.schema_version);
            assert_eq!(schemas.max(), Some(version), "{name} was written by that release");
        }
    }
}

/// The records before the first that intends to move the writer, in a run of which nothing is over.
fn before_the_move(stored: &[Stored]) -> Option<Vec<Stored>> {
    let moves = |event: &Event| {
        let Event::Intent { mutation, .. } = event else { return false };
        let operation = mutation.operation();
        operation.ends_with("SwitchoverGlobalCluster") || operation.ends_with("FailoverGlobalCluster")
    };
    let at = records(stored).iter().position(|record| record.events.iter().any(moves))?;
    Some(stored[..at].to_vec())
}

#[test]
fn a_failover_of_an_older_release_goes_on_where_it_was_and_comes_to_its_end() {
    goes_on("-failover");
}

#[test]
fn a_switchover_of_an_older_release_goes_on_where_it_was_and_comes_to_its_end() {
    goes_on("-switchover");
}

fn goes_on(kind: &str) {
    let mut went_on = Vec::new();
    for (name, stored) in kept() {
        let is_failover = kind == "-failover";
        let Some(open) = before_the_move(&stored).filter(|_| name.ends_with(kind)) else { continue };
        incarnation(async {
            let newest = records(&open).last().expect("some").at.as_second();
            // As long after its beginning as the journal says, and a restart.
            let warm_up = u64::try_from(newest - 1_795_000_000).expect("of these tests' worlds") + 10;
            let scene = Scene::payments(1, warm_up);
            for record in &open {
                scene.journal.append(&sealed(record)).await.expect("it follows");
            }
            let live = scene.start(0).await;
            if is_failover {
                live.lose("us-east-1");
            }
            let history = live.engine.history(&payments()).expect("worked on");
            let run = history.active_run().unwrap_or_else(|| panic!("{name} has an open run")).id.clone();
            assert_eq!(live.outcome(&run, 3_600).await, Played::Finished(RunResult::Succeeded), "{name}");
            let moved = live.accepted("SwitchoverGlobalCluster") + live.accepted("FailoverGlobalCluster");
            assert_eq!(moved, 1, "{name}");
        });
        went_on.push(name);
    }
    let versions = (1..=SCHEMA_VERSION).map(|v| format!("v{v}-"));
    for version in versions {
        assert!(went_on.iter().any(|name| name.starts_with(&version)), "{version}: {went_on:?}");
    }
}

/// A store as a replica of another release sees it: from its record `from` on, everything is of the next schema.
#[derive(Debug, Clone)]
struct Newer {
    store: Arc<dyn JournalStore>,
    from: u64,
}

impl Newer {
    /// The journal's records as the newer release has written them: the same chain, with its schema.
    async fn rewritten(&self, journal: &ApplicationName) -> Result<Vec<Stored>, ReadError> {
        let mut before: Option<Digest> = None;
        let mut all = Vec::new();
        for (bytes, hash) in self.store.read(journal, 0, usize::MAX).await? {
            let mut record: Record = serde_json::from_slice(&bytes).expect("a record");
            if record.seq < self.from {
                before = Some(hash.clone());
                all.push((bytes, hash));
                continue;
            }
            record.schema_version = SCHEMA_VERSION + 1;
            record.prev_hash = before.unwrap_or_else(Digest::zero);
            let bytes = serde_json::to_vec(&record).expect("records serialise");
            let hash = Digest::of(&bytes);
            before = Some(hash.clone());
            all.push((bytes, hash));
        }
        Ok(all)
    }
}

#[async_trait]
impl JournalStore for Newer {
    async fn append(&self, sealed: &Sealed) -> Result<(), AppendError> {
        self.store.append(sealed).await
    }

    async fn read(&self, journal: &ApplicationName, from: u64, limit: usize) -> Result<Vec<Stored>, ReadError> {
        let skipped = usize::try_from(from).unwrap_or(usize::MAX);
        Ok(self.rewritten(journal).await?.into_iter().skip(skipped).take(limit).collect())
    }

    async fn journals(&self) -> Result<Vec<ApplicationName>, ReadError> {
        self.store.journals().await
    }
}

async fn replica(scene: &Scene, leases: &MemoryLeases, holder: &str, newer_from: Option<u64>) -> (Live, Gate) {
    let gate = Gate::default();
    let (behind, leases) = (gate.clone(), leases.clone());
    let arrange = |mut parts: failoverd::engine::Parts| {
        if let Some(from) = newer_from {
            parts.store = Arc::new(Newer { store: parts.store, from });
        }
        behind.around(parts, &leases, holder)
    };
    (scene.start_as(0, scene.reopened(), Faults::default(), arrange).await, gate)
}

fn leads(live: &Live) -> bool {
    live.engine.leader(&payments()).is_some_and(|leader| leader.here)
}

/// Old and new side by side: the newer release has taken over, and writes what this one does not know.
#[test]
fn beside_a_newer_release_an_older_one_takes_nothing_over_and_says_why_and_the_newer_leads() {
    incarnation(async {
        let (scene, leases) = (Scene::payments(31, 240), MemoryLeases::default());
        let (new, gate) = replica(&scene, &leases, "new", None).await;
        new.until("it leads", 5, leads).await;
        new.ready().await;
        // It has read what was written before the deployment, and then something that it cannot read.
        let (old, _) = replica(&scene, &leases, "old", Some(1)).await;
        old.pass(5).await;
        let run = new.begin(Wish::Switchover).await;
        let reasons = || old.engine.readiness().reasons.join("; ");
        old.until("it says why", 60, |_| reasons().contains("newer release")).await;
        let newest = SCHEMA_VERSION + 1;
        assert!(reasons().contains(&format!("schema {newest} is newer than {SCHEMA_VERSION}")), "{}", reasons());
        assert_eq!(new.outcome(&run, 3_600).await, Played::Finished(RunResult::Succeeded));
        // Nor where the newer one dies: the journal is not its own to write.
        gate.freeze();
        let before = scene.journal.with(&payments(), <[_]>::len);
        old.pass(LEASE.as_secs() * 4).await;
        assert!(!leads(&old), "{}", reasons());
        assert_eq!(scene.journal.with(&payments(), <[_]>::len), before, "it has written nothing");
        let (next, _) = replica(&scene, &leases, "next", None).await;
        next.until("another of the newer release leads", LEASE.as_secs() + 5, leads).await;
    });
}

#[tokio::test]
async fn a_journal_of_a_newer_schema_is_refused_by_its_name_and_is_not_taken_for_damage() {
    let (_, stored) = kept().pop_last().expect("one is kept");
    let newer = Newer { store: Arc::new(store(&stored).await), from: 3 };
    let error = recover::recover(&newer, &payments()).await.expect_err("it is newer");
    let found = SCHEMA_VERSION + 1;
    assert!(
        matches!(error, recover::RecoverError::Corrupt(Corruption::NewerSchema { seq: 3, found: f }) if f == found),
        "{error}"
    );
    // Also where it has an event that is not known here.
    let all = newer.read(&payments(), 0, usize::MAX).await.expect("read");
    let text = String::from_utf8(all[3].0.clone()).expect("JSON").replace("\"event\":\"", "\"event\":\"un");
    let tail = Tail { next_seq: 3, hash: all[2].1.clone(), epoch: 1 };
    let error = verify(&tail, text.as_bytes(), &Digest::of(text.as_bytes())).expect_err("it is newer");
    assert_eq!(error, Corruption::NewerSchema { seq: 3, found });
}

/// Kept under `kind`, where nothing is; what is kept is never written again.
pub(crate) async fn keep(scene: &Scene, kind: &str) {
    let path = folder().join(format!("v{SCHEMA_VERSION}-{kind}.jsonl"));
    let is_asked = std::env::var("UPDATE_GOLDEN").is_ok();
    if path.exists() || !is_asked {
        assert!(path.exists(), "{}: UPDATE_GOLDEN=1 keeps what this release writes", path.display());
        return;
    }
    let mut text = String::new();
    for (bytes, hash) in scene.reopened().read(&payments(), 0, usize::MAX).await.expect("read") {
        let _ = writeln!(text, "{hash} {}", String::from_utf8(bytes).expect("JSON"));
    }
    std::fs::write(path, text).expect("written");
}

/// What this release writes, kept for the releases after it.
mod made_now {
    use super::*;
    use crate::support::disaster;
    use failoverd::engine::control::Act;

    const SUCCEEDED: Played = Played::Finished(RunResult::Succeeded);

    async fn calm(seed: u64) -> (Scene, Live) {
        let scene = Scene::payments(seed, 240);
        let live = scene.start(0).await;
        live.ready().await;
        (scene, live)
    }

    #[tokio::test(start_paused = true)]
    async fn a_switchover_and_the_way_home() {
        let (scene, live) = calm(1).await;
        let run = live.begin(Wish::Switchover).await;
        assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
        keep(&scene, "switchover").await;
        let home = live.begin(Wish::Failback).await;
        assert_eq!(live.outcome(&home, 14 * 3_600).await, SUCCEEDED);
        keep(&scene, "failback").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_failover() {
        let scene = Scene::payments(2, 240);
        let live = disaster(&scene).await;
        let run = live.begin(Wish::Failover).await;
        live.approve(&run).await;
        assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
        keep(&scene, "failover").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_failover_that_is_held() {
        let scene = Scene::payments(3, 240);
        let live = disaster(&scene).await;
        live.world.now(|w| {
            let target = "arn:aws:rds:us-west-2:123456789012:cluster:payments-usw2";
            w.aurora.cluster_mut(target).expect("it is there").instances.clear();
        });
        let run = live.begin(Wish::Failover).await;
        assert!(matches!(live.outcome(&run, 600).await, Played::Held(_)));
        keep(&scene, "held").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_switchover_that_is_given_up() {
        let (scene, live) = calm(4).await;
        let run = live.begin(Wish::Switchover).await;
        live.pass(1).await;
        live.act(&run, Act::Abort).await.expect("before its point of no return");
        assert_eq!(live.outcome(&run, 3_600).await, Played::Finished(RunResult::Aborted));
        keep(&scene, "aborted").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_drill() {
        let (scene, live) = calm(5).await;
        let run = live.begin(Wish::Drill { runbook: "drill-switchover".parse().expect("a name") }).await;
        let approves = async |step: &str| {
            let digest = live.run(&run).plan_digest.clone();
            let step = step.parse().expect("valid");
            let act = Act::Approve { step, approved: true, digest };
            live.engine_act(&run, act, "second").await.is_ok()
        };
        let names: Vec<String> = live.run(&run).plan.steps.iter().map(|s| s.id.to_string()).collect();
        for _ in 0..3_600 {
            for name in names.iter().filter(|name| ["approve", "consent"].contains(&name.as_str())) {
                let _ = approves(name).await;
            }
            live.pass(2).await;
            if matches!(live.run(&run).phase, Phase::Finished { .. } | Phase::Held { .. }) {
                break;
            }
        }
        assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
        keep(&scene, "drill").await;
    }
}
