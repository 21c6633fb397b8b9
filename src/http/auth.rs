//! Who calls, and what they may do: bearer tokens kept as SHA-256, and roles.
//!
//! Invariants: a token is compared by its hash, in constant time, with every entry; no token is ever logged or
//! answered back. With no token configured everyone is the subject `local`, which is allowed on loopback only
//! ([`Tokens::permits`]); since an approval must come from somebody other than the requester, a run that needs one
//! cannot be approved in that mode: the engine refuses it as a self-approval.
//! Expiry, scopes and OIDC are not built (issue 7).

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::problem::Problem;
use crate::domain::id::Subject;

/// What a person or machine is trusted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Starts, aborts, pauses and resumes.
    Operator,
    /// Approves and declines.
    Approver,
    /// Starts drills, and looks.
    DrillRunner,
    /// Everything but approving: who administers must not be able to approve alone.
    Admin,
    /// Reports what it sees from the vantage that its token is named after; may do nothing else, not even look.
    Observer,
}

/// What a route asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    Read,
    Operate,
    Approve,
    Drill,
    /// Overrides: what only makes things stricter. Whatever else is asked for needs `Operate` too.
    Override,
    Observe,
}

impl Role {
    /// Every role, for tests and for messages.
    pub const ALL: [Self; 6] =
        [Self::Viewer, Self::Operator, Self::Approver, Self::DrillRunner, Self::Admin, Self::Observer];

    /// Whether this role alone grants `permission`.
    pub fn grants(self, permission: Permission) -> bool {
        match permission {
            Permission::Read => self != Self::Observer,
            Permission::Operate => matches!(self, Self::Operator | Self::Admin),
            Permission::Approve => self == Self::Approver,
            Permission::Drill => matches!(self, Self::DrillRunner | Self::Operator | Self::Admin),
            Permission::Override => matches!(self, Self::Operator | Self::Approver | Self::Admin),
            Permission::Observe => self == Self::Observer,
        }
    }

    /// The role's name in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::DrillRunner => "drill-runner",
            Self::Admin => "admin",
            Self::Observer => "observer",
        }
    }
}

/// One named token, as configuration gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenEntry {
    /// Who calls with this token.
    pub name: Subject,
    /// The SHA-256 of the token, 64 hexadecimal digits.
    pub sha256: String,
    pub roles: BTreeSet<Role>,
}

/// What is wrong with a list of tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTokens {
    #[error("the token of `{0}`: sha256 must be 64 hexadecimal digits")]
    Hash(Subject),
    #[error("the token of `{0}` has no role")]
    NoRole(Subject),
    #[error("the tokens of `{0}` and `{1}` are the same")]
    Shared(Subject, Subject),
    #[error("no token is configured, so only a loopback address may be listened on, not {0}")]
    Open(SocketAddr),
}

/// Who the caller is, and as what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub subject: Subject,
    pub roles: BTreeSet<Role>,
}

impl Principal {
    /// Whether any of the caller's roles grants `permission`.
    pub fn may(&self, permission: Permission) -> bool {
        self.roles.iter().any(|role| role.grants(permission))
    }
}

/// The tokens that are accepted.
#[derive(Clone)]
pub struct Tokens {
    entries: Arc<[([u8; 32], Principal)]>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.entries.iter().map(|(_, p)| p.subject.as_str());
        f.debug_list().entries(names).finish()
    }
}

impl Tokens {
    /// Checks the entries. An empty list makes everyone the subject `local` with the roles operator and approver.
    ///
    /// # Errors
    /// A hash that is none, an entry without a role, or one token for two entries (whose name would be ambiguous).
    pub fn new(entries: Vec<TokenEntry>) -> Result<Self, InvalidTokens> {
        let mut checked: Vec<([u8; 32], Principal)> = Vec::with_capacity(entries.len());
        for entry in entries {
            let mut hash = [0; 32];
            hex::decode_to_slice(&entry.sha256, &mut hash).map_err(|_| InvalidTokens::Hash(entry.name.clone()))?;
            if entry.roles.is_empty() {
                return Err(InvalidTokens::NoRole(entry.name));
            }
            if let Some((_, other)) = checked.iter().find(|(h, _)| *h == hash) {
                return Err(InvalidTokens::Shared(other.subject.clone(), entry.name));
            }
            let principal = Principal { subject: entry.name, roles: entry.roles };
            checked.push((hash, principal));
        }
        Ok(Self { entries: checked.into() })
    }

    /// No tokens: everyone is `local`.
    pub fn open() -> Self {
        Self { entries: Arc::new([]) }
    }

    /// Whether everyone is let in.
    pub fn is_open(&self) -> bool {
        self.entries.is_empty()
    }

    /// Everybody who may do `permission`, by name; in the open mode, the one that everybody is.
    pub fn people(&self, permission: Permission) -> BTreeSet<Subject> {
        if self.is_open() {
            return BTreeSet::from([local().subject]);
        }
        let may = self.entries.iter().filter(|(_, principal)| principal.may(permission));
        may.map(|(_, principal)| principal.subject.clone()).collect()
    }

    /// Whether the service may listen on `address` with these tokens.
    ///
    /// # Errors
    /// When everyone would be let in from other machines.
    pub fn permits(&self, address: SocketAddr) -> Result<(), InvalidTokens> {
        if self.is_open() && !address.ip().is_loopback() { Err(InvalidTokens::Open(address)) } else { Ok(()) }
    }

    /// Who holds `token`. Takes the same time for every token, known or not.
    pub fn lookup(&self, token: &str) -> Option<&Principal> {
        let presented: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let at = usize::try_from(position(self.entries.iter().map(|(hash, _)| hash), &presented)).ok()?;
        self.entries.get(at).map(|(_, principal)| principal)
    }

