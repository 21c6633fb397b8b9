//! One application: how it is, why, what can be done, and what was done.
//!
//! Invariant: as in [`crate::http::decision`]: nothing is decided here, and what is not known is said to be unknown.

use axum::extract::State;
use jiff::Timestamp;
use maud::{Markup, html};

use super::{
    door::Form,
    frame::Html,
    layout::Shell,
    plot, preflight, runs,
    words::{self, Tone, chip, forecast_meter, meter, or_unknown, seconds, unknown, verdict, verdict_tone},
};
use crate::{
    domain::{application::Application, rules::Holds, seconds::to_seconds},
    engine::control::Refusal,
    http::{
        Api,
        applications::{newest_decision, view},
        auth::{PAGE, Permission, Principal},
        condition::{ApplicationView, ExposureView, SignalView},
        decision::{DecisionView, FailOverView, RuleView},
        dto::RunsQuery,
        extract::ApplicationPath,
        preflight::PreflightView,
        problem::Problem,
        runs::page_of,
    },
};

/// The runs on an application's page; the rest stand on a page of their own.
const RUNS_SHOWN: usize = 10;

/// One application.
#[utoipa::path(get, path = "/ui/applications/{name}", operation_id = "page_application", tag = "page",
    params(("name" = String, Path, description = "The application")),
    responses((status = 200, description = "A page")))]
pub(super) async fn application(
    State(api): State<Api>,
    principal: Principal,
    Form(form): Form,
    ApplicationPath(name): ApplicationPath,
) -> Result<Html, Problem> {
    let applications = api.control.applications();
    let Some(app) = applications.iter().find(|a| a.name == name) else {
        return Err(Refusal::UnknownApplication(name).into());
    };
    let decision = match newest_decision(&api, name.clone()) {
        Ok(decision) => Some(decision),
        // Its leader knows, and can be asked.
        Err(problem) if problem.code == "not-leader" && leads_elsewhere(&api, app) => return Err(problem),
        Err(_) => None,
    };
    let shown = view(&api, app);
    let query = RunsQuery { application: Some(name), limit: Some(RUNS_SHOWN), ..RunsQuery::default() };
    let past = page_of(&api, &principal, query)
        .unwrap_or_else(|_| crate::http::view::RunsView { runs: Vec::new(), next_cursor: None });
    let now = api.access.clock.as_ref().map_or(shown.assessed_at, |clock| Some(clock.wall()));
    let main = html! {
        section #state data-live { (head(&shown, decision.as_ref(), now)) }
        (ways(app, &principal))
        section #objectives data-live { (objectives(app, &shown, decision.as_ref(), now)) }
        section #plots data-live { (plots(&api, app)) }
        section #preflight data-live { (preflight::section(&readied(&api, app))) }
        section #signals data-live { (signals(&shown, decision.as_ref(), now)) }
        @if let Some(d) = &decision { section #rules data-live { (rules(d)) } }
        section #overrides data-live { (overrides(decision.as_ref(), &shown)) }
        section #runs data-live {
            h2 { "Runs" }
            (runs::table(&past.runs))
            @if past.next_cursor.is_some() { p { a href={ (PAGE) "/runs?application=" (app.name) } { "All runs of " (app.name) } } }
        }
    };
    Ok(Html::of(Shell::new(&api, &principal, &form, app.name.as_str()).live(5, None).page(&main)))
}

fn readied(api: &Api, app: &Application) -> PreflightView {
    PreflightView::new(&app.name, &api.control.preflight(&app.name).unwrap_or_default(), api.control.now())
}

fn leads_elsewhere(api: &Api, app: &Application) -> bool {
    api.forwarder.is_some() && api.control.leader(&app.name).is_some_and(|leader| !leader.here && leader.url.is_some())
}

