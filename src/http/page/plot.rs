//! Plots, drawn here as SVG: lag and exposure over the last hour, and a run's steps against its RTO.
//!
//! Invariant: a gap in what is known is a gap in the line, never a value; each plot says in words what it shows.

use jiff::Timestamp;
use maud::{Markup, html};

use super::words::{seconds, step_tone};
use crate::{
    domain::id::StoreName,
    engine::trend::Point,
    http::step::{StepStateName, StepView},
};

/// The width of a plot, in its own units.
const WIDTH: f64 = 720.0;
/// What the figures beside the axis take of it.
const LEFT: f64 = 58.0;
/// What the last label of an axis takes of it.
const RIGHT: f64 = 24.0;
const TOP: f64 = 14.0;
const HEIGHT: f64 = 120.0;

/// The most steps in one timeline; those of longer runs stand in the table alone.
const STEPS_MAX: usize = 80;

/// One store's lag (the line) and exposure (above it), against the RPO.
pub(super) fn lag(store: &StoreName, points: &[Point], rpo_seconds: f64) -> Markup {
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return html! { p.dim { "Nothing was seen yet since this replica began to watch." } };
    };
    let span = last.at.duration_since(first.at).as_secs_f64().max(60.0);
    let known = |p: &Point| p.stores.get(store).copied();
    let lags: Vec<_> = points.iter().map(|p| (p.at, known(p).and_then(|k| k.lag).map(|l| l.as_secs_f64()))).collect();
    let bounds: Vec<_> =
        points.iter().map(|p| (p.at, known(p).and_then(|k| k.bound).map(|l| l.as_secs_f64()))).collect();
    let most = lags.iter().chain(&bounds).filter_map(|(_, v)| *v).fold(rpo_seconds, f64::max);
    // One absurd reading must not press everything else flat: what is beyond the top is drawn at the top.
    let top = (most * 1.1).min(rpo_seconds.max(0.5) * 6.0).max(0.001);
    let x = |at: Timestamp| LEFT + (WIDTH - LEFT) * at.duration_since(first.at).as_secs_f64() / span;
    let y = |value: f64| TOP + HEIGHT * (1.0 - (value / top).clamp(0.0, 1.0));
    let line = |of: &[(Timestamp, Option<f64>)]| path(of, &x, &y);
    let gaps = lags.iter().filter(|(_, lag)| lag.is_none()).count();
    let newest = lags.last().and_then(|(_, lag)| *lag);
    let says = format!(
        "Replication lag of {store} over {}: {}, objective {}{}",
        seconds(span),
        newest.map_or_else(|| "now unknown".to_owned(), |lag| format!("now {}", seconds(lag))),
        seconds(rpo_seconds),
        if gaps == 0 { String::new() } else { format!(", unknown in {gaps} of {} readings", lags.len()) },
    );
    html! {
        figure.plot tabindex="0" {
            figcaption {
                strong { (store) } " "
                span.key.lag { "lag" } " " span.key.bound { "exposure" } " " span.key.goal { "RPO " (seconds(rpo_seconds)) }
            }
            svg viewBox={ "0 0 " (WIDTH) " 160" } role="img" aria-label=(says) {
                line.axis x1=(LEFT) x2=(WIDTH) y1=(TOP + HEIGHT) y2=(TOP + HEIGHT) {}
                @for (from, to) in unknowns(&lags) {
                    rect.gap x=(at(x(from))) width=(at((x(to) - x(from)).max(1.5))) y=(TOP) height=(HEIGHT) {}
                }
                line.goal x1=(LEFT) x2=(WIDTH) y1=(at(y(rpo_seconds))) y2=(at(y(rpo_seconds))) {}
                path.bound d=(line(&bounds)) {}
                path.lag d=(line(&lags)) {}
                text x="0" y=(TOP + 4.0) { (seconds(top)) }
                text x="0" y=(TOP + HEIGHT + 4.0) { "0 s" }
                text x=(LEFT) y="156" { (first.at.strftime("%H:%M:%S")) }
                text.end x=(at(x(last.at))) y="156" { (last.at.strftime("%H:%M:%S")) }
            }
            @if top < most { p.dim { "What is beyond " (seconds(top)) " is drawn at the top; the most was " (seconds(most)) "." } }
            @if gaps > 0 { p.dim { "Shaded: unknown, " (gaps) " of " (lags.len()) " readings." } }
        }
    }
}

fn at(value: f64) -> String {
    format!("{value:.1}")
}

/// A line through what is known; where something is not, it ends, and begins anew after it.
fn path(of: &[(Timestamp, Option<f64>)], x: &impl Fn(Timestamp) -> f64, y: &impl Fn(f64) -> f64) -> String {
    let mut out = String::new();
    let mut is_down = false;
    for (when, value) in of {
        match value {
            Some(value) => {
                out.push_str(if is_down { "L" } else { "M" });
                out.push_str(&format!("{:.1} {:.1}", x(*when), y(*value)));
                if !is_down {
                    // One reading between two gaps is seen too.
                    out.push_str("h.1");
                }
                is_down = true;
            }
            None => is_down = false,
        }
    }
    out
}

/// From when to when nothing is known.
fn unknowns(of: &[(Timestamp, Option<f64>)]) -> Vec<(Timestamp, Timestamp)> {
    let mut out: Vec<(Timestamp, Timestamp)> = Vec::new();
    let mut since: Option<Timestamp> = None;
    for (when, value) in of {
        match (value, since) {
            (None, None) => since = Some(*when),
            (Some(_), Some(from)) => {
                out.push((from, *when));
                since = None;
            }
            (None, Some(_)) | (Some(_), None) => {}
        }
    }
    if let (Some(from), Some((last, _))) = (since, of.last()) {
        out.push((from, *last));
    }
    out
}

