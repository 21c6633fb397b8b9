//! `watch`: a run live, one line per thing that happened, from its event stream.
//!
//! A broken stream is taken up again after the last record seen. On a terminal a last line, rewritten every second,
//! says what the run waits for and for how long; elsewhere each new wait is a line.

use std::{collections::BTreeSet, io::IsTerminal, time::Duration};

use jiff::Timestamp;
use reqwest::Response;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    EXIT_DONE, EXIT_FAILED, EXIT_HELD, Options,
    api::{Api, Failure},
    enc, print,
    render::{self, between, cut, mark, plain, seconds},
};
use crate::http::{
    step::StepStateName,
    view::{RecordView, RunStateName, RunView},
};

/// How often a stream that broke is tried again before giving up, and the pause between.
const RECONNECTS_MAX: u32 = 20;
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// A run is looked at again every so many seconds, for how it stands to the RTO.
const LOOK_TICKS: u32 = 5;

/// The most that one event may have; a record has at most 350 KB.
const EVENT_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Follows `run` until it is finished or, unless `follow`, held; returns the exit code.
pub async fn watch(options: &Options, api: &Api, run: &str, follow: bool) -> Result<u8, Failure> {
    let path = format!("/runs/{}", enc(run));
    let view: RunView = api.get(&path).await?;
    if !options.json {
        print(&render::head(&view));
        // Of what is over the last lines tell it.
        if !view.state.is_final() {
            print(&render::code(&view));
        }
    }
    let mut timeline = Timeline {
        json: options.json,
        live: !options.json && std::io::stdout().is_terminal(),
        view,
        waiting: None,
        seen: None,
        warned: BTreeSet::new(),
    };
    let mut breaks = 0;
    loop {
        match api.events(run, timeline.seen).await {
            Ok(None) => break,
            Ok(Some(stream)) => match timeline.follow(api, &path, stream, follow, &mut breaks).await? {
                Ended::Finished => break,
                Ended::Held => return Ok(EXIT_HELD),
                Ended::Broken => {}
            },
            Err(failure @ Failure::Unreachable { .. }) if breaks >= RECONNECTS_MAX => {
                return Err(failure);
            }
            Err(Failure::Unreachable { .. }) => {}
            Err(failure) => return Err(failure),
        }
        breaks += 1;
        if breaks > RECONNECTS_MAX {
            return Err(Failure::Answer("the event stream keeps breaking".to_owned()));
        }
        #[expect(clippy::disallowed_methods, reason = "a client on its own, with no engine and no clock port")]
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
    timeline.refresh(api, &path).await?;
    timeline.close();
    Ok(match timeline.view.state {
        RunStateName::Succeeded => EXIT_DONE,
        RunStateName::Held | RunStateName::Paused => EXIT_HELD,
        _ => EXIT_FAILED,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Finished,
    Held,
    Broken,
}

struct Timeline {
    json: bool,
    /// Whether a last line is rewritten.
    live: bool,
    view: RunView,
    waiting: Option<(String, Instant)>,
    seen: Option<u64>,
    /// The warnings that were printed.
    warned: BTreeSet<String>,
}

impl Timeline {
    async fn follow(
        &mut self,
        api: &Api,
        path: &str,
        mut stream: Response,
        through_holds: bool,
        breaks: &mut u32,
    ) -> Result<Ended, Failure> {
        let mut parser = SseParser::default();
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        let mut ticks: u32 = 0;
        loop {
            let chunk = tokio::select! {
                chunk = stream.chunk() => chunk,
                _ = tick.tick() => {
                    ticks += 1;
                    // Nothing is recorded while a step takes too long: the run is asked how it stands to the RTO.
                    if ticks.is_multiple_of(LOOK_TICKS) {
                        self.refresh(api, path).await?;
                    }
                    self.draw_waiting();
                    continue;
                }
            };
            let Ok(Some(chunk)) = chunk else {
                return Ok(Ended::Broken);
            };
            for event in parser.push(&chunk)? {
                if event.name == "end" {
                    return Ok(Ended::Finished);
                }
                if event.name != "record" {
                    continue;
                }
                *breaks = 0;
                let record: RecordView =
                    serde_json::from_str(&event.data).map_err(|e| Failure::Answer(e.to_string()))?;
                self.seen = Some(record.seq);
                let has = |kinds: &[&str]| record.events.iter().any(|e| kinds.iter().any(|k| e["event"] == *k));
                let stopped = has(&["run_held", "run_paused"]);
                let approval = |step: &Value| {
                    self.view.steps.iter().any(|s| s.action == "approve" && Some(s.id.as_str()) == step.as_str())
                };
                let asks = record.events.iter().any(|e| e["event"] == "step_started" && approval(&e["step"]));
                self.record(&record);
                self.refresh(api, path).await?;
                if asks && !self.json {
                    print(&render::approvals(&self.view));
                }
                // A hold in the past, since resumed, is history.
                let stands = matches!(self.view.state, RunStateName::Held | RunStateName::Paused);
                if stopped && !through_holds && stands {
                    self.close();
                    return Ok(Ended::Held);
                }
            }
        }
    }

    fn record(&mut self, record: &RecordView) {
        for event in &record.events {
            if self.json {
                let mut line = json!({ "seq": record.seq, "at": record.at });
                if let (Some(line), Value::Object(members)) = (line.as_object_mut(), event) {
                    line.extend(members.clone());
                }
                print(&format!("{line}\n"));
            } else if let Some((mark, text)) = self.line(record.at, event) {
                self.erase();
                let at = clock(between(self.view.started_at, record.at));
                print(&render::wrapped(&format!("{at:>8}  {mark} "), &text));
            }
        }
    }

    fn line(&self, at: Timestamp, event: &Value) -> Option<(&'static str, String)> {
        let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default();
        let step = text("step");
        let known = self.view.steps.iter().find(|s| s.id == step);
        let title = known.map_or("", |s| s.title.as_str());
        let running = mark(StepStateName::Running);
        Some(match text("event") {
            "run_started" => (running, "the run started".to_owned()),
            "step_started" => (running, format!("{step}: {title}")),
            "intent" => (running, format!("{step}: sends {}", call_of(event))),
            "answered" => (running, format!("{step}: AWS's answer: {}", outcome_of(event))),
            "call_observed" => {
                let last = newest_evidence(event).unwrap_or_default();
                let now = known.and_then(|s| s.detail.as_deref()).unwrap_or("in effect");
                (mark(StepStateName::Holding), format!("{step}: {now} ({last})"))
            }
            "step_done" => {
                let took = known
                    .and_then(|s| s.started_at)
                    .map_or(String::new(), |from| format!(" in {}", seconds(between(from, at))));
                let seen = newest_evidence(event).map_or(String::new(), |e| format!(": {e}"));
                (mark(StepStateName::Done), format!("{step}: done{took}{seen}"))
            }
            "step_skipped" => (mark(StepStateName::Skipped), format!("{step}: skipped: {}", text("reason"))),
            "step_failed" => {
                (mark(StepStateName::Failed), format!("{step}: failed: {}: {}", text("code"), text("reason")))
            }
            "undo_intended" => (mark(StepStateName::Undoing), format!("{step}: undoing: sends {}", call_of(event))),
            "undo_answered" => {
                (mark(StepStateName::Undoing), format!("{step}: undoing: AWS's answer: {}", outcome_of(event)))
            }
            "step_undone" => {
                let last = newest_evidence(event).unwrap_or_default();
                (mark(StepStateName::Undone), format!("{step}: undone: {last}"))
            }
            "undo_failed" => {
                let failed = format!("{step}: undo failed: {}: {}", text("code"), text("reason"));
                (mark(StepStateName::UndoFailed), failed)
            }
            "step_retried" => (running, format!("{step}: {} has it tried again: {}", text("subject"), text("reason"))),
            "step_passed" => (
                mark(StepStateName::Skipped),
                format!("{step}: {} passes over it: {}", text("subject"), text("reason")),
            ),
            "approval_recorded" => {
                let approved = event.get("approved").and_then(Value::as_bool);
                let word = if approved == Some(true) { "approved" } else { "declined" };
                let who = text("subject");
                (running, format!("{step}: {who} {word}: {}", text("reason")))
            }
            "run_held" => ("!", format!("held ({}): {}", text("code"), text("reason"))),
            "run_paused" => ("!", format!("paused by {}: {}", text("subject"), text("reason"))),
            "run_resumed" => (running, format!("resumed by {}: {}", text("subject"), text("reason"))),
            "abort_requested" => ("!", format!("{} aborts it: {}", text("subject"), text("reason"))),
            "budget_exceeded" => ("!", format!("over its budget at {step}, goes home: {}", text("reason"))),
            // The last lines say it; from where somebody asked is for those who read the journal later.
            "run_finished" | "called_from" => return None,
            other => (" ", plain(other)),
        })
    }

    /// Looks at the run again, and says what it waits for if that changed.
    async fn refresh(&mut self, api: &Api, path: &str) -> Result<(), Failure> {
        match api.get(path).await {
            Ok(view) => self.view = view,
            // The stream tells what the view cannot now.
            Err(Failure::Unreachable { .. }) => return Ok(()),
            Err(failure) => return Err(failure),
        }
        self.warn();
        let waits = self.view.waits_for.clone();
        if waits.as_deref() != self.waiting.as_ref().map(|(w, _)| w.as_str()) {
            #[expect(clippy::disallowed_methods, reason = "a client on its own, with no engine and no clock port")]
            let now = Instant::now();
            self.waiting = waits.map(|w| (w, now));
            match &self.waiting {
                Some((waits, _)) if !self.json && !self.live && self.view.state == RunStateName::Running => {
                    print(&render::wrapped("          … waits for ", waits));
                }
                _ => self.draw_waiting(),
            }
        }
        Ok(())
    }

    /// Prints each warning once; it is worded anew as time passes, so it is known by what it is about.
    fn warn(&mut self) {
        let Some(deadline) = &self.view.deadline else { return };
        let fresh: Vec<String> = deadline
            .warnings
            .iter()
            .filter(|w| self.warned.insert(format!("{} {:?} {}", w.about, w.step, w.level.as_str())))
            .map(|w| {
                let at = clock(between(self.view.started_at, deadline.at));
                if self.json {
                    return json!({ "at": deadline.at, "event": "warning", "warning": w }).to_string() + "\n";
                }
                render::wrapped(&format!("{at:>8}  ! "), &render::warning(w))
            })
            .collect();
        for line in fresh {
            self.erase();
            print(&line);
        }
    }

    fn draw_waiting(&self) {
        if let (true, Some((waits, since))) = (self.live, &self.waiting) {
            let elapsed = seconds(since.elapsed().as_secs_f64());
            // A column less than the width, so that no terminal wraps the line.
            let line: String =
                cut(&format!("          … {elapsed}: waits for {waits}")).chars().take(render::WIDTH - 1).collect();
            print(&format!("\r\x1b[2K{line}"));
        }
    }

    fn erase(&self) {
        if self.live {
            print("\r\x1b[2K");
        }
    }

    fn close(&mut self) {
        self.erase();
        self.live = false;
        if !self.json {
            print(&render::tail(&self.view));
        }
    }
}

/// `m:ss.d` since the start.
fn clock(s: f64) -> String {
    // Bounded by what a run lasts; cutting is meant.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounded by what a run lasts; cutting is meant"
    )]
    let tenths = (s * 10.0) as u64;
    format!("{}:{:02}.{}", tenths / 600, tenths / 10 % 60, tenths % 10)
}

/// One server-sent event.
#[derive(Debug, Default, PartialEq, Eq)]
struct SseEvent {
    name: String,
    data: String,
}

/// Bytes into server-sent events (WHATWG HTML 9.2.6), as far as our server uses them.
#[derive(Debug, Default)]
struct SseParser {
    rest: Vec<u8>,
    event: SseEvent,
}

impl SseParser {
    fn push(&mut self, bytes: &[u8]) -> Result<Vec<SseEvent>, Failure> {
        self.rest.extend_from_slice(bytes);
        if self.rest.len() + self.event.data.len() > EVENT_BYTES_MAX {
            return Err(Failure::Answer("an event is too large".to_owned()));
        }
        let mut done = Vec::new();
        while let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                let event = std::mem::take(&mut self.event);
                if !event.data.is_empty() {
                    done.push(event);
                }
            } else if let Some(name) = line.strip_prefix("event:") {
                name.trim_start().clone_into(&mut self.event.name);
            } else if let Some(data) = line.strip_prefix("data:") {
                if !self.event.data.is_empty() {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(data.strip_prefix(' ').unwrap_or(data));
            }
        }
        Ok(done)
    }
}

