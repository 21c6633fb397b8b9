//! EC2: the rules of security groups, and whom they let in to a database.
//!
//! An edit of a group is in force at once for new connections; those that stand are not looked at [VPC: connection
//! tracking]. Rules are known by their ids, and told apart by protocol, ports and peer, never by their description.
//! Deliberately not modelled: egress, other protocols than TCP, references to groups of other accounts, pages.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Request, fault, not_simulated};
use crate::{
    domain::id::Region,
    sim::world::{ApiFault, sns::ACCOUNT},
};

/// The keys by which `IpPermissions` name peers: list, and name in it.
const PEERS: [(&str, &str); 4] =
    [("Groups", "GroupId"), ("IpRanges", "CidrIp"), ("Ipv6Ranges", "CidrIpv6"), ("PrefixListIds", "PrefixListId")];

/// A rule that lets somebody in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub id: String,
    pub protocol: String,
    pub from_port: i64,
    pub to_port: i64,
    /// A group, a block or a prefix list.
    pub peer: String,
    pub description: Option<String>,
}

impl Rule {
    fn key(&self) -> (&str, i64, i64, &str) {
        (&self.protocol, self.from_port, self.to_port, &self.peer)
    }
}

/// A security group, and the database that stands behind it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    pub rules: Vec<Rule>,
    guards: Option<Guards>,
}

/// What is behind a group.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Guards {
    /// The ARN of a cluster.
    cluster: String,
    port: i64,
    /// Whose rule the application's servers come in by; any one is enough.
    servers: Vec<String>,
}

/// EC2 of every Region.
#[derive(Debug, Default)]
pub struct Ec2 {
    groups: BTreeMap<(Region, String), Group>,
    rules_made: u64,
}

impl Ec2 {
    /// Adds a group with a rule for TCP on `port` for each of `peers`. For fixtures.
    pub fn add(&mut self, region: &Region, group: &str, port: u16, peers: &[String]) {
        let port = i64::from(port);
        let rules = peers.iter().map(|peer| self.rule("tcp", (port, port), peer, Some("the application"))).collect();
        self.groups.insert((region.clone(), group.to_owned()), Group { rules, guards: None });
    }

    /// Puts the cluster `arn` behind the group: its clients come in by a rule for one of `servers`. For fixtures.
    pub fn guard(&mut self, region: &Region, group: &str, arn: &str, port: u16, servers: &[String]) {
        if let Some(group) = self.groups.get_mut(&(region.clone(), group.to_owned())) {
            let (cluster, port) = (arn.to_owned(), i64::from(port));
            group.guards = Some(Guards { cluster, port, servers: servers.to_vec() });
        }
    }

    /// The group of that id.
    pub fn group(&self, region: &Region, group: &str) -> Option<&Group> {
        self.groups.get(&(region.clone(), group.to_owned()))
    }

    /// Whether a new connection of the application's servers gets through to the cluster `arn`.
    pub fn admits(&self, arn: &str) -> bool {
        let of_cluster = |group: &&Group| group.guards.as_ref().is_some_and(|guards| guards.cluster == arn);
        let mut groups = self.groups.values().filter(of_cluster).peekable();
        // What no group guards is open.
        groups.peek().is_none() || groups.any(Group::admits)
    }

    fn rule(&mut self, protocol: &str, ports: (i64, i64), peer: &str, description: Option<&str>) -> Rule {
        self.rules_made += 1;
        Rule {
            id: format!("sgr-{:017x}", self.rules_made),
            protocol: protocol.to_owned(),
            from_port: ports.0,
            to_port: ports.1,
            peer: peer.to_owned(),
            description: description.map(str::to_owned),
        }
    }

    pub(super) fn call(&mut self, operation: &str, call: &Request<'_>) -> Result<Value, ApiFault> {
        match operation {
            "DescribeSecurityGroupRules" => self.describe(call),
            "RevokeSecurityGroupIngress" => self.revoke(call),
            "AuthorizeSecurityGroupIngress" => self.authorise(call),
            _ => Err(not_simulated(&format!("ec2:{operation}"))),
        }
    }

    fn describe(&self, call: &Request<'_>) -> Result<Value, ApiFault> {
        let filters = call.arguments.get("Filter").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let mut wanted: Option<Vec<&str>> = None;
        for filter in filters {
            let name = filter.get("Name").and_then(Value::as_str).unwrap_or_default();
            if name != "group-id" {
                return Err(fault(400, "InvalidParameterValue", format!("The filter '{name}' is invalid")));
            }
            let values = filter.get("Value").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            wanted = Some(values.iter().filter_map(Value::as_str).collect());
        }
        let mut shown = Vec::new();
        for ((region, id), group) in &self.groups {
            if region == call.region && wanted.as_ref().is_none_or(|wanted| wanted.contains(&id.as_str())) {
                shown.extend(group.rules.iter().map(|rule| shown_rule(id, rule)));
            }
        }
        Ok(json!({ "securityGroupRuleSet": shown }))
    }

