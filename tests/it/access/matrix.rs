//! Every route × every role × which applications it is for × how the caller shows who they are.
//!
//! The table is written out, and shares nothing with `domain::access`: a role that gains a permission, a route that
//! changes its group and a route that nobody has entered here each fail a test.

use std::{collections::BTreeSet, sync::Arc};

use axum::{Router, body::Body as Body_, http::Request};
use failoverd::{
    domain::{
        id::OverrideId,
        journal::Event,
        overrides::{Override, OverrideKind},
    },
    http::{
        auth::{Role, TokenEntry},
        openapi, page, router,
    },
};
use serde_json::{Value, json};

use super::{Got, access, form_request, grant, granted, past, request, send};
use crate::http_api::{Fake, RUN, api, at, finished, name, plan, run_id};

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    /// Nothing that belongs to anybody: no token is asked for.
    Public,
    /// `payments`, by its path.
    Path,
    /// `payments`, by its body.
    Body,
    /// All that the caller may look at.
    List,
    /// The observer itself.
    Oneself,
}

use About::{Body, List, Oneself, Path, Public};

/// Method, path, who may (v(iewer), o(perator), a(pprover), d(rill-runner), A(dmin), O(bserver)), what it is about, and
/// what those who may are answered.
const ROUTES: [(&str, &str, &str, About, u16); 57] = [
    ("GET", "/", "voadAO", Public, 200),
    ("GET", "/healthz", "voadAO", Public, 200),
    ("GET", "/readyz", "voadAO", Public, 200),
    ("GET", "/metrics", "voadAO", Public, 200),
    ("GET", "/openapi.json", "voadAO", Public, 200),
    ("GET", "/runs", "voadA", List, 200),
    ("GET", "/runs/{id}", "voadA", Path, 200),
    ("GET", "/runs/{id}/events", "voadA", Path, 200),
    ("GET", "/runs/{id}/evidence", "voadA", Path, 200),
    ("GET", "/runs/{id}/patch", "voadA", Path, 200),
    ("GET", "/evidence", "voadA", List, 200),
    ("GET", "/applications", "voadA", List, 200),
    ("GET", "/applications/{name}", "voadA", Path, 200),
    ("GET", "/applications/{name}/decision", "voadA", Path, 503),
    ("GET", "/applications/{name}/patch", "voadA", Path, 200),
    ("GET", "/applications/{name}/preflight", "voadA", Path, 200),
    ("POST", "/applications/{name}/preflight", "odA", Path, 202),
    ("GET", "/runbooks", "voadA", List, 200),
    ("GET", "/drills", "voadA", List, 200),
    ("GET", "/overrides", "voadA", List, 200),
    ("GET", "/notifications", "voadA", List, 200),
    ("POST", "/failover", "oA", Body, 202),
    ("POST", "/failback", "oA", Body, 202),
    ("POST", "/salvage", "oA", Body, 202),
    ("POST", "/runs/{id}/abort", "oA", Path, 200),
    ("POST", "/runs/{id}/pause", "oA", Path, 200),
    ("POST", "/runs/{id}/resume", "oA", Path, 200),
    ("POST", "/runs/{id}/steps/{step}/retry", "oA", Path, 200),
    ("POST", "/runs/{id}/steps/{step}/skip", "oA", Path, 200),
    ("POST", "/notifications/test", "oA", Body, 200),
    ("POST", "/runs/{id}/approvals", "a", Path, 200),
    ("POST", "/drills", "odA", Body, 202),
    ("POST", "/overrides", "oaA", Body, 201),
    ("POST", "/overrides/{id}/consent", "a", Path, 200),
    ("POST", "/overrides/{id}/end", "oaA", Path, 200),
    ("POST", "/observations", "O", Oneself, 409),
    ("GET", "/observations/assignments", "O", Oneself, 200),
    // The page.
    ("GET", "/ui", "voadA", List, 200),
    ("GET", "/ui/runs", "voadA", List, 200),
    ("GET", "/ui/runs/{id}", "voadA", Path, 200),
    ("GET", "/ui/runs/{id}/events", "voadA", Path, 200),
    ("GET", "/ui/runs/{id}/evidence", "voadA", Path, 200),
    ("GET", "/ui/evidence", "voadA", List, 200),
    ("GET", "/ui/runs/{id}/approval", "voadA", Path, 200),
    ("GET", "/ui/applications/{name}", "voadA", Path, 200),
    ("GET", "/ui/applications/{name}/moves/{kind}", "oA", Path, 200),
    ("POST", "/ui/applications/{name}/moves/{kind}", "oA", Path, 303),
    ("GET", "/ui/applications/{name}/drills/{runbook}", "odA", Path, 200),
    ("POST", "/ui/applications/{name}/drills/{runbook}", "odA", Path, 303),
    ("POST", "/ui/runs/{id}/act", "oA", Path, 303),
    ("POST", "/ui/runs/{id}/approval", "a", Path, 303),
    ("GET", "/ui/sign-in", "voadAO", Public, 200),
    // Another site could have sent it: nothing says where it comes from.
    ("POST", "/ui/sign-in", "voadAO", Public, 403),
    ("POST", "/ui/sign-out", "voadAO", Public, 303),
    ("GET", "/ui/page.css", "voadAO", Public, 200),
    ("GET", "/ui/page.js", "voadAO", Public, 200),
    ("GET", "/ui/icon.svg", "voadAO", Public, 200),
];

