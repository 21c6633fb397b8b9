//! [`Heartbeats`] over the world: a beat is a commit of the Region's own cluster, and is found wherever that commit is.
//!
//! Invariant: what a promotion loses of the application's writes it loses of the beats too; nothing here copies a beat
//! from one Region to another. Whoever sees the application's servers sees its databases: a Region that is cut off
//! answers neither.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use super::{LiveWorld, Outside};
use crate::{
    domain::{
        heartbeat::{Beat, BeatAnswer, DatabaseEndpoint, Row, Shown},
        id::BeaterId,
    },
    ports::{Heartbeats, heartbeat::LookError},
    sim::world::{Plane, Reach, World, aurora::WriteRefused},
};

/// A round trip to a database of another Region. [INF]
const ROUND_TRIP: Duration = Duration::from_millis(70);

/// Which commit holds which beat. Outlives the processes, as the databases do.
pub type Beats = Arc<Mutex<BTreeMap<u64, Row>>>;

/// See the module.
#[derive(Debug, Clone)]
pub struct SimHeartbeats {
    world: LiveWorld,
    beats: Beats,
    outside: Outside,
}

impl SimHeartbeats {
    pub fn new(world: LiveWorld, beats: Beats) -> Self {
        Self { world, beats, outside: Outside::default() }
    }

    /// Those of a machine that may not reach the databases.
    pub fn beside(self, outside: Outside) -> Self {
        Self { outside, ..self }
    }

    /// `None` where nothing answers.
    pub(super) async fn at<T>(
        &self,
        at: &DatabaseEndpoint,
        ask: impl FnOnce(&mut World, &str) -> Option<T>,
    ) -> Option<T> {
        self.world.clock().sleep(ROUND_TRIP / 2).await;
        let answer = self.world.now(|world| {
            let arn = cluster_of(world, at)?;
            let is_reached =
                !self.outside.hides_application() && world.planes.reach(Plane::Network, &at.region) == Reach::Up;
            is_reached.then(|| ask(world, &arn)).flatten()
        });
        let rest = if answer.is_some() { ROUND_TRIP / 2 } else { at.timeout.saturating_sub(ROUND_TRIP / 2) };
        self.world.clock().sleep(rest).await;
        answer
    }

    fn held(&self, world: &World, arn: &str) -> Vec<Row> {
        let beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        let commits = world.aurora.cluster(arn).map_or(&[][..], |c| c.commits());
        commits.iter().filter_map(|commit| beats.get(&commit.id).cloned()).collect()
    }
}

/// The cluster in the endpoint's Region whose name the host begins with, or the only one.
fn cluster_of(world: &World, at: &DatabaseEndpoint) -> Option<String> {
    let clusters: Vec<_> = world.aurora.clusters(&at.region).collect();
    let named = clusters.iter().find(|c| at.address.host.split('.').next() == Some(c.id.as_str()));
    named.or(clusters.first().filter(|_| clusters.len() == 1)).map(|c| c.arn.clone())
}

#[async_trait]
impl Heartbeats for SimHeartbeats {
    async fn beat(&self, at: &DatabaseEndpoint, beat: &Beat) -> BeatAnswer {
        let row = Row { beater: beat.beater.clone(), number: beat.number, written_at: beat.sent_at };
        let answer = self
            .at(at, |world, arn| match world.beat(arn) {
                Ok(commit) => {
                    self.beats.lock().unwrap_or_else(PoisonError::into_inner).insert(commit.id, row);
                    Some(BeatAnswer::Acknowledged)
                }
                Err(WriteRefused::ReadOnly) => {
                    Some(BeatAnswer::Refused { reason: "cannot execute INSERT in a read-only transaction".to_owned() })
                }
                Err(WriteRefused::Unreachable) => None,
            })
            .await;
        answer.unwrap_or_else(|| BeatAnswer::Unknown { reason: format!("no answer within {:?}", at.timeout) })
    }

    async fn last_beat(&self, at: &DatabaseEndpoint, beater: &BeaterId) -> Result<Shown, LookError> {
        let shown = self.at(at, |world, arn| {
            let cluster = world.aurora.cluster(arn)?;
            let (is_up, in_recovery) = (cluster.is_up(&world.planes), !cluster.takes_writes(&world.planes));
            let rows = self.held(world, arn);
            is_up.then(|| Shown {
                newest: rows.iter().rev().find(|row| row.beater == *beater).cloned(),
                newest_of_any: rows.last().cloned(),
                in_recovery,
            })
        });
        shown.await.ok_or_else(|| silent(at))
    }

    async fn beats_held(
        &self,
        at: &DatabaseEndpoint,
        beater: &BeaterId,
        from: u64,
    ) -> Result<BTreeSet<u64>, LookError> {
        let held = self.at(at, |world, arn| {
            let is_up = world.aurora.cluster(arn)?.is_up(&world.planes);
            let rows = self.held(world, arn).into_iter();
            is_up.then(|| rows.filter(|r| r.beater == *beater && from <= r.number).map(|r| r.number).collect())
        });
        held.await.ok_or_else(|| silent(at))
    }
}

pub(super) fn silent(at: &DatabaseEndpoint) -> LookError {
    LookError::NoAnswer { at: at.address.to_string(), reason: format!("no answer within {:?}", at.timeout) }
}
