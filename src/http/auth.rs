//! Who calls, and whether they may: every guarded request is answered for by a [`Principal`].
//!
//! Invariants: a route has a permission or is public by name (`http::routes_with_openapi`); what the path or the body is
//! about is asked for before a handler runs, and what somebody may not see is answered as what is not there (FAULTS.md
//! 98). Every refusal for want of a good token is the same (FAULTS.md 85). With neither tokens nor an issuer everyone is
//! the subject `local`, which is allowed on loopback only ([`Access::permits`]); since an approval must come from
//! somebody other than the requester, a run that needs one cannot be approved in that mode: the engine refuses it as a
//! self-approval.
//!
//! Only `Authorization: Bearer` is read: no cookie, no query string, nothing that a browser sends by itself (FAULTS.md
//! 100). The page's cookie is turned into that header in front of this, and for the page's own paths alone
//! ([`super::page::door`]).

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State},
    http::{HeaderMap, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;

pub use super::tokens::{Holder, InvalidTokens, TokenEntry, Tokens};
use super::{
    access::REQUEST_ID,
    limits::{CHANGES, FAILURES, LOOKS, Limits},
    peer::{self, Certificate},
    problem::Problem,
};
pub use crate::domain::access::{Grant, Permission, Principal, Role, Scope};
use crate::{
    domain::{
        access::{Answer, Origin, Proof},
        id::{ApplicationName, OverrideId, RunId, Subject},
        network::Network,
    },
    engine::{control::Refusal, origin},
    ports::{
        Clock, Identities,
        identities::{Identity, NotIdentified},
    },
};

/// How old a token of the issuer may be that something is changed with. Whoever comes by one has so long to use it
/// (FAULTS.md 87); a person's client has it renewed.
pub const CHANGE_TOKEN_AGE_MAX: Duration = Duration::from_secs(300);

/// Where the page's paths begin.
pub const PAGE: &str = "/ui";

/// By how much two honest clocks may differ.
const SKEW: Duration = Duration::from_secs(60);

/// Why the service does not listen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("neither tokens nor an issuer are configured, so only a loopback address may be listened on, not {0}")]
pub struct Open(pub SocketAddr);

/// How callers are known, and what holds for all of them.
#[derive(Debug, Clone)]
pub struct Access {
    pub tokens: Tokens,
    /// Who vouches for people without a token of ours.
    pub issuer: Option<Arc<dyn Identities>>,
    /// Where it is missing, what expires is taken to have expired, and nobody is told to wait.
    pub clock: Option<Arc<dyn Clock>>,
    /// Whose word on where a request comes from is believed.
    pub proxies: Arc<[Network]>,
    limits: Arc<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    looks: Limits,
    changes: Limits,
    failures: Limits,
}

impl From<Tokens> for Access {
    fn from(tokens: Tokens) -> Self {
        let (looks, changes, failures) = (Limits::new(LOOKS), Limits::new(CHANGES), Limits::new(FAILURES));
        let limits = Arc::new(Buckets { looks, changes, failures });
        Self { tokens, issuer: None, clock: None, proxies: Arc::new([]), limits }
    }
}

/// Why nobody is known by what a request has brought.
#[derive(Debug)]
enum Unknown {
    /// There was no token, or it was not written as one.
    NoToken,
    NoSuchToken,
    Expired(Subject),
    Elsewhere(Subject),
    Issuer(NotIdentified),
}

impl std::fmt::Display for Unknown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoToken => f.write_str("there was no bearer token"),
            Self::NoSuchToken => f.write_str("nobody has such a token"),
            Self::Expired(subject) => write!(f, "the token of {subject} has expired"),
            Self::Elsewhere(subject) => write!(f, "the token of {subject} came without the certificate it belongs to"),
            Self::Issuer(why) => why.fmt(f),
        }
    }
}

impl Access {
    /// Whether everyone is let in.
    pub fn is_open(&self) -> bool {
        self.tokens.is_empty() && self.issuer.is_none()
    }

    /// Everybody who may do `permission` to `application`, by name; in the open mode, the one that everybody is. `None`:
    /// that is not known, since an issuer vouches for people whom it alone can name.
    pub fn people(&self, permission: Permission, application: Option<&ApplicationName>) -> Option<BTreeSet<Subject>> {
        match &self.issuer {
            Some(_) => None,
            None if self.is_open() => Some(BTreeSet::from([local().subject])),
            None => Some(self.tokens.people(permission, application)),
        }
    }

    /// Whether the service may listen on `address`.
    ///
    /// # Errors
    /// When everyone would be let in from other machines.
    pub fn permits(&self, address: SocketAddr) -> Result<(), Open> {
        if self.is_open() && !address.ip().is_loopback() { Err(Open(address)) } else { Ok(()) }
    }

