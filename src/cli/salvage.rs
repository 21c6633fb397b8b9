//! `failoverd salvage`: begin a look at what a failover has left. Over HTTP, as any other client would.

use clap::Args;
use serde_json::json;

use super::{
    Options, StartArgs,
    api::{Api, Failure},
    start,
};

/// Of which failover.
#[derive(Debug, Args)]
pub struct SalvageArgs {
    /// The application
    pub application: String,
    /// The failover that is to be reconciled; the newest that nobody has if absent
    #[arg(long)]
    pub run: Option<String>,
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

/// Begins a salvage, or shows its plan.
pub(super) async fn perform(options: &Options, api: &Api, args: SalvageArgs) -> Result<u8, Failure> {
    let SalvageArgs { application, run, reason, dry_run, watch, idempotency_key } = args;
    let body = run.map_or_else(|| json!({}), |run| json!({ "run": run }));
    let args = StartArgs { application, target: None, reason, dry_run, watch, idempotency_key };
    start(options, api, "/salvage", body, args).await
}
