//! `[traces]`: where runs are sent as traces. Nowhere, without the section.
//!
//! Invariant: the values of headers are references; a text that is none is not repeated in a fault.

use std::collections::BTreeMap;

use super::notify::{literal, target};
use crate::domain::{
    document::{At, Fields, Findings, clip},
    egress::Egress,
    secret::SecretRef,
};

const ENDPOINT: &str = "endpoint = \"https://collector.example.com:4318\"";
const HEADERS: &str = "headers = { authorization = \"file:/run/secrets/otlp\" }";

/// What OTLP/HTTP adds to the URL of a collector [OTLP 1.x, OTLP/HTTP request].
const PATH: &str = "/v1/traces";

/// The most headers that can be named, and the longest name.
const HEADERS_MAX: usize = 16;
const NAME_CHARS_MAX: usize = 64;

/// What the request itself says.
const OURS: [&str; 6] = ["content-type", "content-length", "host", "connection", "transfer-encoding", "user-agent"];

/// Where traces go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces {
    /// The whole URL to which spans are posted.
    pub url: String,
    /// What is sent beside them, each a secret.
    pub headers: BTreeMap<String, SecretRef>,
}

/// Reads `[traces]`.
pub(super) fn read(f: &mut Option<Fields<'_>>, found: &mut Findings) -> Option<Option<Traces>> {
    let Some(f) = f else { return Some(None) };
    let endpoint = f.need(found, "endpoint", ENDPOINT);
    let headers = f.get(found, "headers", HEADERS);
    let url = endpoint.and_then(|at| url(&at, found));
    let headers = headers.map_or(Some(BTreeMap::new()), |at| self::headers(&at, found));
    Some(Some(Traces { url: url?, headers: headers? }))
}

fn url(at: &At<'_>, found: &mut Findings) -> Option<String> {
    let url = target(at, found)?;
    if url.contains(['?', '#']) {
        found.error(&at.key, "a query is not taken: what the collector wants to know goes into headers", at.example);
        return None;
    }
    let url = url.trim_end_matches('/');
    Some(if url.ends_with(PATH) { url.to_owned() } else { format!("{url}{PATH}") })
}

fn headers(at: &At<'_>, found: &mut Findings) -> Option<BTreeMap<String, SecretRef>> {
    let entries = at.named(found)?;
    if HEADERS_MAX < entries.len() {
        found.error(&at.key, format!("{} headers, at most {HEADERS_MAX} can be named", entries.len()), HEADERS);
        return None;
    }
    let (given, mut all) = (entries.len(), BTreeMap::new());
    for (name, at) in entries {
        let lower = name.to_ascii_lowercase();
        let is_name = (1..=NAME_CHARS_MAX).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        if !is_name || OURS.contains(&lower.as_str()) {
            let problem = format!("`{}` is no header that can be set", clip(name));
            found.error(&at.key, problem, HEADERS);
        }
        let reference = at.parse::<SecretRef>(found);
        if let Some(reference) = reference.filter(|_| is_name)
            && all.insert(lower, reference).is_some()
        {
            found.error(&at.key, "the header stands here twice, in capitals and not", HEADERS);
        }
    }
    (all.len() == given).then_some(all)
}

/// What must hold between the collector and the networks.
pub(super) fn fits(traces: &Traces, egress: &Egress, found: &mut Findings) {
    literal("traces.endpoint", &traces.url, egress, found);
}

#[cfg(test)]
mod tests;
