//! [`Databases`] over the world: what a cluster of the Region would answer, and the sessions that its clients hold.
//!
//! Invariant: a Region that is cut off answers nothing, and a write that is tried leaves nothing in any cluster.

use async_trait::async_trait;

use super::heartbeats::{SimHeartbeats, silent};
use crate::{
    domain::{
        cloud::Outcome,
        database::{ServerState, Sessions, WriteAnswer},
        heartbeat::DatabaseEndpoint,
    },
    ports::{Databases, heartbeat::LookError},
};

/// Whether the host is Aurora's endpoint for writers, by its form: it is inactive where there is none [AUG].
fn is_cluster_endpoint(host: &str) -> bool {
    let second = host.split('.').nth(1).unwrap_or_default();
    second.starts_with("cluster-") && !second.starts_with("cluster-ro-")
}

#[async_trait]
impl Databases for SimHeartbeats {
    async fn state(&self, at: &DatabaseEndpoint) -> Result<ServerState, LookError> {
        let state = self.at(at, |world, arn| {
            let cluster = world.aurora.cluster(arn)?;
            let takes = cluster.takes_writes(&world.planes);
            cluster.is_up(&world.planes).then_some(ServerState { in_recovery: !takes, read_only: !takes })
        });
        state.await.ok_or_else(|| silent(at))
    }

    async fn try_write(&self, at: &DatabaseEndpoint) -> WriteAnswer {
        let is_of_writers = is_cluster_endpoint(&at.address.host);
        let answer = self.at(at, |world, arn| {
            let cluster = world.aurora.cluster(arn)?;
            if is_of_writers && !cluster.takes_writes(&world.planes) {
                return None;
            }
            cluster.is_up(&world.planes).then(|| match cluster.takes_writes(&world.planes) {
                true => WriteAnswer::Taken,
                false => WriteAnswer::Refused { reason: "cannot execute INSERT in a read-only transaction".to_owned() },
            })
        });
        answer.await.unwrap_or_else(|| WriteAnswer::Unknown { reason: format!("no answer within {:?}", at.timeout) })
    }

    async fn sessions(&self, at: &DatabaseEndpoint) -> Result<Sessions, LookError> {
        let sessions = self.at(at, |world, arn| {
            let count = world.aurora.cluster(arn)?.is_up(&world.planes).then(|| world.clients.sessions(arn))?;
            let roles = if count == 0 { Vec::new() } else { vec!["application".to_owned()] };
            Some(Sessions { count, roles })
        });
        sessions.await.ok_or_else(|| silent(at))
    }

    async fn end_sessions(&self, at: &DatabaseEndpoint) -> Outcome {
        let ended =
            self.at(at, |world, arn| world.aurora.cluster(arn)?.is_up(&world.planes).then(|| world.end_sessions(arn)));
        match ended.await {
            Some(()) => Outcome::Accepted { request_id: None, handle: None },
            None => Outcome::NotSent { reason: format!("no connection within {:?}", at.timeout) },
        }
    }
}
