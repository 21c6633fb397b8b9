//! Which recorded facts are told, and how: a fold over the journal beside the others.
//!
//! Invariants: what a record makes depends on the records before it alone, through [`Telling`], which is small and can be
//! stored; what is the same as before is not told again. What only time makes (an override that is about to end) is made
//! from overrides and a `now`, once per word.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Act, Kind, Notice, NoticeId, Severity};
use crate::domain::{
    action::Action,
    deferred,
    id::{ApplicationName, OverrideId, RunId, ScheduleName, StepId},
    journal::{Event, Record, Request},
    overrides::{Ending, Override, OverrideKind},
    plan::{Plan, Purpose},
    run::{LossReport, RunResult},
    schedule::Note,
    seconds::to_seconds,
};

/// So long before its end an override is told of, where it stood for at least twice as long.
const EXPIRING: SignedDuration = SignedDuration::from_hours(1);
/// A kill switch is told of anew after each of these.
const FORGOTTEN: SignedDuration = SignedDuration::from_hours(24);

/// What must be known of the records before in order to tell of the next.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Telling {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    health: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verdict: Option<String>,
    /// Somebody was told that something is wrong, and not yet that it is over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    troubled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    holder: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<Under>,
    /// Of each override that stands, what was said of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    reminded: BTreeMap<OverrideId, BTreeSet<String>>,
}

/// The run under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Under {
    id: RunId,
    purpose: Purpose,
    /// `region-failover us-east-1 -> us-west-2`.
    what: String,
    started_at: Timestamp,
    /// The steps that wait for approvals: how many, and why.
    approvals: BTreeMap<StepId, (u32, String)>,
}

/// Where in a journal a notice is made.
struct Place<'a> {
    application: &'a ApplicationName,
    seq: u64,
    event: usize,
    at: Timestamp,
}

impl Place<'_> {
    fn notice(&self, kind: Kind, severity: Severity) -> Notice {
        let id = NoticeId::of_event(self.application, self.seq, self.event);
        Notice::new(id, self.application, self.at, kind, severity)
    }
}

impl Telling {
    /// What `record` makes, which follows the records that were told before.
    pub fn tell(&mut self, record: &Record) -> Vec<Notice> {
        let made = record.events.iter().enumerate().filter_map(|(event, what)| {
            let place = Place { application: &record.journal, seq: record.seq, event, at: record.at };
            self.event(&place, what)
        });
        made.collect()
    }

    /// Takes `record` in, of which nobody is told: so nobody is told that its trouble is over, either.
    pub fn pass(&mut self, record: &Record) {
        let _told_to_nobody = self.tell(record);
        self.troubled = false;
    }

    fn event(&mut self, place: &Place<'_>, event: &Event) -> Option<Notice> {
        match event {
            Event::EpochStarted { holder } => self.led_by(place, holder),
            Event::DecisionChanged { verdict, health, reasons, .. } => self.decided(place, verdict, health, reasons),
            Event::RunStarted { run, request, plan, .. } => Some(self.started(place, run, request, plan)),
            Event::StepStarted { run, step, .. } => self.approval(place, run, step),
            Event::RunHeld { run, step, code, reason, waits_for } => {
                let step = step.as_ref().map(StepId::as_str);
                Some(self.held(place, run, step, (code, reason, waits_for)))
            }
            Event::RunPaused { .. } | Event::RunResumed { .. } | Event::BudgetExceeded { .. } => steered(place, event),
            Event::RunFinished { run, result, reason, loss } => {
                Some(self.finished(place, run, *result, reason, loss.as_ref()))
            }
            Event::WorkDeferred { run, step, work } => {
                let notice = place.notice(Kind::WorkOpen, Severity::Ticket).about(run, Act::Trigger);
                let notice = notice.says(format!("{}: the run left work open", place.application));
                let within = format!("{} h", to_seconds(work.within()) / 3600.0);
                let notice =
                    notice.fact("to do", work.describe()).fact("step", step.as_str()).fact("tried for", within);
                Some(notice.then("Nothing yet: failoverd does it, and tells if it cannot.").acting(Act::Acknowledge))
            }
            Event::DeferredEnded { run, ending: deferred::Ending::Expired { why }, .. } => {
                let notice = place.notice(Kind::WorkGivenUp, Severity::Page).about(run, Act::Trigger);
                let notice = notice.says(format!("{}: work that a run left open was given up", place.application));
                Some(notice.fact("why", why).then(format!("Do it by hand, or let it be: failoverd watch {run}")))
            }
            Event::OverrideAsked { .. } | Event::OverrideConsented { .. } | Event::OverrideEnded { .. } => {
                self.overridden(place, event)
            }
            Event::ScheduleNoted { schedule, note } => scheduled(place, schedule, note),
            Event::BranchImported { branch: _ } => {
                let notice = place.notice(Kind::ApplicationHeld, Severity::Page);
                let notice = notice.says(format!("{}: a branch was imported, and nothing moves", place.application));
                Some(notice.then("Say where it lives now: failoverd offline reconcile"))
            }
            // Steps are watched live, not told; what a call came to stands in the evidence; the rest follows from what is
            // told here.
            Event::PrimarySeen { .. }
            | Event::BranchBegan { .. }
            | Event::BranchReconciled { .. }
            | Event::NoticeIntended { .. }
            | Event::NoticeAnswered { .. }
            | Event::Intent { .. }
            | Event::Answered { .. }
            | Event::CallObserved { .. }
            | Event::StepDone { .. }
            | Event::StepSkipped { .. }
            | Event::StepFailed { .. }
            | Event::UndoIntended { .. }
            | Event::UndoAnswered { .. }
            | Event::StepUndone { .. }
            | Event::UndoFailed { .. }
            | Event::DeferredIntended { .. }
            | Event::DeferredAnswered { .. }
            | Event::DeferredEnded { ending: deferred::Ending::Done { .. }, .. }
            | Event::StepRetried { .. }
            | Event::StepPassed { .. }
            | Event::ApprovalRecorded { .. }
            | Event::AbortRequested { .. }
            | Event::CalledFrom { .. } => None,
        }
    }

