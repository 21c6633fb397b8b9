//! Where resources stand in infrastructure code, as its owner says it: nothing else can know that.
//!
//! An address is checked for its form only. Whether something stands there is found out by Terraform or CloudFormation.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::domain::id::InvalidName;

/// How many resources may be mapped for each tool: an application has a few dozen that a run can change.
pub const ADDRESSES_MAX: usize = 500;

/// The longest address.
const ADDRESS_CHARS_MAX: usize = 300;

/// Where resources stand in infrastructure code, by ARN, or by the id that a patch shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub terraform: BTreeMap<String, TerraformAddress>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cloudformation: BTreeMap<String, StackAddress>,
}

impl Addresses {
    pub fn is_empty(&self) -> bool {
        self.terraform.is_empty() && self.cloudformation.is_empty()
    }
}

/// `module.db["west"].aws_rds_cluster.this[0]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TerraformAddress {
    text: String,
    modules: Vec<String>,
    resource_type: String,
    name: String,
    indexed: bool,
}

impl TerraformAddress {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The calls of modules that lead to it, without their indexes: `module.db`; empty for the root module.
    pub fn module(&self) -> String {
        self.modules.iter().map(|name| format!("module.{name}")).collect::<Vec<_>>().join(".")
    }

    /// `aws_rds_cluster`.
    pub fn resource_type(&self) -> &str {
        &self.resource_type
    }

    /// The label of its block.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether its block stands for several resources, so that a value written there would go to all of them.
    pub fn is_one_of_several(&self) -> bool {
        self.indexed
    }
}

/// Whether `name` can be a name of HCL.
fn is_label(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// One part between dots: its name, and whether an index follows it.
fn part(text: &str) -> Option<(&str, bool)> {
    let Some((name, index)) = text.split_once('[') else { return is_label(text).then_some((text, false)) };
    let index = index.strip_suffix(']')?;
    let quoted = index.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let is_key = quoted.is_some_and(|key| !key.is_empty() && !key.contains('"') && !key.chars().any(char::is_control));
    let is_number = !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit());
    (is_label(name) && (is_key || is_number)).then_some((name, true))
}

/// The parts between dots, those in quotes apart.
fn parts(text: &str) -> Vec<&str> {
    let (mut quoted, mut start, mut all) = (false, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '.' if !quoted => {
                all.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    all.push(&text[start..]);
    all
}

impl FromStr for TerraformAddress {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let read = || {
            let parts: Vec<(&str, bool)> = parts(text).into_iter().map(part).collect::<Option<_>>()?;
            let (path, own) = parts.split_at_checked(parts.len().checked_sub(2)?)?;
            let [(resource_type, false), (name, own_index)] = own else { return None };
            let (mut modules, mut indexed) = (Vec::new(), *own_index);
            for pair in path.chunks(2) {
                let [("module", false), (module, of_several)] = pair else { return None };
                indexed |= of_several;
                modules.push((*module).to_owned());
            }
            // A resource type has the name of its provider before the first underscore.
            let is_type = resource_type.contains('_') && *resource_type != "module";
            let (resource_type, name) = ((*resource_type).to_owned(), (*name).to_owned());
            is_type.then(|| Self { text: text.to_owned(), modules, resource_type, name, indexed })
        };
        let address = if text.chars().count() <= ADDRESS_CHARS_MAX { read() } else { None };
        address.ok_or_else(|| InvalidName {
            kind: "Terraform resource address",
            given: text.chars().take(120).collect(),
            expected: "module.db.aws_rds_cluster.west",
        })
    }
}

/// `stack-name/LogicalId`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StackAddress {
    pub stack: String,
    pub logical_id: String,
}

impl FromStr for StackAddress {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let is_stack = |name: &str| {
            name.len() <= 128
                && name.starts_with(|c: char| c.is_ascii_alphabetic())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let is_logical = |id: &str| (1..=255).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric());
        match text.split_once('/') {
            Some((stack, logical_id)) if is_stack(stack) && is_logical(logical_id) => {
                Ok(Self { stack: stack.to_owned(), logical_id: logical_id.to_owned() })
            }
            _ => Err(InvalidName {
                kind: "place in a CloudFormation stack",
                given: text.chars().take(120).collect(),
                expected: "payments-db-west/Cluster (stack name, /, logical id)",
            }),
        }
    }
}

impl fmt::Display for TerraformAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for StackAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.stack, self.logical_id)
    }
}

impl TryFrom<String> for TerraformAddress {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<TerraformAddress> for String {
    fn from(address: TerraformAddress) -> Self {
        address.text
    }
}

impl TryFrom<String> for StackAddress {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<StackAddress> for String {
    fn from(address: StackAddress) -> Self {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_tells_its_module_its_block_and_whether_that_stands_for_several() {
        let address: TerraformAddress = "module.db[\"eu.west\"].module.a.aws_rds_cluster.this".parse().expect("valid");
        assert_eq!(address.module(), "module.db.module.a");
        assert_eq!((address.resource_type(), address.name()), ("aws_rds_cluster", "this"));
        assert!(address.is_one_of_several());
        let plain: TerraformAddress = "aws_rds_cluster.west".parse().expect("valid");
        assert_eq!(plain.module(), "");
        assert!(!plain.is_one_of_several());
        assert!("aws_rds_cluster.west[0]".parse::<TerraformAddress>().expect("valid").is_one_of_several());
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in [
            "",
            "west",
            "aws_rds_cluster",
            "module.db",
            "module.aws_rds_cluster.west",
            "data.aws_rds_cluster.west",
            "aws_rds_cluster.west[",
            "aws_rds_cluster.west[x]",
            "aws_rds_cluster.we st",
            "aws_rds_cluster.\"}\"",
            "module.module.west",
            "aws_rds_cluster.west[\"\n\"]",
        ] {
            assert!(bad.parse::<TerraformAddress>().is_err(), "{bad:?} must be refused");
        }
        for bad in ["", "stack", "stack/", "/Id", "stack/Lo-gical", "1stack/Id", "st ack/Id", "stack/A/B"] {
            assert!(bad.parse::<StackAddress>().is_err(), "{bad:?} must be refused");
        }
        assert_eq!("db-west/Cluster".parse::<StackAddress>().expect("valid").to_string(), "db-west/Cluster");
    }
}
