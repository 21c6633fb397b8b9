//! The demo's stage: a directory with a config and a journal; the simulated AWS; the daemon.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;

use super::{DemoArgs, people::Person};
use crate::{
    adapters::{aws, clock::ScaledClock},
    app::Daemon,
    config::Settings,
    domain::id::Digest,
    ports::Clock,
    sim::{
        wire,
        world::{
            SimTime,
            route53::fixture::{self, FailoverBy, PaymentsTraffic},
            scenario,
        },
    },
};

/// How long the world lives before the daemon meets it, so that metrics have a past.
const PAST: Duration = Duration::from_secs(900);

/// Everything that runs during a demo.
pub(super) struct Stage {
    pub(super) directory: PathBuf,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) world: wire::Running,
    pub(super) daemon: Daemon,
    pub(super) alice: Person,
    pub(super) bob: Person,
    origin: jiff::Timestamp,
    quiet: bool,
}

impl Stage {
    pub(super) async fn build(args: &DemoArgs) -> anyhow::Result<Self> {
        let directory = directory(args.seed)?;
        let start = jiff::Timestamp::try_from(SystemTime::UNIX_EPOCH + since_epoch())?;
        let traffic = PaymentsTraffic { failover_by: FailoverBy::RoutingControl, ..PaymentsTraffic::default() };
        let began = SimTime(u64::try_from(start.as_millisecond())?);
        let mut world = scenario::payments(args.seed, began, &traffic);
        world.advance_to(began.plus_ms(u64::try_from(PAST.as_millis())?));
        let origin = start + jiff::SignedDuration::try_from(PAST)?;
        let clock: Arc<dyn Clock> = Arc::new(ScaledClock::new(f64::from(args.rate), Some(origin))?);
        let world_clock = Arc::clone(&clock);
        let now: wire::Clock =
            Arc::new(move || SimTime(u64::try_from(world_clock.wall().as_millisecond()).unwrap_or_default()));
        let world = wire::start(wire::Options { enforce_signing_time: true, ..wire::Options::loopback(world, now) })
            .await
            .context("the simulated AWS did not start")?;
        let tokens = [format!("demo-alice-{}", args.seed), format!("demo-bob-{}", args.seed)];
        let config = directory.join("failoverd.toml");
        std::fs::write(&config, config_text(&world, &directory, &tokens))?;
        let settings = Settings::load(&config, &std::collections::BTreeMap::new())
            .map_err(|faults| anyhow::anyhow!("{faults}"))?;
        let sdk = aws::simulated_sdk_config(&world.aws_url, Arc::clone(&clock), &aws::Options::default());
        let daemon = Daemon::start(settings, Arc::clone(&clock), sdk).await?;
        let url = format!("http://{}", daemon.address);
        let [alice, bob] = tokens;
        let stage = Self {
            alice: Person::new(alice, url.clone()),
            bob: Person::new(bob, url),
            directory,
            clock,
            world,
            daemon,
            origin,
            quiet: args.json,
        };
        stage.say(&format!("failoverd demo: {}", args.scenario.title()));
        stage.say(&format!(
            "one world second takes {} ms here ({} x); every figure below is in world seconds",
            1000 / args.rate,
            args.rate
        ));
        stage.say(&format!(
            "simulated AWS {}, DNS {}, daemon {}",
            stage.world.aws_url,
            stage.world.dns_addr,
            stage.url()
        ));
        Ok(stage)
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.daemon.address)
    }

    /// One line of progress, with the world second.
    pub(super) fn say(&self, text: &str) {
        if !self.quiet {
            let at = self.clock.wall().duration_since(self.origin).as_secs_f64();
            crate::cli::print(&format!("{at:7.1} s  {text}\n"));
        }
    }

    /// What a person sees at the terminal.
    pub(super) fn show(&self, text: &str) {
        if !self.quiet {
            for line in text.lines() {
                crate::cli::print(&format!("{line}\n"));
            }
        }
    }

    pub(super) async fn stop(self) {
        self.daemon.stop().await;
        self.world.stop().await;
    }
}

#[expect(clippy::disallowed_methods, reason = "the demo's world begins now, so that its times look like today's")]
fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// A directory of this demo's own, empty.
fn directory(seed: u64) -> anyhow::Result<PathBuf> {
    let directory = std::env::temp_dir().join(format!("failoverd-demo-{seed}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    Ok(directory)
}

/// The config of the demo: the payments application as the simulated AWS has it.
fn config_text(world: &wire::Running, directory: &std::path::Path, tokens: &[String; 2]) -> String {
    let hash = |t: &str| Digest::of(t.as_bytes());
    let port = world.endpoints_port;
    let endpoints = ["us-east-1", "us-west-2", "eu-west-1", "ap-northeast-1", "ap-southeast-2"]
        .map(|r| format!("{{ region = \"{r}\", url = \"{}\" }}", world.aws_url))
        .join(", ");
    include_str!("demo.toml")
        .replace("@directory@", &directory.display().to_string())
        .replace("@alice@", hash(&tokens[0]).as_str())
        .replace("@bob@", hash(&tokens[1]).as_str())
        .replace("@dns@", &world.dns_addr.to_string())
        .replace("@endpoints@", &endpoints)
        .replace("@port@", &port.to_string())
        .replace("@use1@", &fixture::PRIMARY_ADDRESS.to_string())
        .replace("@usw2@", &fixture::SECONDARY_ADDRESS.to_string())
        .replace("@control_use1@", fixture::CONTROL_USE1_ARN)
        .replace("@control_usw2@", fixture::CONTROL_USW2_ARN)
        .replace("@zone@", fixture::ZONE_ID)
}
