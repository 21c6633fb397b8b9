//! The traffic of the payments application: failover records, their health checks, and routing controls.

use std::net::Ipv4Addr;

use super::{
    health::{AlarmIdentifier, region},
    health_config::{CheckType, HealthCheckConfig, InsufficientData},
    record::{FailoverRole, RecordSet, Routing, RrType},
    zone::Zone,
};
use crate::sim::world::{
    Context, World,
    arc::{AssertionRule, Cluster, ControlState, RoutingControl, RuleType},
};

pub const ZONE_ID: &str = "Z0PAYMENTS";
pub const ZONE_NAME: &str = "payments.example.com.";
pub const RECORD_NAME: &str = "api.payments.example.com.";
/// us-east-1.
pub const PRIMARY_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 11, 1);
/// us-west-2.
pub const SECONDARY_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 12, 1);

pub const CLUSTER_ARN: &str =
    "arn:aws:route53-recovery-control::123456789012:cluster/5a4c3b2a-0000-4000-8000-00000000c1c1";
pub const PANEL_ARN: &str =
    "arn:aws:route53-recovery-control::123456789012:controlpanel/0123456789abcdef0123456789abcdef";
pub const CONTROL_USE1_ARN: &str = "arn:aws:route53-recovery-control::123456789012:controlpanel/0123456789abcdef0123456789abcdef/routingcontrol/aaaaaaaaaaaa0001";
pub const CONTROL_USW2_ARN: &str = "arn:aws:route53-recovery-control::123456789012:controlpanel/0123456789abcdef0123456789abcdef/routingcontrol/aaaaaaaaaaaa0002";
pub const SAFETY_RULE_ARN: &str = "arn:aws:route53-recovery-control::123456789012:controlpanel/0123456789abcdef0123456789abcdef/safetyrule/bbbbbbbbbbbb0001";

pub const CHECK_HTTP_USE1: &str = "10000000-0000-4000-8000-000000000001";
pub const CHECK_HTTP_USW2: &str = "10000000-0000-4000-8000-000000000002";
pub const CHECK_CONTROL_USE1: &str = "20000000-0000-4000-8000-000000000001";
pub const CHECK_CONTROL_USW2: &str = "20000000-0000-4000-8000-000000000002";
pub const CHECK_METRIC_USE1: &str = "30000000-0000-4000-8000-000000000001";
pub const CHECK_OBJECT_USE1: &str = "40000000-0000-4000-8000-000000000001";

/// The object of [`FailoverBy::StandbyObject`], in us-west-2.
pub const OBJECT_BUCKET: &str = "payments-standby";
pub const OBJECT_KEY: &str = "payments/traffic-to-standby";

/// Which health check the failover records have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailoverBy {
    /// An HTTP check of the primary endpoint, on the primary record.
    Http,
    /// Each record has the check of its own routing control.
    RoutingControl,
    /// A CLOUDWATCH_METRIC check on the primary record.
    CloudWatchMetric { alarm: AlarmIdentifier, insufficient_data: InsufficientData },
    /// An inverted check of an object in S3 of the standby on the primary record. New, it is unhealthy for some rounds.
    StandbyObject,
    /// None: only changing the records moves traffic.
    Records,
}

/// What a scenario chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentsTraffic {
    pub failover_by: FailoverBy,
    pub private_zone: bool,
    /// An assertion rule: at least one of the two controls is On.
    pub safety_rule: bool,
    /// 10 or 30, of the HTTP checks.
    pub request_interval_seconds: u32,
}

impl Default for PaymentsTraffic {
    fn default() -> Self {
        Self {
            failover_by: FailoverBy::RoutingControl,
            private_zone: false,
            safety_rule: true,
            request_interval_seconds: 30,
        }
    }
}

