//! A run live: its journal records as server-sent events.
//!
//! One event per record (`id` is the record's number), so that no reconnection can lose half of one. The journal is
//! replayed from after `Last-Event-ID`, then followed; a reader that lags is served from the journal again. When the
//! run is finished an `end` event closes the stream; asked again after that, 204 tells an `EventSource` to stay away.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse, Response,
        sse::{self, KeepAlive, Sse},
    },
};
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::{Api, extract::RunPath, problem::Problem, runs::with_run, view::RecordView};
use crate::domain::{
    id::RunId,
    journal::{Event, Record},
    run::RunState,
};

/// How often a silent stream shows that it lives.
pub const HEARTBEAT: Duration = Duration::from_secs(10);

/// Records on their way to one reader.
const QUEUE_RECORDS_MAX: usize = 16;

/// One event of the stream, as a client of `text/event-stream` has it.
#[derive(Debug, utoipa::ToSchema)]
#[expect(dead_code, reason = "described here; written by axum, field by field")]
pub struct StreamEvent {
    /// `record` or `end`.
    event: String,
    /// The number of the record, for `Last-Event-ID`.
    id: Option<String>,
    /// Of a `record`: a RecordView, as JSON.
    data: String,
}

/// A run's records, replayed and then live.
#[utoipa::path(
    get, path = "/runs/{id}/events", operation_id = "watch_run", tag = "runs",
    params(
        ("id" = String, Path, description = "The run"),
        ("Last-Event-ID" = Option<u64>, Header, description = "The number of the last record that was seen; the stream goes on after it"),
    ),
    responses(
        (status = 200, description = "`record` events, each with a RecordView as data; `end` when the run is finished", body = StreamEvent, content_type = "text/event-stream"),
        (status = 204, description = "The run is finished and all of it was seen"),
        (status = 400, description = "`invalid-request`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`unknown-run`", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "`rate-limited`: too many streams are open", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn stream(State(api): State<Api>, RunPath(run): RunPath, headers: HeaderMap) -> Result<Response, Problem> {
    let seen = last_event_id(&headers)?;
    let Ok(permit) = Arc::clone(&api.streams).try_acquire_owned() else {
        return Err(Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "rate-limited",
            "Too many event streams",
            "as many streams are open as there may be".to_owned(),
        )
        .retry_later());
    };
    // Subscribed before the journal is read: nothing can fall between the two.
    let live = api.control.subscribe(&run.application()).ok_or_else(|| api.control.unknown_run(&run))?;
    let is_finished = with_run(&api, &run, RunState::is_finished)?;
    let past = api.control.records(&run).await?;
    let last = past.iter().map(|r| r.seq).max();
    if is_finished && seen.is_some() && seen >= last {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let (sender, receiver) = mpsc::channel(QUEUE_RECORDS_MAX);
    let reader = Reader { api, run, seen, sender, _permit: permit };
    tokio::spawn(reader.serve(past, live));
    let keep_alive = KeepAlive::new().interval(HEARTBEAT).text("alive");
    Ok(Sse::new(ReceiverStream::new(receiver)).keep_alive(keep_alive).into_response())
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let number = value.to_str().ok().and_then(|v| v.trim().parse().ok());
    number.map(Some).ok_or_else(|| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "invalid-request",
            "The request is not what is expected",
            "expected the number of a record",
        )
    })
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    /// The run is finished, or the reader is gone.
    Over,
}

struct Reader {
    api: Api,
    run: RunId,
    /// The number of the last record sent.
    seen: Option<u64>,
    sender: mpsc::Sender<Result<sse::Event, Infallible>>,
    _permit: OwnedSemaphorePermit,
}

impl Reader {
    async fn serve(mut self, past: Vec<Record>, mut live: broadcast::Receiver<Arc<Record>>) {
        if self.send_all(&past).await == Flow::Over {
            return;
        }
        let stopping = self.api.stopping.clone();
        loop {
            let received = tokio::select! {
                received = live.recv() => received,
                () = self.sender.closed() => return,
                () = stopping.cancelled() => return,
            };
            let flow = match received {
                Ok(record) => self.send(&record).await,
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    match self.api.control.records(&self.run).await {
                        Ok(records) => self.send_all(&records).await,
                        // The stream ends; the reader comes again with its Last-Event-ID and is told why.
                        Err(_) => Flow::Over,
                    }
                }
                Err(broadcast::error::RecvError::Closed) => Flow::Over,
            };
            if flow == Flow::Over {
                return;
            }
        }
    }

    async fn send_all(&mut self, records: &[Record]) -> Flow {
        for record in records {
            if self.send(record).await == Flow::Over {
                return Flow::Over;
            }
        }
        Flow::On
    }

    async fn send(&mut self, record: &Record) -> Flow {
        let Some(view) = RecordView::of(record, &self.run) else {
            return Flow::On;
        };
        let finished = record.events.iter().find_map(|e| match e {
            Event::RunFinished { run, result, .. } if *run == self.run => Some(*result),
            _ => None,
        });
        if self.seen.is_none_or(|seen| record.seq > seen) {
            let event = sse::Event::default().id(record.seq.to_string()).event("record").data(json(&view));
            if self.sender.send(Ok(event)).await.is_err() {
                return Flow::Over;
            }
            self.seen = Some(record.seq);
        }
        match finished {
            None => Flow::On,
            Some(result) => {
                let data = json(&serde_json::json!({ "result": result }));
                let end = sse::Event::default().event("end").data(data);
                // A reader that is gone needs no end.
                let _ = self.sender.send(Ok(end)).await;
                Flow::Over
            }
        }
    }
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|e| unreachable!("views serialise: {e}"))
}
