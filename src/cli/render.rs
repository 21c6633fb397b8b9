//! Views as text that reads well at 80 columns, without colour.
//!
//! Text from outside (AWS's messages, reasons) never reaches the terminal with control characters in it.

pub mod drills;

use jiff::{Timestamp, Unit};

use super::api::Failure;
use crate::domain::deadline::Level;
use crate::http::{
    condition::{ApplicationView, ExposureView, SignalView},
    deadline::{ShareView, WarningView},
    deferred::DeferredView,
    replica::LeaderView,
    step::{StepStateName, StepView},
    view::{RunView, RunsView, StartedView},
};

/// The width that text is made for.
pub const WIDTH: usize = 80;

/// Without control characters.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// `text` of the daemon, which names what the API takes, with what the command line takes in its place.
pub fn flags(text: &str) -> String {
    text.replace("accept_data_loss_seconds", "--accept-data-loss-seconds")
}

/// `text` in lines of at most [`WIDTH`], the first after `head`, the others indented as far.
pub fn wrapped(head: &str, text: &str) -> String {
    let indent = head.chars().count();
    let mut out = head.to_owned();
    let mut column = indent;
    for word in plain(text).split_whitespace() {
        let chars = word.chars().count();
        if column > indent && column + 1 + chars > WIDTH {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else if column > indent {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += chars;
    }
    let mut out = out.trim_end().to_owned();
    out.push('\n');
    out
}

/// One line of at most [`WIDTH`].
pub fn cut(line: &str) -> String {
    let line = plain(line);
    if line.chars().count() <= WIDTH {
        return line;
    }
    let mut short: String = line.chars().take(WIDTH - 1).collect();
    short.push('…');
    short
}

/// `3.2 s`, `1 min 05 s`, `2 h 05 min`.
pub fn seconds(s: f64) -> String {
    if s < 10.0 {
        return format!("{s:.1} s");
    }
    // Bounded by what Durations hold; rounding is meant.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounded by what a Duration holds; rounded above"
    )]
    let whole = s.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// Seconds from `from` to `to`.
pub fn between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}

pub(super) fn time(at: Timestamp) -> String {
    let second = at.round(Unit::Second).unwrap_or(at);
    second.to_string()
}

pub(super) fn known(text: Option<&str>) -> &str {
    text.unwrap_or("unknown")
}

pub(super) fn word<T: serde::Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => "unknown".to_owned(),
    }
}

/// A failure, for standard error.
pub fn failure(failure: &Failure) -> String {
    let mut out = wrapped("failoverd: ", &flags(&failure.to_string()));
    if let Failure::Problem(problem) = failure {
        let text = |key: &str| problem.get(key).and_then(serde_json::Value::as_str);
        for (key, head) in [
            ("gate", "  gate:         "),
            ("satisfied_by", "  satisfied by: "),
            ("escalate", "  instead:      "),
            ("run", "  run:          "),
            ("current_digest", "  digest now:   "),
            ("code", "  code:         "),
            ("request_id", "  request:      "),
        ] {
            if let Some(value) = text(key) {
                out.push_str(&wrapped(head, &flags(value)));
            }
        }
    }
    out
}

