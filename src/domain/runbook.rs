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
    action::OnUnknown,
    assessment::{Health, Verdict},
    database::{Door, Expect},
    document::{At, Fault, Findings, Node, Place},
    drill::Terms,
    fence::{Part, Peer},
    id::{RunbookName, SignalName, StepId, StoreName, TrafficName},
    plan::{OnFailure, Purpose, Retry, Towards},
    signal_probe::Said,
    yaml,
};

mod actions;
mod ahead;
pub(crate) use actions::is_web_address;
pub(in crate::domain) use ahead::Ahead;
mod api_call;
mod budget;
pub use api_call::{Probe, Template};
mod call;
pub use call::{DEPTH_MAX as CALL_DEPTH_MAX, Library};
mod fences;
mod gates;
mod holes;
mod lint;
mod parameters;
mod probes;
mod read;
mod salvage;
pub use salvage::Salvaged;
mod schema;
mod spread;
pub use schema::{Argument, arguments, default_timeout, schema};
pub use spread::Spread;

/// The longest that any step may take.
pub const STEP_TIMEOUT_MAX: Duration = Duration::from_hours(24);
/// The most steps of a runbook, those of called ones among them: more cannot be read aloud, let alone at night.
pub const STEPS_MAX: usize = 500;

/// A runbook as its file describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Runbook {
    pub name: RunbookName,
    /// What it may be used for; one purpose, or several where no step loses data.
    pub purposes: BTreeSet<Purpose>,
    pub description: String,
    /// In the order of the file; those of a called runbook stand in the place of the call.
    pub steps: Vec<Step>,
    /// The runbooks that it calls, directly or not.
    pub calls: BTreeSet<RunbookName>,
    /// It says so itself: no step changes anything.
    pub read_only: bool,
    /// Of a drill: what it may cost before it goes home by itself. Of a called runbook it does not count.
    pub budget: Option<Terms>,
}

/// A step as it is written: for every store (or traffic entry) where it names none.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub id: StepId,
    /// Where it stands in its file.
    pub place: Place,
    pub title: String,
    pub needs: BTreeSet<StepId>,
    pub when: Option<String>,
    pub act: Act,
    pub timeout: Duration,
    pub retry: Retry,
    pub on_failure: OnFailure,
    /// Declared: from its beginning nothing is taken back.
    pub no_return: bool,
    /// Which way it leads, by the calls that it stands in.
    pub towards: Towards,
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
    AuroraDetach {
        store: Option<StoreName>,
    },
    AuroraPreserveSnapshot {
        store: Option<StoreName>,
        within: Duration,
    },
    /// `class: None`: that of the store's declared capacity. `name: None`: made of the cluster's identifier.
    AuroraAddInstance {
        store: Option<StoreName>,
        class: Option<String>,
        engine: String,
        name: Option<String>,
        count: u32,
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
        any_engine: bool,
    },
    /// `limit: None`: the application's RPO.
    GateRpo {
        store: Option<StoreName>,
        limit: Option<Duration>,
    },
    GateCapacity {
        store: Option<StoreName>,
        at_least_percent: u32,
        unknown: OnUnknown,
    },
    GateQuota {
        headroom: BTreeMap<String, u32>,
        unknown: OnUnknown,
    },
    /// Of a store with many writers. `lag: None`: the application's RPO.
    GateReplication {
        store: Option<StoreName>,
        lag: Option<Duration>,
        pending_bytes: u64,
        pending_operations: u64,
        unknown: OnUnknown,
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
    ProbeTcp {
        at: TcpAt,
        consecutive: u32,
        interval: Duration,
        probe_timeout: Duration,
    },
    ProbePostgres {
        store: Option<StoreName>,
        /// The source's database, not the target's.
        of_source: bool,
        door: Door,
        expect: Expect,
        consecutive: u32,
        interval: Duration,
        probe_timeout: Duration,
    },
    /// What the signals of the application must say, and how it must be.
    ProbeSignal {
        signals: SignalsOf,
        is: Option<Said>,
        hold_for: Duration,
        health: Vec<Health>,
        verdict: Option<Verdict>,
    },
    /// A rung on the source.
    Fence {
        store: Option<StoreName>,
        rung: FenceRung,
        on_unknown: OnUnknown,
    },
    /// A variable of a function in the source, from `normal` (`None`: it is not there) to `broken`, or back.
    LambdaFault {
        function: String,
        variable: String,
        broken: String,
        normal: Option<String>,
        mends: bool,
    },
    /// A look at what a forced failover has left in the source.
    Salvage {
        store: Option<StoreName>,
        what: Salvaged,
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
    AwsCall {
        template: Box<Template>,
    },
    /// The steps of another runbook. None is left in a [`Runbook`] that exists.
    Call {
        runbook: RunbookName,
        arguments: BTreeMap<String, Node>,
        towards: Towards,
    },
}

/// Which signals a step looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignalsOf {
    /// None: only what is made of them.
    Nobody,
    All(Vec<SignalName>),
    Any(Vec<SignalName>),
    /// Every trigger that tells of the source, or of the target.
    Source,
    Target,
}

/// Where a TCP probe knocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TcpAt {
    /// `host:port`.
    Address(String),
    /// The host and port of the target's health URL, or of the source's.
    Target,
    Source,
}

/// A rung as a runbook names it; the Region and the clusters are the plan's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FenceRung {
    Event { within: Duration },
    WriteMustFail { within: Duration },
    Connections,
    SecurityGroup { group: String, port: u16, from: Vec<Peer>, keep: Vec<Peer> },
    Application { parts: Vec<Part> },
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
    StandbyObject,
    Records,
}