const LETTERS: [(Role, char); 6] = [
    (Role::Viewer, 'v'),
    (Role::Operator, 'o'),
    (Role::Approver, 'a'),
    (Role::DrillRunner, 'd'),
    (Role::Admin, 'A'),
    (Role::Observer, 'O'),
];

fn override_id() -> OverrideId {
    OverrideId::new(&name(), 1)
}

/// The body that a route asks for, about `application`.
fn body(path: &str, application: &str) -> Value {
    let digest = plan().digest().to_string();
    match path {
        "/failover" => json!({ "application": application, "mode": "failover", "reason": "a test" }),
        "/failback" | "/salvage" => json!({ "application": application, "reason": "a test" }),
        "/drills" => json!({ "application": application, "runbook": "drill-tabletop", "reason": "a test" }),
        "/applications/{name}/preflight" => json!({}),
        "/notifications/test" => json!({ "application": application, "channel": "oncall" }),
        "/overrides" => json!({
            "application": application, "kind": "kill_switch", "reason": "a test", "expires_in_seconds": 60,
        }),
        "/runs/{id}/approvals" => {
            json!({ "step": "consent", "decision": "approve", "digest": digest, "reason": "a test" })
        }
        "/overrides/{id}/consent" => json!({ "decision": "approve", "reason": "a test" }),
        "/overrides/{id}/end" => json!({ "reason": "a test" }),
        "/ui/runs/{id}/approval" => {
            json!({ "step": "consent", "decision": "approve", "digest": digest, "reason": "a test" })
        }
        "/ui/runs/{id}/act" => json!({ "act": "pause", "digest": digest, "reason": "a test" }),
        _ if path.starts_with("/ui/applications") => {
            json!({ "confirm": "payments", "accept_data_loss_seconds": "30", "reason": "a test" })
        }
        _ if path.starts_with("/ui") => json!({ "token": "x" }),
        "/observations" => json!({
            "observer": "p", "sequence": 1, "stamp": "strange", "stamp_age_seconds": 0.0, "samples": [],
        }),
        _ => json!({ "reason": "a test", "digest": digest }),
    }
}

/// The path, of what is there.
fn filled(path: &str) -> String {
    let id = if path.starts_with("/overrides") { override_id().to_string() } else { RUN.to_owned() };
    path.replace("{id}", &id)
        .replace("{name}", "payments")
        .replace("{step}", "consent")
        .replace("{kind}", "failover")
        .replace("{runbook}", "drill-tabletop")
}

/// As a program sends it, or a form.
fn asking(method: &str, path: &str, filled: &str, token: Option<&str>, body: Option<&Value>) -> Request<Body_> {
    match body {
        Some(body) if path.starts_with("/ui") => form_request(filled, token, body),
        body => request(method, filled, token, body),
    }
}

/// An engine with a run that is over and an arming that waits for consent.
fn engine() -> Arc<Fake> {
    let fake = Fake::new();
    let plan = plan();
    let what = Override {
        id: override_id(),
        kind: OverrideKind::Arm {
            from: plan.source,
            to: plan.target,
            largest_loss: std::time::Duration::from_secs(30),
        },
        by: "zoe".parse().expect("valid"),
        reason: "a test".to_owned(),
        asked_at: at(0),
        expires_at: at(3_600),
        bound_to: None,
        consent: None,
        ended: None,
    };
    fake.append(0, vec![Event::OverrideAsked { asked: Box::new(what) }]);
    fake.append(1, vec![finished(run_id(1))]);
    fake
}

