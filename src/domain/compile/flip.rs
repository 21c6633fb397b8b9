//! How traffic is moved: the calls of a flip, by the mechanism of the dns entry.
//!
//! How records are changed (mechanism `records`): without set identifiers, one simple record is UPSERTed with the
//! target's answer. With them, each Region's record is UPSERTed as a *weighted* record, 100 for the target and 0 for
//! the others, in one batch. Such records must be weighted already: Route 53 refuses to mix routing policies under
//! one name, and roles of failover records cannot be swapped in one batch. They carry no health check, which
//! would take the target out of service by itself.

use std::collections::BTreeMap;

use super::{
    super::{
        action::Action,
        application::{ClusterEndpoint, Mechanism, Traffic},
        cloud::{Mutation, RecordSet},
        id::{Region, TrafficName},
        runbook::{Act, MechanismKind},
        standby_object::note,
    },
    Compiler, Scope, listed,
};

impl Compiler<'_> {
    pub(super) fn traffic_action(
        &self,
        act: &Act,
        named: Option<&TrafficName>,
        scope: &Scope,
    ) -> Result<Action, String> {
        let (name, traffic) = self.entry(named, scope)?;
        let expected = answer(traffic, name, self.target)?;
        let Act::DnsFlip { demands, .. } = act else {
            return Ok(Action::DnsVerify {
                traffic: name.clone(),
                record_name: traffic.record_name.clone(),
                record_type: traffic.record_type.clone(),
                servers: traffic.servers.clone(),
                expected,
            });
        };
        if let Some(wanted) = demands
            && *wanted != kind_of(&traffic.mechanism)
        {
            return Err(format!(
                "wants the mechanism {}, and dns `{name}` uses {}",
                kind_name(*wanted),
                kind_name(kind_of(&traffic.mechanism))
            ));
        }
        Ok(Action::DnsFlip {
            traffic: name.clone(),
            to: self.target.clone(),
            calls: self.flip_calls(traffic, name)?,
            standing: matches!(traffic.mechanism, Mechanism::HealthSignal { .. }),
            requires_writer: self.writer_proofs()?,
        })
    }

    /// The dns entry that a step is about.
    pub(super) fn entry<'s>(
        &'s self,
        named: Option<&'s TrafficName>,
        scope: &'s Scope,
    ) -> Result<(&'s TrafficName, &'s Traffic), String> {
        let name = match scope {
            Scope::Traffic(t) => Some(t),
            Scope::Whole | Scope::Store(_) | Scope::Topic(_) => named,
        };
        let name = name.ok_or("names no dns entry")?;
        let traffic = self.application.traffic.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.application.traffic.keys().map(TrafficName::as_str).collect();
            format!("`{}` has no dns `{name}`; dns: {}", self.application.name, listed(&known))
        })?;
        Ok((name, traffic))
    }

    fn flip_calls(&self, traffic: &Traffic, name: &TrafficName) -> Result<Vec<Mutation>, String> {
        let call = match &traffic.mechanism {
            Mechanism::RoutingControls { endpoints, controls, .. } => {
                if !controls.contains_key(self.target) {
                    return Err(format!("dns `{name}` has no routing control for {}", self.target));
                }
                let state = |(region, arn): (&Region, &String)| (arn.clone(), region == self.target);
                let states = controls.iter().map(state).collect();
                Mutation::RoutingControls { endpoints: self.source_last(endpoints), states }
            }
            Mechanism::HealthSignal { region, namespace, metric, dimensions, active_value, diverted_value } => {
                let preferred = self.application.regions.first() == Some(self.target);
                Mutation::PutMetric {
                    region: region.clone(),
                    namespace: namespace.clone(),
                    metric: metric.clone(),
                    dimensions: dimensions.clone(),
                    value: if preferred { *active_value } else { *diverted_value },
                }
            }
            Mechanism::StandbyObject { object, .. } => {
                if self.application.regions.len() != 2 {
                    return Err(format!(
                        "dns `{name}`: an object says one of two Regions, and the application has more"
                    ));
                }
                if self.application.regions.first() == Some(self.target) {
                    Mutation::DeleteObject { object: object.clone() }
                } else {
                    let body = note(&self.application.name, self.purpose, self.target);
                    Mutation::PutObject { object: object.clone(), body }
                }
            }
            Mechanism::Records { set_identifiers } => Mutation::UpsertRecords {
                hosted_zone_id: traffic.hosted_zone_id.clone(),
                records: self.records(traffic, name, set_identifiers)?,
                // No arrow: Route 53's comments are plain text that other programs read.
                comment: format!("failoverd: {} {} to {}", self.application.name, self.purpose, self.target),
            },
        };
        Ok(vec![call])
    }

    /// The endpoint in the Region that is left comes last: it may hang.
    pub(super) fn source_last(&self, endpoints: &[ClusterEndpoint]) -> Vec<ClusterEndpoint> {
        let mut endpoints = endpoints.to_vec();
        endpoints.sort_by_key(|e| e.region == *self.source);
        endpoints
    }

    fn records(
        &self,
        traffic: &Traffic,
        name: &TrafficName,
        set_identifiers: &BTreeMap<Region, String>,
    ) -> Result<Vec<RecordSet>, String> {
        let ttl = ttl_seconds(traffic, name)?;
        let record = |value: String, set_identifier: Option<String>, weight: Option<u8>| RecordSet {
            name: traffic.record_name.clone(),
            record_type: traffic.record_type.clone(),
            ttl_seconds: Some(ttl),
            values: vec![value],
            set_identifier,
            failover: None,
            weight,
            health_check_id: None,
        };
        if set_identifiers.is_empty() {
            return Ok(vec![record(answer(traffic, name, self.target)?, None, None)]);
        }
        if !set_identifiers.contains_key(self.target) {
            return Err(format!("dns `{name}` has no set identifier for {}", self.target));
        }
        set_identifiers
            .iter()
            .map(|(region, id)| {
                let weight = if region == self.target { 100 } else { 0 };
                Ok(record(answer(traffic, name, region)?, Some(id.clone()), Some(weight)))
            })
            .collect()
    }
}

pub(super) fn ttl_seconds(traffic: &Traffic, name: &TrafficName) -> Result<u32, String> {
    u32::try_from(traffic.ttl.as_secs()).map_err(|_| format!("dns `{name}`: the TTL is too long"))
}

pub(super) fn answer(traffic: &Traffic, name: &TrafficName, region: &Region) -> Result<String, String> {
    let answer = traffic.answers.get(region).cloned();
    answer.ok_or_else(|| format!("dns `{name}` has no answer for {region}"))
}

fn kind_of(mechanism: &Mechanism) -> MechanismKind {
    match mechanism {
        Mechanism::RoutingControls { .. } => MechanismKind::RoutingControls,
        Mechanism::HealthSignal { .. } => MechanismKind::HealthSignal,
        Mechanism::StandbyObject { .. } => MechanismKind::StandbyObject,
        Mechanism::Records { .. } => MechanismKind::Records,
    }
}

fn kind_name(kind: MechanismKind) -> &'static str {
    match kind {
        MechanismKind::RoutingControls => "routing_controls",
        MechanismKind::HealthSignal => "health_signal",
        MechanismKind::StandbyObject => "standby_object",
        MechanismKind::Records => "records",
    }
}
