//! What preflight asks of STS and IAM: who calls, the path of its role, and what its policies allow.

use super::*;
use crate::domain::permissions::changes::{Decision, Evaluation, Limit, Simulation};

const ROLE: &str = "arn:aws:iam::123456789012:role/ops/failoverd";
const GLOBAL: &str = "arn:aws:rds::123456789012:global-cluster:payments";
const MEMBER: &str = "arn:aws:rds:us-west-2:123456789012:cluster:payments-west";
const FAILOVER: &str = "rds:FailoverGlobalCluster";

fn question() -> Simulation {
    Simulation {
        principal: ROLE.to_owned(),
        actions: vec![FAILOVER.to_owned()],
        resources: vec![GLOBAL.to_owned(), MEMBER.to_owned()],
        region: Some(region("us-west-2")),
    }
}

fn page(results: &str, after: &str) -> Answer {
    xml(
        200,
        &format!(
            "<SimulatePrincipalPolicyResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\">\
             <SimulatePrincipalPolicyResult><EvaluationResults>{results}</EvaluationResults>{after}\
             </SimulatePrincipalPolicyResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>\
             </SimulatePrincipalPolicyResponse>"
        ),
    )
}

fn result(decision: &str, rest: &str) -> String {
    format!(
        "<member><EvalActionName>{FAILOVER}</EvalActionName><EvalResourceName>*</EvalResourceName>\
         <EvalDecision>{decision}</EvalDecision><MatchedStatements/><MissingContextValues/>{rest}</member>"
    )
}

fn each(of: &[(&str, &str, &str)]) -> String {
    let one = |(resource, decision, missing): &(&str, &str, &str)| {
        format!(
            "<member><EvalResourceName>{resource}</EvalResourceName><EvalResourceDecision>{decision}\
             </EvalResourceDecision><MissingContextValues>{missing}</MissingContextValues></member>"
        )
    };
    format!("<ResourceSpecificResults>{}</ResourceSpecificResults>", of.iter().map(one).collect::<String>())
}

async fn simulated(answers: Vec<Answer>) -> (Result<Vec<Evaluation>, ObserveError>, Vec<String>) {
    let server = Server::start(answers).await;
    let (cloud, _) = cloud(&server.url);
    let found = cloud.simulate(&region("us-west-2"), &question()).await;
    (found, server.requests())
}

fn of(resource: Option<&str>, decision: Decision) -> Evaluation {
    let resource = resource.map(str::to_owned);
    Evaluation { action: FAILOVER.to_owned(), resource, decision, missing: Vec::new(), limit: None }
}

#[tokio::test]
async fn the_decision_of_each_resource_counts_and_not_the_one_above_them() {
    let key = "<member>aws:SourceIp</member>";
    let told = each(&[(GLOBAL, "allowed", ""), (MEMBER, "implicitDeny", key)]);
    let (found, requests) =
        simulated(vec![page(&result("implicitDeny", &told), "<IsTruncated>false</IsTruncated>")]).await;
    let denied = Evaluation { missing: vec!["aws:SourceIp".to_owned()], ..of(Some(MEMBER), Decision::ImplicitDeny) };
    assert_eq!(found, Ok(vec![of(Some(GLOBAL), Decision::Allowed), denied]));
    let [request] = &requests[..] else { panic!("{requests:?}") };
    let body = request.split("\r\n\r\n").nth(1).expect("a body");
    let pairs: Vec<(String, String)> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let has = |key: &str, value: &str| pairs.iter().any(|(k, v)| k == key && v == value);
    assert!(has("Action", "SimulatePrincipalPolicy") && has("Version", "2010-05-08"), "{pairs:?}");
    assert!(has("PolicySourceArn", ROLE) && has("ActionNames.member.1", FAILOVER), "{pairs:?}");
    assert!(has("ResourceArns.member.1", GLOBAL) && has("ResourceArns.member.2", MEMBER), "{pairs:?}");
    assert!(has("ContextEntries.member.1.ContextKeyName", "aws:RequestedRegion"), "{pairs:?}");
    assert!(has("ContextEntries.member.1.ContextKeyValues.member.1", "us-west-2"), "{pairs:?}");
    assert!(request.contains("/us-east-1/iam/aws4_request"), "IAM has one home: {request}");
}

