//! IAM over the Query protocol: GetRole and SimulatePrincipalPolicy; everything else is refused by name.
//!
//! One result for each action, whose own decision is the strictest of its resources, and each resource below it, as IAM
//! answers. [docs: IAM API, EvaluationResult] Answers are in pages, by MaxItems and Marker.

use std::collections::HashMap;

use winterbaume_core::MockResponse;

use super::encode::{Protocol, Tree, answer, error};
use crate::{
    domain::id::Region,
    sim::world::{ApiFault, World, services::iam::Simulated},
};

type Params = HashMap<String, String>;

/// Results of one page, where the caller asks for no other number, and the most. [bc:iam.SimulatePrincipalPolicy]
const PAGE: usize = 100;
const PAGE_MAX: usize = 1_000;

/// Answers one call.
pub(super) fn handle(world: &World, operation: &str, params: &Params) -> MockResponse {
    let result = match operation {
        "GetRole" => role(world, params),
        "SimulatePrincipalPolicy" => simulate(world, params),
        _ => Err(super::not_simulated("iam", operation)),
    };
    match result {
        Ok(tree) => answer(Protocol::Query, "iam", operation, Some(&tree)),
        Err(fault) => error(Protocol::Query, "iam", &fault),
    }
}

fn invalid(message: impl Into<String>) -> ApiFault {
    ApiFault { status: 400, code: "ValidationError", message: message.into() }
}

fn role(world: &World, params: &Params) -> Result<Tree, ApiFault> {
    let name = params.get("RoleName").ok_or_else(|| invalid("RoleName must not be null"))?;
    let path = world.services.iam.role_path(name)?;
    let text = |text: &str| Tree::text(text);
    Ok(Tree::Map(vec![(
        "Role",
        Tree::Map(vec![
            ("Path", text(path)),
            ("RoleName", text(name)),
            ("RoleId", text("AROASIMULATED0000")),
            ("Arn", text(&world.services.iam.role_arn())),
            ("CreateDate", Tree::Time(crate::sim::world::SimTime(0))),
            ("AssumeRolePolicyDocument", text("%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%5D%7D")),
            ("MaxSessionDuration", Tree::Int(3_600)),
        ]),
    )]))
}

/// The members of a list, from 1 to where one is missing.
fn list(params: &Params, name: &str) -> Vec<String> {
    (1..).map_while(|n| params.get(&format!("{name}.member.{n}")).cloned()).collect()
}

/// The value of a condition key that the caller tells.
fn told<'a>(params: &'a Params, key: &str) -> Option<&'a str> {
    let at = |n: usize, rest: &str| params.get(&format!("ContextEntries.member.{n}.{rest}"));
    let entries = (1..).map_while(|n| at(n, "ContextKeyName").map(|name| (n, name)));
    let (n, _) = entries.into_iter().find(|(_, name)| name.eq_ignore_ascii_case(key))?;
    at(n, "ContextKeyValues.member.1").map(String::as_str)
}

fn simulate(world: &World, params: &Params) -> Result<Tree, ApiFault> {
    let principal = params.get("PolicySourceArn").ok_or_else(|| invalid("PolicySourceArn must not be null"))?;
    let actions = list(params, "ActionNames");
    if actions.is_empty() {
        return Err(invalid("ActionNames must not be null"));
    }
    let region: Option<Region> = told(params, "aws:RequestedRegion").and_then(|region| region.parse().ok());
    let resources = list(params, "ResourceArns");
    let size = params.get("MaxItems").map_or(Some(PAGE), |n| n.parse().ok()).filter(|n| (1..=PAGE_MAX).contains(n));
    let size = size.ok_or_else(|| invalid("MaxItems must be from 1 to 1000"))?;
    let from = params.get("Marker").map_or(Some(0), |marker| marker.parse::<usize>().ok());
    let from = from.filter(|from| *from < actions.len()).ok_or_else(|| invalid("Invalid Marker"))?;
    let mut results = Vec::new();
    for action in actions.iter().skip(from).take(size) {
        let said = world.simulate_policy(principal, action, region.as_ref())?;
        results.push(result(action, &resources, &said));
    }
    let next = from + results.len();
    let more = next < actions.len();
    let mut members = vec![("EvaluationResults", Tree::List(results)), ("IsTruncated", Tree::Bool(more))];
    members.extend(more.then(|| ("Marker", Tree::Text(next.to_string()))));
    Ok(Tree::Map(members))
}

fn result(action: &str, resources: &[String], said: &Simulated) -> Tree {
    let keys = || Tree::List(said.missing.iter().map(|key| Tree::text(*key)).collect());
    let (text, none) = (|text: &str| Tree::text(text), || Tree::List(Vec::new()));
    let every = resources.is_empty() || resources == ["*"];
    let mut members = vec![
        ("EvalActionName", text(action)),
        ("EvalResourceName", text(if let [one] = resources { one } else { "*" })),
        ("EvalDecision", text(said.decision)),
        ("MatchedStatements", none()),
        // Of all resources here, else with each of them.
        ("MissingContextValues", if every { keys() } else { none() }),
    ];
    if !every {
        let each = resources.iter().map(|resource| {
            Tree::Map(vec![
                ("EvalResourceName", text(resource)),
                ("EvalResourceDecision", text(said.decision)),
                ("MatchedStatements", none()),
                ("MissingContextValues", keys()),
            ])
        });
        members.push(("ResourceSpecificResults", Tree::List(each.collect())));
    }
    Tree::Map(members)
}
