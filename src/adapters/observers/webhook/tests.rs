use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::timeout,
};

use super::*;
use crate::{
    adapters::observers::{outgoing::system_lookup, webhook::payload},
    domain::{
        id::ApplicationName,
        notice::{Act, Kind, NoticeId, Severity},
    },
};

#[derive(Debug)]
struct Still;

#[async_trait::async_trait]
impl Clock for Still {
    fn boot(&self) -> Duration {
        Duration::ZERO
    }
    fn wall(&self) -> Timestamp {
        Timestamp::from_second(1_700_000_000).expect("a time")
    }
    async fn sleep(&self, _: Duration) {
        std::future::pending().await
    }
}

pub(super) fn notice() -> Notice {
    let app: ApplicationName = "payments".parse().expect("a name");
    let run = "payments-0123456789abcdef0123456789abcdef".parse().expect("an id");
    let at = "2026-11-22T03:04:05Z".parse().expect("a time");
    Notice::new(NoticeId::of_event(&app, 42, 1), &app, at, Kind::RunHeld, Severity::Page)
        .about(&run, Act::Trigger)
        .says("payments: the failover is held and waits for an operator")
        .fact("why", "lag 40 s is over the bound of 30 s & <!channel> says so")
        .fact("code", "gate-rpo (docs/errors/gate-rpo.md)")
        .then("failoverd watch payments-0123456789abcdef0123456789abcdef, then resume, retry, skip or abort.")
}

fn channel(via: Via) -> Channel {
    let takes: BTreeSet<_> = Severity::ALL.into();
    Channel { name: "oncall".parse().expect("a name"), via, takes, applications: None }
}

fn generic(url: &str) -> Channel {
    channel(Via::Generic { url: url.to_owned(), key: "env:HOOK_KEY".parse().expect("a reference") })
}

fn slack() -> Channel {
    channel(Via::Slack { url: "env:SLACK_URL".parse().expect("a reference") })
}

const CANARY: &str = "canary-5ec7e7";

fn webhooks(egress: Egress, lookup: Lookup, slack_url: &str) -> Webhooks {
    let environment = [("HOOK_KEY", CANARY), ("SLACK_URL", slack_url), ("ROUTING", CANARY)];
    let environment = environment.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let named = [generic("https://x"), slack(), pagerduty("https://x")];
    let server = Some("https://failoverd.example.com".to_owned());
    Webhooks::new(egress, lookup, named.iter(), &environment, Arc::new(Still), server).expect("a client")
}

fn pagerduty(url: &str) -> Channel {
    channel(Via::PagerDuty { routing_key: "env:ROUTING".parse().expect("a reference"), url: url.to_owned() })
}

fn here() -> Egress {
    Egress { loopback: true, allow: Vec::new() }
}

