//! ECS: how many tasks of a service are wanted, and how many run.
//!
//! Tasks start and stop some time after they are wanted; all at once, since nothing here looks at single tasks.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Request, fault, not_simulated};
use crate::{
    domain::id::Region,
    sim::world::{ApiFault, SimTime, sns::ACCOUNT},
};

/// How long tasks take to start or to stop. [INF] Fargate: 30 to 60 s.
const TASKS_MS: u64 = 40_000;

/// A service of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    pub desired: u64,
    before: u64,
    changed_at: SimTime,
}

impl Service {
    /// How many tasks run at `now`.
    pub fn running(&self, now: SimTime) -> u64 {
        if now < self.changed_at.plus_ms(TASKS_MS) { self.before } else { self.desired }
    }
}

/// ECS of every Region.
#[derive(Debug, Default)]
pub struct Ecs {
    services: BTreeMap<(Region, String, String), Service>,
}

impl Ecs {
    /// Adds a service whose tasks all run. For fixtures.
    pub fn add(&mut self, region: &Region, cluster: &str, name: &str, tasks: u64) {
        let service = Service { desired: tasks, before: tasks, changed_at: SimTime(0) };
        self.services.insert((region.clone(), cluster.to_owned(), name.to_owned()), service);
    }

    /// The service of that name.
    pub fn service(&self, region: &Region, cluster: &str, name: &str) -> Option<&Service> {
        self.services.get(&(region.clone(), cluster.to_owned(), name.to_owned()))
    }

    pub(super) fn call(&mut self, operation: &str, call: &Request<'_>) -> Result<Value, ApiFault> {
        let cluster = last(call.text("cluster").unwrap_or("default")).to_owned();
        if !self.services.keys().any(|(region, of, _)| region == call.region && *of == cluster) {
            return Err(fault(400, "ClusterNotFoundException", "Cluster not found."));
        }
        match operation {
            "DescribeServices" => {
                let names = call.arguments.get("services").and_then(Value::as_array).ok_or_else(missing)?;
                let (mut found, mut failures) = (Vec::new(), Vec::new());
                for name in names.iter().filter_map(Value::as_str).map(last) {
                    match self.service(call.region, &cluster, name) {
                        Some(service) => found.push(shown(service, &cluster, name, call)),
                        None => {
                            failures.push(json!({ "arn": arn(call.region, &cluster, name), "reason": "MISSING" }));
                        }
                    }
                }
                Ok(json!({ "services": found, "failures": failures }))
            }
            "UpdateService" => {
                let name = call.text("service").map(last).ok_or_else(missing)?.to_owned();
                let key = (call.region.clone(), cluster.clone(), name.clone());
                let service = self.services.get_mut(&key);
                let service = service.ok_or_else(|| fault(400, "ServiceNotFoundException", "Service not found."))?;
                if let Some(desired) = call.number("desiredCount").filter(|desired| *desired != service.desired) {
                    service.before = service.running(call.now);
                    service.desired = desired;
                    service.changed_at = call.now;
                }
                Ok(json!({ "service": shown(service, &cluster, &name, call) }))
            }
            _ => Err(not_simulated(&format!("ecs:{operation}"))),
        }
    }
}

/// Clusters and services may be named by their ARNs.
fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn missing() -> ApiFault {
    fault(400, "InvalidParameterException", "Services cannot be empty.")
}

fn arn(region: &Region, cluster: &str, name: &str) -> String {
    format!("arn:aws:ecs:{region}:{ACCOUNT}:service/{cluster}/{name}")
}

fn shown(service: &Service, cluster: &str, name: &str, call: &Request<'_>) -> Value {
    let running = service.running(call.now);
    json!({
        "serviceArn": arn(call.region, cluster, name),
        "serviceName": name,
        "clusterArn": format!("arn:aws:ecs:{}:{ACCOUNT}:cluster/{cluster}", call.region),
        "status": "ACTIVE",
        "desiredCount": service.desired,
        "runningCount": running,
        "pendingCount": service.desired.saturating_sub(running),
    })
}
