//! What callers send: the bodies and query strings, as they are on the wire.
//!
//! Unknown fields are refused: a misspelt `accept_data_loss_seconds` must not mean "none".

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    extract::{Concerns, invalid_field, reason},
    problem::Problem,
    view::RunStateName,
};
use crate::{
    domain::id::{ApplicationName, Digest, Region, RunbookName, StepId, Subject},
    engine::control::{StartRun, Wish},
};

/// The largest loss that may be accepted in a request: a day. More is no objective any more.
pub const ACCEPT_DATA_LOSS_SECONDS_MAX: u32 = 86_400;

/// How to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A switchover where its preconditions are proved; else a failover is proposed, never started silently.
    Auto,
    /// Planned and lossless, from a healthy source.
    Switchover,
    /// The source Region is lost or failing; may lose writes.
    Failover,
}

/// The body of `POST /failover`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FailoverRequest {
    #[schema(value_type = String, pattern = "^[a-z0-9-]{1,64}$")]
    pub application: ApplicationName,
    pub mode: Mode,
    /// Where to; the only other Region if absent.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub target_region: Option<Region>,
    /// Why, for those who read it later. No control characters.
    #[schema(min_length = 1, max_length = 1024)]
    pub reason: String,
    /// How many seconds of acknowledged writes may be lost. Not with `mode: switchover`, which loses none.
    #[serde(default)]
    #[schema(maximum = 86400)]
    pub accept_data_loss_seconds: Option<u32>,
    /// Another runbook than the application's own for this move, such as `detach-and-promote`: one that this daemon has
    /// read, and that is for this purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, pattern = "^[a-z0-9-]{1,64}$")]
    pub runbook: Option<RunbookName>,
    /// Compile and show the plan; start nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// The body of `POST /failback`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FailbackRequest {
    #[schema(value_type = String, pattern = "^[a-z0-9-]{1,64}$")]
    pub application: ApplicationName,
    /// Where to; the preferred Region if absent.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub target_region: Option<Region>,
    /// Why, for those who read it later. No control characters.
    #[schema(min_length = 1, max_length = 1024)]
    pub reason: String,
    /// Compile and show the plan; start nothing.
    #[serde(default)]
    pub dry_run: bool,
}

impl Concerns for FailoverRequest {
    fn application(&self) -> Option<&ApplicationName> {
        Some(&self.application)
    }
}

impl Concerns for FailbackRequest {
    fn application(&self) -> Option<&ApplicationName> {
        Some(&self.application)
    }
}

impl FailoverRequest {
    /// The request to the engine.
    pub fn into_start(self, subject: Subject, key: Option<String>) -> Result<StartRun, Problem> {
        let body_digest = Digest::of_json(&("failover", &self));
        if let Some(seconds) = self.accept_data_loss_seconds {
            if self.mode == Mode::Switchover {
                return Err(invalid_field(
                    "accept_data_loss_seconds",
                    "a switchover loses nothing, so there is nothing to accept",
                ));
            }
            if seconds > ACCEPT_DATA_LOSS_SECONDS_MAX {
                return Err(invalid_field(
                    "accept_data_loss_seconds",
                    format!("expected 0 to {ACCEPT_DATA_LOSS_SECONDS_MAX}"),
                ));
            }
        }
        Ok(StartRun {
            application: self.application,
            wish: match self.mode {
                Mode::Auto => Wish::Auto,
                Mode::Switchover => Wish::Switchover,
                Mode::Failover => Wish::Failover,
            },
            target: self.target_region,
            reason: reason(&self.reason)?,
            accept_data_loss: self.accept_data_loss_seconds.map(|s| Duration::from_secs(s.into())),
            runbook: self.runbook,
            subject,
            idempotency_key: key,
            body_digest,
            dry_run: self.dry_run,
        })
    }
}

impl FailbackRequest {
    /// The request to the engine.
    pub fn into_start(self, subject: Subject, key: Option<String>) -> Result<StartRun, Problem> {
        let body_digest = Digest::of_json(&("failback", &self));
        let request =
            plain((self.application, Wish::Failback), (&self.reason, self.dry_run), (subject, key), body_digest)?;
        Ok(StartRun { target: self.target_region, ..request })
    }
}

/// What is asked for in a reader's words, of whom; no target, loss or runbook is named.
pub(super) fn plain(
    (application, wish): (ApplicationName, Wish),
    (why, dry_run): (&str, bool),
    (subject, idempotency_key): (Subject, Option<String>),
    body_digest: Digest,
) -> Result<StartRun, Problem> {
    Ok(StartRun {
        application,
        wish,
        target: None,
        reason: reason(why)?,
        accept_data_loss: None,
        runbook: None,
        subject,
        idempotency_key,
        body_digest,
        dry_run,
    })
}

/// What an approver says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Approve,
    Decline,
}

/// The body of `POST /runs/{id}/approvals`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRequest {
    /// The step that waits for approval.
    #[schema(value_type = String)]
    pub step: StepId,
    pub decision: Decision,
    /// The plan's digest as it was shown to the approver.
    #[schema(value_type = String, pattern = "^[0-9a-f]{64}$")]
    pub digest: Digest,
    #[schema(min_length = 1, max_length = 1024)]
    pub reason: String,
}

/// The body of `POST /runs/{id}/abort` and `/pause`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StopRequest {
    #[schema(min_length = 1, max_length = 1024)]
    pub reason: String,
    /// The plan's digest as it was shown; checked if given. Not demanded: stopping must be easy.
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = "^[0-9a-f]{64}$")]
    pub digest: Option<Digest>,
}

/// The body of `POST /runs/{id}/resume`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeRequest {
    #[schema(min_length = 1, max_length = 1024)]
    pub reason: String,
    /// The plan's digest as it was shown.
    #[schema(value_type = String, pattern = "^[0-9a-f]{64}$")]
    pub digest: Digest,
}

/// The body of `POST /runs/{id}/steps/{step}/retry` and `/skip`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StepRequest {
    #[schema(min_length = 1, max_length = 1024)]
    pub reason: String,
    /// The plan's digest as it was shown.
    #[schema(value_type = String, pattern = "^[0-9a-f]{64}$")]
    pub digest: Digest,
}

impl Concerns for ApprovalRequest {
    fn application(&self) -> Option<&ApplicationName> {
        None
    }
}

impl Concerns for StopRequest {
    fn application(&self) -> Option<&ApplicationName> {
        None
    }
}

impl Concerns for ResumeRequest {
    fn application(&self) -> Option<&ApplicationName> {
        None
    }
}

impl Concerns for StepRequest {
    fn application(&self) -> Option<&ApplicationName> {
        None
    }
}

/// The most runs in one page.
pub const PAGE_RUNS_MAX: usize = 200;

/// The runs in one page where `limit` is not given.
pub const PAGE_RUNS_DEFAULT: usize = 50;

/// The query of `GET /runs`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RunsQuery {
    /// Only runs of this application.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    pub application: Option<ApplicationName>,
    /// Only runs in this state.
    #[serde(default)]
    #[param(inline)]
    pub state: Option<RunStateName>,
    /// At most so many, 1 to 200; 50 if absent.
    #[serde(default)]
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<usize>,
    /// Go on after this: the `next_cursor` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
}
