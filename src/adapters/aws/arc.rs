//! ARC routing controls, through the endpoints of their cluster: any of them will do, and some may be down.
//!
//! The SDK would ask one endpoint three times; here each is asked once, beginning with another one each time
//! [ARCDG: best practices]. Setting a state is idempotent, so the next endpoint may be asked even where the one
//! before may have done it, but then only a confirmation ends the doubt.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

use aws_config::timeout::TimeoutConfig;
use aws_sdk_route53recoverycluster::{
    self as sdk,
    types::{RoutingControlState, UpdateRoutingControlStateEntry},
};
use aws_types::request_id::RequestId as _;

use super::{
    AwsCloud, Call,
    error::{Failure, is_throttle},
    lacking,
};
use crate::domain::{
    application::ClusterEndpoint,
    cloud::{ObserveError, Outcome},
    id::Region,
};

/// Entries of one UpdateRoutingControlStates call, which is atomic; two calls would not be [bc].
const STATES_MAX: usize = 10;

const SERVICE: &str = "route53-recovery-cluster";

impl AwsCloud {
    pub(super) async fn get_routing_controls(
        &self,
        endpoints: &[ClusterEndpoint],
        arns: &[String],
    ) -> Result<Vec<bool>, ObserveError> {
        let deadline = self.clock.boot() + self.options.call_timeout;
        let mut failures = Vec::new();
        for endpoint in self.rotated(endpoints) {
            // All from one endpoint: endpoints may disagree for a moment.
            match self.states_at(endpoint, arns, deadline).await {
                Ok(states) => return Ok(states),
                Err(
                    e @ (ObserveError::Unreachable { .. }
                    | ObserveError::Throttled
                    | ObserveError::Malformed { .. }
                    | ObserveError::ClockSkew { .. }),
                ) => failures.push(format!("{}: {e}", endpoint.region)),
                Err(e @ (ObserveError::NotFound { .. } | ObserveError::Rejected { .. })) => {
                    return Err(e);
                }
            }
        }
        Err(ObserveError::Unreachable { reason: none_of(endpoints, &failures) })
    }

    async fn states_at(
        &self,
        endpoint: &ClusterEndpoint,
        arns: &[String],
        deadline: Duration,
    ) -> Result<Vec<bool>, ObserveError> {
        let mut states = Vec::with_capacity(arns.len());
        for arn in arns {
            let Some(timeout) = self.attempt_before(deadline) else {
                return Err(ObserveError::Unreachable { reason: "no time left to ask".to_owned() });
            };
            let departure = self.departure();
            let result = self
                .clients
                .arc(endpoint)
                .get_routing_control_state()
                .routing_control_arn(arn)
                .customize()
                .interceptor(departure.clone())
                .config_override(sdk::Config::builder().timeout_config(timeout))
                .send()
                .await;
            let what = format!("routing control `{arn}`");
            let output = self
                .ended(call("GetRoutingControlState", &endpoint.region), &departure, result)
                .map_err(|f| f.into_observe_error(&what))?;
            states.push(match output.routing_control_state().as_str() {
                "On" => true,
                "Off" => false,
                _ => return Err(lacking(&what, "state that we know")),
            });
        }
        Ok(states)
    }

    pub(super) async fn update_routing_controls(
        &self,
        endpoints: &[ClusterEndpoint],
        states: &BTreeMap<String, bool>,
    ) -> Outcome {
        let entries = match entries(states) {
            Ok(entries) => entries,
            Err(reason) => return Failure::NotSent { reason }.into_outcome(),
        };
        let deadline = self.clock.boot() + self.options.call_timeout;
        let mut failures = Vec::new();
        let mut in_doubt = false;
        let mut refusal = None;
        for endpoint in self.rotated(endpoints) {
            let Some(timeout) = self.attempt_before(deadline) else {
                failures.push("no time left to ask the others".to_owned());
                break;
            };
            let outcome = self.update_at(endpoint, &entries, timeout).await;
            match &outcome {
                Outcome::Accepted { .. } => return outcome,
                Outcome::NotSent { reason } => {
                    failures.push(format!("{}: not sent: {reason}", endpoint.region));
                }
                Outcome::Unknown { reason } => {
                    in_doubt = true;
                    failures.push(format!("{}: {reason}", endpoint.region));
                }
                Outcome::Rejected { code, message, .. } => {
                    failures.push(format!("{}: {code}: {message}", endpoint.region));
                    let elsewhere = is_throttle(code) || is_temporary(code);
                    refusal = Some(outcome);
                    if !elsewhere {
                        break;
                    }
                }
            }
        }
        let reason = none_of(endpoints, &failures);
        match refusal {
            _ if in_doubt => Outcome::Unknown { reason },
            Some(refusal) => refusal,
            None => Outcome::NotSent { reason },
        }
    }

