//! Cluster snapshots: the rescue snapshot of a deposed primary, and copies of it.

use super::{
    super::{ApiFault, Context, SimTime, timings::Name},
    Aurora, Commit, Task,
    calls::fault,
};
use crate::domain::id::Region;

/// How far a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotStatus {
    Creating,
    Available,
}

/// A cluster snapshot in one Region.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub id: String,
    pub arn: String,
    pub region: Region,
    pub cluster_id: String,
    pub engine: String,
    pub engine_version: String,
    pub status: SnapshotStatus,
    /// `automated` (dies with the cluster's retention) or `manual`.
    pub automatic: bool,
    pub created_at: SimTime,
    /// When it is deleted by itself [AUG: the old cluster's retention].
    pub expires_at: Option<SimTime>,
    /// The snapshot that it was copied from.
    pub source_arn: Option<String>,
    /// What is in it.
    pub commits: Vec<Commit>,
}

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

impl Aurora {
    /// For how long the automated snapshots of a cluster are kept that are taken from now on. For fixtures.
    pub fn keep_backups_for(&mut self, cluster: &str, days: u32) {
        self.clusters.values_mut().filter(|c| c.id == cluster).for_each(|c| c.backup_retention_days = days);
    }

    /// Snapshots of `region` that have not expired at `now`.
    pub fn snapshots<'a>(&'a self, region: &Region, now: SimTime) -> impl Iterator<Item = &'a Snapshot> {
        self.snapshots
            .values()
            .filter(move |snapshot| snapshot.region == *region && snapshot.expires_at.is_none_or(|at| at > now))
    }

    pub(super) fn take_rescue_snapshot(&mut self, arn: &str, ready_in_ms: u64, ctx: &mut Context<'_>) {
        let Some(cluster) = self.clusters.get(arn) else {
            return;
        };
        let id = format!("rds:unplanned-global-failover-{}-{}", cluster.id, minute_stamp(ctx.now));
        let snapshot = Snapshot {
            arn: snapshot_arn(&cluster.region, &cluster.account, &id),
            id: id.clone(),
            region: cluster.region.clone(),
            cluster_id: cluster.id.clone(),
            engine: cluster.engine.clone(),
            engine_version: cluster.engine_version.clone(),
            status: SnapshotStatus::Creating,
            automatic: true,
            created_at: ctx.now,
            expires_at: Some(ctx.now.plus_ms(u64::from(cluster.backup_retention_days) * DAY_MS)),
            source_arn: None,
            commits: cluster.volume.clone(),
        };
        self.add_snapshot(snapshot, ready_in_ms, ctx);
    }

    fn add_snapshot(&mut self, snapshot: Snapshot, ready_in_ms: u64, ctx: &mut Context<'_>) {
        let (region, id) = (snapshot.region.clone(), snapshot.id.clone());
        super::tell(ctx, "aurora.snapshot_started", format!("snapshot {id} in {region} started"));
        self.snapshots.insert((region.clone(), id.clone()), snapshot);
        self.schedule(ctx.now.plus_ms(ready_in_ms), Task::SnapshotReady { region, id });
    }

    pub(super) fn finish_snapshot(&mut self, region: Region, id: String, ctx: &mut Context<'_>) {
        let text = format!("snapshot {id} in {region} is available");
        if let Some(snapshot) = self.snapshots.get_mut(&(region, id)) {
            snapshot.status = SnapshotStatus::Available;
            super::tell(ctx, "aurora.snapshot_available", text);
        }
    }

    /// `CopyDBClusterSnapshot`, called in `caller`; the source is an id there, or an ARN.
    ///
    /// # Errors
    /// `DBClusterSnapshotNotFoundFault`, `InvalidDBClusterSnapshotStateFault`,
    /// `DBClusterSnapshotAlreadyExistsFault`.
    pub fn copy_snapshot(
        &mut self,
        caller: &Region,
        source: &str,
        target: &str,
        ctx: &mut Context<'_>,
    ) -> Result<&Snapshot, ApiFault> {
        let copy = self.prepare_copy(caller, source, target, ctx);
        self.count(ctx.now, "CopyDBClusterSnapshot", caller, target, copy.is_ok());
        let copy = copy?;
        let key = (copy.region.clone(), copy.id.clone());
        let delay = self.draw(ctx, Name::SnapshotCopy);
        self.add_snapshot(copy, delay, ctx);
        Ok(&self.snapshots[&key])
    }

    fn prepare_copy(
        &self,
        caller: &Region,
        source: &str,
        target: &str,
        ctx: &Context<'_>,
    ) -> Result<Snapshot, ApiFault> {
        let found = self
            .snapshots
            .values()
            .filter(|s| s.expires_at.is_none_or(|at| at > ctx.now))
            .find(|s| s.arn == source || (s.region == *caller && s.id == source))
            .ok_or_else(|| {
                fault(404, "DBClusterSnapshotNotFoundFault", format!("DBClusterSnapshot {source} not found."))
            })?;
        if found.status != SnapshotStatus::Available {
            return Err(fault(
                400,
                "InvalidDBClusterSnapshotStateFault",
                format!("DBClusterSnapshot {source} is not in the available state."),
            ));
        }
        if self.snapshots.contains_key(&(caller.clone(), target.to_owned())) {
            return Err(fault(
                400,
                "DBClusterSnapshotAlreadyExistsFault",
                format!("DBClusterSnapshot {target} already exists."),
            ));
        }
        let account = found.arn.split(':').nth(4).unwrap_or_default();
        Ok(Snapshot {
            id: target.to_owned(),
            arn: snapshot_arn(caller, account, target),
            region: caller.clone(),
            status: SnapshotStatus::Creating,
            automatic: false,
            created_at: ctx.now,
            expires_at: None,
            source_arn: Some(found.arn.clone()),
            ..found.clone()
        })
    }
}

fn snapshot_arn(region: &Region, account: &str, id: &str) -> String {
    format!("arn:aws:rds:{region}:{account}:cluster-snapshot:{id}")
}

/// `2026-11-21-06-30`, the form of automated snapshots' names.
fn minute_stamp(at: SimTime) -> String {
    super::super::rfc3339(at).chars().take(16).map(|c| if c.is_ascii_digit() { c } else { '-' }).collect()
}
