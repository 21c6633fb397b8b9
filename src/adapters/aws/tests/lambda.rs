//! One variable of a function over the real client: what is sent, and what of it is never told.

use super::*;
use crate::domain::fault::FunctionVariable;

const SECRET: &str = "only-lambda-knows-this";

fn change() -> Mutation {
    let at = FunctionVariable {
        region: region("us-east-1"),
        function: "payments-api".to_owned(),
        variable: "FAULT".to_owned(),
    };
    Mutation::LambdaVariable { at, from: None, to: Some("fail".to_owned()) }
}

fn there(variables: &str) -> Answer {
    let body = format!(
        r#"{{"FunctionName":"payments-api","Environment":{{"Variables":{variables}}},"RevisionId":"r-7","LastUpdateStatus":"Successful"}}"#
    );
    json(200, &body)
}

#[tokio::test]
async fn the_variables_are_read_and_written_back_whole_for_the_revision_that_was_read() {
    let server = Server::start(vec![there(&format!(r#"{{"DB_PASSWORD":"{SECRET}"}}"#)), there("{}")]).await;
    let (cloud, _) = cloud(&server.url);
    let outcome = cloud.apply(&change(), jiff::Timestamp::UNIX_EPOCH).await;
    assert!(matches!(outcome, Outcome::Accepted { .. }), "{outcome:?}");
    let requests = server.requests();
    assert!(requests[0].starts_with("GET /2015-03-31/functions/payments-api/configuration"), "{}", requests[0]);
    assert!(requests[1].starts_with("PUT /2015-03-31/functions/payments-api/configuration"), "{}", requests[1]);
    let (_, body) = requests[1].split_once("\r\n\r\n").expect("a body");
    let sent: serde_json::Value = serde_json::from_str(body).expect("JSON");
    let whole = serde_json::json!({ "DB_PASSWORD": SECRET, "FAULT": "fail" });
    assert_eq!((&sent["Environment"]["Variables"], &sent["RevisionId"]), (&whole, &serde_json::json!("r-7")));
    assert_eq!(requests.len(), 2);
}

#[tokio::test]
async fn how_a_change_of_a_variable_ended_is_never_guessed_and_tells_no_secret() {
    let fine = || there(&format!(r#"{{"DB_PASSWORD":"{SECRET}"}}"#));
    let quoted = format!(
        r#"{{"__type":"InvalidParameterValueException","message":"Value '{{DB_PASSWORD={SECRET}}}' failed to satisfy"}}"#
    );
    let hidden =
        r#"{"Environment":{"Error":{"ErrorCode":"AccessDeniedException","Message":"kms"}},"RevisionId":"r-7"}"#;
    let stale = r#"{"__type":"PreconditionFailedException","message":"another revision"}"#;
    let theirs = || there(&format!(r#"{{"FAULT":"{SECRET}"}}"#));
    for (answers, expected, sent) in [
        (vec![fine(), json(412, stale)], "rejected PreconditionFailedException", 2),
        (vec![fine(), json(400, &quoted)], "rejected InvalidParameterValueException", 2),
        (vec![fine(), Answer::Hang], "unknown", 2),
        (vec![fine(), json(500, "{}")], "unknown", 2),
        // Nothing but the reading has left.
        (vec![Answer::Hang], "not sent", 1),
        (vec![json(500, "{}")], "not sent", 1),
        (vec![json(200, hidden)], "rejected EnvironmentUnreadable", 1),
        (vec![theirs()], "rejected VariableDrift", 1),
        (vec![there(r#"{"FAULT":"fail"}"#)], "accepted", 1),
    ] {
        let server = Server::start(answers.clone()).await;
        let (cloud, _) = cloud(&server.url);
        let outcome = cloud.apply(&change(), jiff::Timestamp::UNIX_EPOCH).await;
        let told = match &outcome {
            Outcome::Accepted { .. } => "accepted".to_owned(),
            Outcome::Rejected { code, .. } => format!("rejected {code}"),
            Outcome::NotSent { .. } => "not sent".to_owned(),
            Outcome::Unknown { .. } => "unknown".to_owned(),
        };
        assert_eq!(told, expected, "{answers:?}: {outcome:?}");
        assert!(!format!("{outcome:?}").contains(SECRET), "{outcome:?}");
        assert_eq!(server.requests().len(), sent, "{answers:?}");
    }
}
