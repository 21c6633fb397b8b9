//! Every request that changes something stands in the journal with who, from where and why.

use std::sync::Arc;

use failoverd::{
    domain::{
        access::{Origin, Proof},
        journal::Event,
    },
    engine::control::Control,
    http::{Api, auth::Role, peer::Peer, router},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{access, request, send};
use crate::{
    http_api::entry,
    support::{Live, Scene, disaster},
};

fn service(live: &Live) -> axum::Router {
    let control: Arc<dyn Control> = Arc::new(live.engine.clone());
    let entries = vec![entry("ann", "a", &[Role::Operator]), entry("bob", "b", &[Role::Approver])];
    let mut access = access(entries);
    access.proxies = ["10.0.0.0/8".parse().expect("a network")].into();
    router(Api::new(control, access, Arc::new(String::new), CancellationToken::new()))
}

/// Sends it as from a proxy at 10.0.0.1 that has it from 198.51.100.9.
async fn post(router: &axum::Router, path: &str, token: &str, body: &Value) -> Value {
    let mut sent = request("POST", path, Some(token), Some(body));
    sent.extensions_mut().insert(Peer("10.0.0.1".parse().expect("an address")));
    sent.headers_mut().insert("x-forwarded-for", "203.0.113.1, 198.51.100.9".parse().expect("a value"));
    let got = send(router, sent).await;
    assert!(got.status.is_success(), "{path}: {}", got.text);
    serde_json::from_str(&got.text).expect("json")
}

#[tokio::test(start_paused = true)]
async fn who_asked_from_where_and_why_stands_in_one_record_and_what_the_engine_does_has_no_origin() {
    let scene = Scene::payments(20, 240);
    let live = disaster(&scene).await;
    let router = service(&live);
    let body = json!({
        "application": "payments", "mode": "failover", "reason": "us-east-1 is gone", "accept_data_loss_seconds": 7200,
    });
    let started = post(&router, "/failover", "a", &body).await;
    let run = started["run"].as_str().expect("a run").parse().expect("an id");
    live.until_running(&run, "approve").await;
    let digest = live.run(&run).plan_digest.to_string();
    let yes = json!({ "step": "approve", "decision": "approve", "digest": digest, "reason": "agreed" });
    post(&router, &format!("/runs/{run}/approvals"), "b", &yes).await;
    post(&router, &format!("/runs/{run}/pause"), "a", &json!({ "reason": "wait" })).await;
    let records = live.engine.records(&run).await.expect("records");
    let from =
        Origin { address: Some("198.51.100.9".to_owned()), request_id: "the-same".to_owned(), proof: Proof::Token };
    let mut asked = Vec::new();
    for record in &records {
        let origin = record.events.iter().find_map(|event| match event {
            Event::CalledFrom { run: Some(of), origin } if *of == run => Some(origin.clone()),
            _ => None,
        });
        let who = record.events.iter().find_map(|event| match event {
            Event::RunStarted { request, .. } => Some((request.subject.to_string(), request.reason.clone())),
            Event::ApprovalRecorded { subject, reason, .. } | Event::RunPaused { subject, reason, .. } => {
                Some((subject.to_string(), reason.clone()))
            }
            _ => None,
        });
        assert_eq!(origin.is_some(), who.is_some(), "each of them stands with the other: {record:?}");
        if let (Some(origin), Some(who)) = (origin, who) {
            assert_eq!(origin, from);
            asked.push(who);
        }
    }
    let said = |who: &str, why: &str| (who.to_owned(), why.to_owned());
    assert_eq!(asked, [said("ann", "us-east-1 is gone"), said("bob", "agreed"), said("ann", "wait")]);
}

/// The two-person rule goes by subject, whatever roles and tokens somebody has.
#[tokio::test(start_paused = true)]
async fn nobody_approves_their_own_with_another_token_of_theirs() {
    let scene = Scene::payments(24, 240);
    let live = disaster(&scene).await;
    let control: Arc<dyn Control> = Arc::new(live.engine.clone());
    let both = [Role::Operator, Role::Approver];
    let access = access(vec![entry("ann", "laptop", &both), entry("ann", "phone", &both)]);
    let router = router(Api::new(control, access, Arc::new(String::new), CancellationToken::new()));
    let body = json!({
        "application": "payments", "mode": "failover", "reason": "us-east-1 is gone", "accept_data_loss_seconds": 7200,
    });
    let started = post(&router, "/failover", "laptop", &body).await;
    let run = started["run"].as_str().expect("a run").parse().expect("an id");
    live.until_running(&run, "approve").await;
    let digest = live.run(&run).plan_digest.to_string();
    let yes = json!({ "step": "approve", "decision": "approve", "digest": digest, "reason": "agreed" });
    for token in ["laptop", "phone"] {
        let got = send(&router, request("POST", &format!("/runs/{run}/approvals"), Some(token), Some(&yes))).await;
        assert_eq!((got.status.as_u16(), got.code().as_str()), (403, "self-approval"), "{token}");
    }
}
