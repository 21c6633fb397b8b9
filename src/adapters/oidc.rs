//! An OpenID Connect issuer: its keys over HTTPS, and what its tokens say, proven by them.
//!
//! Invariants: the algorithm is the configured one and the key is of that kind, whatever a token says of itself; issuer
//! and audience are those of the configuration, to the letter; time is the clock port's. Keys at hand are used while the
//! issuer does not answer, for [`KEYS_GOOD_FOR`]; it is asked [`ASK_EVERY`] at most, however many tokens with keys that
//! nobody knows come in. What cannot be verified is nobody's.
//!
//! It deliberately follows no redirect, no `jku` and no `x5u`, and takes no key from a token.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    domain::{
        causes::deepest,
        issuer::{Algorithm, Issuer},
    },
    ports::{
        Clock, Identities,
        identities::{Identity, NotIdentified},
    },
};

/// How long the issuer may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// The largest answer: a key set of a large provider has some 20 kB.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// The issuer is asked no more often than this, whether or not it answers.
pub const ASK_EVERY: Duration = Duration::from_secs(30);

/// Keys of this age are asked for anew as soon as a token comes, beside its answer.
pub const KEYS_OLD_AFTER: Duration = Duration::from_secs(600);

/// For so long keys are believed that the issuer has not said again. It may stand in the Region that is lost.
pub const KEYS_GOOD_FOR: Duration = Duration::from_hours(24);

/// By how much two honest clocks may differ.
const SKEW: SignedDuration = SignedDuration::from_secs(60);

/// The longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// The most keys of one issuer.
const KEYS_MAX: usize = 64;

/// What is known of the issuer's keys.
#[derive(Default)]
struct Keys {
    set: Arc<Vec<Jwk>>,
    /// When the issuer said them, in boot time; `None`: never.
    said_at: Option<Duration>,
    /// When it was asked last.
    asked_at: Option<Duration>,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Oidc {
    issuer: Arc<Issuer>,
    client: reqwest::Client,
    clock: Arc<dyn Clock>,
    keys: Arc<Mutex<Keys>>,
    /// Held by whoever asks the issuer.
    asking: Arc<tokio::sync::Mutex<()>>,
}

impl std::fmt::Debug for Oidc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Oidc").field("issuer", &self.issuer.url).finish_non_exhaustive()
    }
}

/// One key of the issuer, as its key set has it (RFC 7517); what is not a public key for signatures has no use here.
#[derive(Debug, Clone, Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    used_for: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

/// What the issuer says of itself.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// The head of a token: what it says of itself, by which nothing is decided but which key is tried.
#[derive(Deserialize)]
struct Head {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

impl Oidc {
    /// # Errors
    /// When the TLS of this machine cannot be set up.
    pub fn new(issuer: Issuer, clock: Arc<dyn Clock>) -> Result<Self, reqwest::Error> {
        let client =
            reqwest::Client::builder().timeout(ANSWER_WITHIN).redirect(reqwest::redirect::Policy::none()).build()?;
        let (keys, asking) = (Arc::default(), Arc::default());
        Ok(Self { issuer: Arc::new(issuer), client, clock, keys, asking })
    }

    /// The keys at hand that may have signed a token with this head; asks the issuer where there are none.
    async fn candidates(&self, head: &Head) -> Result<Vec<Jwk>, NotIdentified> {
        let now = self.clock.boot();
        let (fitting, age) = self.at_hand(head, now);
        match age {
            Some(age) if KEYS_GOOD_FOR < age => {}
            Some(age) if !fitting.is_empty() => {
                if KEYS_OLD_AFTER < age && self.may_ask(now) {
                    let again = self.clone();
                    tokio::spawn(async move { again.ask().await });
                }
                return Ok(fitting);
            }
            Some(_) | None => {}
        }
        if self.may_ask(now) {
            self.ask().await;
        } else {
            // Somebody else may be asking.
            drop(self.asking.lock().await);
        }
        let (fitting, age) = self.at_hand(head, self.clock.boot());
        match age {
            Some(age) if age <= KEYS_GOOD_FOR && !fitting.is_empty() => Ok(fitting),
            Some(age) if age <= KEYS_GOOD_FOR => Err(refused("none of the issuer's keys has signed it")),
            Some(_) => Err(NotIdentified::Unknown("its keys are too old to be believed".to_owned())),
            None => Err(NotIdentified::Unknown("it has not said its keys yet".to_owned())),
        }
    }

