//! One HTTP server for all services: who is called is read from the signature's credential scope.
//!
//! Invariant: whether the endpoint can be reached is decided before anything happens, and every call is recorded,
//! answered or not. Signatures are not verified; their time is, where asked for, since an old signed call that
//! is sent again must be refused.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicU64, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{HeaderMap, Method, Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use winterbaume_core::MockResponse;

use super::{
    SharedWorld, arc, cloudwatch, control,
    encode::{self, Protocol},
    faults::{Barriers, Fault, Faults, Point},
    rds, route53, sns,
};
use crate::{
    domain::id::Region,
    sim::world::{ApiFault, Plane, Reach, SimTime, World},
};

/// Size of a request, in bytes: PutMetricData's 1 MB and room for its encoding.
const BODY_BYTES_MAX: usize = 4 << 20;
/// Requests that the log keeps.
const LOG_MAX: usize = 10_000;
/// How long a call that is never answered is held before its connection is cut.
const HANG_MAX: Duration = Duration::from_secs(600);
/// How far a signature's time may lie from now, in milliseconds. [SigV4: 5 minutes]
const SIGNATURE_AGE_MS_MAX: u64 = 5 * 60_000;
/// Home of the Route 53 control plane. [WP]
const ROUTE53_HOME: &str = "us-east-1";

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
            let of = (
                recorded.service.clone(),
                recorded.operation.clone(),
                recorded.region.clone(),
            );
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
    pub(super) requests: std::sync::Arc<RequestLog>,
    pub(super) enforce_signing_time: bool,
    pub(super) manual: Option<super::ManualClock>,
    pub(super) sequence: AtomicU64,
}

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection was cut on purpose")]
struct Cut;

/// Serves until `shutdown`; open connections are then dropped.
pub(super) async fn serve(
    listener: TcpListener,
    server: std::sync::Arc<Server>,
    shutdown: CancellationToken,
) {
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
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    tasks.close();
    tasks.wait().await;
}

