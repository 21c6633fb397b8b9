//! The object of the mechanism `standby_object`, as it is looked at: after a call, before a failover is needed, and beside
//! the zone's answers.
//!
//! Invariant: absence is S3's word. A refusal (403), a missing bucket or silence is never taken for it: it would say that
//! traffic is at home. It sends nothing.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    domain::{
        action::Action,
        application::Mechanism,
        cloud::{Mutation, ObserveError},
        id::{Region, TrafficName},
        plan::Plan,
        standby_object::ObjectAt,
    },
    engine::{
        context::Context,
        denial::Denial,
        guards::Answer,
        observe::{Seen, unread},
    },
    ports::Cloud,
};

/// How long a look waits that is only told beside something else.
const ASIDE: Duration = Duration::from_secs(3);

/// What begins a line about an object that does not stand for where the application lives.
pub(super) const WARNING: &str = "WARNING: ";

/// Whether `action` puts or deletes such an object.
pub(super) fn has_object(action: &Action) -> bool {
    let calls = if let Action::DnsFlip { calls, .. } = action { &calls[..] } else { &[] };
    calls.iter().any(|call| matches!(call, Mutation::PutObject { .. } | Mutation::DeleteObject { .. }))
}

fn says(object: &ObjectAt, is_there: bool) -> String {
    format!("{object} is {}", if is_there { "there" } else { "absent" })
}

/// Whether the object is as `wanted`: strongly consistent, so one look is enough [S3 UG].
pub(super) async fn observe(cloud: &dyn Cloud, object: &ObjectAt, wanted: bool) -> Seen {
    match cloud.object_is_there(object).await {
        Ok(seen) if seen == wanted => Seen::Done { evidence: vec![says(object, seen)], outputs: BTreeMap::new() },
        Ok(seen) => Seen::Before { what: says(object, seen) },
        Err(error) => denial(object, &error).map_or_else(|| unread("s3:HeadObject", &error), Seen::Denied),
    }
}

/// What S3 refuses to show, with what the role must be given. `None`: another error.
fn denial(object: &ObjectAt, error: &ObserveError) -> Option<Denial> {
    let mut denial = Denial::of("s3:HeadObject", Some(&object.region), error)?;
    if denial.code == "access-denied" {
        denial.why = format!(
            "S3 refuses to show {object} ({error}), and is not taken to say that it is absent: the daemon's role needs \
             s3:GetObject on it and s3:ListBucket on the bucket"
        );
    }
    Some(denial)
}

/// Whether the objects that `plan` puts or deletes can be seen, and stand for where traffic is now: what does not is told.
/// A bucket that does not exist is a fact that no failover survives.
pub(super) async fn preflight(context: &Context, plan: &Plan) -> Answer {
    let mut told = Vec::new();
    for step in &plan.steps {
        match ahead(context, plan, &step.action).await {
            Answer::Holds { evidence } => told.extend(evidence),
            Answer::Fails { why } => return Answer::Fails { why: format!("step {}: {why}", step.id) },
            Answer::Unknown { why } => return Answer::Unknown { why: format!("step {}: {why}", step.id) },
            denied @ Answer::Denied(_) => return denied,
        }
    }
    Answer::Holds { evidence: told }
}

/// The same of one action; of one that changes no such object there is nothing to tell.
pub(super) async fn ahead(context: &Context, plan: &Plan, action: &Action) -> Answer {
    let mut told = Vec::new();
    let calls = if let Action::DnsFlip { calls, .. } = action { &calls[..] } else { &[] };
    for call in calls {
        let (object, before) = match call {
            Mutation::PutObject { object, .. } => (object, false),
            Mutation::DeleteObject { object } => (object, true),
            _ => continue,
        };
        match context.cloud.object_is_there(object).await {
            Ok(seen) if seen == before => told.push(says(object, seen)),
            Ok(seen) => told.push(format!("{WARNING}{}", drift(object, seen, &plan.source))),
            Err(error @ ObserveError::NotFound { .. }) => return Answer::Fails { why: error.to_string() },
            Err(error) => {
                return match denial(object, &error) {
                    Some(denial) => Answer::Denied(denial),
                    None => Answer::Unknown { why: format!("whether {object} is there: {error}") },
                };
            }
        }
    }
    Answer::Holds { evidence: told }
}

/// What it means that an object is (not) there while the application lives in `active`.
fn drift(object: &ObjectAt, is_there: bool, active: &Region) -> String {
    let (what, to) =
        if is_there { ("somebody has put it", "the standby") } else { ("somebody has deleted it", "the primary") };
    format!(
        "{}, while the application lives in {active}: {what}, and health checks send traffic to {to}",
        says(object, is_there)
    )
}

/// What the object of `traffic` says, where it has one and traffic is verified to be at `at`: told beside the evidence,
/// and never waited for long.
pub(super) async fn aside(context: &Context, traffic: &TrafficName, expected: &str) -> Option<String> {
    let entry = context.application.traffic.get(traffic)?;
    let Mechanism::StandbyObject { object, .. } = &entry.mechanism else { return None };
    let at = entry.answers.iter().find(|(_, answer)| *answer == expected).map(|(region, _)| region)?;
    let seen = tokio::select! {
        biased;
        seen = context.cloud.object_is_there(object) => seen,
        () = context.clock.sleep(ASIDE) => Err(ObserveError::Unreachable {
            reason: format!("S3 has not answered within {} s", ASIDE.as_secs()),
        }),
    };
    let wanted = context.application.regions.first() != Some(at);
    Some(match seen {
        Ok(seen) if seen == wanted => says(object, seen),
        Ok(seen) => format!("{WARNING}{}", drift(object, seen, at)),
        Err(error) => format!("whether {object} is there is not known: {error}"),
    })
}