fn head(app: &ApplicationView, decision: Option<&DecisionView>, now: Option<Timestamp>) -> Markup {
    html! {
        div.title {
            h1 { (app.name) }
            (words::health(app.health))
            (chip(verdict_tone(app.verdict), verdict(app.verdict)))
        }
        p.dim {
            @match &app.active_region {
                Some(region) => { "Active in " strong { (region) } }
                None => { "It is not known which Region is active" }
            }
            " of " (app.regions.join(", ")) "; mode " (words::word(&app.mode))
            @if let Some(leader) = &app.leader { "; led by " @if leader.here { "this replica" } @else { (leader.holder) } }
            @match (app.assessed_at, now) {
                (Some(at), Some(now)) => { "; assessed " (words::age(words::between(at, now))) " ago, at " (words::time(at)) }
                _ => { "; never assessed since the start" }
            }
            "."
        }
        @if let Some(held) = &app.held { p.problem role="alert" { (chip(Tone::Bad, "held")) " " (held) } }
        @if let Some(until) = app.kill_switch_until {
            p { (chip(Tone::Warn, "kill switch")) " nothing is started alone until " (words::time(until)) }
        }
        @if let Some(until) = app.armed_until { p { (chip(Tone::Warn, "armed")) " until " (words::time(until)) } }
        @if let Some(run) = &app.active_run {
            p { (chip(Tone::Busy, "run at work")) " " a href={ (PAGE) "/runs/" (run) } { (run) } }
        }
        @for fault in &app.drill_faults {
            p {
                (chip(Tone::Warn, "a drill's fault")) " " (fault.what) " since " (words::time(fault.since)) " (step "
                (fault.step) " of " a href={ (PAGE) "/runs/" (fault.run) } { (fault.run) } "): " (words::prose(&fault.way_out))
            }
        }
        @if let Some(note) = &app.infrastructure_code { p.dim { (words::prose(note)) } }
        @match decision {
            None => { p { (unknown()) " why: nothing was assessed here since the start." } }
            Some(d) => { (why(d)) (options(d, now)) }
        }
    }
}

fn why(d: &DecisionView) -> Markup {
    html! {
        div.columns {
            div {
                h2 { "Why" }
                ul { @for reason in &d.reasons { li { (words::prose(reason)) } } }
            }
            div {
                h2 { "What would change it" }
                @if d.would_change.is_empty() { p.dim { "Nothing that is known." } }
                ul { @for change in &d.would_change { li { (words::prose(change)) } } }
            }
        }
    }
}

/// What can be done, side by side.
fn options(d: &DecisionView, now: Option<Timestamp>) -> Markup {
    let wait = &d.options.wait;
    html! {
        div.columns.options {
            div.option {
                h2 { "Fail over now" }
                @match &d.options.fail_over {
                    Some(option) => { (fail_over(option, d)) }
                    None => { p { "There is no Region to go to, or it is not known which one is active." } }
                }
            }
            div.option {
                h2 { "Wait" }
                dl {
                    dt { "RTO used" }
                    dd {
                        @match wait.used_seconds {
                            Some(used) => { (seconds(used)) " of " (seconds(wait.rto_objective_seconds)) }
                            None => { "none: there is no evidence of trouble" }
                        }
                    }
                    @if wait.used_seconds.is_some() {
                        dt { "RTO left" }
                        dd { @match wait.left_seconds { Some(left) => { (seconds(left)) } None => { strong { "nothing" } } } }
                        dt { "Start by" }
                        dd {
                            @match (wait.start_by, now) {
                                (Some(by), Some(now)) if now < by => { (words::time(by)) ", in " (seconds(words::between(now, by))) }
                                (Some(by), _) => { (words::time(by)) }
                                _ => { "it would be missed already, or that is not known" }
                            }
                        }
                    }
                    @for share in wait.shares.iter().filter(|s| s.took_seconds.is_some()) {
                        dt { (words::word(&share.part)) }
                        dd { (seconds(share.took_seconds.unwrap_or_default())) " of " (seconds(share.objective_seconds)) }
                    }
                }
            }
        }
    }
}

fn fail_over(option: &FailOverView, d: &DecisionView) -> Markup {
    html! {
        dl {
            dt { "Direction" } dd { (option.source) " → " strong { (option.target) } }
            dt { "Loses at most" }
            dd {
                @match (option.loses_nothing, option.lose_at_most_seconds) {
                    (true, _) => { "nothing: no store has one writer that would be promoted" }
                    (false, Some(bound)) => {
                        strong { (seconds(bound)) } " of acknowledged writes"
                        @if let Some(store) = &d.worst_store { " (" (store) ")" }
                    }
                    (false, None) => { (chip(Tone::Unknown, "unknown")) " no bound: there is no reading of the lag" }
                }
            }
            dt { "Takes" }
            dd {
                @match &option.forecast {
                    Some(f) => {
                        strong { (seconds(f.p50_seconds)) } ", one time in twenty over " (seconds(f.p95_seconds)) "; "
                        @if f.runs == 0 { "declared, not measured" } @else { "from " (f.runs) " runs" }
                    }
                    None => { (unknown()) " no runbook for it compiles" }
                }
            }
            @for c in &option.capacity {
                dt { "Capacity of " (c.store) }
                dd { (holds(c.holds)) " " (c.says) }
            }
        }
    }
}

