//! What a run amounted to, as a function of its records: who did and approved what, every call with AWS's own id for it, how
//! long each step took, and what was measured against what was promised.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::{
    application::Objectives,
    cloud::Outcome,
    history::History,
    id::{Digest, Region, RunId, RunbookName, SignalName, StepId},
    journal::{Event, Record, Tail},
    plan::Purpose,
    recovery,
    run::{LossReport, Phase, RunResult, RunState},
    seconds,
    signal::{Reading, Sample, SignalState},
    stability::call_regions,
};

/// A run, told for who was not there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    pub purpose: Purpose,
    pub source: Region,
    pub target: Region,
    pub runbook: RunbookName,
    pub runbook_digest: Digest,
    /// Of the configuration that the plan was made from.
    pub config_digest: Digest,
    pub plan_digest: Digest,
    pub started_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    /// `None` while it is not over.
    pub result: Option<RunResult>,
    pub result_reason: Option<String>,
    /// The first evidence of the trouble.
    pub evidence_since: Option<Timestamp>,
    pub recommended_at: Option<Timestamp>,
    #[serde(with = "seconds::option", rename = "detection_seconds")]
    pub detection: Option<Duration>,
    #[serde(with = "seconds::option", rename = "decision_seconds")]
    pub decision: Option<Duration>,
    #[serde(with = "seconds::option", rename = "execution_seconds")]
    pub execution: Option<Duration>,
    #[serde(with = "seconds::option", rename = "propagation_seconds")]
    pub propagation: Option<Duration>,
    /// The measured RTO.
    #[serde(with = "seconds::option", rename = "rto_seconds")]
    pub rto: Option<Duration>,
    /// Whether it is within the objective; `None`: not measured.
    pub rto_met: Option<bool>,
    /// What was lost; `None`: not measured.
    pub loss: Option<LossReport>,
    /// Whether the whole of the interval is within the objective, or none of it; `None`: neither is known.
    pub rpo_met: Option<bool>,
    pub people: Vec<Deed>,
    pub stages: Vec<Stage>,
    pub calls: Vec<Call>,
    /// How the application was judged, as it changed.
    pub verdicts: Vec<Verdict>,
    /// The lags that were known when it was judged.
    pub lags: Vec<Lag>,
}

/// A change of the verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    pub record: u64,
    pub at: Timestamp,
    /// `nothing`, `notify`, `recommend`, `start`.
    pub verdict: String,
    pub health: String,
    pub reasons: Vec<String>,
}

/// One reading of a lag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lag {
    pub signal: SignalName,
    pub measured_at: Timestamp,
    #[serde(with = "seconds", rename = "lag_seconds")]
    pub lag: Duration,
}

/// What a person did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deed {
    /// The record that holds it.
    pub record: u64,
    pub at: Timestamp,
    pub subject: String,
    /// `started`, `approved`, `declined`, `paused`, `resumed`, `aborted`, `retried`, `skipped`.
    pub did: String,
    pub step: Option<StepId>,
    pub reason: String,
}

/// One step of the plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    pub step: StepId,
    pub action: String,
    pub began_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// `done`, `skipped`, `failed`, `undone`, `began`, `never`.
    pub ended: String,
    pub attempts: u32,
    /// What was observed when it was done, or why it was not.
    pub observed: Vec<String>,
}

/// One call that changes something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The record of its intent.
    pub record: u64,
    pub step: StepId,
    /// `rds:FailoverGlobalCluster`.
    pub operation: String,
    pub regions: Vec<Region>,
    pub intended_at: Timestamp,
    pub answered_at: Option<Timestamp>,
    /// `accepted`, `rejected`, `not_sent`, `unknown`, `unanswered`.
    pub outcome: String,
    /// AWS's own, by which CloudTrail knows the call.
    pub request_id: Option<String>,
    /// It takes back what an earlier call did.
    pub is_undo: bool,
}

impl Summary {
    /// Of `run`, from records in which it begins.
    ///
    /// # Errors
    /// Why the records are no such run.
    pub fn of<'a>(
        records: impl Iterator<Item = &'a Record>,
        run: &RunId,
        objectives: &Objectives,
    ) -> Result<Self, String> {
        let mut history = History::new(run.application());
        let mut told = Told::default();
        for record in records {
            let mine = record.events.iter().filter(|e| is_about(e, run));
            for event in mine {
                history.apply_event(record.at, &alone(event)).map_err(|e| format!("record {}: {e}", record.seq))?;
                told.event(record, event);
            }
            history.tail = Tail { next_seq: record.seq + 1, ..history.tail };
        }
        let state = history.runs.get(run).ok_or_else(|| format!("{run} does not begin in them"))?;
        Ok(told.summary(state, objectives))
    }
}

