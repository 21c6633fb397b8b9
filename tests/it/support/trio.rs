//! Three daemons that share a table: the real binary three times, an emulator of DynamoDB that nobody here wrote, the
//! simulated AWS, and a line of its own between each of them and the table, AWS, and whoever asks it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use failoverd::{domain::journal::Record, engine::recover};
use futures_util::future::join_all;
use reqwest::Client;
use serde_json::Value;

use super::{
    daemon::{Daemon, Launch, Limits},
    dynamodb,
    line::Line,
    stage::{Setting, Stage},
};

/// How long a lease is here; a call of [`CALL_TIMEOUT`] has room in it.
pub(crate) const LEASE: Duration = Duration::from_secs(6);
const CALL_TIMEOUT: &str = "2500ms";
const ATTEMPT_TIMEOUT: &str = "2s";

/// The token with which the state is looked at.
const TOKEN: &str = "alice-kill-token";

/// See the module.
pub(crate) struct Trio {
    pub(crate) stage: Stage,
    pub(crate) members: [Member; 3],
    http: Client,
    emulator: String,
    table: String,
}

/// One replica.
pub(crate) struct Member {
    /// Where it is asked, by people and by the others.
    pub(crate) api: Line,
    /// Its way to the table, and to AWS.
    pub(crate) table: Line,
    pub(crate) aws: Line,
    pub(crate) config: PathBuf,
    daemon: tokio::sync::Mutex<Option<Daemon>>,
    /// Where the process itself listens.
    direct: Mutex<Option<String>>,
}

impl Trio {
    /// A table of its own in `emulator`; nobody is started yet.
    pub(crate) async fn build(seed: u64, emulator: &str) -> Self {
        Self::build_with(seed, emulator, |_, _| String::new()).await
    }

    /// The same, with more in the configuration of each, which `more` is given its number and the stage's directory for.
    pub(crate) async fn build_with(seed: u64, emulator: &str, more: impl Fn(usize, &Path) -> String) -> Self {
        static TABLES: AtomicU32 = AtomicU32::new(0);
        let table = format!("failoverd-{}", TABLES.fetch_add(1, Ordering::SeqCst));
        dynamodb::created(emulator, &table, dynamodb::PATIENT).await;
        let stage = Stage::build(Setting { attempt_timeout: ATTEMPT_TIMEOUT, ..Setting::seeded(seed) }).await;
        let (to_table, to_aws) = (address(emulator), address(&stage.world.aws_url));
        let mut members = Vec::new();
        for n in 0..3 {
            let (api, its_table, aws) = (Line::new(None).await, Line::new(to_table).await, Line::new(to_aws).await);
            let config = stage.directory().join(format!("replica-{n}.toml"));
            let text = configuration(&stage, &table, &api.url(), &aws.url());
            let text = text.replacen("\n[aws]", &format!("{}\n[aws]", more(n, stage.directory())), 1);
            std::fs::write(&config, text).expect("written");
            let (daemon, direct) = (tokio::sync::Mutex::default(), Mutex::default());
            members.push(Member { api, table: its_table, aws, config, daemon, direct });
        }
        let members = <[Member; 3]>::try_from(members).unwrap_or_else(|_| panic!("three"));
        let http = Client::builder().timeout(Duration::from_millis(700)).no_proxy().build().expect("a client");
        Self { stage, members, http, emulator: emulator.to_owned(), table }
    }

    /// All three, one after another; who leads.
    pub(crate) async fn start_all(&self) -> Result<usize, String> {
        for n in 0..3 {
            self.start(n).await?;
        }
        let leader = self.leader_within(Duration::from_secs(60)).await?;
        self.all_ready_within(Duration::from_secs(90)).await.map(|()| leader)
    }

    pub(crate) async fn start(&self, n: usize) -> Result<(), String> {
        let member = &self.members[n];
        let launch = Launch {
            config: member.config.clone(),
            aws_url: member.aws.url(),
            table_url: Some(member.table.url()),
            failpoint: None,
            limits: Limits::default(),
        };
        let daemon = self.stage.start_with(&launch).await.listening()?;
        member.api.lead_to(address(&daemon.url));
        *member.direct.lock().unwrap_or_else(PoisonError::into_inner) = Some(daemon.url.clone());
        *member.daemon.lock().await = Some(daemon);
        Ok(())
    }

    /// SIGKILL.
    pub(crate) async fn kill(&self, n: usize) {
        if let Some(daemon) = self.members[n].daemon.lock().await.take() {
            daemon.kill().await;
        }
        self.members[n].api.lead_to(None);
    }

