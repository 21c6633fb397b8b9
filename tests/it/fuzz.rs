//! Everything that reads what somebody else wrote, fed with what nobody would write: real files of ours and recorded
//! answers, mutated ([`mutate`]). Never a panic, never an unbounded time, always a typed error, and what is accepted
//! can be used.
//!
//! In a normal run each target has a bounded number of iterations, the same ones every time. How to run one for
//! longer, and what to do with what it finds: docs/fuzzing.md.

use std::{
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use failoverd::{
    config::{self, Faults, Settings, cross, runbooks::Catalogue},
    domain::{
        code,
        document::Fault,
        expression::{self, ExprError},
        history::History,
        id::Digest,
        journal::{Corruption, Tail, verify},
        runbook::{Library, Runbook},
    },
    http::{auth::Tokens, router},
    sim::scenario::Scenario,
};
use serde_json::{Value, json};
use tower::ServiceExt as _;

mod aws;
mod mutate;
mod record;

use mutate::{Case, Fuzz};

use crate::http_api::{Fake, api};

/// One input may not take longer, in a debug build on a busy machine.
const INPUT_LIMIT: Duration = Duration::from_secs(10);

fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The files of some directories of the repository, in order.
fn files(directories: &[&str]) -> Vec<(String, Vec<u8>)> {
    let mut paths: Vec<_> = directories
        .iter()
        .flat_map(|d| fs::read_dir(repository(d)).unwrap_or_else(|e| panic!("{d}: {e}")))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{directories:?} hold no seeds");
    let name = |path: &PathBuf| path.file_name().expect("a file").to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), fs::read(path).expect("a seed"))).collect()
}

fn seeds(directories: &[&str]) -> Vec<Vec<u8>> {
    files(directories).into_iter().map(|(_, bytes)| bytes).collect()
}

/// What a file of these bytes is for whoever reads text; others are refused before any reader of ours.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Faults are of the file, stand in it, have a page, and can be shown.
fn shown(file: &str, text: &str, faults: Vec<Fault>) {
    // YAML ends lines with a carriage return too.
    let lines = text.split(['\n', '\r']).count();
    for fault in faults.iter().filter(|f| f.file == file) {
        assert!(fault.line <= lines, "line {} of {lines}: {fault:?}", fault.line);
        assert!(code::ALL.contains(&fault.code), "`{}` has no page", fault.code);
        assert!(!fault.problem.is_empty(), "{fault:?}");
    }
    let mut all = Faults::default();
    all.add(file, text, faults);
    assert!(!all.to_string().is_empty() && all.to_json().is_object());
}

/// Refused, which needs a reason: for [`Fuzz::run`].
fn refused(file: &str, text: &str, faults: Vec<Fault>) -> bool {
    assert!(!faults.is_empty(), "refused without a reason");
    shown(file, text, faults);
    false
}

fn settings() -> Settings {
    let text = fs::read_to_string(repository("config/default.toml")).expect("the default configuration");
    Settings::parse("default.toml", &text, &repository("config"), &Default::default()).expect("it is valid")
}

#[test]
fn runbooks() {
    let settings = settings();
    let fuzz = Fuzz::of("runbook", seeds(&["runbooks", "tests/fuzz/runbook"]), mutate::YAML, 700);
    fuzz.run(|case| {
        let text = text(&case.bytes);
        match Runbook::parse("fuzz.yaml", &text) {
            Ok((runbook, warnings)) => {
                if !warnings.is_empty() {
                    shown("fuzz.yaml", &text, warnings);
                }
                // It may fit no application; that is said, not shown by a panic.
                for app in &settings.applications {
                    let all = app.runbooks.values().map(|name| (name.clone(), (runbook.clone(), Digest::zero())));
                    for (.., plan) in cross::plans(app, &all.collect::<Catalogue>(), &Digest::zero()) {
                        assert!(plan.is_ok_and(|p| !p.steps.is_empty()) || !runbook.steps.is_empty());
                    }
                }
                true
            }
            Err(faults) => refused("fuzz.yaml", &text, faults),
        }
    });
}

#[test]
fn configurations() {
    let fuzz = Fuzz::of("config", seeds(&["config", "config/examples", "tests/fuzz/config"]), mutate::TOML, 350);
    // A directory of its own: no mutated path leads to runbooks that happen to be there.
    let directory = tempfile::tempdir().expect("a directory");
    fuzz.run(|case| {
        let text = text(&case.bytes);
        match Settings::parse("fuzz.toml", &text, directory.path(), &Default::default()) {
            Ok(settings) => {
                assert!(!settings.warnings.has_errors(), "accepted with errors: {}", settings.warnings);
                true
            }
            Err(faults) => {
                assert!(faults.has_errors(), "refused for what are warnings only");
                refused("fuzz.toml", &text, faults.faults)
            }
        }
    });
}

#[test]
fn scenarios() {
    let regions = ["us-east-1", "us-west-2"].map(|r| r.parse().expect("a Region"));
    let fuzz = Fuzz::of("scenario", seeds(&["tests/scenarios", "tests/fuzz/scenario"]), mutate::YAML, 1_000);
    fuzz.run(|case| {
        let text = text(&case.bytes);
        match Scenario::parse("fuzz.yaml", &text).and_then(|written| written.resolve(&regions)) {
            Ok(scenario) => {
                let again = scenario.to_yaml();
                let read = Scenario::parse("again.yaml", &again).and_then(|written| written.resolve(&regions));
                assert!(
                    read.as_ref() == Ok(&scenario),
                    "written, it reads as another:\n{again}\n{read:#?}\n{scenario:#?}"
                );
                true
            }
            Err(faults) => refused("fuzz.yaml", &text, faults),
        }
    });
}

