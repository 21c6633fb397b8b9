//! What AWS's answers say about a rung: the rules of a security group, the size of a service, an event's text.
//!
//! Invariant: an answer that is not whole (a page of several, a rule of an unknown kind, a number that is missing) is an
//! error: nothing is concluded from the rest of it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::{Fenced, IngressRule, Part, describe_part, describe_rules};
use crate::domain::{api_call::ApiCall, cloud::CloudEvent, id::Region};

/// What a call of a rung, or of its way back, wants to be so.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    /// None of the rules is there any more.
    Gone { region: Region, group: String, rules: Vec<IngressRule> },
    /// All of them are.
    There { region: Region, group: String, rules: Vec<IngressRule> },
    /// So much of it is wanted and runs; `None`: a function without a reservation.
    Size { region: Region, part: Part, count: Option<u64> },
}

/// How an answer compares with what is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    So {
        says: String,
    },
    /// It is on its way.
    Coming {
        says: String,
    },
    NotSo {
        says: String,
    },
}

impl Wanted {
    /// What `request` wants; `None` where it is no call of a fence.
    pub fn of(request: &ApiCall) -> Option<Self> {
        let text = |name: &str| request.arguments.get(name).and_then(Value::as_str).map(str::to_owned);
        let region = request.region.clone();
        let rules = || permissions(request.arguments.get("IpPermissions")?);
        Some(match request.operation.as_str() {
            "ec2:RevokeSecurityGroupIngress" => Self::Gone { region, group: text("GroupId")?, rules: rules()? },
            "ec2:AuthorizeSecurityGroupIngress" => Self::There { region, group: text("GroupId")?, rules: rules()? },
            "ecs:UpdateService" => {
                let part = Part::Ecs { cluster: text("cluster")?, service: text("service")? };
                Self::Size { region, part, count: Some(request.arguments.get("desiredCount")?.as_u64()?) }
            }
            "lambda:PutFunctionConcurrency" => {
                let count = request.arguments.get("ReservedConcurrentExecutions")?.as_u64()?;
                Self::Size { region, part: Part::Lambda { function: text("FunctionName")? }, count: Some(count) }
            }
            "lambda:DeleteFunctionConcurrency" => {
                Self::Size { region, part: Part::Lambda { function: text("FunctionName")? }, count: None }
            }
            _ => return None,
        })
    }

    /// The call whose answer shows it.
    pub fn read(&self) -> ApiCall {
        match self {
            Self::Gone { region, group, .. } | Self::There { region, group, .. } => describe_rules(region, group),
            Self::Size { region, part, .. } => describe_part(region, part),
        }
    }

    /// What `answer`, to [`Wanted::read`], says about it.
    ///
    /// # Errors
    /// Why it says nothing.
    pub fn judge(&self, answer: &Value) -> Result<Shown, String> {
        match self {
            Self::Gone { group, rules, .. } => {
                let seen = rules_in(answer)?;
                let left = listed(rules.iter().filter(|rule| seen.iter().any(|s| is_same(s, rule))));
                if left.is_empty() {
                    return Ok(Shown::So { says: format!("{group} has none of {} rule(s)", rules.len()) });
                }
                Ok(Shown::NotSo { says: format!("{group} still lets in {left}") })
            }
            Self::There { group, rules, .. } => {
                let seen = rules_in(answer)?;
                let missing = listed(rules.iter().filter(|rule| !seen.iter().any(|s| is_same(s, rule))));
                if missing.is_empty() {
                    return Ok(Shown::So { says: format!("{group} has its {} rule(s) again", rules.len()) });
                }
                Ok(Shown::NotSo { says: format!("{group} does not let in {missing}") })
            }
            Self::Size { part, count, .. } => {
                let (wanted, runs) = size_in(part, answer)?;
                let shown = |n: Option<u64>| n.map_or_else(|| "no reservation".to_owned(), |n| n.to_string());
                Ok(match runs {
                    _ if wanted != *count => {
                        Shown::NotSo { says: format!("{part}: {}, not {}", shown(wanted), shown(*count)) }
                    }
                    Some(runs) if Some(runs) != *count => {
                        Shown::Coming { says: format!("{part}: {runs} still run, {} wanted", shown(wanted)) }
                    }
                    Some(runs) => Shown::So { says: format!("{part}: {runs} run, and {} are wanted", shown(wanted)) },
                    None => Shown::So { says: format!("{part}: {} at once", shown(wanted)) },
                })
            }
        }
    }
}

/// A rule is another's equal whatever its description says: EC2 knows no two that differ in that alone.
fn is_same(a: &IngressRule, b: &IngressRule) -> bool {
    let protocol = |p: &str| if p == "6" { "tcp".to_owned() } else { p.to_owned() };
    (&a.peer, a.ports, protocol(&a.protocol)) == (&b.peer, b.ports, protocol(&b.protocol))
}

fn listed<'a>(rules: impl Iterator<Item = &'a IngressRule>) -> String {
    rules.map(|rule| rule.peer.to_string()).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ")
}

