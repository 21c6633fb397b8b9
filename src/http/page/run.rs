//! One run: its steps against its RTO, what it waits for and for whom, and what may be done to it.
//!
//! Invariant: what is shown is the journal's word and the newest look; the forms are those that the run's state takes, for
//! what the caller may do. The engine refuses what it must, whatever a form says.

use axum::{extract::State, http::HeaderMap, response::Response};
use jiff::Timestamp;
use maud::{Markup, html};

use super::{
    acts,
    door::Form,
    frame::Html,
    layout::Shell,
    plot::{self, Clocked},
    words::{self, Tone, chip, forecast_meter, meter, or_unknown, prose, seconds},
};
use crate::http::{
    Api,
    auth::{PAGE, Permission, Principal},
    events as live,
    evidence::Wanted,
    extract::{Params, RunPath},
    problem::Problem,
    runs::view,
    salvage::ReconciliationState,
    step::{StepStateName, StepView},
    view::{RunStateName, RunView},
};

/// One run.
#[utoipa::path(get, path = "/ui/runs/{id}", operation_id = "page_run", tag = "page",
    params(("id" = String, Path, description = "The run")),
    responses((status = 200, description = "A page")))]
pub(super) async fn run(
    State(api): State<Api>,
    principal: Principal,
    Form(form): Form,
    RunPath(id): RunPath,
) -> Result<Html, Problem> {
    let run = view(&api, &id)?;
    let now = api.access.clock.as_ref().map(|clock| clock.wall());
    let title = format!("{} of {}", run.purpose, run.application);
    let events = format!("{PAGE}/runs/{id}/events");
    let shell = Shell::new(&api, &principal, &form, &title);
    let shell = if run.state.is_final() { shell } else { shell.live(3, Some(&events)) };
    let operates = principal.may(Permission::Operate, &id.application());
    let approves = principal.may(Permission::Approve, &id.application());
    let main = html! {
        p { a href={ (PAGE) "/applications/" (run.application) } { "← " (run.application) } }
        section #state data-live { (head(&run, now, approves)) }
        section #acts data-form { @if operates { (acts::of_run(&shell, &run)) } }
        section #timeline data-live { h2 { "The run against its RTO" } (timeline(&run, now)) }
        section #steps data-live { h2 { "Steps" } (steps(&run, now)) }
        section #step-acts data-form { @if operates { (acts::of_steps(&shell, &run)) } }
        section #people data-live { (people(&run)) }
        section #after data-live { (after(&run)) }
        section #evidence { (links(&run)) }
    };
    Ok(Html::of(shell.page(&main)))
}

/// The same stream as the API's, for a browser that cannot send a token with it.
#[utoipa::path(get, path = "/ui/runs/{id}/events", operation_id = "page_run_events", tag = "page",
    params(("id" = String, Path, description = "The run")),
    responses((status = 200, description = "Server-sent events"), (status = 204, description = "The run is over")))]
pub(super) async fn events(state: State<Api>, run: RunPath, headers: HeaderMap) -> Result<Response, Problem> {
    live::stream(state, run, headers).await
}

/// The same evidence as the API's.
#[utoipa::path(get, path = "/ui/runs/{id}/evidence", operation_id = "page_run_evidence", tag = "page",
    params(("id" = String, Path, description = "The run")),
    responses((status = 200, description = "A file")))]
pub(super) async fn evidence(state: State<Api>, run: RunPath, wanted: Params<Wanted>) -> Result<Response, Problem> {
    crate::http::evidence::evidence(state, run, wanted).await
}

