//! A patch as JSON Patches (RFC 6902) of templates, one for each stack.
//!
//! Invariants: a patch holds only what is to be written; `add` to a member of an object replaces what is there (RFC 6902,
//! 4.1), so that it applies whether or not the template has the property. Everything else is a note.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Addresses, Change, Patch, Remedy, StackAddress, terraform::said};

/// What stands for the name of a stack that is not mapped.
pub const FILL_IN: &str = "FILL IN";

/// What is to be done about one stack.
#[derive(Debug, Clone, PartialEq)]
pub struct Stack {
    /// [`FILL_IN`] where it is not mapped.
    pub stack: String,
    /// For its template.
    pub patch: Vec<Value>,
    pub notes: Vec<String>,
}

/// The place of a change's resource, where it is mapped.
pub fn address<'a>(change: &Change, addresses: &'a Addresses) -> Option<&'a StackAddress> {
    addresses.cloudformation.get(&change.resource.id)
}

/// The stacks of `patch`, by name; what is not mapped first.
pub fn stacks(patch: &Patch, addresses: &Addresses) -> Vec<Stack> {
    let mut stacks: BTreeMap<Option<String>, Stack> = BTreeMap::new();
    for change in &patch.changes {
        let address = address(change, addresses);
        let key = address.map(|a| a.stack.clone());
        let name = key.clone().unwrap_or_else(|| FILL_IN.to_owned());
        let stack = stacks.entry(key).or_insert_with(|| Stack { stack: name, patch: Vec::new(), notes: Vec::new() });
        let logical = address.map_or_else(|| format!("FILL_IN_{}", change.resource.label), |a| a.logical_id.clone());
        let side = &change.cloudformation;
        if let Remedy::Write(value) = &side.remedy {
            let path = format!("/Resources/{logical}/Properties/{}", escaped(&side.attribute));
            stack.patch.push(match value {
                Value::Null => json!({ "op": "remove", "path": path }),
                value => json!({ "op": "add", "path": path, "value": value }),
            });
        }
        let kind = side.kind.unwrap_or("no resource of CloudFormation's");
        stack.notes.push(format!(
            "{logical} ({kind}, {}): {}: {} -> {} ({}); {}",
            change.resource.id,
            side.attribute,
            said(&change.before),
            said(&change.after),
            change.certainty.as_str(),
            side.otherwise
        ));
    }
    stacks.into_values().collect()
}

/// A name as a JSON pointer has it.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
