//! Answers as a tree of values, and its three forms on the wire: Query XML, awsJson 1.0, and RPC v2 CBOR.
//!
//! CloudWatch speaks all three and SNS one of them. The generated serialisers of the wire crates turn a NaN into
//! null and leave timestamps of the JSON form in CBOR's shape, so answers are written here and checked against
//! the service model by tests/wire/conformance.py.

use std::fmt::Write as _;

use bytes::Bytes;
use winterbaume_core::MockResponse;

use crate::sim::world::{ApiFault, SimTime};

/// A value of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tree {
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Time(SimTime),
    List(Vec<Tree>),
    /// A structure; members in the model's spelling.
    Map(Vec<(&'static str, Tree)>),
    /// A map with keys that the data give.
    Entries(Vec<(String, Tree)>),
}

impl Tree {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
}

/// The protocol that a client speaks, which decides how answers and errors look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Query,
    RestXml,
    Json,
    Cbor,
}

/// The XML namespace of a service's Query and REST-XML answers.
pub(super) fn namespace(service: &str) -> &'static str {
    match service {
        "rds" => "http://rds.amazonaws.com/doc/2014-10-31/",
        "sns" => "http://sns.amazonaws.com/doc/2010-03-31/",
        "monitoring" => "http://monitoring.amazonaws.com/doc/2010-08-01/",
        "iam" => "https://iam.amazonaws.com/doc/2010-05-08/",
        "sts" => "https://sts.amazonaws.com/doc/2011-06-15/",
        _ => "https://route53.amazonaws.com/doc/2013-04-01/",
    }
}

/// A successful answer to `operation`; `None` for operations whose output has no members.
pub(super) fn answer(protocol: Protocol, service: &str, operation: &str, result: Option<&Tree>) -> MockResponse {
    let empty = Tree::Map(Vec::new());
    match protocol {
        Protocol::Json => MockResponse::json(200, json(result.unwrap_or(&empty)).to_string()),
        Protocol::Cbor => MockResponse::cbor(200, cbor(result.unwrap_or(&empty))),
        Protocol::Query | Protocol::RestXml => {
            let mut inner = String::new();
            if let Some(result) = result {
                let _ = write!(inner, "<{operation}Result>");
                xml(result, &mut inner);
                let _ = write!(inner, "</{operation}Result>");
            }
            let ns = namespace(service);
            MockResponse::xml(
                200,
                format!(
                    r#"<{operation}Response xmlns="{ns}">{inner}<ResponseMetadata><RequestId>{REQUEST_ID}</RequestId></ResponseMetadata></{operation}Response>"#
                ),
            )
        }
    }
}

/// Stands in a body for the request's id, which the server knows and puts there.
pub(super) const REQUEST_ID: &str = "00000000-0000-4000-8000-000000000000";

/// An error as the service says it in `protocol`.
pub(super) fn error(protocol: Protocol, service: &str, fault: &ApiFault) -> MockResponse {
    let ApiFault { status, code, message } = fault;
    let kind = if *status < 500 { "Sender" } else { "Receiver" };
    if service == "ec2" {
        return super::ec2::error(fault);
    }
    let mut response = match protocol {
        // S3 has neither a wrapper nor a namespace.
        Protocol::Query | Protocol::RestXml if service == "s3" => {
            let (code, message) = (escaped(code), escaped(message));
            let body = format!(
                r#"<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{message}</Message><RequestId>{REQUEST_ID}</RequestId></Error>"#
            );
            let mut response = MockResponse::xml(*status, body);
            response.headers.insert("x-amz-request-id", axum::http::HeaderValue::from_static("-"));
            return response;
        }
        Protocol::Query | Protocol::RestXml => {
            let ns = namespace(service);
            let (code, message) = (escaped(code), escaped(message));
            return MockResponse::xml(
                *status,
                format!(
                    r#"<ErrorResponse xmlns="{ns}"><Error><Type>{kind}</Type><Code>{code}</Code><Message>{message}</Message></Error><RequestId>{REQUEST_ID}</RequestId></ErrorResponse>"#
                ),
            );
        }
        Protocol::Json | Protocol::Cbor => {
            let tree =
                Tree::Map(vec![("__type", Tree::text(shape(service, code))), ("message", Tree::text(message.clone()))]);
            if protocol == Protocol::Json {
                MockResponse::json(*status, json(&tree).to_string())
            } else {
                MockResponse::cbor(*status, cbor(&tree))
            }
        }
    };
    // REST-JSON tells the error's shape in a header.
    if service == "lambda"
        && let Ok(value) = code.parse()
    {
        response.headers.insert("x-amzn-errortype", value);
    }
    // CloudWatch moved from the Query protocol and tells clients the old code in a header (awsQueryCompatible).
    if service == "monitoring"
        && let Ok(value) = format!("{code};{kind}").parse()
    {
        response.headers.insert("x-amzn-query-error", value);
    }
    response
}

/// The name of the error's shape in the model, where it differs from its Query code.
fn shape(service: &str, code: &str) -> String {
    if service != "monitoring" {
        return code.to_owned();
    }
    let name = match code {
        "InvalidParameterValue" => "InvalidParameterValueException",
        "InvalidParameterCombination" => "InvalidParameterCombinationException",
        "MissingParameter" => "MissingRequiredParameterException",
        "ResourceNotFound" => "ResourceNotFound",
        "LimitExceeded" => "LimitExceededFault",
        "InvalidNextToken" => "InvalidNextToken",
        "InternalServiceError" => "InternalServiceFault",
        other => other,
    };
    format!("com.amazonaws.cloudwatch#{name}")
}

/// A time as HTTP's headers have it.
pub(super) fn http_date(at: SimTime) -> String {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(at.0).unwrap_or(i64::MAX));
    at.map_or_else(|_| String::new(), |at| at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
}

