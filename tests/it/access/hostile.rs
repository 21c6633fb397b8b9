//! Requests that no honest client sends.

use axum::{body::Body, http::Request};
use failoverd::http::{
    auth::{Role, Tokens},
    router, server,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{access, request, send};
use crate::http_api::{Fake, api, entry};

/// Serves an engine that anybody on this machine may ask; where.
async fn serve(fake: &std::sync::Arc<Fake>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(server::serve(listener, api(fake, Tokens::open())));
    address
}

/// What `bytes` are answered with until the connection is closed, or for two seconds.
async fn raw(address: std::net::SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.write_all(bytes).await.expect("written");
    let mut got = Vec::new();
    let _ = tokio::time::timeout(std::time::Duration::from_secs(2), stream.read_to_end(&mut got)).await;
    String::from_utf8_lossy(&got).into_owned()
}

/// FAULTS.md 96: two parsers in a row must see the same requests.
#[tokio::test]
async fn a_request_that_two_parsers_could_read_differently_is_refused_and_its_connection_closed() {
    let fake = Fake::new();
    let address = serve(&fake).await;
    let body = json!({ "application": "payments", "mode": "failover", "reason": "smuggled" }).to_string();
    let length = body.len();
    let hidden = format!(
        "POST /failover HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    let head = "POST /failover HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", length);
    let cases = [
        ("CL then TE", format!("{head}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n{chunked}{hidden}")),
        ("TE then CL", format!("{head}transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n{chunked}{hidden}")),
        ("TE alone", format!("{head}transfer-encoding: chunked\r\n\r\n{chunked}{hidden}")),
        (
            "TE twice",
            format!("{head}transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n{chunked}{hidden}"),
        ),
        ("TE of another name", format!("{head}transfer-encoding: xchunked\r\n\r\n{chunked}{hidden}")),
        ("TE with a tab", format!("{head}transfer-encoding:\tchunked\r\n\r\n{chunked}{hidden}")),
        ("TE with a space", format!("{head}transfer-encoding : chunked\r\n\r\n{chunked}{hidden}")),
        ("two lengths", format!("{head}content-length: 5\r\ncontent-length: {length}\r\n\r\n{body}{hidden}")),
        ("a list of lengths", format!("{head}content-length: {length}, {length}\r\n\r\n{body}{hidden}")),
        ("a signed length", format!("{head}content-length: +{length}\r\n\r\n{body}{hidden}")),
        (
            "a folded line",
            format!("{head}x-a: b\r\n content-length: 0\r\ncontent-length: {length}\r\n\r\n{body}{hidden}"),
        ),
        ("two hosts", format!("{head}host: elsewhere\r\ncontent-length: {length}\r\n\r\n{body}{hidden}")),
        ("a bare line end in a value", format!("{head}x-a: b\rc\r\ncontent-length: {length}\r\n\r\n{body}{hidden}")),
    ];
    for (what, bytes) in cases {
        let got = raw(address, bytes.as_bytes()).await;
        assert!(got.starts_with("HTTP/1.1 4"), "{what}: {got}");
        assert_eq!(got.matches("HTTP/1.1 ").count(), 1, "{what}: nothing after it is a request: {got}");
        assert!(fake.asked.lock().expect("lock").is_empty(), "{what}: it never reached the engine");
    }
    let good = raw(address, hidden.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n").as_bytes()).await;
    assert!(good.starts_with("HTTP/1.1 202"), "{good}");
    assert_eq!(fake.asked.lock().expect("lock").len(), 1);
}

/// FAULTS.md 100: a browser sends nothing by itself that lets anybody in, and is told to read nothing across sites.
#[tokio::test]
async fn nothing_that_a_browser_sends_by_itself_lets_anybody_in() {
    let fake = Fake::new();
    let router = router(api(&fake, access(vec![entry("ann", "t", &[Role::Operator])])));
    let body = json!({ "application": "payments", "mode": "failover", "reason": "forged" });
    for (name, value) in [
        ("cookie", "token=t; authorization=Bearer t; session=t"),
        ("authorization", "Basic dDp0"),
        ("proxy-authorization", "Bearer t"),
        ("x-authorization", "Bearer t"),
    ] {
        let mut forged = request("POST", "/failover", None, Some(&body));
        forged.headers_mut().insert(name, value.parse().expect("a value"));
        assert_eq!(send(&router, forged).await.status, 401, "{name}");
    }
    assert_eq!(send(&router, request("POST", "/failover?access_token=t", None, Some(&body))).await.status, 401);
    // What a form or a script of another site can send without asking first is no JSON.
    for simple in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let sent = Request::post("/failover")
            .header("authorization", "Bearer t")
            .header("content-type", simple)
            .body(Body::from(body.to_string()))
            .expect("a request");
        assert_eq!(send(&router, sent).await.status, 415, "{simple}");
    }
    assert!(fake.asked.lock().expect("lock").is_empty());
    let asks_first = Request::options("/failover")
        .header("origin", "https://evil.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type")
        .body(Body::empty())
        .expect("a request");
    let refused = send(&router, asks_first).await;
    let answered = send(&router, request("POST", "/failover", Some("t"), Some(&body))).await;
    assert_eq!(answered.status, 202);
    for got in [refused, answered] {
        let told = got.headers.keys().map(|name| name.as_str());
        let told: Vec<&str> = told.filter(|n| n.starts_with("access-control-") || *n == "set-cookie").collect();
        assert!(told.is_empty(), "{told:?}");
    }
}

/// FAULTS.md 98: an id says nothing of the next one.
#[test]
fn ids_of_runs_and_overrides_have_128_bits() {
    let hexadecimal = |id: &str| {
        let (_, bits) = id.rsplit_once('-').expect("an application and bits");
        assert_eq!((bits.len(), bits.bytes().all(|b| b.is_ascii_hexdigit())), (32, true), "{id}");
    };
    hexadecimal(crate::http_api::run_id(7).as_str());
    hexadecimal(failoverd::domain::id::OverrideId::new(&crate::http_api::name(), 7).as_str());
}
