//! Numbers, times and states as people read them.
//!
//! Invariant: a state is a word and a shape, a colour only beside them; what is not known is the word `unknown` with its own
//! shape, and never a number.

use std::time::Duration;

use jiff::Timestamp;
use maud::{Markup, html};

use crate::domain::assessment::{Health, Verdict};
use crate::http::{step::StepStateName, view::RunStateName};

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it should be.
    Well,
    /// Under way.
    Busy,
    /// Worth a look.
    Warn,
    /// Bad.
    Bad,
    /// Not known.
    Unknown,
    /// Neither: over, or not begun.
    Still,
}

impl Tone {
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Busy => "busy",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Unknown => "unknown",
            Self::Still => "still",
        }
    }

    /// A shape of its own for each.
    fn shape(self) -> Markup {
        html! {
            svg.shape viewBox="0 0 12 12" aria-hidden="true" {
                @match self {
                    Self::Well => { circle cx="6" cy="6" r="5" {} }
                    Self::Busy => { path d="M2 1l9 5-9 5z" {} }
                    Self::Warn => { path d="M6 .5l5.7 10.5H.3z" {} }
                    Self::Bad => { path d="M3.5.5h5l3 3v5l-3 3h-5l-3-3v-5z" {} }
                    Self::Unknown => { path.hollow d="M6 1l5 5-5 5-5-5z" {} }
                    Self::Still => { path.hollow d="M1.5 1.5h9v9h-9z" {} }
                }
            }
        }
    }
}

/// A state: its shape and its word.
pub(super) fn chip(tone: Tone, word: &str) -> Markup {
    html! { span class={ "chip " (tone.class()) } { (tone.shape()) span { (word) } } }
}

/// What is not known.
pub(super) fn unknown() -> Markup {
    chip(Tone::Unknown, "unknown")
}

pub(super) fn health(health: Health) -> Markup {
    match health {
        Health::Healthy => chip(Tone::Well, "healthy"),
        Health::Degraded => chip(Tone::Warn, "degraded"),
        Health::Impaired => chip(Tone::Warn, "impaired"),
        Health::Down => chip(Tone::Bad, "down"),
        Health::Unknown => unknown(),
    }
}

/// What failoverd would do, as a sentence's beginning.
pub(super) fn verdict(verdict: Option<Verdict>) -> &'static str {
    match verdict {
        None => "unknown: not assessed yet",
        Some(Verdict::Nothing) => "nothing to do",
        Some(Verdict::Notify) => "tell people",
        Some(Verdict::Recommend) => "recommends a failover",
        Some(Verdict::Start) => "starts a failover",
    }
}

pub(super) fn verdict_tone(verdict: Option<Verdict>) -> Tone {
    match verdict {
        None => Tone::Unknown,
        Some(Verdict::Nothing) => Tone::Well,
        Some(Verdict::Notify) => Tone::Warn,
        Some(Verdict::Recommend | Verdict::Start) => Tone::Bad,
    }
}

pub(super) fn run_state(state: RunStateName) -> Markup {
    let tone = match state {
        RunStateName::Running => Tone::Busy,
        RunStateName::Held | RunStateName::Paused | RunStateName::Aborting | RunStateName::Undoing => Tone::Warn,
        RunStateName::Succeeded => Tone::Well,
        RunStateName::Failed => Tone::Bad,
        RunStateName::Aborted | RunStateName::Superseded => Tone::Still,
    };
    chip(tone, state.as_str())
}

pub(super) fn step_tone(state: StepStateName) -> Tone {
    match state {
        StepStateName::Done => Tone::Well,
        StepStateName::Running | StepStateName::Sending | StepStateName::Answered | StepStateName::Holding => {
            Tone::Busy
        }
        StepStateName::Undoing | StepStateName::Undone => Tone::Warn,
        StepStateName::Failed | StepStateName::UndoFailed => Tone::Bad,
        StepStateName::Pending | StepStateName::Skipped | StepStateName::Abandoned | StepStateName::NotRun => {
            Tone::Still
        }
    }
}

pub(super) fn step_state(state: StepStateName) -> Markup {
    chip(step_tone(state), &state.as_str().replace('_', " "))
}

/// A sentence of ours, in which names stand between backticks.
pub(super) fn prose(text: &str) -> Markup {
    let parts: Vec<&str> = text.split('`').collect();
    // An odd backtick is one that somebody has written.
    if parts.len().is_multiple_of(2) {
        return html! { (text) };
    }
    html! {
        @for (n, part) in parts.iter().enumerate() {
            @if n.is_multiple_of(2) { (part) } @else { code { (part) } }
        }
    }
}

/// A word of ours as it is on the wire, without its underlines.
pub(super) fn word<T: serde::Serialize>(value: &T) -> String {
    let text = serde_json::to_value(value).ok();
    text.as_ref().and_then(|v| v.as_str()).unwrap_or("unknown").replace('_', " ")
}

