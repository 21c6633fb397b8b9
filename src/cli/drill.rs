//! `failoverd drill` and `failoverd drills`: begin one, and how each went last. Over HTTP, as any other client would.

use clap::Args;
use serde_json::json;

use super::{
    Options, StartArgs,
    api::{Api, Failure},
    enc, render, show, start,
};
use crate::http::drills::DrillsView;

/// Which drill.
#[derive(Debug, Args)]
pub struct DrillArgs {
    /// The application
    #[arg(long = "app", value_name = "APP")]
    pub application: String,
    /// Which of its drills
    #[arg(long)]
    pub runbook: String,
    /// The Region to go to and to come back from
    #[arg(long, value_name = "REGION")]
    pub target: Option<String>,
    /// Why, for those who read it later
    #[arg(long)]
    pub reason: String,
    /// Show the plan; start nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Stay and watch the run
    #[arg(long)]
    pub watch: bool,
    /// The same key and request give the same run
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}

/// Begins a drill, or shows its plan.
pub(super) async fn perform(options: &Options, api: &Api, args: DrillArgs) -> Result<u8, Failure> {
    let DrillArgs { application, runbook, target, reason, dry_run, watch, idempotency_key } = args;
    let args = StartArgs { application, target, reason, dry_run, watch, idempotency_key };
    start(options, api, "/drills", json!({ "runbook": runbook }), args).await
}

/// Lists the drills of the applications.
pub(super) async fn list(options: &Options, api: &Api, application: Option<String>) -> Result<(), Failure> {
    let query = application.map_or(String::new(), |name| format!("?application={}", enc(&name)));
    let view: DrillsView = api.get(&format!("/drills{query}")).await?;
    show(options, &view, render::drills);
    Ok(())
}
