//! What rehearsals attained of the objectives, as a section of a page: docs/reference-systems.md is made of five.
//!
//! Invariant: a number that could not be had is a dash, never 0.

use std::fmt::Write as _;

use super::report::{ApplicationReport, Report, ScenarioReport, Spread};
use crate::cli::render::seconds;

/// One section per application.
pub(super) fn section(report: &Report) -> String {
    let mut out = String::new();
    for application in &report.applications {
        let _ = writeln!(out, "## {}\n", application.application);
        let (rto, rpo) = (seconds(application.rto_seconds), seconds(application.rpo_seconds));
        let from = report.config.as_ref().map(|path| format!("[{path}](../{path}), ")).unwrap_or_default();
        let _ = writeln!(out, "{from}RTO {rto}, RPO {rpo}.\n");
        out.push_str(&table(application));
        for line in application.scenarios.iter().filter_map(|s| missed(application, s)) {
            let _ = writeln!(out, "- {line}");
        }
        for remark in &application.remarks {
            let _ = writeln!(out, "- Simulated in part: {remark}.");
        }
        out.push('\n');
    }
    out
}

const HEAD: &str = "\
| scenario | runs | ended | violations | RTO met | out of service p50 · p95 · p99 · max | detection · decision · execution · propagation, p50 | RPO met | lost p50 · p95 · p99 · max |
|---|---|---|---|---|---|---|---|---|
";

fn table(application: &ApplicationReport) -> String {
    let mut out = HEAD.to_owned();
    for s in &application.scenarios {
        let endings: Vec<String> = s.endings.iter().map(|(ending, runs)| format!("{runs} {ending}")).collect();
        let spent: Vec<String> = PARTS.iter().filter_map(|part| s.served.spent_seconds.get(part)).map(half).collect();
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            s.scenario,
            s.runs,
            endings.join(", "),
            s.violations,
            part_of(s.served.within_rto, s.runs),
            spread(s.served.out_of_service_seconds.as_ref()),
            if spent.is_empty() { "–".to_owned() } else { spent.join(" · ") },
            part_of(s.runs - s.loss.runs_over_rpo, s.runs),
            spread(s.loss.seconds.as_ref()),
        );
    }
    out.push('\n');
    out
}

const PARTS: [&str; 4] = ["detection", "decision", "execution", "propagation"];

fn half(spread: &Spread) -> String {
    seconds(spread.p50)
}

fn spread(spread: Option<&Spread>) -> String {
    let all = spread.map(|s| [s.p50, s.p95, s.p99, s.max].map(seconds).join(" · "));
    all.unwrap_or_else(|| "–".to_owned())
}

/// Rounded down: 1,999 of 2,000 are not all.
#[expect(clippy::integer_division, reason = "rounded down on purpose")]
fn part_of(met: u64, runs: u64) -> String {
    match 1_000 * met / runs.max(1) {
        1_000 => "100 %".to_owned(),
        permille => format!("{}.{} % ({} not)", permille / 10, permille % 10, runs - met),
    }
}

/// Where an objective was missed: how often, and what spends it.
fn missed(application: &ApplicationReport, s: &ScenarioReport) -> Option<String> {
    let late = s.runs.checked_sub(s.served.within_rto).filter(|late| 0 < *late)?;
    let mut text = format!("`{}`: the RTO was not met in {late} of {} runs", s.scenario, s.runs);
    if 0 < s.served.not_at_end {
        let _ = write!(text, ", {} of them not served at the end", s.served.not_at_end);
    }
    let spent = PARTS.iter().filter_map(|part| Some((part, s.served.spent_seconds.get(part)?)));
    if let Some((part, most)) = spent.max_by(|a, b| a.1.p95.total_cmp(&b.1.p95)) {
        let rto = seconds(application.rto_seconds);
        let _ =
            write!(text, "; what spends most of the {rto} is {part}: p50 {}, p95 {}", half(most), seconds(most.p95));
    }
    Some(text + ".")
}

#[cfg(test)]
mod tests {
    use super::{super::report::tests::a_report, *};

    #[test]
    fn what_was_missed_is_said_with_what_spends_it() {
        let mut report = a_report();
        let spread = |p50| Spread { p50, p95: 2.0 * p50, p99: 2.0 * p50, max: 2.0 * p50 };
        let served = &mut report.applications[0].scenarios[0].served;
        served.spent_seconds = [("detection", spread(20.0)), ("execution", spread(75.0))].into();
        insta::assert_snapshot!(section(&report));
    }

    #[test]
    fn nearly_all_is_not_all() {
        assert_eq!(part_of(1_999, 2_000), "99.9 % (1 not)");
        assert_eq!((part_of(7, 7), part_of(0, 0)), ("100 %".to_owned(), "0.0 % (0 not)".to_owned()));
    }
}
