//! What people have said that changes how an application is decided about, for a while: arming, the kill switch, an
//! acknowledgement, a rule that is waived.
//!
//! Invariants: each has a reason, a person and an end (FAULTS.md 78); arming takes effect with the consent of a second
//! person only; an override that has ended never comes back. The safety properties cannot be overridden: there is no
//! kind of override for them. When something is over is told by `now`, an argument: the journal need not say so.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    history::IllegalEvent,
    id::{OverrideId, Region, RunId, Subject},
    journal::Event,
    plan::Plan,
    rules::Rule,
    seconds,
};

/// The longest that a rule may be waived: long enough for one decision, too short to be forgotten.
pub const WAIVER_MAX: Duration = Duration::from_mins(30);
/// The longest that an application stays armed, or its automation switched off, without being asked again.
pub const STANDING_MAX: Duration = Duration::from_hours(90 * 24);
/// How many overrides that are over are kept in memory; the journal has them all.
pub const ENDED_KEPT_MAX: usize = 64;
/// How many acknowledgements are kept though their time is over: those of the newest runs.
pub const ACKNOWLEDGEMENTS_MAX: usize = 64;
/// For how long an arming that ended by itself is told of: a daemon that was down for longer does not dig up the past.
pub const TOLD_FOR: Duration = Duration::from_hours(24);
/// How many of one kind may stand at once: of waivers and acknowledgements never so many that nothing can be armed, or
/// the automation switched off.
pub const STANDING_COUNT_MAX: usize = 32;

/// What is overridden.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum OverrideKind {
    /// A failover may start by itself, in this direction, while the loss bound is at most `largest_loss`. Used once.
    Arm {
        from: Region,
        to: Region,
        #[serde(with = "seconds", rename = "largest_loss_seconds")]
        largest_loss: Duration,
    },
    /// Nothing is started alone. Needs no consent: it only makes things stricter.
    KillSwitch,
    /// Somebody has looked at what `run` did. With `reconciled`, its lost writes were dealt with, and the Region that it
    /// left may be moved to by the automation again (FAULTS.md S8).
    Acknowledge { run: RunId, reconciled: bool },
    /// A rule that binds the automation does not, for once.
    Waive { rule: Rule },
}

impl OverrideKind {
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Arm { .. } => "arm",
            Self::KillSwitch => "kill_switch",
            Self::Acknowledge { .. } => "acknowledge",
            Self::Waive { .. } => "waive",
        }
    }

    /// Whether a second person must consent before it takes effect.
    pub fn needs_consent(&self) -> bool {
        matches!(self, Self::Arm { .. })
    }

    /// The longest that it may stand.
    pub fn lasts_at_most(&self) -> Duration {
        match self {
            Self::Arm { .. } | Self::KillSwitch | Self::Acknowledge { .. } => STANDING_MAX,
            Self::Waive { .. } => WAIVER_MAX,
        }
    }
}

/// Why an override is over before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// A person took it back.
    Withdrawn,
    /// The second person said no.
    Declined,
    /// It was used: a run started by it.
    Used,
    /// The configuration or a runbook is not the one that was armed.
    ConfigChanged,
    /// What the run would need is not there.
    PreflightFailed,
    /// The lag was unknown while the primary was otherwise healthy.
    LagUnknown,
    /// The writer is no longer where the direction begins.
    DirectionChanged,
    /// Another override of the same kind took its place.
    Replaced,
}

impl Ending {
    /// What it is called where no person chose it.
    fn by_itself(self) -> Option<&'static str> {
        match self {
            Self::Withdrawn | Self::Declined | Self::Replaced => None,
            Self::Used => Some("used"),
            Self::ConfigChanged => Some("configuration changed"),
            Self::PreflightFailed => Some("preflight failed"),
            Self::LagUnknown => Some("lag unknown"),
            Self::DirectionChanged => Some("direction changed"),
        }
    }
}

/// One override.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Override {
    pub id: OverrideId,
    pub kind: OverrideKind,
    pub by: Subject,
    pub reason: String,
    pub asked_at: Timestamp,
    pub expires_at: Timestamp,
    /// What the configuration and the runbooks were when it was asked for; arming is bound to them.
    pub bound_to: Option<super::id::Digest>,
    /// The second person, and when.
    pub consent: Option<(Subject, Timestamp)>,
    /// How it ended before its time, when, and in words.
    pub ended: Option<(Ending, Timestamp, String)>,
}

/// Where an override stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    AwaitsConsent,
    InForce,
    Expired,
    Ended,
}

