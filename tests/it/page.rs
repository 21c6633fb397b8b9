//! The web page over the real router: who is let in, what another site can do, what is shown to whom, and what comes out of
//! hostile names. What a browser makes of it: tests/browser.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode, header},
};
use failoverd::{
    adapters::clock::SystemClock,
    domain::{
        action::Action,
        assessment::{Assessment, Exposure, Health, Verdict},
        id::Subject,
        journal::Event,
        plan::Plan,
        preflight::{Check, Class, Direction, Kind, Preflight, State},
    },
    engine::{
        control::{Act, Leader, Refusal, Started, Wish},
        preflight::round::Now,
    },
    http::{
        auth::{Access, Role, TokenEntry, Tokens},
        replica::Forwarder,
        router, server,
    },
};
use jiff::Timestamp;
use tower::ServiceExt;

use crate::http_api::{Fake, RUN, api, application, at, entry, finished, plan, run_id, started};

const HOST: &str = "localhost:8080";

struct Got {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Got {
    /// The cookie that was set, as it is sent back.
    fn cookie(&self) -> String {
        let set = self.headers[header::SET_COOKIE].to_str().expect("ascii");
        set.split(';').next().expect("a pair").to_owned()
    }

    /// The secret that the forms of this page hold.
    fn form(&self) -> String {
        let (_, rest) = self.text.split_once("name=\"form\" value=\"").expect("a form");
        rest.split('"').next().expect("a value").to_owned()
    }

    fn location(&self) -> &str {
        self.headers[header::LOCATION].to_str().expect("ascii")
    }

    #[track_caller]
    fn is(&self, status: u16, says: &str) {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert!(self.text.contains(says), "does not say {says:?}: {}", self.text);
    }
}

async fn send(router: &Router, request: Request<Body>) -> Got {
    let response = router.clone().oneshot(request).await.expect("infallible");
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.expect("body");
    Got { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes.to_vec()).expect("text") }
}

async fn get(router: &Router, path: &str, cookie: &str) -> Got {
    let request = Request::get(path).header("host", HOST).header("cookie", cookie).header("accept", "text/html");
    send(router, request.body(Body::empty()).expect("request")).await
}

/// A form of this very page, as a browser sends it.
fn form(path: &str, cookie: &str, fields: &[(&str, &str)]) -> Request<Body> {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    Request::post(path)
        .header("host", HOST)
        .header("cookie", cookie)
        .header("sec-fetch-site", "same-origin")
        .header("origin", "http://localhost:8080")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(body))
        .expect("request")
}

fn access(entries: Vec<TokenEntry>) -> Access {
    let mut access = Access::from(Tokens::new(entries).expect("valid"));
    access.clock = Some(Arc::new(SystemClock));
    access
}

/// ann has asked for the run; bob may approve, vic may look.
fn service(fake: &Arc<Fake>) -> Router {
    let people = vec![
        entry("ann", "t-ann", &[Role::Operator, Role::Approver]),
        entry("bob", "t-bob", &[Role::Approver]),
        entry("vic", "t-vic", &[Role::Viewer]),
    ];
    router(api(fake, access(people)))
}

/// Signs in; the cookie.
async fn signed_in(router: &Router, token: &str) -> String {
    let got = send(router, form("/ui/sign-in", "", &[("token", token), ("next", "")])).await;
    got.is(303, "");
    got.cookie()
}

fn run_page() -> String {
    format!("/ui/runs/{RUN}")
}

fn digest() -> String {
    plan().digest().to_string()
}

/// The run waits for its approval.
fn waiting() -> Arc<Fake> {
    let fake = Fake::new();
    let step = "consent".parse().expect("valid");
    fake.append(1, vec![Event::StepStarted { run: run_id(1), step, attempt: 1 }]);
    fake
}

fn seen(exposure: Exposure, health: Health) -> Assessment {
    Assessment {
        active_region: Some(plan().source),
        health,
        verdict: Verdict::Recommend,
        recommended_target: Some(plan().target),
        reasons: vec!["it is down".into()],
        exposure: [("orders".parse().expect("valid"), exposure)].into(),
        ..Assessment::unknown(application().name, at(0))
    }
}

