//! The runbooks that this daemon has read, and what is to be known about each before the worst day.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{Json, extract::State};

use super::{
    Api,
    auth::{Permission, Principal},
    plan::{RunbookStepView, RunbookView, RunbooksView},
};
use crate::domain::{
    application::Application,
    compile::{compile, directions},
    id::Digest,
    plan::Purpose,
    runbook::Runbook,
    stability,
};

/// Every runbook: what it is for, its steps, its digest, and what the lint says of it.
#[utoipa::path(
    get, path = "/runbooks", operation_id = "list_runbooks", tag = "runbooks",
    responses((status = 200, description = "All of them, by name", body = RunbooksView))
)]
pub async fn list(State(api): State<Api>, principal: Principal) -> Json<RunbooksView> {
    let applications = api.shown_to(&principal);
    let people = |of: &Application| {
        let may = |permission| api.access.people(permission, Some(&of.name));
        Some(stability::people_besides(&may(Permission::Approve)?, &may(Permission::Operate)?))
    };
    let runbooks = api.control.runbooks();
    let shown = runbooks.iter().map(|(runbook, digest)| view(runbook, digest, &applications, &people));
    Json(RunbooksView { runbooks: shown.collect() })
}

fn view(
    runbook: &Runbook,
    digest: &Digest,
    applications: &[Arc<Application>],
    people: &dyn Fn(&Application) -> Option<usize>,
) -> RunbookView {
    let mut used_by: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut warnings = BTreeSet::new();
    for app in applications {
        let uses = app.uses().filter(|(_, name)| **name == runbook.name).map(|(purpose, _)| purpose);
        for purpose in uses {
            used_by.entry(app.name.to_string()).or_default().push(purpose.to_string());
            warnings.extend(findings(app, runbook, purpose, people(app)));
        }
    }
    let step = |s: &crate::domain::runbook::Step| RunbookStepView {
        id: s.id.to_string(),
        title: s.title.clone(),
        needs: s.needs.iter().map(ToString::to_string).collect(),
    };
    RunbookView {
        name: runbook.name.to_string(),
        purposes: runbook.purposes.iter().map(ToString::to_string).collect(),
        description: runbook.description.clone(),
        steps: runbook.steps.iter().map(step).collect(),
        digest: digest.to_string(),
        used_by,
        warnings: warnings.into_iter().collect(),
    }
}

/// In every direction; the same in several is said once.
fn findings(app: &Application, runbook: &Runbook, purpose: Purpose, people: Option<usize>) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (source, target) in directions(app, purpose) {
        let none = Digest::zero();
        match compile(app, runbook, purpose, source, target, None, &none, &none) {
            Ok(plan) => {
                let found = stability::lint(&plan, app, people);
                all.extend(found.into_iter().map(|f| {
                    format!("{}: {source} -> {target}: step `{}` {}; use {}", f.code, f.step, f.problem, f.instead)
                }));
            }
            Err(faults) => all.extend(faults.into_iter().map(|f| format!("runbook-uncompilable: {f}"))),
        }
    }
    all
}