/// All applications.
pub fn status(applications: &[ApplicationView]) -> String {
    let mut out = String::new();
    for a in applications {
        out.push_str(&cut(&format!("{}: {}, in {}", a.name, word(&a.health), known(a.active_region.as_deref()))));
        out.push('\n');
        match (&a.verdict, a.assessed_at) {
            (Some(verdict), Some(at)) => {
                let mut text = format!("{} (as of {})", word(verdict), time(at));
                if let Some(target) = &a.recommended_target {
                    text.push_str(&format!(", to {target}"));
                }
                out.push_str(&wrapped("  verdict   ", &text));
            }
            _ if a.leader.as_ref().is_some_and(|l| !l.here) => {
                out.push_str("  verdict   told by its leader: ask there\n");
            }
            _ => out.push_str("  verdict   none yet: nothing was assessed\n"),
        }
        if let Some(held) = &a.held {
            out.push_str(&wrapped("  HELD      ", held));
        }
        a.drill_faults.iter().for_each(|f| out.push_str(&wrapped("  FAULT IN  ", &drills::fault(f))));
        for b in &a.branches {
            let said = match (&b.primary, &b.reconciled_by) {
                (Some(primary), Some(by)) => format!("{by} says since that it lives in {primary}"),
                _ => "nobody has reconciled it".to_owned(),
            };
            out.push_str(&wrapped("  branch    ", &format!("{} by {}, {}: {said}", b.id, b.begun_by, b.file)));
        }
        if let Some(leader) = &a.leader {
            out.push_str(&wrapped("  leader    ", &led_by(leader)));
        }
        a.readiness.iter().for_each(|ready| out.push_str(&wrapped("  proved    ", &drills::readiness(ready))));
        let mut mode = word(&a.mode);
        if let Some(since) = a.would_start_since {
            mode.push_str(&format!(", would have started a failover since {}", time(since)));
        }
        if let Some(until) = a.armed_until {
            mode.push_str(&format!(", armed until {}", time(until)));
        }
        if let Some(until) = a.kill_switch_until {
            mode.push_str(&format!(", switched off until {}", time(until)));
        }
        out.push_str(&wrapped("  mode      ", &mode));
        let objectives = format!("RTO {}, RPO {}", seconds(a.rto_objective_seconds), seconds(a.rpo_objective_seconds));
        out.push_str(&wrapped("  promised  ", &objectives));
        if let Some(used) = a.rto_used_seconds {
            let left = a.rto_left_seconds.map_or("nothing".to_owned(), seconds);
            out.push_str(&wrapped("  rto       ", &format!("{} used, {left} left", seconds(used))));
        }
        for e in &a.exposure {
            out.push_str(&wrapped("  exposure  ", &exposure(e)));
        }
        for s in a.signals.iter().filter(|s| !is_quiet(s)) {
            out.push_str(&wrapped("  signal    ", &signal(s)));
        }
        if let Some(run) = &a.active_run {
            out.push_str(&format!("  run       {run}\n"));
        }
        if let Some(note) = &a.infrastructure_code {
            let text = format!("{note}: failoverd patch --application {}", a.name);
            out.push_str(&wrapped("  code      ", &text));
        }
        for work in &a.open_work {
            out.push_str(&wrapped("  open work ", &deferred(work)));
        }
    }
    if out.is_empty() {
        out.push_str("no applications\n");
    }
    out
}

fn led_by(leader: &LeaderView) -> String {
    let region = leader.region.as_ref().map(|region| format!(" in {region}")).unwrap_or_default();
    let url = leader.url.as_ref().map(|url| format!(", {url}")).unwrap_or_default();
    let epoch = leader.epoch.map_or_else(|| "epoch not begun".to_owned(), |epoch| format!("epoch {epoch}"));
    let here = if leader.here { " (the one that was asked)" } else { "" };
    format!("{}{region}{url}{here}, {epoch}, since {}", leader.holder, time(leader.since))
}

pub(super) fn is_quiet(s: &SignalView) -> bool {
    s.state == "fresh" && s.reading.as_deref() != Some("unhealthy")
}

pub(super) fn exposure(e: &ExposureView) -> String {
    let bound = e.loss_bound_seconds.map_or("unbounded".to_owned(), |s| format!("at most {}", seconds(s)));
    let lag = e.measured_lag_seconds.map_or("no lag measured".to_owned(), |lag| {
        let age = e.sample_age_seconds.map_or("unknown".to_owned(), seconds);
        format!("lag {} measured {age} ago", seconds(lag))
    });
    let stale = if e.fresh { "" } else { ", not fresh" };
    format!("{}: {bound} ({lag}{stale})", e.store)
}

pub(super) fn signal(s: &SignalView) -> String {
    let mut text = format!("{}: {}", s.name, s.state);
    if let Some(reading) = &s.reading {
        text.push_str(&format!(", {reading}"));
    }
    if let Some(lag) = s.lag_seconds {
        text.push_str(&format!(" {}", seconds(lag)));
    }
    if let Some(age) = s.age_seconds {
        text.push_str(&format!(", {} old", seconds(age)));
    }
    if let Some(detail) = &s.detail {
        text.push_str(&format!(": {detail}"));
    }
    text
}

/// A list of runs.
pub fn runs(list: &RunsView) -> String {
    let mut out = String::new();
    for r in &list.runs {
        out.push_str(&format!("{}\n", plain(&r.id)));
        let what = format!("{:<10} {} {} → {}", r.state.as_str(), r.purpose, r.source, r.target);
        out.push_str(&format!("  {}\n", cut(&what)));
        let took = r.finished_at.map_or(String::new(), |end| format!(", took {}", seconds(between(r.started_at, end))));
        let asked = format!("{}{took}, asked for by {}: {}", time(r.started_at), r.requested_by, r.reason);
        out.push_str(&wrapped("  ", &asked));
        if let Some(waits) = &r.waits_for {
            out.push_str(&wrapped("  waits for ", waits));
        }
    }
    if list.runs.is_empty() {
        out.push_str("no runs\n");
    }
    if let Some(cursor) = &list.next_cursor {
        out.push_str(&format!("more: --cursor {}\n", plain(cursor)));
    }
    out
}

/// A run that was asked for.
pub fn started(view: &StartedView, watched: bool) -> String {
    let mut out = format!("run {}\n", plain(&view.run));
    if let Some(old) = &view.supersedes {
        out.push_str(&format!("in place of {}\n", plain(old)));
    }
    if !watched {
        out.push_str(&format!("watch it: failoverd watch {}\n", plain(&view.run)));
    }
    out
}

