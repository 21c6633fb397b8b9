//! `[auth]` and what of `[server]` keeps strangers out: tokens, the issuer of others, TLS, proxies.
//!
//! Invariant: what would let somebody in whom nobody has meant is refused by name: an address that can be reached from
//! outside needs callers who are known, and TLS, or the word that it ends in front. A secret never stands in the file.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
};

use jiff::Timestamp;

use super::sections::get;
use crate::domain::{
    access::{Grant, Principal, Role, Scope},
    document::{At, Fields, Findings},
    id::{ApplicationName, Digest, Subject},
    issuer::{Algorithm, Issuer},
    network::Network,
    policy::AUTOMATION,
};

/// Where the API listens, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub listen: SocketAddr,
    /// `None`: in the clear.
    pub tls: Option<TlsPaths>,
    /// It is in the clear here because a proxy that ends TLS stands in front, and nobody else reaches this address.
    pub tls_in_front: bool,
    /// Whose word on where a request comes from is believed.
    pub proxies: Vec<Network>,
}

/// Where the certificates are, as written: relative to the working directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsPaths {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub client_ca: Option<PathBuf>,
}

/// Who may call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Auth {
    /// Empty, and no issuer: everybody who reaches the loopback address.
    pub tokens: Vec<Token>,
    pub issuer: Option<Issuer>,
}

/// A caller, known by the SHA-256 of a bearer token (the token itself is never in a file).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub name: Subject,
    pub sha256: Digest,
    pub grants: BTreeSet<Grant>,
    /// From when on it is nobody's; `None`: it does not expire.
    pub expires_at: Option<Timestamp>,
    /// The SHA-256 of the one client certificate with which it is good; `None`: with any, or none.
    pub certificate: Option<Digest>,
}

impl Auth {
    /// Whether nobody needs to say who they are.
    pub fn is_open(&self) -> bool {
        self.tokens.is_empty() && self.issuer.is_none()
    }
}

impl Token {
    /// Who calls with it.
    pub fn principal(&self) -> Principal {
        Principal { subject: self.name.clone(), grants: self.grants.clone() }
    }

    /// Whether any of its grants is of `role`.
    pub fn has(&self, role: Role) -> bool {
        self.grants.iter().any(|grant| grant.role == role)
    }
}

const TLS: &str = "tls = { certificate = \"/etc/failoverd/chain.pem\", key = \"/run/secrets/key.pem\" }";
const SHA256: &str = "sha256 = \"…\" # of the token, as `failoverd token new` prints it";
const TOKEN: &str = "tokens = [{ name = \"alice\", sha256 = \"9f86…\", roles = [\"operator\"] }]";
const GRANTS: &str = "grants = [{ roles = [\"operator\"], applications = [\"payments\"] }, { roles = [\"viewer\"] }]";
const ISSUER: &str = "issuer = { url = \"https://login.example.com\", audience = \"failoverd\", … }";

pub(super) fn server(f: &mut Option<Fields<'_>>, found: &mut Findings) -> Option<Server> {
    let listen = match get(f, found, "listen", "listen = \"127.0.0.1:8080\"") {
        Some(at) => at.parse(found)?,
        None => SocketAddr::from(([127, 0, 0, 1], 8080)),
    };
    let tls = get(f, found, "tls", TLS);
    let in_front = get(f, found, "tls_in_front", "tls_in_front = true");
    let proxies = get(f, found, "proxies", "proxies = [\"10.0.0.0/8\"]");
    let in_front = in_front.map_or(Some(false), |at| at.boolean(found))?;
    let tls = match tls {
        Some(at) => Some(tls_paths(&at, found)?),
        None => None,
    };
    if tls.is_some() && in_front {
        found.error("server.tls_in_front", "TLS ends here and in front of here: say one", TLS);
    }
    let mut networks = Vec::new();
    for item in proxies.and_then(|at| at.list(found)).unwrap_or_default() {
        networks.extend(item.parse::<Network>(found));
    }
    Some(Server { listen, tls, tls_in_front: in_front, proxies: networks })
}

