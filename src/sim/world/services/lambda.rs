//! Lambda: a function's reserved concurrency and its environment.
//!
//! An update of the configuration is in progress for a while, in which another is refused. [bc:lambda]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Request, fault, not_simulated};
use crate::{
    domain::id::Region,
    sim::world::{ApiFault, SimTime, sns::ACCOUNT},
};

/// How long an update of the configuration is in progress. [INF]
pub(super) const UPDATE_MS: u64 = 2_000;
/// What an account may run at once, and what of it must stay unreserved. [bc:lambda.PutFunctionConcurrency]
const CONCURRENT_MAX: u64 = 1_000;
const UNRESERVED_MIN: u64 = 100;

/// A function.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Function {
    /// `None`: it shares what is unreserved. Zero: it does not run.
    pub reserved: Option<u64>,
    pub variables: BTreeMap<String, String>,
    updated_at: SimTime,
    revision: u64,
}

/// Lambda of every Region.
#[derive(Debug, Default)]
pub struct Lambda {
    functions: BTreeMap<(Region, String), Function>,
    switches: Vec<Switch>,
}

/// A variable that makes a function answer with errors, and so the application's servers in its Region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    pub region: Region,
    pub function: String,
    pub variable: String,
    /// While it holds this.
    pub breaks: String,
}

impl Lambda {
    /// Adds a function. For fixtures.
    pub fn add(&mut self, region: &Region, name: &str, variables: &[(&str, &str)]) {
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let function = Function { variables, ..Function::default() };
        self.functions.insert((region.clone(), name.to_owned()), function);
    }

    /// Adds a function without variables that has reserved so much. For fixtures.
    pub fn add_reserved(&mut self, region: &Region, name: &str, reserved: u64) {
        let function = Function { reserved: Some(reserved), ..Function::default() };
        self.functions.insert((region.clone(), name.to_owned()), function);
    }

    /// Gives a function, which is added where there is none, these variables more. For fixtures.
    pub fn put_variables<'a>(
        &mut self,
        region: &Region,
        name: &str,
        variables: impl Iterator<Item = (&'a str, &'a str)>,
    ) {
        let function = self.functions.entry((region.clone(), name.to_owned())).or_default();
        function.variables.extend(variables.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    /// Adds a switch. For fixtures.
    pub fn add_switch(&mut self, switch: Switch) {
        if !self.switches.contains(&switch) {
            self.switches.push(switch);
        }
    }

    /// The Regions whose functions are switched to answer with errors.
    pub(super) fn broken(&self) -> BTreeSet<Region> {
        let holds = |s: &&Switch| {
            self.function(&s.region, &s.function).is_some_and(|f| f.variables.get(&s.variable) == Some(&s.breaks))
        };
        self.switches.iter().filter(holds).map(|s| s.region.clone()).collect()
    }

    /// Every function's variables, by Region and name: what stands of them.
    pub fn variables(&self) -> impl Iterator<Item = (&Region, &str, &BTreeMap<String, String>)> {
        self.functions.iter().map(|((region, name), function)| (region, name.as_str(), &function.variables))
    }

    /// How often the function of that name was updated; `None`: there is none.
    pub fn revision(&self, region: &Region, name: &str) -> Option<u64> {
        self.function(region, name).map(|function| function.revision)
    }

    /// The function of that name.
    pub fn function(&self, region: &Region, name: &str) -> Option<&Function> {
        self.functions.get(&(region.clone(), name.to_owned()))
    }

    pub(super) fn call(&mut self, operation: &str, call: &Request<'_>) -> Result<Value, ApiFault> {
        let name = call.text("FunctionName").map(bare).ok_or_else(|| invalid("FunctionName is missing"))?.to_owned();
        let reserved = self.reserved_by_others(call.region, &name);
        let function = self.functions.get_mut(&(call.region.clone(), name.clone())).ok_or_else(|| {
            fault(404, "ResourceNotFoundException", format!("Function not found: {}", arn(call.region, &name)))
        })?;
        match operation {
            "GetFunctionConcurrency" => Ok(concurrency(function)),
            "PutFunctionConcurrency" => {
                let wanted = call
                    .number("ReservedConcurrentExecutions")
                    .ok_or_else(|| invalid("ReservedConcurrentExecutions is missing"))?;
                if CONCURRENT_MAX - UNRESERVED_MIN < wanted + reserved {
                    return Err(invalid(
                        "Specified ReservedConcurrentExecutions for function decreases account's \
                         UnreservedConcurrentExecution below its minimum value of [100].",
                    ));
                }
                function.reserved = Some(wanted);
                Ok(concurrency(function))
            }
            "DeleteFunctionConcurrency" => {
                function.reserved = None;
                Ok(json!({}))
            }
            "GetFunctionConfiguration" => Ok(configuration(function, &name, call)),
            "UpdateFunctionConfiguration" => {
                if call.now < function.updated_at.plus_ms(UPDATE_MS) && 0 < function.revision {
                    let message = "The operation cannot be performed at this time. An update is in progress.";
                    return Err(fault(409, "ResourceConflictException", message));
                }
                if call.text("RevisionId").is_some_and(|given| given != revision_id(function.revision)) {
                    let message = "The RevisionId provided does not match the latest RevisionId.";
                    return Err(fault(412, "PreconditionFailedException", message));
                }
                if let Some(variables) = call.arguments.get("Environment").and_then(|e| e.get("Variables")) {
                    function.variables = variables_of(variables)?;
                }
                function.updated_at = call.now;
                function.revision += 1;
                Ok(configuration(function, &name, call))
            }
            _ => Err(not_simulated(&format!("lambda:{operation}"))),
        }
    }

    fn reserved_by_others(&self, region: &Region, name: &str) -> u64 {
        let others = self.functions.iter().filter(|((of, other), _)| of == region && other != name);
        others.filter_map(|(_, function)| function.reserved).sum()
    }
}

/// A function may be named by its ARN.
fn bare(name: &str) -> &str {
    name.rsplit_once(":function:").map_or(name, |(_, name)| name)
}

fn arn(region: &Region, name: &str) -> String {
    format!("arn:aws:lambda:{region}:{ACCOUNT}:function:{name}")
}

fn invalid(message: &str) -> ApiFault {
    fault(400, "InvalidParameterValueException", message)
}

fn concurrency(function: &Function) -> Value {
    match function.reserved {
        Some(reserved) => json!({ "ReservedConcurrentExecutions": reserved }),
        None => json!({}),
    }
}

fn configuration(function: &Function, name: &str, call: &Request<'_>) -> Value {
    let busy = 0 < function.revision && call.now < function.updated_at.plus_ms(UPDATE_MS);
    json!({
        "FunctionName": name,
        "FunctionArn": arn(call.region, name),
        "Environment": { "Variables": function.variables },
        "State": "Active",
        "LastUpdateStatus": if busy { "InProgress" } else { "Successful" },
        "RevisionId": revision_id(function.revision),
    })
}

/// Not of the form of a request's id, which the wire puts a new one in place of.
fn revision_id(revision: u64) -> String {
    format!("1a3bda00-0000-4000-8000-{revision:012x}")
}

fn variables_of(value: &Value) -> Result<BTreeMap<String, String>, ApiFault> {
    let map = value.as_object().ok_or_else(|| invalid("Variables is not a map"))?;
    let pairs = map.iter().map(|(k, v)| {
        let text = v.as_str().ok_or_else(|| invalid("a variable is not a string"))?;
        Ok((k.clone(), text.to_owned()))
    });
    pairs.collect()
}
