//! A small issuer on loopback that signs as it is told, and a clock that stands.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicUsize, Ordering},
};

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use axum::{Router, extract::State, http::StatusCode, routing::get};
use serde_json::json;
use tokio::net::TcpListener;

use super::*;
use crate::domain::access::{Grant, Permission, Role};

const RSA: &[u8] = include_bytes!("keys/rs256.der");
const EC: &[u8] = include_bytes!("keys/es256.der");
const JWKS: &str = include_str!("keys/jwks.json");

/// 2027-01-15T08:00:00Z.
const NOW: i64 = 1_800_000_000;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).expect("a time")
}

#[derive(Debug, Default)]
struct Hand {
    boot: Mutex<Duration>,
}

#[async_trait]
impl Clock for Hand {
    fn boot(&self) -> Duration {
        *self.boot.lock().expect("lock")
    }

    fn wall(&self) -> Timestamp {
        now()
    }

    async fn sleep(&self, _: Duration) {}
}

#[derive(Clone)]
struct Provider {
    url: String,
    keys: Arc<Mutex<Option<String>>>,
    asked: Arc<AtomicUsize>,
}

/// Serves discovery and keys.
async fn provider() -> Provider {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let provider = Provider { url, keys: Arc::new(Mutex::new(Some(JWKS.to_owned()))), asked: Arc::default() };
    let discovery = |State(p): State<Provider>| async move {
        json!({ "issuer": p.url, "jwks_uri": format!("{}/keys", p.url) }).to_string()
    };
    let keys = |State(p): State<Provider>| async move {
        p.asked.fetch_add(1, Ordering::SeqCst);
        p.keys.lock().expect("lock").clone().ok_or(StatusCode::SERVICE_UNAVAILABLE)
    };
    let routes = Router::new().route("/.well-known/openid-configuration", get(discovery)).route("/keys", get(keys));
    let routes = routes.with_state(provider.clone());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    provider
}

fn oidc(provider: &Provider, algorithm: Algorithm) -> (Oidc, Arc<Hand>) {
    let issuer = Issuer {
        url: provider.url.clone(),
        audience: "failoverd".to_owned(),
        algorithm,
        subject_claim: "sub".to_owned(),
        roles_claim: "groups".to_owned(),
        grants: BTreeMap::from([("sre".to_owned(), BTreeSet::from([Grant::every(Role::Operator)]))]),
    };
    let clock = Arc::new(Hand::default());
    (Oidc::new(issuer, Arc::clone(&clock) as Arc<dyn Clock>).expect("a client"), clock)
}

fn claims(provider: &Provider) -> Value {
    json!({
        "iss": provider.url, "aud": "failoverd", "sub": "ann", "groups": ["sre"], "jti": "t-1",
        "iat": NOW - 10, "nbf": NOW - 10, "exp": NOW + 290,
    })
}

/// A token whose head is `head`, signed by `sign`.
fn token(head: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let said = format!("{}.{}", encoded(head.to_string().as_bytes()), encoded(claims.to_string().as_bytes()));
    let signature = sign(said.as_bytes());
    format!("{said}.{}", encoded(&signature))
}

fn by_rsa(said: &[u8]) -> Vec<u8> {
    let pair = RsaKeyPair::from_der(RSA).expect("a key");
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), said, &mut signature).expect("signed");
    signature
}

fn by_ec(said: &[u8]) -> Vec<u8> {
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, EC).expect("a key");
    pair.sign(&SystemRandom::new(), said).expect("signed").as_ref().to_vec()
}

fn by_mac(secret: &[u8]) -> impl FnOnce(&[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    move |said| hmac::sign(&key, said).as_ref().to_vec()
}

fn rs256(claims: &Value) -> String {
    token(&json!({ "alg": "RS256", "kid": "rsa-1", "typ": "JWT" }), claims, by_rsa)
}

fn es256(claims: &Value) -> String {
    token(&json!({ "alg": "ES256", "kid": "ec-1", "typ": "at+jwt" }), claims, by_ec)
}

fn encoded(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = (0..3).fold(0u32, |word, n| word << 8 | u32::from(chunk.get(n).copied().unwrap_or(0)));
        for n in 0..=chunk.len() {
            let digit = word >> (18 - 6 * n) & 0x3f;
            text.push(char::from(DIGITS[usize::try_from(digit).expect("six bits")]));
        }
    }
    text
}

