//! The daemon's side of observers elsewhere: what they are to probe, and taking in what they report.
//!
//! Invariant: only ages are believed, and they are made older by all the time that a report may have been under way:
//! the observer says which stamp of ours it had last and for how long it has had it, and the rest of the time since
//! that stamp was the network's. So no clock but ours matters, and a report that was held up, or kept and sent again,
//! is as old as it is.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::{
    domain::{
        application::Application,
        id::VantageName,
        report::{self, Assignment, Refused, Report},
    },
    engine::{
        control::Refusal,
        vantages::{NotHeard, Vantages},
    },
    ports::Clock,
};

/// An instant of this daemon's life; means nothing to anybody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// When this life began, in milliseconds of wall time: no other life has the same.
    life: i64,
    /// In boot time.
    boot_ms: u64,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.life, self.boot_ms)
    }
}

impl FromStr for Stamp {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let parts = text.split_once('.').and_then(|(life, boot)| Some((life.parse().ok()?, boot.parse().ok()?)));
        let (life, boot_ms) = parts.ok_or(Refusal::UnknownStamp)?;
        Ok(Self { life, boot_ms })
    }
}

/// What an observer is told to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Assigned {
    pub stamp: Stamp,
    pub assignments: Vec<Assignment>,
}

/// A report with what tells how long it was under way.
#[derive(Debug, Clone, PartialEq)]
pub struct Posted {
    pub stamp: String,
    /// For how long the observer had the stamp when it sent the report.
    pub stamp_age: Duration,
    pub report: Report,
}

/// What became of a report.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    /// For the next report.
    pub stamp: Stamp,
    /// In the order of the report.
    pub refused: Vec<Refused>,
}

/// See the module.
#[derive(Debug)]
pub struct Observations {
    applications: Vec<Arc<Application>>,
    vantages: Arc<Vantages>,
    clock: Arc<dyn Clock>,
    life: Timestamp,
}

impl Observations {
    /// Of a daemon whose life begins now.
    pub fn new(applications: Vec<Arc<Application>>, vantages: Arc<Vantages>, clock: Arc<dyn Clock>) -> Self {
        let life = clock.wall();
        Self { applications, vantages, clock, life }
    }

    fn stamp(&self) -> Stamp {
        let boot_ms = u64::try_from(self.clock.boot().as_millis()).unwrap_or(u64::MAX);
        Stamp { life: self.life.as_millisecond(), boot_ms }
    }

    /// What the observer at `vantage` is to probe.
    pub fn assigned(&self, vantage: &VantageName) -> Assigned {
        let all = self.applications.iter().flat_map(|application| report::assignments(application, vantage));
        Assigned { stamp: self.stamp(), assignments: all.collect() }
    }

    /// Takes a report in.
    ///
    /// # Errors
    /// Where its stamp is none of this life's, or it is out of order: nothing of it is taken.
    pub fn hear(&self, vantage: &VantageName, posted: Posted) -> Result<Receipt, Refusal> {
        let (now, stamp) = (self.stamp(), posted.stamp.parse::<Stamp>()?);
        if stamp.life != now.life || now.boot_ms < stamp.boot_ms {
            return Err(Refusal::UnknownStamp);
        }
        let since = Duration::from_millis(now.boot_ms - stamp.boot_ms);
        let under_way = since.saturating_sub(posted.stamp_age);
        let mut report = posted.report;
        for sample in &mut report.samples {
            sample.age = sample.age.saturating_add(under_way);
        }
        let mut refused = Vec::new();
        for (index, seen) in report.samples.iter().enumerate() {
            if !self.applications.iter().any(|a| a.name == seen.application) {
                refused.push(Refused { index, why: format!("there is no application `{}`", seen.application) });
            }
        }
        let wall = self.clock.wall();
        for application in &self.applications {
            match self.vantages.hear(application, vantage, &report, wall) {
                Ok(more) => refused.extend(more),
                Err(NotHeard::OutOfOrder(error)) => return Err(Refusal::ReportOutOfOrder(error)),
                Err(error @ NotHeard::NoObserver { .. }) => {
                    let own = report.samples.iter().enumerate().filter(|(_, s)| s.application == application.name);
                    refused.extend(own.map(|(index, _)| Refused { index, why: error.to_string() }));
                }
            }
        }
        refused.sort_by_key(|r| r.index);
        Ok(Receipt { stamp: now, refused })
    }
}
