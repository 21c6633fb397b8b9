//! The hosted zones and records of each dns entry, and what turns them: by the mechanism's own means.
//!
//! - `routing_controls`: failover records, PRIMARY in the preferred Region (weighted ones for more than two Regions, or
//!   as configured: 100 for the preferred one), each with the RECOVERY_CONTROL health check of its Region's control; a
//!   safety rule that one control is on.
//! - `health_signal`: failover records; the PRIMARY has a CLOUDWATCH_METRIC check behind an alarm on the signal. A
//!   missing signal leaves the check as it was (`LastKnownStatus`, what the console offers first).
//! - `standby_object`: failover records; the PRIMARY has an inverted check of the object (every 10 s, the API's three in a
//!   row), which is there where the standby is active.
//! - `records`: one simple record, or weighted ones with the configured identifiers, 100 for the active Region.
//!
//! A zone is private where all its servers have private addresses: only a VPC's resolver has.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use sha2::Digest as _;

use super::{Faults, Stage, plain_name, standby_object};
use crate::{
    domain::{
        application::{ClusterEndpoint, Mechanism, Traffic, WeightedRecord},
        id::{Region, TrafficName},
    },
    sim::world::{
        Context,
        arc::{AssertionRule, Cluster, ControlState, RoutingControl, RuleType},
        cloudwatch::{AlarmSpec, Comparison, Datum, DatumValue, MetricKey, Statistic, TreatMissing},
        route53::{
            fixture,
            health::AlarmIdentifier,
            health_config::{CheckType, HealthCheckConfig, InsufficientData},
            record::{DnsName, FailoverRole, RecordSet, Routing, RrType},
            zone::Zone,
        },
    },
};

/// Of the active Region's weighted record, as `dns.flip` sets it.
const WEIGHT: u8 = 100;

pub(super) fn build(stage: &mut Stage<'_>, faults: &mut Faults<'_>) {
    put_zones(stage, faults);
    let application = stage.application;
    for (name, traffic) in &application.traffic {
        let Ok(rtype) = traffic.record_type.parse::<RrType>() else {
            faults.add(format!("dns.{name}.record_type"), format!("`{}` is not simulated", traffic.record_type));
            continue;
        };
        for region in application.regions.iter().filter(|r| !traffic.answers.contains_key(*r)) {
            faults.add(format!("dns.{name}.answers.{region}"), "no answer is named for this Region");
        }
        let policies = match &traffic.mechanism {
            Mechanism::RoutingControls { endpoints, controls, weighted } => {
                let id = |region: &Region, arn: &str| {
                    weighted.get(region).map_or_else(|| check_id(arn), |record| record.health_check_id.clone())
                };
                put_controls(stage, name, endpoints, controls, &id, faults);
                let check = |region: &Region| controls.get(region).map(|arn| id(region, arn));
                if weighted.is_empty() { by_checks(stage, name, check) } else { by_weights(stage, weighted, check) }
            }
            Mechanism::HealthSignal { .. } => {
                let id = put_signal_check(stage, name, traffic, faults);
                let preferred = stage.application.regions.first().cloned();
                if stage.application.regions.len() != 2 {
                    let why = "a failover record has one PRIMARY and one SECONDARY: two Regions, no more";
                    faults.add(format!("dns.{name}.mechanism"), why);
                }
                by_checks(stage, name, |region| id.clone().filter(|_| preferred.as_ref() == Some(region)))
            }
            Mechanism::StandbyObject { .. } => {
                let id = standby_object::put_check(stage, name, traffic, faults);
                let preferred = stage.application.regions.first().cloned();
                by_checks(stage, name, |region| id.clone().filter(|_| preferred.as_ref() == Some(region)))
            }
            Mechanism::Records { set_identifiers } => by_hand(stage, name, set_identifiers, faults),
        };
        seed(stage, traffic, rtype, policies);
    }
}

/// Puts what the daemon would have put, had it been there: a signal has its value for as long as traffic is where it
/// is. (While the preferred Region is active, silence says so.)
pub(super) fn put_signals(stage: &mut Stage<'_>) {
    if stage.application.regions.first() == Some(&stage.active) {
        return;
    }
    for traffic in stage.application.traffic.values() {
        let Mechanism::HealthSignal { region, namespace, metric, dimensions, diverted_value, .. } = &traffic.mechanism
        else {
            continue;
        };
        let datum = Datum {
            name: metric.clone(),
            dimensions: dimensions.clone().into_iter().collect(),
            at: None,
            value: DatumValue::One(*diverted_value),
            unit: None,
        };
        // A namespace that CloudWatch refuses was told when the check was built.
        let _ = stage.world.with_cloudwatch(|cw, ctx| cw.put_metric_data(region, namespace, &[datum], ctx));
    }
}

