//! `failoverd sim serve`: the simulated AWS alone, for any client.

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

use clap::{Args, Subcommand, ValueEnum};

use crate::{
    adapters::clock::SystemClock,
    ports::Clock,
    sim::{
        wire,
        world::{
            SimTime,
            route53::fixture::{FailoverBy, PaymentsTraffic},
            scenario,
        },
    },
};

/// Verbs of the simulated AWS.
#[derive(Debug, Subcommand)]
pub enum SimCommand {
    /// Serve the simulated AWS alone, for any client
    Serve {
        /// Where to listen
        #[command(flatten)]
        args: SimArgs,
    },
}

/// Options of `failoverd sim serve`.
#[derive(Debug, Clone, Args)]
pub struct SimArgs {
    /// Where AWS listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:18000")]
    pub listen: SocketAddr,
    /// Where the authoritative name server listens, UDP and TCP
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:18053")]
    pub dns: SocketAddr,
    /// The port of the application's servers, on 127.0.11.1 and 127.0.12.1
    #[arg(long, value_name = "PORT", default_value_t = 18080)]
    pub endpoints_port: u16,
    /// The same seed draws the same durations
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
    /// What turns the failover records
    #[arg(long, value_enum, default_value_t = TrafficBy::RoutingControls)]
    pub traffic: TrafficBy,
}

/// What the failover records of the simulated zone go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TrafficBy {
    RoutingControls,
    StandbyObject,
    Records,
    Http,
}

/// Serves until Ctrl-C or SIGTERM. World time is real time; the world is fifteen minutes old.
pub async fn serve(args: SimArgs) -> anyhow::Result<ExitCode> {
    const PAST_MS: u64 = 900_000;
    let failover_by = match args.traffic {
        TrafficBy::RoutingControls => FailoverBy::RoutingControl,
        TrafficBy::StandbyObject => FailoverBy::StandbyObject,
        TrafficBy::Records => FailoverBy::Records,
        TrafficBy::Http => FailoverBy::Http,
    };
    let now = SimTime(u64::try_from(SystemClock.wall().as_millisecond())?);
    let traffic = PaymentsTraffic { failover_by, ..PaymentsTraffic::default() };
    let mut world = scenario::payments(args.seed, SimTime(now.0.saturating_sub(PAST_MS)), &traffic);
    world.advance_to(now);
    let clock: wire::Clock =
        Arc::new(|| SimTime(u64::try_from(SystemClock.wall().as_millisecond()).unwrap_or_default()));
    let options = wire::Options {
        aws: args.listen,
        dns: args.dns,
        endpoints_port: args.endpoints_port,
        ..wire::Options::loopback(world, clock)
    };
    let running = wire::start(options).await?;
    super::print(&format!(
        "simulated AWS  {}\nDNS            {}\nendpoints      127.0.11.1:{port} (us-east-1), 127.0.12.1:{port} (us-west-2)\ncontrol        {}/_sim/state\n",
        running.aws_url,
        running.dns_addr,
        running.aws_url,
        port = running.endpoints_port,
    ));
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    running.stop().await;
    Ok(ExitCode::SUCCESS)
}
