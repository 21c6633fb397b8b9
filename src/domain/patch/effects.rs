//! What each call makes of which resource, and what Terraform and CloudFormation make of that.
//!
//! What the tools do was read in the source of hashicorp/aws (`internal/service/rds/cluster.go`, `global_cluster.go`) and
//! in the schemas of CloudFormation's resource providers, beside terraform-provider-aws#42919, #40386, #34203,
//! terraform-aws-rds-cluster#281 and cloudformation-coverage-roadmap#1856. docs/infrastructure-as-code.md has it in words.
//! Of nothing here follows what somebody's code says: an `otherwise` that depends on it says so.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Certainty, Change, Remedy, Resource, Said, Side, services};
use crate::domain::{
    action::Action,
    application::{Application, ClusterArn},
    cloud::{Mutation, RecordSet},
    plan::PlannedStep,
    run::RunState,
    undo::{Made, Prior, same_set},
};

/// A call that may have had an effect.
pub(super) struct Call<'a> {
    pub(super) run: &'a RunState,
    pub(super) step: &'a PlannedStep,
    pub(super) made: &'a Made,
    pub(super) mutation: &'a Mutation,
    pub(super) certainty: Certainty,
}

impl Call<'_> {
    pub(super) fn change(
        &self,
        resource: &Resource,
        (before, after): (Said, Said),
        terraform: Side,
        cloudformation: Side,
    ) -> Change {
        Change {
            run: self.run.id.clone(),
            step: self.step.id.clone(),
            operation: self.mutation.operation().into_owned(),
            resource: resource.clone(),
            before,
            after,
            certainty: self.certainty,
            terraform,
            cloudformation,
        }
    }

    /// What is there after it, by the call itself.
    pub(super) fn wrote(&self, value: impl Into<Value>) -> Said {
        let basis = match self.certainty {
            Certainty::Observed => "the call; observed",
            Certainty::Accepted => "the call; accepted, not observed",
            Certainty::Unknown => "the call; nobody knows whether it arrived",
        };
        Said::known(value, basis)
    }
}

/// What `call` has changed.
pub(super) fn changes(call: &Call<'_>, application: Option<&Application>) -> Vec<Change> {
    match call.mutation {
        Mutation::AuroraSwitchover { global_cluster, target, .. }
        | Mutation::AuroraFailover { global_cluster, target, .. } => roles(call, application, global_cluster, target),
        Mutation::RoutingControls { states, .. } => controls(call, states),
        Mutation::UpsertRecords { hosted_zone_id, records, .. } => {
            records.iter().flat_map(|record| record_set(call, hosted_zone_id, record)).collect()
        }
        Mutation::PutMetric { region, namespace, metric, value, .. } => {
            vec![signal(call, &format!("cloudwatch:{region}:{namespace}/{metric}"), *value)]
        }
        Mutation::AwsCall { request, .. } => services::changes(call, request),
        Mutation::AuroraDetach { region, .. } | Mutation::CreateInstance { region, .. } => {
            vec![services::unlisted(call, region.as_str())]
        }
        Mutation::PutObject { object, .. } | Mutation::DeleteObject { object } => {
            vec![services::unlisted(call, object.region.as_str())]
        }
        // Taken out again by its drill; where a failover took the drill's place, it is to be looked for.
        Mutation::LambdaVariable { at, .. } => vec![services::unlisted(call, at.region.as_str())],
        // A message is in no code, and neither are a session and the copy of a snapshot.
        Mutation::Publish { .. } | Mutation::EndSessions { .. } | Mutation::CopySnapshot { .. } => Vec::new(),
    }
}

/// What the source of an Aurora step is; `None`: the step is of another kind.
fn writer_before(action: &Action) -> Option<&ClusterArn> {
    match action {
        Action::AuroraSwitchover { from, .. } | Action::AuroraFailover { from, .. } => Some(from),
        _ => None,
    }
}

/// The ARN of a global cluster, which names no Region.
fn global_arn(global_cluster: &str, member: &ClusterArn) -> String {
    match member.as_str().split(':').collect::<Vec<_>>()[..] {
        ["arn", partition, "rds", _, account, ..] => {
            format!("arn:{partition}:rds::{account}:global-cluster:{global_cluster}")
        }
        _ => global_cluster.to_owned(),
    }
}