/// What a timeline is drawn from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clocked {
    /// Where the RTO clock starts.
    pub(super) zero: Timestamp,
    pub(super) now: Timestamp,
    /// `None`: the run is held to none.
    pub(super) rto_seconds: Option<f64>,
}

/// The steps that have begun, each as a bar, against the RTO.
pub(super) fn timeline(steps: &[StepView], of: Clocked) -> Markup {
    let begun: Vec<&StepView> = steps.iter().filter(|s| s.started_at.is_some()).collect();
    let left_out = begun.len().saturating_sub(STEPS_MAX);
    let shown = &begun[left_out..];
    let offset = |when: Timestamp| when.duration_since(of.zero).as_secs_f64().max(0.0);
    let ends = shown.iter().filter_map(|s| s.finished_at.or(s.started_at)).chain([of.now]);
    let last = ends.map(offset).fold(of.rto_seconds.unwrap_or(0.0), f64::max).max(1.0) * 1.02;
    let names = 170.0;
    let x = |s: f64| names + (WIDTH - RIGHT - names) * (s / last).clamp(0.0, 1.0);
    let height = 22.0 + 20.0 * shown.len() as f64;
    let says = format!("Timeline of {} steps over {}", shown.len(), seconds(offset(of.now)));
    html! {
        figure.plot.timeline tabindex="0" {
            svg viewBox={ "0 0 " (WIDTH) " " (at(height + 20.0)) } role="img" aria-label=(says) {
                @for tick in ticks(last) {
                    line.axis x1=(at(x(tick))) x2=(at(x(tick))) y1="18" y2=(at(height)) {}
                    text.mid x=(at(x(tick))) y=(at(height + 14.0)) { (seconds(tick)) }
                }
                @for (row, step) in (0u32..).zip(shown) { (bar(row, step, of, &x, &offset)) }
                @if let Some(rto) = of.rto_seconds {
                    line.goal x1=(at(x(rto))) x2=(at(x(rto))) y1="14" y2=(at(height)) {}
                    text.end x=(at(x(rto))) y="11" { "RTO " (seconds(rto)) }
                }
            }
            @if left_out > 0 { p.dim { "The newest " (STEPS_MAX) " of " (begun.len()) " steps; all stand in the table." } }
        }
    }
}

fn bar(row: u32, step: &StepView, of: Clocked, x: &impl Fn(f64) -> f64, offset: &impl Fn(Timestamp) -> f64) -> Markup {
    let y = 22.0 + 20.0 * f64::from(row);
    let began = step.started_at.map_or(0.0, offset);
    let ended = step.finished_at.map_or_else(|| offset(of.now), offset).max(began);
    let width = (x(ended) - x(began)).max(2.0);
    let name: String = step.id.chars().take(24).collect();
    let class = format!("step {}", class(step.state));
    let note = match step.state {
        StepStateName::Done => String::new(),
        other => other.as_str().replace('_', " "),
    };
    html! {
        text x="0" y=(at(y + 12.0)) { (name) }
        rect class=(class) x=(at(x(began))) y=(at(y)) width=(at(width)) height="14" rx="2" {
            title { (step.id) ": " (step.state.as_str()) ", " (seconds(began)) " after the start, for " (seconds(ended - began)) }
        }
        @if !note.is_empty() {
            @if x(began) + width > WIDTH - 70.0 {
                text.end x=(at(x(began) - 4.0)) y=(at(y + 12.0)) { (note) }
            } @else {
                text x=(at(x(began) + width + 4.0)) y=(at(y + 12.0)) { (note) }
            }
        }
    }
}

fn class(state: StepStateName) -> &'static str {
    match step_tone(state) {
        super::words::Tone::Well => "well",
        super::words::Tone::Busy => "busy",
        super::words::Tone::Warn => "warn",
        super::words::Tone::Bad => "bad",
        super::words::Tone::Unknown => "unknown",
        super::words::Tone::Still => "still",
    }
}

/// Some five round numbers from 0 to `last`.
fn ticks(last: f64) -> Vec<f64> {
    let round = [1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 21600.0, 86400.0];
    let step = round.into_iter().find(|step| last / step <= 6.0).unwrap_or(last / 5.0);
    (0..=6).map(|n| f64::from(n) * step).take_while(|tick| *tick <= last).collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::*;
    use crate::engine::trend::Known;

    fn points(lags: &[Option<u64>]) -> Vec<Point> {
        let known = |lag: &Option<u64>| Known { lag: lag.map(Duration::from_secs), bound: None };
        let point = |(n, lag): (i64, &Option<u64>)| Point {
            at: Timestamp::from_second(1_800_000_000 + 10 * n).expect("in range"),
            stores: BTreeMap::from([("orders".parse().expect("valid"), known(lag))]),
        };
        (0..).zip(lags).map(point).collect()
    }

    #[test]
    fn what_is_not_known_is_a_gap_in_the_line_and_is_shaded() {
        let of = points(&[Some(1), Some(2), None, None, Some(1), None]);
        let shown = lag(&"orders".parse().expect("valid"), &of, 5.0).into_string();
        assert_eq!(shown.matches("class=\"gap\"").count(), 2, "{shown}");
        assert!(shown.contains("now unknown") && shown.contains("unknown in 3 of 6 readings"), "{shown}");
        let line = shown.split("class=\"lag\" d=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a line");
        assert_eq!(line.matches('M').count(), 2, "two pieces: {line}");
    }

    #[test]
    fn nothing_seen_is_no_line() {
        let shown = lag(&"orders".parse().expect("valid"), &[], 5.0).into_string();
        assert!(!shown.contains("<svg") && shown.contains("Nothing was seen"));
    }
}
