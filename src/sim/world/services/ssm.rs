//! SSM Parameter Store: plain parameters, with versions. [bc:ssm]
//!
//! A SecureString is refused: nothing here keeps a secret.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Request, fault, not_simulated, seconds};
use crate::{
    domain::id::Region,
    sim::world::{ApiFault, SimTime, sns::ACCOUNT},
};

/// The longest value of a standard parameter, in bytes. [bc:ssm.PutParameter]
const VALUE_BYTES_MAX: usize = 4_096;

/// A parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    pub value: String,
    pub version: u64,
    kind: String,
    changed_at: SimTime,
}

/// The parameters of every Region.
#[derive(Debug, Default)]
pub struct Ssm {
    parameters: BTreeMap<(Region, String), Parameter>,
}

impl Ssm {
    /// Adds a parameter. For fixtures.
    pub fn add(&mut self, region: &Region, name: &str, value: &str) {
        let parameter =
            Parameter { value: value.to_owned(), version: 1, kind: "String".to_owned(), changed_at: SimTime(0) };
        self.parameters.insert((region.clone(), name.to_owned()), parameter);
    }

    /// The parameter of that name.
    pub fn parameter(&self, region: &Region, name: &str) -> Option<&Parameter> {
        self.parameters.get(&(region.clone(), name.to_owned()))
    }

    pub(super) fn call(&mut self, operation: &str, call: &Request<'_>) -> Result<Value, ApiFault> {
        let name = call.text("Name").filter(|n| !n.is_empty()).ok_or_else(|| invalid("Name is missing"))?.to_owned();
        let key = (call.region.clone(), name.clone());
        let absent = || fault(400, "ParameterNotFound", format!("Parameter {name} not found."));
        match operation {
            "GetParameter" => {
                let parameter = self.parameters.get(&key).ok_or_else(absent)?;
                Ok(json!({ "Parameter": {
                    "Name": name,
                    "Type": parameter.kind,
                    "Value": parameter.value,
                    "Version": parameter.version,
                    "LastModifiedDate": seconds(parameter.changed_at),
                    "ARN": format!("arn:aws:ssm:{}:{ACCOUNT}:parameter/{}", call.region, name.trim_start_matches('/')),
                    "DataType": "text",
                } }))
            }
            "DeleteParameter" => self.parameters.remove(&key).map(|_| json!({})).ok_or_else(absent),
            "PutParameter" => {
                let value = call.text("Value").filter(|v| !v.is_empty()).ok_or_else(|| invalid("Value is missing"))?;
                if VALUE_BYTES_MAX < value.len() {
                    return Err(invalid(
                        "Standard tier parameters support a maximum parameter value of 4096 characters.",
                    ));
                }
                let before = self.parameters.get(&key);
                let overwrite = call.arguments.get("Overwrite").and_then(Value::as_bool).unwrap_or(false);
                if before.is_some() && !overwrite {
                    let message = "The parameter already exists. To overwrite this value, set the overwrite option in \
                                   the request to true.";
                    return Err(fault(400, "ParameterAlreadyExists", message));
                }
                let kind = call.text("Type").or(before.map(|b| b.kind.as_str()));
                let kind = kind.ok_or_else(|| invalid("A parameter type is required when you create a parameter."))?;
                if !matches!(kind, "String" | "StringList") {
                    return Err(fault(501, "NotImplemented", format!("a parameter of type {kind} is not simulated")));
                }
                let version = before.map_or(1, |b| b.version + 1);
                let (value, kind) = (value.to_owned(), kind.to_owned());
                self.parameters.insert(key, Parameter { value, version, kind, changed_at: call.now });
                Ok(json!({ "Version": version, "Tier": "Standard" }))
            }
            _ => Err(not_simulated(&format!("ssm:{operation}"))),
        }
    }
}

fn invalid(message: &str) -> ApiFault {
    fault(400, "ValidationException", message)
}
