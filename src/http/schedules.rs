//! Schedules of drills and readiness as callers get them.
//!
//! Invariant: as in [`super::view`]: never proved and never held are `null`, and no number of days.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::drills::LastDrillView;
use crate::domain::{
    application::Application,
    calendar::Blackout,
    history::History,
    proof::{self, Needed, Readiness},
    schedule::Schedule,
};

/// The most occurrences that are listed of each schedule.
pub const OCCURRENCES_MAX: usize = 100;

const SECONDS_A_DAY: f64 = 86_400.0;

/// When an application is drilled, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ScheduleView {
    pub application: String,
    pub name: String,
    /// The drill that it begins.
    pub runbook: String,
    pub cron: String,
    pub zone: String,
    /// Who looks after it.
    pub on_call: Option<String>,
    /// The next occurrences, as many as were asked for; empty: there is none, or it is not known when now is.
    pub next: Vec<OccurrenceView>,
    /// The run of the newest occurrence that began; `null`: none ever did.
    pub last: Option<LastDrillView>,
    /// Why the newest occurrence that was to begin did not at once; `null`: nothing ever stood in the way.
    pub not_begun: Option<NotBegunView>,
    /// The newest occurrence that never began; `null`: none was missed.
    pub missed: Option<NotBegunView>,
    /// How many began, and how many were missed, ever.
    pub began_count: u64,
    pub missed_count: u64,
    /// Since this drill last succeeded, whoever asked for it; `null`: never.
    pub days_since_proven: Option<f64>,
}

/// One time at which a drill is due.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OccurrenceView {
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The same on the clocks of the schedule's zone, without an offset.
    #[schema(example = "2026-12-08T10:00:00")]
    pub local: String,
    /// Until when it may begin, that day.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
    /// The blackout that is on at that instant: it then begins after it, within its window, or not; `null`: none.
    pub blackout: Option<String>,
}

/// An occurrence that did not begin, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NotBegunView {
    #[schema(value_type = String, format = DateTime)]
    pub occurrence: Timestamp,
    /// When that was found.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// `blackout`, `healthy`, `kill-switch`, `error-budget`, `rpo`, `away` or the code of a refusal; `null` of one that
    /// was missed.
    pub code: Option<String>,
    pub reason: String,
}

/// Whether an application can be relied upon to be moved, by what was proved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReadinessView {
    pub application: String,
    /// `green`, `amber`, `red` or `never_proven`.
    pub state: String,
    /// What keeps it from being green.
    pub reasons: Vec<String>,
    pub needed: Vec<NeededView>,
}

/// One thing that must be proved again and again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NeededView {
    /// `traffic`, `database`, or a schedule.
    pub what: String,
    pub state: String,
    pub within_days: f64,
    /// `null`: never.
    pub days_since_proven: Option<f64>,
    /// The run that proved it last.
    pub run: Option<String>,
}

impl ReadinessView {
    pub fn new(app: &Application, history: &History, now: Timestamp) -> Self {
        let readiness = Readiness::of(app, history, now);
        let needed = |needed: &Needed| NeededView {
            what: needed.what.clone(),
            state: needed.state.as_str().to_owned(),
            within_days: needed.within.as_secs_f64() / SECONDS_A_DAY,
            days_since_proven: needed.proof.as_ref().map(|proof| days(proof, now)),
            run: needed.proof.as_ref().map(|proof| proof.run.to_string()),
        };
        Self {
            application: app.name.to_string(),
            state: readiness.state.as_str().to_owned(),
            reasons: readiness.reasons,
            needed: readiness.needed.iter().map(needed).collect(),
        }
    }
}

/// To a hundredth of a day.
fn days(proof: &proof::Proof, now: Timestamp) -> f64 {
    (proof::age(proof, now).as_secs_f64() / SECONDS_A_DAY * 100.0).round() / 100.0
}

impl ScheduleView {
    /// `schedule` of `app` with its next `count` occurrences after `now`.
    pub fn new(
        app: &Application,
        schedule: &Schedule,
        history: Option<&History>,
        now: Option<Timestamp>,
        count: usize,
    ) -> Self {
        let followed = history.and_then(|h| h.schedules.get(&schedule.name));
        let began = followed.and_then(|f| f.began.as_ref()).and_then(|(_, run)| history?.runs.get(run));
        let proof = history.and_then(|h| h.proofs.of_drill(&schedule.drill)).zip(now);
        let next = now.into_iter().flat_map(|now| schedule.occurrences(now).take(count));
        Self {
            application: app.name.to_string(),
            name: schedule.name.to_string(),
            runbook: schedule.drill.to_string(),
            cron: schedule.cron.to_string(),
            zone: schedule.zone.as_str().to_owned(),
            on_call: schedule.on_call.clone(),
            next: next.map(|at| occurrence(app, schedule, at)).collect(),
            last: began.map(|run| LastDrillView::new(run)),
            not_begun: followed.and_then(|f| f.not_begun.as_ref()).map(|n| NotBegunView {
                occurrence: n.occurrence,
                at: n.at,
                code: Some(n.code.clone()),
                reason: n.reason.clone(),
            }),
            missed: followed.and_then(|f| f.missed.as_ref()).map(|m| NotBegunView {
                occurrence: m.occurrence,
                at: m.at,
                code: None,
                reason: m.reason.clone(),
            }),
            began_count: followed.map_or(0, |f| f.began_count),
            missed_count: followed.map_or(0, |f| f.missed_count),
            days_since_proven: proof.map(|(proof, now)| days(proof, now)),
        }
    }
}

fn occurrence(app: &Application, schedule: &Schedule, at: Timestamp) -> OccurrenceView {
    let blackouts = app.policy.blackouts.iter().chain(&schedule.blackouts);
    let on = |blackout: &&Blackout| blackout.is_on(at);
    OccurrenceView {
        at,
        local: schedule.zone.local(at).to_string(),
        until: schedule.openings(at).next().map_or(at, |opening| opening.to),
        blackout: blackouts.into_iter().find(on).map(|b| b.reason.clone()),
    }
}
