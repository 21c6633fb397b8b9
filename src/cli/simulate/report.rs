//! The report of `failoverd simulate`: as values (which are the schema of the JSON), and as text of 80 columns.
//!
//! Invariant: a number that could not be had is null or left out, never 0.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

use crate::cli::render::{cut, seconds, wrapped};

/// Grows when a field changes its meaning or goes; new fields do not count.
pub const SCHEMA_VERSION: u32 = 1;

/// Everything that was rehearsed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub schema_version: u32,
    /// No violation, no unmet expectation: what the exit code says.
    pub passed: bool,
    /// The configuration's file; null for the application that ships.
    pub config: Option<String>,
    pub applications: Vec<ApplicationReport>,
    pub coverage: Coverage,
    pub totals: Totals,
}

/// The rehearsals of one application.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ApplicationReport {
    pub application: String,
    pub rto_seconds: f64,
    pub rpo_seconds: f64,
    /// What of it is simulated in part only.
    pub remarks: Vec<String>,
    pub scenarios: Vec<ScenarioReport>,
}

/// The rehearsals of one scenario.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScenarioReport {
    pub scenario: String,
    pub description: String,
    pub first_seed: u64,
    /// Seeds from `first_seed` on, one run each.
    pub seeds: u64,
    pub runs: u64,
    /// Whether these are the cells of a matrix, and every number of a seed here is one of a cell.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cells: bool,
    /// How the runs of runbooks ended: in how many rehearsals.
    pub endings: BTreeMap<&'static str, u64>,
    pub served: Served,
    pub loss: Loss,
    /// Most frequent first.
    pub held: Vec<Held>,
    /// Numbers of the faults that the scenario is about and that none of these runs met. For those who work on the
    /// scenarios: the text does not show it.
    pub not_met: Vec<u8>,
    /// Expectations of the scenario (objectives among them) that were not met; those that differ in figures are one.
    pub unmet: Vec<Unmet>,
    /// Properties that did not hold, over all seeds.
    pub violations: u64,
    pub failing_seeds: u64,
    /// The lowest failing seeds, each with all that was wrong.
    pub failing: Vec<FailingSeed>,
}

impl ScenarioReport {
    /// What is counted: `seed` or `cell`.
    pub fn numbered(&self) -> &'static str {
        if self.cells { "cell" } else { "seed" }
    }
}

/// Whether clients outside were served again.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Served {
    /// In how many rehearsals all clients were served at the end.
    pub at_end: u64,
    pub not_at_end: u64,
    /// Of those served at the end: out of service for no longer than the RTO, or never.
    pub within_rto: u64,
    /// In how many no request failed at all.
    pub uninterrupted: u64,
    /// From the first failed request to the last, over those that failed and were served again; null where there are
    /// none.
    pub out_of_service_seconds: Option<Spread>,
    /// What it was spent on, part by part, over the runs that were started after the first failure.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub spent_seconds: BTreeMap<&'static str, Spread>,
}

/// Percentiles by nearest rank.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

/// Acknowledged writes that the writer at the end does not have.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Loss {
    /// Over all runs, those that lost nothing among them; null where there are none.
    pub seconds: Option<Spread>,
    pub max_seconds: f64,
    pub max_writes: u64,
    pub runs_with_loss: u64,
    pub runs_over_rpo: u64,
}

/// Runs that were held at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Where; absent where a person paused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Has a page in docs/errors.
    pub code: String,
    pub waits_for: String,
    pub runs: u64,
}

/// An expectation that was not met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unmet {
    /// As the lowest seed has it.
    pub expectation: String,
    pub runs: u64,
    /// The lowest seed that shows it.
    pub seed: u64,
    pub replay: String,
}

/// A seed of which something was wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailingSeed {
    pub seed: u64,
    /// The command that shows it.
    pub replay: String,
    pub failures: Vec<Failure>,
}

/// One thing that was wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The property that did not hold, such as `S5`; null for an unmet expectation.
    pub property: Option<String>,
    /// In the world's time, where it has an instant.
    pub at: Option<String>,
    pub text: String,
}

/// The rehearsals in which a fault was met.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Fault {
    /// How often it was met by a call, an append, a metric.
    pub times: u64,
    pub runs: u64,
    pub served_at_end: u64,
    pub violations: u64,
    pub endings: BTreeMap<&'static str, u64>,
}

/// What rehearsals have met, checked and seen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Coverage {
    /// By number.
    pub faults_met: BTreeMap<u8, Fault>,
    /// How often each property was checked in earnest.
    pub properties_checked: BTreeMap<&'static str, u64>,
    /// Branches of the step protocol, and outcomes.
    pub branches_seen: BTreeMap<&'static str, u64>,
}

/// Over everything.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Totals {
    pub rehearsals: u64,
    pub violations: u64,
    pub failing_seeds: u64,
    pub events: u64,
    /// Time that passed in the worlds.
    pub simulated_seconds: f64,
    /// Time that passed here.
    pub elapsed_seconds: f64,
    pub simulated_seconds_per_second: f64,
    pub disasters_per_minute: f64,
    pub jobs: usize,
}

/// Failing seeds that the text shows per scenario; JSON has more.
const SHOWN_SEEDS_MAX: usize = 5;
/// Reasons for holding that the text shows per scenario.
const SHOWN_HELD_MAX: usize = 4;

/// The whole report as text.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    let several = 1 < report.applications.len();
    for application in &report.applications {
        if several {
            let _ = writeln!(out, "{}", cut(&format!("== {}", application.application)));
        }
        for remark in &application.remarks {
            out.push_str(&wrapped("note: ", remark));
        }
        for scenario in &application.scenarios {
            out.push_str(&scenario_text(application, scenario));
            out.push('\n');
        }
    }
    out.push_str(&totals_text(report));
    out
}

