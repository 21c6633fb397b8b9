//! What must never happen (FAULTS.md section 2), judged from the world's side only.
//!
//! Invariant: nothing here is shared with the engine: journals are read as JSON text, hashes are taken with the hash
//! crate itself, and what is true is what the world says. A property that was never checked has count 0 and shows it.

mod alone;
mod armings;
mod calls;
mod clients;
mod deferred;
mod drills;
mod intent;
mod journal;
mod leading;
mod liveness;
mod loss;
mod planned;
mod ramp;
mod runs;
mod salvage;
mod standby_object;
#[cfg(test)]
mod tests;
mod traffic;
mod truth;
mod way_back;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    domain::id::Region,
    sim::world::{SimTime, World},
};

/// What the oracle knows of the application, put together by the stage and not by the engine.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    pub application: String,
    pub regions: Vec<Region>,
    pub rpo_ms: u64,
    pub rto_ms: u64,
    /// Identifiers of global clusters.
    pub global_clusters: Vec<String>,
    /// The name that clients resolve, and the address that each Region answers at.
    pub record_name: Option<String>,
    pub addresses: BTreeMap<Region, std::net::Ipv4Addr>,
    /// Routing controls by Region.
    pub controls: BTreeMap<Region, String>,
    /// The servers of every Region write to the present writer: then traffic may be shared between Regions.
    pub is_written_from_all_regions: bool,
}

/// One mutation as it left the process, whether or not it arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub at: SimTime,
    /// As the engine names it, such as `rds:FailoverGlobalCluster`.
    pub operation: String,
    /// The whole call as JSON.
    pub arguments: Value,
    /// How many records of the journal were durable when it left: what is before a call is not read off clocks.
    pub durable: usize,
    /// Whether the world was changed by it, where that is known yet.
    pub arrived: Option<bool>,
}

/// A record of the journal as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub bytes: Vec<u8>,
    pub hash: String,
    /// When it became durable, in the world's time (the record's own `at` is the daemon's clock, which may be wrong).
    pub at: SimTime,
}

/// Everything that is looked at.
pub struct Seen<'a> {
    pub world: &'a World,
    pub journal: &'a [Stored],
    pub calls: &'a [Call],
    /// Sequence numbers of the records that a fault has damaged on the disk (FAULTS.md 14).
    pub damaged: &'a [u64],
}

/// A property that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// `S5`, `L3`, `history`, `standing`, or `expect`.
    pub property: &'static str,
    pub at: SimTime,
    /// A sentence for people: what happened, and why that must not be.
    pub text: String,
}

/// Every property of FAULTS.md section 2, `history` being its model oracle; and `standing`: what stands is put again
/// (DESIGN.md 5).
pub const PROPERTIES: [&str; 29] = [
    "S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9", "S10", "S11", "S12", "S13", "S14", "S15", "S16", "S17",
    "S18", "S19", "S20", "history", "L1", "L2", "L3", "L4", "L5", "L6", "L7", "standing",
];

/// How far behind the world a careful observer may be when its call leaves, in milliseconds: two readings in a row of
/// up to 5 s each with 2 s between them, a last reading of the lag of up to 5 s, and an append.
const SIGHT_MS: u64 = 20_000;

/// Violations that are kept; the first says most.
const VIOLATIONS_MAX: usize = 100;

/// What was found so far.
#[derive(Debug)]
struct Findings {
    violations: Vec<Violation>,
    checked: BTreeMap<&'static str, u64>,
    /// What the texts count from: the first look.
    start: Option<SimTime>,
}

impl Findings {
    fn new() -> Self {
        Self { violations: Vec::new(), checked: PROPERTIES.map(|p| (p, 0)).into(), start: None }
    }

    /// A property's premise held and it was looked at.
    fn checked(&mut self, property: &'static str) {
        self.checked_times(property, 1);
    }

    fn checked_times(&mut self, property: &'static str, times: u64) {
        *self.checked.entry(property).or_default() += times;
    }

