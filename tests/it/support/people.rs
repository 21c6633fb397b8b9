//! The people of a test: alice asks for a move, bob approves it, both over HTTP, both again after every restart.

use std::{
    process::ExitStatus,
    time::{Duration, Instant},
};

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use super::daemon::Daemon;

/// How often people look.
const LOOK: Duration = Duration::from_millis(100);
/// How long one life may take to end the run. A promotion that was perhaps sent is settled for 30 s.
const LIFE_LIMIT: Duration = Duration::from_secs(150);

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    Failover,
    Switchover,
}

impl Move {
    pub(crate) fn operation(self) -> &'static str {
        match self {
            Self::Failover => "FailoverGlobalCluster",
            Self::Switchover => "SwitchoverGlobalCluster",
        }
    }

    pub(crate) fn body(self) -> Value {
        let mut body =
            json!({ "application": "payments", "target_region": "us-west-2", "reason": "a test kills the daemon" });
        match self {
            Self::Failover => {
                body["mode"] = json!("failover");
                body["accept_data_loss_seconds"] = json!(86_400);
            }
            Self::Switchover => body["mode"] = json!("switchover"),
        }
        body
    }
}

/// How a life went on for the people.
#[derive(Debug)]
pub(crate) enum Played {
    /// The run is over, or held: as the API shows it.
    Rested(Value),
    /// The daemon is gone.
    Ended(ExitStatus),
}

/// Alice and bob.
pub(crate) struct People {
    kind: Move,
    http: Client,
    /// The run, once its id was answered.
    pub(crate) run: Option<String>,
}

impl People {
    pub(crate) fn who_want(kind: Move) -> Self {
        let http = Client::builder().timeout(Duration::from_secs(5)).pool_max_idle_per_host(0).no_proxy().build();
        Self { kind, http: http.expect("a client"), run: None }
    }

    /// Plays through one life of the daemon.
    pub(crate) async fn play(&mut self, daemon: &mut Daemon) -> Result<Played, String> {
        let deadline = Instant::now() + LIFE_LIMIT;
        let mut asked = false;
        let mut last = Value::Null;
        while Instant::now() < deadline {
            if let Some(status) = daemon.ended() {
                return Ok(Played::Ended(status));
            }
            if !asked {
                asked = self.ask(daemon).await?;
            } else if let Some(view) = self.look(daemon).await {
                match view["state"].as_str() {
                    Some("running") => self.approve(daemon, &view).await,
                    _ => return Ok(Played::Rested(view)),
                }
                last = view;
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(format!("the run did not end in time: {last:#}"))
    }

    /// Whether the run was started, or had been.
    async fn ask(&mut self, daemon: &Daemon) -> Result<bool, String> {
        let request = self.http.post(format!("{}/failover", daemon.url)).bearer_auth("alice-kill-token");
        let request = request.header("Idempotency-Key", "the-one-request").json(&self.kind.body());
        // No answer: the daemon may be dead, which the caller sees, or slow.
        let Ok(response) = request.send().await else { return Ok(false) };
        let status = response.status();
        let Ok(body) = response.json::<Value>().await else { return Ok(false) };
        match status {
            StatusCode::ACCEPTED => {
                let id = body["run"].as_str().ok_or("the answer names no run")?.to_owned();
                match self.run.replace(id.clone()) {
                    Some(before) if before != id => Err(format!("one key started two runs: {before} and {id}")),
                    _ => Ok(true),
                }
            }
            // Not assessed yet: there is no lag sample, or the writer is not known.
            StatusCode::CONFLICT if body["code"] == "gate-refused" => Ok(false),
            // The store has just failed or the daemon is asked to stop.
            StatusCode::SERVICE_UNAVAILABLE => Ok(false),
            _ => Err(format!("POST /failover answered {status}: {body}")),
        }
    }

    /// The run as it is now; `None` where nobody answers.
    pub(crate) async fn look(&self, daemon: &Daemon) -> Option<Value> {
        let run = self.run.as_ref()?;
        let request = self.http.get(format!("{}/runs/{run}", daemon.url)).bearer_auth("alice-kill-token");
        let response = request.send().await.ok()?;
        if response.status().is_success() { response.json().await.ok() } else { None }
    }

    /// Approves what waits for it. What is refused (approved already, before a crash) shows in the run.
    async fn approve(&self, daemon: &Daemon, view: &Value) {
        let waits = |s: &&Value| s["action"] == "approve" && s["state"] == "running";
        let Some(step) = view["steps"].as_array().and_then(|steps| steps.iter().find(waits)) else { return };
        let body =
            json!({ "step": step["id"], "decision": "approve", "digest": view["plan_digest"], "reason": "agreed" });
        self.post(daemon, view, "approvals", "bob-kill-token", &body).await;
    }

    async fn post(&self, daemon: &Daemon, view: &Value, what: &str, token: &str, body: &Value) {
        let url = format!("{}/runs/{}/{what}", daemon.url, view["id"].as_str().unwrap_or_default());
        let _ = self.http.post(url).bearer_auth(token).json(body).send().await;
    }

    /// Any path of the API: status and body.
    pub(crate) async fn get(&self, daemon: &Daemon, path: &str) -> (u16, Value) {
        let response = self.http.get(format!("{}{path}", daemon.url)).bearer_auth("alice-kill-token").send().await;
        let response = response.expect("an answer");
        (response.status().as_u16(), response.json().await.unwrap_or_default())
    }

    /// What asking for the move is answered with.
    pub(crate) async fn demand(&self, daemon: &Daemon) -> (u16, Value) {
        let request = self.http.post(format!("{}/failover", daemon.url)).bearer_auth("alice-kill-token");
        let response = request.json(&self.kind.body()).send().await.expect("an answer");
        (response.status().as_u16(), response.json().await.unwrap_or_default())
    }
}
