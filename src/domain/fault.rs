//! A fault that a drill puts into the primary on purpose and takes out again: one variable of a Lambda function
//! (docs/adr/0019-a-fault-on-purpose.md).
//!
//! Invariants: of a function's variables only the one that the runbook names is ever written down, and of that one only
//! the two texts that the runbook holds: whatever else it says may be a secret, and so may the others. The variable is
//! changed only from what the runbook says is there, so that what is put back is what was there; and the function's
//! revision is compared, so that nobody else's change is lost.
//! It sends nothing and asks nothing: answers are arguments.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    api_call::{ApiCall, Method, Wire},
    cloud::Mutation,
    id::Region,
};

/// The longest value: a switch, not a document. Lambda takes 4 KiB for all variables together [bc:lambda].
pub const VALUE_CHARS_MAX: usize = 256;

/// One variable of a function.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FunctionVariable {
    pub region: Region,
    pub function: String,
    pub variable: String,
}

/// A resolved `fault.lambda_variable`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    pub at: FunctionVariable,
    /// What breaks the function.
    pub broken: String,
    /// What the variable holds when all is well; `None`: there is no such variable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normal: Option<String>,
    /// It takes the fault out; else it puts it in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mends: bool,
}

impl Fault {
    /// The same fault, taken out.
    #[must_use]
    pub fn mended(&self) -> Self {
        Self { mends: true, ..self.clone() }
    }

    /// Whether `other` is the same fault, whichever way.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.at, &self.broken, &self.normal) == (&other.at, &other.broken, &other.normal)
    }

    /// What the variable is to hold afterwards.
    pub fn wanted(&self) -> Option<&str> {
        if self.mends { self.normal.as_deref() } else { Some(&self.broken) }
    }

    /// What it must hold before.
    pub fn expected(&self) -> Option<&str> {
        if self.mends { Some(&self.broken) } else { self.normal.as_deref() }
    }

    /// The one call.
    pub fn mutation(&self) -> Mutation {
        Mutation::LambdaVariable {
            at: self.at.clone(),
            from: self.expected().map(str::to_owned),
            to: self.wanted().map(str::to_owned),
        }
    }

    /// What `seen` says of the variable, in words that hold no secret.
    pub fn says(&self, seen: &Seen) -> String {
        let FunctionVariable { region, function, variable } = &self.at;
        let held = match seen.value.as_deref() {
            None => format!("has no variable {variable}"),
            Some(value) if value == self.broken => format!("holds {variable}={value}"),
            Some(value) if Some(value) == self.normal.as_deref() => format!("holds {variable}={value}"),
            Some(_) => format!("holds {variable}, and neither of the two values that the runbook names"),
        };
        format!("function {function} in {region} {held}; {} other variable(s)", seen.others)
    }
}

/// What a function's configuration says of one variable.
#[derive(Clone, PartialEq, Eq)]
pub struct Seen {
    pub value: Option<String>,
    /// How many others there are.
    pub others: usize,
    /// An update is in progress: what is said is not served everywhere yet.
    pub is_updating: bool,
}

/// Asks for a function's configuration.
pub fn describe(at: &FunctionVariable) -> ApiCall {
    lambda(at, "GetFunctionConfiguration", Method::Get, json!({ "FunctionName": at.function }))
}

fn lambda(at: &FunctionVariable, operation: &str, method: Method, arguments: Value) -> ApiCall {
    ApiCall {
        operation: format!("lambda:{operation}"),
        region: at.region.clone(),
        wire: Wire::RestJson { method, path: "/2015-03-31/functions/{FunctionName}/configuration".to_owned() },
        arguments,
        role_arn: None,
        handle: None,
    }
}

