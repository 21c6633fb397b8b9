use serde_json::json;

use super::{
    super::{
        SdkConfig,
        tests::{
            canned::{Answer, Server, xml},
            cloud, cloud_with, region,
        },
    },
    *,
};
use crate::{
    domain::{
        api_call::{JsonVersion, Lists, Method, Wire},
        cloud::Mutation,
    },
    ports::Cloud as _,
};

fn put() -> ApiCall {
    ApiCall {
        operation: "ssm:PutParameter".to_owned(),
        region: region("us-west-2"),
        wire: Wire::Json { target: "AmazonSSM".to_owned(), version: JsonVersion::V1_1 },
        arguments: json!({ "Name": "/w", "Value": "only-in-the-body" }),
        role_arn: None,
        handle: Some("/Version".to_owned()),
    }
}

fn lambda(method: Method, path: &str, arguments: Value) -> ApiCall {
    let wire = Wire::RestJson { method, path: path.to_owned() };
    ApiCall { operation: "lambda:X".to_owned(), wire, arguments, handle: None, ..put() }
}

fn query(service: &str, lists: Lists, arguments: Value) -> ApiCall {
    let wire = Wire::Query { version: "2016-11-15".to_owned(), lists };
    ApiCall { operation: format!("{service}:DoIt"), wire, arguments, handle: None, ..put() }
}

fn body(status: u16, body: &str) -> Answer {
    Answer::Http { status, content_type: "application/x-amz-json-1.1", body: body.to_owned() }
}

