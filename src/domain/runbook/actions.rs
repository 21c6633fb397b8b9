//! The actions that a runbook may name, and how the `with` of each is read.

use std::{collections::BTreeMap, time::Duration};

use super::{Act, MechanismKind, ProbeAt, STEP_TIMEOUT_MAX, api_call, fences, gates, probes, salvage};
use crate::domain::{
    document::{At, Fields, Findings, Node, Value, clip, did_you_mean},
    expression,
    plan::Towards,
};

mod aurora;
mod faults;
mod signals;
mod weights;
pub(super) use weights::{UNKNOWN_FOR, names as signal_names};

/// Every action of this version.
pub(super) const ACTIONS: [&str; 38] = [
    "aurora.switchover",
    "aurora.failover",
    "aurora.detach",
    "aurora.add_instance",
    "aurora.preserve_snapshot",
    "aurora.wait",
    "aurora.verify_writer",
    "gate.target",
    "gate.rpo",
    "gate.capacity",
    "gate.quota",
    "gate.replication",
    "dns.flip",
    "dns.routing_controls",
    "dns.health_signal",
    "dns.standby_object",
    "dns.records",
    "dns.weights",
    "dns.verify",
    "probe.http",
    "probe.tcp",
    "probe.postgres",
    "probe.signal",
    "fence.application",
    "fence.security_group",
    "fence.connections",
    "fence.event",
    "fence.write_must_fail",
    "fault.lambda_variable",
    "salvage.snapshot",
    "salvage.conflicts",
    "salvage.objects",
    "notify",
    "approve",
    "wait",
    "assert",
    "call",
    "aws.call",
];

/// Actions that the language knows and this version does not have: refused by name, never ignored.
const NOT_BUILT: [&str; 1] = ["undo"];

/// The longest text of a message; SNS carries 256 KiB, a pager shows far less.
const MESSAGE_CHARS_MAX: usize = 2_000;

/// What a text may hold in braces.
pub(super) const PLACEHOLDERS: [&str; 4] = ["{application}", "{purpose}", "{source}", "{target}"];

const MINUTE: Duration = Duration::from_mins(1);
const SECOND: Duration = Duration::from_secs(1);

/// Reads what a step does from its `action` and its `with`.
pub(super) fn act(action: &At<'_>, with: Option<&At<'_>>, found: &mut Findings) -> Option<Act> {
    let name = action.text(found)?;
    if NOT_BUILT.contains(&name) {
        found.coded("runbook-not-built", &action.key, format!("`{name}` is not in this version"), "");
        return None;
    }
    if !ACTIONS.contains(&name) {
        let meant = did_you_mean(name, ACTIONS.iter().copied());
        let problem = format!("unknown action `{}`; valid: {}{meant}", clip(name), ACTIONS.join(", "));
        found.coded("runbook-unknown-action", &action.key, problem, "action: probe.http");
        return None;
    }
    let nothing = Node { place: action.node.place, value: Value::Table(Vec::new()) };
    let key = action.key.trim_end_matches("action");
    let empty = At { node: &nothing, key: format!("{key}with"), example: "" };
    let mut fields = with.unwrap_or(&empty).fields(found)?;
    let act = read(name, &mut fields, found);
    fields.finish(found);
    act
}

