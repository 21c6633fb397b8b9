//! Starting something: its plan, its loss and its time first; then the application's name, typed.
//!
//! Invariants: what is started is the very request that the API takes, by the same function; showing a plan starts nothing.
//! One form starts one run, however often it is sent. Where it is refused, what was typed stands there still.

use axum::{
    extract::{FromRequestParts, RawPathParams, State},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use serde::Deserialize;

use super::{door::Form, form::Filled, frame::Html, layout::Shell, plan, session::drawn, words};
use crate::{
    domain::{
        application::Application,
        id::{ApplicationName, Region, RunbookName},
    },
    engine::control::{Refusal, StartRun},
    http::{
        Api,
        applications::newest_decision,
        auth::{PAGE, Principal},
        decision::DecisionView,
        drills::DrillRequest,
        dto::{ACCEPT_DATA_LOSS_SECONDS_MAX, FailbackRequest, FailoverRequest, Mode},
        extract::{Concerns, REASON_CHARS_MAX, invalid_field},
        plan::PlanView,
        problem::Problem,
        runs::{Begun, begin},
    },
};

/// What can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Failover,
    Switchover,
    Failback,
    Drill(RunbookName),
}

impl Kind {
    fn title(&self) -> String {
        match self {
            Self::Failover => "Fail over".to_owned(),
            Self::Switchover => "Switch over".to_owned(),
            Self::Failback => "Fail back".to_owned(),
            Self::Drill(runbook) => format!("Drill {runbook} of"),
        }
    }

    /// What it does, in a sentence.
    fn says(&self) -> &'static str {
        match self {
            Self::Failover => {
                "Forced: for a Region that is lost or failing. Acknowledged writes that were not replicated are lost."
            }
            Self::Switchover => "Planned and lossless, from a Region that is well.",
            Self::Failback => "Planned and lossless, back to the preferred Region.",
            Self::Drill(_) => "A rehearsal on the real thing: planned and lossless, and it ends where it began.",
        }
    }

    fn path(&self, application: &ApplicationName) -> String {
        let base = format!("{PAGE}/applications/{application}");
        match self {
            Self::Failover => format!("{base}/moves/failover"),
            Self::Switchover => format!("{base}/moves/switchover"),
            Self::Failback => format!("{base}/moves/failback"),
            Self::Drill(runbook) => format!("{base}/drills/{runbook}"),
        }
    }
}

/// The application and the kind in the path.
#[derive(Debug)]
pub(super) struct Wanted(ApplicationName, Kind);

impl<S: Send + Sync> FromRequestParts<S> for Wanted {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let is_drill = parts.uri.path().contains("/drills/");
        let raw = RawPathParams::from_request_parts(parts, state).await.ok();
        let values: Vec<&str> = raw.iter().flatten().map(|(_, value)| value).collect();
        let none = || {
            let detail = "that is neither failover, switchover, failback nor a drill";
            Problem::new(StatusCode::NOT_FOUND, "not-found", "There is nothing here", detail)
        };
        let [name, kind] = values[..] else { return Err(none()) };
        let name = name.parse().map_err(|_| none())?;
        let kind = match kind {
            runbook if is_drill => Kind::Drill(runbook.parse().map_err(|_| none())?),
            "failover" => Kind::Failover,
            "switchover" => Kind::Switchover,
            "failback" => Kind::Failback,
            _ => return Err(none()),
        };
        Ok(Self(name, kind))
    }
}

/// What the form sends.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Confirmed {
    /// The application's name, typed.
    #[serde(default)]
    confirm: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    accept_data_loss_seconds: String,
    #[serde(default)]
    target_region: String,
    /// The same for each time that one form is sent.
    #[serde(default)]
    key: String,
}

impl Concerns for Confirmed {
    fn application(&self) -> Option<&ApplicationName> {
        None
    }
}

impl Confirmed {
    fn target(&self) -> Result<Option<Region>, Problem> {
        let text = self.target_region.trim();
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|e| invalid_field("target_region", e))
    }

    fn loss(&self) -> Result<u32, Problem> {
        let said = self.accept_data_loss_seconds.trim().parse().ok().filter(|s| *s <= ACCEPT_DATA_LOSS_SECONDS_MAX);
        said.ok_or_else(|| {
            let expected = format!("expected whole seconds from 0 to {ACCEPT_DATA_LOSS_SECONDS_MAX}");
            invalid_field("accept_data_loss_seconds", expected)
        })
    }

    /// The request of somebody who has typed what was to be typed.
    fn request(&self, who: &Principal, application: &ApplicationName, kind: &Kind) -> Result<StartRun, Problem> {
        if self.confirm.trim() != application.as_str() {
            return Err(invalid_field("confirm", format!("type `{application}`, the application's name, to confirm")));
        }
        let loss = if *kind == Kind::Failover { Some(self.loss()?) } else { None };
        let key = Some(self.key.clone())
            .filter(|key| (1..=128).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()));
        start(who, application, kind, (self.target()?, loss), (self.reason.trim(), key, false))
    }
}