/// What `answer`, to [`describe`], says.
///
/// # Errors
/// Why it says nothing, without a word of what it holds.
pub fn seen(answer: &Value, variable: &str) -> Result<Seen, String> {
    let variables = variables(answer)?;
    let value = variables.get(variable).and_then(Value::as_str).map(str::to_owned);
    let others = variables.len() - usize::from(value.is_some());
    // What a function without a status is in the middle of is not known.
    let status = answer.get("LastUpdateStatus").and_then(Value::as_str);
    match status {
        Some("Successful") => Ok(Seen { value, others, is_updating: false }),
        Some("InProgress") => Ok(Seen { value, others, is_updating: true }),
        Some("Failed") => Err("the function's last update has failed".to_owned()),
        Some(_) | None => Err("the function's LastUpdateStatus is not one that is known".to_owned()),
    }
}

fn variables(answer: &Value) -> Result<Map<String, Value>, String> {
    let environment = match answer.get("Environment") {
        // A function without variables has none.
        None | Some(Value::Null) => return Ok(Map::new()),
        Some(environment) => environment,
    };
    // Where the caller may not use the key, Lambda answers without the variables and says why here: writing then would
    // take them all away.
    if environment.get("Error").is_some_and(|error| !error.is_null()) {
        return Err(
            "Lambda does not show the variables (Environment.Error): the role lacks kms:Decrypt, or the key is \
                    not usable"
                .to_owned(),
        );
    }
    match environment.get("Variables") {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(map)) if map.values().all(Value::is_string) => Ok(map.clone()),
        Some(_) => Err("the function's variables are no map of texts".to_owned()),
    }
}

/// What is to be sent, given what is there.
#[derive(Clone, PartialEq)]
pub enum Merge {
    /// The variable holds what is wanted.
    IsSo,
    /// The whole environment as it was read, with this one variable changed, for this very revision: Lambda refuses it
    /// where anybody has changed the function since. Not to be journalled or logged: it holds every variable.
    Send(Box<ApiCall>),
}

/// Why nothing is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    pub code: &'static str,
    pub why: String,
}

/// The code of a variable that does not hold what the call expects.
pub const DRIFT: &str = "VariableDrift";
/// The code of a configuration that cannot be merged.
pub const UNREADABLE: &str = "EnvironmentUnreadable";

/// Makes the call that changes the one variable and carries all others, from `answer` to [`describe`].
///
/// # Errors
/// Why there is none, without a word of what the variables hold.
pub fn merge(answer: &Value, at: &FunctionVariable, from: Option<&str>, to: Option<&str>) -> Result<Merge, Unfit> {
    let mut all = variables(answer).map_err(|why| Unfit { code: UNREADABLE, why })?;
    let revision = answer.get("RevisionId").and_then(Value::as_str).filter(|id| !id.is_empty());
    let Some(revision) = revision else {
        return Err(Unfit { code: UNREADABLE, why: "the function's configuration names no RevisionId".to_owned() });
    };
    let held = all.get(&at.variable).and_then(Value::as_str);
    if held == to {
        return Ok(Merge::IsSo);
    }
    if held != from {
        let why = format!("{} of {} does not hold what the plan expects there", at.variable, at.function);
        return Err(Unfit { code: DRIFT, why });
    }
    match to {
        Some(value) => all.insert(at.variable.clone(), json!(value)),
        None => all.remove(&at.variable),
    };
    let arguments = json!({
        "FunctionName": at.function,
        "Environment": { "Variables": all },
        "RevisionId": revision,
    });
    Ok(Merge::Send(Box::new(lambda(at, "UpdateFunctionConfiguration", Method::Put, arguments))))
}

/// Whether `text` is the name of a variable that a function may have [bc:lambda.Environment].
pub fn is_variable(text: &str) -> bool {
    let mut chars = text.chars();
    (2..=64).contains(&text.len())
        && chars.next().is_some_and(|c| c.is_ascii_alphabetic())
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !text.to_ascii_uppercase().starts_with("AWS_")
}