fn scenario_text(application: &ApplicationReport, scenario: &ScenarioReport) -> String {
    let runs = counted(scenario.runs, if scenario.cells { "cell" } else { "run" });
    let room = crate::cli::render::WIDTH.saturating_sub(runs.chars().count() + 1);
    let mut out = cut(&format!("{:<room$} {runs}", scenario.scenario));
    out.push('\n');
    let endings: Vec<String> = scenario.endings.iter().map(|(ending, runs)| format!("{runs} {ending}")).collect();
    out.push_str(&wrapped("  ended         ", &endings.join(", ")));
    out.push_str(&wrapped("  served at end ", &served(&scenario.served, scenario.runs, application.rto_seconds)));
    out.push_str(&wrapped("  data lost     ", &lost(&scenario.loss, application.rpo_seconds)));
    if !scenario.held.is_empty() {
        out.push_str(&wrapped("  held          ", &held(&scenario.held)));
    }
    for unmet in &scenario.unmet {
        let what = format!("{}: in {}", unmet.expectation, counted(unmet.runs, "run"));
        out.push_str(&wrapped("  NOT AS EXPECTED  ", &what));
        out.push_str(&command(&unmet.replay));
    }
    out.push_str(&violations(scenario));
    out
}

/// A command stands on one line, however long: it is there to be copied.
fn command(line: &str) -> String {
    format!("    {}\n", crate::cli::render::plain(line))
}

fn served(served: &Served, runs: u64, rto_seconds: f64) -> String {
    let mut text =
        format!("{} of {runs}, {} within the RTO of {}", served.at_end, served.within_rto, seconds(rto_seconds));
    if 0 < served.uninterrupted {
        let _ = write!(text, ", {} never interrupted", served.uninterrupted);
    }
    if let Some(spread) = &served.out_of_service_seconds {
        let _ = write!(
            text,
            "; out of service p50 {}, p95 {}, max {}",
            seconds(spread.p50),
            seconds(spread.p95),
            seconds(spread.max)
        );
    }
    text
}

fn lost(loss: &Loss, rpo_seconds: f64) -> String {
    if loss.runs_with_loss == 0 {
        return "none".to_owned();
    }
    format!(
        "max {} ({}), {} over the RPO of {}",
        seconds(loss.max_seconds),
        counted(loss.max_writes, "write"),
        counted(loss.runs_over_rpo, "run"),
        seconds(rpo_seconds)
    )
}

fn held(held: &[Held]) -> String {
    let shown = held.iter().take(SHOWN_HELD_MAX);
    let at = |h: &Held| h.step.as_ref().map_or(String::new(), |step| format!(" at {step}"));
    let mut parts: Vec<String> =
        shown.map(|h| format!("{}{} on {}, waiting for {}", h.runs, at(h), h.code, h.waits_for)).collect();
    if SHOWN_HELD_MAX < held.len() {
        parts.push(format!("{} for other reasons", held[SHOWN_HELD_MAX..].iter().map(|h| h.runs).sum::<u64>()));
    }
    parts.join("; ")
}

fn violations(scenario: &ScenarioReport) -> String {
    let (mut out, mut shown) = (String::new(), 0);
    let violating = scenario.failing.iter().filter(|s| s.failures.iter().any(|f| f.property.is_some()));
    for failing in violating.take(SHOWN_SEEDS_MAX) {
        for failure in &failing.failures {
            if let Some(property) = &failure.property {
                shown += 1;
                out.push_str(&wrapped(
                    &format!("  VIOLATED {property}, {} {}: ", scenario.numbered(), failing.seed),
                    &failure.text,
                ));
            }
        }
        out.push_str(&command(&failing.replay));
    }
    if shown < scenario.violations {
        let all = counted(scenario.violations, "violation");
        let _ = writeln!(out, "  {all} in all; the lowest {}s are shown", scenario.numbered());
    }
    out
}

fn totals_text(report: &Report) -> String {
    let totals = &report.totals;
    let cells = report.applications.iter().flat_map(|a| &a.scenarios).any(|s| s.cells);
    let verdict = if report.passed { "passed" } else { "FAILED" };
    let line = format!(
        "{}, {} simulated in {}: {} simulated seconds per second, {} disasters per minute; {}, {}",
        counted(totals.rehearsals, "disaster"),
        long(totals.simulated_seconds),
        seconds(totals.elapsed_seconds),
        grouped(totals.simulated_seconds_per_second),
        grouped(totals.disasters_per_minute),
        counted(totals.violations, "violation"),
        counted(totals.failing_seeds, if cells { "failing cell" } else { "failing seed" }),
    );
    wrapped(&format!("{verdict}: "), &line)
}

/// `1 run`, `2,000 runs`.
fn counted(n: u64, what: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{} {what}{s}", grouped_digits(n))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate, rounded to be read")]
fn grouped(n: f64) -> String {
    grouped_digits(n.max(0.0).round() as u64)
}

fn grouped_digits(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if 0 < index && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Days and years where hours would be many.
fn long(s: f64) -> String {
    const DAY: f64 = 86_400.0;
    match s {
        s if s < 2.0 * DAY => seconds(s),
        s if s < 730.0 * DAY => format!("{:.1} days", s / DAY),
        s => format!("{:.1} years", s / (365.25 * DAY)),
    }
}

#[cfg(test)]
pub(super) mod tests;