/// A Region with the routing policy of its record, and the health check on it.
type Policy = (Region, Routing, Option<String>);

/// Failover records for two Regions, weighted ones for more, which their health checks choose among.
fn by_checks(stage: &Stage<'_>, name: &TrafficName, check: impl Fn(&Region) -> Option<String>) -> Vec<Policy> {
    let regions = &stage.application.regions;
    let policy = |(index, region): (usize, &Region)| {
        let set_identifier = format!("{name}-{region}");
        let routing = match (regions.len(), index) {
            (2, 0) => Routing::Failover { set_identifier, role: FailoverRole::Primary },
            (2, _) => Routing::Failover { set_identifier, role: FailoverRole::Secondary },
            _ => Routing::Weighted { set_identifier, weight: WEIGHT },
        };
        (region.clone(), routing, check(region))
    };
    regions.iter().enumerate().map(policy).collect()
}

/// Weighted records below the controls, with the weights that they have when nothing was ever shared: what moves
/// traffic is the controls, wherever it is now.
fn by_weights(
    stage: &Stage<'_>,
    weighted: &BTreeMap<Region, WeightedRecord>,
    check: impl Fn(&Region) -> Option<String>,
) -> Vec<Policy> {
    let preferred = stage.application.regions.first();
    let policy = |(region, record): (&Region, &WeightedRecord)| {
        let weight = if Some(region) == preferred { WEIGHT } else { 0 };
        let routing = Routing::Weighted { set_identifier: record.set_identifier.clone(), weight };
        (region.clone(), routing, check(region))
    };
    weighted.iter().map(policy).collect()
}

/// Records that only a change of them turns.
fn by_hand(
    stage: &Stage<'_>,
    name: &TrafficName,
    set_identifiers: &BTreeMap<Region, String>,
    faults: &mut Faults<'_>,
) -> Vec<Policy> {
    if set_identifiers.is_empty() {
        return vec![(stage.active.clone(), Routing::Simple, None)];
    }
    let mut seen = BTreeSet::new();
    let mut policies = Vec::new();
    for region in &stage.application.regions {
        let key = format!("dns.{name}.mechanism.set_identifiers.{region}");
        match set_identifiers.get(region) {
            Some(id) if seen.insert(id) => {
                let weight = if *region == stage.active { WEIGHT } else { 0 };
                let routing = Routing::Weighted { set_identifier: id.clone(), weight };
                policies.push((region.clone(), routing, None));
            }
            Some(_) => faults.add(key, "another Region has this set identifier already"),
            None => faults.add(key, "no set identifier is named for this Region"),
        }
    }
    policies
}

fn seed(stage: &mut Stage<'_>, traffic: &Traffic, rtype: RrType, policies: Vec<Policy>) {
    let zones = stage.world.route53.zones();
    // Neither is missing without a fault noted.
    let (Some(mut zone), Ok(name)) = (zones.get(&traffic.hosted_zone_id).cloned(), traffic.record_name.parse()) else {
        return;
    };
    let ttl = u32::try_from(traffic.ttl.as_secs()).unwrap_or(u32::MAX);
    let name: DnsName = name;
    for (region, routing, health_check_id) in policies {
        let Some(answer) = traffic.answers.get(&region) else { continue };
        let set = RecordSet::simple(name.clone(), rtype, ttl, vec![answer.clone()]);
        zone.seed(RecordSet { routing, health_check_id, ..set });
    }
    stage.world.route53.put_zone(zone);
}

/// The zones, empty. Their names are not configured: each is what its records have in common.
fn put_zones(stage: &mut Stage<'_>, faults: &mut Faults<'_>) {
    let mut ids: BTreeMap<&str, Vec<(&TrafficName, &Traffic, DnsName)>> = BTreeMap::new();
    for (name, traffic) in &stage.application.traffic {
        match traffic.record_name.parse::<DnsName>() {
            Ok(record) => ids.entry(&traffic.hosted_zone_id).or_default().push((name, traffic, record)),
            Err(error) => faults.add(format!("dns.{name}.record_name"), error.to_string()),
        }
    }
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for (id, entries) in ids {
        let Some((first, _, record)) = entries.first() else { continue };
        let common = apex(entries.iter().map(|(_, _, record)| record));
        // Two zones cannot have one name: the second holds its one name alone, at its apex.
        let alone = entries.iter().all(|(_, t, r)| r == record && t.record_type != "CNAME");
        let name = common.filter(|name| !taken.contains(name.as_str())).or_else(|| alone.then(|| record.clone()));
        match name {
            Some(name) if taken.insert(name.as_str().to_owned()) => {
                let private = entries.iter().all(|(_, t, _)| t.servers.iter().all(|s| is_private(s)));
                stage.world.route53.put_zone(Zone::new(id, name, private));
            }
            _ => {
                let why = "its records cannot be told from those of the other zones: simulated zones have different \
                           names, and hold names of one domain";
                faults.add(format!("dns.{first}.hosted_zone_id"), why);
            }
        }
    }
    one_zone_per_name(stage, faults);
}

