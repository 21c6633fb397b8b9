//! One application of the file: names, Regions, objectives, stores, signals, endpoints, topics.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{deciding, traffic};
use crate::domain::{
    application::{Application, AuroraStore, ClusterArn, Endpoint, Objectives, Topic},
    document::{At, Fields, Findings, clip},
    id::{Region, RunbookName, StoreName},
    plan::Purpose,
    runbook::is_web_address,
    signal::{Signal, SignalRole, SignalSource},
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const WEEK: Duration = Duration::from_hours(7 * 24);

pub(super) fn read(at: &At<'_>, found: &mut Findings) -> Option<Application> {
    let mut f = at.fields(found)?;
    let name = f.need(found, "name", "name = \"payments\"").and_then(|at| at.parse(found));
    let regions = f.need(found, "regions", "regions = [\"us-east-1\", \"us-west-2\"]");
    let regions = regions.and_then(|at| regions_of(&at, found));
    let objectives = f.need(found, "objectives", "objectives = { rto = \"15m\", rpo = \"5m\" }");
    let objectives = objectives.and_then(|at| objectives_of(&at, found));
    let public_url = f.get(found, "public_url", "public_url = \"https://api.example.com/health\"");
    let runbooks = f.need(found, "runbooks", "runbooks = { failover = \"region-failover\" }");
    let runbooks = runbooks.and_then(|at| runbooks_of(&at, found));
    let stores = f.get(found, "stores", "[applications.stores.orders]");
    let dns = f.need(found, "dns", "[applications.dns.api]");
    let signals = f.get(found, "signals", "[applications.signals.lag]");
    let endpoints = f.get(found, "endpoints", "[applications.endpoints.us-east-1]");
    let topics = f.get(found, "topics", "topics = [{ arn = \"arn:aws:sns:us-west-2:123456789012:oncall\" }]");
    let policy = deciding::read(f.get(found, "deciding", "[applications.deciding]"), found);
    f.finish(found);
    let public_url = match public_url {
        Some(at) => url(&at, found).map(Some),
        None => Some(None),
    };
    // Everything below is checked against the Regions: without them each line would be a fault of its own.
    let regions = regions?;
    let stores = named(stores, found, |at, found| store(at, &regions, found));
    let traffic = named(dns, found, |at, found| traffic::read(at, &regions, found));
    let store_names: BTreeSet<StoreName> = stores.keys().cloned().collect();
    let signals = named(signals, found, |at, found| signal(at, &regions, &store_names, found));
    let endpoints = endpoints.map(|at| per_region(&at, &regions, found, endpoint)).unwrap_or_default();
    let topics = topics.and_then(|at| at.list(found)).unwrap_or_default();
    let topics = topics.iter().filter_map(|at| topic(at, found)).collect();
    Some(Application {
        name: name?,
        regions,
        objectives: objectives?,
        stores,
        traffic,
        signals: signals.into_iter().map(|(name, signal)| Signal { name, ..signal }).collect(),
        endpoints,
        public_url: public_url?,
        runbooks: runbooks?,
        topics,
        policy: policy?,
    })
}

/// The entries of a table whose keys are names, those that could be read.
fn named<'a, K, V>(
    at: Option<At<'a>>,
    found: &mut Findings,
    mut read: impl FnMut(&At<'a>, &mut Findings) -> Option<V>,
) -> BTreeMap<K, V>
where
    K: Ord + std::str::FromStr<Err = crate::domain::id::InvalidName>,
{
    let entries = at.and_then(|at| at.named(found)).unwrap_or_default();
    let mut all = BTreeMap::new();
    for (name, at) in entries {
        let value = read(&at, found);
        match (name.parse::<K>(), value) {
            (Ok(name), Some(value)) => _ = all.insert(name, value),
            (Ok(_), None) => {}
            (Err(e), _) => found.error(&at.key, e.to_string(), ""),
        }
    }
    all
}

/// The entries of a table whose keys are Regions of the application.
pub(super) fn per_region<V>(
    at: &At<'_>,
    regions: &[Region],
    found: &mut Findings,
    mut read: impl FnMut(&At<'_>, &Region, &mut Findings) -> Option<V>,
) -> BTreeMap<Region, V> {
    let mut all = BTreeMap::new();
    for (name, at) in at.named(found).unwrap_or_default() {
        match regions.iter().find(|r| r.as_str() == name) {
            Some(region) => {
                if let Some(value) = read(&at, region, found) {
                    all.insert(region.clone(), value);
                }
            }
            None => {
                let known: Vec<&str> = regions.iter().map(Region::as_str).collect();
                let problem = format!("`{}` is not a Region of this application: {}", clip(name), known.join(", "));
                found.error(&at.key, problem, "");
            }
        }
    }
    all
}

/// Notes the Regions for which `map` says nothing.
pub(super) fn complete<V>(
    key: &str,
    what: &str,
    map: &BTreeMap<Region, V>,
    regions: &[Region],
    found: &mut Findings,
    example: &str,
) {
    for region in regions.iter().filter(|r| !map.contains_key(r)) {
        found.error(key, format!("no {what} for {region}"), example);
    }
}

fn regions_of(at: &At<'_>, found: &mut Findings) -> Option<Vec<Region>> {
    let items = at.list(found)?;
    let parsed: Vec<Option<Region>> = items.iter().map(|i| i.parse(found)).collect();
    let regions: Vec<Region> = parsed.into_iter().collect::<Option<_>>()?;
    let distinct: BTreeSet<&Region> = regions.iter().collect();
    if distinct.len() != regions.len() {
        found.error(&at.key, "a Region stands here twice", at.example);
        return None;
    }
    if regions.len() < 2 {
        found.error(&at.key, "needs at least two Regions, the preferred one first", at.example);
        return None;
    }
    Some(regions)
}

fn objectives_of(at: &At<'_>, found: &mut Findings) -> Option<Objectives> {
    let mut f = at.fields(found)?;
    let rto = f.need(found, "rto", "rto = \"15m\"").and_then(|at| at.duration(found, SECOND, WEEK));
    let rpo = f.need(found, "rpo", "rpo = \"5m\"").and_then(|at| at.duration(found, Duration::ZERO, WEEK));
    f.finish(found);
    Some(Objectives { rto: rto?, rpo: rpo? })
}

fn runbooks_of(at: &At<'_>, found: &mut Findings) -> Option<BTreeMap<Purpose, RunbookName>> {
    let mut f = at.fields(found)?;
    let failover = f.need(found, "failover", "failover = \"region-failover\"");
    let switchover = f.get(found, "switchover", "switchover = \"region-switchover\"");
    let failback = f.get(found, "failback", "failback = \"failback\"");
    f.finish(found);
    let all = [(Purpose::Failover, failover), (Purpose::Switchover, switchover), (Purpose::Failback, failback)];
    let mut runbooks = BTreeMap::new();
    for (purpose, at) in all {
        if let Some(at) = at {
            runbooks.insert(purpose, at.parse(found)?);
        }
    }
    Some(runbooks)
}

fn store(at: &At<'_>, regions: &[Region], found: &mut Findings) -> Option<AuroraStore> {
    let mut f = at.fields(found)?;
    let kind = f.need(found, "kind", "kind = \"aurora\"");
    let global_cluster = f.need(found, "global_cluster", "global_cluster = \"payments\"");
    let clusters = f.need(found, "clusters", CLUSTERS);
    let lag_metric = f.get(found, "lag_metric", "lag_metric = \"AuroraGlobalDBRPOLag\"");
    match kind.and_then(|at| at.text(found).map(|t| (at, t))) {
        Some((_, "aurora")) => {}
        Some((at, kind @ ("dynamodb" | "s3"))) => {
            found.coded(
                "config-not-built",
                &at.key,
                format!("stores of the kind `{kind}` are not in this version"),
                at.example,
            );
        }
        Some((at, _)) => found.error(&at.key, "expected aurora", at.example),
        None => {}
    }
    f.finish(found);
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
    Some(AuroraStore { global_cluster: global_cluster?, clusters, lag_metric })
}

const CLUSTERS: &str = "clusters = { us-east-1 = \"arn:aws:rds:us-east-1:123456789012:cluster:payments-use1\" }";

fn endpoint(at: &At<'_>, _: &Region, found: &mut Findings) -> Option<Endpoint> {
    let mut f = at.fields(found)?;
    let health = f.need(found, "health_url", "health_url = \"https://use1.example.com/health\"");
    let pointer = f.get(found, "last_write_pointer", "last_write_pointer = \"/last_write\"");
    f.finish(found);
    let last_write_pointer = match pointer {
        Some(at) => {
            let text = at.text(found)?;
            if !text.starts_with('/') {
                found.error(&at.key, "expected a JSON pointer, which begins with /", at.example);
                return None;
            }
            Some(text.to_owned())
        }
        None => None,
    };
    Some(Endpoint { health_url: url(&health?, found)?, last_write_pointer })
}

pub(super) fn url(at: &At<'_>, found: &mut Findings) -> Option<String> {
    let text = at.text(found)?;
    if is_web_address(text) {
        return Some(text.to_owned());
    }
    found.error(&at.key, "expected a URL that begins with http:// or https:// and names no user", at.example);
    None
}

fn topic(at: &At<'_>, found: &mut Findings) -> Option<Topic> {
    let mut f = at.fields(found)?;
    let arn = f.need(found, "arn", "arn = \"arn:aws:sns:us-west-2:123456789012:oncall\"");
    f.finish(found);
    let arn = arn?;
    let text = arn.text(found)?;
    let region = match text.split(':').collect::<Vec<_>>()[..] {
        ["arn", partition, "sns", region, account, name]
            if partition.starts_with("aws") && !account.is_empty() && !name.is_empty() =>
        {
            region.parse::<Region>().ok()
        }
        _ => None,
    };
    if region.is_none() {
        found.error(&arn.key, "is not the ARN of an SNS topic", arn.example);
    }
    Some(Topic { region: region?, arn: text.to_owned() })
}

fn signal(at: &At<'_>, regions: &[Region], stores: &BTreeSet<StoreName>, found: &mut Findings) -> Option<Signal> {
    let mut f = at.fields(found)?;
    let kind = f.need(found, "kind", "kind = \"aurora_lag\"").and_then(|at| at.text(found).map(|t| (at, t)));
    let role = f.need(found, "role", "role = \"trigger\"").and_then(|at| role(&at, found));
    let period = f.get(found, "period", "period = \"30s\"");
    let freshness = f.get(found, "freshness", "freshness = \"90s\"");
    let consecutive = f.get(found, "consecutive", "consecutive = 3");
    let is_probe = matches!(kind, Some((_, "http_probe")));
    let source = kind.and_then(|(at, kind)| source(kind, &at, &mut f, regions, stores, found));
    if source.is_some() {
        f.finish(found);
    }
    // CloudWatch has a new value every minute; a probe costs nothing.
    let default = if is_probe { 10 * SECOND } else { 30 * SECOND };
    let period = period.map_or(Some(default), |at| at.duration(found, SECOND, 60 * MINUTE));
    let least = if is_probe { 3 * default } else { 3 * MINUTE };
    let fresh = freshness.map_or_else(
        || period.map(|p| (3 * p).max(least)),
        |at| at.duration(found, period.unwrap_or(SECOND), 24 * 60 * MINUTE),
    );
    let consecutive = consecutive.map_or(Some(3), |at| at.count(found, 1, 60));
    Some(Signal {
        // The name is the key of the table, known to the caller.
        name: "unnamed".parse().unwrap_or_else(|e| unreachable!("{e}")),
        role: role?,
        source: source?,
        period: period?,
        freshness: fresh?,
        consecutive: consecutive?,
    })
}

fn role(at: &At<'_>, found: &mut Findings) -> Option<SignalRole> {
    match at.text(found)? {
        "trigger" => Some(SignalRole::Trigger),
        "gate" => Some(SignalRole::Gate),
        "informational" => Some(SignalRole::Informational),
        _ => {
            found.error(&at.key, "expected trigger, gate or informational", at.example);
            None
        }
    }
}

fn source(
    kind: &str,
    at: &At<'_>,
    f: &mut Fields<'_>,
    regions: &[Region],
    stores: &BTreeSet<StoreName>,
    found: &mut Findings,
) -> Option<SignalSource> {
    let of = |f: &mut Fields<'_>, found: &mut Findings| {
        let at = f.need(found, "of", "of = \"us-east-1\"")?;
        let region: Region = at.parse(found)?;
        if regions.contains(&region) {
            return Some(region);
        }
        found.error(&at.key, format!("{region} is not a Region of this application"), at.example);
        None
    };
    match kind {
        "aurora_lag" => {
            let at = f.need(found, "store", "store = \"orders\"")?;
            let store: StoreName = at.parse(found)?;
            if !stores.contains(&store) {
                // One with a fault of its own is there.
                let application = at.key.split_once(".signals.").map_or("", |(application, _)| application);
                if !found.has_errors_at(&format!("{application}.stores.{store}")) {
                    found.error(&at.key, format!("there is no store `{store}`"), at.example);
                }
                return None;
            }
            Some(SignalSource::AuroraLag { store })
        }
        "health_check" => {
            let id = f.need(found, "health_check_id", "health_check_id = \"10000000-0000-4000-8000-000000000001\"");
            let of = of(f, found);
            let health_check_id = id?.text(found)?.to_owned();
            Some(SignalSource::HealthCheck { health_check_id, of: of? })
        }
        "alarm" => {
            let region = f.need(found, "region", "region = \"us-west-2\"").and_then(|at| at.parse(found));
            let name = f.need(found, "alarm_name", "alarm_name = \"payments-lambda-errors\"");
            let of = of(f, found);
            let alarm_name = name?.text(found)?.to_owned();
            Some(SignalSource::Alarm { region: region?, alarm_name, of: of? })
        }
        "http_probe" => {
            let address = f.need(found, "url", "url = \"https://use1.example.com/health\"");
            let timeout = f.get(found, "timeout", "timeout = \"3s\"");
            let of = of(f, found);
            let timeout = timeout.map_or(Some(3 * SECOND), |at| at.duration(found, SECOND / 10, MINUTE));
            Some(SignalSource::HttpProbe { url: url(&address?, found)?, of: of?, timeout: timeout? })
        }
        _ => {
            found.error(&at.key, "expected aurora_lag, health_check, alarm or http_probe", at.example);
            None
        }
    }
}