async fn connection(stream: TcpStream, server: std::sync::Arc<Server>) {
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

/// A request, read whole, and what its signature and its form say about it.
pub(super) struct Call {
    pub(super) service: String,
    pub(super) operation: String,
    pub(super) region: Region,
    pub(super) protocol: Protocol,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Call {
    fn target(&self) -> (&str, &str, &str) {
        (&self.service, &self.operation, self.region.as_str())
    }

    /// Everything that is not a read changes something.
    fn mutates(&self) -> bool {
        !["Describe", "Get", "List", "Test"]
            .iter()
            .any(|read| self.operation.starts_with(read))
    }

    fn plane(&self) -> (Plane, Region) {
        let plane = match self.service.as_str() {
            "rds" => Plane::Rds,
            "sns" => Plane::Sns,
            "monitoring" => Plane::CloudWatch,
            "route53-recovery-cluster" => Plane::ArcCluster,
            // With a custom endpoint the SDKs sign with the client's Region; the plane has one home all the same.
            _ => {
                let home = ROUTE53_HOME.parse();
                return (Plane::Route53Control, home.unwrap_or_else(|_| self.region.clone()));
            }
        };
        (plane, self.region.clone())
    }

    fn fault(&self, fault: &ApiFault) -> MockResponse {
        encode::error(self.protocol, &self.service, fault)
    }
}

impl Server {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Cut> {
        let (parts, body) = request.into_parts();
        let body = match Limited::new(body, BODY_BYTES_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => return Ok(self.dressed(MockResponse::error(413, "RequestEntityTooLarge", "the request is too large"))),
        };
        if parts.uri.path().starts_with("/_sim/") {
            return Ok(self.dressed(control::handle(self, &parts, &body).await));
        }
        match parse(&parts, body) {
            Ok(call) => {
                self.barriers.open().await;
                self.call(call).await
            }
            Err((protocol, fault)) => Ok(self.dressed(encode::error(protocol, "", &fault))),
        }
    }

    async fn call(&self, call: Call) -> Result<Response<Full<Bytes>>, Cut> {
        let (service, operation, region) = call.target();
        let mut lose_answer = false;
        while let Some(fault) = self.faults.take(service, operation, region) {
            match fault {
                Fault::DelayMs { ms } => tokio::time::sleep(Duration::from_millis(ms)).await,
                Fault::ReplyLostBefore => return self.cut(&call, false),
                Fault::ReplyLostAfter => {
                    lose_answer = true;
                    break;
                }
                Fault::Hang => return self.hang(&call).await,
                Fault::Throttle => return Ok(self.refused(&call, &throttled(service))),
                Fault::Status { status } => return Ok(self.refused(&call, &with_status(status))),
            }
        }
        let (plane, home) = call.plane();
        match self.world.with(|world| world.planes.reach(plane, &home)) {
            Reach::Up => {}
            Reach::Hangs => return self.hang(&call).await,
            Reach::Unavailable => return Ok(self.refused(&call, &unavailable(service))),
            Reach::Throttles => return Ok(self.refused(&call, &throttled(service))),
            Reach::DeniesAccess => return Ok(self.refused(&call, &denied(service, operation))),
        }
        if let Some(fault) = self.signature_too_old(&call) {
            return Ok(self.refused(&call, &fault));
        }
        self.pause(Point::BeforeEffect, &call).await;
        let response = self.world.with(|world| dispatch(world, &call));
        let effect = call.mutates() && response.status < 300;
        self.pause(Point::AfterEffectBeforeAnswer, &call).await;
        if lose_answer {
            return self.cut(&call, effect);
        }
        self.record(&call, Some(response.status), effect);
        if call.mutates() {
            // Claimed before the answer leaves, so that no later call can slip past the barrier.
            self.barriers.claim(Point::AfterAnswer, call.target());
        }
        Ok(self.dressed(response))
    }

    async fn pause(&self, point: Point, call: &Call) {
        if call.mutates()
            && let Some(id) = self.barriers.claim(point, call.target())
        {
            self.barriers.released(id).await;
        }
    }

    fn refused(&self, call: &Call, fault: &ApiFault) -> Response<Full<Bytes>> {
        self.record(call, Some(fault.status), false);
        self.dressed(call.fault(fault))
    }

    fn cut(&self, call: &Call, effect: bool) -> Result<Response<Full<Bytes>>, Cut> {
        self.record(call, None, effect);
        Err(Cut)
    }

    /// Holds the call until the client goes away, which drops this future, or until the bound.
    async fn hang(&self, call: &Call) -> Result<Response<Full<Bytes>>, Cut> {
        self.record(call, None, false);
        tokio::time::sleep(HANG_MAX).await;
        Err(Cut)
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

    /// The answer with what every AWS answer carries: a request id and a date, in world time.
    fn dressed(&self, answer: MockResponse) -> Response<Full<Bytes>> {
        let id = self.sequence.fetch_add(1, Ordering::Relaxed);
        let id = format!("51a50000-0000-4000-8001-{id:012x}");
        let body = match std::str::from_utf8(&answer.body) {
            Ok(text) if text.contains(encode::REQUEST_ID) => text.replace(encode::REQUEST_ID, &id).into(),
            _ => answer.body,
        };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = hyper::StatusCode::from_u16(answer.status).unwrap_or_default();
        *response.headers_mut() = answer.headers;
        for (name, value) in [("x-amzn-requestid", id), ("date", http_date(self.world.now()))] {
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
        let now = self.world.now().0;
        match signed {
            Some(at) if now.abs_diff(at) <= SIGNATURE_AGE_MS_MAX => None,
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

fn http_date(at: SimTime) -> String {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(at.0).unwrap_or(i64::MAX));
    at.map_or_else(|_| String::new(), |at| at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
}

fn dispatch(world: &mut World, call: &Call) -> MockResponse {
    let (region, operation) = (&call.region, call.operation.as_str());
    match call.service.as_str() {
        "rds" => rds::handle(world, region, &params(&call.body)),
        "sns" => sns::handle(world, region, operation, &params(&call.body)),
        "monitoring" => cloudwatch::handle(world, region, operation, (call.protocol, &call.body)),
        "route53" => {
            route53::handle(world, call.method.as_str(), &call.path, &call.query, &call.body)
        }
        "route53-recovery-cluster" => {
            arc::handle(world, region, &format!("ToggleCustomerAPI.{operation}"), &call.body)
        }
        other => call.fault(&super::not_simulated(other, operation)),
    }
}

fn params(body: &[u8]) -> HashMap<String, String> {
    form_urlencoded::parse(body).into_owned().collect()
}

/// Reads service, Region and operation out of a request.
fn parse(parts: &hyper::http::request::Parts, body: Bytes) -> Result<Call, (Protocol, ApiFault)> {
    let path = parts.uri.path();
    let header = |name: &str| parts.headers.get(name).and_then(|v| v.to_str().ok());
    let target = header("x-amz-target").and_then(|t| t.rsplit('.').next());
    let rpc = path
        .split_once("/service/GraniteServiceVersion20100801/operation/")
        .map(|(_, operation)| operation);
    let protocol = match (rpc, target) {
        (Some(_), _) => Protocol::Cbor,
        (None, Some(_)) => Protocol::Json,
        (None, None) if path.contains("/2013-04-01/") => Protocol::RestXml,
        (None, None) => Protocol::Query,
    };
    let refuse = |status, code, message: String| {
        let fault = ApiFault {
            status,
            code,
            message,
        };
        Err((protocol, fault))
    };
    let scope = header("authorization")
        .and_then(|a| a.split_once("Credential="))
        .map(|(_, rest)| rest.split([',', ' ']).next().unwrap_or_default())
        .map(|scope| scope.split('/').collect::<Vec<_>>());
    // AccessKey / date / Region / service / aws4_request; an access key holds no slash.
    let Some([_, _, region, service, "aws4_request"]) = scope.as_deref() else {
        return refuse(
            403,
            "MissingAuthenticationToken",
            "the request has no SigV4 Authorization header: sign it (any key will do)".to_owned(),
        );
    };
    // An endpoint of an ARC cluster may be told apart by a prefix: /endpoints/us-west-2.
    let (region, path) = match path.strip_prefix("/endpoints/").map(|rest| rest.split_once('/').unwrap_or((rest, ""))) {
        Some((region, rest)) => (region, format!("/{rest}")),
        None => (*region, path.to_owned()),
    };
    let Ok(region) = region.parse::<Region>() else {
        return refuse(400, "InvalidSignatureException", format!("{region} is not a Region"));
    };
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let operation = match protocol {
        Protocol::Cbor | Protocol::Json => rpc.or(target).unwrap_or_default().to_owned(),
        Protocol::RestXml => route53_operation(&parts.method, &path).to_owned(),
        Protocol::Query => {
            let action = form_urlencoded::parse(&body).find(|(k, _)| k == "Action");
            action.map(|(_, v)| v.into_owned()).unwrap_or_default()
        }
    };
    if operation.is_empty() {
        return refuse(400, "MissingAction", "the request names no operation".to_owned());
    }
    Ok(Call {
        service: (*service).to_owned(),
        operation,
        region,
        protocol,
        method: parts.method.clone(),
        path,
        query,
        headers: parts.headers.clone(),
        body,
    })
}

/// The operation that a Route 53 path means; `Unknown` where it is none of those that are told apart.
fn route53_operation(method: &Method, path: &str) -> &'static str {
    let rest = path.split_once("/2013-04-01/").map_or("", |(_, rest)| rest);
    let parts: Vec<&str> = rest.split('/').filter(|p| !p.is_empty()).collect();
    let get = *method == Method::GET;
    match (method.as_str(), parts.as_slice()) {
        ("POST", ["hostedzone", _, "rrset"]) => "ChangeResourceRecordSets",
        ("GET", ["hostedzone", _, "rrset"]) => "ListResourceRecordSets",
        ("GET", ["hostedzone", _]) => "GetHostedZone",
        ("GET", ["hostedzone"]) => "ListHostedZones",
        ("POST", ["hostedzone"]) => "CreateHostedZone",
        ("GET", ["hostedzonesbyname"]) => "ListHostedZonesByName",
        ("GET", ["change", _]) => "GetChange",
        ("GET", ["healthcheck"]) => "ListHealthChecks",
        ("POST", ["healthcheck"]) => "CreateHealthCheck",
        ("GET", ["healthcheck", _]) => "GetHealthCheck",
        ("POST", ["healthcheck", _]) => "UpdateHealthCheck",
        ("DELETE", ["healthcheck", _]) => "DeleteHealthCheck",
        ("GET", ["healthcheck", _, "status"]) => "GetHealthCheckStatus",
        ("GET", ["healthcheck", _, "lastfailurereason"]) => "GetHealthCheckLastFailureReason",
        ("GET", ["healthcheckcount"]) => "GetHealthCheckCount",
        ("GET", ["testdnsanswer"]) => "TestDNSAnswer",
        _ if get => "GetUnknown",
        _ => "Unknown",
    }
}

fn throttled(service: &str) -> ApiFault {
    let (status, code) = match service {
        "sns" => (429, "Throttled"),
        "route53-recovery-cluster" => (429, "ThrottlingException"),
        _ => (400, "Throttling"),
    };
    ApiFault {
        status,
        code,
        message: "Rate exceeded".to_owned(),
    }
}

fn unavailable(service: &str) -> ApiFault {
    let code = match service {
        "route53-recovery-cluster" => "EndpointTemporarilyUnavailableException",
        _ => "ServiceUnavailable",
    };
    ApiFault {
        status: 503,
        code,
        message: "Service is unavailable".to_owned(),
    }
}

fn denied(service: &str, operation: &str) -> ApiFault {
    let code = match service {
        "sns" => "AuthorizationError",
        "route53-recovery-cluster" => "AccessDeniedException",
        _ => "AccessDenied",
    };
    ApiFault {
        status: 403,
        code,
        message: format!("User is not authorized to perform: {service}:{operation}"),
    }
}

fn with_status(status: u16) -> ApiFault {
    let code = match status {
        400 => "ValidationError",
        403 => "AccessDenied",
        404 => "NotFound",
        429 => "Throttling",
        503 => "ServiceUnavailable",
        _ => "InternalFailure",
    };
    ApiFault {
        status,
        code,
        message: "an injected fault".to_owned(),
    }
}
