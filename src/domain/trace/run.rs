//! A run that is under way, as far as its trace needs it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;

use super::{Attributes, EVENTS_MAX, Kind, Moment, Span, SpanId, Status, TraceId, Way, call::OpenCall, root, step_id};
use crate::domain::{
    application::Application,
    cloud::{Mutation, Outcome},
    id::{Region, RunId, StepId},
    journal::{Event, Request},
    plan::{Plan, PlannedStep},
    run::{Phase, RunResult, RunState, StepState},
    stability::requirements,
};

#[derive(Debug)]
pub(super) struct OpenRun {
    pub(super) id: RunId,
    plan: Arc<Plan>,
    began: Timestamp,
    attributes: Attributes,
    pub(super) steps: BTreeMap<(StepId, Way), OpenStep>,
    wait: Option<OpenWait>,
    moments: Vec<Moment>,
    moments_dropped: u32,
}

#[derive(Debug)]
pub(super) struct OpenStep {
    pub(super) began: Timestamp,
    attempt: u32,
    pub(super) call: Option<OpenCall>,
}

/// The run waits for a person.
#[derive(Debug)]
struct OpenWait {
    began: Timestamp,
    code: String,
    step: Option<StepId>,
}

/// How a step ended.
struct End<'a> {
    outcome: &'static str,
    status: Status,
    code: Option<&'a str>,
}

impl OpenRun {
    pub(super) fn begun(id: &RunId, began: Timestamp, request: &Request, plan: Arc<Plan>) -> Self {
        let mut attributes: Attributes = vec![
            ("failoverd.run.id", id.as_str().into()),
            ("failoverd.application", plan.application.as_str().into()),
            ("failoverd.run.purpose", plan.purpose.as_str().into()),
            ("failoverd.region.from", plan.source.as_str().into()),
            ("failoverd.region.to", plan.target.as_str().into()),
            ("failoverd.runbook", plan.runbook.as_str().into()),
            ("failoverd.plan.digest", plan.digest().as_str().into()),
            ("failoverd.run.started_alone", request.armed.is_some().into()),
        ];
        attributes.extend(request.supersedes.as_ref().map(|of| ("failoverd.run.supersedes", of.as_str().into())));
        let (steps, moments) = (BTreeMap::new(), Vec::new());
        Self { id: id.clone(), plan, began, attributes, steps, wait: None, moments, moments_dropped: 0 }
    }

    /// A run that another process began, as the journal says that it stands.
    pub(super) fn going_on(run: &RunState) -> Self {
        let mut open = Self::begun(&run.id, run.started_at, &run.request, Arc::clone(&run.plan));
        open.wait = match &run.phase {
            Phase::Held { step, code, at, .. } => Some(OpenWait { began: *at, code: code.clone(), step: step.clone() }),
            Phase::Paused { at, .. } => Some(OpenWait { began: *at, code: "paused".to_owned(), step: None }),
            Phase::Running | Phase::Aborting { .. } | Phase::Undoing { .. } | Phase::Finished { .. } => None,
        };
        let there = run.steps.iter().map(|(step, state)| (step, Way::Forth, state));
        let back = run.unwind.steps.iter().map(|(step, state)| (step, Way::Back, state));
        for (step, way, state) in there.chain(back) {
            let Some(began) = state.under_way_since() else { continue };
            let call = match state {
                StepState::Sending { attempt, call, intended_at, mutation, .. } => Some(OpenCall {
                    mutation: mutation.clone(),
                    attempt: *attempt,
                    call: *call,
                    began: Some(*intended_at),
                    seen: None,
                }),
                _ => None,
            };
            open.steps.insert((step.clone(), way), OpenStep { began, attempt: state.attempt(), call });
        }
        open
    }

