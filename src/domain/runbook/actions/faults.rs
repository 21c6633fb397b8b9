//! The `with` of `fault.lambda_variable`.

use super::{Act, PLACEHOLDERS, flag};
use crate::domain::{
    document::{At, Fields, Findings, clip},
    fault::{VALUE_CHARS_MAX, is_function, is_variable},
};

pub(super) fn lambda_variable(with: &mut Fields<'_>, found: &mut Findings) -> Option<Act> {
    let function = with.need(found, "function", "function: payments-api");
    let variable = with.need(found, "variable", "variable: FAILOVERD_FAULT");
    let value = with.need(found, "value", "value: fail");
    let normal = with.get(found, "normal", "normal: none");
    let mends = flag(with, "mend", "mend: true", found);
    let function = function.and_then(|at| self::function(&at, found));
    let variable = variable.and_then(|at| {
        let text = at.text(found)?;
        if !is_variable(text) {
            let problem = format!("`{}` is no variable that a function may have of its own", clip(text));
            found.error(&at.key, problem, at.example);
            return None;
        }
        Some(text.to_owned())
    });
    let broken = value.and_then(|at| short(&at, found));
    let normal = match normal {
        Some(at) => {
            let text = short(&at, found);
            if text.is_some() && text == broken {
                found.error(&at.key, "is the same as `value`: nothing would be broken", at.example);
                return None;
            }
            text.map(Some)
        }
        None => Some(None),
    };
    let mends = mends?.unwrap_or(false);
    Some(Act::LambdaFault { function: function?, variable: variable?, broken: broken?, normal: normal?, mends })
}

/// A name, in which `{application}` and the like may stand.
fn function(at: &At<'_>, found: &mut Findings) -> Option<String> {
    let text = at.text(found)?;
    let filled = PLACEHOLDERS.iter().fold(text.to_owned(), |text, placeholder| text.replace(placeholder, "x"));
    if !is_function(&filled) {
        let problem = format!("`{}` is no name of a function (its name alone, no ARN)", clip(text));
        found.error(&at.key, problem, at.example);
        return None;
    }
    Some(text.to_owned())
}

fn short(at: &At<'_>, found: &mut Findings) -> Option<String> {
    let text = at.text(found)?;
    if text.is_empty() || VALUE_CHARS_MAX < text.chars().count() {
        found.error(&at.key, format!("must hold between 1 and {VALUE_CHARS_MAX} characters"), at.example);
        return None;
    }
    Some(text.to_owned())
}
