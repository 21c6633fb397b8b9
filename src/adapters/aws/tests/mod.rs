//! The real SDK against a server on loopback: how every kind of ill answer is understood, and that every mutation is
//! sent exactly once.
#![expect(clippy::disallowed_methods, reason = "time limits of the SDK are measured against real time here")]

pub(super) mod canned;
mod capacity;
mod iam;
mod lambda;
mod parameters;

use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use aws_credential_types::{
    Credentials,
    provider::{self, ProvideCredentials, SharedCredentialsProvider, error::CredentialsError},
};
use jiff::Timestamp;

use self::canned::{Answer, Server, fault, json, xml};
use super::*;
use crate::domain::{assessment::Assessment, journal::Record};

#[derive(Debug)]
struct TestClock(Instant);

#[async_trait]
impl Clock for TestClock {
    fn boot(&self) -> Duration {
        self.0.elapsed()
    }

    fn wall(&self) -> Timestamp {
        "2026-11-21T06:00:00Z".parse().expect("valid")
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

#[derive(Debug, Default)]
pub(super) struct Calls(Mutex<Vec<String>>);

impl Observer for Calls {
    fn recorded(&self, _: &Record, _: f64) {}

    fn assessed(&self, _: &Assessment) {}

    fn called(&self, service: &str, operation: &str, region: &str, outcome: &str, _: Timestamp) {
        let line = format!("{service}:{operation} {region} {outcome}");
        self.0.lock().expect("not poisoned").push(line);
    }
}

impl Calls {
    pub(super) fn lines(&self) -> Vec<String> {
        self.0.lock().expect("not poisoned").clone()
    }
}

#[derive(Debug)]
pub(super) struct NoCredentials;

impl ProvideCredentials for NoCredentials {
    fn provide_credentials<'a>(&'a self) -> provider::future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        provider::future::ProvideCredentials::ready(Err(CredentialsError::not_loaded("none here")))
    }
}

fn options() -> Options {
    Options {
        call_timeout: Duration::from_millis(2500),
        attempt_timeout: Duration::from_millis(400),
        connect_timeout: Duration::from_millis(300),
        ..Options::default()
    }
}

pub(super) fn cloud_with(url: &str, credentials: SharedCredentialsProvider) -> (AwsCloud, Arc<Calls>) {
    let calls = Arc::new(Calls::default());
    let config = SdkConfig::builder().endpoint_url(url).credentials_provider(credentials).build();
    let clock = Arc::new(TestClock(Instant::now()));
    let cloud = AwsCloud::new(config, clock, Arc::clone(&calls) as Arc<dyn Observer>, options());
    (cloud, calls)
}

pub(super) fn cloud(url: &str) -> (AwsCloud, Arc<Calls>) {
    let credentials = Credentials::new("AKIDTEST", "secret", None, None, "test");
    cloud_with(url, SharedCredentialsProvider::new(credentials))
}

pub(super) fn region(name: &str) -> Region {
    name.parse().expect("a Region")
}

fn target() -> ClusterArn {
    "arn:aws:rds:us-west-2:123456789012:cluster:payments-west".parse().expect("an ARN")
}

fn failover() -> Mutation {
    Mutation::AuroraFailover { region: region("us-west-2"), global_cluster: "payments".to_owned(), target: target() }
}

fn detachment(from: &str) -> Mutation {
    Mutation::AuroraDetach { region: region(from), global_cluster: "payments".to_owned(), target: target() }
}

fn object() -> ObjectAt {
    ObjectAt { region: region("us-west-2"), bucket: "standby".to_owned(), key: "k".to_owned() }
}

fn endpoint(url: &str) -> ClusterEndpoint {
    ClusterEndpoint { region: region("ap-southeast-2"), url: url.to_owned() }
}

fn controls(endpoints: &[&Server]) -> Mutation {
    Mutation::RoutingControls {
        endpoints: endpoints.iter().map(|s| endpoint(&s.url)).collect(),
        states: BTreeMap::from([("arn:on".to_owned(), true), ("arn:off".to_owned(), false)]),
    }
}

