//! What preflight looks at of the traffic: the records of each public name, their TTL, and the routing controls.
//!
//! Invariant: the records are read from Route 53's control plane, which a failover never needs; where it does not answer
//! they are unknown.

use std::time::Duration;

use futures_util::FutureExt as _;

use crate::{
    domain::{
        application::{ClusterEndpoint, Mechanism, Traffic},
        cloud::RecordSet,
        id::{Region, TrafficName},
        preflight::{Class, Kind},
        seconds::to_seconds,
    },
    engine::{context::Context, denial::Denial, guards::Answer},
};

use super::question::{Question, open};

/// The TTL may be one part in so many of the RTO: the rest is detection, decision and promotion.
const TTL_OF_RTO: u32 = 2;

/// What is asked about each way of moving traffic, while the application lives in `active`.
pub(super) fn questions<'a>(context: &'a Context, active: &'a Region) -> Vec<Question<'a>> {
    let of_one = |(name, traffic): (&'a TrafficName, &'a Traffic)| {
        let records = Some(records(context, name, traffic));
        let controls = if let Mechanism::RoutingControls { endpoints, controls, .. } = &traffic.mechanism {
            let arns: Vec<(&Region, &str)> = controls.iter().map(|(region, arn)| (region, arn.as_str())).collect();
            Some(routing(context, name, (endpoints, arns), active))
        } else {
            None
        };
        [records, controls]
    };
    context.application.traffic.iter().flat_map(of_one).flatten().collect()
}

fn records<'a>(context: &'a Context, name: &TrafficName, traffic: &'a Traffic) -> Question<'a> {
    let subject = format!("{name}: {} {}", traffic.record_name, traffic.record_type);
    let record = open(
        Class::Blocking,
        Kind::Record,
        subject.clone(),
        "its records are as configured, with their health checks",
        "mend the record or the application's `traffic` entry",
    );
    let ttl = open(
        Class::Degrading,
        Kind::Ttl,
        subject,
        &format!(
            "{} s as configured, and at most half of the RTO ({} s)",
            traffic.ttl.as_secs(),
            to_seconds(context.application.objectives.rto)
        ),
        "lower the TTL of the record, and say it in the application's `traffic` entry",
    );
    let look = async move {
        let read = context.cloud.record_sets(&traffic.hosted_zone_id, &traffic.record_name, &traffic.record_type).await;
        match read {
            Ok(found) => {
                vec![as_configured(traffic, &found), ttl_of(traffic, &found, context.application.objectives.rto)]
            }
            Err(error) => {
                let denied = Denial::of("route53:ListResourceRecordSets", None, &error).map(Answer::Denied);
                let why = format!("zone {}: {error}", traffic.hosted_zone_id);
                let unknown = Answer::Unknown { why };
                // Refused once is told once.
                vec![denied.unwrap_or_else(|| unknown.clone()), unknown]
            }
        }
    };
    Question { checks: vec![record, ttl], look: look.boxed() }
}

/// Whether the records are those that the mechanism turns.
fn as_configured(traffic: &Traffic, found: &[RecordSet]) -> Answer {
    if found.is_empty() {
        return Answer::fails(format!("zone {} has no such record", traffic.hosted_zone_id));
    }
    let mut faults = Vec::new();
    match &traffic.mechanism {
        Mechanism::RoutingControls { weighted, .. } if !weighted.is_empty() => {
            for (region, wanted) in weighted {
                match found.iter().find(|r| r.set_identifier.as_ref() == Some(&wanted.set_identifier)) {
                    None => faults.push(format!("there is no record `{}`", wanted.set_identifier)),
                    Some(r) if r.health_check_id.as_ref() != Some(&wanted.health_check_id) => faults.push(format!(
                        "record `{}` has health check {}, not {}",
                        wanted.set_identifier,
                        r.health_check_id.as_deref().unwrap_or("none"),
                        wanted.health_check_id
                    )),
                    Some(r) => faults.extend(wrong_answer(traffic, region, r)),
                }
            }
        }
        Mechanism::Records { set_identifiers } if !set_identifiers.is_empty() => {
            for (region, identifier) in set_identifiers {
                match found.iter().find(|r| r.set_identifier.as_ref() == Some(identifier)) {
                    None => faults.push(format!("there is no record `{identifier}`")),
                    Some(r) => faults.extend(wrong_answer(traffic, region, r)),
                }
            }
        }
        // The one record is what changes: it answers with some Region.
        Mechanism::Records { .. } => {}
        Mechanism::RoutingControls { .. } | Mechanism::HealthSignal { .. } | Mechanism::StandbyObject { .. } => {
            faults.extend(turned(traffic, found));
        }
    }
    if faults.is_empty() {
        Answer::Holds { evidence: vec![format!("{} record(s), as configured", found.len())] }
    } else {
        Answer::fails(faults.join("; "))
    }
}

