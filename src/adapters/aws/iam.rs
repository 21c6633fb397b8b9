//! Who the daemon is, and what its policies allow: three questions to STS and IAM, as signed Query requests.
//!
//! Invariant: what IAM says of a resource is read from where it says it of that resource: the decision above several is the
//! strictest of them. An answer without a decision is an error, never "allowed".
//! Deliberately not here: what is asked, and what a denial means (the domain's). IAM has one control plane in each
//! partition, which no failover may need: only preflight asks it.

use serde_json::{Value, json};

use super::{AwsCloud, Call, lacking, too_many_pages};
use crate::domain::{
    api_call::{ApiCall, Lists, Wire},
    cloud::ObserveError,
    id::Region,
    permissions::{
        changes::{Decision, Evaluation, Limit, Simulation},
        partition_of,
    },
};

/// The version of STS's API. [bc]
const STS: &str = "2011-06-15";
/// The version of IAM's API. [bc]
const IAM: &str = "2010-05-08";
/// A question asks for one page's worth; so many more are followed before the answer makes no sense.
const PAGES_MAX: usize = 5;
/// The condition key of the Region that is called.
const REQUESTED_REGION: &str = "aws:RequestedRegion";

/// Where IAM's one control plane of a partition is: the Region that signatures name, and the endpoint. [AWS General
/// Reference: IAM endpoints]
fn home(partition: &str) -> (&'static str, &'static str) {
    match partition {
        "aws-cn" => ("cn-north-1", "https://iam.cn-north-1.amazonaws.com.cn"),
        "aws-us-gov" => ("us-gov-west-1", "https://iam.us-gov.amazonaws.com"),
        _ => ("us-east-1", "https://iam.amazonaws.com"),
    }
}

/// IAM's public endpoint for a signature of `region`.
pub(super) fn endpoint(region: &Region) -> String {
    home(partition_of(Some(region))).1.to_owned()
}

fn query(operation: &str, region: Region, version: &str, arguments: Value) -> ApiCall {
    let wire = Wire::Query { version: version.to_owned(), lists: Lists::Member };
    ApiCall { operation: operation.to_owned(), region, wire, arguments, role_arn: None, handle: None }
}

/// A question to IAM in the partition of `region`.
fn to_iam(operation: &str, region: &Region, arguments: Value) -> Result<ApiCall, ObserveError> {
    let home = home(partition_of(Some(region))).0.parse();
    let home = home.map_err(|e| ObserveError::Malformed { reason: format!("no home of IAM: {e}") })?;
    Ok(query(operation, home, IAM, arguments))
}

