//! A backtest in words, at 80 columns.

use std::path::Path;

use serde_json::json;

use super::read::{FAULTS_MAX, Faults};
use crate::{
    cli::render::{plain, seconds, time, wrapped},
    domain::{
        backtest::{Act, Backtest, Episode},
        rules::Rule,
        seconds::to_seconds,
    },
};

/// What is wrong with the metrics, for standard error.
pub(super) fn faults(file: &Path, faults: &Faults) -> String {
    let name = plain(&file.display().to_string());
    let mut out: String =
        faults.first.iter().map(|(line, problem)| format!("{name}:{line}: {}\n", plain(problem))).collect();
    match faults.count.saturating_sub(FAULTS_MAX as u64) {
        0 => {}
        more => out.push_str(&format!("and {more} more lines with a fault\n")),
    }
    out.push_str(
        "expected CSV with the first line at,application,signal,vantage,value, or JSON lines, for example:\n  \
         2026-08-24T10:00:00Z,payments,lag,,0.3\n(docs/backtest.md)\n",
    );
    out
}

/// The same as data.
pub(super) fn faults_json(faults: &Faults) -> serde_json::Value {
    let first = faults.first.iter().map(|(line, problem)| json!({ "line": line, "problem": problem }));
    json!({ "faults": first.collect::<Vec<_>>(), "fault_count": faults.count })
}

/// One application's.
pub(super) fn backtest(test: &Backtest) -> String {
    let armed = test.armed.as_ref().map_or("with nothing armed".to_owned(), |armed| {
        let loss = seconds(to_seconds(armed.largest_loss));
        format!("as if armed {} → {} for at most {loss} of lost writes", armed.from, armed.to)
    });
    let mut out = wrapped("", &format!("{}: {armed}", test.application));
    for episode in &test.episodes {
        out.push_str(&self::episode(episode));
    }
    let kept = test.episodes.len() as u64;
    if kept < test.recommendations {
        out.push_str(&format!("  and {} more, not shown here\n", test.recommendations - kept));
    }
    out.push_str(&summary(test));
    out
}

fn span(from: jiff::Timestamp, to: Option<jiff::Timestamp>) -> String {
    match to {
        Some(to) => {
            format!("{} to {}, {}", time(from), time(to), seconds(to.duration_since(from).as_secs_f64()))
        }
        None => format!("{}, and still at the last row", time(from)),
    }
}

fn episode(e: &Episode) -> String {
    let mut out = wrapped("  recommended ", &span(e.from, e.to));
    if let Some(target) = &e.target {
        out.push_str(&wrapped("    to        ", target.as_str()));
    }
    if let Some(since) = e.evidence_since {
        let later = seconds(e.from.duration_since(since).as_secs_f64());
        out.push_str(&wrapped("    seen      ", &format!("{}, believed {later} later", time(since))));
    }
    for reason in &e.reasons {
        out.push_str(&wrapped("    because   ", reason));
    }
    for act in &e.acts {
        out.push_str(&self::act(e, act));
    }
    if e.acts.is_empty() {
        let held: Vec<String> =
            e.unmet.iter().map(|u| format!("{} for {}", u.rule.as_str(), seconds(to_seconds(u.unmet)))).collect();
        let held = if held.is_empty() { "it was over at once".to_owned() } else { held.join(", ") };
        out.push_str(&wrapped("    not acted on: ", &held));
        for u in e.unmet.iter().take(3) {
            out.push_str(&wrapped(&format!("      {:<12}", u.rule.as_str()), &u.says));
        }
    }
    out
}

/// The rules whose words have numbers of their own.
const TELLING: [Rule; 4] = [Rule::Quorum, Rule::Dwell, Rule::Loss, Rule::Target];

fn act(e: &Episode, act: &Act) -> String {
    let after = seconds(act.from.duration_since(e.from).as_secs_f64());
    let held = if act.in_cool_down { "; the cool-down after the act before would have held it" } else { "" };
    let mut out =
        wrapped("    WOULD ACT ", &format!("{} ({after} after it was recommended{held})", span(act.from, act.to)));
    for finding in act.rules.iter().filter(|f| TELLING.contains(&f.rule)) {
        out.push_str(&wrapped(&format!("      {:<12}", finding.rule.as_str()), &finding.says));
    }
    out
}

fn summary(test: &Backtest) -> String {
    /// More gaps than these are counted only.
    const GAPS_SHOWN: usize = 3;
    const A_DAY: f64 = 86_400.0;
    let mut out = "  in all\n".to_owned();
    if let (Some(from), Some(to)) = (test.from, test.to) {
        let lasts = to.duration_since(from).as_secs_f64();
        let days = if lasts < A_DAY { seconds(lasts) } else { format!("{:.1} days", lasts / A_DAY) };
        let text = format!("{days}, {} to {}, {} rows", time(from), time(to), test.rows);
        out.push_str(&wrapped("    covered      ", &text));
    }
    let unknown = match test.gap_count {
        0 => "never".to_owned(),
        n => format!("{}, {} in all", times(n), seconds(to_seconds(test.unknown))),
    };
    out.push_str(&wrapped("    unknown      ", &unknown));
    for gap in test.gaps.iter().take(GAPS_SHOWN) {
        out.push_str(&wrapped("                 ", &format!("{}: {}", span(gap.from, gap.to), gap.why)));
    }
    let recommended = match test.recommendations {
        0 => "never".to_owned(),
        n => format!("{}, {} in all", times(n), seconds(to_seconds(test.recommended))),
    };
    out.push_str(&wrapped("    recommended  ", &recommended));
    out.push_str(&wrapped("    would act    ", &if test.acts == 0 { "never".to_owned() } else { times(test.acts) }));
    if test.disarms > 0 {
        let text = format!("{}, by a lag that was unknown while all else was well", times(test.disarms));
        out.push_str(&wrapped("    disarmed     ", &text));
    }
    if let Some(longest) = test.unmet.first() {
        let text = format!("{} ({})", longest.rule.as_str(), seconds(to_seconds(longest.unmet)));
        out.push_str(&wrapped("    held longest ", &text));
    }
    out
}

fn times(n: u64) -> String {
    match n {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        n => format!("{n} times"),
    }
}
