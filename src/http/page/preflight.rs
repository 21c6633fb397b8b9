//! Preflight on the page: the score, what takes its points, and what was looked at.
//!
//! Invariant: a score that is not known, or too old, is said to be unknown, and is no number.

use maud::{Markup, html};

use super::words::{Tone, age, chip, time, unknown, word};
use crate::{
    domain::preflight::{BLOCKED_MAX, State, WHOLE},
    http::preflight::{CheckView, DirectionView, PreflightSummaryView, PreflightView},
};

fn tone(score: Option<u8>) -> Tone {
    match score {
        None => Tone::Unknown,
        Some(score) if score <= BLOCKED_MAX => Tone::Bad,
        Some(score) if score < WHOLE => Tone::Warn,
        Some(_) => Tone::Well,
    }
}

/// The score as one figure, with what takes the most of it.
pub(super) fn figure(found: Option<&PreflightSummaryView>) -> Markup {
    let score = found.and_then(|found| found.score);
    html! {
        div class={ "meter " (tone(score).class()) } {
            div.line {
                span.name { "Preflight" }
                span.value { @match score { Some(score) => span.n { (score) }, None => span { "unknown" } } }
                @if score.is_some() { span.of { "of 100" } }
            }
            div.dim {
                @match found {
                    Some(found) if found.stale => { "the last look is too old to be believed" }
                    Some(found) if score.is_some() => {
                        @match found.lowered.first() { Some(worst) => { (worst) } None => { "everything that was looked at is met" } }
                    }
                    _ => { "nobody has looked yet here" }
                }
            }
        }
    }
}

/// Everything, on an application's page.
pub(super) fn section(view: &PreflightView) -> Markup {
    html! {
        h2 { "Preflight" }
        p {
            @match view.score {
                Some(score) => { (chip(tone(Some(score)), &format!("{score} of 100"))) }
                None => { (unknown()) " whether it could be moved now" }
            }
            @if let (Some(at), Some(old)) = (view.looked_at, view.age_seconds) {
                span.dim { " looked at " (age(old)) " ago, at " (time(at)) @if view.stale { ": too old to be believed" } }
            }
            @if view.under_way { " " (chip(Tone::Busy, "a round is under way")) }
        }
        @if let Some(why) = &view.waits { p.dim { (why) } }
        @for direction in &view.directions { (way(direction)) }
    }
}

fn way(d: &DirectionView) -> Markup {
    let name = format!("{} to {}", d.source, d.target);
    let (met, open): (Vec<&CheckView>, Vec<&CheckView>) = d.checks.iter().partition(|c| c.state == State::Met);
    html! {
        h3 {
            (name) " "
            @match d.score { Some(score) => (chip(tone(Some(score)), &score.to_string())), None => (unknown()) }
            @if d.blocked { " " (chip(Tone::Bad, "blocked")) }
        }
        @if !open.is_empty() { (table(&format!("What lowers {name}"), &open)) }
        details {
            summary { (met.len()) " of " (d.checks.len()) " checks are met" }
            @if !met.is_empty() { (table(&format!("What is met of {name}"), &met)) }
        }
    }
}

fn table(label: &str, checks: &[&CheckView]) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label=(label) {
            table {
                thead { tr {
                    th scope="col" { "check" } th scope="col" { "of" } th scope="col" { "state" }
                    th.n scope="col" { "points" } th scope="col" { "seen" } th scope="col" { "to do" }
                } }
                tbody { @for check in checks { (row(check)) } }
            }
        }
    }
}

fn row(check: &CheckView) -> Markup {
    let state = match check.state {
        State::Met => chip(Tone::Well, "met"),
        State::NotMet => chip(Tone::Bad, "not met"),
        State::Unknown => unknown(),
    };
    html! {
        tr {
            td { (word(&check.kind)) " " span.dim { (word(&check.class)) } }
            td { (check.subject) @if let Some(region) = &check.region { " " span.dim { (region) } } }
            td { (state) }
            td.n { @if check.points != 0 { "-" (check.points) } }
            td { (check.seen) }
            td { @if check.state != State::Met { (check.remedy) } }
        }
    }
}
