//! Traffic that moves in steps of weight: the exact calls of a ramp, and what its guard says.
//!
//! Invariant: a [`Split`] is never all zero, and every call that a ramp may send, the way back included, stands in the
//! plan and so in its digest. Which of them comes next is a pure function of the last one. Nothing here looks at
//! anything or waits.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    action::WriterProof,
    cloud::Mutation,
    id::{Region, SignalName, TrafficName},
    seconds,
};

/// How one name is shared between Regions, as Route 53's weights. They add up to 100, so that a weight is a percentage
/// and never are all of them zero, which Route 53 would take for "all alike" (FAULTS.md R10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split(BTreeMap<Region, u8>);

impl Split {
    /// `percent` (at most 100) of the traffic to `target`, the rest to `source`, nothing to `others`.
    pub fn between<'a>(
        source: &Region,
        target: &Region,
        percent: u8,
        others: impl Iterator<Item = &'a Region>,
    ) -> Self {
        let percent = percent.min(100);
        let mut weights: BTreeMap<Region, u8> = others.map(|region| (region.clone(), 0)).collect();
        weights.insert(source.clone(), 100 - percent);
        // Last: where source and target are one, it has it all.
        weights.insert(target.clone(), if source == target { 100 } else { percent });
        Self(weights)
    }

    /// The weight of a Region, from 0 to 100; nothing for one that is not in it.
    pub fn weight(&self, region: &Region) -> u8 {
        self.0.get(region).copied().unwrap_or(0)
    }
}

/// A resolved `dns.weights`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ramp {
    pub traffic: TrafficName,
    pub from: Region,
    pub to: Region,
    pub record_name: String,
    pub record_type: String,
    /// The zone's authoritative servers, each of which is asked after every call.
    pub servers: Vec<String>,
    /// What the source's and the target's record answer.
    pub source_answer: String,
    pub target_answer: String,
    /// Forward in order, then the ways back.
    pub calls: Vec<RampCall>,
    /// Each step of the ramp is kept so long before the next.
    #[serde(with = "seconds", rename = "hold_for_seconds")]
    pub hold_for: Duration,
    pub guard: RampGuard,
    pub requires_writer: Vec<WriterProof>,
}

/// One call that a ramp may send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RampCall {
    /// What of the traffic the target has once it is in effect.
    pub percent: u8,
    pub role: CallRole,
    pub mutation: Mutation,
}

/// What a call of a ramp is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallRole {
    /// Before the first step; moves nothing.
    Prepare,
    /// A step of the ramp, kept for `hold_for`.
    Step,
    /// After the last step; moves nothing.
    Finish,
    /// From a step to the one before, when the guard is breached.
    Back,
}

/// What must stay well while traffic is shared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RampGuard {
    pub signals: Vec<SignalName>,
    /// So long may a signal be unknown; then that is a breach too.
    #[serde(with = "seconds", rename = "unknown_for_seconds")]
    pub unknown_for: Duration,
    /// Whether a breach takes the weights back to those of the step before.
    pub step_back: bool,
}

impl Ramp {
    pub fn call(&self, number: u32) -> Option<&RampCall> {
        self.calls.get(number as usize)
    }

    fn is(&self, number: u32, role: CallRole) -> bool {
        self.call(number).is_some_and(|call| call.role == role)
    }

    /// Whether this call is a step of the ramp, which is kept for a time.
    pub fn is_step(&self, number: u32) -> bool {
        self.is(number, CallRole::Step)
    }

    /// Whether this call takes the weights back.
    pub fn is_back(&self, number: u32) -> bool {
        self.is(number, CallRole::Back)
    }

    /// The call after this one, where all goes well; `None` after the last, and after a way back.
    pub fn next(&self, number: u32) -> Option<u32> {
        let next = number.checked_add(1)?;
        let goes_on = !self.is_back(number) && self.call(next).is_some_and(|call| call.role != CallRole::Back);
        goes_on.then_some(next)
    }

    /// The call that takes this step back.
    pub fn back_from(&self, number: u32) -> Option<u32> {
        if !self.is_step(number) {
            return None;
        }
        let steps_before = self.calls.iter().take(number as usize).filter(|call| call.role == CallRole::Step).count();
        let backs = self.calls.iter().enumerate().filter(|(_, call)| call.role == CallRole::Back);
        let (index, _) = backs.into_iter().nth(steps_before)?;
        u32::try_from(index).ok()
    }

    /// What of the traffic the target has with this call in effect.
    pub fn percent(&self, number: u32) -> u8 {
        self.call(number).map_or(0, |call| call.percent)
    }

    /// The shares of the steps, in order.
    pub fn shares(&self) -> Vec<u8> {
        self.calls.iter().filter(|call| call.role == CallRole::Step).map(|call| call.percent).collect()
    }

    /// `25 % since 14:00:05, next 50 % at 14:05:05`, in UTC, of a step that has been in effect since then.
    pub fn progress(&self, number: u32, since: Timestamp) -> String {
        let clock = |at: Timestamp| at.strftime("%H:%M:%S").to_string();
        let ends = since.checked_add(self.hold_for).map_or_else(|_| "a time beyond the calendar".to_owned(), clock);
        let next = match self.next(number).filter(|next| self.is_step(*next)) {
            Some(next) => format!("next {} % at {ends}", self.percent(next)),
            None => format!("kept until {ends}"),
        };
        format!("{} % since {}, {next}", self.percent(number), clock(since))
    }

    /// What a server may answer with this call in effect.
    pub fn answers(&self, number: u32) -> Vec<&str> {
        match self.percent(number) {
            0 => vec![&self.source_answer],
            100 => vec![&self.target_answer],
            _ => vec![&self.source_answer, &self.target_answer],
        }
    }
}

/// What one signal says to a guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sign {
    Healthy,
    /// Ill by its last reading, and not often enough to be believed.
    Wavering {
        why: String,
    },
    /// Believed to be ill.
    Unhealthy {
        why: String,
    },
    /// Missing, stale or contradicted, for so long without a break.
    Unknown {
        why: String,
        lasts: Duration,
    },
}

/// What a guard says of all its signals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watch {
    /// Everything is known to be well.
    Well,
    /// Neither well nor breached: nothing moves.
    Waits {
        why: String,
    },
    Breached {
        why: String,
    },
}

impl RampGuard {
    /// The worst that `signs` say.
    pub fn judge(&self, signs: &BTreeMap<SignalName, Sign>) -> Watch {
        let mut waits = None;
        for name in &self.signals {
            match signs.get(name) {
                Some(Sign::Healthy) => {}
                Some(Sign::Unhealthy { why }) => return Watch::Breached { why: format!("{name}: {why}") },
                Some(Sign::Unknown { why, lasts }) if self.unknown_for <= *lasts => {
                    let lasts = seconds::to_seconds(*lasts);
                    return Watch::Breached { why: format!("{name} has been unknown for {lasts} s: {why}") };
                }
                Some(Sign::Unknown { why, .. }) => waits = waits.or(Some(format!("{name} is unknown: {why}"))),
                Some(Sign::Wavering { why }) => waits = waits.or(Some(format!("{name}: {why}"))),
                None => waits = waits.or(Some(format!("{name} has not been looked at yet"))),
            }
        }
        waits.map_or(Watch::Well, |why| Watch::Waits { why })
    }
}

#[cfg(test)]
mod tests;