/// What the run is folded from: its own events, and the verdicts, which say when it was recommended.
fn is_about(event: &Event, run: &RunId) -> bool {
    event.run() == Some(run) && !event.is_deferred() || matches!(event, Event::DecisionChanged { .. })
}

/// The event as it would be of an application that has nothing but this run: an arming that it spent was made before.
fn alone(event: &Event) -> Event {
    let mut event = event.clone();
    if let Event::RunStarted { request, .. } = &mut event {
        request.armed = None;
    }
    event
}

/// What is told in the order of the records.
#[derive(Debug, Default)]
struct Told {
    people: Vec<Deed>,
    calls: Vec<Call>,
    verdicts: Vec<Verdict>,
    lags: Vec<Lag>,
    stages: BTreeMap<StepId, Went>,
}

/// From when to when a step went, how it ended, in how many attempts, and what was observed.
type Went = (Option<Timestamp>, Option<Timestamp>, &'static str, u32, Vec<String>);

impl Told {
    fn deed(&mut self, record: &Record, subject: &str, did: &str, step: Option<&StepId>, reason: &str) {
        self.people.push(Deed {
            record: record.seq,
            at: record.at,
            subject: subject.to_owned(),
            did: did.to_owned(),
            step: step.cloned(),
            reason: reason.to_owned(),
        });
    }

    fn began(&mut self, record: &Record, step: &StepId, attempt: u32) {
        let stage = self.stages.entry(step.clone()).or_insert((None, None, "began", 0, Vec::new()));
        stage.0 = stage.0.or(Some(record.at));
        stage.2 = "began";
        stage.3 = stage.3.max(attempt);
    }

    fn ended(&mut self, record: &Record, step: &StepId, how: &'static str, observed: Vec<String>) {
        let stage = self.stages.entry(step.clone()).or_insert((None, None, how, 0, Vec::new()));
        (stage.1, stage.2, stage.4) = (Some(record.at), how, observed);
    }

    fn event(&mut self, record: &Record, event: &Event) {
        match event {
            Event::RunStarted { request, .. } => {
                self.deed(record, request.subject.as_str(), "started", None, &request.reason);
            }
            Event::StepStarted { step, attempt, .. } => self.began(record, step, *attempt),
            Event::Intent { step, attempt, mutation, .. } => {
                self.began(record, step, *attempt);
                self.calls.push(intended(record, step, mutation, false));
            }
            Event::UndoIntended { step, mutation, .. } => self.calls.push(intended(record, step, mutation, true)),
            Event::Answered { step, outcome, .. } => self.answered(record, step, outcome, false),
            Event::UndoAnswered { step, outcome, .. } => self.answered(record, step, outcome, true),
            Event::StepDone { step, evidence, .. } => self.ended(record, step, "done", evidence.clone()),
            Event::StepSkipped { step, reason, .. } => self.ended(record, step, "skipped", vec![reason.clone()]),
            Event::StepFailed { step, code, reason, .. } => {
                self.ended(record, step, "failed", vec![format!("{code}: {reason}")]);
            }
            Event::StepUndone { step, evidence, .. } => self.ended(record, step, "undone", evidence.clone()),
            Event::ApprovalRecorded { step, subject, approved, reason, .. } => {
                let did = if *approved { "approved" } else { "declined" };
                self.deed(record, subject.as_str(), did, Some(step), reason);
            }
            Event::StepRetried { step, subject, reason, .. } => {
                self.deed(record, subject.as_str(), "retried", Some(step), reason);
            }
            Event::StepPassed { step, subject, reason, .. } => {
                self.deed(record, subject.as_str(), "skipped", Some(step), reason);
                self.ended(record, step, "skipped", vec![format!("{subject}: {reason}")]);
            }
            Event::RunPaused { subject, reason, .. } => self.deed(record, subject.as_str(), "paused", None, reason),
            Event::RunResumed { subject, reason, .. } => self.deed(record, subject.as_str(), "resumed", None, reason),
            Event::AbortRequested { subject, reason, .. } => {
                self.deed(record, subject.as_str(), "aborted", None, reason);
            }
            Event::DecisionChanged { verdict, health, reasons, signals, .. } => {
                self.decided(record, verdict, health, reasons, signals);
            }
            // Told by the fold, or of the way back in detail that the calls have.
            _ => {}
        }
    }

    fn decided(
        &mut self,
        record: &Record,
        verdict: &str,
        health: &str,
        reasons: &[String],
        signals: &BTreeMap<SignalName, SignalState>,
    ) {
        let (verdict, health, reasons) = (verdict.to_owned(), health.to_owned(), reasons.to_vec());
        self.verdicts.push(Verdict { record: record.seq, at: record.at, verdict, health, reasons });
        // What was stale or contradicted was not known.
        let fresh = signals.iter().filter_map(|(signal, state)| match state {
            SignalState::Fresh { sample: Sample { measured_at, reading: Reading::Lag { lag }, .. } } => {
                Some(Lag { signal: signal.clone(), measured_at: *measured_at, lag: *lag })
            }
            _ => None,
        });
        for lag in fresh {
            if !self.lags.contains(&lag) {
                self.lags.push(lag);
            }
        }
    }

    /// The newest call of the step that nobody has answered.
    fn answered(&mut self, record: &Record, step: &StepId, outcome: &Outcome, is_undo: bool) {
        let open = |call: &&mut Call| call.step == *step && call.is_undo == is_undo && call.answered_at.is_none();
        let Some(call) = self.calls.iter_mut().rev().find(open) else { return };
        call.answered_at = Some(record.at);
        let (said, id) = match outcome {
            Outcome::Accepted { request_id, .. } => ("accepted", request_id.clone()),
            Outcome::Rejected { request_id, .. } => ("rejected", request_id.clone()),
            Outcome::NotSent { .. } => ("not_sent", None),
            Outcome::Unknown { .. } => ("unknown", None),
        };
        (call.outcome, call.request_id) = (said.to_owned(), id);
    }

    fn summary(mut self, run: &RunState, objectives: &Objectives) -> Summary {
        let clock = recovery::rto_clock(run);
        let (finished_at, result, result_reason) = match &run.phase {
            Phase::Finished { result, reason, at } => (Some(*at), Some(*result), Some(reason.clone())),
            _ => (None, None, None),
        };
        let stages = run.plan.steps.iter().map(|planned| {
            let (began_at, ended_at, ended, attempts, observed) =
                self.stages.remove(&planned.id).unwrap_or((None, None, "never", 0, Vec::new()));
            let (step, action) = (planned.id.clone(), planned.action.kind().to_owned());
            Stage { step, action, began_at, ended_at, ended: ended.to_owned(), attempts, observed }
        });
        Summary {
            purpose: run.plan.purpose,
            source: run.plan.source.clone(),
            target: run.plan.target.clone(),
            runbook: run.plan.runbook.clone(),
            runbook_digest: run.plan.runbook_digest.clone(),
            config_digest: run.plan.config_digest.clone(),
            plan_digest: run.plan_digest.clone(),
            started_at: run.started_at,
            finished_at,
            result,
            result_reason,
            evidence_since: run.evidence_since,
            recommended_at: run.recommended_at,
            detection: clock.detection.map(whole_milliseconds),
            decision: clock.decision.map(whole_milliseconds),
            execution: clock.execution.map(whole_milliseconds),
            propagation: clock.propagation.map(whole_milliseconds),
            rto: clock.total.map(whole_milliseconds),
            rto_met: clock.total.map(|total| total <= objectives.rto),
            loss: run.loss.clone(),
            rpo_met: run.loss.as_ref().and_then(|loss| rpo_met(loss, objectives.rpo)),
            stages: stages.collect(),
            people: self.people,
            calls: self.calls,
            verdicts: self.verdicts,
            lags: self.lags,
        }
    }
}

/// As it is written, so that what is read back is the same.
fn whole_milliseconds(d: Duration) -> Duration {
    Duration::from_millis(u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

fn rpo_met(loss: &LossReport, rpo: Duration) -> Option<bool> {
    match (loss.at_least, loss.at_most) {
        (_, Some(most)) if most <= rpo => Some(true),
        (Some(least), _) if rpo < least => Some(false),
        _ => None,
    }
}

fn intended(record: &Record, step: &StepId, mutation: &crate::domain::cloud::Mutation, is_undo: bool) -> Call {
    Call {
        record: record.seq,
        step: step.clone(),
        operation: mutation.operation().into_owned(),
        regions: call_regions(mutation),
        intended_at: record.at,
        answered_at: None,
        outcome: "unanswered".to_owned(),
        request_id: None,
        is_undo,
    }
}