impl Override {
    /// Where it stands at `now`.
    pub fn standing(&self, now: Timestamp) -> Standing {
        if self.ended.is_some() {
            Standing::Ended
        } else if self.expires_at <= now {
            Standing::Expired
        } else if self.kind.needs_consent() && self.consent.is_none() {
            Standing::AwaitsConsent
        } else {
            Standing::InForce
        }
    }

    /// Whether it is not over: in force, or waiting for consent.
    pub fn is_open(&self, now: Timestamp) -> bool {
        matches!(self.standing(now), Standing::AwaitsConsent | Standing::InForce)
    }

    pub fn is_in_force(&self, now: Timestamp) -> bool {
        self.standing(now) == Standing::InForce
    }
}

/// The overrides of one application.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Overrides {
    all: BTreeMap<OverrideId, Override>,
    /// Armings of which people were told that they are over: those that are kept.
    told: BTreeSet<OverrideId>,
}

/// An arming that is over, and no person ended it.
#[derive(Debug, Clone, PartialEq)]
pub struct Over<'a> {
    pub what: &'a Override,
    pub at: Timestamp,
    /// For a subject.
    pub word: &'static str,
    pub why: String,
}

impl Overrides {
    /// Every override that is kept, by id (which is in the order of asking).
    pub fn all(&self) -> impl DoubleEndedIterator<Item = &Override> {
        self.all.values()
    }

    pub fn get(&self, id: &OverrideId) -> Option<&Override> {
        self.all.get(id)
    }

    pub fn in_force(&self, now: Timestamp) -> impl Iterator<Item = &Override> {
        self.all.values().filter(move |o| o.is_in_force(now))
    }

    /// The arming that is in force.
    pub fn armed(&self, now: Timestamp) -> Option<&Override> {
        self.in_force(now).find(|o| matches!(o.kind, OverrideKind::Arm { .. }))
    }

