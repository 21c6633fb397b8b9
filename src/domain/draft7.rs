//! What of a JSON Schema our own generators use, for tests: whether a document fits.
//!
//! It deliberately knows no other word, and panics at one: a schema that says more is not checked by this.

use serde_json::Value as Json;

use super::{
    document::{Findings, Node, Value},
    yaml,
};

fn json(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(b) => (*b).into(),
        Value::Integer(n) => (*n).into(),
        Value::Float(n) => (*n).into(),
        Value::Text(t) => t.as_str().into(),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Table(entries) => entries.iter().map(|e| (e.key.clone(), json(&e.value))).collect(),
    }
}

pub(crate) fn as_json(text: &str) -> Json {
    json(&yaml::parse(text, &mut Findings::new("", "")).expect("YAML"))
}

/// What of `value` the schema refuses: the part of draft 7 that the generator uses; any other word is a panic.
pub(crate) fn refused(schema: &Json, value: &Json, at: &str) -> Vec<String> {
    let Json::Object(words) = schema else {
        return if schema == &Json::Bool(false) { vec![format!("{at}: must not be")] } else { Vec::new() };
    };
    let ok = |s: &Json| refused(s, value, at).is_empty();
    let mut out = Vec::new();
    let list = |v: &Json| v.as_array().cloned().unwrap_or_default();
    for (word, rule) in words {
        let holds = match word.as_str() {
            "$schema" | "title" | "description" | "then" | "else" => true,
            "type" => match rule.as_str().expect("a type") {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "integer" => value.is_i64(),
                "number" => value.is_number(),
                "boolean" => value.is_boolean(),
                other => panic!("type {other}"),
            },
            "const" => value == rule,
            "enum" => list(rule).contains(value),
            "anyOf" => list(rule).iter().any(ok),
            "oneOf" => list(rule).iter().filter(|s| ok(s)).count() == 1,
            "allOf" => list(rule).iter().all(ok),
            "if" => ok(words.get(if ok(rule) { "then" } else { "else" }).unwrap_or(&Json::Bool(true))),
            "required" => list(rule).iter().all(|k| value.get(k.as_str().unwrap()).is_some()),
            "additionalProperties" => {
                let known = words.get("properties").and_then(Json::as_object).cloned().unwrap_or_default();
                let more = value.as_object().into_iter().flatten().filter(|(k, _)| !known.contains_key(*k));
                match rule {
                    Json::Bool(allowed) => *allowed || more.count() == 0,
                    rule => {
                        out.extend(more.flat_map(|(k, v)| refused(rule, v, &format!("{at}.{k}"))));
                        true
                    }
                }
            }
            "properties" => {
                for (key, rule) in rule.as_object().unwrap() {
                    out.extend(value.get(key).into_iter().flat_map(|v| refused(rule, v, &format!("{at}.{key}"))));
                }
                true
            }
            "items" => {
                let items = list(value);
                out.extend(items.iter().enumerate().flat_map(|(i, v)| refused(rule, v, &format!("{at}[{i}]"))));
                true
            }
            "pattern" => {
                let pattern = regex::Regex::new(rule.as_str().expect("a pattern")).expect("a pattern");
                value.as_str().is_none_or(|text| pattern.is_match(text))
            }
            "minItems" => value.as_array().is_none_or(|all| rule.as_u64().unwrap() <= all.len() as u64),
            "maxItems" => list(value).len() as u64 <= rule.as_u64().unwrap(),
            "minLength" => value.as_str().is_none_or(|s| rule.as_u64().unwrap() <= s.len() as u64),
            "minimum" => value.as_f64().is_none_or(|v| rule.as_f64().unwrap() <= v),
            "maximum" => value.as_f64().is_none_or(|v| v <= rule.as_f64().unwrap()),
            "exclusiveMinimum" => value.as_f64().is_none_or(|v| rule.as_f64().unwrap() < v),
            other => panic!("the schema says `{other}`, which this test does not know"),
        };
        if !holds {
            out.push(format!("{at}: {word}"));
        }
    }
    out
}