/// The call that an intent is of.
fn call_of(event: &Value) -> &str {
    event.pointer("/mutation/call").and_then(Value::as_str).unwrap_or("a call")
}

/// How a call was answered: a rejection with AWS's own code, which is what one looks for in its documentation.
fn outcome_of(event: &Value) -> String {
    let text = |key: &str| event.get("outcome")?.get(key)?.as_str();
    let word = text("outcome").unwrap_or("unknown").replace('_', " ");
    let code = text("code").map_or(String::new(), |code| format!(" ({code})"));
    let why = text("message").or_else(|| text("reason")).map_or(String::new(), |why| format!(": {why}"));
    format!("{word}{code}{why}")
}

/// What was observed last.
fn newest_evidence(event: &Value) -> Option<&str> {
    event.get("evidence").and_then(Value::as_array)?.last()?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cloud::Outcome;

    #[test]
    fn events_are_put_together_from_any_pieces() {
        let text = ": alive\n\nid: 3\nevent: record\ndata: {\"a\":1}\n\nevent: end\ndata: {}\n\n";
        for size in 1..text.len() {
            let mut parser = SseParser::default();
            let mut events = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                events.extend(parser.push(piece).expect("small"));
            }
            let pairs: Vec<_> = events.iter().map(|e| (e.name.as_str(), e.data.as_str())).collect();
            assert_eq!(pairs, [("record", "{\"a\":1}"), ("end", "{}")]);
        }
    }

    #[test]
    fn an_answer_says_what_aws_said() {
        let answered = |outcome: Outcome| outcome_of(&json!({ "outcome": outcome }));
        let (code, message) = ("AccessDenied".to_owned(), "not authorized".to_owned());
        assert_eq!(
            answered(Outcome::Rejected { code, message, request_id: None }),
            "rejected (AccessDenied): not authorized"
        );
        assert_eq!(answered(Outcome::Accepted { request_id: None, handle: None }), "accepted");
        assert_eq!(answered(Outcome::NotSent { reason: "no route".to_owned() }), "not sent: no route");
        assert_eq!(answered(Outcome::Unknown { reason: "timeout".to_owned() }), "unknown: timeout");
        assert_eq!(outcome_of(&json!({})), "unknown");
    }

    #[test]
    fn the_clock_counts_from_the_start() {
        assert_eq!(clock(0.0), "0:00.0");
        assert_eq!(clock(75.25), "1:15.2");
    }
}