#[test]
fn each_protocol_has_its_own_form_and_every_argument_is_encoded() {
    let json = request::encode(&put()).expect("fits");
    assert_eq!(json.headers[1], ("x-amz-target", "AmazonSSM.PutParameter".to_owned()));
    assert_eq!(json.body, r#"{"Name":"/w","Value":"only-in-the-body"}"#);
    let path = "/f/{Name}/concurrency";
    let hostile = json!({ "Name": "a/../b?x=1&y#z é", "N": 0 });
    let rest = request::encode(&lambda(Method::Put, path, hostile.clone())).expect("fits");
    assert_eq!(rest.path, "/f/a%2F..%2Fb%3Fx%3D1%26y%23z%20%C3%A9/concurrency");
    assert_eq!(rest.body, r#"{"N":0}"#);
    let get = request::encode(&lambda(Method::Get, path, hostile)).expect("fits");
    assert!(get.path.ends_with("/concurrency?N=0") && get.body.is_empty(), "{get:?}");
    assert!(request::encode(&lambda(Method::Get, path, json!({}))).is_err());
    let lists = json!({ "Ids": ["a", "b&Action=Evil"], "Rule": { "Ports": [{ "From": 1 }] }, "Dry": true });
    let flat = request::encode(&query("ec2", Lists::Flat, lists.clone())).expect("fits").body;
    assert_eq!(flat, "Action=DoIt&Version=2016-11-15&Ids.1=a&Ids.2=b%26Action%3DEvil&Rule.Ports.1.From=1&Dry=true");
    let member = request::encode(&query("sts", Lists::Member, lists)).expect("fits").body;
    assert!(member.contains("Ids.member.2=") && member.contains("Rule.Ports.member.1.From=1"), "{member}");
}

#[tokio::test]
async fn how_a_call_that_is_written_out_ended_is_never_guessed_and_it_is_sent_once() {
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let cases = [
        (body(200, r#"{"Version":7}"#), "accepted 7"),
        (body(200, ""), "accepted "),
        (body(200, "{"), "unknown"),
        (body(200, "[1]"), "unknown"),
        (body(200, &format!(r#"{{"a":{deep}}}"#)), "unknown"),
        (body(200, &format!(r#"{{"a":"{}"}}"#, "x".repeat(api_call::ANSWER_BYTES_MAX))), "unknown"),
        (Answer::Hang, "unknown"),
        (Answer::HangUp, "unknown"),
        (Answer::BreakOff, "unknown"),
        (body(500, r#"{"__type":"InternalServerError"}"#), "unknown"),
        (body(503, ""), "unknown"),
        (body(302, ""), "unknown"),
        (body(400, r#"{"__type":"com.amazonaws.ssm#TooManyUpdates","message":"slow"}"#), "rejected TooManyUpdates"),
        (body(400, r#"{"__type":"ThrottlingException"}"#), "rejected ThrottlingException"),
        (body(400, "<html>not AWS</html>"), "unknown"),
    ];
    for (answer, expected) in cases {
        let server = Server::start(vec![answer.clone()]).await;
        let (cloud, calls) = cloud(&server.url);
        let mutation = Mutation::AwsCall { request: Box::new(put()), idempotent: false };
        let outcome = cloud.apply(&mutation, jiff::Timestamp::UNIX_EPOCH).await;
        let ended = match &outcome {
            Outcome::Accepted { handle, .. } => format!("accepted {}", handle.as_deref().unwrap_or_default()),
            Outcome::Rejected { code, .. } => format!("rejected {code}"),
            Outcome::NotSent { .. } => "not sent".to_owned(),
            Outcome::Unknown { .. } => "unknown".to_owned(),
        };
        let what = format!("{answer:?}");
        assert_eq!(ended, expected, "{what:.200}: {outcome:?}");
        assert_eq!(server.requests().len(), 1, "{what:.200}");
        let lines = calls.lines();
        assert!(lines.len() == 1 && lines[0].starts_with("ssm:PutParameter us-west-2 "), "{lines:?}");
        assert!(!format!("{outcome:?}").contains("only-in-the-body"), "an argument in {outcome:?}");
    }
}

#[tokio::test]
async fn a_read_that_tells_nothing_is_an_error_of_its_own_kind() {
    let cases = [
        (body(200, r#"{"Parameter":{"Value":"x"}}"#), "ok"),
        (body(400, r#"{"__type":"ParameterNotFound"}"#), "does not exist"),
        (body(400, r#"{"__type":"AccessDeniedException","message":"no"}"#), "AWS refused: AccessDeniedException: no"),
        (body(429, r#"{"__type":"TooManyRequestsException"}"#), "throttled"),
        (body(500, "{}"), "no answer"),
        (body(200, "nonsense"), "makes no sense"),
        (Answer::Hang, "no answer"),
    ];
    for (answer, expected) in cases {
        let server = Server::start(vec![answer]).await;
        let told = match cloud(&server.url).0.ask(&put()).await {
            Ok(_) => "ok".to_owned(),
            Err(error) => error.to_string(),
        };
        assert!(told.contains(expected), "{told}, not {expected}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn xml_is_read_as_a_tree_of_texts() {
    let answer = "<?xml version=\"1.0\"?><DoItResponse xmlns=\"http://x/\"><DoItResult><Items><member>a</member></Items>\
                  <One><Name>n &amp; m</Name></One><One><Name>o</Name></One><Empty/></DoItResult>\
                  <ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></DoItResponse>";
    let ec2 =
        "<DoItResponse><requestId>r</requestId><return>true</return><set><item><id>1</id></item></set></DoItResponse>";
    let ask = async |answers: &str| {
        let server = Server::start(vec![xml(200, answers)]).await;
        cloud(&server.url).0.ask(&query("ec2", Lists::Flat, json!({}))).await
    };
    let tree = json!({ "Items": ["a"], "One": [{ "Name": "n & m" }, { "Name": "o" }], "Empty": "" });
    assert_eq!(ask(answer).await, Ok(tree));
    assert_eq!(ask(ec2).await, Ok(json!({ "return": "true", "set": [{ "id": "1" }] })));
    let deep = format!("<DoItResponse>{}{}</DoItResponse>", "<a>".repeat(50), "</a>".repeat(50));
    let bomb = "<!DOCTYPE x [<!ENTITY a \"b\">]><DoItResponse><a>&a;</a></DoItResponse>";
    for bad in ["<html>hello</html>", "<DoItResponse><a></DoItResponse>", "<DoItResponse>", "", &deep, bomb] {
        let told = ask(bad).await;
        assert!(matches!(told, Err(ObserveError::Malformed { .. })), "{bad:.60}: {told:?}");
    }
}

#[tokio::test]
async fn the_errors_of_ec2_are_read_too() {
    let errors = "<Response><Errors><Error><Code>InvalidGroup.NotFound</Code><Message>no</Message></Error></Errors>\
                  <RequestID>r</RequestID></Response>";
    let server = Server::start(vec![xml(400, errors)]).await;
    let told = cloud(&server.url).0.ask(&query("ec2", Lists::Flat, json!({}))).await;
    assert!(matches!(told, Err(ObserveError::NotFound { .. })), "{told:?}");
}

#[tokio::test]
async fn without_credentials_nothing_leaves() {
    let server = Server::start(vec![body(200, "{}")]).await;
    let none = SharedCredentialsProvider::new(super::super::tests::NoCredentials);
    let (cloud, _) = cloud_with(&server.url, none);
    let outcome = cloud
        .apply(&Mutation::AwsCall { request: Box::new(put()), idempotent: true }, jiff::Timestamp::UNIX_EPOCH)
        .await;
    assert!(matches!(outcome, Outcome::NotSent { .. }), "{outcome:?}");
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn a_public_endpoint_is_one_of_aws_and_a_service_s_own_setting_wins() {
    assert_eq!(public_endpoint("ssm", &region("us-west-2")), "https://ssm.us-west-2.amazonaws.com");
    assert_eq!(public_endpoint("ssm", &region("cn-north-1")), "https://ssm.cn-north-1.amazonaws.com.cn");
    #[derive(Debug)]
    struct SsmElsewhere;
    impl aws_types::service_config::LoadServiceConfig for SsmElsewhere {
        fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
            (key.service_id() == "SSM").then(|| "http://127.0.0.1:1".to_owned())
        }
    }
    let caller = |config: SdkConfig| Caller::new(&config);
    let own = caller(SdkConfig::builder().service_config(SsmElsewhere).build());
    assert_eq!(own.endpoint(&put()), "http://127.0.0.1:1");
    let lambda = lambda(Method::Get, "/x", json!({}));
    assert_eq!(own.endpoint(&lambda), "https://lambda.us-west-2.amazonaws.com");
}