fn head(run: &RunView, now: Option<Timestamp>, approves: bool) -> Markup {
    let waiting = awaits_approval(run);
    html! {
        div.title {
            h1 { (run.application) ": " (run.purpose) " " (run.source) " → " (run.target) }
            (words::run_state(run.state))
        }
        p.dim {
            "Run " code { (run.id) } ", started " (words::time(run.started_at)) " by " strong { (run.requested_by) } ": "
            q { (run.reason) }
        }
        @if let Some(reason) = &run.state_reason {
            p.problem[matches!(run.state, RunStateName::Held | RunStateName::Failed)] {
                @if let Some(code) = &run.held_code { code { (code) } ": " }
                (prose(reason))
                @if let Some(since) = run.state_since { " (since " (words::clock(since)) ")" }
            }
        }
        @if let Some(what) = &run.waits_for { p.waits { (chip(Tone::Busy, "waits for")) " " (prose(what)) } }
        @if waiting {
            p {
                a.button.primary[approves] href={ (PAGE) "/runs/" (run.id) "/approval" } {
                    @if approves { "Read the plan and decide…" } @else { "What is to be approved" }
                }
                span.dim { " Send its approver this page's address with " code { "/approval" } " at its end." }
            }
        }
        (clock(run, now))
        @if let Some(step) = &run.no_return { p.dim { "From step " strong { (step) } " on, no step leads back." } }
    }
}

/// Whether an approval is what it waits for now.
pub(super) fn awaits_approval(run: &RunView) -> bool {
    !run.state.is_final() && run.steps.iter().any(|s| s.action == "approve" && s.state == StepStateName::Running)
}

fn clock(run: &RunView, now: Option<Timestamp>) -> Markup {
    let Some(d) = &run.deadline else {
        return html! { p { (words::unknown()) " how it stands to the RTO: nothing was assessed here since the start." } };
    };
    let late = now.filter(|_| !run.state.is_final()).map_or(0.0, |now| words::between(d.at, now));
    let used = run.clock.total_seconds.or(d.used_seconds.map(|used| used + late));
    html! {
        div.figures {
            @if used.is_some() || run.clock.evidence_since.is_some() {
                (meter(if run.clock.total_seconds.is_some() { "RTO, measured" } else { "RTO used" }, used, d.rto_objective_seconds, &html! {
                    @match run.clock.evidence_since {
                        Some(since) => { "since the first evidence, " (words::clock(since)) }
                        None => { "since the run began" }
                    }
                }))
            }
            @if let (Some(p50), Some(p95)) = (d.remaining_p50_seconds, d.remaining_p95_seconds) {
                (forecast_meter("Expected to remain", (Some(p50), Some(p95)), d.left_seconds.unwrap_or(d.rto_objective_seconds), &html! {
                    "one time in twenty over " (seconds(p95)) ", people's time not counted; "
                    @match d.forecast_runs { Some(0) | None => { "declared, not measured" } Some(n) => { "from " (n) " runs" } }
                }))
            }
            @for share in d.shares.iter().filter(|s| s.took_seconds.is_some()) {
                (meter(&words::word(&share.part), share.took_seconds, share.objective_seconds, &html! {
                    @if share.ended { "ended" } @else { "so far" }
                }))
            }
        }
        @for w in &d.warnings {
            p.warning {
                (chip(Tone::Warn, &words::word(&w.level))) " of the time of "
                @match &w.step { Some(step) => { "step " (step) } None => { (w.about) } }
                " is used: " (seconds(w.used_seconds)) " of " (seconds(w.whole_seconds))
            }
        }
    }
}

fn timeline(run: &RunView, now: Option<Timestamp>) -> Markup {
    let newest = run.steps.iter().filter_map(|s| s.finished_at.or(s.started_at)).max();
    let end = run.finished_at.or(now).or(newest).unwrap_or(run.started_at);
    let zero = run.clock.evidence_since.unwrap_or(run.started_at).min(run.started_at);
    let rto_seconds = run.deadline.as_ref().map(|d| d.rto_objective_seconds);
    plot::timeline(&run.steps, Clocked { zero, now: end, rto_seconds })
}

fn steps(run: &RunView, now: Option<Timestamp>) -> Markup {
    let done = run.steps.iter().filter(|s| s.state == StepStateName::Done).count();
    html! {
        p.dim { (done) " of " (run.steps.len()) " done" }
        ol.steps { @for step in &run.steps { (row(run, step, now)) } }
    }
}