    /// Who leads is another process than before: a restart, a deployment or a replica that took over.
    fn led_by(&mut self, place: &Place<'_>, holder: &str) -> Option<Notice> {
        let before = self.holder.replace(holder.to_owned()).filter(|before| before != holder)?;
        let notice = place.notice(Kind::LeaderChanged, Severity::Info).acting(Act::Acknowledge);
        let notice = notice.says(format!("{}: another process of failoverd leads", place.application));
        Some(notice.fact("leads", holder).fact("led before", before))
    }

    /// The verdict, where it is one to act on, else the health, where it changed.
    fn decided(&mut self, place: &Place<'_>, verdict: &str, health: &str, reasons: &[String]) -> Option<Notice> {
        let verdict_before = self.verdict.replace(verdict.to_owned());
        let health_before = self.health.replace(health.to_owned());
        let app = place.application;
        let why = |notice: Notice| {
            let notice =
                notice.fact("health", format!("{health}, was {}", health_before.as_deref().unwrap_or("unknown")));
            reasons.iter().take(5).fold(notice, |notice, reason| notice.fact("because", reason))
        };
        let is_new = verdict_before.as_deref() != Some(verdict);
        let is_first = health_before.is_none();
        match verdict {
            "recommend" if is_new => {
                self.troubled = true;
                let notice = place.notice(Kind::FailoverRecommended, Severity::Page);
                let notice = notice.says(format!("{app} is {health}: a failover is recommended"));
                return Some(why(notice).then(format!("failoverd why {app}, then failoverd failover {app}")));
            }
            "start" if is_new => {
                self.troubled = true;
                let notice = place.notice(Kind::FailoverStarting, Severity::Page);
                let notice = notice.says(format!("{app} is {health}: a failover starts by itself"));
                return Some(why(notice).then("Watch it: the run is told of next."));
            }
            _ => {}
        }
        if health_before.as_deref() == Some(health) {
            return None;
        }
        let (severity, act) = match health {
            "down" | "impaired" => (Severity::Page, Act::Trigger),
            "healthy" => (Severity::Info, Act::Resolve),
            // A state that this fold does not know is no health.
            _ => (Severity::Ticket, Act::Trigger),
        };
        // Nothing was seen yet at the first start, and what was not told need not be taken back.
        if (is_first && health == "unknown") || (act == Act::Resolve && !self.troubled) {
            return None;
        }
        self.troubled = act != Act::Resolve;
        let headline = match act {
            Act::Resolve => format!("{app} is healthy again"),
            Act::Trigger | Act::Acknowledge if health == "unknown" => {
                format!("{app}: too little is known to say how it is")
            }
            Act::Trigger | Act::Acknowledge => format!("{app} is {health}"),
        };
        let notice = why(place.notice(Kind::HealthChanged, severity).acting(act).says(headline));
        Some(if act == Act::Resolve { notice } else { notice.then(format!("failoverd why {app}")) })
    }

