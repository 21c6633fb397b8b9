//! The `with` of `probe.signal`.

use std::time::Duration;

use super::{super::SignalsOf, Act, MINUTE, STEP_TIMEOUT_MAX, weights::names};
use crate::domain::{
    assessment::{Health, Verdict},
    document::{At, Fields, Findings},
    signal_probe::{HEALTHS, Said, VERDICTS, health_word},
};

const SIGNALS: &str = "all_of: [use1-health, use1-errors]";

pub(super) fn read(with: &mut Fields<'_>, found: &mut Findings) -> Option<Act> {
    let all_of = with.get(found, "all_of", SIGNALS);
    let any_of = with.get(found, "any_of", "any_of: [use1-health, use1-errors]");
    let of = with.get(found, "of", "of: source");
    let is = with.get(found, "is", "is: ill");
    let lasting = with.get(found, "for", "for: 10s");
    let health = with.get(found, "health", "health: [impaired, down]");
    let verdict = with.get(found, "verdict", "verdict: recommend");
    let lasting =
        lasting.map_or(Some(Duration::ZERO), |at| at.duration(found, Duration::ZERO, STEP_TIMEOUT_MAX - MINUTE));
    let asks_whole = health.is_some() || verdict.is_some();
    let health = health.map_or(Some(Vec::new()), |at| healths(&at, found));
    let verdict = match verdict {
        Some(at) => self::verdict(&at, found).map(Some),
        None => Some(None),
    };
    let signals = match (all_of, any_of, of) {
        (Some(at), None, None) => names(&at, found).map(SignalsOf::All),
        (None, Some(at), None) => names(&at, found).map(SignalsOf::Any),
        (None, None, Some(at)) => region(&at, found),
        (None, None, None) if asks_whole => Some(SignalsOf::Nobody),
        _ => {
            let problem = "give exactly one of `all_of`, `any_of` and `of`, or only `health` and `verdict`";
            found.error(&with.key, problem, "with: { of: source, is: ill }");
            None
        }
    };
    let said = match &is {
        Some(at) => self::said(at, found).map(Some),
        None => Some(None),
    };
    match (&signals, &is) {
        (Some(SignalsOf::Nobody), Some(at)) => {
            found.error(&at.key, "says what signals say, and no signals are named", SIGNALS);
            return None;
        }
        (Some(SignalsOf::All(_) | SignalsOf::Any(_) | SignalsOf::Source | SignalsOf::Target), None) => {
            found.error(&with.key, "what the signals must say is missing: `is`", "is: ill");
            return None;
        }
        _ => {}
    }
    Some(Act::ProbeSignal { signals: signals?, is: said?, hold_for: lasting?, health: health?, verdict: verdict? })
}

fn region(at: &At<'_>, found: &mut Findings) -> Option<SignalsOf> {
    match at.text(found)? {
        "source" => Some(SignalsOf::Source),
        "target" => Some(SignalsOf::Target),
        _ => {
            found.error(&at.key, "expected `source` or `target`", at.example);
            None
        }
    }
}

fn said(at: &At<'_>, found: &mut Findings) -> Option<Said> {
    let text = at.text(found)?;
    let known = [Said::Ill, Said::Well, Said::Unknown].into_iter().find(|said| said.as_str() == text);
    if known.is_none() {
        found.error(&at.key, "expected `ill`, `well` or `unknown`", at.example);
    }
    known
}

fn healths(at: &At<'_>, found: &mut Findings) -> Option<Vec<Health>> {
    let items = at.list(found)?;
    let words: Option<Vec<&str>> = items.iter().map(|item| item.text(found)).collect();
    let known: Option<Vec<Health>> =
        words?.into_iter().map(|word| HEALTHS.into_iter().find(|health| health_word(*health) == word)).collect();
    match known {
        Some(known) if !known.is_empty() => Some(known),
        _ => {
            let all = HEALTHS.map(health_word).join(", ");
            found.error(&at.key, format!("expected some of {all}"), at.example);
            None
        }
    }
}

fn verdict(at: &At<'_>, found: &mut Findings) -> Option<Verdict> {
    let text = at.text(found)?;
    let known = VERDICTS.into_iter().find(|verdict| verdict.as_str() == text);
    if known.is_none() {
        found.error(&at.key, format!("expected one of {}", VERDICTS.map(Verdict::as_str).join(", ")), at.example);
    }
    known
}

#[cfg(test)]
mod tests {
    use crate::domain::runbook::Runbook;

    fn faults(with: &str) -> Vec<String> {
        let text = format!(
            "runbook: r\npurpose: drill\ndescription: d\nsteps:\n  - {{ id: s, action: probe.signal, with: {{ {with} }} }}\n"
        );
        match Runbook::parse("r.yaml", &text) {
            Ok(_) => Vec::new(),
            Err(faults) => faults.into_iter().map(|f| f.problem).collect(),
        }
    }

    #[test]
    fn signals_with_what_they_must_say_or_the_whole_application() {
        for with in [
            "all_of: [a, b], is: ill",
            "any_of: [a], is: unknown, for: 10s",
            "of: source, is: well, health: [healthy, degraded], verdict: nothing",
            "health: [impaired, down]",
            "verdict: recommend, for: 30s",
        ] {
            assert_eq!(faults(with), [] as [&str; 0], "{with}");
        }
        for (with, told) in [
            ("is: ill", "give exactly one"),
            ("all_of: [a], any_of: [b], is: ill", "give exactly one"),
            ("all_of: [a]", "what the signals must say is missing"),
            ("is: ill, verdict: recommend", "no signals are named"),
            ("all_of: [a, a], is: ill", "each once"),
            ("of: elsewhere, is: ill", "expected `source` or `target`"),
            ("of: source, is: healthy", "expected `ill`, `well` or `unknown`"),
            ("health: [dead]", "expected some of healthy"),
            ("health: []", "expected some of healthy"),
            ("verdict: start", "expected one of nothing, notify, recommend"),
        ] {
            let faults = faults(with);
            assert!(faults.iter().any(|f| f.contains(told)), "{with}: {faults:?}");
        }
    }
}