/// A resolver answers a name from one zone; who asked for it in another would be told of the wrong one.
fn one_zone_per_name(stage: &Stage<'_>, faults: &mut Faults<'_>) {
    let mut zones: BTreeMap<String, &str> = BTreeMap::new();
    let mut sets: BTreeSet<(String, &str)> = BTreeSet::new();
    for (name, traffic) in &stage.application.traffic {
        let record = plain_name(&traffic.record_name);
        if *zones.entry(record.clone()).or_insert(&traffic.hosted_zone_id) != traffic.hosted_zone_id {
            let why = format!("another zone holds {record} too: the simulated resolvers ask one zone only");
            faults.add(format!("dns.{name}.hosted_zone_id"), why);
        }
        if !sets.insert((record.clone(), traffic.record_type.as_str())) {
            let why = format!("another entry has {record} of type {} already", traffic.record_type);
            faults.add(format!("dns.{name}.record_name"), why);
        }
    }
}

/// The longest domain of two labels at least that all names lie below; for a name of two labels, that name.
pub(super) fn apex<'a>(names: impl Iterator<Item = &'a DnsName>) -> Option<DnsName> {
    fn labels(name: &DnsName) -> Vec<&str> {
        name.as_str().trim_end_matches('.').split('.').rev().collect()
    }
    let mut common: Option<Vec<&str>> = None;
    for name in names {
        let labels = labels(name);
        let parent = if labels.len() < 3 { &labels[..] } else { &labels[..labels.len() - 1] };
        common = Some(match common {
            None => parent.to_vec(),
            Some(old) => old.into_iter().zip(parent).take_while(|(a, b)| a == *b).map(|(a, _)| a).collect(),
        });
    }
    let common = common.filter(|labels| 2 <= labels.len())?;
    common.into_iter().rev().collect::<Vec<_>>().join(".").parse().ok()
}

fn is_private(server: &str) -> bool {
    match server.parse::<SocketAddr>().map(|s| s.ip()) {
        Ok(IpAddr::V4(ip)) => ip.is_private() || ip.is_link_local(),
        Ok(IpAddr::V6(ip)) => ip.is_unique_local(),
        Err(_) => false,
    }
}

/// Cluster, controls, safety rule and health checks.
fn put_controls(
    stage: &mut Stage<'_>,
    name: &TrafficName,
    endpoints: &[ClusterEndpoint],
    controls: &BTreeMap<Region, String>,
    id: &dyn Fn(&Region, &str) -> String,
    faults: &mut Faults<'_>,
) {
    let key = format!("dns.{name}.mechanism.controls");
    let mut panel = None;
    for region in &stage.application.regions {
        let Some(arn) = controls.get(region) else {
            faults.add(format!("{key}.{region}"), "no routing control is named for this Region");
            continue;
        };
        let Some((of, _)) = arn.split_once("/routingcontrol/") else {
            faults.add(format!("{key}.{region}"), format!("`{arn}` is not the ARN of a routing control"));
            continue;
        };
        if 1 < controls.values().filter(|other| *other == arn).count() {
            faults.add(format!("{key}.{region}"), "another Region has this routing control already");
        }
        let state = if *region == stage.active { ControlState::On } else { ControlState::Off };
        let there = stage.world.arc.get_state(&stage.world.planes, region, arn).ok();
        if there.is_some_and(|there| there.state != state) {
            faults.add(format!("{key}.{region}"), "another dns entry has this routing control for another Region");
        }
        panel = Some(of);
        stage.world.arc.put_control(RoutingControl {
            arn: arn.clone(),
            name: format!("{}-{region}", stage.application.name),
            panel_arn: of.to_owned(),
            panel_name: stage.application.name.to_string(),
            cluster_arn: cluster_arn(of),
            state,
            changed_at: None,
            visible_at: None,
        });
        let config = HealthCheckConfig {
            routing_control_arn: Some(arn.clone()),
            ..HealthCheckConfig::of(CheckType::RecoveryControl)
        };
        put_check(stage, &format!("{key}.{region}"), &id(region, arn), &config, faults);
        stage.world.arc.put_cluster(Cluster { arn: cluster_arn(of), endpoints: five(endpoints) });
    }
    let Some(panel) = panel else { return };
    let asserted: Vec<String> = controls.values().cloned().collect();
    stage.world.arc.put_rule(AssertionRule {
        arn: format!("{panel}/safetyrule/{}", &hash(&asserted.concat())[..16]),
        name: format!("{}-one-region-on", stage.application.name),
        asserted,
        rule_type: RuleType::AtLeast(1),
        inverted: false,
        // The default [bc].
        wait_period_ms: 5_000,
    });
}

