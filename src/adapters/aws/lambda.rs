//! One variable of a function: read, changed and written back whole, as Lambda wants it.
//!
//! Invariant: the variables are in this process's memory between two calls and nowhere else: not in an outcome, an error
//! or a log, so a refusal's own text, which may quote them, is not passed on. What is written carries the revision that was
//! read, so that a change of somebody else's in between is refused by Lambda and lost by nobody.

use super::AwsCloud;
use crate::domain::{
    cloud::{ObserveError, Outcome},
    fault::{self, FunctionVariable, Merge},
};

impl AwsCloud {
    /// Sets the variable to `to` (`None`: takes it away), where it holds `from`.
    pub(super) async fn set_variable(&self, at: &FunctionVariable, from: Option<&str>, to: Option<&str>) -> Outcome {
        let answer = match self.ask_api(&fault::describe(at)).await {
            Ok(answer) => answer,
            Err(ObserveError::NotFound { what, code }) => {
                return Outcome::Rejected { code, message: format!("{what} of {}", at.function), request_id: None };
            }
            Err(ObserveError::Rejected { code, message }) => {
                return Outcome::Rejected { code, message, request_id: None };
            }
            // Only the reading went out.
            Err(
                error @ (ObserveError::Throttled
                | ObserveError::Unreachable { .. }
                | ObserveError::Malformed { .. }
                | ObserveError::ClockSkew { .. }),
            ) => return Outcome::NotSent { reason: format!("what is there was not read: {error}") },
        };
        let request = match fault::merge(&answer, at, from, to) {
            Ok(Merge::IsSo) => return Outcome::Accepted { request_id: None, handle: None },
            Ok(Merge::Send(request)) => request,
            Err(unfit) => {
                return Outcome::Rejected { code: unfit.code.to_owned(), message: unfit.why, request_id: None };
            }
        };
        match self.call_api(&request).await {
            Outcome::Rejected { code, request_id, .. } => {
                let message = "its text is not kept, since it may quote the function's variables".to_owned();
                Outcome::Rejected { code, message, request_id }
            }
            other => other,
        }
    }
}
