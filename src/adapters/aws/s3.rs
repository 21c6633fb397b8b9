//! S3, as far as the object of a standby needs it (put, delete, and look whether it is there) and as far as a salvage looks
//! at a bucket ([`listing`]). Through the SDK's own
//! machinery (signer, credentials, HTTP client, timeouts), as `aws.call` is: S3's own SDK compiles for minutes.
//!
//! Invariant: one request is sent once, to the bucket's Region as configured, and no redirect is followed. Only an answer
//! with S3's request id is S3's: what something between us and it says (a proxy's 404, a portal's 200) is no word about
//! the object.
//! Deliberately not here: parts, versions, and who may read the object.

use std::sync::Arc;

use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_runtime::auth::SigningOptions;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError},
};
use aws_smithy_types::{body::SdkBody, error::metadata::ErrorMetadata};
use sha2::Digest as _;

use super::{
    AwsCloud, Call,
    call::{self, Refusal, Signed},
    clients,
    error::Failure,
    intercept::AnswerLimit,
    time::SdkClock,
};
use crate::domain::{
    cloud::{ObserveError, Outcome},
    standby_object::ObjectAt,
};

mod listing;

/// As the SDKs name it in `AWS_ENDPOINT_URL_…` and in profiles.
const SDK_ID: &str = "S3";

/// What is asked of S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask<'a> {
    Put(&'a str),
    Delete,
    Head,
    HeadBucket,
    /// A page of the bucket, from where this token says; empty: from the beginning.
    List(&'a str),
}

impl Ask<'_> {
    fn operation(self) -> &'static str {
        match self {
            Self::Put(_) => "PutObject",
            Self::Delete => "DeleteObject",
            Self::Head => "HeadObject",
            Self::HeadBucket => "HeadBucket",
            Self::List(_) => "ListObjectsV2",
        }
    }

    fn method(self) -> &'static str {
        match self {
            Self::Put(_) => "PUT",
            Self::Delete => "DELETE",
            Self::Head | Self::HeadBucket => "HEAD",
            Self::List(_) => "GET",
        }
    }
}

/// A request before it has a host and a signature.
#[derive(Debug)]
struct Encoded {
    method: &'static str,
    path: String,
    body: Option<String>,
}

impl Encoded {
    /// A bucket needs no encoding, and a key is encoded once: what is signed is what is sent.
    fn of(ask: Ask<'_>, object: &ObjectAt, is_in_path: bool) -> Self {
        let key = match ask {
            Ask::HeadBucket | Ask::List(_) => String::new(),
            Ask::Put(_) | Ask::Delete | Ask::Head => listing::encoded(&object.key),
        };
        let mut path = match (is_in_path, key.as_str()) {
            (true, "") => format!("/{}", object.bucket),
            (true, key) => format!("/{}/{key}", object.bucket),
            (false, key) => format!("/{key}"),
        };
        if let Ask::List(token) = ask {
            path.push_str(&listing::query(token));
        }
        let body = if let Ask::Put(body) = ask { Some(body.to_owned()) } else { None };
        Self { method: ask.method(), path, body }
    }

    fn into_http(self) -> Result<HttpRequest, BoxError> {
        // A bucket with Object Lock takes no object without a checksum.
        let checksum = self.body.as_ref().map(|body| aws_smithy_types::base64::encode(sha2::Sha256::digest(body)));
        let mut request = HttpRequest::new(SdkBody::from(self.body.unwrap_or_default()));
        request.set_method(self.method)?;
        request.set_uri(self.path)?;
        if let Some(checksum) = checksum {
            let headers = request.headers_mut();
            headers.try_insert("content-type", "text/plain; charset=utf-8")?;
            // Nothing in front of the bucket may go on showing it once it is deleted.
            headers.try_insert("cache-control", "no-store")?;
            headers.try_insert("x-amz-checksum-sha256", checksum)?;
        }
        Ok(request)
    }
}

/// A success of S3.
#[derive(Debug)]
struct Reply {
    request_id: String,
    /// How far the replication of the object is, where S3 says it.
    replication: Option<String>,
    body: Vec<u8>,
}

