//! The runs that the journal tells of, read anew from its JSON: S1 (one active run), S12 (what was approved is what is
//! executed), S14 (what is intended is what was planned), S15 (what is over stays over).
//!
//! It keeps what the other checks ask for (intents, approvals, who waits for whom) and judges nothing of the world.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    Findings,
    armings::Armings,
    deferred, drills,
    intent::Intent,
    journal::Record,
    planned::check_planned,
    text,
    way_back::{check_not_done, check_shown, check_way_back},
};
use crate::sim::world::SimTime;

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    Moving,
    Held { code: String, waits_for: String },
    Paused { subject: String },
    Aborting { since: SimTime },
    Finished { result: String, at: SimTime },
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Looking, waiting, or with an effect under way.
    Open {
        since: SimTime,
    },
    Done,
    Skipped,
    Failed,
}

/// One word of one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Approval {
    pub step: String,
    pub subject: String,
    pub approved: bool,
    /// The record that holds it.
    pub record: usize,
    /// How long it was waited for, in milliseconds, where the journal says since when.
    pub waited_ms: Option<u64>,
}

/// One execution of a runbook.
#[derive(Debug)]
pub(super) struct Run {
    pub id: String,
    pub purpose: String,
    pub requester: String,
    /// Where it was started alone: whether two people had armed just that, or what was wrong with it.
    pub armed: Option<Result<(), String>>,
    pub plan: Value,
    pub digest: String,
    pub started_at: SimTime,
    /// When the journal last spoke of it, or a process took it up again.
    pub moved_at: SimTime,
    /// A step that is not here has not begun.
    pub steps: BTreeMap<String, Step>,
    /// What steps that are done have put out, by step and by name.
    pub outputs: BTreeMap<String, Value>,
    pub approvals: Vec<Approval>,
    pub resumes: u64,
    pub phase: Phase,
    /// What it goes back to when it is resumed: moving on, or being taken back.
    pub way: Phase,
    pub loss: Value,
    /// A drill has exceeded its budget, and leads home.
    pub goes_home: bool,
    /// By step, the call that was last said to be in effect, and when.
    pub observed: BTreeMap<String, (u64, SimTime)>,
    /// The largest error of the daemon's clock while the run went on, in milliseconds.
    pub clock_error_ms: u64,
}

impl Run {
    pub(super) fn planned(&self, step: &str) -> Option<&Value> {
        self.plan["steps"].as_array()?.iter().find(|s| text(s, "id") == step)
    }

