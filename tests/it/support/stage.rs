//! A simulated AWS of one test's own, and a directory with the config, the runbooks and the journal of the daemon
//! that works against it.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use failoverd::{
    adapters::store::SqliteStore,
    domain::{id::Digest, journal::Record},
    engine::recover,
    sim::{
        wire,
        world::{
            SimTime, World,
            route53::{
                fixture::{self, FailoverBy, PaymentsTraffic},
                record::RrType,
            },
            scenario,
        },
    },
};

use super::{
    daemon::{Daemon, Launch, Limits, Started},
    people::Move,
};

/// World seconds per second of the daemon.
const RATE: u64 = 40;
/// How far the world is behind the daemon at first: it must stay within reach of the metrics that the daemon asks for.
/// It must also stay behind, however long a test takes: readings from the future count for nothing.
const BEHIND_MS: u64 = 150 * 60_000;
/// How long the world has lived when the daemon meets it, so that its metrics have a past.
const PAST_MS: u64 = 5 * 60_000;

/// What a stage is set up for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) seed: u64,
    /// Calls to a Region that is lost hang this long.
    pub(crate) attempt_timeout: &'static str,
    /// How often a promotion that certainly never began is asked for without a person.
    pub(crate) retry: &'static str,
}

impl Setting {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self { seed, attempt_timeout: "5s", retry: "retry: { attempts: 5, backoff: 1s }" }
    }
}

/// See the module.
pub(crate) struct Stage {
    pub(crate) world: wire::Running,
    directory: tempfile::TempDir,
    lives: AtomicU32,
}

