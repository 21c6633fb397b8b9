//! Expressions of runbooks (`when`, `assert`): CEL over the run's facts.
//!
//! The facts: `application`, `purpose`, `source`, `target` (text), `accepted_loss_seconds` (a number, or null when no
//! loss was accepted) and `steps.ID.state`, `steps.ID.outputs.NAME` (`steps["some-id"]` where the id holds `-` or
//! `.`). Functions: [`FUNCTIONS`] and CEL's operators, `has()` included.
//!
//! Bounded: at most [`CHARS_MAX`] characters, a bounded depth, and no loops (`all`, `exists`, `map`,
//! `filter` are refused), so the work is linear in the text. An unknown name is an error, never false.

use std::{collections::BTreeSet, sync::Arc};

use cel::{
    Context, Program, Value,
    common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue},
};

use super::action::Facts;

mod types;
pub use types::{Outputs, Type, check_types, inspect};

/// The longest expression accepted.
pub const CHARS_MAX: usize = 1024;
/// The deepest brackets and `?` together (of twelve, the parser takes 2 MiB of stack in a debug build), and the most characters of
/// operators.
const NESTING_MAX: usize = 6;
const OPERATORS_MAX: usize = 24;
const OPERATORS: [char; 13] = ['!', '-', '+', '*', '/', '%', '?', '&', '|', '<', '>', '=', '.'];
/// What an expression may name.
pub const VARIABLES: [&str; 6] = ["application", "purpose", "source", "target", "accepted_loss_seconds", "steps"];
/// What an expression may call, besides operators.
pub const FUNCTIONS: [&str; 7] = ["size", "contains", "startsWith", "endsWith", "string", "int", "double"];

/// Why an expression is refused, or has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExprError {
    #[error("is {0} characters long; the limit is {CHARS_MAX}")]
    TooLong(usize),
    #[error("is nested too deep, or has too many operators: split it into several steps")]
    TooDeep,
    #[error("is not a CEL expression: {0}")]
    Syntax(String),
    #[error(
        "unknown name `{0}`; known: {known}; the id of a step that has a hyphen or a dot stands in brackets: \
         steps[\"a-b\"].state",
        known = VARIABLES.join(", ")
    )]
    UnknownVariable(String),
    #[error("unknown function `{0}`; known: {known}", known = FUNCTIONS.join(", "))]
    UnknownFunction(String),
    #[error("loops (all, exists, map, filter) are not allowed")]
    Loop,
    #[error("`steps` must be followed by a step's id: steps.promote.state or steps[\"promote.orders\"].state")]
    BareSteps,
    #[error("is {0}, not true or false")]
    NotBoolean(String),
    #[error("does not fit together: {0}")]
    Type(String),
    #[error("cannot be evaluated: {0}")]
    Evaluation(String),
}

/// What an expression refers to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct References {
    /// Whether `answer` may be named.
    has_answer: bool,
    pub variables: BTreeSet<String>,
    /// The ids after `steps`.
    pub steps: BTreeSet<String>,
}

/// What an expression over an answer of AWS names besides [`VARIABLES`].
const ANSWER: &str = "answer";

/// Checks an expression without facts, and says what it refers to.
pub fn check(text: &str) -> Result<References, ExprError> {
    check_with(text, false)
}

/// The same for an expression that may also name `answer`.
pub fn check_answer(text: &str) -> Result<References, ExprError> {
    check_with(text, true)
}

fn check_with(text: &str, has_answer: bool) -> Result<References, ExprError> {
    let program = compile(text)?;
    let mut references = References { has_answer, ..References::default() };
    walk(program.expression(), &mut references)?;
    Ok(references)
}

/// The value of an expression over `facts`.
///
/// # Errors
/// When the expression is not valid, names what is not among the facts, or is not a boolean. Never read as false.
pub fn evaluate(text: &str, facts: &Facts) -> Result<bool, ExprError> {
    evaluate_with(text, None, facts)
}

/// The same over `answer` too.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_answer(text: &str, answer: &serde_json::Value, facts: &Facts) -> Result<bool, ExprError> {
    evaluate_with(text, Some(answer), facts)
}