#[tokio::test]
async fn a_browser_is_led_to_the_page_and_a_script_is_told_of_the_api() {
    let router = service(&Fake::new());
    let got = get(&router, "/", "").await;
    assert_eq!((got.status.as_u16(), got.location()), (303, "/ui"));
    let got = send(&router, Request::get("/").body(Body::empty()).expect("request")).await;
    got.is(200, "/openapi.json");
    assert_eq!(got.headers[header::VARY], "accept");
}

#[tokio::test]
async fn every_answer_of_the_page_forbids_what_it_does_not_need() {
    let fake = waiting();
    let router = service(&fake);
    let ann = signed_in(&router, "t-ann").await;
    let run = run_page();
    let pages = ["/ui", "/ui/applications/payments", "/ui/runs", &run, "/ui/sign-in", "/ui/page.css", "/ui/page.js"];
    let approval = format!("{run}/approval");
    let refused = ["/ui/applications/nonesuch", &approval, "/ui/applications/payments/moves/failover"];
    for path in pages.into_iter().chain(refused) {
        for cookie in [ann.as_str(), ""] {
            let got = get(&router, path, cookie).await;
            let policy = got.headers[header::CONTENT_SECURITY_POLICY].to_str().expect("ascii");
            for needed in [
                "default-src 'none'",
                "script-src 'self'",
                "frame-ancestors 'none'",
                "base-uri 'none'",
                "form-action 'self'",
            ] {
                assert!(policy.contains(needed), "{path}: {policy}");
            }
            assert!(!policy.contains("unsafe"), "{path}: {policy}");
            assert_eq!(got.headers[header::REFERRER_POLICY], "same-origin", "{path}");
            assert_eq!(got.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
            // What the policy forbids is not there either.
            for inline in ["<style", " style=", " onclick=", " onload=", "javascript:"] {
                assert!(
                    !got.text.contains(inline) || path.ends_with(".js") || path.ends_with(".css"),
                    "{path}: {inline}"
                );
            }
            let kept = got.headers[header::CACHE_CONTROL].to_str().expect("ascii");
            assert_eq!(kept.contains("immutable"), path.contains("page."), "{path}: {kept}");
        }
    }
}

#[tokio::test]
async fn a_good_token_begins_a_session_that_no_script_reads_and_a_bad_one_does_not() {
    let router = service(&Fake::new());
    for bad in ["t-eve", "", "t-ann\u{e9}", "a b"] {
        let got = send(&router, form("/ui/sign-in", "", &[("token", bad)])).await;
        got.is(401, "no token that is good here");
        assert!(!got.headers.contains_key(header::SET_COOKIE), "{bad}");
        assert!(bad.is_empty() || !got.text.contains(bad), "what was typed is not repeated");
    }
    let got = send(&router, form("/ui/sign-in", "", &[("token", " t-ann "), ("next", &run_page())])).await;
    assert_eq!((got.status.as_u16(), got.location()), (303, run_page().as_str()));
    let set = got.headers[header::SET_COOKIE].to_str().expect("ascii").to_owned();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"] {
        assert!(set.contains(part), "{set}");
    }
    assert!(!set.contains("Secure") && !set.contains("t-ann"), "{set}");
    get(&router, "/ui", &got.cookie()).await.is(200, "payments");
    get(&router, "/ui", "failoverd=0000").await.is(401, "Sign in");
    get(&router, &run_page(), "").await.is(401, &format!("name=\"next\" value=\"{}\"", run_page()));
    // Where a browser comes from elsewhere, the cookie is for TLS alone.
    let mut far = form("/ui/sign-in", "", &[("token", "t-ann")]);
    far.headers_mut().insert("host", "failoverd.example".parse().expect("a value"));
    let got = send(&router, far).await;
    let set = got.headers[header::SET_COOKIE].to_str().expect("ascii");
    assert!(set.starts_with("__Host-failoverd=") && set.ends_with("; Secure"), "{set}");
}

