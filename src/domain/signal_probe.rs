//! What a step waits for in the signals of the application, and in what is made of them (`probe.signal`).
//!
//! Invariant: what is missing, stale or contradicted is unknown, never well; a signal whose last reading is ill and which is
//! not believed yet is neither; and where nobody judges any more, the application is nothing at all.
//! It reads nothing and waits for nothing: what each signal says is an argument.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    assessment::{Health, Verdict},
    id::SignalName,
    ramp::Sign,
    seconds,
};

/// A resolved `probe.signal`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalProbe {
    /// Empty where only the application as a whole is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<SignalName>,
    /// One of them is enough.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub any: bool,
    /// What they must say; there where there are signals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is: Option<Said>,
    /// So long without a break.
    #[serde(with = "seconds", rename = "hold_for_seconds")]
    pub hold_for: Duration,
    /// How the application must be: any of these; empty, however it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub health: Vec<Health>,
    /// What must follow of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

/// What a signal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// Believed to be ill.
    Ill,
    /// Believed to be well, and read so last.
    Well,
    /// Missing, stale or contradicted.
    Unknown,
}

impl Said {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ill => "ill",
            Self::Well => "well",
            Self::Unknown => "unknown",
        }
    }
}

/// How the application was judged last; `None`: nobody judges it now.
pub type Judged = Option<(Health, Verdict)>;

/// What one look came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Whether all is as the step expects.
    pub is_so: bool,
    /// `use1-health is ill, use2-health is well`: what each signal says.
    pub said: String,
    /// How the application is, in one word.
    pub health: &'static str,
    /// What follows of it, in one word.
    pub verdict: &'static str,
    /// Why, of what is not as expected.
    pub why: Vec<String>,
}

/// What a signal says, where it says something; the word for it; and the detail.
type Told<'a> = (Option<Said>, &'a str, &'a str);

impl SignalProbe {
    /// Holds what each signal says, and how the application was judged, against what is expected.
    pub fn judge(&self, signs: &BTreeMap<SignalName, Sign>, judged: Judged) -> Shown {
        let told = self.signals.iter().map(|name| (name, told(signs.get(name))));
        let told: Vec<(&SignalName, Told<'_>)> = told.collect();
        let as_wanted = told.iter().filter(|(_, (said, ..))| said.is_some() && *said == self.is).count();
        let enough = if self.any { 1 } else { told.len() };
        let signals_are_so = told.is_empty() || enough <= as_wanted;
        let health_is_so = self.health.is_empty() || judged.is_some_and(|(health, _)| self.health.contains(&health));
        let verdict_is_so = self.verdict.is_none_or(|wanted| judged.is_some_and(|(_, is)| is_like(is, wanted)));
        let mut why: Vec<String> = Vec::new();
        if !signals_are_so {
            let others = told.iter().filter(|(_, (said, ..))| said.is_none() || *said != self.is);
            why.extend(others.map(|(name, (_, word, detail))| match detail.is_empty() {
                true => format!("{name} is {word}"),
                false => format!("{name} is {word} ({detail})"),
            }));
        }
        let (health, verdict) = judged.map_or(("unknown", "none"), |(h, v)| (health_word(h), v.as_str()));
        if !health_is_so || !verdict_is_so {
            why.push(match judged {
                Some(_) => format!("the application is {health}, and what follows is: {verdict}"),
                None => "the application is not judged any more".to_owned(),
            });
        }
        let said = told.iter().map(|(name, (_, word, _))| format!("{name} is {word}"));
        let said = said.collect::<Vec<_>>().join(", ");
        Shown { is_so: signals_are_so && health_is_so && verdict_is_so, said, health, verdict, why }
    }
}

/// `start` is a recommendation that is acted on.
fn is_like(is: Verdict, wanted: Verdict) -> bool {
    is == wanted || (wanted, is) == (Verdict::Recommend, Verdict::Start)
}

/// What it says as one of three, in one word, and why.
fn told(sign: Option<&Sign>) -> (Option<Said>, &'static str, &str) {
    match sign {
        None => (Some(Said::Unknown), "unknown", "it was never judged"),
        Some(Sign::Unknown { why, .. }) => (Some(Said::Unknown), "unknown", why),
        Some(Sign::Healthy) => (Some(Said::Well), "well", ""),
        Some(Sign::Unhealthy { why }) => (Some(Said::Ill), "ill", why),
        Some(Sign::Wavering { why }) => (None, "wavering", why),
    }
}

/// A health in one word, as runbooks write it.
pub fn health_word(health: Health) -> &'static str {
    match health {
        Health::Healthy => "healthy",
        Health::Degraded => "degraded",
        Health::Impaired => "impaired",
        Health::Down => "down",
        Health::Unknown => "unknown",
    }
}