/// The mark of a step's state.
pub fn mark(state: StepStateName) -> &'static str {
    match state {
        StepStateName::Pending => "·",
        StepStateName::Running | StepStateName::Sending | StepStateName::Answered | StepStateName::Holding => "▸",
        StepStateName::Undoing | StepStateName::Undone => "↩",
        StepStateName::Done => "✓",
        StepStateName::Skipped | StepStateName::Abandoned | StepStateName::NotRun => "-",
        StepStateName::Failed | StepStateName::UndoFailed => "✗",
    }
}

/// The first lines of a run.
pub fn head(run: &RunView) -> String {
    let mut out = format!("{}\n", plain(&run.id));
    out.push_str(&wrapped(
        "  ",
        &format!(
            "{} of {}: {} → {}, asked for by {}: {}",
            run.purpose, run.application, run.source, run.target, run.requested_by, run.reason
        ),
    ));
    out.push_str(&format!("  plan {}\n", plain(&run.plan_digest)));
    out
}

/// One run with its steps.
pub fn run(run: &RunView) -> String {
    let mut out = head(run);
    for s in &run.steps {
        out.push_str(&step(s));
    }
    out.push_str(&tail(run));
    out
}

fn step(s: &StepView) -> String {
    let took = match (s.started_at, s.finished_at) {
        (Some(from), Some(to)) => seconds(between(from, to)),
        _ => String::new(),
    };
    let attempts = if s.attempt > 1 { format!(" (attempt {})", s.attempt) } else { String::new() };
    let line = format!("  {} {:<22} {:<9} {took:>11}  {}{attempts}", mark(s.state), s.id, s.state.as_str(), s.title);
    let mut out = cut(&line);
    out.push('\n');
    if let Some(detail) = &s.detail {
        out.push_str(&wrapped("      ", &flags(detail)));
    }
    out
}

/// The last lines of a run: how it stands, what was lost, what a person can do.
pub fn tail(run: &RunView) -> String {
    let mut out = wrapped("  ", &flags(&standing(run)));
    if let Some(waits) = &run.waits_for {
        out.push_str(&wrapped("  waits for ", waits));
    }
    if let Some(total) = run.clock.total_seconds {
        out.push_str(&wrapped("  rto       ", &format!("{} ({})", seconds(total), parts(run).join(", "))));
    }
    if let Some(deadline) = run.deadline.as_ref().filter(|_| !run.state.is_final()) {
        if let Some(used) = deadline.used_seconds {
            let left = deadline.left_seconds.map_or("nothing".to_owned(), seconds);
            let remaining = deadline.remaining_p50_seconds.map_or("unknown".to_owned(), seconds);
            let text = format!("{} used, {left} left; what remains takes about {remaining}", seconds(used));
            out.push_str(&wrapped("  rto       ", &text));
        }
        for warning in &deadline.warnings {
            out.push_str(&wrapped("  warning   ", &self::warning(warning)));
        }
    }
    if let Some(loss) = &run.loss {
        let at_least = loss.at_least_seconds.map_or("unknown".to_owned(), seconds);
        let at_most = loss.at_most_seconds.map_or("not bounded".to_owned(), seconds);
        let text = format!("at least {at_least}, at most {at_most} ({})", loss.basis);
        out.push_str(&wrapped("  lost      ", &text));
    }
    let fenced = run.steps.iter().filter_map(|s| Some(format!("{} {}", s.id, s.outputs.get("fenced")?.as_str()?)));
    let fenced: Vec<String> = fenced.collect();
    if !fenced.is_empty() {
        out.push_str(&wrapped("  fenced    ", &fenced.join(", ")));
    }
    out.push_str(&code(run));
    for work in &run.deferred {
        out.push_str(&wrapped("  open work ", &deferred(work)));
    }
    if run.state.as_str() == "held" || run.state.as_str() == "paused" {
        let id = plain(&run.id);
        out.push_str(&format!(
            "  failoverd resume {id} \\\n    --digest {} \\\n    --reason …\n",
            plain(&run.plan_digest)
        ));
        out.push_str(&failed_steps(run));
    }
    out.push_str(&approvals(run));
    out
}

/// What whoever applies infrastructure code must know of it.
pub(super) fn code(run: &RunView) -> String {
    let note = run.infrastructure_code.as_ref();
    note.map_or_else(String::new, |note| wrapped("  code      ", &format!("{note}: failoverd patch {}", run.id)))
}

/// What a run has left open, and what became of it.
pub(super) fn deferred(work: &DeferredView) -> String {
    let says = work.says.as_ref().map_or_else(String::new, |says| format!(": {says}"));
    let (since, within) = (time(work.since), seconds(work.within_seconds));
    format!(
        "{}, {}{says} (`{}` of {}, since {since}, given up after {within})",
        work.what, work.state, work.step, work.run
    )
}

