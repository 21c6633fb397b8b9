//! Looking at a global cluster from several Regions, and what two readings together prove.
//!
//! One endpoint may be stale, and one may be gone with its Region: a proof is two fresh readings that agree, from two
//! endpoints where two answer, else two in a row from the one that does (FAULTS.md 35).

use std::time::Duration;

use crate::{
    domain::{
        application::ClusterArn,
        cloud::{GlobalCluster, ObserveError},
        id::Region,
    },
    ports::{Clock, Cloud},
};

/// Between two readings of one endpoint.
pub const POLL: Duration = Duration::from_secs(2);

/// Two readings that agree, or why there are none.
#[derive(Debug, Clone)]
pub enum Proof {
    /// What both said, and from where.
    Agreed { view: Box<GlobalCluster>, evidence: String },
    /// They differ: something is under way, or one is stale.
    Contradicted { why: String },
    /// Too few answered.
    Unknown { why: String },
}

/// Reads from every Region of `observe_in` in order until two have answered; the second reading of a single survivor
/// comes one poll later.
pub async fn prove(cloud: &dyn Cloud, clock: &dyn Clock, identifier: &str, observe_in: &[Region]) -> Proof {
    let mut views: Vec<(Region, GlobalCluster)> = Vec::new();
    let mut silent = Vec::new();
    let answers = futures_join(cloud, identifier, observe_in).await;
    for (region, answer) in answers {
        match answer {
            Ok(view) => views.push((region, view)),
            Err(error) => silent.push(format!("{region}: {error}")),
        }
    }
    if let [(region, _)] = &views[..] {
        let region = region.clone();
        clock.sleep(POLL).await;
        match cloud.global_cluster(&region, identifier).await {
            Ok(view) => views.push((region, view)),
            Err(error) => silent.push(format!("{region}: {error}")),
        }
    }
    match &views[..] {
        [(r1, first), (r2, second), ..] if same(first, second) => {
            let from = if r1 == r2 { format!("{r1}, twice") } else { format!("{r1} and {r2}") };
            Proof::Agreed { view: Box::new(first.clone()), evidence: format!("read from {from}: {}", describe(first)) }
        }
        [(r1, first), (r2, second), ..] => {
            Proof::Contradicted { why: format!("{r1} says {}, {r2} says {}", describe(first), describe(second)) }
        }
        _ => Proof::Unknown { why: silent.join("; ") },
    }
}

async fn futures_join(
    cloud: &dyn Cloud,
    identifier: &str,
    regions: &[Region],
) -> Vec<(Region, Result<GlobalCluster, ObserveError>)> {
    // The first Region of the list is the one that must answer on the worst day; the others are asked beside it, so
    // that a Region that hangs costs one timeout and not one after another.
    let asked = regions.iter().map(|r| async move { (r.clone(), cloud.global_cluster(r, identifier).await) });
    futures_util::future::join_all(asked).await
}

/// Whether two readings tell the same about who writes and what is in progress.
fn same(a: &GlobalCluster, b: &GlobalCluster) -> bool {
    let writers = |g: &GlobalCluster| {
        let mut w: Vec<_> = g.members.iter().filter(|m| m.is_writer).map(|m| m.arn.clone()).collect();
        w.sort();
        w
    };
    a.status == b.status
        && a.failover.as_ref().map(|f| &f.status) == b.failover.as_ref().map(|f| &f.status)
        && writers(a) == writers(b)
}

/// One line about a global cluster.
pub fn describe(view: &GlobalCluster) -> String {
    let writer =
        view.writer().map_or_else(|| "no single writer".to_owned(), |w| format!("writer {}", w.arn.identifier()));
    let busy = view.failover.as_ref().map_or_else(String::new, |f| format!(", {} in progress", f.status));
    format!("{} {}, {writer}{busy}", view.identifier, view.status)
}

/// Whether an operation that moves the writer to `target` is pending or in progress.
pub fn moving_to(view: &GlobalCluster, target: &ClusterArn) -> bool {
    view.failover.as_ref().is_some_and(|f| f.to.as_ref() == Some(target))
}