    fn at_hand(&self, head: &Head, now: Duration) -> (Vec<Jwk>, Option<Duration>) {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |key: &&Jwk| is_for(key, self.issuer.algorithm);
        let of_kind: Vec<Jwk> = keys.set.iter().filter(fits).cloned().collect();
        let fitting = match &head.kid {
            Some(kid) => of_kind.into_iter().filter(|key| key.kid.as_ref() == Some(kid)).collect(),
            // Without a name, only where there is no choice.
            None if of_kind.len() == 1 => of_kind,
            None => Vec::new(),
        };
        (fitting, keys.said_at.map(|at| now.saturating_sub(at)))
    }

    /// Whether the issuer may be asked now; says of itself that it was.
    fn may_ask(&self, now: Duration) -> bool {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let may = keys.asked_at.is_none_or(|at| ASK_EVERY <= now.saturating_sub(at));
        if may {
            keys.asked_at = Some(now);
        }
        may
    }

    async fn ask(&self) {
        let _alone = self.asking.lock().await;
        match self.fetch().await {
            Ok(set) => {
                let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
                keys.set = Arc::new(set);
                keys.said_at = Some(self.clock.boot());
            }
            Err(why) => tracing::warn!(issuer = self.issuer.url, why, "the issuer's keys could not be had"),
        }
    }

    async fn fetch(&self) -> Result<Vec<Jwk>, String> {
        let at = format!("{}/.well-known/openid-configuration", self.issuer.url.trim_end_matches('/'));
        let discovery: Discovery = self.get(&at).await?;
        if discovery.issuer != self.issuer.url {
            return Err(format!("{at} speaks of another issuer"));
        }
        if !is_trusted(&discovery.jwks_uri, &self.issuer.url) {
            return Err(format!("{at} names keys that are not behind https"));
        }
        let set: Value = self.get(&discovery.jwks_uri).await?;
        let all = set.get("keys").and_then(Value::as_array).ok_or("its key set has no `keys`")?;
        // One that this program does not know takes the others down with it nowhere.
        let known = all.iter().take(KEYS_MAX).filter_map(|key| serde_json::from_value(key.clone()).ok());
        Ok(known.collect())
    }

