//! What everything in the engine that acts for one application works with.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        application::Application,
        cloud::{Mutation, Outcome},
        id::{RunId, StepId, StoreName},
    },
    engine::{
        ages::Ages, blind::Blind, budget::Spendings, capacities::Capacities, metrics::MetricReader, pulse::Pulse,
        scribe::Scribe, signatures::Signatures, signs::Signs, tenancy::Tenancy, trail::WriteTrail, trend::Trend,
        vantages::Vantages,
    },
    ports::{Clock, Cloud, Databases, Probes},
};

/// One application's surroundings; cheap to clone.
#[derive(Debug, Clone)]
pub struct Context {
    pub application: Arc<Application>,
    pub scribe: Arc<Scribe>,
    pub cloud: Arc<dyn Cloud>,
    /// CloudWatch for the watchers of all applications; a guard asks `cloud`.
    pub readings: Arc<MetricReader>,
    pub probes: Arc<dyn Probes>,
    /// Those of stores that have a heartbeat, over its connection settings.
    pub databases: Arc<dyn Databases>,
    pub clock: Arc<dyn Clock>,
    pub trail: Arc<WriteTrail>,
    pub capacities: Arc<Capacities>,
    pub unsent: Arc<Unsent>,
    pub(super) blind: Arc<Blind>,
    pub waits: Arc<Waits>,
    pub ages: Arc<Ages>,
    /// How long a call that is kept for a time has been in effect.
    pub holds: Arc<Ages>,
    /// How long a drill has been away, and its target has served.
    pub spendings: Arc<Spendings>,
    /// How long ago the calls were intended that were never answered.
    pub unanswered: Arc<Ages>,
    /// For how long AWS takes what is held up on its way.
    pub signatures: Arc<Signatures>,
    pub signs: Arc<Signs>,
    /// Of the last hour, for people.
    pub trend: Arc<Trend>,
    pub vantages: Arc<Vantages>,
    /// Of each store that has a heartbeat.
    pub pulses: Arc<BTreeMap<StoreName, Pulse>>,
    /// Whether this replica may act for the application now.
    pub tenancy: Tenancy,
    /// The daemon is stopping: no new intent, no new effect; a bounded call under way is finished (FAULTS.md 6).
    pub stopping: CancellationToken,
}

impl Context {
    /// Sends `mutation`, once, signed as of `intended_at`; not at all where its end would not be within this replica's lease. Every call that
    /// changes something leaves through here, whatever was asked before.
    pub async fn apply(&self, mutation: &Mutation, intended_at: Timestamp) -> Outcome {
        match self.tenancy.has_room(self.clock.boot()) {
            true => self.cloud.apply(mutation, intended_at).await,
            false => {
                Outcome::NotSent { reason: "this replica's lease is over, or would be before the call is".to_owned() }
            }
        }
    }
}

/// Intents that this process made durable together with the end of the step before, and has not sent yet. After a
/// crash the set is empty, and every open intent counts as perhaps sent.
#[derive(Debug, Default)]
pub struct Unsent(Mutex<BTreeSet<(RunId, StepId)>>);

impl Unsent {
    pub fn note(&self, run: &RunId, step: &StepId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((run.clone(), step.clone()));
    }

    /// Whether the open intent of `step` is certainly unsent. True once.
    pub fn take(&self, run: &RunId, step: &StepId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&(run.clone(), step.clone()))
    }
}

/// Why each step that looks or waits is not done yet, as of its last look: for people. Not journalled, since it changes
/// with every look and nothing is decided by it.
#[derive(Debug, Default)]
pub struct Waits(Mutex<BTreeMap<(RunId, StepId), String>>);

impl Waits {
    /// Notes why `step` waits; logged when it changes.
    pub fn note(&self, run: &RunId, step: &StepId, why: &str) {
        let mut waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = waits.entry((run.clone(), step.clone())).or_default();
        if slot != why {
            tracing::info!(%run, %step, why, "the step waits");
            why.clone_into(slot);
        }
    }

    pub fn forget(&self, run: &RunId, step: &StepId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&(run.clone(), step.clone()));
    }

    /// Why each step of `run` waits.
    pub fn of(&self, run: &RunId) -> BTreeMap<StepId, String> {
        let waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waits.iter().filter(|((of, _), _)| of == run).map(|((_, step), why)| (step.clone(), why.clone())).collect()
    }
}