/// Which applications a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    All,
    Payments,
    Billing,
    /// The role for billing, and a look at payments.
    BillingAndALook,
}

fn callers() -> Vec<TokenEntry> {
    let mut all = Vec::new();
    for (role, _) in LETTERS {
        let who = role.as_str();
        let own = granted(who, &format!("{who}:Payments"), &[grant(role, &["payments"])]);
        all.push(own.clone());
        all.push(granted("vantage", &format!("{who}:All"), &[grant(role, &[])]));
        all.push(granted(who, &format!("{who}:Billing"), &[grant(role, &["billing"])]));
        let look = [grant(role, &["billing"]), grant(Role::Viewer, &["payments"])];
        all.push(granted(who, &format!("{who}:BillingAndALook"), &look));
        let expired = granted(who, &format!("{who}:expired"), &[grant(role, &[])]);
        all.push(TokenEntry { expires_at: Some(past()), ..expired });
    }
    all
}

fn service() -> Router {
    router(api(&engine(), access(callers())))
}

async fn ask(router: &Router, method: &str, path: &str, token: Option<&str>) -> Got {
    let body = (method == "POST").then(|| body(path, "payments"));
    send(router, asking(method, path, &filled(path), token, body.as_ref())).await
}

/// What the table says that somebody with `role` for `scope` is answered: the status, and the code where it is refused.
fn expected(route: (&str, &str, &str, About, u16), role: (Role, char), scope: For) -> (u16, Option<&'static str>) {
    let (_, path, roles, about, answer) = route;
    let (is_theirs, looks) = (roles.contains(role.1), scope == For::BillingAndALook);
    let missing = match path.strip_prefix("/ui").unwrap_or(path).split('/').nth(1) {
        Some("runs") => "unknown-run",
        Some("overrides") if path.contains("{id}") => "unknown-override",
        _ => "unknown-application",
    };
    match (about, scope) {
        (Public, _) => (answer, None),
        // An observer that may also look is one that may look.
        _ if !(is_theirs || looks && roles.contains('v')) => (403, Some("forbidden")),
        (List | Oneself, _) | (_, For::All | For::Payments) => (answer, None),
        (Path | Body, For::Billing) => (404, Some(missing)),
        (Path | Body, For::BillingAndALook) if roles.contains('v') => (answer, None),
        (Path | Body, For::BillingAndALook) => (403, Some("forbidden")),
    }
}

#[test]
fn every_route_of_the_description_stands_in_the_table() {
    let pages = page::described(&api(&engine(), access(callers())));
    let all = openapi::document().paths.paths.into_iter().chain(pages.paths.paths);
    let described: BTreeSet<(String, String)> = all
        .collect::<std::collections::BTreeMap<_, _>>()
        .iter()
        .flat_map(|(path, item)| {
            let methods = [
                ("GET", item.get.is_some()),
                ("POST", item.post.is_some()),
                ("PUT", item.put.is_some()),
                ("DELETE", item.delete.is_some()),
                ("PATCH", item.patch.is_some()),
            ];
            methods.into_iter().filter(|(_, is)| *is).map(|(m, _)| (m.to_owned(), path.clone()))
        })
        .collect();
    let listed: BTreeSet<_> = ROUTES.iter().map(|(m, p, ..)| ((*m).to_owned(), (*p).to_owned())).collect();
    assert_eq!(described, listed, "a route that is in no table is in no test");
}

/// FAULTS.md 86, 98.
#[tokio::test]
async fn every_route_answers_every_role_for_every_application_as_the_table_says() {
    // For those who change nothing.
    let shared = service();
    for route in ROUTES {
        for role in LETTERS {
            for scope in [For::All, For::Payments, For::Billing, For::BillingAndALook] {
                let token = format!("{}:{scope:?}", role.0.as_str());
                let (status, code) = expected(route, role, scope);
                let changes = route.0 == "POST" && code.is_none();
                let own = changes.then(service);
                let got = ask(own.as_ref().unwrap_or(&shared), route.0, route.1, Some(&token)).await;
                let case = format!("{} {} as {token}: {}", route.0, route.1, got.text);
                assert_eq!(got.status.as_u16(), status, "{case}");
                assert_eq!(code.unwrap_or_default(), if code.is_some() { got.code() } else { String::new() }, "{case}");
                if route.3 == List && scope == For::Billing {
                    assert!(!got.text.contains("payments"), "{case}");
                }
            }
        }
    }
}

