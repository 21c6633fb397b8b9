//! A call as an HTTP request: awsJson, REST-JSON and the Query protocol.
//!
//! Invariant: every argument is in the request exactly once, and encoded: no argument can become a header, another
//! parameter or another path.

use std::fmt::Write as _;

use aws_smithy_runtime_api::{box_error::BoxError, client::orchestrator::HttpRequest};
use aws_smithy_types::body::SdkBody;
use serde_json::{Map, Value};

use crate::domain::api_call::{ApiCall, Lists, Method, Wire};

/// A request before it has a host and a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Encoded {
    pub(super) method: Method,
    /// Path and query.
    pub(super) path: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

impl Encoded {
    pub(super) fn into_http(self) -> Result<HttpRequest, BoxError> {
        let mut request = HttpRequest::new(SdkBody::from(self.body));
        request.set_method(self.method.as_str())?;
        request.set_uri(self.path)?;
        for (name, value) in self.headers {
            request.headers_mut().try_insert(name, value)?;
        }
        Ok(request)
    }
}

/// `call` as a request.
///
/// # Errors
/// When an argument has a form that the protocol cannot carry.
pub(super) fn encode(call: &ApiCall) -> Result<Encoded, String> {
    let Value::Object(arguments) = &call.arguments else {
        return Err("the arguments are no table".to_owned());
    };
    Ok(match &call.wire {
        Wire::Json { target, version } => Encoded {
            method: Method::Post,
            path: "/".to_owned(),
            headers: vec![
                ("content-type", format!("application/x-amz-json-{}", version.as_str())),
                ("x-amz-target", format!("{target}.{}", call.name())),
            ],
            body: call.arguments.to_string(),
        },
        Wire::RestJson { method, path } => rest_json(*method, path, arguments)?,
        Wire::Query { version, lists } => {
            let mut pairs =
                vec![("Action".to_owned(), call.name().to_owned()), ("Version".to_owned(), version.clone())];
            for (key, value) in arguments {
                flatten(key, value, *lists, &mut pairs)?;
            }
            let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
            Encoded {
                method: Method::Post,
                path: "/".to_owned(),
                headers: vec![("content-type", "application/x-www-form-urlencoded; charset=utf-8".to_owned())],
                body,
            }
        }
    })
}

fn rest_json(method: Method, template: &str, arguments: &Map<String, Value>) -> Result<Encoded, String> {
    let mut rest = arguments.clone();
    let mut path = String::new();
    let mut pieces = template.split('{');
    path.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let (name, after) = piece.split_once('}').ok_or_else(|| format!("`{template}` has an open brace"))?;
        let value = arguments.get(name).and_then(scalar).filter(|v| !v.is_empty());
        path.push_str(&percent_encoded(&value.ok_or_else(|| format!("the path needs the argument `{name}`"))?));
        path.push_str(after);
        rest.shift_remove(name);
    }
    let has_body = !matches!(method, Method::Get | Method::Delete);
    if has_body {
        let headers = vec![("content-type", "application/json".to_owned())];
        return Ok(Encoded { method, path, headers, body: Value::Object(rest).to_string() });
    }
    for (key, value) in &rest {
        let value = scalar(value).ok_or_else(|| format!("`{key}` is neither in the path nor fit for a query"))?;
        let sign = if path.contains('?') { '&' } else { '?' };
        // Writing to a String cannot fail.
        let _ = write!(path, "{sign}{}={}", percent_encoded(key), percent_encoded(&value));
    }
    Ok(Encoded { method, path, headers: Vec::new(), body: String::new() })
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(b) => Some(b.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// What RFC 3986 leaves alone stays; all else is encoded.
fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn flatten(key: &str, value: &Value, lists: Lists, pairs: &mut Vec<(String, String)>) -> Result<(), String> {
    match value {
        Value::Object(map) => map.iter().try_for_each(|(k, v)| flatten(&format!("{key}.{k}"), v, lists, pairs)),
        Value::Array(items) => {
            let member = if lists == Lists::Member { ".member" } else { "" };
            (1..).zip(items).try_for_each(|(n, v)| flatten(&format!("{key}{member}.{n}"), v, lists, pairs))
        }
        Value::Null => Err(format!("`{key}` has no value")),
        Value::String(_) | Value::Number(_) | Value::Bool(_) => {
            pairs.push((key.to_owned(), scalar(value).unwrap_or_default()));
            Ok(())
        }
    }
}