/// The request of the API that `kind` is.
fn start(
    who: &Principal,
    application: &ApplicationName,
    kind: &Kind,
    (target_region, accept_data_loss_seconds): (Option<Region>, Option<u32>),
    (reason, key, dry_run): (&str, Option<String>, bool),
) -> Result<StartRun, Problem> {
    let (subject, application, reason) = (who.subject.clone(), application.clone(), reason.to_owned());
    match kind {
        Kind::Failover | Kind::Switchover => {
            let mode = if *kind == Kind::Failover { Mode::Failover } else { Mode::Switchover };
            FailoverRequest {
                application,
                mode,
                target_region,
                reason,
                accept_data_loss_seconds,
                runbook: None,
                dry_run,
            }
            .into_start(subject, key)
        }
        Kind::Failback => FailbackRequest { application, target_region, reason, dry_run }.into_start(subject, key),
        Kind::Drill(runbook) => {
            let runbook = runbook.clone();
            DrillRequest { application, runbook, target_region, reason, dry_run }.into_start(subject, key)
        }
    }
}

/// A move's plan, and the form that starts it.
#[utoipa::path(get, path = "/ui/applications/{name}/moves/{kind}", operation_id = "page_move", tag = "page",
    params(("name" = String, Path, description = "The application"), ("kind" = String, Path, description = "failover, switchover or failback")),
    responses((status = 200, description = "A page")))]
pub(super) async fn show(State(api): State<Api>, who: Principal, form: Form, wanted: Wanted) -> Result<Html, Problem> {
    shown(&api, &who, &form, &wanted, &Confirmed::default(), None).await
}

/// Starts a move.
#[utoipa::path(post, path = "/ui/applications/{name}/moves/{kind}", operation_id = "page_move_start", tag = "page",
    params(("name" = String, Path, description = "The application"), ("kind" = String, Path, description = "failover, switchover or failback")),
    responses((status = 303, description = "To the run")))]
pub(super) async fn start_move(
    State(api): State<Api>,
    who: Principal,
    form: Form,
    wanted: Wanted,
    Filled(confirmed): Filled<Confirmed>,
) -> Result<Response, Problem> {
    started(&api, &who, &form, &wanted, &confirmed).await
}

/// A drill's plan, and the form that starts it.
#[utoipa::path(get, path = "/ui/applications/{name}/drills/{runbook}", operation_id = "page_drill", tag = "page",
    params(("name" = String, Path, description = "The application"), ("runbook" = String, Path, description = "The drill")),
    responses((status = 200, description = "A page")))]
pub(super) async fn show_drill(
    State(api): State<Api>,
    who: Principal,
    form: Form,
    wanted: Wanted,
) -> Result<Html, Problem> {
    shown(&api, &who, &form, &wanted, &Confirmed::default(), None).await
}

/// Starts a drill.
#[utoipa::path(post, path = "/ui/applications/{name}/drills/{runbook}", operation_id = "page_drill_start", tag = "page",
    params(("name" = String, Path, description = "The application"), ("runbook" = String, Path, description = "The drill")),
    responses((status = 303, description = "To the run")))]
pub(super) async fn start_drill(
    State(api): State<Api>,
    who: Principal,
    form: Form,
    wanted: Wanted,
    Filled(confirmed): Filled<Confirmed>,
) -> Result<Response, Problem> {
    started(&api, &who, &form, &wanted, &confirmed).await
}

async fn started(
    api: &Api,
    who: &Principal,
    form: &Form,
    wanted: &Wanted,
    confirmed: &Confirmed,
) -> Result<Response, Problem> {
    let Wanted(name, kind) = wanted;
    let asked = confirmed.request(who, name, kind);
    let begun = match asked {
        Ok(request) => begin(api, request).await,
        Err(problem) => Err(problem),
    };
    match begun {
        Ok(Begun::Run { id, .. }) => Ok(Redirect::to(&format!("{PAGE}/runs/{id}")).into_response()),
        Ok(Begun::Planned(_)) => Ok(Redirect::to(&kind.path(name)).into_response()),
        // Its leader is asked, or what is not there is said to be so.
        Err(problem) if ["not-leader", "unknown-application"].contains(&problem.code.as_str()) => Err(problem),
        Err(problem) => {
            let status = problem.status();
            let page = shown(api, who, form, wanted, confirmed, Some(&problem)).await?;
            Ok((status, page).into_response())
        }
    }
}