/// FAULTS.md 85.
#[tokio::test]
async fn no_bad_and_expired_tokens_get_one_answer_everywhere() {
    for (method, path, _, about, answer) in ROUTES {
        let mut texts = BTreeSet::new();
        // One for each route: whoever fails too often is told to wait.
        let router = service();
        let expired = LETTERS.map(|(role, _)| format!("{}:expired", role.as_str()));
        let bad = [None, Some("wrong"), Some(""), Some("a b"), Some("eyJhbGciOiJub25lIn0.e30.")];
        for token in bad.into_iter().chain(expired.iter().map(|token| Some(token.as_str()))) {
            let got = ask(&router, method, path, token).await;
            let status = if about == Public { answer } else { 401 };
            assert_eq!(got.status.as_u16(), status, "{method} {path} {token:?}: {}", got.text);
            if about != Public {
                assert_eq!(got.headers["www-authenticate"], "Bearer");
                texts.insert(got.text);
            }
        }
        assert!(texts.len() <= 1, "{method} {path}: {texts:?}");
    }
}

/// FAULTS.md 98: what somebody may not see is answered as what is not there.
#[tokio::test]
async fn what_somebody_may_not_see_is_answered_as_what_is_not_there() {
    let router = service();
    let token = Some("operator:Billing");
    for (method, path, roles, about, _) in ROUTES {
        if !roles.contains('o') || !matches!(about, Path | Body) {
            continue;
        }
        let there = filled(path);
        let not_there = there.replace("payments", "nonesuch");
        let sent = |path: &str, of: &str| (method == "POST").then(|| body(path, of));
        let hidden = send(&router, asking(method, path, &there, token, sent(path, "payments").as_ref())).await;
        // To somebody who may see everything it is not there, and their handler says so; the fake engine knows every
        // override and takes every body.
        let is_faithful = path.starts_with("/runs") || path.starts_with("/applications");
        let whose = if is_faithful { Some("operator:All") } else { token };
        let missing = send(&router, asking(method, path, &not_there, whose, sent(path, "nonesuch").as_ref())).await;
        assert_eq!(hidden.status, 404, "{method} {path}");
        assert_eq!(hidden.status, missing.status, "{method} {path}");
        assert_eq!(hidden.text.replace("payments", "nonesuch"), missing.text, "{method} {path}");
    }
    for path in ["/runs", "/drills", "/overrides", "/notifications", "/evidence"] {
        let hidden = send(&router, request("GET", &format!("{path}?application=payments"), token, None)).await;
        let missing =
            send(&router, request("GET", &format!("{path}?application=nonesuch"), Some("operator:All"), None)).await;
        assert_eq!((hidden.status.as_u16(), hidden.code().as_str()), (404, "unknown-application"), "{path}");
        assert_eq!(hidden.text.replace("payments", "nonesuch"), missing.text, "{path}");
    }
    let cursor = send(&router, request("GET", &format!("/runs?cursor={RUN}"), token, None)).await;
    assert_eq!(cursor.status, 400, "a run that one may not see is no cursor");
}

/// The two-person rule goes by who is known, and a body says nothing of that.
#[tokio::test]
async fn a_body_that_names_somebody_is_refused_by_name() {
    let router = service();
    for (method, path, _, _, _) in
        ROUTES.into_iter().filter(|(method, _, _, about, _)| *method == "POST" && *about != Public)
    {
        for member in ["subject", "by", "requested_by", "approved_by"] {
            let mut sent = body(path, "payments");
            sent[member] = json!("bob");
            let who = LETTERS.into_iter().find(|(_, letter)| {
                ROUTES.iter().any(|(m, p, roles, ..)| (*m, *p) == (method, path) && roles.contains(*letter))
            });
            let token = format!("{}:All", who.expect("somebody").0.as_str());
            let got = send(&router, asking(method, path, &filled(path), Some(&token), Some(&sent))).await;
            assert_eq!(got.status, 422, "{path} {member}: {}", got.text);
            assert!(got.text.contains(member), "{path} {member}: {}", got.text);
        }
    }
}
