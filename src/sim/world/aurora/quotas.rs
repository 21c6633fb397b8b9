//! What the account may have in a Region, and how much of it is used.
//!
//! Deliberately only what this world counts: instances, clusters, manual snapshots of clusters. Nothing here is enforced,
//! because nothing here creates instances.

use super::{Aurora, SimTime};
use crate::domain::id::Region;

/// One quota as `DescribeAccountAttributes` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountQuota {
    pub name: &'static str,
    pub used: i64,
    pub max: i64,
}

/// Of a new account [AUG:Quotas and limits; from memory].
const INSTANCES_MAX: i64 = 40;
const CLUSTERS_MAX: i64 = 40;
const CLUSTER_SNAPSHOTS_MAX: i64 = 100;

impl Aurora {
    /// The quotas of the account in `region`.
    pub fn account_quotas(&self, region: &Region, now: SimTime) -> Vec<AccountQuota> {
        let clusters = self.clusters(region).count();
        let instances = self.clusters(region).map(|c| c.instances.len()).sum();
        let snapshots = self.snapshots(region, now).filter(|s| !s.id.starts_with("rds:")).count();
        let is_exhausted = self.is_quota_exhausted(region);
        let quota = |name, used: usize, max: i64| {
            let used = i64::try_from(used).unwrap_or(i64::MAX);
            AccountQuota { name, used, max: if is_exhausted { used } else { max } }
        };
        vec![
            quota("DBInstances", instances, INSTANCES_MAX),
            quota("DBClusters", clusters, CLUSTERS_MAX),
            quota("ManualClusterSnapshots", snapshots, CLUSTER_SNAPSHOTS_MAX),
        ]
    }

    /// Lets every quota of the account in `region` be used up, or no longer.
    pub fn set_quota_exhausted(&mut self, region: &Region, exhausted: bool) {
        if exhausted {
            self.knobs.exhausted.insert(region.clone());
        } else {
            self.knobs.exhausted.remove(region);
        }
    }

    /// Whether nothing more may be added in `region`.
    pub fn is_quota_exhausted(&self, region: &Region) -> bool {
        self.knobs.exhausted.contains(region)
    }
}
