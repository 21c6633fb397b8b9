//! Aurora global clusters: what they look like, and the two calls that move their writer.
//!
//! Statuses are kept as text: the SDK's enum lacks `switching-over` [bc; measured].

use aws_config::retry::RetryConfig;
use aws_sdk_rds as sdk;
use aws_types::request_id::RequestId as _;

use super::{AwsCloud, Call, PAGES_MAX, error::Failure, lacking, too_many_pages};
use crate::domain::{
    application::ClusterArn,
    capacity::AcuRange,
    cloud::{DbCluster, FailoverState, GlobalCluster, Member, ObserveError, Outcome},
    id::Region,
};

/// What a status is called that AWS did not report. Never `available`.
const UNREPORTED: &str = "unreported";

impl AwsCloud {
    pub(super) async fn describe_global_cluster(
        &self,
        region: &Region,
        identifier: &str,
    ) -> Result<GlobalCluster, ObserveError> {
        let call = rds("DescribeGlobalClusters", region);
        let what = format!("global cluster `{identifier}`");
        let read = async {
            let mut marker = None;
            for _ in 0..PAGES_MAX {
                let departure = self.departure();
                let result = self
                    .clients
                    .rds(region)
                    .describe_global_clusters()
                    .global_cluster_identifier(identifier)
                    .set_marker(marker)
                    .customize()
                    .interceptor(departure.clone())
                    .send()
                    .await;
                let page = self.ended(call, &departure, result).map_err(|f| f.into_observe_error(&what))?;
                if let Some(found) = page
                    .global_clusters()
                    .iter()
                    .find(|c| c.global_cluster_identifier().is_some_and(|id| id.eq_ignore_ascii_case(identifier)))
                {
                    return global_cluster(identifier, found);
                }
                marker = page.marker().filter(|m| !m.is_empty()).map(str::to_owned);
                if marker.is_none() {
                    return Err(absent(&what));
                }
            }
            Err(too_many_pages(&what))
        };
        self.within(call, read).await
    }

    pub(super) async fn describe_db_cluster(&self, arn: &ClusterArn) -> Result<DbCluster, ObserveError> {
        let call = rds("DescribeDBClusters", arn.region());
        let what = format!("DB cluster `{arn}`");
        let read = async {
            let mut marker = None;
            for _ in 0..PAGES_MAX {
                let departure = self.departure();
                let result = self
                    .clients
                    .rds(arn.region())
                    .describe_db_clusters()
                    .db_cluster_identifier(arn.identifier())
                    .set_marker(marker)
                    .customize()
                    .interceptor(departure.clone())
                    .send()
                    .await;
                let page = self.ended(call, &departure, result).map_err(|f| f.into_observe_error(&what))?;
                if let Some(found) = page.db_clusters().iter().find(|c| c.db_cluster_arn() == Some(arn.as_str())) {
                    return db_cluster(arn, &what, found);
                }
                marker = page.marker().filter(|m| !m.is_empty()).map(str::to_owned);
                if marker.is_none() {
                    return Err(absent(&what));
                }
            }
            Err(too_many_pages(&what))
        };
        self.within(call, read).await
    }

    /// `region` is the current primary's; whose that is only observation tells, but never the target's [AUG].
    pub(super) async fn switchover(&self, region: &Region, global_cluster: &str, target: &ClusterArn) -> Outcome {
        if region == target.region() {
            return misdirected("switchover", "the current primary's", region, target);
        }
        let departure = self.departure();
        let result = self
            .clients
            .rds(region)
            .switchover_global_cluster()
            .global_cluster_identifier(global_cluster)
            .target_db_cluster_identifier(target.as_str())
            .customize()
            .interceptor(departure.clone())
            .config_override(once())
            .send()
            .await;
        let call = rds("SwitchoverGlobalCluster", region);
        match self.ended(call, &departure, result) {
            Ok(output) => accepted(output.request_id()),
            Err(failure) => failure.into_outcome(),
        }
    }

    /// `region` is the target's [AUG].
    pub(super) async fn failover(&self, region: &Region, global_cluster: &str, target: &ClusterArn) -> Outcome {
        if region != target.region() {
            return misdirected("failover", "the target's", region, target);
        }
        let departure = self.departure();
        let result = self
            .clients
            .rds(region)
            .failover_global_cluster()
            .global_cluster_identifier(global_cluster)
            .target_db_cluster_identifier(target.as_str())
            .allow_data_loss(true)
            .customize()
            .interceptor(departure.clone())
            .config_override(once())
            .send()
            .await;
        let call = rds("FailoverGlobalCluster", region);
        match self.ended(call, &departure, result) {
            Ok(output) => accepted(output.request_id()),
            Err(failure) => failure.into_outcome(),
        }
    }