/// Answers every request with `answer`, and keeps what was asked.
async fn server(answer: &'static str) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let kept = Arc::clone(&kept);
            tokio::spawn(async move {
                let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
                loop {
                    let Ok(read) = stream.read(&mut chunk).await else { return };
                    bytes.extend_from_slice(&chunk[..read]);
                    let text = String::from_utf8_lossy(&bytes);
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                    let length = head.to_lowercase();
                    let length = length.split("content-length: ").nth(1).and_then(|l| l.lines().next()?.parse().ok());
                    if read == 0 || length.unwrap_or(0) <= body.len() {
                        break;
                    }
                }
                kept.lock().expect("kept").push(String::from_utf8_lossy(&bytes).into_owned());
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    (port, asked)
}

const TAKEN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

#[tokio::test]
async fn a_generic_webhook_is_signed_and_its_receiver_can_prove_it() {
    let (port, asked) = server(TAKEN).await;
    let hooks = webhooks(here(), system_lookup(), "https://x");
    assert_eq!(hooks.send(&generic(&format!("http://127.0.0.1:{port}/in")), &notice()).await, Sent::Delivered);
    let request = asked.lock().expect("kept")[0].clone();
    let (head, body) = request.split_once("\r\n\r\n").expect("a body");
    let header = |name: &str| {
        let line = head.lines().find(|l| l.to_lowercase().starts_with(name)).expect("a header");
        line.split_once(": ").expect("a value").1.to_owned()
    };
    assert_eq!(header("failoverd-id"), "payments/42/1");
    assert_eq!(header("failoverd-timestamp"), "1700000000");
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, CANARY.as_bytes());
    let tag = hex::decode(header("failoverd-signature").strip_prefix("v1=").expect("a version")).expect("hex");
    aws_lc_rs::hmac::verify(&key, format!("1700000000.{body}").as_bytes(), &tag).expect("it proves");
    assert!(!request.contains(CANARY), "the key is not sent");
    assert!(head.starts_with("POST /in HTTP/1.1"));
}

#[tokio::test]
async fn what_an_answer_means() {
    for (answer, expected) in [
        ("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n", "delivered"),
        (
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            "refused",
        ),
        ("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", "refused"),
        ("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", "failed"),
        ("HTTP/1.1 429 Slow\r\nretry-after: 17\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", "failed after 17"),
        ("garbage\r\n\r\n", "failed"),
    ] {
        let (port, asked) = server(answer).await;
        let sent = webhooks(here(), system_lookup(), "https://x");
        let sent = sent.send(&generic(&format!("http://127.0.0.1:{port}/")), &notice()).await;
        let got = match sent {
            Sent::Delivered => "delivered".to_owned(),
            Sent::Refused { .. } => "refused".to_owned(),
            Sent::Failed { retry_after_seconds: Some(s), .. } => format!("failed after {s}"),
            Sent::Failed { .. } => "failed".to_owned(),
        };
        assert_eq!((got.as_str(), asked.lock().expect("kept").len()), (expected, 1), "{answer}");
    }
}

/// FAULTS.md 92: the address that was checked is the one that is connected to.
#[tokio::test]
async fn a_name_that_changes_its_answer_is_looked_up_once_and_never_leads_elsewhere() {
    let (port, asked) = server(TAKEN).await;
    let looked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&looked);
    // Allowed at first, this machine at every later look: as rebinding does it.
    let lookup: Lookup = Arc::new(move |_| {
        let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        let address: IpAddr = if first { "127.0.0.2" } else { "127.0.0.1" }.parse().expect("an address");
        Box::pin(async move { Ok(vec![address]) })
    });
    let only = Egress { loopback: false, allow: vec!["127.0.0.2".parse().expect("a network")] };
    let hooks = webhooks(only, lookup, "https://x");
    let to = generic(&format!("http://hooks.example.com:{port}/"));
    // Nothing listens at 127.0.0.2, and 127.0.0.1 is not asked in its place.
    let sent = hooks.send(&to, &notice()).await;
    assert!(matches!(&sent, Sent::Failed { .. }), "{sent:?}");
    assert_eq!(looked.load(Ordering::SeqCst), 1, "one look per message");
    let sent = hooks.send(&to, &notice()).await;
    assert!(matches!(&sent, Sent::Refused { reason } if reason.contains("this machine itself")), "{sent:?}");
    assert!(asked.lock().expect("kept").is_empty(), "the address that is not allowed was never reached");
}

#[tokio::test]
async fn targets_that_are_not_allowed_are_never_connected_to() {
    let (port, asked) = server(TAKEN).await;
    let hooks = webhooks(Egress::default(), system_lookup(), "https://x");
    for url in [
        format!("https://127.0.0.1:{port}/"),
        format!("https://localhost:{port}/"),
        format!("https://[::1]:{port}/"),
        format!("https://[::ffff:7f00:1]:{port}/"),
        format!("https://2130706433:{port}/"),
        "https://169.254.169.254/latest/meta-data/iam".to_owned(),
        "https://[fd00:ec2::254]/".to_owned(),
        "https://10.0.0.1/".to_owned(),
        "https://user@93.184.216.34/".to_owned(),
        "https://93.184.216.34:22/".to_owned(),
        "http://93.184.216.34/".to_owned(),
        "ftp://93.184.216.34/".to_owned(),
        "file:///etc/passwd".to_owned(),
    ] {
        let sent = timeout(Duration::from_secs(20), hooks.send(&generic(&url), &notice())).await.expect("at once");
        assert!(matches!(&sent, Sent::Refused { .. }), "{url}: {sent:?}");
    }
    assert!(asked.lock().expect("kept").is_empty());
}

