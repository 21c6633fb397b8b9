//! `failoverd drill` and `failoverd drills`: begin one, and how each went last. Over HTTP, as any other client would.

use clap::Args;
use serde_json::json;

use super::{
    Asking, Options, StartArgs,
    api::{Api, Failure},
    enc,
    named::Named,
    render::drills,
    show, start,
};
use crate::http::drills::DrillsView;

/// Which drill.
#[derive(Debug, Args)]
pub struct DrillArgs {
    #[command(flatten)]
    pub application: Named,
    /// Which of its drills
    #[arg(long)]
    pub runbook: String,
    /// The Region to go to and to come back from
    #[arg(long, value_name = "REGION")]
    pub target: Option<String>,
    #[command(flatten)]
    pub how: Asking,
}

/// Begins a drill, or shows its plan.
pub(super) async fn perform(options: &Options, api: &Api, args: DrillArgs) -> Result<u8, Failure> {
    let DrillArgs { application, runbook, target, how } = args;
    let args = StartArgs { application, target, how };
    start(options, api, "/drills", json!({ "runbook": runbook }), args).await
}

/// How many of the next times of each schedule a calendar shows, where nothing is said.
const CALENDAR: u16 = 5;

/// Which drills, and how much of them.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[arg(long, alias = "app")]
    pub application: Option<String>,
    /// Only when they are due, in order
    #[arg(long)]
    pub calendar: bool,
    /// How many of the next times of each schedule
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub count: Option<u16>,
}

/// Lists the drills of the applications, or only when they are due.
pub(super) async fn list(options: &Options, api: &Api, args: ListArgs) -> Result<(), Failure> {
    let ListArgs { application, calendar, count } = args;
    let named = application.map_or(String::new(), |name| format!("&application={}", enc(&name)));
    let count = count.unwrap_or(if calendar { CALENDAR } else { 1 });
    let view: DrillsView = api.get(&format!("/drills?occurrences={count}{named}")).await?;
    let text: fn(&DrillsView) -> String = if calendar { drills::calendar } else { drills::all };
    show(options, &view, text);
    Ok(())
}