/// Every health, in the order in which runbooks are told of them.
pub const HEALTHS: [Health; 5] = [Health::Healthy, Health::Degraded, Health::Impaired, Health::Down, Health::Unknown];

/// What may be asked for of a verdict; a failover that is started is recommended too.
pub const VERDICTS: [Verdict; 3] = [Verdict::Nothing, Verdict::Notify, Verdict::Recommend];

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> SignalName {
        text.parse().expect("a name")
    }

    fn probe(is: Said, any: bool) -> SignalProbe {
        SignalProbe {
            signals: vec![name("one"), name("two")],
            any,
            is: Some(is),
            hold_for: Duration::ZERO,
            health: Vec::new(),
            verdict: None,
        }
    }

    fn signs(one: Sign, two: Option<Sign>) -> BTreeMap<SignalName, Sign> {
        [(name("one"), Some(one)), (name("two"), two)].into_iter().filter_map(|(n, s)| Some((n, s?))).collect()
    }

    fn ill() -> Sign {
        Sign::Unhealthy { why: "503".to_owned() }
    }

    #[test]
    fn all_of_them_or_any_and_a_signal_that_wavers_is_neither_ill_nor_well() {
        let wavering = || Sign::Wavering { why: "503 once".to_owned() };
        for (is, any, one, two, so) in [
            (Said::Ill, false, ill(), Some(ill()), true),
            (Said::Ill, false, ill(), Some(Sign::Healthy), false),
            (Said::Ill, true, ill(), Some(Sign::Healthy), true),
            (Said::Ill, true, wavering(), Some(wavering()), false),
            (Said::Well, true, wavering(), Some(wavering()), false),
            (Said::Well, false, Sign::Healthy, Some(Sign::Healthy), true),
            (Said::Well, false, Sign::Healthy, None, false),
            (Said::Unknown, true, Sign::Healthy, None, true),
        ] {
            let shown = probe(is, any).judge(&signs(one.clone(), two.clone()), None);
            assert_eq!(shown.is_so, so, "{is:?} {any} {one:?} {two:?}: {shown:?}");
            assert_eq!(shown.why.is_empty(), so, "{shown:?}");
        }
        let shown = probe(Said::Well, false).judge(&signs(Sign::Healthy, None), None);
        assert_eq!(shown.said, "one is well, two is unknown");
        assert_eq!(shown.why, ["two is unknown (it was never judged)"], "silence is never well");
    }

    #[test]
    fn an_application_that_nobody_judges_is_neither_down_nor_recommended_to_leave() {
        let wanted = SignalProbe {
            signals: Vec::new(),
            is: None,
            health: vec![Health::Impaired, Health::Down],
            verdict: Some(Verdict::Recommend),
            ..probe(Said::Ill, false)
        };
        let so = |judged| wanted.judge(&BTreeMap::new(), judged).is_so;
        assert!(so(Some((Health::Down, Verdict::Recommend))));
        assert!(so(Some((Health::Down, Verdict::Start))), "what is started is recommended");
        assert!(!so(Some((Health::Impaired, Verdict::Notify))));
        assert!(!so(Some((Health::Healthy, Verdict::Recommend))));
        assert!(!so(None));
        let unknown = SignalProbe { health: vec![Health::Unknown], verdict: None, ..wanted };
        assert!(!unknown.judge(&BTreeMap::new(), None).is_so, "not judged is not the verdict `unknown`");
    }
}
