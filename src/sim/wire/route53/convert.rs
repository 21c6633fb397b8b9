//! Between the Route 53 API's XML types and the world's: parsing refuses, it never guesses.

use std::str::FromStr;

use winterbaume_route53::model as api;

use crate::{
    domain::id::Region,
    sim::world::{
        ApiFault, SimTime,
        route53::{
            change::{Action, ChangeBatch, ChangeInfo, RecordChange},
            health::{AlarmIdentifier, HealthCheck, Observation},
            health_config::{CheckType, HealthCheckConfig, HealthCheckUpdate, Resettable},
            record::{DnsName, FailoverRole, RecordSet, Routing, RrType},
            zone::Zone,
        },
    },
};

/// A 400 `InvalidInput`.
pub(super) fn invalid(message: impl Into<String>) -> ApiFault {
    ApiFault { status: 400, code: "InvalidInput", message: message.into() }
}

/// What AWS has and this simulation has not.
pub(super) fn not_implemented(message: impl Into<String>) -> ApiFault {
    ApiFault { status: 501, code: "NotImplemented", message: message.into() }
}

pub(super) fn dns_name(text: &str) -> Result<DnsName, ApiFault> {
    if text.starts_with('*') || text.starts_with("\\052") {
        return Err(not_implemented("wildcard names are not simulated"));
    }
    text.parse::<DnsName>().map_err(|e| invalid(e.to_string()))
}

pub(super) fn rr_type(text: &str) -> Result<RrType, ApiFault> {
    text.parse::<RrType>().map_err(|e| invalid(e.to_string()))
}

pub(super) fn max_items(asked: Option<i32>, max: usize) -> Result<Option<usize>, ApiFault> {
    asked
        .map(|n| match usize::try_from(n) {
            Ok(n) if 0 < n => Ok(n.min(max)),
            _ => Err(invalid("MaxItems must be at least 1")),
        })
        .transpose()
}