    /// Takes in what happened to a step. False: it is nothing of that kind.
    pub(super) fn step_event(&mut self, at: Timestamp, event: &Event, app: &Application, out: &mut Vec<Span>) -> bool {
        let ended = |outcome, status| End { outcome, status, code: None };
        match event {
            Event::StepStarted { step, attempt, .. } => self.begin(at, step, Way::Forth, *attempt),
            Event::Intent { step, attempt, call, mutation, .. } => {
                self.intend(at, (step, Way::Forth), (*attempt, *call), mutation);
            }
            Event::UndoIntended { step, attempt, call, mutation, .. } => {
                self.intend(at, (step, Way::Back), (*attempt, *call), mutation);
            }
            Event::Answered { step, outcome, .. } => self.answer(at, step, Way::Forth, outcome, out),
            Event::UndoAnswered { step, outcome, .. } => self.answer(at, step, Way::Back, outcome, out),
            Event::StepDone { step, .. } => {
                out.extend(self.end(at, (step, Way::Forth), ended("done", Status::Ok), app))
            }
            Event::StepSkipped { step, .. } => {
                out.extend(self.end(at, (step, Way::Forth), ended("skipped", Status::Unset), app));
            }
            Event::StepFailed { step, attempt, code, .. } => {
                self.begin(at, step, Way::Forth, *attempt);
                let end = End { code: Some(code), ..ended("failed", Status::Error) };
                out.extend(self.end(at, (step, Way::Forth), end, app));
            }
            Event::StepUndone { step, .. } => {
                out.extend(self.end(at, (step, Way::Back), ended("undone", Status::Ok), app));
            }
            Event::UndoFailed { step, attempt, code, .. } => {
                self.begin(at, step, Way::Back, *attempt);
                let end = End { code: Some(code), ..ended("undo_failed", Status::Error) };
                out.extend(self.end(at, (step, Way::Back), end, app));
            }
            _ => return false,
        }
        true
    }

    /// Takes in what people did, or are waited for to do.
    pub(super) fn person_event(&mut self, at: Timestamp, event: &Event, out: &mut Vec<Span>) {
        match event {
            Event::RunHeld { step, code, .. } => self.wait(at, code, step.as_ref(), out),
            Event::RunPaused { .. } => self.wait(at, "paused", None, out),
            Event::RunResumed { .. } => self.goes_on(at, "resumed", None, out),
            Event::AbortRequested { .. } => self.goes_on(at, "abort requested", None, out),
            Event::StepRetried { step, .. } => self.goes_on(at, "step tried again", Some(step), out),
            Event::StepPassed { step, .. } => self.goes_on(at, "step passed over", Some(step), out),
            Event::ApprovalRecorded { step, approved, .. } => {
                let attributes =
                    vec![("failoverd.step.id", step.as_str().into()), ("failoverd.approved", (*approved).into())];
                self.moment(Moment { at, name: "approval", attributes });
            }
            Event::BudgetExceeded { step, .. } => self.note(at, "budget exceeded", Some(step)),
            Event::WorkDeferred { step, .. } => self.note(at, "work deferred", Some(step)),
            _ => {}
        }
    }

    fn begin(&mut self, at: Timestamp, step: &StepId, way: Way, attempt: u32) {
        let open = self.steps.entry((step.clone(), way)).or_insert(OpenStep { began: at, attempt, call: None });
        open.attempt = open.attempt.max(attempt);
    }

    fn intend(&mut self, at: Timestamp, (step, way): (&StepId, Way), (attempt, call): (u32, u32), mutation: &Mutation) {
        self.begin(at, step, way, attempt);
        if let Some(open) = self.steps.get_mut(&(step.clone(), way)) {
            open.call = Some(OpenCall { mutation: mutation.clone(), attempt, call, began: Some(at), seen: None });
        }
    }

    fn answer(&mut self, at: Timestamp, step: &StepId, way: Way, outcome: &Outcome, out: &mut Vec<Span>) {
        let Some(open) = self.steps.get_mut(&(step.clone(), way)) else { return };
        let parent = step_id(&self.id, step, way, open.began);
        out.extend(open.call.take().map(|call| call.ended((&self.id, step, way), parent, at, outcome)));
    }

    fn end(&mut self, at: Timestamp, (step, way): (&StepId, Way), end: End<'_>, app: &Application) -> Option<Span> {
        let open = self.steps.remove(&(step.clone(), way)).unwrap_or(OpenStep { began: at, attempt: 0, call: None });
        let planned = self.plan.step(step)?;
        let mut attributes: Attributes = vec![
            ("failoverd.run.id", self.id.as_str().into()),
            ("failoverd.step.id", step.as_str().into()),
            ("failoverd.step.way", way.as_str().into()),
            ("failoverd.action", planned.action.kind().into()),
        ];
        attributes.extend(place(planned, &self.plan, app));
        attributes.push(("failoverd.step.attempts", open.attempt.into()));
        attributes.push(("failoverd.outcome", end.outcome.into()));
        attributes.extend(end.code.map(|code| ("error.type", code.into())));
        let name = if way == Way::Back { format!("undo {step}") } else { step.to_string() };
        Some(Span {
            trace: TraceId::of(&self.id),
            id: step_id(&self.id, step, way, open.began),
            parent: Some(root(&self.id)),
            name,
            kind: Kind::Internal,
            began: open.began,
            ended: at,
            status: end.status,
            attributes,
            moments: Vec::new(),
            moments_dropped: 0,
        })
    }

