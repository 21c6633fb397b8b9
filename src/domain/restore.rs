//! What an `aws.call` puts back of itself (`undo: restore`): what is read before its first effect, and how that stands in
//! the call back.
//!
//! Invariants: what is put back is what was read, each value of the type that the call writes there and within its bound;
//! what was not read, or does not fit, is not guessed: there is no call back then. The plan has the place that a value is
//! read from, and so the digest that an approver approves; the value is journalled with the intent. What could be a secret
//! is refused by its name, and, where only an answer tells, before it is journalled.
//!
//! Deliberately not here: making what was not there go away again. That is another call, which a runbook writes out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    action::Action,
    api_call::{ApiCall, AwsCall, fault_of_arguments},
    hole::Kind,
    id::StepId,
    run::RunState,
    undo::Prior,
};

/// The key under which a place stands in the arguments of a plan. No runbook writes it.
pub const KEY: &str = "$before";

/// The most values that one step puts back.
pub const VALUES_MAX: usize = 8;

/// A writing operation, the operation that reads the same, and where in its answer the arguments of the first stand.
type Pair = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// [SSM API: GetParameter; Lambda API: GetFunctionConcurrency; ECS API: DescribeServices]
const KNOWN: [Pair; 3] = [
    ("ssm:PutParameter", "ssm:GetParameter", &[("Value", "/Parameter/Value")]),
    (
        "lambda:PutFunctionConcurrency",
        "lambda:GetFunctionConcurrency",
        &[("ReservedConcurrentExecutions", "/ReservedConcurrentExecutions")],
    ),
    ("ecs:UpdateService", "ecs:DescribeServices", &[("desiredCount", "/services/0/desiredCount")]),
];

/// Parts of a place, without their case, under which secrets are kept.
const SECRET_PLACES: [&str; 4] = ["environment", "variables", "secretstring", "password"];

/// Where `write` puts what it replaces, as `read` answers: by argument, a JSON pointer. `None`: not known here.
pub fn known(write: &str, read: &str) -> Option<BTreeMap<String, String>> {
    let (_, _, values) = KNOWN.iter().find(|(w, r, _)| *w == write && *r == read)?;
    Some(values.iter().map(|(argument, at)| ((*argument).to_owned(), (*at).to_owned())).collect())
}

/// Why nothing may be read from `at`, or put back as `argument`: it could be a secret.
pub fn fault_of_place(argument: &str, at: &str) -> Option<String> {
    let names = at.split('/').chain([argument]);
    let secret = names.into_iter().find(|name| {
        let name = name.to_ascii_lowercase();
        SECRET_PLACES.iter().any(|place| name.contains(place)) || name.contains("secret") || name.contains("token")
    })?;
    Some(format!(
        "`{secret}` could hold a secret, and what was there before is journalled: write out a call that takes this back \
         without it"
    ))
}

/// Where a value of the call back is read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// A JSON pointer into the answer.
    pub at: String,
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The longest text, in characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chars_max: Option<u64>,
}

impl Before {
    /// As it stands in the arguments.
    pub fn to_json(&self) -> Value {
        json!({ KEY: self })
    }

    /// The place that `value` is.
    pub fn of(value: &Value) -> Option<Self> {
        let only = value.as_object().filter(|map| map.len() == 1)?.get(KEY)?;
        serde_json::from_value(only.clone()).ok()
    }
}

/// What is read before the first effect of a call, and the arguments of the call back that it fills.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Restores {
    /// A call that only reads.
    pub read: ApiCall,
    /// By argument.
    pub values: BTreeMap<String, Before>,
}

impl Restores {
    /// What `answer` has of each argument. What AWS says is not there is `null`.
    ///
    /// # Errors
    /// Why it cannot be put back, as half a sentence. No value is told.
    pub fn taken(&self, answer: &Value) -> Result<BTreeMap<String, Value>, String> {
        let asked = &self.read.operation;
        if answer.is_null() {
            return Err(format!("{asked} says that it is not there, and no call puts nothing back"));
        }
        // The answer is encrypted then, and putting that back would be another secret.
        if answer.pointer("/Parameter/Type").is_some_and(|kind| kind == "SecureString") {
            return Err(format!("{asked} answers with a SecureString: a secret is not journalled"));
        }
        let value = |(argument, before): (&String, &Before)| {
            let told = |what: String| format!("{argument} {what}");
            let value =
                answer.pointer(&before.at).ok_or_else(|| told(format!("is not at {} of its answer", before.at)))?;
            before.kind.fits(before.chars_max, value).map_err(told)?;
            Ok((argument.clone(), value.clone()))
        };
        let taken: BTreeMap<String, Value> = self.values.iter().map(value).collect::<Result<_, String>>()?;
        match fault_of_arguments(self.read.service(), &json!(taken)) {
            Some(fault) => Err(format!("{asked}: {fault}")),
            None => Ok(taken),
        }
    }

    /// Whether `answer` has what `arguments` say of each value.
    ///
    /// # Errors
    /// Why that cannot be told, as half a sentence.
    pub fn shows(&self, answer: &Value, arguments: &Value) -> Result<bool, String> {
        let taken = self.taken(answer)?;
        Ok(taken.iter().all(|(argument, value)| arguments.get(argument) == Some(value)))
    }

