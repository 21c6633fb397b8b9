//! Salvages: asked for, and what one has found of a failover: the reconciliation report that is signed.
//!
//! Invariant: a look that is not done yet, or was passed over, is `unknown`; nothing here is zero because it was not read.

use std::collections::BTreeMap;

use axum::{extract::State, response::Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    Api,
    auth::Principal,
    dto::plain,
    extract::{Body, Concerns, IdempotencyKey},
    plan::PlanView,
    problem::Problem,
    runs::start,
    view::StartedView,
};
use crate::{
    domain::{
        action::Action,
        application::Application,
        history::History,
        id::{ApplicationName, Digest, RunId, Subject},
        run::{RunState, StepState},
        salvage::{self, Salvage},
    },
    engine::control::{StartRun, Wish},
};

/// The body of `POST /salvage`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SalvageRequest {
    #[schema(value_type = String, pattern = "^[a-z0-9-]{1,64}$")]
    pub application: ApplicationName,
    /// The failover that is to be reconciled; the newest that nobody has if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub run: Option<RunId>,
    /// Why, for those who read it later. No control characters.
    #[schema(min_length = 1, max_length = 1024)]
    pub reason: String,
    /// Compile and show the plan; start nothing.
    #[serde(default)]
    pub dry_run: bool,
}

impl Concerns for SalvageRequest {
    fn application(&self) -> Option<&ApplicationName> {
        Some(&self.application)
    }
}

impl SalvageRequest {
    /// The request to the engine.
    pub fn into_start(self, subject: Subject, key: Option<String>) -> Result<StartRun, Problem> {
        let body_digest = Digest::of_json(&("salvage", &self));
        plain(
            (self.application, Wish::Salvage { run: self.run }),
            (&self.reason, self.dry_run),
            (subject, key),
            body_digest,
        )
    }
}

/// Looks at what a forced failover has left in the Region that it left, for a person to sign. It moves nothing.
///
/// A failover takes its place at once. Until one is signed, nothing planned leads to that Region.
#[utoipa::path(
    post, path = "/salvage", operation_id = "salvage", tag = "runs",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters: the same key and body give the same run")),
    request_body = SalvageRequest,
    responses(
        (status = 202, description = "The run was started, or had been with the same key and body", body = StartedView, headers(("Location" = String, description = "/runs/{id}"))),
        (status = 200, description = "dry_run: what would be looked at", body = PlanView),
        (status = 404, description = "`unknown-application`, `unknown-run`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`already-running`, `nothing-to-salvage`, `application-held`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid-request`, `idempotency-key-reused`, `runbook-uncompilable`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`stopping`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn salvage(
    State(api): State<Api>,
    principal: Principal,
    IdempotencyKey(key): IdempotencyKey,
    Body(body): Body<SalvageRequest>,
) -> Result<Response, Problem> {
    start(&api, body.into_start(principal.subject, key)?).await
}

/// Whether what a failover has left was dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReconciliationState {
    /// Nobody has signed; nothing planned leads to the Region that was left.
    Open,
    /// A person has signed a salvage.
    Signed,
    /// A person has said so without a salvage.
    Acknowledged,
}

/// What a failover has left, as the newest salvage of it has found it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReconciliationView {
    pub state: ReconciliationState,
    /// The salvage that is shown: the one that was signed, else the newest; `null`: there was none.
    pub salvage: Option<String>,
    pub signed_by: Vec<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub signed_at: Option<Timestamp>,
    /// The rescue snapshots, by store.
    pub snapshots: Vec<RescuedView>,
    /// When items of a global table may have been written on both sides, by store.
    pub conflicts: Vec<ConflictsView>,
    /// What was not replicated, by store.
    pub objects: Vec<ObjectsView>,
}

/// The rescue snapshot of one store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RescuedView {
    pub store: String,
    /// `copied`, `none` (the old writer was detached, and holds what it took), `gone` or `unknown`.
    pub state: String,
    /// What was seen, or why it is not known.
    pub says: Vec<String>,
}

/// The window of one global table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConflictsView {
    pub store: String,
    /// Whether both ends are known.
    pub known: bool,
    /// `null`: unknown.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub from: Option<Timestamp>,
    /// `null`: unknown.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// When traffic was first sent to the new Region.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub moved_at: Option<Timestamp>,
    /// The newest sign that a write of the old Region arrived after that.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub late_replication: Option<Timestamp>,
    /// What that rests on, or why it is not known.
    pub says: Vec<String>,
}

