//! A runbook: what to do, readable aloud, for any application that fits it. Read by [`Runbook::parse`], which reports
//! every fault at once; [`super::compile`] makes a plan of it.
//!
//! Invariant: a [`Runbook`] that exists has unique step ids, needs that resolve, no cycle, a bound on every wait and
//! expressions that parse. It names no application; whether it fits one is for `compile` to say.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    document::{At, Fault, Findings},
    id::{RunbookName, SignalName, StepId, StoreName, TrafficName},
    plan::{OnFailure, Purpose, Retry},
    yaml,
};

mod actions;
pub(crate) use actions::is_web_address;
mod lint;
mod read;

/// The longest that any step may take.
pub const STEP_TIMEOUT_MAX: Duration = Duration::from_hours(24);
/// The most steps of a runbook.
pub const STEPS_MAX: usize = 100;

/// A runbook as its file describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Runbook {
    pub name: RunbookName,
    /// What it may be used for; one purpose, or several where no step loses data.
    pub purposes: BTreeSet<Purpose>,
    pub description: String,
    /// In the order of the file.
    pub steps: Vec<Step>,
}

/// A step as it is written: for every store (or traffic entry) where it names none.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub id: StepId,
    pub title: String,
    pub needs: BTreeSet<StepId>,
    pub when: Option<String>,
    pub act: Act,
    pub timeout: Duration,
    pub retry: Retry,
    pub on_failure: OnFailure,
}

/// What a step does, before names are resolved. `None` for a store or a traffic entry means: every one.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    AuroraSwitchover {
        store: Option<StoreName>,
    },
    AuroraFailover {
        store: Option<StoreName>,
    },
    AuroraWait {
        store: Option<StoreName>,
        synchronized: bool,
    },
    AuroraVerifyWriter {
        store: Option<StoreName>,
    },
    /// `lossless: None`: whether the purpose is.
    GateTarget {
        store: Option<StoreName>,
        lossless: Option<bool>,
    },
    /// `limit: None`: the application's RPO.
    GateRpo {
        store: Option<StoreName>,
        limit: Option<Duration>,
    },
    /// `demands`: the mechanism that the step's name insists on.
    DnsFlip {
        via: Option<TrafficName>,
        demands: Option<MechanismKind>,
    },
    /// `ramp`: percent to the target, rising, the last 100. `signals: None`: those that tell of the target.
    DnsWeights {
        via: Option<TrafficName>,
        ramp: Vec<u8>,
        hold_for: Duration,
        signals: Option<Vec<SignalName>>,
        unknown_for: Duration,
        step_back: bool,
    },
    DnsVerify {
        via: Option<TrafficName>,
    },
    ProbeHttp {
        at: ProbeAt,
        expect_status: u16,
        consecutive: u32,
        interval: Duration,
        probe_timeout: Duration,
        after_ttl: bool,
    },
    Notify {
        subject: Option<String>,
        message: String,
    },
    Approve {
        count: u32,
        expires_after: Duration,
        reason: String,
    },
    Wait {
        duration: Duration,
    },
    Assert {
        that: String,
        message: String,
    },
}

/// Where a probe looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeAt {
    Url(String),
    /// The endpoint of the target Region, or of the source's.
    Target,
    Source,
    /// The public name.
    Public,
}

/// The kinds of [`super::application::Mechanism`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MechanismKind {
    RoutingControls,
    HealthSignal,
    Records,
}

/// What a step is repeated for when it names no one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// Once.
    No,
    /// Once per store: `promote` becomes `promote.orders`, `promote.ledger`.
    Stores,
    /// Once per traffic entry.
    Traffic,
}

impl Runbook {
    /// Reads a runbook from `text`; `file` is only named in faults. Warnings come with the runbook.
    ///
    /// # Errors
    /// Every fault that was found, in the order of the file (warnings among them).
    pub fn parse(file: &str, text: &str) -> Result<(Self, Vec<Fault>), Vec<Fault>> {
        let mut found = Findings::new(file, "runbook-invalid");
        let runbook = yaml::parse(text, &mut found).and_then(|node| {
            let root = At::root(&node, &mut found);
            let (runbook, keys) = read::runbook(&root, &mut found)?;
            lint::check(&runbook, &keys, &mut found);
            Some(runbook)
        });
        let failed = found.has_errors();
        match runbook {
            Some(runbook) if !failed => Ok((runbook, found.into_faults())),
            _ => Err(found.into_faults()),
        }
    }

    pub fn step(&self, id: &StepId) -> Option<&Step> {
        self.steps.iter().find(|s| s.id == *id)
    }

    /// Everything that `id` needs, directly or not.
    pub fn all_needs(&self, id: &StepId) -> BTreeSet<StepId> {
        let direct: BTreeMap<_, _> = self.steps.iter().map(|s| (&s.id, &s.needs)).collect();
        closure(id, |id| direct.get(id).copied())
    }
}

/// Everything reachable from `id` over `needs`; ends on cycles too (which then hold `id` itself).
pub(super) fn closure<'a>(id: &'a StepId, needs: impl Fn(&StepId) -> Option<&'a BTreeSet<StepId>>) -> BTreeSet<StepId> {
    let mut seen = BTreeSet::new();
    let mut open = vec![id];
    while let Some(id) = open.pop() {
        for need in needs(id).into_iter().flatten() {
            if seen.insert(need.clone()) {
                open.push(need);
            }
        }
    }
    seen
}

impl Act {
    /// What the step is repeated for.
    pub fn spread(&self) -> Spread {
        match self {
            Self::AuroraSwitchover { store: None }
            | Self::AuroraFailover { store: None }
            | Self::AuroraWait { store: None, .. }
            | Self::AuroraVerifyWriter { store: None }
            | Self::GateTarget { store: None, .. }
            | Self::GateRpo { store: None, .. } => Spread::Stores,
            Self::DnsFlip { via: None, .. } | Self::DnsWeights { via: None, .. } | Self::DnsVerify { via: None } => {
                Spread::Traffic
            }
            Self::AuroraSwitchover { .. }
            | Self::AuroraFailover { .. }
            | Self::AuroraWait { .. }
            | Self::AuroraVerifyWriter { .. }
            | Self::GateTarget { .. }
            | Self::GateRpo { .. }
            | Self::DnsFlip { .. }
            | Self::DnsWeights { .. }
            | Self::DnsVerify { .. }
            | Self::ProbeHttp { .. }
            | Self::Notify { .. }
            | Self::Approve { .. }
            | Self::Wait { .. }
            | Self::Assert { .. } => Spread::No,
        }
    }

    /// Whether, once done, the target is the proven writer of the store.
    pub fn proves_writer(&self) -> bool {
        matches!(self, Self::AuroraSwitchover { .. } | Self::AuroraFailover { .. } | Self::AuroraVerifyWriter { .. })
    }

    /// Whether it moves traffic.
    pub fn moves_traffic(&self) -> bool {
        matches!(self, Self::DnsFlip { .. } | Self::DnsWeights { .. })
    }

    /// Whether it concerns a store.
    pub fn concerns_store(&self) -> bool {
        matches!(
            self,
            Self::AuroraSwitchover { .. }
                | Self::AuroraFailover { .. }
                | Self::AuroraWait { .. }
                | Self::AuroraVerifyWriter { .. }
                | Self::GateTarget { .. }
                | Self::GateRpo { .. }
        )
    }
}

#[cfg(test)]
mod tests;