/// What S3 has answered with success.
fn read(response: &HttpResponse) -> Result<Reply, OrchestratorError<Refusal>> {
    let status = response.status().as_u16();
    let header = |name: &str| response.headers().get(name).map(str::to_owned);
    let request_id = header("x-amz-request-id");
    if (200..300).contains(&status) {
        let missing = || OrchestratorError::other("a success without a request id of S3: something else has answered");
        let request_id = request_id.ok_or_else(missing)?;
        let body = response.body().bytes().unwrap_or_default().to_vec();
        return Ok(Reply { request_id, replication: header("x-amz-replication-status"), body });
    }
    let (code, message) = call::refusal_in_xml(response.body().bytes().unwrap_or_default());
    // HEAD is answered without a body: S3's request id tells that the status is its own.
    let (code, message) = match (code, &request_id) {
        (None, Some(_)) => (bodiless(status).map(str::to_owned), Some("(S3 gives no reason to a HEAD)".to_owned())),
        (code, _) => (code, message),
    };
    let mut meta = ErrorMetadata::builder();
    if let Some(code) = code {
        let elsewhere = header("x-amz-bucket-region").filter(|_| matches!(status, 301 | 307 | 400));
        let said = message.unwrap_or_default();
        let message = match elsewhere {
            Some(region) => format!("the bucket is in {region}, and that is not the Region configured: {said}"),
            None => said,
        };
        meta = meta.code(code).message(message);
    }
    if let Some(id) = request_id {
        meta = meta.custom("aws_request_id", id);
    }
    Err(OrchestratorError::operation(Refusal::new(meta.build())))
}

/// The code of a refusal that has no body.
fn bodiless(status: u16) -> Option<&'static str> {
    Some(match status {
        301 => "PermanentRedirect",
        307 => "TemporaryRedirect",
        400 => "BadRequest",
        403 => "AccessDenied",
        404 => "NotFound",
        429 => "TooManyRequestsException",
        _ => return None,
    })
}

impl AwsCloud {
    /// Puts `body` at `object`, once.
    pub(super) async fn put_object(&self, object: &ObjectAt, body: &str) -> Outcome {
        self.change_object(Ask::Put(body), object).await
    }

    /// Deletes `object`, once.
    pub(super) async fn delete_object(&self, object: &ObjectAt) -> Outcome {
        self.change_object(Ask::Delete, object).await
    }

    async fn change_object(&self, ask: Ask<'_>, object: &ObjectAt) -> Outcome {
        match self.send_s3(ask, object).await {
            Ok(reply) => Outcome::Accepted { request_id: Some(reply.request_id), handle: None },
            Err(failure) => failure.into_outcome(),
        }
    }

    /// Whether `object` is there. The answer to a HEAD does not tell a missing object from a missing bucket, which is
    /// asked for then.
    pub(super) async fn head_object(&self, object: &ObjectAt) -> Result<bool, ObserveError> {
        match self.ask_s3(Ask::Head, object, &object.to_string()).await {
            Ok(_) => Ok(true),
            Err(ObserveError::NotFound { .. }) => {
                self.ask_s3(Ask::HeadBucket, object, &format!("bucket {}", object.bucket)).await.map(|_| false)
            }
            Err(error) => Err(error),
        }
    }

    async fn ask_s3(&self, ask: Ask<'_>, object: &ObjectAt, what: &str) -> Result<Reply, ObserveError> {
        let answered = self.send_s3(ask, object).await.map_err(|failure| failure.into_observe_error(what));
        if let Some(reason) = self.skew.refusal(&object.region) {
            return Err(ObserveError::ClockSkew { reason });
        }
        answered
    }

    async fn send_s3(&self, ask: Ask<'_>, object: &ObjectAt) -> Result<Reply, Failure> {
        let call = Call { service: "s3", operation: ask.operation(), region: &object.region };
        let identity = match self.caller.own() {
            Ok(identity) => identity,
            Err(reason) => {
                self.tell(call, "not_sent");
                return Err(Failure::NotSent { reason });
            }
        };
        // Below an endpoint of somebody's own, buckets have no host names.
        let custom = self.caller.custom_endpoint(SDK_ID);
        let is_in_path = custom.is_some() || object.is_in_path();
        let endpoint = custom.unwrap_or_else(|| object.endpoint());
        // S3 signs paths as they are, and the hash of the body is a header [S3 API, Authenticating Requests].
        let mut options = SigningOptions::default();
        options.double_uri_encode = false;
        options.normalize_uri_path = false;
        options.content_sha256_header = true;
        let signed = Signed { service: "s3", region: &object.region, options };
        let departure = self.departure();
        let operation = Operation::builder()
            .service_name("s3")
            .operation_name(ask.operation())
            .behavior_version(clients::behavior())
            .http_client(self.caller.http())
            .endpoint_url(&endpoint)
            .time_source(SdkClock(Arc::clone(&self.clock)))
            .sleep_impl(SdkClock(Arc::clone(&self.clock)))
            .timeout_config(clients::timeouts(&self.options))
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .no_retry()
            .interceptor(departure.clone())
            .interceptor(AnswerLimit)
            .interceptor(self.skew.of(&object.region))
            .runtime_plugin(self.caller.signer(signed, identity))
            .serializer(|encoded: Encoded| encoded.into_http())
            .deserializer(read)
            .build();
        let result = operation.invoke(Encoded::of(ask, object, is_in_path)).await;
        self.ended(call, &departure, result)
    }
}

#[cfg(test)]
mod tests;
