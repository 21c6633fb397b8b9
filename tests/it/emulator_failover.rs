//! The main job against MiniStack, an emulator that nobody here wrote, by configuration alone: the real binary, the
//! shipped runbooks, the SDK's own environment variables. What the emulator does not model: docs/independent-emulator.md.
//!
//! Needs `tests/emulator/setup.sh` to have been run; without it these tests fail and say so.

mod daemon;
mod gateway;
mod payments;

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;

use self::{
    daemon::{Daemon, Said},
    gateway::{Call, Gateway},
    payments::{EAST_ADDRESS, Payments, Primary, WEST_ADDRESS},
};
use crate::support::ministack::{EAST, Emulator, WEST};

const PATIENCE: Duration = Duration::from_secs(60);

/// Everything that runs during a test.
struct Stage {
    emulator: Emulator,
    gateway: Gateway,
    payments: Payments,
    daemon: Daemon,
    folder: tempfile::TempDir,
}

impl Stage {
    async fn build() -> Self {
        let emulator = Emulator::start().await;
        let payments = Payments::create(&emulator).await;
        let gateway = Gateway::start(&emulator.url).await;
        let folder = tempfile::tempdir().expect("a folder");
        let daemon = Daemon::start(folder.path(), &payments, &gateway.url).await;
        let stage = Self { emulator, gateway, payments, daemon, folder };
        stage.until_verdict("nothing").await;
        stage
    }

    async fn until_verdict(&self, verdict: &str) {
        let what = format!("`{verdict}` with a known lag");
        let holds = async || {
            let why = self.daemon.alice(&["--json", "why", "payments"]).await;
            why.code == 0 && why.json()["verdict"] == verdict
        };
        self.daemon.until(&what, PATIENCE, holds).await;
    }

    /// The primary Region's servers are gone; the daemon says so.
    async fn lose_east(&self) {
        self.payments.becomes(Primary::LostSince(payments::now()));
        self.until_verdict("recommend").await;
    }

    /// alice asks for a failover; the run's id.
    async fn ask(&self) -> String {
        let said = self.daemon.alice(&ASK).await;
        assert_eq!(said.code, 0, "{said:?}");
        text(&said.json()["run"])
    }

    /// bob reads the plan's digest and approves, once the run waits for it.
    async fn approve(&self, run: &str) {
        let waits = async || self.run(run).await["waits_for"].as_str().is_some_and(|w| w.contains("approv"));
        self.daemon.until("waiting for an approval", PATIENCE, waits).await;
        let digest = text(&self.run(run).await["plan_digest"]);
        let approval = ["approve", run, "approve", "--digest", &digest, "--reason", "read the plan"];
        let said = self.daemon.alice(&approval).await;
        assert_eq!(said.code, 1, "who asked may not approve: {said:?}");
        let wrong = ["approve", run, "approve", "--digest", &"0".repeat(64), "--reason", "another plan"];
        let said = self.daemon.bob(&wrong).await;
        assert_eq!(said.code, 1, "a digest that was not shown: {said:?}");
        let said = self.daemon.bob(&approval).await;
        assert_eq!(said.code, 0, "{said:?}");
    }

    /// The run as the API has it.
    async fn run(&self, id: &str) -> Value {
        let request = reqwest::Client::new().get(format!("{}/runs/{id}", self.daemon.url));
        let answer = request.bearer_auth(daemon::BOB).send().await.expect("answers");
        answer.json().await.expect("a run")
    }

    /// `failoverd watch` to the run's end.
    async fn watch(&self, run: &str) -> Said {
        let said = tokio::time::timeout(PATIENCE, self.daemon.alice(&["watch", run])).await;
        match said {
            Ok(said) => said,
            Err(_) => panic!("watch does not end: {}\n{:#}", self.daemon.state().await, self.run(run).await),
        }
    }