fn holds(holds: Holds) -> Markup {
    match holds {
        Holds::Yes => chip(Tone::Well, "yes"),
        Holds::No => chip(Tone::Bad, "no"),
        Holds::Unknown => unknown(),
        Holds::Waived => chip(Tone::Warn, "waived"),
    }
}

/// What somebody may start from here.
fn ways(app: &Application, principal: &Principal) -> Markup {
    let (operates, drills) =
        (principal.may(Permission::Operate, &app.name), principal.may(Permission::Drill, &app.name));
    let base = format!("{PAGE}/applications/{}", app.name);
    html! {
        @if operates || drills {
            nav.ways aria-label="What can be started" {
                @if operates {
                    a.button.danger href={ (base) "/moves/failover" } { "Fail over…" }
                    a.button href={ (base) "/moves/switchover" } { "Switch over…" }
                    a.button href={ (base) "/moves/failback" } { "Fail back…" }
                }
                @if drills {
                    @for drill in &app.drills { a.button href={ (base) "/drills/" (drill) } { "Drill: " (drill) "…" } }
                }
            }
            p.dim { "Each shows its plan first, and starts nothing until you have confirmed it." }
        }
    }
}

fn objectives(app: &Application, shown: &ApplicationView, d: Option<&DecisionView>, now: Option<Timestamp>) -> Markup {
    let (rto, rpo) = (to_seconds(app.objectives.rto), to_seconds(app.objectives.rpo));
    let since = match (shown.assessed_at, now) {
        (Some(at), Some(now)) => words::between(at, now),
        _ => 0.0,
    };
    let forecast = d.and_then(|d| d.options.fail_over.as_ref()).and_then(|option| option.forecast.as_ref());
    html! {
        h2 { "Against the objectives" }
        div.figures {
            (forecast_meter("RTO forecast", forecast.map(|f| (f.p50_seconds, f.p95_seconds)).unzip(), rto, &html! {
                @match forecast { Some(f) => { "one time in twenty over " (seconds(f.p95_seconds)) } None => { "no forecast can be made now" } }
            }))
            @for e in &shown.exposure { (exposure(e, rpo, since)) }
        }
        @if let Some(d) = d {
            @for budget in &d.rpo {
                p.dim {
                    (budget.store) ": over its RPO or unknown for " (seconds(budget.over_seconds + budget.unknown_seconds))
                    " of the last " (seconds(budget.looked_seconds)) " (" (seconds(budget.unknown_seconds)) " unknown)"
                    @if let Some(rate) = budget.burn_rate { "; burn rate " (format!("{rate:.1}")) }
                }
            }
        }
    }
}

fn exposure(e: &ExposureView, rpo: f64, since: f64) -> Markup {
    let old = e.sample_age_seconds.map(|age| words::age(age + since));
    html! {
        (meter(&format!("Lag of {}", e.store), e.measured_lag_seconds.filter(|_| e.fresh), rpo, &html! {
            @match (e.fresh, e.measured_lag_seconds, old) {
                (true, _, Some(old)) => { "read " (old) " ago" }
                (false, Some(last), Some(old)) => { "last " (seconds(last)) ", " (old) " ago: too old to be believed" }
                _ => { "never read" }
            }
        }))
        (meter(&format!("RPO exposure of {}", e.store), e.loss_bound_seconds, rpo, &html! {
            @if e.loss_bound_seconds.is_none() { "unbounded: " } (e.basis)
        }))
    }
}

fn plots(api: &Api, app: &Application) -> Markup {
    let points = api.control.trend(&app.name);
    let stores: std::collections::BTreeSet<_> = points.iter().flat_map(|p| p.stores.keys().cloned()).collect();
    html! {
        h2 { "The last hour" }
        @if stores.is_empty() { p.dim { "Nothing was seen yet since this replica began to watch." } }
        @for store in &stores { (plot::lag(store, &points, to_seconds(app.objectives.rpo))) }
    }
}