fn evaluate_with(text: &str, answer: Option<&serde_json::Value>, facts: &Facts) -> Result<bool, ExprError> {
    let program = compile(text)?;
    walk(program.expression(), &mut References { has_answer: answer.is_some(), ..References::default() })?;
    let mut context = Context::default();
    for (name, value) in facts {
        context.add_variable_from_value(name.as_str(), to_cel(value));
    }
    if let Some(answer) = answer {
        context.add_variable_from_value(ANSWER, to_cel(answer));
    }
    match program.execute(&context) {
        Ok(Value::Bool(b)) => Ok(b),
        Ok(other) => Err(ExprError::NotBoolean(other.type_of().to_string())),
        Err(e) => Err(ExprError::Evaluation(e.to_string())),
    }
}

fn compile(text: &str) -> Result<Program, ExprError> {
    let chars = text.chars().count();
    if chars > CHARS_MAX {
        return Err(ExprError::TooLong(chars));
    }
    if text.contains(['\\', '\n', '\r']) || text.contains("\'\'\'") || text.contains("\"\"\"") {
        return Err(ExprError::Syntax("write it on one line, without backslashes and triple quotes".to_owned()));
    }
    // The parser recurses, and a stack overflow cannot be caught.
    let (depth, operators) = shape(text);
    if depth > NESTING_MAX || operators > OPERATORS_MAX {
        return Err(ExprError::TooDeep);
    }
    Program::compile(text).map_err(|e| {
        let first = e.to_string();
        ExprError::Syntax(told(first.lines().next().unwrap_or_default()))
    })
}

/// How deep brackets and conditionals are nested outside of literals (which hold no escapes), and how many characters
/// of operators there are.
fn shape(text: &str) -> (usize, usize) {
    let (mut depth, mut deepest, mut quote) = (0_usize, 0, None);
    let (mut conditionals, mut operators) = (0, 0);
    for c in text.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '(' | '[' | '{') => {
                depth += 1;
                // An index makes a chain as an operator does.
                operators += usize::from(c == '[');
                deepest = deepest.max(depth);
            }
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            (None, c) => {
                conditionals += usize::from(c == '?');
                operators += usize::from(OPERATORS.contains(&c));
            }
        }
    }
    // `in` is an operator too; counted wherever it stands, also in a literal.
    (deepest + conditionals, operators + text.matches("in").count())
}

fn walk(e: &IdedExpr, refs: &mut References) -> Result<(), ExprError> {
    match &e.expr {
        Expr::Unspecified | Expr::Literal(_) => Ok(()),
        Expr::Comprehension(_) => Err(ExprError::Loop),
        Expr::Struct(s) => Err(ExprError::UnknownVariable(s.type_name.clone())),
        Expr::Ident(name) if name == "steps" => Err(ExprError::BareSteps),
        Expr::Ident(name) if VARIABLES.contains(&name.as_str()) || refs.has_answer && name == ANSWER => {
            refs.variables.insert(name.clone());
            Ok(())
        }
        Expr::Ident(name) => Err(ExprError::UnknownVariable(name.clone())),
        Expr::List(list) => list.elements.iter().try_for_each(|e| walk(e, refs)),
        Expr::Map(map) => map.entries.iter().try_for_each(|e| match &e.expr {
            EntryExpr::MapEntry(m) => walk(&m.key, refs).and_then(|()| walk(&m.value, refs)),
            EntryExpr::StructField(f) => walk(&f.value, refs),
        }),
        Expr::Select(select) if is_steps(&select.operand) => {
            refs.variables.insert("steps".to_owned());
            refs.steps.insert(select.field.clone());
            Ok(())
        }
        Expr::Select(select) => walk(&select.operand, refs),
        Expr::Call(call) => {
            if let ("_[_]", [of, index]) = (call.func_name.as_str(), &call.args[..])
                && is_steps(of)
            {
                let Expr::Literal(LiteralValue::String(id)) = &index.expr else {
                    return Err(ExprError::BareSteps);
                };
                refs.variables.insert("steps".to_owned());
                refs.steps.insert(id.inner().to_owned());
                return Ok(());
            }
            let is_operator = !call.func_name.starts_with(|c: char| c.is_ascii_alphabetic());
            if !is_operator && !FUNCTIONS.contains(&call.func_name.as_str()) {
                return Err(ExprError::UnknownFunction(call.func_name.clone()));
            }
            call.target.iter().try_for_each(|t| walk(t, refs))?;
            call.args.iter().try_for_each(|a| walk(a, refs))
        }
    }
}