/// Puts zone, records, routing controls and health checks of the payments application into `world`.
///
/// # Panics
/// If `choice` has a request interval other than 10 or 30.
pub fn payments_traffic(world: &mut World, choice: &PaymentsTraffic) {
    put_cluster(world, choice.safety_rule);
    put_checks(world, choice);
    let (primary_check, secondary_check) = match choice.failover_by {
        FailoverBy::Http => (Some(CHECK_HTTP_USE1), None),
        FailoverBy::RoutingControl => (Some(CHECK_CONTROL_USE1), Some(CHECK_CONTROL_USW2)),
        FailoverBy::CloudWatchMetric { .. } => (Some(CHECK_METRIC_USE1), None),
        FailoverBy::StandbyObject => (Some(CHECK_OBJECT_USE1), None),
        FailoverBy::Records => (None, None),
    };
    let name = |s: &str| s.parse().unwrap_or_else(|e| unreachable!("{e}"));
    let mut zone = Zone::new(ZONE_ID, name(ZONE_NAME), choice.private_zone);
    for (identifier, role, address, check) in [
        ("us-east-1", FailoverRole::Primary, PRIMARY_ADDRESS, primary_check),
        ("us-west-2", FailoverRole::Secondary, SECONDARY_ADDRESS, secondary_check),
    ] {
        zone.seed(RecordSet {
            routing: Routing::Failover { set_identifier: identifier.to_owned(), role },
            health_check_id: check.map(str::to_owned),
            ..RecordSet::simple(name(RECORD_NAME), RrType::A, 60, vec![address.to_string()])
        });
    }
    world.route53.put_zone(zone);
}

fn put_cluster(world: &mut World, safety_rule: bool) {
    world.arc.put_cluster(Cluster::new(CLUSTER_ARN));
    for (arn, name, state) in
        [(CONTROL_USE1_ARN, "payments-use1", ControlState::On), (CONTROL_USW2_ARN, "payments-usw2", ControlState::Off)]
    {
        world.arc.put_control(RoutingControl {
            arn: arn.to_owned(),
            name: name.to_owned(),
            panel_arn: PANEL_ARN.to_owned(),
            panel_name: "payments".to_owned(),
            cluster_arn: CLUSTER_ARN.to_owned(),
            state,
            changed_at: None,
            visible_at: None,
        });
    }
    if safety_rule {
        world.arc.put_rule(AssertionRule {
            arn: SAFETY_RULE_ARN.to_owned(),
            name: "payments-one-region-on".to_owned(),
            asserted: vec![CONTROL_USE1_ARN.to_owned(), CONTROL_USW2_ARN.to_owned()],
            rule_type: RuleType::AtLeast(1),
            inverted: false,
            wait_period_ms: 5_000,
        });
    }
}

fn put_checks(world: &mut World, choice: &PaymentsTraffic) {
    let http = |address| HealthCheckConfig {
        ip_address: Some(address),
        port: Some(8080),
        resource_path: Some("/healthz".to_owned()),
        request_interval_seconds: choice.request_interval_seconds,
        ..HealthCheckConfig::of(CheckType::Http)
    };
    let control = |arn: &str| HealthCheckConfig {
        routing_control_arn: Some(arn.to_owned()),
        ..HealthCheckConfig::of(CheckType::RecoveryControl)
    };
    let mut checks = vec![
        (CHECK_HTTP_USE1, http(PRIMARY_ADDRESS)),
        (CHECK_HTTP_USW2, http(SECONDARY_ADDRESS)),
        (CHECK_CONTROL_USE1, control(CONTROL_USE1_ARN)),
        (CHECK_CONTROL_USW2, control(CONTROL_USW2_ARN)),
    ];
    if let FailoverBy::CloudWatchMetric { alarm, insufficient_data } = &choice.failover_by {
        checks.push((
            CHECK_METRIC_USE1,
            HealthCheckConfig {
                alarm: Some(alarm.clone()),
                insufficient_data: Some(*insufficient_data),
                ..HealthCheckConfig::of(CheckType::CloudwatchMetric)
            },
        ));
    }
    if choice.failover_by == FailoverBy::StandbyObject {
        let config = HealthCheckConfig {
            fully_qualified_domain_name: Some(format!("{OBJECT_BUCKET}.s3.us-west-2.amazonaws.com")),
            port: Some(443),
            resource_path: Some(format!("/{OBJECT_KEY}")),
            request_interval_seconds: choice.request_interval_seconds,
            inverted: true,
            ..HealthCheckConfig::of(CheckType::Https)
        };
        checks.push((CHECK_OBJECT_USE1, config));
    }
    let mut ctx = Context { now: world.now, rng: &mut world.rng, planes: &world.planes, log: &mut world.log };
    for (id, config) in checks {
        world
            .route53
            .put_health_check(&mut ctx, Some(id), id, &config)
            .unwrap_or_else(|e| panic!("the payments fixture is valid: {}", e.message));
    }
}

/// The five Regions whose endpoints a cluster has [ARCDG].
pub fn cluster_regions() -> [crate::domain::id::Region; 5] {
    ["us-east-1", "us-west-2", "eu-west-1", "ap-northeast-1", "ap-southeast-2"].map(region)
}