/// Those of `rules` by which somebody reaches `port`.
pub fn reaching(rules: &[IngressRule], port: u16) -> impl Iterator<Item = &IngressRule> {
    rules.iter().filter(move |rule| rule.reaches(port))
}

/// The rules that let somebody in, by an answer of DescribeSecurityGroupRules.
///
/// # Errors
/// When the answer is not whole, or holds a rule that is not understood.
pub fn rules_in(answer: &Value) -> Result<Vec<IngressRule>, String> {
    if answer.get("nextToken").and_then(Value::as_str).is_some_and(|token| !token.is_empty()) {
        return Err("there are more rules than one answer holds".to_owned());
    }
    let items = match answer.get("securityGroupRuleSet") {
        Some(Value::Array(items)) => items.as_slice(),
        // `<securityGroupRuleSet/>`
        Some(Value::String(none)) if none.is_empty() => &[],
        _ => return Err("the answer holds no rules".to_owned()),
    };
    let text = |item: &Value, name: &str| match item.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(Value::Bool(b)) => Some(b.to_string()),
        _ => None,
    };
    let mut rules = Vec::new();
    for item in items {
        match text(item, "isEgress").as_deref() {
            Some("true") => continue,
            Some("false") => {}
            _ => return Err("a rule does not say which way it is".to_owned()),
        }
        let referenced = item.get("referencedGroupInfo").and_then(|info| text(info, "groupId"));
        let named = text(item, "cidrIpv4").or_else(|| text(item, "cidrIpv6")).or_else(|| text(item, "prefixListId"));
        let peer = referenced.or(named).ok_or("a rule does not say whom it lets in")?;
        let port = |name: &str| text(item, name).map_or(Some(-1), |n| n.parse().ok());
        let ports = port("fromPort").zip(port("toPort")).ok_or("a rule's port is no number")?;
        rules.push(IngressRule {
            peer: peer.parse().map_err(|e| format!("{e}"))?,
            protocol: text(item, "ipProtocol").ok_or("a rule has no protocol")?,
            ports,
            description: text(item, "description"),
        });
    }
    Ok(rules)
}

/// The rules in `IpPermissions`, as a fence writes them.
fn permissions(list: &Value) -> Option<Vec<IngressRule>> {
    let mut rules = Vec::new();
    for permission in list.as_array()? {
        let ports = (permission.get("FromPort")?.as_i64()?, permission.get("ToPort")?.as_i64()?);
        let protocol = permission.get("IpProtocol")?.as_str()?;
        for (list, name) in [
            ("Groups", "GroupId"),
            ("IpRanges", "CidrIp"),
            ("Ipv6Ranges", "CidrIpv6"),
            ("PrefixListIds", "PrefixListId"),
        ] {
            for entry in permission.get(list).and_then(Value::as_array).into_iter().flatten() {
                rules.push(IngressRule {
                    peer: entry.get(name)?.as_str()?.parse().ok()?,
                    protocol: protocol.to_owned(),
                    ports,
                    description: entry.get("Description").and_then(Value::as_str).map(str::to_owned),
                });
            }
        }
    }
    Some(rules)
}

/// How much of `part` is wanted, and how much runs where that is told apart.
///
/// # Errors
/// When the answer does not say.
pub fn size_in(part: &Part, answer: &Value) -> Result<(Option<u64>, Option<u64>), String> {
    match part {
        Part::Ecs { .. } => {
            let service = answer.pointer("/services/0").ok_or_else(|| format!("{part} is not there"))?;
            let number = |name: &str| service.get(name).and_then(Value::as_u64);
            let counts = (number("desiredCount"), number("runningCount"), number("pendingCount"));
            // What starts may write before it is counted as running; of what is not told nobody knows that it is none.
            let (Some(desired), Some(running), Some(pending)) = counts else {
                return Err(format!("{part}: the answer lacks a count"));
            };
            Ok((Some(desired), Some(if desired == 0 { running + pending } else { running })))
        }
        Part::Lambda { .. } if answer.is_null() => Err(format!("{part} is not there")),
        Part::Lambda { .. } => match answer.get("ReservedConcurrentExecutions") {
            None | Some(Value::Null) => Ok((None, None)),
            Some(value) => {
                let count = value.as_u64().ok_or_else(|| format!("{part}: {value} is no number of executions"))?;
                Ok((Some(count), None))
            }
        },
    }
}

/// What Aurora's events say of the fencing of an old primary, since `since`: the newest one. The API gives no event id,
/// so that it is known by its text: 0390 "… write fencing … succeeded", 0391 "… timed out" [AUG].
pub fn fencing_event(events: &[CloudEvent], since: Timestamp) -> Option<(Fenced, &CloudEvent)> {
    let told = events.iter().filter(|event| since <= event.at).filter_map(|event| {
        let text = event.message.to_ascii_lowercase();
        match () {
            () if !text.contains("fencing") => None,
            () if text.contains("timed out") => Some((Fenced::TimedOut, event)),
            () if text.contains("succeeded") => Some((Fenced::Verified, event)),
            () => None,
        }
    });
    told.max_by_key(|(_, event)| event.at)
}