    fn started(&mut self, place: &Place<'_>, run: &RunId, request: &Request, plan: &Plan) -> Notice {
        let what = format!("{} {} -> {}", plan.runbook, plan.source, plan.target);
        let asked = |step: &crate::domain::plan::PlannedStep| match &step.action {
            Action::Approve { count, reason, .. } => Some((step.id.clone(), (*count, reason.clone()))),
            _ => None,
        };
        let approvals = plan.steps.iter().filter_map(asked).collect();
        let (purpose, app) = (plan.purpose, place.application);
        let (kind, severity) = match purpose {
            Purpose::Drill => (Kind::DrillStarted, Severity::Ticket),
            Purpose::Failover => (Kind::RunStarted, Severity::Page),
            Purpose::Switchover | Purpose::Failback | Purpose::Salvage => (Kind::RunStarted, Severity::Ticket),
        };
        let mut notice = place.notice(kind, severity);
        notice.run = Some(run.clone());
        notice.path = format!("/runs/{run}");
        // Somebody is at work on whatever was wrong with the application.
        let notice = notice.acting(Act::Acknowledge);
        let (source, target) = (&plan.source, &plan.target);
        let notice = notice
            .says(format!("{app}: a {purpose} {source} -> {target} started"))
            .fact("asked for by", request.subject.as_str())
            .fact("reason", &request.reason)
            .fact("runbook", plan.runbook.as_str())
            .fact("accepted loss", plan.accepted_loss.map_or("none".to_owned(), |l| format!("{} s", to_seconds(l))))
            .then(format!("failoverd watch {run}"));
        self.run = Some(Under { id: run.clone(), purpose, what, started_at: place.at, approvals });
        notice
    }

    fn approval(&self, place: &Place<'_>, run: &RunId, step: &StepId) -> Option<Notice> {
        let under = self.run.as_ref().filter(|under| under.id == *run)?;
        let (count, reason) = under.approvals.get(step)?;
        let notice = place.notice(Kind::ApprovalAsked, Severity::Page).about(run, Act::Trigger);
        let notice = notice.says(format!("{}: the {} waits for {count} approval(s)", place.application, under.purpose));
        let notice = notice.fact("run", &under.what).fact("step", step.as_str()).fact("why", reason);
        Some(notice.then(format!("Look at the plan, then: failoverd approve {run} {step}")))
    }

    fn held(
        &self,
        place: &Place<'_>,
        run: &RunId,
        step: Option<&str>,
        (code, reason, waits_for): (&str, &str, &str),
    ) -> Notice {
        let notice = place.notice(Kind::RunHeld, Severity::Page).about(run, Act::Trigger);
        let under = self.run.as_ref().filter(|under| under.id == *run);
        let purpose = under.map_or("run", |under| under.purpose.as_str());
        let notice = notice
            .says(format!("{}: the {purpose} is held and waits for {waits_for}", place.application))
            .fact("why", reason)
            .fact("code", format!("{code} (docs/errors/{code}.md)"))
            .fact("waits for", waits_for);
        let notice = under.into_iter().fold(notice, |notice, under| notice.fact("run", &under.what));
        let notice = step.into_iter().fold(notice, |notice, step| notice.fact("step", step));
        notice.then(format!("failoverd watch {run}, then resume, retry, skip or abort."))
    }

