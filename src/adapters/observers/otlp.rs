//! Runs as traces, sent to a collector over OTLP/HTTP (docs/traces.md).
//!
//! Invariants: nothing waits for it. Spans go into a queue of [`QUEUE_SPANS_MAX`], and what finds it full is dropped and
//! counted; one task sends them, in batches, one request at a time. A collector that hangs, refuses or answers wrongly costs
//! spans and nothing else. A secret of a header is in the request and nowhere else.
//!
//! Not here: what a span is ([`crate::domain::trace`]), and where a request may go ([`Outgoing`]).

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use prometheus::IntCounter;
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    outgoing::{Outgoing, Ready, parsed},
    secret::Secrets,
};
use crate::{
    domain::{
        application::Application,
        assessment::Assessment,
        history::History,
        id::ApplicationName,
        journal::Record,
        outbox::Sent,
        secret::SecretRef,
        trace::{Attributes, Behalf, CloudCall, Span, Tracing},
    },
    ports::{Clock, Observer},
};

mod encode;
#[cfg(test)]
mod tests;

/// How many spans wait for the collector. A failover of 20 steps has some hundred, with every reading that its steps make.
pub const QUEUE_SPANS_MAX: usize = 8_192;
/// How many go in one request: some 500 KB at the most.
const BATCH_SPANS_MAX: usize = 512;
/// For how long a request waits for more spans to go with it.
const LINGER: Duration = Duration::from_secs(1);
/// The longest that one attempt takes.
const SEND_WITHIN: Duration = Duration::from_secs(15);
/// How often a batch is sent at the most, and the pauses in between: 1 s, doubled each time.
const ATTEMPTS_MAX: u32 = 6;
/// The longest pause that a collector may ask for.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// How long a stop waits for what is queued (beside the stop's own patience: ECS kills after 30 s).
pub const FLUSH_WITHIN: Duration = Duration::from_secs(3);

/// Where spans are sent.
#[async_trait]
pub trait Collector: Send + Sync + fmt::Debug {
    /// Sends one `ExportTraceServiceRequest`, once.
    async fn take(&self, request: Vec<u8>) -> Sent;
}

/// A collector behind a URL.
#[derive(Debug)]
pub struct HttpCollector {
    outgoing: Outgoing,
    url: String,
    headers: BTreeMap<String, SecretRef>,
    secrets: Secrets,
}

impl HttpCollector {
    /// `url` is the whole one, to which requests are posted.
    pub fn new(
        outgoing: Outgoing,
        url: String,
        headers: BTreeMap<String, SecretRef>,
        environment: &BTreeMap<String, String>,
    ) -> Self {
        let secrets = Secrets::new(headers.values(), environment);
        Self { outgoing, url, headers, secrets }
    }
}

#[async_trait]
impl Collector for HttpCollector {
    async fn take(&self, request: Vec<u8>) -> Sent {
        let mut headers = Vec::with_capacity(self.headers.len());
        for (name, reference) in &self.headers {
            match self.secrets.find(reference).await {
                Ok(value) => headers.push((name.clone(), value)),
                Err(reason) => return Sent::Failed { reason, retry_after_seconds: None },
            }
        }
        match parsed(&self.url) {
            Ok(url) => {
                let ready = Ready { url, content_type: "application/x-protobuf", body: request, headers };
                self.outgoing.post(ready).await
            }
            Err(sent) => sent,
        }
    }
}

/// The observer that makes spans of what is recorded, and the task that sends them.
pub struct Traces {
    tracing: Mutex<Tracing>,
    queue: mpsc::Sender<Span>,
    counts: Arc<Counts>,
    clock: Arc<dyn Clock>,
    stopping: CancellationToken,
    sender: Mutex<Option<JoinHandle<()>>>,
}

/// What became of spans.
#[derive(Debug)]
struct Counts {
    /// Queued, and neither sent nor dropped yet.
    waiting: AtomicU64,
    dropped: IntCounter,
}

impl Counts {
    fn settled(&self, spans: usize) {
        self.waiting.fetch_sub(spans as u64, Ordering::SeqCst);
    }

    fn dropped(&self, spans: usize) {
        self.settled(spans);
        self.dropped.inc_by(spans as u64);
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces").field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl Traces {
    /// Begins to send what `applications` do to `collector`. `instance` names this process; `dropped` counts the spans that
    /// were not delivered.
    pub fn begin<'a>(
        applications: impl Iterator<Item = &'a Arc<Application>>,
        instance: &str,
        collector: Arc<dyn Collector>,
        clock: Arc<dyn Clock>,
        dropped: IntCounter,
    ) -> Self {
        let (queue, spans) = mpsc::channel(QUEUE_SPANS_MAX);
        let counts = Arc::new(Counts { waiting: AtomicU64::new(0), dropped });
        let stopping = CancellationToken::new();
        let resource: Attributes = vec![
            ("service.name", "failoverd".into()),
            ("service.version", env!("CARGO_PKG_VERSION").into()),
            ("service.instance.id", instance.into()),
        ];
        let sender = Sender {
            spans,
            resource,
            collector,
            clock: Arc::clone(&clock),
            counts: Arc::clone(&counts),
            stopping: stopping.clone(),
            is_failing: false,
        };
        let sender = Mutex::new(Some(tokio::spawn(sender.work())));
        Self { tracing: Mutex::new(Tracing::new(applications)), queue, counts, clock, stopping, sender }
    }

