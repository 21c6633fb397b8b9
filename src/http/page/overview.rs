//! Every application at a glance: what asks for somebody first.
//!
//! Invariant: what a caller may not look at is not counted either. A figure that is not known, or too old to be believed, is
//! said to be unknown, with the age of the last one.

use std::{sync::Arc, time::Duration};

use axum::extract::State;
use jiff::Timestamp;
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    door::Form,
    frame::Html,
    layout::Shell,
    preflight,
    words::{self, Tone, age, chip, forecast_meter, meter, seconds, unknown, verdict, verdict_tone},
};
use crate::{
    domain::{
        application::Application,
        assessment::{Assessment, Health, Verdict},
        history::History,
        id::SignalName,
        run::{Phase, RunState},
        seconds::to_seconds,
        signal::{SignalRole, SignalState},
    },
    engine::control::Leader,
    http::{
        Api,
        auth::{PAGE, Principal},
        extract::Params,
        preflight::PreflightSummaryView,
        problem::Problem,
        view::{RunStateName, RunSummary},
    },
};

/// The applications on one page.
const ROWS_MAX: usize = 60;

/// The query of [`overview`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// From 1 on.
    #[serde(default)]
    page: Option<usize>,
}

/// What is known of one application.
struct Row {
    application: Arc<Application>,
    assessment: Option<Arc<Assessment>>,
    history: Option<Arc<History>>,
    leader: Option<Leader>,
    held: Option<String>,
    preflight: Option<PreflightSummaryView>,
}

impl Row {
    fn of(api: &Api, application: Arc<Application>) -> Self {
        let name = &application.name;
        Self {
            assessment: api.control.assessment(name),
            history: api.control.history(name),
            leader: api.control.leader(name),
            held: api.control.held(name),
            preflight: api
                .control
                .preflight(name)
                .map(|found| PreflightSummaryView::new(name, &found, api.control.now())),
            application,
        }
    }

    fn health(&self) -> Health {
        self.assessment.as_ref().map_or(Health::Unknown, |a| a.health)
    }

    fn verdict(&self) -> Option<Verdict> {
        self.assessment.as_ref().map(|a| a.verdict)
    }

    fn run(&self) -> Option<&RunState> {
        self.history.as_ref().and_then(|h| h.active_run())
    }

    /// Whether a run stands still until somebody acts.
    fn waits_for_people(&self) -> bool {
        self.run().is_some_and(|run| {
            let held = matches!(run.phase, Phase::Held { .. } | Phase::Paused { .. });
            held || RunSummary::new(run).waits_for.is_some_and(|what| what.contains("approval of"))
        })
    }

    /// The lower, the sooner somebody should look.
    fn rank(&self) -> u8 {
        match (self.verdict(), self.health()) {
            _ if self.held.is_some() || self.waits_for_people() => 0,
            (Some(Verdict::Recommend | Verdict::Start), _) => 1,
            (_, Health::Down) => 2,
            _ if self.run().is_some() => 3,
            (_, Health::Impaired) => 4,
            (_, Health::Unknown) => 5,
            (_, Health::Degraded) => 6,
            (Some(Verdict::Notify), _) => 7,
            (_, Health::Healthy) => 8,
        }
    }
}

/// Every application.
#[utoipa::path(get, path = "/ui", operation_id = "page_overview", tag = "page",
    responses((status = 200, description = "A page")))]
pub(super) async fn overview(
    State(api): State<Api>,
    principal: Principal,
    Form(form): Form,
    Params(which): Params<Which>,
) -> Result<Html, Problem> {
    let mut rows: Vec<Row> = api.shown_to(&principal).into_iter().map(|app| Row::of(&api, app)).collect();
    rows.sort_by(|a, b| (a.rank(), &a.application.name).cmp(&(b.rank(), &b.application.name)));
    let now = api.access.clock.as_ref().map(|clock| clock.wall());
    let pages = rows.len().div_ceil(ROWS_MAX).max(1);
    let page = which.page.unwrap_or(1).clamp(1, pages);
    let shown = rows.iter().skip((page - 1) * ROWS_MAX).take(ROWS_MAX);
    let main = html! {
        h1 { "Applications" }
        section #summary data-live { (summary(&rows, now)) }
        section #applications data-live aria-label="Applications" {
            @if rows.is_empty() { p { "There is no application that you may look at." } }
            ol.apps { @for row in shown { (card(row, now)) } }
        }
        @if pages > 1 { (pager(page, pages)) }
    };
    Ok(Html::of(Shell::new(&api, &principal, &form, "Applications").live(5, None).page(&main)))
}