    fn now(&self) -> Option<Timestamp> {
        self.clock.as_ref().map(|clock| clock.wall())
    }

    /// Who calls, and how they have shown it.
    async fn authenticate(&self, parts: &Parts) -> Result<(Principal, Proof), Unknown> {
        let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
        let token = match (values.next(), values.next()) {
            (Some(one), None) => one.to_str().ok().and_then(bearer),
            _ => None,
        };
        let token = token.ok_or(Unknown::NoToken)?;
        let now = self.now();
        let certificate = parts.extensions.get::<Certificate>().map(|Certificate(digest)| digest);
        match self.tokens.lookup(token, now, certificate) {
            Holder::Known(principal) => return Ok((principal.clone(), Proof::Token)),
            Holder::Expired(subject) => return Err(Unknown::Expired(subject.clone())),
            Holder::Elsewhere(subject) => return Err(Unknown::Elsewhere(subject.clone())),
            Holder::Nobody => {}
        }
        let (Some(issuer), Some(now)) = (&self.issuer, now) else { return Err(Unknown::NoSuchToken) };
        let identity = issuer.identify(token, now).await.map_err(Unknown::Issuer)?;
        if changes(parts) {
            fresh(&identity, now).map_err(|why| Unknown::Issuer(NotIdentified::Refused(why)))?;
        }
        Ok((identity.principal, Proof::Issuer))
    }

    /// Who calls with `parts`, of which `from` is the address; a failure counts against that address.
    async fn known(&self, parts: &Parts, from: &str) -> Result<(Principal, Proof), Problem> {
        if self.is_open() {
            loopback_host(&parts.headers)?;
            return Ok((local(), Proof::Loopback));
        }
        match self.authenticate(parts).await {
            Ok(known) => Ok(known),
            Err(why) => {
                // Whoever goes on and on is told to wait, and is no longer worth a line of log each.
                self.allow(&self.limits.failures, from)?;
                match why {
                    Unknown::NoToken => tracing::info!(%why, "not let in"),
                    Unknown::NoSuchToken | Unknown::Expired(_) | Unknown::Elsewhere(_) | Unknown::Issuer(_) => {
                        tracing::warn!(%why, "not let in");
                    }
                }
                Err(unauthorized())
            }
        }
    }

    /// Whose the token in `parts` is, and for how long yet, for a session of the page. What they may do is asked again
    /// at each request; here it is not asked whether the token is new enough to change something.
    ///
    /// # Errors
    /// As a problem: it is nobody's, or its holder is to wait.
    pub(super) async fn vouch(&self, mut parts: Parts) -> Result<(Principal, Option<Duration>), Problem> {
        parts.method = Method::GET;
        let address = peer::client(&parts.extensions, &parts.headers, &self.proxies);
        let from = address.map(|address| address.to_string()).unwrap_or_default();
        let (principal, proof) = self.known(&parts, &from).await?;
        let now = self.now().ok_or_else(unauthorized)?;
        let token = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(bearer);
        let token = token.ok_or_else(unauthorized)?;
        let end = match (proof, &self.issuer) {
            (Proof::Issuer, Some(issuer)) => {
                Some(issuer.identify(token, now).await.map_err(|_| unauthorized())?.expires_at)
            }
            _ => self.tokens.expiry(token),
        };
        let left = end.map(|end| Duration::try_from(end.duration_since(now)).unwrap_or_default());
        Ok((principal, left))
    }

    /// Takes one from the bucket of `who`. Those who are let in without a token are on this machine.
    fn allow(&self, limits: &Limits, who: &str) -> Result<(), Problem> {
        match &self.clock {
            Some(clock) if !self.is_open() => limits.take(who, clock.boot()).map_err(too_many),
            _ => Ok(()),
        }
    }
}

/// Whether a request changes something.
fn changes(parts: &Parts) -> bool {
    !parts.method.is_safe()
}

/// Whether something may be changed with a token of the issuer.
fn fresh(identity: &Identity, now: Timestamp) -> Result<(), String> {
    let age = Duration::try_from(now.duration_since(identity.issued_at)).unwrap_or_default();
    let most = CHANGE_TOKEN_AGE_MAX + SKEW;
    if most < age {
        return Err(format!("it was issued {} s ago, and what changes something needs a newer one", age.as_secs()));
    }
    Ok(())
}

/// Everyone, when neither tokens nor an issuer are configured.
fn local() -> Principal {
    Principal {
        subject: "local".parse().unwrap_or_else(|e| unreachable!("`local` is a subject: {e}")),
        grants: [Role::Operator, Role::Approver].into_iter().map(Grant::every).collect(),
    }
}