fn every_mutation(url: &str) -> Vec<Mutation> {
    vec![
        Mutation::AuroraSwitchover {
            region: region("us-east-1"),
            global_cluster: "payments".to_owned(),
            target: target(),
        },
        failover(),
        Mutation::RoutingControls {
            endpoints: vec![endpoint(url)],
            states: BTreeMap::from([("arn:on".to_owned(), true)]),
        },
        Mutation::PutMetric {
            region: region("us-west-2"),
            namespace: "Failoverd".to_owned(),
            metric: "Divert".to_owned(),
            dimensions: BTreeMap::new(),
            value: 1.0,
        },
        Mutation::UpsertRecords {
            hosted_zone_id: "Z1".to_owned(),
            records: vec![RecordSet {
                name: "app.example.com".to_owned(),
                record_type: "A".to_owned(),
                ttl_seconds: Some(60),
                values: vec!["192.0.2.1".to_owned()],
                set_identifier: None,
                failover: None,
                weight: None,
                health_check_id: None,
            }],
            comment: "test".to_owned(),
        },
        Mutation::Publish {
            region: region("eu-west-1"),
            topic_arn: "arn:aws:sns:eu-west-1:123456789012:alerts".to_owned(),
            subject: "s".to_owned(),
            message: "m".to_owned(),
        },
        detachment("us-west-2"),
        Mutation::PutObject { object: object(), body: "x".to_owned() },
        Mutation::DeleteObject { object: object() },
    ]
}

/// The variant of an outcome, and its code where it has one.
fn kind(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Accepted { .. } => "accepted".to_owned(),
        Outcome::Rejected { code, .. } => format!("rejected {code}"),
        Outcome::NotSent { .. } => "not sent".to_owned(),
        Outcome::Unknown { .. } => "unknown".to_owned(),
    }
}

const FAILOVER_TAKEN: &str = "<FailoverGlobalClusterResponse><FailoverGlobalClusterResult/>\
    <ResponseMetadata><RequestId>req-1</RequestId></ResponseMetadata></FailoverGlobalClusterResponse>";

#[tokio::test]
async fn how_a_mutation_ended_is_never_guessed_and_it_is_sent_once() {
    let cases = [
        (xml(200, FAILOVER_TAKEN), "accepted"),
        (xml(200, "<<<"), "unknown"),
        (xml(200, ""), "unknown"),
        (Answer::Hang, "unknown"),
        (Answer::HangUp, "unknown"),
        (Answer::BreakOff, "unknown"),
        (fault(503, "ServiceUnavailable"), "unknown"),
        (fault(500, "InternalFailure"), "unknown"),
        (fault(400, "Throttling"), "rejected Throttling"),
        (fault(400, "InvalidGlobalClusterStateFault"), "rejected InvalidGlobalClusterStateFault"),
        (fault(403, "ExpiredToken"), "rejected ExpiredToken"),
        // Not AWS's word: something between us and it, which may have passed the call on.
        (xml(400, "<html>bad gateway settings</html>"), "unknown"),
        (xml(302, ""), "unknown"),
    ];
    for (answer, expected) in cases {
        let server = Server::start(vec![answer.clone()]).await;
        let (cloud, calls) = cloud(&server.url);
        let outcome = cloud.apply(&failover(), jiff::Timestamp::UNIX_EPOCH).await;
        assert_eq!(kind(&outcome), expected, "{answer:?}: {outcome:?}");
        assert_eq!(server.requests().len(), 1, "{answer:?}");
        assert_eq!(calls.lines().len(), 1, "{answer:?}");
    }
}

#[tokio::test]
async fn no_mutation_is_ever_repeated_by_the_sdk() {
    for ill in [fault(503, "ServiceUnavailable"), Answer::HangUp, Answer::Hang] {
        let server = Server::start(vec![ill.clone()]).await;
        let (cloud, _) = cloud(&server.url);
        for (already, mutation) in every_mutation(&server.url).iter().enumerate() {
            let outcome = cloud.apply(mutation, jiff::Timestamp::UNIX_EPOCH).await;
            assert_eq!(kind(&outcome), "unknown", "{mutation:?}: {outcome:?}");
            assert_eq!(server.requests().len(), already + 1, "{mutation:?} {ill:?}");
        }
    }
}