    async fn update_at(
        &self,
        endpoint: &ClusterEndpoint,
        entries: &[UpdateRoutingControlStateEntry],
        timeout: TimeoutConfig,
    ) -> Outcome {
        let departure = self.departure();
        // The client has no retries; its override here sets the time that is left.
        let result = self
            .clients
            .arc(endpoint)
            .update_routing_control_states()
            .set_update_routing_control_state_entries(Some(entries.to_vec()))
            .customize()
            .interceptor(departure.clone())
            .config_override(sdk::Config::builder().timeout_config(timeout))
            .send()
            .await;
        let call = call("UpdateRoutingControlStates", &endpoint.region);
        match self.ended(call, &departure, result) {
            Ok(output) => Outcome::Accepted { request_id: output.request_id().map(str::to_owned), handle: None },
            Err(failure) => failure.into_outcome(),
        }
    }

    /// The endpoints, beginning with another one each time; the last one stays last (a plan puts the one in the
    /// Region that is left there).
    fn rotated<'a>(
        &self,
        endpoints: &'a [ClusterEndpoint],
    ) -> impl Iterator<Item = &'a ClusterEndpoint> + Send + use<'a> {
        let turn = self.rotation.fetch_add(1, Ordering::Relaxed);
        let turning = endpoints.len().saturating_sub(1);
        let first = turn.checked_rem(turning).unwrap_or(0);
        endpoints[first..turning].iter().chain(&endpoints[..first]).chain(&endpoints[turning..])
    }

    /// The time limits of one attempt, or `None` when there is no time left.
    fn attempt_before(&self, deadline: Duration) -> Option<TimeoutConfig> {
        let left = deadline.saturating_sub(self.clock.boot());
        let limit = left.min(self.options.attempt_timeout);
        (!limit.is_zero()).then(|| {
            TimeoutConfig::builder()
                .connect_timeout(self.options.connect_timeout.min(limit))
                .operation_attempt_timeout(limit)
                .operation_timeout(limit)
                .build()
        })
    }
}

fn call<'a>(operation: &'static str, region: &'a Region) -> Call<'a> {
    Call { service: SERVICE, operation, region }
}

/// The codes with which an endpoint sends us to another one [bc].
fn is_temporary(code: &str) -> bool {
    code == "EndpointTemporarilyUnavailableException"
}

fn entries(states: &BTreeMap<String, bool>) -> Result<Vec<UpdateRoutingControlStateEntry>, String> {
    if states.is_empty() || states.len() > STATES_MAX {
        return Err(format!("one atomic update takes 1 to {STATES_MAX} routing controls, not {}", states.len()));
    }
    states
        .iter()
        .map(|(arn, on)| {
            UpdateRoutingControlStateEntry::builder()
                .routing_control_arn(arn)
                .routing_control_state(if *on { RoutingControlState::On } else { RoutingControlState::Off })
                .build()
                .map_err(|e| e.to_string())
        })
        .collect()
}

fn none_of(endpoints: &[ClusterEndpoint], failures: &[String]) -> String {
    if endpoints.is_empty() {
        return "no cluster endpoint is configured".to_owned();
    }
    format!("none of {} cluster endpoints confirmed: {}", endpoints.len(), failures.join("; "))
}
