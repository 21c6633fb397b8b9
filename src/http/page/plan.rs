//! A plan to be read before anything is started or approved: every call, what it would meet, and from where there is no way
//! back.

use maud::{Markup, html};

use super::words::{self, Tone, chip, seconds};
use crate::{
    domain::action::EffectClass,
    http::plan::{LeadsBack, PlanForecastView, PlanStepView, PlanView, PreconditionState, PreconditionView},
};

/// What somebody has to know of a plan before its steps.
pub(super) fn head(plan: &PlanView) -> Markup {
    html! {
        dl.facts {
            @if plan.at.is_some() { dt { "Takes" } dd {
                @match &plan.forecast {
                    Some(f) => { strong { (forecast(f)) } @if let Some(rto) = plan.rto_objective_seconds { "; RTO " (seconds(rto)) } }
                    None => { (words::unknown()) }
                }
            } }
            @if let Some(back) = &plan.way_back { dt { "The way back" } dd { (forecast(back)) } }
            @if let Some(left) = plan.rto_left_seconds { dt { "RTO left" } dd { (seconds(left)) } }
            dt { "Point of no return" }
            dd {
                @match &plan.point_of_no_return {
                    Some(step) => { strong { (step) } @if let Some(why) = &plan.why_no_return { ": " (why) } }
                    None => { "none: an abort takes back whatever was done" }
                }
            }
            dt { "Approvals" }
            dd {
                @if plan.approvals.is_empty() { "none is asked for" }
                @for a in &plan.approvals {
                    div {
                        (a.count) " at " strong { (a.step) } ", within " (seconds(a.expires_after_seconds)) ": " (a.reason)
                        @if !a.by.is_empty() { " (" (a.by.join(", ")) ")" } @else { " (nobody else with a token here could)" }
                    }
                }
            }
            dt { "Digest" } dd { code { (plan.digest) } }
        }
        @for f in &plan.findings {
            p.warning { (chip(Tone::Warn, &f.code)) " " strong { (f.step) } ": " (f.problem) ". " (f.instead) }
        }
    }
}

fn forecast(f: &PlanForecastView) -> Markup {
    html! {
        (seconds(f.p50_seconds)) ", one time in twenty over " (seconds(f.p95_seconds)) "; "
        @if f.runs == 0 { "declared, not measured" } @else { "from " (f.runs) " runs" }
    }
}

/// Every step, in the plan's order.
pub(super) fn steps(plan: &PlanView) -> Markup {
    html! {
        ol.steps { @for step in &plan.steps { (row(step, plan.point_of_no_return.as_deref() == Some(step.id.as_str()), plan.at.is_some())) } }
    }
}

fn row(step: &PlanStepView, is_no_return: bool, looked: bool) -> Markup {
    html! {
        li class=(if is_no_return { "step no-return" } else { "step" }) {
            @if is_no_return { p.border { (chip(Tone::Warn, "no way back from here on")) } }
            div {
                strong { (step.title) } " " code { (step.id) } " " span.dim {
                    (step.action) ", " (effect(step.effect))
                    @if let Some(f) = &step.forecast { ", about " (seconds(f.p50_seconds)) ", at most " (seconds(step.timeout_seconds)) }
                }
                @if let Some(back) = &step.back_to { " " span.dim { "back to " (back) } }
            }
            @if looked && step.precondition.state != PreconditionState::Free { div { (precondition(&step.precondition)) } }
            @if let Some(when) = &step.when { div.dim { "only where " code { (when) } } }
            @for call in &step.calls {
                details {
                    summary { "Call " code { (call.operation) } " in " (call.regions.join(" or ")) ", " (words::word(&call.plane)) " plane" }
                    pre tabindex="0" { (serde_json::to_string_pretty(&call.arguments).unwrap_or_default()) }
                }
            }
            @if step.leads_back != LeadsBack::Nothing { div.dim { "Taken back: " (step.undo) } }
        }
    }
}

fn effect(effect: EffectClass) -> &'static str {
    match effect {
        EffectClass::Read => "changes nothing",
        EffectClass::Reversible => "reversible",
        EffectClass::Compensable => "compensable",
        EffectClass::Irreversible => "irreversible",
    }
}

/// What it needs to see; what a step before it is to bring about is no fault yet.
fn precondition(of: &PreconditionView) -> Markup {
    let is_open = matches!(of.state, PreconditionState::NotMet | PreconditionState::Unknown);
    let (mark, later) = match (of.state, &of.awaited) {
        (_, Some(step)) if is_open => (chip(Tone::Still, "not yet"), format!(" ({step} is to bring it about)")),
        (_, None) if is_open && !of.after.is_empty() => {
            (chip(Tone::Still, "not now"), format!(" (it may be so after {})", of.after.join(", ")))
        }
        (PreconditionState::Met, _) => (chip(Tone::Well, "met"), String::new()),
        (PreconditionState::NotMet, _) => (chip(Tone::Bad, "not met"), String::new()),
        (PreconditionState::Open, _) => (chip(Tone::Busy, "to do"), String::new()),
        (PreconditionState::Unknown, _) => (words::unknown(), String::new()),
        (PreconditionState::Free, _) => (html! {}, String::new()),
    };
    html! { (mark) " " (of.detail.join("; ")) span.dim { (later) } }
}
