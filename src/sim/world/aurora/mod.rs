//! Aurora Global Database: clusters in several Regions, their replication, and how the writer's role moves.
//!
//! Invariant: a commit is acknowledged only by a cluster that accepts writes, and what a secondary holds is a
//! prefix of its writer's log; only a failover (or a detach) makes two logs differ. AWS.md section 1 is what it
//! stands on; what AWS does not publish is marked [INF].
//!
//! It deliberately checks no plane of the RDS API: whether a call arrives is the wire's matter. It models no
//! version upgrades, no effect of any parameter, no write forwarding and no failover inside a Region.

mod calls;
mod cluster;
mod events;
mod instances;
mod operation;
mod parameters;
mod quotas;
mod rejoin;
mod replication;
mod snapshots;
#[cfg(test)]
mod tests;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::id::Region;

pub use calls::FailoverRequest;
pub use cluster::{
    Cluster, ClusterSpec, Commit, GlobalCluster, GlobalClusterSpec, GlobalStatus, Instance, Membership, WriteRefused,
};
pub use events::{Event, SourceType};
pub use instances::NewInstance;
pub use operation::{Operation, OperationKind, Stage};
pub use parameters::Parameter;
pub use quotas::AccountQuota;
pub use replication::{LagMetric, LagSetting};
pub use snapshots::{Snapshot, SnapshotStatus};

use super::{
    Context, SimTime, WorldEvent,
    cloudwatch::CloudWatch,
    timings::{self, Name, Variant},
};

/// What befalls a promotion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromotionFate {
    /// Event 0187 or 0239; the old writer is as it was.
    Fails,
    /// Never ends; see [`Aurora::release_stuck`].
    Sticks,
    /// Somebody cancels it; for a while it is shown as `cancelling`, and then the old writer is as it was.
    Cancelled,
}

/// What to break.
#[derive(Debug, Clone, Default)]
pub struct Knobs {
    /// Taken by the next promotion that would otherwise succeed.
    pub next_promotion: Option<PromotionFate>,
    /// Fencing times out even where the old primary can be reached.
    pub fencing_times_out: bool,
    /// The instances that were taken from headless clusters, by ARN.
    parked: BTreeMap<String, Vec<Instance>>,
    /// By ARN, of clusters that are undersized.
    missing: BTreeMap<String, trouble::Missing>,
    /// The Regions in which the account may add nothing more.
    exhausted: BTreeSet<Region>,
}

/// One mutating call, accepted or not: what the oracle counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    pub at: SimTime,
    /// The API operation, such as `FailoverGlobalCluster`.
    pub operation: &'static str,
    pub caller_region: Region,
    /// The target as the caller named it.
    pub target: String,
    pub accepted: bool,
}

/// What happens by itself at a later time.
#[derive(Debug, Clone)]
enum Task {
    /// Lag wanders and replication catches up.
    Tick,
    /// The minute's metrics.
    Publish,
    /// The next stage of the operation `generation` of a global cluster.
    Operation {
        global: String,
        generation: u64,
    },
    /// The next stage of a member's way back.
    Rejoin {
        arn: String,
        generation: u64,
    },
    /// The global writer endpoint resolves to `writer`.
    WriterEndpoint {
        global: String,
        writer: String,
    },
    SnapshotReady {
        region: Region,
        id: String,
    },
    InstanceReady {
        region: Region,
        id: String,
    },
    /// A detached cluster is promoted to a standalone one.
    Detached {
        arn: String,
    },
}

/// Milliseconds between two steps of replication and lag.
const TICK_MS: u64 = 1_000;
/// Milliseconds between two data points of a replication metric: one minute [AUG].
const PUBLISH_MS: u64 = 60_000;

/// All global databases of the account.
#[derive(Debug, Default)]
pub struct Aurora {
    /// Every mutating call, oldest first.
    pub effects: Vec<Effect>,
    pub knobs: Knobs,
    /// Which durations operations take.
    pub timings: Variant,
    globals: BTreeMap<String, GlobalCluster>,
    /// By ARN.
    clusters: BTreeMap<String, Cluster>,
    snapshots: BTreeMap<(Region, String), Snapshot>,
    /// With the ARN of the cluster of each.
    creating: BTreeMap<(Region, String), (String, Instance)>,
    events: Vec<Event>,
    queue: BTreeMap<(SimTime, u64), Task>,
    tasks_scheduled: u64,
    commits: u64,
    generations: u64,
}

impl Aurora {
    /// When the next thing happens by itself.
    pub fn next_due(&self) -> Option<SimTime> {
        self.queue.keys().next().map(|(at, _)| *at)
    }

    /// Runs everything due by `ctx.now`.
    pub fn run_due(&mut self, ctx: &mut Context<'_>, cloudwatch: &mut CloudWatch) {
        while let Some(entry) = self.queue.first_entry()
            && entry.key().0 <= ctx.now
        {
            let task = entry.remove();
            self.run(task, ctx, cloudwatch);
        }
    }

    fn run(&mut self, task: Task, ctx: &mut Context<'_>, cloudwatch: &mut CloudWatch) {
        match task {
            Task::Tick => {
                self.replicate(ctx.now, ctx.planes);
                self.wander(ctx);
                self.schedule(ctx.now.plus_ms(TICK_MS), Task::Tick);
            }
            Task::Publish => {
                self.replicate(ctx.now, ctx.planes);
                self.publish(ctx, cloudwatch);
                self.schedule(ctx.now.plus_ms(PUBLISH_MS), Task::Publish);
            }
            Task::Operation { global, generation } => {
                self.replicate(ctx.now, ctx.planes);
                self.advance_operation(&global, generation, ctx);
            }
            Task::Rejoin { arn, generation } => self.advance_rejoin(&arn, generation, ctx),
            Task::WriterEndpoint { global, writer } => {
                self.move_writer_endpoint(&global, writer, ctx);
            }
            Task::SnapshotReady { region, id } => self.finish_snapshot(region, id, ctx),
            Task::InstanceReady { region, id } => self.finish_instance(region, id, ctx),
            Task::Detached { arn } => self.finish_detach(&arn, ctx),
        }
    }