    /// Armings that were in force and ended by themselves, of which nobody was told yet: those of the last
    /// [`TOLD_FOR`].
    pub fn untold(&self, now: Timestamp) -> impl Iterator<Item = Over<'_>> {
        let newly = move |at: Timestamp| {
            let ago = now.duration_since(at);
            !ago.is_negative() && ago.unsigned_abs() <= TOLD_FOR
        };
        let armings = self.all.values().filter(|o| matches!(o.kind, OverrideKind::Arm { .. }) && o.consent.is_some());
        armings.filter(|o| !self.told.contains(&o.id)).filter_map(move |o| over(o, now)).filter(move |o| newly(o.at))
    }

    pub fn kill_switch(&self, now: Timestamp) -> Option<&Override> {
        self.in_force(now).find(|o| o.kind == OverrideKind::KillSwitch)
    }

    /// What waives `rule` now.
    pub fn waiver(&self, rule: Rule, now: Timestamp) -> Option<&Override> {
        self.in_force(now).find(|o| o.kind == OverrideKind::Waive { rule })
    }

    /// Whether somebody has acknowledged `run`, and whether what it lost was reconciled. An acknowledgement that has
    /// expired was given all the same.
    pub fn acknowledged(&self, run: &RunId) -> Option<bool> {
        let mut given = self.all.values().filter_map(|o| match &o.kind {
            OverrideKind::Acknowledge { run: of, reconciled } if of == run && o.ended.is_none() => Some(*reconciled),
            _ => None,
        });
        let first = given.next()?;
        Some(given.fold(first, |any, reconciled| any | reconciled))
    }

    /// Who has said first that what `run` lost was reconciled, and when.
    pub fn reconciled_by(&self, run: &RunId) -> Option<(&Subject, Timestamp)> {
        let said = self.all.values().filter(|o| match &o.kind {
            OverrideKind::Acknowledge { run: of, reconciled: true } => of == run && o.ended.is_none(),
            _ => false,
        });
        said.min_by_key(|o| o.asked_at).map(|o| (&o.by, o.asked_at))
    }

    /// Takes one event in.
    pub(super) fn apply(&mut self, at: Timestamp, event: &Event) -> Result<(), IllegalEvent> {
        match event {
            Event::OverrideAsked { asked } => {
                if self.all.contains_key(&asked.id) {
                    return Err(illegal("override_asked", format!("{} exists", asked.id)));
                }
                if asked.expires_at <= at {
                    return Err(illegal("override_asked", "it is over before it begins".to_owned()));
                }
                let asked = Override { asked_at: at, consent: None, ended: None, ..Override::clone(asked) };
                self.all.insert(asked.id.clone(), asked);
                self.forget(at);
            }
            Event::OverrideConsented { id, subject, .. } => {
                let slot = self.open(id, at, "override_consented")?;
                if slot.by == *subject {
                    return Err(illegal("override_consented", "who asked cannot consent".to_owned()));
                }
                if slot.consent.is_some() {
                    return Err(illegal("override_consented", "it has a second person's consent".to_owned()));
                }
                slot.consent = Some((subject.clone(), at));
            }
            Event::OverrideEnded { id, ending, why, .. } => {
                let slot = self.open(id, at, "override_ended")?;
                slot.ended = Some((*ending, at, why.clone()));
            }
            Event::NoticeIntended { about, .. } => {
                let is_over = self.all.get(about).is_some_and(|o| !o.is_open(at));
                if !is_over || !self.told.insert(about.clone()) {
                    return Err(illegal("notice_intended", format!("{about} is not over, or was told of before")));
                }
            }
            Event::NoticeAnswered { about, .. } => {
                if !self.told.contains(about) {
                    return Err(illegal("notice_answered", format!("nothing was sent about {about}")));
                }
            }
            other => return Err(illegal("override event", format!("{other:?} is none"))),
        }
        Ok(())
    }

    /// `run` starts by the arming `id`, which is used up: it must be in force and for this very direction and loss.
    pub(super) fn spend(
        &mut self,
        at: Timestamp,
        id: &OverrideId,
        run: &RunId,
        plan: &Plan,
    ) -> Result<(), IllegalEvent> {
        let slot = self.open(id, at, "run_started")?;
        let OverrideKind::Arm { from, to, largest_loss } = &slot.kind else {
            return Err(illegal("run_started", format!("{id} arms nothing")));
        };
        let covers = *from == plan.source && *to == plan.target && plan.accepted_loss <= Some(*largest_loss);
        if !slot.is_in_force(at) || !covers {
            return Err(illegal("run_started", format!("{id} does not arm {} -> {}", plan.source, plan.target)));
        }
        slot.ended = Some((Ending::Used, at, format!("started {run}")));
        Ok(())
    }

    /// The override `id`, where it is not over.
    fn open(&mut self, id: &OverrideId, at: Timestamp, event: &'static str) -> Result<&mut Override, IllegalEvent> {
        let slot = self.all.get_mut(id).ok_or_else(|| illegal(event, format!("there is no override {id}")))?;
        match slot.standing(at) {
            Standing::AwaitsConsent | Standing::InForce => Ok(slot),
            Standing::Expired | Standing::Ended => Err(illegal(event, format!("{id} is over"))),
        }
    }

    /// Keeps what stands, every acknowledgement that is still needed, and the newest of what is over.
    fn forget(&mut self, now: Timestamp) {
        // An acknowledgement stands for ever; the newest of each run say all that the older ones do.
        let mut newest: BTreeMap<(&RunId, bool), (Timestamp, &OverrideId)> = BTreeMap::new();
        for o in self.all.values().filter(|o| o.ended.is_none()) {
            if let OverrideKind::Acknowledge { run, reconciled } = &o.kind {
                let slot = newest.entry((run, *reconciled)).or_insert((o.asked_at, &o.id));
                *slot = (*slot).max((o.asked_at, &o.id));
            }
        }
        let mut newest: Vec<(Timestamp, OverrideId)> = newest.into_values().map(|(at, id)| (at, id.clone())).collect();
        newest.sort_unstable();
        let kept: BTreeSet<OverrideId> =
            newest.into_iter().rev().take(ACKNOWLEDGEMENTS_MAX).map(|(_, id)| id).collect();
        let over =
            |o: &Override| !kept.contains(&o.id) && matches!(o.standing(now), Standing::Expired | Standing::Ended);
        let mut too_many = self.all.values().filter(|o| over(o)).count().saturating_sub(ENDED_KEPT_MAX);
        self.all.retain(|_, o| {
            let goes = too_many > 0 && over(o);
            too_many -= usize::from(goes);
            !goes
        });
        let all = &self.all;
        self.told.retain(|id| all.contains_key(id));
    }
}

/// How `o` ended, where no person ended it.
fn over(o: &Override, now: Timestamp) -> Option<Over<'_>> {
    let (at, word, why) = match (&o.ended, o.standing(now)) {
        (Some((ending, at, why)), _) => (*at, ending.by_itself()?, why.clone()),
        (None, Standing::Expired) => (o.expires_at, "expired", "its time is over".to_owned()),
        (None, Standing::AwaitsConsent | Standing::InForce | Standing::Ended) => return None,
    };
    Some(Over { what: o, at, word, why })
}

fn illegal(event: &'static str, why: String) -> IllegalEvent {
    IllegalEvent { event, why }
}

#[cfg(test)]
mod tests;
