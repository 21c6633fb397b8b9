use std::path::Path;

use crate::{
    config::{Faults, Settings},
    domain::{channel::Via, notice::Severity},
};

/// The default configuration with `more` before its applications.
fn read(more: &str) -> Result<Settings, Faults> {
    changed(more, |text| text)
}

fn changed(more: &str, change: impl FnOnce(String) -> String) -> Result<Settings, Faults> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/default.toml"));
    let text = text.expect("it is there");
    let (before, rest) = text.split_once("[notify]\n").expect("the section");
    let (_, rest) = rest.split_once("[runbooks]").expect("the next but one");
    Settings::parse("f.toml", &change(format!("{before}{more}\n[runbooks]{rest}")), Path::new(""), &Default::default())
}

const ALL: &str = r#"
[notify]
url = "https://failoverd.example.com/"
[[notify.channels]]
name = "oncall"
kind = "pagerduty"
routing_key = "env:PD"
events = ["page"]
[[notify.channels]]
name = "chat"
kind = "slack"
url = "file:/run/secrets/slack"
applications = ["example"]
[[notify.channels]]
name = "desk"
kind = "generic"
url = "https://hooks.example.com/failoverd"
key = "env:HOOK"
events = ["info", "page"]
[[notify.channels]]
name = "oncall-west"
kind = "sns"
arn = "arn:aws:sns:us-west-2:123456789012:oncall"
[[notify.channels]]
name = "bus"
kind = "eventbridge"
bus = "arn:aws:events:us-west-2:123456789012:event-bus/default"
[network]
allow_private = ["10.0.0.0/8"]
"#;

#[test]
fn every_kind_of_channel_is_read_and_a_topic_that_stands_twice_is_told_once() {
    let settings = read(ALL).unwrap_or_else(|f| panic!("{f}"));
    assert!(settings.warnings.is_empty(), "{}", settings.warnings);
    assert_eq!(settings.public_url().as_deref(), Some("https://failoverd.example.com"));
    assert_eq!(settings.egress.allow.len(), 1);
    assert!(!settings.egress.loopback, "for production");
    let all = settings.notify.channels.of(&settings.applications[0]);
    let names: Vec<_> = all.keys().map(|name| name.as_str()).collect();
    // The topic in us-west-2 is `oncall-west`, so that only the one in us-east-1 keeps its own name.
    assert_eq!(names, ["bus", "chat", "desk", "oncall", "oncall-west", "topic-1-us-east-1"]);
    let chat = all.values().find(|c| matches!(c.via, Via::Slack { .. })).expect("there");
    assert_eq!(chat.takes, [Severity::Ticket, Severity::Page].into());
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_key_and_no_secret_is_repeated() {
    let one = |rest: &str| format!("[[notify.channels]]\nname = \"x\"\n{rest}\n");
    for (more, key) in [
        (one("kind = \"smoke\""), "notify.channels[0].kind"),
        (one("kind = \"slack\"\nurl = \"https://hooks.slack.com/services/T0/B0/5ec7e7\""), "notify.channels[0].url"),
        (one("kind = \"pagerduty\"\nrouting_key = \"5ec7e7\""), "notify.channels[0].routing_key"),
        (one("kind = \"slack\""), "`url` is missing"),
        (one("kind = \"generic\"\nurl = \"http://169.254.169.254/5ec7e7\"\nkey = \"env:K\""), "notify.channels[0].url"),
        (
            one("kind = \"generic\"\nurl = \"https://10.0.0.1/\"\nkey = \"env:K\""),
            "no network of [network] allow_private",
        ),
        (one("kind = \"generic\"\nurl = \"https://u:5ec7e7@example.com/\"\nkey = \"env:K\""), "a user or password"),
        (one("kind = \"generic\"\nurl = \"https://example.com:22/\"\nkey = \"env:K\""), "port 22"),
        (one("kind = \"slack\"\nurl = \"env:S\"\nevents = []"), "notify.channels[0].events"),
        (one("kind = \"slack\"\nurl = \"env:S\"\nevents = [\"noise\"]"), "expected \"page\""),
        (one("kind = \"slack\"\nurl = \"env:S\"\napplications = [\"nobody\"]"), "there is no application `nobody`"),
        (one("kind = \"slack\"\nurl = \"env:S\"\ncolour = \"red\""), "colour"),
        (one("kind = \"sns\"\narn = \"arn:aws:sqs:us-west-2:1:q\""), "is not the ARN of an SNS topic"),
        (one("kind = \"eventbridge\"\nbus = \"default\""), "is not the ARN of an event bus"),
        (
            format!("{}{}", one("kind = \"slack\"\nurl = \"env:S\""), one("kind = \"slack\"\nurl = \"env:S\"")),
            "stands here twice",
        ),
        ("[[notify.channels]]\nname = \"topic-0\"\nkind = \"slack\"\nurl = \"env:S\"\n".to_owned(), "names that begin"),
        ("[network]\nallow_private = [\"0.0.0.0/0\"]\n".to_owned(), "network.allow_private[0]"),
        ("[notify]\nurl = \"failoverd\"\n".to_owned(), "notify.url"),
    ] {
        let faults = read(&more).expect_err(&more);
        // What the drawing shows of the operator's own file stands in that file; the JSON is ours, and on one line.
        let json = faults.to_json().to_string().replace("\\\"", "\"");
        assert!(json.contains(key), "{key}: {json}");
        assert!(!json.contains("5ec7e7"), "{json}");
    }
}

/// FAULTS.md L5.
#[test]
fn fewer_than_two_channels_that_page_are_warned_of() {
    let warned = |more: &str, topics: &str| {
        let all = "topics = [\n    { arn = \"arn:aws:sns:us-west-2:123456789012:oncall\" },\n    { arn = \"arn:aws:sns:us-east-1:123456789012:oncall\" },\n]";
        let settings = changed(more, |text| {
            assert!(text.contains(all));
            text.replace(all, topics)
        });
        settings.unwrap_or_else(|f| panic!("{f}")).warnings.to_string().contains("config-one-channel")
    };
    let (west, east) = ("{ arn = \"arn:aws:sns:us-west-2:1:a\" }", "{ arn = \"arn:aws:sns:us-east-1:1:a\" }");
    let same = "{ arn = \"arn:aws:sns:us-west-2:1:b\" }";
    let slack = |events: &str| {
        format!("[[notify.channels]]\nname = \"x\"\nkind = \"slack\"\nurl = \"env:S\"\nevents = [{events}]\n")
    };
    assert!(!warned("", &format!("topics = [{west}, {east}]")));
    assert!(warned("", &format!("topics = [{west}]")), "one topic");
    assert!(warned("", &format!("topics = [{west}, {same}]")), "two topics of one Region go out of order together");
    assert!(!warned(&slack("\"page\""), &format!("topics = [{west}]")), "a topic and a webhook");
    assert!(warned(&slack("\"ticket\""), &format!("topics = [{west}]")), "a webhook that is not paged");
    assert!(warned(&slack("\"page\""), "topics = []"), "a webhook alone");
    let both = format!("topics = [{west}, {east}]");
    assert!(warned("[notify]\ntopics = false\n", &both), "topics that are for runbooks alone");
}
