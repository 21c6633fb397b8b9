//! What many rehearsals of one scenario amount to.
//!
//! Invariant: the order in which rehearsals come makes no difference, since threads finish as they like. What could
//! grow with the number of seeds is bounded: of failing seeds the lowest are kept, all are counted.

use std::collections::{BTreeMap, BTreeSet};

use super::report::{Coverage, Failure, Held, Loss, ScenarioReport, Served, Spread, Unmet};
use crate::{
    domain::application::Application,
    sim::rehearse::{Ending, Rehearsed, Spent},
};

/// Failing seeds of a scenario that are told; one is enough to begin with.
const FAILING_SEEDS_MAX: usize = 50;

/// What came of one rehearsal.
#[derive(Debug)]
pub(super) enum Told {
    Rehearsed(Box<Rehearsed>),
    /// The program itself gave up, which it must not under any fault.
    Panicked {
        why: String,
    },
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    runs: u64,
    endings: BTreeMap<&'static str, u64>,
    /// Milliseconds without service of each run that was interrupted and served at its end.
    out_of_service_ms: Vec<u64>,
    /// The same, of each part that it was spent on.
    spent_ms: BTreeMap<&'static str, Vec<u64>>,
    /// Of every run.
    loss_ms: Vec<u64>,
    served: u64,
    not_served: u64,
    within_rto: u64,
    uninterrupted: u64,
    loss: Loss,
    /// By code and by whom it waits for.
    /// By step, code and whom.
    held: BTreeMap<(Option<String>, String, String), u64>,
    failing: BTreeMap<u64, Vec<Failure>>,
    failing_seeds: u64,
    violations: u64,
    /// By sentence without its figures: in how many runs, and what the lowest seed said.
    unmet: BTreeMap<String, (u64, u64, String)>,
    pub(super) world_ms: u64,
    pub(super) events: u64,
    coverage: Coverage,
}

/// The objectives that rehearsals are held against, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Promised {
    pub(super) rto_seconds: f64,
    pub(super) rpo_seconds: f64,
    /// Whether the scenario promises them: it expects service within the RTO. Its runner holds it against that; the
    /// RPO is held against here. Other scenarios end as they must, whatever it costs.
    pub(super) in_scenario: bool,
}

impl Promised {
    /// Those of `application`, in a scenario that promises none of them.
    pub(super) fn of(application: &Application) -> Self {
        let objectives = application.objectives;
        Self {
            rto_seconds: objectives.rto.as_secs_f64(),
            rpo_seconds: objectives.rpo.as_secs_f64(),
            in_scenario: false,
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rehearsal lasts hours; rounding is meant"
)]
fn ms(seconds: f64) -> u64 {
    (seconds.max(0.0) * 1_000.0).round() as u64
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53 milliseconds")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

/// How a rehearsal ended, in one word.
pub(super) fn word(ending: &Ending) -> &'static str {
    match ending {
        Ending::NoRun => "no run",
        Ending::Succeeded => "succeeded",
        Ending::Aborted => "aborted",
        Ending::Failed => "failed",
        Ending::Superseded => "superseded",
        Ending::Held { .. } => "held",
        Ending::Unfinished => "unfinished",
        Ending::Refused { .. } => "journal refused",
    }
}

impl Tally {
    /// Takes one rehearsal in.
    pub(super) fn add(&mut self, seed: u64, told: &Told, promised: Promised) {
        self.runs += 1;
        let run = match told {
            Told::Rehearsed(run) => run,
            Told::Panicked { why } => {
                let text = format!("the program gave up: {why}");
                *self.endings.entry("panicked").or_default() += 1;
                self.not_served += 1;
                self.fail(seed, vec![Failure { property: Some("panic".to_owned()), at: None, text }]);
                return;
            }
        };
        *self.endings.entry(word(&run.ending)).or_default() += 1;
        self.world_ms += ms(run.world_seconds);
        self.events += run.events;
        self.serve(run, promised);
        if let Ending::Held { step, code, waits_for, .. } = &run.ending {
            *self.held.entry((step.clone(), code.clone(), waits_for.clone())).or_default() += 1;
        }
        let violation = |v: &crate::sim::oracle::Violation| Failure {
            property: Some(v.property.to_owned()),
            at: Some(crate::sim::world::rfc3339(v.at)),
            text: v.text.clone(),
        };
        let lost_too_much = promised.in_scenario && promised.rpo_seconds < run.loss_seconds;
        let over_rpo = lost_too_much.then(|| {
            let (lost, rpo) = (run.loss_seconds, promised.rpo_seconds);
            format!(
                "at most {rpo} s of writes, the RPO, should be lost; {} writes over {lost:.1} s were",
                run.writes_lost
            )
        });
        let unmet: Vec<&String> = run.unmet.iter().chain(&over_rpo).collect();
        let failures = run.violations.iter().map(violation);
        let failures = failures.chain(unmet.iter().map(|t| Failure { property: None, at: None, text: (*t).clone() }));
        let failures = failures.collect();
        for text in unmet {
            let (runs, lowest, said) = self.unmet.entry(without_figures(text)).or_insert((0, seed, text.clone()));
            *runs += 1;
            if seed < *lowest {
                (*lowest, *said) = (seed, text.clone());
            }
        }
        self.fail(seed, failures);
        self.cover(run);
    }

