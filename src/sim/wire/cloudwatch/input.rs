//! The three forms of a CloudWatch request, made one: JSON as the generated input types read it.

use serde_json::{Map, Value};
use winterbaume_cloudwatch::wire as generated;

use super::super::encode::Protocol;
use crate::sim::world::ApiFault;

/// Reads a request in the protocol of its client.
///
/// # Errors
/// `SerializationException` for a body that is not of that protocol or not of that operation.
pub(super) fn parsed<T: serde::de::DeserializeOwned>((protocol, body): (Protocol, &[u8])) -> Result<T, ApiFault> {
    let value = match protocol {
        Protocol::Json if body.is_empty() => Value::Object(Map::new()),
        Protocol::Json => serde_json::from_slice(body).map_err(|e| malformed(&e.to_string()))?,
        Protocol::Cbor => from_cbor(body)?,
        Protocol::Query | Protocol::RestXml => from_query(body),
    };
    serde_json::from_value(value).map_err(|e| malformed(&e.to_string()))
}

fn malformed(why: &str) -> ApiFault {
    ApiFault { status: 400, code: "SerializationException", message: why.to_owned() }
}

fn from_cbor(body: &[u8]) -> Result<Value, ApiFault> {
    if body.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let value = ciborium::from_reader(body).map_err(|e| malformed(&e.to_string()))?;
    Ok(generated::cbor_to_json(value))
}

/// `A.member.1.B=x` becomes `{"A": [{"B": "x"}]}`, with numbers, booleans and times as the input types want them.
fn from_query(body: &[u8]) -> Value {
    let mut root = Value::Object(Map::new());
    let mut pairs: Vec<_> = form_urlencoded::parse(body).into_owned().collect();
    // Members in numeric order, so that item 10 does not come before item 2.
    pairs.sort_by_key(|(key, _)| {
        key.split('.')
            .map(|part| part.parse::<u32>().map_or((1, 0, part.to_owned()), |n| (0, n, String::new())))
            .collect::<Vec<_>>()
    });
    for (key, text) in pairs {
        if key == "Action" || key == "Version" {
            continue;
        }
        insert(&mut root, &mut key.split('.').peekable(), &text);
    }
    root
}

fn insert<'a>(at: &mut Value, path: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>, text: &str) {
    let Some(name) = path.next() else {
        return;
    };
    let Some(object) = at.as_object_mut() else {
        return;
    };
    if path.peek() == Some(&"member") {
        path.next();
        let index = path.next().and_then(|i| i.parse::<usize>().ok());
        let list = object.entry(name).or_insert_with(|| Value::Array(Vec::new()));
        let (Some(index), Some(list)) = (index, list.as_array_mut()) else {
            return;
        };
        if path.peek().is_none() {
            list.push(scalar(name, text));
        } else {
            if list.len() < index && list.len() < 10_000 {
                list.push(Value::Object(Map::new()));
            }
            if let Some(last) = list.last_mut() {
                insert(last, path, text);
            }
        }
    } else if path.peek().is_none() {
        object.insert(name.to_owned(), scalar(name, text));
    } else {
        let inner = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
        insert(inner, path, text);
    }
}

fn scalar(name: &str, text: &str) -> Value {
    const INTEGERS: [&str; 6] =
        ["Period", "EvaluationPeriods", "DatapointsToAlarm", "StorageResolution", "MaxDatapoints", "MaxRecords"];
    const FLOATS: [&str; 8] = ["Threshold", "Values", "Counts", "SampleCount", "Sum", "Minimum", "Maximum", "Value"];
    let given = || Value::from(text);
    match name {
        "StartTime" | "EndTime" | "Timestamp" => text
            .parse::<jiff::Timestamp>()
            .map_or_else(|_| given(), |at| Value::from(at.as_millisecond() as f64 / 1_000.0)),
        "ReturnData" | "ActionsEnabled" => text.parse::<bool>().map_or_else(|_| given(), Value::from),
        name if INTEGERS.contains(&name) => text.parse::<i64>().map_or_else(|_| given(), Value::from),
        // `Value` is a number in a datum and a text in a dimension; only the former parses, or the latter by luck.
        name if FLOATS.contains(&name) => text.parse::<f64>().map_or_else(|_| given(), Value::from),
        _ => given(),
    }
}
