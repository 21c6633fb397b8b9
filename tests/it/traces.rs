//! Runs as traces: what a collector gets is what the journal holds, once each; and no run waits for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use failoverd::{
    adapters::observers::{
        otlp::{Collector, Traces},
        several::Several,
    },
    domain::{
        id::RunId,
        journal::{Event, Record},
        outbox::Sent,
        run::RunResult,
    },
    engine::{
        Parts,
        control::{Act, Started, Wish},
    },
    ports::Observer,
    sim::port::Faults,
};
use jiff::Timestamp;
use prometheus::IntCounter;

use crate::support::{Live, Played, Scene, incarnation, payments};

mod collector;
mod decode;

use decode::Seen;

const SUCCEEDED: Played = Played::Finished(RunResult::Succeeded);

/// What a collector does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Manner {
    #[default]
    Takes,
    Hangs,
    Answers500,
    Refuses,
    Panics,
}

/// A collector that behaves as it is told, and keeps what it took.
#[derive(Debug, Clone, Default)]
struct Kept {
    manner: Manner,
    requests: Arc<Mutex<Vec<Vec<u8>>>>,
    attempts: Arc<AtomicUsize>,
}

#[async_trait::async_trait]
impl Collector for Kept {
    async fn take(&self, request: Vec<u8>) -> Sent {
        self.attempts.fetch_add(1, Ordering::SeqCst);
        match self.manner {
            Manner::Takes => {
                self.requests.lock().expect("kept").push(request);
                Sent::Delivered
            }
            Manner::Hangs => std::future::pending().await,
            Manner::Answers500 => Sent::Failed { reason: "answered 500".to_owned(), retry_after_seconds: None },
            Manner::Refuses => Sent::Refused { reason: "answered 400".to_owned() },
            Manner::Panics => panic!("told to panic"),
        }
    }
}

impl Kept {
    fn spans(&self) -> Vec<Seen> {
        let requests = self.requests.lock().expect("kept");
        requests.iter().flat_map(|bytes| decode::request(bytes).1).collect()
    }
}

fn counter() -> IntCounter {
    IntCounter::new("dropped", "of a test").expect("a counter")
}

/// An engine whose runs are sent to `kept`.
async fn start(scene: &Scene, kept: &Kept, dropped: &IntCounter) -> (Live, Arc<Traces>) {
    let mut begun = None;
    let arrange = |parts: Parts| {
        let apps: Vec<_> = parts.applications.iter().cloned().map(Arc::new).collect();
        let (collector, clock) = (Arc::new(kept.clone()), Arc::clone(&parts.clock));
        let traces = Arc::new(Traces::begin(apps.iter(), "test", collector, clock, dropped.clone()));
        begun = Some(Arc::clone(&traces));
        let observer: Arc<dyn Observer> = Arc::new(Several(vec![Arc::clone(&parts.observer), traces]));
        // No id of a trace is zero, as the first run's of a scene is.
        let draw = Arc::clone(&parts.draw_id);
        Parts { observer, draw_id: Arc::new(move || draw() | 0xfeed << 64), ..parts }
    };
    let live = scene.start_as(0, scene.reopened(), Faults::default(), arrange).await;
    (live, begun.expect("arranged"))
}

/// The records of the journal.
fn records(scene: &Scene) -> Vec<Record> {
    let parse = |bytes: &[u8]| serde_json::from_slice(bytes).expect("a record");
    scene.journal.with(&payments(), |stored| stored.iter().map(|s| parse(&s.bytes)).collect())
}

fn nanoseconds(at: Timestamp) -> u64 {
    at.as_nanosecond().try_into().expect("after 1970")
}

/// What the journal says of the steps and calls of `run`: a key of each, with its beginning and its end.
#[derive(Debug, Default, PartialEq, Eq)]
struct Expected {
    /// `STEP/WAY` and how it ended.
    steps: Vec<(String, String, u64)>,
    /// `STEP/WAY/ATTEMPT/CALL`, from the intent to the answer.
    calls: BTreeMap<String, (String, u64, u64)>,
    began: u64,
    ended: u64,
}

