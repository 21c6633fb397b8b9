//! Any operation that a runbook writes out (`aws.call`), through the SDK's own machinery: its signer, its credentials,
//! its HTTP client, its timeouts. Only the request and the reading of the answer are ours.
//!
//! Invariant: one request is sent once, to `https://SERVICE.REGION.amazonaws.com` or to an endpoint that an operator
//! allowed, and no redirect is followed. Arguments and answers are in no log and in no error.
//! Deliberately not here: which calls may be made (the domain's) and whether they were done (the engine's).

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use aws_config::{SdkConfig, identity::IdentityCache, stalled_stream_protection::StalledStreamProtectionConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_runtime::auth::{
    SigV4OperationSigningConfig, SigningOptions,
    sigv4::{SCHEME_ID, SigV4AuthScheme},
};
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime_api::client::{
    auth::{
        AuthSchemeOptionResolverParams, SharedAuthScheme, SharedAuthSchemeOptionResolver,
        static_resolver::StaticAuthSchemeOptionResolver,
    },
    http::SharedHttpClient,
    identity::{SharedIdentityCache, SharedIdentityResolver},
    runtime_components::RuntimeComponentsBuilder,
    runtime_plugin::StaticRuntimePlugin,
};
use aws_smithy_types::{
    config_bag::Layer,
    error::metadata::{ErrorMetadata, ProvideErrorMetadata},
};
use aws_types::{
    SigningName,
    region::{Region as SdkRegion, SigningRegion},
    service_config::ServiceConfigKey,
};
use serde_json::Value;

use super::{AwsCloud, Call, clients, error::Failure, iam, intercept::AnswerLimit, time::SdkClock};
use crate::domain::{
    api_call::{self, ApiCall},
    cloud::{ObserveError, Outcome},
    id::Region,
};

mod answer;
mod request;
#[cfg(test)]
mod tests;

/// The name of the session of an assumed role, as it stands in the other account's audit log.
const SESSION_NAME: &str = "failoverd";

/// What calls that are written out are sent with. Bounded by the roles and Regions that runbooks name.
#[derive(Debug)]
pub(super) struct Caller {
    base: SdkConfig,
    http: SharedHttpClient,
    own: Option<SharedIdentityResolver>,
    identities: SharedIdentityCache,
    roles: Mutex<BTreeMap<(Region, String), SharedIdentityResolver>>,
}

/// What AWS answered with success.
#[derive(Debug, Clone, PartialEq)]
struct Answered {
    body: Value,
    request_id: Option<String>,
}

/// What AWS answered in place of success.
#[derive(Debug)]
pub(super) struct Refusal {
    meta: ErrorMetadata,
}

impl Refusal {
    pub(super) fn new(meta: ErrorMetadata) -> Self {
        Self { meta }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.meta.code().unwrap_or("no error code"), self.meta.message().unwrap_or_default())
    }
}

impl std::error::Error for Refusal {}

impl ProvideErrorMetadata for Refusal {
    fn meta(&self) -> &ErrorMetadata {
        &self.meta
    }
}

impl Caller {
    pub(super) fn new(base: &SdkConfig) -> Self {
        use aws_smithy_http_client::{
            Builder,
            tls::{Provider, rustls_provider::CryptoMode},
        };
        let own_client = || Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build_https();
        Self {
            http: base.http_client().unwrap_or_else(own_client),
            own: base.credentials_provider().map(SharedIdentityResolver::new),
            identities: base.identity_cache().unwrap_or_else(|| IdentityCache::lazy().build()),
            base: base.clone(),
            roles: Mutex::default(),
        }
    }

    pub(super) fn http(&self) -> SharedHttpClient {
        self.http.clone()
    }

    /// The daemon's own credentials.
    pub(super) fn own(&self) -> Result<SharedIdentityResolver, String> {
        self.own.clone().ok_or_else(|| "no credentials are configured".to_owned())
    }

    /// Whose signature stands on `request`.
    async fn identity(&self, request: &ApiCall) -> Result<SharedIdentityResolver, String> {
        let Some(role) = &request.role_arn else {
            return self.own();
        };
        let key = (request.region.clone(), role.clone());
        let known = self.roles.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        // The STS of the Region that is called: that of a failing Region is not needed [WP].
        let provider = aws_config::sts::AssumeRoleProvider::builder(role)
            .configure(&self.base)
            .region(SdkRegion::new(request.region.as_str().to_owned()))
            .session_name(SESSION_NAME)
            .build()
            .await;
        let resolver = SharedIdentityResolver::new(SharedCredentialsProvider::new(provider));
        Ok(self.roles.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_insert(resolver).clone())
    }

    /// Where `request` goes: one of the SDK's own settings (which a production start refuses), or AWS.
    fn endpoint(&self, request: &ApiCall) -> String {
        if request.service() == "iam" {
            // One for a whole partition, and no service of runbooks.
            return self.custom_endpoint("IAM").unwrap_or_else(|| iam::endpoint(&request.region));
        }
        let id = api_call::service(request.service()).map_or("", |service| service.sdk_id);
        self.custom_endpoint(id).unwrap_or_else(|| public_endpoint(request.service(), &request.region))
    }

