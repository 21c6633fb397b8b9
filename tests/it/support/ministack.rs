//! MiniStack, started for one test: an emulator of AWS that nobody here wrote (STACK.md 1).
//!
//! Needs `tests/emulator/setup.sh` to have been run; without it the tests that use this fail and say so.

use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use aws_config::{BehaviorVersion, Region as SdkRegion, SdkConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use failoverd::domain::application::ClusterArn;
use tokio::process::{Child, Command};

pub(crate) const EAST: &str = "us-east-1";
pub(crate) const WEST: &str = "us-west-2";
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(30);
/// MiniStack takes an access key of twelve digits for the account's number.
pub(crate) const ACCOUNT: &str = "123456789012";

/// A MiniStack of our own on a free port; it dies with the test.
pub(crate) struct Emulator {
    pub(crate) url: String,
    _process: Child,
    _folder: tempfile::TempDir,
}

impl Emulator {
    pub(crate) async fn start() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let program = root.join("target/venv-ministack/bin/ministack");
        assert!(program.exists(), "{} is missing: run tests/emulator/setup.sh first", program.display());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        let folder = tempfile::tempdir().expect("a folder");
        let process = Command::new(program)
            .current_dir(folder.path())
            .env("BIND_HOST", "127.0.0.1")
            .env("GATEWAY_PORT", port.to_string())
            // Never real database containers, whatever the machine offers.
            .env("DOCKER_HOST", "unix:///nonexistent")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("MiniStack starts");
        let emulator = Self { url: format!("http://127.0.0.1:{port}"), _process: process, _folder: folder };
        let begun = Instant::now();
        let ready = format!("{}/_ministack/ready", emulator.url);
        while !reqwest::get(&ready).await.is_ok_and(|r| r.status().is_success()) {
            assert!(begun.elapsed() < READY_WITHIN, "MiniStack is not ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        emulator
    }

    pub(crate) fn config(&self, region: &'static str) -> SdkConfig {
        let credentials = Credentials::new(ACCOUNT, "test", None, None, "test");
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(SdkRegion::new(region))
            .endpoint_url(&self.url)
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build()
    }

    /// The member clusters of a new global cluster `payments`: the writer in the east, a secondary in the west.
    pub(crate) async fn global_cluster(&self) -> (ClusterArn, ClusterArn) {
        let east = aws_sdk_rds::Client::new(&self.config(EAST));
        let west = aws_sdk_rds::Client::new(&self.config(WEST));
        let global = east
            .create_global_cluster()
            .global_cluster_identifier("payments")
            .engine("aurora-postgresql")
            .send()
            .await
            .expect("global cluster");
        let global = global.global_cluster().expect("described");
        let version = global.engine_version().expect("a version").to_owned();
        let mut arns = Vec::new();
        for (client, name) in [(&east, "payments-east"), (&west, "payments-west")] {
            let mut create = client
                .create_db_cluster()
                .db_cluster_identifier(name)
                .engine("aurora-postgresql")
                .engine_version(&version)
                .global_cluster_identifier("payments");
            if arns.is_empty() {
                create = create.master_username("root").master_user_password("not-secret");
            }
            let made = create.send().await.expect("member cluster");
            let arn = made.db_cluster().and_then(|c| c.db_cluster_arn());
            arns.push(arn.expect("an ARN").parse().expect("well formed"));
        }
        let [east, west] = <[ClusterArn; 2]>::try_from(arns).expect("two");
        (east, west)
    }
}