    async fn get<T: for<'a> Deserialize<'a>>(&self, url: &str) -> Result<T, String> {
        let mut answer = self.client.get(url).send().await.map_err(|e| format!("{url}: {}", deepest(&e)))?;
        if !answer.status().is_success() {
            return Err(format!("{url}: status {}", answer.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|e| format!("{url}: {}", deepest(&e)))? {
            if ANSWER_BYTES_MAX < body.len() + chunk.len() {
                return Err(format!("{url}: more than {ANSWER_BYTES_MAX} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body).map_err(|e| format!("{url}: {e}"))
    }
}

#[async_trait]
impl Identities for Oidc {
    async fn identify(&self, token: &str, now: Timestamp) -> Result<Identity, NotIdentified> {
        let head = head(token)?;
        if head.alg != self.issuer.algorithm.as_str() {
            return Err(refused("it is not signed as this issuer signs"));
        }
        let keys = self.candidates(&head).await?;
        let claims = keys.iter().find_map(|key| signed(token, key, self.issuer.algorithm));
        let claims = claims.ok_or_else(|| refused("its signature is not right"))?;
        if !is_ours(&claims, &self.issuer) {
            return Err(refused("it is of another issuer, or for somebody else"));
        }
        let (issued_at, expires_at) = times(&claims, now).map_err(NotIdentified::Refused)?;
        let principal = self.issuer.principal(&claims).map_err(NotIdentified::Refused)?;
        let id = claims.get("jti").and_then(Value::as_str).map(str::to_owned);
        Ok(Identity { principal, issued_at, expires_at, id })
    }
}

fn refused(why: &str) -> NotIdentified {
    NotIdentified::Refused(why.to_owned())
}

/// The head, of what has the form of a token at all.
fn head(token: &str) -> Result<Head, NotIdentified> {
    let none = || refused("nobody has such a token");
    if TOKEN_BYTES_MAX < token.len() || token.split('.').count() != 3 {
        return Err(none());
    }
    let first = token.split('.').next().unwrap_or_default();
    let head: Head = base64url(first).and_then(|bytes| serde_json::from_slice(&bytes).ok()).ok_or_else(none)?;
    if head.crit.is_some() {
        return Err(refused("it asks for an extension that is not known here"));
    }
    match head.typ.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None | Some("jwt" | "at+jwt" | "application/at+jwt") => Ok(head),
        Some(_) => Err(refused("it is a token for something else")),
    }
}

/// Base64url without padding, as tokens have it.
fn base64url(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(u32::from(byte - b'A')),
        b'a'..=b'z' => Some(u32::from(byte - b'a') + 26),
        b'0'..=b'9' => Some(u32::from(byte - b'0') + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    };
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut held) = (0u32, 0u32);
    for byte in text.bytes() {
        held = held << 6 | digit(byte)?;
        bits += 6;
        if 8 <= bits {
            bits -= 8;
            out.extend(u8::try_from(held >> bits & 0xff));
        }
    }
    Some(out)
}

/// Whether `key` is one for signatures by `algorithm`, and for no other use.
fn is_for(key: &Jwk, algorithm: Algorithm) -> bool {
    let kind = match algorithm {
        Algorithm::Rs256 => key.kty == "RSA",
        Algorithm::Es256 => key.kty == "EC" && key.crv.as_deref() == Some("P-256"),
    };
    let signs = key.used_for.as_deref().is_none_or(|used| used == "sig");
    kind && signs && key.alg.as_deref().is_none_or(|named| named == algorithm.as_str())
}

/// The claims of `token`, if `key` has signed it by `algorithm`.
fn signed(token: &str, key: &Jwk, algorithm: Algorithm) -> Option<Map<String, Value>> {
    let (said, signature) = token.rsplit_once('.')?;
    let signature = base64url(signature)?;
    let part = |of: &Option<String>| of.as_deref().and_then(base64url);
    match algorithm {
        Algorithm::Rs256 => {
            let key = RsaPublicKeyComponents { n: part(&key.n)?, e: part(&key.e)? };
            key.verify(&RSA_PKCS1_2048_8192_SHA256, said.as_bytes(), &signature).ok()?;
        }
        Algorithm::Es256 => {
            // The uncompressed point, as X9.62 writes it.
            let point = [&[4][..], &part(&key.x)?, &part(&key.y)?].concat();
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(said.as_bytes(), &signature).ok()?;
        }
    }
    let (_, claims) = said.split_once('.')?;
    serde_json::from_slice(&base64url(claims)?).ok()
}

/// Whether the token is of this issuer and for us.
fn is_ours(claims: &Map<String, Value>, issuer: &Issuer) -> bool {
    let by_issuer = claims.get("iss").and_then(Value::as_str) == Some(&issuer.url);
    let for_us = match claims.get("aud") {
        Some(Value::String(one)) => *one == issuer.audience,
        Some(Value::Array(all)) => all.iter().any(|one| one.as_str() == Some(&issuer.audience)),
        _ => false,
    };
    by_issuer && for_us
}

/// When the token was issued and when it ends, if it is good at `now`.
fn times(claims: &Map<String, Value>, now: Timestamp) -> Result<(Timestamp, Timestamp), String> {
    let time = |name: &str| -> Result<Option<Timestamp>, String> {
        let Some(value) = claims.get(name) else { return Ok(None) };
        let seconds = value.as_i64().or_else(|| value.as_f64().map(|s| s.floor()).and_then(whole));
        let time = seconds.and_then(|s| Timestamp::from_second(s).ok());
        time.map(Some).ok_or_else(|| format!("its `{name}` is no time"))
    };
    let expires_at = time("exp")?.ok_or("it has no `exp`")?;
    let issued_at = time("iat")?.ok_or("it has no `iat`")?;
    if expires_at.checked_add(SKEW).is_ok_and(|end| end <= now) {
        return Err(format!("it has expired at {expires_at}"));
    }
    let latest = now.checked_add(SKEW).unwrap_or(Timestamp::MAX);
    if latest < issued_at {
        return Err(format!("it was issued in the future, at {issued_at}"));
    }
    if let Some(begin) = time("nbf")?.filter(|begin| latest < *begin) {
        return Err(format!("it is good from {begin} on"));
    }
    Ok((issued_at, expires_at))
}

#[expect(clippy::cast_possible_truncation, reason = "bounded: seconds of any year that a clock can show")]
fn whole(seconds: f64) -> Option<i64> {
    (0.0..253_402_300_800.0).contains(&seconds).then_some(seconds as i64)
}

/// https; or, where the issuer itself is http on this machine, the same there.
fn is_trusted(url: &str, issuer: &str) -> bool {
    let local = |url: &str| {
        ["http://127.0.0.1:", "http://localhost:", "http://[::1]:"].iter().any(|prefix| url.starts_with(prefix))
    };
    url.starts_with("https://") || local(url) && local(issuer)
}

#[cfg(test)]
mod tests;
