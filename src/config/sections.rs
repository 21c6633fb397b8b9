//! The sections of the file: `server`, `store`, `aws`, `auth`, `vantage`, `runbooks`, and the list of `applications`.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, time::Duration};

use super::{Auth, Aws, Role, Server, Store, Token, Vantage, application, store, vantage};
use crate::domain::{
    application::Application,
    document::{At, Fields, Findings},
    id::Subject,
    policy::AUTOMATION,
};

/// The file, read.
pub(super) struct Read {
    pub(super) server: Server,
    pub(super) store: Store,
    pub(super) aws: Aws,
    pub(super) auth: Auth,
    pub(super) vantage: Vantage,
    pub(super) runbooks: RunbookFiles,
    /// Each with the key that its faults are noted at.
    pub(super) applications: Vec<(String, Application)>,
}

/// Which runbooks there are.
pub(super) struct RunbookFiles {
    /// As written; relative to the file.
    pub(super) directory: Option<PathBuf>,
    /// Whether those that ship in the program are there too.
    pub(super) shipped: bool,
}

/// Reads all sections. `None` where a section is so wrong that nothing can be checked against it.
pub(super) fn read(root: &At<'_>, found: &mut Findings) -> Option<Read> {
    let mut f = root.fields(found)?;
    let server = section(&mut f, "server", found, server);
    let store = section(&mut f, "store", found, store::read);
    let aws = section(&mut f, "aws", found, aws);
    let auth = section(&mut f, "auth", found, auth);
    let vantage = section(&mut f, "vantage", found, vantage::read);
    let runbooks = section(&mut f, "runbooks", found, |f, found| match f.as_mut() {
        Some(f) => {
            let directory = f.get(found, "directory", "directory = \"../runbooks\"");
            let shipped = f.get(found, "shipped", "shipped = true");
            let directory = directory.and_then(|at| at.text(found)).map(PathBuf::from);
            let shipped = shipped.map_or(Some(directory.is_none()), |at| at.boolean(found))?;
            Some(RunbookFiles { directory, shipped })
        }
        None => Some(RunbookFiles { directory: None, shipped: true }),
    });
    let example = "[[applications]]\nname = \"payments\"";
    let applications = match f.need(found, "applications", example).and_then(|at| at.list(found)) {
        Some(items) => items.iter().filter_map(|at| Some((at.key.clone(), application::read(at, found)?))).collect(),
        None => Vec::new(),
    };
    f.finish(found);
    let (server, auth) = (server?, auth?);
    vantage::tokens(&auth, found);
    if auth.tokens.is_empty() && !server.listen.ip().is_loopback() {
        let problem = format!("{} can be reached from outside, and no tokens are configured", server.listen);
        found.coded("auth-required", "server.listen", problem, "listen = \"127.0.0.1:8080\", or [auth] tokens");
    }
    if let (Some(store), Some(aws)) = (&store, &aws) {
        store::fits(store, aws, found);
    }
    if let Some(vantage) = &vantage {
        vantage::itself(server.listen, vantage, found);
    }
    Some(Read { server, store: store?, aws: aws?, auth, vantage: vantage?, runbooks: runbooks?, applications })
}

/// Reads one section with `read`, which gets `None` where it is not given; finishes its keys.
fn section<'a, T>(
    f: &mut Fields<'a>,
    key: &'static str,
    found: &mut Findings,
    read: impl FnOnce(&mut Option<Fields<'a>>, &mut Findings) -> Option<T>,
) -> Option<T> {
    let mut fields = match f.get(found, key, "[server]") {
        Some(at) => Some(at.fields(found)?),
        None => None,
    };
    let value = read(&mut fields, found);
    if let Some(fields) = fields {
        fields.finish(found);
    }
    value
}

fn get<'a>(
    f: &mut Option<Fields<'a>>,
    found: &mut Findings,
    key: &'static str,
    example: &'static str,
) -> Option<At<'a>> {
    f.as_mut().and_then(|f| f.get(found, key, example))
}

fn server(f: &mut Option<Fields<'_>>, found: &mut Findings) -> Option<Server> {
    let listen = match get(f, found, "listen", "listen = \"127.0.0.1:8080\"") {
        Some(at) => at.parse(found)?,
        None => SocketAddr::from(([127, 0, 0, 1], 8080)),
    };
    Some(Server { listen })
}