    /// `region` is that of the cluster which leaves [AUG].
    pub(super) async fn detach(&self, region: &Region, global_cluster: &str, target: &ClusterArn) -> Outcome {
        if region != target.region() {
            return misdirected("detachment", "the target's", region, target);
        }
        let departure = self.departure();
        let result = self
            .clients
            .rds(region)
            .remove_from_global_cluster()
            .global_cluster_identifier(global_cluster)
            .db_cluster_identifier(target.as_str())
            .customize()
            .interceptor(departure.clone())
            .config_override(once())
            .send()
            .await;
        let call = rds("RemoveFromGlobalCluster", region);
        match self.ended(call, &departure, result) {
            Ok(output) => accepted(output.request_id()),
            Err(failure) => failure.into_outcome(),
        }
    }
}

pub(super) fn rds<'a>(operation: &'static str, region: &'a Region) -> Call<'a> {
    Call { service: "rds", operation, region }
}

/// These calls have no idempotency token: the SDK, left alone, sent one three times on a 503 [measured].
pub(super) fn once() -> sdk::config::Builder {
    sdk::Config::builder().retry_config(RetryConfig::disabled())
}

pub(super) fn accepted(request_id: Option<&str>) -> Outcome {
    Outcome::Accepted { request_id: request_id.map(str::to_owned), handle: None }
}

/// FAULTS.md 42: what the wrong Region would answer is not documented, so it is not asked.
pub(super) fn misdirected(what: &str, whose: &str, region: &Region, target: &ClusterArn) -> Outcome {
    Failure::NotSent { reason: format!("a {what} to {target} is called in {whose} Region, not in {region}") }
        .into_outcome()
}

fn absent(what: &str) -> ObserveError {
    ObserveError::NotFound { what: what.to_owned(), code: "not listed".to_owned() }
}

fn arn(what: &str, text: Option<&str>) -> Result<ClusterArn, ObserveError> {
    text.ok_or_else(|| lacking(what, "cluster ARN"))?
        .parse()
        .map_err(|e| ObserveError::Malformed { reason: format!("{what}: {e}") })
}

fn optional_arn(what: &str, text: Option<&str>) -> Result<Option<ClusterArn>, ObserveError> {
    match text.filter(|t| !t.is_empty()) {
        Some(text) => arn(what, Some(text)).map(Some),
        None => Ok(None),
    }
}

fn global_cluster(identifier: &str, sdk: &sdk::types::GlobalCluster) -> Result<GlobalCluster, ObserveError> {
    let what = format!("global cluster `{identifier}`");
    let mut members = Vec::new();
    for member in sdk.global_cluster_members() {
        members.push(Member {
            arn: arn(&what, member.db_cluster_arn())?,
            is_writer: member.is_writer().ok_or_else(|| lacking(&what, "IsWriter"))?,
            synchronization: member.synchronization_status().map(|s| s.as_str().to_owned()),
        });
    }
    let failover = sdk.failover_state().map(|f| failover(&what, f)).transpose()?;
    Ok(GlobalCluster {
        identifier: identifier.to_owned(),
        status: sdk.status().unwrap_or(UNREPORTED).to_owned(),
        engine: sdk.engine().unwrap_or_default().to_owned(),
        engine_version: sdk.engine_version().unwrap_or_default().to_owned(),
        members,
        failover: failover.flatten(),
    })
}

/// An element without content is how some answers say that nothing is pending ("empty unless …" [bc]).
fn failover(what: &str, sdk: &sdk::types::FailoverState) -> Result<Option<FailoverState>, ObserveError> {
    let from = optional_arn(what, sdk.from_db_cluster_arn())?;
    let to = optional_arn(what, sdk.to_db_cluster_arn())?;
    if sdk.status().is_none() && from.is_none() && to.is_none() {
        return Ok(None);
    }
    Ok(Some(FailoverState {
        status: sdk.status().map_or(UNREPORTED, |s| s.as_str()).to_owned(),
        from,
        to,
        // Where it is not said, the worse is assumed.
        data_loss_allowed: sdk.is_data_loss_allowed().unwrap_or(true),
    }))
}

fn db_cluster(arn: &ClusterArn, what: &str, sdk: &sdk::types::DbCluster) -> Result<DbCluster, ObserveError> {
    Ok(DbCluster {
        arn: arn.clone(),
        status: sdk.status().unwrap_or(UNREPORTED).to_owned(),
        engine_version: sdk.engine_version().ok_or_else(|| lacking(what, "engine version"))?.to_owned(),
        instances: sdk.db_cluster_members().len(),
        global: sdk.global_cluster_identifier().filter(|id| !id.is_empty()).map(str::to_owned),
        scaling: sdk.serverless_v2_scaling_configuration().and_then(|s| {
            // One bound alone tells nothing of the other.
            Some(AcuRange { min: s.min_capacity()?, max: s.max_capacity()? })
        }),
        backup_retention_days: sdk.backup_retention_period().and_then(|days| u32::try_from(days).ok()),
        deletion_protection: sdk.deletion_protection(),
        parameter_group: sdk.db_cluster_parameter_group().filter(|name| !name.is_empty()).map(str::to_owned),
    })
}