fn expected(records: &[Record], run: &RunId) -> Expected {
    let (mut all, mut open) = (Expected::default(), BTreeSet::new());
    for record in records {
        let at = nanoseconds(record.at);
        for event in record.events.iter().filter(|event| event.run() == Some(run)) {
            let mut end = |step: &dyn std::fmt::Display, way, how: &str| {
                open.remove(&format!("{step}/{way}"));
                (format!("{step}/{way}"), how.to_owned(), at)
            };
            match event {
                Event::RunStarted { .. } => all.began = at,
                Event::RunFinished { .. } => {
                    all.ended = at;
                    // An approval that nobody waits for any more, for example.
                    all.steps
                        .extend(std::mem::take(&mut open).into_iter().map(|key| (key, "unsettled".to_owned(), at)));
                }
                Event::StepStarted { step, .. } => drop(open.insert(format!("{step}/forth"))),
                Event::StepDone { step, .. } => all.steps.push(end(step, "forth", "done")),
                Event::StepSkipped { step, .. } => all.steps.push(end(step, "forth", "skipped")),
                Event::StepFailed { step, .. } => all.steps.push(end(step, "forth", "failed")),
                Event::StepUndone { step, .. } => all.steps.push(end(step, "back", "undone")),
                Event::UndoFailed { step, .. } => all.steps.push(end(step, "back", "undo_failed")),
                Event::Intent { step, attempt, call, mutation, .. } => {
                    open.insert(format!("{step}/forth"));
                    let key = format!("{step}/forth/{attempt}/{call}");
                    all.calls.insert(key, (mutation.operation().replace(':', "."), at, 0));
                }
                Event::UndoIntended { step, attempt, call, mutation, .. } => {
                    open.insert(format!("{step}/back"));
                    let key = format!("{step}/back/{attempt}/{call}");
                    all.calls.insert(key, (mutation.operation().replace(':', "."), at, 0));
                }
                Event::Answered { step, attempt, call, .. } => {
                    all.calls.get_mut(&format!("{step}/forth/{attempt}/{call}")).expect("intended").2 = at;
                }
                Event::UndoAnswered { step, attempt, call, .. } => {
                    all.calls.get_mut(&format!("{step}/back/{attempt}/{call}")).expect("intended").2 = at;
                }
                _ => {}
            }
        }
    }
    all.steps.sort();
    all
}

/// The spans are those of `run` and of nothing else: each step and each call of the journal once, below what it is part of.
fn check(spans: &[Seen], records: &[Record], run: &RunId) {
    let expected = expected(records, run);
    let trace = &run.as_str()[run.as_str().len() - 32..];
    assert!(spans.iter().all(|span| span.trace == trace), "one trace, which is the end of the run's id");
    let ids: BTreeSet<_> = spans.iter().map(|span| &span.id).collect();
    assert_eq!(ids.len(), spans.len(), "no id twice");
    let roots: Vec<_> = spans.iter().filter(|span| span.parent.is_empty()).collect();
    let [root] = roots[..] else { panic!("one root: {roots:#?}") };
    assert_eq!((root.began, root.ended), (expected.began, expected.ended));
    assert_eq!(root.get("failoverd.run.id"), run.as_str());

    let (calls, others): (Vec<_>, Vec<_>) = spans.iter().filter(|s| !s.parent.is_empty()).partition(|s| s.kind == 3);
    let (steps, waits): (Vec<_>, Vec<_>) = others.into_iter().partition(|s| !s.get("failoverd.outcome").is_empty());
    assert!(waits.iter().all(|wait| wait.name == "wait for a person" && wait.parent == root.id), "{waits:#?}");
    let mut found: Vec<_> = steps
        .iter()
        .map(|s| {
            let key = format!("{}/{}", s.get("failoverd.step.id"), s.get("failoverd.step.way"));
            (key, s.get("failoverd.outcome").to_owned(), s.ended)
        })
        .collect();
    found.sort();
    assert_eq!(found, expected.steps, "each step once");
    assert!(steps.iter().all(|step| step.parent == root.id && step.kind == 1));

    let mut found = BTreeMap::new();
    for call in calls.iter().filter(|call| !call.get("failoverd.call.attempt").is_empty()) {
        let get = |name: &str| call.get(&format!("failoverd.{name}")).to_owned();
        let key = format!("{}/{}/{}/{}", get("step.id"), get("step.way"), get("call.attempt"), get("call.number"));
        let parent = steps.iter().find(|step| step.id == call.parent).unwrap_or_else(|| panic!("of no step: {call:?}"));
        assert_eq!(
            (parent.get("failoverd.step.id"), parent.get("failoverd.step.way")),
            (&*get("step.id"), &*get("step.way"))
        );
        assert!(parent.began <= call.began && call.ended <= parent.ended, "{call:?} within {parent:?}");
        assert_eq!(found.insert(key, (call.name.clone(), call.began, call.ended)), None, "each call once");
    }
    assert_eq!(found, expected.calls, "the calls of the journal");
}