#[tokio::test]
async fn an_accepted_or_rejected_mutation_keeps_its_request_id() {
    let server = Server::start(vec![xml(200, FAILOVER_TAKEN), fault(400, "X")]).await;
    let (cloud, calls) = cloud(&server.url);
    let intended_at = "2026-11-21T05:58:00Z".parse().expect("valid");
    let Outcome::Accepted { request_id, .. } = cloud.apply(&failover(), intended_at).await else { panic!("accepted") };
    assert_eq!(request_id.as_deref(), Some("req-1"));
    let Outcome::Rejected { request_id, .. } = cloud.apply(&failover(), intended_at).await else { panic!("rejected") };
    assert_eq!(request_id.as_deref(), Some("req-1"));
    assert_eq!(
        calls.lines(),
        ["rds:FailoverGlobalCluster us-west-2 ok", "rds:FailoverGlobalCluster us-west-2 rejected"]
    );
    let sent = &server.requests()[0];
    assert!(sent.contains("AllowDataLoss=true"), "{sent}");
    // Signed for the Region of the call, and as of its intent, however late it leaves: our clock says 06:00.
    assert!(sent.contains("/20261121/us-west-2/rds/aws4_request"), "{sent}");
    assert!(sent.contains("x-amz-date: 20261121T055800Z"), "{sent}");
}

#[tokio::test]
async fn what_never_left_is_known_not_to_have_been_sent() {
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("loopback");
        format!("http://{}", listener.local_addr().expect("bound"))
    };
    // TLS that never comes to stand: the handshake hangs until the connect timeout, as this server speaks no TLS.
    let silent = Server::start(vec![Answer::Hang]).await;
    let tls = silent.url.replace("http:", "https:");
    for url in [closed.as_str(), "http://no-such-host.invalid", tls.as_str()] {
        let (cloud, calls) = cloud(url);
        for mutation in every_mutation(url) {
            let outcome = cloud.apply(&mutation, jiff::Timestamp::UNIX_EPOCH).await;
            assert_eq!(kind(&outcome), "not sent", "{url}: {outcome:?}");
        }
        assert!(calls.lines().iter().all(|l| l.ends_with(" not_sent")));
    }
    let server = Server::start(vec![Answer::HangUp]).await;
    let (cloud, _) = cloud_with(&server.url, SharedCredentialsProvider::new(NoCredentials));
    for mutation in every_mutation(&server.url) {
        let outcome = cloud.apply(&mutation, jiff::Timestamp::UNIX_EPOCH).await;
        assert_eq!(kind(&outcome), "not sent", "no credentials: {outcome:?}");
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_mutation_for_the_wrong_region_is_not_sent() {
    let server = Server::start(vec![Answer::HangUp]).await;
    let (cloud, _) = cloud(&server.url);
    let wrong = [
        detachment("us-east-1"),
        Mutation::AuroraFailover {
            region: region("us-east-1"),
            global_cluster: "payments".to_owned(),
            target: target(),
        },
        Mutation::AuroraSwitchover {
            region: region("us-west-2"),
            global_cluster: "payments".to_owned(),
            target: target(),
        },
        Mutation::Publish {
            region: region("us-west-2"),
            topic_arn: "arn:aws:sns:eu-west-1:123456789012:alerts".to_owned(),
            subject: "s".to_owned(),
            message: "m".to_owned(),
        },
    ];
    for mutation in wrong {
        assert_eq!(kind(&cloud.apply(&mutation, jiff::Timestamp::UNIX_EPOCH).await), "not sent");
    }
    assert!(server.requests().is_empty());
}

/// World time at a hundred times the pace of the machine's.
#[derive(Debug)]
struct FastClock(Instant);

#[async_trait]
impl Clock for FastClock {
    fn boot(&self) -> Duration {
        self.0.elapsed() * 100
    }

    fn wall(&self) -> Timestamp {
        "2026-11-21T06:00:00Z".parse().expect("valid")
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration / 100).await;
    }
}

