//! Runs as traces (docs/traces.md): a fold over durable records that gives the spans that each of them ends.
//!
//! A run is one trace: its root is the run, below it are its steps, and below those the calls to the cloud. Times are the
//! journal's. What the journal does not hold of a call (its HTTP status, how often it was sent) comes from whoever made
//! it ([`CloudCall`]), before its answer is recorded; where it does not come, the span is made without.
//!
//! Invariants: a span is made once, by who records its end; ids are made of what the span is about, so that a replica that
//! takes over goes on with the same trace. No text of a person or of AWS is in a span: no reason, no message, no argument.
//!
//! Deliberately not here: sending, and any memory of runs that are over.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use super::{
    application::Application,
    history::History,
    id::{ApplicationName, Region, RunId, StepId},
    journal::{Event, Record},
};

mod call;
mod run;
mod span;
#[cfg(test)]
mod tests;

use call::{OpenCall, read};
use run::OpenRun;
pub use span::{Attributes, EVENTS_MAX, Kind, Moment, Span, SpanId, Status, TraceId, Value};

/// Which way of a step a call is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    Forth,
    /// It takes the step back.
    Back,
    /// Work that the step left open and that outlives its run.
    After,
}

impl Way {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forth => "forth",
            Self::Back => "back",
            Self::After => "after",
        }
    }
}

/// For what a call to the cloud is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behalf {
    pub run: RunId,
    pub step: StepId,
    pub way: Way,
    /// Of a mutation: the attempt and the number of the call in it, as journalled. `None`: it only reads.
    pub call: Option<(u32, u32)>,
}

/// A call to the cloud as whoever made it saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudCall {
    pub service: String,
    pub operation: String,
    pub region: Region,
    /// One of `ok`, `rejected`, `not_sent`, `unknown`.
    pub outcome: &'static str,
    pub began: Timestamp,
    pub ended: Timestamp,
    /// How often it was handed to the network.
    pub attempts: u32,
    /// Of the last answer; `None`: none came.
    pub http_status: Option<u16>,
    pub request_id: Option<String>,
}

/// The spans of all applications that are worked on. Cheap where no run is under way.
#[derive(Debug)]
pub struct Tracing {
    applications: BTreeMap<ApplicationName, Arc<Application>>,
    open: Open,
}

/// What has begun and not ended.
#[derive(Debug, Default)]
struct Open {
    /// One of each application at the most: the journal holds no two.
    runs: BTreeMap<ApplicationName, OpenRun>,
    /// A call of deferred work, which outlives its run. One at the most of each piece of work.
    after: BTreeMap<(RunId, StepId), OpenCall>,
    /// How many readings were seen: two of one instant have two ids.
    reads: u64,
}

impl Tracing {
    pub fn new<'a>(applications: impl Iterator<Item = &'a Arc<Application>>) -> Self {
        let applications = applications.map(|app| (app.name.clone(), Arc::clone(app))).collect();
        Self { applications, open: Open::default() }
    }

    /// A journal was read back: what is under way in it goes on in the trace that it has.
    pub fn taken_over(&mut self, history: &History) {
        let open = &mut self.open;
        open.forget(&history.application);
        if let Some(run) = history.active_run() {
            open.runs.insert(history.application.clone(), OpenRun::going_on(run));
        }
        for (key, deferred) in history.deferred.iter() {
            if let Some(mutation) = &deferred.open_call {
                // When it was intended is in no state.
                let (mutation, attempt) = (mutation.clone(), deferred.attempts);
                let call = OpenCall { mutation, attempt, call: 0, began: None, seen: None };
                open.after.insert(key.clone(), call);
            }
        }
    }

    /// Another replica goes on with `application`.
    pub fn left(&mut self, application: &ApplicationName) {
        self.open.forget(application);
    }

    /// The spans that `record` ends.
    pub fn recorded(&mut self, record: &Record) -> Vec<Span> {
        let mut spans = Vec::new();
        for event in &record.events {
            self.event(record, event, &mut spans);
        }
        spans
    }

    /// The spans that a call gives that was made on behalf of a step: one for a reading, none for a mutation, which the
    /// record of its answer ends.
    pub fn called(&mut self, behalf: &Behalf, call: &CloudCall) -> Option<Span> {
        self.open.called(behalf, call)
    }

    fn event(&mut self, record: &Record, event: &Event, out: &mut Vec<Span>) {
        let (at, open) = (record.at, &mut self.open);
        match event {
            Event::RunStarted { run, request, plan, .. } => {
                open.runs.insert(record.journal.clone(), OpenRun::begun(run, at, request, Arc::new((**plan).clone())));
            }
            Event::DeferredIntended { run, step, attempt, mutation } => {
                let (mutation, attempt, began) = (mutation.clone(), *attempt, Some(at));
                let call = OpenCall { mutation, attempt, call: 0, began, seen: None };
                open.after.insert((run.clone(), step.clone()), call);
            }
            Event::DeferredAnswered { run, step, outcome, .. } => {
                if let Some(call) = open.after.remove(&(run.clone(), step.clone())) {
                    out.push(call.ended((run, step, Way::After), root(run), at, outcome));
                }
            }
            Event::RunFinished { run, result, .. } => {
                if let Some(ended) = open.runs.remove(&record.journal).filter(|open| open.id == *run) {
                    let app = self.applications.get(&record.journal);
                    ended.finish(at, *result, app.map(|app| &**app), out);
                }
            }
            other => {
                let app = self.applications.get(&record.journal);
                let run = open.runs.get_mut(&record.journal).filter(|open| other.run() == Some(&open.id));
                if let (Some(run), Some(app)) = (run, app)
                    && !run.step_event(at, other, app, out)
                {
                    run.person_event(at, other, out);
                }
            }
        }
    }
}

impl Open {
    fn forget(&mut self, application: &ApplicationName) {
        self.runs.remove(application);
        self.after.retain(|(run, _), _| run.application() != *application);
    }

    fn called(&mut self, behalf: &Behalf, call: &CloudCall) -> Option<Span> {
        let Behalf { run, step, way, call: number } = behalf;
        let open = self.runs.get_mut(&run.application()).filter(|open| open.id == *run);
        let (parent, of) = match way {
            Way::After => (root(run), self.after.get_mut(&(run.clone(), step.clone()))),
            Way::Forth | Way::Back => match open.and_then(|open| open.steps.get_mut(&(step.clone(), *way))) {
                Some(begun) => (step_id(run, step, *way, begun.began), begun.call.as_mut()),
                // What is looked at before a step begins in the journal is the run's.
                None => (root(run), None),
            },
        };
        self.reads += 1;
        let Some(open) = of.filter(|open| *number == Some((open.attempt, open.call))) else {
            return Some(read(behalf, parent, call, self.reads));
        };
        let id = open.id((run, step, *way));
        if !open.is_by(call) {
            // What had to be read so that it could be sent.
            return Some(read(behalf, id, call, self.reads));
        }
        // Sent to one endpoint after the other: the last is the call itself, those before are below it.
        let earlier = open.seen.replace(call.clone())?;
        Some(read(behalf, id, &earlier, self.reads))
    }
}

/// The root span of `run`.
fn root(run: &RunId) -> SpanId {
    SpanId::of(&["run", run.as_str()])
}

/// The span of a step from when it began; one that a person has tried again begins again.
fn step_id(run: &RunId, step: &StepId, way: Way, began: Timestamp) -> SpanId {
    SpanId::of(&["step", run.as_str(), step.as_str(), way.as_str(), &began.as_nanosecond().to_string()])
}
