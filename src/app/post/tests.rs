use super::*;
use crate::domain::notice::{Act, Kind, NoticeId, Severity};

fn notice() -> Notice {
    let app = "payments".parse().expect("a name");
    let run = "payments-0123456789abcdef0123456789abcdef".parse().expect("an id");
    let at = "2026-11-22T03:04:05Z".parse().expect("a time");
    Notice::new(NoticeId::of_event(&app, 42, 1), &app, at, Kind::RunHeld, Severity::Page)
        .about(&run, Act::Trigger)
        .says(format!("payments: the failover is held — {}", "and waits ".repeat(20)))
        .fact("why", "lag 40 s is over the bound of 30 s")
}

#[test]
fn a_topic_gets_a_subject_that_sns_takes_and_the_whole_message() {
    let region = "us-west-2".parse().expect("a Region");
    let Mutation::Publish { subject, message, topic_arn, .. } =
        publish(&region, "arn:aws:sns:us-west-2:1:oncall", &notice(), Some("https://f.example.com"))
    else {
        panic!("a publication")
    };
    assert!(subject.is_ascii() && subject.len() <= 100 && !subject.contains('\n'), "{subject}");
    assert_eq!(topic_arn, "arn:aws:sns:us-west-2:1:oncall");
    insta::assert_snapshot!(message.replace("and waits ", ""), @r"
    payments: the failover is held — and wa…

    why: lag 40 s is over the bound of 30 s

    https://f.example.com/runs/payments-0123456789abcdef0123456789abcdef
    run_held at 2026-11-22T03:04:05Z (page, payments/42/1)
    ");
}

#[test]
fn a_bus_gets_the_generic_payload_under_the_kind() {
    let region = "us-west-2".parse().expect("a Region");
    let bus = "arn:aws:events:us-west-2:123456789012:event-bus/default";
    let Mutation::AwsCall { request, .. } = put_events(&region, bus, &notice(), None) else { panic!("a call") };
    assert_eq!(request.operation, "events:PutEvents");
    let entry = &request.arguments["Entries"][0];
    assert_eq!(
        (&entry["Source"], &entry["DetailType"], &entry["EventBusName"]),
        (&"failoverd".into(), &"run_held".into(), &bus.into())
    );
    let detail: serde_json::Value = serde_json::from_str(entry["Detail"].as_str().expect("text")).expect("json");
    assert_eq!(detail["id"], "payments/42/1");
}

#[test]
fn what_aws_answers_is_tried_again_where_a_person_can_mend_it() {
    let accepted = |handle: Option<&str>| Outcome::Accepted { request_id: None, handle: handle.map(str::to_owned) };
    let rejected = |code: &str| Outcome::Rejected { code: code.to_owned(), message: "m".to_owned(), request_id: None };
    assert_eq!(sent(accepted(None), false), Sent::Delivered);
    assert_eq!(sent(accepted(Some("e-1")), true), Sent::Delivered);
    // A bus that answers 200 and took nothing.
    assert!(matches!(sent(accepted(None), true), Sent::Failed { .. }));
    assert!(matches!(sent(rejected("InvalidParameter"), false), Sent::Refused { .. }));
    for code in ["AuthorizationError", "NotFound", "Throttled", "KMSDisabled"] {
        assert!(matches!(sent(rejected(code), false), Sent::Failed { .. }), "{code}");
    }
    assert!(matches!(sent(Outcome::Unknown { reason: "timeout".to_owned() }, false), Sent::Failed { .. }));
}