#[tokio::test]
async fn time_limits_run_by_the_clock_that_was_given() {
    let server = Server::start(vec![Answer::Hang]).await;
    let (_, calls) = cloud(&server.url);
    let credentials = Credentials::new("AKIDTEST", "secret", None, None, "test");
    let config = SdkConfig::builder()
        .endpoint_url(&server.url)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build();
    let slow = Options {
        call_timeout: Duration::from_secs(60),
        attempt_timeout: Duration::from_secs(40),
        connect_timeout: Duration::from_secs(30),
        ..Options::default()
    };
    let clock = Arc::new(FastClock(Instant::now()));
    let cloud = AwsCloud::new(config, clock, calls, slow);
    let began = Instant::now();
    assert_eq!(kind(&cloud.apply(&failover(), jiff::Timestamp::UNIX_EPOCH).await), "unknown");
    let read = cloud.global_cluster(&region("us-east-1"), "payments").await;
    assert!(matches!(read, Err(ObserveError::Unreachable { .. })), "{read:?}");
    assert!(began.elapsed() < Duration::from_secs(20), "a hundred world seconds");
}

async fn read_failing(answer: Answer) -> (ObserveError, usize, Duration) {
    let server = Server::start(vec![answer]).await;
    let (cloud, _) = cloud(&server.url);
    let began = Instant::now();
    let read = cloud.global_cluster(&region("us-east-1"), "payments").await;
    let error = read.expect_err("the answer is ill");
    (error, server.requests().len(), began.elapsed())
}

#[tokio::test]
async fn an_ill_read_tells_why_and_ends_in_time() {
    use ObserveError as E;
    let (error, ..) = read_failing(fault(404, "GlobalClusterNotFoundFault")).await;
    assert!(matches!(error, E::NotFound { .. }), "{error:?}");
    let (error, ..) = read_failing(fault(403, "AccessDenied")).await;
    assert!(matches!(error, E::Rejected { .. }), "{error:?}");
    let (error, ..) = read_failing(fault(400, "Throttling")).await;
    assert_eq!(error, E::Throttled);
    let (error, ..) = read_failing(xml(200, "<<<")).await;
    assert!(matches!(error, E::Malformed { .. }), "{error:?}");
    let (error, ..) = read_failing(xml(200, &"<a>".repeat(3 << 20))).await;
    assert!(matches!(error, E::Malformed { .. }), "{error:?}");
    let (error, requests, took) = read_failing(Answer::Hang).await;
    assert!(matches!(error, E::Unreachable { .. }), "{error:?}");
    assert!((1..=3).contains(&requests), "{requests}");
    assert!(took < options().call_timeout + Duration::from_secs(1), "{took:?}");
    let (error, requests, _) = read_failing(fault(503, "ServiceUnavailable")).await;
    assert!(matches!(error, E::Unreachable { .. }), "{error:?}");
    assert!((2..=3).contains(&requests), "{requests}");
}

fn described(members: &str, state: &str) -> Answer {
    xml(
        200,
        &format!(
            "<DescribeGlobalClustersResponse><DescribeGlobalClustersResult><GlobalClusters>\
             <GlobalClusterMember><GlobalClusterIdentifier>payments</GlobalClusterIdentifier>\
             <Status>switching-over</Status><Engine>aurora-postgresql</Engine>\
             <EngineVersion>16.6</EngineVersion><GlobalClusterMembers>{members}</GlobalClusterMembers>\
             {state}</GlobalClusterMember></GlobalClusters></DescribeGlobalClustersResult>\
             </DescribeGlobalClustersResponse>"
        ),
    )
}

#[tokio::test]
async fn statuses_that_the_sdk_does_not_know_are_kept_as_text() {
    let member = format!(
        "<GlobalClusterMember><DBClusterArn>{}</DBClusterArn><IsWriter>true</IsWriter>\
         <SynchronizationStatus>novel</SynchronizationStatus></GlobalClusterMember>",
        target()
    );
    let state = format!(
        "<FailoverState><Status>switching-over</Status><ToDbClusterArn>{}</ToDbClusterArn>\
         <IsDataLossAllowed>false</IsDataLossAllowed></FailoverState>",
        target()
    );
    let server = Server::start(vec![
        described(&member, &state),
        described(&member, "<FailoverState/>"),
        described("<GlobalClusterMember><DBClusterArn>x</DBClusterArn></GlobalClusterMember>", ""),
    ])
    .await;
    let (cloud, _) = cloud(&server.url);
    let here = region("us-west-2");
    let read = || cloud.global_cluster(&here, "payments");
    let busy = read().await.expect("readable");
    let failover = busy.failover.expect("present");
    assert_eq!(failover.status, "switching-over");
    assert_eq!(failover.to, Some(target()));
    assert!(!failover.data_loss_allowed);
    assert_eq!(busy.members[0].synchronization.as_deref(), Some("novel"));
    assert_eq!(read().await.expect("readable").failover, None);
    let error = read().await.expect_err("no ARN");
    assert!(matches!(error, ObserveError::Malformed { .. }), "{error:?}");
}