impl Stage {
    pub(crate) async fn build(setting: Setting) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let traffic = PaymentsTraffic { failover_by: FailoverBy::RoutingControl, ..PaymentsTraffic::default() };
        let (origin, began) = (now_ms() - BEHIND_MS, Instant::now());
        let mut world = scenario::payments(setting.seed, SimTime(origin - PAST_MS), &traffic);
        world.advance_to(SimTime(origin));
        let passed = move || u64::try_from(began.elapsed().as_millis()).expect("a short test");
        let clock: wire::Clock = Arc::new(move || SimTime(origin + passed() * RATE));
        // The daemon goes by this machine's clock, and is to find no fault with it.
        let dates: wire::Clock = Arc::new(|| SimTime(now_ms()));
        let options =
            wire::Options { dates: Some(dates), enforce_signing_time: true, ..wire::Options::loopback(world, clock) };
        let world = wire::start(options).await.expect("the simulated AWS starts");
        let stage = Self { world, directory, lives: AtomicU32::new(0) };
        stage.write_config(setting);
        stage.write_runbooks(setting);
        stage
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.directory().join("journal.sqlite")
    }

    /// Starts the binary, with what `failpoint` says.
    pub(crate) async fn start(&self, failpoint: Option<&str>) -> Started {
        self.start_with(&Launch { failpoint, ..self.launch() }).await
    }

    /// Starts the binary, which may write no file longer than `kib`.
    pub(crate) async fn start_on_a_disk_of(&self, kib: u64) -> Started {
        self.start_with(&Launch { limits: Limits { file_kib_max: Some(kib), ..Limits::default() }, ..self.launch() })
            .await
    }

    /// Starts the binary without what `limits` keep from it.
    pub(crate) async fn start_within(&self, limits: Limits) -> Started {
        self.start_with(&Launch { limits, ..self.launch() }).await
    }

    /// Starts the binary as `launch` says.
    pub(crate) async fn start_with(&self, launch: &Launch<'_>) -> Started {
        let life = self.lives.fetch_add(1, Ordering::SeqCst);
        Daemon::start(self, life, launch).await
    }

    fn launch(&self) -> Launch<'static> {
        let (config, aws_url) = (self.config(), self.world.aws_url.clone());
        Launch { config, aws_url, table_url: None, failpoint: None, limits: Limits::default() }
    }

    /// Everything that the lives so far have logged, for a failure's message.
    pub(crate) fn logs(&self) -> String {
        let lives = 0..self.lives.load(Ordering::SeqCst);
        lives
            .map(|life| format!("--- life {life}\n{}", std::fs::read_to_string(self.log(life)).unwrap_or_default()))
            .collect()
    }

    pub(crate) fn log(&self, life: u32) -> PathBuf {
        self.directory().join(format!("life-{life}.log"))
    }

    /// The verified records of the journal. Nobody may have it open.
    pub(crate) async fn records(&self) -> Result<Vec<Record>, String> {
        let store = SqliteStore::open(&self.store()).map_err(|e| e.to_string())?;
        let application = "payments".parse().expect("valid");
        recover::records(&store, &application).await.map_err(|e| e.to_string())
    }

    /// Calls of Aurora and ARC that were accepted, and messages, as AWS counts them.
    pub(crate) fn effects(&self) -> Effects {
        self.world.world.with(|w: &mut World| {
            let mut messages: Vec<String> = w
                .sns
                .delivered
                .iter()
                .map(|m| format!("{}: {}", m.region, m.subject.as_deref().unwrap_or("(none)")))
                .collect();
            messages.sort();
            Effects {
                promotions: w.aurora.effects.iter().filter(|e| e.accepted).map(|e| e.operation).collect(),
                flips: w.arc.effects.iter().filter(|e| e.accepted).map(|e| e.detail.clone()).collect(),
                messages,
            }
        })
    }

    /// Whether the writer and the name are where the run moved them.
    pub(crate) fn has_moved(&self) -> Result<(), String> {
        self.world.world.with(|w: &mut World| {
            let writer = w.aurora.writer_of("payments").map(|c| c.region.to_string());
            let answer = w.route53.answer(w.now, "api.payments.example.com", RrType::A).map(|a| a.values);
            let moved = writer.as_deref() == Some("us-west-2") && answer.as_deref() == Some(&["127.0.12.1".to_owned()]);
            moved.then_some(()).ok_or_else(|| format!("writer {writer:?}, DNS {answer:?}"))
        })
    }

    fn write_config(&self, setting: Setting) {
        let endpoints = ["us-east-1", "us-west-2", "eu-west-1", "ap-northeast-1", "ap-southeast-2"]
            .map(|r| format!("{{ region = \"{r}\", url = \"{}\" }}", self.world.aws_url));
        let hash = |token: &str| Digest::of(token.as_bytes()).to_string();
        let text = include_str!("payments.toml")
            .replace("@directory@", &self.directory().display().to_string())
            .replace("@call_timeout@", "10s")
            .replace("@attempt_timeout@", setting.attempt_timeout)
            .replace("@alice@", &hash("alice-kill-token"))
            .replace("@bob@", &hash("bob-kill-token"))
            .replace("@zone@", fixture::ZONE_ID)
            .replace("@dns@", &self.world.dns_addr.to_string())
            .replace("@endpoints@", &endpoints.join(", "))
            .replace("@port@", &self.world.endpoints_port.to_string())
            .replace("@control_use1@", fixture::CONTROL_USE1_ARN)
            .replace("@control_usw2@", fixture::CONTROL_USW2_ARN);
        std::fs::write(self.config(), text).expect("written");
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.directory().join("failoverd.toml")
    }

    /// The shipped runbooks, with shorter waits.
    fn write_runbooks(&self, setting: Setting) {
        let directory = self.directory().join("runbooks");
        std::fs::create_dir_all(&directory).expect("made");
        for (name, text) in failoverd::config::SHIPPED {
            let text = text
                .replace("interval: 2s", "interval: 1s")
                .replace("consecutive: 3", "consecutive: 1")
                .replace("consecutive: 5", "consecutive: 2")
                .replace("retry: { attempts: 3, backoff: 5s }", setting.retry);
            std::fs::write(self.directory().join(name), text).expect("written");
        }
    }
}

/// What AWS took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Effects {
    pub(crate) promotions: Vec<&'static str>,
    pub(crate) flips: Vec<String>,
    /// Region and subject of each.
    pub(crate) messages: Vec<String>,
}

impl Effects {
    /// Exactly one promotion and one flip, and no message twice: more is an effect too many, fewer a run that lied.
    pub(crate) fn once_each(&self, kind: Move) -> Result<(), String> {
        let twice = self.messages.windows(2).any(|pair| pair[0] == pair[1]);
        let once = self.promotions == [kind.operation()] && self.flips.len() == 1 && !twice;
        once.then_some(()).ok_or_else(|| format!("not once each: {self:?}"))
    }

    /// How many effects there were in all.
    pub(crate) fn count(&self) -> usize {
        self.promotions.len() + self.flips.len() + self.messages.len()
    }
}

fn now_ms() -> u64 {
    let now = jiff::Timestamp::now().as_millisecond();
    u64::try_from(now).expect("after 1970")
}

/// Looks every few milliseconds until `holds`, at most for `limit`; whether it came to that.
pub(crate) async fn comes_true(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !holds() {
        if deadline <= Instant::now() {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    true
}
