//! What tells whether a Region can carry an application: the instances of its clusters, and the account's quotas.
//!
//! Invariant: an instance or a quota that is described in part only makes the whole answer malformed: what is not told
//! is never counted.

use aws_types::request_id::RequestId as _;

use super::{
    AwsCloud, PAGES_MAX, lacking,
    rds::{accepted, misdirected, once, rds},
    too_many_pages,
};
use crate::domain::{
    application::ClusterArn,
    capacity::{DbInstance, Quota, Quotas},
    cloud::{ObserveError, Outcome},
    id::Region,
};

/// By which instances are asked for [bc:rds.DescribeDBInstances].
const OF_CLUSTER: &str = "db-cluster-id";

impl AwsCloud {
    pub(super) async fn describe_db_instances(&self, cluster: &ClusterArn) -> Result<Vec<DbInstance>, ObserveError> {
        let call = rds("DescribeDBInstances", cluster.region());
        let what = format!("the instances of `{cluster}`");
        let filter = aws_sdk_rds::types::Filter::builder().name(OF_CLUSTER).values(cluster.identifier()).build();
        let read = async {
            let mut instances = Vec::new();
            let mut marker = None;
            for _ in 0..PAGES_MAX {
                let departure = self.departure();
                let result = self
                    .clients
                    .rds(cluster.region())
                    .describe_db_instances()
                    .filters(filter.clone())
                    .set_marker(marker)
                    .customize()
                    .interceptor(departure.clone())
                    .send()
                    .await;
                let page = self.ended(call, &departure, result).map_err(|f| f.into_observe_error(&what))?;
                for instance in page.db_instances() {
                    // A server that ignores filters must not lend us another cluster's instances.
                    if instance.db_cluster_identifier().is_some_and(|id| id.eq_ignore_ascii_case(cluster.identifier()))
                    {
                        instances.push(db_instance(&what, instance)?);
                    }
                }
                marker = page.marker().filter(|m| !m.is_empty()).map(str::to_owned);
                if marker.is_none() {
                    return Ok(instances);
                }
            }
            Err(too_many_pages(&what))
        };
        self.within(call, read).await
    }

    /// Adds the instance `identifier` to `cluster`; `region` is the cluster's.
    pub(super) async fn create_instance(
        &self,
        region: &Region,
        cluster: &ClusterArn,
        identifier: &str,
        (class, engine): (&str, &str),
    ) -> Outcome {
        if region != cluster.region() {
            return misdirected("new instance", "the cluster's", region, cluster);
        }
        let departure = self.departure();
        let result = self
            .clients
            .rds(region)
            .create_db_instance()
            .db_instance_identifier(identifier)
            .db_cluster_identifier(cluster.identifier())
            .db_instance_class(class)
            .engine(engine)
            .customize()
            .interceptor(departure.clone())
            .config_override(once())
            .send()
            .await;
        match self.ended(rds("CreateDBInstance", region), &departure, result) {
            Ok(output) => accepted(output.request_id()),
            Err(failure) => failure.into_outcome(),
        }
    }

    pub(super) async fn describe_account_attributes(&self, region: &Region) -> Result<Quotas, ObserveError> {
        let call = rds("DescribeAccountAttributes", region);
        let what = format!("the account's quotas in {region}");
        let read = async {
            let departure = self.departure();
            let result = self
                .clients
                .rds(region)
                .describe_account_attributes()
                .customize()
                .interceptor(departure.clone())
                .send()
                .await;
            let told = self.ended(call, &departure, result).map_err(|f| f.into_observe_error(&what))?;
            let mut quotas = Quotas::new();
            for quota in told.account_quotas() {
                let name = quota.account_quota_name().ok_or_else(|| lacking(&what, "quota's name"))?;
                let used = quota.used().ok_or_else(|| lacking(&what, "use"))?;
                let max = quota.max().ok_or_else(|| lacking(&what, "maximum"))?;
                quotas.insert(name.to_owned(), Quota { used, max });
            }
            Ok(quotas)
        };
        self.within(call, read).await
    }
}

fn db_instance(what: &str, sdk: &aws_sdk_rds::types::DbInstance) -> Result<DbInstance, ObserveError> {
    let text = |value: Option<&str>, field: &str| value.map(str::to_owned).ok_or_else(|| lacking(what, field));
    Ok(DbInstance {
        identifier: text(sdk.db_instance_identifier(), "instance's identifier")?,
        class: text(sdk.db_instance_class(), "instance's class")?,
        status: text(sdk.db_instance_status(), "instance's status")?,
    })
}