#[test]
fn journal_records() {
    let records = seeds(&["tests/fuzz/journal"]);
    // The journal before each record.
    let mut history = History::new("payments".parse().expect("valid"));
    let mut before = Vec::new();
    for bytes in &records {
        before.push(history.clone());
        let (record, tail) = verify(&history.tail, bytes, &Digest::of(bytes)).expect("a recorded journal verifies");
        history.apply(&record, tail).expect("a recorded journal makes sense");
    }
    let fuzz = Fuzz::of("journal", records.clone(), mutate::JSON, 4_000);
    fuzz.run(|case| {
        let Case { seed, bytes } = case;
        let Some(mut history) = before.get(*seed).cloned() else { return false };
        // Stored with the hash of what was written: changed bytes are never taken for it.
        let written = Digest::of(&records[*seed]);
        if *bytes != records[*seed] {
            let verdict = verify(&history.tail, bytes, &written);
            assert!(matches!(verdict, Err(Corruption::Hash { .. })), "a changed record: {verdict:?}");
        }
        // Whoever changed it has changed the hash too: it is read, and what it says must be possible.
        match verify(&history.tail, bytes, &Digest::of(bytes)) {
            Ok((record, tail)) => {
                let next = Tail { next_seq: history.tail.next_seq + 1, hash: Digest::of(bytes), epoch: record.epoch };
                assert_eq!((record.seq, &tail), (history.tail.next_seq, &next));
                history.apply(&record, tail).is_ok()
            }
            Err(e) => {
                assert!(!e.to_string().is_empty());
                false
            }
        }
    });
}

#[test]
fn expressions() {
    let facts = json!({
        "application": "payments", "purpose": "failover", "source": "us-east-1", "target": "us-west-2",
        "accepted_loss_seconds": 12.5,
        "steps": { "promote.orders": { "state": "done", "outputs": { "took_seconds": 40 } }, "gate": { "state": "skipped", "outputs": {} } },
    });
    let facts = serde_json::from_value(facts).expect("an object");
    let fuzz = Fuzz::of("expression", seeds(&["tests/fuzz/expression"]), mutate::CEL, 1_500);
    fuzz.run(|case| {
        let text = text(&case.bytes);
        let checked = expression::check(&text);
        let value = expression::evaluate(&text, &facts);
        assert_eq!(value, expression::evaluate(&text, &facts), "one text, one value");
        match (&checked, &value) {
            // What was checked when the runbook was read has no other fault later than that facts are missing.
            (Ok(_), Ok(_) | Err(ExprError::NotBoolean(_) | ExprError::Evaluation(_))) => true,
            (Err(refused), Err(e)) if refused == e => false,
            _ => panic!("checked {checked:?}, evaluated {value:?}"),
        }
    });
}

#[test]
fn bodies_of_requests() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let fake = Fake::new();
    let router = router(api(&fake, Tokens::open()));
    let fuzz = Fuzz::of("http", seeds(&["tests/fuzz/http"]), mutate::JSON, 2_000);
    fuzz.run(|case| {
        fake.asked.lock().expect("lock").clear();
        let accepted = runtime.block_on(post(&router, case.bytes.clone()));
        assert_eq!(fake.asked.lock().expect("lock").len(), usize::from(accepted), "asked of the engine, or refused");
        accepted
    });
}

/// Whether the request was accepted; else it was refused as the contract says.
async fn post(router: &Router, body: Vec<u8>) -> bool {
    let request = Request::post("/failover").header("content-type", "application/json").body(Body::from(body));
    let response = router.clone().oneshot(request.expect("a request")).await.expect("infallible");
    let status = response.status().as_u16();
    let kind = response.headers()["content-type"].to_str().expect("ascii").to_owned();
    let answer = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
    let answer: Value = serde_json::from_slice(&answer).expect("JSON");
    if status == 202 {
        return true;
    }
    assert!((400..500).contains(&status), "{status}: {answer}");
    assert_eq!(kind, "application/problem+json", "{answer}");
    assert!(code::ALL.contains(&answer["code"].as_str().expect("a code")), "{answer}");
    assert!(answer["detail"].as_str().is_some_and(|d| !d.is_empty()), "{answer}");
    false
}

/// The seeds that ship must stay seeds: a corpus that is refused whole exercises nothing.
#[test]
fn every_seed_is_what_it_is_named_for() {
    let mut library = Library::default();
    config::SHIPPED.iter().for_each(|(file, text)| library.add(file, text));
    for (file, text) in config::SHIPPED {
        assert!(Runbook::parse_with(file, text, &library).is_ok(), "{file}");
    }
    for (name, bytes) in files(&["tests/fuzz/expression"]) {
        assert!(name.starts_with("refused") || expression::check(&text(&bytes)).is_ok(), "{name}");
    }
}

/// Runs `target` and sees to it that it ends in time.
fn timed<T>(target: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = target();
    let took = began.elapsed();
    assert!(took < INPUT_LIMIT, "one input took {took:?}");
    result
}

/// The panic of an input, in words.
fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|t| (*t).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without words".to_owned())
}

/// Shared by the targets that have several tasks.
type Shared<T> = Arc<std::sync::Mutex<T>>;