    fn authenticate(&self, headers: &HeaderMap) -> Result<Principal, Problem> {
        if self.is_open() {
            loopback_host(headers)?;
            return Ok(local());
        }
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let token = match (values.next(), values.next()) {
            (Some(one), None) => one.to_str().ok().and_then(bearer),
            _ => None,
        };
        token.and_then(|t| self.lookup(t)).cloned().ok_or_else(unauthorized)
    }
}

/// Where `presented` stands among `hashes`, or `u64::MAX`: every one is compared, whether or not one has matched.
fn position<'a>(hashes: impl Iterator<Item = &'a [u8; 32]>, presented: &[u8; 32]) -> u64 {
    (0..).zip(hashes).fold(u64::MAX, |found, (at, hash)| {
        let same: Choice = hash.ct_eq(presented);
        u64::conditional_select(&found, &at, same)
    })
}

/// Everyone, when no token is configured.
fn local() -> Principal {
    Principal {
        subject: "local".parse().unwrap_or_else(|e| unreachable!("`local` is a subject: {e}")),
        roles: BTreeSet::from([Role::Operator, Role::Approver]),
    }
}

/// Without tokens, a web page that points its own name at 127.0.0.1 (DNS rebinding) must not get in: a browser then
/// sends that name as `Host`.
fn loopback_host(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(host) = headers.get(header::HOST) else {
        return Ok(());
    };
    let host = host.to_str().unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let is_loopback =
        bare.eq_ignore_ascii_case("localhost") || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if is_loopback {
        Ok(())
    } else {
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "That is not allowed",
            "no token is configured, so only localhost may be asked for",
        ))
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The same for every reason: it does not tell whether a token exists.
fn unauthorized() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "unauthenticated",
        "Say who you are",
        "a known bearer token is needed: `Authorization: Bearer TOKEN`",
    )
    .header(header::WWW_AUTHENTICATE, "Bearer")
}

/// What the middleware of one group of routes needs.
#[derive(Debug, Clone)]
pub struct Guard {
    pub tokens: Tokens,
    pub permission: Permission,
}

/// Lets a request through whose caller has the group's permission, and remembers who it is.
pub async fn guard(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let principal = match guard.tokens.authenticate(request.headers()) {
        Ok(principal) => principal,
        Err(problem) => return problem.into_response(),
    };
    tracing::Span::current().record("subject", principal.subject.as_str());
    if !principal.may(guard.permission) {
        return lacking(guard.permission).into_response();
    }
    request.extensions_mut().insert(principal);
    next.run(request).await
}

/// The refusal of a caller none of whose roles grants `permission`.
pub fn lacking(permission: Permission) -> Problem {
    let needed: Vec<&str> = Role::ALL.into_iter().filter(|r| r.grants(permission)).map(Role::as_str).collect();
    Problem::new(
        StatusCode::FORBIDDEN,
        "forbidden",
        "That is not allowed",
        format!("one of these roles is needed: {}", needed.join(", ")),
    )
}

impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Absent only if a route were outside every guarded group: refuse, never guess.
        parts.extensions.get::<Self>().cloned().ok_or_else(unauthorized)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, token: &str, roles: &[Role]) -> TokenEntry {
        TokenEntry {
            name: name.parse().expect("subject"),
            sha256: hex::encode(Sha256::digest(token)),
            roles: roles.iter().copied().collect(),
        }
    }

    #[test]
    fn a_token_is_found_by_its_hash_wherever_it_stands() {
        let tokens = Tokens::new(vec![
            entry("ann", "a", &[Role::Viewer]),
            entry("bob", "b", &[Role::Operator]),
            entry("eve", "c", &[Role::Admin]),
        ])
        .expect("valid");
        for (token, name) in [("a", "ann"), ("b", "bob"), ("c", "eve")] {
            assert_eq!(tokens.lookup(token).expect("known").subject.as_str(), name);
        }
        assert_eq!(tokens.lookup("d"), None);
        assert_eq!(tokens.lookup(""), None);
    }

    /// FAULTS.md 97: how long it takes tells nothing of where a match stands, or that there is one.
    #[test]
    fn every_hash_is_compared_wherever_the_match_stands() {
        let hashes = [[1; 32], [2; 32], [3; 32]];
        for (presented, expected) in [([1; 32], 0), ([2; 32], 1), ([3; 32], 2), ([4; 32], u64::MAX)] {
            let compared = std::cell::Cell::new(0);
            let found = position(hashes.iter().inspect(|_| compared.set(compared.get() + 1)), &presented);
            assert_eq!((found, compared.get()), (expected, hashes.len()));
        }
    }

    #[test]
    fn tokens_that_cannot_work_are_refused() {
        let bad_hash = TokenEntry { sha256: "zz".to_owned(), ..entry("ann", "a", &[Role::Viewer]) };
        assert!(matches!(Tokens::new(vec![bad_hash]), Err(InvalidTokens::Hash(_))));
        assert!(matches!(Tokens::new(vec![entry("ann", "a", &[])]), Err(InvalidTokens::NoRole(_))));
        let twice = vec![entry("ann", "a", &[Role::Viewer]), entry("bob", "a", &[Role::Admin])];
        assert!(matches!(Tokens::new(twice), Err(InvalidTokens::Shared(_, _))));
    }

    #[test]
    fn without_tokens_only_loopback_is_listened_on() {
        let at = |s: &str| s.parse::<SocketAddr>().expect("address");
        assert!(Tokens::open().permits(at("127.0.0.1:1")).is_ok());
        assert!(Tokens::open().permits(at("[::1]:1")).is_ok());
        assert!(Tokens::open().permits(at("0.0.0.0:1")).is_err());
        let some = Tokens::new(vec![entry("ann", "a", &[Role::Viewer])]).expect("valid");
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
}
