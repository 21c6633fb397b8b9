//! Outputs of other steps as arguments of an `aws.call`: named, typed, bounded holes of a plan (DESIGN.md 3), and what
//! fills them.
//!
//! Invariants: a hole stands in the plan as itself, and so in the digest that an approver approves; the intent has the
//! value. It is filled by the outputs that the journal has of a step that is done, as a value of its type and never as a
//! piece of text (FAULTS.md 93), the same for a call, for what is looked at after it and for what takes it back. Where
//! there is no such value nothing is sent. A word that looks like a hole in a value is no hole: it is filled once.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    action::Action,
    api_call::{ApiCall, AwsCall, fault_of_arguments},
    id::StepId,
    run::{RunState, StepState},
};

/// The key under which a hole stands in the arguments of a plan. No runbook writes it.
pub const KEY: &str = "$output";

/// The longest text that fills a hole whose runbook says nothing: an ARN has at most some 200 characters.
pub const CHARS_MAX_DEFAULT: u64 = 256;

/// The longest text that fills any hole: the longest ARN [AWS General Reference].
pub const CHARS_MAX: u64 = 2_048;

/// What fills a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Text,
    Number,
    Boolean,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Text, Self::Number, Self::Boolean];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

/// An output of another step, where an argument stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hole {
    pub step: StepId,
    pub name: String,
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The longest text, in characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chars_max: Option<u64>,
}

impl Hole {
    /// As it stands in the arguments.
    pub fn to_json(&self) -> Value {
        json!({ KEY: self })
    }

    /// The hole that `value` is.
    pub fn of(value: &Value) -> Option<Self> {
        let only = value.as_object().filter(|map| map.len() == 1)?.get(KEY)?;
        serde_json::from_value(only.clone()).ok()
    }

    /// `copy.snapshot_id, text of at most 256 characters`, for people.
    pub fn told(&self) -> String {
        let bound = self.chars_max.map_or_else(String::new, |most| format!(" of at most {most} characters"));
        format!("{}.{}, {}{bound}", self.step, self.name, self.kind.as_str())
    }

    /// Whether `value` may fill it.
    ///
    /// # Errors
    /// Why not, as half a sentence. The value itself is not told: it is an answer of AWS.
    pub fn fits(&self, value: &Value) -> Result<(), String> {
        self.kind.fits(self.chars_max, value)
    }
}

impl Kind {
    /// Whether `value` is one, of at most so many characters where it is a text.
    ///
    /// # Errors
    /// Why not, as half a sentence. The value itself is not told: it is an answer of AWS.
    pub fn fits(self, chars_max: Option<u64>, value: &Value) -> Result<(), String> {
        let most = chars_max.unwrap_or(CHARS_MAX);
        match (self, value) {
            (Self::Text, Value::String(text)) => {
                let chars = text.chars().count() as u64;
                if text.is_empty() {
                    Err("is an empty text".to_owned())
                } else if most < chars {
                    Err(format!("has {chars} characters; {most} is the most"))
                } else if text.chars().any(char::is_control) {
                    Err("holds control characters".to_owned())
                } else {
                    Ok(())
                }
            }
            (Self::Number, Value::Number(_)) | (Self::Boolean, Value::Bool(_)) => Ok(()),
            (kind, other) => {
                let is = match other {
                    Value::Null => "nothing",
                    Value::Bool(_) => "a boolean",
                    Value::Number(_) => "a number",
                    Value::String(_) => "a text",
                    Value::Array(_) => "a list",
                    Value::Object(_) => "a table",
                };
                Err(format!("is {is}, and a {} is needed", kind.as_str()))
            }
        }
    }
}

