//! How AWS is reached: time limits, and where credentials and endpoints come from.
//!
//! The SDK honours its own environment variables and profile. A custom endpoint left in the environment would send
//! production's calls (and signatures) elsewhere, so it is refused unless it was asked for.

use std::{sync::Arc, time::Duration};

use aws_config::{SdkConfig, identity::IdentityCache};
use aws_types::service_config::ServiceConfigKey;

use super::{clients, time::SdkClock};
use crate::{domain::id::Region, ports::Clock};

/// How long credentials may take to load: the container endpoint's own 2 s and 5 s [crate], and a little.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(8);

/// Time limits and choices. All durations are by the clock that the adapter is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// No method takes longer, whatever the server does.
    pub call_timeout: Duration,
    /// One attempt, or one ARC endpoint. A mutation has one attempt.
    pub attempt_timeout: Duration,
    /// Until TCP and TLS stand.
    pub connect_timeout: Duration,
    /// Whether `AWS_ENDPOINT_URL…` or an endpoint in the profile may redirect calls.
    pub allow_custom_endpoints: bool,
    /// The Region that Route 53 calls are signed for and counted under: where the partition has its control plane,
    /// us-east-1 in `aws` [WP].
    pub route53_region: Region,
    /// Which ARC endpoint is asked first.
    pub rotation_seed: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            call_timeout: Duration::from_secs(20),
            attempt_timeout: Duration::from_secs(8),
            connect_timeout: Duration::from_secs(3),
            allow_custom_endpoints: false,
            route53_region: "us-east-1".parse().unwrap_or_else(|e| unreachable!("a constant: {e}")),
            rotation_seed: 0,
        }
    }
}

/// Calls would go to endpoints that nobody allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("AWS calls would go to custom endpoints, which are not allowed here: {}", names.join(", "))]
pub struct EndpointsRefused {
    /// The variables or profile settings that name them.
    pub names: Vec<String>,
}

/// The names of the environment variables that redirect SDK calls, sorted; none when the SDK is told to ignore them.
#[expect(clippy::disallowed_methods, reason = "the edge where the SDK's own environment is looked at")]
pub fn custom_endpoints_in_environment() -> Vec<String> {
    custom_endpoints(
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))),
    )
}

fn custom_endpoints(variables: impl Iterator<Item = (String, String)>) -> Vec<String> {
    let mut names = Vec::new();
    for (name, value) in variables {
        if name == "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS" && value.eq_ignore_ascii_case("true") {
            return Vec::new();
        }
        let redirects = name == "AWS_ENDPOINT_URL" || name.starts_with("AWS_ENDPOINT_URL_");
        if redirects && !value.is_empty() {
            names.push(name);
        }
    }
    names.sort();
    names
}

/// The services called, by their service ids. ARC's endpoints are configured, and win over any profile.
const SERVICE_IDS: &[&str] = &["RDS", "Route 53", "CloudWatch", "SNS", "STS", "DynamoDB"];

/// Credentials from the SDK's default chain (cached, refreshed before they expire) and endpoints from its settings.
///
/// # Errors
/// [`EndpointsRefused`] when a custom endpoint is set and `options` does not allow it.
pub async fn load_sdk_config(clock: Arc<dyn Clock>, options: &Options) -> Result<SdkConfig, EndpointsRefused> {
    let clock = SdkClock(clock);
    let config = aws_config::defaults(clients::behavior())
        .time_source(clock.clone())
        .sleep_impl(clock)
        .timeout_config(clients::timeouts(options))
        .identity_cache(IdentityCache::lazy().load_timeout(CREDENTIALS_TIMEOUT).build())
        .load()
        .await;
    if options.allow_custom_endpoints {
        return Ok(config);
    }
    let mut names = custom_endpoints_in_environment();
    if names.is_empty() {
        names = endpoints_in_profile(&config);
    }
    if names.is_empty() { Ok(config) } else { Err(EndpointsRefused { names }) }
}

/// A configuration for a simulated AWS at `url`: fixed credentials that are worth nothing elsewhere.
pub fn simulated_sdk_config(url: &str, clock: Arc<dyn Clock>, options: &Options) -> SdkConfig {
    let clock = SdkClock(clock);
    let credentials = aws_credential_types::Credentials::new("SIMULATED", "simulated", None, None, "simulated AWS");
    SdkConfig::builder()
        .behavior_version(clients::behavior())
        .region(aws_types::region::Region::new(options.route53_region.as_str().to_owned()))
        .credentials_provider(aws_credential_types::provider::SharedCredentialsProvider::new(credentials))
        .endpoint_url(url)
        .time_source(clock.clone())
        .sleep_impl(clock)
        .timeout_config(clients::timeouts(options))
        .build()
}

/// Endpoints that the loaded configuration has from elsewhere than the environment: a profile's `endpoint_url`, or
/// that of one of its `services`.
fn endpoints_in_profile(config: &SdkConfig) -> Vec<String> {
    let mut names = Vec::new();
    if config.endpoint_url().is_some() {
        names.push("endpoint_url of the profile".to_owned());
    }
    let Some(services) = config.service_config() else {
        return names;
    };
    let known = crate::domain::api_call::SERVICES.iter().map(|service| service.sdk_id);
    for id in SERVICE_IDS.iter().copied().chain(known.filter(|id| !SERVICE_IDS.contains(id))) {
        let key = ServiceConfigKey::builder().service_id(id).profile("endpoint_url").env("AWS_ENDPOINT_URL").build();
        if key.is_ok_and(|key| services.load_config(key).is_some()) {
            names.push(format!("endpoint_url of {id} in the profile"));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Vec<String> {
        custom_endpoints(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn every_variable_that_redirects_calls_is_named() {
        assert_eq!(
            found(&[
                ("AWS_ENDPOINT_URL_SNS", "http://x"),
                ("AWS_REGION", "us-east-1"),
                ("AWS_ENDPOINT_URL", "http://x"),
                ("AWS_ENDPOINT_URL_RDS", ""),
            ]),
            ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SNS"]
        );
    }

    #[test]
    fn variables_that_the_sdk_ignores_redirect_nothing() {
        assert!(
            found(&[("AWS_ENDPOINT_URL", "http://x"), ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"),]).is_empty()
        );
    }

    #[derive(Debug)]
    struct RdsElsewhere;

    impl aws_types::service_config::LoadServiceConfig for RdsElsewhere {
        fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
            (key.service_id() == "RDS").then(|| "http://x".to_owned())
        }
    }

    #[test]
    fn endpoints_in_a_profile_are_found_too() {
        assert!(endpoints_in_profile(&SdkConfig::builder().build()).is_empty());
        let config = SdkConfig::builder().endpoint_url("http://x").service_config(RdsElsewhere).build();
        assert_eq!(
            endpoints_in_profile(&config),
            ["endpoint_url of the profile", "endpoint_url of RDS in the profile"]
        );
    }
}
