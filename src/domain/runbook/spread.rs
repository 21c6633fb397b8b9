//! What a step is repeated for that names no one thing: every store, every traffic entry.

use super::{Act, FenceRung};

/// What a step is repeated for when it names no one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// Once.
    No,
    /// Once per store: `promote` becomes `promote.orders`, `promote.ledger`.
    Stores,
    /// Once per store with many writers.
    Replicas,
    /// Once per DynamoDB global table.
    Tables,
    /// Once per store of replicated buckets.
    Buckets,
    /// Once per traffic entry.
    Traffic,
}

impl Act {
    /// What the step is repeated for.
    pub fn spread(&self) -> Spread {
        match self {
            Self::AuroraSwitchover { store: None }
            | Self::AuroraFailover { store: None }
            | Self::AuroraDetach { store: None }
            | Self::AuroraAddInstance { store: None, .. }
            | Self::AuroraPreserveSnapshot { store: None, .. }
            | Self::AuroraWait { store: None, .. }
            | Self::AuroraVerifyWriter { store: None }
            | Self::GateTarget { store: None, .. }
            | Self::GateRpo { store: None, .. }
            | Self::GateCapacity { store: None, .. } => Spread::Stores,
            Self::Fence { rung: FenceRung::Application { .. }, .. } => Spread::No,
            Self::ProbePostgres { store: None, .. } | Self::Fence { store: None, .. } => Spread::Stores,
            Self::GateReplication { store: None, .. } => Spread::Replicas,
            Self::Salvage { store: None, what } => what.spread(),
            Self::DnsFlip { via: None, .. } | Self::DnsWeights { via: None, .. } | Self::DnsVerify { via: None } => {
                Spread::Traffic
            }
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
            | Self::GateQuota { .. }
            | Self::GateReplication { .. }
            | Self::DnsFlip { .. }
            | Self::DnsWeights { .. }
            | Self::DnsVerify { .. }
            | Self::ProbeHttp { .. }
            | Self::ProbeTcp { .. }
            | Self::ProbePostgres { .. }
            | Self::ProbeSignal { .. }
            | Self::LambdaFault { .. }
            | Self::Fence { .. }
            | Self::Salvage { .. }
            | Self::Notify { .. }
            | Self::Approve { .. }
            | Self::Wait { .. }
            | Self::Assert { .. }
            | Self::AwsCall { .. }
            | Self::Call { .. } => Spread::No,
        }
    }
}