/// Members of a global cluster that have exchanged their roles.
fn roles(call: &Call<'_>, application: Option<&Application>, global_cluster: &str, target: &ClusterArn) -> Vec<Change> {
    let Some(from) = writer_before(&call.step.action) else { return Vec::new() };
    // The guards have proved, right before the intent, that `from` was the only writer: their words are the proof.
    let seen = call.made.proof.first();
    let writer = match seen {
        Some(proof) => Said::known(from.as_str(), format!("right before the call: {proof}")),
        None => Said::Unknown { why: "the journal has no reading of it".to_owned() },
    };
    let global = Resource::new(global_arn(global_cluster, target), global_cluster);
    let mut changes = vec![
        call.change(
            &global,
            (writer, call.wrote(target.as_str())),
            Side {
                kind: Some("aws_rds_global_cluster"),
                attribute: "global_cluster_members[is_writer]".to_owned(),
                remedy: Remedy::Leave,
                otherwise: "which member writes is read only: no apply undoes it. Do not point \
                        source_db_cluster_identifier at the new writer: changing it replaces the global cluster, and \
                        with force_destroy every member is removed from it first"
                    .to_owned(),
            },
            Side {
                kind: Some("AWS::RDS::GlobalCluster"),
                attribute: "SourceDBClusterIdentifier".to_owned(),
                remedy: Remedy::Leave,
                otherwise:
                    "drift detection reports it as MODIFIED, because it takes the present writer for the source; \
                        leave the template as it is: changing the property replaces the global cluster"
                        .to_owned(),
            },
        ),
    ];
    let members = application.into_iter().flat_map(|a| a.stores.values());
    let members = members.filter(|store| store.global_cluster == global_cluster).flat_map(|s| s.clusters.values());
    let mut clusters: Vec<&ClusterArn> = vec![target, from];
    members.for_each(|arn| {
        if !clusters.contains(&arn) {
            clusters.push(arn);
        }
    });
    changes.extend(clusters.into_iter().map(|cluster| source(call, cluster, (from, target))));
    changes
}

/// Whom one member replicates from, before and after.
fn source(call: &Call<'_>, cluster: &ClusterArn, (from, target): (&ClusterArn, &ClusterArn)) -> Change {
    let follows = |writer: &ClusterArn| {
        if cluster == writer { Value::Null } else { Value::from(writer.as_str()) }
    };
    let before = match call.made.proof.first() {
        Some(_) => Said::known(follows(from), format!("follows from the roles: the writer was {}", from.identifier())),
        None => Said::Unknown { why: "the journal has no reading of the roles".to_owned() },
    };
    let rejoined = match call.mutation {
        Mutation::AuroraFailover { .. } if cluster != target => {
            "; of a forced failover only once it is back in the global cluster"
        }
        _ => "",
    };
    let after = match call.wrote(follows(target)) {
        Said::Known { value, basis } => {
            Said::Known { value, basis: format!("follows from the roles ({basis}){rejoined}") }
        }
        other => other,
    };
    let otherwise = if cluster == target {
        format!(
            "where the code names {} here, the next apply fails (\"promoting to standalone is not supported\") and \
             nothing else of this cluster is applied",
            from.identifier()
        )
    } else {
        format!(
            "where the code names nothing here, or another cluster than {}, the next apply promotes this one to a \
             standalone cluster (PromoteReadReplicaDBCluster), or fails",
            target.identifier()
        )
    };
    let shared = "; where the code does not set global_cluster_identifier, it removes the cluster from the global \
                  cluster; changing source_region replaces the cluster";
    call.change(
        &Resource::new(cluster.as_str(), cluster.identifier()),
        (before, after),
        Side {
            kind: Some("aws_rds_cluster"),
            attribute: "replication_source_identifier".to_owned(),
            remedy: Remedy::Ignore(&["global_cluster_identifier", "replication_source_identifier", "source_region"]),
            otherwise: format!("{otherwise}{shared}"),
        },
        Side {
            kind: Some("AWS::RDS::DBCluster"),
            attribute: "ReplicationSourceIdentifier".to_owned(),
            remedy: Remedy::Leave,
            otherwise: "a stack update sends only what its template changes, so that an unchanged template undoes \
                        nothing; drift may be reported. Do not exchange ReplicationSourceIdentifier, SourceRegion or \
                        GlobalClusterIdentifier between the clusters: SourceRegion replaces a cluster, and a \
                        GlobalClusterIdentifier that is taken away detaches it"
                .to_owned(),
        },
    )
}

/// Routing controls are data: no code has their state.
fn controls(call: &Call<'_>, states: &BTreeMap<String, bool>) -> Vec<Change> {
    let word = |on: bool| if on { "On" } else { "Off" };
    let side = |kind, attribute: &str| Side {
        kind: Some(kind),
        attribute: attribute.to_owned(),
        remedy: Remedy::Nothing,
        otherwise: "nothing to change: the state of a routing control is in no code, and no apply touches it"
            .to_owned(),
    };
    let one = |(arn, on): (&String, &bool)| {
        let before = match &call.made.prior {
            Some(Prior::RoutingControls { states }) => states.get(arn).copied(),
            _ => None,
        };
        let before = before.map_or_else(unseen, |on| Said::known(word(on), "seen right before the call"));
        call.change(
            &Resource::new(arn, arn.rsplit('/').next().unwrap_or(arn)),
            (before, call.wrote(word(*on))),
            side("aws_route53recoverycontrolconfig_routing_control", "state"),
            side("AWS::Route53RecoveryControl::RoutingControl", "state"),
        )
    };
    states.iter().map(one).collect()
}

