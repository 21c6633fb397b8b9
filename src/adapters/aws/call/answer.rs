//! What AWS answered, as JSON: awsJson and REST-JSON as they are, the XML of the Query protocol as a tree.
//!
//! Invariant: an answer that is too long, too deep or not what its protocol promises is an error, never an empty answer.
//! XML has no types: everything in it is text, and a list is one where its elements are called `member` or `item`, or
//! where one name stands several times.

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::orchestrator::{HttpResponse, OrchestratorError},
};
use aws_smithy_types::error::metadata::ErrorMetadata;
use quick_xml::{Reader, events::Event};
use serde_json::{Map, Value};

use super::{Answered, Refusal};
use crate::domain::api_call::{ANSWER_BYTES_MAX, Wire};

/// The deepest nesting of XML that is read.
const DEPTH_MAX: usize = 32;

/// Reads a response whole: an answer, or what AWS said in its place.
pub(super) fn read(wire: &Wire, response: &HttpResponse) -> Result<Answered, OrchestratorError<Refusal>> {
    let status = response.status().as_u16();
    let body = response.body().bytes().unwrap_or_default();
    let header = |name: &str| response.headers().get(name);
    let request_id = header("x-amzn-requestid").or_else(|| header("x-amz-request-id")).map(str::to_owned);
    if (200..300).contains(&status) {
        let body = parsed(wire, body).map_err(OrchestratorError::other)?;
        return Ok(Answered { body, request_id });
    }
    let (code, message) = refusal(wire, body, header("x-amzn-errortype"));
    let mut meta = ErrorMetadata::builder();
    if let Some(code) = code {
        meta = meta.code(code);
    }
    if let Some(message) = message {
        meta = meta.message(message);
    }
    if let Some(id) = request_id {
        meta = meta.custom("aws_request_id", id);
    }
    Err(OrchestratorError::operation(Refusal { meta: meta.build() }))
}

fn parsed(wire: &Wire, body: &[u8]) -> Result<Value, BoxError> {
    if ANSWER_BYTES_MAX < body.len() {
        return Err(format!("the answer is {} bytes long; {ANSWER_BYTES_MAX} is the most", body.len()).into());
    }
    match wire {
        Wire::Json { .. } | Wire::RestJson { .. } if body.is_empty() => Ok(Value::Object(Map::new())),
        Wire::Json { .. } | Wire::RestJson { .. } => match serde_json::from_slice(body) {
            Ok(value @ Value::Object(_)) => Ok(value),
            Ok(_) => Err("the answer is JSON, but no object".into()),
            // The place alone: the error's own text could quote the answer.
            Err(e) => Err(format!("the answer is not JSON (line {}, column {})", e.line(), e.column()).into()),
        },
        Wire::Query { .. } => {
            let (name, tree) = xml(body)?;
            if !name.ends_with("Response") {
                return Err("the answer is XML, but no response".into());
            }
            Ok(unwrapped(name.trim_end_matches("Response"), tree))
        }
    }
}

/// `OperationResult` is only a wrapper; the request's id is nobody's output.
fn unwrapped(operation: &str, tree: Value) -> Value {
    let Value::Object(mut map) = tree else { return Value::Object(Map::new()) };
    let _metadata = map.shift_remove("ResponseMetadata");
    let _request_id = map.shift_remove("requestId");
    match map.shift_remove(&format!("{operation}Result")) {
        Some(result @ Value::Object(_)) => result,
        // `<XResult/>`: an answer without members.
        Some(_) => Value::Object(Map::new()),
        None => Value::Object(map),
    }
}

/// The code and the message of a refusal, where they are AWS's: a text of something between us and it has none.
fn refusal(wire: &Wire, body: &[u8], error_type: Option<&str>) -> (Option<String>, Option<String>) {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    if ANSWER_BYTES_MAX < body.len() {
        return (None, None);
    }
    match wire {
        Wire::Json { .. } | Wire::RestJson { .. } => {
            let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
            let code = text(body.get("__type")).or_else(|| text(body.get("code")));
            let code = error_type.map(str::to_owned).or(code).map(|code| bare(&code).to_owned());
            let message = text(body.get("message")).or_else(|| text(body.get("Message")));
            (code.filter(|c| !c.is_empty()), message)
        }
        Wire::Query { .. } => {
            let Ok((_, tree)) = xml(body) else { return (None, None) };
            // EC2 lists its errors; the others have one.
            let listed = tree.pointer("/Errors/Error");
            let error = tree.get("Error").or(listed).map(|e| e.get(0).unwrap_or(e));
            (text(error.and_then(|e| e.get("Code"))), text(error.and_then(|e| e.get("Message"))))
        }
    }
}