/// The primary is lost; a person fails over and another approves. How long the run took.
async fn fail_over(live: &Live) -> (RunId, Duration, Played) {
    live.ready().await;
    live.lose("us-east-1");
    live.pass(60).await;
    let began = live.clock.boot();
    let run = live.begin(Wish::Failover).await;
    live.approve(&run).await;
    let played = live.outcome(&run, 3_600).await;
    (run, live.clock.boot() - began, played)
}

#[tokio::test(start_paused = true)]
async fn a_failover_is_one_trace_with_each_step_and_each_call_once() {
    let (scene, kept, dropped) = (Scene::payments(1, 240), Kept::default(), counter());
    let (live, traces) = start(&scene, &kept, &dropped).await;
    let (run, _, played) = fail_over(&live).await;
    assert_eq!(played, SUCCEEDED);
    live.pass(5).await;
    traces.flush().await;
    let spans = kept.spans();
    check(&spans, &records(&scene), &run);
    let promote = spans.iter().find(|s| s.name == "rds.FailoverGlobalCluster").expect("the promotion");
    let facts =
        ["rpc.system", "rpc.service", "rpc.method", "cloud.region", "failoverd.outcome"].map(|n| promote.get(n));
    assert_eq!(facts, ["aws-api", "rds", "FailoverGlobalCluster", "us-west-2", "accepted"]);
    let step = spans.iter().find(|s| s.id == promote.parent).expect("its step");
    assert_eq!((step.get("failoverd.action"), step.get("cloud.region")), ("aurora.failover", "us-west-2"));
    assert!(!step.get("failoverd.plane").is_empty(), "{step:?}");
    let root = spans.iter().find(|s| s.parent.is_empty()).expect("a root");
    assert_eq!((root.name.as_str(), root.get("failoverd.run.result")), ("failover payments", "succeeded"));
    assert!(root.moments.contains(&"approval".to_owned()), "{:?}", root.moments);
    assert_eq!(dropped.get(), 0);
    let (resource, _) = decode::request(&kept.requests.lock().expect("kept")[0]);
    assert_eq!((&*resource["service.name"], &*resource["service.instance.id"]), ("failoverd", "test"));
}

#[tokio::test(start_paused = true)]
async fn a_switchover_and_one_that_is_aborted_are_traces_of_their_own() {
    let (scene, kept, dropped) = (Scene::payments(2, 240), Kept::default(), counter());
    let (live, traces) = start(&scene, &kept, &dropped).await;
    live.ready().await;
    let aborted = live.begin(Wish::Failover).await;
    live.until_running(&aborted, "approve").await;
    live.act(&aborted, Act::Abort).await.expect("aborted");
    live.outcome(&aborted, 3_600).await;
    live.pass(120).await;
    let run = live.begin(Wish::Switchover).await;
    assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
    live.pass(5).await;
    traces.flush().await;
    let (spans, records) = (kept.spans(), records(&scene));
    for run in [&aborted, &run] {
        let of: Vec<_> = spans.iter().filter(|s| s.get("failoverd.run.id") == run.as_str()).cloned().collect();
        check(&of, &records, run);
    }
    assert!(spans.iter().any(|s| s.get("failoverd.run.result") == "aborted"), "{spans:#?}");
    assert!(spans.iter().any(|s| s.moments.contains(&"abort requested".to_owned())), "{spans:#?}");
}

