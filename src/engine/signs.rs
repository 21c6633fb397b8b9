//! What each signal says now, as the watcher judged it last: for steps that must stop when the application is ill.
//!
//! Invariant: what is missing, stale or contradicted is unknown, never healthy, and how long it has been so is counted in
//! boot time without a break. A watcher that has stopped judging leaves everything unknown. Lost on a restart, after
//! which nothing is well before it has been read again.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::domain::{
    assessment::{Health, Verdict},
    id::SignalName,
    ramp::Sign,
    signal::{Belief, Reading, SignalState},
    signal_probe::Judged,
};

/// The watcher judges every second; after so long without, what it said is no more than a memory.
const JUDGED_WITHIN: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug, Default)]
pub struct Signs {
    signals: Mutex<BTreeMap<SignalName, Noted>>,
    /// How the application was judged last, and when, in boot time.
    judged: Mutex<Option<(Health, Verdict, Duration)>>,
}

#[derive(Debug, Clone)]
struct Noted {
    sign: Sign,
    at: Duration,
    unknown_since: Option<Duration>,
}

impl Signs {
    /// Notes what `name` says at the boot time `now`.
    pub fn note(&self, name: &SignalName, state: &SignalState, belief: Belief, now: Duration) {
        let sign = sign(state, belief);
        let mut all = self.signals.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.get(name).and_then(|noted| noted.unknown_since);
        let unknown_since = matches!(sign, Sign::Unknown { .. }).then(|| before.unwrap_or(now));
        all.insert(name.clone(), Noted { sign, at: now, unknown_since });
    }

    /// What `names` say at the boot time `now`; one that was never noted is absent.
    pub fn of(&self, names: &[SignalName], now: Duration) -> BTreeMap<SignalName, Sign> {
        let all = self.signals.lock().unwrap_or_else(PoisonError::into_inner);
        let noted = names.iter().filter_map(|name| Some((name.clone(), all.get(name)?.at(now))));
        noted.collect()
    }

    /// Notes how the application was judged at the boot time `now`.
    pub fn judged(&self, health: Health, verdict: Verdict, now: Duration) {
        *self.judged.lock().unwrap_or_else(PoisonError::into_inner) = Some((health, verdict, now));
    }

    /// How the application is, by the newest judgement; `None` where that is no more than a memory.
    pub fn verdict(&self, now: Duration) -> Judged {
        let judged = *self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        let (health, verdict, at) = judged?;
        (now.saturating_sub(at) <= JUDGED_WITHIN).then_some((health, verdict))
    }
}

impl Noted {
    fn at(&self, now: Duration) -> Sign {
        let age = now.saturating_sub(self.at);
        if JUDGED_WITHIN < age {
            let since = self.unknown_since.unwrap_or(self.at);
            return Sign::Unknown {
                why: "the signals are not judged any more".to_owned(),
                lasts: now.saturating_sub(since),
            };
        }
        match &self.sign {
            Sign::Unknown { why, .. } => {
                let lasts = now.saturating_sub(self.unknown_since.unwrap_or(self.at));
                Sign::Unknown { why: why.clone(), lasts }
            }
            known => known.clone(),
        }
    }
}

/// A signal is ill where that is believed, and well where it is believed and the last reading does not say otherwise.
fn sign(state: &SignalState, belief: Belief) -> Sign {
    let unknown = |why: String| Sign::Unknown { why, lasts: Duration::ZERO };
    let sample = match state {
        SignalState::Fresh { sample } => sample,
        SignalState::Stale { age, .. } => return unknown(format!("the last reading is {} s old", age.as_secs())),
        SignalState::Missing { why } => return unknown(why.clone()),
        SignalState::Contradicted { by, why, .. } => return unknown(format!("{by} contradicts it: {why}")),
    };
    match (belief, &sample.reading) {
        (Belief::Unhealthy, Reading::Unhealthy { detail }) => Sign::Unhealthy { why: detail.clone() },
        (Belief::Unhealthy, _) => Sign::Unhealthy { why: "not well again for long enough".to_owned() },
        (_, Reading::Unhealthy { detail }) => Sign::Wavering { why: detail.clone() },
        (Belief::Healthy, Reading::Healthy { .. } | Reading::Lag { .. }) => Sign::Healthy,
        (_, Reading::Missing { why }) => unknown(why.clone()),
        (Belief::None, _) => unknown("no reading is believed yet".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::domain::signal::Sample;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn fresh(reading: Reading) -> SignalState {
        let at = Timestamp::from_second(1_000).expect("in range");
        SignalState::Fresh { sample: Sample { measured_at: at, taken_at: at, reading } }
    }

    fn well() -> SignalState {
        fresh(Reading::Healthy { detail: "200".to_owned() })
    }

    fn ill() -> SignalState {
        fresh(Reading::Unhealthy { detail: "503".to_owned() })
    }

    fn missing() -> SignalState {
        SignalState::Missing { why: "no answer".to_owned() }
    }

    #[test]
    fn one_ill_reading_wavers_and_only_a_belief_is_ill() {
        assert_eq!(sign(&well(), Belief::Healthy), Sign::Healthy);
        assert!(matches!(sign(&ill(), Belief::Healthy), Sign::Wavering { .. }));
        assert!(matches!(sign(&ill(), Belief::Unhealthy), Sign::Unhealthy { .. }));
        assert!(matches!(sign(&well(), Belief::Unhealthy), Sign::Unhealthy { .. }), "not well again yet");
        assert!(matches!(sign(&well(), Belief::None), Sign::Unknown { .. }));
        assert!(matches!(sign(&missing(), Belief::Healthy), Sign::Unknown { .. }), "what was believed is no reading");
    }

    #[test]
    fn unknown_is_counted_without_a_break_and_a_watcher_that_stopped_leaves_nothing_well() {
        let (signs, name) = (Signs::default(), "health".parse::<SignalName>().expect("valid"));
        let names = [name.clone()];
        assert!(signs.of(&names, S(0)).is_empty(), "what was never noted is absent");
        signs.note(&name, &missing(), Belief::Healthy, S(10));
        signs.note(&name, &missing(), Belief::Healthy, S(20));
        assert!(matches!(&signs.of(&names, S(25))[&name], Sign::Unknown { lasts, .. } if *lasts == S(15)));
        signs.note(&name, &well(), Belief::Healthy, S(30));
        assert_eq!(signs.of(&names, S(60))[&name], Sign::Healthy);
        assert!(matches!(&signs.of(&names, S(61))[&name], Sign::Unknown { lasts, .. } if *lasts == S(31)));
        signs.judged(Health::Down, Verdict::Recommend, S(70));
        assert_eq!(signs.verdict(S(100)), Some((Health::Down, Verdict::Recommend)));
        assert_eq!(signs.verdict(S(101)), None, "a judgement that nobody renews is a memory");
        signs.note(&name, &missing(), Belief::Healthy, S(70));
        assert!(matches!(&signs.of(&names, S(71))[&name], Sign::Unknown { lasts, .. } if *lasts == S(1)));
    }
}