    /// SIGSTOP, or SIGCONT.
    pub(crate) async fn stand_still(&self, n: usize, still: bool) {
        if let Some(daemon) = &*self.members[n].daemon.lock().await {
            if still { daemon.stand_still() } else { daemon.go_on() }
        }
    }

    /// SIGTERM, and waits for its end.
    pub(crate) async fn stop(&self, n: usize) -> Result<(), String> {
        let Some(mut daemon) = self.members[n].daemon.lock().await.take() else { return Ok(()) };
        daemon.ask_to_stop();
        let ended = daemon.wait(Duration::from_secs(30)).await;
        self.members[n].api.lead_to(None);
        ended.filter(|status| status.success()).map(drop).ok_or_else(|| format!("replica {n} ended with {ended:?}"))
    }

    /// What the process itself answers, past its line; `None` where it does not.
    pub(crate) async fn ask(&self, n: usize, path: &str) -> Option<(u16, Value)> {
        let url = self.members[n].direct.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let response = self.http.get(format!("{url}{path}")).bearer_auth(TOKEN).send().await.ok()?;
        Some((response.status().as_u16(), response.json().await.ok()?))
    }

    /// Who leads, as each replica says it.
    pub(crate) async fn leaders(&self) -> [Option<Value>; 3] {
        let said = join_all((0..3).map(|n| self.ask(n, "/applications/payments"))).await;
        let mut leaders = said.into_iter().map(|answer| answer.map(|(_, view)| view["leader"].clone()));
        std::array::from_fn(|_| leaders.next().flatten())
    }

    /// Those who say that they lead.
    pub(crate) async fn leading(&self) -> Vec<usize> {
        let leaders = self.leaders().await;
        (0..3).filter(|n| leaders[*n].as_ref().is_some_and(|leader| leader["here"] == true)).collect()
    }

    pub(crate) async fn leader_within(&self, limit: Duration) -> Result<usize, String> {
        self.leader_but(usize::MAX, limit).await.map(|(leader, _)| leader)
    }

    /// Who leads, and is not `other`, and how long that took.
    pub(crate) async fn leader_but(&self, other: usize, limit: Duration) -> Result<(usize, Duration), String> {
        let begun = Instant::now();
        loop {
            if let Some(leader) = self.leading().await.into_iter().find(|n| *n != other) {
                return Ok((leader, begun.elapsed()));
            }
            if limit < begun.elapsed() {
                return Err(format!("nobody (else than {other}) leads within {limit:?}: {:?}", self.leaders().await));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Until every replica could act.
    pub(crate) async fn all_ready_within(&self, limit: Duration) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let answers = join_all((0..3).map(|n| self.ask(n, "/readyz"))).await;
            if answers.iter().all(|a| a.as_ref().is_some_and(|(status, _)| *status == 200)) {
                return Ok(());
            }
            if limit < begun.elapsed() {
                return Err(format!("not all are ready within {limit:?}: {answers:?}"));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The verified records of the journal, past all lines.
    pub(crate) async fn records(&self) -> Result<Vec<Record>, String> {
        let options = dynamodb::options(&self.table, dynamodb::PATIENT);
        let store = dynamodb::open(&dynamodb::sdk(&self.emulator, None), &options).await.map_err(|e| e.to_string())?;
        let application = "payments".parse().expect("valid");
        recover::records(&store, &application).await.map_err(|e| e.to_string())
    }
}

fn address(url: &str) -> Option<SocketAddr> {
    let address = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/').parse());
    Some(address.expect("http").expect("an address"))
}

/// The stage's own configuration, for a replica whose API is at `api` and whose AWS is at `aws`.
fn configuration(stage: &Stage, table: &str, api: &str, aws: &str) -> String {
    let text = std::fs::read_to_string(stage.config()).expect("written");
    let (before, rest) = text.split_once("kind = \"sqlite\"\n").expect("a store");
    let (_, rest) = rest.split_once("\n[aws]").expect("the next section");
    let store = format!(
        "kind = \"dynamodb\"\ntable = \"{table}\"\nregion = \"us-west-2\"\n\
         replica_regions = [\"us-west-2\", \"us-east-2\"]\nlease = \"{}s\"\nurl = \"{api}\"\n",
        LEASE.as_secs()
    );
    // What answers there is AWS: whoever does not reach it is cut off from it.
    let vantage = format!("[vantage]\ncontrol_points = [\"{aws}/\"]\nperiod = \"1s\"\ntimeout = \"800ms\"\n");
    format!("{before}{store}\n{vantage}\n[aws]{rest}")
        .replace("call_timeout = \"10s\"", &format!("call_timeout = \"{CALL_TIMEOUT}\""))
        .replace(&format!("url = \"{}\"", stage.world.aws_url), &format!("url = \"{aws}\""))
}
