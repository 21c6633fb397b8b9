//! The simulated AWS in this process, on real sockets, and a config for it.

use std::path::Path;

use failoverd::{
    adapters::clock::SystemClock,
    ports::Clock as _,
    sim::{
        wire::{self, Running},
        world::{
            SimTime,
            route53::fixture::{self, FailoverBy, PaymentsTraffic},
            scenario,
        },
    },
};

/// How long the world has lived when it is met, so that metrics have a past.
const PAST_MS: u64 = 900_000;

/// Wall time as the world counts it.
pub(crate) fn now() -> SimTime {
    SimTime(u64::try_from(SystemClock.wall().as_millisecond()).expect("after 1970"))
}

/// `payments` in two Regions, traffic by routing controls, under `clock`.
pub(crate) async fn aws(clock: wire::Clock) -> Running {
    let traffic = PaymentsTraffic { failover_by: FailoverBy::RoutingControl, ..PaymentsTraffic::default() };
    let now = now();
    let mut world = scenario::payments(7, SimTime(now.0 - PAST_MS), &traffic);
    world.advance_to(now);
    wire::start(wire::Options::loopback(world, clock)).await.expect("the simulated AWS starts")
}

/// The whole application as the demo has it, tokens taken out; `listen` is where the API goes.
pub(crate) fn config(aws: &Running, directory: &Path, listen: &str) -> String {
    let runbooks = directory.join("runbooks");
    std::fs::create_dir_all(&runbooks).expect("a directory");
    for file in ["region-failover.yaml", "region-switchover.yaml", "failback.yaml"] {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks").join(file);
        std::fs::copy(shipped, runbooks.join(file)).expect("a runbook is copied");
    }
    let endpoints = ["us-east-1", "us-west-2", "eu-west-1", "ap-northeast-1", "ap-southeast-2"]
        .map(|r| format!("{{ region = \"{r}\", url = \"{}\" }}", aws.aws_url))
        .join(", ");
    let text = include_str!("payments.toml")
        .replace("@directory@", &directory.display().to_string())
        .replace("@listen@", listen)
        .replace("@dns@", &aws.dns_addr.to_string())
        .replace("@endpoints@", &endpoints)
        .replace("@port@", &aws.endpoints_port.to_string())
        .replace("@use1@", &fixture::PRIMARY_ADDRESS.to_string())
        .replace("@usw2@", &fixture::SECONDARY_ADDRESS.to_string())
        .replace("@control_use1@", fixture::CONTROL_USE1_ARN)
        .replace("@control_usw2@", fixture::CONTROL_USW2_ARN)
        .replace("@zone@", fixture::ZONE_ID);
    std::fs::write(directory.join("failoverd.toml"), &text).expect("the config is written");
    text
}
