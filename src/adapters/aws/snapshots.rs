//! Snapshots of DB clusters: read, and copied so that no retention deletes them.

use aws_types::request_id::RequestId as _;

use super::{
    AwsCloud, PAGES_MAX, lacking,
    rds::{accepted, once, rds},
    too_many_pages,
};
use crate::domain::{
    application::ClusterArn,
    cloud::{DbSnapshot, ObserveError, Outcome},
    id::Region,
};

impl AwsCloud {
    pub(super) async fn describe_cluster_snapshots(
        &self,
        cluster: &ClusterArn,
    ) -> Result<Vec<DbSnapshot>, ObserveError> {
        let call = rds("DescribeDBClusterSnapshots", cluster.region());
        let what = format!("the snapshots of `{cluster}`");
        let read = async {
            let mut snapshots = Vec::new();
            let mut marker = None;
            for _ in 0..PAGES_MAX {
                let departure = self.departure();
                let result = self
                    .clients
                    .rds(cluster.region())
                    .describe_db_cluster_snapshots()
                    .db_cluster_identifier(cluster.identifier())
                    .set_marker(marker)
                    .customize()
                    .interceptor(departure.clone())
                    .send()
                    .await;
                let page = self.ended(call, &departure, result).map_err(|f| f.into_observe_error(&what))?;
                for snapshot in page.db_cluster_snapshots() {
                    // A server that ignores the filter must not lend us another cluster's snapshots.
                    if snapshot.db_cluster_identifier().is_some_and(|id| id.eq_ignore_ascii_case(cluster.identifier()))
                    {
                        snapshots.push(db_snapshot(&what, snapshot)?);
                    }
                }
                marker = page.marker().filter(|m| !m.is_empty()).map(str::to_owned);
                if marker.is_none() {
                    return Ok(snapshots);
                }
            }
            Err(too_many_pages(&what))
        };
        self.within(call, read).await
    }

    /// Copies `source` to `target`, both in `region`. The copy is encrypted as the source is.
    pub(super) async fn copy_snapshot(&self, region: &Region, source: &str, target: &str) -> Outcome {
        let departure = self.departure();
        let result = self
            .clients
            .rds(region)
            .copy_db_cluster_snapshot()
            .source_db_cluster_snapshot_identifier(source)
            .target_db_cluster_snapshot_identifier(target)
            .copy_tags(true)
            .customize()
            .interceptor(departure.clone())
            .config_override(once())
            .send()
            .await;
        match self.ended(rds("CopyDBClusterSnapshot", region), &departure, result) {
            Ok(output) => accepted(output.request_id()),
            Err(failure) => failure.into_outcome(),
        }
    }
}

fn db_snapshot(what: &str, sdk: &aws_sdk_rds::types::DbClusterSnapshot) -> Result<DbSnapshot, ObserveError> {
    let text = |of: Option<&str>, field: &str| of.map(str::to_owned).ok_or_else(|| lacking(what, field));
    let created_at = sdk.snapshot_create_time().and_then(|at| jiff::Timestamp::new(at.secs(), 0).ok());
    Ok(DbSnapshot {
        identifier: text(sdk.db_cluster_snapshot_identifier(), "DBClusterSnapshotIdentifier")?,
        status: text(sdk.status(), "Status")?,
        created_at,
    })
}
