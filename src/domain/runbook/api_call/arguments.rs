//! The arguments of a call: YAML as JSON, bounded, without secrets, with placeholders that exist.

use serde_json::{Number, Value as Json};

use crate::domain::{
    api_call::{fault_of_arguments, texts},
    document::{At, Findings, Node, Value},
    runbook::actions::PLACEHOLDERS,
};

pub(super) fn arguments(service: &str, at: &At<'_>, is_call: bool, found: &mut Findings) -> Option<Json> {
    at.fields(found)?;
    let json = match to_json(at.node) {
        Ok(json) => json,
        Err(fault) => {
            found.error(&at.key, fault, at.example);
            return None;
        }
    };
    let fault = fault_of_arguments(service, &json)
        .or_else(|| texts(&json).into_iter().find_map(|text| strange_placeholder(text, is_call)));
    if let Some(fault) = fault {
        found.error(&at.key, fault, at.example);
        return None;
    }
    Some(json)
}

fn to_json(node: &Node) -> Result<Json, String> {
    Ok(match &node.value {
        Value::Null => return Err("an argument without a value: leave it out".to_owned()),
        Value::Bool(b) => Json::from(*b),
        Value::Integer(n) => Json::from(*n),
        Value::Float(n) => Number::from_f64(*n).map(Json::Number).ok_or("a number that is not finite")?,
        Value::Text(text) => Json::from(text.as_str()),
        Value::List(items) => Json::Array(items.iter().map(to_json).collect::<Result<_, _>>()?),
        Value::Table(entries) => {
            let pairs = entries.iter().map(|e| Ok((e.key.clone(), to_json(&e.value)?)));
            Json::Object(pairs.collect::<Result<_, String>>()?)
        }
    })
}

/// A word in braces that nothing fills in. Other braces are the argument's own: it may be JSON in a text.
fn strange_placeholder(text: &str, is_call: bool) -> Option<String> {
    let word = |w: &&str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let known = |w: &str| PLACEHOLDERS.iter().any(|p| p.trim_matches(['{', '}']) == w) || !is_call && w == "handle";
    let words = text.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(word, _)| word).filter(word);
    let strange = words.into_iter().find(|w| !known(w))?;
    let handle = if is_call { "" } else { ", {handle}" };
    Some(format!("`{{{strange}}}` is none of {}{handle}", PLACEHOLDERS.join(", ")))
}