async fn shown(
    api: &Api,
    who: &Principal,
    form: &Form,
    Wanted(name, kind): &Wanted,
    typed: &Confirmed,
    refused: Option<&Problem>,
) -> Result<Html, Problem> {
    let applications = api.control.applications();
    let app = applications.iter().find(|app| app.name == *name);
    let app = app.ok_or_else(|| Problem::from(Refusal::UnknownApplication(name.clone())))?;
    let target = typed.target().unwrap_or_default();
    let planned = match start(who, name, kind, (target, None), ("shown on the page", None, true)) {
        Ok(request) => begin(api, request).await,
        Err(problem) => Err(problem),
    };
    let planned = match planned {
        Ok(Begun::Planned(plan)) => Ok(plan),
        Ok(Begun::Run { id, .. }) => Err(Refusal::UnknownRun(id).into()),
        Err(problem) if problem.code == "not-leader" => return Err(problem),
        Err(problem) => Err(problem),
    };
    let decision = newest_decision(api, name.clone()).ok();
    let bound = decision.as_ref().and_then(|d| d.options.fail_over.as_ref()?.lose_at_most_seconds);
    let title = format!("{} {name}", kind.title());
    let shell = Shell::new(api, who, &form.0, &title);
    let key = if typed.key.is_empty() { drawn().unwrap_or_default() } else { typed.key.clone() };
    let main = html! {
        p { a href={ (PAGE) "/applications/" (name) } { "← " (name) } }
        h1 { (title) }
        p { (kind.says()) }
        @if let Some(problem) = refused { (told(problem)) }
        @match &planned {
            Err(problem) => { h2 { "There is no plan for it now" } (told(problem)) }
            Ok(planned) => {
                section aria-label="What it costs" { (costs(kind, decision.as_ref(), planned)) }
                (confirm(&shell, app, (kind, typed), &key, bound))
                section {
                    h2 { "The plan" }
                    p.dim { "As it would be compiled now. The run's own plan also holds the loss that you accept; its digest is what is approved." }
                    (plan::steps(planned))
                }
                @if let Some(real) = &planned.rehearses {
                    details { summary { "The failover that it rehearses" } (plan::head(real)) (plan::steps(real)) }
                }
            }
        }
    };
    Ok(Html::of(shell.page(&main)))
}

fn told(problem: &Problem) -> Markup {
    html! {
        div.problem role="alert" {
            p { strong { (problem.title) } ": " (problem.detail) }
            @if let Some(how) = &problem.satisfied_by { p { "What would satisfy it: " (how) } }
            @if let Some(run) = &problem.run { p { a href={ (PAGE) "/runs/" (run) } { "The run " (run) } } }
            p.dim { "Code " code { (problem.code) } }
        }
    }
}

/// The loss and the time.
fn costs(kind: &Kind, d: Option<&DecisionView>, planned: &PlanView) -> Markup {
    html! {
        @if *kind == Kind::Failover {
            p.loss {
                @match d.and_then(|d| d.options.fail_over.as_ref()) {
                    Some(option) if option.loses_nothing => { "It loses nothing: no store has one writer that would be promoted." }
                    Some(option) => {
                        "It would lose at most "
                        @match option.lose_at_most_seconds {
                            Some(bound) => { strong { (words::seconds(bound)) } " of acknowledged writes, as known now." }
                            None => { strong { "an unknown amount" } " of acknowledged writes: there is no bound." }
                        }
                    }
                    None => { "What it would lose is " strong { "unknown" } "." }
                }
            }
        } @else { p.loss { "It loses no acknowledged write: it waits until everything is replicated, or holds." } }
        (plan::head(planned))
    }
}

fn confirm(
    shell: &Shell<'_>,
    app: &Application,
    (kind, typed): (&Kind, &Confirmed),
    key: &str,
    bound: Option<f64>,
) -> Markup {
    let name = &app.name;
    html! {
        form.sheet method="post" action=(kind.path(name)) {
            h2 { "Start it" }
            (shell.secret())
            input type="hidden" name="key" value=(key);
            @if app.regions.len() > 2 {
                label for="target" { "To which Region" }
                select #target name="target_region" {
                    option value="" { "the only other, or the preferred one" }
                    @for region in &app.regions {
                        option value=(region) selected[typed.target_region == region.as_str()] { (region) }
                    }
                }
            }
            label for="confirm" { "Type " strong { (name) } " to confirm" }
            input #confirm name="confirm" required autocomplete="off" autocapitalize="off" spellcheck="false" value=(typed.confirm);
            @if *kind == Kind::Failover {
                label for="loss" { "Loss that you accept, in seconds of acknowledged writes" }
                input #loss name="accept_data_loss_seconds" required inputmode="numeric" pattern="[0-9]{1,5}" autocomplete="off" value=(typed.accept_data_loss_seconds) aria-describedby="loss-help";
                p #loss-help .dim {
                    "Less than what would be lost is refused. "
                    @match bound {
                        Some(bound) => { "As known now that is " (bound.ceil()) " s; until the old writer is proven to have stopped, it grows." }
                        None => { "As known now there is no bound." }
                    }
                }
            }
            label for="reason" { "Reason, for those who read it later" }
            input #reason name="reason" required maxlength=(REASON_CHARS_MAX) autocomplete="off" value=(typed.reason);
            div.acts {
                button type="submit" class=(if *kind == Kind::Failover { "danger" } else { "primary" }) { (kind.title()) " " (name) }
            }
        }
    }
}
