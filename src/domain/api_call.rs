//! Any other call to AWS (`aws.call`): the request, what it does to the world, and how one knows that it was done.
//!
//! Invariant: an [`ApiCall`] is complete: service, Region, operation, protocol and every argument stand in it, so that
//! it can be journalled, approved and compared; only `{handle}` in a probe is filled in later, from the journal.
//! Deliberately not here: HTTP, signatures and answers (the adapter's), and any wish to merge with what is there: a call
//! that replaces a whole (Lambda's environment) replaces it whole.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    action::{EffectClass, Facts},
    expression,
    id::Region,
    restore::Restores,
};

mod rules;
mod services;

pub use rules::{ARGUMENTS_BYTES_MAX, ARGUMENTS_DEPTH_MAX, fault_of_arguments, fault_of_operation, is_passing};
pub use services::{Protocol, REST_OPERATIONS, RestOperation, SERVICES, Service, rest_operation, service};

/// The longest answer that is read and looked at, in bytes: the largest honest one of the calls that a runbook makes (a
/// page of a listing) is far below (FAULTS.md 57).
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Stands in the arguments of a probe for the handle of the call that it follows.
pub const HANDLE: &str = "{handle}";

/// The longest text of a handle that is kept: it goes into journals.
pub const HANDLE_CHARS_MAX: usize = 2_048;

/// One request to AWS, complete to the last argument.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApiCall {
    /// `service:Operation`, as in IAM's actions: `ssm:PutParameter`.
    pub operation: String,
    /// Whose endpoint is called, and whom the signature is for.
    pub region: Region,
    pub wire: Wire,
    /// A JSON object. In a path of REST-JSON `{Name}` takes the argument of that name.
    pub arguments: Value,
    /// The role to assume for it, by its ARN, through the STS of `region`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// Where in the answer the name of what was begun stands, as a JSON pointer: `/executionArn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<String>,
}

/// How a request looks on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "protocol", rename_all = "snake_case")]
pub enum Wire {
    /// awsJson 1.0 or 1.1: the operation in `X-Amz-Target: TARGET.Operation`.
    Json { target: String, version: JsonVersion },
    /// REST-JSON: a method and a path, which may have a query.
    RestJson { method: Method, path: String },
    /// The Query protocol of an API version.
    Query { version: String, lists: Lists },
}

/// The two versions of awsJson; they differ in the content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum JsonVersion {
    #[serde(rename = "1.0")]
    V1_0,
    #[serde(rename = "1.1")]
    V1_1,
}

impl JsonVersion {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1_0 => "1.0",
            Self::V1_1 => "1.1",
        }
    }
}

/// How the Query protocol numbers the items of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lists {
    /// `Names.member.1`
    Member,
    /// `GroupId.1`, as EC2 and RDS do it.
    Flat,
}

/// The methods of REST-JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    Get,
    Put,
    Post,
    Patch,
    Delete,
}

impl Method {
    pub const ALL: [Self; 5] = [Self::Get, Self::Put, Self::Post, Self::Patch, Self::Delete];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// What is done when an answer is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnknown {
    /// The declared postcondition is looked at until the step's time is over.
    Observe,
    /// A person looks.
    Hold,
}

/// What must be seen before the step counts as done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DoneWhen {
    /// A call that only reads. `None`: the answer of the call itself, which then only reads too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<ApiCall>,
    /// A CEL expression over `answer` and the run's facts.
    pub that: String,
}

/// A call with what it declares about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AwsCall {
    pub request: ApiCall,
    pub effect: EffectClass,
    /// Whether sending it twice is as good as sending it once. A read always is.
    pub idempotent: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_when: Option<DoneWhen>,
    pub on_unknown: OnUnknown,
    /// What later steps may use: name → JSON pointer into the answer that was looked at.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, String>,
    /// What takes it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Box<AwsCall>>,
    /// Of a call that takes another back: what it puts back is read before the other's first effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restores: Option<Box<Restores>>,
}

/// Whether an answer shows what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Holds,
    No,
    /// The expression has no value for this answer; never read as "no".
    Unclear {
        why: String,
    },
}

impl ApiCall {
    /// The service, as its endpoint and its signature name it.
    pub fn service(&self) -> &str {
        self.operation.split_once(':').map_or(self.operation.as_str(), |(service, _)| service)
    }

    /// The operation without its service.
    pub fn name(&self) -> &str {
        self.operation.split_once(':').map_or(self.operation.as_str(), |(_, name)| name)
    }

    /// Whether it can be asked only once the handle of the call before it is known.
    pub fn needs_handle(&self) -> bool {
        texts(&self.arguments).into_iter().any(|text| text.contains(HANDLE))
    }

    /// The same with the handle filled in.
    #[must_use]
    pub fn with_handle(&self, handle: &str) -> Self {
        Self { arguments: replaced(&self.arguments, &|text| text.replace(HANDLE, handle)), ..self.clone() }
    }

    /// The handle that `answer` holds, where one was declared. Text and numbers only, and not without end.
    pub fn handle_in(&self, answer: &Value) -> Option<String> {
        let handle = match answer.pointer(self.handle.as_deref()?)? {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
        };
        (handle.chars().count() <= HANDLE_CHARS_MAX).then_some(handle)
    }

    /// The names that the path takes from the arguments.
    pub fn in_path(&self) -> BTreeSet<&str> {
        match &self.wire {
            Wire::RestJson { path, .. } => names_in(path),
            Wire::Json { .. } | Wire::Query { .. } => BTreeSet::new(),
        }
    }
}

impl DoneWhen {
    /// What `answer` shows. What AWS says is not there is `null`.
    pub fn judge(&self, answer: &Value, facts: &Facts) -> Seen {
        match expression::evaluate_answer(&self.that, answer, facts) {
            Ok(true) => Seen::Holds,
            Ok(false) => Seen::No,
            // Nothing is there, and the expression speaks of a thing: that thing is not there.
            Err(expression::ExprError::Evaluation(_)) if answer.is_null() => Seen::No,
            Err(error) => Seen::Unclear { why: format!("`{}` {error}", self.that) },
        }
    }
}

impl AwsCall {
    /// Whether it only looks.
    pub fn is_read(&self) -> bool {
        self.effect == EffectClass::Read
    }

    /// The outputs that `answer` holds; what is not there is not an output.
    pub fn outputs_of(&self, answer: &Value) -> BTreeMap<String, Value> {
        let found = |(name, pointer): (&String, &String)| Some((name.clone(), answer.pointer(pointer)?.clone()));
        self.outputs.iter().filter_map(found).collect()
    }
}

/// The names in braces of a path: `/functions/{FunctionName}`.
pub(crate) fn names_in(path: &str) -> BTreeSet<&str> {
    path.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name).collect()
}

/// Every text in `value`, keys excepted.
pub(crate) fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(map) => map.values().flat_map(texts).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// `value` with every text in it changed by `fill`.
pub(crate) fn replaced(value: &Value, fill: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(fill(text)),
        Value::Array(items) => items.iter().map(|item| replaced(item, fill)).collect(),
        Value::Object(map) => map.iter().map(|(key, item)| (key.clone(), replaced(item, fill))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests;
