//! The call that takes another back, and where it sends traffic.
//!
//! Invariant: what is restored is what was seen, to the last argument; where there is no such call, why is said.

use std::collections::BTreeSet;

use super::Prior;
use crate::domain::{
    application::{Mechanism, Traffic},
    cloud::{Mutation, RecordSet},
    fence::{self, Wanted},
    id::Region,
    standby_object,
};

/// The call that restores what `prior` says was there before `call`.
///
/// # Errors
/// Why there is none, as a sentence.
pub fn inverse(call: &Mutation, prior: &Prior) -> Result<Mutation, String> {
    match (call, prior) {
        (Mutation::RoutingControls { endpoints, states }, Prior::RoutingControls { states: before }) => {
            if !states.keys().eq(before.keys()) {
                return Err("what was seen before are other routing controls than the call's".to_owned());
            }
            // R10: never all off, not even where it was so.
            if !before.values().any(|on| *on) {
                return Err("every routing control was Off before: restoring that would serve nobody".to_owned());
            }
            Ok(Mutation::RoutingControls { endpoints: endpoints.clone(), states: before.clone() })
        }
        (Mutation::UpsertRecords { hosted_zone_id, records, comment }, Prior::Records { records: before }) => {
            let restored = records.iter().map(|record| {
                let same = |old: &&RecordSet| same_set(old, record);
                match before.iter().find(same) {
                    Some(old) if !old.values.is_empty() => Ok(old.clone()),
                    Some(old) => Err(format!("{} held no plain values before, which is restored by hand", old.name)),
                    None => Err(format!("{} did not exist before, and nothing here deletes a record", record.name)),
                }
            });
            let (hosted_zone_id, comment) = (hosted_zone_id.clone(), format!("{comment} (undone)"));
            Ok(Mutation::UpsertRecords { hosted_zone_id, records: restored.collect::<Result<_, _>>()?, comment })
        }
        (Mutation::PutMetric { region, namespace, metric, dimensions, .. }, Prior::Metric { value, .. }) => {
            let (namespace, metric) = (namespace.clone(), metric.clone());
            let (region, dimensions) = (region.clone(), dimensions.clone());
            Ok(Mutation::PutMetric { region, namespace, metric, dimensions, value: *value })
        }
        (Mutation::AwsCall { request, .. }, Prior::Ingress { rules }) => match Wanted::of(request) {
            Some(Wanted::Gone { region, group, .. }) if !rules.is_empty() => {
                Ok(fence::authorise(&region, &group, rules))
            }
            _ => Err("no rule was there before that could be made again".to_owned()),
        },
        (Mutation::AwsCall { request, .. }, Prior::Size { count }) => match Wanted::of(request) {
            Some(Wanted::Size { region, part, .. }) => fence::restore(&region, &part, *count),
            _ => Err(format!("{} has no inverse", call.operation())),
        },
        (Mutation::PutObject { object, .. } | Mutation::DeleteObject { object }, Prior::Object { is_there: false }) => {
            Ok(Mutation::DeleteObject { object: object.clone() })
        }
        (Mutation::PutObject { object, .. } | Mutation::DeleteObject { object }, Prior::Object { is_there: true }) => {
            Ok(Mutation::PutObject { object: object.clone(), body: standby_object::RESTORED.to_owned() })
        }
        _ => Err(format!("{} has no inverse", call.operation())),
    }
}

/// Where `call` sends the traffic of an entry; `None` where its configuration does not say.
pub fn destinations(traffic: &Traffic, regions: &[Region], call: &Mutation) -> Option<BTreeSet<Region>> {
    match (&traffic.mechanism, call) {
        (Mechanism::RoutingControls { controls, .. }, Mutation::RoutingControls { states, .. }) => {
            let region = |arn: &String| controls.iter().find(|(_, of)| *of == arn).map(|(region, _)| region.clone());
            states.iter().filter(|(_, on)| **on).map(|(arn, _)| region(arn)).collect()
        }
        (Mechanism::Records { .. } | Mechanism::RoutingControls { .. }, Mutation::UpsertRecords { records, .. }) => {
            let region = |value: &String| traffic.answers.iter().find(|(_, a)| *a == value).map(|(r, _)| r.clone());
            let served = records.iter().filter(|record| record.weight != Some(0));
            served.flat_map(|record| &record.values).map(region).collect()
        }
        (Mechanism::HealthSignal { active_value, diverted_value, .. }, Mutation::PutMetric { value, .. }) => {
            let is = |of: f64| (value - of).abs() < f64::EPSILON;
            match regions {
                [preferred, ..] if is(*active_value) => Some([preferred.clone()].into()),
                [_, other] if is(*diverted_value) => Some([other.clone()].into()),
                _ => None,
            }
        }
        (Mechanism::StandbyObject { object: of, .. }, Mutation::PutObject { object, .. }) if of == object => {
            match regions {
                [_, other] => Some([other.clone()].into()),
                _ => None,
            }
        }
        (Mechanism::StandbyObject { object: of, .. }, Mutation::DeleteObject { object }) if of == object => {
            Some([regions.first()?.clone()].into())
        }
        _ => None,
    }
}

/// Whether an UPSERT of `new` replaces `old`: Route 53 knows a set by name, type and set identifier.
pub fn same_set(old: &RecordSet, new: &RecordSet) -> bool {
    let name = |r: &RecordSet| r.name.trim_end_matches('.').to_ascii_lowercase();
    name(old) == name(new) && old.record_type == new.record_type && old.set_identifier == new.set_identifier
}
