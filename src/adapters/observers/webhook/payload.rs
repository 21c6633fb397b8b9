//! What a notice looks like on each webhook. Documented with an example each in docs/notifications.md, which a test holds.

use aws_lc_rs::hmac;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::domain::notice::{Notice, Severity};

/// The newest form of the generic payload. What is added to it is no new one.
pub const SCHEMA_VERSION: u32 = 1;

/// PagerDuty's longest `dedup_key` and `summary`.
const DEDUP_KEY_CHARS_MAX: usize = 255;

/// Slack's mrkdwn has three characters that mean something: without this a reason could mention everybody.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Slack's incoming webhook. `text` is what a phone shows.
pub fn slack(notice: &Notice, link: Option<&str>) -> Value {
    let mark = match notice.severity {
        Severity::Page => ":rotating_light:",
        Severity::Ticket => ":warning:",
        Severity::Info => ":information_source:",
    };
    let headline = format!("{mark} {}", escaped(&notice.headline));
    let mut blocks = vec![json!({"type": "section", "text": {"type": "mrkdwn", "text": format!("*{headline}*")}})];
    if !notice.facts.is_empty() {
        let lines: Vec<_> =
            notice.facts.iter().map(|fact| format!("*{}*: {}", escaped(&fact.name), escaped(&fact.value))).collect();
        // A section takes 3,000 characters.
        let text: String = lines.join("\n").chars().take(2_900).collect();
        blocks.push(json!({"type": "section", "text": {"type": "mrkdwn", "text": text}}));
    }
    if !notice.next.is_empty() {
        let text = format!("*Next*: {}", escaped(&notice.next));
        blocks.push(json!({"type": "section", "text": {"type": "mrkdwn", "text": text}}));
    }
    let link =
        link.map_or_else(|| escaped(&notice.path), |link| format!("<{}|{}>", escaped(link), escaped(&notice.path)));
    let foot = format!("{link} · {} · {:.0} · {}", notice.kind.as_str(), notice.at, escaped(notice.id.as_str()));
    blocks.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": foot}]}));
    json!({"text": headline, "blocks": blocks})
}

/// PagerDuty's Events API v2: the incident's key is the `dedup_key`, so that a message that comes twice is one alert.
pub fn pagerduty(notice: &Notice, link: Option<&str>, routing_key: &str) -> Value {
    let severity = match notice.severity {
        Severity::Page => "critical",
        Severity::Ticket => "warning",
        Severity::Info => "info",
    };
    let details: serde_json::Map<String, Value> = notice
        .facts
        .iter()
        .map(|fact| (fact.name.clone(), json!(fact.value)))
        .chain([("next".to_owned(), json!(notice.next)), ("id".to_owned(), json!(notice.id))])
        .collect();
    let dedup_key: String = notice.incident.key.chars().take(DEDUP_KEY_CHARS_MAX).collect();
    json!({
        "routing_key": routing_key,
        "event_action": notice.incident.act.as_str(),
        "dedup_key": dedup_key,
        "client": "failoverd",
        "client_url": link,
        "payload": {
            "summary": notice.headline,
            "source": notice.application,
            "severity": severity,
            "timestamp": notice.at,
            "component": notice.application,
            "group": "failoverd",
            "class": notice.kind.as_str(),
            "custom_details": details,
        },
        "links": link.map(|href| vec![json!({"href": href, "text": notice.path})]).unwrap_or_default(),
    })
}

/// The whole notice: what a generic webhook gets, and the `detail` of an event on EventBridge.
pub fn generic(notice: &Notice, link: Option<&str>) -> Value {
    json!({
        "schema": SCHEMA_VERSION,
        "id": notice.id,
        "application": notice.application,
        "at": notice.at,
        "severity": notice.severity,
        "kind": notice.kind,
        "headline": notice.headline,
        "facts": notice.facts,
        "next": notice.next,
        "run": notice.run,
        "link": link,
        "incident": notice.incident,
    })
}

/// The headers that prove who sent `body`, and when: `v1=` and HMAC-SHA256, in hexadecimal, of the time in seconds since
/// 1970, a full stop and the body.
pub fn signature(key: &str, at: Timestamp, body: &str) -> Vec<(&'static str, String)> {
    let seconds = at.as_second().to_string();
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    let tag = hmac::sign(&key, format!("{seconds}.{body}").as_bytes());
    vec![("failoverd-timestamp", seconds), ("failoverd-signature", format!("v1={}", hex::encode(tag.as_ref())))]
}