/// Whether `text` is the name of a function.
pub fn is_function(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault() -> Fault {
        let at = FunctionVariable {
            region: "us-east-1".parse().expect("a Region"),
            function: "payments-api".to_owned(),
            variable: "FAILOVERD_FAULT".to_owned(),
        };
        Fault { at, broken: "fail".to_owned(), normal: None, mends: false }
    }

    fn answer(variables: Value) -> Value {
        json!({ "Environment": { "Variables": variables }, "RevisionId": "r-7", "LastUpdateStatus": "Successful" })
    }

    fn merged(answer: &Value, fault: &Fault) -> Result<Merge, Unfit> {
        merge(answer, &fault.at, fault.expected(), fault.wanted())
    }

    fn sent(merge: Result<Merge, Unfit>) -> Value {
        match merge {
            Ok(Merge::Send(call)) => call.arguments,
            Ok(Merge::IsSo) => panic!("nothing is sent"),
            Err(unfit) => panic!("{unfit:?}"),
        }
    }

    #[test]
    fn every_other_variable_is_carried_and_the_revision_is_compared() {
        let there = answer(json!({ "DB_PASSWORD": "s3cret", "LEVEL": "info" }));
        let call = sent(merged(&there, &fault()));
        let all = json!({ "DB_PASSWORD": "s3cret", "LEVEL": "info", "FAILOVERD_FAULT": "fail" });
        assert_eq!(call["Environment"]["Variables"], all);
        assert_eq!(call["RevisionId"], "r-7");
        let back = sent(merged(&answer(all), &fault().mended()));
        assert_eq!(back["Environment"]["Variables"], json!({ "DB_PASSWORD": "s3cret", "LEVEL": "info" }));
        let none = sent(merged(&json!({ "RevisionId": "r-1" }), &fault()));
        assert_eq!(none["Environment"]["Variables"], json!({ "FAILOVERD_FAULT": "fail" }));
    }

    #[test]
    fn variables_that_are_not_shown_are_never_overwritten() {
        let hidden = json!({
            "Environment": { "Error": { "ErrorCode": "AccessDeniedException", "Message": "kms" } }, "RevisionId": "r-7",
        });
        let unread = merged(&hidden, &fault()).err().expect("hidden is not empty");
        assert_eq!(unread.code, UNREADABLE);
        assert!(seen(&hidden, "FAILOVERD_FAULT").is_err());
        let odd = answer(json!({ "A": 1 }));
        assert!(merged(&odd, &fault()).is_err());
        let no_revision = json!({ "Environment": { "Variables": {} } });
        assert_eq!(merged(&no_revision, &fault()).err().map(|u| u.code), Some(UNREADABLE), "nothing could be compared");
    }

    #[test]
    fn what_the_runbook_does_not_name_is_not_overwritten_and_not_told() {
        let theirs = answer(json!({ "FAILOVERD_FAULT": "s3cret" }));
        for fault in [fault(), fault().mended()] {
            let drift = merged(&theirs, &fault).err().expect("somebody else's");
            assert_eq!(drift.code, DRIFT);
            let told = fault.says(&seen(&theirs, "FAILOVERD_FAULT").expect("seen"));
            assert!(!drift.why.contains("s3cret") && !told.contains("s3cret"), "{drift:?} {told}");
        }
        let is_in = answer(json!({ "FAILOVERD_FAULT": "fail" }));
        assert!(matches!(merged(&is_in, &fault()), Ok(Merge::IsSo)));
        assert!(matches!(merged(&answer(json!({})), &fault().mended()), Ok(Merge::IsSo)));
    }

    #[test]
    fn names_are_those_that_lambda_takes() {
        for (name, is) in [
            ("FAILOVERD_FAULT", true),
            ("a1", true),
            ("_A", false),
            ("AWS_REGION", false),
            ("A-B", false),
            ("A", false),
        ] {
            assert_eq!(is_variable(name), is, "{name}");
        }
        assert!(is_function("payments-api") && !is_function("arn:aws:lambda:x") && !is_function(""));
    }
}