fn listing(sets: &[(&str, &str, &str)], next: Option<(&str, &str)>) -> Answer {
    let sets: String = sets
        .iter()
        .map(|(name, kind, id)| {
            format!(
                "<ResourceRecordSet><Name>{name}</Name><Type>{kind}</Type><SetIdentifier>{id}</SetIdentifier>\
                 <Weight>7</Weight><TTL>60</TTL><ResourceRecords><ResourceRecord><Value>192.0.2.1</Value>\
                 </ResourceRecord></ResourceRecords></ResourceRecordSet>"
            )
        })
        .collect();
    let next = next.map_or_else(
        || "<IsTruncated>false</IsTruncated>".to_owned(),
        |(name, id)| {
            format!(
                "<IsTruncated>true</IsTruncated><NextRecordName>{name}</NextRecordName>\
                 <NextRecordType>A</NextRecordType><NextRecordIdentifier>{id}</NextRecordIdentifier>"
            )
        },
    );
    xml(
        200,
        &format!(
            "<ListResourceRecordSetsResponse><ResourceRecordSets>{sets}</ResourceRecordSets>{next}\
             <MaxItems>2</MaxItems></ListResourceRecordSetsResponse>"
        ),
    )
}

#[tokio::test]
async fn record_sets_are_listed_over_pages_and_only_those_of_the_name_and_type() {
    let server = Server::start(vec![
        listing(&[("app.example.com.", "A", "east")], Some(("app.example.com.", "west"))),
        listing(
            &[("app.example.com.", "A", "west"), ("app.example.com.", "AAAA", "six"), ("b.example.com.", "A", "other")],
            Some(("c.example.com.", "more")),
        ),
    ])
    .await;
    let (cloud, _) = cloud(&server.url);
    let sets = cloud.record_sets("/hostedzone/Z1", "app.example.com", "A").await;
    let sets = sets.expect("listed");
    let ids: Vec<_> = sets.iter().filter_map(|s| s.set_identifier.as_deref()).collect();
    assert_eq!(ids, ["east", "west"]);
    assert_eq!(sets[0].name, "app.example.com");
    assert_eq!((sets[0].ttl_seconds, sets[0].weight), (Some(60), Some(7)));
    assert_eq!(server.requests().len(), 2);
    assert!(server.requests()[1].contains("identifier=west"));
}

#[tokio::test]
async fn a_listing_without_end_is_given_up() {
    let page = listing(&[("app.example.com.", "A", "x")], Some(("app.example.com.", "x")));
    let server = Server::start(vec![page]).await;
    let (cloud, _) = cloud(&server.url);
    let error = cloud.record_sets("Z1", "app.example.com", "A").await.expect_err("endless");
    assert!(matches!(error, ObserveError::Malformed { .. }), "{error:?}");
    assert_eq!(server.requests().len(), PAGES_MAX);
}

#[tokio::test]
async fn a_change_is_followed_by_its_bare_id() {
    let change = |status: &str| {
        xml(
            200,
            &format!(
                "<R><ChangeInfo><Id>/change/C1</Id><Status>{status}</Status>\
                 <SubmittedAt>2026-11-21T06:00:00Z</SubmittedAt></ChangeInfo></R>"
            )
            .replace("R>", "GetChangeResponse>"),
        )
    };
    let taken = "<ChangeResourceRecordSetsResponse><ChangeInfo><Id>/change/C1</Id><Status>PENDING</Status>\
         <SubmittedAt>2026-11-21T06:00:00Z</SubmittedAt></ChangeInfo></ChangeResourceRecordSetsResponse>";
    let server = Server::start(vec![
        xml(200, taken),
        change("PENDING"),
        change("INSYNC"),
        change("NOVEL"),
        fault(404, "NoSuchChange"),
    ])
    .await;
    let (cloud, _) = cloud(&server.url);
    let Outcome::Accepted { handle, .. } = cloud.apply(&every_mutation("")[4], jiff::Timestamp::UNIX_EPOCH).await
    else {
        panic!("accepted")
    };
    assert_eq!(handle.as_deref(), Some("C1"));
    assert_eq!(cloud.change_is_insync("C1").await, Ok(false));
    assert_eq!(cloud.change_is_insync("C1").await, Ok(true));
    assert_eq!(cloud.change_is_insync("C1").await, Ok(false));
    let gone = cloud.change_is_insync("C1").await;
    assert!(matches!(gone, Err(ObserveError::NotFound { .. })), "{gone:?}");
    assert!(server.requests()[1].starts_with("GET /2013-04-01/change/C1 "));
    assert!(server.requests()[0].contains("<Action>UPSERT</Action>"));
}

