//! What an approver is sent: the very plan with its digest, what was known when it was asked for and what is known now, and
//! a yes or a no.
//!
//! Invariants: the form holds the digest that is shown, so that a yes to another plan is refused as stale. Whoever asked for
//! the run is told so and given no form; the engine refuses them in any case.

use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use jiff::Timestamp;
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    application::signal_table, door::Form, form::Filled, frame::Html, layout::Shell, plan, run::awaits_approval, words,
};
use crate::{
    domain::{
        action::Action,
        id::{ApplicationName, Digest, RunId, StepId},
        journal::{Event, Record},
        run::{RunState, StepState},
    },
    engine::control::Act,
    http::{
        Api,
        applications::newest_decision,
        auth::{PAGE, Permission, Principal},
        condition::signal,
        decision::DecisionView,
        dto::Decision,
        extract::{Concerns, REASON_CHARS_MAX, RunPath},
        plan::{Known, PlanView},
        problem::Problem,
        runs::{perform, view, with_run},
        view::RunView,
    },
};

/// What the form sends: the members of the API's own request.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Decided {
    step: StepId,
    decision: Decision,
    digest: Digest,
    reason: String,
}

impl Concerns for Decided {
    fn application(&self) -> Option<&ApplicationName> {
        None
    }
}

/// The plan of a run, and what it rests on.
#[utoipa::path(get, path = "/ui/runs/{id}/approval", operation_id = "page_approval", tag = "page",
    params(("id" = String, Path, description = "The run")),
    responses((status = 200, description = "A page")))]
pub(super) async fn approval(
    State(api): State<Api>,
    principal: Principal,
    Form(form): Form,
    RunPath(id): RunPath,
) -> Result<Html, Problem> {
    let run = view(&api, &id)?;
    // Who could approve is told of whoever has asked for it, not of whoever reads.
    let asked_by = with_run(&api, &id, |run| run.request.subject.clone())?;
    let known = Known { api: &api, subject: &asked_by, outlook: None };
    let planned = with_run(&api, &id, |run| PlanView::new(&run.plan, &run.plan_digest, &known))?;
    let open = with_run(&api, &id, open_steps)?;
    let then = before(&api, &id, run.started_at).await;
    let now = newest_decision(&api, id.application()).ok();
    let title = format!("Approval: {} of {}", run.purpose, run.application);
    let shell = Shell::new(&api, &principal, &form, &title);
    let may = principal.may(Permission::Approve, &id.application());
    let main = html! {
        p { a href={ (PAGE) "/runs/" (id) } { "← the run" } }
        div.title { h1 { (run.purpose) " " (run.source) " → " (run.target) " of " (run.application) } (words::run_state(run.state)) }
        p {
            "Asked for by " strong { (run.requested_by) } " at " (words::time(run.started_at)) ": " q { (run.reason) }
            @if let Some(loss) = run.accepted_loss_seconds { " They accept the loss of " strong { (words::seconds(loss)) } " of acknowledged writes." }
        }
        section #decide { (decide_form(&shell, &run, &open, may, principal.subject.as_str())) }
        section { h2 { "What it does" } (plan::head(&planned)) }
        section { h2 { "What was known when it was asked for" } (known_then(then.as_ref())) }
        section { h2 { "What is known now" } (known_now(now.as_ref())) }
        section { h2 { "Every step" } (plan::steps(&planned)) }
    };
    Ok(Html::of(shell.page(&main)))
}

/// The approvals that the run waits for, with why each is asked for.
fn open_steps(run: &RunState) -> Vec<(StepId, String)> {
    let waits = |id: &StepId| run.steps.get(id).is_some_and(StepState::is_in_flight) && !run.is_finished();
    let of = run.plan.steps.iter().filter(|step| waits(&step.id));
    of.filter_map(|step| match &step.action {
        Action::Approve { reason, .. } => Some((step.id.clone(), reason.clone())),
        _ => None,
    })
    .collect()
}

/// A word of a person on the run's plan.
#[utoipa::path(post, path = "/ui/runs/{id}/approval", operation_id = "page_approval_decide", tag = "page",
    params(("id" = String, Path, description = "The run")),
    responses((status = 303, description = "To the run")))]
