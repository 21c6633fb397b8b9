//! The queue, the sender and what goes over HTTP; what a span is, is tested over journals (tests/it/traces.rs).

use std::sync::atomic::AtomicUsize;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{super::outgoing::system_lookup, *};
use crate::{
    domain::{
        egress::Egress,
        id::{Region, RunId},
        trace::Way,
    },
    sim::port::SimClock,
};

/// Says the next of `answers` to each request, and nothing at all after them.
#[derive(Debug)]
struct Scripted {
    answers: Mutex<Vec<Sent>>,
    taken: AtomicUsize,
    clock: Arc<dyn Clock>,
    at: Mutex<Vec<Duration>>,
}

#[async_trait]
impl Collector for Scripted {
    async fn take(&self, _request: Vec<u8>) -> Sent {
        self.taken.fetch_add(1, Ordering::SeqCst);
        self.at.lock().expect("at").push(self.clock.boot());
        let next = {
            let mut answers = self.answers.lock().expect("answers");
            (!answers.is_empty()).then(|| answers.remove(0))
        };
        match next {
            Some(sent) => sent,
            None => std::future::pending().await,
        }
    }
}

fn failed(retry_after_seconds: Option<u64>) -> Sent {
    Sent::Failed { reason: "answered 503".to_owned(), retry_after_seconds }
}

fn begin(answers: Vec<Sent>) -> (Traces, Arc<Scripted>, IntCounter) {
    let clock: Arc<dyn Clock> = Arc::new(SimClock::starting_at(Timestamp::UNIX_EPOCH));
    let (answers, taken, at) = (Mutex::new(answers), AtomicUsize::new(0), Mutex::default());
    let collector = Arc::new(Scripted { answers, taken, clock: Arc::clone(&clock), at });
    let dropped = IntCounter::new("dropped", "of a test").expect("a counter");
    let taking: Arc<dyn Collector> = Arc::clone(&collector) as Arc<dyn Collector>;
    (Traces::begin([].iter(), "test", taking, clock, dropped.clone()), collector, dropped)
}

fn behalf() -> Behalf {
    let run: RunId = "payments-0123456789abcdef0123456789abcdef".parse().expect("an id");
    Behalf { run, step: "promote".parse().expect("a step"), way: Way::Forth, call: None }
}

fn reading() -> CloudCall {
    let region: Region = "us-west-2".parse().expect("a Region");
    CloudCall {
        service: "rds".to_owned(),
        operation: "DescribeGlobalClusters".to_owned(),
        region,
        outcome: "ok",
        began: Timestamp::UNIX_EPOCH,
        ended: Timestamp::UNIX_EPOCH,
        attempts: 1,
        http_status: Some(200),
        request_id: None,
    }
}

fn tell(traces: &Traces, spans: usize) {
    (0..spans).for_each(|_| traces.traced(&behalf(), &reading()));
}

