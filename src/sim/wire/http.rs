//! One HTTP server for all services: who is called is read from the signature's credential scope.
//!
//! Invariant: whether the endpoint can be reached is decided before anything happens, and every call is recorded,
//! answered or not. Signatures are not verified; their time is, where asked for, since an old signed call that
//! is sent again must be refused.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context as Task, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming, SizeHint},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use winterbaume_core::MockResponse;

use super::{
    SharedWorld, arc,
    call::{self, Call},
    cloudwatch, control, ec2,
    encode::{self, Protocol},
    faults::{Barriers, Fault, Faults, Point, Release},
    iam, rds, route53, s3, services, sns,
};
use crate::sim::world::{ApiFault, Reach, SimTime, World};

/// Size of a request, in bytes: PutMetricData's 1 MB and room for its encoding.
const BODY_BYTES_MAX: usize = 4 << 20;
/// Requests that the log keeps.
const LOG_MAX: usize = 10_000;
/// How long a call that is never answered is held before its connection is cut.
const HANG_MAX: Duration = Duration::from_secs(600);
/// How long after its body is written an answer counts as sent.
const FLUSH: Duration = Duration::from_millis(10);
/// How far a signature's time may lie from now, in milliseconds. [SigV4: 5 minutes]
const SIGNATURE_AGE_MS_MAX: u64 = 5 * 60_000;
/// The same for S3: 15 minutes. [S3 API, Authenticating Requests; from memory]
const SIGNATURE_AGE_S3_MS_MAX: u64 = 15 * 60_000;

/// One call that arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recorded {
    /// World time, in milliseconds since the epoch.
    pub at_ms: u64,
    pub service: String,
    pub operation: String,
    pub region: String,
    /// The status of the answer; absent where none was sent.
    pub status: Option<u16>,
    /// Whether the world changed: a mutation that was accepted.
    pub effect: bool,
}

/// The calls that arrived, and how many effects each kind of call had.
#[derive(Debug, Default)]
pub struct RequestLog {
    kept: Mutex<VecDeque<Recorded>>,
    effects: Mutex<BTreeMap<(String, String, String), u64>>,
}

impl RequestLog {
    fn push(&self, recorded: Recorded) {
        if recorded.effect {
            let of = (recorded.service.clone(), recorded.operation.clone(), recorded.region.clone());
            *lock(&self.effects).entry(of).or_default() += 1;
        }
        let mut kept = lock(&self.kept);
        if LOG_MAX <= kept.len() {
            kept.pop_front();
        }
        kept.push_back(recorded);
    }

    /// The last calls, oldest first.
    pub fn all(&self) -> Vec<Recorded> {
        lock(&self.kept).iter().cloned().collect()
    }

    /// Accepted mutations by service, operation and Region, since the start.
    pub fn effects(&self) -> BTreeMap<(String, String, String), u64> {
        lock(&self.effects).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What every connection needs.
pub(super) struct Server {
    pub(super) world: SharedWorld,
    pub(super) faults: Faults,
    pub(super) barriers: Barriers,
    pub(super) requests: Arc<RequestLog>,
    pub(super) enforce_signing_time: bool,
    pub(super) dates: Option<super::Clock>,
    pub(super) manual: Option<super::ManualClock>,
    pub(super) sequence: AtomicU64,
}

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection was cut on purpose")]
struct Cut;

/// Serves until `shutdown`; open connections are then dropped.
pub(super) async fn serve(listener: TcpListener, server: Arc<Server>, shutdown: CancellationToken) {
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = connection(stream, server.clone());
                let shutdown = shutdown.clone();
                tasks.spawn(async move {
                    tokio::select! {
                        () = shutdown.cancelled() => {}
                        () = connection => {}
                    }
                });
            }
            // Out of file descriptors, say: the listener lives on.
            Err(error) => {
                tracing::warn!(%error, "the simulated AWS could not accept a connection");
                super::wall_sleep(Duration::from_millis(50)).await;
            }
        }
    }
    tasks.close();
    tasks.wait().await;
}

async fn connection(stream: TcpStream, server: Arc<Server>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let server = server.clone();
        async move { server.answer(request).await }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "connection ended");
    }
}

/// What becomes of a call.
enum Outcome {
    Answered(MockResponse),
    /// The connection is cut.
    Cut,
    /// Nothing comes back, ever.
    Silent,
}

