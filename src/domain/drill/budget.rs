//! What a drill may cost before it goes home by itself (FAULTS.md 83): a time, and what must stay well meanwhile.
//!
//! Invariants: the budget stands in the plan, and so in the digest that an approver approves. Time is spent from the first
//! change on: a drill that waits for a consent harms nobody. A signal is judged only while the Region that it tells of
//! serves, and what is unknown there is no vote until it has been so for as long as the budget says.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::domain::{
    id::{Region, SignalName},
    ramp::{RampGuard, Sign, Watch},
    seconds,
};

/// A drill's budget, with every name resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// From the first change of the way there to the beginning of the way home.
    #[serde(with = "seconds", rename = "within_seconds")]
    pub within: Duration,
    /// What is watched, with the Region that it tells of.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub signals: BTreeMap<SignalName, Region>,
    /// So long may a signal be unknown while its Region serves; then that is over the budget too.
    #[serde(with = "seconds", rename = "unknown_for_seconds")]
    pub unknown_for: Duration,
}

/// A budget as a runbook states it. `signals: None`: the triggers that tell of the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    pub within: Duration,
    pub signals: Option<Vec<SignalName>>,
    pub unknown_for: Duration,
}

impl Budget {
    /// The signals that tell of `region`.
    pub fn signals_of(&self, region: &Region) -> Vec<SignalName> {
        self.signals.iter().filter(|(_, of)| *of == region).map(|(name, _)| name.clone()).collect()
    }

    /// Why it is exceeded, as half a sentence, where that is so: `spent` since the first change, and `signs` of `region`,
    /// which has served for `serves`.
    pub fn exceeded(
        &self,
        spent: Duration,
        region: &Region,
        serves: Duration,
        signs: BTreeMap<SignalName, Sign>,
    ) -> Option<String> {
        if self.within <= spent {
            let (spent, within) = (spent.as_secs(), self.within.as_secs());
            return Some(format!("{spent} s since its first change, and its budget is {within} s"));
        }
        let signals = self.signals_of(region);
        let guard = RampGuard { signals, unknown_for: self.unknown_for, step_back: false };
        // What was unknown of a Region that did not serve is not held against the drill.
        let since_it_serves = |sign: Sign| match sign {
            Sign::Unknown { why, lasts } => Sign::Unknown { why, lasts: lasts.min(serves) },
            known => known,
        };
        let signs = signs.into_iter().map(|(name, sign)| (name, since_it_serves(sign))).collect();
        match guard.judge(&signs) {
            Watch::Breached { why } => Some(format!("{region} serves, and {why}")),
            Watch::Well | Watch::Waits { .. } => None,
        }
    }

    /// The budget as a sentence for people.
    pub fn told(&self) -> String {
        let within = seconds::to_seconds(self.within);
        let watched: Vec<String> = self.signals.iter().map(|(name, of)| format!("{name} ({of})")).collect();
        let signals = match &watched[..] {
            [] => String::new(),
            all => format!(
                ", or as soon as one of these is ill, or unknown for {} s, while its Region serves: {}",
                seconds::to_seconds(self.unknown_for),
                all.join(", ")
            ),
        };
        format!("goes home by itself {within} s after its first change{signals}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::runbook::Runbook;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn region(name: &str) -> Region {
        name.parse().expect("a Region")
    }

    fn signal(name: &str) -> SignalName {
        name.parse().expect("a name")
    }

    fn budget() -> Budget {
        let signals = [(signal("there"), region("us-west-2")), (signal("here"), region("us-east-1"))];
        Budget { within: S(600), signals: signals.into(), unknown_for: S(60) }
    }

    #[test]
    fn time_is_over_at_its_very_second() {
        let over = |spent| budget().exceeded(S(spent), &region("us-east-1"), Duration::MAX, BTreeMap::new());
        assert_eq!(over(599), None);
        assert!(over(600).is_some_and(|why| why.contains("600 s")));
    }

    #[test]
    fn only_the_region_that_serves_is_asked_and_only_since_it_does() {
        let ill = || BTreeMap::from([(signal("there"), Sign::Unhealthy { why: "503".to_owned() })]);
        let (source, target) = (region("us-east-1"), region("us-west-2"));
        assert_eq!(budget().exceeded(S(1), &source, Duration::MAX, ill()), None, "the target does not serve yet");
        let why = budget().exceeded(S(1), &target, S(0), ill());
        assert_eq!(why.as_deref(), Some("us-west-2 serves, and there: 503"));
        let unknown = || Sign::Unknown { why: "no data".to_owned(), lasts: S(7_200) };
        let silent = || BTreeMap::from([(signal("there"), unknown())]);
        assert_eq!(budget().exceeded(S(1), &target, S(59), silent()), None, "it had nothing to say before");
        assert!(budget().exceeded(S(1), &target, S(60), silent()).is_some());
        assert_eq!(budget().exceeded(S(1), &target, S(60), BTreeMap::new()), None, "not looked at is no vote");
        let wavering = BTreeMap::from([(signal("there"), Sign::Wavering { why: "503".to_owned() })]);
        assert_eq!(budget().exceeded(S(1), &target, S(60), wavering), None);
    }

    #[test]
    fn a_budget_is_a_drill_s_and_every_fault_of_it_is_told() {
        let text = |purpose: &str, budget: &str| {
            let head = format!("runbook: r\npurpose: {purpose}\ndescription: d\nbudget: {budget}\n");
            head + "steps:\n  - { id: look, action: wait, with: { duration: 1m } }\n"
        };
        let read = |purpose: &str, budget: &str| Runbook::parse("r.yaml", &text(purpose, budget));
        let (runbook, _) = read("drill", "{ within: 30m, guard: { signals: [a], unknown_for: 5m } }").expect("valid");
        let terms = Terms { within: S(1_800), signals: Some(vec![signal("a")]), unknown_for: S(300) };
        assert_eq!(runbook.budget, Some(terms));
        for (purpose, budget, told) in [
            ("switchover", "{ within: 30m }", "a budget is for a drill"),
            ("[drill, switchover]", "{ within: 30m }", "a budget is for a drill"),
            ("drill", "{ guard: { signals: [a] } }", "within"),
            ("drill", "{ within: 10s }", "1m"),
            ("drill", "{ within: 30m, guard: { signals: [a, a] } }", "each once"),
            ("drill", "{ within: 30m, guard: { step_back: true } }", "unknown key `step_back`"),
        ] {
            let faults = read(purpose, budget).expect_err(budget);
            assert!(faults.iter().any(|f| format!("{f:?}").contains(told) && f.line == 4), "{budget}: {faults:#?}");
        }
    }
}