    fn violated(&mut self, property: &'static str, at: SimTime, text: String) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(Violation { property, at, text });
        }
    }

    /// `at` for people: hours, minutes and seconds since the first look.
    fn clock(&self, at: SimTime) -> String {
        let seconds = at.since_ms(self.start.unwrap_or(at)) / 1_000;
        format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Oracle {
    known: Known,
    findings: Findings,
    truth: truth::Truth,
    journal: journal::Journal,
    runs: runs::Runs,
    calls: calls::Calls,
    clients: clients::Account,
    leading: leading::Leading,
}

impl Oracle {
    pub fn new(known: Known) -> Self {
        Self {
            known,
            findings: Findings::new(),
            truth: truth::Truth::default(),
            journal: journal::Journal::default(),
            runs: runs::Runs::default(),
            calls: calls::Calls::default(),
            clients: clients::Account::default(),
            leading: leading::Leading::default(),
        }
    }

    /// After every event. What was seen before is not gone through again.
    pub fn look(&mut self, seen: &Seen<'_>) {
        if self.findings.start.is_none() {
            self.findings.start = Some(seen.world.now);
            // What was done before the rehearsal is nobody's doing.
            self.calls.begin(seen.world);
        }
        // Clients write all the time, and mostly nothing else is new.
        if self.is_news(seen) {
            self.look_at_news(seen);
        }
        if self.clients.is_news(seen.world) {
            let mut bench = Bench { known: &self.known, truth: &self.truth, findings: &mut self.findings, seen };
            self.clients.look(&mut bench);
        }
    }

    fn look_at_news(&mut self, seen: &Seen<'_>) {
        self.truth.look(seen.world, &self.known);
        let records = self.journal.look(seen, &mut self.findings, &self.known);
        for record in &records {
            for news in self.runs.take(record, &mut self.findings) {
                let mut bench = Bench { known: &self.known, truth: &self.truth, findings: &mut self.findings, seen };
                match news {
                    runs::News::Intended(index) => calls::intended(&mut bench, &self.runs, index),
                    runs::News::Observed { run, step, call } => {
                        ramp::observed(&mut bench, &self.runs, (&run, &step, call), record);
                    }
                    runs::News::StartedAlone(id) => alone::started(&mut bench, &self.runs, &id),
                    runs::News::Planned(id) => salvage::planned(&mut bench, &self.runs, &id),
                    runs::News::Succeeded(id) => drills::succeeded(&mut bench, &self.runs, &id, record),
                    runs::News::Done { run, step } => self.calls.done(&mut bench, &self.runs, &run, &step, record),
                    runs::News::Undone { run, step } => self.calls.undone(&mut bench, &self.runs, &run, &step, record),
                }
            }
        }
        let mut bench = Bench { known: &self.known, truth: &self.truth, findings: &mut self.findings, seen };
        self.calls.look(&mut bench, &mut self.runs, &self.journal);
    }

    fn is_news(&self, seen: &Seen<'_>) -> bool {
        self.truth.is_news(seen.world)
            || self.journal.is_news(seen)
            || self.calls.is_news(seen)
            || self.calls.watches(&self.runs)
    }

    /// At the end of the rehearsal; `healed` where the liveness phase was long enough to ask for an end.
    pub fn finish(&mut self, seen: &Seen<'_>, healed: bool) {
        self.look(seen);
        self.journal.finish(seen, &mut self.findings);
        let mut bench = Bench { known: &self.known, truth: &self.truth, findings: &mut self.findings, seen };
        self.clients.finish(&mut bench, &self.runs);
        liveness::finish(&mut bench, &self.runs, healed);
    }

    /// Once a second, of several replicas, while nothing is wrong any more: whether somebody leads, who should again
    /// within so long.
    pub fn leads(&mut self, at: SimTime, somebody: bool, within_ms: u64) {
        self.leading.look(&mut self.findings, at, somebody, within_ms);
    }

    pub fn violations(&self) -> &[Violation] {
        &self.findings.violations
    }

    /// How often each property was checked in earnest (its premise held).
    pub fn checked(&self) -> &BTreeMap<&'static str, u64> {
        &self.findings.checked
    }
}

/// What every check works with.
struct Bench<'a> {
    known: &'a Known,
    truth: &'a truth::Truth,
    findings: &'a mut Findings,
    seen: &'a Seen<'a>,
}

/// The Region in an ARN.
fn region_of(arn: &str) -> &str {
    arn.split(':').nth(3).unwrap_or_default()
}

/// The text at `key`; empty where there is none.
fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}