/// Every hole of `value`, in its order.
pub fn holes(value: &Value) -> Vec<Hole> {
    if let Some(hole) = Hole::of(value) {
        return vec![hole];
    }
    match value {
        Value::Array(items) => items.iter().flat_map(holes).collect(),
        Value::Object(map) => map.values().flat_map(holes).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

/// `value` with each hole replaced by what `with` has for it.
///
/// # Errors
/// That of the first hole for which there is none.
pub fn replaced<E>(value: &Value, with: &impl Fn(&Hole) -> Result<Value, E>) -> Result<Value, E> {
    if let Some(hole) = Hole::of(value) {
        return with(&hole);
    }
    Ok(match value {
        Value::Array(items) => Value::Array(items.iter().map(|item| replaced(item, with)).collect::<Result<_, E>>()?),
        Value::Object(map) => {
            let pairs = map.iter().map(|(key, item)| Ok((key.clone(), replaced(item, with)?)));
            Value::Object(pairs.collect::<Result<_, E>>()?)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    })
}

/// The requests of a call: itself, what is looked at after it, what is read for it before, and the same of what takes it
/// back.
pub fn requests(call: &AwsCall) -> Vec<&ApiCall> {
    let read = call.done_when.iter().filter_map(|done| done.read.as_ref());
    let undo = call.undo.iter().flat_map(|undo| requests(undo));
    let before = call.restores.iter().map(|restores| &restores.read);
    std::iter::once(&call.request).chain(read).chain(before).chain(undo).collect()
}

/// Every hole of `action`.
pub fn holes_of(action: &Action) -> Vec<Hole> {
    match action {
        Action::AwsCall { call } => requests(call).into_iter().flat_map(|request| holes(&request.arguments)).collect(),
        _ => Vec::new(),
    }
}

impl RunState {
    /// `action` with its holes filled by what the run has put out so far; `None`: it has no holes.
    ///
    /// # Errors
    /// Why one cannot be filled, as a sentence.
    pub fn filled(&self, action: &Action) -> Result<Option<Action>, String> {
        let Action::AwsCall { call } = action else { return Ok(None) };
        if holes_of(action).is_empty() {
            return Ok(None);
        }
        Ok(Some(Action::AwsCall { call: Box::new(self.filled_call(call)?) }))
    }

    fn filled_call(&self, call: &AwsCall) -> Result<AwsCall, String> {
        let mut call = call.clone();
        call.request = self.filled_request(&call.request)?;
        if let Some(read) = call.done_when.as_mut().and_then(|done| done.read.as_mut()) {
            *read = self.filled_request(read)?;
        }
        if let Some(restores) = &mut call.restores {
            restores.read = self.filled_request(&restores.read)?;
        }
        if let Some(undo) = &mut call.undo {
            **undo = self.filled_call(undo)?;
        }
        Ok(call)
    }

    fn filled_request(&self, request: &ApiCall) -> Result<ApiCall, String> {
        let arguments = replaced(&request.arguments, &|hole| self.output(hole))?;
        match fault_of_arguments(request.service(), &arguments) {
            Some(fault) => Err(format!("{}: {fault}", request.operation)),
            None => Ok(ApiCall { arguments, ..request.clone() }),
        }
    }

    fn output(&self, hole: &Hole) -> Result<Value, String> {
        let told = |what: &str| format!("the output `{}` of `{}` {what}", hole.name, hole.step);
        match self.steps.get(&hole.step) {
            Some(StepState::Done { outputs, .. }) => {
                let value = outputs
                    .get(&hole.name)
                    .ok_or_else(|| told("is not there: what it was to be taken from had none"))?;
                hole.fits(value).map_err(|why| told(&why))?;
                Ok(value.clone())
            }
            Some(StepState::Skipped { .. }) => Err(told("is not there: the step was passed over")),
            Some(StepState::Failed { .. }) => Err(told("is not there: the step failed")),
            _ => Err(told("is not there yet")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hole(kind: Kind) -> Hole {
        let chars_max = (kind == Kind::Text).then_some(8);
        Hole { step: "copy".parse().expect("an id"), name: "it".to_owned(), kind, chars_max }
    }

    #[test]
    fn a_hole_is_filled_by_a_value_of_its_type_within_its_bound_or_not_at_all() {
        for (kind, value, fits) in [
            (Kind::Text, json!("snap-1"), true),
            (Kind::Text, json!("12345678"), true),
            (Kind::Text, json!("123456789"), false),
            (Kind::Text, json!(""), false),
            (Kind::Text, json!("a\nb"), false),
            (Kind::Text, json!(7), false),
            (Kind::Number, json!(7), true),
            (Kind::Number, json!("7"), false),
            (Kind::Boolean, json!(false), true),
            (Kind::Boolean, json!(null), false),
            (Kind::Text, json!({ "a": 1 }), false),
        ] {
            assert_eq!(hole(kind).fits(&value).is_ok(), fits, "{kind:?} {value}");
        }
    }

    #[test]
    fn what_fills_a_hole_is_one_value_and_is_not_read_again() {
        let at = hole(Kind::Text).to_json();
        let whole = json!({ "Tags": [{ "Key": "from", "Value": at }], "Other": { "$output": 1, "b": 2 } });
        assert_eq!(holes(&whole), [hole(Kind::Text)]);
        let text = json!("{target}{\"$output\":1}");
        let filled = replaced(&whole, &|_| Ok::<_, ()>(text.clone())).expect("filled");
        assert_eq!(filled["Tags"][0]["Value"], text);
        assert_eq!(filled["Other"], whole["Other"], "what only looks like one is left alone");
    }
}