/// An alias has no value of its own, so its answer is not compared.
fn wrong_answer(traffic: &Traffic, region: &Region, record: &RecordSet) -> Option<String> {
    let wanted = traffic.answers.get(region)?;
    let is_right = record.values.is_empty() || record.values == [wanted.clone()];
    let name = record.set_identifier.as_deref().unwrap_or_default();
    (!is_right).then(|| format!("record `{name}` answers {}, not {wanted}", record.values.join(", ")))
}

/// Records that health checks turn: each Region's answer is there, and what is to be turned away from has a check.
fn turned(traffic: &Traffic, found: &[RecordSet]) -> Vec<String> {
    let mut faults = Vec::new();
    let aliases = found.iter().any(|r| r.values.is_empty());
    for (region, answer) in traffic.answers.iter().filter(|_| !aliases) {
        if !found.iter().any(|r| r.values == [answer.clone()]) {
            faults.push(format!("no record answers {answer} for {region}"));
        }
    }
    let primaries: Vec<&RecordSet> = found.iter().filter(|r| r.failover.as_deref() == Some("PRIMARY")).collect();
    let turned = if primaries.is_empty() { found.iter().collect() } else { primaries };
    for record in turned.into_iter().filter(|r| r.health_check_id.is_none()) {
        let name = record.set_identifier.as_deref().unwrap_or("(simple)");
        faults.push(format!("record `{name}` has no health check: nothing turns traffic away from it"));
    }
    faults
}

fn ttl_of(traffic: &Traffic, found: &[RecordSet], rto: Duration) -> Answer {
    let configured = traffic.ttl.as_secs();
    let other = found.iter().filter_map(|r| r.ttl_seconds).find(|ttl| u64::from(*ttl) != configured);
    if let Some(other) = other {
        return Answer::fails(format!("a record has {other} s, configured are {configured} s"));
    }
    let half = rto / TTL_OF_RTO;
    if half < traffic.ttl {
        return Answer::fails(format!("{configured} s is more than half of the RTO of {} s", to_seconds(rto)));
    }
    if found.iter().all(|r| r.ttl_seconds.is_none()) {
        return Answer::Unknown {
            why: "its records are aliases, whose TTL is their target's, or there are none".to_owned(),
        };
    }
    Answer::Holds { evidence: vec![format!("{configured} s")] }
}

fn routing<'a>(
    context: &'a Context,
    name: &TrafficName,
    (endpoints, controls): (&'a [ClusterEndpoint], Vec<(&'a Region, &'a str)>),
    active: &'a Region,
) -> Question<'a> {
    let check = open(
        Class::Blocking,
        Kind::Traffic,
        name.as_str(),
        "the routing control of the active Region is On, the others Off",
        "set the controls as they should be, or mend the way to the cluster's endpoints",
    );
    let look = async move {
        let arns: Vec<String> = controls.iter().map(|(_, arn)| (*arn).to_owned()).collect();
        vec![match context.cloud.routing_controls(endpoints, &arns).await {
            Ok(states) => {
                let word = |on: bool| if on { "On" } else { "Off" };
                let seen = controls.iter().zip(&states).map(|((region, _), on)| format!("{region} {}", word(*on)));
                let seen = seen.collect::<Vec<_>>().join(", ");
                let stands = controls.iter().zip(&states).all(|((region, _), on)| (*region == active) == *on);
                if stands { Answer::Holds { evidence: vec![seen] } } else { Answer::fails(seen) }
            }
            Err(error) => {
                let denied = Denial::of("route53-recovery-cluster:GetRoutingControlState", None, &error);
                let unknown = || Answer::Unknown { why: format!("no endpoint of the cluster tells: {error}") };
                denied.map_or_else(unknown, Answer::Denied)
            }
        }]
    };
    Question { checks: vec![check], look: look.boxed() }
}
