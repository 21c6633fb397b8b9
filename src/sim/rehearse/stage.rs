//! The world that an operator's configuration describes: its databases, servers, records, health checks, alarms,
//! topics, and clients that use the application by its public name.
//!
//! Invariant: what the configuration names is there under the same name, or the world is refused with the key that
//! cannot be simulated, all such keys at once. What is simulated in part only, [`remarks`] says.
//!
//! It breaks nothing, and knows nothing of the engine that will act in this world. What a configuration does not say
//! (what stands behind a health check, an alarm, a record) is chosen as AWS's guides advise, and said where it is.

mod buckets;
mod databases;
pub(super) mod fenced;
mod servers;
mod services;
mod standby_object;
mod traffic;
mod watching;

use std::{collections::BTreeMap, fmt::Display};

use servers::Servers;
pub use services::{furnish, furnish_faults};

use crate::{
    domain::{
        application::{Application, Mechanism, Traffic},
        id::{ApplicationName, Region},
    },
    sim::{
        oracle::Known,
        world::{SimTime, World},
    },
};

/// What a key of the configuration asks for and the simulation does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{application}: {key}: {why}")]
pub struct Unbuildable {
    pub application: ApplicationName,
    /// Below the application, such as `stores.orders.clusters.us-east-1`.
    pub key: String,
    pub why: String,
}

/// What a rehearsal chooses and a configuration does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choices {
    /// Where the application lives at the start; `None` is the preferred Region.
    pub active: Option<Region>,
    /// Clients outside all Regions. Each makes six requests per second of the world, which is what most of a
    /// rehearsal's time goes into.
    pub clients: usize,
}

impl Default for Choices {
    /// The preferred Region; two clients, so that they can disagree.
    fn default() -> Self {
        Self { active: None, clients: 2 }
    }
}

/// The world of `application` at `start`, everything up and in step, and what the oracle is told of it.
///
/// # Errors
/// Every key that cannot be simulated.
pub fn world(application: &Application, seed: u64, start: SimTime) -> Result<(World, Known), Vec<Unbuildable>> {
    world_with(application, seed, start, &Choices::default())
}

/// The same, with `choices`.
///
/// # Errors
/// As [`world`]; also where the active Region is none of the application's.
pub fn world_with(
    application: &Application,
    seed: u64,
    start: SimTime,
    choices: &Choices,
) -> Result<(World, Known), Vec<Unbuildable>> {
    let mut faults = Faults { application: &application.name, found: Vec::new() };
    let Some(preferred) = application.regions.first() else {
        faults.add("regions", "is empty");
        return Err(faults.found);
    };
    let active = choices.active.clone().unwrap_or_else(|| preferred.clone());
    if !application.regions.contains(&active) {
        faults.add("regions", format!("{active}, which is to be active, is not among them"));
    }
    let settle_ms = settle_ms(application, &active);
    let mut stage = Stage { application, active, world: World::new(seed, SimTime(start.0.saturating_sub(settle_ms))) };
    let Some(servers) = Servers::plan(application, &mut faults) else {
        return Err(faults.found);
    };
    databases::build(&mut stage, &mut faults);
    topics(&mut stage, &mut faults);
    traffic::build(&mut stage, &mut faults);
    servers.build(&mut stage);
    watching::build(&mut stage, &servers, &mut faults);
    buckets::build(&mut stage);
    if !faults.found.is_empty() {
        return Err(faults.found);
    }
    stage.settle(start);
    stage.world.clients.start(choices.clients, servers.public_name(), &databases::written(application), start);
    let known = known(application, &servers);
    Ok((stage.world, known))
}

