//! RDS events: what `DescribeEvents` returns, with AWS's message texts.
//!
//! Texts of 0181 to 0187, 0238 to 0241 follow [AUG:Event messages]; those of 0390, 0391 and 0397 are built from
//! the sentences that AUG quotes, their exact wording is UNCONFIRMED. The id is kept for the notification
//! paths: the API does not return it.

use super::{
    super::{Context, Planes, SimTime},
    Aurora, Cluster,
};
use crate::domain::id::Region;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceType {
    DbCluster,
    DbInstance,
    DbClusterSnapshot,
}

impl SourceType {
    /// The text on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DbCluster => "db-cluster",
            Self::DbInstance => "db-instance",
            Self::DbClusterSnapshot => "db-cluster-snapshot",
        }
    }
}

/// One event, in the Region where it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The number in `RDS-EVENT-0238`.
    pub id: u16,
    pub at: SimTime,
    pub region: Region,
    pub source_type: SourceType,
    pub source_id: String,
    pub source_arn: String,
    pub category: &'static str,
    pub message: String,
}

/// The category of every event of this module.
const GLOBAL_FAILOVER: &str = "global failover";

impl Aurora {
    /// Records an event of the cluster `arn` in its own Region; nothing where that Region cannot be reached.
    pub(super) fn record_cluster_event(&mut self, arn: &str, id: u16, message: String, ctx: &mut Context<'_>) {
        let Some(cluster) = self.clusters.get(arn) else {
            return;
        };
        if !can_record(cluster, ctx.planes) {
            return;
        }
        let event = Event {
            id,
            at: ctx.now,
            region: cluster.region.clone(),
            source_type: SourceType::DbCluster,
            source_id: cluster.id.clone(),
            source_arn: cluster.arn.clone(),
            category: GLOBAL_FAILOVER,
            message,
        };
        self.record(event, ctx);
    }

    /// Records an event of the operation's both ends, `named` being the cluster that the text names.
    pub(super) fn record_at_both_ends(
        &mut self,
        ends: [&str; 2],
        named: &str,
        id: u16,
        text: impl Fn(&str, &Region) -> String,
        ctx: &mut Context<'_>,
    ) {
        let Some(message) = self.clusters.get(named).map(|c| text(&c.id, &c.region)) else {
            return;
        };
        for arn in ends {
            self.record_cluster_event(arn, id, message.clone(), ctx);
        }
    }

    /// Records an event of the writer instance of `arn`.
    pub(super) fn record_instance_event(&mut self, arn: &str, id: u16, message: &str, ctx: &mut Context<'_>) {
        let Some(cluster) = self.clusters.get(arn) else {
            return;
        };
        let Some(instance) = cluster.instances.first() else {
            return;
        };
        let event = Event {
            id,
            at: ctx.now,
            region: cluster.region.clone(),
            source_type: SourceType::DbInstance,
            source_id: instance.id.clone(),
            source_arn: cluster.instance_arn(instance),
            category: GLOBAL_FAILOVER,
            message: message.to_owned(),
        };
        self.record(event, ctx);
    }

    pub(super) fn record(&mut self, event: Event, ctx: &mut Context<'_>) {
        super::tell(
            ctx,
            "aurora.event",
            format!("RDS-EVENT-{:04} {} in {}: {}", event.id, event.source_id, event.region, event.message),
        );
        self.events.push(event);
    }
}

/// A Region that is cut off or lost hears of nothing that is decided elsewhere.
fn can_record(cluster: &Cluster, planes: &Planes) -> bool {
    planes.reach(super::super::Plane::Network, &cluster.region) == super::super::Reach::Up
}