fn pager(page: usize, pages: usize) -> Markup {
    html! {
        nav.pager aria-label="Pages of applications" {
            @if page > 1 { a href={ (PAGE) "?page=" (page - 1) } rel="prev" { "Before" } }
            span { "Page " (page) " of " (pages) }
            @if page < pages { a href={ (PAGE) "?page=" (page + 1) } rel="next" { "After" } }
        }
    }
}

fn summary(rows: &[Row], now: Option<Timestamp>) -> Markup {
    let count = |of: Health| rows.iter().filter(|r| r.health() == of).count();
    let runs = rows.iter().filter(|r| r.run().is_some()).count();
    let waiting = rows.iter().filter(|r| r.held.is_some() || r.waits_for_people()).count();
    let states = [
        (Tone::Bad, Health::Down, "down"),
        (Tone::Warn, Health::Impaired, "impaired"),
        (Tone::Warn, Health::Degraded, "degraded"),
        (Tone::Unknown, Health::Unknown, "unknown"),
        (Tone::Well, Health::Healthy, "healthy"),
    ];
    html! {
        p.summary {
            @for (tone, health, word) in states {
                @let n = count(health);
                @if n > 0 { (chip(tone, &format!("{n} {word}"))) " " }
            }
            @if waiting > 0 { (chip(Tone::Bad, &format!("{waiting} waiting for a person"))) " " }
            @if runs > 0 { (chip(Tone::Busy, &format!("{runs} {} at work", if runs == 1 { "run" } else { "runs" }))) " " }
            @if let Some(now) = now { span.dim { "as of " (words::time(now)) } }
        }
    }
}

fn card(row: &Row, now: Option<Timestamp>) -> Markup {
    let app = &row.application;
    let link = format!("{PAGE}/applications/{}", app.name);
    html! {
        li class=(if row.rank() < 3 { "app urgent" } else { "app" }) {
            div.who {
                h2 { a href=(link) { (app.name) } }
                (words::health(row.health()))
                p.dim { (place(row)) }
            }
            div.does { (decision(row)) }
            div.figures { (figures(row, now)) }
        }
    }
}

/// Where it is, and who works on it.
fn place(row: &Row) -> Markup {
    let active = row.assessment.as_ref().and_then(|a| a.active_region.as_ref());
    html! {
        @match active {
            Some(region) => { "in " strong { (region) } }
            None => { "active Region unknown" }
        }
        @if let Some(leader) = &row.leader {
            " · led by " @if leader.here { "this replica" } @else { (leader.to_string()) }
        }
    }
}

fn decision(row: &Row) -> Markup {
    html! {
        @if let Some(held) = &row.held { p { (chip(Tone::Bad, "held")) " " (held) } }
        p {
            (chip(verdict_tone(row.verdict()), verdict(row.verdict())))
            @if let Some(target) = row.assessment.as_ref().and_then(|a| a.recommended_target.as_ref()) {
                " to " strong { (target) }
            }
        }
        @if let Some(reason) = row.assessment.as_ref().and_then(|a| a.reasons.first()) { p.dim { (words::prose(reason)) } }
        @if let Some(run) = row.run() {
            p {
                (words::run_state(RunStateName::of(&run.phase))) " "
                a href={ (PAGE) "/runs/" (run.id) } { (run.plan.purpose) " to " (run.plan.target) }
                @if let Some(what) = RunSummary::new(run).waits_for { span.dim { " waits for " (words::prose(&what)) } }
            }
        }
    }
}

