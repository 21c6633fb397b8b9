//! The real binary, as an operator has it: `serve` with a file and the SDK's own environment, and the verbs of the
//! command line in the hands of two people.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use failoverd::domain::id::Digest;
use serde_json::Value;
use tokio::process::{Child, Command};

use super::payments::{EAST_ADDRESS, NAME, Payments, WEST_ADDRESS};
use crate::support::ministack::ACCOUNT;

const ALICE: &str = "alice-operator";
pub(super) const BOB: &str = "bob-approver";

pub(super) struct Daemon {
    pub(super) url: String,
    /// By which its evidence is verified.
    pub(super) key: String,
    program: PathBuf,
    folder: PathBuf,
    _process: Child,
}

/// What one run of the command line gave.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) code: i32,
    pub(super) out: String,
    pub(super) err: String,
}

impl Said {
    /// Standard output as JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

impl Daemon {
    pub(super) async fn start(folder: &Path, payments: &Payments, endpoint: &str) -> Self {
        // Builds of other worktrees write to the same path: from here on it is ours.
        let program = folder.join("failoverd");
        std::fs::copy(env!("CARGO_BIN_EXE_failoverd"), &program).expect("the binary");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        drop(listener);
        let key = Command::new(&program).args(["evidence", "key", "evidence.key"]).current_dir(folder).output().await;
        let key = String::from_utf8(key.expect("a key").stdout).expect("text").trim().to_owned();
        let config = folder.join("failoverd.toml");
        std::fs::write(&config, text(payments, address, &folder.join("evidence.key"))).expect("written");
        let log = std::fs::File::create(folder.join("serve.log")).expect("a log");
        let process = Command::new(&program)
            .args(["serve", "--config"])
            .arg(&config)
            .current_dir(folder)
            .env_clear()
            .env("AWS_ENDPOINT_URL", endpoint)
            .env("AWS_ACCESS_KEY_ID", ACCOUNT)
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_REGION", "us-west-2")
            .env("FAILOVERD_LOG", "info,failoverd=debug")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("serve starts");
        let url = format!("http://{address}");
        let daemon = Self { url, key, program, folder: folder.to_owned(), _process: process };
        daemon.until("ready", Duration::from_secs(30), async || daemon.ready().await).await;
        daemon
    }

    async fn ready(&self) -> bool {
        reqwest::get(format!("{}/readyz", self.url)).await.is_ok_and(|r| r.status().is_success())
    }

    /// alice, who may start.
    pub(super) async fn alice(&self, args: &[&str]) -> Said {
        self.verb(Some(ALICE), args).await
    }

    /// bob, who may approve what others started.
    pub(super) async fn bob(&self, args: &[&str]) -> Said {
        self.verb(Some(BOB), args).await
    }

    pub(super) async fn stranger(&self, args: &[&str]) -> Said {
        self.verb(None, args).await
    }

