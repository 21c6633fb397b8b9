//! What infrastructure code must learn of a move: the changes that stand, and what is to be written for Terraform and
//! for CloudFormation.
//!
//! Invariant: as in [`super::view`]; a value that was not seen says why, and a secret is not told.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    extract::{ApplicationPath, Params, RunPath},
    problem::Problem,
    runs::with_run,
};
use crate::{
    domain::{
        application::Application,
        history::History,
        id::RunId,
        patch::{Change, Patch, Remedy, Said, Side, cloudformation, terraform},
        run::RunState,
    },
    engine::control::Refusal,
};

/// What stands that infrastructure code describes otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PatchView {
    pub application: String,
    /// In the order of their starts.
    pub runs: Vec<String>,
    /// One of them is not over: it may change more, and applies must wait.
    pub under_way: bool,
    /// One line for whoever applies infrastructure code; `null`: nothing to know.
    pub note: Option<String>,
    /// In the order in which they were made.
    pub changes: Vec<ChangeView>,
    /// Override files, one for each module.
    pub terraform: Vec<TerraformFileView>,
    /// One entry for each stack.
    pub cloudformation: Vec<StackView>,
}

/// One attribute of one resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChangeView {
    pub run: String,
    pub step: String,
    /// `rds:FailoverGlobalCluster`.
    pub operation: String,
    /// Its ARN where that is known: what `[applications.iac]` maps.
    pub resource: String,
    pub before: SaidView,
    pub after: SaidView,
    /// `observed`, `accepted` (its effect was not observed) or `unknown` (whether the call arrived).
    pub certainty: String,
    pub terraform: SideView,
    pub cloudformation: SideView,
}

/// What is known of a value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SaidView {
    /// `known`, `unknown` or `hidden` (a secret).
    pub is: String,
    /// Where it is known; `null` then means that nothing was set.
    #[schema(value_type = Value)]
    pub value: Value,
    /// How it is known, or why not.
    pub basis: Option<String>,
}

/// What a change means to one tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SideView {
    /// `aws_rds_cluster`, `AWS::RDS::DBCluster`; `null`: not known to failoverd.
    pub kind: Option<String>,
    pub attribute: String,
    /// Where the resource stands, by the configuration; `null`: it is not mapped.
    pub address: Option<String>,
    /// `write`, `ignore`, `leave` (on purpose), `nothing` (it is in no code) or `look` (unknown to failoverd).
    pub remedy: String,
    /// With `write`: the value; `null`: remove the attribute.
    #[schema(value_type = Value)]
    pub write: Value,
    /// With `ignore`: the attributes for `ignore_changes`.
    pub ignore: Vec<String>,
    /// What happens where nothing is done about it.
    pub otherwise: String,
}

/// An override file of Terraform.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TerraformFileView {
    /// The module into whose directory it goes: `module.db`; empty: the root module.
    pub module: String,
    pub file: String,
    pub text: String,
}

/// What is to be done about one stack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StackView {
    /// `FILL IN` where it is not mapped.
    pub stack: String,
    /// A JSON Patch (RFC 6902) of its template.
    #[schema(value_type = Vec<Object>)]
    pub patch: Vec<Value>,
    pub notes: Vec<String>,
}

impl PatchView {
    pub fn new(patch: &Patch, application: Option<&Application>) -> Self {
        let none = Default::default();
        let addresses = application.map_or(&none, |a| &a.iac);
        let change = |change: &Change| ChangeView {
            run: change.run.to_string(),
            step: change.step.to_string(),
            operation: change.operation.clone(),
            resource: change.resource.id.clone(),
            before: SaidView::from(&change.before),
            after: SaidView::from(&change.after),
            certainty: change.certainty.as_str().to_owned(),
            terraform: side(&change.terraform, terraform::address(change, addresses)),
            cloudformation: side(&change.cloudformation, cloudformation::address(change, addresses)),
        };
        let file = |file: terraform::File| TerraformFileView {
            module: file.module,
            file: terraform::FILE.to_owned(),
            text: file.text,
        };
        let stack =
            |stack: cloudformation::Stack| StackView { stack: stack.stack, patch: stack.patch, notes: stack.notes };
        Self {
            application: patch.application.to_string(),
            runs: patch.runs.iter().map(ToString::to_string).collect(),
            under_way: patch.under_way,
            note: patch.note(),
            changes: patch.changes.iter().map(change).collect(),
            terraform: terraform::files(patch, addresses).into_iter().map(file).collect(),
            cloudformation: cloudformation::stacks(patch, addresses).into_iter().map(stack).collect(),
        }
    }
}

