//! The types of an expression, without facts: what cannot be true or false, compares a number with a text, or asks for
//! an output that no step leaves behind, is refused before the worst day.
//!
//! What is not known stays open ([`Type::Any`]) and fits everything: a check here never refuses what could be right.

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators as op};

use super::{ExprError, compile, step_of, walk};

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Text,
    Number,
    Boolean,
    Null,
    List,
    Table,
    /// `accepted_loss_seconds`: null where nobody has accepted one.
    NumberOrNull,
    /// Not known before the run.
    Any,
}

impl Type {
    fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "a number",
            Self::Boolean => "true or false",
            Self::Null => "null",
            Self::List => "a list",
            Self::Table => "a table",
            Self::NumberOrNull => "a number or null",
            Self::Any => "anything",
        }
    }

    fn may_be(self, other: Self) -> bool {
        let open = |t: Self| matches!(t, Self::Any);
        let number = |t: Self| matches!(t, Self::Number | Self::NumberOrNull);
        self == other || open(self) || open(other) || (number(self) && number(other))
    }

    fn may_equal(self, other: Self) -> bool {
        self == Self::Null || other == Self::Null || self.may_be(other)
    }
}

/// What the steps leave behind: of the step (by its id in the expression), the output's type.
pub trait Outputs {
    /// # Errors
    /// Why there is no such output.
    fn output(&self, step: &str, name: &str) -> Result<Type, String>;
}

/// Checks that `text` is true or false, with `outputs`.
///
/// # Errors
/// As [`super::check`]; and what does not fit together.
pub fn check_types(text: &str, outputs: &dyn Outputs) -> Result<(), ExprError> {
    let program = compile(text)?;
    walk(program.expression(), &mut super::References::default())?;
    let found = of(program.expression(), outputs)?;
    if found.may_be(Type::Boolean) { Ok(()) } else { Err(ExprError::NotBoolean(found.as_str().to_owned())) }
}

fn of(e: &IdedExpr, outputs: &dyn Outputs) -> Result<Type, ExprError> {
    Ok(match &e.expr {
        Expr::Literal(literal) => match literal {
            LiteralValue::Boolean(_) => Type::Boolean,
            LiteralValue::Double(_) | LiteralValue::Int(_) | LiteralValue::UInt(_) => Type::Number,
            LiteralValue::Null => Type::Null,
            LiteralValue::String(_) => Type::Text,
            LiteralValue::Bytes(_) => Type::Any,
        },
        Expr::Ident(name) => match name.as_str() {
            "application" | "purpose" | "source" | "target" => Type::Text,
            "accepted_loss_seconds" => Type::NumberOrNull,
            _ => Type::Any,
        },
        Expr::List(list) => {
            list.elements.iter().try_for_each(|e| of(e, outputs).map(|_| ()))?;
            Type::List
        }
        Expr::Map(map) => {
            for entry in &map.entries {
                if let EntryExpr::MapEntry(m) = &entry.expr {
                    of(&m.key, outputs)?;
                    of(&m.value, outputs)?;
                }
            }
            Type::Table
        }
        Expr::Select(select) => member(&select.operand, &select.field, select.test, outputs)?,
        Expr::Call(call) => called(call, outputs)?,
        Expr::Unspecified | Expr::Struct(_) | Expr::Comprehension(_) => Type::Any,
    })
}

/// `of.field`, or `has(of.field)`.
fn member(operand: &IdedExpr, field: &str, test: bool, outputs: &dyn Outputs) -> Result<Type, ExprError> {
    let found = if step_of(operand).is_some() {
        match field {
            "state" => Type::Text,
            "outputs" => Type::Table,
            _ => {
                let why = format!("a step has `state` and `outputs`, and no `{field}`");
                return Err(ExprError::Type(why));
            }
        }
    } else if let Expr::Select(inner) = &operand.expr
        && inner.field == "outputs"
        && let Some(step) = step_of(&inner.operand)
    {
        outputs.output(&step, field).map_err(ExprError::Type)?
    } else {
        match of(operand, outputs)? {
            Type::Any | Type::Table => Type::Any,
            other => return Err(ExprError::Type(format!("{} has no `{field}`", other.as_str()))),
        }
    };
    Ok(if test { Type::Boolean } else { found })
}