fn figures(row: &Row, now: Option<Timestamp>) -> Markup {
    let (rto, rpo) = (to_seconds(row.application.objectives.rto), to_seconds(row.application.objectives.rpo));
    let Some(assessment) = &row.assessment else {
        let elsewhere = row.leader.as_ref().is_some_and(|leader| !leader.here);
        return html! {
            p { (unknown()) " " @if elsewhere { "here: its leader assesses it" } @else { "nothing was assessed since the start" } }
        };
    };
    // What is shown was seen so long ago, beside the age that it had then.
    let since = now.map_or(0.0, |now| words::between(assessment.at, now));
    let forecast = assessment.forecast.as_ref();
    let exposure = assessment.worst_exposure();
    html! {
        (lag(assessment, rpo, since))
        @match exposure {
            None => { div.meter.still { div.line { span.name { "RPO exposure" } } div.dim { "no store is replicated one way" } } }
            Some((store, bound)) => {
                (meter("RPO exposure", bound.map(to_seconds), rpo, &html! {
                    (store) @if bound.is_none() { ": unbounded" } @else { ": the most that a failover now would lose" }
                }))
            }
        }
        (forecast_meter("RTO forecast", forecast.map(|f| (to_seconds(f.total.p50), to_seconds(f.total.p95))).unzip(), rto, &html! {
            @match forecast {
                None => { "no plan for a failover can be made now" }
                Some(f) => {
                    "one time in twenty over " (seconds(to_seconds(f.total.p95))) "; "
                    @if f.runs == 0 { "declared, not measured" } @else { "from " (f.runs) " runs" }
                }
            }
        }))
        (readings(row, assessment, since))
        (preflight::figure(row.preflight.as_ref()))
    }
}

/// The worst lag that can be believed, or that none can.
fn lag(assessment: &Assessment, rpo: f64, since: f64) -> Markup {
    let known = assessment.exposure.iter().chain(&assessment.replicas);
    // A store without a fresh lag hides that of all others: it may be the worst.
    let rank = |e: &crate::domain::assessment::Exposure| e.measured_lag.filter(|_| e.fresh).unwrap_or(Duration::MAX);
    let Some((store, worst)) = known.max_by_key(|(_, e)| rank(e)) else {
        return html! { div.meter.still { div.line { span.name { "Lag" } } div.dim { "nothing is replicated" } } };
    };
    let old = worst.sample_age.map(|sample| age(to_seconds(sample) + since));
    meter(
        "Lag",
        worst.measured_lag.filter(|_| worst.fresh).map(to_seconds),
        rpo,
        &html! {
            (store)
            @match (worst.fresh, worst.measured_lag, old) {
                (true, _, Some(old)) => { ", read " (old) " ago" }
                (false, Some(last), Some(old)) => { ": last " (seconds(to_seconds(last))) ", " (old) " ago, too old to be believed" }
                _ => { ": never read" }
            }
        },
    )
}

/// How old the readings are that anything is decided by.
fn readings(row: &Row, assessment: &Assessment, since: f64) -> Markup {
    let is_told = |name: &SignalName| {
        row.application.signals.iter().any(|s| s.name == *name && s.role != SignalRole::Informational)
    };
    let (mut fresh, mut stale, mut missing, mut oldest) = (0, 0, 0, 0.0_f64);
    for (_, state) in assessment.signals.iter().filter(|(name, _)| is_told(name)) {
        match state {
            SignalState::Fresh { sample } => {
                fresh += 1;
                oldest = oldest.max(words::between(sample.measured_at, assessment.at) + since);
            }
            SignalState::Stale { .. } | SignalState::Contradicted { .. } => stale += 1,
            SignalState::Missing { .. } => missing += 1,
        }
    }
    html! {
        div class=(if stale + missing > 0 { "meter unknown" } else { "meter well" }) {
            div.line { span.name { "Readings" } span.value { (fresh) " fresh" } }
            div.dim {
                @if fresh > 0 { "the oldest " (age(oldest)) " ago" } @else { "none can be believed" }
                @if stale > 0 { ", " strong { (stale) " stale" } }
                @if missing > 0 { ", " strong { (missing) " missing" } }
            }
        }
    }
}