    /// Sends what is queued, for [`FLUSH_WITHIN`] at the most; what is left is dropped and counted. Nothing is sent after it.
    pub async fn flush(&self) {
        self.stopping.cancel();
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut sender) = sender else { return };
        tokio::select! {
            biased;
            _ended_or_panicked = &mut sender => {}
            () = self.clock.sleep(FLUSH_WITHIN) => sender.abort(),
        }
        let left = self.counts.waiting.swap(0, Ordering::SeqCst);
        self.counts.dropped.inc_by(left);
        if left != 0 {
            tracing::warn!(spans = left, "the collector did not take all spans before the end");
        }
    }

    fn send(&self, spans: impl IntoIterator<Item = Span>) {
        for span in spans {
            self.counts.waiting.fetch_add(1, Ordering::SeqCst);
            // Full, or the sender is gone.
            if self.queue.try_send(span).is_err() {
                self.counts.dropped(1);
            }
        }
    }

    fn tracing(&self) -> std::sync::MutexGuard<'_, Tracing> {
        // A panic elsewhere costs a span at worst.
        self.tracing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Traces {
    fn taken_over(&self, history: &History) {
        self.tracing().taken_over(history);
    }

    fn led(&self, application: &ApplicationName, leads: bool) {
        if !leads {
            self.tracing().left(application);
        }
    }

    fn recorded(&self, record: &Record, _append_seconds: f64) {
        let spans = self.tracing().recorded(record);
        self.send(spans);
    }

    fn assessed(&self, _assessment: &Assessment) {}

    fn called(&self, _service: &str, _operation: &str, _region: &str, _outcome: &str, _at: Timestamp) {}

    fn traced(&self, behalf: &Behalf, call: &CloudCall) {
        let span = self.tracing().called(behalf, call);
        self.send(span);
    }
}

/// What sends.
struct Sender {
    spans: mpsc::Receiver<Span>,
    resource: Attributes,
    collector: Arc<dyn Collector>,
    clock: Arc<dyn Clock>,
    counts: Arc<Counts>,
    stopping: CancellationToken,
    /// Whether the last batch was not delivered: said once.
    is_failing: bool,
}

impl Sender {
    async fn work(mut self) {
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                biased;
                taken = self.spans.recv_many(&mut batch, BATCH_SPANS_MAX) => if taken == 0 { return },
                () = self.stopping.cancelled() => return,
            }
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => {}
                () = self.clock.sleep(LINGER) => {}
            }
            while batch.len() < BATCH_SPANS_MAX
                && let Ok(span) = self.spans.try_recv()
            {
                batch.push(span);
            }
            self.send(&batch).await;
        }
    }

    /// Sends `batch` until it is taken, refused, or was sent often enough; once more only where everything stops.
    async fn send(&mut self, batch: &[Span]) {
        let request = encode::request(&self.resource, batch);
        let mut why = String::new();
        for attempt in 0..ATTEMPTS_MAX {
            let is_last = self.stopping.is_cancelled();
            let sent = tokio::select! {
                biased;
                sent = self.collector.take(request.clone()) => sent,
                () = self.clock.sleep(SEND_WITHIN) => {
                    let reason = format!("no answer within {} s", SEND_WITHIN.as_secs());
                    Sent::Failed { reason, retry_after_seconds: None }
                }
            };
            let asked = match sent {
                Sent::Delivered => {
                    self.counts.settled(batch.len());
                    if std::mem::take(&mut self.is_failing) {
                        tracing::info!("the collector takes spans again");
                    }
                    return;
                }
                Sent::Refused { reason } => {
                    why = reason;
                    break;
                }
                Sent::Failed { reason, retry_after_seconds } => {
                    why = reason;
                    retry_after_seconds
                }
            };
            if is_last {
                break;
            }
            let pause = Duration::from_secs(asked.unwrap_or(1 << attempt.min(6))).min(PAUSE_MAX);
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => {}
                () = self.clock.sleep(pause) => {}
            }
        }
        self.counts.dropped(batch.len());
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::warn!(spans = batch.len(), why, "the collector does not take spans: they are dropped and counted");
        }
    }
}