impl Server {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Answer>, Cut> {
        let (parts, body) = request.into_parts();
        let body = match Limited::new(body, BODY_BYTES_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => {
                let refused = MockResponse::error(413, "RequestEntityTooLarge", "the request is too large");
                return Ok(self.dressed(refused));
            }
        };
        if parts.uri.path().starts_with("/_sim/") {
            let said = control::handle(&self, &parts, &body).await;
            return Ok(self.dressed(said));
        }
        let call = match call::parse(&parts, body) {
            Ok(call) => Arc::new(call),
            Err((protocol, fault)) => return Ok(self.dressed(encode::error(protocol, "", &fault))),
        };
        self.barriers.open().await;
        // In a task of its own: what has arrived takes effect, whether or not the client is still there.
        let done = tokio::spawn({
            let (server, call) = (self.clone(), call.clone());
            async move { server.call(&call).await }
        });
        match done.await {
            Ok(Outcome::Answered(response)) => {
                let after = if call.mutates() {
                    // Before the answer leaves, so that no later call can slip past the barrier.
                    self.barriers.claim(Point::AfterAnswer, call.target())
                } else {
                    None
                };
                let mut response = self.dressed(response);
                response.body_mut().sent = after.map(|id| Sent { barriers: self.barriers.clone(), id });
                Ok(response)
            }
            Ok(Outcome::Silent) => {
                // Until the client goes away, which drops this future, or until the bound.
                super::wall_sleep(HANG_MAX).await;
                Err(Cut)
            }
            Ok(Outcome::Cut) | Err(_) => Err(Cut),
        }
    }

    async fn call(&self, call: &Call) -> Outcome {
        let (service, operation, region) = call.target();
        let mut lose_answer = false;
        while let Some(fault) = self.faults.take(service, operation, region) {
            match fault {
                Fault::DelayMs { ms } => super::wall_sleep(Duration::from_millis(ms)).await,
                Fault::ReplyLostBefore => return self.unanswered(call, Outcome::Cut),
                Fault::ReplyLostAfter => {
                    lose_answer = true;
                    break;
                }
                Fault::Hang => return self.unanswered(call, Outcome::Silent),
                Fault::Throttle => return self.refused(call, &call::throttled(service)),
                Fault::Status { status } => return self.refused(call, &call::with_status(status)),
            }
        }
        let (plane, home) = call.plane();
        match self.world.with(|world| world.planes.reach(plane, &home)) {
            Reach::Up => {}
            Reach::Hangs => return self.unanswered(call, Outcome::Silent),
            Reach::Unavailable => return self.refused(call, &call::unavailable(service)),
            Reach::Throttles => return self.refused(call, &call::throttled(service)),
            Reach::DeniesAccess => return self.refused(call, &call::denied(service, operation)),
        }
        if self.world.with(|world| world.services.iam.refuses(service, operation)) {
            return self.refused(call, &call::denied(service, operation));
        }
        if let Some(fault) = self.signature_too_old(call) {
            return self.refused(call, &fault);
        }
        if self.pause(Point::BeforeEffect, call).await == Release::Drop {
            return self.unanswered(call, Outcome::Cut);
        }
        let response = self.world.with(|world| dispatch(world, call));
        let effect = call.mutates() && response.status < 300;
        // At once: whoever is killed while the call stands at the next barrier must find it recorded.
        let status = (!lose_answer).then_some(response.status);
        self.record(call, status, effect);
        let release = self.pause(Point::AfterEffectBeforeAnswer, call).await;
        if lose_answer || release == Release::Drop {
            return Outcome::Cut;
        }
        Outcome::Answered(response)
    }

    async fn pause(&self, point: Point, call: &Call) -> Release {
        if !call.mutates() {
            return Release::GoOn;
        }
        match self.barriers.claim(point, call.target()) {
            Some(id) => self.barriers.released(id).await,
            None => Release::GoOn,
        }
    }

    fn refused(&self, call: &Call, fault: &ApiFault) -> Outcome {
        self.record(call, Some(fault.status), false);
        Outcome::Answered(call.fault(fault))
    }

    fn unanswered(&self, call: &Call, outcome: Outcome) -> Outcome {
        self.record(call, None, false);
        outcome
    }

    fn record(&self, call: &Call, status: Option<u16>, effect: bool) {
        self.requests.push(Recorded {
            at_ms: self.world.now().0,
            service: call.service.clone(),
            operation: call.operation.clone(),
            region: call.region.to_string(),
            status,
            effect,
        });
    }