    fn serve(&mut self, run: &Rehearsed, promised: Promised) {
        if run.served_at_end {
            self.served += 1;
            let out = run.out_of_service_seconds;
            self.within_rto += u64::from(out.is_none_or(|out| out <= promised.rto_seconds));
            self.out_of_service_ms.extend(out.map(ms));
            for (part, seconds) in run.spent.iter().flat_map(Spent::parts) {
                self.spent_ms.entry(part).or_default().push(ms(seconds));
            }
        } else {
            self.not_served += 1;
        }
        self.uninterrupted += u64::from(run.out_of_service_seconds.is_none());
        self.loss_ms.push(ms(run.loss_seconds));
        let loss = &mut self.loss;
        loss.max_seconds = loss.max_seconds.max(run.loss_seconds);
        loss.max_writes = loss.max_writes.max(run.writes_lost);
        loss.runs_with_loss += u64::from(0 < run.writes_lost);
        loss.runs_over_rpo += u64::from(promised.rpo_seconds < run.loss_seconds);
    }

    fn fail(&mut self, seed: u64, failures: Vec<Failure>) {
        if failures.is_empty() {
            return;
        }
        self.violations += failures.iter().filter(|f| f.property.is_some()).count() as u64;
        self.failing_seeds += 1;
        self.failing.insert(seed, failures);
        if FAILING_SEEDS_MAX < self.failing.len() {
            self.failing.pop_last();
        }
    }

    fn cover(&mut self, run: &Rehearsed) {
        add(&mut self.coverage.properties_checked, &run.checked);
        add(&mut self.coverage.branches_seen, &run.sometimes);
        for (number, times) in run.faults_met.iter().filter(|(_, times)| 0 < **times) {
            let fault = self.coverage.faults_met.entry(*number).or_default();
            fault.times += times;
            fault.runs += 1;
            fault.served_at_end += u64::from(run.served_at_end);
            fault.violations += run.violations.len() as u64;
            *fault.endings.entry(word(&run.ending)).or_default() += 1;
        }
    }

    /// Adds what was met, checked and seen to what other scenarios met, checked and saw.
    pub(super) fn covered(&self, all: &mut Coverage) {
        add(&mut all.properties_checked, &self.coverage.properties_checked);
        add(&mut all.branches_seen, &self.coverage.branches_seen);
        for (number, own) in &self.coverage.faults_met {
            let fault = all.faults_met.entry(*number).or_default();
            fault.times += own.times;
            fault.runs += own.runs;
            fault.served_at_end += own.served_at_end;
            fault.violations += own.violations;
            add(&mut fault.endings, &own.endings);
        }
    }

