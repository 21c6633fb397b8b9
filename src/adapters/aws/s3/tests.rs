//! S3 as something between us and it, or S3 itself, answers: what each answer means, and what is sent.

use super::*;
use crate::{
    adapters::aws::tests::{
        canned::{Answer, Server, xml},
        cloud, cloud_with,
    },
    domain::cloud::Mutation,
    ports::Cloud as _,
};

fn object() -> ObjectAt {
    let region = "us-west-2".parse().expect("a Region");
    ObjectAt { region, bucket: "standby".to_owned(), key: "payments/there".to_owned() }
}

/// An answer with S3's request id, and with more headers.
fn of_s3(status: u16, more: &'static str, code: &str) -> Answer {
    let content_type = match more {
        "" => "application/xml\r\nx-amz-request-id: S3ID",
        _ => "application/xml\r\nx-amz-request-id: S3ID\r\nx-amz-bucket-region: eu-west-1",
    };
    let body = if code.is_empty() {
        String::new()
    } else {
        format!("<Error><Code>{code}</Code><Message>no</Message></Error>")
    };
    Answer::Http { status, content_type, body }
}

fn put() -> Mutation {
    Mutation::PutObject { object: object(), body: "here\n".to_owned() }
}

#[tokio::test]
async fn how_a_put_ended_is_never_guessed_and_it_is_sent_once() {
    let cases = [
        (of_s3(200, "", ""), "Accepted"),
        // Something that is not S3 has answered: nobody knows.
        (xml(200, ""), "Unknown"),
        (xml(404, "<html>"), "Unknown"),
        (xml(301, ""), "Unknown"),
        (Answer::Hang, "Unknown"),
        (Answer::HangUp, "Unknown"),
        (of_s3(503, "", "SlowDown"), "Unknown"),
        (of_s3(500, "", "InternalError"), "Unknown"),
        (of_s3(404, "", "NoSuchBucket"), r#"Rejected { code: "NoSuchBucket""#),
        (of_s3(403, "", "AccessDenied"), r#"Rejected { code: "AccessDenied""#),
        (
            of_s3(301, "region", "PermanentRedirect"),
            r#"Rejected { code: "PermanentRedirect", message: "the bucket is in eu-west-1"#,
        ),
        (
            of_s3(400, "region", "AuthorizationHeaderMalformed"),
            r#"Rejected { code: "AuthorizationHeaderMalformed", message: "the bucket is in eu-west-1"#,
        ),
    ];
    for (answer, expected) in cases {
        let server = Server::start(vec![answer.clone()]).await;
        let (cloud, calls) = cloud(&server.url);
        let outcome = format!("{:?}", cloud.apply(&put(), jiff::Timestamp::UNIX_EPOCH).await);
        assert!(outcome.starts_with(expected), "{answer:?}: {outcome}");
        assert_eq!((server.requests().len(), calls.lines().len()), (1, 1), "{answer:?}");
    }
}

#[tokio::test]
async fn absence_is_the_word_of_s3_and_of_a_bucket_that_is_there() {
    let cases = [
        (vec![of_s3(200, "", "")], "Ok(true)"),
        (vec![of_s3(404, "", ""), of_s3(200, "", "")], "Ok(false)"),
        (vec![of_s3(404, "", ""), of_s3(404, "", "")], "Err(NotFound { what: \"bucket standby\""),
        // Who may not list the bucket is told 403 of what is absent: that is not known.
        (vec![of_s3(403, "", "")], "Err(Rejected { code: \"AccessDenied\""),
        (vec![of_s3(404, "", ""), of_s3(403, "", "")], "Err(Rejected { code: \"AccessDenied\""),
        (
            vec![of_s3(301, "region", "")],
            "Err(Rejected { code: \"PermanentRedirect\", message: \"the bucket is in eu-west-1",
        ),
        (vec![xml(404, "")], "Err(Unreachable"),
        (vec![xml(200, "")], "Err(Malformed"),
        (vec![of_s3(503, "", "")], "Err(Unreachable"),
        (vec![Answer::Hang], "Err(Unreachable"),
    ];
    for (answers, expected) in cases {
        let server = Server::start(answers.clone()).await;
        let (cloud, _) = cloud(&server.url);
        let seen = format!("{:?}", cloud.object_is_there(&object()).await);
        assert!(seen.starts_with(expected), "{answers:?}: {seen}");
    }
}

#[tokio::test]
async fn a_put_is_signed_for_s3_with_the_hash_of_its_body() {
    let server = Server::start(vec![of_s3(200, "", "")]).await;
    let (cloud, _) = cloud(&server.url);
    cloud.apply(&put(), jiff::Timestamp::UNIX_EPOCH).await;
    cloud.apply(&Mutation::DeleteObject { object: object() }, jiff::Timestamp::UNIX_EPOCH).await;
    let requests = server.requests();
    let head = requests[0].to_ascii_lowercase();
    assert!(requests[0].starts_with("PUT /standby/payments/there HTTP/1.1"), "{head}");
    assert!(requests[0].ends_with("\r\n\r\nhere\n"), "{head}");
    let hash = hex::encode(sha2::Sha256::digest(b"here\n"));
    for wanted in [
        format!("x-amz-content-sha256: {hash}"),
        "/us-west-2/s3/aws4_request".to_owned(),
        "x-amz-content-sha256".to_owned(),
        "cache-control: no-store".to_owned(),
        "content-length: 5".to_owned(),
    ] {
        assert!(head.contains(&wanted), "{wanted}: {head}");
    }
    assert!(requests[1].starts_with("DELETE /standby/payments/there HTTP/1.1"), "{}", requests[1]);
}

#[tokio::test]
async fn without_credentials_nothing_is_sent() {
    let server = Server::start(vec![of_s3(200, "", "")]).await;
    let none = crate::adapters::aws::tests::NoCredentials;
    let (cloud, _) = cloud_with(&server.url, aws_credential_types::provider::SharedCredentialsProvider::new(none));
    let outcome = cloud.apply(&put(), jiff::Timestamp::UNIX_EPOCH).await;
    assert!(matches!(outcome, Outcome::NotSent { .. }), "{outcome:?}");
    assert!(server.requests().is_empty());
}
