//! What an observer elsewhere reports, and how it is taken in.
//!
//! Invariants: no report counts twice, in whatever order reports arrive; a report tells how old each sample is, never
//! when it was taken, so that no clock but ours matters; what is not asked of an observer is not heard from it; what
//! a vantage that abstains sees ill has no vote, nor has it one later, when it votes again.

use std::{collections::VecDeque, time::Duration};

use jiff::Timestamp;

use super::{
    application::Application,
    id::{ApplicationName, SignalName, VantageName},
    signal::{Reading, Sample, Signal, SignalSource, SignalWindow, WitnessOf},
    vantage::{Observer, ProbeTarget},
};

/// The most samples of one report.
pub const SAMPLES_MAX: usize = 500;

/// The longest detail of a sample, and reason of an abstention.
pub const DETAIL_CHARS_MAX: usize = 200;

/// The longest id of an observer's process.
pub const PROCESS_CHARS_MAX: usize = 64;

/// How many processes of one vantage are remembered as superseded.
const SUPERSEDED_MAX: usize = 16;

/// What an observer reports at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The process that reports; every start of an observer draws another one.
    pub process: String,
    /// Grows with every report of the process.
    pub sequence: u64,
    /// Why it does not vote.
    pub abstains: Option<String>,
    pub samples: Vec<Observed>,
}

/// One sample of a report.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    pub application: ApplicationName,
    pub signal: SignalName,
    /// How old it is at most.
    pub age: Duration,
    /// Whether all is well; nothing else can be told by a probe.
    pub healthy: bool,
    pub detail: String,
}

/// A sample that is not taken, by its place in the report, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub index: usize,
    pub why: String,
}

/// Why a whole report is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutOfOrder {
    #[error("report {given} comes after report {newest} of the same process: it was taken before, or is overtaken")]
    Replayed { given: u64, newest: u64 },
    #[error("another process of this vantage reports since: `{0}` is superseded")]
    Superseded(String),
}

/// What an observer is to probe, and how often.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Assignment {
    pub application: ApplicationName,
    pub signal: SignalName,
    pub target: ProbeTarget,
    pub timeout: Duration,
    pub period: Duration,
}

/// What the observer at `vantage` is to probe for `application`; nothing where the policy does not name it.
pub fn assignments(application: &Application, vantage: &VantageName) -> Vec<Assignment> {
    if !application.policy.observers.contains(vantage) {
        return Vec::new();
    }
    let assignment = |signal: &Signal| {
        let (target, timeout) = probe(&signal.source)?;
        let (application, period) = (application.name.clone(), signal.period);
        Some(Assignment { application, signal: signal.name.clone(), target, timeout, period })
    };
    application.signals.iter().filter_map(assignment).collect()
}

fn probe(source: &SignalSource) -> Option<(ProbeTarget, Duration)> {
    match source {
        SignalSource::HttpProbe { url, timeout, .. } => Some((ProbeTarget::Http { url: url.clone() }, *timeout)),
        SignalSource::TcpProbe { address, timeout, .. } => {
            Some((ProbeTarget::Tcp { address: address.clone() }, *timeout))
        }
        _ => None,
    }
}

/// What was heard of one application from one vantage.
#[derive(Debug, Clone, Default)]
pub struct Hearing {
    observer: Observer,
    /// The process that reports, and its newest report.
    newest: Option<(String, u64)>,
    superseded: VecDeque<String>,
}

impl Hearing {
    pub fn observer(&self) -> &Observer {
        &self.observer
    }

    /// Takes in what `report` says of `application` at `now`; what it says of others is not looked at.
    ///
    /// # Errors
    /// Where the report is out of order: nothing of it is taken.
    pub fn hear(
        &mut self,
        application: &Application,
        report: &Report,
        now: Timestamp,
    ) -> Result<Vec<Refused>, OutOfOrder> {
        self.admit(&report.process, report.sequence)?;
        if report.abstains.is_none() && self.observer.abstains.is_some() {
            // What it saw ill when it began to be cut off may have been its own trouble: it must see it anew.
            self.observer.windows.retain(|_, window| window.unhealthy().is_none());
        }
        self.observer.abstains.clone_from(&report.abstains);
        let own = report.samples.iter().enumerate().filter(|(_, seen)| seen.application == application.name);
        let refused = own.filter_map(|(index, seen)| {
            let why = self.take(application, seen, now).err()?;
            Some(Refused { index, why })
        });
        Ok(refused.collect())
    }

    fn admit(&mut self, process: &str, sequence: u64) -> Result<(), OutOfOrder> {
        match &mut self.newest {
            Some((own, newest)) if own == process => {
                if sequence <= *newest {
                    return Err(OutOfOrder::Replayed { given: sequence, newest: *newest });
                }
                *newest = sequence;
            }
            _ if self.superseded.iter().any(|p| p == process) => {
                return Err(OutOfOrder::Superseded(process.to_owned()));
            }
            newest => {
                if let Some((before, _)) = newest.replace((process.to_owned(), sequence)) {
                    self.superseded.push_back(before);
                    if SUPERSEDED_MAX < self.superseded.len() {
                        self.superseded.pop_front();
                    }
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, application: &Application, seen: &Observed, now: Timestamp) -> Result<(), String> {
        let name = &seen.signal;
        let signal = application.signals.iter().find(|s| s.name == *name);
        let signal = signal.ok_or_else(|| format!("`{}` has no signal `{name}`", application.name))?;
        if signal.source.witness() != Some(WitnessOf::EveryVantage) {
            return Err(format!("`{name}` is no probe: observers report probes only"));
        }
        if signal.freshness < seen.age {
            let (age, freshness) = (seen.age.as_secs_f64(), signal.freshness.as_secs_f64());
            return Err(format!("the sample is up to {age:.1} s old, and `{name}` is fresh for {freshness} s"));
        }
        let measured_at = now.checked_sub(seen.age).map_err(|e| e.to_string())?;
        // That all is well is a word against acting, whoever says it.
        if self.observer.abstains.is_some() && !seen.healthy {
            return Ok(());
        }
        let detail: String = seen.detail.chars().filter(|c| !c.is_control()).take(DETAIL_CHARS_MAX).collect();
        let reading = if seen.healthy { Reading::Healthy { detail } } else { Reading::Unhealthy { detail } };
        let windows = &mut self.observer.windows;
        let window = windows.entry(name.clone()).or_insert_with(|| SignalWindow::new(signal.consecutive));
        window.push(Sample { measured_at, taken_at: now, reading });
        Ok(())
    }
}

#[cfg(test)]
mod tests;