    fn finished(
        &mut self,
        place: &Place<'_>,
        run: &RunId,
        result: RunResult,
        reason: &str,
        loss: Option<&LossReport>,
    ) -> Notice {
        let under = self.run.take().filter(|under| under.id == *run);
        let is_drill = under.as_ref().is_some_and(|under| under.purpose == Purpose::Drill);
        let purpose = under.as_ref().map_or("run", |under| under.purpose.as_str());
        let (kind, severity, act, word) = match result {
            RunResult::Succeeded => (Kind::RunFinished, Severity::Info, Act::Resolve, "succeeded"),
            RunResult::Failed => (Kind::RunFailed, Severity::Page, Act::Trigger, "failed"),
            RunResult::Aborted => (Kind::RunAborted, Severity::Ticket, Act::Resolve, "was aborted"),
            RunResult::Superseded => (Kind::RunFinished, Severity::Info, Act::Resolve, "was superseded"),
        };
        let kind = if is_drill { Kind::DrillEnded } else { kind };
        // Of a drill that failed the application is home again, or it is held: that wakes whom it must.
        let severity = if is_drill { severity.min(Severity::Ticket) } else { severity };
        let notice = place.notice(kind, severity).about(run, act);
        let mut notice = notice.says(format!("{}: the {purpose} {word}", place.application)).fact("reason", reason);
        if let Some(under) = &under {
            let took = place.at.duration_since(under.started_at).as_secs();
            notice = notice.fact("run", &under.what).fact("took", format!("{took} s"));
        }
        if let Some(loss) = loss {
            let at =
                |d: Option<std::time::Duration>| d.map_or("unknown".to_owned(), |d| format!("{} s", to_seconds(d)));
            notice = notice.fact("writes lost", format!("between {} and {}", at(loss.at_least), at(loss.at_most)));
        }
        let next = match result {
            RunResult::Failed => format!("failoverd watch {run}: what was done stands; decide on the next run."),
            _ => format!("The evidence is ready: failoverd evidence get {run}"),
        };
        notice.fact("evidence", format!("/runs/{run}/evidence")).then(next)
    }

    fn overridden(&mut self, place: &Place<'_>, event: &Event) -> Option<Notice> {
        let app = place.application;
        match event {
            Event::OverrideAsked { asked } => {
                let severity = match asked.kind {
                    OverrideKind::KillSwitch | OverrideKind::Arm { .. } => Severity::Ticket,
                    OverrideKind::Acknowledge { .. } | OverrideKind::Waive { .. } => Severity::Info,
                };
                let (kind, headline) = match asked.kind.needs_consent() {
                    true => (Kind::OverrideAsked, format!("{app}: {} asks to {}", asked.by, words(&asked.kind))),
                    false => (Kind::OverrideInForce, format!("{app}: {} set: {}", asked.by, words(&asked.kind))),
                };
                let notice = of_override(place.notice(kind, severity), &asked.id).says(headline);
                let notice = notice.fact("reason", &asked.reason).fact("until", format!("{:.0}", asked.expires_at));
                let next = format!("A second person: failoverd consent {}", asked.id);
                Some(if asked.kind.needs_consent() { notice.then(next) } else { notice })
            }
            Event::OverrideConsented { id, subject, reason } => {
                let notice = of_override(place.notice(Kind::OverrideInForce, Severity::Ticket), id);
                let notice = notice.says(format!("{app}: {subject} consents: a failover may start by itself"));
                Some(notice.fact("override", id.as_str()).fact("reason", reason))
            }
            Event::OverrideEnded { id, ending, subject, why } => {
                self.reminded.remove(id);
                // That a person ended it, that person knows; an arming that is over surprises whoever relied on it.
                let severity = match ending {
                    Ending::Withdrawn | Ending::Declined | Ending::Replaced | Ending::Used => Severity::Info,
                    Ending::ConfigChanged | Ending::PreflightFailed | Ending::LagUnknown | Ending::DirectionChanged => {
                        Severity::Ticket
                    }
                };
                let notice = of_override(place.notice(Kind::OverrideEnded, severity), id).acting(Act::Resolve);
                let notice = notice.says(format!("{app}: an override is over: {why}")).fact("override", id.as_str());
                Some(subject.iter().fold(notice, |notice, subject| notice.fact("ended by", subject.as_str())))
            }
            _ => None,
        }
    }

    /// What time alone makes of the overrides that are in force at `now`, each word once.
    pub fn remind<'a>(
        &mut self,
        application: &ApplicationName,
        in_force: impl Iterator<Item = &'a Override>,
        now: Timestamp,
    ) -> Vec<Notice> {
        let mut made = Vec::new();
        let mut standing = BTreeSet::new();
        for o in in_force {
            standing.insert(o.id.clone());
            let said = self.reminded.entry(o.id.clone()).or_default();
            let (stood, left) = (now.duration_since(o.asked_at), o.expires_at.duration_since(now));
            let whole = o.expires_at.duration_since(o.asked_at);
            if left <= EXPIRING && EXPIRING * 2 <= whole && said.insert("expiring".to_owned()) {
                let notice = reminder(application, o, "expiring", now, Kind::OverrideExpiring);
                let notice = notice.says(format!("{application}: {} ends within an hour", words(&o.kind)));
                made.push(notice.fact("until", format!("{:.0}", o.expires_at)).then("Set it anew, or let it end."));
            }
            let days = stood.as_secs() / FORGOTTEN.as_secs();
            let word = format!("day-{days}");
            if o.kind == OverrideKind::KillSwitch && 1 <= days && !said.contains(&word) {
                // What was said of the days before need not be kept.
                said.retain(|word| !word.starts_with("day-"));
                said.insert(word.clone());
                let notice = reminder(application, o, &word, now, Kind::KillSwitchForgotten);
                let notice = notice.says(format!("{application}: the kill switch has been on for {days} day(s)"));
                made.push(notice.fact("reason", &o.reason).then("Nothing starts by itself while it is on."));
            }
        }
        self.reminded.retain(|id, _| standing.contains(id));
        made
    }
}

