//! Both probes against servers on the loopback that answer well, badly, late or not at all.

use std::{
    future::pending,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use hickory_proto::{
    op::{Message, OpCode, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, CNAME, NS, TXT},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
};

use super::*;
use crate::adapters::clock::{ScaledClock, SystemClock};

/// Far beyond what the loopback needs, so that a slow machine does not fail a test.
const AMPLE: Duration = Duration::from_secs(20);

/// What is asked here is on this machine.
fn on_this_machine() -> Egress {
    Egress { loopback: true, allow: Vec::new() }
}

fn probes() -> NetProbes {
    NetProbes::new(Arc::new(SystemClock), on_this_machine()).expect("a client")
}

/// Probes for which a minute is 60 ms: what must time out does so quickly.
fn hasty() -> NetProbes {
    let clock = ScaledClock::new(1_000.0, None).expect("a rate");
    NetProbes::new(Arc::new(clock), on_this_machine()).expect("a client")
}

fn get(url: impl Into<String>) -> HttpQuestion {
    HttpQuestion { url: url.into(), timeout: AMPLE, resolve_with: vec![], record_type: "A".to_owned() }
}

/// A server that writes `answer` to each caller and closes, or then hangs; it counts its connections.
async fn http_server(answer: Vec<u8>, hang: bool) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.expect("bound");
    let port = listener.local_addr().expect("bound").port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("accepted");
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(serve(stream, answer.clone(), hang));
        }
    });
    ((Ipv4Addr::LOCALHOST, port).into(), connections)
}

async fn serve(mut stream: TcpStream, answer: Vec<u8>, hang: bool) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else {
            return;
        };
        request.push(byte);
    }
    // The probe may stop reading when it has seen enough.
    let _ = stream.write_all(&answer).await;
    if hang {
        pending::<()>().await;
    }
}

fn response(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n{body}").into_bytes()
}

#[tokio::test]
async fn a_status_comes_with_its_body_and_the_address_that_gave_it() {
    for (status, code) in [("200 OK", 200), ("503 Service Unavailable", 503)] {
        let (at, _) = http_server(response(status, "", "{\"ok\":1}"), true).await;
        let answer = probes().http(&get(format!("http://{at}/health"))).await;
        let expected =
            HttpAnswer::Status { status: code, body: "{\"ok\":1}".to_owned(), address: Some(at.to_string()) };
        assert_eq!(answer, expected);
    }
}

