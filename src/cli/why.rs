//! `why`: a decision in words, from its data.
//!
//! Invariant: every sentence is made from a field of the view and says no more than it; what is not known is said to be
//! unknown. 80 columns, no colour; text from outside never reaches the terminal with control characters in it.

use super::render::{self, cut, deferred, drills, exposure, known, seconds, share, signal, time, word, wrapped};
use crate::{
    domain::{
        policy::Mode,
        rules::{Holds, Rule},
        vantage::Stand,
    },
    http::{
        condition::ExposureView,
        decision::{DecisionView, FailOverView, ForecastView, RpoView, RuleView, WaitView},
    },
};

/// A decision, whole.
pub fn why(d: &DecisionView) -> String {
    let mut out = brief(d);
    for e in &d.exposure {
        out.push_str(&wrapped("  loss    ", &exposure(e)));
    }
    for budget in &d.rpo {
        out.push_str(&wrapped("  rpo     ", &rpo(budget)));
    }
    for c in d.options.fail_over.iter().flat_map(|o| &o.capacity).filter(|c| c.holds == Holds::Yes) {
        out.push_str(&wrapped("  capacity ", &format!("{}: {}", c.store, c.says)));
    }
    out.push_str(&wrapped("  mode    ", &mode(d)));
    for o in &d.overrides {
        let consent = match (&o.consent_by, word(&o.standing).as_str()) {
            (Some(by), _) => format!(", with the consent of {by}"),
            (None, "awaits_consent") => ", AWAITS THE CONSENT OF A SECOND PERSON".to_owned(),
            (None, _) => String::new(),
        };
        let text =
            format!("{} by {}{consent}, until {}: {} ({})", o.kind, o.by, time(o.expires_at), o.covers, o.reason);
        out.push_str(&wrapped("  override ", &text));
    }
    for work in &d.open_work {
        out.push_str(&wrapped("  open work ", &deferred(work)));
    }
    out.push_str("\n  what each signal says\n");
    for s in &d.signals {
        let role = s.role.as_ref().map_or("unknown".to_owned(), word);
        let text = format!("{} ({role}, from {})", signal(s), known(s.from.as_deref()));
        out.push_str(&wrapped("    ", &text));
    }
    if !d.witnesses.is_empty() {
        out.push_str(&witnesses(d));
    }
    if !d.rules.is_empty() {
        let met = d.rules.iter().filter(|r| is_met(r)).count();
        out.push_str(&format!("\n  the rules for acting alone: {met} of {} hold\n", d.rules.len()));
        for r in &d.rules {
            out.push_str(&rule(r));
        }
    }
    if !d.would_change.is_empty() {
        out.push_str("\n  what would change the verdict\n");
        for change in &d.would_change {
            out.push_str(&wrapped("    ", change));
        }
    }
    out
}

/// What somebody who has to decide reads first: the verdict, why, and the two options.
pub fn brief(d: &DecisionView) -> String {
    let mut out = cut(&format!("{}: {}, {} (as of {})", d.application, word(&d.health), word(&d.verdict), time(d.at)));
    out.push('\n');
    if let Some(target) = &d.recommended_target {
        let source = known(d.active_region.as_deref());
        out.push_str(&wrapped("  move    ", &format!("{source} → {target}")));
    }
    if let Some(since) = d.evidence_since {
        let ago = seconds(render::between(since, d.at));
        out.push_str(&wrapped("  since   ", &format!("{}, {ago} ago", time(since))));
    }
    for reason in &d.reasons {
        out.push_str(&wrapped("  because ", reason));
    }
    for fault in &d.drill_faults {
        out.push_str(&wrapped("  FAULT IN ", &drills::fault(fault)));
    }
    if let Some(option) = &d.options.fail_over {
        out.push_str(&wrapped("  fail over now: ", &fail_over(d, option)));
        for c in option.capacity.iter().filter(|c| c.holds != Holds::Yes) {
            let word = if c.holds == Holds::No { "TOO SMALL" } else { "not known" };
            out.push_str(&wrapped(
                "        ",
                &format!("capacity of {} in {}: {word}: {}", c.store, option.target, c.says),
            ));
        }
    } else if let Some(active) = &d.active_region {
        let nowhere = format!("there is nowhere to go from {active}: something speaks ill of every other Region");
        out.push_str(&wrapped("  fail over now: ", &nowhere));
    }
    if let Some(text) = wait(&d.options.wait) {
        out.push_str(&wrapped("  wait: ", &text));
        let lasting = d.options.wait.shares.iter().filter(|s| s.took_seconds.is_some());
        let shares: Vec<String> = lasting.map(share).collect();
        if !shares.is_empty() {
            out.push_str(&wrapped("        ", &shares.join(", ")));
        }
    }
    out
}

fn fail_over(d: &DecisionView, option: &FailOverView) -> String {
    let loss = match (option.loses_nothing, option.lose_at_most_seconds) {
        (true, _) => "loses nothing (no store has one writer)".to_owned(),
        (false, None) => {
            format!("the loss is UNBOUNDED{}", of_store(d, worst(d)))
        }
        (false, Some(bound)) => {
            format!("lose at most {} of writes{}", seconds(bound), of_store(d, worst(d)))
        }
    };
    let back = match &option.forecast {
        None => "how long it would take is not known: no runbook for it compiles".to_owned(),
        Some(forecast) => format!("back in about {}", forecast_words(forecast)),
    };
    format!("{loss}, {back}")
}