fn arguments(question: &Simulation, marker: Option<&str>) -> Value {
    let mut arguments = json!({
        "PolicySourceArn": question.principal,
        "ActionNames": question.actions,
        "ResourceArns": question.resources,
    });
    if let Some(region) = &question.region {
        let values = [region.as_str()];
        let entry = json!({
            "ContextKeyName": REQUESTED_REGION, "ContextKeyType": "string", "ContextKeyValues": values,
        });
        arguments["ContextEntries"] = json!([entry]);
    }
    if let Some(marker) = marker {
        arguments["Marker"] = Value::from(marker);
    }
    arguments
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// The items of a list; one without items is an empty text.
fn items<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn decision(word: &str) -> Decision {
    match word {
        "allowed" => Decision::Allowed,
        "explicitDeny" => Decision::ExplicitDeny,
        "implicitDeny" => Decision::ImplicitDeny,
        other => Decision::Other(other.to_owned()),
    }
}

fn missing(value: &Value) -> Vec<String> {
    let keys = items(value, "MissingContextValues").iter().filter_map(Value::as_str);
    keys.filter(|key| !key.is_empty()).map(str::to_owned).collect()
}

/// Which policy beside the principal's own does not allow it, where the answer tells. [IAM: EvaluationResult]
fn limit(value: &Value) -> Option<Limit> {
    let says_no = |pointer: &str| value.pointer(pointer).and_then(Value::as_str) == Some("false");
    if says_no("/OrganizationsDecisionDetail/AllowedByOrganizations") {
        return Some(Limit::Organization);
    }
    let boundary = "/PermissionsBoundaryDecisionDetail/AllowedByPermissionsBoundary";
    says_no(boundary).then_some(Limit::Boundary)
}

/// What one result says: of each resource where it tells them apart, else of the one that it names, or of all.
fn evaluations(result: &Value, asked: &Simulation) -> Result<Vec<Evaluation>, ObserveError> {
    let action = text(result, "EvalActionName").ok_or_else(|| lacking("the simulation", "EvalActionName"))?;
    let of = |resource: Option<&str>, word: &str, value: &Value| Evaluation {
        action: action.to_owned(),
        resource: resource.map(str::to_owned),
        decision: decision(word),
        missing: missing(value),
        limit: limit(value).or_else(|| limit(result)),
    };
    let each = items(result, "ResourceSpecificResults").iter().map(|value| {
        let resource = text(value, "EvalResourceName");
        let word = text(value, "EvalResourceDecision");
        match (resource, word) {
            (Some(resource), Some(word)) => Ok(of(Some(resource), word, value)),
            _ => Err(lacking("the simulation", "EvalResourceDecision")),
        }
    });
    let each = each.collect::<Result<Vec<_>, _>>()?;
    if !each.is_empty() {
        return Ok(each);
    }
    let word = text(result, "EvalDecision").ok_or_else(|| lacking("the simulation", "EvalDecision"))?;
    // What was not asked about is a name for all of them.
    let named = text(result, "EvalResourceName").filter(|name| asked.resources.iter().any(|r| r == name));
    Ok(vec![of(named, word, result)])
}

impl AwsCloud {
    pub(super) async fn caller_identity(&self, region: &Region) -> Result<String, ObserveError> {
        let answer = self.ask_api(&query("sts:GetCallerIdentity", region.clone(), STS, json!({}))).await?;
        text(&answer, "Arn").map(str::to_owned).ok_or_else(|| lacking("the caller", "Arn"))
    }

    pub(super) async fn get_role(&self, region: &Region, role: &str) -> Result<String, ObserveError> {
        let answer = self.ask_api(&to_iam("iam:GetRole", region, json!({ "RoleName": role }))?).await?;
        let arn = answer.pointer("/Role/Arn").and_then(Value::as_str);
        // Of another role nothing is to be asked.
        let arn = arn.filter(|arn| arn.contains(":role/") && arn.rsplit('/').next() == Some(role));
        arn.map(str::to_owned).ok_or_else(|| lacking(&format!("role {role}"), "Arn"))
    }

    pub(super) async fn simulate_policy(
        &self,
        region: &Region,
        question: &Simulation,
    ) -> Result<Vec<Evaluation>, ObserveError> {
        let asked = to_iam("iam:SimulatePrincipalPolicy", region, Value::Null)?;
        let read = async {
            let (mut found, mut marker) = (Vec::new(), None::<String>);
            for _ in 0..PAGES_MAX {
                let page = ApiCall { arguments: arguments(question, marker.as_deref()), ..asked.clone() };
                let page = self.ask_api(&page).await?;
                if page.get("EvaluationResults").is_none() {
                    return Err(lacking("the simulation", "EvaluationResults"));
                }
                for result in items(&page, "EvaluationResults") {
                    found.extend(evaluations(result, question)?);
                }
                if text(&page, "IsTruncated") != Some("true") {
                    return Ok(found);
                }
                let next = text(&page, "Marker").ok_or_else(|| lacking("a page of the simulation", "Marker"))?;
                marker = Some(next.to_owned());
            }
            Err(too_many_pages("the simulation"))
        };
        self.within(Call { service: "iam", operation: "SimulatePrincipalPolicy", region: &asked.region }, read).await
    }
}
