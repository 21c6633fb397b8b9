//! The Aurora global clusters, each with its members as the configuration names them.
//!
//! What it does not say is the same everywhere: two instances per cluster (where no capacity is declared), one engine version. Lag is published by
//! the clusters themselves, under both metrics. An application without stores has one that all its Regions write and
//! that nothing can lose: what is rehearsed is its traffic.

use std::collections::BTreeSet;

use super::{Faults, Stage};
use crate::{
    domain::{
        application::{Application, AuroraStore, ClusterArn},
        capacity::{self, Capacity, Size},
        id::{Region, StoreName},
    },
    sim::world::{
        aurora::{ClusterSpec, GlobalClusterSpec},
        sns,
    },
};

/// Instances of each cluster: a writer or reader, and one to take its place.
const INSTANCES: usize = 2;
const INSTANCE_CLASS: &str = "db.r6g.large";
const ENGINE: &str = "aurora-postgresql";
/// The version of the reference systems (DESIGN.md 9).
const ENGINE_VERSION: &str = "14.9";
/// Where the store is that an application without stores is taken to have: no Region that fails.
const EVERYWHERE: &str = "sim-everywhere-1";

/// The global cluster that the clients write to.
pub(super) fn written(application: &Application) -> String {
    let first = application.stores.values().next();
    first.map_or_else(|| format!("{}-everywhere", application.name), |store| store.global_cluster.clone())
}

/// Whether the servers of every Region write to the present writer, by what the configuration says of the store that the
/// clients write to.
pub(super) fn is_written_from_all_regions(application: &Application) -> bool {
    application.stores.values().next().is_some_and(|store| store.written_from_all_regions)
}

/// The ARN of the cluster that the servers in `region` use.
pub(super) fn used_in(application: &Application, region: &Region) -> Option<String> {
    match application.stores.values().next() {
        Some(store) => store.clusters.get(region).map(ToString::to_string),
        None => {
            let spec = everywhere(application);
            spec.members.first().map(|member| spec.arn_of(member))
        }
    }
}

fn everywhere(application: &Application) -> GlobalClusterSpec {
    let region = EVERYWHERE.parse().unwrap_or_else(|e| unreachable!("{e}"));
    let id = written(application);
    let members = vec![ClusterSpec {
        id: id.clone(),
        region,
        instances: INSTANCES,
        instance_class: INSTANCE_CLASS.to_owned(),
        scaling: None,
    }];
    let (engine, engine_version) = (ENGINE.to_owned(), ENGINE_VERSION.to_owned());
    GlobalClusterSpec { id, account: sns::ACCOUNT.to_owned(), engine, engine_version, members }
}

pub(super) fn build(stage: &mut Stage<'_>, faults: &mut Faults<'_>) {
    if stage.application.stores.is_empty() {
        let spec = everywhere(stage.application);
        stage.world.with_aurora(|aurora, ctx| aurora.add_global_cluster(spec, ctx));
    }
    let mut global_clusters = BTreeSet::new();
    let mut clusters = BTreeSet::new();
    for (name, store) in &stage.application.stores {
        if !global_clusters.insert(&store.global_cluster) {
            let why = format!("another store has the global cluster `{}` already", store.global_cluster);
            faults.add(format!("stores.{name}.global_cluster"), why);
        }
        for (region, arn) in &store.clusters {
            if !clusters.insert(arn) {
                faults.add(format!("stores.{name}.clusters.{region}"), "another store has this cluster already");
            }
        }
        if let Some(spec) = spec(stage, name, store, faults) {
            stage.world.with_aurora(|aurora, ctx| aurora.add_global_cluster(spec, ctx));
        }
    }
}

/// The global cluster of `store`, its writer where the application is active.
fn spec(
    stage: &Stage<'_>,
    name: &StoreName,
    store: &AuroraStore,
    faults: &mut Faults<'_>,
) -> Option<GlobalClusterSpec> {
    let at = |region: &Region| format!("stores.{name}.clusters.{region}");
    let writer = store.clusters.get(&stage.active)?;
    let mut spec = GlobalClusterSpec {
        id: store.global_cluster.clone(),
        account: account(writer).to_owned(),
        engine: ENGINE.to_owned(),
        engine_version: ENGINE_VERSION.to_owned(),
        members: Vec::new(),
    };
    let others = stage.application.regions.iter().filter(|r| **r != stage.active);
    for region in std::iter::once(&stage.active).chain(others) {
        let Some(arn) = store.clusters.get(region) else {
            faults.add(at(region), "no cluster is named for this Region");
            continue;
        };
        let (instances, instance_class, scaling) = sizes(store);
        let member =
            ClusterSpec { id: arn.identifier().to_owned(), region: region.clone(), instances, instance_class, scaling };
        let simulated = spec.arn_of(&member);
        if simulated != arn.as_str() {
            faults
                .add(at(region), format!("simulated clusters are in one account of the partition `aws`: {simulated}"));
        }
        spec.members.push(member);
    }
    Some(spec)
}

/// What each Region has: what is declared.
fn sizes(store: &AuroraStore) -> (usize, String, Option<(f64, f64)>) {
    match &store.capacity {
        None => (INSTANCES, INSTANCE_CLASS.to_owned(), None),
        Some(Capacity { instances, size: Size::Provisioned { class } }) => (*instances as usize, class.clone(), None),
        Some(Capacity { instances, size: Size::Serverless { min_acu, max_acu } }) => {
            (*instances as usize, capacity::SERVERLESS.to_owned(), Some((*min_acu, max_acu.unwrap_or(ACU_MAX))))
        }
    }
}

/// Of the largest instance [bc:rds.ServerlessV2ScalingConfiguration].
const ACU_MAX: f64 = 256.0;

fn account(arn: &ClusterArn) -> &str {
    arn.as_str().split(':').nth(4).unwrap_or_default()
}
