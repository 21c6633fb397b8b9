//! What a replica that does not lead answers, over fake engines and real connections: handed on once, by the caller's
//! own token, and told truly where that cannot be.

use std::{sync::Arc, time::Duration};

use failoverd::{
    domain::{assessment::Assessment, id::RunId},
    engine::control::{Leader, Refusal, Started},
    http::{
        auth::{Role, TokenEntry, Tokens},
        replica::Forwarder,
        server,
    },
};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::http_api::{Fake, RUN, api, at, entry, finished, name, run_id, started};

fn leader_at(url: Option<String>) -> Leader {
    let region = Some("us-west-2".to_owned());
    Leader { holder: "a".to_owned(), url, region, epoch: Some(3), since: at(0), here: false }
}

/// A replica that knows who leads, and refuses what only that one can do.
fn follower(leader: &Leader) -> Arc<Fake> {
    let fake = Fake::new();
    *fake.leader.lock().expect("lock") = Some(leader.clone());
    fake.refuse(Refusal::NotLeader { application: name(), leader: Some(Box::new(leader.clone())) });
    fake
}

/// Serves it, as the replica `holder` among others; where.
async fn serve(fake: &Arc<Fake>, tokens: &[TokenEntry], holder: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let tokens = if tokens.is_empty() { Tokens::open() } else { Tokens::new(tokens.to_vec()).expect("valid") };
    let mut api = api(fake, tokens);
    api.forwarder = Some(Forwarder::new(holder).expect("a client"));
    tokio::spawn(server::serve(listener, api));
    url
}

/// A follower of whoever is at `leader`.
async fn following(leader: String, tokens: &[TokenEntry]) -> (Arc<Fake>, String) {
    let fake = follower(&leader_at(Some(leader)));
    let url = serve(&fake, tokens, "b").await;
    (fake, url)
}

fn client() -> Client {
    Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().expect("a client")
}

fn failover(url: &str) -> RequestBuilder {
    let body = json!({ "application": "payments", "mode": "failover", "reason": "us-east-1 is gone" });
    client().post(format!("{url}/failover")).json(&body)
}

struct Got {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Value,
}

async fn send(request: RequestBuilder) -> Got {
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Got { status, headers, body: response.json().await.unwrap_or_default() }
}

impl Got {
    /// Checks the form of a problem, which is the same whoever answered.
    fn problem(&self, status: u16, code: &str) -> &Value {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{}", self.body);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.body["request_id"].as_str(), self.headers["x-request-id"].to_str().ok(), "{}", self.body);
        assert!(failoverd::domain::code::ALL.contains(&code), "`{code}` is not in domain/code.rs");
        &self.body
    }
}

fn asked(fake: &Fake) -> usize {
    fake.asked.lock().expect("lock").len()
}

/// A port at which nobody listens.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    format!("http://{}", listener.local_addr().expect("bound"))
}

#[tokio::test]
async fn a_request_is_handed_on_to_who_leads_and_its_answer_is_given_back() {
    let tokens = [entry("ann", "ann-token", &[Role::Operator]), entry("bob", "bob-token", &[Role::Operator])];
    let leader = Fake::new();
    *leader.answer.lock().expect("lock") = Ok(Started::Run { id: run_id(1), supersedes: Some(run_id(9)) });
    let (fake, url) = following(serve(&leader, &tokens, "a").await, &tokens).await;
    let request = failover(&url).bearer_auth("bob-token").header("Idempotency-Key", "k-1");
    let got = send(request.header("x-request-id", "their-own")).await;
    assert_eq!((got.status, &got.body["run"]), (202, &json!(RUN)));
    assert_eq!(got.headers["location"], format!("/runs/{RUN}"));
    assert_eq!(got.headers["x-request-id"], "their-own");
    assert_eq!((asked(&fake), asked(&leader)), (1, 1));
    let asked = leader.asked.lock().expect("lock")[0].clone();
    assert_eq!((asked.subject.as_str(), asked.idempotency_key.as_deref()), ("bob", Some("k-1")));
    // What the leader refuses stays refused, in its words.
    leader.refuse(Refusal::Gate { gate: "rpo", why: "lag 40 s".into(), satisfied_by: "accept 40 s".into() });
    let got = send(failover(&url).bearer_auth("ann-token")).await;
    assert_eq!(got.problem(409, "gate-refused")["satisfied_by"], "accept 40 s");
}

