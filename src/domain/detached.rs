//! A cluster that a run has taken out of its global cluster (`aurora.detach`), as the journal tells it.
//!
//! Invariant: what stands here was observed when the step was done. Whether it still stands alone is for a reading to
//! say: people may have rebuilt the global cluster since.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    action::Action,
    application::ClusterArn,
    id::{RunId, StoreName},
};

/// See the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detached {
    pub store: StoreName,
    pub cluster: ClusterArn,
    /// That it was a member of.
    pub global_cluster: String,
    pub run: RunId,
    pub at: Timestamp,
}

impl Detached {
    /// What a step of `action` that is done has detached: nothing, where its evidence says that there was no need.
    pub fn by(
        action: &Action,
        outputs: &std::collections::BTreeMap<String, Value>,
        run: &RunId,
        at: Timestamp,
    ) -> Option<Self> {
        let Action::AuroraDetach { store, global_cluster, target, .. } = action else { return None };
        let stands_alone = outputs.get("standalone") == Some(&Value::Bool(true));
        stands_alone.then(|| Self {
            store: store.clone(),
            cluster: target.clone(),
            global_cluster: global_cluster.clone(),
            run: run.clone(),
            at,
        })
    }

    /// Why no writer moves, for people, and what they do about it.
    pub fn in_the_way(&self) -> String {
        let (cluster, global) = (self.cluster.identifier(), &self.global_cluster);
        format!(
            "{cluster} was detached from the global cluster {global} by {} at {}, and stands alone since: there is no \
             global cluster in which its writer could move. People rebuild it first: fence the old writer and rescue what \
             it holds, delete what is left of {global}, create it again from {} (rds:CreateGlobalCluster with \
             SourceDBClusterIdentifier), add a secondary in the other Region, and let the configuration name the clusters \
             that there are (docs/runbooks.md, \"After a detachment\")",
            self.run, self.at, self.cluster
        )
    }
}