/// A time as AWS writes it in XML, with milliseconds.
pub(super) fn iso(at: SimTime) -> String {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(at.0).unwrap_or(i64::MAX));
    at.map_or_else(|_| String::new(), |at| format!("{at:.3}"))
}

fn seconds(at: SimTime) -> f64 {
    at.0 as f64 / 1_000.0
}

/// `text` with what XML gives a meaning escaped.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

fn xml(tree: &Tree, out: &mut String) {
    let write_in = |out: &mut String, name: &str, value: &Tree| {
        let _ = write!(out, "<{name}>");
        xml(value, out);
        let _ = write!(out, "</{name}>");
    };
    match tree {
        Tree::Text(text) => out.push_str(&escaped(text)),
        Tree::Int(value) => drop(write!(out, "{value}")),
        Tree::Float(value) => drop(write!(out, "{value}")),
        Tree::Bool(value) => drop(write!(out, "{value}")),
        Tree::Time(at) => out.push_str(&iso(*at)),
        Tree::List(items) => items.iter().for_each(|v| write_in(out, "member", v)),
        Tree::Map(members) => members.iter().for_each(|(k, v)| write_in(out, k, v)),
        Tree::Entries(entries) => {
            for (key, value) in entries {
                out.push_str("<entry><key>");
                out.push_str(&escaped(key));
                out.push_str("</key>");
                write_in(out, "value", value);
                out.push_str("</entry>");
            }
        }
    }
}

fn json(tree: &Tree) -> serde_json::Value {
    use serde_json::Value;
    match tree {
        Tree::Text(text) => Value::from(text.as_str()),
        Tree::Int(value) => Value::from(*value),
        // JSON has no NaN: the AWS protocols write it as a string.
        Tree::Float(value) if value.is_nan() => Value::from("NaN"),
        Tree::Float(value) => Value::from(*value),
        Tree::Bool(value) => Value::from(*value),
        Tree::Time(at) => Value::from(seconds(*at)),
        Tree::List(items) => Value::Array(items.iter().map(json).collect()),
        Tree::Map(members) => {
            members.iter().map(|(k, v)| ((*k).to_owned(), json(v))).collect::<serde_json::Map<_, _>>().into()
        }
        Tree::Entries(entries) => {
            entries.iter().map(|(k, v)| (k.clone(), json(v))).collect::<serde_json::Map<_, _>>().into()
        }
    }
}

fn cbor(tree: &Tree) -> Bytes {
    let mut out = Vec::new();
    write_cbor(tree, &mut out);
    out.into()
}

fn write_cbor(tree: &Tree, out: &mut Vec<u8>) {
    let write_text = |text: &str, out: &mut Vec<u8>| {
        head(3, text.len() as u64, out);
        out.extend_from_slice(text.as_bytes());
    };
    match tree {
        Tree::Text(text) => write_text(text, out),
        Tree::Int(value) if *value < 0 => head(1, value.unsigned_abs() - 1, out),
        Tree::Int(value) => head(0, value.unsigned_abs(), out),
        Tree::Float(value) => float(*value, out),
        Tree::Bool(value) => out.push(if *value { 0xf5 } else { 0xf4 }),
        Tree::Time(at) => {
            head(6, 1, out);
            float(seconds(*at), out);
        }
        Tree::List(items) => {
            head(4, items.len() as u64, out);
            items.iter().for_each(|item| write_cbor(item, out));
        }
        Tree::Map(members) => {
            head(5, members.len() as u64, out);
            for (key, value) in members {
                write_text(key, out);
                write_cbor(value, out);
            }
        }
        Tree::Entries(entries) => {
            head(5, entries.len() as u64, out);
            for (key, value) in entries {
                write_text(key, out);
                write_cbor(value, out);
            }
        }
    }
}

fn float(value: f64, out: &mut Vec<u8>) {
    out.push(0xfb);
    out.extend_from_slice(&value.to_be_bytes());
}

/// A CBOR head: major type and argument (RFC 8949, section 3).
fn head(major: u8, argument: u64, out: &mut Vec<u8>) {
    let major = major << 5;
    let bytes = argument.to_be_bytes();
    match argument {
        0..24 => out.push(major | bytes[7]),
        24..0x100 => out.extend_from_slice(&[major | 24, bytes[7]]),
        0x100..0x1_0000 => {
            out.push(major | 25);
            out.extend_from_slice(&bytes[6..]);
        }
        0x1_0000..0x1_0000_0000 => {
            out.push(major | 26);
            out.extend_from_slice(&bytes[4..]);
        }
        _ => {
            out.push(major | 27);
            out.extend_from_slice(&bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cbor_is_that_of_rfc_8949() {
        let hex = |tree: Tree| hex::encode(cbor(&tree));
        assert_eq!(hex(Tree::Int(-1000)), "3903e7");
        assert_eq!(hex(Tree::Int(1_000_000)), "1a000f4240");
        assert_eq!(hex(Tree::Float(1.1)), "fb3ff199999999999a");
        assert_eq!(hex(Tree::Float(f64::NAN)), "fb7ff8000000000000");
        assert_eq!(hex(Tree::Map(vec![("a", Tree::List(vec![Tree::Bool(true)]))])), "a1616181f5");
        assert_eq!(hex(Tree::Time(SimTime(1_500))), "c1fb3ff8000000000000");
    }

    #[test]
    fn xml_escapes_what_it_must() {
        let mut out = String::new();
        xml(&Tree::Map(vec![("A", Tree::text("<&>\""))]), &mut out);
        assert_eq!(out, "<A>&lt;&amp;&gt;&quot;</A>");
        assert_eq!(iso(SimTime(1_500)), "1970-01-01T00:00:01.500Z");
    }
}