fn arc_error(status: u16, code: &str) -> Answer {
    json(status, &format!("{{\"__type\":\"{code}\",\"message\":\"no\"}}"))
}

#[tokio::test]
async fn the_next_arc_endpoint_is_asked_until_one_confirms() {
    for ill in [
        Answer::HangUp,
        Answer::Hang,
        arc_error(503, "EndpointTemporarilyUnavailableException"),
        arc_error(429, "ThrottlingException"),
    ] {
        let bad = Server::start(vec![ill]).await;
        let good = Server::start(vec![json(200, "{}")]).await;
        let (cloud, _) = cloud("http://unused.invalid");
        let outcome = cloud.apply(&controls(&[&bad, &good]), jiff::Timestamp::UNIX_EPOCH).await;
        assert_eq!(kind(&outcome), "accepted", "{outcome:?}");
        assert_eq!((bad.requests().len(), good.requests().len()), (1, 1));
    }
}

#[tokio::test]
async fn a_refusal_by_arc_is_final_unless_an_earlier_call_is_in_doubt() {
    let no = Server::start(vec![arc_error(409, "ConflictException")]).await;
    let other = Server::start(vec![json(200, "{}")]).await;
    let (first, _) = cloud("http://unused.invalid");
    let outcome = first.apply(&controls(&[&no, &other]), jiff::Timestamp::UNIX_EPOCH).await;
    assert_eq!(kind(&outcome), "rejected ConflictException");
    assert!(other.requests().is_empty());
    let lost = Server::start(vec![Answer::HangUp]).await;
    let (second, _) = cloud("http://unused.invalid");
    let outcome = second.apply(&controls(&[&lost, &no]), jiff::Timestamp::UNIX_EPOCH).await;
    assert_eq!(kind(&outcome), "unknown", "{outcome:?}");
}

#[tokio::test]
async fn arc_endpoints_take_turns_but_the_last_stays_last_and_states_are_read_from_one_that_answers() {
    let on = json(200, "{\"RoutingControlArn\":\"a\",\"RoutingControlState\":\"On\"}");
    let off = json(200, "{\"RoutingControlArn\":\"b\",\"RoutingControlState\":\"Off\"}");
    let one = Server::start(vec![on.clone(), off.clone()]).await;
    let two = Server::start(vec![arc_error(500, "InternalServerException")]).await;
    let left = Server::start(vec![on, off]).await;
    let (cloud, _) = cloud("http://unused.invalid");
    let endpoints = [endpoint(&one.url), endpoint(&two.url), endpoint(&left.url)];
    let arns = ["a".to_owned(), "b".to_owned()];
    assert_eq!(cloud.routing_controls(&endpoints, &arns).await, Ok(vec![true, false]));
    assert!(two.requests().is_empty());
    let again = cloud.routing_controls(&endpoints, &arns).await;
    assert_eq!(again, Ok(vec![false, false]), "the canned answers go on");
    assert_eq!(two.requests().len(), 1, "the second endpoint had its turn, once");
    assert!(cloud.routing_controls(&endpoints, &arns).await.is_ok());
    assert_eq!(two.requests().len(), 1, "then it is the first one's turn again");
    assert!(left.requests().is_empty(), "the last is in the Region that is left, and is never the first to be asked");
    let none_else = [endpoint(&two.url), endpoint(&left.url)];
    assert_eq!(cloud.routing_controls(&none_else, &arns).await, Ok(vec![true, false]), "it is asked after the others");
    let none = cloud.routing_controls(&[], &arns).await;
    assert!(matches!(none, Err(ObserveError::Unreachable { .. })), "{none:?}");
}