    fn wait(&mut self, at: Timestamp, code: &str, step: Option<&StepId>, out: &mut Vec<Span>) {
        self.end_wait(at, out);
        self.wait = Some(OpenWait { began: at, code: code.to_owned(), step: step.cloned() });
    }

    fn goes_on(&mut self, at: Timestamp, name: &'static str, step: Option<&StepId>, out: &mut Vec<Span>) {
        self.end_wait(at, out);
        self.note(at, name, step);
    }

    fn end_wait(&mut self, at: Timestamp, out: &mut Vec<Span>) {
        let Some(wait) = self.wait.take() else { return };
        let mut attributes: Attributes =
            vec![("failoverd.run.id", self.id.as_str().into()), ("failoverd.hold.code", wait.code.as_str().into())];
        attributes.extend(wait.step.as_ref().map(|step| ("failoverd.step.id", step.as_str().into())));
        out.push(Span {
            trace: TraceId::of(&self.id),
            id: SpanId::of(&["wait", self.id.as_str(), &wait.began.as_nanosecond().to_string(), &wait.code]),
            parent: Some(root(&self.id)),
            name: "wait for a person".to_owned(),
            kind: Kind::Internal,
            began: wait.began,
            ended: at,
            status: Status::Unset,
            attributes,
            moments: Vec::new(),
            moments_dropped: 0,
        });
    }

    fn note(&mut self, at: Timestamp, name: &'static str, step: Option<&StepId>) {
        let attributes = step.map(|step| ("failoverd.step.id", step.as_str().into())).into_iter().collect();
        self.moment(Moment { at, name, attributes });
    }

    fn moment(&mut self, moment: Moment) {
        if self.moments.len() < EVENTS_MAX {
            self.moments.push(moment);
        } else {
            self.moments_dropped += 1;
        }
    }

    /// The end of the run, and of whatever of it is open still.
    pub(super) fn finish(mut self, at: Timestamp, result: RunResult, app: Option<&Application>, out: &mut Vec<Span>) {
        self.end_wait(at, out);
        let open: Vec<_> = self.steps.keys().cloned().collect();
        for (step, way) in open {
            let unknown = Outcome::Unknown { reason: String::new() };
            self.answer(at, &step, way, &unknown, out);
            let end = End { outcome: "unsettled", status: Status::Unset, code: None };
            out.extend(app.and_then(|app| self.end(at, (&step, way), end, app)));
        }
        let (word, status) = match result {
            RunResult::Succeeded => ("succeeded", Status::Ok),
            RunResult::Failed => ("failed", Status::Error),
            RunResult::Aborted => ("aborted", Status::Unset),
            RunResult::Superseded => ("superseded", Status::Unset),
        };
        self.attributes.push(("failoverd.run.result", word.into()));
        out.push(Span {
            trace: TraceId::of(&self.id),
            id: root(&self.id),
            parent: None,
            name: format!("{} {}", self.plan.purpose, self.plan.application),
            kind: Kind::Internal,
            began: self.began,
            ended: at,
            status,
            attributes: self.attributes,
            moments: self.moments,
            moments_dropped: self.moments_dropped,
        });
    }
}

/// The Region and the plane that a step cannot do without, where it is one.
fn place(step: &PlannedStep, plan: &Plan, app: &Application) -> Attributes {
    let needs = requirements(step, plan, app);
    let regions: BTreeSet<&Region> = needs.iter().flat_map(|need| &need.any_of).collect();
    let planes: BTreeSet<&str> = needs.iter().map(|need| need.plane.as_str()).collect();
    let mut attributes = Attributes::new();
    let mut regions = regions.into_iter();
    if let (Some(only), None) = (regions.next(), regions.next()) {
        attributes.push(("cloud.region", only.as_str().into()));
    }
    if !planes.is_empty() {
        let planes: Vec<&str> = planes.into_iter().collect();
        attributes.push(("failoverd.plane", planes.join(",").into()));
    }
    attributes
}