fn worst(d: &DecisionView) -> Option<&ExposureView> {
    let worst = d.worst_store.as_deref()?;
    d.exposure.iter().find(|e| e.store == worst)
}

/// The store where it is not the only one, and what its bound stands on.
fn of_store(d: &DecisionView, exposure: Option<&ExposureView>) -> String {
    /// Durations are told to the millisecond.
    const ROUNDING_SECONDS: f64 = 0.002;
    let Some(e) = exposure else { return String::new() };
    let store = if d.exposure.len() > 1 { format!(" of {}", e.store) } else { String::new() };
    let (Some(lag), Some(age)) = (e.measured_lag_seconds, e.sample_age_seconds) else {
        return format!("{store} (no lag was ever measured)");
    };
    let lag_words = seconds(lag);
    match e.loss_bound_seconds.map(|bound| bound - lag) {
        // The bound is less than the lag and the sample's age together: something has bounded the old writer's end.
        Some(after) if after + ROUNDING_SECONDS < age => {
            let after = seconds(after.max(0.0));
            format!("{store} (last lag {lag_words}, old writer refused writes since {after} after that sample)")
        }
        _ => {
            let age = seconds(age);
            format!("{store} (last lag {lag_words}, measured {age} ago; the old writer may still take writes)")
        }
    }
}

fn forecast_words(f: &ForecastView) -> String {
    let from = match f.runs {
        0 => "declared, no run of its own yet".to_owned(),
        1 => format!("p95 {}, from 1 run", seconds(f.p95_seconds)),
        runs => format!("p95 {}, from {runs} runs", seconds(f.p95_seconds)),
    };
    let from = if f.runs == 0 { format!("p95 {}, {from}", seconds(f.p95_seconds)) } else { from };
    format!("{} ({from})", seconds(f.p50_seconds))
}

/// `None` where there is no trouble: waiting costs nothing.
fn wait(w: &WaitView) -> Option<String> {
    let used = seconds(w.used_seconds?);
    let rto = seconds(w.rto_objective_seconds);
    Some(match (w.left_seconds, w.start_by) {
        (None, _) => format!("the RTO of {rto} is SPENT: {used} already"),
        (Some(left), Some(by)) => {
            let by = time(by);
            format!("{used} of the RTO of {rto} already used, {} left; start by {by} to keep it", seconds(left))
        }
        (Some(left), None) => {
            let left = seconds(left);
            format!("{used} of the RTO of {rto} already used, {left} left: a failover is not expected to keep it")
        }
    })
}

fn rpo(r: &RpoView) -> String {
    let burn = r.burn_rate.map_or("burn rate unknown".to_owned(), |rate| format!("burn rate {rate:.1}"));
    format!(
        "{}: over {} for {} of the last {} ({} of that unknown), {burn}",
        r.store,
        seconds(r.objective_seconds),
        seconds(r.over_seconds),
        seconds(r.looked_seconds),
        seconds(r.unknown_seconds)
    )
}

fn mode(d: &DecisionView) -> String {
    let since = d.would_start_since.map_or(String::new(), |at| format!(", since {}", time(at)));
    match (d.mode, d.would_start) {
        (Mode::Recommend, _) => "recommend: a person decides".to_owned(),
        (Mode::Shadow, true) => format!("shadow: a failover WOULD HAVE BEEN STARTED{since}; nothing was"),
        (Mode::Shadow, false) => "shadow: what would be started is recorded, and not started".to_owned(),
        (Mode::Automatic, _) => "automatic: it starts where every rule holds".to_owned(),
    }
}

fn witnesses(d: &DecisionView) -> String {
    let widest = d.witnesses.iter().map(|w| w.vantage.chars().count()).max().unwrap_or(0).clamp(4, 24);
    let mut out = "\n  who sees it from where\n".to_owned();
    for w in &d.witnesses {
        let stand = match w.stand {
            Stand::Ill => "ill",
            Stand::Against => "against",
            Stand::Silent => "silent",
            Stand::Abstains => "abstains",
        };
        out.push_str(&wrapped(&format!("    {:<widest$}  {stand:<8}  ", render::plain(&w.vantage)), &w.says));
        for s in &w.signals {
            out.push_str(&wrapped(&format!("    {:<widest$}            ", ""), &signal(s)));
        }
    }
    out
}

fn is_met(r: &RuleView) -> bool {
    matches!(r.holds, Holds::Yes | Holds::Waived)
}

fn rule(r: &RuleView) -> String {
    let mark = match r.holds {
        Holds::Yes => "✓",
        Holds::No => "✗",
        Holds::Unknown => "?",
        Holds::Waived => "~",
    };
    let widest = Rule::ALL.iter().map(|r| r.as_str().len()).max().unwrap_or(0);
    let mut out = wrapped(&format!("    {mark} {:<widest$}  ", r.rule.as_str()), &r.says);
    if let Some(by) = r.satisfied_by.as_ref().filter(|_| !is_met(r)) {
        out.push_str(&wrapped(&format!("      {:<widest$}  needs ", ""), by));
    }
    out
}

#[cfg(test)]
mod tests;
