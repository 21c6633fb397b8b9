//! What we look at and bound in every call from inside the SDK: whether it came as far as the network, what was answered
//! there, and how long an answer may be.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{
            Intercept,
            context::{
                BeforeDeserializationInterceptorContextMut, BeforeDeserializationInterceptorContextRef,
                BeforeTransmitInterceptorContextRef,
            },
        },
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::{body::SdkBody, config_bag::ConfigBag};
use jiff::Timestamp;

/// The longest answer that is read (FAULTS.md 57). The largest honest one, a full page of metric data, is well under
/// 2 MB.
pub(super) const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Set when a call is handed to the HTTP client. A call that failed before that (no credentials, no endpoint, a
/// request that could not be built or signed) was certainly not sent, however the SDK names the error.
#[derive(Debug, Clone)]
pub(super) struct Departure {
    began: Timestamp,
    went: Arc<Mutex<Went>>,
}

/// How a call went, as far as the network is concerned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Went {
    /// How often it was handed to the HTTP client.
    pub(super) attempts: u32,
    /// Of the last answer; `None`: none came.
    pub(super) http_status: Option<u16>,
    pub(super) request_id: Option<String>,
}

/// Where services say the id of a request.
const REQUEST_IDS: [&str; 3] = ["x-amzn-requestid", "x-amz-request-id", "x-amzn-request-id"];

/// The longest id of a request that is kept: AWS's have some forty characters.
const REQUEST_ID_CHARS_MAX: usize = 128;

impl Departure {
    /// Of a call that is made from `began` on.
    pub(super) fn at(began: Timestamp) -> Self {
        Self { began, went: Arc::default() }
    }

    pub(super) fn began(&self) -> Timestamp {
        self.began
    }

    pub(super) fn happened(&self) -> bool {
        0 < self.lock().attempts
    }

    pub(super) fn went(&self) -> Went {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Went> {
        self.went.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for Departure {
    fn name(&self) -> &'static str {
        "Departure"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let mut went = self.lock();
        went.attempts += 1;
        // Of the attempt before.
        (went.http_status, went.request_id) = (None, None);
        Ok(())
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let (status, headers) = (context.response().status().as_u16(), context.response().headers());
        let id = REQUEST_IDS.iter().find_map(|name| headers.get(*name));
        let mut went = self.lock();
        went.http_status = Some(status);
        went.request_id = id.map(|id| id.chars().take(REQUEST_ID_CHARS_MAX).collect());
        Ok(())
    }
}

/// Cuts an answer off at [`ANSWER_BYTES_MAX`]; the SDK then reports it as one that it could not read.
#[derive(Debug)]
pub(super) struct AnswerLimit;

impl Intercept for AnswerLimit {
    fn name(&self) -> &'static str {
        "AnswerLimit"
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
}
