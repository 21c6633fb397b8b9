//! The only place that turns an SDK error into what it means: not sent, rejected, or unknown.
//!
//! Invariant: `Rejected` is AWS's word (a 4xx with a service error code) and `NotSent` is certain; all else may have
//! happened. Codes are compared exactly, since their suffixes are inconsistent [bc].

use aws_smithy_runtime_api::{
    client::{
        orchestrator::HttpResponse,
        result::{DispatchFailure, SdkError},
    },
    http::Headers,
};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::request_id::RequestId;

use super::intercept::Departure;
use crate::domain::{
    causes::chain,
    cloud::{ObserveError, Outcome},
};

/// The longest text of a failure that is kept: it goes into journals.
const TEXT_CHARS_MAX: usize = 500;

/// Codes that mean "too fast" in any of the services used [bc; the SDK's own list].
const THROTTLES: &[&str] = &[
    "BandwidthLimitExceeded",
    "PriorRequestNotComplete",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "Throttled",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];

/// Codes of things that do not exist, for the reads that we make [bc].
const ABSENCES: &[&str] = &[
    "DBClusterNotFoundFault",
    "GlobalClusterNotFoundFault",
    "NoSuchChange",
    "NoSuchHostedZone",
    "ResourceNotFound",
    "ResourceNotFoundException",
];

/// How a call failed, whatever the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// A 4xx with a code: nothing happened.
    Rejected { code: String, message: String, request_id: Option<String> },
    /// It never left.
    NotSent { reason: String },
    /// A success status with an answer that cannot be read.
    Undecodable { reason: String },
    /// Anything else: a timeout, a broken connection, a 5xx, an answer from something that is not AWS.
    Unknown { reason: String, throttled: bool },
}

/// Whether `code` asks us to slow down.
pub(super) fn is_throttle(code: &str) -> bool {
    THROTTLES.contains(&code)
}

/// Whether AWS refuses a request for the age of its signature. The code of a wrong one is the same in most services [AWS
/// General Reference, Signature Version 4; from memory].
pub(super) fn is_too_late(code: &str, message: &str) -> bool {
    match code {
        "RequestExpired" | "RequestTimeTooSkewed" => true,
        "SignatureDoesNotMatch" | "InvalidSignatureException" => message.contains("Signature expired"),
        _ => false,
    }
}

/// Whether `code` says that a thing is not there. Services that are called by name alone (`aws.call`) have codes of their
/// own, which end alike [bc].
fn is_absence(code: &str) -> bool {
    let ends = ["NotFound", "NotFoundException", "NotFoundFault", "DoesNotExist", "DoesNotExistException"];
    ABSENCES.contains(&code) || ends.iter().any(|end| code.ends_with(end))
}

/// What `error` means, given whether the call came as far as the network.
pub(super) fn classify<E>(error: &SdkError<E, HttpResponse>, departure: &Departure) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    if matches!(error, SdkError::ConstructionFailure(_)) || !departure.happened() {
        return Failure::NotSent { reason: clip(&chain(error)) };
    }
    match error {
        SdkError::DispatchFailure(failure) if never_connected(failure) => {
            Failure::NotSent { reason: clip(&chain(error)) }
        }
        SdkError::ResponseError(response) => {
            Failure::Undecodable { reason: format!("HTTP {}: {}", response.raw().status(), clip(&chain(error))) }
        }
        SdkError::ServiceError(service) => answered(service.err(), service.raw()),
        // Non-exhaustive, and what a new variant means nobody knows: unknown, as the timeout and the lost connection.
        _ => Failure::Unknown { reason: clip(&chain(error)), throttled: false },
    }
}

/// What an answer that is not the expected one means.
fn answered<E>(error: &E, raw: &HttpResponse) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let status = raw.status().as_u16();
    let code = error.code().filter(|code| !code.is_empty());
    let message = error.message().unwrap_or_default();
    match (status, code) {
        (200..=299, _) => Failure::Undecodable { reason: format!("HTTP {status}: {}", clip(&chain(error))) },
        // A redirect that names itself is S3's: nothing happened, and the bucket is elsewhere.
        (301 | 307 | 400..=499, Some(code)) => Failure::Rejected {
            code: clip(code),
            message: clip(message),
            request_id: request_id_of(error.meta().request_id(), raw.headers()),
        },
        (_, code) => Failure::Unknown {
            reason: clip(&format!("HTTP {status} {}: {message}", code.unwrap_or("without an error code"))),
            throttled: code.is_some_and(is_throttle) || status == 429,
        },
    }
}

/// Whether the connection was never made, so that no byte of the request can have left. `hyper-util` marks what its
/// connector reports: name resolution, TCP, TLS and the connect timeout.
fn never_connected(failure: &DispatchFailure) -> bool {
    let Some(error) = failure.as_connector_error() else {
        return false;
    };
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(e) = next {
        if let Some(client) = e.downcast_ref::<hyper_util::client::legacy::Error>() {
            return client.is_connect();
        }
        next = e.source();
    }
    false
}

fn request_id_of(parsed: Option<&str>, headers: &Headers) -> Option<String> {
    parsed.or_else(|| headers.request_id()).map(clip)
}

impl Failure {
    /// How a mutation that failed so ended.
    pub(super) fn into_outcome(self) -> Outcome {
        match self {
            // AWS has not looked at it, and takes nothing that is signed so at any later time.
            Self::Rejected { code, message, .. } if is_too_late(&code, &message) => {
                Outcome::NotSent { reason: clip(&format!("its signature is too old: {code}: {message}")) }
            }
            Self::Rejected { code, message, request_id } => Outcome::Rejected { code, message, request_id },
            Self::NotSent { reason } => Outcome::NotSent { reason },
            Self::Undecodable { reason } | Self::Unknown { reason, .. } => Outcome::Unknown { reason },
        }
    }

    /// Why a read of `what` that failed so told nothing.
    pub(super) fn into_observe_error(self, what: &str) -> ObserveError {
        match self {
            Self::Rejected { code, .. } if is_absence(&code) => ObserveError::NotFound { what: what.to_owned(), code },
            Self::Rejected { code, .. } if is_throttle(&code) => ObserveError::Throttled,
            Self::Unknown { throttled: true, .. } => ObserveError::Throttled,
            Self::Rejected { code, message, .. } => ObserveError::Rejected { code, message },
            Self::NotSent { reason } => ObserveError::Unreachable { reason: format!("not sent: {reason}") },
            Self::Unknown { reason, .. } => ObserveError::Unreachable { reason },
            Self::Undecodable { reason } => ObserveError::Malformed { reason },
        }
    }

    /// The word for it that observers are told.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Rejected { .. } => "rejected",
            Self::NotSent { .. } => "not_sent",
            Self::Undecodable { .. } | Self::Unknown { .. } => "unknown",
        }
    }
}

fn clip(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}