#[tokio::test]
async fn the_token_is_the_caller_s_own_and_the_leader_checks_it_again() {
    let bob = |token| entry("bob", token, &[Role::Operator]);
    let leader = Fake::new();
    let its_url = serve(&leader, &[bob("changed-since")], "a").await;
    let (fake, url) = following(its_url, &[bob("bob-token")]).await;
    let got = send(failover(&url).bearer_auth("bob-token")).await;
    assert_eq!(got.status, 401, "{}", got.body);
    assert_eq!((asked(&fake), asked(&leader)), (1, 0));
}

#[tokio::test]
async fn whoever_may_not_ask_is_not_handed_on() {
    let tokens = [entry("vera", "vera-token", &[Role::Viewer]), entry("bob", "bob-token", &[Role::Operator])];
    let leader = Fake::new();
    let (fake, url) = following(serve(&leader, &tokens, "a").await, &tokens).await;
    send(failover(&url).bearer_auth("vera-token")).await.problem(403, "forbidden");
    send(failover(&url)).await.problem(401, "unauthenticated");
    assert_eq!((asked(&fake), asked(&leader)), (0, 0));
}

#[tokio::test]
async fn two_replicas_that_each_believe_in_the_other_do_not_play_ball() {
    let (a, b) = (follower(&leader_at(None)), follower(&leader_at(None)));
    let (at_a, at_b) = (serve(&a, &[], "a").await, serve(&b, &[], "b").await);
    for (fake, other) in [(&a, &at_b), (&b, &at_a)] {
        let leader = Box::new(leader_at(Some(other.clone())));
        fake.refuse(Refusal::NotLeader { application: name(), leader: Some(leader) });
    }
    let got = send(failover(&at_a)).await;
    assert_eq!(got.problem(503, "not-leader")["leader"]["url"], *at_a, "as the last one that was asked says");
    assert_eq!((asked(&a), asked(&b)), (1, 1));
    let got = send(failover(&at_a).header("failoverd-forwarded", "c")).await;
    assert_eq!(got.problem(503, "not-leader")["leader"]["url"], *at_b);
    assert_eq!((asked(&a), asked(&b)), (2, 1));
}

#[tokio::test]
async fn where_the_leader_cannot_be_reached_the_follower_says_who_it_is() {
    let its_url = nobody().await;
    let (_, url) = following(its_url.clone(), &[]).await;
    let got = send(failover(&url)).await;
    let leader = &got.problem(503, "not-leader")["leader"];
    let expected = json!({
        "holder": "a", "url": its_url, "region": "us-west-2", "epoch": 3, "since": at(0).to_string(), "here": false
    });
    assert_eq!(*leader, expected);
    assert!(got.headers.contains_key("retry-after"));
    // One that said no address is not guessed, and nobody is nobody.
    let silent = follower(&leader_at(None));
    let got = send(failover(&serve(&silent, &[], "b").await)).await;
    assert_eq!(got.problem(503, "not-leader")["leader"]["url"], Value::Null);
    silent.refuse(Refusal::NotLeader { application: name(), leader: None });
    let got = send(failover(&serve(&silent, &[], "b").await)).await;
    assert!(got.problem(503, "not-leader").get("leader").is_none(), "{}", got.body);
}

