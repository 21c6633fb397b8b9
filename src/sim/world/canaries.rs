//! Canaries: from one Region, each asks the application's servers in another once a minute and publishes what it
//! found where it stands, as CloudWatch Synthetics does. They are what alarms on an application's health watch. One may
//! publish under another name and with other values: so it stands for a service that is not simulated and that does well
//! where the servers do.
//!
//! Invariant: a canary tells what it saw; one that stands in a lost Region tells nobody.

use std::{collections::BTreeSet, net::Ipv4Addr};

use super::{
    Context, Plane, Reach, SimTime,
    clients::{EndpointStatus, Endpoints},
    cloudwatch::{CloudWatch, MetricKey},
};
use crate::domain::id::Region;

/// Of its metric.
pub const NAMESPACE: &str = "CloudWatchSynthetics";
/// 100 where the servers answered well, else 0.
pub const METRIC: &str = "SuccessPercent";
/// The dimension that tells canaries apart.
pub const DIMENSION: &str = "CanaryName";
/// Milliseconds between two looks.
const EVERY_MS: u64 = 60_000;

/// One canary.
#[derive(Debug, Clone, PartialEq)]
pub struct Canary {
    pub metric: MetricKey,
    /// Where it stands and publishes.
    pub from: Region,
    /// The servers that it asks.
    pub address: Ipv4Addr,
    /// What it publishes where they answered well, and where not; `None` is nothing.
    pub well: Option<f64>,
    pub ill: Option<f64>,
    /// What it publishes in place of `well` while this Region's stores with many writers replicate late.
    pub late: Option<(Region, f64)>,
}

impl Canary {
    /// One of CloudWatch Synthetics.
    pub fn named(name: &str, from: Region, address: Ipv4Addr) -> Self {
        let metric = MetricKey::new(NAMESPACE, METRIC, [(DIMENSION, name)]);
        Self { metric, from, address, well: Some(100.0), ill: Some(0.0), late: None }
    }
}

/// All canaries of the account.
#[derive(Debug, Default)]
pub struct Canaries {
    canaries: Vec<Canary>,
    due: Option<SimTime>,
    late: BTreeSet<Region>,
}

impl Canaries {
    /// Adds one, which looks within the next minute.
    pub fn add(&mut self, canary: Canary, now: SimTime) {
        self.canaries.push(canary);
        self.due.get_or_insert(now.plus_ms(EVERY_MS));
    }

    /// Lets what is written in `region` to stores with many writers replicate late, or in time again.
    pub fn set_late(&mut self, region: &Region, late: bool) {
        if late {
            self.late.insert(region.clone());
        } else {
            self.late.remove(region);
        }
    }

    /// When they look next.
    pub fn next_due(&self) -> Option<SimTime> {
        self.due
    }

    /// Every canary looks and publishes.
    pub fn run_due(&mut self, ctx: &mut Context<'_>, endpoints: &Endpoints, cloudwatch: &mut CloudWatch) {
        self.due = Some(ctx.now.plus_ms(EVERY_MS));
        for canary in &self.canaries {
            let late = canary.late.as_ref().filter(|(of, _)| self.late.contains(of)).map(|(_, value)| *value);
            let value = if canary.sees(ctx, endpoints) { late.or(canary.well) } else { canary.ill };
            let key = &canary.metric;
            let dimensions: Vec<(&str, &str)> = key.dimensions.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            if let Some(value) = value {
                cloudwatch.record(&canary.from, &key.namespace, &key.name, &dimensions, ctx.now, value, ctx);
            }
        }
    }
}

impl Canary {
    fn sees(&self, ctx: &Context<'_>, endpoints: &Endpoints) -> bool {
        let planes = ctx.planes;
        match endpoints.at(self.address) {
            None => false,
            Some(endpoint) if endpoint.region == self.from => planes.works_inside(Plane::Application, &self.from),
            Some(_) => {
                planes.reach(Plane::Network, &self.from) == Reach::Up
                    && endpoints.endpoint_status(self.address, planes) == EndpointStatus::Healthy
            }
        }
    }
}
