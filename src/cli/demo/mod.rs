//! `failoverd demo`: a simulated AWS on loopback, the real daemon against it through the real SDKs, a disaster from
//! start to end, and what it cost as a table.
//!
//! The world, the engine and the SDKs share one scaled clock; every second that is printed is a world second. Only
//! the demo has that switch. It deliberately takes no shortcut into the daemon: people act through its HTTP API.

mod people;
mod report;
mod script;
mod workspace;

use std::{process::ExitCode, time::Duration};

use clap::{Args, ValueEnum};

/// Options of `failoverd demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// What happens to the application
    #[arg(long, value_enum, default_value_t = Scenario::RegionLost)]
    pub scenario: Scenario,
    /// The seed of the simulated world: the same seed draws the same durations
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
    /// World seconds per wall second
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub rate: u32,
    /// Keep everything running at the end, until Ctrl-C
    #[arg(long)]
    pub stay: bool,
    /// Lose the primary Region and do nothing about it: you do, in a browser, as alice (operator) and bob (approver)
    #[arg(long, conflicts_with = "scenario")]
    pub by_hand: bool,
    /// Taken from the global `--json`
    #[arg(skip)]
    pub json: bool,
}

/// What the demo can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// The primary Region is lost whole: detect, fail over, flip DNS, verify
    RegionLost,
    /// A planned, lossless move
    Switchover,
    /// A planned move, and back again
    Failback,
    /// A short hiccup of the primary: nothing must move
    FalseAlarm,
    /// The first promotion fails: DNS must stay, a person resumes
    PromotionFails,
}

impl Scenario {
    fn title(self) -> &'static str {
        match self {
            Self::RegionLost => "the primary Region is lost",
            Self::Switchover => "a planned switchover",
            Self::Failback => "a planned switchover and the failback",
            Self::FalseAlarm => "a false alarm",
            Self::PromotionFails => "the promotion fails at first",
        }
    }
}

/// How long a demo may take, in world time, before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// The same where somebody acts by hand.
const PATIENCE_BY_HAND: Duration = Duration::from_hours(24);

/// Runs the demo; the exit code is 0 when the scenario ended as it must.
pub async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let stage = workspace::Stage::build(&args).await?;
    let patience = if args.by_hand { PATIENCE_BY_HAND } else { PATIENCE };
    if args.by_hand {
        let (url, alice, bob) = (stage.url(), &stage.alice.token, &stage.bob.token);
        stage.show(&format!("page: {url}/ui\nalice, operator: {alice}\nbob, approver: {bob}"));
    }
    let outcome = script::play(&stage, &args, patience).await;
    let verdict = match outcome {
        Ok(outcome) => report::print(&stage, &args, &outcome),
        Err(error) => {
            stage.say(&format!("the demo did not end as it must: {error:#}"));
            false
        }
    };
    if args.stay || args.by_hand {
        stage.say(&format!(
            "still running: FAILOVERD_URL={} FAILOVERD_TOKEN={} (Ctrl-C ends it)",
            stage.url(),
            stage.alice.token
        ));
        tokio::signal::ctrl_c().await?;
    }
    stage.stop().await;
    Ok(if verdict { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