fn aws(f: &mut Option<Fields<'_>>, found: &mut Findings) -> Option<Aws> {
    let second = Duration::from_secs(1);
    let call = get(f, found, "call_timeout", "call_timeout = \"10s\"");
    let attempt = get(f, found, "attempt_timeout", "attempt_timeout = \"3s\"");
    let allow = get(f, found, "allow_custom_endpoints", "allow_custom_endpoints = [\"AWS_ENDPOINT_URL_RDS\"]");
    let production = get(f, found, "production", "production = true");
    let call_timeout = call.map_or(Some(10 * second), |at| at.duration(found, second, 120 * second));
    let attempt_timeout = attempt.map_or(Some(3 * second), |at| at.duration(found, second / 10, 60 * second));
    let production = production.map_or(Some(true), |at| at.boolean(found));
    let mut allow_custom_endpoints = Vec::new();
    for item in allow.and_then(|at| at.list(found)).unwrap_or_default() {
        let Some(name) = item.text(found) else { continue };
        let valid = name.starts_with("AWS_ENDPOINT_URL")
            && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        if valid {
            allow_custom_endpoints.push(name.to_owned());
        } else {
            found.error(&item.key, "expected the name of a variable that begins with AWS_ENDPOINT_URL", item.example);
        }
    }
    if let (Some(call), Some(attempt)) = (call_timeout, attempt_timeout)
        && attempt > call
    {
        found.error("aws.attempt_timeout", "one attempt takes longer than the whole call", "attempt_timeout = \"3s\"");
    }
    Some(Aws {
        call_timeout: call_timeout?,
        attempt_timeout: attempt_timeout?,
        allow_custom_endpoints,
        production: production?,
    })
}

const TOKEN: &str = "tokens = [{ name = \"alice\", sha256 = \"9f86…\", roles = [\"operator\"] }]";

fn auth(f: &mut Option<Fields<'_>>, found: &mut Findings) -> Option<Auth> {
    let Some(at) = get(f, found, "tokens", TOKEN) else {
        return Some(Auth::default());
    };
    let mut tokens: Vec<Token> = Vec::new();
    for item in at.list(found)? {
        let Some(token) = token(&item, found) else { continue };
        if tokens.iter().any(|t| t.name == token.name && t.roles != token.roles) {
            found.error(&item.key, format!("`{}` has another token with other roles", token.name), TOKEN);
        } else if tokens.iter().any(|t| t.sha256 == token.sha256) {
            found.error(&item.key, "the same token stands here twice: approvals could not tell people apart", TOKEN);
        } else {
            tokens.push(token);
        }
    }
    Some(Auth { tokens })
}

fn token(item: &At<'_>, found: &mut Findings) -> Option<Token> {
    let mut f = item.fields(found)?;
    let name = f.need(found, "name", "name = \"alice\"").and_then(|at| at.parse(found));
    let sha256 =
        f.need(found, "sha256", "sha256 = \"…\" # printf %s \"$TOKEN\" | sha256sum").and_then(|at| at.parse(found));
    let roles = f.need(found, "roles", "roles = [\"operator\", \"approver\"]");
    f.finish(found);
    let roles_key = format!("{}.roles", item.key);
    let mut set = BTreeSet::new();
    for role in roles?.list(found)? {
        let text = role.text(found)?;
        match Role::ALL.into_iter().find(|r| r.as_str() == text) {
            Some(known) => _ = set.insert(known),
            None => {
                let known: Vec<&str> = Role::ALL.into_iter().map(Role::as_str).collect();
                found.error(&role.key, format!("unknown role; valid: {}", known.join(", ")), role.example);
                return None;
            }
        }
    }
    if set.is_empty() {
        found.error(&roles_key, "is empty", "roles = [\"viewer\"]");
        return None;
    }
    if set.contains(&Role::Admin) && set.contains(&Role::Approver) {
        found.error(&roles_key, "an admin cannot approve: use two tokens for two people", "roles = [\"approver\"]");
        return None;
    }
    let name: Subject = name?;
    if name.as_str() == AUTOMATION {
        let problem = "`automation` is who starts a run that nobody asked for: people are called otherwise";
        found.error(&format!("{}.name", item.key), problem, "name = \"alice\"");
        return None;
    }
    Some(Token { name, sha256: sha256?, roles: set })
}