#[tokio::test]
async fn a_session_is_worth_what_its_token_is_worth_and_no_longer() {
    let soon = Timestamp::now() + jiff::SignedDuration::from_secs(2);
    let brief = TokenEntry { expires_at: Some(soon), ..entry("ann", "t", &[Role::Operator]) };
    let router = router(api(&Fake::new(), access(vec![brief])));
    let got = send(&router, form("/ui/sign-in", "", &[("token", "t")])).await;
    let set = got.headers[header::SET_COOKIE].to_str().expect("ascii").to_owned();
    assert!(set.contains("Max-Age=1;") || set.contains("Max-Age=2;"), "{set}");
    get(&router, "/ui", &got.cookie()).await.is(200, "Applications");
    let deadline = Timestamp::now() + jiff::SignedDuration::from_secs(20);
    while get(&router, "/ui", &got.cookie()).await.status != 401 {
        assert!(Timestamp::now() < deadline, "the session outlives its token");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn signing_out_ends_the_session() {
    let router = service(&Fake::new());
    let ann = signed_in(&router, "t-ann").await;
    let secret = get(&router, "/ui", &ann).await.form();
    send(&router, form("/ui/sign-out", &ann, &[("form", "forged")])).await.is(403, "form-refused");
    let got = send(&router, form("/ui/sign-out", &ann, &[("form", &secret)])).await;
    assert_eq!(got.location(), "/ui/sign-in");
    assert!(got.headers[header::SET_COOKIE].to_str().expect("ascii").contains("Max-Age=0"));
    get(&router, "/ui", &ann).await.is(401, "Sign in");
}

/// FAULTS.md 100.
#[tokio::test]
async fn another_site_cannot_send_a_form_and_the_cookie_opens_no_api() {
    let fake = waiting();
    let router = service(&fake);
    let (ann, bob) = (signed_in(&router, "t-ann").await, signed_in(&router, "t-bob").await);
    let (secret, other) = (get(&router, "/ui", &ann).await.form(), get(&router, "/ui", &bob).await.form());
    assert_ne!(secret, other);
    let path = format!("{}/act", run_page());
    let digest = digest();
    let fields = |secret: &'static str| [("form", secret), ("act", "abort"), ("digest", ""), ("reason", "forged")];
    for forged in ["", "0000"] {
        let mut fields = fields(forged);
        fields[2].1 = &digest;
        send(&router, form(&path, &ann, &fields)).await.is(403, "form-refused");
    }
    let good = [("form", secret.as_str()), ("act", "abort"), ("digest", digest.as_str()), ("reason", "meant")];
    let theirs = [("form", other.as_str()), good[1], good[2], good[3]];
    send(&router, form(&path, &ann, &theirs)).await.is(403, "form-refused");
    send(&router, form(&path, &ann, &good[1..])).await.is(403, "form-refused");
    for (name, value) in [("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site"), ("sec-fetch-site", "none")]
    {
        let mut sent = form(&path, &ann, &good);
        sent.headers_mut().insert(name, value.parse().expect("a value"));
        send(&router, sent).await.is(403, "form-refused");
    }
    for origin in [Some("https://evil.example"), Some("null"), None] {
        let mut sent = form(&path, &ann, &good);
        sent.headers_mut().remove("sec-fetch-site");
        sent.headers_mut().remove("origin");
        if let Some(origin) = origin {
            sent.headers_mut().insert("origin", origin.parse().expect("a value"));
        }
        send(&router, sent).await.is(403, "form-refused");
    }
    for (method, path) in [("GET", "/runs"), ("GET", "/applications"), ("POST", "/failover")] {
        let sent = Request::builder().method(method).uri(path).header("cookie", &ann).body(Body::empty());
        assert_eq!(send(&router, sent.expect("request")).await.status, 401, "{path}");
    }
    assert!(fake.acted.lock().expect("lock").is_empty(), "none of it reached the engine");
    let got = send(&router, form(&path, &ann, &good)).await;
    assert_eq!((got.status.as_u16(), got.location()), (303, run_page().as_str()));
    let (run, act, who, why) = fake.acted.lock().expect("lock").pop().expect("one");
    assert_eq!((run, act, who.as_str(), why.as_str()), (run_id(1), Act::Abort, "ann", "meant"));
}

#[tokio::test]
async fn where_nobody_signs_in_forms_are_of_this_page_all_the_same() {
    let fake = waiting();
    let router = router(api(&fake, Tokens::open()));
    let page = get(&router, &run_page(), "").await;
    page.is(200, "no sign-in");
    assert_eq!(get(&router, "/ui/sign-in", "").await.location(), "/ui");
    let path = format!("{}/act", run_page());
    let (digest, secret) = (digest(), page.form());
    let good = [("form", secret.as_str()), ("act", "pause"), ("digest", digest.as_str()), ("reason", "wait")];
    send(&router, form(&path, "", &good[1..])).await.is(403, "form-refused");
    let mut forged = form(&path, "", &good);
    forged.headers_mut().insert("sec-fetch-site", "cross-site".parse().expect("a value"));
    send(&router, forged).await.is(403, "form-refused");
    let mut rebound = form(&path, "", &good);
    rebound.headers_mut().insert("host", "evil.example".parse().expect("a value"));
    assert_eq!(send(&router, rebound).await.status, 403);
    assert!(fake.acted.lock().expect("lock").is_empty());
    assert_eq!(send(&router, form(&path, "", &good)).await.status, 303);
}

#[tokio::test]
async fn hostile_names_and_reasons_come_out_as_text() {
    let fake = waiting();
    let hostile = "<script>alert(1)</script>\"'><img src=x onerror=y> \u{202e}gnorw &amp;";
    let run = run_id(1);
    fake.append(
        2,
        vec![Event::RunHeld {
            run: run.clone(),
            step: None,
            code: "approval-expired".into(),
            reason: hostile.into(),
            waits_for: hostile.into(),
        }],
    );
    let mut assessment = seen(Exposure::from_lag(None, at(0), Duration::from_secs(60)), Health::Down);
    assessment.reasons = vec![hostile.into()];
    assessment.would_change = vec![hostile.into()];
    *fake.assessment.lock().expect("lock") = Some(Arc::new(assessment));
    let router = service(&fake);
    let ann = signed_in(&router, "t-ann").await;
    let (one, approval) = (run_page(), format!("{}/approval", run_page()));
    for path in ["/ui", "/ui/applications/payments", "/ui/runs", &one, &approval] {
        let got = get(&router, path, &ann).await;
        got.is(200, "&lt;script&gt;alert(1)&lt;/script&gt;");
        assert!(!got.text.contains("<script>alert") && !got.text.contains("<img"), "{path}");
        assert!(!got.text.contains('\u{202e}'), "{path}: writing that is turned round");
        assert!(got.text.contains("&amp;amp;"), "{path}");
    }
    // What somebody has typed comes back as text too.
    let secret = get(&router, "/ui", &ann).await.form();
    let typed =
        [("form", secret.as_str()), ("confirm", hostile), ("reason", hostile), ("accept_data_loss_seconds", "\"><b>")];
    *fake.answer.lock().expect("lock") =
        Ok(Started::Planned { plan: Box::new(plan()), digest: plan().digest(), chosen: None });
    let got = send(&router, form("/ui/applications/payments/moves/failover", &ann, &typed)).await;
    got.is(422, "&lt;script&gt;");
    assert!(!got.text.contains("<script>alert") && !got.text.contains("\"><b>"), "{}", got.text);
}

#[tokio::test]
async fn a_failover_is_shown_first_and_started_by_its_name_its_loss_and_a_reason() {
    let fake = Fake::new();
    fake.append(1, vec![finished(run_id(1))]);
    let router = service(&fake);
    let ann = signed_in(&router, "t-ann").await;
    let path = "/ui/applications/payments/moves/failover";
    *fake.answer.lock().expect("lock") =
        Ok(Started::Planned { plan: Box::new(plan()), digest: plan().digest(), chosen: None });
    let page = get(&router, path, &ann).await;
    page.is(200, "Point of no return");
    page.is(200, &digest());
    assert!(fake.asked.lock().expect("lock").iter().all(|asked| asked.dry_run), "showing starts nothing");
    let secret = page.form();
    let good = [
        ("form", secret.as_str()),
        ("key", "k-1"),
        ("confirm", "payments"),
        ("accept_data_loss_seconds", "30"),
        ("reason", "us-east-1 is gone"),
    ];
    for (field, value, says) in [
        ("confirm", "payment", "application&#39;s name"),
        ("confirm", "", "confirm"),
        ("accept_data_loss_seconds", "", "whole seconds"),
        ("accept_data_loss_seconds", "86401", "whole seconds"),
        ("accept_data_loss_seconds", "-1", "whole seconds"),
        ("reason", "  ", "reason"),
        ("target_region", "the moon", "target_region"),
    ] {
        let mut fields = good.to_vec();
        fields.retain(|(name, _)| *name != field);
        fields.push((field, value));
        let got = send(&router, form(path, &ann, &fields)).await;
        assert_eq!(got.status, 422, "{field} {value}");
        let says = says.replace("&#39;", "'");
        assert!(got.text.contains(&says), "{field} {value}: {}", got.text);
        assert!(got.text.contains("us-east-1 is gone") || field == "reason", "what was typed stands there still");
    }
    assert!(fake.asked.lock().expect("lock").iter().all(|asked| asked.dry_run));
    fake.asked.lock().expect("lock").clear();
    *fake.answer.lock().expect("lock") = Ok(Started::Run { id: run_id(1), supersedes: None });
    let got = send(&router, form(path, &ann, &good)).await;
    assert_eq!((got.status.as_u16(), got.location()), (303, run_page().as_str()));
    let asked = fake.asked.lock().expect("lock").pop().expect("asked");
    assert_eq!((asked.wish, asked.dry_run, asked.subject.as_str()), (Wish::Failover, false, "ann"));
    assert_eq!(
        (asked.accept_data_loss, asked.idempotency_key.as_deref()),
        (Some(Duration::from_secs(30)), Some("k-1"))
    );
    // A refusal is told where the form stands.
    fake.refuse(Refusal::Gate { gate: "rpo", why: "lag 40 s".into(), satisfied_by: "accept 40 s".into() });
    send(&router, form(path, &ann, &good)).await.is(409, "accept 40 s");
    *fake.answer.lock().expect("lock") = Ok(Started::Run { id: run_id(1), supersedes: None });
    let drill = "/ui/applications/payments/drills/drill-tabletop";
    let fields = [good[0], good[2], ("reason", "each quarter")];
    assert_eq!(send(&router, form(drill, &ann, &fields)).await.status, 303);
    let asked = fake.asked.lock().expect("lock").pop().expect("asked");
    assert_eq!(asked.wish, Wish::Drill { runbook: "drill-tabletop".parse().expect("valid") });
    get(&router, "/ui/applications/payments/moves/sideways", &ann).await.is(404, "not-found");
}

#[tokio::test]
async fn an_approver_sees_the_very_plan_and_a_stale_or_own_approval_is_refused() {
    let fake = waiting();
    let router = service(&fake);
    let (ann, bob) = (signed_in(&router, "t-ann").await, signed_in(&router, "t-bob").await);
    let vic = signed_in(&router, "t-vic").await;
    let path = format!("{}/approval", run_page());
    let page = get(&router, &path, &bob).await;
    page.is(200, "value=\"approve\"");
    page.is(200, &format!("name=\"digest\" value=\"{}\"", digest()));
    let own = get(&router, &path, &ann).await;
    own.is(200, "You asked for this run");
    assert!(!own.text.contains("value=\"approve\""));
    let looks = get(&router, &path, &vic).await;
    looks.is(200, "the role approver is needed");
    assert!(!looks.text.contains("value=\"approve\""));
    let (digest, secret) = (digest(), page.form());
    let yes = [
        ("form", secret.as_str()),
        ("step", "consent"),
        ("decision", "approve"),
        ("digest", digest.as_str()),
        ("reason", "read it"),
    ];
    *fake.act_answer.lock().expect("lock") = Err(Refusal::StaleDigest { current: plan().digest() });
    let got = send(&router, form(&path, &bob, &yes)).await;
    got.is(409, "Another plan was shown");
    got.is(409, &digest);
    let mine = own.form();
    let sent = [("form", mine.as_str()), yes[1], yes[2], yes[3], yes[4]];
    let ann_: Subject = "ann".parse().expect("valid");
    *fake.act_answer.lock().expect("lock") = Err(Refusal::SelfApproval(ann_));
    send(&router, form(&path, &ann, &sent)).await.is(403, "Somebody else must approve");
    let third = get(&router, "/ui", &vic).await.form();
    fake.acted.lock().expect("lock").clear();
    send(&router, form(&path, &vic, &[("form", third.as_str()), yes[1], yes[2], yes[3], yes[4]]))
        .await
        .is(403, "forbidden");
    assert!(fake.acted.lock().expect("lock").is_empty());
    *fake.act_answer.lock().expect("lock") = Ok(());
    assert_eq!(send(&router, form(&path, &bob, &yes)).await.status, 303);
    let (_, act, who, why) = fake.acted.lock().expect("lock").pop().expect("one");
    let step = "consent".parse().expect("valid");
    assert_eq!(act, Act::Approve { step, approved: true, digest: plan().digest() });
    assert_eq!((who.as_str(), why.as_str()), ("bob", "read it"));
    // An act on another plan than the run's is refused before the engine is asked.
    let act = format!("{}/act", run_page());
    let other = "0".repeat(64);
    let sent = [("form", mine.as_str()), ("act", "abort"), ("digest", other.as_str()), ("reason", "old page")];
    send(&router, form(&act, &ann, &sent)).await.is(409, "Another plan was shown");
}

#[tokio::test]
async fn nobody_is_offered_what_they_may_not_do() {
    let fake = waiting();
    let router = service(&fake);
    let (ann, vic) = (signed_in(&router, "t-ann").await, signed_in(&router, "t-vic").await);
    for (path, offered) in [("/ui/applications/payments".to_owned(), "Fail over…"), (run_page(), "value=\"abort\"")] {
        get(&router, &path, &ann).await.is(200, offered);
        let got = get(&router, &path, &vic).await;
        assert!(got.status == 200 && !got.text.contains(offered), "{path}: {}", got.text);
    }
    get(&router, "/ui/applications/payments/moves/failover", &vic).await.is(403, "forbidden");
}

#[tokio::test]
async fn what_is_not_known_is_said_to_be_unknown_with_its_age() {
    let fake = Fake::new();
    let router = service(&fake);
    let ann = signed_in(&router, "t-ann").await;
    for path in ["/ui", "/ui/applications/payments"] {
        let got = get(&router, path, &ann).await;
        got.is(200, "unknown");
        assert!(!got.text.contains("chip well") && !got.text.contains("within"), "{path}: {}", got.text);
    }
    // A lag of five minutes ago is not the lag.
    let old = Exposure::from_lag(Some((at(-300), Duration::from_secs(3))), at(0), Duration::from_secs(60));
    *fake.assessment.lock().expect("lock") = Some(Arc::new(seen(old, Health::Unknown)));
    let got = get(&router, "/ui", &ann).await;
    got.is(200, "too old to be believed");
    got.is(200, "last 3.0 s");
    let unknown_lag = "<div class=\"meter unknown\"><div class=\"line\"><span class=\"name\">Lag</span>";
    got.is(200, unknown_lag);
    let never = Exposure::from_lag(None, at(0), Duration::from_secs(60));
    *fake.assessment.lock().expect("lock") = Some(Arc::new(seen(never, Health::Unknown)));
    let got = get(&router, "/ui", &ann).await;
    got.is(200, "unbounded");
    got.is(200, "never read");
    assert!(!got.text.contains("0.0 s"), "{}", got.text);
}

#[tokio::test]
async fn a_run_is_followed_with_the_session_s_cookie() {
    let fake = Fake::new();
    fake.append(1, vec![finished(run_id(1))]);
    let router = service(&fake);
    let vic = signed_in(&router, "t-vic").await;
    let got = get(&router, &format!("{}/events", run_page()), &vic).await;
    assert_eq!(got.headers[header::CONTENT_TYPE], "text/event-stream");
    got.is(200, "event: end");
    assert_eq!(get(&router, &format!("{}/events", run_page()), "").await.status, 401);
    let got = get(&router, &format!("{}/evidence?form=jsonl", run_page()), &vic).await;
    assert!(got.headers[header::CONTENT_DISPOSITION].to_str().expect("ascii").contains(RUN));
}

/// A service on loopback among others.
async fn serve(fake: &Arc<Fake>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let people = vec![entry("ann", "t-ann", &[Role::Operator]), entry("bob", "t-bob", &[Role::Approver])];
    let mut api = api(fake, access(people));
    api.forwarder = Some(Forwarder::new("replica").expect("a client"));
    tokio::spawn(server::serve(listener, api));
    url
}

#[tokio::test]
async fn a_follower_hands_pages_and_forms_on_to_its_leader_under_its_own_session() {
    let (leader, follower) = (waiting(), waiting());
    let url = Some(serve(&leader).await);
    let region = Some("us-west-2".to_owned());
    let other = Leader { holder: "a".to_owned(), url, region, epoch: Some(3), since: at(0), here: false };
    *follower.leader.lock().expect("lock") = Some(other.clone());
    let elsewhere = Refusal::NotLeader { application: application().name, leader: Some(Box::new(other)) };
    *follower.act_answer.lock().expect("lock") = Err(elsewhere);
    let own = Exposure::from_lag(Some((at(0), Duration::from_secs(1))), at(0), Duration::from_secs(60));
    *leader.assessment.lock().expect("lock") = Some(Arc::new(seen(own, Health::Down)));
    let here = serve(&follower).await;
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    let client = client.build().expect("a client");
    let post = |path: &str, cookie: &str, fields: &[(&str, &str)]| {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let sent =
            client.post(format!("{here}{path}")).header("cookie", cookie).header("sec-fetch-site", "same-origin");
        sent.header("content-type", "application/x-www-form-urlencoded").body(body).send()
    };
    let got = post("/ui/sign-in", "", &[("token", "t-ann")]).await.expect("an answer");
    let set = got.headers()["set-cookie"].to_str().expect("ascii").to_owned();
    let cookie = set.split(';').next().expect("a pair");
    let page = |path: &'static str| {
        let sent = client.get(format!("{here}{path}")).header("cookie", cookie);
        async { sent.send().await.expect("an answer").text().await.expect("text") }
    };
    let secret = |text: &str| {
        let (_, rest) = text.split_once("name=\"form\" value=\"").expect("a form");
        rest.split('"').next().expect("a value").to_owned()
    };
    // Only its leader has assessed it; the forms in its page are taken here.
    let theirs = page("/ui/applications/payments").await;
    assert!(theirs.contains("it is down"), "{theirs}");
    let form = secret(&page("/ui").await);
    assert_eq!(secret(&theirs), form);
    let act = format!("/ui/runs/{RUN}/act");
    let digest = digest();
    let fields = [("form", "forged"), ("act", "pause"), ("digest", digest.as_str()), ("reason", "wait")];
    assert_eq!(post(&act, cookie, &fields).await.expect("an answer").status(), 403);
    assert!(leader.acted.lock().expect("lock").is_empty());
    let fields = [("form", form.as_str()), fields[1], fields[2], fields[3]];
    let got = post(&act, cookie, &fields).await.expect("an answer");
    assert_eq!((got.status().as_u16(), got.headers()["location"].to_str().ok()), (303, Some(run_page().as_str())));
    let (_, done, who, _) = leader.acted.lock().expect("lock").pop().expect("handed on");
    assert_eq!((done, who.as_str()), (Act::Pause, "ann"));
}

#[tokio::test]
async fn many_applications_and_long_runs_make_bounded_pages() {
    let fake = Fake::new();
    let steps = (0..500).map(|n| {
        let mut step = plan().steps[1].clone();
        step.id = format!("s-{n}").parse().expect("valid");
        step.action = Action::Wait { duration: Duration::from_secs(1) };
        step
    });
    let long = Plan { steps: steps.collect(), ..plan() };
    let Event::RunStarted { run, request, evidence_since, .. } = started(run_id(2)) else { panic!("it starts") };
    fake.append(1, vec![finished(run_id(1))]);
    fake.append(2, vec![Event::RunStarted { run: run.clone(), request, plan: Box::new(long), evidence_since }]);
    for n in 0..500 {
        let (step, run): (failoverd::domain::id::StepId, _) = (format!("s-{n}").parse().expect("valid"), run.clone());
        fake.append(3, vec![Event::StepStarted { run, step, attempt: 1 }]);
    }
    for n in 0..199 {
        let mut more = application();
        more.name = format!("app-{n}").parse().expect("valid");
        fake.others.lock().expect("lock").push(Arc::new(more));
    }
    let router = service(&fake);
    let ann = signed_in(&router, "t-ann").await;
    let (approval, own) = (format!("/ui/runs/{run}/approval"), format!("/ui/runs/{run}"));
    for (path, bytes_max) in
        [("/ui", 300_000), ("/ui?page=4", 300_000), (own.as_str(), 600_000), (approval.as_str(), 600_000)]
    {
        let began = std::time::Instant::now();
        let got = get(&router, path, &ann).await;
        assert_eq!(got.status, 200, "{path}");
        assert!(got.text.len() < bytes_max, "{path}: {} bytes", got.text.len());
        // A debug build on a busy machine; a release build takes a twentieth.
        assert!(began.elapsed() < Duration::from_secs(5), "{path}: {:?}", began.elapsed());
    }
    let first = get(&router, "/ui", &ann).await.text;
    assert_eq!(first.matches("<li class=\"app").count(), 60, "a page has so many");
    assert!(first.contains("Page 1 of 4"));
    let timeline = get(&router, &own, &ann).await.text;
    assert!(timeline.contains("The newest 80 of 500 steps"));
}

/// One blocking check that is not met, as it was found at `at`.
fn found(at: &str) -> Now {
    let check = Check {
        kind: Kind::Record,
        subject: "api: <b>api</b> A".to_owned(),
        region: None,
        class: Class::Blocking,
        state: State::NotMet,
        seen: "record `us-east-1` has no health check".to_owned(),
        expected: "its records are as configured".to_owned(),
        remedy: "mend the record".to_owned(),
    };
    let direction = Direction { source: plan().source, target: plan().target, checks: vec![check] };
    let found =
        Preflight { application: application().name, at: at.parse().expect("an instant"), directions: vec![direction] };
    Now { found: Some(Arc::new(found)), rounds: 1, ..Now::default() }
}

#[tokio::test]
async fn preflight_is_a_number_with_what_lowers_it_and_unknown_where_nobody_has_looked_lately() {
    let fake = Fake::new();
    *fake.assessment.lock().expect("lock") =
        Some(Arc::new(seen(Exposure::from_lag(None, at(0), Duration::ZERO), Health::Healthy)));
    let router = service(&fake);
    let cookie = signed_in(&router, "t-vic").await;
    let one = "/ui/applications/payments";
    get(&router, "/ui", &cookie).await.is(200, "nobody has looked yet here");
    get(&router, one, &cookie).await.is(200, "whether it could be moved now");
    // Four minutes ago.
    *fake.preflight.lock().expect("lock") = Some(found("2026-11-22T02:26:00Z"));
    let got = get(&router, "/ui", &cookie).await;
    got.is(200, "<span class=\"n\">40</span>");
    got.is(200, "record api: &lt;b&gt;api&lt;/b&gt; A: record `us-east-1` has no health check");
    let got = get(&router, one, &cookie).await;
    for words in ["40 of 100", "blocked", "not met", "-60", "mend the record", "&lt;b&gt;api"] {
        got.is(200, words);
    }
    // Sixteen minutes ago: no number any more, and no claim.
    *fake.preflight.lock().expect("lock") = Some(found("2026-11-22T02:14:00Z"));
    let got = get(&router, "/ui", &cookie).await;
    got.is(200, "the last look is too old to be believed");
    assert!(!got.text.contains("<span class=\"n\">40</span>"), "{}", got.text);
    get(&router, one, &cookie).await.is(200, "too old to be believed");
}
