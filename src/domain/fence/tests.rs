use super::*;
use crate::domain::cloud::CloudEvent;

fn east() -> Region {
    "us-east-1".parse().expect("a Region")
}

fn peer(text: &str) -> Peer {
    text.parse().expect("a peer")
}

fn rule(text: &str, ports: (i64, i64)) -> IngressRule {
    IngressRule { peer: peer(text), protocol: "tcp".to_owned(), ports, description: None }
}

#[test]
fn a_peer_reads_as_it_is_written() {
    for text in ["sg-0123456789abcdef0", "pl-0123456789abcdef0", "10.0.0.0/16", "0.0.0.0/0", "2001:db8::/32"] {
        assert_eq!(peer(text).to_string(), text);
    }
    for text in ["", "sg-", "sg-xyz", "10.0.0.0", "10.0.0.0/33", "db8/32", "10.0.0.0/16 "] {
        assert!(text.parse::<Peer>().is_err(), "{text}");
    }
}

#[test]
fn only_a_rule_of_exactly_the_port_is_a_fences_to_revoke() {
    let any = IngressRule { protocol: "-1".to_owned(), ports: (-1, -1), ..rule("0.0.0.0/0", (0, 0)) };
    let (wide, other) = (rule("10.0.0.0/8", (0, 65_535)), rule("10.0.0.0/8", (443, 443)));
    assert!(any.reaches(5432) && !any.is_only(5432));
    assert!(wide.reaches(5432) && !wide.is_only(5432));
    assert!(!other.reaches(5432) && rule("10.0.0.0/8", (5432, 5432)).is_only(5432));
}

#[test]
fn what_is_revoked_and_made_again_is_the_same_to_the_letter() {
    let rules = vec![
        IngressRule { description: Some("the application".to_owned()), ..rule("sg-0123456789abcdef0", (5432, 5432)) },
        rule("10.1.0.0/16", (5432, 5432)),
    ];
    let group = "sg-00000000000000001";
    for (mutation, is_there) in [(revoke(&east(), group, &rules), false), (authorise(&east(), group, &rules), true)] {
        let Mutation::AwsCall { request, idempotent: true } = &mutation else { panic!("{mutation:?}") };
        let expected = match is_there {
            true => Wanted::There { region: east(), group: group.to_owned(), rules: rules.clone() },
            false => Wanted::Gone { region: east(), group: group.to_owned(), rules: rules.clone() },
        };
        assert_eq!(Wanted::of(request), Some(expected));
    }
}

fn described(rules: &[(&str, &str, &str)]) -> Value {
    let item = |(peer, from, to): &(&str, &str, &str)| {
        let mut item = json!({ "isEgress": "false", "ipProtocol": "tcp", "fromPort": from, "toPort": to });
        match peer.starts_with("sg-") {
            true => item["referencedGroupInfo"] = json!({ "groupId": peer, "userId": "111122223333" }),
            false => item["cidrIpv4"] = json!(peer),
        }
        item
    };
    json!({ "securityGroupRuleSet": rules.iter().map(item).collect::<Vec<_>>() })
}

#[test]
fn a_revoked_rule_is_gone_only_when_the_answer_is_whole_and_lacks_it() {
    let app = "sg-0123456789abcdef0";
    let rules = vec![rule(app, (5432, 5432))];
    let gone = Wanted::Gone { region: east(), group: "sg-00000000000000001".to_owned(), rules };
    let there = described(&[(app, "5432", "5432")]);
    assert!(matches!(gone.judge(&there), Ok(Shown::NotSo { says }) if says.contains(app)));
    assert!(matches!(gone.judge(&described(&[("10.0.0.0/8", "5432", "5432")])), Ok(Shown::So { .. })));
    // An empty set in XML is an empty text.
    assert!(matches!(gone.judge(&json!({ "securityGroupRuleSet": "" })), Ok(Shown::So { .. })));
    for unclear in [
        json!({}),
        json!({ "securityGroupRuleSet": "", "nextToken": "more" }),
        json!({ "securityGroupRuleSet": [{ "isEgress": "false", "ipProtocol": "tcp" }] }),
        json!({ "securityGroupRuleSet": [{ "ipProtocol": "tcp", "cidrIpv4": "10.0.0.0/8" }] }),
    ] {
        assert!(gone.judge(&unclear).is_err(), "{unclear}");
    }
}

#[test]
fn a_service_is_off_when_nothing_runs_and_not_when_nothing_is_wanted() {
    let part = Part::Ecs { cluster: "shop".to_owned(), service: "api".to_owned() };
    let off = Wanted::Size { region: east(), part, count: Some(0) };
    let counts = |desired: u64, running: u64| json!({ "services": [{ "desiredCount": desired, "runningCount": running, "pendingCount": 0 }] });
    assert!(matches!(off.judge(&counts(0, 0)), Ok(Shown::So { .. })));
    assert!(matches!(off.judge(&counts(0, 2)), Ok(Shown::Coming { .. })));
    assert!(matches!(off.judge(&counts(2, 2)), Ok(Shown::NotSo { .. })));
    assert!(off.judge(&json!({ "services": [] })).is_err(), "what is not there is not off");
    let untold = json!({ "services": [{ "desiredCount": 0, "runningCount": 0 }] });
    assert!(off.judge(&untold).is_err(), "what is not told to start may be starting");
}

#[test]
fn a_function_without_a_reservation_is_not_off() {
    let part = Part::Lambda { function: "api".to_owned() };
    let off = Wanted::Size { region: east(), part: part.clone(), count: Some(0) };
    assert!(matches!(off.judge(&json!({})), Ok(Shown::NotSo { .. })));
    assert!(matches!(off.judge(&json!({ "ReservedConcurrentExecutions": 0 })), Ok(Shown::So { .. })));
    assert!(off.judge(&Value::Null).is_err());
    let back = Wanted::Size { region: east(), part, count: None };
    assert!(matches!(back.judge(&json!({})), Ok(Shown::So { .. })));
}

#[test]
fn the_event_that_counts_is_the_newest_of_this_run() {
    let at = |s: i64| jiff::Timestamp::from_second(s).expect("in range");
    let event = |s: i64, message: &str| CloudEvent { at: at(s), categories: Vec::new(), message: message.to_owned() };
    let succeeded = "Write fencing of the old primary DB cluster for the global failover succeeded.";
    let timed_out = "Write fencing of the old primary DB cluster for the global failover timed out.";
    let told = |events: &[CloudEvent]| fencing_event(events, at(100)).map(|(fenced, _)| fenced);
    assert_eq!(told(&[event(150, succeeded)]), Some(Fenced::Verified));
    assert_eq!(told(&[event(150, timed_out)]), Some(Fenced::TimedOut));
    assert_eq!(told(&[event(50, succeeded)]), None, "of an earlier failover");
    assert_eq!(told(&[event(150, succeeded), event(160, timed_out)]), Some(Fenced::TimedOut));
    assert_eq!(told(&[event(150, "Write fencing of the old primary DB cluster has begun.")]), None);
}
