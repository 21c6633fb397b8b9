//! Stores: replicated data, with one writer (Aurora) or with many (DynamoDB global tables, S3 replication).

use std::collections::BTreeSet;

use super::{
    application::{complete, per_region},
    heartbeat,
};
use crate::domain::{
    application::{AuroraStore, ClusterArn},
    capacity::{Capacity, Size, is_class},
    document::{At, Fields, Findings},
    id::Region,
    replica::{ReplicatedStore, ReplicationRule},
};

/// A store of either sort.
pub(super) enum Store {
    Aurora(Box<AuroraStore>),
    Replicated(ReplicatedStore),
}

pub(super) fn read(at: &At<'_>, regions: &[Region], found: &mut Findings) -> Option<Store> {
    let mut f = at.fields(found)?;
    let kind = f.need(found, "kind", "kind = \"aurora\"");
    match kind.as_ref().and_then(|at| at.text(found)) {
        Some("dynamodb") => dynamodb(f, regions, found).map(Store::Replicated),
        Some("s3") => s3(f, regions, found).map(Store::Replicated),
        other => {
            if let (Some(at), Some(text)) = (&kind, other)
                && text != "aurora"
            {
                found.error(&at.key, "expected aurora, dynamodb or s3", at.example);
            }
            aurora(f, regions, found).map(Box::new).map(Store::Aurora)
        }
    }
}