impl Runbook {
    /// Reads a runbook from `text`; `file` is only named in faults. Warnings come with the runbook.
    ///
    /// # Errors
    /// Every fault that was found, in the order of the file (warnings among them).
    pub fn parse(file: &str, text: &str) -> Result<(Self, Vec<Fault>), Vec<Fault>> {
        Self::parse_with(file, text, &Library::default())
    }

    /// The same of a runbook that may call those of `library`.
    ///
    /// # Errors
    /// As [`Runbook::parse`]; a fault that only a call brings about is told where the call stands, with its place in
    /// the called file.
    pub fn parse_with(file: &str, text: &str, library: &Library) -> Result<(Self, Vec<Fault>), Vec<Fault>> {
        let mut found = Findings::new(file, "runbook-invalid");
        let runbook = yaml::parse(text, &mut found).and_then(|mut node| {
            let declared = parameters::declared(&node, &mut found);
            parameters::fill(&mut node, &parameters::defaults(&declared), &mut found);
            let root = At::root(&node, &mut found);
            let (runbook, mut keys) = read::runbook(&root, &mut found)?;
            let runbook = call::inline(runbook, &mut keys, library, &mut found);
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

    /// The step that the planned step `id` was made of: `promote` for `promote.orders`.
    pub fn origin(&self, id: &StepId) -> Option<&Step> {
        let made = |s: &&Step| {
            id.as_str().strip_prefix(s.id.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.steps.iter().filter(made).max_by_key(|s| s.id.as_str().len())
    }
}

/// Everything reachable from `id` over `needs`; ends on cycles too (which then hold `id` itself).
pub fn closure<'a>(id: &'a StepId, needs: impl Fn(&StepId) -> Option<&'a BTreeSet<StepId>>) -> BTreeSet<StepId> {
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
    /// The action's name in runbooks.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AuroraSwitchover { .. } => "aurora.switchover",
            Self::AuroraFailover { .. } => "aurora.failover",
            Self::AuroraDetach { .. } => "aurora.detach",
            Self::AuroraAddInstance { .. } => "aurora.add_instance",
            Self::AuroraPreserveSnapshot { .. } => "aurora.preserve_snapshot",
            Self::AuroraWait { .. } => "aurora.wait",
            Self::AuroraVerifyWriter { .. } => "aurora.verify_writer",
            Self::GateTarget { .. } => "gate.target",
            Self::GateRpo { .. } => "gate.rpo",
            Self::GateCapacity { .. } => "gate.capacity",
            Self::GateQuota { .. } => "gate.quota",
            Self::GateReplication { .. } => "gate.replication",
            Self::DnsFlip { demands: None, .. } => "dns.flip",
            Self::DnsFlip { demands: Some(MechanismKind::RoutingControls), .. } => "dns.routing_controls",
            Self::DnsFlip { demands: Some(MechanismKind::HealthSignal), .. } => "dns.health_signal",
            Self::DnsFlip { demands: Some(MechanismKind::StandbyObject), .. } => "dns.standby_object",
            Self::DnsFlip { demands: Some(MechanismKind::Records), .. } => "dns.records",
            Self::DnsWeights { .. } => "dns.weights",
            Self::DnsVerify { .. } => "dns.verify",
            Self::ProbeHttp { .. } => "probe.http",
            Self::ProbeTcp { .. } => "probe.tcp",
            Self::ProbePostgres { .. } => "probe.postgres",
            Self::ProbeSignal { .. } => "probe.signal",
            Self::LambdaFault { .. } => "fault.lambda_variable",
            Self::Fence { rung: FenceRung::Event { .. }, .. } => "fence.event",
            Self::Fence { rung: FenceRung::WriteMustFail { .. }, .. } => "fence.write_must_fail",
            Self::Fence { rung: FenceRung::Connections, .. } => "fence.connections",
            Self::Fence { rung: FenceRung::SecurityGroup { .. }, .. } => "fence.security_group",
            Self::Fence { rung: FenceRung::Application { .. }, .. } => "fence.application",
            Self::Salvage { what, .. } => what.name(),
            Self::Notify { .. } => "notify",
            Self::Approve { .. } => "approve",
            Self::Wait { .. } => "wait",
            Self::Assert { .. } => "assert",
            Self::AwsCall { .. } => "aws.call",
            Self::Call { .. } => "call",
        }
    }

    /// Whether, once done, the target is the proven writer of the store.
    pub fn proves_writer(&self) -> bool {
        matches!(
            self,
            Self::AuroraSwitchover { .. }
                | Self::AuroraFailover { .. }
                | Self::AuroraDetach { .. }
                | Self::AuroraVerifyWriter { .. }
        )
    }

    /// Whether it moves traffic.
    pub fn moves_traffic(&self) -> bool {
        matches!(self, Self::DnsFlip { .. } | Self::DnsWeights { .. })
    }

    /// Whether it makes another cluster the writer.
    pub fn changes_roles(&self) -> bool {
        matches!(self, Self::AuroraSwitchover { .. } | Self::AuroraFailover { .. })
    }

    /// Whether it concerns a store with one writer.
    pub fn concerns_store(&self) -> bool {
        matches!(
            self,
            Self::AuroraSwitchover { .. }
                | Self::AuroraFailover { .. }
                | Self::AuroraDetach { .. }
                | Self::AuroraAddInstance { .. }
                | Self::AuroraPreserveSnapshot { .. }
                | Self::AuroraWait { .. }
                | Self::AuroraVerifyWriter { .. }
                | Self::GateTarget { .. }
                | Self::GateRpo { .. }
                | Self::GateCapacity { .. }
        )
    }
}

#[cfg(test)]
mod tests;
