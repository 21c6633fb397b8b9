//! A rehearsal as a file: what fails when, what people do, and what must be true at the end.
//!
//! Invariant: a scenario holds no randomness; the seed of a run is beside it. What a file says wrong is told with
//! file, line and column, every fault at once.

use std::{collections::BTreeSet, time::Duration};

use super::faults::Happening;
use crate::domain::{
    document::{At, Fault, Findings},
    id::{Region, RunbookName},
    yaml,
};

mod form;
mod keys;
mod read;
mod schema;
mod several;
mod shipped;
mod words;
mod write;

pub use schema::schema;

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    pub name: String,
    pub description: String,
    /// The incident of FAULTS.md section 3 that it reproduces, such as `R8`.
    pub reproduces: Option<String>,
    /// How long all has been well when the rehearsal starts.
    pub warm_up: Duration,
    /// The Region that is active at the start; `None` is the preferred one.
    pub active: Option<Region>,
    pub happenings: Vec<Happening>,
    /// A blackout of the application is on all the time.
    pub blackout: bool,
    /// How many replicas of the daemon share the journal; 1: it is alone.
    pub replicas: u32,
    /// How many observers elsewhere report.
    pub observers: u32,
    pub people: People,
    /// From here on every fault has healed (but lost Regions, where they say so): the liveness phase begins.
    pub heals_at: Option<Duration>,
    /// The rehearsal's end at the latest.
    pub lasts: Duration,
    pub expect: Vec<Expectation>,
}

/// A scenario as its file has it: checked, but for the Regions that `primary` and `standby` mean.
///
/// A type of its own, so that nothing is rehearsed before an application has said which Regions are its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub name: String,
    pub description: String,
    pub reproduces: Option<String>,
    /// Numbers of the faults of FAULTS.md section 1 that must be met in it.
    pub covers: BTreeSet<u8>,
    /// Whether it means nothing where nothing is promoted: to an application without an Aurora store.
    pub needs_promotion: bool,
    /// The drills that people ask for in it: to an application that does not name them it means nothing.
    pub drills: BTreeSet<RunbookName>,
    /// Whether it asks for some drill at all.
    pub needs_drill: bool,
    /// The runbook that it is about, where it means nothing to an application that does not use it.
    pub needs_runbook: Option<String>,
    file: String,
    text: String,
}

impl Scenario {
    /// Reads a scenario from `text`; `file` is only named in faults.
    ///
    /// # Errors
    /// Every fault that was found, in the order of the file.
    ///
    /// # Panics
    /// Never: what is taken from the form is what the form demands.
    pub fn parse(file: &str, text: &str) -> Result<Written, Vec<Fault>> {
        let table = table(file, text, None)?;
        let covers = table.counts("covers").filter_map(|n| u8::try_from(n).ok()).collect();
        Ok(Written {
            name: table.text("scenario").expect("the form demands it").to_owned(),
            description: table.text("description").expect("the form demands it").to_owned(),
            reproduces: table.text("reproduces").map(str::to_owned),
            covers,
            needs_promotion: table.has("needs_promotion"),
            drills: read::drills(&table),
            needs_drill: read::asks_for_a_drill(&table),
            needs_runbook: table.text("needs_runbook").map(str::to_owned),
            file: file.to_owned(),
            text: text.to_owned(),
        })
    }

    /// The scenarios that ship in the program: file name and text.
    pub fn embedded() -> Vec<(&'static str, &'static str)> {
        shipped::SHIPPED.to_vec()
    }

    /// The text of a file that reads back as this scenario.
    pub fn to_yaml(&self) -> String {
        write::scenario(self)
    }
}

impl Written {
    /// The scenario for an application of these Regions: `primary` is the first of them, `standby` the second.
    ///
    /// # Errors
    /// Every Region that the application does not have, with its place in the file.
    ///
    /// # Panics
    /// Never: a test reads every form that there is.
    pub fn resolve(&self, regions: &[Region]) -> Result<Scenario, Vec<Fault>> {
        let table = table(&self.file, &self.text, Some(regions))?;
        Ok(read::scenario(&table).expect("what the forms let pass can be read"))
    }