fn tls_paths(at: &At<'_>, found: &mut Findings) -> Option<TlsPaths> {
    let mut f = at.fields(found)?;
    let path = |at: Option<At<'_>>, found: &mut Findings| at.and_then(|at| at.text(found)).map(PathBuf::from);
    let certificate = f.need(found, "certificate", TLS);
    let certificate = path(certificate, found);
    let key = f.need(found, "key", TLS);
    let key = path(key, found);
    let client_ca = f.get(found, "client_ca", "client_ca = \"/etc/failoverd/callers.pem\"");
    let client_ca = path(client_ca, found);
    f.finish(found);
    Some(TlsPaths { certificate: certificate?, key: key?, client_ca })
}

pub(super) fn auth(f: &mut Option<Fields<'_>>, found: &mut Findings) -> Option<Auth> {
    let issuer = match get(f, found, "issuer", ISSUER) {
        Some(at) => Some(issuer(&at, found)?),
        None => None,
    };
    let Some(at) = get(f, found, "tokens", TOKEN) else {
        return Some(Auth { tokens: Vec::new(), issuer });
    };
    let mut tokens: Vec<Token> = Vec::new();
    for item in at.list(found)? {
        let Some(token) = token(&item, found) else { continue };
        if tokens.iter().any(|t| t.name == token.name && t.grants != token.grants) {
            found.error(&item.key, format!("`{}` has another token with other roles", token.name), TOKEN);
        } else if tokens.iter().any(|t| t.sha256 == token.sha256) {
            found.error(&item.key, "the same token stands here twice: approvals could not tell people apart", TOKEN);
        } else {
            tokens.push(token);
        }
    }
    Some(Auth { tokens, issuer })
}

fn token(item: &At<'_>, found: &mut Findings) -> Option<Token> {
    let mut f = item.fields(found)?;
    let name = f.need(found, "name", "name = \"alice\"").and_then(|at| at.parse(found));
    let sha256 = f.need(found, "sha256", SHA256).and_then(|at| digest(&at, found));
    let expires = f.get(found, "expires_at", "expires_at = \"2027-06-30T00:00:00Z\"");
    let expires_at = match expires {
        Some(at) => Some(time(&at, found)?),
        None => None,
    };
    let certificate = match f.get(found, "certificate", "certificate = \"…\" # SHA-256 of the client's certificate") {
        Some(at) => Some(at.parse(found)?),
        None => None,
    };
    let grants = grants(&mut f, &item.key, found);
    f.finish(found);
    let grants = grants?;
    if grants.iter().any(|g| g.role == Role::Admin) && grants.iter().any(|g| g.role == Role::Approver) {
        let problem = "an admin cannot approve: use two tokens for two people";
        found.error(&format!("{}.roles", item.key), problem, "roles = [\"approver\"]");
        return None;
    }
    let name: Subject = name?;
    if name.as_str() == AUTOMATION || name.schedule().is_some() {
        let problem = format!("`{name}` is who starts a run that nobody asked for: people are called otherwise");
        found.error(&format!("{}.name", item.key), problem, "name = \"alice\"");
        return None;
    }
    Some(Token { name, sha256: sha256?, grants, expires_at, certificate })
}

/// A digest. What is none is not repeated: it may be the token itself.
fn digest(at: &At<'_>, found: &mut Findings) -> Option<Digest> {
    let digest = at.text(found)?.parse().ok();
    if digest.is_none() {
        found.error(&at.key, "expected 64 hexadecimal digits (what was given is not shown)", SHA256);
    }
    digest
}

fn time(at: &At<'_>, found: &mut Findings) -> Option<Timestamp> {
    let text = at.text(found)?;
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    found.error(&at.key, "expected a time with its offset from UTC", at.example);
    None
}