fn read(name: &str, with: &mut Fields<'_>, found: &mut Findings) -> Option<Act> {
    Some(match name {
        "aurora.switchover" => Act::AuroraSwitchover { store: store(with, found)? },
        "aurora.failover" => Act::AuroraFailover { store: store(with, found)? },
        "aurora.detach" => Act::AuroraDetach { store: store(with, found)? },
        "aurora.preserve_snapshot" => aurora::preserve_snapshot(store(with, found)?, with, found)?,
        "aurora.add_instance" => aurora::add_instance(store(with, found)?, with, found)?,
        "aurora.verify_writer" => Act::AuroraVerifyWriter { store: store(with, found)? },
        "aurora.wait" => Act::AuroraWait {
            store: store(with, found)?,
            synchronized: flag(with, "synchronized", "synchronized: true", found)?.unwrap_or(true),
        },
        "gate.target" => Act::GateTarget {
            store: store(with, found)?,
            lossless: flag(with, "lossless", "lossless: true", found)?,
            any_engine: flag(with, "any_engine", "any_engine: true", found)?.unwrap_or(false),
        },
        "gate.rpo" => Act::GateRpo {
            store: store(with, found)?,
            limit: match with.get(found, "limit", "limit: 5s") {
                Some(at) => Some(at.duration(found, Duration::ZERO, STEP_TIMEOUT_MAX)?),
                None => None,
            },
        },
        "gate.capacity" => gates::capacity(store(with, found)?, with, found)?,
        "gate.quota" => gates::quota(with, found)?,
        "gate.replication" => gates::replication(store(with, found)?, with, found)?,
        "dns.flip" => flip(with, None, found)?,
        "dns.routing_controls" => flip(with, Some(MechanismKind::RoutingControls), found)?,
        "dns.health_signal" => flip(with, Some(MechanismKind::HealthSignal), found)?,
        "dns.standby_object" => flip(with, Some(MechanismKind::StandbyObject), found)?,
        "dns.records" => flip(with, Some(MechanismKind::Records), found)?,
        "dns.weights" => weights::read(with, found)?,
        "dns.verify" => Act::DnsVerify { via: via(with, found)? },
        "probe.http" => probe(with, found)?,
        "probe.tcp" => probes::tcp(with, found)?,
        "probe.postgres" => probes::postgres(store(with, found)?, with, found)?,
        "probe.signal" => signals::read(with, found)?,
        "fence.application" => fences::application(with, found)?,
        "fence.security_group" => fences::security_group(store(with, found)?, with, found)?,
        "fence.connections" => fences::connections(store(with, found)?, with, found)?,
        "fence.event" => fences::event(store(with, found)?, with, found)?,
        "fence.write_must_fail" => fences::write_must_fail(store(with, found)?, with, found)?,
        "fault.lambda_variable" => faults::lambda_variable(with, found)?,
        "salvage.snapshot" | "salvage.conflicts" | "salvage.objects" => {
            salvage::read(name, store(with, found)?, with, found)?
        }
        "notify" => notify(with, found)?,
        "approve" => approve(with, found)?,
        "wait" => Act::Wait {
            duration: with.need(found, "duration", "duration: 2m")?.duration(
                found,
                SECOND,
                STEP_TIMEOUT_MAX - MINUTE,
            )?,
        },
        "assert" => assertion(with, found)?,
        "aws.call" => Act::AwsCall { template: Box::new(api_call::read(with, found)?) },
        "call" => call(with, found)?,
        other => unreachable!("`{other}` is in ACTIONS"),
    })
}

/// `None`: faulty. `Some(None)`: not given.
fn store(with: &mut Fields<'_>, found: &mut Findings) -> Option<Option<crate::domain::id::StoreName>> {
    match with.get(found, "store", "store: orders") {
        Some(at) => at.parse(found).map(Some),
        None => Some(None),
    }
}

fn via(with: &mut Fields<'_>, found: &mut Findings) -> Option<Option<crate::domain::id::TrafficName>> {
    match with.get(found, "via", "via: api") {
        Some(at) => at.parse(found).map(Some),
        None => Some(None),
    }
}

fn flag(with: &mut Fields<'_>, key: &'static str, example: &'static str, found: &mut Findings) -> Option<Option<bool>> {
    match with.get(found, key, example) {
        Some(at) => at.boolean(found).map(Some),
        None => Some(None),
    }
}

fn flip(with: &mut Fields<'_>, demands: Option<MechanismKind>, found: &mut Findings) -> Option<Act> {
    Some(Act::DnsFlip { via: via(with, found)?, demands })
}

fn probe(with: &mut Fields<'_>, found: &mut Findings) -> Option<Act> {
    let url = with.get(found, "url", "url: https://api.example.com/health");
    let endpoint = with.get(found, "endpoint", "endpoint: target");
    let public = with.get(found, "public", "public: true");
    let status = with.get(found, "expect_status", "expect_status: 200");
    let rhythm = probes::rhythm(with, found);
    let after_ttl = with.get(found, "after_ttl", "after_ttl: true");
    let at = match (&url, &endpoint, &public) {
        (Some(url), None, None) => web_address(url, found).map(ProbeAt::Url),
        (None, Some(endpoint), None) => match endpoint.text(found)? {
            "target" => Some(ProbeAt::Target),
            "source" => Some(ProbeAt::Source),
            _ => {
                found.error(&endpoint.key, "expected `target` or `source`", endpoint.example);
                None
            }
        },
        (None, None, Some(public)) => match public.boolean(found)? {
            true => Some(ProbeAt::Public),
            false => {
                found.error(&public.key, "leave it out instead of saying false", public.example);
                None
            }
        },
        _ => {
            found.error(&with.key, "give exactly one of `url`, `endpoint` and `public`", "with: { endpoint: target }");
            None
        }
    };
    let status = match status {
        Some(s) => s.count(found, 100, 599).and_then(|n| u16::try_from(n).ok()),
        None => Some(200),
    };
    let after_ttl = after_ttl.map_or(Some(false), |a| a.boolean(found));
    Some(Act::ProbeHttp {
        at: at?,
        expect_status: status?,
        consecutive: rhythm.consecutive?,
        interval: rhythm.interval?,
        probe_timeout: rhythm.timeout?,
        after_ttl: after_ttl?,
    })
}