    /// The file's name, and its text.
    pub fn source(&self) -> (&str, &str) {
        (&self.file, &self.text)
    }
}

fn table(file: &str, text: &str, regions: Option<&[Region]>) -> Result<form::Table, Vec<Fault>> {
    let mut found = Findings::new(file, "scenario-invalid");
    let table = yaml::parse(text, &mut found).and_then(|node| {
        let root = At::root(&node, &mut found);
        read::document(&root, &mut form::Reading { found: &mut found, regions })
    });
    match table {
        Some(table) if !found.has_errors() => Ok(table),
        _ => Err(found.into_faults()),
    }
}

/// What people do.
#[derive(Debug, Clone, PartialEq)]
pub struct People {
    /// Two people arm the failover from the active Region to the other one before the rehearsal begins, for so large a
    /// loss at most.
    pub arm: Option<Duration>,
    pub ask: Option<Ask>,
    pub approver: Approver,
    /// Whether the operator resumes a held run when the faults have healed, and how long after.
    pub resumes_after: Option<Duration>,
    /// Pause, abort and the like at given moments.
    pub acts: Vec<(Duration, PersonAct)>,
}

impl People {
    /// Nobody asks for anything, and nobody approves.
    pub fn nobody() -> Self {
        Self { arm: None, ask: None, approver: Approver::Silent, resumes_after: None, acts: Vec::new() }
    }
}

/// The request for a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    pub wish: Wish,
    pub when: When,
    pub target: Option<Region>,
    /// What the operator accepts to lose.
    pub accept_data_loss: Option<Duration>,
    /// Another runbook than the application's own.
    pub runbook: Option<RunbookName>,
    /// The whole request again every so often until a run is there (with the same idempotency key).
    pub repeats: bool,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    Auto,
    Failover,
    Switchover,
    Failback,
    Salvage,
    /// By this runbook; `None`: the first of the application's drills.
    Drill {
        runbook: Option<RunbookName>,
    },
}

/// When it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    At(Duration),
    /// As soon as the daemon recommends it, and so long after.
    Recommended {
        after: Duration,
    },
}

/// Who is asked to approve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approver {
    Approves {
        after: Duration,
    },
    Declines {
        after: Duration,
    },
    Silent,
    /// The requester tries to approve their own, which must be refused, and then somebody else does.
    TriesOwnFirst {
        after: Duration,
    },
}

/// One act of a person on the active run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PersonAct {
    Pause,
    Resume,
    Abort,
    /// Another request for the same application.
    AskAgain {
        wish: Wish,
        target: Option<Region>,
        accept_data_loss: Option<Duration>,
        /// Again every so often until it is granted.
        repeats: bool,
    },
}

/// What must be true at the end.
#[derive(Debug, Clone, PartialEq)]
pub enum Expectation {
    /// Clients outside are served again within the RTO of the application (or of `within`, since the first failure).
    Served {
        within: Option<Duration>,
    },
    WriterIn(Region),
    TrafficIn(Region),
    LossAtMost(Duration),
    NoRun,
    Run(RunEnd),
    /// The daemon recommended a failover at some time, or never.
    Recommended(bool),
    /// What was armed still is at the end, or is no more.
    Armed(bool),
    /// Traffic's controls and records, and the writers, are as they were when the rehearsal began.
    AsBefore,
    /// The rescue snapshot of the old writer was copied. The rehearsal goes on until all work that is left open is over.
    RescueKept,
}

/// How the run stands at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEnd {
    Succeeded,
    Aborted,
    Failed,
    /// Held with this code (a page of docs/errors), where one is given.
    Held {
        code: Option<String>,
    },
}

#[cfg(test)]
mod tests;
