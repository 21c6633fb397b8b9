//! One SDK client per service and Region (and, for ARC, per endpoint), made when first needed.
//!
//! Invariant: every client has a connect, an attempt and an operation timeout, our clock as it is, and a limit on answers;
//! the SDK alone would wait forever for a server that accepts and never answers (AWS.md 8). Retries here are for
//! reads; every mutation turns them off again where it is sent.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_config::{BehaviorVersion, SdkConfig, retry::RetryConfig, stalled_stream_protection, timeout::TimeoutConfig};
use aws_sdk_cloudwatch as cloudwatch;
use aws_sdk_rds as rds;
use aws_sdk_route53 as route53;
use aws_sdk_route53recoverycluster as arc;
use aws_sdk_sns as sns;

use super::{Options, intercept::AnswerLimit, skew::Skew, time::SdkClock};
use crate::{
    domain::{application::ClusterEndpoint, id::Region},
    ports::Clock,
};

/// The SDK behaviour that this adapter was tested with. Changing it changes retries and timeouts: read the SDK's
/// notes, then run the tests of this folder.
pub(super) fn behavior() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

/// Attempts of one read, the first included.
const READ_ATTEMPTS_MAX: u32 = 3;

/// Before the second attempt at most, and doubling; the SDK's second would eat the time of a whole reading.
const READ_BACKOFF: Duration = Duration::from_millis(200);

/// The clients made so far. Bounded by the Regions and endpoints of the configuration.
#[derive(Debug)]
pub(super) struct Clients {
    base: SdkConfig,
    skew: Skew,
    rds: Mutex<BTreeMap<Region, rds::Client>>,
    route53: Mutex<BTreeMap<Region, route53::Client>>,
    cloudwatch: Mutex<BTreeMap<Region, cloudwatch::Client>>,
    sns: Mutex<BTreeMap<Region, sns::Client>>,
    arc: Mutex<BTreeMap<(Region, String), arc::Client>>,
}

/// The timeouts of `options`, as the SDK takes them.
pub(super) fn timeouts(options: &Options) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(options.connect_timeout)
        .operation_attempt_timeout(options.attempt_timeout)
        .operation_timeout(options.call_timeout)
        .build()
}

macro_rules! client {
    ($service:ident) => {
        pub(super) fn $service(&self, region: &Region) -> $service::Client {
            let mut made = self.$service.lock().unwrap_or_else(PoisonError::into_inner);
            made.entry(region.clone())
                .or_insert_with(|| {
                    $service::Client::from_conf(
                        $service::config::Builder::from(&self.base)
                            .region(aws_config::Region::new(region.as_str().to_owned()))
                            .interceptor(AnswerLimit)
                            .interceptor(self.skew.of(region))
                            .build(),
                    )
                })
                .clone()
        }
    };
}

impl Clients {
    pub(super) fn new(sdk_config: &SdkConfig, clock: Arc<dyn Clock>, skew: Skew, options: &Options) -> Self {
        let sdk_clock = SdkClock(clock);
        let base = sdk_config
            .to_builder()
            .behavior_version(behavior())
            .time_source(sdk_clock.clone())
            .sleep_impl(sdk_clock)
            .timeout_config(timeouts(options))
            .retry_config(
                RetryConfig::standard().with_max_attempts(READ_ATTEMPTS_MAX).with_initial_backoff(READ_BACKOFF),
            )
            // A signature's time is the intent's (`time`), which the SDK would take for a clock that is behind: it would sign
            // what follows as much later, and so make old calls new.
            .disable_clock_skew_correction(true)
            // Answers are small and the attempt timeout covers them; a grace period of its own, in world time,
            // would only misfire when the demo's clock runs fast.
            .stalled_stream_protection(stalled_stream_protection::StalledStreamProtectionConfig::disabled())
            .build();
        Self {
            base,
            skew,
            rds: Mutex::default(),
            route53: Mutex::default(),
            cloudwatch: Mutex::default(),
            sns: Mutex::default(),
            arc: Mutex::default(),
        }
    }

    /// What every client is made from.
    pub(super) fn base(&self) -> &SdkConfig {
        &self.base
    }

    client!(rds);
    client!(route53);
    client!(cloudwatch);
    client!(sns);

    /// The client of one ARC cluster endpoint. It never retries: the next endpoint is asked instead [measured].
    pub(super) fn arc(&self, endpoint: &ClusterEndpoint) -> arc::Client {
        let mut made = self.arc.lock().unwrap_or_else(PoisonError::into_inner);
        made.entry((endpoint.region.clone(), endpoint.url.clone()))
            .or_insert_with(|| {
                arc::Client::from_conf(
                    arc::config::Builder::from(&self.base)
                        .region(aws_config::Region::new(endpoint.region.as_str().to_owned()))
                        .endpoint_url(&endpoint.url)
                        .retry_config(RetryConfig::disabled())
                        .interceptor(AnswerLimit)
                        .interceptor(self.skew.of(&endpoint.region))
                        .build(),
                )
            })
            .clone()
    }
}
