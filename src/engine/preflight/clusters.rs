//! What preflight looks at of the databases beside the plan's own gates: versions, protection, and the one parameter that
//! can stop commits after a failover.

use futures_util::{FutureExt as _, future::join};

use crate::{
    domain::{
        application::{AuroraStore, ClusterArn},
        cloud::{DbCluster, ObserveError},
        id::{Region, StoreName},
        preflight::{Check, Class, Kind},
    },
    engine::{context::Context, guards::Answer},
};

use super::question::{Question, open};

/// Blocks commits on the primary while *all* secondaries lag by more than it says: with two Regions, after a failover,
/// while the only other one is away [AUG; AWS.md 1.2]. Of Aurora PostgreSQL alone.
const RPO_PARAMETER: &str = "rds.global_db_rpo";
/// What it is where nobody has set it.
const RPO_DEFAULT: &str = "-1";

/// What is asked about each store that has a cluster at both ends.
pub(super) fn questions<'a>(context: &'a Context, source: &'a Region, target: &'a Region) -> Vec<Question<'a>> {
    let of_both = |(store, db): (&'a StoreName, &'a AuroraStore)| {
        let (from, to) = (db.clusters.get(source)?, db.clusters.get(target)?);
        Some([described(context, store, from, to), parameter(context, (store, db), to)])
    };
    context.application.stores.iter().filter_map(of_both).flatten().collect()
}

fn described<'a>(context: &'a Context, store: &StoreName, from: &'a ClusterArn, to: &'a ClusterArn) -> Question<'a> {
    let at = |check: Check, arn: &ClusterArn| Check { region: Some(arn.region().clone()), ..check };
    let version = open(
        Class::Degrading,
        Kind::Version,
        store.as_str(),
        "both clusters have the same engine version",
        "upgrade the cluster that is behind",
    );
    let protection = open(
        Class::Advisory,
        Kind::Protection,
        store.as_str(),
        "deletion protection is on",
        "switch DeletionProtection of the cluster on",
    );
    let look = async move {
        let (source, target) = join(context.cloud.db_cluster(from), context.cloud.db_cluster(to)).await;
        let versions = match (&source, &target) {
            (Ok(source), Ok(target)) => versions(source, target),
            (Err(error), _) => unread(from, error),
            (_, Err(error)) => unread(to, error),
        };
        let protected = |arn, cluster: &Result<DbCluster, ObserveError>| match cluster {
            Ok(cluster) => protected(cluster),
            Err(error) => unread(arn, error),
        };
        vec![versions, protected(from, &source), protected(to, &target)]
    };
    Question { checks: vec![at(version, to), at(protection.clone(), from), at(protection, to)], look: look.boxed() }
}

fn unread(arn: &ClusterArn, error: &ObserveError) -> Answer {
    Answer::unread("rds:DescribeDBClusters", arn.region(), error, arn.as_str())
}

fn versions(source: &DbCluster, target: &DbCluster) -> Answer {
    let (here, there) = (&source.engine_version, &target.engine_version);
    if here == there {
        return Answer::Holds { evidence: vec![format!("both have {here}")] };
    }
    Answer::fails(format!("{} has {here}, {} has {there}", source.arn.identifier(), target.arn.identifier()))
}

fn protected(cluster: &DbCluster) -> Answer {
    match cluster.deletion_protection {
        Some(true) => Answer::Holds { evidence: vec![format!("{} is protected", cluster.arn.identifier())] },
        Some(false) => Answer::fails(format!("{} can be deleted by one call", cluster.arn.identifier())),
        None => Answer::Unknown { why: format!("RDS does not tell whether {} is protected", cluster.arn.identifier()) },
    }
}

fn parameter<'a>(context: &'a Context, (store, db): (&StoreName, &'a AuroraStore), to: &'a ClusterArn) -> Question<'a> {
    let check = open(
        Class::Degrading,
        Kind::Parameter,
        format!("{RPO_PARAMETER} of {store}"),
        "it is not set (-1), where there are two Regions",
        "set it back to -1 in the parameter group of the cluster there: after a failover it would stop commits",
    );
    let look = async move { vec![rpo(context, to, db.clusters.len()).await] };
    Question { checks: vec![Check { region: Some(to.region().clone()), ..check }], look: look.boxed() }
}

async fn rpo(context: &Context, to: &ClusterArn, regions: usize) -> Answer {
    let group = match context.cloud.db_cluster(to).await {
        Ok(DbCluster { parameter_group: Some(group), .. }) => group,
        Ok(_) => {
            return Answer::Unknown { why: format!("RDS does not tell the parameter group of {}", to.identifier()) };
        }
        Err(error) => return unread(to, &error),
    };
    match context.cloud.cluster_parameter(to.region(), &group, RPO_PARAMETER).await {
        Ok(None) => Answer::Holds { evidence: vec![format!("{group} does not set it")] },
        Ok(Some(value)) if value == RPO_DEFAULT => {
            Answer::Holds { evidence: vec![format!("{group} has its default, {RPO_DEFAULT}")] }
        }
        Ok(Some(value)) if 2 < regions => {
            Answer::Holds { evidence: vec![format!("{group} has {value} s, and {regions} Regions hold the data")] }
        }
        Ok(Some(value)) => Answer::fails(format!(
            "{group} has {value} s: once {} is the writer its commits stall while the only other Region is away",
            to.identifier()
        )),
        Err(error) => {
            Answer::unread("rds:DescribeDBClusterParameters", to.region(), &error, &format!("parameter group {group}"))
        }
    }
}