fn row(run: &RunView, step: &StepView, now: Option<Timestamp>) -> Markup {
    let is_no_return = run.no_return.as_deref() == Some(step.id.as_str());
    let took = step.started_at.and_then(|began| step.finished_at.or(now).map(|end| words::between(began, end)));
    html! {
        li class=(if is_no_return { "step no-return" } else { "step" }) id={ "step-" (step.id) } {
            @if is_no_return { p.border { (chip(Tone::Warn, "no way back from here on")) } }
            div {
                (words::step_state(step.state)) " " strong { (step.title) } " " span.dim { (step.id) }
                @if step.attempt > 1 { span.dim { ", attempt " (step.attempt) } }
                @if let Some(took) = took { span.dim { ", " (seconds(took)) } }
            }
            @if let Some(detail) = &step.detail { div { (prose(detail)) } }
            @match &step.evidence[..] {
                [] => {}
                [seen] => { div.dim { (seen) } }
                [.., last] => {
                    details id={ "seen-" (step.id) } {
                        summary.dim { (last) }
                        ul.dim { @for seen in &step.evidence { li { (seen) } } }
                    }
                }
            }
        }
    }
}

fn people(run: &RunView) -> Markup {
    html! {
        @if !run.approvals.is_empty() {
            h2 { "Approvals" }
            ul.plain {
                @for a in &run.approvals {
                    li {
                        (chip(if a.approved { Tone::Well } else { Tone::Bad }, if a.approved { "approved" } else { "declined" }))
                        " " strong { (a.subject) } " at step " (a.step) ", " (words::time(a.at)) ": " q { (a.reason) }
                    }
                }
            }
        }
    }
}

/// What it has cost, and what it leaves.
fn after(run: &RunView) -> Markup {
    html! {
        @if let Some(loss) = &run.loss {
            h2 { "What was lost" }
            p {
                "At least " (or_unknown(loss.at_least_seconds)) ", at most "
                @match loss.at_most_seconds { Some(most) => { (seconds(most)) } None => { (chip(Tone::Unknown, "not bounded")) } }
                " of acknowledged writes. " span.dim { (loss.basis) }
            }
        }
        @if let Some(note) = &run.infrastructure_code { p.dim { (prose(note)) } }
        @if !run.deferred.is_empty() {
            h2 { "Left open" }
            ul.plain { @for work in &run.deferred { li { (chip(Tone::Warn, &work.state)) " " (work.what) } } }
        }
        @if let Some(r) = &run.reconciliation {
            h2 { "What it left in the old Region" }
            p {
                @match r.state {
                    ReconciliationState::Open => {
                        (chip(Tone::Warn, "open")) " nobody has signed for it: nothing planned leads back there until somebody has"
                    }
                    ReconciliationState::Signed => { (chip(Tone::Well, "signed")) }
                    ReconciliationState::Acknowledged => { (chip(Tone::Well, "acknowledged")) " without a salvage" }
                }
                @if !r.signed_by.is_empty() { ", signed by " (r.signed_by.join(", ")) }
                @if let Some(salvage) = &r.salvage { ": " a href={ (PAGE) "/runs/" (salvage) } { (salvage) } }
            }
        }
    }
}

fn links(run: &RunView) -> Markup {
    let base = format!("{PAGE}/runs/{}", run.id);
    html! {
        h2 { "Evidence" }
        ul.links {
            li { a href={ (base) "/approval" } { "The plan, and what was known when it was made" } }
            li { a href={ (base) "/evidence?form=html" } { "A page that opens without a network" } }
            li { a href={ (base) "/evidence?form=jsonl" } { "JSON lines, sealed" } " for " code { "failoverd evidence verify" } }
            @if let Some(before) = &run.supersedes { li { "It took the place of " a href={ (PAGE) "/runs/" (before) } { (before) } } }
            @if let Some(of) = &run.reconciles { li { "It reconciles " a href={ (PAGE) "/runs/" (of) } { (of) } } }
        }
        p.dim { "The plan's digest: " code { (run.plan_digest) } }
    }
}
