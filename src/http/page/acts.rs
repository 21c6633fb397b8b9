//! What a person does to a run that is under way: pause, resume, abort; retry or skip a step.
//!
//! Invariant: each is the API's own act, bound to the digest that the form was made with, with a reason.

use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use serde::Deserialize;

use super::{form::Filled, layout::Shell};
use crate::{
    domain::id::{ApplicationName, Digest, StepId},
    engine::control::Act,
    http::{
        Api,
        auth::{PAGE, Principal},
        extract::{Concerns, REASON_CHARS_MAX, RunPath, invalid_field},
        problem::Problem,
        runs::{perform, was_shown},
        step::StepView,
        view::{RunStateName, RunView},
    },
};

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Deed {
    Abort,
    Pause,
    Resume,
    Retry,
    Skip,
}

/// What the forms send.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Done {
    act: Deed,
    digest: Digest,
    reason: String,
    #[serde(default)]
    step: Option<StepId>,
}

impl Concerns for Done {
    fn application(&self) -> Option<&ApplicationName> {
        None
    }
}

/// Does it, and shows the run.
#[utoipa::path(post, path = "/ui/runs/{id}/act", operation_id = "page_run_act", tag = "page",
    params(("id" = String, Path, description = "The run")),
    responses((status = 303, description = "To the run")))]
pub(super) async fn act(
    State(api): State<Api>,
    principal: Principal,
    RunPath(id): RunPath,
    Filled(done): Filled<Done>,
) -> Result<Response, Problem> {
    was_shown(&api, &id, Some(&done.digest))?;
    let step = || done.step.clone().ok_or_else(|| invalid_field("step", "is missing"));
    let act = match done.act {
        Deed::Abort => Act::Abort,
        Deed::Pause => Act::Pause,
        Deed::Resume => Act::Resume,
        Deed::Retry => Act::Retry { step: step()?, digest: done.digest.clone() },
        Deed::Skip => Act::Skip { step: step()?, digest: done.digest.clone() },
    };
    let back = format!("{PAGE}/runs/{id}");
    let _ = perform(&api, id, act, &principal, done.reason.trim()).await?;
    Ok(Redirect::to(&back).into_response())
}

/// What may be done to the run as a whole, as it stands.
pub(super) fn of_run(shell: &Shell<'_>, run: &RunView) -> Markup {
    let (pause, resume) = (
        ("pause", "Pause", "nothing new begins; what is in flight is settled"),
        ("resume", "Resume", "goes on; a failed step is tried again"),
    );
    let abort = ("abort", "Abort", "what it has done is taken back, where it can be");
    let all = match run.state {
        RunStateName::Running => vec![pause, abort],
        RunStateName::Held | RunStateName::Paused => vec![resume, abort],
        RunStateName::Undoing => vec![abort],
        RunStateName::Aborting
        | RunStateName::Succeeded
        | RunStateName::Failed
        | RunStateName::Aborted
        | RunStateName::Superseded => Vec::new(),
    };
    html! {
        @if !all.is_empty() {
            details #act-on-run open[run.state == RunStateName::Held] {
                summary.button { @for (n, (_, title, _)) in all.iter().enumerate() { @if n > 0 { ", " } (title) } "…" }
                form.sheet method="post" action={ (PAGE) "/runs/" (run.id) "/act" } {
                    (fields(shell, run, "run"))
                    div.acts {
                        @for (act, title, _) in &all {
                            button type="submit" name="act" value=(act) class=(if *act == "abort" { "danger" } else { "plain" }) { (title) }
                        }
                    }
                    ul.dim { @for (_, title, says) in &all { li { (title) ": " (says) } } }
                }
            }
        }
    }
}

/// What may be done to single steps.
pub(super) fn of_steps(shell: &Shell<'_>, run: &RunView) -> Markup {
    let failed: Vec<&StepView> = run.steps.iter().filter(|s| s.can_retry || s.can_skip).collect();
    html! {
        @if !failed.is_empty() {
            h2 { "Failed steps" }
            @for (n, of) in failed.iter().enumerate() {
                form.sheet method="post" action={ (PAGE) "/runs/" (run.id) "/act" } {
                    h3 { (of.title) " " code { (of.id) } }
                    input type="hidden" name="step" value=(of.id);
                    (fields(shell, run, &format!("step-{n}")))
                    div.acts {
                        @if of.can_retry { button.primary type="submit" name="act" value="retry" { "Try " (of.id) " again" } }
                        @if of.can_skip { button.danger type="submit" name="act" value="skip" { "Skip " (of.id) } }
                    }
                    @if !of.can_skip { p.dim { "It is not skipped: safety rests on it." } }
                }
            }
        }
    }
}

fn fields(shell: &Shell<'_>, run: &RunView, of: &str) -> Markup {
    html! {
        (shell.secret())
        input type="hidden" name="digest" value=(run.plan_digest);
        label for={ "reason-" (of) } { "Reason, for those who read it later" }
        input id={ "reason-" (of) } name="reason" required maxlength=(REASON_CHARS_MAX) autocomplete="off";
    }
}