#[tokio::test(start_paused = true)]
async fn what_finds_the_queue_full_is_dropped_and_counted_and_so_is_what_a_stop_leaves() {
    let (traces, collector, dropped) = begin(Vec::new());
    tell(&traces, 1);
    collector.clock.sleep(LINGER * 2).await;
    assert_eq!(collector.taken.load(Ordering::SeqCst), 1, "one is on its way, and hangs");
    tell(&traces, QUEUE_SPANS_MAX + 7);
    assert_eq!(dropped.get(), 7);
    let before = collector.clock.boot();
    traces.flush().await;
    assert_eq!(collector.clock.boot() - before, FLUSH_WITHIN);
    assert_eq!(dropped.get(), QUEUE_SPANS_MAX as u64 + 8, "each once");
    tell(&traces, 2);
    assert_eq!(dropped.get(), QUEUE_SPANS_MAX as u64 + 10, "nothing is sent after the end");
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_sent_again_after_a_pause_that_doubles_or_that_the_collector_asks_for() {
    let answers = vec![failed(None), failed(None), failed(Some(17)), failed(Some(86_400)), Sent::Delivered];
    let (traces, collector, dropped) = begin(answers);
    tell(&traces, 3);
    collector.clock.sleep(Duration::from_secs(200)).await;
    let at = collector.at.lock().expect("at").clone();
    let pauses: Vec<_> = at.windows(2).map(|two| (two[1] - two[0]).as_secs()).collect();
    assert_eq!(pauses, [1, 2, 17, 60]);
    assert_eq!(dropped.get(), 0);
    traces.flush().await;
    assert_eq!(dropped.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_refused_or_fails_too_often_is_dropped_and_the_next_is_sent() {
    let mut answers = vec![Sent::Refused { reason: "answered 400".to_owned() }, Sent::Delivered];
    answers.extend((0..ATTEMPTS_MAX).map(|_| failed(None)));
    answers.push(Sent::Delivered);
    let (traces, collector, dropped) = begin(answers);
    for (spans, dropped_then) in [(2, 2), (3, 2), (4, 6), (5, 6)] {
        tell(&traces, spans);
        collector.clock.sleep(Duration::from_secs(300)).await;
        assert_eq!(dropped.get(), dropped_then);
    }
    assert_eq!(collector.taken.load(Ordering::SeqCst), 3 + ATTEMPTS_MAX as usize);
}

#[tokio::test(start_paused = true)]
async fn a_stop_sends_what_is_queued_at_once_and_does_not_wait_out_a_pause() {
    let (traces, collector, dropped) = begin(vec![failed(Some(60)), Sent::Delivered, Sent::Delivered]);
    tell(&traces, BATCH_SPANS_MAX);
    collector.clock.sleep(LINGER * 2).await;
    tell(&traces, 5);
    let before = collector.clock.boot();
    traces.flush().await;
    assert_eq!(collector.clock.boot() - before, Duration::ZERO);
    assert_eq!((collector.taken.load(Ordering::SeqCst), dropped.get()), (3, 0));
}

/// Answers one request with 200, and returns what was asked.
async fn served() -> (u16, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut bytes = vec![0; 4096];
        let read = stream.read(&mut bytes).await.expect("a request");
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.expect("written");
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    });
    (port, asked)
}

fn http(egress: Egress, url: &str, token: &str) -> HttpCollector {
    let outgoing = Outgoing::new(egress, system_lookup()).expect("a client");
    let headers = [("x-token".to_owned(), "env:TOKEN".parse().expect("a reference"))].into();
    HttpCollector::new(outgoing, url.to_owned(), headers, &[("TOKEN".to_owned(), token.to_owned())].into())
}

#[tokio::test]
async fn a_request_has_its_headers_and_no_word_of_a_secret_is_said() {
    let here = || Egress { loopback: true, allow: Vec::new() };
    let (port, asked) = served().await;
    let collector = http(here(), &format!("http://127.0.0.1:{port}/v1/traces"), "canary");
    assert_eq!(collector.take(b"spans".to_vec()).await, Sent::Delivered);
    let asked = asked.await.expect("asked");
    assert!(asked.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("x-token: canary\r\n") && asked.contains("content-type: application/x-protobuf"), "{asked}");
    assert!(!format!("{collector:?}").contains("canary"));
    // Nobody listens there any more.
    let said =
        format!("{:?}", http(here(), &format!("http://127.0.0.1:{port}/canary"), "canary").take(Vec::new()).await);
    assert!(said.starts_with("Failed") && !said.contains("canary"), "{said}");
    let missing = http(here(), "https://127.0.0.1:4318/v1/traces", " ").take(Vec::new()).await;
    assert!(matches!(&missing, Sent::Failed { reason, .. } if reason.contains("env:TOKEN")), "{missing:?}");
}

/// FAULTS.md 92: what a collector's name leads to is judged as any other target.
#[tokio::test]
async fn a_collector_at_an_address_that_is_not_allowed_is_never_connected_to() {
    for url in [
        "https://169.254.170.2/v1/traces",
        "https://10.0.0.1:4318/v1/traces",
        "https://localhost:4318/v1/traces",
        "https://[::ffff:127.0.0.1]:4318/v1/traces",
        "http://93.184.216.34/v1/traces",
    ] {
        let sent = http(Egress::default(), url, "canary").take(Vec::new()).await;
        assert!(matches!(&sent, Sent::Refused { .. }), "{url}: {sent:?}");
    }
}