    pub(super) fn runs(&self) -> u64 {
        self.runs
    }

    pub(super) fn violations(&self) -> u64 {
        self.violations
    }

    pub(super) fn failing_seeds(&self) -> u64 {
        self.failing_seeds
    }

    /// The report; `replay` gives the command that shows a seed.
    pub(super) fn report(
        self,
        scenario: &str,
        description: &str,
        covers: &BTreeSet<u8>,
        (first_seed, seeds): (u64, u64),
        replay: impl Fn(u64) -> String,
    ) -> ScenarioReport {
        let spread = |mut ms: Vec<u64>| {
            ms.sort_unstable();
            spread(&ms)
        };
        let held = self.held.into_iter();
        let mut held: Vec<Held> =
            held.map(|((step, code, waits_for), runs)| Held { step, code, waits_for, runs }).collect();
        held.sort_by_key(|h| std::cmp::Reverse(h.runs));
        let unmet = self.unmet.into_values();
        let unmet = unmet.map(|(runs, seed, expectation)| Unmet { expectation, runs, seed, replay: replay(seed) });
        ScenarioReport {
            scenario: scenario.to_owned(),
            description: description.to_owned(),
            first_seed,
            seeds,
            runs: self.runs,
            cells: false,
            endings: self.endings,
            served: Served {
                at_end: self.served,
                not_at_end: self.not_served,
                within_rto: self.within_rto,
                uninterrupted: self.uninterrupted,
                out_of_service_seconds: spread(self.out_of_service_ms),
                spent_seconds: self.spent_ms.into_iter().filter_map(|(part, ms)| Some((part, spread(ms)?))).collect(),
            },
            loss: Loss { seconds: spread(self.loss_ms), ..self.loss },
            held,
            not_met: covers.iter().filter(|n| !self.coverage.faults_met.contains_key(n)).copied().collect(),
            unmet: unmet.collect(),
            violations: self.violations,
            failing_seeds: self.failing_seeds,
            failing: self
                .failing
                .into_iter()
                .map(|(seed, failures)| super::report::FailingSeed { seed, replay: replay(seed), failures })
                .collect(),
        }
    }
}

fn add(all: &mut BTreeMap<&'static str, u64>, own: &BTreeMap<&'static str, u64>) {
    for (what, times) in own {
        *all.entry(*what).or_default() += times;
    }
}

/// What is the same in every seed's sentence: "it took 312 s" and "it took 7 s" are one expectation.
fn without_figures(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '0'..='9' if out.ends_with('#') => {}
            '0'..='9' => out.push('#'),
            c => out.push(c),
        }
    }
    // A decimal is one figure.
    out.replace("#.#", "#")
}

/// By nearest rank; `None` of nothing.
fn spread(sorted: &[u64]) -> Option<Spread> {
    let rank = |percent: usize| {
        let at = (percent * sorted.len()).div_ceil(100).max(1) - 1;
        sorted.get(at).map(|ms| seconds(*ms))
    };
    Some(Spread { p50: rank(50)?, p95: rank(95)?, p99: rank(99)?, max: rank(100)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_that_differ_in_figures_are_one_expectation() {
        assert_eq!(without_figures("within 300 s; it took 1312.5 s"), without_figures("within 300 s; it took 7 s"));
        assert_ne!(without_figures("lost 3 writes"), without_figures("took 3 s"));
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[2_000]), Some(Spread { p50: 2.0, p95: 2.0, p99: 2.0, max: 2.0 }));
        let hundred: Vec<u64> = (1..=100).map(|s| s * 1_000).collect();
        assert_eq!(spread(&hundred), Some(Spread { p50: 50.0, p95: 95.0, p99: 99.0, max: 100.0 }));
    }
}