/// What becomes of a drill that a schedule asks for.
fn scheduled(place: &Place<'_>, schedule: &ScheduleName, note: &Note) -> Option<Notice> {
    let app = place.application;
    let look = format!("failoverd drills {app} --calendar");
    let (kind, says, occurrence, why) = match note {
        Note::Announced { occurrence } => {
            (Kind::DrillAnnounced, format!("{app}: a drill comes ({schedule})"), occurrence, None)
        }
        Note::NotBegun { occurrence, code, reason } => {
            let says = format!("{app}: a drill could not begin ({schedule}), and is tried again");
            (Kind::DrillNotBegun, says, occurrence, Some(format!("{code}: {reason}")))
        }
        Note::Missed { occurrence, reason } => {
            (Kind::DrillMissed, format!("{app}: a drill was missed ({schedule})"), occurrence, Some(reason.clone()))
        }
        Note::Followed { .. } | Note::Dropped => return None,
    };
    let notice = place.notice(kind, Severity::Ticket).says(says).fact("due", occurrence.to_string());
    let notice = why.into_iter().fold(notice, |notice, why| notice.fact("why", why));
    Some(notice.then(look).acting(Act::Acknowledge))
}

/// What people, or its budget, do to a run.
fn steered(place: &Place<'_>, event: &Event) -> Option<Notice> {
    match event {
        Event::RunPaused { run, subject, reason } => {
            let notice = place.notice(Kind::RunPaused, Severity::Ticket).about(run, Act::Acknowledge);
            let notice = notice.says(format!("{}: {} paused the run", place.application, subject));
            Some(notice.fact("reason", reason).then(format!("failoverd resume {run}, when it may go on.")))
        }
        Event::RunResumed { run, subject, reason } => {
            let notice = place.notice(Kind::RunResumed, Severity::Info).about(run, Act::Acknowledge);
            Some(notice.says(format!("{}: {} let the run go on", place.application, subject)).fact("reason", reason))
        }
        Event::BudgetExceeded { run, step, reason } => {
            let notice = place.notice(Kind::DrillOverBudget, Severity::Ticket).about(run, Act::Trigger);
            let notice = notice.says(format!("{}: the drill cost too much and goes home", place.application));
            Some(notice.fact("why", reason).fact("step", step.as_str()).then(format!("failoverd watch {run}")))
        }
        _ => None,
    }
}

fn of_override(mut notice: Notice, id: &OverrideId) -> Notice {
    notice.incident.key = format!("{}/{id}", notice.application);
    notice.path = format!("/overrides?application={}", notice.application);
    notice
}

fn reminder(application: &ApplicationName, o: &Override, word: &str, now: Timestamp, kind: Kind) -> Notice {
    let id = NoticeId::of_time(application, o.id.as_str(), word);
    let notice = of_override(Notice::new(id, application, now, kind, Severity::Ticket), &o.id);
    notice.fact("override", o.id.as_str()).fact("set by", o.by.as_str())
}

/// An override in words that follow "asks to" or a colon.
fn words(kind: &OverrideKind) -> String {
    match kind {
        OverrideKind::Arm { from, to, largest_loss } => {
            format!("arm a failover {from} -> {to} (loss up to {} s)", to_seconds(*largest_loss))
        }
        OverrideKind::KillSwitch => "the kill switch".to_owned(),
        OverrideKind::Acknowledge { run, .. } => format!("acknowledgement of {run}"),
        OverrideKind::Waive { rule } => format!("the rule {} waived", rule.as_str()),
    }
}

#[cfg(test)]
mod tests;