    /// The Region of the writer by MiniStack's own word, the same from both Regions.
    async fn writer(&self) -> String {
        let mut regions = Vec::new();
        for region in [EAST, WEST] {
            let rds = aws_sdk_rds::Client::new(&self.emulator.config(region));
            let seen = rds.describe_global_clusters().global_cluster_identifier("payments").send().await;
            let seen = seen.expect("described");
            let members = seen.global_clusters()[0].global_cluster_members();
            let mut writers = members.iter().filter(|m| m.is_writer() == Some(true));
            let arn = writers.next().and_then(|m| m.db_cluster_arn()).expect("a writer");
            assert!(writers.next().is_none(), "one writer");
            regions.push(arn.split(':').nth(3).expect("a Region").to_owned());
        }
        assert_eq!(regions[0], regions[1]);
        regions.remove(0)
    }

    async fn records(&self) -> Vec<(String, i64, std::net::Ipv4Addr)> {
        let route53 = aws_sdk_route53::Client::new(&self.emulator.config(EAST));
        payments::records(&route53, &self.payments.zone).await
    }
}

const ASK: [&str; 11] = [
    "--json",
    "failover",
    "payments",
    "--mode",
    "failover",
    "--target",
    "us-west-2",
    "--reason",
    "us-east-1 is gone",
    "--accept-data-loss-seconds",
    "86400",
];

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}

fn in_west(operation: &str) -> Vec<Call> {
    vec![Call { operation: operation.to_owned(), region: WEST.to_owned(), status: 200 }]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_region_is_failed_over_and_the_application_comes_home_again() {
    let stage = Stage::build().await;
    let daemon = &stage.daemon;
    refusals(daemon).await;

    stage.lose_east().await;
    let why = daemon.alice(&["why", "payments"]).await;
    assert_eq!(why.code, 0, "{why:?}");
    assert!(why.out.contains("us-west-2") && why.out.contains("use1-health"), "{why:?}");
    let run = stage.ask().await;
    let again = daemon.alice(&ASK).await;
    assert_eq!(again.code, 1, "one at a time: {again:?}");
    assert_eq!(again.json()["code"], "already-running", "{again:?}");
    let (watched, ()) = tokio::join!(stage.watch(&run), stage.approve(&run));
    assert_eq!(watched.code, 0, "{}\n{}", watched.out, watched.err);

    assert_eq!(stage.writer().await, WEST);
    let records = stage.records().await;
    assert_eq!(records[0], ("usw2".to_owned(), 100, WEST_ADDRESS), "{records:?}");
    assert_eq!(records[1].1, 0, "{records:?}");
    assert_eq!(stage.gateway.accepted("FailoverGlobalCluster"), in_west("FailoverGlobalCluster"));
    assert!(stage.gateway.accepted("SwitchoverGlobalCluster").is_empty());
    let counted = ["operation=\"FailoverGlobalCluster\"", "outcome=\"ok\""];
    let counted = daemon.metric("failoverd_aws_requests_total", &counted).await;
    assert!((counted - 1.0).abs() < f64::EPSILON, "{counted}");
    let view = stage.run(&run).await;
    assert_eq!(view["state"], "succeeded", "{view:#}");
    let lost = view["loss"]["at_least_seconds"].as_f64();
    assert!(lost.is_some_and(|s| s < 5.0), "{:#}", view["loss"]);
    let listed = daemon.alice(&["--json", "runs"]).await;
    assert_eq!(listed.json()["runs"][0]["state"], "succeeded", "{listed:?}");

    // Shown by `--success-output final`, and in docs/independent-emulator.md.
    println!("{}", watched.out);

    evidence(&stage, &run).await;
    stage.payments.becomes(Primary::Follows);
    reconcile(&stage, &run).await;
    come_home(&stage).await;
    for region in [EAST, WEST] {
        let told = stage.gateway.accepted("Publish").iter().filter(|c| c.region == region).count();
        assert_eq!(told, 4, "a beginning and an end of two runs, in {region}");
    }
    // MiniStack has no quotas and no parameters to tell: what cannot be read is told, and holds nothing.
    let mut errors = stage.gateway.errors();
    errors.retain(|call| {
        !["DescribeAccountAttributes", "DescribeDBClusterParameters"].contains(&call.operation.as_str())
    });
    assert!(errors.is_empty(), "{errors:?}");
    nothing_was_called_that_is_not_permitted(&stage).await;
}

/// What an auditor gets of the run: proven by a key, no more than once written over, and not with a byte changed.
async fn evidence(stage: &Stage, run: &str) {
    let (daemon, file) = (&stage.daemon, stage.folder.path().join("run.jsonl"));
    let path = file.to_str().expect("a path");
    let said = daemon.alice(&["evidence", "get", run, "--output", path]).await;
    assert_eq!(said.code, 0, "{said:?}");
    let said = daemon.alice(&["evidence", "get", run, "--output", path]).await;
    assert_eq!(said.code, 2, "evidence is not written over: {said:?}");
    let said = daemon.alice(&["--json", "evidence", "verify", path, "--key", &daemon.key]).await;
    assert_eq!(said.code, 0, "{said:?}");
    let proven = said.json();
    let summary = &proven["proven"]["summary"];
    assert_eq!((&summary["result"], &summary["rto_met"]), (&"succeeded".into(), &true.into()), "{summary:#}");
    let calls = summary["calls"].as_array().expect("calls");
    let promotes = calls.iter().find(|c| c["operation"] == "rds:FailoverGlobalCluster").expect("the promotion");
    assert!(promotes["request_id"].as_str().is_some_and(|id| !id.is_empty()), "{promotes:#}");
    let people: Vec<_> = summary["people"].as_array().expect("people").iter().map(|p| text(&p["subject"])).collect();
    assert_eq!(people, ["alice", "bob"]);
    let another = format!("ed25519:{}", "0".repeat(64));
    let other = daemon.alice(&["evidence", "verify", path, "--key", &another]).await;
    assert_eq!(other.code, 1, "another key: {other:?}");
    let none = daemon.alice(&["evidence", "verify", path, "--key", "ed25519:00"]).await;
    assert_eq!(none.code, 2, "no key: {none:?}");
    let changed = std::fs::read_to_string(&file).expect("read").replacen("us-east-1 is gone", "us-east-1 is fine", 1);
    std::fs::write(&file, changed).expect("written");
    let said = daemon.alice(&["evidence", "verify", path]).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("NOT PROVEN"), "{said:?}");
    let page = daemon.alice(&["evidence", "get", run, "--html"]).await;
    assert!(page.out.starts_with("<!doctype html>") && page.out.contains("us-east-1 is gone"), "{page:?}");
}

