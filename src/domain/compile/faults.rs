//! `fault.lambda_variable`: the function of the source, and of nothing else.

use super::{
    super::{
        action::Action,
        fault::{Fault, FunctionVariable, is_function},
        runbook::Act,
    },
    Compiler,
};

impl Compiler<'_> {
    pub(super) fn lambda_fault(&self, act: &Act) -> Result<Action, String> {
        let Act::LambdaFault { function, variable, broken, normal, mends } = act else {
            return Err("is not a fault".to_owned());
        };
        let function = self.fill(function);
        if !is_function(&function) {
            return Err(format!("`{function}` is no name of a function"));
        }
        let at = FunctionVariable { region: self.source.clone(), function, variable: variable.clone() };
        let (broken, normal, mends) = (broken.clone(), normal.clone(), *mends);
        Ok(Action::LambdaFault(Box::new(Fault { at, broken, normal, mends })))
    }
}