fn signals(app: &ApplicationView, d: Option<&DecisionView>, now: Option<Timestamp>) -> Markup {
    let all = d.map_or(&app.signals, |d| &d.signals);
    let since = match (app.assessed_at, now) {
        (Some(at), Some(now)) => words::between(at, now),
        _ => 0.0,
    };
    html! {
        h2 { "Signals" }
        (signal_table(all, since))
        @if let Some(d) = d {
            @if !d.witnesses.is_empty() {
                details #witnesses {
                    summary { "What each vantage says (" (d.witnesses.len()) ")" }
                    ul {
                        @for witness in &d.witnesses {
                            li { strong { (witness.vantage) } " " (words::word(&witness.stand)) ": " (witness.says) }
                        }
                    }
                }
            }
        }
    }
}

/// Signals as rows; `since` is how long ago they were judged.
pub(super) fn signal_table(all: &[SignalView], since: f64) -> Markup {
    html! {
        @if all.is_empty() { p { (unknown()) " no signal was read yet." } } @else {
            div.wide tabindex="0" role="region" aria-label="Signals" {
                table {
                    thead { tr { th scope="col" { "signal" } th scope="col" { "state" } th scope="col" { "says" } th.n scope="col" { "age" } th scope="col" { "role" } th scope="col" { "seen from" } } }
                    tbody { @for s in all { (signal(s, since)) } }
                }
            }
        }
    }
}

fn signal(s: &SignalView, since: f64) -> Markup {
    let tone = match (s.state.as_str(), s.reading.as_deref()) {
        ("fresh", Some("unhealthy")) => Tone::Bad,
        ("fresh", Some("healthy")) => Tone::Well,
        ("fresh", Some(_)) => Tone::Busy,
        _ => Tone::Unknown,
    };
    let word = match (s.state.as_str(), s.reading.as_deref()) {
        ("fresh", Some(reading)) => reading.to_owned(),
        ("fresh", None) => "unknown".to_owned(),
        (state, _) => format!("unknown: {state}"),
    };
    html! {
        tr {
            th scope="row" { (s.name) }
            td { (chip(tone, &word)) }
            td {
                @if let Some(lag) = s.lag_seconds { @if s.state == "fresh" { (seconds(lag)) " " } @else { "last " (seconds(lag)) " " } }
                @if let Some(detail) = &s.detail { (detail) }
            }
            td.n { @match s.age_seconds { Some(old) => { (words::age(old + since)) } None => { (or_unknown(None)) } } }
            td { @match &s.role { Some(role) => { (words::word(role)) } None => {} } }
            td { (s.from.as_deref().unwrap_or_default()) }
        }
    }
}

fn rules(d: &DecisionView) -> Markup {
    let met = d.rules.iter().filter(|r| matches!(r.holds, Holds::Yes | Holds::Waived)).count();
    html! {
        @if !d.rules.is_empty() {
            details #acting-alone {
                summary { "Rules for acting alone: " (met) " of " (d.rules.len()) " hold" }
                ul.plain { @for r in &d.rules { li { (rule(r)) } } }
            }
        }
    }
}

fn rule(r: &RuleView) -> Markup {
    html! {
        (holds(r.holds)) " " strong { (words::word(&r.rule)) } ": " (r.says)
        @if let Some(how) = &r.satisfied_by { span.dim { " - " (how) } }
    }
}

fn overrides(d: Option<&DecisionView>, app: &ApplicationView) -> Markup {
    let standing = d.map(|d| d.overrides.as_slice()).unwrap_or_default();
    html! {
        h2 { "Overrides and open work" }
        @if standing.is_empty() && app.open_work.is_empty() && app.branches.is_empty() { p.dim { "None." } }
        ul.plain {
            @for o in standing {
                li {
                    (chip(Tone::Warn, &o.kind.replace('_', " "))) " " (words::word(&o.standing)) ", " (o.covers)
                    "; asked by " (o.by)
                    @if let Some(by) = &o.consent_by { ", with the consent of " (by) }
                    ", until " (words::time(o.expires_at)) ": " q { (o.reason) }
                }
            }
            @for work in &app.open_work {
                li {
                    (chip(Tone::Warn, "open work")) " " (work.what) " (step " (work.step) " of "
                    a href={ (PAGE) "/runs/" (work.run) } { (work.run) } "), since " (words::time(work.since))
                }
            }
            @for branch in &app.branches {
                li {
                    (chip(Tone::Warn, "branch")) " " (branch.id) ", begun by " (branch.begun_by)
                    @match &branch.reconciled_by {
                        Some(by) => { ", reconciled by " (by) }
                        None => { ", not reconciled: the application is held" }
                    }
                }
            }
        }
    }
}
