//! Looking at a global cluster from several Regions, and what two readings together prove.
//!
//! One endpoint may be stale, and one may be gone with its Region: a proof is two fresh readings that agree, from two
//! endpoints where two answer, else two in a row from the one that does (FAULTS.md 35).

use std::time::Duration;

use futures_util::{StreamExt as _, future::OptionFuture, stream::FuturesUnordered};

use crate::{
    domain::{
        application::ClusterArn,
        cloud::{GlobalCluster, ObserveError},
        id::Region,
        sabotage::{Guard, is_off},
    },
    engine::denial::Denial,
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
    /// Too few answered, and the Region that must answer refuses us.
    Denied(Denial),
}

/// How long the other Regions may take once one has answered: a Region that hangs must not cost the poll its timeout.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// Reads from every Region of `observe_in` at once, until two have answered; the second reading of a single survivor
/// comes one grace later. The first Region is the one that must live: what the others refuse is only silence.
pub async fn prove(cloud: &dyn Cloud, clock: &dyn Clock, identifier: &str, observe_in: &[Region]) -> Proof {
    let endpoints = observe_in.iter().take(if is_off(Guard::OneEndpoint) { 1 } else { usize::MAX });
    let mut asked: FuturesUnordered<_> =
        endpoints.map(|r| async move { (r.clone(), cloud.global_cluster(r, identifier).await) }).collect();
    let mut views: Vec<(Region, GlobalCluster)> = Vec::new();
    let mut silent = Vec::new();
    let mut grace = OptionFuture::from(None);
    let mut answered_at = clock.boot();
    while views.len() < if is_off(Guard::OneReading) { 1 } else { 2 } {
        tokio::select! {
            biased;
            // An answer that comes with the end of the grace counts.
            answer = asked.next() => match answer {
                Some((region, Ok(view))) => {
                    views.push((region, view));
                    answered_at = clock.boot();
                    grace = OptionFuture::from(Some(clock.sleep(GRACE)));
                }
                Some((region, Err(error))) => silent.push((region, error)),
                None => break,
            },
            Some(()) = &mut grace => break,
        }
    }
    if let [(region, _)] = &views[..]
        && !is_off(Guard::OneReading)
    {
        let region = region.clone();
        clock.sleep(GRACE.saturating_sub(clock.boot().saturating_sub(answered_at))).await;
        match cloud.global_cluster(&region, identifier).await {
            Ok(view) => views.push((region, view)),
            Err(error) => silent.push((region, error)),
        }
    }
    judge(&views, &silent, observe_in.first())
}

fn judge(views: &[(Region, GlobalCluster)], silent: &[(Region, ObserveError)], needed: Option<&Region>) -> Proof {
    match views {
        [(r1, first)] if is_off(Guard::OneReading) => {
            Proof::Agreed { view: Box::new(first.clone()), evidence: format!("read from {r1}: {}", describe(first)) }
        }
        [(r1, first), (r2, second), ..] if same(first, second) || is_off(Guard::Contradiction) => {
            let from = if r1 == r2 { format!("{r1}, twice") } else { format!("{r1} and {r2}") };
            let evidence = format!("read from {from}: {}", describe(first));
            Proof::Agreed { view: Box::new(first.clone()), evidence }
        }
        [(r1, first), (r2, second), ..] => {
            Proof::Contradicted { why: format!("{r1} says {}, {r2} says {}", describe(first), describe(second)) }
        }
        _ => {
            let refused = silent.iter().filter(|(region, _)| Some(region) == needed);
            let denial = |(r, error): &(Region, ObserveError)| Denial::of("rds:DescribeGlobalClusters", Some(r), error);
            let why =
                || silent.iter().map(|(region, error)| format!("{region}: {error}")).collect::<Vec<_>>().join("; ");
            refused.filter_map(denial).next().map_or_else(|| Proof::Unknown { why: why() }, Proof::Denied)
        }
    }
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
