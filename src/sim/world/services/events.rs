//! EventBridge: rules of the default bus, enabled or not. [bc:events]

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Request, fault, not_simulated};
use crate::{
    domain::id::Region,
    sim::world::{ApiFault, sns::ACCOUNT},
};

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub enabled: bool,
    schedule: String,
}

/// The rules of every Region.
#[derive(Debug, Default)]
pub struct Events {
    rules: BTreeMap<(Region, String), Rule>,
}

impl Events {
    /// Adds a rule. For fixtures.
    pub fn add(&mut self, region: &Region, name: &str, schedule: &str, enabled: bool) {
        self.rules.insert((region.clone(), name.to_owned()), Rule { enabled, schedule: schedule.to_owned() });
    }

    /// The rule of that name.
    pub fn rule(&self, region: &Region, name: &str) -> Option<&Rule> {
        self.rules.get(&(region.clone(), name.to_owned()))
    }

    pub(super) fn call(&mut self, operation: &str, call: &Request<'_>) -> Result<Value, ApiFault> {
        let name = call.text("Name").ok_or_else(|| fault(400, "ValidationException", "Name is missing"))?.to_owned();
        let arn = format!("arn:aws:events:{}:{ACCOUNT}:rule/{name}", call.region);
        let key = (call.region.clone(), name.clone());
        if operation == "PutRule" {
            let schedule = call.text("ScheduleExpression");
            let schedule = schedule.ok_or_else(|| {
                fault(400, "ValidationException", "Parameter(s) EventPattern or ScheduleExpression must be specified.")
            })?;
            let enabled = call.text("State").unwrap_or("ENABLED") == "ENABLED";
            self.rules.insert(key, Rule { enabled, schedule: schedule.to_owned() });
            return Ok(json!({ "RuleArn": arn }));
        }
        let rule = self.rules.get_mut(&key).ok_or_else(|| {
            let message = format!("Rule {name} does not exist on EventBus default.");
            fault(400, "ResourceNotFoundException", message)
        })?;
        match operation {
            "DescribeRule" => Ok(json!({
                "Name": name,
                "Arn": arn,
                "ScheduleExpression": rule.schedule,
                "State": if rule.enabled { "ENABLED" } else { "DISABLED" },
                "EventBusName": "default",
            })),
            "EnableRule" | "DisableRule" => {
                rule.enabled = operation == "EnableRule";
                Ok(json!({}))
            }
            _ => Err(not_simulated(&format!("events:{operation}"))),
        }
    }
}