/// The step that `e` stands for: `steps.promote`, `steps["promote.orders"]`.
fn step_of(e: &IdedExpr) -> Option<String> {
    match &e.expr {
        Expr::Select(select) if is_steps(&select.operand) => Some(select.field.clone()),
        Expr::Call(call) if call.func_name == "_[_]" => match call.args.as_slice() {
            [of, IdedExpr { expr: Expr::Literal(LiteralValue::String(id)), .. }] if is_steps(of) => {
                Some(id.inner().to_owned())
            }
            _ => None,
        },
        _ => None,
    }
}

/// What the parser says, in our words where we know what was meant.
fn told(said: &str) -> String {
    if said.contains("token recognition error at: '=") {
        return "two values are compared with `==`: purpose == 'failback'".to_owned();
    }
    let (at, what) =
        said.strip_prefix("ERROR: <input>:1:").and_then(|rest| rest.split_once(": ")).unwrap_or(("", said));
    if at.is_empty() { what.to_owned() } else { format!("at character {at}: {what}") }
}

/// `text` as it is to be read inside a step `call`: `steps.probe` becomes `steps["call.probe"]`. What is not a valid
/// expression is left as it is, for [`check`] to refuse.
pub fn within(text: &str, call: &str) -> String {
    let (mut out, mut rest, mut quote) = (String::with_capacity(text.len() + 16), text, None::<char>);
    let mut before = ' ';
    while let Some(c) = rest.chars().next() {
        let stands_alone = !before.is_ascii_alphanumeric() && before != '_' && before != '.';
        if quote.is_none()
            && stands_alone
            && let Some((id, after)) = rest.strip_prefix("steps").and_then(step_after)
        {
            out.push_str(&format!("steps[\"{call}.{id}\"]"));
            (rest, before) = (after, ']');
            continue;
        }
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            _ => {}
        }
        out.push(c);
        before = c;
        rest = &rest[c.len_utf8()..];
    }
    out
}

/// The id after `steps`, and what follows it. Literals hold no escapes, so a quote ends at its twin.
fn step_after(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    if let Some(text) = text.strip_prefix('.') {
        let text = text.trim_start();
        let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
        return (0 < end).then(|| text.split_at(end));
    }
    let text = text.strip_prefix('[')?.trim_start();
    let open = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let (id, after) = text[1..].split_once(open)?;
    Some((id, after.trim_start().strip_prefix(']')?))
}

fn is_steps(e: &IdedExpr) -> bool {
    matches!(&e.expr, Expr::Ident(name) if name == "steps")
}

