//! Clusters that were taken out of their global cluster: whether one stands alone, and the proof of a store's writer
//! where one does.
//!
//! Invariants: that a cluster stands alone is said by two readings in a row that agree, each of them of the global
//! cluster (which lists it no more, wherever it is shown) and of the cluster itself (available, a member of nothing).
//! Such a cluster counts as a store's writer only where the journal says that a run of ours has detached it: a cluster
//! that somebody else made is nobody's proof. The old writer is not fenced by any of this, and nothing here says so.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, future, stream::FuturesUnordered};
use serde_json::json;

use crate::{
    domain::{
        application::ClusterArn,
        cloud::{GlobalCluster, ObserveError},
        detached::Detached,
        id::{Region, StoreName},
    },
    engine::{
        aurora::{self, Proof},
        context::Context,
        denial::Denial,
        guards::Answer,
        observe::Seen,
    },
};

/// How a cluster stands that was detached, or is about to be.
#[derive(Debug)]
pub(super) enum Standing {
    Alone {
        evidence: String,
    },
    /// A global cluster lists it, or it says itself that it belongs to one.
    Member,
    /// It has left, and does not serve yet.
    Settling {
        what: String,
    },
    Unknown {
        why: String,
    },
    Denied(Denial),
}

/// Whether `target` is the writer of its store.
#[derive(Debug)]
pub(super) enum Writer {
    Proven { evidence: String },
    Not { why: String },
    Unknown { why: String },
    Denied(Denial),
}

/// What the journal says of `store`.
pub(super) fn of_store(context: &Context, store: &StoreName) -> Option<Detached> {
    context.scribe.history().detached.get(store).cloned()
}

fn of_cluster(context: &Context, cluster: &ClusterArn) -> Option<Detached> {
    context.scribe.history().detached.values().find(|d| d.cluster == *cluster).cloned()
}

/// Two readings that agree, or what stands in the way of that.
pub(super) async fn standing(
    context: &Context,
    global_cluster: &str,
    cluster: &ClusterArn,
    observe_in: &[Region],
) -> Standing {
    match read(context, global_cluster, cluster, observe_in).await {
        Standing::Alone { evidence } => {
            context.clock.sleep(aurora::POLL).await;
            match read(context, global_cluster, cluster, observe_in).await {
                Standing::Alone { .. } => Standing::Alone { evidence: format!("read twice: {evidence}") },
                other => other,
            }
        }
        other => other,
    }
}

/// One reading. The Region of the cluster must answer; what the others do not say is silence.
async fn read(context: &Context, global_cluster: &str, cluster: &ClusterArn, observe_in: &[Region]) -> Standing {
    let (cloud, home) = (&*context.cloud, cluster.region());
    let lists = |view: &GlobalCluster| view.members.iter().any(|m| m.arn == *cluster);
    let (seen, here) = future::join(cloud.db_cluster(cluster), cloud.global_cluster(home, global_cluster)).await;
    let seen = match seen {
        Ok(seen) => seen,
        Err(error) => return unread("rds:DescribeDBClusters", home, &error),
    };
    let own = match here {
        Ok(view) if lists(&view) => return Standing::Member,
        Ok(view) => format!("{home} shows {global_cluster} without it ({})", aurora::describe(&view)),
        Err(ObserveError::NotFound { .. }) => format!("{home} shows no {global_cluster}"),
        Err(error) => return unread("rds:DescribeGlobalClusters", home, &error),
    };
    if seen.global.is_some() {
        return Standing::Member;
    }
    let others = observe_in.iter().filter(|r| *r != home);
    let mut asked: FuturesUnordered<_> =
        others.map(|r| async move { (r, cloud.global_cluster(r, global_cluster).await) }).collect();
    let mut grace = std::pin::pin!(context.clock.sleep(aurora::GRACE));
    let mut votes = vec![own];
    loop {
        tokio::select! {
            biased;
            answer = asked.next() => match answer {
                Some((_, Ok(view))) if lists(&view) => {
                    return Standing::Member;
                }
                Some((region, Ok(_) | Err(ObserveError::NotFound { .. }))) => votes.push(format!("{region} does not list it")),
                Some((_, Err(_))) => {}
                None => break,
            },
            () = &mut grace => break,
        }
    }
    let name = cluster.identifier();
    if seen.status != "available" || seen.instances == 0 {
        return Standing::Settling { what: format!("{name} is {}, {} instance(s)", seen.status, seen.instances) };
    }
    Standing::Alone {
        evidence: format!("{name} stands alone, available, {} instance(s); {}", seen.instances, votes.join(", ")),
    }
}

fn unread(operation: &str, region: &Region, error: &ObserveError) -> Standing {
    match Denial::of(operation, Some(region), error) {
        Some(denial) => Standing::Denied(denial),
        None => Standing::Unknown { why: format!("{region}: {error}") },
    }
}