    /// The answer with what every AWS answer carries: a request id and a date, in world time where nothing else is asked.
    fn dressed(&self, answer: MockResponse) -> Response<Answer> {
        let date = self.dates.as_ref().map_or_else(|| self.world.now(), |clock| clock());
        let id = self.sequence.fetch_add(1, Ordering::Relaxed);
        let id = format!("51a50000-0000-4000-8001-{id:012x}");
        let body = match std::str::from_utf8(&answer.body) {
            Ok(text) if text.contains(encode::REQUEST_ID) => text.replace(encode::REQUEST_ID, &id).into(),
            _ => answer.body,
        };
        let mut response = Response::new(Answer { body: Full::new(body), sent: None });
        *response.status_mut() = hyper::StatusCode::from_u16(answer.status).unwrap_or_default();
        *response.headers_mut() = answer.headers;
        // S3 has a header of its own for it.
        if response.headers().contains_key(s3::REQUEST_ID_HEADER)
            && let Ok(value) = id.parse()
        {
            response.headers_mut().insert(s3::REQUEST_ID_HEADER, value);
        }
        for (name, value) in [("x-amzn-requestid", id), ("date", encode::http_date(date))] {
            if let Ok(value) = value.parse() {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }

    fn signature_too_old(&self, call: &Call) -> Option<ApiFault> {
        if !self.enforce_signing_time {
            return None;
        }
        let given = call.headers.get("x-amz-date").and_then(|v| v.to_str().ok());
        let signed = given.and_then(|text| {
            let at = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
            let at = at.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
            u64::try_from(at.timestamp().as_millisecond()).ok()
        });
        // By the clock that the callers go by.
        let now = self.dates.as_ref().map_or_else(|| self.world.now(), |clock| clock()).0;
        let age_max = if call.service == "s3" { SIGNATURE_AGE_S3_MS_MAX } else { SIGNATURE_AGE_MS_MAX };
        match signed {
            Some(at) if now.abs_diff(at) <= age_max => None,
            _ if call.service == "s3" => Some(ApiFault {
                status: 403,
                code: "RequestTimeTooSkewed",
                message: "The difference between the request time and the current time is too large.".to_owned(),
            }),
            _ => {
                let json = matches!(call.protocol, Protocol::Json | Protocol::Cbor);
                Some(ApiFault {
                    status: 403,
                    code: if json { "InvalidSignatureException" } else { "SignatureDoesNotMatch" },
                    message: format!(
                        "Signature expired: {} is not within 5 minutes of {}",
                        given.unwrap_or("(no X-Amz-Date)"),
                        encode::iso(SimTime(now))
                    ),
                })
            }
        }
    }
}

/// An answer's body, which tells when it is on its way.
struct Answer {
    body: Full<Bytes>,
    sent: Option<Sent>,
}

/// Reports, when dropped, that an answer has been handed to the network.
struct Sent {
    barriers: Barriers,
    id: u64,
}

impl Drop for Sent {
    fn drop(&mut self) {
        let (barriers, id) = (self.barriers.clone(), self.id);
        // The body is gone when its bytes are in the connection's buffer, which is flushed in the same turn.
        tokio::spawn(async move {
            super::wall_sleep(FLUSH).await;
            barriers.arrive(id);
        });
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn dispatch(world: &mut World, call: &Call) -> MockResponse {
    let (region, operation) = (&call.region, call.operation.as_str());
    match call.service.as_str() {
        "rds" => rds::handle(world, region, &params(&call.body)),
        "sns" => sns::handle(world, region, operation, &params(&call.body)),
        "monitoring" => cloudwatch::handle(world, region, operation, (call.protocol, &call.body)),
        "route53" => route53::handle(world, call.method.as_str(), &call.path, &call.query, &call.body),
        "s3" => s3::handle(world, call),
        "route53-recovery-cluster" => arc::handle(world, region, &format!("ToggleCustomerAPI.{operation}"), &call.body),
        "ec2" => ec2::handle(world, call),
        "iam" => iam::handle(world, operation, &params(&call.body)),
        "lambda" | "ecs" | "ssm" | "events" | "secretsmanager" | "kms" | "backup" | "sts" => {
            services::handle(world, call)
        }
        other => call.fault(&super::not_simulated(other, operation)),
    }
}

fn params(body: &[u8]) -> HashMap<String, String> {
    form_urlencoded::parse(body).into_owned().collect()
}