/// `failoverd permissions` is made from the plans: here it is held against every operation that two whole moves have called.
async fn nothing_was_called_that_is_not_permitted(stage: &Stage) {
    let config = stage.folder.path().join("failoverd.toml");
    let said = stage.daemon.alice(&["--json", "permissions", "--config", config.to_str().expect("a path")]).await;
    assert_eq!(said.code, 0, "{said:?}");
    let policies = said.json()["policies"].as_object().expect("policies").clone();
    let statements = policies.values().flat_map(|p| p["Statement"].as_array().expect("statements").clone());
    let permitted: BTreeSet<String> =
        statements.flat_map(|s| s["Action"].as_array().expect("actions").clone()).map(|a| text(&a)).collect();
    let called = stage.daemon.called().await;
    assert!(8 < called.len() && called.contains("rds:FailoverGlobalCluster"), "{called:?}");
    let missing: Vec<_> = called.difference(&permitted).collect();
    assert!(missing.is_empty(), "{missing:?} of {called:?}");
}

/// What is refused before anything happens, each with its exit code.
async fn refusals(daemon: &Daemon) {
    let status = daemon.alice(&["--json", "status"]).await;
    assert_eq!(status.code, 0, "{status:?}");
    assert_eq!(status.json()["applications"][0]["active_region"], EAST, "{status:?}");
    let status = daemon.stranger(&["--json", "status"]).await;
    assert_eq!(status.code, 1, "no token: {status:?}");
    assert_eq!(status.json()["code"], "unauthenticated", "{status:?}");
    let start = ["failover", "payments", "--reason", "test", "--mode"];
    for (who, args, code) in [
        ("no loss was accepted", &["failover", "--target", WEST][..], 3),
        ("the target is the writer", &["switchover", "--target", EAST][..], 1),
        ("no such Region here", &["switchover", "--target", "eu-west-1"][..], 1),
        ("no such mode", &["sideways"][..], 2),
    ] {
        let said = daemon.alice(&[&start[..], args].concat()).await;
        assert_eq!(said.code, code, "{who}: {said:?}");
        assert!(said.out.is_empty() && !said.err.is_empty(), "{who}: {said:?}");
    }
    let said = daemon.bob(&ASK).await;
    assert_eq!(said.code, 1, "bob may not start: {said:?}");
    let dry = daemon.alice(&[&ASK[..], &["--dry-run"]].concat()).await;
    assert_eq!(dry.code, 0, "{dry:?}");
    assert_eq!(dry.json()["digest"].as_str().map(str::len), Some(64), "{dry:?}");
    let runs = daemon.alice(&["--json", "runs"]).await;
    assert_eq!(runs.json()["runs"], serde_json::json!([]), "nothing was started");
}

