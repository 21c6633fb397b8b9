//! EC2 as its clients speak to it: the Query protocol in EC2's own way, with lists numbered flat, sets of items and a
//! list of errors.
//!
//! What a call means is the world's. Here its flat parameters become a tree, and its answer XML.

use std::fmt::Write as _;

use serde_json::{Map, Value};
use winterbaume_core::MockResponse;

use super::{call::Call, encode};
use crate::sim::world::{ApiFault, World};

/// [bc:ec2]
const NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";
/// The deepest parameter: `IpPermissions.1.IpRanges.1.CidrIp`.
const DEPTH_MAX: usize = 8;

/// Answers one call.
pub(super) fn handle(world: &mut World, call: &Call) -> MockResponse {
    let answer = arguments(&call.body).and_then(|arguments| {
        let operation = format!("ec2:{}", call.operation);
        world.call_service(&operation, &call.region, &arguments)
    });
    match answer {
        Ok(answer) => {
            let mut inner = String::new();
            xml(&answer, &mut inner);
            let (operation, id) = (&call.operation, encode::REQUEST_ID);
            let body = format!(
                r#"<{operation}Response xmlns="{NAMESPACE}"><requestId>{id}</requestId>{inner}</{operation}Response>"#
            );
            MockResponse::xml(200, body)
        }
        Err(fault) => error(&fault),
    }
}

/// The error document of EC2, which differs from that of the other Query services.
pub(super) fn error(fault: &ApiFault) -> MockResponse {
    let (code, message) = (encode::escaped(fault.code), encode::escaped(&fault.message));
    let id = encode::REQUEST_ID;
    MockResponse::xml(
        fault.status,
        format!(
            "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>\
             <RequestID>{id}</RequestID></Response>"
        ),
    )
}

/// `Filter.1.Value.1=sg-1` as `{"Filter": [{"Value": ["sg-1"]}]}`.
fn arguments(body: &[u8]) -> Result<Value, ApiFault> {
    let mut root = Value::Object(Map::new());
    for (key, value) in form_urlencoded::parse(body) {
        if matches!(key.as_ref(), "Action" | "Version") {
            continue;
        }
        let path: Vec<&str> = key.split('.').collect();
        if DEPTH_MAX < path.len() || put(&mut root, &path, &value).is_none() {
            let message = format!("The parameter {key} is not recognized");
            return Err(ApiFault { status: 400, code: "UnknownParameter", message });
        }
    }
    Ok(root)
}

/// Puts `value` where `path` leads; `None` where something else is there, or a list would have a gap.
fn put(at: &mut Value, path: &[&str], value: &str) -> Option<()> {
    let Some((first, rest)) = path.split_first() else {
        *at = Value::String(value.to_owned());
        return Some(());
    };
    let fresh = || match rest.first() {
        None => Value::Null,
        Some(next) if next.parse::<usize>().is_ok() => Value::Array(Vec::new()),
        Some(_) => Value::Object(Map::new()),
    };
    let next = match at {
        Value::Array(items) => {
            let index = first.parse::<usize>().ok()?.checked_sub(1)?;
            if index == items.len() {
                items.push(fresh());
            }
            items.get_mut(index)?
        }
        Value::Object(map) => map.entry((*first).to_owned()).or_insert_with(fresh),
        _ => return None,
    };
    put(next, rest, value)
}

fn xml(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                // Writing to a String cannot fail.
                let _ = write!(out, "<{name}>");
                xml(value, out);
                let _ = write!(out, "</{name}>");
            }
        }
        Value::Array(items) => {
            for item in items {
                out.push_str("<item>");
                xml(item, out);
                out.push_str("</item>");
            }
        }
        Value::String(text) => out.push_str(&encode::escaped(text)),
        other => out.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn flat_parameters_become_a_tree_and_a_gap_in_a_list_is_refused() {
        let body =
            b"Action=X&GroupId=sg-1&IpPermissions.1.FromPort=5432&IpPermissions.1.IpRanges.1.CidrIp=10.0.0.0%2F8\
            &IpPermissions.1.IpRanges.2.CidrIp=10.1.0.0%2F16&Filter.1.Value.1=a";
        let expected = json!({
            "GroupId": "sg-1",
            "IpPermissions": [{ "FromPort": "5432", "IpRanges": [{ "CidrIp": "10.0.0.0/8" }, { "CidrIp": "10.1.0.0/16" }] }],
            "Filter": [{ "Value": ["a"] }],
        });
        assert_eq!(arguments(body).expect("read"), expected);
        for bad in ["A.2.B=x", "A.1=x&A.B=y", "A=x&A.1=y", "A.0=x"] {
            assert!(arguments(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