#[tokio::test]
async fn pages_are_followed_and_a_listing_without_an_end_is_none() {
    let (more, last) = ("<IsTruncated>true</IsTruncated><Marker>next</Marker>", "<IsTruncated>false</IsTruncated>");
    let first = result("allowed", &each(&[(GLOBAL, "allowed", "")]));
    let second = result("explicitDeny", &each(&[(MEMBER, "explicitDeny", "")]));
    let (found, requests) = simulated(vec![page(&first, more), page(&second, last)]).await;
    assert_eq!(found, Ok(vec![of(Some(GLOBAL), Decision::Allowed), of(Some(MEMBER), Decision::ExplicitDeny)]));
    assert!(requests.len() == 2 && requests[1].contains("Marker=next"), "{requests:?}");
    let (endless, requests) = simulated(vec![page(&first, more)]).await;
    assert!(matches!(endless, Err(ObserveError::Malformed { .. })), "{endless:?}");
    assert_eq!(requests.len(), 5);
}

#[tokio::test]
async fn a_decision_without_resources_is_of_all_and_names_what_limits_it() {
    let limits = "<OrganizationsDecisionDetail><AllowedByOrganizations>false</AllowedByOrganizations>\
                  </OrganizationsDecisionDetail>";
    let (found, _) = simulated(vec![page(&result("implicitDeny", limits), "")]).await;
    let limited = Evaluation { limit: Some(Limit::Organization), ..of(None, Decision::ImplicitDeny) };
    assert_eq!(found, Ok(vec![limited]));
    let (found, _) = simulated(vec![page("", "<IsTruncated>false</IsTruncated>")]).await;
    assert_eq!(found, Ok(Vec::new()));
}

#[tokio::test]
async fn an_answer_without_a_decision_is_no_answer_and_a_refusal_is_iams_own() {
    let half = format!("<member><EvalActionName>{FAILOVER}</EvalActionName></member>");
    let nothing = xml(200, "<SimulatePrincipalPolicyResponse></SimulatePrincipalPolicyResponse>");
    for answer in [page(&half, ""), nothing, page("<member><EvalDecision>allowed</EvalDecision></member>", "")] {
        let (found, _) = simulated(vec![answer]).await;
        assert!(matches!(found, Err(ObserveError::Malformed { .. })), "{found:?}");
    }
    let (found, _) = simulated(vec![fault(403, "AccessDenied")]).await;
    assert!(matches!(&found, Err(ObserveError::Rejected { code, .. }) if code == "AccessDenied"), "{found:?}");
}

#[tokio::test]
async fn the_caller_is_asked_of_the_regions_own_sts_and_the_roles_path_of_iam() {
    let caller = "arn:aws:sts::123456789012:assumed-role/failoverd/task";
    let identity = format!(
        "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>{caller}</Arn></GetCallerIdentityResult>\
         </GetCallerIdentityResponse>"
    );
    let role = |arn: &str| {
        xml(
            200,
            &format!("<GetRoleResponse><GetRoleResult><Role><Arn>{arn}</Arn></Role></GetRoleResult></GetRoleResponse>"),
        )
    };
    let other = "arn:aws:iam::123456789012:role/other";
    let server = Server::start(vec![xml(200, &identity), role(ROLE), role(other)]).await;
    let (cloud, _) = cloud(&server.url);
    let west = region("us-west-2");
    assert_eq!(cloud.caller(&west).await, Ok(caller.to_owned()));
    assert_eq!(cloud.role_arn(&west, "failoverd").await, Ok(ROLE.to_owned()));
    let another = cloud.role_arn(&west, "failoverd").await;
    assert!(matches!(another, Err(ObserveError::Malformed { .. })), "the path of another role: {another:?}");
    let requests = server.requests();
    assert!(requests[0].contains("/us-west-2/sts/aws4_request"), "{}", requests[0]);
    assert!(requests[1].contains("RoleName=failoverd"), "{}", requests[1]);
}

#[test]
fn each_partition_has_its_own_iam() {
    let at = |name: &str| super::super::iam::endpoint(&region(name));
    assert_eq!(at("us-east-1"), "https://iam.amazonaws.com");
    assert_eq!(at("cn-north-1"), "https://iam.cn-north-1.amazonaws.com.cn");
    assert_eq!(at("us-gov-west-1"), "https://iam.us-gov.amazonaws.com");
}