fn unseen() -> Said {
    Said::Unknown { why: "it was not seen before the call".to_owned() }
}

/// A health signal is data too, but somebody must go on putting it.
fn signal(call: &Call<'_>, id: &str, value: f64) -> Change {
    let before = match &call.made.prior {
        Some(Prior::Metric { value, basis }) => Said::known(json!(value), basis.clone()),
        _ => unseen(),
    };
    let side = |attribute: &str| Side {
        kind: None,
        attribute: attribute.to_owned(),
        remedy: Remedy::Nothing,
        otherwise: "nothing to change: a metric's values are in no code. failoverd puts this one again every minute, \
                    for as long as it runs; a daemon that an apply removes stops doing so"
            .to_owned(),
    };
    let resource = Resource::new(id, id);
    call.change(&resource, (before, call.wrote(json!(value))), side("value"), side("value"))
}

/// One attribute of a record set: its names, and its value in a record.
struct Part {
    terraform: &'static str,
    cloudformation: &'static str,
    value: fn(&RecordSet) -> Value,
    /// What CloudFormation wants written.
    written: fn(&RecordSet) -> Value,
}

const PARTS: [Part; 5] = [
    Part {
        terraform: "records",
        cloudformation: "ResourceRecords",
        value: |r| json!(r.values),
        written: |r| json!(r.values),
    },
    Part {
        terraform: "ttl",
        cloudformation: "TTL",
        value: |r| json!(r.ttl_seconds),
        // CloudFormation has it as text.
        written: |r| r.ttl_seconds.map_or(Value::Null, |ttl| ttl.to_string().into()),
    },
    Part {
        terraform: "weighted_routing_policy.weight",
        cloudformation: "Weight",
        value: |r| json!(r.weight),
        written: |r| json!(r.weight),
    },
    Part {
        terraform: "failover_routing_policy.type",
        cloudformation: "Failover",
        value: |r| json!(r.failover),
        written: |r| json!(r.failover),
    },
    Part {
        terraform: "health_check_id",
        cloudformation: "HealthCheckId",
        value: |r| json!(r.health_check_id),
        written: |r| json!(r.health_check_id),
    },
];

/// `ZONE_name_TYPE[_set]`, as `terraform import` calls a record set.
fn record_id(zone: &str, record: &RecordSet) -> String {
    let name = record.name.trim_end_matches('.');
    let set = record.set_identifier.as_ref().map_or_else(String::new, |set| format!("_{set}"));
    format!("{zone}_{name}_{}{set}", record.record_type)
}

fn record_set(call: &Call<'_>, zone: &str, record: &RecordSet) -> Vec<Change> {
    let old = match &call.made.prior {
        Some(Prior::Records { records }) => Some(records.iter().find(|old| same_set(old, record))),
        _ => None,
    };
    let name = record.name.trim_end_matches('.');
    let label = [Some(name), Some(&*record.record_type), record.set_identifier.as_deref()];
    let label = label.into_iter().flatten().collect::<Vec<_>>().join("_");
    let resource = Resource::new(record_id(zone, record), &label);
    let part = |part: &Part| {
        let new = (part.value)(record);
        let before = match old {
            Some(Some(old)) => Said::known((part.value)(old), "seen right before the call"),
            Some(None) => Said::known(Value::Null, "seen right before the call: there was no such record set"),
            None => unseen(),
        };
        // What the call neither sets nor took away is no change.
        if before.value() == Some(&new) || (new.is_null() && before.value().is_none()) {
            return None;
        }
        let otherwise = format!(
            "the next apply that writes this record set puts back what the code says: traffic of {name} follows"
        );
        let side = |kind, attribute: &str, value: Value, more: &str| Side {
            kind: Some(kind),
            attribute: attribute.to_owned(),
            remedy: Remedy::Write(value),
            otherwise: format!("{otherwise}{more}"),
        };
        let stack = ". A stack update writes the whole record set when anything of it changes in the template, and a \
                     rollback does too";
        Some(call.change(
            &resource,
            (before, call.wrote(new.clone())),
            side("aws_route53_record", part.terraform, new, ""),
            side("AWS::Route53::RecordSet", part.cloudformation, (part.written)(record), stack),
        ))
    };
    PARTS.iter().filter_map(part).collect()
}