fn called(call: &CallExpr, outputs: &dyn Outputs) -> Result<Type, ExprError> {
    // A step by its name is no value of its own.
    if call.func_name == op::INDEX
        && call.args.first().is_some_and(|e| matches!(&e.expr, Expr::Ident(n) if n == "steps"))
    {
        return Ok(Type::Table);
    }
    if call.func_name == op::INDEX
        && let [operand, index] = call.args.as_slice()
        && let Expr::Literal(LiteralValue::String(field)) = &index.expr
    {
        return member(operand, field.inner(), false, outputs);
    }
    let target = call.target.iter().map(|t| of(t, outputs)).collect::<Result<Vec<_>, _>>()?;
    let args = call.args.iter().map(|a| of(a, outputs)).collect::<Result<Vec<_>, _>>()?;
    let all: Vec<Type> = target.into_iter().chain(args).collect();
    let wrong = |wanted: &str, got: Type| Err(ExprError::Type(format!("`{wanted}` of {}", got.as_str())));
    match (call.func_name.as_str(), all.as_slice()) {
        (op::LOGICAL_AND | op::LOGICAL_OR | op::LOGICAL_NOT, of) => {
            match of.iter().find(|t| !t.may_be(Type::Boolean)) {
                Some(other) => wrong(sign(&call.func_name), *other),
                None => Ok(Type::Boolean),
            }
        }
        (op::EQUALS | op::NOT_EQUALS, [a, b]) if a.may_equal(*b) => Ok(Type::Boolean),
        (op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS, [a, b]) if ordered(*a) && a.may_be(*b) => {
            Ok(Type::Boolean)
        }
        (op::ADD | op::SUBSTRACT | op::MULTIPLY | op::DIVIDE | op::MODULO, [a, b]) if a.may_be(*b) => Ok(*a),
        (
            op::EQUALS
            | op::NOT_EQUALS
            | op::LESS
            | op::LESS_EQUALS
            | op::GREATER
            | op::GREATER_EQUALS
            | op::ADD
            | op::SUBSTRACT
            | op::MULTIPLY
            | op::DIVIDE
            | op::MODULO,
            [a, b],
        ) => {
            let why = format!("`{}` of {} and {}", sign(&call.func_name), a.as_str(), b.as_str());
            Err(ExprError::Type(why))
        }
        (op::CONDITIONAL, [condition, ..]) if !condition.may_be(Type::Boolean) => wrong("?", *condition),
        (op::CONDITIONAL, [_, a, b]) => Ok(if a == b { *a } else { Type::Any }),
        (op::IN | "contains" | "startsWith" | "endsWith", _) => Ok(Type::Boolean),
        ("size" | "int" | "double" | op::NEGATE, _) => Ok(Type::Number),
        ("string", _) => Ok(Type::Text),
        _ => Ok(Type::Any),
    }
}

fn ordered(t: Type) -> bool {
    !matches!(t, Type::Null | Type::List | Type::Table)
}

/// `_==_` as people write it.
fn sign(function: &str) -> &str {
    function.trim_matches('_')
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Known;

    impl Outputs for Known {
        fn output(&self, step: &str, name: &str) -> Result<Type, String> {
            match (step, name) {
                ("promote.orders", "writer") => Ok(Type::Text),
                ("verify", "beats_missing") => Ok(Type::Number),
                _ => Err(format!("`{step}` has no output `{name}`")),
            }
        }
    }

    #[test]
    fn what_fits_together_passes() {
        for text in [
            "purpose == 'failover'",
            "accepted_loss_seconds != null && accepted_loss_seconds < 30",
            "steps.verify.outputs.beats_missing > 0.5",
            "steps['promote.orders'].outputs.writer.startsWith('arn:')",
            "has(steps.verify.outputs.beats_missing) ? steps.verify.outputs.beats_missing == 0 : true",
            "steps.verify.state == 'done'",
            "target in ['eu-west-1', 'us-west-2']",
            "size(target) > 3 && !(source == target)",
        ] {
            assert_eq!(check_types(text, &Known), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_right_is_refused_and_says_why() {
        for (text, says) in [
            ("purpose", "is text, not true or false"),
            ("purpose == 1", "`==` of text and a number"),
            ("accepted_loss_seconds < '30'", "`<` of a number or null and text"),
            ("steps.verify.outputs.beats_missing == 'none'", "`==` of a number and text"),
            ("steps.verify.outputs.beat_missing == 1", "`verify` has no output `beat_missing`"),
            ("steps.verify.outcome == 'done'", "no `outcome`"),
            ("purpose && true", "`&&` of text"),
            ("steps.verify.outputs.beats_missing", "is a number, not true or false"),
            ("purpose.name == 'x'", "text has no `name`"),
        ] {
            let refused = check_types(text, &Known).expect_err(text).to_string();
            assert!(refused.contains(says), "{text}: {refused}");
        }
    }
}
