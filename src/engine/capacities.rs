//! What each Region's clusters were last seen to have, so that on the worst day nothing need be asked of the Region that
//! fails.
//!
//! Invariant: what another Region is held to is what a cluster had when it was *well*: one that loses its instances does
//! not lower what is wanted. Memory only, lost on a restart: who must be sure declares the capacity.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::join;
use jiff::Timestamp;

use crate::{
    domain::{
        application::ClusterArn,
        capacity::{Carried, Seen},
        cloud::ObserveError,
        id::{Region, StoreName},
    },
    engine::context::Context,
    ports::Cloud,
};

/// How often every cluster is looked at. Two calls for each: instances are added and removed by people.
const PERIOD: Duration = Duration::from_mins(5);

/// See the module.
#[derive(Debug, Default)]
pub struct Capacities(Mutex<BTreeMap<(StoreName, Region), Seen>>);

impl Capacities {
    pub fn note(&self, store: &StoreName, region: &Region, at: Timestamp, carried: Carried) {
        let mut board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (store.clone(), region.clone());
        let before = board.remove(&key).and_then(|seen| seen.well);
        let well = if carried.is_well() { Some((at, carried.clone())) } else { before };
        board.insert(key, Seen { at, carried, well });
    }

    /// What was seen of the store's cluster in `region`.
    pub fn of(&self, store: &StoreName, region: &Region) -> Option<Seen> {
        let board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        board.get(&(store.clone(), region.clone())).cloned()
    }

    pub fn all(&self) -> BTreeMap<(StoreName, Region), Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A reading that failed, with the call that it was.
#[derive(Debug)]
pub struct Unread {
    pub operation: &'static str,
    pub error: ObserveError,
}

/// What the cluster has now.
///
/// # Errors
/// Where either call fails, or the two disagree on how many instances there are.
pub async fn read(cloud: &dyn Cloud, cluster: &ClusterArn) -> Result<Carried, Unread> {
    let of = |operation| move |error| Unread { operation, error };
    let (described, instances) = join(cloud.db_cluster(cluster), cloud.db_instances(cluster)).await;
    let described = described.map_err(of("rds:DescribeDBClusters"))?;
    let instances = instances.map_err(of("rds:DescribeDBInstances"))?;
    if described.instances != instances.len() {
        let reason = format!("{} members are listed, and {} instances", described.instances, instances.len());
        return Err(Unread { operation: "rds:DescribeDBInstances", error: ObserveError::Malformed { reason } });
    }
    Ok(Carried { cluster_status: described.status, instances, scaling: described.scaling })
}

/// Looks at every cluster of the application until the daemon stops. A Region that does not answer keeps what it had.
pub async fn watch(context: Context) {
    loop {
        for (store, db) in &context.application.stores {
            for (region, cluster) in &db.clusters {
                let read = tokio::select! {
                    biased;
                    () = context.stopping.cancelled() => return,
                    read = read(&*context.cloud, cluster) => read,
                };
                match read {
                    Ok(carried) => context.capacities.note(store, region, context.clock.wall(), carried),
                    Err(Unread { operation, error }) => {
                        tracing::debug!(%store, %region, operation, %error, "the capacity could not be read");
                    }
                }
            }
        }
        tokio::select! {
            biased;
            () = context.stopping.cancelled() => return,
            () = context.clock.sleep(PERIOD) => {}
        }
    }
}