fn dynamodb(mut f: Fields<'_>, regions: &[Region], found: &mut Findings) -> Option<ReplicatedStore> {
    let key = f.key.clone();
    let table = f.need(found, "table", "table = \"sessions\"");
    let of = f.get(found, "regions", "regions = [\"us-east-1\", \"us-west-2\"]");
    f.finish(found);
    let table = table?.text(found)?.to_owned();
    let regions = match of {
        None => regions.to_vec(),
        Some(at) => {
            let listed: Vec<Region> =
                at.list(found)?.iter().map(|at| member(at, regions, found)).collect::<Option<_>>()?;
            let distinct: BTreeSet<&Region> = listed.iter().collect();
            if distinct.len() < 2 || distinct.len() != listed.len() {
                found.error(&at.key, "needs at least two Regions, each once", at.example);
                return None;
            }
            listed
        }
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if !(3..=255).contains(&table.len()) || !table.chars().all(fits) {
        found.error(&format!("{key}.table"), "is not the name of a DynamoDB table", "table = \"sessions\"");
        return None;
    }
    Some(ReplicatedStore::Dynamodb { table, regions })
}

const BUCKETS: &str = "buckets = { us-east-1 = \"audit-use1\", us-west-2 = \"audit-usw2\" }";
const RULES: &str = "rules = [{ from = \"us-east-1\", to = \"us-west-2\", rule_id = \"to-usw2\" }]";

fn s3(mut f: Fields<'_>, regions: &[Region], found: &mut Findings) -> Option<ReplicatedStore> {
    let buckets = f.need(found, "buckets", BUCKETS);
    let rules = f.need(found, "rules", RULES);
    f.finish(found);
    let (buckets_at, rules_at) = (buckets?, rules?);
    let buckets = per_region(&buckets_at, regions, found, |at, _, found| Some(at.text(found)?.to_owned()));
    let items = rules_at.list(found)?;
    let mut rules: Vec<ReplicationRule> = Vec::new();
    for at in &items {
        let Some(rule) = rule(at, regions, found) else { continue };
        for region in [&rule.from, &rule.to] {
            if !buckets.contains_key(region) && !found.has_errors_at(&buckets_at.key) {
                found.error(&at.key, format!("there is no bucket for {region}"), BUCKETS);
            }
        }
        if rule.from == rule.to || rules.iter().any(|r| (&r.from, &r.to) == (&rule.from, &rule.to)) {
            found.error(&at.key, "needs one rule for each two Regions, from one to the other", RULES);
        }
        rules.push(rule);
    }
    if items.is_empty() {
        found.error(&rules_at.key, "names no rule", RULES);
    }
    (!rules.is_empty()).then_some(ReplicatedStore::S3 { buckets, rules })
}

fn rule(at: &At<'_>, regions: &[Region], found: &mut Findings) -> Option<ReplicationRule> {
    let mut f = at.fields(found)?;
    let from = f.need(found, "from", RULES).and_then(|at| member(&at, regions, found));
    let to = f.need(found, "to", RULES).and_then(|at| member(&at, regions, found));
    let rule_id = f.need(found, "rule_id", RULES).and_then(|at| at.text(found).map(str::to_owned));
    let metrics_region = f.get(found, "metrics_region", RULES).map(|at| member(&at, regions, found));
    f.finish(found);
    let metrics_region = match metrics_region {
        Some(region) => Some(region?),
        None => None,
    };
    Some(ReplicationRule { from: from?, to: to?, rule_id: rule_id?, metrics_region })
}

/// A Region of the application.
pub(super) fn member(at: &At<'_>, regions: &[Region], found: &mut Findings) -> Option<Region> {
    let region: Region = at.parse(found)?;
    if regions.contains(&region) {
        return Some(region);
    }
    found.error(&at.key, format!("{region} is not a Region of this application"), at.example);
    None
}

fn aurora(mut f: Fields<'_>, regions: &[Region], found: &mut Findings) -> Option<AuroraStore> {
    let global_cluster = f.need(found, "global_cluster", "global_cluster = \"payments\"");
    let clusters = f.need(found, "clusters", CLUSTERS);
    let lag_metric = f.get(found, "lag_metric", "lag_metric = \"AuroraGlobalDBRPOLag\"");
    let shared = f.get(found, "written_from_all_regions", "written_from_all_regions = true");
    let heartbeat = f.get(found, "heartbeat", heartbeat::EXAMPLE);
    let capacity = f.get(found, "capacity", CAPACITY);
    f.finish(found);
    let capacity = match capacity {
        Some(at) => capacity_of(&at, found).map(Some),
        None => Some(None),
    };
    let shared = shared.map_or(Some(false), |at| at.boolean(found));
    let heartbeat = match heartbeat {
        Some(at) => heartbeat::read(&at, regions, found).map(Some),
        None => Some(None),
    };
    let lag_metric = match lag_metric {
        Some(at) => match at.text(found)? {
            known @ ("AuroraGlobalDBRPOLag" | "AuroraGlobalDBReplicationLag") => known.to_owned(),
            _ => {
                found.error(&at.key, "expected AuroraGlobalDBRPOLag or AuroraGlobalDBReplicationLag", at.example);
                return None;
            }
        },
        None => "AuroraGlobalDBRPOLag".to_owned(),
    };
    let global_cluster = global_cluster.and_then(|at| at.text(found).map(str::to_owned));
    let clusters_at = clusters?;
    let clusters = per_region(&clusters_at, regions, found, |at, region, found| {
        let arn: ClusterArn = at.parse(found)?;
        if arn.region() != region {
            found.error(&at.key, format!("this cluster is in {}, not in {region}", arn.region()), CLUSTERS);
        }
        Some(arn)
    });
    complete(&clusters_at.key, "cluster", &clusters, regions, found, CLUSTERS);
    Some(AuroraStore {
        global_cluster: global_cluster?,
        clusters,
        lag_metric,
        written_from_all_regions: shared?,
        heartbeat: heartbeat?,
        capacity: capacity?,
    })
}

const CLUSTERS: &str = "clusters = { us-east-1 = \"arn:aws:rds:us-east-1:123456789012:cluster:payments-use1\" }";

const CAPACITY: &str = "capacity = { instances = 2, class = \"db.r6g.xlarge\" }";
const ACU: &str = "capacity = { instances = 2, min_capacity_acu = 8 }";

/// Aurora needs an instance to serve, and takes fifteen readers beside the writer [AUG].
const INSTANCES_MAX: u32 = 16;
/// ACU of the largest Serverless v2 instance [bc:rds.ServerlessV2ScalingConfiguration].
const ACU_MAX: f64 = 256.0;

fn capacity_of(at: &At<'_>, found: &mut Findings) -> Option<Capacity> {
    let mut f = at.fields(found)?;
    let instances = f.need(found, "instances", CAPACITY).and_then(|at| at.count(found, 1, INSTANCES_MAX));
    let class = f.get(found, "class", CAPACITY);
    let acu = f.get(found, "min_capacity_acu", ACU);
    f.finish(found);
    let size = match (class, acu) {
        (Some(at), None) => {
            let class = at.text(found)?;
            if !is_class(class) {
                found.error(&at.key, "is no instance class: of Serverless v2 give `min_capacity_acu`", CAPACITY);
                return None;
            }
            Size::Provisioned { class: class.to_owned() }
        }
        (None, Some(at)) => {
            let min_acu = at.number(found)?;
            // In steps of a half.
            if !(0.0..=ACU_MAX).contains(&min_acu) || (min_acu * 2.0).fract() != 0.0 {
                found.error(&at.key, format!("expected 0 to {ACU_MAX} in steps of 0.5"), ACU);
                return None;
            }
            Size::Serverless { min_acu, max_acu: None }
        }
        _ => {
            found.error(&at.key, "needs exactly one of `class` and `min_capacity_acu`", CAPACITY);
            return None;
        }
    };
    Some(Capacity { instances: instances?, size })
}
