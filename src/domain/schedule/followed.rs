//! What a journal says of the schedules of an application: since when each is followed, what was announced, what began,
//! what did not, and why.
//!
//! Invariant: `settled` never goes back. An occurrence up to it began, was missed, or came before the schedule did.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::occurrence_of;
use crate::domain::{
    history::IllegalEvent,
    id::{RunId, ScheduleName},
    journal::Request,
};

/// What is written down about a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Note {
    /// It stands in the configuration from now on, with this cron and zone: what came before is not its own.
    Followed { terms: String },
    /// It stands there no more.
    Dropped,
    /// People were told that it comes.
    Announced { occurrence: Timestamp },
    /// It was to begin, and did not; it is tried again until its windows close.
    NotBegun { occurrence: Timestamp, code: String, reason: String },
    /// Its last window has closed.
    Missed { occurrence: Timestamp, reason: String },
}

/// Why an occurrence did not begin at the last try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotBegun {
    pub occurrence: Timestamp,
    pub at: Timestamp,
    pub code: String,
    pub reason: String,
}

/// The newest occurrence that never began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    pub occurrence: Timestamp,
    pub at: Timestamp,
    pub reason: String,
}

/// How far one schedule was followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// Its cron and zone; empty once it was dropped.
    pub terms: String,
    /// Every occurrence up to this instant is over, or came before the schedule did.
    pub settled: Timestamp,
    /// The newest occurrence that people were told of.
    pub announced: Option<Timestamp>,
    pub not_begun: Option<NotBegun>,
    pub missed: Option<Missed>,
    /// How many were missed, ever.
    pub missed_count: u64,
    /// The newest occurrence that began, and its run.
    pub began: Option<(Timestamp, RunId)>,
    /// How many began, ever.
    pub began_count: u64,
}

/// Every schedule that the journal names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schedules(BTreeMap<ScheduleName, Followed>);

fn illegal(event: &'static str, why: String) -> IllegalEvent {
    IllegalEvent { event, why }
}

impl Schedules {
    pub fn get(&self, name: &ScheduleName) -> Option<&Followed> {
        self.0.get(name)
    }

    /// Those that stand in the configuration, as far as the journal knows.
    pub fn followed(&self) -> impl Iterator<Item = (&ScheduleName, &Followed)> {
        self.0.iter().filter(|(_, followed)| !followed.terms.is_empty())
    }

    /// A note on `name` at `at`.
    pub(in crate::domain) fn note(
        &mut self,
        at: Timestamp,
        name: &ScheduleName,
        note: &Note,
    ) -> Result<(), IllegalEvent> {
        const EVENT: &str = "schedule_noted";
        if let Note::Followed { terms } = note {
            let old = self.0.remove(name);
            // Where a clock was set back, what is over stays so.
            let settled = old.as_ref().map_or(at, |old| old.settled.max(at));
            let fresh = Followed {
                terms: String::new(),
                settled,
                announced: None,
                not_begun: None,
                missed: None,
                missed_count: 0,
                began: None,
                began_count: 0,
            };
            // What was announced or tried by other terms says nothing of these.
            let old = old.unwrap_or(fresh);
            let followed = Followed { terms: terms.clone(), settled, announced: None, not_begun: None, ..old };
            self.0.insert(name.clone(), followed);
            return Ok(());
        }
        let followed = self.0.get_mut(name).ok_or_else(|| illegal(EVENT, format!("{name} is not followed")))?;
        let is_over = |occurrence: &Timestamp| *occurrence <= followed.settled;
        match note {
            Note::Followed { .. } => {}
            Note::Dropped => followed.terms.clear(),
            Note::Announced { occurrence } | Note::NotBegun { occurrence, .. } | Note::Missed { occurrence, .. }
                if is_over(occurrence) =>
            {
                return Err(illegal(EVENT, format!("{name} of {occurrence} is over")));
            }
            Note::Announced { occurrence } => followed.announced = followed.announced.max(Some(*occurrence)),
            Note::NotBegun { occurrence, code, reason } => {
                let (occurrence, code, reason) = (*occurrence, code.clone(), reason.clone());
                followed.not_begun = Some(NotBegun { occurrence, at, code, reason });
            }
            Note::Missed { occurrence, reason } => {
                followed.settled = *occurrence;
                followed.missed = Some(Missed { occurrence: *occurrence, at, reason: reason.clone() });
                followed.missed_count += 1;
            }
        }
        Ok(())
    }

    /// A run begins. That of a schedule is for one occurrence, and no other run was or will be (FAULTS.md 84).
    pub(in crate::domain) fn begin(&mut self, run: &RunId, request: &Request) -> Result<(), IllegalEvent> {
        let Some((name, occurrence)) = occurrence_of(request) else { return Ok(()) };
        let refuse = |why: String| illegal("run_started", why);
        let followed = self.0.get_mut(&name).ok_or_else(|| refuse(format!("{name} is not followed")))?;
        if occurrence <= followed.settled {
            return Err(refuse(format!("{name} of {occurrence} began already, or was missed")));
        }
        followed.settled = occurrence;
        followed.began = Some((occurrence, run.clone()));
        followed.began_count += 1;
        Ok(())
    }
}
