//! Which numbers of FAULTS.md a trouble exercises, and which of them a world has really met.
//!
//! A number is claimed only where the trouble is the one that FAULTS.md describes: a fault without a number of its own
//! (a Region that is lost, an application that does not answer) claims none.

use std::collections::BTreeMap;

use super::{CallFault, ProcessFault, Sight, StoreFault, Trouble, act::RETURNED};
use crate::{
    domain::id::Region,
    sim::world::{
        Plane, Reach, World,
        aurora::{LagMetric, LagSetting, PromotionFate},
    },
};

/// The home of the global control planes [WP].
pub(super) const HOME: &str = "us-east-1";

/// Lag from which on a metric that shows nothing of it hides that replication stands still.
const HIDDEN_LAG_MS: u64 = 60_000;

impl Trouble {
    /// Numbers of FAULTS.md section 1 that this exercises where it is met.
    pub fn numbers(&self) -> &'static [u8] {
        match self {
            Self::LoseRegion { region } if region.as_str() == HOME => &[58],
            Self::LoseRegion { .. } => &[],
            // The old primary goes on writing, and answers get lost.
            Self::PartitionRegion { .. } => &[23, 60],
            Self::Plane { plane, reach, .. } => of_plane(*plane, *reach),
            Self::Calls { fault, .. } => fault.numbers(),
            Self::Promotion { fate: PromotionFate::Fails } => &[39],
            Self::Promotion { fate: PromotionFate::Sticks } => &[36],
            Self::Promotion { fate: PromotionFate::Cancelled } => &[38],
            Self::FencingTimesOut => &[60],
            Self::Headless { .. } => &[40],
            Self::Mismatched { .. } => &[41],
            Self::Undersized { .. } => &[56],
            Self::QuotaExhausted { .. } => &[55],
            Self::HiddenDependency { .. } | Self::ReplicasLag { .. } => &[],
            Self::Lag { setting: LagSetting::StandsStill | LagSetting::Fixed(_), .. } => &[59],
            Self::Lag { setting: LagSetting::Wanders, .. } => &[],
            Self::LagMetric { metric, .. } => of_lag_metric(*metric),
            Self::Metrics { .. } => &[43],
            Self::ResolversIgnoreTtl { .. } => &[49],
            Self::CredentialsExpire => &[50],
            Self::Process(fault) => fault.numbers(),
            Self::Replica { does, .. } => does.numbers(),
            Self::Store(StoreFault::Full | StoreFault::FailsAfterCommit) => &[13],
            Self::Store(StoreFault::Rots { .. }) => &[14],
            Self::ClockJumps { .. } => &[11],
            Self::Vantage { does: Sight::SeesIll, .. } => &[46],
            Self::Vantage { does: Sight::Silent | Sight::CutOff, .. } => &[],
        }
    }
}

impl CallFault {
    /// As [`Trouble::numbers`].
    pub fn numbers(&self) -> &'static [u8] {
        match self {
            Self::LoseBefore | Self::Hang => &[23],
            Self::LoseAfter => &[3, 23, 33],
            Self::Late { .. } => &[33],
            Self::Duplicate => &[34],
            Self::Refuse => &[],
            Self::ServerError | Self::ServerErrorAfter => &[32],
            Self::Throttle => &[31],
            Self::Reject { code } => match *code {
                "AccessDenied" => &[51],
                "ExpiredToken" => &[50],
                "InvalidGlobalClusterStateFault" => &[45],
                "Throttling" | "ThrottlingException" => &[31],
                _ => &[],
            },
            Self::Stale => &[35],
            Self::UnknownStatus => &[37],
            Self::Garbage => &[57],
        }
    }
}

impl ProcessFault {
    /// As [`Trouble::numbers`]; a kill of any moment may be each of 1 to 4, and says the one that is certain.
    pub fn numbers(&self) -> &'static [u8] {
        match self {
            Self::Kill { .. } => &[4],
            Self::KillAtAppend { durable: false, .. } => &[1],
            Self::KillAtAppend { durable: true, .. } | Self::KillAtCall { effect: false, .. } => &[2],
            Self::KillAtCall { effect: true, .. } => &[3],
            Self::Stop { .. } => &[6],
            Self::Pause { .. } => &[10, 12],
        }
    }
}