/// A duration in two figures at most that somebody reads at a glance.
pub(super) fn seconds(s: f64) -> String {
    if !s.is_finite() || s < 0.0 {
        return "unknown".to_owned();
    }
    let whole = Duration::try_from_secs_f64(s).unwrap_or(Duration::MAX).as_secs();
    match whole {
        0 if s == 0.0 => "0 s".to_owned(),
        0..10 => format!("{s:.1} s"),
        10..120 => format!("{whole} s"),
        120..7_200 if whole.is_multiple_of(60) => format!("{} min", whole / 60),
        120..7_200 => format!("{} min {:02} s", whole / 60, whole % 60),
        7_200..172_800 => format!("{} h {:02} min", whole / 3_600, whole % 3_600 / 60),
        _ => format!("{} days", whole / 86_400),
    }
}

/// A duration, or that it is not known.
pub(super) fn or_unknown(s: Option<f64>) -> Markup {
    match s {
        Some(s) => html! { span.n { (seconds(s)) } },
        None => unknown(),
    }
}

/// How old something is, without what nobody reads.
pub(super) fn age(s: f64) -> String {
    match Duration::try_from_secs_f64(s.max(0.0)).unwrap_or(Duration::MAX).as_secs() {
        s @ 0..120 => format!("{s} s"),
        s @ 120..7_200 => format!("{} min", s / 60),
        s @ 7_200..172_800 => format!("{} h", s / 3_600),
        s => format!("{} days", s / 86_400),
    }
}

/// Seconds from `since` to `now`; none where `now` is before it.
pub(super) fn between(since: Timestamp, now: Timestamp) -> f64 {
    now.duration_since(since).as_secs_f64().max(0.0)
}

/// A moment, in UTC.
pub(super) fn time(at: Timestamp) -> Markup {
    html! { time datetime=(at.strftime("%Y-%m-%dT%H:%M:%SZ")) { (at.strftime("%Y-%m-%d %H:%M:%S")) " UTC" } }
}

/// A moment of a day that is plain from beside it.
pub(super) fn clock(at: Timestamp) -> Markup {
    html! { time datetime=(at.strftime("%Y-%m-%dT%H:%M:%SZ")) { (at.strftime("%H:%M:%S")) } }
}

/// How a figure stands to its objective, as a bar with words.
pub(super) fn meter(name: &str, value: Option<f64>, objective: f64, detail: &Markup) -> Markup {
    forecast_meter(name, (value, None), objective, detail)
}

/// The same of a forecast: what is within the objective as often as not, and over it one time in twenty, is not well.
pub(super) fn forecast_meter(
    name: &str,
    (value, worst): (Option<f64>, Option<f64>),
    objective: f64,
    detail: &Markup,
) -> Markup {
    let share = value.map(|v| if objective > 0.0 { v / objective } else { f64::from(u8::from(v > 0.0)) * 2.0 });
    let (tone, says) = match share {
        None => (Tone::Unknown, "unknown"),
        Some(share) if share > 1.0 => (Tone::Bad, "over"),
        Some(_) if worst.is_some_and(|worst| objective < worst) => (Tone::Warn, "may be over"),
        Some(share) if share > 0.6 => (Tone::Warn, "near"),
        Some(_) => (Tone::Well, "within"),
    };
    // The objective stands at two thirds, so that what is over it is seen to be.
    let width = share.map_or(0.0, |share| (share * 66.0).clamp(1.0, 100.0));
    html! {
        div class={ "meter " (tone.class()) } {
            div.line {
                span.name { (name) }
                span.value {
                    @match value { Some(v) => span.n { (seconds(v)) }, None => span { "unknown" } }
                }
                span.of { "of " (seconds(objective)) ", " strong { (says) } }
            }
            svg.bar viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true" {
                rect.track x="0" y="0" width="100" height="6" {}
                rect.fill x="0" y="0" width=(format!("{width:.1}")) height="6" {}
                rect.goal x="65.5" y="0" width="1" height="6" {}
            }
            div.dim { (detail) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_at_a_glance_and_nonsense_is_unknown() {
        for (given, shown) in [
            (0.0, "0 s"),
            (0.84, "0.8 s"),
            (12.4, "12 s"),
            (119.0, "119 s"),
            (120.0, "2 min"),
            (185.0, "3 min 05 s"),
            (7_260.0, "2 h 01 min"),
            (200_000.0, "2 days"),
            (f64::NAN, "unknown"),
            (f64::INFINITY, "unknown"),
            (-1.0, "unknown"),
        ] {
            assert_eq!(seconds(given), shown);
        }
    }

    #[test]
    fn what_is_not_known_is_neither_a_number_nor_well() {
        let shown = or_unknown(None).into_string();
        assert!(shown.contains("unknown") && !shown.contains('0') || shown.contains("viewBox"), "{shown}");
        let shown = meter("lag", None, 5.0, &html! {}).into_string();
        assert!(shown.contains("meter unknown") && !shown.contains("within"), "{shown}");
        assert!(health(Health::Unknown).into_string().contains("chip unknown"));
        assert!(meter("lag", Some(6.0), 5.0, &html! {}).into_string().contains("over"));
        assert!(meter("lag", Some(1.0), 5.0, &html! {}).into_string().contains("within"));
        let risky = forecast_meter("RTO", (Some(1.0), Some(6.0)), 5.0, &html! {}).into_string();
        assert!(risky.contains("may be over") && !risky.contains("within"), "{risky}");
    }
}
