//! stub
use super::{
    application::Application,
    id::{Digest, Region},
    plan::{Plan, Purpose},
    runbook::Runbook,
};
use std::time::Duration;
pub fn compile(
    _a: &Application,
    _r: &Runbook,
    _p: Purpose,
    _s: &Region,
    _t: &Region,
    _l: Option<Duration>,
    _c: &Digest,
    _d: &Digest,
) -> Result<Plan, Vec<String>> {
    Err(vec![])
}