/// `roles`, limited to `applications` where they are named; or `grants`, a list of such pairs; or both.
fn grants(f: &mut Fields<'_>, key: &str, found: &mut Findings) -> Option<BTreeSet<Grant>> {
    let more = f.get(found, "grants", GRANTS);
    let roles = match &more {
        Some(_) => f.get(found, "roles", "roles = [\"operator\", \"approver\"]"),
        None => f.need(found, "roles", "roles = [\"operator\", \"approver\"]"),
    };
    let applications = f.get(found, "applications", "applications = [\"payments\"]");
    let mut all = BTreeSet::new();
    match roles {
        Some(roles) => all.extend(roles_for(&roles, applications.as_ref(), found)?),
        None => {
            if let Some(at) = applications {
                found.error(&at.key, "limits `roles`, and there are none", GRANTS);
            }
        }
    }
    for item in more.as_ref().and_then(|at| at.list(found)).unwrap_or_default() {
        let mut f = item.fields(found)?;
        let roles = f.need(found, "roles", GRANTS);
        let applications = f.get(found, "applications", "applications = [\"payments\"]");
        f.finish(found);
        all.extend(roles_for(&roles?, applications.as_ref(), found)?);
    }
    if all.is_empty() {
        found.error(&format!("{key}.roles"), "is empty", "roles = [\"viewer\"]");
        return None;
    }
    Some(all)
}

fn roles_for(roles: &At<'_>, applications: Option<&At<'_>>, found: &mut Findings) -> Option<BTreeSet<Grant>> {
    let scope = match applications {
        None => Scope::Every,
        Some(at) => {
            let read: Vec<Option<ApplicationName>> = at.list(found)?.iter().map(|item| item.parse(found)).collect();
            let names: BTreeSet<ApplicationName> = read.into_iter().collect::<Option<_>>()?;
            if names.is_empty() {
                found.error(&at.key, "is empty; without it, every application is meant", at.example);
                return None;
            }
            Scope::Only(names)
        }
    };
    let mut all = BTreeSet::new();
    for item in roles.list(found)? {
        let text = item.text(found)?;
        let Some(role) = Role::named(text) else {
            let known: Vec<&str> = Role::ALL.into_iter().map(Role::as_str).collect();
            found.error(&item.key, format!("unknown role; valid: {}", known.join(", ")), item.example);
            return None;
        };
        all.insert(Grant { role, applications: scope.clone() });
    }
    if all.is_empty() {
        found.error(&roles.key, "is empty", "roles = [\"viewer\"]");
        return None;
    }
    Some(all)
}

fn issuer(at: &At<'_>, found: &mut Findings) -> Option<Issuer> {
    let mut f = at.fields(found)?;
    let url = f.need(found, "url", "url = \"https://login.example.com/realms/ops\"");
    let url = url.and_then(|at| issuer_url(&at, found));
    let audience = f.need(found, "audience", "audience = \"failoverd\"").and_then(|at| plain(&at, found));
    let algorithm = f.need(found, "algorithm", "algorithm = \"RS256\"").and_then(|at| algorithm(&at, found));
    let subject = f.need(found, "subject_claim", "subject_claim = \"email\"").and_then(|at| plain(&at, found));
    let claim = f.need(found, "roles_claim", "roles_claim = \"groups\"").and_then(|at| plain(&at, found));
    let example = "roles = [{ value = \"sre\", roles = [\"operator\"] }]";
    let roles = f.need(found, "roles", example).and_then(|at| mapped(&at, found));
    f.finish(found);
    Some(Issuer {
        url: url?,
        audience: audience?,
        algorithm: algorithm?,
        subject_claim: subject?,
        roles_claim: claim?,
        grants: roles?,
    })
}