/// The objects of one store; a number that is `null` is unknown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ObjectsView {
    pub store: String,
    pub pending: Option<u64>,
    pub failed: Option<u64>,
    /// Of both.
    pub bytes: Option<u64>,
    /// Whether there are more than were listed or asked about; `null`: unknown.
    pub cut: Option<bool>,
    /// The first of both.
    pub keys: Vec<String>,
    pub says: Vec<String>,
}

impl ReconciliationView {
    /// What is known of `run`, a failover or a salvage of one; `None`: it left nothing.
    pub fn of(app: &Application, history: &History, run: &RunState) -> Option<Self> {
        let failover = match &run.plan.reconciles {
            Some(failover) => history.runs.get(failover)?,
            None => history.runs.get(&run.id).filter(|run| salvage::left_writes(app, run))?,
        };
        let reconciled = salvage::reconciled(history, &failover.id);
        let signed = reconciled.as_ref().and_then(|r| r.salvage.as_ref());
        let shown = match (&run.plan.reconciles, signed) {
            (Some(_), _) => Some(run),
            (None, Some(signed)) => history.runs.get(signed).map(AsRef::as_ref),
            (None, None) => salvage::salvages(history, &failover.id).next(),
        };
        let mut view = Self {
            state: match &reconciled {
                None => ReconciliationState::Open,
                Some(r) if r.salvage.is_some() => ReconciliationState::Signed,
                Some(_) => ReconciliationState::Acknowledged,
            },
            salvage: shown.map(|salvage| salvage.id.to_string()),
            signed_by: reconciled.iter().flat_map(|r| &r.by).map(ToString::to_string).collect(),
            signed_at: reconciled.as_ref().map(|r| r.at),
            snapshots: Vec::new(),
            conflicts: Vec::new(),
            objects: Vec::new(),
        };
        shown.into_iter().for_each(|salvage| view.take(salvage));
        Some(view)
    }

    fn take(&mut self, salvage: &RunState) {
        for step in &salvage.plan.steps {
            let Action::Salvage { look } = &step.action else { continue };
            let (store, looked) = (look.store().to_string(), Looked::of(salvage.steps.get(&step.id)));
            match **look {
                Salvage::Snapshot { .. } => {
                    let state = looked.text("state").unwrap_or("unknown").to_owned();
                    self.snapshots.push(RescuedView { store, state, says: looked.says });
                }
                Salvage::Conflicts { .. } => self.conflicts.push(ConflictsView {
                    store,
                    known: looked.get("known").and_then(Value::as_bool).unwrap_or(false),
                    from: looked.time("from"),
                    until: looked.time("until"),
                    moved_at: looked.time("moved_at"),
                    late_replication: looked.time("late_replication"),
                    says: looked.says,
                }),
                Salvage::Objects { .. } => {
                    let count = |name: &str| looked.get(name).and_then(Value::as_u64);
                    self.objects.push(ObjectsView {
                        store,
                        pending: count("pending"),
                        failed: count("failed"),
                        bytes: count("bytes"),
                        cut: looked.get("cut").and_then(Value::as_bool),
                        keys: looked.text("keys").into_iter().flat_map(str::lines).map(str::to_owned).collect(),
                        says: looked.says,
                    });
                }
            }
        }
    }
}

/// What a look has left behind.
struct Looked {
    outputs: BTreeMap<String, Value>,
    says: Vec<String>,
}

impl Looked {
    fn of(state: Option<&StepState>) -> Self {
        let (outputs, says) = match state {
            Some(StepState::Done { outputs, evidence, .. }) => (outputs.clone(), evidence.clone()),
            Some(StepState::Failed { reason, .. } | StepState::Skipped { reason, .. }) => {
                (BTreeMap::new(), vec![format!("unknown: {reason}")])
            }
            _ => (BTreeMap::new(), vec!["unknown: not looked at yet".to_owned()]),
        };
        Self { outputs, says }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.outputs.get(name)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }

    fn time(&self, name: &str) -> Option<Timestamp> {
        self.text(name)?.parse().ok()
    }
}
