//! The arguments of a call: YAML as JSON, bounded, without secrets, with placeholders that exist and outputs of other
//! steps as holes.

use serde_json::{Number, Value as Json};

use crate::domain::{
    api_call::{fault_of_arguments, texts},
    document::{At, Entry, Findings, Node, Place, Value, clip},
    hole::{self, Hole, Kind},
    runbook::actions::PLACEHOLDERS,
};

pub(super) fn arguments(service: &str, at: &At<'_>, is_call: bool, found: &mut Findings) -> Option<Json> {
    at.fields(found)?;
    let json = match to_json(at.node, true) {
        Ok(json) => json,
        Err((place, fault)) => {
            found.error_at(place, &at.key, fault, at.example);
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

/// `whole`: the table of all arguments, which is no hole itself.
fn to_json(node: &Node, whole: bool) -> Result<Json, (Place, String)> {
    let fault = |text: &str| (node.place, text.to_owned());
    Ok(match &node.value {
        Value::Null => return Err(fault("an argument without a value: leave it out")),
        Value::Bool(b) => Json::from(*b),
        Value::Integer(n) => Json::from(*n),
        Value::Float(n) => {
            Number::from_f64(*n).map(Json::Number).ok_or_else(|| fault("a number that is not finite"))?
        }
        Value::Text(text) => Json::from(text.as_str()),
        Value::List(items) => Json::Array(items.iter().map(|item| to_json(item, false)).collect::<Result<_, _>>()?),
        Value::Table(entries) if !whole && is_hole(entries) => {
            hole(entries).map_err(|problem| (node.place, format!("{problem}, such as {HOLE}")))?.to_json()
        }
        Value::Table(entries) => {
            if entries.iter().any(|e| e.key == hole::KEY) {
                return Err((node.place, format!("`{}` is a name of failoverd's own: an output is {HOLE}", hole::KEY)));
            }
            let pairs = entries.iter().map(|e| Ok((e.key.clone(), to_json(&e.value, false)?)));
            Json::Object(pairs.collect::<Result<_, _>>()?)
        }
    })
}

const HOLE: &str = "{ output: copy.snapshot_id, type: text, chars_max: 63 }";

/// Whether these keys are those of an output of another step. An argument of AWS named `output` has others beside it.
fn is_hole(entries: &[Entry]) -> bool {
    let own = |e: &Entry| matches!(e.key.as_str(), "output" | "type" | "chars_max");
    entries.iter().any(|e| e.key == "output") && entries.iter().all(own)
}

fn hole(entries: &[Entry]) -> Result<Hole, String> {
    let value = |key: &str| entries.iter().find(|e| e.key == key).map(|e| &e.value.value);
    let Some(Value::Text(output)) = value("output") else { return Err("`output` is not STEP.NAME".to_owned()) };
    let parts = output.rsplit_once('.').and_then(|(step, name)| Some((step.parse().ok()?, name)));
    let Some((step, name)) = parts.filter(|(_, name)| !name.is_empty()) else {
        return Err(format!("`{}` is not STEP.NAME", clip(output)));
    };
    let kind = match value("type") {
        None => Kind::Text,
        Some(Value::Text(kind)) => Kind::ALL
            .into_iter()
            .find(|k| k.as_str() == kind)
            .ok_or_else(|| format!("`{}` is none of text, number, boolean", clip(kind)))?,
        Some(_) => return Err("`type` is none of text, number, boolean".to_owned()),
    };
    let most = match value("chars_max") {
        None => hole::CHARS_MAX_DEFAULT,
        Some(Value::Integer(n)) => u64::try_from(*n)
            .ok()
            .filter(|n| (1..=hole::CHARS_MAX).contains(n))
            .ok_or_else(|| format!("`chars_max` is between 1 and {}", hole::CHARS_MAX))?,
        Some(_) => return Err("`chars_max` is a number of characters".to_owned()),
    };
    if kind != Kind::Text && value("chars_max").is_some() {
        return Err("`chars_max` is for a text".to_owned());
    }
    Ok(Hole { step, name: name.to_owned(), kind, chars_max: (kind == Kind::Text).then_some(most) })
}

/// A word in braces that nothing fills in. Other braces are the argument's own: it may be JSON in a text.
pub(super) fn strange_placeholder(text: &str, is_call: bool) -> Option<String> {
    let word = |w: &&str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let known = |w: &str| PLACEHOLDERS.iter().any(|p| p.trim_matches(['{', '}']) == w) || !is_call && w == "handle";
    let words = text.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(word, _)| word).filter(word);
    let strange = words.into_iter().find(|w| !known(w))?;
    let handle = if is_call { "" } else { ", {handle}" };
    Some(format!("`{{{strange}}}` is none of {}{handle}", PLACEHOLDERS.join(", ")))
}
