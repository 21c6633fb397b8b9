//! An `aws.call` with its direction filled in.
//!
//! Invariant: what is compiled is the exact call: no word in braces is left but `{handle}`, which only the answer knows,
//! and the names that a path takes from the arguments.

use super::{
    super::{
        action::Action,
        api_call::{ApiCall, AwsCall, DoneWhen, fault_of_arguments, replaced},
        id::Region,
        restore::Restores,
        runbook::{Probe, Template},
    },
    Compiler,
};

impl Compiler<'_> {
    pub(super) fn aws_call(&self, template: &Template) -> Result<Action, String> {
        Ok(Action::AwsCall { call: Box::new(self.filled(template)?) })
    }

    fn filled(&self, template: &Template) -> Result<AwsCall, String> {
        let region: Region = self.fill(&template.region).parse().map_err(|e| format!("{e}"))?;
        let request = |probe: &Probe, handle: Option<&String>| -> Result<ApiCall, String> {
            let arguments = replaced(&probe.arguments, &|text| self.fill_in(text));
            if let Some(fault) = fault_of_arguments(&template.service, &arguments) {
                return Err(fault);
            }
            Ok(ApiCall {
                operation: probe.operation.clone(),
                region: region.clone(),
                wire: probe.wire.clone(),
                arguments,
                role_arn: template.role_arn.clone(),
                handle: handle.cloned(),
            })
        };
        let done_when = match &template.done_when {
            Some((read, that)) => {
                Some(DoneWhen { read: read.as_ref().map(|read| request(read, None)).transpose()?, that: that.clone() })
            }
            None => None,
        };
        let restores = match &template.restores {
            Some((read, values)) => Some(Box::new(Restores { read: request(read, None)?, values: values.clone() })),
            None => None,
        };
        let undo = template.undo.as_ref().map(|undo| self.filled(undo)).transpose()?;
        Ok(AwsCall {
            request: request(&template.call, template.handle.as_ref())?,
            effect: template.effect,
            idempotent: template.idempotent,
            done_when,
            on_unknown: template.on_unknown,
            outputs: template.outputs.clone(),
            undo: undo.map(Box::new),
            restores,
        })
    }
}