/// Without tokens, a web page that points its own name at 127.0.0.1 (DNS rebinding) must not get in: a browser then
/// sends that name as `Host`.
fn loopback_host(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(host) = headers.get(header::HOST) else {
        return Ok(());
    };
    if is_loopback_name(host.to_str().unwrap_or_default()) {
        return Ok(());
    }
    Err(forbidden("no token is configured, so only localhost may be asked for"))
}

/// Whether a `Host` is a name of this machine itself.
pub(super) fn is_loopback_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

/// The same for every reason: it does not tell whether a token exists.
pub(super) fn unauthorized() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "unauthenticated",
        "Say who you are",
        "a known bearer token is needed: `Authorization: Bearer TOKEN`",
    )
    .header(header::WWW_AUTHENTICATE, "Bearer")
}

fn forbidden(why: impl std::fmt::Display) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "forbidden", "That is not allowed", why)
}

fn too_many(wait: Duration) -> Problem {
    let seconds = wait.as_secs() + 1;
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "rate-limited",
        "Too many requests",
        format!("ask again in {seconds} s"),
    )
    .header(header::RETRY_AFTER, seconds.to_string())
}

/// The refusal of a caller none of whose roles grants `permission`.
pub fn lacking(permission: Permission) -> Problem {
    let needed: Vec<&str> = Role::ALL.into_iter().filter(|r| r.grants(permission)).map(Role::as_str).collect();
    forbidden(format!("one of these roles is needed: {}", needed.join(", ")))
}

/// What a path is about.
#[derive(Debug)]
enum About {
    /// No application in particular.
    None,
    Application(ApplicationName),
    Run(RunId),
    Override(OverrideId),
    /// Nothing has such a name; the handler says so.
    Nothing,
}

impl About {
    /// What the path of a request names, by the pattern of its route and the first of its parameters. `None`: this is not
    /// known, and so nobody is let in.
    fn of(pattern: &str, first: Option<&str>) -> Option<Self> {
        let Some(first) = first else { return (!pattern.contains('{')).then_some(Self::None) };
        let parsed = |made: Option<Self>| Some(made.unwrap_or(Self::Nothing));
        // The page's paths name the same things, one level below.
        let pattern = pattern.strip_prefix(PAGE).unwrap_or(pattern);
        match pattern.split('/').nth(1)? {
            "applications" => parsed(first.parse().ok().map(Self::Application)),
            "runs" => parsed(first.parse().ok().map(Self::Run)),
            "overrides" => parsed(first.parse().ok().map(Self::Override)),
            _ => None,
        }
    }

    fn application(&self) -> Option<ApplicationName> {
        match self {
            Self::None | Self::Nothing => None,
            Self::Application(name) => Some(name.clone()),
            Self::Run(run) => Some(run.application()),
            Self::Override(id) => Some(id.application()),
        }
    }

    /// What is answered where it is not there.
    fn missing(self) -> Problem {
        match self {
            Self::Application(name) => Refusal::UnknownApplication(name).into(),
            Self::Run(run) => Refusal::UnknownRun(run).into(),
            Self::Override(id) => Refusal::UnknownOverride(id).into(),
            Self::None | Self::Nothing => forbidden("nobody may ask for that"),
        }
    }
}

/// Somebody, and what the route that they have asked for needs.
#[derive(Debug, Clone)]
pub struct Authority {
    pub principal: Principal,
    permission: Permission,
}

impl Authority {
    /// Whether they may do that to `application`, which the body names.
    ///
    /// # Errors
    /// As a problem: they may not, or may not know of it.
    pub(super) fn over(&self, application: &ApplicationName) -> Result<(), Problem> {
        match self.principal.asks(self.permission, Some(application)) {
            Answer::Allowed => Ok(()),
            Answer::Forbidden => Err(self.refused()),
            Answer::Hidden => Err(Refusal::UnknownApplication(application.clone()).into()),
        }
    }

    fn refused(&self) -> Problem {
        tracing::warn!(subject = self.principal.subject.as_str(), permission = ?self.permission, "refused");
        lacking(self.permission)
    }
}

/// What the middleware of one group of routes needs.
#[derive(Debug, Clone)]
pub struct Guard {
    pub access: Access,
    pub permission: Permission,
}