/// A planned move back, without loss.
async fn come_home(stage: &Stage) {
    stage.until_verdict("nothing").await;
    let why = stage.daemon.alice(&["--json", "status", "payments"]).await;
    assert_eq!(why.json()["active_region"], WEST, "{why:?}");
    let lag_is_known = async || {
        let status = stage.daemon.alice(&["--json", "status", "payments"]).await;
        status.json()["exposure"][0]["fresh"] == true
    };
    stage.daemon.until("sure of the new lag", PATIENCE, lag_is_known).await;
    let run = ask_home(stage).await;
    let watched = stage.watch(&run).await;
    assert_eq!(watched.code, 0, "{}\n{}\n{}", watched.out, watched.err, stage.daemon.state().await);
    assert_eq!(stage.writer().await, EAST);
    let records = stage.records().await;
    assert_eq!(records[0], ("use1".to_owned(), 100, EAST_ADDRESS), "{records:?}");
    assert_eq!(stage.gateway.accepted("SwitchoverGlobalCluster").len(), 1);
    assert_eq!(stage.gateway.accepted("FailoverGlobalCluster").len(), 1, "still the one");
}

/// Nobody goes home before what the failover left there is reconciled: here a person says that it was.
async fn reconcile(stage: &Stage, run: &str) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let refused = stage.daemon.alice(&["--json", "failback", "payments", "--reason", "us-east-1 is back"]).await;
        match refused.json()["code"].as_str() {
            Some("unreconciled") => break,
            // Not before the Region is seen to be back.
            Some("gate-refused") => assert!(tokio::time::Instant::now() < deadline, "{refused:?}"),
            _ => panic!("{refused:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let said = stage.daemon.alice(&["acknowledge", run, "--reconciled", "--reason", "compared by hand"]).await;
    assert_eq!(said.code, 0, "{said:?}");
}

/// Asks for the failback until the probe of us-east-1 has found it answering again: until then the gate refuses, and
/// a refusal starts nothing.
async fn ask_home(stage: &Stage) -> String {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let said = stage.daemon.alice(&["--json", "failback", "payments", "--reason", "us-east-1 is back"]).await;
        if said.code == 0 {
            return text(&said.json()["run"]);
        }
        assert_eq!((said.code, &said.json()["gate"]), (3, &"target-alive".into()), "{said:?}");
        assert!(tokio::time::Instant::now() < deadline, "{said:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_whose_answer_is_lost_is_found_by_looking_and_not_sent_again() {
    let stage = Stage::build().await;
    stage.lose_east().await;
    stage.gateway.lose_answer_of("FailoverGlobalCluster");
    let run = stage.ask().await;
    let (watched, ()) = tokio::join!(stage.watch(&run), stage.approve(&run));
    assert_eq!(watched.code, 0, "{}\n{}", watched.out, watched.err);
    assert!(watched.out.contains("AWS's answer: unknown"), "{}", watched.out);
    assert_eq!(stage.gateway.accepted("FailoverGlobalCluster"), in_west("FailoverGlobalCluster"));
    assert_eq!(stage.writer().await, WEST);
}