    async fn verb(&self, token: Option<&str>, args: &[&str]) -> Said {
        let mut command = Command::new(&self.program);
        command.args(args).env_clear().env("FAILOVERD_URL", &self.url);
        if let Some(token) = token {
            command.env("FAILOVERD_TOKEN", token);
        }
        let output = command.kill_on_drop(true).output().await.expect("the command line runs");
        Said {
            code: output.status.code().expect("not killed"),
            out: String::from_utf8(output.stdout).expect("UTF-8"),
            err: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// Waits until `holds`, at most `patience`; else fails with what the daemon logged last.
    pub(super) async fn until(&self, what: &str, patience: Duration, holds: impl AsyncFn() -> bool) {
        let begun = Instant::now();
        while !holds().await {
            assert!(begun.elapsed() < patience, "not {what} within {patience:?}; {}", self.state().await);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// For a failure's message.
    pub(super) async fn state(&self) -> String {
        let log = std::fs::read_to_string(self.folder.join("serve.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let why = self.alice(&["--json", "why", "payments"]).await;
        let runs = self.alice(&["--json", "runs"]).await;
        let tail = lines[lines.len().saturating_sub(30)..].join("\n");
        format!("log:\n{tail}\nwhy: {}{}\nruns: {}", why.out, why.err, runs.out)
    }

    /// A metric's value, summed over the series that have all of `labels`.
    pub(super) async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = reqwest::get(format!("{}/metrics", self.url)).await.expect("answers").text().await.expect("text");
        let lines =
            text.lines().filter(|l| l.starts_with(&format!("{name}{{")) && labels.iter().all(|w| l.contains(w)));
        lines.map(|l| l.rsplit(' ').next().and_then(|v| v.parse::<f64>().ok()).expect("a number")).sum()
    }

    /// Every operation of AWS that it has called, as `service:Operation`.
    pub(super) async fn called(&self) -> BTreeSet<String> {
        let text = reqwest::get(format!("{}/metrics", self.url)).await.expect("answers").text().await.expect("text");
        let label = |line: &str, name: &str| -> String {
            let after = line.split(&format!("{name}=\"")).nth(1).expect("a label");
            after.split('"').next().expect("its value").to_owned()
        };
        let lines = text.lines().filter(|l| l.starts_with("failoverd_aws_requests_total{"));
        lines.map(|l| format!("{}:{}", label(l, "service"), label(l, "operation"))).collect()
    }
}

fn text(payments: &Payments, address: SocketAddr, evidence: &Path) -> String {
    let evidence = evidence.display();
    let hash = |token: &str| Digest::of(token.as_bytes()).to_string();
    let [topic_east, topic_west] = &payments.topics;
    let [east, west] = &payments.clusters;
    let (port, dns, zone, alice, bob) = (payments.port, payments.dns, &payments.zone, hash(ALICE), hash(BOB));
    format!(
        r#"
notify = {{ topics = false }}
network = {{ allow_private = ["127.0.0.0/8"] }}

[server]
listen = "{address}"

[evidence]
key = "file:{evidence}"

[aws]
call_timeout = "10s"
attempt_timeout = "3s"
production = true
allow_custom_endpoints = ["AWS_ENDPOINT_URL"]

[auth]
tokens = [
    {{ name = "alice", sha256 = "{alice}", roles = ["operator"] }},
    {{ name = "bob", sha256 = "{bob}", roles = ["approver"] }},
]

[[applications]]
name = "payments"
regions = ["us-east-1", "us-west-2"]
public_url = "http://{NAME}:{port}/healthz"
objectives = {{ rto = "5m", rpo = "3m" }}
runbooks = {{ failover = "region-failover", switchover = "region-switchover", failback = "failback" }}
topics = [{{ arn = "{topic_west}" }}, {{ arn = "{topic_east}" }}]

[applications.stores.orders]
kind = "aurora"
global_cluster = "payments"
clusters = {{ us-east-1 = "{east}", us-west-2 = "{west}" }}

[applications.dns.api]
record_name = "{NAME}"
record_type = "A"
hosted_zone_id = "{zone}"
servers = ["{dns}"]
answers = {{ us-east-1 = "{EAST_ADDRESS}", us-west-2 = "{WEST_ADDRESS}" }}
ttl = "2s"
mechanism = {{ kind = "records", set_identifiers = {{ us-east-1 = "use1", us-west-2 = "usw2" }} }}

[applications.signals.orders-lag]
kind = "aurora_lag"
role = "gate"
store = "orders"
period = "2s"

[applications.signals.use1-health]
kind = "http_probe"
role = "trigger"
url = "http://{EAST_ADDRESS}:{port}/healthz"
of = "us-east-1"
period = "1s"
freshness = "5s"
consecutive = 3
timeout = "1s"

[applications.signals.usw2-health]
kind = "http_probe"
role = "trigger"
url = "http://{WEST_ADDRESS}:{port}/healthz"
of = "us-west-2"
period = "1s"
freshness = "5s"
consecutive = 3
timeout = "1s"

[applications.endpoints]
us-east-1 = {{ health_url = "http://{EAST_ADDRESS}:{port}/healthz", last_write_pointer = "/last_write_at" }}
us-west-2 = {{ health_url = "http://{WEST_ADDRESS}:{port}/healthz", last_write_pointer = "/last_write_at" }}
"#
    )
}