impl Guard {
    /// Lets a request in, and says from where it came.
    async fn admit(&self, parts: &mut Parts) -> Result<Origin, Problem> {
        let address = peer::client(&parts.extensions, &parts.headers, &self.access.proxies);
        let from = address.map(|address| address.to_string());
        let span = tracing::Span::current();
        if let Some(from) = &from {
            span.record("from", from);
        }
        let (principal, proof) = self.access.known(parts, from.as_deref().unwrap_or_default()).await?;
        span.record("subject", principal.subject.as_str());
        let limits = &self.access.limits;
        let bucket = if changes(parts) { &limits.changes } else { &limits.looks };
        self.access.allow(bucket, principal.subject.as_str())?;
        let about = about(parts).await.ok_or_else(|| forbidden("nobody may ask for that"))?;
        let authority = Authority { principal, permission: self.permission };
        match authority.principal.asks(self.permission, about.application().as_ref()) {
            Answer::Allowed => {}
            Answer::Forbidden => return Err(authority.refused()),
            Answer::Hidden => return Err(about.missing()),
        }
        if let Some(address) = address {
            parts.extensions.insert(Client(address));
        }
        parts.extensions.insert(authority);
        let request_id = parts.headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or("none").to_owned();
        Ok(Origin { address: from, request_id, proof })
    }
}

async fn about(parts: &mut Parts) -> Option<About> {
    let pattern = parts.extensions.get::<MatchedPath>()?.as_str().to_owned();
    let raw = RawPathParams::from_request_parts(parts, &()).await;
    match &raw {
        Ok(raw) => About::of(&pattern, raw.iter().next().map(|(_, value)| value)),
        // What is not UTF-8 names nothing.
        Err(_) => Some(About::Nothing),
    }
}

/// The address of whoever asks, for the replica that a request is handed on to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client(pub(super) IpAddr);

/// Lets a request through whose caller has the group's permission, and remembers who it is and from where.
pub async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match guard.admit(&mut parts).await {
        Ok(origin) => origin::within(origin, next.run(Request::from_parts(parts, body))).await,
        Err(problem) => problem.into_response(),
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Absent only if a route were outside every guarded group: refuse, never guess.
        parts.extensions.get::<Authority>().map(|a| a.principal.clone()).ok_or_else(unauthorized)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_tokens_only_loopback_is_listened_on() {
        let at = |s: &str| s.parse::<SocketAddr>().expect("address");
        let open = Access::from(Tokens::open());
        assert!(open.permits(at("127.0.0.1:1")).is_ok());
        assert!(open.permits(at("[::1]:1")).is_ok());
        assert!(open.permits(at("0.0.0.0:1")).is_err());
        let entry = TokenEntry {
            name: "ann".parse().expect("valid"),
            sha256: "0".repeat(64),
            grants: BTreeSet::from([Grant::every(Role::Viewer)]),
            expires_at: None,
            certificate: None,
        };
        let some = Access::from(Tokens::new(vec![entry]).expect("valid"));
        assert!(some.permits(at("0.0.0.0:1")).is_ok());
    }

    #[test]
    fn without_tokens_another_host_name_is_refused() {
        let host = |h: &str| HeaderMap::from_iter([(header::HOST, h.parse().expect("value"))]);
        for good in ["localhost", "localhost:8080", "127.0.0.1:80", "[::1]:80"] {
            assert!(loopback_host(&host(good)).is_ok(), "{good}");
        }
        for bad in ["evil.example", "evil.example:80", "10.0.0.1", "127.0.0.1.evil"] {
            assert!(loopback_host(&host(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_that_nobody_has_thought_of_lets_nobody_in() {
        let name = "payments-00000000000000000000000000000001";
        assert!(matches!(About::of("/runs", None), Some(About::None)));
        assert!(matches!(About::of("/runs/{id}/abort", Some(name)), Some(About::Run(_))));
        assert!(matches!(About::of("/overrides/{id}/end", Some(name)), Some(About::Override(_))));
        assert!(matches!(About::of("/applications/{name}", Some("payments")), Some(About::Application(_))));
        assert!(matches!(About::of("/runs/{id}", Some("nonsense")), Some(About::Nothing)));
        assert!(matches!(About::of("/ui/runs/{id}/act", Some(name)), Some(About::Run(_))));
        assert!(matches!(
            About::of("/ui/applications/{name}/moves/{kind}", Some("payments")),
            Some(About::Application(_))
        ));
        assert!(About::of("/ui/secrets/{id}", Some("x")).is_none());
        assert!(About::of("/secrets/{id}", Some("x")).is_none());
        assert!(About::of("/runs/{id}", None).is_none());
    }

    #[test]
    fn an_old_token_of_the_issuer_changes_nothing() {
        let now: Timestamp = "2027-01-01T00:00:00Z".parse().expect("a time");
        let identity = |age: i64| Identity {
            principal: local(),
            issued_at: now - jiff::SignedDuration::from_secs(age),
            expires_at: now + jiff::SignedDuration::from_secs(3_600),
            id: None,
        };
        assert!(fresh(&identity(300), now).is_ok() && fresh(&identity(-30), now).is_ok());
        assert!(fresh(&identity(361), now).is_err());
    }
}