/// S19: whatever goes wrong, what is said of it holds no secret.
#[tokio::test]
async fn no_error_and_no_debug_holds_a_secret() {
    let (port, _) = server("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    let (refusing, _) =
        server("HTTP/1.1 403 canary-5ec7e7\r\ncontent-length: 12\r\nconnection: close\r\n\r\ncanary-5ec7e7").await;
    let said = |what: &dyn std::fmt::Debug| {
        let text = format!("{what:?}");
        assert!(!text.contains(CANARY), "{text}");
    };
    for url in [
        format!("http://127.0.0.1:{port}/{CANARY}"),
        format!("http://127.0.0.1:{refusing}/{CANARY}"),
        format!("http://127.0.0.1:1/{CANARY}"),
        format!("https://127.0.0.1:{port}/{CANARY}"),
        format!("http://93.184.216.34/{CANARY}"),
        format!("https://{CANARY}:{CANARY}@127.0.0.1/"),
        format!("no url {CANARY}"),
        format!("https://failoverd-no-such-name.invalid/{CANARY}"),
    ] {
        let hooks = webhooks(here(), system_lookup(), &url);
        let sent = timeout(Duration::from_secs(30), hooks.send(&slack(), &notice())).await.expect("it ends");
        assert!(!matches!(sent, Sent::Delivered), "{url}");
        said(&sent);
        said(&hooks);
        said(&hooks.send(&pagerduty(&format!("http://127.0.0.1:{port}/")), &notice()).await);
    }
    said(&slack());
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_said_by_its_reference_and_tried_again() {
    let hooks =
        Webhooks::new(here(), system_lookup(), [].iter(), &BTreeMap::new(), Arc::new(Still), None).expect("a client");
    let sent = hooks.send(&slack(), &notice()).await;
    assert_eq!(sent, failed("the environment variable SLACK_URL is not set".to_owned()));
    let file = channel(Via::Slack { url: "file:/no/such/file".parse().expect("a reference") });
    let sent = hooks.send(&file, &notice()).await;
    assert!(
        matches!(&sent, Sent::Failed { reason, .. } if reason.starts_with("the secret's file /no/such/file: ")),
        "{sent:?}"
    );
}

/// The examples of docs/notifications.md are what is sent.
#[test]
fn the_examples_of_the_docs_are_what_is_sent() {
    let link = notice().link(Some("https://failoverd.example.com"));
    let docs =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/notifications.md")).unwrap_or_default();
    for (name, sent) in [
        ("slack", payload::slack(&notice(), link.as_deref())),
        ("pagerduty", payload::pagerduty(&notice(), link.as_deref(), "ROUTING-KEY")),
        ("generic", payload::generic(&notice(), link.as_deref())),
    ] {
        let mark = format!("<!-- {name} -->\n\n```json\n");
        let rest = docs.split_once(&mark).map(|(_, rest)| rest);
        let text = rest.and_then(|rest| rest.split_once("\n```")).map_or("", |(text, _)| text);
        let pretty = serde_json::to_string_pretty(&sent).expect("json");
        assert_eq!(text, pretty, "docs/notifications.md, {name}: expected\n{pretty}");
    }
}

#[test]
fn a_reason_mentions_nobody_on_slack() {
    let text = payload::slack(&notice(), None).to_string();
    assert!(text.contains("&amp; &lt;!channel&gt; says so") && !text.contains("<!channel>"), "{text}");
}
