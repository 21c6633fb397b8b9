//! Too much of anything from anybody (FAULTS.md 89, 100).

use std::time::Duration;

use failoverd::http::{auth::Role, router, server};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{access, request, send};
use crate::http_api::{Fake, RUN, api, entry, plan};

/// FAULTS.md 100.
#[tokio::test]
async fn a_flood_of_approvals_is_told_to_wait_and_nobody_else_is() {
    let fake = Fake::new();
    let entries = vec![entry("eve", "e", &[Role::Approver]), entry("bob", "b", &[Role::Approver])];
    let router = router(api(&fake, access(entries)));
    let body = json!({
        "step": "consent", "decision": "approve", "digest": plan().digest().as_str(), "reason": "again and again",
    });
    let path = format!("/runs/{RUN}/approvals");
    let mut refused = None;
    // Some more are let in while this goes on: the bucket fills up again.
    for _ in 0..2_000 {
        let got = send(&router, request("POST", &path, Some("e"), Some(&body))).await;
        if got.status == 429 {
            refused = Some(got);
            break;
        }
        assert_eq!(got.status, 200, "{}", got.text);
    }
    let refused = refused.expect("a flood is refused");
    assert_eq!(refused.code(), "rate-limited");
    assert!(refused.headers["retry-after"].to_str().expect("text").parse::<u64>().is_ok());
    assert_eq!(send(&router, request("POST", &path, Some("b"), Some(&body))).await.status, 200, "bob is not eve");
    assert_eq!(send(&router, request("GET", "/runs", Some("e"), None)).await.status, 200, "looking is another bucket");
}

#[tokio::test]
async fn a_flood_of_bad_tokens_is_told_to_wait_and_a_good_one_is_still_let_in() {
    let fake = Fake::new();
    let router = router(api(&fake, access(vec![entry("ann", "t", &[Role::Viewer])])));
    let mut last = 0;
    for _ in 0..500 {
        last = send(&router, request("GET", "/runs", Some("bad"), None)).await.status.as_u16();
        if last == 429 {
            break;
        }
        assert_eq!(last, 401);
    }
    assert_eq!(last, 429);
    assert_eq!(send(&router, request("GET", "/runs", Some("t"), None)).await.status, 200);
}

/// FAULTS.md 89: a head in drops, a body that stalls, an answer that nobody reads; those who ask properly are answered.
#[tokio::test]
async fn slow_clients_are_cut_and_take_nobody_s_place() {
    let fake = Fake::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(server::serve(listener, api(&fake, failoverd::http::auth::Tokens::open())));
    let mut slow = Vec::new();
    for n in 0..100 {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        let head = if n % 2 == 0 {
            "GET /runs HTTP/1.1\r\nhost: localhost\r\nx-a:"
        } else {
            "POST /failover HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{"
        };
        stream.write_all(head.as_bytes()).await.expect("written");
        slow.push(stream);
    }
    let mut honest = TcpStream::connect(address).await.expect("connects");
    let ask = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    honest.write_all(ask).await.expect("written");
    let mut text = String::new();
    let answered = tokio::time::timeout(Duration::from_secs(5), honest.read_to_string(&mut text)).await;
    answered.expect("in time").expect("read");
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    let limit = failoverd::http::extract::BODY_READ_TIMEOUT + Duration::from_secs(10);
    let cut = async {
        for mut stream in slow {
            let mut rest = Vec::new();
            // Cut, or answered with 408 and cut.
            let _ = stream.read_to_end(&mut rest).await;
        }
    };
    tokio::time::timeout(limit, cut).await.expect("each is cut in time");
    assert!(fake.asked.lock().expect("lock").is_empty());
}
