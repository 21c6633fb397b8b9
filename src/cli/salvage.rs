//! `failoverd salvage`: begin a look at what a failover has left. Over HTTP, as any other client would.

use clap::Args;
use serde_json::json;

use super::{
    Asking, Options, StartArgs,
    api::{Api, Failure},
    named::Named,
    start,
};

/// Of which failover.
#[derive(Debug, Args)]
pub struct SalvageArgs {
    #[command(flatten)]
    pub application: Named,
    /// The failover that is to be reconciled; the newest that nobody has if absent
    #[arg(long)]
    pub run: Option<String>,
    #[command(flatten)]
    pub how: Asking,
}

/// Begins a salvage, or shows its plan.
pub(super) async fn perform(options: &Options, api: &Api, args: SalvageArgs) -> Result<u8, Failure> {
    let SalvageArgs { application, run, how } = args;
    let body = run.map_or_else(|| json!({}), |run| json!({ "run": run }));
    let args = StartArgs { application, target: None, how };
    start(options, api, "/salvage", body, args).await
}
