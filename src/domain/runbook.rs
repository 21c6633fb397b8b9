//! stub
#[derive(Debug, Clone)]
pub struct Runbook;