#[tokio::test]
async fn a_redirect_is_told_not_followed() {
    let (other, visits) = http_server(response("200 OK", "", "there"), true).await;
    let location = format!("Location: http://{other}/\r\n");
    let (at, _) = http_server(response("302 Found", &location, ""), true).await;
    let answer = probes().http(&get(format!("http://{at}/"))).await;
    assert!(matches!(answer, HttpAnswer::Status { status: 302, .. }), "{answer:?}");
    assert_eq!(visits.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn of_a_large_body_only_the_beginning_is_read() {
    // The server hangs after the part that it sends, so reading on would not end.
    let sent = "y".repeat(80 << 10);
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n";
    let (at, _) = http_server(format!("{head}{sent}").into_bytes(), true).await;
    let answer = probes().http(&get(format!("http://{at}/"))).await;
    let HttpAnswer::Status { body, .. } = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(body.len(), 64 << 10);
}

#[tokio::test]
async fn every_probe_makes_a_connection_of_its_own() {
    let (at, connections) = http_server(response("200 OK", "", "x"), true).await;
    let probes = probes();
    for _ in 0..3 {
        probes.http(&get(format!("http://{at}/"))).await;
    }
    assert_eq!(connections.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn silence_refusal_and_a_broken_answer_are_no_answer() {
    let (silent, _) = http_server(vec![], true).await;
    let (stalls, _) = http_server(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".to_vec(), true).await;
    let (breaks, _) = http_server(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".to_vec(), false).await;
    let (gibberish, _) = http_server(b"what?\r\n\r\n".to_vec(), false).await;
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .and_then(|listener| listener.local_addr())
        .expect("a port that nobody listens on");
    let minutes = Duration::from_secs(300);
    for (at, reason) in [
        (silent, "no answer within 300s"),
        (stalls, "no answer within 300s"),
        (breaks, "the body broke off"),
        (gibberish, ""),
        (closed, "refused"),
    ] {
        let question = HttpQuestion { timeout: minutes, ..get(format!("http://{at}/")) };
        let answer = hasty().http(&question).await;
        let HttpAnswer::NoAnswer { reason: told } = answer else {
            panic!("{answer:?}");
        };
        assert!(told.contains(reason), "{told}");
    }
}

#[tokio::test]
async fn a_question_that_cannot_be_put_says_nothing_of_the_endpoint() {
    let mut unresolved = get("http://app.test/");
    let nobody = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a socket that never answers");
    unresolved.resolve_with = vec![nobody.local_addr().expect("bound").to_string()];
    unresolved.timeout = Duration::from_secs(300);
    for question in [get("not a url"), get("ftp://app.test/"), get("http://no-such-host.invalid/"), unresolved] {
        let answer = hasty().http(&question).await;
        assert!(matches!(answer, HttpAnswer::NotAsked { .. }), "{answer:?}");
    }
}

/// How a name server on the loopback answers.
type Answering = Arc<dyn Fn(&Message, Transport) -> Vec<Message> + Send + Sync>;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Transport {
    Udp,
    Tcp,
}

async fn name_server(answer: impl Fn(&Message, Transport) -> Vec<Message> + Send + Sync + 'static) -> String {
    let answer: Answering = Arc::new(answer);
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
        // Another process may have the same port for TCP: then another port.
        let at = udp.local_addr().expect("bound");
        if let Ok(tcp) = TcpListener::bind(at).await {
            break (udp, tcp);
        }
    };
    let at = udp.local_addr().expect("bound").to_string();
    let over_tcp = Arc::clone(&answer);
    tokio::spawn(async move {
        let mut buffer = vec![0; 4_096];
        loop {
            let (received, from) = udp.recv_from(&mut buffer).await.expect("received");
            let query = Message::from_vec(&buffer[..received]).expect("a question");
            for answer in answer(&query, Transport::Udp) {
                let bytes = answer.to_vec().expect("encoded");
                udp.send_to(&bytes, from).await.expect("sent");
            }
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = tcp.accept().await.expect("accepted");
            let length = stream.read_u16().await.expect("framed");
            let mut buffer = vec![0; usize::from(length)];
            stream.read_exact(&mut buffer).await.expect("read");
            let query = Message::from_vec(&buffer).expect("a question");
            for answer in over_tcp(&query, Transport::Tcp) {
                let bytes = answer.to_vec().expect("encoded");
                let length = u16::try_from(bytes.len()).expect("fits");
                stream.write_u16(length).await.expect("sent");
                stream.write_all(&bytes).await.expect("sent");
            }
        }
    });
    at
}

fn answer_with(query: &Message, records: Vec<RData>) -> Message {
    let mut answer = Message::response(query.metadata.id, OpCode::Query);
    answer.metadata.authoritative = true;
    answer.add_queries(query.queries.iter().cloned());
    let name = query.queries[0].name().clone();
    for data in records {
        answer.add_answer(Record::from_rdata(name.clone(), 60, data));
    }
    answer
}

fn host(name: &str) -> Name {
    Name::from_ascii(name).expect("a name")
}

async fn ask(server: &str, record_type: &str) -> Result<Vec<String>, DnsError> {
    probes().dns(server, "app.test", record_type, AMPLE).await
}

#[tokio::test]
async fn the_values_of_every_known_type_are_told_as_text() {
    let server = name_server(|query, _| {
        let records = match query.queries[0].query_type() {
            RecordType::A => vec![RData::A(A::new(192, 0, 2, 1)), RData::A(A::new(192, 0, 2, 2))],
            RecordType::AAAA => vec![RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))],
            RecordType::CNAME => vec![RData::CNAME(CNAME(host("db.us-west-2.test.")))],
            _ => vec![RData::TXT(TXT::new(vec!["region=".into(), "us-west-2".into()]))],
        };
        vec![answer_with(query, records)]
    })
    .await;
    for (record_type, expected) in [
        ("A", &["192.0.2.1", "192.0.2.2"][..]),
        ("AAAA", &["2001:db8::1"]),
        ("CNAME", &["db.us-west-2.test"]),
        ("TXT", &["region=us-west-2"]),
    ] {
        let told = ask(&server, record_type).await.expect("answered");
        assert_eq!(told, expected, "{record_type}");
    }
    let refused = ask(&server, "MX").await.expect_err("not a known type");
    assert!(refused.to_string().contains("was not asked: type MX"), "{refused}");
}

#[tokio::test]
async fn a_server_that_declines_is_told_with_its_code() {
    type Change = fn(&mut Message);
    let cases: [(Change, &str); 5] = [
        (|m| m.metadata.response_code = ResponseCode::NXDomain, "NXDOMAIN"),
        (|m| m.metadata.response_code = ResponseCode::ServFail, "SERVFAIL"),
        (|m| m.metadata.response_code = ResponseCode::Refused, "REFUSED"),
        (
            |m| {
                let alias = RData::CNAME(CNAME(host("other.test.")));
                m.add_answer(Record::from_rdata(host("app.test."), 60, alias));
            },
            "an alias to other.test and no A",
        ),
        (
            |m| {
                m.metadata.authoritative = false;
                let data = RData::NS(NS(host("ns.test.")));
                m.add_authority(Record::from_rdata(host("test."), 60, data));
            },
            "a referral: it is not an authority",
        ),
    ];
    for (change, expected) in cases {
        let server = name_server(move |query, _| {
            let mut answer = answer_with(query, vec![]);
            change(&mut answer);
            vec![answer]
        })
        .await;
        let Err(DnsError::Refused { code, name, .. }) = ask(&server, "A").await else {
            panic!("expected {expected}");
        };
        assert_eq!((code.as_str(), name.as_str()), (expected, "app.test"));
    }
}

#[tokio::test]
async fn a_name_without_such_a_record_has_no_values() {
    let server = name_server(|query, _| vec![answer_with(query, vec![])]).await;
    assert_eq!(ask(&server, "A").await, Ok(vec![]));
}

#[tokio::test]
async fn tcp_is_asked_when_udp_is_truncated_or_silent() {
    let full = |query: &Message| answer_with(query, vec![RData::A(A::new(192, 0, 2, 7))]);
    let truncated = name_server(move |query, transport| {
        let mut answer = full(query);
        if transport == Transport::Udp {
            answer.answers.clear();
            answer.metadata.truncation = true;
        }
        vec![answer]
    })
    .await;
    assert_eq!(ask(&truncated, "A").await, Ok(vec!["192.0.2.7".to_owned()]));
    let silent = name_server(move |query, transport| match transport {
        Transport::Udp => vec![],
        Transport::Tcp => vec![full(query)],
    })
    .await;
    let minutes = Duration::from_secs(1_200); // 600 ms of real time for each transport.
    let told = hasty().dns(&silent, "app.test", "A", minutes).await;
    assert_eq!(told, Ok(vec!["192.0.2.7".to_owned()]));
}

#[tokio::test]
async fn answers_to_other_questions_are_not_believed() {
    let server = name_server(|query, _| {
        let lie = vec![RData::A(A::new(203, 0, 113, 66))];
        let mut other_id = answer_with(query, lie.clone());
        other_id.metadata.id = query.metadata.id.wrapping_add(1);
        let mut other_name = answer_with(query, lie);
        other_name.queries[0].set_name(host("evil.test."));
        let truth = answer_with(query, vec![RData::A(A::new(192, 0, 2, 9))]);
        vec![other_id, other_name, truth]
    })
    .await;
    assert_eq!(ask(&server, "A").await, Ok(vec!["192.0.2.9".to_owned()]));
}

#[tokio::test]
async fn a_silent_server_is_unreachable_within_the_timeout_of_the_clock() {
    let silent = name_server(|_, _| vec![]).await;
    let probes = hasty();
    let asked = probes.dns(&silent, "app.test", "A", Duration::from_secs(300));
    let Err(DnsError::Unreachable { server, reason }) = asked.await else {
        panic!("nobody answered");
    };
    assert_eq!(server, silent);
    assert!(reason.contains("UDP") && reason.contains("TCP"), "{reason}");
}

#[tokio::test]
async fn a_name_that_moves_is_followed_by_the_very_next_probe() {
    let (at, _) = http_server(response("200 OK", "", "x"), true).await;
    let address = Arc::new(Mutex::new(Ipv4Addr::new(127, 0, 0, 1)));
    let answered = Arc::clone(&address);
    let server = name_server(move |query, _| {
        let now = *answered.lock().expect("not poisoned");
        vec![answer_with(query, vec![RData::A(A(now))])]
    })
    .await;
    let silent = name_server(|_, _| vec![]).await;
    let question = HttpQuestion {
        timeout: Duration::from_secs(3),
        resolve_with: vec![silent, server],
        ..get(format!("http://app.test:{}/", at.port()))
    };
    let probes = probes();
    for last in [1, 2, 1] {
        let now = Ipv4Addr::new(127, 0, 0, last);
        *address.lock().expect("not poisoned") = now;
        let HttpAnswer::Status { address, .. } = probes.http(&question).await else {
            panic!("the server answers on every address of the loopback");
        };
        assert_eq!(address, Some(format!("{now}:{}", at.port())));
    }
}

#[tokio::test]
async fn an_address_that_is_not_allowed_is_not_asked_by_name_or_number() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let guarded = NetProbes::new(Arc::new(SystemClock), Egress::default()).expect("a client");
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"] {
        let answer = guarded.http(&get(format!("http://{host}:{port}/healthz"))).await;
        assert!(
            matches!(&answer, HttpAnswer::NotAsked { reason } if reason.contains("this machine itself")),
            "{host}: {answer:?}"
        );
    }
    for url in
        ["http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/", "http://169.254.170.2/v2/credentials"]
    {
        let answer = probes().http(&get(url)).await;
        assert!(
            matches!(&answer, HttpAnswer::NotAsked { reason } if reason.contains("never connected to")),
            "{url}: {answer:?}"
        );
    }
    let answer = guarded.http(&get(format!("http://me:secret@127.0.0.1:{port}/"))).await;
    assert!(matches!(&answer, HttpAnswer::NotAsked { .. }), "{answer:?}");
    let answer = guarded.tcp(&format!("localhost:{port}"), AMPLE).await;
    assert!(matches!(&answer, TcpAnswer::NotAsked { reason } if reason.contains("this machine itself")), "{answer:?}");
    let knocked = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(knocked.is_err(), "nothing was connected to");
    // And where it is allowed by name, it is asked.
    let named = Egress { loopback: false, allow: vec!["127.0.0.0/8".parse().expect("a network")] };
    let named = NetProbes::new(Arc::new(SystemClock), named).expect("a client");
    assert_eq!(named.tcp(&format!("127.0.0.1:{port}"), AMPLE).await, TcpAnswer::Connected);
}