    /// The endpoint that an operator allowed for the service with this id of the SDKs, or for all.
    pub(super) fn custom_endpoint(&self, sdk_id: &str) -> Option<String> {
        let of_service = || {
            let key =
                ServiceConfigKey::builder().service_id(sdk_id).profile("endpoint_url").env("AWS_ENDPOINT_URL").build();
            self.base.service_config()?.load_config(key.ok()?)
        };
        of_service().or_else(|| self.base.endpoint_url().map(str::to_owned))
    }

    /// The SDK's signer, told whom and where it signs for.
    pub(super) fn signer(&self, signed: Signed<'_>, identity: SharedIdentityResolver) -> StaticRuntimePlugin {
        signer(signed, identity, self.identities.clone())
    }
}

/// What a signature is for.
pub(super) struct Signed<'a> {
    pub(super) service: &'a str,
    pub(super) region: &'a Region,
    pub(super) options: SigningOptions,
}

/// The code and the message of an error in XML, where it is AWS's.
pub(super) fn tree(body: &[u8]) -> Result<(String, serde_json::Value), aws_smithy_runtime_api::box_error::BoxError> {
    answer::tree(body)
}

/// The code and the message of S3's `<Error>`.
pub(super) fn refusal_in_xml(body: &[u8]) -> (Option<String>, Option<String>) {
    answer::refusal_in_xml(body)
}

/// The public endpoint of `service`, in whichever partition `region` is.
fn public_endpoint(service: &str, region: &Region) -> String {
    let suffix = if region.as_str().starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    format!("https://{service}.{region}.{suffix}")
}

fn signer(
    signed: Signed<'_>,
    identity: SharedIdentityResolver,
    identities: SharedIdentityCache,
) -> StaticRuntimePlugin {
    let mut layer = Layer::new("aws.call");
    layer.store_put(AuthSchemeOptionResolverParams::new(()));
    layer.store_put(SigV4OperationSigningConfig {
        region: Some(SigningRegion::from(SdkRegion::new(signed.region.as_str().to_owned()))),
        name: Some(SigningName::from(signed.service.to_owned())),
        signing_options: signed.options,
        ..SigV4OperationSigningConfig::default()
    });
    let resolver = SharedAuthSchemeOptionResolver::new(StaticAuthSchemeOptionResolver::new(vec![SCHEME_ID]));
    let components = RuntimeComponentsBuilder::new("aws.call")
        .with_auth_scheme(SharedAuthScheme::new(SigV4AuthScheme::new()))
        .with_auth_scheme_option_resolver(Some(resolver))
        .with_identity_resolver(SCHEME_ID, identity)
        .with_identity_cache(Some(identities));
    StaticRuntimePlugin::new().with_config(layer.freeze()).with_runtime_components(components)
}

impl AwsCloud {
    /// Asks what `request` asks.
    pub(super) async fn ask_api(&self, request: &ApiCall) -> Result<Value, ObserveError> {
        let answered = self.send_api(request).await;
        let read = answered.map_err(|failure| failure.into_observe_error(&request.operation));
        if let Some(reason) = self.skew.refusal(&request.region) {
            return Err(ObserveError::ClockSkew { reason });
        }
        Ok(read?.body)
    }

    /// Sends `request`, once.
    pub(super) async fn call_api(&self, request: &ApiCall) -> Outcome {
        match self.send_api(request).await {
            Ok(answered) => {
                Outcome::Accepted { request_id: answered.request_id, handle: request.handle_in(&answered.body) }
            }
            Err(failure) => failure.into_outcome(),
        }
    }

    async fn send_api(&self, request: &ApiCall) -> Result<Answered, Failure> {
        let call = Call { service: request.service(), operation: request.name(), region: &request.region };
        let encoded = request::encode(request);
        let identity = self.caller.identity(request).await;
        let (encoded, identity) = match (encoded, identity) {
            (Ok(encoded), Ok(identity)) => (encoded, identity),
            (Err(reason), _) | (_, Err(reason)) => {
                self.tell(call, "not_sent");
                return Err(Failure::NotSent { reason });
            }
        };
        let signed = Signed { service: request.service(), region: &request.region, options: SigningOptions::default() };
        let departure = self.departure();
        let wire = request.wire.clone();
        let operation = Operation::builder()
            .service_name(request.service().to_owned())
            .operation_name(request.name().to_owned())
            .behavior_version(clients::behavior())
            .http_client(self.caller.http.clone())
            .endpoint_url(&self.caller.endpoint(request))
            .time_source(SdkClock(Arc::clone(&self.clock)))
            .sleep_impl(SdkClock(Arc::clone(&self.clock)))
            .timeout_config(clients::timeouts(&self.options))
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .no_retry()
            .interceptor(departure.clone())
            .interceptor(AnswerLimit)
            .interceptor(self.skew.of(&request.region))
            .runtime_plugin(self.caller.signer(signed, identity))
            .serializer(|encoded: request::Encoded| encoded.into_http())
            .deserializer(move |response| answer::read(&wire, response))
            .build();
        let result = operation.invoke(encoded).await;
        self.ended(call, &departure, result)
    }
}