    /// `Value, desiredCount`, for people.
    pub fn told(&self) -> String {
        self.values.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

impl AwsCall {
    /// This, a call back, with what was read before the step; itself where it puts back nothing that was read.
    ///
    /// # Errors
    /// Why there is no such call, as a sentence.
    pub fn put_back(&self, read: Option<&BTreeMap<String, Value>>) -> Result<Self, String> {
        let Some(restores) = &self.restores else { return Ok(self.clone()) };
        let unseen = "what was there before was not seen when the step began, and is not guessed";
        let read = read.ok_or(unseen)?;
        let mut back = self.clone();
        let arguments = back.request.arguments.as_object_mut().ok_or("the call back has no arguments")?;
        for (argument, before) in &restores.values {
            let value = read.get(argument).ok_or(unseen)?;
            before.kind.fits(before.chars_max, value).map_err(|why| format!("{argument} as it was before {why}"))?;
            arguments.insert(argument.clone(), value.clone());
        }
        match fault_of_arguments(back.request.service(), &back.request.arguments) {
            Some(fault) => Err(format!("{}: {fault}", back.request.operation)),
            None => Ok(back),
        }
    }
}

impl RunState {
    /// What `step`, an `aws.call`, sends, with every argument that it has.
    ///
    /// # Errors
    /// Why that is not known, as a sentence.
    pub fn sent_by(&self, step: &StepId) -> Result<AwsCall, String> {
        let planned = self.plan.step(step).ok_or("the plan has no such step")?;
        let action = self.filled(&planned.action)?.unwrap_or_else(|| planned.action.clone());
        match action {
            Action::AwsCall { call } => Ok(*call),
            other => Err(format!("{} writes out no call", other.kind())),
        }
    }

    /// The call that takes `step` back as `back` says, with what was read before its first effect.
    pub(super) fn put_back(&self, step: &StepId, back: &AwsCall) -> Result<AwsCall, String> {
        let made = self.unwind.made.get(step).and_then(|calls| calls.get(&0));
        let read = made.and_then(|made| match &made.prior {
            Some(Prior::Answer { values }) => Some(values),
            _ => None,
        });
        back.put_back(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::api_call::{JsonVersion, Wire};

    fn restores() -> Restores {
        let read = ApiCall {
            operation: "ssm:GetParameter".to_owned(),
            region: "us-west-2".parse().expect("a Region"),
            wire: Wire::Json { target: "AmazonSSM".to_owned(), version: JsonVersion::V1_1 },
            arguments: json!({ "Name": "/payments/writer" }),
            role_arn: None,
            handle: None,
        };
        let before = Before { at: "/Parameter/Value".to_owned(), kind: Kind::Text, chars_max: Some(8) };
        Restores { read, values: [("Value".to_owned(), before)].into() }
    }

    fn answer(value: Value) -> Value {
        json!({ "Parameter": { "Name": "/payments/writer", "Value": value, "Version": 3 } })
    }

    #[test]
    fn what_is_taken_is_of_its_type_within_its_bound_and_no_secret() {
        let taken = restores().taken(&answer(json!("there"))).expect("taken");
        assert_eq!(taken, BTreeMap::from([("Value".to_owned(), json!("there"))]));
        let mut encrypted = answer(json!("AQICAH"));
        encrypted["Parameter"]["Type"] = json!("SecureString");
        for (answer, says) in [
            (Value::Null, "not there"),
            (json!({ "Parameter": {} }), "is not at /Parameter/Value"),
            (answer(json!(7)), "is a number"),
            (answer(json!("")), "an empty text"),
            (answer(json!("123456789")), "9 characters"),
            (answer(json!({ "a": 1 })), "is a table"),
            (encrypted, "SecureString"),
        ] {
            let why = restores().taken(&answer).expect_err("refused");
            assert!(why.contains(says), "{why}");
        }
        let mut longer = restores();
        longer.values.get_mut("Value").expect("it").chars_max = Some(64);
        let why = longer.taken(&answer(json!("AKIAIOSFODNN7EXAMPLE"))).expect_err("a key");
        assert!(why.contains("access key"), "{why}");
    }

    #[test]
    fn places_that_could_hold_a_secret_are_refused_by_name() {
        for (argument, at) in [
            ("Environment", "/Environment/Variables/A"),
            ("Value", "/Environment/Variables/DB_PASSWORD"),
            ("MasterUserPassword", "/x"),
            ("Value", "/SecretString"),
            ("AuthToken", "/x"),
        ] {
            assert!(fault_of_place(argument, at).is_some(), "{argument} {at}");
        }
        for (_, _, values) in KNOWN {
            for (argument, at) in values {
                assert_eq!(fault_of_place(argument, at), None);
            }
        }
    }

    #[test]
    fn what_is_unclear_is_neither_the_same_nor_another() {
        let shows = |answer: &Value| restores().shows(answer, &json!({ "Value": "there" }));
        assert_eq!(shows(&answer(json!("there"))), Ok(true));
        assert_eq!(shows(&answer(json!("here"))), Ok(false));
        assert!(shows(&json!({})).is_err() && shows(&Value::Null).is_err());
    }
}