/// The code and the message of S3's `<Error>`.
pub(super) fn refusal_in_xml(body: &[u8]) -> (Option<String>, Option<String>) {
    let Some((root, tree)) = (body.len() <= ANSWER_BYTES_MAX).then(|| xml(body).ok()).flatten() else {
        return (None, None);
    };
    let text = |name: &str| tree.get(name).and_then(Value::as_str).map(str::to_owned);
    if root == "Error" { (text("Code"), text("Message")) } else { (None, None) }
}

/// The root element's name, and what is in it, of an answer that is no longer than is read.
pub(super) fn tree(body: &[u8]) -> Result<(String, Value), BoxError> {
    if ANSWER_BYTES_MAX < body.len() {
        return Err(format!("the answer is {} bytes long; {ANSWER_BYTES_MAX} is the most", body.len()).into());
    }
    xml(body)
}

/// `com.amazonaws.ssm#ParameterNotFound` and `ParameterNotFound:http://…` as `ParameterNotFound`.
fn bare(code: &str) -> &str {
    let code = code.rsplit('#').next().unwrap_or(code);
    code.split(':').next().unwrap_or(code).trim()
}

/// An element that is not closed yet.
#[derive(Default)]
struct Open {
    name: String,
    children: Vec<(String, Value)>,
    text: String,
}

/// The root element's name, and what is in it.
fn xml(body: &[u8]) -> Result<(String, Value), BoxError> {
    let mut reader = Reader::from_reader(body);
    reader.config_mut().expand_empty_elements = true;
    let mut open: Vec<Open> = Vec::new();
    let mut root = None;
    loop {
        let event = reader.read_event().map_err(|_| "the answer is not XML")?;
        match event {
            Event::Start(_) if root.is_some() || DEPTH_MAX <= open.len() => {
                return Err("the answer is XML of a form that is not read".into());
            }
            Event::Start(start) => {
                let name = String::from_utf8(start.local_name().as_ref().to_vec())?;
                open.push(Open { name, ..Open::default() });
            }
            Event::Text(text) => {
                if let Some(element) = open.last_mut() {
                    element.text.push_str(&text.unescape().map_err(|_| "the answer's XML has an unknown entity")?);
                }
            }
            Event::CData(text) => {
                if let Some(element) = open.last_mut() {
                    element.text.push_str(std::str::from_utf8(&text)?);
                }
            }
            Event::End(_) => {
                let element = open.pop().ok_or("the answer's XML ends what it did not begin")?;
                let (name, value) = closed(element);
                match open.last_mut() {
                    Some(parent) => parent.children.push((name, value)),
                    None => root = Some((name, value)),
                }
            }
            Event::DocType(_) => return Err("the answer's XML declares a document type".into()),
            Event::Eof => break,
            Event::Empty(_) | Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
        }
    }
    if open.is_empty() {
        root.ok_or_else(|| "the answer is empty".into())
    } else {
        Err("the answer ends in the middle".into())
    }
}

fn closed(element: Open) -> (String, Value) {
    let Open { name, children, text } = element;
    if children.is_empty() {
        return (name, Value::String(text.trim().to_owned()));
    }
    if children.iter().all(|(name, _)| matches!(name.as_str(), "member" | "item")) {
        return (name, children.into_iter().map(|(_, value)| value).collect());
    }
    let mut map: Map<String, Value> = Map::new();
    let mut repeated: Vec<String> = Vec::new();
    for (key, value) in children {
        match map.get_mut(&key) {
            None => {
                map.insert(key, value);
            }
            Some(Value::Array(items)) if repeated.contains(&key) => items.push(value),
            Some(first) => {
                let before = first.take();
                *first = Value::Array(vec![before, value]);
                repeated.push(key);
            }
        }
    }
    (name, Value::Object(map))
}