pub(super) async fn decide(
    State(api): State<Api>,
    principal: Principal,
    RunPath(id): RunPath,
    Filled(said): Filled<Decided>,
) -> Result<Response, Problem> {
    let act = Act::Approve { step: said.step, approved: said.decision == Decision::Approve, digest: said.digest };
    let back = format!("{PAGE}/runs/{id}");
    let _ = perform(&api, id, act, &principal, said.reason.trim()).await?;
    Ok(Redirect::to(&back).into_response())
}

fn decide_form(shell: &Shell<'_>, run: &RunView, open: &[(StepId, String)], may: bool, who: &str) -> Markup {
    html! {
        @if open.is_empty() || !awaits_approval(run) {
            p.notice { "It waits for no approval now" @if let Some(what) = &run.waits_for { "; it waits for " (what) } "." }
        } @else if run.requested_by == who {
            p.notice { "You asked for this run: somebody else must approve it. Send them this page's address." }
        } @else if !may {
            p.notice { "You may read this, and not approve it: the role approver is needed." }
        } @else {
            @for (n, (step, why)) in open.iter().enumerate() {
                form.sheet method="post" action={ (PAGE) "/runs/" (run.id) "/approval" } {
                    h2 { "Your word" }
                    p { (why) }
                    (shell.secret())
                    input type="hidden" name="step" value=(step);
                    input type="hidden" name="digest" value=(run.plan_digest);
                    p.dim { "It is given to the plan " code { (run.plan_digest) } ", and to no other." }
                    label for={ "reason-" (n) } { "Reason, for those who read it later" }
                    input id={ "reason-" (n) } name="reason" required maxlength=(REASON_CHARS_MAX) autocomplete="off";
                    div.acts {
                        button.primary type="submit" name="decision" value="approve" { "Approve" @if open.len() > 1 { " " (step) } }
                        button.danger type="submit" name="decision" value="decline" { "Decline" @if open.len() > 1 { " " (step) } }
                    }
                }
            }
        }
    }
}

/// The decision that stood when the run began: the newest before it among the records that its evidence has.
struct Before {
    at: Timestamp,
    verdict: String,
    health: String,
    reasons: Vec<String>,
    signals: Vec<crate::http::condition::SignalView>,
}

async fn before(api: &Api, id: &RunId, started: Timestamp) -> Option<Before> {
    let records = api.control.evidence(id).await.map(|evidence| evidence.records()).unwrap_or_default();
    let of = |record: &Record| {
        record.events.iter().rev().find_map(|event| match event {
            Event::DecisionChanged { verdict, health, reasons, signals, .. } => Some(Before {
                at: record.at,
                verdict: verdict.clone(),
                health: health.clone(),
                reasons: reasons.clone(),
                signals: signals.iter().map(|(name, state)| signal(name.as_str(), state, record.at)).collect(),
            }),
            _ => None,
        })
    };
    records.iter().rev().filter(|record| record.at <= started).find_map(of)
}

fn known_then(then: Option<&Before>) -> Markup {
    html! {
        @match then {
            None => { p { (words::unknown()) " no decision is recorded between the first evidence of trouble and the run." } }
            Some(then) => {
                p { "Decided " (words::time(then.at)) ": " strong { (then.verdict) } ", health " (then.health) "." }
                ul { @for reason in &then.reasons { li { (words::prose(reason)) } } }
                (signal_table(&then.signals, 0.0))
            }
        }
    }
}

fn known_now(now: Option<&DecisionView>) -> Markup {
    html! {
        @match now {
            None => { p { (words::unknown()) " nothing was assessed here since the start." } }
            Some(d) => {
                p { "As of " (words::time(d.at)) ": " strong { (words::word(&d.verdict)) } ", " (words::health(d.health)) }
                ul { @for reason in &d.reasons { li { (words::prose(reason)) } } }
                ul.plain {
                    @for e in &d.exposure {
                        li {
                            strong { (e.store) } ": a failover now would lose at most "
                            @match e.loss_bound_seconds { Some(bound) => { (words::seconds(bound)) } None => { (words::unknown()) } }
                            "; lag " (words::or_unknown(e.measured_lag_seconds.filter(|_| e.fresh)))
                            @if let Some(old) = e.sample_age_seconds { ", read " (words::age(old)) " before" }
                        }
                    }
                }
                (signal_table(&d.signals, 0.0))
            }
        }
    }
}
