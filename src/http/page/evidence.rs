//! What was proved, the newest first, with the files that prove it.

use axum::extract::State;
use maud::{Markup, html};

use super::{door::Form, frame::Html, layout::Shell, words};
use crate::http::{
    Api,
    auth::{PAGE, Principal},
    evidence::list::{EvidenceQuery, EvidenceView, page_of},
    extract::Params,
    problem::Problem,
};

/// The evidence of runs that are over, paged.
#[utoipa::path(get, path = "/ui/evidence", operation_id = "page_evidence_list", tag = "page",
    responses((status = 200, description = "A page")))]
pub(super) async fn evidence(
    State(api): State<Api>,
    principal: Principal,
    Form(form): Form,
    Params(query): Params<EvidenceQuery>,
) -> Result<Html, Problem> {
    let asked = query.clone();
    let page = page_of(&api, &principal, query).await?;
    let main = html! {
        h1 {
            "Evidence"
            @if let Some(name) = &asked.application { " of " a href={ (PAGE) "/applications/" (name) } { (name) } }
        }
        p.dim { "What each run that is over has proved, drills among them. " code { "failoverd evidence verify" } " proves a file of JSON lines." }
        @if page.evidence.is_empty() { p.dim { "There is none." } } @else {
            ol.runs { @for one in &page.evidence { (row(one)) } }
        }
        @if let Some(cursor) = &page.next_cursor {
            nav.pager aria-label="Pages of evidence" {
                a rel="next" href={
                    (PAGE) "/evidence?cursor=" (cursor)
                    @if let Some(name) = &asked.application { "&application=" (name) }
                    @if let Some(purpose) = &asked.purpose { "&purpose=" (purpose) }
                    @if let Some(since) = &asked.since { "&since=" (since) }
                } { "Older evidence" }
            }
        }
    };
    Ok(Html::of(Shell::new(&api, &principal, &form, "Evidence").page(&main)))
}

fn row(one: &EvidenceView) -> Markup {
    let link = format!("{PAGE}/runs/{}", one.run);
    html! {
        li {
            div {
                (words::run_state(one.result)) " "
                a href=(link) { (one.application) ": " (one.purpose) " " (one.source) " → " (one.target) }
            }
            div {
                "RTO " (measured(one.rto_seconds)) " of " (words::seconds(one.rto_objective_seconds)) ": " (met(one.rto_met))
                ". RPO " (lost(one)) " of " (words::seconds(one.rpo_objective_seconds)) ": " (met(one.rpo_met)) "."
            }
            div.dim {
                (words::time(one.ended_at)) ", "
                @match &one.signed_by { Some(key) => { "signed by " code { (key) } } None => { "signed by nobody" } }
                @match one.kept { Some(true) => { ", kept" } Some(false) => { ", not kept yet" } None => {} }
                ": " a href={ (link) "/evidence?form=html" } { "page" } ", "
                a href={ (link) "/evidence?form=jsonl" } { "JSON lines" }
            }
            div.dim { "SHA-256 " code { (one.sha256) } }
        }
    }
}

fn measured(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "not measured".to_owned(), words::seconds)
}

fn lost(one: &EvidenceView) -> String {
    match (one.loss_at_least_seconds, one.loss_at_most_seconds) {
        (None, None) => "not measured".to_owned(),
        (least, most) => {
            let least = least.map_or_else(|| "?".to_owned(), words::seconds);
            let most = most.map_or_else(|| "not bounded".to_owned(), words::seconds);
            format!("{least} to {most}")
        }
    }
}

fn met(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "met",
        Some(false) => "missed",
        None => "not known",
    }
}