    /// All or nothing, as in a VPC of one's own.
    fn revoke(&mut self, call: &Request<'_>) -> Result<Value, ApiFault> {
        let named = permissions(call)?;
        let ids: Vec<String> = call
            .arguments
            .get("SecurityGroupRuleId")
            .and_then(Value::as_array)
            .map(|ids| ids.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            .unwrap_or_default();
        let group = self.of_call(call)?;
        let is_named = |rule: &Rule| ids.contains(&rule.id) || named.iter().any(|n| n.key() == rule.key());
        let found = group.rules.iter().filter(|rule| is_named(rule)).count();
        if found < named.len() + ids.len() {
            let (code, what) = match ids.is_empty() {
                true => ("InvalidPermission.NotFound", "The specified rule does not exist in this security group."),
                false => ("InvalidSecurityGroupRuleId.NotFound", "The security group rule ID does not exist."),
            };
            return Err(fault(400, code, what));
        }
        if found == 0 {
            return Err(fault(400, "MissingParameter", "Either 'ipPermissions' or 'securityGroupRuleIds' is required"));
        }
        group.rules.retain(|rule| !is_named(rule));
        Ok(json!({ "return": "true" }))
    }

    fn authorise(&mut self, call: &Request<'_>) -> Result<Value, ApiFault> {
        let named = permissions(call)?;
        if named.is_empty() {
            return Err(fault(400, "MissingParameter", "The request must contain the parameter ipPermissions"));
        }
        let known = self.of_call(call)?.rules.clone();
        if named.iter().any(|new| known.iter().any(|old| old.key() == new.key())) {
            let message = "the specified rule already exists";
            return Err(fault(400, "InvalidPermission.Duplicate", message));
        }
        let made: Vec<Rule> = named
            .into_iter()
            .map(|n| self.rule(&n.protocol, (n.from_port, n.to_port), &n.peer, n.description.as_deref()))
            .collect();
        let id = call.text("GroupId").unwrap_or_default().to_owned();
        let shown: Vec<Value> = made.iter().map(|rule| shown_rule(&id, rule)).collect();
        self.of_call(call)?.rules.extend(made);
        Ok(json!({ "return": "true", "securityGroupRuleSet": shown }))
    }

    fn of_call(&mut self, call: &Request<'_>) -> Result<&mut Group, ApiFault> {
        let id = call.text("GroupId").unwrap_or_default().to_owned();
        let missing = fault(400, "InvalidGroup.NotFound", format!("The security group '{id}' does not exist"));
        self.groups.get_mut(&(call.region.clone(), id)).ok_or(missing)
    }
}

impl Group {
    fn admits(&self) -> bool {
        let Some(guards) = &self.guards else { return true };
        let reaches = |rule: &Rule| {
            rule.protocol == "-1" || (rule.protocol == "tcp" && (rule.from_port..=rule.to_port).contains(&guards.port))
        };
        self.rules.iter().any(|rule| reaches(rule) && guards.servers.contains(&rule.peer))
    }
}

/// The rules of `IpPermissions`; without ids.
fn permissions(call: &Request<'_>) -> Result<Vec<Rule>, ApiFault> {
    let items = call.arguments.get("IpPermissions").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let invalid = |what: &str| fault(400, "InvalidParameterValue", format!("Invalid value for {what}"));
    let mut rules = Vec::new();
    for item in items {
        let item: &Map<String, Value> = item.as_object().ok_or_else(|| invalid("ipPermissions"))?;
        let protocol = item.get("IpProtocol").and_then(Value::as_str).ok_or_else(|| invalid("ipProtocol"))?;
        // Of the Query protocol everything is text.
        let port = |name: &str| match item.get(name) {
            Some(Value::Number(number)) => number.as_i64(),
            Some(Value::String(text)) => text.parse().ok(),
            _ => (protocol == "-1").then_some(-1),
        };
        let ports = port("FromPort").zip(port("ToPort")).ok_or_else(|| invalid("portRange"))?;
        for (list, name) in PEERS {
            for peer in item.get(list).and_then(Value::as_array).into_iter().flatten() {
                rules.push(Rule {
                    id: String::new(),
                    protocol: protocol.to_owned(),
                    from_port: ports.0,
                    to_port: ports.1,
                    peer: peer.get(name).and_then(Value::as_str).ok_or_else(|| invalid(name))?.to_owned(),
                    description: peer.get("Description").and_then(Value::as_str).map(str::to_owned),
                });
            }
        }
    }
    Ok(rules)
}

/// As EC2's XML has it, every value a text.
fn shown_rule(group: &str, rule: &Rule) -> Value {
    let mut shown = json!({
        "securityGroupRuleId": rule.id,
        "groupId": group,
        "groupOwnerId": ACCOUNT,
        "isEgress": "false",
        "ipProtocol": rule.protocol,
        "fromPort": rule.from_port.to_string(),
        "toPort": rule.to_port.to_string(),
    });
    match &rule.peer {
        peer if peer.starts_with("sg-") => {
            shown["referencedGroupInfo"] = json!({ "groupId": peer, "userId": ACCOUNT });
        }
        peer if peer.starts_with("pl-") => shown["prefixListId"] = json!(peer),
        peer if peer.contains(':') => shown["cidrIpv6"] = json!(peer),
        peer => shown["cidrIpv4"] = json!(peer),
    }
    if let Some(description) = &rule.description {
        shown["description"] = json!(description);
    }
    shown
}