/// What of `application` is simulated in part only, for people, one sentence each.
pub fn remarks(application: &Application) -> Vec<String> {
    let mut remarks = Vec::new();
    if application.stores.is_empty() {
        remarks.push("there are no stores: what the clients write is in all Regions and is never lost".to_owned());
    }
    let mut stores = application.stores.keys();
    if let Some(first) = stores.next() {
        remarks.extend(stores.map(|store| {
            format!("store `{store}` moves and lags, and the clients write to `{first}` only: its losses are not seen")
        }));
    }
    let public = Servers::public_name_of(application);
    let others = application.traffic.iter().filter(|(_, t)| Some(plain_name(&t.record_name)) != public);
    remarks.extend(others.map(|(name, traffic)| {
        format!(
            "dns `{name}` moves, and the clients do not use {}: whether it is served is not seen",
            traffic.record_name
        )
    }));
    remarks
}

/// What is being put together.
struct Stage<'a> {
    application: &'a Application,
    active: Region,
    world: World,
}

/// What could not be built so far.
struct Faults<'a> {
    application: &'a ApplicationName,
    found: Vec<Unbuildable>,
}

impl Faults<'_> {
    fn add(&mut self, key: impl Display, why: impl Into<String>) {
        let fault = Unbuildable { application: self.application.clone(), key: key.to_string(), why: why.into() };
        // One value may stand in the way of several parts.
        if !self.found.contains(&fault) {
            self.found.push(fault);
        }
    }
}

impl Stage<'_> {
    /// Lets health checks, alarms and records find the state that they are in when all has long been well; nobody
    /// uses the application yet, and none of it is part of the history.
    fn settle(&mut self, start: SimTime) {
        let mut minute = self.world.now;
        while minute < start {
            traffic::put_signals(self);
            minute = minute.plus_ms(60_000).min(start);
            self.world.advance_to(minute);
        }
        self.world.log.clear();
    }
}

/// How long the world is left to itself before the start. A routing control that is off is out of DNS within
/// seconds; a metric that diverts traffic needs whole minutes, and an inverted check that is new some rounds of checks.
fn settle_ms(application: &Application, active: &Region) -> u64 {
    let diverted = application.regions.first() != Some(active);
    let by_signal = |t: &Traffic| matches!(t.mechanism, Mechanism::HealthSignal { .. });
    let by_object = |t: &Traffic| matches!(t.mechanism, Mechanism::StandbyObject { .. });
    if diverted && application.traffic.values().any(by_signal) {
        300_000
    } else if application.traffic.values().any(by_object) {
        180_000
    } else {
        60_000
    }
}

fn topics(stage: &mut Stage<'_>, faults: &mut Faults<'_>) {
    for (index, topic) in stage.application.topics.iter().enumerate() {
        let key = format!("topics[{index}].arn");
        if topic.arn.ends_with(".fifo") {
            faults.add(&key, "FIFO topics are not simulated");
        }
        let now = stage.world.now;
        if let Err(fault) = stage.world.sns.put_topic(&topic.region, &topic.arn, now) {
            faults.add(&key, format!("{}: the simulated AWS is the partition `aws`", fault.message));
        }
    }
}

fn known(application: &Application, servers: &Servers) -> Known {
    let ms = |d: std::time::Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    let public = application.traffic.values().find(|t| plain_name(&t.record_name) == servers.public_name());
    let controls = match public.map(|t| &t.mechanism) {
        Some(Mechanism::RoutingControls { controls, .. }) => controls.clone(),
        Some(Mechanism::HealthSignal { .. } | Mechanism::StandbyObject { .. } | Mechanism::Records { .. }) | None => {
            BTreeMap::new()
        }
    };
    Known {
        application: application.name.to_string(),
        regions: application.regions.clone(),
        rpo_ms: ms(application.objectives.rpo),
        rto_ms: ms(application.objectives.rto),
        global_clusters: application.stores.values().map(|s| s.global_cluster.clone()).collect(),
        record_name: Some(servers.public_name().to_owned()),
        addresses: servers.addresses().clone(),
        controls,
        is_written_from_all_regions: databases::is_written_from_all_regions(application),
    }
}

/// A host name as names are compared: in lower case, without the final dot.
fn plain_name(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests;