#[test]
fn a_failover_takes_as_long_with_a_collector_that_hangs_fails_refuses_or_panics_as_with_one_that_takes() {
    let play = |manner: Manner| {
        incarnation(async move {
            let (scene, dropped) = (Scene::payments(3, 240), counter());
            let kept = Kept { manner, ..Kept::default() };
            let (live, traces) = start(&scene, &kept, &dropped).await;
            let (_, took, played) = fail_over(&live).await;
            assert_eq!(played, SUCCEEDED);
            assert!(0 < kept.attempts.load(Ordering::SeqCst), "it was tried");
            let before = live.clock.boot();
            traces.flush().await;
            let flushed = live.clock.boot() - before;
            assert!(flushed <= failoverd::adapters::observers::otlp::FLUSH_WITHIN, "{manner:?}: {flushed:?}");
            (took, kept.spans().len() as u64, dropped.get())
        })
    };
    let (took, spans, dropped) = play(Manner::Takes);
    assert!(20 < spans && dropped == 0, "{spans} spans, {dropped} dropped");
    for manner in [Manner::Hangs, Manner::Answers500, Manner::Refuses, Manner::Panics] {
        let other = play(manner);
        assert_eq!(other, (took, 0, spans), "{manner:?}: not a millisecond longer, and every span is counted");
    }
}

/// Who takes over goes on with the same trace: what was open is ended once, by him.
#[test]
fn a_replica_that_takes_over_goes_on_with_the_same_trace() {
    let (scene, kept, dropped) = (Scene::payments(4, 240), Kept::default(), counter());
    let run = incarnation(async {
        let (live, _traces) = start(&scene, &kept, &dropped).await;
        live.ready().await;
        live.lose("us-east-1");
        live.pass(60).await;
        let run = live.begin(Wish::Failover).await;
        live.until_running(&run, "approve").await;
        live.pass(5).await;
        run
        // Dies here, while it waits for bob.
    });
    let before = kept.spans().len();
    assert!(0 < before, "the first process has sent what had ended");
    incarnation(async {
        let (live, traces) = start(&scene, &kept, &dropped).await;
        live.ready().await;
        live.approve(&run).await;
        assert_eq!(live.outcome(&run, 3_600).await, SUCCEEDED);
        live.pass(5).await;
        traces.flush().await;
    });
    assert!(before < kept.spans().len());
    check(&kept.spans(), &records(&scene), &run);
}

/// S19: what people write, and what AWS says, is in no span.
#[tokio::test(start_paused = true)]
async fn no_text_of_a_person_is_in_a_span() {
    const CANARY: &str = "canary5ec7e7canary";
    let (scene, kept, dropped) = (Scene::payments(5, 240), Kept::default(), counter());
    let (live, traces) = start(&scene, &kept, &dropped).await;
    live.ready().await;
    let mut wish = Live::request(Wish::Failover);
    wish.reason = format!("the password is {CANARY}");
    let Ok(Started::Run { id: run, .. }) = live.ask(wish).await else { panic!("started") };
    live.until_running(&run, "approve").await;
    live.answer(&run, CANARY, false).await.expect("declined");
    live.outcome(&run, 600).await;
    live.act(&run, Act::Abort).await.expect("aborted");
    live.outcome(&run, 600).await;
    live.pass(5).await;
    traces.flush().await;
    assert!(serde_json::to_string(&records(&scene)).expect("json").contains(CANARY), "the journal has it");
    let spans = kept.spans();
    check(&spans, &records(&scene), &run);
    assert!(spans.iter().any(|s| s.name == "wait for a person"), "{spans:#?}");
    for request in kept.requests.lock().expect("kept").iter() {
        let text = String::from_utf8_lossy(request);
        assert!(!text.contains(CANARY) && !text.contains("password"), "{text}");
    }
}