/// Whether the detachment of `target` shows.
pub(super) async fn observe(
    context: &Context,
    global_cluster: &str,
    target: &ClusterArn,
    observe_in: &[Region],
) -> Seen {
    let outputs = |alone: bool| {
        BTreeMap::from([("writer".to_owned(), json!(target.as_str())), ("standalone".to_owned(), json!(alone))])
    };
    match standing(context, global_cluster, target, observe_in).await {
        Standing::Alone { evidence } => {
            let unfenced =
                format!("nothing fences the old writer: it is the writer still of what is left of {global_cluster}");
            return Seen::Done { evidence: vec![evidence, unfenced], outputs: outputs(true) };
        }
        Standing::Settling { what } => return Seen::Moving { what },
        Standing::Denied(denial) => return Seen::Denied(denial),
        Standing::Member | Standing::Unknown { .. } => {}
    }
    match aurora::prove(&*context.cloud, &*context.clock, global_cluster, observe_in).await {
        // A planned move that ended after all: there is nothing to detach.
        Proof::Agreed { view, evidence } if view.is_settled_on(target) => Seen::Done {
            evidence: vec![evidence, "it is the writer: nothing was detached".to_owned()],
            outputs: outputs(false),
        },
        Proof::Agreed { view, .. } if view.is_settled() && view.members.iter().any(|m| m.arn == *target) => {
            Seen::Before { what: aurora::describe(&view) }
        }
        Proof::Agreed { view, .. } => Seen::Moving { what: aurora::describe(&view) },
        Proof::Contradicted { why } => Seen::Moving { what: why },
        Proof::Unknown { why } => Seen::Unknown { why },
        Proof::Denied(denial) => Seen::Denied(denial),
    }
}

/// The proof of S5: `target` is the settled writer of its global cluster, or stands alone since a run of ours detached it.
/// While another stands alone nothing else is the writer of the store, whatever is left of its global cluster says.
pub(super) async fn writer(
    context: &Context,
    global_cluster: &str,
    target: &ClusterArn,
    observe_in: &[Region],
) -> Writer {
    let other = context.scribe.history().detached.values().find(|d| d.global_cluster == global_cluster).cloned();
    if let Some(other) = other.filter(|d| d.cluster != *target) {
        match standing(context, global_cluster, &other.cluster, observe_in).await {
            Standing::Member => {}
            // What is left of the global cluster has a writer too, of data that nobody has gone on from.
            Standing::Alone { .. } | Standing::Settling { .. } | Standing::Unknown { .. } => {
                return Writer::Not { why: other.in_the_way() };
            }
            Standing::Denied(denial) => return Writer::Denied(denial),
        }
    } else if of_cluster(context, target).is_some() {
        match standing(context, global_cluster, target, observe_in).await {
            Standing::Alone { evidence } => return Writer::Proven { evidence },
            Standing::Settling { what } => return Writer::Not { why: what },
            Standing::Unknown { why } => return Writer::Unknown { why },
            Standing::Denied(denial) => return Writer::Denied(denial),
            // People have rebuilt the global cluster: it tells.
            Standing::Member => {}
        }
    }
    match aurora::prove(&*context.cloud, &*context.clock, global_cluster, observe_in).await {
        Proof::Agreed { view, evidence } if view.is_settled_on(target) => Writer::Proven { evidence },
        Proof::Agreed { view, .. } => Writer::Not { why: aurora::describe(&view) },
        Proof::Contradicted { why } | Proof::Unknown { why } => Writer::Unknown { why },
        Proof::Denied(denial) => Writer::Denied(denial),
    }
}

/// Why no writer moves between `from` and `target`: one of them was detached, and has not been shown to be a member again.
/// Where its Region does not answer the journal's word stands.
pub(super) async fn in_the_way(
    context: &Context,
    from: &ClusterArn,
    target: &ClusterArn,
    observe_in: &[Region],
) -> Option<Answer> {
    let detached = of_cluster(context, from).or_else(|| of_cluster(context, target))?;
    match standing(context, &detached.global_cluster, &detached.cluster, observe_in).await {
        Standing::Member => None,
        Standing::Alone { .. } | Standing::Settling { .. } | Standing::Unknown { .. } => {
            Some(Answer::fails(detached.in_the_way()))
        }
        Standing::Denied(denial) => Some(Answer::Denied(denial)),
    }
}

/// Where the writer of `store` is, if the journal says that it was detached and nothing read says otherwise.
pub(super) async fn writer_region(context: &Context, store: &StoreName) -> Option<Region> {
    let detached = of_store(context, store)?;
    match context.cloud.db_cluster(&detached.cluster).await {
        Ok(seen) if seen.global.is_some() => None,
        Ok(_) | Err(_) => Some(detached.cluster.region().clone()),
    }
}