fn to_cel(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(b) => Value::Bool(*b),
        serde_json::Value::Number(n) => match (n.as_i64(), n.as_f64()) {
            (Some(i), _) => Value::Int(i),
            (None, f) => Value::Float(f.unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(s) => Value::String(Arc::new(s.clone())),
        serde_json::Value::Array(items) => Value::List(Arc::new(items.iter().map(to_cel).collect())),
        serde_json::Value::Object(map) => {
            let pairs = map.iter().map(|(k, v)| (k.clone(), to_cel(v)));
            pairs.collect::<std::collections::HashMap<String, Value>>().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn facts() -> Facts {
        let json = json!({
            "application": "payments", "purpose": "failover", "source": "us-east-1", "target": "us-west-2",
            "accepted_loss_seconds": 12.5,
            "steps": {"promote.orders": {"state": "done", "outputs": {"took_seconds": 40}}, "gate": {"state": "skipped", "outputs": {}}},
        });
        serde_json::from_value(json).expect("an object")
    }

    #[test]
    fn facts_are_seen() {
        for (text, want) in [
            ("purpose == 'failover'", true),
            ("target in ['eu-west-1', 'us-west-2']", true),
            ("accepted_loss_seconds <= 30", true),
            ("accepted_loss_seconds <= 12.4", false),
            ("accepted_loss_seconds != null && accepted_loss_seconds < 13", true),
            ("steps.gate.state == 'done'", false),
            ("steps['promote.orders'].outputs.took_seconds < 60", true),
            ("has(steps.gate.outputs.nothing)", false),
            ("source.startsWith('us-') ? true : false", true),
        ] {
            assert_eq!(evaluate(text, &facts()), Ok(want), "{text}");
        }
    }

    #[test]
    fn what_is_unknown_is_an_error_and_never_false() {
        for text in [
            "mode == 'failover'",
            "steps.gate.outputs.nothing == 1",
            "steps.other.state == 'done'",
            "now() == 1",
            "purpose",
            "size(steps) > 0",
        ] {
            assert!(evaluate(text, &facts()).is_err(), "{text}");
        }
        assert_eq!(check("mode == 'x'"), Err(ExprError::UnknownVariable("mode".to_owned())));
    }

    #[test]
    fn work_is_bounded() {
        assert_eq!(check(&"a".repeat(1025)), Err(ExprError::TooLong(1025)));
        assert_eq!(check("[1,2].all(x, x > 1)"), Err(ExprError::Loop));
        assert_eq!(check(&"!".repeat(1000)), Err(ExprError::TooDeep));
        assert_eq!(shape("[')', \"(((((--(((\"]"), (1, 1));
        for hidden in ["// '\n((((((((true", "'\\'' + ((((((((1", "\'\'\'a'((((((((\'\'\'"] {
            assert!(matches!(check(hidden), Err(ExprError::Syntax(_))), "{hidden}");
        }
        assert_eq!(check(&format!("{}true{}", "(".repeat(500), ")".repeat(500))), Err(ExprError::TooDeep));
    }

    /// A stack overflow cannot be caught. A worker's stack is 2 MiB, of which callers have taken some.
    #[test]
    fn the_deepest_expressions_allowed_fit_a_worker_s_stack() {
        let thread = std::thread::Builder::new().stack_size(1536 * 1024).spawn(deepest_expressions);
        thread.expect("a thread").join().expect("no panic");
    }

    fn deepest_expressions() {
        for (open, inner, close) in [
            ("(", "true", ")"),
            ("[", "1", "]"),
            ("{1:", "1", "}"),
            ("!", "true", ""),
            ("!!", "true", ""),
            ("-", "1", ""),
            ("- ", "1", ""),
            ("true?true:", "true", ""),
            ("true&&", "true", ""),
            ("true&&true||", "true", ""),
            ("1+", "1", ""),
            ("1*1+", "1", ""),
            ("1==", "1", ""),
            ("size(", "''", ")"),
            ("(!", "true", ")"),
            ("", "steps.a", ".b"),
            ("", "steps.a", "[1]"),
            ("", "purpose", ".size()"),
            ("", "purpose", " in [1]"),
            ("purpose in ", "purpose", ""),
        ] {
            let mut deepest = 0;
            for n in 1..400 {
                let text = format!("{}{inner}{}", open.repeat(n), close.repeat(n));
                // Shown when the test aborts.
                eprintln!("{text}");
                if matches!(check(&text), Err(ExprError::TooDeep | ExprError::TooLong(_))) {
                    break;
                }
                let _ = evaluate(&text, &facts());
                deepest = n;
            }
            assert!(deepest >= 6, "{open}…{close}: {deepest}");
        }
    }

    #[test]
    fn an_expression_is_moved_into_a_call_and_texts_in_it_are_not() {
        for (text, moved) in [
            ("steps.a.state == 'done'", "steps[\"p.a\"].state == 'done'"),
            ("steps['a.b'].state == \"steps.a\"", "steps[\"p.a.b\"].state == \"steps.a\""),
            (
                "purpose == 'steps.a' && steps . a . state == 'x'",
                "purpose == 'steps.a' && steps[\"p.a\"] . state == 'x'",
            ),
            ("my_steps.a == 1", "my_steps.a == 1"),
            ("has(steps[ \"a\" ].outputs.steps)", "has(steps[\"p.a\"].outputs.steps)"),
        ] {
            assert_eq!(within(text, "p"), moved);
            if let (Ok(before), Ok(after)) = (check(text), check(moved)) {
                let expected: BTreeSet<String> = before.steps.iter().map(|id| format!("p.{id}")).collect();
                assert_eq!(after.steps, expected, "{text}");
            }
        }
    }

    #[test]
    fn references_are_listed() {
        let refs = check("steps.a.state == 'done' && steps['b.c'].state == purpose").expect("valid");
        assert_eq!(refs.steps.into_iter().collect::<Vec<_>>(), ["a", "b.c"]);
    }
}