fn with(mut claims: Value, key: &str, value: Value) -> Value {
    claims[key] = value;
    claims
}

async fn why(oidc: &Oidc, token: &str) -> String {
    match oidc.identify(token, now()).await {
        Ok(identity) => panic!("{token} is {identity:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn base64url_is_read_as_it_is_written() {
    for bytes in [&b""[..], b"a", b"ab", b"abc", b"\xff\xfe\xfd\xfc", JWKS.as_bytes()] {
        assert_eq!(base64url(&encoded(bytes)).as_deref(), Some(bytes));
    }
    assert_eq!(base64url("a=b"), None);
}

#[tokio::test]
async fn a_token_of_the_issuer_is_somebody_s_for_both_algorithms() {
    let provider = provider().await;
    for (algorithm, token) in
        [(Algorithm::Rs256, rs256(&claims(&provider))), (Algorithm::Es256, es256(&claims(&provider)))]
    {
        let (oidc, _) = oidc(&provider, algorithm);
        let identity = oidc.identify(&token, now()).await.expect("known");
        assert_eq!(identity.principal.subject.as_str(), "ann");
        assert!(identity.principal.may_somewhere(Permission::Operate));
        assert_eq!((identity.id.as_deref(), identity.issued_at.as_second()), (Some("t-1"), NOW - 10));
    }
}

/// FAULTS.md 99.
#[tokio::test]
async fn a_token_cannot_choose_how_it_is_verified() {
    let provider = provider().await;
    let (oidc, _) = oidc(&provider, Algorithm::Rs256);
    let good = claims(&provider);
    assert!(oidc.identify(&rs256(&good), now()).await.is_ok());
    let forged = |head: Value, signature: &str| {
        format!("{}.{}.{signature}", encoded(head.to_string().as_bytes()), encoded(good.to_string().as_bytes()))
    };
    for alg in ["none", "None", "NONE", ""] {
        for signature in ["", "AAAA"] {
            why(&oidc, &forged(json!({ "alg": alg, "kid": "rsa-1" }), signature)).await;
        }
    }
    // The public key as the secret of a MAC: in each form in which it is written.
    let public: Value = serde_json::from_str(JWKS).expect("json");
    let modulus = public["keys"][0]["n"].as_str().expect("text");
    let secrets = [JWKS.as_bytes().to_vec(), modulus.as_bytes().to_vec(), base64url(modulus).expect("bytes")];
    for secret in secrets {
        let mac = token(&json!({ "alg": "HS256", "kid": "rsa-1" }), &good, by_mac(&secret));
        assert!(why(&oidc, &mac).await.contains("not signed as this issuer signs"));
        // The same, and it says that it is not a MAC.
        why(&oidc, &token(&json!({ "alg": "RS256", "kid": "rsa-1" }), &good, by_mac(&secret))).await;
    }
    // A MAC by the key that the set has for MACs.
    why(&oidc, &token(&json!({ "alg": "HS256", "kid": "oct-1" }), &good, by_mac(b"secret"))).await;
    // Well signed, by another algorithm and another of the issuer's keys.
    assert!(why(&oidc, &es256(&good)).await.contains("not signed as this issuer signs"));
    // A key that is not for signatures, and one that nobody knows.
    for kid in ["rsa-enc", "nobody", "ec-1"] {
        why(&oidc, &token(&json!({ "alg": "RS256", "kid": kid }), &good, by_rsa)).await;
    }
    // A key that the token brings along, or says where to find.
    let own = json!({ "alg": "RS256", "jwk": public["keys"][0], "jku": "http://127.0.0.1:1/keys", "kid": "mine" });
    why(&oidc, &forged(own, "AAAA")).await;
    // Well signed, and for something else; or with more than is known here.
    why(&oidc, &token(&json!({ "alg": "RS256", "kid": "rsa-1", "crit": ["b64"], "b64": false }), &good, by_rsa)).await;
    why(&oidc, &token(&json!({ "alg": "RS256", "kid": "rsa-1", "typ": "logout+jwt" }), &good, by_rsa)).await;
    for nonsense in ["", "..", "a.b.c", "a.b", "a.b.c.d", &"x".repeat(TOKEN_BYTES_MAX + 1)] {
        why(&oidc, nonsense).await;
    }
}

#[tokio::test]
async fn a_token_is_for_us_from_this_issuer_now_and_for_somebody_or_it_is_nobody_s() {
    let provider = provider().await;
    let (oidc, _) = oidc(&provider, Algorithm::Rs256);
    let good = || claims(&provider);
    let cases = [
        with(good(), "iss", json!("http://127.0.0.1:1")),
        with(good(), "iss", json!(format!("{}/", provider.url))),
        with(good(), "aud", json!("other")),
        with(good(), "aud", json!(["other", "another"])),
        with(good(), "exp", json!(NOW - 61)),
        with(good(), "exp", Value::Null),
        with(good(), "exp", json!("tomorrow")),
        with(good(), "nbf", json!(NOW + 61)),
        with(good(), "iat", json!(NOW + 61)),
        with(good(), "iat", Value::Null),
        with(good(), "iat", json!(1e300)),
        with(good(), "groups", json!(["strangers"])),
        with(good(), "sub", json!("automation")),
    ];
    for case in cases {
        why(&oidc, &rs256(&case)).await;
    }
    let good_all_the_same = [
        with(good(), "aud", json!(["other", "failoverd"])),
        with(good(), "exp", json!(NOW - 59)),
        with(good(), "iat", json!(f64::from(i32::try_from(NOW - 10).expect("fits")) + 0.5)),
    ];
    for case in good_all_the_same {
        assert!(oidc.identify(&rs256(&case), now()).await.is_ok(), "{case}");
    }
    let mut broken = rs256(&good());
    let last = if broken.ends_with('A') { 'B' } else { 'A' };
    let middle = broken.len() - 20;
    broken.replace_range(middle..=middle, &last.to_string());
    why(&oidc, &broken).await;
}

#[tokio::test]
async fn keys_outlive_their_issuer_for_a_time_and_a_flood_of_strange_tokens_asks_it_once() {
    let provider = provider().await;
    let (oidc, clock) = oidc(&provider, Algorithm::Rs256);
    let own = rs256(&claims(&provider));
    *provider.keys.lock().expect("lock") = None;
    assert!(why(&oidc, &own).await.contains("cannot be asked"), "no keys: nothing is known of it");
    *provider.keys.lock().expect("lock") = Some(JWKS.to_owned());
    assert!(why(&oidc, &own).await.contains("cannot be asked"), "it was asked just now");
    *clock.boot.lock().expect("lock") += ASK_EVERY;
    assert!(oidc.identify(&own, now()).await.is_ok());
    let asked = provider.asked.load(Ordering::SeqCst);
    let strange = token(&json!({ "alg": "RS256", "kid": "strange" }), &claims(&provider), by_rsa);
    *clock.boot.lock().expect("lock") += ASK_EVERY;
    for _ in 0..20 {
        why(&oidc, &strange).await;
    }
    assert_eq!(provider.asked.load(Ordering::SeqCst), asked + 1);
    // The issuer is gone, as with its Region: what it has said last goes on for a day.
    *provider.keys.lock().expect("lock") = None;
    *clock.boot.lock().expect("lock") += KEYS_GOOD_FOR - ASK_EVERY;
    assert!(oidc.identify(&own, now()).await.is_ok());
    *clock.boot.lock().expect("lock") += ASK_EVERY * 3;
    assert!(why(&oidc, &own).await.contains("too old"));
    *provider.keys.lock().expect("lock") = Some(JWKS.to_owned());
    *clock.boot.lock().expect("lock") += ASK_EVERY;
    assert!(oidc.identify(&own, now()).await.is_ok());
}

#[tokio::test]
async fn an_issuer_that_speaks_for_another_or_in_the_clear_has_no_keys() {
    assert!(is_trusted("https://keys.example.com/", "https://login.example.com"));
    assert!(is_trusted("http://127.0.0.1:8/keys", "http://localhost:8"));
    assert!(!is_trusted("http://127.0.0.1:8/keys", "https://login.example.com"));
    assert!(!is_trusted("http://keys.example.com/", "http://127.0.0.1:8"));
    let provider = provider().await;
    let mut other = provider.clone();
    other.url = provider.url.replace("127.0.0.1", "localhost");
    let (oidc, _) = oidc(&other, Algorithm::Rs256);
    assert!(why(&oidc, &rs256(&claims(&other))).await.contains("cannot be asked"));
}