    /// Adds a global cluster whose first member is the writer, with all secondaries connected.
    pub fn add_global_cluster(&mut self, spec: GlobalClusterSpec, ctx: &mut Context<'_>) {
        if self.globals.is_empty() {
            self.schedule(ctx.now.plus_ms(TICK_MS), Task::Tick);
            let minute = SimTime((ctx.now.0 / PUBLISH_MS + 1) * PUBLISH_MS);
            self.schedule(minute, Task::Publish);
        }
        let members: Vec<String> = spec.members.iter().map(|m| spec.arn_of(m)).collect();
        for (index, member) in spec.members.iter().enumerate() {
            let lag_ms = self.draw(ctx, Name::ReplicationLag);
            let cluster = Cluster::new(&spec, member, index == 0, lag_ms, ctx.now);
            self.clusters.insert(cluster.arn.clone(), cluster);
        }
        let global = GlobalCluster::new(&spec, members);
        self.globals.insert(global.id.clone(), global);
    }

    /// The global clusters that a caller in `region` sees: those with a cluster there, in or out [INF].
    pub fn global_clusters<'a>(&'a self, region: &Region) -> impl Iterator<Item = &'a GlobalCluster> {
        self.globals.values().filter(move |global| {
            global.members.iter().any(|arn| self.clusters.get(arn).is_some_and(|cluster| cluster.region == *region))
        })
    }

    /// The global cluster named `id`, wherever it is.
    pub fn global_cluster(&self, id: &str) -> Option<&GlobalCluster> {
        self.globals.get(id)
    }

    /// Every global cluster.
    pub fn globals(&self) -> impl Iterator<Item = &GlobalCluster> {
        self.globals.values()
    }

    /// The clusters of `region`.
    pub fn clusters<'a>(&'a self, region: &Region) -> impl Iterator<Item = &'a Cluster> {
        self.clusters.values().filter(move |cluster| cluster.region == *region)
    }

    /// The cluster with this ARN.
    pub fn cluster(&self, arn: &str) -> Option<&Cluster> {
        self.clusters.get(arn)
    }

    /// Changes a cluster as an operator outside failoverd might: its instances, its engine version.
    pub fn cluster_mut(&mut self, arn: &str) -> Option<&mut Cluster> {
        self.clusters.get_mut(arn)
    }

    /// The cluster that AWS shows as the writer of `global`.
    pub fn writer_of(&self, global: &str) -> Option<&Cluster> {
        self.globals
            .get(global)?
            .members
            .iter()
            .filter_map(|arn| self.clusters.get(arn))
            .find(|cluster| cluster.membership == Membership::Writer)
    }

    /// Events recorded in `region`, oldest first.
    pub fn events<'a>(&'a self, region: &Region) -> impl Iterator<Item = &'a Event> {
        self.events.iter().filter(move |event| event.region == *region)
    }

    /// Events of every Region, oldest first.
    pub fn all_events(&self) -> &[Event] {
        &self.events
    }

    /// Lets a stuck operation go on; false where none is stuck.
    pub fn release_stuck(&mut self, global: &str, ctx: &mut Context<'_>) -> bool {
        let Some(operation) = self
            .globals
            .get_mut(global)
            .and_then(|g| g.operation.as_mut())
            .filter(|operation| operation.stage == Stage::Stuck)
        else {
            return false;
        };
        operation.stage = Stage::Promoting;
        let generation = operation.generation;
        let global = global.to_owned();
        self.schedule(ctx.now, Task::Operation { global, generation });
        true
    }

    /// Commits one write of an application in the Region of the cluster `arn`. Nothing is acknowledged
    /// unless this returns the commit.
    ///
    /// # Errors
    /// Why the cluster did not take the write.
    pub fn write(&mut self, arn: &str, ctx: &Context<'_>) -> Result<Commit, WriteRefused> {
        self.commit(arn, ctx, false)
    }

    /// Commits one row of a heartbeat there.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn beat(&mut self, arn: &str, ctx: &Context<'_>) -> Result<Commit, WriteRefused> {
        self.commit(arn, ctx, true)
    }

    fn commit(&mut self, arn: &str, ctx: &Context<'_>, is_beat: bool) -> Result<Commit, WriteRefused> {
        self.replicate(ctx.now, ctx.planes);
        let cluster = self.clusters.get_mut(arn).ok_or(WriteRefused::Unreachable)?;
        if !cluster.is_up(ctx.planes) {
            return Err(WriteRefused::Unreachable);
        }
        if !cluster.accepts_writes {
            return Err(WriteRefused::ReadOnly);
        }
        self.commits += 1;
        let commit = Commit { id: self.commits, acknowledged_at: ctx.now, is_beat };
        cluster.volume.push(commit);
        Ok(commit)
    }

    fn schedule(&mut self, at: SimTime, task: Task) {
        self.tasks_scheduled += 1;
        self.queue.insert((at, self.tasks_scheduled), task);
    }

    fn draw(&self, ctx: &mut Context<'_>, name: Name) -> u64 {
        timings::draw_of(ctx.rng, name, self.timings)
    }

    fn next_generation(&mut self) -> u64 {
        self.generations += 1;
        self.generations
    }
}

fn tell(ctx: &mut Context<'_>, kind: &'static str, text: String) {
    ctx.log.push(WorldEvent { at: ctx.now, kind, text });
}