/// https, or http on this machine; without what would make two texts of one issuer.
fn issuer_url(at: &At<'_>, found: &mut Findings) -> Option<String> {
    let text = at.text(found)?;
    let local = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
    let is_local =
        local.iter().any(|l| text.strip_prefix(l).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/'])));
    let plain = text.len() <= 512 && !text.contains(['?', '#', '@', ' ']) && !text.chars().any(char::is_control);
    if plain && (is_local || text.len() > 8 && text.starts_with("https://")) {
        return Some(text.to_owned());
    }
    found.error(&at.key, "expected the issuer's https:// URL, to the letter as in its tokens' `iss`", at.example);
    None
}

fn plain(at: &At<'_>, found: &mut Findings) -> Option<String> {
    let text = at.text(found)?;
    if !text.trim().is_empty() && text.len() <= 256 && !text.chars().any(char::is_control) {
        return Some(text.to_owned());
    }
    found.error(&at.key, "expected 1 to 256 characters, none a control one", at.example);
    None
}

fn algorithm(at: &At<'_>, found: &mut Findings) -> Option<Algorithm> {
    let text = at.text(found)?;
    let known = Algorithm::ALL.into_iter().find(|algorithm| algorithm.as_str() == text);
    if known.is_none() {
        found.error(&at.key, "expected RS256 or ES256: the one by which the issuer signs", at.example);
    }
    known
}

fn mapped(at: &At<'_>, found: &mut Findings) -> Option<BTreeMap<String, BTreeSet<Grant>>> {
    let mut all = BTreeMap::new();
    for item in at.list(found)? {
        let mut f = item.fields(found)?;
        let value = f.need(found, "value", "value = \"sre\"").and_then(|at| plain(&at, found));
        let grants = grants(&mut f, &item.key, found);
        f.finish(found);
        let (value, grants) = (value?, grants?);
        if grants.iter().any(|grant| grant.role == Role::Observer) {
            let problem = "an observer is a machine with a token of its own: docs/vantages.md";
            found.error(&format!("{}.roles", item.key), problem, "roles = [\"viewer\"]");
        }
        if all.insert(value, grants).is_some() {
            found.error(&item.key, "this value stands here twice", at.example);
        }
    }
    if all.is_empty() {
        found.error(&at.key, "is empty: nobody would be let in", at.example);
        return None;
    }
    Some(all)
}

/// Notes what does not fit between who may call and where the daemon listens, and what is written of an application
/// that is not there.
pub(super) fn check(
    server: &Server,
    auth: &Auth,
    applications: Option<&BTreeSet<ApplicationName>>,
    found: &mut Findings,
) {
    if auth.is_open() && !server.listen.ip().is_loopback() {
        let problem = format!("{} can be reached from outside, and no tokens are configured", server.listen);
        found.coded("auth-required", "server.listen", problem, "listen = \"127.0.0.1:8080\", or [auth] tokens");
    }
    if !server.listen.ip().is_loopback() && server.tls.is_none() && !server.tls_in_front {
        let problem = format!(
            "{} can be reached from outside, where tokens would be read off the wire: it needs TLS",
            server.listen
        );
        let example = "tls = { certificate = …, key = … }, or tls_in_front = true where only a proxy reaches it";
        found.coded("tls-required", "server.listen", problem, example);
    }
    if !server.listen.ip().is_loopback() && server.tls_in_front && server.proxies.is_empty() {
        let problem = "TLS ends in front, and the proxy is not named: all callers would be one address, with the \
                       connections of one";
        found.error("server.proxies", problem, "proxies = [\"10.0.0.0/16\"]");
    }
    let client_ca = server.tls.as_ref().and_then(|tls| tls.client_ca.as_ref());
    for (index, token) in auth.tokens.iter().enumerate() {
        if token.certificate.is_some() && client_ca.is_none() {
            let problem = "no caller shows a certificate without `client_ca` in [server] tls";
            found.error(&format!("auth.tokens[{index}].certificate"), problem, TLS);
        }
        unknown(&format!("auth.tokens[{index}]"), &token.grants, applications, found);
    }
    for (value, grants) in auth.issuer.iter().flat_map(|issuer| &issuer.grants) {
        unknown(&format!("auth.issuer.roles of {value}"), grants, applications, found);
    }
}

fn unknown(key: &str, grants: &BTreeSet<Grant>, known: Option<&BTreeSet<ApplicationName>>, found: &mut Findings) {
    let Some(known) = known else { return };
    let mut named = BTreeSet::new();
    for grant in grants {
        let Scope::Only(names) = &grant.applications else { continue };
        if grant.role == Role::Observer {
            let problem = "an observer reports on every application whose policy names it";
            found.error(&format!("{key}.applications"), problem, "roles = [\"observer\"]");
        }
        named.extend(names.difference(known));
    }
    for name in named {
        let problem = format!("there is no application `{name}`");
        found.error(&format!("{key}.applications"), problem, "applications = [\"payments\"]");
    }
}