    pub(super) fn planned_steps(&self) -> &[Value] {
        self.plan["steps"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The action of a planned step, such as `dns.flip`.
    pub(super) fn action(&self, step: &str) -> Option<&Value> {
        self.planned(step).map(|s| &s["action"])
    }

    pub(super) fn is_finished(&self) -> bool {
        matches!(self.phase, Phase::Finished { .. })
    }
}

/// What other checks look into at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    /// The intent at this index.
    Intended(usize),
    /// This run was started alone.
    StartedAlone(String),
    /// This run was started by somebody.
    Planned(String),
    /// This run is over, and has succeeded.
    Succeeded(String),
    /// This call of a step is said to be in effect.
    Observed {
        run: String,
        step: String,
        call: u64,
    },
    Done {
        run: String,
        step: String,
    },
    /// What was there before is said to be there again.
    Undone {
        run: String,
        step: String,
    },
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Runs {
    pub intents: Vec<Intent>,
    /// In the order of their start.
    runs: Vec<Run>,
    standing: Vec<Standing>,
    armings: Armings,
}

/// A standing effect: renewed from the record on that set it up, until another replaces it.
#[derive(Debug)]
pub(super) struct Standing {
    pub mutation: Value,
    record: usize,
    pub at: SimTime,
}

impl Runs {
    pub(super) fn all(&self) -> &[Run] {
        &self.runs
    }

    pub(super) fn run(&self, id: &str) -> Option<&Run> {
        self.runs.iter().rev().find(|run| run.id == id)
    }

    pub(super) fn armings(&self) -> &Armings {
        &self.armings
    }

    pub(super) fn active(&self) -> Option<&Run> {
        self.runs.iter().rev().find(|run| !run.is_finished())
    }

    /// Whether `mutation` is a standing effect that was set up before the record `before` and that nothing had
    /// replaced by `at`.
    pub(super) fn is_standing(&self, mutation: &Value, before: usize, at: SimTime) -> bool {
        let key = metric(mutation);
        let mut of_metric =
            self.standing.iter().filter(|s| s.record < before && s.at <= at && metric(&s.mutation) == key);
        of_metric.next_back().is_some_and(|last| last.mutation == *mutation)
    }

    /// What stands and has not been replaced.
    pub(super) fn standing(&self) -> impl Iterator<Item = &Standing> {
        let is_last = |(index, of): &(usize, &Standing)| {
            self.standing[index + 1..].iter().all(|later| metric(&later.mutation) != metric(&of.mutation))
        };
        self.standing.iter().enumerate().filter(is_last).map(|(_, standing)| standing)
    }

    /// Takes one record in.
    pub(super) fn take(&mut self, record: &Record, findings: &mut Findings) -> Vec<News> {
        let ahead = record.clock_ahead_ms.unsigned_abs();
        for run in self.runs.iter_mut().filter(|run| !run.is_finished()) {
            run.clock_error_ms = run.clock_error_ms.max(ahead);
            if record.events.iter().any(|e| text(e, "event") == "epoch_started" || text(e, "run") == run.id) {
                run.moved_at = record.at;
            }
        }
        record.events.iter().filter_map(|event| self.take_event(record, event, findings)).collect()
    }

    fn take_event(&mut self, record: &Record, event: &Value, findings: &mut Findings) -> Option<News> {
        match text(event, "event") {
            "epoch_started" | "decision_changed" | "called_from" | "schedule_noted" => return None,
            "primary_seen" | "branch_began" | "branch_imported" | "branch_reconciled" => return None,
            "run_started" => {
                self.start(record, event, findings);
                let is_alone = event["request"]["armed"].is_string();
                let id = text(event, "run").to_owned();
                return Some(if is_alone { News::StartedAlone(id) } else { News::Planned(id) });
            }
            "override_asked" | "override_consented" | "override_ended" => {
                self.armings.take(event);
                return None;
            }
            "notice_intended" | "notice_answered" => {
                self.notice(record, event);
                return None;
            }
            "deferred_intended" | "deferred_answered" | "deferred_ended" => {
                deferred::take(self, record, event, findings);
                return None;
            }
            _ => {}
        }
        let id = text(event, "run");
        let Some(position) = self.runs.iter().rposition(|run| run.id == id) else {
            let text = format!("record {} speaks of {id}, a run that was never started", record.index);
            findings.violated("S15", record.at, text);
            return None;
        };
        if let Phase::Finished { result, .. } = &self.runs[position].phase {
            let text = format!(
                "record {} goes on with {id} ({}), which has {result} already: what is over stays over",
                record.index,
                text(event, "event")
            );
            findings.violated("S15", record.at, text);
            return None;
        }
        self.take_run_event(position, record, event, findings)
    }

    /// Messages that belong to no run, but to what is armed no more: intents like others, each of a step of its own.
    fn notice(&mut self, record: &Record, event: &Value) {
        let about = text(event, "about");
        let step = |call: u64| format!("notice-{call}");
        if let Some(calls) = event["calls"].as_array() {
            let intents = (0..).zip(calls).map(|(call, mutation)| {
                let intent = Intent::new(about.to_owned(), step(call), mutation, record);
                Intent { attempt: 1, call, ..intent }
            });
            self.intents.extend(intents);
            return;
        }
        let (step, outcome) = (step(event["call"].as_u64().unwrap_or_default()), text(&event["outcome"], "outcome"));
        if let Some(last) = self.intents.iter_mut().rev().find(|i| i.run == about && i.step == step) {
            outcome.clone_into(&mut last.outcome);
        }
        self.close(record, true, |i| i.run == about && i.step == step);
    }

    fn take_run_event(
        &mut self,
        position: usize,
        record: &Record,
        event: &Value,
        findings: &mut Findings,
    ) -> Option<News> {
        let run = &mut self.runs[position];
        let (id, step) = (run.id.clone(), text(event, "step").to_owned());
        match text(event, "event") {
            "step_started" => open(run, &step, record.at),
            // What it leaves open is held to what its calls are.
            "work_deferred" => {}
            "intent" => {
                check_not_done(run, &step, record, findings);
                drills::intended(run, &step, record, findings);
                open(run, &step, record.at);
                check_planned(run, &step, event, record, findings);
                return Some(self.intend(id, step, event, record, false));
            }
            "undo_intended" => {
                drills::taken_back(run, record);
                check_way_back(run, &self.intents, &step, event, record, findings);
                return Some(self.intend(id, step, event, record, true));
            }
            "answered" | "undo_answered" => {
                let outcome = text(&event["outcome"], "outcome");
                if let Some(last) = self.intents.iter_mut().rev().find(|i| i.run == id && i.step == step) {
                    outcome.clone_into(&mut last.outcome);
                }
                let has_none = matches!(outcome, "rejected" | "not_sent");
                self.close(record, has_none, |i| i.run == id && i.step == step);
            }
            "call_observed" => {
                let call = event["call"].as_u64().unwrap_or(u64::MAX);
                run.observed.insert(step.clone(), (call, record.at));
                return Some(News::Observed { run: id, step, call });
            }
            "step_done" => {
                run.steps.insert(step.clone(), Step::Done);
                run.outputs.insert(step.clone(), event["outputs"].clone());
                self.close(record, true, |i| i.run == id && i.step == step);
                self.stand(position, &step, record);
                return Some(News::Done { run: id, step });
            }
            "step_undone" => {
                self.close(record, true, |i| i.run == id && i.step == step);
                self.stand_again(position, &step, record);
                return Some(News::Undone { run: id, step });
            }
            "undo_failed" => self.close(record, true, |i| i.run == id && i.step == step),
            "step_skipped" => drop(run.steps.insert(step, Step::Skipped)),
            "step_failed" => {
                run.steps.insert(step.clone(), Step::Failed);
                if run.planned(&step).is_some_and(|s| s["on_failure"] == json!("undo")) && run.way == Phase::Moving {
                    run.way = Phase::Aborting { since: record.at };
                    run.phase = run.way.clone();
                }
                self.close(record, true, |i| i.run == id && i.step == step);
            }
            "budget_exceeded" => drills::over_budget(run, record, findings),
            "approval_recorded" => approve(run, &step, event, record, findings),
            "step_retried" | "step_passed" | "run_held" | "run_paused" | "run_resumed" | "abort_requested" => {
                stopped(run, step, event, record, findings);
            }
            "run_finished" => {
                findings.checked("S15");
                run.loss = event["loss"].clone();
                run.phase = Phase::Finished { result: text(event, "result").to_owned(), at: record.at };
                self.close(record, false, |i| i.run == id);
                return (text(event, "result") == "succeeded").then_some(News::Succeeded(id));
            }
            other => {
                let text = format!("record {} holds `{other}`, which no list of events knows", record.index);
                findings.violated("S15", record.at, text);
            }
        }
        None
    }

    fn start(&mut self, record: &Record, event: &Value, findings: &mut Findings) {
        findings.checked("S1");
        let id = text(event, "run").to_owned();
        if let Some(active) = self.active() {
            let text = format!(
                "{id} was started at {} although {} was not over: two runs would work against each other",
                findings.clock(record.at),
                active.id
            );
            findings.violated("S1", record.at, text);
        }
        if self.run(&id).is_some() {
            findings.violated("S15", record.at, format!("{id} was started twice: what is over stays over"));
        }
        let plan = event["plan"].clone();
        let armed = event["request"]["armed"].as_str().map(|arming| {
            findings.checked("S17");
            if let Some(text) = self.armings.unacknowledged(record) {
                findings.violated("S17", record.at, format!("{id} was started alone, and {text}"));
            }
            self.armings.spend(arming, &id, &plan, record)
        });
        // Field order is kept by the parser, so these are the bytes that the record holds.
        let bytes = serde_json::to_vec(&plan).unwrap_or_default();
        self.runs.push(Run {
            id,
            purpose: text(&event["request"], "purpose").to_owned(),
            requester: text(&event["request"], "subject").to_owned(),
            armed,
            plan,
            digest: hex::encode(Sha256::digest(&bytes)),
            started_at: record.at,
            moved_at: record.at,
            steps: BTreeMap::new(),
            outputs: BTreeMap::new(),
            approvals: Vec::new(),
            resumes: 0,
            phase: Phase::Moving,
            way: Phase::Moving,
            loss: Value::Null,
            goes_home: false,
            observed: BTreeMap::new(),
            clock_error_ms: record.clock_ahead_ms.unsigned_abs(),
        });
        if let Some(run) = self.runs.last() {
            drills::started(run, record, findings);
        }
    }

    /// Closes the intents that match. An answer belongs to the newest intent of its step; older ones are closed.
    pub(super) fn close(&mut self, record: &Record, is_settled: bool, matches: impl Fn(&Intent) -> bool) {
        for intent in self.intents.iter_mut().filter(|i| i.is_pending && matches(i)) {
            intent.closed.get_or_insert(record.index);
            intent.is_pending &= !is_settled;
        }
    }

    fn intend(&mut self, run: String, step: String, event: &Value, record: &Record, is_undo: bool) -> News {
        let resumes = self.run(&run).map_or(0, |run| run.resumes);
        self.intents.push(Intent {
            attempt: event["attempt"].as_u64().unwrap_or_default(),
            call: event["call"].as_u64().unwrap_or(u64::MAX),
            resumes,
            is_undo,
            prior: event["prior"].clone(),
            ..Intent::new(run, step, &event["mutation"], record)
        });
        News::Intended(self.intents.len() - 1)
    }

    /// A standing effect is taken back: what stands is what was put instead.
    fn stand_again(&mut self, position: usize, step: &str, record: &Record) {
        let run = &self.runs[position];
        if run.action(step).is_none_or(|a| a["standing"] != json!(true)) {
            return;
        }
        let put = self.intents.iter().rev().find(|i| i.run == run.id && i.step == step && i.is_undo);
        let of = |put: &Intent| Standing { mutation: put.mutation.clone(), record: record.index, at: record.at };
        let again = put.map(of);
        self.standing.extend(again);
    }

    fn stand(&mut self, position: usize, step: &str, record: &Record) {
        let run = &self.runs[position];
        let Some(action) = run.action(step).filter(|a| a["standing"] == json!(true)) else { return };
        let calls = action["calls"].as_array().into_iter().flatten();
        let of = |call: &Value| Standing { mutation: call.clone(), record: record.index, at: record.at };
        self.standing.extend(calls.map(of));
    }
}

/// What tells one standing effect from another.
fn metric(mutation: &Value) -> [Value; 4] {
    ["region", "namespace", "metric", "dimensions"].map(|key| mutation[key].clone())
}

/// What stops a run, and what lets it go on.
fn stopped(run: &mut Run, step: String, event: &Value, record: &Record, findings: &mut Findings) {
    match text(event, "event") {
        // One more attempt, as by a resume.
        "step_retried" => {
            check_shown(run, event, record, findings);
            run.resumes += 1;
            run.steps.remove(&step);
            run.phase = run.way.clone();
        }
        "step_passed" => {
            check_shown(run, event, record, findings);
            run.steps.insert(step, Step::Skipped);
            run.phase = run.way.clone();
        }
        "run_held" => {
            let (code, waits_for) = (text(event, "code").to_owned(), text(event, "waits_for").to_owned());
            if code == "undo-past-no-return" {
                run.way = Phase::Moving;
            }
            run.phase = Phase::Held { code, waits_for };
        }
        "run_paused" => run.phase = Phase::Paused { subject: text(event, "subject").to_owned() },
        "run_resumed" => {
            run.resumes += 1;
            run.phase = run.way.clone();
            run.steps.retain(|_, step| *step != Step::Failed);
        }
        "abort_requested" => {
            run.phase = Phase::Aborting { since: record.at };
            run.way = run.phase.clone();
        }
        _ => {}
    }
}

fn open(run: &mut Run, step: &str, at: SimTime) {
    let stands = run.steps.entry(step.to_owned()).or_insert(Step::Open { since: at });
    if !matches!(stands, Step::Open { .. }) {
        *stands = Step::Open { since: at };
    }
}

fn approve(run: &mut Run, step: &str, event: &Value, record: &Record, findings: &mut Findings) {
    findings.checked("S12");
    let subject = text(event, "subject").to_owned();
    if text(event, "digest") != run.digest {
        let text = format!(
            "{subject} approved the digest {}, and {} executes a plan with the digest {}: nobody approved that",
            event["digest"], run.id, run.digest
        );
        findings.violated("S12", record.at, text);
    }
    let approved = event["approved"].as_bool().unwrap_or_default();
    let waited_ms = match run.steps.get(step) {
        Some(Step::Open { since }) => Some(record.at.since_ms(*since)),
        Some(Step::Done | Step::Skipped | Step::Failed) | None => None,
    };
    run.approvals.push(Approval { step: step.to_owned(), subject, approved, record: record.index, waited_ms });
}