/// A page size for the wire; pages are far below `i32::MAX`.
pub(super) fn int(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

pub(super) fn change_batch(batch: api::ChangeBatch) -> Result<ChangeBatch, ApiFault> {
    let changes = batch.changes.items.into_iter().map(|change| {
        let action = match change.action.as_str() {
            "CREATE" => Action::Create,
            "DELETE" => Action::Delete,
            "UPSERT" => Action::Upsert,
            other => return Err(invalid(format!("unknown Action `{other}`"))),
        };
        Ok(RecordChange { action, record_set: record_set(change.resource_record_set)? })
    });
    Ok(ChangeBatch { comment: batch.comment, changes: changes.collect::<Result<_, _>>()? })
}

fn record_set(set: api::ResourceRecordSet) -> Result<RecordSet, ApiFault> {
    for (present, what) in [
        (set.alias_target.is_some(), "alias records"),
        (set.geo_location.is_some(), "geolocation routing"),
        (set.geo_proximity_location.is_some(), "geoproximity routing"),
        (set.cidr_routing_config.is_some(), "CIDR routing"),
        (set.multi_value_answer.is_some(), "multivalue answers"),
        (set.region.is_some(), "latency routing"),
        (set.traffic_policy_instance_id.is_some(), "traffic policies"),
    ] {
        if present {
            return Err(not_implemented(format!("{what}: not simulated")));
        }
    }
    let ttl_seconds = set
        .t_t_l
        .ok_or_else(|| invalid("Invalid request: a resource record set without alias needs TTL"))
        .and_then(|ttl| match u32::try_from(ttl) {
            Ok(ttl) if ttl <= 2_147_483_647 => Ok(ttl),
            _ => Err(invalid("TTL must be from 0 to 2147483647")),
        })?;
    let values = set.resource_records.map_or_else(Vec::new, |r| r.items.into_iter().map(|r| r.value).collect());
    Ok(RecordSet {
        name: dns_name(&set.name)?,
        rtype: rr_type(&set.r#type)?,
        ttl_seconds,
        values,
        routing: routing(set.set_identifier, set.failover, set.weight)?,
        health_check_id: set.health_check_id.filter(|id| !id.is_empty()),
    })
}

fn routing(set_identifier: Option<String>, failover: Option<String>, weight: Option<i64>) -> Result<Routing, ApiFault> {
    match (set_identifier, failover.as_deref(), weight) {
        (None, None, None) => Ok(Routing::Simple),
        (Some(set_identifier), Some("PRIMARY"), None) => {
            Ok(Routing::Failover { set_identifier, role: FailoverRole::Primary })
        }
        (Some(set_identifier), Some("SECONDARY"), None) => {
            Ok(Routing::Failover { set_identifier, role: FailoverRole::Secondary })
        }
        (Some(set_identifier), None, Some(weight)) => match u8::try_from(weight) {
            Ok(weight) => Ok(Routing::Weighted { set_identifier, weight }),
            Err(_) => Err(invalid("Weight must be from 0 to 255")),
        },
        (Some(id), None, None) => Err(invalid(format!("Invalid request: SetIdentifier {id} without a routing policy"))),
        (None, _, _) => Err(invalid("Invalid request: Missing field 'SetIdentifier'")),
        (Some(_), Some(_), None) => Err(invalid("Failover must be PRIMARY or SECONDARY")),
        (Some(_), Some(_), Some(_)) => {
            Err(invalid("Invalid request: Expected exactly one of [Weight, Region, Failover, ...] but found more"))
        }
    }
}

pub(super) fn record_set_out(set: RecordSet) -> api::ResourceRecordSet {
    let (failover, weight) = match &set.routing {
        Routing::Simple => (None, None),
        Routing::Failover { role, .. } => (Some(role.as_str().to_owned()), None),
        Routing::Weighted { weight, .. } => (None, Some(i64::from(*weight))),
    };
    api::ResourceRecordSet {
        name: set.name.to_string(),
        r#type: set.rtype.as_str().to_owned(),
        set_identifier: set.routing.set_identifier().map(str::to_owned),
        failover,
        weight,
        t_t_l: Some(i64::from(set.ttl_seconds)),
        resource_records: Some(api::ResourceRecords {
            items: set.values.into_iter().map(|value| api::ResourceRecord { value }).collect(),
        }),
        health_check_id: set.health_check_id,
        ..Default::default()
    }
}

pub(super) fn change_info(info: ChangeInfo) -> api::ChangeInfo {
    api::ChangeInfo {
        comment: info.comment,
        id: Some(format!("/change/{}", info.id)),
        status: Some(info.status.as_str().to_owned()),
        submitted_at: Some(timestamp(info.submitted_at)),
    }
}

pub(super) fn zone(zone: Zone) -> api::HostedZone {
    api::HostedZone {
        caller_reference: Some(zone.caller_reference),
        config: Some(api::HostedZoneConfig { comment: zone.comment, private_zone: Some(zone.private) }),
        id: Some(format!("/hostedzone/{}", zone.id)),
        name: Some(zone.name.to_string()),
        resource_record_set_count: i64::try_from(zone.live.len()).ok(),
        ..Default::default()
    }
}

pub(super) fn observation(seen: Observation) -> api::HealthCheckObservation {
    api::HealthCheckObservation {
        i_p_address: Some(seen.checker.to_string()),
        region: Some(seen.region.to_string()),
        status_report: Some(api::StatusReport {
            checked_time: Some(timestamp(seen.checked_at)),
            status: Some(seen.status),
        }),
    }
}

pub(super) fn health_check(check: HealthCheck) -> api::HealthCheck {
    let c = check.config;
    let endpoint = c.check_type.has_endpoint();
    let config = api::HealthCheckConfig {
        alarm_identifier: c.alarm.map(|a| api::AlarmIdentifier { name: a.name, region: a.region.to_string() }),
        child_health_checks: (c.check_type == CheckType::Calculated)
            .then_some(api::ChildHealthCheckList { items: c.children }),
        disabled: Some(c.disabled),
        enable_s_n_i: c.enable_sni,
        failure_threshold: endpoint.then(|| c.failure_threshold.cast_signed()),
        fully_qualified_domain_name: c.fully_qualified_domain_name,
        health_threshold: c.health_threshold.map(u32::cast_signed),
        i_p_address: c.ip_address.map(|a| a.to_string()),
        insufficient_data_health_status: c.insufficient_data.map(|i| i.as_str().to_owned()),
        inverted: Some(c.inverted),
        measure_latency: endpoint.then_some(c.measure_latency),
        port: c.port.map(i32::from),
        regions: (!c.regions.is_empty())
            .then(|| api::HealthCheckRegionList { items: c.regions.iter().map(Region::to_string).collect() }),
        request_interval: endpoint.then(|| c.request_interval_seconds.cast_signed()),
        resource_path: c.resource_path,
        routing_control_arn: c.routing_control_arn,
        search_string: c.search_string,
        r#type: c.check_type.as_str().to_owned(),
    };
    api::HealthCheck {
        caller_reference: Some(check.caller_reference),
        health_check_config: Some(config),
        health_check_version: i64::try_from(check.version).ok(),
        id: Some(check.id),
        ..Default::default()
    }
}

pub(super) fn health_check_config(c: api::HealthCheckConfig) -> Result<HealthCheckConfig, ApiFault> {
    let check_type = one_of::<CheckType>("Type", &c.r#type)?;
    let base = HealthCheckConfig::of(check_type);
    Ok(HealthCheckConfig {
        check_type,
        ip_address: address(c.i_p_address)?,
        port: number("Port", c.port)?,
        resource_path: c.resource_path,
        fully_qualified_domain_name: c.fully_qualified_domain_name,
        search_string: c.search_string,
        request_interval_seconds: number("RequestInterval", c.request_interval)?
            .unwrap_or(base.request_interval_seconds),
        failure_threshold: number("FailureThreshold", c.failure_threshold)?.unwrap_or(base.failure_threshold),
        measure_latency: c.measure_latency.unwrap_or_default(),
        inverted: c.inverted.unwrap_or_default(),
        disabled: c.disabled.unwrap_or_default(),
        health_threshold: number("HealthThreshold", c.health_threshold)?,
        children: c.child_health_checks.unwrap_or_default().items,
        enable_sni: c.enable_s_n_i,
        regions: regions(c.regions.unwrap_or_default().items)?,
        alarm: c.alarm_identifier.map(alarm).transpose()?,
        insufficient_data: c
            .insufficient_data_health_status
            .map(|s| one_of("InsufficientDataHealthStatus", &s))
            .transpose()?,
        routing_control_arn: c.routing_control_arn,
    })
}

pub(super) fn health_check_update(u: api::UpdateHealthCheckRequest) -> Result<HealthCheckUpdate, ApiFault> {
    let reset = u.reset_elements.unwrap_or_default().items;
    Ok(HealthCheckUpdate {
        version: u
            .health_check_version
            .map(u64::try_from)
            .transpose()
            .map_err(|_| invalid("HealthCheckVersion must not be negative"))?,
        ip_address: address(u.i_p_address)?,
        port: number("Port", u.port)?,
        resource_path: u.resource_path,
        fully_qualified_domain_name: u.fully_qualified_domain_name,
        search_string: u.search_string,
        failure_threshold: number("FailureThreshold", u.failure_threshold)?,
        inverted: u.inverted,
        disabled: u.disabled,
        health_threshold: number("HealthThreshold", u.health_threshold)?,
        children: u.child_health_checks.map(|c| c.items),
        enable_sni: u.enable_s_n_i,
        regions: u.regions.map(|r| regions(r.items)).transpose()?,
        alarm: u.alarm_identifier.map(alarm).transpose()?,
        insufficient_data: u
            .insufficient_data_health_status
            .map(|s| one_of("InsufficientDataHealthStatus", &s))
            .transpose()?,
        reset: reset.iter().map(|s| one_of::<Resettable>("ResetElements", s)).collect::<Result<_, _>>()?,
    })
}

fn alarm(a: api::AlarmIdentifier) -> Result<AlarmIdentifier, ApiFault> {
    Ok(AlarmIdentifier { region: region(&a.region)?, name: a.name })
}

fn regions(names: Vec<String>) -> Result<Vec<Region>, ApiFault> {
    names.iter().map(|name| region(name)).collect()
}

fn region(name: &str) -> Result<Region, ApiFault> {
    name.parse().map_err(|_| invalid(format!("unknown Region `{name}`")))
}

/// IPv6 endpoints are not simulated.
fn address(text: Option<String>) -> Result<Option<std::net::Ipv4Addr>, ApiFault> {
    text.map(|t| t.parse().map_err(|_| invalid(format!("`{t}` is not an IPv4 address")))).transpose()
}

fn number<T: TryFrom<i32>>(field: &str, n: Option<i32>) -> Result<Option<T>, ApiFault> {
    n.map(|n| T::try_from(n).map_err(|_| invalid(format!("{field} is out of range: {n}")))).transpose()
}

fn one_of<T: FromStr>(field: &str, text: &str) -> Result<T, ApiFault> {
    text.parse().map_err(|_| invalid(format!("unknown {field} `{text}`")))
}

/// ISO 8601 with milliseconds, as Route 53 writes it.
fn timestamp(at: SimTime) -> String {
    i64::try_from(at.0)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(String::new, |t| format!("{t:.3}"))
}