/// The cluster of a control panel. Its ARN is not configured: nothing but the simulation asks for it.
fn cluster_arn(panel: &str) -> String {
    let account = panel.split(':').nth(4).unwrap_or_default();
    format!("arn:aws:route53-recovery-control::{account}:cluster/{}", uuid(panel))
}

/// A cluster has five endpoints, however many of them are configured.
fn five(configured: &[ClusterEndpoint]) -> Vec<Region> {
    let mut regions: Vec<Region> = Vec::new();
    for region in configured.iter().map(|e| e.region.clone()).chain(fixture::cluster_regions()) {
        if regions.len() < 5 && !regions.contains(&region) {
            regions.push(region);
        }
    }
    regions
}

/// The alarm on the signal, and the health check that reads its metric; the check's id.
fn put_signal_check(
    stage: &mut Stage<'_>,
    name: &TrafficName,
    traffic: &Traffic,
    faults: &mut Faults<'_>,
) -> Option<String> {
    let Mechanism::HealthSignal { region, namespace, metric, dimensions, active_value, diverted_value } =
        &traffic.mechanism
    else {
        return None;
    };
    let key = format!("dns.{name}.mechanism");
    if namespace.starts_with("AWS/") || namespace.is_empty() {
        faults.add(format!("{key}.namespace"), "CloudWatch takes custom metrics in other namespaces than AWS's only");
    }
    let falls = diverted_value < active_value;
    let alarm = AlarmIdentifier { region: region.clone(), name: format!("{}-{name}-diverted", stage.application.name) };
    let spec = AlarmSpec {
        name: alarm.name.clone(),
        description: None,
        key: MetricKey::new(namespace, metric, dimensions),
        statistic: if falls { Statistic::Minimum } else { Statistic::Maximum },
        period_seconds: 60,
        evaluation_periods: 1,
        datapoints_to_alarm: 1,
        comparison: if falls { Comparison::Less } else { Comparison::Greater },
        threshold: f64::midpoint(*active_value, *diverted_value),
        treat_missing: TreatMissing::Missing,
        unit: None,
        actions: Vec::new(),
        actions_enabled: false,
    };
    let now = stage.world.now;
    if let Err(fault) = stage.world.cloudwatch.put_alarm(region, spec, now) {
        faults.add(&key, fault.message);
    }
    let id = uuid(&format!("{}/{name}", stage.application.name));
    let config = HealthCheckConfig {
        alarm: Some(alarm),
        insufficient_data: Some(InsufficientData::LastKnownStatus),
        ..HealthCheckConfig::of(CheckType::CloudwatchMetric)
    };
    put_check(stage, &key, &id, &config, faults);
    Some(id)
}

/// Puts a health check under `id`; what Route 53 would refuse is a fault of `key`.
pub(super) fn put_check(
    stage: &mut Stage<'_>,
    key: &str,
    id: &str,
    config: &HealthCheckConfig,
    faults: &mut Faults<'_>,
) {
    let world = &mut stage.world;
    let mut ctx = Context { now: world.now, rng: &mut world.rng, planes: &world.planes, log: &mut world.log };
    if let Err(fault) = world.route53.put_health_check(&mut ctx, Some(id), id, config) {
        faults.add(key, fault.message);
    }
}

/// The id of the health check of a routing control: drawn by AWS, not configured.
fn check_id(control: &str) -> String {
    uuid(control)
}

/// An identifier in the form of a UUID, the same for the same text.
pub(super) fn uuid(of: &str) -> String {
    let hash = hash(of);
    format!("{}-{}-4{}-8{}-{}", &hash[..8], &hash[8..12], &hash[13..16], &hash[17..20], &hash[20..32])
}

fn hash(of: &str) -> String {
    hex::encode(sha2::Sha256::digest(of.as_bytes()))
}