/// What a call to `plane` meets that behaves like `reach`.
pub fn of_plane(plane: Plane, reach: Reach) -> &'static [u8] {
    match (plane, reach) {
        (_, Reach::Up) => &[],
        (Plane::CloudWatch, Reach::Throttles) => &[31, 52],
        (Plane::CloudWatch, Reach::DeniesAccess) => &[51, 52],
        (Plane::CloudWatch, Reach::Unavailable) => &[32, 52],
        (Plane::CloudWatch, Reach::Hangs) => &[52],
        (Plane::Sns, Reach::Throttles) => &[31, 53],
        (Plane::Sns, Reach::DeniesAccess) => &[51, 53],
        (Plane::Sns, Reach::Unavailable) => &[32, 53],
        (Plane::Sns, Reach::Hangs) => &[53],
        (Plane::Route53Control, Reach::Throttles) => &[31, 47],
        (Plane::Route53Control, Reach::DeniesAccess) => &[47, 51],
        (Plane::Route53Control, Reach::Unavailable) => &[32, 47],
        (Plane::Route53Control, Reach::Hangs) => &[47],
        (Plane::HealthCheckers, _) => &[46],
        (Plane::Application | Plane::Database, _) => &[],
        // What the object of a standby needs, and a runbook's own calls (`aws.call`).
        (
            Plane::S3
            | Plane::Lambda
            | Plane::Ec2
            | Plane::Ecs
            | Plane::Ssm
            | Plane::EventBridge
            | Plane::SecretsManager
            | Plane::Kms
            | Plane::Backup
            | Plane::Sts,
            reach,
        ) => match reach {
            Reach::Up => &[],
            Reach::Throttles => &[31],
            Reach::DeniesAccess => &[51],
            Reach::Unavailable => &[32],
            Reach::Hangs => &[23],
        },
        (Plane::Rds | Plane::ArcCluster | Plane::Network, Reach::Throttles) => &[31],
        (Plane::Rds | Plane::ArcCluster | Plane::Network, Reach::DeniesAccess) => &[51],
        (Plane::Rds | Plane::ArcCluster | Plane::Network, Reach::Unavailable) => &[32],
        // The journal is there, and the service is not.
        (Plane::Rds, Reach::Hangs) => &[22],
        (Plane::ArcCluster | Plane::Network, Reach::Hangs) => &[23],
    }
}

fn of_lag_metric(metric: LagMetric) -> &'static [u8] {
    match metric {
        LagMetric::Honest => &[],
        LagMetric::ShowsZero => &[44],
        LagMetric::Missing | LagMetric::NotANumber | LagMetric::Negative => &[43],
        LagMetric::GrowsWhenCut => &[59],
    }
}

/// What a reader of a metric meets now; `cluster` is the dimension `DBClusterIdentifier`, where it has one.
pub fn of_metric(
    world: &World,
    region: &Region,
    namespace: &str,
    metric: &str,
    cluster: Option<&str>,
) -> &'static [u8] {
    if world.cloudwatch.fault_of(region, namespace, metric).is_some() {
        return &[43];
    }
    let secondary = cluster.and_then(|id| world.aurora.clusters(region).find(|c| c.id == id));
    match secondary {
        Some(c) if metric.starts_with("AuroraGlobalDB") => match c.lag_metric() {
            LagMetric::ShowsZero if c.true_lag_ms(world.now) < HIDDEN_LAG_MS => &[],
            shown => of_lag_metric(shown),
        },
        _ => &[],
    }
}

/// What the world itself has met until now: promotions that failed (39) or stuck (36), clients that were sent by an
/// answer past its TTL (49), fences that timed out (60), old primaries that came back in the middle (61).
pub fn met_in_world(world: &World) -> BTreeMap<u8, u64> {
    let logged = |kind: &str| world.log.iter().filter(|e| e.kind == kind).count() as u64;
    let fences = world.aurora.all_events().iter().filter(|e| e.id == FENCING_TIMED_OUT).count() as u64;
    let counts = [
        (36, logged("aurora.stuck")),
        (38, logged("aurora.cancelling")),
        (39, logged("aurora.failed")),
        (49, world.clients.overdue_answers()),
        (60, fences),
        (61, logged(RETURNED)),
    ];
    counts.into_iter().filter(|(_, n)| 0 < *n).collect()
}

/// RDS-EVENT-0391.
const FENCING_TIMED_OUT: u16 = 391;
