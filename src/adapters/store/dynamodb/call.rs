//! How the table is called: two clients, bounded attempts, and what an answer means.
//!
//! Invariant: the SDK repeats nothing. A write is repeated here only as the *same* conditional put, which cannot take
//! effect twice; and every wait ends within a limit that is given. Leases have a client of their own, with connections
//! of its own: reads of journals, however many, are in no lease's way (FAULTS.md 25).

use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_config::{
    SdkConfig, retry::RetryConfig, stalled_stream_protection::StalledStreamProtectionConfig, timeout::TimeoutConfig,
};
use aws_sdk_dynamodb::{Client, config::Builder};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{Intercept, context::BeforeDeserializationInterceptorContextMut},
        orchestrator::HttpResponse,
        result::SdkError,
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::{body::SdkBody, config_bag::ConfigBag, error::metadata::ProvideErrorMetadata};

use crate::{
    domain::{causes::chain, id::Region},
    ports::Clock,
};

/// The longest answer that is read: a page is 1 MB of items, in base64 and JSON less than twice that.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The longest text of a failure that is kept.
const TEXT_CHARS_MAX: usize = 400;

/// Before the second attempt at most; doubling up to the second of the two.
const BACKOFF: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_millis(800);

/// 4xx that pass: the same request may succeed in a moment, and this one has changed nothing.
const PASSING: &[&str] = &[
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "ReplicatedWriteConflictException",
    "RequestLimitExceeded",
    "ThrottlingException",
    "TransactionConflictException",
];

/// Random bits, given by whoever opens the store.
pub type Draw = Arc<dyn Fn() -> u128 + Send + Sync>;

/// How a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The condition does not hold.
    Condition,
    /// The table says no, and will say so again.
    Refused { code: String, reason: String },
    /// A lost answer, an overload, a 5xx: whether it was done is unknown, and it may be tried again.
    Passing { reason: String },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Condition => f.write_str("the condition does not hold"),
            Self::Refused { code, reason } => write!(f, "{code}: {reason}"),
            Self::Passing { reason } => f.write_str(reason),
        }
    }
}

/// What `error` means.
pub(super) fn failure<E>(error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let SdkError::ServiceError(service) = error else {
        return Failure::Passing { reason: clip(&chain(error)) };
    };
    let status = service.raw().status().as_u16();
    let code = service.err().code().unwrap_or_default();
    let message = clip(service.err().message().unwrap_or("without a reason"));
    match (status, code) {
        (400..=499, "ConditionalCheckFailedException") => Failure::Condition,
        (400..=428 | 430..=499, code) if !code.is_empty() && !PASSING.contains(&code) => {
            Failure::Refused { code: clip(code), reason: message }
        }
        _ => Failure::Passing { reason: clip(&format!("HTTP {status} {code}: {message}")) },
    }
}

fn clip(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect()
}

/// The clients, and time.
#[derive(Clone)]
pub(super) struct Calls {
    pub(super) journals: Client,
    pub(super) leases: Client,
    clock: Arc<dyn Clock>,
    draw: Draw,
    /// No request takes longer.
    request_timeout: Duration,
    sent: Arc<AtomicU64>,
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls").field("request_timeout", &self.request_timeout).finish_non_exhaustive()
    }
}

impl Calls {
    /// Clients of `region` over what `sdk` says of credentials, endpoints and time; its time is that of `clock`.
    pub(super) fn new(
        sdk: &SdkConfig,
        region: &Region,
        clock: Arc<dyn Clock>,
        draw: Draw,
        request_timeout: Duration,
    ) -> Self {
        let sent = Arc::new(AtomicU64::new(0));
        let client = || {
            let own_http = || {
                aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build_https()
            };
            let timeouts = TimeoutConfig::builder()
                .connect_timeout(request_timeout)
                .operation_attempt_timeout(request_timeout)
                .operation_timeout(request_timeout)
                .build();
            let config = Builder::from(sdk)
                .region(aws_config::Region::new(region.as_str().to_owned()))
                .http_client(sdk.http_client().unwrap_or_else(own_http))
                .retry_config(RetryConfig::disabled())
                .timeout_config(timeouts)
                .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
                .interceptor(Wire { sent: Arc::clone(&sent) });
            Client::from_conf(config.build())
        };
        Self { journals: client(), leases: client(), clock, draw, request_timeout, sent }
    }

    /// Requests sent since the start, repeated ones included.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(super) fn draw(&self) -> u128 {
        (self.draw)()
    }

    pub(super) async fn sleep(&self, duration: Duration) {
        self.clock.sleep(duration).await;
    }

    pub(super) fn boot(&self) -> Duration {
        self.clock.boot()
    }

    /// Tries until it is done, refused, or until another attempt might not end `within` the time from now.
    pub(super) async fn within<T, F>(&self, within: Duration, mut attempt: impl FnMut() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let end = self.clock.boot() + within;
        let mut tried = 0;
        loop {
            let reason = match attempt().await {
                Err(Failure::Passing { reason }) => reason,
                answered => return answered,
            };
            tried += 1;
            let pause = self.pause(tried);
            if end < self.clock.boot() + pause + self.request_timeout {
                return Err(Failure::Passing { reason: format!("{reason} (after {tried} attempts)") });
            }
            self.clock.sleep(pause).await;
        }
    }

    /// Half of it fixed and half drawn, so that replicas that were refused together do not come back together.
    fn pause(&self, tried: u32) -> Duration {
        let most = BACKOFF.saturating_mul(1 << tried.saturating_sub(1).min(8)).min(BACKOFF_MAX);
        let share = u32::try_from(self.draw() % 1_000).unwrap_or_default();
        most / 2 + most / 2 * share / 1_000
    }
}

/// Counts what is sent, and cuts an answer off at [`ANSWER_BYTES_MAX`] (FAULTS.md 57).
#[derive(Debug)]
struct Wire {
    sent: Arc<AtomicU64>,
}

impl Intercept for Wire {
    fn name(&self) -> &'static str {
        "StoreWire"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = std::mem::replace(context.response_mut().body_mut(), SdkBody::taken());
        *context.response_mut().body_mut() =
            SdkBody::from_body_1_x(http_body_util::Limited::new(body, ANSWER_BYTES_MAX));
        Ok(())
    }

    fn read_before_transmit(
        &self,
        _context: &aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
