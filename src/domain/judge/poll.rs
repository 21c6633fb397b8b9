//! What the triggers of the active Region say, from every vantage; and where each vantage stands.
//!
//! Invariant: a stale or missing reading has no vote.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Known, Reach, describe};
use crate::domain::{
    id::{Region, SignalName, VantageName},
    sabotage::{Guard, is_off},
    signal::{Reading, Signal, SignalRole, SignalState, SignalWindow, WitnessOf},
    vantage::{Stand, Witness},
};

/// One reading's vote on the active Region.
enum Vote {
    Healthy,
    /// Ill, believed (often enough in a row) or only suspected.
    Ill {
        since: Timestamp,
        believed: bool,
    },
    None,
}

/// The votes, counted.
#[derive(Default)]
pub(super) struct Poll {
    pub healthy: usize,
    pub ill: usize,
    pub suspected: usize,
    pub silent: Vec<String>,
    pub reasons: Vec<String>,
    pub would_change: Vec<String>,
    pub evidence_since: Option<Timestamp>,
}

/// The triggers that tell of `active`.
fn triggers<'a>(known: &Known<'a>, active: Option<&'a Region>) -> impl Iterator<Item = &'a Signal> {
    let signals = known.application.signals.iter().filter(|s| s.role == SignalRole::Trigger);
    signals.filter(move |s| active.is_some() && s.source.of() == active)
}

/// Counts the votes of this daemon and of every observer that does not abstain.
pub(super) fn poll(
    known: &Known<'_>,
    active: Option<&Region>,
    states: &BTreeMap<SignalName, SignalState>,
    now: Timestamp,
) -> Poll {
    let mut poll = Poll::default();
    for signal in triggers(known, active) {
        poll.count(signal, known.windows.get(&signal.name), &states[&signal.name], None);
        for (vantage, observer) in known.elsewhere {
            let Some(window) = observer.windows.get(&signal.name).filter(|_| observer.abstains.is_none()) else {
                continue;
            };
            poll.count(signal, Some(window), &window.state(now, signal.freshness), Some(vantage));
        }
    }
    poll
}

impl Poll {
    fn count(
        &mut self,
        signal: &Signal,
        window: Option<&SignalWindow>,
        state: &SignalState,
        from: Option<&VantageName>,
    ) {
        let name = from.map_or_else(|| signal.name.to_string(), |v| format!("{} from {v}", signal.name));
        match vote(window, state) {
            Vote::Healthy => self.healthy += 1,
            Vote::Ill { since, believed } => {
                self.evidence_since = Some(self.evidence_since.map_or(since, |e| e.min(since)));
                if believed {
                    self.ill += 1;
                    self.reasons.push(format!("{name}: unhealthy since {since:.0} ({})", describe(state)));
                } else {
                    self.suspected += 1;
                    let wanted = signal.consecutive;
                    self.would_change
                        .push(format!("{name}: {wanted} unhealthy readings in a row (seen unhealthy once or more)"));
                }
            }
            Vote::None if is_off(Guard::SilenceVotes) => self.ill += 1,
            Vote::None => self.silent.push(format!("{name}: {}", describe(state))),
        }
    }
}

fn vote(window: Option<&SignalWindow>, state: &SignalState) -> Vote {
    let SignalState::Fresh { sample } = state else {
        return Vote::None;
    };
    match (&sample.reading, window.and_then(SignalWindow::unhealthy)) {
        (Reading::Missing { .. } | Reading::Lag { .. }, _) => Vote::None,
        (_, Some((since, believed))) => Vote::Ill { since, believed },
        (Reading::Healthy { .. }, None) => Vote::Healthy,
        (Reading::Unhealthy { .. }, None) => Vote::Ill { since: sample.measured_at, believed: false },
    }
}

/// One trigger's word at one vantage.
struct Word {
    /// Freshly and believably ill.
    is_ill: bool,
    /// Its last reading, of whatever age, is not ill, or there is none.
    is_against: bool,
    says: String,
}

fn word(signal: &Signal, window: Option<&SignalWindow>, now: Timestamp) -> Word {
    let missing = || SignalState::Missing { why: "never heard".to_owned() };
    let state = window.map_or_else(missing, |w| w.state(now, signal.freshness));
    let last_is_ill =
        window.and_then(SignalWindow::last).is_some_and(|s| matches!(s.reading, Reading::Unhealthy { .. }));
    let is_ill = last_is_ill && matches!(vote(window, &state), Vote::Ill { believed: true, .. });
    Word { is_ill, is_against: !last_is_ill, says: format!("{}: {}", signal.name, describe(&state)) }
}

/// Where every vantage stands: this daemon, each observer that the policy names, and AWS's own eyes outside the Region.
pub(super) fn witnesses(known: &Known<'_>, active: Option<&Region>, now: Timestamp) -> Vec<Witness> {
    let mut words: BTreeMap<VantageName, Vec<Word>> = BTreeMap::new();
    let mut abstaining: BTreeMap<VantageName, String> = BTreeMap::new();
    for signal in triggers(known, active) {
        let own = known.windows.get(&signal.name);
        match signal.source.witness() {
            None => {}
            Some(WitnessOf::EveryVantage) => {
                words.entry(known.vantage.clone()).or_default().push(word(signal, own, now));
                for vantage in &known.application.policy.observers {
                    let heard = known.elsewhere.get(vantage);
                    let window = heard.and_then(|o| o.windows.get(&signal.name));
                    words.entry(vantage.clone()).or_default().push(word(signal, window, now));
                    if let Some(why) = heard.and_then(|o| o.abstains.clone()) {
                        abstaining.insert(vantage.clone(), why);
                    }
                }
            }
            Some(WitnessOf::Route53) => words.entry(aws("route53")).or_default().push(word(signal, own, now)),
            Some(WitnessOf::CloudWatch(region)) => {
                words.entry(aws(&format!("cloudwatch-{region}"))).or_default().push(word(signal, own, now));
            }
        }
    }
    if let Reach::CutOff { why } | Reach::Unknown { why } = &known.reach {
        abstaining.insert(known.vantage.clone(), why.clone());
    }
    words
        .into_iter()
        .map(|(vantage, words)| {
            let abstains = abstaining.remove(&vantage);
            let stands = stand(vantage, &words);
            match abstains {
                // Who sees that all is well stands against, cut off or not.
                Some(why) if stands.stand != Stand::Against => Witness { stand: Stand::Abstains, says: why, ..stands },
                Some(_) | None => stands,
            }
        })
        .collect()
}

fn aws(name: &str) -> VantageName {
    name.parse().unwrap_or_else(|e| unreachable!("a Region's name is plain: {e}"))
}

fn stand(vantage: VantageName, words: &[Word]) -> Witness {
    let stand = match (words.iter().any(|w| w.is_against), words.iter().any(|w| w.is_ill)) {
        (true, _) => Stand::Against,
        (false, true) => Stand::Ill,
        (false, false) => Stand::Silent,
    };
    let says: Vec<&str> = words.iter().map(|w| w.says.as_str()).collect();
    Witness { vantage, stand, says: says.join("; ") }
}