/// A URL with a scheme that is probed and a host; the rest is the server's affair.
pub(crate) fn is_web_address(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|r| !r.is_empty() && !r.starts_with(['/', ':', '?', '#']) && !r.contains(['@', ' ', '\\']))
        && text.chars().all(|c| c.is_ascii_graphic())
        && text.len() <= 2_000
}

fn web_address(at: &At<'_>, found: &mut Findings) -> Option<String> {
    let text = at.text(found)?;
    if is_web_address(text) {
        return Some(text.to_owned());
    }
    found.error(&at.key, "expected a URL that begins with http:// or https:// and names no user", at.example);
    None
}

fn message(at: &At<'_>, found: &mut Findings) -> Option<String> {
    let text = at.text(found)?;
    let chars = text.chars().count();
    if chars > MESSAGE_CHARS_MAX {
        found.error(&at.key, format!("is {chars} characters long; the limit is {MESSAGE_CHARS_MAX}"), at.example);
        return None;
    }
    let bare = PLACEHOLDERS.iter().fold(text.to_owned(), |t, p| t.replace(p, ""));
    if let Some(brace) = brace(&bare) {
        let problem = format!("holds `{}`, which is none of {}", clip(brace), PLACEHOLDERS.join(", "));
        found.error(&at.key, problem, at.example);
        return None;
    }
    Some(text.to_owned())
}

/// The first brace of `text`, with what it encloses.
fn brace(text: &str) -> Option<&str> {
    let from = text.find(['{', '}'])?;
    let rest = &text[from..];
    let end = if rest.starts_with('{') { rest.find('}').map_or(rest.len(), |end| end + 1) } else { 1 };
    Some(&rest[..end])
}

fn notify(with: &mut Fields<'_>, found: &mut Findings) -> Option<Act> {
    let subject = with.get(found, "subject", "subject: \"{application}: {purpose} begins\"");
    let text = with.need(found, "message", "message: \"{application} moves to {target}.\"");
    let subject = match subject {
        Some(at) => Some(message(&at, found)?),
        None => None,
    };
    Some(Act::Notify { subject, message: message(&text?, found)? })
}

fn approve(with: &mut Fields<'_>, found: &mut Findings) -> Option<Act> {
    let count = with.get(found, "count", "count: 1");
    let expires = with.get(found, "expires_after", "expires_after: 15m");
    let reason = with.get(found, "reason", "reason: Writes may be lost.");
    let count = count.map_or(Some(1), |c| c.count(found, 1, 5));
    let expires = expires.map_or(Some(15 * MINUTE), |e| e.duration(found, MINUTE, STEP_TIMEOUT_MAX - MINUTE));
    let reason = match reason {
        Some(at) => message(&at, found)?,
        None => "This cannot be taken back.".to_owned(),
    };
    Some(Act::Approve { count: count?, expires_after: expires?, reason })
}

fn assertion(with: &mut Fields<'_>, found: &mut Findings) -> Option<Act> {
    let that = with.need(found, "that", "that: \"accepted_loss_seconds != null\"");
    let text = with.need(found, "message", "message: No loss was accepted.");
    let that = that.and_then(|at| condition(&at, found));
    Some(Act::Assert { message: message(&text?, found)?, that: that? })
}

/// What is called is looked for later, where all runbooks are at hand.
fn call(with: &mut Fields<'_>, found: &mut Findings) -> Option<Act> {
    let runbook = with.need(found, "runbook", "runbook: prove-target");
    let arguments = with.get(found, "arguments", "arguments: { consecutive: 5 }");
    let towards = with.get(found, "towards", "towards: source");
    let runbook = runbook.and_then(|at| at.parse(found));
    let arguments = match arguments {
        None => Some(BTreeMap::new()),
        Some(at) => match &at.node.value {
            Value::Table(entries) => Some(entries.iter().map(|e| (e.key.clone(), e.value.clone())).collect()),
            _ => {
                found.error(&at.key, "expected a table of names", at.example);
                None
            }
        },
    };
    let towards = match towards {
        None => Some(Towards::Target),
        Some(at) => match at.text(found) {
            Some("target") => Some(Towards::Target),
            Some("source") => Some(Towards::Source),
            Some(_) => {
                found.error(&at.key, "expected `target` (there) or `source` (back)", at.example);
                None
            }
            None => None,
        },
    };
    Some(Act::Call { runbook: runbook?, arguments: arguments?, towards: towards? })
}

/// A CEL expression that is valid.
pub(super) fn condition(at: &At<'_>, found: &mut Findings) -> Option<String> {
    let text = at.text(found)?;
    match expression::check(text) {
        Ok(_) => Some(text.to_owned()),
        Err(e) => {
            found.coded("expression-invalid", &at.key, e.to_string(), "\"purpose == 'failover'\"");
            None
        }
    }
}