fn side(side: &Side, address: Option<&impl ToString>) -> SideView {
    let (write, ignore) = match &side.remedy {
        Remedy::Write(value) => (value.clone(), Vec::new()),
        Remedy::Ignore(attributes) => (Value::Null, attributes.iter().map(ToString::to_string).collect()),
        Remedy::Leave | Remedy::Nothing | Remedy::Look => (Value::Null, Vec::new()),
    };
    SideView {
        kind: side.kind.map(str::to_owned),
        attribute: side.attribute.clone(),
        address: address.map(ToString::to_string),
        remedy: side.remedy.as_str().to_owned(),
        write,
        ignore,
        otherwise: side.otherwise.clone(),
    }
}

impl From<&Said> for SaidView {
    fn from(said: &Said) -> Self {
        let (is, value, basis) = match said {
            Said::Known { value, basis } => ("known", value.clone(), Some(basis.clone())),
            Said::Unknown { why } => ("unknown", Value::Null, Some(why.clone())),
            Said::Hidden => ("hidden", Value::Null, None),
        };
        Self { is: is.to_owned(), value, basis }
    }
}

/// The runs of `history` in the order of their starts, from `since` on.
pub(super) fn runs_since<'a>(history: &'a History, since: Option<&RunId>) -> Vec<&'a RunState> {
    let mut runs: Vec<&RunState> = history.runs.values().map(AsRef::as_ref).collect();
    runs.sort_by(|a, b| (a.started_at, &a.id).cmp(&(b.started_at, &b.id)));
    let first = since.and_then(|id| runs.iter().position(|run| run.id == *id)).unwrap_or(0);
    runs.split_off(first)
}

/// Which runs of an application.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SinceQuery {
    /// The first run; without it, all of the journal.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    pub since: Option<RunId>,
}

/// What one run has changed that infrastructure code describes otherwise, up to now.
#[utoipa::path(
    get, path = "/runs/{id}/patch", operation_id = "get_run_patch", tag = "runs",
    params(("id" = String, Path, description = "The run")),
    responses(
        (status = 200, description = "What stands of it", body = PatchView),
        (status = 404, description = "`unknown-run`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn of_run(State(api): State<Api>, RunPath(id): RunPath) -> Result<Json<PatchView>, Problem> {
    let applications = api.control.applications();
    let application = applications.iter().find(|a| a.name == id.application()).map(AsRef::as_ref);
    let patch = with_run(&api, &id, |run| Patch::of(run, application))?;
    Ok(Json(PatchView::new(&patch, application)))
}

/// What the runs of an application have changed together: what one of them has put back is not in it.
#[utoipa::path(
    get, path = "/applications/{name}/patch", operation_id = "get_application_patch", tag = "applications",
    params(("name" = String, Path, description = "The application"), SinceQuery),
    responses(
        (status = 200, description = "What stands of it", body = PatchView),
        (status = 404, description = "`unknown-application`, `unknown-run`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn of_application(
    State(api): State<Api>,
    ApplicationPath(name): ApplicationPath,
    Params(query): Params<SinceQuery>,
) -> Result<Json<PatchView>, Problem> {
    let applications = api.control.applications();
    let application = applications.iter().find(|a| a.name == name);
    let (Some(application), Some(history)) = (application, api.control.history(&name)) else {
        return Err(Refusal::UnknownApplication(name).into());
    };
    if let Some(since) = query.since.as_ref().filter(|id| !history.runs.contains_key(id)) {
        return Err(api.control.unknown_run(since).into());
    }
    let runs = runs_since(&history, query.since.as_ref());
    let patch = Patch::net(application, runs.into_iter());
    Ok(Json(PatchView::new(&patch, Some(application))))
}