#[tokio::test]
async fn a_leader_that_took_the_request_and_did_not_answer_is_said_to_have_given_no_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let its_url = format!("http://{}", listener.local_addr().expect("bound"));
    let dying = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.expect("a connection");
        let mut bytes = vec![0; 4_096];
        let read = connection.read(&mut bytes).await.expect("a request");
        connection.shutdown().await.expect("closed");
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    });
    let (_, url) = following(its_url.clone(), &[]).await;
    let got = send(failover(&url).header("cookie", "not-handed-on=1")).await;
    let problem = got.problem(502, "leader-unanswered");
    assert_eq!(problem["leader_url"], its_url);
    assert!(problem["detail"].as_str().is_some_and(|d| d.contains("unknown")), "{problem}");
    let heard = dying.await.expect("joins").to_lowercase();
    assert!(heard.starts_with("post /failover http/1.1") && heard.contains("failoverd-forwarded: b"), "{heard}");
    assert!(!heard.contains("cookie"), "{heard}");
}

#[tokio::test]
async fn a_body_that_is_too_large_goes_nowhere() {
    let leader = Fake::new();
    let (fake, url) = following(serve(&leader, &[], "a").await, &[]).await;
    let request = client().post(format!("{url}/failover")).header("content-type", "application/json");
    send(request.body("x".repeat(65 * 1024 + 1))).await.problem(413, "body-too-large");
    assert_eq!((asked(&fake), asked(&leader)), (0, 0));
}

/// The names of the events of a stream, to its end.
async fn events(response: reqwest::Response) -> Vec<String> {
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = tokio::time::timeout(Duration::from_secs(20), response.text()).await.expect("it ends").expect("text");
    text.lines()
        .filter_map(|line| line.strip_prefix("event: ").or(line.strip_prefix("event:")))
        .map(str::to_owned)
        .collect()
}

fn of_run(url: &str, run: &RunId, what: &str) -> RequestBuilder {
    client().get(format!("{url}/runs/{run}{what}"))
}

#[tokio::test]
async fn a_run_is_watched_through_a_follower_also_where_that_has_not_heard_of_it() {
    let leader = Fake::new();
    leader.append(1, vec![finished(run_id(1))]);
    leader.append(2, vec![started(run_id(2))]);
    let (fake, url) = following(serve(&leader, &[], "a").await, &[]).await;
    // The one that it knows it shows itself.
    let own = of_run(&url, &run_id(1), "/events").send().await.expect("an answer");
    fake.append(1, vec![finished(run_id(1))]);
    assert_eq!(events(own).await, ["record", "record", "end"]);
    // The other one is the leader's, and so is its stream.
    let shown = send(of_run(&url, &run_id(2), "")).await;
    assert_eq!((shown.status, &shown.body["state"]), (200, &json!("running")), "{}", shown.body);
    let handed_on = of_run(&url, &run_id(2), "/events").send().await.expect("an answer");
    leader.append(3, vec![finished(run_id(2))]);
    assert_eq!(events(handed_on).await.last().map(String::as_str), Some("end"));
    // There is none that the leader does not know.
    send(of_run(&url, &run_id(3), "")).await.problem(404, "unknown-run");
    send(of_run(&url, &run_id(3), "/events")).await.problem(404, "unknown-run");
}

#[tokio::test]
async fn a_run_that_a_follower_does_not_know_and_nobody_can_be_asked_about_may_be_there() {
    let (_, url) = following(nobody().await, &[]).await;
    for what in ["", "/events", "/patch"] {
        send(of_run(&url, &run_id(2), what)).await.problem(503, "not-leader");
    }
    assert_eq!(send(of_run(&url, &run_id(1), "")).await.status, 200, "what it knows it shows");
}

#[tokio::test]
async fn the_decision_is_the_leader_s() {
    let leader = Fake::new();
    *leader.assessment.lock().expect("lock") = Some(Arc::new(Assessment::unknown(name(), at(0))));
    let (_, url) = following(serve(&leader, &[], "a").await, &[]).await;
    let got = send(client().get(format!("{url}/applications/payments/decision"))).await;
    assert_eq!((got.status, &got.body["application"]), (200, &json!("payments")), "{}", got.body);
    // Who leads is said by whoever is asked.
    let got = send(client().get(format!("{url}/applications/payments"))).await;
    assert_eq!((&got.body["leader"]["holder"], &got.body["leader"]["here"]), (&json!("a"), &json!(false)));
}
