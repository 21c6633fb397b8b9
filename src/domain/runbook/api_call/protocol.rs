//! The protocol of a call: that of a service that is known, or what the runbook says of it.
//!
//! Invariant: what ends up in a header or in a path is plain: no text of a runbook can add a header or climb a path.

use super::optional;
use crate::domain::{
    api_call::{self, JsonVersion, Lists, Method, Protocol, Wire},
    document::{At, Fields, Findings, clip, did_you_mean},
};

/// The longest path of REST-JSON.
const PATH_CHARS_MAX: usize = 400;

/// What is the same for a call, its probe and its undo.
pub(super) struct Service<'a> {
    pub(super) name: &'a str,
    /// As the runbook has it; `None` where the service is known.
    protocol: Option<&'a str>,
    target: Option<&'a str>,
    json_version: Option<JsonVersion>,
    version: Option<&'a str>,
}

pub(super) fn service<'a>(with: &mut Fields<'a>, found: &mut Findings) -> Option<Service<'a>> {
    let at = with.need(found, "service", "service: ssm");
    let protocol = optional(with, "protocol", "protocol: json", found, |at, found| at.text(found));
    let target = optional(with, "target", "target: AmazonSSM", found, |at, found| api_word(at, found));
    let json_version = optional(with, "json_version", "json_version: \"1.1\"", found, json_version);
    let version = optional(with, "version", "version: \"2016-11-15\"", found, api_word);
    let name = at?.text(found)?;
    Some(Service { name, protocol: protocol?, target: target?, json_version: json_version?, version: version? })
}

fn json_version(at: &At<'_>, found: &mut Findings) -> Option<JsonVersion> {
    match at.text(found)? {
        "1.0" => Some(JsonVersion::V1_0),
        "1.1" => Some(JsonVersion::V1_1),
        _ => {
            found.error(&at.key, "expected \"1.0\" or \"1.1\"", at.example);
            None
        }
    }
}

/// A word of an API: it goes into a header or a form.
fn api_word<'a>(at: &At<'a>, found: &mut Findings) -> Option<&'a str> {
    let text = at.text(found)?;
    let plain = text.len() <= 80 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if !plain {
        found.error(&at.key, "expected letters, digits, `-`, `_` and `.` only", at.example);
    }
    plain.then_some(text)
}

pub(super) fn method(at: &At<'_>, found: &mut Findings) -> Option<Method> {
    let text = at.text(found)?;
    let method = Method::ALL.into_iter().find(|m| m.as_str() == text);
    if method.is_none() {
        found.error(&at.key, "expected GET, PUT, POST, PATCH or DELETE", at.example);
    }
    method
}

pub(super) fn path(at: &At<'_>, found: &mut Findings) -> Option<String> {
    let text = at.text(found)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/{}?&=".contains(&b);
    let balanced = text.matches('{').count() == text.matches('}').count();
    let climbs = text.split(['/', '?']).any(|part| matches!(part, "." | ".."));
    if text.starts_with('/') && text.len() <= PATH_CHARS_MAX && text.bytes().all(plain) && balanced && !climbs {
        return Some(text.to_owned());
    }
    found.error(&at.key, "expected a path that begins with `/`, with arguments as `{Name}`", at.example);
    None
}

/// The protocol of an operation: that of the service, or what the runbook says where the service is not known.
pub(super) fn wire(
    service: &Service<'_>,
    name: &str,
    method: Option<Method>,
    path: Option<String>,
) -> Result<Wire, String> {
    let known = api_call::service(service.name).map(|known| known.protocol);
    let own = |word: &str, given: Option<&str>| match given {
        Some(given) if given != word => Err(format!("`{}` speaks `{word}`, not `{}`", service.name, clip(given))),
        Some(_) | None => Ok(()),
    };
    let rest = || {
        let known = api_call::rest_operation(service.name, name);
        match (method, path, known) {
            (Some(method), Some(path), _) => Ok(Wire::RestJson { method, path }),
            (None, None, Some(known)) => Ok(Wire::RestJson { method: known.method, path: known.path.to_owned() }),
            _ => Err(format!("{}:{name} needs `method` and `path`, as the API reference has them", service.name)),
        }
    };
    match (known, service.protocol) {
        (Some(Protocol::Json { target, version }), given) => {
            own("json", given).map(|()| Wire::Json { target: target.to_owned(), version })
        }
        (Some(Protocol::RestJson), given) => own("rest_json", given).and_then(|()| rest()),
        (Some(Protocol::Query { version, lists }), given) => {
            own("query", given).map(|()| Wire::Query { version: version.to_owned(), lists })
        }
        (None, Some("json")) => match (service.target, service.json_version) {
            (Some(target), Some(version)) => Ok(Wire::Json { target: target.to_owned(), version }),
            _ => {
                Err(format!("`{}` is not known here: `protocol: json` needs `target` and `json_version`", service.name))
            }
        },
        (None, Some("rest_json")) => rest(),
        (None, Some("query")) => match service.version {
            Some(version) => Ok(Wire::Query { version: version.to_owned(), lists: Lists::Member }),
            None => Err(format!("`{}` is not known here: `protocol: query` needs `version`", service.name)),
        },
        (None, other) => {
            let known = api_call::SERVICES.iter().map(|s| s.name);
            let meant = did_you_mean(service.name, known);
            let given = other.map_or_else(String::new, |o| format!(", not `{}`", clip(o)));
            Err(format!(
                "`{}` is not known here: say its `protocol` (json, rest_json or query){given}{meant}",
                service.name
            ))
        }
    }
}
