//! Runs as rows, newest first.

use axum::extract::State;
use maud::{Markup, html};

use super::{door::Form, frame::Html, layout::Shell, words};
use crate::http::{
    Api,
    auth::{PAGE, Principal},
    dto::RunsQuery,
    extract::Params,
    problem::Problem,
    runs::page_of,
    view::{RunStateName, RunSummary},
};

/// The runs, paged.
#[utoipa::path(get, path = "/ui/runs", operation_id = "page_runs", tag = "page",
    responses((status = 200, description = "A page")))]
pub(super) async fn runs(
    State(api): State<Api>,
    principal: Principal,
    Form(form): Form,
    Params(query): Params<RunsQuery>,
) -> Result<Html, Problem> {
    let of = query.application.clone();
    let page = page_of(&api, &principal, query)?;
    let main = html! {
        h1 { "Runs" @if let Some(name) = &of { " of " a href={ (PAGE) "/applications/" (name) } { (name) } } }
        section #runs { (table(&page.runs)) }
        @if let Some(cursor) = &page.next_cursor {
            nav.pager aria-label="Pages of runs" {
                a rel="next" href={
                    (PAGE) "/runs?cursor=" (cursor) @if let Some(name) = &of { "&application=" (name) }
                } { "Older runs" }
            }
        }
    };
    Ok(Html::of(Shell::new(&api, &principal, &form, "Runs").page(&main)))
}

/// Runs, with what each left to read.
pub(super) fn table(runs: &[RunSummary]) -> Markup {
    html! {
        @if runs.is_empty() { p.dim { "There was none." } } @else {
            ol.runs {
                @for run in runs { (row(run)) }
            }
        }
    }
}

fn row(run: &RunSummary) -> Markup {
    let link = format!("{PAGE}/runs/{}", run.id);
    let took = run.finished_at.map(|end| words::seconds(words::between(run.started_at, end)));
    html! {
        li {
            div {
                (words::run_state(run.state)) " "
                a href=(link) { (run.application) ": " (run.purpose) " " (run.source) " → " (run.target) }
            }
            div.dim {
                (words::time(run.started_at)) ", by " (run.requested_by)
                @match took { Some(took) => { ", for " (took) } None => { ", not over" } }
                ": " q { (run.reason) }
            }
            @if let Some(what) = &run.waits_for { div { "Waits for " (words::prose(what)) } }
            @if run.state.is_final() || run.state == RunStateName::Held {
                div.dim {
                    "Evidence: " a href={ (link) "/evidence?form=html" } { "page" } ", "
                    a href={ (link) "/evidence?form=jsonl" } { "JSON lines" }
                }
            }
        }
    }
}