/// How a step that has failed is tried again by itself, or passed over: only what the engine takes now.
fn failed_steps(run: &RunView) -> String {
    let of = |s: &StepView| [("retry", s.can_retry), ("skip", s.can_skip)];
    let offered = run.steps.iter().flat_map(|s| of(s).map(|(verb, may)| (verb, &s.id, may)));
    let verbs = offered.filter(|(_, _, may)| *may).map(|(verb, step, _)| (verb, step));
    let told = verbs.map(|(verb, step)| {
        let (id, step, digest) = (plain(&run.id), plain(step), plain(&run.plan_digest));
        format!("  failoverd {verb} {id} {step} \\\n    --digest {digest} \\\n    --reason …\n")
    });
    told.collect()
}

/// What each part of the RTO took, against its share where that is known.
fn parts(run: &RunView) -> Vec<String> {
    let shares = run.deadline.iter().flat_map(|d| &d.shares);
    let told: Vec<String> = shares.filter(|s| s.took_seconds.is_some()).map(share).collect();
    if !told.is_empty() {
        return told;
    }
    let clock = &run.clock;
    let parts = [
        ("detection", clock.detection_seconds),
        ("decision", clock.decision_seconds),
        ("execution", clock.execution_seconds),
        ("propagation", clock.propagation_seconds),
    ];
    parts.iter().filter_map(|(name, s)| s.map(|s| format!("{name} {}", seconds(s)))).collect()
}

/// `decision 1 min 05 s of 45 s: OVER`.
pub(super) fn share(s: &ShareView) -> String {
    let took = s.took_seconds.map_or("unknown".to_owned(), seconds);
    let over = if s.took_seconds.is_some_and(|took| s.objective_seconds < took) { ": OVER" } else { "" };
    let so_far = if s.ended { "" } else { " so far" };
    format!("{} {took}{so_far} of {}{over}", s.part.as_str(), seconds(s.objective_seconds))
}

/// A warning in words.
pub(super) fn warning(w: &WarningView) -> String {
    let (used, whole) = (seconds(w.used_seconds), seconds(w.whole_seconds));
    let percent = (w.used_seconds / w.whole_seconds * 100.0).floor();
    match (&w.step, w.about.as_str()) {
        (Some(step), _) if w.level == Level::Spent => {
            format!("{step} has used all that was left of the RTO when it began ({used} of {whole})")
        }
        (Some(step), _) => format!("{step} has used {percent:.0} % of what is left of the RTO ({used} of {whole})"),
        (None, "forecast") => format!("what remains takes about {used}, and {whole} of the RTO are left"),
        (None, _) => format!("the RTO of {whole} is spent: {used} so far"),
    }
}

/// How a second person approves each step that waits for one.
pub fn approvals(run: &RunView) -> String {
    let mut out = String::new();
    let asked = |id: &str| !run.waits_for.as_deref().is_some_and(|w| w.contains(&format!("`{id}`: approved")));
    let waiting =
        run.steps.iter().filter(|s| s.action == "approve" && s.state == StepStateName::Running && asked(&s.id));
    for s in waiting.filter(|_| !run.state.is_final()) {
        out.push_str(&format!(
            "  failoverd approve {} {} \\\n    --digest {} \\\n    --reason …\n",
            plain(&run.id),
            plain(&s.id),
            plain(&run.plan_digest)
        ));
    }
    out
}

fn standing(run: &RunView) -> String {
    let mut text = run.state.as_str().to_owned();
    if let Some(end) = run.finished_at {
        text.push_str(&format!(" after {}", seconds(between(run.started_at, end))));
        if let Some(evidence) = run.clock.evidence_since {
            let since = seconds(between(evidence, end));
            text.push_str(&format!(", {since} after the first evidence"));
        }
    }
    if let Some(code) = &run.held_code {
        text.push_str(&format!(" ({code})"));
    }
    if let Some(reason) = &run.state_reason {
        text.push_str(&format!(": {reason}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_under_its_head_and_cleaned() {
        let out = wrapped("  because ", &"word ".repeat(30));
        assert!(out.lines().all(|l| l.chars().count() <= WIDTH), "{out}");
        assert!(out.lines().skip(1).all(|l| l.starts_with("          word")));
        assert_eq!(wrapped("x ", "a\u{1b}[31mb\n"), "x a [31mb\n");
    }

    #[test]
    fn durations_read_as_people_say_them() {
        assert_eq!(seconds(3.21), "3.2 s");
        assert_eq!(seconds(59.4), "59 s");
        assert_eq!(seconds(65.0), "1 min 05 s");
        assert_eq!(seconds(7500.0), "2 h 05 min");
    }
}
